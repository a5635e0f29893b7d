"""The result of a run: gathered, shown on the terminal, kept as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.run import ScenarioResult, VariantResult
from bench.targets import NOT_RUN, Verdict

RESULTS = Path(__file__).with_name("results")
RESULT_BYTES_MAX = 100_000


class Result(msgspec.Struct):
    """One run of the benchmark, whole: what was run where, what came out, and how far it may be believed."""

    started_at: str
    command: str
    generator: str
    options: dict[str, int | float | str | bool | list[str]]
    versions: dict[str, str]
    machine: dict[str, int | float | str]
    database: dict[str, str]
    filesystem: str
    steal_percent: float
    elsewhere_percent: float
    warnings: list[str]
    seconds: float
    scenarios: dict[str, ScenarioResult]
    targets: list[Verdict]
    schema: int = 1

    @property
    def violations(self) -> list[str]:
        """What the audits found, of all scenarios."""
        return [
            f"{name}: {each}"
            for name, scenario in self.scenarios.items()
            for variant in scenario.variants.values()
            for each in variant.violations
        ]


def doubts(steal_percent: float, elsewhere_percent: float, filesystem: str) -> list[str]:
    """Why the figures may mean little."""
    found = []
    if steal_percent > machine.STEAL_PERCENT_MAX:
        found.append(
            f"The hypervisor took {steal_percent:.1f} % of the CPU away: the figures mean little, run it again on a quiet host."
        )
    if elsewhere_percent > machine.ELSEWHERE_PERCENT_MAX:
        found.append(
            f"Other programs and the kernel's own work took {elsewhere_percent:.1f} % of the CPU: trust ratios, not figures."
        )
    if filesystem in machine.IN_MEMORY:
        found.append(
            f"The data folder is on {filesystem}, where a durable commit costs nothing: give --data a folder on a disk."
        )
    return found


def keep(result: Result, folder: Path = RESULTS) -> Path:
    """Writes the result as JSON; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = result.started_at.replace(":", "").replace("-", "")
    path = folder / f"{stamp}.json"
    text = msgspec.json.format(msgspec.json.encode(result), indent=1)
    if len(text) > RESULT_BYTES_MAX:
        text = msgspec.json.encode(result)
    path.write_bytes(text + b"\n")
    return path


def newest(folder: Path = RESULTS) -> Path | None:
    """The JSON of the last run; None before the first."""
    return max(folder.glob("*.json"), default=None, key=lambda path: path.name)


def load(path: Path) -> Result:
    """A result that was kept. Raises msgspec.ValidationError for anything else."""
    return msgspec.json.decode(path.read_bytes(), type=Result)


def cell(variant: VariantResult, figure: str, form: str) -> str:
    """`median (least to greatest)`, or a dash."""
    whole = variant.spread_of(figure)
    if whole is None:
        return "-"
    if len(whole.values) == 1:
        return f"{whole.median:{form}}"
    return f"{whole.median:{form}} ({whole.low:{form}} to {whole.high:{form}})"


def sizes_of(result: ScenarioResult) -> str:
    """The sizes that a scenario was run with, in words."""
    return ", ".join(f"{value:,.10g} {name}" for name, value in result.settings.items())


def show_scenario(out: Console, name: str, result: ScenarioResult) -> None:
    """One table: a line per variant."""
    sizes = sizes_of(result)
    table = Table(
        title=f"{name}: {result.about}" + (f" ({sizes})" if sizes else ""),
        title_justify="left",
        title_style="bold",
    )
    table.add_column("")
    for _, heading, _ in result.columns:
        table.add_column(heading, justify="right")
    table.add_column("audit", justify="right")
    for variant_name, variant in result.variants.items():
        wrong = f"[red]{len(variant.violations)} wrong[/red]" if variant.violations else "ok"
        cells = [cell(variant, figure, form) for figure, _, form in result.columns]
        table.add_row(variant_name, *cells, wrong if variant.audited else "-")
    out.print(table)
    for variant_name, variant in result.variants.items():
        for note in variant.notes:
            out.print(f"  {variant_name}: {note}", style="dim")
        for violation in variant.violations[:10]:
            out.print(f"  {violation}", style="red", markup=False)


def verdict_words(verdict: Verdict) -> tuple[str, str]:
    """(what was measured, reached or missed)."""
    if verdict.value is None:
        return verdict.why, "not measured"
    measured = f"{verdict.value:,.4g}"
    if verdict.low is not None and verdict.high is not None and verdict.low != verdict.high:
        measured += f" ({verdict.low:,.4g} to {verdict.high:,.4g})"
    return measured, "reached" if verdict.reached else "missed"


def show_targets(out: Console, verdicts: Sequence[Verdict]) -> None:
    """One table: a line per target that this run could say something about."""
    table = Table(title="targets (median of the repeats' ratios)", title_justify="left", title_style="bold")
    table.add_column("target")
    table.add_column("to reach")
    table.add_column("measured", justify="right")
    table.add_column("")
    colours = {"reached": "green", "missed": "red", "not measured": "dim"}
    shown = [
        verdict for verdict in verdicts if verdict.value is not None or not verdict.why.endswith(NOT_RUN)
    ]
    for verdict in shown:
        measured, word = verdict_words(verdict)
        table.add_row(verdict.target, verdict.bound, measured, f"[{colours[word]}]{word}[/{colours[word]}]")
    if shown:
        out.print(table)
    if len(shown) < len(verdicts):
        out.print(f"{len(verdicts) - len(shown)} targets are about what was not run", style="dim")


def show_profile(out: Console, kind: str, found: Mapping[str, float]) -> None:
    """The CPU microseconds of a claim by part, the dearest first."""
    table = Table(title=f"CPU of a claim in process, {kind}", title_justify="left", title_style="bold")
    table.add_column("part")
    table.add_column("us per claim", justify="right")
    for part, microseconds in sorted(found.items(), key=lambda each: -each[1]):
        table.add_row(part, f"{microseconds:,.0f}")
    out.print(table)


def show_machine(out: Console, result: Result) -> None:
    """What it ran on, and how far the figures may be believed."""
    where, versions = result.machine, result.versions
    out.print(
        f"{where['cores']} cores of {where['cpu']}, {where['memory_gb']} GB, {where['system']} {where['kernel']}, "
        f"{result.filesystem}; Python {versions['python']}, PostgreSQL {result.database.get('server_version', '?')}, "
        f"commit {versions['commit']}; generator: {result.generator}",
        style="dim",
    )
    out.print(
        f"stolen by the hypervisor: {result.steal_percent:.1f} %, other programs: {result.elsewhere_percent:.1f} %",
        style="dim",
    )
    for warning in result.warnings:
        out.print(f"WARNING: {warning}", style="yellow", markup=False)
    for violation in result.violations:
        out.print(f"WRONG: {violation}", style="bold red", markup=False)
