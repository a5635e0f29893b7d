"""One process that serves the API, and one that works in the background; each until it is told to stop."""

import asyncio
import errno
import gc
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from holdfast.app import make_app
from holdfast.cli.installation import InstallationError
from holdfast.engine import open_engine
from holdfast.engine import work as work_on
from holdfast.platform import telemetry
from holdfast.platform.http import App
from holdfast.platform.periodic import Periodic
from holdfast.platform.settings import Settings

BACKLOG = 2048
# Collections of the two younger generations cost a tenth of the CPU at full load with Python's own thresholds, and a
# full one is a pause that the slowest hundredth of the answers shows.
GC_THRESHOLDS = (20_000, 50, 100)

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
    """Serves the API on `settings.host` and `port`, or on the listening socket `fd`, until SIGTERM or SIGINT."""
    telemetry.configure_logs(settings.log_level, settings.log_format)
    with _stop_signals() as stopping:
        listener = socket.socket(fileno=fd) if fd is not None else listen(settings.host, settings.port)
        async with open_engine(settings) as engine:
            app = make_app(engine)
            config = uvicorn.Config(
                app,
                http=_Protocol,
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=round(settings.stop_seconds),
                backlog=BACKLOG,
            )
            server = Server(config, engine.hub.close)
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


class _Protocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_OneWrite(transport))  # type: ignore[arg-type]


class Server(uvicorn.Server):
    """Ends the live streams when it begins to stop, for it waits for all answers, and these have no end."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)


async def work(settings: Settings) -> None:
    """Works in the background until SIGTERM or SIGINT."""
    telemetry.configure_logs(settings.log_level, settings.log_format)
    with _stop_signals() as stopping:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        stopping(lambda: loop.call_soon_threadsafe(stop.set))
        async with open_engine(settings) as engine:
            await work_on(engine, stop)


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
