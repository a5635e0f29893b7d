"""Waiting for what must come about, without saying when."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable

PATIENCE_SECONDS = 30.0


async def until(holds: Callable[[], object | Awaitable[object]]) -> None:
    """Returns as soon as `holds()` is true; fails when it is not within PATIENCE_SECONDS."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = holds()
            if isawaitable(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)
