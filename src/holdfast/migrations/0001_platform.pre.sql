-- What the engine needs whatever it sells: facts on their way out, jobs, and the answers kept for retries.
-- owner: platform

-- A fact that happened, written in the transaction that made it true, until it has been handed to every follower.
create table outbox (
  show_id uuid not null,
  fact_id uuid not null,
  kind text not null,
  payload jsonb not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (show_id, fact_id)
);

-- Work to be done at least once. `leased_until` in the future: the run that made the mark `lease` is at it. Whoever ends
-- a run names its mark, so that a worker that was thought dead cannot speak for the run that took over.
create table jobs (
  job_id uuid primary key,
  kind text not null,
  payload jsonb not null,
  attempts int not null default 0 check (attempts >= 0),
  run_at timestamptz not null default clock_timestamp(),
  lease uuid,
  leased_until timestamptz,
  last_error text,
  created_at timestamptz not null default clock_timestamp()
) with (fillfactor = 70);
create index jobs_run_at on jobs (run_at);

-- Work that failed too often, kept until a person replays or discards it.
create table dead_letters (
  job_id uuid primary key,
  kind text not null,
  payload jsonb not null,
  attempts int not null,
  last_error text not null,
  created_at timestamptz not null,
  died_at timestamptz not null default clock_timestamp()
);
create index dead_letters_died_at on dead_letters (died_at, job_id);

-- The answer to each POST that carried an Idempotency-Key, written in the transaction of its effect.
-- Claims have their own, in the show's family: see idempotency_keys.
create table answers (
  caller text not null,
  key text not null,
  fingerprint bytea not null,
  status int not null,
  headers jsonb not null,
  body bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (caller, key)
);
create index answers_created_at on answers (created_at);
