"""Invoices for what was sold and credit notes for what went back, numbered for each organizer without a gap.

Owns invoices, invoice_counters and invoicing, and alone writes them. Always true: numbers are 1, 2, 3 ... in the order of
issue; a sale has one invoice, a refund at most one credit note, and no more is credited than was invoiced, of any rate of
tax; a document never changes, and names no buyer. Follows booking.confirmed, booking.cancelled and refund.settled.
"""

from holdfast.invoices.documents import (
    DOCUMENTS_PER_BOOKING_MAX,
    Document,
    InvoiceNotFound,
    Kind,
    count_documents,
    document_of,
    documents_before,
    documents_of,
)
from holdfast.invoices.figures import Line, TaxSum, taxes_of
from holdfast.invoices.invoicing import Invoicing, InvoicingSpec, invoicing_of, set_invoicing
from holdfast.invoices.numbering import follow
from holdfast.invoices.printing import Printer, printed

__all__ = [
    "DOCUMENTS_PER_BOOKING_MAX",
    "Document",
    "InvoiceNotFound",
    "Invoicing",
    "InvoicingSpec",
    "Kind",
    "Line",
    "Printer",
    "TaxSum",
    "count_documents",
    "document_of",
    "documents_before",
    "documents_of",
    "follow",
    "invoicing_of",
    "printed",
    "set_invoicing",
    "taxes_of",
]
