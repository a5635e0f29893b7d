-- Queries of invoices, credit notes and of what organizers want on them.

-- name: counter_locked
-- Locks the organizer's counter until the transaction ends: asked last, so that others wait for a commit and no more.
insert into invoice_counters as c (organizer_id, last) values ($1, 0)
on conflict (organizer_id) do update set last = c.last

-- name: document_numbered
-- Gives the next number to a document and writes it. The caller has locked the counter. No row when there is a document
-- for this source already, or when the invoice $4 has not $5 credit notes: another one came in between.
with made as (
  insert into invoices (organizer_id, number, label, kind, refers_to, show_id, booking_id, source_id, reference, show_name,
                        starts_at, timezone, currency, total, lines, legal_name, address, tax_id, note, language)
  select c.organizer_id, c.last + 1, coalesce(i.prefix, '') || (c.last + 1), $3, $4, $6, $7, $2, $8, $9,
         $10, $11, $12, $13, $14, coalesce(i.legal_name, o.name), coalesce(i.address, ''), coalesce(i.tax_id, ''),
         coalesce(i.note, ''), coalesce(i.language, $15)
    from invoice_counters c
    join organizers o on o.organizer_id = c.organizer_id
    left join invoicing i on i.organizer_id = c.organizer_id
   where c.organizer_id = $1
     and (select count(*) from invoices k where k.organizer_id = $1 and k.refers_to = $4) = $5
  on conflict (organizer_id, source_id) do nothing
  returning organizer_id, number
), counted as (
  update invoice_counters c set last = made.number from made where c.organizer_id = made.organizer_id
)
select number from made

-- name: document_of_source
-- Whether there is a document for this source. Locks nothing.
select exists (select from invoices where organizer_id = $1 and source_id = $2)

-- name: documents_of_booking
-- The documents of a booking, oldest first; $3: the one with this number alone. Locks nothing.
select d.organizer_id, d.number, d.label, d.kind, d.refers_to, r.label as refers_to_label, d.show_id, d.booking_id,
       d.reference, d.show_name, d.starts_at, d.timezone, d.currency, d.total, d.lines, d.legal_name, d.address, d.tax_id,
       d.note, d.language, d.issued_at
  from invoices d left join invoices r on r.organizer_id = d.organizer_id and r.number = d.refers_to
 where d.show_id = $1 and d.booking_id = $2 and ($3::bigint is null or d.number = $3)
 order by d.number limit $4

-- name: documents_page
-- Up to $5 documents of an organizer with numbers below $2, the newest first, issued from $3 to before $4. Locks nothing.
select d.organizer_id, d.number, d.label, d.kind, d.refers_to, r.label as refers_to_label, d.show_id, d.booking_id,
       d.reference, d.show_name, d.starts_at, d.timezone, d.currency, d.total, d.lines, d.legal_name, d.address, d.tax_id,
       d.note, d.language, d.issued_at
  from invoices d left join invoices r on r.organizer_id = d.organizer_id and r.number = d.refers_to
 where d.organizer_id = $1 and d.number < $2
   and d.issued_at >= coalesce($3::timestamptz, '-infinity') and d.issued_at < coalesce($4::timestamptz, 'infinity')
 order by d.number desc limit $5

-- name: documents_counted
-- How many documents of an organizer were issued from $2 to before $3. Locks nothing.
select count(*) from invoices
 where organizer_id = $1
   and issued_at >= coalesce($2::timestamptz, '-infinity') and issued_at < coalesce($3::timestamptz, 'infinity')

-- name: invoicing_of
-- What an organizer wants on its documents; until it has said so, its name. Locks nothing.
select coalesce(i.legal_name, o.name) as legal_name, coalesce(i.address, '') as address, coalesce(i.tax_id, '') as tax_id,
       coalesce(i.prefix, '') as prefix, coalesce(i.note, '') as note, i.language
  from organizers o left join invoicing i on i.organizer_id = o.organizer_id where o.organizer_id = $1

-- name: invoicing_set
insert into invoicing (organizer_id, legal_name, address, tax_id, prefix, note, language) values ($1, $2, $3, $4, $5, $6, $7)
on conflict (organizer_id) do update
   set legal_name = excluded.legal_name, address = excluded.address, tax_id = excluded.tax_id, prefix = excluded.prefix,
       note = excluded.note, language = excluded.language
