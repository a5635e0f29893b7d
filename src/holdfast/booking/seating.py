"""Which seats are best: pure geometry over a plan and the bitmap of what is taken. No I/O, no clock, no
chance.

Together means one behind the other in a row with no aisle between; best means the least mean distance to the focal
point.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from math import hypot, inf
from typing import Literal, NamedTuple, TypeVar

from holdfast.booking.nearness import Nearness
from holdfast.booking.zones import Free, Zone, ones
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

# Up to this many free seats are compared one by one; in an emptier house only those nearby.
SPLIT_SCAN_MAX = 200

Relaxed = Literal["orphan", "split"]
T = TypeVar("T")


class Offer(NamedTuple):
    """Seats by ordinal, ascending, and the wish that was given up for them, if one was."""

    seats: tuple[int, ...]
    relaxed: Relaxed | None


class Seating:
    """The seats of a plan, prepared once; each question brings the bitmap of taken seats, LSB first."""

    def __init__(self, plan: Plan) -> None:
        focal_x, focal_y = plan.focal
        self._whole: Zone | None = None
        self._zones: dict[int, Zone] = {}
        self._nearness: dict[int, Nearness] = {}
        for area in plan.areas:
            if area.kind == "seated":
                self._zones[area.number] = Zone(
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
        else apart, in `nearness.PIECES_APART_MAX` pieces at the most. Empty when there are too few. These seats are all of
        one area; `area` is another one to look in. `careful`: rather far away than leaving somebody alone.

        A tenth of a millisecond, in however large a house: near the seats it is exact to a seat or two, and farther
        away it goes by the order of the rows.
        """
        own = self._zone_of(seats[0])
        zone = own if area is None else self._zones[area]
        local = [seat - own.first for seat in seats]
        x = sum(own.xs[seat] for seat in local) / len(local)
        y = sum(own.ys[seat] for seat in local) / len(local)
        at = sorted(local)[len(local) // 2] if zone is own else None
        # Made when first needed, for many shows never refuse anybody.
        if zone.first not in self._nearness:
            self._nearness[zone.first] = Nearness(zone)
        found = self._nearness[zone.first].find(len(seats), taken, x, y, at, careful=careful)
        return tuple(zone.first + seat for seat in found)

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
        self, zone: Zone, n: int, taken: bytes | bytearray, allow_orphan: bool, beginnings: int
    ) -> Iterator[tuple[float, float, tuple[int, ...]]]:
        """Options as (mean distance to their own middle, mean distance to the focal point, ordinals).

        They grow from the largest pieces downwards: four friends rather sit three and one than one by one.
        """
        free = zone.free(taken)
        bits = free.to_bytes((zone.seats + 7) // 8, "little")
        lookup = Free(bits, list(ones(bits)) if free.bit_count() <= SPLIT_SCAN_MAX else None)
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

    def _zone(self, area: int | None) -> Zone | None:
        """The zone of an area; None when it has no seats."""
        if area is not None:
            return self._zones.get(area)
        if len(self._zones) < 2:
            return next(iter(self._zones.values()), None)
        if self._whole is None:
            zones = list(self._zones.values())
            self._whole = Zone(
                0,
                [run for zone in zones for run in zone.runs],
                [x for zone in zones for x in zone.xs],
                [y for zone in zones for y in zone.ys],
            )
        return self._whole

    def _zone_of(self, seat: int) -> Zone:
        """The area's zone that a seat belongs to. Raises IndexError when there is no such seat."""
        for first, zone in self._firsts:
            if first <= seat < first + zone.seats:
                return zone
        raise IndexError(f"no seat {seat} in this plan")


def _choose(zone: Zone, starts: int, n: int, relaxed: Relaxed | None, limit: int, spread: int) -> list[Offer]:
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


def _is_run(zone: Zone, local: Sequence[int]) -> bool:
    """Whether the seats, ascending, are neighbours all the way."""
    return local[-1] - local[0] == len(local) - 1 and all(zone.links >> seat & 1 for seat in local[:-1])


def _tightness(zone: Zone, local: Sequence[int]) -> tuple[float, float]:
    """How far the seats stand from their own middle, and from the focal point: means in metres."""
    x = sum(zone.xs[seat] for seat in local) / len(local)
    y = sum(zone.ys[seat] for seat in local) / len(local)
    apart = sum(hypot(zone.xs[seat] - x, zone.ys[seat] - y) for seat in local) / len(local)
    away = sum(hypot(zone.xs[seat], zone.ys[seat]) for seat in local) / len(local)
    return round(apart, 4), round(away, 4)


def _is_taken(taken: bytes | bytearray, seat: int) -> bool:
    return seat >> 3 < len(taken) and bool(taken[seat >> 3] >> (seat & 7) & 1)
