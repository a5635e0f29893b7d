"""A private PostgreSQL server for `./holdfast up` and for tests: made, started and stopped by its owner.

What always holds: a data folder has one owner; the server ends with its owner, however that ends; and only
the operating-system user who runs Holdfast may connect, over a Unix socket in a folder of mode 0700.

    data/holdfast.lock     held by the owner while it lives; contains its pid
    data/postgres/         the cluster; a link when the account of root's server cannot reach the data folder
    data/postgres.log      the server's log, and postgres.log.1 once it has grown
    data/socket/           or a short folder in /tmp when that path is too long for a socket
    data/binaries-*/       only when the account of root's server cannot execute the binaries where they are

See docs/decisions/0002-embedded-postgresql.md.
"""

import contextlib
import fcntl
import hashlib
import itertools
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType
from typing import Self
from urllib.parse import quote

from holdfast.platform.embedded_cluster import DATABASE, ROLE, configure, give, make_cluster, replace
from holdfast.platform.embedded_programs import (
    Account,
    Binaries,
    EmbeddedFailed,
    account_for,
    binaries_for,
    bind_to_parent,
    can_enter,
    child_options,
    find_binaries,
    postmaster_of,
    processes_of,
    send,
)

__all__ = ["AlreadyRunning", "EmbeddedFailed", "Server"]

STOP_SECONDS_MAX = 60.0
QUIT_SECONDS_MAX = 10.0
# PostgreSQL writes postmaster.pid within milliseconds. After that there is no limit: recovery takes its time.
LAUNCH_SECONDS_MAX = 60.0
# Backends leave by themselves when their postmaster is gone; the busy ones are sent away after this time.
LEAVE_SECONDS_MAX = 1.0
# Fast shutdown, immediate shutdown, death; and how long to wait for each.
HARDER = (
    (signal.SIGINT, STOP_SECONDS_MAX),
    (signal.SIGQUIT, QUIT_SECONDS_MAX),
    (signal.SIGKILL, QUIT_SECONDS_MAX),
)
LOG_BYTES_MAX = 10 * 1024 * 1024
LOG_LINES_SHOWN = 20
# The address of a Unix socket holds 107 bytes on Linux and 103 on macOS.
SOCKET_BYTES_MAX = 100
SOCKET_NAME = ".s.PGSQL.5432"
# Where root's server lives when its account cannot reach the data folder, as in root's home.
ELSEWHERE = Path("/var/lib/holdfast")


class AlreadyRunning(Exception):
    """Another process owns this data folder; the message names its pid and says what to do."""


class Server:
    """One PostgreSQL server on one data folder, a child of this process. Not for several threads at once.

    `settings` are PostgreSQL settings that win over all others, such as {"fsync": "off"} in tests. `binaries`
    is the folder to take instead of looking for one. `on_log` gets a sentence per event; else it is logged.
    """

    def __init__(
        self,
        data: Path,
        *,
        settings: Mapping[str, str] = MappingProxyType({}),
        binaries: Path | str | None = None,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self.data = Path(os.path.abspath(data))
        self._settings = dict(settings)
        self._wanted_binaries = Path(os.path.abspath(binaries)) if binaries else None
        self._on_log = on_log or logging.getLogger(__name__).info
        self._home = _home(self.data)
        self._binaries: Binaries | None = None
        self._account: Account | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._attendant: threading.Thread | None = None
        self._ended = threading.Event()
        self._locks: list[int] = []
        self._log_begin = 0

    @property
    def dsn(self) -> str:
        """Where to connect, for asyncpg and libpq; after the first start it never changes, in any process."""
        host = quote(str(self._socket_folder), safe="/")
        return f"postgresql:///{DATABASE}?host={host}&port=5432&user={ROLE}"

    @property
    def log_path(self) -> Path:
        return self._home / "postgres.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The pid of the postmaster while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def version(self) -> str:
        """The version of the server's binaries, such as 18.6. Raises EmbeddedFailed when there are none."""
        if self._binaries is None:
            self._binaries = find_binaries(self._wanted_binaries)
        return self._binaries.version

    def poll(self) -> int | None:
        """The status with which the server died; None while it runs, before the first start and after stop.

        Negative is the signal that killed it. `start()` brings the server back on the same socket.
        """
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """The server accepts connections, and everything that was ever committed is there.

        Makes the cluster when there is none, ends what a killed owner left behind, and waits for as long as
        the server recovers. Raises AlreadyRunning when another process owns the folder, else EmbeddedFailed.
        """
        if self.running:
            return
        try:
            self._take_ownership()
            self._prepare()
            self._end_leftovers()
            self._launch()
            self._wait_until_ready()
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                raise EmbeddedFailed(f"PostgreSQL could not be started in {self.data}: {error}") from error
            raise

    def stop(self) -> None:
        """No server runs, and the data folder is free. Sessions are ended; what they committed is kept.

        Waits STOP_SECONDS_MAX for a fast shutdown before it turns to harder means. May be called at any time.
        """
        process = self._process
        try:
            if process is not None:
                self._shut_down(process)
                if process.returncode != 0:
                    self._end_leftovers()
        finally:
            self._dismiss_attendant()
            self._process = None
            if process is not None and self._socket_folder.parent != self._home:
                with contextlib.suppress(OSError):
                    self._socket_folder.rmdir()
            while self._locks:
                _unlock(self._locks.pop())

    def kill(self) -> None:
        """The whole server dies at once, for tests of recovery. We stay the owner of the data folder."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._dismiss_attendant()
        deadline = time.monotonic() + QUIT_SECONDS_MAX
        while (rest := processes_of(self._cluster)) and time.monotonic() < deadline:
            send(signal.SIGKILL, rest)
            time.sleep(0.005)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _cluster(self) -> Path:
        return self._home / "postgres"

    def _take_ownership(self) -> None:
        if self._locks:
            return
        self.data.mkdir(parents=True, exist_ok=True)
        self._locks.append(_lock(self.data))
        self._account = account_for(self.data / "postgres")
        self._home = self._choose_home()
        if self._home != self.data:
            # Who copies a data folder copies the link, so the cluster behind it needs a lock of its own.
            self._locks.append(_lock(self._home))

    def _choose_home(self) -> Path:
        """The folder for all that the server's account must reach: the data folder, or one elsewhere."""
        link = self.data / "postgres"
        if link.is_symlink() and not link.exists():
            raise EmbeddedFailed(
                f"{link} points to {os.readlink(link)}, which is not there. Bring that folder back, or "
                "remove the link to begin with an empty database."
            )
        if link.exists() or self._account is None or can_enter(self._account, self.data):
            return _home(self.data)
        digest = _digest(self.data)
        names = itertools.chain([digest], (f"{digest}-{number}" for number in itertools.count(2)))
        # Another data folder may have stood at this path; wherever it is now, it keeps its cluster.
        home = next(home for name in names if not ((home := ELSEWHERE / name) / "postgres").exists())
        for folder in (ELSEWHERE, home):
            if not folder.is_dir():
                folder.mkdir(parents=True)
                folder.chmod(0o755)
        return home

    def _prepare(self) -> None:
        """Binaries, cluster, configuration and socket folder are as the server needs them."""
        found = find_binaries(self._wanted_binaries, self._on_log)
        self._binaries = binaries = binaries_for(self._account, found, self._home, self._on_log)
        cluster, link = self._cluster, self.data / "postgres"
        if not (link / "PG_VERSION").exists():
            make_cluster(cluster, binaries, self._account, durable=self._settings.get("fsync") != "off")
            self._on_log(f"Made a new PostgreSQL {binaries.version} cluster in {cluster}.")
            if link != cluster:
                link.symlink_to(cluster)
                self._on_log(f"It is there, with a link from {link}, because its account cannot reach that.")
        elif self._account is not None and not can_enter(self._account, cluster):
            raise EmbeddedFailed(
                f"{cluster} belongs to the user id {self._account.uid}, which cannot reach it any more: let "
                "it search the folders above."
            )
        made_by = (cluster / "PG_VERSION").read_text().strip()
        if made_by != str(binaries.major):
            raise EmbeddedFailed(
                f"The data in {cluster} was made by PostgreSQL {made_by}, but {binaries.folder} holds "
                f"PostgreSQL {binaries.version}, which cannot read it. Either set HOLDFAST_POSTGRES_BIN to "
                f"the bin folder of a PostgreSQL {made_by}; or dump the database `{DATABASE}` with version "
                f"{made_by} and restore it into a new data folder; or move {link} away and begin anew."
            )
        configure(cluster, self._account)
        self._prepare_socket_folder()

    @property
    def _socket_folder(self) -> Path:
        folder = self._home / "socket"
        # In a DSN a comma separates hosts.
        if len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_BYTES_MAX and "," not in str(folder):
            return folder
        # Not the folder that TMPDIR names: that may be long too, and it differs from process to process.
        return Path("/tmp", f"holdfast-{_digest(self._home)}")  # noqa: S108

    def _prepare_socket_folder(self) -> None:
        folder = self._socket_folder
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        # Anybody may make folders in /tmp, so what is there is trusted only when it is ours and not a link.
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            ours = {os.geteuid(), self._account.uid if self._account else os.geteuid()}
            if os.fstat(handle).st_uid not in ours:
                raise EmbeddedFailed(f"The socket folder {folder} belongs to somebody else. Remove it.")
            os.fchmod(handle, 0o700)
            give(handle, self._account)
        finally:
            os.close(handle)

    def _end_leftovers(self) -> None:
        """No process uses the cluster, and no stale lock file of the server is left.

        We own the data folder, so a server that still runs is that of a killed owner, on its way down or
        without its postmaster. The files are removed because PostgreSQL takes a zombie, or another process
        with the same pid, for a running server; living ones it would still know by their shared memory.
        """
        for step, seconds in HARDER:
            rest = processes_of(self._cluster)
            if not rest:
                break
            limit = time.monotonic() + seconds
            postmaster = postmaster_of(self._cluster)[0]
            if postmaster in rest:
                self._on_log(f"Ending the server that a killed owner left behind (pid {postmaster}).")
                send(step, rest if step == signal.SIGKILL else [postmaster])
            elif step == signal.SIGINT:
                # Nothing to send: to a backend it means to cancel a query, not to leave.
                limit = time.monotonic() + LEAVE_SECONDS_MAX
            else:
                send(step, rest)
            while processes_of(self._cluster) and time.monotonic() < limit:
                time.sleep(0.01)
        if rest := processes_of(self._cluster):
            raise EmbeddedFailed(f"The processes {rest} of an earlier server in {self._cluster} do not end.")
        for stale in (self._cluster / "postmaster.pid", self._socket_folder / f"{SOCKET_NAME}.lock"):
            stale.unlink(missing_ok=True)

    def _launch(self) -> None:
        assert self._binaries is not None
        self._dismiss_attendant()
        folder = str(self._socket_folder).replace('"', '""')
        settings = {
            **self._settings,
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": f'"{folder}"',
            "unix_socket_permissions": "0700",
        }
        command = [str(self._binaries.folder / "postgres"), "-D", str(self._cluster)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        log = os.open(self.log_path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        give(log, self._account)
        self._log_begin = os.fstat(log).st_size
        launched: Future[subprocess.Popen[bytes]] = Future()
        self._ended = threading.Event()
        self._attendant = threading.Thread(
            target=self._attend, args=(command, log, launched), name="postgres-attendant", daemon=True
        )
        self._attendant.start()
        self._process = launched.result()

    def _attend(self, command: list[str], log: int, launched: "Future[subprocess.Popen[bytes]]") -> None:
        """Start the server, and stay until it ends.

        Linux ties a child to the thread that started it, not to the process, so that thread has to live as
        long as the server does. Meanwhile it keeps the log within its bound.
        """
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal is for the owner, who stops the server when its own work is done.
                start_new_session=True,
                preexec_fn=bind_to_parent(signal.SIGINT),  # noqa: PLW1509 -- it takes no lock
                **child_options(self._account),
            )
        except BaseException as error:
            os.close(log)
            launched.set_exception(error)
            return
        launched.set_result(process)
        while process.poll() is None:
            self._ended.wait(1.0)
            with contextlib.suppress(OSError):
                _bound_log(log, self.log_path, self._account)
        os.close(log)

    def _dismiss_attendant(self) -> None:
        self._ended.set()
        if self._attendant is not None:
            self._attendant.join(QUIT_SECONDS_MAX)
            self._attendant = None

    def _wait_until_ready(self) -> None:
        process = self._process
        assert process is not None
        begun = told = time.monotonic()
        pause = 0.002
        while True:
            pid, state = postmaster_of(self._cluster)
            if pid == process.pid and state == "ready":
                return
            if process.poll() is not None:
                raise EmbeddedFailed(f"PostgreSQL ended with status {process.returncode}.\n{self._log_end()}")
            now = time.monotonic()
            if pid != process.pid and now - begun > LAUNCH_SECONDS_MAX:
                raise EmbeddedFailed(f"PostgreSQL does not begin to start.\n{self._log_end()}")
            if now - told > 10.0:
                told = now
                self._on_log(f"PostgreSQL is still starting after {now - begun:.0f} s (see {self.log_path}).")
            time.sleep(pause)
            pause = min(pause * 1.2, 0.1)

    def _shut_down(self, process: subprocess.Popen[bytes]) -> None:
        for step, seconds in HARDER:
            process.send_signal(step)
            try:
                process.wait(seconds)
                return
            except subprocess.TimeoutExpired:
                self._on_log(f"PostgreSQL did not end within {seconds:.0f} s of {step.name}.")

    def _log_end(self) -> str:
        """The last lines that the server wrote since it was launched."""
        with open(self.log_path, "rb") as log:
            size = log.seek(0, os.SEEK_END)
            begin = self._log_begin if self._log_begin <= size else 0
            log.seek(max(begin, size - 65_536))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join([f"The end of {self.log_path}:", *lines[-LOG_LINES_SHOWN:]])


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _home(data: Path) -> Path:
    link = data / "postgres"
    return link.resolve().parent if link.is_symlink() else data


def _lock(folder: Path) -> int:
    """A handle that holds the folder until it is closed; when we die, the kernel closes it."""
    handle = os.open(folder / "holdfast.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.geteuid() == 0:
            # When root helps out once in the folder of another user, that user must be able to lock it again.
            os.fchown(handle, folder.stat().st_uid, folder.stat().st_gid)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        pid = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise AlreadyRunning(
            f"Another Holdfast (process {pid}) is using the data folder {folder}. Stop it first, or choose "
            "another folder with --data."
        ) from None
    except BaseException:
        os.close(handle)
        raise
    return handle


def _unlock(handle: int) -> None:
    os.ftruncate(handle, 0)
    os.close(handle)


def _bound_log(log: int, path: Path, account: Account | None) -> None:
    """Beyond LOG_BYTES_MAX the log moves to `.1`. The server keeps it open, so it is copied and then emptied.

    A line written in between is lost; a pipe would lose none, but would make the server wait for its reader.
    """
    size = os.fstat(log).st_size
    if size > LOG_BYTES_MAX:
        replace(path.with_name(f"{path.name}.1"), os.pread(log, size, 0), account)
        os.ftruncate(log, 0)
