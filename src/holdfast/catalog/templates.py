"""Ready-made shows: a theatre, a bus and its trips, appointments, and the house of the demonstration.

Everything here is a plain description, the body of `POST /v1/shows` as it could be sent by anyone; nothing is
stored. Times are wall-clock times of an IANA zone. A time that the clocks skip in spring counts as one hour
later; one that they show twice in autumn is the first of the two.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from math import cos, sin
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from holdfast.catalog.plan import (
    AISLE_WIDTH,
    ROW_PITCH,
    SEAT_PITCH,
    Access,
    AreaSpec,
    RowSpec,
    SeatedAreaSpec,
    StandingAreaSpec,
)
from holdfast.catalog.prices import Charges
from holdfast.catalog.shows import ShowSpec
from holdfast.catalog.tiers import TierSpec
from holdfast.platform.errors import Invalid

SERIES_MAX = 1_000
SERIES_DAYS_MAX = 366

# From the middle of the last seat before the aisle to the first one behind it, and from one line of seats to
# the next: metres in a coach of 2.55 m, the widest that Directive 96/53/EC lets on the road.
BUS_AISLE = 1.05
BUS_SEAT = 0.45
BUS_LINE = 1.10

# Letters of rows in order; I and O are left out everywhere because they are read as 1 and 0.
ROW_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"

# How far behind the front of the stage curved rows have their common middle, in metres.
ARC_MIDDLE = 8.0

ALL_WEEK = (0, 1, 2, 3, 4, 5, 6)
NO_CHARGES = Charges()


class House(msgspec.Struct, frozen=True):
    """A house with its prices and the seats that are kept back, by name."""

    name: str
    areas: list[AreaSpec]
    tiers: list[TierSpec]
    house_seats: list[str]
    focal: tuple[float, float] = (0.0, 0.0)


def theatre(
    name: str,
    start_time: datetime,
    *,
    rows: int = 20,
    seats: int = 24,
    amount: int = 0,
    currency: str = "EUR",
    charges: Charges = NO_CHARGES,
    zone: str | None = None,
) -> ShowSpec:
    """A hall of curved rows, two aisles, one price. Raises Invalid for over 48 rows or 200 seats in one."""
    # A to Z without I and O, then AA to ZZ.
    _refuse_outside(rows, 1, len(ROW_LETTERS) * 2, "/rows")
    _refuse_outside(seats, 1, 200, "/seats")
    labels = [letter * times for times in (1, 2) for letter in ROW_LETTERS][:rows]
    aisles = [seats // 4, seats - seats // 4] if seats >= 12 else []
    area = SeatedAreaSpec(
        "Stalls", [_curved_row(label, seats, 14.0 + i * ROW_PITCH, aisles) for i, label in enumerate(labels)]
    )
    tiers = _one_tier("Adult", area.name, amount, charges)
    return ShowSpec(
        name=name,
        start_time=start_time,
        timezone=zone,
        currency=currency,
        areas=[area],
        tiers=tiers,
        orphans="refuse",
        sale_closes_at=start_time,
    )


def bus(
    name: str,
    departure: datetime,
    *,
    lines: int = 12,
    left: int = 2,
    right: int = 2,
    amount: int = 0,
    currency: str = "EUR",
    charges: Charges = NO_CHARGES,
    zone: str | None = None,
) -> ShowSpec:
    """One trip of a bus: seats 1A 1B | 1C 1D, 2A ... with the aisle between, the driver in front.

    The bus is one row of seats to the engine, so that `1A` is a seat's whole name; the coordinates say who
    sits beside whom. Raises Invalid for more lines (40) or seats (5 on a side) than buses have.
    """
    _refuse_outside(lines, 1, 40, "/lines")
    _refuse_outside(left, 1, 5, "/left")
    _refuse_outside(right, 0, 5, "/right")
    across = [i * BUS_SEAT for i in range(left)]
    across += [across[-1] + BUS_AISLE + i * BUS_SEAT for i in range(right)]
    middle = across[-1] / 2
    letters = "ABCDEFGHJK"[: left + right]
    seats = [
        (f"{line}{letter}", (round(x - middle, 2), round(line * BUS_LINE, 2)))
        for line in range(1, lines + 1)
        for letter, x in zip(letters, across, strict=True)
    ]
    row = RowSpec("Bus", numbers=[number for number, _ in seats], positions=[place for _, place in seats])
    area = SeatedAreaSpec("Seats", [row])
    tiers = _one_tier("Adult", area.name, amount, charges)
    return ShowSpec(
        name=name,
        start_time=departure,
        timezone=zone,
        currency=currency,
        areas=[area],
        tiers=tiers,
        sale_closes_at=departure,
    )


def bus_trips(
    name: str,
    departures: Sequence[datetime],
    *,
    lines: int = 12,
    left: int = 2,
    right: int = 2,
    amount: int = 0,
    currency: str = "EUR",
    charges: Charges = NO_CHARGES,
    zone: str | None = None,
) -> list[ShowSpec]:
    """The same bus at each departure. Raises Invalid for more than 1,000 trips, or what `bus` refuses."""
    _refuse_outside(len(departures), 1, SERIES_MAX, "/departures")
    return [
        bus(
            name,
            departure,
            lines=lines,
            left=left,
            right=right,
            amount=amount,
            currency=currency,
            charges=charges,
            zone=zone,
        )
        for departure in departures
    ]


def timetable(
    first: date, last: date, times: Sequence[time], zone: str, *, weekdays: Sequence[int] = ALL_WEEK
) -> list[datetime]:
    """Each time of each day from first to last (Monday is 0), in order. Raises Invalid beyond 1,000."""
    found: list[datetime] = []
    for day in _days(first, last, weekdays):
        found += (_moment(day, at, _zone(zone)) for at in sorted(set(times)))
        _refuse_outside(len(found), 0, SERIES_MAX, "/times")
    return found


def slots(
    day: date,
    opens: time,
    closes: time,
    minutes: int,
    zone: str,
    *,
    breaks: Sequence[tuple[time, time]] = (),
) -> list[datetime]:
    """When the appointments of a day begin, each `minutes` long, between opening and closing and outside the
    breaks.

    Minutes are real ones: on the day when the clocks change, a slot across the change has its full length and
    none falls into the missing hour. Closing at or before the opening time means the next day. After a break,
    slots start again at its end. Raises Invalid for a length out of 1 to 1,440 minutes or a zone that nobody
    knows.
    """
    _refuse_outside(minutes, 1, 1_440, "/minutes")
    place = _zone(zone)

    def moment(at: time) -> datetime:
        return _moment(day if at >= opens else day + timedelta(days=1), at, place).astimezone(UTC)

    begin, end = moment(opens), moment(closes)
    if closes == opens:
        end = _moment(day + timedelta(days=1), closes, place).astimezone(UTC)
    length = timedelta(minutes=minutes)
    found: list[datetime] = []
    pauses = sorted((moment(pause_from), moment(pause_to)) for pause_from, pause_to in breaks)
    for pause_begin, pause_end in [*pauses, (end, end)]:
        while begin + length <= min(pause_begin, end):
            found.append(begin.astimezone(place))
            begin += length
        begin = max(begin, pause_end)
    return found


def appointments(
    name: str,
    first: date,
    last: date,
    opens: time,
    closes: time,
    minutes: int,
    zone: str,
    *,
    breaks: Sequence[tuple[time, time]] = (),
    weekdays: Sequence[int] = (0, 1, 2, 3, 4),
    amount: int = 0,
    currency: str = "EUR",
    charges: Charges = NO_CHARGES,
) -> list[ShowSpec]:
    """A show of one place for every slot of every day, which can be booked until it begins.

    Raises Invalid beyond 366 days or 1,000 appointments, and for what `slots` refuses.
    """
    area = StandingAreaSpec("Appointment", 1)
    tiers = _one_tier("Appointment", area.name, amount, charges)
    found: list[ShowSpec] = []
    for day in _days(first, last, weekdays):
        for begin in slots(day, opens, closes, minutes, zone, breaks=breaks):
            found.append(
                ShowSpec(
                    name=name,
                    start_time=begin,
                    timezone=zone,
                    currency=currency,
                    max_places_per_booking=1,
                    sale_closes_at=begin,
                    areas=[area],
                    tiers=tiers,
                )
            )
        _refuse_outside(len(found), 0, SERIES_MAX, "/minutes")
    return found


def demo_theatre() -> House:
    """The house of the demonstration: 1,210 seats in four areas, a floor for 300, three tiers, ten house
    seats, four places for wheelchairs with a seat beside each.

    The rows are arcs around a point behind the stage, as in houses of the nineteenth century. Labels differ
    between the areas (A, AA, AAA), so that nobody ends up in the wrong row A.
    """
    # At both ends of the last row of the stalls, where the doors are.
    side: list[Access | None] = ["wheelchair", "companion", "companion", "wheelchair"]
    stalls = [
        _curved_row(
            label, 30 + i, 21.0 + i * ROW_PITCH, [8, 22 + i], [*side, *[None] * (22 + i), *side] if i == 15 else None
        )
        for i, label in enumerate(ROW_LETTERS[:16])
    ]  # fmt: skip
    circle = [
        _curved_row(label * 2, 44 + i, 37.5 + i * ROW_PITCH, [11, 33 + i])
        for i, label in enumerate(ROW_LETTERS[:8])
    ]
    balcony = [
        _curved_row(label * 3, 44 + i, 47.0 + i * ROW_PITCH, [11, 33 + i])
        for i, label in enumerate(ROW_LETTERS[:4])
    ]
    boxes = [RowSpec(f"Box {number}", seats=4, positions=_box(number)) for number in range(1, 13)]
    amounts = {"Stalls": (5900, 3900), "Circle": (4900, 3200), "Balcony": (2900, 1900), "Boxes": (7900, 5900)}
    tiers = [TierSpec("Standing", "Floor", 2500)]
    for area, (adult, concession) in amounts.items():
        tiers += [TierSpec("Adult", area, adult), TierSpec("Concession", area, concession)]
    return House(
        "Holdfast Theatre",
        [
            StandingAreaSpec("Floor", 300),
            SeatedAreaSpec("Stalls", stalls),
            SeatedAreaSpec("Circle", circle),
            SeatedAreaSpec("Balcony", balcony),
            SeatedAreaSpec("Boxes", boxes),
        ],
        tiers,
        # The middle of the sixth row for guests of the house, places at the aisle for the doctor and the
        # usher, and the box next to the stage.
        [*(f"F-{seat}" for seat in range(16, 20)), "Q-8", "Q-9", *(f"Box 1-{seat}" for seat in range(1, 5))],
    )


def _one_tier(name: str, area: str, amount: int, charges: Charges) -> list[TierSpec]:
    """The one price of a show; none where nobody pays anything."""
    tier = TierSpec(name, area, amount, **msgspec.structs.asdict(charges))
    return [tier] if amount or charges.fee else []


def _curved_row(
    label: str,
    seats: int,
    radius: float,
    aisles: Sequence[int],
    access: list[Access | None] | None = None,
) -> RowSpec:
    """A row on an arc around a point behind the stage; `radius` in metres, aisles after these seats."""
    along = [0.0]
    for i in range(1, seats):
        along.append(along[-1] + SEAT_PITCH + (AISLE_WIDTH if i in aisles else 0.0))
    angles = [(place - along[-1] / 2) / radius for place in along]
    return RowSpec(
        label,
        seats=seats,
        positions=[
            (round(radius * sin(angle), 2), round(radius * cos(angle) - ARC_MIDDLE, 2)) for angle in angles
        ],
        access=access,
    )


def _box(number: int) -> list[tuple[float, float]]:
    """Two and two chairs of a box: odd ones to the left of the stalls, even ones right, front to back."""
    side = -1 if number % 2 else 1
    front = 5.0 + 3.2 * ((number - 1) // 2)
    return [
        (round(side * (16.5 + line * ROW_PITCH), 2), round(front + seat * 0.7, 2))
        for line in (0, 1)
        for seat in (0, 1)
    ]


def _days(first: date, last: date, weekdays: Sequence[int]) -> Iterator[date]:
    """The days from first to last, both included, that fall on the weekdays."""
    _refuse_outside((last - first).days + 1, 1, SERIES_DAYS_MAX, "/last")
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        if day.weekday() in weekdays:
            yield day


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid(
            "This time zone is not known; zones are named as in Europe/Berlin.", pointer="/zone"
        ) from None


def _moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Through UTC and back, so that a time that the clocks skip comes out as the one that they show then."""
    return datetime.combine(day, at, zone).astimezone(UTC).astimezone(zone)


def _refuse_outside(value: int, least: int, most: int, pointer: str) -> None:
    if not least <= value <= most:
        raise Invalid(f"This must be {least} to {most}, not {value}.", pointer=pointer)
