"""`kill -9` in the midst of a sale: what was acknowledged is there afterwards, and nothing else."""

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.cli.running import Up, new_folder, until
from tests.crashes.buying import CROWDED, Buyers, check, gather_while
from tests.ports import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


class House:
    """A durable installation, and the `up` that runs on it now."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._folder = new_folder()
        self._port = free_port()
        stack.callback(shutil.rmtree, self._folder)
        self.up = self.start()

    def start(self) -> Up:
        """Starts `up`, again on the same data and port."""
        self.up = self._stack.enter_context(
            Up(self._folder, "--no-demo", "--workers", "2", port=self._port)
        ).wait_until_ready()
        return self.up

    def kill_api(self) -> None:
        """Of the two API processes the one with more clients dies."""
        max(self.up.apis(), key=lambda api: len(api.net_connections("tcp"))).kill()

    def kill_postgres(self) -> None:
        """The postmaster dies, and its children follow."""
        self.up.postmaster().kill()

    def kill_all(self) -> None:
        """The parent dies, everybody follows, and somebody types the command again."""
        self.up.stop(signal.SIGKILL)
        until(lambda: self.up.leftovers() == [], "the end of all processes")
        self.start()


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with ExitStack() as stack:
        yield House(stack)


@pytest.mark.parametrize(
    "kill", [House.kill_api, House.kill_postgres, House.kill_all], ids=lambda how: how.__name__
)
async def test_what_was_acknowledged_survives(house: House, kill: Callable[[House], None]) -> None:
    buyers = Buyers(house.up.port, house.up.make_show(**CROWDED), rounds=6)

    def killed() -> None:
        before = {process.pid for process in house.up.family()}
        kill(house)
        until(lambda: before - {process.pid for process in house.up.family()}, "a death")
        until(lambda: house.up.answers() and len(house.up.apis()) == 2, "everybody's return")

    await gather_while(buyers, killed)
    await check(house.up.dsn, buyers)
    assert await buyers.ask_again() == []
    assert buyers.ledger.lost + buyers.ledger.answers[503] > 0, "nobody felt it"
    assert buyers.ledger.answers.keys() <= {200, 201, 409, 503}
    assert house.up.complaints() == []
