"""Prices and promotion codes over HTTP: what buyers see, what staff make, and what nobody may guess."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from holdfast import booking
from holdfast.accounts import Principal, Role
from holdfast.engine import Engine, open_engine
from holdfast.platform.ids import OrganizerId, PersonId, new_id
from holdfast.platform.settings import Settings
from tests.conftest import client_of, eventually

pytestmark = pytest.mark.anyio

FLOOR = [{"name": "Floor", "kind": "standing", "capacity": 50}]
FEE = {"fee": 100, "fee_basis_points": 500, "tax_basis_points": 1900, "tax_included": False}
TIERS = [
    {"name": "Adult", "area": "Floor", "amount": 990, **FEE},
    {"name": "Press", "area": "Floor", "amount": 500, "hidden": True},
]


@pytest.fixture
async def show(owner: httpx.AsyncClient) -> dict[str, Any]:
    body = {"name": "Hamlet", "start_time": "2030-12-24T20:00:00Z", "areas": FLOOR, "tiers": TIERS}
    answer = await owner.post("/v1/shows", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def a_code(owner: httpx.AsyncClient, show: dict[str, Any], **spec: Any) -> dict[str, Any]:
    answer = await owner.post(f"/v1/shows/{show['id']}/codes", json={"code": "Early Bird", **spec})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/shows/{show['id']}/codes/{made['id']}"
    return made


async def claim(
    client: httpx.AsyncClient, show: dict[str, Any], headers: dict[str, str] | None = None, **body: Any
) -> httpx.Response:
    wish = {"quantity": 1, "tier": "Adult", **body}
    return await client.post(f"/v1/shows/{show['id']}/bookings", json=wish, headers=headers or {})


def as_buyer(booking: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {booking['secret']}"}


async def test_the_price_that_is_shown_is_the_price_that_is_paid(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, show: dict[str, Any]
) -> None:
    breakdown = {"face": 990, "fee": 150, "tax": 217}
    adult = {"id": 1, "name": "Adult", "area": "Floor", "amount": 1357, "breakdown": breakdown}
    url = f"/v1/shows/{show['id']}"
    assert (await client.get(url)).json()["tiers"] == [adult]
    (card,) = (await client.get("/v1/shows")).json()["shows"]
    assert card["tiers"] == [adult]
    assert (await client.get(f"{url}/prices")).json() == {"currency": "EUR", "tiers": [adult], "code": None}
    made = (await claim(client, show, quantity=2)).json()
    assert made["total"] == {"amount": 2714, "currency": "EUR"}
    assert [place["amount"] for place in made["places"]] == [1357, 1357]
    terms = {"amount": 990, **FEE}
    for_staff = [
        {**adult, "hidden": False, "terms": terms},
        {
            "id": 2, "name": "Press", "area": "Floor", "amount": 500, "hidden": True,
            "breakdown": {"face": 500, "fee": 0, "tax": 0},
            "terms": {"amount": 500, "fee": 0, "fee_basis_points": 0, "tax_basis_points": 0, "tax_included": True},
        },
    ]  # fmt: skip
    assert show["tiers"] == (await owner.get(url)).json()["tiers"] == for_staff
    (mine,) = (await owner.get("/v1/shows?mine=true")).json()["shows"]
    assert mine["tiers"] == for_staff
    told = await client.get(f"{url}/bookings/{made['id']}/breakdown", headers=as_buyer(made))
    assert told.json() == {
        "total": {"amount": 2714, "currency": "EUR"},
        "breakdown": {"face": 1980, "fee": 300, "tax": 434},
        "discount": 0,
        "taxes": [{"basis_points": 1900, "net": 2280, "tax": 434}],
        "places": [{"tier": "Adult", "amount": 1357, "before": 1357, "breakdown": adult["breakdown"]}] * 2,
        "code_id": None,
    }


async def test_an_edit_of_a_tier_changes_its_price_and_no_booking(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, show: dict[str, Any]
) -> None:
    url = f"/v1/shows/{show['id']}"
    made = (await claim(client, show)).json()
    edited = await owner.patch(url, json={"tiers": [{"id": 1, "fee": 0, "tax_included": True}]})
    assert edited.json()["tiers"][0]["amount"] == 1040
    assert (await claim(client, show)).json()["total"]["amount"] == 1040
    held = await client.get(f"{url}/bookings/{made['id']}", headers=as_buyer(made))
    assert held.json()["total"]["amount"] == 1357
    told = await client.get(f"{url}/bookings/{made['id']}/breakdown", headers=as_buyer(made))
    assert told.json()["breakdown"] == {"face": 990, "fee": 150, "tax": 217}


async def test_a_code_is_made_used_changed_and_withdrawn(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, show: dict[str, Any]
) -> None:
    made = await a_code(owner, show, discount_basis_points=1000, uses_max=1, places_max=2)
    url = f"/v1/shows/{show['id']}/codes/{made['id']}"
    assert (made["code"], made["used"], made["withdrawn_at"]) == ("Early Bird", 0, None)
    taken = await owner.post(
        f"/v1/shows/{show['id']}/codes", json={"code": "EARLY-BIRD", "discount_amount": 1}
    )
    assert (taken.status_code, taken.json()["code"]) == (409, "code_taken")

    booked = (await claim(client, show, code="earlybird")).json()
    # 891 + 100 + 45 (44.55), and 19 % on top: 196.84.
    assert booked["total"]["amount"] == 1233
    refused = await claim(client, show, code="earlybird")
    assert (refused.status_code, refused.json()["code"]) == (409, "code_refused")
    assert refused.json()["reason"] == "used_up"
    assert (await owner.get(url)).json()["used"] == 1
    assert (await owner.patch(url, json={"uses_max": 5})).json()["uses_max"] == 5
    assert (await claim(client, show, code="earlybird", quantity=3)).json()["reason"] == "places"
    assert (await claim(client, show, code="earlybird", quantity=2)).status_code == 201
    below = await owner.patch(url, json={"uses_max": 1})
    assert (below.status_code, below.json()["code"]) == (409, "uses_below_used")
    stale = await owner.patch(url, json={"uses_max": None}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    assert (await owner.patch(url, json={"ends_at": "2020-01-01T00:00:00Z"})).status_code == 200
    assert (await claim(client, show, code="earlybird")).json()["reason"] == "expired"
    later = {"starts_at": "2030-01-01T00:00:00Z", "ends_at": None}
    assert (await owner.patch(url, json=later)).json()["version"] == 4
    assert (await claim(client, show, code="earlybird")).json()["reason"] == "early"

    cancelled = await client.post(
        f"/v1/shows/{show['id']}/bookings/{booked['id']}/cancel", headers=as_buyer(booked)
    )
    assert cancelled.status_code == 200
    assert (await owner.get(url)).json()["used"] == 1
    assert [(await owner.delete(url)).status_code for _ in range(2)] == [204, 204]
    assert (await claim(client, show, code="earlybird")).json()["reason"] == "withdrawn"
    (listed,) = (await owner.get(f"/v1/shows/{show['id']}/codes")).json()["codes"]
    assert (listed["id"], listed["withdrawn_at"] is not None) == (made["id"], True)


async def test_many_codes_at_once_in_pages(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, show: dict[str, Any]
) -> None:
    url = f"/v1/shows/{show['id']}/codes"
    wanted = {"count": 120, "prefix": "PRESS-", "discount_basis_points": 10_000, "uses_max": 1}
    made = (await owner.post(f"{url}/generate", json=wanted)).json()["codes"]
    assert len({each["code"] for each in made}) == 120
    assert all(each["code"].startswith("PRESS-") and len(each["code"]) == 16 for each in made)
    seen: list[dict[str, Any]] = []
    query = {"limit": "50"}
    while len(seen) < 120:
        page = (await owner.get(url, params=query)).json()
        seen += page["codes"]
        query = {"limit": "50", "cursor": page["next"]}
    assert page["next"] is None
    assert [each["id"] for each in seen] == sorted(each["id"] for each in made)
    free = await claim(client, show, code=made[7]["code"].lower(), confirm=True)
    assert (free.json()["status"], free.json()["total"]["amount"]) == ("CONFIRMED", 0)
    too_many = await owner.post(f"{url}/generate", json={**wanted, "count": 1001})
    assert too_many.status_code == 400


async def test_what_a_code_says_to_who_has_it(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, show: dict[str, Any]
) -> None:
    code = await a_code(owner, show, discount_amount=190, tiers=[1], reveals=[2], places_max=4)
    prices = f"/v1/shows/{show['id']}/prices"
    told = (await client.get(prices, params={"code": "EARLYBIRD"})).json()
    # 800 + 100 + 40, and 178.6 on top.
    assert [(tier["name"], tier["amount"]) for tier in told["tiers"]] == [("Adult", 1119), ("Press", 500)]
    assert told["code"] == {
        "discount_basis_points": None, "discount_amount": 190, "ends_at": None, "places_max": 4,
    }  # fmt: skip
    assert "hidden" not in told["tiers"][1]
    press = await claim(client, show, tier="Press", code="EARLYBIRD")
    assert press.json()["total"]["amount"] == 500
    hidden = await claim(client, show, tier="Press")
    unknown = await claim(client, show, tier="Nothing")
    assert (hidden.status_code, hidden.json()["errors"]) == (400, unknown.json()["errors"])
    wrong = await client.get(prices, params={"code": "EARLYBIRDS"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "code_unknown")
    assert "reason" not in wrong.json()
    await owner.patch(f"/v1/shows/{show['id']}/codes/{code['id']}", json={"ends_at": "2020-01-01T00:00:00Z"})
    late = await client.get(prices, params={"code": "EARLYBIRD"})
    assert (late.status_code, late.json()["reason"]) == (409, "expired")


async def test_a_code_of_another_show_is_unknown(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, show: dict[str, Any], a_show: Any
) -> None:
    await a_code(owner, show, discount_amount=1)
    other = await a_show(areas=FLOOR, tiers=TIERS)
    for answer in (
        await client.get(f"/v1/shows/{other['id']}/prices", params={"code": "Early Bird"}),
        await claim(client, other, code="Early Bird"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, "code_unknown")


async def test_who_may_make_codes_and_see_them(
    engine: Engine, client: httpx.AsyncClient, owner: httpx.AsyncClient, show: dict[str, Any]
) -> None:
    made = await a_code(owner, show, discount_amount=1)
    house = OrganizerId(await engine.db.value("select organizer_id from organizers"))
    expected_of: dict[Role, int] = {"manager": 200, "box_office": 403, "viewer": 403, "door": 403}
    for role, expected in expected_of.items():
        token = engine.access.tokens.issue(Principal(PersonId(new_id()), house, role)).text
        async with client_of(engine, Authorization=f"Bearer {token}") as staff:
            for path in ("", f"/{made['id']}"):
                answer = await staff.get(f"/v1/shows/{show['id']}/codes{path}")
                assert answer.status_code == expected
    assert (await client.get(f"/v1/shows/{show['id']}/codes")).status_code == 401


async def test_a_code_and_its_booking_are_in_the_audit_without_its_text(
    engine: Engine, owner: httpx.AsyncClient, client: httpx.AsyncClient, show: dict[str, Any]
) -> None:
    made = await a_code(owner, show, discount_basis_points=10_000, uses_max=9)
    booked = (await claim(client, show, code="Early Bird", confirm=True)).json()
    rows = await engine.db.rows("select action, after::text from audit where subject_id = $1", made["id"])
    assert [row["action"] for row in rows] == ["code.created"]
    facts = await engine.db.rows(
        "select payload::text as payload from outbox where kind = 'booking.confirmed'"
    )
    assert [made["id"] in row["payload"] and booked["id"] in row["payload"] for row in facts] == [True]
    assert not any("bird" in row["payload"].lower() for row in facts)
    assert not any("bird" in (row["after"] or "").lower() for row in rows)


async def test_codes_in_the_queue(
    engine: Engine, client: httpx.AsyncClient, owner: httpx.AsyncClient, show: dict[str, Any]
) -> None:
    await a_code(owner, show, discount_basis_points=5000, uses_max=1)
    queue = {"Prefer": "respond-async"}
    unknown = await claim(client, show, queue, code="nothing")
    assert (unknown.status_code, unknown.json()["code"]) == (400, "code_unknown")
    queued = [(await claim(client, show, queue, code="early bird")).json() for _ in range(2)]
    plain = (await claim(client, show, queue)).json()

    async def of(made: dict[str, Any]) -> dict[str, Any]:
        url = f"/v1/shows/{show['id']}/bookings/{made['id']}"
        found: dict[str, Any] = (await client.get(url, headers=as_buyer(made))).json()
        return found

    async def decided() -> bool:
        return all([(await of(made))["status"] != "QUEUED" for made in (*queued, plain)])

    await booking.decide_queued(engine.office)
    await eventually(decided)
    first, second, third = [await of(made) for made in (*queued, plain)]
    # 495 + 100 + 25, and 117.8 on top.
    assert (first["status"], first["total"]["amount"]) == ("PENDING", 738)
    assert (second["status"], second["reason"]) == ("FAILED", "code_refused")
    assert (third["status"], third["total"]["amount"]) == ("PENDING", 1357)


@pytest.fixture
async def limited(settings: Settings, engine: Engine) -> AsyncIterator[Engine]:
    changed = msgspec.structs.replace(settings, rate_limits="on", limit_promotion="5/600s")
    async with open_engine(changed) as opened:
        yield opened


async def test_guessing_ends(limited: Engine, owner: httpx.AsyncClient, show: dict[str, Any]) -> None:
    await a_code(owner, show, discount_amount=1)
    async with client_of(limited) as guesser:
        # A code that is right is no guess, however often it is asked for.
        for _ in range(10):
            told = await guesser.get(f"/v1/shows/{show['id']}/prices", params={"code": "early bird"})
            assert told.status_code == 200
        answers = []
        for i in range(8):
            guess = uuid4().hex[:10]
            if i % 2:
                answers.append(await claim(guesser, show, code=guess))
            else:
                answers.append(await guesser.get(f"/v1/shows/{show['id']}/prices", params={"code": guess}))
        assert [answer.status_code for answer in answers] == [400] * 5 + [429] * 3
        # Neither does a right one pass now, or guesses could be told from it; a claim without a code does.
        assert (await claim(guesser, show, code="early bird")).status_code == 429
        assert (await claim(guesser, show)).status_code == 201
