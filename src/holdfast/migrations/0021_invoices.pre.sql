-- Invoices and credit notes, numbered by each organizer without a gap.
-- owner: invoices

-- What an organizer wants to stand on its documents from now on. What has been numbered keeps what stood here then.
create table invoicing (
  organizer_id uuid primary key,
  legal_name text not null check (length(legal_name) between 1 and 255),
  address text not null default '' check (length(address) <= 500),
  tax_id text not null default '' check (length(tax_id) <= 50),
  prefix text not null default '' check (prefix ~ '^[A-Za-z0-9/_.-]{0,20}$'),
  note text not null default '' check (length(note) <= 1000),
  language text check (language in ('en', 'de'))
);

-- The last number that was given. A sequence would lose the number of every transaction that fails; this row goes back
-- with it. Whoever numbers has it locked until the commit.
create table invoice_counters (
  organizer_id uuid primary key,
  last bigint not null check (last >= 0)
);
revoke all on invoice_counters from holdfast_tenant;

-- An invoice for each sale with a price, a credit note for what went back of it. `label` is the number as people read it.
-- No buyer's name: it is taken from the booking whenever the document is printed, so that there is nothing to erase here.
-- `source_id` is what the document was made for (the booking, the refund, or the fact of a cancellation), once.
create table invoices (
  organizer_id uuid not null,
  number bigint not null check (number > 0),
  label text not null check (length(label) <= 40),
  kind text not null check (kind in ('invoice', 'credit_note')),
  refers_to bigint,
  show_id uuid not null,
  booking_id uuid not null,
  source_id uuid not null,
  reference text not null,
  show_name text not null,
  starts_at timestamptz not null,
  timezone text not null,
  currency text not null,
  total bigint not null check (total > 0),
  lines jsonb not null,
  legal_name text not null,
  address text not null,
  tax_id text not null,
  note text not null,
  language text not null,
  issued_at timestamptz not null default clock_timestamp(),
  primary key (organizer_id, number),
  unique (organizer_id, source_id),
  check ((kind = 'credit_note') = (refers_to is not null)),
  check (refers_to < number)
);
create index invoices_booking on invoices (show_id, booking_id, number);
create index invoices_refers_to on invoices (organizer_id, refers_to) where refers_to is not null;
create index invoices_issued_at on invoices (organizer_id, issued_at);

-- A document never changes.
revoke update, delete, truncate on invoices from holdfast_app, holdfast_tenant;

-- As migration 0006 has it.
alter table invoicing enable row level security;
create policy app on invoicing to holdfast_app using (true);
create policy tenant on invoicing to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));
alter table invoices enable row level security;
create policy app on invoices to holdfast_app using (true);
create policy tenant on invoices to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));
