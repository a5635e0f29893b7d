-- The functions of promotion codes. Applied again whenever this file changes; functions.sql says how locks are taken, and
-- its `claim` counts the uses.

-- Why a code may not be used now, whoever has it; null when it may.
create or replace function code_shut(c codes, p_now timestamptz) returns text language sql immutable as $$
  select case when c.withdrawn_at is not null then 'code_withdrawn'
              when c.starts_at > p_now then 'code_early'
              when c.ends_at <= p_now then 'code_expired' end
$$;

-- Counts a use of a code once more, for a booking that had ended and takes its places again at the price that it had: so
-- neither the code's times matter nor whether it was withdrawn. The caller holds the head. False when no use is left, and
-- true when there is no code.
create or replace function use_code_again(p_show_id uuid, p_code_id uuid) returns boolean language plpgsql as $$
begin
  if p_code_id is null then
    return true;
  end if;
  update codes c set used = c.used + 1
   where c.show_id = p_show_id and c.code_id = p_code_id and (c.uses_max is null or c.used < c.uses_max);
  return found;
end $$;
