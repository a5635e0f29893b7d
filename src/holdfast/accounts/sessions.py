"""Sessions: a person on one device, signed in to one organizer until it ends.

A session of the console is an opaque cookie. A session of a program is a chain of refresh tokens, each good for one
renewal, and short-lived access tokens beside it. Both are rows, so they can be listed and ended; only hashes are kept.

An access token is verified without asking the database. What ends it early is the set of sessions that ended lately,
which every process reads again each ENDED_SECONDS, or sooner when it is hinted at.
"""

import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

from holdfast.accounts.audit import network_of
from holdfast.accounts.tokens import VERIFIED_MAX, VERIFIED_SECONDS, Principal, Tokens
from holdfast.platform import broadcast
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import NotFound, Refusal
from holdfast.platform.ids import OrganizerId, PersonId, new_id
from holdfast.platform.settings import Settings

Kind = Literal["console", "api"]

ENDED_TOPIC = "sessions.ended"
ENDED_SECONDS = 2.0
# A session more, and the one used least lately ends.
SESSIONS_MAX = 100
SECRET_BYTES = 32
FAMILY_BYTES = 16
# For this long the token before is renewed once more, since its answer may have been lost on the way.
GRACE_SECONDS = 10
# What may be believed at once after answers were lost; the table has the same bound.
SIBLINGS_MAX = 4
# The last use of a session is noted no more often than this.
NOTED_SECONDS = 60
DEVICE_LENGTH_MAX = 200
PRUNED_AT_ONCE = 1000
# Sessions that ended stay so long: they tell from which networks a person signs in.
KEPT_SECONDS = 90 * 86_400

# Browsers take a cookie with this prefix from https alone, for this very host and every path (RFC 6265bis, 4.1.3.2).
SECURE_COOKIE = "__Host-holdfast"
# For plain http on this machine, where some of them take no secure cookie.
PLAIN_COOKIE = "holdfast"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

sql = load_queries(__file__, "sessions.sql")


class CrossSite(Refusal):
    """A page of another site cannot act with the cookie of whoever looks at it."""

    code = "cross_site"
    status = 403
    title = "This request comes from another site."


class SessionNotFound(NotFound):
    code = "session_not_found"
    title = "You have no such session."


class RefreshRefused(Refusal):
    """The refresh token is unknown, used up, expired or revoked, and one answer is given to all of these."""

    code = "refresh_refused"
    status = 401
    title = "This refresh token is not good any more. Sign in again."


@dataclass(frozen=True, slots=True)
class Device:
    """Where somebody signs in: the whole address, for limits, and what the browser says of itself."""

    address: str
    text: str = ""

    @property
    def network(self) -> str:
        """The network of the address, as the audit has it: which house, not whose desk; empty where there is none."""
        return str(network_of(self.address) or "")


@dataclass(frozen=True, slots=True)
class SessionShown:
    """A session as its person sees it."""

    session_id: UUID
    organizer_id: OrganizerId
    organizer_name: str
    kind: Kind
    device: str
    address: str
    created_at: datetime
    used_at: datetime


@dataclass(frozen=True, slots=True)
class Opened:
    """A session, and the secret that is told once; it lasts `seconds_max` at most."""

    principal: Principal
    secret: str
    seconds_max: int


async def open_session(
    tx: Transaction, settings: Settings, principal: Principal, kind: Kind, device: Device, *, strong: bool
) -> Opened:
    """A session for this person in this organizer; beyond SESSIONS_MAX the one used least lately ends.

    `strong`: more than a password was shown. Where an organizer asks for that, other sessions are worth nothing.
    """
    session_id = new_id()
    family = secrets.token_bytes(FAMILY_BYTES) if kind == "api" else b""
    secret = secrets.token_bytes(SECRET_BYTES)
    await tx.execute(
        sql.add_session,
        session_id,
        principal.person_id,
        principal.organizer_id,
        kind,
        _hash(family) if family else None,
        _hash(secret),
        _printable(device.text),
        device.network,
        settings.session_seconds,
        strong,
    )
    if await tx.execute(sql.end_sessions_over, principal.person_id, SESSIONS_MAX):
        _hint(tx)
    acting = Principal(
        principal.person_id, principal.organizer_id, principal.role, session_id, principal.admin
    )
    return Opened(acting, _text(family + secret), settings.session_seconds)


async def renew(db: Database, settings: Settings, refresh_token: str) -> Opened:
    """A new secret in place of this one, for the person in their present role. Raises RefreshRefused.

    One that was renewed before ends the whole session, since of two who hold it one is a thief (RFC 9700, 4.14.2);
    but within GRACE_SECONDS the one renewed last is renewed again, because then more likely its answer was lost. Those
    who are given a token so share the session, and the first that is used ends the others.
    """
    raw = _bytes(refresh_token, FAMILY_BYTES + SECRET_BYTES)
    family, shown = _hash(raw[:FAMILY_BYTES]), _hash(raw[FAMILY_BYTES:])
    secret = secrets.token_bytes(SECRET_BYTES)
    async with db.transaction() as tx:
        row = await tx.row(sql.session_by_family, family, GRACE_SECONDS, settings.refresh_idle_seconds)
        if row is None:
            raise RefreshRefused
        session_id, live = row["session_id"], row["live"]
        if not live:
            pass
        elif shown in row["secret_hashes"]:
            await tx.execute(sql.session_renewed, session_id, shown, _hash(secret))
        elif (
            shown == row["previous_hash"] and row["just_renewed"] and len(row["secret_hashes"]) < SIBLINGS_MAX
        ):
            await tx.execute(sql.session_renewed_again, session_id, _hash(secret))
        else:
            live = False
            await end(tx, PersonId(row["person_id"]), session_id)
    if not live:
        # Raised after the commit: the end of the session has to last.
        raise RefreshRefused
    principal = Principal(
        PersonId(row["person_id"]), OrganizerId(row["organizer_id"]), row["role"], session_id, row["admin"]
    )
    return Opened(principal, _text(raw[:FAMILY_BYTES] + secret), settings.session_seconds)


async def revoke(db: Database, settings: Settings, refresh_token: str) -> None:
    """Ends the session of a refresh token; a token that is none, or no longer, is no fault (RFC 7009, section 2.2)."""
    try:
        raw = _bytes(refresh_token, FAMILY_BYTES + SECRET_BYTES)
    except RefreshRefused:
        return
    async with db.transaction() as tx:
        row = await tx.row(
            sql.session_by_family, _hash(raw[:FAMILY_BYTES]), GRACE_SECONDS, settings.refresh_idle_seconds
        )
        if row is not None:
            await end(tx, PersonId(row["person_id"]), row["session_id"])


async def end(tx: Transaction, person_id: PersonId, session_id: UUID) -> None:
    """Ends one session of this person. Raises SessionNotFound for another's, and for one that has ended."""
    if not await tx.execute(sql.end_session, session_id, person_id):
        raise SessionNotFound
    _hint(tx)


async def end_all(tx: Transaction, person_id: PersonId, *, but: UUID | None = None) -> int:
    """Ends every session of this person, but one if told; says how many."""
    ended = await tx.execute(sql.end_sessions, person_id, but)
    _hint(tx)
    return ended


async def end_of_member(tx: Transaction, organizer_id: OrganizerId, person_id: PersonId) -> None:
    """Ends the sessions of this person in this organizer."""
    await tx.execute(sql.end_sessions_of_member, organizer_id, person_id)
    _hint(tx)


async def live(db: Database, settings: Settings, person_id: PersonId) -> list[SessionShown]:
    """Where this person is signed in, the latest use first; at most SESSIONS_MAX."""
    rows = await db.rows(
        sql.live_sessions, person_id, settings.session_idle_seconds, settings.refresh_idle_seconds
    )
    return [SessionShown(**row) for row in rows]


async def prune_sessions(db: Database, settings: Settings) -> int:
    """Forgets sessions KEPT_SECONDS after their end, PRUNED_AT_ONCE in a transaction; says how many. Raises Busy."""
    pruned = 0
    while True:
        gone = await db.execute(sql.sessions_pruned, settings.token_seconds + KEPT_SECONDS, PRUNED_AT_ONCE)
        pruned += gone
        if gone < PRUNED_AT_ONCE:
            return pruned


async def signed_in_from(db: Database, email: str, device: Device) -> bool:
    """Whether the person with this address signed in from this network within the last 90 days."""
    return bool(await db.value(sql.signed_in_from, email, device.network, KEPT_SECONDS))


class Sessions:
    """Tells whose cookie it is, and which sessions have ended; one in each process that serves."""

    def __init__(self, db: Database, settings: Settings, tokens: Tokens) -> None:
        self._db = db
        self._idle = settings.session_idle_seconds
        self._token_seconds = settings.token_seconds
        self._tokens = tokens
        self._known: dict[bytes, tuple[Principal, float]] = {}
        # Sites that the operator lets call with credentials, and where people find us, whatever a proxy makes of the Host.
        names = [settings.address, *settings.cors_origins.split(",")]
        self._origins = {name.strip().lower().encode() for name in names if name.strip()}
        self.cookie_name = SECURE_COOKIE if is_secure(settings) else PLAIN_COOKIE
        self._attributes = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if is_secure(settings) else "")

    async def principal(self, cookie: str) -> Principal | None:
        """Whose cookie this is; None for one that is none, has expired or was ended. Asks the database every 10 s.

        A session that ended elsewhere is out within VERIFIED_SECONDS, and mostly within ENDED_SECONDS.
        """
        try:
            key = _hash(_bytes(cookie, SECRET_BYTES))
        except RefreshRefused:
            return None
        now = time.monotonic()
        found = self._known.get(key)
        if found is None or now >= found[1]:
            self._known.pop(key, None)
            row = await self._db.row(sql.session_by_cookie, key, self._idle, NOTED_SECONDS)
            if row is None or row["seconds_left"] <= 0:
                return None
            found = self._remember(key, row, now)
            if row["unseen"]:
                await self._db.execute(sql.session_used, row["session_id"])
        principal = found[0]
        return None if principal.session_id in self._tokens.ended else principal

    def _remember(self, key: bytes, row: Record, now: float) -> tuple[Principal, float]:
        principal = Principal(
            PersonId(row["person_id"]),
            OrganizerId(row["organizer_id"]),
            row["role"],
            row["session_id"],
            row["admin"],
        )
        if len(self._known) >= VERIFIED_MAX:
            # The oldest goes. Only cookies that we gave get in, so a stranger cannot push others out.
            del self._known[next(iter(self._known))]
        found = (principal, now + min(VERIFIED_SECONDS, row["seconds_left"]))
        self._known[key] = found
        return found

    def cookie(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The session's cookie as the headers carry it; None without one, or with two that differ."""
        return cookie_value(headers, self.cookie_name)

    def set_cookie(self, opened: Opened) -> str:
        """The `Set-Cookie` that signs in."""
        return f"{self.cookie_name}={opened.secret}{self._attributes}; Max-Age={opened.seconds_max}"

    def clear_cookie(self) -> str:
        """The `Set-Cookie` that signs out."""
        return f"{self.cookie_name}={self._attributes}; Max-Age=0"

    def passing_cookie(self, value: str, seconds: int) -> bytes:
        """The `Set-Cookie` of what is to come back from another provider within so many seconds; 0 takes it back."""
        return f"{self.cookie_name}-oidc={value}{self._attributes}; Max-Age={seconds}".encode("ascii")

    def passed(self, headers: Mapping[bytes, bytes]) -> str | None:
        """What came back; None if nothing did."""
        return cookie_value(headers, f"{self.cookie_name}-oidc")

    def refuse_cross_site(self, headers: Mapping[bytes, bytes], *, strict: bool = True) -> None:
        """Raises CrossSite unless a browser says that the request comes from our own pages.

        For every request with an unsafe method that is believed for its cookie. Without `strict` whoever says nothing
        passes: for signing in, where no cookie is believed yet, and programs have no origin.
        """
        site = headers.get(b"sec-fetch-site")
        origin = headers.get(b"origin")
        if site == b"same-origin" or origin in self._origins:
            return
        if site is None and origin is None:
            fine = not strict
        else:
            # The host that the browser asked: no page can make it send another.
            fine = site is None and origin is not None and origin.partition(b"://")[2] == headers.get(b"host")
        if not fine:
            raise CrossSite

    async def look(self) -> None:
        """Reads which sessions ended while tokens of theirs may still be about. Raises Busy."""
        rows = await self._db.rows(sql.ended_lately, self._token_seconds)
        self._tokens.ended = frozenset(row["session_id"] for row in rows)


def is_secure(settings: Settings) -> bool:
    """Whether cookies go over https alone: everywhere but on plain http on this very machine."""
    parts = urlsplit(settings.address)
    return not (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def cookie_value(headers: Mapping[bytes, bytes], name: str) -> str | None:
    """The value of a cookie; None without one, or with two that differ, of which one was planted."""
    start = name.encode() + b"="
    lines = headers.get(b"cookie", b"").replace(b", ", b"; ").split(b";")
    values = {line.strip()[len(start) :] for line in lines if line.strip().startswith(start)}
    return values.pop().decode("latin-1") if len(values) == 1 else None


def _hash(raw: bytes) -> bytes:
    return sha256(raw).digest()


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str, length: int) -> bytes:
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raw = b""
    # Only the one form that we gave: base64 has several texts for the same bytes.
    if len(raw) != length or _text(raw) != text:
        raise RefreshRefused
    return raw


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:DEVICE_LENGTH_MAX]


def _hint(tx: Transaction) -> None:
    tx.after_commit(partial(broadcast.hint, ENDED_TOPIC))
