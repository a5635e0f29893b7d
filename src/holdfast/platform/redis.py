"""The only door to Redis, which may be away, emptied or wrong at any time: nothing may depend on what it says.

Every call is bounded by `TIMEOUT_SECONDS`, and after a failure Redis is left alone for `REST_SECONDS`, so that a
Redis that hangs does not slow down whoever asks it.
"""

from collections.abc import Sequence

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

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

log = telemetry.log("redis")


class Locks:
    """Locks with a time limit, `SET key token NX PX`, released by compare-and-delete."""

    def __init__(self, url: str) -> None:
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS_MAX,
                timeout=TIMEOUT_SECONDS,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
            )
        except ValueError as error:
            raise BadSetting(f"HOLDFAST_REDIS_URL: {error}") from error
        self._redis = Redis.from_pool(pool)
        self._release = self._redis.register_script(_COMPARE_AND_DELETE)
        self._rest_until = 0.0

    async def take(self, keys: Sequence[str], token: str, milliseconds: int) -> list[str] | None:
        """Takes all of the locks or none; the keys that somebody else has, empty when all were taken.

        A lock that has our very token counts as taken. None when Redis cannot say.
        """
        if clock.monotonic() < self._rest_until:
            return None
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.set(key, token, nx=True, px=milliseconds)
                    pipe.get(key)
                answers = await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._tired(error)
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
            self._tired(error)

    async def close(self) -> None:
        """Closes every connection."""
        await self._redis.aclose()

    def _tired(self, error: Exception) -> None:
        self._rest_until = clock.monotonic() + REST_SECONDS
        log.warning("redis away", error=repr(error))
