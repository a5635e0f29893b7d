-- What a place costs beside its face value, and who pays less. A booking says under which terms and with which code it was
-- priced, so that what it was made of can be told for ever while the claim writes no array more.
-- owner: catalog

-- `amount` is the face value. A fee is a fixed sum and a share of the face value; tax is on both, within or on top.
alter table tiers
  add column fee bigint not null default 0 check (fee between 0 and 1000000000000),
  add column fee_basis_points int not null default 0 check (fee_basis_points between 0 and 10000),
  add column tax_basis_points int not null default 0 check (tax_basis_points between 0 and 10000),
  add column tax_included boolean not null default true,
  add column hidden boolean not null default false;

-- What tiers cost before they were edited: these were the terms up to and with version `until` of the show. Those of later
-- versions stand in the next row, or in `tiers`.
create table tier_terms (
  show_id uuid not null,
  tier smallint not null,
  until int not null,
  amount bigint not null,
  fee bigint not null,
  fee_basis_points int not null,
  tax_basis_points int not null,
  tax_included boolean not null,
  primary key (show_id, tier, until)
);
alter table tier_terms enable row level security;
create policy app on tier_terms to holdfast_app using (true);
create policy tenant on tier_terms to holdfast_tenant
  using (exists (select from shows s where s.show_id = tier_terms.show_id));

-- owner: booking

-- `terms` is the version of the show that the claim was priced under; nothing for what was written before there was more
-- than a face value.
alter table bookings add column terms int, add column code_id uuid;

-- Promotion codes. What a code gives (its discount, its tiers) never changes, and no row is ever removed, because bookings
-- were priced by it. `code_key` is the code as it is compared. One use is one booking; `used` counts those that live, and
-- is changed by whoever holds the show's head.
create table codes (
  show_id uuid not null,
  code_id uuid not null,
  organizer_id uuid not null,
  code text not null check (length(code) between 1 and 64),
  code_key text not null check (length(code_key) between 3 and 256),
  discount_basis_points int check (discount_basis_points between 1 and 10000),
  discount_amount bigint check (discount_amount between 1 and 1000000000000),
  tiers smallint[] not null default '{}',
  reveals smallint[] not null default '{}',
  starts_at timestamptz,
  ends_at timestamptz,
  uses_max int check (uses_max between 1 and 1000000),
  used int not null default 0,
  places_max int check (places_max between 1 and 10000),
  version int not null default 1,
  created_at timestamptz not null default clock_timestamp(),
  withdrawn_at timestamptz,
  primary key (show_id, code_id),
  unique (show_id, code_key),
  constraint never_overused check (used >= 0 and (uses_max is null or used <= uses_max)),
  check (num_nonnulls(discount_basis_points, discount_amount) <= 1),
  check (starts_at < ends_at)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);
alter table codes enable row level security;
create policy app on codes to holdfast_app using (true);
create policy tenant on codes to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));
