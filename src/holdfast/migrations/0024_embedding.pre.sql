-- Which sites may show an organizer's shows in a frame.
-- owner: accounts

-- Origins as browsers write them (RFC 6454), such as https://www.example.org; none unless the organizer names some.
alter table organizers
  add column embed_origins text[] not null default '{}' check (cardinality(embed_origins) <= 20);
