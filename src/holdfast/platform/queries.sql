-- Queries of the platform's own tables: outbox, broker_facts, jobs, dead_letters, answers.

-- name: messages_sent
-- Sends each payload to every process that listens. Commits of such statements take turns in the whole server.
select pg_notify($1, payload) from unnest($2::text[]) payload

-- name: fact_announced
-- Writes a fact in the caller's transaction. Locks nothing that exists.
select announce($1, $2, $3, $4)

-- name: shows_with_facts
-- The next shows that have facts waiting. Locks nothing.
select show_id from outbox where show_id > $1 group by show_id order by show_id limit $2

-- name: facts_taken
-- Takes facts of one show out of the outbox. Locks them and leaves alone what another relay has locked.
-- The list is an array, and in order, so that the index is used whatever the plan.
delete from outbox
 where show_id = $1 and fact_id = any (array(
   select fact_id from outbox where show_id = $1 order by fact_id limit $2 for update skip locked))
returning fact_id, kind, payload, created_at

-- name: jobs_added
-- Adds jobs, each once by its id. Waits only for another transaction that adds the same id.
insert into jobs (job_id, kind, payload, run_at)
select u.job_id, u.kind, u.payload, coalesce(u.run_at, clock_timestamp())
  from unnest($1::uuid[], $2::text[], $3::jsonb[], $4::timestamptz[]) u(job_id, kind, payload, run_at)
on conflict (job_id) do nothing

-- name: jobs_taken
-- Leases up to $3 due jobs for $4 seconds under the mark $5: of each kind in $1 at most as many as $2 says. Locks them
-- and leaves alone what others have locked. Kind by kind, so that a long queue of one kind is not read to find another, and
-- the kinds that have most room left before the others, by lot where they have as much, so that it is not waited behind
-- either; the list is an array so that the limits are applied once, whatever the plan; now() so that the index is used.
update jobs set lease = $5, leased_until = now() + make_interval(secs => $4), attempts = attempts + 1
 where job_id = any (array(
   select turns.job_id from (
     select due.job_id, row_number() over (partition by wanted.kind order by due.run_at) - wanted.most as turn
       from unnest($1::text[], $2::int[]) wanted(kind, most)
       cross join lateral (
         select j.job_id, j.run_at from jobs j
          where j.kind = wanted.kind and j.run_at <= now() and (j.leased_until is null or j.leased_until <= now())
          order by j.run_at limit wanted.most for update skip locked) due) turns
    order by turns.turn, random() limit $3))
returning job_id, kind, payload, attempts, created_at, lease

-- name: leases_kept
-- Renews leases for $3 seconds and names those that still stand. A job whose handler finishes it in an open transaction
-- is locked: nobody can take it, so it is named without being renewed.
with renewed as (
  update jobs set leased_until = now() + make_interval(secs => $3)
   where job_id = any (array(
     select j.job_id from jobs j
       join unnest($1::uuid[], $2::uuid[]) held(job_id, lease) on j.job_id = held.job_id and j.lease = held.lease
      for update of j skip locked))
)
select j.job_id from jobs j
  join unnest($1::uuid[], $2::uuid[]) held(job_id, lease) on j.job_id = held.job_id and j.lease = held.lease

-- name: job_finished
-- Ends a job for good. Locks it; touches nothing when the lease has passed to another run.
delete from jobs where job_id = $1 and lease = $2

-- name: job_put_back
-- Lets a job run again in $3 seconds, taking back $4 of its attempts. Locks it; nothing when the lease is another's.
update jobs set lease = null, leased_until = null, run_at = clock_timestamp() + make_interval(secs => $3),
       attempts = greatest(attempts - $4, 0), last_error = coalesce($5, last_error)
 where job_id = $1 and lease = $2

-- name: job_buried
-- Makes a dead letter of a job. Locks it; nothing when the lease is another's.
with gone as (
  delete from jobs where job_id = $1 and lease = $2 returning job_id, kind, payload, attempts, created_at
)
insert into dead_letters as d (job_id, kind, payload, attempts, last_error, created_at)
select job_id, kind, payload, attempts, $3, created_at from gone
on conflict (job_id) do update
   set kind = excluded.kind, payload = excluded.payload, attempts = excluded.attempts,
       last_error = excluded.last_error, created_at = excluded.created_at, died_at = excluded.died_at

-- name: dead_letters_page
-- Dead letters, the latest first, after the one that died at $2 with id $3. Locks nothing.
select job_id, kind, payload, attempts, last_error, created_at, died_at from dead_letters
 where (died_at, job_id) < (coalesce($2::timestamptz, 'infinity'),
                            coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
 order by died_at desc, job_id desc limit $1

-- name: dead_letter_replayed
-- Puts a dead letter back among the jobs, as new. Locks it.
with back as (
  delete from dead_letters where job_id = $1 returning job_id, kind, payload, last_error, created_at
), added as (
  insert into jobs (job_id, kind, payload, last_error, created_at)
  select job_id, kind, payload, last_error, created_at from back
  on conflict (job_id) do nothing
)
select exists (select from back)

-- name: dead_letter_discarded
-- Forgets a dead letter. Locks it.
delete from dead_letters where job_id = $1

-- name: unknown_kinds
-- Kinds of due jobs that are not among $1. Reads at most $2 jobs; locks nothing.
select distinct kind from (select kind from jobs where run_at <= now() order by run_at limit $2) due
 where kind <> all ($1::text[])

-- name: jobs_by_kind
-- How many jobs there are of each kind, out of at most $1. Locks nothing.
select kind, count(*) as jobs from (select kind from jobs limit $1) counted group by kind

-- name: gauges
-- How much waits, each counted to at most $1, and who waits for a lock in this database. Locks nothing.
select (select count(*) from (select from outbox limit $1) o) as facts,
       (select count(*) from (select from dead_letters limit $1) d) as dead,
       coalesce((select extract(epoch from now() - run_at)::float8 from jobs
                  where run_at <= now() and (leased_until is null or leased_until <= now())
                  order by run_at limit 1), 0) as oldest_due_seconds,
       w.lock_waiters, w.lock_wait_seconds
  from (select count(distinct l.pid) as lock_waiters,
               coalesce(max(extract(epoch from clock_timestamp() - l.waitstart)), 0)::float8 as lock_wait_seconds
          from pg_locks l join pg_stat_activity a on a.pid = l.pid
         where not l.granted and a.datname = current_database()) w

-- name: broker_facts_kept
-- Keeps facts of the show $1 for the broker, each once by its id. Locks nothing that exists.
insert into broker_facts (show_id, fact_id, kind, payload, created_at, booking_id, version)
select $1, u.fact_id, u.kind, u.payload, u.created_at, (u.payload->>'booking_id')::uuid,
       case when u.payload->>'booking_id' is not null then (u.payload->>'version')::bigint end
  from unnest($2::uuid[], $3::text[], $4::jsonb[], $5::timestamptz[]) u(fact_id, kind, payload, created_at)
on conflict do nothing

-- name: publishing_asked
-- Adds the job that publishes a show's facts. One that is there is locked, so that it cannot end between these facts and
-- their commit, and never see them.
insert into jobs (job_id, kind, payload) values ($1, $2, $3)
on conflict (job_id) do update set kind = excluded.kind

-- name: broker_facts_page
-- The oldest $2 facts of a show with all others of the same bookings, but for bookings of which the outbox still has a
-- fact: it may be an earlier one. One statement, so that a fact on its way is seen in one table or the other. Locks nothing.
with page as materialized (
  select fact_id, booking_id from broker_facts where show_id = $1 order by created_at limit $2
)
select f.fact_id, f.kind, f.payload, f.created_at, f.booking_id, f.version
  from broker_facts f
 where f.show_id = $1
   and (f.fact_id = any (array(select fact_id from page))
        or f.booking_id = any (array(select booking_id from page where booking_id is not null)))
   and (f.booking_id is null
        or f.booking_id <> all (array(select (o.payload->>'booking_id')::uuid from outbox o
                                       where o.show_id = $1 and o.payload->>'booking_id' is not null)))
 order by f.created_at, f.fact_id

-- name: broker_facts_left
-- Whether a show has facts for the broker. Locks nothing.
select exists (select from broker_facts where show_id = $1)

-- name: broker_facts_published
-- Forgets facts that the broker has confirmed. Locks them.
delete from broker_facts where show_id = $1 and fact_id = any ($2::uuid[])

-- name: broker_gauges
-- How many facts wait for the broker, counted to at most $1, and how long the oldest of those has. Locks nothing.
select count(*) as facts,
       coalesce(extract(epoch from clock_timestamp() - min(created_at))::float8, 0) as oldest_seconds
  from (select created_at from broker_facts limit $1) waiting

-- name: answer_begun
-- Takes an Idempotency-Key. Waits for an equal request that is under way; no row when the key is taken.
insert into answers (caller, key, fingerprint, status, headers, body) values ($1, $2, $3, 0, '[]', '')
on conflict (caller, key) do nothing
returning true

-- name: answer_promised
-- Takes an Idempotency-Key for an operation that commits more than once; no row when the key is taken. A promise that was
-- not kept for $4 seconds, because its process died, passes to an equal request.
insert into answers as a (caller, key, fingerprint, status, headers, body) values ($1, $2, $3, 0, '[]', '')
on conflict (caller, key) do update set created_at = clock_timestamp()
 where a.status = 0 and a.fingerprint = excluded.fingerprint
   and a.created_at <= clock_timestamp() - make_interval(secs => $4)
returning true

-- name: answer_withdrawn
-- Lets go of a key whose operation was refused.
delete from answers where caller = $1 and key = $2 and status = 0

-- name: answer_kept
-- The answer that was given under a key. Locks nothing.
select fingerprint, status, headers, body from answers where caller = $1 and key = $2

-- name: answer_stored
-- Keeps the answer of the request that took the key in this transaction.
update answers set status = $3, headers = $4, body = $5 where caller = $1 and key = $2

-- name: answers_pruned
-- Forgets up to $2 answers that are older than $1 hours. Locks them and leaves alone what others have locked.
with old as materialized (
  select caller, key from answers where created_at < now() - make_interval(hours => $1)
   order by created_at limit $2 for update skip locked)
delete from answers a using old where a.caller = old.caller and a.key = old.key

-- name: add_letter
insert into letters (letter_id, recipient, sealed) values ($1, $2, $3)

-- name: letter_by_id
select sealed, created_at from letters where letter_id = $1

-- name: letter_sent
-- Forgets a letter that was handed over. Locks it.
delete from letters where letter_id = $1

-- name: forget_letters_to
-- Forgets the letters to one recipient, whose digest is any of these. Locks them.
delete from letters where recipient = any ($1::bytea[])

-- name: forget_old_letters
-- Forgets up to $2 letters that are older than $1 days.
delete from letters where letter_id = any (array(
  select letter_id from letters where created_at < now() - make_interval(days => $1) order by created_at limit $2))

-- name: letters_after
-- Up to $2 letters in the order of their ids, behind $1. Locks them.
select letter_id, sealed from letters where letter_id > $1 order by letter_id limit $2 for update

-- name: letter_resealed
-- The same letter under another key. The caller has locked it.
update letters set recipient = $2, sealed = $3 where letter_id = $1

-- name: answers_forgotten
-- Forgets answers that speak of any of these ids. Reads all answers of the last hours.
delete from answers a where exists (
  select from unnest($1::text[]) spoken(id) where position(convert_to(spoken.id, 'UTF8') in a.body) > 0)
