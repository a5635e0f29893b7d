"""Signing in to the console and for programs, what a session lets in, and how it ends, over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from holdfast.accounts import passwords, sessions
from holdfast.accounts.tokens import VERIFIED_SECONDS
from holdfast.app import make_app
from holdfast.engine import Engine
from holdfast.platform.ids import new_id
from tests.conftest import OWNER, SECRET, eventually

pytestmark = pytest.mark.anyio

NEW = "a-new-secret-for-tests-and-nothing-else"
ORIGIN = {"Origin": "http://holdfast.test"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of a millisecond: what they cost is tested elsewhere."""
    monkeypatch.setattr(passwords, "_argon2", PasswordHash((Argon2Hasher(1, 8, 1),)))


@asynccontextmanager
async def browser(
    engine: Engine, address: str = "192.0.2.7", **headers: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at this address, whose pages are ours."""
    transport = httpx.ASGITransport(make_app(engine), client=(address, 1234))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://holdfast.test", headers=ORIGIN | headers
    ) as opened:
        yield opened


async def sign_in(client: httpx.AsyncClient, path: str = "/v1/auth/session", **more: Any) -> Any:
    answer = await client.post(path, json={"email": OWNER[0], "password": OWNER[1], **more})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


async def tokens(client: httpx.AsyncClient) -> Any:
    return await sign_in(client, "/v1/auth/token")


async def status(client: httpx.AsyncClient, token: str | None = None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return (await client.get("/v1/auth/me", headers=headers)).status_code


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/v1/auth/token/refresh", json={"refresh_token": token})


# Cookies


async def test_a_session_of_the_console_is_a_cookie(engine: Engine) -> None:
    async with browser(engine) as client:
        answer = await client.post("/v1/auth/session", json={"email": OWNER[0], "password": OWNER[1]})
        assert answer.status_code == 201
        cookie, *attributes = answer.headers["set-cookie"].split("; ")
        assert cookie.startswith("holdfast=") and len(cookie) == len("holdfast=") + 43
        assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=2592000"}
        me = await client.get("/v1/auth/me")
        assert me.status_code == 200
        assert me.json()["session_id"] == answer.json()["session_id"]
        stored = await engine.db.value("select string_agg(s::text, '') from sessions s")
        assert cookie.partition("=")[2] not in stored


async def test_where_people_come_by_https_the_cookie_goes_by_https_alone(
    engine: Engine, open_another: Callable[..., Any]
) -> None:
    async with open_another(public_url="https://tickets.example.org/") as secure, browser(secure) as client:
        answer = await client.post("/v1/auth/session", json={"email": OWNER[0], "password": OWNER[1]})
        cookie, *attributes = answer.headers["set-cookie"].split("; ")
        assert cookie.startswith("__Host-holdfast=")
        assert {"Secure", "Path=/", "HttpOnly", "SameSite=Lax"} < set(attributes)
        answer = await client.get("/v1/auth/me", headers={"Cookie": cookie})
        assert answer.status_code == 200
        # On https the name without the prefix, which a page of a sibling host could plant, is nobody's.
        planted = cookie.replace("__Host-", "")
        assert (await client.get("/v1/auth/me", headers={"Cookie": planted})).status_code == 401


@pytest.mark.parametrize("value", ["", "x", "A" * 43, "A" * 42 + "é", "A" * 4000, '"', "a.b.c"])
async def test_a_cookie_that_we_did_not_give_is_nobodys(engine: Engine, value: str) -> None:
    async with browser(engine) as client:
        headers = [(b"cookie", f"holdfast={value}".encode())]
        assert (await client.get("/v1/auth/me", headers=headers)).status_code == 401
        assert (await client.get("/v1/shows", headers=headers)).status_code == 200


async def test_of_two_cookies_one_was_planted_and_none_is_believed(engine: Engine) -> None:
    async with browser(engine) as client:
        await sign_in(client)
        cookie = client.cookies["holdfast"]
        client.cookies.clear()
        for header, expected in (
            (f"holdfast={cookie}", 200),
            (f"other=1; holdfast={cookie}; more=2", 200),
            (f"holdfast={cookie}; holdfast={'A' * 43}", 401),
            (f"holdfast={'A' * 43}; holdfast={cookie}", 401),
        ):
            assert (await client.get("/v1/auth/me", headers={"Cookie": header})).status_code == expected


@pytest.mark.parametrize(
    "headers, allowed",
    [
        ({"Origin": "http://holdfast.test"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({}, False),
        ({"Origin": "http://evil.test"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://holdfast.test.evil.test"}, False),
        ({"Origin": "http://evil.test/holdfast.test"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://holdfast.test"}, False),
    ],
)
async def test_a_cookie_lets_only_our_own_pages_change_something(
    engine: Engine, headers: dict[str, str], allowed: bool
) -> None:
    async with browser(engine) as client:
        await sign_in(client)
        del client.headers["origin"]
        answer = await client.request("DELETE", "/v1/auth/sessions", headers=headers)
        assert answer.status_code == (204 if allowed else 403), answer.text
        if not allowed:
            assert answer.json()["code"] == "cross_site"
        assert (await client.get("/v1/auth/me", headers=headers)).status_code == 200, "reading is no harm"


async def test_a_site_that_the_operator_lets_call_with_credentials_may(
    engine: Engine, open_another: Callable[..., Any]
) -> None:
    sites = "https://console.example.org, https://other.example.org"
    async with (
        open_another(cors_origins=sites, public_url="http://localhost:9000") as trusting,
        browser(trusting) as client,
    ):
        await sign_in(client)
        for origin, status in (
            ("https://console.example.org", 204),
            ("http://localhost:9000", 204),
            ("https://evil.example.org", 403),
            ("http://console.example.org", 403),
        ):
            headers = {"Origin": origin, "Sec-Fetch-Site": "same-site"}
            assert (await client.delete("/v1/auth/sessions", headers=headers)).status_code == status, origin


async def test_signing_out_twice_is_no_fault(engine: Engine) -> None:
    async with browser(engine) as client:
        await sign_in(client)
        assert await status(client) == 200
        await engine.db.execute("update sessions set ended_at = clock_timestamp() - interval '1 day'")
        assert (await client.delete("/v1/auth/session")).status_code == 204


async def test_a_token_needs_no_origin_for_no_browser_sends_it_unasked(engine: Engine) -> None:
    async with browser(engine) as client:
        token = (await tokens(client))["access_token"]
        del client.headers["origin"]
        headers = {"Authorization": f"Bearer {token}"}
        assert (await client.delete("/v1/auth/sessions", headers=headers)).status_code == 204


async def test_no_page_of_another_site_signs_anybody_in(engine: Engine) -> None:
    """Else its visitor would work in the attacker's account without knowing it."""
    async with browser(engine) as client:
        credentials = {"email": OWNER[0], "password": OWNER[1]}
        for headers in ({"Origin": "http://evil.test"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = await client.post("/v1/auth/session", json=credentials, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
            assert "set-cookie" not in answer.headers
        del client.headers["origin"]
        assert (await client.post("/v1/auth/session", json=credentials)).status_code == 201


async def test_signing_out_ends_the_session_and_takes_the_cookie_back(engine: Engine) -> None:
    async with browser(engine) as client:
        await sign_in(client)
        cookie = client.cookies["holdfast"]
        answer = await client.delete("/v1/auth/session")
        assert answer.status_code == 204
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert client.cookies.get("holdfast") is None

        async def is_out() -> bool:
            return await status_by(client, cookie) == 401

        await eventually(is_out)


async def status_by(client: httpx.AsyncClient, cookie: str) -> int:
    client.cookies.clear()
    return (await client.get("/v1/auth/me", headers={"Cookie": f"holdfast={cookie}"})).status_code


# How long


@pytest.mark.parametrize(
    "change",
    [
        "used_at = clock_timestamp() - interval '12 hours 1 second'",
        "expires_at = clock_timestamp()",
        "ended_at = clock_timestamp()",
        "strong = false, organizer_id = (select organizer_id from organizers where second_factor_required)",
    ],
)
async def test_a_session_has_its_limits(engine: Engine, change: str) -> None:
    await engine.db.execute(
        "insert into organizers (organizer_id, name, second_factor_required) values ($1, 'Strict', true)",
        new_id(),
    )
    await engine.db.execute(
        "insert into members select o.organizer_id, p.person_id, 'viewer' from organizers o, people p"
        " where o.second_factor_required"
    )
    async with browser(engine) as client:
        await sign_in(client)
        assert await status(client) == 200
        await engine.db.execute(f"update sessions set {change}")
        engine.sessions._known.clear()
        assert await status(client) == 401


async def test_a_session_is_not_believed_past_its_end_though_it_was_looked_up_before(engine: Engine) -> None:
    async with browser(engine) as client:
        await sign_in(client)
        await engine.db.execute("update sessions set expires_at = clock_timestamp() + interval '1 second'")
        began = asyncio.get_running_loop().time()
        assert await status(client) == 200

        async def is_out() -> bool:
            return await status(client) == 401

        await eventually(is_out)
        assert asyncio.get_running_loop().time() - began < VERIFIED_SECONDS


async def test_using_a_session_keeps_it_and_is_noted_once_a_minute(engine: Engine) -> None:
    async with browser(engine) as client:
        await sign_in(client)
        used = "select used_at from sessions"
        before = await engine.db.value(used)
        assert await status(client) == 200
        assert await engine.db.value(used) == before
        await engine.db.execute("update sessions set used_at = used_at - interval '2 minutes'")
        engine.sessions._known.clear()
        assert await status(client) == 200
        assert await engine.db.value(used) > before


async def test_only_so_many_sessions_stay(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 2)
    async with browser(engine) as client:
        first, second, third = [(await sign_in(client))["session_id"] for _ in range(3)]
        found = (await client.get("/v1/auth/sessions")).json()["sessions"]
        assert [each["id"] for each in found] == [third, second]
        assert first not in str(found)


async def test_sessions_are_forgotten_long_after_their_end(engine: Engine) -> None:
    async with browser(engine) as client:
        for _ in range(3):
            await sign_in(client)
        await engine.db.execute(
            "update sessions set ended_at = clock_timestamp() - interval '91 days'"
            " where session_id = (select min(session_id::text)::uuid from sessions)"
        )
        assert await sessions.prune_sessions(engine.db, engine.settings) == 1
        assert await engine.db.value("select count(*) from sessions") == 2


# The list


async def test_a_person_sees_where_they_are_signed_in_and_ends_what_they_do_not_know(engine: Engine) -> None:
    async with (
        browser(engine, "192.0.2.7", **{"User-Agent": FIREFOX + "x" * 300}) as here,
        browser(engine, "2001:db8:1:2::3") as there,
    ):
        mine = await sign_in(here)
        theirs = await tokens(there)
        found = (await here.get("/v1/auth/sessions")).json()["sessions"]
        assert {each["address"] for each in found} == {"192.0.2.0/24", "2001:db8:1::/48"}
        assert {each["kind"] for each in found} == {"console", "api"}
        [current] = [each for each in found if each["current"]]
        assert current["id"] == mine["session_id"]
        assert current["device"].startswith(FIREFOX) and len(current["device"]) == 200
        [other] = [each for each in found if not each["current"]]
        assert await status(there, theirs["access_token"]) == 200
        assert (await here.delete(f"/v1/auth/sessions/{other['id']}")).status_code == 204

        async def is_out() -> bool:
            return await status(there, theirs["access_token"]) == 401

        await eventually(is_out)
        assert (await refresh(there, theirs["refresh_token"])).status_code == 401
        assert await status(here) == 200
        again = await here.delete(f"/v1/auth/sessions/{other['id']}")
        assert (again.status_code, again.json()["code"]) == (404, "session_not_found")


async def test_nobody_ends_another_persons_session(engine: Engine) -> None:
    await engine.db.execute(
        "insert into people (person_id, email) values ($1, 'other@example.org')", (other := new_id())
    )
    await engine.db.execute(
        "insert into sessions (session_id, person_id, organizer_id, kind, secret_hashes, device, address, expires_at,"
        " strong) select $1, $2, organizer_id, 'console', array['x'::bytea], '', '',"
        " clock_timestamp() + interval '1 day', false from organizers",
        (session := new_id()), other,
    )  # fmt: skip
    async with browser(engine) as client:
        await sign_in(client)
        assert (await client.delete(f"/v1/auth/sessions/{session}")).status_code == 404
        assert (await client.delete("/v1/auth/sessions")).status_code == 204
        assert str(session) not in (await client.get("/v1/auth/sessions")).text
    assert await engine.db.value("select ended_at is null from sessions where session_id = $1", session)


async def test_all_other_sessions_end_at_once(engine: Engine) -> None:
    async with browser(engine) as here, browser(engine) as there:
        await sign_in(there)
        await sign_in(here)
        assert await status(there) == 200
        assert (await here.delete("/v1/auth/sessions")).status_code == 204

        async def is_out() -> bool:
            return await status(there) == 401

        await eventually(is_out)
        assert await status(here) == 200


async def test_what_ended_in_one_process_is_out_in_every_other(
    engine: Engine, open_another: Callable[..., Any]
) -> None:
    async with open_another() as second, browser(engine) as here, browser(second) as there:
        await sign_in(here)
        there.cookies = here.cookies
        token = (await tokens(here))["access_token"]
        assert await status(there) == await status(there, token) == 200
        await engine.db.execute("update sessions set ended_at = clock_timestamp()")

        async def is_out() -> bool:
            return await status(there, token) == await status(there) == 401

        # Nobody told the second process; it looks by itself every two seconds.
        await eventually(is_out)


# Tokens that are renewed


async def test_a_refresh_token_is_good_once(engine: Engine) -> None:
    async with browser(engine) as client:
        first = await tokens(client)
        answer = await refresh(client, first["refresh_token"])
        assert answer.status_code == 200
        second = answer.json()
        assert second["refresh_token"] != first["refresh_token"]
        assert await status(client, second["access_token"]) == 200
        assert (await refresh(client, second["refresh_token"])).status_code == 200
        stored = await engine.db.value("select string_agg(s::text, '') from sessions s")
        assert second["refresh_token"] not in stored


async def test_a_refresh_token_used_again_ends_the_session_of_the_thief_and_of_the_owner(
    engine: Engine,
) -> None:
    async with browser(engine) as client:
        stolen = await tokens(client)
        honest = (await refresh(client, stolen["refresh_token"])).json()
        await engine.db.execute("update sessions set renewed_at = renewed_at - interval '11 seconds'")
        answer = await refresh(client, stolen["refresh_token"])
        assert (answer.status_code, answer.json()["code"]) == (401, "refresh_refused")
        assert (await refresh(client, honest["refresh_token"])).status_code == 401

        async def is_out() -> bool:
            return await status(client, honest["access_token"]) == 401

        await eventually(is_out)


async def test_control_while_nobody_uses_it_again_the_session_goes_on(engine: Engine) -> None:
    async with browser(engine) as client:
        token = (await tokens(client))["refresh_token"]
        for _ in range(3):
            await engine.db.execute("update sessions set renewed_at = renewed_at - interval '11 seconds'")
            answer = await refresh(client, token)
            assert answer.status_code == 200
            token = answer.json()["refresh_token"]


async def test_a_lost_answer_costs_nobody_the_session(engine: Engine) -> None:
    async with browser(engine) as client:
        first = await tokens(client)
        lost = (await refresh(client, first["refresh_token"])).json()
        again = await refresh(client, first["refresh_token"])
        assert again.status_code == 200
        third = await refresh(client, again.json()["refresh_token"])
        assert third.status_code == 200
        # What was lost may have been found by somebody; whoever uses it now shares the session with a stranger.
        await engine.db.execute("update sessions set renewed_at = renewed_at - interval '11 seconds'")
        assert (await refresh(client, lost["refresh_token"])).status_code == 401
        assert (await refresh(client, third.json()["refresh_token"])).status_code == 401


async def test_the_grace_is_for_the_last_token_alone(engine: Engine) -> None:
    async with browser(engine) as client:
        first = await tokens(client)
        second = (await refresh(client, first["refresh_token"])).json()
        assert (await refresh(client, second["refresh_token"])).status_code == 200
        assert (await refresh(client, first["refresh_token"])).status_code == 401
        assert await engine.db.value("select ended_at is not null from sessions")


async def test_of_several_that_come_at_once_each_is_answered_and_a_crowd_ends_it(engine: Engine) -> None:
    async with browser(engine) as client:
        token = (await tokens(client))["refresh_token"]
        answers = await asyncio.gather(*(refresh(client, token) for _ in range(sessions.SIBLINGS_MAX)))
        assert [answer.status_code for answer in answers] == [200] * sessions.SIBLINGS_MAX
        assert (await refresh(client, token)).status_code == 401
        for answer in answers:
            assert (await refresh(client, answer.json()["refresh_token"])).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        "used_at = clock_timestamp() - interval '7 days 1 second'",
        "expires_at = clock_timestamp()",
        "ended_at = clock_timestamp()",
    ],
)
async def test_a_refresh_token_has_its_limits(engine: Engine, change: str) -> None:
    async with browser(engine) as client:
        token = (await tokens(client))["refresh_token"]
        await engine.db.execute(f"update sessions set {change}")
        answer = await refresh(client, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "refresh_refused")


@pytest.mark.parametrize("token", ["x", "A" * 64, "A" * 63 + "é", "A" * 200, "=."])
async def test_what_is_no_refresh_token_is_refused_and_nothing_else(
    client: httpx.AsyncClient, token: str
) -> None:
    assert (await refresh(client, token)).status_code == 401
    revoked = await client.post("/v1/auth/token/revoke", json={"refresh_token": token})
    assert revoked.status_code == 204


async def test_a_cookie_is_no_refresh_token_and_the_other_way_round(engine: Engine) -> None:
    async with browser(engine) as client:
        await sign_in(client)
        assert (await refresh(client, client.cookies["holdfast"])).status_code == 401
        token = (await tokens(client))["refresh_token"]
        assert await status_by(client, token) == 401


async def test_revoking_a_refresh_token_ends_its_access_tokens_too(engine: Engine) -> None:
    async with browser(engine) as client:
        mine = await tokens(client)
        answer = await client.post("/v1/auth/token/revoke", json={"refresh_token": mine["refresh_token"]})
        assert answer.status_code == 204
        assert (await refresh(client, mine["refresh_token"])).status_code == 401

        async def is_out() -> bool:
            return await status(client, mine["access_token"]) == 401

        await eventually(is_out)


async def test_a_renewed_token_has_the_role_of_now(engine: Engine) -> None:
    async with browser(engine) as client:
        first = await tokens(client)
        await engine.db.execute("update members set role = 'viewer'")
        second = (await refresh(client, first["refresh_token"])).json()
        principal = engine.access.tokens.read(second["access_token"])
        assert principal.role == "viewer"
        await engine.db.execute("delete from members")
        assert (await refresh(client, second["refresh_token"])).status_code == 401


# Several organizers


async def test_a_person_of_two_organizers_says_which_one_they_come_to(engine: Engine) -> None:
    second = new_id()
    await engine.db.execute("insert into organizers (organizer_id, name) values ($1, 'Second House')", second)
    await engine.db.execute("insert into members select $1, person_id, 'door' from people", second)
    async with browser(engine) as client:
        assert (await sign_in(client))["role"] == "owner"
        there = await sign_in(client, organizer_id=str(second))
        assert (UUID(there["organizer_id"]), there["role"]) == (second, "door")
        me = (await client.get("/v1/auth/me")).json()
        assert me["organizer"]["name"] == "Second House"
        assert [each["name"] for each in me["organizers"]] == ["Test House", "Second House"]
        names = {
            each["organizer_name"] for each in (await client.get("/v1/auth/sessions")).json()["sessions"]
        }
        assert names == {"Test House", "Second House"}
        body = {"email": OWNER[0], "password": OWNER[1], "organizer_id": str(new_id())}
        answer = await client.post("/v1/auth/session", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_a_member")


# A new secret


async def test_while_the_secret_is_rotated_everybody_stays_signed_in(
    engine: Engine, open_another: Callable[..., Any]
) -> None:
    async with (
        browser(engine) as old,
        open_another(secret_key=f"{NEW},{SECRET}") as rotating,
        browser(rotating) as between,
        open_another(secret_key=NEW) as after,
        browser(after) as new,
    ):
        await sign_in(old)
        first = await tokens(old)
        between.cookies = new.cookies = old.cookies
        assert await status(between) == await status(new) == 200, "a cookie hangs on no key"
        assert await status(between, first["access_token"]) == 200
        second = (await refresh(between, first["refresh_token"])).json()
        assert await status(new, second["access_token"]) == 200, "signed by the new key"
        assert await status(old, second["access_token"]) == 401
        third = await refresh(new, second["refresh_token"])
        assert third.status_code == 200
        published = [(await c.get("/.well-known/jwks.json")).json()["keys"] for c in (old, between, new)]
        assert [len(keys) for keys in published] == [1, 2, 1]
        assert published[1] == published[2] + published[0], "the one that signs comes first"
