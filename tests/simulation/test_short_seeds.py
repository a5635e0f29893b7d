"""Twenty short runs over a wire that loses requests and answers, and one whose servers are killed."""

import pytest

from tests.simulation.inprocess import House, short_run
from tests.simulation.judge import judge

pytestmark = pytest.mark.anyio

SECONDS = 2.0
CLIENTS = 16


@pytest.mark.parametrize("seed", range(20))
async def test_a_short_seed(seed: int, house: House) -> None:
    history = await short_run(house, seed=seed, clients=CLIENTS, seconds=SECONDS)
    print(f"{len(history.calls)} calls, {len(history.faults)} faults")
    found = judge(history)
    assert not found, "\n".join(map(str, found[:5]))
