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
from prometheus_client import start_http_server

from holdfast.app import make_app
from holdfast.cli.connections import MESSAGE_BYTES_MAX, PING_SECONDS, Connection, Connections, Wait
from holdfast.cli.installation import InstallationError
from holdfast.engine import open_engine
from holdfast.engine import work as work_on
from holdfast.platform import telemetry
from holdfast.platform.edge import Edge, certificate, guarded, parsed, unprotected
from holdfast.platform.http import App
from holdfast.platform.periodic import Periodic
from holdfast.platform.settings import BadSetting, Settings

BACKLOG = 2048
# Collections of the two younger generations cost a tenth of the CPU at full load with Python's own thresholds, and a
# full one is a pause that the slowest hundredth of the answers shows.
GC_THRESHOLDS = (20_000, 50, 100)
LOOK_SECONDS = 1.0
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
                ws_max_size=MESSAGE_BYTES_MAX,
                ws_ping_interval=PING_SECONDS,
                ws_ping_timeout=PING_SECONDS,
                # It would cost each viewer some 40 KB, and the process to compress the same for each of them.
                ws_per_message_deflate=False,
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=round(settings.stop_seconds),
            )
        )
        # What the edge does for a WebSocket is always needed.
        self._for_sockets = Edge(app, settings)
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
                ssl_handshake_timeout=None if tls is None else self._connections.seconds[Wait.HEAD],
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
            self._for_sockets,
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
