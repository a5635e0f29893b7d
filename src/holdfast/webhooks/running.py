"""What a process does for webhooks and the feed: a worker of its own that sends, and duties that come round."""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from holdfast.platform import jobs
from holdfast.platform.broadcast import Broadcast
from holdfast.platform.db import Database
from holdfast.platform.jobs import Worker
from holdfast.platform.outbox import Followers
from holdfast.platform.periodic import Periodic
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import Settings
from holdfast.webhooks import feed
from holdfast.webhooks.delivering import AT_ONCE, DELIVER, Deliverer, forget_log
from holdfast.webhooks.replaying import REPLAY, replay_span
from holdfast.webhooks.taking import ASKED_TOPIC, Taker, follow

# Facts that wait for their positions are hinted at; this is for hints that were lost.
NUMBER_SECONDS = 1.0
ASKED_SECONDS = 5.0
FORGET_SECONDS = 300.0


class Sending:
    """The webhooks of one process. `kinds` are the jobs that its own worker does."""

    kinds = (DELIVER, REPLAY)

    def __init__(self, db: Database, settings: Settings, secrets: Secrets, broadcast: Broadcast) -> None:
        self._db = db
        self._settings = settings
        self._broadcast = broadcast
        self._taker = Taker(db)
        self._deliverer = Deliverer(settings, secrets)
        self._duties: list[Periodic] = []
        self._hints: list[Callable[[], None]] = []
        self._worker: Worker | None = None
        self._running: asyncio.Task[None] | None = None

    def follow(self, followers: Followers) -> None:
        """Lets every fact come here."""
        follow(followers, self._taker)

    def start(self, *, elsewhere: Iterable[str]) -> None:
        """Begins; the kinds `elsewhere` are known to be done by another worker."""
        handlers: dict[str, jobs.Handler] = {DELIVER: self._deliverer.deliver, REPLAY: replay_span}
        # A kind gets half of the places of its worker.
        settings = msgspec.structs.replace(self._settings, jobs_at_once=2 * AT_ONCE)
        self._worker = Worker(self._db, settings, handlers, broadcast=self._broadcast, elsewhere=elsewhere)
        self._running = asyncio.create_task(self._worker.run(), name="webhooks")
        number = Periodic("number facts", NUMBER_SECONDS, lambda: feed.number(self._db))
        asked = Periodic("see which facts are asked for", ASKED_SECONDS, self._taker.look)
        self._duties = [
            number,
            asked,
            Periodic("forget facts", FORGET_SECONDS, lambda: feed.forget_old(self._db)),
            Periodic("forget deliveries", FORGET_SECONDS, lambda: forget_log(self._db)),
        ]
        self._hints = [
            self._broadcast.subscribe(feed.NUMBER_TOPIC, lambda _: number.wake()),
            self._broadcast.subscribe(ASKED_TOPIC, lambda _: asked.wake()),
        ]
        for duty in self._duties:
            duty.start()

    async def stop(self) -> None:
        """Ends as workers and duties do, and closes what was opened."""
        for unsubscribe in self._hints:
            unsubscribe()
        if self._worker is not None and self._running is not None:
            await asyncio.gather(*(duty.stop() for duty in self._duties), self._worker.stop())
            await self._running
        await self._deliverer.close()
