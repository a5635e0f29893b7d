"""What one buyer may have, and when: limits hold whoever asks at once, and the database's clock decides."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from holdfast import booking, catalog
from holdfast.booking import (
    Asker,
    ClaimRequest,
    Customer,
    HoldLimit,
    LimitReached,
    NotOnSale,
    SoldOut,
    TooManyPlaces,
)
from holdfast.engine import Engine
from holdfast.platform.ids import ShowId, new_id
from tests.races import checker
from tests.races.checker import Promise
from tests.races.crowd import ORGANIZER, Refused, domain_door, held_head, open_show, promise_of, together

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

GUEST = Customer(email="guest@example.org")
FLOOR = [{"name": "Floor", "kind": "standing", "capacity": 100}]


async def _claim(
    engine: Engine, show: ShowId, customer: Customer | None = GUEST, **wish: Any
) -> booking.Booking:
    request = ClaimRequest(customer=customer, **wish)
    return (await booking.claim(engine.office, show, request, Asker())).booking


async def _edit(engine: Engine, show: ShowId, **changes: Any) -> None:
    async with engine.db.transaction() as tx:
        await booking.edit_show(
            tx, engine.office, ORGANIZER, show, msgspec.convert(changes, catalog.ShowEdit), None
        )


async def _let_go(engine: Engine, made: booking.Booking) -> None:
    async with engine.db.transaction() as tx:
        await booking.cancel(tx, engine.office, made.show_id, made.booking_id, "by_organizer", sold_too=True)


async def _aged(engine: Engine, made: booking.Booking, seconds: int) -> None:
    """As if the hold had begun so much earlier."""
    await engine.db.execute(
        "update bookings set created_at = created_at - make_interval(secs => $2),"
        " expires_at = expires_at - make_interval(secs => $2) where booking_id = $1",
        made.booking_id, float(seconds),
    )  # fmt: skip


async def test_places_per_booking(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show(areas=FLOOR, max_places_per_booking=4)
    url = f"/v1/shows/{show['id']}/bookings"
    assert (await client.post(url, json={"quantity": 4})).status_code == 201
    refused = await client.post(url, json={"quantity": 5})
    assert (refused.status_code, refused.json()["code"]) == (400, "too_many_places")


async def test_a_lowered_limit_holds_at_once_in_every_process(engines: list[Engine]) -> None:
    show = await open_show(engines[0], areas=FLOOR, max_places_per_booking=4)
    for engine in engines:
        await _claim(engine, show, quantity=4)
    await _edit(engines[0], show, max_places_per_booking=2)
    for engine in engines:
        with pytest.raises(TooManyPlaces):
            await _claim(engine, show, quantity=3)
        await _claim(engine, show, quantity=2)


async def test_places_per_buyer_whoever_asks_at_once(engines: list[Engine], database_url: str) -> None:
    show = await open_show(engines[0], areas=FLOOR, max_places_per_buyer=4)
    doors = [domain_door(engine, show) for engine in engines]
    # One address in several spellings, forty times, and others beside it.
    spellings = ["guest@example.org", "Guest@Example.ORG", "GUEST@EXAMPLE.ORG"]
    wishes = [
        ClaimRequest(quantity=1 + i % 3, customer=Customer(email=spellings[i % 3])) for i in range(40)
    ] + [ClaimRequest(quantity=4, customer=Customer(email=f"guest{i}@example.org")) for i in range(10)]
    answers = await together(doors[i % 2](wish) for i, wish in enumerate(wishes))
    mine, others = answers[:40], answers[40:]
    assert all(isinstance(answer, Promise) for answer in others)
    assert {answer.code for answer in mine if isinstance(answer, Refused)} == {"limit_reached"}
    # Never above; and since many asked for one place, not below either.
    assert sum(answer.quantity for answer in mine if isinstance(answer, Promise)) == 4
    promises = [answer for answer in answers if isinstance(answer, Promise)]
    assert await checker.violations(database_url, promises, all_promised=True) == []


async def test_places_per_buyer_come_back(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, areas=FLOOR, max_places_per_buyer=4)
    held = await _claim(engine, show, quantity=3)
    sold = await _claim(engine, show, quantity=1, confirm=True)
    for quantity in (1, 4):
        with pytest.raises(LimitReached):
            await _claim(engine, show, quantity=quantity)
    await _let_go(engine, held)
    with pytest.raises(LimitReached):
        await _claim(engine, show, quantity=4)
    await _claim(engine, show, quantity=3)
    await _let_go(engine, sold)
    await _claim(engine, show, quantity=1)
    with pytest.raises(LimitReached):
        await _claim(engine, show, quantity=1)
    # Nobody counts for whoever gives no address.
    await _claim(engine, show, None, quantity=10)
    assert await checker.violations(database_url) == []


async def test_a_buyers_own_overdue_holds_do_not_count(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, areas=FLOOR, max_places_per_buyer=4, hold_seconds=60)
    old = await _claim(engine, show, quantity=4)
    with pytest.raises(LimitReached):
        await _claim(engine, show, quantity=1)
    await _aged(engine, old, 60)
    await _claim(engine, show, quantity=3)
    with pytest.raises(LimitReached):
        await _claim(engine, show, quantity=2)
    await _claim(engine, show, quantity=1)
    assert await checker.violations(database_url) == []


async def test_a_batch_that_looks_twice_counts_each_buyer_once(engine: Engine, database_url: str) -> None:
    """The first look gives places away, finds too few, fails what is overdue, and begins anew."""
    area = {"name": "Floor", "kind": "standing", "capacity": 6}
    show = await open_show(engine, areas=[area], max_places_per_buyer=4, hold_seconds=60)
    other = Customer(email="other@example.org")
    old = await _claim(engine, show, other, quantity=4)
    await _aged(engine, old, 60)
    made = await together([
        _claim(engine, show, GUEST, quantity=2), _claim(engine, show, other, quantity=2), _claim(engine, show, GUEST, quantity=2),
    ])  # fmt: skip
    assert [each.quantity for each in made] == [2, 2, 2]
    promises = [promise_of(each) for each in made]
    assert (
        await checker.violations(database_url, [*promises, Promise(show, old.booking_id, "FAILED", 4)]) == []
    )
    with pytest.raises(LimitReached):
        await _claim(engine, show, GUEST, quantity=1)
    with pytest.raises(SoldOut):
        await _claim(engine, show, other, quantity=1)


async def test_a_limit_that_comes_later_counts_what_was_bought_before(
    engine: Engine, database_url: str
) -> None:
    show = await open_show(engine, areas=FLOOR)
    before = [await _claim(engine, show, quantity=3) for _ in range(2)]
    await _edit(engine, show, max_places_per_buyer=7)
    assert await checker.violations(database_url) == []
    with pytest.raises(LimitReached):
        await _claim(engine, show, quantity=2)
    await _claim(engine, show, quantity=1)
    await _edit(engine, show, max_places_per_buyer=None)
    await _let_go(engine, before[0])
    await _claim(engine, show, quantity=5)
    await _edit(engine, show, max_places_per_buyer=10)
    assert await checker.violations(database_url) == []
    with pytest.raises(LimitReached):
        await _claim(engine, show, quantity=2)
    await _claim(engine, show, quantity=1)


async def test_holding_without_buying_ends(engine: Engine, database_url: str) -> None:
    """What is held in all survives letting go and running out, and what is bought does not count."""
    show = await open_show(engine, areas=FLOOR, hold_seconds=60, hold_seconds_max=100)
    first = await _claim(engine, show, quantity=1)
    assert 59 < first.seconds_left <= 60
    await _aged(engine, first, 30)
    await _let_go(engine, first)
    second = await _claim(engine, show, quantity=1)
    assert 59 < second.seconds_left <= 60
    await _aged(engine, second, 3600)
    # Swept an hour late: the hold ended at its deadline all the same.
    assert await booking.sweep(engine.office) == 1
    assert await checker.violations(database_url) == []
    assert await engine.db.value("select held_seconds from buyers") == 91
    with pytest.raises(HoldLimit):
        # 9 seconds are left, which is too little to do anything in.
        await _claim(engine, show, quantity=1)
    await engine.db.execute("update buyers set held_seconds = 90")
    last = await _claim(engine, show, quantity=1, confirm=True)
    assert last.status == "CONFIRMED"
    assert 9 < (await _claim(engine, show, quantity=1)).seconds_left <= 10
    assert await engine.db.value("select held_seconds from buyers") == 90
    # Others have their own time.
    assert (
        59 < (await _claim(engine, show, Customer(email="other@example.org"), quantity=1)).seconds_left <= 60
    )
    assert 59 < (await _claim(engine, show, None, quantity=1)).seconds_left <= 60


async def test_a_hold_from_before_the_clock_was_put_back_can_be_let_go(
    engine: Engine, database_url: str
) -> None:
    show = await open_show(engine, areas=FLOOR)
    made = await _claim(engine, show, quantity=1)
    await _aged(engine, made, -60)
    await _let_go(engine, made)
    assert await engine.db.value("select held_seconds from buyers") == 0
    assert await checker.violations(database_url) == []


async def test_an_extension_stays_within_what_a_buyer_may_hold_in_all(engine: Engine) -> None:
    show_id = await open_show(engine, areas=FLOOR, hold_seconds=60, hold_seconds_max=200)
    show = (await engine.office.views.get(show_id)).show

    async def extended(made: booking.Booking) -> booking.Booking:
        async with engine.db.transaction() as tx:
            return await booking.extend(tx, show, made.booking_id)

    first = await _claim(engine, show_id, quantity=1)
    assert 119 < (await extended(first)).seconds_left <= 120
    with pytest.raises(HoldLimit):
        await extended(first)
    await _aged(engine, first, 120)
    assert await booking.sweep(engine.office) == 1
    second = await _claim(engine, show_id, quantity=1)
    # 120 of 200 seconds are gone: 60 now, and 20 more.
    assert 59 < second.seconds_left <= 60
    assert 79 < (await extended(second)).seconds_left <= 80
    await _aged(engine, second, 80)
    assert await booking.sweep(engine.office) == 1
    with pytest.raises(HoldLimit):
        await _claim(engine, show_id, quantity=1)
    # Without an address there is only the limit of each hold.
    third = await _claim(engine, show_id, None, quantity=1)
    assert 119 < (await extended(third)).seconds_left <= 120


@pytest.mark.parametrize("end", ["opens", "closes"])
async def test_the_databases_clock_opens_and_closes_the_sale(
    end: str, engines: list[Engine], database_url: str
) -> None:
    """Many ask all the time from both processes; what they get was decided within the times of the sale."""
    show = await open_show(engines[0], areas=[{**FLOOR[0], "capacity": 100_000}])
    moment = await engines[0].db.value(
        f"update show_heads set {end}_at = clock_timestamp() + interval '300 ms' returning {end}_at"
    )
    before, after = asyncio.Event(), asyncio.Event()
    doors = [domain_door(engine, show) for engine in engines]

    async def one(number: int) -> None:
        while not (before.is_set() and after.is_set()):
            answer = await doors[number % 2](ClaimRequest(quantity=1))
            sold = isinstance(answer, Promise)
            assert sold or answer == Refused("not_on_sale")
            (before if sold == (end == "closes") else after).set()
            await asyncio.sleep(0.002)

    await together(one(number) for number in range(20))
    comparison = "<" if end == "opens" else ">="
    outside = await engines[0].db.value(
        f"select count(*) from bookings where created_at {comparison} $1", moment
    )
    assert outside == 0
    assert await checker.violations(database_url) == []


async def test_a_claim_that_waited_past_the_end_of_the_sale_is_too_late(
    engine: Engine, database_url: str
) -> None:
    """The clock is read when it is this claim's turn, not when it was sent."""
    show = await open_show(engine, areas=FLOOR)
    await engine.office.views.get(show)
    async with held_head(database_url, show) as head:
        asking = asyncio.create_task(_claim(engine, show, quantity=1))
        await head.waited_for_by(1)
        await head.also("update show_heads set closes_at = clock_timestamp() + interval '1 ms'")
        await asyncio.sleep(0.01)
        await head.commit()
        with pytest.raises(NotOnSale):
            await asking


async def test_a_pause_holds_at_once_in_every_process(engines: list[Engine], database_url: str) -> None:
    show = await open_show(engines[0], areas=FLOOR)
    for engine in engines:
        await _claim(engine, show, quantity=1)
    await _edit(engines[0], show, status="paused")
    for engine in engines:
        with pytest.raises(NotOnSale):
            await _claim(engine, show, quantity=1)
    await _edit(engines[1], show, status="on_sale")
    for engine in engines:
        await _claim(engine, show, quantity=1)
    assert await checker.violations(database_url) == []


async def test_nobody_buys_by_a_price_that_has_gone(engines: list[Engine]) -> None:
    show = await open_show(
        engines[0], areas=FLOOR, tiers=[{"name": "Adult", "area": "Floor", "amount": 1000}]
    )
    for engine in engines:
        assert (await _claim(engine, show, quantity=1)).total == 1000
    await _edit(engines[0], show, tiers=[{"id": 1, "amount": 1200}])
    answers = await together(_claim(engines[i % 2], show, new_guest(), quantity=2) for i in range(20))
    assert {made.total for made in answers} == {2400}


def new_guest() -> Customer:
    """Somebody else."""
    return Customer(email=f"{new_id().hex}@example.org")
