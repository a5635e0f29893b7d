"""Messages between the processes of one installation: a hint to look sooner, never more.

Whoever changes something publishes after its commit. Subscribers in the same process hear it at once; the other
processes hear it within some 50 ms by LISTEN/NOTIFY. Messages are gathered, because a NOTIFY makes commits take turns.
Whatever cannot be delivered (too large, too many, the database away) becomes a "missed" mark: subscribers of the topic
hear None and look for themselves. After a lost connection every subscriber hears None.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import msgspec

from holdfast.platform import telemetry
from holdfast.platform.db import Database, load_queries
from holdfast.platform.ids import new_id

CHANNEL = "holdfast"
# PostgreSQL refuses payloads of 8000 bytes and more (NOTIFY_PAYLOAD_MAX_LENGTH in async.c).
PAYLOAD_BYTES_MAX = 7999
# What is left for one topic with its message beside the origin (36 bytes), a number and the brackets.
ENTRY_BYTES_MAX = PAYLOAD_BYTES_MAX - 64
SEND_SECONDS = 0.04
SEND_AGAIN_SECONDS = 0.5
STOP_SECONDS = 2.0
# Messages and topics of missed marks that wait to be sent; beyond them less is said, never more is kept.
WAITING_MAX = 2000
MISSED_TOPICS_MAX = 1000
EVERYTHING = "*"

Heard = Callable[[Any | None], None]

sql = load_queries(__file__)
log = telemetry.log("broadcast")
_running: "set[Broadcast]" = set()
_encode = msgspec.json.Encoder().encode


class Broadcast:
    """One process's end. `publish` and `hint` never wait and never raise for what the database does."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._origin = new_id().hex
        self._own_start = f'["{self._origin}",'
        self._payloads_sent = 0
        self._subscribers: dict[str, list[Heard]] = {}
        self._waiting: list[tuple[str, bytes]] = []
        self._missed: set[str] = set()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to listen and to send; before that, only subscribers of this process hear anything."""
        assert not self._tasks, "started twice"
        self._tasks = [
            self._db.listen(CHANNEL, self._received),
            asyncio.create_task(self._send_for_ever(), name="broadcast"),
        ]
        _running.add(self)

    async def stop(self) -> None:
        """Sends what waits, for at most STOP_SECONDS, and stops listening."""
        _running.discard(self)
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._send()

    def subscribe(self, topic: str, heard: Heard) -> Callable[[], None]:
        """Calls `heard(message)` for each message on `topic`, `heard(None)` when some may have been missed.

        Returns what ends the subscription. `heard` must be quick; what it raises is logged.
        """
        self._subscribers.setdefault(topic, []).append(heard)

        def unsubscribe() -> None:
            listening = self._subscribers.get(topic, [])
            if heard in listening:
                listening.remove(heard)
            if not listening:
                self._subscribers.pop(topic, None)

        return unsubscribe

    def publish(self, topic: str, message: Any) -> None:
        """Tells every subscriber of `topic`. `message` is what JSON can say (others get it decoded), and not None.

        Raises TypeError for a message that JSON cannot say.
        """
        assert topic != EVERYTHING and message is not None
        entry = _encode((topic, message))
        self._tell(topic, message)
        if not self._tasks or topic in self._missed or EVERYTHING in self._missed:
            return
        if len(entry) > ENTRY_BYTES_MAX or len(self._waiting) >= WAITING_MAX:
            self._miss(topic)
        else:
            self._waiting.append((topic, entry))
        self._wake.set()

    def hint(self, topic: str) -> None:
        """Lets every subscriber of `topic` hear None: there is something to look for. As cheap as can be."""
        self._tell(topic, None)
        if self._tasks:
            self._miss(topic)
            self._wake.set()

    def _miss(self, topic: str) -> None:
        if topic == EVERYTHING or len(self._missed) >= MISSED_TOPICS_MAX:
            self._missed = {EVERYTHING}
        elif EVERYTHING not in self._missed:
            self._missed.add(topic)

    def _tell(self, topic: str, message: Any | None) -> None:
        for heard in tuple(self._subscribers.get(topic, ())):
            try:
                heard(message)
            except Exception:
                log.exception("subscriber failed", topic=topic)

    def _tell_everybody_to_look(self) -> None:
        for topic in tuple(self._subscribers):
            self._tell(topic, None)

    def _received(self, payload: str | None) -> None:
        if payload is None:
            self._tell_everybody_to_look()
            return
        if payload.startswith(self._own_start):
            return
        try:
            _origin, _number, *entries = msgspec.json.decode(payload, type=list[Any])
            heard = [(str(topic), message[0] if message else None) for topic, *message in entries]
        except (msgspec.DecodeError, TypeError, ValueError):
            log.warning("message not understood", payload=payload[:100])
            heard = [(EVERYTHING, None)]
        for topic, message in heard:
            if topic == EVERYTHING:
                self._tell_everybody_to_look()
            else:
                self._tell(topic, message)

    async def _send_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if await self._send():
                await asyncio.sleep(SEND_SECONDS)
            else:
                await asyncio.sleep(SEND_AGAIN_SECONDS)
                self._wake.set()

    async def _send(self) -> bool:
        waiting, self._waiting = self._waiting, []
        missed, self._missed = self._missed, set()
        if not waiting and not missed:
            return True
        # The marks come last: what was published on their topics before them was dropped.
        entries = [entry for _, entry in waiting] + [_encode((topic,)) for topic in missed]
        try:
            await self._db.execute(sql.messages_sent, CHANNEL, list(self._packed(entries)))
        except BaseException as error:
            for topic in {topic for topic, _ in waiting} | missed:
                self._miss(topic)
            if not isinstance(error, Exception):
                raise
            log.warning(
                "messages not sent", messages=len(waiting), topics=len(self._missed), error=repr(error)
            )
            return False
        return True

    def _packed(self, entries: Iterable[bytes]) -> Iterable[str]:
        payload = b""
        for entry in entries:
            if payload and len(payload) + len(entry) + 2 > PAYLOAD_BYTES_MAX:
                yield (payload + b"]").decode()
                payload = b""
            if not payload:
                # The number makes every payload different: PostgreSQL drops the second of two equal ones.
                self._payloads_sent += 1
                payload = f"{self._own_start}{self._payloads_sent}".encode()
            payload += b"," + entry
        if payload:
            yield (payload + b"]").decode()


def hint(topic: str) -> None:
    """Hints on `topic` through every Broadcast that runs in this process.

    For code that holds a transaction and knows no Broadcast: `tx.after_commit(partial(hint, TOPIC))`.
    """
    for running in tuple(_running):
        running.hint(topic)
