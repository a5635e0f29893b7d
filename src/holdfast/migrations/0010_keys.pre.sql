-- How machines get in: keys with scopes; and organizers that an admin has shut out.
-- owner: accounts

-- Nobody of a suspended organizer gets in. Its shows stay as they are.
alter table organizers add column suspended_at timestamptz;

-- `key_hash` is the SHA-256 of a key with 256 random bits: who reads this table can use none of them. `prefix` is the part
-- of the key that people may see. `created_by` is a principal's name, `person:<id>`. `last_used_at` lags by a minute or so.
create table api_keys (
  key_id uuid primary key,
  organizer_id uuid not null references organizers,
  name text not null check (length(name) between 1 and 100),
  prefix text not null check (length(prefix) = 11),
  key_hash bytea not null unique check (length(key_hash) = 32),
  scopes text[] not null check (cardinality(scopes) between 1 and 50),
  replaces uuid,
  created_by text not null check (length(created_by) <= 100),
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz
);
create index api_keys_organizer on api_keys (organizer_id, key_id);

-- As migration 0006 has it: the engine sees every key, since none says whose it is, and staff those of their organizer.
alter table api_keys enable row level security;
create policy app on api_keys to holdfast_app using (true);
create policy tenant on api_keys to holdfast_tenant
  using (organizer_id = (select current_setting('holdfast.organizer')::uuid));
