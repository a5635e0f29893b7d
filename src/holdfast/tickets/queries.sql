-- name: tickets_of
-- Of one booking, what is to be said of its tickets from number $3 to $4.
select number, serial, state, holder, email from tickets
 where show_id = $1 and booking_id = $2 and number between $3 and $4;

-- name: changed_of_show
-- What is to be said of a show's tickets, behind (booking $2, number $3).
select show_id, booking_id, number, serial, state, holder, email from tickets
 where show_id = $1 and (booking_id, number) > ($2, $3) order by booking_id, number limit $4;

-- name: transfer
-- Issues a ticket anew to somebody else; no row when it is not valid or was issued anew since its serial was $5.
-- Locks the ticket's row.
insert into tickets as t (show_id, booking_id, number, organizer_id, serial, holder, email)
values ($1, $2, $3, $4, $5 + 1, $6, $7)
on conflict (show_id, booking_id, number) do update
   set serial = t.serial + 1, holder = excluded.holder, email = excluded.email,
       changed_at = clock_timestamp()
 where t.serial = $5 and t.state = 'valid'
returning serial;

-- name: rename
-- Puts another name on a ticket; no row when it is void or was issued anew since its serial was $5. Locks the ticket's row.
insert into tickets as t (show_id, booking_id, number, organizer_id, holder) values ($1, $2, $3, $4, $6)
on conflict (show_id, booking_id, number) do update set holder = excluded.holder, changed_at = clock_timestamp()
 where t.serial = $5 and t.state <> 'void'
returning number;

-- name: set_state
-- Gives tickets the state $5, those that are in one of the states $6; which ones it changed. Locks their rows in order.
insert into tickets as t (show_id, booking_id, number, organizer_id, state)
select $1, $2, n, $4, $5 from unnest($3::smallint[]) n where 'valid' = any ($6::text[]) or exists (
  select from tickets x where x.show_id = $1 and x.booking_id = $2 and x.number = n) order by n
on conflict (show_id, booking_id, number) do update set state = excluded.state, changed_at = clock_timestamp()
 where t.state = any ($6::text[])
returning number;

-- name: given_to
-- Tickets that an address was given, by the shows that were made last.
select show_id, booking_id, number, serial, state, holder, email from tickets
 where lower(email) = lower($1) and state <> 'void' order by show_id desc, booking_id, number limit $2;

-- name: forget
-- Takes the people off tickets of a show: of the bookings $2, or of the address $3, or (both null) all.
update tickets set holder = null, email = null
 where show_id = $1 and ($2::uuid[] is null or booking_id = any ($2)) and ($3::text is null or lower(email) = lower($3))
   and (holder is not null or email is not null);
