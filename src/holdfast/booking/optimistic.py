"""The strategy `optimistic`: look without a lock, write only if nothing has changed since, else try again.

`show_heads.revision` is the version of what is left, and `terms` that of how it is sold: every change of a show counts
one of them up, so a head that still has the two that were seen is one to which nothing has happened. Tries are bounded
and pause with jitter.
"""

from holdfast.booking.stepwise import Head, Outpaced, Stepwise
from holdfast.platform.db import Transaction, load_queries
from holdfast.platform.ids import ShowId

sql = load_queries(__file__)


class Optimistic(Stepwise):
    """Claims on a show race, and the losers try again."""

    look_at_head = sql.head_seen
    look_at_stock = sql.stock_seen
    tries_max = 40

    async def own(self, tx: Transaction, show_id: ShowId, head: Head) -> None:
        """Takes the head if it still has the revision and the terms that were seen."""
        if await tx.row(sql.head_unchanged, show_id, head.revision, head.terms) is None:
            raise Outpaced
