"""Limits on how often somebody may ask: by address, by person and by key, each for itself.

    await limits.take("sign_in_pair", f"{address} {email}")     counts one, or raises RateLimited

A limit of `100/900s` lets a hundred pass at once, and from then on one every nine seconds (GCRA, as throttled-py has it):
nobody waits for the end of a window, and nobody gets two windows at once. Counts are kept by this process, or by Redis
for all processes. While Redis is away each process counts for itself, beginning at nothing: nothing is refused for want
of Redis, and the gate is never open.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_network
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from holdfast.platform.errors import Refusal
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import BadSetting, Settings

if TYPE_CHECKING:
    from throttled.asyncio.rate_limiter import BaseRateLimiter

    from holdfast.platform.calls import Call
    from holdfast.platform.redis import Door

# Each is the setting `limit_<name>`. A route names one of the first three; a person and a key have one for everything
# that they do; the others are taken by name, where something is guessed or sent.
Profile = Literal[
    "reads",
    "writes",
    "claims",
    "staff",
    "keys",
    "sign_in_address",
    "sign_in_account",
    "sign_in_pair",
    "password_forgot",
    "magic_link",
    "code",
]
PROFILES: tuple[Profile, ...] = get_args(Profile)
# Whoever has one address of IPv6 has at least this network of them (RFC 6177, section 2).
IPV6_PREFIX = 64
NETWORKS_REMEMBERED = 4096
# In Redis a digest stands in place of addresses and e-mail.
DIGEST_BYTES = 12


class RateLimited(Refusal):
    """Too often. `Retry-After` says in how many seconds one more will pass."""

    code = "rate_limited"
    status = 429
    title = "Too many requests. Wait a moment."


class Standing(NamedTuple):
    """What is left of a limit: `remaining` may be taken at once, and in `reset_after` seconds all of it."""

    remaining: int
    reset_after: float


class Limits:
    """The limits of one process. Close it when done.

    Raises BadSetting for counts that should be in Redis where no Redis is named.
    """

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        self.is_on = settings.rate_limits == "on"
        self._gates: dict[str, _Gate] = {}
        self._door: Door | None = None
        store = settings.limits_store or ("redis" if settings.redis_url else "memory")
        if store == "redis" and settings.redis_url is None:
            raise BadSetting(
                "HOLDFAST_LIMITS_STORE is redis, and HOLDFAST_REDIS_URL does not say where that is."
            )
        if not self.is_on:
            return
        if store == "redis":
            from holdfast.platform import redis

            self._door = redis.Door(settings.redis_url or "")
        for name in PROFILES:
            count, seconds = parsed(getattr(settings, f"limit_{name}"))
            self._gates[name] = _Gate(name, count, seconds, settings.limits_keys_max, self._door, secrets)

    async def take(self, profile: Profile, who: str, *, cost: int = 1) -> Standing | None:
        """Counts `cost` for `who`, and what is then left; None when limits are off. Raises RateLimited."""
        if not self.is_on:
            return None
        gate = self._gates[profile]
        limited, (_, remaining, reset_after, retry_after) = await gate.limit(who, cost)
        if limited:
            raise gate.refusal(retry_after)
        return Standing(remaining, reset_after)

    async def check(self, profile: Profile, who: str) -> None:
        """Counts nothing. Raises RateLimited when one more would not pass.

        What is counted only after it failed can be tried as often as it fits side by side in between: where that
        matters, `take` first.
        """
        if not self.is_on:
            return
        gate = self._gates[profile]
        remaining, retry_after = await gate.peek(who)
        if remaining < 1:
            raise gate.refusal(retry_after)

    async def count(self, call: "Call[Any]", profile: Profile, who: str) -> None:
        """`take`, told to the caller: the fields `RateLimit-Policy` and `RateLimit` go out with whatever is answered.

        They are those of draft-ietf-httpapi-ratelimit-headers-10. Raises RateLimited.
        """
        if not self.is_on:
            return
        gate = self._gates[profile]
        limited, (_, remaining, reset_after, retry_after) = await gate.limit(who, 1)
        if call.added is None:
            call.added = []
        call.added += (
            (b"ratelimit-policy", gate.policy),
            (b"ratelimit", b'"%b";r=%d;t=%d' % (gate.label, remaining, ceil(reset_after))),
        )
        if limited:
            raise gate.refusal(retry_after)

    async def close(self) -> None:
        """Lets go of Redis."""
        if self._door is not None:
            await self._door.close()


Numbers = tuple[int, int, float, float]


class _Gate:
    """One limit, for everybody whom it counts. A gate has keys of its own, so a crowd at one pushes nobody from another."""

    def __init__(
        self, name: str, count: int, seconds: int, keys_max: int, door: "Door | None", secrets: Secrets
    ) -> None:
        # Imported here, because it takes longer to import than all the rest: it brings Redis' client.
        from throttled.asyncio.store import MemoryStore

        self.label = name.encode()
        self.policy = b'"%b";q=%d;w=%d' % (self.label, count, seconds)
        self._longest = (count - 1) * seconds / count
        self._said = f"At most {count} in {seconds} seconds."
        self._secrets = secrets
        self._door = door
        self._own = _limiter(count, seconds, MemoryStore(options={"MAX_SIZE": keys_max}), name)
        self._shared = (
            None if door is None else _limiter(count, seconds, _redis_store(door), f"holdfast:{name}")
        )

    def refusal(self, seconds: float) -> RateLimited:
        return RateLimited(self._said, retry_after=max(1, ceil(seconds)))

    async def limit(self, who: str, cost: int) -> tuple[bool, Numbers]:
        if self._shared is not None:
            shared, key = self._shared, self._digest(who)
            found = await self._ask(lambda: shared.limit(key, cost))
            if found is not None:
                return found.limited, _numbers(found.state)
        result = await self._own.limit(who, cost)
        return result.limited, _numbers(result.state)

    async def peek(self, who: str) -> tuple[int, float]:
        state = None
        if self._shared is not None:
            shared, key = self._shared, self._digest(who)
            state = await self._ask(lambda: shared.peek(key))
        if state is None:
            state = await self._own.peek(who)
        # Until there is room for one: what throttled-py 3.5 calls so after a look is what has gone by of that time.
        return state.remaining, state.reset_after - self._longest

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        assert self._door is not None
        return await self._door.ask(question)

    def _digest(self, who: str) -> str:
        return self._secrets.digest("limit", who, size=DIGEST_BYTES).hex()


def _numbers(state: Any) -> Numbers:
    return state.limit, state.remaining, state.reset_after, state.retry_after


def _limiter(count: int, seconds: int, store: Any, prefix: str) -> "BaseRateLimiter":
    from datetime import timedelta

    from throttled.asyncio.rate_limiter import GCRARateLimiter, per_duration

    return GCRARateLimiter(per_duration(timedelta(seconds=seconds), count), store, key_prefix=prefix)


def _redis_store(door: "Door") -> Any:
    from throttled.asyncio.store import RedisStore, RedisStoreBackend

    class Backend(RedisStoreBackend):
        """Its own client would wait as long as Redis hangs, and be shared between event loops."""

        def get_client(self) -> Any:
            return door.client

    class Store(RedisStore):
        _BACKEND_CLASS = Backend

    return Store()


def parsed(text: str) -> tuple[int, int]:
    """How many, and in how many seconds, of a limit such as `100/900s`."""
    count, _, period = text.partition("/")
    return int(count), int(period.removesuffix("s"))


def by_address(address: str) -> str:
    """Whom an address is counted as: itself, or the network of an address of IPv6."""
    return _network(address) if ":" in address else address


@lru_cache(NETWORKS_REMEMBERED)
def _network(address: str) -> str:
    try:
        found = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((found, IPV6_PREFIX), strict=False))
