"""wrk as the load generator: some 20 microseconds of CPU per claim, a fifth of what the server takes."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec

from bench.load import OVERTIME_SECONDS_MAX, Claims, Load, LoadFailed, last_words, run_child

SCRIPT = Path(__file__).with_name("claims.lua")
# Time for what is in flight to be answered after the last claim was sent.
DRAIN_SECONDS_MAX = 30


class _Said(msgspec.Struct):
    """What claims.lua writes at its end; times in milliseconds."""

    sent: int
    answered: int
    refused: int
    broken: int
    drained_seconds: float
    avg: float
    p50: float
    p95: float
    p99: float
    max: float


def version() -> str | None:
    """Of the wrk on the path; None without one that runs."""
    if shutil.which("wrk") is None:
        return None
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"wrk (\S+)", said.stdout + said.stderr)
    return found[1] if found else None


def install() -> bool:
    """Fetches wrk by apt-get, where we are root and there is one. Whether it is there now."""
    if os.geteuid() == 0 and shutil.which("apt-get") is not None:
        subprocess.run(["apt-get", "install", "--yes", "--quiet", "wrk"], check=False)
    return version() is not None


async def send(claims: Claims, folder: Path) -> Load:
    """Runs wrk on these claims to its end. Raises LoadFailed when it does not do what it should."""
    job, out = folder / "wrk-job.lua", folder / "wrk-out.json"
    out.unlink(missing_ok=True)
    job.write_text(_job(claims, out), "utf-8")
    command = [
        "wrk", "-t", "1", "-c", str(claims.connections), "-d", str(round(claims.seconds) + DRAIN_SECONDS_MAX),
        "--timeout", f"{DRAIN_SECONDS_MAX}s", "-s", str(SCRIPT), f"http://127.0.0.1:{claims.port}/", "--", str(job),
    ]  # fmt: skip
    log = folder / "wrk.log"
    cpu_seconds = await run_child(command, claims.seconds + OVERTIME_SECONDS_MAX, log)
    if not out.exists():
        raise LoadFailed(f"wrk wrote no result: {last_words(log)}")
    return _load(msgspec.json.decode(out.read_bytes(), type=_Said), claims, cpu_seconds)


def _load(said: _Said, claims: Claims, cpu_seconds: float) -> Load:
    acknowledged = said.answered - said.refused
    # One claim of each connection was in flight when the time was over; it is acknowledged, but not in the time.
    in_time = max(0, said.answered - claims.connections)
    share = in_time / said.answered if said.answered else 0.0
    return Load(
        generator="wrk",
        seconds=claims.seconds,
        sent=said.sent,
        answered=said.answered,
        acknowledged=acknowledged,
        refused=said.refused,
        failed=said.broken,
        unanswered=max(0, said.sent - said.answered),
        per_second=acknowledged * share / claims.seconds,
        answers_per_second=in_time / claims.seconds,
        avg_ms=said.avg,
        p50_ms=said.p50,
        p95_ms=said.p95,
        p99_ms=said.p99,
        max_ms=said.max,
        cpu_seconds=cpu_seconds,
    )


def _job(claims: Claims, out: Path) -> str:
    paths = ",".join(f'"{path}"' for path in claims.paths)
    return (
        f'return {{kind="{claims.kind}",paths={{{paths}}},spread={str(claims.spread).lower()},per_show={claims.per_show},'
        f'stride={claims.stride},start={claims.start},seconds={claims.seconds},connections={claims.connections},out="{out}"}}'
    )
