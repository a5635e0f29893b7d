-- What is on offer. Shows and what hangs on them lead with show_id, so that one show lives on one node.
-- owner: catalog

create table venues (
  venue_id uuid primary key,
  organizer_id uuid not null references organizers,
  name text not null check (length(name) between 1 and 255),
  address text not null default '' check (length(address) <= 1000),
  timezone text not null,
  version int not null default 1,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp()
);
create index venues_organizer on venues (organizer_id, venue_id);

-- A version of a layout never changes: shows were built from it.
create table layouts (
  layout_id uuid not null,
  layout_version int not null check (layout_version >= 1),
  venue_id uuid not null references venues,
  organizer_id uuid not null references organizers,
  name text not null check (length(name) between 1 and 255),
  plan jsonb not null,
  seats int not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (layout_id, layout_version)
);
create index layouts_venue on layouts (venue_id, layout_id, layout_version desc);

create table shows (
  show_id uuid primary key,
  organizer_id uuid not null references organizers,
  venue_id uuid,
  layout_id uuid,
  layout_version int,
  name text not null check (length(name) between 1 and 255),
  start_time timestamptz not null,
  timezone text not null,
  status text not null
    check (status in ('draft', 'scheduled', 'on_sale', 'paused', 'closed', 'cancelled', 'postponed')),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  hold_seconds int not null check (hold_seconds between 10 and 3600),
  hold_seconds_max int not null check (hold_seconds_max between hold_seconds and 86400),
  max_places_per_booking int not null check (max_places_per_booking between 1 and 10000),
  max_places_per_buyer int check (max_places_per_buyer between 1 and 1000000),
  sale_opens_at timestamptz,
  sale_closes_at timestamptz,
  orphans text not null check (orphans in ('allow', 'refuse')),
  focus_x real not null,
  focus_y real not null,
  version int not null default 1,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  check (sale_opens_at < sale_closes_at)
);
create index shows_start_time on shows (start_time, show_id);
create index shows_organizer on shows (organizer_id, start_time, show_id);

-- Areas are numbered 1, 2, 3, ... within their show, in the order of the plan.
create table areas (
  show_id uuid not null references shows,
  area smallint not null check (area >= 1),
  name text not null check (length(name) between 1 and 255),
  kind text not null check (kind in ('seated', 'standing')),
  capacity int not null check (capacity between 1 and 1000000),
  primary key (show_id, area),
  unique (show_id, name)
);

-- The seats of one row, left to right as the audience sits. The seat at index i has the ordinal first_seat + i.
-- A row of this table is a row of seats, not a seat: a hall of 100,000 is read in milliseconds, and nothing is ever
-- updated per seat, because what makes a seat taken is a row in `claims`.
create table seat_rows (
  show_id uuid not null,
  area smallint not null,
  row_number smallint not null check (row_number >= 1),
  label text not null,
  first_seat int not null check (first_seat >= 0),
  numbers text[] not null check (cardinality(numbers) between 1 and 1000),
  xs real[] not null,
  ys real[] not null,
  gap_after int[] not null default '{}',
  primary key (show_id, area, row_number),
  foreign key (show_id, area) references areas,
  check (cardinality(xs) = cardinality(numbers) and cardinality(ys) = cardinality(numbers))
);

create table tiers (
  show_id uuid not null,
  tier smallint not null check (tier >= 1),
  area smallint not null,
  name text not null check (length(name) between 1 and 255),
  amount bigint not null check (amount between 0 and 1000000000000),
  primary key (show_id, tier),
  unique (show_id, area, name),
  foreign key (show_id, area) references areas
);
