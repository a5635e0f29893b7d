"""A show as an entry of the buyer's calendar (RFC 5545)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

PRODUCT = "-//Holdfast//Tickets//EN"
# The rules of the zone are told for so long before and after the show.
RULES_AROUND = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Entry:
    """What an entry says. `uid` stays the same, and `sequence` grows with each change, so that calendars follow.

    `changed_at` and `starts` are moments; `timezone` is the IANA zone of the place.
    """

    uid: str
    sequence: int
    changed_at: datetime
    summary: str
    starts: datetime
    timezone: str
    location: str
    description: str
    status: str


def entry_status(*, cancelled: bool, postponed: bool) -> str:
    """RFC 5545, section 3.8.1.11."""
    if cancelled:
        return "CANCELLED"
    return "TENTATIVE" if postponed else "CONFIRMED"


def ics(entry: Entry) -> bytes:
    """The entry as a file of type text/calendar, with the rules of its time zone.

    It has no end, because shows have none: RFC 5545, section 3.6.1, lets it end when it starts.
    """
    # Imported when it is needed: it takes longer than all the rest of tickets.
    from icalendar import Calendar, Event

    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("method", "CANCEL" if entry.status == "CANCELLED" else "PUBLISH")
    event = Event()
    event.add("uid", entry.uid)
    event.add("sequence", entry.sequence)
    event.add("dtstamp", entry.changed_at)
    event.add("summary", entry.summary)
    event.add("dtstart", entry.starts.astimezone(ZoneInfo(entry.timezone)))
    event.add("location", entry.location)
    event.add("description", entry.description)
    event.add("status", entry.status)
    calendar.add_component(event)
    # What the library does by itself ends in 2038, and repeats every change of the clocks since 1970.
    around = entry.starts.date()
    calendar.add_missing_timezones(around - RULES_AROUND, around + RULES_AROUND)
    made: bytes = calendar.to_ical()
    return made
