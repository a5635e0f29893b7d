"""A process that dies at a chosen step of a payment: `python -m tests.crashes.paying STEP FOLDER SHOW BOOKING`.

With the step `notice` or `watch` it lives, and brings to an end what the dead have left: the buyer tries again and the bank
tells again what happened, or nobody comes and only the jobs are there. The bank keeps its books in a file of the folder, a
line for each change, so that they outlive whoever asked.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from holdfast import booking, payments
from holdfast.booking import Booking
from holdfast.engine import open_engine
from holdfast.payments import Attempt, Notice, Opened, Seen, State
from holdfast.platform.ids import BookingId, ShowId
from holdfast.platform.jobs import Worker
from holdfast.platform.settings import Settings
from tests.bank import Bank, Shopper
from tests.conftest import eventually
from tests.crashes.refunding import die_at, dying

# In the order in which a payment goes through them.
STEPS = ["asked", "opened", "noting", "noted", "paid", "settling", "confirming", "settled"]


class Books(Bank):
    """A bank whose books are a file."""

    def __init__(self, folder: Path, step: str) -> None:
        super().__init__()
        self._path, self._step = folder / "books", step
        if self._path.exists():
            for line in self._path.read_bytes().splitlines():
                seen = msgspec.json.decode(line, type=Seen)
                self.refs[seen.ref] = seen

    async def open(self, attempt: Attempt) -> Opened:
        die_at("asked", self._step)
        is_new = f"b_{attempt.payment_id.hex}" not in self.refs
        opened = await super().open(attempt)
        if is_new:
            self._write(self.refs[opened.ref])
        die_at("opened", self._step)
        return opened

    def becomes_paid(self, ref: str, state: State = "succeeded", **changes: Any) -> Seen:
        self._write(super().becomes_paid(ref, state, **changes))
        return self.refs[ref]

    def _write(self, seen: Seen) -> None:
        with open(self._path, "ab") as books:
            books.write(msgspec.json.encode(seen) + b"\n")
            books.flush()
            os.fsync(books.fileno())


async def main(step: str, folder: Path, show_id: ShowId, booking_id: BookingId) -> None:
    """Pays for a booking, or ends what was left of that."""
    settings = Settings(
        database_url=os.environ["HOLDFAST_DATABASE_URL"], secret_key="a-secret-for-tests-and-nothing-else"
    )
    async with open_engine(settings) as engine:
        bank = Books(folder, step)
        shopper = Shopper(engine, bank)
        held = await booking.booking_by_id(engine.db, show_id, booking_id)
        if step == "watch":
            await shopper.deadline_in(held, -0.001)
            await _watched(shopper)
            return
        payments.note_opened = dying(payments.note_opened, step, after="noting")  # type: ignore[assignment]
        payments.succeed = dying(payments.succeed, step, after="settling")  # type: ignore[assignment]
        payments.hurry = dying(payments.hurry, step, before="confirming")  # type: ignore[assignment]
        await _paid(shopper, held, step)
        if step == "notice":
            await _told(shopper)
            await engine.db.execute("update jobs set run_at = now()")
            await _watched(shopper)


async def _paid(shopper: Shopper, held: Booking, step: str) -> None:
    """The buyer begins to pay, unless it is paid, and pays at the bank, which tells of it."""
    if held.status == "PENDING" and not any(seen.state == "succeeded" for seen in shopper.bank.refs.values()):
        payment = await shopper.pay(held)
        assert payment.ref is not None
        die_at("noted", step)
        shopper.bank.becomes_paid(payment.ref)
        die_at("paid", step)
    await _told(shopper)
    die_at("settled", step)


async def _told(shopper: Shopper) -> None:
    for seen in shopper.bank.refs.values():
        notice = Notice(
            event_id=f"e-{seen.ref}",
            kind="payment",
            show_id=seen.show_id,
            payment_id=seen.payment_id,
            seen=seen,
        )
        await shopper.cashier.hear(shopper.bank, notice)


async def _watched(shopper: Shopper) -> None:
    """Runs the jobs that watch attempts until there is none."""
    await shopper.engine.db.execute("update jobs set run_at = now() where kind = $1", payments.WATCH)
    worker = Worker(shopper.engine.db, shopper.engine.settings, {payments.WATCH: shopper.cashier.watch})
    running = asyncio.create_task(worker.run())

    async def is_done() -> bool:
        waits: bool = await shopper.engine.db.value(
            "select exists (select from jobs where kind = $1)", payments.WATCH
        )
        return not waits

    await eventually(is_done, tries=2000)
    await worker.stop()
    await running


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), ShowId(UUID(sys.argv[3])), BookingId(UUID(sys.argv[4]))))
