-- Every table, for reading. Generated from the migrations beside this file.

CREATE TABLE public.answers (
    caller text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    status integer NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.areas (
    show_id uuid NOT NULL,
    area smallint NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    capacity integer NOT NULL,
    CONSTRAINT areas_area_check CHECK ((area >= 1)),
    CONSTRAINT areas_capacity_check CHECK (((capacity >= 1) AND (capacity <= 1000000))),
    CONSTRAINT areas_kind_check CHECK ((kind = ANY (ARRAY['seated'::text, 'standing'::text]))),
    CONSTRAINT areas_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255)))
);

CREATE TABLE public.blocks (
    show_id uuid NOT NULL,
    block_id uuid NOT NULL,
    areas smallint[] NOT NULL,
    seats integer[] NOT NULL,
    reason text NOT NULL,
    release_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    created_by uuid,
    CONSTRAINT blocks_check CHECK (((cardinality(areas) >= 1) AND ((cardinality(seats) = 0) OR (cardinality(seats) = cardinality(areas))))),
    CONSTRAINT blocks_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 255)))
);

CREATE TABLE public.bookings (
    show_id uuid NOT NULL,
    booking_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    reference text NOT NULL,
    status text NOT NULL,
    reason text,
    version integer DEFAULT 1 NOT NULL,
    quantity integer NOT NULL,
    areas smallint[] NOT NULL,
    seats integer[] NOT NULL,
    tiers smallint[] NOT NULL,
    amounts bigint[] NOT NULL,
    total bigint NOT NULL,
    currency text NOT NULL,
    email text,
    name text,
    buyer bytea,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    extended boolean DEFAULT false NOT NULL,
    confirmed_at timestamp with time zone,
    ended_at timestamp with time zone,
    CONSTRAINT bookings_quantity_check CHECK (((quantity >= 1) AND (quantity <= 1000000))),
    CONSTRAINT bookings_total_check CHECK ((total >= 0)),
    CONSTRAINT legal_state CHECK ((((status = 'PENDING'::text) AND (reason IS NULL) AND (expires_at IS NOT NULL) AND (confirmed_at IS NULL) AND (ended_at IS NULL)) OR ((status = 'CONFIRMED'::text) AND (reason IS NULL) AND (confirmed_at IS NOT NULL) AND (ended_at IS NULL)) OR ((status = 'FAILED'::text) AND (reason = ANY (ARRAY['sold_out'::text, 'expired'::text, 'released'::text, 'show_cancelled'::text])) AND (confirmed_at IS NULL) AND (ended_at IS NOT NULL)) OR ((status = 'CANCELLED'::text) AND (reason = ANY (ARRAY['by_buyer'::text, 'by_organizer'::text, 'show_cancelled'::text])) AND (confirmed_at IS NOT NULL) AND (ended_at IS NOT NULL)))),
    CONSTRAINT places_match CHECK ((((cardinality(areas) = 0) OR (cardinality(areas) = quantity)) AND ((cardinality(seats) = 0) OR (cardinality(seats) = cardinality(areas))) AND (cardinality(tiers) = cardinality(areas)) AND (cardinality(amounts) = cardinality(areas))))
)
WITH (fillfactor='85');

CREATE TABLE public.buyers (
    show_id uuid NOT NULL,
    buyer bytea NOT NULL,
    places integer DEFAULT 0 NOT NULL,
    held_seconds integer DEFAULT 0 NOT NULL,
    CONSTRAINT buyers_held_seconds_check CHECK ((held_seconds >= 0)),
    CONSTRAINT buyers_places_check CHECK ((places >= 0))
);

CREATE TABLE public.claims (
    show_id uuid NOT NULL,
    seat integer NOT NULL,
    held_by uuid NOT NULL,
    CONSTRAINT claims_seat_check CHECK ((seat >= 0))
);

CREATE TABLE public.dead_letters (
    job_id uuid NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    attempts integer NOT NULL,
    last_error text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    died_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.idempotency_keys (
    show_id uuid NOT NULL,
    key bytea NOT NULL,
    fingerprint bytea NOT NULL,
    booking_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT idempotency_keys_key_check CHECK ((length(key) = 16))
);

CREATE TABLE public.jobs (
    job_id uuid NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    run_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    lease uuid,
    leased_until timestamp with time zone,
    last_error text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT jobs_attempts_check CHECK ((attempts >= 0))
)
WITH (fillfactor='70');

CREATE TABLE public.layouts (
    layout_id uuid NOT NULL,
    layout_version integer NOT NULL,
    venue_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    name text NOT NULL,
    plan jsonb NOT NULL,
    seats integer NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT layouts_layout_version_check CHECK ((layout_version >= 1)),
    CONSTRAINT layouts_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255)))
);

CREATE TABLE public.members (
    organizer_id uuid NOT NULL,
    person_id uuid NOT NULL,
    role text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT members_role_check CHECK ((role = ANY (ARRAY['owner'::text, 'manager'::text, 'box_office'::text, 'door'::text, 'viewer'::text])))
);

CREATE TABLE public.organizers (
    organizer_id uuid NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT organizers_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255)))
);

CREATE TABLE public.outbox (
    show_id uuid NOT NULL,
    fact_id uuid NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.people (
    person_id uuid NOT NULL,
    email text NOT NULL,
    password_hash text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT people_email_check CHECK ((email = lower(email)))
);

CREATE TABLE public.queued_claims (
    show_id uuid NOT NULL,
    "position" bigint NOT NULL,
    booking_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    reference text NOT NULL,
    key bytea,
    fingerprint bytea NOT NULL,
    request jsonb NOT NULL,
    quantity integer NOT NULL,
    currency text NOT NULL,
    reason text,
    made_as uuid,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT legal_end CHECK ((((reason IS NULL) = (ended_at IS NULL)) AND ((reason IS NULL) OR (NOT (request ? 'customer'::text))) AND ((made_as IS NULL) OR (reason IS NOT NULL)))),
    CONSTRAINT queued_claims_key_check CHECK ((length(key) = 16)),
    CONSTRAINT queued_claims_quantity_check CHECK (((quantity >= 1) AND (quantity <= 1000000)))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE public.queues (
    show_id uuid NOT NULL,
    last_position bigint NOT NULL
)
WITH (fillfactor='25', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE public.seat_rows (
    show_id uuid NOT NULL,
    area smallint NOT NULL,
    row_number smallint NOT NULL,
    label text NOT NULL,
    first_seat integer NOT NULL,
    numbers text[] NOT NULL,
    xs real[] NOT NULL,
    ys real[] NOT NULL,
    gap_after integer[] DEFAULT '{}'::integer[] NOT NULL,
    CONSTRAINT seat_rows_check CHECK (((cardinality(xs) = cardinality(numbers)) AND (cardinality(ys) = cardinality(numbers)))),
    CONSTRAINT seat_rows_first_seat_check CHECK ((first_seat >= 0)),
    CONSTRAINT seat_rows_numbers_check CHECK (((cardinality(numbers) >= 1) AND (cardinality(numbers) <= 1000))),
    CONSTRAINT seat_rows_row_number_check CHECK ((row_number >= 1))
);

CREATE TABLE public.show_heads (
    show_id uuid NOT NULL,
    revision bigint DEFAULT 0 NOT NULL,
    terms integer DEFAULT 1 NOT NULL,
    selling boolean NOT NULL,
    opens_at timestamp with time zone,
    closes_at timestamp with time zone
)
WITH (fillfactor='25', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE public.shows (
    show_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    venue_id uuid,
    layout_id uuid,
    layout_version integer,
    name text NOT NULL,
    start_time timestamp with time zone NOT NULL,
    timezone text NOT NULL,
    status text NOT NULL,
    currency text NOT NULL,
    hold_seconds integer NOT NULL,
    hold_seconds_max integer NOT NULL,
    max_places_per_booking integer NOT NULL,
    max_places_per_buyer integer,
    sale_opens_at timestamp with time zone,
    sale_closes_at timestamp with time zone,
    orphans text NOT NULL,
    focus_x real NOT NULL,
    focus_y real NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT shows_check CHECK (((hold_seconds_max >= hold_seconds) AND (hold_seconds_max <= 86400))),
    CONSTRAINT shows_check1 CHECK ((sale_opens_at < sale_closes_at)),
    CONSTRAINT shows_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT shows_hold_seconds_check CHECK (((hold_seconds >= 10) AND (hold_seconds <= 3600))),
    CONSTRAINT shows_max_places_per_booking_check CHECK (((max_places_per_booking >= 1) AND (max_places_per_booking <= 10000))),
    CONSTRAINT shows_max_places_per_buyer_check CHECK (((max_places_per_buyer >= 1) AND (max_places_per_buyer <= 1000000))),
    CONSTRAINT shows_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255))),
    CONSTRAINT shows_orphans_check CHECK ((orphans = ANY (ARRAY['allow'::text, 'refuse'::text]))),
    CONSTRAINT shows_status_check CHECK ((status = ANY (ARRAY['draft'::text, 'scheduled'::text, 'on_sale'::text, 'paused'::text, 'closed'::text, 'cancelled'::text, 'postponed'::text])))
);

CREATE TABLE public.stock (
    show_id uuid NOT NULL,
    area smallint NOT NULL,
    seated boolean NOT NULL,
    first_seat integer NOT NULL,
    capacity integer NOT NULL,
    reserved integer DEFAULT 0 NOT NULL,
    blocked integer DEFAULT 0 NOT NULL,
    CONSTRAINT never_oversold CHECK (((reserved >= 0) AND (blocked >= 0) AND ((reserved + blocked) <= capacity))),
    CONSTRAINT stock_area_check CHECK ((area >= 1)),
    CONSTRAINT stock_capacity_check CHECK (((capacity >= 1) AND (capacity <= 1000000))),
    CONSTRAINT stock_first_seat_check CHECK ((first_seat >= 0))
)
WITH (fillfactor='25', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE public.tiers (
    show_id uuid NOT NULL,
    tier smallint NOT NULL,
    area smallint NOT NULL,
    name text NOT NULL,
    amount bigint NOT NULL,
    CONSTRAINT tiers_amount_check CHECK (((amount >= 0) AND (amount <= '1000000000000'::bigint))),
    CONSTRAINT tiers_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255))),
    CONSTRAINT tiers_tier_check CHECK ((tier >= 1))
);

CREATE TABLE public.venues (
    venue_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    name text NOT NULL,
    address text DEFAULT ''::text NOT NULL,
    timezone text NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT venues_address_check CHECK ((length(address) <= 1000)),
    CONSTRAINT venues_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255)))
);

ALTER TABLE ONLY public.answers
    ADD CONSTRAINT answers_pkey PRIMARY KEY (caller, key);

ALTER TABLE ONLY public.areas
    ADD CONSTRAINT areas_pkey PRIMARY KEY (show_id, area);

ALTER TABLE ONLY public.areas
    ADD CONSTRAINT areas_show_id_name_key UNIQUE (show_id, name);

ALTER TABLE ONLY public.blocks
    ADD CONSTRAINT blocks_pkey PRIMARY KEY (show_id, block_id);

ALTER TABLE ONLY public.bookings
    ADD CONSTRAINT bookings_pkey PRIMARY KEY (show_id, booking_id);

ALTER TABLE ONLY public.buyers
    ADD CONSTRAINT buyers_pkey PRIMARY KEY (show_id, buyer);

ALTER TABLE ONLY public.claims
    ADD CONSTRAINT claims_pkey PRIMARY KEY (show_id, seat);

ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (show_id, key);

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY public.layouts
    ADD CONSTRAINT layouts_pkey PRIMARY KEY (layout_id, layout_version);

ALTER TABLE ONLY public.members
    ADD CONSTRAINT members_pkey PRIMARY KEY (organizer_id, person_id);

ALTER TABLE ONLY public.organizers
    ADD CONSTRAINT organizers_pkey PRIMARY KEY (organizer_id);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (show_id, fact_id);

ALTER TABLE ONLY public.people
    ADD CONSTRAINT people_email_key UNIQUE (email);

ALTER TABLE ONLY public.people
    ADD CONSTRAINT people_pkey PRIMARY KEY (person_id);

ALTER TABLE ONLY public.queued_claims
    ADD CONSTRAINT queued_claims_pkey PRIMARY KEY (show_id, "position");

ALTER TABLE ONLY public.queued_claims
    ADD CONSTRAINT queued_claims_show_id_booking_id_key UNIQUE (show_id, booking_id);

ALTER TABLE ONLY public.queued_claims
    ADD CONSTRAINT queued_claims_show_id_key_key UNIQUE (show_id, key);

ALTER TABLE ONLY public.queues
    ADD CONSTRAINT queues_pkey PRIMARY KEY (show_id);

ALTER TABLE ONLY public.seat_rows
    ADD CONSTRAINT seat_rows_pkey PRIMARY KEY (show_id, area, row_number);

ALTER TABLE ONLY public.show_heads
    ADD CONSTRAINT show_heads_pkey PRIMARY KEY (show_id);

ALTER TABLE ONLY public.shows
    ADD CONSTRAINT shows_pkey PRIMARY KEY (show_id);

ALTER TABLE ONLY public.stock
    ADD CONSTRAINT stock_pkey PRIMARY KEY (show_id, area);

ALTER TABLE ONLY public.tiers
    ADD CONSTRAINT tiers_pkey PRIMARY KEY (show_id, tier);

ALTER TABLE ONLY public.tiers
    ADD CONSTRAINT tiers_show_id_area_name_key UNIQUE (show_id, area, name);

ALTER TABLE ONLY public.venues
    ADD CONSTRAINT venues_pkey PRIMARY KEY (venue_id);

CREATE INDEX answers_created_at ON public.answers USING btree (created_at);

CREATE INDEX blocks_release_at ON public.blocks USING btree (release_at) WHERE (release_at IS NOT NULL);

CREATE INDEX bookings_pending ON public.bookings USING btree (show_id, expires_at) WHERE (status = 'PENDING'::text);

CREATE INDEX dead_letters_died_at ON public.dead_letters USING btree (died_at, job_id);

CREATE INDEX idempotency_keys_created_at ON public.idempotency_keys USING btree (created_at);

CREATE INDEX jobs_run_at ON public.jobs USING btree (run_at);

CREATE INDEX layouts_venue ON public.layouts USING btree (venue_id, layout_id, layout_version DESC);

CREATE INDEX members_person ON public.members USING btree (person_id);

CREATE INDEX queued_claims_ended_at ON public.queued_claims USING btree (ended_at) WHERE (reason IS NOT NULL);

CREATE INDEX queued_claims_waiting ON public.queued_claims USING btree (show_id, "position") WHERE (reason IS NULL);

CREATE INDEX shows_organizer ON public.shows USING btree (organizer_id, start_time, show_id);

CREATE INDEX shows_start_time ON public.shows USING btree (start_time, show_id);

CREATE INDEX venues_organizer ON public.venues USING btree (organizer_id, venue_id);

ALTER TABLE ONLY public.areas
    ADD CONSTRAINT areas_show_id_fkey FOREIGN KEY (show_id) REFERENCES public.shows(show_id);

ALTER TABLE ONLY public.layouts
    ADD CONSTRAINT layouts_organizer_id_fkey FOREIGN KEY (organizer_id) REFERENCES public.organizers(organizer_id);

ALTER TABLE ONLY public.layouts
    ADD CONSTRAINT layouts_venue_id_fkey FOREIGN KEY (venue_id) REFERENCES public.venues(venue_id);

ALTER TABLE ONLY public.members
    ADD CONSTRAINT members_organizer_id_fkey FOREIGN KEY (organizer_id) REFERENCES public.organizers(organizer_id);

ALTER TABLE ONLY public.members
    ADD CONSTRAINT members_person_id_fkey FOREIGN KEY (person_id) REFERENCES public.people(person_id);

ALTER TABLE ONLY public.seat_rows
    ADD CONSTRAINT seat_rows_show_id_area_fkey FOREIGN KEY (show_id, area) REFERENCES public.areas(show_id, area);

ALTER TABLE ONLY public.shows
    ADD CONSTRAINT shows_organizer_id_fkey FOREIGN KEY (organizer_id) REFERENCES public.organizers(organizer_id);

ALTER TABLE ONLY public.tiers
    ADD CONSTRAINT tiers_show_id_area_fkey FOREIGN KEY (show_id, area) REFERENCES public.areas(show_id, area);

ALTER TABLE ONLY public.venues
    ADD CONSTRAINT venues_organizer_id_fkey FOREIGN KEY (organizer_id) REFERENCES public.organizers(organizer_id);
