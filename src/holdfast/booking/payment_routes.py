"""Payments of bookings over HTTP, and the notices of providers. `call.state` is the Engine."""

from functools import partial
from typing import Any, Literal
from uuid import UUID

import msgspec

from holdfast import accounts, booking, payments
from holdfast.accounts import Buyer
from holdfast.booking import (
    AlreadyPaid,
    Booking,
    BookingEnded,
    BookingNotFound,
    HoldExpired,
    NothingToPay,
    PaymentInQuestion,
    PaymentsOff,
    PaySpec,
    ProviderRejected,
    ProviderUnavailable,
    StillQueued,
    TooManyAttempts,
)
from holdfast.catalog import ShowNotFound
from holdfast.payments import BadSignature, Payment, PaymentNotFound
from holdfast.platform import clock
from holdfast.platform.db import Transaction
from holdfast.platform.errors import NotFound
from holdfast.platform.http import ANYONE, HTML, Answer, Call, Routes, Timestamp, created
from holdfast.platform.money import Money

NOTICE_BYTES_MAX = 262_144
RETURNED = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Back from paying</title>
<p>You may close this page. Whether the payment went through is shown where you booked.
<p lang="de">Sie k\xc3\xb6nnen diese Seite schlie\xc3\x9fen. Ob die Zahlung gelungen ist, steht dort, wo Sie gebucht haben.
</html>
"""

routes = Routes(
    "payments",
    missing={"show_id": ShowNotFound, "booking_id": BookingNotFound, "payment_id": PaymentNotFound},
)


class UnknownProvider(NotFound):
    code = "unknown_provider"
    title = "No payment provider of this name is set up."


class PaymentJson(msgspec.Struct):
    """An attempt to pay. While `state` is OPEN the buyer pays at `url`: a link for `GET`, a form with `fields` for `POST`.

    CREATED: the provider has not answered yet, ask again. DECLINED: try again, with another attempt. MISMATCHED: other money
    came than was asked for, which `amount` then is; somebody decides. SUCCEEDED says that the money is there; whether it
    bought the places says the booking.
    """

    id: UUID
    show_id: UUID
    booking_id: UUID
    provider: str
    state: str
    amount: Money
    reason: str | None
    url: str | None
    method: Literal["GET", "POST"] | None
    fields: dict[str, str]
    equal_places: bool
    disputed: bool
    created_at: Timestamp
    settled_at: Timestamp | None


class PaymentsJson(msgspec.Struct):
    payments: list[PaymentJson]


class ReceivedJson(msgspec.Struct):
    received: bool


@routes.post(
    "/v1/shows/{show_id}/bookings/{booking_id}/pay",
    who=Buyer("bookings.write"),
    body=PaySpec,
    answers={201: PaymentJson},
    refusals=(
        PaymentsOff, NothingToPay, AlreadyPaid, PaymentInQuestion, TooManyAttempts, HoldExpired, BookingEnded, StillQueued,
        ProviderUnavailable, ProviderRejected,
    ),
    once="in steps",
    example={"equal_places": True},
)  # fmt: skip
async def pay(call: Call[PaySpec]) -> Answer:
    """Begin to pay for a booking.

    Renews the hold and answers where the buyer pays. While an attempt is open, it is answered again. What becomes of it is
    said by the booking, and by the payment: ask for either.
    """
    found = await booking.own_booking(call, "bookings.write", call.db)
    booking.refuse_unmade(found)
    view = await call.state.office.views.get(found.show_id)
    payment = await call.state.cashier.pay(call.db, found, view, call.body, partial(_note, call, found))
    return created(_payment_json(payment), f"{_path(payment)}")


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/payments",
    who=Buyer("bookings.read"),
    answers={200: PaymentsJson},
)
async def list_payments(call: Call[None]) -> PaymentsJson:
    """List the attempts to pay for a booking, oldest first."""
    found = await booking.own_booking(call, "bookings.read", call.db)
    attempts = await payments.payments_of(call.db, found.show_id, found.booking_id)
    return PaymentsJson([_payment_json(each) for each in attempts])


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/payments/{payment_id}",
    who=Buyer("bookings.read"),
    answers={200: PaymentJson},
)
async def read_payment(call: Call[None]) -> PaymentJson:
    """Read a payment: what a return page asks for until it is over. The provider is asked, too, every two seconds."""
    found = await booking.own_booking(call, "bookings.read", call.db)
    payment = await payments.payment_by_id(call.db, found.show_id, call.path["payment_id"])
    if payment.booking_id != found.booking_id:
        raise PaymentNotFound
    return _payment_json(await call.state.cashier.look(payment))


@routes.post(
    "/v1/payments/{provider:str}/webhook",
    who=ANYONE,
    body=bytes,
    body_bytes_max=NOTICE_BYTES_MAX,
    limit="provider",
    answers={200: ReceivedJson},
    refusals=(UnknownProvider, BadSignature),
)
async def hear_provider(call: Call[bytes]) -> ReceivedJson:
    """Take a signed notice of a payment provider.

    Its effect and the note that it came are one transaction, so it may come in any order and any number of times.
    """
    cashier = call.state.cashier
    provider = cashier.provider(call.path["provider"])
    if provider is None:
        raise UnknownProvider
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in call.headers.items()}
    await cashier.hear(provider, provider.read(headers, call.body))
    return ReceivedJson(received=True)


@routes.get("/v1/payments/return", who=ANYONE, query=None, answers={200: "text/html"})
async def returned(call: Call[None]) -> Answer:
    """Say that the page may be closed: where buyers come back to when `pay` named no page."""
    return Answer(200, RETURNED, media=HTML)


def _note(call: Call[Any], found: Booking, tx: Transaction) -> accounts.Note:
    return partial(
        accounts.audit, tx, call, "payment.begun", organizer_id=found.organizer_id, subject=found.booking_id,
        show_id=found.show_id,
    )  # fmt: skip


def _path(payment: Payment) -> str:
    return f"/v1/shows/{payment.show_id}/bookings/{payment.booking_id}/payments/{payment.payment_id}"


def _payment_json(payment: Payment) -> PaymentJson:
    way = payment.way if payment.state == "OPEN" else None
    return PaymentJson(
        id=payment.payment_id,
        show_id=payment.show_id,
        booking_id=payment.booking_id,
        provider=payment.provider,
        state=payment.state,
        amount=Money(payment.amount, payment.currency),
        reason=payment.reason,
        url=way.url if way else None,
        method=way.method if way else None,
        fields=way.fields if way else {},
        equal_places=payment.equal_places,
        disputed=payment.disputed_at is not None,
        created_at=clock.rfc3339(payment.created_at),
        settled_at=clock.rfc3339(payment.settled_at) if payment.settled_at else None,
    )
