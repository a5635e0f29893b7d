"""`./holdfast prove` itself: it judges a run under faults, and whoever stops it finds nothing left of it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import environment, new_folder, processes_about, until
from tests.simulation.judge import judge
from tests.simulation.prove import Plan, run

ROOT = Path(__file__).parents[2]


@pytest.mark.anyio
@pytest.mark.long
@pytest.mark.timeout(400)
async def test_a_seed_whose_servers_are_killed() -> None:
    plan = Plan(seed=4, clients=20, seconds=25.0, pause=(0.5, 2.5), disk=False)
    history = await run(plan, lambda _: None, print)
    found = judge(history)
    assert not found, "\n".join(map(str, found[:5]))
    kinds = {fault.kind.split()[0] for fault in history.faults}
    assert {"kill", "cut", "database:"} <= kinds


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_whoever_stops_it_leaves_no_process_and_no_folder(told: signal.Signals) -> None:
    folder = new_folder()
    said = folder.with_suffix(".said")
    with open(said, "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulation", "--minutes", "10", "--seed", "1"],
            cwd=ROOT,
            env=environment(PYTHONPATH=f"{ROOT / 'src'}:{ROOT}", TMPDIR=str(folder)),
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            until(lambda: "Running." in said.read_text("utf-8"), "a run")
            assert processes_about(folder)
            process.send_signal(told)
            assert process.wait(60) == 130
            assert "nothing was judged" in said.read_text("utf-8")
            assert not processes_about(folder)
            assert not [name for name in os.listdir(folder) if name.startswith("holdfast-cli-")]
        finally:
            if process.poll() is None:
                process.kill()
            said.unlink()
