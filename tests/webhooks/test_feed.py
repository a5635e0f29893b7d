"""The feed of facts: one order that never changes, whoever reads it and however late somebody commits."""

import asyncio
from contextlib import suppress
from contextvars import Context
from random import Random
from typing import Any
from uuid import UUID

import pytest

from holdfast import facts
from holdfast.engine import Engine
from holdfast.platform.db import Database, Query, Transaction, UniqueViolation
from holdfast.platform.ids import OrganizerId, new_id
from holdfast.platform.outbox import Fact
from holdfast.webhooks import feed

pytestmark = pytest.mark.anyio

WRITERS = 6
EACH = 40
NUMBERERS = 3
# What the feed does not do: a position when the row is written, whoever commits first.
AT_ONCE = """insert into facts (organizer_id, fact_id, kind, at, payload, in_feed, position)
             values ($1, $2, 'booking.confirmed', '', '{}', true, nextval('positions'))"""


async def stored(tx: Transaction, house: OrganizerId, kind: str = facts.BOOKING_CONFIRMED) -> UUID:
    fact = Fact(new_id(), kind, new_id(), "2026-01-01T00:00:00.000Z", {"organizer_id": str(house)})
    assert await feed.store(tx, house, fact.show_id, [fact], not_in_feed=()) == {fact.id}
    return fact.id


async def filled(
    engine: Engine, house: OrganizerId, count: int, kind: str = facts.BOOKING_CONFIRMED
) -> list[UUID]:
    async with engine.db.transaction() as tx:
        return [await stored(tx, house, kind) for _ in range(count)]


def ids(page: feed.Page) -> list[UUID]:
    return [fact.id for fact in page.facts]


async def test_facts_are_read_page_by_page_and_on_from_the_end(engine: Engine, house: OrganizerId) -> None:
    known = await filled(engine, house, 5)
    assert await feed.number(engine.db) == 5
    first = await feed.read(engine.db, house, None, 2)
    second = await feed.read(engine.db, house, first.position, 3)
    assert ids(first) + ids(second) == known
    assert (first.more, second.more) == (True, False)
    end = await feed.read(engine.db, house, second.position, 10)
    assert (end.facts, end.position, end.more) == ([], second.position, False)
    later = await filled(engine, house, 1)
    assert (await feed.read(engine.db, house, end.position, 10)).facts == [], "it has no position yet"
    await feed.number(engine.db)
    assert ids(await feed.read(engine.db, house, end.position, 10)) == later


async def test_some_kinds_alone_even_where_they_are_rare(
    engine: Engine, house: OrganizerId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOKED_AT_MAX", 4)
    await filled(engine, house, 9)
    wanted = await filled(engine, house, 3, facts.SHOW_CREATED)
    await filled(engine, house, 2)
    await feed.number(engine.db)
    found, position, pages, more = [], None, 0, True
    while more:
        page = await feed.read(engine.db, house, position, 2, [facts.SHOW_CREATED])
        found += ids(page)
        position, more, pages = page.position, page.more, pages + 1
    assert found == wanted
    assert pages > 3, "some of them were empty"
    assert await engine.db.value("select position from feeds") == position == 14


async def test_each_organizer_has_a_feed_of_its_own(engine: Engine, house: OrganizerId) -> None:
    rival = OrganizerId(new_id())
    await engine.db.execute("insert into organizers (organizer_id, name) values ($1, 'Rivals')", rival)
    ours, theirs = await filled(engine, house, 2), await filled(engine, rival, 3)
    assert await feed.number(engine.db) == 5
    assert ids(await feed.read(engine.db, house, None, 10)) == ours
    assert ids(await feed.read(engine.db, rival, None, 10)) == theirs
    # How much the others sell cannot be told from a position.
    assert (await feed.read(engine.db, house, None, 10)).position == 2
    # Asked for another's, an organizer's connection finds nothing.
    assert (await feed.read(engine.db.of(house), rival, None, 10)).facts == []
    assert ids(await feed.read(engine.db.of(rival), rival, None, 10)) == theirs


async def test_behind_what_was_forgotten_nobody_reads_on(engine: Engine, house: OrganizerId) -> None:
    known = await filled(engine, house, 4)
    await feed.number(engine.db)
    began = (await feed.read(engine.db, house, None, 1)).position
    await engine.db.execute(
        "update facts set stored_at = now() - interval '31 days' where fact_id = any ($1::uuid[])", known[:2]
    )
    assert await feed.forget_old(engine.db) == 2
    with pytest.raises(feed.FactsForgotten):
        await feed.read(engine.db, house, began, 10)
    assert ids(await feed.read(engine.db, house, None, 10)) == known[2:]
    assert ids(await feed.read(engine.db, house, 2, 10)) == known[2:]
    # The whole of it, too; positions go on where they were.
    await engine.db.execute("update facts set stored_at = now() - interval '31 days'")
    assert await feed.forget_old(engine.db) == 2
    assert await feed.read(engine.db, house, None, 10) == feed.Page([], 4, False)
    later = await filled(engine, house, 1)
    await feed.number(engine.db)
    assert ids(await feed.read(engine.db, house, 4, 10)) == later


async def test_a_cursor_of_a_feed_that_was_restored_is_refused(engine: Engine, house: OrganizerId) -> None:
    with pytest.raises(feed.FactsForgotten):
        await feed.read(engine.db, house, 7, 10)


async def test_what_was_only_sent_is_forgotten_sooner(engine: Engine, house: OrganizerId) -> None:
    (kept,) = await filled(engine, house, 1)
    async with engine.db.transaction() as tx:
        ping = Fact(new_id(), "webhook.ping", new_id(), "", {})
        await feed.store(tx, house, None, [ping], not_in_feed={ping.kind})
    await engine.db.execute("update facts set stored_at = now() - interval '8 days'")
    assert await feed.forget_old(engine.db) == 1
    assert [row["fact_id"] for row in await engine.db.rows("select fact_id from facts")] == [kept]


async def test_what_is_committed_late_is_not_skipped(engine: Engine, house: OrganizerId) -> None:
    late = engine.db.transaction()
    tx = await late.__aenter__()
    first = await stored(tx, house)
    (second,) = await _elsewhere(filled(engine, house, 1))
    await _elsewhere(feed.number(engine.db))
    page = await _elsewhere(feed.read(engine.db, house, None, 10))
    assert ids(page) == [second]
    await late.__aexit__(None, None, None)
    await feed.number(engine.db)
    assert ids(await feed.read(engine.db, house, page.position, 10)) == [first]


async def test_control_a_position_given_when_it_is_written_is_skipped(
    db: Database, engine: Engine, house: OrganizerId
) -> None:
    await db.execute("create sequence positions")
    await db.execute("grant usage on sequence positions to holdfast_app")
    await db.execute("insert into feeds (organizer_id, position) values ($1, 1000)", house)
    late = engine.db.transaction()
    tx = await late.__aenter__()
    first, second = new_id(), new_id()
    await tx.execute(AT_ONCE, house, first)
    await _elsewhere(engine.db.execute(AT_ONCE, house, second))
    page = await _elsewhere(feed.read(engine.db, house, None, 10))
    assert ids(page) == [second]
    await late.__aexit__(None, None, None)
    assert ids(await feed.read(engine.db, house, page.position, 10)) == [], "the guard is what it takes"


async def _elsewhere(asked: Any) -> Any:
    """Done in a task of its own, which has no transaction open."""
    return await asyncio.get_running_loop().create_task(asked, context=Context())


async def crowd(engine: Engine, house: OrganizerId) -> tuple[set[UUID], list[UUID]]:
    """Writers that commit late or never, several numberers, and one reader; what was written, and what was read."""
    random, written, read = Random(7), set[UUID](), list[UUID]()
    written_all, numbered_all = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        for _ in range(EACH):
            with suppress(ZeroDivisionError):
                async with engine.db.transaction() as tx:
                    made = [await stored(tx, house) for _ in range(random.randint(1, 3))]
                    await asyncio.sleep(random.choice((0, 0, 0.002, 0.02)))
                    assert random.random() < 0.9 or 1 / 0
                written.update(made)

    async def number() -> None:
        while not written_all.is_set():
            await feed.number(engine.db)

    async def tail() -> None:
        position: int | None = None
        is_last = False
        while not is_last:
            was_all = numbered_all.is_set()
            page = await feed.read(engine.db, house, position, 7)
            read.extend(ids(page))
            position, is_last = page.position, was_all and not page.facts

    async with asyncio.TaskGroup() as readers:
        readers.create_task(tail())
        async with asyncio.TaskGroup() as numberers:
            for _ in range(NUMBERERS):
                numberers.create_task(number())
            async with asyncio.TaskGroup() as writers:
                for _ in range(WRITERS):
                    writers.create_task(write())
            written_all.set()
        await feed.number(engine.db)
        numbered_all.set()
    return written, read


async def test_a_reader_beside_a_crowd_of_writers_reads_each_fact_once(
    engine: Engine, house: OrganizerId
) -> None:
    written, read = await crowd(engine, house)
    assert len(read) == len(set(read))
    assert set(read) == written
    positions = [
        row["position"] for row in await engine.db.rows("select position from facts order by position")
    ]
    assert positions == list(range(1, len(written) + 1))
    assert ids(await feed.read(engine.db, house, None, len(written))) == read


async def test_control_numberers_that_take_no_turns_break_it(
    engine: Engine, house: OrganizerId, monkeypatch: pytest.MonkeyPatch
) -> None:
    unheld = Query("test.feed_held", "select position from feeds where organizer_id = $1")
    monkeypatch.setattr(feed.sql, "feed_held", unheld)
    with pytest.raises(BaseExceptionGroup) as broken:
        await crowd(engine, house)
    # Two gave out the same positions; that they are unique in the table is the last word.
    assert broken.group_contains(UniqueViolation)
