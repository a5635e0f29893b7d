"""The hub of one process: each show's changes, gathered for a moment, encoded once and handed to all its viewers.

An event names every seat that changed since the event before, with its last state, even when that is the state it had
before: a viewer whose availability is from in between can apply it all the same. `reset` means that something was lost:
read the availability again, until it has at least the revision of the reset. `alive` says that nothing happened.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import choice
from typing import Any, Literal, NamedTuple

import msgspec

from holdfast.booking import Change, View, Views
from holdfast.platform import clock, telemetry
from holdfast.platform.calls import Closing, Telling
from holdfast.platform.errors import Busy
from holdfast.platform.ids import ShowId

# Changes are gathered for so long, so that a flash sale is five events a second and not five hundred. The first change
# after a quiet moment is told at once.
TICK_SECONDS = 0.2
# Proxies close what is silent; 60 s is the usual limit. It is an event and no comment of SSE, because scripts do not see
# those and would have to ask whether the line still lives.
KEEP_ALIVE_SECONDS = 15.0
# Browsers come back after this; each is told another time, for a process that stops cuts all of them off at once.
RETRY_MILLISECONDS = range(1000, 5000)
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
# Viewers that are told in one go, half a millisecond of work, and the pause behind it: claims have most of the process
# to themselves however many watch, and 5,000 viewers are told within a quarter of a second.
VIEWERS_AT_ONCE = 50
PAUSE_SECONDS = 0.002
FULL_RETRY_SECONDS = 10

STOPPING = Closing(1001, "This process is stopping. Connect again.")
HIDDEN = Closing(4404, "show_not_found")

Form = Literal["sse", "message"]

_encode = msgspec.json.Encoder().encode


class Event(NamedTuple):
    """One event, encoded once for all who read it: as Server-Sent Event, and as message of a WebSocket."""

    sse: bytes
    message: bytes


class Hub:
    """All live viewers of a process."""

    def __init__(self, views: Views, viewers_max: int, per_address_max: int) -> None:
        self._views = views
        self._viewers_max = viewers_max
        self._per_address_max = per_address_max
        self._of: dict[str, int] = {}
        self._feeds: dict[ShowId, _Feed] = {}
        self._turns = _Turns()
        self._closed = False
        self.viewers = 0

    @property
    def shows(self) -> int:
        """How many shows are watched."""
        return len(self._feeds)

    def join(
        self, view: View, since: int | None, form: Form = "sse", *, address: str | None = None
    ) -> "Viewer":
        """A stream of events about the show of this view, for a viewer at `address` that knows it up to `since`.

        It must be closed with `aclose`. Raises Busy when `viewers_max` are there, or `per_address_max` of one address,
        and once the hub is closed. Without an address a viewer is counted as nobody's.
        """
        if self._closed:
            raise Busy("This process is stopping.")
        if self.viewers >= self._viewers_max:
            raise Busy("Too many live viewers.", retry_after=FULL_RETRY_SECONDS)
        if address is not None:
            # Behind a proxy all connections are the proxy's, and one client could else take every place.
            if self._of.get(address, 0) >= self._per_address_max:
                raise Busy("Too many live viewers of one address.", retry_after=FULL_RETRY_SECONDS)
            self._of[address] = self._of.get(address, 0) + 1
        show_id = view.show.show_id
        feed = self._feeds.get(show_id)
        if feed is None:
            feed = self._feeds[show_id] = _Feed(self._views, view, self._turns)
        self.viewers += 1
        telemetry.LIVE_VIEWERS.inc()
        viewer = Viewer(feed, since, form, partial(self._left, address))
        feed.viewers[viewer] = None
        return viewer

    def close(self) -> None:
        """Ends all streams and takes no more viewers; it does not wait."""
        self._closed = True
        for feed in self._feeds.values():
            feed.stop()
            for viewer in feed.viewers:
                viewer.end(STOPPING)

    def _left(self, address: str | None, viewer: "Viewer") -> None:
        if address is not None:
            self._of[address] -= 1
            if not self._of[address]:
                del self._of[address]
        feed = viewer.feed
        del feed.viewers[viewer]
        self.viewers -= 1
        telemetry.LIVE_VIEWERS.dec()
        if not feed.viewers:
            feed.stop()
            del self._feeds[feed.show_id]


class Viewer(Telling):
    """One open stream: an iterator over encoded events.

    What happens while its reader waits for it is handed over at once; only a reader that is behind has events in line.
    """

    def __init__(
        self, feed: "_Feed", since: int | None, form: Form, left: "Callable[[Viewer], None]"
    ) -> None:
        self.feed = feed
        self._since = since
        self._is_sse = form == "sse"
        self._left = left
        self._unread: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._told = -1
        self._waits = self._began = self._lost = self._ended = self._gone = False

    def tell(self, event: Event, revision: int | None) -> None:
        """Tells an event unless it is known already; `revision` is None for one that must be told."""
        # The first event, and the reset that stands in for a backlog, are made when they are read.
        if not self._began or self._lost or (revision is not None and revision <= self._told):
            return
        said = event.sse if self._is_sse else event.message
        if self._waits and self.push is not None and self.push(said):
            return
        if len(self._unread) >= BACKLOG_EVENTS_MAX:
            self._unread.clear()
            self._lost = True
        else:
            self._unread.append(said)
        self._rouse()

    def end(self, closing: Closing | None = None) -> None:
        """Ends the stream before its next event."""
        if closing is not None and not self._ended:
            self.closing = closing
        self._ended = True
        self._rouse()

    def _rouse(self) -> None:
        self._waits = False
        self._wake.set()

    async def __anext__(self) -> bytes:
        if not self._began:
            await self._caught_up()
        while not self._ended:
            if not self._began:
                self._began = True
                self._told, event = self.feed.first(self._since)
                if not self._is_sse:
                    return event.message
                return b"retry: %d\n%b" % (choice(RETRY_MILLISECONDS), event.sse)  # noqa: S311 -- nothing is guessed
            if self._lost:
                self._lost = False
                self._told = self.feed.revision
                event = _reset(self._told)
                return event.sse if self._is_sse else event.message
            if self._unread:
                return self._unread.popleft()
            self._wake.clear()
            # What is asked for next has been sent before: from here on nothing can overtake anything.
            self._waits = True
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


class _Round:
    """One event on its way to all who watch a show."""

    __slots__ = ("_at", "_event", "_revision", "_viewers", "feed")

    def __init__(self, feed: "_Feed", event: Event, revision: int | None) -> None:
        self.feed = feed
        self._event = event
        self._revision = revision
        self._viewers = tuple(feed.viewers)
        self._at = 0

    def go(self, count: int) -> tuple[int, bool]:
        """Tells so many more of them; how many those were, and whether that was the last."""
        told = self._viewers[self._at : self._at + count]
        for viewer in told:
            viewer.tell(self._event, self._revision)
        self._at += len(told)
        return len(told), self._at >= len(self._viewers)


class _Turns:
    """The pace at which viewers are told, one for all shows of a process."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rounds: deque[_Round] = deque()
        self._next: asyncio.Handle | None = None

    def take(self, round_: _Round) -> None:
        """Tells this round's viewers, in turn with those of other rounds, and its feed when all are told."""
        self._rounds.append(round_)
        if self._next is None:
            self._next = self._loop.call_soon(self._go)

    def drop(self, feed: "_Feed") -> None:
        """Forgets the rounds of a feed that has stopped."""
        self._rounds = deque(each for each in self._rounds if each.feed is not feed)

    def _go(self) -> None:
        left = VIEWERS_AT_ONCE
        while self._rounds and left > 0:
            round_ = self._rounds.popleft()
            told, was_last = round_.go(left)
            left -= told
            if was_last:
                round_.feed.all_told()
            else:
                self._rounds.append(round_)
        self._next = self._loop.call_later(PAUSE_SECONDS, self._go) if left < VIEWERS_AT_ONCE else None


# The last state of a seat that changed. What is blocked is told among the taken as well.
_FREED, _TAKEN, _BLOCKED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class _Tick:
    """What one event told: the last states of the seats that changed up to `revision`."""

    revision: int
    seats: Mapping[int, int]


class _Feed:
    """One show's events. `revision` is how far the viewers were told, `known` how far the show is known here."""

    def __init__(self, views: Views, view: View, turns: _Turns) -> None:
        self.show_id = view.show.show_id
        self.viewers: dict[Viewer, None] = {}
        self.revision = self.known = view.revision
        self._areas = [area.number for area in view.plan.areas]
        self._left: Sequence[int] = list(view.left)
        self._seats: dict[int, int] = {}
        self._lost = False
        # The ring holds what happened behind this revision.
        self._ring_begins = view.revision
        self._ring: deque[_Tick] = deque()
        self._ring_seats = 0
        self._first_events: dict[int | None, Event] = {}
        self._loop = asyncio.get_running_loop()
        self._turns = turns
        self._is_telling = False
        self._tick: asyncio.Handle | None = None
        self._tick_not_before = 0.0
        self._told_at = clock.monotonic()
        self._keep_alive = self._loop.call_later(KEEP_ALIVE_SECONDS, self._breathe)
        self._stop_watching = views.watch(view, self._hear)

    def stop(self) -> None:
        """Stops watching the show; nothing of this feed runs any more."""
        self._stop_watching()
        self._keep_alive.cancel()
        self._turns.drop(self)
        if self._tick is not None:
            self._tick.cancel()

    def first(self, since: int | None) -> tuple[int, Event]:
        """How far the show is known, and the event that brings a viewer there who knows it up to `since`."""
        event = self._first_events.get(since)
        if event is None:
            event = self._make_first(since)
            if len(self._first_events) >= FIRST_EVENTS_MAX:
                self._first_events.clear()
            self._first_events[since] = event
        return self.known, event

    def _make_first(self, since: int | None) -> Event:
        if since is None or since == self.known:
            return self._event({})
        if since > self.known or since < self._ring_begins or self._lost:
            return _reset(self.known)
        seats: dict[int, int] = {}
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
                    viewer.end(HIDDEN)
        else:
            for seat in news.freed:
                self._seats[seat] = _FREED
            for seat in news.taken:
                self._seats[seat] = _TAKEN
            for seat in news.blocked:
                self._seats[seat] = _BLOCKED
        self.known = news.revision
        self._left = list(news.left)
        self._first_events.clear()
        self._tick_soon()

    def _tick_soon(self) -> None:
        if self._tick is None and not self._is_telling:
            wait = self._tick_not_before - self._loop.time()
            self._tick = self._loop.call_later(max(0.0, wait), self._tell)

    def _tell(self) -> None:
        self._tick = None
        self._tick_not_before = self._loop.time() + TICK_SECONDS
        seats, self._seats = self._seats, {}
        lost, self._lost = self._lost, False
        self.revision = self.known
        if lost:
            self._ring.clear()
            self._ring_seats = 0
            self._ring_begins = self.known
            self._hand_out(_reset(self.known), None)
        else:
            self._remember(_Tick(self.known, seats))
            self._hand_out(self._event(seats), self.known)

    def _remember(self, tick: _Tick) -> None:
        self._ring.append(tick)
        self._ring_seats += len(tick.seats)
        while len(self._ring) > RING_TICKS_MAX or self._ring_seats > RING_SEATS_MAX:
            oldest = self._ring.popleft()
            self._ring_seats -= len(oldest.seats)
            self._ring_begins = oldest.revision

    def _hand_out(self, event: Event, revision: int | None) -> None:
        self._is_telling = True
        self._turns.take(_Round(self, event, revision))

    def all_told(self) -> None:
        """The event is handed out; what has happened since can be told."""
        self._is_telling = False
        self._told_at = clock.monotonic()
        if self.known != self.revision or self._lost:
            self._tick_soon()

    def _breathe(self) -> None:
        due = self._told_at + KEEP_ALIVE_SECONDS - clock.monotonic()
        if due <= 0 and self._tick is None and not self._is_telling:
            self._hand_out(_alive(self.revision), None)
        self._keep_alive = self._loop.call_later(due if due > 0 else KEEP_ALIVE_SECONDS, self._breathe)

    def _event(self, seats: Mapping[int, int]) -> Event:
        areas = zip(self._areas, self._left, strict=True)
        data: dict[str, Any] = {
            "revision": self.known,
            "taken": sorted(seat for seat, state in seats.items() if state),
            "freed": sorted(seat for seat, state in seats.items() if not state),
            "areas": [{"id": area, "available": left} for area, left in areas],
        }
        if _BLOCKED in seats.values():
            data["blocked"] = sorted(seat for seat, state in seats.items() if state == _BLOCKED)
        return _encoded(b"availability", self.known, data)


def _reset(revision: int) -> Event:
    return _encoded(b"reset", revision, {"revision": revision})


def _alive(revision: int) -> Event:
    # Without an id: who comes back begins behind the last change.
    data = _encode({"revision": revision})
    return Event(b"event: alive\ndata: %b\n\n" % data, b'{"event":"alive","data":%b}' % data)


def _encoded(kind: bytes, revision: int, data: dict[str, Any]) -> Event:
    text = _encode(data)
    return Event(
        b"id: %d\nevent: %b\ndata: %b\n\n" % (revision, kind, text),
        b'{"event":"%b","id":"%d","data":%b}' % (kind, revision, text),
    )
