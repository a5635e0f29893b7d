"""The cache in one process, and what two processes do to each other's."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from holdfast.platform.broadcast import Broadcast
from holdfast.platform.cache import TOPIC, Cache, Key
from holdfast.platform.db import open_database
from holdfast.platform.settings import Settings
from tests.platform.eventually import until

pytestmark = pytest.mark.anyio


class Source:
    """Something to load from: counts its loads, and lets a load wait until it is let through."""

    def __init__(self) -> None:
        self.loads = 0
        self.value: object = "first"
        self.open = asyncio.Event()
        self.open.set()

    async def load(self) -> object:
        self.loads += 1
        value = self.value
        await self.open.wait()
        if isinstance(value, Exception):
            raise value
        return value


class Hand:
    """A clock that is moved by hand."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def returning(value: object) -> Callable[[], Awaitable[object]]:
    async def load() -> object:
        return value

    return load


async def test_a_value_is_kept_until_its_time_is_over() -> None:
    clock, source = Hand(), Source()
    cache = Cache(now=clock)
    assert await cache.get("key", 10, source.load) == "first"
    source.value = "second"
    clock.seconds = 9.999
    assert await cache.get("key", 10, source.load) == "first"
    clock.seconds = 10.0
    assert await cache.get("key", 10, source.load) == "second"
    assert source.loads == 2


async def test_age_is_counted_from_the_start_of_the_load() -> None:
    clock, source = Hand(), Source()
    cache = Cache(now=clock)
    source.open.clear()
    slow = asyncio.create_task(cache.get("key", 10, source.load))
    await until(lambda: source.loads)
    clock.seconds = 9.0
    source.open.set()
    await slow
    clock.seconds = 10.0
    await cache.get("key", 10, source.load)
    assert source.loads == 2


async def test_nothing_is_a_value_like_any_other() -> None:
    cache, source = Cache(), Source()
    source.value = None
    assert await cache.get("key", 10, source.load) is None
    assert await cache.get("key", 10, source.load) is None
    assert source.loads == 1


async def test_two_hundred_at_once_make_one_load() -> None:
    cache, source = Cache(), Source()
    source.open.clear()
    waiting = [asyncio.create_task(cache.get("key", 10, source.load)) for _ in range(200)]
    await until(lambda: source.loads)
    other = asyncio.create_task(cache.get("other", 10, source.load))
    await until(lambda: source.loads == 2)
    source.open.set()
    assert await asyncio.gather(*waiting, other) == ["first"] * 201
    assert source.loads == 2


async def test_a_failing_load_fails_everybody_and_is_not_kept() -> None:
    cache, source = Cache(), Source()
    source.open.clear()
    source.value = ValueError("on purpose")
    waiting = [asyncio.create_task(cache.get("key", 10, source.load)) for _ in range(200)]
    await until(lambda: source.loads)
    source.open.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {repr(outcome) for outcome in outcomes} == {"ValueError('on purpose')"}
    assert source.loads == 1
    source.value = "second"
    assert await cache.get("key", 10, source.load) == "second"


async def test_who_goes_away_takes_nobody_along() -> None:
    cache, source = Cache(), Source()
    source.open.clear()
    first, second = (asyncio.create_task(cache.get("key", 10, source.load)) for _ in range(2))
    await until(lambda: source.loads)
    first.cancel()
    await asyncio.wait([first])
    source.open.set()
    assert await second == "first"
    assert source.loads == 1


async def test_a_failure_that_nobody_waits_for_is_no_complaint() -> None:
    cache, source = Cache(), Source()
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    source.open.clear()
    source.value = ValueError("on purpose")
    alone = asyncio.create_task(cache.get("key", 10, source.load))
    await until(lambda: source.loads)
    alone.cancel()
    await asyncio.wait([alone])
    source.open.set()
    await until(lambda: not cache._loads)
    source.value = "second"
    assert await cache.get("key", 10, source.load) == "second"
    assert complaints == []


async def test_forgetting_reaches_everything_below() -> None:
    cache = Cache()
    show, other = UUID(int=1), UUID(int=2)
    keys: list[Key] = [("show", show), ("show", show, "tiers"), ("show", other), ("shows",), "show-list"]
    for key in keys:
        await cache.get(key, 10, returning("old"))
    cache.forget(("show", show))
    assert [await cache.get(key, 10, returning("new")) for key in keys] == [
        "new",
        "new",
        "old",
        "old",
        "old",
    ]
    cache.forget("show")
    assert [await cache.get(key, 10, returning("newer")) for key in keys[:4]] == ["newer"] * 3 + ["old"]


async def test_a_load_that_began_before_forgetting_does_not_bring_the_old_value_back() -> None:
    cache, source = Cache(), Source()
    source.open.clear()
    early = asyncio.create_task(cache.get(("show", 1), 10, source.load))
    await until(lambda: source.loads == 1)
    source.value = "second"
    cache.forget(("show",))
    late = asyncio.create_task(cache.get(("show", 1), 10, source.load))
    await until(lambda: source.loads == 2)
    source.open.set()
    assert (await early, await late) == ("first", "second")
    assert await cache.get(("show", 1), 10, source.load) == "second"
    assert source.loads == 2


async def test_the_old_load_may_also_end_last() -> None:
    cache, old = Cache(), Source()
    old.open.clear()
    early = asyncio.create_task(cache.get("key", 10, old.load))
    await until(lambda: old.loads == 1)
    cache.forget("key")
    assert await cache.get("key", 10, returning("new")) == "new"
    old.open.set()
    assert await early == "first"
    assert await cache.get("key", 10, returning("newer")) == "new"


async def test_what_was_not_used_for_longest_makes_room() -> None:
    cache = Cache(entries_max=3)
    for key in "abc":
        await cache.get(key, 10, returning(key))
    assert len(cache) == 3
    await cache.get("a", 10, returning("a"))
    await cache.get("d", 10, returning("d"))
    assert len(cache) == 3
    kept = [await cache.get(key, 10, returning("again")) for key in "acd"]
    assert kept == ["a", "c", "d"]
    assert await cache.get("b", 10, returning("again")) == "again"
    for number in range(1000):
        await cache.get(("many", number), 10, returning(number))
    assert len(cache) == 3
    assert sum(len(paths) for paths in cache._below.values()) <= 3 * 3


async def test_forgetting_reaches_the_other_processes(settings: Settings) -> None:
    dbs = [await open_database(settings) for _ in range(2)]
    wires = [Broadcast(db) for db in dbs]
    caches = [Cache(wire) for wire in wires]
    told: list[object] = []
    for wire in wires:
        wire.subscribe(TOPIC, told.append)
        wire.start()
    await until(lambda: len(told) == 2)
    here, there = caches
    show, other = ("show", UUID(int=1)), ("show", UUID(int=2))
    for cache in caches:
        for key in (show, other):
            await cache.get(key, 300, returning("old"))

    here.forget(show)
    assert await here.get(show, 300, returning("new")) == "new"

    async def there_it_is_new() -> bool:
        return await there.get(show, 300, returning("new")) == "new"

    await until(there_it_is_new)
    assert await there.get(other, 300, returning("new")) == "old"

    # A message that is too large for the wire, or lost with it, costs the other process all that it has kept.
    here.forget(("x" * 9000,))
    await until(lambda: len(there) == 0)
    assert len(here) == 2
    for wire in wires:
        await wire.stop()
    for db in dbs:
        await db.close()
