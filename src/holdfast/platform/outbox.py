"""Facts on their way: written with the change that made them true, then handed to whoever follows.

A fact is a row of `outbox`, written by the SQL function `announce` or by `announce` here. A `Relay` takes facts out and
adds one job for each follower, in one transaction, so that nothing is lost or handed on twice wherever it dies. It goes
show by show, because on Citus rows of several shows cannot be locked in one statement. Facts that nobody follows are
deleted. Any number of relays may run. Order is not kept: who needs it goes by the version that the fact carries.
Who can do many facts at once gathers them: a job has all that were taken together. Who follows every fact may also keep
them by a `Keeper`, in the transaction that takes them out.
"""

import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from hashlib import md5
from typing import Any
from uuid import UUID

import msgspec

from holdfast.platform import broadcast, jobs, telemetry
from holdfast.platform.clock import rfc3339
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Busy
from holdfast.platform.ids import new_id

# Hint on it after a commit that announced facts by SQL: `broadcast.hint(outbox.TOPIC)`.
TOPIC = "outbox"
CLOUDEVENT_MEDIA = "application/cloudevents+json"
SHOWS_PER_PAGE = 200
FACTS_AT_ONCE = 500
# A job of many facts that failed so often becomes two, until the fact that it fails for is alone.
TRIES_TOGETHER = 3
_BEFORE_ALL = UUID(int=0)

sql = load_queries(__file__)
log = telemetry.log("outbox")


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
# As `jobs.enqueue_many` takes them.
_Added = tuple[UUID, str, Any, datetime | None]


class Followers:
    """Who follows what: made by the engine at its start and handed to the relay and the workers."""

    def __init__(self) -> None:
        self._handlers: dict[str, dict[str, jobs.Handler]] = {}
        self._gathering: dict[str, _Gathering] = {}
        self.keepers: list[Keeper] = []

    def keep(self, keeper: Keeper) -> None:
        """Gives `keeper` every fact, of kinds that are yet to be invented too, without a job for each."""
        self.keepers.append(keeper)

    def follow(self, kind: str, name: str, handler: jobs.Handler) -> None:
        """Lets `handler` have a job for every fact of `kind`; `name` says who follows and is part of the job's kind.

        One name may follow several kinds, each once.
        """
        kinds = self._handlers.setdefault(name, {})
        assert kind not in kinds, f"{name} follows {kind} twice"
        assert name not in self._gathering, f"{name} follows and gathers"
        kinds[kind] = handler

    def gather(
        self,
        kinds: Collection[str],
        name: str,
        handler: jobs.Handler,
        *,
        wanted: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Lets `handler` have jobs of many facts of a show, up to FACTS_AT_ONCE each (`facts_of`).

        It does all of them in one transaction, or raises. While `wanted(kind)` is false there are none of that kind.
        """
        assert name not in self._gathering and name not in self._handlers, f"{name} gathers twice"
        self._gathering[name] = _Gathering(frozenset(kinds), handler, wanted)

    def of(self, kind: str) -> list[str]:
        """The names of those who follow `kind` fact by fact."""
        return [name for name, kinds in self._handlers.items() if kind in kinds]

    def gathering(self, facts: Sequence[Record]) -> list[tuple[str, list[Record]]]:
        """Of those who gather, who takes which of these facts; nobody is named who takes none."""
        each = (
            (name, [fact for fact in facts if by.takes(fact["kind"])]) for name, by in self._gathering.items()
        )
        return [(name, taken) for name, taken in each if taken]

    def handlers(self) -> Mapping[str, jobs.Handler]:
        """The handlers for a Worker, by the kinds of their jobs."""
        return {
            **{f"follow:{name}": _by_fact(name, kinds) for name, kinds in self._handlers.items()},
            **{f"follow:{name}": _together(name, by) for name, by in self._gathering.items()},
        }


class _Gathering(msgspec.Struct, frozen=True):
    kinds: frozenset[str]
    handler: jobs.Handler
    wanted: Callable[[str], bool]

    def takes(self, kind: str) -> bool:
        return kind in self.kinds and self.wanted(kind)


def _by_fact(name: str, kinds: Mapping[str, jobs.Handler]) -> jobs.Handler:
    async def handle(job: jobs.Job, db: Database) -> None:
        kind = job.payload["kind"]
        if kind not in kinds:
            # A newer release's relay: by the next try one of its workers may take the job.
            raise LookupError(f"{name} does not follow {kind} in this release")
        await kinds[kind](job, db)

    return handle


def _together(name: str, by: _Gathering) -> jobs.Handler:
    async def handle(job: jobs.Job, db: Database) -> None:
        facts = job.payload["facts"]
        try:
            for fact in facts:
                if fact["kind"] not in by.kinds:
                    raise LookupError(f"{name} does not follow {fact['kind']} in this release")
            await by.handler(job, db)
        except (Busy, jobs.Discard, jobs.Later, jobs.LeaseLost):
            raise
        except Exception:
            if len(facts) == 1 or job.attempts < TRIES_TOGETHER or job.finished:
                raise
            log.warning("facts taken apart", kind=job.kind, facts=len(facts), exc_info=True)
            middle = len(facts) // 2
            async with db.transaction() as tx:
                for part in (facts[:middle], facts[middle:]):
                    await jobs.enqueue(tx, job.kind, {"facts": part})
                await jobs.finish(tx, job)

    return handle


def fact_of(job: jobs.Job) -> Fact:
    """The fact that a follower's job is about."""
    return msgspec.convert(job.payload, Fact)


def facts_of(job: jobs.Job) -> list[Fact]:
    """The facts, of one show, that a job of whoever gathers is about."""
    return msgspec.convert(job.payload["facts"], list[Fact])


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
        handed = 0
        while True:
            taken, is_more = await self._go_round()
            handed += taken
            if not is_more:
                return handed

    async def _go_round(self) -> tuple[int, bool]:
        """Hands on some facts of each show, so that none waits until another has sold out; how many, and whether there is more."""
        handed, is_more, after = 0, False, _BEFORE_ALL
        while rows := await self._db.rows(sql.shows_with_facts, after, SHOWS_PER_PAGE):
            shows = [row["show_id"] for row in rows]
            after = shows[-1]
            # Several relays that began together part ways here instead of stumbling over one another.
            random.shuffle(shows)
            for show_id in shows:
                taken = await self._hand_on(show_id)
                handed += taken
                is_more = is_more or taken == FACTS_AT_ONCE
        return handed, is_more

    async def _hand_on(self, show_id: UUID) -> int:
        async with self._db.transaction() as tx:
            facts = await tx.rows(sql.facts_taken, show_id, FACTS_AT_ONCE)
            if facts:
                await jobs.enqueue_many(
                    tx, [*self._one_by_one(show_id, facts), *self._gathered(show_id, facts)]
                )
                for keeper in self._followers.keepers:
                    await keeper(tx, show_id, facts)
        return len(facts)

    def _one_by_one(self, show_id: UUID, facts: Sequence[Record]) -> list[_Added]:
        return [
            (_job_id(fact["fact_id"], name), f"follow:{name}", _payload(show_id, fact), fact["created_at"])
            for fact in facts
            for name in self._followers.of(fact["kind"])
        ]

    def _gathered(self, show_id: UUID, facts: Sequence[Record]) -> list[_Added]:
        return [
            (
                new_id(),
                f"follow:{name}",
                {"facts": [_payload(show_id, fact) for fact in taken]},
                min(fact["created_at"] for fact in taken),
            )
            for name, taken in self._followers.gathering(facts)
        ]


def fact_in(show_id: UUID, row: Record) -> Fact:
    """The fact that a row (fact_id, kind, payload, created_at) is."""
    return Fact(row["fact_id"], row["kind"], show_id, rfc3339(row["created_at"]), row["payload"])


def _payload(show_id: UUID, row: Record) -> dict[str, Any]:
    return msgspec.to_builtins(fact_in(show_id, row))  # type: ignore[no-any-return]


def _job_id(fact_id: UUID, name: str) -> UUID:
    # One fact is one job of a follower, however often it is announced while the job waits.
    return UUID(bytes=md5(fact_id.bytes + name.encode(), usedforsecurity=False).digest())
