-- What organizers read of their sales: sums kept by a follower, so that no report reads bookings while a show sells.
-- owner: analytics

-- Sales and what was called off again, by the minute in which it happened. `amount` in minor units of `currency`.
create table analytics_sales (
  show_id uuid not null,
  minute timestamptz not null,
  organizer_id uuid not null,
  currency text not null,
  bookings int not null default 0 check (bookings >= 0),
  places bigint not null default 0 check (places >= 0),
  amount bigint not null default 0 check (amount >= 0),
  cancelled_bookings int not null default 0 check (cancelled_bookings >= 0),
  cancelled_places bigint not null default 0 check (cancelled_places >= 0),
  cancelled_amount bigint not null default 0 check (cancelled_amount >= 0),
  primary key (show_id, minute)
);
create index analytics_sales_organizer on analytics_sales (organizer_id, minute);

-- How many places people book at once.
create table analytics_sizes (
  show_id uuid not null,
  places int not null check (places > 0),
  organizer_id uuid not null,
  bookings int not null check (bookings > 0),
  primary key (show_id, places)
);

-- How attempts ended: `confirmed`, the reason of a booking that ended, or the code of a refusal. What processes count by
-- themselves (refusals, holds that expired or were let go) may miss some seconds when one is killed.
create table analytics_outcomes (
  show_id uuid not null,
  minute timestamptz not null,
  outcome text not null check (outcome ~ '^[a-z_]{1,60}$'),
  organizer_id uuid not null,
  times bigint not null check (times > 0),
  primary key (show_id, minute, outcome)
);

alter table analytics_sales enable row level security;
create policy app on analytics_sales to holdfast_app using (true);
create policy tenant on analytics_sales to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));
alter table analytics_sizes enable row level security;
create policy app on analytics_sizes to holdfast_app using (true);
create policy tenant on analytics_sizes to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));
alter table analytics_outcomes enable row level security;
create policy app on analytics_outcomes to holdfast_app using (true);
create policy tenant on analytics_outcomes to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));
