"""A long run: a real `up` on a data folder of its own, clients over a wire, and faults of every kind, all from one seed."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx

from tests.cli.running import SOURCE, Up, environment, new_folder
from tests.ports import free_port
from tests.simulation.doors import HttpDoor
from tests.simulation.faults import CLOCKS, PROCESS_FAULTS, Chaos, DatabaseWire, Redis, SmallDisk, Wire
from tests.simulation.history import History, end_sessions, left_undone, read_tables, record_facts
from tests.simulation.workload import Workload

API_PROCESSES = 2
ANSWER_SECONDS = 4.0
THINK_SECONDS = 0.03
PAUSE_SECONDS = (2.0, 8.0)
# After the last fault everything must be swept and handed on in this time.
SETTLE_SECONDS_MAX = 120.0
SIGN_IN_SECONDS_MAX = 120.0


@dataclass
class Plan:
    """What a run is to be. `strategy`: how concurrent claims are ordered, if not by default. `disk`: fill the disk, too, where a file system can be mounted for it."""

    seed: int
    clients: int
    seconds: float
    strategy: str | None = None
    pause: tuple[float, float] = PAUSE_SECONDS
    disk: bool = True


class NotSettled(Exception):
    """The installation did not come to rest after the last fault; the message says what it last did."""


async def run(plan: Plan, watch: Callable[[History], object], say: Callable[[str], object]) -> History:
    """The history of a run, ready to be judged. `watch` is called with it as it grows, `say` with what is being done."""
    folder = new_folder()
    (folder / "data").mkdir()
    clock = folder / "clock"
    clock.write_text("0")
    disk = SmallDisk(folder / "data") if plan.disk and SmallDisk.possible(folder / "data") else None
    if plan.disk and disk is None:
        say("The disk is not filled: that needs root and a mount. Everything else is broken.")
    try:
        async with AsyncExitStack() as stack:
            if disk is not None:
                stack.enter_context(disk)
            redis = stack.enter_context(Redis(folder)) if plan.strategy == "redis_lock" else None
            return await _run(plan, folder, clock, disk, redis, watch, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _run(
    plan: Plan,
    folder: Path,
    clock: Path,
    disk: SmallDisk | None,
    redis: Redis | None,
    watch: Callable[[History], object],
    say: Callable[[str], object],
) -> History:
    port = free_port()
    variables = environment(
        PYTHONPATH=f"{CLOCKS}:{SOURCE}", SIMULATION_CLOCK=str(clock), HOLDFAST_LOG_LEVEL="error"
    )
    if plan.strategy is not None:
        variables["HOLDFAST_STRATEGY"] = plan.strategy
    if redis is not None:
        variables["HOLDFAST_REDIS_URL"] = redis.url

    def start() -> Up:
        return Up(folder, "--no-demo", "--workers", str(API_PROCESSES), port=port, environ=variables)

    say("Starting PostgreSQL, the API and the worker.")
    history = History(plan.seed, plan.clients, plan.strategy or "batched")
    random = Random(f"{plan.seed}:faults")
    chaos = Chaos(history, start, random, pause=plan.pause, clock=clock, disk=disk, redis=redis)
    try:
        await asyncio.to_thread(chaos.up.wait_until_ready)
        dsn, password = chaos.up.dsn, chaos.up.password()
        await record_facts(dsn)
        async with (
            Wire(history, [port], Random(f"{plan.seed}:wire")) as wire,
            DatabaseWire(history, _socket(dsn), Random(f"{plan.seed}:database")),
        ):
            await end_sessions(dsn)
            with contextlib.closing(HttpDoor(wire.port, ANSWER_SECONDS)) as door:
                address = f"http://127.0.0.1:{port}"
                workload = Workload(history, door, lambda: _sign_in(address, password), think=THINK_SECONDS)
                say("Running.")
                async with _beside(chaos.run()), _beside(_watched(history, watch)):
                    until = history.now + plan.seconds
                    await workload.run(lambda: history.now >= until)
        say("Waiting until everything is swept and handed on.")
        settled_at = await _settle(history, chaos, dsn)
        await read_tables(history, dsn)
        # What the server counts itself does not outlive its crashes; its log does.
        history.tables["clock"][0]["deadlocks"] = _deadlocks(folder / "data")
        history.close(swept_until=settled_at)
        return history
    finally:
        log = chaos.up.log[-4000:] if history.end is None else ""
        faults = chaos.up.complaints()[-3:] if any(call.status == 500 for call in history.calls) else []
        await asyncio.to_thread(chaos.up.__exit__, None, None, None)
        if log:
            say(f"The end of the server's log:\n{log}")
        for line in faults:
            say(f"A fault of the server: {line}")


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Does something else until the block ends."""
    task = asyncio.create_task(work)
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watched(history: History, watch: Callable[[History], object]) -> None:
    while True:
        watch(history)
        await asyncio.sleep(0.5)


async def _sign_in(url: str, password: str) -> str:
    """The owner's token, as soon as somebody can give one."""
    until = time.monotonic() + SIGN_IN_SECONDS_MAX
    credentials = {"email": "owner@example.org", "password": password}
    while True:
        try:
            async with httpx.AsyncClient(base_url=url, timeout=ANSWER_SECONDS, verify=False) as client:
                answer = await client.post("/v1/auth/token", json=credentials)
            if answer.status_code == 200:
                token: str = answer.json()["access_token"]
                return token
            said = answer.text
        except httpx.TransportError as error:
            said = repr(error)
        if time.monotonic() > until:
            raise NotSettled(f"Nobody can sign in: {said}")
        await asyncio.sleep(0.2)


async def _settle(history: History, chaos: Chaos, dsn: str) -> float:
    """Waits until nothing is overdue any more and no fact waits; when that was."""
    until = time.monotonic() + SETTLE_SECONDS_MAX
    said = ""
    while time.monotonic() < until:
        await chaos.revive()
        at = history.now
        try:
            ready = await asyncio.to_thread(chaos.up.get, "/readyz")
            undone = await left_undone(dsn)
            if ready.status_code == 200 and undone == 0:
                return at
            said = f"{undone} overdue holds and waiting facts; /readyz says {ready.text}"
        except (OSError, httpx.TransportError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            said = repr(error)
        await asyncio.sleep(0.5)
    alive = await asyncio.to_thread(
        lambda: [f"{p.status()} {' '.join(p.cmdline())[-60:]}" for p in chaos.up.family()]
    )
    broken = [fault for fault in history.faults if fault.kind in PROCESS_FAULTS]
    last = [f"{fault.at:.1f} {fault.kind} {fault.detail}" for fault in broken[-8:]]
    raise NotSettled("\n".join([f"{SETTLE_SECONDS_MAX:.0f} s after the last fault: {said}", *last, *alive]))


def _socket(dsn: str) -> Path:
    folder, port = (parse_qs(urlsplit(dsn).query)[name][0] for name in ("host", "port"))
    return Path(folder) / f".s.PGSQL.{port}"


def _deadlocks(data: Path) -> int:
    logs = [*data.glob("postgres.log*"), *(data / "postgres").resolve().parent.glob("postgres.log*")]
    return sum(
        log.read_text("utf-8", "replace").count("deadlock detected") for log in set(map(Path.resolve, logs))
    )
