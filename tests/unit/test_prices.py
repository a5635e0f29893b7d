"""The arithmetic of prices: exact to the unit, whatever the rates."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.catalog import Charges, Discount, Price, price
from holdfast.catalog.prices import WHOLE, share
from holdfast.platform.money import AMOUNT_MAX

AMOUNTS = st.integers(0, AMOUNT_MAX) | st.integers(0, 300)
RATES = st.integers(0, WHOLE) | st.sampled_from([0, 1, 700, 1900, WHOLE])
CHARGES = st.builds(
    Charges, fee=AMOUNTS, fee_basis_points=RATES, tax_basis_points=RATES, tax_included=st.booleans()
)
DISCOUNTS = st.builds(Discount, st.integers(1, WHOLE), st.none()) | st.builds(
    Discount, st.none(), st.integers(1, AMOUNT_MAX) | st.integers(1, 300)
)


@given(AMOUNTS, CHARGES, st.none() | DISCOUNTS)
def test_the_parts_are_never_negative_and_make_the_whole(
    face: int, charges: Charges, discount: Discount | None
) -> None:
    found = price(face, charges, discount)
    assert min(found) >= 0
    assert found.face + found.fee + found.tax == found.amount
    assert all(isinstance(part, int) for part in found)


@given(AMOUNTS, CHARGES)
def test_tax_within_a_price_changes_no_price(face: int, charges: Charges) -> None:
    within = price(face, Charges(fee=charges.fee, fee_basis_points=charges.fee_basis_points,
                                 tax_basis_points=charges.tax_basis_points))  # fmt: skip
    without = price(face, Charges(fee=charges.fee, fee_basis_points=charges.fee_basis_points))
    assert within.amount == without.amount == without.face + without.fee
    assert without.tax == 0


@given(AMOUNTS, CHARGES)
def test_tax_is_within_half_a_unit_of_what_the_rate_says(face: int, charges: Charges) -> None:
    found = price(face, charges)
    rate = Fraction(charges.tax_basis_points, WHOLE)
    exact = found.amount * rate / (1 + rate) if charges.tax_included else (found.face + found.fee) * rate
    assert abs(found.tax - exact) <= Fraction(1, 2)


@given(AMOUNTS, CHARGES, DISCOUNTS)
def test_a_discount_makes_nothing_dearer(face: int, charges: Charges, discount: Discount) -> None:
    assert price(face, charges, discount).amount <= price(face, charges).amount
    assert 0 <= discount.off(face) <= face


@given(AMOUNTS, CHARGES)
def test_what_is_wholly_off_is_free(face: int, charges: Charges) -> None:
    for discount in (Discount(WHOLE, None), Discount(None, max(1, face))):
        if face > 0:
            assert price(face, charges, discount) == Price(0, 0, 0)
        else:
            # It was no discount that made it free.
            assert price(face, charges, discount) == price(face, charges)


@given(st.integers(0, 10**15), st.integers(0, WHOLE), st.integers(1, 2 * WHOLE))
def test_a_share_is_rounded_half_up(amount: int, numerator: int, denominator: int) -> None:
    exact = Fraction(amount * numerator, denominator)
    assert Fraction(-1, 2) < share(amount, numerator, denominator) - exact <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("face", "charges", "discount", "parts"),
    [
        (1190, Charges(tax_basis_points=1900), None, (1000, 0, 190)),
        (1000, Charges(tax_basis_points=1900, tax_included=False), None, (1000, 0, 190)),
        # 5 % of 990 are 49.5; on 990 + 50 + 100 come 216.6.
        (
            990,
            Charges(fee=100, fee_basis_points=500, tax_basis_points=1900, tax_included=False),
            None,
            (990, 150, 217),
        ),
        # Of 1,290 are 205.97 tax, of the fee of 100 alone 15.97.
        (1190, Charges(fee=100, tax_basis_points=1900), None, (1000, 84, 206)),
        (
            1000,
            Charges(fee=100, tax_basis_points=700, tax_included=False),
            Discount(1250, None),
            (875, 100, 68),
        ),
        (1000, Charges(), Discount(None, 300), (700, 0, 0)),
        (300, Charges(fee=50), Discount(None, 300), (0, 0, 0)),
        (0, Charges(fee=50), None, (0, 50, 0)),
        (1, Charges(tax_basis_points=10_000), None, (0, 0, 1)),
    ],
)
def test_prices_as_people_work_them_out(
    face: int, charges: Charges, discount: Discount | None, parts: tuple[int, int, int]
) -> None:
    assert price(face, charges, discount) == parts
