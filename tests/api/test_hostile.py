"""Whatever is sent to whatever route: an answer below 500, and for what is wrong a problem that names the field.

The routes are walked, not listed: who adds one is tested here from that day on.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, get_args
from uuid import uuid4

import httpx
import msgspec
import pytest
from msgspec import inspect

from holdfast.accounts import CUSTOMER
from holdfast.app import ROUTES
from holdfast.engine import open_engine
from holdfast.platform.bodies import escaped
from holdfast.platform.embedded import Server
from holdfast.platform.http import IDEMPOTENCY_KEY, IF_MATCH, Route
from holdfast.platform.settings import Settings
from tests.api.furnishing import furnish
from tests.conftest import SECRET, TEMPLATE, _execute, _url, client_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ALL = [route for routes in ROUTES for route in routes.all]
# A stream never ends, so only its refusals are looked at here.
ENDING = [route for route in ALL if "text/event-stream" not in route.answers.values()]
WITH_BODY = [route for route in ALL if route.reads_body]
WITH_FIELDS = [route for route in WITH_BODY if route.body is not None and not route.body_is_raw]
WITH_QUERY = [route for route in ENDING if route.query is not None]
NOBODY = "0192f5a0-8c9e-7d3f-9a41-c6be50217d84"
# Sent in no body, either: ids of scans are made by whoever scans.
NEVER = "0192f5a0-8c9e-7d3f-9a41-c6be50217d85"
ROW = {"label": "A", "seats": 4, "x": 1.0, "y": 2.0, "gap_after": [2]}
PLACED_ROW = {"label": "B", "numbers": ["1", "2"], "positions": [[0.0, 0.0], [1.0, 0.0]]}
AREAS = [
    {"name": "Stalls", "kind": "seated", "rows": [ROW, PLACED_ROW]},
    {"name": "Yard", "kind": "standing", "capacity": 700},
]
APPOINTMENT = {
    "template": "appointments", "name": "Consultation", "first": "2031-11-03", "last": "2031-11-03",
    "opens": "09:00", "closes": "09:30", "minutes": 30, "timezone": "Europe/Berlin", "breaks": [["12:00", "13:00"]],
}  # fmt: skip
# What to send where there is no example, where it leaves much out, or where it would make very much.
EXAMPLES: dict[str, list[Any]] = {
    "create_show": [
        {"name": "Hamlet", "start_time": "2030-12-24T20:00:00Z", "total_seats": 9},
        {
            "name": "Hamlet", "start_time": "2030-12-24T20:00:00Z", "areas": AREAS, "focal": [0.0, 0.0],
            "tiers": [{"name": "Adult", "area": "Yard", "amount": 100}],
        },
        {"name": "Hamlet", "start_time": "2030-12-24T20:00:00Z", "areas": AREAS[::-1]},
    ],
    "edit_show": [
        {"name": "Hamlet"},
        {"areas": [{"id": 1, "name": "Main"}], "tiers": [{"id": 1, "name": "Adult", "area": "Main", "amount": 1}]},
    ],
    "create_layout": [{"name": "Stage", "areas": AREAS}],
    "revise_layout": [{"name": "Stage", "areas": AREAS}],
    "create_series": [
        APPOINTMENT,
        {"template": "trips", "name": "To the sea", "departures": ["2031-01-01T08:00:00Z"], "times": ["08:00"]},
        {"template": "repeat", "show": {"name": "Hamlet", "total_seats": 9}, "starts": ["2031-01-01T08:00:00Z"]},
    ],
    "claim": [
        {"seats": ["9"], "customer": {"email": "guest@example.org", "name": "Guest"}},
        {"quantity": 1, "tiers": {"Adult": 1}},
    ],
    "create_block": [{"seats": ["8"], "reason": "House seats"}],
}  # fmt: skip


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


@dataclass
class House:
    """The app on a database with one of everything; an owner, who may do all that staff may, and the other callers."""

    owner: httpx.AsyncClient
    stranger: httpx.AsyncClient
    ids: dict[str, str]
    callers: dict[str, httpx.AsyncClient]

    def path(self, route: Route) -> str:
        """The route's path with ids that exist."""
        return re.sub(r"\{(\w+)\}", lambda found: self.ids.get(found[1], NOBODY), route.template)

    async def send(self, route: Route, path: str | None = None, **request: Any) -> httpx.Response:
        """What the route answers to whom it is for."""
        caller = self.callers["customer"] if route.who is CUSTOMER else self.owner
        if any(header.required for header in route.headers):
            request.setdefault("headers", {"Idempotency-Key": "an-attempt-that-nobody-made"})
        return await caller.request(route.method, path or self.path(route), **request)


@pytest.fixture(scope="module")
async def house(server: Server) -> AsyncIterator[House]:
    name = f"hostile_{uuid4().hex}"
    await _execute(server.dsn, f"create database {name} template {TEMPLATE} strategy file_copy")
    settings = Settings(
        database_url=_url(server.dsn, name),
        secret_key=SECRET,
        seed_routes="open",
        rate_limits="off",
        log_level="error",
    )
    async with open_engine(settings) as engine:
        furnished = await furnish(engine)
        async with AsyncExitStack() as stack:
            callers = {
                whose: await stack.enter_async_context(client_of(engine, Authorization=f"Bearer {token}"))
                for whose, token in furnished.tokens.items()
            }
            stranger = await stack.enter_async_context(client_of(engine))
            yield House(callers["owner"], stranger, furnished.ids, callers)
    await _execute(server.dsn, f"drop database {name} with (force)")


def check(answer: httpx.Response, route: Route | None = None, *, refused: bool = True) -> dict[str, Any]:
    """The problem in the answer. A refusal is a 4xx in the form of its route, and says nothing of the inside."""
    assert answer.status_code < 500, answer.text
    if not refused and answer.status_code < 400:
        return {}
    assert 400 <= answer.status_code < 500, f"{answer.status_code} {answer.text[:300]}"
    assert "x-request-id" in answer.headers
    assert not re.search(r"Traceback|asyncpg|msgspec|/src/", answer.text)
    problem: dict[str, Any] = answer.json()
    if route is not None and route.problems is not None:
        assert problem["error"], "the seeds' form"
        return problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == answer.status_code
    assert re.fullmatch(r"[a-z_]+", problem["code"])
    assert problem["title"].endswith(".")
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem


# --- fields ---------------------------------------------------------------------------------------------------------


class Raw(msgspec.Struct, frozen=True):
    """A value as it is written, which no JSON encoder would write."""

    text: str


NEVER_A_NUMBER: list[Any] = ["2", 2.5, 1.0, True, [], {}, Raw("1e400"), Raw("-1e400"), Raw("9" * 400), Raw("NaN"), Raw("0x1"), Raw("1e999999999"), 2**63, -(2**63) - 1, 2**64]  # fmt: skip
NEVER_A_TEXT: list[Any] = [7, 1.5, True, [], {}, "\0", "a\0b", "a" * 200_000, Raw('"\\ud800"'), Raw('"\\udfff x"'), Raw('"\\x41"'), Raw('"\t"'), Raw("'a'")]  # fmt: skip
NEVER_A_TIME: list[Any] = ["2030-12-24T20:00:00", "2030-12-24", "24.12.2030", "", "tomorrow", 0, 1893456000, [], "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2030-13-01T00:00:00Z", "2030-02-30T00:00:00Z", "2030-01-01T25:00:00Z", "99999-01-01T00:00:00Z", "2030-12-24T20:00:00+99:00"]  # fmt: skip
NEVER_A_LIST: list[Any] = [{}, "A-1", 7, True]
NEVER_A_FLAG: list[Any] = ["true", 1, 0, [], {}]
NEVER_A_THING: list[Any] = [[], "x", 7, True]
# What may pass or not, but never be our fault.
ODD_NUMBERS: list[Any] = [0, -1, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1]
ODD_TEXTS: list[Any] = ["", " ", "'; drop table shows; --", "<script>alert(1)</script>", "%s{0}$1\\", "\u202e\u0301", "🎭" * 50, "\ufeff", "\r\nSet-Cookie: a=b", "\x7f\x1b[2J", "ß" * 255, "null", "../../etc/passwd"]  # fmt: skip
ODD_TIMES: list[Any] = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00-14:00", "1970-01-01T00:00:00.000000001Z", "2030-12-24T20:00:00+14:00"]  # fmt: skip


def attacks_on(info: inspect.Type) -> tuple[list[Any], list[Any]]:
    """Values that can never be of this type, and odd ones that may."""
    if isinstance(info, inspect.Metadata):
        return attacks_on(info.type)
    match info:
        case inspect.UnionType():
            parts = [attacks_on(each) for each in info.types if not isinstance(each, inspect.NoneType)]
            if len(parts) == 1:
                never, odd = parts[0]
                return never + ([] if info.includes_none else [None]), odd
            # Wrong for one may be right for another.
            return [], [value for part in parts for values in part for value in values]
        case inspect.IntType():
            return NEVER_A_NUMBER, ODD_NUMBERS
        case inspect.FloatType():
            return ["2", [], {}, True, Raw("1e400"), Raw("NaN"), Raw("Infinity")], [
                0,
                -1,
                1e308,
                2**63,
                Raw("9" * 400),
            ]
        case inspect.StrType():
            return NEVER_A_TEXT, ODD_TEXTS
        case inspect.DateTimeType():
            return NEVER_A_TIME, ODD_TIMES
        case inspect.BoolType():
            return NEVER_A_FLAG, []
        case inspect.CollectionType():
            return NEVER_A_LIST, [[], [None], [[]], ["x", "x"], [1, 1], list(range(20_000))]
        case inspect.DictType():
            return NEVER_A_THING, [{}, {"": 1}, {"x": 0}, {str(i): 1 for i in range(2000)}]
        case inspect.StructType():
            return NEVER_A_THING, [{}, {"unknown": 1}]
        case _:
            # Dates, times of day, UUIDs and the words of a Literal: texts of a form.
            return [7.5, [], {}, "", "\0", "x" * 10_000], ["2030-02-30", "25:00", NOBODY.upper(), "'", "٣"]


def fields_of(
    info: inspect.Type, at: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], inspect.Type]]:
    """Every field within a body and where it stands; the first item stands for a list."""
    if isinstance(info, inspect.Metadata):
        info = info.type
    if isinstance(info, inspect.UnionType):
        for each in info.types:
            yield from fields_of(each, at)
    elif isinstance(info, inspect.StructType):
        for field in info.fields:
            yield (*at, field.encode_name), field.type
            yield from fields_of(field.type, (*at, field.encode_name))
    elif isinstance(info, inspect.CollectionType):
        yield (*at, 0), info.item_type
        yield from fields_of(info.item_type, (*at, 0))


def with_field(example: Any, at: tuple[str | int, ...], value: Any) -> Any | None:
    """The example with another value at that place; None when the example has no such place."""
    body = deepcopy(example)
    here = body
    for part in at[:-1]:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            return None
    if (isinstance(here, dict) and isinstance(at[-1], str)) or (
        isinstance(here, list) and here and isinstance(at[-1], int)
    ):
        here[at[-1]] = value  # type: ignore[index]
    else:
        return None
    return body


def written(body: Any) -> bytes:
    """The JSON of a body in which some values are written by hand."""
    texts: list[str] = []

    def by_hand(value: Any) -> str:
        texts.append(value.text)
        return f"@{len(texts) - 1}@"

    plain = json.dumps(body, default=by_hand, ensure_ascii=False)
    return re.sub(r'"@(\d+)@"', lambda found: texts[int(found[1])], plain).encode("utf-8", "surrogatepass")


def examples_of(route: Route) -> list[Any]:
    return EXAMPLES.get(route.operation_id, [route.example])


def sent_along(route: Route) -> dict[str, Any]:
    """The body beside something else that is wrong. Without a password, which takes long to look at."""
    if route.body is None or route.body_is_raw:
        return {}
    body = {name: value for name, value in examples_of(route)[0].items() if name != "password"}
    return {"content": written(body)}


def bodies_of(route: Route) -> list[Any]:
    """The Structs that a route takes."""
    kinds = [kind for kind in get_args(route.body) if kind is not type(None)] or [route.body]
    return [kind for kind in kinds if kind not in (bytes, msgspec.Raw)]


def pointer(at: tuple[str | int, ...]) -> str:
    return "".join(f"/{escaped(str(part))}" for part in at)


@pytest.mark.parametrize("route", WITH_FIELDS, ids=name_of)
async def test_every_field_with_every_kind_of_nonsense(house: House, route: Route) -> None:
    tagged = len(bodies_of(route)) > 1
    tried = 0
    every_field = {at: info for kind in bodies_of(route) for at, info in fields_of(inspect.type_info(kind))}
    for at, info in every_field.items():
        never, odd = attacks_on(info)
        for value, must_fail in [(v, True) for v in never] + [(v, False) for v in odd]:
            bodies = (with_field(example, at, value) for example in examples_of(route))
            for body in filter(None, bodies):
                tried += 1
                answer = await house.send(route, content=written(body))
                where = f"{pointer(at)} = {str(value)[:60]}: {answer.text[:300]}"
                problem = check(answer, route, refused=must_fail and not tagged)
                if not must_fail or tagged or route.problems is not None or answer.status_code == 413:
                    continue
                assert answer.status_code == 400, where
                # What is no JSON at all has no field to name.
                if isinstance(value, Raw) and not problem["errors"][0]["pointer"]:
                    continue
                assert problem["errors"][0]["pointer"].startswith(pointer(at)), where
    assert tried > 10


@pytest.mark.parametrize("route", WITH_BODY, ids=name_of)
async def test_bodies_that_are_no_bodies(house: House, route: Route) -> None:
    deep = 100_000
    nonsense: dict[str, bytes] = {
        "a list": b"[]",
        "a number": b"3",
        "a text": b'"x"',
        "a part": b'{"name": ',
        "two": b"{}{}",
        "not JSON": b"name=Hamlet",
        "broken UTF-8": b'{"name": "\xff\xfe"}',
        "an overlong form": b'{"name": "\xc0\xaf"}',
        "a surrogate as bytes": b'{"name": "\xed\xa0\x80"}',
        "UTF-16": '{"name": "x"}'.encode("utf-16"),
        "a mark of order": b"\xef\xbb\xbf{}",
        "NUL": b"\0",
        "lists in lists": b"[" * deep,
        "closed lists in lists": b"[" * deep + b"]" * deep,
        "objects in objects": b'{"a":' * deep + b"1" + b"}" * deep,
        "in a field": b'{"name":' + b"[" * deep + b"]" * deep + b"}",
        "an unknown field": b'{"surprise": 1}',
        "an unknown field of NUL": b'{"\\u0000": 1}',
        "a number without end": b"1" * 500_000,
        "an exponent": b'{"total_seats": 1e' + b"9" * 1000 + b"}",
    }
    for what, content in nonsense.items():
        answer = await house.send(route, content=content)
        problem = check(answer, route)
        # What takes any bytes first looks for what they are for, and here nobody is paid.
        assert answer.status_code in {400, 413} | ({404} if route.body_is_raw else set()), (what, answer.text)
        if route.problems is None and what == "an unknown field" and len(bodies_of(route)) == 1:
            assert (problem["code"], problem["errors"][0]["pointer"]) == ("unknown_field", "/surprise")
        assert len(answer.content) < 2000, what
    empty = await house.send(route, content=b"")
    check(empty, route, refused=not route.body_optional)
    if route.body is not None and not route.body_is_raw:
        assert (await house.send(route, content=b"null")).status_code == 400 or route.body_optional


@pytest.mark.parametrize("route", WITH_BODY, ids=name_of)
async def test_bodies_without_measure(house: House, route: Route) -> None:
    limit = route.body_bytes_max or 1_048_576
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < limit + 2_000_000:
            sent += 65_536
            yield b" " * 65_536

    for content in (b'{"name": "' + b"a" * max(limit, 10_000_000) + b'"}', chunks()):
        answer = await house.send(route, content=content)
        check(answer, route)
        assert answer.status_code == 413, answer.text


@pytest.mark.parametrize("route", WITH_FIELDS, ids=name_of)
async def test_content_types_that_nobody_reads(house: House, route: Route) -> None:
    body = written(examples_of(route)[0])
    for media in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/jsonx",
        "json",
        "",
        "\xff",
    ):
        answer = await house.send(route, content=body, headers={"content-type": media.encode("latin-1")})
        check(answer, route)
        assert answer.status_code == 415, (media, answer.text)


# --- paths, queries, headers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [route for route in ALL if route.parameters], ids=name_of)
async def test_ids_that_are_none(house: House, route: Route) -> None:
    for name, kind, missing in route.parameters:
        assert kind in {"uuid", "int", "str"}, "say here what else may stand in a path"
        for nonsense in (
            "1", "-1", "null", "%00", "..%2f..", "%ff", "'--", "%3Cscript%3E", "a" * 5000, "٣", NEVER.upper(), NEVER,
            f"{{{NEVER}}}", NEVER.replace("-", ""), f"{NEVER}%0a", "00000000-0000-0000-0000-000000000000",
        ):  # fmt: skip
            if kind == "int" and nonsense == "1":
                continue
            path = route.template
            for other in route.parameters:
                given = nonsense if other[0] == name else house.ids[other[0]]
                path = path.replace(f"{{{other[0]}}}", given)
            body = sent_along(route)
            answer = await house.send(route, path, **body)
            # What a server takes for a slash, or for the end of a line, leads to another path.
            problem = check(answer, None if "%2f" in nonsense else route)
            assert answer.status_code in {404, 405}, (nonsense, answer.text)
            if route.problems is None:
                assert problem["code"].endswith(("not_found", "unknown_provider", "unknown_attempt")), (
                    nonsense,
                    missing,
                )


@pytest.mark.parametrize("route", WITH_QUERY, ids=name_of)
async def test_queries_that_make_no_sense(house: House, route: Route) -> None:
    body = sent_along(route)

    async def refused(query: str, field: str) -> None:
        answer = await house.send(route, f"{house.path(route)}?{query}", **body)
        problem = check(answer, route)
        assert answer.status_code == 400, (query, answer.text)
        if field and route.problems is None:
            (error, *_) = problem["errors"]
            # In a list the pointer leads to the element.
            assert (error["pointer"].removesuffix("/0"), error["in"]) == (f"/{field}", "query"), query

    await refused("surprise=1", "surprise")
    await refused("%00=1", "\0")
    await refused("&".join(f"p{i}=1" for i in range(60)), "")
    for field in inspect.type_info(route.query).fields:  # type: ignore[attr-defined]
        name = field.encode_name
        await refused(f"{name}=a%00b", name)
        never, odd = attacks_on(field.type)
        await refused(f"{name}=%FF", "")
        await refused(f"{name}={'9' * 5000}", name)
        for value in ("1e3", "0x10", "1.0", "+1", " 1", "٣", "1_000"):
            if 2.5 in never:
                await refused(f"{name}={value}", name)
        if NEVER_A_TIME[0] in never:
            for value in (
                "0.5",
                "1893456000",
                "2030-12-24T20:00:00",
                "2030-12-24",
                "20301224T200000Z",
                "now",
            ):
                await refused(f"{name}={value}", name)
        for value in (*never, *odd, "'; drop table shows; --", "%", "_", "\\", "<b>", "A" * 90, "AAAA", "a" * 32, "f" * 32, "-"):  # fmt: skip
            if isinstance(value, str) and "\0" not in value and len(value) < 100:
                answer = await house.send(route, params={name: value.encode("utf-8", "replace")}, **body)
                check(answer, route, refused=False)
    for name in [f.encode_name for f in inspect.type_info(route.query).fields]:  # type: ignore[attr-defined]
        if name != "q":
            await refused(f"{name}=1&{name}=1", name)


@pytest.mark.parametrize("route", ENDING, ids=name_of)
async def test_headers_that_make_no_sense(house: House, route: Route) -> None:
    body = sent_along(route)
    if IDEMPOTENCY_KEY in route.headers:
        for key in (
            b"",
            b'""',
            b" ",
            b"a" * 256,
            b"a" * 60_000,
            b"a b",
            b"\xff",
            b"a\0b",
            "ключ".encode(),
            b'"open',
        ):
            answer = await house.send(route, headers={b"idempotency-key": key}, **body)
            problem = check(answer, route, refused=key != b'"open')
            if key != b'"open' and route.problems is None:
                assert problem["errors"][0] == problem["errors"][0] | {
                    "pointer": "/Idempotency-Key",
                    "in": "header",
                }
    if IF_MATCH in route.headers:
        for tag in (
            b"",
            b"x",
            b'W/"1"',
            b'"1", "2"',
            b"-1",
            b"9" * 10,
            b'"' + b"9" * 5000 + b'"',
            b"1.0",
            b"\xff",
            "٣".encode(),
        ):
            answer = await house.send(route, headers={b"if-match": tag}, **body)
            problem = check(answer, route)
            assert problem["errors"][0] == problem["errors"][0] | {"pointer": "/If-Match", "in": "header"}
    for header in (
        {b"if-none-match": b'"' * 5000},
        {b"if-none-match": b"\xff\0"},
        {b"accept": b"nothing/*;q=\xff"},
        {b"accept-encoding": b"\xff" * 3000},
        {b"cookie": b"=;=;\0"},
        {b"x-forwarded-for": b"';--"},
        {b"content-length": b"-1"},
        {b"content-length": b"9" * 30},
        {b"content-length": b"x"},
        {b"range": b"bytes=0-1e9"},
        {b"expect": b"\xff"},
    ):
        answer = await house.send(route, headers=header, **body)
        check(answer, route, refused=False)
        assert answer.status_code != 206
    for request_id in (b"a\r\nset-cookie: x=y", b"", b"\xff", b"x" * 65):
        answer = await house.send(route, headers={b"x-request-id": request_id}, **body)
        assert answer.headers["x-request-id"].encode() != request_id
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


@pytest.mark.parametrize("route", ENDING, ids=name_of)
async def test_tokens_that_are_none(house: House, route: Route) -> None:
    body = sent_along(route)
    for token in (b"", b"Bearer", b"Bearer ", b"Basic b3duZXI6", b"Bearer " + b"a" * 60_000, b"Bearer \xff", b"Bearer a.b.c",
                  b"Bearer " + b"." * 1000, b"Bearer eyJhbGciOiJub25lIn0.e30.", b"bearer null"):  # fmt: skip
        answer = await house.stranger.request(
            route.method, house.path(route), headers={b"authorization": token}, **body
        )
        assert answer.status_code < 500, (token[:30], answer.text)
        if route.who.security and "" not in route.who.security and route.problems is None:
            assert answer.status_code in {401, 403, 404}, (token[:30], answer.text)


@pytest.mark.parametrize("route", ALL, ids=name_of)
async def test_methods_that_a_path_does_not_know(house: House, route: Route) -> None:
    known = {other.method for other in ALL if other.template == route.template}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "BREW"} - known:
        answer = await house.owner.request(method, house.path(route))
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) >= known
        assert route.problems is not None or answer.json()["code"] == "method_not_allowed"


# --- meaning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wish, code, where",
    [
        ({"seats": ["51"]}, "unknown_seat", ["51"]),
        ({"seats": ["1", "A-1", "99"]}, "unknown_seat", ["A-1", "99"]),
        ({"seats": ["5", "6", "5"]}, "invalid", "/seats/2"),
        ({"seats": []}, "invalid", "/seats"),
        ({"seats": [""]}, "invalid", "/seats/0"),
        ({"seats": ["5", 6]}, "invalid", "/seats/1"),
        ({"seats": ["5"], "quantity": 1}, "invalid", "/quantity"),
        ({}, "invalid", ""),
        ({"quantity": 0}, "invalid", "/quantity"),
        ({"quantity": -1}, "invalid", "/quantity"),
        ({"quantity": 2**31}, "invalid", "/quantity"),
        ({"quantity": 2**63}, "invalid", "/quantity"),
        ({"quantity": "2"}, "invalid", "/quantity"),
        ({"best_available": 10_001}, "invalid", "/best_available"),
        ({"quantity": 1, "area": "Nowhere"}, "invalid", "/area"),
        ({"quantity": 1, "tier": "None"}, "invalid", "/tier"),
        ({"quantity": 2, "tiers": {"Adult": 3}}, "invalid", "/tiers"),
        ({"quantity": 2, "tiers": {}}, "invalid", "/tiers"),
        ({"quantity": 2, "tiers": {"Adult": 0}}, "invalid", "/tiers"),
        ({"quantity": 1, "customer": {"email": "nobody"}}, "invalid", "/customer/email"),
        ({"quantity": 1, "customer": {"email": "a@b", "age": 7}}, "unknown_field", "/customer/age"),
        ({"quantity": 1, "surprise": True}, "unknown_field", "/surprise"),
        ({"quantity": 10_000}, "too_many_places", None),
    ],
)
@pytest.mark.parametrize("key", [None, "a-key-that-nobody-could-guess"])
async def test_claims_that_cannot_be(
    house: House, wish: dict[str, Any], code: str, where: Any, key: str | None
) -> None:
    headers = {"Idempotency-Key": f"{key}-{uuid4()}"} if key else {}
    answer = await house.stranger.post(
        f"/v1/shows/{house.ids['show_id']}/bookings", json=wish, headers=headers
    )
    problem = check(answer)
    assert (answer.status_code, problem["code"]) == (400, code)
    if isinstance(where, list):
        assert problem["seats"] == where
    elif where is not None:
        assert problem["errors"][0]["pointer"] == where


@pytest.mark.parametrize("text", [text for text in ODD_TEXTS if text.strip(" \ufeff") and text.isprintable()])
async def test_texts_come_back_as_they_were_sent(house: House, text: str) -> None:
    made = await house.owner.post("/v1/venues", json={"name": text, "timezone": "Europe/Berlin"})
    assert made.status_code == 201, made.text
    shown = await house.owner.get(made.headers["location"])
    assert shown.json()["name"] == text
    assert shown.headers["content-type"] == "application/json"
    assert shown.headers["x-content-type-options"] == "nosniff"


MARKUP = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg/onload=alert(1)>', "'-alert(1)-'",
    "javascript:alert(1)", "</title><script>alert(1)</script>", "{{7*7}}${7*7}<%=7*7%>", "=cmd|' /C calc'!A0",
    "＜script＞alert(1)＜/script＞", '<!--#exec cmd="id"-->', "]]><x xmlns='urn:x'/>", "&lt;b&gt; &amp; &#x3c;",
]  # fmt: skip
UNREADABLE = ["\u202egnp.exe", "a\u2066b", "a\u2029b", "a\nb", "a\tb", "a\x7fb", "a\x1b[2Jb", "a\x85b", "\u200b\u200d", " a", "a\u3000"]  # fmt: skip


async def named(house: House, text: str) -> list[httpx.Response]:
    """A venue, a layout, a show with a booking and a block, all called so; the answers to making them."""
    owner, area = house.owner, {"name": text, "kind": "standing", "capacity": 9}
    venue = await owner.post("/v1/venues", json={"name": text, "timezone": "UTC", "address": "x"})
    show = await owner.post(
        "/v1/shows",
        json={
            "name": text, "start_time": "2030-12-24T20:00:00Z", "areas": [area],
            "tiers": [{"name": text, "area": text, "amount": 1}],
        },
    )  # fmt: skip
    if show.status_code != 201:
        return [venue, show]
    path = f"/v1/shows/{show.json()['id']}"
    return [
        venue,
        show,
        await owner.post(f"/v1/venues/{venue.json()['id']}/layouts", json={"name": text, "areas": [area]}),
        await owner.post(
            f"{path}/bookings", json={"quantity": 1, "customer": {"email": "a@example.org", "name": text}}
        ),
        await owner.post(f"{path}/blocks", json={"area": text, "quantity": 1, "reason": text}),
    ]


@pytest.mark.parametrize("text", MARKUP)
async def test_markup_comes_back_as_text_and_nowhere_as_markup(house: House, text: str) -> None:
    made = await named(house, text)
    assert [answer.status_code for answer in made] == [201] * len(made), [answer.text for answer in made]
    venue, show, layout, booking, block = (answer.json()["id"] for answer in made)
    ids = {"venue_id": venue, "show_id": show, "layout_id": layout, "booking_id": booking, "block_id": block}
    of_these = replace(house, ids={**house.ids, **ids})
    shown = 0
    for route in ENDING:
        if route.method != "GET":
            continue
        answer = await of_these.send(route)
        media = answer.headers.get("content-type", "").partition(";")[0]
        assert answer.headers["x-content-type-options"] == "nosniff", route.path
        if media in {"application/json", "application/problem+json"}:
            shown += text in json.dumps(answer.json(), ensure_ascii=False).replace('\\"', '"')
        elif media == "text/csv":
            assert answer.headers["content-disposition"].startswith("attachment; ")
            shown += text.strip("=") in answer.text.replace('""', '"')
        else:
            assert media in {"text/plain", "text/html", "text/css", "image/webp", ""}, route.path
            assert text not in answer.text
    assert shown >= 8, "the names were looked for where they are"
    for path in ("/docs", "/docs.css"):
        page = await house.stranger.get(path)
        assert page.status_code == 200
        assert text not in page.text or text == "javascript:alert(1)"


@pytest.mark.parametrize("text", UNREADABLE)
async def test_what_nobody_can_read_is_no_name(house: House, text: str) -> None:
    venue, show = await named(house, text)
    assert (venue.status_code, show.status_code) == (400, 400)
    path = f"/v1/shows/{house.ids['show_id']}/bookings"
    customer = {"email": "a@example.org", "name": text}
    answer = await house.stranger.post(path, json={"seats": ["40"], "customer": customer})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


async def test_afterwards_everything_is_as_it_was(house: House) -> None:
    """Hundreds of refused requests have changed nothing: the show sells."""
    assert (await house.stranger.get("/readyz")).status_code == 200
    claimed = await house.stranger.post(f"/v1/shows/{house.ids['show_id']}/bookings", json={"seats": ["50"]})
    assert claimed.status_code in {201, 409}
    shown = (await house.stranger.get(f"/v1/shows/{house.ids['show_id']}")).json()
    assert shown["available_seats"] + shown["reserved_seats"] <= shown["total_seats"]
