"""Twenty short runs over a wire that loses requests and answers."""

import pytest

from holdfast.platform.settings import Settings
from tests.simulation.inprocess import House, open_house, short_run
from tests.simulation.judge import judge
from tests.simulation.mutants import MUTANTS, mutate

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CALLS = 300
CLIENTS = 16


@pytest.mark.parametrize("seed", range(20))
async def test_a_short_seed(seed: int, house: House) -> None:
    history = await short_run(house, seed=seed, clients=CLIENTS, calls=CALLS)
    found = judge(history)
    assert not found, "\n".join(map(str, found[:5]))
    assert len(history.calls) >= CALLS


async def test_the_same_clients_notice_when_no_seat_is_checked(settings: Settings) -> None:
    """Dozens of claims for twenty seats: that no two of them meet is out of the question."""
    async with open_house(settings) as house:
        await mutate(house.database_url, MUTANTS[0])
        history = await short_run(house, seed=0, clients=CLIENTS, calls=2 * CALLS)
    assert any(each.rule == "seat" for each in judge(history))
