"""Everything that changes an inventory, from two engines at once: nobody waits in a circle, and the sums come out."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import asyncpg
import msgspec
import pytest

from holdfast import booking, catalog
from holdfast.booking import Asker, BlockSpec, ClaimRequest, Customer
from holdfast.engine import Engine
from holdfast.platform.embedded import Server
from holdfast.platform.errors import Refusal
from holdfast.platform.ids import BlockId, BookingId, ShowId, new_id
from tests.conftest import eventually
from tests.races import checker
from tests.races.checker import Promise
from tests.races.crowd import ORGANIZER, open_show, promise_of, together
from tests.till import ended

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

DEADLOCK = "deadlock detected"
SEATS = 40
FLOOR = 60
AREAS = [
    {"name": "Floor", "kind": "standing", "capacity": FLOOR},
    {"name": "Stalls", "kind": "seated", "rows": [{"label": r, "seats": SEATS // 2} for r in "AB"]},
]
NAMES = [f"{row}-{number + 1}" for row in "AB" for number in range(SEATS // 2)]


class _Log:
    """What the server has written to its log since this was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size

    def text(self) -> str:
        with self._path.open("rb") as log:
            log.seek(self._start)
            return log.read().decode("utf-8", "replace")


@pytest.fixture
def log(server: Server) -> _Log:
    return _Log(server.log_path)


class _Actor:
    """One of many who do anything at all, in a random order that its number gives."""

    def __init__(self, number: int, engine: Engine, shows: list[ShowId]) -> None:
        self.random = Random(number)
        self.engine = engine
        self.shows = shows
        self.did: Counter[str] = Counter()
        self.promises: list[Promise] = []
        self.held: list[tuple[ShowId, BookingId]] = []
        self.blocks: list[tuple[ShowId, BlockId]] = []

    async def act(self, times: int) -> None:
        deeds: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.claim_seats, 5), (self.claim_places, 5), (self.claim_best, 3), (self.confirm, 3), (self.extend, 2),
            (self.cancel, 4), (self.block, 2), (self.release, 2), (self.sweep, 1), (self.edit, 1), (self.overdue, 1),
            (self.prune, 1),
        ]  # fmt: skip
        for _ in range(times):
            (deed,) = self.random.choices([d for d, _ in deeds], [weight for _, weight in deeds])
            name = deed.__name__
            try:
                await deed()
                self.did[name] += 1
            except Refusal as refusal:
                self.did[f"{name}: {refusal.code}"] += 1

    async def _claim(self, **wish: object) -> None:
        show = self.random.choice(self.shows)
        customer = Customer(email=f"guest{self.random.randrange(20)}@example.org")
        request = ClaimRequest(customer=customer, **wish)  # type: ignore[arg-type]
        asker = Asker(new_id().bytes) if self.random.random() < 0.5 else Asker()
        claimed = await booking.claim(self.engine.office, show, request, asker)
        self.promises.append(promise_of(claimed.booking))
        self.held.append((show, claimed.booking.booking_id))

    async def claim_seats(self) -> None:
        """Overlapping runs of seats, from the left or from the right."""
        first = self.random.randrange(SEATS - 6)
        seats = NAMES[first : first + self.random.randint(1, 6)]
        await self._claim(seats=seats if self.random.random() < 0.5 else seats[::-1])

    async def claim_places(self) -> None:
        await self._claim(quantity=self.random.randint(1, 8), area="Floor")

    async def claim_best(self) -> None:
        await self._claim(best_available=self.random.randint(1, 5), split=self.random.random() < 0.5)

    async def confirm(self) -> None:
        if self.held:
            show, booking_id = self.random.choice(self.held)
            async with self.engine.db.transaction() as tx:
                sold = await booking.confirm(tx, show, booking_id)
            self.promises.append(promise_of(sold))

    async def extend(self) -> None:
        if self.held:
            show_id, booking_id = self.random.choice(self.held)
            show = (await self.engine.office.views.get(show_id)).show
            async with self.engine.db.transaction() as tx:
                found = await booking.extend(tx, show, booking_id)
            self.promises.append(promise_of(found))

    async def cancel(self) -> None:
        if self.held:
            show, booking_id = self.held.pop(self.random.randrange(len(self.held)))
            sold_too = self.random.random() < 0.7
            async with self.engine.db.transaction() as tx:
                ended = await booking.cancel(
                    tx, self.engine.office, show, booking_id, "by_organizer", sold_too=sold_too
                )
            self.promises.append(promise_of(ended))

    async def block(self) -> None:
        view = await self.engine.office.views.get(self.random.choice(self.shows))
        if self.random.random() < 0.5:
            spec = BlockSpec(reason="House", seats=self.random.sample(NAMES, 3))
        else:
            spec = BlockSpec(reason="House", area="Floor", quantity=self.random.randint(1, 5))
        async with self.engine.db.transaction() as tx:
            made = await booking.block(tx, self.engine.office, view, spec, None)
        self.blocks.append((made.show_id, made.block_id))

    async def release(self) -> None:
        if self.blocks:
            show, block_id = self.blocks.pop()
            async with self.engine.db.transaction() as tx:
                await booking.release_block(tx, self.engine.office, show, block_id)

    async def sweep(self) -> None:
        await booking.sweep(self.engine.office)

    async def edit(self) -> None:
        """A capacity up or down, another price, other times."""
        edit = {
            "areas": [{"id": 1, "capacity": self.random.randint(FLOOR // 2, FLOOR)}],
            "hold_seconds": self.random.randint(60, 120),
        }
        async with self.engine.db.transaction() as tx:
            await booking.edit_show(
                tx, self.engine.office, ORGANIZER, self.random.choice(self.shows),
                msgspec.convert(edit, catalog.ShowEdit), None,
            )  # fmt: skip

    async def overdue(self) -> None:
        """Some holds run out at once."""
        await self.engine.db.execute(
            "update bookings set created_at = created_at - interval '1 min', expires_at = clock_timestamp()"
            " where ctid = any (array(select ctid from bookings where show_id = $1 and status = 'PENDING'"
            "                    limit 5 for update skip locked))",
            self.random.choice(self.shows),
        )

    async def prune(self) -> None:
        await booking.prune_keys(self.engine.office)


async def test_two_engines_do_everything_at_once(engines: list[Engine], database_url: str, log: _Log) -> None:
    # Several shows, so that a batch takes several heads; few places, so that everybody is in everybody's way.
    shows = [await open_show(engines[0], areas=AREAS, max_places_per_buyer=12) for _ in range(3)]
    actors = [_Actor(number, engines[number % 2], shows) for number in range(24)]
    await together(actor.act(100) for actor in actors)
    did: Counter[str] = sum((actor.did for actor in actors), Counter())
    print(did)
    assert DEADLOCK not in log.text()
    promises = [promise for actor in actors for promise in actor.promises]
    assert await checker.violations(database_url, promises, all_promised=True) == []
    for deed in (
        "claim_seats",
        "claim_places",
        "claim_best",
        "confirm",
        "extend",
        "cancel",
        "block",
        "release",
        "edit",
    ):
        assert did[deed] > 0, f"{deed} never came to pass"
    # Everything ends, and then everything is free again.
    for show in shows:
        await ended(engines[0], show)
    for actor in actors:
        for show, block_id in actor.blocks:
            async with engines[0].db.transaction() as tx:
                await booking.release_block(tx, engines[0].office, show, block_id)
    assert await checker.violations(database_url) == []
    assert await engines[0].db.value("select count(*) from claims") == 0
    assert await engines[0].db.value("select sum(reserved + blocked) from stock") == 0


async def test_views_end_where_the_database_is(engines: list[Engine], database_url: str) -> None:
    """After the storm each process shows what the tables say, at their revision."""
    show = await open_show(engines[0], areas=AREAS)
    actors = [_Actor(number, engines[number % 2], [show]) for number in range(8)]
    await together(actor.act(40) for actor in actors)
    rows = await engines[0].db.rows("select seat from claims where show_id = $1", show)
    left = await engines[0].db.value(
        "select array_agg(capacity - reserved - blocked order by area) from stock where show_id = $1", show
    )
    revision = await engines[0].db.value("select revision from show_heads where show_id = $1", show)
    for each in engines:

        async def caught_up(each: Engine = each) -> bool:
            view = await each.office.views.get(show)
            return bool(view.revision == revision)

        await eventually(caught_up)
        view = await each.office.views.get(show)
        assert {seat for seat in range(SEATS) if view.is_taken(seat)} == {row["seat"] for row in rows}
        assert view.left == left


async def test_control_a_deadlock_would_be_seen(engine: Engine, database_url: str, log: _Log) -> None:
    """Two who take two heads in opposite order: the server notices, and this is where it says so."""
    shows = [await open_show(engine, total_seats=1) for _ in range(2)]
    lock = "select from show_heads where show_id = $1 for no key update"
    one, two = [await asyncpg.connect(database_url) for _ in range(2)]
    try:
        await one.execute("begin")
        await two.execute("begin")
        await one.execute(lock.replace("$1", f"'{shows[0]}'"))
        await two.execute(lock.replace("$1", f"'{shows[1]}'"))

        async def second(connection: "asyncpg.Connection[asyncpg.Record]", show: ShowId) -> None:
            with suppress(asyncpg.DeadlockDetectedError):
                await connection.execute(lock.replace("$1", f"'{show}'"))
            await connection.execute("rollback")

        await asyncio.gather(second(one, shows[1]), second(two, shows[0]))
    finally:
        await one.close()
        await two.close()

    async def written() -> bool:
        return DEADLOCK in log.text()

    await eventually(written)
