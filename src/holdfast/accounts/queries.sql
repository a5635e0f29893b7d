-- name: organizer_exists
-- Whether anybody has been set up here yet.
select exists (select from organizers);

-- name: lock_organizers
-- Until the end of the transaction nobody else adds an organizer (SHARE ROW EXCLUSIVE); reads go on.
lock table organizers in share row exclusive mode;

-- name: add_organizer
-- A new organizer without members.
insert into organizers (organizer_id, name) values ($1, $2);

-- name: add_person
-- A new person. PostgreSQL lowers the address itself, because its idea of lower case is what the check goes by.
insert into people (person_id, email, password_hash) values ($1, lower($2), $3);

-- name: add_member
-- Gives a person a role in an organizer.
insert into members (organizer_id, person_id, role) values ($1, $2, $3);

-- name: first_owner
-- The oldest owner of the oldest organizer: the one that was made on the empty database.
select o.organizer_id, o.name as organizer_name, p.person_id, p.email, m.role
from organizers o
join members m on m.organizer_id = o.organizer_id and m.role = 'owner'
join people p on p.person_id = m.person_id
order by o.created_at, o.organizer_id, m.created_at, m.person_id
limit 1;

-- name: credentials
-- What signing in with an address needs, with the membership that came first.
select p.person_id, p.password_hash, m.organizer_id, m.role
from people p
join members m on m.person_id = p.person_id
where p.email = lower($1)
order by m.created_at, m.organizer_id
limit 1;

-- name: member
-- One person in one organizer, by name.
select o.organizer_id, o.name as organizer_name, p.person_id, p.email, m.role
from members m
join organizers o on o.organizer_id = m.organizer_id
join people p on p.person_id = m.person_id
where m.organizer_id = $1 and m.person_id = $2;
