"""Counting what happens: facts, each once, and the ends of attempts that are no facts, which processes tell by and by."""

from datetime import datetime
from typing import Any

from holdfast import facts
from holdfast.booking import Office
from holdfast.platform import clock, jobs, outbox, telemetry
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.errors import Busy
from holdfast.platform.ids import ShowId
from holdfast.platform.jobs import Job
from holdfast.platform.outbox import Followers

sql = load_queries(__file__)
log = telemetry.log("analytics")

# What a process that is killed has not written down yet.
ENDS_SECONDS = 5.0


def follow(followers: Followers) -> None:
    """Has the facts counted that figures are made of."""
    for kind, handler in (
        (facts.BOOKING_CONFIRMED, _confirmed),
        (facts.BOOKING_CANCELLED, _cancelled),
        (facts.BOOKING_FAILED, _failed),
        (facts.PAYMENT_DECLINED, _declined),
    ):
        followers.follow(kind, "analytics", handler)


class Ends:
    """Writes down how attempts ended that leave no fact: `office.ends` counts them, `keep` is run every some seconds."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def keep(self) -> None:
        """Writes what was counted since the last time. When the database is away it is kept for the next."""
        counted = self._office.ends.take()
        if not counted:
            return
        shows, outcomes, times = zip(*((show, end, n) for (show, end), n in counted.items()), strict=True)
        try:
            await self._office.db.execute(
                sql.outcomes_counted, clock.now(), list(shows), list(outcomes), list(times)
            )
        except Busy:
            self._office.ends.give_back(counted)
            raise

    async def close(self) -> None:
        """Writes the rest, when a process stops in peace."""
        try:
            await self.keep()
        except Busy as error:
            log.warning("some ends were not counted", error=str(error))


async def _confirmed(job: Job, db: Database) -> None:
    show_id, at, made = _of(job)
    async with db.transaction() as tx:
        await tx.execute(
            sql.sale_counted, show_id, at, made.organizer_id, made.currency, made.quantity, made.total
        )
        await tx.execute(sql.size_counted, show_id, made.quantity, made.organizer_id)
        await _end(tx, job, show_id, at, "confirmed")


async def _cancelled(job: Job, db: Database) -> None:
    show_id, at, ended = _of(job)
    async with db.transaction() as tx:
        await tx.execute(
            sql.cancellation_counted, show_id, at, ended.organizer_id, ended.currency, ended.quantity, ended.total
        )  # fmt: skip
        await _end(tx, job, show_id, at, ended.reason or "cancelled")


async def _failed(job: Job, db: Database) -> None:
    show_id, at, refused = _of(job)
    async with db.transaction() as tx:
        await _end(tx, job, show_id, at, refused.reason)


async def _declined(job: Job, db: Database) -> None:
    show_id, at, _ = _of(job)
    async with db.transaction() as tx:
        await _end(tx, job, show_id, at, "payment_declined")


async def _end(tx: Transaction, job: Job, show_id: ShowId, at: datetime, outcome: str) -> None:
    await tx.execute(sql.outcomes_counted, at, [show_id], [outcome], [1])
    # In the same transaction, so that a job which runs twice counts once.
    await jobs.finish(tx, job)


def _of(job: Job) -> tuple[ShowId, datetime, Any]:
    fact = outbox.fact_of(job)
    return ShowId(fact.show_id), datetime.fromisoformat(fact.time), facts.of(fact)
