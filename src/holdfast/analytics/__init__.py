"""Figures for organizers: sales by the minute, how attempts ended, how many places people book, when most is sold.

Owns analytics_sales, analytics_sizes and analytics_outcomes, and alone writes them. Always true: a fact is counted once,
however often its job runs; no figure is read from bookings, so a report costs a sale nothing. Sums begin with the release
that brought them. Follows facts and announces none.
"""

from holdfast.analytics.counting import ENDS_SECONDS, Ends, follow
from holdfast.analytics.reading import (
    POINTS_MAX,
    Hour,
    Outcome,
    Point,
    Size,
    Step,
    TooManyPoints,
    Totals,
    hours_of,
    outcomes_of,
    peaks_of,
    sales_of,
    sizes_of,
    totals_of,
)

__all__ = [
    "ENDS_SECONDS",
    "POINTS_MAX",
    "Ends",
    "Hour",
    "Outcome",
    "Point",
    "Size",
    "Step",
    "TooManyPoints",
    "Totals",
    "follow",
    "hours_of",
    "outcomes_of",
    "peaks_of",
    "sales_of",
    "sizes_of",
    "totals_of",
]
