"""The only door to Redis, which may be away, emptied or wrong at any time: nothing may depend on what it says.

Every call is bounded by `TIMEOUT_SECONDS`, and after a failure Redis is left alone for `REST_SECONDS`, so that a
Redis that hangs does not slow down whoever asks it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from throttled.exceptions import StoreUnavailableError

from holdfast.platform import clock, telemetry
from holdfast.platform.settings import BadSetting

CONNECTIONS_MAX = 16
TIMEOUT_SECONDS = 0.1
REST_SECONDS = 1.0

# Deletes what is still ours: between a GET and a DEL it could have become somebody else's.
_COMPARE_AND_DELETE = """
for i, key in ipairs(KEYS) do
  if redis.call('get', key) == ARGV[1] then redis.call('del', key) end
end"""

T = TypeVar("T")

log = telemetry.log("redis")


class Door:
    """A bounded way to one Redis. Raises BadSetting for what is no address of one."""

    def __init__(self, url: str) -> None:
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS_MAX,
                timeout=TIMEOUT_SECONDS,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                # Once more at once, for a connection that has died since; the client's own pauses are longer than we wait.
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError as error:
            raise BadSetting(f"HOLDFAST_REDIS_URL: {error}") from error
        self.client = Redis.from_pool(pool)
        self._rest_until = 0.0

    @property
    def is_resting(self) -> bool:
        """Whether Redis failed a moment ago and is left alone."""
        return clock.monotonic() < self._rest_until

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """The answer, or None when there is none within TIMEOUT_SECONDS; then Redis rests."""
        if self.is_resting:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await question()
        except (RedisError, StoreUnavailableError, OSError, TimeoutError) as error:
            self.tired(error)
            return None

    def tired(self, error: Exception) -> None:
        """Leaves Redis alone for REST_SECONDS."""
        if not self.is_resting:
            log.warning("redis away", error=repr(error.__cause__ or error))
        self._rest_until = clock.monotonic() + REST_SECONDS

    async def close(self) -> None:
        """Closes every connection."""
        await self.client.aclose()


class Locks:
    """Locks with a time limit, `SET key token NX PX`, released by compare-and-delete."""

    def __init__(self, url: str) -> None:
        self._door = Door(url)
        self._redis = self._door.client
        self._release = self._redis.register_script(_COMPARE_AND_DELETE)

    async def take(self, keys: Sequence[str], token: str, milliseconds: int) -> list[str] | None:
        """Takes all of the locks or none; the keys that somebody else has, empty when all were taken.

        A lock that has our very token counts as taken. None when Redis cannot say.
        """
        if self._door.is_resting:
            return None
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.set(key, token, nx=True, px=milliseconds)
                    pipe.get(key)
                answers = await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._door.tired(error)
            return None
        held = [
            value.decode("utf-8", "replace") if isinstance(value, bytes) else "" for value in answers[1::2]
        ]
        theirs = [key for key, value in zip(keys, held, strict=True) if value != token]
        if theirs:
            await self.release(keys, token)
        return theirs

    async def release(self, keys: Sequence[str], token: str) -> None:
        """Gives back the locks that are ours; those that cannot be given back end by themselves."""
        try:
            await self._release(keys=list(keys), args=[token])
        except (RedisError, OSError, TimeoutError) as error:
            self._door.tired(error)

    async def close(self) -> None:
        """Closes every connection."""
        await self._door.close()
