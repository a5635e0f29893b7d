"""Documents on paper: A4, in the language that the organizer had when they were numbered.

The buyer's name and address are put in now, from the booking: whoever was erased meanwhile stands on no document.
"""

from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from babel import dates, numbers

from holdfast.booking import Booking
from holdfast.invoices.documents import Document
from holdfast.invoices.figures import Line, taxes_of
from holdfast.platform.languages import Language, language
from holdfast.platform.press import Press

TEMPLATE = Path(__file__).with_name("document.typ")


class Page(msgspec.Struct, frozen=True):
    """What a document says, in words. Each of `lines` is description, quantity, net, tax and amount; of `taxes` rate, net,
    tax and amount.
    """

    language: str
    title: str
    seller: list[str]
    buyer: list[str]
    facts: list[tuple[str, str]]
    about: list[str]
    heads: list[str]
    lines: list[list[str]]
    tax_heads: list[str]
    taxes: list[list[str]]
    total: tuple[str, str]
    notes: list[str]


class Printer:
    """Makes PDFs, one at a time. `fonts` is a folder with fonts for scripts that the built-in ones do not know."""

    def __init__(self, fonts: str | None = None) -> None:
        self._press = Press(TEMPLATE, fonts)

    async def pdf(self, page: Page) -> bytes:
        """The PDF of a document. Raises Busy when too many wait for theirs."""
        return await self._press.pdf(partial(inputs, page))

    def close(self) -> None:
        """Lets go of the thread; what waits is not printed."""
        self._press.close()


async def printed(printer: Printer, document: Document, booking: Booking) -> bytes:
    """The PDF of a document of this booking. Raises Busy."""
    return await printer.pdf(page_of(document, booking))


def inputs(page: Page) -> dict[str, str]:
    """What the template is given: data, in which nothing can be markup."""
    return {"page": msgspec.json.encode(page).decode()}


def page_of(document: Document, booking: Booking) -> Page:
    """What a document of this booking says."""
    said, paid = language(document.language), partial(_money, document)
    is_note = document.kind == "credit_note"
    kind = said.text("Credit note") if is_note else said.text("Invoice")
    return Page(
        language=said.code,
        title=f"{kind} {document.label}",
        seller=[document.legal_name, *_lines(document.address)],
        buyer=[each for each in (booking.name, booking.email) if each],
        facts=_facts(document, said),
        about=[document.show_name, said.moment(document.starts_at, document.timezone)],
        heads=[
            said.text("Description"), said.text("Quantity"), said.text("Net"), said.text("Tax"), said.text("Amount"),
        ],
        lines=[
            [_described(line, document, said), _number(line.quantity, said), *map(paid, (line.net, line.tax, line.amount))]
            for line in document.lines
        ],
        tax_heads=[said.text("Tax rate"), said.text("Net"), said.text("Tax"), said.text("Amount")],
        taxes=[
            [_rate(each.basis_points, said), *map(paid, (each.net, each.tax, each.amount))]
            for each in taxes_of(document.lines)
            if each.basis_points
        ],
        total=(said.text("Total credited") if is_note else said.text("Total"), paid(document.total)),
        notes=_lines(document.note),
    )  # fmt: skip


def _facts(document: Document, said: Language) -> list[tuple[str, str]]:
    found: list[tuple[str, Any]] = [
        (said.text("Number"), document.label),
        (said.text("Date"), _date(document.issued_at, document.timezone, said)),
        (said.text("Booking"), document.reference),
        (said.text("For invoice"), document.refers_to_label),
        (said.text("Tax number"), document.tax_id),
    ]
    return [(name, value) for name, value in found if value]


def _described(line: Line, document: Document, said: Language) -> str:
    named = ", ".join(each for each in (line.area, line.tier) if each)
    if not named:
        return said.text("Part of the price, {rate} tax", rate=_rate(line.tax_basis_points, said))
    if line.discount:
        off = _money(document, line.discount)
        return said.text("{place} ({amount} taken off by a code)", place=named, amount=off)
    return named


def _money(document: Document, amount: int) -> str:
    return language(document.language).money(amount, document.currency)


def _rate(basis_points: int, said: Language) -> str:
    # With the digits after the point that there are, at most two.
    rate: str = numbers.format_percent(
        Decimal(basis_points).scaleb(-4), locale=said.locale, decimal_quantization=False
    )
    return rate


def _number(quantity: int, said: Language) -> str:
    number: str = numbers.format_decimal(quantity, locale=said.locale)
    return number


def _date(moment: datetime, zone: str, said: Language) -> str:
    day: str = dates.format_date(moment.astimezone(ZoneInfo(zone)), "long", said.locale)
    return day


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]
