"""Our own load generator, a process of its own: `python -m bench.crowds JOB OUT`, both JSON (`load.Crowd`, `load.Load`).

Raw connections on uvloop with requests made beforehand where that is possible: some 20 microseconds per answer. Every
booking that was acknowledged is remembered by its id. The kinds of crowd:

    claims     plain claims, as wrk sends them
    draws      a fixed number of requests, each for two random seats of a random show, free or not
    buyers     look at the availability, claim a free pair of neighbours, look again when refused; until all is sold
    readers    lists, shows and availabilities, and one claim to so many reads
    burst      everybody connects and claims once, all within one second
    steady     so many claims a second of pairs in the second half, each at its moment, whether the last is answered or not
"""

import asyncio
import base64
import random
import re
import sys
import time
from abc import ABC, abstractmethod
from array import array
from collections import Counter, deque
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import uvloop

from bench import figures
from bench.load import Claims, Crowd, Load, claim_body, claim_path, get, post

STRAGGLERS_SECONDS_MAX = 60.0
BURST_SECONDS = 1.0

_LENGTH = b"content-length: "
_ID_AT = len(b'{"id":"')
_ID_LENGTH = 36
_NOT_FULL = re.compile(rb"[^\xff]")


class Talk(asyncio.Protocol):
    """One connection: at most one request under way, answers of a known length."""

    __slots__ = ("claiming", "crowd", "kept", "rest", "sent_at", "transport")

    def __init__(self, crowd: "Visitors") -> None:
        self.crowd = crowd
        self.rest = b""
        self.sent_at = 0.0
        self.claiming = False
        self.kept: Any = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, request: bytes, *, claiming: bool) -> None:
        """Sends the request; the crowd hears of its answer."""
        self.claiming = claiming
        self.crowd.sent += 1
        self.sent_at = perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.rest = data
            return
        at = data.find(_LENGTH, 0, end)
        length = int(data[at + len(_LENGTH) : data.find(b"\r", at)]) if at >= 0 else 0
        if len(data) < end + 4 + length:
            self.rest = data
            return
        self.rest = b""
        self.crowd.answered(self, data[9:12], data[end + 4 :])

    def connection_lost(self, error: Exception | None) -> None:
        self.crowd.left(self)


class Visitors(ABC):
    """The base of all crowds: opens the connections, counts, measures, ends. Kinds say what is asked next."""

    def __init__(self, job: Crowd) -> None:
        self.job = job
        self.random = random.Random(job.seed)  # noqa: S311
        self.sent = 0
        self.statuses: Counter[bytes] = Counter()
        self.in_time: Counter[bytes] = Counter()
        self.latencies = array("d")
        self.ids: list[str] = []
        self.more: dict[str, float] = {}
        self.seats_sent: list[tuple[float, list[int]]] = []
        self.began = self.until = 0.0
        self.talks: set[Talk] = set()
        self.lost = 0
        self.all_done = asyncio.Event()

    @property
    def seconds(self) -> float:
        return self.job.seconds

    @abstractmethod
    def following(self, talk: Talk, status: bytes | None, body: bytes) -> bytes | None:
        """The next request of this connection, None when it has done enough. Sets `talk.claiming`."""

    async def run(self) -> Load:
        """Runs to the end of time and until all is answered."""
        loop = asyncio.get_running_loop()
        for _ in range(self.job.connections):
            _, talk = await loop.create_connection(lambda: Talk(self), "127.0.0.1", self.job.port)
            self.talks.add(talk)
        self.began = perf_counter()
        self.until = self.began + self.seconds if self.seconds else float("inf")
        cpu = time.process_time()
        for talk in tuple(self.talks):
            self.go_on(talk, None, b"")
        await self.wait_for_all()
        return self.load(time.process_time() - cpu)

    async def wait_for_all(self) -> None:
        """Until the last answer, with a limit for what never comes."""
        limit = (self.seconds or STRAGGLERS_SECONDS_MAX) + STRAGGLERS_SECONDS_MAX
        try:
            async with asyncio.timeout(limit):
                await self.all_done.wait()
        except TimeoutError:
            pass

    def go_on(self, talk: Talk, status: bytes | None, body: bytes) -> None:
        """Sends the next request of a connection, or closes it."""
        talk.claiming = False
        request = self.following(talk, status, body) if perf_counter() < self.until else None
        if request is None:
            talk.transport.close()
        else:
            talk.ask(request, claiming=talk.claiming)

    def answered(self, talk: Talk, status: bytes, body: bytes) -> None:
        """Counts an answer and goes on."""
        now = perf_counter()
        if talk.claiming:
            self.latencies.append(now - talk.sent_at)
            self.statuses[status] += 1
            if now < self.until:
                self.in_time[status] += 1
            if status == b"201":
                self.ids.append(body[_ID_AT : _ID_AT + _ID_LENGTH].decode())
        elif status != b"200":
            self.more["reads_failed"] = self.more.get("reads_failed", 0) + 1
        self.go_on(talk, status, body)

    def left(self, talk: Talk) -> None:
        """A connection has ended: because we closed it, or because the server did."""
        if talk in self.talks:
            self.talks.discard(talk)
            if not self.talks:
                self.all_done.set()

    def load(self, cpu_seconds: float) -> Load:
        """What came of it."""
        answered = sum(self.statuses.values())
        seconds = self.seconds or max(1e-9, perf_counter() - self.began)
        good, refused = self.statuses[b"201"] + self.statuses[b"200"], self.statuses[b"409"]
        in_time = self.in_time[b"201"] + self.in_time[b"200"]
        ordered = sorted(latency * 1000 for latency in self.latencies) or [0.0]
        return Load(
            generator="own",
            seconds=seconds,
            sent=self.sent,
            answered=answered,
            acknowledged=good,
            refused=refused,
            failed=answered - good - refused,
            unanswered=len(self.talks),
            per_second=in_time / seconds,
            answers_per_second=sum(self.in_time.values()) / seconds,
            avg_ms=sum(ordered) / len(ordered),
            p50_ms=figures.percentile(ordered, 50),
            p95_ms=figures.percentile(ordered, 95),
            p99_ms=figures.percentile(ordered, 99),
            max_ms=ordered[-1],
            cpu_seconds=cpu_seconds,
            ids=self.ids,
            more=self.more,
            seats_sent=self.seats_sent,
        )


class PlainClaims(Visitors):
    """What claims.lua does, where there is no wrk."""

    def __init__(self, job: Crowd) -> None:
        super().__init__(job)
        assert job.claims is not None
        self.claims: Claims = job.claims
        self.number = self.claims.start
        self.paths = self.claims.paths

    @property
    def seconds(self) -> float:
        return self.claims.seconds

    def following(self, talk: Talk, status: bytes | None, body: bytes) -> bytes | None:
        claims, number = self.claims, self.number
        self.number += 1
        talk.claiming = True
        turn = number if claims.spread else number // claims.per_show
        return post(
            self.paths[turn % len(self.paths)],
            claim_body(claims.kind, number, claims.per_show, claims.stride),
        )


class Draws(Visitors):
    """Two random seats of a random show, whether they are free or not."""

    def following(self, talk: Talk, status: bytes | None, body: bytes) -> bytes | None:
        if self.sent >= self.job.requests:
            return None
        talk.claiming = True
        show = self.random.choice(self.job.shows)
        seats = self.random.sample(range(1, self.job.seats + 1), 2)
        return post(claim_path(show), b'{"seats":["%d","%d"]}' % tuple(seats))


class Buyers(Visitors):
    """Looks, picks a free pair of neighbours, claims it, and looks again; everybody leaves when all is sold."""

    def __init__(self, job: Crowd) -> None:
        super().__init__(job)
        self.look = get(f"/v1/shows/{job.shows[0]}/availability")
        self.path = claim_path(job.shows[0])
        self.number = 0

    def following(self, talk: Talk, status: bytes | None, body: bytes) -> bytes | None:
        if talk.kept != "looking":
            if status == b"201":
                self.more["sold_out_seconds"] = perf_counter() - self.began
            talk.kept = "looking"
            self.more["looks"] = self.more.get("looks", 0) + 1
            return self.look
        if status != b"200":
            return self.look
        pair = self._free_pair(base64.b64decode(msgspec.json.decode(body)["taken"]))
        if pair is None:
            return None
        talk.kept, talk.claiming = "claiming", True
        self.number += 1
        guest = b'"customer":{"email":"guest%d@example.org"}}' % self.number
        return post(self.path, b'{"seats":["%d","%d"],' % (pair + 1, pair + 2) + guest)

    def _free_pair(self, taken: bytes) -> int | None:
        """The first seat of a random free pair; pairs begin at even seats, so that no seat is left alone."""
        pairs = self.job.seats // 2
        for _ in range(20):
            seat = 2 * self.random.randrange(pairs)
            if not taken[seat >> 3] >> (seat & 7) & 3:
                return seat
        # Few are left: the first free pair behind a random place, or before it.
        start = self.random.randrange(len(taken))
        for begin, end in ((start, len(taken)), (0, start)):
            for found in _NOT_FULL.finditer(taken, begin, end):
                byte = found.start()
                for seat in range(byte * 8, min(byte * 8 + 8, self.job.seats - 1), 2):
                    if not taken[byte] >> (seat & 7) & 3:
                        return seat
        return None


class Readers(Visitors):
    """The list, a show and its availability in turn; after `reads_per_claim` of them a claim of two seats."""

    def __init__(self, job: Crowd) -> None:
        super().__init__(job)
        show = job.shows[0]
        self.reads = [get("/v1/shows"), get(f"/v1/shows/{show}"), get(f"/v1/shows/{show}/availability")]
        self.path = claim_path(show)
        self.turn = 0
        self.pairs = iter(self.random.sample(range(job.seats // 2), job.seats // 2))

    def following(self, talk: Talk, status: bytes | None, body: bytes) -> bytes | None:
        if status == b"201" and talk.kept:
            self.seats_sent.append(talk.kept)
        talk.kept = None
        self.turn += 1
        if self.turn % (self.job.reads_per_claim + 1):
            self.more["reads"] = self.more.get("reads", 0) + 1
            return self.reads[self.turn % 3]
        pair = next(self.pairs, None)
        if pair is None:
            return None
        talk.claiming = True
        talk.kept = (perf_counter(), [2 * pair, 2 * pair + 1])
        return post(self.path, b'{"seats":["%d","%d"]}' % (2 * pair + 1, 2 * pair + 2))

    def load(self, cpu_seconds: float) -> Load:
        self.more["reads_per_second"] = self.more.get("reads", 0) / (self.seconds or 1)
        return super().load(cpu_seconds)


class Burst(Visitors):
    """Each connects at a moment of its own within a second, claims once, and measures from before it connected."""

    def following(self, talk: Talk, status: bytes | None, body: bytes) -> bytes | None:
        return None

    async def run(self) -> Load:
        self.began = perf_counter()
        self.until = float("inf")
        cpu = time.process_time()
        moments = sorted(self.random.random() * BURST_SECONDS for _ in range(self.job.connections))
        await asyncio.gather(*(self._one(number, moment) for number, moment in enumerate(moments)))
        await self.wait_for_all()
        return self.load(time.process_time() - cpu)

    async def _one(self, number: int, moment: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.began + moment - perf_counter())
        began = perf_counter()
        try:
            _, talk = await loop.create_connection(lambda: Talk(self), "127.0.0.1", self.job.port)
        except OSError:
            self.lost += 1
            return
        self.talks.add(talk)
        seat = 2 * self.random.randrange(self.job.seats // 2)
        guest = b'"customer":{"email":"guest%d@example.org"}}' % number
        body = b'{"seats":["%d","%d"],' % (seat + 1, seat + 2) + guest
        talk.ask(post(claim_path(self.job.shows[0]), body), claiming=True)
        talk.sent_at = began

    def left(self, talk: Talk) -> None:
        self.talks.discard(talk)
        if sum(self.statuses.values()) + self.lost >= self.job.connections:
            self.all_done.set()

    def load(self, cpu_seconds: float) -> Load:
        made = super().load(cpu_seconds)
        made.unanswered = self.job.connections - made.answered
        return made


class Steady(Visitors):
    """Claims at a fixed rate; each is measured from the moment at which it was to be sent, waiting included."""

    def __init__(self, job: Crowd) -> None:
        super().__init__(job)
        self.path = claim_path(job.shows[0])
        # The first half of the seats is for another crowd.
        pairs = range(job.seats // 4, job.seats // 2)
        self.pairs = iter(self.random.sample(pairs, len(pairs)))
        self.idle: list[Talk] = []
        self.due: deque[float] = deque()
        self.is_over = False

    def following(self, talk: Talk, status: bytes | None, body: bytes) -> bytes | None:
        return None

    def go_on(self, talk: Talk, status: bytes | None, body: bytes) -> None:
        if status == b"201":
            self.seats_sent.append(talk.kept)
        # At the beginning all are idle.
        if self.due:
            self._claim(talk, self.due.popleft())
        elif self.is_over:
            talk.transport.close()
        else:
            self.idle.append(talk)

    async def wait_for_all(self) -> None:
        every = 1 / self.job.rate
        for number in range(round(self.seconds * self.job.rate)):
            moment = self.began + number * every
            await asyncio.sleep(max(0.0, moment - perf_counter()))
            if self.idle:
                self._claim(self.idle.pop(), moment)
            else:
                self.due.append(moment)
        # From here on whoever is answered goes.
        self.is_over = True
        for talk in tuple(self.idle):
            talk.transport.close()
        await super().wait_for_all()

    def _claim(self, talk: Talk, moment: float) -> None:
        pair = next(self.pairs)
        talk.kept = (perf_counter(), [2 * pair, 2 * pair + 1])
        talk.ask(post(self.path, b'{"seats":["%d","%d"]}' % (2 * pair + 1, 2 * pair + 2)), claiming=True)
        talk.sent_at = moment


KINDS: dict[str, type[Visitors]] = {
    "claims": PlainClaims,
    "draws": Draws,
    "buyers": Buyers,
    "readers": Readers,
    "burst": Burst,
    "steady": Steady,
}


def main(job_path: Path, out: Path) -> None:
    """Does the job and writes what came of it."""
    job = msgspec.json.decode(job_path.read_bytes(), type=Crowd)

    async def work() -> Load:
        return await KINDS[job.kind](job).run()

    out.write_bytes(msgspec.json.encode(uvloop.run(work())))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
