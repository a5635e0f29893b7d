"""The only door to PostgreSQL. Two types say who may commit:

* a `Database` begins transactions: functions that take one are whole operations with their own commit;
* a `Transaction` can neither begin nor commit: functions that take one join their caller's.

SQL is written in `queries.sql` beside the code that uses it and is called by name: `sql.show_by_id`. A lost
connection, a full pool and a server that starts or stops are `Busy` to the caller, never a stack trace.

Two roles of the database, which nobody signs in as, say how much is seen (migration 0006): the engine acts as
`holdfast_app`, and `Database.of(organizer_id)` as `holdfast_tenant`, to which other organizers' rows are not there. A
connection keeps its role for life, because PostgreSQL plans again whenever the role changes.
"""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from asyncpg import Record

from holdfast.platform import telemetry
from holdfast.platform.errors import Busy
from holdfast.platform.settings import BadSetting, Settings

__all__ = [
    "APP",
    "TENANT",
    "CheckViolation",
    "Contention",
    "DataError",
    "Database",
    "NotPermitted",
    "Query",
    "Record",
    "Transaction",
    "UniqueViolation",
    "load_queries",
    "no_transaction_is_open",
    "open_database",
]

# The roles of migration 0006.
APP, TENANT = "holdfast_app", "holdfast_tenant"

UniqueViolation = asyncpg.UniqueViolationError
CheckViolation = asyncpg.CheckViolationError
# What PostgreSQL or the driver says of values that it cannot take, or of rows that break a constraint.
DataError = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.InterfaceError,
    asyncpg.RaiseError,
)
# The role in which a statement ran may not do that. Row level security hides what it can and raises this for the rest.
NotPermitted = asyncpg.InsufficientPrivilegeError
# Two transactions met: the same work, done again, may succeed.
Contention = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    # Too many connections, no memory, a full disk.
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.ConnectionDoesNotExistError,
    # A standby, or a primary that was made one; a server whose keeper stopped all writing before the disk is full.
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
_HEADING = re.compile(r"^-- name: ([a-z][a-z0-9_]*)$", re.MULTILINE)
_LISTEN_AGAIN_SECONDS = 0.5
_LISTEN_ASK_SECONDS = 10.0
# Inside a transaction something else may be read on a second connection. It is always to be had, because transactions
# take no more than this share of the pool: else as many as there are connections would wait for one another.
_TRANSACTIONS_SHARE = 0.75
# Staff are few beside buyers: their connections are a quarter on top of `pool_max`, and made when they are needed.
_TENANTS_SHARE = 0.25
_TENANTS_MIN = 2

log = telemetry.log("db")
_open: ContextVar[bool] = ContextVar("transaction_is_open", default=False)


class _NotMigrated(Exception):
    """The server does not know the role yet that a connection is to act in."""


class Query:
    """One named query; `name` is `<folder>.<heading>`, as metrics and the server's log show it."""

    __slots__ = ("name", "seconds", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = f"/* {name} */ {text.strip().rstrip(';')}"
        self.seconds = telemetry.DB_QUERY_SECONDS.labels(name)


def load_queries(module_file: str, name: str = "queries.sql") -> SimpleNamespace:
    """The named queries of the file `name` beside the module: `-- name: show_by_id` becomes `sql.show_by_id`."""
    path = Path(module_file).with_name(name)
    _, *parts = _HEADING.split(path.read_text("utf-8"))
    names, bodies = parts[::2], parts[1::2]
    assert len(set(names)) == len(names), f"two queries have one name in {path}"
    return SimpleNamespace(
        **{n: Query(f"{path.parent.name}.{n}", b) for n, b in zip(names, bodies, strict=True)}
    )


class _Connection(asyncpg.Connection):
    """A connection that is given back without a round trip: nothing here ever changes the session's state."""

    def get_reset_query(self) -> str:
        return ""


class Transaction:
    """A transaction that somebody else began and will commit. READ COMMITTED."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._callbacks: list[Callable[[], None]] = []

    async def row(self, query: Query | str, *args: Any) -> Record | None:
        """The first row, or None."""
        with _observed(query) as text:
            row: Record | None = await self._connection.fetchrow(text, *args)
        return row

    async def rows(self, query: Query | str, *args: Any) -> list[Record]:
        """All rows."""
        with _observed(query) as text:
            rows: list[Record] = await self._connection.fetch(text, *args)
        return rows

    async def value(self, query: Query | str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        with _observed(query) as text:
            return await self._connection.fetchval(text, *args)

    async def execute(self, query: Query | str, *args: Any) -> int:
        """Runs it; the number of rows that it touched."""
        with _observed(query) as text:
            status: str = await self._connection.execute(text, *args)
        last = status.rpartition(" ")[2]
        return int(last) if last.isdigit() else 0

    async def script(self, text: str, seconds_max: float) -> None:
        """Runs statements that may take longer than the setting `query_seconds` allows, each after the other."""
        with _translated():
            await self._connection.execute(text, timeout=seconds_max)

    async def many(self, query: Query, rows: Sequence[Sequence[Any]]) -> None:
        """Runs it once for each row of arguments, without waiting in between."""
        with _observed(query) as text:
            await self._connection.executemany(text, rows)

    async def copy(self, table: str, columns: Sequence[str], records: Iterable[Sequence[Any]]) -> None:
        """Writes many rows by COPY, which PostgreSQL grants to no role that row level security holds for."""
        with _translated():
            await self._connection.copy_records_to_table(table, columns=columns, records=records)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Calls `callback` once the commit has succeeded; never after a rollback. It must not raise."""
        self._callbacks.append(callback)


class _Pool:
    """Connections in one role, and the turns of the transactions that use them."""

    def __init__(self, settings: Settings, role: str | None, size_max: int) -> None:
        self._settings = settings
        self._role = role
        self._size_max = size_max
        self._turns = asyncio.Semaphore(max(1, int(size_max * _TRANSACTIONS_SHARE)))
        self._pool: Any = None
        self.is_measured = False

    async def open(self, *, size_min: int) -> None:
        """Makes the first `size_min` connections; the rest when they are needed."""
        self._pool = await asyncpg.create_pool(
            min_size=size_min,
            max_size=self._size_max,
            max_inactive_connection_lifetime=self._settings.idle_seconds,
            max_queries=10_000_000,
            connect=lambda *_args, **_kwargs: _connect(self._settings, self._role),
            connection_class=_Connection,
        )

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Until the end of the block one transaction more is under way."""
        with _translated():
            async with asyncio.timeout(self._settings.connect_seconds):
                await self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection of one's own until the end of the block. Raises Busy when none is free in time."""
        started = time.perf_counter()
        with _translated():
            connection = await self._pool.acquire(timeout=self._settings.connect_seconds)
        telemetry.DB_POOL_WAIT_SECONDS.observe(time.perf_counter() - started)
        telemetry.DB_POOL_USED.inc()
        try:
            yield connection
        finally:
            # Bounded, because a server that hangs must not keep the caller from its own deadline; a connection that
            # cannot be given back in order is closed, and the pool makes another.
            try:
                with suppress(asyncpg.InterfaceError, *_AWAY):
                    await self._pool.release(connection, timeout=self._settings.connect_seconds)
            finally:
                telemetry.DB_POOL_USED.dec()
                if self.is_measured:
                    telemetry.DB_POOL_SIZE.set(self._pool.get_size())

    async def close(self) -> None:
        """Closes every connection, at once where it does not go quietly."""
        try:
            async with asyncio.timeout(self._settings.connect_seconds):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()


class Database:
    """A pool of connections to one PostgreSQL; made by `open_database`."""

    _begin = "begin"

    def __init__(self, settings: Settings, pool: _Pool, tenants: _Pool) -> None:
        self._settings = settings
        self._pool = pool
        self._tenants = tenants
        self._listeners: set[asyncio.Task[None]] = set()
        # One statement is a transaction by itself.
        self._alone = pool.connection

    def of(self, organizer_id: UUID) -> "Database":
        """The same database as far as this organizer may see and change it, on connections of the role TENANT.

        It costs nothing to ask for. Each use has three round trips where a statement alone has one here; nothing that
        is kept for others to read may be loaded through it.
        """
        return _Tenant(self._settings, self._tenants, organizer_id)

    async def row(self, query: Query | str, *args: Any) -> Record | None:
        """The first row, or None; in a transaction of its own, one round trip."""
        async with self._alone() as connection:
            return await Transaction(connection).row(query, *args)

    async def rows(self, query: Query | str, *args: Any) -> list[Record]:
        """All rows; in a transaction of its own, one round trip."""
        async with self._alone() as connection:
            return await Transaction(connection).rows(query, *args)

    async def value(self, query: Query | str, *args: Any) -> Any:
        """The first column of the first row, or None; in a transaction of its own, one round trip."""
        async with self._alone() as connection:
            return await Transaction(connection).value(query, *args)

    async def execute(self, query: Query | str, *args: Any) -> int:
        """Runs it and commits; the number of rows that it touched."""
        async with self._alone() as connection:
            return await Transaction(connection).execute(query, *args)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction that commits when the block ends and rolls back when it raises.

        Raises Busy when the database is away or no connection is free in time. When the connection is lost in the
        very commit, the outcome is unknown: ask again with the same idempotency key.
        """
        assert not _open.get(), "an operation was called inside another one's transaction"
        async with self._pool.turn(), self._pool.connection() as connection:
            token = _open.set(True)
            tx = Transaction(connection)
            try:
                async with self._begun(connection):
                    yield tx
            finally:
                _open.reset(token)
        telemetry.DB_TRANSACTIONS.inc()
        for callback in tx._callbacks:
            callback()

    def listen(self, channel: str, heard: Callable[[str | None], None]) -> asyncio.Task[None]:
        """Calls `heard(payload)` for each NOTIFY on `channel`, and `heard(None)` whenever some may have been missed.

        Keeps a connection of its own and connects again for ever; cancel the task to stop. A notification is only
        ever a hint to look sooner: nothing may depend on it.
        """
        task = asyncio.create_task(self._listen(channel, heard), name=f"listen {channel}")
        self._listeners.add(task)
        task.add_done_callback(self._listeners.discard)
        return task

    async def _listen(self, channel: str, heard: Callable[[str | None], None]) -> None:
        while True:
            try:
                connection = await _connect(self._settings, None)
                try:
                    lost = asyncio.Event()
                    connection.add_termination_listener(lambda *_, lost=lost: lost.set())
                    await connection.add_listener(channel, lambda _c, _pid, _channel, payload: heard(payload))
                    heard(None)
                    while not lost.is_set():
                        # A connection that is only half there is silent: say it again now and then.
                        await connection.execute(f'listen "{channel}"')
                        with suppress(TimeoutError):
                            async with asyncio.timeout(_LISTEN_ASK_SECONDS):
                                await lost.wait()
                finally:
                    connection.terminate()
            except (asyncpg.InterfaceError, *_AWAY) as error:
                log.warning("listener lost", channel=channel, error=repr(error))
            await asyncio.sleep(_LISTEN_AGAIN_SECONDS)

    @asynccontextmanager
    async def _begun(self, connection: Any) -> AsyncIterator[Any]:
        with _translated():
            await connection.execute(self._begin)
        try:
            yield connection
        except BaseException as error:
            telemetry.DB_ROLLBACKS.labels(type(error).__name__).inc()
            await self._roll_back(connection)
            raise
        with _translated():
            await connection.execute("commit")

    async def _roll_back(self, connection: Any) -> None:
        # A server that hangs does not hear of it; it rolls back when it finds the connection closed.
        try:
            async with asyncio.timeout(self._settings.connect_seconds):
                await connection.execute("rollback")
        except (asyncpg.InterfaceError, *_AWAY):
            with suppress(asyncpg.InterfaceError):
                connection.terminate()

    async def close(self) -> None:
        """Closes every connection, at once where it does not go quietly."""
        for task in self._listeners:
            task.cancel()
        await asyncio.gather(*self._listeners, return_exceptions=True)
        await self._pool.close()
        await self._tenants.close()


class _Tenant(Database):
    """What `Database.of` gives. Every statement runs in a transaction that knows its organizer, and nothing outlives it."""

    def __init__(self, settings: Settings, tenants: _Pool, organizer_id: UUID) -> None:
        super().__init__(settings, tenants, tenants)
        # Digits and hyphens alone, whatever was handed over.
        self._begin = f"begin; set local holdfast.organizer = '{UUID(int=organizer_id.int)}'"
        self._alone = self._in_its_own

    @asynccontextmanager
    async def _in_its_own(self) -> AsyncIterator[Any]:
        async with self._pool.connection() as connection, self._begun(connection):
            yield connection


async def open_database(settings: Settings, role: str | None = None) -> Database:
    """A Database on `settings.database_url`, acting as `role`; as the URL's own user, who migrates, when there is none.

    Raises Busy when nobody answers there, and BadSetting when the URL is none, or the server does not know its database
    or its user, or does not let this user act as `role`. Where the roles are not made yet, whatever is asked is Busy
    until the database is migrated.
    """
    assert settings.database_url, "no database_url: `up` fills it in for the embedded server"
    pool = _Pool(settings, role, settings.pool_max)
    pool.is_measured = True
    telemetry.DB_POOL_MAX.set(settings.pool_max)
    tenants = _Pool(settings, TENANT, max(_TENANTS_MIN, int(settings.pool_max * _TENANTS_SHARE)))
    with _translated():
        try:
            await pool.open(size_min=1)
        except _NotMigrated as error:
            log.warning("the database waits to be migrated", error=str(error))
            await pool.open(size_min=0)
        except (
            ValueError,
            NotPermitted,
            asyncpg.InvalidCatalogNameError,
            asyncpg.InvalidAuthorizationSpecificationError,
        ) as error:
            raise BadSetting(f"HOLDFAST_DATABASE_URL: {_told(error)}.") from None
        await tenants.open(size_min=0)
    return Database(settings, pool, tenants)


def _told(error: Exception) -> str:
    # What cannot be taken apart is quoted by the driver in part, and a part may be half of the password.
    text = str(error)
    if isinstance(error, asyncpg.PostgresError | ssl.SSLError) or text.startswith(
        ("`ssl", "root certificate")
    ):
        return text
    return (
        "it cannot be understood; in a password / is written %2F, # is %23, ? is %3F, @ is %40 and % is %25"
    )


async def _connect(settings: Settings, role: str | None) -> "asyncpg.Connection[Record]":
    server_settings = {
        "application_name": "holdfast",
        # On Citus the first array parameter of a connection costs up to a second without this setting; plain PostgreSQL
        # takes note of it and does nothing.
        "citus.override_table_visibility": "off",
        "timezone": "UTC",
    }
    if role is not None:
        server_settings["role"] = role
    try:
        connection = await asyncpg.connect(
            settings.database_url,
            timeout=settings.connect_seconds,
            command_timeout=settings.query_seconds,
            connection_class=_Connection,
            statement_cache_size=300,
            max_cached_statement_lifetime=0,
            server_settings=server_settings,
        )
    except asyncpg.InvalidParameterValueError as error:
        raise _NotMigrated(str(error)) from error
    try:
        await connection.set_type_codec(
            "jsonb",
            schema="pg_catalog",
            format="text",
            encoder=lambda value: msgspec.json.encode(value).decode(),
            decoder=msgspec.json.decode,
        )
    except BaseException:
        connection.terminate()
        raise
    return connection


def no_transaction_is_open() -> bool:
    """Whether the caller stands outside every transaction: asserted before each call to the outside world."""
    return not _open.get()


@contextmanager
def _observed(query: Query | str) -> Iterator[str]:
    started = time.perf_counter()
    try:
        with _translated():
            yield query.text if isinstance(query, Query) else query
    finally:
        if isinstance(query, Query):
            query.seconds.observe(time.perf_counter() - started)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _AWAY as error:
        log.warning("database away", error=repr(error))
        raise Busy("The database cannot be reached just now.") from error
    except _NotMigrated as error:
        raise Busy("The database waits for `holdfast migrate`.") from error
    except asyncpg.PostgresError as error:
        # It quotes the row, and whose it is must not stand in a log or beside a dead letter.
        error.detail = None
        raise
    except asyncpg.InterfaceError as error:
        # The pool or the connection was closed under the caller, or the pool took it away when it died between two
        # statements; anything else is a bug of ours and must be seen.
        if not any(word in str(error) for word in ("closed", "closing", "released back to the pool")):
            raise
        log.warning("database away", error=repr(error))
        raise Busy("The database cannot be reached just now.") from error
