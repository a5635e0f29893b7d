"""Promotion codes over HTTP, and what prices are made of. `call.state` is the Engine."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, booking, catalog
from holdfast.accounts import VISITOR, Buyer, Staff
from holdfast.booking import (
    Code,
    CodeEdit,
    CodeNotFound,
    CodeRefused,
    CodeSpec,
    CodesSpec,
    CodeTaken,
    CodeUnknown,
    Line,
    UsesBelowUsed,
)
from holdfast.booking.show_routes import BreakdownJson, TierJson, tiers_json, visible
from holdfast.catalog import ShowNotFound
from holdfast.platform import clock
from holdfast.platform.db import Transaction
from holdfast.platform.http import IF_MATCH, Answer, Call, Routes, Timestamp, created, etag, if_match
from holdfast.platform.ids import CodeId, ShowId
from holdfast.platform.limits import RateLimited, by_address
from holdfast.platform.money import Money
from holdfast.platform.pages import PageQuery, id_in, page_of

CODES = Staff("codes.write")

routes = Routes(
    "codes",
    missing={
        "show_id": ShowNotFound,
        "code_id": CodeNotFound,
        "booking_id": booking.BookingNotFound,
    },
)


class CodeJson(msgspec.Struct):
    """A code. `used` counts the bookings by it that are held or sold."""

    id: UUID
    show_id: UUID
    code: str
    discount_basis_points: int | None
    discount_amount: int | None
    tiers: list[int]
    reveals: list[int]
    starts_at: Timestamp | None
    ends_at: Timestamp | None
    uses_max: int | None
    used: int
    places_max: int | None
    version: int
    created_at: Timestamp
    withdrawn_at: Timestamp | None


class CodesJson(msgspec.Struct):
    codes: list[CodeJson]
    next: str | None


class MadeCodesJson(msgspec.Struct):
    codes: list[CodeJson]


class PricesQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    code: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class CodeTermsJson(msgspec.Struct):
    """What a buyer is told of a code that is right. `places_max`: places in one booking."""

    discount_basis_points: int | None
    discount_amount: int | None
    ends_at: Timestamp | None
    places_max: int | None


class PricesJson(msgspec.Struct):
    """The tiers that are sold to who asks, with what they pay. `code` is there when one was given."""

    currency: str
    tiers: list[TierJson]
    code: CodeTermsJson | None


class PlacePriceJson(msgspec.Struct):
    """What one place costs, in the order of the booking's places. `before` is the price without the booking's code."""

    tier: str | None
    amount: int
    before: int
    breakdown: BreakdownJson


class TaxJson(msgspec.Struct):
    """The tax of one rate: `net` is what it is on."""

    basis_points: int
    net: int
    tax: int


class BookingBreakdownJson(msgspec.Struct):
    """What the price of a booking is made of, as it was when the places were claimed; nothing changes it later."""

    total: Money
    breakdown: BreakdownJson
    discount: int
    taxes: list[TaxJson]
    places: list[PlacePriceJson]
    code_id: UUID | None


@routes.post(
    "/v1/shows/{show_id}/codes",
    who=CODES,
    body=CodeSpec,
    answers={201: CodeJson},
    refusals=(ShowNotFound, CodeTaken),
    once=True,
    example={"code": "EARLY BIRD", "discount_basis_points": 1000, "uses_max": 100, "ends_at": "2026-11-30T23:00:00Z"},
)  # fmt: skip
async def create_code(call: Call[CodeSpec], tx: Transaction) -> Answer:
    """Make a promotion code."""
    show = await _own_show(call, tx)
    made = await booking.make_code(tx, show, call.body)
    await accounts.audit(
        tx, call, "code.created", organizer_id=show.organizer_id, subject=made.code_id, show_id=show.show_id,
        after=_figures(made),
    )  # fmt: skip
    answer = created(_json(made), f"/v1/shows/{show.show_id}/codes/{made.code_id}")
    return Answer(answer.status, answer.body, (*answer.headers, (b"etag", etag(made.version))))


@routes.post(
    "/v1/shows/{show_id}/codes/generate",
    who=CODES,
    body=CodesSpec,
    answers={201: MadeCodesJson},
    refusals=(ShowNotFound,),
    once=True,
    example={
        "count": 50,
        "prefix": "PRESS-",
        "discount_basis_points": 10_000,
        "uses_max": 1,
        "places_max": 2,
    },
)
async def generate_codes(call: Call[CodesSpec], tx: Transaction) -> MadeCodesJson:
    """Make up to 1,000 random codes with the same terms."""
    show = await _own_show(call, tx)
    made = await booking.make_codes(tx, show, call.body)
    await accounts.audit(
        tx, call, "codes.generated", organizer_id=show.organizer_id, subject=show.show_id, show_id=show.show_id,
        after={"codes": [each.code_id for each in made], **_figures(made[0])},
    )  # fmt: skip
    return MadeCodesJson([_json(each) for each in made])


@routes.get(
    "/v1/shows/{show_id}/codes",
    who=CODES,
    query=PageQuery,
    answers={200: CodesJson},
    refusals=(ShowNotFound,),
)
async def list_codes(call: Call[None]) -> CodesJson:
    """List the codes of a show with their use, oldest first; withdrawn ones, too."""
    view = await call.state.office.views.get(ShowId(call.path["show_id"]))
    accounts.require(call.caller, "codes.write", view.show.organizer_id, missing=ShowNotFound)
    after = CodeId(id_in(call.query.cursor) or UUID(int=0))
    found = await booking.codes_of(call.db, view.show.show_id, after, call.query.limit + 1)
    page, following = page_of(found, call.query.limit, lambda code: code.code_id.hex)
    return CodesJson([_json(each) for each in page], following)


@routes.get("/v1/shows/{show_id}/codes/{code_id}", who=CODES, answers={200: CodeJson})
async def read_code(call: Call[None]) -> Answer:
    """Read a code."""
    found = await booking.code_by_id(call.db, ShowId(call.path["show_id"]), CodeId(call.path["code_id"]))
    accounts.require(call.caller, "codes.write", found.organizer_id, missing=CodeNotFound)
    return Answer(200, _json(found), ((b"etag", etag(found.version)),))


@routes.patch(
    "/v1/shows/{show_id}/codes/{code_id}",
    who=CODES,
    body=CodeEdit,
    headers=(IF_MATCH,),
    answers={200: CodeJson},
    refusals=(UsesBelowUsed,),
    example={"uses_max": 200},
)
async def edit_code(call: Call[CodeEdit]) -> Answer:
    """Change when, how often and for how many places a code may be used. What it gives stays as it is."""
    show_id, code_id = ShowId(call.path["show_id"]), CodeId(call.path["code_id"])
    async with call.db.transaction() as tx:
        await _own_code(call, tx)
        before, after = await booking.edit_code(tx, show_id, code_id, call.body, if_match(call))
        await accounts.audit(
            tx, call, "code.edited", organizer_id=after.organizer_id, subject=code_id, show_id=show_id,
            before=_figures(before), after=_figures(after),
        )  # fmt: skip
    return Answer(200, _json(after), ((b"etag", etag(after.version)),))


@routes.delete("/v1/shows/{show_id}/codes/{code_id}", who=CODES, answers={204: None})
async def withdraw_code(call: Call[None]) -> None:
    """Withdraw a code for good. What was booked by it stays as it is, at its price."""
    show_id, code_id = ShowId(call.path["show_id"]), CodeId(call.path["code_id"])
    async with call.db.transaction() as tx:
        found = await _own_code(call, tx)
        withdrawn = await booking.withdraw_code(tx, show_id, code_id)
        if withdrawn is not None:
            await accounts.audit(
                tx, call, "code.withdrawn", organizer_id=found.organizer_id, subject=code_id, show_id=show_id,
                before=_figures(found),
            )  # fmt: skip


@routes.get(
    "/v1/shows/{show_id}/prices",
    who=VISITOR,
    query=PricesQuery,
    answers={200: PricesJson},
    refusals=(ShowNotFound, CodeUnknown, CodeRefused, RateLimited),
)
async def read_prices(call: Call[None]) -> PricesJson:
    """What buyers pay; with `?code=`, what who has the code pays, and the hidden tiers that it reveals.

    Wrong codes are counted by address. A code that is right and cannot be used now says why.
    """
    view, text, code = await visible(call), call.query.code, None
    show = view.show
    if text is not None:
        async with call.state.limits.trying("promotion", by_address(call.client_ip), CodeUnknown):
            code = await booking.code_named(call.db, show.show_id, text)
        code.refuse_shut()
        show = code.applied(show)
    tiers = tiers_json(show, [area.name for area in view.plan.areas])
    return PricesJson(show.currency, tiers, _terms_json(code) if code is not None else None)


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/breakdown",
    who=Buyer("bookings.read"),
    answers={200: BookingBreakdownJson},
)
async def read_breakdown(call: Call[None]) -> BookingBreakdownJson:
    """What the price of a booking is made of: face value, fee and tax, place by place and in all."""
    found = await booking.own_booking(call, "bookings.read", call.db)
    view = await call.state.office.views.get(found.show_id)
    lines = await booking.breakdown_of(call.db, found)
    names = {tier.tier: tier.name for tier in view.show.tiers}
    places = [
        PlacePriceJson(names.get(line.tier), line.price.amount, line.before, BreakdownJson(*line.price))
        for line in lines
    ]
    return BookingBreakdownJson(
        Money(found.total, found.currency), _sum(lines), sum(line.before - line.price.amount for line in lines),
        _taxes(lines), places, found.code_id,
    )  # fmt: skip


async def _own_show(call: Call[Any], tx: Transaction) -> catalog.Show:
    show = await catalog.show_by_id(tx, ShowId(call.path["show_id"]))
    if show is None:
        raise ShowNotFound
    accounts.require(call.caller, "codes.write", show.organizer_id, missing=ShowNotFound)
    return show


async def _own_code(call: Call[Any], tx: Transaction) -> Code:
    found = await booking.code_by_id(tx, ShowId(call.path["show_id"]), CodeId(call.path["code_id"]))
    accounts.require(call.caller, "codes.write", found.organizer_id, missing=CodeNotFound)
    return found


def _json(code: Code) -> CodeJson:
    return CodeJson(
        id=code.code_id,
        show_id=code.show_id,
        code=code.code,
        discount_basis_points=code.discount_basis_points,
        discount_amount=code.discount_amount,
        tiers=code.tiers,
        reveals=code.reveals,
        starts_at=clock.rfc3339(code.starts_at) if code.starts_at else None,
        ends_at=clock.rfc3339(code.ends_at) if code.ends_at else None,
        uses_max=code.uses_max,
        used=code.used,
        places_max=code.places_max,
        version=code.version,
        created_at=clock.rfc3339(code.created_at),
        withdrawn_at=clock.rfc3339(code.withdrawn_at) if code.withdrawn_at else None,
    )


def _terms_json(code: Code) -> CodeTermsJson:
    ends_at = clock.rfc3339(code.ends_at) if code.ends_at else None
    return CodeTermsJson(code.discount_basis_points, code.discount_amount, ends_at, code.places_max)


def _figures(code: Code) -> dict[str, Any]:
    """What an entry of the audit says of a code: all but the code itself."""
    names = (
        "discount_basis_points", "discount_amount", "tiers", "reveals", "starts_at", "ends_at", "uses_max", "used",
        "places_max", "version",
    )  # fmt: skip
    return {name: getattr(code, name) for name in names}


def _sum(lines: list[Line]) -> BreakdownJson:
    return BreakdownJson(
        sum(line.price.face for line in lines), sum(line.price.fee for line in lines), sum(line.price.tax for line in lines)
    )  # fmt: skip


def _taxes(lines: list[Line]) -> list[TaxJson]:
    by_rate: dict[int, TaxJson] = {}
    for line in lines:
        of_rate = by_rate.setdefault(line.tax_basis_points, TaxJson(line.tax_basis_points, 0, 0))
        of_rate.net += line.price.face + line.price.fee
        of_rate.tax += line.price.tax
    return [by_rate[rate] for rate in sorted(by_rate)]
