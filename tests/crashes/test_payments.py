"""`kill -9` at every step between the payment and the confirmation: one confirmation, and never two charges."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast import booking
from holdfast.booking import Asker, Booking, ClaimRequest
from holdfast.engine import Engine
from holdfast.platform.ids import new_id
from tests.cli.running import PATIENCE_SECONDS, environment
from tests.crashes.paying import STEPS, Books
from tests.races.checker import violations
from tests.till import a_show

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
FACTS = """select count(*) filter (where kind = 'booking.confirmed') as confirmed,
                  count(*) filter (where kind = 'payment.succeeded') as succeeded,
                  count(*) filter (where kind = 'refund.wanted') as returned
             from outbox where payload ->> 'booking_id' = $1"""


def process(step: str, folder: Path, held: Booking, database_url: str) -> Any:
    """A process that dies at this step, or that ends what is left."""
    return subprocess.run(
        [sys.executable, "-m", "tests.crashes.paying", step, str(folder), str(held.show_id), str(held.booking_id)],
        env=environment(HOLDFAST_DATABASE_URL=database_url, PYTHONPATH=f"{ROOT / 'src'}:{ROOT}"),
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("ended_by", ["notice", "watch"])
async def test_one_confirmation_and_one_charge_wherever_it_dies(
    engine: Engine, database_url: str, tmp_path: Path, ended_by: str
) -> None:
    """At each step a process dies. Then the buyer and the bank try again; or nobody does, and the jobs alone are there."""
    show = await a_show(engine)
    for step in STEPS:
        folder = tmp_path / step
        folder.mkdir()
        request = ClaimRequest(quantity=1, area="Floor", tier="Standing")
        held = (await booking.claim(engine.office, show, request, Asker(new_id().bytes))).booking
        dead = process(step, folder, held, database_url)
        assert dead.returncode == -signal.SIGKILL, (step, dead.stderr)
        paid_before = [seen for seen in Books(folder, "").refs.values() if seen.state == "succeeded"]
        ended = process(ended_by, folder, held, database_url)
        assert ended.returncode == 0, (step, ended.stderr)

        now = await booking.booking_by_id(engine.db, show, held.booking_id)
        books = list(Books(folder, "").refs.values())
        paid = [seen for seen in books if seen.state == "succeeded"]
        row = await engine.db.row(FACTS, str(held.booking_id))
        assert row is not None
        states = await engine.db.rows("select state from payments where booking_id = $1", held.booking_id)
        if ended_by == "notice" or paid_before:
            assert (len(paid), now.status) == (1, "CONFIRMED"), (step, now)
            assert tuple(row) == (1, 1, 0), step
        else:
            # Nobody came back to pay, and nobody can any more.
            assert (paid, now.status, now.reason) == ([], "FAILED", "expired"), step
            assert tuple(row) == (0, 0, 0), step
        assert {each.state for each in books} <= {"succeeded", "closed"}, step
        assert {each["state"] for each in states} <= {"SUCCEEDED", "CLOSED"}, step
    assert await engine.db.value("select count(*) from dead_letters") == 0
    assert await violations(database_url) == []
