"""One Idempotency-Key many times at once, and long after: one booking, and always the same answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from holdfast.engine import Engine
from tests.conftest import client_of, eventually
from tests.races import checker
from tests.races.checker import Promise
from tests.races.crowd import claimer_of, held_head, together

pytestmark = pytest.mark.anyio

TIMES = 50


@pytest.fixture
async def clients(engines: list[Engine]) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A caller of each engine."""
    async with client_of(engines[0]) as one, client_of(engines[1]) as two:
        yield [one, two]


async def _claim(client: httpx.AsyncClient, show: dict[str, Any], key: str, **body: Any) -> httpx.Response:
    return await client.post(f"/v1/shows/{show['id']}/bookings", json=body, headers={"Idempotency-Key": key})


def _what_stays(answer: httpx.Response) -> dict[str, Any]:
    """The parts of an answer that no passing of time changes."""
    told = answer.json()
    return {name: told[name] for name in ("id", "secret", "reference", "places", "total", "created_at")}


def _promise(show: dict[str, Any], told: dict[str, Any]) -> Promise:
    return Promise(UUID(show["id"]), UUID(told["id"]), told["status"], len(told["places"]))


async def test_fifty_equal_claims_at_once_are_one_booking(
    clients: list[httpx.AsyncClient], a_show: Any, database_url: str
) -> None:
    # Two seats and no more: whoever is not the same claim would be refused.
    show, key = await a_show(total_seats=2), uuid4().hex
    answers = await together(_claim(clients[i % 2], show, key, seats=["1", "2"]) for i in range(TIMES))
    assert {answer.status_code for answer in answers} == {201}, [a.text for a in answers]
    assert all(_what_stays(answer) == _what_stays(answers[0]) for answer in answers)
    assert {answer.headers["location"] for answer in answers} == {answers[0].headers["location"]}
    assert (
        await checker.violations(database_url, [_promise(show, answers[0].json())], all_promised=True) == []
    )


async def test_many_keys_many_times_each(
    clients: list[httpx.AsyncClient], a_show: Any, database_url: str
) -> None:
    """Twenty buyers, each asking five times at once, for thirty places: whoever has one hears of no other."""
    show = await a_show(areas=[{"name": "Floor", "kind": "standing", "capacity": 30}])
    keys = [uuid4().hex for _ in range(20)]
    wishes = [(key, 1 + number % 4) for number, key in enumerate(keys)] * 5
    answers = await together(
        _claim(clients[i % 2], show, key, quantity=quantity) for i, (key, quantity) in enumerate(wishes)
    )
    promises = []
    for key in keys:
        mine = [answer for answer, (other, _) in zip(answers, wishes, strict=True) if other == key]
        booked = [answer for answer in mine if answer.status_code == 201]
        assert all(answer.json()["code"] == "sold_out" for answer in mine if answer.status_code != 201)
        assert all(_what_stays(answer) == _what_stays(booked[0]) for answer in booked)
        promises += [_promise(show, answer.json()) for answer in booked[:1]]
    assert await checker.violations(database_url, promises, all_promised=True) == []


async def test_another_request_under_the_same_key_at_once(
    clients: list[httpx.AsyncClient], a_show: Any, database_url: str
) -> None:
    show, key = await a_show(), uuid4().hex
    bodies = [{"seats": ["1", "2"]}, {"seats": ["3"]}]
    # Each body by both processes, in both orders.
    plan = [(clients[i % 2], bodies[i // 2 % 2]) for i in range(TIMES)]
    answers = await together(_claim(client, show, key, **body) for client, body in plan)
    booked = [
        (body, answer) for (_, body), answer in zip(plan, answers, strict=True) if answer.status_code == 201
    ]
    refused = [
        (body, answer) for (_, body), answer in zip(plan, answers, strict=True) if answer.status_code != 201
    ]
    assert len({str(body) for body, _ in booked}) == 1
    assert len(booked) == sum(body == booked[0][0] for _, body in plan)
    assert all(_what_stays(answer) == _what_stays(booked[0][1]) for _, answer in booked)
    assert {(a.status_code, a.json()["code"]) for _, a in refused} == {(422, "idempotency_mismatch")}
    promise = _promise(show, booked[0][1].json())
    assert await checker.violations(database_url, [promise], all_promised=True) == []


async def test_a_refusal_is_not_remembered(clients: list[httpx.AsyncClient], a_show: Any) -> None:
    show, key = await a_show(total_seats=1), uuid4().hex
    other = (await _claim(clients[0], show, uuid4().hex, seats=["1"])).json()
    assert (await _claim(clients[0], show, key, seats=["1"])).json()["code"] == "seats_taken"
    url = f"/v1/shows/{show['id']}/bookings/{other['id']}/cancel"
    await clients[0].post(url, headers={"Authorization": f"Bearer {other['secret']}"})
    assert (await _claim(clients[1], show, key, seats=["1"])).status_code == 201


async def test_a_retry_finds_its_booking_whatever_has_changed_since(
    clients: list[httpx.AsyncClient], owner: httpx.AsyncClient, a_show: Any, database_url: str
) -> None:
    show, key, wish = (
        await a_show(
            areas=[{"name": "Floor", "kind": "standing", "capacity": 6}],
            tiers=[{"name": "Adult", "area": "Floor", "amount": 4500}],
            max_places_per_booking=4,
        ),
        uuid4().hex,
        {"quantity": 4, "tier": "Adult", "customer": {"email": "guest@example.org"}, "confirm": True},
    )
    first = await _claim(clients[0], show, key, **wish)
    assert first.status_code == 201, first.text

    async def retry(why: str) -> None:
        for client in clients:
            again = await _claim(client, show, key, **wish)
            assert again.status_code == 201, (why, again.text)
            assert _what_stays(again) == _what_stays(first), why

    async def edit(**changes: Any) -> None:
        answer = await owner.patch(f"/v1/shows/{show['id']}", json=changes)
        assert answer.status_code == 200, answer.text

    await retry("at once")
    assert (await _claim(clients[0], show, uuid4().hex, quantity=2, tier="Adult")).status_code == 201
    assert (await _claim(clients[0], show, uuid4().hex, quantity=1, tier="Adult")).json()[
        "code"
    ] == "sold_out"
    await retry("sold out")
    await edit(tiers=[{"id": 1, "amount": 9900}])
    await retry("the price has changed")
    await edit(max_places_per_booking=1, max_places_per_buyer=1)
    await retry("the limits were lowered")
    await edit(status="paused")
    await retry("the sale was paused")
    assert (await _claim(clients[0], show, uuid4().hex, quantity=1)).json()["code"] == "not_on_sale"
    await edit(status="closed", sale_closes_at="2020-01-01T00:00:00Z")
    await retry("the sale is over")
    booked = first.json()
    url = f"/v1/shows/{show['id']}/bookings/{booked['id']}/cancel"
    ended = await clients[1].post(url, headers={"Authorization": f"Bearer {booked['secret']}"})
    assert ended.json()["status"] == "FAILED"
    await retry("it was let go")
    # The wish names a tier that is no more; its booking is still its booking, and shows today's names.
    await edit(tiers=[{"id": 1, "name": "Grown-up"}])
    again = await _claim(clients[0], show, key, **wish)
    assert (again.status_code, again.json()["id"]) == (201, booked["id"])
    assert again.json()["places"][0] == {"area": "Floor", "seat": None, "tier": "Grown-up", "amount": 4500}
    assert await checker.violations(database_url, [_promise(show, booked)]) == []


async def test_the_leader_of_equal_claims_goes_away(
    engines: list[Engine], clients: list[httpx.AsyncClient], a_show: Any, database_url: str
) -> None:
    """The one that was sent to the database for all is cancelled; those who wait for the same still hear."""
    show, key = await a_show(total_seats=2), uuid4().hex
    async with held_head(database_url, show["id"]) as head:
        asking = [asyncio.create_task(_claim(clients[0], show, key, seats=["1"])) for _ in range(10)]

        async def all_wait_for_one() -> bool:
            return [len(wish.callers) for wish in claimer_of(engines[0])._by_key.values()] == [10]

        await eventually(all_wait_for_one)
        asking[0].cancel()
        await asyncio.wait(asking[:1])
        await head.let_go()
        answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    told = [answer for answer in answers[1:] if isinstance(answer, httpx.Response)]
    assert [answer.status_code for answer in told] == [201] * 9
    assert all(_what_stays(answer) == _what_stays(told[0]) for answer in told)
    assert await checker.violations(database_url, [_promise(show, told[0].json())], all_promised=True) == []
