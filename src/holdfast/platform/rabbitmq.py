"""RabbitMQ as a broker of facts: a topic exchange, and quorum queues with dead letters behind it.

Imported only where a broker is set. The connection is plain, made anew after every failure: what was under way then is
sent again from PostgreSQL, so nothing has to be remembered here.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.connection import make_url
from aio_pika.exceptions import ChannelPreconditionFailed, DeliveryError
from aiormq.abc import DeliveredMessage

from holdfast.platform import telemetry
from holdfast.platform.broker import Message, Sent, Wire
from holdfast.platform.outbox import CLOUDEVENT_MEDIA
from holdfast.platform.settings import Settings

EXCHANGE = "holdfast.facts"
DEAD_EXCHANGE = "holdfast.dead"
# A message that its reader has let go so often becomes a dead letter.
DELIVERIES_MAX = 10
# The oldest leave a queue that nobody reads, so that no reader can hold up the others; they become dead letters first.
QUEUE_LENGTH_MAX = 1_000_000
DEAD_LENGTH_MAX = 100_000
CLOSE_SECONDS = 2.0

log = telemetry.log("rabbitmq")
# It would log every failure to connect as an error, at each try; what became of the facts is said here and in `broker`.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


def open_wire(settings: Settings) -> Wire:
    """A way to the RabbitMQ of the settings; it connects when there is something to send."""
    return RabbitMQ(settings)


class Nacked(Exception):
    """RabbitMQ said that it did not keep a message."""


class RabbitMQ:
    """A Wire. One connection with one channel, whose messages are persistent, mandatory and confirmed."""

    def __init__(self, settings: Settings) -> None:
        assert settings.broker_url
        self._url = settings.broker_url
        self._seconds = settings.broker_seconds
        self._queues = wanted(settings.broker_queues)
        self._open: tuple[AbstractConnection, AbstractExchange] | None = None
        self._nobodys: set[str] = set()
        self._opening = asyncio.Lock()

    async def send(self, messages: Sequence[Message]) -> Sent:
        """Sends messages and waits for their confirmation, at most `broker_seconds`. Never raises.

        What no queue wants counts as confirmed, once the queues that are to be there were seen to be there.
        """
        sent, connection = Sent(), None
        try:
            async with asyncio.timeout(self._seconds):
                connection, exchange = await self._opened()
                tasks = [
                    asyncio.create_task(self._one(connection, exchange, message)) for message in messages
                ]
                try:
                    await asyncio.wait(tasks)
                finally:
                    # A publication given up half way leaves the channel in doubt: it goes with its connection, below.
                    for task in tasks:
                        task.cancel()
                    await asyncio.wait(tasks)
                    for message, task in zip(messages, tasks, strict=True):
                        if not task.cancelled() and task.exception() is None:
                            sent.confirmed.append(message.id)
                        elif not task.cancelled():
                            sent.error = task.exception()
        except Exception as error:
            sent.error = error
        if sent.error is not None and connection is not None:
            await self._drop(connection)
        return sent

    async def _one(
        self, connection: AbstractConnection, exchange: AbstractExchange, message: Message
    ) -> None:
        letter = aio_pika.Message(
            message.body,
            content_type=CLOUDEVENT_MEDIA,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=str(message.id),
            type=message.kind,
            headers={"show_id": message.key},
        )
        try:
            answer = await exchange.publish(letter, routing_key=message.kind, mandatory=True)
            if isinstance(answer, DeliveredMessage) and message.kind not in self._nobodys:
                # Nobody wants it, or somebody's queue was taken away: those of the settings are made again.
                await self._declare_queues(connection)
                answer = await exchange.publish(letter, routing_key=message.kind, mandatory=True)
        except DeliveryError as error:
            raise Nacked(message.kind) from error
        if isinstance(answer, DeliveredMessage):
            if message.kind not in self._nobodys:
                log.warning("no queue wants such facts", kind=message.kind)
            self._nobodys.add(message.kind)
            telemetry.BROKER_UNROUTED.inc()

    async def _opened(self) -> tuple[AbstractConnection, AbstractExchange]:
        async with self._opening:
            if self._open is not None and not self._open[0].is_closed:
                return self._open
            connection = aio_pika.Connection(
                make_url(self._url), client_properties={"connection_name": "holdfast"}
            )
            try:
                await connection.connect(timeout=self._seconds)
                channel = await connection.channel(publisher_confirms=True)
                exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
                await self._declare_queues(connection)
            except BaseException:
                await self._drop(connection)
                raise
            self._nobodys.clear()
            self._open = connection, exchange
            return self._open

    async def _declare_queues(self, connection: AbstractConnection) -> None:
        for name, patterns in self._queues.items():
            # On a channel of its own: RabbitMQ closes the channel on which a declaration fails.
            async with await connection.channel() as channel:
                await _declare(channel, name)
            async with await connection.channel() as channel:
                queue = await channel.get_queue(name, ensure=False)
                for pattern in patterns:
                    await queue.bind(EXCHANGE, pattern)

    async def close(self) -> None:
        """Closes the connection, at once where it does not go quietly."""
        if self._open is not None:
            await self._drop(self._open[0])

    async def _drop(self, connection: AbstractConnection) -> None:
        if self._open is not None and self._open[0] is connection:
            self._open = None
        try:
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()
        finally:
            # The first try has let go of the wire. Had it not ended, the connection would still call itself open, and
            # close itself when it is collected, wherever that is.
            await connection.close()


async def _declare(channel: AbstractChannel, name: str) -> None:
    dead = await channel.declare_exchange(DEAD_EXCHANGE, aio_pika.ExchangeType.DIRECT, durable=True)
    common = {"x-queue-type": "quorum", "x-overflow": "drop-head"}
    try:
        letters = await channel.declare_queue(
            f"{name}.dead", durable=True, arguments={**common, "x-max-length": DEAD_LENGTH_MAX}
        )
        await letters.bind(dead, name)
        await channel.declare_queue(
            name,
            durable=True,
            arguments={
                **common,
                "x-max-length": QUEUE_LENGTH_MAX,
                "x-delivery-limit": DELIVERIES_MAX,
                "x-dead-letter-exchange": DEAD_EXCHANGE,
                "x-dead-letter-routing-key": name,
            },
        )
    except ChannelPreconditionFailed:
        # It is somebody's, made otherwise, which is for them to say; it gets its facts as it is.
        log.warning("queue was made with other arguments and is left as it is", queue=name)


def wanted(text: str) -> dict[str, list[str]]:
    """The queues of `HOLDFAST_BROKER_QUEUES` with their patterns: `loyalty=booking.*,refund.*;all=#`."""
    if text == "off":
        return {}
    pairs = (entry.split("=", 1) for entry in text.split(";"))
    return {name: patterns.split(",") for name, patterns in pairs}
