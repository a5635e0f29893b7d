"""The life of a booking: the steps that exist, and the operations that take them.

The steps stand in one table, `STEPS`. The database takes no other, for its functions look at the state under the booking's
lock, and its CHECK `legal_state` lets no booking stand where no step leads. `docs/guide/bookings.md` draws the same table,
and a test compares the three.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

import msgspec

from holdfast import payments
from holdfast.accounts import Note
from holdfast.booking.office import Office
from holdfast.booking.view import Change
from holdfast.catalog import Show
from holdfast.platform import broadcast, outbox, telemetry
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Conflict, NotFound, Refusal
from holdfast.platform.ids import BookingId, CodeId, CustomerId, OrganizerId, ShowId, new_id

sql = load_queries(__file__)
log = telemetry.log("booking")

EXTENSION_SECONDS = 60

# (from, to) -> the reasons that the step may carry. None: a step without a reason.
STEPS: dict[tuple[str | None, str], frozenset[str | None]] = {
    (None, "PENDING"): frozenset({None}),
    (None, "CONFIRMED"): frozenset({None}),
    (None, "FAILED"): frozenset({"sold_out"}),
    (None, "QUEUED"): frozenset({None}),
    ("QUEUED", "PENDING"): frozenset({None}),
    ("QUEUED", "CONFIRMED"): frozenset({None}),
    ("QUEUED", "FAILED"): frozenset(
        {
            "sold_out",
            "not_together",
            "seats_taken",
            "orphan_seat",
            "not_on_sale",
            "limit_reached",
            "hold_limit",
            "released",
            "idempotency_mismatch",
            "invalid",
            "unknown_seat",
            "too_many_places",
            "internal_error",
        }
    ),
    ("PENDING", "CONFIRMED"): frozenset({None}),
    ("PENDING", "FAILED"): frozenset({"expired", "released", "show_cancelled"}),
    # Money that came late, while the places were still to be had.
    ("FAILED", "CONFIRMED"): frozenset({None}),
    ("CONFIRMED", "CANCELLED"): frozenset({"by_buyer", "by_organizer", "show_cancelled"}),
}

EndReason = Literal["by_buyer", "by_organizer", "show_cancelled"]


class BookingNotFound(NotFound):
    """There is no such booking, or the caller may not know of it."""

    code = "booking_not_found"
    title = "There is no such booking."


class HoldExpired(Refusal):
    code = "hold_expired"
    status = 410
    title = "The time to confirm this booking has passed and its places are free again."


class HoldLimit(Conflict):
    """No further extension, or, on a claim, no further hold: the buyer has held enough without buying."""

    code = "hold_limit"
    title = "These places cannot be held any longer."


class BookingEnded(Conflict):
    code = "booking_ended"
    title = "This booking has ended."


class PaymentRequired(Conflict):
    code = "payment_required"
    title = "This booking has a price and must be paid, not just confirmed."


class NotCancellable(Conflict):
    code = "not_cancellable"
    title = "This booking can be cancelled by the organizer only."


class Booking(msgspec.Struct, frozen=True):
    """A booking as the database has it; the arrays run in parallel, one entry per place. `read_at` is the database's
    clock when it was read, which remaining times are counted from.
    """

    show_id: ShowId
    booking_id: BookingId
    organizer_id: OrganizerId
    reference: str
    status: str
    reason: str | None
    version: int
    quantity: int
    areas: list[int]
    seats: list[int]
    tiers: list[int]
    amounts: list[int]
    total: int
    currency: str
    email: str | None
    name: str | None
    created_at: datetime
    expires_at: datetime | None
    extended: bool
    confirmed_at: datetime | None
    ended_at: datetime | None
    read_at: datetime
    buyer: bytes | None = None
    customer_id: CustomerId | None = None
    # The numbers of places that went back with a part of the money; it does not have them any more.
    given_back: list[int] | None = None
    # The version of the show that it was priced under, and the code with which; `breakdown_of` says what that makes.
    terms: int | None = None
    code_id: CodeId | None = None

    @property
    def seconds_left(self) -> float:
        """Until the hold ends; 0 when there is none or it has passed."""
        if self.status != "PENDING" or self.expires_at is None:
            return 0.0
        return max(0.0, (self.expires_at - self.read_at).total_seconds())

    @property
    def is_overdue(self) -> bool:
        """Past its deadline, though no sweep has come by yet: to be shown as expired."""
        return self.status == "PENDING" and self.seconds_left == 0.0


async def booking_by_id(db: Database | Transaction, show_id: ShowId, booking_id: BookingId) -> Booking:
    """The booking. Raises BookingNotFound. It is the caller's task to know who may see it."""
    row = await db.row(sql.booking_by_id, show_id, booking_id)
    if row is None:
        raise BookingNotFound
    return booking_from(row)


@dataclass(frozen=True, slots=True)
class BookingFilter:
    """Which bookings of a show a list holds."""

    show_id: ShowId
    before: BookingId
    status: str | None = None
    reference: str | None = None
    email: str | None = None


async def search_bookings(db: Database, wanted: BookingFilter, limit: int) -> list[Booking]:
    """Up to `limit` bookings, newest first."""
    rows = await db.rows(
        sql.search_bookings, wanted.show_id, wanted.before, wanted.status,
        wanted.reference and wanted.reference.upper(), wanted.email and wanted.email.lower(), limit,
    )  # fmt: skip
    return [booking_from(row) for row in rows]


async def count_bookings(db: Database | Transaction, show_id: ShowId, status: str | None) -> int:
    """How many bookings of a show there are, or how many in this status."""
    count: int = await db.value(sql.count_bookings, show_id, status)
    return count


async def confirm(
    tx: Transaction,
    show_id: ShowId,
    booking_id: BookingId,
    *,
    settled: bool = False,
    note: Note | None = None,
) -> Booking:
    """Turns a live hold into a sale; a confirmed booking stays one.

    `settled`: the money was taken elsewhere. `note` hears of it if it became one just now. Raises BookingNotFound,
    HoldExpired when the deadline has passed, BookingEnded, and PaymentRequired for a price that nobody paid.
    """
    row = await tx.row(sql.confirm_booking, show_id, booking_id, settled)
    assert row is not None
    _refuse(row["outcome"])
    booking = await booking_by_id(tx, show_id, booking_id)
    if row["changed"]:
        if booking.total > 0:
            await payments.hurry(tx, show_id, booking_id)
        tx.after_commit(telemetry.BOOKINGS_ENDED.labels("confirmed").inc)
        tx.after_commit(partial(broadcast.hint, outbox.TOPIC))
        if note is not None:
            await note(before={"status": "PENDING"}, after=_amounts(booking))
    return booking


async def extend(tx: Transaction, show: Show, booking_id: BookingId) -> Booking:
    """Gives a live hold its one free extension of 60 s.

    Raises BookingNotFound, HoldExpired, BookingEnded, and HoldLimit when it was extended before or has been held for
    the show's `hold_seconds_max`.
    """
    outcome = await tx.value(
        sql.extend_booking, show.show_id, booking_id, EXTENSION_SECONDS, show.hold_seconds_max
    )
    _refuse(outcome)
    return await booking_by_id(tx, show.show_id, booking_id)


async def cancel(
    tx: Transaction,
    office: Office,
    show_id: ShowId,
    booking_id: BookingId,
    reason: EndReason,
    *,
    sold_too: bool,
    note: Note | None = None,
) -> Booking:
    """Lets a hold go at once, or cancels a sale when `sold_too`; an ended booking stays ended.

    `note` hears of it if it ended just now. Raises BookingNotFound, and NotCancellable for a sale that the caller may
    not cancel.
    """
    row = await tx.row(sql.cancel_booking, show_id, booking_id, reason, not sold_too, new_id())
    assert row is not None
    if row["outcome"] == "confirmed":
        raise NotCancellable
    _refuse(row["outcome"], ended_is_fine=True)
    booking = await booking_by_id(tx, show_id, booking_id)
    if row["changed"]:
        change = Change(row["at_revision"], (), row["freed"], row["left_over"])
        tx.after_commit(partial(office.views.changed, show_id, change))
        tx.after_commit(telemetry.BOOKINGS_ENDED.labels(booking.reason).inc)
        if booking.status == "FAILED":
            # No fact tells of a hold that was let go.
            tx.after_commit(partial(office.ends.add, show_id, str(booking.reason)))
        # Where somebody is paying for it just now, the provider is told to take no money any more.
        await payments.hurry(tx, show_id, booking_id)
        tx.after_commit(partial(broadcast.hint, outbox.TOPIC))
        if note is not None:
            before = "PENDING" if booking.status == "FAILED" else "CONFIRMED"
            await note(before={"status": before}, after=_amounts(booking))
    return booking


def booking_from(row: Record) -> Booking:
    """A row of `bookings` with `read_at` as a Booking."""
    return Booking(**{name: row[name] for name in Booking.__struct_fields__})


def _amounts(booking: Booking) -> dict[str, str | int | None]:
    """What an entry of the audit says of a booking."""
    names = ("status", "reason", "version", "quantity", "total", "currency")
    return {name: getattr(booking, name) for name in names}


def _refuse(outcome: str, *, ended_is_fine: bool = False) -> None:
    match outcome:
        case "booking_not_found":
            raise BookingNotFound
        case "hold_expired":
            raise HoldExpired
        case "hold_limit":
            raise HoldLimit
        case "payment_required":
            raise PaymentRequired
        case "ended" if not ended_is_fine:
            raise BookingEnded
