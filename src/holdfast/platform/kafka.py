"""Kafka as a broker of facts: one topic, keyed by show. Imported only where a broker is set."""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from holdfast.platform.broker import Message, Sent, Wire
from holdfast.platform.outbox import CLOUDEVENT_MEDIA
from holdfast.platform.settings import Settings

TOPIC = "holdfast.facts"
CLOSE_SECONDS = 2.0
_HEADERS = [("content-type", CLOUDEVENT_MEDIA.encode())]


def open_wire(settings: Settings) -> Wire:
    """A way to the Kafka of the settings; it connects when there is something to send."""
    return Kafka(settings)


class Kafka:
    """A Wire. Messages are written by an idempotent producer and confirmed by all replicas that are in sync."""

    def __init__(self, settings: Settings) -> None:
        assert settings.broker_url
        self._address = address_of(settings.broker_url)
        self._seconds = settings.broker_seconds
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()

    async def send(self, messages: Sequence[Message]) -> Sent:
        """Sends messages and waits for their confirmation, at most `broker_seconds`. Never raises."""
        sent, producer = Sent(), None
        try:
            async with asyncio.timeout(self._seconds):
                producer = await self._opened()
                tasks = [asyncio.ensure_future(_one(producer, message)) for message in messages]
                try:
                    await asyncio.wait(tasks)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.wait(tasks)
                    _look_at(sent, messages, tasks)
        except Exception as error:
            sent.error = error
        if sent.error is not None and producer is not None:
            if self._producer is producer:
                self._producer = None
            await _stop(producer)
        return sent

    async def _opened(self) -> AIOKafkaProducer:
        async with self._opening:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._address,
                    client_id="holdfast",
                    acks="all",
                    enable_idempotence=True,
                    request_timeout_ms=max(1, int(self._seconds * 1000)),
                )
                try:
                    await producer.start()
                except BaseException:
                    await _stop(producer)
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        """Lets Kafka go, within seconds; what was not confirmed is given up."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)


async def _one(producer: AIOKafkaProducer, message: Message) -> None:
    future = await producer.send(TOPIC, message.body, key=message.key.encode(), headers=_HEADERS)
    await future


async def _stop(producer: AIOKafkaProducer) -> None:
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_SECONDS):
            await producer.stop()


def _look_at(sent: Sent, messages: Sequence[Message], tasks: Sequence["asyncio.Future[None]"]) -> None:
    for message, task in zip(messages, tasks, strict=True):
        if task.cancelled():
            continue
        error = task.exception()
        if error is None:
            sent.confirmed.append(message.id)
        elif isinstance(error, MessageSizeTooLargeError):
            sent.refused.append((message.id, f"{type(error).__name__}: {len(message.body)} bytes"))
        else:
            sent.error = error


def address_of(url: str) -> dict[str, Any]:
    """What aiokafka calls an address: `kafka://host:port,host:port`, and `kafkas://user:password@host:port` with TLS.

    With a user, `?sasl=SCRAM-SHA-512` says how it signs in; else PLAIN.
    """
    parts = urlsplit(url)
    who, _, hosts = parts.netloc.rpartition("@")
    protocol = "SSL" if parts.scheme == "kafkas" else "PLAINTEXT"
    address: dict[str, Any] = {"bootstrap_servers": hosts.split(",")}
    if parts.scheme == "kafkas":
        address["ssl_context"] = ssl.create_default_context()
    if who:
        user, _, password = who.partition(":")
        protocol = f"SASL_{protocol}"
        address["sasl_mechanism"] = parse_qs(parts.query).get("sasl", ["PLAIN"])[0]
        address["sasl_plain_username"] = unquote(user)
        address["sasl_plain_password"] = unquote(password)
    return {**address, "security_protocol": protocol}
