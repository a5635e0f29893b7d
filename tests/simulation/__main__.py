"""`./holdfast prove`: sells under faults for as long as one likes, and judges from outside whether it was right."""

import asyncio
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Coroutine
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.faults import Redis
from tests.simulation.history import History, load
from tests.simulation.judge import judge
from tests.simulation.prove import NotSettled, Plan, run

HISTORIES = Path(__file__).parents[2] / ".holdfast" / "prove"
VIOLATIONS_SHOWN = 5
LINE_SECONDS = 15.0


class Strategy(StrEnum):
    """`redis_lock` needs a redis-server on the PATH."""

    batched = "batched"
    row_lock = "row_lock"
    optimistic = "optimistic"
    redis_lock = "redis_lock"


out = Console(highlight=False, soft_wrap=True)


def prove(
    minutes: Annotated[float, typer.Option(min=0.05, max=1440, help="How long to run.")] = 10.0,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="What is asked and what is broken follow from it.", show_default="by chance"
        ),
    ] = None,
    clients: Annotated[int, typer.Option(min=2, max=1000, help="Clients at work at the same time.")] = 40,
    strategy: Annotated[
        Strategy | None, typer.Option(help="How concurrent claims are ordered.", show_default="batched")
    ] = None,
    judge_only: Annotated[
        Path | None,
        typer.Option(
            "--judge", metavar="FILE", exists=True, dir_okay=False, help="Judge a saved history again."
        ),
    ] = None,
) -> None:
    """Sell places while processes are killed and connections are cut, and check every answer from outside.

    Starts Holdfast with a PostgreSQL of its own on a folder of its own; nothing else on this machine is touched. Every
    call and answer is saved. Exit status: 0 without a violation, 1 with one.
    """
    if judge_only is not None:
        history, path = _loaded(judge_only), judge_only
    else:
        if strategy is Strategy.redis_lock and not Redis.installed():
            raise typer.BadParameter("redis_lock needs redis-server, which is not installed.")
        plan = Plan(secrets.randbelow(1_000_000) if seed is None else seed, clients, minutes * 60, strategy)
        out.print(f"Seed {plan.seed}, {clients} clients, {minutes:g} minutes.")
        history = _run(plan)
        path = HISTORIES / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-seed-{plan.seed}.jsonl"
        history.save(path)
    raise typer.Exit(_verdict(history, path))


def _loaded(path: Path) -> History:
    try:
        return load(path)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} is not a saved history: {error}") from error


def _run(plan: Plan) -> History:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task("starting", total=plan.seconds)
        said_at = time.monotonic()

        def watch(history: History) -> None:
            nonlocal said_at
            text = f"{len(history.calls):,} calls, {len(history.faults):,} faults"
            progress.update(task, completed=min(history.now, plan.seconds), description=text)
            if not out.is_terminal and time.monotonic() - said_at >= LINE_SECONDS:
                said_at = time.monotonic()
                out.print(f"{history.now:6.0f} s  {text}")

        try:
            return asyncio.run(_until_told_to_stop(run(plan, watch, progress.console.print)))
        except NotSettled as error:
            out.print(f"[red]It did not come to rest.[/red] {error}")
            raise typer.Exit(1) from error
        except (KeyboardInterrupt, asyncio.CancelledError):
            out.print("Stopped; nothing was judged.")
            raise typer.Exit(130) from None


async def _until_told_to_stop(work: Coroutine[Any, Any, History]) -> History:
    """Ends the work in order at SIGTERM, as Ctrl-C does, so that no server is left behind."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def _verdict(history: History, path: Path) -> int:
    found = judge(history)
    known = sum(not call.unknown for call in history.calls)
    table = Table(box=None, show_header=False)
    table.add_row(
        "operations", f"{len(history.calls):,}", f"{known:,} answered, {len(history.calls) - known:,} unknown"
    )
    for (do, said), number in sorted(
        Counter((c.do, c.code or "ok") for c in history.calls if not c.unknown).items()
    ):
        table.add_row("", f"{number:,}", f"{do}: {said}")
    table.add_row("faults", f"{len(history.faults):,}", "")
    for kind, number in sorted(Counter(fault.kind for fault in history.faults).items()):
        table.add_row("", f"{number:,}", kind)
    if history.end is not None and abs(history.end.drift) > 0.02:
        table.add_row(
            "clock",
            f"{history.end.drift:+.3f} s",
            "the machine's clock was set meanwhile: deadlines may look wrong",
        )
    table.add_row("violations", f"{len(found):,}", "", style="red" if found else "green")
    out.print(table)
    for violation in found[:VIOLATIONS_SHOWN]:
        out.print(f"\n{violation}", markup=False)
    if len(found) > VIOLATIONS_SHOWN:
        out.print(f"\nand {len(found) - VIOLATIONS_SHOWN} more.")
    out.print(f"The history is in {path}; `./holdfast prove --judge {path}` judges it again.", markup=False)
    return 1 if found else 0


def main() -> None:
    """The entry point; `./holdfast prove` is what people type."""
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command()(prove)
    app(prog_name="holdfast prove", args=sys.argv[1:])


if __name__ == "__main__":
    main()
