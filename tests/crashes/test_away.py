"""A database that is away: clear answers meanwhile, nothing half done, and recovery by itself."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest

from holdfast.platform.embedded import Server
from tests.cli.running import Running
from tests.conftest import client_of
from tests.crashes.buying import BUYERS, Buyers, check, gather_while
from tests.platform.eventually import until as eventually

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def everybody(server: Server) -> list[psutil.Process]:
    """The postmaster first, so that it starts nobody while its children are stopped."""
    assert server.pid is not None
    postmaster = psutil.Process(server.pid)
    return [postmaster, *postmaster.children(recursive=True)]


class Frozen:
    """The server's processes do nothing, and their sockets stay open: the worst way to be away."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stopped: list[psutil.Process] = []

    def __enter__(self) -> None:
        for process in everybody(self._server):
            process.suspend()
            self._stopped.append(process)

    def __exit__(self, *_: object) -> None:
        for process in self._stopped:
            process.resume()


class Stopped:
    """The server was shut down, and is started again later."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def __enter__(self) -> None:
        self._server.stop()

    def __exit__(self, *_: object) -> None:
        self._server.start()


@pytest.mark.parametrize("away", [Frozen, Stopped])
async def test_a_database_that_is_away_and_comes_back(
    server: Server, api: Running, show: dict[str, Any], database_url: str, away: Callable[[Server], Any]
) -> None:
    buyers = Buyers(api.port, show, rounds=6)
    seen: dict[str, httpx.Response] = {}

    def be_away() -> None:
        before = buyers.ledger.answers[503]
        with away(server):
            # Until every buyer has heard of it, some of them more than once.
            while buyers.ledger.answers[503] < before + 2 * BUYERS:
                for path in ("/healthz", "/readyz", "/v1/shows", f"/v1/shows/{show['id']}/availability"):
                    seen[path] = httpx.get(api.url + path, timeout=30)

    await gather_while(buyers, be_away)
    assert seen["/healthz"].status_code == 200
    assert (seen["/readyz"].status_code, seen["/readyz"].json()["code"]) == (503, "not_ready")
    for answer in seen.values():
        assert answer.status_code in {200, 503}
        assert answer.status_code == 200 or answer.headers["retry-after"].isdigit()
    # Every request had its answer: nobody was left hanging, and nobody heard of a fault of ours.
    assert buyers.ledger.lost == 0
    assert buyers.ledger.answers.keys() <= {200, 201, 409, 503}
    await check(database_url, buyers)
    assert await buyers.ask_again() == []
    await eventually(lambda: "holdfast_db_pool_used 0.0" in api.get("/metrics").text)


async def test_handlers_do_not_wait_for_one_another_s_connections(
    owner: httpx.AsyncClient, a_show: Any, open_another: Any
) -> None:
    """Each confirmation holds a connection; a process that has just started needs one more, to read the show."""
    show = await a_show(total_seats=40)
    url = f"/v1/shows/{show['id']}/bookings"
    bookings = [(await owner.post(url, json={"quantity": 1})).json() for _ in range(40)]
    # A handler that waits for another would wait for all this time, and be refused.
    patient = {"pool_max": 2, "connect_seconds": 20.0}
    async with open_another(**patient) as other, client_of(other) as client:
        answers = await asyncio.gather(
            *(
                client.post(
                    f"{url}/{booking['id']}/confirm", headers={"Authorization": f"Bearer {booking['secret']}"}
                )
                for booking in bookings
            )
        )
    assert [answer.status_code for answer in answers] == [200] * 40
