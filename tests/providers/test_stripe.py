"""Stripe beyond the conformance suite: money that takes its time, currencies, failures on the wire, and what is never told."""

import datetime as dt
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import structlog

from holdfast.payments.provider import Provider, ProviderDown, ProviderRefused, Seen, Wish
from holdfast.payments.providers.stripe import amount_here, amount_there
from holdfast.platform.db import Database
from holdfast.platform.ids import new_id
from holdfast.platform.money import CURRENCIES
from holdfast.platform.settings import Settings
from tests.conftest import log_plainly
from tests.providers import stripe_stub
from tests.providers.conftest import an_attempt, provider_of, stripe_settings
from tests.providers.stripe_stub import StripeStub
from tests.providers.stubs import serving

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stub() -> AsyncIterator[StripeStub]:
    stub = StripeStub()
    async with serving(stub):
        yield stub


@pytest.fixture
async def provider(settings: Settings, db: Database, stub: StripeStub) -> AsyncIterator[Provider]:
    async with provider_of(stripe_settings(settings, stub), db) as opened:
        yield opened


@pytest.fixture
async def hasty(settings: Settings, db: Database, stub: StripeStub) -> AsyncIterator[Provider]:
    async with provider_of(stripe_settings(settings, stub, provider_seconds=1.5), db) as opened:
        yield opened


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, tracebacks included."""
    lines = io.StringIO()
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()],
        logger_factory=structlog.PrintLoggerFactory(lines),
    )
    yield lines
    structlog.configure(**before)


def a_wish(attempt: Any, seen: Seen, **changes: Any) -> Wish:
    given = {
        "refund_id": new_id(), "payment_id": attempt.payment_id, "show_id": attempt.show_id, "ref": seen.ref,
        "charge": seen.charge, "amount": attempt.amount, "currency": attempt.currency,
    }  # fmt: skip
    return Wish(**{**given, **changes})


async def test_a_session_carries_our_ids_and_ends_within_stripes_bounds(
    provider: Provider, stub: StripeStub
) -> None:
    attempt = an_attempt()
    opened = await provider.open(attempt)
    session = stub.sessions[opened.ref]
    ids = {
        "payment_id": str(attempt.payment_id), "show_id": str(attempt.show_id),
        "booking_id": str(attempt.booking_id), "reference": attempt.reference,
    }  # fmt: skip
    assert session["metadata"] == session["intent_metadata"] == ids
    assert session["success_url"] == attempt.return_url
    assert 1800 <= session["expires_at"] - stub.now() <= 3600
    long = an_attempt(expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(hours=20))
    assert stub.sessions[(await provider.open(long)).ref]["expires_at"] - stub.now() > 20 * 3600
    assert (await provider.open(an_attempt(payment_id=uuid4()))).ref in stub.sessions


async def test_an_answer_that_was_lost_makes_no_second_session(hasty: Provider, stub: StripeStub) -> None:
    attempt = an_attempt()
    stub.fail("POST", "/v1/checkout/sessions", "after")
    with pytest.raises(ProviderDown):
        await hasty.open(attempt)
    opened = await hasty.open(attempt)
    assert list(stub.sessions) == [opened.ref]


async def test_a_refund_whose_answer_was_lost_is_made_once_even_when_the_key_is_forgotten(
    hasty: Provider, stub: StripeStub
) -> None:
    attempt = an_attempt()
    opened = await hasty.open(attempt)
    stub.pay(opened.ref)
    wish = a_wish(attempt, await hasty.look(opened.ref))
    stub.fail("POST", "/v1/refunds", "after")
    with pytest.raises(ProviderDown):
        await hasty.refund(wish)
    stub.keys.clear()
    made = await hasty.refund(wish)
    assert list(stub.refunds) == [made.ref]


@pytest.mark.parametrize("fault", ["503", "garbage", "429", "hang"])
async def test_trouble_on_the_wire_is_for_later(hasty: Provider, stub: StripeStub, fault: Any) -> None:
    opened = await hasty.open(an_attempt())
    calls: list[tuple[str, str, Callable[[], Awaitable[Any]]]] = [
        ("GET", "/v1/checkout/sessions/", lambda: hasty.look(opened.ref)),
        ("POST", "/v1/checkout/sessions", lambda: hasty.open(an_attempt())),
        ("POST", "/v1/checkout/sessions/", lambda: hasty.close(opened.ref)),
    ]
    for method, path, call in calls[:1] if fault == "hang" else calls:
        stub.fail(method, path, fault)
        with pytest.raises(ProviderDown):
            await call()
    assert (await hasty.look(opened.ref)).state == "open"


async def test_a_provider_that_is_not_there_is_down(settings: Settings, db: Database) -> None:
    nobody = StripeStub(url="http://127.0.0.1:9")
    async with provider_of(stripe_settings(settings, nobody), db) as provider:
        with pytest.raises(ProviderDown):
            await provider.look("cs_1")


async def test_a_wrong_key_is_trouble_of_ours_and_no_refusal(
    settings: Settings, db: Database, stub: StripeStub
) -> None:
    async with provider_of(stripe_settings(settings, stub, stripe_key="sk_wrong"), db) as provider:
        with pytest.raises(ProviderDown):
            await provider.open(an_attempt())


async def test_no_secret_and_no_address_is_told(
    settings: Settings, db: Database, stub: StripeStub, logged: io.StringIO
) -> None:
    log_plainly(0)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(logged))
    said = []
    async with provider_of(stripe_settings(settings, stub), db) as provider:
        for call in (
            lambda: provider.open(an_attempt(amount=10)),
            lambda: provider.look("cs_never"),
            lambda: provider.look_refund(new_id(), "re_never"),
        ):
            with pytest.raises(ProviderRefused) as refused:
                await call()
            said.append(repr(refused.value) + repr(refused.value.__cause__))
    async with provider_of(stripe_settings(settings, stub, stripe_key="sk_wrong_and_secret"), db) as provider:
        with pytest.raises(ProviderDown) as down:
            await provider.look("cs_1")
        said.append(repr(down.value) + repr(down.value.__cause__))
    text = " ".join(said) + logged.getvalue()
    assert "amount_too_small" in text and "req_" in text
    for secret in (stripe_stub.KEY, "sk_wrong_and_secret", "grace.hopper", stripe_stub.WEBHOOK_SECRET):
        assert secret not in text


async def test_money_by_transfer_is_open_until_it_is_there(provider: Provider, stub: StripeStub) -> None:
    opened = await provider.open(an_attempt())
    stub.pay_by_transfer(opened.ref)
    assert (await provider.look(opened.ref)).state == "open"
    # It is complete and cannot be expired, and what the bank has begun cannot be cancelled.
    assert (await provider.close(opened.ref)).state == "open"
    stub.arrive(opened.ref)
    assert (await provider.look(opened.ref)).state == "succeeded"
    told = [provider.read(*stub.signed(event)) for event in stub.events]
    states = [notice.seen.state for notice in told if isinstance(notice.seen, Seen)]
    assert states == ["open", "succeeded"]


async def test_money_by_transfer_that_bounced_closes_the_attempt(
    provider: Provider, stub: StripeStub
) -> None:
    opened = await provider.open(an_attempt())
    stub.pay_by_transfer(opened.ref)
    stub.bounce(opened.ref)
    assert (await provider.look(opened.ref)).state == "closed"
    [notice] = [provider.read(*stub.signed(stub.events[-1]))]
    assert isinstance(notice.seen, Seen) and notice.seen.state == "closed"
    assert notice.seen.reason == "async_payment_failed"


async def test_another_amount_than_was_asked_for_is_seen(provider: Provider, stub: StripeStub) -> None:
    opened = await provider.open(an_attempt())
    stub.pay(opened.ref, amount=4400)
    assert (await provider.look(opened.ref)).amount == 4400


@pytest.mark.parametrize(
    ("amount", "currency", "there"),
    [
        (4500, "EUR", 4500),
        (300, "JPY", 300),
        (5, "ISK", 500),
        (7, "UGX", 700),
        (5120, "KWD", 5120),
        (200, "MGA", 2),
        (4500, "HUF", 4500),
    ],
)
async def test_amounts_are_said_in_stripes_units(
    provider: Provider, stub: StripeStub, amount: int, currency: str, there: int
) -> None:
    assert amount_there(amount, currency) == there
    assert amount_here(there, currency) == amount
    if there >= 50:
        attempt = an_attempt(amount=amount, currency=currency)
        opened = await provider.open(attempt)
        assert stub.sessions[opened.ref]["amount_total"] == there
        assert (await provider.look(opened.ref)).amount == amount


@pytest.mark.parametrize(("amount", "currency"), [(5124, "KWD"), (250, "MGA")])
async def test_amounts_that_stripe_has_no_unit_for_are_refused(
    provider: Provider, stub: StripeStub, amount: int, currency: str
) -> None:
    with pytest.raises(ProviderRefused):
        await provider.open(an_attempt(amount=amount, currency=currency))
    assert stub.asked == []


def test_no_amount_is_lost_on_the_way_there_and_back() -> None:
    assert all(amount_here(amount_there(12_300, code), code) == 12_300 for code in CURRENCIES)


async def test_webhooks_come_in_any_order_and_say_the_same(provider: Provider, stub: StripeStub) -> None:
    opened = await provider.open(an_attempt())
    stub.decline(opened.ref)
    stub.pay(opened.ref)
    forward = [provider.read(*stub.signed(event)) for event in stub.events]
    backward = [provider.read(*stub.signed(event)) for event in reversed(stub.events)]
    assert forward == backward[::-1]
    assert [notice.kind for notice in forward] == ["payment", "payment", "other"]
