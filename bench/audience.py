"""What it costs the claims that thousands watch the show: the same claims without viewers and with them, in turn."""

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from time import perf_counter

from bench import viewers
from bench.heavy import LAST_NEWS_SECONDS, delays_of, watched
from bench.load import Crowd, Load, send_crowd
from bench.run import Meter, Outcome, Plan, Scenario, Trial, told
from bench.stage import Variant

SEATS = 200_000
# A show that sells well: 10,000 seats a minute. What a process could claim at most is asked for afterwards.
CLAIMS_PER_SECOND = 100.0
CONNECTIONS = 32
QUIET_SECONDS = 2.0


class Audience(Scenario):
    """Live viewers of one show on one process, while its seats go."""

    name = "audience"
    about = (
        f"{CLAIMS_PER_SECOND:.0f} claims of two neighbours a second on a show that so many watch live, all on one server process; "
        "then as many claims as go. Delays run from the moment a claim is sent to the moment a viewer hears that its seats are gone"
    )
    columns = (
        ("claim_p50_ms", "claim p50 ms", ",.1f"),
        ("claim_p99_ms", "claim p99 ms", ",.1f"),
        ("seen_p50_ms", "seen p50 ms", ",.0f"),
        ("seen_p99_ms", "seen p99 ms", ",.0f"),
        ("server_cpu_percent", "server CPU %", ",.0f"),
        ("delivery_us", "server CPU per event and viewer, us", ",.1f"),
        ("hot_per_second", "at most, bookings/s", ",.0f"),
        ("hot_p99_ms", "at most, p99 ms", ",.0f"),
        ("server_rss_mb", "MB", ",.0f"),
    )

    def variants(self, plan: Plan) -> list[Variant]:
        counts = (0, plan.size(5_000, 5_000, 50))
        return [Variant(f"{count:,} viewers", plan.strategies[0], number=count) for count in counts]

    def settings(self, plan: Plan) -> dict[str, float]:
        return {"seats": self._seats(plan), "viewers": plan.size(5_000, 5_000, 50)}

    def _seats(self, plan: Plan) -> int:
        return plan.size(SEATS, SEATS, 4_000)

    async def run(self, trial: Trial) -> Outcome:
        plan, seats, count = trial.plan, self._seats(trial.plan), trial.variant.number
        shows = await trial.books.open_shows(seats=seats)
        seen: list[viewers.Seen] = []
        async with trial.served() as served:
            warm_shows, warm = await trial.warmed_elsewhere(served)
            async with watched(trial, served, shows[0], count) if count else nullcontext(seen) as seen:
                await asyncio.sleep(0 if plan.tiny else QUIET_SECONDS)
                crowd = Crowd(
                    kind="steady", port=served.port, shows=shows, connections=CONNECTIONS, seats=seats,
                    seconds=max(plan.seconds, 1.0), rate=CLAIMS_PER_SECOND, seed=trial.repeat + 1,
                )  # fmt: skip
                async with trial.metered(served) as meter:
                    load = await send_crowd(crowd, trial.stage.folder)
                until = perf_counter()
                await asyncio.sleep(LAST_NEWS_SECONDS)
                # Of the other half of the seats than the crowd before.
                async with trial.metered(served) as hot_meter:
                    hot = await trial.claims(served, "pairs", shows, per_show=seats // 4)
            found = self._figures(meter, load, hot_meter.figures(hot))
        notes = []
        if seen:
            notes = self._add_seen(found, load, seen[0], until, meter.spent["server"])
        return Outcome(found, await trial.audited([*shows, *warm_shows], told(warm, load, hot)), notes)

    def _figures(self, meter: Meter, load: Load, hot: Mapping[str, float]) -> dict[str, float]:
        found = meter.figures(load)
        found["claim_p50_ms"], found["claim_p99_ms"] = load.p50_ms, load.p99_ms
        found["hot_per_second"], found["hot_p50_ms"] = hot["bookings_per_second"], hot["p50_ms"]
        found["hot_p99_ms"], found["hot_server_cpu_percent"] = hot["p99_ms"], hot["server_cpu_percent"]
        found["hot_server_us"] = hot.get("server_us", 0.0)
        return found

    def _add_seen(
        self, found: dict[str, float], load: Load, seen: viewers.Seen, until: float, server_seconds: float
    ) -> list[str]:
        told_in_time = sum(sum(at < until for at in event.seen_at) for event in seen.events)
        found["viewers"] = float(seen.viewers)
        found["viewers_cpu_seconds"] = seen.cpu_seconds
        found["deliveries"] = float(told_in_time)
        found["delivery_us"] = 1e6 * server_seconds / max(1, told_in_time)
        delays = delays_of(load, seen)
        if delays is None:
            return ["no viewer heard of any claim"]
        found |= {f"seen_{name}_ms": float(value) for name, value in delays.items()}
        return []
