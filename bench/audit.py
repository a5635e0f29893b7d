"""The check after every run, from outside: what was acknowledged is there, and nothing was sold twice.

It asks the tables alone, in SQL of its own (`audit.sql`). A run whose audit finds anything is no result.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

CASES_SHOWN = 20

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_NOT_CHECKS = frozenset({"bookings_made", "acknowledged_but_not_there"})


def _queries() -> dict[str, str]:
    _, *parts = _HEADING.split(Path(__file__).with_name("audit.sql").read_text("utf-8"))
    return dict(zip(parts[::2], parts[1::2], strict=True))


_QUERIES = _queries()


class NotDurable(Exception):
    """The server may lose what it acknowledged, so its speed says nothing; the message names the setting."""


@dataclass(frozen=True)
class Acknowledged:
    """What callers were told over all runs on some shows.

    `count` claims were answered 201. `unanswered` more were sent and may or may not have been decided. `ids` are those
    answered whose ids the generator kept; wrk keeps none, so its answers are only counted.
    """

    count: int
    unanswered: int = 0
    ids: Sequence[str] = ()

    def __add__(self, other: "Acknowledged") -> "Acknowledged":
        return Acknowledged(
            self.count + other.count, self.unanswered + other.unanswered, (*self.ids, *other.ids)
        )


async def require_durable(url: str) -> dict[str, str]:
    """The settings that make a commit durable, read from the server. Raises NotDurable when one is off."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "select name, setting from pg_settings where name in ('fsync', 'synchronous_commit', 'full_page_writes')"
        )
    finally:
        await connection.close()
    settings = {row["name"]: row["setting"] for row in rows}
    off = sorted(name for name, setting in settings.items() if setting == "off")
    if off or len(settings) < 3:
        raise NotDurable(
            f"{', '.join(off)} is off: such a server answers before anything is on the disk, and its speed is not that of "
            "commits that survive a crash."
        )
    return settings


async def audit(url: str, shows: Sequence[str], told: Acknowledged) -> list[str]:
    """Everything that is wrong with these shows; an empty list is a clean bill."""
    ids = [UUID(show) for show in shows]
    connection = await asyncpg.connect(url)
    try:
        # One snapshot: the sweeper may be at work.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = [
                f"{name.replace('_', ' ')}: {row[0]}"
                for name, query in _QUERIES.items()
                if name not in _NOT_CHECKS
                for row in (await connection.fetch(query, ids))[:CASES_SHOWN]
            ]
            made = await connection.fetchval(_QUERIES["bookings_made"], ids)
            lost = await connection.fetch(
                _QUERIES["acknowledged_but_not_there"], ids, [UUID(each) for each in told.ids]
            )
    finally:
        await connection.close()
    found += [f"acknowledged but not there: {row['id']}" for row in lost]
    if len(set(told.ids)) != len(told.ids):
        found.append("two claims were answered with one booking")
    if not told.count <= made <= told.count + told.unanswered:
        unsure = f" and {told.unanswered} not answered" if told.unanswered else ""
        found.append(f"{told.count} claims acknowledged{unsure}, {made} bookings there")
    return found
