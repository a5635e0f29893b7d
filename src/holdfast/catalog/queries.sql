-- name: insert_show
insert into shows (show_id, organizer_id, venue_id, layout_id, layout_version, name, start_time, timezone, status, currency,
                   hold_seconds, hold_seconds_max, max_places_per_booking, max_places_per_buyer, sale_opens_at,
                   sale_closes_at, orphans, transfers, focus_x, focus_y, description, doors_at, age_note, access_note)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
returning version, created_at, updated_at;

-- name: insert_areas
insert into areas (show_id, area, name, kind, capacity)
select $1, a.area, a.name, a.kind, a.capacity
  from unnest($2::smallint[], $3::text[], $4::text[], $5::int[]) a(area, name, kind, capacity);

-- name: insert_seat_row
insert into seat_rows (show_id, area, row_number, label, first_seat, numbers, xs, ys, access, gap_after)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: insert_tiers
insert into tiers (show_id, tier, area, name, amount, fee, fee_basis_points, tax_basis_points, tax_included, hidden)
select $1, t.* from unnest($2::smallint[], $3::smallint[], $4::text[], $5::bigint[], $6::bigint[], $7::int[], $8::int[],
                           $9::boolean[], $10::boolean[]) t;

-- name: tiers_at
-- The tiers of a show as they were priced at a version of it: by the first terms that lasted so long, else by today's.
select t.tier, t.area, t.name, coalesce(h.amount, t.amount) as amount, coalesce(h.fee, t.fee) as fee,
       coalesce(h.fee_basis_points, t.fee_basis_points) as fee_basis_points,
       coalesce(h.tax_basis_points, t.tax_basis_points) as tax_basis_points,
       coalesce(h.tax_included, t.tax_included) as tax_included, t.hidden
  from tiers t left join lateral (
    select * from tier_terms k where k.show_id = t.show_id and k.tier = t.tier and k.until >= $2
     order by k.until limit 1) h on true
 where t.show_id = $1 order by t.tier;

-- name: keep_terms
-- What tiers cost up to a version of the show.
insert into tier_terms (show_id, until, tier, amount, fee, fee_basis_points, tax_basis_points, tax_included)
select $1, $2, t.* from unnest($3::smallint[], $4::bigint[], $5::bigint[], $6::int[], $7::int[], $8::boolean[]) t;

-- name: show_by_id
select s.*, array(select (t.tier, t.area, t.name, t.amount, t.fee, t.fee_basis_points, t.tax_basis_points, t.tax_included, t.hidden)
                    from tiers t where t.show_id = s.show_id order by t.tier) as tiers
  from shows s where s.show_id = $1;

-- name: lock_show
-- Locks the show against other edits until the transaction ends.
select s.*, array(select (t.tier, t.area, t.name, t.amount, t.fee, t.fee_basis_points, t.tax_basis_points, t.tax_included, t.hidden)
                    from tiers t where t.show_id = s.show_id order by t.tier) as tiers
  from shows s where s.show_id = $1 for no key update;

-- name: list_shows
-- One page of shows in the order of (start_time, show_id), after the cursor ($1, $2). Drafts only where $6 allows them.
select s.*, array(select (t.tier, t.area, t.name, t.amount, t.fee, t.fee_basis_points, t.tax_basis_points, t.tax_included, t.hidden)
                    from tiers t where t.show_id = s.show_id order by t.tier) as tiers
  from shows s
 where (s.start_time, s.show_id) > ($1, $2)
   and ($3::timestamptz is null or s.start_time < $3)
   and ($4::uuid is null or s.organizer_id = $4)
   and ($5::text is null or s.name ilike $5 or exists (
         select from venues v where v.venue_id = s.venue_id and (v.name ilike $5 or v.city ilike $5)))
   and ($6 or s.status <> 'draft')
   and ($7::text is null or s.status = $7)
 order by s.start_time, s.show_id limit $8;

-- name: list_shows_in_city
-- As list_shows, of the city $9 in whatever case: venue by venue, so that a city with few shows costs few looks.
select s.*, array(select (t.tier, t.area, t.name, t.amount, t.fee, t.fee_basis_points, t.tax_basis_points, t.tax_included, t.hidden)
                    from tiers t where t.show_id = s.show_id order by t.tier) as tiers
  from venues v
 cross join lateral (
   select * from shows
    where venue_id = v.venue_id and (start_time, show_id) > ($1, $2)
      and ($3::timestamptz is null or start_time < $3)
      and ($4::uuid is null or organizer_id = $4)
      and ($5::text is null or name ilike $5 or v.name ilike $5)
      and ($6 or status <> 'draft')
      and ($7::text is null or status = $7)
    order by start_time, show_id limit $8) s
 where lower(v.city) = lower($9) and v.city <> ''
 order by s.start_time, s.show_id limit $8;

-- name: cities
-- Where something is to come after $1. One look into an index for each venue.
select min(v.city) as city from venues v
 where v.city <> '' and exists (
   select from shows s where s.venue_id = v.venue_id and s.start_time > $1 and s.status not in ('draft', 'cancelled'))
 group by lower(v.city) order by lower(min(v.city)) limit $2;

-- name: surroundings
-- Of each show: its picture, its venue, and whose it is with colour and logo.
select s.show_id, p.picture_id, v.venue_id, v.name as venue, v.address, v.city, o.organizer_id, o.name as organizer, o.colour,
       l.picture_id as logo_id
  from shows s join organizers o on o.organizer_id = s.organizer_id
  left join venues v on v.venue_id = s.venue_id
  left join pictures p on p.organizer_id = s.organizer_id and p.subject_id = s.show_id
  left join pictures l on l.organizer_id = s.organizer_id and l.subject_id = s.organizer_id
 where s.show_id = any ($1::uuid[]);

-- name: last_to_start
-- The shows with the latest start, those apart that are not public yet or not sold any more.
select s.*, array(select (t.tier, t.area, t.name, t.amount, t.fee, t.fee_basis_points, t.tax_basis_points, t.tax_included, t.hidden)
                    from tiers t where t.show_id = s.show_id order by t.tier) as tiers
  from shows s
 where s.status not in ('draft', 'closed', 'cancelled') and ($1::uuid is null or s.organizer_id = $1)
 order by s.start_time desc, s.show_id desc limit $2;

-- name: areas_of
select area, name, kind, capacity from areas where show_id = $1;

-- name: areas_of_many
select show_id, area, name, kind, capacity from areas where show_id = any ($1::uuid[]) order by show_id, area;

-- name: seat_rows_of
select area, row_number, label, first_seat, numbers, xs, ys, access from seat_rows where show_id = $1;

-- name: update_show
-- Every edit counts the version up, which is also the version of the terms that claims are made under.
update shows set name = $2, start_time = $3, timezone = $4, status = $5, hold_seconds = $6, hold_seconds_max = $7,
       max_places_per_booking = $8, max_places_per_buyer = $9, sale_opens_at = $10, sale_closes_at = $11, orphans = $12,
       transfers = $13, description = $14, doors_at = $15, age_note = $16, access_note = $17, previous_start_time = $18,
       version = version + 1, updated_at = clock_timestamp()
 where show_id = $1
returning version, updated_at;

-- name: free_area_names
-- Takes areas out of each other's way before they get new names. No area has such a name, for it cannot be printed.
update areas set name = chr(31) || area where show_id = $1 and area = any ($2::smallint[]);

-- name: set_areas
update areas a set name = n.name, capacity = n.capacity
  from unnest($2::smallint[], $3::text[], $4::int[]) n(area, name, capacity)
 where a.show_id = $1 and a.area = n.area;

-- name: free_tier_names
-- As free_area_names.
update tiers set name = chr(31) || tier where show_id = $1 and tier = any ($2::smallint[]);

-- name: set_tiers
update tiers t set name = n.name, amount = n.amount, fee = n.fee, fee_basis_points = n.fee_basis_points,
       tax_basis_points = n.tax_basis_points, tax_included = n.tax_included, hidden = n.hidden
  from unnest($2::smallint[], $3::text[], $4::bigint[], $5::bigint[], $6::int[], $7::int[], $8::boolean[], $9::boolean[])
       n(tier, name, amount, fee, fee_basis_points, tax_basis_points, tax_included, hidden)
 where t.show_id = $1 and t.tier = n.tier;

-- name: insert_venue
insert into venues (venue_id, organizer_id, name, address, timezone, city) values ($1, $2, $3, $4, $5, $6) returning *;

-- name: venue_by_id
select * from venues where venue_id = $1 and organizer_id = $2;

-- name: update_venue
-- Nothing when $6 is given and is not the version any more.
update venues set name = $3, address = $4, timezone = $5, city = $7, version = version + 1, updated_at = clock_timestamp()
 where venue_id = $1 and organizer_id = $2 and ($6::int is null or version = $6) returning *;

-- name: list_venues
select * from venues where organizer_id = $1 and venue_id > $2 order by venue_id limit $3;

-- name: insert_layout
insert into layouts (layout_id, layout_version, venue_id, organizer_id, name, plan, seats)
values ($1, $2, $3, $4, $5, $6, $7) returning *;

-- name: lock_layout
-- Locks the first version, which is always there, so that whoever adds a version waits for the one before.
select layout_version from layouts where layout_id = $1 and organizer_id = $2 and layout_version = 1 for no key update;

-- name: layout_newest
-- What is known of the newest version, without its plan.
select layout_id, layout_version, venue_id, organizer_id, name, seats, created_at from layouts
 where layout_id = $1 and organizer_id = $2 order by layout_version desc limit 1;

-- name: layout_version
-- A version of a layout; the newest when $3 is null.
select * from layouts where layout_id = $1 and organizer_id = $2 and ($3::int is null or layout_version = $3)
 order by layout_version desc limit 1;

-- name: list_layouts
-- The newest version of each layout of a venue, without the plans: a page of them could be a gigabyte.
select distinct on (layout_id) layout_id, layout_version, venue_id, organizer_id, name, seats, created_at
  from layouts where venue_id = $1 and organizer_id = $2 and layout_id > $3
 order by layout_id, layout_version desc limit $4;
