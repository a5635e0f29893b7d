"""A worker that dies at a chosen step of a refund: `python -m tests.crashes.refunding STEP FOLDER`, or lives, with no step.

The provider keeps its books in a file of the folder, a line for each refund, so that they outlive whoever asked.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from holdfast import booking, payments
from holdfast.engine import open_engine
from holdfast.payments import SeenRefund, Wish
from holdfast.platform.jobs import Worker
from holdfast.platform.settings import Settings
from tests.conftest import eventually
from tests.till import Till

# In the order in which a refund goes through them.
STEPS = ["taken", "sent", "asked", "paid", "told", "settling", "settled"]
LEASE_SECONDS = 1.0
PENDING = 500


class Books(Till):
    """A till whose books are a file. Of PENDING minor units it says pending at first."""

    def __init__(self, folder: Path, step: str) -> None:
        super().__init__()
        self._folder, self._step = folder, step

    @property
    def lines(self) -> list[str]:
        path = self._folder / "books"
        return path.read_text("ascii").splitlines() if path.exists() else []

    async def refund(self, wish: Wish) -> SeenRefund:
        die_at("asked", self._step)
        if not any(line.startswith(wish.refund_id.hex) for line in self.lines):
            self._write(f"{wish.refund_id.hex} {wish.amount} {wish.currency}")
        die_at("paid", self._step)
        return self._seen(wish.refund_id, "pending" if wish.amount == PENDING else "settled")

    async def look_refund(self, refund_id: UUID, ref: str) -> SeenRefund:
        return self._seen(refund_id, "settled")

    def _write(self, line: str) -> None:
        with open(self._folder / "books", "a", encoding="ascii") as books:
            books.write(f"{line}\n")
            books.flush()
            os.fsync(books.fileno())

    def _seen(self, refund_id: UUID, state: Any) -> SeenRefund:
        [line] = [line for line in self.lines if line.startswith(refund_id.hex)]
        _, amount, currency = line.split()
        return SeenRefund(
            ref=f"re_{refund_id.hex}", state=state, amount=int(amount), currency=currency, refund_id=refund_id
        )


def die_at(step: str, chosen: str) -> None:
    """As by `kill -9`: nothing is tidied up."""
    if step == chosen:
        os.kill(os.getpid(), signal.SIGKILL)


def dying(
    do: Callable[..., Awaitable[Any]], chosen: str, *, before: str = "", after: str = ""
) -> Callable[..., Awaitable[Any]]:
    """The same, with a death before or after."""

    async def done(*args: Any, **kwargs: Any) -> Any:
        die_at(before, chosen)
        said = await do(*args, **kwargs)
        die_at(after, chosen)
        return said

    return done


async def main(step: str, folder: Path) -> None:
    """Does refunds until none is under way."""
    payments.begin_refund = dying(payments.begin_refund, step, before="taken", after="sent")  # type: ignore[assignment]
    payments.settle_refund = dying(payments.settle_refund, step, before="told", after="settling")  # type: ignore[assignment]
    settings = Settings(
        database_url=os.environ["HOLDFAST_DATABASE_URL"],
        secret_key="a-secret-for-tests-and-nothing-else",
        job_lease_seconds=LEASE_SECONDS,
    )
    async with open_engine(settings) as engine:
        providers: dict[str, Any] = {"till": Books(folder, step)}
        carry_out = dying(booking.Refunder(engine.office, providers).carry_out, step, after="settled")
        worker = Worker(engine.db, settings, {payments.REFUND: carry_out})
        running = asyncio.create_task(worker.run())

        async def is_done() -> bool:
            waits: bool = await engine.db.value(
                "select exists (select from jobs where kind = $1)", payments.REFUND
            )
            return not waits

        await eventually(is_done, tries=2000)
        await worker.stop()
        await running


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
