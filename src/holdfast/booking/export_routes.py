"""The bookings of a show as a file for spreadsheets. `call.state` is the Engine."""

from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, booking
from holdfast.accounts import Staff
from holdfast.booking import Booking, BookingFilter
from holdfast.catalog import Plan, ShowNotFound
from holdfast.platform import sheets
from holdfast.platform.db import Database
from holdfast.platform.http import Answer, Call, Routes
from holdfast.platform.ids import BookingId, ShowId
from holdfast.platform.money import MINOR_DIGITS_NOT_TWO

EXPORT_PAGE = 1000
COLUMNS = (
    "reference", "status", "reason", "places", "quantity", "total", "currency", "email", "name", "created", "confirmed",
)  # fmt: skip

routes = Routes("bookings", missing={"show_id": ShowNotFound})


class ExportQuery(msgspec.Struct, forbid_unknown_fields=True):
    status: Annotated[str, Meta(pattern="^(PENDING|CONFIRMED|FAILED|CANCELLED)$", max_length=9)] | None = None


@routes.get(
    "/v1/shows/{show_id}/bookings.csv",
    who=Staff("bookings.read"),
    query=ExportQuery,
    answers={200: "text/csv"},
    refusals=(ShowNotFound,),
)
async def export_bookings(call: Call[None]) -> Answer:
    """Export the bookings of a show as CSV, newest first.

    Columns: reference, status, reason, places, quantity, total (in major units), currency, email, name, created,
    confirmed; UTF-8 with a byte order mark. An apostrophe stands before text that a spreadsheet would run as a formula.
    """
    view = await call.state.office.views.get(ShowId(call.path["show_id"]))
    accounts.require(call.caller, "bookings.read", view.show.organizer_id, missing=ShowNotFound)
    async with call.db.transaction() as tx:
        count = await booking.count_bookings(tx, view.show.show_id, call.query.status)
        # Names and addresses leave with it: written before the first line goes out.
        await accounts.audit(
            tx, call, "bookings.exported", organizer_id=view.show.organizer_id, subject=view.show.show_id,
            show_id=view.show.show_id, after={"bookings": count, "status": call.query.status},
        )  # fmt: skip
    lines = _lines(call.db, view.show.show_id, view.plan, call.query.status)
    return Answer(200, lines, (sheets.attached(f"bookings {view.show.name}.csv"),), sheets.MEDIA)


async def _lines(db: Database, show_id: ShowId, plan: Plan, status: str | None) -> AsyncIterator[bytes]:
    # Page by page, so that neither a snapshot nor a connection is held while the client reads. Bookings that are made
    # meanwhile stand before the first page, so none of the others is left out or comes twice.
    yield sheets.BOM + sheets.csv_line(COLUMNS)
    before = BookingId(UUID(int=2**128 - 1))
    while page := await booking.search_bookings(db, BookingFilter(show_id, before, status), EXPORT_PAGE):
        yield b"".join(sheets.csv_line(_cells(each, plan)) for each in page)
        before = page[-1].booking_id


def _cells(found: Booking, plan: Plan) -> tuple[object, ...]:
    status, reason = ("FAILED", "expired") if found.is_overdue else (found.status, found.reason)
    total = Decimal(found.total).scaleb(-MINOR_DIGITS_NOT_TWO.get(found.currency, 2))
    return (
        found.reference, status, reason, _places(found, plan), found.quantity, total, found.currency, found.email,
        found.name, found.created_at, found.confirmed_at,
    )  # fmt: skip


def _places(found: Booking, plan: Plan) -> str:
    """`Stalls A-1, Stalls A-2`, or `3 Yard` for places without seats.

    The area stands before each seat also where names need none, because a spreadsheet takes `1-2` for a day.
    """
    areas = [plan.areas[area - 1].name for area in found.areas]
    if not found.seats:
        return ", ".join(f"{count} {area}" for area, count in Counter(areas).items())
    seats = zip(areas, map(plan.name, found.seats), strict=True)
    return ", ".join(f"{area} {seat.removeprefix(area + ':')}" for area, seat in seats)
