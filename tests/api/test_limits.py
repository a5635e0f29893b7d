"""Limits over HTTP: who is counted as whom, what the answers say, and that nobody pays for another."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from holdfast import accounts
from holdfast.accounts import Principal
from holdfast.app import ROUTES, make_app
from holdfast.engine import Engine, open_engine
from holdfast.platform.edge import guarded
from holdfast.platform.ids import PersonId, new_id
from holdfast.platform.settings import Settings
from tests.conftest import OWNED, OWNER, _owner_hash

pytestmark = pytest.mark.anyio

HERE = "192.0.2.1"
THERE = "192.0.2.2"
UNCOUNTED = {"/healthz", "/readyz", "/metrics"}


@pytest.fixture(autouse=True)
def standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a test takes, nothing of a limit comes back meanwhile."""
    monkeypatch.setattr("holdfast.platform.clock.monotonic", lambda: 1000.0)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, rate_limits="on", limit_reads="50/60s", limit_staff="200/60s")


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    async with open_engine(settings) as opened:
        await opened.db.execute(OWNED, new_id(), new_id(), OWNER[0], _owner_hash())
        yield opened


@pytest.fixture
def at(engine: Engine) -> Callable[..., httpx.AsyncClient]:
    """A caller with this address."""
    app = guarded(make_app(engine), engine.settings)

    def caller(address: str, **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, client=(address, 5000), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)

    return caller


@pytest.fixture
async def show(at: Callable[..., httpx.AsyncClient], token: str) -> dict[str, Any]:
    """A show of 200 places, made by the owner."""
    body = {
        "name": "Hamlet",
        "start_time": "2030-12-24T20:00:00+01:00",
        "areas": [{"name": "Floor", "kind": "standing", "capacity": 1000}],
    }
    answer = await at(HERE).post("/v1/shows", json=body, headers={"Authorization": token})
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


@pytest.fixture
async def token(engine: Engine) -> str:
    member = await accounts.first_owner(engine.db)
    assert member is not None
    return f"Bearer {engine.access.tokens.issue(member.principal).text}"


async def claimed(client: httpx.AsyncClient, show: dict[str, Any], **headers: str) -> httpx.Response:
    return await client.post(f"/v1/shows/{show['id']}/bookings", json={"quantity": 1}, headers=headers)


async def test_the_hundred_and_first_claim_of_an_address_waits_and_another_address_does_not(
    at: Callable[..., httpx.AsyncClient], show: dict[str, Any]
) -> None:
    here, there = at(HERE), at(THERE)
    for number in range(100):
        answer = await claimed(here, show)
        assert answer.status_code == 201, (number, answer.text)
        assert answer.headers["ratelimit-policy"] == '"claims";q=100;w=900'
        assert answer.headers["ratelimit"].startswith(f'"claims";r={99 - number};t=')
    refused = await claimed(here, show)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["retry-after"]) <= 9
    assert refused.headers["ratelimit"].startswith('"claims";r=0;t=')
    assert (await claimed(there, show)).status_code == 201
    # Who has claimed too much may still look, and let go.
    assert (await here.get(f"/v1/shows/{show['id']}")).status_code == 200


async def test_every_way_to_claim_counts_as_one(
    at: Callable[..., httpx.AsyncClient], show: dict[str, Any]
) -> None:
    here = at(HERE)
    assert (await claimed(here, show)).headers["ratelimit"].startswith('"claims";r=99;')
    queued = await claimed(here, show, Prefer="respond-async")
    assert queued.headers["ratelimit"].startswith('"claims";r=98;')
    answer = await here.post("/book", json={"show_id": show["id"], "seat_count": 1})
    assert answer.headers["ratelimit"].startswith('"claims";r=97;')
    body = {"show_id": show["id"], "user_email": "guest@example.org", "seat_numbers": [1]}
    answer = await here.post("/api/bookings", json=body)
    assert answer.headers["ratelimit"].startswith('"claims";r=96;'), "a refused claim is counted, too"


async def test_the_seeds_say_it_in_their_own_form(
    at: Callable[..., httpx.AsyncClient], show: dict[str, Any]
) -> None:
    here = at(HERE)
    for _ in range(100):
        await here.post("/book", json={"show_id": show["id"], "seat_count": 1})
    refused = await here.post("/book", json={"show_id": show["id"], "seat_count": 1})
    assert (refused.status_code, set(refused.json())) == (429, {"error"})
    assert int(refused.headers["retry-after"]) > 0


async def test_a_person_and_a_key_are_counted_by_name_wherever_they_are(
    at: Callable[..., httpx.AsyncClient], show: dict[str, Any], token: str, engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # 199 at most: the show was made by the same person.
    left = [
        (await claimed(at(address), show, Authorization=token)).headers["ratelimit"]
        for address in (HERE, THERE)
    ]
    assert [each.partition(";t=")[0] for each in left] == ['"staff";r=198', '"staff";r=197']
    assert (await claimed(at(HERE), show)).headers["ratelimit"].startswith('"claims";r=99;')

    member = await accounts.first_owner(engine.db)
    assert member is not None
    key = Principal(None, member.organizer_id, None, key_id=uuid4(), scopes=frozenset())
    other = Principal(None, member.organizer_id, None, key_id=uuid4(), scopes=frozenset())
    for principal, expected in ((key, 5999), (key, 5998), (other, 5999)):

        async def authorize(*_: Any, principal: Principal = principal) -> Principal:
            return principal

        monkeypatch.setattr(engine.access, "authorize", authorize)
        answer = await claimed(at(HERE), show)
        assert answer.headers["ratelimit"].startswith(f'"keys";r={expected};')


async def test_two_people_at_one_address_do_not_share_a_limit(
    at: Callable[..., httpx.AsyncClient], engine: Engine, token: str
) -> None:
    member = await accounts.first_owner(engine.db)
    assert member is not None
    another = Principal(PersonId(uuid4()), member.organizer_id, "viewer")
    second = f"Bearer {engine.access.tokens.issue(another).text}"
    first = [(await at(HERE).get("/v1/shows", headers={"Authorization": token})) for _ in range(3)]
    assert first[-1].headers["ratelimit"].startswith('"staff";r=197;')
    answer = await at(HERE).get("/v1/shows", headers={"Authorization": second})
    assert answer.headers["ratelimit"].startswith('"staff";r=199;')


async def test_who_shows_forged_tokens_is_counted_by_address(at: Callable[..., httpx.AsyncClient]) -> None:
    here = at(HERE, Authorization="Bearer a.b.c")
    statuses = [(await here.get("/v1/shows")).status_code for _ in range(60)]
    assert statuses == [401] * 50 + [429] * 10
    # Also where the person whose token it claims to be is not known to be that.
    assert (await at(HERE).get("/v1/shows")).status_code == 429
    assert (await at(THERE).get("/v1/shows")).status_code == 200


async def test_addresses_of_one_ipv6_network_share_a_limit(at: Callable[..., httpx.AsyncClient]) -> None:
    for number in range(1, 51):
        assert (await at(f"2001:db8:0:1::{number:x}").get("/v1/shows")).status_code == 200
    assert (await at("2001:db8:0:1:ffff::1").get("/v1/shows")).status_code == 429
    assert (await at("2001:db8:0:2::1").get("/v1/shows")).status_code == 200


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP"])
async def test_an_address_that_a_client_claims_for_itself_changes_nothing(
    at: Callable[..., httpx.AsyncClient], name: str
) -> None:
    statuses = [
        (await at(HERE, **{name: f"198.51.100.{number}"}).get("/v1/shows")).status_code
        for number in range(60)
    ]
    assert statuses == [200] * 50 + [429] * 10


async def test_a_limit_for_reads_is_one_for_all_reads_and_for_heads(
    at: Callable[..., httpx.AsyncClient], show: dict[str, Any]
) -> None:
    here = at(HERE)
    answers = [
        await here.get("/v1/shows"),
        await here.head("/v1/shows"),
        await here.get(f"/v1/shows/{show['id']}"),
        await here.get(f"/v1/shows/{show['id']}/availability"),
    ]
    assert [each.headers["ratelimit"].partition(";t")[0] for each in answers] == [
        f'"reads";r={left}' for left in (49, 48, 47, 46)
    ]
    cancelled = await here.post(f"/v1/shows/{show['id']}/bookings/{uuid4()}/cancel")
    assert cancelled.headers["ratelimit"].startswith('"writes";r=299;')


async def test_what_tells_that_the_process_lives_is_not_counted(at: Callable[..., httpx.AsyncClient]) -> None:
    here = at(HERE)
    for path in sorted(UNCOUNTED):
        for _ in range(60):
            answer = await here.get(path)
            assert answer.status_code == 200
            assert "ratelimit" not in answer.headers


def test_every_route_but_those_is_counted() -> None:
    uncounted = {route.path for routes in ROUTES for route in routes.all if route.limit is None}
    assert uncounted == UNCOUNTED


def test_each_claim_is_counted_as_a_claim() -> None:
    claims = {route.path for routes in ROUTES for route in routes.all if route.limit == "claims"}
    assert claims == {"/v1/shows/{show_id}/bookings", "/book", "/api/bookings"}


async def test_off_says_and_counts_nothing(settings: Settings) -> None:
    async with open_engine(msgspec.structs.replace(settings, rate_limits="off")) as engine:
        transport = httpx.ASGITransport(make_app(engine))
        async with httpx.AsyncClient(transport=transport, base_url="http://holdfast.test") as client:
            for _ in range(60):
                answer = await client.get("/v1/shows")
                assert answer.status_code == 200
                assert "ratelimit" not in answer.headers


async def test_one_mailbox_is_one_buyer_however_it_is_written(
    at: Callable[..., httpx.AsyncClient], show: dict[str, Any], token: str
) -> None:
    answer = await at(HERE).patch(
        f"/v1/shows/{show['id']}", json={"max_places_per_buyer": 2}, headers={"Authorization": token}
    )
    assert answer.status_code == 200, answer.text
    found = [
        (
            await at(HERE).post(
                f"/v1/shows/{show['id']}/bookings", json={"quantity": 1, "customer": {"email": email}}
            )
        ).status_code
        for email in (
            "guest@gmail.com", "G.uest+two@gmail.com", "gu.est@googlemail.com", "guest+one@example.org",
            "guest+two@example.org", "Guest+Two@Example.org", "guest+two@example.org",
        )
    ]  # fmt: skip
    assert found == [201, 201, 409, 201, 201, 201, 409]


async def test_free_places_buy_no_flood_of_letters_to_strangers(
    settings: Settings, show: dict[str, Any], at: Callable[..., httpx.AsyncClient], engine: Engine
) -> None:
    count = int(settings.limit_transfers.partition("/")[0])
    booked = await at(HERE).post(f"/v1/shows/{show['id']}/bookings", json={"quantity": 10, "confirm": True})
    url = f"/v1/shows/{show['id']}/bookings/{booked.json()['id']}/tickets"
    buyer = at(HERE, Authorization=f"Bearer {booked.json()['secret']}")
    for turn in range(count):
        await engine.db.execute("delete from tickets")
        given = await buyer.post(
            f"{url}/{turn % 10 + 1}/transfer", json={"name": "Ada", "email": f"victim{turn}@example.org"}
        )
        assert given.status_code == 200, given.text
    more = {"name": "Ada", "email": "another@example.org"}
    await engine.db.execute("delete from tickets")
    refused = await buyer.post(f"{url}/1/transfer", json=more)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    # Without a letter nothing is counted.
    assert (await buyer.post(f"{url}/1/transfer", json={"name": "Ada"})).status_code == 200
    # Each fact is at most one letter, which a follower writes.
    told = await engine.db.value("select count(*) from outbox where kind = 'ticket.transferred'")
    assert told == count + 1
