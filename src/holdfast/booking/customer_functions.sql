-- Who books, said after the claim. Applied again whenever this file changes; functions.sql says how locks are taken.

-- Puts an address and a name on a live hold; null leaves what there is. p_buyer is the digest of the address. The places
-- go from what the old address has of the show to what the new one has, within the show's limit. Locks the head, which
-- guards `buyers`, then the booking, which whoever begins to pay locks as well.
-- outcome: named (changed: something is other than it was), limit_reached, paying (a provider was told the address, and
-- must be told the same again), confirmed, hold_expired, ended or booking_not_found.
create or replace function name_customer(
  p_show_id uuid, p_booking_id uuid, p_email text, p_name text, p_buyer bytea, out outcome text, out changed boolean)
language plpgsql as $$
declare
  v_booking bookings;
  v_buyer bytea;
  v_max int;
begin
  perform from show_heads h where h.show_id = p_show_id for no key update;
  select b.* into v_booking from bookings b
   where b.show_id = p_show_id and b.booking_id = p_booking_id for no key update;
  v_buyer := coalesce(p_buyer, v_booking.buyer);
  changed := (coalesce(p_email, v_booking.email), coalesce(p_name, v_booking.name))
             is distinct from (v_booking.email, v_booking.name);
  outcome := case
    when v_booking.booking_id is null then 'booking_not_found'
    when v_booking.status = 'FAILED' and v_booking.reason = 'expired' then 'hold_expired'
    when v_booking.status in ('FAILED', 'CANCELLED') then 'ended'
    when v_booking.status = 'PENDING' and v_booking.expires_at <= clock_timestamp() then 'hold_expired'
    when not changed then 'named'
    when v_booking.status = 'CONFIRMED' then 'confirmed'
    when exists (select from payments p where p.show_id = p_show_id and p.booking_id = p_booking_id
                    and p.state in ('CREATED', 'OPEN')) then 'paying' end;
  if outcome is not null then
    changed := false;
    return;
  end if;
  select s.max_places_per_buyer into v_max from shows s where s.show_id = p_show_id;
  if v_buyer is distinct from v_booking.buyer then
    if v_booking.quantity + coalesce((
         select y.places from buyers y where y.show_id = p_show_id and y.buyer = v_buyer), 0) > v_max then
      outcome := 'limit_reached';
      changed := false;
      return;
    end if;
    update buyers y set places = greatest(0, y.places - v_booking.quantity)
     where y.show_id = p_show_id and y.buyer = v_booking.buyer and y.places > 0;
    -- Without a limit nobody's places are counted: they are when one is set.
    if v_max is not null then
      insert into buyers as y (show_id, buyer, places) values (p_show_id, v_buyer, v_booking.quantity)
      on conflict (show_id, buyer) do update set places = y.places + excluded.places;
    end if;
  end if;
  update bookings b set email = coalesce(p_email, b.email), name = coalesce(p_name, b.name), buyer = v_buyer,
         version = b.version + 1
   where b.show_id = p_show_id and b.booking_id = p_booking_id;
  outcome := 'named';
end $$;
