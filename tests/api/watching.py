"""Watching a show live as programs do, by Server-Sent Events and by WebSocket, over a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import httpx
from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from holdfast.app import make_app
from holdfast.cli.serving import Server, listen
from holdfast.engine import Engine
from holdfast.platform.ids import ShowId
from holdfast.platform.settings import Settings

PATIENCE_SECONDS = 30.0


class Event:
    """One event as a browser would see it."""

    def __init__(self, text: str) -> None:
        fields = dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(":"))
        self.kind = fields.get("event")
        self.id = fields.get("id")
        self.retry = fields.get("retry")
        self.data: dict[str, Any] = json.loads(fields.get("data", "{}"))

    @classmethod
    def of_message(cls, text: str) -> "Event":
        """The same from a message of a WebSocket."""
        found, message = cls(""), json.loads(text)
        found.kind, found.id, found.data = message["event"], message.get("id"), message["data"]
        return found

    def __repr__(self) -> str:
        return f"{self.kind} {self.data}"

    @property
    def revision(self) -> int:
        assert self.id == str(self.data["revision"])
        return int(self.id)


class Stream:
    """An open stream; `next` waits for an event, `raw` for whatever stands between two blank lines."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._chunks = answer.aiter_text()
        self._text = ""

    async def raw(self) -> str | None:
        """None when the answer has ended as it should."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "\n\n" not in self._text:
                chunk = await anext(self._chunks, None)
                if chunk is None:
                    return None
                self._text += chunk
        event, _, self._text = self._text.partition("\n\n")
        return event

    async def next(self) -> Event:
        while True:
            text = await self.raw()
            assert text is not None, "the stream has ended"
            if not text.startswith(":"):
                return Event(text)


@asynccontextmanager
async def serving(
    engine: Engine, settings: Settings | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, Server]]:
    """The engine's app behind the server of `holdfast api`, on a free port."""
    listener = listen("127.0.0.1", 0)
    host, port = listener.getsockname()
    server = Server(make_app(engine), replace(settings or engine.settings, stop_seconds=20), engine.hub.close)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=f"http://{host}:{port}", limits=limits, timeout=PATIENCE_SECONDS, trust_env=False
    ) as web:
        yield web, server
    server.should_exit = True
    await task


@asynccontextmanager
async def watching(
    web: httpx.AsyncClient, show: dict[str, Any], *, last: int | None = None, since: int | None = None
) -> AsyncIterator[Stream]:
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    params = {} if since is None else {"since": since}
    async with web.stream("GET", f"/v1/shows/{show['id']}/live", headers=headers, params=params) as answer:
        assert answer.status_code == 200
        yield Stream(answer)


class Socket:
    """An open WebSocket; `next` waits for an event."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def next(self) -> Event:
        async with asyncio.timeout(PATIENCE_SECONDS):
            text = await self.connection.recv()
        assert isinstance(text, str)
        return Event.of_message(text)

    async def closed(self) -> tuple[int | None, str | None]:
        """How the server closes it: code and reason. What is told before is read."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
            await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason


@asynccontextmanager
async def listening(
    web: httpx.AsyncClient, show: dict[str, Any], query: str = "", **options: Any
) -> AsyncIterator[Socket]:
    """A WebSocket to the show's changes; raises InvalidStatus when it is refused."""
    url = f"{web.base_url}/v1/shows/{show['id']}/live{query}".replace("http", "ws", 1)
    async with connect(url, proxy=None, open_timeout=PATIENCE_SECONDS, **options) as connection:
        yield Socket(connection)


async def claim(client: httpx.AsyncClient, show: dict[str, Any], *seats: int) -> None:
    body = {"seats": [str(seat) for seat in seats]}
    answer = await client.post(f"/v1/shows/{show['id']}/bookings", json=body)
    assert answer.status_code == 201, answer.text


def signed(member: httpx.AsyncClient) -> dict[str, str]:
    return {"Authorization": member.headers["Authorization"]}


def id_of(show: dict[str, Any]) -> ShowId:
    return ShowId(UUID(show["id"]))
