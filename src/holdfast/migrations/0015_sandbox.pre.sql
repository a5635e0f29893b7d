-- The books of the sandbox, the built-in payment provider whose money is none. It stands in for somebody else's system, so
-- no organizer is in it, and nothing else reads it.
-- owner: payments

-- `money_at`: when money that is on its way arrives; `stoppable` money comes no more once the payment was closed. `refunds`
-- says what becomes of refunds of this payment, `webhooks` how its events are told, as somebody chose on the page.
create table sandbox_payments (
  ref text primary key check (length(ref) between 10 and 60),
  payment_id uuid not null unique,
  show_id uuid not null,
  booking_id uuid not null,
  reference text not null check (length(reference) <= 40),
  amount bigint not null check (amount > 0),
  currency text not null check (length(currency) = 3),
  description text not null check (length(description) <= 500),
  return_url text not null check (length(return_url) <= 2000),
  state text not null default 'open' check (state in ('open', 'succeeded', 'declined', 'closed')),
  reason text check (length(reason) <= 60),
  money_at timestamptz,
  stoppable boolean not null default true,
  guesses smallint not null default 0 check (guesses between 0 and 3),
  disputed boolean not null default false,
  refunds text not null default 'settle' check (refunds in ('settle', 'later', 'fail', 'refuse')),
  webhooks text not null default 'once' check (webhooks in ('once', 'twice', 'late', 'never')),
  created_at timestamptz not null default clock_timestamp()
);
create index sandbox_payments_created_at on sandbox_payments (created_at, ref);

-- `ends_at`: when a pending refund becomes what `ends_as` says. One that failed may be tried again under the same id.
create table sandbox_refunds (
  ref text primary key check (length(ref) between 10 and 60),
  refund_id uuid not null,
  payment_ref text not null references sandbox_payments,
  show_id uuid not null,
  amount bigint not null check (amount > 0),
  currency text not null check (length(currency) = 3),
  state text not null check (state in ('pending', 'settled', 'failed')),
  ends_at timestamptz,
  ends_as text check (ends_as in ('settled', 'failed')),
  created_at timestamptz not null default clock_timestamp(),
  check ((state = 'pending') = (ends_at is not null and ends_as is not null))
);
create unique index sandbox_refunds_live on sandbox_refunds (refund_id) where state <> 'failed';
create index sandbox_refunds_payment on sandbox_refunds (payment_ref);
create index sandbox_refunds_created_at on sandbox_refunds (created_at, ref);

revoke all on sandbox_payments, sandbox_refunds from holdfast_tenant;
