"""Figures over HTTP. `call.state` is the Engine."""

from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from holdfast import accounts, analytics, catalog
from holdfast.accounts import Staff
from holdfast.analytics import Hour, Outcome, Point, Size, Step, TooManyPoints
from holdfast.booking import View
from holdfast.catalog import ShowNotFound
from holdfast.platform import clock
from holdfast.platform.bodies import invalid
from holdfast.platform.http import Call, Moment, Routes, Timestamp
from holdfast.platform.ids import ShowId
from holdfast.platform.money import Money

DAYS_MAX = 3700
DAYS = 90

routes = Routes("analytics", missing={"show_id": ShowNotFound})


class FiguresQuery(msgspec.Struct, forbid_unknown_fields=True):
    """From `since` (the show's creation unless given) to before `until` (now). Steps begin on the clock of the venue."""

    since: Moment | None = None
    until: Moment | None = None
    step: Step = "hour"


class HoursQuery(msgspec.Struct, forbid_unknown_fields=True):
    """From `since` (90 days ago unless given) to before `until` (now), on the clock of `timezone`."""

    since: Moment | None = None
    until: Moment | None = None
    timezone: Annotated[str, Meta(max_length=64)] = "UTC"


class SumsJson(msgspec.Struct):
    """Sales, and what of earlier sales was called off in the same time."""

    bookings: int
    places: int
    amount: Money
    cancelled_bookings: int
    cancelled_places: int
    cancelled_amount: Money


class PointJson(SumsJson):
    """The sums of one step, which begins `at`. Steps of nothing are left out."""

    at: Timestamp


class FiguresJson(msgspec.Struct):
    """A show's figures. `outcomes` counts how attempts ended: `confirmed`, reasons of bookings, codes of refusals.

    `sizes` are over the whole sale; `peaks` the minutes in which most places were sold.
    """

    since: Timestamp
    until: Timestamp
    totals: SumsJson
    sales: list[PointJson]
    peaks: list[PointJson]
    sizes: list[Size]
    outcomes: list[Outcome]


class HoursJson(msgspec.Struct):
    """Sales over all shows by the hour of the week; weekday 1 is Monday."""

    since: Timestamp
    until: Timestamp
    timezone: str
    hours: list[Hour]


@routes.get(
    "/v1/shows/{show_id}/analytics",
    who=Staff("analytics.read"),
    query=FiguresQuery,
    answers={200: FiguresJson},
    refusals=(ShowNotFound, TooManyPoints),
)
async def read_figures(call: Call[None]) -> FiguresJson:
    """Read the figures of a show: sales over time, ends of attempts, sizes of bookings, peaks. Some seconds late."""
    view: View = await call.state.office.views.get(ShowId(call.path["show_id"]))
    show = view.show
    accounts.require(call.caller, "analytics.read", show.organizer_id, missing=ShowNotFound)
    since, until = _span(call.query.since or show.created_at, call.query.until)
    asked = (call.db, show.show_id, since, until)
    return FiguresJson(
        since=clock.rfc3339(since),
        until=clock.rfc3339(until),
        totals=_sums(await analytics.totals_of(*asked), show.currency),
        sales=[
            _point(each, show.currency)
            for each in await analytics.sales_of(*asked, call.query.step, show.timezone)
        ],
        peaks=[_point(each, show.currency) for each in await analytics.peaks_of(*asked)],
        sizes=await analytics.sizes_of(call.db, show.show_id),
        outcomes=await analytics.outcomes_of(*asked),
    )


@routes.get("/v1/analytics/hours", who=Staff("analytics.read"), query=HoursQuery, answers={200: HoursJson})
async def read_hours(call: Call[None]) -> HoursJson:
    """Read when you sell: bookings and places by the hour of the week, over all shows."""
    query: HoursQuery = call.query
    since, until = _span(query.since or clock.now() - timedelta(days=DAYS), query.until)
    zone = catalog.zone(query.timezone)
    hours = await analytics.hours_of(call.db, call.caller.organizer_id, since, until, zone)
    return HoursJson(clock.rfc3339(since), clock.rfc3339(until), query.timezone, hours)


def _span(since: datetime, until: datetime | None) -> tuple[datetime, datetime]:
    # What has just happened is in the figures, too.
    end = until or clock.now() + timedelta(minutes=1)
    if not since < end:
        raise invalid("It must lie behind `since`.", "/until", "query")
    if end - since > timedelta(days=DAYS_MAX):
        raise invalid(f"At most {DAYS_MAX} days are told at once.", "/since", "query")
    # Minutes are kept under their beginning.
    return since.replace(second=0, microsecond=0), end


def _sums(sums: Any, currency: str) -> SumsJson:
    return SumsJson(
        sums.bookings, sums.places, Money(sums.amount, currency), sums.cancelled_bookings, sums.cancelled_places,
        Money(sums.cancelled_amount, currency),
    )  # fmt: skip


def _point(point: Point, currency: str) -> PointJson:
    sums = _sums(point, currency)
    return PointJson(
        sums.bookings, sums.places, sums.amount, sums.cancelled_bookings, sums.cancelled_places,
        sums.cancelled_amount, clock.rfc3339(point.at),
    )  # fmt: skip
