"""Signing in over HTTP, and what each kind of route lets in."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from holdfast import accounts
from holdfast.accounts import ANYONE, VISITOR, Access, Buyer, Principal, Staff
from holdfast.accounts.routes import routes
from holdfast.platform.db import Database
from holdfast.platform.http import Call, Routes, Who, build_app
from holdfast.platform.ids import OrganizerId, PersonId, new_id
from holdfast.platform.openapi import openapi
from holdfast.platform.secret import Secrets

pytestmark = pytest.mark.anyio

EMAIL, PASSWORD = "owner@example.org", "correct horse"
GUARDED = {
    "/anyone": ANYONE,
    "/visitor": VISITOR,
    "/buyer": Buyer("bookings.read"),
    "/signed-in": Staff(),
    "/shows": Staff("shows.write"),
}


def guarded() -> Routes:
    """One route for each kind of caller, which says whom it took the caller for."""
    found = Routes("guarded")

    def declare(path: str, who: Who) -> None:
        @found.get(path, who=who, answers={200: dict[str, str]}, operation_id=path[1:].replace("-", "_"))
        async def show_caller(call: Call[None]) -> dict[str, str]:
            return {"caller": repr(call.caller)}

    for path, who in GUARDED.items():
        declare(path, who)
    return found


@pytest.fixture
async def access() -> AsyncIterator[Access]:
    access = Access(Secrets("a secret of thirty-two characters"), token_seconds=900)
    yield access
    access.close()


def client_of(access: Access, db: Database | None = None) -> httpx.AsyncClient:
    state = SimpleNamespace(db=db, access=access)
    app: Any = build_app([routes, guarded()], state=state, db=state.db, authorize=access.authorize)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
async def client(db: Database, access: Access) -> AsyncIterator[httpx.AsyncClient]:
    async with db.transaction() as tx:
        await accounts.create_owner(tx, organizer_name="Opera", email=EMAIL, password=PASSWORD)
    async with client_of(access, db) as client:
        yield client


@pytest.fixture
async def outside(access: Access) -> AsyncIterator[httpx.AsyncClient]:
    """A client of routes that need no database."""
    async with client_of(access) as client:
        yield client


def header(access: Access, role: accounts.Role) -> dict[str, str]:
    principal = Principal(PersonId(new_id()), OrganizerId(new_id()), role)
    return {"Authorization": f"Bearer {access.tokens.issue(principal).text}"}


async def test_sign_in_and_ask_who_i_am(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/auth/token", json={"email": EMAIL.upper(), "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    token = answer.json()
    assert set(token) == {"access_token", "expires_in", "token_type"}
    assert (token["expires_in"], token["token_type"]) == (900, "Bearer")
    me = await client.get("/v1/auth/me", headers={"Authorization": f"Bearer {token['access_token']}"})
    assert me.status_code == 200
    assert (me.json()["email"], me.json()["role"]) == (EMAIL, "owner")
    assert me.json()["organizer"]["name"] == "Opera"
    assert set(me.json()["permissions"]) == set(accounts.PERMISSIONS)


async def test_wrong_credentials_have_one_answer(client: httpx.AsyncClient) -> None:
    bodies = []
    for email, password in ((EMAIL, "wrong horse"), ("else@example.org", PASSWORD)):
        answer = await client.post("/v1/auth/token", json={"email": email, "password": password})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        bodies.append({name: value for name, value in answer.json().items() if name != "request_id"})
    assert bodies[0] == bodies[1]
    assert bodies[0]["code"] == "bad_credentials"


@pytest.mark.parametrize(
    "body, pointer",
    [
        ({"email": "nobody", "password": "x"}, "/email"),
        ({"email": "ab", "password": "x"}, "/email"),
        ({"email": "a@b\u0000", "password": "x"}, "/email"),
        ({"email": "x" * 250 + "@b.de", "password": "x"}, "/email"),
        ({"email": EMAIL}, "/password"),
        ({"email": EMAIL, "password": ""}, "/password"),
        ({"email": EMAIL, "password": "x" * 1001}, "/password"),
        ({"email": EMAIL, "password": 12345678}, "/password"),
        ({"email": EMAIL, "password": "x", "remember": True}, "/remember"),
    ],
)
async def test_bad_input_is_named(outside: httpx.AsyncClient, body: dict[str, Any], pointer: str) -> None:
    answer = await outside.post("/v1/auth/token", json=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_who_left_is_nobody(client: httpx.AsyncClient, access: Access) -> None:
    answer = await client.get("/v1/auth/me", headers=header(access, "owner"))
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_the_keys_are_public(outside: httpx.AsyncClient) -> None:
    answer = await outside.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    [key] = answer.json()["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "Ed25519", "sig")
    assert "d" not in key


@pytest.mark.parametrize(
    "path, status",
    [("/anyone", 200), ("/visitor", 200), ("/buyer", 200), ("/signed-in", 401), ("/shows", 401)],
)
async def test_nobody_gets_where_nobody_may(outside: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await outside.get(path)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "unauthenticated"


@pytest.mark.parametrize(
    "path, caller",
    [
        ("/visitor", "None"),
        ("/buyer", "Caller(principal=None, secret='AAsecret')"),
        ("/signed-in", None),
        ("/shows", None),
    ],
)
async def test_a_bookings_secret_is_handed_to_routes_for_buyers_alone(
    outside: httpx.AsyncClient, path: str, caller: str | None
) -> None:
    answer = await outside.get(path, headers={"Authorization": "Bearer AAsecret"})
    assert answer.status_code == (401 if caller is None else 200)
    assert answer.json().get("caller") == caller


@pytest.mark.parametrize("path", ["/visitor", "/buyer", "/signed-in", "/shows"])
@pytest.mark.parametrize("text", ["Bearer a.b.c", "Bearer", "Basic b3duZXI6eA==", "expired", "other key"])
async def test_a_bad_token_is_refused_where_tokens_are_read(
    outside: httpx.AsyncClient, path: str, text: str
) -> None:
    def past() -> float:
        return 1_000_000_000.0

    principal = Principal(PersonId(new_id()), OrganizerId(new_id()), "owner")
    if text == "expired":
        ours = Secrets("a secret of thirty-two characters")
        text = "Bearer " + accounts.tokens.Tokens(ours, token_seconds=900, now=past).issue(principal).text
    elif text == "other key":
        theirs = Access(Secrets("another secret of thirty-two characters"), token_seconds=900)
        text = "Bearer " + theirs.tokens.issue(principal).text
    answer = await outside.get(path, headers={"Authorization": text})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "role, allowed",
    [
        ("owner", {"/visitor", "/buyer", "/signed-in", "/shows"}),
        ("manager", {"/visitor", "/buyer", "/signed-in", "/shows"}),
        ("box_office", {"/visitor", "/buyer", "/signed-in"}),
        ("viewer", {"/visitor", "/buyer", "/signed-in"}),
        ("door", {"/visitor", "/signed-in"}),
    ],
)
async def test_a_role_gets_where_its_permissions_let_it(
    outside: httpx.AsyncClient, access: Access, role: accounts.Role, allowed: set[str]
) -> None:
    for path in ("/visitor", "/buyer", "/signed-in", "/shows"):
        answer = await outside.get(path, headers=header(access, role))
        assert answer.status_code == (200 if path in allowed else 403), path
        if path in allowed:
            assert f"role='{role}'" in answer.json()["caller"]
        else:
            assert answer.json()["code"] == "forbidden"


async def test_two_authorization_headers_are_refused(outside: httpx.AsyncClient) -> None:
    answer = await outside.get(
        "/buyer", headers=[("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    )
    assert answer.status_code == 401


def test_the_routes_stand_in_the_openapi() -> None:
    document = openapi([routes], title="t", version="1", security_schemes=accounts.SECURITY_SCHEMES)
    assert document["paths"]["/v1/auth/me"]["get"]["security"] == [{"staff": []}]
    assert "401" in document["paths"]["/v1/auth/token"]["post"]["responses"]
