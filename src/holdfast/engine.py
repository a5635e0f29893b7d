"""The headless engine: opens the parts of the platform, joins the domains to them, and runs the work in the background.

Knows no HTTP. `open_engine` is what an API process, a worker and a test begin with.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from holdfast import accounts, analytics, booking, invoices, notifications, payments, webhooks
from holdfast.accounts import Access, Keys, Oidc, Reception, Sessions, opened_oidc
from holdfast.booking import Cashier, Office
from holdfast.live import Hub
from holdfast.platform import broker, jobs, mail, once, outbox
from holdfast.platform.broadcast import Broadcast
from holdfast.platform.cache import Cache
from holdfast.platform.challenge import Challenger, open_challenger
from holdfast.platform.db import APP, Database, open_database
from holdfast.platform.ids import BookingId, ShowId
from holdfast.platform.jobs import Worker
from holdfast.platform.languages import language
from holdfast.platform.limits import Limits
from holdfast.platform.mail import Mailer
from holdfast.platform.outbox import Followers, Relay
from holdfast.platform.periodic import Periodic
from holdfast.platform.pictures import Pictures
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import BadSetting, Settings
from holdfast.tickets import Coded, Codes, Printer

GAUGES_SECONDS = 5.0
BLOCKS_SECONDS = 5.0
PRUNE_SECONDS = 300.0
REMIND_SECONDS = 60.0
# A show falls due by the day.
FORGET_SECONDS = 3600.0
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
    limits: Limits
    access: Access
    keys: Keys
    sessions: Sessions
    reception: Reception
    oidc: Oidc
    office: Office
    challenger: Challenger | None
    hub: Hub
    mailer: Mailer
    pictures: Pictures
    codes: Codes
    printer: Printer
    invoice_printer: invoices.Printer
    providers: Mapping[str, payments.Provider]
    cashier: Cashier

    def booking_secret(self, show_id: ShowId, booking_id: BookingId) -> str:
        """The buyer's right to a booking. It is never stored, so a replay of the claim can give it again."""
        return self.secrets.sign("booking", show_id.bytes, booking_id.bytes)

    def is_booking_secret(self, text: str | None, show_id: ShowId, booking_id: BookingId) -> bool:
        """Whether the text is the secret of this booking; compared in constant time."""
        return text is not None and self.secrets.verify("booking", text, show_id.bytes, booking_id.bytes)

    def ticket_secret(self, coded: Coded) -> str:
        """The right to one ticket of whoever it was given to; the next transfer ends it."""
        return self.secrets.sign("ticket", *_parts(coded))

    def is_ticket_secret(self, text: str, coded: Coded) -> bool:
        """Whether the text is the secret of this ticket with this very serial; compared in constant time."""
        return self.secrets.verify("ticket", text, *_parts(coded))


@asynccontextmanager
async def open_engine(settings: Settings) -> AsyncIterator[Engine]:
    """The engine on `settings.database_url`, closed at the end of the block.

    Raises BadSetting without a secret key, and Busy when the database does not answer.
    """
    if settings.secret_key is None:
        raise BadSetting("HOLDFAST_SECRET_KEY is not set. `holdfast up` makes one; here it is yours to give.")
    secrets = Secrets(settings.secret_key)
    async with AsyncExitStack() as stack:
        limits = Limits(settings, secrets)
        stack.push_async_callback(limits.close)
        challenger = open_challenger(settings, secrets)
        if challenger is not None:
            stack.push_async_callback(challenger.close)
        db = await open_database(settings, APP)
        stack.push_async_callback(db.close)
        broadcast = Broadcast(db)
        broadcast.start()
        stack.push_async_callback(broadcast.stop)
        access = Access(secrets, token_seconds=settings.token_seconds)
        stack.callback(access.close)
        keys = Keys(db, Cache(broadcast, entries_max=accounts.KEYS_KNOWN_MAX), limits)
        access.keys = await stack.enter_async_context(keys)
        suspended = Periodic(
            "see who is suspended",
            accounts.SUSPENDED_SECONDS,
            lambda: accounts.look_for_suspended(db, access),
        )
        suspended.start()
        stack.push_async_callback(suspended.stop)
        stack.callback(broadcast.subscribe(accounts.SUSPENDED_TOPIC, lambda _: suspended.wake()))
        access.sessions = sessions = Sessions(db, settings, access.tokens)
        ended = Periodic("see which sessions ended", accounts.ENDED_SECONDS, sessions.look)
        ended.start()
        stack.push_async_callback(ended.stop)
        stack.callback(broadcast.subscribe(accounts.ENDED_TOPIC, lambda _: ended.wake()))
        reception = Reception(db, settings, secrets, access, limits)
        oidc = await stack.enter_async_context(opened_oidc(settings, secrets))
        cache = Cache(broadcast)
        office = await stack.enter_async_context(Office(db, broadcast, cache, settings, secrets))
        ends = analytics.Ends(office)
        stack.push_async_callback(ends.close)
        keeping = Periodic("count ends", analytics.ENDS_SECONDS, ends.keep)
        keeping.start()
        stack.push_async_callback(keeping.stop)
        codes = Codes(secrets)
        printer = Printer(settings.fonts)
        stack.callback(printer.close)
        invoice_printer = invoices.Printer(settings.fonts)
        stack.callback(invoice_printer.close)
        hub = Hub(office.views, settings.live_viewers_max, settings.connections_per_address_max)
        stack.callback(hub.close)
        pictures = Pictures()
        stack.callback(pictures.close)
        providers = payments.open_providers(settings, db, secrets)
        for provider in providers.values():
            stack.push_async_callback(provider.aclose)
        yield Engine(
            settings, db, broadcast, cache, secrets, limits, access, keys, sessions, reception, oidc, office, challenger, hub,
            Mailer(settings, secrets, notifications.makers(office, printer, codes)), pictures, codes, printer, invoice_printer,
            providers, Cashier(office, providers),
        )  # fmt: skip


async def work(engine: Engine, stopping: asyncio.Event) -> None:
    """Decides queued claims, sweeps, hands facts on and runs jobs until `stopping` is set.

    Any number of processes may do so at once.
    """
    followers = Followers()
    teller = notifications.follow(followers, engine.office, engine)
    analytics.follow(followers)
    invoices.follow(followers, engine.office)
    sending = webhooks.Sending(engine.db, engine.settings, engine.secrets, engine.broadcast)
    sending.follow(followers)
    publisher = broker.Broker(engine.settings) if engine.settings.broker_url else None
    handlers: Mapping[str, jobs.Handler] = {
        booking.END_BOOKINGS: partial(booking.end_all, engine.office),
        booking.END_BOOKING: partial(booking.end_one, engine.office),
        booking.FIND: booking.Finder(
            engine.secrets, engine, engine.settings.address, language(engine.settings.language)
        ).send_links,
        booking.ERASE: partial(booking.erase, engine.secrets),
        booking.RESEND: teller.sent_again,
        booking.TEXT: notifications.Texter(teller, notifications.gateway_of(engine.settings)).send,
        notifications.ROUND: partial(notifications.go_round, teller),
        mail.SEND: engine.mailer.send,
        mail.SEND_ENCLOSED: engine.mailer.send,
        accounts.FORGOTTEN: accounts.answer_forgotten(engine.secrets, engine.settings.address),
        payments.WATCH: engine.cashier.watch,
        payments.REFUND: booking.Refunder(engine.office, engine.providers).carry_out,
        **payments.sandbox_handlers(engine.providers),
        **followers.handlers(),
        **(publisher.follow(followers) if publisher else {}),
    }
    worker = Worker(engine.db, engine.settings, handlers, broadcast=engine.broadcast, elsewhere=sending.kinds)
    relay = Periodic("hand on facts", 1.0, Relay(engine.db, followers).hand_on)
    queue = Periodic("decide queued claims", QUEUE_SECONDS, lambda: booking.decide_queued(engine.office))
    duties = [
        relay,
        queue,
        Periodic("sweep", engine.settings.sweep_seconds, lambda: booking.sweep(engine.office)),
        Periodic("release blocks", BLOCKS_SECONDS, lambda: booking.release_due(engine.office)),
        Periodic("measure", GAUGES_SECONDS, lambda: jobs.measure(engine.db)),
        Periodic("measure refunds", GAUGES_SECONDS, lambda: payments.measure_refunds(engine.db)),
        Periodic("measure queues", GAUGES_SECONDS, lambda: booking.measure_queue(engine.db)),
        Periodic(
            "remind buyers", REMIND_SECONDS, lambda: notifications.remind_due(engine.db, engine.settings)
        ),
        *_forgetting(engine),
    ]
    if publisher:
        duties.append(Periodic("measure the broker", GAUGES_SECONDS, lambda: broker.measure(engine.db)))
    hints = [
        engine.broadcast.subscribe(outbox.TOPIC, lambda _: relay.wake()),
        engine.broadcast.subscribe(booking.QUEUE_TOPIC, lambda _: queue.wake()),
    ]
    running = asyncio.create_task(worker.run(), name="jobs")
    sending.start(elsewhere=handlers)
    for duty in duties:
        duty.start()
    try:
        await stopping.wait()
    finally:
        for hint in hints:
            hint()
        await asyncio.gather(*(duty.stop() for duty in duties), worker.stop(), sending.stop())
        await running
        if publisher:
            await publisher.close()


def _forgetting(engine: Engine) -> list[Periodic]:
    """The duties that keep tables from growing for ever."""
    return [
        Periodic("forget keys", PRUNE_SECONDS, lambda: booking.prune_keys(engine.office)),
        Periodic("forget queued claims", PRUNE_SECONDS, lambda: booking.prune_queue(engine.office)),
        Periodic("forget answers", PRUNE_SECONDS, lambda: once.prune(engine.db, engine.settings)),
        Periodic("forget sessions", PRUNE_SECONDS, lambda: accounts.prune_people(engine.db, engine.settings)),
        Periodic("forget API keys", PRUNE_SECONDS, lambda: accounts.prune_keys(engine.db)),
        Periodic("forget links", PRUNE_SECONDS, lambda: accounts.prune_links(engine.db)),
        Periodic("forget buyers", FORGET_SECONDS, lambda: booking.forget_due(engine.office)),
        Periodic("forget notices", PRUNE_SECONDS, lambda: notifications.forget_notices(engine.db)),
        Periodic("forget events", PRUNE_SECONDS, lambda: payments.prune_events(engine.db)),
        Periodic("forget letters", PRUNE_SECONDS, lambda: mail.forget_old(engine.db)),
    ]


def _parts(coded: Coded) -> tuple[bytes, ...]:
    return (coded.show_id.bytes, coded.booking_id.bytes, b"%d" % coded.number, b"%d" % coded.serial)
