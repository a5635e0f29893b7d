"""Venues and layouts over HTTP, for the staff of their organizer. `call.state` is the Engine."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, catalog
from holdfast.accounts import Staff
from holdfast.catalog import (
    AreaSpec,
    Layout,
    LayoutHead,
    LayoutNotFound,
    LayoutSpec,
    Venue,
    VenueNotFound,
    VenueSpec,
)
from holdfast.platform import clock
from holdfast.platform.db import Transaction
from holdfast.platform.http import (
    IF_MATCH,
    IF_NONE_MATCH,
    Answer,
    Call,
    Routes,
    Timestamp,
    created,
    etag,
    fresh,
    if_match,
)
from holdfast.platform.ids import LayoutId, OrganizerId, VenueId
from holdfast.platform.pages import PageQuery, id_in, page_of

# As for the show that is described seat by seat: 100,000 seats with a position each are some 3 MB.
LAYOUT_BYTES_MAX = 32 * 1_048_576

VENUE_EXAMPLE = {
    "name": "Globe",
    "timezone": "Europe/London",
    "address": "21 New Globe Walk, London SE1 9DT",
    "city": "London",
}
LAYOUT_EXAMPLE = {
    "name": "Thrust stage",
    "areas": [
        {"name": "Yard", "kind": "standing", "capacity": 700},
        {"name": "Gallery", "kind": "seated", "rows": [{"label": "A", "seats": 40, "gap_after": [10, 30]}]},
    ],
}

routes = Routes("venues", missing={"venue_id": VenueNotFound, "layout_id": LayoutNotFound})

READ, WRITE = Staff("venues.read"), Staff("venues.write")


class VenueJson(msgspec.Struct):
    id: UUID
    name: str
    timezone: str
    address: str
    city: str
    version: int
    created_at: Timestamp
    updated_at: Timestamp


class VenuesJson(msgspec.Struct):
    venues: list[VenueJson]
    next: str | None


class LayoutJson(msgspec.Struct):
    """A version of a layout, with its areas as they were given."""

    id: UUID
    venue_id: UUID
    name: str
    version: int
    total_seats: int
    areas: list[AreaSpec]
    focal: tuple[float, float] | None
    created_at: Timestamp


class LayoutCardJson(msgspec.Struct):
    """The newest version of a layout as it stands in a list."""

    id: UUID
    venue_id: UUID
    name: str
    version: int
    total_seats: int
    created_at: Timestamp


class LayoutsJson(msgspec.Struct):
    layouts: list[LayoutCardJson]
    next: str | None


class LayoutQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Without `version`, the newest."""

    version: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


@routes.post(
    "/v1/venues", who=WRITE, body=VenueSpec, answers={201: VenueJson}, once=True,
    example=VENUE_EXAMPLE,
)  # fmt: skip
async def create_venue(call: Call[VenueSpec], tx: Transaction) -> Answer:
    """Create a venue."""
    venue = await catalog.create_venue(tx, _organizer(call), call.body)
    await accounts.audit(
        tx, call, "venue.created", organizer_id=venue.organizer_id, subject=venue.venue_id, after={"version": venue.version}
    )  # fmt: skip
    return _tagged(created(_venue_json(venue), f"/v1/venues/{venue.venue_id}"), venue.version)


@routes.get("/v1/venues", who=READ, query=PageQuery, answers={200: VenuesJson})
async def list_venues(call: Call[None]) -> VenuesJson:
    """List the organizer's venues, oldest first."""
    query: PageQuery = call.query
    after = id_in(query.cursor) or UUID(int=0)
    found = await catalog.list_venues(call.db, _organizer(call), after, query.limit + 1)
    page, following = page_of(found, query.limit, lambda venue: venue.venue_id.hex)
    return VenuesJson([_venue_json(venue) for venue in page], following)


@routes.get(
    "/v1/venues/{venue_id}", who=READ, headers=(IF_NONE_MATCH,), answers={200: VenueJson}
)  # fmt: skip
async def read_venue(call: Call[None]) -> Answer:
    """Read a venue."""
    venue = await catalog.venue_by_id(call.db, _organizer(call), VenueId(call.path["venue_id"]))
    return fresh(call, msgspec.json.encode(_venue_json(venue)), etag(venue.version))


@routes.put(
    "/v1/venues/{venue_id}", who=WRITE, body=VenueSpec, headers=(IF_MATCH,), answers={200: VenueJson},
    example=VENUE_EXAMPLE,
)  # fmt: skip
async def edit_venue(call: Call[VenueSpec]) -> Answer:
    """Set all of a venue. Shows that were made before keep their time zone."""
    venue_id, version = VenueId(call.path["venue_id"]), if_match(call)
    async with call.db.transaction() as tx:
        venue = await catalog.edit_venue(tx, _organizer(call), venue_id, call.body, version)
        catalog.surroundings_changed(tx, call.state.cache)
        await accounts.audit(
            tx, call, "venue.edited", organizer_id=venue.organizer_id, subject=venue_id,
            before={"version": venue.version - 1}, after={"version": venue.version},
        )  # fmt: skip
    return _tagged(Answer(200, _venue_json(venue)), venue.version)


@routes.post(
    "/v1/venues/{venue_id}/layouts", who=WRITE, body=LayoutSpec, answers={201: LayoutJson}, once=True,
    body_bytes_max=LAYOUT_BYTES_MAX,
    example=LAYOUT_EXAMPLE,
)  # fmt: skip
async def create_layout(call: Call[LayoutSpec], tx: Transaction) -> Answer:
    """Create a layout of a venue, in version 1."""
    venue_id = VenueId(call.path["venue_id"])
    layout = await catalog.create_layout(tx, _organizer(call), venue_id, call.body)
    await accounts.audit(
        tx, call, "layout.created", organizer_id=_organizer(call), subject=layout.layout_id,
        after={"version": layout.version, "venue_id": venue_id, "seats": layout.seats},
    )  # fmt: skip
    return _tagged(created(_layout_json(layout), f"/v1/layouts/{layout.layout_id}"), layout.version)


@routes.get("/v1/venues/{venue_id}/layouts", who=READ, query=PageQuery, answers={200: LayoutsJson})
async def list_layouts(call: Call[None]) -> LayoutsJson:
    """List the layouts of a venue, each in its newest version, oldest first."""
    query, venue_id = call.query, VenueId(call.path["venue_id"])
    after = id_in(query.cursor) or UUID(int=0)
    found = await catalog.list_layouts(call.db, _organizer(call), venue_id, after, query.limit + 1)
    page, following = page_of(found, query.limit, lambda layout: layout.layout_id.hex)
    return LayoutsJson([_layout_card(layout) for layout in page], following)


@routes.get(
    "/v1/layouts/{layout_id}", who=READ, query=LayoutQuery, headers=(IF_NONE_MATCH,), answers={200: LayoutJson}
)  # fmt: skip
async def read_layout(call: Call[None]) -> Answer:
    """Read a layout, the newest version or the one asked for. A version never changes."""
    layout_id = LayoutId(call.path["layout_id"])
    layout = await catalog.layout_by_id(call.db, _organizer(call), layout_id, call.query.version)
    return fresh(call, msgspec.json.encode(_layout_json(layout)), etag(layout.version))


@routes.put(
    "/v1/layouts/{layout_id}", who=WRITE, body=LayoutSpec, headers=(IF_MATCH,), answers={200: LayoutJson},
    body_bytes_max=LAYOUT_BYTES_MAX, example=LAYOUT_EXAMPLE,
)  # fmt: skip
async def revise_layout(call: Call[LayoutSpec]) -> Answer:
    """Make the next version of a layout. Shows that were built from an older one keep theirs."""
    layout_id, version = LayoutId(call.path["layout_id"]), if_match(call)
    async with call.db.transaction() as tx:
        layout = await catalog.revise_layout(tx, _organizer(call), layout_id, call.body, version)
        await accounts.audit(
            tx, call, "layout.revised", organizer_id=_organizer(call), subject=layout_id,
            before={"version": layout.version - 1}, after={"version": layout.version, "seats": layout.seats},
        )  # fmt: skip
    return _tagged(Answer(200, _layout_json(layout)), layout.version)


def _organizer(call: Call[Any]) -> OrganizerId:
    """Whose venues these are: what belongs to another organizer is not found, because it is not looked for."""
    organizer_id: OrganizerId = call.caller.organizer_id
    return organizer_id


def _tagged(answer: Answer, version: int) -> Answer:
    return Answer(answer.status, answer.body, (*answer.headers, (b"etag", etag(version))))


def _venue_json(venue: Venue) -> VenueJson:
    return VenueJson(
        id=venue.venue_id,
        name=venue.name,
        timezone=venue.timezone,
        address=venue.address,
        city=venue.city,
        version=venue.version,
        created_at=clock.rfc3339(venue.created_at),
        updated_at=clock.rfc3339(venue.updated_at),
    )


def _layout_json(layout: Layout) -> LayoutJson:
    return LayoutJson(
        id=layout.layout_id,
        venue_id=layout.venue_id,
        name=layout.name,
        version=layout.version,
        total_seats=layout.seats,
        areas=layout.spec.areas,
        focal=layout.spec.focal,
        created_at=clock.rfc3339(layout.created_at),
    )


def _layout_card(layout: LayoutHead) -> LayoutCardJson:
    return LayoutCardJson(
        id=layout.layout_id,
        venue_id=layout.venue_id,
        name=layout.name,
        version=layout.version,
        total_seats=layout.seats,
        created_at=clock.rfc3339(layout.created_at),
    )
