"""Amounts, moments and plurals as people of each language write them."""

from datetime import UTC, datetime

import pytest

from holdfast.platform.languages import CODES, Code, language
from holdfast.platform.money import CURRENCIES, MINOR_DIGITS_NOT_TWO

EVENING = datetime(2026, 12, 24, 18, tzinfo=UTC)
# What babel puts between an amount and its currency, so that no line ends there.
NO_BREAK = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("code", "amount", "currency", "said"),
    [
        ("en", 4500, "EUR", "€45.00"),
        ("de", 4500, "EUR", f"45,00{NO_BREAK}€"),
        ("de", 123_456_789, "EUR", f"1.234.567,89{NO_BREAK}€"),
        ("en", 300, "JPY", "JP¥300"),
        ("de", -5, "KWD", f"-0,005{NO_BREAK}KWD"),
        ("en", 0, "GBP", "£0.00"),
    ],
)
def test_money(code: Code, amount: int, currency: str, said: str) -> None:
    assert language(code).money(amount, currency) == said


@pytest.mark.parametrize("code", CODES)
def test_every_currency_is_told_to_its_last_digit(code: Code) -> None:
    for currency in CURRENCIES:
        said = language(code).money(1, currency)
        assert "".join(filter(str.isdigit, said)) == "1".zfill(MINOR_DIGITS_NOT_TWO.get(currency, 2) + 1)


@pytest.mark.parametrize(
    ("code", "zone", "said"),
    [
        ("en", "Europe/Vienna", "Thursday, 24 December 2026, 19:00 (Central European Standard Time)"),
        ("de", "Europe/Vienna", "Donnerstag, 24. Dezember 2026, 19:00 (Mitteleuropäische Normalzeit)"),
        ("de", "America/New_York", "Donnerstag, 24. Dezember 2026, 13:00 (Nordamerikanische Ostküsten-Normalzeit)"),
        ("en", "Asia/Tokyo", "Friday, 25 December 2026, 03:00 (Japan Standard Time)"),
    ],
)  # fmt: skip
def test_a_moment_is_told_by_the_clock_on_the_wall(code: Code, zone: str, said: str) -> None:
    assert language(code).moment(EVENING, zone) == said
