"""What stands in for a provider in tests: a server of its own that speaks its wire format, keeps state, and can fail.

Faults are asked for by (method, beginning of the path): `stub.fail("POST", "/v1/refunds", "after")` lets the next such
request take effect and never answers it.
"""

import asyncio
import itertools
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.platform.eventually import until

# 503: an error of the server; hang: no answer and no effect; after: the effect and no answer; garbage: an answer that is
# no JSON; 429: too often.
Fault = Literal["503", "hang", "after", "garbage", "429"]
Json = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class Event:
    """A webhook as it was sent: what it tells, before anybody signs it."""

    id: str
    kind: str
    content: Json


class Refused(Exception):
    """An answer that says no."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(str(status))
        self.status = status
        self.body = body


@dataclass
class Stub(ABC):
    """State and faults that every stub has. Subclasses add what the provider knows, and `routes()`."""

    url: str = ""
    events: list[Event] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    faults: list[tuple[str, str, Fault]] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def id(self, prefix: str) -> str:
        return f"{prefix}{next(self.numbers):014d}"

    def now(self) -> int:
        return int(time.time())

    def fail(self, method: str, path: str, fault: Fault, times: int = 1) -> None:
        self.faults += [(method, path, fault)] * times

    def count(self, method: str, path: str) -> int:
        return sum(asked == method and where.startswith(path) for asked, where in self.asked)

    async def answered(self, request: Request, handler: Handler) -> Response:
        method, path = request.method, request.url.path
        self.asked.append((method, path))
        fault = next(
            (entry for entry in self.faults if entry[0] == method and path.startswith(entry[1])), None
        )
        if fault is not None:
            self.faults.remove(fault)
        match fault and fault[2]:
            case "503":
                return JSONResponse({"error": {"message": "try again", "code": "SERVER_ERROR"}}, 503)
            case "429":
                return JSONResponse({"error": {"message": "slow down", "code": "rate_limit"}}, 429)
            case "garbage":
                return Response("<html>Bad gateway</html>", 502, media_type="text/html")
            case "hang":
                await self.stopping.wait()
        try:
            answer = await handler(request)
        except Refused as refused:
            answer = JSONResponse(refused.body, refused.status, headers={"request-id": self.id("req_")})
        if fault and fault[2] == "after":
            await self.stopping.wait()
        return answer

    @abstractmethod
    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """What answers, by method and path."""

    def app(self) -> Starlette:
        app = Starlette()
        for (method, path), handler in self.routes().items():

            async def answer(request: Request, handler: Handler = handler) -> Response:
                return await self.answered(request, handler)

            app.add_route(path, answer, methods=[method])
        return app


@asynccontextmanager
async def serving(stub: Stub) -> AsyncIterator[Stub]:
    """Serves the stub on a free port until the end of the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    stub.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(stub.app(), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve([listener]))
    try:
        await until(lambda: server.started)
        yield stub
    finally:
        stub.stopping.set()
        server.should_exit = True
        await task
        listener.close()
