"""Lists and gates of a show over HTTP. `call.state` is the Engine."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, catalog, tickets
from holdfast.accounts import Permission, Staff
from holdfast.booking import View
from holdfast.catalog import ShowNotFound
from holdfast.platform import clock
from holdfast.platform.db import Transaction
from holdfast.platform.errors import Invalid, PreconditionFailed
from holdfast.platform.http import IF_MATCH, Answer, Call, Moment, Routes, Timestamp, created, etag, if_match
from holdfast.platform.ids import ShowId
from holdfast.tickets import (
    AdmissionList,
    Admits,
    DoorNameTaken,
    Gate,
    GateId,
    GateInUse,
    GateNotFound,
    ListId,
    ListInUse,
    ListNotFound,
    TooManyAtDoor,
)

routes = Routes(
    "door",
    missing={"show_id": ShowNotFound, "list_id": ListNotFound, "gate_id": GateNotFound},
)

Name = Annotated[str, Meta(min_length=1, max_length=100)]
Named = Annotated[list[Annotated[str, Meta(min_length=1, max_length=255)]], Meta(max_length=100)]


class ListSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which tickets a list admits, by names of areas and tiers; none of either means all of them.

    With `reentry`, who has gone out may come in again. Outside of `opens_at` and `closes_at` nobody is admitted.
    """

    name: Name
    areas: Named = []
    tiers: Named = []
    opens_at: Moment | None = None
    closes_at: Moment | None = None
    reentry: bool = False


class GateSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A way in and out. Without `list_id` it admits by the list that admits everybody."""

    name: Name
    list_id: UUID | None = None


class ListJson(msgspec.Struct):
    """A list. The id of the one that admits everybody is that of the show."""

    id: UUID
    name: str
    areas: list[str]
    tiers: list[str]
    opens_at: Timestamp | None
    closes_at: Timestamp | None
    reentry: bool
    version: int


class ListsJson(msgspec.Struct):
    lists: list[ListJson]


class GateJson(msgspec.Struct):
    id: UUID
    name: str
    list_id: UUID
    version: int


class GatesJson(msgspec.Struct):
    gates: list[GateJson]


YEARS = (1970, 2999)
LIST_EXAMPLE = {"name": "Backstage", "reentry": True}
GATE_EXAMPLE = {"name": "Gate B"}


@routes.get("/v1/shows/{show_id}/door/lists", who=Staff("door.scan"), answers={200: ListsJson})
async def list_lists(call: Call[None]) -> ListsJson:
    """List the lists of a show, first the one that admits everybody, which is always there."""
    view = await show_at_door(call, "door.scan")
    return ListsJson([list_json(each, view) for each in await tickets.lists_of(call.db, view.show.show_id)])


@routes.post(
    "/v1/shows/{show_id}/door/lists",
    who=Staff("door.write"),
    body=ListSpec,
    answers={201: ListJson},
    refusals=(DoorNameTaken, TooManyAtDoor),
    once=True,
    example=LIST_EXAMPLE,
)
async def create_list(call: Call[ListSpec], tx: Transaction) -> Answer:
    """Create a list: which tickets are admitted, and when."""
    view = await show_at_door(call, "door.write")
    show = view.show
    made = await tickets.create_list(tx, show.show_id, show.organizer_id, _admits(call.body, view))
    await _note(call, tx, view, "list.created", made.list_id, _list_amounts(made))
    shown = created(list_json(made, view), f"/v1/shows/{show.show_id}/door/lists/{made.list_id}")
    return _tagged(shown, made.version)


@routes.put(
    "/v1/shows/{show_id}/door/lists/{list_id}",
    who=Staff("door.write"),
    body=ListSpec,
    headers=(IF_MATCH,),
    answers={200: ListJson},
    refusals=(DoorNameTaken, PreconditionFailed),
    example=LIST_EXAMPLE,
)
async def edit_list(call: Call[ListSpec]) -> Answer:
    """Set all of a list. It holds for the next scan."""
    view = await show_at_door(call, "door.write")
    show, list_id = view.show, ListId(call.path["list_id"])
    admits = _admits(call.body, view)
    async with call.db.transaction() as tx:
        edited = await tickets.edit_list(tx, show.show_id, show.organizer_id, list_id, admits, if_match(call))
        await _note(call, tx, view, "list.edited", list_id, _list_amounts(edited))
    return _tagged(Answer(200, list_json(edited, view)), edited.version)


@routes.delete(
    "/v1/shows/{show_id}/door/lists/{list_id}",
    who=Staff("door.write"),
    answers={204: None},
    refusals=(ListInUse,),
)
async def delete_list(call: Call[None]) -> Answer:
    """Delete a list by which no gate admits."""
    view = await show_at_door(call, "door.write")
    list_id = ListId(call.path["list_id"])
    async with call.db.transaction() as tx:
        await tickets.delete_list(tx, view.show.show_id, list_id)
        await _note(call, tx, view, "list.deleted", list_id, None)
    return Answer(204)


@routes.get("/v1/shows/{show_id}/door/gates", who=Staff("door.scan"), answers={200: GatesJson})
async def list_gates(call: Call[None]) -> GatesJson:
    """List the gates of a show."""
    view = await show_at_door(call, "door.scan")
    return GatesJson([gate_json(each) for each in await tickets.gates_of(call.db, view.show.show_id)])


@routes.post(
    "/v1/shows/{show_id}/door/gates",
    who=Staff("door.write"),
    body=GateSpec,
    answers={201: GateJson},
    refusals=(ListNotFound, DoorNameTaken, TooManyAtDoor),
    once=True,
    example=GATE_EXAMPLE,
)
async def create_gate(call: Call[GateSpec], tx: Transaction) -> Answer:
    """Create a gate, and say by which list it admits."""
    show = (view := await show_at_door(call, "door.write")).show
    name, by = catalog.printable(call.body.name), _list_id(call.body)
    made = await tickets.create_gate(tx, show.show_id, show.organizer_id, name, by)
    await _note(call, tx, view, "gate.created", made.gate_id, {"list_id": made.list_id})
    shown = created(gate_json(made), f"/v1/shows/{show.show_id}/door/gates/{made.gate_id}")
    return _tagged(shown, made.version)


@routes.put(
    "/v1/shows/{show_id}/door/gates/{gate_id}",
    who=Staff("door.write"),
    body=GateSpec,
    headers=(IF_MATCH,),
    answers={200: GateJson},
    refusals=(ListNotFound, DoorNameTaken, PreconditionFailed),
    example=GATE_EXAMPLE,
)
async def edit_gate(call: Call[GateSpec]) -> Answer:
    """Set all of a gate. It holds for the next scan."""
    view = await show_at_door(call, "door.write")
    gate_id, name, by = GateId(call.path["gate_id"]), catalog.printable(call.body.name), _list_id(call.body)
    async with call.db.transaction() as tx:
        edited = await tickets.edit_gate(tx, view.show.show_id, gate_id, name, by, if_match(call))
        after = {"list_id": edited.list_id, "version": edited.version}
        await _note(call, tx, view, "gate.edited", gate_id, after)
    return _tagged(Answer(200, gate_json(edited)), edited.version)


@routes.delete(
    "/v1/shows/{show_id}/door/gates/{gate_id}",
    who=Staff("door.write"),
    answers={204: None},
    refusals=(GateInUse,),
)
async def delete_gate(call: Call[None]) -> Answer:
    """Delete a gate at which nothing was scanned."""
    view = await show_at_door(call, "door.write")
    gate_id = GateId(call.path["gate_id"])
    async with call.db.transaction() as tx:
        await tickets.delete_gate(tx, view.show.show_id, gate_id)
        await _note(call, tx, view, "gate.deleted", gate_id, None)
    return Answer(204)


async def show_at_door(call: Call[Any], permission: Permission) -> View:
    """The show of the path, of the caller's own organizer. Raises ShowNotFound and Forbidden."""
    view: View = await call.state.office.views.get(ShowId(call.path["show_id"]))
    accounts.require(call.caller, permission, view.show.organizer_id, missing=ShowNotFound)
    return view


def moment_of(moment: datetime, pointer: str) -> datetime:
    """The moment in UTC. Raises Invalid for one in another age, which no calendar of ours reaches."""
    if not YEARS[0] < moment.year < YEARS[1]:
        raise Invalid(f"The year is outside {YEARS[0]} to {YEARS[1]}.", pointer=pointer)
    return moment.astimezone(UTC)


def list_json(found: AdmissionList, view: View) -> ListJson:
    """A list with the names of what it admits."""
    admits = found.admits
    tiers = {tier.tier: tier.name for tier in view.show.tiers}
    return ListJson(
        id=found.list_id,
        name=admits.name,
        areas=[view.plan.areas[area - 1].name for area in admits.areas],
        tiers=list(dict.fromkeys(tiers[tier] for tier in admits.tiers)),
        opens_at=clock.rfc3339(admits.opens_at) if admits.opens_at else None,
        closes_at=clock.rfc3339(admits.closes_at) if admits.closes_at else None,
        reentry=admits.reentry,
        version=found.version,
    )


def gate_json(gate: Gate) -> GateJson:
    """A gate."""
    return GateJson(gate.gate_id, gate.name, gate.list_id, gate.version)


def _admits(spec: ListSpec, view: View) -> Admits:
    """What the spec means in this show. Raises Invalid."""
    areas = []
    for i, name in enumerate(spec.areas):
        area = view.plan.area(name)
        if area is None:
            raise Invalid("The show has no area of this name.", pointer=f"/areas/{i}")
        areas.append(area.number)
    tiers = []
    for i, name in enumerate(spec.tiers):
        # Several areas may have a tier of one name, and it means all of those.
        named = [tier.tier for tier in view.show.tiers if tier.name == name]
        if not named:
            raise Invalid("The show has no tier of this name.", pointer=f"/tiers/{i}")
        tiers += named
    opens_at = spec.opens_at and moment_of(spec.opens_at, "/opens_at")
    closes_at = spec.closes_at and moment_of(spec.closes_at, "/closes_at")
    if opens_at and closes_at and opens_at >= closes_at:
        raise Invalid("It would close before it opens.", pointer="/closes_at")
    name = catalog.printable(spec.name)
    return Admits(name, sorted(set(areas)), sorted(set(tiers)), opens_at, closes_at, spec.reentry)


def _list_id(spec: GateSpec) -> ListId | None:
    return None if spec.list_id is None else ListId(spec.list_id)


def _list_amounts(found: AdmissionList) -> dict[str, Any]:
    admits = found.admits
    return {
        "version": found.version, "areas": list(admits.areas), "tiers": list(admits.tiers), "reentry": admits.reentry,
        "opens_at": admits.opens_at, "closes_at": admits.closes_at,
    }  # fmt: skip


def _tagged(answer: Answer, version: int) -> Answer:
    return Answer(answer.status, answer.body, (*answer.headers, (b"etag", etag(version))))


async def _note(
    call: Call[Any], tx: Transaction, view: View, action: str, subject: UUID, after: dict[str, Any] | None
) -> None:
    await accounts.audit(
        tx, call, action, organizer_id=view.show.organizer_id, subject=subject, show_id=view.show.show_id, after=after,
    )  # fmt: skip
