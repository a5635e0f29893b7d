-- Money that goes back, and the places that go with it.
-- owner: payments

-- How much of a payment went back or is on its way: the last word on that nobody is given more back than was taken,
-- however many ask at once.
alter table payments add column refunded bigint not null default 0,
  add constraint never_more_refunded check (refunded between 0 and amount);

-- WANTED: decided. SENT: the provider was asked, and may have done it. SETTLED: it did. FAILED: it will not; a person
-- decides, and who tries again makes a new refund, `retried_as`, because a provider answers the same id for ever the same.
-- `numbers` are the tickets of the booking that go with the money; null: the money goes alone. `release`: their places are
-- for sale again, else they become a block of the organizer's. `problem` is what the provider last said when it did not work.
create table refunds (
  show_id uuid not null,
  refund_id uuid not null,
  payment_id uuid not null,
  booking_id uuid not null,
  organizer_id uuid not null,
  provider text not null,
  amount bigint not null check (amount > 0),
  currency text not null,
  state text not null default 'WANTED',
  reason text not null check (reason ~ '^[a-z][a-z_]{1,39}$'),
  note text check (length(note) between 1 and 255),
  numbers smallint[],
  release boolean not null,
  ref text,
  problem text check (length(problem) between 1 and 500),
  retried_as uuid,
  created_by uuid,
  created_at timestamptz not null default clock_timestamp(),
  sent_at timestamptz,
  settled_at timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (show_id, refund_id),
  constraint legal_state check (
    (state = 'WANTED' and ref is null and sent_at is null and settled_at is null)
    or (state = 'SENT' and sent_at is not null and settled_at is null)
    or (state = 'SETTLED' and ref is not null and settled_at is not null)
    or state = 'FAILED'),
  constraint retried_once_failed check (retried_as is null or state = 'FAILED')
);
create index refunds_booking on refunds (show_id, booking_id);
-- What has not come to an end, for the gauges and for whoever looks after them; small, whatever history is.
create index refunds_open on refunds (state, updated_at) where state in ('WANTED', 'SENT', 'FAILED');
-- For comparing with the provider's books.
create index refunds_sent_at on refunds (sent_at) where sent_at is not null;
create index refunds_ref on refunds (provider, ref) where ref is not null;
create index payments_created_at on payments (created_at);

alter table refunds enable row level security;
create policy app on refunds to holdfast_app using (true);
create policy tenant on refunds to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));

-- owner: booking

-- The places that went back with a part of the money, as numbers counted from 1; null: none did. The arrays of places stay
-- as they were sold.
alter table bookings add column given_back smallint[];
