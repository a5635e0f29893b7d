-- Queries of customers and of the links that sign them in, which no organizer has a part in; and of how long an organizer
-- keeps who bought.

-- name: add_link
-- A link, unless the address has $6 live ones.
insert into magic_links (token_hash, address_digest, sealed, expires_at)
select $1, $2, $3, clock_timestamp() + make_interval(secs => $4)
 where (select count(*) from magic_links where address_digest = any ($5::bytea[]) and expires_at > now()) < $6;

-- name: use_link
-- Uses a link up. Locks it, so that of two who use it at once the second finds nothing.
delete from magic_links where token_hash = $1 and expires_at > clock_timestamp() returning sealed;

-- name: erase_links
delete from magic_links where address_digest = any ($1::bytea[]);

-- name: prune_links
-- Forgets up to $1 links that have passed.
delete from magic_links where token_hash = any (array(
  select token_hash from magic_links where expires_at <= now() order by expires_at limit $1));

-- name: customer_by_address
select customer_id, created_at from customers where address_digest = any ($1::bytea[]);

-- name: customer_by_id
select sealed, created_at from customers where customer_id = $1;

-- name: add_customer
insert into customers (customer_id, address_digest, sealed) values ($1, $2, $3) on conflict (address_digest) do nothing;

-- name: erase_customer
delete from customers where customer_id = $1;

-- name: customers_after
-- Up to $2 customers in the order of their ids, behind $1. Locks them.
select customer_id, sealed from customers where customer_id > $1 order by customer_id limit $2 for update;

-- name: customer_resealed
-- The same customer under another key. The caller has locked it.
update customers set address_digest = $2, sealed = $3 where customer_id = $1;

-- name: retention
select retention_days from organizers where organizer_id = $1;

-- name: retention_set
-- Locks the organizer.
update organizers set retention_days = $2 where organizer_id = $1;
