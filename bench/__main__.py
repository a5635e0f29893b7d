"""The command line of the benchmark: `./holdfast bench`."""

import asyncio
import resource
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Annotated, NoReturn, cast

import typer
import uvloop
from rich.console import Console

from bench import inside, machine, page, plot, report, targets, wrk
from bench.audience import Audience
from bench.audit import NotDurable
from bench.heavy import Burst, Jmeter, Reads, SellOut
from bench.load import ROOT, ClaimKind, LoadFailed
from bench.report import Result
from bench.run import Plan, Scenario, ScenarioResult, run_scenario
from bench.scenarios import Floor, History, Hot, Memory, SpreadOut
from bench.stage import Stage, StageFailed, strategies
from holdfast.platform import telemetry
from holdfast.platform.embedded import EmbeddedFailed

FILES_WANTED = 20_000
QUICK_SECONDS = 1.5
QUICK_WARM_UP_SECONDS = 0.8
QUICK_MINUTES = 0.5

out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, soft_wrap=True)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Hot("standing", "hot-standing", "one show, two standing places each time"),
        Hot(
            "pairs", "hot-seats", "one show of 200,000 seats, two free neighbours each time, every pair once"
        ),
        Hot("best", "hot-best", "one show of 20,000 seats, the best two available each time"),
        Floor(),
        SpreadOut(),
        Jmeter(),
        SellOut(),
        Reads(),
        Audience(),
        Burst(),
        History(),
        Memory(),
    )
}

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_HELP = f"""Measure Holdfast over real HTTP on this machine, with durable commits, and check every booking afterwards.

Scenarios: {", ".join(SCENARIOS)}. Without any: a quick pass over all of them, some eight
minutes where nothing else runs.

Each variant runs at least three times, in turn with the others (A B A B ...), on fresh servers and after a warm-up. Shown are
medians with the least and the greatest repeat. The result goes to bench/results/ as JSON, with a picture as SVG.
"""


@app.command(help=_HELP)
def bench(
    scenarios: Annotated[list[str] | None, typer.Argument(metavar="[SCENARIO]...", show_default=False)] = None,
    seconds: Annotated[float | None, typer.Option(min=0.5, max=600, help="Measured time of each run.", show_default="6, 1.5 when quick")] = None,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Runs of each variant; fewer than 3 are marked.")] = 3,
    strategy: Annotated[list[str] | None, typer.Option(help="Only this strategy; may be given again.", show_default="all there are")] = None,
    connections: Annotated[int, typer.Option(min=1, max=2_000, help="Connections of the load generator.")] = 100,
    workers: Annotated[int, typer.Option(min=1, max=64, help="API processes.")] = 1,
    minutes: Annotated[float | None, typer.Option(min=0.05, max=600, help="Length of `memory`.", show_default="1, 0.5 when quick")] = None,
    tiny: Annotated[bool, typer.Option("--tiny", hidden=True, help="Sizes for a test of this tool.")] = False,
    full: Annotated[bool, typer.Option("--full", help="The largest sizes, too: ten million old bookings.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Short runs and smaller sizes; what a pass over all does.")] = False,
    generator: Annotated[str, typer.Option(help="wrk or own; auto takes wrk for plain claims where it is.")] = "auto",
    install_wrk: Annotated[bool, typer.Option("--install-wrk", help="Fetch wrk by apt-get if it is missing.")] = False,
    data: Annotated[Path | None, typer.Option(help="Where to make the private data folder.", show_default="the folder for temporary files")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the private data folder, with its logs.")] = False,
    results: Annotated[Path | None, typer.Option(help="Where to put the result.", show_default="bench/results")] = None,
    profile: Annotated[str | None, typer.Option(help="Run nothing else: what each microsecond of a claim goes to, of `standing`, `pairs` or `best`.", show_default=False)] = None,
    write_page: Annotated[bool, typer.Option("--page", help="Run nothing: write docs/operate/speed.md from the newest result.")] = False,
) -> None:  # fmt: skip
    if not sys.platform.startswith("linux"):
        _fail("bench reads /proc, so it needs Linux.", 1)
    folder = results or report.RESULTS
    if write_page:
        _write_page(folder)
        return
    if profile is not None:
        _profile(profile)
        return
    chosen = _chosen(scenarios or [])
    quick = quick or not scenarios
    plan = Plan(
        seconds=seconds if seconds is not None else QUICK_SECONDS if quick else Plan.seconds,
        warm_up_seconds=QUICK_WARM_UP_SECONDS if quick else Plan.warm_up_seconds,
        repeats=repeats,
        strategies=_strategies(strategy or []),
        strategies_chosen=bool(strategy),
        connections=connections,
        workers=workers,
        minutes=minutes if minutes is not None else QUICK_MINUTES if quick else Plan.minutes,
        full=full,
        quick=quick and not full,
        tiny=tiny,
        generator=_generator(generator, install_wrk=install_wrk),
    )
    if data is not None and not data.is_dir():
        _fail(f"--data: there is no folder {data}.")
    _more_files()
    telemetry.configure_logs("error", "console")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = asyncio.run(
            _run(chosen, plan, data, keep=keep, command=_command(scenarios or [], sys.argv[1:]))
        )
    except KeyboardInterrupt:
        _fail("stopped.", 130)
    except (NotDurable, StageFailed, LoadFailed, EmbeddedFailed) as error:
        _fail(str(error), 1)
    _finish(result, folder)


async def _run(chosen: list[Scenario], plan: Plan, data: Path | None, *, keep: bool, command: str) -> Result:
    began, started_at = time.monotonic(), datetime.now(UTC)
    before = machine.machine_time()
    async with Stage(data, keep=keep) as stage:
        filesystem, database = machine.filesystem_of(stage.folder), await stage.settings_of_database()
        found: dict[str, ScenarioResult] = {}
        for scenario in chosen:
            with out.status(scenario.name) as status:
                found[scenario.name] = await run_scenario(stage, scenario, plan, status.update)
            report.show_scenario(out, scenario.name, found[scenario.name])
        if keep:
            out.print(f"The data folder stays: {stage.folder}", markup=False)
    spent = machine.machine_time().since(before)
    steal, elsewhere = 100 * spent.stolen / spent.total, _elsewhere(found)
    warnings = report.doubts(steal, elsewhere, filesystem)
    if plan.repeats < 3:
        warnings.append(f"Only {plan.repeats} of each run: there is no telling how far a figure may lie off.")
    return Result(
        started_at=started_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        command=command,
        generator=f"wrk {wrk.version()} for plain claims, our own for the rest" if plan.generator == "wrk" else "our own (bench/crowds.py)",
        options={
            "seconds": plan.seconds, "repeats": plan.repeats, "strategies": list(plan.strategies),
            "connections": plan.connections, "workers": plan.workers, "minutes": plan.minutes, "full": plan.full,
            "quick": plan.quick,
        },
        versions=machine.versions(ROOT),
        machine=machine.description(),
        database=database,
        filesystem=filesystem,
        steal_percent=round(steal, 2),
        elsewhere_percent=round(elsewhere, 2),
        warnings=warnings,
        seconds=round(time.monotonic() - began, 1),
        scenarios=found,
        targets=targets.judged(found),
    )  # fmt: skip


def _elsewhere(found: dict[str, ScenarioResult]) -> float:
    """What others took while something was measured; in between there are our own preparations."""
    shares = [
        whole.median
        for scenario in found.values()
        for variant in scenario.variants.values()
        if (whole := variant.spread_of("elsewhere_percent"))
    ]
    return mean(shares) if shares else 0.0


def _finish(result: Result, folder: Path) -> None:
    report.show_targets(out, result.targets)
    report.show_machine(out, result)
    path = report.keep(result, folder)
    path.with_suffix(".svg").write_text(plot.picture(result), "utf-8")
    out.print(
        f"kept as {path.name} and .svg in {folder.name}; `./holdfast bench --page` makes the docs page of it",
        markup=False,
    )
    if result.violations:
        raise typer.Exit(1)


def _write_page(folder: Path) -> None:
    path = report.newest(folder)
    if path is None:
        _fail(f"There is no result in {folder} yet: run `./holdfast bench` first.", 1)
    page.write(report.load(path), path)
    out.print(f"{page.PAGE.relative_to(ROOT)} is written from {path.name}", markup=False)


def _profile(kind: str) -> None:
    if kind not in inside.CLAIMS_PER_ROUND:
        _fail(f"--profile: there are {', '.join(inside.CLAIMS_PER_ROUND)}, not {kind}.")
    telemetry.configure_logs("error", "console")
    with out.status(kind):
        found = uvloop.run(inside.look_inside(cast(ClaimKind, kind)))
    report.show_profile(out, kind, found)


def _chosen(names: list[str]) -> list[Scenario]:
    for name in names:
        if name not in SCENARIOS:
            _fail(f"There is no scenario {name}; there are {', '.join(SCENARIOS)}.")
    return [SCENARIOS[name] for name in dict.fromkeys(names)] or list(SCENARIOS.values())


def _strategies(names: list[str]) -> list[str]:
    there = strategies()
    for name in names:
        if name not in there:
            _fail(f"There is no strategy {name} here; there are {', '.join(there)}.")
    return list(dict.fromkeys(names)) or there


def _generator(name: str, *, install_wrk: bool) -> str:
    if name not in {"auto", "wrk", "own"}:
        _fail(f"--generator is wrk, own or auto, not {name}.")
    if name == "own" or wrk.version() is not None or (install_wrk and wrk.install()):
        return "own" if name == "own" else "wrk"
    if name == "wrk":
        _fail("There is no wrk: apt install wrk, or --install-wrk.", 1)
    return "own"


def _command(names: list[str], typed: list[str]) -> str:
    """The command as it was typed, without folders: they are of this machine."""
    words, skipped = [], False
    for word in typed:
        if skipped or word.startswith(("--data=", "--results=")):
            skipped = False
        elif word in {"--data", "--results"}:
            skipped = True
        else:
            words.append(word)
    return " ".join(["./holdfast bench", *words])


def _more_files() -> None:
    """Thousands of viewers are thousands of sockets, here and in the server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _fail(message: str, status: int = 2) -> NoReturn:
    err.print(f"bench: {message}", style="red", markup=False)
    raise typer.Exit(status)


if __name__ == "__main__":
    app(prog_name="holdfast bench")
