"""A receiver of webhooks on loopback: keeps what it is sent, and answers what a test wants."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True)
class Sent:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = msgspec.json.decode(self.body)
        return event


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """An answer in full; an underscore in the name of a header is a hyphen."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status} Words", f"content-length: {len(body)}", *lines])
    return f"{head}\r\n\r\n".encode() + body


OK = answer(204)


class Receiver:
    """Answers each request with the next of `answers`, and the last one for ever; while `held` is clear, none."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers or [OK])
        self.sent: list[Sent] = []
        self.under_way = 0
        self.under_way_max = 0
        self.held = asyncio.Event()
        self.held.set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def ids(self) -> list[str]:
        """The ids of the messages, in the order in which they came."""
        return [each.headers["webhook-id"] for each in self.sent]

    @asynccontextmanager
    async def open(self, port: int = 0) -> AsyncIterator["Receiver"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.held.set()
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                request, *lines = head.decode().strip().split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.sent.append(Sent(request.split()[1], headers, body))
                said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                self.under_way += 1
                self.under_way_max = max(self.under_way, self.under_way_max)
                try:
                    await self.held.wait()
                finally:
                    self.under_way -= 1
                writer.write(said)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def open_all(*receivers: Receiver) -> AsyncIterator[Sequence[Receiver]]:
    """All of them, each on a port of its own."""
    if not receivers:
        yield []
        return
    async with receivers[0].open(), open_all(*receivers[1:]):
        yield receivers
