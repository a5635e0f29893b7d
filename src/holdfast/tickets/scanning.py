"""Scans: what was shown at the door, what became of it, and who is in.

A ticket has one row in `admissions`, the last word on whether it is let in; whoever comes second is told of the first. A
device that was away decides by itself, by the code's signature and the list that it has, and tells later: what it did is
done, so it is kept as done, and what should not have been is a conflict, until somebody has looked at it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.errors import Conflict, NotFound
from holdfast.platform.ids import BookingId, ShowId
from holdfast.tickets.issuing import Changed
from holdfast.tickets.lists import GateId, ListId

sql = load_queries(__file__, "scanning.sql")

Direction = Literal["in", "out"]
# What a scan says of its ticket: valid, or why it admits nobody (here, now, by this code).
ScanReason = Literal[
    "valid",
    "already_in",
    "not_in",
    "no_reentry",
    "wrong_list",
    "not_open",
    "superseded",
    "suspended",
    "void",
    "not_confirmed",
    "unknown",
    "wrong_show",
    "bad_code",
]


class ScanNotFound(NotFound):
    code = "scan_not_found"
    title = "There is no such scan."


class NothingToUndo(Conflict):
    """The scan was refused: nobody went in or out by it."""

    code = "nothing_to_undo"
    title = "Nobody went in or out by this scan."


class NoConflict(Conflict):
    code = "no_conflict"
    title = "This scan is in no conflict."


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan as it is kept. `scanned_at` is when it was, by the device's clock where it was `uploaded`; `received_at`
    is the database's.

    `accepted`: somebody went in or out by it. `first_*` is the entry that stood in its way.
    """

    show_id: ShowId
    scan_id: UUID
    booking_id: BookingId | None
    number: int | None
    direction: Direction
    gate_id: GateId | None
    list_id: ListId
    accepted: bool
    reason: ScanReason
    uploaded: bool
    scanned_at: datetime
    received_at: datetime
    first_scan: UUID | None
    first_at: datetime | None
    first_gate: GateId | None
    conflict: ScanReason | None
    acknowledged_at: datetime | None
    undone_at: datetime | None


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a ticket is in, and where and when it came in last."""

    booking_id: BookingId
    number: int
    inside: bool
    entered_at: datetime | None
    entered_gate: GateId | None


@dataclass(frozen=True, slots=True)
class Passed:
    """How many went in and out, were refused, and are in, at one gate by one list."""

    gate_id: GateId | None
    list_id: ListId
    entries: int = 0
    exits: int = 0
    refused: int = 0
    inside: int = 0


async def undo(tx: Transaction, scan: Scan) -> bool:
    """Takes a scan back, as if nobody had gone in or out by it; False when it was taken back before.

    The other scans of the ticket are looked at again. Raises NothingToUndo.
    """
    if not scan.accepted:
        raise NothingToUndo
    await tx.row(sql.hold_admission, scan.show_id, scan.scan_id)
    undone = await tx.row(sql.undo_scan, scan.show_id, scan.scan_id)
    if undone is not None and undone["booking_id"] is not None:
        await tx.row(sql.settle_scans, scan.show_id, undone["booking_id"], undone["number"])
    return undone is not None


async def acknowledge(tx: Transaction, scan: Scan) -> bool:
    """Takes a conflict off the list of those to look at; False when it is off already. Raises NoConflict."""
    if scan.conflict is None:
        raise NoConflict
    return await tx.value(sql.acknowledge, scan.show_id, scan.scan_id) is not None


async def admissions_of(
    db: Database | Transaction, show_id: ShowId, booking_ids: Sequence[BookingId]
) -> dict[tuple[BookingId, int], Admission]:
    """The tickets of these bookings that are in, or were, by booking and number."""
    rows = await db.rows(sql.admissions_of, show_id, list(booking_ids))
    return {(row["booking_id"], row["number"]): Admission(**dict(row)) for row in rows}


async def changed_of_bookings(
    db: Database | Transaction, show_id: ShowId, booking_ids: Sequence[BookingId]
) -> dict[tuple[BookingId, int], Changed]:
    """What is stored of the tickets of these bookings, by booking and number."""
    rows = await db.rows(sql.changed_of_bookings, show_id, list(booking_ids))
    return {(row["booking_id"], row["number"]): Changed(**dict(row)) for row in rows}


async def passed(db: Database, show_id: ShowId) -> list[Passed]:
    """How many passed each gate by each list. Reads everything that was scanned: keep it for a moment."""
    found: dict[tuple[GateId | None, ListId], dict[str, int]] = {}
    for row in await db.rows(sql.counts_of_scans, show_id):
        counts = {"entries": row["entries"], "exits": row["exits"], "refused": row["refused"]}
        found[row["gate_id"], row["list_id"]] = counts
    for row in await db.rows(sql.counts_inside, show_id):
        found.setdefault((row["gate_id"], row["list_id"]), {})["inside"] = row["inside"]
    return [Passed(gate_id, list_id, **counts) for (gate_id, list_id), counts in found.items()]


async def count_conflicts(db: Database, show_id: ShowId) -> int:
    """How many conflicts nobody has acknowledged."""
    count: int = await db.value(sql.count_conflicts, show_id)
    return count
