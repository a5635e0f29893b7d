"""Two bookings that are put on one address at once: together they have no more than one buyer may."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from holdfast import booking
from holdfast.booking import Asker, ClaimRequest, Customer, LimitReached
from holdfast.booking.customer_later import name_customer
from holdfast.engine import Engine
from holdfast.platform.ids import ShowId
from tests.conftest import eventually
from tests.races import checker
from tests.races.crowd import open_show, together

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

FUNCTION = Path(booking.__file__).with_name("customer_functions.sql")
HEAD = "perform from show_heads h where h.show_id = p_show_id for no key update;"
BETWEEN = "update buyers y set places = greatest"
FLOOR = [{"name": "Floor", "kind": "standing", "capacity": 100}]
GUEST = Customer(email="guest@example.org", name="Guest")
LIMIT = 4


async def _held(engine: Engine, show: ShowId) -> booking.Booking:
    return (await booking.claim(engine.office, show, ClaimRequest(quantity=3), Asker())).booking


async def _name(engine: Engine, made: booking.Booking) -> bool:
    try:
        async with engine.db.transaction() as tx:
            await name_customer(tx, engine.secrets, made.show_id, made.booking_id, GUEST)
    except LimitReached:
        return False
    return True


async def _places(engine: Engine) -> int:
    count: int = await engine.db.value(
        "select coalesce(sum(quantity), 0) from bookings where email is not null and status = 'PENDING'"
    )
    return count


async def test_one_of_many_that_want_one_address_at_once_has_it(
    engines: list[Engine], database_url: str
) -> None:
    show = await open_show(engines[0], areas=FLOOR, max_places_per_buyer=LIMIT)
    held = [await _held(engines[i % 2], show) for i in range(10)]
    done = await together(_name(engines[i % 2], made) for i, made in enumerate(held))
    assert done.count(True) == 1
    assert await _places(engines[0]) == 3 <= LIMIT
    assert await checker.violations(database_url) == []


@pytest.mark.parametrize("with_head", [True, False])
async def test_control_without_the_head_both_have_it(
    engines: list[Engine], database_url: str, *, with_head: bool
) -> None:
    """Both are stopped after they have looked at what the address has, and before either writes, where nothing makes them
    take turns.
    """
    text = FUNCTION.read_text("utf-8")
    assert text.count(HEAD) == text.count(BETWEEN) == 1, "the guard is not where this test looks for it"
    stopped = text.replace(BETWEEN, f"perform pg_advisory_xact_lock_shared(1);\n    {BETWEEN}")
    show = await open_show(engines[0], areas=FLOOR, max_places_per_buyer=LIMIT)
    held = [await _held(engine, show) for engine in engines]
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(stopped if with_head else stopped.replace(HEAD, ""))
        await connection.execute("select pg_advisory_lock(1)")
        both = asyncio.create_task(together(_name(*each) for each in zip(engines, held, strict=True)))

        async def both_wait() -> bool:
            waiting = await connection.fetchval("select count(*) from pg_locks where not granted")
            return bool(waiting >= 2)

        await eventually(both_wait)
        await connection.execute("select pg_advisory_unlock(1)")
        done = await both
    finally:
        await connection.close()
    assert done.count(True) == (1 if with_head else 2)
    assert (await _places(engines[0]) <= LIMIT) is with_head
