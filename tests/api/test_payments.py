"""Paying over HTTP: by a bank of the test, and by the sandbox from the claim to the ticket."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from holdfast.engine import Engine
from holdfast.payments import Notice
from tests.bank import SIGNED, Bank, with_bank
from tests.conftest import client_of
from tests.till import PRICED

pytestmark = pytest.mark.anyio


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.fixture
async def buyer(engine: Engine, bank: Bank) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(with_bank(engine, bank)) as opened:
        yield opened


class Sale:
    """A held booking, and what its buyer asks."""

    def __init__(self, client: httpx.AsyncClient, booking: dict[str, Any]) -> None:
        self.client = client
        self.id = booking["id"]
        self.url = f"/v1/shows/{booking['show_id']}/bookings/{booking['id']}"
        self.secret = {"Authorization": f"Bearer {booking['secret']}"}

    async def pay(self, key: str | None = None, **body: Any) -> httpx.Response:
        headers = {**self.secret, **({"Idempotency-Key": key} if key else {})}
        return await self.client.post(f"{self.url}/pay", json=body, headers=headers)

    async def get(self, path: str = "") -> dict[str, Any]:
        answer = await self.client.get(self.url + path, headers=self.secret)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown


async def _sale(client: httpx.AsyncClient, show: dict[str, Any], **body: Any) -> Sale:
    wish = body or {"seats": ["A-1", "A-2"], "tier": "Adult"}
    answer = await client.post(f"/v1/shows/{show['id']}/bookings", json=wish)
    assert answer.status_code == 201, answer.text
    return Sale(client, answer.json())


async def _tell(
    client: httpx.AsyncClient, bank: Bank, ref: str, event_id: str = "e-1", **headers: str
) -> int:
    seen = bank.refs[ref]
    notice = Notice(
        event_id=event_id, kind="payment", show_id=seen.show_id, payment_id=seen.payment_id, seen=seen
    )
    answer = await client.post(
        "/v1/payments/bank/webhook", content=msgspec.json.encode(notice), headers=headers or SIGNED
    )
    return answer.status_code


async def test_a_buyer_pays_and_has_tickets(buyer: httpx.AsyncClient, bank: Bank, a_show: Any) -> None:
    sale = await _sale(buyer, await a_show(**PRICED))
    answer = await sale.pay(return_url="http://127.0.0.1:8000/back?a=1")
    assert answer.status_code == 201, answer.text
    payment = answer.json()
    ref = next(iter(bank.refs))
    assert (payment["state"], payment["amount"]) == ("OPEN", {"amount": 2000, "currency": "EUR"})
    assert (payment["url"], payment["method"], payment["fields"]) == (f"https://bank.test/{ref}", "GET", {})
    assert answer.headers["location"] == f"{sale.url}/payments/{payment['id']}"
    bank.becomes_paid(ref)
    for _ in range(3):
        assert await _tell(buyer, bank, ref) == 200
    assert (await sale.get())["status"] == "CONFIRMED"
    shown = await sale.get(f"/payments/{payment['id']}")
    assert (shown["state"], shown["url"], shown["settled_at"] is not None) == ("SUCCEEDED", None, True)
    assert [each["id"] for each in (await sale.get("/payments"))["payments"]] == [payment["id"]]
    assert [each["state"] for each in (await sale.get("/tickets"))["tickets"]] == ["valid", "valid"]


async def test_a_notice_needs_its_signature(buyer: httpx.AsyncClient, bank: Bank, a_show: Any) -> None:
    sale = await _sale(buyer, await a_show(**PRICED))
    await sale.pay()
    ref = next(iter(bank.refs))
    bank.becomes_paid(ref)
    assert await _tell(buyer, bank, ref, **{"bank-signature": "forged"}) == 400
    assert (await sale.get())["status"] == "PENDING"
    assert (await buyer.post("/v1/payments/nobody/webhook", content=b"{}")).json()[
        "code"
    ] == "unknown_provider"
    assert (await sale.pay()).status_code == 201


async def test_the_return_page_decides_nothing_and_finds_out(
    buyer: httpx.AsyncClient, bank: Bank, a_show: Any
) -> None:
    """Every webhook is lost."""
    sale = await _sale(buyer, await a_show(**PRICED))
    payment = (await sale.pay()).json()
    assert (await sale.get(f"/payments/{payment['id']}"))["state"] == "OPEN"
    bank.becomes_paid(next(iter(bank.refs)))
    states = [(await sale.get(f"/payments/{payment['id']}"))["state"] for _ in range(3)]
    assert states == ["OPEN"] * 3
    assert [what for what, _ in bank.calls] == ["open", "look"]


async def test_retries_under_one_key_are_one_attempt(
    buyer: httpx.AsyncClient, bank: Bank, a_show: Any
) -> None:
    sale, key = await _sale(buyer, await a_show(**PRICED)), str(uuid4())
    first = await sale.pay(key)
    bank.becomes_paid(next(iter(bank.refs)))
    await _tell(buyer, bank, next(iter(bank.refs)))
    again = await sale.pay(key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    other = await sale.pay(key, equal_places=True)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert (await sale.pay()).json()["code"] == "already_paid"


async def test_an_equal_request_meanwhile_is_told_so(
    buyer: httpx.AsyncClient, bank: Bank, a_show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale, key = await _sale(buyer, await a_show(**PRICED)), str(uuid4())
    asked, go, opened = asyncio.Event(), asyncio.Event(), bank.open

    async def slow(attempt: Any) -> Any:
        asked.set()
        await go.wait()
        return await opened(attempt)

    monkeypatch.setattr(bank, "open", slow)
    first = asyncio.create_task(sale.pay(key))
    await asked.wait()
    meanwhile = await sale.pay(key)
    assert (meanwhile.status_code, meanwhile.json()["code"]) == (409, "still_running")
    assert meanwhile.headers["retry-after"] == "1"
    go.set()
    payment = (await first).json()
    assert (await sale.pay(key)).json() == payment


async def test_two_tabs_at_once_have_one_attempt(buyer: httpx.AsyncClient, bank: Bank, a_show: Any) -> None:
    sale = await _sale(buyer, await a_show(**PRICED))
    answers = await asyncio.gather(*(sale.pay(str(uuid4())) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(bank.refs) == 1


async def test_a_provider_that_is_down_is_an_honest_refusal(
    buyer: httpx.AsyncClient, bank: Bank, a_show: Any
) -> None:
    sale, key = await _sale(buyer, await a_show(**PRICED)), str(uuid4())
    bank.down = True
    refused = await sale.pay(key)
    assert (refused.status_code, refused.json()["code"]) == (503, "provider_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert (await sale.get())["status"] == "PENDING"
    bank.down = False
    # A refusal is not remembered: the same key is a new try.
    assert (await sale.pay(key)).json()["state"] == "OPEN"
    assert len((await sale.get("/payments"))["payments"]) == 1


async def test_what_cannot_be_paid_says_why(
    buyer: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Any
) -> None:
    free = await _sale(buyer, await a_show(), quantity=1)
    assert (await free.pay()).json()["code"] == "nothing_to_pay"
    nobody = await _sale(client, await a_show(**PRICED))
    assert (await nobody.pay()).json()["code"] == "payments_off"
    sale = await _sale(buyer, await a_show(**PRICED))
    wrong = await sale.pay(provider="cash")
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (400, "/provider")
    stranger = await sale.pay(return_url="https://evil.test/")
    assert stranger.json()["errors"][0]["pointer"] == "/return_url"


async def test_payments_are_their_buyers_alone(
    buyer: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show(**PRICED)
    mine, other = await _sale(buyer, show), await _sale(buyer, show, seats=["B-1"], tier="Adult")
    payment = (await mine.pay()).json()
    path = f"/payments/{payment['id']}"
    for url in (mine.url + path, mine.url + "/payments"):
        assert (await buyer.get(url)).status_code == 404
        assert (await buyer.get(url, headers=other.secret)).status_code == 404
    assert (await buyer.post(f"{mine.url}/pay", json={}, headers=other.secret)).status_code == 404
    # Of another booking, even of one's own, it is none.
    assert (await buyer.get(other.url + path, headers=other.secret)).json()["code"] == "payment_not_found"
    assert (await owner.get(mine.url + path)).json()["state"] == "OPEN"


async def test_where_buyers_come_back_to_without_a_page_of_their_own(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/payments/return", params={"payment": str(uuid4()), "sandbox": "1"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
