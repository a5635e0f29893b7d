"""Deny by default, shown on every route there is: each role, an admin, a key of each scope and nobody try them all.

What is asked names things that do not exist, so whoever may use a route hears that nothing is there, or that the request
is not valid. Who may not hears so before anything is looked at.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import httpx
import msgspec
import pytest

from holdfast import accounts
from holdfast.accounts import INSTALLATION, PERMISSIONS, Permission, Principal, Role
from holdfast.accounts.access import GRANTABLE
from holdfast.app import ROUTES
from holdfast.engine import Engine
from holdfast.platform.http import ANYONE, Route
from holdfast.platform.ids import PersonId, new_id
from holdfast.platform.settings import Settings
from tests.conftest import client_of

pytestmark = pytest.mark.anyio

EVERY_ROUTE = [route for routes in ROUTES for route in routes.all]
_PARAMETER = re.compile(r"\{[a-z_]+(?::(uuid|str|int))?\}")

# Where no permission is asked of people who have signed in: what they see and do there is their own.
OF_PEOPLE_THEMSELVES = {
    "GET /v1/auth/me",
    "DELETE /v1/auth/session",
    "GET /v1/auth/sessions",
    "DELETE /v1/auth/sessions",
    "DELETE /v1/auth/sessions/{session_id}",
    "POST /v1/auth/password",
}
KINDS = {"anyone", "visitor", "claimant", "customer", "buyer", "staff", "seed user"}


def name_of(route: Route) -> str:
    return f"{route.method} {route.template}"


def path_of(route: Route) -> str:
    return _PARAMETER.sub(lambda found: "1" if found[1] in ("int", "str") else str(new_id()), route.path)


def permission_of(route: Route) -> Permission | None:
    return getattr(route.who, "permission", None)


GUARDED = {name_of(route): (route, permission_of(route)) for route in EVERY_ROUTE if permission_of(route)}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, seed_routes="staff", rate_limits="off")


@pytest.fixture
async def house(engine: Engine) -> Any:
    owner = await accounts.first_owner(engine.db)
    assert owner is not None
    return owner.organizer_id


@asynccontextmanager
async def acting(engine: Engine, principal: Principal) -> AsyncIterator[httpx.AsyncClient]:
    token = engine.access.tokens.issue(principal).text
    async with client_of(engine, Authorization=f"Bearer {token}") as opened:
        yield opened


async def denied_to(client: httpx.AsyncClient) -> set[str]:
    """The guarded routes that say to this caller that the permission is missing."""
    found = set()
    for name, (route, permission) in GUARDED.items():
        answer = await client.request(route.method, path_of(route))
        assert answer.status_code != 401, name
        assert answer.status_code < 500, f"{name}: {answer.text}"
        if answer.status_code == 403 and f"does not have the permission {permission}" in answer.text:
            found.add(name)
    return found


def beyond(allowed: set[Permission]) -> set[str]:
    return {name for name, (_, permission) in GUARDED.items() if permission not in allowed}


# What is declared


@pytest.mark.parametrize("route", EVERY_ROUTE, ids=name_of)
def test_a_route_says_who_may_use_it(route: Route) -> None:
    assert route.who.name in KINDS
    if route.who.name in ("staff", "buyer", "seed user"):
        assert permission_of(route) in PERMISSIONS or name_of(route) in OF_PEOPLE_THEMSELVES
    if route.who is not ANYONE:
        assert route.who.security, "the API document says what opens it"


def test_where_no_permission_is_asked_stands_on_a_short_list() -> None:
    without = {
        name_of(route) for route in EVERY_ROUTE if route.who.name == "staff" and permission_of(route) is None
    }
    assert without == OF_PEOPLE_THEMSELVES


def test_every_permission_opens_something() -> None:
    assert {permission for _, permission in GUARDED.values()} == set(PERMISSIONS)


def test_the_table_stands_in_the_docs() -> None:
    told = (Path(__file__).parents[2] / "docs" / "api" / "permissions.md").read_text("utf-8")
    assert [permission for permission in PERMISSIONS if f"| `{permission}` |" not in told] == []
    assert [name for name in GUARDED if f"`{name}`" not in told] == []


# What is done


@pytest.mark.parametrize("admin", [False, True], ids=["", "admin"])
@pytest.mark.parametrize("role", get_args(Role))
async def test_a_role_gets_where_the_table_lets_it_and_nowhere_else(
    engine: Engine, house: Any, role: Role, admin: bool
) -> None:
    allowed = {permission for permission, holders in PERMISSIONS.items() if role in holders}
    if admin:
        allowed |= INSTALLATION
    async with acting(engine, Principal(PersonId(new_id()), house, role, admin=admin)) as client:
        assert await denied_to(client) == beyond(allowed)


@pytest.mark.parametrize("scope", sorted(GRANTABLE))
async def test_a_key_gets_where_its_scope_lets_it_and_nowhere_else(
    engine: Engine, owner: httpx.AsyncClient, scope: Permission
) -> None:
    made = await owner.post("/v1/keys", json={"name": "Till", "scopes": [scope]})
    assert made.status_code == 201, made.text
    async with client_of(engine, Authorization=f"Bearer {made.json()['key']}") as client:
        assert await denied_to(client) == beyond({scope})
        for route in EVERY_ROUTE:
            if name_of(route) in OF_PEOPLE_THEMSELVES:
                answer = await client.request(route.method, path_of(route))
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), name_of(route)


def bad_credentials(engine: Engine) -> Iterator[tuple[str, str | None]]:
    token = engine.access.tokens.issue(Principal(PersonId(new_id()), new_id(), "owner", admin=True)).text  # type: ignore[arg-type]
    head, claims, signature = token.split(".")
    yield "nothing", None
    yield "a changed token", f"{head}.{claims}.{signature[:-4]}AAAA"
    yield "a token without a signature", f"eyJhbGciOiJub25lIn0.{claims}."
    yield "a made up key", "hf_AbCd1234_" + "x" * 43


async def test_whoever_shows_nothing_good_gets_nowhere(engine: Engine) -> None:
    for what, text in bad_credentials(engine):
        async with client_of(
            engine, **({} if text is None else {"Authorization": f"Bearer {text}"})
        ) as client:
            for route in EVERY_ROUTE:
                if route.who.name not in ("staff", "seed user", "customer"):
                    continue
                answer = await client.request(route.method, path_of(route))
                assert answer.status_code == 401, f"{name_of(route)} with {what}: {answer.text}"


async def test_control_a_hole_in_the_table_is_found(
    engine: Engine, house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PERMISSIONS, "blocks.write", PERMISSIONS["blocks.write"] | {"door"})
    async with acting(engine, Principal(PersonId(new_id()), house, "door")) as client:
        assert await denied_to(client) != beyond({"shows.read_all", "venues.read"})
