-- Buyers who have an account, and how long an organizer keeps who bought.
-- owner: accounts

-- A buyer who has shown that an address is theirs. The address is sealed and bound to the id; what it is found by is a
-- keyed digest.
create table customers (
  customer_id uuid primary key,
  address_digest bytea not null unique check (length(address_digest) = 32),
  sealed bytea not null,
  created_at timestamptz not null default clock_timestamp()
);

-- A link that was sent to an address, until it is used or has passed. `sealed` is the address, bound to the hash.
create table magic_links (
  token_hash bytea primary key check (length(token_hash) = 32),
  address_digest bytea not null check (length(address_digest) = 32),
  sealed bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null
);
create index magic_links_address on magic_links (address_digest);
create index magic_links_expires_at on magic_links (expires_at);

-- Neither belongs to an organizer, so staff's transactions see nothing of them.
revoke all on customers, magic_links from holdfast_tenant;

-- Whoever bought is taken off bookings of shows that began so many days ago; null: never. The least is the longest that
-- answers are kept for retries, which name buyers as well.
alter table organizers add column retention_days int check (retention_days between 7 and 36500);

-- The account that a booking was made under, when its buyer had signed in.
alter table bookings add column customer_id uuid;
alter table queued_claims add column customer_id uuid;

-- A customer's bookings: by account, and by address. Both lead with the show, so that what is written at the same time
-- lies together, and a show's part of them stays on its node. A hold is entered only when it ends or is sold, so that a
-- claim by a guest writes neither; those of live holds are found among the pending.
create index bookings_customer on bookings (show_id, customer_id) where customer_id is not null;
create index bookings_buyer on bookings (show_id, buyer) where status <> 'PENDING' and buyer is not null;

-- owner: booking

-- Shows whose buyers have been taken off every booking, so that none is gone through twice.
create table forgotten_shows (
  show_id uuid primary key,
  forgotten_at timestamptz not null
);
revoke all on forgotten_shows from holdfast_tenant;
