"""The static seating of a show or a layout: areas, rows and seats with their names, ordinals and coordinates.

A seat is known by its ordinal: 0 to N-1 over the whole plan, in the order of areas, rows and physical seats.
The database keeps one line per row of seats; `Plan.to_rows` and `Plan.from_rows` are the two directions.

Coordinates are metres, x to the right and y away from the stage, seen from above. They decide who sits
together: two seats that follow one another in a row are neighbours when they are at most `NEIGHBOURS_WITHIN`
apart, so that an aisle on the map and an aisle in the rules are one and the same thing.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from math import hypot, isqrt, sqrt
from typing import Annotated, Literal, Self, cast

import msgspec
from msgspec import Meta

from holdfast.catalog.names import printable
from holdfast.platform.errors import Invalid

AREAS_MAX = 200
ROWS_MAX = 2_000
ROW_SEATS_MAX = 1_000
SEATS_MAX = 200_000
STANDING_CAPACITY_MAX = 1_000_000
AREA_NAME_LENGTH_MAX = 100
LABEL_LENGTH_MAX = 20
NAME_LENGTH_MAX = AREA_NAME_LENGTH_MAX + 2 * LABEL_LENGTH_MAX + 2
COORDINATE_MAX = 10_000.0

# Metres. 0.55 and 0.90 are usual theatre seats (EN 13200-1 asks for 0.50 and 0.80 at least); an aisle of 1.10
# beside them puts the two seats at its sides 1.65 apart. The limit lies between the widest armchair and the
# narrowest aisle, with half a centimetre for coordinates that were stored as 32-bit floats.
SEAT_PITCH = 0.55
ROW_PITCH = 0.90
AISLE_WIDTH = 1.10
AREA_GAP = 2.0
FIRST_ROW_AT = 3.0
NEIGHBOURS_WITHIN = 1.005
STANDING_METRES2_PER_PERSON = 0.4
SHORT_FORM_LINE_SEATS = 50

AreaName = Annotated[
    str, Meta(min_length=1, max_length=AREA_NAME_LENGTH_MAX, description="Unique in its plan.")
]
Label = Annotated[
    str, Meta(min_length=1, max_length=LABEL_LENGTH_MAX, description="No colon, no control characters.")
]
Coordinate = Annotated[
    float, Meta(ge=-COORDINATE_MAX, le=COORDINATE_MAX, description="Metres; y grows off the stage.")
]
SeatCount = Annotated[int, Meta(ge=1, le=ROW_SEATS_MAX)]
TotalSeats = Annotated[int, Meta(ge=1, le=SEATS_MAX)]
Kind = Literal["seated", "standing"]
Access = Literal["wheelchair", "companion"]
Point = tuple[float, float]
Box = tuple[float, float, float, float]

# Lines of the database: (number, name, kind, capacity), and (area, row_number, label, first_seat, numbers,
# xs, ys, access).
AreaRecord = tuple[int, str, str, int]
RowRecord = tuple[
    int, int, str, int, Sequence[str], Sequence[float], Sequence[float], Sequence[Access | None] | None
]


class RowSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """A row as the organizer describes it: a label, and either how many `seats` (numbered from 1) or their
    `numbers`.

    `x` and `y` put the first seat, `gap_after` [4, 8] puts aisles after the fourth and the eighth seat.
    `positions` puts each seat by hand; the aisles are then where seats stand more than a metre apart.
    `access` says of each seat in order whether it is a place for a wheelchair, a companion's seat beside one, or neither
    (null): such places are taken by name alone, and never given to who asks for the best available.
    """

    label: Label
    seats: SeatCount | None = None
    numbers: Annotated[list[Label], Meta(min_length=1, max_length=ROW_SEATS_MAX)] | None = None
    x: Coordinate | None = None
    y: Coordinate | None = None
    gap_after: Annotated[list[SeatCount], Meta(max_length=ROW_SEATS_MAX)] | None = None
    positions: (
        Annotated[list[tuple[Coordinate, Coordinate]], Meta(min_length=1, max_length=ROW_SEATS_MAX)] | None
    ) = None
    access: Annotated[list[Access | None], Meta(min_length=1, max_length=ROW_SEATS_MAX)] | None = None


class SeatedAreaSpec(
    msgspec.Struct,
    tag_field="kind",
    tag="seated",
    forbid_unknown_fields=True,
    frozen=True,
    omit_defaults=True,
):
    """An area of numbered seats, its rows in order from the stage."""

    name: AreaName
    rows: Annotated[list[RowSpec], Meta(min_length=1, max_length=ROWS_MAX)]


class StandingAreaSpec(
    msgspec.Struct,
    tag_field="kind",
    tag="standing",
    forbid_unknown_fields=True,
    frozen=True,
    omit_defaults=True,
):
    """An area of places without numbers."""

    name: AreaName
    capacity: Annotated[int, Meta(ge=1, le=STANDING_CAPACITY_MAX)]


AreaSpec = SeatedAreaSpec | StandingAreaSpec
AreaSpecs = Annotated[list[AreaSpec], Meta(min_length=1, max_length=AREAS_MAX)]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of seats in physical order; `first` is the ordinal of its first seat.

    A row without a label continues the one before it: its seats are known by their numbers alone. `access` says what
    each seat is kept for, None where the whole row is for everybody.
    """

    label: str
    first: int
    numbers: tuple[str, ...]
    xs: "array[float]"
    ys: "array[float]"
    access: tuple[Access | None, ...] | None = None

    def runs(self) -> list[tuple[int, int]]:
        """What the aisles leave in one piece, as (first ordinal, seats)."""
        starts = [0]
        for i in range(1, len(self.numbers)):
            if hypot(self.xs[i] - self.xs[i - 1], self.ys[i] - self.ys[i - 1]) > NEIGHBOURS_WITHIN:
                starts.append(i)
        ends = [*starts[1:], len(self.numbers)]
        return [(self.first + start, end - start) for start, end in zip(starts, ends, strict=True)]


@dataclass(frozen=True, slots=True)
class Area:
    """A part of the plan; `number` counts from 1, `first` is the ordinal of its first seat."""

    number: int
    name: str
    kind: Kind
    capacity: int
    first: int
    rows: tuple[Row, ...]

    @property
    def seats(self) -> int:
        """How many numbered seats: all places of a seated area, none of a standing one."""
        return self.capacity if self.kind == "seated" else 0


@dataclass(frozen=True)
class Plan:
    """All areas of a show in order, and where the eyes go: by default to the stage's front centre."""

    areas: tuple[Area, ...]
    focal: Point = (0.0, 0.0)

    @cached_property
    def seats(self) -> int:
        """The number of seats; ordinals are 0 to one less."""
        return sum(area.seats for area in self.areas)

    @cached_property
    def capacity(self) -> int:
        """All places, seated and standing."""
        return sum(area.capacity for area in self.areas)

    @cached_property
    def access(self) -> dict[int, Access]:
        """The seats kept for who needs them, by ordinal, and what each is for."""
        return {
            row.first + i: kind
            for area in self.areas
            for row in area.rows
            for i, kind in enumerate(row.access or ())
            if kind is not None
        }

    @cached_property
    def access_bits(self) -> int:
        """The same seats as a bitmap: bit i is set for seat i."""
        return sum(1 << seat for seat in self.access)

    def ordinal(self, name: str) -> int | None:
        """The seat of this name, or None when there is none or when several areas have one."""
        if len(name) > NAME_LENGTH_MAX:
            return None
        found = self._seats_named(name, at_most=2)
        if len(found) == 1:
            return found[0]
        # Labels and numbers have no colon, so the last one is the one that ends the area's name.
        area_name, colon, seat = name.rpartition(":")
        area = self._areas_by_name.get(area_name) if colon else None
        if area is None:
            return None
        within = [each for each in self._seats_named(seat) if area.first <= each < area.first + area.seats]
        return within[0] if within else None

    def name(self, ordinal: int) -> str:
        """What people call the seat: `A-1`, `1` where an area has one row, `Stalls:A-1` where areas share a
        name.

        Raises IndexError when there is no such seat.
        """
        area, row = self._place(ordinal)
        return self._full_name(area, row, ordinal - row.first)

    def names(self) -> Iterator[str]:
        """The names of all seats in the order of their ordinals."""
        for area in self.areas:
            for row in area.rows:
                for i in range(len(row.numbers)):
                    yield self._full_name(area, row, i)

    def area_of(self, ordinal: int) -> Area:
        """The area that the seat belongs to. Raises IndexError when there is no such seat."""
        return self._place(ordinal)[0]

    def area(self, name: str) -> Area | None:
        """The area of this name, or None."""
        return self._areas_by_name.get(name)

    def row_of(self, ordinal: int) -> Row:
        """The row that the seat belongs to. Raises IndexError when there is no such seat."""
        return self._place(ordinal)[1]

    def to_areas(self) -> list[AreaRecord]:
        """One (number, name, kind, capacity) per area."""
        return [(area.number, area.name, area.kind, area.capacity) for area in self.areas]

    def to_rows(self) -> list[RowRecord]:
        """One (area, row_number, label, first_seat, numbers, xs, ys, access) per row; row numbers count from 1."""
        return [
            (
                area.number,
                number,
                row.label,
                row.first,
                list(row.numbers),
                row.xs.tolist(),
                row.ys.tolist(),
                list(row.access) if row.access is not None else None,
            )
            for area in self.areas
            for number, row in enumerate(area.rows, 1)
        ]

    @classmethod
    def from_rows(
        cls, areas: Iterable[AreaRecord], rows: Iterable[RowRecord], *, focal: Point = (0.0, 0.0)
    ) -> Self:
        """The plan that `to_areas` and `to_rows` described, in whatever order the lines come back.

        Asserts that the ordinals are without gaps and that each capacity is the number of its seats.
        """
        shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        rows_by_area: dict[int, list[Row]] = {}
        for number, _, label, first, seat_numbers, xs, ys, access in sorted(rows, key=lambda row: row[:2]):
            # Rows with equal numbers share one tuple: most rows of a house count from 1.
            numbers = tuple(seat_numbers)
            numbers = shared.setdefault(numbers, numbers)
            row = Row(label, first, numbers, _centimetres(xs), _centimetres(ys), _access(access))
            assert len(numbers) == len(row.xs) == len(row.ys), f"row {label!r} of area {number} is torn"
            rows_by_area.setdefault(number, []).append(row)
        plan_areas: list[Area] = []
        at = 0
        for number, name, kind, capacity in sorted(areas, key=lambda area: area[0]):
            assert kind in ("seated", "standing"), f"area {number} is of kind {kind!r}"
            of_area = tuple(rows_by_area.pop(number, ()))
            plan_areas.append(Area(number, name, cast(Kind, kind), capacity, at, of_area))
            for row in of_area:
                assert row.first == at, (
                    f"row {row.label!r} of area {number} begins at {row.first}, not at {at}"
                )
                at += len(row.numbers)
            assert kind == "standing" or at - plan_areas[-1].first == capacity, f"area {number} lost seats"
        assert not rows_by_area, f"rows without an area: {sorted(rows_by_area)}"
        return cls(tuple(plan_areas), _rounded(focal))

    @cached_property
    def _areas_by_name(self) -> dict[str, Area]:
        return {area.name: area for area in self.areas}

    @cached_property
    def _places(self) -> tuple[list[int], list[tuple[Area, Row]]]:
        """The first ordinal of every row, ascending, and the rows beside it."""
        rows = [(area, row) for area in self.areas for row in area.rows]
        return [row.first for _, row in rows], rows

    @cached_property
    def _rows_by_prefix(self) -> dict[str, list[tuple[int, dict[str, int]]]]:
        """What stands before the number (`A-`, or nothing) -> the rows that begin so: first ordinal, number
        -> index.

        Looking up in two steps costs a few hundred bytes per distinct row instead of some 150 per seat.
        """
        shared: dict[int, dict[str, int]] = {}
        rows: dict[str, list[tuple[int, dict[str, int]]]] = {}
        for area in self.areas:
            if len(area.rows) > 1 and not any(row.label for row in area.rows):
                # Rows that people do not tell apart are one, for a look into each would take its time.
                numbers = chain.from_iterable(row.numbers for row in area.rows)
                every = {number: i for i, number in enumerate(numbers)}
                rows.setdefault("", []).append((area.first, every))
                continue
            for row in area.rows:
                indices = shared.get(id(row.numbers))
                if indices is None:
                    indices = shared[id(row.numbers)] = {number: i for i, number in enumerate(row.numbers)}
                rows.setdefault(_prefix(area, row), []).append((row.first, indices))
        return rows

    def _seats_named(self, name: str, at_most: int = AREAS_MAX) -> list[int]:
        """The ordinals of all seats whose short name this is: one per area at the most."""
        found: list[int] = []
        at = 0
        while True:
            number = name[at:]
            for first, indices in self._rows_by_prefix.get(name[:at], ()):
                index = indices.get(number)
                if index is not None:
                    found.append(first + index)
                    if len(found) == at_most:
                        return found
            at = name.find("-", at) + 1
            if not at:
                return found

    def _place(self, ordinal: int) -> tuple[Area, Row]:
        if not 0 <= ordinal < self.seats:
            raise IndexError(f"no seat {ordinal} in a plan of {self.seats}")
        firsts, rows = self._places
        return rows[bisect_right(firsts, ordinal) - 1]

    def _full_name(self, area: Area, row: Row, index: int) -> str:
        short = f"{_prefix(area, row)}{row.numbers[index]}"
        if len(self.areas) > 1 and len(self._seats_named(short, at_most=2)) > 1:
            return f"{area.name}:{short}"
        return short


def _prefix(area: Area, row: Row) -> str:
    return f"{row.label}-" if row.label and len(area.rows) > 1 else ""


def build(areas: Sequence[AreaSpec], *, focal: Point | None = None) -> Plan:
    """The plan of these areas, in their order.

    Seats without coordinates stand in straight rows behind one another, centred before the focal point; each
    area begins behind the one before it. Raises Invalid, naming the field, for what has no seats, is too
    large, is named twice or has a name that cannot be printed or told apart.
    """
    if focal is not None:
        _refuse_far([focal], "/focal")
    focal = _rounded(focal or (0.0, 0.0))
    _refuse_count(len(areas), AREAS_MAX, "areas", "/areas")
    _refuse_twice([area.name for area in areas], "area", "/areas/{}/name")
    built: list[Area] = []
    first = 0
    depth = focal[1] + _front_depth(areas)
    for number, spec in enumerate(areas, 1):
        pointer = f"/areas/{number - 1}"
        _refuse_text(spec.name, AREA_NAME_LENGTH_MAX, f"{pointer}/name")
        if isinstance(spec, StandingAreaSpec):
            if not 1 <= spec.capacity <= STANDING_CAPACITY_MAX:
                raise Invalid(f"A capacity is 1 to {STANDING_CAPACITY_MAX}.", pointer=f"{pointer}/capacity")
            built.append(Area(number, spec.name, "standing", spec.capacity, first, ()))
            continue
        rows = _seat_rows(spec, pointer, first, (focal[0], depth))
        seats = sum(len(row.numbers) for row in rows)
        built.append(Area(number, spec.name, "seated", seats, first, tuple(rows)))
        first += seats
        depth = max(depth, max(max(row.ys) for row in rows) + AREA_GAP)
    return Plan(tuple(built), focal)


def simple(total_seats: int) -> Plan:
    """The short form: one area `Main`, seats `1` to `total_seats`. Raises Invalid outside 1 to 200,000.

    To people it is one row. It is drawn in lines of fifty seats or more, so that the map of a large house
    stays a map, and kept in rows without a label, so that none is larger than rows may be.
    """
    if not 1 <= total_seats <= SEATS_MAX:
        raise Invalid(f"A show has 1 to {SEATS_MAX} seats.", pointer="/total_seats")
    line = min(total_seats, max(SHORT_FORM_LINE_SEATS, isqrt(2 * total_seats)))
    left = -(line - 1) * SEAT_PITCH / 2
    step = ROW_SEATS_MAX // line * line
    rows: list[Row] = []
    for first in range(0, total_seats, step):
        seats = range(first, min(first + step, total_seats))
        numbers = tuple(str(seat + 1) for seat in seats)
        xs = _centimetres(left + SEAT_PITCH * (seat % line) for seat in seats)
        ys = _centimetres(FIRST_ROW_AT + ROW_PITCH * (seat // line) for seat in seats)
        rows.append(Row("", first, numbers, xs, ys))
    return Plan((Area(1, "Main", "seated", total_seats, 0, tuple(rows)),))


def _seat_rows(spec: SeatedAreaSpec, pointer: str, first: int, front: Point) -> list[Row]:
    """The rows of one area. `first` is the next ordinal, `front` the middle of the first default row."""
    _refuse_count(len(spec.rows), ROWS_MAX, "rows", f"{pointer}/rows")
    _refuse_twice([row.label for row in spec.rows], "row", pointer + "/rows/{}/label")
    rows: list[Row] = []
    middle, depth = front
    for i, row_spec in enumerate(spec.rows):
        at = f"{pointer}/rows/{i}"
        _refuse_text(row_spec.label, LABEL_LENGTH_MAX, f"{at}/label", colon=False)
        numbers = _numbers(row_spec, at)
        if first + len(numbers) > SEATS_MAX:
            raise Invalid(f"A plan has at most {SEATS_MAX} seats.", pointer=at)
        xs, ys = _coordinates(row_spec, len(numbers), at, (middle, depth))
        if row_spec.access is not None and len(row_spec.access) != len(numbers):
            raise Invalid(
                f"{len(numbers)} seats need {len(numbers)} entries, null among them.", pointer=f"{at}/access"
            )
        access = _access(row_spec.access)
        rows.append(Row(row_spec.label, first, numbers, _centimetres(xs), _centimetres(ys), access))
        first += len(numbers)
        depth = max(depth, max(ys) + ROW_PITCH)
    _refuse_equal_names(rows, pointer)
    return rows


def _numbers(spec: RowSpec, at: str) -> tuple[str, ...]:
    """The seats' numbers; whatever counts seats must agree."""
    if spec.numbers is None:
        if spec.seats is None:
            raise Invalid("A row needs seats or numbers.", pointer=at)
        if not 1 <= spec.seats <= ROW_SEATS_MAX:
            raise Invalid(f"A row has 1 to {ROW_SEATS_MAX} seats.", pointer=f"{at}/seats")
        return _counted(spec.seats)
    _refuse_count(len(spec.numbers), ROW_SEATS_MAX, "numbers", f"{at}/numbers")
    if spec.seats is not None and spec.seats != len(spec.numbers):
        raise Invalid(f"The row has {len(spec.numbers)} numbers, not {spec.seats}.", pointer=f"{at}/seats")
    for i, number in enumerate(spec.numbers):
        _refuse_text(number, LABEL_LENGTH_MAX, f"{at}/numbers/{i}", colon=False)
    _refuse_twice(spec.numbers, "number", at + "/numbers/{}")
    return tuple(spec.numbers)


def _coordinates(
    spec: RowSpec, seats: int, at: str, default: Point
) -> tuple[Sequence[float], Sequence[float]]:
    """Where the seats stand. `default` is the middle of the row when neither x nor y says otherwise."""
    if spec.positions is not None:
        for field in ("x", "y", "gap_after"):
            if getattr(spec, field) is not None:
                raise Invalid("Positions already say where each seat stands.", pointer=f"{at}/{field}")
        if len(spec.positions) != seats:
            raise Invalid(f"{seats} seats need {seats} positions.", pointer=f"{at}/positions")
        _refuse_far(spec.positions, at + "/positions/{}")
        return [x for x, _ in spec.positions], [y for _, y in spec.positions]
    _refuse_far([(spec.x or 0.0, spec.y or 0.0)], at)
    offsets = _offsets(seats, tuple(spec.gap_after or ()))
    for i, after in enumerate(spec.gap_after or ()):
        if not 1 <= after < seats:
            raise Invalid(
                f"An aisle follows seat 1 to {seats - 1} of this row.", pointer=f"{at}/gap_after/{i}"
            )
    left = default[0] - offsets[-1] / 2 if spec.x is None else spec.x
    depth = default[1] if spec.y is None else spec.y
    return [left + offset for offset in offsets], [depth] * seats


@lru_cache(maxsize=256)
def _counted(seats: int) -> tuple[str, ...]:
    return tuple(map(str, range(1, seats + 1)))


@lru_cache(maxsize=256)
def _offsets(seats: int, gap_after: tuple[int, ...]) -> tuple[float, ...]:
    """How far each seat stands from the first one, in metres."""
    aisles = set(gap_after)
    offsets = [0.0]
    for i in range(1, seats):
        offsets.append(offsets[-1] + SEAT_PITCH + (AISLE_WIDTH if i in aisles else 0.0))
    return tuple(offsets)


def _access(given: Sequence[Access | None] | None) -> tuple[Access | None, ...] | None:
    """None for a row where all seats are for everybody, so that most rows are the same."""
    return tuple(given) if given is not None and any(given) else None


def _centimetres(metres: Iterable[float]) -> "array[float]":
    """Rounded, so that what went through 32-bit floats in the database comes back as it was."""
    return array("d", [round(value, 2) for value in metres])


def _rounded(point: Point) -> Point:
    return round(point[0], 2), round(point[1], 2)


def standing_size(capacity: int) -> Point:
    """Width and depth of a floor for so many people, in metres: twice as wide as deep."""
    depth = sqrt(capacity * STANDING_METRES2_PER_PERSON / 2)
    return 2 * depth, depth


def _front_depth(areas: Sequence[AreaSpec]) -> float:
    """How far off the stage the first row of seats begins: behind the standing areas that come before it."""
    depth = AREA_GAP
    for area in areas:
        if isinstance(area, SeatedAreaSpec):
            break
        depth += standing_size(area.capacity)[1] + AREA_GAP
    return max(depth, FIRST_ROW_AT)


def _refuse_count(count: int, most: int, what: str, pointer: str) -> None:
    if not 1 <= count <= most:
        raise Invalid(f"There must be 1 to {most} {what}.", pointer=pointer)


def _refuse_text(text: str, longest: int, pointer: str, *, colon: bool = True) -> None:
    """Names are seen and typed. A colon ends the area in `<area>:<seat>`, so only an area may have one."""
    if not 1 <= len(text) <= longest:
        raise Invalid(f"A name has 1 to {longest} characters.", pointer=pointer)
    printable(text, pointer)
    if not colon and ":" in text:
        raise Invalid(
            "A colon separates the area from the seat; it cannot be part of this name.", pointer=pointer
        )


def _refuse_twice(names: Sequence[str], what: str, pointer: str) -> None:
    """`pointer` has a {} for the index of the second one."""
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            raise Invalid(f"There are two of this {what}.", pointer=pointer.format(i))
        seen.add(name)


def _refuse_far(points: Sequence[Point], pointer: str) -> None:
    """Also refuses what is not a number, which every comparison denies."""
    for i, (x, y) in enumerate(points):
        if not (abs(x) <= COORDINATE_MAX and abs(y) <= COORDINATE_MAX):
            raise Invalid(
                f"Coordinates are metres, {COORDINATE_MAX:.0f} at the most.", pointer=pointer.format(i)
            )


def _refuse_equal_names(rows: Sequence[Row], pointer: str) -> None:
    """Seat `1-2` of row `A` and seat `2` of row `A-1` would both be `A-1-2`; it takes two hyphens."""
    if len(rows) == 1 or not any("-" in row.label for row in rows):
        return
    seen: set[str] = set()
    for i, row in enumerate(rows):
        names = {f"{row.label}-{number}" for number in row.numbers}
        if not seen.isdisjoint(names):
            raise Invalid(
                "Two seats of this area would have the same name.", pointer=f"{pointer}/rows/{i}/label"
            )
        seen |= names
