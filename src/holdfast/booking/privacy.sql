-- What is held of a person in bookings, and how it is taken off them. Money, places and references stay.

-- name: bookings_of_customer
-- A customer's bookings in every show, newest first, behind the cursor $3: by address ($1) and by account ($2). Three
-- probes of an index per show; `offset 0` keeps the planner from reading all bookings.
select b.*, s.name as show_name, s.start_time as show_start_time, statement_timestamp() as read_at
  from shows s cross join lateral (
    (select * from bookings where show_id = s.show_id and status <> 'PENDING' and buyer = any ($1::bytea[]) offset 0)
    union all
    (select * from bookings where show_id = s.show_id and status = 'PENDING' and buyer = any ($1::bytea[]) offset 0)
    union all
    (select * from bookings where show_id = s.show_id and customer_id = $2
        and coalesce(buyer <> all ($1::bytea[]), true) offset 0)) b
 where b.booking_id < $3
 order by b.booking_id desc limit $4;

-- name: still_needed
-- Live bookings of shows to come, by address ($2) and by account ($3), of one organizer or ($1 is null) of all. A show that
-- was postponed is to come, whatever its old time says.
select s.show_id, b.booking_id
  from shows s cross join lateral (
    (select booking_id from bookings where show_id = s.show_id and status = 'CONFIRMED'
        and buyer = any ($2::bytea[]) offset 0)
    union
    (select booking_id from bookings where show_id = s.show_id and status = 'PENDING' and expires_at > now()
        and buyer = any ($2::bytea[]) offset 0)
    union
    (select booking_id from bookings where show_id = s.show_id and customer_id = $3
        and (status = 'CONFIRMED' or status = 'PENDING' and expires_at > now()) offset 0)) b
 where ($1::uuid is null or s.organizer_id = $1)
   and (s.start_time > now() and s.status <> 'cancelled' or s.status = 'postponed')
 limit $4;

-- name: held_until
-- When the last of the holds is over that `erase_bookings` leaves alone; null when there is none.
select max(b.expires_at)
  from shows s cross join lateral (
    (select expires_at from bookings where show_id = s.show_id and status = 'PENDING' and expires_at > now()
        and buyer = any ($2::bytea[]) offset 0)
    union all
    (select expires_at from bookings where show_id = s.show_id and customer_id = $3
        and status = 'PENDING' and expires_at > now() offset 0)) b
 where ($1::uuid is null or s.organizer_id = $1)
   and (s.start_time > now() and s.status <> 'cancelled' or s.status = 'postponed');

-- name: shows_to_search
-- The next shows of one organizer, or ($1 is null) of all, behind $2.
select show_id from shows where ($1::uuid is null or organizer_id = $1) and show_id > $2 order by show_id limit $3;

-- name: bookings_of_person
-- Of some shows: whatever carries the address, also where it was written without its digest. Reads all their bookings.
select *, statement_timestamp() as read_at from bookings
 where show_id = any ($1::uuid[]) and (buyer = any ($2::bytea[]) or lower(email) = $3)
 order by booking_id limit $4;

-- name: queued_of_person
-- Of some shows: claims that wait.
select *, statement_timestamp() as read_at from queued_claims
 where show_id = any ($1::uuid[]) and reason is null and lower(request #>> '{customer,email}') = $2 limit $3;

-- name: erase_bookings
-- Takes a person off up to $5 bookings of a show, and says which addresses went. Left alone are those that are needed: live
-- ones of a show to come. Locks the bookings one after the other, and waits for nothing else meanwhile.
with known as materialized (
  select x.booking_id, x.email from bookings x join shows s using (show_id)
   where x.show_id = $1 and (x.buyer = any ($2::bytea[]) or lower(x.email) = $3 or x.customer_id = $4)
     and not ((s.start_time > now() and s.status <> 'cancelled' or s.status = 'postponed')
              and (x.status = 'CONFIRMED' or x.status = 'PENDING' and x.expires_at > now()))
   order by x.booking_id limit $5 for update of x)
update bookings b set email = null, name = null, buyer = null, customer_id = null
  from known k where b.show_id = $1 and b.booking_id = k.booking_id
returning b.booking_id, k.email;

-- name: erase_queued
-- Takes a person off claims of a show that wait; they keep their turn.
update queued_claims set request = request - 'customer', customer_id = null
 where show_id = $1 and reason is null and (lower(request #>> '{customer,email}') = $2 or customer_id = $3);

-- name: has_counts
-- Whether it is counted what an address had of a show.
select exists (select from buyers where show_id = $1 and buyer = any ($2::bytea[]));

-- name: erase_buyers
-- Forgets what an address had of a show, unless a booking is left that counts. The caller holds the head.
delete from buyers y where y.show_id = $1 and y.buyer = any ($2::bytea[])
   and not exists (select from bookings b where b.show_id = $1 and b.buyer = y.buyer and b.status = 'PENDING')
   and not exists (select from bookings b where b.show_id = $1 and b.buyer = y.buyer and b.status <> 'PENDING');

-- name: shows_to_forget
-- Shows whose buyers their organizers want forgotten by now. One that was moved to a later day is due again, and of one that
-- was postponed the buyers wait to hear of its day.
select s.show_id from shows s join organizers o using (organizer_id)
 where s.start_time < now() - make_interval(days => o.retention_days) and s.status <> 'postponed'
   and not exists (select from forgotten_shows f where f.show_id = s.show_id
                      and f.forgotten_at >= s.start_time + make_interval(days => o.retention_days))
 order by s.show_id limit $1;

-- name: forget_persons
-- Takes whoever bought off up to $3 bookings of a show, behind $2. Locks the bookings one after the other.
update bookings set email = null, name = null, buyer = null, customer_id = null
 where show_id = $1 and booking_id = any (array(
   select booking_id from bookings
    where show_id = $1 and booking_id > $2
      and (email is not null or name is not null or buyer is not null or customer_id is not null)
    order by booking_id limit $3 for update))
returning booking_id;

-- name: forget_buyers
-- The caller holds the head.
delete from buyers where show_id = $1;

-- name: show_forgotten
insert into forgotten_shows (show_id, forgotten_at) values ($1, now())
on conflict (show_id) do update set forgotten_at = excluded.forgotten_at;

-- name: addresses_after
-- The next bookings of a show that carry an address, behind $2.
select booking_id, email, buyer from bookings
 where show_id = $1 and booking_id > $2 and email is not null order by booking_id limit $3;

-- name: digests_made_anew
-- Bookings that still have the digest that was read. The caller holds the head.
update bookings b set buyer = x.now from unnest($2::uuid[], $3::bytea[], $4::bytea[]) x(booking_id, was, now)
 where b.show_id = $1 and b.booking_id = x.booking_id and b.email is not null and b.buyer is not distinct from x.was;

-- name: buyers_moved
-- What buyers have of a show goes from one digest to the other. The caller holds the head.
with gone as (
  delete from buyers y using unnest($2::bytea[], $3::bytea[]) m(was, now)
   where y.show_id = $1 and y.buyer = m.was
  returning m.now as buyer, y.places, y.held_seconds)
insert into buyers as y (show_id, buyer, places, held_seconds)
select $1, buyer, sum(places)::int, sum(held_seconds)::int from gone group by buyer order by buyer
on conflict (show_id, buyer) do update
   set places = y.places + excluded.places, held_seconds = y.held_seconds + excluded.held_seconds;
