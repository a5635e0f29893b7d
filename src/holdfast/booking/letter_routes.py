"""What a buyer, or staff for a buyer, has sent once more. `call.state` is the Engine."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from holdfast import accounts, booking
from holdfast.accounts import Buyer
from holdfast.booking import Booking, BookingEnded, BookingNotFound, NoAddress, NotSoldYet
from holdfast.catalog import ShowNotFound
from holdfast.platform.db import Transaction
from holdfast.platform.errors import Conflict
from holdfast.platform.http import Answer, Call, Routes
from holdfast.platform.limits import RateLimited, by_address

routes = Routes("letters", missing={"show_id": ShowNotFound, "booking_id": BookingNotFound})


class TextsOff(Conflict):
    code = "texts_off"
    title = "This installation sends no text messages."


class TextSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A telephone number with its country, as E.164 writes it."""

    phone: Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}$", max_length=16)]


@routes.post(
    "/v1/shows/{show_id}/bookings/{booking_id}/resend",
    who=Buyer("bookings.write"),
    answers={202: None},
    refusals=(NotSoldYet, BookingEnded, NoAddress, RateLimited),
    once=True,
)
async def resend(call: Call[None], tx: Transaction) -> Answer:
    """Send the tickets of a booking once more, to the address that it was made with."""
    found = await booking.own_booking(call, "bookings.write", tx)
    await _take(call, found)
    await booking.send_again(tx, found)
    await _note(call, tx, "letter.resent", found)
    return Answer(202)


@routes.post(
    "/v1/shows/{show_id}/bookings/{booking_id}/text",
    who=Buyer("bookings.write"),
    body=TextSpec,
    answers={202: None},
    refusals=(NotSoldYet, BookingEnded, TextsOff, RateLimited),
    once=True,
    example={"phone": "+436601234567"},
)
async def send_text(call: Call[TextSpec], tx: Transaction) -> Answer:
    """Send the link to the tickets of a booking to a telephone. The number is forgotten when the message was sent."""
    found = await booking.own_booking(call, "bookings.write", tx)
    if call.state.settings.sms_url is None:
        raise TextsOff
    await _take(call, found, call.body.phone)
    await booking.send_text(tx, call.state.secrets, found, call.body.phone)
    await _note(call, tx, "text.sent", found)
    return Answer(202)


async def _take(call: Call[Any], found: Booking, *others: str) -> None:
    """Counts what a buyer has sent: each costs somebody money or attention. Raises RateLimited."""
    if call.caller.principal is None:
        for who in (by_address(call.client_ip), found.booking_id.hex, *others):
            await call.state.limits.take("resends", who)


async def _note(call: Call[Any], tx: Transaction, action: str, found: Booking) -> None:
    await accounts.audit(
        tx, call, action, organizer_id=found.organizer_id, subject=found.booking_id, show_id=found.show_id
    )  # fmt: skip
