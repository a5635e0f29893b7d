-- Queries of payments and payment_events. A payment's row is locked before the head and the booking of its show; whoever
-- holds one of those waits for no payment.

-- name: insert_payment
insert into payments (show_id, payment_id, booking_id, organizer_id, provider, amount, currency, expected_amount,
                      expected_currency, equal_places, description, return_url, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $6, $7, $8, $9, $10, $11)
returning *;

-- name: payment_by_id
select * from payments where show_id = $1 and payment_id = $2;

-- name: payment_locked
-- Locks the payment: what its money does is done by one at a time.
select * from payments where show_id = $1 and payment_id = $2 for no key update;

-- name: payment_of_ref
-- The payment that the provider knows by this id, or whose money it knows by it (a dispute names no more), of whatever show.
select show_id, payment_id from payments where provider = $1 and (ref = $2 or charge = $2) limit 1;

-- name: payments_of
-- The attempts of a booking, oldest first.
select * from payments where show_id = $1 and booking_id = $2 order by payment_id;

-- name: payment_opened
-- Notes where the buyer pays. What is known of the payment already stays.
update payments set ref = coalesce(ref, $3), way = $4, updated_at = clock_timestamp(),
       state = case when state = any ($5::text[]) then 'OPEN' else state end
 where show_id = $1 and payment_id = $2
returning *;

-- name: payment_stepped
-- Takes the step to $3, where one leads there from the present state ($4); no row where none does. $7 and $8 are other
-- money than was asked for.
update payments set state = $3, ref = coalesce(ref, $5), charge = coalesce($6, charge), amount = coalesce($7, amount),
       currency = coalesce($8, currency), reason = coalesce($9, reason), updated_at = clock_timestamp(),
       settled_at = case when $3 in ('CLOSED', 'SUCCEEDED', 'MISMATCHED') then clock_timestamp() end
 where show_id = $1 and payment_id = $2 and state = any ($4::text[])
returning *;

-- name: payment_disputed
-- Flags a payment; no row when it was flagged before.
update payments set disputed_at = clock_timestamp(), updated_at = clock_timestamp()
 where show_id = $1 and payment_id = $2 and disputed_at is null
returning *;

-- name: look_taken
-- Whoever gets a row may ask the provider now; nobody else for $3 seconds.
update payments set looked_at = clock_timestamp()
 where show_id = $1 and payment_id = $2 and ref is not null and state in ('OPEN', 'DECLINED')
   and (looked_at is null or looked_at <= clock_timestamp() - make_interval(secs => $3))
returning ref;

-- name: add_event
-- Notes that a notice takes effect; no row when it has already. Waits for an equal one that is under way.
insert into payment_events (show_id, provider, event_id, payment_id, kind) values ($1, $2, $3, $4, $5)
on conflict (show_id, provider, event_id) do nothing
returning event_id;

-- name: prune_events
-- Forgets some old notices; short, so that no snapshot stays open for long.
delete from payment_events where received_at between '-infinity' and (
  select max(o.received_at) from (
    select received_at from payment_events
     where received_at between '-infinity' and now() - make_interval(days => $1) order by received_at limit 5000) o);
