"""Notices of providers: each takes effect once, however often it comes."""

from uuid import UUID

from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.ids import ShowId

sql = load_queries(__file__)

# Providers send for some days; what comes later finds the payment where it is, and changes nothing either.
EVENTS_DAYS = 90


async def note_event(
    tx: Transaction, show_id: ShowId, provider: str, event_id: str, payment_id: UUID | None, kind: str
) -> bool:
    """Notes, in the transaction of its effect, that a notice takes effect; False when it has already."""
    return await tx.value(sql.add_event, show_id, provider, event_id, payment_id, kind) is not None


async def prune_events(db: Database) -> int:
    """Forgets notices older than EVENTS_DAYS, in short pieces; how many. Raises Busy."""
    total = 0
    while pruned := await db.execute(sql.prune_events, EVENTS_DAYS):
        total += pruned
    return total
