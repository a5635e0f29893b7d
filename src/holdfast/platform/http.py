"""The typed routes: each operation is declared once, and everything around its handler comes from the declaration.

    routes = Routes("bookings", missing={"show_id": ShowNotFound})

    @routes.post("/v1/shows/{show_id}/bookings", who=ANYONE, body=ClaimBody, answers={201: BookingJson},
                 refusals=(SoldOut, SeatsTaken))
    async def claim(call: Call[ClaimBody]) -> BookingJson: ...

`build_app` makes one ASGI app of such sets: it finds the route without trying patterns, decodes strictly, asks the
authorizer, answers refusals as problem+json (RFC 9457) and logs what nobody expected. `platform/openapi.py` makes the
OpenAPI document of the same declarations. Paths: `{name}` is a UUID, `{name:str}` and `{name:int}` are what they say.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Router
from uuid_utils import uuid7

from holdfast.platform.bodies import invalid
from holdfast.platform.calls import (
    EVENTS,
    HTML,
    JSON,
    PROBLEM,
    PROBLEM_TYPE,
    Answer,
    Call,
    Closing,
    Header,
    Message,
    Moment,
    Receive,
    Scope,
    Send,
    Telling,
    Timestamp,
    created,
    denying,
    etag,
    event_stream,
    fresh,
    if_match,
    problem,
    takes_gzip,
)
from holdfast.platform.errors import NotFound, Refusal
from holdfast.platform.limits import Profile
from holdfast.platform.routing import (
    ANYONE,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    BodyTooLarge,
    HeaderParameter,
    InternalError,
    MethodNotAllowed,
    NoSocket,
    Replays,
    RequestTimeout,
    Route,
    Routes,
    UnsupportedMediaType,
    Who,
)
from holdfast.platform.streaming import ClientGone, converse, stream
from holdfast.platform.telemetry import log

__all__ = [
    "ANYONE",
    "EVENTS",
    "HTML",
    "IDEMPOTENCY_KEY",
    "IF_MATCH",
    "IF_NONE_MATCH",
    "JSON",
    "PROBLEM",
    "PROBLEM_TYPE",
    "Answer",
    "App",
    "BodyTooLarge",
    "Call",
    "Closing",
    "Count",
    "HeaderParameter",
    "InternalError",
    "MethodNotAllowed",
    "Moment",
    "NoSocket",
    "Replays",
    "RequestTimeout",
    "Route",
    "Routes",
    "Telling",
    "Timestamp",
    "UnsupportedMediaType",
    "Who",
    "build_app",
    "created",
    "etag",
    "event_stream",
    "fresh",
    "if_match",
    "problem",
    "takes_gzip",
]

BODY_BYTES_MAX = 1_048_576
# What a proxy's log calls a client that left before the answer; never sent.
CLIENT_GONE = 499
UPGRADED = 101

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_JSON_TYPES = frozenset({JSON, b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
_LENGTH_DIGITS_MAX = 18
# Under this key of a path's methods stands the route that refuses those it does not know.
_OTHER_METHODS = ""

SECURITY: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
# What is of use to a page alone. The door's scanner is the one page that needs a camera.
_PAGE_SECURITY: tuple[Header, ...] = (
    *SECURITY,
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), geolocation=(), microphone=(), usb=()"),
)
_JSON_HEAD: tuple[Header, ...] = (*SECURITY, (b"content-type", JSON))

# structlog's merge_contextvars reads every context variable whose name begins so; setting one costs a tenth of
# bind_contextvars, and each request runs in a context of its own.
_logged_request_id: ContextVar[str] = ContextVar("structlog_request_id")
_log = log("http")


Authorize = Callable[[Call[Any], Any], Awaitable[Any]]
Count = Callable[[Call[Any], Profile], Awaitable[None]]
Observe = Callable[[str, str, int, float], None]
AccessLog = Callable[[Call[Any], int, float], None]
Lifespan = Callable[["App"], AbstractAsyncContextManager[None]]


class _Node:
    """One segment of the tree of paths."""

    __slots__ = ("children", "methods", "parameter")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.methods: dict[str, Route] = {}


class _Mounts(Router):
    """Starlette's router for what is not a typed route."""

    async def not_found(self, scope: Any, receive: Any, send: Any) -> None:
        raise NotFound


class App:
    """The ASGI app. `state` may be set by the lifespan; `in_flight` counts the requests being answered now.

    `db` is what `call.db` begins as; `authorize` may set another, which shows less. `count` counts a request against
    whoever makes it, and raises RateLimited.
    """

    def __init__(
        self,
        route_sets: Iterable[Routes],
        *,
        state: Any = None,
        db: Any = None,
        authorize: Authorize | None = None,
        count: Count | None = None,
        once: Replays | None = None,
        observe: Observe | None = None,
        access_log: AccessLog | None = None,
        lifespan: Lifespan | None = None,
        mounts: Sequence[BaseRoute] = (),
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        self.state = state
        self.db = db
        self.in_flight = 0
        self.routes = [route for routes in route_sets for route in routes.all]
        self._once = once
        self._authorize = authorize
        self._count = count
        self._observe = observe
        self._access_log = access_log
        self._body_bytes_max = body_bytes_max
        self._mounted = bool(mounts)
        self._root = _Node()
        self._static: dict[str, dict[str, Route]] = {}
        self._elsewhere = _stand_in(_nothing_here, "(none)")
        for route in self.routes:
            if authorize is None and route.who is not ANYONE:
                raise TypeError(f"{route.method} {route.path}: nobody can tell who {route.who.name} is")
            if once is None and route.once:
                raise TypeError(
                    f"{route.method} {route.path}: nothing can tell whether it was done (once=...)"
                )
            self._plant(route)
        opened = lifespan or _no_lifespan
        self._router = _Mounts(mounts, redirect_slashes=False, lifespan=lambda _: opened(self))

    def _plant(self, route: Route) -> None:
        node = self._root
        for part in route.template.split("/")[1:]:
            if part.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.children.setdefault(part, _Node())
        if route.method in node.methods and node.methods[route.method].method == route.method:
            raise ValueError(f"{route.method} {route.path} is declared twice")
        node.methods[route.method] = route
        if route.method == "GET":
            node.methods["HEAD"] = route
        known = {name for name in node.methods if name} | {"OPTIONS"}
        allowed = ", ".join(sorted(known))
        for method, handler in (("OPTIONS", _options), (_OTHER_METHODS, _refuse_method)):
            stand_in = _stand_in(handler, route.template, allowed)
            stand_in.problems = route.problems
            node.methods[method] = stand_in
        if not route.parameters:
            self._static[route.template] = node.methods

    def _find(self, method: str, path: str) -> tuple[Route, Sequence[str]]:
        # A literal segment wins over a parameter and is not tried back: ids are UUIDs, so no id equals a literal.
        values: list[str] = []
        methods = self._static.get(path)
        if methods is None:
            node = self._root
            for part in path.split("/")[1:]:
                child = node.children.get(part)
                if child is None:
                    child = node.parameter
                    if child is None or not part:
                        return self._elsewhere, ()
                    values.append(part)
                node = child
            methods = node.methods
            if not methods:
                return self._elsewhere, ()
        return methods.get(method) or methods[_OTHER_METHODS], values

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] != "websocket":
                await self._router(scope, receive, send)
                return
            # It begins as a GET, and all that holds for one holds for it.
            scope["method"] = "GET"
        began = perf_counter()
        lines = scope["headers"]
        headers = dict(lines)
        if len(headers) != len(lines):
            headers = _joined(lines)
        given = headers.get(b"x-request-id")
        request_id = given.decode() if given is not None and _REQUEST_ID.fullmatch(given) else uuid7().hex
        _logged_request_id.set(request_id)
        method = scope["method"]
        route, values = self._find(method, scope["path"])
        call: Call[Any] = Call(route, scope, receive, headers, request_id)
        call.state = self.state
        call.db = self.db
        self.in_flight += 1
        try:
            if self._mounted and route is self._elsewhere and not call.is_socket:
                status = await self._serve_mounted(call, send)
            else:
                answer = await self._settled(call, values)
                if call.is_socket and hasattr(answer.body, "__aiter__"):
                    status = UPGRADED
                    await converse(call, answer.body, send)
                else:
                    status = answer.status
                    await _send(call, answer, denying(send) if call.is_socket else send)
        except ClientGone:
            status = CLIENT_GONE
        finally:
            self.in_flight -= 1
        seconds = (call.head_at or perf_counter()) - began
        if self._observe is not None:
            self._observe(method if method in _METHODS else "OTHER", route.template, status, seconds)
        if self._access_log is not None:
            self._access_log(call, status, seconds)

    async def _settled(self, call: Call[Any], values: Sequence[str]) -> Answer:
        # The answer with its body as bytes or as a stream, whatever happens; ClientGone is raised.
        try:
            answer = await self._answer(call, values)
            return answer if hasattr(answer.body, "__aiter__") else answer.encoded()
        except ClientGone:
            raise
        except Exception as error:
            return _refused(call, error)

    async def _answer(self, call: Call[Any], values: Sequence[str]) -> Answer:
        route = call.route
        if values and route.parameters:
            route.bind(call, values)
        if route.who is not ANYONE:
            try:
                call.caller = await self._authorize(call, route.who)  # type: ignore[misc]
            except Refusal:
                # Counted against the address, for to look at a token costs more than most answers.
                if self._count is not None and route.limit is not None:
                    await self._count(call, route.limit)
                raise
        if self._count is not None and route.limit is not None:
            await self._count(call, route.limit)
        if call.is_socket and not route.upgrades:
            raise NoSocket
        if route.headers:
            route.check_headers(call)
        call.query = route.read_query(call.scope["query_string"])
        if route.reads_body:
            await self._take_body(route, call)
        if route.once == "in steps":
            result: Any = await self._once.run_steps(call, route.finished)  # type: ignore[union-attr]
        elif route.once:
            result = await self._once.run(call, route.finished)  # type: ignore[union-attr]
        else:
            result = await route.handler(call)
        return result if result.__class__ is Answer else Answer(route.success, result)

    async def _take_body(self, route: Route, call: Call[Any]) -> None:
        limit = route.body_bytes_max or self._body_bytes_max
        length = call.headers.get(b"content-length")
        if length is not None and (
            len(length) > _LENGTH_DIGITS_MAX or (length.isdigit() and int(length) > limit)
        ):
            raise BodyTooLarge(f"The limit is {limit} bytes.")
        media = call.headers.get(b"content-type", JSON)
        if (
            media not in _JSON_TYPES
            and route.body is not None
            and not route.body_is_raw
            and not _is_json(media)
        ):
            raise UnsupportedMediaType
        message = await call.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        raw: bytes = message.get("body", b"")
        if message.get("more_body"):
            raw = await _rest_of_body(raw, call.receive, limit)
        if len(raw) > limit:
            raise BodyTooLarge(f"The limit is {limit} bytes.")
        call.raw_body = raw
        if route.body_is_raw:
            call.body = raw
        elif raw:
            call.body = route.read_body(raw)
        elif not route.body_optional:
            raise invalid("A JSON body is needed.")

    async def _serve_mounted(self, call: Call[Any], send: Send) -> int:
        status = 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_defaults(call, list(message.get("headers", ())))
            await send(message)

        # With this, Starlette's own 404 and 405 are raised instead of answered as plain text.
        call.scope["app"] = self
        try:
            await self._router(call.scope, call.receive, send_guarded)
        except Exception as error:
            if status:
                _log.exception("answer broken off", path=call.scope["path"], request_id=call.request_id)
                return status
            answer = _refused(call, _refusal_for(error))
            await _send(call, answer, send)
            return answer.status
        return status


def build_app(route_sets: Iterable[Routes], **parts: Any) -> App:
    """The ASGI app of these routes; the parts are those of `App`."""
    return App(route_sets, **parts)


def _stand_in(handler: Callable[[Call[Any]], Awaitable[None]], template: str, allowed: str = "") -> Route:
    # What answers where no declared route does: it looks at neither the ids in the path nor the query.
    route = Route("GET", "/", handler, who=ANYONE, query=None, answers={204: None}, limit=None, listed=False)
    route.template = template
    route.allowed = allowed
    # What is not there is told to who asks for a WebSocket as to all others.
    route.upgrades = True
    return route


async def _nothing_here(call: Call[Any]) -> None:
    raise NotFound


async def _options(call: Call[Any]) -> None:
    call.add_header("allow", call.route.allowed)


async def _refuse_method(call: Call[Any]) -> None:
    call.add_header("allow", call.route.allowed)
    raise MethodNotAllowed


@asynccontextmanager
async def _no_lifespan(app: App) -> AsyncIterator[None]:
    yield


def _joined(lines: Iterable[Header]) -> dict[bytes, bytes]:
    # RFC 9110, 5.3: lines with one name are a list. What must stand once then fails its own check.
    headers: dict[bytes, bytes] = {}
    for name, value in lines:
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def _is_json(media: bytes) -> bool:
    kind, _, parameters = media.partition(b";")
    if kind.strip().lower() != JSON:
        return False
    for parameter in parameters.split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip().lower() == b"charset" and value.strip().strip(b'"').lower() not in (
            b"utf-8",
            b"utf8",
        ):
            return False
    return True


async def _rest_of_body(first: bytes, receive: Receive, limit: int) -> bytes:
    # The server sees to it that the rest comes in time, and tells of a disconnect when it does not.
    parts, size = [first], len(first)
    while size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if not message.get("more_body"):
            break
    return b"".join(parts)


def _refusal_for(error: Exception) -> Exception:
    # Starlette's own parts refuse by HTTPException.
    if isinstance(error, HTTPException):
        return MethodNotAllowed() if error.status_code == 405 else NotFound()
    return error


def _refused(call: Call[Any], error: Exception) -> Answer:
    route = call.route
    if not isinstance(error, Refusal):
        _log.error(
            "unexpected error",
            method=call.method,
            route=route.template,
            request_id=call.request_id,
            exc_info=error,
        )
    if route.problems is not None:
        try:
            return route.problems(error).encoded()
        except Exception as second:
            _log.error("unexpected error", route=route.template, request_id=call.request_id, exc_info=second)
            error = second
    return problem(error if isinstance(error, Refusal) else InternalError(), call.request_id)


def _with_defaults(call: Call[Any], headers: list[Header]) -> list[Header]:
    given = {name.lower(): value for name, value in headers}
    is_page = given.get(b"content-type", b"").startswith(b"text/html")
    headers += [line for line in (_PAGE_SECURITY if is_page else SECURITY) if line[0] not in given]
    headers.append((b"x-request-id", call.request_id.encode()))
    if call.added:
        headers += call.added
    return headers


async def _send(call: Call[Any], answer: Answer, send: Send) -> None:
    status, body = answer.status, answer.body
    if not answer.headers and answer.media == JSON:
        headers = [*_JSON_HEAD, (b"x-request-id", call.request_id.encode())]
        if call.added:
            headers += call.added
    else:
        headers = _with_defaults(call, [*answer.headers, (b"content-type", answer.media)])
    if body is None:
        headers = [line for line in headers if line[0] != b"content-type"]
        body = b""
    if hasattr(body, "__aiter__"):
        await stream(call, status, headers, body, send)
        return
    if status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(body)))
    if call.scope["method"] == "HEAD":
        body = b""
    try:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    except OSError:
        # Some servers raise when the client has gone; uvicorn drops what is sent.
        raise ClientGone from None
