-- Which tickets are admitted, and where. The list that admits everybody has the show's id.

-- name: lists_of
-- All lists of a show that have a row, oldest first.
select list_id, name, areas, tiers, opens_at, closes_at, reentry, version from lists where show_id = $1 order by list_id limit $2;

-- name: insert_list
-- No row when the name is taken, or when the show has $10 lists. Two at once may pass that bound by one.
insert into lists (show_id, list_id, organizer_id, name, areas, tiers, opens_at, closes_at, reentry)
select $1, $2, $3, $4, $5, $6, $7, $8, $9 where (select count(*) from lists where show_id = $1) < $10
on conflict do nothing returning version;

-- name: set_list
-- No row when there is none, or ($9 is given) not in this version. Locks the list.
update lists set name = $3, areas = $4, tiers = $5, opens_at = $6, closes_at = $7, reentry = $8, version = version + 1
 where show_id = $1 and list_id = $2 and ($9::int is null or version = $9) returning version;

-- name: lock_list
-- Waits for gates that are being made to admit by it.
select list_id from lists where show_id = $1 and list_id = $2 for update;

-- name: delete_list
-- No row when a gate admits by it. The caller has locked it in a statement of its own, so that this one sees every gate.
delete from lists where show_id = $1 and list_id = $2
   and not exists (select from gates where show_id = $1 and list_id = $2) returning list_id;

-- name: gates_of
select gate_id, list_id, name, version from gates where show_id = $1 order by gate_id limit $2;

-- name: hold_list
-- Keeps a list from being deleted until the transaction ends.
select list_id from lists where show_id = $1 and list_id = $2 for key share;

-- name: insert_gate
-- As insert_list.
insert into gates (show_id, gate_id, organizer_id, list_id, name)
select $1, $2, $3, $4, $5 where (select count(*) from gates where show_id = $1) < $6
on conflict do nothing returning version;

-- name: set_gate
-- As set_list.
update gates set list_id = $3, name = $4, version = version + 1
 where show_id = $1 and gate_id = $2 and ($5::int is null or version = $5) returning version;

-- name: delete_gate
-- No row when something was scanned at it: people are told of it by name.
delete from gates where show_id = $1 and gate_id = $2
   and not exists (select from scans where show_id = $1 and gate_id = $2) returning gate_id;
