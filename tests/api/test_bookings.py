"""The life of a booking over HTTP."""

from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from holdfast.booking import View
from holdfast.engine import Engine
from holdfast.platform.ids import ShowId

pytestmark = pytest.mark.anyio


async def _claim(
    client: httpx.AsyncClient, show: dict[str, Any], key: str | None = None, **body: Any
) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await client.post(f"/v1/shows/{show['id']}/bookings", json=body, headers=headers)


def _as_buyer(booking: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {booking['secret']}"}


async def test_a_claim_holds_seats_and_a_confirmation_sells_them(
    client: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show()
    answer = await _claim(
        client, show, seats=["3", "4"], customer={"email": "guest@example.org", "name": "Guest"}
    )
    assert answer.status_code == 201, answer.text
    booking = answer.json()
    assert booking["status"] == "PENDING"
    assert [place["seat"] for place in booking["places"]] == ["3", "4"]
    assert booking["total"] == {"amount": 0, "currency": "EUR"}
    assert 118 <= booking["expires_in_seconds"] <= 120
    assert answer.headers["location"] == f"/v1/shows/{show['id']}/bookings/{booking['id']}"

    url = f"/v1/shows/{show['id']}/bookings/{booking['id']}"
    assert (await client.get(url)).status_code == 404
    assert (await client.get(url, headers=_as_buyer(booking))).json()["status"] == "PENDING"
    confirmed = await client.post(f"{url}/confirm", headers=_as_buyer(booking))
    assert confirmed.status_code == 200, confirmed.text
    assert confirmed.json()["status"] == "CONFIRMED"
    assert confirmed.json()["confirmed_at"] is not None

    shown = (await client.get(f"/v1/shows/{show['id']}")).json()
    assert (shown["reserved_seats"], shown["available_seats"], shown["booked_seats"]) == (2, 8, 2)


async def test_a_taken_seat_is_refused_by_name(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    assert (await _claim(client, show, seats=["3", "4"])).status_code == 201
    refused = await _claim(client, show, seats=["4", "5"])
    assert refused.status_code == 409
    problem = refused.json()
    assert (problem["code"], problem["seats"]) == ("seats_taken", ["4"])
    assert (await _claim(client, show, seats=["5"])).status_code == 201


HOUSE: dict[str, Any] = {
    "areas": [
        {"name": name, "kind": "seated", "rows": [{"label": "A", "seats": 6}, {"label": "B", "seats": 6}]}
        for name in ("Left", "Right", "Box")
    ],
    "tiers": [
        {"name": "Adult", "area": area, "amount": amount}
        for area, amount in (("Left", 4500), ("Right", 4500), ("Box", 9000))
    ],
}


async def test_seats_that_are_gone_are_made_up_for(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show(**HOUSE)

    async def refused(*seats: str) -> list[str]:
        answer = await _claim(client, show, seats=list(seats))
        assert (answer.status_code, answer.json()["code"]) == (409, "seats_taken"), answer.text
        offered: list[str] = answer.json()["offered"]
        return offered

    assert (await _claim(client, show, seats=["Left:A-3", "Left:A-4"])).status_code == 201
    # Beside each other, in the next row: would do as well, but are farther from.
    assert await refused("Left:A-3", "Left:A-4") == ["Left:B-3", "Left:B-4"]
    # Whoever loses at the same moment is offered others, until there are none, and then the first again.
    offers = [await refused("Left:A-3", "Left:A-4") for _ in range(3)]
    assert len({*map(tuple, offers), ("Left:B-3", "Left:B-4")}) == 4
    # Each area for itself: what is free there is kept.
    kept, other = await refused("Left:A-4", "Box:B-1")
    assert (kept, other[:5]) == ("Box:B-1", "Left:")
    # The same price in another area, and never another price.
    rest = ["Left:A-1", "Left:A-2", "Left:A-5", "Left:A-6", *(f"Left:B-{i}" for i in range(1, 7))]
    assert (await _claim(client, show, seats=rest)).status_code == 201
    assert all(seat.startswith("Right:") for seat in await refused("Left:A-3", "Left:A-4"))
    assert (await _claim(client, show, quantity=10, area="Right", split=True)).status_code == 201
    assert len(await refused("Left:A-3", "Left:A-4")) == 2
    assert await refused("Left:A-3", "Left:A-4", "Left:A-5") == []


async def test_who_would_leave_somebody_alone_is_offered_other_seats(
    client: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show(**HOUSE, orphans="refuse")
    refused = await _claim(client, show, seats=["Left:A-2", "Left:A-3"])
    assert refused.status_code == 409
    problem = refused.json()
    assert (problem["code"], problem["seats"]) == ("orphan_seat", ["Left:A-1"])
    assert (await _claim(client, show, seats=problem["offered"])).status_code == 201


async def test_places_for_wheelchairs_are_offered_to_those_alone_who_wanted_such(
    client: httpx.AsyncClient, a_show: Any
) -> None:
    kept = ["wheelchair", "companion", None, None, "wheelchair", "companion"]
    rows = [{"label": "A", "seats": 6, "access": kept}, {"label": "B", "seats": 6}]
    show = await a_show(areas=[{"name": "Stalls", "kind": "seated", "rows": rows}])
    for taken in (["A-1", "A-2"], ["A-3", "A-4"]):
        assert (await _claim(client, show, seats=taken)).status_code == 201
    wheels = await _claim(client, show, seats=["A-1", "A-2"])
    assert wheels.json()["offered"] == ["A-5", "A-6"]
    others = await _claim(client, show, seats=["A-3", "A-4"])
    assert others.json()["offered"] == ["B-3", "B-4"]


async def test_a_standing_area_sells_to_the_last_place_and_no_further(
    client: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show(areas=[{"name": "Floor", "kind": "standing", "capacity": 5}])
    assert (await _claim(client, show, quantity=3)).status_code == 201
    refused = await _claim(client, show, quantity=3)
    assert (refused.status_code, refused.json()["code"]) == (409, "sold_out")
    assert (await _claim(client, show, quantity=2)).status_code == 201
    assert (await _claim(client, show, quantity=1)).status_code == 409


async def test_best_available_sits_together(client: httpx.AsyncClient, a_show: Any) -> None:
    rows = [{"label": "A", "seats": 6}, {"label": "B", "seats": 6}]
    show = await a_show(areas=[{"name": "Stalls", "kind": "seated", "rows": rows}])
    booking = (await _claim(client, show, best_available=3)).json()
    assert {place["seat"][0] for place in booking["places"]} == {"A"}
    assert booking["relaxed"] is None
    wide = await _claim(client, show, best_available=7)
    assert (wide.status_code, wide.json()["code"]) == (409, "not_together")
    split = (await _claim(client, show, best_available=7, split=True)).json()
    assert split["relaxed"] == "split"
    assert len(split["places"]) == 7


async def test_prices_come_from_the_tiers(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show(
        areas=[{"name": "Stalls", "kind": "seated", "rows": [{"label": "A", "seats": 9}, {"label": "B", "seats": 9}]}],
        tiers=[{"name": "Adult", "area": "Stalls", "amount": 4500}, {"name": "Child", "area": "Stalls", "amount": 2000}],
    )  # fmt: skip
    mixed = (await _claim(client, show, quantity=3, tiers={"Adult": 2, "Child": 1})).json()
    assert sorted(place["amount"] for place in mixed["places"]) == [2000, 4500, 4500]
    assert mixed["total"]["amount"] == 11000
    unpriced = await _claim(client, show, seats=["B-1"])
    assert unpriced.status_code == 400
    assert unpriced.json()["errors"][0]["pointer"] == "/tier"
    paid = (await _claim(client, show, seats=["B-1"], tier="Adult", confirm=True)).json()
    assert paid["status"] == "PENDING"
    refused = await client.post(
        f"/v1/shows/{show['id']}/bookings/{paid['id']}/confirm", headers=_as_buyer(paid)
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "payment_required")


async def test_a_retry_of_a_success_never_hears_sold_out(client: httpx.AsyncClient, a_show: Any) -> None:
    show, key = await a_show(areas=[{"name": "Floor", "kind": "standing", "capacity": 4}]), str(uuid4())
    first = await _claim(client, show, key, quantity=4)
    again = await _claim(client, show, key, quantity=4)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["secret"] == first.json()["secret"]
    other = await _claim(client, show, key, quantity=1)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert (await _claim(client, show, str(uuid4()), quantity=1)).json()["code"] == "sold_out"


async def test_cancelling_gives_the_places_back(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    booking = (await _claim(client, show, seats=["1"])).json()
    url = f"/v1/shows/{show['id']}/bookings/{booking['id']}"
    ended = (await client.post(f"{url}/cancel", headers=_as_buyer(booking))).json()
    assert (ended["status"], ended["reason"]) == ("FAILED", "released")
    assert (await _claim(client, show, seats=["1"], confirm=True)).json()["status"] == "CONFIRMED"
    late = await client.post(f"{url}/confirm", headers=_as_buyer(booking))
    assert (late.status_code, late.json()["code"]) == (409, "booking_ended")


async def test_a_hold_is_extended_once(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    booking = (await _claim(client, show, seats=["1"])).json()
    url = f"/v1/shows/{show['id']}/bookings/{booking['id']}/extend"
    extended = await client.post(url, headers=_as_buyer(booking))
    assert 175 <= extended.json()["expires_in_seconds"] <= 180
    refused = await client.post(url, headers=_as_buyer(booking))
    assert (refused.status_code, refused.json()["code"]) == (409, "hold_limit")


@pytest.mark.parametrize("step", ["extend", "confirm", "cancel"])
async def test_nothing_is_locked_while_more_of_the_show_is_asked_for(
    step: str,
    client: httpx.AsyncClient,
    engine: Engine,
    a_show: Any,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those who wait for the lock may have all the connections, so that the one with the lock would get no second."""
    show = await a_show()
    held = (await _claim(client, show, seats=["1"])).json()
    elsewhere, get, looks = await asyncpg.connect(database_url), engine.office.views.get, 0

    async def looking(show_id: ShowId) -> View:
        nonlocal looks
        looks += 1
        await elsewhere.execute(
            "select from show_heads join bookings using (show_id) for no key update nowait"
        )
        return await get(show_id)

    monkeypatch.setattr(engine.office.views, "get", looking)
    url = f"/v1/shows/{show['id']}/bookings/{held['id']}/{step}"
    answer = await client.post(url, headers=_as_buyer(held))
    await elsewhere.close()
    assert answer.status_code == 200, answer.text
    assert looks == 1


async def test_a_closed_sale_is_closed_whatever_is_asked_for(client: httpx.AsyncClient, a_show: Any) -> None:
    rows = [{"label": "A", "seats": 3}]
    areas = [{"name": name, "kind": "seated", "rows": rows} for name in ("Left", "Right")]
    show = await a_show(areas=areas, orphans="refuse", sale_opens_at="2030-01-01T00:00:00Z")
    for body in ({"best_available": 4}, {"seats": ["Left:2"]}, {"seats": ["Left:1"]}):
        for key in (None, str(uuid4())):
            answer = await _claim(client, show, key, **body)
            assert answer.json()["code"] == "not_on_sale", body
    assert (await _claim(client, show, seats=["Left:9"])).json()["code"] == "unknown_seat"


async def test_best_available_looks_where_the_tier_is_sold(client: httpx.AsyncClient, a_show: Any) -> None:
    areas = [{"name": name, "kind": "seated", "rows": [{"label": "A", "seats": 2}]} for name in "ABC"]
    tiers = [{"name": "Adult" if area != "A" else "Guest", "area": area, "amount": 1000} for area in "ABC"]
    show = await a_show(areas=areas, tiers=tiers)
    for area in "ABC":
        assert (await _claim(client, show, quantity=2, area=area)).status_code == 201
    assert (await _claim(client, show, best_available=1, tier="Adult")).json()["code"] == "sold_out"


async def test_best_available_needs_seats(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show(areas=[{"name": name, "kind": "standing", "capacity": 5} for name in ("L", "R")])
    answer = await _claim(client, show, best_available=2)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/best_available")


async def test_the_best_seats_are_those_of_an_area_that_sells_the_tier(
    client: httpx.AsyncClient, a_show: Any
) -> None:
    seats = [{"label": "1", "seats": 4}]
    areas = [{"name": name, "kind": "seated", "rows": seats} for name in ("Front", "Middle", "Back")]
    show = await a_show(
        areas=areas,
        tiers=[
            {"area": "Front", "name": "Gold", "amount": 0},
            {"area": "Middle", "name": "Adult", "amount": 0},
            {"area": "Middle", "name": "Gold", "amount": 0},
            {"area": "Back", "name": "Adult", "amount": 0},
        ],
    )
    for area in ("Middle", "Back"):
        answer = await _claim(client, show, best_available=4, tier="Adult")
        assert answer.status_code == 201, answer.text
        assert {place["area"] for place in answer.json()["places"]} == {area}
    assert (await _claim(client, show, best_available=4, tier="Adult")).json()["code"] == "sold_out"
    assert (await _claim(client, show, best_available=4, tier="Gold")).status_code == 201


async def test_a_search_finds_bookings_as_they_are_shown(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    overdue = (await _claim(client, show, seats=["1"], customer={"email": "Ann@Example.org"})).json()
    await engine.db.execute("update bookings set expires_at = clock_timestamp()")
    live = (await _claim(client, show, seats=["2"])).json()

    async def found(**query: str) -> list[str]:
        answer = await owner.get(f"/v1/shows/{show['id']}/bookings", params=query)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["bookings"]]

    assert await found() == [live["id"], overdue["id"]]
    assert await found(status="PENDING") == [live["id"]]
    assert await found(status="FAILED") == [overdue["id"]]
    assert await found(status="CONFIRMED") == []
    assert await found(reference=overdue["reference"].lower()) == [overdue["id"]]
    assert await found(email="ann@example.ORG") == [overdue["id"]]


async def _attempted(client: httpx.AsyncClient, show: dict[str, Any], key: str, **headers: str) -> Any:
    return await client.get(f"/v1/shows/{show['id']}/attempt", headers={"Idempotency-Key": key, **headers})


async def test_what_became_of_an_attempt(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: Any, engine: Engine
) -> None:
    show, key = await a_show(), str(uuid4())
    nothing = await _attempted(client, show, key)
    assert (nothing.status_code, nothing.json()["code"]) == (404, "unknown_attempt")
    made = (await _claim(client, show, key, seats=["3"])).json()
    found = await _attempted(client, show, key)
    assert found.status_code == 200
    assert found.headers["cache-control"] == "no-store"
    left = found.json()["expires_in_seconds"]
    assert found.json() | {"expires_in_seconds": 0} == made | {"expires_in_seconds": 0}
    assert 0 < left <= made["expires_in_seconds"]
    # A quoted key is the same key; any other, another show's, and that of somebody with a name are not.
    assert (await _attempted(client, show, f'"{key}"')).status_code == 200
    assert (await _attempted(client, await a_show(), key)).status_code == 404
    assert (await _attempted(owner, show, key)).status_code == 404
    # What was refused can be asked for again, so nothing is remembered of it.
    late = str(uuid4())
    assert (await _claim(client, show, late, seats=["3"])).status_code == 409
    assert (await _attempted(client, show, late)).status_code == 404
    # It is told as it stands now.
    await engine.db.execute("update bookings set expires_at = now()")
    over = (await _attempted(client, show, key)).json()
    assert (over["status"], over["reason"], over["secret"]) == ("FAILED", "expired", made["secret"])


async def test_an_attempt_is_asked_for_by_its_key_alone(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    for headers in ({}, {"Idempotency-Key": "short"}, {"Idempotency-Key": " " * 30}):
        answer = await client.get(f"/v1/shows/{show['id']}/attempt", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid"), headers
