"""A till for tests of refunds: a provider whose books are a dictionary, and bookings that were paid there."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from holdfast import booking, payments
from holdfast.booking import Asker, Booking, ClaimRequest
from holdfast.engine import Engine
from holdfast.payments import Listed, Opened, ProviderDown, ProviderRefused, Seen, SeenRefund, Wish, attempts
from holdfast.platform import clock, jobs
from holdfast.platform.db import Database
from holdfast.platform.ids import ShowId, new_id
from tests.races import crowd

PRICED: dict[str, Any] = {
    "areas": [
        {
            "name": "Stalls",
            "kind": "seated",
            "rows": [{"label": "A", "seats": 5}, {"label": "B", "seats": 5}],
        },
        {"name": "Floor", "kind": "standing", "capacity": 50},
    ],
    "tiers": [
        {"area": "Stalls", "name": "Adult", "amount": 1000},
        {"area": "Floor", "name": "Standing", "amount": 500},
    ],
}


@dataclass
class Till:
    """A provider that sends money back as it is told to: `say` is the state of new refunds; down or refusing if set."""

    name: str = "till"
    say: str = "settled"
    down: bool = False
    refusal: str | None = None
    refunds: dict[UUID, SeenRefund] = field(default_factory=dict)
    times: dict[UUID, datetime] = field(default_factory=dict)
    books: list[Listed] = field(default_factory=list)
    asked: int = 0

    async def refund(self, wish: Wish) -> SeenRefund:
        self.asked += 1
        self._answer()
        if self.refusal is not None:
            raise ProviderRefused(self.refusal)
        if wish.refund_id not in self.refunds:
            self.refunds[wish.refund_id] = SeenRefund(
                ref=f"re_{wish.refund_id.hex}", state=self.say, amount=wish.amount, currency=wish.currency,  # type: ignore[arg-type]
                refund_id=wish.refund_id,
            )  # fmt: skip
            self.times[wish.refund_id] = clock.now()
        return self.refunds[wish.refund_id]

    async def look_refund(self, refund_id: UUID, ref: str) -> SeenRefund:
        self._answer()
        return self.refunds[refund_id]

    async def listed(self, since: datetime, until: datetime) -> AsyncIterator[Listed]:
        self._answer()
        for entry in self.books:
            if since <= entry.created_at < until:
                yield entry
        for refund_id, seen in self.refunds.items():
            if since <= self.times[refund_id] < until:
                yield Listed(
                    kind="refund", ref=seen.ref, amount=seen.amount, currency=seen.currency, state=seen.state,
                    created_at=self.times[refund_id], id=refund_id,
                )  # fmt: skip

    def becomes(self, refund_id: UUID, state: str, reason: str | None = None) -> SeenRefund:
        """What the bank made of a refund."""
        was = self.refunds[refund_id]
        now = SeenRefund(
            ref=was.ref, state=state, amount=was.amount, currency=was.currency, refund_id=refund_id, reason=reason  # type: ignore[arg-type]
        )  # fmt: skip
        self.refunds[refund_id] = now
        return now

    @property
    def sent(self) -> int:
        """Minor units that left the till for good."""
        return sum(each.amount for each in self.refunds.values() if each.state != "failed")

    def _answer(self) -> None:
        if self.down:
            raise ProviderDown("The till is closed.")


async def sold(engine: Engine, show_id: ShowId, **request: Any) -> Booking:
    """A booking that was paid at the till."""
    claimed = await booking.claim(engine.office, show_id, ClaimRequest(**request), Asker(new_id().bytes))
    await pay(engine.db, claimed.booking)
    async with engine.db.transaction() as tx:
        return await booking.confirm(tx, show_id, claimed.booking.booking_id, settled=True)


async def pay(db: Database, bought: Booking, amount: int | None = None) -> attempts.Payment:
    """Money for a booking, as the till has taken it."""
    new = attempts.NewPayment(
        show_id=bought.show_id, booking_id=bought.booking_id, organizer_id=bought.organizer_id, provider="till",
        amount=bought.total, currency=bought.currency, equal_places=False, description="Hamlet",
        return_url="https://holdfast.test/", expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    taken = bought.total if amount is None else amount
    async with db.transaction() as tx:
        begun = await attempts.begin(tx, new)
        ref = f"pi_{begun.payment_id.hex}"
        opened = await attempts.note_opened(tx, begun, Opened(ref, "https://till.test/"))
        seen = Seen(ref=ref, state="succeeded", amount=taken, currency=bought.currency, charge=f"ch_{ref}")
        paid = await attempts.succeed(tx, opened, seen)
    assert paid is not None
    return paid


def job_of(refund: payments.Refund) -> jobs.Job:
    """The job of a refund, as a worker has it."""
    payload = {"show_id": str(refund.show_id), "refund_id": str(refund.refund_id)}
    return jobs.Job(refund.refund_id, payments.REFUND, payload, 1, clock.now(), new_id())


async def leased(db: Database, refund: payments.Refund) -> jobs.Job:
    """The same, under a lease, so that it can finish itself."""
    job = job_of(refund)
    await db.execute(
        "update jobs set lease = $2, leased_until = now() + interval '1 hour' where job_id = $1", job.id, job.lease
    )  # fmt: skip
    return job


async def a_show(engine: Engine, **spec: Any) -> ShowId:
    """A show with ten seats of 10.00 and fifty standing places of 5.00."""
    return await crowd.open_show(engine, **{**PRICED, **spec})


async def ended(engine: Engine, show_id: ShowId) -> int:
    """Has the jobs of a cancelled show done, one behind the other; how many there were."""
    done = 0
    async with engine.db.transaction() as tx:
        await jobs.enqueue(tx, booking.END_BOOKINGS, {"show_id": str(show_id)})
    while rows := await engine.db.rows(
        "update jobs set lease = $2, leased_until = now() + interval '1 hour' where kind = $1"
        " returning job_id, payload, lease",
        booking.END_BOOKINGS, new_id(),
    ):  # fmt: skip
        for row in rows:
            job = jobs.Job(row["job_id"], booking.END_BOOKINGS, row["payload"], 1, clock.now(), row["lease"])
            await booking.end_all(engine.office, job, engine.db)
            done += 1
    return done
