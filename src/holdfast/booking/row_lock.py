"""The strategy `row_lock`: SELECT ... FOR UPDATE, then check, then write, as the seeds describe it.

BEGIN; the show's row and its areas are locked in order; the claim is checked and written; COMMIT. Whoever comes next
waits for the whole of it, the commit's flush to disk included.
"""

from holdfast.booking.stepwise import Head, Stepwise
from holdfast.platform.db import Transaction, load_queries
from holdfast.platform.ids import ShowId

sql = load_queries(__file__)


class RowLock(Stepwise):
    """Claims on a show wait for one another at its row."""

    look_at_head = sql.head_locked
    look_at_stock = sql.stock_locked

    async def own(self, tx: Transaction, show_id: ShowId, head: Head) -> None:
        """Since the look: it locked."""
