"""Every fact, as a CloudEvent, to the message broker of whoever set one: RabbitMQ or Kafka.

The outbox in PostgreSQL stays the truth and the broker only follows it: the relay keeps facts in `broker_facts` until
the broker has confirmed them, so a broker that is away costs nobody anything but its own readers. At least once; `id` is
the fact's.

Each booking's facts go out in the order of their versions. A fact is sent only when the booking's earlier one was
confirmed, and not while the outbox still has one of the same booking. This needs no clock and no lock; that one job per
show does the publishing spares duplicates alone.
"""

import asyncio
from collections.abc import Iterator, Sequence
from hashlib import md5
from importlib import import_module
from itertools import zip_longest
from random import uniform
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from holdfast.platform import jobs, telemetry
from holdfast.platform.clock import monotonic
from holdfast.platform.db import Database, Record, Transaction, load_queries, no_transaction_is_open
from holdfast.platform.ids import new_id
from holdfast.platform.jobs import Discard, Job, Later
from holdfast.platform.outbox import Fact, Followers, cloudevent, fact_in
from holdfast.platform.settings import BadSetting, Settings

# The kinds of its jobs: the facts of a show, and one fact that the broker would not take.
PUBLISH = "broker.publish"
PUBLISH_ONE = "broker.publish_one"
FACTS_AT_ONCE = 500
# Then another show has its turn.
PAGES_AT_ONCE = 20
# The broker is left alone for 1, 2, 4, ... seconds after failures.
REST_SECONDS_MAX = 10.0
# Facts that wait for another of their booking to leave the outbox, which the relay sees to within a second.
HELD_SECONDS = 0.1
WAITING_COUNTED_MAX = 100_000

sql = load_queries(__file__)
log = telemetry.log("broker")


class Message(msgspec.Struct, frozen=True):
    """A fact in the form in which it is sent. `key` is the show's id, `body` a CloudEvent in JSON."""

    id: UUID
    kind: str
    key: str
    body: bytes


class Sent(msgspec.Struct):
    """What became of some messages. What is neither confirmed nor refused may or may not have arrived: `error` says why."""

    confirmed: list[UUID] = []
    refused: list[tuple[UUID, str]] = []
    error: BaseException | None = None


class Wire(Protocol):
    """One kind of broker."""

    async def send(self, messages: Sequence[Message]) -> Sent:
        """Sends messages, in no promised order, and waits for their confirmation, at most `broker_seconds`. Never raises."""

    async def close(self) -> None:
        """Lets the broker go, within seconds."""


class Broker:
    """The follower that publishes. One per process; `settings.broker_url` is set."""

    def __init__(self, settings: Settings) -> None:
        assert settings.broker_url
        parts = urlsplit(settings.broker_url)
        if not parts.hostname:
            raise BadSetting("HOLDFAST_BROKER_URL names no host.")
        self._settings = settings
        self._room = "rabbitmq" if parts.scheme.startswith("amqp") else "kafka"
        self._wire: Wire | None = None
        self._opening = asyncio.Lock()
        self._failures = 0
        self._rest_until = 0.0

    def follow(self, followers: Followers) -> dict[str, jobs.Handler]:
        """Has every fact kept for the broker; gives the handlers of its jobs."""
        followers.keep(self.keep)
        return {PUBLISH: self.publish, PUBLISH_ONE: self.publish_one}

    async def keep(self, tx: Transaction, show_id: UUID, facts: Sequence[Record]) -> None:
        """Keeps facts for the broker and asks for them to be published, in the relay's transaction."""
        columns = ([fact[name] for fact in facts] for name in ("fact_id", "kind", "payload", "created_at"))
        await tx.execute(sql.broker_facts_kept, show_id, *columns)
        await tx.execute(sql.publishing_asked, _job_of(show_id), PUBLISH, {"show_id": str(show_id)})
        tx.after_commit(jobs.ring)

    async def publish(self, job: Job, db: Database) -> None:
        """Publishes what waits of one show. Raises Later while the broker is away."""
        show_id = UUID(job.payload["show_id"])
        for _ in range(PAGES_AT_ONCE):
            if rows := await db.rows(sql.broker_facts_page, show_id, FACTS_AT_ONCE):
                await self._publish(db, show_id, rows)
                continue
            async with db.transaction() as tx:
                await jobs.finish(tx, job)
                if await tx.value(sql.broker_facts_left, show_id):
                    raise Later(HELD_SECONDS)
            return
        raise Later(0.0)

    async def publish_one(self, job: Job, db: Database) -> None:
        """Tries a fact once more that the broker had refused, out of its order. Raises Discard when it still does."""
        fact = msgspec.convert(job.payload["fact"], Fact)
        sent = await self._send([self._message(fact)])
        if sent.refused:
            raise Discard(sent.refused[0][1])
        self._look_at(sent)

    async def _publish(self, db: Database, show_id: UUID, rows: Sequence[Record]) -> None:
        done, refused = [], []
        sent = Sent()
        for wave in waves(rows):
            facts = [fact_in(show_id, row) for row in wave]
            sent = await self._send([self._message(fact) for fact in facts])
            done += sent.confirmed
            reasons = dict(sent.refused)
            refused += [(fact, reasons[fact.id]) for fact in facts if fact.id in reasons]
            if sent.error is not None:
                break
        async with db.transaction() as tx:
            gone = [*done, *(fact.id for fact, _ in refused)]
            await tx.execute(sql.broker_facts_published, show_id, gone)
            # One fact that can never be sent must not hold up the rest: a person sees it among the dead letters.
            for fact, reason in refused:
                log.error("fact refused by the broker", fact_id=str(fact.id), kind=fact.kind, error=reason)
                await jobs.enqueue(tx, PUBLISH_ONE, {"fact": msgspec.to_builtins(fact)}, job_id=new_id())
        self._look_at(sent)

    async def _send(self, messages: Sequence[Message]) -> Sent:
        assert no_transaction_is_open()
        if (rest := self._rest_until - monotonic()) > 0:
            raise Later(rest + uniform(0.0, 1.0))  # noqa: S311 -- lets the shows come back one by one
        sent = await (await self._opened()).send(messages)
        telemetry.BROKER_PUBLISHED.inc(len(sent.confirmed))
        return sent

    def _look_at(self, sent: Sent) -> None:
        if sent.error is None:
            self._failures = 0
            return
        telemetry.BROKER_FAILURES.labels(type(sent.error).__name__).inc()
        # Several shows that met the same failure are one.
        if self._rest_until < monotonic():
            self._failures += 1
            seconds = min(REST_SECONDS_MAX, 2.0 ** min(self._failures - 1, 10))
            self._rest_until = monotonic() + seconds
            log.warning("broker away", error=_told(sent.error), rest_seconds=seconds)
        raise Later(self._rest_until - monotonic())

    def _message(self, fact: Fact) -> Message:
        body = msgspec.json.encode(cloudevent(fact, self._settings.address))
        return Message(fact.id, fact.kind, str(fact.show_id), body)

    async def _opened(self) -> Wire:
        async with self._opening:
            if self._wire is None:
                # Most of a second of imports, which an installation without a broker never pays, and others beside their loop.
                room = await asyncio.to_thread(import_module, f"holdfast.platform.{self._room}")
                self._wire = room.open_wire(self._settings)
            assert self._wire is not None
            return self._wire

    async def close(self) -> None:
        """Lets the broker go; what waits is published by whoever comes next."""
        if self._wire is not None:
            await self._wire.close()


def waves(rows: Sequence[Record]) -> Iterator[list[Any]]:
    """Rows, the oldest first, as lists to be sent one after the other, no two facts of a booking in one.

    A booking's facts follow each other by age, and those that have a version by that, whatever the clocks said.
    """
    bookings: dict[UUID, list[Any]] = {}
    for row in rows:
        bookings.setdefault(row["booking_id"] or row["fact_id"], []).append(row)
    for wave in zip_longest(*(_by_version(facts) for facts in bookings.values())):
        yield [row for row in wave if row is not None]


def _by_version(rows: list[Any]) -> list[Any]:
    in_order = iter(
        sorted((row for row in rows if row["version"] is not None), key=lambda row: row["version"])
    )
    return [row if row["version"] is None else next(in_order) for row in rows]


async def measure(db: Database) -> None:
    """Sets the gauges of what waits for the broker. Raises Busy."""
    row = await db.row(sql.broker_gauges, WAITING_COUNTED_MAX)
    assert row is not None
    telemetry.BROKER_WAITING.set(row["facts"])
    telemetry.BROKER_OLDEST_SECONDS.set(row["oldest_seconds"])


def _job_of(show_id: UUID) -> UUID:
    return UUID(bytes=md5(show_id.bytes + PUBLISH.encode(), usedforsecurity=False).digest())


def _told(error: BaseException) -> str:
    # Of a library's text only what can hold no password.
    return f"{type(error).__name__}: {error}".split("://", 1)[0][:300]
