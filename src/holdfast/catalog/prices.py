"""What a place costs: pure arithmetic in integer minor units, exact to the unit.

A tier has a face value. A fee comes on it, fixed, as a share of the face value, or both; tax is on face value and fee, and
is either within them or on top. A discount takes from the face value, before fee and tax. Shares are in basis points and
are rounded half up (the commercial rounding of DIN 1333); tax is rounded once, on the sum.
"""

from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from holdfast.platform.money import AMOUNT_MAX

WHOLE = 10_000

Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX, description="In the currency's minor unit.")]
BasisPoints = Annotated[int, Meta(ge=0, le=WHOLE, description="Hundredths of a percent: 1900 is 19 %.")]


class Charges(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What comes on a face value: a fee per place, and tax on both. `tax_included`: the tax is within them already."""

    fee: Amount = 0
    fee_basis_points: BasisPoints = 0
    tax_basis_points: BasisPoints = 0
    tax_included: bool = True


class Discount(NamedTuple):
    """What a code takes off the face value of each place: a share, or a fixed sum down to nothing."""

    basis_points: int | None
    amount: int | None

    def off(self, face: int) -> int:
        """How much of this face value is taken off."""
        if self.basis_points is not None:
            return share(face, self.basis_points, WHOLE)
        return min(face, self.amount or 0)


class Price(NamedTuple):
    """What a buyer pays in all for one place, in its parts: `face` and `fee` are without tax."""

    face: int
    fee: int
    tax: int

    @property
    def amount(self) -> int:
        """The all-in price, which is what a buyer is shown first."""
        return self.face + self.fee + self.tax


def share(amount: int, numerator: int, denominator: int) -> int:
    """`numerator` / `denominator` of an amount, half up. None of them is negative."""
    return (2 * amount * numerator + denominator) // (2 * denominator)


def price(face: int, charges: Charges, discount: Discount | None = None) -> Price:
    """The price of one place. What a discount makes free is free: neither fee nor tax is left of it."""
    if discount is not None and (off := discount.off(face)):
        face -= off
        if face == 0:
            return Price(0, 0, 0)
    fee = charges.fee + share(face, charges.fee_basis_points, WHOLE)
    rate = charges.tax_basis_points
    if not charges.tax_included:
        return Price(face, fee, share(face + fee, rate, WHOLE))
    whole = face + fee
    tax = share(whole, rate, WHOLE + rate)
    fee -= share(fee, rate, WHOLE + rate)
    return Price(whole - tax - fee, fee, tax)
