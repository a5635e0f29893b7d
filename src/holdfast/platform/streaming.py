"""Answers that have no end of their own: told chunk by chunk as Server-Sent Events, or as messages of a WebSocket.

Both end when there is nothing more to tell or when the client goes away, whichever comes first; the iterator is always
closed.
"""

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any

from holdfast.platform.calls import PUSH, Call, Closing, Header, Receive, Send, Telling
from holdfast.platform.telemetry import log

# How a WebSocket ends whose client says something: none of ours listens.
NOTHING_TO_SAY = Closing(1008, "This door only tells. Nothing can be said to it.")
BROKEN_OFF = Closing(1011, "Something went wrong on our side.")

_log = log("http")


class ClientGone(Exception):
    """The client went away before its request was whole."""


async def stream(
    call: Call[Any], status: int, headers: list[Header], chunks: AsyncIterator[bytes], send: Send
) -> None:
    """Answers with these chunks. Raises ClientGone where the server tells that the client has."""
    call.head_at = perf_counter()
    try:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if call.scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        if isinstance(chunks, Telling):
            chunks.push = call.scope.get(PUSH)
        pump = asyncio.ensure_future(_pump(chunks, send))
        gone = asyncio.ensure_future(_until_gone(call.receive))
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, gone):
                task.cancel()
            ended, _ = await asyncio.gather(pump, gone, return_exceptions=True)
        if isinstance(ended, Exception) and not isinstance(ended, OSError):
            # The head is out, so the connection is broken off to show that the answer is not whole.
            _log.error(
                "stream broken off", route=call.route.template, request_id=call.request_id, exc_info=ended
            )
    except OSError:
        raise ClientGone from None
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


async def _pump(chunks: AsyncIterator[bytes], send: Send) -> None:
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def converse(call: Call[Any], chunks: Telling, send: Send) -> None:
    """Accepts a WebSocket and tells it these messages; whoever says anything to it is cut off. Raises ClientGone."""
    call.head_at = perf_counter()
    try:
        if (await call.receive())["type"] == "websocket.disconnect":
            raise ClientGone
        headers = [*(call.added or ()), (b"x-request-id", call.request_id.encode())]
        await send({"type": "websocket.accept", "headers": headers})
        chunks.push = call.scope.get(PUSH)
        pump = asyncio.ensure_future(_pump_messages(chunks, send))
        heard = asyncio.ensure_future(call.receive())
        try:
            await asyncio.wait({pump, heard}, return_when=asyncio.FIRST_COMPLETED)
            is_gone = heard.done() and heard.result()["type"] == "websocket.disconnect"
            closing = NOTHING_TO_SAY if heard.done() else chunks.closing
        finally:
            for task in (pump, heard):
                task.cancel()
            ended, _ = await asyncio.gather(pump, heard, return_exceptions=True)
        if isinstance(ended, Exception) and not isinstance(ended, OSError):
            _log.error(
                "stream broken off", route=call.route.template, request_id=call.request_id, exc_info=ended
            )
            closing = BROKEN_OFF
        if not is_gone:
            await send({"type": "websocket.close", "code": closing.code, "reason": closing.reason})
    except OSError:
        raise ClientGone from None
    finally:
        await chunks.aclose()


async def _pump_messages(chunks: Telling, send: Send) -> None:
    async for chunk in chunks:
        await send({"type": "websocket.send", "text": chunk.decode()})
