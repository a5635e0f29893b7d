"""Who books, said after the claim. `call.state` is the Engine."""

import msgspec

from holdfast import accounts, booking
from holdfast.accounts import Buyer
from holdfast.booking import BookingEnded, BookingNotFound, Customer, HoldExpired, LimitReached, StillQueued
from holdfast.booking.customer_later import DetailsFixed, name_customer
from holdfast.booking.rights import own_booking
from holdfast.booking.routes import BookingJson, booking_json
from holdfast.catalog import ShowNotFound
from holdfast.platform.http import Call, Routes

routes = Routes("bookings", missing={"show_id": ShowNotFound, "booking_id": BookingNotFound})


class BookingEdit(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What of a booking its buyer may change."""

    customer: Customer


@routes.patch(
    "/v1/shows/{show_id}/bookings/{booking_id}",
    who=Buyer("bookings.write"),
    body=BookingEdit,
    answers={200: BookingJson},
    refusals=(HoldExpired, BookingEnded, StillQueued, LimitReached, DetailsFixed),
    example={"customer": {"email": "guest@example.org", "name": "Guest"}},
)
async def edit_booking(call: Call[BookingEdit]) -> BookingJson:
    """Say who books, while the hold lasts.

    What is not given stays as it is. Once somebody has begun to pay, nothing can be changed until that attempt is over; the
    same again is answered as the first time.
    """
    found = await own_booking(call, "bookings.write", call.db)
    booking.refuse_unmade(found)
    # Before anything is locked: those who wait for it may have all the connections that a look at the view needs.
    view = await call.state.office.views.get(found.show_id)
    async with call.db.transaction() as tx:
        named, is_new = await name_customer(
            tx, call.state.secrets, found.show_id, found.booking_id, call.body.customer
        )
        if is_new:
            before, after = ({"version": each.version} for each in (found, named))
            await accounts.audit(
                tx, call, "booking.named", organizer_id=found.organizer_id, subject=found.booking_id,
                show_id=found.show_id, before=before, after=after,
            )  # fmt: skip
    return booking_json(named, view)
