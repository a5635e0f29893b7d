"""The static seating: names, ordinals, coordinates, and what is refused."""

import struct
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.catalog.drawing import layout_json
from holdfast.catalog.plan import (
    AREAS_MAX,
    COORDINATE_MAX,
    ROW_SEATS_MAX,
    ROWS_MAX,
    SEATS_MAX,
    STANDING_CAPACITY_MAX,
    AreaSpec,
    AreaSpecs,
    Plan,
    RowSpec,
    SeatedAreaSpec,
    StandingAreaSpec,
    build,
    simple,
)
from holdfast.platform.errors import Invalid


def seated(name: str = "Stalls", *rows: RowSpec) -> SeatedAreaSpec:
    return SeatedAreaSpec(name, list(rows) or [RowSpec("A", seats=3), RowSpec("B", seats=4)])


def refused(areas: list[AreaSpec], **options: Any) -> str:
    """The pointer to the field that made the plan impossible."""
    with pytest.raises(Invalid) as caught:
        build(areas, **options)
    pointer = caught.value.members["errors"][0]["pointer"]
    assert isinstance(pointer, str)
    return pointer


def stored(plan: Plan) -> Plan:
    """Through the database and back: numbers become lists, coordinates 32-bit floats, the order is lost."""

    def real(value: float) -> float:
        narrow: float = struct.unpack("f", struct.pack("f", value))[0]
        return narrow

    rows = [
        (area, number, label, first, list(numbers), list(map(real, xs)), list(map(real, ys)), access)
        for area, number, label, first, numbers, xs, ys, access in plan.to_rows()
    ]
    return Plan.from_rows(
        reversed(plan.to_areas()), reversed(rows), focal=(real(plan.focal[0]), real(plan.focal[1]))
    )


# Names and ordinals


def test_ordinals_run_through_areas_rows_and_seats() -> None:
    plan = build([seated(), StandingAreaSpec("Floor", 50), seated("Circle", RowSpec("C", seats=2))])
    assert list(plan.names()) == ["A-1", "A-2", "A-3", "B-1", "B-2", "B-3", "B-4", "1", "2"]
    assert [plan.name(i) for i in range(plan.seats)] == list(plan.names())
    assert [plan.ordinal(name) for name in plan.names()] == list(range(9))
    assert (plan.seats, plan.capacity) == (9, 59)
    assert [plan.area_of(i).name for i in (0, 6, 7, 8)] == ["Stalls", "Stalls", "Circle", "Circle"]
    assert [(area.number, area.first, area.seats) for area in plan.areas] == [(1, 0, 7), (2, 7, 0), (3, 7, 2)]


def test_equal_names_are_told_apart_by_the_area() -> None:
    plan = build([seated("Stalls"), seated("Circle", RowSpec("B", seats=2), RowSpec("C", seats=1))])
    assert plan.name(0) == "A-1"
    assert plan.name(3) == "Stalls:B-1"
    assert plan.name(7) == "Circle:B-1"
    assert plan.ordinal("B-1") is None, "which of the two?"
    assert plan.ordinal("B-3") == 5, "only the stalls have one"
    assert plan.ordinal("Circle:B-1") == 7
    assert [plan.ordinal(name) for name in plan.names()] == list(range(plan.seats))


def test_the_form_with_the_area_is_always_accepted() -> None:
    plan = build([seated("Left: upper"), seated("Bar", RowSpec("Z", seats=3))])
    assert plan.ordinal("Left: upper:B-4") == 6
    assert plan.ordinal("Bar:2") == 8
    assert simple(5).ordinal("Main:5") == 4


@pytest.mark.parametrize(
    "name", ["", "A", "A-", "-1", "A-0", "A-4", "C-1", "a-1", "Bar:A-1", ":A-1", "A-1:", "A-01"]
)
def test_what_is_no_seat(name: str) -> None:
    assert build([seated(), seated("Bar", RowSpec("Z", seats=3))]).ordinal(name) is None


def test_a_hostile_name_costs_nothing() -> None:
    assert simple(5).ordinal("-" * 5_000_000) is None


def test_hyphens_in_labels_and_numbers() -> None:
    plan = build([seated("Boxes", RowSpec("A-1", numbers=["1", "1-2"]), RowSpec("B", numbers=["x-y-z"]))])
    assert list(plan.names()) == ["A-1-1", "A-1-1-2", "B-x-y-z"]
    assert [plan.ordinal(name) for name in plan.names()] == [0, 1, 2]


def test_no_seat_no_name() -> None:
    plan = simple(3)
    for ordinal in (-1, 3):
        with pytest.raises(IndexError):
            plan.name(ordinal)
        with pytest.raises(IndexError):
            plan.area_of(ordinal)


@given(
    st.lists(
        st.lists(
            st.lists(st.sampled_from("123456789"), min_size=1, max_size=5, unique=True),
            min_size=1,
            max_size=4,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_every_name_leads_back_to_its_seat(numbers: list[list[list[str]]]) -> None:
    plan = build(
        [
            SeatedAreaSpec(f"Area {i}", [RowSpec("ABCD"[j], numbers=row) for j, row in enumerate(rows)])
            for i, rows in enumerate(numbers)
        ]
    )
    names = list(plan.names())
    assert len(set(names)) == len(names) == plan.seats
    for ordinal, name in enumerate(names):
        assert (
            plan.ordinal(name)
            == ordinal
            == plan.ordinal(f"{plan.area_of(ordinal).name}:{name.split(':')[-1]}")
        )
    assert stored(plan) == plan


# Coordinates and aisles


def test_default_rows_stand_centred_behind_one_another() -> None:
    first, second = build([seated()]).areas[0].rows
    assert list(first.xs) == [-0.55, 0.0, 0.55]
    assert sum(second.xs) == pytest.approx(0)
    assert set(first.ys) == {3.0}
    assert set(second.ys) == {3.9}


def test_an_aisle_is_seen_and_separates() -> None:
    plan = build([seated("Stalls", RowSpec("A", seats=6, gap_after=[2, 3]))])
    row = plan.areas[0].rows[0]
    assert row.runs() == [(0, 2), (2, 1), (3, 3)]
    assert row.xs[2] - row.xs[1] == pytest.approx(1.65, abs=0.011)
    assert row.xs[0] == pytest.approx(-row.xs[-1]), "the row as a whole is centred"


def test_aisles_survive_the_database() -> None:
    areas: list[AreaSpec] = [
        seated("Stalls", *[RowSpec(f"R{i}", seats=40, gap_after=[10, 30]) for i in range(60)]),
        seated("Far", RowSpec("A", numbers=["x", "y"], x=-9_000.33, y=9_000.77)),
        StandingAreaSpec("Floor", 7),
    ]
    plan = build(areas, focal=(1.3, -2.75))
    again = stored(plan)
    assert again == plan
    assert [row.runs() for area in again.areas for row in area.rows] == [
        row.runs() for area in plan.areas for row in area.rows
    ]
    assert layout_json(again) == layout_json(plan)


def test_explicit_positions_decide_who_are_neighbours() -> None:
    places = [(0.0, 5.0), (1.0, 5.0), (2.01, 5.0), (2.01, 4.2)]
    plan = build([seated("Stalls", RowSpec("A", seats=4, positions=places))])
    row = plan.areas[0].rows[0]
    assert list(zip(row.xs, row.ys, strict=True)) == places
    assert row.runs() == [(0, 2), (2, 2)], "one metre is beside, one centimetre more is not"


def test_x_and_y_put_the_first_seat() -> None:
    row = build([seated("Stalls", RowSpec("A", seats=2, x=4.0, y=7.5))]).areas[0].rows[0]
    assert (list(row.xs), list(row.ys)) == ([4.0, 4.55], [7.5, 7.5])


def test_areas_do_not_overlap() -> None:
    plan = build([seated("Stalls"), seated("Circle"), StandingAreaSpec("Bar", 100), seated("Balcony")])
    depths = [
        (min(row.ys[0] for row in area.rows), max(row.ys[0] for row in area.rows))
        for area in plan.areas
        if area.rows
    ]
    assert all(before[1] + 1 < behind[0] for before, behind in pairwise(depths))
    box = layout_json(plan)["areas"][2]["box"]
    assert box[1] > depths[-1][1]


def test_a_floor_that_comes_first_lies_before_the_seats() -> None:
    plan = build([StandingAreaSpec("Floor", 500), StandingAreaSpec("Pit", 30), seated()])
    floor, pit, stalls = layout_json(plan)["areas"]
    assert 0 < floor["box"][1] < floor["box"][3] < pit["box"][1] < pit["box"][3] < stalls["rows"][0]["ys"][0]


def test_a_floor_without_room_before_the_seats_lies_behind() -> None:
    plan = build([StandingAreaSpec("Floor", 500), seated("Stalls", RowSpec("A", seats=4, y=1.0))])
    assert layout_json(plan)["areas"][0]["box"][1] > 1.0


def test_the_layout_tells_everything_a_map_needs() -> None:
    shown = msgspec.json.decode(
        msgspec.json.encode(layout_json(build([seated(), StandingAreaSpec("Floor", 50)])))
    )
    assert {key: shown[key] for key in ("total_seats", "capacity", "focal")} == {
        "total_seats": 7,
        "capacity": 57,
        "focal": [0.0, 0.0],
    }
    stalls, floor = shown["areas"]
    assert stalls == {
        "id": 1,
        "name": "Stalls",
        "kind": "seated",
        "capacity": 7,
        "first": 0,
        "rows": [
            {"label": "A", "first": 0, "numbers": ["1", "2", "3"], "xs": [-0.55, 0.0, 0.55], "ys": [3.0] * 3},
            {
                "label": "B",
                "first": 3,
                "numbers": ["1", "2", "3", "4"],
                "xs": [-0.83, -0.28, 0.28, 0.83],
                "ys": [3.9] * 4,
            },
        ],
    }
    assert (floor["id"], floor["kind"], floor["capacity"], len(floor["box"])) == (2, "standing", 50, 4)


# The short form


@pytest.mark.parametrize("seats", [1, 50, 51, 100, ROW_SEATS_MAX, ROW_SEATS_MAX + 1, SEATS_MAX])
def test_the_short_form(seats: int) -> None:
    plan = simple(seats)
    assert plan.to_areas() == [(1, "Main", "seated", seats)]
    assert (len(plan.to_rows()) == 1) == (seats <= ROW_SEATS_MAX)
    assert max(len(row.numbers) for row in plan.areas[0].rows) <= ROW_SEATS_MAX
    assert list(plan.names()) == [str(number) for number in range(1, seats + 1)]
    assert plan.ordinal(str(seats)) == plan.ordinal(f"Main:{seats}") == seats - 1
    assert plan.ordinal(str(seats + 1)) is None
    assert max(plan.areas[0].rows[-1].ys) < 800, "a large house is still drawn as a house"
    assert stored(plan) == plan


def test_the_short_form_is_drawn_in_lines_that_are_not_neighbours() -> None:
    assert simple(50).areas[0].rows[0].runs() == [(0, 50)]
    assert simple(120).areas[0].rows[0].runs() == [(0, 50), (50, 50), (100, 20)]
    large = [run for row in simple(100_000).areas[0].rows for run in row.runs()]
    assert {seats for _, seats in large[:-1]} == {447}, "no line is broken by the rows that it is kept in"


@pytest.mark.parametrize("seats", [-1, 0, SEATS_MAX + 1, 2**63])
def test_the_short_form_has_bounds(seats: int) -> None:
    with pytest.raises(Invalid) as caught:
        simple(seats)
    assert caught.value.members["errors"][0]["pointer"] == "/total_seats"


def test_a_house_of_a_hundred_thousand() -> None:
    rows = [RowSpec(f"R{i}", seats=50, gap_after=[25]) for i in range(500)]
    plan = build([seated(f"Block {i}", *rows) for i in range(4)])
    assert plan.seats == 100_000
    assert plan.name(99_999) == "Block 3:R499-50"
    assert plan.ordinal("Block 3:R499-50") == 99_999
    first, last = plan.areas[0].rows[0], plan.areas[3].rows[499]
    assert first.numbers is last.numbers, "equal numbers are kept once"


# What is refused


@pytest.mark.parametrize(
    ("areas", "pointer"),
    [
        ([], "/areas"),
        ([seated("A"), seated("B"), seated("A")], "/areas/2/name"),
        ([SeatedAreaSpec("A", [])], "/areas/0/rows"),
        ([seated("A", RowSpec("1", seats=2), RowSpec("1", seats=2))], "/areas/0/rows/1/label"),
        ([seated("A", RowSpec("1", numbers=["1", "2", "1"]))], "/areas/0/rows/0/numbers/2"),
        ([seated("A", RowSpec("1", numbers=[]))], "/areas/0/rows/0/numbers"),
        ([seated("A", RowSpec("1"))], "/areas/0/rows/0"),
        ([seated("A", RowSpec("1", seats=0))], "/areas/0/rows/0/seats"),
        ([seated("A", RowSpec("1", seats=3, numbers=["1"]))], "/areas/0/rows/0/seats"),
        ([seated(""), seated("B")], "/areas/0/name"),
        ([seated(" A")], "/areas/0/name"),
        ([seated("x" * 101)], "/areas/0/name"),
        ([seated("A\x00")], "/areas/0/name"),
        ([seated("A\u202eB")], "/areas/0/name"),
        ([StandingAreaSpec("A\ud800", 1)], "/areas/0/name"),
        ([seated("A", RowSpec("a\nb", seats=1))], "/areas/0/rows/0/label"),
        ([seated("A", RowSpec("a:b", seats=1))], "/areas/0/rows/0/label"),
        ([seated("A", RowSpec("x" * 21, seats=1))], "/areas/0/rows/0/label"),
        ([seated("A", RowSpec("1", numbers=["1", "2:3"]))], "/areas/0/rows/0/numbers/1"),
        ([seated("A", RowSpec("1", numbers=["\x7f"]))], "/areas/0/rows/0/numbers/0"),
        ([seated("A", RowSpec("A", numbers=["1-2"]), RowSpec("A-1", seats=2))], "/areas/0/rows/1/label"),
        ([seated("A", RowSpec("1", seats=3, gap_after=[1, 3]))], "/areas/0/rows/0/gap_after/1"),
        ([seated("A", RowSpec("1", seats=3, gap_after=[0]))], "/areas/0/rows/0/gap_after/0"),
        ([seated("A", RowSpec("1", seats=1, positions=[(0, 0), (1, 1)]))], "/areas/0/rows/0/positions"),
        ([seated("A", RowSpec("1", seats=1, positions=[(0, 0)], x=1.0))], "/areas/0/rows/0/x"),
        ([seated("A", RowSpec("1", seats=1, positions=[(0, 0)], gap_after=[]))], "/areas/0/rows/0/gap_after"),
        ([seated("A", RowSpec("1", seats=1, positions=[(0, float("nan"))]))], "/areas/0/rows/0/positions/0"),
        ([seated("A", RowSpec("1", seats=1, x=COORDINATE_MAX + 1))], "/areas/0/rows/0"),
        ([seated("A", RowSpec("1", seats=1, y=float("inf")))], "/areas/0/rows/0"),
    ],
)
def test_what_cannot_be_a_plan(areas: list[AreaSpec], pointer: str) -> None:
    assert refused(areas) == pointer


def test_a_focal_point_out_of_this_world() -> None:
    assert refused([seated()], focal=(0.0, float("-inf"))) == "/focal"


def test_limits_hold_at_the_limit_and_not_beyond() -> None:
    one = [RowSpec("A", seats=1)]
    assert build([SeatedAreaSpec(f"{i}", one) for i in range(AREAS_MAX)]).seats == AREAS_MAX
    assert refused([SeatedAreaSpec(f"{i}", one) for i in range(AREAS_MAX + 1)]) == "/areas"
    assert build([seated("A", *[RowSpec(f"{i}", seats=1) for i in range(ROWS_MAX)])]).seats == ROWS_MAX
    assert refused([seated("A", *[RowSpec(f"{i}", seats=1) for i in range(ROWS_MAX + 1)])]) == "/areas/0/rows"
    assert build([seated("A", RowSpec("A", seats=ROW_SEATS_MAX))]).seats == ROW_SEATS_MAX
    assert refused([seated("A", RowSpec("A", seats=ROW_SEATS_MAX + 1))]) == "/areas/0/rows/0/seats"
    many = [f"n{i}" for i in range(ROW_SEATS_MAX + 1)]
    assert refused([seated("A", RowSpec("A", numbers=many))]) == "/areas/0/rows/0/numbers"
    assert build([StandingAreaSpec("A", STANDING_CAPACITY_MAX)]).capacity == STANDING_CAPACITY_MAX
    for capacity in (0, -1, STANDING_CAPACITY_MAX + 1):
        assert refused([seated(), StandingAreaSpec("A", capacity)]) == "/areas/1/capacity"


def test_a_plan_has_at_most_so_many_seats() -> None:
    full = seated("Full", *[RowSpec(f"{i}", seats=ROW_SEATS_MAX) for i in range(SEATS_MAX // ROW_SEATS_MAX)])
    assert build([full]).seats == SEATS_MAX
    assert refused([full, seated("One", RowSpec("A", seats=1))]) == "/areas/1/rows/0"


# As the API reads it


def test_the_body_of_the_api() -> None:
    body = b"""[{"name": "Stalls", "kind": "seated", "rows": [{"label": "A", "seats": 20},
               {"label": "B", "seats": 22}]},
               {"name": "Floor", "kind": "standing", "capacity": 500}]"""
    plan = build(msgspec.json.decode(body, type=AreaSpecs))
    assert plan.to_areas() == [(1, "Stalls", "seated", 42), (2, "Floor", "standing", 500)]


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        '[{"name": "A", "kind": "seated", "rows": []}]',
        '[{"name": "A", "kind": "flying", "capacity": 1}]',
        '[{"name": "A", "capacity": 1}]',
        '[{"name": "A", "kind": "standing", "capacity": 0}]',
        '[{"name": "A", "kind": "standing", "capacity": 1000001}]',
        '[{"name": "A", "kind": "standing", "capacity": 1.5}]',
        '[{"name": "A", "kind": "standing", "capacity": 1, "rows": []}]',
        '[{"name": "", "kind": "standing", "capacity": 1}]',
        '[{"name": "A", "kind": "seated", "rows": [{"label": "A", "seats": 1001}]}]',
        '[{"name": "A", "kind": "seated", "rows": [{"label": "A", "seats": true}]}]',
        '[{"name": "A", "kind": "seated", "rows": [{"label": "A", "seats": 2, "aisle": 1}]}]',
        '[{"name": "A", "kind": "seated", "rows": [{"label": "A", "positions": [[1]]}]}]',
    ],
)
def test_bodies_that_do_not_decode(body: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=AreaSpecs)


def test_a_torn_plan_is_never_read_back() -> None:
    plan = build([seated(), seated("Circle")])
    with pytest.raises(AssertionError, match="begins at"):
        Plan.from_rows(plan.to_areas(), plan.to_rows()[1:])
    with pytest.raises(AssertionError, match="lost seats"):
        Plan.from_rows(plan.to_areas(), plan.to_rows()[:-1])
    with pytest.raises(AssertionError, match="without an area"):
        Plan.from_rows(plan.to_areas()[:1], plan.to_rows())
