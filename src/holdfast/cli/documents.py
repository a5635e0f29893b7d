"""The documents that are generated from the code and checked in, so that they are read, reviewed and never stale."""

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec

from holdfast import accounts
from holdfast.app import ROUTES, api_document
from holdfast.platform import (
    edge,  # noqa: F401 -- its refusals stand before every route
    migrate,
    outbound,  # noqa: F401 -- its refusals stand in the list, though no route raises them yet
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
    return json.dumps(api_document(), indent=1, ensure_ascii=False) + "\n"


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
    "permissions": Document("docs/api/permissions.md", _permissions),
    "settings": Document("docs/operate/settings.md", _settings),
    "schema": Document("src/holdfast/migrations/schema.sql", _schema),
}
