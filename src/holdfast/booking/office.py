"""The box office of one process: what the operations of booking share, and what runs beside them."""

from holdfast.booking.claiming import Claimer
from holdfast.booking.view import LOOKS, Views
from holdfast.platform.broadcast import Broadcast
from holdfast.platform.cache import Cache
from holdfast.platform.db import Database
from holdfast.platform.periodic import Periodic
from holdfast.platform.settings import Settings


class Office:
    """The database, the views and the claimer of one process. `async with` starts and stops what runs beside."""

    def __init__(self, db: Database, broadcast: Broadcast, cache: Cache, settings: Settings) -> None:
        self.db = db
        self.cache = cache
        self.settings = settings
        self.views = Views(db, broadcast, settings)
        self.claimer = Claimer(db, self.views, settings)
        self._freshener = Periodic(
            "keep views fresh", settings.availability_seconds / LOOKS, self.views.keep_fresh
        )

    async def __aenter__(self) -> "Office":
        self._freshener.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._freshener.stop()
        await self.claimer.stop()
        self.views.close()
