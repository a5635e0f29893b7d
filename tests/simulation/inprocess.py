"""Servers in the process of the test: several engines on one database, each as another process would have it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from random import Random

import asyncpg
import uvicorn

from holdfast import accounts
from holdfast.app import make_app
from holdfast.cli.serving import listen
from holdfast.engine import Engine, open_engine, work
from holdfast.platform.settings import Settings
from tests.conftest import OWNER, eventually
from tests.simulation.doors import HttpDoor
from tests.simulation.faults import Wire
from tests.simulation.history import History, left_undone, read_tables, record_facts
from tests.simulation.workload import Workload

# A client that hears nothing for so long asks again.
ANSWER_SECONDS = 1.5

# Holds of a second, so that a run of a few seconds sees hundreds of them expire. The API asks for ten at least, so the
# rows of the simulation's own database are shortened by hand before anybody has read them.
HOLD_SECONDS, HOLD_SECONDS_MAX = 1, [2, 200, 1, 3]


class _Server(uvicorn.Server):
    """Leaves the signals to the test."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def engines(settings: Settings, number: int) -> AsyncIterator[list[Engine]]:
    """Engines on a database that has an owner; the last sweeps and hands on facts."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(open_engine(settings)) for _ in range(number)]
        async with opened[0].db.transaction() as tx:
            await accounts.create_owner(
                tx, organizer_name="Simulated House", email=OWNER[0], password=OWNER[1]
            )
        stopping = asyncio.Event()
        working = asyncio.create_task(work(opened[-1], stopping))
        try:
            yield opened
        finally:
            stopping.set()
            await working


@asynccontextmanager
async def serving(opened: list[Engine]) -> AsyncIterator[list[int]]:
    """Serves each engine on a port of its own."""
    servers: list[tuple[_Server, asyncio.Task[None]]] = []
    ports: list[int] = []
    for engine in opened:
        listener = listen("127.0.0.1", 0)
        config = uvicorn.Config(
            make_app(engine), lifespan="off", access_log=False, log_config=None, ws="none", timeout_graceful_shutdown=1
        )  # fmt: skip
        server = _Server(config)
        servers.append((server, asyncio.create_task(server.serve(sockets=[listener]))))
        ports.append(listener.getsockname()[1])
    try:
        yield ports
    finally:
        for server, task in servers:
            server.should_exit = True
            await task


async def token(engine: Engine) -> str:
    """The owner's."""
    member = await accounts.first_owner(engine.db)
    assert member is not None
    return engine.access.tokens.issue(member.principal).text


@dataclass
class House:
    """Engines on one database that records its facts and allows short holds, served on `ports`."""

    database_url: str
    engines: list[Engine]
    ports: list[int]


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncIterator[House]:
    """Two engines, served over HTTP, one of which does the background work."""
    assert settings.database_url is not None
    await record_facts(settings.database_url)
    await execute(settings.database_url, "alter table shows drop constraint shows_hold_seconds_check")
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(engines(settings, 2))
        ports = await stack.enter_async_context(serving(opened))
        yield House(settings.database_url, opened, ports)


async def short_run(house: House, *, seed: int, clients: int, calls: int) -> History:
    """So many calls of clients in a house, over a wire that loses some of it; not judged yet."""
    history = History(seed, clients)
    async with Wire(history, house.ports, Random(seed)) as wire:
        with contextlib.closing(HttpDoor(wire.port, ANSWER_SECONDS)) as door:
            workload = Workload(
                history,
                door,
                lambda: token(house.engines[0]),
                opened=_shorten(house.database_url),
                show_seconds=(1.5, 4.0),
            )
            await workload.run(lambda: len(history.calls) >= calls)
    settled_at = history.now
    await eventually(lambda: _done(house.database_url))
    await read_tables(history, house.database_url)
    history.close(swept_until=settled_at)
    return history


def _shorten(database_url: str) -> Callable[[str], Awaitable[None]]:
    counted = count()

    async def shorten(show_id: str) -> None:
        longest = HOLD_SECONDS_MAX[next(counted) % len(HOLD_SECONDS_MAX)]
        change = "update shows set hold_seconds = $2, hold_seconds_max = $3 where show_id = $1::text::uuid"
        await execute(database_url, change, show_id, HOLD_SECONDS, longest)

    return shorten


async def _done(database_url: str) -> bool:
    return await left_undone(database_url) == 0


async def execute(database_url: str, statement: str, *args: object) -> None:
    """Runs one statement on a connection of its own."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statement, *args)
    finally:
        await connection.close()
