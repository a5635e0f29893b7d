"""What a sold booking gives its buyer: tickets with their places, paper, and an entry for the calendar.

Joins what tickets know (who may enter) with what bookings and shows know (where, when, and under which name).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from holdfast import accounts, catalog, tickets
from holdfast.booking.lifecycle import Booking
from holdfast.booking.office import Office
from holdfast.booking.view import View
from holdfast.catalog import Show
from holdfast.platform.errors import Conflict
from holdfast.tickets import Codes, Entry, Page, Printer, Sale, Ticket

FREE_TIER = "Admission"


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
class _Whereabouts:
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
    where = await _whereabouts(office, view.show)
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
    where = await _whereabouts(office, show)
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


async def _whereabouts(office: Office, show: Show) -> _Whereabouts:
    async def load() -> _Whereabouts:
        organizer = await accounts.organizer_by_id(office.db, show.organizer_id)
        if show.venue_id is None:
            return _Whereabouts(organizer.name, "")
        venue = await catalog.venue_by_id(office.db, show.organizer_id, show.venue_id)
        return _Whereabouts(
            organizer.name, ", ".join(filter(None, [venue.name, *venue.address.splitlines()]))
        )

    key = ("shows", "whereabouts", show.show_id)
    return await office.cache.get(key, office.settings.show_seconds, load)
