-- Queries of API keys. A key that ended is kept for a while, so that people see what became of it.

-- name: key_by_hash
-- A key that was not revoked, whichever organizer's, by the SHA-256 of its text. Locks nothing.
select key_id, organizer_id, scopes, expires_at from api_keys where key_hash = $1 and revoked_at is null

-- name: keys_counted
-- How many keys of an organizer still work at $2. Locks the organizer's row, so that they are counted one at a time.
with locked as materialized (select organizer_id from organizers where organizer_id = $1 for no key update)
select count(k.key_id) from locked
  left join api_keys k on k.organizer_id = locked.organizer_id
   and k.revoked_at is null and (k.expires_at is null or k.expires_at > $2)

-- name: key_added
-- A new key.
insert into api_keys (key_id, organizer_id, name, prefix, key_hash, scopes, replaces, created_by, created_at, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: key_by_id
-- One key of an organizer. Locks nothing.
select key_id, name, prefix, scopes, replaces, created_by, created_at, expires_at, last_used_at, revoked_at
  from api_keys where organizer_id = $1 and key_id = $2

-- name: keys_page
-- Up to $3 keys of an organizer behind $2, oldest first, those that ended included. Locks nothing.
select key_id, name, prefix, scopes, replaces, created_by, created_at, expires_at, last_used_at, revoked_at
  from api_keys where organizer_id = $1 and key_id > $2 order by key_id limit $3

-- name: key_ends
-- Lets a key that works at $3 end at $4, if not sooner. Locks it; no row when there is none.
update api_keys set expires_at = least(expires_at, $4)
 where organizer_id = $1 and key_id = $2 and revoked_at is null and (expires_at is null or expires_at > $3)
returning key_hash

-- name: key_revoked
-- Ends a key for good at $3. Locks it; no row when there is none. Done again it changes nothing.
update api_keys set revoked_at = coalesce(revoked_at, $3) where organizer_id = $1 and key_id = $2
returning key_hash

-- name: keys_used
-- Remembers when keys were used last. Locks each; waits for nobody who holds one for long.
update api_keys k set last_used_at = greatest(k.last_used_at, u.used_at)
  from unnest($1::uuid[], $2::timestamptz[]) u(key_id, used_at) where k.key_id = u.key_id

-- name: keys_forgotten
-- Forgets the keys that ended before $1, at most $2.
delete from api_keys where key_id = any (array(
  select key_id from api_keys where least(revoked_at, expires_at) < $1 limit $2 for update skip locked))
