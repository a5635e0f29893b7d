"""What is measured by plain claims: one hot show, many shows, old bookings, long runs, and the floor below them all."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import ceil
from statistics import median
from uuid import uuid4

from bench import figures
from bench.audit import Acknowledged
from bench.load import PER_SHOW, ClaimKind, run_child
from bench.run import Outcome, Plan, Scenario, Trial, told
from bench.stage import BATCHED, Books, Served, Stage, Variant

STANDING_PLACES = 1_000_000
SEATS = 200_000
BEST_SEATS = 20_000
# More than any strategy here claims in a second: for how many shows a run needs one after the other.
CLAIMS_PER_SECOND_MAX = {"pairs": 12_000, "best": 4_000}
RSS_LOOKS = 48
COMPARED_WHEN_QUICK = (BATCHED, "row_lock")


class Hot(Scenario):
    """One show that everybody wants, under each strategy."""

    def __init__(self, kind: ClaimKind, name: str, about: str) -> None:
        self.kind = kind
        self.name = name
        self.about = about

    def variants(self, plan: Plan) -> list[Variant]:
        if self.kind == "best" and plan.quick and not plan.strategies_chosen:
            return [
                Variant(each, each, workers=plan.workers)
                for each in plan.strategies
                if each in COMPARED_WHEN_QUICK
            ]
        return plan.variants(every=True)

    def settings(self, plan: Plan) -> dict[str, float]:
        places = STANDING_PLACES if self.kind == "standing" else self._seats(plan)
        return {"places": places, "connections": plan.connections, "seconds": plan.seconds}

    async def run(self, trial: Trial) -> Outcome:
        plan, notes = trial.plan, []
        if self.kind == "standing":
            per_show, shows = PER_SHOW, await trial.books.open_shows(standing=STANDING_PLACES)
        else:
            # The last places of a show are refused now and then, which is not what is measured here.
            seats = self._seats(plan)
            per_show = seats // 2 if self.kind == "pairs" else seats * 49 // 100
            most = (plan.seconds + plan.warm_up_seconds) * CLAIMS_PER_SECOND_MAX[self.kind]
            shows = await trial.books.open_shows(1 if plan.tiny else ceil(most / per_show), seats=seats)
        async with trial.served() as served:
            found, heard = await trial.warm_and_measured(served, self.kind, shows, per_show=per_show)
        if found["refused"]:
            notes.append("some claims were refused: the places ran out, or the view was behind")
        return Outcome(found, await trial.audited(shows, heard), notes)

    def _seats(self, plan: Plan) -> int:
        return plan.size(SEATS, SEATS, 20_000) if self.kind == "pairs" else BEST_SEATS


class SpreadOut(Scenario):
    """Many lukewarm shows at once."""

    name = "spread"
    about = "40 shows and 1,000 shows, two standing places each time; the shows take turns"
    columns = (*Scenario.columns, ("first_look_ms", "first look at a show, ms", ",.1f"))
    _told: dict[int, tuple[list[str], Acknowledged]]

    def variants(self, plan: Plan) -> list[Variant]:
        counts = (40, plan.size(1_000, 1_000, 80))
        compared = plan.compared(every=not plan.quick)
        if not plan.strategies_chosen:
            compared = [each for each in compared if each in COMPARED_WHEN_QUICK]
        return [
            Variant(f"{count:,} shows, {each}", each, workers=plan.workers, number=count)
            for count in counts
            for each in compared
        ]

    @asynccontextmanager
    async def prepared(self, stage: Stage, plan: Plan) -> AsyncIterator[Callable[[Variant], Books]]:
        async with super().prepared(stage, plan) as books_of:
            # All runs share the shows, for a thousand take their time to make; so the audit is of all runs so far.
            self._told = {}
            for variant in self.variants(plan):
                if variant.number not in self._told:
                    shows = await books_of(variant).open_shows(variant.number, standing=STANDING_PLACES)
                    self._told[variant.number] = (shows, Acknowledged(0))
            yield books_of

    async def run(self, trial: Trial) -> Outcome:
        shows, before = self._told[trial.variant.number]
        async with trial.served() as served:
            # A show that a process has never met costs it a few queries. That is told apart from what claims cost.
            paths = [f"/v1/shows/{show}/availability" for show in shows]
            first_look_seconds = await asyncio.to_thread(served.ask_all, paths)
            found, heard = await trial.warm_and_measured(served, "standing", shows, spread=True)
        found["first_look_ms"] = first_look_seconds / len(shows) * 1000
        self._told[trial.variant.number] = (shows, before + heard)
        return Outcome(found, await trial.audited(shows, before + heard))


class Floor(Scenario):
    """How near the claim comes to a server that has nothing to do."""

    name = "floor"
    about = (
        "a bare ASGI echo; the claim's own route without a booking (same server, middleware, validation, one log line); and "
        "the claim of two standing places; with one server process and with two"
    )
    columns = (
        ("answers_per_second", "answers/s", ",.0f"),
        ("p50_ms", "p50 ms", ",.1f"),
        ("p99_ms", "p99 ms", ",.1f"),
        ("server_us", "server us", ",.0f"),
        ("database_us", "PostgreSQL us", ",.0f"),
        ("generator_us", "generator us", ",.0f"),
    )

    def variants(self, plan: Plan) -> list[Variant]:
        found = []
        for workers in (1, 2):
            behind = "" if workers == 1 else ", 2 processes"
            found += [
                Variant(f"{app}{behind}", plan.strategies[0], app, workers)
                for app in ("echo", "floor")
                if app == "floor" or workers == 1
            ]
            found.append(Variant(f"{plan.strategies[0]}{behind}", plan.strategies[0], workers=workers))
        return found

    async def run(self, trial: Trial) -> Outcome:
        real = trial.variant.app == "holdfast"
        shows = await trial.books.open_shows(standing=STANDING_PLACES) if real else [str(uuid4())]
        async with trial.served() as served:
            found, heard = await trial.warm_and_measured(served, "standing", shows)
        return Outcome(found, await trial.audited(shows, heard))


class History(Scenario):
    """Whether claims get dearer with the number of bookings that were ever made."""

    name = "history"
    about = "claims of two standing places in databases with no, with many and (`--full`) with very many old bookings"
    columns = (
        ("bookings_per_second", "bookings/s", ",.0f"),
        ("p99_ms", "p99 ms", ",.1f"),
        ("wal_bytes", "WAL bytes", ",.0f"),
        ("buffers", "buffers", ",.1f"),
        ("server_us", "server us", ",.0f"),
        ("database_us", "PostgreSQL us", ",.0f"),
    )

    def variants(self, plan: Plan) -> list[Variant]:
        counts = [
            0,
            plan.size(1_000_000, 1_000_000, 20_000),
            *([10_000_000] if plan.full and not plan.tiny else []),
        ]
        return [
            Variant(
                f"{count:,} old" if each == BATCHED else f"{count:,} old, {each}",
                each,
                workers=plan.workers,
                number=count,
            )
            for count in counts
            for each in plan.compared(every=False)
        ]

    @asynccontextmanager
    async def prepared(self, stage: Stage, plan: Plan) -> AsyncIterator[Callable[[Variant], Books]]:
        async with _many(stage, {variant.number for variant in self.variants(plan)}) as made:
            for count, books in made.items():
                if count:
                    await _write_old(books, count)
            yield lambda variant: made[variant.number]

    async def run(self, trial: Trial) -> Outcome:
        shows = await trial.books.open_shows(standing=STANDING_PLACES)
        await trial.books.settle()
        before = await trial.books.buffers_touched()
        async with trial.served() as served:
            found, heard = await trial.warm_and_measured(served, "standing", shows)
        # Sessions hand in what they counted when they end, so pages are those of the whole life of the servers, and are
        # divided by all that was booked in it.
        found["buffers"] = (await trial.books.buffers_touched() - before) / max(1, heard.count)
        return Outcome(found, await trial.audited(shows, heard))


@asynccontextmanager
async def _many(stage: Stage, counts: set[int]) -> AsyncIterator[dict[int, Books]]:
    made: dict[int, Books] = {}
    if not counts:
        yield made
        return
    count = min(counts)
    async with stage.books(f"bench_history_{count}") as books, _many(stage, counts - {count}) as others:
        yield {count: books, **others}


async def _write_old(books: Books, count: int) -> None:
    """Old bookings by the product's own `seed`, and what autovacuum would have done to them by now."""
    stage = books.stage
    command = [sys.executable, "-P", "-m", "holdfast", "seed", "--seats", "100", "--bookings", str(count)]
    await run_child(
        command, 60 + count / 2_000, stage.folder / "seed.log", stage.environment(stage.settings(books.url))
    )
    await books.execute("vacuum (analyze, freeze) bookings", "vacuum analyze")


class Memory(Scenario):
    """Whether a server process keeps its size. One run: what matters is its length."""

    repeats = 1
    name = "memory"
    about = "resident memory of the server while seats are held, expire and are held again (holds of 10 s)"
    columns = (
        ("rss_mb", "MB at the end", ",.0f"),
        ("rss_max_mb", "MB at most", ",.0f"),
        ("growth_percent", "growth, 4th quarter over 3rd, %", ",.1f"),
        ("bookings_per_second", "bookings/s", ",.0f"),
        ("refused", "refused", ",.0f"),
    )

    def variants(self, plan: Plan) -> list[Variant]:
        return plan.variants(every=False)

    def settings(self, plan: Plan) -> dict[str, float]:
        return {"minutes": plan.minutes}

    async def run(self, trial: Trial) -> Outcome:
        seats = trial.plan.size(SEATS, SEATS, 2_000)
        shows = await trial.books.open_shows(seats=seats, hold_seconds=10)
        looks: list[float] = []
        async with trial.served() as served:
            watching = asyncio.create_task(_watch_rss(served, trial.plan.minutes * 60 / RSS_LOOKS, looks))
            try:
                async with trial.metered(served) as meter:
                    load = await trial.claims(
                        served, "pairs", shows, seconds=trial.plan.minutes * 60, per_show=seats // 2
                    )
            finally:
                watching.cancel()
            found = meter.figures(load)
        found["rss_mb"] = median(looks[-len(looks) // 4 :])
        found["rss_max_mb"] = max(looks)
        found["growth_percent"] = 100 * figures.growth(looks)
        return Outcome(found, await trial.audited(shows, told(load)))


async def _watch_rss(served: Served, every_seconds: float, looks: list[float]) -> None:
    while True:
        looks.append(served.rss_mb())
        await asyncio.sleep(every_seconds)
