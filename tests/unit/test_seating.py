"""Best available and the rule of the lone seat, against slow and obvious references on small houses."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from holdfast.booking.seating import OFFERS_MAX, SPLIT_SCAN_MAX, Offer, Seating
from holdfast.catalog.plan import Plan, RowSpec, SeatedAreaSpec, StandingAreaSpec, build, simple


def bitmap(seats: int, taken: set[int]) -> bytes:
    bits = bytearray((seats + 7) // 8)
    for seat in taken:
        bits[seat >> 3] |= 1 << (seat & 7)
    return bytes(bits)


@dataclass(frozen=True)
class House:
    """A plan and what is taken in it, with the references."""

    plan: Plan
    taken: frozenset[int]

    @property
    def bits(self) -> bytes:
        return bitmap(self.plan.seats, set(self.taken))

    def inside(self, area: int | None) -> set[int]:
        return {seat for seat in range(self.plan.seats) if area in (None, self.plan.area_of(seat).number)}

    def free(self, area: int | None) -> set[int]:
        return self.inside(area) - self.taken

    def beside(self, seat: int) -> set[int]:
        """The neighbours, straight from the coordinates."""
        row = self.plan.row_of(seat)
        found = set()
        for other in (seat - 1, seat + 1):
            i, j = seat - row.first, other - row.first
            if 0 <= j < len(row.numbers) and hypot(row.xs[i] - row.xs[j], row.ys[i] - row.ys[j]) <= 1.005:
                found.add(other)
        return found

    def together(self, seats: tuple[int, ...]) -> bool:
        return all(after in self.beside(before) for before, after in pairwise(seats))

    def orphans(self, seats: tuple[int, ...]) -> list[int]:
        """Free seats that had a free neighbour and have none afterwards."""
        after = self.taken | set(seats)
        return [
            seat
            for seat in range(self.plan.seats)
            if seat not in after and self.beside(seat) - self.taken and not self.beside(seat) - after
        ]

    def windows(self, area: int | None, n: int) -> list[tuple[int, ...]]:
        """All n free seats together, nearest to the focal point first."""
        free = self.free(area)
        found = [tuple(range(start, start + n)) for start in range(self.plan.seats - n + 1)]
        found = [seats for seats in found if free.issuperset(seats) and self.together(seats)]
        return sorted(found, key=lambda seats: (self.distance(seats), seats))

    def distance(self, seats: tuple[int, ...]) -> float:
        """The mean distance to the focal point, to the tenth of a millimetre."""
        total = 0.0
        for seat in seats:
            row = self.plan.row_of(seat)
            i = seat - row.first
            total += hypot(row.xs[i] - self.plan.focal[0], row.ys[i] - self.plan.focal[1])
        return round(total / len(seats), 4)

    def apart(self, these: Sequence[int], those: Sequence[int]) -> float:
        """How far the middle of a row's piece is from the middle of any seats."""
        middles = []
        for seats in (these, (those[0], those[-1])):
            rows = [(self.plan.row_of(seat), seat) for seat in seats]
            middles.append(
                (
                    sum(row.xs[seat - row.first] for row, seat in rows) / len(rows),
                    sum(row.ys[seat - row.first] for row, seat in rows) / len(rows),
                )
            )
        (x, y), (left, top) = middles
        return hypot(x - left, y - top)

    def expected(self, area: int | None, n: int, limit: int) -> list[Offer]:
        """The offers of seats together: of each kind first those that share no seat, then the others."""
        found: list[Offer] = []
        windows = self.windows(area, n)
        fine = [seats for seats in windows if not self.orphans(seats)]
        orphaning = [seats for seats in windows if self.orphans(seats)]
        for kind, ranked in ((None, fine), ("orphan", orphaning)):
            used: set[int] = set()
            disjoint: list[tuple[int, ...]] = []
            overlapping: list[tuple[int, ...]] = []
            for seats in ranked:
                (disjoint if used.isdisjoint(seats) else overlapping).append(seats)
                if disjoint and disjoint[-1] == seats:
                    used.update(seats)
            found += [Offer(seats, kind) for seats in disjoint + overlapping]  # type: ignore[arg-type]
        return found[:limit]


@st.composite
def houses(draw: st.DrawFn) -> House:
    """Up to three areas of up to three rows of up to nine seats, some aisles, any seats taken."""
    areas: list[SeatedAreaSpec | StandingAreaSpec] = []
    for number in range(draw(st.integers(1, 3))):
        rows = []
        for label in "ABC"[: draw(st.integers(1, 3))]:
            seats = draw(st.integers(1, 9))
            gaps = draw(st.lists(st.integers(1, seats - 1), max_size=2, unique=True)) if seats > 1 else []
            rows.append(RowSpec(label, seats=seats, gap_after=gaps))
        areas.append(SeatedAreaSpec(f"Area {number}", rows))
        if draw(st.booleans()):
            areas.append(StandingAreaSpec(f"Floor {number}", 5))
    focal = (draw(st.sampled_from([0.0, 1.3, -4.0])), draw(st.sampled_from([0.0, 6.0])))
    plan = build(areas, focal=focal)
    taken = draw(st.sets(st.integers(0, plan.seats - 1), max_size=draw(st.integers(0, plan.seats))))
    return House(plan, frozenset(taken))


def row(seats: int, taken: set[int] | None = None, gap_after: list[int] | None = None) -> House:
    """One row; the focal point stands before its middle."""
    plan = build([SeatedAreaSpec("Stalls", [RowSpec("A", seats=seats, gap_after=gap_after)])])
    return House(plan, frozenset(taken or set()))


areas = st.sampled_from([None, 1, 2, 3])
sizes = st.integers(1, 6)


# Offers of seats together


@given(houses(), areas, sizes, st.integers(1, 12))
def test_offers_are_those_of_the_reference(house: House, area: int | None, n: int, limit: int) -> None:
    offers = Seating(house.plan).best(area, n, house.bits, allow_split=False, limit=limit)
    assert offers == house.expected(area, n, limit)


@given(houses(), areas, sizes, st.booleans(), st.booleans(), st.integers(0, 40))
def test_what_every_offer_keeps(
    house: House, area: int | None, n: int, allow_orphan: bool, allow_split: bool, spread: int
) -> None:
    seating = Seating(house.plan)
    offers = seating.best(
        area, n, house.bits, allow_orphan=allow_orphan, allow_split=allow_split, spread=spread
    )
    assert len(offers) <= OFFERS_MAX
    assert len({seats for seats, _ in offers}) == len(offers), "the same offer twice"
    for seats, relaxed in offers:
        assert house.free(area).issuperset(seats)
        assert list(seats) == sorted(set(seats))
        assert len(seats) == n
        assert house.together(seats) == (relaxed != "split")
        if relaxed != "split":
            assert bool(house.orphans(seats)) == (relaxed == "orphan")
        if not allow_orphan:
            assert not house.orphans(seats)
        assert allow_split or relaxed != "split"
    kinds = [[None, "orphan", "split"].index(relaxed) for _, relaxed in offers]
    assert kinds == sorted(kinds), "what keeps more wishes comes first"
    again = Seating(house.plan).best(
        area, n, bytearray(house.bits), allow_orphan=allow_orphan, allow_split=allow_split, spread=spread
    )
    assert again == offers, "the same question has the same answer"


@given(houses(), areas, sizes)
def test_together_if_possible_and_seats_whenever_there_are_enough(
    house: House, area: int | None, n: int
) -> None:
    offers = Seating(house.plan).best(area, n, house.bits)
    windows = house.windows(area, n)
    if windows:
        assert offers[0].relaxed == (None if any(not house.orphans(seats) for seats in windows) else "orphan")
    elif len(house.free(area)) >= n:
        assert offers[0].relaxed == "split"
    else:
        assert offers == []


@given(houses(), areas, sizes)
def test_the_rule_is_waived_exactly_when_nothing_keeps_it(house: House, area: int | None, n: int) -> None:
    seating = Seating(house.plan)
    fine = seating.best(area, n, house.bits, allow_orphan=False, allow_split=False)
    assert seating.orphan_avoidable(n, house.bits, area) == bool(fine)
    assert bool(fine) == any(not house.orphans(seats) for seats in house.windows(area, n))


@given(houses(), st.data())
def test_orphans_are_those_of_the_reference(house: House, data: st.DataObject) -> None:
    seats = data.draw(st.lists(st.integers(0, house.plan.seats - 1), max_size=8, unique=True))
    assert Seating(house.plan).orphans(seats, house.bits) == house.orphans(tuple(seats))


@given(houses(), areas, sizes, st.integers(0, 100))
def test_spread_only_changes_the_order_among_the_nearly_best(
    house: House, area: int | None, n: int, spread: int
) -> None:
    seating = Seating(house.plan)
    plain = seating.best(area, n, house.bits, limit=100, allow_split=False)
    spreaded = seating.best(area, n, house.bits, limit=100, allow_split=False, spread=spread)
    assert sorted(plain, key=str) == sorted(spreaded, key=str)
    if plain:
        assert spreaded[0].relaxed == plain[0].relaxed
        assert house.distance(spreaded[0].seats) <= house.distance(plain[0].seats) + 1.5


def test_the_middle_of_the_front_row_comes_first() -> None:
    house = House(
        build([SeatedAreaSpec("Stalls", [RowSpec("A", seats=9), RowSpec("B", seats=9)])]), frozenset()
    )
    assert Seating(house.plan).best(1, 3, house.bits)[0] == Offer((3, 4, 5), None)


def test_processes_begin_with_different_seats() -> None:
    plan = build([SeatedAreaSpec("Stalls", [RowSpec(f"{i}", seats=40) for i in range(30)])])
    seating = Seating(plan)
    firsts = [seating.best(1, 2, b"", spread=spread)[0].seats for spread in range(8)]
    assert len({seat for seats in firsts for seat in seats}) == 16, (
        "eight processes want sixteen different seats"
    )


def test_alternatives_share_no_seat_while_there_are_others() -> None:
    seating = Seating(simple(40))
    offers = seating.best(None, 4, b"")
    assert len({seat for seats, _ in offers for seat in seats}) == 4 * OFFERS_MAX


def test_an_aisle_is_never_sat_across() -> None:
    house = row(6, gap_after=[3])
    assert [offer.relaxed for offer in Seating(house.plan).best(1, 4, house.bits)][:1] == ["split"]
    assert {offer.seats for offer in Seating(house.plan).best(1, 3, house.bits, allow_split=False)} == {
        (0, 1, 2),
        (3, 4, 5),
    }


def test_the_last_seats_are_sold_even_if_one_stays_alone() -> None:
    house = row(3)
    assert Seating(house.plan).best(1, 2, house.bits)[0] == Offer((0, 1), "orphan")
    assert Seating(house.plan).best(1, 2, house.bits, allow_orphan=False, allow_split=False) == []


@pytest.mark.parametrize("n", [0, -1])
def test_nobody_asks_for_nothing(n: int) -> None:
    with pytest.raises(ValueError):
        Seating(simple(3)).best(None, n, b"")


def test_areas_without_seats_offer_none() -> None:
    plan = build([StandingAreaSpec("Floor", 5), SeatedAreaSpec("Stalls", [RowSpec("A", seats=2)])])
    seating = Seating(plan)
    assert seating.best(1, 1, b"") == seating.best(9, 1, b"") == []
    assert not seating.orphan_avoidable(1, b"", 1)
    assert seating.best(None, 2, b"") == [Offer((0, 1), None)]
    assert Seating(build([StandingAreaSpec("Floor", 5)])).best(None, 1, b"") == []


def test_limit_is_kept() -> None:
    seating = Seating(simple(30))
    assert [len(seating.best(None, 2, b"", limit=limit)) for limit in (1, 8, 29, 30)] == [1, 8, 29, 29]
    assert len(seating.best(None, 2, bitmap(30, set(range(0, 30, 2))), limit=3)) == 3


def test_bits_beyond_the_house_do_not_matter() -> None:
    seating = Seating(simple(3))
    assert seating.best(None, 3, b"\xf8\xff\xff") == [Offer((0, 1, 2), None)]


# Offers of seats apart


def test_a_split_party_sits_one_behind_the_other() -> None:
    plan = build([SeatedAreaSpec("Stalls", [RowSpec(label, seats=2) for label in "ABCDEF"])])
    offer = Seating(plan).best(1, 4, b"")[0]
    assert offer == Offer((0, 1, 2, 3), "split")


def test_larger_pieces_rather_than_singles() -> None:
    plan = build(
        [SeatedAreaSpec("Stalls", [RowSpec("A", seats=3), RowSpec("B", seats=1), RowSpec("C", seats=1)])]
    )
    assert Seating(plan).best(1, 4, b"")[0] == Offer((0, 1, 2, 3), "split")


def test_a_party_stays_in_one_area_if_any_holds_it() -> None:
    plan = build(
        [
            SeatedAreaSpec("Stalls", [RowSpec("A", seats=2)]),
            SeatedAreaSpec("Circle", [RowSpec("A", seats=2), RowSpec("B", seats=2)]),
        ]
    )
    seating = Seating(plan)
    assert {seats for seats, _ in seating.best(None, 3, b"")} <= {
        (2, 3, 4),
        (2, 3, 5),
        (2, 4, 5),
        (3, 4, 5),
    }
    assert seating.best(None, 6, b"") == [Offer((0, 1, 2, 3, 4, 5), "split")]
    assert seating.best(1, 3, b"") == []
    assert seating.best(None, 7, b"") == []


def test_the_last_free_seats_wherever_they_are() -> None:
    house = row(30, taken=set(range(30)) - {2, 11, 29})
    assert Seating(house.plan).best(1, 3, house.bits) == [Offer((2, 11, 29), "split")]


def test_closer_to_each_other_comes_before_closer_to_the_stage() -> None:
    house = row(30, taken=set(range(30)) - {2, 14, 20, 22})
    assert Seating(house.plan).best(1, 2, house.bits)[0] == Offer((20, 22), "split")


@pytest.mark.parametrize("rows", [10, 40])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_split_seats_are_close_to_each_other(rows: int, n: int) -> None:
    """Every second seat is free: few are compared one by one, many are looked for in the squares nearby."""
    plan = build([SeatedAreaSpec("Stalls", [RowSpec(f"{i}", seats=20) for i in range(rows)])])
    house = House(plan, frozenset(seat for seat in range(plan.seats) if seat % 2))
    assert (len(house.free(1)) > SPLIT_SCAN_MAX) == (rows == 40)
    offers = Seating(plan).best(1, n, house.bits)
    assert len(offers) == OFFERS_MAX
    for seats, relaxed in offers:
        assert relaxed == "split"
        rows_of = [(plan.row_of(seat), seat) for seat in seats]
        points = [(found.xs[seat - found.first], found.ys[seat - found.first]) for found, seat in rows_of]
        across = max(hypot(x - u, y - v) for x, y in points for u, v in points)
        assert across < 1.2 * n


def test_both_ways_to_look_for_close_seats_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = build([SeatedAreaSpec("Stalls", [RowSpec(f"{i}", seats=20) for i in range(40)])])
    sparse = bitmap(plan.seats, {seat for seat in range(plan.seats) if seat % 7 and seat % 11})
    for n in (2, 4, 9):
        by_list = Seating(plan).best(1, n, sparse)
        with monkeypatch.context() as patched:
            patched.setattr("holdfast.booking.seating.SPLIT_SCAN_MAX", 0)
            assert Seating(plan).best(1, n, sparse) == by_list


def test_a_far_seat_is_found_when_nothing_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.booking.seating.SPLIT_SCAN_MAX", 0)
    plan = build([SeatedAreaSpec("Stalls", [RowSpec("A", seats=1), RowSpec("B", seats=1, y=5_000.0)])])
    assert Seating(plan).best(1, 2, b"") == [Offer((0, 1), "split")]


@settings(max_examples=30)
@given(houses(), sizes)
@example(row(5, taken={1, 3}), 2)
def test_split_without_orphans_keeps_the_rule(house: House, n: int) -> None:
    assume(n > 1)
    for seats, _ in Seating(house.plan).best(None, n, house.bits, allow_orphan=False):
        assert not house.orphans(seats)


# The rule of the lone seat


@pytest.mark.parametrize(
    ("seats", "taken", "alone"),
    [
        ((1, 2), set(), [0]),
        ((0, 1), set(), []),
        ((2, 3), set(), []),
        ((1, 2), {0}, []),
        ((1, 3), set(), [0, 2]),
        ((0, 2), set(), [1]),
        ((4,), {6}, [5]),
        ((4,), {3, 6}, [5]),
        ((0,), {1}, []),
        ((), set(), []),
    ],
)
def test_who_is_left_alone(seats: tuple[int, ...], taken: set[int], alone: list[int]) -> None:
    house = row(8, taken)
    assert Seating(house.plan).orphans(seats, house.bits) == alone


def test_an_aisle_ends_the_neighbourhood() -> None:
    house = row(6, gap_after=[3])
    assert Seating(house.plan).orphans((1,), house.bits) == [0, 2]
    assert Seating(house.plan).orphans((3,), house.bits) == []


def test_orphans_of_a_seat_that_does_not_exist() -> None:
    with pytest.raises(IndexError):
        Seating(simple(3)).orphans([3], b"")


def test_a_large_house_has_the_same_rules() -> None:
    """Areas that begin in the middle of a byte, rows across bytes, thousands of runs."""
    plan = build(
        [
            SeatedAreaSpec("Pit", [RowSpec("A", seats=3)]),
            SeatedAreaSpec("Stalls", [RowSpec(f"{i}", seats=50, gap_after=[12, 38]) for i in range(200)]),
        ]
    )
    last = plan.seats - 1
    house = House(plan, frozenset(range(plan.seats)) - {last - 1, last})
    seating = Seating(plan)
    assert (
        seating.best(None, 2, house.bits) == seating.best(2, 2, house.bits) == [Offer((last - 1, last), None)]
    )
    assert seating.orphans((last,), house.bits) == [last - 1]
    assert seating.best(None, 3, house.bits) == []


# Seats near others


@given(houses(), st.data(), st.booleans())
def test_near_others_is_as_near_as_can_be(house: House, data: st.DataObject, careful: bool) -> None:
    area = data.draw(st.sampled_from([each for each in house.plan.areas if each.kind == "seated"]))
    inside = st.integers(area.first, area.first + area.seats - 1)
    wanted = data.draw(st.lists(inside, min_size=1, max_size=4, unique=True))
    n = len(wanted)
    found = Seating(house.plan).near(wanted, house.bits, careful=careful)
    free = house.free(area.number)
    assert bool(found) == (len(free) >= n)
    if not found:
        return
    assert free.issuperset(found)
    assert list(found) == sorted(set(found))
    assert len(found) == n
    windows = house.windows(area.number, n)
    best = [seats for seats in windows if not house.orphans(seats)] or windows
    if best:
        assert found in best
        least = min(house.apart(wanted, seats) for seats in best)
        assert house.apart(wanted, found) == pytest.approx(least, abs=0.01)


@given(houses(), st.data())
def test_near_others_in_another_area(house: House, data: st.DataObject) -> None:
    seated = [each for each in house.plan.areas if each.kind == "seated"]
    own, other = data.draw(st.sampled_from(seated)), data.draw(st.sampled_from(seated))
    found = Seating(house.plan).near([own.first], house.bits, area=other.number)
    assert bool(found) == bool(house.free(other.number))
    assert house.free(other.number).issuperset(found)


def test_near_others_in_a_large_house() -> None:
    """What is not to be had in the rows around is found by the order of the rows, and apart only if it must be."""
    plan = build([SeatedAreaSpec("Stalls", [RowSpec(f"{i}", seats=50, gap_after=[25]) for i in range(200)])])
    seating, every = Seating(plan), frozenset(range(plan.seats))

    def near(seats: list[int], *free: int, careful: bool = False) -> tuple[int, ...]:
        return seating.near(seats, House(plan, every - set(free)).bits, careful=careful)

    assert near([5000, 5001], 9, 10, 9000, 9001) == (9000, 9001)
    assert near([5000, 5001], 100, 101, 9999) == (100, 101)
    assert near([5000, 5001], 5100, 10, 9999) == (10, 5100)
    assert near([5000, 5001, 5002], 1, 2, 9000) == (1, 2, 9000)
    assert near([5000, 5001], 9999) == ()
    assert near([5000, 5001, 5002, 5003], 1, 3, 5, 7) == (1, 3, 5, 7)
    assert near([5000, 5001, 5002, 5003, 5004], 1, 3, 5, 7, 9) == ()
    # A seat alone beside those near by: who is careful goes far.
    lonely = (5050, 5051, 5052, 9000, 9001)
    assert near([5000, 5001], *lonely) == (5050, 5051)
    assert near([5000, 5001], *lonely, careful=True) == (9000, 9001)
    assert near([5000, 5001], *lonely[:3], careful=True) in {(5050, 5051), (5051, 5052)}
