"""Medians, spreads and ratios. Every figure that is shown went through here."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median


@dataclass(frozen=True)
class Spread:
    """The middle of some repeats, with the least and the greatest of them, and the repeats in their order."""

    median: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def half_range_percent(self) -> float:
        """Half the distance between least and greatest, in percent of the median: how far a repeat may lie off."""
        return 50 * (self.high - self.low) / self.median if self.median else 0.0


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value; ValueError for none."""
    if not values:
        raise ValueError("there is nothing to take the median of")
    return Spread(median(values), min(values), max(values), tuple(values))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of an ascending sequence: an observed value, never one in between.

    ValueError for an empty sequence and for a percentage outside 0 to 100.
    """
    if not ordered:
        raise ValueError("there is nothing to take a percentile of")
    if not 0 <= percent <= 100:
        raise ValueError(f"no percentage: {percent}")
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def weighted_percentile(counts: Sequence[int], percent: float) -> int:
    """The same of a histogram: the index of the bucket in which it lies. ValueError for an empty histogram."""
    total = sum(counts)
    if total == 0:
        raise ValueError("there is nothing to take a percentile of")
    rank, seen = max(1, ceil(total * percent / 100)), 0
    for index, count in enumerate(counts):
        seen += count
        if seen >= rank:
            return index
    raise AssertionError("a percentile lies within its histogram")


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread | None:
    """`above` / `below`, repeat by repeat, because a repeat of the one ran beside a repeat of the other.

    None when they do not pair or when something would be divided by zero.
    """
    if not above or len(above) != len(below) or not all(below):
        return None
    return spread([a / b for a, b in zip(above, below, strict=True)])


def growth(values: Sequence[float]) -> float:
    """By which part something grew in its second half: the median of the last quarter against that of the third.

    0.02 is two percent. The first half is left out because it fills what is meant to be filled. ValueError for fewer
    than eight values.
    """
    if len(values) < 8:
        raise ValueError("too few values to tell growth from noise")
    quarter = len(values) // 4
    third, last = median(values[-2 * quarter : -quarter]), median(values[-quarter:])
    return last / third - 1
