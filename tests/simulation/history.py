"""What happened, as those who asked saw it: calls with their answers and times, faults, and the tables at the end.

All that the judge knows. Times are seconds since the history began, by the monotonic clock of the one process that
asked; times that the product told are moved to the same scale. It is saved as JSON lines and can be judged again.
"""

import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

UNKNOWN = 0


class Call(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="is", tag="call"):
    """One request and what came of it. `status` is 0 when no answer came. `version` is what If-Match said."""

    number: int
    client: str
    do: str
    show: str = ""
    target: str = ""
    key: str = ""
    staff: bool = False
    version: int = 0
    body: dict[str, Any] = {}
    start: float
    end: float = 0.0
    status: int = UNKNOWN
    answer: dict[str, Any] = {}

    @property
    def unknown(self) -> bool:
        """Whether it may have taken effect without anybody hearing of it."""
        return self.status == UNKNOWN or self.status >= 500

    @property
    def code(self) -> str:
        """Why it was refused; empty when it was not."""
        return str(self.answer.get("code", "")) if self.status >= 400 else ""


class Fault(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="is", tag="fault"):
    """Something that was broken on purpose."""

    kind: str
    at: float
    detail: str = ""


class Table(msgspec.Struct, kw_only=True, tag_field="is", tag="table"):
    """The rows of a table when all was over."""

    name: str
    rows: list[dict[str, Any]]


class Beginning(msgspec.Struct, kw_only=True, tag_field="is", tag="beginning"):
    """The first line. `wall` is the wall clock's reading, in seconds since 1970, when the history began."""

    seed: int
    clients: int
    wall: float
    strategy: str = "batched"


class End(msgspec.Struct, kw_only=True, tag_field="is", tag="end"):
    """The last line.

    `swept_until`: everything that was overdue or announced at that time has been seen to; None when nobody sweeps. `drift`:
    steps of the wall clock, in seconds.
    """

    at: float
    swept_until: float | None
    drift: float


_Line = Beginning | Call | Fault | Table | End
_SAVE_AT_ONCE = 1000


class History:
    """The record of one run."""

    def __init__(self, seed: int = 0, clients: int = 0, strategy: str = "batched") -> None:
        self._began = time.monotonic()
        self.beginning = Beginning(seed=seed, clients=clients, wall=time.time(), strategy=strategy)
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.end: End | None = None
        self._numbers = 0

    @property
    def now(self) -> float:
        return time.monotonic() - self._began

    def number(self) -> int:
        """The next call's number, in the order of their starts."""
        self._numbers += 1
        return self._numbers

    def fault(self, kind: str, detail: str = "") -> None:
        self.faults.append(Fault(kind=kind, at=self.now, detail=detail))

    def moment(self, told: str | datetime | None) -> float | None:
        """A time that the product told, on the history's scale."""
        if told is None:
            return None
        if isinstance(told, str):
            told = datetime.fromisoformat(told)
        return round(told.timestamp() - self.beginning.wall, 6)

    def close(self, *, swept_until: float | None = None) -> None:
        drift = time.time() - self.beginning.wall - self.now
        self.end = End(at=self.now, swept_until=swept_until, drift=round(drift, 6))

    def shift(self, seconds: float) -> None:
        """Moves everything that has happened so far into the past, for a test that does so with the database's rows."""
        for call in self.calls:
            call.start -= seconds
            call.end -= seconds
            for name in ("created_at", "expires_at", "confirmed_at"):
                if call.answer.get(name) is not None:
                    call.answer[name] = round(call.answer[name] - seconds, 6)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.writelines(msgspec.json.encode(line) + b"\n" for line in self._lines())

    def _lines(self) -> Iterable[_Line]:
        yield self.beginning
        yield from self.calls
        yield from self.faults
        for name, rows in self.tables.items():
            for at in range(0, max(1, len(rows)), _SAVE_AT_ONCE):
                yield Table(name=name, rows=rows[at : at + _SAVE_AT_ONCE])
        if self.end is not None:
            yield self.end


def load(path: Path) -> History:
    """A saved history. Raises OSError, and msgspec.DecodeError for a file that is none."""
    history = History()
    decoder = msgspec.json.Decoder(_Line)
    with open(path, "rb") as file:
        for text in file:
            match decoder.decode(text):
                case Beginning() as line:
                    history.beginning = line
                case Call() as line:
                    history.calls.append(line)
                case Fault() as line:
                    history.faults.append(line)
                case Table() as line:
                    history.tables.setdefault(line.name, []).extend(line.rows)
                case End() as line:
                    history.end = line
    return history


# The relay takes facts out of the outbox, so what was announced is recorded by the database itself, in the very
# transaction that announced it, in a schema that the product does not know.
_RECORDING = """
create schema if not exists simulation;
create table if not exists simulation.facts (
  place bigserial primary key, show_id uuid not null, fact_id uuid not null, kind text not null, payload jsonb not null);
create or replace function simulation.record() returns trigger language plpgsql security definer as $$
begin
  insert into simulation.facts (show_id, fact_id, kind, payload) values (new.show_id, new.fact_id, new.kind, new.payload);
  return null;
end $$;
create or replace trigger record after insert on outbox for each row execute function simulation.record();
"""
_TABLES = {
    "shows": "select show_id::text as show, version, status from shows",
    "bookings": """
      select show_id::text as show, booking_id::text as id, name as key, email, status, reason, version, quantity, areas,
             seats, total, extended, created_at, expires_at, confirmed_at, ended_at from bookings""",
    "blocks": "select show_id::text as show, block_id::text as id, reason as key, areas, seats from blocks",
    "claims": "select show_id::text as show, seat, held_by::text as holder from claims",
    "stock": "select show_id::text as show, area, capacity, reserved, blocked from stock",
    "heads": "select show_id::text as show, revision, selling, terms from show_heads",
    "facts": """select show_id::text as show, fact_id::text as id, kind, payload::text as payload
                  from simulation.facts order by place""",
    "waiting": "select show_id::text as show, fact_id::text as id, kind, created_at from outbox",
    "clock": "select clock_timestamp() as now, (select deadlocks from pg_stat_database where datname = current_database())",
}
_END_SESSIONS = """
select pg_terminate_backend(pid) from pg_stat_activity
 where backend_type = 'client backend' and pid <> pg_backend_pid()"""
_OVERDUE = "select count(*) from bookings where status = 'PENDING' and expires_at <= clock_timestamp()"


async def record_facts(database_url: str) -> None:
    """From now on the database of the simulation keeps every fact that is announced in it."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_RECORDING)
    finally:
        await connection.close()


async def end_sessions(database_url: str) -> None:
    """Whoever is connected connects anew."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_END_SESSIONS)
    finally:
        await connection.close()


async def left_undone(database_url: str) -> int:
    """Overdue holds that nobody has failed yet, and facts that nobody has handed on."""
    connection = await asyncpg.connect(database_url)
    try:
        overdue: int = await connection.fetchval(_OVERDUE)
        waiting: int = await connection.fetchval("select count(*) from outbox")
        return overdue + waiting
    finally:
        await connection.close()


async def read_tables(history: History, database_url: str) -> None:
    """Adds the tables as they stand, from one snapshot: what they say of the shows that this history opened."""
    shows = {call.answer["id"] for call in history.calls if call.do == "open" and call.status == 201}
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            for name, query in _TABLES.items():
                rows = await connection.fetch(query)
                history.tables[name] = [
                    {column: _plain(history, value) for column, value in row.items()}
                    for row in rows
                    if row.get("show", "") in shows or name == "clock"
                ]
    finally:
        await connection.close()
    for fact in history.tables["facts"]:
        fact["payload"] = msgspec.json.decode(fact["payload"])


def _plain(history: History, value: Any) -> Any:
    return history.moment(value) if isinstance(value, datetime) else value
