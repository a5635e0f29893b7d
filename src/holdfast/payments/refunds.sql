-- name: refundable
-- The payments of a booking, how much of each may still go back, and whether it took money. Locks them all: whoever wants
-- money of the same booking back takes turns, and money that is just coming waits.
select show_id, payment_id, provider, amount - refunded as left_over, currency, disputed_at is not null as disputed,
       state in ('SUCCEEDED', 'MISMATCHED') as has_money
  from payments where show_id = $1 and booking_id = $2 order by payment_id for no key update;

-- name: has_money
-- Whether any payment of the booking took money.
select exists (select from payments where show_id = $1 and booking_id = $2 and state in ('SUCCEEDED', 'MISMATCHED'));

-- name: want_refund
-- Counts money as going back and writes the wish; no row where there is not so much left. Locks the payment.
with counted as (
  update payments p set refunded = p.refunded + $4, updated_at = clock_timestamp()
   where p.show_id = $1 and p.payment_id = $3 and p.state in ('SUCCEEDED', 'MISMATCHED')
     and p.refunded + $4 <= p.amount
  returning p.booking_id, p.organizer_id, p.provider, p.currency)
insert into refunds (show_id, refund_id, payment_id, booking_id, organizer_id, provider, amount, currency, reason, note,
                     numbers, release, created_by)
select $1, $2, $3, c.booking_id, c.organizer_id, c.provider, $4, c.currency, $5, $6, $7, $8, $9 from counted c
returning *;

-- name: refund_by_id
select * from refunds where show_id = $1 and refund_id = $2;

-- name: refunds_of_booking
-- Oldest first, behind the cursor $3.
select * from refunds where show_id = $1 and booking_id = $2 and refund_id > $3 order by refund_id limit $4;

-- name: refund_sums
-- What went back of a booking's money and what is on its way, in the currency $3.
select coalesce(sum(amount) filter (where state = 'SETTLED'), 0)::bigint as refunded,
       coalesce(sum(amount) filter (where state in ('WANTED', 'SENT')), 0)::bigint as under_way
  from refunds where show_id = $1 and booking_id = $2 and currency = $3;

-- name: refund_begun
-- Notes that the provider is being asked, before it is: no row when the refund has come to an end. Locks the refund.
with begun as (
  update refunds r set state = 'SENT', sent_at = coalesce(r.sent_at, clock_timestamp()), updated_at = clock_timestamp()
   where r.show_id = $1 and r.refund_id = $2 and r.state in ('WANTED', 'SENT') returning r.*)
select b.*, p.ref as payment_ref, p.charge, extract(epoch from clock_timestamp() - b.created_at)::float8 as age_seconds
  from begun b join payments p on p.show_id = b.show_id and p.payment_id = b.payment_id;

-- name: refund_pending
-- The provider has it and works on it; or there was a problem. Locks the refund.
update refunds set ref = coalesce($3, ref), problem = $4, updated_at = clock_timestamp()
 where show_id = $1 and refund_id = $2 and state = 'SENT';

-- name: refund_settled
-- The money has gone back; no row when that was known, or when the refund failed. Locks the refund.
update refunds set state = 'SETTLED', ref = $3, problem = null, settled_at = clock_timestamp(), updated_at = clock_timestamp(),
                   sent_at = coalesce(sent_at, clock_timestamp())
 where show_id = $1 and refund_id = $2 and state in ('WANTED', 'SENT') and amount = $4 and currency = $5
returning *;

-- name: refund_failed
-- The money will not go back, or came back after all, and is the payment's again; no row when the refund is in none of the
-- states $5. Locks the refund, then the payment.
with failed as (
  update refunds r set state = 'FAILED', ref = coalesce($3, r.ref), problem = $4, updated_at = clock_timestamp()
   where r.show_id = $1 and r.refund_id = $2 and r.state = any ($5::text[]) returning r.*),
back as (
  update payments p set refunded = p.refunded - f.amount, updated_at = clock_timestamp() from failed f
   where p.show_id = f.show_id and p.payment_id = f.payment_id)
select * from failed;

-- name: refund_retried
-- Notes which refund tries again what this one failed to; no row when it did not fail, or was tried again before. Locks it.
update refunds set retried_as = $3, updated_at = clock_timestamp()
 where show_id = $1 and refund_id = $2 and state = 'FAILED' and retried_as is null
returning *;

-- name: refund_gauges
-- How many refunds are in each state that somebody may have to do with, counted to at most $1, and the oldest's age.
select state, count(*) as refunds, max(extract(epoch from clock_timestamp() - updated_at))::float8 as oldest_seconds
  from (select state, updated_at from refunds where state in ('WANTED', 'SENT') limit $1) w group by state
union all
select 'FAILED', count(*), max(extract(epoch from clock_timestamp() - updated_at))::float8
  from (select updated_at from refunds where state = 'FAILED' and retried_as is null limit $1) f;

-- name: forget_notes
-- Takes what people wrote off refunds of a show: of the bookings $2, or (null) of all.
update refunds set note = null where show_id = $1 and ($2::uuid[] is null or booking_id = any ($2)) and note is not null;
