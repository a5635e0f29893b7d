"""Crowds of buyers for the race tests: what they ask for, by which door, and what they were told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec

from holdfast import booking, catalog
from holdfast.booking import Asker, ClaimRequest
from holdfast.booking.claiming import Claimer
from holdfast.engine import Engine
from holdfast.platform.db import DataError
from holdfast.platform.errors import Busy, Refusal
from holdfast.platform.ids import OrganizerId, ShowId, new_id
from tests.conftest import eventually
from tests.races.checker import Promise

ORGANIZER = OrganizerId(UUID(int=7))
BUSY_MAX = 500


@dataclass
class Refused:
    """A no: its code, and the seats that it named."""

    code: str
    seats: tuple[str, ...] = ()


@dataclass
class Told:
    """Everything that a crowd was told."""

    promises: list[Promise] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    seats_refused: set[str] = field(default_factory=set)

    @property
    def places(self) -> int:
        """How many places were promised."""
        return sum(promise.quantity for promise in self.promises)


# One way to ask: by the front door of the domain, or over HTTP.
Door = Callable[[ClaimRequest], Coroutine[Any, Any, Promise | Refused]]


def claimer_of(engine: Engine) -> Claimer:
    """The batching claimer, to look at what waits in it."""
    claimer = engine.office.claimer
    assert isinstance(claimer, Claimer)
    return claimer


def domain_door(engine: Engine, show_id: ShowId) -> Door:
    """Asks `booking.claim`. A constraint of the database that says no is the refusal `constraint`."""

    async def ask(request: ClaimRequest) -> Promise | Refused:
        try:
            claimed = await booking.claim(engine.office, show_id, request, Asker())
        except Refusal as refusal:
            return Refused(refusal.code, tuple(refusal.members.get("seats", ())))
        except DataError:
            return Refused("constraint")
        return promise_of(claimed.booking)

    return ask


def http_door(client: httpx.AsyncClient, show_id: ShowId) -> Door:
    """Asks `POST /v1/shows/{show}/bookings`."""

    async def ask(request: ClaimRequest) -> Promise | Refused:
        body = {name: value for name, value in msgspec.to_builtins(request).items() if value is not None}
        answer = await client.post(f"/v1/shows/{show_id}/bookings", json=body)
        told = answer.json()
        if answer.status_code == 201:
            return Promise(show_id, UUID(told["id"]), told["status"], len(told["places"]))
        return Refused(told["code"], tuple(told.get("seats", ())))

    return ask


def promise_of(made: booking.Booking) -> Promise:
    """What the booking says of itself."""
    return Promise(made.show_id, made.booking_id, made.status, made.quantity, made.seats)


async def open_show(engine: Engine, **spec: Any) -> ShowId:
    """Opens a show by the domain's front door; keywords are those of ShowSpec as JSON has them."""
    body = {"name": "Hamlet", "start_time": "2030-12-24T20:00:00+01:00", **spec}
    async with engine.db.transaction() as tx:
        if not await tx.value("select 1 from organizers where organizer_id = $1", ORGANIZER):
            await tx.execute(
                "insert into organizers (organizer_id, name) values ($1, 'Race House')", ORGANIZER
            )
        show, _ = await booking.open_show(
            tx, engine.office, ORGANIZER, msgspec.convert(body, catalog.ShowSpec)
        )
    return show.show_id


async def claims(engine: Engine, show_id: ShowId, requests: Iterable[ClaimRequest]) -> list[booking.Booking]:
    """Bookings for all of these requests, which must all succeed."""
    claimed = await asyncio.gather(
        *(booking.claim(engine.office, show_id, request, Asker(new_id().bytes)) for request in requests)
    )
    return [each.booking for each in claimed]


async def a_crowd(
    doors: Sequence[Door],
    wishes: Callable[[Random], ClaimRequest],
    *,
    clients: int,
    tries: int,
    asks_max: int = 1000,
) -> Told:
    """Clients who ask and ask, spread over the doors, until each has heard no `tries` times in a row.

    `asks_max` ends them where a broken database never says no.
    """
    told = Told()

    async def one(number: int) -> None:
        random, door, refused, busy = Random(number), doors[number % len(doors)], 0, 0
        for _ in range(asks_max):
            if refused >= tries:
                break
            answer = await door(wishes(random))
            if isinstance(answer, Promise):
                told.promises.append(answer)
                refused = 0
            elif answer.code == Busy.code:
                busy += 1
                assert busy <= BUSY_MAX, "it never stops being busy"
                await asyncio.sleep(0.01)
            else:
                told.refusals[answer.code] += 1
                told.seats_refused.update(answer.seats)
                refused += 1

    await together(one(number) for number in range(clients))
    return told


class HeldHead:
    """A show whose head somebody else holds, so that every change of its inventory waits."""

    def __init__(self, connection: Any, watching: Any, show_id: ShowId) -> None:
        self._connection = connection
        self._watching = watching
        self._show_id = show_id
        self._transaction = connection.transaction()

    async def take(self) -> None:
        """Locks the head."""
        await self._transaction.start()
        await self._connection.execute(
            "select from show_heads where show_id = $1 for no key update", self._show_id
        )

    async def waited_for_by(self, count: int) -> None:
        """Waits until so many sessions of this database wait for a lock."""

        async def there() -> bool:
            return bool(await self._watching.fetchval(_WAITING, self._connection.get_server_pid()) >= count)

        await eventually(there)

    async def also(self, statement: str) -> None:
        """Does something more while the head is held."""
        await self._connection.execute(statement)

    async def commit(self) -> None:
        """Keeps what was done, and lets the others go on."""
        await self._transaction.commit()

    async def let_go(self) -> None:
        """Lets the others go on."""
        await self._transaction.rollback()


_WAITING = """select count(distinct l.pid) from pg_locks l join pg_stat_activity a on a.pid = l.pid
 where not l.granted and a.datname = current_database() and l.pid <> $1"""


@asynccontextmanager
async def held_head(database_url: str, show_id: ShowId) -> AsyncIterator[HeldHead]:
    """Holds a show's head until `let_go` or the end of the block."""
    connection = await asyncpg.connect(database_url)
    watching = await asyncpg.connect(database_url)
    try:
        held = HeldHead(connection, watching, show_id)
        await held.take()
        yield held
    finally:
        await connection.close()
        await watching.close()


async def together(work: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """All at once; the first failure ends the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
    return [task.result() for task in tasks]
