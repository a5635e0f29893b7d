-- The queue in front of claims. Everything leads with show_id.
-- owner: booking

-- One row per show that was ever queued for: where its queue ends. Who queues a claim locks it until the commit, so that
-- claims become visible in the order of their positions and no earlier one can turn up behind a later one.
create table queues (
  show_id uuid primary key,
  last_position bigint not null
) with (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);

-- Claims that wait (no reason) and, for a while, those that came to nothing (with the reason, and without the person).
-- One that was granted leaves, for its booking of the same id takes its place. `request` is what was asked for, as JSON.
-- `made_as`: an equal claim under the same key was decided without the queue, and made that booking.
create table queued_claims (
  show_id uuid not null,
  position bigint not null,
  booking_id uuid not null,
  organizer_id uuid not null,
  reference text not null,
  key bytea check (length(key) = 16),
  fingerprint bytea not null,
  request jsonb not null,
  quantity int not null check (quantity between 1 and 1000000),
  currency text not null,
  reason text,
  made_as uuid,
  created_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  primary key (show_id, position),
  unique (show_id, booking_id),
  unique (show_id, key),
  constraint legal_end check (
    (reason is null) = (ended_at is null) and (reason is null or not request ? 'customer')
    and (made_as is null or reason is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);
create index queued_claims_waiting on queued_claims (show_id, position) where reason is null;
create index queued_claims_ended_at on queued_claims (ended_at) where reason is not null;
