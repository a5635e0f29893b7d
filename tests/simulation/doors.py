"""How clients reach a server: a request goes in, and out comes an answer, or nothing that anybody can rely on."""

import asyncio
from typing import Any

import msgspec

HEAD_BYTES_MAX = 65_536


class Unanswered(Exception):
    """No whole answer came; what was asked for may have been done."""


class HttpDoor:
    """HTTP over connections that are kept open, one request at a time on each: a tenth of the CPU of a real client."""

    def __init__(self, port: int, seconds: float) -> None:
        self._port = port
        self._seconds = seconds
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
        """Raises Unanswered also when no answer came in time."""
        content = b"" if body is None else msgspec.json.encode(body)
        lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(content)}"]
        if body is not None:
            lines.append("content-type: application/json")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        request = "\r\n".join([*lines, "", ""]).encode() + content
        try:
            async with asyncio.timeout(self._seconds):
                return await self._exchange(request)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, ValueError) as error:
            raise Unanswered(repr(error)) from error

    async def _exchange(self, request: bytes) -> tuple[int, Any]:
        reader, writer = await self._connection()
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            length = 0 if status == 204 else int(fields[b"content-length"])
            content = await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if fields.get(b"connection") == b"close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return status, msgspec.json.decode(content) if content else {}

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port, limit=HEAD_BYTES_MAX)

    def close(self) -> None:
        """Closes what is open."""
        while self._idle:
            self._idle.pop()[1].close()
