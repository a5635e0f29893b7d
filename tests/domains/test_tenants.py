"""What an organizer's connections see, change and remove: their own, even when a query forgets to ask whose it is."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from holdfast.engine import Engine
from holdfast.platform.db import Database, NotPermitted, UniqueViolation
from holdfast.platform.ids import new_id

pytestmark = pytest.mark.anyio

# A row of each table for the organizer $1 with the person $2 and the show $3.
FILL = {
    "organizers": "insert into organizers (organizer_id, name) values ($1, 'House')",
    "people": "insert into people (person_id, email, password_hash) values ($2, $2 || '@example.org', '')",
    "members": "insert into members (organizer_id, person_id, role) values ($1, $2, 'owner')",
    "venues": "insert into venues (venue_id, organizer_id, name, timezone) values ($1, $1, 'Globe', 'UTC')",
    "layouts": """insert into layouts (layout_id, layout_version, venue_id, organizer_id, name, plan, seats)
                  values ($1, 1, $1, $1, 'Stage', '{}', 0)""",
    "shows": """insert into shows (show_id, organizer_id, name, start_time, timezone, status, currency, hold_seconds,
                  hold_seconds_max, max_places_per_booking, orphans, focus_x, focus_y)
                values ($3, $1, 'Hamlet', now(), 'UTC', 'on_sale', 'EUR', 120, 900, 10, 'allow', 0, 0)""",
    "areas": "insert into areas values ($3, 1, 'Main', 'seated', 10)",
    "seat_rows": "insert into seat_rows values ($3, 1, 1, 'A', 0, '{1}', '{0}', '{0}')",
    "tiers": "insert into tiers values ($3, 1, 1, 'Adult', 100)",
    "show_heads": "insert into show_heads (show_id, selling) values ($3, true)",
    "stock": "insert into stock values ($3, 1, true, 0, 10)",
    "claims": "insert into claims values ($3, 0, $1)",
    "bookings": """insert into bookings (show_id, booking_id, organizer_id, reference, status, quantity, areas, seats,
                     tiers, amounts, total, currency, created_at, expires_at)
                   values ($3, $3, $1, 'ABCDEFGH', 'PENDING', 1, '{1}', '{0}', '{0}', '{0}', 0, 'EUR', now(), now())""",
    "blocks": "insert into blocks (show_id, block_id, areas, seats, reason) values ($3, $1, '{1}', '{1}', 'House')",
    "buyers": "insert into buyers (show_id, buyer) values ($3, 'somebody')",
    "idempotency_keys": "insert into idempotency_keys values ($3, decode(repeat('00', 16), 'hex'), '', $3, now())",
    "queues": "insert into queues values ($3, 1)",
    "queued_claims": """insert into queued_claims (show_id, position, booking_id, organizer_id, reference, fingerprint,
                          request, quantity, currency) values ($3, 1, $2, $1, 'ABCDEFGH', '', '{}', 1, 'EUR')""",
    "answers": """insert into answers (caller, key, fingerprint, status, headers, body)
                  values ($1 || '/person:' || $2, 'key', '', 201, '[]', '')""",
    "audit": """insert into audit (organizer_id, entry_id, actor_kind, action, request_id)
                values ($1, $1, 'nobody', 'show.created', 'r')""",
    "sessions": """insert into sessions (session_id, person_id, organizer_id, kind, strong, secret_hashes, device, address,
                     expires_at) values ($1, $2, $1, 'console', true, array[sha256($1::text::bytea)], '', '', now())""",
    "second_factors": "insert into second_factors (person_id, sealed) values ($2, '')",
    "invitations": """insert into invitations (invitation_id, organizer_id, email, role, token_hash, expires_at)
                      values ($1, $1, 'a@example.org', 'door', sha256($1::text::bytea), now())""",
    "api_keys": """insert into api_keys (key_id, organizer_id, name, prefix, key_hash, scopes, created_by)
                   values ($1, $1, 'Till', 'hf_12345678', sha256($1::text::bytea), '{x}', 'x')""",
    "pictures": "insert into pictures (organizer_id, subject_id, picture_id) values ($1, $3, $3)",
    "picture_sizes": """insert into picture_sizes (picture_id, width, height, organizer_id, contents)
                        values ($3, 1, 1, $1, 'x')""",
    "payments": """insert into payments (show_id, payment_id, booking_id, organizer_id, provider, amount, currency,
                     expected_amount, expected_currency, description, return_url, expires_at)
                   values ($3, $3, $3, $1, 'sandbox', 5, 'EUR', 5, 'EUR', '', '', now())""",
    "payment_events": """insert into payment_events (show_id, provider, event_id, kind)
                         values ($3, 'sandbox', 'e-1', 'payment')""",
    "tickets": "insert into tickets (show_id, booking_id, number, organizer_id) values ($3, $3, 1, $1)",
    "lists": "insert into lists (show_id, list_id, organizer_id, name) values ($3, $3, $1, 'VIP')",
    "gates": "insert into gates (show_id, gate_id, organizer_id, list_id, name) values ($3, $3, $1, $3, 'North')",
    "scans": """insert into scans (show_id, scan_id, organizer_id, direction, list_id, accepted, reason, uploaded, scanned_at)
                values ($3, $3, $1, 'in', $3, false, 'bad_code', false, now())""",
    "admissions": """insert into admissions (show_id, booking_id, number, organizer_id, inside, entries)
                     values ($3, $3, 1, $1, false, 0)""",
    "facts": """insert into facts (organizer_id, fact_id, show_id, kind, at, payload, in_feed)
                values ($1, $3, $3, 'show.created', '', '{}', true)""",
    "feeds": "insert into feeds (organizer_id) values ($1)",
    "webhooks": "insert into webhooks (webhook_id, organizer_id, url, created_by) values ($1, $1, 'x', 'x')",
    "webhook_secrets": """insert into webhook_secrets (secret_id, webhook_id, organizer_id, sealed)
                          values ($1, $1, $1, '')""",
    "webhook_deliveries": """insert into webhook_deliveries (webhook_id, fact_id, organizer_id, kind, job_id)
                             values ($1, $3, $1, 'show.created', $3)""",
    "invoicing": "insert into invoicing (organizer_id, legal_name) values ($1, 'House')",
    "invoices": """insert into invoices (organizer_id, number, label, kind, show_id, booking_id, source_id, reference,
                     show_name, starts_at, timezone, currency, total, lines, legal_name, address, tax_id, note, language)
                   values ($1, 1, '1', 'invoice', $3, $3, $3, 'ABCDEFGH', 'Hamlet', now(), 'UTC', 'EUR', 5, '[]', 'House',
                     '', '', '', 'en')""",
    "refunds": """insert into refunds (show_id, refund_id, payment_id, booking_id, organizer_id, provider, amount, currency,
                    reason, release) values ($3, $3, $3, $3, $1, 'sandbox', 5, 'EUR', 'by_organizer', true)""",
    "tier_terms": "insert into tier_terms values ($3, 1, 1, 100, 0, 0, 0, true)",
    "codes": "insert into codes (show_id, code_id, organizer_id, code, code_key) values ($3, $3, $1, 'EARLY', 'EARLY')",
    "letter_rules": "insert into letter_rules (organizer_id) values ($1)",
    "notices": """insert into notices (show_id, booking_id, kind, edition, organizer_id)
                  values ($3, $3, 'confirmed', '1', $1)""",
    "reminded": "insert into reminded (show_id, start_time, organizer_id) values ($3, now(), $1)",
    "analytics_sales": "insert into analytics_sales (show_id, minute, organizer_id, currency) values ($3, now(), $1, 'EUR')",
    "analytics_sizes": "insert into analytics_sizes (show_id, places, organizer_id, bookings) values ($3, 2, $1, 1)",
    "analytics_outcomes": """insert into analytics_outcomes (show_id, minute, outcome, organizer_id, times)
                             values ($3, now(), 'confirmed', $1, 1)""",
}  # fmt: skip
# Of these an organizer's connections read some columns, write none and change those named last.
IN_PART = {
    "people": ("person_id, email", None),
    "sessions": ("session_id, person_id, organizer_id", "ended_at"),
    "second_factors": ("person_id", None),
}
# Neither role can change or remove what is in these.
FOR_GOOD = {"audit", "invoices"}
ALL = {"SELECT", "INSERT", "UPDATE", "DELETE"}
# Without policies, because nothing of an organizer's is in them that its connections could read; with what those may do.
NOBODYS: dict[str, set[str]] = {
    "migrations": set(),
    "outbox": {"INSERT"},
    "jobs": {"INSERT"},
    "dead_letters": set(),
    "letters": {"INSERT"},
    # What lets people in, and buyers: no organizer's.
    "recovery_codes": set(),
    "password_resets": set(),
    "identities": set(),
    "customers": set(),
    "magic_links": set(),
    "forgotten_shows": set(),
    # The sandbox stands in for somebody else's system.
    "sandbox_payments": set(),
    "sandbox_refunds": set(),
    "broker_facts": set(),
    # Numbers are given by a follower.
    "invoice_counters": set(),
}


@dataclass(frozen=True)
class House:
    """An organizer with one row in every table."""

    organizer_id: UUID
    person_id: UUID
    show_id: UUID


@pytest.fixture
async def houses(engine: Engine, db: Database) -> tuple[House, House]:
    made = []
    for _ in range(2):
        house = House(new_id(), new_id(), new_id())
        ids = {"$1": house.organizer_id, "$2": house.person_id, "$3": house.show_id}
        for text in FILL.values():
            for name, value in ids.items():
                text = text.replace(f"{name} ||", f"'{value}' ||").replace(name, f"'{value}'")
            await db.execute(text)
        made.append(house)
    return made[0], made[1]


async def _rows(db: Database, table: str) -> list[dict[str, Any]]:
    columns = IN_PART.get(table, ("*", None))[0]
    return [
        row["row"]
        for row in await db.rows(f"select to_jsonb(t) as row from (select {columns} from {table}) t")
    ]


def _is_of(row: dict[str, Any], house: House) -> bool:
    text = str(row)
    return any(str(each) in text for each in (house.organizer_id, house.person_id, house.show_id))


@pytest.mark.parametrize("table", FILL)
async def test_an_organizer_sees_its_own_rows_alone(
    table: str, engine: Engine, houses: tuple[House, House]
) -> None:
    ours, theirs = houses
    seen = await _rows(engine.db.of(ours.organizer_id), table)
    assert len(seen) == 1
    assert _is_of(seen[0], ours)
    # Control: the engine sees both.
    assert sum(_is_of(row, theirs) for row in await _rows(engine.db, table)) == 1


@pytest.mark.parametrize("table", sorted(set(FILL) - FOR_GOOD - set(IN_PART)))
async def test_an_organizer_changes_and_removes_its_own_rows_alone(
    table: str, engine: Engine, db: Database, houses: tuple[House, House]
) -> None:
    ours, theirs = houses
    column = await db.value(
        "select attname from pg_attribute where attrelid = $1::text::regclass and attnum > 0 order by attnum desc limit 1", table
    )  # fmt: skip
    change, before = f"update {table} set {column} = {column}", await _rows(db, table)
    assert await engine.db.of(ours.organizer_id).execute(change) == 1
    # Control: the engine changes all of them.
    assert await engine.db.execute(change) == len(before)
    tenant = engine.db.of(ours.organizer_id)
    for row in await _rows(db, table):
        whole = f"delete from {table} t where to_jsonb(t) = $1::jsonb"
        if not _is_of(row, ours):
            assert await tenant.execute(whole, row) == 0
    assert [row for row in await _rows(db, table) if _is_of(row, theirs)]


@pytest.mark.parametrize("table", sorted(IN_PART))
async def test_of_what_lets_people_in_an_organizer_changes_next_to_nothing(
    table: str, engine: Engine, db: Database, houses: tuple[House, House]
) -> None:
    tenant, changes = engine.db.of(houses[0].organizer_id), IN_PART[table][1]
    names = [
        row["attname"]
        for row in await db.rows(
            "select attname from pg_attribute where attrelid = $1::text::regclass and attnum > 0", table
        )
    ]
    for name in names:
        if name == changes:
            assert await tenant.execute(f"update {table} set {name} = null") == 1
        else:
            with pytest.raises(NotPermitted):
                await tenant.execute(f"update {table} set {name} = {name}")
    for statement in (
        f"delete from {table}",
        f"select * from {table}",
        f"insert into {table} default values",
    ):
        with pytest.raises(NotPermitted):
            await tenant.execute(statement)


@pytest.mark.parametrize("table", sorted(set(FILL) - set(IN_PART)))
async def test_an_organizer_writes_no_row_of_another(
    table: str, engine: Engine, houses: tuple[House, House]
) -> None:
    ours, theirs = houses
    (row,) = [row for row in await _rows(engine.db, table) if _is_of(row, theirs)]
    copied = f"insert into {table} select * from jsonb_populate_record(null::{table}, $1::jsonb)"
    with pytest.raises(NotPermitted, match="row-level security"):
        await engine.db.of(ours.organizer_id).execute(copied, row)
    # Control: to the engine it is only that the row is there already.
    with pytest.raises(UniqueViolation):
        await engine.db.execute(copied, row)


async def test_an_organizer_gives_no_row_away(engine: Engine, houses: tuple[House, House]) -> None:
    ours, theirs = houses
    tenant = engine.db.of(ours.organizer_id)
    with pytest.raises(NotPermitted, match="row-level security"):
        await tenant.execute("update venues set organizer_id = $1", theirs.organizer_id)
    with pytest.raises(NotPermitted, match="row-level security"):
        await tenant.execute("update blocks set show_id = $1", theirs.show_id)


async def test_an_organizers_connection_is_told_anew_each_time(
    engine: Engine, houses: tuple[House, House]
) -> None:
    async def seen(house: House) -> list[UUID]:
        return [row["show_id"] for row in await engine.db.of(house.organizer_id).rows("select * from shows")]

    both = [houses[n % 2] for n in range(40)]
    assert await asyncio.gather(*map(seen, both)) == [[house.show_id] for house in both]


async def test_a_transaction_sees_what_its_organizer_sees_and_is_all_or_nothing(
    engine: Engine, houses: tuple[House, House]
) -> None:
    tenant = engine.db.of(houses[0].organizer_id)
    with pytest.raises(ZeroDivisionError):
        async with tenant.transaction() as tx:
            assert len(await tx.rows("select * from shows")) == 1
            assert await tx.execute("update shows set name = 'Macbeth'") == 1
            # Beside its transaction it reads on a connection of its own.
            assert await tenant.value("select name from shows") == "Hamlet"
            raise ZeroDivisionError
    assert await tenant.value("select name from shows") == "Hamlet"
    assert await tenant.execute("update shows set name = 'Macbeth'") == 1
    names = [row["name"] for row in await engine.db.rows("select name from shows order by show_id")]
    assert names == ["Macbeth", "Hamlet"]


async def test_a_connection_that_was_not_told_whose_it_is_shows_nothing(
    engine: Engine, houses: tuple[House, House]
) -> None:
    pool = engine.db.of(houses[0].organizer_id)._pool
    async with pool.connection() as connection:
        for table in FILL:
            with pytest.raises(Exception, match=r"holdfast\.organizer|invalid input syntax for type uuid"):
                await connection.fetch(f"select {IN_PART.get(table, ('*', None))[0]} from {table}")


async def test_neither_role_can_change_what_was_written_for_good(
    engine: Engine, houses: tuple[House, House]
) -> None:
    tricks = [
        "update audit set action = 'show.edited'",
        "delete from audit",
        "truncate audit",
        "alter table audit disable row level security",
        "alter table audit add column mended int",
        "drop table audit",
        "create rule mended as on insert to audit do instead nothing",
        "create trigger mended before insert on audit for each row execute function suppress_redundant_updates_trigger()",
        # What one may not do one cannot grant: PostgreSQL only warns of that, and the next statement is refused.
        "grant update, delete on audit to public; delete from audit",
        "lock table audit in row exclusive mode; select * from audit for update",
        "merge into audit a using shows s on true when matched then delete",
        "insert into audit select * from audit on conflict (organizer_id, entry_id) do update set action = 'x.y'",
        "with gone as (delete from audit returning 1) select 1",
        "drop policy app on audit",
        "alter default privileges in schema public grant update on tables to public; alter table audit owner to holdfast_app",
    ]  # fmt: skip
    for db in (engine.db, engine.db.of(houses[0].organizer_id)):
        for trick in tricks:
            with pytest.raises(NotPermitted):
                async with db.transaction() as tx:
                    await tx.script(trick, 10)
        assert {row["action"] for row in await db.rows("select action from audit")} == {"show.created"}


async def test_every_table_says_whose_its_rows_are(db: Database) -> None:
    """A new table needs policies as migration 0006 writes them, and a row in FILL; or a word in NOBODYS."""
    tables = await db.rows("""
        select c.relname as name, c.relrowsecurity as secured,
               array(select p.polname || ' ' || r.rolname from pg_policy p join pg_roles r on r.oid = any (p.polroles)
                      where p.polrelid = c.oid order by 1) as policies,
               array(select upper(w) from unnest(array['select', 'insert', 'update', 'delete', 'truncate']) w
                      where has_table_privilege('holdfast_tenant', c.oid, w)) as allowed
          from pg_class c where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace""")
    wrong = {}
    for table in tables:
        name, allowed = table["name"], set(table["allowed"])
        if name in NOBODYS:
            if allowed != NOBODYS[name]:
                wrong[name] = f"holdfast_tenant may {allowed} it"
        elif not table["secured"] or table["policies"] != ["app holdfast_app", "tenant holdfast_tenant"]:
            wrong[name] = f"secured: {table['secured']}, policies: {table['policies']}"
        elif name not in FILL:
            wrong[name] = "has no row in FILL, so that nobody has tried its policies"
        elif allowed != (set() if name in IN_PART else {"SELECT", "INSERT"} if name in FOR_GOOD else ALL):
            wrong[name] = f"holdfast_tenant may {allowed} it"
    assert wrong == {}
