"""Invoices and credit notes over HTTP: of a booking for its buyer, and all of an organizer's. `call.state` is the Engine."""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, booking, invoices
from holdfast.accounts import Buyer, Staff
from holdfast.booking import BookingNotFound
from holdfast.catalog import ShowNotFound
from holdfast.invoices import Document, InvoiceNotFound, Invoicing, InvoicingSpec, Kind, Line
from holdfast.platform import clock, sheets
from holdfast.platform.bodies import invalid
from holdfast.platform.db import Database
from holdfast.platform.http import Answer, Call, Moment, Routes, Timestamp
from holdfast.platform.ids import OrganizerId
from holdfast.platform.languages import Code
from holdfast.platform.money import MINOR_DIGITS_NOT_TWO, Money
from holdfast.platform.pages import Limit, foreign_cursor, page_of

EXPORT_PAGE = 1000
COLUMNS = (
    "number", "label", "kind", "refers_to", "issued", "booking", "show", "starts", "tax_rate", "net", "tax", "amount",
    "currency",
)  # fmt: skip
PRIVATE = ((b"cache-control", b"private, no-store"),)
PDF = "application/pdf"
_BEFORE_ALL = 2**63 - 1

routes = Routes(
    "invoices",
    missing={"show_id": ShowNotFound, "booking_id": BookingNotFound, "number": InvoiceNotFound},
)


class InvoiceLineJson(msgspec.Struct):
    """Some places at one price; all figures are of all of them, in minor units. `net` is `face` and `fee`, `amount` `net`
    and `tax`. `discount` is what a code took off before. `area` null: an amount that is no place's price.
    """

    area: str | None
    tier: str | None
    quantity: int
    face: int
    fee: int
    net: int
    tax_basis_points: int
    tax: int
    amount: int
    discount: int


class InvoiceTaxJson(msgspec.Struct):
    """What there is of one rate of tax."""

    basis_points: int
    net: int
    tax: int
    amount: int


class InvoiceJson(msgspec.Struct):
    """An invoice, or a credit note for what went back of the invoice `refers_to`; amounts are positive in both.

    `number` counts up by one within the organizer, `label` is what stands on paper. Nothing of it ever changes.
    """

    number: int
    label: str
    kind: Kind
    refers_to: int | None
    show_id: UUID
    show_name: str
    booking_id: UUID
    reference: str
    issued_at: Timestamp
    total: Money
    lines: list[InvoiceLineJson]
    taxes: list[InvoiceTaxJson]


class BookingInvoicesJson(msgspec.Struct):
    invoices: list[InvoiceJson]


class InvoicesJson(msgspec.Struct):
    invoices: list[InvoiceJson]
    next: str | None


class InvoicingJson(msgspec.Struct):
    """What stands on an organizer's invoices from now on."""

    legal_name: str
    address: str
    tax_id: str
    prefix: str
    note: str
    language: Code | None


class SpanQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Documents issued from `since` to before `until`."""

    since: Moment | None = None
    until: Moment | None = None


class InvoicesQuery(SpanQuery, forbid_unknown_fields=True, frozen=True):
    """A page of them; the newest first."""

    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=100)] | None = None


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/invoices",
    who=Buyer("bookings.read"),
    answers={200: BookingInvoicesJson},
)
async def list_booking_invoices(call: Call[None]) -> Answer:
    """List the invoice of a booking and its credit notes, oldest first. They come some moments after sale and refund."""
    found = await booking.own_booking(call, "bookings.read", call.db)
    documents = await invoices.documents_of(call.db, found.show_id, found.booking_id)
    return Answer(200, BookingInvoicesJson([_json(each) for each in documents]), PRIVATE)


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/invoices/{number:int}/invoice.pdf",
    who=Buyer("bookings.read"),
    answers={200: PDF},
)
async def print_invoice(call: Call[None]) -> Answer:
    """Print an invoice or a credit note, with the name that the booking has now."""
    found = await booking.own_booking(call, "bookings.read", call.db)
    document = await invoices.document_of(call.db, found.show_id, found.booking_id, call.path["number"])
    made = await invoices.printed(call.state.invoice_printer, document, found)
    # A label may have a slash.
    named = f'inline; filename="{document.kind}-{document.number}.pdf"'
    return Answer(200, made, (*PRIVATE, (b"content-disposition", named.encode())), PDF.encode())


@routes.get("/v1/invoices", who=Staff("invoices.read"), query=InvoicesQuery, answers={200: InvoicesJson})
async def list_invoices(call: Call[None]) -> InvoicesJson:
    """List the invoices and credit notes of the organizer that you act for, the newest first."""
    query, own = call.query, call.caller.organizer_id
    since, until = _span(query)
    found = await invoices.documents_before(
        call.db, own, _number_in(query.cursor), since, until, query.limit + 1
    )
    page, following = page_of(found, query.limit, lambda each: str(each.number))
    return InvoicesJson([_json(each) for each in page], following)


@routes.get("/v1/invoices.csv", who=Staff("invoices.read"), query=SpanQuery, answers={200: "text/csv"})
async def export_invoices(call: Call[None]) -> Answer:
    """Export invoices and credit notes as CSV, the newest first, with a line for each rate of tax.

    Columns: number, label, kind, refers_to, issued, booking, show, starts, tax_rate (in percent), net, tax, amount (in major
    units; below zero in credit notes), currency; UTF-8 with a byte order mark. An apostrophe stands before text that a
    spreadsheet would run as a formula.
    """
    own = call.caller.organizer_id
    since, until = _span(call.query)
    async with call.db.transaction() as tx:
        count = await invoices.count_documents(tx, own, since, until)
        await accounts.audit(
            tx, call, "invoices.exported", organizer_id=own, subject=own, after={"invoices": count}
        )  # fmt: skip
    lines = _lines(call.db, own, since, until)
    return Answer(200, lines, (sheets.attached("invoices.csv"),), sheets.MEDIA)


@routes.get("/v1/organizer/invoicing", who=Staff("shows.read_all"), answers={200: InvoicingJson})
async def read_invoicing(call: Call[None]) -> InvoicingJson:
    """Read what stands on the invoices of the organizer that you act for."""
    return _invoicing_json(await invoices.invoicing_of(call.db, call.caller.organizer_id))


@routes.put(
    "/v1/organizer/invoicing", who=Staff("organizer.write"), body=InvoicingSpec, answers={200: InvoicingJson},
    example={
        "legal_name": "Opera in the Park GmbH", "address": "Ringstraße 1\n1010 Wien", "tax_id": "ATU12345678",
        "prefix": "2026-", "note": "Thank you.", "language": "de",
    },
)  # fmt: skip
async def set_invoicing(call: Call[InvoicingSpec]) -> InvoicingJson:
    """Say what stands on invoices and credit notes from now on. Those that have been numbered stay as they are."""
    own = call.caller.organizer_id
    async with call.db.transaction() as tx:
        before = await invoices.invoicing_of(tx, own)
        await invoices.set_invoicing(tx, own, call.body)
        after = await invoices.invoicing_of(tx, own)
        # The words themselves are no matter of the audit.
        changed = [
            each for each in Invoicing.__struct_fields__ if getattr(before, each) != getattr(after, each)
        ]
        await accounts.audit(
            tx, call, "organizer.invoicing", organizer_id=own, subject=own, after={"changed": changed}
        )  # fmt: skip
    return _invoicing_json(after)


async def _lines(
    db: Database, organizer_id: OrganizerId, since: datetime | None, until: datetime | None
) -> AsyncIterator[bytes]:
    # Page by page, so that no connection is held while the client reads; what comes meanwhile stands before the first.
    yield sheets.BOM + sheets.csv_line(COLUMNS)
    before = _BEFORE_ALL
    while page := await invoices.documents_before(db, organizer_id, before, since, until, EXPORT_PAGE):
        yield b"".join(sheets.csv_line(cells) for each in page for cells in _cells(each))
        before = page[-1].number


def _cells(document: Document) -> list[tuple[object, ...]]:
    def major(amount: int) -> Decimal:
        signed = amount if document.kind == "invoice" else -amount
        return Decimal(signed).scaleb(-MINOR_DIGITS_NOT_TWO.get(document.currency, 2))

    return [
        (
            document.number, document.label, document.kind, document.refers_to, document.issued_at, document.reference,
            document.show_name, document.starts_at, Decimal(tax.basis_points).scaleb(-2), major(tax.net), major(tax.tax),
            major(tax.amount), document.currency,
        )
        for tax in invoices.taxes_of(document.lines)
    ]  # fmt: skip


def _span(query: SpanQuery) -> tuple[datetime | None, datetime | None]:
    if query.since is not None and query.until is not None and query.since >= query.until:
        raise invalid("It must lie behind `since`.", "/until", "query")
    return query.since, query.until


def _number_in(cursor: str | None) -> int:
    if cursor is None:
        return _BEFORE_ALL
    if not cursor.isascii() or not cursor.isdigit() or int(cursor) > _BEFORE_ALL:
        raise foreign_cursor()
    return int(cursor)


def _json(document: Document) -> InvoiceJson:
    return InvoiceJson(
        number=document.number,
        label=document.label,
        kind=document.kind,
        refers_to=document.refers_to,
        show_id=document.show_id,
        show_name=document.show_name,
        booking_id=document.booking_id,
        reference=document.reference,
        issued_at=clock.rfc3339(document.issued_at),
        total=Money(document.total, document.currency),
        lines=[_line_json(line) for line in document.lines],
        taxes=[
            InvoiceTaxJson(each.basis_points, each.net, each.tax, each.amount)
            for each in invoices.taxes_of(document.lines)
        ],
    )


def _line_json(line: Line) -> InvoiceLineJson:
    return InvoiceLineJson(
        area=line.area,
        tier=line.tier,
        quantity=line.quantity,
        face=line.face,
        fee=line.fee,
        net=line.net,
        tax_basis_points=line.tax_basis_points,
        tax=line.tax,
        amount=line.amount,
        discount=line.discount,
    )


def _invoicing_json(found: Invoicing) -> InvoicingJson:
    return InvoicingJson(**msgspec.structs.asdict(found))
