"""The queue in front under crowds, with several deciders, and with deciders that die on the way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from time import sleep
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
import pytest

from holdfast import booking
from holdfast.booking import Asker, ClaimRequest, queueing
from holdfast.engine import Engine
from holdfast.platform.db import Database, Query
from holdfast.platform.ids import BookingId, ShowId, new_id
from tests.conftest import eventually
from tests.races import checker
from tests.races.checker import Promise
from tests.races.crowd import held_head, open_show, together

pytestmark = pytest.mark.anyio

CLAIMS = 200
SEATS = 60
# Who came when, noted by the database itself, because a claim that was granted leaves the queue.
ARRIVALS = """
create table arrivals (show_id uuid, position bigint, booking_id uuid, request jsonb);
create function arrived() returns trigger language plpgsql as $$
begin
  insert into arrivals values (new.show_id, new.position, new.booking_id, new.request);
  return null;
end $$;
create trigger arrived after insert on queued_claims for each row execute function arrived()"""


class Ended(NamedTuple):
    """A claim in the order of arrival: what it asked for, and what became of it."""

    booking_id: UUID
    request: ClaimRequest
    status: str
    reason: str | None
    places: int


def _pair(random: Random) -> ClaimRequest:
    return ClaimRequest(
        seats=[str(seat) for seat in random.sample(range(1, SEATS + 1), random.choice((1, 1, 2)))]
    )


def _some(random: Random) -> ClaimRequest:
    return ClaimRequest(quantity=random.choice((1, 1, 2, 3)))


def _seats_by_arrival(ended: list[Ended]) -> list[str]:
    taken: set[str] = set()
    said = []
    for each in ended:
        wanted = set(each.request.seats or ())
        said.append("FAILED" if wanted & taken else "PENDING")
        if said[-1] == "PENDING":
            taken |= wanted
    return said


def _places_by_arrival(ended: list[Ended]) -> list[str]:
    left, said = SEATS, []
    for each in ended:
        wanted = each.request.quantity or 0
        said.append("PENDING" if wanted <= left else "FAILED")
        if wanted <= left:
            left -= wanted
    return said


async def _ended(engine: Engine, show_id: ShowId) -> list[Ended]:
    rows = await engine.db.rows(
        "select booking_id, request from arrivals where show_id = $1 order by position", show_id
    )
    found = [await booking.booking_or_queued(engine.db, show_id, row["booking_id"]) for row in rows]
    return [
        Ended(row["booking_id"], msgspec.convert(row["request"], ClaimRequest), each.status, each.reason, len(each.areas))
        for row, each in zip(rows, found, strict=True)
    ]  # fmt: skip


@asynccontextmanager
async def deciders(engines: list[Engine]) -> AsyncIterator[None]:
    """Two of them in each process, as workers do it, until the end of the block."""
    stopping = asyncio.Event()

    async def decide(engine: Engine) -> None:
        while not stopping.is_set():
            await booking.decide_queued(engine.office)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for engine in engines * 2:
            group.create_task(decide(engine))
        try:
            yield
        finally:
            stopping.set()


async def _queue(engine: Engine, show_id: ShowId, request: ClaimRequest) -> BookingId:
    return (await booking.enqueue(engine.office, show_id, request, Asker(new_id().bytes))).booking.booking_id


async def _waiting(engine: Engine) -> int:
    count: int = await engine.db.value("select count(*) from queued_claims where reason is null")
    return count


@pytest.mark.parametrize("kind", ["seats", "places"])
async def test_two_hundred_claims_are_decided_in_the_order_of_arrival(
    kind: str, engines: list[Engine], db: Database, database_url: str
) -> None:
    area: dict[str, dict[str, Any]] = {"seats": {"kind": "seated", "rows": [{"label": "A", "seats": SEATS}]}, "places": {"kind": "standing", "capacity": SEATS}}  # fmt: skip
    shows = [await open_show(engines[0], areas=[{"name": "Main", **area[kind]}]) for _ in range(3)]
    await db.execute(ARRIVALS)
    wish, by_arrival = {"seats": (_pair, _seats_by_arrival), "places": (_some, _places_by_arrival)}[kind]
    random = Random(kind)
    async with deciders(engines):
        # One show that everybody wants, and two that must not be held up by it.
        told = await together(
            _queue(engines[i % 2], shows[0 if i % 4 else 1 + i % 8 // 4], wish(random)) for i in range(CLAIMS)
        )

        async def all_decided() -> bool:
            return await _waiting(engines[0]) == 0

        await eventually(all_decided)

    promises, count = [], 0
    for show_id in shows:
        ended = await _ended(engines[0], show_id)
        count += len(ended)
        assert [each.status for each in ended] == by_arrival(ended)
        assert {each.reason for each in ended} <= {None, "seats_taken", "sold_out"}
        promises += [Promise(show_id, each.booking_id, "PENDING", each.places) for each in ended if each.status == "PENDING"]  # fmt: skip
    assert count == len(set(told)) == CLAIMS
    if kind == "places":
        assert sum(promise.quantity for promise in promises if promise.show_id == shows[0]) == SEATS
    assert await checker.violations(database_url, promises, all_promised=True) == []
    failed = await engines[0].db.value("select count(*) from outbox where kind = 'booking.failed'")
    assert failed == CLAIMS - len(promises)


async def test_a_claim_that_is_stored_first_is_decided_first(
    engines: list[Engine], database_url: str
) -> None:
    """Its place is given, but it is not there for others yet: whoever comes behind it waits to be there, too."""
    show_id = await open_show(engines[0], total_seats=1)
    request = {"seats": ["1"]}
    slow = await asyncpg.connect(database_url)
    await slow.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda v: msgspec.json.encode(v).decode(),
        decoder=msgspec.json.decode,
    )
    try:
        storing = slow.transaction()
        await storing.start()
        first = BookingId(new_id())
        await slow.fetchrow(
            queueing.sql.queue_claim.text,
            show_id,
            first,
            new_id(),
            "FIRST",
            None,
            b"",
            request,
            1,
            "EUR",
            100,
            None,
        )
        second = asyncio.create_task(_queue(engines[1], show_id, ClaimRequest(seats=["1"])))

        async def it_waits() -> bool:
            return bool(await engines[0].db.value("select count(*) from pg_locks where not granted"))

        await eventually(it_waits)
        assert await booking.decide_queued(engines[0].office) == 0
        await storing.commit()
    finally:
        await slow.close()
    behind = await second
    assert await booking.decide_queued(engines[0].office) == 2
    found = [await booking.booking_or_queued(engines[0].db, show_id, each) for each in (first, behind)]
    assert [(each.status, each.reason) for each in found] == [("PENDING", None), ("FAILED", "seats_taken")]


@pytest.mark.parametrize("mark", ["claims_granted", "claims_refused"])
async def test_a_decider_that_fails_between_decision_and_mark(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    show_id = await open_show(engine, total_seats=2)
    told = [await _queue(engine, show_id, ClaimRequest(seats=[seat])) for seat in ("1", "1", "2")]
    with monkeypatch.context() as broken:
        broken.setattr(queueing.sql, mark, Query("broken", f"{getattr(queueing.sql, mark).text} and 1 / (select 0) = 1" if mark == "claims_granted" else "select $1::uuid, $2::bigint[], $3::text[], $4::uuid[], 1 / (select 0)"))  # fmt: skip
        assert await booking.decide_queued(engine.office) == 0
    assert await _waiting(engine) == 3
    assert await engine.db.value("select count(*) from bookings") == 0
    assert await booking.decide_queued(engine.office) == 3
    found = [await booking.booking_or_queued(engine.db, show_id, each) for each in told]
    assert [each.status for each in found] == ["PENDING", "FAILED", "PENDING"]
    promises = [Promise(show_id, each.booking_id, "PENDING", 1) for each in found if each.status == "PENDING"]
    assert await checker.violations(database_url, promises, all_promised=True) == []


async def test_a_decider_that_is_killed_in_the_middle(engines: list[Engine], database_url: str) -> None:
    """It has taken the claims and waits for the show; another has been waiting for those claims, and goes on."""
    show_id = await open_show(engines[0], total_seats=3)
    told = [await _queue(engines[0], show_id, ClaimRequest(seats=[seat])) for seat in ("1", "2", "3")]
    async with held_head(database_url, show_id) as head:
        dying = asyncio.create_task(booking.decide_queued(engines[0].office))
        await head.waited_for_by(1)
        waiting = asyncio.create_task(booking.decide_queued(engines[1].office))
        await head.waited_for_by(2)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        await head.let_go()
        assert await waiting == 3
    assert await booking.decide_queued(engines[0].office) == 0
    promises = [Promise(show_id, each, "PENDING", 1) for each in told]
    assert await checker.violations(database_url, promises, all_promised=True) == []


async def test_a_decider_that_freezes_lets_go(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process under SIGSTOP between decision and mark: the server ends its transaction, with the show's lock."""
    show_id = await open_show(engine, total_seats=1)
    told = await _queue(engine, show_id, ClaimRequest(seats=["1"]))

    def frozen(*_: Any, **__: Any) -> None:
        # Blocks the whole loop, as nothing in this process may answer meanwhile.
        sleep(1.5)

    with monkeypatch.context() as freezing:
        freezing.setattr(queueing, "SILENCE_MAX", "300ms")
        freezing.setattr(queueing, "_settle", frozen)
        assert await booking.decide_queued(engine.office) == 0
    assert await engine.db.value("select count(*) from bookings") == 0
    assert await booking.decide_queued(engine.office) == 1
    promise = Promise(show_id, told, "PENDING", 1)
    assert await checker.violations(database_url, [promise], all_promised=True) == []


async def test_cancelling_against_deciding(engines: list[Engine], database_url: str) -> None:
    """Each claim is let go while it is decided: it is never made, or made and then let go; in no case both or neither."""
    show_id = await open_show(engines[0], total_seats=100)
    told = await together(
        _queue(engines[i % 2], show_id, ClaimRequest(seats=[str(i + 1)])) for i in range(100)
    )

    async def let_go(booking_id: BookingId) -> str:
        found = await booking.booking_or_queued(engines[0].db, show_id, booking_id)
        async with engines[0].db.transaction() as tx:
            if found.status == "QUEUED":
                found = await booking.let_queued_go(tx, found)
            if found.status == "PENDING":
                found = await booking.cancel(
                    tx, engines[0].office, show_id, booking_id, "by_buyer", sold_too=False
                )
        return found.status

    async with deciders(engines):
        statuses = await together(let_go(each) for each in told)

        async def all_decided() -> bool:
            return await _waiting(engines[0]) == 0

        await eventually(all_decided)
    assert set(statuses) == {"FAILED"}
    assert await engines[0].db.value("select count(*) from claims") == 0
    assert await checker.violations(database_url) == []
    unmade = await engines[0].db.value("select count(*) from queued_claims where reason = 'released'")
    made = await engines[0].db.value("select count(*) from bookings where reason = 'released'")
    assert unmade + made == 100


async def test_a_second_process_queues_under_the_same_key(
    engines: list[Engine], a_show: Callable[..., Any]
) -> None:
    show_id = ShowId(UUID((await a_show())["id"]))
    asker = Asker(new_id().bytes, b"same")
    told = await together(
        booking.enqueue(engines[i % 2].office, show_id, ClaimRequest(seats=["1"]), asker) for i in range(50)
    )
    assert len({each.booking.booking_id for each in told}) == 1
    assert sum(not each.replayed for each in told) == 1
    assert await _waiting(engines[0]) == 1
