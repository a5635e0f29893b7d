"""`holdfast up`: everything on one machine, started by one command and stopped by Ctrl-C."""

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from rich.console import Console

from holdfast import accounts, payments
from holdfast.cli import demo as demo_
from holdfast.cli.installation import OWNER, Installation, InstallationError
from holdfast.cli.serving import listen, refuse_unlimited
from holdfast.platform import mail, migrate, telemetry
from holdfast.platform.db import open_database
from holdfast.platform.edge import LOOPBACK, certificate
from holdfast.platform.processes import Family
from holdfast.platform.settings import Settings, environment

LOOK_SECONDS = 0.2
COUNTERS = "holdfast-metrics-"
MAIL = "mail"
PROCESSES_COUNTED = 50
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 -- folders in it are made by mkdtemp

log = telemetry.log("up")


def run_up(settings: Settings, *, demo: bool, reload: bool) -> None:
    """Runs until Ctrl-C or SIGTERM, and leaves no process behind.

    Raises InstallationError when it cannot begin, EmbeddedFailed when PostgreSQL died and does not come back,
    MigrationError and Busy for a database that cannot be used, BadSetting for a certificate that will not do.
    """
    telemetry.configure_logs("warning", "console")
    certificate(settings)
    stop = _StopSignal()
    changed = _code_changes() if reload else None
    listener = listen(settings.host, settings.port)
    refuse_unlimited(settings, listener)
    try:
        with Installation(_with_mail(settings), whole=True) as installation:
            asyncio.run(_prepare(installation, demo=demo))
            _say_where(Console(highlight=False, soft_wrap=True), installation, listener)
            _look_after(installation, listener, stop, changed)
    finally:
        listener.close()


class _StopSignal:
    """Set by SIGINT and SIGTERM from the moment that it is made."""

    def __init__(self) -> None:
        self.is_set = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._hear)

    def _hear(self, *_: object) -> None:
        self.is_set = True


async def _prepare(installation: Installation, *, demo: bool) -> None:
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
    installation: Installation,
    listener: socket.socket,
    stop: _StopSignal,
    changed: Callable[[], bool] | None,
) -> None:
    settings = _for_children(installation.settings)
    counters = _Counters(installation)
    listener.set_inheritable(True)
    family = Family(
        {**os.environ, **environment(settings), "PROMETHEUS_MULTIPROC_DIR": counters.folder},
        [listener.fileno()],
        counters.ended,
    )
    python = [sys.executable, "-P", "-m", "holdfast"]
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
                asyncio.run(_migrate_again(settings))
                family.restart()
    finally:
        family.stop(settings.stop_seconds + 2)
        counters.remove()


async def _migrate_again(settings: Settings) -> None:
    """Applies the SQL that changed; a mistake in it is told, and mended by the next change."""
    try:
        database = await open_database(settings)
        try:
            await migrate.migrate(database)
        finally:
            await database.close()
    except Exception as error:
        log.warning("the database was not brought up to date", error=str(error))


def _with_mail(settings: Settings) -> Settings:
    """Letters go into a folder of the data folder where no mail server is set. Raises BadSetting for a bad one."""
    if settings.smtp_url is None and settings.mail_folder is None:
        settings = msgspec.structs.replace(settings, mail_folder=str(Path(settings.data).absolute() / MAIL))
    mail.check(settings)
    return settings


def _for_children(settings: Settings) -> Settings:
    """What suits one machine with a person before it, where nothing else was asked for."""
    changes: dict[str, str] = {}
    if settings.host in LOOPBACK and "HOLDFAST_SEED_ROUTES" not in os.environ:
        changes["seed_routes"] = "open"
    if "HOLDFAST_PAYMENTS" not in os.environ and payments.is_for_sandbox(settings):
        changes["payments"] = "sandbox"
    if _is_for_one(settings) and "HOLDFAST_MAIL_PAGE" not in os.environ:
        changes["mail_page"] = "on"
    if sys.stderr.isatty() and "HOLDFAST_LOG_FORMAT" not in os.environ:
        changes["log_format"] = "console"
    return msgspec.structs.replace(settings, **changes)


def _is_for_one(settings: Settings) -> bool:
    """Whether letters go into a folder of this machine, and nobody else can be looking, by a proxy either."""
    others = (settings.smtp_url, settings.public_url, settings.trusted_proxies, settings.allowed_hosts)
    return settings.host in LOOPBACK and settings.mail_folder is not None and not any(others)


class _Counters:
    """The folder of counters that the children share, in memory where there is a place for that: a process that cannot
    write its counters dies of SIGBUS, and a full disk must not end the API.

    A link in the data folder tells the next `up` where it was, so that nothing stays for good when this one is killed.
    """

    def __init__(self, installation: Installation) -> None:
        memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
        self.folder = tempfile.mkdtemp(prefix=COUNTERS, dir=memory)
        # Without an embedded server the data folder may be another's, too.
        self._link = installation.data / "metrics" if installation.server is not None else None
        self._ended: deque[int] = deque()
        if self._link is not None:
            with suppress(OSError):
                self._forget(self._link.readlink())
            with suppress(OSError):
                self._link.unlink(missing_ok=True)
                self._link.symlink_to(self.folder)

    def ended(self, pid: int) -> None:
        """Keeps what a process that has ended counted, of the last PROCESSES_COUNTED of them."""
        telemetry.process_ended(pid, self.folder)
        self._ended.append(pid)
        if len(self._ended) > PROCESSES_COUNTED:
            for path in Path(self.folder).glob(f"*_{self._ended.popleft()}.db"):
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes the folder and the link to it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._link is not None:
            with suppress(OSError):
                self._link.unlink(missing_ok=True)

    def _forget(self, old: Path) -> None:
        if old.name.startswith(COUNTERS) and old.stat().st_uid == os.geteuid():
            shutil.rmtree(old, ignore_errors=True)


def _code_changes() -> Callable[[], bool]:
    """Whether a file of the package has changed since the last time it was asked."""
    try:
        from watchfiles import watch
    except ImportError:
        raise InstallationError("--reload needs the package watchfiles.") from None

    source = Path(__file__).parents[1]
    changes = watch(source, yield_on_timeout=True, rust_timeout=50, debounce=100, raise_interrupt=False)
    return lambda: bool(next(changes))


def _say_where(out: Console, installation: Installation, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    settings = installation.settings
    here = f"{'https' if settings.tls_cert else 'http'}://{shown}:{port}"
    out.print(f"Holdfast is at [bold]{here}[/bold]   Ctrl-C stops it")
    out.print(f"  shop           {here}/")
    out.print(f"  API reference  {here}/docs")
    kept_in = installation.data / OWNER
    if settings.admin_password is None and kept_in.exists():
        email, _, password = kept_in.read_text("utf-8").strip().partition(" ")
        out.print(f"  sign in        {email}, password {password}   (kept in {kept_in})", markup=False)
    else:
        out.print(f"  sign in        {settings.admin_email}, with the password that was set")
    if settings.smtp_url is None:
        page = f"{here}/dev/letters   (" if _is_for_one(settings) else "goes into "
        end = ")" if _is_for_one(settings) else ""
        out.print(f"  mail           {page}{settings.mail_folder}{end}", markup=False)
    if installation.server is not None:
        out.print(f"  database       psql '{installation.server.dsn}'", markup=False)
