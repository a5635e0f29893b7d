-- What admits one person. A place of a confirmed booking has a ticket by being one: valid, serial 0, for the buyer. A row
-- stands here for each ticket of which something else is to be said, so that a sale writes nothing (docs/decisions/0014).
-- owner: tickets

-- Whether buyers may give their tickets to somebody else.
alter table shows add column transfers text not null default 'allow' check (transfers in ('allow', 'refuse'));

-- `number` is the place in its booking, counted from 1; it never changes. `serial` counts how often the ticket was issued
-- anew: codes with a smaller one are dead. No foreign key, as everywhere in the family of a show.
create table tickets (
  show_id uuid not null,
  booking_id uuid not null,
  number smallint not null check (number >= 1),
  organizer_id uuid not null,
  serial smallint not null default 0 check (serial >= 0),
  state text not null default 'valid' check (state in ('valid', 'suspended', 'void')),
  holder text check (length(holder) between 1 and 255),
  email text check (length(email) between 3 and 254),
  changed_at timestamptz not null default clock_timestamp(),
  primary key (show_id, booking_id, number),
  check (email is null or serial > 0)
);

-- What somebody was given, by their address.
create index tickets_email on tickets (lower(email)) where email is not null;

alter table tickets enable row level security;
create policy app on tickets to holdfast_app using (true);
create policy tenant on tickets to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));
