"""Each provider as the conformance suite sees it: the adapter, and what people and banks do on the other side."""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
import pytest

from holdfast.payments.provider import Attempt, Opened, Provider, Seen, Wish
from holdfast.payments.providers import open_providers
from holdfast.payments.providers import sandbox_books as books
from holdfast.payments.providers.breaker import Guarded
from holdfast.payments.providers.sandbox import Sandbox
from holdfast.platform.db import Database
from holdfast.platform.ids import new_id
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import Settings
from tests.providers import razorpay_stub, stripe_stub
from tests.providers.razorpay_stub import RazorpayStub
from tests.providers.stripe_stub import StripeStub
from tests.providers.stubs import Event, serving

RETURN_URL = "https://shop.test/return?booking=1"
Webhook = tuple[dict[str, str], bytes]


def an_attempt(**changes: Any) -> Attempt:
    """45.00 EUR for a booking, wanted for a quarter of an hour."""
    given = {
        "payment_id": new_id(),
        "show_id": new_id(),
        "booking_id": new_id(),
        "reference": "BCDF3467",
        "amount": 4500,
        "currency": "EUR",
        "description": "Hamlet, 2 places",
        "return_url": RETURN_URL,
        "expires_at": dt.datetime.now(dt.UTC) + dt.timedelta(minutes=15),
        "email": "grace.hopper@example.org",
    }
    return Attempt(**{**given, **changes})


class Side(ABC):
    """The other side of one provider. Subclasses say how its people and banks do things."""

    name: str
    # Whether the webhook of a dispute says by itself whose it is.
    dispute_names_show = True

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    @abstractmethod
    async def pay(self, opened: Opened) -> None: ...

    @abstractmethod
    async def decline(self, opened: Opened) -> None: ...

    @abstractmethod
    async def dispute(self, opened: Opened) -> None: ...

    @abstractmethod
    async def refunds_become(self, opened: Opened, what: str) -> None:
        """settled, pending, or refused."""

    @abstractmethod
    async def end_refund(self, ref: str, state: str) -> None:
        """Settled or failed."""

    @abstractmethod
    async def sent(self) -> list[Webhook]:
        """Every webhook so far, signed now."""

    @abstractmethod
    async def forged(self) -> Webhook:
        """The first one, signed by somebody else."""

    @abstractmethod
    async def unknown(self) -> Webhook:
        """A webhook of a kind that nobody has heard of, well signed."""

    async def old(self) -> Webhook | None:
        """The first one, signed ten minutes ago; None where a signature has no time in it."""
        return None


class SandboxSide(Side):
    name = "sandbox"

    def __init__(self, provider: Provider, db: Database) -> None:
        super().__init__(provider)
        assert isinstance(provider, Guarded) and isinstance(provider.provider, Sandbox)
        self.sandbox, self.db = provider.provider, db

    async def pay(self, opened: Opened) -> None:
        async with self.db.transaction() as tx:
            await books.pay(tx, opened.ref)

    async def decline(self, opened: Opened) -> None:
        async with self.db.transaction() as tx:
            await books.decline(tx, opened.ref, "insufficient_funds")

    async def dispute(self, opened: Opened) -> None:
        async with self.db.transaction() as tx:
            await books.dispute(tx, opened.ref)

    async def refunds_become(self, opened: Opened, what: str) -> None:
        choice: Any = {"settled": "settle", "pending": "later", "refused": "refuse"}[what]
        async with self.db.transaction() as tx:
            await books.choose(tx, opened.ref, "once", choice)

    async def end_refund(self, ref: str, state: str) -> None:
        await self.db.execute(
            "update sandbox_refunds set ends_at = clock_timestamp(), ends_as = $2 where ref = $1", ref, state
        )
        async with self.db.transaction() as tx:
            await books.end_refund(tx, ref)

    async def _events(self) -> list[books.Event]:
        rows = await self.db.rows("select payload from jobs where kind = 'sandbox.send' order by job_id")
        return [msgspec.convert(row["payload"], books.Event) for row in rows]

    async def sent(self) -> list[Webhook]:
        return [self.sandbox.signed(event) for event in await self._events()]

    async def forged(self) -> Webhook:
        other = Sandbox(self.db, Settings(), Secrets("another secret of more than thirty letters"))
        return other.signed((await self._events())[0])

    async def unknown(self) -> Webhook:
        event = books.Event(id="sbe_1", type="moon.risen", created_at="2030-01-01T00:00:00Z")
        return self.sandbox.signed(event)

    async def old(self) -> Webhook:
        event = (await self._events())[0]
        body, then = msgspec.json.encode(event), dt.datetime.now(dt.UTC) - dt.timedelta(minutes=10)
        signature = self.sandbox._signers[0].sign(event.id, then, body.decode())
        stamp = str(int(then.timestamp()))
        return {"webhook-id": event.id, "webhook-timestamp": stamp, "webhook-signature": signature}, body


class StripeSide(Side):
    name = "stripe"
    dispute_names_show = False

    def __init__(self, provider: Provider, stub: StripeStub) -> None:
        super().__init__(provider)
        self.stub = stub

    async def pay(self, opened: Opened) -> None:
        self.stub.pay(opened.ref)

    async def decline(self, opened: Opened) -> None:
        self.stub.decline(opened.ref)

    async def dispute(self, opened: Opened) -> None:
        self.stub.dispute(opened.ref)

    async def refunds_become(self, opened: Opened, what: str) -> None:
        self.stub.refunds_become = {"settled": "succeeded"}.get(what, what)

    async def end_refund(self, ref: str, state: str) -> None:
        self.stub.end_refund(ref, {"settled": "succeeded"}.get(state, state))

    async def sent(self) -> list[Webhook]:
        return [self.stub.signed(event) for event in self.stub.events]

    async def forged(self) -> Webhook:
        return self.stub.signed(self.stub.events[0], secret="whsec_somebody_elses")

    async def unknown(self) -> Webhook:
        return self.stub.signed(Event("evt_1", "moon.risen", {"object": "moon", "id": "moon_1"}))

    async def old(self) -> Webhook:
        return self.stub.signed(self.stub.events[0], at=self.stub.now() - 600)


class RazorpaySide(Side):
    name = "razorpay"

    def __init__(self, provider: Provider, stub: RazorpayStub) -> None:
        super().__init__(provider)
        self.stub = stub

    def _notes(self, opened: Opened) -> dict[str, str]:
        # As the hosted page does it: what the form had in `notes[...]` becomes the payment's notes.
        return {
            name.removeprefix("notes[").rstrip("]"): value
            for name, value in opened.fields.items()
            if name.startswith("notes[")
        }

    async def pay(self, opened: Opened) -> None:
        self.stub.pay(opened.ref, self._notes(opened))

    async def decline(self, opened: Opened) -> None:
        self.stub.decline(opened.ref, notes=self._notes(opened))

    async def dispute(self, opened: Opened) -> None:
        self.stub.dispute(next(p for p in self.stub.payments.values() if p["order_id"] == opened.ref))

    async def refunds_become(self, opened: Opened, what: str) -> None:
        self.stub.refunds_become = {"settled": "processed"}.get(what, what)

    async def end_refund(self, ref: str, state: str) -> None:
        self.stub.end_refund(ref, {"settled": "processed"}.get(state, state))

    async def sent(self) -> list[Webhook]:
        return [self.stub.signed(event) for event in self.stub.events]

    async def forged(self) -> Webhook:
        return self.stub.signed(self.stub.events[0], secret="somebody else's")

    async def unknown(self) -> Webhook:
        return self.stub.signed(Event("evt_1", "moon.risen", {"moon": {"id": "moon_1"}}))


def stripe_settings(settings: Settings, stub: StripeStub, **changes: Any) -> Settings:
    given = {
        "payments": "stripe",
        "stripe_key": stripe_stub.KEY,
        "stripe_webhook_secret": f"whsec_the_next_one,{stripe_stub.WEBHOOK_SECRET}",
        "stripe_url": stub.url,
        "provider_seconds": 5.0,
    }
    return msgspec.structs.replace(settings, **{**given, **changes})


def razorpay_settings(settings: Settings, stub: RazorpayStub, **changes: Any) -> Settings:
    given = {
        "payments": "razorpay",
        "razorpay_key_id": razorpay_stub.KEY_ID,
        "razorpay_key_secret": razorpay_stub.KEY_SECRET,
        "razorpay_webhook_secret": f"the next one,{razorpay_stub.WEBHOOK_SECRET}",
        "razorpay_url": stub.url,
        "provider_seconds": 5.0,
    }
    return msgspec.structs.replace(settings, **{**given, **changes})


@asynccontextmanager
async def provider_of(settings: Settings, db: Database) -> AsyncIterator[Provider]:
    """The one provider that these settings name."""
    [provider] = open_providers(settings, db, Secrets(settings.secret_key or "")).values()
    try:
        yield provider
    finally:
        await provider.aclose()


@pytest.fixture(params=["sandbox", "stripe", "razorpay"])
async def side(request: pytest.FixtureRequest, settings: Settings, db: Database) -> AsyncIterator[Side]:
    """Each provider in turn."""
    async with AsyncExitStack() as stack:
        if request.param == "sandbox":
            chosen = msgspec.structs.replace(settings, payments="sandbox")
            provider = await stack.enter_async_context(provider_of(chosen, db))
            yield SandboxSide(provider, db)
        elif request.param == "stripe":
            stripe = StripeStub()
            await stack.enter_async_context(serving(stripe))
            provider = await stack.enter_async_context(provider_of(stripe_settings(settings, stripe), db))
            yield StripeSide(provider, stripe)
        else:
            razorpay = RazorpayStub()
            await stack.enter_async_context(serving(razorpay))
            provider = await stack.enter_async_context(provider_of(razorpay_settings(settings, razorpay), db))
            yield RazorpaySide(provider, razorpay)


@pytest.fixture
def wish_of() -> Callable[..., Wish]:
    """What asks for a refund of what was seen paid."""

    def made(attempt: Attempt, seen: Seen, amount: int = 4500, refund_id: UUID | None = None) -> Wish:
        assert seen.charge is not None
        return Wish(
            refund_id=refund_id or new_id(),
            payment_id=attempt.payment_id,
            show_id=attempt.show_id,
            ref=seen.ref,
            charge=seen.charge,
            amount=amount,
            currency=attempt.currency,
        )

    return made
