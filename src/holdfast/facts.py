"""Every fact that is announced, in one place: what happened, and what a follower is told of it.

A fact carries ids and amounts, never a name or an address: erasing a person must not rewrite history. A follower gets
it at least once and in any order; `revision` (of a show's availability) or `version` (of a show or a booking) says
which of two is later. `outbox.fact_of(job)` has the envelope with id, kind, show and time; `of(fact)` has the payload as a Struct.

docs/api/facts.md is made of this file: the docstrings are what readers of the feed are told.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast.platform import outbox
from holdfast.platform.db import Transaction
from holdfast.platform.outbox import Fact

SHOW_CREATED = "show.created"
SHOW_CHANGED = "show.changed"
SHOW_MOVED = "show.moved"
SHOW_CANCELLED = "show.cancelled"
AVAILABILITY_CHANGED = "availability.changed"
BOOKING_CONFIRMED = "booking.confirmed"
BOOKING_CANCELLED = "booking.cancelled"
BOOKING_FAILED = "booking.failed"
BOOKING_EXPIRED = "booking.expired"
PAYMENT_SUCCEEDED = "payment.succeeded"
PAYMENT_DECLINED = "payment.declined"
PAYMENT_MISMATCHED = "payment.mismatched"
PAYMENT_DISPUTED = "payment.disputed"
REFUND_WANTED = "refund.wanted"
REFUND_SETTLED = "refund.settled"
REFUND_FAILED = "refund.failed"
TICKET_TRANSFERRED = "ticket.transferred"
TICKET_VOIDED = "ticket.voided"


Moment = Annotated[datetime, Meta(tz=True)]


class Payload(msgspec.Struct, frozen=True):
    """What every payload is. Fields may be added, so readers ignore what they do not know."""

    kind: ClassVar[str]


class ShowCreated(Payload, frozen=True):
    """An organizer made a show; it may not be on sale yet."""

    kind: ClassVar[str] = SHOW_CREATED
    show_id: UUID
    organizer_id: UUID


class ShowChanged(Payload, frozen=True):
    """The terms of a show were edited: whoever keeps something of it reads it again. `version` is the show's new one."""

    kind: ClassVar[str] = SHOW_CHANGED
    show_id: UUID
    version: int


class ShowMoved(Payload, frozen=True):
    """A show that was announced to the public has another time. `status` is `postponed` when the new time is yet to be
    found, and `start_time` then the old one. `version` is the show's new one.
    """

    kind: ClassVar[str] = SHOW_MOVED
    show_id: UUID
    organizer_id: UUID
    version: int
    status: str
    start_time_before: Moment
    start_time: Moment
    timezone: str


class ShowCancelled(Payload, frozen=True):
    """A show will not take place: its bookings are ended one after the other. `version` is the show's new one."""

    kind: ClassVar[str] = SHOW_CANCELLED
    show_id: UUID
    organizer_id: UUID
    version: int


class AvailabilityChanged(Payload, frozen=True):
    """Places of a show changed hands: one fact for all that one call of the database changed.

    `revision` counts such changes of the show, without a gap. `taken` and `freed` are ordinals of seats; places of
    standing areas have none. `left` is how many places are to be had in each area, in the order of the areas.
    """

    kind: ClassVar[str] = AVAILABILITY_CHANGED
    revision: int
    taken: list[int]
    freed: list[int]
    left: list[int]


class _BookingFact(Payload, frozen=True):
    """What a fact says of a booking. The lists have one element per place, `seats` none in a standing area.

    `tiers` are the numbers of the tiers, `amounts` and `total` what the buyer pays in all, in minor units of `currency`.
    `reason` says why it ended, `code_id` by which promotion code it was priced.
    """

    booking_id: UUID
    version: int
    organizer_id: UUID
    status: str
    reason: str | None
    quantity: int
    areas: list[int]
    seats: list[int]
    tiers: list[int]
    amounts: list[int]
    total: int
    currency: str
    code_id: UUID | None


class BookingConfirmed(_BookingFact, frozen=True):
    """A booking became a sale."""

    kind: ClassVar[str] = BOOKING_CONFIRMED


class BookingCancelled(_BookingFact, frozen=True):
    """A sale was called off: its places are free again; money, if any was taken, is owed back."""

    kind: ClassVar[str] = BOOKING_CANCELLED


class BookingFailed(Payload, frozen=True):
    """A claim that waited in the queue was refused when its turn came. `reason` is the code of the refusal."""

    kind: ClassVar[str] = BOOKING_FAILED
    booking_id: UUID
    version: int
    organizer_id: UUID
    reason: str


class BookingExpired(Payload, frozen=True):
    """A hold that somebody had begun to pay for ended without money. `payment_id` is the last attempt."""

    kind: ClassVar[str] = BOOKING_EXPIRED
    booking_id: UUID
    version: int
    organizer_id: UUID
    payment_id: UUID
    total: int
    currency: str


class _PaymentFact(Payload, frozen=True):
    """What a fact says of an attempt to pay: `amount` is what the provider says, in minor units of `currency`."""

    payment_id: UUID
    booking_id: UUID
    organizer_id: UUID
    provider: str
    amount: int
    currency: str


class PaymentSucceeded(_PaymentFact, frozen=True):
    """Money came. Whether it bought the places says `booking.confirmed`; where it did not, `refund.wanted` follows."""

    kind: ClassVar[str] = PAYMENT_SUCCEEDED


class PaymentDeclined(_PaymentFact, frozen=True):
    """An attempt to pay came to nothing; the hold stands for another. `reason` is the provider's word for why."""

    kind: ClassVar[str] = PAYMENT_DECLINED
    reason: str | None


class PaymentMismatched(_PaymentFact, frozen=True):
    """Other money came than was asked for: nothing was confirmed, and a person has to decide."""

    kind: ClassVar[str] = PAYMENT_MISMATCHED
    expected_amount: int
    expected_currency: str


class PaymentDisputed(_PaymentFact, frozen=True):
    """The buyer's bank takes the money back. The tickets are flagged, and admit as before until somebody decides."""

    kind: ClassVar[str] = PAYMENT_DISPUTED


class _RefundFact(Payload, frozen=True):
    """What a fact says of money on its way back: `amount` in minor units of `currency`.

    `reason` says why it goes back. `numbers` are the tickets that it is for, counted from 1; null: not for single ones.
    """

    refund_id: UUID
    payment_id: UUID
    booking_id: UUID
    organizer_id: UUID
    amount: int
    currency: str
    reason: str
    numbers: list[int] | None


class RefundWanted(_RefundFact, frozen=True):
    """It was decided that money goes back; the provider is told next."""

    kind: ClassVar[str] = REFUND_WANTED


class RefundSettled(_RefundFact, frozen=True):
    """The provider has sent the money back."""

    kind: ClassVar[str] = REFUND_SETTLED


class RefundFailed(_RefundFact, frozen=True):
    """The provider will not send the money back: a person has to see to it. Tickets that waited for it are valid again."""

    kind: ClassVar[str] = REFUND_FAILED


class TicketTransferred(Payload, frozen=True):
    """A ticket was issued anew to another person. `number` is its place in the booking, counted from 1; codes of it with a
    smaller `serial` are dead.
    """

    kind: ClassVar[str] = TICKET_TRANSFERRED
    booking_id: UUID
    organizer_id: UUID
    number: int
    serial: int


class TicketVoided(Payload, frozen=True):
    """Some tickets of a booking that stands admit nobody any more; `booking.cancelled` says so of all of a booking's."""

    kind: ClassVar[str] = TICKET_VOIDED
    booking_id: UUID
    organizer_id: UUID
    numbers: list[int]


PAYLOADS: dict[str, type[Payload]] = {
    payload.kind: payload
    for payload in (
        ShowCreated,
        ShowChanged,
        ShowMoved,
        ShowCancelled,
        AvailabilityChanged,
        BookingConfirmed,
        BookingCancelled,
        BookingFailed,
        BookingExpired,
        PaymentSucceeded,
        PaymentDeclined,
        PaymentMismatched,
        PaymentDisputed,
        RefundWanted,
        RefundSettled,
        RefundFailed,
        TicketTransferred,
        TicketVoided,
    )
}


EXAMPLE_ID = UUID("019aa6b0-5a00-7000-8000-000000000000")
EXAMPLE_TIME = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
EXAMPLE_SHOW = UUID("019aa6b0-5a00-7000-8000-000000000001")
_ORGANIZER = UUID("019aa6b0-5a00-7000-8000-000000000002")
_BOOKING = UUID("019aa6b0-5a00-7000-8000-000000000003")
_PAYMENT = UUID("019aa6b0-5a00-7000-8000-000000000004")
_REFUND = UUID("019aa6b0-5a00-7000-8000-000000000005")
_OF_PAYMENT: dict[str, Any] = {
    "payment_id": _PAYMENT,
    "booking_id": _BOOKING,
    "organizer_id": _ORGANIZER,
    "provider": "sandbox",
    "amount": 9000,
    "currency": "EUR",
}
_OF_REFUND: dict[str, Any] = {
    "refund_id": _REFUND,
    "payment_id": _PAYMENT,
    "booking_id": _BOOKING,
    "organizer_id": _ORGANIZER,
    "amount": 4500,
    "currency": "EUR",
    "reason": "by_organizer",
    "numbers": [2],
}
_OF_BOOKING: dict[str, Any] = {
    "booking_id": _BOOKING,
    "organizer_id": _ORGANIZER,
    "quantity": 2,
    "areas": [1, 1],
    "seats": [17, 18],
    "tiers": [1, 1],
    "amounts": [4500, 4500],
    "total": 9000,
    "currency": "EUR",
    "code_id": None,
}
_EVENING = datetime(2026, 12, 24, 18, tzinfo=UTC)

# One fact of each kind, for docs/api/facts.md and for tests of whoever follows. They belong to one booking of two seats.
EXAMPLES: dict[str, Payload] = {
    payload.kind: payload
    for payload in (
        ShowCreated(EXAMPLE_SHOW, _ORGANIZER),
        ShowChanged(EXAMPLE_SHOW, 2),
        ShowMoved(
            show_id=EXAMPLE_SHOW, organizer_id=_ORGANIZER, version=3, status="on_sale", start_time_before=_EVENING,
            start_time=_EVENING + timedelta(days=1), timezone="Europe/Vienna",
        ),
        ShowCancelled(EXAMPLE_SHOW, _ORGANIZER, 4),
        AvailabilityChanged(revision=41, taken=[17, 18], freed=[], left=[98, 250]),
        BookingConfirmed(version=2, status="CONFIRMED", reason=None, **_OF_BOOKING),
        BookingCancelled(version=3, status="CANCELLED", reason="by_organizer", **_OF_BOOKING),
        BookingFailed(_BOOKING, 2, _ORGANIZER, "sold_out"),
        BookingExpired(_BOOKING, 2, _ORGANIZER, _PAYMENT, 9000, "EUR"),
        PaymentSucceeded(**_OF_PAYMENT),
        PaymentDeclined(reason="card_declined", **_OF_PAYMENT),
        PaymentMismatched(expected_amount=9000, expected_currency="EUR", **{**_OF_PAYMENT, "amount": 4500}),
        PaymentDisputed(**_OF_PAYMENT),
        RefundWanted(**_OF_REFUND),
        RefundSettled(**_OF_REFUND),
        RefundFailed(**_OF_REFUND),
        TicketTransferred(_BOOKING, _ORGANIZER, 2, 1),
        TicketVoided(_BOOKING, _ORGANIZER, [2]),
    )
}  # fmt: skip


async def announce(tx: Transaction, show_id: UUID, payload: Payload, *, fact_id: UUID | None = None) -> UUID:
    """Announces a fact in the transaction that makes it true, as `outbox.announce` does; its id."""
    return await outbox.announce(tx, show_id, payload.kind, payload, fact_id=fact_id)


def of(fact: Fact) -> Any:
    """The payload of a fact, as the Struct of its kind. Raises KeyError for a kind that is not announced here."""
    return msgspec.convert(fact.data, PAYLOADS[fact.kind])
