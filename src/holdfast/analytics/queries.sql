-- name: sales_counted
-- Adds sales, and with $5 what of them was called off, to their minutes of the show $1, the earliest first.
insert into analytics_sales as s (show_id, minute, organizer_id, currency, bookings, places, amount,
                                  cancelled_bookings, cancelled_places, cancelled_amount)
select $1, date_trunc('minute', u.at), (array_agg(u.organizer_id))[1], (array_agg(u.currency))[1],
       count(*) filter (where not u.cancelled), coalesce(sum(u.places) filter (where not u.cancelled), 0),
       coalesce(sum(u.amount) filter (where not u.cancelled), 0),
       count(*) filter (where u.cancelled), coalesce(sum(u.places) filter (where u.cancelled), 0),
       coalesce(sum(u.amount) filter (where u.cancelled), 0)
  from unnest($2::timestamptz[], $3::uuid[], $4::text[], $5::boolean[], $6::bigint[], $7::bigint[])
       u(at, organizer_id, currency, cancelled, places, amount)
 group by 2 order by 2
on conflict (show_id, minute) do update
   set bookings = s.bookings + excluded.bookings, places = s.places + excluded.places, amount = s.amount + excluded.amount,
       cancelled_bookings = s.cancelled_bookings + excluded.cancelled_bookings,
       cancelled_places = s.cancelled_places + excluded.cancelled_places,
       cancelled_amount = s.cancelled_amount + excluded.cancelled_amount;

-- name: sizes_counted
-- Adds bookings of the show $1 to their numbers of places, but for those of which $3 says that they were called off.
insert into analytics_sizes as s (show_id, places, organizer_id, bookings)
select $1, u.places, (array_agg(u.organizer_id))[1], count(*)
  from unnest($2::uuid[], $3::boolean[], $4::int[]) u(organizer_id, cancelled, places)
 where not u.cancelled group by u.places order by u.places
on conflict (show_id, places) do update set bookings = s.bookings + excluded.bookings;

-- name: outcomes_counted
-- Adds so many ends of attempts, each in its minute; those of shows that are not there are left out.
insert into analytics_outcomes as o (show_id, minute, outcome, organizer_id, times)
select w.show_id, date_trunc('minute', w.at), w.outcome, s.organizer_id, sum(w.times)
  from unnest($1::timestamptz[], $2::uuid[], $3::text[], $4::bigint[]) w(at, show_id, outcome, times)
  join shows s on s.show_id = w.show_id
 group by 1, 2, 3, 4 order by 1, 2, 3
on conflict (show_id, minute, outcome) do update set times = o.times + excluded.times;

-- name: totals
select coalesce(sum(bookings), 0)::bigint as bookings, coalesce(sum(places), 0)::bigint as places,
       coalesce(sum(amount), 0)::bigint as amount, coalesce(sum(cancelled_bookings), 0)::bigint as cancelled_bookings,
       coalesce(sum(cancelled_places), 0)::bigint as cancelled_places,
       coalesce(sum(cancelled_amount), 0)::bigint as cancelled_amount
  from analytics_sales where show_id = $1 and minute >= $2 and minute < $3;

-- name: sales
-- Steps of a show ($4: minute, hour or day, on the clock of the zone $5) in which something happened.
select date_trunc($4, minute, $5) as at, sum(bookings)::bigint as bookings, sum(places)::bigint as places,
       sum(amount)::bigint as amount, sum(cancelled_bookings)::bigint as cancelled_bookings,
       sum(cancelled_places)::bigint as cancelled_places, sum(cancelled_amount)::bigint as cancelled_amount
  from analytics_sales where show_id = $1 and minute >= $2 and minute < $3
 group by 1 order by 1 limit $6;

-- name: peaks
-- The minutes in which most places were sold.
select minute as at, bookings::bigint as bookings, places, amount, cancelled_bookings::bigint as cancelled_bookings,
       cancelled_places, cancelled_amount
  from analytics_sales where show_id = $1 and minute >= $2 and minute < $3 and places > 0
 order by places desc, minute limit $4;

-- name: sizes
select places, bookings from analytics_sizes where show_id = $1 order by places limit $2;

-- name: outcomes
select outcome, sum(times)::bigint as times from analytics_outcomes
 where show_id = $1 and minute >= $2 and minute < $3 group by outcome order by times desc, outcome limit $4;

-- name: hours
-- What an organizer sold by weekday (ISO: 1 is Monday) and hour of the clock in the zone $4, over all shows.
select extract(isodow from minute at time zone $4)::int as weekday, extract(hour from minute at time zone $4)::int as hour,
       sum(bookings)::bigint as bookings, sum(places)::bigint as places
  from analytics_sales where organizer_id = $1 and minute >= $2 and minute < $3
 group by 1, 2 order by 1, 2;
