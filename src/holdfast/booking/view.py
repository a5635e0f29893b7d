"""What a process knows of a show without asking: its seating, its terms and who has which seat, up to a revision.

A view is a snapshot plus the changes since. It serves reads and ranks seats; it neither accepts nor refuses, for that
is the database's. Changes come from the claims of this process and, through the broadcast, from others; the heads are
looked at once per `availability_seconds`, so a lost message costs a second, never the truth.
"""

import asyncio
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from holdfast import catalog
from holdfast.booking.seating import Seating
from holdfast.platform import clock, telemetry
from holdfast.platform.broadcast import Broadcast
from holdfast.platform.db import Database, load_queries
from holdfast.platform.errors import Busy
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

_from_memory = telemetry.VIEW_READS.labels("memory")
_from_database = telemetry.VIEW_READS.labels("database")


class Change(NamedTuple):
    """One step of a show's revision: seats that became taken or free, and what each area then had left."""

    revision: int
    taken: Sequence[int]
    freed: Sequence[int]
    left: Sequence[int]


class View:
    """One show as this process knows it. `taken` is a bitmap, LSB first: bit i is set when seat i is not free."""

    def __init__(
        self, show: catalog.Show, plan: catalog.Plan, revision: int, taken: Iterable[int], left: Sequence[int]
    ) -> None:
        self.show = show
        self.plan = plan
        self.revision = revision
        self.taken = bytearray((plan.seats + 7) // 8)
        self.left = list(left)
        for seat in taken:
            self.taken[seat >> 3] |= 1 << (seat & 7)
        self.checked_at = self.asked_at = clock.monotonic()
        self._early: dict[int, Change] = {}
        self._early_since = 0.0
        self._encoded: tuple[int, bytes] = (-1, b"")
        self._readable: tuple[int, bytes, float] = (-1, b"", float("-inf"))

    @cached_property
    def seating(self) -> Seating:
        """The geometry for best available; made when first needed."""
        return Seating(self.plan)

    @cached_property
    def layout(self) -> bytes:
        """The seating as JSON; it never changes for a show's areas and seats."""
        return msgspec.json.encode(catalog.layout_json(self.plan))

    def is_taken(self, seat: int) -> bool:
        """Whether the seat is held, sold or blocked, as far as is known here."""
        return bool(self.taken[seat >> 3] >> (seat & 7) & 1)

    def availability(self) -> bytes:
        """The JSON of `GET .../availability`; encoded once per revision."""
        revision, encoded = self._encoded
        if revision != self.revision:
            areas = [
                {"id": area.number, "available": left}
                for area, left in zip(self.plan.areas, self.left, strict=True)
            ]
            taken = b64encode(self.taken).decode()
            encoded = msgspec.json.encode({"revision": self.revision, "areas": areas, "taken": taken})
            self._encoded = (self.revision, encoded)
        return encoded

    def seats(self) -> tuple[int, bytes]:
        """The JSON of `GET .../seats` and its revision; encoded at most once a second, for it is large."""
        now = clock.monotonic()
        revision, encoded, encoded_at = self._readable
        if revision != self.revision and now - encoded_at >= READABLE_SECONDS:
            tiers = {
                area.number: [t.name for t in self.show.tiers_of(area.number)] for area in self.plan.areas
            }
            area_of = self.plan.area_of
            seats = [
                {
                    "seat": name,
                    "area": area_of(seat).name,
                    "status": "taken" if self.is_taken(seat) else "free",
                    "tiers": tiers[area_of(seat).number],
                }
                for seat, name in enumerate(self.plan.names())
            ]
            revision, encoded = (
                self.revision,
                msgspec.json.encode({"revision": self.revision, "seats": seats}),
            )
            self._readable = (revision, encoded, now)
        return revision, encoded

    def apply(self, change: Change) -> bool:
        """Takes a change in, in the order of revisions; False when changes before it are missing for too long."""
        if change.revision <= self.revision:
            return True
        if change.revision > self.revision + 1:
            if not self._early:
                self._early_since = clock.monotonic()
            self._early[change.revision] = change
            late = clock.monotonic() - self._early_since > GAP_SECONDS
            return not late and len(self._early) <= PENDING_CHANGES_MAX
        following: Change | None = change
        while following is not None:
            for seat in following.freed:
                self.taken[seat >> 3] &= ~(1 << (seat & 7))
            for seat in following.taken:
                self.taken[seat >> 3] |= 1 << (seat & 7)
            self.revision = following.revision
            self.left = list(following.left)
            following = self._early.pop(self.revision + 1, None)
        self._early_since = clock.monotonic()
        self.checked_at = clock.monotonic()
        return True


# Hears of each change of a show that it watches; None: changes were missed, read the view again.
Watcher = Callable[[View, Change | None], None]


class Views:
    """The views of a process, the least used of which are let go."""

    def __init__(self, db: Database, broadcast: Broadcast, settings: Settings) -> None:
        self._db = db
        self._broadcast = broadcast
        self._settings = settings
        self._views: OrderedDict[ShowId, View] = OrderedDict()
        self._loading: dict[ShowId, asyncio.Task[View]] = {}
        self._watchers: dict[ShowId, set[Watcher]] = {}
        self._stop_hearing = broadcast.subscribe(TOPIC, self._heard)

    async def get(self, show_id: ShowId) -> View:
        """The show's view, at most `availability_seconds` behind. Raises ShowNotFound, and Busy when it must ask in
        vain: a view that cannot be checked because the database is away is not shown as if it were fresh."""
        view = self._views.get(show_id)
        if view is None:
            _from_database.inc()
            return await self._load(show_id)
        self._views.move_to_end(show_id)
        now = view.asked_at = clock.monotonic()
        # Twice the interval, because keep_fresh looks once per interval and takes a moment.
        if now - view.checked_at > 2 * self._settings.availability_seconds:
            _from_database.inc()
            await self._check([show_id])
            return self._views.get(show_id) or await self._load(show_id)
        _from_memory.inc()
        return view

    def known(self, show_id: ShowId) -> View | None:
        """The view if this process has one, however old."""
        return self._views.get(show_id)

    async def refresh(self, show_id: ShowId) -> View:
        """The view as the database has it now, terms included. Raises ShowNotFound and Busy."""
        self._views.pop(show_id, None)
        return await self._load(show_id)

    def changed(self, show_id: ShowId, change: Change) -> None:
        """Tells this process and all others of a committed change."""
        self._apply(show_id, change)
        self._broadcast.publish(TOPIC, [str(show_id), *change])

    def retired(self, show_id: ShowId) -> None:
        """Tells this process and all others that the terms of a show have changed."""
        self._forget(show_id)
        self._broadcast.publish(TOPIC, [str(show_id)])

    def watch(self, show_id: ShowId, watcher: Watcher) -> Callable[[], None]:
        """Calls `watcher` for every change of the show from now on; returns what ends it."""
        self._watchers.setdefault(show_id, set()).add(watcher)

        def stop() -> None:
            watchers = self._watchers.get(show_id, set())
            watchers.discard(watcher)
            if not watchers:
                self._watchers.pop(show_id, None)

        return stop

    async def keep_fresh(self) -> None:
        """Looks at the heads of all views in use, once; what `Office` does every `availability_seconds`."""
        now = clock.monotonic()
        used = [
            show_id
            for show_id, view in self._views.items()
            if now - view.asked_at < IDLE_SECONDS or show_id in self._watchers
        ]
        if used:
            await self._check(used)

    def close(self) -> None:
        """Stops hearing of changes."""
        self._stop_hearing()
        for task in self._loading.values():
            task.cancel()

    async def _check(self, shows: list[ShowId]) -> None:
        asked = clock.monotonic()
        heads = {row["show_id"]: row for row in await self._db.rows(sql.heads, shows)}
        for show_id in shows:
            view, head = self._views.get(show_id), heads.get(show_id)
            if view is None:
                continue
            if head is not None and head["terms"] == view.show.version and head["revision"] <= view.revision:
                view.checked_at = max(view.checked_at, asked)
            else:
                self._forget(show_id)
        for show_id in [s for s in shows if s in self._watchers and s not in self._views and s in heads]:
            self._tell(await self._load(show_id), None)

    async def _load(self, show_id: ShowId) -> View:
        task = self._loading.get(show_id)
        if task is None:
            task = asyncio.create_task(self._read(show_id), name=f"load view {show_id}")
            self._loading[show_id] = task
            task.add_done_callback(lambda done: self._loaded(show_id, done))
        return await asyncio.shield(task)

    def _loaded(self, show_id: ShowId, task: "asyncio.Task[View]") -> None:
        self._loading.pop(show_id, None)
        if not task.cancelled() and task.exception() is None:
            self._views[show_id] = task.result()
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
                return View(show, plan, row["revision"], row["taken"], row["left_over"])
        raise Busy("The show is being edited just now.")

    def _apply(self, show_id: ShowId, change: Change) -> None:
        view = self._views.get(show_id)
        if view is None:
            return
        before = view.revision
        if not view.apply(change):
            self._forget(show_id)
        elif view.revision == before + 1:
            self._tell(view, change)
        elif view.revision > before:
            self._tell(view, None)

    def _forget(self, show_id: ShowId) -> None:
        self._views.pop(show_id, None)

    def _tell(self, view: View, change: Change | None) -> None:
        for watcher in tuple(self._watchers.get(view.show.show_id, ())):
            watcher(view, change)

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
