"""Letters to everybody who has tickets for a show: it moved, it is off, it is near.

A round goes through the bookings page by page, and then through the tickets that were given to others. Each page is a job
of its own, added by the page before in the transaction that wrote its letters: a round that dies goes on where it died.
"""

from datetime import datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID, uuid5

import msgspec

from holdfast import booking, catalog, facts, tickets
from holdfast.booking import Booking, BookingFilter
from holdfast.catalog import Show
from holdfast.notifications import letters
from holdfast.notifications.letters import Letter, Told
from holdfast.notifications.telling import DAY, PAPER, Post, Teller
from holdfast.platform import clock, jobs, outbox
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.ids import BookingId, OrganizerId, ShowId
from holdfast.platform.jobs import Job
from holdfast.platform.settings import Settings
from holdfast.tickets import Ticket

ROUND = "notifications.round"
# Bookings looked at in one job, and tickets that were given on.
PAGE = 100
# Shows whose reminders one look begins.
SHOWS_AT_ONCE = 100
# No fact comes again after so long.
NOTICES_DAYS = 90
FORGOTTEN_AT_ONCE = 5000
_LAST = UUID(int=2**128 - 1)
_FIRST = UUID(int=0)

About = Literal["show_moved", "show_postponed", "show_cancelled", "reminder"]

sql = load_queries(__file__)


class Round(msgspec.Struct, frozen=True):
    """Where a round is. `edition` says which of its kind it is: the version of the show, or its time.

    `before` is the booking that the page begins behind, newest first; None when the bookings are done. `given` is the
    ticket behind which the page of those begins that were given on.
    """

    show_id: ShowId
    about: About
    edition: str
    start_time: datetime
    start_time_before: datetime
    before: BookingId | None = BookingId(_LAST)
    given: tuple[UUID, int] = (_FIRST, 0)


async def begin(tx: Transaction, about: Round, job_id: UUID) -> None:
    """Has everybody with tickets for the show written to; once for `job_id` while the job is there."""
    await jobs.enqueue(tx, ROUND, msgspec.to_builtins(about), job_id=job_id)


async def moved(settings: Settings, job: Job, db: Database) -> None:
    """A show has another time, or none yet."""
    fact = outbox.fact_of(job)
    said: facts.ShowMoved = facts.of(fact)
    about: About = "show_postponed" if said.status == "postponed" else "show_moved"
    show_id = ShowId(said.show_id)
    at = Round(show_id, about, str(said.version), said.start_time, said.start_time_before)
    async with db.transaction() as tx:
        await begin(tx, at, uuid5(fact.id, ROUND))
        if about == "show_moved":
            organizer_id = OrganizerId(said.organizer_id)
            await tx.execute(
                sql.needs_no_reminder, show_id, said.start_time, organizer_id, settings.reminder_hours
            )
        await jobs.finish(tx, job)


async def called_off(job: Job, db: Database) -> None:
    """A show does not take place."""
    fact = outbox.fact_of(job)
    said: facts.ShowCancelled = facts.of(fact)
    now = clock.now()
    at = Round(ShowId(said.show_id), "show_cancelled", str(said.version), now, now)
    async with db.transaction() as tx:
        await begin(tx, at, uuid5(fact.id, ROUND))
        await jobs.finish(tx, job)


async def remind_due(db: Database, settings: Settings) -> int:
    """Begins the rounds of shows that are near; how many. A show that moved is near again by its new time. Raises Busy."""
    rows = await db.rows(sql.shows_to_remind, settings.reminder_hours, SHOWS_AT_ONCE)
    for row in rows:
        show_id, starts = ShowId(row["show_id"]), row["start_time"]
        async with db.transaction() as tx:
            # Of several workers that look at once, one begins.
            if await tx.value(sql.reminded_of, show_id, starts, row["organizer_id"]):
                at = Round(show_id, "reminder", clock.rfc3339(starts), starts, starts)
                await begin(tx, at, uuid5(show_id, at.edition))
    return len(rows)


async def forget_notices(db: Database) -> int:
    """Forgets which letters were written when no fact can come again; how many. Raises Busy."""
    forgotten = 0
    while gone := await db.execute(sql.notices_forgotten, NOTICES_DAYS, FORGOTTEN_AT_ONCE):
        forgotten += gone
    return forgotten


async def go_round(teller: Teller, job: Job, db: Database) -> None:
    """Handles a job ROUND: one page of letters, and the job of the next."""
    at = msgspec.convert(job.payload, Round)
    show = await catalog.show_by_id(db, at.show_id)
    assert show is not None, "shows are not deleted"
    if not _is_true(at, show):
        return  # What changed since has a round of its own.
    if at.before is not None:
        ready, following = await _to_buyers(teller, db, show, at)
    else:
        ready, following = await _to_holders(teller, db, show, at)
    then = None if following is None else partial(_go_on, job, following)
    await teller.post_once(job, db, show.organizer_id, at.about, at.show_id, ready, then=then)


async def _go_on(job: Job, following: Round, tx: Transaction) -> None:
    await begin(tx, following, uuid5(job.id, ROUND))


def _is_true(at: Round, show: Show) -> bool:
    match at.about:
        case "show_cancelled":
            return show.status == "cancelled"
        case "show_postponed":
            return show.status == "postponed"
    is_to_come = show.status not in ("cancelled", "postponed") and show.start_time > clock.now()
    return is_to_come and show.start_time == at.start_time


async def _to_buyers(teller: Teller, db: Database, show: Show, at: Round) -> tuple[list[Post], Round | None]:
    assert at.before is not None
    page = await booking.search_bookings(db, BookingFilter(at.show_id, at.before), PAGE)
    scene = await teller.scene(db, show)
    enclosed = (PAPER, DAY) if at.about == "reminder" else (DAY,)
    ready = []
    for found in page:
        if found.email is not None and _has_places(found, at):
            told = teller.told_of(scene, found)
            ready.append(teller.ready(told, _letter(told, at), at.edition, enclosed))
    before = page[-1].booking_id if len(page) == PAGE else None
    return ready, msgspec.structs.replace(at, before=before)


async def _to_holders(teller: Teller, db: Database, show: Show, at: Round) -> tuple[list[Post], Round | None]:
    page = await tickets.changed_of_show(db, at.show_id, at.given, PAGE)
    scene = await teller.scene(db, show)
    ready = []
    for given in page:
        if given.email is None or given.state == "void":
            continue
        found = await booking.booking_by_id(db, given.show_id, given.booking_id)
        if _has_places(found, at):
            ticket = await tickets.ticket(db, booking.sale_of(found), given.number)
            ready.append(_to_holder(teller, teller.told_of(scene, found), at, ticket))
    if len(page) < PAGE:
        return ready, None
    return ready, msgspec.structs.replace(at, given=(page[-1].booking_id, page[-1].number))


def _to_holder(teller: Teller, told: Told, at: Round, ticket: Ticket) -> Post:
    theirs = letters.for_holder(told, ticket, teller.link_of(ticket))
    edition = f"{at.edition}:{ticket.number}:{ticket.serial}"
    enclosed = (PAPER,) if at.about == "reminder" else ()
    return teller.ready(theirs, _letter(theirs, at), edition, enclosed, ticket=ticket)


def _has_places(found: Booking, at: Round) -> bool:
    if at.about == "show_cancelled" and found.status == "CANCELLED":
        return found.reason == "show_cancelled"
    return found.status == "CONFIRMED"


def _letter(told: Told, at: Round) -> Letter:
    composers: dict[About, Any] = {
        "show_moved": lambda: letters.show_moved(told, at.start_time_before),
        "show_postponed": lambda: letters.show_postponed(told),
        "show_cancelled": lambda: letters.show_cancelled(told),
        "reminder": lambda: letters.reminder(told),
    }
    letter: Letter = composers[at.about]()
    return letter
