"""Crowds that want the last uses of a code, over two engines; and the same crowds when a guard is missing."""

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from holdfast import booking, catalog
from holdfast.booking import Asker, ClaimRequest, CodeRefused, CodeSpec
from holdfast.engine import Engine
from holdfast.platform.ids import ShowId, new_id
from tests.races import checker
from tests.races.checker import Promise
from tests.races.crowd import Refused, domain_door, held_head, open_show, together
from tests.races.guards import take_away

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

FLOOR = [{"name": "Floor", "kind": "standing", "capacity": 500}]
TIERS = [{"name": "Adult", "area": "Floor", "amount": 1000}]
LOCK = (
    "select h.* into v_head from show_heads h where h.show_id = p_show_id for no key update;",
    "select h.* into v_head from show_heads h where h.show_id = p_show_id;",
)
USES = ("if v_uses[v_c] < 1 then", "if false then")
CONSTRAINT = "alter table codes drop constraint never_overused"
BUYERS = 100
WISH = ClaimRequest(quantity=1, code="LAST ONE")


async def a_show(engine: Engine, *, hold_seconds: int = 120, **spec: Any) -> ShowId:
    show_id = await open_show(engine, areas=FLOOR, tiers=TIERS, hold_seconds=hold_seconds)
    async with engine.db.transaction() as tx:
        show = await catalog.show_by_id(tx, show_id)
        assert show is not None
        terms = {"code": "Last one", "discount_amount": 400, **spec}
        await booking.make_code(tx, show, msgspec.convert(terms, CodeSpec))
    return show_id


async def used(engine: Engine, show_id: ShowId) -> int:
    return (await booking.code_named(engine.db, show_id, "last one")).used


async def the_crowd(engines: list[Engine], show_id: ShowId, wish: ClaimRequest = WISH) -> tuple[list[Promise], Counter[str]]:  # fmt: skip
    doors = [domain_door(engine, show_id) for engine in engines]
    answers = await together(doors[i % 2](wish) for i in range(BUYERS))
    promises = [answer for answer in answers if isinstance(answer, Promise)]
    return promises, Counter(answer.code for answer in answers if isinstance(answer, Refused))


async def test_a_hundred_buyers_and_one_use(engines: list[Engine], database_url: str) -> None:
    show = await a_show(engines[0], uses_max=1)
    promises, refusals = await the_crowd(engines, show)
    assert len(promises) == 1
    assert refusals == {"code_refused": BUYERS - 1}
    assert await used(engines[0], show) == 1
    assert await checker.violations(database_url, promises, all_promised=True) == []


async def test_a_hundred_buyers_and_seven_uses_beside_others(
    engines: list[Engine], database_url: str
) -> None:
    show = await a_show(engines[0], uses_max=7)
    others = domain_door(engines[0], show)
    (promises, _), plain = await asyncio.gather(
        the_crowd(engines, show), together(others(ClaimRequest(quantity=1)) for _ in range(BUYERS))
    )
    assert len(promises) == 7
    assert all(isinstance(answer, Promise) for answer in plain)
    amounts = await engines[0].db.rows("select total, count(*) as n from bookings group by total")
    assert {row["total"]: row["n"] for row in amounts} == {600: 7, 1000: BUYERS}
    assert await checker.violations(database_url) == []


@pytest.mark.parametrize(
    ("guards", "constraint", "is_safe"),
    [
        pytest.param([LOCK], False, True, id="without the lock the constraint has the last word"),
        pytest.param([USES], False, True, id="without the count the constraint has the last word"),
        pytest.param([], True, True, id="without the constraint the lock and the count suffice"),
        pytest.param([LOCK], True, False, id="without lock and constraint"),
        pytest.param([USES], True, False, id="without count and constraint"),
    ],
)
async def test_control_what_the_crowd_does_without_a_guard(
    engines: list[Engine], database_url: str, guards: list[tuple[str, str]], constraint: bool, is_safe: bool
) -> None:
    await take_away(database_url, *guards, statement=CONSTRAINT if constraint else None)
    show = await a_show(engines[0], uses_max=1)
    # Whoever waits for the head in front of everything else waits here as well as who writes to it at the end: so both
    # engines have looked at the uses before either writes, wherever nothing makes them take turns.
    async with held_head(database_url, show) as held:
        crowd = asyncio.create_task(the_crowd(engines, show))
        await held.waited_for_by(2)
        await held.let_go()
        promises, _ = await crowd
    assert (len(promises) == 1) is is_safe, f"{len(promises)} bookings by a code for one"


async def test_a_use_comes_back_with_the_places(engine: Engine, database_url: str) -> None:
    show = await a_show(engine, uses_max=1, hold_seconds=60)
    wish = ClaimRequest(quantity=2, code="last-one")

    async def claimed() -> booking.Booking:
        return (await booking.claim(engine.office, show, wish, Asker())).booking

    first = await claimed()
    with pytest.raises(CodeRefused):
        await claimed()
    async with engine.db.transaction() as tx:
        await booking.cancel(tx, engine.office, show, first.booking_id, "by_buyer", sold_too=False)
    assert await used(engine, show) == 0
    # A hold that is overdue gives its use to the claim that wants it, and to the sweep where nobody does.
    second = await claimed()
    await engine.db.execute("update bookings set expires_at = clock_timestamp() - interval '1 second'")
    third = await claimed()
    await engine.db.execute(
        "update bookings set expires_at = clock_timestamp() - interval '1 second' where status = 'PENDING'"
    )
    assert await booking.sweep(engine.office) == 1
    assert await used(engine, show) == 0
    # A sale that is cancelled gives it back, too.
    sold = await claimed()
    async with engine.db.transaction() as tx:
        await booking.confirm(tx, show, sold.booking_id, settled=True)
    assert await used(engine, show) == 1
    async with engine.db.transaction() as tx:
        await booking.cancel(tx, engine.office, show, sold.booking_id, "by_organizer", sold_too=True)
    assert await used(engine, show) == 0
    assert len({first.booking_id, second.booking_id, third.booking_id, sold.booking_id}) == 4
    assert await checker.violations(database_url) == []


async def test_a_claim_that_waited_through_an_edit_of_its_code(
    engines: list[Engine], database_url: str
) -> None:
    for change, reason in (("withdrawn_at = now()", "withdrawn"), ("ends_at = now()", "expired")):
        show = await a_show(engines[0])
        async with held_head(database_url, show) as held:
            waiting = asyncio.create_task(booking.claim(engines[1].office, show, WISH, Asker()))
            await held.waited_for_by(1)
            await held.also(f"update codes set {change} where show_id = '{show}'")
            await held.commit()
            with pytest.raises(CodeRefused) as refused:
                await waiting
        assert refused.value.members == {"reason": reason}
        assert await checker.violations(database_url) == []


async def test_uses_come_and_go_in_a_crowd(engines: list[Engine], database_url: str) -> None:
    """Buyers who claim by the code and let go at once: in the end every use is back, and never were there too many."""
    show = await a_show(engines[0], uses_max=3)

    async def one(number: int) -> int:
        engine, won = engines[number % 2], 0
        for _ in range(10):
            try:
                made = (await booking.claim(engine.office, show, WISH, Asker())).booking
            except CodeRefused:
                continue
            won += 1
            async with engine.db.transaction() as tx:
                await booking.cancel(tx, engine.office, show, made.booking_id, "by_buyer", sold_too=False)
        return won

    assert sum(await together(one(number) for number in range(20))) >= 3
    assert await used(engines[0], show) == 0
    assert await checker.violations(database_url) == []


async def test_money_that_comes_late_takes_its_use_again_if_there_is_one(
    engine: Engine, database_url: str
) -> None:
    show = await a_show(engine, uses_max=1)
    late = (await booking.claim(engine.office, show, WISH, Asker())).booking
    await engine.db.execute("update bookings set expires_at = clock_timestamp() - interval '1 second'")
    rival = (await booking.claim(engine.office, show, WISH, Asker())).booking

    assert rival.code_id is not None

    async def taken_again() -> str:
        row = await engine.db.row(
            "select outcome from take_again($1, $2, false, null, $3)", show, late.booking_id, new_id()
        )
        assert row is not None
        outcome: str = row["outcome"]
        return outcome

    assert await taken_again() == "code_used_up"
    assert await checker.violations(database_url) == []
    async with engine.db.transaction() as tx:
        await booking.withdraw_code(tx, show, rival.code_id)
        await booking.cancel(tx, engine.office, show, rival.booking_id, "by_buyer", sold_too=False)
    # It was promised that price: that the code was withdrawn since takes nothing from it.
    assert await taken_again() == "confirmed"
    assert await used(engine, show) == 1
    # What the checker says of a sale behind its deadline is no matter of codes.
    assert [line for line in await checker.violations(database_url) if "code" in line] == []
