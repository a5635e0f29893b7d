-- name: lock_booking
-- A booking, kept as it is until the transaction ends. Whoever needs its money locked as well has locked that before.
select *, clock_timestamp() as read_at from bookings where show_id = $1 and booking_id = $2 for no key update;

-- name: take_places_off
-- Locks the head, then the booking; the function says all.
select * from take_places_off($1, $2, $3, $4, $5);

-- name: live_bookings
-- The next bookings of a show that hold places, behind $2.
select booking_id from bookings where show_id = $1 and booking_id > $2 and status in ('PENDING', 'CONFIRMED')
 order by booking_id limit $3;
