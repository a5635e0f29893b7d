-- name: add_entry
-- Writes an entry in the transaction of what it tells. Locks nothing that exists.
insert into audit (organizer_id, entry_id, actor_kind, actor_id, action, show_id, subject_id, before, after, address,
                   request_id)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: entries
-- A page of an organizer's entries between two ids, the newest first; every other argument may be null.
select entry_id, at, actor_kind, actor_id, action, show_id, subject_id, before, after, address, request_id from audit
 where organizer_id = $1 and entry_id > $2 and entry_id < $3
   and ($4::uuid is null or actor_id = $4)
   and ($5::text is null or action = $5)
   and ($6::uuid is null or show_id = $6)
   and ($7::uuid is null or subject_id = $7)
   and ($8::timestamptz is null or at >= $8)
   and ($9::timestamptz is null or at < $9)
 order by entry_id desc limit $10;
