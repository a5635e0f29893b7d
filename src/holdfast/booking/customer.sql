-- name: name_customer
-- Locks the head, then the booking; the function says all.
select * from name_customer($1, $2, $3, $4, $5);
