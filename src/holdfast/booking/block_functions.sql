-- The functions of blocks. Applied again whenever this file changes; functions.sql says how locks are taken.

-- Keeps free places off sale. Locks the head. outcome: blocked, seats_taken (with the seats), sold_out, show_not_found.
create or replace function block_places(
  p_show_id uuid, p_block_id uuid, p_area smallint, p_quantity int, p_seats int[], p_reason text,
  p_release_at timestamptz, p_created_by uuid, p_fact_id uuid,
  out outcome text, out conflicts int[], out freed int[], out left_over int[], out at_revision bigint)
language plpgsql as $$
declare
  v_first int[];
  v_areas smallint[];
begin
  perform from show_heads h where h.show_id = p_show_id for no key update;
  if not found then
    outcome := 'show_not_found';
    return;
  end if;
  select f.freed_seats into freed from fail_overdue(p_show_id, 1000, clock_timestamp()) f;
  if cardinality(p_seats) > 0 then
    select array_agg(c.seat) into conflicts from claims c where c.show_id = p_show_id and c.seat = any (p_seats);
    select array_agg(s.first_seat order by s.area) into v_first from stock s where s.show_id = p_show_id;
    v_areas := array(select width_bucket(s, v_first)::smallint from unnest(p_seats) with ordinality u(s, o) order by o);
  else
    v_areas := array_fill(p_area, array[p_quantity]);
    if (select s.capacity - s.reserved - s.blocked < p_quantity from stock s
         where s.show_id = p_show_id and s.area = p_area) then
      outcome := 'sold_out';
    end if;
  end if;
  if conflicts is not null then
    outcome := 'seats_taken';
  end if;
  if outcome is null then
    insert into blocks (show_id, block_id, areas, seats, reason, release_at, created_by)
    values (p_show_id, p_block_id, v_areas, p_seats, p_reason, p_release_at, p_created_by);
    insert into claims (show_id, seat, held_by) select p_show_id, s, p_block_id from unnest(p_seats) s;
    update stock s set blocked = s.blocked + d.places
      from (select a as area, count(*)::int as places from unnest(v_areas) a group by a) d
     where s.show_id = p_show_id and s.area = d.area;
    outcome := 'blocked';
  end if;
  select c.at_revision, c.left_over into at_revision, left_over from availability_changed(
    p_show_id, p_fact_id, case when outcome = 'blocked' then p_seats else '{}' end, freed) c;
end $$;

-- Puts blocked places back on sale. Locks the head. Nothing happens when the block is gone already.
create or replace function release_block(
  p_show_id uuid, p_block_id uuid, p_fact_id uuid,
  out found_it boolean, out freed int[], out left_over int[], out at_revision bigint)
language plpgsql as $$
declare
  v_block blocks;
begin
  perform from show_heads h where h.show_id = p_show_id for no key update;
  delete from blocks b where b.show_id = p_show_id and b.block_id = p_block_id returning b.* into v_block;
  found_it := v_block.block_id is not null;
  if not found_it then
    return;
  end if;
  freed := v_block.seats;
  delete from claims c where c.show_id = p_show_id and c.seat = any (freed) and c.held_by = p_block_id;
  update stock s set blocked = s.blocked - d.places
    from (select a as area, count(*)::int as places from unnest(v_block.areas) a group by a) d
   where s.show_id = p_show_id and s.area = d.area;
  select c.at_revision, c.left_over into at_revision, left_over
    from availability_changed(p_show_id, p_fact_id, '{}', freed) c;
end $$;
