"""The strategy `redis_lock`: a lock in Redis for each seat, in front of the claim in the database, as seed 003 draws it.

`SET show:{show}:seat:{seat} <token> NX PX 30000`; whoever does not get it hears that the seat is taken, and the database
is not asked. It is a filter and no more: with Redis away every claim goes to the database, and whatever Redis says, the
database decides about those that get through, so the worst that a wrong Redis can do is to refuse.
"""

from secrets import token_hex

from holdfast.booking.claiming import Decision, Wish
from holdfast.booking.row_lock import RowLock
from holdfast.booking.view import Views
from holdfast.platform import clock
from holdfast.platform.db import Database, load_queries
from holdfast.platform.redis import Locks
from holdfast.platform.settings import BadSetting, Settings

sql = load_queries(__file__)

LOCK_MILLISECONDS = 30_000


class RedisLock(RowLock):
    """Named seats are locked in Redis first. Places without a number, and seats that the engine chooses, are not."""

    def __init__(self, db: Database, views: Views, settings: Settings) -> None:
        super().__init__(db, views, settings)
        if settings.redis_url is None:
            raise BadSetting("HOLDFAST_STRATEGY=redis_lock needs HOLDFAST_REDIS_URL.")
        self._locks = Locks(settings.redis_url)

    async def decide(self, wish: Wish) -> Decision:
        """The decision on one wish; `seats_taken` at once when another claim has a seat's lock, but for a retry of a success."""
        if wish.area is not None:
            return await super().decide(wish)
        keys = {f"show:{wish.show_id}:seat:{seat}": seat for seat in wish.seats}
        # A retry under the same key has the same token, so that it is not refused because of itself.
        token = wish.key.hex() if wish.key else token_hex(16)
        theirs = await self._locks.take(list(keys), token, LOCK_MILLISECONDS)
        # The retry of a success must hear of it, whoever else wants the seats just now.
        if theirs and (wish.key is None or await self._db.row(sql.key_of, wish.show_id, wish.key) is None):
            return Decision("seats_taken", wish.booking_id, [keys[key] for key in theirs], None, clock.now())
        try:
            return await super().decide(wish)
        finally:
            if theirs == []:
                await self._locks.release(list(keys), token)

    async def stop(self) -> None:
        """Closes the connections to Redis."""
        await self._locks.close()
