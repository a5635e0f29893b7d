"""Reading figures. Times are by the minute; a series has at most POINTS_MAX points, and leaves out steps of nothing."""

from datetime import datetime
from typing import Literal

import msgspec

from holdfast.platform.db import Database, load_queries
from holdfast.platform.errors import Refusal
from holdfast.platform.ids import OrganizerId, ShowId

sql = load_queries(__file__)

# A day of minutes, two months of hours, four years of days.
POINTS_MAX = 1440
PEAKS_MAX = 10
SIZES_MAX = 1000
OUTCOMES_MAX = 100

Step = Literal["minute", "hour", "day"]


class TooManyPoints(Refusal):
    code = "too_many_points"
    status = 400
    title = f"That would be more than {POINTS_MAX} points. Ask for a shorter time, or a longer step."


class Totals(msgspec.Struct, frozen=True):
    """What was sold, and what of earlier sales was called off, in the time asked for; amounts in minor units."""

    bookings: int
    places: int
    amount: int
    cancelled_bookings: int
    cancelled_places: int
    cancelled_amount: int


class Point(Totals, frozen=True):
    """The same within one step, which begins `at`."""

    at: datetime


class Size(msgspec.Struct, frozen=True):
    """How many bookings had so many places."""

    places: int
    bookings: int


class Outcome(msgspec.Struct, frozen=True):
    """How often an attempt ended so: `confirmed`, the reason of a booking, or the code of a refusal."""

    outcome: str
    times: int


class Hour(msgspec.Struct, frozen=True):
    """What was sold at this hour of the week; `weekday` 1 is Monday (ISO 8601)."""

    weekday: int
    hour: int
    bookings: int
    places: int


async def totals_of(db: Database, show_id: ShowId, since: datetime, until: datetime) -> Totals:
    """The sums of a show from `since` to before `until`."""
    row = await db.row(sql.totals, show_id, since, until)
    assert row is not None
    return Totals(**dict(row))


async def sales_of(
    db: Database, show_id: ShowId, since: datetime, until: datetime, step: Step, zone: str
) -> list[Point]:
    """A show's sales by steps on the clock of `zone`, the earliest first. Raises TooManyPoints."""
    rows = await db.rows(sql.sales, show_id, since, until, step, zone, POINTS_MAX + 1)
    if len(rows) > POINTS_MAX:
        raise TooManyPoints
    return [Point(**dict(row)) for row in rows]


async def peaks_of(db: Database, show_id: ShowId, since: datetime, until: datetime) -> list[Point]:
    """The minutes in which most places were sold, at most PEAKS_MAX, the busiest first."""
    return [Point(**dict(row)) for row in await db.rows(sql.peaks, show_id, since, until, PEAKS_MAX)]


async def sizes_of(db: Database, show_id: ShowId) -> list[Size]:
    """How many places people book at once, over the whole sale, the smallest first."""
    return [Size(**dict(row)) for row in await db.rows(sql.sizes, show_id, SIZES_MAX)]


async def outcomes_of(db: Database, show_id: ShowId, since: datetime, until: datetime) -> list[Outcome]:
    """How attempts ended, the most frequent first."""
    return [Outcome(**dict(row)) for row in await db.rows(sql.outcomes, show_id, since, until, OUTCOMES_MAX)]


async def hours_of(
    db: Database, organizer_id: OrganizerId, since: datetime, until: datetime, zone: str
) -> list[Hour]:
    """When an organizer sells over all shows, by the hour of the week in `zone`; hours of nothing are left out."""
    return [Hour(**dict(row)) for row in await db.rows(sql.hours, organizer_id, since, until, zone)]
