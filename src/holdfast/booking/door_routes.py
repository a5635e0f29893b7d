"""The door over HTTP: scans, groups, who is looked for, counts, conflicts, and the package for devices. `call.state` is the
Engine.

A refused scan is an answer (200), for it is kept as well; refusals (4xx) are for requests that nothing could be made of.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, booking, tickets
from holdfast.accounts import Principal, Staff
from holdfast.booking import AtDoor, BookingNotFound, ReferenceTwice, Showing, Told, View
from holdfast.booking.door_list_routes import (
    moment_of,
    show_at_door,
)
from holdfast.catalog import ShowNotFound
from holdfast.platform import clock
from holdfast.platform.db import Transaction
from holdfast.platform.errors import Invalid, Refusal
from holdfast.platform.http import Answer, Call, Moment, Routes, Timestamp
from holdfast.platform.ids import BookingId
from holdfast.platform.pages import Limit, foreign_cursor, page_of
from holdfast.tickets import (
    Direction,
    GateId,
    GateNotFound,
    NoConflict,
    NothingToUndo,
    ScanNotFound,
    ScanReason,
)

# Each costs a check of a signature, some 0.1 ms.
UPLOADED_AT_ONCE = 200
# Before and behind every scan there can be.
_FIRST = datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0)
_LAST = datetime(2999, 1, 1, tzinfo=UTC), UUID(int=2**128 - 1)
PRIVATE = ((b"cache-control", b"private, no-store"),)

routes = Routes(
    "door", missing={"show_id": ShowNotFound, "booking_id": BookingNotFound, "scan_id": ScanNotFound}
)


class ScanMismatch(Refusal):
    """Each scan has an id of its own: a fresh UUID."""

    code = "scan_mismatch"
    status = 422
    title = "This scan id was used for another ticket."


Number = Annotated[int, Meta(ge=1, le=1_000_000)]


class ScanSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A ticket that is shown: its `code` as read, or its `number` with the `booking_id` or the `reference`.

    `id` is made by the device, once for each scan. `gate_id` may be missing: then the list that admits everybody holds.
    """

    id: UUID
    code: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    booking_id: UUID | None = None
    reference: Annotated[str, Meta(min_length=1, max_length=20)] | None = None
    number: Number | None = None
    gate_id: UUID | None = None
    direction: Direction = "in"


class UploadedSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Somebody whom a device let in or out while it was offline; `at` by its own clock."""

    id: UUID
    at: Moment
    code: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    booking_id: UUID | None = None
    number: Number | None = None
    gate_id: UUID | None = None
    direction: Direction = "in"


class UploadSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a device did while it was offline, in any order."""

    scans: Annotated[list[UploadedSpec], Meta(min_length=1, max_length=UPLOADED_AT_ONCE)]


class GroupSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which tickets of the booking: all that are not in, or those with these numbers. `id` is made by the device."""

    id: UUID
    numbers: Annotated[list[Number], Meta(min_length=1, max_length=booking.TICKETS_AT_ONCE)] | None = None
    gate_id: UUID | None = None


class FirstScanJson(msgspec.Struct):
    """The entry that stood in the way."""

    scan_id: UUID
    at: Timestamp
    gate: str | None


class ScanJson(msgspec.Struct):
    """What became of a scan. `result` is what the door staff do, `reason` why: `valid`, or what stands against it.

    `conflict` is set where somebody went in or out who should not have. `scanned_at` is by the device's clock where it
    was `uploaded`, but never later than `received_at`, which is the server's.
    """

    id: UUID
    result: Literal["admitted", "left", "refused"]
    reason: ScanReason
    direction: Direction
    booking_id: UUID | None
    reference: str | None
    number: int | None
    label: str | None
    area: str | None
    seat: str | None
    tier: str | None
    holder: str | None
    gate_id: UUID | None
    gate: str | None
    list_id: UUID
    scanned_at: Timestamp
    received_at: Timestamp
    uploaded: bool
    first: FirstScanJson | None
    conflict: ScanReason | None
    acknowledged_at: Timestamp | None
    undone_at: Timestamp | None


class ScansJson(msgspec.Struct):
    scans: list[ScanJson]
    next: str | None = None


class LastScansQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=100)] | None = None
    gate_id: UUID | None = None


class ConflictsQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=100)] | None = None


class SoughtQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`q`: the beginning of a reference, or a part of a name; without it nobody is found."""

    q: Annotated[str, Meta(min_length=2, max_length=100)] | None = None
    limit: Annotated[int, Meta(ge=1, le=20)] = 10


class DoorTicketJson(msgspec.Struct):
    number: int
    label: str
    area: str
    seat: str | None
    tier: str | None
    holder: str | None
    state: Literal["valid", "suspended", "void"]
    inside: bool
    entered_at: Timestamp | None


class DoorBookingJson(msgspec.Struct):
    """A sold booking as the door sees it, with its first 100 tickets; `quantity` counts all."""

    id: UUID
    reference: str
    name: str | None
    quantity: int
    tickets: list[DoorTicketJson]


class DoorBookingsJson(msgspec.Struct):
    bookings: list[DoorBookingJson]


class PassedJson(msgspec.Struct):
    """What passed one gate by one list. `inside`: came in here last, and is in."""

    gate_id: UUID | None
    list_id: UUID
    entries: int
    exits: int
    refused: int
    inside: int


class ListCountJson(msgspec.Struct):
    """`expected`: how many tickets the list admits."""

    list_id: UUID
    expected: int


class DoorCountsJson(msgspec.Struct):
    """Who is in of all that were sold, now; by gate, and by list."""

    inside: int
    expected: int
    conflicts: int
    gates: list[PassedJson]
    lists: list[ListCountJson]


@routes.post(
    "/v1/shows/{show_id}/door/scans",
    who=Staff("door.scan"),
    body=ScanSpec,
    answers={200: ScanJson},
    refusals=(BookingNotFound, ReferenceTwice, GateNotFound, ScanMismatch),
    example={"id": "0199e000-0000-7000-8000-000000000001", "code": "AEBAGBAFAYDQQCIK", "direction": "in"},
)
async def scan_ticket(call: Call[ScanSpec]) -> Answer:
    """Scan a ticket. The same `id` again is answered the same, so no Idempotency-Key is taken.

    A ticket is let in once; who comes second hears when and at which gate the first one came.
    """
    view, spec = await show_at_door(call, "door.scan"), call.body
    show = view.show
    if spec.reference is not None:
        if spec.code is not None or spec.booking_id is not None or spec.number is None:
            raise _unclear()
        booking_id = await booking.referred(call.db, show.show_id, spec.reference)
        ticket: dict[str, Any] = {"booking_id": booking_id, "number": spec.number}
    else:
        ticket = _ticket(call, view, spec, "")
    gate_id = None if spec.gate_id is None else GateId(spec.gate_id)
    shown = Showing(scan_id=spec.id, **ticket, direction=spec.direction, gate_id=gate_id)
    [told] = await booking.scan(call.db, show.show_id, show.organizer_id, [shown], _by(call))
    kept = told.scan
    if (kept.booking_id, kept.number, kept.direction) != (shown.booking_id, shown.number, spec.direction):
        raise ScanMismatch
    return Answer(200, _scan_json(told, view), PRIVATE)


@routes.post(
    "/v1/shows/{show_id}/door/scans/upload",
    who=Staff("door.scan"),
    body=UploadSpec,
    answers={200: ScansJson},
    example={
        "scans": [
            {
                "id": "0199e000-0000-7000-8000-000000000002",
                "code": "AEBAGBAFAYDQQCIK",
                "at": "2026-12-24T19:02:00Z",
            }
        ]
    },
)
async def upload_scans(call: Call[UploadSpec]) -> Answer:
    """Tell what a device did while it was offline, up to 200 scans at once.

    All of them are accepted, for they have happened; what should not have is flagged with its `conflict`, which may change
    with what other devices tell. Any number of times and in any order: a scan that is known is answered as it is kept.
    """
    view = await show_at_door(call, "door.scan")
    show, showings, known = view.show, [], set()
    for i, spec in enumerate(call.body.scans):
        if spec.id not in known:
            known.add(spec.id)
            at, gate_id = (
                moment_of(spec.at, f"/scans/{i}/at"),
                None if spec.gate_id is None else GateId(spec.gate_id),
            )
            ticket = _ticket(call, view, spec, f"/scans/{i}")
            showings.append(
                Showing(scan_id=spec.id, **ticket, direction=spec.direction, gate_id=gate_id, scanned_at=at)
            )
    told = await booking.scan(call.db, show.show_id, show.organizer_id, showings, _by(call))
    return Answer(200, ScansJson([_scan_json(each, view) for each in told]), PRIVATE)


@routes.post(
    "/v1/shows/{show_id}/door/scans/{scan_id}/undo",
    who=Staff("door.scan"),
    answers={200: ScanJson},
    refusals=(NothingToUndo,),
    once=True,
)
async def undo_scan(call: Call[None], tx: Transaction) -> Answer:
    """Take a scan back, as if nobody had gone in or out by it."""
    view = await show_at_door(call, "door.scan")
    scan = (await booking.told_by_id(tx, view.show.show_id, call.path["scan_id"])).scan
    if await tickets.undo(tx, scan):
        await _note(call, tx, view, "scan.undone", scan)
    told = await booking.told_by_id(tx, view.show.show_id, scan.scan_id)
    return Answer(200, _scan_json(told, view), PRIVATE)


@routes.get(
    "/v1/shows/{show_id}/door/scans",
    who=Staff("door.scan"),
    query=LastScansQuery,
    answers={200: ScansJson},
)
async def list_scans(call: Call[None]) -> Answer:
    """List what was scanned, the last that came in first."""
    view, query = await show_at_door(call, "door.scan"), call.query
    before = _place_in(query.cursor) or _LAST
    gate_id = None if query.gate_id is None else GateId(query.gate_id)
    found = await booking.last_scans(call.db, view.show.show_id, before, gate_id, query.limit + 1)
    page, following = page_of(found, query.limit, _place_of)
    return Answer(200, ScansJson([_scan_json(each, view) for each in page], following), PRIVATE)


@routes.get(
    "/v1/shows/{show_id}/door/conflicts",
    who=Staff("door.scan"),
    query=ConflictsQuery,
    answers={200: ScansJson},
)
async def list_conflicts(call: Call[None]) -> Answer:
    """List the scans by which somebody went in or out who should not have, until somebody acknowledges them."""
    view, query = await show_at_door(call, "door.scan"), call.query
    after = _place_in(query.cursor) or _FIRST
    found = await booking.conflicts(call.db, view.show.show_id, after, query.limit + 1)
    page, following = page_of(found, query.limit, _place_of)
    return Answer(200, ScansJson([_scan_json(each, view) for each in page], following), PRIVATE)


@routes.post(
    "/v1/shows/{show_id}/door/conflicts/{scan_id}/acknowledge",
    who=Staff("door.scan"),
    answers={200: ScanJson},
    refusals=(NoConflict,),
    once=True,
)
async def acknowledge_conflict(call: Call[None], tx: Transaction) -> Answer:
    """Say that somebody has looked at a conflict. It leaves the list, and the scan keeps it."""
    view = await show_at_door(call, "door.scan")
    scan = (await booking.told_by_id(tx, view.show.show_id, call.path["scan_id"])).scan
    if await tickets.acknowledge(tx, scan):
        await _note(call, tx, view, "conflict.acknowledged", scan)
    told = await booking.told_by_id(tx, view.show.show_id, scan.scan_id)
    return Answer(200, _scan_json(told, view), PRIVATE)


@routes.get(
    "/v1/shows/{show_id}/door/bookings",
    who=Staff("door.scan"),
    query=SoughtQuery,
    answers={200: DoorBookingsJson},
)
async def seek_bookings(call: Call[None]) -> Answer:
    """Look for somebody without a code: by the beginning of a reference, or by a part of a name."""
    view, query = await show_at_door(call, "door.scan"), call.query
    found = await booking.sought(call.db, view.show.show_id, query.q or "", query.limit)
    return Answer(200, DoorBookingsJson([_booking_json(each, view) for each in found]), PRIVATE)


@routes.post(
    "/v1/shows/{show_id}/door/bookings/{booking_id}/admit",
    who=Staff("door.scan"),
    body=GroupSpec,
    answers={200: ScansJson},
    refusals=(GateNotFound,),
    example={"id": "0199e000-0000-7000-8000-000000000003"},
)
async def admit_group(call: Call[GroupSpec]) -> Answer:
    """Let a group in: all tickets of a booking that are not in, or some of them. Each becomes a scan of its own.

    The same `id` again is answered the same, so no Idempotency-Key is taken.
    """
    view, spec = await show_at_door(call, "door.scan"), call.body
    show, booking_id = view.show, BookingId(call.path["booking_id"])
    gate_id = None if spec.gate_id is None else GateId(spec.gate_id)
    told = await booking.admit(
        call.db, show.show_id, show.organizer_id, booking_id, spec.numbers, spec.id, gate_id, _by(call)
    )
    return Answer(200, ScansJson([_scan_json(each, view) for each in told]), PRIVATE)


@routes.get("/v1/shows/{show_id}/door/counts", who=Staff("door.scan"), answers={200: DoorCountsJson})
async def read_counts(call: Call[None]) -> Answer:
    """Read how many are in, went in and out, and were refused, at each gate; up to a second old."""
    view = await show_at_door(call, "door.scan")
    found = await booking.door_counts(call.state.office, view.show.show_id)
    lists = [
        ListCountJson(each.list_id, sum(places for (area, tier), places in found.to_come.items()
                                        if each.admits.includes(area, tier)))
        for each in await tickets.lists_of(call.db, view.show.show_id)
    ]  # fmt: skip
    gates = [
        PassedJson(each.gate_id, each.list_id, each.entries, each.exits, each.refused, each.inside)
        for each in found.passed
    ]
    counts = DoorCountsJson(
        inside=sum(each.inside for each in found.passed),
        expected=sum(found.to_come.values()),
        conflicts=found.conflicts,
        gates=gates,
        lists=lists,
    )
    return Answer(200, counts, PRIVATE)


def _ticket(call: Call[Any], view: View, spec: ScanSpec | UploadedSpec, pointer: str) -> dict[str, Any]:
    """Which ticket is shown, as fields of a Showing. Raises Invalid."""
    if spec.code is not None and spec.booking_id is None and spec.number is None:
        return booking.shown_by_code(call.state.codes, view.show.show_id, spec.code)
    if spec.code is None and spec.booking_id is not None and spec.number is not None:
        return {"booking_id": BookingId(spec.booking_id), "number": spec.number}
    raise _unclear(pointer)


def _unclear(pointer: str = "") -> Invalid:
    return Invalid("Give the code, or the booking and the number of the ticket.", pointer=f"{pointer}/code")


def _by(call: Call[Any]) -> UUID | None:
    principal: Principal = call.caller
    return principal.person_id or principal.key_id


def _scan_json(told: Told, view: View) -> ScanJson:
    scan = told.scan
    first = None
    if scan.first_scan is not None and scan.first_at is not None:
        first = FirstScanJson(scan.first_scan, clock.rfc3339(scan.first_at), told.first_gate_name)
    known = told.reference is not None
    return ScanJson(
        id=scan.scan_id,
        result="refused" if not scan.accepted else "admitted" if scan.direction == "in" else "left",
        reason=scan.reason,
        direction=scan.direction,
        booking_id=scan.booking_id,
        reference=told.reference,
        number=scan.number,
        label=f"{told.reference}-{scan.number}" if known else None,
        area=view.plan.areas[told.area - 1].name if told.area is not None else None,
        seat=view.plan.name(told.seat) if told.seat is not None else None,
        tier=_tier(view, told.tier),
        holder=told.holder,
        gate_id=scan.gate_id,
        gate=told.gate_name,
        list_id=scan.list_id,
        scanned_at=clock.rfc3339(scan.scanned_at),
        received_at=clock.rfc3339(scan.received_at),
        uploaded=scan.uploaded,
        first=first,
        conflict=scan.conflict,
        acknowledged_at=clock.rfc3339(scan.acknowledged_at) if scan.acknowledged_at else None,
        undone_at=clock.rfc3339(scan.undone_at) if scan.undone_at else None,
    )


def _booking_json(found: AtDoor, view: View) -> DoorBookingJson:
    return DoorBookingJson(
        id=found.booking_id,
        reference=found.reference,
        name=found.name,
        quantity=found.quantity,
        tickets=[_ticket_json(found, number, view) for number in range(1, len(found.areas) + 1)],
    )


def _ticket_json(found: AtDoor, number: int, view: View) -> DoorTicketJson:
    changed, admission, index = found.changed.get(number), found.admissions.get(number), number - 1
    state = changed.state if changed else "valid"
    theirs = found.name if changed is None or changed.serial == 0 else None
    inside = admission is not None and admission.inside
    entered_at = admission.entered_at if admission and inside else None
    return DoorTicketJson(
        number=number,
        label=f"{found.reference}-{number}",
        area=view.plan.areas[found.areas[index] - 1].name,
        seat=view.plan.name(found.seats[index]) if found.seats else None,
        tier=_tier(view, found.tiers[index]),
        holder=(changed.holder if changed else None) or theirs,
        state="void" if found.status == "CANCELLED" else state,
        inside=inside,
        entered_at=clock.rfc3339(entered_at) if entered_at else None,
    )


def _tier(view: View, number: int | None) -> str | None:
    return next((tier.name for tier in view.show.tiers if tier.tier == number), None)


def _place_of(told: Told) -> str:
    """The cursor behind this scan."""
    raw = f"{told.scan.received_at.isoformat()} {told.scan.scan_id}"
    return urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def _place_in(cursor: str | None) -> tuple[datetime, UUID] | None:
    if cursor is None:
        return None
    try:
        at, _, scan_id = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(" ")
        moment, place = datetime.fromisoformat(at), UUID(scan_id)
        if not _FIRST[0] <= moment <= _LAST[0]:
            raise foreign_cursor()
    except (ValueError, TypeError):
        # The second, when it is compared without an offset.
        raise foreign_cursor() from None
    return moment, place


async def _note(call: Call[Any], tx: Transaction, view: View, action: str, scan: tickets.Scan) -> None:
    await accounts.audit(
        tx, call, action, organizer_id=view.show.organizer_id, subject=scan.scan_id, show_id=view.show.show_id,
        before={"booking_id": scan.booking_id, "number": scan.number, "direction": scan.direction, "conflict": scan.conflict},
    )  # fmt: skip
