"""The headless engine: opens the parts of the platform, joins the domains to them, and runs the work in the background.

Knows no HTTP. `open_engine` is what an API process, a worker and a test begin with.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from holdfast import booking
from holdfast.accounts import Access
from holdfast.booking import Office
from holdfast.live import Hub
from holdfast.platform import jobs, once, outbox
from holdfast.platform.broadcast import Broadcast
from holdfast.platform.cache import Cache
from holdfast.platform.db import APP, Database, open_database
from holdfast.platform.ids import BookingId, ShowId
from holdfast.platform.jobs import Job, Worker
from holdfast.platform.outbox import Followers, Relay
from holdfast.platform.periodic import Periodic
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import BadSetting, Settings

GAUGES_SECONDS = 5.0
BLOCKS_SECONDS = 5.0
PRUNE_SECONDS = 300.0
# A claim that is queued is hinted at, and decided at once; this is for hints that were lost.
QUEUE_SECONDS = 1.0


@dataclass(frozen=True)
class Engine:
    """The parts of one process, opened together."""

    settings: Settings
    db: Database
    broadcast: Broadcast
    cache: Cache
    secrets: Secrets
    access: Access
    office: Office
    hub: Hub

    def booking_secret(self, show_id: ShowId, booking_id: BookingId) -> str:
        """The buyer's right to a booking. It is never stored, so a replay of the claim can give it again."""
        return self.secrets.sign("booking", show_id.bytes, booking_id.bytes)

    def is_booking_secret(self, text: str | None, show_id: ShowId, booking_id: BookingId) -> bool:
        """Whether the text is the secret of this booking; compared in constant time."""
        return text is not None and self.secrets.verify("booking", text, show_id.bytes, booking_id.bytes)


@asynccontextmanager
async def open_engine(settings: Settings) -> AsyncIterator[Engine]:
    """The engine on `settings.database_url`, closed at the end of the block.

    Raises BadSetting without a secret key, and Busy when the database does not answer.
    """
    if settings.secret_key is None:
        raise BadSetting("HOLDFAST_SECRET_KEY is not set. `holdfast up` makes one; here it is yours to give.")
    secrets = Secrets(settings.secret_key)
    async with AsyncExitStack() as stack:
        db = await open_database(settings, APP)
        stack.push_async_callback(db.close)
        broadcast = Broadcast(db)
        broadcast.start()
        stack.push_async_callback(broadcast.stop)
        access = Access(secrets, token_seconds=settings.token_seconds)
        stack.callback(access.close)
        cache = Cache(broadcast)
        office = await stack.enter_async_context(Office(db, broadcast, cache, settings))
        hub = Hub(office.views, settings.live_viewers_max)
        stack.callback(hub.close)
        yield Engine(settings, db, broadcast, cache, secrets, access, office, hub)


async def work(engine: Engine, stopping: asyncio.Event) -> None:
    """Decides queued claims, sweeps, hands facts on and runs jobs until `stopping` is set.

    Any number of processes may do so at once.
    """
    followers = Followers()
    handlers: Mapping[str, jobs.Handler] = {
        booking.END_BOOKINGS: _end_bookings(engine),
        **followers.handlers(),
    }
    worker = Worker(engine.db, engine.settings, handlers, broadcast=engine.broadcast)
    relay = Periodic("hand on facts", 1.0, Relay(engine.db, followers).hand_on)
    queue = Periodic("decide queued claims", QUEUE_SECONDS, lambda: booking.decide_queued(engine.office))
    duties = [
        relay,
        queue,
        Periodic("sweep", engine.settings.sweep_seconds, lambda: booking.sweep(engine.office)),
        Periodic("release blocks", BLOCKS_SECONDS, lambda: booking.release_due(engine.office)),
        Periodic("measure", GAUGES_SECONDS, lambda: jobs.measure(engine.db)),
        Periodic("measure queues", GAUGES_SECONDS, lambda: booking.measure_queue(engine.db)),
        Periodic("forget keys", PRUNE_SECONDS, lambda: booking.prune_keys(engine.office)),
        Periodic("forget queued claims", PRUNE_SECONDS, lambda: booking.prune_queue(engine.office)),
        Periodic("forget answers", PRUNE_SECONDS, lambda: once.prune(engine.db, engine.settings)),
    ]
    hints = [
        engine.broadcast.subscribe(outbox.TOPIC, lambda _: relay.wake()),
        engine.broadcast.subscribe(booking.QUEUE_TOPIC, lambda _: queue.wake()),
    ]
    running = asyncio.create_task(worker.run(), name="jobs")
    for duty in duties:
        duty.start()
    try:
        await stopping.wait()
    finally:
        for hint in hints:
            hint()
        await asyncio.gather(*(duty.stop() for duty in duties), worker.stop())
        await running


def _end_bookings(engine: Engine) -> jobs.Handler:
    """Ends the bookings of a cancelled show; done again, when it dies on the way, it finds those that are left."""

    async def handle(job: Job, _db: Database) -> None:
        await booking.end_all(engine.office, ShowId(UUID(job.payload["show_id"])))

    return handle
