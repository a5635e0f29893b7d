"""What a worker on its own says of the queue, by which more of them are started and stopped."""

from pathlib import Path

import pytest

from tests.cli.running import SECRET, Running, environment, holdfast, until
from tests.ports import free_port

pytestmark = pytest.mark.anyio


async def test_a_worker_on_its_own_tells_how_much_waits(database_url: str, folder: Path) -> None:
    port = free_port()
    environ = environment(
        HOLDFAST_DATABASE_URL=database_url, HOLDFAST_SECRET_KEY=SECRET, HOLDFAST_METRICS_PORT=str(port)
    )
    with Running("worker", folder=folder, port=port, environ=environ) as worker:
        until(
            lambda: worker.answers("/metrics") and "holdfast_jobs_oldest_due_seconds 0.0" in _metrics(worker)
        )
        assert "holdfast_outbox_waiting 0.0" in _metrics(worker)
        second = holdfast("worker", environ=environ)
        assert second.returncode != 0
        assert "Try another HOLDFAST_METRICS_PORT" in second.stderr
        assert worker.stop() == 0
        assert worker.complaints() == []


def _metrics(worker: Running) -> str:
    return worker.get("/metrics").text
