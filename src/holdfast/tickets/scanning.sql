-- Scans and who is in.

-- name: hold_admission
select hold_admission(s.show_id, s.organizer_id, s.booking_id, s.number) from scans s
 where s.show_id = $1 and s.scan_id = $2 and s.booking_id is not null;

-- name: undo_scan
-- No row when it was undone before. Locks the scan.
update scans set undone_at = clock_timestamp() where show_id = $1 and scan_id = $2 and accepted and undone_at is null
returning booking_id, number;

-- name: settle_scans
select settle_scans($1, $2, $3);

-- name: acknowledge
-- No row when there is nothing (more) to acknowledge. Locks the scan.
update scans set acknowledged_at = clock_timestamp()
 where show_id = $1 and scan_id = $2 and conflict is not null and acknowledged_at is null and undone_at is null
returning scan_id;

-- name: admissions_of
-- Who of these bookings is, or was, in.
select booking_id, number, inside, entered_at, entered_gate from admissions
 where show_id = $1 and booking_id = any ($2::uuid[]) order by booking_id, number;

-- name: changed_of_bookings
-- What is to be said of the tickets of these bookings.
select show_id, booking_id, number, serial, state, holder, email from tickets
 where show_id = $1 and booking_id = any ($2::uuid[]) order by booking_id, number;

-- name: counts_of_scans
-- For each gate and list, who went in and out, and who was refused. Reads all scans of the show.
select gate_id, list_id, count(*) filter (where accepted and direction = 'in')::int as entries,
       count(*) filter (where accepted and direction = 'out')::int as exits,
       count(*) filter (where not accepted)::int as refused
  from scans where show_id = $1 and undone_at is null group by gate_id, list_id;

-- name: counts_inside
-- For each gate and list, who came in there and is in now. Reads all admissions of the show.
select entered_gate as gate_id, entered_list as list_id, count(*)::int as inside
  from admissions where show_id = $1 and inside group by entered_gate, entered_list;

-- name: count_conflicts
select count(*) from scans
 where show_id = $1 and conflict is not null and acknowledged_at is null and undone_at is null;
