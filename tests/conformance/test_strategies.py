"""What every strategy must do, whatever it is that makes claims take turns. The outside checker judges each of them."""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from holdfast import booking, catalog
from holdfast.booking import (
    Asker,
    ClaimRequest,
    CodeRefused,
    CodeSpec,
    Customer,
    HoldLimit,
    LimitReached,
    NotOnSale,
    NotTogether,
    SeatsTaken,
    SoldOut,
)
from holdfast.engine import Engine, open_engine
from holdfast.platform.errors import IdempotencyMismatch
from holdfast.platform.ids import ShowId
from holdfast.platform.settings import Settings
from tests.conftest import program
from tests.races import checker
from tests.races.crowd import ORGANIZER, a_crowd, domain_door, held_head, open_show

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

STRATEGIES = ["batched", "row_lock", "optimistic", "redis_lock"]
ROWS = [{"label": "A", "seats": 6}, {"label": "B", "seats": 6}]
STALLS = [{"name": "Stalls", "kind": "seated", "rows": ROWS}]
FLOOR = [{"name": "Floor", "kind": "standing", "capacity": 6}]


class Redis:
    """A redis-server of our own on a unix socket; `stop` kills it."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        command = [program("redis-server"), "--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        self._process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        self.url = f"unix://{self.socket}"

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    folder = Path(tempfile.mkdtemp(prefix="holdfast-redis-"))
    running = Redis(folder)
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=STRATEGIES)
def strategic(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Settings with each strategy in turn; Redis only where it is needed."""
    changes = {"strategy": request.param}
    if request.param == "redis_lock":
        changes["redis_url"] = request.getfixturevalue("redis").url
    return msgspec.structs.replace(settings, **changes)


@pytest.fixture
async def engine(strategic: Settings) -> AsyncIterator[Engine]:
    async with open_engine(strategic) as opened:
        yield opened


@pytest.fixture
async def engines(engine: Engine, strategic: Settings) -> AsyncIterator[list[Engine]]:
    async with open_engine(strategic) as other:
        yield [engine, other]


async def test_named_seats_are_won_once_and_refused_by_name(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, total_seats=10)
    won = await booking.claim(engine.office, show, ClaimRequest(seats=["3", "4"]), Asker())
    assert (won.booking.status, won.booking.seats, won.booking.areas) == ("PENDING", [2, 3], [1, 1])
    with pytest.raises(SeatsTaken) as refused:
        await booking.claim(engine.office, show, ClaimRequest(seats=["4", "5"]), Asker())
    assert refused.value.members["seats"] == ["4"]
    stored = await booking.booking_by_id(engine.db, show, won.booking.booking_id)
    assert stored == msgspec.structs.replace(won.booking, read_at=stored.read_at)
    assert await checker.violations(database_url) == []


async def test_standing_places_go_to_the_last_one(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, areas=FLOOR)
    await booking.claim(engine.office, show, ClaimRequest(quantity=4), Asker())
    with pytest.raises(SoldOut):
        await booking.claim(engine.office, show, ClaimRequest(quantity=3), Asker())
    await booking.claim(engine.office, show, ClaimRequest(quantity=2), Asker())
    assert await checker.violations(database_url) == []


async def test_best_available_sits_together_or_says_so(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, areas=STALLS)
    first = await booking.claim(engine.office, show, ClaimRequest(best_available=4), Asker())
    assert first.booking.seats[-1] - first.booking.seats[0] == 3
    with pytest.raises(NotTogether):
        await booking.claim(engine.office, show, ClaimRequest(best_available=7), Asker())
    split = await booking.claim(engine.office, show, ClaimRequest(best_available=8, split=True), Asker())
    assert (len(split.booking.seats), split.relaxed) == (8, "split")
    with pytest.raises(SoldOut):
        await booking.claim(engine.office, show, ClaimRequest(best_available=1), Asker())
    assert await checker.violations(database_url) == []


async def test_a_retry_of_a_success_hears_that_success(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, areas=FLOOR)
    asker, all_of_it = Asker(b"k" * 16, b"one"), ClaimRequest(quantity=6)
    first = await booking.claim(engine.office, show, all_of_it, asker)
    again = await booking.claim(engine.office, show, all_of_it, asker)
    assert (again.booking.booking_id, again.replayed) == (first.booking.booking_id, True)
    with pytest.raises(IdempotencyMismatch):
        await booking.claim(engine.office, show, ClaimRequest(quantity=1), Asker(b"k" * 16, b"two"))
    with pytest.raises(SoldOut):
        await booking.claim(engine.office, show, ClaimRequest(quantity=1), Asker(b"l" * 16, b"one"))
    attempted = await booking.booking_attempted(engine.office, show, b"k" * 16)
    assert attempted.booking_id == first.booking.booking_id
    with pytest.raises(booking.UnknownAttempt):
        await booking.booking_attempted(engine.office, show, b"l" * 16)
    async with engine.db.transaction() as tx:
        paused = catalog.ShowEdit(status="paused")
        await booking.edit_show(tx, engine.office, ORGANIZER, show, paused, None)
    late = await booking.claim(engine.office, show, all_of_it, asker)
    assert late.booking.booking_id == first.booking.booking_id
    with pytest.raises(NotOnSale):
        await booking.claim(engine.office, show, ClaimRequest(quantity=1), Asker())
    assert await checker.violations(database_url) == []


async def test_equal_claims_at_once_are_one_booking(engines: list[Engine], database_url: str) -> None:
    show = await open_show(engines[0], total_seats=10)
    asker, wish = Asker(b"k" * 16, b"one"), ClaimRequest(seats=["1", "2"])
    claimed = await asyncio.gather(
        *(booking.claim(engines[i % 2].office, show, wish, asker) for i in range(20))
    )
    assert len({each.booking.booking_id for each in claimed}) == 1
    assert all(each.booking.seats == [0, 1] for each in claimed)
    assert await checker.violations(database_url) == []


async def test_terms_that_have_gone_are_not_sold_by(engines: list[Engine], database_url: str) -> None:
    show = await open_show(
        engines[0], total_seats=10, tiers=[{"name": "Adult", "area": "Main", "amount": 1000}]
    )
    await engines[1].office.views.get(show)
    async with engines[0].db.transaction() as tx:
        dearer = msgspec.convert({"tiers": [{"id": 1, "amount": 2000}]}, catalog.ShowEdit)
        await booking.edit_show(tx, engines[0].office, ORGANIZER, show, dearer, None)
    claimed = await booking.claim(engines[1].office, show, ClaimRequest(seats=["1"]), Asker())
    assert claimed.booking.total == 2000


async def test_a_claim_that_waited_through_a_pause_sells_nothing(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, areas=FLOOR)
    async with held_head(database_url, show) as held:
        waiting = asyncio.create_task(booking.claim(engine.office, show, ClaimRequest(quantity=1), Asker()))
        await held.waited_for_by(1)
        await held.also("update shows set status = 'paused', version = version + 1")
        await held.also("update show_heads set selling = false, terms = terms + 1")
        await held.commit()
        with pytest.raises(NotOnSale):
            await waiting


async def test_overdue_holds_make_room(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, total_seats=4)
    await booking.claim(engine.office, show, ClaimRequest(seats=["1", "2", "3", "4"]), Asker())
    await engine.db.execute("update bookings set expires_at = clock_timestamp() - interval '1 second'")
    taken_over = await booking.claim(engine.office, show, ClaimRequest(seats=["2"]), Asker())
    assert taken_over.booking.seats == [1]
    assert await checker.violations(database_url) == []
    view = await engine.office.views.get(show)
    assert [view.is_taken(seat) for seat in range(4)] == [False, True, False, False]


@pytest.mark.parametrize("held", [["Left", "Right"], ["Right"]], ids=["all", "one"])
async def test_overdue_holds_make_room_wherever_they_are(
    engine: Engine, database_url: str, held: list[str]
) -> None:
    rows = [{"label": "A", "seats": 3}, {"label": "B", "seats": 3}]
    longer = [{"label": "A", "seats": 5}]
    show = await open_show(
        engine,
        areas=[
            {"name": "Left", "kind": "seated", "rows": rows},
            {"name": "Right", "kind": "seated", "rows": longer},
        ],
    )
    for area, count in (("Left", 6), ("Right", 5)):
        if area in held:
            whole = ClaimRequest(best_available=count, area=area, split=True)
            await booking.claim(engine.office, show, whole, Asker())
    await engine.db.execute("update bookings set expires_at = clock_timestamp() - interval '1 second'")
    made = await booking.claim(engine.office, show, ClaimRequest(best_available=4), Asker())
    assert set(made.booking.areas) == {2}
    with pytest.raises(NotTogether):
        await booking.claim(engine.office, show, ClaimRequest(best_available=4), Asker())
    with pytest.raises(SoldOut):
        await booking.claim(engine.office, show, ClaimRequest(best_available=7), Asker())
    assert await checker.violations(database_url) == []


async def test_limits_of_a_buyer(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, total_seats=10, max_places_per_buyer=3)
    buyer = Customer(email="guest@example.org")
    await booking.claim(engine.office, show, ClaimRequest(seats=["1", "2"], customer=buyer), Asker())
    with pytest.raises(LimitReached):
        await booking.claim(engine.office, show, ClaimRequest(seats=["3", "4"], customer=buyer), Asker())
    await booking.claim(engine.office, show, ClaimRequest(seats=["3"], customer=buyer), Asker())
    assert await checker.violations(database_url) == []


async def test_overdue_holds_do_not_count_against_the_limit(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, total_seats=10, max_places_per_buyer=2)
    buyer = Customer(email="guest@example.org")
    await booking.claim(engine.office, show, ClaimRequest(seats=["1", "2"], customer=buyer), Asker())
    await engine.db.execute(
        "update bookings set created_at = created_at - interval '200 s', expires_at = created_at"
    )
    again = await booking.claim(engine.office, show, ClaimRequest(seats=["3", "4"], customer=buyer), Asker())
    assert again.booking.status == "PENDING"
    assert await checker.violations(database_url) == []


async def test_a_hold_that_ends_by_the_next_claim_counts_for_it(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, areas=FLOOR, hold_seconds=60, hold_seconds_max=60)
    all_of_it = ClaimRequest(quantity=6, customer=Customer(email="guest@example.org"))
    await booking.claim(engine.office, show, all_of_it, Asker())
    await engine.db.execute(
        "update bookings set created_at = created_at - interval '60 s', expires_at = created_at"
    )
    with pytest.raises(HoldLimit):
        await booking.claim(engine.office, show, all_of_it, Asker())
    assert await checker.violations(database_url) == []


async def test_a_buyer_who_held_long_enough_without_buying(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, total_seats=10, hold_seconds=60, hold_seconds_max=60)
    buyer = Customer(email="guest@example.org")
    await booking.claim(engine.office, show, ClaimRequest(seats=["1"], customer=buyer), Asker())
    await engine.db.execute(
        "update bookings set created_at = created_at - interval '60 s', expires_at = created_at"
    )
    await booking.sweep(engine.office)
    with pytest.raises(HoldLimit):
        await booking.claim(engine.office, show, ClaimRequest(seats=["1"], customer=buyer), Asker())
    await booking.claim(engine.office, show, ClaimRequest(seats=["1"]), Asker())
    assert await checker.violations(database_url) == []


async def test_a_free_claim_is_confirmed_at_once(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, total_seats=10)
    sold = await booking.claim(engine.office, show, ClaimRequest(seats=["1"], confirm=True), Asker())
    assert sold.booking.status == "CONFIRMED"
    facts = await engine.db.value("select count(*) from outbox where kind = 'booking.confirmed'")
    assert facts == 1
    assert await checker.violations(database_url) == []


async def _coded_show(engine: Engine, **spec: Any) -> ShowId:
    """A show with a code, `EARLY`, that takes 400 of 1,000 off."""
    tiers = [
        {"name": "Adult", "area": "Floor", "amount": 1000, "tax_basis_points": 700},
        {"name": "Press", "area": "Floor", "amount": 500, "hidden": True},
    ]
    show_id = await open_show(engine, areas=FLOOR, tiers=tiers, max_places_per_buyer=4)
    async with engine.db.transaction() as tx:
        show = await catalog.show_by_id(tx, show_id)
        assert show is not None
        terms = {"code": "EARLY", "discount_amount": 400, "reveals": [2], **spec}
        await booking.make_code(tx, show, msgspec.convert(terms, CodeSpec))
    return show_id


async def test_a_code_is_priced_counted_and_given_back(engine: Engine, database_url: str) -> None:
    show = await _coded_show(engine, uses_max=2, places_max=2)
    wish = ClaimRequest(quantity=2, tier="Adult", code="early")
    asker = Asker(b"k" * 16, b"one")
    won = await booking.claim(engine.office, show, wish, asker)
    assert won.booking.amounts == [600, 600]
    stored = await booking.booking_by_id(engine.db, show, won.booking.booking_id)
    assert stored == msgspec.structs.replace(won.booking, read_at=stored.read_at)
    press = await booking.claim(
        engine.office, show, ClaimRequest(quantity=1, tier="Press", code="early"), Asker()
    )
    assert press.booking.amounts == [100]
    with pytest.raises(CodeRefused) as refused:
        await booking.claim(engine.office, show, wish, Asker())
    assert refused.value.members == {"reason": "used_up"}
    again = await booking.claim(engine.office, show, wish, asker)
    assert (again.booking.booking_id, again.replayed) == (won.booking.booking_id, True)
    assert await checker.violations(database_url) == []
    # The use of a hold that is overdue goes to the next claim, as its places do.
    await engine.db.execute("update bookings set expires_at = clock_timestamp() - interval '1 second'")
    await booking.claim(engine.office, show, wish, Asker())
    assert (await booking.code_named(engine.db, show, "early")).used == 1
    assert await checker.violations(database_url) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("withdrawn_at = now()", "withdrawn"),
        ("starts_at = now() + interval '1 hour'", "early"),
        ("ends_at = now()", "expired"),
        ("places_max = 1", "places"),
    ],
)
async def test_a_code_that_may_not_be_used(
    engine: Engine, database_url: str, change: str, reason: str
) -> None:
    show = await _coded_show(engine, uses_max=2)
    await engine.db.execute(f"update codes set {change}")
    wish = ClaimRequest(quantity=2, tier="Adult", code="early")
    with pytest.raises(CodeRefused) as refused:
        await booking.claim(engine.office, show, wish, Asker())
    assert refused.value.members == {"reason": reason}
    await booking.claim(engine.office, show, ClaimRequest(quantity=2, tier="Adult"), Asker())
    assert (await booking.code_named(engine.db, show, "early")).used == 0
    assert await checker.violations(database_url) == []


async def test_a_crowd_and_the_last_uses_of_a_code(engines: list[Engine], database_url: str) -> None:
    show = await _coded_show(engines[0], uses_max=3)
    wish = ClaimRequest(quantity=1, tier="Adult", code="EARLY")
    doors = [domain_door(each, show) for each in engines]
    told = await a_crowd(doors, lambda _: wish, clients=20, tries=2)
    assert (told.places, set(told.refusals)) == (3, {"code_refused"})
    assert await checker.violations(database_url, told.promises, all_promised=True) == []


async def test_a_crowd_sells_it_out_and_nothing_more(engines: list[Engine], database_url: str) -> None:
    show = await open_show(engines[0], total_seats=60)

    def two_random(random: Random) -> ClaimRequest:
        return ClaimRequest(seats=[str(seat) for seat in random.sample(range(1, 61), 2)])

    doors = [domain_door(each, show) for each in engines]
    told = await a_crowd(doors, two_random, clients=30, tries=5)
    assert await checker.violations(database_url, told.promises, all_promised=True) == []
    assert set(told.refusals) == {"seats_taken"}
    assert 0.7 * 60 <= told.places <= 60


async def test_a_standing_crowd_fills_it_exactly(engines: list[Engine], database_url: str) -> None:
    show = await open_show(engines[0], areas=[{"name": "Floor", "kind": "standing", "capacity": 60}])
    doors = [domain_door(each, show) for each in engines]
    told = await a_crowd(
        doors, lambda random: ClaimRequest(quantity=random.randint(1, 3)), clients=20, tries=8
    )
    assert await checker.violations(database_url, told.promises, all_promised=True) == []
    assert told.places == 60


class TestRedis:
    """The lock in Redis is a filter: nothing that Redis says or does not say makes a wrong sale."""

    @pytest.fixture
    async def own(self, settings: Settings) -> AsyncIterator[tuple[Engine, Redis]]:
        folder = Path(tempfile.mkdtemp(prefix="holdfast-redis-"))
        running = Redis(folder)
        changed = msgspec.structs.replace(settings, strategy="redis_lock", redis_url=running.url)
        async with open_engine(changed) as opened:
            yield opened, running
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)

    async def test_a_locked_seat_is_refused_without_the_database(self, own: tuple[Engine, Redis]) -> None:
        engine, redis = own
        show = await open_show(engine, total_seats=4)
        await booking.claim(engine.office, show, ClaimRequest(seats=["1"]), Asker())
        _redis_says(redis, "set", f"show:{show}:seat:1", "somebody")
        with pytest.raises(SeatsTaken) as refused:
            await booking.claim(engine.office, show, ClaimRequest(seats=["2", "3"]), Asker())
        assert refused.value.members["seats"] == ["2"]
        assert await engine.db.value("select count(*) from claims") == 1
        # What was locked on the way was given back.
        await booking.claim(engine.office, show, ClaimRequest(seats=["3"]), Asker())

    async def test_a_retry_of_a_success_passes_a_lock_and_leaves_it(self, own: tuple[Engine, Redis]) -> None:
        engine, redis = own
        show = await open_show(engine, total_seats=4)
        asker, wish = Asker(b"k" * 16, b"one"), ClaimRequest(seats=["1"])
        first = await booking.claim(engine.office, show, wish, asker)
        _redis_says(redis, "set", f"show:{show}:seat:0", "somebody")
        again = await booking.claim(engine.office, show, wish, asker)
        assert (again.booking.booking_id, again.replayed) == (first.booking.booking_id, True)
        with pytest.raises(SeatsTaken):
            await booking.claim(engine.office, show, wish, Asker(b"l" * 16, b"one"))

    async def test_without_redis_the_sale_goes_on(self, own: tuple[Engine, Redis], database_url: str) -> None:
        engine, redis = own
        show = await open_show(engine, total_seats=4)
        await booking.claim(engine.office, show, ClaimRequest(seats=["1"]), Asker())
        redis.stop()
        await booking.claim(engine.office, show, ClaimRequest(seats=["2"]), Asker())
        with pytest.raises(SeatsTaken):
            await booking.claim(engine.office, show, ClaimRequest(seats=["1"]), Asker())
        assert await checker.violations(database_url) == []

    async def test_an_emptied_redis_sells_nothing_twice(self, own: tuple[Engine, Redis]) -> None:
        engine, redis = own
        show = await open_show(engine, total_seats=4)
        await booking.claim(engine.office, show, ClaimRequest(seats=["1"]), Asker())
        _redis_says(redis, "flushall")
        with pytest.raises(SeatsTaken):
            await booking.claim(engine.office, show, ClaimRequest(seats=["1"]), Asker())


def _redis_says(redis: Redis, *command: str) -> None:
    subprocess.run([program("redis-cli"), "-s", str(redis.socket), *command], check=True, capture_output=True)
