"""Lists and gates: which tickets are admitted, where, and when.

A gate admits by one list. The list that admits everybody is always there: it has the show's id, and no row until it is edited.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

from holdfast.platform.db import Database, Transaction, UniqueViolation, load_queries
from holdfast.platform.errors import Conflict, NotFound, PreconditionFailed
from holdfast.platform.ids import OrganizerId, ShowId, new_id

sql = load_queries(__file__, "lists.sql")

ListId = NewType("ListId", UUID)
GateId = NewType("GateId", UUID)

# Of one show. A device is told of all of them at once.
LISTS_MAX = 50
GATES_MAX = 200
EVERYBODY = "Everybody"


class ListNotFound(NotFound):
    code = "list_not_found"
    title = "There is no such list."


class GateNotFound(NotFound):
    code = "gate_not_found"
    title = "There is no such gate."


class DoorNameTaken(Conflict):
    """Staff tell lists and gates by their names."""

    code = "name_taken"
    title = "Another one of this show has this name."


class TooManyAtDoor(Conflict):
    code = "too_many_at_door"
    title = f"A show has at most {LISTS_MAX} lists and {GATES_MAX} gates."


class ListInUse(Conflict):
    """A gate admits by it, or it is the one that admits everybody."""

    code = "list_in_use"
    title = "This list cannot be deleted while it is in use."


class GateInUse(Conflict):
    code = "gate_in_use"
    title = "Something was scanned at this gate, so it is kept."


@dataclass(frozen=True, slots=True)
class Admits:
    """What a list is: its name, and what it admits. No areas means all, no tiers means all.

    `reentry`: who has gone out may come in again. Before `opens_at` and from `closes_at` on nobody is admitted.
    """

    name: str
    areas: Sequence[int] = ()
    tiers: Sequence[int] = ()
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    reentry: bool = False

    def includes(self, area: int, tier: int) -> bool:
        """Whether it admits tickets of this area and tier, at its times."""
        return (not self.areas or area in self.areas) and (not self.tiers or tier in self.tiers)


@dataclass(frozen=True, slots=True)
class AdmissionList:
    """A list of a show."""

    list_id: ListId
    admits: Admits
    version: int


@dataclass(frozen=True, slots=True)
class Gate:
    """A way in and out, and the list that it admits by."""

    gate_id: GateId
    list_id: ListId
    name: str
    version: int


async def lists_of(db: Database | Transaction, show_id: ShowId) -> list[AdmissionList]:
    """The lists of a show; first the one that admits everybody, then the others, oldest first."""
    rows = await db.rows(sql.lists_of, show_id, LISTS_MAX + 1)
    found = [
        AdmissionList(
            row["list_id"],
            Admits(
                row["name"], row["areas"], row["tiers"], row["opens_at"], row["closes_at"], row["reentry"]
            ),
            row["version"],
        )
        for row in rows
    ]
    default = next((each for each in found if each.list_id == show_id), None)
    others = [each for each in found if each is not default]
    return [default or AdmissionList(ListId(show_id), Admits(EVERYBODY), 1), *others]


async def create_list(
    tx: Transaction, show_id: ShowId, organizer_id: OrganizerId, admits: Admits
) -> AdmissionList:
    """Writes a new list. Raises DoorNameTaken and TooManyAtDoor."""
    list_id = ListId(new_id())
    await _refuse_taken(tx, show_id, list_id, admits.name)
    if not await _insert(tx, show_id, list_id, organizer_id, admits):
        await _refuse_taken(tx, show_id, list_id, admits.name)
        raise TooManyAtDoor
    return AdmissionList(list_id, admits, 1)


async def edit_list(
    tx: Transaction,
    show_id: ShowId,
    organizer_id: OrganizerId,
    list_id: ListId,
    admits: Admits,
    version: int | None,
) -> AdmissionList:
    """Sets all of a list. Raises ListNotFound, DoorNameTaken, and PreconditionFailed when `version` has gone."""
    if list_id not in {each.list_id for each in await lists_of(tx, show_id)}:
        raise ListNotFound
    await _refuse_taken(tx, show_id, list_id, admits.name)
    if list_id == show_id:
        # It gets its row now, so that there is one to edit.
        await _insert(tx, show_id, list_id, organizer_id, Admits(EVERYBODY))
    try:
        now = await tx.value(
            sql.set_list, show_id, list_id, admits.name, admits.areas, admits.tiers, admits.opens_at,
            admits.closes_at, admits.reentry, version,
        )  # fmt: skip
    except UniqueViolation:
        raise DoorNameTaken from None
    if now is None:
        raise PreconditionFailed
    return AdmissionList(list_id, admits, now)


async def delete_list(tx: Transaction, show_id: ShowId, list_id: ListId) -> None:
    """Deletes a list. Raises ListNotFound and ListInUse."""
    if list_id == show_id:
        raise ListInUse("This list admits everybody, and is always there.")
    if await tx.value(sql.lock_list, show_id, list_id) is None:
        raise ListNotFound
    if await tx.value(sql.delete_list, show_id, list_id) is None:
        raise ListInUse


async def gates_of(db: Database | Transaction, show_id: ShowId) -> list[Gate]:
    """The gates of a show, oldest first."""
    return [Gate(**dict(row)) for row in await db.rows(sql.gates_of, show_id, GATES_MAX + 1)]


async def create_gate(
    tx: Transaction, show_id: ShowId, organizer_id: OrganizerId, name: str, list_id: ListId | None
) -> Gate:
    """Writes a new gate; without a list it admits everybody. Raises ListNotFound, DoorNameTaken and TooManyAtDoor."""
    by = await _held(tx, show_id, list_id)
    gate = Gate(GateId(new_id()), by, name, 1)
    if await tx.value(sql.insert_gate, show_id, gate.gate_id, organizer_id, by, name, GATES_MAX) is None:
        names = [each.name for each in await gates_of(tx, show_id)]
        raise DoorNameTaken if name in names else TooManyAtDoor
    return gate


async def edit_gate(
    tx: Transaction, show_id: ShowId, gate_id: GateId, name: str, list_id: ListId | None, version: int | None
) -> Gate:
    """Sets all of a gate. Raises GateNotFound, ListNotFound, DoorNameTaken and PreconditionFailed."""
    by = await _held(tx, show_id, list_id)
    try:
        now = await tx.value(sql.set_gate, show_id, gate_id, by, name, version)
    except UniqueViolation:
        raise DoorNameTaken from None
    if now is None:
        if gate_id not in {each.gate_id for each in await gates_of(tx, show_id)}:
            raise GateNotFound
        raise PreconditionFailed
    return Gate(gate_id, by, name, now)


async def delete_gate(tx: Transaction, show_id: ShowId, gate_id: GateId) -> None:
    """Deletes a gate. Raises GateNotFound, and GateInUse when something was scanned there."""
    if await tx.value(sql.delete_gate, show_id, gate_id) is None:
        if gate_id not in {each.gate_id for each in await gates_of(tx, show_id)}:
            raise GateNotFound
        raise GateInUse


async def _insert(
    tx: Transaction, show_id: ShowId, list_id: ListId, organizer_id: OrganizerId, admits: Admits
) -> bool:
    # The list that admits everybody is not one of those that are counted.
    most = LISTS_MAX + (list_id == show_id)
    made = await tx.value(
        sql.insert_list, show_id, list_id, organizer_id, admits.name, admits.areas, admits.tiers, admits.opens_at,
        admits.closes_at, admits.reentry, most,
    )  # fmt: skip
    return made is not None


async def _refuse_taken(tx: Transaction, show_id: ShowId, list_id: ListId, name: str) -> None:
    if any(each.admits.name == name and each.list_id != list_id for each in await lists_of(tx, show_id)):
        raise DoorNameTaken


async def _held(tx: Transaction, show_id: ShowId, list_id: ListId | None) -> ListId:
    """The list, which stays until the transaction ends. Raises ListNotFound."""
    if list_id is None or list_id == show_id:
        return ListId(show_id)
    if await tx.value(sql.hold_list, show_id, list_id) is None:
        raise ListNotFound
    return list_id
