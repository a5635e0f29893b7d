"""What a sold booking gives its buyer: tickets with their places, paper, and an entry for the calendar.

Joins what tickets know (who may enter) with what bookings and shows know (where, when, and under which name).
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from holdfast import accounts, catalog, tickets
from holdfast.booking.lifecycle import Booking, BookingEnded
from holdfast.booking.office import Office
from holdfast.booking.view import View
from holdfast.catalog import Show
from holdfast.platform import jobs
from holdfast.platform.db import Transaction
from holdfast.platform.errors import Conflict
from holdfast.platform.ids import BookingId, ShowId, new_id
from holdfast.platform.secret import Secrets
from holdfast.tickets import Codes, Entry, Page, Printer, Sale, Ticket

FREE_TIER = "Admission"
# Jobs that others handle: the tickets by letter once more, and the way to them by text message.
RESEND = "booking.resend"
TEXT = "booking.text"


class NoAddress(Conflict):
    code = "no_address"
    title = "Nobody left an address with this booking."


class NotSoldYet(Conflict):
    code = "not_sold_yet"
    title = "There are tickets once the booking is confirmed."


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ticket admits to; `seat` is None in a standing area, `tier` None where the area is free."""

    area: str
    seat: str | None
    tier: str | None


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Whose show it is and where, for people to read."""

    organizer: str
    venue: str


def sale_of(booking: Booking) -> Sale:
    """What tickets are told of a booking. Raises NotSoldYet for one that is not, or never was, confirmed."""
    if booking.status not in ("CONFIRMED", "CANCELLED"):
        raise NotSoldYet
    return Sale(
        booking.show_id, booking.booking_id, booking.organizer_id, len(booking.areas), booking.name,
        stands=booking.status == "CONFIRMED",
    )  # fmt: skip


def label_of(booking: Booking, number: int) -> str:
    """What people call a ticket: the booking's reference and the number, `KXQWMPRT-2`."""
    return f"{booking.reference}-{number}"


def place_of(booking: Booking, view: View, number: int) -> Place:
    """The place that the ticket with this number admits to."""
    index = number - 1
    tier = booking.tiers[index]
    return Place(
        view.plan.areas[booking.areas[index] - 1].name,
        view.plan.name(booking.seats[index]) if booking.seats else None,
        next((each.name for each in view.show.tiers if each.tier == tier), None),
    )


async def printed(
    office: Office, printer: Printer, codes: Codes, booking: Booking, view: View, valid: Sequence[Ticket]
) -> bytes:
    """A PDF with a page for each of these tickets, 1 to tickets.PAGES_MAX of one booking. Raises Busy."""
    where = await whereabouts(office, view.show)
    pages = []
    for ticket in valid:
        place = place_of(booking, view, ticket.number)
        page = Page(
            show=view.show.name,
            starts=starts_in_words(view.show),
            venue=where.venue,
            organizer=where.organizer,
            area=place.area,
            seat=place.seat,
            tier=place.tier or FREE_TIER,
            holder=ticket.holder or "",
            reference=label_of(booking, ticket.number),
            number=ticket.number,
            quantity=len(booking.areas),
            code=codes.code(ticket.coded),
        )
        pages.append(page)
    return await printer.pdf(pages)


async def calendar_of(office: Office, booking: Booking, view: View) -> bytes:
    """The show as an entry of the calendar of whoever booked: an iCalendar file. Raises NotSoldYet."""
    sale, show = sale_of(booking), view.show
    where = await whereabouts(office, show)
    changes = [show.updated_at, booking.confirmed_at, booking.ended_at]
    entry = Entry(
        uid=f"{booking.booking_id}@holdfast",
        # Both only grow, so their sum does with each change of either.
        sequence=show.version - 1 + booking.version - 1,
        changed_at=max(moment for moment in changes if moment is not None),
        summary=show.name,
        starts=show.start_time,
        timezone=show.timezone,
        location=where.venue,
        description=f"{where.organizer}\nBooking {booking.reference}, {sale.quantity} place(s).",
        status=tickets.entry_status(
            cancelled=not sale.stands or show.status == "cancelled", postponed=show.status == "postponed"
        ),
    )
    return tickets.ics(entry)


def starts_in_words(show: Show) -> str:
    """`Thursday 24 December 2026, 19:00 (Europe/Vienna, UTC+01:00)`: the clock on the wall of the venue, and which it is."""
    local = show.start_time.astimezone(ZoneInfo(show.timezone))
    offset = f"{local:%z}"
    zone = f"{show.timezone}, UTC{offset[:3]}:{offset[3:5]}"
    return f"{local:%A} {local.day} {local:%B %Y}, {local:%H:%M} ({zone})"


async def whereabouts(office: Office, show: Show) -> Whereabouts:
    """Whose show it is and where, from the cache for up to `show_seconds` unless a show was edited."""

    async def load() -> Whereabouts:
        organizer = await accounts.organizer_by_id(office.db, show.organizer_id)
        if show.venue_id is None:
            return Whereabouts(organizer.name, "")
        venue = await catalog.venue_by_id(office.db, show.organizer_id, show.venue_id)
        city = "" if venue.city in venue.address else venue.city
        return Whereabouts(
            organizer.name, ", ".join(filter(None, [venue.name, *venue.address.splitlines(), city]))
        )

    key = ("shows", "whereabouts", show.show_id)
    return await office.cache.get(key, office.settings.show_seconds, load)


def link_to(
    address: str, show_id: ShowId, booking_id: BookingId, secret: str, *, ticket: int | None = None
) -> str:
    """Where people see a booking, or one ticket of it, with the right to it. `address` is that of the installation."""
    of_ticket = "" if ticket is None else f"/tickets/{ticket}"
    # Behind #, so that no server on the way writes it into its log.
    return f"{address}/shows/{show_id}/bookings/{booking_id}{of_ticket}#secret={secret}"


async def send_again(tx: Transaction, booking: Booking) -> None:
    """Has the tickets sent once more, to the address of the booking. Raises NotSoldYet, BookingEnded and NoAddress."""
    _refuse_ended(booking)
    if booking.email is None:
        raise NoAddress
    await jobs.enqueue(
        tx, RESEND, {"show_id": str(booking.show_id), "booking_id": str(booking.booking_id)}
    )  # fmt: skip


async def send_text(tx: Transaction, secrets: Secrets, booking: Booking, phone: str) -> None:
    """Has the way to the tickets sent to a telephone, which nothing keeps. Raises NotSoldYet and BookingEnded."""
    _refuse_ended(booking)
    job_id = new_id()
    # A job may become a dead letter, which people read.
    sealed = b64encode(secrets.seal(TEXT, phone.encode(), job_id.bytes)).decode("ascii")
    payload = {"show_id": str(booking.show_id), "booking_id": str(booking.booking_id), "sealed": sealed}
    await jobs.enqueue(tx, TEXT, payload, job_id=job_id)


def _refuse_ended(booking: Booking) -> None:
    if not sale_of(booking).stands:
        raise BookingEnded
