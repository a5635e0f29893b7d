"""The door of a show: scans of tickets, who is looked for, and what a device takes along that will be offline.

Joins what tickets know (codes, lists, who is in) with what was booked. One call of the database decides a scan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from holdfast import tickets
from holdfast.booking.lifecycle import BookingNotFound
from holdfast.booking.office import Office
from holdfast.platform.db import Contention, Database, Record, Transaction, load_queries
from holdfast.platform.errors import Busy, Conflict, Invalid
from holdfast.platform.ids import BookingId, OrganizerId, ShowId
from holdfast.tickets import (
    Admission,
    BadCode,
    Changed,
    Codes,
    Direction,
    GateId,
    GateNotFound,
    Passed,
    Scan,
    ScanNotFound,
)

sql = load_queries(__file__, "door.sql")

# So many tickets of one booking are let in, or shown, at once.
TICKETS_AT_ONCE = 100
# Counts are looked up so often, and what was sold so often, however many ask.
PASSED_SECONDS = 1.0
SOLD_SECONDS = 10.0
_TRIES = 5


class ReferenceTwice(Conflict):
    """References are short, so two bookings of a show may share one: choose by name."""

    code = "reference_twice"
    title = "Two bookings of this show have this reference."


@dataclass(frozen=True, slots=True)
class Showing:
    """A ticket that is shown: by its code (then with a `serial`) or by name. `refused` is what the code already says
    against it; `scanned_at` is when a device let somebody through that was offline, None when this is to be decided.
    """

    scan_id: UUID
    booking_id: BookingId | None
    number: int | None
    serial: int | None = None
    refused: str | None = None
    direction: Direction = "in"
    gate_id: GateId | None = None
    scanned_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A scan with what people read of it. `seat` is an ordinal; all is None where no booking was found."""

    scan: Scan
    gate_name: str | None
    first_gate_name: str | None
    reference: str | None
    holder: str | None
    area: int | None
    tier: int | None
    seat: int | None


@dataclass(frozen=True, slots=True)
class AtDoor:
    """A sold booking as the door sees it: without address and price. The arrays run in parallel by number, from 1."""

    booking_id: BookingId
    reference: str
    name: str | None
    status: str
    quantity: int
    areas: Sequence[int]
    seats: Sequence[int]
    tiers: Sequence[int]
    changed: dict[int, Changed]
    admissions: dict[int, Admission]


@dataclass(frozen=True, slots=True)
class DoorCounts:
    """How many passed each gate by each list, how many tickets of each (area, tier) admit, and what is to be looked at."""

    passed: list[Passed]
    to_come: dict[tuple[int, int], int]
    conflicts: int


def shown_by_code(codes: Codes, show_id: ShowId, text: str) -> dict[str, Any]:
    """What a code says, as fields of a Showing; one that is none of ours, or of another show, is refused already."""
    try:
        coded = codes.read(text.strip())
    except BadCode:
        return {"booking_id": None, "number": None, "refused": "bad_code"}
    if coded.show_id != show_id:
        return {"booking_id": None, "number": None, "refused": "wrong_show"}
    return {"booking_id": coded.booking_id, "number": coded.number, "serial": coded.serial}


async def referred(db: Database, show_id: ShowId, reference: str) -> BookingId:
    """The sold booking with this reference. Raises BookingNotFound and ReferenceTwice."""
    rows = await db.rows(sql.bookings_referred, show_id, reference.strip().upper())
    if not rows:
        raise BookingNotFound
    if len(rows) > 1:
        raise ReferenceTwice
    return BookingId(rows[0]["booking_id"])


async def scan(
    db: Database, show_id: ShowId, organizer_id: OrganizerId, showings: Sequence[Showing], by: UUID | None
) -> list[Told]:
    """Decides these scans of a show and keeps them, in one call and one transaction; what became of each, in their order.

    One that was kept under its id before is told again, and nothing is done. Raises GateNotFound for a gate that is not
    there, where no device has decided already.
    """
    columns = (
        "scan_id", "booking_id", "number", "serial", "refused", "direction", "gate_id", "scanned_at",
    )  # fmt: skip
    arrays = [[getattr(each, name) for each in showings] for name in columns]
    for _ in range(_TRIES):
        try:
            rows = await db.rows(sql.scan_many, show_id, organizer_id, by, *arrays)
            break
        except Contention:
            # The same ids came in at the same time: they are found the next time.
            continue
    else:
        raise Busy
    found = {each.scan.scan_id: each for each in map(_told, rows)}
    if any(each.scan.reason == NO_GATE for each in found.values()):
        raise GateNotFound
    return [found[each.scan_id] for each in showings]


# What scan_ticket says, and keeps nothing, where the gate is not there.
NO_GATE: Any = "no_gate"


async def admit(
    db: Database,
    show_id: ShowId,
    organizer_id: OrganizerId,
    booking_id: BookingId,
    numbers: Sequence[int] | None,
    group_id: UUID,
    gate_id: GateId | None,
    by: UUID | None,
) -> list[Told]:
    """Lets a group in: these tickets of a booking, or all that are not in. What became of each, by number.

    Each is a scan, whose id follows from `group_id`, so the same again is told again. Raises BookingNotFound, GateNotFound,
    and Invalid for all of more than TICKETS_AT_ONCE.
    """
    bookings = await at_door(db, show_id, [booking_id])
    if not bookings:
        raise BookingNotFound
    found = bookings[0]
    if numbers is None:
        if found.quantity > TICKETS_AT_ONCE:
            raise Invalid(f"Say which: at most {TICKETS_AT_ONCE} are let in at once.", pointer="/numbers")
        every = {uuid5(group_id, str(number)): number for number in range(1, found.quantity + 1)}
        before = await _by_ids(db, show_id, list(every))
        inside = {number for number, each in found.admissions.items() if each.inside}
        numbers = [every[each.scan.scan_id] for each in before] or sorted(set(every.values()) - inside)
    showings = [
        Showing(uuid5(group_id, str(number)), booking_id, number, gate_id=gate_id)
        for number in sorted(set(numbers))
    ]
    return await scan(db, show_id, organizer_id, showings, by) if showings else []


async def told_by_id(db: Database | Transaction, show_id: ShowId, scan_id: UUID) -> Told:
    """A scan. Raises ScanNotFound."""
    found = await _by_ids(db, show_id, [scan_id])
    if not found:
        raise ScanNotFound
    return found[0]


async def last_scans(
    db: Database, show_id: ShowId, before: tuple[datetime, UUID], gate_id: GateId | None, limit: int
) -> list[Told]:
    """Up to `limit` scans, the last received first."""
    return [_told(row) for row in await db.rows(sql.scans_last, show_id, *before, gate_id, limit)]


async def conflicts(db: Database, show_id: ShowId, after: tuple[datetime, UUID], limit: int) -> list[Told]:
    """Up to `limit` scans by which somebody went who should not have, and that nobody has acknowledged."""
    return [_told(row) for row in await db.rows(sql.conflicts_open, show_id, *after, limit)]


async def sought(db: Database, show_id: ShowId, text: str, limit: int) -> list[AtDoor]:
    """Up to `limit` sold bookings by the beginning of their reference or a part of a name, cancelled ones last.

    Of each the first TICKETS_AT_ONCE places.
    """
    words = text.strip()
    if not words:
        return []
    rows = await db.rows(sql.bookings_sought, show_id, words.upper(), words.lower(), limit, TICKETS_AT_ONCE)
    return await _joined(db, show_id, rows)


async def door_counts(office: Office, show_id: ShowId) -> DoorCounts:
    """What the door counts, up to a second old; what was sold up to ten."""

    async def load() -> tuple[list[Passed], int]:
        return await tickets.passed(office.db, show_id), await tickets.count_conflicts(office.db, show_id)

    async def load_sold() -> dict[tuple[int, int], int]:
        rows = await office.db.rows(sql.places_to_come, show_id)
        return {(row["area"], row["tier"]): row["places"] for row in rows}

    passed, open_conflicts = await office.cache.get(("door", show_id, "passed"), PASSED_SECONDS, load)
    sold = await office.cache.get(("door", show_id, "sold"), SOLD_SECONDS, load_sold)
    return DoorCounts(passed, sold, open_conflicts)


async def _by_ids(db: Database | Transaction, show_id: ShowId, scan_ids: Sequence[UUID]) -> list[Told]:
    return [_told(row) for row in await db.rows(sql.scans_by_id, show_id, scan_ids)]


async def at_door(
    db: Database | Transaction, show_id: ShowId, booking_ids: Sequence[BookingId]
) -> list[AtDoor]:
    """Those of these bookings that were sold, by id."""
    return await _joined(db, show_id, await db.rows(sql.bookings_packed, show_id, booking_ids))


async def _joined(db: Database | Transaction, show_id: ShowId, rows: Sequence[Record]) -> list[AtDoor]:
    """The bookings with what is stored of their tickets, and who of them is in."""
    ids = [BookingId(row["booking_id"]) for row in rows]
    if not ids:
        return []
    changed: dict[BookingId, dict[int, Changed]] = {each: {} for each in ids}
    for (booking_id, number), ticket in (await tickets.changed_of_bookings(db, show_id, ids)).items():
        changed[booking_id][number] = ticket
    admissions: dict[BookingId, dict[int, Admission]] = {each: {} for each in ids}
    for (booking_id, number), admission in (await tickets.admissions_of(db, show_id, ids)).items():
        admissions[booking_id][number] = admission
    return [AtDoor(**dict(row), changed=changed[row["booking_id"]], admissions=admissions[row["booking_id"]]) for row in rows]  # fmt: skip


def _told(row: Record) -> Told:
    values = dict(row)
    kept = values.pop("scan")
    return Told(Scan(**{name: kept[name] for name in Scan.__slots__}), **values)
