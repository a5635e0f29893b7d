"""House seats: places that the organizer keeps off sale."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from holdfast import booking
from holdfast.engine import Engine
from tests.api.people import another_house, signed_in

pytestmark = pytest.mark.anyio

Show = dict[str, Any]
MakeShow = Callable[..., Awaitable[Show]]

AREAS = [
    {"name": "Stalls", "kind": "seated", "rows": [{"label": "A", "seats": 6}, {"label": "B", "seats": 6}]},
    {"name": "Circle", "kind": "seated", "rows": [{"label": "A", "seats": 4}, {"label": "C", "seats": 4}]},
    {"name": "Floor", "kind": "standing", "capacity": 10},
]


@pytest.fixture
async def show(a_show: MakeShow) -> Show:
    return await a_show(areas=AREAS)


def _url(show: Show, *rest: str) -> str:
    return "/".join([f"/v1/shows/{show['id']}/blocks", *rest])


async def _block(client: httpx.AsyncClient, show: Show, **body: Any) -> httpx.Response:
    return await client.post(_url(show), json={"reason": "House seats"} | body)


async def _claim(client: httpx.AsyncClient, show: Show, **body: Any) -> httpx.Response:
    return await client.post(f"/v1/shows/{show['id']}/bookings", json=body)


async def _counts(client: httpx.AsyncClient, show: Show) -> tuple[int, int]:
    shown = (await client.get(f"/v1/shows/{show['id']}")).json()
    return shown["reserved_seats"], shown["available_seats"]


async def test_blocked_seats_are_not_for_sale_until_they_are_released(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, show: Show
) -> None:
    assert await _counts(client, show) == (0, 30)
    answer = await _block(owner, show, seats=["B-1", "C-4"], reason="For the press")
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == _url(show, made["id"])
    expected = {
        "reason": "For the press", "seats": ["B-1", "C-4"], "area": None, "quantity": 2, "release_at": None,
        "show_id": show["id"],
    }  # fmt: skip
    assert {name: made[name] for name in expected} == expected
    assert (await owner.get(answer.headers["location"])).json() == made
    # Blocked places are neither free nor reserved, and that at once.
    assert await _counts(client, show) == (0, 28)
    refused = await _claim(client, show, seats=["B-1", "B-2"])
    assert (refused.json()["code"], refused.json()["seats"]) == ("seats_taken", ["B-1"])

    assert (await owner.delete(_url(show, made["id"]))).status_code == 204
    assert await _counts(client, show) == (0, 30)
    gone = await owner.delete(_url(show, made["id"]))
    assert (gone.status_code, gone.json()["code"]) == (404, "block_not_found")
    assert (await owner.get(_url(show, made["id"]))).json()["code"] == "block_not_found"
    assert (await _claim(client, show, seats=["B-1", "C-4"])).status_code == 201


async def test_a_block_takes_free_places_only(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, show: Show
) -> None:
    assert (await _claim(client, show, seats=["B-1"], confirm=True)).status_code == 201
    assert (await _claim(client, show, seats=["B-2"])).status_code == 201
    assert (await _block(owner, show, seats=["B-3"])).status_code == 201
    refused = await _block(owner, show, seats=["B-1", "B-2", "B-3", "B-4"])
    assert (refused.status_code, refused.json()["code"]) == (409, "seats_taken")
    assert refused.json()["seats"] == ["B-1", "B-2", "B-3"]
    assert (await _claim(client, show, area="Floor", quantity=6)).status_code == 201
    too_many = await _block(owner, show, area="Floor", quantity=5)
    assert (too_many.status_code, too_many.json()["code"]) == (409, "sold_out")
    assert (await _block(owner, show, area="Floor", quantity=1_000_000)).json()["code"] == "sold_out"
    assert (await _block(owner, show, area="Floor", quantity=4)).status_code == 201
    assert (await _claim(client, show, area="Floor", quantity=1)).json()["code"] == "sold_out"
    assert len((await owner.get(_url(show))).json()["blocks"]) == 2


async def test_a_block_and_a_claim_never_share_a_seat(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, show: Show
) -> None:
    for number in range(1, 7):
        seat = f"B-{number}"
        blocked, claimed = await asyncio.gather(
            _block(owner, show, seats=[seat]), _claim(client, show, seats=[seat])
        )
        assert sorted([blocked.status_code, claimed.status_code]) == [201, 409], seat


async def test_places_of_a_standing_area_are_blocked_by_number(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, show: Show
) -> None:
    made = (await _block(owner, show, area="Floor", quantity=4)).json()
    assert (made["area"], made["quantity"], made["seats"]) == ("Floor", 4, [])
    assert await _counts(client, show) == (0, 26)
    assert (await _claim(client, show, area="Floor", quantity=7)).json()["code"] == "sold_out"
    assert (await _claim(client, show, area="Floor", quantity=6)).status_code == 201
    assert (await owner.delete(_url(show, made["id"]))).status_code == 204
    assert (await _claim(client, show, area="Floor", quantity=4)).status_code == 201


async def test_an_area_says_which_of_two_seats_is_meant(owner: httpx.AsyncClient, show: Show) -> None:
    made = await _block(owner, show, seats=["A-1", "Circle:A-2", "C-1"], area="Circle")
    assert made.status_code == 201, made.text
    assert made.json()["seats"] == ["Circle:A-1", "Circle:A-2", "C-1"]
    elsewhere = await _block(owner, show, seats=["A-3", "B-1"], area="Circle")
    assert elsewhere.status_code == 400
    assert elsewhere.json()["errors"][0]["pointer"] == "/seats/1"


async def test_what_is_wrong_with_a_block_is_named(owner: httpx.AsyncClient, show: Show) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "/seats"),
        ({"seats": ["B-1"], "quantity": 1}, "/seats"),
        ({"seats": []}, "/seats"),
        ({"seats": ["B-1", "B-2", "B-1"]}, "/seats/2"),
        ({"seats": ["B-1", "Stalls:B-1"]}, "/seats/1"),
        ({"seats": "B-1"}, "/seats"),
        ({"seats": ["B-1"], "area": "Moon"}, "/area"),
        ({"quantity": 2}, "/area"),
        ({"quantity": 2, "area": "Stalls"}, "/area"),
        ({"quantity": 2, "area": "Moon"}, "/area"),
        ({"quantity": 2, "area": "x" * 101}, "/area"),
        ({"quantity": 0, "area": "Floor"}, "/quantity"),
        ({"quantity": 1_000_001, "area": "Floor"}, "/quantity"),
        ({"quantity": 1, "area": "Floor", "reason": ""}, "/reason"),
        ({"quantity": 1, "area": "Floor", "reason": "a\u0007b"}, "/reason"),
        ({"quantity": 1, "area": "Floor", "release_at": "2030-01-01T00:00:00"}, "/release_at"),
        ({"quantity": 1, "area": "Floor", "note": "x"}, "/note"),
    ]
    for body, pointer in wrong:
        answer = await _block(owner, show, **body)
        assert answer.status_code == 400, (body, answer.text)
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer], body
    unknown = await _block(owner, show, seats=["B-1", "A-1", "Z-9"])
    assert (unknown.status_code, unknown.json()["code"]) == (400, "unknown_seat")
    assert unknown.json()["seats"] == ["A-1", "Z-9"]
    assert (await owner.get(_url(show))).json() == {"blocks": [], "next": None}


async def test_blocks_come_in_pages(owner: httpx.AsyncClient, show: Show) -> None:
    made = [(await _block(owner, show, area="Floor", quantity=1)).json()["id"] for _ in range(5)]
    found, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await owner.get(_url(show), params=query)).json()
        found += [block["id"] for block in page["blocks"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == made


async def test_a_block_is_released_when_its_time_has_come(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, engine: Engine, show: Show
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    later = (await _block(owner, show, seats=["B-1"], release_at=soon.isoformat())).json()
    due = (await _block(owner, show, seats=["B-2"], release_at="2020-01-01T00:00:00+00:00")).json()
    forever = (await _block(owner, show, area="Floor", quantity=2)).json()
    assert due["release_at"] == "2020-01-01T00:00:00.000Z"
    assert await booking.release_due(engine.office) == 1
    assert await booking.release_due(engine.office) == 0
    left = [block["id"] for block in (await owner.get(_url(show))).json()["blocks"]]
    assert left == [later["id"], forever["id"]]
    assert (await _claim(client, show, seats=["B-2"])).status_code == 201
    assert (await _claim(client, show, seats=["B-1"])).json()["code"] == "seats_taken"


async def test_a_block_that_cannot_be_released_holds_up_no_other(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, engine: Engine, show: Show, a_show: MakeShow
) -> None:
    broken = await a_show()
    await _block(owner, broken, seats=["1"], release_at="2019-01-01T00:00:00+00:00")
    await _block(owner, show, seats=["B-2"], release_at="2020-01-01T00:00:00+00:00")
    await engine.db.execute("update stock set blocked = 0 where show_id = $1", broken["id"])
    assert await booking.release_due(engine.office) == 1
    assert (await _claim(client, show, seats=["B-2"])).status_code == 201


async def test_blocks_are_for_those_who_sell(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, engine: Engine, show: Show
) -> None:
    made = (await _block(owner, show, seats=["B-1"])).json()
    calls = [("GET", _url(show)), ("GET", _url(show, made["id"])), ("DELETE", _url(show, made["id"]))]
    assert (await _block(client, show, seats=["B-2"])).status_code == 401
    for method, url in calls:
        assert (await client.request(method, url)).status_code == 401
    for role in ("viewer", "door"):
        async with signed_in(engine, role) as member:
            assert (await _block(member, show, seats=["B-2"])).status_code == 403
            for method, url in calls:
                assert (await member.request(method, url)).status_code == 403
    async with signed_in(engine, organizer_id=await another_house(engine)) as stranger:
        assert (await _block(stranger, show, seats=["B-2"])).json()["code"] == "show_not_found"
        for method, url in calls:
            assert (await stranger.request(method, url)).json()["code"] == "show_not_found"
    assert (await owner.post(f"/v1/shows/{uuid4()}/blocks", json={})).status_code in (400, 404)
    async with signed_in(engine, "box_office") as member:
        assert (await _block(member, show, seats=["B-2"])).status_code == 201
        assert (await member.delete(_url(show, made["id"]))).status_code == 204


async def test_a_block_of_one_show_is_not_found_in_another(
    owner: httpx.AsyncClient, show: Show, a_show: MakeShow
) -> None:
    made = (await _block(owner, show, seats=["B-1"])).json()
    other = await a_show(areas=AREAS)
    assert (await owner.delete(_url(other, made["id"]))).json()["code"] == "block_not_found"
    assert len((await owner.get(_url(show))).json()["blocks"]) == 1


async def test_a_block_is_made_once_per_key(owner: httpx.AsyncClient, show: Show) -> None:
    body = {"area": "Floor", "quantity": 3, "reason": "Guests"}
    headers = {"Idempotency-Key": "one-and-the-same"}
    answers = [await owner.post(_url(show), json=body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert await _counts(owner, show) == (0, 27)
