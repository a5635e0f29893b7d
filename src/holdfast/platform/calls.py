"""One request as a handler sees it (`Call`), and what it says back (`Answer`).

Names and values of headers are bytes here, encoded once where they are constant: this is the hot path. A handler may
also return its body alone, which is then sent with the success status that its route declares.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from holdfast.platform.bodies import invalid
from holdfast.platform.errors import Refusal

if TYPE_CHECKING:
    from holdfast.platform.routing import Route

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]
# Writes at once what would else be sent, and says whether it could: not where the reader is behind.
Push = Callable[[bytes], bool]
B = TypeVar("B")

# Where the server's scope has its Push, if it has one.
PUSH = "holdfast.push"

JSON = b"application/json"
PROBLEM = b"application/problem+json"
HTML = b"text/html; charset=utf-8"
EVENTS = b"text/event-stream"
# Where the description of a refusal's code stands, as the `type` of its problem.
PROBLEM_TYPE = "/docs#error-"

# Times in requests carry an offset; times in answers are RFC 3339 in UTC, made by clock.rfc3339.
Moment = Annotated[datetime, Meta(tz=True)]
Timestamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]

IDEMPOTENCY_KEY_MAX = 255

_VISIBLE = re.compile(rf"[!-~]{{1,{IDEMPOTENCY_KEY_MAX}}}")
_ETAG_VERSION = re.compile(r'"(\d{1,9})"|(\d{1,9})', re.ASCII)
_ETAG = re.compile(rb'(?:W/)?("[^"]*")')
# Named, and not by a weight of 0 as what is not wanted.
_GZIP = re.compile(rb"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)
_UNSAFE_IN_HEADER = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
_encode = msgspec.json.Encoder().encode


class Call(Generic[B]):
    """One request. `path` and `query` hold what the route declared, `body` the decoded body.

    `caller` is whoever the authorizer found (None on a route for ANYONE); `state` is what the app was built with or
    its lifespan opened. `raw_body` are the bytes as sent. `db` is the database as far as the caller may see it.
    """

    __slots__ = (
        "added",
        "body",
        "caller",
        "db",
        "head_at",
        "headers",
        "path",
        "query",
        "raw_body",
        "receive",
        "request_id",
        "route",
        "scope",
        "state",
    )

    body: B

    def __init__(
        self, route: "Route", scope: Scope, receive: Receive, headers: dict[bytes, bytes], request_id: str
    ) -> None:
        self.route = route
        self.scope = scope
        self.receive = receive
        self.headers = headers
        self.request_id = request_id
        self.state: Any = None
        self.db: Any = None
        self.path: dict[str, Any] = {}
        self.query: Any = None
        self.raw_body = b""
        self.caller: Any = None
        self.added: list[Header] | None = None
        # When the head of a streamed answer went out; other answers leave it None.
        self.head_at: float | None = None

    @property
    def method(self) -> str:
        """The method as sent: HEAD where a GET route answers it."""
        return str(self.scope["method"])

    @property
    def is_socket(self) -> bool:
        """Whether the client asks for a WebSocket; only a route that `upgrades` is ever called for one."""
        return bool(self.scope["type"] == "websocket")

    @property
    def client_ip(self) -> str:
        """The client's address, as the server (and the proxies that it trusts) tell it; empty on a unix socket.

        An IPv4 address that came over an IPv6 socket is written as IPv4.
        """
        client = self.scope.get("client")
        return client[0].removeprefix("::ffff:") if client else ""

    def header(self, name: str) -> str | None:
        """The value of a request header, None when it was not sent. Repeated lines are joined by a comma."""
        value = self.headers.get(name.lower().encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    def add_header(self, name: str, value: str) -> None:
        """Sends this header with whatever the answer will be, refusals too. ValueError for control characters."""
        if _UNSAFE_IN_HEADER.search(value):
            raise ValueError(f"header {name} cannot carry {value!r}")
        if self.added is None:
            self.added = []
        self.added.append((name.lower().encode("latin-1"), value.encode("latin-1")))

    def idempotency_key(self) -> str | None:
        """The `Idempotency-Key`, 1 to 255 visible ASCII characters; the quoted form equals the plain one.

        Raises Invalid for anything else; None when the header was not sent.
        """
        value = self.headers.get(b"idempotency-key")
        if value is None:
            return None
        key = value.decode("latin-1")
        if len(key) >= 2 and key[0] == '"' == key[-1]:
            key = key[1:-1]
        if not _VISIBLE.fullmatch(key):
            raise invalid(
                f"Expected 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters.", "/Idempotency-Key", "header"
            )
        return key

    def fingerprint(self) -> bytes:
        """SHA-256 of method, path, query, Idempotency-Key and body: equal for equal requests under one key, 32 bytes.

        The key is in it because fingerprints are kept, and without it whoever reads them could try addresses.
        """
        scope = self.scope
        head = f"{scope['method']}\0{scope['path']}\0{self.idempotency_key() or ''}\0".encode(
            "utf-8", "surrogatepass"
        )
        return sha256(head + scope["query_string"] + b"\0" + self.raw_body).digest()


class Answer(msgspec.Struct):
    """Status, body and headers. The body is a Struct (sent as JSON), bytes of type `media`, a stream, or nothing.

    A header given here takes the place of the default with the same name (lower case).
    """

    status: int = 200
    body: Any = None
    headers: tuple[Header, ...] = ()
    media: bytes = JSON

    def encoded(self) -> "Answer":
        """The same answer with its body as bytes, as it is sent and as it can be stored."""
        if self.body is None or isinstance(self.body, bytes):
            return self
        return Answer(self.status, _encode(self.body), self.headers, self.media)


def created(body: Any, location: str) -> Answer:
    """201 with `Location`."""
    return Answer(201, body, ((b"location", location.encode("ascii")),))


class Closing(NamedTuple):
    """How a WebSocket is closed: a code of RFC 6455, or one of ours from 4000 on, and why, in 123 bytes."""

    code: int
    reason: str


class Telling(AsyncIterator[bytes]):
    """What one reader is told as it happens. Closed by `aclose` when the reader goes away.

    `push` is set before the first item is asked for, where the server has one; whoever tells may use it while an item is
    waited for. `closing` says why there is no more.
    """

    push: Push | None = None
    closing = Closing(1000, "")

    async def aclose(self) -> None:
        """Nobody listens any more. May be called more than once."""


def event_stream(chunks: AsyncIterator[bytes]) -> Answer:
    """Server-Sent Events, or for a WebSocket its messages: `chunks` are whole ones. The iterator is closed when the
    client goes away.
    """
    headers = ((b"cache-control", b"no-store, no-transform"), (b"x-accel-buffering", b"no"))
    return Answer(200, chunks, headers, EVENTS)


def etag(version: int) -> bytes:
    """The strong entity tag of a version or revision: `"17"`."""
    return b'"%d"' % version


def if_match(call: Call[Any]) -> int | None:
    """The version that `If-Match` names; None when any will do (`*`, or no header). Raises Invalid.

    Only one strong tag as `etag` makes it can be meant, so lists and weak tags are refused; its quotes may be missing.
    """
    value = call.header("if-match")
    if value is None or value == "*":
        return None
    found = _ETAG_VERSION.fullmatch(value)
    if not found:
        raise invalid('Expected one entity tag as it was sent, such as "17", or *.', "/If-Match", "header")
    return int(found[1] or found[2])


def takes_gzip(call: Call[Any]) -> bool:
    """Whether the client has said that it can unpack what is gzipped."""
    return _GZIP.search(call.headers.get(b"accept-encoding", b"")) is not None


def fresh(
    call: Call[Any],
    body: bytes,
    tag: bytes,
    *,
    packed: bytes | None = None,
    cache: bytes = b"no-cache",
    media: bytes = JSON,
) -> Answer:
    """200 with pre-encoded bytes and their strong tag, or 304 when `If-None-Match` shows that the client has them.

    `packed` is the body gzipped, for who takes that; its tag is the same, but weak (RFC 9110, section 8.8.3.3).
    """
    known = call.headers.get(b"if-none-match")
    is_known = known is not None and (known == b"*" or tag in _ETAG.findall(known))
    packs = packed is not None and takes_gzip(call)
    headers = [(b"etag", b"W/" + tag if packs else tag), (b"cache-control", cache)]
    if packed is not None:
        headers.append((b"vary", b"accept-encoding"))
    if is_known:
        return Answer(304, None, tuple(headers), media)
    if packs:
        headers.append((b"content-encoding", b"gzip"))
    return Answer(200, packed if packs else body, tuple(headers), media)


def problem(refusal: Refusal, request_id: str) -> Answer:
    """A refusal as RFC 9457 `application/problem+json`, with `Retry-After` where waiting helps."""
    code = refusal.code
    content = {
        "type": PROBLEM_TYPE + code,
        "title": refusal.title,
        "status": refusal.status,
        "code": code,
        "detail": refusal.detail or refusal.title,
        "request_id": request_id,
        **refusal.members,
    }
    headers: tuple[Header, ...] = ()
    if refusal.retry_after is not None:
        headers = ((b"retry-after", b"%d" % refusal.retry_after),)
    if refusal.status == 401:
        headers = (*headers, (b"www-authenticate", b"Bearer"))
    return Answer(refusal.status, _encode(content), headers, PROBLEM)


def denying(send: Send) -> Send:
    """Answers the request for a WebSocket as any other request: what is sent as HTTP stands in place of the upgrade."""

    async def deny(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    return deny
