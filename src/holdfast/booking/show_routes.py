"""Shows over HTTP: what is on offer, and how much of it is left. `call.state` is the Engine."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, booking, catalog
from holdfast.accounts import VISITOR, Principal, Staff
from holdfast.booking import Counts, View
from holdfast.catalog import (
    CapacityFixed,
    LayoutNotFound,
    Show,
    ShowEdit,
    ShowFilter,
    ShowNotFound,
    ShowSpec,
    StatusStep,
    Surroundings,
)
from holdfast.platform import clock
from holdfast.platform.bodies import invalid
from holdfast.platform.db import Transaction
from holdfast.platform.http import (
    IF_MATCH,
    IF_NONE_MATCH,
    Answer,
    Call,
    Moment,
    Routes,
    Timestamp,
    created,
    etag,
    fresh,
    if_match,
)
from holdfast.platform.ids import ShowId
from holdfast.platform.pages import Limit, foreign_cursor, page_of

# A show that began less than this ago still stands in the list of what is on.
STILL_ON = timedelta(hours=6)
_FOR_A_YEAR = b"public, max-age=31536000, immutable"
_ASK_AGAIN = b"no-cache"

routes = Routes("shows", missing={"show_id": ShowNotFound})


class VenueOfShowJson(msgspec.Struct):
    """Where it is, as the venue is described now."""

    id: UUID
    name: str
    address: str
    city: str


class OrganizerOfShowJson(msgspec.Struct):
    """Whose it is. `colour` is #rrggbb; `logo` is the path of a picture, for which `?width=` chooses a size."""

    id: UUID
    name: str
    colour: str | None
    logo: str | None


class AreaJson(msgspec.Struct):
    id: int
    name: str
    kind: str
    capacity: int
    available: int


class BreakdownJson(msgspec.Struct):
    """The parts of a price: `face` and `fee` are without tax, and the three are the whole, to the unit."""

    face: int
    fee: int
    tax: int


class TierTermsJson(msgspec.Struct):
    """What the organizer set: the face value, and what comes on it."""

    amount: int
    fee: int
    fee_basis_points: int
    tax_basis_points: int
    tax_included: bool


class TierJson(msgspec.Struct):
    """A price. `amount` is what a buyer pays for a place in all. Staff see hidden tiers, too, and the `terms` as they set them."""

    id: int
    name: str
    area: str
    amount: int
    breakdown: BreakdownJson
    hidden: bool | msgspec.UnsetType = msgspec.UNSET
    terms: TierTermsJson | msgspec.UnsetType = msgspec.UNSET


class ShowJson(msgspec.Struct):
    """A show. `reserved_seats` counts held and sold places; `booked_seats` the sold ones, up to a second late.

    `version` counts edits and is what `If-Match` compares; `revision` counts changes of availability.
    `previous_start_time` is the start before the last move that people were told of. Texts are plain, with an empty line
    between paragraphs, and empty where there is nothing to say.
    """

    id: UUID
    name: str
    start_time: Timestamp
    timezone: str
    status: str
    currency: str
    total_seats: int
    reserved_seats: int
    available_seats: int
    booked_seats: int
    areas: list[AreaJson]
    tiers: list[TierJson]
    revision: int
    hold_seconds: int
    hold_seconds_max: int
    max_places_per_booking: int
    max_places_per_buyer: int | None
    sale_opens_at: Timestamp | None
    sale_closes_at: Timestamp | None
    orphans: str
    transfers: str
    description: str
    doors_at: Timestamp | None
    age_note: str
    access_note: str
    previous_start_time: Timestamp | None
    organizer_id: UUID
    organizer: OrganizerOfShowJson
    venue_id: UUID | None
    venue: VenueOfShowJson | None
    layout_id: UUID | None
    layout_version: int | None
    picture_id: UUID | None
    version: int
    created_at: Timestamp
    updated_at: Timestamp


class ShowCardJson(msgspec.Struct):
    """A show as it stands in a list."""

    id: UUID
    name: str
    start_time: Timestamp
    timezone: str
    status: str
    currency: str
    total_seats: int
    reserved_seats: int
    available_seats: int
    booked_seats: int
    tiers: list[TierJson]
    sale_opens_at: Timestamp | None
    sale_closes_at: Timestamp | None
    organizer_id: UUID
    organizer: OrganizerOfShowJson
    venue_id: UUID | None
    venue: VenueOfShowJson | None
    picture_id: UUID | None


class ShowsJson(msgspec.Struct):
    shows: list[ShowCardJson]
    next: str | None


class CitiesJson(msgspec.Struct):
    cities: list[str]


class SeatJson(msgspec.Struct, omit_defaults=True):
    """A seat. `blocked`: the house keeps it, and nobody has it. `access`: what it is kept for, if it is."""

    seat: str
    area: str
    status: Literal["free", "taken", "blocked"]
    tiers: list[str]
    access: catalog.Access | msgspec.UnsetType = msgspec.UNSET


class SeatsJson(msgspec.Struct):
    revision: int
    seats: list[SeatJson]


class AreaAvailabilityJson(msgspec.Struct):
    id: int
    available: int


class AvailabilityJson(msgspec.Struct):
    """`taken` is a base64 bitmap: bit i, least significant first, is set when the seat with ordinal i is not free.

    `blocked` has those of them that the house keeps off sale, so that they can be shown as nobody's; it ends with the last
    byte that has any, and is empty when none is blocked.
    """

    revision: int
    areas: list[AreaAvailabilityJson]
    taken: str
    blocked: str


class SeatingQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    version: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None


class ShowsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """`starts_after` is six hours ago unless given, so that the list is what is on.

    `q` is a part of the show's name, of its venue's, or of the city; `city` is the whole name of one, in whatever case.
    """

    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=200)] | None = None
    starts_after: Moment | None = None
    starts_before: Moment | None = None
    q: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    city: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    status: catalog.Status | None = None
    mine: bool = False


@routes.post(
    "/v1/shows",
    who=Staff("shows.write"),
    body=ShowSpec,
    answers={201: ShowJson},
    refusals=(LayoutNotFound,),
    once=True,
    body_bytes_max=32 * 1_048_576,
    example={"name": "Hamlet", "start_time": "2026-12-24T20:00:00+01:00", "total_seats": 100},
)
async def create_show(call: Call[ShowSpec], tx: Transaction) -> Answer:
    """Create a show, its areas, seats and tiers in one call."""
    principal: Principal = call.caller
    show, plan = await booking.open_show(tx, call.state.office, principal.organizer_id, call.body)
    await accounts.audit(
        tx, call, "show.created", organizer_id=show.organizer_id, subject=show.show_id, show_id=show.show_id,
        after=booking.amounts_of(show, plan),
    )  # fmt: skip
    left = [area.capacity for area in plan.areas]
    around = (await catalog.read_surroundings(tx, [show.show_id]))[show.show_id]
    shown = _show_json(show, plan, 0, left, Counts(plan.capacity, 0, 0, 0, 0), around, staff=True)
    answer = created(shown, f"/v1/shows/{show.show_id}")
    return Answer(answer.status, answer.body, (*answer.headers, (b"etag", etag(show.version))))


@routes.get("/v1/shows", who=VISITOR, query=ShowsQuery, answers={200: ShowsJson})
async def list_shows(call: Call[None]) -> ShowsJson:
    """List shows in the order of their start."""
    query: ShowsQuery = call.query
    principal: Principal | None = call.caller
    if query.mine and principal is None:
        raise invalid("Only members of an organizer have shows of their own.", "/mine", "query")
    own = principal.organizer_id if query.mine and principal else None
    wanted = ShowFilter(
        after=_after(query),
        starts_before=_utc(query.starts_before, "/starts_before"),
        organizer_id=own,
        search=query.q,
        drafts=own is not None and accounts.permits(principal, "shows.read_all", own),
        status=query.status,
        city=query.city.strip().lower() if query.city is not None else None,
    )
    found = await booking.list_shows(call.state.office, wanted, query.limit + 1)
    page, following = page_of(found, query.limit, _cursor)
    office, ids = call.state.office, [show.show_id for show in page]
    counts = await booking.counts_of(office, ids)
    areas, around = await booking.area_names(office, ids), await booking.surroundings_of(office, ids)
    cards = [
        _card(show, counts[each], areas[each], around[each], staff=own is not None)
        for each, show in zip(ids, page, strict=True)
    ]
    return ShowsJson(cards, following)


@routes.get("/v1/cities", who=VISITOR, answers={200: CitiesJson})
async def list_cities(call: Call[None]) -> CitiesJson:
    """List the cities with shows to come, by name, up to 200 of them: what `city` of the list of shows may be."""
    return CitiesJson(await booking.cities(call.state.office, _still_on()))


@routes.get("/v1/shows/{show_id}", who=VISITOR, answers={200: ShowJson}, refusals=(ShowNotFound,))
async def read_show(call: Call[None]) -> Answer:
    """Read a show. Its ETag is the version, for edits; its counts change without it."""
    view = await visible(call)
    return await _show_answer(call, view, view.show)


@routes.patch(
    "/v1/shows/{show_id}",
    who=Staff("shows.write"),
    body=ShowEdit,
    headers=(IF_MATCH,),
    answers={200: ShowJson},
    refusals=(ShowNotFound, StatusStep, CapacityFixed, booking.CapacityBelowSold),
    example={"status": "paused"},
)
async def edit_show(call: Call[ShowEdit]) -> Answer:
    """Edit a show; what is not sent stays as it is."""
    engine, show_id, principal = call.state, ShowId(call.path["show_id"]), call.caller
    async with call.db.transaction() as tx:
        note = partial(
            accounts.audit, tx, call, "show.edited", organizer_id=principal.organizer_id, subject=show_id, show_id=show_id
        )  # fmt: skip
        show = await booking.edit_show(
            tx, engine.office, principal.organizer_id, show_id, call.body, if_match(call), note=note
        )
    return await _show_answer(call, await engine.office.views.get(show_id), show)


@routes.get(
    "/v1/shows/{show_id}/layout", who=VISITOR, query=SeatingQuery, headers=(IF_NONE_MATCH,),
    answers={200: msgspec.Raw}, refusals=(ShowNotFound,),
)  # fmt: skip
async def read_seating(call: Call[None]) -> Answer:
    """The seating: areas, rows and seats in the order of their ordinals, with coordinates in metres.

    With `?version=` and the show's present version, caches may keep the answer for a year; without, they ask again
    each time, which costs a 304.
    """
    view = await visible(call)
    kept = call.query.version == view.show.version and view.show.status != "draft"
    tag, cache = etag(view.show.version), _FOR_A_YEAR if kept else _ASK_AGAIN
    return fresh(call, view.layout, tag, packed=await view.packed_layout(), cache=cache)


@routes.get(
    "/v1/shows/{show_id}/availability", who=VISITOR, headers=(IF_NONE_MATCH,), answers={200: AvailabilityJson},
    refusals=(ShowNotFound,),
)  # fmt: skip
async def read_availability(call: Call[None]) -> Answer:
    """Which seats are free, as a bitmap, and how much each area has left; its ETag is the revision."""
    view = await visible(call)
    return fresh(call, view.availability(), etag(view.revision), packed=view.packed_availability())


@routes.get(
    "/v1/shows/{show_id}/seats", who=VISITOR, headers=(IF_NONE_MATCH,), answers={200: SeatsJson},
    refusals=(ShowNotFound,),
)  # fmt: skip
async def read_seats(call: Call[None]) -> Answer:
    """Every seat by name, with its status and tiers: the readable form of layout and availability."""
    view = await visible(call)
    revision, body = view.seats()
    # Areas and tiers stand in it by name, and an edit that renames them changes no availability.
    return fresh(call, body, b'"%d-%d"' % (view.show.version, revision))


async def visible(call: Call[Any]) -> View:
    """The view of the path's show. Raises ShowNotFound also for a draft that the caller may not see."""
    view: View = await call.state.office.views.get(ShowId(call.path["show_id"]))
    show = view.show
    if show.status == "draft" and not accounts.permits(call.caller, "shows.read_all", show.organizer_id):
        raise ShowNotFound
    return view


async def _show_answer(call: Call[Any], view: View, show: Show) -> Answer:
    engine = call.state
    counts = (await booking.counts_of(engine.office, [show.show_id]))[show.show_id]
    around = (await booking.surroundings_of(engine.office, [show.show_id]))[show.show_id]
    body = _show_json(
        show, view.plan, view.revision, view.left, counts, around,
        staff=accounts.permits(call.caller, "shows.read_all", show.organizer_id),
    )  # fmt: skip
    return Answer(200, body, ((b"etag", etag(show.version)),))


def _show_json(
    show: Show,
    plan: catalog.Plan,
    revision: int,
    left: Sequence[int],
    counts: Counts,
    around: Surroundings,
    *,
    staff: bool,
) -> ShowJson:
    # The counts may be a second older than what is left, and one answer must not contradict itself.
    reserved = max(0, plan.capacity - sum(left) - counts.blocked)
    return ShowJson(
        id=show.show_id,
        name=show.name,
        start_time=clock.rfc3339(show.start_time),
        timezone=show.timezone,
        status=show.status,
        currency=show.currency,
        total_seats=plan.capacity,
        reserved_seats=reserved,
        available_seats=sum(left),
        booked_seats=max(0, min(reserved, counts.reserved - counts.held)),
        areas=[
            AreaJson(area.number, area.name, area.kind, area.capacity, available)
            for area, available in zip(plan.areas, left, strict=True)
        ],
        tiers=tiers_json(show, [area.name for area in plan.areas], staff=staff),
        revision=revision,
        hold_seconds=show.hold_seconds,
        hold_seconds_max=show.hold_seconds_max,
        max_places_per_booking=show.max_places_per_booking,
        max_places_per_buyer=show.max_places_per_buyer,
        sale_opens_at=_moment_json(show.sale_opens_at),
        sale_closes_at=_moment_json(show.sale_closes_at),
        orphans=show.orphans,
        transfers=show.transfers,
        description=show.description,
        doors_at=_moment_json(show.doors_at),
        age_note=show.age_note,
        access_note=show.access_note,
        previous_start_time=_moment_json(show.previous_start_time),
        organizer_id=show.organizer_id,
        organizer=_organizer_json(around),
        venue_id=show.venue_id,
        venue=_venue_json(around),
        layout_id=show.layout_id,
        layout_version=show.layout_version,
        picture_id=around.picture_id,
        version=show.version,
        created_at=clock.rfc3339(show.created_at),
        updated_at=clock.rfc3339(show.updated_at),
    )


def _organizer_json(around: Surroundings) -> OrganizerOfShowJson:
    of = around.organizer
    logo = f"/v1/pictures/{of.logo_id}" if of.logo_id is not None else None
    return OrganizerOfShowJson(of.organizer_id, of.name, of.colour, logo)


def _venue_json(around: Surroundings) -> VenueOfShowJson | None:
    at = around.venue
    return VenueOfShowJson(at.venue_id, at.name, at.address, at.city) if at is not None else None


def _moment_json(moment: datetime | None) -> Timestamp | None:
    return clock.rfc3339(moment) if moment is not None else None


def _card(
    show: Show, counts: Counts, areas: Sequence[str], around: Surroundings, *, staff: bool
) -> ShowCardJson:
    return ShowCardJson(
        id=show.show_id,
        name=show.name,
        start_time=clock.rfc3339(show.start_time),
        timezone=show.timezone,
        status=show.status,
        currency=show.currency,
        total_seats=counts.total,
        reserved_seats=counts.reserved,
        available_seats=counts.total - counts.reserved - counts.blocked,
        booked_seats=counts.reserved - counts.held,
        tiers=tiers_json(show, areas, staff=staff),
        sale_opens_at=_moment_json(show.sale_opens_at),
        sale_closes_at=_moment_json(show.sale_closes_at),
        organizer_id=show.organizer_id,
        organizer=_organizer_json(around),
        venue_id=show.venue_id,
        venue=_venue_json(around),
        picture_id=around.picture_id,
    )


def tiers_json(show: Show, areas: Sequence[str], *, staff: bool = False) -> list[TierJson]:
    """The tiers as buyers see them; for `staff` all of them, with what was set. `areas`: the names of the show's areas."""
    shown = []
    for tier in show.tiers:
        if tier.hidden and not staff:
            continue
        price = tier.price
        json = TierJson(
            tier.tier, tier.name, areas[tier.area - 1], price.amount, BreakdownJson(price.face, price.fee, price.tax)
        )  # fmt: skip
        if staff:
            json.hidden = tier.hidden
            json.terms = TierTermsJson(tier.amount, **msgspec.structs.asdict(tier.charges))
        shown.append(json)
    return shown


def _cursor(show: Show) -> str:
    return urlsafe_b64encode(show.show_id.bytes + show.start_time.isoformat().encode()).decode().rstrip("=")


def _after(query: ShowsQuery) -> tuple[datetime, UUID]:
    if query.cursor is None:
        given = _utc(query.starts_after, "/starts_after")
        return given or _still_on(), UUID(int=0)
    try:
        raw = urlsafe_b64decode(query.cursor.encode() + b"=" * (-len(query.cursor) % 4))
        moment = datetime.fromisoformat(raw[16:].decode())
        if moment.tzinfo is None:
            raise ValueError(moment)
        return moment.astimezone(UTC), UUID(bytes=raw[:16])
    except (ValueError, OverflowError):
        raise foreign_cursor() from None


def _still_on() -> datetime:
    # Rounded to the minute, so that a minute's lists share one entry of the cache.
    return (clock.now() - STILL_ON).replace(second=0, microsecond=0)


def _utc(moment: datetime | None, pointer: str) -> datetime | None:
    try:
        return moment.astimezone(UTC) if moment else None
    except (OverflowError, ValueError):
        raise invalid("This moment is too far away.", pointer, "query") from None
