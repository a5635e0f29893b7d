"""A bank for tests of payments: a provider whose books are a dictionary, and buyers who do there what a test wants."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import msgspec

from holdfast import booking, payments
from holdfast.booking import Asker, Booking, Cashier, ClaimRequest, PaySpec
from holdfast.engine import Engine
from holdfast.payments import (
    Attempt,
    BadSignature,
    Notice,
    Opened,
    Payment,
    ProviderDown,
    ProviderRefused,
    Seen,
    State,
)
from holdfast.platform import clock, jobs
from holdfast.platform.ids import ShowId, new_id
from tests.till import Till

SIGNED = {"bank-signature": "good"}


@dataclass
class Bank(Till):
    """Payments beside the refunds of the till. `refs` are the payments by the bank's id; `calls` what it was asked."""

    name: str = "bank"
    refs: dict[str, Seen] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    # The address that each attempt came with.
    emails: list[str | None] = field(default_factory=list)
    # The next answers get lost: the bank has done it, and nobody hears so.
    lost: int = 0

    async def open(self, attempt: Attempt) -> Opened:
        ref = f"b_{attempt.payment_id.hex}"
        self._ask("open", ref)
        self.emails.append(attempt.email)
        seen = Seen(
            ref=ref, state="open", amount=attempt.amount, currency=attempt.currency, payment_id=attempt.payment_id,
            show_id=attempt.show_id,
        )  # fmt: skip
        self.refs.setdefault(ref, seen)
        self._lose()
        return Opened(ref, f"https://bank.test/{ref}")

    async def look(self, ref: str) -> Seen:
        self._ask("look", ref)
        return self.refs[ref]

    async def close(self, ref: str) -> Seen:
        self._ask("close", ref)
        if self.refs[ref].state in ("open", "declined"):
            self.becomes_paid(ref, "closed")
        self._lose()
        return self.refs[ref]

    def read(self, headers: Mapping[str, str], body: bytes) -> Notice:
        if headers.get("bank-signature") != "good":
            raise BadSignature
        said = msgspec.json.decode(body)
        seen = msgspec.convert(said["seen"], Seen)
        return Notice(
            event_id=said["event_id"], kind=said["kind"], show_id=seen.show_id, payment_id=seen.payment_id, seen=seen
        )  # fmt: skip

    async def aclose(self) -> None:
        pass

    def becomes_paid(self, ref: str, state: State = "succeeded", **changes: Any) -> Seen:
        """What a buyer makes of a payment at the bank's page."""
        charge = f"ch_{ref}" if state == "succeeded" else None
        self.refs[ref] = msgspec.structs.replace(self.refs[ref], state=state, charge=charge, **changes)
        return self.refs[ref]

    def _ask(self, what: str, ref: str) -> None:
        self.calls.append((what, ref))
        self._answer()
        if self.refusal is not None:
            raise ProviderRefused(self.refusal)

    def _lose(self) -> None:
        if self.lost:
            self.lost -= 1
            raise ProviderDown("The line went dead.")


def with_bank(engine: Engine, *banks: Bank) -> Engine:
    """The same engine, with these providers."""
    providers: dict[str, Any] = {bank.name: bank for bank in banks}
    return replace(engine, providers=providers, cashier=Cashier(engine.office, providers))


class Shopper:
    """Claims and pays by the front door of the domain."""

    def __init__(self, engine: Engine, bank: Bank) -> None:
        self.engine = with_bank(engine, bank)
        self.bank = bank
        self.cashier = self.engine.cashier

    async def claim(self, show_id: ShowId, **request: Any) -> Booking:
        claimed = await booking.claim(
            self.engine.office, show_id, ClaimRequest(**request), Asker(new_id().bytes)
        )
        return claimed.booking

    async def pay(self, held: Booking, **spec: Any) -> Payment:
        """Begins an attempt."""
        view = await self.engine.office.views.get(held.show_id)
        return await self.cashier.pay(self.engine.db, held, view, PaySpec(**spec))

    async def paid(self, payment: Payment, state: State = "succeeded", **changes: Any) -> None:
        """Does something at the bank, which tells of it at once."""
        assert payment.ref is not None
        await self.cashier.settle(
            payment.show_id, payment.payment_id, self.bank.becomes_paid(payment.ref, state, **changes)
        )

    async def booking(self, held: Booking) -> Booking:
        return await booking.booking_by_id(self.engine.db, held.show_id, held.booking_id)

    async def payment(self, payment: Payment) -> Payment:
        return await payments.payment_by_id(self.engine.db, payment.show_id, payment.payment_id)

    async def refunds(self, held: Booking) -> list[tuple[UUID, int, str]]:
        """(payment, amount, reason) of every refund of a booking."""
        found = await payments.refunds_of(self.engine.db, held.show_id, held.booking_id, UUID(int=0), 100)
        return [(each.payment_id, each.amount, each.reason) for each in found]

    async def deadline_in(self, held: Booking, seconds: float) -> None:
        """Moves the deadline of a hold, and its beginning with it."""
        moved = await self.engine.db.execute(
            "update bookings set expires_at = clock_timestamp() + make_interval(secs => $3),"
            " created_at = least(created_at, clock_timestamp() + make_interval(secs => $3))"
            " where show_id = $1 and booking_id = $2",
            held.show_id, held.booking_id, seconds,
        )  # fmt: skip
        assert moved == 1

    async def expire(self, held: Booking) -> Booking:
        """Lets the hold pass its deadline and be swept."""
        await self.deadline_in(held, -0.001)
        await booking.sweep(self.engine.office)
        swept = await self.booking(held)
        assert (swept.status, swept.reason) == ("FAILED", "expired")
        return swept

    async def watch(self, payment: Payment) -> float | None:
        """One run of the job that watches the attempt: in how many seconds it comes back, None when it has ended."""
        rows = await self.engine.db.rows(
            "select job_id from jobs where kind = 'payments.watch' and payload ->> 'payment_id' = $1 order by run_at",
            str(payment.payment_id),
        )  # fmt: skip
        assert rows, "nobody watches it"
        payload = {"show_id": str(payment.show_id), "payment_id": str(payment.payment_id)}
        job = jobs.Job(rows[0]["job_id"], payments.WATCH, payload, 1, clock.now(), new_id())
        await self.engine.db.execute(
            "update jobs set lease = $2, leased_until = now() + interval '1 hour' where job_id = $1", job.id, job.lease
        )  # fmt: skip
        try:
            await self.cashier.watch(job, self.engine.db)
        except jobs.Later as later:
            return later.seconds
        return None

    async def facts(self, held: Booking, *kinds: str) -> list[str]:
        """The kinds of the facts about a booking that were announced, in their order."""
        rows = await self.engine.db.rows(
            "select kind from outbox where show_id = $1 and payload ->> 'booking_id' = $2 order by created_at",
            held.show_id, str(held.booking_id),
        )  # fmt: skip
        return [row["kind"] for row in rows if not kinds or row["kind"] in kinds]
