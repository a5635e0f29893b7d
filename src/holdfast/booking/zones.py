"""One area, or the whole house, prepared for questions about its free seats: pure geometry, without I/O.

The free seats are one large integer, bit i for the i-th seat, so that "n free seats in one piece" and "would leave
somebody alone" are a few shifts over the whole house instead of a walk through it.
"""

from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property
from heapq import heappop, heappush, nsmallest
from itertools import accumulate
from math import hypot
from typing import NamedTuple

# The closest seats are looked for in squares of the floor, first those next to the party, then further out: the sides in
# metres, and how many squares.
SPLIT_CELL = 1.5
SPLIT_REACH_MAX = 40

# The seats of a zone by their distance are cut into so many bands at the most, of so many seats at least.
BANDS_MAX = 64
BAND_SEATS_MIN = 64


class _Band(NamedTuple):
    """Seats that are about equally far away: a bit for each, to see at once that none of them is free, and the seats
    themselves, nearest first.
    """

    bits: int
    seats: "array[int]"


class Free(NamedTuple):
    """The free seats of a zone, to look single ones up; `few` lists them all when they are few."""

    bits: bytes
    few: list[int] | None


class Zone:
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

    def closest(self, free: "Free", inside: Sequence[int], more: int) -> list[int]:
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
        return nsmallest(more, (seat for seat in free.few or ones(free.bits) if seat not in own), key=far)

    def beside(self, seat: int) -> list[int]:
        """The ordinals (not local) of the one or two seats next to this ordinal with no aisle between."""
        local = seat - self.first
        around = []
        if local > 0 and self.links >> (local - 1) & 1:
            around.append(seat - 1)
        if self.links >> local & 1:
            around.append(seat + 1)
        return around

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


def ones(bits: bytes) -> Iterator[int]:
    """The places of the ones, ascending."""
    for place, byte in enumerate(bits):
        while byte:
            lowest = byte & -byte
            yield 8 * place + lowest.bit_length() - 1
            byte ^= lowest
