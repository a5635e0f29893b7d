"""Organizers as the installation looks after them: made by an admin, with an owner invited; renamed; shut out.

A suspended organizer's people and keys get in nowhere, by whatever they show. Its shows stay as they are.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from holdfast.accounts.access import Access
from holdfast.platform import broadcast
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Conflict, Invalid, NotFound
from holdfast.platform.ids import OrganizerId, new_id

NAME_LENGTH_MAX = 255
# Hinted on when an organizer was suspended, or let in again.
SUSPENDED_TOPIC = "organizers.suspended"
# How long a process that missed the hint still lets a suspended organizer in.
SUSPENDED_SECONDS = 5.0

sql = load_queries(__file__, "organizers.sql")


class OrganizerNotFound(NotFound):
    code = "organizer_not_found"
    title = "There is no such organizer."


class OwnOrganizer(Conflict):
    """An admin who suspends their own organizer would shut themselves out."""

    code = "own_organizer"
    title = "You cannot suspend the organizer that you act for."


@dataclass(frozen=True, slots=True)
class Organizer:
    """An organizer and its rules."""

    organizer_id: OrganizerId
    name: str
    colour: str | None
    second_factor_required: bool
    created_at: datetime
    suspended_at: datetime | None


def organizer_name(text: str) -> str:
    """The name without spaces around it. Raises Invalid (`/name`) unless it has 1 to 255 printable characters."""
    name = text.strip()
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise Invalid(
            f"An organizer's name has 1 to {NAME_LENGTH_MAX} printable characters.", pointer="/name"
        )
    return name


async def add_organizer(tx: Transaction, name: str) -> Organizer:
    """A new organizer, without people. Raises Invalid for its name."""
    organizer_id = OrganizerId(new_id())
    row = await tx.row(sql.organizer_added, organizer_id, organizer_name(name))
    assert row is not None
    return _organizer(row)


async def organizer_by_id(db: Database | Transaction, organizer_id: OrganizerId) -> Organizer:
    """The organizer. Raises OrganizerNotFound."""
    return _found(await db.row(sql.organizer_by_id, organizer_id))


async def list_organizers(db: Database, after: UUID, limit: int) -> list[Organizer]:
    """Up to `limit` organizers behind `after`, oldest first."""
    return [_organizer(row) for row in await db.rows(sql.organizers_page, after, limit)]


async def edit_organizer(
    tx: Transaction, organizer_id: OrganizerId, *, name: str | None, suspended: bool | None, by: OrganizerId
) -> Organizer:
    """Sets what is given. Who is suspended is out within SUSPENDED_SECONDS, and at once where the hint arrives.

    Raises OrganizerNotFound, Invalid for the name, and OwnOrganizer when `by` would suspend itself.
    """
    if suspended and organizer_id == by:
        raise OwnOrganizer
    name = None if name is None else organizer_name(name)
    edited = _found(await tx.row(sql.organizer_edited, organizer_id, name, suspended))
    if suspended is not None:
        tx.after_commit(partial(broadcast.hint, SUSPENDED_TOPIC))
    return edited


async def edit_own(
    tx: Transaction,
    organizer_id: OrganizerId,
    *,
    name: str | None,
    second_factor_required: bool | None,
    colour: str | None = None,
) -> Organizer:
    """Sets what is given of what an owner decides; an empty colour takes it away.

    Raises OrganizerNotFound, and Invalid for the name.
    """
    name = None if name is None else organizer_name(name)
    colour = None if colour is None else colour.lower()
    return _found(await tx.row(sql.own_rules_edited, organizer_id, name, second_factor_required, colour))


async def look_for_suspended(db: Database, access: Access) -> None:
    """Tells `access` which organizers are shut out now. Raises Busy."""
    access.suspended = frozenset(row["organizer_id"] for row in await db.rows(sql.suspended_organizers))


def _found(row: Record | None) -> Organizer:
    if row is None:
        raise OrganizerNotFound
    return _organizer(row)


def _organizer(row: Record) -> Organizer:
    return Organizer(**dict(row))
