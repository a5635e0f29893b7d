-- Who is asking. Small tables, the same on every node.
-- owner: accounts

create table organizers (
  organizer_id uuid primary key,
  name text not null check (length(name) between 1 and 255),
  created_at timestamptz not null default clock_timestamp()
);

create table people (
  person_id uuid primary key,
  email text not null unique check (email = lower(email)),
  password_hash text not null,
  created_at timestamptz not null default clock_timestamp()
);

create table members (
  organizer_id uuid not null references organizers,
  person_id uuid not null references people,
  role text not null check (role in ('owner', 'manager', 'box_office', 'door', 'viewer')),
  created_at timestamptz not null default clock_timestamp(),
  primary key (organizer_id, person_id)
);
create index members_person on members (person_id);
