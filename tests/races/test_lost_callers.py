"""Callers who go away, queues that are full, and answers that do not come in time: never half a booking."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from holdfast import booking
from holdfast.booking import Asker, ClaimRequest
from holdfast.engine import Engine
from holdfast.platform.db import Database
from holdfast.platform.errors import Busy, IdempotencyMismatch
from holdfast.platform.ids import ShowId, new_id
from tests.conftest import client_of, eventually
from tests.races import checker
from tests.races.crowd import claimer_of, held_head, open_show, promise_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PLACES = 20


async def _show(engine: Engine) -> ShowId:
    show = await open_show(engine, areas=[{"name": "Floor", "kind": "standing", "capacity": PLACES}])
    await engine.office.views.get(show)
    return show


def _ask(
    engine: Engine, show: ShowId, key: bytes | None = None, fingerprint: bytes = b""
) -> "asyncio.Task[booking.Claimed]":
    """A caller who wants one place."""
    request = ClaimRequest(quantity=1)
    return asyncio.create_task(booking.claim(engine.office, show, request, Asker(key, fingerprint)))


async def _gone(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _bookings(engine: Engine) -> int:
    return int(await engine.db.value("select count(*) from bookings"))


async def test_who_goes_away_before_the_batch_is_sent_has_no_booking(
    engine: Engine, database_url: str
) -> None:
    show = await _show(engine)
    async with held_head(database_url, show) as head:
        first = _ask(engine, show)
        await head.waited_for_by(1)
        queued = [_ask(engine, show, key) for key in (None, new_id().bytes) * 5]
        await asyncio.sleep(0)
        await _gone(*queued[:4])
        await head.let_go()
        told = [await task for task in (first, *queued[4:])]
    promises = [promise_of(claimed.booking) for claimed in told]
    assert await checker.violations(database_url, promises, all_promised=True) == []
    assert len(promises) == 7
    assert claimer_of(engine)._waiting == 0
    assert claimer_of(engine)._by_key == {}


async def test_who_goes_away_after_the_batch_was_sent_has_a_whole_booking(
    engine: Engine, database_url: str
) -> None:
    """It is found again by its key; without one it runs out as every hold does."""
    show, key = await _show(engine), new_id().bytes
    async with held_head(database_url, show) as head:
        first = _ask(engine, show, key)
        await head.waited_for_by(1)
        await _gone(first)
        await head.let_go()
        again = (await _ask(engine, show, key)).booking
    assert await checker.violations(database_url, [promise_of(again)], all_promised=True) == []
    assert await engine.db.value("select reserved from stock") == 1


async def test_an_equal_claim_that_waits_keeps_the_first_one_alive(engine: Engine, database_url: str) -> None:
    show, key = await _show(engine), new_id().bytes
    async with held_head(database_url, show) as head:
        first = _ask(engine, show)
        await head.waited_for_by(1)
        leader, follower = _ask(engine, show, key), _ask(engine, show, key)
        stranger = _ask(engine, show, key, b"something else")
        await asyncio.sleep(0)
        await _gone(leader)
        await head.let_go()
        told = [await first, await follower]
        with pytest.raises(IdempotencyMismatch):
            await stranger
    promises = [promise_of(claimed.booking) for claimed in told]
    assert await checker.violations(database_url, promises, all_promised=True) == []


async def test_when_the_last_of_equal_claims_goes_away_the_key_is_free(
    engine: Engine, database_url: str
) -> None:
    show, key = await _show(engine), new_id().bytes
    async with held_head(database_url, show) as head:
        first = _ask(engine, show)
        await head.waited_for_by(1)
        equals = [_ask(engine, show, key) for _ in range(3)]
        other = _ask(engine, show, key, b"something else")
        await asyncio.sleep(0)
        await _gone(*equals)
        await head.let_go()
        told = [await first, await other]
    promises = [promise_of(claimed.booking) for claimed in told]
    assert await checker.violations(database_url, promises, all_promised=True) == []


async def test_a_crowd_of_which_anybody_may_leave_at_any_time(
    engines: list[Engine], database_url: str
) -> None:
    show = await open_show(engines[0], areas=[{"name": "Floor", "kind": "standing", "capacity": 5000}])

    async def caller(number: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(number % 50 / 2000):
                await _ask(engines[number % 2], show, new_id().bytes if number % 3 else None)

    await asyncio.gather(*(caller(number) for number in range(600)))

    async def at_rest() -> bool:
        return all(claimer_of(each)._waiting == 0 for each in engines)

    await eventually(at_rest)
    for each in engines:
        await each.office.claimer.stop()
        await each.office.views.get(show)
    assert await checker.violations(database_url) == []
    for each in engines:
        assert claimer_of(each)._by_key == {}


async def test_a_full_queue_says_so_and_when_to_come_back(
    engine: Engine, database_url: str, open_another: Callable[..., Any]
) -> None:
    show = await _show(engine)
    async with (
        open_another(claim_queue_max=3) as small,
        client_of(small) as client,
        held_head(database_url, show) as head,
    ):
        await small.office.views.get(show)
        told = [_ask(small, show)]
        await head.waited_for_by(1)
        told += [_ask(small, show) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await _ask(small, show)
        answer = await client.post(f"/v1/shows/{show}/bookings", json={"quantity": 1})
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        # A place in the queue that somebody leaves is somebody else's.
        await _gone(told.pop())
        told.append(_ask(small, show))
        await asyncio.sleep(0)
        await head.let_go()
        promises = [promise_of((await task).booking) for task in told]
    assert len(promises) == 4
    assert await checker.violations(database_url, promises, all_promised=True) == []


async def test_an_answer_that_does_not_come_in_time(
    engine: Engine, database_url: str, open_another: Callable[..., Any]
) -> None:
    show, key = await _show(engine), new_id().bytes
    async with (
        open_another(claim_seconds=0.2) as hasty,
        client_of(hasty) as client,
        held_head(database_url, show) as head,
    ):
        with pytest.raises(Busy):
            await _ask(hasty, show, key)
        answer = await client.post(f"/v1/shows/{show}/bookings", json={"quantity": 1})
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        await head.let_go()
        await hasty.office.claimer.stop()
        # The first was sent and is there, under its key; the second never left the queue.
        again = (await _ask(engine, show, key)).booking
    assert await checker.violations(database_url, [promise_of(again)], all_promised=True) == []


async def test_a_claim_that_meets_others_too_often_is_told_to_come_back(
    engine: Engine, db: Database, database_url: str, open_another: Callable[..., Any]
) -> None:
    show = await _show(engine)
    await db.execute(
        "do $$ begin execute format('alter database %I set lock_timeout = 20', current_database()); end $$"
    )
    async with open_another() as crowded, held_head(database_url, show):
        with pytest.raises(Busy):
            await _ask(crowded, show)
    assert await _bookings(engine) == 0


async def test_a_connection_that_is_lost_in_mid_batch(engine: Engine, database_url: str) -> None:
    """Nobody is told of a booking that is not there, and the next claim finds a new connection."""
    show, keys = await _show(engine), [new_id().bytes for _ in range(5)]
    async with held_head(database_url, show) as head:
        asking = [_ask(engine, show, key) for key in keys]
        await head.waited_for_by(1)
        await _end_waiting_sessions(database_url)
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Busy] * 5
        assert all(isinstance(answer, Busy) and answer.retry_after for answer in answers)
    assert await _bookings(engine) == 0
    told = await asyncio.gather(*(_ask(engine, show, key) for key in keys))
    promises = [promise_of(claimed.booking) for claimed in told]
    assert await checker.violations(database_url, promises, all_promised=True) == []


async def test_an_answer_that_is_lost_after_the_commit_is_looked_up(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim was committed, and the connection went before the answer came."""
    show = await _show(engine)
    rows: Callable[..., Awaitable[Any]] = engine.db.rows
    lost = 0

    async def losing(query: Any, *args: Any) -> Any:
        nonlocal lost
        answer = await rows(query, *args)
        if getattr(query, "name", "") == "booking.claim_many":
            lost += 1
            raise Busy("The connection was lost.")
        return answer

    monkeypatch.setattr(engine.db, "rows", losing)
    told = await asyncio.gather(*(_ask(engine, show, new_id().bytes) for _ in range(5)))
    assert lost >= 1
    promises = [promise_of(claimed.booking) for claimed in told]
    assert await checker.violations(database_url, promises, all_promised=True) == []


async def _end_waiting_sessions(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "select pg_terminate_backend(l.pid) from pg_locks l join pg_stat_activity a on a.pid = l.pid"
            " where not l.granted and a.datname = current_database()"
        )
    finally:
        await connection.close()
