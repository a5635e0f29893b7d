"""Limits on how often somebody may ask: by address, by person and by key, each for itself.

    await limits.take("sign_in_pair", f"{address} {email}")     counts one, or raises RateLimited

A limit of `100/900s` lets a hundred pass at once, and from then on one every nine seconds (GCRA): nobody waits for the
end of a window, and nobody gets two windows at once. Counts are kept by this process, or by Redis for all processes,
with throttled-py. While Redis is away each process counts for itself, beginning at nothing: nothing is refused for want
of Redis, and the gate is never open.
"""

from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from ipaddress import IPv6Address, ip_network
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from holdfast.platform import clock
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
    "transfers",
    "resends",
    "provider",
    "code",
    "promotion",
]
PROFILES: tuple[Profile, ...] = get_args(Profile)
# Whoever has one address of IPv6 has at least this network of them (RFC 6177, section 2).
IPV6_PREFIX = 64
NETWORKS_REMEMBERED = 4096
# In Redis a digest stands in place of addresses and e-mail.
DIGEST_BYTES = 12
# So much of one request may be lost to the rounding of sums, and the last one that fits still passes.
ROUNDING = 1e-6


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
        self._trying: Counter[tuple[Profile, str]] = Counter()
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
        remaining, reset_after, retry_after = await gate.limit(who, cost)
        if retry_after > 0:
            raise gate.refusal(retry_after)
        return Standing(remaining, reset_after)

    async def check(self, profile: Profile, who: str) -> None:
        """Counts nothing. Raises RateLimited when one more would not pass.

        What is counted only after it failed can be tried as often as it fits side by side in between: where that
        matters, see `trying`.
        """
        if not self.is_on:
            return
        gate = self._gates[profile]
        retry_after = await gate.peek(who)
        if retry_after > 0:
            raise gate.refusal(retry_after)

    @asynccontextmanager
    async def trying(self, profile: Profile, who: str, *failures: type[Exception]) -> AsyncIterator[None]:
        """Room for one try, which is counted if the block raises one of `failures`. Raises RateLimited.

        As many may try side by side as could all fail. That is exact in this process; tries that are under way in other
        processes are counted when they have failed.
        """
        if not self.is_on:
            yield
            return
        gate, key = self._gates[profile], (profile, who)
        # Those before it, which are being tried or about to be: all of them might fail yet.
        beside = self._trying[key]
        self._trying[key] += 1
        try:
            retry_after = await gate.peek(who, beside + 1)
            if retry_after > 0:
                raise gate.refusal(retry_after)
            try:
                yield
            except failures:
                await gate.limit(who, 1)
                raise
        finally:
            self._trying[key] -= 1
            if not self._trying[key]:
                del self._trying[key]

    async def count(self, call: "Call[Any]", profile: Profile, who: str) -> None:
        """`take`, told to the caller: the fields `RateLimit-Policy` and `RateLimit` go out with whatever is answered.

        They are those of draft-ietf-httpapi-ratelimit-headers-10. Raises RateLimited.
        """
        if not self.is_on:
            return
        gate = self._gates[profile]
        remaining, reset_after, retry_after = await gate.limit(who, 1)
        if call.added is None:
            call.added = []
        call.added += (
            gate.policy,
            (b"ratelimit", b'"%b";r=%d;t=%d' % (gate.label, remaining, ceil(reset_after))),
        )
        if retry_after > 0:
            raise gate.refusal(retry_after)

    async def close(self) -> None:
        """Lets go of Redis."""
        if self._door is not None:
            await self._door.close()


# How many more may pass at once, the seconds until all may, and the seconds until this one may: 0 when it passed.
Numbers = tuple[int, float, float]


class _Gate:
    """One limit, for everybody whom it counts. A gate has keys of its own, so a crowd at one pushes nobody from another."""

    def __init__(
        self, name: str, count: int, seconds: int, keys_max: int, door: "Door | None", secrets: Secrets
    ) -> None:
        self.label = name.encode()
        self.policy = (b"ratelimit-policy", b'"%b";q=%d;w=%d' % (self.label, count, seconds))
        self._longest = (count - 1) * seconds / count
        self._said = f"At most {count} in {seconds} seconds."
        self._secrets = secrets
        self._door = door
        self._own = _Tally(count, seconds, keys_max)
        self._shared = None if door is None else _in_redis(count, seconds, door, f"holdfast:{name}")

    def refusal(self, seconds: float) -> RateLimited:
        return RateLimited(self._said, retry_after=max(1, ceil(seconds)))

    async def limit(self, who: str, cost: int) -> Numbers:
        if self._shared is not None:
            shared, key = self._shared, self._digest(who)
            found = await self._ask(lambda: shared.limit(key, cost))
            if found is not None:
                state = found.state
                # It may say 0 seconds of somebody who is a hair too early.
                wait = max(state.retry_after, ROUNDING) if found.limited else 0.0
                return state.remaining, state.reset_after, wait
        return self._own.limit(who, cost)

    async def peek(self, who: str, cost: int = 1) -> float:
        """The seconds until `cost` more would pass."""
        if self._shared is not None:
            shared, key = self._shared, self._digest(who)
            state = await self._ask(lambda: shared.peek(key))
            if state is not None:
                # What throttled-py 3.5 calls retry_after after a look is what has gone by of that time.
                return max(state.reset_after - self._longest, ROUNDING) if state.remaining < cost else 0.0
        return self._own.peek(who, cost)

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        assert self._door is not None
        return await self._door.ask(question)

    def _digest(self, who: str) -> str:
        return self._secrets.digest("limit", who, size=DIGEST_BYTES).hex()


class _Tally:
    """The counts of one limit in memory: for each, when all of it may be taken again (GCRA's arrival time).

    Every request pays for this, and the same of throttled-py costs seven times as much. Who was counted longest ago is
    forgotten when there are too many.
    """

    def __init__(self, count: int, seconds: int, keys_max: int) -> None:
        self._seconds = seconds
        self._each = seconds / count
        self._keys_max = keys_max
        self.until: OrderedDict[str, float] = OrderedDict()

    def limit(self, who: str, cost: int) -> Numbers:
        now, until = clock.monotonic(), self.until
        begun = max(until.get(who, now), now)
        after = begun + cost * self._each
        left = (self._seconds - (after - now)) / self._each + ROUNDING
        if left < 0:
            # Who is refused is known, too: a crowd would else make a newcomer of whoever asks on and on.
            if who in until:
                until.move_to_end(who)
            remaining = int((self._seconds - (begun - now)) / self._each + ROUNDING)
            return remaining, begun - now, max(after - now - self._seconds, ROUNDING)
        until[who] = after
        until.move_to_end(who)
        if len(until) > self._keys_max:
            until.popitem(last=False)
        return int(left), after - now, 0.0

    def peek(self, who: str, cost: int) -> float:
        begun = max(self.until.get(who, 0.0) - clock.monotonic(), 0.0)
        wait = begun + cost * self._each - self._seconds
        return wait if wait > self._each * ROUNDING else 0.0


def _in_redis(count: int, seconds: int, door: "Door", prefix: str) -> "BaseRateLimiter":
    from datetime import timedelta

    from throttled.asyncio.rate_limiter import GCRARateLimiter, per_duration
    from throttled.asyncio.store import RedisStore, RedisStoreBackend

    class Backend(RedisStoreBackend):
        """Its own client would wait as long as Redis hangs, and be shared between event loops."""

        def get_client(self) -> Any:
            return door.client

    class Store(RedisStore):
        _BACKEND_CLASS = Backend

    return GCRARateLimiter(per_duration(timedelta(seconds=seconds), count), Store(), key_prefix=prefix)


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
