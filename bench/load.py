"""What a load generator is asked for and what it says: the words that wrk, our own generator and the scenarios share."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from holdfast.platform.embedded_programs import bind_to_parent

ROOT = Path(__file__).resolve().parents[1]
# A generator that has not ended so long after its time is broken.
OVERTIME_SECONDS_MAX = 90.0
LOOK_SECONDS = 0.02
# Claims of two places on a standing show of a million, less a reserve.
PER_SHOW = 490_000

ClaimKind = Literal["standing", "best", "pairs"]
CrowdKind = Literal["claims", "draws", "buyers", "readers", "burst", "steady"]


class LoadFailed(Exception):
    """The load generator did not do what it should; the message says what it said."""


class Claims(msgspec.Struct, kw_only=True, frozen=True):
    """Plain claims in a closed loop: each connection sends its next one when the last was answered.

    `pairs` comes to each pair of neighbouring seats of a show once, in a scattered order; a show has `per_show` of them,
    then the next show's turn comes. With `spread` the shows take turns instead. `start` is where the walk begins.
    """

    port: int
    kind: ClaimKind
    shows: Sequence[str]
    seconds: float
    connections: int = 100
    spread: bool = False
    per_show: int = PER_SHOW
    start: int = 0

    @property
    def paths(self) -> list[str]:
        return [claim_path(show) for show in self.shows]

    @property
    def stride(self) -> int:
        """The step of the walk: a prime far from simple fractions of the whole, which it must not divide."""
        return 61_813 if self.per_show % 61_813 else 61_819


class Crowd(msgspec.Struct, kw_only=True, frozen=True):
    """What our own generator is to do; `crowds.py` says what each kind is."""

    kind: CrowdKind
    port: int
    shows: Sequence[str]
    connections: int = 100
    seconds: float = 0.0
    requests: int = 0
    seats: int = 0
    reads_per_claim: int = 100
    # Claims per second that `steady` begins, however long the answers take.
    rate: float = 0.0
    seed: int = 1
    claims: Claims | None = None


class Load(msgspec.Struct, kw_only=True):
    """What came of it. Rates count what was answered within `seconds`; the other counts hold the stragglers, too.

    `acknowledged` claims were answered 201 (or whatever success is there), `refused` ones 409, `failed` ones anything
    else or nothing. Latencies are those of claims, refusals included. `ids` are the bookings acknowledged, where the
    generator keeps them.
    """

    generator: str
    seconds: float
    sent: int
    answered: int
    acknowledged: int
    refused: int
    failed: int
    unanswered: int
    per_second: float
    answers_per_second: float
    avg_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    cpu_seconds: float = 0.0
    ids: list[str] = []
    more: dict[str, float] = {}
    # (when it was sent, the seats that it got): for the delay until a viewer saw them go.
    seats_sent: list[tuple[float, list[int]]] = []


def claim_path(show: str) -> str:
    """Where claims on a show go."""
    return f"/v1/shows/{show}/bookings"


def claim_body(kind: ClaimKind, number: int, per_show: int, stride: int) -> bytes:
    """The body of the claim of this number; claims.lua makes the very same."""
    guest = b'"customer":{"email":"guest%d@example.org","name":"Guest %d"}}' % (number, number)
    if kind == "standing":
        return b'{"quantity":2,' + guest
    if kind == "best":
        return b'{"best_available":2,' + guest
    pair = number % per_show * stride % per_show
    return b'{"seats":["%d","%d"],' % (2 * pair + 1, 2 * pair + 2) + guest


def post(path: str, body: bytes) -> bytes:
    """A whole POST request; claims.lua makes the very same."""
    return (
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: holdfast-bench\r\nAccept: application/json\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
    )


def get(path: str) -> bytes:
    """A whole GET request."""
    return (
        b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: holdfast-bench\r\nAccept: application/json\r\n\r\n"
        % path.encode()
    )


def start_program(
    command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a program in a group of its own, whose output goes to `log`."""
    with open(log, "wb") as said:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=bind_to_parent(signal.SIGKILL),  # noqa: PLW1509 -- it takes no lock
        )


def last_words(log: Path) -> str:
    """The end of what a program said."""
    return log.read_text("utf-8", "replace")[-2000:] if log.exists() else "it said nothing"


async def run_child(
    command: Sequence[str], seconds_max: float, log: Path, environ: Mapping[str, str] | None = None
) -> float:
    """Runs a program to its end; the CPU seconds that it took. Raises LoadFailed when it fails or takes too long."""
    name = Path(command[0]).name
    process = start_program(command, log, environ)
    limit = time.monotonic() + seconds_max
    try:
        while (spent := _reaped(process)) is None:
            if time.monotonic() > limit:
                raise LoadFailed(f"{name} does not end: {last_words(log)}")
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        raise LoadFailed(f"{name} ended with status {process.returncode}: {last_words(log)}")
    return spent


def _reaped(process: subprocess.Popen[bytes]) -> float | None:
    """The CPU seconds of a child that has ended; None while it runs. Popen's own wait would throw them away."""
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    if not pid:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


async def send_crowd(crowd: Crowd, folder: Path) -> Load:
    """Runs our own generator in a process of its own. Raises LoadFailed."""
    job, out = folder / "crowd-job.json", folder / "crowd-out.json"
    out.unlink(missing_ok=True)
    job.write_bytes(msgspec.json.encode(crowd))
    command = [sys.executable, "-m", "bench.crowds", str(job), str(out)]
    longest = max(crowd.seconds, crowd.claims.seconds if crowd.claims else 0.0) + OVERTIME_SECONDS_MAX
    await run_child(command, longest, folder / "crowd.log")
    return msgspec.json.decode(out.read_bytes(), type=Load)


async def send_claims(claims: Claims, folder: Path, generator: str) -> Load:
    """Sends plain claims by wrk or, as `own`, by our own generator. Raises LoadFailed."""
    if generator == "wrk":
        from bench import wrk

        return await wrk.send(claims, folder)
    crowd = Crowd(
        kind="claims", port=claims.port, shows=claims.shows, connections=claims.connections, claims=claims
    )
    return await send_crowd(crowd, folder)
