"""What is measured by crowds that do more than claim: the seeds' own test, a show sold out, readers, a burst."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import msgspec

from bench import figures, viewers
from bench.load import Crowd, Load, LoadFailed, last_words, send_crowd, start_program
from bench.run import Meter, Outcome, Plan, Scenario, Trial, told
from bench.stage import Served, Variant

JMETER_SHOWS = 40
JMETER_SEATS = 50
# A histogram of delays up to ten seconds, a millisecond each.
DELAY_BUCKETS = 10_000
VIEWERS_SECONDS_MAX = 90.0
# For the last claims to reach the viewers: changes are told five times a second.
LAST_NEWS_SECONDS = 1.5


class Jmeter(Scenario):
    """The test that the second seed published, with its arithmetic put right: 2,000 seats are 1,000 bookings of two."""

    name = "jmeter"
    about = (
        "40 shows of 50 seats, 100 users, two random seats each, 6,000 requests; the seed reports 180 ms on average and "
        "320 ms at p95; at most 1,000 can succeed"
    )
    columns = (
        ("avg_ms", "average ms", ",.1f"),
        ("p95_ms", "p95 ms", ",.1f"),
        ("bookings", "booked", ",.0f"),
        ("refused", "refused", ",.0f"),
        ("failed", "failed", ",.0f"),
        ("answers_per_second", "answers/s", ",.0f"),
        ("generator_cpu_percent", "generator CPU %", ",.0f"),
    )

    def variants(self, plan: Plan) -> list[Variant]:
        return plan.variants(every=not plan.quick)

    async def run(self, trial: Trial) -> Outcome:
        plan = trial.plan
        requests = plan.size(6_000, 6_000, 300)
        shows = await trial.books.open_shows(JMETER_SHOWS, seats=JMETER_SEATS)
        async with trial.served() as served:
            crowd = Crowd(
                kind="draws", port=served.port, shows=shows, connections=plan.connections, seats=JMETER_SEATS,
                requests=requests, seed=trial.repeat + 1,
            )  # fmt: skip
            warm_shows, warm = await trial.warmed_elsewhere(served)
            async with trial.metered(served) as meter:
                load = await send_crowd(crowd, trial.stage.folder)
        found = meter.figures(load)
        violations = await trial.audited([*shows, *warm_shows], told(warm, load))
        if load.acknowledged > JMETER_SHOWS * JMETER_SEATS // 2:
            violations.append(
                f"{load.acknowledged} bookings of two seats, and there are {JMETER_SHOWS * JMETER_SEATS}"
            )
        return Outcome(found, violations)


class SellOut(Scenario):
    """From opening to empty, and what being asked for more costs then."""

    name = "sell-out"
    about = (
        "buyers look at the availability, claim a free pair of neighbours, and look again when refused, until every seat is "
        "sold; then the same show is asked for more, beside the floor"
    )
    columns = (
        ("sold_out_seconds", "sold out in s", ",.1f"),
        ("bookings", "bookings", ",.0f"),
        ("refused", "refused on the way", ",.0f"),
        ("p99_ms", "p99 ms", ",.1f"),
        ("refusals_per_second", "refusals/s after", ",.0f"),
        ("answers_per_second", "answers/s", ",.0f"),
    )

    def variants(self, plan: Plan) -> list[Variant]:
        return [
            *plan.variants(every=False),
            Variant("floor", plan.strategies[0], "floor", plan.workers),
        ]

    def settings(self, plan: Plan) -> dict[str, float]:
        return {"seats": self._seats(plan), "connections": plan.connections}

    def _seats(self, plan: Plan) -> int:
        return plan.size(50_000, 20_000, 1_000)

    async def run(self, trial: Trial) -> Outcome:
        plan, seats = trial.plan, self._seats(trial.plan)
        if trial.variant.app != "holdfast":
            async with trial.served() as served:
                found, _ = await trial.warm_and_measured(served, "pairs", [str(uuid4())], per_show=seats // 2)
            return Outcome(found)
        shows = await trial.books.open_shows(seats=seats)
        async with trial.served() as served:
            crowd = Crowd(
                kind="buyers", port=served.port, shows=shows, connections=plan.connections, seats=seats,
                seed=trial.repeat + 1,
            )  # fmt: skip
            warm_shows, warm = await trial.warmed_elsewhere(served)
            async with trial.metered(served) as meter:
                load = await send_crowd(crowd, trial.stage.folder)
            found = meter.figures(load)
            after = await trial.claims(served, "pairs", shows, per_show=seats // 2)
        found["sold_out_seconds"] = load.more.get("sold_out_seconds", 0.0)
        found["looks"] = load.more.get("looks", 0.0)
        found["refusals_per_second"] = after.answers_per_second
        del found["answers_per_second"]
        violations = await trial.audited([*shows, *warm_shows], told(warm, load, after))
        notes = []
        if load.acknowledged * 2 != seats:
            notes.append(f"{seats - 2 * load.acknowledged} seats were not sold")
        return Outcome(found, violations, notes)


class Reads(Scenario):
    """Everybody looks, few buy, and many watch."""

    name = "reads"
    about = (
        "the list, a show and its availability in turn, a claim to every hundred of them, while live viewers watch the show; "
        "delays run from the moment a claim is sent to the moment a viewer hears that its seats are gone"
    )
    columns = (
        ("reads_per_second", "reads/s", ",.0f"),
        ("without_database_percent", "without the database %", ",.2f"),
        ("viewers", "viewers", ",.0f"),
        ("seen_p50_ms", "seen p50 ms", ",.0f"),
        ("seen_p99_ms", "seen p99 ms", ",.0f"),
        ("seen_max_ms", "seen max ms", ",.0f"),
        ("p99_ms", "claim p99 ms", ",.1f"),
    )

    def variants(self, plan: Plan) -> list[Variant]:
        return plan.variants(every=False)

    def settings(self, plan: Plan) -> dict[str, float]:
        return {"viewers": self._viewers(plan), "seats": 20_000, "connections": plan.connections}

    def _viewers(self, plan: Plan) -> int:
        return plan.size(2_000, 2_000, 50)

    async def run(self, trial: Trial) -> Outcome:
        plan = trial.plan
        shows = await trial.books.open_shows(seats=20_000)
        crowd = Crowd(
            kind="readers", port=0, shows=shows, connections=plan.connections, seats=20_000,
            seconds=max(plan.seconds, 1.0), seed=trial.repeat + 1,
        )  # fmt: skip
        async with trial.served() as served:
            crowd = msgspec.structs.replace(crowd, port=served.port)
            warm_shows, warm = await trial.warmed_elsewhere(served)
            async with watched(trial, served, shows[0], self._viewers(plan)) as seen:
                before = served.metrics()
                async with trial.metered(served) as meter:
                    load = await send_crowd(crowd, trial.stage.folder)
                after = served.metrics()
                await asyncio.sleep(LAST_NEWS_SECONDS)
        found = self._figures(meter, load, before, after)
        violations = await trial.audited([*shows, *warm_shows], told(warm, load))
        notes = []
        delays = delays_of(load, seen[0])
        found["viewers"] = float(seen[0].viewers)
        found["viewers_cpu_seconds"] = seen[0].cpu_seconds
        if delays is None:
            notes.append("no viewer heard of any claim")
        else:
            found |= {f"seen_{name}_ms": float(value) for name, value in delays.items()}
        return Outcome(found, violations, notes)

    def _figures(
        self, meter: Meter, load: Load, before: Mapping[str, float], after: Mapping[str, float]
    ) -> dict[str, float]:
        reads = int(load.more.get("reads", 0))
        found = meter.figures(load)
        found["reads"] = float(reads)
        found["reads_per_second"] = load.more.get("reads_per_second", 0.0)
        found["cpu_us_per_read"] = (meter.spent["server"] + meter.spent["database"]) / max(1, reads) * 1e6
        queries = read_queries(before, after)
        found["queries"] = float(queries)
        if load.acknowledged:
            found["without_database_percent"] = 100 * max(0.0, 1 - queries / max(1, reads))
        return found


def read_queries(before: Mapping[str, float], after: Mapping[str, float]) -> int:
    """How many queries the servers sent between two readings, those that claim left out.

    What keeps the views fresh in the background is counted, too, as if each of its queries were a reader's.
    """
    head = 'holdfast_db_query_seconds_count{query="'
    return round(
        sum(
            value - before.get(name, 0.0)
            for name, value in after.items()
            if name.startswith(head) and "claim" not in name
        )
    )


def delays_of(load: Load, seen: viewers.Seen) -> dict[str, int] | None:
    """p50, p99 and the greatest delay in milliseconds over all viewers and all claimed seats; None without any."""
    sent_at = {seat: moment for moment, seats in load.seats_sent for seat in seats[:1]}
    counts = [0] * (DELAY_BUCKETS + 1)
    for event in seen.events:
        for seat in event.taken:
            moment = sent_at.get(seat)
            if moment is not None:
                for at in event.seen_at:
                    counts[min(DELAY_BUCKETS, max(0, int((at - moment) * 1000)))] += 1
    if not any(counts):
        return None
    return {
        "p50": figures.weighted_percentile(counts, 50),
        "p99": figures.weighted_percentile(counts, 99),
        "max": figures.weighted_percentile(counts, 100),
    }


@asynccontextmanager
async def watched(trial: Trial, served: Served, show: str, count: int) -> "AsyncIterator[list[viewers.Seen]]":
    """So many live viewers during the block; afterwards what they saw stands in the list."""
    folder = trial.stage.folder
    job, out, log = folder / "viewers-job.json", folder / "viewers-out.json", folder / "viewers.log"
    job.write_bytes(msgspec.json.encode(viewers.Watch(served.port, show, count)))
    command: Sequence[str] = [sys.executable, "-m", "bench.viewers", str(job), str(out)]
    process = start_program(command, log)
    seen: list[viewers.Seen] = []
    try:
        async with asyncio.timeout(VIEWERS_SECONDS_MAX):
            while "all there" not in last_words(log):
                if process.poll() is not None:
                    raise LoadFailed(f"the viewers ended: {last_words(log)}")
                await asyncio.sleep(0.05)
        yield seen
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, VIEWERS_SECONDS_MAX)
        seen.append(_what_was_seen(out, log))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _what_was_seen(out: Path, log: Path) -> viewers.Seen:
    if not out.exists():
        raise LoadFailed(f"the viewers failed: {last_words(log)}")
    return msgspec.json.decode(out.read_bytes(), type=viewers.Seen)


class Burst(Scenario):
    """Everybody at once."""

    name = "burst"
    about = (
        "1,000 users connect and claim two seats each within one second, measured from before they connect"
    )
    columns = (
        ("answered", "answered", ",.0f"),
        ("failed", "not answered", ",.0f"),
        ("bookings", "booked", ",.0f"),
        ("p50_ms", "p50 ms", ",.1f"),
        ("p99_ms", "p99 ms", ",.1f"),
        ("max_ms", "slowest ms", ",.1f"),
    )

    def variants(self, plan: Plan) -> list[Variant]:
        return plan.variants(every=False)

    def settings(self, plan: Plan) -> dict[str, float]:
        return {"users": self._users(plan), "seats": 2_000}

    def _users(self, plan: Plan) -> int:
        return plan.size(1_000, 1_000, 50)

    async def run(self, trial: Trial) -> Outcome:
        users = self._users(trial.plan)
        shows = await trial.books.open_shows(seats=2_000)
        async with trial.served() as served:
            # The burst meets an installation that is up, not one that starts.
            warm_shows, warm = await trial.warmed_elsewhere(served)
            crowd = Crowd(
                kind="burst",
                port=served.port,
                shows=shows,
                connections=users,
                seats=2_000,
                seed=trial.repeat + 1,
            )
            async with trial.metered(served) as meter:
                load = await send_crowd(crowd, trial.stage.folder)
        found = meter.figures(load)
        found["answered"] = float(load.answered)
        found["failed"] = float(users - load.acknowledged - load.refused)
        return Outcome(found, await trial.audited([*shows, *warm_shows], told(warm, load)))
