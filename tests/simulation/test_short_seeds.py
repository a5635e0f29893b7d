"""Twenty short runs over a wire that loses requests and answers, and one whose servers are killed."""

import pytest

from tests.simulation.inprocess import House, short_run
from tests.simulation.judge import judge
from tests.simulation.prove import Plan, run

pytestmark = pytest.mark.anyio

SECONDS = 2.0
CLIENTS = 16
SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 20))]


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_short_seed(seed: int, house: House) -> None:
    history = await short_run(house, seed=seed, clients=CLIENTS, seconds=SECONDS)
    print(f"{len(history.calls)} calls, {len(history.faults)} faults")
    found = judge(history)
    assert not found, "\n".join(map(str, found[:5]))


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_seed_whose_servers_are_killed() -> None:
    plan = Plan(seed=4, clients=20, seconds=25.0, pause=(0.5, 2.5), disk=False)
    history = await run(plan, lambda _: None, print)
    found = judge(history)
    assert not found, "\n".join(map(str, found[:5]))
    assert any(fault.kind.startswith("kill ") for fault in history.faults)
