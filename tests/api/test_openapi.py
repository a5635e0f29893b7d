"""The OpenAPI document is sound, and the server keeps to it: what schemathesis makes of it finds nothing."""

import asyncio
import shutil
from collections.abc import Iterator
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, GenerationMode, HookContext
from schemathesis.checks import (
    content_type_conformance,
    negative_data_rejection,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from holdfast import accounts
from holdfast.app import ROUTES, api_document
from holdfast.platform.db import open_database
from holdfast.platform.embedded import Server
from holdfast.platform.http import Route
from holdfast.platform.settings import Settings
from tests.cli.running import Running, environment, free_port, new_folder
from tests.conftest import OWNER, SECRET, TEMPLATE, _execute, _url

EXAMPLES = 8
# A valid body is not always a possible wish: 39.0 is an integer for JSON Schema, but not here.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]

ALL = [route for routes in ROUTES for route in routes.all]
document = api_document()
schema = schemathesis.openapi.from_dict(document)
schema.config.generation.update(
    modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE],
    deterministic=True,
    with_security_parameters=False,
)
# A stream never ends.
ending = schema.exclude(operation_id="watch_availability")
_known: dict[str, str] = {}
_turns = count()


def references(part: Any) -> Iterator[str]:
    """Every `$ref` within."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_document_is_openapi_3_1() -> None:
    assert document["openapi"] == "3.1.0"
    assert {"title", "version", "description"} <= document["info"].keys()
    for reference in references(document):
        at: Any = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part.replace("~1", "/").replace("~0", "~")]
        assert isinstance(at, dict), reference
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    tags = {tag["name"] for tag in document["tags"]}
    for path, method, operation in operations():
        where = f"{method} {path}"
        in_path = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
        assert [f"{{{name}}}" for name in in_path] == [
            part for part in path.split("/") if part.startswith("{")
        ], where
        assert operation["summary"], where
        assert set(operation["tags"]) <= tags, where
        assert any(status.startswith(("2", "3")) for status in operation["responses"]), where
        for status, answer in operation["responses"].items():
            assert answer["description"], where
            assert 200 <= int(status) < 600, where
        for scheme in operation["security"]:
            assert scheme.keys() <= document["components"]["securitySchemes"].keys(), where


def test_every_route_is_described_and_nothing_else() -> None:
    served = {(route.template, route.method.lower()) for route in ALL if route.listed}
    assert {(path, method) for path, method, _ in operations()} == served


@pytest.mark.parametrize(
    "route", [route for route in ALL if route.example is not None], ids=lambda r: r.operation_id
)
def test_every_example_can_be_sent(route: Route) -> None:
    route.read_body(msgspec.json.encode(route.example))


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Running]:
    """A running API whose owner has one of everything, so that some of the generated requests find something."""
    name, folder, port = f"openapi_{uuid4().hex}", new_folder(), free_port()
    url = _url(server.dsn, name)
    asyncio.run(_execute(server.dsn, f"create database {name} template {TEMPLATE} strategy file_copy"))
    asyncio.run(_owner(url))
    environ = environment(HOLDFAST_DATABASE_URL=url, HOLDFAST_SECRET_KEY=SECRET, HOLDFAST_SEED_ROUTES="open")
    with Running("api", "--port", str(port), folder=folder, port=port, environ=environ) as running:
        running.wait_until_ready()
        _known.update(_furnished(running))
        yield running
        assert running.complaints() == []
    asyncio.run(_execute(server.dsn, f"drop database {name} with (force)"))
    shutil.rmtree(folder)


async def _owner(url: str) -> None:
    database = await open_database(Settings(database_url=url))
    async with database.transaction() as tx:
        await accounts.create_owner(tx, organizer_name="House", email=OWNER[0], password=OWNER[1])
    await database.close()


def _furnished(api: Running) -> dict[str, str]:
    """The ids of one of everything, by their names in paths; `token` is the owner's."""
    with httpx.Client(base_url=api.url, timeout=30) as client:
        credentials = {"email": OWNER[0], "password": OWNER[1]}
        token = client.post("/v1/auth/token", json=credentials).json()["access_token"]
        client.headers["authorization"] = f"Bearer {token}"

        def made(path: str, **body: Any) -> str:
            answer = client.post(path, json=body)
            assert answer.status_code == 201, answer.text
            identity: str = answer.json()["id"]
            return identity

        areas = [{"name": "Stalls", "kind": "seated", "rows": [{"label": row, "seats": 20} for row in "AB"]}]
        show = made("/v1/shows", name="Hamlet", start_time="2030-12-24T20:00:00+01:00", areas=areas)
        venue = made("/v1/venues", name="Globe", timezone="Europe/London")
        return {
            "token": token,
            "show_id": show,
            "venue_id": venue,
            "layout_id": made(f"/v1/venues/{venue}/layouts", name="Stage", areas=areas),
            "booking_id": made(f"/v1/shows/{show}/bookings", seats=["A-1"]),
            "block_id": made(f"/v1/shows/{show}/blocks", seats=["A-2"], reason="House seats"),
        }


@schema.hook
def map_path_parameters(
    context: HookContext, path_parameters: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Ids that are well-formed become ids that exist, three times out of four."""
    for name, value in (path_parameters or {}).items():
        try:
            identity = UUID(value)
        except (ValueError, TypeError, AttributeError):
            continue
        if identity.int % 4 and name in _known and path_parameters is not None:
            path_parameters[name] = _known[name]
    return path_parameters


@pytest.mark.slow
@ending.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_server_keeps_to_the_document(api: Running, case: Case[Any]) -> None:
    # Two are the owner's, the third is nobody's.
    headers = {"Authorization": f"Bearer {_known['token']}"} if next(_turns) % 3 else {}
    case.call_and_validate(base_url=api.url, headers=headers, checks=CHECKS, timeout=30)
