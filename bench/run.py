"""One scenario after the other: its variants in turn, repeat by repeat, each on fresh servers, metered and audited."""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bench import machine
from bench.audit import Acknowledged, audit
from bench.figures import Spread, spread
from bench.load import PER_SHOW, ClaimKind, Claims, Load, send_claims
from bench.machine import MachineTime
from bench.stage import BATCHED, Books, Served, Stage, Variant, serve

WARM_UP_PLACES = 100_000
_ANSWERS = "holdfast_http_request_seconds_count{"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was asked for on the command line. `quick` shrinks sizes, `full` adds the largest."""

    seconds: float = 6.0
    warm_up_seconds: float = 1.5
    repeats: int = 3
    strategies: Sequence[str] = (BATCHED,)
    # Whether the strategies were named: then they apply to every scenario, else to those that compare them.
    strategies_chosen: bool = False
    connections: int = 100
    workers: int = 1
    minutes: float = 1.0
    full: bool = False
    quick: bool = False
    # Sizes so small that they say nothing about speed; for tests of the benchmark itself.
    tiny: bool = False
    generator: str = "wrk"

    def size(self, usual: int, quick: int, tiny: int) -> int:
        """One of three sizes."""
        return tiny if self.tiny else quick if self.quick else usual

    def compared(self, *, every: bool) -> list[str]:
        """The strategies of a scenario: all of them, or the default one unless some were named."""
        return list(self.strategies) if every or self.strategies_chosen else [self.strategies[0]]

    def variants(self, *, every: bool) -> list[Variant]:
        """One variant for each of these strategies."""
        return [Variant(each, each, workers=self.workers) for each in self.compared(every=every)]


class Outcome(msgspec.Struct):
    """What one repeat of one variant gave: figures by name, and what the audit found."""

    figures: dict[str, float]
    violations: list[str] = []
    notes: list[str] = []


@dataclass
class Trial:
    """One repeat of one variant, with what it takes."""

    stage: Stage
    books: Books
    variant: Variant
    plan: Plan
    repeat: int

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Served]:
        """Fresh servers of the variant, on tables at rest."""
        await self.books.settle()
        async with serve(self.stage, self.books, self.variant) as served:
            yield served

    async def claims(
        self,
        served: Served,
        kind: ClaimKind,
        shows: Sequence[str],
        *,
        seconds: float | None = None,
        start: int = 0,
        spread: bool = False,
        per_show: int = PER_SHOW,
    ) -> Load:
        """Sends plain claims for the plan's seconds, or for as many as given."""
        job = Claims(
            port=served.port,
            kind=kind,
            shows=shows,
            seconds=self.plan.seconds if seconds is None else seconds,
            connections=self.plan.connections,
            spread=spread,
            per_show=per_show,
            start=start,
        )
        before = self._errors(served)
        load = await send_claims(job, self.stage.folder, self.plan.generator)
        if load.generator == "wrk":
            # wrk counts every answer from 400 on as one kind. A server's error leaves open what was booked.
            errors = min(load.refused, self._errors(served) - before)
            load.refused, load.failed = load.refused - errors, load.failed + errors
        return load

    def _errors(self, served: Served) -> int:
        if self.variant.app != "holdfast":
            return 0
        return round(
            sum(
                count
                for name, count in served.metrics().items()
                if name.startswith(_ANSWERS) and 'method="POST"' in name and 'status="5xx"' in name
            )
        )

    async def warm_and_measured(
        self, served: Served, kind: ClaimKind, shows: Sequence[str], **more: Any
    ) -> tuple[dict[str, float], Acknowledged]:
        """Warms up, sends claims and meters them; the figures, and what callers were told in both."""
        warm = await self.claims(served, kind, shows, seconds=self.plan.warm_up_seconds, **more)
        async with self.metered(served) as meter:
            load = await self.claims(served, kind, shows, start=warm.sent, **more)
        return meter.figures(load), told(warm, load)

    async def warmed_elsewhere(self, served: Served) -> tuple[list[str], Load]:
        """Warms the servers up on a show of its own, where the crowd that comes next needs its show untouched."""
        shows = await self.books.open_shows(standing=WARM_UP_PLACES)
        return shows, await self.claims(served, "standing", shows, seconds=self.plan.warm_up_seconds)

    @asynccontextmanager
    async def metered(self, served: Served) -> "AsyncIterator[Meter]":
        """Meters what happens in the block."""
        meter = Meter(self, served)
        await meter.begin()
        yield meter
        await meter.end()

    async def audited(self, shows: Sequence[str], acknowledged: Acknowledged) -> list[str]:
        """What the audit of these shows finds, with the variant's name before it."""
        if self.variant.app != "holdfast":
            return []
        found = await audit(self.books.url, shows, acknowledged)
        return [f"{self.variant.name}, repeat {self.repeat + 1}: {each}" for each in found]


def told(*loads: Load) -> Acknowledged:
    """What callers heard in all of these."""
    return Acknowledged(
        sum(load.acknowledged for load in loads),
        sum(load.unanswered + load.failed for load in loads),
        [each for load in loads for each in load.ids],
    )


@dataclass
class Meter:
    """What servers, database and machine spend between two moments."""

    trial: Trial
    served: Served
    spent: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    wal_bytes: int = 0
    of_machine: MachineTime = field(default_factory=lambda: MachineTime(0, 0, 0))

    async def begin(self) -> None:
        self._wal_at = await self._wal()
        self._spent_at = self._spent()
        self._machine_at = machine.machine_time()
        self._began = time.monotonic()

    async def end(self) -> None:
        self.seconds = time.monotonic() - self._began
        self.of_machine = machine.machine_time().since(self._machine_at)
        self.spent = {name: value - self._spent_at[name] for name, value in self._spent().items()}
        self.wal_bytes = await self._wal() - self._wal_at

    async def _wal(self) -> int:
        return await self.trial.books.wal_position() if self.trial.variant.app == "holdfast" else 0

    def _spent(self) -> dict[str, float]:
        stage = self.trial.stage
        roots = {
            "server": self.served.pids,
            "database": [stage.server.pid] if stage.server.pid else [],
            "worker": self.served.worker_pids,
            "redis": [stage.redis_pid] if stage.redis_pid else [],
        }
        return {name: machine.tree_seconds(pids) for name, pids in roots.items()}

    def figures(self, load: Load, *, per: int | None = None) -> dict[str, float]:
        """Everything about this load that is worth a figure; CPU per acknowledged booking, or per `per`.

        Times are milliseconds, CPU is microseconds.
        """
        count = per if per is not None else load.acknowledged
        figures = {
            "bookings_per_second": load.per_second,
            "answers_per_second": load.answers_per_second,
            "bookings": float(load.acknowledged),
            "refused": float(load.refused),
            # Answered by an error, or not at all: what became of these is not known to the caller.
            "failed": float(load.failed + load.unanswered),
            "avg_ms": load.avg_ms,
            "p50_ms": load.p50_ms,
            "p95_ms": load.p95_ms,
            "p99_ms": load.p99_ms,
            "max_ms": load.max_ms,
            "generator_cpu_percent": 100 * load.cpu_seconds / max(self.seconds, 1e-9),
            "server_cpu_percent": 100 * self.spent["server"] / max(self.seconds, 1e-9),
            "database_cpu_percent": 100 * self.spent["database"] / max(self.seconds, 1e-9),
            "server_rss_mb": self.served.rss_mb(),
            **self.machine_figures(load.cpu_seconds),
        }
        if count:
            figures["generator_us"] = load.cpu_seconds / count * 1e6
            figures["wal_bytes"] = self.wal_bytes / count
            figures |= {f"{name}_us": seconds / count * 1e6 for name, seconds in self.spent.items()}
            figures["cpu_us"] = (
                (self.spent["server"] + self.spent["database"] + self.spent["redis"]) / count * 1e6
            )
        return figures

    def machine_figures(self, generator_seconds: float) -> dict[str, float]:
        """What the hypervisor took, and what programs that have nothing to do with us spent, in percent of all cores."""
        total = max(self.of_machine.total, 1e-9)
        ours = sum(self.spent.values()) + generator_seconds
        return {
            "steal_percent": 100 * self.of_machine.stolen / total,
            "elsewhere_percent": max(0.0, 100 * (self.of_machine.busy - ours) / total),
        }


class Scenario(ABC):
    """What is measured. A subclass says which variants are compared and how one repeat of one goes."""

    name: str
    about: str
    # Where the plan's number of repeats makes no sense.
    repeats: int | None = None
    # (figure, heading, format): the columns of its table.
    columns: Sequence[tuple[str, str, str]] = (
        ("bookings_per_second", "bookings/s", ",.0f"),
        ("p50_ms", "p50 ms", ",.1f"),
        ("p99_ms", "p99 ms", ",.1f"),
        ("server_us", "server us", ",.0f"),
        ("database_us", "PostgreSQL us", ",.0f"),
        ("generator_us", "generator us", ",.0f"),
    )

    @abstractmethod
    def variants(self, plan: Plan) -> list[Variant]:
        """What is compared, in the order in which it takes turns."""

    def settings(self, plan: Plan) -> dict[str, float]:
        """The sizes that this plan gives it, for the record."""
        return {}

    @asynccontextmanager
    async def prepared(self, stage: Stage, plan: Plan) -> AsyncIterator[Callable[[Variant], Books]]:
        """The databases that the variants use; one for all unless a scenario says otherwise."""
        async with stage.books(f"bench_{self.name.replace('-', '_')}") as books:
            yield lambda _: books

    @abstractmethod
    async def run(self, trial: Trial) -> Outcome:
        """One repeat of one variant."""


class VariantResult(msgspec.Struct):
    """The repeats of one variant, by figure: `values` are in the order of the repeats."""

    figures: dict[str, dict[str, Any]]
    violations: list[str]
    notes: list[str]
    # Whether there was anything to check: the floor books nothing.
    audited: bool = True

    def spread_of(self, figure: str) -> Spread | None:
        """None where this variant has no such figure."""
        found = self.figures.get(figure)
        return spread(found["values"]) if found else None


class ScenarioResult(msgspec.Struct):
    """A scenario as it was run."""

    about: str
    settings: dict[str, float]
    columns: list[tuple[str, str, str]]
    seconds: float
    variants: dict[str, VariantResult]


async def run_scenario(
    stage: Stage, scenario: Scenario, plan: Plan, tell: Callable[[str], None]
) -> ScenarioResult:
    """All repeats of all variants: first the first of each, then the second of each, and so on."""
    began = time.monotonic()
    variants = scenario.variants(plan)
    outcomes: dict[str, list[Outcome]] = {variant.name: [] for variant in variants}
    async with scenario.prepared(stage, plan) as books_of:
        repeats = scenario.repeats or plan.repeats
        for repeat in range(repeats):
            for variant in variants:
                tell(f"{scenario.name}: {variant.name}, {repeat + 1} of {repeats}")
                trial = Trial(stage, books_of(variant), variant, plan, repeat)
                outcomes[variant.name].append(await scenario.run(trial))
    return ScenarioResult(
        about=scenario.about,
        settings=scenario.settings(plan),
        columns=list(scenario.columns),
        seconds=round(time.monotonic() - began, 1),
        variants={variant.name: _gathered(variant, outcomes[variant.name]) for variant in variants},
    )


def _gathered(variant: Variant, repeats: Sequence[Outcome]) -> VariantResult:
    # A figure that a repeat could not give is none: ratios pair the repeats by their order.
    names = [name for name in repeats[0].figures if all(name in outcome.figures for outcome in repeats)]
    figures = {name: _shown([outcome.figures[name] for outcome in repeats]) for name in names}
    notes = list(dict.fromkeys(note for outcome in repeats for note in outcome.notes))
    violations = [each for outcome in repeats for each in outcome.violations]
    return VariantResult(figures, violations, notes, audited=variant.app == "holdfast")


def _shown(values: Sequence[float]) -> dict[str, Any]:
    rounded = [float(f"{value:.6g}") for value in values]
    whole = spread(rounded)
    return {"median": whole.median, "min": whole.low, "max": whole.high, "values": list(whole.values)}
