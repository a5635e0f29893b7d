"""Each guard that is taken away is noticed. A guard whose absence nobody notices is one that nobody tests."""

import asyncio
from random import Random

import pytest

from holdfast import booking
from holdfast.booking import Asker, ClaimRequest
from holdfast.engine import Engine, open_engine
from holdfast.platform.ids import BookingId, ShowId
from holdfast.platform.settings import Settings
from tests.conftest import eventually
from tests.races.crowd import claims, held_head, open_show
from tests.simulation.box_office import BoxOffice
from tests.simulation.history import History, read_tables, record_facts
from tests.simulation.inprocess import execute
from tests.simulation.judge import judge
from tests.simulation.mutants import CIRCLE, MUTANTS, Mutant, mutate

pytestmark = pytest.mark.slow

SEED = 2
STEPS_MAX = 400
# So that nobody goes on for long with what is already broken.
STEPS_JUDGED = 40
ONE = ClaimRequest(seats=["1"])


# Every kind of answer that a walk must have met: what nobody asked for is not guarded by anybody's asking.
MET = {
    ("claim", ""), ("claim", "seats_taken"), ("claim", "sold_out"), ("claim", "not_together"), ("claim", "not_on_sale"),
    ("claim", "limit_reached"), ("claim", "idempotency_mismatch"), ("confirm", ""), ("confirm", "hold_expired"),
    ("confirm", "booking_ended"), ("extend", ""), ("extend", "hold_expired"), ("extend", "hold_limit"), ("cancel", ""),
    ("block", ""), ("block", "seats_taken"), ("unblock", ""), ("edit", ""), ("edit", "capacity_below_sold"),
}  # fmt: skip


def test_the_product_as_it_is_passes(box_office: type[BoxOffice]) -> None:
    office = box_office()
    office.open(longest=100)
    office.walk(Random(SEED), STEPS_MAX)
    assert not office.judged()
    assert {(call.do, call.code) for call in office.history.calls} >= MET


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught(mutant: Mutant, box_office: type[BoxOffice]) -> None:
    """By the very steps that find nothing in the product as it is: they follow from a seed, and from no clock."""
    asyncio.run(mutate(box_office.url, mutant))
    office, random = box_office(), Random(SEED)
    office.open(longest=100)
    rules: list[str] = []
    for _ in range(0, STEPS_MAX, STEPS_JUDGED):
        office.walk(random, STEPS_JUDGED)
        rules = [each.rule for each in office.judged()]
        if any(rule in mutant.caught for rule in rules):
            return
    pytest.fail(f"nobody noticed; other rules said: {sorted(set(rules))}")


@pytest.mark.anyio
@pytest.mark.parametrize("mutant", [None, CIRCLE], ids=["as it is", CIRCLE.name])
async def test_locks_in_another_order_are_told_by_the_servers_count(
    mutant: Mutant | None, settings: Settings, engine: Engine, database_url: str
) -> None:
    """Who needs a seat meets who cancels the overdue hold that has it, in the worst order."""
    show = await open_show(engine, total_seats=1)
    await record_facts(database_url)
    [held] = await claims(engine, show, [ONE])
    await execute(
        database_url, "update bookings set created_at = created_at - interval '1 h', expires_at = created_at"
    )
    if mutant is not None:
        await mutate(database_url, mutant)
    async with open_engine(settings) as other, held_head(database_url, show) as head:
        claiming = asyncio.create_task(booking.claim(other.office, show, ONE, Asker()))
        await head.waited_for_by(1)
        cancelling = asyncio.create_task(_cancel(other, show, held.booking_id))
        await head.waited_for_by(2)
        await head.let_go()
        outcomes = await asyncio.gather(claiming, cancelling, return_exceptions=True)
    assert mutant or not any(isinstance(outcome, BaseException) for outcome in outcomes)
    told: list[str] = []

    async def counted() -> bool:
        # Sessions tell their counts when they have the time, and before they are gone.
        history = History()
        await read_tables(history, database_url)
        history.close()
        told[:] = [each.rule for each in judge(history)]
        return bool(told) == bool(mutant)

    await eventually(counted)
    assert told == (["end: deadlock"] if mutant else [])


async def _cancel(engine: Engine, show: ShowId, booking_id: BookingId) -> None:
    async with engine.db.transaction() as tx:
        await booking.cancel(tx, engine.office, show, booking_id, "by_buyer", sold_too=True)
