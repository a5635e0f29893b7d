"""The pages of one booking, whatever has become of it: details, paying, waiting for the money, tickets, the end.

There is one address for all of them, so that reload, back and a second tab show what is true now. What a form does is
answered by 303 to that address; what was refused is told on the page that it stands on.
"""

from collections import Counter as Counted
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

from holdfast.platform import clock
from holdfast.platform.http import Answer, Call, Routes
from holdfast.web.api import Reply
from holdfast.web.pages import spoken_by
from holdfast.web.shop.counter import (
    Counter,
    Refused,
    attempt,
    fields,
    form,
    key_of,
    part,
    query_of,
    see_other,
)
from holdfast.web.shop.described import moment_of, starts_of
from holdfast.web.shop.told import Told, told
from holdfast.web.shop.words import words_of_time

# A page that waits for money looks again by itself, without a script: so often, and after so many seconds each time.
LOOKS_MAX = 40
LOOK_SECONDS = (2, 3, 5, 5, 10)
QUEUE_SECONDS = 2
TICKETS_SHOWN = 100
_UNDER_WAY = ("CREATED", "OPEN")
SENT = "sent"
TIME_OVER = "hold_expired"


def routes(counter: Counter) -> Routes:
    """`/shows/{show_id}/bookings/{booking_id}` and the forms on it."""
    made, desk = Routes("shop"), _Desk(counter)
    at = "/shows/{show_id:str}/bookings/{booking_id:str}"
    counter.serve(made, at, desk.show)
    for name, handler in (
        ("open", desk.open),
        ("details", desk.details),
        ("pay", desk.pay),
        ("confirm", desk.confirm),
        ("extend", desk.extend),
        ("cancel", desk.cancel),
        ("resend", desk.resend),
        ("again", desk.again),
    ):
        counter.take(made, f"{at}/{name}", handler)
    return made


def secret_of(link: str) -> str:
    """The secret in whatever a script or a person hands in: the secret itself, or the link of a letter."""
    link = link.strip()
    return parse_qs(urlsplit(link).fragment).get("secret", [""])[0] if "#" in link else link


class _Desk:
    """Handlers. Each finds the right to the booking in the browser's cookie."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    async def show(self, call: Call[None]) -> Answer:
        """The booking as it is now."""
        return await self._page(call, None)

    async def open(self, call: Call[bytes]) -> Answer:
        """Keeps the secret of a link in the browser, once the API has said that it is one."""
        given = form(call)
        secret = secret_of(given.get("secret", ""))
        found = await self._counter.read(call, _api(call), secret=secret)
        remembered = self._counter.remember(call, found["show_id"], found["id"], secret)
        # The map says what had to be given up for these places.
        then = f"?relaxed={given['relaxed']}" if given.get("relaxed") in ("orphan", "split") else ""
        return see_other(_here(call) + then, remembered)

    async def details(self, call: Call[bytes]) -> Answer:
        """Says who books."""
        given = form(call)
        customer = {name: given[name] for name in ("email", "name") if given.get(name)}
        reply = await self._counter.api.send(
            call, "PATCH", _api(call), {"customer": customer}, secret=self._secret(call)
        )
        return see_other(_here(call)) if reply.good else await self._refused(call, reply, given)

    async def pay(self, call: Call[bytes]) -> Answer:
        """Begins to pay, or goes on with it: over to the provider's page."""
        given = form(call)
        body = {
            "return_url": f"{self._counter.address}{_here(call)}?back=1",
            "equal_places": given.get("equal_places") == "on",
        }
        reply = await self._send(call, "pay", given, body)
        if not reply.good:
            return await self._refused(call, reply, given)
        payment = reply.body
        if not payment["url"]:
            return see_other(f"{_here(call)}?back=1")
        if payment["method"] == "GET" and payment["url"].startswith(f"{self._counter.address}/"):
            return see_other(payment["url"])
        # Browsers hold a form to the policy of its page on the way that its answer leads, too, and the page of the form
        # knew no provider: so the way there begins on a page of its own.
        values = {"payment": payment, "back": _here(call)}
        return self._counter.page(call, "hand_over.html", values, pays_at=_origin(payment["url"]))

    async def confirm(self, call: Call[bytes]) -> Answer:
        """Confirms what costs nothing."""
        return await self._done(call, "confirm")

    async def extend(self, call: Call[bytes]) -> Answer:
        """More time, once."""
        return await self._done(call, "extend")

    async def cancel(self, call: Call[bytes]) -> Answer:
        """Lets the places go, or cancels a booking that may be."""
        return await self._done(call, "cancel")

    async def resend(self, call: Call[bytes]) -> Answer:
        """The letter once more."""
        return await self._done(call, "resend", then=f"?{SENT}=1")

    async def again(self, call: Call[bytes]) -> Answer:
        """Claims the same places anew, after the time was over, or those that are offered in their place."""
        seats = [value for name, value in fields(call) if name == "seats"]
        return await self._anew(call, form(call), seats)

    async def _refused(self, call: Call[bytes], reply: Reply, given: dict[str, str]) -> Answer:
        """What a form comes to that was refused. If its time was over, the same places are tried again at once, unless money may
        be on its way for them.
        """
        if reply.code == TIME_OVER:
            made = await self._counter.read(call, f"{_api(call)}/payments", secret=self._secret(call))
            if not any(payment["state"] in _UNDER_WAY for payment in made["payments"]):
                return await self._anew(call, given)
        return await self._page(call, told(reply.body), given)

    async def _anew(self, call: Call[bytes], given: dict[str, str], seats: Sequence[str] = ()) -> Answer:
        show = part(call, "show_id")
        found = await self._counter.read(call, _api(call), secret=self._secret(call))
        body = _same(found, given, seats)
        send = partial(self._counter.api.send, call, "POST", f"/v1/shows/{show}/bookings")
        reply = await send(body, key=key_of(given, body))
        if reply.status == 400 and body.pop("customer", None):
            # The places first: who books can be mended afterwards.
            reply = await send(body, key=key_of(given, body))
        if not reply.good:
            return await self._page(call, told(reply.body), given)
        anew = reply.body
        remembered = self._counter.remember(call, anew["show_id"], anew["id"], anew["secret"])
        then = "" if seats else "?relaxed=again"
        return see_other(f"/shows/{anew['show_id']}/bookings/{anew['id']}{then}", remembered)

    async def _done(self, call: Call[bytes], what: str, then: str = "") -> Answer:
        given = form(call)
        reply = await self._send(call, what, given)
        return see_other(_here(call) + then) if reply.good else await self._refused(call, reply, given)

    async def _send(self, call: Call[bytes], what: str, given: dict[str, str], body: Any = None) -> Any:
        return await self._counter.api.send(
            call,
            "POST",
            f"{_api(call)}/{what}",
            body,
            secret=self._secret(call),
            key=key_of(given, body),
        )

    async def _page(
        self, call: Call[Any], problem: Told | None, given: dict[str, str] | None = None
    ) -> Answer:
        secret = self._secret(call)
        if secret is None:
            # The right may stand behind the # of the address, which no server sees: a script hands it in, or a person.
            return self._counter.page(call, "unknown.html", {"here_open": f"{_here(call)}/open"}, status=404)
        values = {
            **await self._state_of(call, secret),
            "at": _here(call),
            "problem": problem,
            "given": given or {},
            "attempt": attempt(),
            **_looks(query_of(call)),
        }
        # What was typed and refused stands there to be mended.
        values["edits"] = values["edits"] or call.scope["path"].endswith("/details")
        booking = values["booking"]
        values["state"] = {
            "api": _api(call),
            "secret": secret,
            "booking": {name: booking[name] for name in ("id", "status", "version", "expires_in_seconds")},
            "texts": words_of_time(spoken_by(call)),
        }
        status = int(problem.members["status"]) if problem else 200
        return self._counter.page(call, f"{_template(values)}.html", values, status=status)

    async def _state_of(self, call: Call[Any], secret: str) -> dict[str, Any]:
        """The booking, its show, its payments, tickets and refunds, all as they are now."""
        read, api = self._counter.read, _api(call)
        show = await read(call, f"/v1/shows/{part(call, 'show_id')}")
        found = await read(call, api, secret=secret)
        payments = []
        if found["total"]["amount"]:
            payments = (await read(call, f"{api}/payments", secret=secret))["payments"]
        latest = payments[-1] if payments else None
        if latest and latest["state"] in (*_UNDER_WAY, "DECLINED") and found["status"] != "CONFIRMED":
            # To ask for one payment asks the provider, which to read the list does not.
            latest = await read(call, f"{api}/payments/{latest['id']}", secret=secret)
            found = await read(call, api, secret=secret)
        tickets, refunds = [], None
        if found["status"] == "CONFIRMED":
            listed = await read(call, f"{api}/tickets", {"limit": str(TICKETS_SHOWN)}, secret=secret)
            tickets = listed["tickets"]
        if payments:
            refunds = await read(call, f"{api}/refunds", secret=secret)
        starts = starts_of(show)
        return {
            "show": show,
            "booking": found,
            "starts": starts,
            "expires": moment_of(found["expires_at"]),
            "payment": latest,
            "tickets": tickets,
            "more_tickets": len(found["places"]) > len(tickets),
            "refunds": refunds,
            "may_cancel": found["total"]["amount"] == 0 and starts > clock.now(),
            "may_give": show["transfers"] != "refuse"
            and show["status"] != "cancelled"
            and starts > clock.now(),
        }

    def _secret(self, call: Call[Any]) -> str | None:
        return self._counter.secret(call, str(call.path["booking_id"]))


def _template(values: dict[str, Any]) -> str:
    booking, payment = values["booking"], values["payment"]
    match booking["status"]:
        case "CONFIRMED" | "CANCELLED":
            return "booked"
        case "QUEUED":
            return "queued"
        case "PENDING":
            if payment and payment["state"] in ("SUCCEEDED", "MISMATCHED"):
                return "waiting"
            if payment and values["looked"] and payment["state"] in _UNDER_WAY:
                return "waiting"
            begun = payment and payment["state"] in _UNDER_WAY
            if not booking["customer"]["email"] or (values["edits"] and not begun):
                return "details"
            return "pay"
    return "over"


def _looks(query: dict[str, str]) -> dict[str, Any]:
    """How often a waiting page has looked already (0: the visitor does not come from paying), and when it looks again."""
    text = query.get("back", "")
    looked = min(int(text), LOOKS_MAX) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    wait = LOOK_SECONDS[min(looked, len(LOOK_SECONDS)) - 1] if looked else QUEUE_SECONDS
    return {
        "looked": looked,
        "looks_again": wait if looked < LOOKS_MAX else None,
        "edits": query.get("edit") == "1",
        "letter_sent": query.get(SENT) == "1",
        "relaxed": query.get("relaxed", ""),
    }


def _same(found: dict[str, Any], given: dict[str, str], seats: Sequence[str]) -> dict[str, Any]:
    """The claim for the places of a booking that has ended, or for these in their place, by who it was or who the form says."""
    places = found["places"]
    body: dict[str, Any] = {}
    if seats:
        body["seats"] = seats
    elif all(place["seat"] for place in places):
        body["seats"] = [
            f"{place['area']}:{place['seat'].removeprefix(place['area'] + ':')}" for place in places
        ]
    else:
        body |= {"quantity": len(places), "area": places[0]["area"] if places else None}
    tiers = Counted(place["tier"] for place in places)
    if None not in tiers:
        body["tiers"] = tiers
    known = {name: given.get(name) or found["customer"][name] for name in ("email", "name")}
    if customer := {name: value for name, value in known.items() if value}:
        body["customer"] = customer
    return body


def _here(call: Call[Any]) -> str:
    return f"/shows/{part(call, 'show_id')}/bookings/{part(call, 'booking_id')}"


def _api(call: Call[Any]) -> str:
    return "/v1" + _here(call)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    # It becomes part of a policy, so it must end where it seems to.
    if parts.scheme not in ("http", "https") or not origin.isascii() or set(origin) & set(" ;,'\"\\@"):
        raise Refused(502, {"code": "provider_rejected", "status": 502})
    return origin
