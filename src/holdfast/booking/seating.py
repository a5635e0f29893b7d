"""Which seats are best: pure geometry over a plan and the bitmap of what is taken. No I/O, no clock, no
chance.

The free seats of an area are one large integer, bit i for its i-th seat, so that "n free seats in one piece"
and "would leave somebody alone" are a few shifts over the whole house instead of a walk through it. Together
means one behind the other in a row with no aisle between; best means the least mean distance to the focal
point.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from heapq import heappop, heappush, nsmallest
from itertools import accumulate, islice
from math import hypot, inf
from typing import Literal, NamedTuple, TypeVar

from holdfast.catalog import Plan

OFFERS_MAX = 8

# Metres of mean distance in which two offers count as equally good: somewhat more than a row (0.90).
NEARLY_EQUAL = 1.5

# How many equally good offers take part in the rotation of `spread`; enough for some thirty processes.
SPREAD_MAX = 32

# A split party grows from several beginnings, the best of which win. Together they have this many seats at
# the most, and there are at least four: more find hardly closer seats and cost milliseconds.
SPLIT_SEATS_MAX = 256
SPLIT_BEGINNINGS_MIN = 4

# Up to this many free seats are compared one by one; in an emptier house only those in squares of the floor
# nearby, first those next to the party, then further out: the sides in metres, and how many squares.
SPLIT_SCAN_MAX = 200
SPLIT_CELL = 1.5
SPLIT_REACH_MAX = 40

# The seats of a zone by their distance are cut into so many bands at the most, of so many seats at least.
BANDS_MAX = 64
BAND_SEATS_MIN = 64

# Seats near others are looked for in this many pieces of rows before and behind theirs, and only then in all of the area.
PIECES_NEAR = 8
# A party is not asked to sit in more pieces than this.
PIECES_APART_MAX = 4

Relaxed = Literal["orphan", "split"]
T = TypeVar("T")


class Offer(NamedTuple):
    """Seats by ordinal, ascending, and the wish that was given up for them, if one was."""

    seats: tuple[int, ...]
    relaxed: Relaxed | None


class _Band(NamedTuple):
    """Seats that are about equally far away: a bit for each, to see at once that none of them is free, and the seats
    themselves, nearest first.
    """

    bits: int
    seats: "array[int]"


class _Free(NamedTuple):
    """The free seats of a zone, to look single ones up; `few` lists them all when they are few."""

    bits: bytes
    few: list[int] | None


class _Piece(NamedTuple):
    """What the aisles leave of a row: where its first seat stands, and the way from there to its last."""

    first: int
    seats: int
    x: float
    y: float
    dx: float
    dy: float


class _Zone:
    """An area, or the whole house, prepared; what ranks all seats is made when it is first needed, for it is most of the
    work. Seats are local here: 0 is the zone's first ordinal.
    """

    def __init__(
        self, first: int, runs: list[tuple[int, int]], xs: Sequence[float], ys: Sequence[float]
    ) -> None:
        self.first = first
        self.seats = sum(seats for _, seats in runs)
        self.full = (1 << self.seats) - 1
        self.xs = array("d", xs)
        self.ys = array("d", ys)
        self.runs = runs
        # Bit i says that seat i + 1 is the neighbour of seat i.
        links = bytearray((self.seats + 8) // 8)
        for ordinal, seats in runs:
            for i in range(ordinal - first, ordinal - first + seats - 1):
                links[i >> 3] |= 1 << (i & 7)
        self.links = int.from_bytes(links, "little")
        self.cells: dict[tuple[int, int], list[int]] | None = None

    @cached_property
    def distances(self) -> "array[float]":
        """How far each seat is from the focal point, in metres."""
        return array("d", [hypot(x, y) for x, y in zip(self.xs, self.ys, strict=True)])

    @cached_property
    def sums(self) -> "array[float]":
        """The distances of all seats before each."""
        return array("d", accumulate(self.distances, initial=0.0))

    @cached_property
    def nearest(self) -> float:
        """The distance of the nearest seat."""
        return min(self.distances)

    @cached_property
    def step(self) -> float:
        """The widest step from a seat to its neighbour."""
        xs, ys = self.xs, self.ys
        steps = [
            hypot(xs[i + 1] - xs[i], ys[i + 1] - ys[i])
            for ordinal, seats in self.runs
            for i in range(ordinal - self.first, ordinal - self.first + seats - 1)
        ]
        return max(steps, default=0.0)

    @cached_property
    def bands(self) -> "list[_Band]":
        """All seats, nearest first, in bands."""
        order = array("L", sorted(range(self.seats), key=self.distances.__getitem__))
        size = max(BAND_SEATS_MIN, -(-self.seats // BANDS_MAX))
        return [_band(order[at : at + size], self.seats) for at in range(0, self.seats, size)]

    @cached_property
    def pieces(self) -> list[_Piece]:
        """The pieces of rows in the order of the rows, which is about that of where they are."""
        made = []
        for ordinal, seats in self.runs:
            begin, end = ordinal - self.first, ordinal - self.first + seats - 1
            x, y = self.xs[begin], self.ys[begin]
            made.append(_Piece(begin, seats, x, y, self.xs[end] - x, self.ys[end] - y))
        return made

    def free(self, taken: bytes | bytearray, begin: int = 0, end: int | None = None) -> int:
        """The free seats of this zone, or of those from `begin` to before `end`. A bitmap that is too short says nothing of
        the rest: that is free.
        """
        first, last = self.first + begin, self.first + (self.seats if end is None else end)
        bits = int.from_bytes(taken[first >> 3 : (last + 7) >> 3], "little") >> (first & 7)
        return ~bits & (self.full if last - first == self.seats else (1 << last - first) - 1)

    def together(self, free: int, n: int, begin: int = 0) -> tuple[int, int]:
        """Where n free neighbours begin: (without, with) a seat beside them that would be left alone. The first bit of `free`
        is that of the seat `begin`, which begins a piece.
        """
        pairs = free & (free >> 1) & (self.links >> begin)
        if n == 1:
            starts = free
        else:
            starts, length = pairs, 1
            while length < n - 1:
                step = min(length, n - 1 - length)
                starts &= starts >> step
                length += step
        alone_before = (pairs << 1) & ~(pairs << 2)
        alone_behind = (pairs >> (n - 1)) & ~(pairs >> n)
        orphaning = starts & (alone_before | alone_behind)
        return starts ^ orphaning, orphaning

    def ranked(self, starts: int, n: int) -> Iterator[tuple[float, int]]:
        """The (mean distance, first seat) of the pieces of n seats that begin at `starts`, best first.

        Seats are looked at from the nearest outwards. The mean distance of a piece differs from the distance of its
        first seat by half of its length at the most, so that what is nearer than that is settled.
        """
        if not starts:
            return
        bits = starts.to_bytes((self.seats + 7) // 8, "little")
        # A tenth of a millimetre more, for `distance` rounds.
        slack = self.step * (n - 1) / 2 + 1e-4
        heap: list[tuple[float, int]] = []
        for band in self.bands:
            if not starts & band.bits:
                continue
            for start in band.seats:
                if bits[start >> 3] >> (start & 7) & 1:
                    nearest = self.distances[start] - slack
                    while heap and heap[0][0] < nearest:
                        yield heappop(heap)
                    heappush(heap, (self.distance(start, n), start))
        while heap:
            yield heappop(heap)

    def distance(self, start: int, n: int) -> float:
        """The mean distance of n seats to the focal point, so rounded that mirrored seats are equal."""
        return round((self.sums[start + n] - self.sums[start]) / n, 4)

    def closest(self, free: "_Free", inside: Sequence[int], more: int) -> list[int]:
        """The `more` free seats nearest to the middle of the seats `inside`, which are not among them."""
        x = sum(self.xs[seat] for seat in inside) / len(inside)
        y = sum(self.ys[seat] for seat in inside) / len(inside)
        own = set(inside)

        def far(seat: int) -> tuple[float, int]:
            return round(hypot(self.xs[seat] - x, self.ys[seat] - y), 4), seat

        if free.few is None:
            column, line = int(x // SPLIT_CELL), int(y // SPLIT_CELL)
            found: list[tuple[float, int]] = []
            for reach in range(SPLIT_REACH_MAX):
                for seat in _ring(self._cells(), column, line, reach):
                    if free.bits[seat >> 3] >> (seat & 7) & 1 and seat not in own:
                        found.append(far(seat))
                # All seats within `reach` squares were seen: what is nearer than that is settled.
                if len(found) >= more:
                    found.sort()
                    if found[more - 1][0] <= reach * SPLIT_CELL:
                        return [seat for _, seat in found[:more]]
        return nsmallest(more, (seat for seat in free.few or _ones(free.bits) if seat not in own), key=far)

    def beside(self, seat: int) -> list[int]:
        """The ordinals (not local) of the one or two seats next to this ordinal with no aisle between."""
        local = seat - self.first
        around = []
        if local > 0 and self.links >> (local - 1) & 1:
            around.append(seat - 1)
        if self.links >> local & 1:
            around.append(seat + 1)
        return around

    def near(
        self, n: int, taken: bytes | bytearray, x: float, y: float, at: int | None, *, careful: bool
    ) -> list[int]:
        """What `Seating.near` says, near the point. `at` is a seat near it, if one is known."""
        pieces = self.pieces
        if at is None:
            # About where to begin: some of them are looked at.
            some = pieces[:: 1 + len(pieces) // 64]
            at = min(some, key=lambda each: hypot(each.x - x, each.y - y)).first
        piece = bisect_right(pieces, at, key=lambda each: each.first) - 1
        around = pieces[max(0, piece - PIECES_NEAR) : piece + PIECES_NEAR + 1]
        begin, end = around[0].first, around[-1].first + around[-1].seats
        near = self.free(taken, begin, end)
        free, there_is_more = 0, len(around) < len(pieces)
        for fine in (True, False) if careful else (False,):
            found = self._piece_near(near, n, x, y, begin, around, fine=fine)
            if found is None and there_is_more:
                free = free or self.free(taken)
                found = self._piece_next(free, n, at, fine=fine)
            if found is not None:
                return list(range(found, found + n))
        if near.bit_count() >= n:
            return self._apart(near, n, begin, lambda rest, k: self._piece_near(rest, k, x, y, begin, around))
        if free.bit_count() >= n:
            return self._apart(free, n, 0, lambda rest, k: self._piece_next(rest, k, at))
        return []

    def _piece_near(
        self,
        free: int,
        n: int,
        x: float,
        y: float,
        begin: int,
        around: Sequence[_Piece],
        *,
        fine: bool = False,
    ) -> int | None:
        """The first of n free neighbours in these pieces, as near to the point as any; `fine`: that leave nobody alone."""
        careful, careless = self.together(free, n, begin)
        starts = careful or (0 if fine else careless)
        best, least = None, inf
        for first, seats, left, top, dx, dy in around if starts else ():
            here = starts >> (first - begin) & ((1 << seats) - 1)
            if not here:
                continue
            # Where on the way from its first seat to its last the party would sit, if it could.
            long = dx * dx + dy * dy
            along = ((x - left) * dx + (y - top) * dy) / long if long else 0.0
            ideal = max(0, min(seats - n, round(along * (seats - 1) - (n - 1) / 2)))
            before = here & ((2 << ideal) - 1)
            behind = here >> ideal
            for start in (before.bit_length() - 1, ideal + (behind & -behind).bit_length() - 1):
                if start < 0 or not here >> start & 1:
                    continue
                middle = (start + (n - 1) / 2) / (seats - 1 or 1)
                away = hypot(left + middle * dx - x, top + middle * dy - y)
                if away < least:
                    best, least = first + start, away
        return best

    def _piece_next(self, free: int, n: int, at: int, *, fine: bool = False) -> int | None:
        """The same anywhere, next to the seat `at` in the order of the rows."""
        careful, careless = self.together(free, n)
        starts = careful or (0 if fine else careless)
        before, behind = starts & ((1 << at) - 1), starts >> at
        if not behind:
            return before.bit_length() - 1 if before else None
        next_one = at + (behind & -behind).bit_length() - 1
        last_one = before.bit_length() - 1
        return last_one if before and at - last_one < next_one - at else next_one

    def _apart(self, free: int, n: int, begin: int, find: Callable[[int, int], int | None]) -> list[int]:
        """So many of the free seats, of which there are enough, in the largest pieces that `find` finds; none in too many."""
        seats: list[int] = []
        piece, pieces = n - 1, 0
        while len(seats) < n:
            piece = min(piece, n - len(seats))
            if pieces + -(-(n - len(seats)) // piece) > PIECES_APART_MAX:
                return []
            found = find(free, piece)
            if found is None:
                piece -= 1
                continue
            pieces += 1
            seats += range(found, found + piece)
            free &= ~(((1 << piece) - 1) << found - begin)
        return sorted(seats)

    def _cells(self) -> dict[tuple[int, int], list[int]]:
        """The seats by the square of the floor they stand on; made at the first split, for most have none."""
        if self.cells is None:
            cells: dict[tuple[int, int], list[int]] = {}
            for seat in range(self.seats):
                at = int(self.xs[seat] // SPLIT_CELL), int(self.ys[seat] // SPLIT_CELL)
                cells.setdefault(at, []).append(seat)
            self.cells = cells
        return self.cells


def _band(seats: "array[int]", of: int) -> _Band:
    bits = bytearray((of + 7) // 8)
    for seat in seats:
        bits[seat >> 3] |= 1 << (seat & 7)
    return _Band(int.from_bytes(bits, "little"), seats)


class Seating:
    """The seats of a plan, prepared once; each question brings the bitmap of taken seats, LSB first."""

    def __init__(self, plan: Plan) -> None:
        focal_x, focal_y = plan.focal
        self._whole: _Zone | None = None
        self._zones: dict[int, _Zone] = {}
        for area in plan.areas:
            if area.kind == "seated":
                self._zones[area.number] = _Zone(
                    area.first,
                    [run for row in area.rows for run in row.runs()],
                    [x - focal_x for row in area.rows for x in row.xs],
                    [y - focal_y for row in area.rows for y in row.ys],
                )
        self._firsts = [(zone.first, zone) for zone in self._zones.values()]

    def best(
        self,
        area: int | None,
        n: int,
        taken: bytes | bytearray,
        *,
        allow_orphan: bool = True,
        allow_split: bool = True,
        limit: int = OFFERS_MAX,
        spread: int = 0,
    ) -> list[Offer]:
        """Up to `limit` different offers of n free seats in the area (by number; None: the whole house), best
        first.

        First n seats together that leave nobody alone, nearest to the focal point; then, if allowed, those
        that leave a seat alone; then, if allowed, seats apart, as close to each other as possible. Each kind
        begins with offers that share no seat. `spread` rotates those that are nearly as good as the best, so
        that processes with different numbers do not all want the same seats. Empty when there is nothing;
        raises ValueError for n < 1.
        """
        if n < 1:
            raise ValueError(f"nobody can be offered {n} seats")
        zone = self._zone(area)
        if zone is None:
            return []
        free = zone.free(taken)
        fine, orphaning = zone.together(free, n)
        offers = _choose(zone, fine, n, None, limit, spread)
        if allow_orphan and len(offers) < limit:
            offers += _choose(zone, orphaning, n, "orphan", limit - len(offers), spread)
        if allow_split and n > 1 and len(offers) < limit:
            offers += self._split(area, n, taken, allow_orphan, limit - len(offers), spread)
        return offers

    def orphans(self, seats: Sequence[int], taken: bytes | bytearray) -> list[int]:
        """The free seats that choosing `seats` would newly leave without a free neighbour, ascending.

        A seat that was alone before, or never has a neighbour, is nobody's fault. `taken` is the state
        before.
        """
        chosen = set(seats)
        lonely: set[int] = set()
        for seat in chosen:
            zone = self._zone_of(seat)
            for beside in zone.beside(seat):
                if beside in chosen or _is_taken(taken, beside):
                    continue
                around = [each for each in zone.beside(beside) if not _is_taken(taken, each)]
                if around and chosen.issuperset(around):
                    lonely.add(beside)
        return sorted(lonely)

    def orphan_avoidable(self, n: int, taken: bytes | bytearray, area: int | None) -> bool:
        """Whether n seats together can be had in the area without leaving a seat alone.

        If not, a choice that does leave one is not to be refused: the rule never costs a sale.
        """
        zone = self._zone(area)
        return zone is not None and n >= 1 and zone.together(zone.free(taken), n)[0] != 0

    def near(
        self,
        seats: Sequence[int],
        taken: bytes | bytearray,
        *,
        area: int | None = None,
        careful: bool = False,
    ) -> tuple[int, ...]:
        """As many free seats as these, ascending, as near to them as can be: together, leaving nobody alone; else together;
        else apart, in PIECES_APART_MAX pieces at the most. Empty when there are too few. These seats are all of one area; `area` is another one to look in.
        `careful`: rather far away than leaving somebody alone.

        A tenth of a millisecond, in however large a house: near the seats it is exact to a seat or two, and farther
        away it goes by the order of the rows.
        """
        own = self._zone_of(seats[0])
        zone = own if area is None else self._zones[area]
        local = [seat - own.first for seat in seats]
        x = sum(own.xs[seat] for seat in local) / len(local)
        y = sum(own.ys[seat] for seat in local) / len(local)
        at = sorted(local)[len(local) // 2] if zone is own else None
        return tuple(zone.first + seat for seat in zone.near(len(seats), taken, x, y, at, careful=careful))

    def _split(
        self, area: int | None, n: int, taken: bytes | bytearray, allow_orphan: bool, limit: int, spread: int
    ) -> list[Offer]:
        """Seats apart, in one area if any area has them."""
        zones = sorted(self._zones.values(), key=lambda zone: zone.nearest)
        if area is not None:
            zones = [self._zones[area]]
        budget = max(SPLIT_BEGINNINGS_MIN, SPLIT_SEATS_MAX // n)
        each = max(SPLIT_BEGINNINGS_MIN, budget // len(zones))
        ranked: list[tuple[float, float, tuple[int, ...]]] = []
        for zone in zones:
            if budget > 0 and zone.free(taken).bit_count() >= n:
                ranked += self._split_in(zone, n, taken, allow_orphan, min(each, 4 * limit))
                budget -= each
        whole = self._zone(area)
        if not ranked and len(zones) > 1 and whole is not None and whole.free(taken).bit_count() >= n:
            ranked += self._split_in(whole, n, taken, allow_orphan, each)
        ranked.sort()
        best = ranked[0][0] if ranked else 0.0
        disjoint: list[Offer] = []
        overlapping: list[Offer] = []
        used: set[int] = set()
        nearly = 0
        for apart, _, seats in ranked:
            if used.isdisjoint(seats):
                used.update(seats)
                disjoint.append(Offer(seats, "split"))
                nearly += apart <= best + NEARLY_EQUAL / 2
            else:
                overlapping.append(Offer(seats, "split"))
        return (_rotated(disjoint, nearly, spread) + overlapping)[:limit]

    def _split_in(
        self, zone: _Zone, n: int, taken: bytes | bytearray, allow_orphan: bool, beginnings: int
    ) -> Iterator[tuple[float, float, tuple[int, ...]]]:
        """Options as (mean distance to their own middle, mean distance to the focal point, ordinals).

        They grow from the largest pieces downwards: four friends rather sit three and one than one by one.
        """
        free = zone.free(taken)
        bits = free.to_bytes((zone.seats + 7) // 8, "little")
        lookup = _Free(bits, list(_ones(bits)) if free.bit_count() <= SPLIT_SCAN_MAX else None)
        seen: set[tuple[int, ...]] = set()
        for piece in range(n - 1, 0, -1):
            if not beginnings:
                return
            fine, orphaning = zone.together(free, piece)
            # Half of what is left for each size, so that large pieces are tried most and small ones too.
            tries = beginnings if piece == 1 else (beginnings + 1) // 2
            for _, start in islice(zone.ranked(fine | orphaning, piece), tries):
                beginnings -= 1
                inside = list(range(start, start + piece))
                local = tuple(sorted(inside + zone.closest(lookup, inside, n - piece)))
                seats = tuple(zone.first + seat for seat in local)
                if seats in seen or _is_run(zone, local):
                    continue
                seen.add(seats)
                if allow_orphan or not self.orphans(seats, taken):
                    yield *_tightness(zone, local), seats

    def _zone(self, area: int | None) -> _Zone | None:
        """The zone of an area; None when it has no seats."""
        if area is not None:
            return self._zones.get(area)
        if len(self._zones) < 2:
            return next(iter(self._zones.values()), None)
        if self._whole is None:
            zones = list(self._zones.values())
            self._whole = _Zone(
                0,
                [run for zone in zones for run in zone.runs],
                [x for zone in zones for x in zone.xs],
                [y for zone in zones for y in zone.ys],
            )
        return self._whole

    def _zone_of(self, seat: int) -> _Zone:
        """The area's zone that a seat belongs to. Raises IndexError when there is no such seat."""
        for first, zone in self._firsts:
            if first <= seat < first + zone.seats:
                return zone
        raise IndexError(f"no seat {seat} in this plan")


def _choose(
    zone: _Zone, starts: int, n: int, relaxed: Relaxed | None, limit: int, spread: int
) -> list[Offer]:
    """The best pieces of n seats: first such as share no seat, by distance, then the others, by distance."""
    disjoint: list[int] = []
    overlapping: list[int] = []
    used: set[int] = set()
    best = inf
    nearly = 0
    wanted = max(limit, SPREAD_MAX) if spread else limit
    for distance, start in zone.ranked(starts, n):
        best = min(best, distance)
        if len(disjoint) >= limit and distance > best + NEARLY_EQUAL:
            break
        if used.isdisjoint(range(start, start + n)):
            used.update(range(start, start + n))
            disjoint.append(start)
            nearly += distance <= best + NEARLY_EQUAL
            if len(disjoint) == wanted:
                break
        elif len(overlapping) < limit:
            overlapping.append(start)
    chosen = (_rotated(disjoint, nearly, spread) + overlapping)[:limit]
    return [Offer(tuple(range(zone.first + start, zone.first + start + n)), relaxed) for start in chosen]


def _rotated(ranked: list[T], nearly: int, spread: int) -> list[T]:
    """The first `nearly` items begin at another one for each `spread`; the rest stays where it is."""
    turn = spread % nearly if nearly else 0
    return ranked[turn:nearly] + ranked[:turn] + ranked[nearly:]


def _is_run(zone: _Zone, local: Sequence[int]) -> bool:
    """Whether the seats, ascending, are neighbours all the way."""
    return local[-1] - local[0] == len(local) - 1 and all(zone.links >> seat & 1 for seat in local[:-1])


def _tightness(zone: _Zone, local: Sequence[int]) -> tuple[float, float]:
    """How far the seats stand from their own middle, and from the focal point: means in metres."""
    x = sum(zone.xs[seat] for seat in local) / len(local)
    y = sum(zone.ys[seat] for seat in local) / len(local)
    apart = sum(hypot(zone.xs[seat] - x, zone.ys[seat] - y) for seat in local) / len(local)
    away = sum(hypot(zone.xs[seat], zone.ys[seat]) for seat in local) / len(local)
    return round(apart, 4), round(away, 4)


def _ring(cells: dict[tuple[int, int], list[int]], column: int, line: int, reach: int) -> Iterator[int]:
    """The seats in the squares that are exactly `reach` squares away."""
    if reach == 0:
        yield from cells.get((column, line), ())
        return
    for step in range(-reach, reach + 1):
        yield from cells.get((column + step, line - reach), ())
        yield from cells.get((column + step, line + reach), ())
    for step in range(1 - reach, reach):
        yield from cells.get((column - reach, line + step), ())
        yield from cells.get((column + reach, line + step), ())


def _ones(bits: bytes) -> Iterator[int]:
    """The places of the ones, ascending."""
    for place, byte in enumerate(bits):
        while byte:
            lowest = byte & -byte
            yield 8 * place + lowest.bit_length() - 1
            byte ^= lowest


def _is_taken(taken: bytes | bytearray, seat: int) -> bool:
    return seat >> 3 < len(taken) and bool(taken[seat >> 3] >> (seat & 7) & 1)
