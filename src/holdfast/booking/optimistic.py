"""The strategy `optimistic`: look without a lock, write only if nothing has changed since, else try again.

`show_heads.revision` is the version: every change of a show's inventory counts it up, so counting it up from the one
that was seen succeeds only when nothing happened in between. Tries are bounded and pause with jitter.
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
        """Takes the head if it still has the revision that was seen."""
        if await tx.row(sql.head_unchanged, show_id, head.revision) is None:
            raise Outpaced
