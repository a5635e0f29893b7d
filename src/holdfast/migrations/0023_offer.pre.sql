-- What buyers are told of a show besides its name and its time, where it is, and whose it is.
-- owner: catalog

-- Plain text, paragraphs apart by an empty line; empty where there is nothing to say. `previous_start_time` is the start
-- that was announced before the last move.
alter table shows
  add column description text not null default '' check (length(description) <= 10000),
  add column doors_at timestamptz,
  add column age_note text not null default '' check (length(age_note) <= 500),
  add column access_note text not null default '' check (length(access_note) <= 500),
  add column previous_start_time timestamptz,
  add constraint doors_before_start check (doors_at <= start_time);

alter table venues add column city text not null default '' check (length(city) <= 100);

-- The list of a city: its venues, and of each the shows to come.
create index venues_city on venues (lower(city)) where city <> '';
create index shows_venue on shows (venue_id, start_time, show_id) where venue_id is not null;

-- What the seat at the same index is kept for: 'wheelchair', 'companion' or null. Null as a whole for most rows.
alter table seat_rows
  add column access text[],
  add constraint access_of_each_seat
    check (cardinality(access) = cardinality(numbers) and array_remove(access, null) <@ array['wheelchair', 'companion']);

-- owner: accounts

-- The colour of the organizer's pages, as #rrggbb.
alter table organizers add column colour text check (colour ~ '^#[0-9a-f]{6}$');
