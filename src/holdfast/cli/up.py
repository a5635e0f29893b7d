"""`holdfast up`: everything on one machine, started by one command and stopped by Ctrl-C."""

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console

from holdfast import accounts
from holdfast.cli import demo as demo_
from holdfast.cli.installation import OWNER, Installation, InstallationError
from holdfast.cli.serving import listen
from holdfast.platform import migrate, telemetry
from holdfast.platform.db import open_database
from holdfast.platform.errors import Busy
from holdfast.platform.processes import Family
from holdfast.platform.settings import Settings, environment

LOOK_SECONDS = 0.2
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

log = telemetry.log("up")


def run_up(settings: Settings, *, demo: bool, reload: bool) -> int:
    """Runs until Ctrl-C or SIGTERM; the exit status."""
    telemetry.configure_logs("warning", "console")
    stop = _StopSignal()
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        _say_failure(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. Try another --port."
        )
        return 1
    out = Console(highlight=False, soft_wrap=True)
    try:
        with Installation(settings, exclusive=True) as installation:
            asyncio.run(_prepare(installation, out, demo=demo))
            _say_where(out, installation, listener)
            _look_after(installation, listener, stop, reload=reload)
    except (InstallationError, Busy, migrate.MigrationError) as error:
        _say_failure(str(error))
        return 1
    finally:
        listener.close()
    return 0


class _StopSignal:
    """Set by SIGINT and SIGTERM from the moment that it is made."""

    def __init__(self) -> None:
        self.is_set = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._hear)

    def _hear(self, *_: object) -> None:
        self.is_set = True


async def _prepare(installation: Installation, out: Console, *, demo: bool) -> None:
    settings = installation.settings
    database = await open_database(settings)
    try:
        await migrate.migrate(database)
        if await accounts.first_owner(database) is None:
            async with database.transaction() as tx:
                owner = await accounts.create_owner(
                    tx,
                    organizer_name="Holdfast Demo" if demo else "My organizer",
                    email=settings.admin_email,
                    password=installation.owner_password(),
                )
            if owner is not None and demo:
                await demo_.seed_demo(database, settings, owner)
    finally:
        await database.close()


def _look_after(
    installation: Installation, listener: socket.socket, stop: _StopSignal, *, reload: bool
) -> None:
    settings = installation.settings
    if settings.host in LOOPBACK and "HOLDFAST_SEED_ROUTES" not in os.environ:
        settings = msgspec.structs.replace(settings, seed_routes="open")
    counters = tempfile.mkdtemp(prefix="holdfast-metrics-")
    changed = _code_changes() if reload else None
    listener.set_inheritable(True)
    family = Family(
        {**os.environ, **environment(settings), "PROMETHEUS_MULTIPROC_DIR": counters}, [listener.fileno()]
    )
    python = [sys.executable, "-m", "holdfast"]
    try:
        for number in range(settings.workers):
            family.add(f"api {number + 1}", [*python, "api", "--fd", str(listener.fileno())])
        family.add("worker", [*python, "worker"])
        while not stop.is_set:
            time.sleep(LOOK_SECONDS)
            server = installation.server
            if server is not None and server.poll() is not None:
                log.warning("PostgreSQL died, starting it again", status=server.poll())
                server.start()
            family.look_after()
            if changed is not None and changed():
                log.warning("code changed, starting again")
                family.restart()
    finally:
        family.stop(settings.stop_seconds + 2)
        shutil.rmtree(counters, ignore_errors=True)


def _code_changes() -> Callable[[], bool]:
    """Whether a file of the package has changed since the last time it was asked."""
    from watchfiles import watch

    source = Path(__file__).parents[1]
    changes = watch(source, yield_on_timeout=True, rust_timeout=50, debounce=100, raise_interrupt=False)
    return lambda: bool(next(changes))


def _say_where(out: Console, installation: Installation, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    here = f"http://{shown}:{port}"
    settings = installation.settings
    out.print(f"Holdfast is at [bold]{here}[/bold]   Ctrl-C stops it")
    out.print(f"  what is on     {here}/v1/shows")
    out.print(f"  API reference  {here}/docs")
    if settings.admin_password is None and (installation.data / OWNER).exists():
        out.print(
            f"  sign in        {settings.admin_email}, password {installation.owner_password()}"
            f"   (kept in {installation.data / OWNER})"
        )
    else:
        out.print(f"  sign in        {settings.admin_email}, with the password that was set")
    if installation.server is not None:
        out.print(f"  database       psql '{installation.server.dsn}'", markup=False)


def _say_failure(message: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"holdfast: {message}", style="red", markup=False
    )
