"""Documents as they are kept: written once with their number, and read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from holdfast.invoices.figures import Line
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import NotFound
from holdfast.platform.ids import BookingId, OrganizerId, ShowId
from holdfast.platform.languages import Code

sql = load_queries(__file__)

# Refunds have no such bound, but nobody asks for a hundred of one booking's money.
DOCUMENTS_PER_BOOKING_MAX = 1000

Kind = Literal["invoice", "credit_note"]


class InvoiceNotFound(NotFound):
    """There is no such document of this booking. An invoice comes some moments after the sale."""

    code = "invoice_not_found"
    title = "There is no such invoice."


class Draft(msgspec.Struct, frozen=True):
    """A document without a number. `source_id` is what it is made for, once; `credited` how many credit notes there are of
    the invoice `refers_to` by the time it was drafted.
    """

    organizer_id: OrganizerId
    source_id: UUID
    kind: Kind
    show_id: ShowId
    booking_id: BookingId
    reference: str
    show_name: str
    starts_at: datetime
    timezone: str
    currency: str
    lines: list[Line]
    refers_to: int | None = None
    credited: int = 0

    @property
    def total(self) -> int:
        """The sum of the lines, with tax."""
        return sum(line.amount for line in self.lines)


class Document(msgspec.Struct, frozen=True):
    """An invoice or a credit note as it was numbered. Amounts are positive in both, in minor units of `currency`.

    `label` is the number as people read it; `refers_to` the number of the invoice that a credit note is of.
    """

    organizer_id: OrganizerId
    number: int
    label: str
    kind: Kind
    refers_to: int | None
    refers_to_label: str | None
    show_id: ShowId
    booking_id: BookingId
    reference: str
    show_name: str
    starts_at: datetime
    timezone: str
    currency: str
    total: int
    lines: list[Line]
    legal_name: str
    address: str
    tax_id: str
    note: str
    language: Code
    issued_at: datetime


async def write_numbered(tx: Transaction, draft: Draft, language: Code) -> int | None:
    """Writes a document with the organizer's next number, which it says; None when it is not to be written.

    That is when there is one for this source already, or when another credit note came in between. The counter stays
    locked until the transaction ends: call it last. `language` is for organizers that chose none.
    """
    await tx.execute(sql.counter_locked, draft.organizer_id)
    number: int | None = await tx.value(
        sql.document_numbered, draft.organizer_id, draft.source_id, draft.kind, draft.refers_to, draft.credited,
        draft.show_id, draft.booking_id, draft.reference, draft.show_name, draft.starts_at, draft.timezone,
        draft.currency, draft.total, draft.lines, language,
    )  # fmt: skip
    return number


async def is_written(db: Database | Transaction, organizer_id: OrganizerId, source_id: UUID) -> bool:
    """Whether there is a document for this source."""
    found: bool = await db.value(sql.document_of_source, organizer_id, source_id)
    return found


async def documents_of(db: Database | Transaction, show_id: ShowId, booking_id: BookingId) -> list[Document]:
    """The documents of a booking, oldest first, at most DOCUMENTS_PER_BOOKING_MAX."""
    return _documents(
        await db.rows(sql.documents_of_booking, show_id, booking_id, None, DOCUMENTS_PER_BOOKING_MAX)
    )


async def document_of(db: Database, show_id: ShowId, booking_id: BookingId, number: int) -> Document:
    """The document of a booking with this number. Raises InvoiceNotFound."""
    found = _documents(await db.rows(sql.documents_of_booking, show_id, booking_id, number, 1))
    if not found:
        raise InvoiceNotFound
    return found[0]


async def documents_before(
    db: Database,
    organizer_id: OrganizerId,
    before: int,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> list[Document]:
    """Up to `limit` documents with numbers below `before`, the newest first, issued from `since` to before `until`."""
    return _documents(await db.rows(sql.documents_page, organizer_id, before, since, until, limit))


async def count_documents(
    db: Database | Transaction, organizer_id: OrganizerId, since: datetime | None, until: datetime | None
) -> int:
    """How many documents were issued from `since` to before `until`."""
    count: int = await db.value(sql.documents_counted, organizer_id, since, until)
    return count


def _documents(rows: Sequence[Record]) -> list[Document]:
    return [msgspec.convert(dict(row), Document) for row in rows]
