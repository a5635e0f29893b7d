"""Ready-made shows: what they describe can be posted, built and sold."""

from datetime import UTC, date, datetime, time, timedelta

import msgspec
import pytest

from holdfast.catalog.drawing import layout_json
from holdfast.catalog.plan import Plan, build
from holdfast.catalog.shows import ShowSpec
from holdfast.catalog.templates import (
    SERIES_DAYS_MAX,
    SERIES_MAX,
    appointments,
    bus,
    bus_trips,
    demo_theatre,
    slots,
    theatre,
    timetable,
)
from holdfast.platform.errors import Invalid

EVENING = datetime(2026, 12, 24, 19, tzinfo=UTC)
BERLIN = "Europe/Berlin"


def plan_of(show: ShowSpec) -> Plan:
    """The plan of the show, after it went over the wire as a body of the API."""
    posted = msgspec.json.decode(msgspec.json.encode(show), type=ShowSpec)
    assert posted == show
    assert posted.areas is not None
    return build(posted.areas, focal=posted.focal)


def hours(moments: list[datetime]) -> list[str]:
    return [f"{moment:%H:%M%z}" for moment in moments]


def test_a_theatre() -> None:
    plan = plan_of(theatre("Hamlet", EVENING, amount=4500, zone=BERLIN))
    assert plan.seats == 480
    assert plan.name(0) == "A-1"
    row = plan.areas[0].rows[0]
    assert [seats for _, seats in row.runs()] == [6, 12, 6]
    assert row.ys[0] < row.ys[12], "the row is curved around the stage"


def test_a_theatre_of_many_rows_has_a_label_for_each() -> None:
    plan = plan_of(theatre("Hamlet", EVENING, rows=48, seats=1))
    assert plan.areas[0].rows[-1].label == "ZZ"
    with pytest.raises(Invalid):
        theatre("Hamlet", EVENING, rows=49)
    with pytest.raises(Invalid):
        theatre("Hamlet", EVENING, seats=201)


def test_a_bus_is_named_as_people_name_it() -> None:
    plan = plan_of(bus("Night bus", EVENING))
    assert plan.seats == 48
    assert list(plan.names())[:6] == ["1A", "1B", "1C", "1D", "2A", "2B"]
    assert plan.ordinal("12D") == 47
    assert set(plan.areas[0].rows[0].runs()) == {(i, 2) for i in range(0, 48, 2)}, (
        "the aisle separates B and C"
    )


def test_other_buses() -> None:
    assert [run[1] for run in plan_of(bus("Coach", EVENING, lines=2, right=1)).areas[0].rows[0].runs()] == [
        2,
        1,
        2,
        1,
    ]
    assert plan_of(bus("Cable car", EVENING, lines=1, left=3, right=0)).seats == 3
    for lines, left, right in ((0, 2, 2), (41, 2, 2), (9, 0, 2), (9, 6, 2), (9, 2, -1), (9, 2, 6)):
        with pytest.raises(Invalid):
            bus("Bus", EVENING, lines=lines, left=left, right=right)


def test_trips() -> None:
    departures = timetable(
        date(2026, 3, 27), date(2026, 3, 30), [time(17), time(8, 30)], BERLIN, weekdays=[4, 6, 0]
    )
    assert [moment.isoformat() for moment in departures] == [
        "2026-03-27T08:30:00+01:00",
        "2026-03-27T17:00:00+01:00",
        "2026-03-29T08:30:00+02:00",
        "2026-03-29T17:00:00+02:00",
        "2026-03-30T08:30:00+02:00",
        "2026-03-30T17:00:00+02:00",
    ]
    trips = bus_trips("Berlin to Prague", departures, amount=1900, zone=BERLIN)
    assert [trip.start_time for trip in trips] == departures
    assert {trip.sale_closes_at == trip.start_time for trip in trips} == {True}
    assert plan_of(trips[0]).seats == 48
    assert trips[0].tiers[0].area == "Seats"


def test_a_series_has_a_bound() -> None:
    assert len(bus_trips("Bus", [EVENING] * SERIES_MAX, lines=1, left=1, right=0)) == SERIES_MAX
    with pytest.raises(Invalid):
        bus_trips("Bus", [EVENING] * (SERIES_MAX + 1))
    with pytest.raises(Invalid):
        bus_trips("Bus", [])
    year = date(2026, 1, 1) + timedelta(days=SERIES_DAYS_MAX - 1)
    assert len(timetable(date(2026, 1, 1), year, [time(8), time(9)], BERLIN)) == 2 * SERIES_DAYS_MAX
    with pytest.raises(Invalid):
        timetable(date(2026, 1, 1), year + timedelta(days=1), [time(8)], BERLIN)
    with pytest.raises(Invalid):
        timetable(date(2026, 1, 1), year, [time(8), time(9), time(10)], BERLIN)
    with pytest.raises(Invalid):
        timetable(date(2026, 1, 2), date(2026, 1, 1), [time(8)], BERLIN)


def test_slots_of_a_day() -> None:
    assert hours(slots(date(2026, 7, 1), time(9), time(11), 30, BERLIN)) == [
        "09:00+0200",
        "09:30+0200",
        "10:00+0200",
        "10:30+0200",
    ]
    assert len(slots(date(2026, 7, 1), time(9), time(10, 59), 30, BERLIN)) == 3, (
        "the last one must end in time"
    )
    assert slots(date(2026, 7, 1), time(9), time(9, 29), 30, BERLIN) == []


def test_slots_go_on_after_a_break() -> None:
    pauses = [(time(15), time(15, 10)), (time(12), time(13))]
    found = slots(date(2026, 1, 7), time(9), time(16), 45, BERLIN, breaks=pauses)
    assert [f"{moment:%H:%M}" for moment in found] == [
        "09:00",
        "09:45",
        "10:30",
        "11:15",
        "13:00",
        "13:45",
        "15:10",
    ]
    overlapping = slots(
        date(2026, 1, 7),
        time(9),
        time(11),
        30,
        BERLIN,
        breaks=[(time(9), time(10)), (time(9, 30), time(9, 40))],
    )
    assert [f"{moment:%H:%M}" for moment in overlapping] == ["10:00", "10:30"]


def test_the_hour_that_spring_takes() -> None:
    assert hours(slots(date(2026, 3, 29), time(0), time(5), 60, BERLIN)) == [
        "00:00+0100",
        "01:00+0100",
        "03:00+0200",
        "04:00+0200",
    ]
    assert hours(slots(date(2026, 3, 29), time(2, 30), time(4, 30), 60, BERLIN)) == ["03:30+0200"]


def test_a_departure_in_the_missing_hour_leaves_when_the_clocks_show_it() -> None:
    assert hours(timetable(date(2026, 3, 29), date(2026, 3, 29), [time(2, 30)], BERLIN)) == ["03:30+0200"]


def test_the_hour_that_autumn_gives_twice() -> None:
    assert hours(slots(date(2026, 10, 25), time(1), time(4), 60, BERLIN)) == [
        "01:00+0200",
        "02:00+0200",
        "02:00+0100",
        "03:00+0100",
    ]


def test_slots_over_midnight() -> None:
    found = slots(date(2026, 7, 1), time(22), time(2), 60, BERLIN, breaks=[(time(0), time(1))])
    assert [moment.isoformat()[8:13] for moment in found] == ["01T22", "01T23", "02T01"]
    assert len(slots(date(2026, 7, 1), time(0), time(0), 60, BERLIN)) == 24


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "", "../../etc/passwd", "Europe", "\x00"])
def test_a_zone_that_nobody_knows(zone: str) -> None:
    with pytest.raises(Invalid):
        slots(date(2026, 7, 1), time(9), time(10), 30, zone)


@pytest.mark.parametrize("minutes", [0, -30, 1_441])
def test_a_slot_has_a_length(minutes: int) -> None:
    with pytest.raises(Invalid):
        slots(date(2026, 7, 1), time(9), time(10), minutes, BERLIN)


def test_appointments() -> None:
    week = appointments(
        "Haircut", date(2026, 7, 4), date(2026, 7, 7), time(9), time(10), 30, BERLIN, amount=3500
    )
    assert [show.start_time.isoformat() for show in week] == [
        "2026-07-06T09:00:00+02:00",
        "2026-07-06T09:30:00+02:00",
        "2026-07-07T09:00:00+02:00",
        "2026-07-07T09:30:00+02:00",
    ], "the fourth and the fifth are a weekend"
    assert {plan_of(show).capacity for show in week} == {1}
    assert {show.max_places_per_booking for show in week} == {1}
    assert [tier.amount for tier in week[0].tiers] == [3500]
    with pytest.raises(Invalid):
        appointments("Haircut", date(2026, 1, 1), date(2026, 12, 31), time(9), time(17), 15, BERLIN)


def test_the_house_of_the_demonstration() -> None:
    venue = demo_theatre()
    plan = build(venue.areas, focal=venue.focal)
    assert (plan.seats, plan.capacity) == (1_210, 1_510)
    assert {area.name: area.capacity for area in plan.areas} == {
        "Floor": 300,
        "Stalls": 600,
        "Circle": 380,
        "Balcony": 182,
        "Boxes": 48,
    }
    assert {tier.name for tier in venue.tiers} == {"Adult", "Concession", "Standing"}
    assert {tier.area for tier in venue.tiers} == {area.name for area in plan.areas}, (
        "nothing is free by accident"
    )
    assert len({(tier.name, tier.area) for tier in venue.tiers}) == len(venue.tiers)
    assert None not in [plan.ordinal(seat) for seat in venue.house_seats]
    assert not any(":" in name for name in plan.names()), "no row has its label twice in the house"
    kept = {plan.name(seat): kind for seat, kind in plan.access.items()}
    assert sorted(kept.values()) == ["companion"] * 4 + ["wheelchair"] * 4
    assert set(kept) == {f"R-{seat}" for seat in (*range(1, 5), *range(42, 46))}


def test_nobody_sits_on_anybody_in_the_demonstration() -> None:
    venue = demo_theatre()
    plan = build(venue.areas)
    places = sorted(
        (x, y) for area in plan.areas for row in area.rows for x, y in zip(row.xs, row.ys, strict=True)
    )
    left, front, right, back = layout_json(plan)["areas"][0]["box"]
    for i, (x, y) in enumerate(places):
        assert not (left <= x <= right and front <= y <= back), "a seat on the floor"
        for other_x, other_y in places[i + 1 :]:
            if other_x - x >= 0.5:
                break
            assert abs(other_y - y) >= 0.5 or (other_x - x) ** 2 + (other_y - y) ** 2 >= 0.25
