"""Venues and layouts over HTTP."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from holdfast.engine import Engine
from tests.api.people import another_house, signed_in

pytestmark = pytest.mark.anyio

GLOBE = {"name": "Globe", "timezone": "Europe/London", "address": "21 New Globe Walk", "city": "London"}
YARD = {"name": "Yard", "kind": "standing", "capacity": 700}
GALLERY = {
    "name": "Gallery",
    "kind": "seated",
    "rows": [
        {"label": "A", "seats": 20, "gap_after": [5, 15]},
        {"label": "B", "numbers": ["1", "1a"], "positions": [[0.0, 9.0], [0.55, 9.5]]},
    ],
}
ROUND = {"name": "Round", "areas": [YARD, GALLERY], "focal": [0.0, 1.5]}


async def _a_venue(owner: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await owner.post("/v1/venues", json=GLOBE | changes)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def _a_layout(owner: httpx.AsyncClient, venue: dict[str, Any], **changes: Any) -> dict[str, Any]:
    answer = await owner.post(f"/v1/venues/{venue['id']}/layouts", json=ROUND | changes)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def _pointers(answer: httpx.Response) -> list[str]:
    return [error["pointer"] for error in answer.json()["errors"]]


async def test_a_venue_is_made_read_and_edited(owner: httpx.AsyncClient) -> None:
    answer = await owner.post("/v1/venues", json=GLOBE)
    venue = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/venues/{venue['id']}"
    assert answer.headers["etag"] == '"1"'
    assert {name: venue[name] for name in (*GLOBE, "version")} == GLOBE | {"version": 1}
    url = answer.headers["location"]
    read = await owner.get(url)
    assert (read.json(), read.headers["etag"]) == (venue, '"1"')
    assert (await owner.get(url, headers={"If-None-Match": '"1"'})).status_code == 304

    edited = await owner.put(url, json={"name": "The Globe", "timezone": "Europe/Paris"})
    assert (edited.status_code, edited.headers["etag"]) == (200, '"2"')
    expected = {"name": "The Globe", "timezone": "Europe/Paris", "address": "", "city": "", "version": 2}
    assert {name: edited.json()[name] for name in expected} == expected
    assert (await owner.get(url)).json() == edited.json()


async def test_an_edit_names_the_version_that_it_means(owner: httpx.AsyncClient) -> None:
    url = f"/v1/venues/{(await _a_venue(owner))['id']}"

    async def put(match: str) -> httpx.Response:
        return await owner.put(url, json=GLOBE, headers={"If-Match": match})

    assert (await put('"1"')).status_code == 200
    late = await put('"1"')
    assert (late.status_code, late.json()["code"]) == (412, "version_mismatch")
    assert (await put("*")).json()["version"] == 3
    assert _pointers(await put('W/"3"')) == ["/If-Match"]
    missing = await owner.put(f"/v1/venues/{uuid4()}", json=GLOBE, headers={"If-Match": '"1"'})
    assert (missing.status_code, missing.json()["code"]) == (404, "venue_not_found")
    answers = await asyncio.gather(*(put('"3"') for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]


async def test_what_is_wrong_with_a_venue_is_named(owner: httpx.AsyncClient) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"name": ""}, "/name"),
        ({"name": "x" * 256}, "/name"),
        ({"name": "Glo\tbe"}, "/name"),
        ({"name": " Globe"}, "/name"),
        ({"name": "Glo\u202ebe"}, "/name"),
        ({"name": "\u200d"}, "/name"),
        ({"timezone": ""}, "/timezone"),
        ({"timezone": "Europe/Atlantis"}, "/timezone"),
        # Names of files that a machine has beside the zones: they mean something else on each, or count leap seconds.
        ({"timezone": "localtime"}, "/timezone"),
        ({"timezone": "right/Europe/Berlin"}, "/timezone"),
        ({"address": "x" * 1001}, "/address"),
        ({"address": None}, "/address"),
        ({"address": "a\0b"}, "/address"),
        ({"seats": 5}, "/seats"),
    ]
    url = f"/v1/venues/{(await _a_venue(owner))['id']}"
    for change, pointer in wrong:
        for method, where in (("POST", "/v1/venues"), ("PUT", url)):
            answer = await owner.request(method, where, json=GLOBE | change)
            assert (answer.status_code, _pointers(answer)) == (400, [pointer]), (change, answer.text)
    assert len((await owner.get("/v1/venues")).json()["venues"]) == 1


async def test_a_name_may_be_in_any_script(owner: httpx.AsyncClient) -> None:
    # Joiners stand in Persian words and in emoji of families; the last emoji is younger than this Python's tables.
    for name in (
        "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "Rang\xa01",
        "\U0001fae8",
    ):
        venue = await _a_venue(owner, name=name)
        assert (await owner.get(f"/v1/venues/{venue['id']}")).json()["name"] == name


async def test_venues_and_layouts_come_in_pages(owner: httpx.AsyncClient) -> None:
    venues = [(await _a_venue(owner, name=f"Venue {i}"))["id"] for i in range(7)]
    layouts = [(await _a_layout(owner, {"id": venues[0]}, name=f"Layout {i}"))["id"] for i in range(5)]
    await _a_layout(owner, {"id": venues[1]})

    async def ids(url: str, name: str, limit: int) -> list[str]:
        found, cursor = [], None
        while True:
            query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
            answer = (await owner.get(url, params=query)).json()
            assert len(answer[name]) <= limit
            found += [item["id"] for item in answer[name]]
            cursor = answer["next"]
            if cursor is None:
                return found

    for limit in (1, 3, 7, 100):
        assert await ids("/v1/venues", "venues", limit) == venues
        assert await ids(f"/v1/venues/{venues[0]}/layouts", "layouts", limit) == layouts
    for query, pointer in {"limit=0": "/limit", "cursor=nonsense": "/cursor", "x=1": "/x"}.items():
        answer = await owner.get(f"/v1/venues?{query}")
        assert (answer.status_code, _pointers(answer), answer.json()["errors"][0]["in"]) == (
            400,
            [pointer],
            "query",
        )


async def test_a_version_of_a_layout_never_changes(owner: httpx.AsyncClient) -> None:
    venue = await _a_venue(owner)
    answer = await owner.post(f"/v1/venues/{venue['id']}/layouts", json=ROUND)
    first = answer.json()
    url = f"/v1/layouts/{first['id']}"
    assert (answer.status_code, answer.headers["location"], answer.headers["etag"]) == (201, url, '"1"')
    assert (first["version"], first["total_seats"], first["venue_id"]) == (1, 22, venue["id"])
    assert {name: first[name] for name in ROUND} == ROUND

    second = await owner.put(url, json={"name": "Square", "areas": [YARD]}, headers={"If-Match": '"1"'})
    assert (second.status_code, second.headers["etag"]) == (200, '"2"')
    assert (second.json()["version"], second.json()["total_seats"], second.json()["focal"]) == (2, 0, None)
    assert (await owner.get(url)).json() == second.json()
    assert (await owner.get(f"{url}?version=1")).json() == first
    assert (await owner.get(f"{url}?version=2")).headers["etag"] == '"2"'
    missing = await owner.get(f"{url}?version=3")
    assert (missing.status_code, missing.json()["code"]) == (404, "layout_not_found")
    assert (await owner.get(f"{url}?version=0")).status_code == 400
    assert (await owner.get(url, headers={"If-None-Match": '"2"'})).status_code == 304
    (listed,) = (await owner.get(f"/v1/venues/{venue['id']}/layouts")).json()["layouts"]
    assert (listed["name"], listed["version"], "areas" in listed) == ("Square", 2, False)

    late = await owner.put(url, json=ROUND, headers={"If-Match": '"1"'})
    assert (late.status_code, late.json()["code"]) == (412, "version_mismatch")
    assert (await owner.put(url, json=ROUND, headers={"If-Match": "*"})).json()["version"] == 3


async def test_revisions_take_turns(owner: httpx.AsyncClient) -> None:
    url = f"/v1/layouts/{(await _a_layout(owner, await _a_venue(owner)))['id']}"
    answers = await asyncio.gather(*(owner.put(url, json=ROUND) for _ in range(5)))
    assert sorted(answer.json()["version"] for answer in answers) == [2, 3, 4, 5, 6]
    answers = await asyncio.gather(
        *(owner.put(url, json=ROUND, headers={"If-Match": '"6"'}) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412]


async def test_what_is_wrong_with_a_layout_is_named(owner: httpx.AsyncClient) -> None:
    venue = await _a_venue(owner)
    layout = await _a_layout(owner, venue)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"name": ""}, "/name"),
        ({"areas": []}, "/areas"),
        ({"areas": [YARD, YARD]}, "/areas/1/name"),
        ({"areas": [{**YARD, "capacity": 0}]}, "/areas/0/capacity"),
        ({"areas": [{**GALLERY, "rows": [{"label": "A", "seats": 1001}]}]}, "/areas/0/rows/0/seats"),
        ({"areas": [{**GALLERY, "rows": [{"label": "A", "seats": 2, "x": 1e9}]}]}, "/areas/0/rows/0/x"),
        ({"focal": [0]}, "/focal"),
        ({"focal": [1e300, 0]}, "/focal"),
        ({"colour": "red"}, "/colour"),
    ]
    for change, pointer in wrong:
        for method, where in (
            ("POST", f"/v1/venues/{venue['id']}/layouts"),
            ("PUT", f"/v1/layouts/{layout['id']}"),
        ):
            answer = await owner.request(method, where, json=ROUND | change)
            assert (answer.status_code, _pointers(answer)) == (400, [pointer]), (change, answer.text)
    assert (await owner.get(f"/v1/layouts/{layout['id']}")).json() == layout
    missing = await owner.post(f"/v1/venues/{uuid4()}/layouts", json=ROUND)
    assert (missing.status_code, missing.json()["code"]) == (404, "venue_not_found")


async def test_venues_are_for_the_staff_of_their_organizer(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, engine: Engine
) -> None:
    venue = await _a_venue(owner)
    layout = await _a_layout(owner, venue)
    reads = [
        "/v1/venues", f"/v1/venues/{venue['id']}", f"/v1/venues/{venue['id']}/layouts", f"/v1/layouts/{layout['id']}"
    ]  # fmt: skip
    writes: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/venues", GLOBE),
        ("PUT", reads[1], GLOBE),
        ("POST", reads[2], ROUND),
        ("PUT", reads[3], ROUND),
    ]
    for url in reads:
        assert (await client.get(url)).status_code == 401, url
    for method, url, body in writes:
        assert (await client.request(method, url, json=body)).status_code == 401, url
    async with signed_in(engine, "viewer") as viewer:
        for url in reads:
            assert (await viewer.get(url)).status_code == 200, url
        for method, url, body in writes:
            answer = await viewer.request(method, url, json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), url
    async with signed_in(engine, "manager") as manager:
        for method, url, body in writes:
            assert (await manager.request(method, url, json=body)).status_code in (200, 201), url
    async with signed_in(engine, organizer_id=await another_house(engine)) as stranger:
        assert (await stranger.get("/v1/venues")).json() == {"venues": [], "next": None}
        for url in reads[1:]:
            assert (await stranger.get(url)).status_code == 404, url
        for method, url, body in writes[1:]:
            answer = await stranger.request(method, url, json=body)
            assert (answer.status_code, answer.json()["code"][-10:]) == (404, "_not_found"), url


async def test_a_venue_is_made_once_per_key(owner: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "one-and-the-same"}
    answers = [await owner.post("/v1/venues", json=GLOBE, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    other = await owner.post("/v1/venues", json=GLOBE | {"name": "Rose"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    url = f"/v1/venues/{answers[0].json()['id']}/layouts"
    layouts = [await owner.post(url, json=ROUND, headers={"Idempotency-Key": "another"}) for _ in range(2)]
    assert layouts[0].json() == layouts[1].json()
    assert len((await owner.get(url)).json()["layouts"]) == 1
