"""Who books, said after the claim."""

from typing import Any

import httpx
import msgspec
import pytest

from holdfast.engine import Engine
from holdfast.platform.settings import Settings

pytestmark = pytest.mark.anyio

FLOOR = [{"name": "Floor", "kind": "standing", "capacity": 100}]
PRICED = {"areas": FLOOR, "tiers": [{"area": "Floor", "name": "Adult", "amount": 1000}]}
GRACE = {"email": "grace@example.org", "name": "Grace"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, payments="sandbox")


async def claimed(client: httpx.AsyncClient, show: dict[str, Any], **wish: Any) -> dict[str, Any]:
    answer = await client.post(f"/v1/shows/{show['id']}/bookings", json={"quantity": 2, **wish})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def named(client: httpx.AsyncClient, made: dict[str, Any], **customer: str) -> httpx.Response:
    return await client.patch(url_of(made), json={"customer": customer}, headers=as_buyer(made))


def url_of(made: dict[str, Any], path: str = "") -> str:
    return f"/v1/shows/{made['show_id']}/bookings/{made['id']}{path}"


def as_buyer(made: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {made['secret']}"}


async def places_of(engine: Engine) -> list[int]:
    rows = await engine.db.rows("select places from buyers where places > 0 order by places")
    return [row["places"] for row in rows]


async def test_a_buyer_says_who_they_are_once_the_places_are_held(
    client: httpx.AsyncClient, a_show: Any
) -> None:
    made = await claimed(client, await a_show(areas=FLOOR))
    answer = await named(client, made, **GRACE)
    assert (answer.status_code, answer.json()["customer"]) == (200, GRACE)
    assert answer.json()["version"] == made["version"] + 1
    renamed = await named(client, made, name="Grace H.")
    assert renamed.json()["customer"] == {**GRACE, "name": "Grace H."}
    assert (await named(client, made, name="Grace H.")).json()["version"] == renamed.json()["version"]


async def test_nobody_else_says_it(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show(areas=FLOOR)
    made, other = await claimed(client, show), await claimed(client, show)
    answer = await client.patch(url_of(made), json={"customer": GRACE}, headers=as_buyer(other))
    assert (answer.status_code, answer.json()["code"]) == (404, "booking_not_found")


@pytest.mark.parametrize(
    "customer", [{"email": "nobody"}, {"name": " "}, {"name": "a\u0007"}, {"phone": "1"}]
)
async def test_what_is_no_customer_is_refused(
    client: httpx.AsyncClient, a_show: Any, customer: dict[str, str]
) -> None:
    made = await claimed(client, await a_show(areas=FLOOR))
    answer = await named(client, made, **customer)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == f"/customer/{next(iter(customer))}"


async def test_the_limit_of_places_holds_for_an_address_that_comes_later(
    client: httpx.AsyncClient, a_show: Any, engine: Engine
) -> None:
    show = await a_show(areas=FLOOR, max_places_per_buyer=4)
    first, second, third = [await claimed(client, show) for _ in range(3)]
    for made in (first, second):
        assert (await named(client, made, **GRACE)).status_code == 200
    refused = await named(client, third, email="Grace@Example.org", name="Grace")
    assert (refused.status_code, refused.json()["code"]) == (409, "limit_reached")
    assert (await client.get(url_of(third), headers=as_buyer(third))).json()["customer"]["name"] is None
    assert await places_of(engine) == [4]
    # What was a slip of the pen counts for whom it was meant.
    assert (await named(client, second, email="ada@example.org")).status_code == 200
    assert await places_of(engine) == [2, 2]
    assert (await named(client, third, **GRACE)).status_code == 200
    for made in (first, second, third):
        assert (await client.post(url_of(made, "/cancel"), headers=as_buyer(made))).status_code == 200
    assert await places_of(engine) == []


async def test_while_somebody_pays_and_afterwards_nothing_is_changed(
    client: httpx.AsyncClient, a_show: Any, owner: httpx.AsyncClient
) -> None:
    made = await claimed(client, await a_show(**PRICED))
    assert (await named(client, made, **GRACE)).status_code == 200
    begun = await client.post(url_of(made, "/pay"), json={}, headers=as_buyer(made))
    assert begun.status_code == 201, begun.text
    # The same again is what a second click on one button sends.
    assert (await named(client, made, **GRACE)).status_code == 200
    refused = await named(client, made, email="ada@example.org")
    assert (refused.status_code, refused.json()["code"], refused.json()["reason"]) == (
        409,
        "details_fixed",
        "paying",
    )
    assert (await owner.post(url_of(made, "/confirm"))).status_code == 200
    refused = await named(client, made, email="ada@example.org")
    assert (refused.json()["code"], refused.json()["reason"]) == ("details_fixed", "confirmed")


async def test_a_hold_that_is_over_has_nobody_any_more(
    client: httpx.AsyncClient, a_show: Any, engine: Engine
) -> None:
    show = await a_show(areas=FLOOR)
    late, gone = await claimed(client, show), await claimed(client, show)
    await client.post(url_of(gone, "/cancel"), headers=as_buyer(gone))
    ended = await named(client, gone, **GRACE)
    assert (ended.status_code, ended.json()["code"]) == (409, "booking_ended")
    await engine.db.execute("update bookings set expires_at = now() where booking_id = $1", late["id"])
    expired = await named(client, late, **GRACE)
    assert (expired.status_code, expired.json()["code"]) == (410, "hold_expired")
