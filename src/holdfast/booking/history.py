"""Old bookings in bulk, to try an installation with a past: confirmed ones for standing places of a show that is over."""

from datetime import timedelta

from holdfast import catalog
from holdfast.platform import clock
from holdfast.platform.db import Transaction, load_queries
from holdfast.platform.ids import new_id, new_reference

sql = load_queries(__file__)

PLACES_EACH = 2
_COLUMNS = (
    "show_id", "booking_id", "organizer_id", "reference", "status", "version", "quantity", "areas", "seats", "tiers",
    "amounts", "total", "currency", "email", "name", "created_at", "expires_at", "confirmed_at",
)  # fmt: skip


async def write_history(tx: Transaction, show: catalog.Show, count: int) -> None:
    """Writes `count` confirmed bookings of two places each into the show's first area, which must be a standing one.

    Counts them in the stock as well, whose constraint refuses more than fit. Announces nothing: it is the past.
    """
    sold_at = clock.now() - timedelta(days=30)
    area, tiers = [1] * PLACES_EACH, show.tiers_of(1)
    tier = [tiers[0].tier if tiers else 0] * PLACES_EACH
    amounts = [tiers[0].price.amount if tiers else 0] * PLACES_EACH
    await tx.row(sql.lock_head, show.show_id)
    await tx.execute(sql.add_reserved, show.show_id, 1, count * PLACES_EACH)
    await tx.copy(
        "bookings",
        _COLUMNS,
        (
            (
                show.show_id, new_id(), show.organizer_id, new_reference(), "CONFIRMED", 2, PLACES_EACH, area, [], tier,
                amounts, sum(amounts), show.currency, f"guest{number}@example.org", f"Guest {number}", sold_at, sold_at,
                sold_at,
            )
            for number in range(count)
        ),
    )  # fmt: skip
