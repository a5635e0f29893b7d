"""Signing in by another provider over HTTP, against one that signs real tokens, and forged ones."""

import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from holdfast.accounts import Oidc, oidc
from holdfast.app import make_app
from holdfast.engine import Engine
from holdfast.platform.settings import BadSetting, Settings
from tests.conftest import OWNER

pytestmark = pytest.mark.anyio

ISSUER = "https://login.example.org"
CLIENT = ("holdfast", "s3cret:with/odd letters")
SUBJECT = "248289761001"
Change = dict[str, Any]
RSA = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
NEXT_RSA = RSAKey.generate_key(2048, {"kid": "next", "use": "sig"})


def without_none(claims: Change) -> Change:
    return {name: value for name, value in claims.items() if value is not None}


def part(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


class Provider:
    """An OpenID Connect provider in memory. `claims` go over what it would say, None takes a claim away."""

    def __init__(self) -> None:
        self.claims: Change = {}
        self.header: Change = {}
        self.key: Any = RSA
        self.published = [RSA]
        self.document: Change = {}
        self.is_away = False
        self.asked: list[str] = []
        self.forge: Callable[[str], str] = lambda token: token
        self._codes: dict[str, Change] = {}
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def sign_in(self, location: str) -> dict[str, str]:
        """What a browser brings back after the person signed in at `location`."""
        url = urlsplit(location)
        assert f"{url.scheme}://{url.netloc}{url.path}" == f"{ISSUER}/authorize"
        query = dict(parse_qsl(url.query))
        assert query["response_type"] == "code" and query["client_id"] == CLIENT[0]
        assert set(query["scope"].split()) == {"openid", "email"}
        assert query["code_challenge_method"] == "S256"
        code = f"code-{len(self._codes)}"
        self._codes[code] = query
        return {"code": code, "state": query["state"]}

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.is_away:
            raise httpx.ConnectError("refused")
        if request.url.path == "/.well-known/openid-configuration":
            document = {
                "issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/authorize", "token_endpoint": f"{ISSUER}/token",
                "jwks_uri": f"{ISSUER}/keys", "more": {"is": "ignored"},
            }  # fmt: skip
            return httpx.Response(200, json=document | self.document)
        if request.url.path == "/keys":
            return httpx.Response(200, json={"keys": [key.as_dict(private=False) for key in self.published]})
        assert request.url.path == "/token"
        return self._token(request)

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        wanted = self._codes.pop(form["code"], None)
        if wanted is None or wanted["redirect_uri"] != form["redirect_uri"]:
            return httpx.Response(400, json={"error": "invalid_grant"})
        assert part(sha256(form["code_verifier"].encode()).digest()) == wanted["code_challenge"]
        now = int(time.time())
        claims = {
            "iss": ISSUER, "sub": SUBJECT, "aud": CLIENT[0], "exp": now + 300, "iat": now, "nonce": wanted["nonce"],
            "email": OWNER[0].upper(), "email_verified": True,
        }  # fmt: skip
        header = {"alg": "RS256", "kid": self.key.kid} | self.header
        token = jwt.encode(header, without_none(claims | self.claims), self.key, algorithms=[header["alg"]])
        return httpx.Response(200, json={"id_token": self.forge(token), "access_token": "x"})


@pytest.fixture
def provider() -> Provider:
    return Provider()


def configured(settings: Settings, **changes: Any) -> Settings:
    wanted = {"oidc_issuer": ISSUER, "oidc_client_id": CLIENT[0], "oidc_client_secret": CLIENT[1], **changes}
    return msgspec.structs.replace(settings, **wanted)


@asynccontextmanager
async def browser(engine: Engine, provider: Provider, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A browser on an installation that knows the provider."""
    settings = configured(engine.settings, **changes)
    knowing = replace(engine, oidc=Oidc(settings, engine.secrets, provider.client))
    transport = httpx.ASGITransport(make_app(knowing))
    async with httpx.AsyncClient(transport=transport, base_url="http://holdfast.test") as client:
        yield client


@pytest.fixture
async def client(engine: Engine, provider: Provider) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(engine, provider) as opened:
        yield opened


async def depart(client: httpx.AsyncClient) -> str:
    answer = await client.get("/v1/auth/oidc/start")
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def arrive(client: httpx.AsyncClient, back: dict[str, str]) -> httpx.Response:
    return await client.get(f"/v1/auth/oidc/callback?{urlencode(back)}")


async def come(client: httpx.AsyncClient, provider: Provider) -> httpx.Response:
    """There and back again."""
    return await arrive(client, provider.sign_in(await depart(client)))


async def is_in(client: httpx.AsyncClient) -> bool:
    return (await client.get("/v1/auth/me")).status_code == 200


async def test_a_member_signs_in_by_the_provider(
    client: httpx.AsyncClient, provider: Provider, engine: Engine
) -> None:
    answer = await client.get("/v1/auth/oidc/start")
    attributes = set(answer.headers["set-cookie"].split("; ")[1:])
    assert attributes == {"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=600"}
    assert dict(parse_qsl(urlsplit(answer.headers["location"]).query))["redirect_uri"] == (
        "http://127.0.0.1:8000/v1/auth/oidc/callback"
    )
    answer = await arrive(client, provider.sign_in(answer.headers["location"]))
    assert (answer.status_code, answer.headers["location"]) == (303, "http://127.0.0.1:8000/console")
    assert answer.headers["referrer-policy"] == "no-referrer"
    me = (await client.get("/v1/auth/me")).json()
    assert (me["email"], me["role"]) == (OWNER[0], "owner")
    assert client.cookies.get("holdfast-oidc") is None, "the cookie of the way is taken back"
    assert await engine.db.value("select strong from sessions"), "the provider asks for second factors itself"
    assert await engine.db.value("select subject from identities") == SUBJECT
    await come(client, provider)
    actions = [row["action"] for row in await engine.db.rows("select action from audit")]
    assert actions == ["person.identity_added"], "once, though they came twice"


async def test_the_client_proves_itself_as_the_provider_wants_it(engine: Engine, provider: Provider) -> None:
    seen: list[httpx.Request] = []
    answered = provider._token

    def listening(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answered(request)

    provider._token = listening  # type: ignore[method-assign]
    async with browser(engine, provider) as client:
        assert (await come(client, provider)).status_code == 303
    provider.document = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    async with browser(engine, provider) as client:
        assert (await come(client, provider)).status_code == 303
    basic, post = seen
    expected = httpx.BasicAuth("holdfast", "s3cret%3Awith%2Fodd+letters")
    request = next(expected.auth_flow(httpx.Request("POST", ISSUER)))
    assert basic.headers["authorization"] == request.headers["authorization"]
    assert b"client_secret=" not in basic.content
    assert b"client_secret=s3cret" in post.content and "authorization" not in post.headers


def bytes_changed(token: str) -> str:
    head, body, signature = token.split(".")
    return f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


def alg_none(token: str) -> str:
    return ".".join((part(b'{"alg":"none"}'), token.split(".")[1], ""))


def by_shared_secret(token: str) -> str:
    """Signed by what everybody has: the public key, taken for a shared secret."""
    signed = ".".join((part(b'{"alg":"HS256","kid":"first"}'), token.split(".")[1]))
    return f"{signed}.{part(hmac.digest(RSA.as_pem(private=False), signed.encode(), 'sha256'))}"


NOW = int(time.time())
REFUSED: dict[str, dict[str, Any]] = {
    "other issuer": {"claims": {"iss": "https://evil.example.org"}},
    "issuer with a slash": {"claims": {"iss": ISSUER + "/"}},
    "no issuer": {"claims": {"iss": None}},
    "other audience": {"claims": {"aud": "somebody-else"}},
    "several audiences without a party": {"claims": {"aud": [CLIENT[0], "somebody-else"]}},
    "several audiences, other party": {"claims": {"aud": [CLIENT[0], "x"], "azp": "x"}},
    "other authorized party": {"claims": {"azp": "somebody-else"}},
    "no audience": {"claims": {"aud": []}},
    "expired": {"claims": {"exp": NOW - 3600}},
    "no expiry": {"claims": {"exp": None}},
    "expiry not finite": {"claims": {"exp": "never"}},
    "issued in the future": {"claims": {"iat": NOW + 3600}},
    "not yet": {"claims": {"nbf": NOW + 3600}},
    "other nonce": {"claims": {"nonce": "x"}},
    "no nonce": {"claims": {"nonce": None}},
    "address not verified": {"claims": {"email_verified": False}},
    "nothing said of the address": {"claims": {"email_verified": None}},
    "no address": {"claims": {"email": None}},
    "verified is a text": {"claims": {"email_verified": "true"}},
    "no subject": {"claims": {"sub": None}},
    "empty subject": {"claims": {"sub": ""}},
    "subject too long": {"claims": {"sub": "x" * 256}},
    "another's key under the same id": {"key": OTHER_RSA},
    "key that was never published": {"key": NEXT_RSA},
    "signature changed": {"forge": bytes_changed},
    "alg none": {"forge": alg_none},
    "public key as a secret": {"forge": by_shared_secret},
    "no token at all": {"forge": lambda _: "x"},
    "empty": {"forge": lambda _: ""},
    "states another issuer": {"document": {"issuer": "https://evil.example.org"}},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED.keys())
async def test_what_does_not_hold_signs_nobody_in(
    engine: Engine, provider: Provider, changes: dict[str, Any]
) -> None:
    async with browser(engine, provider) as client:
        back = provider.sign_in(await depart(client))
    for name, value in changes.items():
        setattr(provider, name, value)
    async with browser(engine, provider) as again:
        again.cookies = client.cookies
        answer = await arrive(again, back)
        assert (answer.status_code, answer.json()["code"]) == (401, "oidc_refused"), answer.text
        assert not await is_in(again)
        # The control: the same provider, when it says nothing odd.
        provider.__dict__.update(claims={}, key=RSA, forge=lambda token: token, document={})
        assert (await come(again, provider)).status_code == 303
        assert await is_in(again)


async def test_several_audiences_with_us_as_the_party_will_do(
    client: httpx.AsyncClient, provider: Provider
) -> None:
    provider.claims = {"aud": [CLIENT[0], "another"], "azp": CLIENT[0]}
    assert (await come(client, provider)).status_code == 303


async def test_a_new_key_of_the_provider_is_found(engine: Engine, provider: Provider) -> None:
    now = [time.time()]
    settings = configured(engine.settings)
    known = Oidc(settings, engine.secrets, provider.client, now=lambda: now[0])
    transport = httpx.ASGITransport(make_app(replace(engine, oidc=known)))
    async with httpx.AsyncClient(transport=transport, base_url="http://holdfast.test") as client:
        assert (await come(client, provider)).status_code == 303
        provider.key, provider.published = NEXT_RSA, [NEXT_RSA, RSA]
        assert (await come(client, provider)).status_code == 401, "whoever makes ids up does not make us ask"
        assert provider.asked.count("/keys") == 1
        now[0] += oidc.KEYS_AGAIN_SECONDS + 1
        assert (await come(client, provider)).status_code == 303
        assert provider.asked.count("/keys") == 2


# The way there and back


async def test_who_comes_back_without_the_cookie_is_not_let_in(
    client: httpx.AsyncClient, provider: Provider
) -> None:
    """Else an attacker could sign somebody in as the attacker, by a link to the callback."""
    back = provider.sign_in(await depart(client))
    cookie = client.cookies["holdfast-oidc"]
    for planted in (None, "", "x", cookie[:-2], cookie + "AA", "é"):
        client.cookies.clear()
        headers = [] if planted is None else [(b"cookie", f"holdfast-oidc={planted}".encode())]
        answer = await client.get(f"/v1/auth/oidc/callback?{urlencode(back)}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "oidc_refused")
    assert provider.asked.count("/token") == 0, "and the provider is not even asked"


async def test_the_cookie_of_one_way_does_not_open_another(
    client: httpx.AsyncClient, provider: Provider
) -> None:
    first = provider.sign_in(await depart(client))
    second = provider.sign_in(await depart(client))
    assert (await arrive(client, first)).status_code == 401
    assert (await arrive(client, second)).status_code == 401, "and a refusal takes the cookie back"
    assert (await come(client, provider)).status_code == 303


async def test_a_code_is_good_once(client: httpx.AsyncClient, provider: Provider) -> None:
    back = provider.sign_in(await depart(client))
    cookie = client.cookies["holdfast-oidc"]
    assert (await arrive(client, back)).status_code == 303
    client.cookies.clear()
    answer = await client.get(
        f"/v1/auth/oidc/callback?{urlencode(back)}", headers={"Cookie": f"holdfast-oidc={cookie}"}
    )
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "x"},
        {"state": ""},
        {"code": ""},
        {"iss": "https://evil.example.org"},
        {"error": "access_denied", "code": ""},
        {f"field{number}": "x" for number in range(30)},
    ],
)
async def test_what_comes_back_changed_is_refused(
    client: httpx.AsyncClient, provider: Provider, changed: dict[str, str]
) -> None:
    back = provider.sign_in(await depart(client)) | changed
    answer = await arrive(client, back)
    assert (answer.status_code, answer.json()["code"]) == (401, "oidc_refused")


async def test_who_takes_longer_than_ten_minutes_starts_again(engine: Engine, provider: Provider) -> None:
    now = [time.time()]
    known = Oidc(configured(engine.settings), engine.secrets, provider.client, now=lambda: now[0])
    transport = httpx.ASGITransport(make_app(replace(engine, oidc=known)))
    async with httpx.AsyncClient(transport=transport, base_url="http://holdfast.test") as client:
        back = provider.sign_in(await depart(client))
        now[0] += oidc.AWAY_SECONDS + 1
        assert (await arrive(client, back)).status_code == 401


async def test_a_provider_that_is_away_is_said_to_be(client: httpx.AsyncClient, provider: Provider) -> None:
    back = provider.sign_in(await depart(client))
    provider.is_away = True
    answer = await arrive(client, back)
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert answer.headers["retry-after"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"issuer": 1}', b"x" * 2_000_000])
async def test_a_provider_that_talks_nonsense_is_refused(engine: Engine, body: bytes) -> None:
    provider = Provider()
    provider.client = httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    )
    async with browser(engine, provider) as client:
        assert (await client.get("/v1/auth/oidc/start")).status_code == 401


async def test_without_a_provider_there_is_no_such_way(engine: Engine) -> None:
    async with browser(engine, Provider(), oidc_issuer=None) as client:
        for path in ("start", "callback?code=1&state=2"):
            answer = await client.get(f"/v1/auth/oidc/{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "oidc_off")


async def test_half_a_provider_is_a_bad_setting(engine: Engine) -> None:
    for half in ({"oidc_issuer": ISSUER}, {"oidc_client_id": "holdfast"}):
        settings = msgspec.structs.replace(engine.settings, **half)
        with pytest.raises(BadSetting, match="HOLDFAST_OIDC_ISSUER"):
            async with oidc.opened_oidc(settings, engine.secrets):
                pass


# Who that is here


async def test_nobody_registers_themselves(
    client: httpx.AsyncClient, provider: Provider, engine: Engine
) -> None:
    provider.claims = {"email": "stranger@example.org"}
    answer = await come(client, provider)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_a_member")
    assert await engine.db.value("select count(*) from people") == 1


async def test_whoever_is_invited_joins_by_the_provider(
    client: httpx.AsyncClient, provider: Provider, engine: Engine, owner: httpx.AsyncClient
) -> None:
    invited = await owner.post("/v1/invitations", json={"email": "new@example.org", "role": "door"})
    assert invited.status_code == 201
    provider.claims = {"email": "New@Example.org", "sub": "another"}
    assert (await come(client, provider)).status_code == 303
    me = (await client.get("/v1/auth/me")).json()
    assert (me["email"], me["role"]) == ("new@example.org", "door")
    assert await engine.db.value("select password_hash from people where email = 'new@example.org'") is None
    assert (await owner.get("/v1/invitations")).json() == {"invitations": []}
    assert await engine.db.value("select count(*) from audit where action = 'member.joined'") == 1


async def test_a_person_stays_the_same_when_their_address_changes_at_the_provider(
    client: httpx.AsyncClient, provider: Provider
) -> None:
    assert (await come(client, provider)).status_code == 303
    provider.claims = {"email": "married@example.org"}
    assert (await come(client, provider)).status_code == 303
    assert (await client.get("/v1/auth/me")).json()["email"] == OWNER[0]


async def test_an_address_that_the_provider_gave_to_somebody_else_opens_nothing(
    client: httpx.AsyncClient, provider: Provider
) -> None:
    assert (await come(client, provider)).status_code == 303
    client.cookies.clear()
    provider.claims = {"sub": "somebody new under the old address"}
    answer = await come(client, provider)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_a_member")
    assert not await is_in(client)


async def test_a_member_who_left_does_not_come_back_by_the_provider(
    client: httpx.AsyncClient, provider: Provider, engine: Engine
) -> None:
    assert (await come(client, provider)).status_code == 303
    await engine.db.execute("delete from members")
    assert (await come(client, provider)).status_code == 403


async def test_an_organizer_that_asks_for_a_second_factor_leaves_that_to_the_provider(
    client: httpx.AsyncClient, provider: Provider, engine: Engine
) -> None:
    await engine.db.execute("update organizers set second_factor_required = true")
    assert (await come(client, provider)).status_code == 303
    assert await is_in(client)
