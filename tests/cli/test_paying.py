"""From a shell to a ticket in hand: `up`, and then what `docs/guide/payments.md` says, with real webhooks."""

import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cli.running import Up, new_folder, until

pytestmark = pytest.mark.slow

PRICED = {
    "areas": [{"name": "Stalls", "kind": "seated", "rows": [{"label": "A", "seats": 9}]}],
    "tiers": [{"area": "Stalls", "name": "Adult", "amount": 4500}],
    "hold_seconds": 15,
    "hold_seconds_max": 15,
}


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    folder = new_folder()
    try:
        with Up(folder, "--no-demo") as running:
            yield running.wait_until_ready()
            assert running.complaints() == []
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def show(up: Up) -> dict[str, Any]:
    return up.make_show(**PRICED)


class Buyer:
    """Somebody at a shell."""

    def __init__(self, up: Up, show: dict[str, Any], seat: str) -> None:
        self._up, self._headers = up, dict[str, str]()
        held = self._ask("POST", f"/v1/shows/{show['id']}/bookings", {"seats": [seat], "tier": "Adult"})
        self._headers["Authorization"] = f"Bearer {held['secret']}"
        self.url = f"/v1/shows/{show['id']}/bookings/{held['id']}"

    def pay(self, **chosen: Any) -> str:
        """Begins to pay, and sends the form of the sandbox's page; the path of the payment."""
        payment = self._ask("POST", f"{self.url}/pay", {})
        answer = httpx.post(payment["url"], data=chosen, timeout=30)
        assert answer.status_code == 303, answer.text
        return f"{self.url}/payments/{payment['id']}"

    def booking(self) -> dict[str, Any]:
        return self._ask("GET", self.url)

    def becomes(self, status: str, reason: str | None = None) -> None:
        until(lambda: (self.booking()["status"], self.booking()["reason"]) == (status, reason), status)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self._up.url}{path}", headers=self._headers, timeout=30)

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = httpx.request(method, f"{self._up.url}{path}", json=body, headers=self._headers, timeout=30)
        assert answer.is_success, answer.text
        shown: dict[str, Any] = answer.json()
        return shown


def test_a_payment_becomes_tickets_by_its_webhook_alone(up: Up, show: dict[str, Any]) -> None:
    buyer = Buyer(up, show, "1")
    buyer.pay(outcome="pay", webhooks="twice")
    buyer.becomes("CONFIRMED")
    paper = buyer.get(f"{buyer.url}/tickets.pdf")
    assert (paper.status_code, paper.content[:5]) == (200, b"%PDF-")


def test_a_return_page_finds_out_when_no_webhook_comes(up: Up, show: dict[str, Any]) -> None:
    buyer = Buyer(up, show, "2")
    payment = buyer.pay(outcome="pay", webhooks="never")
    until(lambda: buyer.get(payment).json()["state"] == "SUCCEEDED", "the provider's word")
    assert buyer.booking()["status"] == "CONFIRMED"


def test_a_decline_and_then_another_try(up: Up, show: dict[str, Any]) -> None:
    buyer = Buyer(up, show, "3")
    declined = buyer.pay(outcome="decline", reason="insufficient_funds")
    until(lambda: buyer.get(declined).json()["state"] == "DECLINED", "the decline")
    assert buyer.get(declined).json()["reason"] == "insufficient_funds"
    buyer.pay(outcome="pay")
    buyer.becomes("CONFIRMED")


def test_money_that_comes_after_the_hold_takes_the_place_again(up: Up, show: dict[str, Any]) -> None:
    buyer = Buyer(up, show, "5")
    buyer.pay(outcome="late", seconds=20)
    buyer.becomes("FAILED", "expired")
    buyer.becomes("CONFIRMED")


def test_late_money_goes_back_when_the_place_is_sold(up: Up, show: dict[str, Any]) -> None:
    buyer = Buyer(up, show, "7")
    payment = buyer.pay(outcome="late", seconds=20)
    buyer.becomes("FAILED", "expired")
    Buyer(up, show, "7").pay(outcome="pay")
    until(lambda: buyer.get(payment).json()["state"] == "SUCCEEDED", "the money")
    until(
        lambda: (
            [each["state"] for each in buyer.get(f"{buyer.url}/refunds").json()["refunds"]] == ["SETTLED"]
        ),
        "the money's return",
    )
    assert buyer.booking()["status"] == "FAILED"
