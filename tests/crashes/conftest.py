"""An API and a worker as processes of their own on the test server, with deadlines that a test can wait for."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast import accounts
from holdfast.platform.db import Database
from tests.cli.running import SECRET, Running, environment, new_folder
from tests.crashes.buying import CROWDED
from tests.ports import free_port

POOL_MAX = 10
OWNER = {"email": "owner@example.org", "password": "correct horse battery staple"}


@pytest.fixture
def folder() -> Iterator[Path]:
    made = new_folder()
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def api(database_url: str, db: Database, folder: Path) -> Any:
    """A running API, with an owner in its database; beside it runs a worker."""
    async with db.transaction() as tx:
        await accounts.create_owner(tx, organizer_name="Test House", **OWNER)
    environ = environment(
        HOLDFAST_DATABASE_URL=database_url,
        HOLDFAST_SECRET_KEY=SECRET,
        HOLDFAST_POOL_MAX=str(POOL_MAX),
        HOLDFAST_QUERY_SECONDS="2",
        HOLDFAST_CLAIM_SECONDS="2",
        HOLDFAST_CONNECT_SECONDS="1",
    )
    port = free_port()
    (folder / "worker").mkdir()
    with (
        Running("api", "--port", str(port), folder=folder, port=port, environ=environ) as running,
        Running("worker", folder=folder / "worker", environ=environ) as worker,
    ):
        yield running.wait_until_ready()
        assert (running.process.poll(), worker.process.poll()) == (None, None), "both live to the end"
        assert running.complaints() + worker.complaints() == []
        assert (running.stop(), worker.stop()) == (0, 0)


@pytest.fixture
def show(api: Running) -> dict[str, Any]:
    """A show for a crowd."""
    token = httpx.post(f"{api.url}/v1/auth/token", json=OWNER, timeout=30).json()["access_token"]
    body = {"name": "Hamlet", "start_time": "2030-12-24T20:00:00+01:00", **CROWDED}
    answer = httpx.post(
        f"{api.url}/v1/shows", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=30
    )
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown
