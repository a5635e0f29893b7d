-- name: claim_many
-- Decides claims of one or more shows; the function says all. Locks each show's head, in the order of $1.
select * from claim_many($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
                         $22, $23, $24, $25, $26, $27, $28, $29);

-- name: bookings_made
-- Which of these bookings exist: what became of a batch whose connection was lost.
select booking_id, status, seats, expires_at, created_at from bookings
 where (show_id, booking_id) in (select * from unnest($1::uuid[], $2::uuid[]));

-- name: snapshot
-- The availability of a show, from one snapshot.
select h.revision, h.terms,
       array(select c.seat from claims c where c.show_id = h.show_id) as taken,
       array(select unnest(b.seats) from blocks b where b.show_id = h.show_id) as blocked,
       array(select s.capacity - s.reserved - s.blocked from stock s where s.show_id = h.show_id order by s.area) as left_over
  from show_heads h where h.show_id = $1;

-- name: heads
-- How far the shows are: what tells a view that it has fallen behind.
select show_id, revision, terms from show_heads where show_id = any ($1::uuid[]);

-- name: insert_head
insert into show_heads (show_id, terms, selling, opens_at, closes_at) values ($1, $2, $3, $4, $5);

-- name: insert_stock
insert into stock (show_id, area, seated, first_seat, capacity)
select $1, a.area, a.seated, a.first_seat, a.capacity
  from unnest($2::smallint[], $3::boolean[], $4::int[], $5::int[]) a(area, seated, first_seat, capacity);

-- name: lock_head
-- Stops every change of the show's inventory until the transaction ends.
select revision from show_heads where show_id = $1 for no key update;

-- name: set_head
-- New terms of sale. The caller holds the head.
update show_heads set terms = $2, selling = $3, opens_at = $4, closes_at = $5 where show_id = $1;

-- name: set_capacities
-- The areas that could take their new capacity; not those with more places gone than that. The caller holds the head,
-- and the constraint never_oversold has the last word.
update stock s set capacity = c.capacity
  from unnest($2::smallint[], $3::int[]) c(area, capacity)
 where s.show_id = $1 and s.area = c.area and s.reserved + s.blocked <= c.capacity
returning s.area;

-- name: recount_buyers
-- Counts every buyer's live places afresh, in one pass over the show's bookings. The caller holds the head.
insert into buyers (show_id, buyer, places)
select $1, x.buyer, sum(x.places)::int
  from (select y.buyer, 0 as places from buyers y where y.show_id = $1
         union all
        select b.buyer, b.quantity - coalesce(cardinality(b.given_back), 0) from bookings b
         where b.show_id = $1 and b.status in ('PENDING', 'CONFIRMED') and b.buyer is not null) x
 group by x.buyer order by x.buyer
on conflict (show_id, buyer) do update set places = excluded.places;

-- name: availability_changed
select * from availability_changed($1, $2, $3, $4);

-- name: places_taken
-- Per show: places that are sold or held, and those of them that are only held. One show is one index range each.
select s.show_id, s.total, s.reserved, s.blocked, h.revision,
       coalesce((select sum(b.quantity) from bookings b where b.show_id = s.show_id and b.status = 'PENDING'), 0)::int as pending
  from (select show_id, sum(capacity)::int as total, sum(reserved)::int as reserved, sum(blocked)::int as blocked
          from stock where show_id = any ($1::uuid[]) group by show_id) s
  join show_heads h on h.show_id = s.show_id;

-- name: places_left
-- Per show: its places, and those that are neither sold nor held nor blocked.
select show_id, sum(capacity)::int as total, sum(capacity - reserved - blocked)::int as left_over
  from stock where show_id = any ($1::uuid[]) group by show_id;

-- name: booking_by_id
select *, clock_timestamp() as read_at from bookings where show_id = $1 and booking_id = $2;

-- name: booking_of_any_show
-- One probe of the primary key per show, the newest show first; `offset 0` keeps the planner from reading all bookings.
select b.*, clock_timestamp() as read_at from show_heads h
 cross join lateral (select * from bookings where show_id = h.show_id and booking_id = $1 offset 0) b
 order by h.show_id desc limit 1;

-- name: search_bookings
-- Of one show, newest first, behind the cursor $2; $3 narrows to a status, $4 to a reference, $5 to an address. A hold past
-- its deadline is shown as FAILED, and found as that. One moment for all, so that none passes it in between.
select *, statement_timestamp() as read_at from bookings
 where show_id = $1 and booking_id < $2 and ($4::text is null or reference = $4) and ($5::text is null or lower(email) = $5)
   and ($3::text is null or $3 = case when status = 'PENDING' and expires_at <= statement_timestamp() then 'FAILED'
                                      else status end)
 order by booking_id desc limit $6;

-- name: count_bookings
-- How many bookings of a show `search_bookings` finds in all, narrowed by status alone.
select count(*) from bookings
 where show_id = $1
   and ($2::text is null or $2 = case when status = 'PENDING' and expires_at <= statement_timestamp() then 'FAILED'
                                      else status end);

-- name: coming_of_buyer
-- What an address ($1: its digests) has booked of shows that begin after $2, the first to come first. One probe of an index
-- per show; `offset 0` keeps the planner from reading all bookings.
select s.show_id, b.booking_id, b.reference from shows s cross join lateral (
    select booking_id, reference from bookings
     where show_id = s.show_id and buyer = any ($1::bytea[]) and status <> 'PENDING' and status = 'CONFIRMED' offset 0) b
 where s.start_time > $2 and s.status <> 'cancelled'
 order by s.start_time, b.booking_id limit $3;

-- name: confirm_booking
select * from confirm_booking($1, $2, $3);

-- name: extend_booking
select * from extend_booking($1, $2, $3, $4);

-- name: cancel_booking
select * from cancel_booking($1, $2, $3, $4, $5);

-- name: insert_refused
-- The FAILED booking that the seeds' /book stores when there are too few places.
insert into bookings (show_id, booking_id, organizer_id, reference, status, reason, quantity, areas, seats, tiers, amounts,
                      total, currency, created_at, ended_at)
values ($1, $2, $3, $4, 'FAILED', 'sold_out', $5, '{}', '{}', '{}', '{}', 0, $6, clock_timestamp(), clock_timestamp())
returning *, clock_timestamp() as read_at;

-- name: kept_key
-- What an idempotency key has made.
select fingerprint, booking_id from idempotency_keys where show_id = $1 and key = $2;

-- name: keep_key
-- Remembers what a key has made. The caller holds the head, as claim() does when it writes one.
insert into idempotency_keys (show_id, key, fingerprint, booking_id, created_at)
values ($1, $2, $3, $4, clock_timestamp());

-- name: shows_overdue
-- Shows with a hold past its deadline: hops from show to show through the index of pending bookings.
with recursive hop as (
  (select show_id, expires_at from bookings where status = 'PENDING' order by show_id, expires_at limit 1)
  union all
  select n.show_id, n.expires_at from hop cross join lateral (
    select b.show_id, b.expires_at from bookings b
     where b.status = 'PENDING' and b.show_id > hop.show_id order by b.show_id, b.expires_at limit 1) n)
select show_id from hop where expires_at <= clock_timestamp();

-- name: sweep_show
select * from sweep_show($1, $2, $3);

-- name: block_places
select * from block_places($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: release_block
select * from release_block($1, $2, $3);

-- name: blocks_of
-- One page, behind the cursor $2. A block of standing places is in one area.
select show_id, block_id, areas[1] as area, cardinality(areas) as quantity, seats, reason, release_at, created_at
  from blocks where show_id = $1 and block_id > $2 order by block_id limit $3;

-- name: block_by_id
select show_id, block_id, areas[1] as area, cardinality(areas) as quantity, seats, reason, release_at, created_at
  from blocks where show_id = $1 and block_id = $2;

-- name: blocks_due
select show_id, block_id from blocks where release_at <= now() order by release_at limit 100;

-- name: prune_keys
-- Forgets some old idempotency keys; short, so that no snapshot stays open for long. A range with two ends is taken for a
-- small one, so that the index is used even by a plan from the time when the table was small.
delete from idempotency_keys where created_at between '-infinity' and (
  select max(o.created_at) from (
    select created_at from idempotency_keys
     where created_at between '-infinity' and now() - make_interval(hours => $1) order by created_at limit 5000) o);

-- name: add_reserved
-- Counts places as sold. The caller holds the head and writes the bookings that have them.
update stock set reserved = reserved + $3 where show_id = $1 and area = $2;

-- name: head_locked
-- For row_lock: the first lock of every change of the show's inventory.
select revision, terms, selling, opens_at, closes_at from show_heads where show_id = $1 for update;

-- name: stock_locked
-- For row_lock: the areas of the show in order, locked as the seeds have it. The clock is read under the head's lock.
select area, seated, first_seat, capacity - reserved - blocked as places, clock_timestamp() as now from stock
 where show_id = $1 order by area for update;

-- name: head_seen
select revision, terms, selling, opens_at, closes_at from show_heads where show_id = $1;

-- name: stock_seen
select area, seated, first_seat, capacity - reserved - blocked as places, clock_timestamp() as now from stock
 where show_id = $1 order by area;

-- name: head_unchanged
-- For optimistic: locks the head if neither availability nor terms have changed since it was seen; a row that says so, or
-- none.
select revision from show_heads where show_id = $1 and revision = $2 and terms = $3 for no key update;

-- name: database_clock
select clock_timestamp();

-- name: key_of
select fingerprint, booking_id from idempotency_keys where show_id = $1 and key = $2;

-- name: buyer_of
select places, held_seconds from buyers where show_id = $1 and buyer = $2;

-- name: taken_of
select array(select seat from claims where show_id = $1 and seat = any ($2::int[]));

-- name: first_fit
select first_fit($1, $2, $3, $4, '{}');

-- name: fail_overdue
-- The caller holds the head.
select * from fail_overdue($1, $2, $3);

-- name: take_seats
insert into claims (show_id, seat, held_by) select $1, s, $3 from unnest($2::int[]) s order by s;

-- name: take_places
update stock s set reserved = s.reserved + d.places from unnest($2::smallint[], $3::int[]) d(area, places)
 where s.show_id = $1 and s.area = d.area;

-- name: insert_booking
insert into bookings (show_id, booking_id, organizer_id, reference, status, quantity, areas, seats, tiers, amounts, total,
                      currency, email, name, buyer, created_at, expires_at, confirmed_at, customer_id, terms, code_id)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21);

-- name: insert_key
insert into idempotency_keys (show_id, key, fingerprint, booking_id, created_at) values ($1, $2, $3, $4, $5);

-- name: count_buyer
insert into buyers as y (show_id, buyer, places) values ($1, $2, $3)
on conflict (show_id, buyer) do update set places = y.places + excluded.places;

-- name: code_says
-- For single steps: why a claim of $3 places may not use a code at the moment $4, in the words of `claim`; null when it may.
select coalesce(code_shut(c, $4),
                case when c.places_max < $3 then 'code_places' when c.used >= c.uses_max then 'code_used_up' end)
  from codes c where c.show_id = $1 and c.code_id = $2;

-- name: use_code
-- For single steps: counts a use, if the code may still be used. The caller holds the head.
update codes c set used = c.used + 1
 where c.show_id = $1 and c.code_id = $2 and code_shut(c, $4) is null
   and (c.places_max is null or c.places_max >= $3) and (c.uses_max is null or c.used < c.uses_max)
returning true;

-- name: announce_confirmed
select announce($1, md5(b.booking_id::text || ':1')::uuid, 'booking.confirmed', booking_facts(b))
  from bookings b where b.show_id = $1 and b.booking_id = $2;

-- name: queue_claim
-- Puts a claim at the end of its show's queue, unless its key is known or the queue is as long as $10 says. One row: the
-- booking that the key has made or queued, or the one that is queued now (with its `created_at`); none when the queue is
-- full, or when an equal claim came in between. Locks the end of the queue, so that positions are seen in their order.
with known as (
  select * from (
    select 1 as rank, booking_id, fingerprint from idempotency_keys where show_id = $1 and key = $5
    union all
    select 2, booking_id, fingerprint from queued_claims where show_id = $1 and key = $5) k
   order by rank limit 1),
place as (
  insert into queues as q (show_id, last_position) select $1, 1 where not exists (select from known)
  on conflict (show_id) do update set last_position = q.last_position + 1
   where q.last_position - coalesce((select min(w.position) - 1 from queued_claims w
                                      where w.show_id = $1 and w.reason is null), q.last_position) < $10
  returning last_position),
queued as (
  insert into queued_claims (show_id, position, booking_id, organizer_id, reference, key, fingerprint, request, quantity,
                             currency, customer_id)
  select $1, last_position, $2, $3, $4, $5, $6, $7, $8, $9, $11 from place
  on conflict (show_id, key) do nothing
  returning booking_id, fingerprint, created_at)
select booking_id, fingerprint, null::timestamptz as created_at from known
union all select booking_id, fingerprint, created_at from queued;

-- name: key_queued
-- The claim that was queued under a key, while it is remembered here.
select booking_id, fingerprint from queued_claims where show_id = $1 and key = $2;

-- name: queued_claim
-- A claim that waits, or that came to nothing.
select *, clock_timestamp() as read_at from queued_claims where show_id = $1 and booking_id = $2;

-- name: queued_claim_of_any_show
-- One probe per show that has a queue, the newest show first.
select c.*, clock_timestamp() as read_at from queues q
 cross join lateral (select * from queued_claims where show_id = q.show_id and booking_id = $1 offset 0) c
 order by q.show_id desc limit 1;

-- name: shows_queued
-- Shows with a claim that waits: hops from show to show through the index of waiting claims.
with recursive hop as (
  (select show_id from queued_claims where reason is null order by show_id limit 1)
  union all
  select n.show_id from hop cross join lateral (
    select c.show_id from queued_claims c where c.reason is null and c.show_id > hop.show_id order by c.show_id limit 1) n)
select show_id from hop;

-- name: silence_bounded
-- For the rest of this transaction: when its process says nothing for so long ('5s'), the server rolls it back.
select set_config('idle_in_transaction_session_timeout', $1, true);

-- name: claims_next
-- The first claims of a show's queue, in order. Locks them: whoever comes second waits for the first, then finds what
-- is left. No claim can turn up before one that is locked here, because the end of the queue is locked while it grows.
select position, booking_id, reference, key, fingerprint, request, customer_id from queued_claims
 where show_id = $1 and reason is null order by position limit $2 for update;

-- name: claims_granted
-- Takes claims that are bookings now out of the queue. The caller has locked them.
delete from queued_claims where show_id = $1 and position = any ($2::bigint[]);

-- name: claims_refused
-- Keeps the ends of claims, without the persons, and announces them. The caller has locked them. An end that points to a
-- booking is no failure.
with refused as (
  update queued_claims c set reason = r.reason, made_as = r.made_as, request = c.request - 'customer',
         customer_id = null, ended_at = clock_timestamp()
    from unnest($2::bigint[], $3::text[], $4::uuid[]) r(position, reason, made_as)
   where c.show_id = $1 and c.position = r.position and c.reason is null
  returning c.show_id, c.booking_id, c.organizer_id, c.reason, c.made_as)
select announce(show_id, md5(booking_id::text || ':1')::uuid, 'booking.failed', jsonb_build_object(
         'booking_id', booking_id, 'version', 1, 'organizer_id', organizer_id, 'reason', reason))
  from refused where made_as is null;

-- name: let_queued_go
-- Ends a claim that still waits; no row when it has been decided. Waits for whoever is deciding it.
update queued_claims set reason = 'released', request = request - 'customer', customer_id = null, ended_at = clock_timestamp()
 where show_id = $1 and booking_id = $2 and reason is null
returning *, clock_timestamp() as read_at;

-- name: prune_queue
-- Forgets some claims that came to nothing long ago; short, so that no snapshot stays open for long.
delete from queued_claims where reason is not null and ended_at <= (
  select max(o.ended_at) from (
    select ended_at from queued_claims
     where reason is not null and ended_at <= now() - make_interval(hours => $1) order by ended_at limit 5000) o);

-- name: queue_gauges
-- How many claims wait, counted to at most $1, and for how long the first of them has.
select count(*) as claims, coalesce(max(extract(epoch from clock_timestamp() - created_at)), 0)::float8 as oldest_seconds
  from (select created_at from queued_claims where reason is null limit $1) w;

-- name: renew_hold
select * from renew_hold($1, $2, $3, $4);

-- name: take_again
select * from take_again($1, $2, $3, $4, $5);
