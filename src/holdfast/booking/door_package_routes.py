"""The package of a show for devices at the door over HTTP. `call.state` is the Engine."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, booking, tickets
from holdfast.accounts import Staff
from holdfast.booking import AtDoor, View
from holdfast.booking.door_list_routes import GateJson, ListJson, gate_json, list_json, show_at_door
from holdfast.booking.ticket_routes import TicketKeyJson, ticket_keys
from holdfast.catalog import ShowNotFound
from holdfast.platform import clock
from holdfast.platform.http import Answer, Call, Routes, Timestamp

SIGNATURE = b"holdfast-signature"

routes = Routes("door", missing={"show_id": ShowNotFound})
_encode = msgspec.json.Encoder().encode


class PackageQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`cursor`: that of the page before, or of the last one, to hear what has changed since. `limit` counts bookings."""

    limit: Annotated[int, Meta(ge=1, le=booking.PAGE_BOOKINGS_MAX)] = 200
    cursor: Annotated[str, Meta(max_length=100)] | None = None


class PackedAreaJson(msgspec.Struct):
    id: int
    name: str


class PackedTierJson(msgspec.Struct):
    id: int
    name: str


class PackedShowJson(msgspec.Struct):
    id: UUID
    name: str
    start_time: Timestamp
    timezone: str
    status: str


class PackedTicketJson(msgspec.Struct):
    """What is to be said of a ticket that is not simply valid, of serial 0 and for the buyer."""

    number: int
    serial: int
    state: str
    holder: str | None


class PackedAdmissionJson(msgspec.Struct):
    """A ticket that is in, or was. `gate_id`: where it came in last."""

    number: int
    inside: bool
    entered_at: Timestamp | None
    gate_id: UUID | None


class PackedBookingJson(msgspec.Struct, omit_defaults=True):
    """A booking that was sold; the arrays run in parallel, ticket 1 first. When it is `cancelled`, its tickets are void.

    It takes the place of whatever the device knew of the booking.
    """

    id: UUID
    reference: str
    name: str | None
    areas: list[int]
    tiers: list[int]
    seats: list[str] = []
    tickets: list[PackedTicketJson] = []
    admissions: list[PackedAdmissionJson] = []
    cancelled: bool = False


class PackageJson(msgspec.Struct):
    """A page of the package. With `more`, ask again with `cursor` at once; without, whenever changes are wanted."""

    show: PackedShowJson
    made_at: Timestamp
    keys: list[TicketKeyJson]
    lists: list[ListJson]
    gates: list[GateJson]
    areas: list[PackedAreaJson]
    tiers: list[PackedTierJson]
    bookings: list[PackedBookingJson]
    cursor: str
    more: bool


@routes.get(
    "/v1/shows/{show_id}/door/package",
    who=Staff("door.scan"),
    query=PackageQuery,
    answers={200: PackageJson},
)
async def read_package(call: Call[None]) -> Answer:
    """Take along what a device needs that may be offline: keys, lists, gates, what was sold, what is void, who is in.

    In pages: without `cursor` from the beginning, with that of the last page whatever has changed since, and perhaps
    something twice. The header `Holdfast-Signature` is `<key id>.<base64url>`, an Ed25519 signature of the body as sent, by
    the same keys as the codes, so that what a device has kept can be checked before it is trusted. Who begins is written
    into the audit.
    """
    view, query = await show_at_door(call, "door.scan"), call.query
    show = view.show
    cursor = None if query.cursor is None else booking.cursor_in(query.cursor)
    if cursor is None:
        async with call.db.transaction() as tx:
            # The names of everybody leave with it: written before the first of them goes out.
            await accounts.audit(
                tx, call, "door.packed", organizer_id=show.organizer_id, subject=show.show_id, show_id=show.show_id
            )  # fmt: skip
    page = await booking.packed(call.db, show.show_id, cursor, query.limit)
    body = PackageJson(
        show=PackedShowJson(
            show.show_id, show.name, clock.rfc3339(show.start_time), show.timezone, show.status
        ),
        made_at=clock.rfc3339(page.made_at),
        keys=ticket_keys(call.state.codes),
        lists=[list_json(each, view) for each in await tickets.lists_of(call.db, show.show_id)],
        gates=[gate_json(each) for each in await tickets.gates_of(call.db, show.show_id)],
        areas=[PackedAreaJson(each.number, each.name) for each in view.plan.areas],
        tiers=[PackedTierJson(each.tier, each.name) for each in show.tiers],
        bookings=[_booking(each, view) for each in page.bookings],
        cursor=str(page.cursor),
        more=page.more,
    )
    encoded = _encode(body)
    signed = (SIGNATURE, call.state.codes.signature(encoded).encode())
    return Answer(200, encoded, ((b"cache-control", b"private, no-store"), signed))


def _booking(found: AtDoor, view: View) -> PackedBookingJson:
    return PackedBookingJson(
        id=found.booking_id,
        reference=found.reference,
        name=found.name,
        areas=list(found.areas),
        tiers=list(found.tiers),
        seats=[view.plan.name(seat) for seat in found.seats],
        tickets=[
            PackedTicketJson(each.number, each.serial, each.state, each.holder)
            for each in found.changed.values()
        ],
        admissions=[
            PackedAdmissionJson(
                each.number,
                each.inside,
                clock.rfc3339(each.entered_at) if each.entered_at else None,
                each.entered_gate,
            )
            for each in found.admissions.values()
        ],
        cancelled=found.status == "CANCELLED",
    )
