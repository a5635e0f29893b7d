"""What letters bring along, made when they are sent: the tickets as a PDF, and the show for the calendar."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from holdfast import booking, catalog, tickets
from holdfast.booking import Booking, Office, View
from holdfast.notifications.telling import DAY, PAPER, view_of
from holdfast.platform.db import Database
from holdfast.platform.ids import BookingId, ShowId
from holdfast.platform.mail import Enclosed, Maker
from holdfast.tickets import PAGES_MAX, Codes, Printer


def makers(office: Office, printer: Printer, codes: Codes) -> Mapping[str, Maker]:
    """What makes the enclosures of each kind, for the Mailer. Each raises Busy."""
    made = _Enclosing(office, printer, codes)
    return {PAPER: made.paper, DAY: made.day}


@dataclass(frozen=True, slots=True)
class _Enclosing:
    office: Office
    printer: Printer
    codes: Codes

    async def paper(self, about: Mapping[str, str]) -> Enclosed | None:
        """The tickets that are good and the recipient's, of a large booking the first PAGES_MAX; or one, by `number`.

        None when there is none any more: the letter may have waited for days.
        """
        found, view = await self._found(about)
        if found.status != "CONFIRMED":
            return None
        listed = await tickets.tickets_of(self.office.db, booking.sale_of(found))
        if "number" in about:
            wanted = int(about["number"]), int(about["serial"])
            good = [each for each in listed if (each.number, each.serial) == wanted and each.state == "valid"]
        else:
            good = [each for each in listed if each.state == "valid" and not each.transferred]
        if not good:
            return None
        made = await booking.printed(self.office, self.printer, self.codes, found, view, good[:PAGES_MAX])
        name = booking.label_of(found, good[0].number) if "number" in about else found.reference
        return Enclosed(f"{name}.pdf", "application/pdf", made)

    async def day(self, about: Mapping[str, str]) -> Enclosed | None:
        """The show as an entry for the calendar, with the time that it has when the letter is sent."""
        found, view = await self._found(about)
        if found.status not in ("CONFIRMED", "CANCELLED"):
            return None
        made = await booking.calendar_of(self.office, found, view)
        method = "CANCEL" if b"METHOD:CANCEL" in made else "PUBLISH"
        return Enclosed("show.ics", "text/calendar", made, {"charset": "utf-8", "method": method})

    async def _found(self, about: Mapping[str, str]) -> tuple[Booking, View]:
        show_id, booking_id = ShowId(UUID(about["show_id"])), BookingId(UUID(about["booking_id"]))
        db: Database = self.office.db
        found = await booking.booking_by_id(db, show_id, booking_id)
        show = await catalog.show_by_id(db, show_id)
        assert show is not None, "shows are not deleted"
        return found, await view_of(self.office, show)
