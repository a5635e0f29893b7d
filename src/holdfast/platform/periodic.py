"""Duties that come round again and again: sweeps, gauges, pruning. They outlive whatever goes wrong in one round."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import uniform

from holdfast.platform import telemetry
from holdfast.platform.errors import Busy

STOP_SECONDS = 5.0
# Hints may come in hundreds a second; rounds do not.
GAP_SECONDS = 0.02

log = telemetry.log("periodic")


class Periodic:
    """Does `work` at the start and then every `seconds`, 10 % more or less so that processes drift apart.

    Rounds never overlap. What a round raises is logged, and the next one comes as if nothing had happened.
    """

    def __init__(self, name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        self.name = name
        self._seconds = seconds
        self._work = work
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins in a task of its own."""
        assert self._task is None, "started twice"
        self._task = asyncio.create_task(self._run(), name=f"periodic {self.name}")

    def wake(self) -> None:
        """Lets the next round come now; during a round, one more follows it."""
        self._wake.set()

    async def stop(self) -> None:
        """Lets the present round end, within STOP_SECONDS, then cancels it."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_SECONDS)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._work()
            except Busy as refusal:
                log.warning("round left out", duty=self.name, error=str(refusal))
            except Exception:
                log.exception("round failed", duty=self.name)
            await asyncio.sleep(GAP_SECONDS)
            await woken(self._wake, self._seconds * uniform(0.9, 1.1))  # noqa: S311 -- only to drift apart


async def woken(wake: asyncio.Event, seconds_max: float) -> None:
    """Waits for the event, at most so long, and clears it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds_max):
            await wake.wait()
    wake.clear()
