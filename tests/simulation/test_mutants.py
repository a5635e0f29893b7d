"""Each guard that is taken away is noticed. A guard whose absence nobody notices is one that nobody tests."""

import pytest

from holdfast.platform.settings import Settings
from tests.simulation.inprocess import open_house, short_run
from tests.simulation.judge import judge
from tests.simulation.mutants import MUTANTS, Mutant, mutate
from tests.simulation.violation import Violation

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CLIENTS = 24
SECONDS = 2.0
# A machine that is busy with something else gets less done in a run; it may take some more of them.
RUNS_MAX = 8


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
async def test_a_mutant_is_caught(mutant: Mutant, settings: Settings, database_url: str) -> None:
    found: list[Violation] = []
    async with open_house(settings, number=1, served=False, worker=mutant.worker) as house:
        await mutate(database_url, mutant)
        for seed in range(RUNS_MAX):
            history = await short_run(house, seed=seed, clients=CLIENTS, seconds=SECONDS)
            found = judge(history)
            if told := [each for each in found if each.rule.startswith(mutant.caught)]:
                print(told[0])
                return
    pytest.fail(
        f"nobody noticed in {RUNS_MAX} runs; other rules said: {sorted({each.rule for each in found})}"
    )
