"""The sweep: holds whose time has passed become FAILED and their places free. Any number of processes may sweep."""

from holdfast.booking.office import Office
from holdfast.booking.view import Change
from holdfast.platform import telemetry
from holdfast.platform.db import Query, load_queries
from holdfast.platform.errors import Busy
from holdfast.platform.ids import ShowId, new_id

sql = load_queries(__file__)
log = telemetry.log("sweep")

_expired = telemetry.BOOKINGS_ENDED.labels("expired")


async def sweep(office: Office) -> int:
    """Fails every overdue hold there is, at most `sweep_max` per show and transaction; how many it failed.

    A show that cannot be swept is logged and holds up no other. Raises Busy when the database is away.
    """
    failed = 0
    for row in await office.db.rows(sql.shows_overdue):
        try:
            while swept := await _sweep_some(office, row["show_id"]):
                failed += swept
                if swept < office.settings.sweep_max:
                    break
        except Busy:
            raise
        except Exception:
            log.exception("sweep failed", show_id=str(row["show_id"]))
    if failed:
        _expired.inc(failed)
        log.info("holds expired", bookings=failed)
    return failed


async def _sweep_some(office: Office, show_id: ShowId) -> int:
    row = await office.db.row(sql.sweep_show, show_id, office.settings.sweep_max, new_id())
    assert row is not None
    if row["failed"]:
        office.ends.add(show_id, "expired", len(row["failed"]))
        office.views.changed(show_id, Change(row["at_revision"], (), row["freed"], row["left_over"]))
    return len(row["failed"])


async def prune_keys(office: Office) -> int:
    """Forgets idempotency keys older than `idempotency_hours`, in short pieces; how many."""
    return await _prune(office, sql.prune_keys)


async def prune_queue(office: Office) -> int:
    """Forgets queued claims that came to nothing `idempotency_hours` ago, in short pieces; how many."""
    return await _prune(office, sql.prune_queue)


async def _prune(office: Office, query: Query) -> int:
    total = 0
    while pruned := await office.db.execute(query, office.settings.idempotency_hours):
        total += pruned
    return total
