-- Every table, for reading. Generated from the migrations beside this file.

CREATE TABLE public.admissions (
    show_id uuid NOT NULL,
    booking_id uuid NOT NULL,
    number integer NOT NULL,
    organizer_id uuid NOT NULL,
    inside boolean NOT NULL,
    entries integer NOT NULL,
    entered_scan uuid,
    entered_at timestamp with time zone,
    entered_gate uuid,
    entered_list uuid,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT admissions_check CHECK (((NOT inside) OR ((entries > 0) AND (entered_scan IS NOT NULL) AND (entered_at IS NOT NULL)))),
    CONSTRAINT admissions_entries_check CHECK ((entries >= 0)),
    CONSTRAINT admissions_number_check CHECK ((number >= 1))
)
WITH (fillfactor='85');

CREATE TABLE public.analytics_outcomes (
    show_id uuid NOT NULL,
    minute timestamp with time zone NOT NULL,
    outcome text NOT NULL,
    organizer_id uuid NOT NULL,
    times bigint NOT NULL,
    CONSTRAINT analytics_outcomes_outcome_check CHECK ((outcome ~ '^[a-z_]{1,60}$'::text)),
    CONSTRAINT analytics_outcomes_times_check CHECK ((times > 0))
);

CREATE TABLE public.analytics_sales (
    show_id uuid NOT NULL,
    minute timestamp with time zone NOT NULL,
    organizer_id uuid NOT NULL,
    currency text NOT NULL,
    bookings integer DEFAULT 0 NOT NULL,
    places bigint DEFAULT 0 NOT NULL,
    amount bigint DEFAULT 0 NOT NULL,
    cancelled_bookings integer DEFAULT 0 NOT NULL,
    cancelled_places bigint DEFAULT 0 NOT NULL,
    cancelled_amount bigint DEFAULT 0 NOT NULL,
    CONSTRAINT analytics_sales_amount_check CHECK ((amount >= 0)),
    CONSTRAINT analytics_sales_bookings_check CHECK ((bookings >= 0)),
    CONSTRAINT analytics_sales_cancelled_amount_check CHECK ((cancelled_amount >= 0)),
    CONSTRAINT analytics_sales_cancelled_bookings_check CHECK ((cancelled_bookings >= 0)),
    CONSTRAINT analytics_sales_cancelled_places_check CHECK ((cancelled_places >= 0)),
    CONSTRAINT analytics_sales_places_check CHECK ((places >= 0))
);

CREATE TABLE public.analytics_sizes (
    show_id uuid NOT NULL,
    places integer NOT NULL,
    organizer_id uuid NOT NULL,
    bookings integer NOT NULL,
    CONSTRAINT analytics_sizes_bookings_check CHECK ((bookings > 0)),
    CONSTRAINT analytics_sizes_places_check CHECK ((places > 0))
);

CREATE TABLE public.answers (
    caller text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    status integer NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.api_keys (
    key_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    name text NOT NULL,
    prefix text NOT NULL,
    key_hash bytea NOT NULL,
    scopes text[] NOT NULL,
    replaces uuid,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    revoked_at timestamp with time zone,
    CONSTRAINT api_keys_created_by_check CHECK ((length(created_by) <= 100)),
    CONSTRAINT api_keys_key_hash_check CHECK ((length(key_hash) = 32)),
    CONSTRAINT api_keys_name_check CHECK (((length(name) >= 1) AND (length(name) <= 100))),
    CONSTRAINT api_keys_prefix_check CHECK ((length(prefix) = 11)),
    CONSTRAINT api_keys_scopes_check CHECK (((cardinality(scopes) >= 1) AND (cardinality(scopes) <= 50)))
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

CREATE TABLE public.audit (
    organizer_id uuid NOT NULL,
    entry_id uuid NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    actor_kind text NOT NULL,
    actor_id uuid,
    action text NOT NULL,
    show_id uuid,
    subject_id uuid,
    before jsonb,
    after jsonb,
    address cidr,
    request_id text NOT NULL,
    CONSTRAINT audit_action_check CHECK ((action ~ '^[a-z0-9_]+[.][a-z0-9_]+$'::text)),
    CONSTRAINT audit_actor_kind_check CHECK ((actor_kind = ANY (ARRAY['person'::text, 'key'::text, 'buyer'::text, 'nobody'::text]))),
    CONSTRAINT audit_address_check CHECK ((masklen((address)::inet) <=
CASE family((address)::inet)
    WHEN 4 THEN 24
    ELSE 48
END)),
    CONSTRAINT audit_check CHECK (((actor_id IS NULL) = (actor_kind = 'nobody'::text))),
    CONSTRAINT audit_request_id_check CHECK (((length(request_id) >= 1) AND (length(request_id) <= 64)))
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
    customer_id uuid,
    given_back smallint[],
    terms integer,
    code_id uuid,
    CONSTRAINT bookings_quantity_check CHECK (((quantity >= 1) AND (quantity <= 1000000))),
    CONSTRAINT bookings_total_check CHECK ((total >= 0)),
    CONSTRAINT legal_state CHECK ((((status = 'PENDING'::text) AND (reason IS NULL) AND (expires_at IS NOT NULL) AND (confirmed_at IS NULL) AND (ended_at IS NULL)) OR ((status = 'CONFIRMED'::text) AND (reason IS NULL) AND (confirmed_at IS NOT NULL) AND (ended_at IS NULL)) OR ((status = 'FAILED'::text) AND (reason = ANY (ARRAY['sold_out'::text, 'expired'::text, 'released'::text, 'show_cancelled'::text])) AND (confirmed_at IS NULL) AND (ended_at IS NOT NULL)) OR ((status = 'CANCELLED'::text) AND (reason = ANY (ARRAY['by_buyer'::text, 'by_organizer'::text, 'show_cancelled'::text])) AND (confirmed_at IS NOT NULL) AND (ended_at IS NOT NULL)))),
    CONSTRAINT places_match CHECK ((((cardinality(areas) = 0) OR (cardinality(areas) = quantity)) AND ((cardinality(seats) = 0) OR (cardinality(seats) = cardinality(areas))) AND (cardinality(tiers) = cardinality(areas)) AND (cardinality(amounts) = cardinality(areas))))
)
WITH (fillfactor='85');

CREATE TABLE public.broker_facts (
    show_id uuid NOT NULL,
    fact_id uuid NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    booking_id uuid,
    version bigint
);

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

CREATE TABLE public.codes (
    show_id uuid NOT NULL,
    code_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    code text NOT NULL,
    code_key text NOT NULL,
    discount_basis_points integer,
    discount_amount bigint,
    tiers smallint[] DEFAULT '{}'::smallint[] NOT NULL,
    reveals smallint[] DEFAULT '{}'::smallint[] NOT NULL,
    starts_at timestamp with time zone,
    ends_at timestamp with time zone,
    uses_max integer,
    used integer DEFAULT 0 NOT NULL,
    places_max integer,
    version integer DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    withdrawn_at timestamp with time zone,
    CONSTRAINT codes_check CHECK ((num_nonnulls(discount_basis_points, discount_amount) <= 1)),
    CONSTRAINT codes_check1 CHECK ((starts_at < ends_at)),
    CONSTRAINT codes_code_check CHECK (((length(code) >= 1) AND (length(code) <= 64))),
    CONSTRAINT codes_code_key_check CHECK (((length(code_key) >= 3) AND (length(code_key) <= 256))),
    CONSTRAINT codes_discount_amount_check CHECK (((discount_amount >= 1) AND (discount_amount <= '1000000000000'::bigint))),
    CONSTRAINT codes_discount_basis_points_check CHECK (((discount_basis_points >= 1) AND (discount_basis_points <= 10000))),
    CONSTRAINT codes_places_max_check CHECK (((places_max >= 1) AND (places_max <= 10000))),
    CONSTRAINT codes_uses_max_check CHECK (((uses_max >= 1) AND (uses_max <= 1000000))),
    CONSTRAINT never_overused CHECK (((used >= 0) AND ((uses_max IS NULL) OR (used <= uses_max))))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE public.customers (
    customer_id uuid NOT NULL,
    address_digest bytea NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT customers_address_digest_check CHECK ((length(address_digest) = 32))
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

CREATE TABLE public.facts (
    organizer_id uuid NOT NULL,
    fact_id uuid NOT NULL,
    show_id uuid,
    kind text NOT NULL,
    at text NOT NULL,
    payload jsonb NOT NULL,
    in_feed boolean NOT NULL,
    "position" bigint,
    stored_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT facts_at_check CHECK ((length(at) <= 40)),
    CONSTRAINT facts_check CHECK ((("position" IS NULL) OR in_feed)),
    CONSTRAINT facts_kind_check CHECK ((length(kind) <= 64))
);

CREATE TABLE public.feeds (
    organizer_id uuid NOT NULL,
    "position" bigint DEFAULT 0 NOT NULL,
    forgotten bigint DEFAULT 0 NOT NULL,
    CONSTRAINT feeds_check CHECK ((forgotten <= "position"))
);

CREATE TABLE public.forgotten_shows (
    show_id uuid NOT NULL,
    forgotten_at timestamp with time zone NOT NULL
);

CREATE TABLE public.gates (
    show_id uuid NOT NULL,
    gate_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    list_id uuid NOT NULL,
    name text NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    CONSTRAINT gates_name_check CHECK (((length(name) >= 1) AND (length(name) <= 100)))
);

CREATE TABLE public.idempotency_keys (
    show_id uuid NOT NULL,
    key bytea NOT NULL,
    fingerprint bytea NOT NULL,
    booking_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT idempotency_keys_key_check CHECK ((length(key) = 16))
);

CREATE TABLE public.identities (
    issuer text NOT NULL,
    subject text NOT NULL,
    person_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT identities_issuer_check CHECK ((length(issuer) <= 500)),
    CONSTRAINT identities_subject_check CHECK (((length(subject) >= 1) AND (length(subject) <= 255)))
);

CREATE TABLE public.invitations (
    invitation_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    email text NOT NULL,
    role text NOT NULL,
    token_hash bytea NOT NULL,
    invited_by uuid,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT invitations_email_check CHECK ((email = lower(email))),
    CONSTRAINT invitations_role_check CHECK ((role = ANY (ARRAY['owner'::text, 'manager'::text, 'box_office'::text, 'door'::text, 'viewer'::text]))),
    CONSTRAINT invitations_token_hash_check CHECK ((length(token_hash) = 32))
);

CREATE TABLE public.invoice_counters (
    organizer_id uuid NOT NULL,
    last bigint NOT NULL,
    CONSTRAINT invoice_counters_last_check CHECK ((last >= 0))
);

CREATE TABLE public.invoices (
    organizer_id uuid NOT NULL,
    number bigint NOT NULL,
    label text NOT NULL,
    kind text NOT NULL,
    refers_to bigint,
    show_id uuid NOT NULL,
    booking_id uuid NOT NULL,
    source_id uuid NOT NULL,
    reference text NOT NULL,
    show_name text NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    timezone text NOT NULL,
    currency text NOT NULL,
    total bigint NOT NULL,
    lines jsonb NOT NULL,
    legal_name text NOT NULL,
    address text NOT NULL,
    tax_id text NOT NULL,
    note text NOT NULL,
    language text NOT NULL,
    issued_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT invoices_check CHECK (((kind = 'credit_note'::text) = (refers_to IS NOT NULL))),
    CONSTRAINT invoices_check1 CHECK ((refers_to < number)),
    CONSTRAINT invoices_kind_check CHECK ((kind = ANY (ARRAY['invoice'::text, 'credit_note'::text]))),
    CONSTRAINT invoices_label_check CHECK ((length(label) <= 40)),
    CONSTRAINT invoices_number_check CHECK ((number > 0)),
    CONSTRAINT invoices_total_check CHECK ((total > 0))
);

CREATE TABLE public.invoicing (
    organizer_id uuid NOT NULL,
    legal_name text NOT NULL,
    address text DEFAULT ''::text NOT NULL,
    tax_id text DEFAULT ''::text NOT NULL,
    prefix text DEFAULT ''::text NOT NULL,
    note text DEFAULT ''::text NOT NULL,
    language text,
    CONSTRAINT invoicing_address_check CHECK ((length(address) <= 500)),
    CONSTRAINT invoicing_language_check CHECK ((language = ANY (ARRAY['en'::text, 'de'::text]))),
    CONSTRAINT invoicing_legal_name_check CHECK (((length(legal_name) >= 1) AND (length(legal_name) <= 255))),
    CONSTRAINT invoicing_note_check CHECK ((length(note) <= 1000)),
    CONSTRAINT invoicing_prefix_check CHECK ((prefix ~ '^[A-Za-z0-9/_.-]{0,20}$'::text)),
    CONSTRAINT invoicing_tax_id_check CHECK ((length(tax_id) <= 50))
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

CREATE TABLE public.letter_rules (
    organizer_id uuid NOT NULL,
    language text,
    reminder_hours integer,
    texts jsonb DEFAULT '{}'::jsonb NOT NULL,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT letter_rules_language_check CHECK ((language = ANY (ARRAY['en'::text, 'de'::text]))),
    CONSTRAINT letter_rules_reminder_hours_check CHECK (((reminder_hours >= 0) AND (reminder_hours <= 720)))
);

CREATE TABLE public.letters (
    letter_id uuid NOT NULL,
    recipient bytea NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT letters_recipient_check CHECK ((length(recipient) = 16))
);

CREATE TABLE public.lists (
    show_id uuid NOT NULL,
    list_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    name text NOT NULL,
    areas smallint[] DEFAULT '{}'::smallint[] NOT NULL,
    tiers smallint[] DEFAULT '{}'::smallint[] NOT NULL,
    opens_at timestamp with time zone,
    closes_at timestamp with time zone,
    reentry boolean DEFAULT false NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    CONSTRAINT lists_check CHECK ((opens_at < closes_at)),
    CONSTRAINT lists_name_check CHECK (((length(name) >= 1) AND (length(name) <= 100)))
);

CREATE TABLE public.magic_links (
    token_hash bytea NOT NULL,
    address_digest bytea NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT magic_links_address_digest_check CHECK ((length(address_digest) = 32)),
    CONSTRAINT magic_links_token_hash_check CHECK ((length(token_hash) = 32))
);

CREATE TABLE public.members (
    organizer_id uuid NOT NULL,
    person_id uuid NOT NULL,
    role text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT members_role_check CHECK ((role = ANY (ARRAY['owner'::text, 'manager'::text, 'box_office'::text, 'door'::text, 'viewer'::text])))
);

CREATE TABLE public.notices (
    show_id uuid NOT NULL,
    booking_id uuid NOT NULL,
    kind text NOT NULL,
    edition text NOT NULL,
    organizer_id uuid NOT NULL,
    noticed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT notices_edition_check CHECK ((length(edition) <= 100)),
    CONSTRAINT notices_kind_check CHECK ((kind ~ '^[a-z_]{1,40}$'::text))
);

CREATE TABLE public.organizers (
    organizer_id uuid NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    second_factor_required boolean DEFAULT false NOT NULL,
    retention_days integer,
    suspended_at timestamp with time zone,
    colour text,
    embed_origins text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT organizers_colour_check CHECK ((colour ~ '^#[0-9a-f]{6}$'::text)),
    CONSTRAINT organizers_embed_origins_check CHECK ((cardinality(embed_origins) <= 20)),
    CONSTRAINT organizers_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255))),
    CONSTRAINT organizers_retention_days_check CHECK (((retention_days >= 7) AND (retention_days <= 36500)))
);

CREATE TABLE public.outbox (
    show_id uuid NOT NULL,
    fact_id uuid NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.password_resets (
    token_hash bytea NOT NULL,
    person_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT password_resets_token_hash_check CHECK ((length(token_hash) = 32))
);

CREATE TABLE public.payment_events (
    show_id uuid NOT NULL,
    provider text NOT NULL,
    event_id text NOT NULL,
    payment_id uuid,
    kind text NOT NULL,
    received_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT payment_events_event_id_check CHECK (((length(event_id) >= 1) AND (length(event_id) <= 255)))
);

CREATE TABLE public.payments (
    show_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    booking_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    provider text NOT NULL,
    state text DEFAULT 'CREATED'::text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    expected_amount bigint NOT NULL,
    expected_currency text NOT NULL,
    equal_places boolean DEFAULT false NOT NULL,
    description text NOT NULL,
    return_url text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    way jsonb,
    ref text,
    charge text,
    reason text,
    disputed_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    looked_at timestamp with time zone,
    settled_at timestamp with time zone,
    refunded bigint DEFAULT 0 NOT NULL,
    CONSTRAINT legal_state CHECK ((((state = 'CREATED'::text) AND (ref IS NULL) AND (settled_at IS NULL)) OR ((state = ANY (ARRAY['OPEN'::text, 'DECLINED'::text])) AND (ref IS NOT NULL) AND (settled_at IS NULL)) OR ((state = 'CLOSED'::text) AND (settled_at IS NOT NULL)) OR ((state = ANY (ARRAY['SUCCEEDED'::text, 'MISMATCHED'::text])) AND (ref IS NOT NULL) AND (charge IS NOT NULL) AND (settled_at IS NOT NULL)))),
    CONSTRAINT never_more_refunded CHECK (((refunded >= 0) AND (refunded <= amount))),
    CONSTRAINT paid_what_was_asked CHECK (((state = 'MISMATCHED'::text) OR ((amount = expected_amount) AND (currency = expected_currency)))),
    CONSTRAINT payments_amount_check CHECK ((amount >= 0)),
    CONSTRAINT payments_expected_amount_check CHECK ((expected_amount > 0)),
    CONSTRAINT payments_provider_check CHECK (((length(provider) >= 1) AND (length(provider) <= 40)))
);

CREATE TABLE public.people (
    person_id uuid NOT NULL,
    email text NOT NULL,
    password_hash text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    admin boolean DEFAULT false NOT NULL,
    CONSTRAINT people_email_check CHECK ((email = lower(email)))
);

CREATE TABLE public.picture_sizes (
    picture_id uuid NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    organizer_id uuid NOT NULL,
    contents bytea NOT NULL,
    CONSTRAINT picture_sizes_contents_check CHECK ((length(contents) <= 1000000)),
    CONSTRAINT picture_sizes_height_check CHECK (((height >= 1) AND (height <= 10000))),
    CONSTRAINT picture_sizes_width_check CHECK (((width >= 1) AND (width <= 10000)))
);
ALTER TABLE ONLY public.picture_sizes ALTER COLUMN contents SET STORAGE EXTERNAL;

CREATE TABLE public.pictures (
    organizer_id uuid NOT NULL,
    subject_id uuid NOT NULL,
    picture_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
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
    customer_id uuid,
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

CREATE TABLE public.recovery_codes (
    person_id uuid NOT NULL,
    code_hash bytea NOT NULL,
    CONSTRAINT recovery_codes_code_hash_check CHECK ((length(code_hash) = 32))
);

CREATE TABLE public.refunds (
    show_id uuid NOT NULL,
    refund_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    booking_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    provider text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    state text DEFAULT 'WANTED'::text NOT NULL,
    reason text NOT NULL,
    note text,
    numbers smallint[],
    release boolean NOT NULL,
    ref text,
    problem text,
    retried_as uuid,
    created_by uuid,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    sent_at timestamp with time zone,
    settled_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT legal_state CHECK ((((state = 'WANTED'::text) AND (ref IS NULL) AND (sent_at IS NULL) AND (settled_at IS NULL)) OR ((state = 'SENT'::text) AND (sent_at IS NOT NULL) AND (settled_at IS NULL)) OR ((state = 'SETTLED'::text) AND (ref IS NOT NULL) AND (settled_at IS NOT NULL)) OR (state = 'FAILED'::text))),
    CONSTRAINT refunds_amount_check CHECK ((amount > 0)),
    CONSTRAINT refunds_note_check CHECK (((length(note) >= 1) AND (length(note) <= 255))),
    CONSTRAINT refunds_problem_check CHECK (((length(problem) >= 1) AND (length(problem) <= 500))),
    CONSTRAINT refunds_reason_check CHECK ((reason ~ '^[a-z][a-z_]{1,39}$'::text)),
    CONSTRAINT retried_once_failed CHECK (((retried_as IS NULL) OR (state = 'FAILED'::text)))
);

CREATE TABLE public.reminded (
    show_id uuid NOT NULL,
    start_time timestamp with time zone NOT NULL,
    organizer_id uuid NOT NULL,
    reminded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.sandbox_payments (
    ref text NOT NULL,
    payment_id uuid NOT NULL,
    show_id uuid NOT NULL,
    booking_id uuid NOT NULL,
    reference text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    description text NOT NULL,
    return_url text NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    reason text,
    money_at timestamp with time zone,
    stoppable boolean DEFAULT true NOT NULL,
    guesses smallint DEFAULT 0 NOT NULL,
    disputed boolean DEFAULT false NOT NULL,
    refunds text DEFAULT 'settle'::text NOT NULL,
    webhooks text DEFAULT 'once'::text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT sandbox_payments_amount_check CHECK ((amount > 0)),
    CONSTRAINT sandbox_payments_currency_check CHECK ((length(currency) = 3)),
    CONSTRAINT sandbox_payments_description_check CHECK ((length(description) <= 500)),
    CONSTRAINT sandbox_payments_guesses_check CHECK (((guesses >= 0) AND (guesses <= 3))),
    CONSTRAINT sandbox_payments_reason_check CHECK ((length(reason) <= 60)),
    CONSTRAINT sandbox_payments_ref_check CHECK (((length(ref) >= 10) AND (length(ref) <= 60))),
    CONSTRAINT sandbox_payments_reference_check CHECK ((length(reference) <= 40)),
    CONSTRAINT sandbox_payments_refunds_check CHECK ((refunds = ANY (ARRAY['settle'::text, 'later'::text, 'fail'::text, 'refuse'::text]))),
    CONSTRAINT sandbox_payments_return_url_check CHECK ((length(return_url) <= 2000)),
    CONSTRAINT sandbox_payments_state_check CHECK ((state = ANY (ARRAY['open'::text, 'succeeded'::text, 'declined'::text, 'closed'::text]))),
    CONSTRAINT sandbox_payments_webhooks_check CHECK ((webhooks = ANY (ARRAY['once'::text, 'twice'::text, 'late'::text, 'never'::text])))
);

CREATE TABLE public.sandbox_refunds (
    ref text NOT NULL,
    refund_id uuid NOT NULL,
    payment_ref text NOT NULL,
    show_id uuid NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    state text NOT NULL,
    ends_at timestamp with time zone,
    ends_as text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT sandbox_refunds_amount_check CHECK ((amount > 0)),
    CONSTRAINT sandbox_refunds_check CHECK (((state = 'pending'::text) = ((ends_at IS NOT NULL) AND (ends_as IS NOT NULL)))),
    CONSTRAINT sandbox_refunds_currency_check CHECK ((length(currency) = 3)),
    CONSTRAINT sandbox_refunds_ends_as_check CHECK ((ends_as = ANY (ARRAY['settled'::text, 'failed'::text]))),
    CONSTRAINT sandbox_refunds_ref_check CHECK (((length(ref) >= 10) AND (length(ref) <= 60))),
    CONSTRAINT sandbox_refunds_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'settled'::text, 'failed'::text])))
);

CREATE TABLE public.scans (
    show_id uuid NOT NULL,
    scan_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    booking_id uuid,
    number integer,
    direction text NOT NULL,
    gate_id uuid,
    list_id uuid NOT NULL,
    accepted boolean NOT NULL,
    reason text NOT NULL,
    uploaded boolean NOT NULL,
    scanned_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    scanned_by uuid,
    first_scan uuid,
    first_at timestamp with time zone,
    first_gate uuid,
    conflict text,
    acknowledged_at timestamp with time zone,
    undone_at timestamp with time zone,
    CONSTRAINT scans_check CHECK (((booking_id IS NULL) = (number IS NULL))),
    CONSTRAINT scans_check1 CHECK ((accepted OR ((conflict IS NULL) AND (undone_at IS NULL)))),
    CONSTRAINT scans_direction_check CHECK ((direction = ANY (ARRAY['in'::text, 'out'::text]))),
    CONSTRAINT scans_number_check CHECK ((number >= 1))
);

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
    access text[],
    CONSTRAINT access_of_each_seat CHECK (((cardinality(access) = cardinality(numbers)) AND (array_remove(access, NULL::text) <@ ARRAY['wheelchair'::text, 'companion'::text]))),
    CONSTRAINT seat_rows_check CHECK (((cardinality(xs) = cardinality(numbers)) AND (cardinality(ys) = cardinality(numbers)))),
    CONSTRAINT seat_rows_first_seat_check CHECK ((first_seat >= 0)),
    CONSTRAINT seat_rows_numbers_check CHECK (((cardinality(numbers) >= 1) AND (cardinality(numbers) <= 1000))),
    CONSTRAINT seat_rows_row_number_check CHECK ((row_number >= 1))
);

CREATE TABLE public.second_factors (
    person_id uuid NOT NULL,
    sealed bytea NOT NULL,
    last_step bigint DEFAULT 0 NOT NULL,
    confirmed_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.sessions (
    session_id uuid NOT NULL,
    person_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    kind text NOT NULL,
    family_hash bytea,
    secret_hashes bytea[] NOT NULL,
    previous_hash bytea,
    renewed_at timestamp with time zone,
    strong boolean NOT NULL,
    device text NOT NULL,
    address text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    used_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT sessions_address_check CHECK ((length(address) <= 60)),
    CONSTRAINT sessions_check CHECK (((kind = 'api'::text) = (family_hash IS NOT NULL))),
    CONSTRAINT sessions_device_check CHECK ((length(device) <= 200)),
    CONSTRAINT sessions_family_hash_check CHECK ((length(family_hash) = 32)),
    CONSTRAINT sessions_kind_check CHECK ((kind = ANY (ARRAY['console'::text, 'api'::text]))),
    CONSTRAINT sessions_secret_hashes_check CHECK (((cardinality(secret_hashes) >= 1) AND (cardinality(secret_hashes) <= 4)))
)
WITH (fillfactor='70');

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
    transfers text DEFAULT 'allow'::text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    doors_at timestamp with time zone,
    age_note text DEFAULT ''::text NOT NULL,
    access_note text DEFAULT ''::text NOT NULL,
    previous_start_time timestamp with time zone,
    CONSTRAINT doors_before_start CHECK ((doors_at <= start_time)),
    CONSTRAINT shows_access_note_check CHECK ((length(access_note) <= 500)),
    CONSTRAINT shows_age_note_check CHECK ((length(age_note) <= 500)),
    CONSTRAINT shows_check CHECK (((hold_seconds_max >= hold_seconds) AND (hold_seconds_max <= 86400))),
    CONSTRAINT shows_check1 CHECK ((sale_opens_at < sale_closes_at)),
    CONSTRAINT shows_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT shows_description_check CHECK ((length(description) <= 10000)),
    CONSTRAINT shows_hold_seconds_check CHECK (((hold_seconds >= 10) AND (hold_seconds <= 3600))),
    CONSTRAINT shows_max_places_per_booking_check CHECK (((max_places_per_booking >= 1) AND (max_places_per_booking <= 10000))),
    CONSTRAINT shows_max_places_per_buyer_check CHECK (((max_places_per_buyer >= 1) AND (max_places_per_buyer <= 1000000))),
    CONSTRAINT shows_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255))),
    CONSTRAINT shows_orphans_check CHECK ((orphans = ANY (ARRAY['allow'::text, 'refuse'::text]))),
    CONSTRAINT shows_status_check CHECK ((status = ANY (ARRAY['draft'::text, 'scheduled'::text, 'on_sale'::text, 'paused'::text, 'closed'::text, 'cancelled'::text, 'postponed'::text]))),
    CONSTRAINT shows_transfers_check CHECK ((transfers = ANY (ARRAY['allow'::text, 'refuse'::text])))
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

CREATE TABLE public.tickets (
    show_id uuid NOT NULL,
    booking_id uuid NOT NULL,
    number smallint NOT NULL,
    organizer_id uuid NOT NULL,
    serial smallint DEFAULT 0 NOT NULL,
    state text DEFAULT 'valid'::text NOT NULL,
    holder text,
    email text,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT tickets_check CHECK (((email IS NULL) OR (serial > 0))),
    CONSTRAINT tickets_email_check CHECK (((length(email) >= 3) AND (length(email) <= 254))),
    CONSTRAINT tickets_holder_check CHECK (((length(holder) >= 1) AND (length(holder) <= 255))),
    CONSTRAINT tickets_number_check CHECK ((number >= 1)),
    CONSTRAINT tickets_serial_check CHECK ((serial >= 0)),
    CONSTRAINT tickets_state_check CHECK ((state = ANY (ARRAY['valid'::text, 'suspended'::text, 'void'::text])))
);

CREATE TABLE public.tier_terms (
    show_id uuid NOT NULL,
    tier smallint NOT NULL,
    until integer NOT NULL,
    amount bigint NOT NULL,
    fee bigint NOT NULL,
    fee_basis_points integer NOT NULL,
    tax_basis_points integer NOT NULL,
    tax_included boolean NOT NULL
);

CREATE TABLE public.tiers (
    show_id uuid NOT NULL,
    tier smallint NOT NULL,
    area smallint NOT NULL,
    name text NOT NULL,
    amount bigint NOT NULL,
    fee bigint DEFAULT 0 NOT NULL,
    fee_basis_points integer DEFAULT 0 NOT NULL,
    tax_basis_points integer DEFAULT 0 NOT NULL,
    tax_included boolean DEFAULT true NOT NULL,
    hidden boolean DEFAULT false NOT NULL,
    CONSTRAINT tiers_amount_check CHECK (((amount >= 0) AND (amount <= '1000000000000'::bigint))),
    CONSTRAINT tiers_fee_basis_points_check CHECK (((fee_basis_points >= 0) AND (fee_basis_points <= 10000))),
    CONSTRAINT tiers_fee_check CHECK (((fee >= 0) AND (fee <= '1000000000000'::bigint))),
    CONSTRAINT tiers_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255))),
    CONSTRAINT tiers_tax_basis_points_check CHECK (((tax_basis_points >= 0) AND (tax_basis_points <= 10000))),
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
    city text DEFAULT ''::text NOT NULL,
    CONSTRAINT venues_address_check CHECK ((length(address) <= 1000)),
    CONSTRAINT venues_city_check CHECK ((length(city) <= 100)),
    CONSTRAINT venues_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255)))
);

CREATE TABLE public.webhook_deliveries (
    webhook_id uuid NOT NULL,
    fact_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    kind text NOT NULL,
    job_id uuid NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    tries jsonb DEFAULT '[]'::jsonb NOT NULL,
    next_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT webhook_deliveries_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT webhook_deliveries_check CHECK (((state = 'waiting'::text) = (ended_at IS NULL))),
    CONSTRAINT webhook_deliveries_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'delivered'::text, 'dead'::text])))
)
WITH (fillfactor='80');

CREATE TABLE public.webhook_secrets (
    secret_id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    sealed bytea NOT NULL,
    until timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.webhooks (
    webhook_id uuid NOT NULL,
    organizer_id uuid NOT NULL,
    url text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    kinds text[],
    enabled boolean DEFAULT true NOT NULL,
    disabled_because text,
    disabled_at timestamp with time zone,
    failing_since timestamp with time zone,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT webhooks_check CHECK ((enabled = (disabled_because IS NULL))),
    CONSTRAINT webhooks_check1 CHECK ((enabled = (disabled_at IS NULL))),
    CONSTRAINT webhooks_created_by_check CHECK ((length(created_by) <= 100)),
    CONSTRAINT webhooks_description_check CHECK ((length(description) <= 200)),
    CONSTRAINT webhooks_disabled_because_check CHECK ((disabled_because = ANY (ARRAY['by_staff'::text, 'gone'::text, 'failing'::text]))),
    CONSTRAINT webhooks_kinds_check CHECK (((cardinality(kinds) >= 1) AND (cardinality(kinds) <= 100))),
    CONSTRAINT webhooks_url_check CHECK (((length(url) >= 1) AND (length(url) <= 2000)))
);

ALTER TABLE ONLY public.admissions
    ADD CONSTRAINT admissions_pkey PRIMARY KEY (show_id, booking_id, number);

ALTER TABLE ONLY public.analytics_outcomes
    ADD CONSTRAINT analytics_outcomes_pkey PRIMARY KEY (show_id, minute, outcome);

ALTER TABLE ONLY public.analytics_sales
    ADD CONSTRAINT analytics_sales_pkey PRIMARY KEY (show_id, minute);

ALTER TABLE ONLY public.analytics_sizes
    ADD CONSTRAINT analytics_sizes_pkey PRIMARY KEY (show_id, places);

ALTER TABLE ONLY public.answers
    ADD CONSTRAINT answers_pkey PRIMARY KEY (caller, key);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (key_id);

ALTER TABLE ONLY public.areas
    ADD CONSTRAINT areas_pkey PRIMARY KEY (show_id, area);

ALTER TABLE ONLY public.areas
    ADD CONSTRAINT areas_show_id_name_key UNIQUE (show_id, name);

ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (organizer_id, entry_id);

ALTER TABLE ONLY public.blocks
    ADD CONSTRAINT blocks_pkey PRIMARY KEY (show_id, block_id);

ALTER TABLE ONLY public.bookings
    ADD CONSTRAINT bookings_pkey PRIMARY KEY (show_id, booking_id);

ALTER TABLE ONLY public.broker_facts
    ADD CONSTRAINT broker_facts_pkey PRIMARY KEY (show_id, fact_id);

ALTER TABLE ONLY public.buyers
    ADD CONSTRAINT buyers_pkey PRIMARY KEY (show_id, buyer);

ALTER TABLE ONLY public.claims
    ADD CONSTRAINT claims_pkey PRIMARY KEY (show_id, seat);

ALTER TABLE ONLY public.codes
    ADD CONSTRAINT codes_pkey PRIMARY KEY (show_id, code_id);

ALTER TABLE ONLY public.codes
    ADD CONSTRAINT codes_show_id_code_key_key UNIQUE (show_id, code_key);

ALTER TABLE ONLY public.customers
    ADD CONSTRAINT customers_address_digest_key UNIQUE (address_digest);

ALTER TABLE ONLY public.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (customer_id);

ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY public.facts
    ADD CONSTRAINT facts_pkey PRIMARY KEY (organizer_id, fact_id);

ALTER TABLE ONLY public.feeds
    ADD CONSTRAINT feeds_pkey PRIMARY KEY (organizer_id);

ALTER TABLE ONLY public.forgotten_shows
    ADD CONSTRAINT forgotten_shows_pkey PRIMARY KEY (show_id);

ALTER TABLE ONLY public.gates
    ADD CONSTRAINT gates_pkey PRIMARY KEY (show_id, gate_id);

ALTER TABLE ONLY public.gates
    ADD CONSTRAINT gates_show_id_name_key UNIQUE (show_id, name);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (show_id, key);

ALTER TABLE ONLY public.identities
    ADD CONSTRAINT identities_person_id_issuer_key UNIQUE (person_id, issuer);

ALTER TABLE ONLY public.identities
    ADD CONSTRAINT identities_pkey PRIMARY KEY (issuer, subject);

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_organizer_id_email_key UNIQUE (organizer_id, email);

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_pkey PRIMARY KEY (invitation_id);

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_token_hash_key UNIQUE (token_hash);

ALTER TABLE ONLY public.invoice_counters
    ADD CONSTRAINT invoice_counters_pkey PRIMARY KEY (organizer_id);

ALTER TABLE ONLY public.invoices
    ADD CONSTRAINT invoices_organizer_id_source_id_key UNIQUE (organizer_id, source_id);

ALTER TABLE ONLY public.invoices
    ADD CONSTRAINT invoices_pkey PRIMARY KEY (organizer_id, number);

ALTER TABLE ONLY public.invoicing
    ADD CONSTRAINT invoicing_pkey PRIMARY KEY (organizer_id);

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY public.layouts
    ADD CONSTRAINT layouts_pkey PRIMARY KEY (layout_id, layout_version);

ALTER TABLE ONLY public.letter_rules
    ADD CONSTRAINT letter_rules_pkey PRIMARY KEY (organizer_id);

ALTER TABLE ONLY public.letters
    ADD CONSTRAINT letters_pkey PRIMARY KEY (letter_id);

ALTER TABLE ONLY public.lists
    ADD CONSTRAINT lists_pkey PRIMARY KEY (show_id, list_id);

ALTER TABLE ONLY public.lists
    ADD CONSTRAINT lists_show_id_name_key UNIQUE (show_id, name);

ALTER TABLE ONLY public.magic_links
    ADD CONSTRAINT magic_links_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY public.members
    ADD CONSTRAINT members_pkey PRIMARY KEY (organizer_id, person_id);

ALTER TABLE ONLY public.notices
    ADD CONSTRAINT notices_pkey PRIMARY KEY (show_id, booking_id, kind, edition);

ALTER TABLE ONLY public.organizers
    ADD CONSTRAINT organizers_pkey PRIMARY KEY (organizer_id);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (show_id, fact_id);

ALTER TABLE ONLY public.password_resets
    ADD CONSTRAINT password_resets_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY public.payment_events
    ADD CONSTRAINT payment_events_pkey PRIMARY KEY (show_id, provider, event_id);

ALTER TABLE ONLY public.payments
    ADD CONSTRAINT payments_pkey PRIMARY KEY (show_id, payment_id);

ALTER TABLE ONLY public.people
    ADD CONSTRAINT people_email_key UNIQUE (email);

ALTER TABLE ONLY public.people
    ADD CONSTRAINT people_pkey PRIMARY KEY (person_id);

ALTER TABLE ONLY public.picture_sizes
    ADD CONSTRAINT picture_sizes_pkey PRIMARY KEY (picture_id, width);

ALTER TABLE ONLY public.pictures
    ADD CONSTRAINT pictures_picture_id_key UNIQUE (picture_id);

ALTER TABLE ONLY public.pictures
    ADD CONSTRAINT pictures_pkey PRIMARY KEY (organizer_id, subject_id);

ALTER TABLE ONLY public.queued_claims
    ADD CONSTRAINT queued_claims_pkey PRIMARY KEY (show_id, "position");

ALTER TABLE ONLY public.queued_claims
    ADD CONSTRAINT queued_claims_show_id_booking_id_key UNIQUE (show_id, booking_id);

ALTER TABLE ONLY public.queued_claims
    ADD CONSTRAINT queued_claims_show_id_key_key UNIQUE (show_id, key);

ALTER TABLE ONLY public.queues
    ADD CONSTRAINT queues_pkey PRIMARY KEY (show_id);

ALTER TABLE ONLY public.recovery_codes
    ADD CONSTRAINT recovery_codes_pkey PRIMARY KEY (person_id, code_hash);

ALTER TABLE ONLY public.refunds
    ADD CONSTRAINT refunds_pkey PRIMARY KEY (show_id, refund_id);

ALTER TABLE ONLY public.reminded
    ADD CONSTRAINT reminded_pkey PRIMARY KEY (show_id, start_time);

ALTER TABLE ONLY public.sandbox_payments
    ADD CONSTRAINT sandbox_payments_payment_id_key UNIQUE (payment_id);

ALTER TABLE ONLY public.sandbox_payments
    ADD CONSTRAINT sandbox_payments_pkey PRIMARY KEY (ref);

ALTER TABLE ONLY public.sandbox_refunds
    ADD CONSTRAINT sandbox_refunds_pkey PRIMARY KEY (ref);

ALTER TABLE ONLY public.scans
    ADD CONSTRAINT scans_pkey PRIMARY KEY (show_id, scan_id);

ALTER TABLE ONLY public.seat_rows
    ADD CONSTRAINT seat_rows_pkey PRIMARY KEY (show_id, area, row_number);

ALTER TABLE ONLY public.second_factors
    ADD CONSTRAINT second_factors_pkey PRIMARY KEY (person_id);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_family_hash_key UNIQUE (family_hash);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (session_id);

ALTER TABLE ONLY public.show_heads
    ADD CONSTRAINT show_heads_pkey PRIMARY KEY (show_id);

ALTER TABLE ONLY public.shows
    ADD CONSTRAINT shows_pkey PRIMARY KEY (show_id);

ALTER TABLE ONLY public.stock
    ADD CONSTRAINT stock_pkey PRIMARY KEY (show_id, area);

ALTER TABLE ONLY public.tickets
    ADD CONSTRAINT tickets_pkey PRIMARY KEY (show_id, booking_id, number);

ALTER TABLE ONLY public.tier_terms
    ADD CONSTRAINT tier_terms_pkey PRIMARY KEY (show_id, tier, until);

ALTER TABLE ONLY public.tiers
    ADD CONSTRAINT tiers_pkey PRIMARY KEY (show_id, tier);

ALTER TABLE ONLY public.tiers
    ADD CONSTRAINT tiers_show_id_area_name_key UNIQUE (show_id, area, name);

ALTER TABLE ONLY public.venues
    ADD CONSTRAINT venues_pkey PRIMARY KEY (venue_id);

ALTER TABLE ONLY public.webhook_deliveries
    ADD CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (webhook_id, fact_id);

ALTER TABLE ONLY public.webhook_secrets
    ADD CONSTRAINT webhook_secrets_pkey PRIMARY KEY (secret_id);

ALTER TABLE ONLY public.webhooks
    ADD CONSTRAINT webhooks_pkey PRIMARY KEY (webhook_id);

CREATE INDEX admissions_changed ON public.admissions USING btree (show_id, changed_at);

CREATE INDEX analytics_sales_organizer ON public.analytics_sales USING btree (organizer_id, minute);

CREATE INDEX answers_created_at ON public.answers USING btree (created_at);

CREATE INDEX api_keys_organizer ON public.api_keys USING btree (organizer_id, key_id);

CREATE INDEX audit_show ON public.audit USING btree (organizer_id, show_id, entry_id) WHERE (show_id IS NOT NULL);

CREATE INDEX audit_subject ON public.audit USING btree (organizer_id, subject_id, entry_id) WHERE (subject_id IS NOT NULL);

CREATE INDEX blocks_release_at ON public.blocks USING btree (release_at) WHERE (release_at IS NOT NULL);

CREATE INDEX bookings_buyer ON public.bookings USING btree (show_id, buyer) WHERE ((status <> 'PENDING'::text) AND (buyer IS NOT NULL));

CREATE INDEX bookings_customer ON public.bookings USING btree (show_id, customer_id) WHERE (customer_id IS NOT NULL);

CREATE INDEX bookings_decided ON public.bookings USING btree (show_id, GREATEST(confirmed_at, ended_at)) WHERE (confirmed_at IS NOT NULL);

CREATE INDEX bookings_pending ON public.bookings USING btree (show_id, expires_at) WHERE (status = 'PENDING'::text);

CREATE INDEX broker_facts_booking ON public.broker_facts USING btree (show_id, booking_id);

CREATE INDEX broker_facts_created_at ON public.broker_facts USING btree (show_id, created_at);

CREATE INDEX dead_letters_died_at ON public.dead_letters USING btree (died_at, job_id);

CREATE UNIQUE INDEX facts_position ON public.facts USING btree (organizer_id, "position") WHERE ("position" IS NOT NULL);

CREATE INDEX facts_stored_at ON public.facts USING btree (in_feed, stored_at);

CREATE INDEX facts_unnumbered ON public.facts USING btree (organizer_id, fact_id) WHERE (in_feed AND ("position" IS NULL));

CREATE INDEX idempotency_keys_created_at ON public.idempotency_keys USING btree (created_at);

CREATE INDEX invitations_email ON public.invitations USING btree (email);

CREATE INDEX invitations_expires_at ON public.invitations USING btree (expires_at);

CREATE INDEX invoices_booking ON public.invoices USING btree (show_id, booking_id, number);

CREATE INDEX invoices_issued_at ON public.invoices USING btree (organizer_id, issued_at);

CREATE INDEX invoices_refers_to ON public.invoices USING btree (organizer_id, refers_to) WHERE (refers_to IS NOT NULL);

CREATE INDEX jobs_kind_run_at ON public.jobs USING btree (kind, run_at);

CREATE INDEX jobs_run_at ON public.jobs USING btree (run_at);

CREATE INDEX layouts_venue ON public.layouts USING btree (venue_id, layout_id, layout_version DESC);

CREATE INDEX letters_created_at ON public.letters USING btree (created_at);

CREATE INDEX letters_recipient ON public.letters USING btree (recipient);

CREATE INDEX magic_links_address ON public.magic_links USING btree (address_digest);

CREATE INDEX magic_links_expires_at ON public.magic_links USING btree (expires_at);

CREATE INDEX members_person ON public.members USING btree (person_id);

CREATE INDEX notices_noticed_at ON public.notices USING btree (noticed_at);

CREATE INDEX password_resets_expires_at ON public.password_resets USING btree (expires_at);

CREATE INDEX password_resets_person ON public.password_resets USING btree (person_id);

CREATE INDEX payment_events_received_at ON public.payment_events USING btree (received_at);

CREATE INDEX payments_booking ON public.payments USING btree (show_id, booking_id);

CREATE INDEX payments_charge ON public.payments USING btree (provider, charge) WHERE (charge IS NOT NULL);

CREATE INDEX payments_created_at ON public.payments USING btree (created_at);

CREATE INDEX payments_ref ON public.payments USING btree (provider, ref) WHERE (ref IS NOT NULL);

CREATE INDEX queued_claims_ended_at ON public.queued_claims USING btree (ended_at) WHERE (reason IS NOT NULL);

CREATE INDEX queued_claims_waiting ON public.queued_claims USING btree (show_id, "position") WHERE (reason IS NULL);

CREATE INDEX refunds_booking ON public.refunds USING btree (show_id, booking_id);

CREATE INDEX refunds_open ON public.refunds USING btree (state, updated_at) WHERE (state = ANY (ARRAY['WANTED'::text, 'SENT'::text, 'FAILED'::text]));

CREATE INDEX refunds_ref ON public.refunds USING btree (provider, ref) WHERE (ref IS NOT NULL);

CREATE INDEX refunds_sent_at ON public.refunds USING btree (sent_at) WHERE (sent_at IS NOT NULL);

CREATE INDEX sandbox_payments_created_at ON public.sandbox_payments USING btree (created_at, ref);

CREATE INDEX sandbox_refunds_created_at ON public.sandbox_refunds USING btree (created_at, ref);

CREATE UNIQUE INDEX sandbox_refunds_live ON public.sandbox_refunds USING btree (refund_id) WHERE (state <> 'failed'::text);

CREATE INDEX sandbox_refunds_payment ON public.sandbox_refunds USING btree (payment_ref);

CREATE INDEX scans_conflicts ON public.scans USING btree (show_id, received_at) WHERE ((conflict IS NOT NULL) AND (acknowledged_at IS NULL) AND (undone_at IS NULL));

CREATE INDEX scans_ticket ON public.scans USING btree (show_id, booking_id, number) WHERE (booking_id IS NOT NULL);

CREATE UNIQUE INDEX sessions_cookie ON public.sessions USING btree ((secret_hashes[1])) WHERE (kind = 'console'::text);

CREATE INDEX sessions_ended_at ON public.sessions USING btree (ended_at) WHERE (ended_at IS NOT NULL);

CREATE INDEX sessions_expires_at ON public.sessions USING btree (expires_at);

CREATE INDEX sessions_person ON public.sessions USING btree (person_id, organizer_id);

CREATE INDEX shows_organizer ON public.shows USING btree (organizer_id, start_time, show_id);

CREATE INDEX shows_start_time ON public.shows USING btree (start_time, show_id);

CREATE INDEX shows_venue ON public.shows USING btree (venue_id, start_time, show_id) WHERE (venue_id IS NOT NULL);

CREATE INDEX tickets_changed ON public.tickets USING btree (show_id, changed_at);

CREATE INDEX tickets_email ON public.tickets USING btree (lower(email)) WHERE (email IS NOT NULL);

CREATE INDEX venues_city ON public.venues USING btree (lower(city)) WHERE (city <> ''::text);

CREATE INDEX venues_organizer ON public.venues USING btree (organizer_id, venue_id);

CREATE INDEX webhook_deliveries_created_at ON public.webhook_deliveries USING btree (created_at);

CREATE INDEX webhook_deliveries_state ON public.webhook_deliveries USING btree (webhook_id, state, fact_id);

CREATE UNIQUE INDEX webhook_secrets_current ON public.webhook_secrets USING btree (webhook_id) WHERE (until IS NULL);

CREATE INDEX webhook_secrets_webhook ON public.webhook_secrets USING btree (webhook_id, secret_id);

CREATE INDEX webhooks_organizer ON public.webhooks USING btree (organizer_id, webhook_id);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_organizer_id_fkey FOREIGN KEY (organizer_id) REFERENCES public.organizers(organizer_id);

ALTER TABLE ONLY public.areas
    ADD CONSTRAINT areas_show_id_fkey FOREIGN KEY (show_id) REFERENCES public.shows(show_id);

ALTER TABLE ONLY public.identities
    ADD CONSTRAINT identities_person_id_fkey FOREIGN KEY (person_id) REFERENCES public.people(person_id);

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_invited_by_fkey FOREIGN KEY (invited_by) REFERENCES public.people(person_id);

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_organizer_id_fkey FOREIGN KEY (organizer_id) REFERENCES public.organizers(organizer_id);

ALTER TABLE ONLY public.layouts
    ADD CONSTRAINT layouts_organizer_id_fkey FOREIGN KEY (organizer_id) REFERENCES public.organizers(organizer_id);

ALTER TABLE ONLY public.layouts
    ADD CONSTRAINT layouts_venue_id_fkey FOREIGN KEY (venue_id) REFERENCES public.venues(venue_id);

ALTER TABLE ONLY public.members
    ADD CONSTRAINT members_organizer_id_fkey FOREIGN KEY (organizer_id) REFERENCES public.organizers(organizer_id);

ALTER TABLE ONLY public.members
    ADD CONSTRAINT members_person_id_fkey FOREIGN KEY (person_id) REFERENCES public.people(person_id);

ALTER TABLE ONLY public.password_resets
    ADD CONSTRAINT password_resets_person_id_fkey FOREIGN KEY (person_id) REFERENCES public.people(person_id);

ALTER TABLE ONLY public.picture_sizes
    ADD CONSTRAINT picture_sizes_picture_id_fkey FOREIGN KEY (picture_id) REFERENCES public.pictures(picture_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.pictures
    ADD CONSTRAINT pictures_organizer_id_fkey FOREIGN KEY (organizer_id) REFERENCES public.organizers(organizer_id);

ALTER TABLE ONLY public.recovery_codes
    ADD CONSTRAINT recovery_codes_person_id_fkey FOREIGN KEY (person_id) REFERENCES public.second_factors(person_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.sandbox_refunds
    ADD CONSTRAINT sandbox_refunds_payment_ref_fkey FOREIGN KEY (payment_ref) REFERENCES public.sandbox_payments(ref);

ALTER TABLE ONLY public.seat_rows
    ADD CONSTRAINT seat_rows_show_id_area_fkey FOREIGN KEY (show_id, area) REFERENCES public.areas(show_id, area);

ALTER TABLE ONLY public.second_factors
    ADD CONSTRAINT second_factors_person_id_fkey FOREIGN KEY (person_id) REFERENCES public.people(person_id);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_organizer_id_fkey FOREIGN KEY (organizer_id) REFERENCES public.organizers(organizer_id);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_person_id_fkey FOREIGN KEY (person_id) REFERENCES public.people(person_id);

ALTER TABLE ONLY public.shows
    ADD CONSTRAINT shows_organizer_id_fkey FOREIGN KEY (organizer_id) REFERENCES public.organizers(organizer_id);

ALTER TABLE ONLY public.tiers
    ADD CONSTRAINT tiers_show_id_area_fkey FOREIGN KEY (show_id, area) REFERENCES public.areas(show_id, area);

ALTER TABLE ONLY public.venues
    ADD CONSTRAINT venues_organizer_id_fkey FOREIGN KEY (organizer_id) REFERENCES public.organizers(organizer_id);

ALTER TABLE public.admissions ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.analytics_outcomes ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.analytics_sales ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.analytics_sizes ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.answers ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.api_keys ENABLE ROW LEVEL SECURITY;

CREATE POLICY app ON public.admissions TO holdfast_app USING (true);

CREATE POLICY app ON public.analytics_outcomes TO holdfast_app USING (true);

CREATE POLICY app ON public.analytics_sales TO holdfast_app USING (true);

CREATE POLICY app ON public.analytics_sizes TO holdfast_app USING (true);

CREATE POLICY app ON public.answers TO holdfast_app USING (true);

CREATE POLICY app ON public.api_keys TO holdfast_app USING (true);

CREATE POLICY app ON public.areas TO holdfast_app USING (true);

CREATE POLICY app ON public.audit TO holdfast_app USING (true);

CREATE POLICY app ON public.blocks TO holdfast_app USING (true);

CREATE POLICY app ON public.bookings TO holdfast_app USING (true);

CREATE POLICY app ON public.buyers TO holdfast_app USING (true);

CREATE POLICY app ON public.claims TO holdfast_app USING (true);

CREATE POLICY app ON public.codes TO holdfast_app USING (true);

CREATE POLICY app ON public.facts TO holdfast_app USING (true);

CREATE POLICY app ON public.feeds TO holdfast_app USING (true);

CREATE POLICY app ON public.gates TO holdfast_app USING (true);

CREATE POLICY app ON public.idempotency_keys TO holdfast_app USING (true);

CREATE POLICY app ON public.invitations TO holdfast_app USING (true);

CREATE POLICY app ON public.invoices TO holdfast_app USING (true);

CREATE POLICY app ON public.invoicing TO holdfast_app USING (true);

CREATE POLICY app ON public.layouts TO holdfast_app USING (true);

CREATE POLICY app ON public.letter_rules TO holdfast_app USING (true);

CREATE POLICY app ON public.lists TO holdfast_app USING (true);

CREATE POLICY app ON public.members TO holdfast_app USING (true);

CREATE POLICY app ON public.notices TO holdfast_app USING (true);

CREATE POLICY app ON public.organizers TO holdfast_app USING (true);

CREATE POLICY app ON public.payment_events TO holdfast_app USING (true);

CREATE POLICY app ON public.payments TO holdfast_app USING (true);

CREATE POLICY app ON public.people TO holdfast_app USING (true);

CREATE POLICY app ON public.picture_sizes TO holdfast_app USING (true);

CREATE POLICY app ON public.pictures TO holdfast_app USING (true);

CREATE POLICY app ON public.queued_claims TO holdfast_app USING (true);

CREATE POLICY app ON public.queues TO holdfast_app USING (true);

CREATE POLICY app ON public.refunds TO holdfast_app USING (true);

CREATE POLICY app ON public.reminded TO holdfast_app USING (true);

CREATE POLICY app ON public.scans TO holdfast_app USING (true);

CREATE POLICY app ON public.seat_rows TO holdfast_app USING (true);

CREATE POLICY app ON public.second_factors TO holdfast_app USING (true);

CREATE POLICY app ON public.sessions TO holdfast_app USING (true);

CREATE POLICY app ON public.show_heads TO holdfast_app USING (true);

CREATE POLICY app ON public.shows TO holdfast_app USING (true);

CREATE POLICY app ON public.stock TO holdfast_app USING (true);

CREATE POLICY app ON public.tickets TO holdfast_app USING (true);

CREATE POLICY app ON public.tier_terms TO holdfast_app USING (true);

CREATE POLICY app ON public.tiers TO holdfast_app USING (true);

CREATE POLICY app ON public.venues TO holdfast_app USING (true);

CREATE POLICY app ON public.webhook_deliveries TO holdfast_app USING (true);

CREATE POLICY app ON public.webhook_secrets TO holdfast_app USING (true);

CREATE POLICY app ON public.webhooks TO holdfast_app USING (true);

ALTER TABLE public.areas ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.audit ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.blocks ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.bookings ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.buyers ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.claims ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.codes ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.facts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.feeds ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.gates ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.idempotency_keys ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.invitations ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.invoices ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.invoicing ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.layouts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.letter_rules ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.lists ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.members ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.notices ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.organizers ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.payment_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.payments ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.people ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.picture_sizes ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.pictures ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.queued_claims ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.queues ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.refunds ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.reminded ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.scans ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.seat_rows ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.second_factors ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.sessions ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.show_heads ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.shows ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.stock ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant ON public.admissions TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.analytics_outcomes TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.analytics_sales TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.analytics_sizes TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.answers TO holdfast_tenant USING (starts_with(caller, ( SELECT (current_setting('holdfast.organizer'::text) || '/'::text))));

CREATE POLICY tenant ON public.api_keys TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.areas TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.shows s
  WHERE (s.show_id = areas.show_id))));

CREATE POLICY tenant ON public.audit TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.blocks TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.shows s
  WHERE (s.show_id = blocks.show_id))));

CREATE POLICY tenant ON public.bookings TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.buyers TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.shows s
  WHERE (s.show_id = buyers.show_id))));

CREATE POLICY tenant ON public.claims TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.shows s
  WHERE (s.show_id = claims.show_id))));

CREATE POLICY tenant ON public.codes TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.facts TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.feeds TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.gates TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.idempotency_keys TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.shows s
  WHERE (s.show_id = idempotency_keys.show_id))));

CREATE POLICY tenant ON public.invitations TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.invoices TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.invoicing TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.layouts TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.letter_rules TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.lists TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.members TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.notices TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.organizers TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.payment_events TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.shows s
  WHERE (s.show_id = payment_events.show_id))));

CREATE POLICY tenant ON public.payments TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.people TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.members m
  WHERE (m.person_id = people.person_id)))) WITH CHECK (true);

CREATE POLICY tenant ON public.picture_sizes TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.pictures TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.queued_claims TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.queues TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.shows s
  WHERE (s.show_id = queues.show_id))));

CREATE POLICY tenant ON public.refunds TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.reminded TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.scans TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.seat_rows TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.shows s
  WHERE (s.show_id = seat_rows.show_id))));

CREATE POLICY tenant ON public.second_factors FOR SELECT TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.members m
  WHERE (m.person_id = second_factors.person_id))));

CREATE POLICY tenant ON public.sessions TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.show_heads TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.shows s
  WHERE (s.show_id = show_heads.show_id))));

CREATE POLICY tenant ON public.shows TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.stock TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.shows s
  WHERE (s.show_id = stock.show_id))));

CREATE POLICY tenant ON public.tickets TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.tier_terms TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.shows s
  WHERE (s.show_id = tier_terms.show_id))));

CREATE POLICY tenant ON public.tiers TO holdfast_tenant USING ((EXISTS ( SELECT
   FROM public.shows s
  WHERE (s.show_id = tiers.show_id))));

CREATE POLICY tenant ON public.venues TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.webhook_deliveries TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.webhook_secrets TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

CREATE POLICY tenant ON public.webhooks TO holdfast_tenant USING ((organizer_id = ( SELECT (current_setting('holdfast.organizer'::text))::uuid AS current_setting)));

ALTER TABLE public.tickets ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.tier_terms ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.tiers ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.venues ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_deliveries ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_secrets ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhooks ENABLE ROW LEVEL SECURITY;
