-- What the benchmark asks the database after each run, of the shows of that run ($1). It shares nothing with the SQL of
-- the product. Each check returns one line of text per case of what must not be.

-- name: seat_claimed_twice
select format('seat %s of %s has %s claims', seat, show_id, count(*)) from claims
 where show_id = any ($1::uuid[]) group by show_id, seat having count(*) > 1

-- name: seat_booked_twice
select format('seat %s of %s is in %s live bookings', s, b.show_id, count(*))
  from bookings b cross join unnest(b.seats) s
 where b.show_id = any ($1::uuid[]) and b.status in ('PENDING', 'CONFIRMED')
 group by b.show_id, s having count(*) > 1

-- name: live_seat_without_its_claim
select format('seat %s of booking %s is not claimed for it', s, b.booking_id)
  from bookings b cross join unnest(b.seats) s
 where b.show_id = any ($1::uuid[]) and b.status in ('PENDING', 'CONFIRMED')
   and not exists (select from claims c where c.show_id = b.show_id and c.seat = s and c.held_by = b.booking_id)

-- name: claim_without_its_booking
select format('the claim on seat %s of %s belongs to nobody', c.seat, c.show_id) from claims c
 where c.show_id = any ($1::uuid[])
   and not exists (select from bookings b where b.show_id = c.show_id and b.booking_id = c.held_by
                      and b.status in ('PENDING', 'CONFIRMED') and c.seat = any (b.seats))

-- name: area_beyond_its_capacity
select format('area %s of %s: %s reserved and %s blocked of %s', area, show_id, reserved, blocked, capacity) from stock
 where show_id = any ($1::uuid[]) and (reserved + blocked > capacity or reserved < 0 or blocked < 0)

-- name: stock_that_is_not_its_bookings
select format('area %s of %s: %s reserved, %s booked', s.area, s.show_id, s.reserved, coalesce(l.places, 0))
  from stock s
  left join (select b.show_id, a as area, count(*) as places from bookings b cross join unnest(b.areas) a
              where b.show_id = any ($1::uuid[]) and b.status in ('PENDING', 'CONFIRMED') group by b.show_id, a) l
         on l.show_id = s.show_id and l.area = s.area
 where s.show_id = any ($1::uuid[]) and s.reserved <> coalesce(l.places, 0)

-- name: booking_of_too_few_places
select format('booking %s has %s of %s places', booking_id, cardinality(areas), quantity) from bookings
 where show_id = any ($1::uuid[]) and status in ('PENDING', 'CONFIRMED') and cardinality(areas) <> quantity

-- name: bookings_made
select count(*) from bookings where show_id = any ($1::uuid[]) and reason is distinct from 'sold_out'

-- name: acknowledged_but_not_there
select id from unnest($2::uuid[]) id
 where not exists (select from bookings b where b.show_id = any ($1::uuid[]) and b.booking_id = id) limit 20
