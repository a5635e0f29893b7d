-- Facts for those outside: the feed, and the endpoints that organizers have them sent to.
-- owner: webhooks

-- What was announced, as each organizer may read it for a while. `position` counts up within the organizer without a gap:
-- it is given after the row was committed, by one numberer at a time, so that a reader who was shown a position has been
-- shown everything before it. What is only sent (tests of an endpoint, availability) is not in the feed and gets none.
create table facts (
  organizer_id uuid not null,
  fact_id uuid not null,
  show_id uuid,
  kind text not null check (length(kind) <= 64),
  at text not null check (length(at) <= 40),
  payload jsonb not null,
  in_feed boolean not null,
  position bigint,
  stored_at timestamptz not null default clock_timestamp(),
  primary key (organizer_id, fact_id),
  check (position is null or in_feed)
);
create unique index facts_position on facts (organizer_id, position) where position is not null;
create index facts_unnumbered on facts (organizer_id, fact_id) where in_feed and position is null;
create index facts_stored_at on facts (in_feed, stored_at);

-- How far an organizer's feed is numbered, and up to where it has been forgotten.
create table feeds (
  organizer_id uuid primary key,
  position bigint not null default 0,
  forgotten bigint not null default 0 check (forgotten <= position)
);

-- Where an organizer has its facts sent. `kinds` null: all but what must be asked for by name. `failing_since` is the
-- first failure after the last success.
create table webhooks (
  webhook_id uuid primary key,
  organizer_id uuid not null,
  url text not null check (length(url) between 1 and 2000),
  description text not null default '' check (length(description) <= 200),
  kinds text[] check (cardinality(kinds) between 1 and 100),
  enabled boolean not null default true,
  disabled_because text check (disabled_because in ('by_staff', 'gone', 'failing')),
  disabled_at timestamptz,
  failing_since timestamptz,
  created_by text not null check (length(created_by) <= 100),
  created_at timestamptz not null default clock_timestamp(),
  check (enabled = (disabled_because is null)),
  check (enabled = (disabled_at is null))
);
create index webhooks_organizer on webhooks (organizer_id, webhook_id);

-- What sendings are signed with, sealed. While a secret is being replaced there are two, and the old one has an end.
create table webhook_secrets (
  secret_id uuid primary key,
  webhook_id uuid not null,
  organizer_id uuid not null,
  sealed bytea not null,
  until timestamptz,
  created_at timestamptz not null default clock_timestamp()
);
create unique index webhook_secrets_current on webhook_secrets (webhook_id) where until is null;
create index webhook_secrets_webhook on webhook_secrets (webhook_id, secret_id);

-- One for each endpoint and fact. `job_id` is the job whose word counts: a replay has a new one, and what an older one
-- still says is not written down. `tries` tells of the last ones. Nothing is referenced: what becomes of a deleted endpoint's
-- deliveries is that they are forgotten in their time.
create table webhook_deliveries (
  webhook_id uuid not null,
  fact_id uuid not null,
  organizer_id uuid not null,
  kind text not null,
  job_id uuid not null,
  state text not null default 'waiting' check (state in ('waiting', 'delivered', 'dead')),
  attempts int not null default 0 check (attempts >= 0),
  tries jsonb not null default '[]',
  next_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  primary key (webhook_id, fact_id),
  check ((state = 'waiting') = (ended_at is null))
) with (fillfactor = 80);
create index webhook_deliveries_state on webhook_deliveries (webhook_id, state, fact_id);
create index webhook_deliveries_created_at on webhook_deliveries (created_at);

-- As migration 0006 has it.
do $$
declare
  v_table text;
begin
  foreach v_table in array array['facts', 'feeds', 'webhooks', 'webhook_secrets', 'webhook_deliveries'] loop
    execute format('alter table %I enable row level security', v_table);
    execute format('create policy app on %I to holdfast_app using (true)', v_table);
    execute format('create policy tenant on %I to holdfast_tenant'
                   ' using (organizer_id = (select current_setting(''holdfast.organizer'')::uuid))', v_table);
  end loop;
end $$;
