"""What the price of a booking is made of, as it was when it was claimed, whatever was edited since."""

from typing import NamedTuple

from holdfast import catalog
from holdfast.booking.lifecycle import Booking
from holdfast.booking.promotions import code_by_id
from holdfast.platform import telemetry
from holdfast.platform.db import Database, Transaction

log = telemetry.log("booking")


class Line(NamedTuple):
    """One place of a booking. `before` is what it would have cost without the booking's code."""

    tier: int
    tax_basis_points: int
    price: catalog.Price
    before: int


async def breakdown_of(db: Database | Transaction, booking: Booking) -> list[Line]:
    """Each place's price in its parts, in the order of the booking's places: the sums are those of the booking.

    Told from the version of the show and the code that the booking was priced by, neither of which ever changes. What was
    booked before prices had parts is face value alone.
    """
    if booking.terms is None:
        return [_plain(t, amount) for t, amount in zip(booking.tiers, booking.amounts, strict=True)]
    tiers = await catalog.tiers_at(db, booking.show_id, booking.terms)
    code = await code_by_id(db, booking.show_id, booking.code_id) if booking.code_id else None
    lines = []
    for number, amount in zip(booking.tiers, booking.amounts, strict=True):
        tier = tiers.get(number)
        if tier is None:
            lines.append(_plain(number, amount))
            continue
        price = catalog.price(tier.amount, tier.charges, code.discount_on(number) if code else None)
        if price.amount != amount:
            # Only an older release, which keeps no terms, can have edited the tier meanwhile.
            log.warning("price cannot be told in parts", booking_id=str(booking.booking_id), tier=number)
            lines.append(_plain(number, amount))
            continue
        lines.append(Line(number, tier.charges.tax_basis_points, price, tier.price.amount))
    return lines


def _plain(tier: int, amount: int) -> Line:
    return Line(tier, 0, catalog.Price(amount, 0, 0), amount)
