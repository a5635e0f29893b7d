"""The box office of one process: what the operations of booking share, and what runs beside them."""

from collections.abc import Callable
from typing import Self

from holdfast.booking.claiming import Claimer, Strategy
from holdfast.booking.ends import Ends
from holdfast.booking.optimistic import Optimistic
from holdfast.booking.row_lock import RowLock
from holdfast.booking.view import LOOKS, Views
from holdfast.platform.broadcast import Broadcast
from holdfast.platform.cache import Cache
from holdfast.platform.db import Database
from holdfast.platform.periodic import Periodic
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import Settings


def _redis_lock(db: Database, views: Views, settings: Settings) -> Strategy:
    # Imported when it is chosen, because Redis' client takes longer to import than all the rest.
    from holdfast.booking.redis_lock import RedisLock

    return RedisLock(db, views, settings)


STRATEGIES: dict[str, Callable[[Database, Views, Settings], Strategy]] = {
    "batched": Claimer,
    "row_lock": RowLock,
    "optimistic": Optimistic,
    "redis_lock": _redis_lock,
}


class Office:
    """The database, the views and the claimer of one process. `async with` starts and stops what runs beside."""

    def __init__(
        self, db: Database, broadcast: Broadcast, cache: Cache, settings: Settings, secrets: Secrets
    ) -> None:
        self.db = db
        self.cache = cache
        self.settings = settings
        self.secrets = secrets
        self.ends = Ends()
        self.views = Views(db, broadcast, settings)
        self.claimer = STRATEGIES[settings.strategy](db, self.views, settings)
        self._freshener = Periodic(
            "keep views fresh", settings.availability_seconds / LOOKS, self.views.keep_fresh
        )

    async def __aenter__(self) -> Self:
        self._freshener.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._freshener.stop()
        await self.claimer.stop()
        self.views.close()
