"""Which free seats are nearest to a point: pure geometry, for whoever came too late and is offered others.

It looks at the pieces of rows round about, and goes by the order of the rows farther away, so that it takes a tenth of a
millisecond in however large a house: in a rush nearly every claim asks.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import hypot, inf
from typing import NamedTuple

from holdfast.booking.zones import Zone

# Seats near others are looked for in this many pieces of rows before and behind theirs, and only then in all of the area.
PIECES_NEAR = 8
# A party is not asked to sit in more pieces than this.
PIECES_APART_MAX = 4


class _Piece(NamedTuple):
    """What the aisles leave of a row: where its first seat stands, and the way from there to its last."""

    first: int
    seats: int
    x: float
    y: float
    dx: float
    dy: float


class Nearness:
    """The pieces of rows of one zone, in the order of the rows, which is about that of where they are."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.pieces: list[_Piece] = []
        for ordinal, seats in zone.runs:
            begin, end = ordinal - zone.first, ordinal - zone.first + seats - 1
            x, y = zone.xs[begin], zone.ys[begin]
            self.pieces.append(_Piece(begin, seats, x, y, zone.xs[end] - x, zone.ys[end] - y))

    def find(
        self, n: int, taken: bytes | bytearray, x: float, y: float, at: int | None, *, careful: bool
    ) -> list[int]:
        """What `Seating.near` says, near the point, as seats of the zone. `at` is a seat near it, if one is known."""
        pieces = self.pieces
        if at is None:
            # About where to begin: some of them are looked at.
            some = pieces[:: 1 + len(pieces) // 64]
            at = min(some, key=lambda each: hypot(each.x - x, each.y - y)).first
        piece = bisect_right(pieces, at, key=lambda each: each.first) - 1
        around = pieces[max(0, piece - PIECES_NEAR) : piece + PIECES_NEAR + 1]
        begin, end = around[0].first, around[-1].first + around[-1].seats
        near = self.zone.free(taken, begin, end)
        free, there_is_more = 0, len(around) < len(pieces)
        for fine in (True, False) if careful else (False,):
            found = self._piece_near(near, n, x, y, begin, around, fine=fine)
            if found is None and there_is_more:
                free = free or self.zone.free(taken)
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
        careful, careless = self.zone.together(free, n, begin)
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
        careful, careless = self.zone.together(free, n)
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
