-- What buyers are told, and how each organizer wants it.
-- owner: notifications

-- How an organizer's letters are; nothing stored, or null: as the installation says. `reminder_hours` before a show its
-- buyers are reminded of it, 0 for never. `texts` are the organizer's own words, by the kind of letter.
create table letter_rules (
  organizer_id uuid primary key,
  language text check (language in ('en', 'de')),
  reminder_hours integer check (reminder_hours between 0 and 720),
  texts jsonb not null default '{}',
  changed_at timestamptz not null default clock_timestamp()
);
alter table letter_rules enable row level security;
create policy app on letter_rules to holdfast_app using (true);
create policy tenant on letter_rules to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));

-- Which letters were written about a booking, so that each is written once however often its fact comes. `edition` says
-- which of its kind: the version of the booking or of the show, the refund, the ticket. No foreign key, as everywhere in
-- the family of a show.
create table notices (
  show_id uuid not null,
  booking_id uuid not null,
  kind text not null check (kind ~ '^[a-z_]{1,40}$'),
  edition text not null check (length(edition) <= 100),
  organizer_id uuid not null,
  noticed_at timestamptz not null default clock_timestamp(),
  primary key (show_id, booking_id, kind, edition)
);
create index notices_noticed_at on notices (noticed_at);
alter table notices enable row level security;
create policy app on notices to holdfast_app using (true);
create policy tenant on notices to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));

-- Shows whose buyers were reminded, each for the time that it then had: one that moves is reminded of again.
create table reminded (
  show_id uuid not null,
  start_time timestamptz not null,
  organizer_id uuid not null,
  reminded_at timestamptz not null default clock_timestamp(),
  primary key (show_id, start_time)
);
alter table reminded enable row level security;
create policy app on reminded to holdfast_app using (true);
create policy tenant on reminded to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));
