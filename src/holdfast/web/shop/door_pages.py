"""Tickets as the door wants to see them: nothing but the codes, large, one after the other, without a form.

The page is whole in itself, so that a browser can keep it for when there is no network. `?copy=1` is the page to be kept:
it says from when it is. `forget` takes the right to the tickets out of the browser again.
"""

from base64 import b64encode
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from holdfast.platform import clock
from holdfast.platform.errors import NotFound
from holdfast.platform.http import Answer, Call, Routes
from holdfast.web.shop.counter import COOKIE_SECONDS, Counter, form, part, query_of, see_other
from holdfast.web.shop.described import starts_of

_AT = "/shows/{show_id:str}/bookings/{booking_id:str}"
_ONE = _AT + "/tickets/{number:int}"
# As many as one page has room for: each code is some five thousand bytes of it.
TICKETS_SHOWN = 40
# A show that began so long ago needs no tickets any more.
OVER_AFTER = timedelta(days=2)
# Browsers keep no cookie for longer (RFC 6265bis, section 5.5).
COOKIE_SECONDS_MAX = 400 * 24 * 3600


def routes(counter: Counter) -> Routes:
    """`.../door` and `POST .../forget`, of a booking and of one ticket that was given to somebody."""
    made, desk = Routes("shop"), _Desk(counter)
    for at in (_AT, _ONE):
        counter.serve(made, f"{at}/door", desk.show)
        counter.take(made, f"{at}/forget", desk.forget)
    return made


class _Desk:
    """Handlers. The right to a booking opens all of its tickets, the right to a ticket that one."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    async def show(self, call: Call[None]) -> Answer:
        """The tickets as they are now."""
        counter, thing, at = self._counter, _thing(call), _here(call)
        secret = counter.secret(call, thing)
        if secret is None and counter.secret(call, str(call.path["booking_id"])):
            return see_other(f"{_booking(call)}/door#ticket-{call.path['number']}")
        if secret is None:
            return counter.page(call, "unknown.html", {"here_open": f"{at}/open"}, status=404)
        show = await counter.read(call, f"/v1/shows/{part(call, 'show_id')}")
        whole = "number" not in call.path
        if whole:
            query = {"limit": str(TICKETS_SHOWN)}
            listed = await counter.read(call, f"/v1{at}/tickets", query, secret=secret)
            tickets, more = listed["tickets"], listed["next"] is not None
        else:
            tickets, more = [await counter.read(call, f"/v1{at}", secret=secret)], False
        for ticket in tickets:
            ticket["square"] = await self._square(call, ticket, secret)
        starts = starts_of(show)
        values = {
            "show": show,
            "starts": starts,
            "tickets": tickets,
            "more_tickets": more,
            "door": f"{at}/door",
            "back": at,
            "saved": clock.now() if query_of(call).get("copy") == "1" else None,
            "until": starts + OVER_AFTER,
        }
        page = counter.page(call, "door.html", values)
        # The right stays for as long as there is a copy that it can be asked about.
        seconds = _seconds(starts) if counter.pages.offline else COOKIE_SECONDS
        remembered = counter.remember(call, show["id"], thing, secret, seconds)
        return Answer(page.status, page.body, (*page.headers, remembered), page.media)

    async def forget(self, call: Call[bytes]) -> Answer:
        """Takes the right out of the browser: who wants it back has the letter. Raises NotFound for what is no show."""
        form(call)
        try:
            show_id = UUID(str(call.path["show_id"]))
        except ValueError:
            raise NotFound from None
        return see_other("/tickets?gone=1", self._counter.forget(call, show_id, _thing(call)))

    async def _square(self, call: Call[Any], ticket: dict[str, Any], secret: str) -> str | None:
        """The code of a ticket that admits, as an address that has the picture in it."""
        if ticket["state"] != "valid":
            return None
        path = f"/v1{_booking(call)}/tickets/{ticket['number']}/qr.svg"
        svg = await self._counter.read(call, path, secret=secret)
        return "data:image/svg+xml;base64," + b64encode(svg).decode()


def _seconds(starts: datetime) -> int:
    left = (starts + OVER_AFTER - clock.now()).total_seconds()
    return min(COOKIE_SECONDS_MAX, max(COOKIE_SECONDS, round(left)))


def _thing(call: Call[Any]) -> str:
    number = call.path.get("number")
    return str(call.path["booking_id"]) + ("" if number is None else f"/{number}")


def _booking(call: Call[Any]) -> str:
    return f"/shows/{part(call, 'show_id')}/bookings/{part(call, 'booking_id')}"


def _here(call: Call[Any]) -> str:
    number = call.path.get("number")
    return _booking(call) + ("" if number is None else f"/tickets/{number}")
