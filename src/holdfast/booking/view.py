"""What a process knows of a show without asking: its seating, its terms and who has which seat, up to a revision.

A view is a snapshot plus the changes since. It serves reads and ranks seats; it neither accepts nor refuses, for that
is the database's. Changes come from the claims of this process and, through the broadcast, from others; the heads are
looked at four times per `availability_seconds`, so a lost message costs a second, never the truth.

Whoever watches a show hears every change once and in order, whatever becomes of the view meanwhile: it may be loaded
afresh or let go without the watchers noticing. When changes were lost, they get the view as it stands instead.
"""

import asyncio
import gzip
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from holdfast import catalog
from holdfast.booking.seating import Seating
from holdfast.platform import clock, telemetry
from holdfast.platform.broadcast import Broadcast
from holdfast.platform.db import Database, load_queries
from holdfast.platform.errors import Busy, Refusal
from holdfast.platform.ids import ShowId
from holdfast.platform.settings import Settings

sql = load_queries(__file__)
log = telemetry.log("view")

TOPIC = "availability"
# A view that nobody asked for in this time is not kept up to date, only checked when it is asked for again.
IDLE_SECONDS = 30.0
# Changes that arrived before those they follow wait for them this long, then the view is loaded afresh.
GAP_SECONDS = 0.25
PENDING_CHANGES_MAX = 2000
READABLE_SECONDS = 1.0
# Below this many bytes gzip saves less than the packet that goes out anyway.
PACKED_FROM = 1000
# The availability of 50,000 seats has 8 KB, takes 0.3 ms to gzip, and is another after each claim.
PACKED_EVERY_SECONDS = 1.0
# The heads are looked at this many times per `availability_seconds`. A show that at one look has not come as far as the
# look before saw has lost a change: two looks, a load and a tick of the live stream fit into `availability_seconds`.
LOOKS = 4
LOADS_AT_ONCE = 4

_from_memory = telemetry.VIEW_READS.labels("memory")
_from_database = telemetry.VIEW_READS.labels("database")


_ACCESS: dict[catalog.Access | None, bytes] = {
    None: b"",
    "wheelchair": b'"access":"wheelchair",',
    "companion": b'"access":"companion",',
}


class Change(NamedTuple):
    """One step of a show's revision: seats that became taken or free, and what each area then had left.

    `blocked` are those among the taken that the house keeps: nobody has them.
    """

    revision: int
    taken: Sequence[int]
    freed: Sequence[int]
    left: Sequence[int]
    blocked: Sequence[int] = ()


class _Order:
    """Hands changes on in the order of their revisions; what arrives early waits for what it follows."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self._early: dict[int, Change] = {}
        self._early_since = 0.0

    def take(self, change: Change) -> list[Change]:
        """The changes that come next, now that this one is here; none when it is old or early."""
        if change.revision <= self.revision:
            return []
        if change.revision > self.revision + 1:
            if not self._early:
                self._early_since = clock.monotonic()
            if len(self._early) < PENDING_CHANGES_MAX:
                self._early[change.revision] = change
            return []
        return self._run_from(change)

    def skip_to(self, revision: int) -> list[Change]:
        """Goes on at this revision; the changes that waited and come next."""
        self.revision = revision
        self._early = {number: change for number, change in self._early.items() if number > revision}
        return self._run_from(self._early.pop(revision + 1, None))

    def is_stuck(self) -> bool:
        """Whether what is missing has been missing for too long, or too much waits for it."""
        if not self._early:
            return False
        late = clock.monotonic() - self._early_since > GAP_SECONDS
        return late or len(self._early) >= PENDING_CHANGES_MAX

    def _run_from(self, change: Change | None) -> list[Change]:
        ready = []
        while change is not None:
            ready.append(change)
            self.revision = change.revision
            change = self._early.pop(self.revision + 1, None)
        self._early_since = clock.monotonic()
        return ready


class View:
    """One show as this process knows it.

    `taken` is a bitmap, LSB first: bit i is set when seat i is not free. `blocked` has those of them that the house keeps.
    """

    def __init__(
        self,
        show: catalog.Show,
        plan: catalog.Plan,
        revision: int,
        taken: Iterable[int],
        left: Sequence[int],
        blocked: Iterable[int] = (),
    ) -> None:
        self.show = show
        self.plan = plan
        self.taken = bytearray((plan.seats + 7) // 8)
        self.left = list(left)
        for seat in taken:
            self.taken[seat >> 3] |= 1 << (seat & 7)
        self.blocked = bytearray(len(self.taken))
        for seat in blocked:
            self.blocked[seat >> 3] |= 1 << (seat & 7)
        # The first choices of claims in flight, as a bitmap like `taken`: others are offered other seats.
        self._offered = bytearray(len(self.taken))
        self._offering = 0
        self._proposed: tuple[int, bytearray] = (-1, bytearray())
        self.checked_at = self.asked_at = clock.monotonic()
        # How far the database was at the last look, when that was further than this view.
        self.owed: int | None = None
        self._order = _Order(revision)
        self._encoded: tuple[int, bytes] = (-1, b"")
        self._packed: tuple[int, bytes, float] = (-1, b"", float("-inf"))
        self._packed_layout: asyncio.Task[bytes] | None = None
        self._readable: tuple[int, bytes, float] = (-1, b"", float("-inf"))

    @property
    def revision(self) -> int:
        """The number of the last change that is in this view."""
        return self._order.revision

    @cached_property
    def seating(self) -> Seating:
        """The geometry for best available; made when first needed."""
        return Seating(self.plan)

    @cached_property
    def layout(self) -> bytes:
        """The seating as JSON; it never changes for a show's areas and seats."""
        return msgspec.json.encode(catalog.layout_json(self.plan))

    async def packed_layout(self) -> bytes | None:
        """`layout` gzipped; None when it is small. Packed once for all, in a thread: a great one takes a tenth of a second."""
        if len(self.layout) < PACKED_FROM:
            return None
        if self._packed_layout is None:
            self._packed_layout = asyncio.create_task(
                asyncio.to_thread(gzip.compress, self.layout, 6, mtime=0)
            )
        return await asyncio.shield(self._packed_layout)

    def is_taken(self, seat: int) -> bool:
        """Whether the seat is held, sold or blocked, as far as is known here."""
        return bool(self.taken[seat >> 3] >> (seat & 7) & 1)

    def kept_free(self, area: catalog.Area) -> int:
        """How many free seats of an area are kept for who needs them, and are given to nobody who does not name them."""
        inside = range(area.first, area.first + area.seats)
        return sum(seat in inside and not self.is_taken(seat) for seat in self.plan.access)

    @contextmanager
    def offering(self, seats: Sequence[int]) -> Iterator[None]:
        """Until the end of the block, `taken_or_offered` has these seats."""
        for seat in seats:
            self._offered[seat >> 3] |= 1 << (seat & 7)
        self._offering += 1 if seats else 0
        try:
            yield
        finally:
            self._offering -= 1 if seats else 0
            for seat in seats:
                self._offered[seat >> 3] &= ~(1 << (seat & 7))

    @property
    def is_contended(self) -> bool:
        """Whether other claims that were offered seats are in flight."""
        return self._offering > 0

    def taken_or_offered(self) -> bytes:
        """`taken`, with the seats that claims in flight have been offered."""
        either = int.from_bytes(self.taken, "little") | int.from_bytes(self._offered, "little")
        return either.to_bytes(len(self.taken), "little")

    def open_to_all(self) -> bytearray:
        """`taken`, with the seats that are kept for who needs them."""
        if not self.plan.access:
            return bytearray(self.taken)
        either = int.from_bytes(self.taken, "little") | self.plan.access_bits
        return bytearray(either.to_bytes(len(self.taken), "little"))

    def proposed(self, *, afresh: bool = False) -> bytearray:
        """`open_to_all`, with the seats that the caller has marked in it since the last change: what was proposed to those
        who came too late.
        """
        if afresh or self._proposed[0] != self.revision:
            self._proposed = (self.revision, self.open_to_all())
        return self._proposed[1]

    @cached_property
    def _readable_heads(self) -> list[list[bytes]]:
        """By area and seat, its JSON up to the status: all that `seats` need not make again, for names cost most."""
        names, access = self.plan.names(), self.plan.access
        heads: list[list[bytes]] = []
        for area in self.plan.areas:
            name = msgspec.json.encode(area.name)
            heads.append(
                [
                    b'{"seat":%b,"area":%b,%b"status":"'
                    % (msgspec.json.encode(next(names)), name, _ACCESS[access.get(seat)])
                    for seat in range(area.first, area.first + area.seats)
                ]
            )
        return heads

    def availability(self) -> bytes:
        """The JSON of `GET .../availability`; encoded once per revision."""
        revision, encoded = self._encoded
        if revision != self.revision:
            areas = [
                {"id": area.number, "available": left}
                for area, left in zip(self.plan.areas, self.left, strict=True)
            ]
            taken = b64encode(self.taken).decode()
            # Most shows block none, or few at the front: what is not there says that nothing is.
            blocked = b64encode(self.blocked.rstrip(b"\0")).decode()
            encoded = msgspec.json.encode(
                {"revision": self.revision, "areas": areas, "taken": taken, "blocked": blocked}
            )
            self._encoded = (self.revision, encoded)
        return encoded

    def packed_availability(self) -> bytes | None:
        """`availability` gzipped; None when it is small, or when another revision of it was gzipped just now."""
        revision, packed, packed_at = self._packed
        if revision == self.revision:
            return packed
        now, body = clock.monotonic(), self.availability()
        if len(body) < PACKED_FROM or now - packed_at < PACKED_EVERY_SECONDS:
            return None
        self._packed = (self.revision, gzip.compress(body, 1, mtime=0), now)
        return self._packed[1]

    def seats(self) -> tuple[int, bytes]:
        """The JSON of `GET .../seats` and its revision; encoded at most once a second, for it is large."""
        now = clock.monotonic()
        revision, encoded, encoded_at = self._readable
        if revision != self.revision and now - encoded_at >= READABLE_SECONDS:
            parts: list[bytes] = []
            taken, blocked = self.taken, self.blocked
            for area, heads in zip(self.plan.areas, self._readable_heads, strict=True):
                offered = [tier.name for tier in self.show.tiers_of(area.number) if not tier.hidden]
                tiers = msgspec.json.encode(offered)
                tails = [b'%b","tiers":%b}' % (state, tiers) for state in (b"free", b"taken", b"blocked")]
                parts += [
                    head
                    + tails[(taken[seat >> 3] >> (seat & 7) & 1) + (blocked[seat >> 3] >> (seat & 7) & 1)]
                    for seat, head in enumerate(heads, area.first)
                ]
            revision = self.revision
            encoded = b'{"revision":%d,"seats":[%b]}' % (revision, b",".join(parts))
            self._readable = (revision, encoded, now)
        return revision, encoded

    def apply(self, change: Change) -> bool:
        """Takes a change in, in the order of revisions; False when changes before it are missing for too long."""
        ready = self._order.take(change)
        for following in ready:
            for seat in following.freed:
                self.taken[seat >> 3] &= ~(1 << (seat & 7))
                self.blocked[seat >> 3] &= ~(1 << (seat & 7))
            for seat in following.taken:
                self.taken[seat >> 3] |= 1 << (seat & 7)
            for seat in following.blocked:
                self.blocked[seat >> 3] |= 1 << (seat & 7)
            self.left = list(following.left)
        if ready:
            self.checked_at = clock.monotonic()
        return not self._order.is_stuck()


# Hears each change of a show that it watches, in order; a View: changes were missed, or the show has become a draft, and
# this is how it stands.
Watcher = Callable[[Change | View], None]


@dataclass(slots=True, eq=False)
class _Watched:
    order: _Order
    terms: int
    watchers: set[Watcher] = field(default_factory=set)
    owed: int | None = None

    def tell(self, news: Iterable[Change | View]) -> None:
        for item in news:
            for watcher in tuple(self.watchers):
                watcher(item)


@dataclass(slots=True, eq=False)
class _Loading:
    task: "asyncio.Task[View]"
    heard: list[Change] = field(default_factory=list)


class Views:
    """The views of a process, the least used of which are let go."""

    def __init__(self, db: Database, broadcast: Broadcast, settings: Settings) -> None:
        self._db = db
        self._broadcast = broadcast
        self._settings = settings
        self._views: OrderedDict[ShowId, View] = OrderedDict()
        self._loading: dict[ShowId, _Loading] = {}
        self._checking: dict[ShowId, asyncio.Task[None]] = {}
        self._watched: dict[ShowId, _Watched] = {}
        self._from_memory = 0  # counted here, for a metric takes longer than the read
        self._stop_hearing = broadcast.subscribe(TOPIC, self._heard)

    async def get(self, show_id: ShowId) -> View:
        """The show's view, at most `availability_seconds` behind. Raises ShowNotFound, and Busy when it must ask in
        vain: a view that cannot be checked because the database is away is not shown as if it were fresh.
        """
        view = self._views.get(show_id)
        if view is None:
            _from_database.inc()
            return await self._load(show_id)
        self._views.move_to_end(show_id)
        now = view.asked_at = clock.monotonic()
        if now - view.checked_at > self._settings.availability_seconds:
            _from_database.inc()
            await self._check_once(show_id)
            return self._views.get(show_id) or await self._load(show_id)
        self._from_memory += 1
        return view

    def known(self, show_id: ShowId) -> View | None:
        """The view if this process has one, however old."""
        return self._views.get(show_id)

    async def renewed(self, view: View) -> View:
        """The view that takes the place of one that proved to be behind, terms included. Raises ShowNotFound, Busy."""
        show_id = view.show.show_id
        if self._views.get(show_id) is view:
            self._forget(show_id)
        return await self.get(show_id)

    def changed(self, show_id: ShowId, change: Change) -> None:
        """Tells this process and all others of a committed change."""
        self._apply(show_id, change)
        self._broadcast.publish(TOPIC, [str(show_id), *change])

    def retired(self, show_id: ShowId) -> None:
        """Tells this process and all others that the terms of a show have changed."""
        self._forget(show_id)
        self._broadcast.publish(TOPIC, [str(show_id)])

    def watch(self, view: View, watcher: Watcher) -> Callable[[], None]:
        """Calls `watcher` for every change of the show behind `view`, in order; returns what ends it.

        It is called in the middle of a claim's answer, so it must be quick and must not raise.
        """
        show_id = view.show.show_id
        watched = self._watched.setdefault(show_id, _Watched(_Order(view.revision), view.show.version))
        watched.watchers.add(watcher)

        def stop() -> None:
            watched.watchers.discard(watcher)
            if not watched.watchers and self._watched.get(show_id) is watched:
                del self._watched[show_id]

        return stop

    async def keep_fresh(self) -> None:
        """Looks at the heads of all views in use and of all shows watched, once; what `Office` does all the time."""
        _from_memory.inc(self._from_memory)
        self._from_memory = 0
        now = clock.monotonic()
        used = {show_id for show_id, view in self._views.items() if now - view.asked_at < IDLE_SECONDS}
        used.update(self._watched)
        if used:
            await self._check(list(used), patient=True)

    def close(self) -> None:
        """Stops hearing of changes."""
        self._stop_hearing()
        for task in (*(loading.task for loading in self._loading.values()), *self._checking.values()):
            task.cancel()

    async def _check_once(self, show_id: ShowId) -> None:
        """One look for all who ask at once for a view that nobody kept up to date."""
        task = self._checking.get(show_id)
        if task is None:
            task = asyncio.create_task(self._check([show_id]), name=f"check view {show_id}")
            self._checking[show_id] = task
            task.add_done_callback(lambda done: self._checked(show_id, done))
        await asyncio.shield(task)

    def _checked(self, show_id: ShowId, task: "asyncio.Task[None]") -> None:
        self._checking.pop(show_id, None)
        if not task.cancelled():
            task.exception()

    async def _check(self, shows: list[ShowId], *, patient: bool = False) -> None:
        """Forgets the views that have fallen behind, and has the watchers of shows that have catch up.

        A change is on its way for a moment after its commit. With `patient`, for looks that follow one another, a show
        is behind when it has not come as far as the last look saw.
        """
        asked = clock.monotonic()
        heads = {row["show_id"]: row for row in await self._db.rows(sql.heads, shows)}
        lost, edited = [], []
        for show_id in shows:
            view, watched, head = self._views.get(show_id), self._watched.get(show_id), heads.get(show_id)
            if head is None:
                self._forget(show_id)
                continue
            if view is not None:
                if head["terms"] != view.show.version or _is_behind(
                    view, view.revision, head["revision"], patient=patient
                ):
                    self._forget(show_id)
                elif view.owed is None:
                    view.checked_at = max(view.checked_at, asked)
            # Only regular looks count, for two that are close together would see the same change on its way.
            if watched is not None and patient:
                if _is_behind(watched, watched.order.revision, head["revision"], patient=True):
                    lost.append((show_id, head["revision"]))
                if watched.terms != head["terms"]:
                    edited.append(show_id)
        for start in range(0, len(lost), LOADS_AT_ONCE):
            await asyncio.gather(*(self._catch_up(*pair) for pair in lost[start : start + LOADS_AT_ONCE]))
        for show_id in edited:
            await self._tell_if_hidden(show_id)

    async def _catch_up(self, show_id: ShowId, revision: int) -> None:
        view = self._views.get(show_id)
        try:
            if view is None or view.revision < revision:
                self._forget(show_id)
                view = await self._load(show_id)
        except Refusal as refusal:
            log.warning("watchers not told", show_id=str(show_id), error=str(refusal))
            return
        watched = self._watched.get(show_id)
        if watched is not None and watched.order.revision < view.revision:
            ready = watched.order.skip_to(view.revision)
            watched.tell([view, *ready])

    async def _tell_if_hidden(self, show_id: ShowId) -> None:
        try:
            view = self._views.get(show_id) or await self._load(show_id)
        except Refusal:
            return  # The next look tries again.
        watched = self._watched.get(show_id)
        if watched is not None:
            watched.terms = view.show.version
            if view.show.status == "draft":
                watched.tell([view])

    async def _load(self, show_id: ShowId) -> View:
        loading = self._loading.get(show_id)
        if loading is None:
            loading = _Loading(asyncio.create_task(self._read(show_id), name=f"load view {show_id}"))
            self._loading[show_id] = loading
            loading.task.add_done_callback(lambda _: self._loaded(show_id, loading))
        return await asyncio.shield(loading.task)

    def _loaded(self, show_id: ShowId, loading: _Loading) -> None:
        failed = loading.task.cancelled() or loading.task.exception() is not None
        if self._loading.get(show_id) is not loading:
            return  # What it read was forgotten meanwhile: those who waited have it, nobody else gets it.
        del self._loading[show_id]
        if failed:
            return
        view = self._views[show_id] = loading.task.result()
        for change in loading.heard:
            view.apply(change)
        if len(self._views) > self._settings.views_max:
            self._views.popitem(last=False)

    async def _read(self, show_id: ShowId) -> View:
        for _ in range(3):
            show = await catalog.show_by_id(self._db, show_id)
            if show is None:
                raise catalog.ShowNotFound
            plan = await catalog.plan_of(self._db, show)
            row = await self._db.row(sql.snapshot, show_id)
            # Two edits between the queries and the terms do not fit together: look again.
            if row is not None and row["terms"] == show.version:
                return View(show, plan, row["revision"], row["taken"], row["left_over"], row["blocked"])
        raise Busy("The show is being edited just now.")

    def _apply(self, show_id: ShowId, change: Change) -> None:
        view, loading = self._views.get(show_id), self._loading.get(show_id)
        if view is not None and not view.apply(change):
            self._forget(show_id)
        if loading is not None and len(loading.heard) < PENDING_CHANGES_MAX:
            loading.heard.append(change)
        watched = self._watched.get(show_id)
        if watched is not None:
            watched.tell(watched.order.take(change))

    def _forget(self, show_id: ShowId) -> None:
        self._views.pop(show_id, None)
        self._loading.pop(show_id, None)

    def _heard(self, message: Any | None) -> None:
        if message is None:
            for view in self._views.values():
                view.checked_at = float("-inf")
            return
        show_id = ShowId(UUID(message[0]))
        if len(message) == 1:
            self._forget(show_id)
        else:
            self._apply(show_id, Change(*message[1:]))


def _is_behind(known: View | _Watched, revision: int, head: int, *, patient: bool) -> bool:
    """Whether changes up to `head` are missing; with `patient`, whether some of them were missing at the last look."""
    owed, known.owed = known.owed, head if head > revision else None
    return owed is not None and revision < owed if patient else head > revision
