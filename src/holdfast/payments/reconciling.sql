-- name: payments_listed
-- The payments that entries of a provider's books are about: by its ids $2, or by ours ($3, $4).
select show_id, payment_id as id, ref, state, amount, currency from payments where provider = $1 and ref = any ($2::text[])
 union
select show_id, payment_id, ref, state, amount, currency from payments
 where provider = $1 and (show_id, payment_id) in (select * from unnest($3::uuid[], $4::uuid[]));

-- name: refunds_listed
-- The same of refunds.
select show_id, refund_id as id, ref, state, amount, currency from refunds where provider = $1 and ref = any ($2::text[])
 union
select show_id, refund_id, ref, state, amount, currency from refunds
 where provider = $1 and (show_id, refund_id) in (select * from unnest($3::uuid[], $4::uuid[]));

-- name: payments_kept
-- One page of the payments that took money of those begun from $2 to $3, behind ($4, $5).
select show_id, payment_id as id, ref, state, amount, currency, created_at as at from payments
 where provider = $1 and created_at >= $2 and created_at < $3 and (created_at, payment_id) > ($4, $5)
   and state in ('SUCCEEDED', 'MISMATCHED')
 order by created_at, payment_id limit $6;

-- name: refunds_kept
-- One page of the refunds that the provider took on of those sent from $2 to $3, behind ($4, $5).
select show_id, refund_id as id, ref, state, amount, currency, sent_at as at from refunds
 where provider = $1 and sent_at >= $2 and sent_at < $3 and (sent_at, refund_id) > ($4, $5)
   and (state = 'SETTLED' or (state = 'SENT' and ref is not null))
 order by sent_at, refund_id limit $6;
