-- What each organizer may see, said a second time where no query can forget it, and what staff did.
--
-- Two roles that nobody signs in as. The engine acts as holdfast_app: it sees every row, for buyers belong to no
-- organizer, but it owns nothing, so that it cannot change the schema or what was written for good. Whatever staff ask
-- for is done as holdfast_tenant in a transaction that says whose staff they are; to it other organizers' rows are not
-- there. The owner of the tables, who migrates, is held by none of this.
--
-- Roles belong to the whole server and several databases may be migrated at once: whoever comes second waits for the
-- first, finds the role made, and goes on.
do $$
declare
  v_wanted text;
  v_able text := case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end;
begin
  foreach v_wanted in array array['holdfast_app', 'holdfast_tenant'] loop
    begin
      begin
        if not exists (select from pg_roles where rolname = v_wanted) then
          execute format('create role %I nologin', v_wanted);
        end if;
      exception when duplicate_object or unique_violation then null;
      end;
      begin
        if not pg_has_role(current_user, v_wanted, v_able) then
          execute format('grant %I to current_user', v_wanted);
        end if;
      exception when unique_violation then null;
      end;
    exception
      when insufficient_privilege then
        raise insufficient_privilege using message = format(
          'The user %1$I may not make the roles that Holdfast acts in. An administrator of the server runs once: '
          'create role holdfast_app nologin; create role holdfast_tenant nologin; '
          'grant holdfast_app, holdfast_tenant to %1$I; (leave out the roles that are there).', current_user);
    end;
  end loop;
end $$;

-- Tables that later migrations make. What has an organizer then says its own policies, as below; a test asks for them.
alter default privileges in schema public grant select, insert, update, delete on tables to holdfast_app, holdfast_tenant;
alter default privileges in schema public grant execute on functions to holdfast_app, holdfast_tenant;

-- The ledger of migrations is not there where the schema is made for reading alone.
do $$
begin
  if to_regclass('migrations') is not null then
    grant select on migrations to holdfast_app;
  end if;
end $$;
grant select, insert, update, delete on
  answers, areas, blocks, bookings, buyers, claims, dead_letters, idempotency_keys, jobs, layouts, members, organizers,
  outbox, people, queued_claims, queues, seat_rows, show_heads, shows, stock, tiers, venues
  to holdfast_app;
grant select, insert, update, delete on
  answers, areas, blocks, bookings, buyers, claims, idempotency_keys, layouts, members, organizers, people, queued_claims,
  queues, seat_rows, show_heads, shows, stock, tiers, venues
  to holdfast_tenant;
-- Facts and jobs belong to the installation: an organizer's changes add to them, and only the engine reads them. They
-- need no policy to be kept apart, because nothing of them can be read or changed; of a job, to add it once, its id.
-- Dead letters carry what every organizer's followers were to do, so none of them is open to any organizer.
grant insert on outbox, jobs to holdfast_tenant;
grant select (job_id) on jobs to holdfast_tenant;

-- What names its organizer. The setting is read once per statement; without it a statement fails, so that nothing is
-- shown to a connection that was never told whose it is.
do $$
declare
  v_table text;
begin
  foreach v_table in array array['organizers', 'venues', 'layouts', 'shows', 'bookings', 'members', 'queued_claims'] loop
    execute format('alter table %I enable row level security', v_table);
    execute format('create policy app on %I to holdfast_app using (true)', v_table);
    execute format('create policy tenant on %I to holdfast_tenant'
                   ' using (organizer_id = (select current_setting(''holdfast.organizer'')::uuid))', v_table);
  end loop;
  -- What belongs to a show is as visible as the show is. None of it needs a column that says so again, because staff
  -- touch a few rows at a time; what is read and written by the thousand is read and written as holdfast_app.
  foreach v_table in array array[
    'areas', 'seat_rows', 'tiers', 'show_heads', 'stock', 'claims', 'blocks', 'buyers', 'idempotency_keys', 'queues'] loop
    execute format('alter table %I enable row level security', v_table);
    execute format('create policy app on %I to holdfast_app using (true)', v_table);
    execute format('create policy tenant on %1$I to holdfast_tenant'
                   ' using (exists (select from shows s where s.show_id = %1$I.show_id))', v_table);
  end loop;
end $$;

-- Nobody belongs to one organizer alone. An organizer sees the people who are its members, and may add one who is not
-- a member yet.
alter table people enable row level security;
create policy app on people to holdfast_app using (true);
create policy tenant on people to holdfast_tenant
  using (exists (select from members m where m.person_id = people.person_id)) with check (true);

-- The caller of an answer to staff is `organizer/person`, so that one person's keys in two organizers are two keys.
alter table answers enable row level security;
create policy app on answers to holdfast_app using (true);
create policy tenant on answers to holdfast_tenant
  using (starts_with(caller, (select current_setting('holdfast.organizer') || '/')));

-- owner: accounts

-- What staff changed, and what buyers changed of their bookings, written in the transaction of the change and never
-- again: nobody but the owner of the tables can change or remove an entry. Ids, amounts and times, no names, no
-- addresses and no texts; `address` is a network, too wide to be a person. Entries outlive what they speak of, so
-- nothing is referenced.
create table audit (
  organizer_id uuid not null,
  entry_id uuid not null,
  at timestamptz not null default clock_timestamp(),
  actor_kind text not null check (actor_kind in ('person', 'key', 'buyer', 'nobody')),
  actor_id uuid check ((actor_id is null) = (actor_kind = 'nobody')),
  action text not null check (action ~ '^[a-z0-9_]+[.][a-z0-9_]+$'),
  show_id uuid,
  subject_id uuid,
  before jsonb,
  after jsonb,
  address cidr check (masklen(address) <= case family(address) when 4 then 24 else 48 end),
  request_id text not null check (length(request_id) between 1 and 64),
  primary key (organizer_id, entry_id)
);
create index audit_show on audit (organizer_id, show_id, entry_id) where show_id is not null;
create index audit_subject on audit (organizer_id, subject_id, entry_id) where subject_id is not null;

revoke update, delete, truncate on audit from holdfast_app, holdfast_tenant;
alter table audit enable row level security;
create policy app on audit to holdfast_app using (true);
create policy tenant on audit to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));
