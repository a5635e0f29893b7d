"""The benchmark's own arithmetic, its audit (which must be able to fail), and a run of all of it at sizes that mean nothing."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4
from xml.etree import ElementTree as ET

import asyncpg
import httpx
import pytest

from bench import figures, machine, page, plot, report, targets, wrk
from bench.audit import Acknowledged, NotDurable, audit, require_durable
from bench.heavy import delays_of, read_queries
from bench.load import ROOT, Claims, Load, claim_body, claim_path, post
from bench.report import Result
from bench.run import Outcome, Plan, Scenario, ScenarioResult, Trial, VariantResult, _gathered, run_scenario
from bench.stage import Variant, strategies
from bench.viewers import Event, Seen
from holdfast.platform.settings import Settings

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")


# Figures


def test_a_percentile_is_a_value_that_was_seen() -> None:
    ordered = [float(n) for n in range(1, 101)]
    assert figures.percentile(ordered, 50) == 50
    assert figures.percentile(ordered, 99) == 99
    assert figures.percentile(ordered, 100) == 100
    assert figures.percentile(ordered, 0) == 1
    assert figures.percentile([7.0], 99) == 7
    assert figures.percentile([1.0, 2.0, 3.0], 34) == 2
    for bad in (-0.1, 100.1):
        with pytest.raises(ValueError):
            figures.percentile(ordered, bad)
    with pytest.raises(ValueError):
        figures.percentile([], 50)


def test_a_percentile_of_a_histogram_is_that_of_its_values() -> None:
    values = [0, 0, 1, 3, 3, 3, 9]
    counts = [values.count(n) for n in range(10)]
    for percent in (0, 1, 28, 29, 50, 85, 86, 100):
        assert figures.weighted_percentile(counts, percent) == figures.percentile(values, percent)
    with pytest.raises(ValueError):
        figures.weighted_percentile([0, 0], 50)


def test_a_spread_tells_median_least_greatest_and_order() -> None:
    whole = figures.spread([30.0, 10.0, 20.0])
    assert (whole.median, whole.low, whole.high, whole.values) == (20, 10, 30, (30, 10, 20))
    assert whole.half_range_percent == 50
    assert figures.spread([1.0, 2.0]).median == 1.5
    with pytest.raises(ValueError):
        figures.spread([])


def test_a_ratio_pairs_the_repeats() -> None:
    # The machine was half as fast in the second repeat: the ratio does not feel it, a ratio of medians would not either,
    # but a ratio of the extremes would.
    found = figures.ratio([100.0, 50.0, 100.0], [10.0, 5.0, 10.0])
    assert found is not None
    assert (found.median, found.low, found.high) == (10, 10, 10)
    assert figures.ratio([1.0], [1.0, 2.0]) is None
    assert figures.ratio([1.0], [0.0]) is None
    assert figures.ratio([], []) is None


def test_growth_looks_at_the_second_half_alone() -> None:
    filling = [10.0, 50.0, 90.0, 100.0]
    assert figures.growth([*filling, 100.0, 100.0, 100.0, 100.0]) == 0
    assert figures.growth([*filling, 100.0, 100.0, 110.0, 110.0]) == pytest.approx(0.1)
    with pytest.raises(ValueError):
        figures.growth([1.0] * 7)


# The machine


def test_stolen_time_is_neither_idle_nor_ours() -> None:
    ticks = machine.TICKS_PER_SECOND
    text = "cpu  " + " ".join(str(n * ticks) for n in (1, 2, 3, 40, 5, 6, 7, 36, 0, 0)) + "\ncpu0 ...\n"
    found = machine.machine_time(text)
    assert (found.total, found.busy, found.stolen) == (100, 19, 36)
    later = machine.MachineTime(200, 40, 46)
    assert later.since(found) == machine.MachineTime(100, 21, 10)


@linux
def test_the_name_of_a_program_may_hold_anything() -> None:
    ticks = machine.TICKS_PER_SECOND
    fields = ["S", "7", *["0"] * 9, *[str(n * ticks) for n in (1, 2, 3, 4)], *["0"] * 6, "10"]
    found = machine._read_stat(f"99 (a) b (c) {' '.join(fields)}")
    assert (found.parent, found.seconds, found.rss_bytes) == (7, 10, 10 * machine.PAGE_BYTES)


@linux
def test_what_a_child_has_spent_is_its_parents_when_it_is_gone() -> None:
    before = machine.tree_seconds([os.getpid()])
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert machine.tree_seconds([os.getpid()]) - before >= 0.29
    assert machine.tree_rss_bytes([os.getpid()]) > 2**20
    assert machine.tree_seconds([2**22 + 1]) == 0


@linux
def test_a_folder_is_on_some_file_system(tmp_path: Path) -> None:
    assert machine.filesystem_of(tmp_path) not in {"", "unknown"}
    assert machine.filesystem_of(Path("/proc/self")) == "proc"


# The audit


class Sold:
    """A show on which a few were sold, and what their buyers were told."""

    def __init__(self, url: str, show: str, ids: list[str]) -> None:
        self.url = url
        self.show = show
        self.ids = ids

    async def found(self, **changes: Any) -> list[str]:
        told = {"count": len(self.ids), "ids": self.ids, **changes}
        return await audit(self.url, [self.show], Acknowledged(**told))

    async def execute(self, statement: str, *arguments: Any) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()


@pytest.fixture
async def sold(client: httpx.AsyncClient, a_show: Any, settings: Settings) -> Sold:
    show = await a_show()
    ids = []
    for seats in (["1", "2"], ["5", "6"], ["9"]):
        answer = await client.post(f"/v1/shows/{show['id']}/bookings", json={"seats": seats})
        assert answer.status_code == 201
        ids.append(answer.json()["id"])
    assert settings.database_url is not None
    return Sold(settings.database_url, show["id"], ids)


@pytest.mark.anyio
async def test_the_audit_is_content_with_what_was_sold(sold: Sold) -> None:
    assert await sold.found() == []
    # wrk keeps no ids; what was not answered may or may not be there.
    assert await sold.found(ids=()) == []
    assert await sold.found(count=2, unanswered=1, ids=()) == []
    assert await sold.found(count=3, unanswered=5, ids=()) == []


@pytest.mark.anyio
async def test_the_audit_misses_what_was_acknowledged(sold: Sold) -> None:
    stranger = str(uuid4())
    found = await sold.found(count=4, ids=[*sold.ids, stranger])
    assert f"acknowledged but not there: {stranger}" in found
    assert "4 claims acknowledged, 3 bookings there" in found
    assert "2 claims acknowledged, 3 bookings there" in await sold.found(count=2, ids=())
    assert any("not answered" in each for each in await sold.found(count=1, unanswered=1, ids=()))
    assert "two claims were answered with one booking" in await sold.found(ids=[sold.ids[0], *sold.ids[:2]])


# What somebody could do to the tables, and the check that must notice.
BREAKAGES = {
    "delete from bookings where seats = '{8}'": [
        "claim without its booking",
        "stock that is not its bookings",
    ],
    "delete from claims where seat = 4": ["live seat without its claim"],
    "insert into claims select show_id, 3, held_by from claims where seat = 4": ["claim without its booking"],
    "update claims set held_by = gen_random_uuid() where seat = 4": [
        "live seat without its claim",
        "claim without its booking",
    ],
    "update stock set reserved = reserved + 1": ["stock that is not its bookings"],
    "update bookings set seats = '{0,1}' where seats = '{4,5}'": [
        "seat booked twice",
        "live seat without its claim",
    ],
    "alter table claims drop constraint claims_pkey; insert into claims select * from claims where seat = 4": [
        "seat claimed twice"
    ],
    "alter table stock drop constraint never_oversold; update stock set capacity = 4": [
        "area beyond its capacity"
    ],
    "alter table bookings drop constraint places_match; update bookings set quantity = 3 where seats = '{8}'": [
        "booking of too few places"
    ],
}


@pytest.mark.anyio
@pytest.mark.parametrize("breakage", BREAKAGES)
async def test_the_audit_notices(sold: Sold, breakage: str) -> None:
    await sold.execute(breakage)
    found = {each.partition(":")[0] for each in await sold.found()}
    assert set(BREAKAGES[breakage]) <= found, found


@pytest.mark.anyio
async def test_a_server_that_may_forget_is_refused(database_url: str) -> None:
    # The server of the tests is one: it need not wait for the disk.
    with pytest.raises(NotDurable, match="fsync, full_page_writes, synchronous_commit is off"):
        await require_durable(database_url)


# What the generators send and hear


def test_a_walk_comes_to_every_pair_once() -> None:
    for pairs in (500, 10_000, 100_000, 61_813):
        claims = Claims(port=1, kind="pairs", shows=["s"], seconds=1, per_show=pairs)
        assert {number % pairs * claims.stride % pairs for number in range(pairs)} == set(range(pairs))


@linux
@pytest.mark.skipif(wrk.version() is None, reason="there is no wrk")
@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["standing", "best", "pairs"])
async def test_wrk_sends_what_our_own_generator_sends(kind: Any, tmp_path: Path) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_answer_all, args=(listener, heard), daemon=True).start()
        claims = Claims(
            port=listener.getsockname()[1],
            kind=kind,
            shows=["a", "b"],
            seconds=0.3,
            connections=1,
            start=3,
            per_show=5,
        )
        load = await wrk.send(claims, tmp_path)
    expected = [
        post(claim_path("ab"[number // 5 % 2]), claim_body(kind, number, 5, claims.stride))
        for number in range(3, 3 + load.sent)
    ]
    assert load.sent > 10
    assert heard[: load.sent] == expected
    assert (load.answered, load.acknowledged, load.refused, load.unanswered) == (
        load.sent, (load.sent + 1) // 2, load.sent // 2, 0,
    )  # fmt: skip


def _answer_all(listener: socket.socket, heard: list[bytes]) -> None:
    """Answers the requests on all connections, 201 and 409 in turn. wrk opens one more to see whether it can."""
    statuses = (b"201 Created", b"409 Conflict")
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            while data := connection.recv(65536):
                if data.endswith(b"}"):
                    heard.append(data)
                    status = statuses[(len(heard) - 1) % 2]
                    connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")


def test_a_delay_runs_from_the_claim_to_each_viewer() -> None:
    load = _load(seats_sent=[(10.0, [4, 5]), (10.125, [8, 9])])
    seen = Seen(2, [Event([4, 5, 8, 9], [10.25, 10.5]), Event([77], [99.0])], 0.0)
    # 250, 500, 125 and 375 ms.
    assert delays_of(load, seen) == {"p50": 250, "p99": 500, "max": 500}
    assert delays_of(load, Seen(2, [], 0.0)) is None


def test_queries_of_claims_are_no_reads() -> None:
    name = 'holdfast_db_query_seconds_count{query="booking.%s"}'
    before = {name % "heads": 5.0, name % "claim_many": 10.0}
    after = {
        name % "heads": 9.0,
        name % "claim_many": 900.0,
        name % "snapshot": 2.0,
        "process_cpu_seconds": 9.0,
    }
    assert read_queries(before, after) == 6


def test_the_strategies_are_those_of_the_settings() -> None:
    assert strategies()[0] == "batched"
    assert len(strategies()) == len(set(strategies()))


# Results


def _load(**changes: Any) -> Load:
    counts = dict.fromkeys("sent answered acknowledged refused failed unanswered".split(), 0)
    rates = dict.fromkeys("per_second answers_per_second avg_ms p50_ms p95_ms p99_ms max_ms".split(), 0.0)
    return Load(generator="own", seconds=1.0, **{**counts, **rates, **changes})


def _variant(**values: list[float]) -> VariantResult:
    names = list(values)
    outcomes = [Outcome(dict(zip(names, row, strict=True))) for row in zip(*values.values(), strict=True)]
    return _gathered(Variant("any"), outcomes)


def _scenario(settings: dict[str, float] | None = None, **variants: VariantResult) -> ScenarioResult:
    return ScenarioResult(
        "about", settings or {}, [("bookings_per_second", "bookings/s", ",.0f")], 1.0, variants
    )


def _verdict(text: str, results: dict[str, ScenarioResult]) -> targets.Verdict:
    (found,) = (each for each in targets.judged(results) if each.target.startswith(text))
    return found


def test_a_target_is_reached_at_its_bound_and_missed_below_it() -> None:
    def judged(batched: float) -> targets.Verdict:
        hot = _scenario(
            batched=_variant(bookings_per_second=[batched] * 3),
            row_lock=_variant(bookings_per_second=[100.0] * 3),
        )
        return _verdict("hot-standing: bookings/s", {"hot-standing": hot})

    assert judged(1000).reached is True
    assert judged(999).reached is False
    assert judged(999).value == pytest.approx(9.99)


def test_a_target_of_at_most_is_missed_above_it() -> None:
    for average, reached in ((40.0, True), (40.1, False)):
        results = {"jmeter": _scenario(batched=_variant(avg_ms=[average]))}
        assert _verdict("jmeter: average", results).reached is reached


def test_what_was_not_run_or_run_smaller_is_never_reached() -> None:
    assert {verdict.reached for verdict in targets.judged({})} == {None}
    small = {"sell-out": _scenario({"seats": 1000.0}, batched=_variant(sold_out_seconds=[1.0]))}
    assert _verdict("sell-out of", small).reached is None
    whole = {"sell-out": _scenario({"seats": 50_000.0}, batched=_variant(sold_out_seconds=[1.0]))}
    assert _verdict("sell-out of", whole).reached is True


def test_a_figure_that_one_repeat_lacks_is_none() -> None:
    found = _gathered(
        Variant("any"), [Outcome({"a": 1.0, "b": 2.0}), Outcome({"a": 3.0}, ["wrong"], ["note"])]
    )
    assert found.figures == {"a": {"median": 2.0, "min": 1.0, "max": 3.0, "values": [1.0, 3.0]}}
    assert (found.violations, found.notes) == (["wrong"], ["note"])


class _Turns(Scenario):
    """Books nothing; remembers whose turn it was."""

    name = "turns"
    about = "none"

    def __init__(self) -> None:
        self.turns: list[tuple[str, int]] = []

    def variants(self, plan: Plan) -> list[Variant]:
        return [Variant("a"), Variant("b", app="floor")]

    @asynccontextmanager
    async def prepared(self, stage: Any, plan: Plan) -> AsyncIterator[Any]:
        yield lambda _: None

    async def run(self, trial: Trial) -> Outcome:
        self.turns.append((trial.variant.name, trial.repeat))
        return Outcome({"turn": float(len(self.turns))})


@pytest.mark.anyio
async def test_variants_take_turns() -> None:
    scenario, nowhere = _Turns(), cast("Any", None)
    result = await run_scenario(nowhere, scenario, Plan(repeats=3), lambda _: None)
    assert scenario.turns == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert result.variants["a"].figures["turn"]["values"] == [1, 3, 5]
    assert (result.variants["a"].audited, result.variants["b"].audited) == (True, False)
    scenario.repeats = 1
    assert (
        len(
            (await run_scenario(nowhere, scenario, Plan(), lambda _: None))
            .variants["a"]
            .figures["turn"]["values"]
        )
        == 1
    )


def _result(**changes: Any) -> Result:
    variant = _variant(bookings_per_second=[10.0, 30.0, 20.0], server_us=[5.0] * 3, database_us=[1.0] * 3)
    fields: dict[str, Any] = {
        "started_at": "2026-11-21T00:00:00Z", "command": "./holdfast bench", "generator": "own", "options": {"repeats": 3},
        "versions": machine.versions(ROOT), "machine": machine.description(), "database": {"server_version": "18"},
        "filesystem": "ext4", "steal_percent": 0.0, "elsewhere_percent": 0.0, "warnings": [], "seconds": 1.0,
        "scenarios": {"hot-standing": _scenario({"places": 1e6}, batched=variant)}, "targets": targets.judged({}),
    }  # fmt: skip
    return Result(**{**fields, **changes})


@linux
def test_a_result_is_kept_drawn_and_written_about(tmp_path: Path) -> None:
    result = _result(warnings=report.doubts(50.0, 50.0, "tmpfs"))
    assert len(result.warnings) == 3
    path = report.keep(result, tmp_path)
    assert report.newest(tmp_path) == path
    assert report.load(path) == result
    picture = ET.fromstring(plot.picture(result))
    assert len(picture.findall("{*}rect")) == 3
    text = page.text(result, path)
    assert "20 (10 to 30)" in text
    assert f"../../bench/results/{path.stem}.svg" in text
    assert all(warning in text for warning in result.warnings)
    assert report.newest(tmp_path / "nowhere") is None


def test_a_quiet_machine_leaves_no_doubt() -> None:
    assert report.doubts(machine.STEAL_PERCENT_MAX, machine.ELSEWHERE_PERCENT_MAX, "ext4") == []
    assert len(report.doubts(machine.STEAL_PERCENT_MAX + 0.1, 0.0, "ext4")) == 1


# The command


def _bench(*arguments: str, seconds_max: float = 60) -> "subprocess.CompletedProcess[str]":
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    environ |= {"PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=seconds_max, check=False,
    )  # fmt: skip


@linux
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["warp-speed"], "hot-standing"),
        (["burst", "--strategy", "hope"], "batched"),
        (["burst", "--seconds", "0"], "seconds"),
        (["burst", "--repeats", "none"], "repeats"),
        (["burst", "--generator", "ab"], "wrk"),
        (["burst", "--data", "no/such/folder"], "no/such/folder"),
        (["--faster"], "faster"),
    ],
)
def test_nonsense_is_refused_with_status_2(arguments: list[str], word: str) -> None:
    done = _bench(*arguments)
    assert done.returncode == 2, done.stderr
    assert word in done.stderr


@linux
def test_the_help_names_every_scenario() -> None:
    done = _bench("--help")
    assert done.returncode == 0
    for scenario in SCENARIOS:
        assert scenario in done.stdout


SCENARIOS = [
    "hot-standing", "hot-seats", "hot-best", "floor", "spread", "jmeter", "sell-out", "reads", "burst", "history", "memory",
]  # fmt: skip


@pytest.fixture(scope="module")
def small_run() -> Iterator[tuple[Result, Path, str]]:
    """All scenarios for half a second each, with our own generator for two of them and wrk, where it is, for the rest."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-bench-test-"))
    folder.chmod(0o755)
    began = time.monotonic()
    done = _bench(
        *SCENARIOS, "--tiny", "--seconds", "0.5", "--repeats", "1", "--strategy", "batched", "--minutes", "0.05",
        "--data", str(folder), "--results", str(folder / "results"), seconds_max=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    path = report.newest(folder / "results")
    assert path is not None
    assert report.load(path).seconds <= time.monotonic() - began
    yield report.load(path), path, done.stdout
    assert [each.name for each in folder.iterdir()] == ["results"], "the private folder stayed"
    shutil.rmtree(folder)


@linux
@pytest.mark.long
@pytest.mark.timeout(900)
def test_all_scenarios_run_and_every_booking_is_there(small_run: tuple[Result, Path, str]) -> None:
    result, path, shown = small_run
    assert list(result.scenarios) == SCENARIOS
    assert result.violations == []
    for name, scenario in result.scenarios.items():
        assert f"{name}: " in shown
        for variant in scenario.variants.values():
            for figure in variant.figures.values():
                assert figure["min"] <= figure["median"] <= figure["max"]
                assert len(figure["values"]) == 1
            spent = variant.spread_of("server_us")
            assert spent is not None and spent.low > 0
            asked = variant.spread_of("bookings")
            assert asked is not None and asked.low > 0
    assert path.stat().st_size < report.RESULT_BYTES_MAX
    ET.fromstring(path.with_suffix(".svg").read_text("utf-8"))


@linux
@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_result_tells_where_it_comes_from(small_run: tuple[Result, Path, str]) -> None:
    result, path, _ = small_run
    assert {result.database[name] for name in ("fsync", "synchronous_commit", "full_page_writes")} == {"on"}
    assert result.machine["cores"] >= 1  # type: ignore[operator]
    assert {"python", "commit", "uvicorn", "asyncpg"} <= result.versions.keys()
    assert 0 <= result.steal_percent <= 100
    assert any("Only 1 of each run" in warning for warning in result.warnings)
    assert str(path.parent.parent) not in path.read_text("utf-8")
    assert _figure(result, "jmeter", "batched", "bookings") <= 1000
    assert _figure(result, "burst", "batched", "failed") == 0
    assert _figure(result, "sell-out", "batched", "bookings") == 500
    assert _figure(result, "reads", "batched", "viewers") == 50
    assert _figure(result, "reads", "batched", "seen_p99_ms") > 0


def _figure(result: Result, scenario: str, variant: str, name: str) -> float:
    whole = result.scenarios[scenario].variants[variant].spread_of(name)
    assert whole is not None
    return whole.low


@linux
@pytest.mark.long
@pytest.mark.timeout(300)
def test_our_own_generator_knows_each_booking_by_its_id(tmp_path_factory: Any) -> None:
    folder = Path(tempfile.mkdtemp(prefix="holdfast-bench-test-"))
    folder.chmod(0o755)
    try:
        done = _bench(
            "hot-seats", "--tiny", "--seconds", "0.5", "--repeats", "1", "--strategy", "batched", "--generator", "own",
            "--workers", "2", "--data", str(folder), "--results", str(folder), seconds_max=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        path = report.newest(folder)
        assert path is not None
        assert report.load(path).generator.startswith("our own")
    finally:
        shutil.rmtree(folder)
