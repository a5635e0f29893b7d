"""Cache-aside in the memory of the process: bounded in time and size, one load at a time for each key.

Whoever changes something calls `forget` after its commit; the other processes forget within some 50 ms, or when the
time limit passes. A load that began before a `forget` gives its value to those who already waited for it and to
nobody else.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast
from uuid import UUID

from holdfast.platform.broadcast import Broadcast
from holdfast.platform.clock import monotonic

T = TypeVar("T")
Key = str | tuple[str | int | UUID, ...]
_Path = tuple[str, ...]

TOPIC = "cache"
ENTRIES_MAX = 10_000


class Cache:
    """Values by key. A key is a path, `("show", show_id)`: forgetting `("show",)` forgets everything below it."""

    def __init__(
        self,
        broadcast: Broadcast | None = None,
        *,
        entries_max: int = ENTRIES_MAX,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._broadcast = broadcast
        self._entries_max = entries_max
        self._now = now
        self._entries: OrderedDict[_Path, tuple[float, Any]] = OrderedDict()
        self._loads: dict[_Path, asyncio.Task[Any]] = {}
        self._below: dict[_Path, set[_Path]] = {}
        if broadcast is not None:
            broadcast.subscribe(TOPIC, self._heard)

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: Key, seconds: float, load: Callable[[], Awaitable[T]]) -> T:
        """The value under `key`, at most `seconds` old, counted from the start of its load.

        Missing, it is loaded once for all who wait. What `load` raises is raised to all of them and not kept.
        """
        path = _path(key)
        entry = self._entries.get(path)
        if entry is not None:
            until, value = entry
            if self._now() < until:
                self._entries.move_to_end(path)
                return cast("T", value)
            self._drop(path)
        task = self._loads.get(path)
        if task is None:
            # A task of its own, so that nobody's load ends because the one who asked first went away.
            task = asyncio.create_task(self._load(path, seconds, load))
            task.add_done_callback(_look_at_result)
            self._loads[path] = task
            self._index(path)
        return cast("T", await asyncio.shield(task))

    def forget(self, key_prefix: Key) -> None:
        """Forgets everything at and below `key_prefix`, here at once and in the other processes soon."""
        path = _path(key_prefix)
        if self._broadcast is not None:
            # It comes back to `_heard` at once, like any message of this process.
            self._broadcast.publish(TOPIC, path)
        else:
            self._forget(path)

    def _heard(self, message: Any | None) -> None:
        self._forget(() if message is None else tuple(message))

    def _forget(self, prefix: _Path) -> None:
        for path in tuple(self._below.get(prefix, ())):
            self._loads.pop(path, None)
            self._drop(path)

    async def _load(self, path: _Path, seconds: float, load: Callable[[], Awaitable[T]]) -> T:
        began = self._now()
        this = asyncio.current_task()
        try:
            value = await load()
            if self._loads.get(path) is this:
                self._entries[path] = (began + seconds, value)
        finally:
            if self._loads.get(path) is this:
                del self._loads[path]
                self._index(path)
        while len(self._entries) > self._entries_max:
            self._drop(next(iter(self._entries)))
        return value

    def _drop(self, path: _Path) -> None:
        self._entries.pop(path, None)
        self._index(path)

    def _index(self, path: _Path) -> None:
        # Every prefix knows the paths below it, so that forgetting costs what it forgets.
        present = path in self._entries or path in self._loads
        for length in range(len(path) + 1):
            prefix = path[:length]
            if present:
                self._below.setdefault(prefix, set()).add(path)
            elif prefix in self._below:
                self._below[prefix].discard(path)
                if not self._below[prefix]:
                    del self._below[prefix]


def _path(key: Key) -> _Path:
    return (key,) if isinstance(key, str) else tuple(map(str, key))


def _look_at_result(task: asyncio.Task[Any]) -> None:
    # When everybody who waited has gone, nobody else would look, and asyncio would complain.
    if not task.cancelled():
        task.exception()
