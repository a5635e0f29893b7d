"""The documents that are generated from the code and checked in, so that they are read, reviewed and never stale."""

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec

from holdfast import accounts, facts
from holdfast.app import ROUTES, api_document
from holdfast.platform import (
    clock,
    edge,  # noqa: F401 -- its refusals stand before every route
    migrate,
    outbound,  # noqa: F401 -- its refusals stand in the list, though no route raises them yet
    outbox,
    settings,
    texts,  # noqa: F401 -- the same
)
from holdfast.platform.db import open_database
from holdfast.platform.embedded import Server
from holdfast.platform.embedded_programs import find_binaries
from holdfast.platform.errors import REFUSALS, Refusal

ROOT = Path(__file__).parents[3]


# Who comes in where: a title, the kinds of callers, and whether a permission is asked of staff.
_OPEN_TO = (
    ("Staff, by permission", {"staff"}, True),
    ("Whoever holds the booking's secret, its customer, or staff by permission", {"buyer"}, True),
    ("Anyone where the setting `seed_routes` is `open`, else staff by permission", {"seed user"}, True),
    ("Any person who has signed in, for themselves; no API key", {"staff"}, False),
    ("Customers who have signed in", {"customer"}, False),
    ("Anyone; who has signed in may see more", {"visitor", "claimant"}, False),
    ("Anyone", {"anyone"}, False),
)


# Of the OpenAPI document: paths, path, method, responses, status.
OUTLINED_LEVELS = 6


@dataclass(frozen=True)
class Document:
    """A generated file, relative to the repository, and what makes its text."""

    path: str
    text: Callable[[], str]


def is_fresh(name: str, *, write: bool) -> bool:
    """Whether the file holds what the code makes; with `write` it then does."""
    document = DOCUMENTS[name]
    path, text = ROOT / document.path, document.text()
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return True
    return path.exists() and path.read_text("utf-8") == text


def _openapi() -> str:
    return _outlined(api_document(), OUTLINED_LEVELS) + "\n"


def _outlined(value: Any, levels: int, indent: str = "") -> str:
    """JSON with a line for each member of the upper levels and the rest on one: a change stays small, and so does the file."""
    if not levels or not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False)
    deeper = indent + " "
    members = [
        f"{deeper}{json.dumps(name, ensure_ascii=False)}: {_outlined(member, levels - 1, deeper)}"
        for name, member in value.items()
    ]
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"


def _errors() -> str:
    api_document()  # Imports every domain, and with them every refusal.
    lines = [
        "# Refusals",
        "",
        "Every refusal is `application/problem+json` (RFC 9457) with a stable `code`. Generated from the code.",
        "",
        "| code | status | title | what it means |",
        "| --- | --- | --- | --- |",
    ]
    for refusal in sorted(set(REFUSALS), key=lambda r: (r.status, r.code)):
        lines.append(f"| `{refusal.code}` | {refusal.status} | {refusal.title} | {_meaning(refusal)} |")
    return "\n".join(lines) + "\n"


def _meaning(refusal: type[Refusal]) -> str:
    own = refusal.__dict__.get("__doc__") or ""
    return " ".join(own.split())


def _permissions() -> str:
    holders = [*get_args(accounts.Role), "admin"]
    lines = [
        "# Permissions",
        "",
        "Who is not named may not. A role holds within its own organizer; an admin looks after the installation. An API key",
        "does what its scopes say, which are permissions that its maker has, of those marked in the last column. Generated",
        "from the code; a test asks every route as every role.",
        "",
        f"| permission | {' | '.join(holders)} | API keys |",
        "| --- " * (len(holders) + 2) + "|",
    ]
    for permission, having in accounts.PERMISSIONS.items():
        marks = ["yes" if holder in having else "" for holder in holders]
        marks.append("yes" if permission in accounts.GRANTABLE else "")
        lines.append(f"| `{permission}` | {' | '.join(marks)} |")
    for title, kinds, by_permission in _OPEN_TO:
        lines += ["", f"## {title}", ""]
        for route in (route for served in ROUTES for route in served.all if route.listed):
            asked = getattr(route.who, "permission", None)
            if route.who.name in kinds and (asked is not None) == by_permission:
                name = f"- `{route.method} {route.template}`"
                lines.append(f"{name}: `{asked}`" if by_permission else name)
    return "\n".join(lines) + "\n"


def _settings() -> str:
    lines = [
        "# Settings",
        "",
        "All settings are environment variables; `holdfast config` prints the effective ones. Generated from the code.",
        "",
        "| variable | default | what it is |",
        "| --- | --- | --- |",
    ]
    for variable, value, description in settings.described(settings.Settings()):
        lines.append(f"| `{variable}` | {f'`{value}`' if value else ''} | {description} |")
    return "\n".join(lines) + "\n"


def _schema() -> str:
    """The tables that the migrations make, as pg_dump tells it; the functions are read where they are written."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(Path(folder) / "data", settings={"fsync": "off"}) as server,
    ):
        asyncio.run(_tables(server.dsn))
        dumped = subprocess.run(
            [
                str(find_binaries(None).folder / "pg_dump"),
                "--schema-only",
                "--no-owner",
                "--no-privileges",
                server.dsn,
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    kept = [
        line for line in dumped.splitlines() if not line.startswith(("--", "SET ", "SELECT pg_catalog", "\\"))
    ]
    text = "\n".join(kept)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return f"-- Every table, for reading. Generated from the migrations beside this file.\n\n{text.strip()}\n"


def _facts() -> str:
    lines = [
        "# Facts",
        "",
        "Everything that is announced: to webhooks, to the feed `GET /v1/facts`, and to a broker where one is set. Each",
        "fact is a [CloudEvent](https://github.com/cloudevents/spec) 1.0 in structured JSON mode. It comes at least once",
        "and in any order: `source` and `id` together make it one, and `version` or `revision` in `data` says which of two",
        "is later. `data` carries ids and amounts, never a name or an address, and may gain fields: ignore what you do not",
        "know. Generated from the code.",
        "",
        "| attribute | what it is |",
        "| --- | --- |",
        "| `specversion` | `1.0` |",
        "| `id` | of this fact; the same when it comes again |",
        "| `source` | the installation that announces: its public address |",
        "| `type` | the kind, one of those below |",
        "| `subject` | what it is about, as the path behind `/v1/` |",
        "| `time` | when it became true, RFC 3339 |",
        "| `datacontenttype` | `application/json` |",
        "| `showid` | the show that it belongs to: an extension, to route and partition by |",
        "| `organizerid` | whose show it is, where `data` says it: an extension |",
        "| `data` | the payload, by the schema of its kind |",
        "",
        *(f"- [`{kind}`](#{kind.replace('.', '')}): {_first_sentence(kind)}" for kind in facts.PAYLOADS),
    ]
    for kind, payload in facts.PAYLOADS.items():
        _, schemas = msgspec.json.schema_components([payload])
        schema = schemas[payload.__name__]
        schema.pop("description")
        event = outbox.cloudevent(
            outbox.Fact(
                facts.EXAMPLE_ID, kind, facts.EXAMPLE_SHOW, clock.rfc3339(facts.EXAMPLE_TIME),
                msgspec.to_builtins(facts.EXAMPLES[kind]),
            ),
            "https://tickets.example.org",
        )  # fmt: skip
        lines += ["", f"## {kind}", "", _meaning_of_fact(payload), "", "```json", _json(event), "```", ""]
        lines += ["The schema of `data`:", "", "```json", _json(schema), "```"]
    return "\n".join(lines) + "\n"


def _meaning_of_fact(payload: type[facts.Payload]) -> str:
    """What its docstring says, and that of what it has in common with its like."""
    said = [each.__doc__ or "" for each in payload.__mro__ if each.__module__ == facts.__name__]
    return " ".join(" ".join(said[:-1]).split())


def _first_sentence(kind: str) -> str:
    said = " ".join((facts.PAYLOADS[kind].__doc__ or "").split())
    return said.partition(". ")[0].rstrip(".")


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


async def _tables(dsn: str) -> None:
    database = await open_database(msgspec.structs.replace(settings.Settings(), database_url=dsn))
    try:
        for step in migrate.steps():
            if not step.repeatable:
                await database.execute(step.text)
    finally:
        await database.close()


DOCUMENTS = {
    "openapi": Document("docs/api/openapi.json", _openapi),
    "errors": Document("docs/api/errors.md", _errors),
    "facts": Document("docs/api/facts.md", _facts),
    "permissions": Document("docs/api/permissions.md", _permissions),
    "settings": Document("docs/operate/settings.md", _settings),
    "schema": Document("src/holdfast/migrations/schema.sql", _schema),
}
