"""Who the client is said to be, which hosts and which other sites are answered, and what is told to browsers."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec import Struct
from msgspec.structs import replace

from holdfast.platform.edge import Edge, guarded, parsed, unprotected
from holdfast.platform.http import ANYONE, HTML, Answer, App, Call, Routes, build_app, event_stream
from holdfast.platform.settings import BadSetting, Settings

pytestmark = pytest.mark.anyio

OPEN = Settings(host="0.0.0.0")
BEHIND = replace(OPEN, trusted_proxies="10.0.0.0/8, 2001:db8::/32, unix")
SITE = "https://www.example.org"


class Seen(Struct):
    ip: str
    scheme: str


def make() -> App:
    routes = Routes("edge")

    @routes.get("/seen", who=ANYONE, answers={200: Seen}, listed=False)
    async def seen(call: Call[None]) -> Seen:
        return Seen(call.client_ip, call.scope["scheme"])

    @routes.get("/page", who=ANYONE, answers={200: "text/html"}, listed=False)
    async def page(call: Call[None]) -> Answer:
        return Answer(200, b"<p>", media=HTML)

    @routes.get("/events", who=ANYONE, answers={200: "text/event-stream"}, listed=False)
    async def events(call: Call[None]) -> Answer:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"

        return event_stream(chunks())

    @routes.get("/broken", who=ANYONE, answers={200: Seen}, listed=False)
    async def broken(call: Call[None]) -> Seen:
        raise RuntimeError

    return build_app([routes])


async def ask(
    settings: Settings,
    path: str = "/seen",
    *,
    peer: tuple[str, int] | None = ("10.0.0.1", 4711),
    headers: Any = (),
    method: str = "GET",
    base: str = "http://tickets.example.org",
) -> httpx.Response:
    transport = httpx.ASGITransport(guarded(make(), settings), raise_app_exceptions=False, client=peer)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        return await client.request(method, path, headers=headers)


async def client_ip(*forwarded: str, settings: Settings = BEHIND, peer: Any = ("10.0.0.1", 4711)) -> str:
    answer = await ask(settings, peer=peer, headers=[("x-forwarded-for", line) for line in forwarded])
    ip: str = answer.json()["ip"]
    return ip


@pytest.mark.parametrize(
    "lines, client",
    [
        ([], "10.0.0.1"),
        (["203.0.113.7"], "203.0.113.7"),
        # What stands further to the left was written by the client itself.
        (["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
        (["10.9.9.9, 203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        (["203.0.113.7, 10.0.0.2, 10.0.0.3"], "203.0.113.7"),
        # Several lines are one list (RFC 9110, 5.3).
        (["1.1.1.1", "203.0.113.7", "10.0.0.2"], "203.0.113.7"),
        (["203.0.113.7", ""], "10.0.0.1"),
        # All of them are trusted: the farthest one asks for itself.
        (["10.0.0.5, 10.0.0.6"], "10.0.0.5"),
        # What is no address hides its client, and the hop that passed it on stands for it.
        (["unknown"], "10.0.0.1"),
        (["203.0.113.7, garbage"], "10.0.0.1"),
        (["203.0.113.7, garbage, 10.0.0.2"], "10.0.0.2"),
        (["_hidden, 10.0.0.2"], "10.0.0.2"),
        (["203.0.113.7:52000"], "203.0.113.7"),
        (["[2001:dead::7]:52000"], "2001:dead::7"),
        (["[2001:dead::7]"], "2001:dead::7"),
        (["2001:DEAD:0:0::7"], "2001:dead::7"),
        (["2001:dead::7, 2001:db8::5"], "2001:dead::7"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, ::ffff:10.0.0.2"], "203.0.113.7"),
        (["fe80::1%eth0"], "10.0.0.1"),
        (["203.0.113.7, " + ", ".join(["10.0.0.2"] * 500)], "10.0.0.2"),
        (["9" * 30_000], "10.0.0.1"),
        (["203.0.113.7" + " " * 30_000 + ", 10.0.0.2"], "10.0.0.2"),
    ],
)
async def test_a_trusted_proxy_says_who_the_client_is(lines: list[str], client: str) -> None:
    assert await client_ip(*lines) == client


@pytest.mark.parametrize(
    "peer, ip",
    [
        (("203.0.113.9", 1), "203.0.113.9"),
        (("::ffff:203.0.113.9", 1), "203.0.113.9"),
        (("2001:dead::9", 1), "2001:dead::9"),
        (("11.0.0.1", 1), "11.0.0.1"),
        (("127.0.0.1", 1), "127.0.0.1"),
    ],
)
async def test_nobody_else_is_believed(peer: tuple[str, int], ip: str) -> None:
    headers = {
        "x-forwarded-for": "8.8.8.8",
        "x-forwarded-proto": "https",
        "forwarded": "for=8.8.8.8;proto=https",
    }
    answer = await ask(BEHIND, peer=peer, headers=headers)
    assert answer.json() == {"ip": ip, "scheme": "http"}
    assert "strict-transport-security" not in answer.headers


async def test_without_proxies_nobody_is_believed() -> None:
    assert await client_ip("8.8.8.8", settings=OPEN) == "10.0.0.1"
    assert await client_ip("8.8.8.8", settings=OPEN, peer=None) == ""


async def test_a_proxy_on_a_unix_socket_has_to_be_trusted_too() -> None:
    assert await client_ip("203.0.113.7", peer=None) == "203.0.113.7"
    assert (
        await client_ip("203.0.113.7", settings=replace(OPEN, trusted_proxies="10.0.0.0/8"), peer=None) == ""
    )


async def test_a_proxy_that_came_over_an_ipv6_socket_is_the_same_proxy() -> None:
    assert await client_ip("203.0.113.7", peer=("::ffff:10.0.0.1", 1)) == "203.0.113.7"


@pytest.mark.parametrize(
    "lines, scheme",
    [(["https"], "https"), (["HTTPS"], "https"), (["http"], "http"), (["https, http"], "http"),
     (["https", "http"], "http"), (["http, https"], "https"), (["gopher"], "http"), ([""], "http")],
)  # fmt: skip
async def test_the_nearest_proxy_says_how_the_client_came(lines: list[str], scheme: str) -> None:
    answer = await ask(BEHIND, headers=[("x-forwarded-proto", line) for line in lines])
    assert answer.json()["scheme"] == scheme
    assert ("strict-transport-security" in answer.headers) is (scheme == "https")


@pytest.mark.parametrize("text", ["everyone", "10.0.0.1/8", "*", "10.0.0.0/33", "proxy.example.org"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="HOLDFAST_TRUSTED_PROXIES"):
        Edge(make(), replace(OPEN, trusted_proxies=text))


def test_an_address_is_read_as_proxies_write_it() -> None:
    assert parsed("[::1") == parsed("::1")
    assert parsed("") is None
    assert parsed("1.2.3") is None
    assert parsed("1.2.3.4:5:6") is None


@pytest.mark.parametrize(
    "host, answered",
    [
        ("localhost:8000", True), ("LOCALHOST", True), ("127.0.0.1:8000", True), ("[::1]:8000", True),
        ("holdfast.localhost:8000", True), ("evil.example.org", False), ("evil.example.org:8000", False),
        ("localhost.evil.example.org", False), ("127.0.0.1.evil.example.org", False), ("[::2]:8000", False),
        ("10.0.0.5:8000", False), ("localhost@evil.example.org", False), ("", False), (":8000", False),
    ],
)  # fmt: skip
async def test_on_loopback_no_other_name_is_answered(host: str, answered: bool) -> None:
    for _ in range(2):
        answer = await ask(Settings(), headers={"host": host})
        assert answer.status_code == (200 if answered else 421)
    if not answered:
        assert answer.json()["code"] == "wrong_host"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-request-id"] == answer.json()["request_id"]


@pytest.mark.parametrize("other", ["before", "behind"])
async def test_a_second_host_hides_no_other_name(other: str) -> None:
    lines = [("host", "localhost"), ("host", "evil.example.org")]
    answer = await ask(Settings(), headers=lines if other == "behind" else lines[::-1])
    assert answer.status_code == 421


async def test_a_name_that_is_ours_is_answered() -> None:
    named = replace(OPEN, allowed_hosts="tickets.example.org, *.shows.example.org")
    for host, status in {
        "tickets.example.org": 200, "Tickets.Example.Org:443": 200, "a.shows.example.org": 200, "localhost": 200,
        "example.org": 421, "shows.example.org": 421, "a.b.shows.example.org": 421, "10.0.0.5": 421,
    }.items():  # fmt: skip
        assert (await ask(named, headers={"host": host})).status_code == status, host
    public = Settings(public_url="https://tickets.example.org")
    assert (await ask(public, headers={"host": "tickets.example.org"})).status_code == 200
    assert (await ask(public, headers={"host": "evil.example.org"})).status_code == 421


async def test_a_server_on_the_network_or_behind_a_proxy_answers_for_any_name_unless_told() -> None:
    assert (await ask(OPEN, headers={"host": "whatever.example.org"})).status_code == 200
    behind = Settings(trusted_proxies="127.0.0.1")
    assert (await ask(behind, headers={"host": "whatever.example.org"})).status_code == 200


async def test_what_names_no_host_is_refused() -> None:
    for text in ("*", "https://tickets.example.org"):
        with pytest.raises(BadSetting, match="HOLDFAST_ALLOWED_HOSTS"):
            Edge(make(), replace(OPEN, allowed_hosts=text))


CROSS = replace(OPEN, cors_origins=f"{SITE}, http://localhost:3000")


async def test_a_listed_site_may_call_with_credentials() -> None:
    for path in ("/seen", "/missing", "/broken", "/events"):
        answer = await ask(CROSS, path, headers={"origin": SITE})
        assert answer.headers["access-control-allow-origin"] == SITE
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
        assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example.org", "null", "*", "", "https://www.example.org.evil.org", "http://www.example.org",
     "https://www.example.org:8443", "https://www.example.org/", "https://WWW.EXAMPLE.ORG"],
)  # fmt: skip
async def test_no_other_site_may(origin: str) -> None:
    preflight = {"origin": origin, "access-control-request-method": "POST"}
    for answer in (
        await ask(CROSS, headers={"origin": origin}),
        await ask(CROSS, headers=preflight, method="OPTIONS"),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["vary"] == "Origin"


async def test_a_preflight_is_answered_for_every_method_and_header_of_ours() -> None:
    wanted = {
        "origin": "http://localhost:3000",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,idempotency-key",
    }
    answer = await ask(CROSS, "/v1/whatever", headers=wanted, method="OPTIONS")
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-max-age"] == "600"
    methods = set(answer.headers["access-control-allow-methods"].split(", "))
    assert methods >= {"GET", "POST", "PUT", "PATCH", "DELETE"}
    allowed = set(answer.headers["access-control-allow-headers"].lower().split(", "))
    assert allowed >= {
        "authorization", "content-type", "idempotency-key", "if-match", "if-none-match", "prefer", "challenge-answer",
    }  # fmt: skip
    assert "*" not in "".join(answer.headers.values())


async def test_without_a_list_no_site_is_told_anything() -> None:
    answer = await ask(OPEN, headers={"origin": SITE})
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert guarded(app := make(), OPEN) is app, "it costs nothing"


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "www.example.org",
        "https://*.example.org",
        "https://a.example/x",
        "ftp://a",
        "https://u@a/",
    ],
)
def test_an_origin_is_named_in_full(text: str) -> None:
    with pytest.raises(BadSetting, match="HOLDFAST_CORS_ORIGINS"):
        Edge(make(), replace(OPEN, cors_origins=text))


@pytest.mark.parametrize(
    "settings, told",
    [
        (replace(OPEN, tls_cert="cert.pem"), "max-age=31536000"),
        (replace(OPEN, tls_cert="cert.pem", hsts_seconds=60), "max-age=60"),
        (replace(OPEN, tls_cert="cert.pem", hsts_seconds=0), None),
        # It would be kept for every port of the developer's machine.
        (Settings(tls_cert="cert.pem"), None),
    ],
)
async def test_browsers_are_told_to_stay_with_tls(settings: Settings, told: str | None) -> None:
    for path in ("/seen", "/missing", "/broken"):
        answer = await ask(settings, path, base="https://localhost")
        assert answer.headers.get("strict-transport-security") == told
    assert "strict-transport-security" not in (await ask(settings, base="http://localhost")).headers


async def test_every_answer_is_closed_to_other_sites() -> None:
    for path in ("/seen", "/missing", "/broken", "/events", "/page"):
        answer = await ask(OPEN, path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert ("cross-origin-opener-policy" in answer.headers) is (path == "/page")
        assert ("permissions-policy" in answer.headers) is (path == "/page")


@pytest.mark.parametrize(
    "url, told",
    [
        (None, False),
        ("postgresql://u:p@localhost/x", False),
        ("postgresql://u:p@127.0.0.1:5432/x", False),
        ("postgresql://u:p@[::1]:5432/x", False),
        ("postgresql:///x?host=/run/postgresql", False),
        ("postgresql://u:p@%2Frun%2Fpostgresql/x", False),
        ("postgresql://u:p@db.example.org/x", True),
        ("postgresql://u:p@db.example.org/x?sslmode=prefer", True),
        ("postgresql://u:p@db.example.org/x?sslmode=disable", True),
        ("postgresql:///x?host=db.example.org", True),
        ("postgresql://u:p@localhost,db.example.org/x", True),
        ("postgresql://u:p@db.example.org/x?sslmode=require", False),
        ("postgresql://u:p@db.example.org/x?sslmode=verify-full", False),
    ],
)
def test_a_database_that_the_network_reads_along_with_is_told_of(url: str | None, told: bool) -> None:
    said = unprotected(Settings(database_url=url))
    assert bool(said) is told
    assert "p@" not in "".join(said)


def test_an_api_in_the_clear_is_told_of() -> None:
    assert "HOLDFAST_TLS_CERT" in unprotected(OPEN)[0]
    assert unprotected(Settings()) == []
    assert unprotected(BEHIND) == []
    assert unprotected(replace(OPEN, tls_cert="a", tls_key="b")) == []
    assert "rediss" in unprotected(Settings(redis_url="redis://cache.example.org/0"))[0]
