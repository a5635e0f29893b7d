"""Refunds: money that goes back, from the wish to the end that the provider says.

WANTED -> SENT -> SETTLED or FAILED, by conditional updates alone. A wish counts against its payment at once, so that no
two of them can want more than was taken; a failure gives the money back to the payment. What a refund means for places
and tickets is said in `booking/refunding.py`, which asks the provider, too.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Literal
from uuid import UUID

import msgspec

from holdfast import facts
from holdfast.facts import RefundFailed, RefundSettled, RefundWanted
from holdfast.payments.attempts import Payment, payment_by_id
from holdfast.payments.provider import SeenRefund, Wish
from holdfast.platform import jobs, telemetry
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Conflict, NotFound
from holdfast.platform.ids import BookingId, OrganizerId, PersonId, ShowId, new_id

sql = load_queries(__file__, "refunds.sql")
log = telemetry.log("payments")

# The kind of the job that sees a refund through; one per refund, with its id.
REFUND = "payments.refund"
COUNTED_MAX = 100_000
PROBLEM_MAX = 500

RefundStep = Literal["WANTED", "SENT", "SETTLED", "FAILED"]
UNDER_WAY: tuple[RefundStep, ...] = ("WANTED", "SENT")


class RefundNotFound(NotFound):
    code = "refund_not_found"
    title = "There is no such refund."


class RefundTooMuch(Conflict):
    """`left` is what may still go back of the payment, in minor units."""

    code = "refund_too_much"
    title = "So much cannot go back: of what was paid less is left."


class RefundNotFailed(Conflict):
    """It is under way or done, or was tried again already: `retried_as` is the refund that does."""

    code = "refund_not_failed"
    title = "Only a refund that failed can be tried again, and once."


class Refundable(msgspec.Struct, frozen=True):
    """A payment that took money. `left` minor units of `currency` may still go back; of a disputed one the bank decides."""

    show_id: ShowId
    payment_id: UUID
    provider: str
    left: int
    currency: str
    disputed: bool


class Refund(msgspec.Struct, frozen=True):
    """A refund as the database has it. `numbers` are the tickets that end with it; None: the money goes alone.

    `release`: their places are for sale again. `problem` is what the provider last said when it did not work.
    """

    show_id: ShowId
    refund_id: UUID
    payment_id: UUID
    booking_id: BookingId
    organizer_id: OrganizerId
    provider: str
    amount: int
    currency: str
    state: RefundStep
    reason: str
    note: str | None
    numbers: list[int] | None
    release: bool
    ref: str | None
    problem: str | None
    retried_as: UUID | None
    created_by: UUID | None
    created_at: datetime
    sent_at: datetime | None
    settled_at: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether the provider has nothing more to do."""
        return self.state not in UNDER_WAY


class Begun(msgspec.Struct, frozen=True):
    """A refund that the provider is being asked for; its age in seconds, by the database's clock."""

    refund: Refund
    wish: Wish
    age_seconds: float


async def refundable(tx: Transaction, show_id: ShowId, booking_id: BookingId) -> list[Refundable]:
    """The payments of a booking that took money, oldest first.

    Until the transaction ends, nobody wants money of it back beside, and none comes by an attempt that was begun.
    """
    rows = await tx.rows(sql.refundable, show_id, booking_id)
    return [
        Refundable(
            show_id, row["payment_id"], row["provider"], row["left_over"], row["currency"], row["disputed"]
        )
        for row in rows
        if row["has_money"]
    ]


async def has_money(db: Database | Transaction, show_id: ShowId, booking_id: BookingId) -> bool:
    """Whether any payment of the booking took money."""
    found: bool = await db.value(sql.has_money, show_id, booking_id)
    return found


async def want_refund(
    tx: Transaction,
    payment: Payment | Refundable,
    amount: int,
    reason: str,
    *,
    numbers: Sequence[int] | None = None,
    release: bool = True,
    by: PersonId | None = None,
    note: str | None = None,
    refund_id: UUID | None = None,
) -> Refund:
    """Decides that `amount` minor units of a payment go back, and has a job see to it. Announces refund.wanted.

    `reason` is a word for programs (`late`, `second_payment`, `by_organizer`), `note` one for people. `numbers`: the
    tickets that end with it. Raises RefundTooMuch.
    """
    show_id, refund_id = payment.show_id, refund_id or new_id()
    row = await tx.row(
        sql.want_refund, show_id, refund_id, payment.payment_id, amount, reason, note,
        None if numbers is None else sorted(numbers), release, by,
    )  # fmt: skip
    if row is None:
        raise RefundTooMuch
    wanted = refund_from(row)
    job = {"show_id": str(show_id), "refund_id": str(refund_id)}
    await jobs.enqueue(tx, REFUND, job, job_id=refund_id)
    await facts.announce(tx, show_id, RefundWanted(*_told(wanted)))
    _count(tx, wanted)
    return wanted


async def refund_by_id(db: Database | Transaction, show_id: ShowId, refund_id: UUID) -> Refund:
    """The refund. Raises RefundNotFound."""
    row = await db.row(sql.refund_by_id, show_id, refund_id)
    if row is None:
        raise RefundNotFound
    return refund_from(row)


async def refunds_of(
    db: Database | Transaction, show_id: ShowId, booking_id: BookingId, after: UUID, limit: int
) -> list[Refund]:
    """Up to `limit` refunds of a booking behind `after`, oldest first."""
    return [
        refund_from(row) for row in await db.rows(sql.refunds_of_booking, show_id, booking_id, after, limit)
    ]


async def refund_sums(
    db: Database | Transaction, show_id: ShowId, booking_id: BookingId, currency: str
) -> tuple[int, int]:
    """Of a booking's money, in minor units: (what has gone back, what is on its way)."""
    row = await db.row(sql.refund_sums, show_id, booking_id, currency)
    assert row is not None
    return row["refunded"], row["under_way"]


async def begin_refund(db: Database, show_id: ShowId, refund_id: UUID) -> Begun | None:
    """Notes, with a commit of its own, that the provider is being asked; None when the refund is over."""
    row = await db.row(sql.refund_begun, show_id, refund_id)
    if row is None:
        return None
    refund = refund_from(row)
    wish = Wish(
        refund_id=refund_id, payment_id=refund.payment_id, show_id=show_id, ref=row["payment_ref"], charge=row["charge"],
        amount=refund.amount, currency=refund.currency,
    )  # fmt: skip
    return Begun(refund, wish, row["age_seconds"])


async def note_refund(
    db: Database | Transaction, show_id: ShowId, refund_id: UUID, *, ref: str | None, problem: str | None
) -> None:
    """Writes down how a refund under way is doing; nothing when it is over."""
    await db.execute(sql.refund_pending, show_id, refund_id, ref, _bounded(problem))


async def settle_refund(tx: Transaction, show_id: ShowId, refund_id: UUID, seen: SeenRefund) -> Refund | None:
    """The money went back; the refund if it was under way until now, else None. Announces refund.settled.

    Other money than was wanted changes nothing, and is an alarm.
    """
    row = await tx.row(sql.refund_settled, show_id, refund_id, seen.ref, seen.amount, seen.currency)
    if row is None:
        known = await tx.row(sql.refund_by_id, show_id, refund_id)
        if known is not None and (known["amount"], known["currency"]) != (seen.amount, seen.currency):
            log.error(
                "other money went back than was wanted", show_id=show_id, refund_id=refund_id, amount=seen.amount,
                currency=seen.currency,
            )  # fmt: skip
        return None
    settled = refund_from(row)
    await facts.announce(tx, show_id, RefundSettled(*_told(settled)))
    _count(tx, settled)
    return settled


async def fail_refund(
    tx: Transaction,
    show_id: ShowId,
    refund_id: UUID,
    problem: str | None,
    *,
    ref: str | None = None,
    settled_too: bool = False,
) -> Refund | None:
    """The money does not go back and is the payment's again; the refund if that is news, else None.

    `settled_too`: it was sent, and the buyer's bank sent it back. Announces refund.failed.
    """
    of = [*UNDER_WAY, "SETTLED"] if settled_too else list(UNDER_WAY)
    row = await tx.row(sql.refund_failed, show_id, refund_id, ref, _bounded(problem or "no reason given"), of)
    if row is None:
        return None
    failed = refund_from(row)
    await facts.announce(tx, show_id, RefundFailed(*_told(failed)))
    _count(tx, failed)
    log.error("refund failed", show_id=show_id, refund_id=refund_id, provider=failed.provider)
    return failed


async def retry_refund(tx: Transaction, failed: Refund, by: PersonId | None) -> Refund:
    """Another refund in the place of one that failed. Raises RefundNotFailed and RefundTooMuch.

    The tickets go with it again, unless they had ended before the money came back.
    """
    refund_id = new_id()
    if await tx.row(sql.refund_retried, failed.show_id, failed.refund_id, refund_id) is None:
        now = await refund_by_id(tx, failed.show_id, failed.refund_id)
        raise RefundNotFailed(state=now.state, retried_as=now.retried_as)
    return await want_refund(
        tx, await payment_by_id(tx, failed.show_id, failed.payment_id), failed.amount, failed.reason,
        numbers=failed.numbers if failed.settled_at is None else None, release=failed.release, by=by, note=failed.note,
        refund_id=refund_id,
    )  # fmt: skip


async def forget_notes(
    tx: Transaction, show_id: ShowId, *, bookings: Sequence[BookingId] | None = None
) -> int:
    """Takes the notes, which may name somebody, off refunds of a show: those of some bookings, or all. How many."""
    return await tx.execute(sql.forget_notes, show_id, None if bookings is None else list(bookings))


async def measure_refunds(db: Database) -> None:
    """Sets the gauges of refunds; each count stops at COUNTED_MAX. Raises Busy."""
    rows: Mapping[str, Record] = {row["state"]: row for row in await db.rows(sql.refund_gauges, COUNTED_MAX)}
    for state in (*UNDER_WAY, "FAILED"):
        row = rows.get(state)
        telemetry.REFUNDS_OPEN.labels(state).set(row["refunds"] if row else 0)
        telemetry.REFUNDS_AGE_SECONDS.labels(state).set((row["oldest_seconds"] if row else 0) or 0)


def refund_from(row: Record) -> Refund:
    """A row of `refunds` as a Refund."""
    return Refund(**{name: row[name] for name in Refund.__struct_fields__})


def _told(refund: Refund) -> tuple[UUID, UUID, UUID, UUID, int, str, str, list[int] | None]:
    return (
        refund.refund_id, refund.payment_id, refund.booking_id, refund.organizer_id, refund.amount, refund.currency,
        refund.reason, refund.numbers,
    )  # fmt: skip


def _count(tx: Transaction, refund: Refund) -> None:
    tx.after_commit(partial(telemetry.REFUNDS.labels(refund.provider, refund.state.lower()).inc))


def _bounded(text: str | None) -> str | None:
    # What a provider says may be anything; PostgreSQL takes neither NUL nor half of a surrogate pair.
    if not text:
        return None
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:PROBLEM_MAX] or None
