-- The door's look at bookings. Applied again whenever this file changes.

-- Scans of one show, arrays in parallel; one row for each, as scan_ticket of tickets gives it, in the order of the tickets,
-- which is also that of the locks. What stands against a ticket is read of its booking in the same transaction.
create or replace function scan_many(
  p_show_id uuid, p_organizer_id uuid, p_scanned_by uuid, p_scan_ids uuid[], p_booking_ids uuid[], p_numbers int[],
  p_serials int[], p_refused text[], p_directions text[], p_gate_ids uuid[], p_scanned_at timestamptz[])
returns setof scans language plpgsql as $$
declare
  v_wish record;
  v_booking record;
begin
  for v_wish in
    select * from unnest(p_scan_ids, p_booking_ids, p_numbers, p_serials, p_refused, p_directions, p_gate_ids, p_scanned_at)
                  w(scan_id, booking_id, number, serial, refused, direction, gate_id, scanned_at)
     order by w.booking_id, w.number, w.scanned_at, w.scan_id loop
    select b.status, b.areas[v_wish.number] as area, b.tiers[v_wish.number] as tier into v_booking from bookings b
     where b.show_id = p_show_id and b.booking_id = v_wish.booking_id;
    return next scan_ticket(
      p_show_id, p_organizer_id, v_wish.scan_id, v_wish.booking_id, v_wish.number, v_wish.serial, v_booking.area,
      v_booking.tier,
      coalesce(v_wish.refused, case when v_booking.area is null then 'unknown'
                                    when v_booking.status = 'CANCELLED' then 'void'
                                    when v_booking.status <> 'CONFIRMED' then 'not_confirmed' end),
      v_wish.direction, v_wish.gate_id, v_wish.scanned_at, p_scanned_by);
  end loop;
end $$;

-- Scans of one show with what people read of them: names of gates, the place, whose the ticket is.
create or replace function scans_told(p_show_id uuid, p_scans scans[])
returns table (scan scans, gate_name text, first_gate_name text, reference text, holder text, area smallint, tier smallint,
               seat int)
language sql stable as $$
  select s, g.name, f.name, b.reference, coalesce(t.holder, case when coalesce(t.serial, 0) = 0 then b.name end),
         b.areas[s.number], b.tiers[s.number], b.seats[s.number]
    from unnest(p_scans) s
    left join gates g on g.show_id = p_show_id and g.gate_id = s.gate_id
    left join gates f on f.show_id = p_show_id and f.gate_id = s.first_gate
    left join bookings b on b.show_id = p_show_id and b.booking_id = s.booking_id
    left join tickets t on t.show_id = p_show_id and t.booking_id = s.booking_id and t.number = s.number
$$;
