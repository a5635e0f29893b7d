-- The functions that join money to places. Applied again whenever this file changes; functions.sql says how locks are
-- taken. Whoever has a payment's row locked it before.

-- Renews a live hold for an attempt to pay it: p_hold_seconds from now, within what the show and the buyer's earlier
-- holds leave, and never less than it had. Locks the booking alone.
-- outcome: payable, nothing_to_pay, confirmed, hold_expired, ended or booking_not_found.
create or replace function renew_hold(
  p_show_id uuid, p_booking_id uuid, p_hold_seconds int, p_hold_seconds_max int,
  out outcome text, out deadline timestamptz)
language plpgsql as $$
declare
  v_booking bookings;
  v_now timestamptz;
begin
  select b.* into v_booking from bookings b
   where b.show_id = p_show_id and b.booking_id = p_booking_id for no key update;
  v_now := clock_timestamp();
  outcome := case
    when v_booking.booking_id is null then 'booking_not_found'
    when v_booking.status = 'CONFIRMED' then 'confirmed'
    when v_booking.status = 'FAILED' and v_booking.reason = 'expired' then 'hold_expired'
    when v_booking.status <> 'PENDING' then 'ended'
    when v_booking.expires_at <= v_now then 'hold_expired'
    when v_booking.total = 0 then 'nothing_to_pay'
    else 'payable' end;
  if outcome <> 'payable' then
    return;
  end if;
  deadline := greatest(v_booking.expires_at, least(
    v_now + make_interval(secs => p_hold_seconds),
    v_booking.created_at + make_interval(secs => p_hold_seconds_max - coalesce((
      select y.held_seconds from buyers y where y.show_id = p_show_id and y.buyer = v_booking.buyer), 0))));
  if deadline > v_booking.expires_at then
    update bookings b set expires_at = deadline, version = b.version + 1
     where b.show_id = p_show_id and b.booking_id = p_booking_id;
  end if;
end $$;

-- Makes a sale of a booking whose money came after its deadline: on its own places while it still has them or they are
-- free again, else, where p_equal, on equal ones: same areas and tiers, side by side if they were. Overdue holds of others
-- do not stand in the way. Locks the head, then the booking. p_buyer_max: the show's limit of places per buyer, if any.
-- outcome: confirmed (changed: just now; moved: on other places), ended (let go, the show is cancelled, or has begun and is
-- not sold any more), gone (somebody else has the places), limit_reached, code_used_up or booking_not_found.
create or replace function take_again(
  p_show_id uuid, p_booking_id uuid, p_equal boolean, p_buyer_max int, p_fact_id uuid,
  out outcome text, out changed boolean, out moved boolean, out taken int[], out freed int[], out left_over int[],
  out at_revision bigint)
language plpgsql as $$
declare
  v_booking bookings;
  v_now timestamptz;
  v_closes_at timestamptz;
  v_failed uuid[] := '{}';
  v_lost boolean;
begin
  changed := false; moved := false; taken := '{}'; freed := '{}'; left_over := '{}';
  select h.revision, h.closes_at into at_revision, v_closes_at from show_heads h
   where h.show_id = p_show_id for no key update;
  select b.* into v_booking from bookings b
   where b.show_id = p_show_id and b.booking_id = p_booking_id for no key update;
  v_now := clock_timestamp();
  outcome := case
    when v_booking.booking_id is null then 'booking_not_found'
    when v_booking.status = 'CONFIRMED' then 'confirmed'
    when v_booking.status = 'CANCELLED' or v_booking.status = 'FAILED' and v_booking.reason <> 'expired'
      or exists (select from shows s where s.show_id = p_show_id
                    and (s.status = 'cancelled' or v_now >= greatest(s.start_time, v_closes_at))) then 'ended' end;
  if outcome is not null then
    return;
  end if;

  -- Past its deadline but not failed yet, its places are its own: nobody can take them under this lock.
  v_lost := v_booking.status = 'FAILED';
  if v_lost then
    select f.failed, f.freed_seats into v_failed, freed from fail_overdue(p_show_id, 200, v_now) f;
    if (select y.places + v_booking.quantity > p_buyer_max from buyers y
         where y.show_id = p_show_id and y.buyer = v_booking.buyer) then
      outcome := 'limit_reached';
    else
      taken := places_for(p_show_id, v_booking, p_equal);
      outcome := case when taken is null then 'gone'
                      when not use_code_again(p_show_id, v_booking.code_id) then 'code_used_up' end;
    end if;
    if outcome is null then
      moved := taken <> v_booking.seats;
      perform take_back(p_show_id, v_booking, taken, p_buyer_max is not null);
    else
      taken := '{}';
    end if;
  end if;
  if outcome is null then
    outcome := 'confirmed';
    changed := true;
    -- The deadline moves to where the money came, so that no sale is later than its deadline.
    update bookings b set status = 'CONFIRMED', reason = null, ended_at = null, confirmed_at = v_now,
           expires_at = greatest(b.expires_at, v_now), version = b.version + 1,
           seats = case when v_lost then taken else b.seats end
     where b.show_id = p_show_id and b.booking_id = p_booking_id returning b.* into v_booking;
    perform announce(p_show_id, md5(p_booking_id::text || ':' || v_booking.version)::uuid, 'booking.confirmed',
                     booking_facts(v_booking));
  end if;
  if cardinality(v_failed) > 0 or (changed and v_lost) then
    select c.at_revision, c.left_over into at_revision, left_over
      from availability_changed(p_show_id, p_fact_id, taken, freed) c;
  end if;
end $$;

-- Gives a failed booking these seats, or its number of standing places, and takes what it was held off what its buyer has
-- held without buying. The caller holds the head, and has seen that they are free.
create or replace function take_back(p_show_id uuid, p_booking bookings, p_seats int[], p_counted boolean)
returns void language plpgsql as $$
begin
  insert into claims (show_id, seat, held_by) select p_show_id, s, p_booking.booking_id from unnest(p_seats) s order by s;
  update stock s set reserved = s.reserved + d.places
    from (select a as area, count(*)::int as places from unnest(p_booking.areas) a group by a) d
   where s.show_id = p_show_id and s.area = d.area;
  update buyers y
     set places = y.places + case when p_counted then p_booking.quantity else 0 end,
         held_seconds = greatest(0, y.held_seconds - greatest(0, ceil(extract(
           epoch from least(p_booking.ended_at, p_booking.expires_at) - p_booking.created_at))::int))
   where y.show_id = p_show_id and y.buyer = p_booking.buyer;
end $$;

-- Seats for a booking that lost its own, in the order of its places: the same if all are free, else, where p_equal, equal
-- ones. Empty for standing places that are to be had, null when there are not enough. The caller holds the head.
create or replace function places_for(p_show_id uuid, p_booking bookings, p_equal boolean)
returns int[] language plpgsql as $$
declare
  v_area record;
  v_fit int[];
  v_seats int[] := p_booking.seats;
begin
  if exists (
    select from (select a as area, count(*) as places from unnest(p_booking.areas) a group by a) w
      join stock k on k.show_id = p_show_id and k.area = w.area
     where k.capacity - k.reserved - k.blocked < w.places) then
    return null;
  end if;
  if not exists (select from claims c where c.show_id = p_show_id and c.seat = any (v_seats)) then
    return v_seats;
  end if;
  -- Nothing is equal to a place for a wheelchair, or to the seat beside it.
  if not p_equal or exists (
    select from seat_rows r cross join unnest(v_seats) s
     where r.show_id = p_show_id and r.access is not null and r.access[s - r.first_seat + 1] is not null) then
    return null;
  end if;
  for v_area in
    select u.area, count(*)::int as places, array_agg(u.number::int order by u.seat) as numbers,
           min(u.seat) as low, max(u.seat) as high
      from unnest(p_booking.areas, p_booking.seats) with ordinality u(area, seat, number) group by u.area order by u.area
  loop
    v_fit := first_fit(p_show_id, v_area.area, v_area.places,
                       not side_by_side(p_show_id, v_area.area, v_area.low, v_area.high, v_area.places), '{}');
    if v_fit is null then
      return null;
    end if;
    for i in 1..v_area.places loop
      v_seats[v_area.numbers[i]] := v_fit[i];
    end loop;
  end loop;
  return v_seats;
end $$;

-- Whether so many seats from the lowest to the highest are one row's, without a gap between them.
create or replace function side_by_side(p_show_id uuid, p_area smallint, p_low int, p_high int, p_places int)
returns boolean language sql stable as $$
  select p_high - p_low + 1 = p_places and exists (
    select from seat_rows r
     where r.show_id = p_show_id and r.area = p_area
       and p_low >= r.first_seat and p_high < r.first_seat + cardinality(r.numbers)
       and not exists (select from unnest(r.gap_after) g where g > p_low - r.first_seat and g <= p_high - r.first_seat))
$$;
