"""Refunds over HTTP: who may want one, what everybody sees of it, and that it reaches the provider by the worker."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from holdfast import booking
from holdfast.engine import Engine, work
from holdfast.platform.ids import BookingId, ShowId
from tests.api.people import another_house, signed_in
from tests.conftest import client_of, eventually
from tests.races.checker import violations
from tests.till import PRICED, Till, pay

pytestmark = pytest.mark.anyio


@pytest.fixture
def till(engine: Engine) -> Till:
    """The only provider of the engine."""
    made = Till()
    engine.providers.clear()  # type: ignore[attr-defined]
    engine.providers["till"] = made  # type: ignore[index]
    return made


@pytest.fixture
async def paid(owner: httpx.AsyncClient, engine: Engine, till: Till, a_show: Any) -> dict[str, Any]:
    """Two seats for 20.00, paid at the till."""
    show = await a_show(**PRICED)
    answer = await owner.post(
        f"/v1/shows/{show['id']}/bookings", json={"seats": ["A-1", "A-2"], "customer": {"email": "g@example.org"}}
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    ids = ShowId(UUID(show["id"])), BookingId(UUID(made["id"]))
    found = await booking.booking_by_id(engine.db, *ids)
    await pay(engine.db, found)
    async with engine.db.transaction() as tx:
        await booking.confirm(tx, found.show_id, found.booking_id, settled=True)
    return made


@pytest.fixture
async def worker(engine: Engine) -> AsyncIterator[None]:
    """Somebody who does the jobs."""
    stopping = asyncio.Event()
    running = asyncio.create_task(work(engine, stopping))
    yield
    stopping.set()
    await running


def path_of(made: dict[str, Any], rest: str = "") -> str:
    return f"/v1/shows/{made['show_id']}/bookings/{made['id']}{rest}"


async def states(client: httpx.AsyncClient, made: dict[str, Any]) -> list[str]:
    answer = await client.get(path_of(made, "/tickets"))
    return [each["state"] for each in answer.json()["tickets"]]


async def is_settled(client: httpx.AsyncClient, made: dict[str, Any]) -> bool:
    answer = await client.get(path_of(made, "/refunds"))
    return all(each["state"] == "SETTLED" for each in answer.json()["refunds"])


async def test_a_part_goes_back_and_everybody_sees_how_it_is_doing(
    owner: httpx.AsyncClient,
    engine: Engine,
    till: Till,
    paid: dict[str, Any],
    worker: None,
    database_url: str,
) -> None:
    till.down = True
    answer = await owner.post(path_of(paid, "/refunds"), json={"numbers": [2], "note": "Ill"})
    assert answer.status_code == 201, answer.text
    wanted = answer.json()
    assert answer.headers["location"] == path_of(paid, f"/refunds/{wanted['id']}")
    assert (wanted["state"], wanted["amount"], wanted["numbers"], wanted["reason"], wanted["note"]) == (
        "WANTED", {"amount": 1000, "currency": "EUR"}, [2], "by_organizer", "Ill",
    )  # fmt: skip
    assert await states(owner, paid) == ["valid", "suspended"]

    async def has_a_problem() -> bool:
        shown = (await owner.get(answer.headers["location"])).json()
        return (shown["state"], shown["problem"]) == ("SENT", "The till is closed.")

    await eventually(has_a_problem)
    async with client_of(engine, Authorization=f"Bearer {paid['secret']}") as buyer:
        shown = (await buyer.get(path_of(paid, "/refunds"))).json()
        assert [each["state"] for each in shown["refunds"]] == ["SENT"]
        assert shown["refunds"][0]["problem"] is None, "what a provider says is for staff"
        assert (shown["refunded"]["amount"], shown["under_way"]["amount"]) == (0, 1000)
        till.down = False
        await eventually(lambda: is_settled(buyer, paid))
        shown = (await buyer.get(path_of(paid, "/refunds"))).json()
        assert (shown["refunded"]["amount"], shown["under_way"]["amount"]) == (1000, 0)
        left = (await buyer.get(path_of(paid))).json()
        assert (left["status"], [each.get("refunded") for each in left["places"]]) == (
            "CONFIRMED",
            [None, True],
        )
        assert await states(buyer, paid) == ["valid", "void"]
    assert till.sent == 1000
    assert [each for each in await violations(database_url) if "announce" not in each] == []


async def test_cancelling_what_was_paid_refunds_it(
    owner: httpx.AsyncClient, till: Till, paid: dict[str, Any], worker: None
) -> None:
    answer = await owner.post(path_of(paid, "/cancel"))
    assert (answer.status_code, answer.json()["status"]) == (200, "CONFIRMED"), (
        "until the money has gone back"
    )
    again = await owner.post(path_of(paid, "/cancel"))
    assert again.status_code == 200
    await eventually(lambda: is_settled(owner, paid))
    ended = (await owner.get(path_of(paid))).json()
    assert (ended["status"], ended["reason"]) == ("CANCELLED", "by_organizer")
    assert (till.sent, till.asked) == (2000, 1)


async def test_cancelling_a_show_refunds_everybody(
    owner: httpx.AsyncClient, till: Till, paid: dict[str, Any], worker: None
) -> None:
    answer = await owner.patch(f"/v1/shows/{paid['show_id']}", json={"status": "cancelled"})
    assert answer.status_code == 200, answer.text

    async def has_ended() -> bool:
        return bool((await owner.get(path_of(paid))).json()["reason"] == "show_cancelled")

    await eventually(has_ended)
    assert till.sent == 2000
    [refund] = (await owner.get(path_of(paid, "/refunds"))).json()["refunds"]
    assert (refund["reason"], refund["state"]) == ("show_cancelled", "SETTLED")


async def test_the_same_wish_under_the_same_key_is_one_refund(
    owner: httpx.AsyncClient, engine: Engine, paid: dict[str, Any]
) -> None:
    wishes = [
        await owner.post(path_of(paid, "/refunds"), json={"amount": 300}, headers={"Idempotency-Key": "k" * 22})
        for _ in range(3)
    ]  # fmt: skip
    assert len({each.json()["id"] for each in wishes}) == 1
    assert await engine.db.value("select refunded from payments") == 300


@pytest.mark.parametrize(
    "role, status", [("manager", 201), ("box_office", 403), ("door", 403), ("viewer", 403)]
)
async def test_owners_and_managers_give_money_back(
    engine: Engine, paid: dict[str, Any], role: Any, status: int
) -> None:
    async with signed_in(engine, role) as client:
        answer = await client.post(path_of(paid, "/refunds"), json={"all": True})
        assert answer.status_code == status, answer.text


async def test_the_box_office_cancels_no_money_away(engine: Engine, paid: dict[str, Any]) -> None:
    async with signed_in(engine, "box_office") as client:
        answer = await client.post(path_of(paid, "/cancel"))
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert (await client.get(path_of(paid))).json()["status"] == "CONFIRMED"


async def test_buyers_want_no_refund_by_themselves(engine: Engine, paid: dict[str, Any]) -> None:
    async with client_of(engine, Authorization=f"Bearer {paid['secret']}") as buyer:
        assert (await buyer.post(path_of(paid, "/refunds"), json={"all": True})).status_code == 401
        cancelled = await buyer.post(path_of(paid, "/cancel"))
        assert (cancelled.status_code, cancelled.json()["code"]) == (409, "not_cancellable")


async def test_of_another_house_nothing_is_there(
    owner: httpx.AsyncClient, engine: Engine, paid: dict[str, Any]
) -> None:
    wanted = (await owner.post(path_of(paid, "/refunds"), json={"amount": 5})).json()
    house = await another_house(engine)
    async with signed_in(engine, "owner", house) as stranger:
        for method, path in (
            ("GET", "/refunds"), ("GET", f"/refunds/{wanted['id']}"), ("POST", "/refunds"),
            ("POST", f"/refunds/{wanted['id']}/retry"),
        ):  # fmt: skip
            answer = await stranger.request(
                method, path_of(paid, path), json={"all": True} if path == "/refunds" and method == "POST" else None
            )  # fmt: skip
            assert (answer.status_code, answer.json()["code"]) == (404, "booking_not_found"), path


async def test_a_refund_is_found_by_its_own_booking_alone(
    owner: httpx.AsyncClient, paid: dict[str, Any]
) -> None:
    wanted = (await owner.post(path_of(paid, "/refunds"), json={"amount": 5})).json()
    other = (await owner.post(f"/v1/shows/{paid['show_id']}/bookings", json={"seats": ["B-1"]})).json()
    for method, rest in (("GET", ""), ("POST", "/retry")):
        answer = await owner.request(method, path_of(other, f"/refunds/{wanted['id']}{rest}"))
        assert (answer.status_code, answer.json()["code"]) == (404, "refund_not_found")


async def test_what_failed_is_tried_again_over_http(
    owner: httpx.AsyncClient, till: Till, paid: dict[str, Any], worker: None
) -> None:
    till.refusal = "Insufficient funds."
    wanted = (await owner.post(path_of(paid, "/refunds"), json={"all": True, "release": False})).json()

    async def has_failed() -> bool:
        shown = (await owner.get(path_of(paid, f"/refunds/{wanted['id']}"))).json()
        return (shown["state"], shown["problem"]) == ("FAILED", "Insufficient funds.")

    await eventually(has_failed)
    assert await states(owner, paid) == ["valid", "valid"]
    till.refusal = None
    again = await owner.post(path_of(paid, f"/refunds/{wanted['id']}/retry"))
    assert (again.status_code, again.json()["release"]) == (201, False)
    twice = await owner.post(path_of(paid, f"/refunds/{wanted['id']}/retry"))
    assert (twice.status_code, twice.json()["retried_as"]) == (409, again.json()["id"])

    async def has_ended() -> bool:
        return bool((await owner.get(path_of(paid))).json()["status"] == "CANCELLED")

    await eventually(has_ended)
    blocks = (await owner.get(f"/v1/shows/{paid['show_id']}/blocks")).json()["blocks"]
    assert [each["seats"] for each in blocks] == [["A-1", "A-2"]]
    assert till.sent == 2000


async def test_pages_follow_one_another(owner: httpx.AsyncClient, paid: dict[str, Any]) -> None:
    made = [
        (await owner.post(path_of(paid, "/refunds"), json={"amount": amount})).json()["id"] for amount in (1, 2, 3)
    ]  # fmt: skip
    first = (await owner.get(path_of(paid, "/refunds?limit=2"))).json()
    second = (await owner.get(path_of(paid, f"/refunds?limit=2&cursor={first['next']}"))).json()
    assert [each["id"] for each in first["refunds"] + second["refunds"]] == made
    assert second["next"] is None
    assert first["under_way"]["amount"] == second["under_way"]["amount"] == 6


@pytest.mark.slow
async def test_the_sandbox_refunds_as_its_amounts_say(
    open_another: Any, owner: httpx.AsyncClient, engine: Engine, a_show: Any, database_url: str
) -> None:
    """The built-in provider, with the very jobs of a worker: one refund settles, one later, one fails, one is refused."""
    show = await a_show(**PRICED)
    made = (
        await owner.post(f"/v1/shows/{show['id']}/bookings", json={"quantity": 10, "area": "Floor"})
    ).json()
    ids = ShowId(UUID(made["show_id"])), BookingId(UUID(made["id"]))
    paid = await pay(engine.db, await booking.booking_by_id(engine.db, *ids))
    async with engine.db.transaction() as tx:
        await booking.confirm(tx, *ids, settled=True)
    await engine.db.execute("update payments set provider = 'sandbox'")
    await engine.db.execute(
        """insert into sandbox_payments (ref, payment_id, show_id, booking_id, reference, amount, currency, description,
                                         return_url, state)
           values ($1, $2, $3, $4, 'R', $5, 'EUR', 'Hamlet', 'https://holdfast.test/', 'succeeded')""",
        paid.ref, paid.payment_id, paid.show_id, paid.booking_id, paid.amount,
    )  # fmt: skip
    await engine.db.execute("update sandbox_payments set webhooks = 'never'")
    expected = {570: "SETTLED", 571: "SETTLED", 572: "FAILED", 573: "FAILED"}
    for amount in expected:
        answer = await owner.post(path_of(made, "/refunds"), json={"amount": amount})
        assert answer.status_code == 201, answer.text

    async def states_of() -> dict[int, str]:
        shown = (await owner.get(path_of(made, "/refunds"))).json()["refunds"]
        return {each["amount"]["amount"]: each["state"] for each in shown}

    async def is_over() -> bool:
        return await states_of() == expected

    async with open_another(payments="sandbox", payments_test="on") as working:
        stopping = asyncio.Event()
        running = asyncio.create_task(work(working, stopping))
        try:
            await eventually(is_over, tries=2000)
        finally:
            stopping.set()
            await running
    assert await engine.db.value("select refunded from payments") == 570 + 571
    assert [each for each in await violations(database_url) if "announce" not in each] == []
