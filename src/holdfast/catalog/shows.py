"""Shows: one occurrence with a start time, its areas and its tiers; created, edited, listed and read.

What an edit changes are the terms of sale; who has which place is booking's. Every edit counts `version` up, and claims
say under which version they were priced, so that nobody buys by terms that have gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from holdfast.catalog.names import printable, prose
from holdfast.catalog.plan import AreaName, AreaRecord, AreaSpecs, Plan, TotalSeats, build, simple
from holdfast.catalog.tiers import (
    TIERS_MAX,
    Name,
    Tier,
    TierEdit,
    TierSpec,
    edited_tiers,
    insert_tiers,
    new_tiers,
    tier_of,
    write_tiers,
)
from holdfast.catalog.venues import Layout, Zone, layout_by_id, venue_by_id, zone
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Conflict, Invalid, NotFound, PreconditionFailed
from holdfast.platform.ids import LayoutId, OrganizerId, ShowId, VenueId, new_id
from holdfast.platform.money import CURRENCIES
from holdfast.platform.settings import Settings

sql = load_queries(__file__)

YEARS = (1970, 2999)
CITIES_MAX = 200
_NOT_YET = datetime.min.replace(tzinfo=UTC)


class ShowNotFound(NotFound):
    code = "show_not_found"
    title = "There is no such show."


class StatusStep(Conflict):
    """The show cannot go from its present status to the one asked for."""

    code = "status_step"
    title = "The show cannot take this step from its present status."


class CapacityFixed(Conflict):
    code = "capacity_fixed"
    title = "The seats of a seated area cannot be changed; only a standing area's capacity can."


Status = Literal["draft", "scheduled", "on_sale", "paused", "closed", "cancelled", "postponed"]
Orphans = Literal["allow", "refuse"]
Transfers = Literal["allow", "refuse"]

# What people read of a show, as the organizer wrote it.
TEXTS = ("description", "age_note", "access_note")

# From each status to those that an edit may set. A scheduled show sells by itself from `sale_opens_at` on.
STEPS: dict[str, frozenset[str]] = {
    "draft": frozenset({"scheduled", "on_sale", "cancelled"}),
    "scheduled": frozenset({"draft", "on_sale", "paused", "postponed", "cancelled"}),
    "on_sale": frozenset({"paused", "closed", "postponed", "cancelled"}),
    "paused": frozenset({"on_sale", "closed", "postponed", "cancelled"}),
    "closed": frozenset({"on_sale", "postponed", "cancelled"}),
    "postponed": frozenset({"scheduled", "on_sale", "paused", "closed", "cancelled"}),
    "cancelled": frozenset(),
}

Moment = Annotated[datetime, Meta(tz=True)]
HoldSeconds = Annotated[int, Meta(ge=10, le=3600)]
HoldSecondsMax = Annotated[int, Meta(ge=10, le=86_400)]
PlacesPerBooking = Annotated[int, Meta(ge=1, le=10_000)]
Description = Annotated[
    str, Meta(max_length=10_000, description="Plain text; an empty line begins a paragraph.")
]
Notice = Annotated[str, Meta(max_length=500, description="Plain text.")]
PlacesPerBuyer = Annotated[int, Meta(ge=1, le=1_000_000)]


class ShowSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A show as an organizer asks for it. One of `areas`, `total_seats` and `layout_id` says what there is to sell.

    The time zone is that of the layout's venue, else UTC, unless it is given.
    """

    name: Name
    start_time: Moment
    areas: AreaSpecs | None = None
    total_seats: TotalSeats | None = None
    layout_id: UUID | None = None
    layout_version: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    focal: tuple[float, float] | None = None
    tiers: Annotated[list[TierSpec], Meta(max_length=TIERS_MAX)] = []
    timezone: Zone | None = None
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", max_length=3)] = "EUR"
    hold_seconds: HoldSeconds | None = None
    hold_seconds_max: HoldSecondsMax | None = None
    max_places_per_booking: PlacesPerBooking = 10
    max_places_per_buyer: PlacesPerBuyer | None = None
    sale_opens_at: Moment | None = None
    sale_closes_at: Moment | None = None
    status: Literal["draft", "scheduled", "on_sale"] = "on_sale"
    orphans: Orphans = "allow"
    transfers: Transfers = "allow"
    description: Description = ""
    doors_at: Moment | None = None
    age_note: Notice = ""
    access_note: Notice = ""


class AreaEdit(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A new name for an area, or a new capacity for a standing one."""

    id: Annotated[int, Meta(ge=1, le=200)]
    name: AreaName | None = None
    capacity: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


class ShowEdit(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What an edit changes; a field that is not sent stays as it is. Areas and tiers that are not named stay, too.

    When the start moves and nothing is said of the doors, they move along.
    """

    name: Name | UnsetType = UNSET
    start_time: Moment | UnsetType = UNSET
    timezone: Zone | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    hold_seconds: HoldSeconds | UnsetType = UNSET
    hold_seconds_max: HoldSecondsMax | UnsetType = UNSET
    max_places_per_booking: PlacesPerBooking | UnsetType = UNSET
    max_places_per_buyer: PlacesPerBuyer | None | UnsetType = UNSET
    sale_opens_at: Moment | None | UnsetType = UNSET
    sale_closes_at: Moment | None | UnsetType = UNSET
    orphans: Orphans | UnsetType = UNSET
    transfers: Transfers | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    doors_at: Moment | None | UnsetType = UNSET
    age_note: Notice | UnsetType = UNSET
    access_note: Notice | UnsetType = UNSET
    areas: Annotated[list[AreaEdit], Meta(max_length=200)] = []
    tiers: Annotated[list[TierEdit], Meta(max_length=TIERS_MAX)] = []


@dataclass(frozen=True, slots=True)
class Show:
    """One occurrence, as the database has it. The fields are those of the API."""

    show_id: ShowId
    organizer_id: OrganizerId
    venue_id: VenueId | None
    layout_id: LayoutId | None
    layout_version: int | None
    name: str
    start_time: datetime
    timezone: str
    status: str
    currency: str
    hold_seconds: int
    hold_seconds_max: int
    max_places_per_booking: int
    max_places_per_buyer: int | None
    sale_opens_at: datetime | None
    sale_closes_at: datetime | None
    orphans: str
    transfers: str
    description: str
    doors_at: datetime | None
    age_note: str
    access_note: str
    previous_start_time: datetime | None
    focus_x: float
    focus_y: float
    version: int
    created_at: datetime
    updated_at: datetime
    tiers: tuple[Tier, ...]

    @property
    def selling(self) -> bool:
        """Whether the status allows sales; the times of the sale are checked by the database's clock."""
        return self.status == "on_sale" or (self.status == "scheduled" and self.sale_opens_at is not None)

    def tiers_of(self, area: int) -> list[Tier]:
        """The tiers that places of this area are sold by, hidden ones too; none: the area is free."""
        return [tier for tier in self.tiers if tier.area == area]

    @property
    def is_free(self) -> bool:
        """Whether nobody pays anything for any place."""
        return all(tier.price.amount == 0 for tier in self.tiers)


@dataclass(frozen=True, slots=True)
class ShowFilter:
    """Which shows a list holds. `after` is the (start_time, show_id) that the page begins behind."""

    after: tuple[datetime, UUID]
    starts_before: datetime | None = None
    organizer_id: OrganizerId | None = None
    search: str | None = None
    drafts: bool = False
    status: str | None = None
    city: str | None = None


async def create_show(
    tx: Transaction, organizer_id: OrganizerId, spec: ShowSpec, settings: Settings
) -> tuple[Show, Plan]:
    """Writes a new show with its areas, seats and tiers. Raises Invalid, and LayoutNotFound for an unknown layout."""
    plan, layout = await _plan_for(tx, organizer_id, spec)
    hold_seconds = spec.hold_seconds or min(
        settings.hold_seconds, spec.hold_seconds_max or settings.hold_seconds
    )
    show = Show(
        show_id=ShowId(new_id()),
        organizer_id=organizer_id,
        venue_id=layout.venue_id if layout else None,
        layout_id=layout.layout_id if layout else None,
        layout_version=layout.version if layout else None,
        name=printable(spec.name, "/name"),
        start_time=_moment(spec.start_time, "/start_time"),
        timezone=zone(spec.timezone) if spec.timezone else await _zone_of(tx, layout),
        status=spec.status,
        currency=_currency(spec.currency),
        hold_seconds=hold_seconds,
        hold_seconds_max=spec.hold_seconds_max or max(hold_seconds, settings.hold_seconds_max),
        max_places_per_booking=spec.max_places_per_booking,
        max_places_per_buyer=spec.max_places_per_buyer,
        sale_opens_at=_moment(spec.sale_opens_at, "/sale_opens_at"),
        sale_closes_at=_moment(spec.sale_closes_at, "/sale_closes_at"),
        orphans=spec.orphans,
        transfers=spec.transfers,
        description=prose(spec.description, "/description"),
        doors_at=_moment(spec.doors_at, "/doors_at"),
        age_note=prose(spec.age_note, "/age_note"),
        access_note=prose(spec.access_note, "/access_note"),
        previous_start_time=None,
        focus_x=plan.focal[0],
        focus_y=plan.focal[1],
        version=1,
        created_at=_NOT_YET,
        updated_at=_NOT_YET,
        tiers=new_tiers(spec.tiers, plan),
    )
    _check_terms(show, spec)
    written = await tx.row(
        sql.insert_show, show.show_id, organizer_id, show.venue_id, show.layout_id, show.layout_version, show.name,
        show.start_time, show.timezone, show.status, show.currency, show.hold_seconds, show.hold_seconds_max,
        show.max_places_per_booking, show.max_places_per_buyer, show.sale_opens_at, show.sale_closes_at, show.orphans,
        show.transfers, show.focus_x, show.focus_y, show.description, show.doors_at, show.age_note, show.access_note,
    )  # fmt: skip
    assert written is not None
    areas = plan.to_areas()
    await tx.execute(sql.insert_areas, show.show_id, *map(list, zip(*areas, strict=True)))
    await tx.many(
        sql.insert_seat_row,
        [(show.show_id, *row, gaps) for row, gaps in zip(plan.to_rows(), _gaps(plan), strict=True)],
    )
    await insert_tiers(tx, show.show_id, show.tiers)
    return replace(show, created_at=written["created_at"], updated_at=written["updated_at"]), plan


async def show_by_id(db: Database | Transaction, show_id: ShowId) -> Show | None:
    """The show, whatever its status, or None."""
    row = await db.row(sql.show_by_id, show_id)
    return _show(row) if row else None


async def plan_of(db: Database | Transaction, show: Show) -> Plan:
    """The seating of a show: two queries, some ten milliseconds for 100,000 seats."""
    areas = await db.rows(sql.areas_of, show.show_id)
    rows = await db.rows(sql.seat_rows_of, show.show_id)
    return Plan.from_rows(map(tuple, areas), map(tuple, rows), focal=(show.focus_x, show.focus_y))


async def list_shows(db: Database, wanted: ShowFilter, limit: int) -> list[Show]:
    """Up to `limit` shows in the order of (start_time, id)."""
    search = None
    if wanted.search:
        escaped = wanted.search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        search = f"%{escaped}%"
    narrowed = (
        *wanted.after, wanted.starts_before, wanted.organizer_id, search, wanted.drafts, wanted.status, limit
    )  # fmt: skip
    if wanted.city is not None:
        rows = await db.rows(sql.list_shows_in_city, *narrowed, wanted.city)
    else:
        rows = await db.rows(sql.list_shows, *narrowed)
    return [_show(row) for row in rows]


async def cities(db: Database, after: datetime) -> list[str]:
    """Where shows begin after this, up to CITIES_MAX of them by name."""
    return [row["city"] for row in await db.rows(sql.cities, after, CITIES_MAX)]


async def last_to_start(db: Database, organizer_id: OrganizerId | None, limit: int) -> list[Show]:
    """The shows with the latest start, the latest first; of one organizer or of all. Not drafts, nor ended sales."""
    return [_show(row) for row in await db.rows(sql.last_to_start, organizer_id, limit)]


async def areas_of_many(
    db: Database | Transaction, shows: Sequence[ShowId]
) -> dict[ShowId, list[tuple[int, str, str, int]]]:
    """(number, name, kind, capacity) of each area, by show."""
    found: dict[ShowId, list[tuple[int, str, str, int]]] = {show: [] for show in shows}
    for show_id, *area in await db.rows(sql.areas_of_many, list(shows)):
        found[show_id].append((area[0], area[1], area[2], area[3]))
    return found


async def lock_show(tx: Transaction, show_id: ShowId) -> Show | None:
    """The show, locked against other edits until the transaction ends, or None."""
    row = await tx.row(sql.lock_show, show_id)
    return _show(row) if row else None


async def edit_show(
    tx: Transaction, show: Show, edit: ShowEdit, version: int | None
) -> tuple[Show, list[AreaRecord]]:
    """Applies an edit to a show that `lock_show` gave; (the new show, the areas whose capacity changed).

    The caller has the stock follow. Raises PreconditionFailed when `version` is given and has gone, StatusStep,
    CapacityFixed and Invalid.
    """
    if version is not None and version != show.version:
        raise PreconditionFailed(f"The show is at version {show.version}.")
    if edit.status is not UNSET and edit.status != show.status and edit.status not in STEPS[show.status]:
        allowed = ", ".join(sorted(STEPS[show.status])) or "none"
        raise StatusStep(f"From {show.status} a show goes to: {allowed}.", status_now=show.status)
    changed = _edited(show, edit)
    _check_terms(changed, edit)
    before = {row["area"]: tuple(row) for row in await tx.rows(sql.areas_of, show.show_id)}
    areas = _edited_areas(before, edit.areas)
    tiers = edited_tiers(show.tiers, areas, edit.tiers)
    await _write_areas(tx, show.show_id, before, areas)
    await write_tiers(tx, show.show_id, show.version, show.tiers, tiers)
    row = await tx.row(
        sql.update_show, show.show_id, changed.name, changed.start_time, changed.timezone, changed.status,
        changed.hold_seconds, changed.hold_seconds_max, changed.max_places_per_booking, changed.max_places_per_buyer,
        changed.sale_opens_at, changed.sale_closes_at, changed.orphans, changed.transfers, changed.description,
        changed.doors_at, changed.age_note, changed.access_note, changed.previous_start_time,
    )  # fmt: skip
    assert row is not None
    resized = [area for number, area in areas.items() if area[3] != before[number][3]]
    return replace(changed, tiers=tiers, version=row["version"], updated_at=row["updated_at"]), resized


async def _plan_for(tx: Transaction, organizer_id: OrganizerId, spec: ShowSpec) -> tuple[Plan, Layout | None]:
    given = [name for name in ("areas", "total_seats", "layout_id") if getattr(spec, name) is not None]
    if len(given) != 1:
        raise Invalid(
            "Give one of areas, total_seats and layout_id.", pointer=f"/{given[1]}" if given else ""
        )
    if spec.focal is not None and spec.areas is None:
        raise Invalid("The focal point comes with areas; here it is known already.", pointer="/focal")
    if spec.layout_id is not None:
        layout = await layout_by_id(tx, organizer_id, LayoutId(spec.layout_id), spec.layout_version)
        return layout.plan(), layout
    if spec.layout_version is not None:
        raise Invalid("There is no layout to take a version of.", pointer="/layout_version")
    if spec.areas is not None:
        return build(spec.areas, focal=spec.focal), None
    assert spec.total_seats is not None
    return simple(spec.total_seats), None


async def _zone_of(tx: Transaction, layout: Layout | None) -> str:
    if layout is None:
        return "UTC"
    return (await venue_by_id(tx, layout.organizer_id, layout.venue_id)).timezone


def _gaps(plan: Plan) -> list[list[int]]:
    """After which seats of each row an aisle comes, counted from 1, in the order of `plan.to_rows()`."""
    return [[first - row.first for first, _ in row.runs()[1:]] for area in plan.areas for row in area.rows]


def _edited(show: Show, edit: ShowEdit) -> Show:
    values: dict[str, Any] = {}
    for name in ShowEdit.__struct_fields__:
        value = getattr(edit, name)
        if name in ("areas", "tiers") or value is UNSET:
            continue
        if isinstance(value, datetime):
            value = _moment(value, f"/{name}")
        values[name] = prose(value, f"/{name}") if name in TEXTS else value
    moved = values.get("start_time", show.start_time) - show.start_time
    if moved:
        if "doors_at" not in values and show.doors_at is not None:
            values["doors_at"] = _moment(show.doors_at + moved, "/start_time")
        # Nobody was ever told of a draft's.
        if show.status != "draft":
            values["previous_start_time"] = show.start_time
    changed = replace(show, **values)
    printable(changed.name, "/name")
    zone(changed.timezone)
    return changed


def _edited_areas(before: Mapping[int, AreaRecord], edits: Sequence[AreaEdit]) -> dict[int, AreaRecord]:
    """All areas as they are to be. Names are compared when all are known, so that two areas may swap theirs."""
    areas = dict(before)
    for i, edit in enumerate(edits):
        if edit.id not in before:
            raise Invalid("The show has no such area.", pointer=f"/areas/{i}/id")
        if any(edit.id == other.id for other in edits[:i]):
            raise Invalid("This area is edited twice.", pointer=f"/areas/{i}/id")
        number, name, kind, capacity = before[edit.id]
        if edit.capacity is not None and edit.capacity != capacity and kind == "seated":
            raise CapacityFixed(errors=[{"pointer": f"/areas/{i}/capacity", "detail": CapacityFixed.title}])
        if edit.name is not None:
            name = printable(edit.name, f"/areas/{i}/name")
        areas[edit.id] = (number, name, kind, edit.capacity or capacity)
    names = [name for _, name, _, _ in areas.values()]
    for i, edit in enumerate(edits):
        if names.count(areas[edit.id][1]) > 1:
            raise Invalid("The show has an area of this name already.", pointer=f"/areas/{i}/name")
    return areas


async def _write_areas(
    tx: Transaction, show_id: ShowId, before: Mapping[int, AreaRecord], areas: Mapping[int, AreaRecord]
) -> None:
    changed = [area for number, area in areas.items() if area != before[number]]
    if not changed:
        return
    renamed = [area[0] for area in changed if area[1] != before[area[0]][1]]
    if renamed:
        await tx.execute(sql.free_area_names, show_id, renamed)
    numbers, names, _, capacities = zip(*changed, strict=True)
    await tx.execute(sql.set_areas, show_id, list(numbers), list(names), list(capacities))


def _check_terms(show: Show, said: ShowSpec | ShowEdit) -> None:
    """Raises Invalid for terms that contradict one another, pointing to the one that was sent."""
    if show.hold_seconds > show.hold_seconds_max:
        at = "/hold_seconds" if isinstance(said.hold_seconds, int) else "/hold_seconds_max"
        raise Invalid("The hold time is more than the longest hold in all.", pointer=at)
    if show.sale_opens_at and show.sale_closes_at and show.sale_opens_at >= show.sale_closes_at:
        at = "/sale_closes_at" if isinstance(said.sale_closes_at, datetime) else "/sale_opens_at"
        raise Invalid("The sale closes before it opens.", pointer=at)
    if show.doors_at is not None and show.doors_at > show.start_time:
        at = "/doors_at" if isinstance(said.doors_at, datetime) else "/start_time"
        raise Invalid("Doors open after the start.", pointer=at)


def _currency(code: str) -> str:
    if code not in CURRENCIES:
        raise Invalid("This is not an ISO 4217 currency.", pointer="/currency")
    return code


def _moment(moment: Any, pointer: str) -> Any:
    if moment is None:
        return None
    moment = moment.astimezone(UTC)
    # In UTC, for that is how the moment is shown, and what was shown must do for an edit.
    if not YEARS[0] <= moment.year <= YEARS[1]:
        raise Invalid(f"The year is outside {YEARS[0]} to {YEARS[1]}.", pointer=pointer)
    return moment


def _show(row: Record) -> Show:
    values = dict(row)
    values["tiers"] = tuple(tier_of(*tier) for tier in values["tiers"])
    return Show(**values)
