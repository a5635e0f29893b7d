"""Attempts to pay: from the row that is written before the provider hears of it, to the end that the provider says.

The steps stand in one table, `STEPS`; the queries take no other, because they look for the states that a step leads from,
and the CHECK `legal_state` lets no row stand elsewhere. Money wins over everything that was said before: whoever hears of
the same payment in any order ends in the same state.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID

import msgspec

from holdfast import facts
from holdfast.payments.provider import Attempt, Opened, Seen
from holdfast.platform import jobs, telemetry
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import NotFound
from holdfast.platform.ids import BookingId, OrganizerId, ShowId, new_id

sql = load_queries(__file__)
log = telemetry.log("payments")

# The kind of the job that watches an attempt to its end, and how a reason of the provider is cut.
WATCH = "payments.watch"
REASON_MAX = 200

PaymentState = Literal["CREATED", "OPEN", "DECLINED", "CLOSED", "SUCCEEDED", "MISMATCHED"]
# to -> from. CLOSED is an end unless the provider took the money all the same.
STEPS: Mapping[PaymentState, frozenset[PaymentState]] = {
    "OPEN": frozenset({"CREATED"}),
    "DECLINED": frozenset({"CREATED", "OPEN"}),
    "CLOSED": frozenset({"CREATED", "OPEN", "DECLINED"}),
    "SUCCEEDED": frozenset({"CREATED", "OPEN", "DECLINED", "CLOSED"}),
    "MISMATCHED": frozenset({"CREATED", "OPEN", "DECLINED", "CLOSED"}),
}
UNDER_WAY: frozenset[PaymentState] = frozenset({"CREATED", "OPEN", "DECLINED"})


class PaymentNotFound(NotFound):
    code = "payment_not_found"
    title = "There is no such payment."


class Way(msgspec.Struct, frozen=True):
    """Where the buyer pays: a page of the provider's, and how it is asked for."""

    url: str
    method: Literal["GET", "POST"]
    fields: dict[str, str]


class Payment(msgspec.Struct, frozen=True):
    """An attempt as the database has it. `expected_amount` was fixed with the hold; `amount` is the same, unless the
    provider took other money.
    """

    show_id: ShowId
    payment_id: UUID
    booking_id: BookingId
    organizer_id: OrganizerId
    provider: str
    state: PaymentState
    amount: int
    currency: str
    expected_amount: int
    expected_currency: str
    equal_places: bool
    description: str
    return_url: str
    expires_at: datetime
    way: Way | None
    ref: str | None
    charge: str | None
    reason: str | None
    disputed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    settled_at: datetime | None

    @property
    def is_under_way(self) -> bool:
        """Whether the buyer may still pay."""
        return self.state in UNDER_WAY

    def attempt(self, reference: str, email: str | None) -> Attempt:
        """What the provider is told, equal however often it is told."""
        return Attempt(
            payment_id=self.payment_id, show_id=self.show_id, booking_id=self.booking_id, reference=reference,
            amount=self.expected_amount, currency=self.expected_currency, description=self.description,
            return_url=self.return_url, expires_at=self.expires_at, email=email,
        )  # fmt: skip


class NewPayment(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt is begun with; `amount` in minor units of `currency`."""

    show_id: ShowId
    booking_id: BookingId
    organizer_id: OrganizerId
    provider: str
    amount: int
    currency: str
    equal_places: bool
    description: str
    return_url: str
    expires_at: datetime


async def begin(tx: Transaction, new: NewPayment) -> Payment:
    """Writes a new attempt; the provider has not heard of it. Its id goes into `return_url` as `payment`."""
    payment_id = new_id()
    mark = "&" if "?" in new.return_url else "?"
    row = await tx.row(
        sql.insert_payment, new.show_id, payment_id, new.booking_id, new.organizer_id, new.provider, new.amount,
        new.currency, new.equal_places, new.description, f"{new.return_url}{mark}payment={payment_id}", new.expires_at,
    )  # fmt: skip
    assert row is not None
    return payment_from(row)


async def watch_from(tx: Transaction, payment: Payment, moment: datetime) -> None:
    """Lets a job watch the attempt from then on, to its end."""
    await jobs.enqueue(tx, WATCH, _watched(payment), run_at=moment, job_id=payment.payment_id)


async def hurry(tx: Transaction, show_id: ShowId, booking_id: BookingId) -> None:
    """Has the attempts of a booking that are under way looked at soon: it ended, or was paid by another one."""
    for payment in await payments_of(tx, show_id, booking_id):
        if payment.is_under_way:
            await jobs.enqueue(tx, WATCH, _watched(payment))


async def payment_by_id(db: Database | Transaction, show_id: ShowId, payment_id: UUID) -> Payment:
    """The payment. Raises PaymentNotFound."""
    row = await db.row(sql.payment_by_id, show_id, payment_id)
    if row is None:
        raise PaymentNotFound
    return payment_from(row)


async def lock_payment(tx: Transaction, show_id: ShowId, payment_id: UUID) -> Payment:
    """The payment, kept from everybody else until the transaction ends. Raises PaymentNotFound.

    Before the head and the booking of its show, in the order of locks.
    """
    row = await tx.row(sql.payment_locked, show_id, payment_id)
    if row is None:
        raise PaymentNotFound
    return payment_from(row)


async def payment_of_ref(db: Database, provider: str, ref: str) -> tuple[ShowId, UUID] | None:
    """The show and the id of the payment that the provider knows by this id."""
    row = await db.row(sql.payment_of_ref, provider, ref)
    return None if row is None else (row["show_id"], row["payment_id"])


async def payments_of(db: Database | Transaction, show_id: ShowId, booking_id: BookingId) -> list[Payment]:
    """The attempts of a booking, oldest first. There are `ATTEMPTS_MAX` of booking/paying.py at most."""
    return [payment_from(row) for row in await db.rows(sql.payments_of, show_id, booking_id)]


async def note_opened(tx: Transaction, payment: Payment, opened: Opened) -> Payment:
    """Notes where the buyer pays; a payment that is known to be further on stays there."""
    row = await tx.row(
        sql.payment_opened, payment.show_id, payment.payment_id, opened.ref,
        {"url": opened.url, "method": opened.method, "fields": opened.fields}, list(STEPS["OPEN"]),
    )  # fmt: skip
    assert row is not None
    return payment_from(row)


async def close(tx: Transaction, payment: Payment, reason: str | None = None) -> bool:
    """Notes that no money comes; False where it had ended before."""
    return await _step(tx, payment, "CLOSED", payment.ref, reason=reason) is not None


async def decline(tx: Transaction, payment: Payment, seen: Seen) -> bool:
    """Notes that a try failed; False where that, or more, was known. Announces payment.declined."""
    declined = await _step(tx, payment, "DECLINED", seen.ref, reason=seen.reason)
    if declined is None:
        return False
    await facts.announce(tx, payment.show_id, facts.PaymentDeclined(*_told(declined), declined.reason))
    return True


async def succeed(tx: Transaction, payment: Payment, seen: Seen) -> Payment | None:
    """Notes that the money came; None where that was known. Announces payment.succeeded.

    Other money than was asked for makes it MISMATCHED, for a person to decide on, and announces payment.mismatched.
    """
    charge = seen.charge or seen.ref
    if (seen.amount, seen.currency) == (payment.expected_amount, payment.expected_currency):
        paid = await _step(tx, payment, "SUCCEEDED", seen.ref, charge=charge)
        if paid is not None:
            await facts.announce(tx, payment.show_id, facts.PaymentSucceeded(*_told(paid)))
        return paid
    paid = await _step(
        tx, payment, "MISMATCHED", seen.ref, charge=charge, amount=seen.amount, currency=seen.currency
    )
    if paid is not None:
        fact = facts.PaymentMismatched(*_told(paid), paid.expected_amount, paid.expected_currency)
        await facts.announce(tx, payment.show_id, fact)
        tx.after_commit(partial(_alarm, paid))
    return paid


async def dispute(tx: Transaction, payment: Payment) -> bool:
    """Flags a payment whose money the buyer's bank takes back; False when it was flagged. Announces payment.disputed."""
    row = await tx.row(sql.payment_disputed, payment.show_id, payment.payment_id)
    if row is None:
        return False
    await facts.announce(tx, payment.show_id, facts.PaymentDisputed(*_told(payment_from(row))))
    tx.after_commit(telemetry.PAYMENTS.labels(payment.provider, "disputed").inc)
    return True


async def may_look(db: Database, payment: Payment, seconds: float) -> bool:
    """Whether the provider may be asked about it now: once in so many seconds, whoever wants to know."""
    ref = await db.value(sql.look_taken, payment.show_id, payment.payment_id, seconds)
    return ref is not None


def payment_from(row: Record) -> Payment:
    """A row of `payments` as a Payment."""
    fields = {name: row[name] for name in Payment.__struct_fields__}
    fields["way"] = row["way"] and msgspec.convert(row["way"], Way)
    return Payment(**fields)


async def _step(
    tx: Transaction, payment: Payment, to: PaymentState, ref: str | None, **more: Any
) -> Payment | None:
    reason = more.get("reason")
    row = await tx.row(
        sql.payment_stepped, payment.show_id, payment.payment_id, to, list(STEPS[to]), ref, more.get("charge"),
        more.get("amount"), more.get("currency"), reason and _bounded(reason),
    )  # fmt: skip
    if row is None:
        return None
    tx.after_commit(telemetry.PAYMENTS.labels(payment.provider, to.lower()).inc)
    return payment_from(row)


def _watched(payment: Payment) -> dict[str, str]:
    return {"show_id": str(payment.show_id), "payment_id": str(payment.payment_id)}


def _alarm(payment: Payment) -> None:
    log.error(
        "other money came than was asked for", show_id=payment.show_id, payment_id=payment.payment_id,
        provider=payment.provider, amount=payment.amount, currency=payment.currency,
        expected_amount=payment.expected_amount, expected_currency=payment.expected_currency,
    )  # fmt: skip


def _told(payment: Payment) -> tuple[UUID, UUID, UUID, str, int, str]:
    return (
        payment.payment_id, payment.booking_id, payment.organizer_id, payment.provider, payment.amount, payment.currency
    )  # fmt: skip


def _bounded(text: str) -> str:
    # What a provider says may be anything; PostgreSQL takes neither NUL nor half of a surrogate pair.
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:REASON_MAX]
