"""The sandbox: its page as a person and a shell use it, its slow money, and the webhooks that it really sends."""

import asyncio
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response

from holdfast.payments import sandbox_routes
from holdfast.payments.provider import Notice, Opened, Provider, ProviderRefused, Seen, SeenRefund, Wish
from holdfast.payments.providers import sandbox_books as books
from holdfast.payments.providers import sandbox_handlers
from holdfast.platform.db import Database, open_database
from holdfast.platform.http import build_app
from holdfast.platform.ids import new_id
from holdfast.platform.jobs import Worker
from holdfast.platform.settings import Settings
from tests.conftest import client_of
from tests.platform.eventually import until
from tests.providers.conftest import RETURN_URL, an_attempt, provider_of
from tests.providers.stubs import Handler, Stub, serving

pytestmark = pytest.mark.anyio


class Receiver(Stub):
    """Takes the sandbox's webhooks as /v1/payments/sandbox/webhook does, and keeps what they said."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Notice] = []
        self.provider: Provider | None = None

    def routes(self) -> dict[tuple[str, str], Handler]:
        return {("POST", "/v1/payments/sandbox/webhook"): self._take}

    async def _take(self, request: Request) -> Response:
        assert self.provider is not None
        self.taken.append(self.provider.read(dict(request.headers), await request.body()))
        return Response()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(receiver):
        yield receiver


@pytest.fixture
async def provider(settings: Settings, db: Database, receiver: Receiver) -> AsyncIterator[Provider]:
    chosen = msgspec.structs.replace(settings, payments="sandbox", public_url=receiver.url)
    async with provider_of(chosen, db) as opened:
        receiver.provider = opened
        yield opened


@pytest.fixture
async def worker(settings: Settings, db: Database, provider: Provider) -> AsyncIterator[Worker]:

    made = Worker(db, settings, sandbox_handlers({"sandbox": provider}), retry_seconds=0.01)
    running = asyncio.create_task(made.run())
    yield made
    await made.stop()
    await running


@pytest.fixture
async def browser(db: Database, provider: Provider) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app([sandbox_routes.routes], state=SimpleNamespace(providers={"sandbox": provider}), db=db)
    # The page works on routes of its own; whoever serves them gives `call.db`.
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://holdfast.test"
    ) as opened:
        yield opened


def path(opened: Opened) -> str:
    return f"/sandbox/pay/{opened.ref}"


async def chose(browser: httpx.AsyncClient, opened: Opened, outcome: str, **more: str) -> httpx.Response:
    return await browser.post(path(opened), data={"outcome": outcome, **more})


async def due(db: Database) -> None:
    """Lets the time pass that slow money and slow refunds, and their jobs, wait for."""
    await db.execute(
        "update sandbox_payments set money_at = clock_timestamp() - interval '1 s' where money_at is not null"
    )
    await db.execute("update sandbox_refunds set ends_at = clock_timestamp() where ends_at is not null")
    await db.execute("update jobs set run_at = clock_timestamp()")


async def test_a_person_pays_and_comes_back(browser: httpx.AsyncClient, provider: Provider) -> None:
    opened = await provider.open(an_attempt())
    page = await browser.get(path(opened))
    assert page.status_code == 200
    for text in ("TEST MONEY", "45.00 EUR", "Hamlet, 2 places", "BCDF3467"):
        assert text in page.text
    answer = await chose(browser, opened, "pay")
    assert (answer.status_code, answer.headers["location"]) == (303, RETURN_URL)
    assert (await provider.look(opened.ref)).state == "succeeded"
    assert "Paid." in (await browser.get(path(opened))).text


async def test_whoever_pays_twice_pays_once(
    browser: httpx.AsyncClient, provider: Provider, db: Database
) -> None:
    opened = await provider.open(an_attempt())
    for _ in range(3):
        assert (await chose(browser, opened, "pay")).status_code == 303
    assert (await chose(browser, opened, "decline")).status_code == 303
    assert (await provider.look(opened.ref)).state == "succeeded"
    assert await db.value("select count(*) from jobs") == 1


async def test_a_declined_card_is_told_and_tried_again(
    browser: httpx.AsyncClient, provider: Provider
) -> None:
    opened = await provider.open(an_attempt())
    answer = await chose(browser, opened, "decline", reason="insufficient_funds")
    assert answer.headers["location"] == path(opened)
    page = await browser.get(path(opened))
    assert "not enough money" in page.text and 'value="pay"' in page.text
    await chose(browser, opened, "pay")
    assert (await provider.look(opened.ref)).state == "succeeded"


async def test_the_bank_asks_for_a_code(browser: httpx.AsyncClient, provider: Provider) -> None:
    opened = await provider.open(an_attempt())
    answer = await chose(browser, opened, "challenge")
    check = answer.headers["location"]
    assert check == path(opened) + "/check"
    assert "123456" in (await browser.get(check)).text
    wrong = await browser.post(check, data={"code": "000000"})
    assert wrong.status_code == 200 and "That was not the code." in wrong.text
    right = await browser.post(check, data={"code": "123 456"})
    assert (right.status_code, right.headers["location"]) == (303, RETURN_URL)
    assert (await provider.look(opened.ref)).state == "succeeded"


async def test_three_wrong_codes_are_a_decline(browser: httpx.AsyncClient, provider: Provider) -> None:
    opened = await provider.open(an_attempt())
    await chose(browser, opened, "challenge")
    answers = [await browser.post(path(opened) + "/check", data={"code": "0"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 303]
    seen = await provider.look(opened.ref)
    assert (seen.state, seen.reason) == ("declined", "authentication_failed")
    assert "The code was wrong three times." in (await browser.get(path(opened))).text
    late = await browser.post(path(opened) + "/check", data={"code": "0"})
    assert late.status_code == 303
    await chose(browser, opened, "challenge")
    await browser.post(path(opened) + "/check", data={"code": "123456"})
    assert (await provider.look(opened.ref)).state == "succeeded"


async def test_whoever_goes_back_has_paid_nothing(browser: httpx.AsyncClient, provider: Provider) -> None:
    opened = await provider.open(an_attempt())
    answer = await chose(browser, opened, "cancel")
    assert (answer.status_code, answer.headers["location"]) == (303, RETURN_URL)
    assert (await provider.look(opened.ref)).state == "open"


async def test_slow_money_comes_later_unless_it_is_closed_before(
    browser: httpx.AsyncClient, provider: Provider, db: Database
) -> None:
    comes, stopped = await provider.open(an_attempt()), await provider.open(an_attempt())
    for opened in (comes, stopped):
        await chose(browser, opened, "slow", seconds="3600")
        assert (await provider.look(opened.ref)).state == "open"
        assert "on its way" in (await browser.get(path(opened))).text
    assert (await provider.close(stopped.ref)).state == "closed"
    await due(db)
    assert (await provider.look(comes.ref)).state == "succeeded"
    assert (await provider.look(stopped.ref)).state == "closed"
    assert (await provider.close(comes.ref)).state == "succeeded"
    assert "This payment is closed." in (await browser.get(path(stopped))).text


async def test_late_money_comes_though_the_payment_was_closed(
    browser: httpx.AsyncClient, provider: Provider, db: Database, receiver: Receiver, worker: Worker
) -> None:
    opened = await provider.open(an_attempt())
    await chose(browser, opened, "late", seconds="3600")
    assert (await provider.close(opened.ref)).state == "closed"
    await due(db)

    def states() -> list[str]:
        return [notice.seen.state for notice in receiver.taken if isinstance(notice.seen, Seen)]

    await until(lambda: sorted(states()) == ["closed", "succeeded"])
    assert (await provider.look(opened.ref)).state == "succeeded"


@pytest.mark.parametrize(("webhooks", "times"), [("once", 1), ("twice", 2), ("late", 1), ("never", 0)])
async def test_webhooks_are_sent_as_was_chosen(
    browser: httpx.AsyncClient,
    provider: Provider,
    db: Database,
    receiver: Receiver,
    webhooks: str,
    times: int,
) -> None:
    opened = await provider.open(an_attempt())
    await chose(browser, opened, "pay", webhooks=webhooks)
    rows = await db.rows("select payload, run_at > now() + interval '20 s' as late from jobs")
    assert [row["late"] for row in rows] == [webhooks == "late"] * times
    assert len({row["payload"]["id"] for row in rows}) == min(times, 1)


async def test_webhooks_are_tried_until_they_are_taken(
    browser: httpx.AsyncClient, provider: Provider, db: Database, receiver: Receiver, worker: Worker
) -> None:
    attempt = an_attempt()
    opened = await provider.open(attempt)
    receiver.fail("POST", "/v1", "503", times=2)
    await chose(browser, opened, "pay")
    await until(lambda: receiver.taken)
    assert receiver.count("POST", "/v1/payments/sandbox/webhook") == 3
    [notice] = receiver.taken
    assert (notice.kind, notice.payment_id, notice.show_id) == (
        "payment",
        attempt.payment_id,
        attempt.show_id,
    )

    async def all_done() -> bool:
        return bool(await db.value("select count(*) = 0 from jobs"))

    await until(all_done)


def a_wish(attempt: Any, opened: Opened, amount: int) -> Wish:
    return Wish(
        refund_id=new_id(), payment_id=attempt.payment_id, show_id=attempt.show_id, ref=opened.ref, charge=opened.ref,
        amount=amount, currency=attempt.currency,
    )  # fmt: skip


@pytest.mark.parametrize(("amount", "ends"), [(1071, "settled"), (1072, "failed")])
async def test_amounts_of_refunds_say_what_becomes_of_them(
    provider: Provider,
    db: Database,
    browser: httpx.AsyncClient,
    receiver: Receiver,
    worker: Worker,
    amount: int,
    ends: str,
) -> None:
    attempt = an_attempt()
    opened = await provider.open(attempt)
    await chose(browser, opened, "pay")
    wish = a_wish(attempt, opened, amount)
    made = await provider.refund(wish)
    assert made.state == "pending"
    await due(db)
    await until(lambda: any(notice.kind == "refund" for notice in receiver.taken))
    [seen] = [notice.seen for notice in receiver.taken if isinstance(notice.seen, SeenRefund)]
    assert seen == await provider.look_refund(wish.refund_id, made.ref)
    assert seen.state == ends


async def test_a_refund_of_such_an_amount_is_refused(provider: Provider, browser: httpx.AsyncClient) -> None:
    attempt = an_attempt()
    opened = await provider.open(attempt)
    await chose(browser, opened, "pay")
    with pytest.raises(ProviderRefused):
        await provider.refund(a_wish(attempt, opened, 1073))
    wish = a_wish(attempt, opened, 1000)
    await provider.refund(wish)
    with pytest.raises(ProviderRefused):
        await provider.refund(msgspec.structs.replace(wish, amount=900))


async def test_refunds_of_one_payment_take_turns(provider: Provider, browser: httpx.AsyncClient) -> None:

    attempt = an_attempt()
    opened = await provider.open(attempt)
    await chose(browser, opened, "pay")
    same, wishes = a_wish(attempt, opened, 1000), [a_wish(attempt, opened, 1000) for _ in range(6)]
    made = await asyncio.gather(
        *(provider.refund(wish) for wish in [same, same, *wishes]), return_exceptions=True
    )
    settled = [refund for refund in made if isinstance(refund, SeenRefund)]
    assert len({refund.ref for refund in settled}) == 4
    assert all(isinstance(refund, SeenRefund | ProviderRefused) for refund in made)


async def test_nobody_pays_what_is_closed(browser: httpx.AsyncClient, provider: Provider) -> None:
    opened = await provider.open(an_attempt())
    await provider.close(opened.ref)
    await chose(browser, opened, "pay")
    assert (await provider.look(opened.ref)).state == "closed"
    assert (await browser.get(path(opened) + "/check")).headers["location"] == path(opened)


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"outcome=steal",
        b"outcome=pay&webhooks=thrice",
        b"outcome=slow&seconds=0",
        b"outcome=slow&seconds=999999",
        b"outcome=pay&amount=1",
        b"\xff\xfe",
        b"&".join(b"a%d=1" % number for number in range(100)),
    ],
)
async def test_a_form_that_is_none_is_refused(
    browser: httpx.AsyncClient, provider: Provider, form: bytes
) -> None:
    opened = await provider.open(an_attempt())
    answer = await browser.post(path(opened), content=form)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert (await provider.look(opened.ref)).state == "open"


async def test_payments_that_are_none_are_not_found(browser: httpx.AsyncClient) -> None:
    for answer in (
        await browser.get("/sandbox/pay/sbx_000000000000"),
        await browser.post("/sandbox/pay/sbx_000000000000", data={"outcome": "pay"}),
        await browser.get("/sandbox/pay/sbx_000000000000/check"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "sandbox_payment_not_found")


async def test_what_the_page_shows_is_text_and_where_it_leads_is_the_web(
    browser: httpx.AsyncClient, provider: Provider
) -> None:
    attempt = an_attempt(
        description='<script>alert(1)</script>"',
        return_url="https://shop.test:8443/r?a=1&b='\"<x>\r\nSet-Cookie: a=b",
    )
    opened = await provider.open(attempt)
    page = await browser.get(path(opened))
    assert "<script" not in page.text
    answer = await chose(browser, opened, "cancel")
    assert "\n" not in answer.headers["location"] and "set-cookie" not in answer.headers
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert policy.endswith("form-action 'self' https://shop.test:8443")
    with pytest.raises(ProviderRefused):
        await provider.open(an_attempt(return_url="javascript:alert(1)"))


class _Controls(HTMLParser):
    """Fields, what labels them, scripts and styles of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fields: list[str | None] = []
        self.labelled: set[str | None] = set()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.attributes += given
        if tag in ("input", "select"):
            self.fields.append(given.get("id"))
        if tag == "label":
            self.labelled.add(given.get("for"))


async def test_the_pages_need_no_script_and_every_field_has_a_label(
    browser: httpx.AsyncClient, provider: Provider
) -> None:
    opened = await provider.open(an_attempt())
    for address in (path(opened), path(opened) + "/check"):
        page = _Controls((await browser.get(address)).text)
        assert page.fields and set(page.fields) <= page.labelled
        assert not {"script", "style", "iframe", "img"} & set(page.tags)
        assert not [name for name in page.attributes if name == "style" or name.startswith("on")]
        assert page.tags.count("h1") == 1 and page.tags.count("main") == 1
    style = await browser.get("/sandbox/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert not re.search(r"url\(|@import", style.text)


async def test_a_payment_can_be_disputed_once(
    browser: httpx.AsyncClient, provider: Provider, db: Database
) -> None:
    opened = await provider.open(an_attempt())
    await chose(browser, opened, "dispute")
    assert not (await provider.look(opened.ref)).disputed
    await chose(browser, opened, "pay")
    for _ in range(2):
        await chose(browser, opened, "dispute")
    assert (await provider.look(opened.ref)).disputed
    kinds = await db.rows("select payload ->> 'type' as kind from jobs order by job_id")
    assert [row["kind"] for row in kinds] == ["payment.succeeded", "payment.disputed"]


async def test_without_the_sandbox_there_is_no_page(engine: Any) -> None:
    async with client_of(engine) as client:
        answer = await client.get("/sandbox/pay/sbx_000000000000")
    assert (answer.status_code, answer.json()["code"]) == (404, "sandbox_payment_not_found")


async def test_staff_see_nothing_of_the_books(settings: Settings, db: Database, provider: Provider) -> None:
    await provider.open(an_attempt())
    tenant = await open_database(settings, "holdfast_tenant")
    try:
        for table in ("sandbox_payments", "sandbox_refunds"):
            with pytest.raises(Exception, match="permission denied"):
                await tenant.value(f"select count(*) from {table}")
    finally:
        await tenant.close()


def test_events_say_who_it_is_and_nothing_of_a_person() -> None:
    assert {*books.PaymentTold.__struct_fields__, *books.RefundTold.__struct_fields__} == {
        "ref", "payment_id", "refund_id", "show_id", "amount", "currency", "state", "reason", "disputed",
    }  # fmt: skip
