"""Customers over HTTP: links, sessions, whose bookings they see, and that a customer's token is nobody else's."""

import asyncio
import datetime as dt
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
from joserfc import jwt

from holdfast import booking
from holdfast.accounts.customer_tokens import CustomerTokens
from holdfast.accounts.customers import LINK_SECONDS, LINKS_MAX
from holdfast.engine import Engine
from holdfast.platform import mail
from holdfast.platform.ids import CustomerId, new_id
from holdfast.platform.secret import Secrets
from tests.conftest import client_of

pytestmark = pytest.mark.anyio

GRACE, ALAN = "grace@example.org", "alan@example.org"
MakeShow = Callable[..., Awaitable[dict[str, Any]]]


async def letters(engine: Engine) -> list[mail.Letter]:
    """The letters that wait, oldest first."""
    rows = await engine.db.rows("select letter_id, sealed from letters order by letter_id")
    return [
        msgspec.json.decode(
            engine.secrets.unseal("letter", row["sealed"], row["letter_id"].bytes), type=mail.Letter
        )
        for row in rows
    ]


async def link_to(engine: Engine, client: httpx.AsyncClient, email: str) -> str:
    """The token in a link that was just sent to the address."""
    answer = await client.post("/v1/customers/link", json={"email": email})
    assert (answer.status_code, answer.content) == (202, b"")
    letter = (await letters(engine))[-1]
    assert letter.to == email.lower()
    found = re.search(r"/account#link=([A-Za-z0-9_-]{43})$", letter.text, re.MULTILINE)
    assert found is not None
    return found[1]


async def token_of(engine: Engine, client: httpx.AsyncClient, email: str) -> str:
    link = await link_to(engine, client, email)
    answer = await client.post("/v1/customers/session", json={"token": link})
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"access_token", "expires_in", "token_type"}
    text: str = answer.json()["access_token"]
    return text


@asynccontextmanager
async def customer_of(
    engine: Engine, client: httpx.AsyncClient, email: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A caller signed in as the customer with this address."""
    token = await token_of(engine, client, email)
    async with client_of(engine, Authorization=f"Bearer {token}") as opened:
        yield opened


async def booked(
    client: httpx.AsyncClient, show: dict[str, Any], email: str | None = None, **more: Any
) -> dict[str, Any]:
    """A booking of one place, for nothing and confirmed at once unless it is said otherwise."""
    body: dict[str, Any] = {"best_available": 1, "confirm": True, **more}
    if email is not None:
        body["customer"] = {"email": email, "name": "Some Body"}
    answer = await client.post(f"/v1/shows/{show['id']}/bookings", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def own(customer: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await customer.get("/v1/customers/me/bookings")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["bookings"]
    return found


async def test_a_link_signs_in_once(engine: Engine, client: httpx.AsyncClient) -> None:
    link = await link_to(engine, client, "Grace@Example.org")
    first = await client.post("/v1/customers/session", json={"token": link})
    assert first.status_code == 200
    async with client_of(engine, Authorization=f"Bearer {first.json()['access_token']}") as customer:
        me = await customer.get("/v1/customers/me")
    assert me.json()["email"] == GRACE
    assert me.headers["cache-control"] == "no-store"
    again = await client.post("/v1/customers/session", json={"token": link})
    assert (again.status_code, again.json()["code"]) == (401, "bad_link")


async def test_of_two_who_use_a_link_at_once_one_gets_in(engine: Engine, client: httpx.AsyncClient) -> None:
    link = await link_to(engine, client, GRACE)
    answers = await asyncio.gather(
        *(client.post("/v1/customers/session", json={"token": link}) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]


async def test_two_links_of_one_address_used_at_once_make_one_account(
    engine: Engine, client: httpx.AsyncClient
) -> None:
    links = [await link_to(engine, client, GRACE) for _ in range(3)]
    answers = await asyncio.gather(
        *(client.post("/v1/customers/session", json={"token": link}) for link in links)
    )
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert await engine.db.value("select count(*) from customers") == 1


async def test_an_old_link_and_an_invented_one_get_the_same_answer(
    engine: Engine, client: httpx.AsyncClient
) -> None:
    link = await link_to(engine, client, GRACE)
    await engine.db.execute(
        "update magic_links set expires_at = expires_at - make_interval(secs => $1)", LINK_SECONDS
    )
    bodies = []
    for token in (link, "x" * 43, "\ud800"):
        answer = await client.post(
            "/v1/customers/session",
            content=msgspec.json.encode({"token": token[:50]})
            if token != "\ud800"
            else b'{"token": "\\u00e9"}',
            headers={"content-type": "application/json"},
        )
        bodies.append((answer.status_code, {**answer.json(), "request_id": ""}))
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0][0] == 401


async def test_a_stranger_learns_nothing_of_who_has_an_account(
    engine: Engine, client: httpx.AsyncClient
) -> None:
    await token_of(engine, client, GRACE)
    known = await client.post("/v1/customers/link", json={"email": GRACE})
    unknown = await client.post("/v1/customers/link", json={"email": ALAN})
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content) == (202, b"")
    assert [letter.to for letter in await letters(engine)] == [GRACE, GRACE, ALAN]


async def test_one_address_gets_so_many_letters_and_no_more(
    engine: Engine, client: httpx.AsyncClient
) -> None:
    for _ in range(LINKS_MAX + 3):
        answer = await client.post("/v1/customers/link", json={"email": GRACE})
        assert answer.status_code == 202
    assert len(await letters(engine)) == LINKS_MAX


@pytest.mark.parametrize("email", ["nobody", "a@b, eve@example.org", "a,b@example.org", "a@b\n"])
async def test_a_link_goes_to_one_address(client: httpx.AsyncClient, email: str) -> None:
    answer = await client.post("/v1/customers/link", json={"email": email})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/email")


async def test_an_account_has_all_bookings_of_its_address(
    engine: Engine, client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    hamlet, tempest = await a_show(), await a_show(name="The Tempest")
    before = await booked(client, hamlet, "GRACE@example.org")
    lost = await booked(client, hamlet, GRACE, confirm=False)
    cancelled = await client.post(
        f"/v1/shows/{hamlet['id']}/bookings/{lost['id']}/cancel",
        headers={"Authorization": f"Bearer {lost['secret']}"},
    )
    assert cancelled.status_code == 200
    await booked(client, hamlet, ALAN)
    async with customer_of(engine, client, GRACE) as grace:
        assert [(each["id"], each["status"]) for each in await own(grace)] == [
            (lost["id"], "FAILED"),
            (before["id"], "CONFIRMED"),
        ]
        # As a guest again, and under the account with no address and with a friend's.
        guest = await booked(client, tempest, GRACE, confirm=False)
        signed_in = await booked(grace, tempest)
        for_alan = await booked(grace, tempest, ALAN)
        found = await own(grace)
        assert [each["id"] for each in found[:3]] == [for_alan["id"], signed_in["id"], guest["id"]]
        assert found[0]["show"] == {
            "id": tempest["id"],
            "name": "The Tempest",
            "start_time": "2030-12-24T19:00:00.000Z",
        }
        assert found[2]["status"] == "PENDING"
        pages = []
        cursor: str | None = ""
        while cursor is not None:
            page = (
                await grace.get(
                    "/v1/customers/me/bookings", params={"limit": 2, **({"cursor": cursor} if cursor else {})}
                )
            ).json()
            pages += [each["id"] for each in page["bookings"]]
            cursor = page["next"]
        assert pages == [each["id"] for each in found]
    async with customer_of(engine, client, ALAN) as alan:
        assert {each["id"] for each in await own(alan)} >= {for_alan["id"]}
        assert before["id"] not in {each["id"] for each in await own(alan)}


async def test_a_customer_may_do_what_the_secret_may(
    engine: Engine, client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show()
    made = await booked(client, show, GRACE, confirm=False)
    path = f"/v1/shows/{show['id']}/bookings/{made['id']}"
    async with customer_of(engine, client, GRACE) as grace, customer_of(engine, client, ALAN) as alan:
        read = await grace.get(path)
        assert (read.status_code, read.json()["customer"]["email"]) == (200, GRACE)
        for method, route in (("GET", ""), ("POST", "/extend"), ("POST", "/confirm"), ("POST", "/cancel")):
            answer = await alan.request(method, path + route)
            assert (answer.status_code, answer.json()["code"]) == (404, "booking_not_found")
        assert (await grace.post(path + "/confirm")).json()["status"] == "CONFIRMED"
        ended = await grace.post(path + "/cancel")
        assert (ended.json()["status"], ended.json()["reason"]) == ("CANCELLED", "by_buyer")
        own_one = await booked(grace, show, confirm=False)
        assert (await grace.get(f"/v1/shows/{show['id']}/bookings/{own_one['id']}")).status_code == 200


async def test_a_queued_claim_keeps_its_account(
    engine: Engine, client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show()
    async with customer_of(engine, client, GRACE) as grace:
        answer = await grace.post(
            f"/v1/shows/{show['id']}/bookings",
            json={"best_available": 1},
            headers={"Prefer": "respond-async", "Idempotency-Key": "short"},
        )
        assert answer.status_code == 202, answer.text
        path = answer.headers["location"]
        assert (await grace.get(path)).json()["status"] == "QUEUED"
        await booking.decide_queued(engine.office)
        assert (await grace.get(path)).json()["status"] == "PENDING"
        assert [each["id"] for each in await own(grace)] == [answer.json()["id"]]


@pytest.mark.parametrize("strategy", ["batched", "row_lock", "optimistic"])
async def test_every_strategy_writes_the_account(
    engine: Engine,
    client: httpx.AsyncClient,
    a_show: MakeShow,
    open_another: Callable[..., Any],
    strategy: str,
) -> None:
    show = await a_show()
    token = await token_of(engine, client, GRACE)
    async with (
        open_another(strategy=strategy) as other,
        client_of(other, Authorization=f"Bearer {token}") as grace,
    ):
        made = await booked(grace, show)
        assert [each["id"] for each in await own(grace)] == [made["id"]]


async def test_a_customers_keys_are_their_own(
    engine: Engine, client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show()
    headers = {"Idempotency-Key": "short"}
    body = {"best_available": 1}
    async with customer_of(engine, client, GRACE) as grace, customer_of(engine, client, ALAN) as alan:
        answers = [
            await caller.post(f"/v1/shows/{show['id']}/bookings", json=body, headers=headers)
            for caller in (grace, grace, alan)
        ]
    ids = [answer.json()["id"] for answer in answers]
    assert ids[0] == ids[1] != ids[2]


async def test_a_customers_token_is_not_staffs_nor_the_other_way_round(
    engine: Engine, client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show()
    async with customer_of(engine, client, GRACE) as grace:
        for path in ("/v1/auth/me", f"/v1/shows/{show['id']}/bookings", "/v1/privacy/retention"):
            answer = await grace.get(path)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), path
    answer = await owner.get("/v1/customers/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_bad_tokens_are_refused(engine: Engine, client: httpx.AsyncClient) -> None:
    customer_id = CustomerId(new_id())
    long_ago = CustomerTokens(engine.secrets, now=lambda: dt.datetime(2020, 1, 1, tzinfo=dt.UTC).timestamp())
    forged = CustomerTokens(Secrets("another secret of more than thirty letters")).issue(customer_id).text
    good = engine.access.customers.issue(customer_id).text
    head, claims, signature = good.split(".")
    staffs = engine.access.tokens._keys.keys[0]
    as_staff = jwt.encode(
        {"alg": "Ed25519", "kid": staffs.kid, "typ": "customer+jwt"},
        {"iss": "holdfast", "aud": "customer", "sub": str(customer_id), "exp": 2**33, "iat": 0},
        staffs,
        algorithms=["Ed25519"],
    )
    none = "eyJhbGciOiJub25lIn0." + claims + "."
    tokens = [
        long_ago.issue(customer_id).text,
        forged,
        as_staff,
        none,
        f"{head}.{claims}.{signature[:-4]}AAAA",
    ]
    for token in tokens:
        answer = await client.get("/v1/customers/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401, token
    # It is good, and nobody is behind it.
    answer = await client.get("/v1/customers/me", headers={"Authorization": f"Bearer {good}"})
    assert (answer.status_code, answer.json()["code"]) == (404, "customer_not_found")


async def test_links_that_have_passed_are_forgotten(engine: Engine, client: httpx.AsyncClient) -> None:
    from holdfast import accounts

    await link_to(engine, client, GRACE)
    assert await accounts.prune_links(engine.db) == 0
    await engine.db.execute("update magic_links set expires_at = now()")
    assert await accounts.prune_links(engine.db) == 1


async def test_a_link_under_a_secret_that_was_dropped_is_no_good(
    engine: Engine, client: httpx.AsyncClient, open_another: Callable[..., Any]
) -> None:
    link = await link_to(engine, client, GRACE)
    async with (
        open_another(secret_key="another secret of more than thirty letters") as other,
        client_of(other) as there,
    ):
        answer = await there.post("/v1/customers/session", json={"token": link})
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_link")
