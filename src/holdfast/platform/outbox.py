"""Facts on their way: written with the change that made them true, then handed to whoever follows.

A fact is a row of `outbox`, written by the SQL function `announce` or by `announce` here. A `Relay` takes facts out and
adds one job for each follower, in one transaction, so that nothing is lost or handed on twice wherever it dies. It goes
show by show, because on Citus rows of several shows cannot be locked in one statement. Facts that nobody follows are
deleted. Any number of relays may run. Order is not kept: who needs it goes by the version that the fact carries.
Who follows every fact may instead keep them by a `Keeper`, in the transaction that takes them out.
"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from hashlib import md5
from typing import Any
from uuid import UUID

import msgspec

from holdfast.platform import broadcast, jobs
from holdfast.platform.clock import rfc3339
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.ids import new_id

# Hint on it after a commit that announced facts by SQL: `broadcast.hint(outbox.TOPIC)`.
TOPIC = "outbox"
CLOUDEVENT_MEDIA = "application/cloudevents+json"
SHOWS_PER_PAGE = 200
FACTS_AT_ONCE = 500
_BEFORE_ALL = UUID(int=0)

sql = load_queries(__file__)


class Fact(msgspec.Struct, frozen=True):
    """What a follower's job carries as payload, in the manner of CloudEvents. `time` is RFC 3339, `data` the payload."""

    id: UUID
    kind: str
    show_id: UUID
    time: str
    data: Any


# Writes down the facts of one show (fact_id, kind, payload, created_at) in the transaction that takes them out of the
# outbox. It holds up the relay, so it must be short.
Keeper = Callable[[Transaction, UUID, Sequence[Record]], Awaitable[None]]


class Followers:
    """Who follows what: made by the engine at its start and handed to the relay and the workers."""

    def __init__(self) -> None:
        self._handlers: dict[str, dict[str, jobs.Handler]] = {}
        self._wanted: dict[tuple[str, str], Callable[[], bool]] = {}
        self.keepers: list[Keeper] = []

    def keep(self, keeper: Keeper) -> None:
        """Gives `keeper` every fact, of kinds that are yet to be invented too, without a job for each."""
        self.keepers.append(keeper)

    def follow(
        self, kind: str, name: str, handler: jobs.Handler, *, wanted: Callable[[], bool] | None = None
    ) -> None:
        """Lets `handler` have a job for every fact of `kind`; `name` says who follows and is part of the job's kind.

        One name may follow several kinds, each once. While `wanted()` is false there are no jobs of this kind.
        """
        kinds = self._handlers.setdefault(name, {})
        assert kind not in kinds, f"{name} follows {kind} twice"
        kinds[kind] = handler
        if wanted is not None:
            self._wanted[name, kind] = wanted

    def of(self, kind: str) -> list[str]:
        """The names of those who follow `kind`, and want it now."""
        return [
            name
            for name, kinds in self._handlers.items()
            if kind in kinds and self._wanted.get((name, kind), _always)()
        ]

    def handlers(self) -> Mapping[str, jobs.Handler]:
        """The handlers for a Worker, by the kinds of their jobs."""
        return {f"follow:{name}": _by_fact(name, kinds) for name, kinds in self._handlers.items()}


def _always() -> bool:
    return True


def _by_fact(name: str, kinds: Mapping[str, jobs.Handler]) -> jobs.Handler:
    async def handle(job: jobs.Job, db: Database) -> None:
        kind = job.payload["kind"]
        if kind not in kinds:
            # A newer release's relay: by the next try one of its workers may take the job.
            raise LookupError(f"{name} does not follow {kind} in this release")
        await kinds[kind](job, db)

    return handle


def fact_of(job: jobs.Job) -> Fact:
    """The fact that a follower's job is about."""
    return msgspec.convert(job.payload, Fact)


def cloudevent(fact: Fact, source: str) -> dict[str, Any]:
    """The fact as a CloudEvent 1.0 in structured JSON mode; its media type is CLOUDEVENT_MEDIA.

    `source` says which installation announces: its public address. With `id` it makes the event unique, so whoever
    has seen the two has seen the event. `subject` is what it is about, as the path behind `/v1/`. The extension
    `showid`, and `organizerid` where the payload knows it, are there to route and to partition by.
    """
    show, organizer = str(fact.show_id), fact.data.get("organizer_id")
    booking = fact.data.get("booking_id")
    event = {
        "specversion": "1.0",
        "id": str(fact.id),
        "source": source,
        "type": fact.kind,
        "subject": f"shows/{show}" if booking is None else f"shows/{show}/bookings/{booking}",
        "time": fact.time,
        "datacontenttype": "application/json",
        "showid": show,
        "data": fact.data,
    }
    return event if organizer is None else {**event, "organizerid": str(organizer)}


async def announce(
    tx: Transaction, show_id: UUID, kind: str, payload: Any, *, fact_id: UUID | None = None
) -> UUID:
    """Announces a fact in the transaction that makes it true, and says its id.

    The same `fact_id` again, before the fact was handed on, changes nothing.
    """
    fact_id = fact_id or new_id()
    await tx.execute(sql.fact_announced, show_id, fact_id, kind, payload)
    tx.after_commit(partial(broadcast.hint, TOPIC))
    return fact_id


class Relay:
    """Hands facts on. Run `hand_on` by a Periodic of a second whose `wake` is subscribed to TOPIC."""

    def __init__(self, db: Database, followers: Followers) -> None:
        self._db = db
        self._followers = followers

    async def hand_on(self) -> int:
        """Hands on every fact that waits, and says how many. Raises Busy; what was not handed on stays."""
        handed, after = 0, _BEFORE_ALL
        while rows := await self._db.rows(sql.shows_with_facts, after, SHOWS_PER_PAGE):
            shows = [row["show_id"] for row in rows]
            after = shows[-1]
            # Several relays that began together part ways here instead of stumbling over one another.
            random.shuffle(shows)
            for show_id in shows:
                while taken := await self._hand_on(show_id):
                    handed += taken
                    if taken < FACTS_AT_ONCE:
                        break
        return handed

    async def _hand_on(self, show_id: UUID) -> int:
        async with self._db.transaction() as tx:
            facts = await tx.rows(sql.facts_taken, show_id, FACTS_AT_ONCE)
            added = [
                (
                    _job_id(fact["fact_id"], name),
                    f"follow:{name}",
                    _payload(show_id, fact),
                    fact["created_at"],
                )
                for fact in facts
                for name in self._followers.of(fact["kind"])
            ]
            await jobs.enqueue_many(tx, added)
            if facts:
                for keeper in self._followers.keepers:
                    await keeper(tx, show_id, facts)
        return len(facts)


def fact_in(show_id: UUID, row: Record) -> Fact:
    """The fact that a row (fact_id, kind, payload, created_at) is."""
    return Fact(row["fact_id"], row["kind"], show_id, rfc3339(row["created_at"]), row["payload"])


def _payload(show_id: UUID, row: Record) -> dict[str, Any]:
    return msgspec.to_builtins(fact_in(show_id, row))  # type: ignore[no-any-return]


def _job_id(fact_id: UUID, name: str) -> UUID:
    # One fact is one job of a follower, however often it is announced while the job waits.
    return UUID(bytes=md5(fact_id.bytes + name.encode(), usedforsecurity=False).digest())
