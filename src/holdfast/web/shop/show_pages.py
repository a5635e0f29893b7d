"""What is on, and the page of a show: what it is, when and where, what it costs in all, and the way to places."""

from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from holdfast.platform import clock
from holdfast.platform.http import Answer, Call, Routes
from holdfast.web.shop.counter import Counter, attempt, kept, part, query_of
from holdfast.web.shop.described import address_of, card, described, starts_of
from holdfast.web.shop.told import told

CARDS = 24
QUERY_MAX = 100
# How far the clocks of the world are from UTC: a day somewhere may begin so much earlier, and end so much later.
EARLIEST, LATEST = timedelta(hours=14), timedelta(hours=12)
# RFC 5545, section 3.8.1.11.
_ENTRIES = {"cancelled": "CANCELLED", "postponed": "TENTATIVE"}
_CALENDAR = b"text/calendar; charset=utf-8"


def routes(counter: Counter) -> Routes:
    """`/`, `/shows/{show_id}`, and its entry for calendars."""
    made, desk = Routes("shop"), _Desk(counter)
    counter.serve(made, "/", desk.whats_on)
    counter.serve(made, "/shows/{show_id:str}", desk.show)
    counter.serve(made, "/shows/{show_id:str}/calendar.ics", desk.calendar)
    return made


async def show_values(counter: Counter, call: Call[Any], code: str) -> dict[str, Any]:
    """What the pages of a show are made of. A code that is wrong is told as `problem`, and prices are as without it."""
    at = f"/v1/shows/{part(call, 'show_id')}"
    show = await counter.read(call, at)
    tiers, problem = show["tiers"], None
    if code:
        reply = await counter.api.get(call, f"{at}/prices", {"code": code[:64]})
        if reply.good:
            tiers = reply.body["tiers"]
        else:
            problem, code = told(reply.body), ""
    known = [thing for thing, _ in kept(call) if "/" not in thing]
    return {
        **described(show, tiers, counter.address),
        "code": code,
        "problem": problem,
        "booking": known[0] if known else None,
        "attempt": attempt(),
        "given": {},
        "share": quote(f"{show['name']} {counter.address}/shows/{show['id']}"),
    }


class _Desk:
    """Handlers."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    async def whats_on(self, call: Call[None]) -> Answer:
        """Shows in the order of their start."""
        query = query_of(call)
        begin, end = _days(query.get("from", ""), query.get("until", ""))
        asked = {
            **{name: query.get(name, "")[:QUERY_MAX] for name in ("q", "city")},
            **{name: day.isoformat() if day else "" for name, day in (("from", begin), ("until", end))},
        }
        wish = _wish(asked, begin, end, query.get("cursor", ""))
        found = await self._counter.read(call, "/v1/shows", wish)
        shows = [
            each for each in found["shows"]
            if (begin or date.min) <= starts_of(each).date() <= (end or date.max)
        ]  # fmt: skip
        more = {**asked, "cursor": found["next"]} if found["next"] else {}
        cities = await self._counter.read(call, "/v1/cities")
        sellers = {show["organizer"]["id"]: show["organizer"] for show in shows}
        values = {
            # Where all is one organizer's, so is the page.
            "house": next(iter(sellers.values())) if len(sellers) == 1 else {},
            "asked": asked,
            "cities": cities["cities"],
            "shows": [card(show) for show in shows],
            "more": "/?" + urlencode({key: value for key, value in more.items() if value}) if more else None,
        }
        return self._counter.page(call, "whats_on.html", values)

    async def show(self, call: Call[None]) -> Answer:
        """One show."""
        values = await show_values(self._counter, call, query_of(call).get("code", ""))
        return self._counter.page(call, "show.html", values)

    async def calendar(self, call: Call[None]) -> Answer:
        """The show as an entry of a calendar, for who has no ticket yet."""
        # Imported when it is needed, as it takes longer than everything else here.
        from icalendar import Calendar, Event

        show = await self._counter.read(call, f"/v1/shows/{part(call, 'show_id')}")
        venue = show["venue"]
        entry = Event()
        entry.add("uid", f"{show['id']}@holdfast")
        entry.add("sequence", show["version"])
        entry.add("dtstamp", datetime.fromisoformat(show["updated_at"]))
        entry.add("summary", show["name"])
        # In UTC, which needs no rules of any zone; the calendar shows it in the zone of who looks.
        entry.add("dtstart", datetime.fromisoformat(show["start_time"]).astimezone(ZoneInfo("UTC")))
        entry.add("url", f"{self._counter.address}/shows/{show['id']}")
        if venue is not None:
            entry.add("location", ", ".join([venue["name"], *address_of(venue)]))
        if show["description"]:
            entry.add("description", show["description"])
        if show["status"] in _ENTRIES:
            entry.add("status", _ENTRIES[show["status"]])
        calendar = Calendar()
        calendar.add("prodid", "-//Holdfast//Shop//EN")
        calendar.add("version", "2.0")
        calendar.add_component(entry)
        named = (b"content-disposition", b'attachment; filename="show.ics"')
        return Answer(200, calendar.to_ical(), (named,), _CALENDAR)


def _wish(asked: dict[str, str], begin: date | None, end: date | None, cursor: str) -> dict[str, str]:
    wish = {"limit": str(CARDS), **{name: asked[name] for name in ("q", "city") if asked[name]}}
    if cursor:
        wish["cursor"] = cursor
    elif begin is not None:
        wish["starts_after"] = clock.rfc3339(_midnight(begin) - EARLIEST)
    if end is not None:
        wish["starts_before"] = clock.rfc3339(_midnight(end) + timedelta(days=1) + LATEST)
    return wish


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), ZoneInfo("UTC"))


def _days(begin: str, end: str) -> tuple[date | None, date | None]:
    """The first and the last day, in their order even where they were given the other way round."""
    first, last = _day(begin), _day(end)
    return (last, first) if first and last and last < first else (first, last)


def _day(text: str) -> date | None:
    """The day, when it is one that a calendar has room around."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 2000 <= day.year <= 2999 else None
