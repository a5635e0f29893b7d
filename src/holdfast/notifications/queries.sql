-- Queries of what buyers are told.

-- name: rules_of
-- How an organizer's letters are; no row where nothing was said. Locks nothing.
select language, reminder_hours, texts from letter_rules where organizer_id = $1

-- name: rules_set
-- Says how an organizer's letters are. Locks the row.
insert into letter_rules (organizer_id, language, reminder_hours, texts) values ($1, $2, $3, $4)
on conflict (organizer_id) do update
   set language = excluded.language, reminder_hours = excluded.reminder_hours, texts = excluded.texts,
       changed_at = clock_timestamp()

-- name: noticed
-- Takes down letters about bookings of a show ($2 bookings, $4 editions in parallel); those that were not written before.
-- Waits for another transaction that takes down the same.
insert into notices (show_id, booking_id, kind, edition, organizer_id)
select $1, n.booking_id, $3, n.edition, $5 from unnest($2::uuid[], $4::text[]) n(booking_id, edition)
on conflict do nothing
returning booking_id, edition

-- name: bookings_with_address
-- Which of these bookings still carry an address. Locks them against whoever takes it off, until the letter is written.
select booking_id from bookings where show_id = $1 and booking_id = any ($2::uuid[]) and email is not null
 order by booking_id for share

-- name: notices_forgotten
-- Forgets up to $2 notices that are older than $1 days, long after any fact can come again. Locks them.
delete from notices where (show_id, booking_id, kind, edition) in (
  select show_id, booking_id, kind, edition from notices where noticed_at < now() - make_interval(days => $1)
   order by noticed_at limit $2 for update skip locked)

-- name: shows_to_remind
-- Shows that begin within the hours that their organizer, else the installation ($1), reminds ahead, and whose buyers were
-- not reminded of that time. Reads the shows of the next 30 days; locks nothing.
select s.show_id, s.organizer_id, s.start_time
  from shows s left join letter_rules r using (organizer_id)
 where s.start_time > now() and s.start_time <= now() + interval '30 days'
   and s.start_time <= now() + make_interval(hours => coalesce(r.reminder_hours, $1))
   and s.status not in ('draft', 'cancelled', 'postponed')
   and not exists (select from reminded x where x.show_id = s.show_id and x.start_time = s.start_time)
 order by s.start_time, s.show_id limit $2

-- name: reminded_of
-- Takes down that the buyers of a show are reminded of this time. No row when they were. Waits for whoever does the same.
insert into reminded (show_id, start_time, organizer_id) values ($1, $2, $3)
on conflict do nothing
returning true

-- name: needs_no_reminder
-- Of a show that moved to a time which is due for a reminder already, the news is one: takes that down.
insert into reminded (show_id, start_time, organizer_id)
select $1, $2, $3 where $2 <= now() + make_interval(hours => coalesce(
  (select reminder_hours from letter_rules where organizer_id = $3), $4))
on conflict do nothing
