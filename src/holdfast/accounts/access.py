"""Who may do what: roles, the one table of permissions, and what a route says of its callers.

    @routes.post("/v1/shows", who=Staff("shows.write"), ...)    call.caller is a Principal with that permission
    @routes.get("/v1/shows/{show_id}", who=VISITOR, ...)        call.caller is a Principal or None
    @routes.get(".../{booking_id}", who=Buyer("bookings.read"), ...)    call.caller is a Caller: ask it

A permission holds within the caller's own organizer. `authorize` cannot know whose thing a path names, so whoever loads
the thing calls `require` with its organizer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.accounts.passwords import Passwords
from holdfast.accounts.tokens import Principal, Role, Tokens
from holdfast.platform.calls import Call
from holdfast.platform.errors import Forbidden, NotFound, Refusal, Unauthenticated
from holdfast.platform.ids import OrganizerId
from holdfast.platform.routing import ANYONE, Who
from holdfast.platform.secret import Secrets

Permission = Literal[
    "shows.write",
    "shows.read_all",
    "venues.write",
    "blocks.write",
    "bookings.read",
    "bookings.write",
    "audit.read",
    "jobs.read",
    "jobs.write",
]

_RUNS_THE_SHOWS: frozenset[Role] = frozenset({"owner", "manager"})
_SELLS: frozenset[Role] = _RUNS_THE_SHOWS | {"box_office"}

# What a role is not named for, it may not do.
PERMISSIONS: dict[Permission, frozenset[Role]] = {
    "shows.write": _RUNS_THE_SHOWS,
    # Drafts and other shows that are not public yet.
    "shows.read_all": _SELLS | {"door", "viewer"},
    "venues.write": _RUNS_THE_SHOWS,
    "blocks.write": _SELLS,
    # Bookings carry names and addresses, so the door does not read them.
    "bookings.read": _SELLS | {"viewer"},
    # Confirm what was paid elsewhere, and cancel.
    "bookings.write": _SELLS,
    "audit.read": frozenset({"owner"}),
    # Jobs belong to the installation and carry what every organizer's followers do.
    "jobs.read": frozenset({"owner"}),
    "jobs.write": frozenset({"owner"}),
}

# For the OpenAPI document: the names that `Who.security` uses.
SECURITY_SCHEMES: dict[str, dict[str, Any]] = {
    "staff": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token from `POST /v1/auth/token`.",
    },
    "booking": {
        "type": "http",
        "scheme": "bearer",
        "description": "The `secret` of the booking, as the answer to its claim gave it.",
    },
}

# RFC 6750, section 2.1; schemes are case-insensitive (RFC 9110, section 11.1).
_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")
_JWT_DOTS = 2


@dataclass(frozen=True)
class Staff(Who):
    """People with this permission; without one, whoever has signed in. The handler gets a Principal."""

    permission: Permission | None = None
    name: str = field(default="staff", init=False)
    security: tuple[str, ...] = field(default=("staff",), init=False)


@dataclass(frozen=True)
class Buyer(Who):
    """Who holds the booking's secret, or people with this permission. The handler gets a Caller and must ask it."""

    permission: Permission
    name: str = field(default="buyer", init=False)
    security: tuple[str, ...] = field(default=("booking", "staff"), init=False)


@dataclass(frozen=True)
class Visitor(Who):
    """Anyone; who has signed in may see more. The handler gets a Principal or None."""

    name: str = field(default="visitor", init=False)
    security: tuple[str, ...] = field(default=("", "staff"), init=False)


VISITOR = Visitor()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who came to a route for buyers: at most one of the two is set, and neither has been held against a booking."""

    principal: Principal | None
    # Whatever stood in the header that is no access token; compare it by Secrets.verify.
    secret: str | None


def permits(principal: Principal | None, permission: Permission, organizer_id: OrganizerId) -> bool:
    """Whether this person may do that with things of this organizer."""
    return principal is not None and principal.organizer_id == organizer_id and _may(principal, permission)


def require(
    principal: Principal | None,
    permission: Permission,
    organizer_id: OrganizerId,
    *,
    missing: type[Refusal] = NotFound,
) -> Principal:
    """The principal, who may do that with this organizer's things.

    Raises Unauthenticated for nobody; `missing` for a member of another organizer, who must hear the same as if there
    were no such thing (so give the refusal that an unknown id gets); Forbidden for a role without the permission.
    """
    if principal is None:
        raise Unauthenticated
    if principal.organizer_id != organizer_id:
        raise missing
    _require_right(principal, permission)
    return principal


def _may(principal: Principal, permission: Permission) -> bool:
    if principal.scopes is not None:
        return permission in principal.scopes
    return principal.role in PERMISSIONS[permission]


def _require_right(principal: Principal, permission: Permission) -> None:
    if not _may(principal, permission):
        whose = "This API key" if principal.role is None else f"The role {principal.role}"
        raise Forbidden(f"{whose} does not have the permission {permission}.")


def bearer(headers: Mapping[bytes, bytes]) -> str | None:
    """The text of `Authorization: Bearer ...`, None without the header. Raises Unauthenticated for any other form."""
    value = headers.get(b"authorization")
    if value is None:
        return None
    found = _BEARER.fullmatch(value)
    if found is None:
        raise Unauthenticated("The Authorization header should be: Bearer, a space, and the token.")
    return found[1].decode("ascii")


class Access:
    """Tells who is asking; holds the keys and the threads that this takes. Close it when done."""

    def __init__(self, secrets: Secrets, *, token_seconds: int) -> None:
        self.tokens = Tokens(secrets, token_seconds=token_seconds)
        self.passwords = Passwords()

    def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        """The person whose access token the headers carry; None without one, and for what is no token at all.

        Raises Unauthenticated for a token that is expired, forged or broken.
        """
        return self._caller(headers).principal

    async def authorize(self, call: Call[Any], who: Who) -> Principal | Caller | None:
        """What `call.caller` is to be on a route for `who`.

        Raises Unauthenticated for nobody where somebody is needed, and for a bad token on any route that reads tokens;
        Forbidden for a role that lacks the permission anywhere.
        """
        if who is ANYONE:
            return None
        caller = self._caller(call.headers)
        principal = caller.principal
        match who:
            case Visitor():
                return principal
            case Buyer(permission=permission):
                if principal is not None:
                    _require_right(principal, permission)
                return caller
            case Staff(permission=permission):
                if principal is None:
                    raise Unauthenticated("This needs the access token of a member of staff.")
                if permission is not None:
                    _require_right(principal, permission)
                return principal
        raise AssertionError(f"nobody has said what a route for {who.name} asks")

    def _caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        text = bearer(headers)
        if text is None:
            return Caller(None, None)
        # Secrets of bookings and keys of machines have no dots.
        if text.count(".") != _JWT_DOTS:
            return Caller(None, text)
        return Caller(self.tokens.read(text), None)

    def close(self) -> None:
        """Lets go of the threads."""
        self.passwords.close()
