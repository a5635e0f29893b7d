"""The routes of the seeds, golden: exact keys in their exact order, exact texts, exact statuses.

What the four examples of seed 004 say is compared whole; where an answer has an id or a time, its form is.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from holdfast import accounts, booking
from holdfast.accounts import Principal, Role
from holdfast.booking import seeds_routes
from holdfast.engine import Engine
from holdfast.platform.db import Database
from holdfast.platform.errors import Busy
from holdfast.platform.ids import BookingId, OrganizerId, PersonId, new_id
from tests.conftest import client_of

pytestmark = pytest.mark.anyio

AVENGERS = {"name": "Avengers: Endgame", "start_time": "2024-03-25T18:00:00Z", "total_seats": 100}
DARK_KNIGHT = {"name": "The Dark Knight", "start_time": "2024-03-26T20:00:00Z", "total_seats": 80}
SHOW_ERROR = {"error": "All fields are required and must be valid"}
NOT_FOUND = {"error": "Show not found"}
NO_BOOKING = {"error": "Booking not found"}
INVALID = {"error": "Invalid input"}
# To the second, as the seeds write them.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
BIG = 2**31

Show = dict[str, Any]


async def _made(client: httpx.AsyncClient, **changes: Any) -> Show:
    answer = await client.post("/admin/show", json={**AVENGERS, **changes})
    assert answer.status_code == 201, answer.text
    show: Show = answer.json()["show"]
    return show


async def _book(client: httpx.AsyncClient, show: Show, count: int, key: str | None = None) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await client.post("/book", json={"show_id": show["id"], "seat_count": count}, headers=headers)


async def _hold(client: httpx.AsyncClient, show: Show, seats: list[Any], **changes: Any) -> httpx.Response:
    body = {"show_id": show["id"], "user_email": "guest@example.org", "seat_numbers": seats, **changes}
    return await client.post("/api/bookings", json=body)


async def _held(client: httpx.AsyncClient, show: Show, seats: list[Any]) -> dict[str, Any]:
    answer = await _hold(client, show, seats)
    assert answer.status_code == 201, answer.text
    held: dict[str, Any] = answer.json()
    return held


async def _left(client: httpx.AsyncClient, show: Show) -> int:
    shows = (await client.get("/shows")).json()
    left: int = next(each["available_seats"] for each in shows if each["id"] == show["id"])
    return left


async def _overdue(engine: Engine) -> None:
    await engine.db.execute(
        "update bookings set created_at = created_at - interval '1 h', expires_at = expires_at - interval '1 h'"
        " where status = 'PENDING'"
    )


def _is_error(answer: httpx.Response, status: int, body: dict[str, Any]) -> None:
    assert (answer.status_code, answer.json()) == (status, body)
    assert answer.headers["content-type"] == "application/json"


# POST /admin/show


async def test_a_show_is_created(client: httpx.AsyncClient) -> None:
    answer = await client.post("/admin/show", json=AVENGERS)
    assert answer.status_code == 201
    told = answer.json()
    assert list(told) == ["message", "show"]
    assert told["message"] == "Show created successfully"
    show = told["show"]
    assert list(show) == ["id", "name", "start_time", "total_seats", "booked_seats", "created_at"]
    assert str(UUID(show["id"])) == show["id"]
    assert {key: show[key] for key in AVENGERS} == AVENGERS
    assert show["booked_seats"] == 0
    assert TIME.fullmatch(show["created_at"])
    age = datetime.now(UTC) - datetime.fromisoformat(show["created_at"])
    assert timedelta(seconds=-2) < age < timedelta(minutes=1)


async def test_a_start_is_told_in_utc(client: httpx.AsyncClient) -> None:
    assert (await _made(client, start_time="2030-03-25T18:00:00+05:30"))[
        "start_time"
    ] == "2030-03-25T12:30:00Z"
    assert (await _made(client, start_time="2030-03-25T18:00:00.25Z"))[
        "start_time"
    ] == "2030-03-25T18:00:00.250Z"


async def test_a_show_has_a_seat_to_200000(client: httpx.AsyncClient) -> None:
    assert (await _made(client, name="x" * 255, total_seats=1))["total_seats"] == 1
    assert (await _made(client, total_seats=200_000))["total_seats"] == 200_000


async def test_a_show_that_is_not_valid(client: httpx.AsyncClient) -> None:
    wrong: list[dict[str, Any]] = [
        *({field: None} for field in AVENGERS),
        {"name": ""}, {"name": " "}, {"name": 7}, {"name": "x" * 256}, {"name": "a\0b"}, {"name": "a\nb"},
        {"start_time": "2024-03-25T18:00:00"}, {"start_time": "2024-03-25"}, {"start_time": 1711389600},
        {"start_time": "soon"}, {"start_time": "1969-12-31T23:59:59Z"}, {"start_time": "2024-02-30T18:00:00Z"},
        {"total_seats": 0}, {"total_seats": -1}, {"total_seats": 200_001}, {"total_seats": BIG},
        {"total_seats": 2**63}, {"total_seats": "100"}, {"total_seats": 2.5}, {"total_seats": True},
        {"price": 5},
    ]  # fmt: skip
    for changes in wrong:
        answer = await client.post("/admin/show", json={**AVENGERS, **changes})
        assert (answer.status_code, answer.json()) == (400, SHOW_ERROR), changes
    for field in AVENGERS:
        body = {key: value for key, value in AVENGERS.items() if key != field}
        _is_error(await client.post("/admin/show", json=body), 400, SHOW_ERROR)
    for raw in (b"", b"{", b"[]", b"null", b"\xff"):
        _is_error(await client.post("/admin/show", content=raw), 400, SHOW_ERROR)
    assert (await client.get("/shows")).json() == []


async def test_a_show_is_created_once_for_a_key(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await client.post("/admin/show", json=AVENGERS, headers=headers)
    again = await client.post("/admin/show", json=AVENGERS, headers=headers)
    assert again.json() == first.json()
    other = await client.post("/admin/show", json=DARK_KNIGHT, headers=headers)
    _is_error(other, 422, {"error": "This Idempotency-Key was used with another request."})
    assert len((await client.get("/shows")).json()) == 1


async def test_an_open_show_belongs_to_the_first_organizer(
    client: httpx.AsyncClient, owner: httpx.AsyncClient
) -> None:
    show = await _made(client)
    mine = (await owner.get("/v1/shows?mine=true&starts_after=2020-01-01T00:00:00Z")).json()["shows"]
    assert [each["id"] for each in mine] == [show["id"]]


# GET /shows


async def test_shows_are_listed_in_the_order_of_their_start(client: httpx.AsyncClient) -> None:
    assert (await client.get("/shows")).json() == []
    late, early = await _made(client, **DARK_KNIGHT), await _made(client)
    assert (await _book(client, early, 5)).json()["booking"]["status"] == "CONFIRMED"
    answer = await client.get("/shows")
    assert answer.status_code == 200
    assert answer.json() == [
        {"id": early["id"], **AVENGERS, "available_seats": 95},
        {"id": late["id"], **DARK_KNIGHT, "available_seats": 80},
    ]
    assert [list(each) for each in answer.json()] == [
        ["id", "name", "start_time", "total_seats", "available_seats"]
    ] * 2
    assert (await client.get("/api/shows")).json() == answer.json()


async def test_the_list_is_live(client: httpx.AsyncClient) -> None:
    show = await _made(client)
    for booked in range(3):
        assert await _left(client, show) == 100 - booked
        await _book(client, show, 1)


async def test_shows_that_are_not_sold_are_not_listed(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: Any
) -> None:
    await a_show(status="draft")
    closed = await _made(client)
    assert len((await client.get("/shows")).json()) == 1
    edited = await owner.patch(f"/v1/shows/{closed['id']}", json={"status": "closed"})
    assert edited.status_code == 200, edited.text
    assert (await client.get("/shows")).json() == []


async def test_the_list_is_bounded_to_the_shows_that_start_last(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeds_routes, "SHOWS_MAX", 2)
    for year in (2031, 2030, 2032):
        await _made(client, name=str(year), start_time=f"{year}-03-25T18:00:00Z", total_seats=1)
    assert [show["name"] for show in (await client.get("/shows")).json()] == ["2031", "2032"]


# POST /book


async def test_places_are_booked(client: httpx.AsyncClient) -> None:
    show = await _made(client)
    answer = await _book(client, show, 2)
    assert answer.status_code == 200
    told = answer.json()
    assert list(told) == ["message", "booking"]
    assert told["message"] == "Booking CONFIRMED"
    booked = told["booking"]
    assert list(booked) == ["id", "show_id", "seat_count", "status", "created_at"]
    assert str(UUID(booked["id"])) == booked["id"]
    assert (booked["show_id"], booked["seat_count"], booked["status"]) == (show["id"], 2, "CONFIRMED")
    assert TIME.fullmatch(booked["created_at"])
    assert await _left(client, show) == 98


async def test_too_few_places_are_a_failed_booking_that_is_kept(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    show = await _made(client)
    answer = await _book(client, show, 200)
    assert answer.status_code == 200
    told = answer.json()
    assert list(told) == ["message", "booking"]
    assert told["message"] == "Booking FAILED"
    failed = told["booking"]
    assert list(failed) == ["id", "show_id", "seat_count", "status", "created_at"]
    assert (failed["show_id"], failed["seat_count"], failed["status"]) == (show["id"], 200, "FAILED")
    assert TIME.fullmatch(failed["created_at"])

    kept = await booking.find_booking(engine.db, BookingId(UUID(failed["id"])))
    assert (kept.status, kept.reason, kept.quantity, kept.seats) == ("FAILED", "sold_out", 200, [])
    assert await _left(client, show) == 100


async def test_one_booking_may_have_all_seats_and_not_one_more(client: httpx.AsyncClient) -> None:
    for total in (1, 100, 1000):
        show = await _made(client, total_seats=total)
        assert (await _book(client, show, total + 1)).json()["message"] == "Booking FAILED"
        assert (await _book(client, show, total)).json()["message"] == "Booking CONFIRMED"
        assert await _left(client, show) == 0
        assert (await _book(client, show, 1)).json()["message"] == "Booking FAILED"


async def test_a_booking_has_10000_places_at_most(client: httpx.AsyncClient) -> None:
    show = await _made(client, total_seats=10_001)
    assert (await _book(client, show, 10_001)).json()["message"] == "Booking FAILED"
    assert (await _book(client, show, 10_000)).json()["message"] == "Booking CONFIRMED"
    assert await _left(client, show) == 1


async def test_more_than_one_booking_may_have_of_the_show_is_a_failed_booking(
    client: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show(total_seats=20, max_places_per_booking=4)
    assert (await _book(client, show, 5)).json()["message"] == "Booking FAILED"
    assert (await _book(client, show, 4)).json()["message"] == "Booking CONFIRMED"


async def test_a_count_that_is_not_valid(client: httpx.AsyncClient) -> None:
    show = await _made(client)
    wrong: list[Any] = [0, -1, "2", 2.5, 2.0, True, BIG, 2**63, 2**64, 1_000_001, None, [], {}]
    for count in wrong:
        answer = await _book(client, show, count)
        assert (answer.status_code, answer.json()) == (400, INVALID), count
    assert await _left(client, show) == 100


async def test_the_largest_count_that_can_be_stored_is_a_failed_booking(client: httpx.AsyncClient) -> None:
    failed = (await _book(client, await _made(client), 1_000_000)).json()["booking"]
    assert (failed["seat_count"], failed["status"]) == (1_000_000, "FAILED")


async def test_a_body_that_is_not_valid(client: httpx.AsyncClient) -> None:
    wrong = [
        b"", b"{", b"[]", b"null", b"\xff", b'{"seat_count": 2}', b'{"show_id": null, "seat_count": 2}',
        b'{"show_id": [1], "seat_count": 2}', b'{"show_id": 1.5, "seat_count": 2}', b'{"show_id": "", "seat_count": 2}',
        b'{"show_id": "1"}', b'{"show_id": "1", "seat_count": 2, "price": 0}', b'{"show_id": "\\u0000", "seat_count": 2}',
    ]  # fmt: skip
    for body in wrong:
        answer = await client.post("/book", content=body)
        assert (answer.status_code, answer.json()) == (400, INVALID), body


async def test_a_show_that_is_not_there(client: httpx.AsyncClient) -> None:
    await _made(client)
    nowhere: list[Any] = [1, 0, -1, "1", "avengers", str(uuid4())]
    for show_id in nowhere:
        _is_error(await _book(client, {"id": show_id}, 2), 404, NOT_FOUND)
        _is_error(await _hold(client, {"id": show_id}, [1]), 404, NOT_FOUND)
        _is_error(await client.get(f"/api/shows/{show_id}/seats"), 404, NOT_FOUND)


async def test_a_draft_is_not_there(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show(status="draft")
    _is_error(await _book(client, show, 1), 404, NOT_FOUND)
    _is_error(await _hold(client, show, [1]), 404, NOT_FOUND)
    _is_error(await client.get(f"/api/shows/{show['id']}/seats"), 404, NOT_FOUND)


async def test_a_show_with_a_price_is_not_booked_unpaid(
    client: httpx.AsyncClient, a_show: Any, engine: Engine
) -> None:
    show = await a_show(tiers=[{"name": "Adult", "area": "Main", "amount": 1}])
    told = f"This show has a price, and nothing here takes money. Claim places with POST /v1/shows/{show['id']}/bookings."
    _is_error(await _book(client, show, 1), 409, {"error": told})
    assert await engine.db.value("select count(*) from bookings") == 0


async def test_a_price_of_nothing_is_free(client: httpx.AsyncClient, a_show: Any) -> None:
    tiers = [{"name": name, "area": "Main", "amount": 0} for name in ("Adult", "Child")]
    assert (await _book(client, await a_show(tiers=tiers), 1)).json()["message"] == "Booking CONFIRMED"


async def test_a_price_that_this_process_has_not_heard_of_is_not_forgotten(
    client: httpx.AsyncClient,
    engine: Engine,
    open_another: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show = await _made(client)
    await _left(client, show)
    known = await engine.office.views.get(booking_show_id(show))
    async with open_another() as other:
        member = await accounts.first_owner(other.db)
        assert member is not None
        token = other.access.tokens.issue(member.principal).text
        async with client_of(other, Authorization=f"Bearer {token}") as elsewhere:
            edit = {"tiers": [{"name": "Adult", "area": "Main", "amount": 100}]}
            assert (await elsewhere.patch(f"/v1/shows/{show['id']}", json=edit)).status_code == 200
    looks = iter([known])
    get = engine.office.views.get

    async def get_the_old_one_first(show_id: Any) -> Any:
        return next(looks, None) or await get(show_id)

    monkeypatch.setattr(engine.office.views, "get", get_the_old_one_first)
    monkeypatch.setattr(seeds_routes, "_show", _unlooked(known))
    assert (await _book(client, show, 1)).status_code == 409
    assert await _left(client, show) == 100


def booking_show_id(show: Show) -> Any:
    return UUID(show["id"])


def _unlooked(view: Any) -> Any:
    async def known(call: Any, given: Any) -> Any:
        return view

    return known


async def test_any_places_will_do(client: httpx.AsyncClient, a_show: Any) -> None:
    """Seats that no longer lie together, a standing area, and the one area of several that has enough."""
    apart = await _made(client, total_seats=5)
    await _held(client, apart, [2, 4])
    assert (await _book(client, apart, 3)).json()["message"] == "Booking CONFIRMED"

    standing = await a_show(areas=[{"name": "Floor", "kind": "standing", "capacity": 3}])
    assert (await _book(client, standing, 3)).json()["message"] == "Booking CONFIRMED"
    assert (await _book(client, standing, 1)).json()["message"] == "Booking FAILED"

    several = await a_show(
        areas=[
            {"name": "Box", "kind": "seated", "rows": [{"label": "A", "seats": 2}]},
            {"name": "Floor", "kind": "standing", "capacity": 4},
            {"name": "Stalls", "kind": "seated", "rows": [{"label": "B", "seats": 3}]},
        ]
    )
    told = [(await _book(client, several, count)).json()["message"] for count in (4, 3, 3, 2, 1)]
    assert told == [
        f"Booking {status}" for status in ("CONFIRMED", "CONFIRMED", "FAILED", "CONFIRMED", "FAILED")
    ]


async def test_places_that_are_held_too_long_can_be_booked(client: httpx.AsyncClient, engine: Engine) -> None:
    show = await _made(client, total_seats=3)
    await _held(client, show, [1, 2])
    assert (await _book(client, show, 2)).json()["message"] == "Booking FAILED"
    await _overdue(engine)
    assert (await _book(client, show, 3)).json()["message"] == "Booking CONFIRMED"


async def test_places_held_too_long_in_another_area_can_be_booked(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    """The area that is asked first has too little; asking it frees the other."""
    show = await a_show(
        areas=[
            {"name": "Box", "kind": "seated", "rows": [{"label": "A", "seats": 2}]},
            {"name": "Floor", "kind": "standing", "capacity": 2},
        ]
    )
    await _held(client, show, [1, 2])
    assert (await _book(client, show, 1)).json()["message"] == "Booking CONFIRMED"
    assert (await _book(client, show, 2)).json()["message"] == "Booking FAILED"
    await _overdue(engine)
    assert (await _book(client, show, 2)).json()["message"] == "Booking CONFIRMED"


async def test_a_show_that_is_not_on_sale(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show(sale_opens_at="2030-12-01T12:00:00Z")
    answer = await _book(client, show, 1)
    _is_error(answer, 409, {"error": "The show is not on sale now."})
    assert int(answer.headers["retry-after"]) > 0


async def test_a_crowd_books_a_show_to_the_last_seat(client: httpx.AsyncClient) -> None:
    show = await _made(client, total_seats=50)
    told = await asyncio.gather(*(_book(client, show, 1) for _ in range(60)))
    messages = sorted(answer.json().get("message") for answer in told)
    assert messages == ["Booking CONFIRMED"] * 50 + ["Booking FAILED"] * 10
    assert await _left(client, show) == 0


async def test_a_key_books_once(client: httpx.AsyncClient, owner: httpx.AsyncClient) -> None:
    show = await _made(client, total_seats=4)
    told = await asyncio.gather(*(_book(client, show, 3, "key") for _ in range(10)))
    assert len({answer.text for answer in told}) == 1
    assert told[0].json()["message"] == "Booking CONFIRMED"
    assert await _left(client, show) == 1
    _is_error(
        await _book(client, show, 1, "key"),
        422,
        {"error": "This Idempotency-Key was used with another request."},
    )

    # A retry of a sale hears of the sale, whatever became of the show.
    assert (await _book(client, show, 1)).json()["message"] == "Booking CONFIRMED"
    assert (await _book(client, show, 3, "key")).text == told[0].text
    edit = {"tiers": [{"name": "Adult", "area": "Main", "amount": 100}]}
    assert (await owner.patch(f"/v1/shows/{show['id']}", json=edit)).status_code == 200
    assert (await _book(client, show, 1)).status_code == 409
    assert (await _book(client, show, 3, "key")).text == told[0].text


async def test_a_key_fails_once(client: httpx.AsyncClient, engine: Engine) -> None:
    show = await _made(client, total_seats=4)
    told = await asyncio.gather(*(_book(client, show, 5, "key") for _ in range(10)))
    assert len({answer.text for answer in told}) == 1
    assert told[0].json()["message"] == "Booking FAILED"
    assert await engine.db.value("select count(*) from bookings") == 1
    _is_error(
        await _book(client, show, 6, "key"),
        422,
        {"error": "This Idempotency-Key was used with another request."},
    )
    # Without a key each refusal is a booking of its own.
    assert (await _book(client, show, 5)).json()["booking"]["id"] != told[0].json()["booking"]["id"]


async def test_a_fault_is_an_internal_server_error(client: httpx.AsyncClient, db: Database) -> None:
    show = await _made(client)
    await db.execute("alter table bookings rename to bookings_away")
    _is_error(await _book(client, show, 1), 500, {"error": "Internal Server Error"})
    await db.execute("alter table bookings_away rename to bookings")
    assert (await _book(client, show, 1)).json()["message"] == "Booking CONFIRMED"
    assert await _left(client, show) == 99


def test_a_moment_of_overload_says_when_to_come_back() -> None:
    route = next(route for route in seeds_routes.routes.all if route.path == "/book")
    assert route.problems is not None
    answer = route.problems(Busy(retry_after=3)).encoded()
    assert (answer.status, answer.headers) == (503, ((b"retry-after", b"3"),))
    assert answer.body == b'{"error":"Too busy, or the database is away. Try again in a moment."}'


# The routes of seed 002


async def test_seats_are_listed(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await _made(client, total_seats=3)
    await _held(client, show, [2])
    answer = await client.get(f"/api/shows/{show['id']}/seats")
    assert answer.status_code == 200
    assert answer.text == (
        '[{"seat_number":1,"booked":false},{"seat_number":2,"booked":true},{"seat_number":3,"booked":false}]'
    )
    rows = [{"label": "A", "seats": 2}, {"label": "B", "seats": 1}]
    named = await a_show(areas=[{"name": "Stalls", "kind": "seated", "rows": rows}])
    seats = (await client.get(f"/api/shows/{named['id']}/seats")).json()
    assert [seat["seat_number"] for seat in seats] == ["A-1", "A-2", "B-1"]


async def test_seats_are_held_by_number(client: httpx.AsyncClient) -> None:
    for seats in ([5, 6], ["5", "6"], [6, "5"]):
        await _is_held(client, await _made(client), seats)


async def _is_held(client: httpx.AsyncClient, show: Show, seats: list[Any]) -> None:
    answer = await _hold(client, show, seats)
    assert answer.status_code == 201
    held = answer.json()
    assert list(held) == ["booking_id", "show_id", "user_email", "seat_numbers", "status", "expires_at"]
    assert str(UUID(held["booking_id"])) == held["booking_id"]
    assert (held["show_id"], held["user_email"]) == (show["id"], "guest@example.org")
    assert (held["seat_numbers"], held["status"]) == (seats, "PENDING")
    assert TIME.fullmatch(held["expires_at"])
    left = (datetime.fromisoformat(held["expires_at"]) - datetime.now(UTC)).total_seconds()
    assert 110 < left <= 120
    assert await _left(client, show) == 98

    read = await client.get(f"/api/bookings/{held['booking_id']}")
    assert read.status_code == 200
    assert read.json() == {**held, "seat_numbers": [int(seat) for seat in seats]}
    assert list(read.json()) == list(held)


async def test_seats_are_held_by_name(client: httpx.AsyncClient, a_show: Any) -> None:
    rows = [{"label": "A", "seats": 3}]
    show = await a_show(areas=[
        {"name": "Stalls", "kind": "seated", "rows": [*rows, {"label": "B", "seats": 3}]},
    ])  # fmt: skip
    held = await _held(client, show, ["A-1", "B-2"])
    assert (await client.get(f"/api/bookings/{held['booking_id']}")).json()["seat_numbers"] == ["A-1", "B-2"]


async def test_seats_that_are_booked_are_named_as_they_were_asked_for(client: httpx.AsyncClient) -> None:
    show = await _made(client)
    await _held(client, show, [5, 6])
    cases: list[tuple[list[Any], list[Any]]] = [
        ([4, 5, 6, 7], [5, 6]),
        (["4", "5"], ["5"]),
        (["Main:6", 5], ["Main:6", 5]),
    ]
    for wanted, taken in cases:
        answer = await _hold(client, show, wanted)
        _is_error(answer, 409, {"error": "Seats already booked", "status": "FAILED", "conflictSeats": taken})
        assert list(answer.json()) == ["error", "status", "conflictSeats"]
    # All or none.
    assert await _left(client, show) == 98


async def test_a_hold_that_is_not_valid(client: httpx.AsyncClient) -> None:
    some = ", ".join(map(str, range(101, 121)))
    wrong: list[tuple[str, str, list[Any]]] = [
        ("seat_numbers", "The show has no such seats: 0.", [[0]]),
        ("seat_numbers", "The show has no such seats: 101, A-1.", [[5, 101, "A-1"]]),
        ("seat_numbers", f"The show has no such seats: {BIG - 1}.", [[BIG - 1]]),
        ("seat_numbers", f"The show has no such seats: {some}.", [list(range(101, 121))]),
        ("seat_numbers", f"The show has no such seats: {some} and 1 more.", [list(range(101, 122))]),
        ("seat_numbers", "Seat 5 is asked for twice.", [[5, 5], [5, 6, "5"]]),
        ("seat_numbers", "This seat is asked for twice.", [[5, "Main:5"]]),
        (
            "seat_numbers",
            "seat_numbers must be 1 to 10000 seats, by number or name.",
            [[], [-1], [BIG], [2.5], [True], [None], [""], "5", 5, None, [5] * 10_001],
        ),
        (
            "user_email",
            "user_email must be an e-mail address.",
            ["guest", "@", "a@b@c", "a b@c", "", "x" * 253 + "@b", None, 5],
        ),
        ("show_id", "show_id must be the id of a show.", [None, [], "", True]),
        ("price", "The field `price` is not known here.", [0]),
    ]
    show = await _made(client)
    for field, error, values in wrong:
        for value in values:
            answer = await _hold(client, show, [5], **{field: value})
            assert (answer.status_code, answer.json()) == (400, {"error": error}), (field, value)
    assert await _left(client, show) == 100
    await _hold(client, show, [5], user_email="x" * 252 + "@b")
    assert await _left(client, show) == 99


async def test_a_hold_with_a_field_left_out(client: httpx.AsyncClient) -> None:
    body = {"show_id": str(uuid4()), "seat_numbers": [5]}
    answer = await client.post("/api/bookings", json=body)
    _is_error(answer, 400, {"error": "user_email must be an e-mail address."})


async def test_more_seats_than_one_booking_may_have(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show(max_places_per_booking=2)
    error = "One booking may not have so many places of this show. At most 2."
    _is_error(await _hold(client, show, [1, 2, 3]), 400, {"error": error})


async def test_seats_with_several_prices_are_claimed_elsewhere(
    client: httpx.AsyncClient, a_show: Any
) -> None:
    tiers = [{"name": name, "area": "Main", "amount": 5} for name in ("Adult", "Child")]
    show = await a_show(tiers=tiers)
    error = f"These seats have several prices. Say which with POST /v1/shows/{show['id']}/bookings."
    _is_error(await _hold(client, show, [1]), 409, {"error": error})


async def test_a_hold_is_made_once_for_a_key(client: httpx.AsyncClient) -> None:
    show = await _made(client)
    body = {"show_id": show["id"], "user_email": "guest@example.org", "seat_numbers": ["5", 6]}
    headers = {"Idempotency-Key": "k-1"}
    first = await client.post("/api/bookings", json=body, headers=headers)
    again = await client.post("/api/bookings", json=body, headers=headers)
    assert (again.status_code, again.text) == (201, first.text)
    other = await client.post("/api/bookings", json={**body, "seat_numbers": [7]}, headers=headers)
    _is_error(other, 422, {"error": "This Idempotency-Key was used with another request."})


async def test_a_booking_is_confirmed(client: httpx.AsyncClient) -> None:
    show = await _made(client)
    held = await _held(client, show, [5, 6])
    url = f"/api/bookings/{held['booking_id']}"
    answer = await client.post(f"{url}/confirm")
    assert answer.status_code == 200
    assert answer.json() == {**held, "status": "CONFIRMED", "expires_at": None}
    assert list(answer.json()) == list(held)
    assert (await client.get(url)).json() == answer.json()
    again = await client.post(f"{url}/confirm")
    assert (again.status_code, again.json()) == (200, answer.json())


async def test_a_booking_with_a_price_is_not_confirmed_unpaid(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show(tiers=[{"name": "Adult", "area": "Main", "amount": 1}])
    held = await _held(client, show, [5])
    where = f"/v1/shows/{show['id']}/bookings/{held['booking_id']}/confirm"
    error = (
        "This show has a price, and nothing here takes money."
        f" Staff who took the money confirm it with POST {where}."
    )
    _is_error(await client.post(f"/api/bookings/{held['booking_id']}/confirm"), 409, {"error": error})
    assert (await client.get(f"/api/bookings/{held['booking_id']}")).json()["status"] == "PENDING"
    # It is as the error says.
    assert (await owner.post(where)).status_code == 200


async def test_a_booking_that_expired_is_failed_and_gone(client: httpx.AsyncClient, engine: Engine) -> None:
    show = await _made(client)
    held = await _held(client, show, [5])
    await _overdue(engine)
    url = f"/api/bookings/{held['booking_id']}"
    error = "The time to confirm this booking has passed and its places are free again."
    for _ in range(2):
        # Before and after the sweep.
        assert (await client.get(url)).json() == {**held, "status": "FAILED", "expires_at": None}
        _is_error(await client.post(f"{url}/confirm"), 410, {"error": error})
        await booking.sweep(engine.office)
    assert await _left(client, show) == 100


async def test_a_booking_that_was_cancelled_is_failed(
    client: httpx.AsyncClient, owner: httpx.AsyncClient
) -> None:
    show = await _made(client)
    held = await _held(client, show, [5])
    url = f"/api/bookings/{held['booking_id']}"
    await client.post(f"{url}/confirm")
    cancelled = await owner.post(f"/v1/shows/{show['id']}/bookings/{held['booking_id']}/cancel")
    assert cancelled.json()["status"] == "CANCELLED"
    assert (await client.get(url)).json() == {**held, "status": "FAILED", "expires_at": None}
    _is_error(await client.post(f"{url}/confirm"), 409, {"error": "This booking has ended."})


async def test_a_booking_that_is_not_there(client: httpx.AsyncClient) -> None:
    await _made(client)
    for booking_id in ("1", str(uuid4())):
        _is_error(await client.get(f"/api/bookings/{booking_id}"), 404, NO_BOOKING)
        _is_error(await client.post(f"/api/bookings/{booking_id}/confirm"), 404, NO_BOOKING)


async def test_a_booking_is_found_in_whichever_show(client: httpx.AsyncClient) -> None:
    shows = [await _made(client, total_seats=2) for _ in range(3)]
    held = [await _held(client, show, [1, 2]) for show in shows]
    for each in held:
        assert (await client.get(f"/api/bookings/{each['booking_id']}")).json() == each
    booked = (await _book(client, await _made(client), 2)).json()["booking"]
    read = (await client.get(f"/api/bookings/{booked['id']}")).json()
    assert (read["status"], read["user_email"], len(read["seat_numbers"])) == ("CONFIRMED", None, 2)


# Who may


def _requests(show_id: str, booking_id: str) -> list[tuple[str, str, Any]]:
    """Every route of the seeds once, valid."""
    claim = {"show_id": show_id, "user_email": "guest@example.org", "seat_numbers": [1]}
    return [
        ("POST", "/admin/show", AVENGERS),
        ("POST", "/api/admin/shows", AVENGERS),
        ("GET", "/shows", None),
        ("GET", "/api/shows", None),
        ("GET", f"/api/shows/{show_id}/seats", None),
        ("POST", "/book", {"show_id": show_id, "seat_count": 1}),
        ("POST", "/api/bookings", claim),
        ("GET", f"/api/bookings/{booking_id}", None),
        ("POST", f"/api/bookings/{booking_id}/confirm", None),
    ]


def test_every_route_is_among_them() -> None:
    declared = {(route.method, route.path.replace("{show_id}", "s").replace("{booking_id}", "b")) for route in seeds_routes.routes.all}  # fmt: skip
    assert {(method, path) for method, path, _ in _requests("s", "b")} == declared


def _token(engine: Engine, role: Role, organizer_id: OrganizerId) -> str:
    text: str = engine.access.tokens.issue(Principal(PersonId(new_id()), organizer_id, role)).text
    return text


@pytest.fixture
async def closed(open_another: Callable[..., Any], engine: Engine) -> AsyncIterator[Engine]:
    """A process that serves the same database to staff alone."""
    async with open_another(seed_routes="staff") as opened:
        yield opened


@pytest.fixture
async def organizer_id(engine: Engine) -> OrganizerId:
    member = await accounts.first_owner(engine.db)
    assert member is not None
    return member.organizer_id


async def test_staff_alone_use_routes_that_are_not_open(
    client: httpx.AsyncClient, closed: Engine, organizer_id: OrganizerId
) -> None:
    show = await _made(client)
    held = await _held(client, show, [2])
    requests = _requests(show["id"], held["booking_id"])
    async with client_of(closed) as nobody:
        for method, path, body in requests:
            answer = await nobody.request(method, path, json=body)
            _is_error(
                answer, 401, {"error": "This needs the access token of a member of staff, or an API key."}
            )
            assert answer.headers["www-authenticate"] == "Bearer"
    # Who may not is told so before what is wrong with the request.
    async with client_of(closed) as nobody:
        assert (await nobody.post("/book", content=b"{")).status_code == 401

    expected: dict[Role, dict[str, int]] = {
        "owner": {},
        "manager": {},
        "box_office": {"/admin/show": 403, "/api/admin/shows": 403},
        "door": dict.fromkeys((path for _, path, _ in requests), 403),
        "viewer": dict.fromkeys((path for _, path, _ in requests), 403),
    }
    for role, refused in expected.items():
        token = _token(closed, role, organizer_id)
        async with client_of(closed, Authorization=f"Bearer {token}") as staff:
            # One seat for each, because one alone may have it.
            seats = {"seat_numbers": [10 + list(expected).index(role)]}
            for method, path, body in requests:
                sent = {**body, **seats} if path == "/api/bookings" else body
                answer = await staff.request(method, path, json=sent)
                status = refused.get(
                    path, 201 if path in ("/admin/show", "/api/admin/shows", "/api/bookings") else 200
                )
                assert answer.status_code == status, (role, path, answer.text)
                if status == 403:
                    assert list(answer.json()) == ["error"]


async def test_staff_reach_no_further_than_their_organizer(client: httpx.AsyncClient, closed: Engine) -> None:
    show = await _made(client)
    held = await _held(client, show, [2])
    token = _token(closed, "owner", OrganizerId(new_id()))
    async with client_of(closed, Authorization=f"Bearer {token}") as stranger:
        for method, path, body in _requests(show["id"], held["booking_id"])[4:]:
            there_is_none = NO_BOOKING if "/api/bookings/" in path else NOT_FOUND
            _is_error(await stranger.request(method, path, json=body), 404, there_is_none)
        assert (await stranger.get("/shows")).json() == []
    assert (await client.get(f"/api/bookings/{held['booking_id']}")).json() == held


async def test_the_routes_can_be_off(client: httpx.AsyncClient, open_another: Callable[..., Any]) -> None:
    show = await _made(client)
    held = await _held(client, show, [2])
    async with (
        open_another(seed_routes="off") as shut,
        client_of(shut, Authorization="Bearer a.b.c") as anybody,
    ):
        for method, path, body in _requests(show["id"], held["booking_id"]):
            assert (await anybody.request(method, path, json=body)).status_code == 404, path
        assert "/book" not in (await anybody.get("/openapi.json")).json()["paths"]


async def test_the_admin_routes_of_the_api_are_never_open(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, engine: Engine, organizer_id: OrganizerId
) -> None:
    answer = await client.post("/api/admin/shows", json=AVENGERS)
    _is_error(answer, 401, {"error": "This needs the access token of a member of staff, or an API key."})
    for role in ("box_office", "door", "viewer"):
        async with client_of(engine, Authorization=f"Bearer {_token(engine, role, organizer_id)}") as staff:
            answer = await staff.post("/api/admin/shows", json=AVENGERS)
            error = f"The role {role} does not have the permission shows.write."
            _is_error(answer, 403, {"error": error})
    made = await owner.post("/api/admin/shows", json=AVENGERS)
    assert made.status_code == 201
    assert list(made.json()) == ["message", "show"]
    assert list(made.json()["show"]) == [
        "id",
        "name",
        "start_time",
        "total_seats",
        "booked_seats",
        "created_at",
    ]
    _is_error(await owner.post("/api/admin/shows", json={}), 400, SHOW_ERROR)
    assert len((await client.get("/shows")).json()) == 1


# What no seed speaks of, in the form of the seeds


async def test_every_other_refusal_has_the_seeds_form(client: httpx.AsyncClient) -> None:
    wrong_method = await client.put("/book", json={})
    _is_error(wrong_method, 405, {"error": "This path does not know that method."})
    assert wrong_method.headers["allow"] == "OPTIONS, POST"
    form = await client.post(
        "/book", content="a=1", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    _is_error(form, 415, {"error": "Send application/json in UTF-8."})
    large = await client.post("/admin/show", content=b" " * 1_048_577)
    _is_error(
        large, 413, {"error": "The body is larger than this route accepts. The limit is 1048576 bytes."}
    )
    _is_error(await client.get("/shows?page=2"), 400, {"error": "The field `page` is not known here."})
    _is_error(await _book(client, await _made(client), 1, "no spaces here"), 400, INVALID)
