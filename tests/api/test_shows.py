"""Shows over HTTP: created, listed, read and edited."""

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from holdfast import accounts, booking
from holdfast.catalog import ShowEdit, ShowSpec
from holdfast.engine import Engine, work
from holdfast.platform.db import Database
from holdfast.platform.ids import ShowId
from tests.api.people import another_house, signed_in
from tests.conftest import client_of, eventually

pytestmark = pytest.mark.anyio

Show = dict[str, Any]
MakeShow = Callable[..., Awaitable[Show]]

STALLS = {
    "name": "Stalls",
    "kind": "seated",
    "rows": [{"label": "A", "seats": 20}, {"label": "B", "seats": 22}],
}
FLOOR = {"name": "Floor", "kind": "standing", "capacity": 500}
HAMLET: dict[str, Any] = {
    "name": "Hamlet", "start_time": "2030-12-24T20:00:00+01:00", "timezone": "Europe/Berlin", "currency": "EUR",
    "hold_seconds": 120, "hold_seconds_max": 900, "max_places_per_booking": 10, "sale_opens_at": None,
    "sale_closes_at": None, "status": "on_sale", "orphans": "allow", "transfers": "allow",
    "areas": [STALLS, FLOOR],
    "tiers": [
        {"name": "Adult", "area": "Stalls", "amount": 4500},
        {"name": "Child", "area": "Stalls", "amount": 2000},
        {"name": "Standing", "area": "Floor", "amount": 3000},
    ],
}  # fmt: skip


def _price(amount: int) -> dict[str, Any]:
    """A price without fee and tax, as staff see it."""
    terms = {"amount": amount, "fee": 0, "fee_basis_points": 0, "tax_basis_points": 0, "tax_included": True}
    breakdown = {"face": amount, "fee": 0, "tax": 0}
    return {"amount": amount, "breakdown": breakdown, "hidden": False, "terms": terms}


def _as_buyers_see(show: Show) -> Show:
    return {
        **show,
        "tiers": [
            {key: tier[key] for key in ("id", "name", "area", "amount", "breakdown")}
            for tier in show["tiers"]
        ],
    }


def _url(show: Show, rest: str = "") -> str:
    return f"/v1/shows/{show['id']}{rest}"


async def _edit(
    client: httpx.AsyncClient, show: Show, *, match: str | None = None, **body: Any
) -> httpx.Response:
    headers = {"If-Match": match} if match is not None else {}
    return await client.patch(_url(show), json=body, headers=headers)


async def _claim(client: httpx.AsyncClient, show: Show, **body: Any) -> httpx.Response:
    return await client.post(_url(show, "/bookings"), json=body)


def _pointers(answer: httpx.Response) -> list[str]:
    return [error["pointer"] for error in answer.json()["errors"]]


# Created and read


async def test_a_show_is_created_as_the_contract_says(
    client: httpx.AsyncClient, owner: httpx.AsyncClient
) -> None:
    answer = await owner.post("/v1/shows", json=HAMLET)
    assert answer.status_code == 201, answer.text
    show = answer.json()
    assert answer.headers["location"] == _url(show)
    assert answer.headers["etag"] == '"1"'
    expected = {
        "name": "Hamlet", "start_time": "2030-12-24T19:00:00.000Z", "timezone": "Europe/Berlin", "status": "on_sale",
        "currency": "EUR", "total_seats": 542, "reserved_seats": 0, "available_seats": 542, "booked_seats": 0,
        "revision": 0, "hold_seconds": 120, "hold_seconds_max": 900, "max_places_per_booking": 10, "version": 1,
        "sale_opens_at": None, "sale_closes_at": None,
        "areas": [
            {"id": 1, "name": "Stalls", "kind": "seated", "capacity": 42, "available": 42},
            {"id": 2, "name": "Floor", "kind": "standing", "capacity": 500, "available": 500},
        ],
        "tiers": [
            {"id": 1, "name": "Adult", "area": "Stalls", **_price(4500)},
            {"id": 2, "name": "Child", "area": "Stalls", **_price(2000)},
            {"id": 3, "name": "Standing", "area": "Floor", **_price(3000)},
        ],
    }  # fmt: skip
    assert {name: show[name] for name in expected} == expected
    read = await client.get(_url(show))
    assert (read.status_code, read.json(), read.headers["etag"]) == (200, _as_buyers_see(show), '"1"')


async def test_the_short_form_has_defaults(a_show: MakeShow, client: httpx.AsyncClient) -> None:
    show = await a_show(total_seats=100)
    assert show["areas"] == [{"id": 1, "name": "Main", "kind": "seated", "capacity": 100, "available": 100}]
    names = ("tiers", "currency", "status", "timezone", "orphans", "hold_seconds", "hold_seconds_max")
    assert [show[name] for name in names] == [[], "EUR", "on_sale", "UTC", "allow", 120, 900]
    assert show["max_places_per_booking"] == 10
    seats = (await client.get(_url(show, "/seats"))).json()["seats"]
    assert [seat["seat"] for seat in seats] == [str(number) for number in range(1, 101)]
    assert seats[0] == {"seat": "1", "area": "Main", "status": "free", "tiers": []}


async def test_a_short_hold_in_all_shortens_the_hold(a_show: MakeShow) -> None:
    show = await a_show(hold_seconds_max=60)
    assert (show["hold_seconds"], show["hold_seconds_max"]) == (60, 60)
    show = await a_show(hold_seconds=1800)
    assert (show["hold_seconds"], show["hold_seconds_max"]) == (1800, 1800)


async def test_a_show_is_built_from_a_version_of_a_layout(
    owner: httpx.AsyncClient, engine: Engine, a_show: MakeShow
) -> None:
    venue = (await owner.post("/v1/venues", json={"name": "Globe", "timezone": "Europe/London"})).json()
    layouts = f"/v1/venues/{venue['id']}/layouts"
    layout = (await owner.post(layouts, json={"name": "Round", "areas": [STALLS]})).json()
    await owner.put(f"/v1/layouts/{layout['id']}", json={"name": "Round", "areas": [FLOOR, STALLS]})
    newest = await a_show(layout_id=layout["id"])
    assert (newest["layout_version"], newest["timezone"], newest["venue_id"]) == (
        2,
        "Europe/London",
        venue["id"],
    )
    assert [area["name"] for area in newest["areas"]] == ["Floor", "Stalls"]
    older = await a_show(layout_id=layout["id"], layout_version=1, timezone="Europe/Paris")
    assert (older["layout_version"], older["timezone"], len(older["areas"])) == (1, "Europe/Paris", 1)

    body = {"name": "x", "start_time": HAMLET["start_time"], "layout_id": layout["id"]}
    for wrong in ({"layout_id": str(uuid4())}, {"layout_version": 3}):
        answer = await owner.post("/v1/shows", json=body | wrong)
        assert (answer.status_code, answer.json()["code"]) == (404, "layout_not_found")
    async with signed_in(engine, organizer_id=await another_house(engine)) as stranger:
        answer = await stranger.post("/v1/shows", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "layout_not_found")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"areas": None}, ""),
    ({"total_seats": 5}, "/total_seats"),
    ({"areas": []}, "/areas"),
    ({"areas": None, "total_seats": 0}, "/total_seats"),
    ({"areas": None, "total_seats": 200_001}, "/total_seats"),
    ({"areas": None, "total_seats": 2**63}, "/total_seats"),
    ({"areas": None, "total_seats": "5"}, "/total_seats"),
    ({"areas": None, "total_seats": 5, "layout_version": 1, "tiers": []}, "/layout_version"),
    ({"areas": None, "total_seats": 5, "focal": [0, 0], "tiers": []}, "/focal"),
    ({"layout_id": "nonsense"}, "/layout_id"),
    ({"name": ""}, "/name"),
    ({"name": " Hamlet"}, "/name"),
    ({"name": "Ham\nlet"}, "/name"),
    ({"name": "x" * 256}, "/name"),
    ({"name": None}, "/name"),
    ({"start_time": "2030-12-24T20:00:00"}, "/start_time"),
    ({"start_time": "1969-12-31T20:00:00Z"}, "/start_time"),
    ({"start_time": "3000-01-01T00:00:00Z"}, "/start_time"),
    ({"start_time": 7}, "/start_time"),
    ({"timezone": "Europe/Atlantis"}, "/timezone"),
    ({"timezone": ""}, "/timezone"),
    ({"timezone": "../../etc/passwd"}, "/timezone"),
    ({"currency": "EURO"}, "/currency"),
    ({"currency": "XQQ"}, "/currency"),
    ({"hold_seconds": 9}, "/hold_seconds"),
    ({"hold_seconds": 3601}, "/hold_seconds"),
    ({"hold_seconds": 901}, "/hold_seconds"),
    ({"max_places_per_booking": 0}, "/max_places_per_booking"),
    ({"max_places_per_buyer": 0}, "/max_places_per_buyer"),
    ({"status": "paused"}, "/status"),
    ({"orphans": "perhaps"}, "/orphans"),
    ({"transfers": "perhaps"}, "/transfers"),
    ({"sale_opens_at": "2030-01-02T00:00:00Z", "sale_closes_at": "2030-01-02T00:00:00Z"}, "/sale_closes_at"),
    ({"sale_opens_at": "2999-12-31"}, "/sale_opens_at"),
    ({"areas": [STALLS, STALLS]}, "/areas/1/name"),
    ({"areas": [{**STALLS, "name": "x" * 101}]}, "/areas/0/name"),
    ({"areas": [STALLS, {**FLOOR, "capacity": 0}]}, "/areas/1/capacity"),
    ({"areas": [STALLS, {**FLOOR, "capacity": 1_000_001}]}, "/areas/1/capacity"),
    ({"areas": [STALLS, {**FLOOR, "kind": "lying"}]}, "/areas/1/kind"),
    ({"areas": [STALLS, {**FLOOR, "rows": []}]}, "/areas/1/rows"),
    ({"areas": [{**STALLS, "rows": [{"label": "A"}]}]}, "/areas/0/rows/0"),
    ({"areas": [{**STALLS, "rows": [{"label": "A:1", "seats": 3}]}]}, "/areas/0/rows/0/label"),
    ({"tiers": [{"name": "Adult", "area": "Moon", "amount": 1}]}, "/tiers/0/area"),
    ({"tiers": [{"name": "Adult", "area": "x" * 101, "amount": 1}]}, "/tiers/0/area"),
    ({"tiers": [{"name": "Adult", "area": "Floor", "amount": -1}]}, "/tiers/0/amount"),
    ({"tiers": [{"name": "Adult", "area": "Floor", "amount": 10**12 + 1}]}, "/tiers/0/amount"),
    ({"tiers": [{"name": "Adult", "area": "Floor", "amount": 1.5}]}, "/tiers/0/amount"),
    ({"tiers": [{"name": "A", "area": "Floor", "amount": 1}, {"name": "A", "area": "Floor", "amount": 2}]}, "/tiers/1/name"),
    ({"colour": "red"}, "/colour"),
]  # fmt: skip


async def test_what_is_wrong_with_a_show_is_named(owner: httpx.AsyncClient) -> None:
    for change, pointer in WRONG:
        body = {
            name: value for name, value in (HAMLET | change).items() if value is not None or name in change
        }
        if body.get("areas", ...) is None:
            del body["areas"]
        answer = await owner.post("/v1/shows", json=body)
        assert (answer.status_code, _pointers(answer)) == (400, [pointer]), (change, answer.text)
    assert (await owner.get("/v1/shows")).json()["shows"] == []


async def test_only_those_who_run_the_shows_make_them(
    client: httpx.AsyncClient, engine: Engine, a_show: MakeShow
) -> None:
    show = await a_show()
    assert (await client.post("/v1/shows", json=HAMLET)).status_code == 401
    assert (await _edit(client, show, name="x")).status_code == 401
    for role, status in (("manager", 201), ("box_office", 403), ("door", 403), ("viewer", 403)):
        async with signed_in(engine, role) as member:  # type: ignore[arg-type]
            assert (await member.post("/v1/shows", json=HAMLET)).status_code == status, role
            assert (await _edit(member, show, name="x")).status_code == (200 if status == 201 else 403), role
    async with signed_in(engine, organizer_id=await another_house(engine)) as stranger:
        answer = await _edit(stranger, show, name="Mine now")
        assert (answer.status_code, answer.json()["code"]) == (404, "show_not_found")
    unknown = await _edit(client, {"id": str(uuid4())}, name="x")
    assert unknown.status_code == 401


async def test_a_creation_is_done_once_per_key(owner: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "one-and-the-same"}
    first = await owner.post("/v1/shows", json=HAMLET, headers=headers)
    again = await owner.post("/v1/shows", json=HAMLET, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["etag"] == first.headers["etag"]
    assert len((await owner.get("/v1/shows")).json()["shows"]) == 1


async def test_a_hundred_thousand_seats_in_one_call(
    owner: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    rows = [{"label": f"R{number}", "seats": 1000, "gap_after": [500]} for number in range(1, 101)]
    body = HAMLET | {
        "areas": [{"name": "Arena", "kind": "seated", "rows": rows}],
        "tiers": [{"name": "Adult", "area": "Arena", "amount": 4500}],
    }
    answer = await owner.post("/v1/shows", json=body)
    assert answer.status_code == 201, answer.text
    show = answer.json()
    assert (show["total_seats"], show["available_seats"]) == (100_000, 100_000)
    layout = (await client.get(_url(show, "/layout"))).json()
    assert sum(len(row["numbers"]) for row in layout["areas"][0]["rows"]) == 100_000
    assert layout["areas"][0]["rows"][99]["first"] == 99_000
    claimed = await _claim(client, show, seats=["R100-1000", "R1-1"])
    assert claimed.status_code == 201, claimed.text
    taken = b64decode((await client.get(_url(show, "/availability"))).json()["taken"])
    assert len(taken) == 12_500
    assert (taken[0], taken[-1], sum(taken)) == (1, 128, 129)
    seats = (await client.get(_url(show, "/seats"))).json()["seats"]
    assert len(seats) == 100_000
    assert [seat["seat"] for seat in seats if seat["status"] == "taken"] == ["R1-1", "R100-1000"]


# Availability


async def test_availability_is_a_bitmap_with_the_revision_as_its_tag(
    client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show(areas=[FLOOR, STALLS])
    url = _url(show, "/availability")
    before = await client.get(url)
    assert (before.json()["revision"], before.headers["etag"]) == (0, '"0"')
    assert b64decode(before.json()["taken"]) == bytes(6)  # 42 seats
    assert before.json()["areas"] == [{"id": 1, "available": 500}, {"id": 2, "available": 42}]
    assert (await client.get(url, headers={"If-None-Match": '"0"'})).status_code == 304

    assert (await _claim(client, show, seats=["A-1", "A-10", "B-22"])).status_code == 201
    assert (await _claim(client, show, area="Floor", quantity=7)).status_code == 201
    after = await client.get(url, headers={"If-None-Match": '"0"'})
    assert after.status_code == 200
    assert after.json()["areas"] == [{"id": 1, "available": 493}, {"id": 2, "available": 39}]
    bits = int.from_bytes(b64decode(after.json()["taken"]), "little")
    assert {seat for seat in range(48) if bits >> seat & 1} == {0, 9, 41}
    assert after.headers["etag"] == f'"{after.json()["revision"]}"' == '"2"'
    for known in ('"2"', 'W/"2"', '"1", "2"', "*"):
        assert (await client.get(url, headers={"If-None-Match": known})).status_code == 304, known
    shown = (await client.get(_url(show))).json()
    assert (shown["reserved_seats"], shown["available_seats"], shown["revision"]) == (10, 532, 2)
    assert [area["available"] for area in shown["areas"]] == [493, 39]


async def test_a_layout_is_kept_for_as_long_as_it_is_true(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show(areas=[STALLS])
    url = _url(show, "/layout")
    plain = await client.get(url)
    assert (plain.headers["etag"], plain.headers["cache-control"]) == ('"1"', "no-cache")
    assert "immutable" in (await client.get(f"{url}?version=1")).headers["cache-control"]
    assert (await client.get(f"{url}?version=2")).headers["cache-control"] == "no-cache"
    assert (await client.get(url, headers={"If-None-Match": '"1"'})).status_code == 304
    assert (await _edit(owner, show, areas=[{"id": 1, "name": "Parquet"}])).status_code == 200
    fresh = await client.get(url, headers={"If-None-Match": '"1"'})
    assert (fresh.status_code, fresh.json()["areas"][0]["name"]) == (200, "Parquet")
    assert (await client.get(f"{url}?version=x")).status_code == 400


async def test_what_a_seat_map_reads_of_a_great_show_is_gzipped_for_who_takes_that(
    client: httpx.AsyncClient, a_show: MakeShow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.booking.view.PACKED_EVERY_SECONDS", 0.0)
    show = await a_show(areas=[{**STALLS, "rows": [{"label": f"R{i}", "seats": 1000} for i in range(8)]}])
    for rest, tag in (("/layout?version=1", '"1"'), ("/availability", '"0"')):
        url = _url(show, rest)
        packed, plain = await client.get(url), await client.get(url, headers={"Accept-Encoding": "identity"})
        assert packed.headers["content-encoding"] == "gzip", rest
        assert int(packed.headers["content-length"]) < len(plain.content) / 4
        assert (packed.content, "content-encoding" in plain.headers) == (plain.content, False)
        # One tag must not stand for different bytes, unless it is weak.
        assert (packed.headers["etag"], plain.headers["etag"]) == (f"W/{tag}", tag)
        assert packed.headers["vary"] == plain.headers["vary"] == "accept-encoding"
        for known in (tag, f"W/{tag}"):
            for takes in ("gzip", "identity"):
                headers = {"If-None-Match": known, "Accept-Encoding": takes}
                unchanged = await client.get(url, headers=headers)
                assert (unchanged.status_code, unchanged.content) == (304, b""), headers
                assert unchanged.headers["vary"] == "accept-encoding"
        for refuses in ("gzip;q=0", "br, gzip; q=0.0", "br", ""):
            answer = await client.get(url, headers={"Accept-Encoding": refuses})
            assert "content-encoding" not in answer.headers, refuses
        for takes in ("gzip;q=0.5", "br, GZIP", "deflate,gzip"):
            answer = await client.get(url, headers={"Accept-Encoding": takes})
            assert answer.headers["content-encoding"] == "gzip", takes


async def test_availability_is_not_gzipped_again_and_again_in_a_rush(
    client: httpx.AsyncClient, a_show: MakeShow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.booking.view.PACKED_EVERY_SECONDS", 3600)
    show = await a_show(areas=[{**STALLS, "rows": [{"label": f"R{i}", "seats": 1000} for i in range(8)]}])
    url = _url(show, "/availability")
    assert (await client.get(url)).headers["content-encoding"] == "gzip"
    assert (await _claim(client, show, seats=["R0-1"])).status_code == 201
    soon = await client.get(url)
    assert ("content-encoding" in soon.headers, soon.headers["etag"], soon.json()["revision"]) == (
        False,
        '"1"',
        1,
    )
    monkeypatch.setattr("holdfast.booking.view.PACKED_EVERY_SECONDS", 0.0)
    later = await client.get(url)
    assert (later.headers["content-encoding"], later.content) == ("gzip", soon.content)


async def test_a_renamed_area_has_its_new_name_at_once_everywhere(
    owner: httpx.AsyncClient, engine: Engine, a_show: MakeShow, open_another: Callable[..., Any]
) -> None:
    show = await a_show(areas=[STALLS, {**STALLS, "name": "Circle"}], tiers=HAMLET["tiers"][:1])
    async with open_another() as other, client_of(other) as there:
        here = owner
        for client in (here, there):
            seats = await client.get(_url(show, "/seats"))
            assert seats.json()["seats"][0]["seat"] == "Stalls:A-1"
            assert (await client.get(_url(show))).json()["tiers"][0]["area"] == "Stalls"
        known = seats.headers["etag"]
        assert (await _edit(here, show, areas=[{"id": 1, "name": "Parquet"}])).status_code == 200

        async def new_name_at(client: httpx.AsyncClient) -> bool:
            layout = (await client.get(_url(show, "/layout"))).json()
            seats = await client.get(_url(show, "/seats"), headers={"If-None-Match": known})
            shown = (await client.get(_url(show))).json()
            listed = (await client.get("/v1/shows")).json()["shows"][0]
            names = {layout["areas"][0]["name"], shown["tiers"][0]["area"], listed["tiers"][0]["area"]}
            if names != {"Parquet"} or seats.status_code != 200:
                return False
            return bool(seats.json()["seats"][0]["seat"] == "Parquet:A-1")

        assert await new_name_at(here)
        # One message of the broadcast away; within a second even when that is lost.
        await eventually(lambda: new_name_at(there))
        assert (await _claim(there, show, seats=["Parquet:A-1"])).status_code == 201
        assert (await _claim(here, show, seats=["Stalls:A-1"])).json()["code"] == "unknown_seat"


# Lists


async def _open_many(engine: Engine, names: list[str], start: Callable[[int], datetime], **more: Any) -> None:
    member = await accounts.first_owner(engine.db)
    assert member is not None
    async with engine.db.transaction() as tx:
        for i, name in enumerate(names):
            spec = ShowSpec(name=name, start_time=start(i), total_seats=3, **more)
            await booking.open_show(tx, engine.office, member.organizer_id, spec)


async def _pages(client: httpx.AsyncClient, **query: Any) -> list[list[Show]]:
    pages, cursor = [], None
    while True:
        answer = await client.get("/v1/shows", params=query | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        pages.append(answer.json()["shows"])
        cursor = answer.json()["next"]
        if cursor is None:
            return pages


async def test_pages_hold_every_show_once(client: httpx.AsyncClient, engine: Engine) -> None:
    begin = datetime(2030, 1, 1, 19, 30, 0, 123456, tzinfo=UTC)
    await _open_many(engine, [f"Show {i}" for i in range(120)], lambda i: begin + timedelta(days=i % 4))
    for limit in (7, 40, 100):
        pages = await _pages(client, limit=limit)
        assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        shows = [show for page in pages for show in page]
        assert {show["name"] for show in shows} == {f"Show {i}" for i in range(120)}
        assert len(shows) == 120
        order = [(show["start_time"], show["id"]) for show in shows]
        assert order == sorted(order)
    assert [len(page) for page in await _pages(client, limit=60)] == [60, 60]
    assert len((await client.get("/v1/shows")).json()["shows"]) == 50


async def test_a_list_is_narrowed(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, engine: Engine
) -> None:
    begin = datetime(2030, 1, 1, 19, 30, tzinfo=UTC)
    await _open_many(
        engine, ["100% Hamlet", "Hamlet 1000", "under_score"], lambda i: begin + timedelta(days=i)
    )
    await _open_many(engine, ["Over"], lambda _: datetime.now(UTC) - timedelta(hours=7))
    await _open_many(engine, ["Just on"], lambda _: datetime.now(UTC) - timedelta(hours=5))
    await _open_many(engine, ["Hidden"], lambda _: begin, status="draft")

    async def names(who: httpx.AsyncClient = client, **query: Any) -> list[str]:
        return [show["name"] for page in await _pages(who, **query) for show in page]

    everything = ["Just on", "100% Hamlet", "Hamlet 1000", "under_score"]
    assert await names() == everything
    assert await names(starts_after="2000-01-01T00:00:00Z") == ["Over", *everything]
    assert await names(starts_after="2030-01-02T19:30:00Z", starts_before="2030-01-03T19:30:00Z") == [
        "Hamlet 1000"
    ]
    assert await names(q="HAMLET") == ["100% Hamlet", "Hamlet 1000"]
    assert await names(q="100%") == ["100% Hamlet"]
    assert await names(q="r_s") == ["under_score"]
    assert await names(q="\\") == []
    assert await names(status="on_sale") == everything
    assert await names(status="paused") == []
    assert await names(status="draft") == []
    assert await names(owner) == everything
    assert await names(owner, mine="true", status="draft") == ["Hidden"]
    assert "Hidden" in await names(owner, mine="true")
    async with signed_in(engine, organizer_id=await another_house(engine)) as stranger:
        assert await names(stranger, mine="true") == []
        assert await names(stranger) == everything


async def test_a_list_shows_what_was_just_made_and_edited(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    assert (await client.get("/v1/shows")).json() == {"shows": [], "next": None}
    show = await a_show()
    assert [s["name"] for s in (await client.get("/v1/shows")).json()["shows"]] == ["Hamlet"]
    await _edit(owner, show, name="Macbeth")
    assert [s["name"] for s in (await client.get("/v1/shows")).json()["shows"]] == ["Macbeth"]


async def test_a_bad_query_is_named(client: httpx.AsyncClient) -> None:
    wrong = {
        "limit=0": "/limit", "limit=101": "/limit", "limit=x": "/limit", "cursor=nonsense": "/cursor",
        "cursor=": "/cursor", "cursor=" + "A" * 201: "/cursor", "starts_after=yesterday": "/starts_after",
        "starts_after=2030-01-01T00:00:00": "/starts_after", "starts_after=0001-01-01T00:00:00%2B14:00": "/starts_after",
        "starts_before=9999-12-31T23:59:59-14:00": "/starts_before", "q=": "/q", "q=%00": "/q", "status=mine": "/status",
        "mine=true": "/mine", "page=2": "/page", "limit=5&limit=6": "/limit",
    }  # fmt: skip
    for query, pointer in wrong.items():
        answer = await client.get(f"/v1/shows?{query}")
        assert (answer.status_code, _pointers(answer)) == (400, [pointer]), (query, answer.text)
        assert answer.json()["errors"][0]["in"] == "query"


async def test_a_draft_is_there_for_its_staff_alone(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, engine: Engine, a_show: MakeShow
) -> None:
    show = await a_show(status="draft")
    async with signed_in(engine, "viewer") as viewer:
        for rest in ("", "/layout", "/availability", "/seats"):
            assert (await viewer.get(_url(show, rest))).status_code == 200, rest
        kept = await viewer.get(_url(show, "/layout?version=1"))
        assert kept.headers["cache-control"] == "no-cache"
    async with signed_in(engine, organizer_id=await another_house(engine)) as stranger:
        for caller in (client, stranger):
            for rest in ("", "/layout", "/availability", "/seats"):
                answer = await caller.get(_url(show, rest))
                assert (answer.status_code, answer.json()["code"]) == (404, "show_not_found"), rest
            answer = await _claim(caller, show, seats=["no such seat"])
            assert (answer.status_code, answer.json()["code"]) == (404, "show_not_found")
            assert (await caller.get("/v1/shows")).json()["shows"] == []
    assert (await _edit(owner, show, status="on_sale")).status_code == 200
    assert (await client.get(_url(show))).status_code == 200
    assert (await _claim(client, show, seats=["1"])).status_code == 201


async def test_a_draft_that_went_on_sale_elsewhere_can_be_booked_at_once(
    client: httpx.AsyncClient, a_show: MakeShow, open_another: Callable[..., Any], engine: Engine
) -> None:
    show = await a_show(status="draft")
    await engine.office.views.get(ShowId(show["id"]))
    stale = engine.office.views.known(ShowId(show["id"]))
    assert (await _claim(client, show, seats=["1"])).status_code == 404
    member = await accounts.first_owner(engine.db)
    assert member is not None and stale is not None
    async with open_another() as other, other.db.transaction() as tx:
        edit = ShowEdit(status="on_sale")
        await booking.edit_show(tx, other.office, member.organizer_id, ShowId(show["id"]), edit, None)
        # Committed when this block ends; what this process knows of the show is then a moment old.
    assert (await _claim(client, show, seats=["1"])).status_code == 201


# Edits


async def test_an_edit_changes_what_it_names(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show(areas=[STALLS, FLOOR], tiers=HAMLET["tiers"])
    answer = await _edit(
        owner, show, name="Hamlet, Prince of Denmark", start_time="2031-01-01T19:00:00Z", timezone="Europe/Paris",
        hold_seconds=300, hold_seconds_max=600, max_places_per_booking=4, max_places_per_buyer=8, orphans="refuse",
        sale_opens_at="2020-01-01T00:00:00Z", sale_closes_at="2031-01-01T18:00:00Z",
        areas=[{"id": 2, "capacity": 600, "name": "Arena"}],
        tiers=[{"id": 1, "amount": 5000}, {"name": "Friend", "area": "Arena", "amount": 0}],
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    edited = answer.json()
    changed = {
        "name": "Hamlet, Prince of Denmark", "start_time": "2031-01-01T19:00:00.000Z", "timezone": "Europe/Paris",
        "hold_seconds": 300, "hold_seconds_max": 600, "max_places_per_booking": 4, "max_places_per_buyer": 8,
        "orphans": "refuse", "sale_opens_at": "2020-01-01T00:00:00.000Z",
        "sale_closes_at": "2031-01-01T18:00:00.000Z", "version": 2, "total_seats": 642, "available_seats": 642,
        "revision": 1, "previous_start_time": show["start_time"],
        "areas": [show["areas"][0], {**show["areas"][1], "name": "Arena", "capacity": 600, "available": 600}],
        "tiers": [
            {**show["tiers"][0], **_price(5000)}, show["tiers"][1], {**show["tiers"][2], "area": "Arena"},
            {"id": 4, "name": "Friend", "area": "Arena", **_price(0)},
        ],
    }  # fmt: skip
    assert edited == show | changed | {"updated_at": edited["updated_at"]}
    assert edited["updated_at"] > show["updated_at"]
    assert (await client.get(_url(show))).json() == _as_buyers_see(edited)
    cleared = await _edit(owner, show, sale_opens_at=None, max_places_per_buyer=None)
    assert (cleared.json()["sale_opens_at"], cleared.json()["max_places_per_buyer"]) == (None, None)
    assert cleared.json()["sale_closes_at"] == edited["sale_closes_at"]


async def test_an_edit_of_a_version_that_has_gone_is_refused(
    owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show()
    first = await _edit(owner, show, match='"1"', name="One")
    assert (first.status_code, first.headers["etag"], first.json()["version"]) == (200, '"2"', 2)
    late = await _edit(owner, show, match='"1"', name="Two")
    assert (late.status_code, late.json()["code"]) == (412, "version_mismatch")
    assert (await _edit(owner, show, match='"3"', name="Two")).status_code == 412
    assert (await owner.get(_url(show))).json()["name"] == "One"
    assert (await _edit(owner, show, match="2", name="Three")).status_code == 200
    assert (await _edit(owner, show, match="*", name="Four")).status_code == 200
    assert (await _edit(owner, show, name="Five")).status_code == 200
    for wrong in ('W/"5"', '"5", "6"', '"x"', '""', "", '"9999999999"', '"-1"'):
        answer = await _edit(owner, show, match=wrong, name="Six")
        assert (answer.status_code, _pointers(answer)) == (400, ["/If-Match"]), wrong
        assert answer.json()["errors"][0]["in"] == "header"
    read = (await owner.get(_url(show))).json()
    assert (read["name"], read["version"]) == ("Five", 5)


async def test_of_two_edits_of_one_version_one_wins(owner: httpx.AsyncClient, a_show: MakeShow) -> None:
    show = await a_show()
    answers = await asyncio.gather(*(_edit(owner, show, match='"1"', name=f"Editor {i}") for i in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412]


async def test_what_is_wrong_with_an_edit_is_named_and_nothing_changes(
    owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show(areas=[STALLS, FLOOR], tiers=HAMLET["tiers"], sale_opens_at="2030-01-01T00:00:00Z")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"name": ""}, "/name"),
        ({"name": None}, "/name"),
        ({"start_time": "1812-01-01T00:00:00Z"}, "/start_time"),
        ({"timezone": ""}, "/timezone"),
        ({"timezone": "Mars/Olympus"}, "/timezone"),
        ({"status": "sold"}, "/status"),
        ({"currency": "USD"}, "/currency"),
        ({"hold_seconds": 901}, "/hold_seconds"),
        ({"hold_seconds_max": 119}, "/hold_seconds_max"),
        ({"sale_closes_at": "2029-01-01T00:00:00Z"}, "/sale_closes_at"),
        ({"areas": [{"id": 3, "name": "x"}]}, "/areas/0/id"),
        ({"areas": [{"id": 2}, {"id": 2, "capacity": 5}]}, "/areas/1/id"),
        ({"areas": [{"id": 2, "capacity": 0}]}, "/areas/0/capacity"),
        ({"areas": [{"id": 2, "name": "Stalls"}]}, "/areas/0/name"),
        ({"areas": [{"id": 2, "name": "x" * 101}]}, "/areas/0/name"),
        ({"areas": [{"id": 1, "name": "Floor"}, {"id": 2, "capacity": 7}]}, "/areas/0/name"),
        ({"tiers": [{"id": 4, "amount": 1}]}, "/tiers/0/id"),
        ({"tiers": [{"id": 1, "amount": 1}, {"id": 1, "name": "x"}]}, "/tiers/1/id"),
        ({"tiers": [{"id": 1, "name": "Child"}]}, "/tiers/0/name"),
        ({"tiers": [{"id": 1, "area": "Floor"}]}, "/tiers/0/area"),
        ({"tiers": [{"id": 1, "amount": -1}]}, "/tiers/0/amount"),
        ({"tiers": [{"name": "New", "area": "Floor"}]}, "/tiers/0"),
        ({"tiers": [{"name": "New", "area": "Moon", "amount": 1}]}, "/tiers/0"),
        ({"tiers": [{"name": "Standing", "area": "Floor", "amount": 1}]}, "/tiers/0/name"),
        ({"total_seats": 5}, "/total_seats"),
    ]
    for body, pointer in wrong:
        answer = await _edit(owner, show, **({"name": "Changed"} | body))
        assert (answer.status_code, _pointers(answer)) == (400, [pointer]), (body, answer.text)
    assert (await owner.get(_url(show))).json() == show


async def test_areas_and_tiers_may_swap_their_names(owner: httpx.AsyncClient, a_show: MakeShow) -> None:
    show = await a_show(areas=[STALLS, FLOOR], tiers=HAMLET["tiers"])
    answer = await _edit(
        owner, show, areas=[{"id": 1, "name": "Floor"}, {"id": 2, "name": "Stalls"}],
        tiers=[{"id": 1, "name": "Child"}, {"id": 2, "name": "Adult", "amount": 1}],
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert [area["name"] for area in answer.json()["areas"]] == ["Floor", "Stalls"]
    tiers = [(tier["name"], tier["area"], tier["amount"]) for tier in answer.json()["tiers"]]
    assert tiers == [("Child", "Floor", 4500), ("Adult", "Floor", 1), ("Standing", "Stalls", 3000)]
    assert (await owner.get(_url(show))).json()["tiers"] == answer.json()["tiers"]


# Capacity


async def test_a_capacity_goes_down_to_what_is_gone_and_no_further(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show(areas=[{**FLOOR, "capacity": 10}, {**FLOOR, "name": "Gallery", "capacity": 10}])
    assert (await _claim(client, show, area="Floor", quantity=4, confirm=True)).status_code == 201
    assert (await _claim(client, show, area="Floor", quantity=2)).status_code == 201
    block = {"area": "Floor", "quantity": 1, "reason": "Guests"}
    assert (await owner.post(_url(show, "/blocks"), json=block)).status_code == 201
    before = (await owner.get(_url(show))).json()
    refused = await _edit(
        owner, show, name="Changed", areas=[{"id": 2, "capacity": 5}, {"id": 1, "capacity": 6}]
    )
    assert (refused.status_code, refused.json()["code"], refused.json()["area"]) == (
        409,
        "capacity_below_sold",
        1,
    )
    assert (await owner.get(_url(show))).json() == before

    full = await _edit(owner, show, areas=[{"id": 1, "capacity": 7}])
    assert full.status_code == 200, full.text
    shown = full.json()
    assert (shown["total_seats"], shown["reserved_seats"], shown["available_seats"]) == (17, 6, 10)
    assert (await _claim(client, show, area="Floor", quantity=1)).json()["code"] == "sold_out"
    more = await _edit(owner, show, areas=[{"id": 1, "capacity": 12}])
    assert more.json()["areas"][0] == {
        "id": 1, "name": "Floor", "kind": "standing", "capacity": 12, "available": 5,
    }  # fmt: skip
    assert (await _claim(client, show, area="Floor", quantity=5)).status_code == 201
    assert (await _claim(client, show, area="Floor", quantity=1)).json()["code"] == "sold_out"


async def test_a_hold_past_its_deadline_does_not_keep_a_capacity_up(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow, engine: Engine
) -> None:
    show = await a_show(areas=[{**FLOOR, "capacity": 10}])
    assert (await _claim(client, show, quantity=6)).status_code == 201
    refused = await _edit(owner, show, areas=[{"id": 1, "capacity": 5}])
    assert refused.json()["code"] == "capacity_below_sold"
    await engine.db.execute("update bookings set expires_at = clock_timestamp()")
    assert (await _edit(owner, show, areas=[{"id": 1, "capacity": 5}])).json()["available_seats"] == 5


async def test_the_seats_of_a_seated_area_stay(owner: httpx.AsyncClient, a_show: MakeShow) -> None:
    show = await a_show(areas=[STALLS])
    answer = await _edit(owner, show, areas=[{"id": 1, "capacity": 43}])
    assert (answer.status_code, answer.json()["code"]) == (409, "capacity_fixed")
    assert _pointers(answer) == ["/areas/0/capacity"]
    same = await _edit(owner, show, areas=[{"id": 1, "capacity": 42, "name": "Parquet"}])
    assert (same.status_code, same.json()["areas"][0]["name"]) == (200, "Parquet")


# Prices and terms


async def test_a_hold_keeps_its_price_and_a_new_claim_has_the_new_one(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show(areas=[STALLS], tiers=HAMLET["tiers"][:2])
    held = (await _claim(client, show, seats=["A-1"], tier="Adult")).json()
    await _edit(owner, show, tiers=[{"id": 1, "name": "Full", "amount": 9900}])
    new = (await _claim(client, show, seats=["A-2"], tier="Full")).json()
    assert new["total"] == {"amount": 9900, "currency": "EUR"}
    assert (await _claim(client, show, seats=["A-3"], tier="Adult")).status_code == 400
    url = _url(show, f"/bookings/{held['id']}")
    buyer = {"Authorization": f"Bearer {held['secret']}"}
    assert (await client.get(url, headers=buyer)).json()["total"]["amount"] == 4500
    confirmed = await owner.post(f"{url}/confirm")
    assert (confirmed.json()["status"], confirmed.json()["total"]["amount"]) == ("CONFIRMED", 4500)


async def test_a_claim_that_waited_for_an_edit_is_priced_by_it(
    client: httpx.AsyncClient,
    engine: Engine,
    a_show: MakeShow,
    open_another: Callable[..., Any],
    db: Database,
) -> None:
    show = await a_show(
        areas=[STALLS, FLOOR], tiers=[{"name": "Adult", "area": "Stalls", "amount": 4500}],
        max_places_per_booking=4,
    )  # fmt: skip
    show_id = ShowId(show["id"])
    member = await accounts.first_owner(engine.db)
    assert member is not None
    async with open_another() as other, client_of(other) as there:
        assert (await there.get(_url(show))).status_code == 200  # its view has the old terms
        async with engine.db.transaction() as tx:
            edit = {"tiers": [{"id": 1, "amount": 5000}], "max_places_per_booking": 2}
            await booking.edit_show(
                tx, engine.office, member.organizer_id, show_id, msgspec.convert(edit, ShowEdit), version=1
            )
            claims = [
                asyncio.create_task(_claim(caller, show, **body))
                for caller in (client, there)
                for body in ({"best_available": 2, "area": "Stalls"}, {"quantity": 3, "area": "Floor"})
            ]

            async def all_wait() -> bool:
                waiting = await db.value(
                    "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
                )
                return bool(waiting >= 2)

            await eventually(all_wait)
        here_seats, here_floor, there_seats, there_floor = await asyncio.gather(*claims)
    for answer in (here_seats, there_seats):
        assert (answer.status_code, answer.json()["total"]["amount"]) == (201, 10_000)
    for answer in (here_floor, there_floor):
        assert (answer.status_code, answer.json()["code"]) == (400, "too_many_places")


# When a show sells


async def test_a_sale_that_has_not_opened_says_when_it_will(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    opens = datetime.now(UTC) + timedelta(minutes=10)
    for status in ("on_sale", "scheduled"):
        show = await a_show(status=status, sale_opens_at=opens.isoformat())
        refused = await _claim(client, show, seats=["1"])
        assert (refused.status_code, refused.json()["code"]) == (409, "not_on_sale")
        assert 590 <= int(refused.headers["retry-after"]) <= 600
        assert refused.json()["opens_at"] == show["sale_opens_at"]
        opened = await _edit(owner, show, sale_opens_at="2020-01-01T00:00:00Z")
        assert opened.status_code == 200
        assert (await _claim(client, show, seats=["1"])).status_code == 201, status


async def test_a_sale_that_is_over_or_stopped_refuses(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    over = await a_show(sale_closes_at="2020-01-01T00:00:00Z")
    waiting = await a_show(status="scheduled")
    paused = await a_show()
    assert (await _edit(owner, paused, status="paused")).status_code == 200
    closed = await a_show()
    assert (await _edit(owner, closed, status="closed")).status_code == 200
    for show in (over, waiting, paused, closed):
        refused = await _claim(client, show, seats=["1"])
        assert (refused.status_code, refused.json()["code"]) == (409, "not_on_sale"), show["status"]
        assert "retry-after" not in refused.headers
    assert (await _edit(owner, paused, status="on_sale")).status_code == 200
    assert (await _claim(client, paused, seats=["1"])).status_code == 201


async def test_a_pause_lets_a_hold_be_confirmed(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show()
    held = (await _claim(client, show, seats=["1"])).json()
    await _edit(owner, show, status="paused")
    url = _url(show, f"/bookings/{held['id']}/confirm")
    confirmed = await client.post(url, headers={"Authorization": f"Bearer {held['secret']}"})
    assert confirmed.json()["status"] == "CONFIRMED"


async def test_a_step_that_does_not_exist_is_refused(owner: httpx.AsyncClient, a_show: MakeShow) -> None:
    show = await a_show()
    refused = await _edit(owner, show, status="scheduled", name="Changed")
    assert (refused.status_code, refused.json()["code"]) == (409, "status_step")
    assert refused.json()["status_now"] == "on_sale"
    assert (await owner.get(_url(show))).json() == show


async def test_a_show_with_bookings_is_not_hidden_again(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show(status="scheduled", sale_opens_at="2020-01-01T00:00:00Z")
    held = (await _claim(client, show, seats=["1"])).json()
    refused = await _edit(owner, show, status="draft")
    assert (refused.status_code, refused.json()["code"]) == (409, "status_step")
    await client.post(
        _url(show, f"/bookings/{held['id']}/cancel"), headers={"Authorization": f"Bearer {held['secret']}"}
    )
    assert (await _edit(owner, show, status="draft")).status_code == 200
    assert (await client.get(_url(show))).status_code == 404


async def test_a_cancelled_show_ends_its_bookings(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, engine: Engine, a_show: MakeShow
) -> None:
    show = await a_show(areas=[STALLS])
    held = (await _claim(client, show, seats=["A-1"])).json()
    sold = (await _claim(client, show, seats=["A-2", "A-3"], confirm=True)).json()
    cancelled = await _edit(owner, show, status="cancelled")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (await _claim(client, show, seats=["A-9"])).json()["code"] == "not_on_sale"

    async def end_of(made: Show) -> tuple[str, str | None]:
        url = _url(show, f"/bookings/{made['id']}")
        read = (await client.get(url, headers={"Authorization": f"Bearer {made['secret']}"})).json()
        return read["status"], read["reason"]

    stopping = asyncio.Event()
    working = asyncio.create_task(work(engine, stopping))

    async def all_ended() -> bool:
        return {await end_of(held), await end_of(sold)} == {
            ("FAILED", "show_cancelled"),
            ("CANCELLED", "show_cancelled"),
        }

    try:
        await eventually(all_ended)
    finally:
        stopping.set()
        await working
    shown = (await client.get(_url(show))).json()
    assert (shown["reserved_seats"], shown["available_seats"], shown["status"]) == (0, 42, "cancelled")
    assert (await _edit(owner, show, status="on_sale")).json()["code"] == "status_step"
