"""One ticket on a page of its own, as the door wants to see it; what is done with it; and the files of a booking.

Whoever was given a ticket has a right to that ticket alone, which its letter carries behind the # of the link.
"""

from typing import Any

from holdfast.platform.http import Answer, Call, Routes
from holdfast.web.shop.booking_pages import secret_of
from holdfast.web.shop.counter import Counter, form, kept, part, see_other, wanted
from holdfast.web.shop.described import starts_of
from holdfast.web.shop.told import Told, told

_AT = "/shows/{show_id:str}/bookings/{booking_id:str}"
_ONE = _AT + "/tickets/{number:int}"


def routes(counter: Counter) -> Routes:
    """`.../bookings/{booking_id}/tickets/{number}`, the forms on it, and pictures, PDFs and the entry for calendars."""
    made, desk = Routes("shop"), _Desk(counter)
    counter.serve(made, _ONE, desk.show)
    counter.take(made, f"{_ONE}/open", desk.open)
    counter.take(made, f"{_ONE}/name", desk.name)
    counter.take(made, f"{_ONE}/transfer", desk.transfer)
    for path in (f"{_ONE}/qr.svg", f"{_ONE}/ticket.pdf", f"{_AT}/tickets.pdf", f"{_AT}/calendar.ics"):
        counter.serve(made, path, desk.file)
    return made


class _Desk:
    """Handlers. The right is that to the booking, else that to the ticket."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    async def show(self, call: Call[None]) -> Answer:
        """The ticket as it is now."""
        return await self._page(call, None)

    async def open(self, call: Call[bytes]) -> Answer:
        """Keeps the secret of a link in the browser, once the API has said that it is one."""
        secret = secret_of(form(call).get("secret", ""))
        await self._counter.read(call, _api(call), secret=secret)
        show_id, thing = str(call.path["show_id"]), f"{call.path['booking_id']}/{call.path['number']}"
        return see_other(_here(call), self._counter.remember(call, show_id, thing, secret))

    async def name(self, call: Call[bytes]) -> Answer:
        """Puts another name on the ticket."""
        given = form(call)
        reply = await self._counter.api.send(
            call, "PATCH", _api(call), {"holder": given.get("name", "")}, secret=self._secret(call)
        )
        return see_other(_here(call)) if reply.good else await self._page(call, told(reply.body), given)

    async def transfer(self, call: Call[bytes]) -> Answer:
        """Gives the ticket to somebody else, by a letter to their address."""
        given = form(call)
        to = {"name": given.get("name", ""), "email": given.get("email", "")}
        reply = await self._counter.api.send(
            call, "POST", f"{_api(call)}/transfer", to, secret=self._secret(call)
        )
        if not reply.good:
            return await self._page(call, told(reply.body), given)
        return self._counter.page(
            call, "given.html", {"to": to, "at": _booking(call), "known": self._knows_booking(call)}
        )

    async def file(self, call: Call[None]) -> Answer:
        """A picture or a document of the API, for the right that the browser has."""
        reply = wanted(
            await self._counter.api.get(call, f"/v1{call.scope['path']}", secret=self._secret(call))
        )
        names = (b"content-disposition", b"cache-control")
        headers = tuple((name, reply.headers[name]) for name in names if name in reply.headers)
        return Answer(200, reply.body, headers, reply.headers[b"content-type"])

    async def _page(
        self, call: Call[Any], problem: Told | None, given: dict[str, str] | None = None
    ) -> Answer:
        secret = self._secret(call)
        if secret is None:
            return self._counter.page(call, "unknown.html", {"here_open": f"{_here(call)}/open"}, status=404)
        show = await self._counter.read(call, f"/v1/shows/{part(call, 'show_id')}")
        ticket = await self._counter.read(call, _api(call), secret=secret)
        values = {
            "show": show,
            "starts": starts_of(show),
            "ticket": ticket,
            "at": _here(call),
            "booking_at": _booking(call) if self._knows_booking(call) else None,
            "problem": problem,
            "given": given or {},
        }
        status = int(problem.members["status"]) if problem else 200
        return self._counter.page(call, "ticket.html", values, status=status)

    def _knows_booking(self, call: Call[Any]) -> bool:
        return self._counter.secret(call, str(call.path["booking_id"])) is not None

    def _secret(self, call: Call[Any]) -> str | None:
        rights = dict(kept(call))
        booking = str(call.path["booking_id"])
        return rights.get(booking) or rights.get(f"{booking}/{call.path.get('number')}")


def _booking(call: Call[Any]) -> str:
    return f"/shows/{part(call, 'show_id')}/bookings/{part(call, 'booking_id')}"


def _here(call: Call[Any]) -> str:
    return f"{_booking(call)}/tickets/{call.path['number']}"


def _api(call: Call[Any]) -> str:
    return "/v1" + _here(call)
