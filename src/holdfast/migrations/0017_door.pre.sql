-- The door: which tickets are admitted where, who is in, and every scan.
-- owner: tickets

-- Which tickets a gate admits: those of some areas and some tiers, where an empty array means all. Of the list that admits
-- everybody the id is the show's, and it is there without a row until it is edited. No foreign keys, as everywhere in the
-- family of a show.
create table lists (
  show_id uuid not null,
  list_id uuid not null,
  organizer_id uuid not null,
  name text not null check (length(name) between 1 and 100),
  areas smallint[] not null default '{}',
  tiers smallint[] not null default '{}',
  opens_at timestamptz,
  closes_at timestamptz,
  reentry boolean not null default false,
  version int not null default 1,
  primary key (show_id, list_id),
  unique (show_id, name),
  check (opens_at < closes_at)
);

create table gates (
  show_id uuid not null,
  gate_id uuid not null,
  organizer_id uuid not null,
  list_id uuid not null,
  name text not null check (length(name) between 1 and 100),
  version int not null default 1,
  primary key (show_id, gate_id),
  unique (show_id, name)
);

-- Every scan, for good. `scan_id` is made by the device, so that sending one twice is harmless. `scanned_at` is when it was
-- by the device's clock where the device decided by itself (`uploaded`), and never later than `received_at`, which is the
-- database's. `reason` says how the ticket stood when the scan came in; `first_*` which entry stood in its way. `conflict`
-- is set where somebody went in or out who should not have. A code that is none of ours has no booking.
create table scans (
  show_id uuid not null,
  scan_id uuid not null,
  organizer_id uuid not null,
  booking_id uuid,
  number int check (number >= 1),
  direction text not null check (direction in ('in', 'out')),
  gate_id uuid,
  list_id uuid not null,
  accepted boolean not null,
  reason text not null,
  uploaded boolean not null,
  scanned_at timestamptz not null,
  received_at timestamptz not null default clock_timestamp(),
  scanned_by uuid,
  first_scan uuid,
  first_at timestamptz,
  first_gate uuid,
  conflict text,
  acknowledged_at timestamptz,
  undone_at timestamptz,
  primary key (show_id, scan_id),
  check ((booking_id is null) = (number is null)),
  check (accepted or conflict is null and undone_at is null)
);
create index scans_ticket on scans (show_id, booking_id, number) where booking_id is not null;
create index scans_conflicts on scans (show_id, received_at)
 where conflict is not null and acknowledged_at is null and undone_at is null;

-- Who is in: one row for each ticket that was ever let in, and the last word on whether it is let in again. `entered_*` is
-- the entry that holds while `inside`.
create table admissions (
  show_id uuid not null,
  booking_id uuid not null,
  number int not null check (number >= 1),
  organizer_id uuid not null,
  inside boolean not null,
  entries int not null check (entries >= 0),
  entered_scan uuid,
  entered_at timestamptz,
  entered_gate uuid,
  entered_list uuid,
  changed_at timestamptz not null default clock_timestamp(),
  primary key (show_id, booking_id, number),
  check (not inside or entries > 0 and entered_scan is not null and entered_at is not null)
) with (fillfactor = 85);

-- What a device that was away asks for: whatever changed since.
create index admissions_changed on admissions (show_id, changed_at);
create index tickets_changed on tickets (show_id, changed_at);
create index bookings_decided on bookings (show_id, greatest(confirmed_at, ended_at))
 where confirmed_at is not null;

do $$
declare
  v_table text;
begin
  foreach v_table in array array['lists', 'gates', 'scans', 'admissions'] loop
    execute format('alter table %I enable row level security', v_table);
    execute format('create policy app on %I to holdfast_app using (true)', v_table);
    execute format('create policy tenant on %I to holdfast_tenant'
                   ' using (organizer_id = (select current_setting(''holdfast.organizer'')::uuid))', v_table);
  end loop;
end $$;
