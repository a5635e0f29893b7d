"""What people read, in their language: texts, amounts of money, and moments.

    german = language("de")
    german.text("Your tickets for {show}", show=name)
    german.plural("{n} ticket", "{n} tickets", n)

English is the source: a text stands in the code as English readers see it, and `locales/<code>/` has what it is in the
other languages. A text without a translation comes out in English; a test sees to it that there is none.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from babel import Locale, dates
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import NumberPattern, parse_pattern
from babel.support import Translations

from holdfast.platform.money import MINOR_DIGITS_NOT_TWO

Code = Literal["en", "de"]
CODES: tuple[Code, ...] = get_args(Code)
LOCALES = Path(__file__).parents[1] / "locales"

# How dates and amounts are written: British English puts the day before the month and counts to 24, as most of the
# world does.
_REGIONS: dict[Code, str] = {"en": "en_GB", "de": "de"}


@dataclass(frozen=True, slots=True)
class Language:
    """One language. Make it by `language(code)`, which keeps it."""

    code: Code
    locale: Locale
    translations: NullTranslations

    def text(self, source: str, /, **values: Any) -> str:
        """The text in this language, with its values. `source` is English and stands where it is used."""
        said = self.translations.gettext(source)
        return said.format(**values) if values else said

    def plural(self, one: str, many: str, n: int, /, **values: Any) -> str:
        """The text for so many: `{n}` in it is the number."""
        return self.translations.ngettext(one, many, n).format(n=n, **values)

    def money(self, amount: int, currency: str) -> str:
        """An amount of minor units: `€45.00`, `45,00 €`."""
        digits = MINOR_DIGITS_NOT_TWO.get(currency, 2)
        value = Decimal(amount).scaleb(-digits)
        said: str = _pattern(self.code, digits).apply(
            value, self.locale, currency=currency, currency_digits=False
        )
        return said

    def moment(self, moment: datetime, zone: str) -> str:
        """The day and the time on the wall of a place: `Thursday, 24 December 2026, 19:00 (Central European Standard Time)`."""
        local = moment.astimezone(ZoneInfo(zone))
        day = dates.format_date(local, "full", self.locale)
        time = dates.format_time(local, "HH:mm", locale=self.locale)
        named = dates.get_timezone_name(local, "long", locale=self.locale)
        return f"{day}, {time} ({named})"


@cache
def language(code: Code) -> Language:
    """The language. Raises OSError for one whose catalogue is not there."""
    return Language(code, Locale.parse(_REGIONS[code]), _translations(code))


@cache
def _pattern(code: Code, digits: int) -> NumberPattern:
    # With our own number of digits: of some currencies babel leaves out those that people stopped using.
    pattern = parse_pattern(language(code).locale.currency_formats["standard"].pattern)
    pattern.frac_prec = (digits, digits)
    return pattern


def _translations(code: Code) -> NullTranslations:
    if code == "en":
        return NullTranslations()
    # One file for each part that speaks; a text stands in one of them, whoever else says it.
    said: Translations | None = None
    for path in sorted((LOCALES / code).glob("*.po")):
        with path.open("rb") as file:
            catalogue = read_po(file, locale=code)
        compiled = BytesIO()
        write_mo(compiled, catalogue)
        compiled.seek(0)
        part = Translations(compiled)
        said = part if said is None else said.merge(part)
    if said is None:
        raise FileNotFoundError(f"there is no catalogue of {code}")
    return said
