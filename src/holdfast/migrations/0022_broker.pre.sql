-- Facts on their way to a message broker, and an index by which jobs of each kind are found.
-- owner: platform

-- A fact that the relay has taken out of the outbox, until the broker has confirmed it. Filled only where a broker is
-- set. `booking_id` and `version` are those of the payload, where it has them: by them each booking's facts keep their order.
create table broker_facts (
  show_id uuid not null,
  fact_id uuid not null,
  kind text not null,
  payload jsonb not null,
  created_at timestamptz not null,
  booking_id uuid,
  version bigint,
  primary key (show_id, fact_id)
);
create index broker_facts_created_at on broker_facts (show_id, created_at);
create index broker_facts_booking on broker_facts (show_id, booking_id);

-- The engine alone reads and writes them, as it does the outbox.
revoke all on broker_facts from holdfast_tenant;

-- Workers take due jobs kind by kind, so that a kind whose jobs hang keeps none of the others waiting.
create index jobs_kind_run_at on jobs (kind, run_at);
