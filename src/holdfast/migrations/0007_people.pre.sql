-- How people get in and stay in: sessions, second factors, invitations, forgotten passwords, other providers' people.
-- What lets somebody in is kept as its SHA-256 alone, or sealed: who reads these tables cannot sign in.
-- owner: accounts

-- Who came by another provider needs no password here. An admin looks after the installation.
alter table people
  alter column password_hash drop not null,
  add column admin boolean not null default false;
update people set admin = true where person_id = (
  select m.person_id from members m join organizers o using (organizer_id) where m.role = 'owner'
  order by o.created_at, o.organizer_id, m.created_at, m.person_id limit 1);
-- Its members show a second factor, or come by another provider.
alter table organizers add column second_factor_required boolean not null default false;

-- A person on one device, in one organizer. A session of kind `console` has a cookie; one of kind `api` has a token that is
-- renewed by a new one each time. `secret_hashes`: what is believed now, more than one only for seconds after an answer
-- was lost. `family_hash`: the part that all tokens of one session share, so that an ended one is known again. `strong`: more than a password was shown.
create table sessions (
  session_id uuid primary key,
  person_id uuid not null references people,
  organizer_id uuid not null references organizers,
  kind text not null check (kind in ('console', 'api')),
  family_hash bytea unique check (length(family_hash) = 32),
  secret_hashes bytea[] not null check (cardinality(secret_hashes) between 1 and 4),
  previous_hash bytea,
  renewed_at timestamptz,
  strong boolean not null,
  device text not null check (length(device) <= 200),
  address text not null check (length(address) <= 60),
  created_at timestamptz not null default clock_timestamp(),
  used_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  ended_at timestamptz,
  check ((kind = 'api') = (family_hash is not null))
) with (fillfactor = 70);
create unique index sessions_cookie on sessions ((secret_hashes[1])) where kind = 'console';
create index sessions_person on sessions (person_id, organizer_id);
create index sessions_ended_at on sessions (ended_at) where ended_at is not null;
create index sessions_expires_at on sessions (expires_at);

-- The secret that an authenticator app shares with us, sealed for this person. `last_step`: the 30 seconds whose code was
-- used last; it and those before are used up.
create table second_factors (
  person_id uuid primary key references people,
  sealed bytea not null,
  last_step bigint not null default 0,
  confirmed_at timestamptz,
  created_at timestamptz not null default clock_timestamp()
);

-- For whoever lost the device: each once.
create table recovery_codes (
  person_id uuid not null references second_factors on delete cascade,
  code_hash bytea not null check (length(code_hash) = 32),
  primary key (person_id, code_hash)
);

create table invitations (
  invitation_id uuid primary key,
  organizer_id uuid not null references organizers,
  email text not null check (email = lower(email)),
  role text not null check (role in ('owner', 'manager', 'box_office', 'door', 'viewer')),
  token_hash bytea not null unique check (length(token_hash) = 32),
  invited_by uuid references people,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  unique (organizer_id, email)
);
create index invitations_email on invitations (email);
create index invitations_expires_at on invitations (expires_at);

create table password_resets (
  token_hash bytea primary key check (length(token_hash) = 32),
  person_id uuid not null references people,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null
);
create index password_resets_person on password_resets (person_id);
create index password_resets_expires_at on password_resets (expires_at);

-- Which person of another provider is which person here, told once and kept: addresses are given away again, subjects not.
create table identities (
  issuer text not null check (length(issuer) <= 500),
  subject text not null check (length(subject) between 1 and 255),
  person_id uuid not null references people,
  created_at timestamptz not null default clock_timestamp(),
  primary key (issuer, subject),
  unique (person_id, issuer)
);

-- Staff see and do of these, as holdfast_tenant, what looking after members takes. What lets somebody in is for the engine
-- alone: an organizer's staff can neither read nor set anybody's password, code or session.
revoke all on people, sessions, second_factors, recovery_codes, password_resets, identities from holdfast_tenant;
grant select (person_id, email, admin, created_at) on people to holdfast_tenant;
grant select (session_id, person_id, organizer_id, ended_at), update (ended_at) on sessions to holdfast_tenant;
grant select (person_id, confirmed_at) on second_factors to holdfast_tenant;

do $$
declare
  v_table text;
begin
  foreach v_table in array array['sessions', 'invitations'] loop
    execute format('alter table %I enable row level security', v_table);
    execute format('create policy app on %I to holdfast_app using (true)', v_table);
    execute format('create policy tenant on %I to holdfast_tenant'
                   ' using (organizer_id = (select current_setting(''holdfast.organizer'')::uuid))', v_table);
  end loop;
end $$;
alter table second_factors enable row level security;
create policy app on second_factors to holdfast_app using (true);
create policy tenant on second_factors for select to holdfast_tenant
  using (exists (select from members m where m.person_id = second_factors.person_id));
