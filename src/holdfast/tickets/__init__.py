"""What the buyer carries: tickets, their codes, and how they look on a screen, on paper and in a calendar.

Owns the table tickets and alone writes it. A place of a confirmed booking has one ticket; the table holds the exceptions
to `valid, for the buyer`. Always true: a code verifies by public keys alone, and the code of a ticket that was issued anew
is refused. Bookings are not known here: whoever asks says what was sold. Announces ticket.transferred and ticket.voided.
"""

from holdfast.tickets.calendar import Entry, entry_status, ics
from holdfast.tickets.codes import BadCode, Coded, Codes
from holdfast.tickets.issuing import (
    TRANSFERS_MAX,
    Changed,
    NotTransferable,
    Reason,
    Sale,
    State,
    Ticket,
    TicketNotFound,
    TicketVoid,
    changed_of_show,
    forget,
    given_to,
    rename,
    restore,
    suspend,
    ticket,
    tickets_of,
    transfer,
    void,
)
from holdfast.tickets.pages import PAGES_MAX, Page, Printer
from holdfast.tickets.pictures import png, svg

__all__ = [
    "PAGES_MAX",
    "TRANSFERS_MAX",
    "BadCode",
    "Changed",
    "Coded",
    "Codes",
    "Entry",
    "NotTransferable",
    "Page",
    "Printer",
    "Reason",
    "Sale",
    "State",
    "Ticket",
    "TicketNotFound",
    "TicketVoid",
    "changed_of_show",
    "entry_status",
    "forget",
    "given_to",
    "ics",
    "png",
    "rename",
    "restore",
    "suspend",
    "svg",
    "ticket",
    "tickets_of",
    "transfer",
    "void",
]
