"""The counting itself: exact, bounded, apart for each limit, and going on while Redis is away."""

import asyncio
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from holdfast.platform.challenge import ChallengeFailed, Work, zero_bits
from holdfast.platform.limits import PROFILES, Limits, RateLimited, by_address, parsed
from holdfast.platform.redis import Door
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import BadSetting, Settings, read
from tests.conftest import SECRET, eventually, program

pytestmark = pytest.mark.anyio


class Clock:
    """Time as the counts in memory see it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("holdfast.platform.clock.monotonic", clock)
    return clock


def limits(**changes: Any) -> Limits:
    return Limits(Settings(**changes), Secrets(SECRET))


async def passed(limits: Limits, tries: int, who: str = "somebody", profile: Any = "claims") -> int:
    """How many of so many tries pass."""
    count = 0
    for _ in range(tries):
        try:
            await limits.take(profile, who)
        except RateLimited:
            continue
        count += 1
    return count


async def test_a_hundred_pass_and_then_one_every_nine_seconds(clock: Clock) -> None:
    counted = limits(limit_claims="100/900s")
    assert await passed(counted, 300) == 100
    with pytest.raises(RateLimited) as refused:
        await counted.take("claims", "somebody")
    assert refused.value.retry_after == 9
    clock.now += 8.9
    assert await passed(counted, 5) == 0
    clock.now += 0.2
    assert await passed(counted, 5) == 1
    clock.now += 900
    assert await passed(counted, 300) == 100


async def test_the_last_one_that_fits_passes_also_where_sums_are_rounded(clock: Clock) -> None:
    for limit, most in (("50/60s", 50), ("7/60s", 7), ("3/1s", 3), ("1200/60s", 1200)):
        counted = limits(limit_claims=limit)
        for _ in range(3):
            assert await passed(counted, 2 * most) == most, limit
            with pytest.raises(RateLimited):
                await counted.check("claims", "somebody")
            clock.now += 61.7


async def test_whoever_is_refused_is_not_forgotten_before_those_who_came_later(clock: Clock) -> None:
    counted = limits(limits_keys_max=10, limit_claims="5/900s")
    assert await passed(counted, 9) == 5
    for number in range(30):
        await counted.take("claims", f"10.0.0.{number}")
        assert await passed(counted, 1) == 0


async def test_what_is_left_is_told(clock: Clock) -> None:
    counted = limits(limit_claims="100/900s")
    standing = await counted.take("claims", "somebody", cost=3)
    assert standing == (97, 27.0)
    clock.now += 9
    standing = await counted.take("claims", "somebody")
    assert standing == (97, 27.0)


async def test_everybody_and_every_limit_is_counted_apart(clock: Clock) -> None:
    counted = limits(limit_claims="2/60s", limit_sign_in_pair="3/60s")
    assert await passed(counted, 9, "one") == 2
    assert await passed(counted, 9, "another") == 2
    assert await passed(counted, 9, "one", "sign_in_pair") == 3


async def test_a_look_counts_nothing(clock: Clock) -> None:
    counted = limits(limit_sign_in_pair="2/60s")
    for _ in range(9):
        await counted.check("sign_in_pair", "somebody")
    assert await passed(counted, 9, profile="sign_in_pair") == 2
    with pytest.raises(RateLimited) as refused:
        await counted.check("sign_in_pair", "somebody")
    assert refused.value.retry_after == 30
    clock.now += 30
    await counted.check("sign_in_pair", "somebody")


async def test_side_by_side_no_more_pass_than_one_after_the_other() -> None:
    counted = limits(limit_claims="100/900s")
    assert sum(await asyncio.gather(*(passed(counted, 10) for _ in range(50)))) == 100


async def test_a_crowd_of_addresses_takes_no_more_memory_and_pushes_out_no_other_limit(clock: Clock) -> None:
    counted = limits(limits_keys_max=1000, limit_claims="5/900s", limit_sign_in_account="5/900s")
    assert await passed(counted, 9, "person@example.org", "sign_in_account") == 5
    for number in range(3000):
        await counted.take("claims", f"10.0.{number // 256}.{number % 256}")
    assert len(counted._gates["claims"]._own.until) == 1000
    assert await passed(counted, 1, "person@example.org", "sign_in_account") == 0


async def test_off_counts_nothing() -> None:
    counted = limits(rate_limits="off", limit_claims="1/900s")
    assert await passed(counted, 50) == 50
    await counted.check("claims", "somebody")


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::1", "127.0.0.1", False),
        ("not:an:address", "192.0.2.1", False),
    ],
)
def test_an_address_of_ipv6_counts_as_its_network(one: str, other: str, same: bool) -> None:
    assert (by_address(one) == by_address(other)) is same


def test_every_limit_is_a_setting_and_every_setting_a_limit() -> None:
    fields = {name.removeprefix("limit_") for name in Settings.__struct_fields__ if name.startswith("limit_")}
    assert fields == set(PROFILES)
    assert parsed(Settings().limit_claims) == (100, 900)


@pytest.mark.parametrize(
    "text", ["100", "100/15m", "0/60s", "100/0s", "-1/60s", " 1/60s", "1e3/60s", "9" * 9 + "/1s"]
)
def test_a_limit_that_cannot_be_is_named(text: str) -> None:
    with pytest.raises(BadSetting, match="HOLDFAST_LIMIT_CLAIMS"):
        read({"HOLDFAST_LIMIT_CLAIMS": text})


def test_a_store_that_is_nowhere_is_named() -> None:
    with pytest.raises(BadSetting, match="HOLDFAST_REDIS_URL"):
        limits(limits_store="redis")


class Server:
    """A redis-server of our own on a unix socket, which keeps nothing when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [program("redis-server"), "--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    async def answers(self) -> bool:
        try:
            async with Redis.from_url(self.url) as client:
                return bool(await client.ping())
        except (OSError, RedisError):
            return False


@pytest.fixture
def redis() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="holdfast-redis-") as folder:
        server = Server(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
async def shared(redis: Server) -> AsyncIterator[Callable[..., Limits]]:
    """Makes the limits of one more process that counts in Redis."""
    await eventually(redis.answers)
    opened: list[Limits] = []

    def make(**changes: Any) -> Limits:
        opened.append(limits(redis_url=redis.url, **changes))
        return opened[-1]

    yield make
    for each in opened:
        await each.close()


async def test_in_redis_all_processes_count_together(shared: Callable[..., Limits]) -> None:
    one, two = shared(limit_claims="10/900s"), shared(limit_claims="10/900s")
    assert await passed(one, 4) == 4
    assert await passed(two, 9) == 6
    with pytest.raises(RateLimited) as refused:
        await one.check("claims", "somebody")
    assert 80 < (refused.value.retry_after or 0) <= 90
    assert await passed(one, 3, "another") == 3


async def test_redis_holds_no_address(shared: Callable[..., Limits], redis: Server) -> None:
    counted = shared()
    await counted.take("sign_in_account", "guest@example.org")
    async with Redis.from_url(redis.url) as client:
        (key,) = await client.keys()
    assert b"sign_in_account" in key
    assert b"guest" not in key and b"example" not in key


async def test_in_memory_two_processes_count_each_for_itself(shared: Callable[..., Limits]) -> None:
    one, two = (shared(limits_store="memory", limit_claims="10/900s") for _ in range(2))
    assert await passed(one, 15) + await passed(two, 15) == 20


async def test_while_redis_is_away_each_process_counts_for_itself(
    shared: Callable[..., Limits], redis: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Clock()
    monkeypatch.setattr("holdfast.platform.clock.monotonic", now)
    counted = shared(limit_claims="10/900s")
    assert await passed(counted, 7) == 7
    redis.stop()
    # Neither refused for want of Redis, nor let through without end.
    assert await passed(counted, 30) == 10
    with pytest.raises(RateLimited):
        await counted.check("claims", "somebody")
    redis.start()
    await eventually(redis.answers)
    assert await passed(counted, 5) == 0, "it rests, and has not been asked"
    now.now += 1.1
    assert await passed(counted, 30) == 10, "it came back empty, and is asked again"


async def test_redis_that_hangs_is_waited_for_once(
    shared: Callable[..., Limits], redis: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.platform.clock.monotonic", Clock())
    counted = shared(limit_claims="10/900s")
    assert await passed(counted, 1) == 1
    assert redis.process is not None
    asked = 0
    client: Any = counted._door.client if counted._door else None
    execute = client.execute_command

    async def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        return await execute(*arguments, **options)

    monkeypatch.setattr(client, "execute_command", counting)
    redis.process.send_signal(signal.SIGSTOP)
    try:
        assert await passed(counted, 30) == 10
    finally:
        redis.process.send_signal(signal.SIGCONT)
    assert asked == 1


def a_call(answer: str | None = None, key: str | None = None) -> Any:
    """As much of a request as a proof of work looks at."""
    headers = {} if answer is None else {b"challenge-answer": answer.encode()}
    return SimpleNamespace(client_ip="192.0.2.1", headers=headers, idempotency_key=lambda: key)


def work(door: Door | None) -> Work:
    return Work(Settings(challenge="work", challenge_bits=4), Secrets(SECRET), door)


def solved(work: Work) -> str:
    seed = work.pose(a_call(), b"show").seed
    return next(text for n in count() if zero_bits(sha256((text := f"{seed}.{n}").encode()).digest()) >= 4)


async def test_in_redis_a_proof_of_work_is_spent_for_all_processes(redis: Server) -> None:
    await eventually(redis.answers)
    one, two, three = (work(Door(redis.url)) for _ in range(3))
    answer = solved(one)
    await one.verify(a_call(answer, "a key"), b"show")
    with pytest.raises(ChallengeFailed):
        await two.verify(a_call(answer), b"show")
    with pytest.raises(ChallengeFailed):
        await two.verify(a_call(answer, "another key"), b"show")
    # The very same claim, sent again to another process.
    await three.verify(a_call(answer, "a key"), b"show")
    redis.stop()
    another = solved(one)
    await one.verify(a_call(another), b"show")
    with pytest.raises(ChallengeFailed):
        await one.verify(a_call(another), b"show")
    for each in (one, two, three):
        await each.close()


async def test_spent_proofs_take_no_more_than_so_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.platform.challenge.SPENT_MAX", 10)
    one = work(None)
    for _ in range(30):
        await one.verify(a_call(solved(one)), b"show")
    assert len(one._spent) == 10
