"""Every route, asked by those who should not: another organizer's staff in every role, wrong roles, and bad tokens.

The routes are walked as the app has them. A new one that names a thing by an id this file does not know, or that takes a
body and gives no example, fails here until it is said how to ask it.
"""

import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any, get_args
from uuid import UUID

import httpx
import msgspec
import pytest

from holdfast import accounts
from holdfast.accounts import ANYONE, PERMISSIONS, Buyer, Role, Staff
from holdfast.accounts.tokens import Tokens
from holdfast.app import ROUTES
from holdfast.booking.seeds_routes import SeedUser
from holdfast.engine import Engine
from holdfast.platform.db import Database
from holdfast.platform.ids import new_id
from holdfast.platform.routing import Route
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import Settings
from tests.api.furnishing import INVOICE, MADE
from tests.api.people import another_house, signed_in
from tests.conftest import client_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

Client = httpx.AsyncClient
ROLES: tuple[Role, ...] = get_args(Role)
WALKED = [route for routes in ROUTES for route in routes.all]

VENUE = {"name": "Globe", "timezone": "Europe/London"}
LAYOUT = {"name": "Pit", "areas": [{"name": "Yard", "kind": "standing", "capacity": 10}]}
# A scan in conflict, for nobody has such a code.
UPLOADED = {"id": "0199e000-0000-7000-8000-00000000000a", "code": "x", "at": "2026-11-20T19:00:00Z"}
# Valid bodies for routes whose body is no JSON, and for those that name somebody's thing in the body ($name).
BODIES: dict[str, Any] = {
    "PUT /v1/shows/{show_id}/picture": b"\x89PNG\r\n",
    "POST /v1/shows": {"name": "Hamlet", "start_time": "2030-12-24T20:00:00Z", "layout_id": "$layout_id"},
    "POST /book": {"show_id": "$show_id", "seat_count": 1},
    "POST /api/bookings": {"show_id": "$show_id", "user_email": "guest@example.org", "seat_numbers": [5]},
    "PATCH /v1/organizers/{organizer_id}": {"suspended": True},
}
# Routes for anyone that name a thing by its id: what they show is for everybody.
FOR_ANYONE = {
    "GET /v1/pictures/{picture_id}",
    "GET /v1/shows/{show_id}/challenge",
    "POST /v1/payments/{provider}/webhook",
    "GET /sandbox/pay/{ref}",
    "POST /sandbox/pay/{ref}",
    "GET /sandbox/pay/{ref}/check",
    "POST /sandbox/pay/{ref}/check",
}


# What names the thing here is the key that it was claimed under.
ASKED_BY_KEY = {"GET /v1/shows/{show_id}/attempt"}
ATTEMPT = "the-attempt-of-the-test-house"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With the seeds' routes for staff alone, so that they have somebody to refuse."""
    return msgspec.structs.replace(settings, seed_routes="staff")


def _named(route: Route) -> str:
    return f"{route.method} {route.template}"


def _who(route: Route) -> Any:
    return route.who.under("staff") if isinstance(route.who, SeedUser) else route.who


def _is_public(route: Route) -> bool:
    """Whether anybody may ask; staff see more."""
    return "" in route.who.security and not isinstance(route.who, SeedUser)


def _body(route: Route) -> Any:
    return BODIES.get(_named(route), route.example)


def _names_things(route: Route) -> bool:
    return bool(route.parameters) or "$" in str(_body(route))


def _may(role: Role, who: Any) -> bool:
    permission = getattr(who, "permission", None)
    return permission is None or role in PERMISSIONS[permission]


async def _ask(client: Client, route: Route, ids: dict[str, str]) -> httpx.Response:
    body, path = _body(route), route.template
    for name, value in ids.items():
        path = path.replace("{" + name + "}", value)
    if isinstance(body, bytes):
        return await client.request(route.method, path, content=body, headers={"Content-Type": "image/png"})
    text = json.dumps(body)
    for name, value in ids.items():
        text = text.replace(f"${name}", value)
    headers = {"Idempotency-Key": ATTEMPT} if _named(route) in ASKED_BY_KEY else None
    return await client.request(
        route.method, path, json=None if body is None else json.loads(text), headers=headers
    )


def _said(answer: httpx.Response) -> tuple[int, Any]:
    """What was answered, apart from which request it was."""
    try:
        body = answer.json()
    except ValueError:
        return answer.status_code, answer.content
    return answer.status_code, {key: value for key, value in body.items() if key != "request_id"}


@pytest.fixture
async def theirs(owner: Client, engine: Engine, db: Database, a_show: Any) -> dict[str, str]:
    """The ids of one thing of each kind that belongs to the test house; `draft` is a show that is not public."""
    show, draft = await a_show(), await a_show(status="draft")
    member = await accounts.first_owner(db)
    assert member is not None
    house = {"person_id": member.person_id, "organizer_id": member.organizer_id}
    venue = (await owner.post("/v1/venues", json=VENUE)).json()["id"]
    made = {
        "show_id": show["id"],
        "draft": draft["id"],
        "booking_id": (
            await owner.post(
                f"/v1/shows/{show['id']}/bookings",
                json={"seats": ["1"], "confirm": True},
                headers={"Idempotency-Key": ATTEMPT},
            )
        ),
        "block_id": await owner.post(f"/v1/shows/{show['id']}/blocks", json={"seats": ["2"], "reason": "x"}),
        "venue_id": venue,
        "layout_id": await owner.post(f"/v1/venues/{venue}/layouts", json=LAYOUT),
        "number": "1",
        "list_id": await owner.post(f"/v1/shows/{show['id']}/door/lists", json={"name": "VIP"}),
        "gate_id": await owner.post(f"/v1/shows/{show['id']}/door/gates", json={"name": "North"}),
        "scan_id": await owner.post(f"/v1/shows/{show['id']}/door/scans/upload", json={"scans": [UPLOADED]}),
        **house,
    }
    ids = {
        name: (each.json().get("id") or UPLOADED["id"]) if isinstance(each, httpx.Response) else str(each)
        for name, each in made.items()
    }
    for name in {name for route in WALKED for name, _, _ in route.parameters} & set(MADE):
        ids[name] = str(new_id())
        await db.execute(MADE[name], UUID(ids[name]), member.organizer_id, member.person_id)
    await db.execute(INVOICE, UUID(ids["booking_id"]))
    return ids


@pytest.fixture
async def strangers(engine: Engine) -> AsyncIterator[dict[Role, Client]]:
    """Another organizer's staff, one in each role."""
    house = await another_house(engine)
    async with AsyncExitStack() as stack:
        found = {role: await stack.enter_async_context(signed_in(engine, role, house)) for role in ROLES}
        for role, client in found.items():
            # Who changes members has to be one at that moment, whatever their token says.
            principal = engine.access.tokens.read(client.headers["Authorization"].removeprefix("Bearer "))
            await engine.db.execute(
                "insert into people (person_id, email, password_hash) values ($1, $2, 'none')",
                principal.person_id,
                f"{role}@example.net",
            )
            await engine.db.execute(
                "insert into members (organizer_id, person_id, role) values ($1, $2, $3)",
                house,
                principal.person_id,
                role,
            )
        yield found


async def _everything(db: Database) -> dict[str, str]:
    """A digest of each table; what is kept of answers and of what was asked apart."""
    tables = await db.rows(
        "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
    )
    return {
        name: await db.value(
            f"select md5(coalesce(string_agg(t::text, '' order by t::text), '')) from {name} t"
        )
        for (name,) in tables
    }


def test_it_is_known_how_to_ask_every_route() -> None:
    known = {
        "show_id",
        "booking_id",
        "block_id",
        "venue_id",
        "layout_id",
        "number",
        "list_id",
        "gate_id",
        "scan_id",
        "person_id",
        "organizer_id",
        *MADE,
    }
    wrong = []
    for route in WALKED:
        if route.who is ANYONE:
            if route.parameters and _named(route) not in FOR_ANYONE:
                wrong.append(
                    f"{_named(route)} shows anyone a thing by its id: say so in FOR_ANYONE, or say who may"
                )
            continue
        if unknown := {name for name, _, _ in route.parameters} - known:
            wrong.append(f"{_named(route)}: say in `theirs` or MADE how {unknown} come about")
        if route.parameters and route.body is not None and _body(route) is None:
            wrong.append(f"{_named(route)}: give the route an example, or a body in BODIES")
    assert wrong == []


async def test_to_another_organizers_staff_nothing_is_there(
    theirs: dict[str, str], strangers: dict[Role, Client], db: Database
) -> None:
    """Whose role may do such a thing at home hears that there is none, as of an id that never was; others, that they may not."""
    before, wrong, asked = await _everything(db), [], 0
    for route in WALKED:
        if route.who is ANYONE or not _names_things(route):
            continue
        never = {name: str(new_id()) if name != "number" else "1" for name in theirs}
        real = {**theirs, "show_id": theirs["draft"]} if _is_public(route) else theirs
        for role, client in strangers.items():
            expected = 404 if _may(role, _who(route)) else 403
            answer, unknown = await _ask(client, route, real), await _ask(client, route, never)
            asked += 1
            if answer.status_code != expected or _said(answer) != _said(unknown):
                wrong.append(
                    f"{_named(route)} as {role}: {_said(answer)} and {_said(unknown)}, not {expected}"
                )
    assert not wrong, "\n".join(wrong)
    assert await _everything(db) == before
    assert asked >= 5 * 20


async def test_control_to_its_own_staff_everything_is_there(
    theirs: dict[str, str], owner: Client, engine: Engine
) -> None:
    """With the same ids, the same bodies and the right role no route answers 404: it was the organizer that was wrong."""
    readers = [
        route
        for route in WALKED
        if _names_things(route) and route.who is not ANYONE and route.method == "GET"
    ]
    wrong = []
    for route in readers:
        if route.template.endswith("/live") or not _may("owner", _who(route)):
            continue
        answer = await _ask(owner, route, theirs)
        if answer.status_code != 200:
            wrong.append(f"{_named(route)}: {_said(answer)}")
    assert wrong == []
    assert len(readers) > 10


async def test_a_role_without_the_permission_may_not(
    theirs: dict[str, str], engine: Engine, db: Database
) -> None:
    before, wrong, asked = await _everything(db), [], 0
    for role in ROLES:
        async with signed_in(engine, role) as client:
            for route in WALKED:
                if not isinstance(_who(route), Staff | Buyer) or _may(role, _who(route)):
                    continue
                answer = await _ask(client, route, theirs)
                asked += 1
                if answer.status_code != 403:
                    wrong.append(f"{_named(route)} as {role}: {_said(answer)}")
    assert not wrong, "\n".join(wrong)
    assert await _everything(db) == before
    assert asked > 30


def _part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bad_tokens(engine: Engine, good: str) -> Iterator[tuple[str, str]]:
    """What looks like an access token of the owner and is none."""
    principal = engine.access.tokens.read(good)
    head, payload, signature = good.split(".")
    yield (
        "expired",
        Tokens(engine.secrets, token_seconds=60, now=lambda: time.time() - 3600).issue(principal).text,
    )
    yield (
        "another's key",
        Tokens(Secrets("another-secret-that-is-as-long-as-it-must-be"), token_seconds=60)
        .issue(principal)
        .text,
    )
    for none in ("none", "None", "NONE"):
        yield f"alg {none}", f"{_part({'alg': none, 'typ': 'JWT'})}.{payload}."
    yield "alg none, signed", f"{_part({'alg': 'none'})}.{payload}.{signature}"
    yield "no signature", f"{head}.{payload}."
    longer = json.loads(base64.urlsafe_b64decode(payload + "=="))
    yield "other claims", f"{head}.{_part({**longer, 'role': 'owner', 'exp': longer['exp'] + 1})}.{signature}"
    yield "garbage", "a.b.c"
    yield "garbage in base64", f"{_part(b'x')}.{_part(b'y')}.{_part(b'z')}"


async def test_a_token_that_is_none_of_ours_is_refused_on_every_route(
    theirs: dict[str, str], owner: Client, engine: Engine, db: Database
) -> None:
    before, wrong, asked = await _everything(db), [], 0
    good = owner.headers["Authorization"].removeprefix("Bearer ")
    for what, token in _bad_tokens(engine, good):
        async with client_of(engine, Authorization=f"Bearer {token}") as client:
            for route in WALKED:
                if route.who is not ANYONE:
                    answer = await _ask(client, route, theirs)
                    asked += 1
                    if answer.status_code != 401:
                        wrong.append(f"{_named(route)}, {what}: {_said(answer)}")
    assert not wrong, "\n".join(wrong)
    assert await _everything(db) == before
    assert asked > 200


@pytest.mark.parametrize("header", [None, "Bearer garbage", "Bearer " + "x" * 29, "Basic YTpi"])
async def test_without_a_token_staff_routes_ask_for_one(
    header: str | None, theirs: dict[str, str], engine: Engine, db: Database
) -> None:
    """A booking is not there for whoever has neither its secret nor a token, so that nobody learns which are."""
    before, wrong = await _everything(db), []
    async with client_of(engine, **({"Authorization": header} if header else {})) as client:
        for route in WALKED:
            if route.who is ANYONE or _is_public(route):
                continue
            expected = 404 if isinstance(route.who, Buyer) and header != "Basic YTpi" else 401
            answer = await _ask(client, route, theirs)
            if answer.status_code != expected:
                wrong.append(f"{_named(route)}: {_said(answer)}, not {expected}")
    assert not wrong, "\n".join(wrong)
    assert await _everything(db) == before
