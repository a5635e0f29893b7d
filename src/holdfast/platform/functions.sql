-- Functions of the platform. Applied again whenever this file changes.

-- Announces a fact in the caller's transaction; the same fact twice is one fact.
create or replace function announce(p_show_id uuid, p_fact_id uuid, p_kind text, p_payload jsonb)
returns void language sql as $$
  insert into outbox (show_id, fact_id, kind, payload) values (p_show_id, p_fact_id, p_kind, p_payload)
  on conflict do nothing
$$;
