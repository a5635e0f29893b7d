-- The promise of a place. Everything leads with show_id; nothing that a claim writes has a foreign key, because the
-- checks behind foreign keys halve the rate of claims, and the functions lock and look before they write.
-- owner: booking

-- The one row that everybody who changes a show's inventory locks first. Narrow, and only its key is indexed, so that
-- each update stays within its page. `revision` counts changes of availability; `terms` is the version of the show
-- (prices, limits, hold times) that a claim must have been made under.
create table show_heads (
  show_id uuid primary key,
  revision bigint not null default 0,
  terms int not null default 1,
  selling boolean not null,
  opens_at timestamptz,
  closes_at timestamptz
) with (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);

-- How many places an area has and how many of them are gone. For a seated area the ordinals of its seats are
-- first_seat to first_seat + capacity - 1; a standing area has none, and its first_seat is where the next would begin.
create table stock (
  show_id uuid not null,
  area smallint not null check (area >= 1),
  seated boolean not null,
  first_seat int not null check (first_seat >= 0),
  capacity int not null check (capacity between 1 and 1000000),
  reserved int not null default 0,
  blocked int not null default 0,
  primary key (show_id, area),
  constraint never_oversold check (reserved >= 0 and blocked >= 0 and reserved + blocked <= capacity)
) with (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);

-- What makes a seat taken. The primary key is the last word: a seat is held by one booking or block, or by nobody.
create table claims (
  show_id uuid not null,
  seat int not null check (seat >= 0),
  held_by uuid not null,
  primary key (show_id, seat)
);

-- Places are parallel arrays: place i is in areas[i], on seats[i] when the area is seated, sold as tiers[i] for
-- amounts[i]. A booking that never got its places (reason sold_out) has a quantity and empty arrays.
create table bookings (
  show_id uuid not null,
  booking_id uuid not null,
  organizer_id uuid not null,
  reference text not null,
  status text not null,
  reason text,
  version int not null default 1,
  quantity int not null check (quantity between 1 and 1000000),
  areas smallint[] not null,
  seats int[] not null,
  tiers smallint[] not null,
  amounts bigint[] not null,
  total bigint not null check (total >= 0),
  currency text not null,
  email text,
  name text,
  buyer bytea,
  created_at timestamptz not null,
  expires_at timestamptz,
  extended boolean not null default false,
  confirmed_at timestamptz,
  ended_at timestamptz,
  primary key (show_id, booking_id),
  constraint legal_state check (
    (status = 'PENDING' and reason is null and expires_at is not null and confirmed_at is null and ended_at is null)
    or (status = 'CONFIRMED' and reason is null and confirmed_at is not null and ended_at is null)
    or (status = 'FAILED' and reason in ('sold_out', 'expired', 'released', 'show_cancelled')
        and confirmed_at is null and ended_at is not null)
    or (status = 'CANCELLED' and reason in ('by_buyer', 'by_organizer', 'show_cancelled')
        and confirmed_at is not null and ended_at is not null)),
  constraint places_match check (
    cardinality(areas) in (0, quantity) and cardinality(seats) in (0, cardinality(areas))
    and cardinality(tiers) = cardinality(areas) and cardinality(amounts) = cardinality(areas))
) with (fillfactor = 85);

-- Deadlines to come: what the sweep and a claim that finds nothing free look through.
create index bookings_pending on bookings (show_id, expires_at) where status = 'PENDING';
create table blocks (
  show_id uuid not null,
  block_id uuid not null,
  areas smallint[] not null,
  seats int[] not null,
  reason text not null check (length(reason) between 1 and 255),
  release_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  created_by uuid,
  primary key (show_id, block_id),
  check (cardinality(areas) >= 1 and cardinality(seats) in (0, cardinality(areas)))
);
create index blocks_release_at on blocks (release_at) where release_at is not null;

-- What one buyer has of one show: live places (kept only where the show limits them) and seconds of holds that ended
-- unpaid, so that holding without buying ends.
create table buyers (
  show_id uuid not null,
  buyer bytea not null,
  places int not null default 0 check (places >= 0),
  held_seconds int not null default 0 check (held_seconds >= 0),
  primary key (show_id, buyer)
);

-- The claims that succeeded under an Idempotency-Key in the last day. Small, because a random unique index over all
-- of history would make every claim pay for it.
create table idempotency_keys (
  show_id uuid not null,
  key bytea not null check (length(key) = 16),
  fingerprint bytea not null,
  booking_id uuid not null,
  created_at timestamptz not null,
  primary key (show_id, key)
);
create index idempotency_keys_created_at on idempotency_keys (created_at);
