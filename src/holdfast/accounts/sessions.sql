-- name: add_session
-- A new session, kept for at most $9 seconds.
insert into sessions (session_id, person_id, organizer_id, kind, family_hash, secret_hashes, device, address, expires_at, strong)
values ($1, $2, $3, $4, $5, array[$6::bytea], $7, $8, clock_timestamp() + $9 * interval '1 second', $10);

-- name: end_sessions_over
-- Of a person's sessions the $2 used last stay.
update sessions set ended_at = clock_timestamp()
where session_id in (
  select session_id from sessions where person_id = $1 and ended_at is null
  order by used_at desc, session_id desc offset $2);

-- name: session_by_cookie
-- Whose cookie this is, in their present role, with the seconds that it is still good for ($2: unused seconds that end it).
select s.session_id, s.person_id, s.organizer_id, m.role, p.admin,
  extract(epoch from least(s.used_at + $2 * interval '1 second', s.expires_at) - clock_timestamp())::float8 as seconds_left,
  s.used_at < clock_timestamp() - $3 * interval '1 second' as unseen
from sessions s
join members m on m.organizer_id = s.organizer_id and m.person_id = s.person_id
join organizers o on o.organizer_id = s.organizer_id
join people p on p.person_id = s.person_id
where s.kind = 'console' and s.secret_hashes[1] = $1 and s.ended_at is null
  and (s.strong or not o.second_factor_required);

-- name: session_used
-- It is in use now.
update sessions set used_at = clock_timestamp() where session_id = $1 and ended_at is null;

-- name: session_by_family
-- The session that a renewing token belongs to; locks it, so that equal tokens take turns.
select s.session_id, s.person_id, s.organizer_id, s.secret_hashes, s.previous_hash, m.role, p.admin,
  coalesce(s.renewed_at > clock_timestamp() - $2 * interval '1 second', false) as just_renewed,
  s.ended_at is null and m.role is not null and s.expires_at > clock_timestamp()
    and s.used_at > clock_timestamp() - $3 * interval '1 second'
    and (s.strong or not o.second_factor_required) and o.suspended_at is null as live
from sessions s
join organizers o on o.organizer_id = s.organizer_id
join people p on p.person_id = s.person_id
left join members m on m.organizer_id = s.organizer_id and m.person_id = s.person_id
where s.family_hash = $1
for update of s;

-- name: session_renewed
-- From now on the token with hash $3 is believed, and $2 is the one before it.
update sessions set secret_hashes = array[$3::bytea], previous_hash = $2, renewed_at = clock_timestamp(),
  used_at = clock_timestamp()
where session_id = $1;

-- name: session_renewed_again
-- The token before was shown once more, because its answer was lost: another is believed beside those it was given.
update sessions set secret_hashes = secret_hashes || $2::bytea, used_at = clock_timestamp() where session_id = $1;

-- name: end_session
-- Ends one session of this person.
update sessions set ended_at = clock_timestamp() where session_id = $1 and person_id = $2 and ended_at is null;

-- name: end_sessions
-- Ends all sessions of a person but one ($2, which may be null).
update sessions set ended_at = clock_timestamp()
where person_id = $1 and session_id is distinct from $2 and ended_at is null;

-- name: end_sessions_of_member
-- Ends the sessions of a person in one organizer.
update sessions set ended_at = clock_timestamp() where organizer_id = $1 and person_id = $2 and ended_at is null;

-- name: live_sessions
-- Where a person is signed in; $2 and $3: unused seconds that end a session of the console, and one of a program.
select s.session_id, s.organizer_id, o.name as organizer_name, s.kind, s.device, s.address, s.created_at, s.used_at
from sessions s
join members m on m.organizer_id = s.organizer_id and m.person_id = s.person_id
join organizers o on o.organizer_id = s.organizer_id
where s.person_id = $1 and s.ended_at is null and s.expires_at > clock_timestamp()
  and s.used_at > clock_timestamp() - case s.kind when 'console' then $2::int else $3::int end * interval '1 second'
order by s.used_at desc, s.session_id desc;

-- name: ended_lately
-- Sessions whose last access tokens, which live $1 seconds, may still be about.
select session_id from sessions where ended_at > clock_timestamp() - $1 * interval '1 second';

-- name: sessions_pruned
-- Forgets sessions that ended, or could have been used last, over $1 seconds ago; at most $2.
delete from sessions where session_id in (
  select session_id from sessions
  where ended_at < clock_timestamp() - $1 * interval '1 second'
    or expires_at < clock_timestamp() - $1 * interval '1 second'
  limit $2);

-- name: signed_in_from
-- Whether the person with this address signed in from there within $3 seconds.
select exists (
  select from sessions s join people p on p.person_id = s.person_id
  where p.email = lower($1) and s.address = $2 and s.created_at > clock_timestamp() - $3 * interval '1 second');
