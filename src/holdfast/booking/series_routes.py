"""Many shows in one call: the trips of a bus, appointments, a run of one show. `call.state` is the Engine."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, booking, catalog
from holdfast.accounts import Staff
from holdfast.catalog import YEARS, LayoutNotFound, Show, ShowSpec
from holdfast.platform import clock
from holdfast.platform.db import Transaction
from holdfast.platform.errors import Invalid
from holdfast.platform.http import Call, Moment, Routes, Timestamp
from holdfast.platform.money import AMOUNT_MAX

# Each show takes some milliseconds of one transaction, and a year has no more days.
SERIES_SHOWS_MAX = 366
# A year of evenings in a theatre of 1,360 seats.
SERIES_SEATS_MAX = 500_000
DAY_MINUTES = 24 * 60

routes = Routes("shows")

SeriesName = Annotated[str, Meta(min_length=1, max_length=255)]
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX, description="In the currency's minor unit; 0 is free.")]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", max_length=3)]
Clock = Annotated[
    str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$", max_length=5, description="Wall-clock time: 09:30.")
]
Weekday = Annotated[int, Meta(ge=0, le=6, description="Monday is 0.")]
Weekdays = Annotated[list[Weekday], Meta(min_length=1, max_length=7)]
Moments = Annotated[list[Moment], Meta(min_length=1, max_length=SERIES_SHOWS_MAX)]


class _Series(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, tag_field="template"):
    """Dates are days at the place, times are what the clock there shows."""


class TripsSeries(_Series, frozen=True, tag="trips"):
    """Trips of a bus with `lines` of `left` and `right` seats beside the aisle.

    Either `departures`, or a timetable: its `times` on each day from `first` to `last` that is one of the `weekdays`.
    """

    name: SeriesName
    departures: Moments | None = None
    first: date | None = None
    last: date | None = None
    times: Annotated[list[Clock], Meta(min_length=1, max_length=SERIES_SHOWS_MAX)] | None = None
    weekdays: Weekdays | None = None
    timezone: catalog.Zone | None = None
    lines: Annotated[int, Meta(ge=1, le=40)] = 12
    left: Annotated[int, Meta(ge=1, le=5)] = 2
    right: Annotated[int, Meta(ge=0, le=5)] = 2
    amount: Amount = 0
    charges: catalog.Charges = catalog.Charges()
    currency: Currency = "EUR"


class AppointmentsSeries(_Series, frozen=True, tag="appointments"):
    """Appointments of `minutes` each, one place, between opening and closing of each day and outside the breaks.

    Closing at or before the opening time means the next day.
    """

    name: SeriesName
    first: date
    last: date
    opens: Clock
    closes: Clock
    minutes: Annotated[int, Meta(ge=1, le=DAY_MINUTES)]
    timezone: catalog.Zone
    breaks: Annotated[list[tuple[Clock, Clock]], Meta(max_length=20)] = []
    weekdays: Weekdays = msgspec.field(default_factory=lambda: [0, 1, 2, 3, 4])
    amount: Amount = 0
    charges: catalog.Charges = catalog.Charges()
    currency: Currency = "EUR"


class RepeatSeries(_Series, frozen=True, tag="repeat"):
    """One show again at each of `start_times`.

    `show` is the pattern. All go on sale when it does; `sale_closes_at` and `doors_at` stay as far from each start as they
    are from the pattern's own `start_time`, which is a start only if it is among `start_times`.
    """

    show: ShowSpec
    start_times: Moments


Series = TripsSeries | AppointmentsSeries | RepeatSeries


class SeriesShowJson(msgspec.Struct):
    id: UUID
    name: str
    start_time: Timestamp


class SeriesJson(msgspec.Struct):
    """The shows that were made, in the order in which they were asked for."""

    shows: list[SeriesShowJson]


@routes.post(
    "/v1/series",
    who=Staff("shows.write"),
    body=Series,
    answers={201: SeriesJson},
    refusals=(LayoutNotFound,),
    once=True,
    body_bytes_max=32 * 1_048_576,
    example={
        "template": "appointments", "name": "Consultation", "first": "2026-11-02", "last": "2026-11-06",
        "opens": "09:00", "closes": "17:00", "minutes": 30, "timezone": "Europe/Berlin",
        "breaks": [["12:00", "13:00"]],
    },
)  # fmt: skip
async def create_series(call: Call[Series], tx: Transaction) -> SeriesJson:
    """Create up to 366 shows at once: trips, appointments, or one show again and again. All of them or none."""
    specs = shows_of(call.body)
    made: list[Show] = []
    for i, spec in enumerate(specs):
        try:
            show, plan = await booking.open_show(tx, call.state.office, call.caller.organizer_id, spec)
        except Invalid as refusal:
            raise _pointed(call.body, i, refusal) from None
        # Every show of a series has the same seats, so that the first one tells.
        if plan.seats * len(specs) > SERIES_SEATS_MAX:
            raise Invalid(f"One call makes at most {SERIES_SEATS_MAX} seats, not {plan.seats * len(specs)}.")
        made.append(show)
    await accounts.audit(
        tx, call, "series.created", organizer_id=call.caller.organizer_id, after={"shows": [show.show_id for show in made]}
    )  # fmt: skip
    return SeriesJson(
        [SeriesShowJson(show.show_id, show.name, clock.rfc3339(show.start_time)) for show in made]
    )


def _pointed(series: Series, i: int, refusal: Invalid) -> Invalid:
    """What a show refuses, pointing to where the series says it."""
    errors = []
    for error in refusal.members["errors"]:
        pointer = error["pointer"]
        if isinstance(series, RepeatSeries):
            pointer = f"/start_times/{i}" if pointer == "/start_time" else f"/show{pointer}"
        elif isinstance(series, TripsSeries) and pointer == "/start_time":
            pointer = f"/departures/{i}"
        errors.append({**error, "pointer": pointer})
    return Invalid(refusal.detail or refusal.title, errors=errors)


def shows_of(series: Series) -> list[ShowSpec]:
    """The shows of a series. Raises Invalid for a series without any, with more than 366 or with two at one time."""
    match series:
        case TripsSeries():
            specs = _trips(series)
        case AppointmentsSeries():
            specs = _appointments(series)
        case RepeatSeries():
            specs = [
                _repeated(series.show, start) for start in _once_each(series.start_times, "/start_times")
            ]
    if not 1 <= len(specs) <= SERIES_SHOWS_MAX:
        raise Invalid(f"A series has 1 to {SERIES_SHOWS_MAX} shows; this would be {len(specs)}.")
    return specs


def _trips(series: TripsSeries) -> list[ShowSpec]:
    zone = catalog.zone(series.timezone) if series.timezone is not None else None
    return catalog.bus_trips(
        series.name, _departures(series, zone), lines=series.lines, left=series.left, right=series.right,
        amount=series.amount, currency=series.currency, charges=series.charges, zone=zone,
    )  # fmt: skip


def _departures(series: TripsSeries, zone: str | None) -> Sequence[datetime]:
    table = {name: getattr(series, name) for name in ("first", "last", "times", "weekdays")}
    if series.departures is not None:
        said = [name for name, value in table.items() if value is not None]
        if said:
            raise Invalid("Give departures or a timetable.", pointer=f"/{said[0]}")
        return _once_each(series.departures, "/departures")
    if series.first is None or series.last is None or series.times is None or zone is None:
        missing = [name for name in ("first", "last", "times", "timezone") if getattr(series, name) is None]
        raise Invalid(
            "Give departures, or a timetable: first, last, times and timezone.", pointer=f"/{missing[0]}"
        )
    _refuse_far_days(series.first, series.last)
    days = _weekdays(series.weekdays) if series.weekdays is not None else range(7)
    times = [_time(text) for text in series.times]
    found = catalog.timetable(series.first, series.last, times, zone, weekdays=days)
    if not found:
        raise Invalid("None of these days is one of the weekdays.", pointer="/weekdays")
    # On the day that loses an hour, two times of the clock may be one moment.
    return list(dict.fromkeys(found))


def _appointments(series: AppointmentsSeries) -> list[ShowSpec]:
    zone = catalog.zone(series.timezone)
    _refuse_far_days(series.first, series.last)
    opens = _time(series.opens)
    breaks = []
    for i, (begin, end) in enumerate(series.breaks):
        if _minutes_between(opens, _time(begin)) >= _minutes_between(opens, _time(end)):
            raise Invalid("This break ends before it begins.", pointer=f"/breaks/{i}")
        breaks.append((_time(begin), _time(end)))
    specs = catalog.appointments(
        series.name, series.first, series.last, opens, _time(series.closes), series.minutes, zone, breaks=breaks,
        weekdays=_weekdays(series.weekdays), amount=series.amount, currency=series.currency, charges=series.charges,
    )  # fmt: skip
    if not specs:
        raise Invalid("No appointment fits into these days and times.", pointer="/minutes")
    return specs


def _repeated(show: ShowSpec, start: datetime) -> ShowSpec:
    closes = show.sale_closes_at
    if closes is not None:
        try:
            closes = start.astimezone(UTC) + (closes - show.start_time)
        except OverflowError:
            raise Invalid("The sale would close too far away.", pointer="/show/sale_closes_at") from None
    doors = show.doors_at
    if doors is not None:
        try:
            doors = start.astimezone(UTC) + (doors - show.start_time)
        except OverflowError:
            raise Invalid("The doors would open too far away.", pointer="/show/doors_at") from None
    return msgspec.structs.replace(show, start_time=start, sale_closes_at=closes, doors_at=doors)


def _refuse_far_days(first: date, last: date) -> None:
    for pointer, day in (("/first", first), ("/last", last)):
        if not YEARS[0] <= day.year <= YEARS[1]:
            raise Invalid(f"The year is outside {YEARS[0]} to {YEARS[1]}.", pointer=pointer)


def _once_each(moments: Sequence[datetime], pointer: str) -> Sequence[datetime]:
    counted: Counter[datetime] = Counter()
    for i, moment in enumerate(moments):
        counted[moment] += 1
        if counted[moment] > 1:
            raise Invalid("This time is given twice.", pointer=f"{pointer}/{i}")
    return moments


def _weekdays(weekdays: Sequence[int]) -> Sequence[int]:
    if len(set(weekdays)) < len(weekdays):
        raise Invalid("A weekday is given twice.", pointer="/weekdays")
    return weekdays


def _time(text: str) -> time:
    return time.fromisoformat(text)


def _minutes_between(begin: time, end: time) -> int:
    """From one to the next time that the clock shows the other."""
    return ((end.hour - begin.hour) * 60 + end.minute - begin.minute) % DAY_MINUTES
