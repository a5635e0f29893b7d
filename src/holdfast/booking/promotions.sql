-- name: insert_codes
-- Writes those of the codes that the show has none of yet, and says which.
insert into codes (show_id, organizer_id, code_id, code, code_key, discount_basis_points, discount_amount, tiers, reveals,
                   starts_at, ends_at, uses_max, places_max)
select $1, $2, c.code_id, c.code, c.code_key, $6, $7, $8, $9, $10, $11, $12, $13
  from unnest($3::uuid[], $4::text[], $5::text[]) c(code_id, code, code_key)
on conflict (show_id, code_key) do nothing
returning *;

-- name: codes_named
-- The codes of a show by what they are compared as.
select * from codes where show_id = $1 and code_key = any ($2::text[]);

-- name: code_by_id
select * from codes where show_id = $1 and code_id = $2;

-- name: codes_of
-- One page, behind the cursor $2.
select * from codes where show_id = $1 and code_id > $2 order by code_id limit $3;

-- name: count_codes
select count(*) from codes where show_id = $1;

-- name: set_code
-- The caller holds the head; the constraint never_overused has the last word.
update codes set starts_at = $3, ends_at = $4, uses_max = $5, places_max = $6, version = version + 1
 where show_id = $1 and code_id = $2 returning *;

-- name: withdraw_code
-- Nobody books by it from now on. The caller holds the head.
update codes set withdrawn_at = clock_timestamp(), version = version + 1
 where show_id = $1 and code_id = $2 and withdrawn_at is null returning *;
