"""What was done and by whom: an entry for every change by staff, and for what buyers change of their bookings.

An entry is written in the transaction of its change, so that there is never one without the other, and nobody can change
or remove it but the owner of the tables. It holds ids, amounts and times, never a name or an address: erasing a person
must not rewrite history. What the engine does by itself (claims, sweeps) leaves none.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Literal
from uuid import UUID

from holdfast.accounts.tokens import Principal
from holdfast.platform.calls import Call
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.ids import OrganizerId, ShowId, new_id

# So much of an address is kept: what an organization has, and no household (RFC 6177, section 2, gives a site a /48).
IPV4_BITS = 24
IPV6_BITS = 48
# Exports read so many entries by a statement, so that none sees the database as it was long ago.
EXPORT_PAGE = 500

# Ids say when they were made by this machine's clock, and `at` is the database's. They are never further apart.
_CLOCKS_APART = timedelta(days=1)
_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What statuses, permissions, times and names of fields are written in, and no sentence or address is.
_TOKEN = re.compile(r"[\w.:+/-]{1,64}", re.ASCII)

sql = load_queries(__file__, "audit.sql")

ActorKind = Literal["person", "key", "buyer", "nobody"]
Network = IPv4Network | IPv6Network
# `partial(audit, tx, call, "thing.done", organizer_id=...)`, for an operation that alone can say `before` and `after`.
Note = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was done. `before` and `after` hold what it changed; `address` is the network it came from."""

    entry_id: UUID
    at: datetime
    actor_kind: ActorKind
    actor_id: UUID | None
    action: str
    show_id: ShowId | None
    subject_id: UUID | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    address: Network | None
    request_id: str


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries a list holds: all where nothing is set. `since` is included, `until` is not."""

    actor: UUID | None = None
    action: str | None = None
    show_id: ShowId | None = None
    subject: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


async def audit(
    tx: Transaction,
    call: Call[Any],
    action: str,
    *,
    organizer_id: OrganizerId,
    subject: UUID | None = None,
    show_id: ShowId | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Writes down, in the transaction of the change, who did what to which of the organizer's things.

    `action` is `thing.done` (`show.edited`). `before` and `after` take ids, amounts, times and names of fields, no text
    that somebody wrote: it is an assertion that nothing in them has a space or an @.
    """
    assert _is_told(before) and _is_told(after), f"{action}: an entry holds no texts: {before} {after}"
    kind, actor_id = _actor(call)
    await tx.execute(
        sql.add_entry, organizer_id, new_id(), kind, actor_id, action, show_id, subject, before, after,
        network_of(call.client_ip), call.request_id,
    )  # fmt: skip


async def entries(
    db: Database, organizer_id: OrganizerId, wanted: EntryFilter, before: UUID | None, limit: int
) -> list[Entry]:
    """Up to `limit` entries older than the entry `before`, newest first."""
    since, until = _id_at(wanted.since, -_CLOCKS_APART, _FIRST), _id_at(wanted.until, _CLOCKS_APART, _LAST)
    rows = await db.rows(
        sql.entries, organizer_id, since, min(until, before or _LAST), wanted.actor, wanted.action, wanted.show_id,
        wanted.subject, wanted.since, wanted.until, limit,
    )  # fmt: skip
    return [_entry(row) for row in rows]


async def all_entries(db: Database, organizer_id: OrganizerId, wanted: EntryFilter) -> AsyncIterator[Entry]:
    """Every entry, newest first, read in short pieces."""
    before: UUID | None = None
    while page := await entries(db, organizer_id, wanted, before, EXPORT_PAGE):
        for entry in page:
            yield entry
        before = page[-1].entry_id


def network_of(address: str) -> Network | None:
    """The network that an address is in, of 24 bits (IPv4) or 48 (IPv6); None for what is no address."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return ip_network((parsed, IPV4_BITS if parsed.version == 4 else IPV6_BITS), strict=False)


def _actor(call: Call[Any]) -> tuple[ActorKind, UUID | None]:
    principal: Principal | None = getattr(call.caller, "principal", call.caller)
    if principal is None:
        # The secret itself would be the right to the booking, so the booking stands for whoever holds it, and for the
        # customer whose it is.
        booking_id = call.path.get("booking_id")
        if booking_id and (getattr(call.caller, "secret", None) or getattr(call.caller, "customer_id", None)):
            return "buyer", booking_id
        return "nobody", None
    if principal.person_id is None:
        return "key", principal.key_id
    return "person", principal.person_id


def _is_told(value: Any) -> bool:
    match value:
        case str():
            return _TOKEN.fullmatch(value) is not None
        case dict():
            return all(_is_told(key) and _is_told(each) for key, each in value.items())
        case list() | tuple():
            return all(map(_is_told, value))
        case _:
            return value is None or isinstance(value, bool | int | UUID | datetime)


def _id_at(moment: datetime | None, further: timedelta, otherwise: UUID) -> UUID:
    """An id as it was made so much after the moment (RFC 9562, section 5.7: it begins with 48 bits of milliseconds)."""
    if moment is None:
        return otherwise
    milliseconds = (moment - _EPOCH + further) // _MILLISECOND
    return UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)


def _entry(row: Record) -> Entry:
    return Entry(**{name: row[name] for name in Entry.__dataclass_fields__})
