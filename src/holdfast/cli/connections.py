"""The connections of a process that serves: uvicorn's, with bounds on what is asked and on the patience with who asks."""

import asyncio
import enum
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import MAX_LINE_LENGTH, Request

from holdfast.platform.calls import PUSH
from holdfast.platform.edge import ASGI, HeadTooLarge, Malformed, Proxies, parsed, refused
from holdfast.platform.errors import Busy, Refusal
from holdfast.platform.http import RequestTimeout
from holdfast.platform.settings import Settings

# Twice what nginx takes; browsers stay far below, and so do we.
HEAD_BYTES_MAX = 32_768
HEAD_LINES_MAX = 100
# A body gets a second more for each so many bytes: slower is no client, or no line, that one would wait for.
BODY_BYTES_PER_SECOND = 16_384
# What is written last gets so long to be taken.
CLOSE_SECONDS = 10.0
# When so many of the connections are taken, those that are idle go soon.
CROWDED_SHARE = 0.75
CROWDED_IDLE_SECONDS = 2.0
FULL_RETRY_SECONDS = 5
# Connections looked at in one go, about a millisecond; requests get their turn between two goes.
LOOKED_AT_AT_ONCE = 1000
# Files that the process opens besides connections of clients: the database's, logs, code.
DESCRIPTORS_KEPT = 256
# A client of a WebSocket has nothing to say but pings and pongs, 131 bytes each at most.
MESSAGE_BYTES_MAX = 1024
SAID_BYTES_PER_LOOK_MAX = 4096
# Who does not answer a ping until the next one is due has gone.
PING_SECONDS = 30.0
# Events that are just being told, framed once for all who hear them.
FRAMES_KEPT = 16


class _OneWrite:
    """A transport that hands over all that was written in one turn of the loop at once.

    The server writes the head of an answer and its body apart, and a system call costs more than both of them together.
    """

    __slots__ = ("_call_soon", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._call_soon = asyncio.get_running_loop().call_soon
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._call_soon(self._flush)
        self._parts.append(data)

    def _flush(self) -> None:
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts.clear()

    def write_now(self, data: bytes) -> None:
        """Writes it behind what was written before, and leaves the rest to the transport's own queue."""
        self._flush()
        self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connections:
    """The open connections of a process: how many there may be, and the look that ends those that are too slow.

    One look at all of them costs less than a timer for each request, and a deadline is kept to within LOOK_SECONDS.
    """

    def __init__(self, settings: Settings, opened: Collection[Any]) -> None:
        self.open = opened
        self.most = min(settings.connections_max, _descriptors() - DESCRIPTORS_KEPT)
        self._per_address_max = settings.connections_per_address_max
        self._trusts = Proxies(settings.trusted_proxies).trusts
        self._of: dict[str, int] = {}
        self.seconds = {
            Wait.IDLE: settings.keep_alive_seconds,
            Wait.HEAD: settings.head_seconds,
            Wait.BODY: settings.body_seconds,
            Wait.LEFTOVER: settings.head_seconds,
            Wait.READER: settings.unread_seconds,
            Wait.CLOSE: CLOSE_SECONDS,
        }

    def admit(self, address: str) -> None:
        """Counts one more connection of this address. Raises Busy when there are enough of them."""
        count = self._of[address] = self._of.get(address, 0) + 1
        if len(self.open) > self.most:
            raise Busy("Too many connections.", retry_after=FULL_RETRY_SECONDS)
        if count > self._per_address_max and not self._is_exempt(address):
            raise Busy("Too many connections of one address.", retry_after=FULL_RETRY_SECONDS)

    def left(self, address: str) -> None:
        """One connection of this address less."""
        count = self._of.get(address, 0) - 1
        if count > 0:
            self._of[address] = count
        else:
            self._of.pop(address, None)

    def _is_exempt(self, address: str) -> bool:
        # Many clients stand behind a proxy; on loopback there is one of those, or ourselves.
        found = parsed(address)
        return found is None or found.is_loopback or self._trusts(address)

    async def look(self) -> None:
        """Ends every connection that has kept us waiting for too long."""
        crowded = len(self.open) > self.most * CROWDED_SHARE
        idle = self.seconds[Wait.IDLE]
        seconds = {**self.seconds, Wait.IDLE: min(idle, CROWDED_IDLE_SECONDS) if crowded else idle}
        now = asyncio.get_running_loop().time()
        for number, connection in enumerate(tuple(self.open), 1):
            connection.look(now, seconds)
            if number % LOOKED_AT_AT_ONCE == 0:
                await asyncio.sleep(0)


class Wait(enum.Enum):
    """What a connection keeps us waiting for."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    # The rest of a body whose request is answered already.
    LEFTOVER = enum.auto()
    READER = enum.auto()
    CLOSE = enum.auto()


class _Refused(Exception):
    """Stops the parser; the refusal is with the connection."""


@lru_cache(FRAMES_KEPT)
def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache(FRAMES_KEPT)
def _text_frame(data: bytes) -> bytes:
    return Frame(Opcode.TEXT, data).serialize(mask=False)


class Connection(HttpToolsProtocol):
    """One connection of uvicorn's, with bounds on the head of a request and on the patience with its client.

    The requests themselves pay for a few assignments; uvicorn's own timer for each of them is not used.
    """

    def __init__(self, connections: Connections, for_sockets: ASGI, **parts: Any) -> None:
        super().__init__(**parts)
        self._all = connections
        self._for_sockets = for_sockets
        self._address = ""
        self._requests = 0
        self._in_head = False
        self._whole = True
        self._large = False
        # Bytes of the present message that are no body and did not end it.
        self._overhead = 0
        self._body_bytes = 0
        self._pauses = 0
        self._seen: tuple[Wait | None, int, int] = (None, 0, 0)
        self._since = 0.0
        self._refusal: Refusal | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_OneWrite(transport))  # type: ignore[arg-type]
        self._address = self.client[0] if self.client else ""
        try:
            self._all.admit(self._address)
        except Busy as refusal:
            self._refuse(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._all.left(self._address)

    def data_received(self, data: bytes) -> None:
        size, body_bytes = len(data), self._body_bytes
        if size > HEAD_BYTES_MAX:
            self._large = True
        super().data_received(data)
        if not self._whole and self._body_bytes == body_bytes:
            self._overhead += size
            if self._overhead > HEAD_BYTES_MAX and not self.transport.is_closing():
                self._refuse(HeadTooLarge())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[PUSH] = self.push  # type: ignore[literal-required]
        self._requests += 1
        self._in_head = True
        self._whole = False
        self._body_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer, which nobody reads
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > HEAD_LINES_MAX:
            self._refusal = HeadTooLarge()
            raise _Refused

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._large or self._overhead:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > HEAD_BYTES_MAX:
                self._refusal = HeadTooLarge()
                raise _Refused
            self._overhead = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._overhead = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._whole = True
        self._overhead = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        self._pauses += 1
        super().pause_writing()

    def push(self, chunk: bytes) -> bool:
        """Writes a chunk of the answer under way at once, unless its reader is behind."""
        if self.flow.write_paused or self.transport.is_closing():
            return False
        self.transport.write_now(_chunk(chunk))  # type: ignore[attr-defined]
        return True

    def _should_upgrade(self) -> bool:
        # Whoever wishes for another protocol is answered in this one.
        return self._get_upgrade() == b"websocket" and self.parser.get_method() == b"GET"

    def _unsupported_upgrade_warning(self) -> None:
        pass

    def handle_websocket_upgrade(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            # The answer to the request before would be written into the WebSocket.
            self._refuse(Malformed("A WebSocket was asked for before the last answer was there."))
            return
        if any(len(name) + len(value) + 4 > MAX_LINE_LENGTH for name, value in self.headers):
            self._refuse(HeadTooLarge())
            return
        self.ws_protocol_class = partial(Socket, self._all, self._address, self._for_sockets)  # type: ignore[assignment]
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or Malformed())

    def look(self, now: float, seconds: Mapping[Wait, float]) -> None:
        """Ends the connection when it has kept us waiting for one and the same thing for longer than that."""
        wait = self._waits_for()
        seen = (wait, self._requests, self._pauses)
        if seen != self._seen:
            self._seen = seen
            self._since = now
        if wait is None:
            return
        patience = seconds[wait]
        if wait is Wait.BODY:
            patience += self._body_bytes / BODY_BYTES_PER_SECOND
        if now - self._since > patience:
            self._end(wait)

    def _waits_for(self) -> Wait | None:
        cycle: RequestResponseCycle | None = self.cycle
        answered = cycle is None or cycle.response_complete
        if self.transport.is_closing():
            return Wait.CLOSE
        if self.flow.write_paused:
            return Wait.READER
        if self._in_head and answered:
            return Wait.HEAD
        if cycle is None or cycle.response_complete:
            return Wait.IDLE if self._whole else Wait.LEFTOVER
        # It is we who are slow while the app has not asked for more.
        if self._whole or self.flow.read_paused or cycle.waiting_for_100_continue:
            return None
        return Wait.BODY

    def _end(self, wait: Wait) -> None:
        if wait in (Wait.READER, Wait.CLOSE):
            self.transport.abort()
        elif wait is Wait.HEAD or (wait is Wait.BODY and not self.cycle.response_started):
            self._refuse(RequestTimeout())
        else:
            self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        # Before the app has a request, or instead of it: the app is told that the client has gone.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                # In the middle of an answer this would be taken for more of it.
                self.transport.close()
                return
        self.transport.write(_answer(refusal, self.server_state.default_headers))
        self.transport.close()


def _answer(refusal: Refusal, default_headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A refusal as the last answer of a connection."""
    status, body, headers = refused(refusal)
    lines = [*default_headers, *headers, (b"connection", b"close")]
    head = b"".join(b"%b: %b\r\n" % line for line in lines)
    return STATUS_LINE[status] + head + b"\r\n" + body


class Socket(WebSocketsSansIOProtocol):
    """A connection that has become a WebSocket; it counts as one connection of its address, as before."""

    def __init__(self, connections: Connections, address: str, app: ASGI, **parts: Any) -> None:
        super().__init__(**parts)
        self.app = app
        self._all = connections
        self._address = address
        self._said_bytes = 0
        self._pauses = 0
        self._seen: tuple[Wait | None, int] = (None, 0)
        self._since = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._all.left(self._address)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            self.scope[PUSH] = self.push  # type: ignore[literal-required]

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated:
            self._said_bytes += len(data)
            if self._said_bytes > SAID_BYTES_PER_LOOK_MAX:
                self._cut_off()
                return
        super().data_received(data)
        if not self.handshake_initiated:
            # The request is here as a whole, so it has what no handshake may have: nobody would ever answer it.
            self.transport.write(
                _answer(Malformed("A WebSocket is asked for without a body."), self.default_headers)
            )
            self.transport.close()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.close_sent and self.initial_response is not None:
            # A refusal is an answer. Without this each one would be logged as an app that has forgotten to give one.
            self.handshake_complete = True

    def handle_text(self, event: Frame) -> None:
        """Tells the app of a message as soon as it begins: pieces of one that never ends would be kept for ever."""
        self.frames = [b""]
        self.curr_msg_data_type = "bytes"
        self.send_receive_event_to_app()

    handle_bytes = handle_cont = handle_text

    def pause_writing(self) -> None:
        # Else the answers to its pings would pile up for a client that does not read.
        self._pauses += 1
        super().pause_writing()
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def push(self, message: bytes) -> bool:
        """Writes a text message at once, unless its reader is behind or the end has begun."""
        if not self.writable.is_set() or self.close_sent or self.transport.is_closing():
            return False
        self.transport.write_now(_text_frame(message))  # type: ignore[attr-defined]
        return True

    def shutdown(self) -> None:
        """Nothing: the app has been told that the process stops, and closes it with a reason."""

    def look(self, now: float, seconds: "Mapping[Wait, float]") -> None:
        """Ends the connection when it has kept us waiting for one and the same thing for longer than that."""
        self._said_bytes = 0
        wait = Wait.CLOSE if self.transport.is_closing() else None if self.writable.is_set() else Wait.READER
        seen = (wait, self._pauses)
        if seen != self._seen:
            self._seen = seen
            self._since = now
        if wait is not None and now - self._since > seconds[wait]:
            self.transport.abort()

    def _cut_off(self) -> None:
        if not self.close_sent and not self.transport.is_closing():
            self.conn.send_close(1008, "Too much was said.")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.transport.close()


def _descriptors() -> int:
    """How many files and connections the process may have open, after asking for as many as it may ask for."""
    try:
        import resource
    except ImportError:
        return sys.maxsize
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS says that there is no limit and refuses that
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
