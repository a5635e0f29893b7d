"""What is on, and the page of a show: what it is, when and where, what it costs in all, and the way to places."""

from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from holdfast.platform import clock
from holdfast.platform.http import Answer, Call, Routes
from holdfast.web.shop.counter import Counter, attempt, kept, part, query_of
from holdfast.web.shop.described import card, described, starts_of
from holdfast.web.shop.told import told

CARDS = 24
QUERY_MAX = 100
# How far the clocks of the world are from UTC: a day somewhere may begin so much earlier, and end so much later.
EARLIEST, LATEST = timedelta(hours=14), timedelta(hours=12)
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
        asked = {name: query.get(name, "")[:QUERY_MAX] for name in ("q", "day")}
        day = _day(asked["day"])
        found = await self._counter.read(call, "/v1/shows", _wish(asked["q"], day, query.get("cursor", "")))
        shows = [each for each in found["shows"] if day is None or starts_of(each).date() == day]
        more = {**asked, "cursor": found["next"]} if found["next"] else {}
        values = {
            "asked": asked,
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
        venue = show.get("venue") or {}
        entry = Event()
        entry.add("uid", f"{show['id']}@holdfast")
        entry.add("sequence", show["version"])
        entry.add("dtstamp", datetime.fromisoformat(show["updated_at"]))
        entry.add("summary", show["name"])
        # In UTC, which needs no rules of any zone; the calendar shows it in the zone of who looks.
        entry.add("dtstart", datetime.fromisoformat(show["start_time"]).astimezone(ZoneInfo("UTC")))
        entry.add("url", f"{self._counter.address}/shows/{show['id']}")
        entry.add("location", ", ".join(filter(None, [venue.get("name"), venue.get("address")])))
        calendar = Calendar()
        calendar.add("prodid", "-//Holdfast//Shop//EN")
        calendar.add("version", "2.0")
        calendar.add_component(entry)
        named = (b"content-disposition", b'attachment; filename="show.ics"')
        return Answer(200, calendar.to_ical(), (named,), _CALENDAR)


def _wish(q: str, day: date | None, cursor: str) -> dict[str, str]:
    wish = {"limit": str(CARDS)}
    if q:
        wish["q"] = q
    if cursor:
        wish["cursor"] = cursor
    if day is not None:
        begins = datetime.combine(day, time(), ZoneInfo("UTC"))
        wish["starts_before"] = clock.rfc3339(begins + timedelta(days=1) + LATEST)
        if not cursor:
            wish["starts_after"] = clock.rfc3339(begins - EARLIEST)
    return wish


def _day(text: str) -> date | None:
    """The day, when it is one that a calendar has room around."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 2000 <= day.year <= 2999 else None
