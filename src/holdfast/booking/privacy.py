"""What is held of a person in bookings: told, erased when they ask for it, and forgotten when its time is over.

A person is an address, a name, a digest of the address and perhaps an account; they are taken off a booking, and its
places, amounts, dates and reference stay. Facts and the audit never held the person. Whoever has a live booking of a
show to come is still needed: they may have to be told that it moves, or let in.
"""

from base64 import b64decode, b64encode
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from holdfast import payments, tickets
from holdfast.accounts import Account
from holdfast.booking.customers import bookings_of_customer
from holdfast.booking.lifecycle import Booking, booking_from
from holdfast.booking.mailbox import buyer_digests
from holdfast.booking.office import Office
from holdfast.booking.queueing import queued_from
from holdfast.platform import jobs, mail, once, telemetry
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.errors import Conflict
from holdfast.platform.ids import OrganizerId, ShowId, new_id
from holdfast.platform.jobs import Job
from holdfast.platform.secret import Secrets

ERASE = "privacy.erase"
SHOWS_AT_ONCE = 20
TOLD_MAX = 10_000
NEEDED_TOLD_MAX = 100
PIECE = 200
# Each is looked for in every answer that is kept for retries, which takes two seconds for 50,000 answers of 1 kB.
ERASED_AT_ONCE = 20
FORGOTTEN_SHOWS_AT_ONCE = 50
_FIRST = UUID(int=0)

sql = load_queries(__file__, "privacy.sql")
heads = load_queries(__file__)
log = telemetry.log("privacy")


class StillBooked(Conflict):
    """Live bookings of shows to come carry this person: cancel them first. `bookings` names up to 100 of them."""

    code = "still_booked"
    title = "There are live bookings for shows to come."


async def told_of_person(
    db: Database, secrets: Secrets, organizer_id: OrganizerId, email: str
) -> list[Booking]:
    """Every booking and every waiting claim of this address with this organizer, at most TOLD_MAX.

    Reads all of the organizer's bookings, some shows at a time.
    """
    email, found, after = email.strip().lower(), list[Booking](), _FIRST
    digests = buyer_digests(secrets, email)
    while rows := await db.rows(sql.shows_to_search, organizer_id, after, SHOWS_AT_ONCE):
        shows = [row["show_id"] for row in rows]
        most = TOLD_MAX - len(found)
        found += map(booking_from, await db.rows(sql.bookings_of_person, shows, digests, email, most))
        found += map(queued_from, await db.rows(sql.queued_of_person, shows, email, most))
        after = shows[-1]
    return found[:TOLD_MAX]


async def tickets_given(db: Database, email: str) -> list[tickets.Changed]:
    """Tickets that this address was given, as far as the caller of the database may see, at most TOLD_MAX."""
    return await tickets.given_to(db, email.strip(), TOLD_MAX)


async def told_of_customer(db: Database, secrets: Secrets, account: Account) -> list[Booking]:
    """Every booking of this customer with whichever organizer, at most TOLD_MAX."""
    return [own.booking for own in await bookings_of_customer(db, secrets, account, TOLD_MAX)]


async def erase_person(
    tx: Transaction,
    secrets: Secrets,
    email: str,
    *,
    organizer_id: OrganizerId | None,
    account: Account | None = None,
) -> UUID:
    """Has the person erased from the bookings of one organizer, or (None) of all; the id of the job that does it.

    Raises StillBooked, and nothing is erased.
    """
    email, job_id = email.strip().lower(), new_id()
    customer_id = account.customer_id if account else None
    needed = await tx.rows(
        sql.still_needed, organizer_id, buyer_digests(secrets, email), customer_id, NEEDED_TOLD_MAX
    )
    if needed:
        raise StillBooked(
            bookings=[
                {"show_id": str(row["show_id"]), "booking_id": str(row["booking_id"])} for row in needed
            ]
        )
    payload: dict[str, Any] = {
        "organizer_id": str(organizer_id) if organizer_id else None,
        "customer_id": str(customer_id) if customer_id else None,
    }
    await _enqueue(tx, secrets, job_id, payload, email)
    return job_id


async def _enqueue(
    tx: Transaction,
    secrets: Secrets,
    job_id: UUID,
    payload: dict[str, Any],
    email: str,
    run_at: datetime | None = None,
) -> None:
    # A job may become a dead letter, which people read.
    sealed = b64encode(secrets.seal(ERASE, email.encode(), job_id.bytes)).decode("ascii")
    await jobs.enqueue(tx, ERASE, {**payload, "sealed": sealed}, run_at=run_at, job_id=job_id)


async def erase(secrets: Secrets, job: Job, db: Database) -> None:
    """Handles a job `privacy.erase`, show by show in short pieces. Done again, it finds what is left.

    A hold that was made before it came to be done keeps its person while it lasts: another job looks when it is over.
    What was confirmed meanwhile is a new promise, and keeps its person.
    """
    email = secrets.unseal(ERASE, b64decode(job.payload["sealed"]), job.id.bytes).decode()
    organizer_id = job.payload["organizer_id"] and UUID(job.payload["organizer_id"])
    customer_id = job.payload["customer_id"] and UUID(job.payload["customer_id"])
    digests, after, erased = buyer_digests(secrets, email), _FIRST, 0
    while rows := await db.rows(sql.shows_to_search, organizer_id, after, SHOWS_AT_ONCE):
        for row in rows:
            erased += await _erase_in_show(db, secrets, row["show_id"], digests, email, customer_id)
        after = rows[-1]["show_id"]
    held_until = await db.value(sql.held_until, organizer_id, digests, customer_id)
    if held_until is not None:
        # Its id follows from this job's, so that there is one of it if this one is done again.
        again = uuid5(job.id, ERASE)
        async with db.transaction() as tx:
            await _enqueue(tx, secrets, again, job.payload, email, held_until)
    log.info("person erased", job_id=str(job.id), bookings=erased)


async def _erase_in_show(
    db: Database,
    secrets: Secrets,
    show_id: ShowId,
    digests: list[bytes],
    email: str,
    customer_id: UUID | None,
) -> int:
    erased = 0
    # First the queue, whose claims become bookings meanwhile.
    await db.execute(sql.erase_queued, show_id, email, customer_id)
    while True:
        async with db.transaction() as tx:
            rows = await tx.rows(sql.erase_bookings, show_id, digests, email, customer_id, ERASED_AT_ONCE)
            if rows:
                # The names that a buyer put on tickets are of the same people or of their friends.
                await tickets.forget(tx, show_id, bookings=[row["booking_id"] for row in rows])
                await payments.forget_notes(tx, show_id, bookings=[row["booking_id"] for row in rows])
                # Answers kept for retries name whoever they were given to.
                await once.forget(tx, [str(row["booking_id"]) for row in rows])
                # Whoever writes a letter to a buyer locks the booking, so none comes after this.
                for address in {row["email"] for row in rows} - {None}:
                    await mail.forget_letters_to(tx, secrets, address)
        erased += len(rows)
        if len(rows) < ERASED_AT_ONCE:
            break
    async with db.transaction() as tx:
        await tickets.forget(tx, show_id, email=email)
        await mail.forget_letters_to(tx, secrets, email)
    # Asked of the table and not of this run, which may be the second: the first died before it came here.
    if await db.value(sql.has_counts, show_id, digests):
        async with db.transaction() as tx:
            await tx.row(heads.lock_head, show_id)
            await tx.execute(sql.erase_buyers, show_id, digests)
    return erased


async def forget_due(office: Office) -> int:
    """Takes whoever bought off the bookings of shows that their organizers keep no longer; how many shows.

    In short pieces; a show that dies on the way is begun again. Raises Busy.
    """
    forgotten = 0
    while rows := await office.db.rows(sql.shows_to_forget, FORGOTTEN_SHOWS_AT_ONCE):
        for row in rows:
            await forget_show(office.db, row["show_id"])
        forgotten += len(rows)
    return forgotten


async def forget_show(db: Database, show_id: ShowId) -> None:
    """Takes whoever bought off the bookings, tickets and refunds of one show. Raises Busy."""
    after = _FIRST
    while rows := await db.rows(sql.forget_persons, show_id, after, PIECE):
        after = max(row["booking_id"] for row in rows)
    async with db.transaction() as tx:
        # Refunds are locked before the head, as by whoever settles them.
        await payments.forget_notes(tx, show_id)
        await tx.row(heads.lock_head, show_id)
        await tx.execute(sql.forget_buyers, show_id)
        await tickets.forget(tx, show_id)
        await tx.execute(sql.show_forgotten, show_id)
    log.info("buyers forgotten", show_id=str(show_id))
