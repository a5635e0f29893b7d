"""What stands on a document: lines and taxes. Pure arithmetic in integer minor units, exact to the unit.

The lines of an invoice are the places of the booking at the price that they had, so that the sums are the booking's. A
credit note has the lines of the places that go back. Where money goes back that is no place's price, it is divided among
the rates of tax by what is left of each, and the last of it leaves nothing over.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from holdfast import booking
from holdfast.catalog import share


class Line(msgspec.Struct, frozen=True):
    """Some places at one price: all figures are of all of them. `face` and `fee` are without tax; `discount` is what a code
    took off, which is in none of the others. Neither `area` nor `tier`: an amount that is no place's price.
    """

    quantity: int
    face: int
    fee: int
    tax: int
    tax_basis_points: int
    discount: int = 0
    area: str | None = None
    tier: str | None = None

    @property
    def net(self) -> int:
        """Without tax."""
        return self.face + self.fee

    @property
    def amount(self) -> int:
        """With tax: what is paid."""
        return self.face + self.fee + self.tax


class TaxSum(NamedTuple):
    """What there is of one rate of tax."""

    basis_points: int
    net: int
    tax: int

    @property
    def amount(self) -> int:
        """With tax."""
        return self.net + self.tax


def lines_of(
    places: Sequence[tuple[str, str | None, booking.Line]], numbers: Iterable[int] | None = None
) -> list[Line]:
    """A line for all places with the same (area, tier, price), in the order of the first; `numbers`: of these alone."""
    wanted = places if numbers is None else [places[number - 1] for number in numbers]
    return [_line(*place, quantity) for place, quantity in Counter(wanted).items()]


def taxes_of(lines: Iterable[Line]) -> list[TaxSum]:
    """The sums by rate of tax, the highest rate first; together they are the sum of the lines."""
    sums: dict[int, TaxSum] = {}
    for line in lines:
        rate = line.tax_basis_points
        was = sums.get(rate, TaxSum(rate, 0, 0))
        sums[rate] = TaxSum(rate, was.net + line.net, was.tax + line.tax)
    return sorted(sums.values(), reverse=True)


def left_of(invoiced: Iterable[Line], credited: Iterable[Line]) -> dict[int, TaxSum]:
    """What is left of an invoice by rate, after what was credited; rates of which nothing is left are not in it."""
    before = {each.basis_points: each for each in taxes_of(credited)}
    left = {}
    for rate, net, tax in taxes_of(invoiced):
        gone = before.get(rate, TaxSum(rate, 0, 0))
        if net + tax > gone.amount:
            left[rate] = TaxSum(rate, net - gone.net, tax - gone.tax)
    return left


def fits(lines: Iterable[Line], left: Mapping[int, TaxSum]) -> bool:
    """Whether so much of each rate is left."""
    return all(
        each.basis_points in left
        and each.net <= left[each.basis_points].net
        and each.tax <= left[each.basis_points].tax
        for each in taxes_of(lines)
        if each.amount
    )


def divided(amount: int, left: Mapping[int, TaxSum]) -> list[Line]:
    """An amount, at most all that is left, as a line for each rate of tax, in proportion to what is left of it.

    What does not divide goes, unit by unit, to the rates that were cut most (largest remainder).
    """
    whole = sum(each.amount for each in left.values())
    assert 0 < amount <= whole, "no more is credited than was invoiced"
    parts = {rate: amount * each.amount // whole for rate, each in left.items()}
    cut_most = sorted(left, key=lambda rate: (amount * left[rate].amount % whole, rate), reverse=True)
    for rate in cut_most[: amount - sum(parts.values())]:
        parts[rate] += 1
    lines = []
    for rate in sorted(parts, reverse=True):
        if part := parts[rate]:
            tax = share(part, left[rate].tax, left[rate].amount)
            lines.append(Line(1, part - tax, 0, tax, rate))
    return lines


def _line(area: str, tier: str | None, priced: booking.Line, quantity: int) -> Line:
    face, fee, tax = (part * quantity for part in priced.price)
    discount = (priced.before - priced.price.amount) * quantity
    return Line(quantity, face, fee, tax, priced.tax_basis_points, discount, area, tier)
