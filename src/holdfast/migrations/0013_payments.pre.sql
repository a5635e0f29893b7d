-- Money in: attempts to pay, and what providers said of them. No foreign key, as everywhere in the family of a show.
-- owner: payments

-- One row per attempt, written before the provider hears of it. `expected_amount` was fixed with the hold; `amount`, in
-- minor units as well, is the same until the provider has taken other money, and then that. `ref` is the provider's id of
-- the attempt, `charge` that of the money.
-- `description`, `return_url` and `expires_at` are what the provider was told, and is told again when the answer was lost:
-- the same attempt must be the same request. `way` is where the buyer pays: {"url", "method", "fields"}.
create table payments (
  show_id uuid not null,
  payment_id uuid not null,
  booking_id uuid not null,
  organizer_id uuid not null,
  provider text not null check (length(provider) between 1 and 40),
  state text not null default 'CREATED',
  amount bigint not null check (amount >= 0),
  currency text not null,
  expected_amount bigint not null check (expected_amount > 0),
  expected_currency text not null,
  equal_places boolean not null default false,
  description text not null,
  return_url text not null,
  expires_at timestamptz not null,
  way jsonb,
  ref text,
  charge text,
  reason text,
  disputed_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  looked_at timestamptz,
  settled_at timestamptz,
  primary key (show_id, payment_id),
  constraint legal_state check (
    (state = 'CREATED' and ref is null and settled_at is null)
    or (state in ('OPEN', 'DECLINED') and ref is not null and settled_at is null)
    or (state = 'CLOSED' and settled_at is not null)
    or (state in ('SUCCEEDED', 'MISMATCHED') and ref is not null and charge is not null and settled_at is not null)),
  constraint paid_what_was_asked check (
    state = 'MISMATCHED' or (amount = expected_amount and currency = expected_currency))
);
create index payments_booking on payments (show_id, booking_id);
-- For a notice that names the provider's id alone.
create index payments_ref on payments (provider, ref) where ref is not null;
create index payments_charge on payments (provider, charge) where charge is not null;

-- Which notices of providers have taken effect: the row is written in the transaction of the effect, so that a notice that
-- comes again, whenever, has none.
create table payment_events (
  show_id uuid not null,
  provider text not null,
  event_id text not null check (length(event_id) between 1 and 255),
  payment_id uuid,
  kind text not null,
  received_at timestamptz not null default clock_timestamp(),
  primary key (show_id, provider, event_id)
);
create index payment_events_received_at on payment_events (received_at);

alter table payments enable row level security;
create policy app on payments to holdfast_app using (true);
create policy tenant on payments to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));
alter table payment_events enable row level security;
create policy app on payment_events to holdfast_app using (true);
create policy tenant on payment_events to holdfast_tenant
  using (exists (select from shows s where s.show_id = payment_events.show_id));
