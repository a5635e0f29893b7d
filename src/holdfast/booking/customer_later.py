"""Who books, said after the claim: a buyer in a hurry takes the places first and types an address afterwards."""

from holdfast import catalog
from holdfast.booking.holds import Customer, LimitReached
from holdfast.booking.lifecycle import Booking, BookingEnded, BookingNotFound, HoldExpired, booking_by_id
from holdfast.booking.mailbox import buyer_digest
from holdfast.platform.db import Transaction, load_queries
from holdfast.platform.errors import Conflict
from holdfast.platform.ids import BookingId, ShowId
from holdfast.platform.secret import Secrets

sql = load_queries(__file__, "customer.sql")


class DetailsFixed(Conflict):
    """`reason` is `confirmed`, or `paying`: the payment provider was told the address, and is told the same if asked again."""

    code = "details_fixed"
    title = "Who books cannot be changed any more."


async def name_customer(
    tx: Transaction, secrets: Secrets, show_id: ShowId, booking_id: BookingId, customer: Customer
) -> tuple[Booking, bool]:
    """The booking with this address and this name, and whether that is new; what is not given stays as it is.

    The places count for the new address from now on. Raises BookingNotFound, HoldExpired, BookingEnded, LimitReached when
    that address has as many as one buyer may, DetailsFixed, and Invalid for a name that nobody can read.
    """
    if customer.name is not None:
        catalog.printable(customer.name, "/customer/name")
    buyer = buyer_digest(secrets, customer.email) if customer.email is not None else None
    row = await tx.row(sql.name_customer, show_id, booking_id, customer.email, customer.name, buyer)
    assert row is not None
    match row["outcome"]:
        case "booking_not_found":
            raise BookingNotFound
        case "hold_expired":
            raise HoldExpired
        case "ended":
            raise BookingEnded
        case "limit_reached":
            raise LimitReached
        case "confirmed" | "paying" as reason:
            raise DetailsFixed(reason=reason)
    return await booking_by_id(tx, show_id, booking_id), row["changed"]
