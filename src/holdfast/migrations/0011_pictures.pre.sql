-- Pictures of shows and logos of organizers.
-- owner: catalog

-- The present picture of a show, or of the organizer itself (its logo): `subject_id` is the id of either. A new picture has
-- a new id, so that caches may keep each for ever.
create table pictures (
  organizer_id uuid not null references organizers,
  subject_id uuid not null,
  picture_id uuid not null unique,
  created_at timestamptz not null default clock_timestamp(),
  primary key (organizer_id, subject_id)
);

-- The picture in each width, as WebP that Holdfast has made itself. It is not packed a second time.
create table picture_sizes (
  picture_id uuid not null references pictures (picture_id) on delete cascade,
  width int not null check (width between 1 and 10000),
  height int not null check (height between 1 and 10000),
  organizer_id uuid not null,
  contents bytea not null check (length(contents) <= 1000000),
  primary key (picture_id, width)
);
alter table picture_sizes alter column contents set storage external;

-- As migration 0006 has it: anybody sees pictures, by the engine; staff change those of their organizer.
do $$
declare
  v_table text;
begin
  foreach v_table in array array['pictures', 'picture_sizes'] loop
    execute format('alter table %I enable row level security', v_table);
    execute format('create policy app on %I to holdfast_app using (true)', v_table);
    execute format('create policy tenant on %I to holdfast_tenant'
                   ' using (organizer_id = (select current_setting(''holdfast.organizer'')::uuid))', v_table);
  end loop;
end $$;
