"""A real PostgreSQL for every test run, and a database of its own for every test: a clone of one migrated template."""

import asyncio
import functools
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import psutil
import pytest
import structlog

from holdfast import accounts
from holdfast.accounts.passwords import hashed
from holdfast.app import make_app
from holdfast.engine import Engine, open_engine
from holdfast.platform import migrate
from holdfast.platform.db import Database, open_database
from holdfast.platform.embedded import Server
from holdfast.platform.ids import new_id
from holdfast.platform.settings import Settings
from tests.rabbit import Rabbit

SECRET = "a-secret-for-tests-and-nothing-else"
OWNER = ("owner@example.org", "correct horse battery staple")
OWNED = """with house as (insert into organizers (organizer_id, name) values ($1, 'Test House')),
owner as (insert into people (person_id, email, password_hash) values ($2, $3, $4))
insert into members (organizer_id, person_id, role) values ($1, $2, 'owner')"""
TEMPLATE = "template_holdfast"
# Making and dropping a database of a thousand small files is what most tests would otherwise spend their time on: in
# memory it takes a tenth of it. Killed processes lose nothing of it; that a disk may is a matter of fsync, not of tests.
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 8 << 30
if (
    MEMORY.is_dir()
    and min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) >= MEMORY_BYTES_MIN
):
    tempfile.tempdir = str(MEMORY)
# Durability is what tests/crashes is about; the others need not wait for the disk.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "128MB"}


# What must stand in no log line, before the product's own last net masks it: an address, a token.
UNFIT_FOR_LOGS = re.compile(r"[\w.%+~-]*\w@[\w-]+\.\w|(?i:bearer[ :=]+)[\w.~+/=-]{8,}")
_unfit_lines: list[str] = []


@pytest.fixture(autouse=True, scope="session")
def plain_logs() -> Iterator[None]:
    log_plainly(logging.INFO)
    handler = _Reading(logging.NOTSET)
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def nobody_in_the_logs(plain_logs: None) -> Iterator[None]:
    """Fails the test in which a line with an e-mail address or a token was logged."""
    _unfit_lines.clear()
    yield
    assert _unfit_lines == [], "an address or a token was logged"


class _Reading(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _read(None, "", {"event": record.getMessage(), "error": repr(record.exc_info and record.exc_info[1])})


def _read(_: Any, _level: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if UNFIT_FOR_LOGS.search(text := str(event)):
        _unfit_lines.append(text)
    return event


def log_plainly(level: int) -> None:
    """Short lines: structlog's own default draws the local variables of every frame, which takes seconds."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _read,
            structlog.processors.KeyValueRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of this test process, with a migrated template database."""
    # The server's account must be able to reach the folder, which pytest's own are too private for.
    folder = Path(tempfile.mkdtemp(prefix="holdfast-tests-"))
    folder.chmod(0o755)
    try:
        with Server(folder / "data", settings=FAST) as running:
            asyncio.run(_make_template(running.dsn))
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _make_template(dsn: str) -> None:
    await _execute(dsn, f"create database {TEMPLATE}")
    database = await open_database(Settings(database_url=_url(dsn, TEMPLATE)))
    await migrate.migrate(database)
    await database.close()


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _url(dsn: str, name: str) -> str:
    return dsn.replace("postgresql:///holdfast?", f"postgresql:///{name}?")


@pytest.fixture
async def database_url(server: Server) -> AsyncIterator[str]:
    """A fresh, migrated database."""
    name = f"test_{uuid4().hex}"
    # Copied file by file: the other way writes every page to the log.
    await _execute(server.dsn, f"create database {name} template {TEMPLATE} strategy file_copy")
    yield _url(server.dsn, name)
    await _execute(server.dsn, f"drop database {name} with (force)")


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(
        database_url=database_url,
        secret_key=SECRET,
        seed_routes="open",
        rate_limits="off",
        log_level="warning",
    )


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Database]:
    database = await open_database(settings)
    yield database
    await database.close()


@functools.cache
def _owner_hash() -> str:
    """Hashing a password takes a third of a second, which is its purpose but not that of a test."""
    return hashed(OWNER[1])


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    """An engine on a fresh database that has one organizer and its owner."""
    async with open_engine(settings) as opened:
        await opened.db.execute(OWNED, new_id(), new_id(), OWNER[0], _owner_hash())
        yield opened


@pytest.fixture
def open_another(settings: Settings) -> Callable[..., Any]:
    """A way to have one more engine on the same database, as another process would: use it by `async with`."""

    def opened(**changes: Any) -> Any:
        return open_engine(msgspec.structs.replace(settings, **changes))

    return opened


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    """A caller without any right, speaking to the whole app in process."""
    async with client_of(engine) as opened:
        yield opened


@pytest.fixture
async def owner(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    """The same, signed in as the owner."""
    member = await accounts.first_owner(engine.db)
    assert member is not None
    token = engine.access.tokens.issue(member.principal)
    async with client_of(engine, Authorization=f"Bearer {token.text}") as opened:
        yield opened


def client_of(engine: Engine, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(make_app(engine), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://holdfast.test", headers=headers)


@pytest.fixture
def a_show(owner: httpx.AsyncClient) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Makes a show by the API; keywords go over a default of 10 free seats `1` to `10`."""

    async def make(**changes: Any) -> dict[str, Any]:
        body = {"name": "Hamlet", "start_time": "2030-12-24T20:00:00+01:00", **changes}
        if not {"areas", "total_seats", "layout_id"} & body.keys():
            body["total_seats"] = 10
        answer = await owner.post("/v1/shows", json=body)
        assert answer.status_code == 201, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    return make


@pytest.fixture(scope="session")
def rabbits() -> Iterator[Rabbit]:
    """The RabbitMQ of this test process."""
    program("rabbitmq-server")
    running = Rabbit(program("epmd"))
    yield running
    running.close()


@pytest.fixture
def rabbit(rabbits: Rabbit) -> Rabbit:
    """A RabbitMQ that runs, whatever the test before has done to it."""
    rabbits.ensure()
    return rabbits


@functools.cache
def program(name: str) -> str:
    """The path of a system program that a test needs; installed by apt when we may, else the test is left out."""
    packages = {"redis-cli": "redis-tools", "pg_ctlcluster": "postgresql", "epmd": "erlang-base"}
    package = packages.get(name, name)
    if shutil.which(name) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
            subprocess.run(["apt-get", "-qq", *command], check=False, capture_output=True)
        if package == "rabbitmq-server":
            # Debian may have started the one that it installed.
            subprocess.run(["service", package, "stop"], check=False, capture_output=True)
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt install {package}")
    return found


async def eventually(
    condition: Callable[[], Awaitable[bool]], *, tries: int = 400, pause: float = 0.025
) -> None:
    """Waits for a condition; a bound instead of a sleep, so that a slow machine is slow and not wrong."""
    for _ in range(tries):
        if await condition():
            return
        await asyncio.sleep(pause)
    raise AssertionError("it never came true")
