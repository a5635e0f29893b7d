"""Razorpay beyond the conformance suite: captures, the note that a buyer cannot write, the way back, failures on the wire."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from holdfast.payments import return_routes
from holdfast.payments.provider import BadSignature, Provider, ProviderDown, ProviderRefused, Seen, Wish
from holdfast.platform.db import Database
from holdfast.platform.http import build_app
from holdfast.platform.ids import new_id
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import Settings
from tests.providers import razorpay_stub
from tests.providers.conftest import RETURN_URL, an_attempt, provider_of, razorpay_settings
from tests.providers.razorpay_stub import RazorpayStub
from tests.providers.stubs import serving

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stub() -> AsyncIterator[RazorpayStub]:
    stub = RazorpayStub()
    async with serving(stub):
        yield stub


@pytest.fixture
async def provider(settings: Settings, db: Database, stub: RazorpayStub) -> AsyncIterator[Provider]:
    async with provider_of(razorpay_settings(settings, stub), db) as opened:
        yield opened


@pytest.fixture
async def hasty(settings: Settings, db: Database, stub: RazorpayStub) -> AsyncIterator[Provider]:
    async with provider_of(razorpay_settings(settings, stub, provider_seconds=1.5), db) as opened:
        yield opened


@pytest.fixture
async def buyer(settings: Settings, provider: Provider) -> AsyncIterator[httpx.AsyncClient]:
    state = SimpleNamespace(providers={"razorpay": provider}, secrets=Secrets(settings.secret_key or ""))
    app = build_app([return_routes.routes], state=state)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://holdfast.test"
    ) as opened:
        yield opened


async def test_the_form_leads_to_the_hosted_page_and_back(provider: Provider, stub: RazorpayStub) -> None:
    attempt = an_attempt()
    opened = await provider.open(attempt)
    assert opened.url == f"{stub.url}/checkout/embedded" and opened.method == "POST"
    assert opened.fields["order_id"] == opened.ref
    assert opened.fields["key_id"] == razorpay_stub.KEY_ID
    assert opened.fields["cancel_url"] == RETURN_URL
    assert "/v1/payments/razorpay/return?" in opened.fields["callback_url"]
    assert "grace.hopper" not in str(opened.fields) and razorpay_stub.KEY_SECRET not in str(opened.fields)
    assert stub.orders[opened.ref]["notes"]["payment_id"] == str(attempt.payment_id)


async def test_what_was_only_authorised_is_captured_when_it_is_looked_at(
    provider: Provider, stub: RazorpayStub
) -> None:
    opened = await provider.open(an_attempt())
    payment = stub.pay(opened.ref, status="authorized")
    seen = await provider.look(opened.ref)
    assert (seen.state, seen.charge) == ("succeeded", payment["id"])
    assert stub.payments[payment["id"]]["status"] == "captured"


async def test_a_capture_that_somebody_else_made_counts(provider: Provider, stub: RazorpayStub) -> None:
    opened = await provider.open(an_attempt())
    payment = stub.pay(opened.ref, status="authorized")
    stub.captured_meanwhile = True
    seen = await provider.look(opened.ref)
    assert (seen.state, seen.charge) == ("succeeded", payment["id"])


async def test_what_is_authorised_after_the_attempt_was_closed_is_not_captured(
    provider: Provider, stub: RazorpayStub
) -> None:
    opened = await provider.open(an_attempt())
    await provider.close(opened.ref)
    payment = stub.pay(opened.ref, status="authorized")
    assert (await provider.look(opened.ref)).state == "closed"
    assert stub.payments[payment["id"]]["status"] == "authorized"
    # What Razorpay itself captures is there, whatever was wished.
    stub._paid(payment)
    assert (await provider.look(opened.ref)).state == "succeeded"


async def test_closing_keeps_the_other_notes(provider: Provider, stub: RazorpayStub) -> None:
    attempt = an_attempt()
    opened = await provider.open(attempt)
    seen = await provider.close(opened.ref)
    assert (seen.payment_id, seen.show_id) == (attempt.payment_id, attempt.show_id)


@pytest.mark.parametrize("kind", ["payment.captured", "payment.failed", "payment.dispute.created"])
async def test_a_buyer_cannot_say_that_the_money_is_for_another_attempt(
    provider: Provider, stub: RazorpayStub, kind: str
) -> None:
    mine, theirs = await provider.open(an_attempt()), await provider.open(an_attempt())
    # The note of another order, as its own buyer could copy it from the form.
    stolen = {
        "holdfast": theirs.fields["notes[holdfast]"],
        "payment_id": str(new_id()),
        "show_id": str(new_id()),
    }
    if kind == "payment.failed":
        stub.decline(mine.ref, notes=stolen)
    else:
        stub.dispute(stub.pay(mine.ref, stolen))
    [event] = [event for event in stub.events if event.kind == kind]
    notice = provider.read(*stub.signed(event))
    assert (notice.show_id, notice.payment_id) == (None, None)
    assert isinstance(notice.seen, Seen) and notice.seen.ref == mine.ref
    assert notice.seen.payment_id is None


async def test_an_answer_that_was_lost_makes_no_second_order(hasty: Provider, stub: RazorpayStub) -> None:
    attempt = an_attempt()
    stub.fail("POST", "/orders", "after")
    with pytest.raises(ProviderDown):
        await hasty.open(attempt)
    opened = await hasty.open(attempt)
    assert list(stub.orders) == [opened.ref]


async def test_a_refund_whose_answer_was_lost_is_made_once_even_when_the_key_is_forgotten(
    hasty: Provider, stub: RazorpayStub
) -> None:
    attempt = an_attempt()
    opened = await hasty.open(attempt)
    charge = stub.pay(opened.ref)["id"]
    wish = Wish(
        refund_id=new_id(), payment_id=attempt.payment_id, show_id=attempt.show_id, ref=opened.ref, charge=charge,
        amount=4500, currency="EUR",
    )  # fmt: skip
    stub.fail("POST", f"/payments/{charge}/refund", "after")
    with pytest.raises(ProviderDown):
        await hasty.refund(wish)
    stub.keys.clear()
    made = await hasty.refund(wish)
    assert list(stub.refunds) == [made.ref]


@pytest.mark.parametrize("fault", ["503", "garbage", "429", "hang"])
async def test_trouble_on_the_wire_is_for_later(hasty: Provider, stub: RazorpayStub, fault: Any) -> None:
    opened = await hasty.open(an_attempt())
    stub.fail("GET", f"/orders/{opened.ref}", fault)
    with pytest.raises(ProviderDown):
        await hasty.look(opened.ref)
    if fault != "hang":
        stub.fail("PATCH", f"/orders/{opened.ref}", fault)
        with pytest.raises(ProviderDown):
            await hasty.close(opened.ref)
    assert (await hasty.look(opened.ref)).state == "open"


async def test_a_wrong_key_is_trouble_of_ours_and_no_secret_is_told(
    settings: Settings, db: Database, stub: RazorpayStub
) -> None:
    async with provider_of(razorpay_settings(settings, stub, razorpay_key_secret="wrong"), db) as provider:
        with pytest.raises(ProviderDown) as down:
            await provider.look("order_1")
    assert "wrong" not in str(down.value)
    async with provider_of(razorpay_settings(settings, stub), db) as provider:
        with pytest.raises(ProviderRefused) as refused:
            await provider.look("order_never")
    assert razorpay_stub.KEY_SECRET not in str(refused.value)
    assert "BAD_REQUEST_ERROR" in str(refused.value)


async def test_an_id_that_is_none_asks_for_nothing_else(provider: Provider, stub: RazorpayStub) -> None:
    for ref in ("../refunds/x", "order_1?x=1", ""):
        with pytest.raises(ProviderRefused):
            await provider.look(ref)
    assert stub.asked == []


async def test_three_digits_end_in_nought(provider: Provider, stub: RazorpayStub) -> None:
    assert (await provider.open(an_attempt(amount=5120, currency="KWD"))).ref in stub.orders
    with pytest.raises(ProviderRefused):
        await provider.open(an_attempt(amount=5124, currency="KWD"))
    assert stub.count("POST", "/orders") == 1


async def test_an_event_without_an_id_has_that_of_its_body(provider: Provider, stub: RazorpayStub) -> None:
    stub.pay((await provider.open(an_attempt())).ref)
    headers, body = stub.signed(stub.events[0])
    assert provider.read(headers, body).event_id == headers["x-razorpay-event-id"]
    for given in ("", "x" * 500, "a b\n"):
        notice = provider.read({**headers, "x-razorpay-event-id": given}, body)
        assert notice.event_id == hashlib.sha256(body).hexdigest()


async def test_the_buyer_comes_back_to_where_they_came_from(
    provider: Provider, buyer: httpx.AsyncClient
) -> None:
    opened = await provider.open(an_attempt())
    way = urlsplit(opened.fields["callback_url"])
    signature = hmac.new(
        razorpay_stub.KEY_SECRET.encode(), f"{opened.ref}|pay_1".encode(), hashlib.sha256
    ).hexdigest()
    form = {
        "razorpay_order_id": opened.ref,
        "razorpay_payment_id": "pay_1",
        "razorpay_signature": signature,
    }
    answer = await buyer.post(f"{way.path}?{way.query}", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, RETURN_URL)
    answer = await buyer.post(f"{way.path}?{way.query}", data={"error[code]": "BAD_REQUEST_ERROR"})
    assert (answer.status_code, answer.headers["location"]) == (303, RETURN_URL)
    forged = await buyer.post(f"{way.path}?{way.query}", data={**form, "razorpay_payment_id": "pay_2"})
    assert (forged.status_code, forged.json()["code"]) == (400, "bad_signature")
    by = parse_qs(way.query)["by"][0]
    astray = await buyer.post(way.path, params={"to": "https://evil.test/", "by": by}, data=form)
    assert (astray.status_code, astray.json()["code"]) == (400, "bad_signature")


async def test_a_webhook_signed_by_the_old_secret_is_read_while_it_is_rotated(
    settings: Settings, db: Database, stub: RazorpayStub, provider: Provider
) -> None:
    stub.pay((await provider.open(an_attempt())).ref)
    signed = stub.signed(stub.events[0])
    assert provider.read(*signed).kind == "payment"
    after = razorpay_settings(settings, stub, razorpay_webhook_secret="the next one")
    async with provider_of(after, db) as later:
        with pytest.raises(BadSignature):
            later.read(*signed)
