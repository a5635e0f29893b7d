"""`kill -9` between every two steps of a refund: the money goes back once, and everything else with it."""

import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from holdfast import booking, payments, tickets
from holdfast.booking import RefundSpec
from holdfast.engine import Engine
from holdfast.payments import Refund
from tests.cli.running import PATIENCE_SECONDS, environment
from tests.crashes.refunding import STEPS
from tests.races.checker import violations
from tests.till import a_show, sold

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


def worker(step: str, folder: Path, database_url: str) -> Any:
    """A worker that dies at this step; at none, it works until everything is done."""
    return subprocess.run(
        [sys.executable, "-m", "tests.crashes.refunding", step, str(folder)],
        env=environment(HOLDFAST_DATABASE_URL=database_url, PYTHONPATH=f"{ROOT / 'src'}:{ROOT}"),
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip


async def test_the_money_goes_back_once_wherever_it_dies(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    """At each step a worker dies that has two new refunds to do, one of which the provider takes its time over."""
    show = await a_show(engine)
    wanted = {}
    for step in STEPS:
        for numbers in ([2], [1, 3]):
            bought = await sold(engine, show, quantity=3, area="Floor")
            async with engine.db.transaction() as tx:
                spec = RefundSpec(numbers=numbers)
                wanted[bought.booking_id] = await booking.refund(tx, show, bought.booking_id, spec, None)
        died = worker(step, tmp_path, database_url)
        assert died.returncode == -signal.SIGKILL, died.stderr
    assert any(each.state != "SETTLED" for each in await read(engine, wanted.values())), "nobody felt it"
    lived = worker("none", tmp_path, database_url)
    assert lived.returncode == 0, lived.stderr
    books = (tmp_path / "books").read_text("ascii").splitlines()
    assert sorted(books) == sorted(f"{each.refund_id.hex} {each.amount} EUR" for each in wanted.values()), (
        "one refund at the provider, never two"
    )
    assert {each.state for each in await read(engine, wanted.values())} == {"SETTLED"}
    for booking_id, refund in wanted.items():
        left = await booking.booking_by_id(engine.db, show, booking_id)
        shown = await tickets.tickets_of(engine.db, booking.sale_of(left))
        dead = [each.number for each in shown if each.state == "void"]
        assert dead == refund.numbers
    assert await engine.db.value("select reserved from stock where area = 2") == 3 * len(STEPS)
    told = await engine.db.rows("select kind, count(*) from outbox where kind like 'refund.%' group by kind")
    assert {row["kind"]: row["count"] for row in told} == {
        "refund.wanted": 2 * len(STEPS),
        "refund.settled": 2 * len(STEPS),
    }
    assert await violations(database_url) == []


async def read(engine: Engine, refunds: Iterable[Refund]) -> list[Refund]:
    return [await payments.refund_by_id(engine.db, each.show_id, each.refund_id) for each in refunds]
