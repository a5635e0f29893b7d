"""What is found by a digest of an address, found by one under the first secret."""

from uuid import UUID

from holdfast.booking.mailbox import buyer_digest
from holdfast.platform.db import Database, load_queries
from holdfast.platform.ids import ShowId
from holdfast.platform.secret import Secrets

SHOWS_AT_ONCE = 100
PIECE = 500
_FIRST = UUID(int=0)

sql = load_queries(__file__, "privacy.sql")
heads = load_queries(__file__)


async def make_digests_anew(db: Database, secrets: Secrets) -> int:
    """Gives each booking the digest of its buyer under the first secret, in short pieces; how many had another.

    What a buyer has of a show moves along in the same transaction, so that no limit begins afresh.
    """
    changed, after = 0, _FIRST
    while rows := await db.rows(sql.shows_to_search, None, after, SHOWS_AT_ONCE):
        for row in rows:
            changed += await _in_show(db, secrets, row["show_id"])
        after = rows[-1]["show_id"]
    return changed


async def _in_show(db: Database, secrets: Secrets, show_id: ShowId) -> int:
    changed, after = 0, _FIRST
    while rows := await db.rows(sql.addresses_after, show_id, after, PIECE):
        anew = [(row["booking_id"], row["buyer"], buyer_digest(secrets, row["email"])) for row in rows]
        stale = [each for each in anew if each[1] != each[2]]
        if stale:
            ids, was, now = (list(column) for column in zip(*stale, strict=True))
            moved = {old: new for old, new in zip(was, now, strict=True) if old is not None}
            async with db.transaction() as tx:
                await tx.row(heads.lock_head, show_id)
                changed += await tx.execute(sql.digests_made_anew, show_id, ids, was, now)
                await tx.execute(sql.buyers_moved, show_id, list(moved), list(moved.values()))
        after = rows[-1]["booking_id"]
    return changed
