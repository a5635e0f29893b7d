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
from typing import Any, Literal, Protocol

from holdfast.accounts.customer_tokens import CustomerTokens
from holdfast.accounts.passwords import Passwords
from holdfast.accounts.tokens import Principal, Role, Tokens
from holdfast.platform.calls import Call
from holdfast.platform.errors import Forbidden, NotFound, Refusal, Unauthenticated
from holdfast.platform.ids import CustomerId, OrganizerId
from holdfast.platform.routing import ANYONE, Who
from holdfast.platform.secret import Secrets

Permission = Literal[
    "shows.write",
    "shows.read_all",
    "venues.read",
    "venues.write",
    "blocks.write",
    "codes.write",
    "bookings.read",
    "bookings.write",
    "bookings.refund",
    "members.read",
    "members.write",
    "keys.read",
    "keys.write",
    "audit.read",
    "door.scan",
    "door.write",
    "privacy.write",
    "organizer.write",
    "organizers.read",
    "organizers.write",
    "jobs.read",
    "jobs.write",
    "webhooks.read",
    "webhooks.write",
    "facts.read",
    "analytics.read",
    "invoices.read",
]
Holder = Role | Literal["admin"]

_OWNS: frozenset[Holder] = frozenset({"owner"})
_RUNS_THE_SHOWS: frozenset[Holder] = _OWNS | {"manager"}
_SELLS: frozenset[Holder] = _RUNS_THE_SHOWS | {"box_office"}
_WORKS_HERE: frozenset[Holder] = _SELLS | {"door", "viewer"}
_LOOKS_AFTER_THE_INSTALLATION: frozenset[Holder] = frozenset({"admin"})

# Who is not named may not. A role holds within its own organizer; an admin looks after the installation, and has of
# organizers' things what their own role gives them.
PERMISSIONS: dict[Permission, frozenset[Holder]] = {
    # Shows, their series and their pictures.
    "shows.write": _RUNS_THE_SHOWS,
    # Drafts and other shows that are not public yet.
    "shows.read_all": _WORKS_HERE,
    "venues.read": _WORKS_HERE,
    "venues.write": _RUNS_THE_SHOWS,
    "blocks.write": _SELLS,
    # Promotion codes: read them, too, for who knows one pays less.
    "codes.write": _RUNS_THE_SHOWS,
    # Bookings carry names and addresses, so the door does not read them.
    "bookings.read": _SELLS | {"viewer"},
    # Confirm what was paid elsewhere, and cancel.
    "bookings.write": _SELLS,
    # Give money back, and so cancel what was paid for.
    "bookings.refund": _RUNS_THE_SHOWS,
    "members.read": _RUNS_THE_SHOWS,
    # Nobody gives or takes a role that is beyond their own reach; see people.py.
    "members.write": _RUNS_THE_SHOWS,
    "keys.read": _RUNS_THE_SHOWS,
    "keys.write": _OWNS,
    "audit.read": _OWNS,
    # Scan tickets, look for people by name, and undo; the door sees names, and neither addresses nor prices.
    "door.scan": _SELLS | {"door"},
    # Lists and gates.
    "door.write": _RUNS_THE_SHOWS,
    # Give buyers what is known of them, and forget them, which nobody can take back.
    "privacy.write": _OWNS,
    # The organizer's own name and rules.
    "organizer.write": _OWNS,
    "organizers.read": _LOOKS_AFTER_THE_INSTALLATION,
    "organizers.write": _LOOKS_AFTER_THE_INSTALLATION,
    # Jobs carry what every organizer's followers do.
    "jobs.read": _LOOKS_AFTER_THE_INSTALLATION,
    "jobs.write": _LOOKS_AFTER_THE_INSTALLATION,
    # Addresses that facts are sent to may carry secrets of the receiver.
    "webhooks.read": _RUNS_THE_SHOWS,
    "webhooks.write": _RUNS_THE_SHOWS,
    # Ids and amounts of every sale.
    "facts.read": _RUNS_THE_SHOWS | {"viewer"},
    "analytics.read": _RUNS_THE_SHOWS | {"viewer"},
    "invoices.read": _RUNS_THE_SHOWS | {"viewer"},
}

# What no organizer's role gives.
INSTALLATION: frozenset[Permission] = frozenset(
    permission for permission, holders in PERMISSIONS.items() if holders == _LOOKS_AFTER_THE_INSTALLATION
)
# What an API key may be given. A key that could let people in, or make keys, would outlive its own end.
GRANTABLE: frozenset[Permission] = (
    frozenset(PERMISSIONS) - INSTALLATION - {"members.write", "keys.write", "organizer.write"}
)

# For the OpenAPI document: the names that `Who.security` uses.
SECURITY_SCHEMES: dict[str, dict[str, Any]] = {
    "staff": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token from `POST /v1/auth/token`, or an API key from `POST /v1/keys`.",
    },
    "booking": {
        "type": "http",
        "scheme": "bearer",
        "description": "The `secret` of the booking, as the answer to its claim gave it.",
    },
    "customer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A customer's access token from `POST /v1/customers/session`.",
    },
}

# RFC 6750, section 2.1; schemes are case-insensitive (RFC 9110, section 11.1).
_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")
_JWT_DOTS = 2
# An API key: two letters, eight to be shown, 43 that are secret. Its length tells it from a booking's secret, which may
# begin with the same letters.
KEY_START = "hf_"
KEY_LENGTH = 55
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class OrganizerSuspended(Forbidden):
    """An admin has shut the organizer out: nobody of it gets in, by whatever they show."""

    code = "organizer_suspended"
    title = "This organizer is suspended. Ask whoever runs the installation."


class KeyReader(Protocol):
    """What tells whose key a text is; see keys.py."""

    async def principal(self, text: str, address: str) -> Principal: ...


class CookieReader(Protocol):
    """What tells whose session a cookie is; see sessions.py."""

    def cookie(self, headers: Mapping[bytes, bytes]) -> str | None: ...

    async def principal(self, cookie: str) -> Principal | None: ...

    def refuse_cross_site(self, headers: Mapping[bytes, bytes]) -> None: ...


@dataclass(frozen=True)
class Staff(Who):
    """Whoever has this permission; without one, any person who has signed in. The handler gets a Principal.

    No API key gets where no permission is asked: those are the routes on which people look after themselves.
    """

    permission: Permission | None = None
    name: str = field(default="staff", init=False)
    security: tuple[str, ...] = field(default=("staff",), init=False)


@dataclass(frozen=True)
class Buyer(Who):
    """Who holds the booking's secret, the customer whose it is, or people with this permission.

    The handler gets a Caller and must ask it.
    """

    permission: Permission
    name: str = field(default="buyer", init=False)
    security: tuple[str, ...] = field(default=("booking", "customer", "staff"), init=False)


@dataclass(frozen=True)
class Visitor(Who):
    """Anyone; who has signed in may see more. The handler gets a Principal or None."""

    name: str = field(default="visitor", init=False)
    security: tuple[str, ...] = field(default=("", "staff"), init=False)


@dataclass(frozen=True)
class Claimant(Who):
    """Anyone; a customer who has signed in gets what they claim under their account. The handler gets a Caller."""

    name: str = field(default="claimant", init=False)
    security: tuple[str, ...] = field(default=("", "customer", "staff"), init=False)


@dataclass(frozen=True)
class SignedInCustomer(Who):
    """Customers who have signed in, and no staff. The handler gets a Caller with a `customer_id`."""

    name: str = field(default="customer", init=False)
    security: tuple[str, ...] = field(default=("customer",), init=False)


VISITOR = Visitor()
CLAIMANT = Claimant()
CUSTOMER = SignedInCustomer()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who came to a route for buyers: at most one of the three is set, and none has been held against a booking."""

    principal: Principal | None
    # Whatever stood in the header that is neither access token nor API key; compare it by Secrets.verify.
    secret: str | None
    # By a token that is good; the account may have been erased since.
    customer_id: CustomerId | None = None


_NOBODY = Caller(None, None)


def permits(principal: Principal | None, permission: Permission, organizer_id: OrganizerId) -> bool:
    """Whether this person or key may do that with things of this organizer."""
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


def is_of_installation(who: Who) -> bool:
    """Whether a route is about all organizers, and not about the caller's own."""
    return isinstance(who, Staff) and who.permission in INSTALLATION


def permissions_of(principal: Principal) -> list[Permission]:
    """Everything that this person or key may do, in the order of the table."""
    return [permission for permission in PERMISSIONS if _may(principal, permission)]


def _may(principal: Principal, permission: Permission) -> bool:
    if principal.scopes is not None:
        return permission in principal.scopes
    holders = PERMISSIONS[permission]
    return principal.role in holders or (principal.admin and "admin" in holders)


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
    """Tells who is asking; holds the keys and the threads that this takes. Close it when done.

    `keys` and `sessions` read what is no access token, and `suspended` has the organizers that are shut out; whoever
    opens the parts of the process sets them. Without one of them, nobody comes that way.
    """

    def __init__(self, secrets: Secrets, *, token_seconds: int) -> None:
        self.tokens = Tokens(secrets, token_seconds=token_seconds)
        self.customers = CustomerTokens(secrets)
        self.passwords = Passwords()
        self.keys: KeyReader | None = None
        self.sessions: CookieReader | None = None
        self.suspended: frozenset[OrganizerId] = frozenset()

    async def authorize(self, call: Call[Any], who: Who) -> Principal | Caller | None:
        """What `call.caller` is to be on a route for `who`.

        Raises Unauthenticated for nobody where somebody is needed, and for a bad token or key on any route that reads
        them; Forbidden for a role or a key that lacks the permission anywhere; OrganizerSuspended; Busy.
        """
        if who is ANYONE:
            return None
        caller = await self._caller(call)
        principal = caller.principal
        if principal is not None and principal.organizer_id in self.suspended:
            raise OrganizerSuspended
        match who:
            case Visitor():
                return principal
            case Claimant():
                return caller
            case SignedInCustomer():
                if caller.customer_id is None:
                    raise Unauthenticated("This needs the access token of a customer.")
                return caller
            case Buyer(permission=permission):
                if principal is not None:
                    _require_right(principal, permission)
                return caller
            case Staff(permission=permission):
                if principal is None:
                    raise Unauthenticated("This needs the access token of a member of staff, or an API key.")
                if permission is not None:
                    _require_right(principal, permission)
                elif principal.person_id is None:
                    raise Forbidden("This is for people; an API key will not do.")
                return principal
        raise AssertionError(f"nobody has said what a route for {who.name} asks")

    async def _caller(self, call: Call[Any]) -> Caller:
        # A header that was set on purpose counts more than a cookie, which browsers send unasked.
        headers = call.headers
        text = bearer(headers)
        if text is None:
            return _NOBODY if b"cookie" not in headers else Caller(await self._by_cookie(call), None)
        if len(text) == KEY_LENGTH and text.startswith(KEY_START) and self.keys is not None:
            return Caller(await self.keys.principal(text, call.client_ip), None)
        # Secrets of bookings have no dots.
        if text.count(".") != _JWT_DOTS:
            return Caller(None, text)
        if self.customers.made(text):
            return Caller(None, None, self.customers.read(text))
        return Caller(self.tokens.read(text), None)

    async def _by_cookie(self, call: Call[Any]) -> Principal | None:
        sessions = self.sessions
        cookie = None if sessions is None else sessions.cookie(call.headers)
        if sessions is None or cookie is None:
            return None
        principal = await sessions.principal(cookie)
        if principal is not None and call.method not in _SAFE_METHODS:
            sessions.refuse_cross_site(call.headers)
        return principal

    def close(self) -> None:
        """Lets go of the threads."""
        self.passwords.close()
