"""Every fact that is announced, in one place: what happened, and what a follower is told of it.

A fact carries ids and amounts, never a name or an address: erasing a person must not rewrite history. A follower gets
it at least once and in any order; `revision` (of a show's availability) or `version` (of a show or a booking) says
which of two is later. `outbox.fact_of(job)` has the envelope with id, kind, show and time; `of(fact)` has the payload as a Struct.
"""

from typing import Any, ClassVar
from uuid import UUID

import msgspec

from holdfast.platform.outbox import Fact

SHOW_CREATED = "show.created"
SHOW_CHANGED = "show.changed"
AVAILABILITY_CHANGED = "availability.changed"
BOOKING_CONFIRMED = "booking.confirmed"
BOOKING_CANCELLED = "booking.cancelled"
BOOKING_FAILED = "booking.failed"
TICKET_TRANSFERRED = "ticket.transferred"
TICKET_VOIDED = "ticket.voided"


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

    `tiers` are the numbers of the tiers, `amounts` and `total` minor units of `currency`. `reason` says why it ended.
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
        AvailabilityChanged,
        BookingConfirmed,
        BookingCancelled,
        BookingFailed,
        TicketTransferred,
        TicketVoided,
    )
}


def of(fact: Fact) -> Any:
    """The payload of a fact, as the Struct of its kind. Raises KeyError for a kind that is not announced here."""
    return msgspec.convert(fact.data, PAYLOADS[fact.kind])
