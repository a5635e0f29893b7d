"""Refunds over HTTP: staff want them and try them again, and whoever may read a booking sees how they are doing.

`call.state` is the Engine.
"""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, booking, payments
from holdfast.accounts import Buyer, Principal, Staff
from holdfast.booking import (
    BookingNotFound,
    NothingToRefund,
    PlacesNotRefundable,
    RefundSpec,
)
from holdfast.catalog import ShowNotFound
from holdfast.payments import Refund, RefundNotFailed, RefundNotFound, RefundTooMuch
from holdfast.platform import clock
from holdfast.platform.db import Transaction
from holdfast.platform.http import Answer, Call, Routes, Timestamp, created
from holdfast.platform.ids import BookingId, ShowId
from holdfast.platform.money import Money
from holdfast.platform.pages import PageQuery, id_in, page_of

routes = Routes(
    "refunds",
    missing={"show_id": ShowNotFound, "booking_id": BookingNotFound, "refund_id": RefundNotFound},
)


class RefundJson(msgspec.Struct):
    """Money that goes back. WANTED: decided. SENT: the provider was asked. SETTLED: it has gone back. FAILED: it will not.

    `numbers` are the tickets that end with it, and admit nobody meanwhile; null: the money goes alone. With `release` their
    places are for sale again. `problem`, which staff see, is what the provider last said when it did not work;
    `retried_as` is the refund that tries again.
    """

    id: UUID
    show_id: UUID
    booking_id: UUID
    payment_id: UUID
    provider: str
    state: str
    amount: Money
    reason: str
    note: str | None
    numbers: list[int] | None
    release: bool
    problem: str | None
    retried_as: UUID | None
    created_at: Timestamp
    settled_at: Timestamp | None


class RefundsJson(msgspec.Struct):
    """Refunds of one booking, and what they are in all: gone back, and on the way."""

    refunds: list[RefundJson]
    refunded: Money
    under_way: Money
    next: Annotated[str, Meta(max_length=100)] | None


@routes.post(
    "/v1/shows/{show_id}/bookings/{booking_id}/refunds",
    who=Staff("bookings.refund"),
    body=RefundSpec,
    answers={201: RefundJson},
    refusals=(NothingToRefund, RefundTooMuch, PlacesNotRefundable),
    once=True,
    example={"numbers": [2], "release": True, "note": "Ill"},
)
async def want_refund(call: Call[RefundSpec], tx: Transaction) -> Answer:
    """Give money back: for all of a booking, for some of its tickets, or an amount alone.

    The tickets admit nobody from now on. They end, and their places are for sale again, when the provider says that the
    money has gone back; the booking is CANCELLED when it has no place left. When the provider refuses, the tickets are valid
    again and the refund is FAILED.
    """
    show_id, booking_id = await _own(call, tx)
    refund = await booking.refund(tx, show_id, booking_id, call.body, call.caller.person_id)
    await _note(call, tx, "refund.wanted", refund)
    return created(_refund_json(refund, call), _path(refund))


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/refunds",
    who=Buyer("bookings.read"),
    query=PageQuery,
    answers={200: RefundsJson},
)
async def list_refunds(call: Call[None]) -> RefundsJson:
    """List the refunds of a booking, oldest first."""
    found = await booking.own_booking(call, "bookings.read", call.db)
    after = id_in(call.query.cursor) or UUID(int=0)
    refunds = await payments.refunds_of(call.db, found.show_id, found.booking_id, after, call.query.limit + 1)
    page, following = page_of(refunds, call.query.limit, lambda each: each.refund_id.hex)
    refunded, under_way = await payments.refund_sums(call.db, found.show_id, found.booking_id, found.currency)
    return RefundsJson(
        [_refund_json(each, call) for each in page],
        Money(refunded, found.currency),
        Money(under_way, found.currency),
        following,
    )


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/refunds/{refund_id}",
    who=Buyer("bookings.read"),
    answers={200: RefundJson},
)
async def read_refund(call: Call[None]) -> RefundJson:
    """Read a refund."""
    found = await booking.own_booking(call, "bookings.read", call.db)
    refund = await payments.refund_by_id(call.db, found.show_id, call.path["refund_id"])
    if refund.booking_id != found.booking_id:
        raise RefundNotFound
    return _refund_json(refund, call)


@routes.post(
    "/v1/shows/{show_id}/bookings/{booking_id}/refunds/{refund_id}/retry",
    who=Staff("bookings.refund"),
    answers={201: RefundJson},
    refusals=(RefundNotFailed, RefundTooMuch, PlacesNotRefundable),
    once=True,
)
async def retry_refund(call: Call[None], tx: Transaction) -> Answer:
    """Try a refund that FAILED once more. The answer is another refund, with another id."""
    show_id, booking_id = await _own(call, tx)
    again = await booking.retry_refund(tx, show_id, booking_id, call.path["refund_id"], call.caller.person_id)
    await _note(call, tx, "refund.retried", again)
    return created(_refund_json(again, call), _path(again))


async def _own(call: Call[Any], tx: Transaction) -> tuple[ShowId, BookingId]:
    """The ids of the path, once it is sure that the booking is the caller's organizer's. Raises BookingNotFound."""
    show_id, booking_id = ShowId(call.path["show_id"]), BookingId(call.path["booking_id"])
    found = await booking.booking_by_id(tx, show_id, booking_id)
    accounts.require(call.caller, "bookings.refund", found.organizer_id, missing=BookingNotFound)
    return show_id, booking_id


async def _note(call: Call[Any], tx: Transaction, action: str, refund: Refund) -> None:
    await accounts.audit(
        tx, call, action, organizer_id=refund.organizer_id, subject=refund.booking_id, show_id=refund.show_id,
        after=booking.refund_amounts(refund),
    )  # fmt: skip


def _path(refund: Refund) -> str:
    return f"/v1/shows/{refund.show_id}/bookings/{refund.booking_id}/refunds/{refund.refund_id}"


def _refund_json(refund: Refund, call: Call[Any]) -> RefundJson:
    caller = call.caller
    is_staff = isinstance(caller, Principal) or caller.principal is not None
    return RefundJson(
        id=refund.refund_id,
        show_id=refund.show_id,
        booking_id=refund.booking_id,
        payment_id=refund.payment_id,
        provider=refund.provider,
        state=refund.state,
        amount=Money(refund.amount, refund.currency),
        reason=refund.reason,
        note=refund.note,
        numbers=refund.numbers,
        release=refund.release,
        problem=refund.problem if is_staff else None,
        retried_as=refund.retried_as,
        created_at=clock.rfc3339(refund.created_at),
        settled_at=clock.rfc3339(refund.settled_at) if refund.settled_at else None,
    )
