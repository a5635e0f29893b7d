"""A customer's bookings, in every show of every organizer: those made under their account, and those of their address.

Nothing is copied when an account is made. A booking carries a keyed digest of its address anyway, so an account has all
bookings of its address from its first moment, and those that guests make later, too.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from holdfast import accounts
from holdfast.accounts import Account, CustomerNotFound
from holdfast.booking.lifecycle import Booking, booking_from
from holdfast.booking.mailbox import buyer_digests, mailbox
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.ids import BookingId, CustomerId
from holdfast.platform.secret import Secrets

sql = load_queries(__file__, "privacy.sql")

LAST = BookingId(UUID(int=2**128 - 1))


class OwnBooking(msgspec.Struct, frozen=True):
    """A booking of a customer, with what its show is called."""

    booking: Booking
    show_name: str
    show_start_time: datetime


async def bookings_of_customer(
    db: Database, secrets: Secrets, account: Account, limit: int, before: BookingId = LAST
) -> list[OwnBooking]:
    """Up to `limit` bookings, newest first, behind `before`."""
    digests = buyer_digests(secrets, account.email)
    rows = await db.rows(sql.bookings_of_customer, digests, account.customer_id, before, limit)
    return [OwnBooking(booking_from(row), row["show_name"], row["show_start_time"]) for row in rows]


async def is_of_customer(
    db: Database | Transaction, secrets: Secrets, booking: Booking, customer_id: CustomerId
) -> bool:
    """Whether the customer may do with this booking what whoever holds its secret may."""
    try:
        account = await accounts.account_of(db, secrets, customer_id)
    except CustomerNotFound:
        return False
    return booking.customer_id == customer_id or (
        booking.email is not None and mailbox(booking.email) == mailbox(account.email)
    )
