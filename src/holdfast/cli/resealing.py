"""`holdfast reseal`: everything sealed or looked up under an old secret, once more under the first one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

from holdfast import accounts, booking, webhooks
from holdfast.platform import mail
from holdfast.platform.db import Database, Transaction
from holdfast.platform.secret import Resealed, Secrets

PIECE = 200
_FIRST = UUID(int=0)

# Every column that is sealed, by what people call it: seals some rows behind an id, and says the last of them. What is
# missing here would be lost with the old secret; a test looks for columns named `sealed`.
SEALED: dict[str, Callable[[Transaction, Secrets, Any, int], Awaitable[Resealed]]] = {
    "letters": mail.reseal_some,
    "customers": accounts.reseal_customers,
    "second factors": accounts.reseal_second_factors,
    "secrets of webhooks": webhooks.reseal_some,
}


async def reseal(db: Database, secrets: Secrets) -> AsyncIterator[str]:
    """Seals everything again, in short pieces, and says what it has done. Begun again, it does no harm."""
    for name, some in SEALED.items():
        after: UUID | None = _FIRST
        unreadable = 0
        while after is not None:
            async with db.transaction() as tx:
                after, more = await some(tx, secrets, after, PIECE)
            unreadable += more
        left = f", but for {unreadable} that no secret held can read" if unreadable else ""
        yield f"{name}: sealed under the first secret{left}"
    yield f"bookings: {await booking.make_digests_anew(db, secrets)} found by it from now on"
