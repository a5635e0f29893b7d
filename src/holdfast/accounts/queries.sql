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
select o.organizer_id, o.name as organizer_name, p.person_id, p.email, m.role, p.admin
from organizers o
join members m on m.organizer_id = o.organizer_id and m.role = 'owner'
join people p on p.person_id = m.person_id
order by o.created_at, o.organizer_id, m.created_at, m.person_id
limit 1;

-- name: member
-- One person in one organizer, by name.
select o.organizer_id, o.name as organizer_name, p.person_id, p.email, m.role, p.admin
from members m
join organizers o on o.organizer_id = m.organizer_id
join people p on p.person_id = m.person_id
where m.organizer_id = $1 and m.person_id = $2;

-- name: add_admin
-- A new person who looks after the installation, too.
insert into people (person_id, email, password_hash, admin) values ($1, lower($2), $3, true);

-- name: person_by_email
-- What signing in with an address needs; there may be no password.
select person_id, email, password_hash, admin from people where email = lower($1);

-- name: person
-- The same by id.
select person_id, email, password_hash, admin from people where person_id = $1;

-- name: set_password
-- A new password, where $3 is still the old one (null: whatever it was).
update people set password_hash = $2 where person_id = $1 and ($3::text is null or password_hash = $3);

-- name: memberships
-- The organizers of a person, the one that they joined first in front.
select m.organizer_id, o.name as organizer_name, o.suspended_at is not null as suspended
from members m
join organizers o on o.organizer_id = m.organizer_id
where m.person_id = $1
order by m.created_at, m.organizer_id;

-- name: entering
-- What a session goes by. Locks the member and the person, so that neither role nor password changes before it is made.
select m.organizer_id, m.role, p.admin, p.password_hash, o.second_factor_required, o.suspended_at is not null as suspended
from members m
join people p on p.person_id = m.person_id
join organizers o on o.organizer_id = m.organizer_id
where m.organizer_id = $1 and m.person_id = $2
for share of m, p;

-- name: members_of
-- Who works for an organizer, in the order of their addresses.
select p.person_id, p.email, m.role, m.created_at, f.confirmed_at is not null as second_factor
from members m
join people p on p.person_id = m.person_id
left join second_factors f on f.person_id = m.person_id
where m.organizer_id = $1
order by p.email;

-- name: owner_addresses
-- Where up to $2 owners of an organizer are written to, whoever was there first. Locks nothing.
select p.email from members m join people p on p.person_id = m.person_id
where m.organizer_id = $1 and m.role = 'owner' order by m.created_at, m.person_id limit $2;

-- name: lock_members
-- All members of an organizer, held until the commit: two owners cannot leave at once, each counting on the other.
select person_id, role from members where organizer_id = $1 order by person_id for update;

-- name: set_role
-- Another role for a member.
update members set role = $3 where organizer_id = $1 and person_id = $2;

-- name: remove_member
-- The person is a member no more.
delete from members where organizer_id = $1 and person_id = $2;

-- name: join_member
-- Gives a person a role in an organizer, unless they have one.
insert into members (organizer_id, person_id, role) values ($1, $2, $3) on conflict do nothing;

-- name: organizer_name
-- What an organizer is called.
select name from organizers where organizer_id = $1;

-- name: enrol_second_factor
-- A secret that waits for its first code; nothing is done where one was confirmed.
insert into second_factors (person_id, sealed) values ($1, $2)
on conflict (person_id) do update set sealed = excluded.sealed, last_step = 0, created_at = clock_timestamp()
where second_factors.confirmed_at is null;

-- name: second_factor
-- A person's sealed secret, and whether it is in use.
select sealed, confirmed_at is not null as confirmed from second_factors where person_id = $1;

-- name: second_factor_confirmed
-- The first code of this secret came: it is in use. Nothing is done where another secret waits by now.
update second_factors set confirmed_at = clock_timestamp(), last_step = $2
where person_id = $1 and sealed = $3 and confirmed_at is null;

-- name: second_factor_used
-- Uses up the code of a step and those before it; nothing is touched where it was used up.
update second_factors set last_step = $2 where person_id = $1 and last_step < $2 and confirmed_at is not null;

-- name: second_factor_resealed
-- The same secret under the present key.
update second_factors set sealed = $3 where person_id = $1 and sealed = $2;

-- name: second_factors_after
-- Sealed secrets in the order of their people.
select person_id, sealed from second_factors where person_id > $1 order by person_id limit $2 for update;

-- name: remove_second_factor
-- With its recovery codes.
delete from second_factors where person_id = $1 and confirmed_at is not null;

-- name: add_recovery_codes
-- The hashes of codes for whoever lost the device.
insert into recovery_codes (person_id, code_hash) select $1, unnest($2::bytea[]);

-- name: recovery_code_used
-- Uses one up.
delete from recovery_codes where person_id = $1 and code_hash = $2;

-- name: add_invitation
-- Invites an address, in place of an invitation to it; good for $7 seconds. Nothing is done where one is open whose role
-- is none of $8.
insert into invitations (invitation_id, organizer_id, email, role, token_hash, invited_by, expires_at)
values ($1, $2, lower($3), $4, $5, $6, clock_timestamp() + $7 * interval '1 second')
on conflict (organizer_id, email) do update set invitation_id = excluded.invitation_id, role = excluded.role,
  token_hash = excluded.token_hash, invited_by = excluded.invited_by, created_at = clock_timestamp(),
  expires_at = excluded.expires_at
where invitations.role = any ($8) or invitations.expires_at <= clock_timestamp();

-- name: is_member
-- Whether the person with this address works for the organizer.
select exists (
  select from members m join people p on p.person_id = m.person_id
  where m.organizer_id = $1 and p.email = lower($2));

-- name: invitations_of
-- The open invitations of an organizer, the oldest first.
select invitation_id, email, role, created_at, expires_at from invitations
where organizer_id = $1 and expires_at > clock_timestamp() order by created_at, invitation_id;

-- name: withdraw_invitation
-- Its link opens nothing any more.
delete from invitations where organizer_id = $1 and invitation_id = $2 returning role;

-- name: withdraw_invitations_by
-- Whatever this person has sent for the organizer opens nothing any more.
delete from invitations where organizer_id = $1 and invited_by = $2;

-- name: invitation_by_token
-- Whom a link invites.
select i.invitation_id, i.organizer_id, o.name as organizer_name, i.email, i.role
from invitations i
join organizers o on o.organizer_id = i.organizer_id
where i.token_hash = $1 and i.expires_at > clock_timestamp();

-- name: invitations_to
-- To which organizers an address is invited, the oldest invitation first.
select i.invitation_id, i.organizer_id, o.name as organizer_name, i.email, i.role
from invitations i
join organizers o on o.organizer_id = i.organizer_id
where i.email = lower($1) and i.expires_at > clock_timestamp()
order by i.created_at, i.invitation_id;

-- name: take_invitation
-- Accepts it: of several who try at once one succeeds.
delete from invitations where invitation_id = $1 and expires_at > clock_timestamp();

-- name: invitations_pruned
-- Forgets invitations that nobody accepted in time.
delete from invitations where expires_at < clock_timestamp();

-- name: add_password_reset
-- A link for whoever forgot a password, good for $3 seconds; none where $4 of them are open.
insert into password_resets (token_hash, person_id, expires_at)
select $2, $1, clock_timestamp() + $3 * interval '1 second'
where (select count(*) from password_resets where person_id = $1 and expires_at > clock_timestamp()) < $4;

-- name: password_reset
-- Whose password a link may set.
select r.person_id, p.email from password_resets r
join people p on p.person_id = r.person_id
where r.token_hash = $1 and r.expires_at > clock_timestamp();

-- name: take_password_reset
-- Uses it up: of several who try at once one succeeds.
delete from password_resets where token_hash = $1 and expires_at > clock_timestamp();

-- name: forget_password_resets
-- The other links of this person open nothing any more.
delete from password_resets where person_id = $1;

-- name: password_resets_pruned
-- Forgets links that nobody used in time.
delete from password_resets where expires_at < clock_timestamp();

-- name: person_of_identity
-- Who somebody of another provider is here.
select person_id from identities where issuer = $1 and subject = $2;

-- name: add_identity
-- From now on they are this person; nothing is done where either is somebody else's.
insert into identities (issuer, subject, person_id) values ($1, $2, $3) on conflict do nothing;
