"""What an organizer wants to stand on its documents, from the next one on."""

from typing import Annotated

import msgspec
from msgspec import Meta

from holdfast import catalog
from holdfast.platform.bodies import invalid
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.ids import OrganizerId
from holdfast.platform.languages import Code

sql = load_queries(__file__)


class InvoicingSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What stands on invoices from now on. `prefix` stands before each number: `2026-` makes `2026-17`.

    `address` and `note` may have several lines. `language` null: as the installation says.
    """

    legal_name: Annotated[str, Meta(min_length=1, max_length=255)]
    address: Annotated[str, Meta(max_length=500)] = ""
    tax_id: Annotated[str, Meta(max_length=50)] = ""
    prefix: Annotated[str, Meta(max_length=20, pattern="^[A-Za-z0-9/_.-]*$")] = ""
    note: Annotated[str, Meta(max_length=1000)] = ""
    language: Code | None = None


class Invoicing(msgspec.Struct, frozen=True):
    """What stands on an organizer's invoices. Until it has said so, its name alone."""

    legal_name: str
    address: str
    tax_id: str
    prefix: str
    note: str
    language: Code | None


async def invoicing_of(db: Database | Transaction, organizer_id: OrganizerId) -> Invoicing:
    """What stands on the next document of an organizer."""
    row = await db.row(sql.invoicing_of, organizer_id)
    assert row is not None
    return msgspec.convert(dict(row), Invoicing)


async def set_invoicing(tx: Transaction, organizer_id: OrganizerId, spec: InvoicingSpec) -> None:
    """Says what stands on the documents to come. Raises Invalid for what cannot be printed."""
    catalog.printable(spec.legal_name, "/legal_name")
    for name in ("tax_id", "address", "note"):
        _check_lines(getattr(spec, name), name)
    if "\n" in spec.tax_id:
        raise invalid("It has one line.", "/tax_id")
    await tx.execute(
        sql.invoicing_set, organizer_id, spec.legal_name, spec.address, spec.tax_id, spec.prefix, spec.note, spec.language
    )  # fmt: skip


def _check_lines(text: str, name: str) -> None:
    for line in text.split("\n"):
        if line.strip():
            catalog.printable(line.strip(), f"/{name}")
