"""Routes as they are declared: what each takes, who may use it, what it answers and how it may refuse.

Import these names from `platform/http.py`, which serves them. A declaration that could let bad input through, or that
leaves open who may use it, raises at import.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from inspect import cleandoc, iscoroutinefunction
from typing import TYPE_CHECKING, Any, Literal, Protocol, Required, TypedDict, TypeVar, Unpack
from uuid import UUID

import msgspec

from holdfast.platform.bodies import body_reader, check_request_type, invalid, query_reader
from holdfast.platform.calls import Answer, Call
from holdfast.platform.errors import (
    Busy,
    Forbidden,
    IdempotencyMismatch,
    Invalid,
    NotFound,
    PreconditionFailed,
    Refusal,
    StillRunning,
    Unauthenticated,
    UnknownField,
)
from holdfast.platform.limits import Profile, RateLimited

if TYPE_CHECKING:
    from holdfast.platform.db import Transaction

PATH_TEXT_MAX = 200

_PATH = re.compile(r"/|(?:/(?:[A-Za-z0-9_.-]+|\{[a-z_]+(?::(?:uuid|str|int))?\}))+")
_PARAMETER = re.compile(r"\{([a-z_]+)(?::(uuid|str|int))?\}")
_WHOLE_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


class BodyTooLarge(Refusal):
    code = "body_too_large"
    status = 413
    title = "The body is larger than this route accepts."


class UnsupportedMediaType(Refusal):
    code = "unsupported_media_type"
    status = 415
    title = "Send application/json in UTF-8."


class MethodNotAllowed(Refusal):
    """The path exists, the method does not; `Allow` names those that do."""

    code = "method_not_allowed"
    status = 405
    title = "This path does not know that method."


class RequestTimeout(Refusal):
    code = "request_timeout"
    status = 408
    title = "The request did not arrive in time."


class NoSocket(Refusal):
    code = "no_websocket"
    status = 400
    title = "There is no WebSocket at this address."


class InternalError(Refusal):
    """Never raised: what the caller hears when the engine is at fault. The log has the cause, by request id."""

    code = "internal_error"
    status = 500
    title = "Something went wrong on our side."


@dataclass(frozen=True, slots=True)
class Who:
    """Who may use a route. `security` names the OpenAPI schemes, any of which will do; "" among them: none, too.

    The app's authorizer knows what to make of it; packages subclass it at will.
    """

    name: str
    security: tuple[str, ...] = ()


ANYONE = Who("anyone")


@dataclass(frozen=True, slots=True)
class HeaderParameter:
    """A request header that a route reads. A value that does not match `pattern` as a whole answers 400."""

    name: str
    description: str
    pattern: str | None = None
    required: bool = False


IDEMPOTENCY_KEY = HeaderParameter(
    "Idempotency-Key",
    "Makes a retry safe: the same key with the same request has the same answer, once done. 24 hours.",
    r'"[!-~]{1,255}"|[!-~]{1,255}',
)
IF_MATCH = HeaderParameter(
    "If-Match",
    "Edit only when this is still the version (the `ETag` that you read).",
    r'"[0-9]{1,9}"|[0-9]{1,9}|\*',
)
IF_NONE_MATCH = HeaderParameter("If-None-Match", "Answers 304 when this is still the `ETag`.")

Handler = Callable[..., Awaitable[Any]]
H = TypeVar("H", bound=Handler)
Problems = Callable[[Exception], Answer]


class Replays(Protocol):
    """Runs an operation once per `Idempotency-Key`.

    It opens the transaction, hands it to the handler, stores `answer.encoded()` in the same transaction, and gives it
    again to an equal request (`call.idempotency_key()`, `call.fingerprint()`). Refusals are raised through it.
    """

    async def run(
        self, call: Call[Any], handler: "Callable[[Call[Any], Transaction], Awaitable[Answer]]"
    ) -> Answer: ...

    async def run_steps(self, call: Call[Any], handler: Callable[[Call[Any]], Awaitable[Answer]]) -> Answer:
        """As `run`, for a handler that opens its own transactions."""


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body or query of a route that declares none."""


def _no_query(raw: bytes) -> None:
    return None


class Options(TypedDict, total=False):
    """What a route may declare; `Route` says what each means."""

    who: Required[Any]
    body: Any
    query: Any
    headers: Sequence[HeaderParameter]
    answers: Mapping[int, Any]
    refusals: Sequence[type[Refusal]]
    summary: str
    description: str
    operation_id: str
    once: bool | Literal["in steps"]
    body_bytes_max: int
    limit: Profile | None
    problems: Problems
    listed: bool
    upgrades: bool
    example: Any


@dataclass(eq=False)
class Route:
    """One operation. The checks of its declaration raise TypeError or ValueError at import.

    query     a Struct whose fields are the parameters; None: whatever is sent is ignored
    body      a Struct, `Struct | None` (may be missing), msgspec.Raw, or bytes (as sent, any content type)
    answers   success status -> a type sent as JSON, a media type as text, or None; the first is the default
    refusals  what the handler may raise; those of the layer itself are added
    limit     what callers without a name are counted under, by address; None: nobody is counted
    once      the handler gets a Transaction as second argument and runs once per Idempotency-Key; "in steps": it gets
              none, commits by itself between calls to the outside, and an equal request meanwhile is answered 409
    problems  renders refusals and faults in a form of its own (the seeds' contract)
    listed    stands in the OpenAPI document
    upgrades  answers a WebSocket, too: the chunks of its stream are messages then
    """

    method: str
    path: str
    handler: Handler
    _: KW_ONLY
    who: Any
    tag: str = ""
    missing: Mapping[str, type[Refusal]] = field(default_factory=dict)
    body: Any = None
    query: Any = Nothing
    headers: Sequence[HeaderParameter] = ()
    answers: Mapping[int, Any] = field(default_factory=lambda: {200: None})
    refusals: Sequence[type[Refusal]] = ()
    summary: str = ""
    description: str = ""
    operation_id: str = ""
    once: bool | Literal["in steps"] = False
    body_bytes_max: int | None = None
    limit: Profile | None = "writes"
    problems: Problems | None = None
    listed: bool = True
    upgrades: bool = False
    example: Any = None

    def __post_init__(self) -> None:
        where = f"{self.method} {self.path}"
        if self.who is None or not getattr(self.who, "name", ""):
            raise TypeError(f"{where}: say who may use it (who=...)")
        if not _PATH.fullmatch(self.path):
            raise ValueError(f"{where}: not a path")
        if not iscoroutinefunction(self.handler):
            raise TypeError(f"{where}: the handler must be an async function")
        if self.once:
            if self.method != "POST":
                raise TypeError(f"{where}: once is for POST")
            self.headers = (IDEMPOTENCY_KEY, *self.headers)
        if not any(status < 400 for status in self.answers):
            raise TypeError(f"{where}: declare the answer to a success")
        self.success = next(status for status in self.answers if status < 400)
        self.parameters = [
            (name, kind or "uuid", self.missing.get(name, NotFound))
            for name, kind in _PARAMETER.findall(self.path)
        ]
        # What `Allow` says when this route stands in for methods that the path does not know.
        self.allowed = ""
        self.template = _PARAMETER.sub(r"{\1}", self.path)
        self.reads_body = self.body is not None or self.method in ("POST", "PUT", "PATCH", "DELETE")
        self.body_optional = self.body is None or type(None) in getattr(self.body, "__args__", ())
        self.body_is_raw = self.body is bytes
        if self.reads_body and not self.body_is_raw:
            if self.body is not msgspec.Raw:
                check_request_type(self.body or Nothing, where)
            self.read_body = body_reader(self.body or Nothing)
        self.read_query: Callable[[bytes], Any] = _no_query
        if self.query is not None:
            check_request_type(self.query, where)
            self.read_query = query_reader(self.query)
        self._patterns = [
            (header, header.name.lower().encode(), header.pattern and re.compile(header.pattern.encode()))
            for header in self.headers
        ]
        self.operation_id = self.operation_id or self.handler.__name__
        said = cleandoc(self.handler.__doc__ or "").partition("\n")
        self.summary = self.summary or said[0].rstrip(".") or self.operation_id.replace("_", " ")
        self.description = self.description or said[2].strip()

    def bind(self, call: Call[Any], values: Sequence[str]) -> None:
        """Turns the texts of the path into `call.path`; raises the refusal for what cannot be there."""
        path = call.path
        for (name, kind, missing), text in zip(self.parameters, values, strict=True):
            if kind == "uuid":
                # The canonical form alone, so that one thing has one address.
                if len(text) != 36:
                    raise missing()
                try:
                    path[name] = msgspec.convert(text, UUID)
                except msgspec.ValidationError:
                    raise missing() from None
            elif kind == "int":
                if not _WHOLE_NUMBER.fullmatch(text):
                    raise missing()
                path[name] = int(text)
            else:
                if not 0 < len(text) <= PATH_TEXT_MAX or "\0" in text:
                    raise missing()
                path[name] = text

    def check_headers(self, call: Call[Any]) -> None:
        """Raises Invalid for a declared header that is missing or ill-formed."""
        for header, name, pattern in self._patterns:
            value = call.headers.get(name)
            if value is None:
                if header.required:
                    raise invalid(f"The header {header.name} is required.", "/" + header.name, "header")
            elif pattern and not pattern.fullmatch(value):
                raise invalid(f"The header {header.name} is not well-formed.", "/" + header.name, "header")

    async def finished(self, call: Call[Any], *tx: "Transaction") -> Answer:
        """The handler's answer, inside the transaction that `Replays` opened if it did."""
        result = await self.handler(call, *tx)
        return result if isinstance(result, Answer) else Answer(self.success, result)

    def all_refusals(self) -> list[type[Refusal]]:
        """What the handler declares, and what the layer itself may answer on this route."""
        found: list[type[Refusal]] = [*self.refusals, Invalid, UnknownField]
        found += [missing for _, _, missing in self.parameters]
        if self.who.security:
            # A bad token is refused also where none is needed.
            found.append(Unauthenticated)
            if "" not in self.who.security:
                found.append(Forbidden)
        if self.reads_body:
            found += [BodyTooLarge, RequestTimeout, UnsupportedMediaType]
        if IF_MATCH in self.headers:
            found.append(PreconditionFailed)
        if self.once:
            found.append(IdempotencyMismatch)
        if self.once == "in steps":
            found.append(StillRunning)
        if self.limit is not None:
            found.append(RateLimited)
        return list(dict.fromkeys([*found, Busy]))


class Routes:
    """The routes of one domain. `missing` says, by name of a path parameter, what answers an id that cannot be."""

    def __init__(self, tag: str, *, missing: Mapping[str, type[Refusal]] | None = None) -> None:
        self.tag = tag
        self.missing = dict(missing or {})
        self.all: list[Route] = []

    def _add(self, method: str, path: str, options: Any) -> Callable[[H], H]:
        def register(handler: H) -> H:
            self.all.append(Route(method, path, handler, tag=self.tag, missing=self.missing, **options))
            return handler

        return register

    def get(self, path: str, **options: Unpack[Options]) -> Callable[[H], H]:
        """Registers a handler that reads; HEAD is answered from it, too."""
        return self._add("GET", path, {"limit": "reads", **options})

    def post(self, path: str, **options: Unpack[Options]) -> Callable[[H], H]:
        """Registers a handler that does something."""
        return self._add("POST", path, options)

    def put(self, path: str, **options: Unpack[Options]) -> Callable[[H], H]:
        """Registers a handler that sets the whole of a thing."""
        return self._add("PUT", path, options)

    def patch(self, path: str, **options: Unpack[Options]) -> Callable[[H], H]:
        """Registers a handler that edits."""
        return self._add("PATCH", path, options)

    def delete(self, path: str, **options: Unpack[Options]) -> Callable[[H], H]:
        """Registers a handler that takes a thing away."""
        return self._add("DELETE", path, options)
