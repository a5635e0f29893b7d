"""Where a benchmark plays: a private folder with a PostgreSQL of its own, a database per scenario, servers under test.

The servers are the product's: `python -m holdfast api` and `worker` in processes of their own, with the environment that
`holdfast up` gives them and the settings of production; their logs go to a file in the folder.
"""

import asyncio
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, get_args

import asyncpg
import msgspec

from bench import machine
from bench.audit import require_durable
from bench.load import ROOT, last_words
from holdfast import accounts, booking, catalog
from holdfast.booking import Office
from holdfast.cli.serving import listen
from holdfast.platform import clock, migrate
from holdfast.platform.broadcast import Broadcast
from holdfast.platform.cache import Cache
from holdfast.platform.db import open_database
from holdfast.platform.embedded import Server
from holdfast.platform.embedded_programs import bind_to_parent
from holdfast.platform.secret import Secrets, generate
from holdfast.platform.settings import Settings, environment

READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
LOOK_SECONDS = 0.05
QUIET_SECONDS = 0.3
TEMPLATE = "bench_template"
BATCHED = "batched"
# Holds outlive every run, so that nothing is swept in the middle; `memory` asks for less.
HOLD_SECONDS = 3600
# For children; whatever the caller has set of HOLDFAST_* would change what is measured.
_KEPT = frozenset({"HOLDFAST_POSTGRES_BIN", "HOLDFAST_REDIS_URL"})


class StageFailed(Exception):
    """The stage could not be set; the message says why and what to do."""


def strategies() -> list[str]:
    """The strategies that this version of the product has and that can run here; the default one first."""
    hints = Settings.__annotations__.get("strategy") if "strategy" in Settings.__struct_fields__ else None
    if hints is None:
        return [BATCHED]
    found: list[str] = []
    waiting = [hints]
    while waiting:
        hint = waiting.pop(0)
        found += [each for each in get_args(hint) if isinstance(each, str)]
        waiting += [each for each in get_args(hint) if not isinstance(each, str)]
    return [each for each in found if each != "redis_lock" or has_redis()]


def has_redis() -> bool:
    """Whether a Redis can be started here, and the product can be told of it."""
    return "redis_url" in Settings.__struct_fields__ and shutil.which("redis-server") is not None


class CodeChanged(StageFailed):
    """The servers have other code than the one that made the database."""


@dataclass(frozen=True)
class Variant:
    """What is compared within a scenario. `app` is `holdfast`, or `floor` or `echo` of floor.py."""

    name: str
    strategy: str = BATCHED
    app: str = "holdfast"
    workers: int = 1
    # What else this variant differs by: shows of `spread`, old bookings of `history`.
    number: int = 0


class Stage:
    """The private folder and its PostgreSQL. `async with` starts it, checks that it is durable, and removes it all."""

    def __init__(self, parent: Path | None = None, *, keep: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-bench-", dir=parent))
        # Root's server has an account of its own, which must be able to reach it.
        self.folder.chmod(0o755)
        self.keep = keep
        self.secret = generate()
        self.server = Server(self.folder / "data", binaries=os.environ.get("HOLDFAST_POSTGRES_BIN") or None)
        self.durability: dict[str, str] = {}
        self.redis: subprocess.Popen[bytes] | None = None
        self.redis_url: str | None = None

    @property
    def log(self) -> Path:
        return self.folder / "servers.log"

    async def __aenter__(self) -> Self:
        try:
            self.server.start()
            self.durability = await require_durable(self.server.dsn)
            await self._execute(f"create database {TEMPLATE}")
            await self._fill_template()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.redis is not None:
            _end([self.redis])
        self.server.stop()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    async def settings_of_database(self) -> dict[str, str]:
        """What of PostgreSQL's settings matters for speed, with what makes it durable."""
        connection = await asyncpg.connect(self.server.dsn)
        try:
            rows = await connection.fetch(
                "select name, current_setting(name) as value from pg_settings where name in ('shared_buffers', "
                "'wal_compression', 'wal_sync_method', 'max_wal_size', 'server_version', 'jit')"
            )
        finally:
            await connection.close()
        return {**self.durability, **{row["name"]: row["value"] for row in rows}}

    @asynccontextmanager
    async def books(self, name: str) -> AsyncIterator["Books"]:
        """A fresh database with one organizer, dropped at the end."""
        await self._execute(f"create database {name} template {TEMPLATE} strategy file_copy")
        try:
            yield Books(self, name, self._url(name))
        finally:
            await self._execute(f"drop database {name} with (force)")

    def settings(self, url: str, strategy: str = BATCHED) -> Settings:
        """The settings of a process under test: the defaults, as a new installation has them, but without limits."""
        settings = Settings(
            database_url=url, secret_key=self.secret, data=str(self.folder / "data"), rate_limits="off"
        )
        changes: dict[str, Any] = {}
        if "strategy" in Settings.__struct_fields__:
            changes["strategy"] = strategy
        if strategy == "redis_lock":
            changes["redis_url"] = self._redis()
        return msgspec.structs.replace(settings, **changes)

    def environment(self, settings: Settings, **more: str) -> dict[str, str]:
        """The environment of a child."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("HOLDFAST_") or name in _KEPT
        }
        return {**kept, **environment(settings), **more}

    @property
    def redis_pid(self) -> int | None:
        return self.redis.pid if self.redis is not None else None

    def _redis(self) -> str:
        if self.redis_url is None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            command = [
                "redis-server",
                "--bind",
                "127.0.0.1",
                "--port",
                str(port),
                "--save",
                "",
                "--appendonly",
                "no",
            ]
            self.redis = _start(command, dict(os.environ), self.folder / "redis.log")
            self.redis_url = f"redis://127.0.0.1:{port}/0"
        return self.redis_url

    async def _fill_template(self) -> None:
        database = await open_database(self.settings(self._url(TEMPLATE)))
        try:
            await migrate.migrate(database)
            async with database.transaction() as tx:
                await accounts.create_owner(
                    tx, organizer_name="Bench", email="owner@example.org", password=generate()
                )
        finally:
            await database.close()

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.server.dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _url(self, name: str) -> str:
        return self.server.dsn.replace("postgresql:///holdfast?", f"postgresql:///{name}?")


@dataclass
class Books:
    """The database of one scenario."""

    stage: Stage
    name: str
    url: str

    async def open_shows(
        self, count: int = 1, *, seats: int = 0, standing: int = 0, hold_seconds: int = HOLD_SECONDS
    ) -> list[str]:
        """Ids of new free shows on sale: of `seats` numbered 1 to n, or of so many `standing` places."""
        database = await open_database(self.stage.settings(self.url))
        try:
            office = Office(
                database,
                Broadcast(database),
                Cache(),
                self.stage.settings(self.url),
                Secrets(self.stage.secret),
            )
            owner = await accounts.first_owner(database)
            assert owner is not None
            floor: list[catalog.AreaSpec] = [catalog.StandingAreaSpec("Floor", standing)]
            spec = catalog.ShowSpec(
                name="Benchmark", start_time=clock.now() + timedelta(days=30), hold_seconds=hold_seconds,
                hold_seconds_max=max(hold_seconds, 900),
                **({"areas": floor} if standing else {"total_seats": seats}),
            )  # fmt: skip
            made = []
            async with database.transaction() as tx:
                for _ in range(count):
                    show, _ = await booking.open_show(tx, office, owner.organizer_id, spec)
                    made.append(str(show.show_id))
        finally:
            await database.close()
        return made

    async def settle(self) -> None:
        """Every run begins alike: nothing waits to be handed on, nothing to be written back."""
        await self.execute("truncate outbox", "truncate jobs", "checkpoint")

    async def execute(self, *statements: str) -> None:
        """Runs statements, each in its own transaction."""
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def value(self, query: str) -> Any:
        """The first column of the first row."""
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    async def wal_position(self) -> int:
        """Bytes of WAL written since the cluster was made."""
        return int(await self.value("select pg_current_wal_lsn() - '0/0'::pg_lsn"))

    async def buffers_touched(self) -> int:
        """Pages that sessions found or read, autovacuum's left out where the server tells them apart (16 and newer)."""
        if int(await self.value("select current_setting('server_version_num')::int")) >= 160000:
            query = "select sum(hits + reads)::bigint from pg_stat_io where backend_type = 'client backend'"
        else:
            query = "select blks_hit + blks_read from pg_stat_database where datname = current_database()"
        return int(await self.value(query))


@dataclass
class Served:
    """Servers under test, ready; and the worker beside them."""

    port: int
    apis: list[subprocess.Popen[bytes]]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.apis]

    @property
    def worker_pids(self) -> list[int]:
        return [process.pid for process in self.workers]

    def rss_mb(self) -> float:
        """Resident memory of the API processes."""
        return machine.tree_rss_bytes(self.pids) / 2**20

    def metrics(self) -> dict[str, float]:
        """What the servers count: `name{labels}` to value, of all API processes together."""
        found: dict[str, float] = {}
        for line in self.ask("/metrics").splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    def ask(self, path: str) -> str:
        """The body of a GET. Raises StageFailed unless it is 200."""
        return self._ask([path])

    def ask_all(self, paths: Sequence[str]) -> float:
        """Asks for one after the other on one connection; the seconds that it took. Raises StageFailed."""
        began = time.monotonic()
        self._ask(paths)
        return time.monotonic() - began

    def _ask(self, paths: Sequence[str]) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        text, path = "", ""
        try:
            for path in paths:
                connection.request("GET", path)
                answer = connection.getresponse()
                text = answer.read().decode()
                if answer.status == 503 and "holdfast migrate" in text:
                    raise CodeChanged(
                        "The code was changed while it was measured. Start again, and leave it alone meanwhile."
                    )
                if answer.status != 200:
                    raise StageFailed(f"GET {path}: {answer.status}")
        except (OSError, http.client.HTTPException) as error:
            raise StageFailed(f"GET {path}: {error}") from error
        finally:
            connection.close()
        return text


@asynccontextmanager
async def serve(stage: Stage, books: Books, variant: Variant) -> AsyncIterator[Served]:
    """The variant's API processes on one listening socket, and a worker, until the end of the block."""
    settings = stage.settings(books.url, variant.strategy)
    listener = listen("127.0.0.1", 0)
    listener.set_inheritable(True)
    served = Served(listener.getsockname()[1], [])
    with _counters(stage) as counters:
        api_environment = stage.environment(settings, PROMETHEUS_MULTIPROC_DIR=str(counters))
        fd = str(listener.fileno())
        try:
            for _ in range(variant.workers):
                served.apis.append(
                    _start(_command(variant, fd), api_environment, stage.log, listener.fileno())
                )
            if variant.app == "holdfast":
                worker = [sys.executable, "-P", "-m", "holdfast", "worker"]
                served.workers.append(_start(worker, stage.environment(settings), stage.log))
            await _wait_until_ready(served, variant, stage)
            await _wait_until_quiet([*served.pids, *served.worker_pids])
            yield served
            for process in (*served.apis, *served.workers):
                if process.poll() is not None:
                    raise StageFailed(
                        f"a server under test ended with status {process.returncode}: {last_words(stage.log)}"
                    )
        finally:
            listener.close()
            await asyncio.to_thread(_end, [*served.apis, *served.workers])


def _command(variant: Variant, fd: str) -> list[str]:
    if variant.app == "holdfast":
        return [sys.executable, "-P", "-m", "holdfast", "api", "--fd", fd]
    return [sys.executable, "-m", "bench.floor", variant.app, "--fd", fd]


@contextmanager
def _counters(stage: Stage) -> Iterator[Path]:
    """An empty folder for the counters that the API processes share, as `up` makes one."""
    folder = Path(tempfile.mkdtemp(prefix="metrics-", dir=stage.folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    command: Sequence[str], environ: dict[str, str], log: Path, keep_open: int | None = None
) -> subprocess.Popen[bytes]:
    with open(log, "ab") as written:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            pass_fds=() if keep_open is None else (keep_open,),
            # A group of its own: Ctrl-C is for us, who then stop it in order.
            process_group=0,
            preexec_fn=bind_to_parent(signal.SIGKILL),  # noqa: PLW1509 -- it takes no lock
        )


async def _wait_until_ready(served: Served, variant: Variant, stage: Stage) -> None:
    limit = time.monotonic() + READY_SECONDS_MAX
    path = "/readyz" if variant.app == "holdfast" else "/"
    while time.monotonic() < limit:
        for process in (*served.apis, *served.workers):
            if process.poll() is not None:
                raise StageFailed(
                    f"{variant.name} ended with status {process.returncode} at its start: {last_words(stage.log)}"
                )
        try:
            served.ask(path)
        except CodeChanged:
            raise
        except StageFailed as failure:
            # The floor knows no such path; that it answers is enough.
            if str(failure).endswith("404"):
                return
            await asyncio.sleep(LOOK_SECONDS)
        else:
            return
    raise StageFailed(f"{variant.name} does not answer: {last_words(stage.log)}")


async def _wait_until_quiet(pids: Sequence[int]) -> None:
    """Until nobody is starting any more: one of several processes answers before the others are there."""
    limit = time.monotonic() + READY_SECONDS_MAX
    spent = machine.tree_seconds(pids)
    while time.monotonic() < limit:
        await asyncio.sleep(QUIET_SECONDS)
        before, spent = spent, machine.tree_seconds(pids)
        if spent - before < QUIET_SECONDS / 10:
            return


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    limit = time.monotonic() + STOP_SECONDS_MAX
    for process in processes:
        try:
            process.wait(max(0.1, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
