"""Every hot query uses the index it was meant to, as auto_explain sees it, without any planner switch.

On a database of 200,000 bookings; once by a connection that planned everything while the tables were empty and whose
statistics say so, as after a first start, and once after ANALYZE.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from holdfast import booking, catalog
from holdfast.booking import claiming, door, history, lifecycle, sweeping, view
from holdfast.booking.claiming import Wish
from holdfast.engine import Engine
from holdfast.platform import clock, outbox
from holdfast.platform.db import APP, Database
from holdfast.platform.ids import BookingId, new_id, new_reference
from tests.races.crowd import ORGANIZER, open_show

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

SHOWS = 300
HISTORY = 600
HOT_HISTORY = 20_000
STANDING, SEATED = 1, 2
ROWS, ROW_SEATS = 30, 20
HOT_ROWS, HOT_ROW_SEATS = 100, 200
# Once for the first plans, which know the parameters, and often enough for the plan that is kept for ever.
TIMES = 8
# Nothing reads one of these from end to end. Heads, stock and blocks are a few pages for hundreds of shows.
GROWING = {"admissions", "bookings", "claims", "idempotency_keys", "scans", "seat_rows", "outbox", "buyers"}
# An index that begins with the show is meant with its second column: a show has very many rows of its own.
SECOND = {
    "claims_pkey": "seat",
    "bookings_pkey": "booking_id",
    "idempotency_keys_pkey": "key",
    "buyers_pkey": "buyer",
}
# The snapshot of a show wants all of its claims.
WANTS_ALL = "/* booking.snapshot */"


class Session:
    """A connection whose every plan is seen, those inside functions included."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.plans: list[dict[str, Any]] = []
        connection.add_log_listener(self._heard)

    def _heard(self, _: Any, message: Any) -> None:
        _, found, plan = message.message.partition("plan:\n")
        if found:
            self.plans.append(msgspec.json.decode(plan))

    async def ask(self, query: Any, *args: Any) -> list[Any]:
        """All rows of a named query."""
        rows: list[Any] = await self.connection.fetch(query.text, *args)
        return rows

    async def watched(
        self, operation: Callable[["Session"], Awaitable[None]], growing: set[str] = GROWING
    ) -> tuple[set[str], list[str]]:
        """The indexes that the operation used, and the tables that it read from end to end, with the query."""
        used: set[str] = set()
        read: list[str] = []
        for _ in range(TIMES):
            self.plans.clear()
            await operation(self)
            await asyncio.sleep(0)
            for plan in self.plans:
                for node in _nodes(plan["Plan"]):
                    if "Index Name" in node:
                        used.add(node["Index Name"])
                    if node["Node Type"] == "Seq Scan" and node["Relation Name"] in growing:
                        read.append(
                            f"{node['Relation Name']} by {' '.join(plan['Query Text'].split())[:150]}"
                        )
        return used, sorted(set(read))


def _named(node: dict[str, Any], plan: dict[str, Any]) -> str:
    what = node.get("Relation Name") or node["Index Name"]
    return f"{what} by {' '.join(plan['Query Text'].split())[:200]}"


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)


async def _session(database_url: str, role: str = APP) -> Session:
    connection = await asyncpg.connect(database_url)
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="text", encoder=lambda v: msgspec.json.encode(v).decode(), decoder=msgspec.json.decode
    )  # fmt: skip
    await connection.execute("load 'auto_explain'")
    for setting in (
        "log_min_duration = 0", "log_nested_statements = on", "log_format = json", "log_level = notice",
    ):  # fmt: skip
        await connection.execute(f"set auto_explain.{setting}")
    # As the engine is.
    await connection.execute(f"set role {role}")
    return Session(connection)


class Hot:
    """The show that everybody wants, and what is done to it.

    Seats with odd ordinals are given out in order, so that they are free; a first fit takes from the front.
    """

    def __init__(self, show: catalog.Show) -> None:
        self.show = show
        self.free = iter(range(4001, HOT_ROWS * HOT_ROW_SEATS, 2))
        self.random = Random(1)

    def wish(self, **changes: Any) -> Wish:
        places = changes.get("places", 2)
        values: dict[str, Any] = {
            "show_id": self.show.show_id, "terms": 1, "organizer_id": ORGANIZER, "currency": "EUR", "hold_seconds": 120,
            "hold_seconds_max": 900, "buyer_max": 1000, "booking_id": BookingId(new_id()), "reference": new_reference(),
            "key": self.random.randbytes(16), "fingerprint": b"f", "buyer": self.random.randbytes(16),
            "email": "guest@example.org", "name": "Guest", "confirm": False, "places": places, "area": STANDING,
            "split": False, "options": 0, "seats": (), "tiers": (0,) * places, "amounts": (0,) * places,
        }  # fmt: skip
        return Wish(**{**values, **changes})

    def seats(self, count: int) -> list[int]:
        return [next(self.free) for _ in range(count)]

    def named(self) -> dict[str, Any]:
        return {"area": None, "options": 1, "seats": self.seats(2)}

    async def claim(self, session: Session, *wishes: Wish) -> list[str]:
        (row,) = await session.ask(claiming.sql.claim_many, *claiming.claim_arguments([list(wishes)]))
        return list(row["outcomes"])

    async def held(self, session: Session, **changes: Any) -> Wish:
        wish = self.wish(**changes)
        assert await self.claim(session, wish) in (["pending"], ["confirmed"])
        return wish

    async def overdue(self, session: Session, **changes: Any) -> Wish:
        wish = await self.held(session, **changes)
        await session.connection.execute(
            "update bookings set created_at = created_at - interval '1 h', expires_at = expires_at - interval '1 h'"
            f" where show_id = '{wish.show_id}' and booking_id = '{wish.booking_id}'"
        )
        return wish


Operation = Callable[[Hot, Session], Awaitable[None]]


async def claim_standing(hot: Hot, session: Session) -> None:
    assert await hot.claim(session, *(hot.wish() for _ in range(20))) == ["pending"] * 20


async def claim_seats(hot: Hot, session: Session) -> None:
    assert await hot.claim(session, *(hot.wish(**hot.named()) for _ in range(20))) == ["pending"] * 20


async def claim_best(hot: Hot, session: Session) -> None:
    wishes = [hot.wish(area=SEATED, options=4, seats=hot.seats(8)) for _ in range(5)]
    assert await hot.claim(session, *wishes) == ["pending"] * 5


async def claim_first_fit(hot: Hot, session: Session) -> None:
    together = hot.wish(area=SEATED, places=1)
    split = hot.wish(area=SEATED, places=7, split=True)
    assert await hot.claim(session, together, split) == ["pending", "pending"]


async def claim_and_confirm(hot: Hot, session: Session) -> None:
    assert (
        await hot.claim(session, *(hot.wish(confirm=True, **hot.named()) for _ in range(5)))
        == ["confirmed"] * 5
    )


async def claim_again(hot: Hot, session: Session) -> None:
    wish = await hot.held(session)
    assert await hot.claim(session, hot.wish(key=wish.key)) == ["replayed"]


async def claim_taken(hot: Hot, session: Session) -> None:
    taken = (await hot.held(session, **hot.named())).seats
    assert await hot.claim(session, hot.wish(area=None, options=1, seats=taken)) == ["seats_taken"]


async def claim_overdue(hot: Hot, session: Session) -> None:
    taken = (await hot.overdue(session, **hot.named())).seats
    await hot.overdue(session)
    assert await hot.claim(session, hot.wish(area=None, options=1, seats=taken)) == ["pending"]


async def confirm(hot: Hot, session: Session) -> None:
    wish = await hot.held(session)
    (row,) = await session.ask(lifecycle.sql.confirm_booking, wish.show_id, wish.booking_id, False)
    assert row["outcome"] == "confirmed"


async def extend(hot: Hot, session: Session) -> None:
    wish = await hot.held(session)
    (row,) = await session.ask(lifecycle.sql.extend_booking, wish.show_id, wish.booking_id, 60, 900)
    assert row["outcome"] == "extended"


async def cancel(hot: Hot, session: Session) -> None:
    for confirmed in (False, True):
        wish = await hot.held(session, confirm=confirmed, **hot.named())
        (row,) = await session.ask(
            lifecycle.sql.cancel_booking, wish.show_id, wish.booking_id, "by_buyer", False, new_id()
        )
        assert row["outcome"] == "ended"


async def sweep(hot: Hot, session: Session) -> None:
    wish = await hot.overdue(session, **hot.named())
    due = await session.ask(sweeping.sql.shows_overdue)
    assert wish.show_id in {row["show_id"] for row in due}
    (row,) = await session.ask(sweeping.sql.sweep_show, wish.show_id, 1000, new_id())
    assert row["failed"] == [wish.booking_id]


async def block_and_release(hot: Hot, session: Session) -> None:
    sql, block_id, show_id = booking.blocks.sql, new_id(), hot.show.show_id
    (row,) = await session.ask(
        sql.block_places, show_id, block_id, None, 3, hot.seats(3), "House", None, None, new_id()
    )
    assert row["outcome"] == "blocked"
    assert len(await session.ask(sql.blocks_of, show_id, UUID(int=block_id.int - 1), 1)) == 1
    await session.ask(sql.blocks_due)
    (row,) = await session.ask(sql.release_block, show_id, block_id, new_id())
    assert row["found_it"]


async def read_availability(hot: Hot, session: Session) -> None:
    show_id = hot.show.show_id
    assert len(await session.ask(view.sql.snapshot, show_id)) == 1
    assert len(await session.ask(view.sql.heads, [show_id])) == 1
    assert len(await session.ask(view.sql.places_taken, [show_id])) == 1


async def read_booking(hot: Hot, session: Session) -> None:
    wish = await hot.held(session)
    assert len(await session.ask(lifecycle.sql.booking_by_id, wish.show_id, wish.booking_id)) == 1
    assert len(await session.ask(claiming.sql.bookings_made, [wish.show_id], [wish.booking_id])) == 1


async def list_bookings(hot: Hot, session: Session) -> None:
    sql, show_id, last = lifecycle.sql, hot.show.show_id, UUID(int=2**128 - 1)
    for narrowed in ((None, None, None), ("CONFIRMED", None, None), (None, None, "guest@example.org")):
        assert await session.ask(sql.search_bookings, show_id, last, *narrowed, 50)
    reference = (await session.ask(sql.search_bookings, show_id, last, "CONFIRMED", None, None, 1))[0][
        "reference"
    ]
    assert await session.ask(sql.search_bookings, show_id, last, None, reference, None, 50)


async def forget_keys(hot: Hot, session: Session) -> None:
    await session.connection.execute(
        "update idempotency_keys set created_at = created_at - interval '2 days'"
        f" where show_id = '{hot.show.show_id}' and key = '\\x{(await hot.held(session)).key.hex()}'"  # type: ignore[union-attr]
    )
    await session.ask(sweeping.sql.prune_keys, 24)


async def hand_on_facts(hot: Hot, session: Session) -> None:
    await hot.held(session)
    await session.ask(outbox.sql.shows_with_facts, UUID(int=hot.show.show_id.int - 1), 10)
    assert await session.ask(outbox.sql.facts_taken, hot.show.show_id, 1)


async def scan_tickets(hot: Hot, session: Session) -> None:
    """In, in again, told by a device that was away, and what such a device asks for afterwards."""
    wish, show_id, sql = await hot.held(session, confirm=True), hot.show.show_id, door.sql
    for at, accepted in ((None, True), (None, False), (clock.now(), True)):
        (row,) = await session.ask(
            sql.scan_many, show_id, ORGANIZER, None, [new_id()], [wish.booking_id], [1], [0], [None], ["in"], [None], [at]
        )  # fmt: skip
        assert row["scan"]["accepted"] == accepted
    since = clock.now() - timedelta(seconds=1)
    assert await session.ask(sql.changed_page, show_id, since, UUID(int=0), 10, 100)
    assert await session.ask(sql.sold_page, show_id, UUID(int=wish.booking_id.int - 1), 10, 100)
    assert await session.ask(sql.bookings_packed, show_id, [wish.booking_id])


# What each of them must be seen to use.
OPERATIONS: dict[Operation, set[str]] = {
    claim_standing: {"show_heads_pkey", "stock_pkey", "idempotency_keys_pkey", "buyers_pkey"},
    claim_seats: {"claims_pkey", "stock_pkey", "idempotency_keys_pkey"},
    claim_best: {"claims_pkey", "stock_pkey", "idempotency_keys_pkey"},
    claim_first_fit: {"claims_pkey", "seat_rows_pkey", "stock_pkey"},
    claim_and_confirm: {"claims_pkey", "bookings_pkey"},
    claim_again: {"idempotency_keys_pkey"},
    claim_taken: {"claims_pkey", "bookings_pending"},
    claim_overdue: {"claims_pkey", "bookings_pending", "bookings_pkey", "buyers_pkey"},
    confirm: {"bookings_pkey"},
    extend: {"bookings_pkey", "buyers_pkey"},
    cancel: {"show_heads_pkey", "bookings_pkey", "claims_pkey", "stock_pkey", "buyers_pkey"},
    sweep: {"bookings_pending", "bookings_pkey", "claims_pkey"},
    block_and_release: {"claims_pkey", "stock_pkey", "blocks_pkey"},
    read_availability: {"show_heads_pkey", "stock_pkey", "claims_pkey"},
    read_booking: {"bookings_pkey"},
    list_bookings: {"bookings_pkey"},
    forget_keys: {"idempotency_keys_created_at"},
    hand_on_facts: {"outbox_pkey"},
    scan_tickets: {"admissions_pkey", "scans_pkey", "scans_ticket", "bookings_pkey", "bookings_decided"},
}


async def _wrong(hot: Hot, session: Session) -> list[str]:
    wrong = []
    for operation, meant in OPERATIONS.items():

        async def run(session: Session, operation: Operation = operation) -> None:
            await operation(hot, session)

        used, read = await session.watched(run)
        wrong += [f"{operation.__name__} reads all of {what}" for what in read]
        wrong += [f"{operation.__name__} does not use {index}" for index in sorted(meant - used)]
    return wrong


async def _show(engine: Engine, rows: int, seats: int, capacity: int) -> catalog.Show:
    areas = [
        {"name": "Floor", "kind": "standing", "capacity": capacity},
        {"name": "Stalls", "kind": "seated", "rows": [{"label": f"R{i}", "seats": seats} for i in range(rows)]},
    ]  # fmt: skip
    show = await catalog.show_by_id(
        engine.db, await open_show(engine, areas=areas, max_places_per_buyer=1000)
    )
    assert show is not None
    return show


FILL = """
-- Every second seat is taken.
insert into claims select k.show_id, s, gen_random_uuid()
  from stock k cross join generate_series(k.first_seat, k.first_seat + k.capacity - 1, 2) s where k.seated
    on conflict do nothing;
insert into bookings (show_id, booking_id, organizer_id, reference, status, quantity, areas, seats, tiers, amounts, total,
                      currency, created_at, expires_at)
select show_id, gen_random_uuid(), organizer_id, 'ABCDEFGH', 'PENDING', 1, '{1}', '{}', '{0}', '{0}', 0, 'EUR', now(),
       now() + make_interval(mins => 10, secs => i)
  from shows cross join generate_series(1, 20) i;
update stock set reserved = reserved + 20 where not seated;
insert into idempotency_keys
select show_id, decode(md5(show_id::text || i), 'hex'), 'f', gen_random_uuid(), now()
  from shows cross join generate_series(1, 100) i;
insert into buyers select show_id, decode(md5(show_id::text || i), 'hex'), 1, 0
  from shows cross join generate_series(1, 50) i;
insert into outbox (show_id, fact_id, kind, payload)
select show_id, gen_random_uuid(), 'show.changed', '{}' from shows cross join generate_series(1, 50) i;
insert into blocks (show_id, block_id, areas, seats, reason, release_at)
select show_id, gen_random_uuid(), '{2}', '{0}', 'House', now() + interval '1 day'
  from shows cross join generate_series(1, 10) i;
-- Everybody has come to the show that everybody wanted.
insert into admissions (show_id, booking_id, number, organizer_id, inside, entries, entered_scan, entered_at, changed_at)
select show_id, booking_id, 1, organizer_id, true, 1, gen_random_uuid(), created_at, created_at
  from bookings where status = 'CONFIRMED' and show_id = (select show_id from stock order by capacity desc limit 1)
    on conflict do nothing;
insert into scans (show_id, scan_id, organizer_id, booking_id, number, direction, list_id, accepted, reason, uploaded,
                   scanned_at, received_at)
select show_id, entered_scan, organizer_id, booking_id, number, 'in', show_id, true, 'valid', false, entered_at, entered_at
  from admissions where inside on conflict do nothing;
"""


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[Session]:
    opened = await _session(database_url)
    yield opened
    await opened.connection.close()


async def test_every_hot_query_uses_its_index(
    engine: Engine, db: Database, database_url: str, session: Session
) -> None:
    admin = await asyncpg.connect(database_url)
    another = await _session(database_url)
    try:
        # The only ANALYZE is this test's own.
        for (table,) in await admin.fetch("select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"):  # fmt: skip
            await admin.execute(f"alter table {table} set (autovacuum_enabled = off)")
        hot = Hot(await _show(engine, HOT_ROWS, HOT_ROW_SEATS, 1_000_000))
        # Everything is planned while there is nothing, on the connection that will have to live with it.
        await _wrong(hot, session)
        await _fill(engine, db, hot.show)
        assert await admin.fetchval("select count(*) from bookings") > 200_000
        wrong = {
            "planned while the tables were empty": await _wrong(hot, session),
            "planned with the statistics of empty tables": await _wrong(hot, another),
        }
        await admin.execute("analyze")
        wrong["planned again after ANALYZE"] = await _wrong(hot, session)
        fresh = await _session(database_url)
        try:
            wrong["planned first after ANALYZE"] = await _wrong(hot, fresh)
        finally:
            await fresh.connection.close()
    finally:
        await another.connection.close()
        await admin.close()
    found = [f"{when}: {line}" for when, lines in wrong.items() for line in lines]
    assert not found, "\n".join(found)


async def _fill(engine: Engine, db: Database, hot: catalog.Show) -> None:
    for _ in range(SHOWS):
        show = await _show(engine, ROWS, ROW_SEATS, 2 * HISTORY + 1000)
        async with db.transaction() as tx:
            await history.write_history(tx, show, HISTORY)
    async with db.transaction() as tx:
        await history.write_history(tx, hot, HOT_HISTORY)
        await tx.execute(FILL)


# So many that reading all of them is not how any of them is found.
MANY_SHOWS = """
insert into venues (venue_id, organizer_id, name, timezone, city)
select ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, (select organizer_id from organizers limit 1),
       'House ' || i, 'UTC', case when i % 3 = 0 then 'City ' || i / 10 else '' end
  from generate_series(1, 2000) i;
insert into shows (show_id, organizer_id, venue_id, name, start_time, timezone, status, currency, hold_seconds, hold_seconds_max,
                   max_places_per_booking, orphans, focus_x, focus_y)
select gen_random_uuid(), organizer_id, venue_id, 'Show', now() + make_interval(hours => i), 'UTC', 'on_sale', 'EUR', 120, 900, 10,
       'allow', 0, 0
  from venues cross join generate_series(-10, 10) i;
analyze venues; analyze shows;
"""


async def test_lists_of_shows_read_what_they_show(engine: Engine, db: Database, session: Session) -> None:
    show = await _show(engine, 1, 10, 10)
    async with db.transaction() as tx:
        await tx.execute(MANY_SHOWS)
    sql, now = catalog.shows.sql, clock.now()
    narrowed = (now, UUID(int=0), None, None, None, False, None, 50)

    async def lists(session: Session) -> None:
        assert len(await session.ask(sql.list_shows, *narrowed)) == 50
        found = await session.ask(sql.list_shows_in_city, *narrowed, "city 100")
        assert [row["start_time"] for row in found] == sorted(row["start_time"] for row in found)
        assert 20 < len(found) <= 50
        assert len(await session.ask(sql.cities, now, 200)) == 200
        assert (
            len(await session.ask(sql.surroundings, [show.show_id, *(row["show_id"] for row in found)])) > 20
        )

    # The cities are made of all venues, one look at the shows of each.
    used, read = await session.watched(lists, {"shows"})
    assert read == []
    assert {"shows_start_time", "shows_venue", "venues_city", "shows_pkey"} <= used


def _qualifiers(plan: dict[str, Any]) -> set[str]:
    """What is asked of each table's rows in a plan, values apart."""
    found = set()
    for node in _nodes(plan["Plan"]):
        for name in ("Index Cond", "Recheck Cond", "Filter", "Join Filter", "Subplan Name"):
            if name in node:
                text = re.sub(r"'[^']*'(::\w+(\[\])?)?|\$\d+|\b\d+\b", "?", node[name])
                found.add(f"{node.get('Relation Name', node['Node Type'])} {name}: {text}")
    return found


async def test_the_policies_add_nothing_to_what_the_engine_asks(engine: Engine, database_url: str) -> None:
    """As holdfast_app, each statement of a claim has the very qualifiers that it has for the owner of the tables."""
    hot = Hot(await _show(engine, 5, 100, 1_000_000))
    hot.free = iter(range(500))
    seen: dict[str, dict[str, set[str]]] = {}
    for role in ("none", APP):
        session = await _session(database_url, role)
        try:
            for operation in (
                claim_standing,
                claim_taken,
                claim_overdue,
                claim_again,
                confirm,
                extend,
                cancel,
            ):
                await operation(hot, session)
            await asyncio.sleep(0)
            assert await session.connection.fetchval("select current_user") == (
                role if role == APP else await session.connection.fetchval("select session_user")
            )
            seen[role] = {}
            for plan in session.plans:
                text = " ".join(plan["Query Text"].split())
                seen[role].setdefault(text, set()).update(_qualifiers(plan))
        finally:
            await session.connection.close()
    assert len(seen[APP]) > 20
    for text, qualifiers in seen[APP].items():
        assert qualifiers == seen["none"].get(text, qualifiers), text
    assert not any("shows" in each or "organizer" in each for found in seen[APP].values() for each in found)


async def test_control_an_organizers_statements_ask_whose_the_rows_are(
    engine: Engine, database_url: str
) -> None:
    show = await _show(engine, 1, 10, 10)
    session = await _session(database_url, "holdfast_tenant")
    try:
        await session.connection.execute(f"set holdfast.organizer = '{show.organizer_id}'")
        assert len(await session.ask(view.sql.heads, [show.show_id])) == 1
        await asyncio.sleep(0)
        assert any("shows" in str(plan["Plan"]) for plan in session.plans)
    finally:
        await session.connection.close()
