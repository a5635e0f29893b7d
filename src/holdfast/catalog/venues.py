"""Venues, and layouts: versioned seating plans of a venue. A version never changes, because shows were built from it."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import available_timezones

import msgspec
from msgspec import Meta

from holdfast.catalog.names import printable
from holdfast.catalog.plan import AreaSpecs, Plan, build
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Invalid, NotFound, PreconditionFailed
from holdfast.platform.ids import LayoutId, OrganizerId, VenueId, new_id

sql = load_queries(__file__)


class VenueNotFound(NotFound):
    code = "venue_not_found"
    title = "There is no such venue."


class LayoutNotFound(NotFound):
    code = "layout_not_found"
    title = "There is no such layout, or not in this version."


Name = Annotated[str, Meta(min_length=1, max_length=255)]
City = Annotated[str, Meta(max_length=100, description="As people look for it: Berlin.")]
Zone = Annotated[str, Meta(min_length=1, max_length=64, description="IANA name, such as Europe/Berlin.")]


class VenueSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A venue as an organizer describes it."""

    name: Name
    timezone: Zone
    address: Annotated[str, Meta(max_length=1000)] = ""
    city: City = ""


class LayoutSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A seating plan: its areas, and the focal point in metres (by default the stage's front centre)."""

    name: Name
    areas: AreaSpecs
    focal: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Venue:
    """A place where shows happen."""

    venue_id: VenueId
    organizer_id: OrganizerId
    name: str
    address: str
    city: str
    timezone: str
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutHead:
    """What is known of a version of a layout without reading its plan."""

    layout_id: LayoutId
    version: int
    venue_id: VenueId
    organizer_id: OrganizerId
    name: str
    seats: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout(LayoutHead):
    """One version of a layout; `spec` is the plan as it was given."""

    spec: LayoutSpec

    def plan(self) -> Plan:
        """The seating that shows are built from."""
        return build(self.spec.areas, focal=self.spec.focal)


async def create_venue(tx: Transaction, organizer_id: OrganizerId, spec: VenueSpec) -> Venue:
    """Writes a new venue. Raises Invalid."""
    row = await tx.row(
        sql.insert_venue,
        new_id(),
        organizer_id,
        printable(spec.name),
        spec.address,
        zone(spec.timezone),
        _city(spec),
    )
    assert row is not None
    return Venue(**dict(row))


async def venue_by_id(db: Database | Transaction, organizer_id: OrganizerId, venue_id: VenueId) -> Venue:
    """The organizer's venue. Raises VenueNotFound."""
    row = await db.row(sql.venue_by_id, venue_id, organizer_id)
    if row is None:
        raise VenueNotFound
    return Venue(**dict(row))


async def edit_venue(
    tx: Transaction, organizer_id: OrganizerId, venue_id: VenueId, spec: VenueSpec, version: int | None
) -> Venue:
    """Sets all of a venue. Raises VenueNotFound, Invalid, and PreconditionFailed when `version` has gone."""
    row = await tx.row(
        sql.update_venue,
        venue_id,
        organizer_id,
        printable(spec.name),
        spec.address,
        zone(spec.timezone),
        version,
        _city(spec),
    )
    if row is None:
        present = await venue_by_id(tx, organizer_id, venue_id)
        raise PreconditionFailed(f"The venue is at version {present.version}.")
    return Venue(**dict(row))


async def list_venues(db: Database, organizer_id: OrganizerId, after: UUID, limit: int) -> list[Venue]:
    """Up to `limit` of the organizer's venues behind `after`, oldest first."""
    return [Venue(**dict(row)) for row in await db.rows(sql.list_venues, organizer_id, after, limit)]


async def create_layout(
    tx: Transaction, organizer_id: OrganizerId, venue_id: VenueId, spec: LayoutSpec
) -> Layout:
    """Writes version 1 of a new layout. Raises VenueNotFound and Invalid."""
    await venue_by_id(tx, organizer_id, venue_id)
    return await _write_layout(tx, organizer_id, venue_id, LayoutId(new_id()), 1, spec)


async def revise_layout(
    tx: Transaction, organizer_id: OrganizerId, layout_id: LayoutId, spec: LayoutSpec, version: int | None
) -> Layout:
    """Writes the next version of a layout; shows built from older ones keep theirs.

    Raises LayoutNotFound, Invalid, and PreconditionFailed when `version` is not the newest.
    """
    if await tx.value(sql.lock_layout, layout_id, organizer_id) is None:
        raise LayoutNotFound
    # A statement of its own, because it must see what the one who held the lock has written.
    row = await tx.row(sql.layout_newest, layout_id, organizer_id)
    assert row is not None
    newest = row["layout_version"]
    if version is not None and version != newest:
        raise PreconditionFailed(f"The layout is at version {newest}.")
    return await _write_layout(tx, organizer_id, row["venue_id"], layout_id, newest + 1, spec)


async def layout_by_id(
    db: Database | Transaction, organizer_id: OrganizerId, layout_id: LayoutId, version: int | None = None
) -> Layout:
    """A version of the organizer's layout, the newest when None. Raises LayoutNotFound."""
    row = await db.row(sql.layout_version, layout_id, organizer_id, version)
    if row is None:
        raise LayoutNotFound
    return _layout(row)


async def list_layouts(
    db: Database, organizer_id: OrganizerId, venue_id: VenueId, after: UUID, limit: int
) -> list[LayoutHead]:
    """The newest version of up to `limit` layouts of a venue, behind `after`, oldest first. Raises VenueNotFound."""
    await venue_by_id(db, organizer_id, venue_id)
    rows = await db.rows(sql.list_layouts, venue_id, organizer_id, after, limit)
    return [LayoutHead(**_head(row)) for row in rows]


def zone(name: str, pointer: str = "/timezone") -> str:
    """The name, when it is one of an IANA time zone. Raises Invalid."""
    if name not in _zones():
        raise Invalid("This is not the name of an IANA time zone.", pointer=pointer)
    return name


def _city(spec: VenueSpec) -> str:
    return printable(spec.city, "/city") if spec.city else ""


@cache
def _zones() -> frozenset[str]:
    """The names that mean the same on every machine.

    Files that are there as well would be read without complaint: `localtime` is whatever this machine is set to,
    `Factory` is none, and the zones under `right/` count leap seconds, which nobody's clock shows.
    """
    return frozenset(available_timezones() - {"localtime", "Factory"})


async def _write_layout(
    tx: Transaction,
    organizer_id: OrganizerId,
    venue_id: VenueId,
    layout_id: LayoutId,
    version: int,
    spec: LayoutSpec,
) -> Layout:
    plan = build(spec.areas, focal=spec.focal)
    row = await tx.row(
        sql.insert_layout, layout_id, version, venue_id, organizer_id, printable(spec.name),
        msgspec.to_builtins(spec), plan.seats,
    )  # fmt: skip
    assert row is not None
    return _layout(row)


def _layout(row: Record) -> Layout:
    return Layout(**_head(row), spec=msgspec.convert(row["plan"], LayoutSpec))


def _head(row: Record) -> dict[str, Any]:
    return {
        "layout_id": row["layout_id"],
        "version": row["layout_version"],
        "venue_id": row["venue_id"],
        "organizer_id": row["organizer_id"],
        "name": row["name"],
        "seats": row["seats"],
        "created_at": row["created_at"],
    }
