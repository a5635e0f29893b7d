-- The functions of the door. Applied again whenever this file changes.

-- One scan; the row of `scans` that it makes, or that the same id has made before. p_refused says what the caller knows
-- against it; p_serial is null where no code was read; p_scanned_at is null for a scan that is being decided now, else when
-- a device decided by itself that the person goes in or out. `reason` is no_gate, and nothing is written, for a gate that is
-- not there. Locks the ticket's row in admissions, and then the scan: in this order everywhere.
create or replace function scan_ticket(
  p_show_id uuid, p_organizer_id uuid, p_scan_id uuid, p_booking_id uuid, p_number int, p_serial int, p_area smallint,
  p_tier smallint, p_refused text, p_direction text, p_gate_id uuid, p_scanned_at timestamptz, p_scanned_by uuid)
returns scans language plpgsql as $$
declare
  v_scan scans;
  v_list lists;
  v_ticket tickets;
  v_entry admissions;
begin
  select * into v_scan from scans s where s.show_id = p_show_id and s.scan_id = p_scan_id;
  if found then
    return v_scan;
  end if;
  v_scan.show_id := p_show_id; v_scan.scan_id := p_scan_id; v_scan.organizer_id := p_organizer_id;
  v_scan.booking_id := p_booking_id; v_scan.number := p_number; v_scan.direction := p_direction;
  v_scan.received_at := clock_timestamp(); v_scan.scanned_by := p_scanned_by;
  v_scan.uploaded := p_scanned_at is not null;
  v_scan.scanned_at := least(p_scanned_at, v_scan.received_at);
  -- The list that admits everybody has the show's id.
  v_scan.list_id := p_show_id;
  if p_gate_id is not null then
    select g.gate_id, g.list_id into v_scan.gate_id, v_scan.list_id from gates g
     where g.show_id = p_show_id and g.gate_id = p_gate_id;
    if not found then
      v_scan.list_id := p_show_id;
      if not v_scan.uploaded then
        v_scan.reason := 'no_gate';
        return v_scan;
      end if;
    end if;
  end if;
  select * into v_list from lists l where l.show_id = p_show_id and l.list_id = v_scan.list_id;
  select * into v_ticket from tickets t
   where t.show_id = p_show_id and t.booking_id = p_booking_id and t.number = p_number;
  v_scan.reason := case
    -- Whoever is in may leave, whatever has become of the ticket since.
    when p_refused in ('bad_code', 'wrong_show', 'unknown') or p_refused is not null and p_direction = 'in' then p_refused
    when p_serial <> coalesce(v_ticket.serial, 0) then 'superseded'
    when p_direction = 'out' then 'valid'
    when v_ticket.state <> 'valid' then v_ticket.state
    when cardinality(v_list.areas) > 0 and p_area <> all (v_list.areas)
      or cardinality(v_list.tiers) > 0 and p_tier <> all (v_list.tiers) then 'wrong_list'
    when v_scan.scanned_at < v_list.opens_at or v_scan.scanned_at >= v_list.closes_at then 'not_open'
    else 'valid' end;

  if v_scan.uploaded then
    v_scan.accepted := true;
    v_scan.conflict := nullif(v_scan.reason, 'valid');
    if p_booking_id is not null and v_scan.reason <> 'unknown' then
      perform hold_admission(p_show_id, p_organizer_id, p_booking_id, p_number);
    end if;
  else
    if v_scan.reason = 'valid' and p_direction = 'in' then
      insert into admissions as a (show_id, booking_id, number, organizer_id, inside, entries, entered_scan, entered_at,
                                   entered_gate, entered_list)
      values (p_show_id, p_booking_id, p_number, p_organizer_id, true, 1, p_scan_id, v_scan.scanned_at, v_scan.gate_id,
              v_scan.list_id)
      on conflict (show_id, booking_id, number) do update
         set inside = true, entries = a.entries + 1, entered_scan = excluded.entered_scan,
             entered_at = excluded.entered_at, entered_gate = excluded.entered_gate,
             entered_list = excluded.entered_list, changed_at = clock_timestamp()
       where not a.inside and (a.entries = 0 or coalesce(v_list.reentry, false));
    elsif v_scan.reason = 'valid' then
      update admissions a set inside = false, changed_at = clock_timestamp()
       where a.show_id = p_show_id and a.booking_id = p_booking_id and a.number = p_number and a.inside;
    end if;
    if v_scan.reason = 'valid' and not found then
      -- The row is locked by now, so that what is told of it is what stood in the way.
      select * into v_entry from admissions a
       where a.show_id = p_show_id and a.booking_id = p_booking_id and a.number = p_number;
      v_scan.reason := case when p_direction = 'out' then 'not_in' when v_entry.inside then 'already_in'
                            else 'no_reentry' end;
      if p_direction = 'in' then
        v_scan.first_scan := v_entry.entered_scan; v_scan.first_at := v_entry.entered_at;
        v_scan.first_gate := v_entry.entered_gate;
      end if;
    end if;
    v_scan.accepted := v_scan.reason = 'valid';
  end if;

  insert into scans select v_scan.* on conflict do nothing;
  if not found then
    -- The same id came in at the same time, and was kept first. If somebody was let in here by it, then with another ticket,
    -- which must not be: whoever asks again finds what was kept.
    if v_scan.accepted and not v_scan.uploaded then
      raise exception 'the scan % came twice at once', p_scan_id using errcode = 'serialization_failure';
    end if;
    select * into v_scan from scans s where s.show_id = p_show_id and s.scan_id = p_scan_id;
    return v_scan;
  end if;
  if v_scan.uploaded and p_booking_id is not null and v_scan.reason <> 'unknown' then
    perform settle_scans(p_show_id, p_booking_id, p_number);
    select * into v_scan from scans s where s.show_id = p_show_id and s.scan_id = p_scan_id;
  end if;
  return v_scan;
end $$;

-- Locks a ticket's row in admissions, which is made when it is not there.
create or replace function hold_admission(p_show_id uuid, p_organizer_id uuid, p_booking_id uuid, p_number int)
returns void language plpgsql as $$
begin
  insert into admissions (show_id, booking_id, number, organizer_id, inside, entries)
  values (p_show_id, p_booking_id, p_number, p_organizer_id, false, 0) on conflict do nothing;
  perform from admissions a
   where a.show_id = p_show_id and a.booking_id = p_booking_id and a.number = p_number for update;
end $$;

-- Makes of a ticket's row in admissions what its scans come to, each at its moment, in whatever order they came in, and
-- says of each whether it is in conflict with those before it. Left out are scans that were undone, and those by which
-- somebody went in whom the ticket was not for (any more): whoever has it now may still come. The caller
-- holds the ticket's row.
create or replace function settle_scans(p_show_id uuid, p_booking_id uuid, p_number int)
returns void language plpgsql as $$
declare
  v_now admissions;
  v_scan record;
  v_conflict text;
begin
  v_now.inside := false; v_now.entries := 0;
  for v_scan in
    select s.scan_id, s.scanned_at, s.gate_id, s.list_id, s.direction, s.reason, s.conflict, s.first_scan,
           coalesce(l.reentry, false) as reentry
      from scans s left join lists l on l.show_id = s.show_id and l.list_id = s.list_id
     where s.show_id = p_show_id and s.booking_id = p_booking_id and s.number = p_number
       and s.accepted and s.undone_at is null and s.reason not in ('superseded', 'not_confirmed', 'unknown')
     order by s.scanned_at, s.scan_id loop
    v_conflict := nullif(v_scan.reason, 'valid');
    if v_scan.direction = 'out' then
      if not v_now.inside then
        v_conflict := 'not_in';
      end if;
      v_now.inside := false;
    elsif v_now.inside then
      v_conflict := 'already_in';
    else
      if v_now.entries > 0 and not v_scan.reentry then
        v_conflict := 'no_reentry';
      end if;
      v_now.inside := true; v_now.entries := v_now.entries + 1;
      v_now.entered_scan := v_scan.scan_id; v_now.entered_at := v_scan.scanned_at;
      v_now.entered_gate := v_scan.gate_id; v_now.entered_list := v_scan.list_id;
    end if;
    if v_conflict is distinct from v_scan.conflict
       or v_conflict = 'already_in' and v_now.entered_scan is distinct from v_scan.first_scan then
      update scans s
         set conflict = v_conflict,
             acknowledged_at = case when v_conflict is not distinct from s.conflict then s.acknowledged_at end,
             first_scan = case when v_conflict = 'already_in' then v_now.entered_scan end,
             first_at = case when v_conflict = 'already_in' then v_now.entered_at end,
             first_gate = case when v_conflict = 'already_in' then v_now.entered_gate end
       where s.show_id = p_show_id and s.scan_id = v_scan.scan_id;
    end if;
  end loop;
  update admissions a
     set inside = v_now.inside, entries = v_now.entries, entered_scan = v_now.entered_scan,
         entered_at = v_now.entered_at, entered_gate = v_now.entered_gate, entered_list = v_now.entered_list,
         changed_at = clock_timestamp()
   where a.show_id = p_show_id and a.booking_id = p_booking_id and a.number = p_number;
end $$;
