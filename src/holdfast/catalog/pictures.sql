-- name: hold_picture
-- The id of the subject's present picture, or $3 when it had none until now. Locks it until the transaction ends, so
-- that of two who set one at once the second finds the first's.
insert into pictures (organizer_id, subject_id, picture_id) values ($1, $2, $3)
on conflict (organizer_id, subject_id) do update set subject_id = excluded.subject_id
returning picture_id;

-- name: forget_sizes
-- The caller holds the picture.
delete from picture_sizes where picture_id = $1;

-- name: set_picture
-- The caller holds it, and no size is left of the one before.
update pictures set picture_id = $3, created_at = clock_timestamp() where organizer_id = $1 and subject_id = $2;

-- name: add_size
insert into picture_sizes (organizer_id, picture_id, width, height, contents) values ($1, $2, $3, $4, $5);

-- name: delete_picture
delete from pictures where organizer_id = $1 and subject_id = $2 returning picture_id;

-- name: picture_of
-- The subject's present picture with its sizes.
select p.picture_id, array_agg(s.width order by s.width) as widths, array_agg(s.height order by s.width) as heights
  from pictures p join picture_sizes s on s.picture_id = p.picture_id
 where p.organizer_id = $1 and p.subject_id = $2 group by p.picture_id;

-- name: picture_in_width
-- The narrowest that is at least $2 wide, or the widest there is.
select width, contents from picture_sizes where picture_id = $1
 order by width < $2, case when width < $2 then -width else width end limit 1;
