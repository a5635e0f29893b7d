"""What the engine answers when it says no.

    Refusal                      an expected no: has a stable code, an HTTP status and a title
    ├── Invalid                  400  the request cannot be understood; names each field
    ├── UnknownField             400  the request has a field that nobody reads
    ├── NotFound                 404  nothing there, or nothing that the caller may know of
    ├── Unauthenticated          401  nobody, where somebody is needed
    ├── Forbidden                403  somebody, but without the right
    ├── Conflict                 409  the state of things forbids it
    ├── PreconditionFailed       412  If-Match named another version
    ├── IdempotencyMismatch      422  the same key came with another request
    └── Busy                     503  not now; says when to come back

A domain puts its own subclasses at the top of the file that raises them. Codes are unique and are listed in
`docs/api/errors.md`. Refusals are answers, not faults: they are never logged as errors.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

REFUSALS: "list[type[Refusal]]" = []


class Refusal(Exception):
    """An expected no. Subclasses set `code` (stable, snake case), `status` (HTTP) and `title` (one sentence).

    `detail` tells this very case to a person; `retry_after` is in whole seconds; every further keyword becomes a
    member of the problem+json body (`seats=["A-1"]`).
    """

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "The request was refused."
    # The further members that the document of the API shows.
    example: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, detail: str | None = None, *, retry_after: int | None = None, **members: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.retry_after = retry_after
        self.members = members

    def __init_subclass__(cls) -> None:
        REFUSALS.append(cls)


class Invalid(Refusal):
    """A request that cannot be understood. `errors` is a list of {pointer, detail}; the pointer is RFC 6901."""

    code = "invalid"
    status = 400
    title = "The request is not valid."

    def __init__(
        self, detail: str, *, pointer: str = "", errors: Sequence[dict[str, str]] | None = None
    ) -> None:
        super().__init__(detail, errors=list(errors or [{"pointer": pointer, "detail": detail}]))


class UnknownField(Refusal):
    """A field that nobody reads: refused, because a misspelt wish would otherwise be lost in silence."""

    code = "unknown_field"
    status = 400
    title = "The request has a field that is not known here."


class NotFound(Refusal):
    code = "not_found"
    status = 404
    title = "There is nothing here."


class Unauthenticated(Refusal):
    code = "unauthenticated"
    status = 401
    title = "Sign in first."


class Forbidden(Refusal):
    code = "forbidden"
    status = 403
    title = "You may not do this."


class Conflict(Refusal):
    code = "conflict"
    status = 409
    title = "The present state does not allow this."


class PreconditionFailed(Refusal):
    """If-Match named another version than the present one: read again, then edit."""

    code = "version_mismatch"
    status = 412
    title = "It was changed by someone else in the meantime."


class IdempotencyMismatch(Refusal):
    code = "idempotency_mismatch"
    status = 422
    title = "This Idempotency-Key was used with another request."


class StillRunning(Conflict):
    """The very same request, under the same key, has not been answered yet."""

    code = "still_running"
    title = "An equal request under this Idempotency-Key is still being worked on."

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, retry_after=1)


class Busy(Refusal):
    """Not now. `retry_after` (seconds) is always sent; nothing was done, or what was done can be looked up."""

    code = "busy"
    status = 503
    title = "Too busy, or the database is away. Try again in a moment."

    def __init__(self, detail: str | None = None, *, retry_after: int = 1, **members: Any) -> None:
        super().__init__(detail, retry_after=retry_after, **members)
