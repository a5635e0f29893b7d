"""Counting what happens: facts, each once, and the ends of attempts that are no facts, which processes tell by and by."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from holdfast import facts
from holdfast.booking import Office
from holdfast.platform import clock, jobs, outbox, telemetry
from holdfast.platform.db import Database, load_queries
from holdfast.platform.errors import Busy
from holdfast.platform.jobs import Job
from holdfast.platform.outbox import Fact, Followers

sql = load_queries(__file__)
log = telemetry.log("analytics")

# What a process that is killed has not written down yet.
ENDS_SECONDS = 5.0
KINDS = (facts.BOOKING_CONFIRMED, facts.BOOKING_CANCELLED, facts.BOOKING_FAILED, facts.PAYMENT_DECLINED)


def follow(followers: Followers) -> None:
    """Has the facts counted that figures are made of, many at once."""
    followers.gather(KINDS, "analytics", _count)


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
                sql.outcomes_counted, [clock.now()] * len(shows), list(shows), list(outcomes), list(times)
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


async def _count(job: Job, db: Database) -> None:
    counted = [(fact, datetime.fromisoformat(fact.time), facts.of(fact)) for fact in outbox.facts_of(job)]
    show_id = counted[0][0].show_id
    sales = [
        (
            at,
            said.organizer_id,
            said.currency,
            fact.kind == facts.BOOKING_CANCELLED,
            said.quantity,
            said.total,
        )
        for fact, at, said in counted
        if fact.kind in (facts.BOOKING_CONFIRMED, facts.BOOKING_CANCELLED)
    ]
    ends = [(at, show_id, _outcome(fact, said), 1) for fact, at, said in counted]
    async with db.transaction() as tx:
        if sales:
            columns = _columns(sales)
            await tx.execute(sql.sales_counted, show_id, *columns)
            await tx.execute(sql.sizes_counted, show_id, columns[1], columns[3], columns[4])
        await tx.execute(sql.outcomes_counted, *_columns(ends))
        # In the same transaction, so that a job which runs twice counts once.
        await jobs.finish(tx, job)


def _outcome(fact: Fact, said: Any) -> str:
    if fact.kind == facts.BOOKING_CONFIRMED:
        return "confirmed"
    if fact.kind == facts.PAYMENT_DECLINED:
        return "payment_declined"
    outcome: str = said.reason or "cancelled"
    return outcome


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
