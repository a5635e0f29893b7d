-- The functions of refunds. Applied again whenever this file changes; functions.sql says how locks are taken.

-- The places that a booking has and did not give back: the number in the booking, the area and, where there is one, the seat.
create or replace function places_left_of(b bookings) returns table (number smallint, area smallint, seat int)
language sql stable as $$
  select u.number::smallint, u.area, u.seat from unnest(b.areas, b.seats) with ordinality u(area, seat, number)
   where u.number <> all (coalesce(b.given_back, '{}'))
$$;

-- Takes places off a sale and frees them: those of p_numbers (counted from 1) that it still has. A sale that has no place
-- left is CANCELLED for p_reason. Locks the head, then the booking.
-- outcome: taken (also when there was nothing left to take), ended (it is no sale, or none any more) or booking_not_found.
-- numbers, areas and freed say which places it were; without one, at_revision and left_over say nothing.
create or replace function take_places_off(
  p_show_id uuid, p_booking_id uuid, p_numbers smallint[], p_reason text, p_fact_id uuid,
  out outcome text, out numbers smallint[], out areas smallint[], out freed int[], out left_over int[],
  out at_revision bigint)
language plpgsql as $$
declare
  v_booking bookings;
begin
  perform from show_heads h where h.show_id = p_show_id for no key update;
  select b.* into v_booking from bookings b
   where b.show_id = p_show_id and b.booking_id = p_booking_id for no key update;
  outcome := case
    when v_booking.booking_id is null then 'booking_not_found'
    when v_booking.status <> 'CONFIRMED' then 'ended'
    else 'taken' end;
  select coalesce(array_agg(p.number order by p.number), '{}'), coalesce(array_agg(p.area order by p.number), '{}'),
         coalesce(array_agg(p.seat order by p.number) filter (where p.seat is not null), '{}')
    into numbers, areas, freed
    from places_left_of(v_booking) p where outcome = 'taken' and p.number = any (p_numbers);
  if cardinality(numbers) = 0 then
    return;
  end if;
  if cardinality(numbers) = (select count(*) from places_left_of(v_booking)) then
    select c.freed, c.left_over, c.at_revision into freed, left_over, at_revision
      from cancel_booking(p_show_id, p_booking_id, p_reason, false, p_fact_id) c;
    return;
  end if;
  update bookings b set given_back = coalesce(b.given_back, '{}') || numbers, version = b.version + 1
   where b.show_id = p_show_id and b.booking_id = p_booking_id;
  delete from claims c where c.show_id = p_show_id and c.seat = any (freed) and c.held_by = p_booking_id;
  update stock s set reserved = s.reserved - d.places
    from (select a as area, count(*)::int as places from unnest(areas) a group by a) d
   where s.show_id = p_show_id and s.area = d.area;
  update buyers y set places = greatest(0, y.places - cardinality(numbers))
   where y.show_id = p_show_id and y.buyer = v_booking.buyer and y.places > 0;
  select c.at_revision, c.left_over into at_revision, left_over
    from availability_changed(p_show_id, p_fact_id, '{}', freed) c;
end $$;
