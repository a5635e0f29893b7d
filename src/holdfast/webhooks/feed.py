"""The facts of an organizer in one order that never changes, for whoever reads on from where they stopped.

A fact is stored first, and given its position after it was committed, by one numberer at a time for each organizer. So
positions become visible in their order, whatever order the facts were stored in and however long a transaction took.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from holdfast.platform import broadcast
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Refusal
from holdfast.platform.ids import OrganizerId
from holdfast.platform.outbox import Fact

# Hinted on when facts wait for their positions.
NUMBER_TOPIC = "facts.stored"
FACT_DAYS = 30
# What is only sent is kept as long as it may have to be sent again.
SENT_FACT_DAYS = 7
NUMBERED_AT_ONCE = 1000
ORGANIZERS_PER_PAGE = 200
FORGOTTEN_AT_ONCE = 1000
# How many facts one question looks at when it asks for some kinds alone.
LOOKED_AT_MAX = 2000
_BEFORE_ALL = UUID(int=0)

sql = load_queries(__file__, "feed.sql")


class FactsForgotten(Refusal):
    """The feed does not reach back to that cursor any more, or was restored from a copy that is older than it."""

    code = "facts_forgotten"
    status = 410
    title = (
        "Facts behind this cursor are no longer kept. Read what you need anew, then begin without a cursor."
    )


@dataclass(frozen=True, slots=True)
class Page:
    """Facts in their order. `position` is where to read on; `more` says whether there is more to be had at once."""

    facts: list[Fact]
    position: int
    more: bool


async def store(
    tx: Transaction,
    organizer_id: OrganizerId,
    show_id: UUID | None,
    facts: Sequence[Fact],
    *,
    not_in_feed: Collection[str],
) -> set[UUID]:
    """Keeps facts for their organizer; the ids of those that were not kept already. Positions come after the commit.

    Of the kinds `not_in_feed` they get none.
    """
    columns = zip(*((f.id, f.kind, f.time, f.data, f.kind not in not_in_feed) for f in facts), strict=True)
    rows = await tx.rows(sql.facts_stored, organizer_id, show_id, *map(list, columns))
    if any(row["in_feed"] for row in rows):
        tx.after_commit(partial(broadcast.hint, NUMBER_TOPIC))
    return {row["fact_id"] for row in rows}


async def number(db: Database) -> int:
    """Gives every stored fact its position, and says how many. Any number of processes may do so at once. Raises Busy."""
    numbered, after = 0, _BEFORE_ALL
    while rows := await db.rows(sql.organizers_unnumbered, after, ORGANIZERS_PER_PAGE):
        for row in rows:
            while given := await _number_some(db, row["organizer_id"]):
                numbered += given
                if given < NUMBERED_AT_ONCE:
                    break
        after = rows[-1]["organizer_id"]
    return numbered


async def _number_some(db: Database, organizer_id: UUID) -> int:
    async with db.transaction() as tx:
        await tx.execute(sql.feed_made, organizer_id)
        last = await tx.value(sql.feed_held, organizer_id)
        if last is None:
            # Another process is at it. What it does not see, the next round does.
            return 0
        given: int = await tx.value(sql.facts_numbered, organizer_id, last, NUMBERED_AT_ONCE)
        await tx.execute(sql.feed_advanced, organizer_id, given)
    return given


async def read(
    db: Database, organizer_id: OrganizerId, after: int | None, limit: int, kinds: Sequence[str] | None = None
) -> Page:
    """Up to `limit` facts behind the position `after`; from the oldest that is kept when it is None.

    With `kinds` only those, out of the next LOOKED_AT_MAX facts: a page may be empty and still say `more`.
    Raises FactsForgotten, Busy.
    """
    looks_at = limit if kinds is None else max(limit, LOOKED_AT_MAX)
    rows = await db.rows(sql.feed_page, organizer_id, after or 0, looks_at, kinds, limit)
    head, forgotten = rows[0]["head"], rows[0]["forgotten"]
    if after is not None and not forgotten <= after <= head:
        raise FactsForgotten
    found = [row for row in rows if row["position"] is not None]
    # Behind the last that was given; where fewer were found than asked for, behind all that were looked at.
    looked_to = max(rows[0]["looked_to"] or 0, after or 0, forgotten)
    position = found[-1]["position"] if len(found) == limit else looked_to
    return Page([fact_in(row) for row in found], position, position < head)


def fact_in(row: Record) -> Fact:
    """The fact in a row of `facts`."""
    return Fact(row["fact_id"], row["kind"], row["show_id"], row["at"], row["payload"])


async def forget_old(db: Database) -> int:
    """Forgets facts after FACT_DAYS (what was only sent, after SENT_FACT_DAYS), in short pieces; how many. Raises Busy."""
    forgotten = 0
    for in_feed, days in ((True, FACT_DAYS), (False, SENT_FACT_DAYS)):
        while gone := await db.value(sql.facts_forgotten, in_feed, days, FORGOTTEN_AT_ONCE):
            forgotten += gone
    return forgotten
