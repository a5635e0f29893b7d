"""The typed routes from outside, as an ASGI server drives them: what comes in, what goes out, what is refused."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import httpx
import msgspec
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.routing import Route as StarletteRoute

from holdfast.platform.bodies import body_reader, pointer_of
from holdfast.platform.errors import (
    Busy,
    Conflict,
    Forbidden,
    IdempotencyMismatch,
    Invalid,
    NotFound,
    Refusal,
    Unauthenticated,
)
from holdfast.platform.http import (
    ANYONE,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    Answer,
    App,
    Call,
    Moment,
    Routes,
    Who,
    build_app,
    created,
    etag,
    event_stream,
    fresh,
    if_match,
)
from holdfast.platform.openapi import document_routes, openapi
from holdfast.web import docs_page, docs_routes

pytestmark = pytest.mark.anyio

SHOW = "0192f5a0-8c9e-7d3f-9a41-c6be50217d84"
LIMIT = 2000

Text = Annotated[str, Meta(max_length=20)]


class NoSuchShow(NotFound):
    code = "show_not_found"
    title = "There is no such show."


class AllGone(Conflict):
    code = "sold_out"
    title = "Sold out."


class Row(Struct, forbid_unknown_fields=True):
    label: Text


class Area(Struct, forbid_unknown_fields=True):
    name: Text
    rows: Annotated[list[Row], Meta(max_length=10)] = []


class Body(Struct, forbid_unknown_fields=True):
    """What a test sends."""

    name: Text
    quantity: Annotated[int, Meta(ge=1, le=100, description="How `many`.")] = 1
    confirm: bool = False
    show_id: UUID | None = None
    at: Moment | None = None
    kind: Literal["seated", "standing"] = "seated"
    areas: Annotated[list[Area], Meta(max_length=10)] = []
    labels: Annotated[dict[Text, Text], Meta(max_length=10)] = {}
    extra: Any = None


class Said(Struct):
    name: str
    quantity: int = 1


class Page(Struct, frozen=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, Meta(max_length=100)] | None = None
    tag: Annotated[list[Text], Meta(max_length=3)] = []
    mine: bool = False


class Cat(Struct, tag="cat"):
    name: str
    lives: int


class Dog(Struct, tag="dog"):
    name: str


class Seen(Struct):
    """`corner` is a tuple, whose schema has no `items` of its own."""

    limit: int
    cursor: str | None
    tag: list[str]
    mine: bool
    corner: tuple[int, int] = (0, 0)
    parts: list[Said] | None = None
    pets: list[Cat | Dog] = []


STAFF = Who("staff", ("bearer",))
routes = Routes("tests", missing={"show_id": NoSuchShow})


@routes.post("/echo", who=ANYONE, body=Body, answers={201: Said}, body_bytes_max=LIMIT)
async def echo(call: Call[Body]) -> Said:
    """Say it again.

    With `ticks` and <b>no</b> markup.
    """
    return Said(call.body.name, call.body.quantity)


@routes.get("/page", who=ANYONE, query=Page, answers={200: Seen})
async def page(call: Call[None]) -> Seen:
    return Seen(call.query.limit, call.query.cursor, call.query.tag, call.query.mine)


@routes.get("/shows/{show_id}", who=ANYONE, headers=(IF_NONE_MATCH,), answers={200: Said, 304: None})
async def read_show(call: Call[None]) -> Answer:
    assert isinstance(call.path["show_id"], UUID)
    return fresh(call, b'{"name":"Hamlet","quantity":1}', etag(17), cache=b"max-age=1")


@routes.put("/shows/{show_id}", who=STAFF, body=Body | None, headers=(IF_MATCH,), answers={200: Said})
async def edit_show(call: Call[Any]) -> Said:
    return Said(str(if_match(call)), 1)


@routes.delete("/shows/{show_id}", who=STAFF, answers={204: None})
async def drop_show(call: Call[None]) -> None:
    assert call.caller == "staff"


@routes.get("/people/{name:str}/{number:int}", who=ANYONE, answers={200: Said})
async def person(call: Call[None]) -> Said:
    return Said(call.path["name"], call.path["number"])


@routes.post("/refuse/{why:str}", who=ANYONE, answers={200: None}, refusals=(AllGone, Busy))
async def refuse(call: Call[None]) -> None:
    match call.path["why"]:
        case "gone":
            raise AllGone("Two are left.", seats=["A-1"])
        case "busy":
            call.add_header("RateLimit", "limit=1")
            raise Busy(retry_after=7)
        case "fault":
            raise RuntimeError("the password is hunter2")
        case _:
            raise asyncio.CancelledError


@routes.post("/unencodable", who=ANYONE, answers={200: Said})
async def unencodable(call: Call[None]) -> Said:
    return Said(object(), 1)  # type: ignore[arg-type]


@routes.post("/once", who=ANYONE, body=Body, once=True, answers={201: Said})
async def do_once(call: Call[Body], tx: Any) -> Answer:
    tx.append(call.body.name)
    return created(Said(call.body.name, len(tx)), "/done/1")


@routes.post("/bytes", who=ANYONE, body=bytes, answers={200: "application/octet-stream"})
async def take_bytes(call: Call[bytes]) -> Answer:
    return Answer(200, call.body[::-1], ((b"cache-control", b"max-age=60"),), b"application/octet-stream")


@routes.get("/who", who=ANYONE, answers={200: Said})
async def tell(call: Call[None]) -> Said:
    call.add_header("X-Peer", call.client_ip)
    assert call.header("X-Twice") in (None, "a, b")
    return Said(structlog.contextvars.get_contextvars()["request_id"], 1)


class Plain(Struct):
    error: str


def plain(error: Exception) -> Answer:
    if isinstance(error, Refusal):
        return Answer(error.status, {"error": error.title})
    return Answer(500, {"error": "Internal Server Error"})


@routes.post(
    "/seed/{show_id}", who=ANYONE, body=Body, answers={200: Said, 400: Plain, 404: Plain}, problems=plain
)
async def seed(call: Call[Body]) -> Said:
    if call.body.name == "fault":
        raise RuntimeError("no")
    return Said(call.body.name)


class Store:
    """`Replays` in memory: what the layer promises to whoever implements it on SQL."""

    def __init__(self) -> None:
        self.done: dict[str, tuple[bytes, Answer]] = {}
        self.names: list[str] = []

    async def run(self, call: Call[Any], handler: Callable[[Call[Any], Any], Any]) -> Answer:
        key = call.idempotency_key()
        if key in self.done:
            fingerprint, known = self.done[key]
            if fingerprint != call.fingerprint():
                raise IdempotencyMismatch
            return known
        answer: Answer = (await handler(call, self.names)).encoded()
        if key:
            self.done[key] = (call.fingerprint(), answer)
        return answer


async def authorize(call: Call[Any], who: Who) -> str:
    if call.header("Authorization") is None:
        raise Unauthenticated
    if call.header("Authorization") != "Bearer staff":
        raise Forbidden
    return who.name


def make(**parts: Any) -> App:
    return build_app([routes], authorize=authorize, once=Store(), **parts)


def client_of(app: App) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make()) as client:
        yield client


def faults(answer: httpx.Response, status: int, code: str) -> list[dict[str, str]]:
    """The `errors` of a problem, once it has been seen to be one."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
        answer.text
    )
    problem = answer.json()
    assert (problem["code"], problem["status"], problem["type"]) == (code, status, f"/docs#error-{code}")
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    return list(problem.get("errors", []))


JSON_TYPE = {"content-type": "application/json"}


async def test_an_answer_is_json_with_every_safe_header(client: httpx.AsyncClient) -> None:
    answer = await client.post("/echo", json={"name": "Hamlet", "quantity": 100})
    assert (answer.status_code, answer.json()) == (201, {"name": "Hamlet", "quantity": 100})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b'{"name": "x", "quantity": "2"}', "invalid", "/quantity"),
        (b'{"name": "x", "quantity": 2.0}', "invalid", "/quantity"),
        (b'{"name": "x", "quantity": true}', "invalid", "/quantity"),
        (b'{"name": "x", "quantity": 0}', "invalid", "/quantity"),
        (b'{"name": "x", "quantity": -1}', "invalid", "/quantity"),
        (b'{"name": "x", "quantity": 101}', "invalid", "/quantity"),
        (b'{"name": "x", "quantity": 2147483648}', "invalid", "/quantity"),
        (b'{"name": "x", "quantity": 9223372036854775808}', "invalid", "/quantity"),
        (b'{"name": "x", "quantity": ' + b"9" * 1500 + b"}", "invalid", "/quantity"),
        (b'{"name": "x", "quantity": 1e400}', "invalid", "/quantity"),
        (b'{"name": "x", "quantity": NaN}', "invalid", ""),
        (b'{"name": "x", "quantity": Infinity}', "invalid", ""),
        (b'{"name": "x", "confirm": 1}', "invalid", "/confirm"),
        (b'{"name": "x", "confirm": "true"}', "invalid", "/confirm"),
        (b'{"name": "x", "show_id": "7"}', "invalid", "/show_id"),
        (b'{"name": "x", "kind": "flying"}', "invalid", "/kind"),
        (b'{"name": "x", "at": "2026-12-24T20:00:00"}', "invalid", "/at"),
        (b'{"name": "x", "at": "0001-01-01T00:00:00+14:00"}', "invalid", "/at"),
        (b'{"name": "x", "at": "9999-12-31T23:59:59-12:00"}', "invalid", "/at"),
        (b'{"name": "x", "at": 1}', "invalid", "/at"),
        (b'{"name": "' + b"x" * 21 + b'"}', "invalid", "/name"),
        (b'{"name": null}', "invalid", "/name"),
        (b"{}", "invalid", "/name"),
        (b'{"name": "x", "areas": [{"name": "a"}, {"name": 3}]}', "invalid", "/areas/1/name"),
        (b'{"name": "x", "areas": [{"name": "a", "rows": [{}]}]}', "invalid", "/areas/0/rows/0/label"),
        (b'{"name": "x", "labels": {"a": 1}}', "invalid", "/labels"),
        (b'{"name": "x", "misspelt": 1}', "unknown_field", "/misspelt"),
        (b'{"name": "x", "a/b~c": 1}', "unknown_field", "/a~1b~0c"),
        (b'{"name": "x", "areas": [{"name": "a", "z": 1}]}', "unknown_field", "/areas/0/z"),
        (b'{"name": "a\\u0000b"}', "invalid", "/name"),
        (b'{"name": "x", "labels": {"a": "\\u0000"}}', "invalid", "/labels/a"),
        (b'{"name": "x", "labels": {"\\u0000": "a"}}', "invalid", "/labels"),
        (b'{"name": "x", "extra": {"a": ["\\u0000"]}}', "invalid", "/extra/a/0"),
        (b'{"name": "x", "areas": [{"name": "\\u0000"}]}', "invalid", "/areas/0/name"),
        (b'{"name": "a\x00b"}', "invalid", ""),
        (b'{"name": "\\ud800"}', "invalid", ""),
        (b'{"name": "\\ud800abcdefgh"}', "invalid", ""),
        (b'{"name": "\\udc00abcdefgh"}', "invalid", ""),
        (b'{"name": "\xff"}', "invalid", ""),
        (b'{"name": "\xed\xa0\x80"}', "invalid", ""),
        (b'{"name": "x", "extra": "\xff"}', "invalid", ""),
        (b'{"name": "x", "extra": ' + b"[" * 900 + b"]" * 900 + b"}", None, ""),
        (b'{"name": "x"} x', "invalid", ""),
        (b"\xef\xbb\xbf{}", "invalid", ""),
        (b"[" * 1900, "invalid", ""),
        (b"[]", "invalid", ""),
        (b"null", "invalid", ""),
        (b"{", "invalid", ""),
        (b" ", "invalid", ""),
        (b"", "invalid", ""),
    ],
)
async def test_a_bad_body_is_refused_by_field(
    client: httpx.AsyncClient, body: bytes, code: str | None, pointer: str
) -> None:
    answer = await client.post("/echo", content=body, headers=JSON_TYPE)
    if code is None:
        assert answer.status_code == 201
        return
    errors = faults(answer, 400, code)
    assert errors[0]["pointer"] == pointer
    assert errors[0]["detail"]
    assert "in" not in errors[0]


class Parcel(Struct, forbid_unknown_fields=True):
    content: msgspec.Raw


@pytest.mark.parametrize(
    ("content", "pointer"),
    [(b'{"a": ["\\u0000"]}', "/content/a/0"), (b'"\xff"', ""), (b"[" * 200_000 + b"]" * 200_000, "")],
)
async def test_parts_that_are_not_decoded_are_looked_at_too(content: bytes, pointer: str) -> None:
    read = body_reader(Parcel)
    assert bytes(read(b'{"content": {"a": 1}}').content) == b'{"a": 1}'
    with pytest.raises(Invalid) as refused:
        read(b'{"content": %s}' % content)
    assert refused.value.members["errors"][0]["pointer"] == pointer


async def test_a_bottomless_body_is_refused() -> None:
    with pytest.raises(Invalid):
        body_reader(Body)(b'{"name": "x", "extra": %s}' % (b"[" * 200_000 + b"]" * 200_000))


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "a\\\\u0000b"}',  # a backslash and the letters u0000
        b'{"name": "first", "name": "last"}',
        b'{"name": "\\ud83d\\ude00"}',
        b'{"name": "x", "quantity": 1, "at": "2026-12-24T20:00:00+01:00"}',
        b'{"name": "x", "quantity": 100, "at": "0001-01-01T00:00:00Z"}',
        b'{"name": "' + b"x" * 20 + b'"}',
    ],
)
async def test_a_good_body_is_taken(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/echo", content=body, headers=JSON_TYPE)
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == json.loads(body)["name"]


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json", 201),
        ("Application/JSON ; Charset=UTF-8", 201),
        ('application/json;charset="utf-8"', 201),
        (None, 201),
        ("application/json; charset=latin-1", 415),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
        ("application/jsonx", 415),
        ("", 415),
    ],
)
async def test_the_content_type_is_json(client: httpx.AsyncClient, media: str | None, status: int) -> None:
    headers = {} if media is None else {"content-type": media}
    answer = await client.post("/echo", content=b'{"name": "x"}', headers=headers)
    assert answer.status_code == status
    if status == 415:
        faults(answer, 415, "unsupported_media_type")


async def test_a_body_up_to_the_limit_is_taken_and_beyond_it_refused(client: httpx.AsyncClient) -> None:
    body = b'{"name": "x"}'
    at_limit = body + b" " * (LIMIT - len(body))
    assert (await client.post("/echo", content=at_limit, headers=JSON_TYPE)).status_code == 201
    faults(await client.post("/echo", content=at_limit + b" ", headers=JSON_TYPE), 413, "body_too_large")

    async def in_pieces() -> AsyncIterator[bytes]:
        yield at_limit
        yield b" "

    assert len(at_limit) == LIMIT
    faults(await client.post("/echo", content=in_pieces(), headers=JSON_TYPE), 413, "body_too_large")


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    for length in (str(LIMIT + 1), "9" * 5000):
        sent, _ = await drive(make(), "POST", "/echo", [], headers=[(b"content-length", length.encode())])
        assert sent[0]["status"] == 413


async def test_an_endless_body_is_refused_after_the_limit() -> None:
    piece = {"type": "http.request", "body": b" " * 500, "more_body": True}
    sent, left = await drive(make(), "POST", "/echo", [piece] * 100)
    assert sent[0]["status"] == 413
    assert left >= 90


@pytest.mark.parametrize(("body", "status"), [(b"", 204), (b"{}", 204), (b' {"x": 1}', 400), (b"[]", 400)])
async def test_a_route_without_a_body_wants_none(client: httpx.AsyncClient, body: bytes, status: int) -> None:
    headers = {"authorization": "Bearer staff"}
    answer = await client.request("DELETE", f"/shows/{SHOW}", content=body, headers=headers)
    assert answer.status_code == status


async def test_an_optional_body_may_be_missing(client: httpx.AsyncClient) -> None:
    staff = {"authorization": "Bearer staff"}
    assert (await client.put(f"/shows/{SHOW}", headers=staff)).status_code == 200
    answer = await client.put(f"/shows/{SHOW}", headers=staff, json={"name": "x", "y": 1})
    assert faults(answer, 400, "unknown_field")[0]["pointer"] == "/y"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"limit": 50, "cursor": None, "tag": [], "mine": False}),
        ("limit=1", {"limit": 1, "cursor": None, "tag": [], "mine": False}),
        ("limit=100&cursor=a%20b%C3%A9", {"limit": 100, "cursor": "a b\u00e9", "tag": [], "mine": False}),
        ("tag=a&tag=b&mine=true", {"limit": 50, "cursor": None, "tag": ["a", "b"], "mine": True}),
        ("cursor=", {"limit": 50, "cursor": "", "tag": [], "mine": False}),
    ],
)
async def test_a_query_is_read(client: httpx.AsyncClient, query: str, expected: dict[str, Any]) -> None:
    assert (await client.get(f"/page?{query}")).json() == {
        **expected,
        "corner": [0, 0],
        "parts": None,
        "pets": [],
    }


@pytest.mark.parametrize(
    ("query", "code", "pointer"),
    [
        ("limit=0", "invalid", "/limit"),
        ("limit=101", "invalid", "/limit"),
        ("limit=1.0", "invalid", "/limit"),
        ("limit=1e1", "invalid", "/limit"),
        ("limit=%D9%A1", "invalid", "/limit"),
        ("limit=", "invalid", "/limit"),
        ("limit=x", "invalid", "/limit"),
        ("limit=" + "9" * 5000, "invalid", "/limit"),
        ("limit=1&limit=2", "invalid", "/limit"),
        ("mine=perhaps", "invalid", "/mine"),
        ("cursor=" + "x" * 101, "invalid", "/cursor"),
        ("cursor=%00", "invalid", "/cursor"),
        ("cursor=%FF", "invalid", ""),
        ("tag=a&tag=b&tag=c&tag=d", "invalid", "/tag"),
        ("page=2", "unknown_field", "/page"),
        ("&".join("tag=a" for _ in range(60)), "invalid", ""),
    ],
)
async def test_a_bad_query_is_refused_by_parameter(
    client: httpx.AsyncClient, query: str, code: str, pointer: str
) -> None:
    errors = faults(await client.get(f"/page?{query}"), 400, code)
    assert (errors[0]["pointer"], errors[0]["in"]) == (pointer, "query")


async def test_a_route_without_parameters_refuses_them(client: httpx.AsyncClient) -> None:
    faults(await client.get(f"/shows/{SHOW}?x=1"), 400, "unknown_field")


@pytest.mark.parametrize(
    "text",
    [
        "7",
        "x" * 36,
        SHOW.replace("-", ""),
        f"urn:{SHOW.replace('-', '')}",
        "{" + SHOW + "}",
        SHOW[:-1] + "_",
        "%00",
    ],
)
async def test_an_id_that_cannot_be_is_not_found(client: httpx.AsyncClient, text: str) -> None:
    faults(await client.get(f"/shows/{text}"), 404, "show_not_found")


async def test_texts_and_numbers_in_the_path(client: httpx.AsyncClient) -> None:
    answer = await client.get("/people/J%C3%B6rg/7")
    assert answer.json() == {"name": "J\u00f6rg", "quantity": 7}
    for path in (
        "/people//7",
        "/people/a/-1",
        "/people/a/x",
        "/people/%00/7",
        f"/people/{'a' * 201}/7",
        "/people/a/" + "9" * 19,
    ):
        faults(await client.get(path), 404, "not_found")
    assert (await client.get(f"/people/{'a' * 200}/7")).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/echo/", "//echo", "/shows", "/shows/", f"/shows/{SHOW}/x", "/nothing?x=1"]
)
async def test_an_unknown_path_is_a_problem(client: httpx.AsyncClient, path: str) -> None:
    faults(await client.get(path), 404, "not_found")


async def test_an_unknown_method_says_which_are_known(client: httpx.AsyncClient) -> None:
    for path in (f"/shows/{SHOW}", "/shows/x?y=1"):
        answer = await client.post(path)
        faults(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"
    answer = await client.options("/echo")
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, "OPTIONS, POST", b"")
    assert "content-length" not in answer.headers
    faults(await client.request("BREW", "/echo"), 405, "method_not_allowed")


async def test_head_is_get_without_the_body(client: httpx.AsyncClient) -> None:
    answer = await client.head(f"/shows/{SHOW}")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "30")
    assert answer.headers["etag"] == '"17"'


@pytest.mark.parametrize("given_id", ["a", "A.b_c-9", "x" * 64])
async def test_a_good_request_id_is_kept(client: httpx.AsyncClient, given_id: str) -> None:
    answer = await client.get("/who", headers={"x-request-id": given_id})
    assert (answer.headers["x-request-id"], answer.json()["name"]) == (given_id, given_id)


@pytest.mark.parametrize("given_id", ["", "x" * 65, "a b", "a\u00e9".encode(), "a;b", None])
async def test_another_request_id_is_replaced(client: httpx.AsyncClient, given_id: Any) -> None:
    answer = await client.get("/who", headers={} if given_id is None else {"x-request-id": given_id})
    assert len(answer.headers["x-request-id"]) == 32
    assert answer.json()["name"] == answer.headers["x-request-id"]


async def test_headers_of_one_name_are_a_list_and_added_ones_are_sent(client: httpx.AsyncClient) -> None:
    answer = await client.get("/who", headers=[("x-twice", "a"), ("x-twice", "b")])
    assert answer.headers["x-peer"] == "127.0.0.1"


async def test_a_header_cannot_be_split() -> None:
    call: Call[Any] = Call(routes.all[0], {"type": "http"}, None, {}, "x")  # type: ignore[arg-type]
    for bad in ("a\r\nset-cookie: x", "a\0", "\u2603"):
        with pytest.raises(ValueError, match="cannot carry"):
            call.add_header("x-name", bad)


async def test_refusals_are_problems_with_their_members(client: httpx.AsyncClient) -> None:
    answer = await client.post("/refuse/gone")
    faults(answer, 409, "sold_out")
    assert answer.json()["seats"] == ["A-1"]
    assert answer.json()["detail"] == "Two are left."
    assert "retry-after" not in answer.headers
    answer = await client.post("/refuse/busy")
    faults(answer, 503, "busy")
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["ratelimit"] == "limit=1"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/refuse/fault", "/unencodable"])
async def test_a_fault_is_logged_and_told_to_nobody(client: httpx.AsyncClient, path: str) -> None:
    with structlog.testing.capture_logs() as lines:
        answer = await client.post(path)
    faults(answer, 500, "internal_error")
    assert "hunter2" not in answer.text
    assert [(line["log_level"], line["request_id"]) for line in lines] == [
        ("error", answer.headers["x-request-id"])
    ]
    assert isinstance(lines[0]["exc_info"], Exception)


async def test_expected_refusals_are_not_logged(client: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as lines:
        await client.post("/refuse/gone")
        await client.post("/echo", content=b"{")
        await client.get("/nothing")
    assert lines == []


async def test_a_cancelled_request_is_not_logged() -> None:
    with structlog.testing.capture_logs() as lines, pytest.raises(asyncio.CancelledError):
        await drive(make(), "POST", "/refuse/cancel", [{"type": "http.request", "body": b""}])
    assert lines == []


async def test_a_client_that_leaves_early_is_neither_answered_nor_logged() -> None:
    seen: list[tuple[Any, ...]] = []
    app = make(observe=lambda *what: seen.append(what[:3]))
    half = {"type": "http.request", "body": b"{", "more_body": True}
    with structlog.testing.capture_logs() as lines:
        for messages in ([], [half]):
            sent, _ = await drive(app, "POST", "/echo", messages)
            assert sent == []
    assert lines == []
    assert seen == [("POST", "/echo", 499)] * 2
    assert app.in_flight == 0


async def test_a_client_that_leaves_before_the_answer_is_not_logged() -> None:
    async def broken(message: Any) -> None:
        raise BrokenPipeError

    with structlog.testing.capture_logs() as lines:
        await make()(scope_of("GET", "/page"), gone, broken)
    assert lines == []


async def test_who_may_is_asked_before_the_body_is_read(client: httpx.AsyncClient) -> None:
    answer = await client.put(f"/shows/{SHOW}", content=b"{")
    faults(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    faults(await client.put(f"/shows/{SHOW}", headers={"authorization": "Bearer x"}), 403, "forbidden")
    assert (
        await client.delete(f"/shows/{SHOW}", headers={"authorization": "Bearer staff"})
    ).status_code == 204


@pytest.mark.parametrize(
    ("value", "expected"),
    [('"17"', "17"), ("*", "None"), (None, "None"), ('"0"', "0"), ("17", "17"), ('"999999999"', "999999999")],
)
async def test_if_match_names_a_version(client: httpx.AsyncClient, value: str | None, expected: str) -> None:
    headers = {"authorization": "Bearer staff"} | ({} if value is None else {"if-match": value})
    assert (await client.put(f"/shows/{SHOW}", headers=headers)).json()["name"] == expected


@pytest.mark.parametrize(
    "value", ["17x", '"17', 'W/"17"', '"17", "18"', '""', '"-1"', '"1000000000"', '"x"', "\u0661".encode()]
)
async def test_another_if_match_is_refused(client: httpx.AsyncClient, value: Any) -> None:
    headers = {"authorization": "Bearer staff", "if-match": value}
    errors = faults(await client.put(f"/shows/{SHOW}", headers=headers), 400, "invalid")
    assert errors[0] | {"detail": ""} == {"pointer": "/If-Match", "in": "header", "detail": ""}


@pytest.mark.parametrize(
    ("known", "status"),
    [('"17"', 304), ('W/"17"', 304), ('"1", "17"', 304), ("*", 304), ('"18"', 200), ("17", 200), ("", 200)],
)
async def test_what_the_client_has_is_not_sent_again(
    client: httpx.AsyncClient, known: str, status: int
) -> None:
    answer = await client.get(f"/shows/{SHOW}", headers={"if-none-match": known})
    assert answer.status_code == status
    assert (answer.headers["etag"], answer.headers["cache-control"]) == ('"17"', "max-age=1")
    assert ("content-type" in answer.headers) == (status == 200)
    assert bool(answer.content) == (status == 200)


async def test_once_replays_an_equal_request_and_refuses_another(client: httpx.AsyncClient) -> None:
    first = await client.post("/once", json={"name": "a"}, headers={"idempotency-key": "k"})
    assert (first.status_code, first.json(), first.headers["location"]) == (
        201,
        {"name": "a", "quantity": 1},
        "/done/1",
    )
    again = await client.post("/once", json={"name": "a"}, headers={"idempotency-key": '"k"'})
    assert (again.status_code, again.content, again.headers["location"]) == (201, first.content, "/done/1")
    other = await client.post("/once", json={"name": "b"}, headers={"idempotency-key": "k"})
    assert other.status_code == 422
    keyless = await client.post("/once", json={"name": "a"})
    assert keyless.json()["quantity"] == 2


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, "\u00e9".encode(), "a\tb"])
async def test_a_bad_idempotency_key_is_refused(client: httpx.AsyncClient, key: Any) -> None:
    errors = faults(
        await client.post("/once", json={"name": "a"}, headers={"idempotency-key": key}), 400, "invalid"
    )
    assert (errors[0]["pointer"], errors[0]["in"]) == ("/Idempotency-Key", "header")


@pytest.mark.parametrize("key", ["a", "x" * 255, '"' + "x" * 255 + '"', "~!"])
async def test_a_good_idempotency_key_is_taken(client: httpx.AsyncClient, key: str) -> None:
    assert (
        await client.post("/once", json={"name": "a"}, headers={"idempotency-key": key})
    ).status_code == 201


async def test_raw_bytes_pass_as_they_are(client: httpx.AsyncClient) -> None:
    answer = await client.post("/bytes", content=b"\xff\x00", headers={"content-type": "text/csv"})
    assert (answer.content, answer.headers["content-type"]) == (b"\x00\xff", "application/octet-stream")
    assert answer.headers.get_list("cache-control") == ["max-age=60"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_route_may_render_its_refusals_itself(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"/seed/{SHOW}", json={"name": "x"})).json() == {"name": "x", "quantity": 1}
    for path, body, status, text in (
        (f"/seed/{SHOW}", b"{", 400, "The request is not valid."),
        ("/seed/7", b"{}", 404, "There is no such show."),
        (f"/seed/{SHOW}", b'{"name": "fault"}', 500, "Internal Server Error"),
    ):
        with structlog.testing.capture_logs() as lines:
            answer = await client.post(path, content=body)
        assert (answer.status_code, answer.json()) == (status, {"error": text})
        assert answer.headers["content-type"] == "application/json"
        assert len(lines) == (status == 500)


async def test_each_request_is_observed_once() -> None:
    seen: list[tuple[Any, ...]] = []
    logged: list[tuple[Any, ...]] = []
    app = make(
        observe=lambda *what: seen.append(what),
        access_log=lambda call, status, _: logged.append((call.scope["path"], call.request_id, status)),
    )
    async with client_of(app) as client:
        await client.get(f"/shows/{SHOW}", headers={"x-request-id": "a"})
        await client.get("/shows/7", headers={"x-request-id": "b"})
        await client.get("/some/where", headers={"x-request-id": "c"})
        await client.request("BREW", "/echo", headers={"x-request-id": "d"})
    assert [what[:3] for what in seen] == [
        ("GET", "/shows/{show_id}", 200),
        ("GET", "/shows/{show_id}", 404),
        ("GET", "(none)", 404),
        ("OTHER", "/echo", 405),
    ]
    assert all(seconds >= 0 for *_, seconds in seen)
    assert logged == [
        (f"/shows/{SHOW}", "a", 200),
        ("/shows/7", "b", 404),
        ("/some/where", "c", 404),
        ("/echo", "d", 405),
    ]


def scope_of(method: str, path: str, headers: list[tuple[bytes, bytes]] | None = None) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": headers or [],
        "client": None,
    }


async def gone() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def drive(
    app: App,
    method: str,
    path: str,
    messages: list[dict[str, Any]],
    *,
    headers: list[tuple[bytes, bytes]] | None = None,
    hang: bool = False,
) -> tuple[list[Any], int]:
    """What the app sends when it gets these messages and then a disconnect (or nothing more), and how many are left."""
    waiting = list(messages)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop(0)
        if hang:
            await asyncio.Event().wait()
        return await gone()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope_of(method, path, headers), receive, send)
    return sent, len(waiting)


class Source:
    """An endless (or failing, or short) stream that knows whether it was closed."""

    def __init__(self, chunks: list[bytes], end: str) -> None:
        self.chunks, self.end, self.closed, self.flowing = chunks, end, False, asyncio.Event()

    async def stream(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self.chunks:
                yield chunk
            self.flowing.set()
            if self.end == "never":
                await asyncio.Event().wait()
            if self.end == "fault":
                raise RuntimeError("no")
        finally:
            self.closed = True


def streaming(source: Source, **parts: Any) -> App:
    streams = Routes("streams")

    @streams.get("/live", who=ANYONE, answers={200: "text/event-stream"})
    async def live(call: Call[None]) -> Answer:
        return event_stream(source.stream())

    return build_app([streams], **parts)


async def test_a_stream_is_sent_piece_by_piece() -> None:
    source = Source([b"data: 1\n\n", b"data: 2\n\n"], "ends")
    sent, _ = await drive(streaming(source), "GET", "/live", [], hang=True)
    head = dict(sent[0]["headers"])
    assert head[b"content-type"] == b"text/event-stream"
    assert head[b"cache-control"] == b"no-store, no-transform"
    assert b"content-length" not in head
    assert [(m["body"], m.get("more_body", False)) for m in sent[1:]] == [
        (b"data: 1\n\n", True),
        (b"data: 2\n\n", True),
        (b"", False),
    ]
    assert source.closed


async def test_a_stream_ends_when_the_client_leaves() -> None:
    source = Source([b"data: 1\n\n"], "never")
    seen: list[tuple[Any, ...]] = []
    app = streaming(source, observe=lambda *what: seen.append(what[:3]))
    leaves = asyncio.Event()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await leaves.wait()
        return await gone()

    async def send(message: Any) -> None:
        sent.append(message)

    with structlog.testing.capture_logs() as lines:
        serving = asyncio.create_task(app(scope_of("GET", "/live"), receive, send))
        await source.flowing.wait()
        assert (len(sent), app.in_flight) == (2, 1)
        leaves.set()
        await asyncio.wait_for(serving, 5)
    assert source.closed
    assert (lines, app.in_flight, seen) == ([], 0, [("GET", "/live", 200)])


async def test_a_stream_is_closed_when_the_server_stops_it() -> None:
    source = Source([], "never")
    serving = asyncio.create_task(drive(streaming(source), "GET", "/live", [], hang=True))
    await source.flowing.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert source.closed


async def test_a_stream_that_breaks_is_logged_and_broken_off() -> None:
    source = Source([b"x"], "fault")
    with structlog.testing.capture_logs() as lines:
        sent, _ = await drive(streaming(source), "GET", "/live", [], hang=True)
    assert [line["event"] for line in lines] == ["stream broken off"]
    assert sent[-1]["more_body"]
    assert source.closed


async def test_mounted_apps_are_guarded_like_routes() -> None:
    async def page_of_old(request: Any) -> PlainTextResponse:
        if request.path_params["name"] == "fault":
            raise RuntimeError("no")
        return PlainTextResponse("old", headers={"cache-control": "max-age=9"})

    app = make(mounts=[Mount("/old", routes=[StarletteRoute("/{name}", page_of_old)])])
    async with client_of(app) as client:
        answer = await client.get("/old/a", headers={"x-request-id": "r"})
        assert (answer.text, answer.headers["x-request-id"]) == ("old", "r")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers.get_list("cache-control") == ["max-age=9"]
        faults(await client.get("/elsewhere"), 404, "not_found")
        faults(await client.get("/old/a/b"), 404, "not_found")
        with structlog.testing.capture_logs() as lines:
            faults(await client.get("/old/fault"), 500, "internal_error")
        assert len(lines) == 1


async def test_the_lifespan_opens_the_state() -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        app.state = "open"
        steps.append("started")
        yield
        steps.append("stopped")

    app = make(lifespan=lifespan)
    inbox = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Any:
        return next(inbox)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    assert (steps, app.state) == (["started", "stopped"], "open")
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def nothing(call: Call[Any]) -> None: ...


def nothing_at_once(call: Call[Any]) -> None: ...


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("an unbounded integer", Annotated[int, Meta(ge=0)]),
        ("another unbounded integer", Annotated[int, Meta(le=9)]),
        ("a text without limit", str),
        ("a text with an open pattern", Annotated[str, Meta(pattern="^[A-Z]+$")]),
        ("a text with an open count", Annotated[str, Meta(pattern="^[A-Z]{3,}$")]),
        ("a text with a loose pattern", Annotated[str, Meta(pattern="[A-Z]{3}")]),
        ("a list without limit", list[Text]),
        ("a list of texts without limit", Annotated[list[str], Meta(max_length=3)]),
        ("a mapping without limit", dict[Text, Text]),
        ("a time without offset", datetime),
        ("a Struct that lets unknown fields pass", Said),
    ],
)
async def test_a_body_that_lets_bad_input_through_cannot_be_declared(field: str, kind: Any) -> None:
    body = msgspec.defstruct("Loose", [("value", kind | None)], forbid_unknown_fields=True)
    with pytest.raises(TypeError, match="value"):
        Routes("x").post("/x", who=ANYONE, body=body)(nothing)
    # The control: within limits the same declaration stands.
    code = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    good = msgspec.defstruct("Tight", [("value", Text), ("code", code)], forbid_unknown_fields=True)
    Routes("x").post("/x", who=ANYONE, body=good)(nothing)


async def test_a_route_without_who_cannot_be_declared() -> None:
    with pytest.raises(TypeError, match="who"):
        Routes("x").get("/x")(nothing)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="who may use it"):
        Routes("x").get("/x", who=None)(nothing)


async def test_declarations_that_contradict_themselves_are_refused() -> None:
    twice = Routes("x")
    twice.get("/x/{a}", who=ANYONE)(nothing)
    twice.get("/x/{b}", who=ANYONE)(nothing)
    with pytest.raises(ValueError, match="twice"):
        build_app([twice])
    with pytest.raises(TypeError, match="once is for POST"):
        Routes("x").get("/x", who=ANYONE, once=True)(nothing)
    with pytest.raises(ValueError, match="not a path"):
        Routes("x").get("/x/{a", who=ANYONE)(nothing)
    with pytest.raises(TypeError, match="async"):
        Routes("x").get("/x", who=ANYONE)(nothing_at_once)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="nobody can tell"):
        build_app([routes])
    with pytest.raises(TypeError, match="once="):
        build_app([routes], authorize=authorize)


@pytest.mark.parametrize(
    ("path", "pointer"),
    [("$", ""), ("$.a", "/a"), ("$.a[0].b", "/a/0/b"), ("$[3]", "/3"), ("$.d[...].x", "/d"), ("", "")],
)
async def test_paths_become_pointers(path: str, pointer: str) -> None:
    assert pointer_of(path) == pointer


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["name", "areas", "at", "rows", "x"]) | st.text(), inner)
    ),
    max_leaves=12,
)
hostile = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


FUZZED = make()


def fuzzed(body: bytes, query: bytes = b"", path: str = "/echo", method: str = "POST") -> int:
    """The status of one request."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    serving = FUZZED(scope_of(method, path) | {"query_string": query}, receive, send)
    with pytest.raises(StopIteration):  # nothing here waits, so it runs to its end without a loop
        serving.send(None)
    return int(sent[0]["status"])


@hostile
@given(
    st.binary(max_size=300)
    | anything.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {"name": anything},
        optional=dict.fromkeys(("quantity", "at", "areas", "labels", "extra"), anything),
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_body_makes_a_fault(body: bytes) -> None:
    assert fuzzed(body) in (201, 400, 413)


@hostile
@given(st.text(st.characters(max_codepoint=127), max_size=80).map(str.encode))
def test_no_query_makes_a_fault(query: bytes) -> None:
    assert fuzzed(b"", query, "/page", "GET") in (200, 400)


@hostile
@given(st.text(max_size=60))
def test_no_path_makes_a_fault(path: str) -> None:
    assert fuzzed(b"", b"", "/people/" + path, "GET") in (200, 404)


SCHEMES = {"bearer": {"type": "http", "scheme": "bearer"}}


def document() -> dict[str, Any]:
    return openapi([routes], version="1", security_schemes=SCHEMES)


async def test_the_document_says_what_the_server_does() -> None:
    made = document()
    assert made["openapi"] == "3.1.0"
    assert json.loads(json.dumps(made)) == made == document()
    operation = made["paths"]["/echo"]["post"]
    assert (operation["operationId"], operation["summary"], operation["tags"]) == (
        "echo",
        "Say it again",
        ["tests"],
    )
    assert operation["requestBody"]["required"]
    body = made["components"]["schemas"]["Body"]
    assert body["additionalProperties"] is False
    assert (body["properties"]["quantity"]["minimum"], body["properties"]["quantity"]["maximum"]) == (1, 100)
    assert made["components"]["schemas"]["Area"]["additionalProperties"] is False
    assert set(operation["responses"]) == {"201", "400", "408", "413", "415", "429", "503"}
    examples = operation["responses"]["400"]["content"]["application/problem+json"]["examples"]
    assert set(examples) == {"invalid", "unknown_field"}
    assert "Retry-After" in operation["responses"]["503"]["headers"]

    listed = {parameter["name"]: parameter for parameter in made["paths"]["/page"]["get"]["parameters"]}
    assert listed["limit"]["schema"] | {"title": ""} == {
        "type": "integer", "minimum": 1, "maximum": 100, "default": 50, "title": ""
    }  # fmt: skip
    assert "Page" not in made["components"]["schemas"]

    edit = made["paths"]["/shows/{show_id}"]["put"]
    assert edit["security"] == [{"bearer": []}]
    assert {parameter["name"] for parameter in edit["parameters"]} == {"show_id", "If-Match"}
    assert {"401", "403", "404", "412"} <= set(edit["responses"])
    assert "sold_out" in made["paths"]["/refuse/{why}"]["post"]["responses"]["409"]["description"]
    once = made["paths"]["/once"]["post"]
    assert {parameter["name"] for parameter in once["parameters"]} == {IDEMPOTENCY_KEY.name}
    assert "422" in once["responses"]
    assert set(made["paths"]["/seed/{show_id}"]["post"]["responses"]) == {
        "200", "400", "404", "408", "413", "415", "429", "503",
    }  # fmt: skip


async def test_names_in_the_document_are_unique() -> None:
    twin = Routes("x")
    twin.get("/x", who=ANYONE, operation_id="same")(nothing)
    twin.get("/y", who=ANYONE, operation_id="same")(nothing)
    with pytest.raises(ValueError, match="two operations"):
        openapi([twin])
    with pytest.raises(ValueError, match="security scheme"):
        openapi([routes])
    bodies = Routes("y")
    for path, module in (("/x", "one"), ("/y", "two")):
        kind = msgspec.defstruct("Twin", [("value", Text)], forbid_unknown_fields=True, module=module)
        bodies.post(path, who=ANYONE, body=kind, operation_id=module)(nothing)
    with pytest.raises(ValueError, match="Twin"):
        openapi([bodies])


async def test_document_and_reference_are_served_with_their_tags() -> None:
    made = document()
    app = build_app([routes, document_routes(made), docs_routes(made)], authorize=authorize, once=Store())
    async with client_of(app) as client:
        for path, media in (
            ("/openapi.json", "application/json"),
            ("/docs", "text/html"),
            ("/docs.css", "text/css"),
        ):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith(media)
            again = await client.get(path, headers={"if-none-match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        assert (await client.get("/openapi.json")).json() == made
        policies = (await client.get("/docs")).headers.get_list("content-security-policy")
    assert len(policies) == 1
    assert "style-src 'self'" in policies[0]
    assert "script-src" not in policies[0]


async def test_the_reference_shows_every_operation_without_script_or_third_party() -> None:
    html = docs_page(document()).decode()
    for methods in document()["paths"].values():
        for operation in methods.values():
            assert f'<article class="operation" id="{operation["operationId"]}"' in html
    for code in ("invalid", "sold_out", "body_too_large", "busy"):
        assert f'id="error-{code}"' in html
        assert f'href="#error-{code}"' in html
    assert "<code>areas[].rows[].label</code>" in html
    assert "<code>parts[].quantity</code>" in html
    assert html.count("<code>pets[].name</code>") == 1
    assert "Only for <code>Cat</code>." in html
    assert "&#34;cat&#34; or &#34;dog&#34;" in html
    assert "How <code>many</code>." in html
    assert "&lt;b&gt;no&lt;/b&gt;" in html
    assert "<script" not in html
    assert "style=" not in html
    assert "//" not in html.replace("http://127.0.0.1:8000", "")
