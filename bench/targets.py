"""What is to be reached, and whether it was. A ratio is taken repeat by repeat, and its median is the verdict."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from bench.figures import Spread, ratio, spread
from bench.run import ScenarioResult, VariantResult

Results = Mapping[str, ScenarioResult]
# A run that is shorter says nothing about growth over five minutes.
MEMORY_MINUTES_MIN = 5.0
GROWTH_PERCENT_MAX = 3.0
NOT_RUN = "was not run"


class Verdict(msgspec.Struct):
    """One target as it came out. `value` and its spread are None where it was not measured, and `why` says so."""

    target: str
    bound: str
    reached: bool | None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""


@dataclass(frozen=True)
class _Target:
    text: str
    at_least: bool
    bound: float
    measure: "Callable[[Results], Spread | str]"

    def judged(self, results: Results) -> Verdict:
        bound = f"{'at least' if self.at_least else 'at most'} {self.bound:g}"
        found = self.measure(results)
        if isinstance(found, str):
            return Verdict(self.text, bound, None, why=found)
        reached = found.median >= self.bound if self.at_least else found.median <= self.bound
        return Verdict(self.text, bound, reached, found.median, found.low, found.high)


def judged(results: Results) -> list[Verdict]:
    """Every target; one whose scenario was not run is not measured, never reached."""
    return [target.judged(results) for target in _TARGETS]


def _variant(results: Results, scenario: str, variant: str) -> VariantResult | None:
    found = results.get(scenario)
    return found.variants.get(variant) if found else None


def _values(results: Results, scenario: str, variant: str, figure: str) -> tuple[float, ...] | None:
    found = _variant(results, scenario, variant)
    whole = found.spread_of(figure) if found else None
    return whole.values if whole else None


def _ratio(above: tuple[str, str, str], below: tuple[str, str, str]) -> "Callable[[Results], Spread | str]":
    """(scenario, variant, figure) over another one."""

    def measure(results: Results) -> Spread | str:
        parts = []
        for scenario, variant, figure in (above, below):
            values = _values(results, scenario, variant, figure)
            if values is None:
                return f"{scenario} of {variant} {NOT_RUN}"
            parts.append(values)
        return ratio(parts[0], parts[1]) or "the figures do not pair"

    return measure


def _figure(
    scenario: str, variant: str, figure: str, *, where: "Callable[[ScenarioResult], str] | None" = None
) -> "Callable[[Results], Spread | str]":
    """One figure of one variant, unless `where` says why the run does not count."""

    def measure(results: Results) -> Spread | str:
        values = _values(results, scenario, variant, figure)
        if values is None:
            return f"{scenario} of {variant} {NOT_RUN}"
        because = where(results[scenario]) if where else ""
        return because or spread(values)

    return measure


def _of_size(setting: str, size: float) -> "Callable[[ScenarioResult], str]":
    def where(result: ScenarioResult) -> str:
        had = result.settings.get(setting, 0)
        return "" if had >= size else f"the run had {had:,.10g} {setting}, the target is for {size:,.10g}"

    return where


def _violations(results: Results) -> Spread | str:
    found = _variant(results, "jmeter", "batched")
    return spread([float(len(found.violations))]) if found else f"jmeter of batched {NOT_RUN}"


def _lasting(figure: str) -> "Callable[[Results], Spread | str]":
    return _ratio(("history", "1,000,000 old", figure), ("history", "0 old", figure))


_TARGETS = (
    _Target(
        "hot-standing: bookings/s of batched over row_lock", True, 10,
        _ratio(("hot-standing", "batched", "bookings_per_second"), ("hot-standing", "row_lock", "bookings_per_second")),
    ),
    _Target(
        "hot-standing: p99 of batched over row_lock", False, 0.2,
        _ratio(("hot-standing", "batched", "p99_ms"), ("hot-standing", "row_lock", "p99_ms")),
    ),
    _Target(
        "hot-seats: bookings/s of batched over row_lock", True, 4,
        _ratio(("hot-seats", "batched", "bookings_per_second"), ("hot-seats", "row_lock", "bookings_per_second")),
    ),
    _Target(
        "floor: CPU of server and PostgreSQL per booking over CPU of the echo", False, 5,
        _ratio(("floor", "batched", "cpu_us"), ("floor", "echo", "server_us")),
    ),
    _Target(
        "floor: bookings/s of batched over the floor, one process", True, 0.85,
        _ratio(("floor", "batched", "answers_per_second"), ("floor", "floor", "answers_per_second")),
    ),
    _Target(
        "floor: bookings/s of batched over the floor, two processes", True, 0.6,
        _ratio(
            ("floor", "batched, 2 processes", "answers_per_second"), ("floor", "floor, 2 processes", "answers_per_second")
        ),
    ),
    _Target(
        "hot-standing: PostgreSQL CPU per booking of row_lock over batched", True, 15,
        _ratio(("hot-standing", "row_lock", "database_us"), ("hot-standing", "batched", "database_us")),
    ),
    _Target(
        "hot-seats: PostgreSQL CPU per booking of row_lock over batched", True, 7,
        _ratio(("hot-seats", "row_lock", "database_us"), ("hot-seats", "batched", "database_us")),
    ),
    _Target("jmeter: average, ms", False, 40, _figure("jmeter", "batched", "avg_ms")),
    _Target("jmeter: p95, ms", False, 80, _figure("jmeter", "batched", "p95_ms")),
    _Target("jmeter: what the audit found", False, 0, _violations),
    _Target(
        "sell-out of 50,000 seats, s", False, 30,
        _figure("sell-out", "batched", "sold_out_seconds", where=_of_size("seats", 50_000)),
    ),
    _Target(
        "sell-out: refusals/s afterwards over the floor", True, 0.6,
        _ratio(("sell-out", "batched", "refusals_per_second"), ("sell-out", "floor", "answers_per_second")),
    ),
    _Target(
        "reads: answered without the database, %", True, 99,
        _figure("reads", "batched", "without_database_percent", where=_of_size("viewers", 2_000)),
    ),
    _Target(
        "reads: until a viewer sees a seat go, p99, ms", False, 1000,
        _figure("reads", "batched", "seen_p99_ms", where=_of_size("viewers", 2_000)),
    ),
    _Target("history: WAL per claim, 1 million old over none", False, 1.15, _lasting("wal_bytes")),
    _Target("history: buffers per claim, 1 million old over none", False, 1.15, _lasting("buffers")),
    _Target(
        "memory: growth of the last quarter over the one before, %", False, GROWTH_PERCENT_MAX,
        _figure("memory", "batched", "growth_percent", where=_of_size("minutes", MEMORY_MINUTES_MIN)),
    ),
)  # fmt: skip
