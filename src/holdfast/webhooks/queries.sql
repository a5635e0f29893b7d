-- Queries of endpoints and of what is sent to them.

-- name: organizer_of_show
-- Whose a show is. Locks nothing.
select organizer_id from shows where show_id = $1

-- name: organizers_asking
-- Organizers with an endpoint that asks for this kind by its name. Locks nothing.
select distinct organizer_id from webhooks where enabled and $1 = any (kinds)

-- name: organizer_held
-- Locks the organizer's row, so that its endpoints are counted one at a time.
select 1 from organizers where organizer_id = $1 for no key update

-- name: webhooks_counted
select count(*) from webhooks where organizer_id = $1

-- name: webhook_added
insert into webhooks (webhook_id, organizer_id, url, description, kinds, enabled, disabled_because, disabled_at, created_by)
values ($1, $2, $3, $4, $5, $6, case when $6 then null else 'by_staff' end,
        case when $6 then null else clock_timestamp() end, $7)

-- name: webhooks_of
-- The endpoints of an organizer, oldest first. Locks nothing.
select w.webhook_id, w.url, w.description, w.kinds, w.enabled, w.disabled_because, w.disabled_at, w.failing_since,
       w.created_by, w.created_at,
       (select max(s.until) from webhook_secrets s where s.webhook_id = w.webhook_id and s.until > now()) as old_secret_until
  from webhooks w where w.organizer_id = $1 and ($2::uuid is null or w.webhook_id = $2) order by w.webhook_id

-- name: webhook_held
-- Locks an endpoint; no row when there is none.
select enabled from webhooks where organizer_id = $1 and webhook_id = $2 for update

-- name: webhook_edited
-- The caller has locked it. Who lets an endpoint be used again forgets how it failed.
update webhooks set url = $3, description = $4, kinds = $5, enabled = $6,
       disabled_because = case when $6 then null else coalesce(disabled_because, 'by_staff') end,
       disabled_at = case when $6 then null else coalesce(disabled_at, clock_timestamp()) end,
       failing_since = case when $6 and not enabled then null else failing_since end
 where organizer_id = $1 and webhook_id = $2

-- name: webhook_deleted
-- Locks it. Its deliveries are forgotten in their time.
delete from webhooks where organizer_id = $1 and webhook_id = $2

-- name: secrets_deleted
delete from webhook_secrets where webhook_id = $1

-- name: secret_added
insert into webhook_secrets (secret_id, webhook_id, organizer_id, sealed) values ($1, $2, $3, $4)

-- name: older_secrets_deleted
-- Forgets what was being replaced already: there are never more than two. The caller has locked the endpoint.
delete from webhook_secrets where webhook_id = $1 and until is not null

-- name: secret_ends
-- Gives the secret that is current an end, $2 seconds from now. The caller has locked the endpoint.
update webhook_secrets set until = clock_timestamp() + make_interval(secs => $2) where webhook_id = $1 and until is null

-- name: secrets_in_use
-- What a sending is signed with, the newest first. Locks nothing.
select secret_id, sealed from webhook_secrets
 where webhook_id = $1 and (until is null or until > now()) order by secret_id desc

-- name: secrets_after
-- Up to $2 secrets in the order of their ids, behind $1. Locks them.
select secret_id, sealed from webhook_secrets where secret_id > $1 order by secret_id limit $2 for update

-- name: secret_resealed
-- The same secret under another key. The caller has locked it.
update webhook_secrets set sealed = $2 where secret_id = $1

-- name: secrets_forgotten
-- Forgets up to $1 secrets that have ended.
delete from webhook_secrets where secret_id = any (array(
  select secret_id from webhook_secrets where until < now() limit $1 for update skip locked))

-- name: deliveries_made
-- One delivery of each of the facts $2 for each endpoint of their organizer that takes its kind ($3); of a kind that must be
-- asked for by name ($4), for those that did. Nothing goes to an organizer who is suspended. Locks nothing that exists.
insert into webhook_deliveries (webhook_id, fact_id, organizer_id, kind, job_id)
select w.webhook_id, f.fact_id, $1, f.kind, gen_random_uuid()
  from unnest($2::uuid[], $3::text[], $4::boolean[]) f(fact_id, kind, by_name)
  join webhooks w on w.organizer_id = $1 and w.enabled and (f.kind = any (w.kinds) or (w.kinds is null and not f.by_name))
  join organizers o on o.organizer_id = w.organizer_id and o.suspended_at is null
on conflict do nothing
returning webhook_id, fact_id, job_id

-- name: deliveries_made_again
-- Deliveries to $1 of those facts among $3 for which there was none, or a dead one; with $4 also of those that arrived.
-- What still waits is left to wait. Locks those that are there.
insert into webhook_deliveries as d (webhook_id, fact_id, organizer_id, kind, job_id)
select $1, f.fact_id, f.organizer_id, f.kind, gen_random_uuid()
  from facts f where f.organizer_id = $2 and f.fact_id = any ($3::uuid[]) order by f.fact_id
on conflict (webhook_id, fact_id) do update
   set state = 'waiting', attempts = 0, next_at = null, ended_at = null, job_id = excluded.job_id
 where d.state = 'dead' or ($4 and d.state = 'delivered')
returning webhook_id, fact_id, job_id

-- name: delivery_made_again
-- The delivery of one fact, from the beginning, whatever became of it. No row when the fact is not kept. Locks it.
insert into webhook_deliveries as d (webhook_id, fact_id, organizer_id, kind, job_id)
select $1, f.fact_id, f.organizer_id, f.kind, gen_random_uuid()
  from facts f where f.organizer_id = $2 and f.fact_id = $3
on conflict (webhook_id, fact_id) do update
   set state = 'waiting', attempts = 0, next_at = null, ended_at = null, job_id = excluded.job_id
returning webhook_id, fact_id, job_id

-- name: deliveries_waiting
-- How many deliveries wait for an endpoint, counted to at most $2. Locks nothing.
select count(*) from (select from webhook_deliveries where webhook_id = $1 and state = 'waiting' limit $2) waiting

-- name: delivery_to_send
-- A delivery that this job is to send, with its fact and its endpoint; no row when it ended or another job has it.
-- `open` is whether anything may be sent there now. Locks nothing.
select d.attempts, d.tries, d.next_at, w.url, w.failing_since, w.enabled and o.suspended_at is null as open,
       f.kind, f.show_id, f.at, f.payload
  from webhook_deliveries d
  join webhooks w on w.webhook_id = d.webhook_id
  join organizers o on o.organizer_id = d.organizer_id
  join facts f on f.organizer_id = d.organizer_id and f.fact_id = d.fact_id
 where d.webhook_id = $1 and d.fact_id = $2 and d.job_id = $3 and d.state = 'waiting'

-- name: delivery_tried
-- What came of a try: `waiting` with a next one in $6 seconds, or an end. Locks it; nothing when another job has it.
update webhook_deliveries set state = $4, attempts = attempts + 1, tries = $5,
       next_at = clock_timestamp() + make_interval(secs => $6::float8),
       ended_at = case when $4 = 'waiting' then null else clock_timestamp() end
 where webhook_id = $1 and fact_id = $2 and job_id = $3 and state = 'waiting'

-- name: delivery_ended
-- Ends a delivery without a try, because its endpoint is closed. Locks it.
update webhook_deliveries set state = 'dead', next_at = null, ended_at = clock_timestamp()
 where webhook_id = $1 and fact_id = $2 and job_id = $3 and state = 'waiting'

-- name: webhook_works
-- Locks the endpoint, if it had failed.
update webhooks set failing_since = null where webhook_id = $1 and failing_since is not null

-- name: webhook_fails
-- Remembers since when nothing has arrived. Locks the endpoint, if it had not failed.
update webhooks set failing_since = clock_timestamp() where webhook_id = $1 and failing_since is null

-- name: webhook_closed
-- Closes an endpoint that is `gone`, or where nothing has arrived for $3 seconds (`failing`). Locks it; no row when it is
-- closed already, or not for that long.
update webhooks set enabled = false, disabled_because = $2, disabled_at = clock_timestamp()
 where webhook_id = $1 and enabled and ($2 = 'gone' or failing_since < now() - make_interval(secs => $3))
returning organizer_id, description

-- name: deliveries_page
-- Up to $5 deliveries of an endpoint, the newest facts first, behind $4; in the state $3, if given. Locks nothing.
select fact_id, kind, state, attempts, tries, next_at, created_at, ended_at from webhook_deliveries
 where organizer_id = $1 and webhook_id = $2 and ($3::text is null or state = $3)
   and fact_id < coalesce($4::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
 order by fact_id desc limit $5

-- name: delivery_by_id
select fact_id, kind, state, attempts, tries, next_at, created_at, ended_at from webhook_deliveries
 where organizer_id = $1 and webhook_id = $2 and fact_id = $3

-- name: deliveries_forgotten
-- Forgets up to $2 deliveries that are older than $1 days. Locks them and leaves alone what others have locked.
delete from webhook_deliveries d using (
  select webhook_id, fact_id from webhook_deliveries where created_at < now() - make_interval(days => $1)
   order by created_at limit $2 for update skip locked) old
 where d.webhook_id = old.webhook_id and d.fact_id = old.fact_id
