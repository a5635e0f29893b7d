"""One process that serves the API, and one that works in the background; each until it is told to stop."""

import asyncio
import enum
import errno
import gc
import signal
import socket
import sys
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from prometheus_client import start_http_server
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from holdfast.app import make_app
from holdfast.cli.installation import InstallationError
from holdfast.engine import open_engine
from holdfast.engine import work as work_on
from holdfast.platform import telemetry
from holdfast.platform.edge import (
    HeadTooLarge,
    Malformed,
    Proxies,
    certificate,
    guarded,
    parsed,
    refused,
    unprotected,
)
from holdfast.platform.errors import Busy, Refusal
from holdfast.platform.http import App, RequestTimeout
from holdfast.platform.periodic import Periodic
from holdfast.platform.settings import BadSetting, Settings

BACKLOG = 2048
# Collections of the two younger generations cost a tenth of the CPU at full load with Python's own thresholds, and a
# full one is a pause that the slowest hundredth of the answers shows.
GC_THRESHOLDS = (20_000, 50, 100)

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
LOOK_SECONDS = 1.0
# Connections looked at in one go, about a millisecond; requests get their turn between two goes.
LOOKED_AT_AT_ONCE = 1000
# Files that the process opens besides connections of clients: the database's, logs, code.
DESCRIPTORS_KEPT = 256
CERTIFICATE_SECONDS = 5.0

log = telemetry.log("serve")


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs it on uvloop, which takes a third less CPU per request than asyncio's own loop; there is none on Windows."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def serve(settings: Settings, fd: int | None = None) -> None:
    """Serves the API on `settings.host` and `port`, or on the listening socket `fd`, until SIGTERM or SIGINT.

    Raises BadSetting before anything is opened when the certificate will not do.
    """
    telemetry.configure_logs(settings.log_level, settings.log_format)
    certificate(settings)
    tell_unprotected(settings)
    with _stop_signals() as stopping:
        listener = socket.socket(fileno=fd) if fd is not None else listen(settings.host, settings.port)
        refuse_unlimited(settings, listener)
        async with open_engine(settings) as engine:
            app = make_app(engine)
            server = Server(app, settings, engine.hub.close)
            stopping(lambda: setattr(server, "should_exit", True))
            gauge = Periodic("gauge", 1.0, _gauge(app))
            gauge.start()
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            await server.serve(sockets=[listener])
            await gauge.stop()


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
            _Wait.IDLE: settings.keep_alive_seconds,
            _Wait.HEAD: settings.head_seconds,
            _Wait.BODY: settings.body_seconds,
            _Wait.LEFTOVER: settings.head_seconds,
            _Wait.READER: settings.unread_seconds,
            _Wait.CLOSE: CLOSE_SECONDS,
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
        idle = self.seconds[_Wait.IDLE]
        seconds = {**self.seconds, _Wait.IDLE: min(idle, CROWDED_IDLE_SECONDS) if crowded else idle}
        now = asyncio.get_running_loop().time()
        for number, connection in enumerate(tuple(self.open), 1):
            connection.look(now, seconds)
            if number % LOOKED_AT_AT_ONCE == 0:
                await asyncio.sleep(0)


class _Wait(enum.Enum):
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


class Connection(HttpToolsProtocol):
    """One connection of uvicorn's, with bounds on the head of a request and on the patience with its client.

    The requests themselves pay for a few assignments; uvicorn's own timer for each of them is not used.
    """

    def __init__(self, connections: Connections, **parts: Any) -> None:
        super().__init__(**parts)
        self._all = connections
        self._address = ""
        self._requests = 0
        self._in_head = False
        self._whole = True
        self._large = False
        # Bytes of the present message that are no body and did not end it.
        self._overhead = 0
        self._body_bytes = 0
        self._pauses = 0
        self._seen: tuple[_Wait | None, int, int] = (None, 0, 0)
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

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or Malformed())

    def look(self, now: float, seconds: Mapping[_Wait, float]) -> None:
        """Ends the connection when it has kept us waiting for one and the same thing for longer than that."""
        wait = self._waits_for()
        seen = (wait, self._requests, self._pauses)
        if seen != self._seen:
            self._seen = seen
            self._since = now
        if wait is None:
            return
        patience = seconds[wait]
        if wait is _Wait.BODY:
            patience += self._body_bytes / BODY_BYTES_PER_SECOND
        if now - self._since > patience:
            self._end(wait)

    def _waits_for(self) -> _Wait | None:
        cycle: RequestResponseCycle | None = self.cycle
        answered = cycle is None or cycle.response_complete
        if self.transport.is_closing():
            return _Wait.CLOSE
        if self.flow.write_paused:
            return _Wait.READER
        if self._in_head and answered:
            return _Wait.HEAD
        if cycle is None or cycle.response_complete:
            return _Wait.IDLE if self._whole else _Wait.LEFTOVER
        # It is we who are slow while the app has not asked for more.
        if self._whole or self.flow.read_paused or cycle.waiting_for_100_continue:
            return None
        return _Wait.BODY

    def _end(self, wait: _Wait) -> None:
        if wait in (_Wait.READER, _Wait.CLOSE):
            self.transport.abort()
        elif wait is _Wait.HEAD or (wait is _Wait.BODY and not self.cycle.response_started):
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
        status, body, headers = refused(refusal)
        lines = [*self.server_state.default_headers, *headers, (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % line for line in lines)
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + body)
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn with connections of ours, behind TLS where the settings name a certificate.

    It calls `stopping` when it begins to stop, for it waits for all answers, and live streams have no end. Raises
    BadSetting for settings of the edge that will not do.
    """

    def __init__(self, app: App, settings: Settings, stopping: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                guarded(app, settings),
                interface="asgi3",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=round(settings.stop_seconds),
            )
        )
        self._stopping = stopping
        self._connections = Connections(settings, self.server_state.connections)
        self._duties = [Periodic("look at connections", LOOK_SECONDS, self._connections.look)]
        self._certificate = certificate(settings)
        if self._certificate is not None:
            self._duties.append(Periodic("renew the certificate", CERTIFICATE_SECONDS, self._renew))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        tls = self._certificate.context if self._certificate is not None else None
        self.servers = [
            await loop.create_server(
                self._connection,
                sock=listener,
                backlog=BACKLOG,
                ssl=tls,
                # Who is slow at shaking hands is slow at sending a head.
                ssl_handshake_timeout=None if tls is None else self._connections.seconds[_Wait.HEAD],
            )
            for listener in sockets or ()
        ]
        for duty in self._duties:
            duty.start()
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)
        await asyncio.gather(*(duty.stop() for duty in self._duties))

    def _connection(self) -> Connection:
        return Connection(
            self._connections,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    async def _renew(self) -> None:
        assert self._certificate is not None
        self._certificate.renew()


async def work(settings: Settings) -> None:
    """Works in the background until SIGTERM or SIGINT."""
    telemetry.configure_logs(settings.log_level, settings.log_format)
    tell_unprotected(settings)
    with _stop_signals() as stopping:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        stopping(lambda: loop.call_soon_threadsafe(stop.set))
        async with open_engine(settings) as engine:
            with _metrics_told(settings):
                await work_on(engine, stop)


@contextmanager
def _metrics_told(settings: Settings) -> Iterator[None]:
    """A worker's own metrics, from a thread of their own; how much waits is measured by workers alone."""
    if settings.metrics_port is None:
        yield
        return
    try:
        server, _ = start_http_server(settings.metrics_port, settings.host)
    except OSError as error:
        raise InstallationError(
            f"Cannot listen on {settings.host}, port {settings.metrics_port}: {error.strerror}."
            " Try another HOLDFAST_METRICS_PORT."
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises InstallationError when the address is not ours, is in use or is forbidden."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        other = "--port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "--host"
        raise InstallationError(
            f"Cannot listen on {host}, port {port}: {error.strerror}. Try another {other}."
        ) from error
    listener.setblocking(False)
    return listener


def refuse_unlimited(settings: Settings, listener: socket.socket) -> None:
    """Raises BadSetting, and closes the socket, where limits are off and anybody but this machine could ask."""
    if settings.rate_limits == "on":
        return
    host = parsed(listener.getsockname()[0]) if listener.family != socket.AF_UNIX else None
    if settings.trusted_proxies or (host is not None and not host.is_loopback):
        listener.close()
        raise BadSetting(
            "HOLDFAST_RATE_LIMITS=off is for tests and benchmarks: it needs a server that listens on loopback alone "
            "(HOLDFAST_HOST=127.0.0.1) and no HOLDFAST_TRUSTED_PROXIES."
        )


def tell_unprotected(settings: Settings) -> None:
    """Warns of what the network can read along."""
    for sentence in unprotected(settings):
        log.warning("not encrypted", setting=sentence)


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


def _gauge(app: App) -> Callable[[], "asyncio.Future[None]"]:
    async def gauge() -> None:
        telemetry.HTTP_ACTIVE.set(app.in_flight)

    return gauge  # type: ignore[return-value]


@contextmanager
def _stop_signals() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Calls what is given to the yielded function at SIGTERM or SIGINT, also when the signal came before it.

    The server puts handlers of its own in front while it runs, and raises the signal again when it has ended; these
    then take it, so that the process still closes in order.
    """
    heard: list[int] = []
    callbacks: list[Callable[[], object]] = []

    def hear(number: int, _frame: object) -> None:
        heard.append(number)
        for callback in callbacks:
            callback()

    def stopping(callback: Callable[[], object]) -> None:
        callbacks.append(callback)
        if heard:
            callback()

    before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
