"""The programs in `examples/` beside a Holdfast that runs: what they are told, what they keep, and that nothing is told twice."""

import importlib.util
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.running import Up, environment, until
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

EXAMPLES = Path(__file__).parents[2] / "examples"
BUYER = {"email": "grace@example.org", "name": "Grace"}
PRICE = 2550
SOON = {"start_time": "2030-12-24T20:00:00Z"}
BEGUN = {"start_time": "2020-12-24T20:00:00Z"}


@pytest.fixture
def up(folder: Path) -> Iterator[Up]:
    """A Holdfast that may send to this machine."""
    with Up(folder, "--no-demo", environ=environment(HOLDFAST_EGRESS="any")) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def owner(up: Up) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=up.url, headers=up.sign_in(), timeout=30) as client:
        yield client


def made(owner: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = owner.post(path, json=body)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def booked(owner: httpx.Client, show: dict[str, Any], seat: str) -> str:
    bookings = f"/v1/shows/{show['id']}/bookings"
    booking_id = str(made(owner, bookings, seats=[seat], customer=BUYER)["id"])
    # Paid at the till.
    assert owner.post(f"{bookings}/{booking_id}/confirm").status_code == 200
    return booking_id


def surroundings(up: Up, owner: httpx.Client, *scopes: str, **variables: str) -> dict[str, str]:
    """What a program is started with: none of Holdfast's own code, and a key with these scopes."""
    key = made(owner, "/v1/keys", name="Examples", scopes=list(scopes))["key"]
    return {"PATH": os.environ["PATH"], "API_URL": up.url, "API_KEY": key, **variables}


def a_show(owner: httpx.Client) -> dict[str, Any]:
    tier = {"name": "Adult", "area": "Main", "amount": PRICE}
    return made(owner, "/v1/shows", name="Hamlet", **SOON, currency="EUR", total_seats=9, tiers=[tier])


def facts_in_the_feed(owner: httpx.Client, count: int) -> bool:
    page = owner.get("/v1/facts", params={"kinds": ["booking.confirmed", "booking.cancelled"]}).json()
    return len(page["facts"]) == count


def test_loyalty_counts_what_was_paid_once_however_often_it_is_told(
    up: Up, owner: httpx.Client, folder: Path
) -> None:
    environ = surroundings(up, owner, "facts.read", "bookings.read")
    points = folder / "points.db"

    def said() -> str:
        ran = subprocess.run(
            [sys.executable, EXAMPLES / "loyalty.py", points, "--once"],
            env=environ, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return ran.stdout

    assert said() == ""
    show = a_show(owner)
    kept, called_off = booked(owner, show, "1"), booked(owner, show, "2")
    until(lambda: facts_in_the_feed(owner, 2), "two facts")
    buyer, total = said().split()
    assert total == str(2 * (PRICE // 100))
    assert "grace" not in buyer
    assert owner.post(f"/v1/shows/{show['id']}/bookings/{called_off}/cancel").status_code == 200
    until(lambda: facts_in_the_feed(owner, 3), "three facts")
    assert said().split() == [buyer, str(PRICE // 100)]
    # Killed before it wrote its place down, it reads the same facts again.
    with closing(sqlite3.connect(points)) as db, db:
        db.execute("delete from place")
    assert said().split() == [buyer, str(PRICE // 100)]
    with closing(sqlite3.connect(points)) as db:
        rows = db.execute("select booking_id, points from points order by points desc").fetchall()
    assert rows == [(kept, PRICE // 100), (called_off, 0)]


def test_loyalty_takes_back_what_was_given_back() -> None:
    spec = importlib.util.spec_from_file_location("loyalty", EXAMPLES / "loyalty.py")
    assert spec is not None and spec.loader is not None
    loyalty = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loyalty)
    booking = {"status": "CONFIRMED", "total": {"amount": 5100}, "customer": BUYER}
    pages = [
        {"refunds": [{"state": "SETTLED", "reason": "asked", "amount": {"amount": 2550}}], "next": "1"},
        {"refunds": [{"state": "SENT", "reason": "asked", "amount": {"amount": 100}},
                     {"state": "SETTLED", "reason": "second_payment", "amount": {"amount": 5100}}], "next": None},
    ]  # fmt: skip

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/shows/1/bookings/2/refunds"
        return httpx.Response(200, json=pages[int(request.url.params.get("cursor", 0))])

    with httpx.Client(base_url="http://holdfast.test", transport=httpx.MockTransport(answer)) as api:
        refunds = list(loyalty.refunds_of(api, "shows/1/bookings/2"))
    assert loyalty.points_of(booking, refunds) == 25
    assert loyalty.points_of(booking, []) == 51
    assert loyalty.points_of({**booking, "status": "CANCELLED"}, []) == 0


def test_reviews_are_for_those_whose_show_has_begun(up: Up, owner: httpx.Client, folder: Path) -> None:
    show = a_show(owner)
    missed = booked(owner, show, "1")
    until(lambda: facts_in_the_feed(owner, 1), "a fact")
    port = free_port()
    webhook = made(owner, "/v1/webhooks", url=f"http://127.0.0.1:{port}/hooks")
    environ = surroundings(up, owner, "facts.read", WEBHOOK_SECRET=webhook["secret"])
    program = [sys.executable, str(EXAMPLES / "reviews.py"), str(folder / "reviews.db"), "--port", str(port)]
    with subprocess.Popen(program, env=environ, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline().startswith("http://")
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as site:
                _review(up, owner, site, show, webhook, missed)
        finally:
            running.terminate()


def _review(
    up: Up,
    owner: httpx.Client,
    site: httpx.Client,
    show: dict[str, Any],
    webhook: dict[str, Any],
    missed: str,
) -> None:
    def review(booking: str, stars: int = 5) -> int:
        body = {"booking_id": booking, "stars": stars, "text": "To be!"}
        return site.post("/reviews", json=body).status_code

    told, called_off = booked(owner, show, "2"), booked(owner, show, "3")
    assert owner.post(f"/v1/shows/{show['id']}/bookings/{called_off}/cancel").status_code == 200

    def all_arrived() -> bool:
        path = f"/v1/webhooks/{webhook['id']}/deliveries"
        page = owner.get(path, params={"state": "delivered"}).json()["deliveries"]
        return len([each for each in page if each["kind"].startswith("booking.")]) >= 3

    until(all_arrived, "every delivery")
    assert [review(each) for each in (missed, told, "unheard-of")] == [409, 409, 409], "it has not begun"
    assert owner.patch(f"/v1/shows/{show['id']}", json=BEGUN).status_code == 200
    assert [review(each) for each in (missed, told, called_off, missed)] == [201, 201, 409, 409]
    assert review(told, stars=6) == 409
    assert len(site.get("/reviews").json()["reviews"]) == 2
    # Nobody else can tell it anything.
    forged = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    assert site.post("/hooks", content=b"{}", headers=forged).status_code == 400
    assert up.answers()
