"""Who may see and change a booking: whoever holds its secret, its customer, and the organizer's staff."""

from typing import Any

from holdfast import accounts
from holdfast.accounts import Caller
from holdfast.booking.customers import is_of_customer
from holdfast.booking.lifecycle import Booking, BookingNotFound
from holdfast.booking.queueing import booking_or_queued
from holdfast.platform.calls import Call
from holdfast.platform.db import Database, Transaction
from holdfast.platform.ids import BookingId, ShowId


async def own_booking(
    call: Call[Any], permission: accounts.Permission, db: Database | Transaction
) -> Booking:
    """The booking, when the caller holds its secret, has its address or account, or has the permission.

    Else BookingNotFound, whatever the cause.
    """
    show_id, booking_id = ShowId(call.path["show_id"]), BookingId(call.path["booking_id"])
    caller: Caller = call.caller
    is_staff, customer_id = caller.principal is not None, caller.customer_id
    has_secret = call.state.is_booking_secret(caller.secret, show_id, booking_id)
    if not is_staff and customer_id is None and not has_secret:
        raise BookingNotFound
    found = await booking_or_queued(db, show_id, booking_id)
    if is_staff:
        accounts.require(caller.principal, permission, found.organizer_id, missing=BookingNotFound)
    elif customer_id is not None and not await is_of_customer(db, call.state.secrets, found, customer_id):
        raise BookingNotFound
    return found
