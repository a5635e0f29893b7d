"""The hub of one process: each show's changes, gathered for a moment, encoded once and handed to all its viewers.

An event names every seat that changed since the event before, with its last state, even when that is the state it had
before: a viewer whose availability is from in between can apply it all the same. `reset` means that something was lost:
read the availability again, until it has at least the revision of the reset.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast.booking import Change, View, Views
from holdfast.platform import clock, telemetry
from holdfast.platform.errors import Busy
from holdfast.platform.ids import ShowId

# Changes are gathered for so long, so that a flash sale is five events a second and not five hundred. The first change
# after a quiet moment is told at once.
TICK_SECONDS = 0.2
# Proxies close what is silent; 60 s is the usual limit, and a comment is the cheapest thing to say.
KEEP_ALIVE_SECONDS = 15.0
RETRY_MILLISECONDS = 2000
# A viewer that has so many events unread is told to read the availability instead.
BACKLOG_EVENTS_MAX = 16
# What is kept for those who come back: half a minute of a hot show, and few enough seats to put together in a
# millisecond.
RING_TICKS_MAX = 150
RING_SEATS_MAX = 5000
FIRST_EVENTS_MAX = 16
# A viewer may come from a process that has heard of a change a moment sooner.
CATCH_UP_SECONDS = 1.0
CATCH_UP_LOOK_SECONDS = 0.05
# Viewers that are woken in one go; claims get their turn between two goes.
VIEWERS_AT_ONCE = 100
FULL_RETRY_SECONDS = 10

_KEEP_ALIVE = b": keep-alive\n\n"
_RETRY = b"retry: %d\n" % RETRY_MILLISECONDS
_encode = msgspec.json.Encoder().encode


class Hub:
    """All live viewers of a process."""

    def __init__(self, views: Views, viewers_max: int) -> None:
        self._views = views
        self._viewers_max = viewers_max
        self._feeds: dict[ShowId, _Feed] = {}
        self._closed = False
        self.viewers = 0

    @property
    def shows(self) -> int:
        """How many shows are watched."""
        return len(self._feeds)

    def join(self, view: View, since: int | None) -> "Viewer":
        """A stream of events about the show of this view, for a viewer that knows it up to `since`.

        It must be closed with `aclose`. Raises Busy when `viewers_max` are there, and once the hub is closed.
        """
        if self._closed:
            raise Busy("This process is stopping.")
        if self.viewers >= self._viewers_max:
            raise Busy("Too many live viewers.", retry_after=FULL_RETRY_SECONDS)
        show_id = view.show.show_id
        feed = self._feeds.get(show_id)
        if feed is None:
            feed = self._feeds[show_id] = _Feed(self._views, view)
        self.viewers += 1
        telemetry.LIVE_VIEWERS.inc()
        viewer = Viewer(feed, since, self._left)
        feed.viewers[viewer] = None
        return viewer

    def close(self) -> None:
        """Ends all streams and takes no more viewers; it does not wait."""
        self._closed = True
        for feed in self._feeds.values():
            feed.stop()
            for viewer in feed.viewers:
                viewer.end()

    def _left(self, viewer: "Viewer") -> None:
        feed = viewer.feed
        del feed.viewers[viewer]
        self.viewers -= 1
        telemetry.LIVE_VIEWERS.dec()
        if not feed.viewers:
            feed.stop()
            del self._feeds[feed.show_id]


class Viewer(AsyncIterator[bytes]):
    """One open stream: an iterator over encoded events, several at a time when the reader is slow."""

    def __init__(self, feed: "_Feed", since: int | None, left: "Callable[[Viewer], None]") -> None:
        self.feed = feed
        self._since = since
        self._left = left
        self._unread: list[bytes] = []
        self._wake = asyncio.Event()
        self._told = -1
        self._began = self._lost = self._ended = self._gone = False

    def tell(self, event: bytes, revision: int | None) -> None:
        """Puts an event in line unless it is known already; `revision` is None for one that must be told."""
        # The first event, and the reset that stands in for a backlog, are made when they are read.
        if not self._began or self._lost or (revision is not None and revision <= self._told):
            return
        if len(self._unread) >= BACKLOG_EVENTS_MAX:
            self._unread.clear()
            self._lost = True
        else:
            self._unread.append(event)
        self._wake.set()

    def end(self) -> None:
        """Ends the stream before its next event."""
        self._ended = True
        self._wake.set()

    async def __anext__(self) -> bytes:
        if not self._began:
            await self._caught_up()
        while not self._ended:
            if not self._began:
                self._began = True
                self._told, event = self.feed.first(self._since)
                return event
            if self._lost:
                self._lost = False
                self._told = self.feed.revision
                return _reset(self._told)
            if self._unread:
                unread, self._unread = self._unread, []
                return unread[0] if len(unread) == 1 else b"".join(unread)
            self._wake.clear()
            await self._wake.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Leaves the hub. May be called more than once, and before the first event."""
        self.end()
        if not self._gone:
            self._gone = True
            self._left(self)

    async def _caught_up(self) -> None:
        until = clock.monotonic() + CATCH_UP_SECONDS
        while self._since is not None and self._since > self.feed.known and not self._ended:
            if clock.monotonic() > until:
                return
            await asyncio.sleep(CATCH_UP_LOOK_SECONDS)


@dataclass(frozen=True, slots=True)
class _Tick:
    """What one event told: the last states of the seats that changed up to `revision`; True is taken."""

    revision: int
    seats: Mapping[int, bool]


class _Feed:
    """One show's events. `revision` is how far the viewers were told, `known` how far the show is known here."""

    def __init__(self, views: Views, view: View) -> None:
        self.show_id = view.show.show_id
        self.viewers: dict[Viewer, None] = {}
        self.revision = self.known = view.revision
        self._areas = [area.number for area in view.plan.areas]
        self._left: Sequence[int] = list(view.left)
        self._seats: dict[int, bool] = {}
        self._lost = False
        # The ring holds what happened behind this revision.
        self._ring_begins = view.revision
        self._ring: deque[_Tick] = deque()
        self._ring_seats = 0
        self._first_events: dict[int | None, bytes] = {}
        self._loop = asyncio.get_running_loop()
        self._tick: asyncio.Handle | None = None
        self._tick_not_before = 0.0
        self._told_at = clock.monotonic()
        self._keep_alive = self._loop.call_later(KEEP_ALIVE_SECONDS, self._breathe)
        self._stop_watching = views.watch(view, self._hear)

    def stop(self) -> None:
        """Stops watching the show; nothing of this feed runs any more."""
        self._stop_watching()
        self._keep_alive.cancel()
        if self._tick is not None:
            self._tick.cancel()

    def first(self, since: int | None) -> tuple[int, bytes]:
        """How far the show is known, and the event that brings a viewer there who knows it up to `since`."""
        event = self._first_events.get(since)
        if event is None:
            event = _RETRY + self._make_first(since)
            if len(self._first_events) >= FIRST_EVENTS_MAX:
                self._first_events.clear()
            self._first_events[since] = event
        return self.known, event

    def _make_first(self, since: int | None) -> bytes:
        if since is None or since == self.known:
            return self._event({})
        if since > self.known or since < self._ring_begins or self._lost:
            return _reset(self.known)
        seats: dict[int, bool] = {}
        for tick in self._ring:
            # The tick that `since` falls into is told whole: it tells last states, so too much does no harm.
            if tick.revision > since:
                seats.update(tick.seats)
        seats.update(self._seats)
        return self._event(seats)

    def _hear(self, news: Change | View) -> None:
        # Runs inside the answer to a claim: it notes, and leaves the telling to the tick.
        if isinstance(news, View):
            self._lost = True
            if news.show.status == "draft":
                # Not everybody may see one: whoever may will join again.
                for viewer in self.viewers:
                    viewer.end()
        else:
            for seat in news.freed:
                self._seats[seat] = False
            for seat in news.taken:
                self._seats[seat] = True
        self.known = news.revision
        self._left = list(news.left)
        self._first_events.clear()
        self._tick_soon()

    def _tick_soon(self) -> None:
        if self._tick is None:
            wait = self._tick_not_before - self._loop.time()
            self._tick = self._loop.call_later(max(0.0, wait), self._tell)

    def _tell(self) -> None:
        self._tick_not_before = self._loop.time() + TICK_SECONDS
        seats, self._seats = self._seats, {}
        lost, self._lost = self._lost, False
        self.revision = self.known
        if lost:
            self._ring.clear()
            self._ring_seats = 0
            self._ring_begins = self.known
            self._hand_out(_reset(self.known), None, tuple(self.viewers), 0)
        else:
            self._remember(_Tick(self.known, seats))
            self._hand_out(self._event(seats), self.known, tuple(self.viewers), 0)

    def _remember(self, tick: _Tick) -> None:
        self._ring.append(tick)
        self._ring_seats += len(tick.seats)
        while len(self._ring) > RING_TICKS_MAX or self._ring_seats > RING_SEATS_MAX:
            oldest = self._ring.popleft()
            self._ring_seats -= len(oldest.seats)
            self._ring_begins = oldest.revision

    def _hand_out(self, event: bytes, revision: int | None, viewers: Sequence[Viewer], start: int) -> None:
        following = start + VIEWERS_AT_ONCE
        for viewer in viewers[start:following]:
            viewer.tell(event, revision)
        if following < len(viewers):
            self._tick = self._loop.call_soon(self._hand_out, event, revision, viewers, following)
            return
        self._tick = None
        self._told_at = clock.monotonic()
        if self.known != self.revision or self._lost:
            self._tick_soon()

    def _breathe(self) -> None:
        due = self._told_at + KEEP_ALIVE_SECONDS - clock.monotonic()
        if due <= 0 and self._tick is None:
            self._hand_out(_KEEP_ALIVE, None, tuple(self.viewers), 0)
        self._keep_alive = self._loop.call_later(due if due > 0 else KEEP_ALIVE_SECONDS, self._breathe)

    def _event(self, seats: Mapping[int, bool]) -> bytes:
        areas = zip(self._areas, self._left, strict=True)
        data = {
            "revision": self.known,
            "taken": sorted(seat for seat, taken in seats.items() if taken),
            "freed": sorted(seat for seat, taken in seats.items() if not taken),
            "areas": [{"id": area, "available": left} for area, left in areas],
        }
        return _framed(b"availability", self.known, data)


def _reset(revision: int) -> bytes:
    return _framed(b"reset", revision, {"revision": revision})


def _framed(kind: bytes, revision: int, data: dict[str, Any]) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (revision, kind, _encode(data))
