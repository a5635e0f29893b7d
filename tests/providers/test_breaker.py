"""The circuit breaker: who fails again and again is left alone, and tried by one call afterwards."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client.registry import REGISTRY

from holdfast.payments.provider import ProviderDown, ProviderRefused, Seen
from holdfast.payments.providers import breaker
from holdfast.payments.providers.breaker import Guarded
from holdfast.platform.settings import Settings

pytestmark = pytest.mark.anyio
SEEN = Seen(ref="r", state="open", amount=1, currency="EUR")


class Weak:
    """A provider whose `look` does what the test says."""

    name = "weak"

    def __init__(self) -> None:
        self.calls = 0
        self.does: Callable[[], Awaitable[Seen]] = self.works

    async def look(self, ref: str) -> Seen:
        self.calls += 1
        return await self.does()

    async def works(self) -> Seen:
        return SEEN

    async def down(self) -> Seen:
        raise ProviderDown("weak: 503")

    async def refuses(self) -> Seen:
        raise ProviderRefused("weak: no")

    async def hangs(self) -> Seen:
        await asyncio.Event().wait()
        raise AssertionError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(breaker, "monotonic", clock)
    return clock


@pytest.fixture
def weak() -> Weak:
    return Weak()


@pytest.fixture
def guarded(weak: Any) -> Guarded:
    return Guarded(
        weak, Settings(provider_failures_max=3, provider_pause_seconds=20.0, provider_seconds=30.0)
    )


async def failed(guarded: Guarded, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ProviderDown):
            await guarded.look("r")


def left_alone() -> float | None:
    return REGISTRY.get_sample_value("holdfast_provider_left_alone", {"provider": "weak"})


async def test_after_so_many_failures_it_is_not_asked(clock: Clock, weak: Weak, guarded: Guarded) -> None:
    weak.does = weak.down
    await failed(guarded, 3)
    assert left_alone() == 1.0
    await failed(guarded, 5)
    assert weak.calls == 3
    clock.now += 19.9
    await failed(guarded, 1)
    assert weak.calls == 3


async def test_what_works_in_between_begins_the_count_anew(weak: Weak, guarded: Guarded) -> None:
    for _ in range(3):
        weak.does = weak.down
        await failed(guarded, 2)
        weak.does = weak.works
        assert await guarded.look("r") == SEEN
    weak.does = weak.down
    await failed(guarded, 2)
    weak.does = weak.refuses
    with pytest.raises(ProviderRefused):
        await guarded.look("r")
    weak.does = weak.down
    await failed(guarded, 2)
    assert left_alone() == 0.0


async def test_one_call_tries_whether_it_works_again(clock: Clock, weak: Weak, guarded: Guarded) -> None:
    weak.does = weak.down
    await failed(guarded, 3)
    clock.now += 20.1
    answer: asyncio.Future[Seen] = asyncio.get_running_loop().create_future()

    async def slowly() -> Seen:
        return await answer

    weak.does = slowly
    probe = asyncio.create_task(guarded.look("r"))
    await asyncio.sleep(0)
    assert weak.calls == 4
    await failed(guarded, 3)
    assert weak.calls == 4
    answer.set_result(SEEN)
    assert await probe == SEEN
    assert left_alone() == 0.0
    weak.does = weak.works
    assert await guarded.look("r") == SEEN


async def test_a_trial_that_fails_leaves_it_alone_once_more(
    clock: Clock, weak: Weak, guarded: Guarded
) -> None:
    weak.does = weak.down
    await failed(guarded, 3)
    clock.now += 20.1
    await failed(guarded, 2)
    assert weak.calls == 4
    clock.now += 20.1
    weak.does = weak.works
    assert await guarded.look("r") == SEEN


async def test_a_trial_whose_caller_goes_away_lets_another_try(
    clock: Clock, weak: Weak, guarded: Guarded
) -> None:
    weak.does = weak.down
    await failed(guarded, 3)
    clock.now += 20.1
    weak.does = weak.hangs
    probe = asyncio.create_task(guarded.look("r"))
    await asyncio.sleep(0)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    weak.does = weak.works
    assert await guarded.look("r") == SEEN


async def test_a_call_has_a_limit_of_time(weak: Any) -> None:
    guarded = Guarded(weak, Settings(provider_seconds=0.05))
    weak.does = weak.hangs
    with pytest.raises(ProviderDown, match="did not answer"):
        await guarded.look("r")


async def test_calls_are_counted_by_how_they_ended(weak: Weak, guarded: Guarded) -> None:
    def count(outcome: str) -> float:
        labels = {"provider": "weak", "call": "look", "outcome": outcome}
        return REGISTRY.get_sample_value("holdfast_provider_seconds_count", labels) or 0.0

    before = {name: count(name) for name in ("answered", "refused", "down", "left_alone")}
    await guarded.look("r")
    weak.does = weak.refuses
    with pytest.raises(ProviderRefused):
        await guarded.look("r")
    weak.does = weak.down
    await failed(guarded, 5)
    after = {name: count(name) - before[name] for name in before}
    assert after == {"answered": 1, "refused": 1, "down": 3, "left_alone": 2}
