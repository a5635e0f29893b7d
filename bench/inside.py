"""What each microsecond of a claim goes to: the app called in this process, without sockets, on a real PostgreSQL.

The CPU time of the process is exact. Its parts come from looking at the stack each millisecond of CPU time: the innermost
frame that belongs to a part is charged, so the parts of libraries count for whoever called them, C code included.
"""

import asyncio
import gc
import os
import signal
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from bench.load import PER_SHOW, ClaimKind, Claims, claim_body
from bench.stage import Stage
from holdfast.app import make_app
from holdfast.cli.serving import GC_THRESHOLDS
from holdfast.engine import open_engine
from holdfast.platform import telemetry

CALLERS = 100
ROUNDS = 5
CLAIMS_PER_ROUND = {"standing": 10_000, "pairs": 10_000, "best": 1_500}
SEATS = {"pairs": 200_000, "best": 20_000}
LOOK_SECONDS = 0.001

# The end of a file's path, and the function there where that matters -> the part. The first that fits is taken.
PARTS: tuple[tuple[str, str, str], ...] = (
    ("structlog/", "", "log line"),
    ("platform/telemetry.py", "", "log line"),
    ("prometheus_client/", "", "metrics"),
    ("platform/secret.py", "", "secret of the booking"),
    ("platform/ids.py", "", "ids and reference"),
    ("booking/seating.py", "", "ranking of seats"),
    ("booking/zones.py", "", "ranking of seats"),
    ("booking/nearness.py", "", "ranking of seats"),
    ("booking/view.py", "", "the view"),
    ("catalog/", "", "resolve and price"),
    ("booking/holds.py", "_booking", "the answer"),
    ("booking/holds.py", "", "resolve and price"),
    ("booking/routes.py", "", "the answer"),
    ("platform/clock.py", "", "the answer"),
    ("booking/claiming.py", "", "gather, send, hand out"),
    ("platform/db.py", "", "gather, send, hand out"),
    ("platform/broadcast.py", "", "gather, send, hand out"),
    ("accounts/", "", "route, decode, authorize, encode"),
    ("platform/", "", "route, decode, authorize, encode"),
    ("holdfast/app.py", "", "route, decode, authorize, encode"),
)


async def look_inside(kind: ClaimKind) -> dict[str, float]:
    """CPU microseconds per claim of this kind, by part and as `all`; the median round counts."""
    logs = os.open(os.devnull, os.O_WRONLY)
    async with Stage() as stage, stage.books("inside") as books:
        seats = SEATS.get(kind, 0)
        shows = await books.open_shows(**({"seats": seats} if seats else {"standing": 1_000_000}))
        async with open_engine(stage.settings(books.url)) as engine:
            app = make_app(engine)
            per_show = seats // 2 if kind == "pairs" else PER_SHOW
            load = _Load(app, Claims(port=0, kind=kind, shows=shows, seconds=0, per_show=per_show))
            err = os.dup(2)
            os.dup2(logs, 2)
            telemetry.configure_logs("info", "json")
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            try:
                await load.run(CLAIMS_PER_ROUND[kind] // 4)
                return await _measured(load, CLAIMS_PER_ROUND[kind])
            finally:
                os.dup2(err, 2)
                telemetry.configure_logs("error", "console")


async def _measured(load: "_Load", count: int) -> dict[str, float]:
    rounds = []
    for _ in range(ROUNDS):
        looks = _Looks()
        spent = time.process_time()
        with looks:
            await load.run(count)
        spent = time.process_time() - spent
        whole = sum(looks.parts.values())
        parts = {part: looks_at / whole * spent / count * 1e6 for part, looks_at in looks.parts.items()}
        rounds.append({"all": spent / count * 1e6, **parts})
    return sorted(rounds, key=lambda each: each["all"])[ROUNDS // 2]


class _Load:
    """Callers in a closed loop, as wrk has them. Raises AssertionError for a claim that is refused."""

    def __init__(self, app: Any, claims: Claims) -> None:
        self._app = app
        self._claims = claims
        self._number = 0

    async def run(self, count: int) -> None:
        """Sends so many claims."""
        until = self._number + count

        async def caller() -> None:
            while self._number < until:
                self._number += 1
                await asyncio.create_task(self._one(self._number - 1))

        await asyncio.gather(*(caller() for _ in range(CALLERS)))

    async def _one(self, number: int) -> None:
        claims = self._claims
        body = claim_body(claims.kind, number, claims.per_show, claims.stride)
        path = claims.paths[0]

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            assert message.get("status", 201) == 201, f"a claim was answered {message['status']}"

        scope = {
            "type": "http", "asgi": {}, "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode(),
            "query_string": b"", "root_path": "", "scheme": "http", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2),
            "headers": [
                (b"host", b"127.0.0.1"), (b"user-agent", b"holdfast-bench"), (b"accept", b"application/json"),
                (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)),
            ],
        }  # fmt: skip
        await self._app(scope, receive, send)


class _Looks:
    """Looks at the stack each millisecond of CPU time while the block runs."""

    def __init__(self) -> None:
        self.parts: Counter[str] = Counter()
        self._known: dict[Any, str | None] = {}

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, LOOK_SECONDS, LOOK_SECONDS)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, self._before)

    def _look(self, _number: int, frame: FrameType | None) -> None:
        while frame is not None:
            code = frame.f_code
            if code not in self._known:
                self._known[code] = _part(Path(code.co_filename).as_posix(), code.co_name)
            part = self._known[code]
            if part is not None:
                self.parts[part] += 1
                return
            frame = frame.f_back
        self.parts["event loop"] += 1


def _part(file: str, function: str) -> str | None:
    for end, name, part in PARTS:
        if end in file and name in ("", function):
            return part
    return None
