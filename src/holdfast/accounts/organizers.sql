-- Queries of organizers as the installation sees them, and as each sees itself.

-- name: organizer_by_id
-- One organizer. Locks nothing.
select organizer_id, name, colour, second_factor_required, created_at, suspended_at from organizers where organizer_id = $1

-- name: organizer_added
-- A new organizer without people.
insert into organizers (organizer_id, name) values ($1, $2)
returning organizer_id, name, colour, second_factor_required, created_at, suspended_at

-- name: organizers_page
-- Up to $2 organizers behind $1, oldest first. Locks nothing.
select organizer_id, name, colour, second_factor_required, created_at, suspended_at
  from organizers where organizer_id > $1 order by organizer_id limit $2

-- name: organizer_edited
-- Sets what is given of an organizer: its name, whether it is suspended. Locks it.
update organizers
   set name = coalesce($2, name),
       suspended_at = case when $3 then coalesce(suspended_at, clock_timestamp()) when not $3 then null else suspended_at end
 where organizer_id = $1
returning organizer_id, name, colour, second_factor_required, created_at, suspended_at

-- name: own_rules_edited
-- Sets what is given of what an owner may decide; an empty colour is none. Locks the organizer.
update organizers
   set name = coalesce($2, name), second_factor_required = coalesce($3, second_factor_required),
       colour = case $4 when '' then null else coalesce($4, colour) end
 where organizer_id = $1
returning organizer_id, name, colour, second_factor_required, created_at, suspended_at

-- name: suspended_organizers
-- Who is shut out. Reads the whole table, which is small; locks nothing.
select organizer_id from organizers where suspended_at is not null
