-- Queries of the sandbox's own books: sandbox_payments and sandbox_refunds.

-- name: payment_opened
-- Opens a payment, once by its payment_id. Waits only for another one that opens the same.
insert into sandbox_payments
  (ref, payment_id, show_id, booking_id, reference, amount, currency, description, return_url)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (payment_id) do nothing

-- name: payment_of_id
-- The payment of an attempt. Locks nothing.
select ref, payment_id, show_id, reference, amount, currency, description, return_url, state, reason, money_at, disputed,
       refunds, webhooks, created_at
  from sandbox_payments where payment_id = $1

-- name: payment_of_ref
-- The payment as it stands. Locks nothing.
select ref, payment_id, show_id, reference, amount, currency, description, return_url, state, reason, money_at, disputed,
       refunds, webhooks, created_at
  from sandbox_payments where ref = $1

-- name: payment_locked
-- The same, locked until the transaction ends, so that refunds of one payment take turns.
select ref, payment_id, show_id, reference, amount, currency, description, return_url, state, reason, money_at, disputed,
       refunds, webhooks, created_at
  from sandbox_payments where ref = $1 for update

-- name: choices_kept
-- Keeps how the events of a payment are told and what becomes of its refunds. Locks the payment.
update sandbox_payments set webhooks = $2, refunds = $3 where ref = $1

-- name: payment_went_on
-- What the person on the page chose: the payment becomes $2 for the reason $3, or money is $4 seconds away. A payment that
-- has ended, or whose money is on its way, stays as it is. Locks the payment.
update sandbox_payments
   set state = $2, reason = $3, money_at = clock_timestamp() + make_interval(secs => $4), stoppable = $5, guesses = 0
 where ref = $1 and state in ('open', 'declined') and money_at is null

-- name: guess_counted
-- Counts a wrong code, and says how many there were; the third one declines. Locks the payment.
update sandbox_payments
   set guesses = guesses + 1,
       state = case when guesses = 2 then 'declined' else state end,
       reason = case when guesses = 2 then 'authentication_failed' else reason end
 where ref = $1 and state in ('open', 'declined') and money_at is null and guesses < 3
returning guesses

-- name: money_arrived
-- Money that was on its way and is due is there now, whatever was closed meanwhile. Locks the payment.
update sandbox_payments set state = 'succeeded', reason = null, money_at = null
 where ref = $1 and money_at <= clock_timestamp() and state <> 'succeeded'

-- name: payment_closed
-- Nobody can pay it any more; what is on its way turns back where it can be stopped. Locks the payment.
update sandbox_payments set state = 'closed', money_at = case when stoppable then null else money_at end
 where ref = $1 and state in ('open', 'declined')

-- name: payment_disputed
-- The bank of whoever paid takes the money back for now. Locks the payment.
update sandbox_payments set disputed = true where ref = $1 and state = 'succeeded' and not disputed

-- name: refund_of_id
-- The refund of a payment that has this id. The caller holds the payment's lock.
select ref, refund_id, payment_ref, show_id, amount, currency, state, created_at
  from sandbox_refunds where payment_ref = $1 and refund_id = $2

-- name: refund_of_ref
-- A refund as it stands. Locks nothing.
select ref, refund_id, payment_ref, show_id, amount, currency, state, created_at from sandbox_refunds where ref = $1

-- name: refunded_sum
-- What has gone back of a payment, or is on its way. The caller holds the payment's lock.
select coalesce(sum(amount), 0)::bigint from sandbox_refunds where payment_ref = $1 and state <> 'failed'

-- name: refund_made
-- Writes a refund that is settled at once, or becomes $8 in $7 seconds. The caller holds the payment's lock.
insert into sandbox_refunds (ref, refund_id, payment_ref, show_id, amount, currency, state, ends_at, ends_as)
values ($1, $2, $3, $4, $5, $6, case when $7::float8 is null then 'settled' else 'pending' end,
        clock_timestamp() + make_interval(secs => $7), $8)

-- name: refund_ended
-- A pending refund that is due ends. Locks the refund.
update sandbox_refunds set state = ends_as, ends_at = null, ends_as = null
 where ref = $1 and state = 'pending' and ends_at <= clock_timestamp()

-- name: payments_listed
-- A page of the payments opened from $1 to $2, behind (created_at, ref). Locks nothing.
select ref, payment_id, show_id, reference, amount, currency, description, return_url, state, reason, money_at, disputed,
       refunds, webhooks, created_at
  from sandbox_payments
 where created_at >= $1 and created_at < $2 and (created_at, ref) > ($3, $4)
 order by created_at, ref limit $5

-- name: refunds_listed
-- A page of the refunds made from $1 to $2, behind (created_at, ref). Locks nothing.
select ref, refund_id, payment_ref, show_id, amount, currency, state, created_at
  from sandbox_refunds
 where created_at >= $1 and created_at < $2 and (created_at, ref) > ($3, $4)
 order by created_at, ref limit $5
