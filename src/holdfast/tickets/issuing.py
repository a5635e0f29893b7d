"""Tickets: which there are, for whom they are, and whether they admit.

A place of a sold booking has a ticket by being one. What is stored are the exceptions: tickets that were transferred,
renamed, suspended or voided. A booking that was cancelled has void tickets, whatever is stored of them, and they are void
in the very transaction that cancels it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from holdfast.facts import TICKET_TRANSFERRED, TICKET_VOIDED
from holdfast.platform import outbox
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Conflict, NotFound
from holdfast.platform.ids import BookingId, OrganizerId, ShowId
from holdfast.tickets.codes import Coded

sql = load_queries(__file__)

# A ticket that changes hands more often is being traded, and its serial has an end.
TRANSFERS_MAX = 50

State = Literal["valid", "suspended", "void"]
Reason = Literal["superseded", "suspended", "void"]


class TicketNotFound(NotFound):
    """There is no such ticket, or the caller may not know of it: the buyer of one who gave it to somebody else."""

    code = "ticket_not_found"
    title = "There is no such ticket."


class NotTransferable(Conflict):
    """`reason` is refused_by_organizer, show_began, show_cancelled, suspended, void, transferred or too_often."""

    code = "not_transferable"
    title = "This ticket cannot be given to somebody else."


class TicketVoid(Conflict):
    code = "ticket_void"
    title = "This ticket admits nobody any more."


@dataclass(frozen=True, slots=True)
class Sale:
    """What tickets are told of a booking that was confirmed. `stands`: it was not cancelled since."""

    show_id: ShowId
    booking_id: BookingId
    organizer_id: OrganizerId
    quantity: int
    buyer: str | None
    stands: bool


@dataclass(frozen=True, slots=True)
class Ticket:
    """What admits one person. `number` counts the places of its booking from 1, `serial` how often it was issued anew."""

    show_id: ShowId
    booking_id: BookingId
    number: int
    serial: int
    state: State
    holder: str | None
    email: str | None

    @property
    def transferred(self) -> bool:
        """Whether it is somebody else's than the buyer's now."""
        return self.serial > 0

    @property
    def coded(self) -> Coded:
        """What its code says."""
        return Coded(self.show_id, self.booking_id, self.number, self.serial)

    def refuses(self, coded: Coded) -> Reason | None:
        """Why a code of this ticket admits nobody; None when it does."""
        if coded.serial != self.serial:
            return "superseded"
        return None if self.state == "valid" else self.state


@dataclass(frozen=True, slots=True)
class Changed:
    """What is stored of one ticket of a show: the exception to `valid`, serial 0, for the buyer."""

    show_id: ShowId
    booking_id: BookingId
    number: int
    serial: int
    state: State
    holder: str | None
    email: str | None


async def tickets_of(
    db: Database | Transaction, sale: Sale, *, after: int = 0, limit: int | None = None
) -> list[Ticket]:
    """The tickets of a sale by number, behind `after`, at most `limit`."""
    last = sale.quantity if limit is None else min(sale.quantity, after + limit)
    if after >= last:
        return []  # So far behind, a number may be one that the database cannot even compare.
    rows = await db.rows(sql.tickets_of, sale.show_id, sale.booking_id, after + 1, last)
    stored = {row["number"]: row for row in rows}
    return [_ticket(sale, number, stored.get(number)) for number in range(after + 1, last + 1)]


async def ticket(db: Database | Transaction, sale: Sale, number: int) -> Ticket:
    """One ticket of a sale. Raises TicketNotFound."""
    if not 1 <= number <= sale.quantity:
        raise TicketNotFound
    [found] = await tickets_of(db, sale, after=number - 1, limit=1)
    return found


async def changed_of_show(
    db: Database | Transaction, show_id: ShowId, after: tuple[UUID, int], limit: int
) -> list[Changed]:
    """Up to `limit` tickets of a show of which something is stored, behind (booking, number), in that order."""
    rows = await db.rows(sql.changed_of_show, show_id, *after, limit)
    return [Changed(**dict(row)) for row in rows]


async def transfer(tx: Transaction, sale: Sale, given: Ticket, name: str, email: str | None) -> Ticket:
    """Issues the ticket anew to another person; the code that there was is dead. Announces ticket.transferred.

    Raises NotTransferable when it is void or suspended, or was transferred too often or by somebody else meanwhile.
    """
    if given.state != "valid":
        raise NotTransferable(reason=given.state)
    if given.serial >= TRANSFERS_MAX:
        raise NotTransferable(f"It was given on {TRANSFERS_MAX} times.", reason="too_often")
    serial = await tx.value(
        sql.transfer,
        sale.show_id,
        sale.booking_id,
        given.number,
        sale.organizer_id,
        given.serial,
        name,
        email,
    )
    if serial is None:
        now = await ticket(tx, sale, given.number)
        raise NotTransferable(reason="transferred" if now.serial != given.serial else now.state)
    fact = {
        "booking_id": sale.booking_id,
        "organizer_id": sale.organizer_id,
        "number": given.number,
        "serial": serial,
    }
    await outbox.announce(tx, sale.show_id, TICKET_TRANSFERRED, fact)
    return await ticket(tx, sale, given.number)


async def rename(tx: Transaction, sale: Sale, given: Ticket, name: str) -> Ticket:
    """Puts another name on the ticket; its code stays good. Raises TicketVoid, and TicketNotFound when it was issued
    anew meanwhile.
    """
    if given.state == "void":
        raise TicketVoid
    done = await tx.value(
        sql.rename, sale.show_id, sale.booking_id, given.number, sale.organizer_id, given.serial, name
    )
    if done is None:
        now = await ticket(tx, sale, given.number)
        raise TicketVoid if now.state == "void" else TicketNotFound
    return await ticket(tx, sale, given.number)


async def suspend(tx: Transaction, sale: Sale, numbers: Sequence[int] | None = None) -> list[int]:
    """Lets tickets (all of the sale by default) admit nobody while a refund is under way; those that it changed."""
    return await _set_state(tx, sale, numbers, "suspended", ("valid",))


async def restore(tx: Transaction, sale: Sale, numbers: Sequence[int] | None = None) -> list[int]:
    """Makes suspended tickets valid again, for a refund that came to nothing; those that it changed."""
    return await _set_state(tx, sale, numbers, "valid", ("suspended",))


async def void(tx: Transaction, sale: Sale, numbers: Sequence[int] | None = None) -> list[int]:
    """Ends tickets for good; those that it changed. Announces ticket.voided.

    For some tickets of a booking that stands: those of a cancelled one are void without this.
    """
    changed = await _set_state(tx, sale, numbers, "void", ("valid", "suspended"))
    if changed:
        fact = {"booking_id": sale.booking_id, "organizer_id": sale.organizer_id, "numbers": changed}
        await outbox.announce(tx, sale.show_id, TICKET_VOIDED, fact)
    return changed


async def given_to(db: Database | Transaction, email: str, limit: int) -> list[Changed]:
    """Up to `limit` tickets of any shows that this address was given, those of the shows made last first."""
    return [Changed(**dict(row)) for row in await db.rows(sql.given_to, email, limit)]


async def forget(
    tx: Transaction, show_id: ShowId, *, bookings: Sequence[BookingId] | None = None, email: str | None = None
) -> int:
    """Takes names and addresses off tickets of a show, and says of how many: those of some bookings, those that an
    address was given, or all. They admit as before.
    """
    return await tx.execute(sql.forget, show_id, None if bookings is None else list(bookings), email)


async def _set_state(
    tx: Transaction, sale: Sale, numbers: Sequence[int] | None, state: State, of: Sequence[State]
) -> list[int]:
    wanted = sorted(set(range(1, sale.quantity + 1) if numbers is None else numbers))
    if not all(1 <= number <= sale.quantity for number in wanted):
        raise TicketNotFound
    rows = await tx.rows(
        sql.set_state, sale.show_id, sale.booking_id, wanted, sale.organizer_id, state, list(of)
    )
    return sorted(row["number"] for row in rows)


def _ticket(sale: Sale, number: int, stored: Record | None) -> Ticket:
    serial: int = stored["serial"] if stored else 0
    state: State = stored["state"] if stored else "valid"
    holder: str | None = stored["holder"] if stored else None
    return Ticket(
        show_id=sale.show_id,
        booking_id=sale.booking_id,
        number=number,
        serial=serial,
        state=state if sale.stands else "void",
        holder=holder if serial else holder or sale.buyer,
        email=stored["email"] if stored else None,
    )
