-- The door: scans, joined with what was booked.

-- name: scan_many
-- Decides and keeps scans in one call; the function says all.
select t.* from (select array_agg(s) as made from scan_many($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) s) m
 cross join lateral scans_told($1, m.made) t;

-- name: scans_by_id
select * from scans_told($1, array(select s from scans s where s.show_id = $1 and s.scan_id = any ($2::uuid[])));

-- name: scans_last
-- One page, the last received first, before ($2, $3); at the gate $4, or everywhere. Reads all scans of the show: an index for it
-- would be taken for the key by plans from the time when the table was empty.
select * from scans_told($1, array(
  select s from scans s where s.show_id = $1 and (s.received_at, s.scan_id) < ($2, $3) and ($4::uuid is null or s.gate_id = $4)
   order by s.received_at desc, s.scan_id desc limit $5))
 order by (scan).received_at desc, (scan).scan_id desc;

-- name: conflicts_open
-- One page of what nobody has acknowledged, the first received first, behind ($2, $3).
select * from scans_told($1, array(
  select s from scans s where s.show_id = $1 and (s.received_at, s.scan_id) > ($2, $3)
     and s.conflict is not null and s.acknowledged_at is null and s.undone_at is null
   order by s.received_at, s.scan_id limit $4))
 order by (scan).received_at, (scan).scan_id;

-- name: bookings_sought
-- Sold bookings whose reference begins with $2, or that have $3 (lower case) in the buyer's name or in a ticket's. Reads all
-- bookings of the show. Of each the first $5 places.
select booking_id, reference, name, status, quantity, areas[1:$5] as areas, seats[1:$5] as seats, tiers[1:$5] as tiers
  from bookings b
 where show_id = $1 and status in ('CONFIRMED', 'CANCELLED')
   and (starts_with(reference, $2) or strpos(lower(name), $3) > 0 or booking_id in (
     select t.booking_id from tickets t where t.show_id = $1 and strpos(lower(t.holder), $3) > 0))
 order by status = 'CANCELLED', booking_id limit $4;

-- name: bookings_referred
-- Bookings with this reference; there may be two. Reads all bookings of the show.
select booking_id from bookings where show_id = $1 and reference = $2 and status in ('CONFIRMED', 'CANCELLED') limit 2;

-- name: bookings_packed
select booking_id, reference, name, status, quantity, areas, seats, tiers from bookings
 where show_id = $1 and booking_id = any ($2::uuid[]) and status in ('CONFIRMED', 'CANCELLED') order by booking_id;

-- name: sold_page
-- What was sold, behind the booking $2: up to $3 bookings, and no more of them than have $4 places before the last one.
-- `fetched` says how many there were without the second bound.
select booking_id, fetched from (
  select booking_id, count(*) over ()::int as fetched, sum(quantity) over (order by booking_id) - quantity as places_before
    from (select booking_id, quantity from bookings
           where show_id = $1 and booking_id > $2 and status = 'CONFIRMED' order by booking_id limit $3) p) w
 where places_before < $4 order by booking_id;

-- name: changed_page
-- Bookings of which something changed, behind ($2, $3): sold or cancelled, a ticket of theirs was, or somebody went in or
-- out. Bounds and `fetched` as in sold_page. Three ranges of indexes.
select at, booking_id, fetched from (
  select c.at, c.booking_id, count(*) over ()::int as fetched,
         sum(b.quantity) over (order by c.at, c.booking_id, c.kind) - b.quantity as places_before
    from (
      select * from (
        (select greatest(confirmed_at, ended_at) as at, booking_id, 1 as kind from bookings
          where show_id = $1 and confirmed_at is not null
            and (greatest(confirmed_at, ended_at), booking_id) > ($2, $3)
          order by greatest(confirmed_at, ended_at), booking_id limit $4)
        union all
        (select changed_at, booking_id, 2 from tickets where show_id = $1 and (changed_at, booking_id) > ($2, $3)
          order by changed_at, booking_id limit $4)
        union all
        (select changed_at, booking_id, 3 from admissions where show_id = $1 and (changed_at, booking_id) > ($2, $3)
          order by changed_at, booking_id limit $4)) u
       order by at, booking_id, kind limit $4) c
    join bookings b on b.show_id = $1 and b.booking_id = c.booking_id) w
 where places_before < $5 order by at, booking_id;

-- name: door_clock
select clock_timestamp();

-- name: places_to_come
-- Of each area and tier, how many tickets admit. Reads all bookings of the show.
select p.area, p.tier, count(*)::int as places
  from bookings b cross join lateral unnest(b.areas, b.tiers) with ordinality p(area, tier, number)
 where b.show_id = $1 and b.status = 'CONFIRMED' and not exists (
   select from tickets t where t.show_id = $1 and t.booking_id = b.booking_id and t.number = p.number and t.state = 'void')
 group by p.area, p.tier;
