"""Every named query prepares against the migrated schema: its tables, columns, functions and types are there."""

import re
from pathlib import Path

import asyncpg
import pytest

from tests.architecture.tree import SQL, name_of

pytestmark = pytest.mark.anyio

_HEADING = re.compile(r"^-- name: (\S+)$", re.MULTILINE)
FILES = [path for path in SQL if _HEADING.search(path.read_text(encoding="utf-8"))]


async def refused(connection: "asyncpg.Connection[asyncpg.Record]", text: str) -> list[str]:
    """`name: what PostgreSQL says` for each query of the text that does not prepare."""
    found = []
    _, *parts = _HEADING.split(text)
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        try:
            await connection.prepare(body.strip().rstrip(";"))
        except asyncpg.PostgresError as error:
            found.append(f"{name}: {error}")
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
async def test_every_query_prepares(path: Path, database_url: str) -> None:
    text = path.read_text(encoding="utf-8")  # noqa: ASYNC240 -- a small file, and nobody else is waiting
    connection = await asyncpg.connect(database_url)
    try:
        assert await refused(connection, text) == []
    finally:
        await connection.close()


async def test_control_a_query_that_does_not_prepare_is_found(database_url: str) -> None:
    text = "-- name: good\nselect 1;\n-- name: bad\nselect no_such_column from shows;\n"
    connection = await asyncpg.connect(database_url)
    try:
        (found,) = await refused(connection, text)
    finally:
        await connection.close()
    assert found.startswith("bad: column ")
