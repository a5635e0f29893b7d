"""Live viewers, a process of its own: `python -m bench.viewers JOB OUT`. It stays until SIGTERM, then writes what it saw.

All viewers of a show get the same bytes, so an event is decoded once, and then only the moment of its arrival is noted.
"""

import asyncio
import os
import re
import signal
import sys
from array import array
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import uvloop

from bench.load import get

# Connections opened at a time, so that the server's backlog does not overflow.
OPENING_AT_ONCE = 50

_DATA = re.compile(rb"data: (\{.*\})")
_END = (b"\n\n\r\n", b"\r\n\r\n")


class Watch(msgspec.Struct, frozen=True):
    """Which show, and by how many."""

    port: int
    show: str
    viewers: int


class Event(msgspec.Struct):
    """Seats that an event told to be taken, and when each viewer heard of it (the clock of perf_counter)."""

    taken: list[int]
    seen_at: list[float]


class Seen(msgspec.Struct):
    """What all viewers together saw."""

    viewers: int
    events: list[Event]
    cpu_seconds: float


class _Viewer(asyncio.Protocol):
    __slots__ = ("began", "rest", "room")

    def __init__(self, room: "Room") -> None:
        self.room = room
        self.rest = b""
        self.began = False

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        if self.rest:
            data = self.rest + data
        if not data.endswith(_END):
            self.rest = data
            return
        self.rest = b""
        self.room.saw(data, now)
        if not self.began and b"data: " in data:
            self.began = True
            self.room.came()

    def connection_lost(self, error: Exception | None) -> None:
        self.room.lost += 1


class Room:
    """All viewers."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.there = self.lost = 0
        self.all_there = asyncio.Event()
        self._events: dict[bytes, tuple[list[int], array[float]]] = {}
        self._transports: list[Any] = []

    async def fill(self) -> None:
        """Opens all streams and waits for the first event of each."""
        loop = asyncio.get_running_loop()
        request = get(f"/v1/shows/{self.watch.show}/live")
        for first in range(0, self.watch.viewers, OPENING_AT_ONCE):
            count = min(OPENING_AT_ONCE, self.watch.viewers - first)
            made = await asyncio.gather(
                *(
                    loop.create_connection(lambda: _Viewer(self), "127.0.0.1", self.watch.port)
                    for _ in range(count)
                )
            )
            for transport, _ in made:
                self._transports.append(transport)
                transport.write(request)
        async with asyncio.timeout(60):
            await self.all_there.wait()

    def came(self) -> None:
        """A viewer has its first event."""
        self.there += 1
        if self.there == self.watch.viewers:
            self.all_there.set()

    def saw(self, data: bytes, now: float) -> None:
        """Notes the arrival of an event."""
        known = self._events.get(data)
        if known is None:
            taken: list[int] = []
            for found in _DATA.finditer(data):
                taken += msgspec.json.decode(found[1]).get("taken", ())
            known = self._events[data] = (taken, array("d"))
        known[1].append(now)

    def seen(self) -> Seen:
        """What is worth keeping: the events that told of seats."""
        events = [Event(taken, list(at)) for taken, at in self._events.values() if taken]
        usage = sum(os.times()[:2])
        return Seen(self.there - self.lost, events, usage)


async def _watch(watch: Watch) -> Seen:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    room = Room(watch)
    await room.fill()
    sys.stdout.write("all there\n")
    sys.stdout.flush()
    await stop.wait()
    return room.seen()


def main(job_path: Path, out: Path) -> None:
    """Watches until SIGTERM and writes what was seen."""
    watch = msgspec.json.decode(job_path.read_bytes(), type=Watch)
    out.unlink(missing_ok=True)
    seen = uvloop.run(_watch(watch))
    out.write_bytes(msgspec.json.encode(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
