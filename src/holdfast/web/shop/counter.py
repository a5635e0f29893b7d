"""What the shop's pages share: whom they ask, which bookings a browser knows, and who may send a form."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, quote
from uuid import UUID

import msgspec

from holdfast.platform.bodies import invalid
from holdfast.platform.errors import Refusal
from holdfast.platform.http import ANYONE, Answer, Call, Routes
from holdfast.platform.ids import new_id
from holdfast.platform.routing import Options
from holdfast.web.api import Api, Reply
from holdfast.web.pages import Pages, cookie
from holdfast.web.shop.told import told

BOOKINGS_COOKIE = "bookings"
# As many as one browser can be busy with; each takes some 80 letters of a cookie, which may have 4096.
BOOKINGS_KEPT_MAX = 5
COOKIE_SECONDS = 30 * 24 * 3600
FORM_BYTES_MAX = 65_536
FIELDS_MAX = 600
# A booking's id, perhaps with the number of a ticket behind it.
_KEPT_LENGTHS = range(36, 44)
# Nothing but what a URI may have (RFC 3986), so that no address can make a header.
_URI = ":/?#[]@!$&'()*+,;=%~"

PAGE: Options = {"who": ANYONE, "query": None, "limit": None, "answers": {200: "text/html"}, "listed": False}
FORM: Options = {
    "who": ANYONE,
    "query": None,
    "body": bytes,
    "body_bytes_max": FORM_BYTES_MAX,
    # Whatever a form asks of the API is counted there.
    "limit": None,
    "answers": {303: None, 200: "text/html"},
    "listed": False,
}
Handler = Callable[[Call[Any]], Awaitable[Answer]]


class Refused(Exception):
    """The API refused what a page asked for, or the page itself did: `body` is the problem."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(body.get("code"))
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Counter:
    """Where pages get what they show. `secure`: cookies go over https alone; `address` is where links begin."""

    api: Api
    pages: Pages
    address: str
    secure: bool

    def page(self, call: Call[Any], template: str, values: Mapping[str, Any], **more: Any) -> Answer:
        """A page of the shop. `given`, what a form was sent with, is empty for what it was not sent with."""
        given = defaultdict(str, values.get("given", {}))
        whole = {"address": self.address, "problem": None, **values, "given": given}
        return self.pages.answer(call, template, whole, **more)

    async def read(
        self, call: Call[Any], path: str, query: Mapping[str, str] | None = None, *, secret: str | None = None
    ) -> Any:
        """What the API answers to a GET. Raises Refused for a problem, which becomes a page."""
        return wanted(await self.api.get(call, path, query, secret=secret)).body

    def serve(self, routes: Routes, path: str, handler: Handler) -> None:
        """Puts a page at the path."""
        routes.get(path, **PAGE)(self._answered(handler))

    def take(self, routes: Routes, path: str, handler: Handler) -> None:
        """Puts what a form does at the path."""
        routes.post(path, **FORM)(self._answered(handler))

    def _answered(self, handler: Handler) -> Handler:
        """The handler, with a whole page for what was refused: what it means, and the next step."""

        @wraps(handler)
        async def answered(call: Call[Any]) -> Answer:
            try:
                return await handler(call)
            except Refused as refused:
                status, body = refused.status, refused.body
            except Refusal as refusal:
                status, body = (
                    refusal.status,
                    {"code": refusal.code, "status": refusal.status, **refusal.members},
                )
            return self.page(call, "refused.html", {"problem": told(body, call.request_id)}, status=status)

        return answered

    def secret(self, call: Call[Any], thing: str) -> str | None:
        """The right that this browser has to a booking, or to a ticket (`{booking}/{number}`) of it."""
        return dict(kept(call)).get(thing)

    def remember(
        self, call: Call[Any], show_id: str, thing: str, secret: str, seconds: int = COOKIE_SECONDS
    ) -> tuple[bytes, bytes]:
        """The header by which the browser keeps such a right, for as long as anybody may come back to it.

        Both ids are such as the API has answered to, for they become part of the header.
        """
        others = [each for each in kept(call) if each[0] != thing]
        return self._keeping(show_id, [(thing, secret), *others], seconds)

    def forget(self, call: Call[Any], show_id: UUID, thing: str) -> tuple[bytes, bytes]:
        """The header by which the browser loses the right to a booking and to its tickets, or to one ticket."""
        left = [each for each in kept(call) if each[0] != thing and not each[0].startswith(f"{thing}/")]
        return self._keeping(str(show_id), left, COOKIE_SECONDS if left else 0)

    def _keeping(self, show_id: str, rights: list[tuple[str, str]], seconds: int) -> tuple[bytes, bytes]:
        value = "~".join(f"{thing}.{secret}" for thing, secret in rights[:BOOKINGS_KEPT_MAX])
        line = f"{BOOKINGS_COOKIE}={value}; Path=/shows/{show_id}; Max-Age={seconds}; HttpOnly; SameSite=Lax"
        return b"set-cookie", (line + ("; Secure" if self.secure else "")).encode("latin-1")


def kept(call: Call[Any]) -> list[tuple[str, str]]:
    """The rights of this show that the browser has, newest first: (booking or ticket, secret)."""
    found = []
    for entry in (cookie(call, BOOKINGS_COOKIE) or "").split("~")[:BOOKINGS_KEPT_MAX]:
        thing, _, secret = entry.partition(".")
        if len(thing) in _KEPT_LENGTHS and secret:
            found.append((thing, secret))
    return found


def wanted(reply: Reply) -> Reply:
    """The reply, when it is none of a problem. Raises Refused."""
    if not reply.good:
        raise Refused(reply.status, reply.body)
    return reply


def form(call: Call[bytes]) -> dict[str, str]:
    """The fields of a form that was sent, the last of each name, without spaces around them. Raises as `fields`."""
    return {name: value.strip() for name, value in fields(call)}


def fields(call: Call[bytes]) -> list[tuple[str, str]]:
    """The fields of a form that was sent, in order. Raises Invalid, and Refused for a form on somebody else's page."""
    site, origin = call.header("sec-fetch-site"), call.header("origin")
    # Browsers that say neither are older than any that sends a cookie of SameSite=Lax across sites.
    ours = (
        site in ("same-origin", "none")
        if site is not None
        else origin is None or origin.partition("://")[2] == call.header("host")
    )
    if not ours:
        raise Refused(403, {"code": "cross_site", "status": 403})
    try:
        return parse_qsl(
            call.body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX
        )
    except ValueError:
        raise invalid("Expected the fields of a form.") from None


def see_other(path: str, *headers: tuple[bytes, bytes]) -> Answer:
    """303: the browser goes on by GET, so that reloading sends nothing twice."""
    return Answer(303, None, ((b"location", quote(path, safe=_URI).encode("ascii")), *headers))


def part(call: Call[Any], name: str) -> str:
    """What stands at this place of the path, fit to stand in another."""
    return quote(str(call.path[name]), safe="")


def key_of(given: Mapping[str, str], body: Any = None) -> str:
    """The Idempotency-Key of what a form asks for: the same form sent twice is done once, and whoever goes back and chooses
    otherwise asks for something else.
    """
    whole = (given.get("attempt") or attempt()).encode() + b"\0" + msgspec.json.encode(body, order="sorted")
    return sha256(whole).hexdigest()


def attempt() -> str:
    """What stands in a form and tells it from every other, for `key_of`."""
    return new_id().hex + new_id().hex


def query_of(call: Call[Any]) -> dict[str, str]:
    """The query of a page. Whatever it does not know, such as an advertiser's mark, is ignored."""
    try:
        found = parse_qsl(call.scope["query_string"].decode("ascii"), max_num_fields=FIELDS_MAX)
    except ValueError:
        return {}
    return {name: value.strip() for name, value in found}
