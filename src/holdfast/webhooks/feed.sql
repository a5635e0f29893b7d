-- Queries of the facts that organizers may read.

-- name: facts_stored
-- Keeps facts of a show, or of none, for their organizer, each once. Waits only for another transaction that keeps the same.
insert into facts (organizer_id, show_id, fact_id, kind, at, payload, in_feed)
select $1, $2, u.* from unnest($3::uuid[], $4::text[], $5::text[], $6::jsonb[], $7::boolean[]) u(fact_id, kind, at, payload, in_feed)
 order by u.fact_id
on conflict do nothing
returning fact_id, in_feed

-- name: organizers_unnumbered
-- The next organizers, behind $1, that have facts without a position. Locks nothing.
select organizer_id from facts where in_feed and position is null and organizer_id > $1
 group by organizer_id order by organizer_id limit $2

-- name: feed_made
insert into feeds (organizer_id) values ($1) on conflict do nothing

-- name: feed_held
-- Takes the turn to number an organizer's facts, and says the last position; no row while another has it. It stands alone,
-- so that the statement after it sees everything that whoever had the turn before has committed.
select position from feeds where organizer_id = $1 for update skip locked

-- name: facts_numbered
-- Gives up to $3 facts the positions after $2, and says how many. The caller has the turn.
with waiting as materialized (
  select fact_id, row_number() over (order by fact_id) as n from (
    select fact_id from facts where organizer_id = $1 and in_feed and position is null order by fact_id limit $3) w
), numbered as (
  update facts f set position = $2 + w.n from waiting w where f.organizer_id = $1 and f.fact_id = w.fact_id
  returning f.fact_id
)
select count(*) from numbered

-- name: feed_advanced
-- The caller has the turn.
update feeds set position = position + $2 where organizer_id = $1

-- name: feed_page
-- Of the $3 facts behind the position $2 the first $5 whose kind is among $4; beside them, in each row, how far the feed
-- goes, up to where it has been forgotten, and how far this looked. One row without a fact when there is none.
-- One statement, so that nothing is forgotten between the look at the bounds and the look at the facts. Locks nothing.
with looked as materialized (
  select position, fact_id, kind from facts where organizer_id = $1 and position > $2 order by position limit $3
), taken as (
  select fact_id from looked where $4::text[] is null or kind = any ($4) order by position limit $5
)
select coalesce(b.position, 0) as head, coalesce(b.forgotten, 0) as forgotten,
       (select max(position) from looked) as looked_to,
       f.position, f.fact_id, f.show_id, f.kind, f.at, f.payload
  from (select 1) one
  left join feeds b on b.organizer_id = $1
  left join (taken join facts f using (fact_id)) on f.organizer_id = $1
 order by f.position

-- name: facts_forgotten
-- Forgets up to $3 facts that were kept for $2 days, those of the feed or the others, and writes down how far each feed is
-- forgotten now; says how many. Locks them and those feeds.
with old as materialized (
  select organizer_id, fact_id from facts where in_feed = $1 and stored_at < now() - make_interval(days => $2)
   order by stored_at limit $3 for update skip locked
), gone as (
  delete from facts f using old where f.organizer_id = old.organizer_id and f.fact_id = old.fact_id
  returning f.organizer_id, f.position
), ends as (
  update feeds b set forgotten = greatest(b.forgotten, g.last)
    from (select organizer_id, max(position) as last from gone where position is not null group by organizer_id) g
   where b.organizer_id = g.organizer_id
)
select count(*) from gone
