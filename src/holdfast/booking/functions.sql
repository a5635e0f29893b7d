-- The functions that change who holds a place. Applied again whenever this file changes; a changed signature gets a new
-- name, and the old one goes a release later.
--
-- ORDER OF LOCKS: the show's row in show_heads comes first, and of several shows' rows the smallest id. What changes with a
-- show's inventory (claims, stock, buyers, keys, blocks) is written by whoever holds its head and by nobody else, so its
-- own order does not matter. Bookings alone are locked without the head as well: confirming and extending a live hold lock
-- one booking, and then wait for nothing. cancel_booking holds the head while it waits for a booking; fail_overdue skips
-- those that somebody is working on. So nobody can wait in a circle.
--
-- The clock is read after the lock is held: a deadline that passed while waiting has passed.

-- Fails up to p_max overdue holds of a show and gives their places back. The caller holds the head and will bump its
-- revision when anything was freed.
create or replace function fail_overdue(
  p_show_id uuid, p_max int, p_now timestamptz,
  out failed uuid[], out freed_seats int[], out freed_areas smallint[])
language plpgsql as $$
begin
  select array_agg(x.booking_id) into failed from (
    select b.booking_id from bookings b
     where b.show_id = p_show_id and b.status = 'PENDING' and b.expires_at <= p_now
     order by b.expires_at limit p_max for update skip locked) x;
  if failed is null then
    failed := '{}'; freed_seats := '{}'; freed_areas := '{}';
    return;
  end if;
  update bookings b set status = 'FAILED', reason = 'expired', ended_at = p_now, version = b.version + 1
   where b.show_id = p_show_id and b.booking_id = any (failed);
  select coalesce(array_agg(s), '{}') into freed_seats
    from bookings b cross join unnest(b.seats) s where b.show_id = p_show_id and b.booking_id = any (failed);
  select coalesce(array_agg(a), '{}') into freed_areas
    from bookings b cross join unnest(b.areas) a where b.show_id = p_show_id and b.booking_id = any (failed);
  perform give_back(p_show_id, freed_seats, freed_areas, failed);
  insert into buyers as y (show_id, buyer, held_seconds)
    select p_show_id, b.buyer, sum(ceil(extract(epoch from b.expires_at - b.created_at)))::int from bookings b
     where b.show_id = p_show_id and b.booking_id = any (failed) and b.buyer is not null
     group by b.buyer order by b.buyer
    on conflict (show_id, buyer) do update set held_seconds = y.held_seconds + excluded.held_seconds;
end $$;

-- Frees seats and counts for holders that have ended, and gives the uses of their codes back. The caller holds the head.
create or replace function give_back(p_show_id uuid, p_seats int[], p_areas smallint[], p_holders uuid[])
returns void language plpgsql as $$
declare
  v_deleted int;
begin
  if cardinality(p_seats) > 0 then
    delete from claims c where c.show_id = p_show_id and c.seat = any (p_seats) and c.held_by = any (p_holders);
    get diagnostics v_deleted = row_count;
    assert v_deleted = cardinality(p_seats), 'a live booking did not hold its seats';
  end if;
  update stock s set reserved = s.reserved - d.places
    from (select a as area, count(*)::int as places from unnest(p_areas) a group by a) d
   where s.show_id = p_show_id and s.area = d.area;
  update buyers y set places = greatest(0, y.places - d.places)
    from (select b.buyer, sum(b.quantity - coalesce(cardinality(b.given_back), 0))::int as places from bookings b
           where b.show_id = p_show_id and b.booking_id = any (p_holders) and b.buyer is not null group by b.buyer) d
   where y.show_id = p_show_id and y.buyer = d.buyer and y.places > 0;
  -- Most shows have no code, and a look at that costs less than another one at the holders.
  if exists (select from codes c where c.show_id = p_show_id) then
    update codes c set used = c.used - d.uses
      from (select b.code_id, count(*)::int as uses from bookings b
             where b.show_id = p_show_id and b.booking_id = any (p_holders) and b.code_id is not null group by b.code_id) d
     where c.show_id = p_show_id and c.code_id = d.code_id;
  end if;
end $$;

-- Seats for one party in one area under the head's lock, or null: p_count together in the row nearest the front, else,
-- where p_split allows it, the first free ones. p_except are seats that this batch has already given away. Places for
-- wheelchairs and companions' seats are nobody's who did not name them.
create or replace function first_fit(p_show_id uuid, p_area smallint, p_count int, p_split boolean, p_except int[])
returns int[] language plpgsql as $$
declare
  v_first int;
  v_low int; v_high int;  -- first and last seat of the area
  v_seats int[];
begin
  select k.first_seat, k.first_seat + k.capacity - 1 into v_low, v_high from stock k
   where k.show_id = p_show_id and k.area = p_area;
  with free as (
    select r.row_number, r.first_seat + i - 1 as seat, (select count(*) from unnest(r.gap_after) g where g < i) as segment
      from seat_rows r cross join lateral generate_series(1, cardinality(r.numbers)) i
     -- As `is null` this would be believed to leave next to nothing, and claims be read from end to end for each seat.
     where r.show_id = p_show_id and r.area = p_area and not coalesce(r.access[i] <> '', false)
       and not exists (select from claims c where c.show_id = p_show_id and c.seat between v_low and v_high
                          and c.seat = r.first_seat + i - 1)
       and r.first_seat + i - 1 not in (select unnest(p_except))),
  islands as (
    select f.row_number, f.segment, f.seat,
           f.seat - row_number() over (partition by f.row_number, f.segment order by f.seat) as island
      from free f)
  select min(l.seat) into v_first from islands l
   group by l.row_number, l.segment, l.island having count(*) >= p_count
   order by l.row_number, min(l.seat) limit 1;
  if v_first is not null then
    return array(select generate_series(v_first, v_first + p_count - 1));
  end if;
  if not p_split then
    return null;
  end if;
  select array_agg(x.seat) into v_seats from (
    select s.seat from generate_series(v_low, v_high) s(seat)
     where s.seat not in (select unnest(p_except))
       and s.seat not in (select r.first_seat + i - 1 from seat_rows r cross join lateral generate_subscripts(r.access, 1) i
                           where r.show_id = p_show_id and r.area = p_area and r.access[i] is not null)
       and not exists (select from claims c where c.show_id = p_show_id and c.seat between v_low and v_high
                          and c.seat = s.seat)
     order by s.seat limit p_count) x;
  return case when cardinality(v_seats) = p_count then v_seats end;
end $$;

-- Decides a batch of claims on one show, in the order of the arrays, in one transaction. Locks the head.
--
-- Claim i wants p_places[i] places. Standing: p_area[i] is a standing area. Named seats: p_area[i] is null, p_options[i]
-- is 1, and the seats are p_seats[p_seat_from[i] + 1 ...]. Best available: p_area[i] is a seated area, and p_options[i]
-- groups of p_places[i] seats (perhaps none) follow one another from p_seat_from[i], the best first.
-- Prices: p_tiers and p_amounts hold one entry per place, claim after claim. p_codes[i] is the code that priced claim i;
-- the array is empty when there is none in the batch.
--
-- outcomes[i] is pending, confirmed, replayed, mismatch, stale, not_on_sale, sold_out, not_together, seats_taken,
-- limit_reached, hold_limit, code_withdrawn, code_early, code_expired, code_places (more than the code is for),
-- code_used_up, again or show_not_found. seats_out[seats_from[i] + 1 ...] (seats_count[i] of them) are the
-- seats that were given, or those that were taken. booking_ids[i] differs from p_booking[i] for a replay. left_over is
-- what each area still has, expired counts the overdue holds that were failed on the way. The order of checks is a
-- promise: a retry of a success never hears anything but success.
create or replace function claim(
  p_show_id uuid, p_terms int, p_fact_id uuid, p_organizer uuid, p_currency text, p_hold_seconds int,
  p_hold_seconds_max int, p_buyer_max int,
  p_booking uuid[], p_reference text[], p_key bytea[], p_fingerprint bytea[], p_buyer bytea[], p_email text[],
  p_name text[], p_customer uuid[], p_confirm boolean[], p_places int[], p_area smallint[], p_split boolean[], p_options int[],
  p_seat_from int[], p_seats int[], p_tiers smallint[], p_amounts bigint[], p_codes uuid[],
  out outcomes text[], out booking_ids uuid[], out deadlines timestamptz[], out seats_out int[], out seats_from int[],
  out seats_count int[], out freed int[], out expired int, out left_over int[], out at_revision bigint,
  out decided_at timestamptz, out lock_seconds double precision)
language plpgsql as $$
declare
  n constant int := cardinality(p_booking);
  v_asked timestamptz := clock_timestamp();
  v_head show_heads;
  v_row record;
  v_gate text;
  v_sold text[];                      -- outcomes settled before places are looked at
  v_left int[];
  v_first int[];                      -- first seat of each area
  v_seated boolean[];
  v_seats int;                        -- how many seats the show has
  v_last int;                         -- the last seat that is asked for
  v_rank int[];                       -- equal seats of the batch share a rank
  v_free boolean[];                   -- by position in p_seats
  v_won boolean[];                    -- by rank: given away earlier in this batch
  v_scarce boolean;
  v_fits int;                         -- first fits still allowed in this batch: each scans an area
  v_buyers bytea[]; v_have int[]; v_spent int[];
  v_coded constant boolean := cardinality(p_codes) > 0;
  v_codes uuid[]; v_shut text[]; v_uses int[]; v_each int[];  -- by code: why not, uses left, places in one booking
  v_c int;
  v_place_from int[] := array_fill(0, array[n]);
  v_hold int[] := array_fill(p_hold_seconds, array[n]);
  v_gone int[];                       -- places given away, by area
  v_given int[]; v_given_to uuid[]; v_given_area smallint[];
  v_winners int := 0;
  v_fit int[];
  v_option int; v_off int; v_b int; k int; v_place int := 0; v_good boolean;
begin
  select h.* into v_head from show_heads h where h.show_id = p_show_id for no key update;
  outcomes := array_fill(null::text, array[n]);
  booking_ids := p_booking;
  deadlines := array_fill(null::timestamptz, array[n]);
  seats_from := array_fill(0, array[n]);
  seats_count := array_fill(0, array[n]);
  seats_out := '{}'; freed := '{}'; left_over := '{}'; expired := 0;
  decided_at := clock_timestamp();
  lock_seconds := extract(epoch from decided_at - v_asked);
  if v_head.show_id is null then
    outcomes := array_fill('show_not_found'::text, array[n]);
    return;
  end if;
  at_revision := v_head.revision;

  -- With few claims per show the number of statements is what a batch costs: none is sent for nothing.
  if cardinality(array_remove(p_key, null)) > 0 then
    for v_row in select y.key, y.fingerprint, y.booking_id from idempotency_keys y
                  where y.show_id = p_show_id and y.key = any (p_key) loop
      v_b := array_position(p_key, v_row.key);
      outcomes[v_b] := case when v_row.fingerprint = p_fingerprint[v_b] then 'replayed' else 'mismatch' end;
      booking_ids[v_b] := v_row.booking_id;
    end loop;
  end if;

  v_gate := case
    when v_head.terms <> p_terms then 'stale'
    when not v_head.selling or decided_at < v_head.opens_at or decided_at >= v_head.closes_at then 'not_on_sale' end;
  if v_gate is not null then
    outcomes := array(select coalesce(o, v_gate) from unnest(outcomes) with ordinality u(o, i) order by i);
    return;
  end if;

  for i in 1..n loop
    v_place_from[i] := v_place;
    v_place := v_place + p_places[i];
  end loop;
  v_sold := outcomes;

  -- Twice at most: a claim that finds too little first fails the holds that are overdue, and looks again.
  for v_try in 1..2 loop
    outcomes := v_sold;
    seats_count := array_fill(0, array[n]);
    seats_out := '{}'; v_given := '{}'; v_given_to := '{}'; v_given_area := '{}';
    v_winners := 0; v_fits := 4; v_scarce := false;
    -- What the buyers of this batch have already. The order of v_buyers is that of their rows' locks.
    if cardinality(array_remove(p_buyer, null)) > 0 then
      select array_agg(x.buyer order by x.buyer), array_agg(coalesce(y.places, 0) order by x.buyer),
             array_agg(coalesce(y.held_seconds, 0) order by x.buyer)
        into v_buyers, v_have, v_spent
        from (select distinct b as buyer from unnest(p_buyer) b where b is not null) x
        left join buyers y on y.show_id = p_show_id and y.buyer = x.buyer;
    end if;
    if v_coded then
      select array_agg(c.code_id), array_agg(code_shut(c, decided_at)), array_agg(c.uses_max - c.used), array_agg(c.places_max)
        into v_codes, v_shut, v_uses, v_each from codes c where c.show_id = p_show_id and c.code_id = any (p_codes);
    end if;
    select array_agg(s.capacity - s.reserved - s.blocked order by s.area), array_agg(s.first_seat order by s.area),
           array_agg(s.seated order by s.area), max(s.first_seat + s.capacity) filter (where s.seated)
      into v_left, v_first, v_seated, v_seats from stock s where s.show_id = p_show_id;
    v_gone := array_fill(0, array[cardinality(v_left)]);
    if cardinality(p_seats) > 0 then
      select array_agg(x.rank order by x.pos), array_agg(x.free order by x.pos), max(x.seat)
        into v_rank, v_free, v_last from (
        -- The list bounds what is read of a show with very many claims, whatever the plan.
        select u.pos, u.seat, dense_rank() over (order by u.seat)::int as rank, t.seat is null as free
          from unnest(p_seats) with ordinality u(seat, pos)
          left join (select c.seat from claims c where c.show_id = p_show_id and c.seat = any (p_seats)) t
            on t.seat = u.seat) x;
      assert v_last < v_seats, 'the show has no such seat';
      v_won := array_fill(false, array[cardinality(p_seats)]);
    end if;

    for i in 1..n loop
      continue when outcomes[i] is not null;
      k := p_places[i];
      v_b := array_position(v_buyers, p_buyer[i]);
      if v_b is not null then
        v_hold[i] := least(p_hold_seconds, p_hold_seconds_max - v_spent[v_b]);
        if v_hold[i] < least(10, p_hold_seconds) then  -- nobody can do anything in less
          outcomes[i] := 'hold_limit';
          continue;
        end if;
        if v_have[v_b] + k > p_buyer_max then
          outcomes[i] := 'limit_reached'; v_scarce := true;
          continue;
        end if;
      end if;
      if v_coded then
        v_c := array_position(v_codes, p_codes[i]);
        assert v_c is not null or p_codes[i] is null, 'the show has no such code';
        if v_shut[v_c] is not null or v_each[v_c] < k then
          outcomes[i] := coalesce(v_shut[v_c], 'code_places');
          continue;
        end if;
        if v_uses[v_c] < 1 then
          outcomes[i] := 'code_used_up'; v_scarce := true;
          continue;
        end if;
      end if;
      seats_from[i] := cardinality(seats_out);
      if not v_seated[p_area[i]] then
        if v_left[p_area[i]] < k then
          outcomes[i] := 'sold_out'; v_scarce := true;
          continue;
        end if;
        v_left[p_area[i]] := v_left[p_area[i]] - k;
        v_gone[p_area[i]] := v_gone[p_area[i]] + k;
      else
        v_option := null;
        for o in 0..p_options[i] - 1 loop
          v_off := p_seat_from[i] + o * k;
          v_good := true;
          for j in v_off + 1..v_off + k loop
            if not v_free[j] or v_won[v_rank[j]] then
              v_good := false;
              exit;
            end if;
          end loop;
          if v_good then
            v_option := v_off;
            exit;
          end if;
        end loop;
        v_fit := null;
        if v_option is not null then
          v_fit := p_seats[v_option + 1:v_option + k];
        elsif p_area[i] is null then
          outcomes[i] := 'seats_taken'; v_scarce := true;
          for j in p_seat_from[i] + 1..p_seat_from[i] + k loop
            if not v_free[j] or v_won[v_rank[j]] then
              seats_out := array_append(seats_out, p_seats[j]);
            end if;
          end loop;
          seats_count[i] := cardinality(seats_out) - seats_from[i];
          continue;
        elsif coalesce(v_left[p_area[i]], 0) < k then
          outcomes[i] := 'sold_out'; v_scarce := true;
          continue;
        elsif v_fits = 0 then
          outcomes[i] := 'again';
          continue;
        else
          v_fits := v_fits - 1;
          v_fit := first_fit(p_show_id, p_area[i], k, p_split[i], v_given);
          if v_fit is null then
            -- What is left over may be kept for who needs it: apart there is no more of it than together.
            outcomes[i] := case when p_split[i] or k = 1 then 'sold_out' else 'not_together' end; v_scarce := true;
            continue;
          end if;
        end if;
        for j in 1..k loop
          v_given := array_append(v_given, v_fit[j]);
          v_given_to := array_append(v_given_to, p_booking[i]);
          seats_out := array_append(seats_out, v_fit[j]);
          v_b := width_bucket(v_fit[j], v_first);
          v_given_area := array_append(v_given_area, v_b::smallint);
          v_left[v_b] := v_left[v_b] - 1;
          v_gone[v_b] := v_gone[v_b] + 1;
          if v_option is not null then
            v_won[v_rank[v_option + j]] := true;
          end if;
        end loop;
        if v_option is null and cardinality(p_seats) > 0 then  -- seats that others of this batch may name as well
          select array_agg(w or p_seats[pos[1]] = any (v_fit) order by rank) into v_won from (
            select r.rank, v_won[r.rank] as w, array_agg(r.pos) as pos
              from unnest(v_rank) with ordinality r(rank, pos) group by r.rank) x;
        end if;
        seats_count[i] := k;
      end if;
      outcomes[i] := case when p_confirm[i] then 'confirmed' else 'pending' end;
      deadlines[i] := decided_at + make_interval(secs => v_hold[i]);
      v_winners := v_winners + 1;
      v_b := array_position(v_buyers, p_buyer[i]);
      if p_buyer_max is not null and v_b is not null then
        v_have[v_b] := v_have[v_b] + k;
      end if;
      if v_coded and v_c is not null then
        v_uses[v_c] := v_uses[v_c] - 1;
      end if;
    end loop;

    exit when v_try = 2 or not v_scarce;
    select f.freed_seats, cardinality(f.failed) into freed, expired from fail_overdue(p_show_id, 200, decided_at) f;
    exit when expired = 0;
  end loop;
  left_over := v_left;
  if v_winners = 0 and expired = 0 then
    return;
  end if;

  at_revision := v_head.revision + 1;
  update show_heads h set revision = at_revision where h.show_id = p_show_id;
  if v_winners > 0 then
    if cardinality(v_given) > 0 then
      insert into claims (show_id, seat, held_by)
      select p_show_id, g.seat, g.held_by from unnest(v_given, v_given_to) g(seat, held_by);
    end if;
    update stock s set reserved = s.reserved + d.places
      from unnest(v_gone) with ordinality d(places, area)
     where s.show_id = p_show_id and s.area = d.area and d.places > 0;
    insert into bookings (show_id, booking_id, organizer_id, reference, status, quantity, areas, seats, tiers, amounts,
                          total, currency, email, name, buyer, customer_id, created_at, expires_at, confirmed_at, terms,
                          code_id)
    select p_show_id, u.booking_id, p_organizer, u.reference, upper(u.outcome), u.k,
           case when u.seats = 0 then array_fill(u.area, array[u.k])
                else array(select width_bucket(s, v_first)::smallint
                             from unnest(seats_out[u.seat_from + 1:u.seat_from + u.k]) with ordinality t(s, o) order by o)
           end,
           seats_out[u.seat_from + 1:u.seat_from + u.seats],
           p_tiers[u.place_from + 1:u.place_from + u.k], p_amounts[u.place_from + 1:u.place_from + u.k],
           (select sum(a) from unnest(p_amounts[u.place_from + 1:u.place_from + u.k]) a),
           p_currency, u.email, u.name, u.buyer, u.customer_id, decided_at, u.deadline,
           case when u.outcome = 'confirmed' then decided_at end, p_terms, u.code_id
      from unnest(p_booking, p_reference, outcomes, p_places, seats_count, p_area, seats_from, v_place_from, p_email,
                  p_name, p_buyer, p_customer, deadlines, p_codes)
           u(booking_id, reference, outcome, k, seats, area, seat_from, place_from, email, name, buyer, customer_id,
             deadline, code_id)
     where u.outcome in ('pending', 'confirmed');
    if v_coded then
      update codes c set used = c.used + d.uses
        from (select u.code_id, count(*)::int as uses from unnest(p_codes, outcomes) u(code_id, outcome)
               where u.code_id is not null and u.outcome in ('pending', 'confirmed') group by u.code_id) d
       where c.show_id = p_show_id and c.code_id = d.code_id;
    end if;
    if cardinality(array_remove(p_key, null)) > 0 then
      insert into idempotency_keys (show_id, key, fingerprint, booking_id, created_at)
      select p_show_id, u.key, u.fingerprint, u.booking_id, decided_at
        from unnest(p_key, p_fingerprint, p_booking, outcomes) u(key, fingerprint, booking_id, outcome)
       where u.key is not null and u.outcome in ('pending', 'confirmed');
    end if;
    if p_buyer_max is not null and v_buyers is not null then
      insert into buyers as y (show_id, buyer, places)
      select p_show_id, x.buyer, x.have from unnest(v_buyers, v_have) x(buyer, have) where x.have > 0 order by x.buyer
      on conflict (show_id, buyer) do update set places = excluded.places;
    end if;
    if true = any (p_confirm) then
      perform announce(p_show_id, md5(b.booking_id::text || ':1')::uuid, 'booking.confirmed', booking_facts(b))
         from bookings b
        where b.show_id = p_show_id and b.booking_id = any (p_booking) and b.status = 'CONFIRMED'
          and b.created_at = decided_at;
    end if;
  end if;
  perform announce(p_show_id, p_fact_id, 'availability.changed', jsonb_build_object(
    'revision', at_revision, 'taken', v_given, 'freed', freed, 'left', v_left));
end $$;

-- The claims of several shows in one round trip and one commit: p_counts[s] claims belong to p_shows[s], and the arrays
-- of the claims follow one another. p_shows is sorted by the caller, which is the order of the heads' locks.
create or replace function claim_many(
  p_shows uuid[], p_terms int[], p_facts uuid[], p_organizers uuid[], p_currencies text[], p_hold_seconds int[],
  p_hold_seconds_max int[], p_buyer_max int[], p_counts int[], p_place_counts int[], p_seat_counts int[],
  p_booking uuid[], p_reference text[], p_key bytea[], p_fingerprint bytea[], p_buyer bytea[], p_email text[],
  p_name text[], p_customer uuid[], p_confirm boolean[], p_places int[], p_area smallint[], p_split boolean[], p_options int[],
  p_seat_from int[], p_seats int[], p_tiers smallint[], p_amounts bigint[], p_codes uuid[])
returns table (outcomes text[], booking_ids uuid[], deadlines timestamptz[], seats_out int[], seats_from int[],
  seats_count int[], freed int[], expired int, left_over int[], at_revision bigint, decided_at timestamptz,
  lock_seconds double precision)
language plpgsql as $$
declare
  a int := 1; b int;      -- slice of the claims
  c int := 1; d int;      -- slice of the places
  e int := 1; f int;      -- slice of the seats
begin
  for s in 1..cardinality(p_shows) loop
    b := a + p_counts[s] - 1; d := c + p_place_counts[s] - 1; f := e + p_seat_counts[s] - 1;
    return query select * from claim(
      p_shows[s], p_terms[s], p_facts[s], p_organizers[s], p_currencies[s], p_hold_seconds[s], p_hold_seconds_max[s],
      p_buyer_max[s], p_booking[a:b], p_reference[a:b], p_key[a:b], p_fingerprint[a:b], p_buyer[a:b], p_email[a:b],
      p_name[a:b], p_customer[a:b], p_confirm[a:b], p_places[a:b], p_area[a:b], p_split[a:b], p_options[a:b], p_seat_from[a:b],
      p_seats[e:f], p_tiers[c:d], p_amounts[c:d], p_codes[a:b]);
    a := b + 1; c := d + 1; e := f + 1;
  end loop;
end $$;

-- What a fact says of a booking: ids and amounts, never a person.
create or replace function booking_facts(b bookings) returns jsonb language sql stable as $$
  select jsonb_build_object('booking_id', b.booking_id, 'version', b.version, 'organizer_id', b.organizer_id,
    'status', b.status, 'reason', b.reason, 'quantity', b.quantity, 'areas', to_jsonb(b.areas), 'seats', to_jsonb(b.seats),
    'tiers', to_jsonb(b.tiers), 'amounts', to_jsonb(b.amounts), 'total', b.total, 'currency', b.currency,
    'code_id', b.code_id)
$$;

-- Turns a live hold into a sale. Locks the booking alone. p_settled: somebody took the money, or there is none to take.
-- outcome: confirmed (also when it was already), payment_required, hold_expired, ended or booking_not_found.
create or replace function confirm_booking(
  p_show_id uuid, p_booking_id uuid, p_settled boolean, out outcome text, out changed boolean)
language plpgsql as $$
declare
  v_booking bookings;
  v_now timestamptz;
begin
  select b.* into v_booking from bookings b
   where b.show_id = p_show_id and b.booking_id = p_booking_id for no key update;
  v_now := clock_timestamp();
  changed := false;
  outcome := case
    when v_booking.booking_id is null then 'booking_not_found'
    when v_booking.status = 'CONFIRMED' then 'confirmed'
    when v_booking.status = 'FAILED' and v_booking.reason = 'expired' then 'hold_expired'
    when v_booking.status <> 'PENDING' then 'ended'
    when v_booking.expires_at <= v_now then 'hold_expired'
    when v_booking.total > 0 and not p_settled then 'payment_required' end;
  if outcome is not null then
    return;
  end if;
  update bookings b set status = 'CONFIRMED', confirmed_at = v_now, version = b.version + 1
   where b.show_id = p_show_id and b.booking_id = p_booking_id returning b.* into v_booking;
  perform announce(p_show_id, md5(p_booking_id::text || ':' || v_booking.version)::uuid, 'booking.confirmed',
                   booking_facts(v_booking));
  outcome := 'confirmed';
  changed := true;
end $$;

-- The one free extension of a live hold, within what the show and the buyer's earlier holds leave. Locks the booking alone.
-- outcome: extended, hold_limit, hold_expired, ended or booking_not_found.
create or replace function extend_booking(
  p_show_id uuid, p_booking_id uuid, p_seconds int, p_hold_seconds_max int, out outcome text)
language plpgsql as $$
declare
  v_booking bookings;
  v_deadline timestamptz;
begin
  select b.* into v_booking from bookings b
   where b.show_id = p_show_id and b.booking_id = p_booking_id for no key update;
  v_deadline := least(v_booking.expires_at + make_interval(secs => p_seconds),
                      v_booking.created_at + make_interval(secs => p_hold_seconds_max - coalesce((
                        select y.held_seconds from buyers y
                         where y.show_id = p_show_id and y.buyer = v_booking.buyer), 0)));
  outcome := case
    when v_booking.booking_id is null then 'booking_not_found'
    when v_booking.status = 'FAILED' and v_booking.reason = 'expired' then 'hold_expired'
    when v_booking.status <> 'PENDING' then 'ended'
    when v_booking.expires_at <= clock_timestamp() then 'hold_expired'
    when v_booking.extended or v_deadline <= v_booking.expires_at then 'hold_limit'
    else 'extended' end;
  if outcome = 'extended' then
    update bookings b set expires_at = v_deadline, extended = true, version = b.version + 1
     where b.show_id = p_show_id and b.booking_id = p_booking_id;
  end if;
end $$;

-- Ends a booking before its time and frees its places. Locks the head, then the booking. p_only_pending: a confirmed one
-- is left alone and answered 'confirmed'. outcome: ended (also when it was already), confirmed or booking_not_found.
create or replace function cancel_booking(
  p_show_id uuid, p_booking_id uuid, p_reason text, p_only_pending boolean, p_fact_id uuid,
  out outcome text, out changed boolean, out freed int[], out left_over int[], out at_revision bigint)
language plpgsql as $$
declare
  v_booking bookings;
  v_areas smallint[];
  v_now timestamptz;
begin
  changed := false; freed := '{}'; left_over := '{}';
  select h.revision into at_revision from show_heads h where h.show_id = p_show_id for no key update;
  select b.* into v_booking from bookings b
   where b.show_id = p_show_id and b.booking_id = p_booking_id for no key update;
  v_now := clock_timestamp();
  outcome := case
    when v_booking.booking_id is null then 'booking_not_found'
    when v_booking.status in ('FAILED', 'CANCELLED') then 'ended'
    when v_booking.status = 'CONFIRMED' and p_only_pending then 'confirmed' end;
  if outcome is not null then
    return;
  end if;
  if v_booking.status = 'PENDING' then
    update bookings b set status = 'FAILED', ended_at = v_now, version = b.version + 1, reason = case
        when b.expires_at <= v_now then 'expired' when p_reason = 'show_cancelled' then p_reason else 'released' end
     where b.show_id = p_show_id and b.booking_id = p_booking_id;
    if v_booking.buyer is not null then
      insert into buyers as y (show_id, buyer, held_seconds)
      values (p_show_id, v_booking.buyer,
              -- A clock that was put back meanwhile makes no hold shorter than nothing.
              greatest(0, ceil(extract(epoch from least(v_now, v_booking.expires_at) - v_booking.created_at)))::int)
      on conflict (show_id, buyer) do update set held_seconds = y.held_seconds + excluded.held_seconds;
    end if;
  else
    update bookings b set status = 'CANCELLED', reason = p_reason, ended_at = v_now, version = b.version + 1
     where b.show_id = p_show_id and b.booking_id = p_booking_id returning b.* into v_booking;
    perform announce(p_show_id, md5(p_booking_id::text || ':' || v_booking.version)::uuid, 'booking.cancelled',
                     booking_facts(v_booking));
  end if;
  select coalesce(array_agg(p.seat order by p.number) filter (where p.seat is not null), '{}'), array_agg(p.area)
    into freed, v_areas from places_left_of(v_booking) p;
  perform give_back(p_show_id, freed, v_areas, array[p_booking_id]);
  select c.at_revision, c.left_over into at_revision, left_over
    from availability_changed(p_show_id, p_fact_id, '{}', freed) c;
  outcome := 'ended';
  changed := true;
end $$;

-- Fails up to p_max overdue holds of one show. Locks the head; skips bookings that somebody is working on.
create or replace function sweep_show(
  p_show_id uuid, p_max int, p_fact_id uuid,
  out failed uuid[], out freed int[], out left_over int[], out at_revision bigint)
language plpgsql as $$
begin
  perform from show_heads h where h.show_id = p_show_id for no key update;
  select f.failed, f.freed_seats into failed, freed from fail_overdue(p_show_id, p_max, clock_timestamp()) f;
  if cardinality(failed) > 0 then
    select c.at_revision, c.left_over into at_revision, left_over
      from availability_changed(p_show_id, p_fact_id, '{}', freed) c;
  end if;
end $$;

-- Counts a change of availability and announces it. The caller holds the head and has changed stock and claims.
create or replace function availability_changed(
  p_show_id uuid, p_fact_id uuid, p_taken int[], p_freed int[], out at_revision bigint, out left_over int[])
language plpgsql as $$
begin
  update show_heads h set revision = h.revision + 1 where h.show_id = p_show_id returning h.revision into at_revision;
  select array_agg(s.capacity - s.reserved - s.blocked order by s.area) into left_over
    from stock s where s.show_id = p_show_id;
  perform announce(p_show_id, p_fact_id, 'availability.changed', jsonb_build_object(
    'revision', at_revision, 'taken', p_taken, 'freed', p_freed, 'left', left_over));
end $$;
