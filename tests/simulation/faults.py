"""What is broken on purpose, drawn from the seed: the wire between clients and servers, and the processes themselves."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import psutil

from tests.cli.running import Up
from tests.simulation.history import History

CHUNK = 65_536
# What becomes of a request, and how often, in thousandths.
WIRE_FAULTS = {
    "cut before the server": 8,  # the request never arrives
    "cut in the middle": 8,  # it arrives, and the connection is gone at once
    "cut after the answer": 12,  # it was done, and its answer is lost
    "answer dropped": 2,  # nobody ever hears
    "answer delayed": 10,
}
DELAY_SECONDS_MAX = 1.5
PROCESS_FAULTS = {
    "kill api": 5,
    "kill worker": 3,
    "kill postgres": 1,
    "kill backend": 1,
    "stop worker": 2,
    "clock of an api": 1,
    "disk full": 1,
    "kill redis": 2,
    "empty redis": 2,
}
STOP_SECONDS = (1.0, 8.0)
LONG_STOP_SECONDS = 60.0
DISK_FULL_SECONDS = (0.5, 3.0)
CLOCK_OFF_SECONDS = 3600
CLOCKS = Path(__file__).with_name("clocks")
# Between the product and PostgreSQL, of the round trips: a claim is one, so that the middle is before or after its commit.
DATABASE_FAULTS = {"cut before the server": 1, "cut in the middle": 1, "cut after the answer": 1}
LOOK_SECONDS = 0.2
REDIS_AWAY_SECONDS = (0.2, 3.0)
DISK_MEGABYTES = 512


class Wire:
    """A proxy in front of a server, that loses what it is told to lose. `port` is where clients connect, if not to a socket.

    `targets` are the server's ports. A client sends one request at a time, so what comes first after an answer begins
    the next request.
    """

    _label = ""

    def __init__(
        self,
        history: History,
        targets: Sequence[int],
        random: Random,
        *,
        faults: dict[str, int] | None = None,
    ) -> None:
        self._history = history
        self._targets = targets
        self._random = random
        faults = WIRE_FAULTS if faults is None else faults
        self._fates = [*faults, "pass"]
        self._weights = [*faults.values(), 1000 - sum(faults.values())]
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _carry(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        to_server: asyncio.StreamWriter | None = None
        try:
            from_server, to_server = await self._connected()
            ways = _Ways(self, from_client, to_client, from_server, to_server)
            both = [asyncio.create_task(ways.forth()), asyncio.create_task(ways.back())]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in both:
                    way.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except OSError:
            pass  # There is nobody at the other end, which the client sees, too.
        finally:
            for writer in filter(None, (to_client, to_server)):
                writer.transport.abort()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._random.choice(self._targets))

    def draw(self) -> tuple[str, float]:
        """What becomes of the next request, and how long its answer is delayed."""
        [fate] = self._random.choices(self._fates, self._weights)
        if fate != "pass":
            self._history.fault(self._label + fate)
        return fate, self._random.uniform(0.05, DELAY_SECONDS_MAX) if fate == "answer delayed" else 0.0


class DatabaseWire(Wire):
    """The same between the product and its PostgreSQL: it takes the place of the server's socket, whose name changes.

    A server that starts again makes its socket anew; it is taken again within LOOK_SECONDS.
    """

    _label = "database: "

    def __init__(self, history: History, path: Path, random: Random) -> None:
        super().__init__(history, [], random, faults=DATABASE_FAULTS)
        self._socket = path
        self._behind = path.with_name(".behind")
        self._ours = 0
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._take()
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._looking is not None
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)
        with contextlib.suppress(OSError):
            if self._socket.stat().st_ino == self._ours:
                self._behind.replace(self._socket)
        await super().__aexit__(*error)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(OSError):  # The server is on its way up or down.
                if self._socket.stat().st_ino != self._ours:
                    await self._take()

    async def _take(self) -> None:
        self._socket.replace(self._behind)
        if self._server is not None:
            self._server.close()
        self._server = await asyncio.start_unix_server(self._accept, self._socket)
        self._socket.chmod(0o777)
        self._ours = self._socket.stat().st_ino

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self._behind)


class _Ways:
    """The two directions of one connection."""

    def __init__(
        self,
        wire: Wire,
        from_client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self._wire = wire
        self._from_client, self._to_client = from_client, to_client
        self._from_server, self._to_server = from_server, to_server
        self._fate, self._delay = "pass", 0.0
        self._begins = True

    async def forth(self) -> None:
        while data := await self._from_client.read(CHUNK):
            if self._begins:
                self._fate, self._delay = self._wire.draw()
                self._begins = False
            if self._fate == "cut before the server":
                return
            self._to_server.write(data)
            await self._to_server.drain()
            if self._fate == "cut in the middle":
                return

    async def back(self) -> None:
        while data := await self._from_server.read(CHUNK):
            self._begins = True
            if self._fate == "cut after the answer":
                return
            if self._fate == "answer dropped":
                continue
            await asyncio.sleep(self._delay)
            self._delay = 0.0
            self._to_client.write(data)
            await self._to_client.drain()


class SmallDisk:
    """A file system of its own in memory, which can be filled to the last byte. Needs root.

    `with` mounts it on a folder; `possible` says whether that works here.
    """

    def __init__(self, folder: Path, megabytes: int = DISK_MEGABYTES) -> None:
        self.folder = folder
        self._megabytes = megabytes
        self._ballast = folder / "ballast"

    @staticmethod
    def possible(folder: Path) -> bool:
        """Whether a file system can be mounted on the folder."""
        if os.geteuid() != 0:
            return False
        try:
            with SmallDisk(folder, 1):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False

    def __enter__(self) -> Self:
        command = [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={self._megabytes}m,mode=755",
            "tmpfs",
            str(self.folder),
        ]
        subprocess.run(command, check=True, capture_output=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Lazily, because a process of the run may still be on its way out.
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False, capture_output=True)

    def fill(self) -> None:
        """Nothing more can be written."""
        with open(self._ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
            except OSError:
                pass

    def empty(self) -> None:
        """There is room again."""
        self._ballast.unlink(missing_ok=True)


class Redis:
    """A redis-server on a socket in a folder, which keeps nothing when it is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "redis.sock"
        self.url = f"unix://{self._socket}"
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def installed() -> bool:
        return shutil.which("redis-server") is not None

    def __enter__(self) -> Self:
        command = ["redis-server", "--port", "0", "--unixsocket", str(self._socket), "--save", ""]
        self._process = subprocess.Popen(
            command, cwd=self._folder, stdout=subprocess.DEVNULL, start_new_session=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        """It is killed, and everything that it knew is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def flush(self) -> None:
        """It forgets everything, and goes on. Raises OSError."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(self._socket))
            connection.sendall(b"FLUSHALL\r\n")
            connection.recv(64)


class Chaos:
    """Breaks processes of an `up`, one after the other, with pauses between `pause` seconds.

    `up` is started again, as an operator would, when it gave up itself: there may have been no room to recover in.
    """

    def __init__(
        self,
        history: History,
        start: Callable[[], Up],
        random: Random,
        *,
        pause: tuple[float, float],
        clock: Path,
        disk: SmallDisk | None,
        redis: Redis | None,
    ) -> None:
        self._history = history
        self._start = start
        self.up = start()
        self._random = random
        self._pause = pause
        self._clock = clock
        self._disk = disk
        self._redis = redis
        self._stopped: list[psutil.Process] = []
        self._resuming: set[asyncio.Task[None]] = set()
        left_out = set() if disk else {"disk full"}
        left_out |= set() if redis else {"kill redis", "empty redis"}
        self._faults = {kind: weight for kind, weight in PROCESS_FAULTS.items() if kind not in left_out}

    async def run(self) -> None:
        """Goes on until it is cancelled; everything that was stopped then goes on."""
        try:
            while True:
                await asyncio.sleep(self._random.uniform(*self._pause))
                [kind] = self._random.choices(list(self._faults), list(self._faults.values()))
                await self._do(kind)
                await self.revive()
        finally:
            for task in self._resuming:
                task.cancel()
            for process in self._stopped:
                _signal(process, signal.SIGCONT)
            if self._disk is not None:
                self._disk.empty()
            self._clock.write_text("0")

    async def revive(self) -> None:
        """`up` runs, whatever has become of it."""
        if self.up.process.poll() is not None:
            self._history.fault("up gave up", f"status {self.up.process.returncode}")
            self.up = await asyncio.to_thread(self._start)

    async def _do(self, kind: str) -> None:
        victims = await asyncio.to_thread(self._victims, kind)
        if kind == "disk full":
            assert self._disk is not None
            self._history.fault(kind)
            # A thread cannot be cancelled: it must have filled the disk before anybody empties it.
            filling = asyncio.create_task(asyncio.to_thread(self._disk.fill))
            try:
                await asyncio.shield(filling)
                await asyncio.sleep(self._random.uniform(*DISK_FULL_SECONDS))
            finally:
                await filling
                self._disk.empty()
        elif self._redis is not None and kind == "kill redis":
            self._history.fault(kind)
            self._redis.__exit__()
            try:
                await asyncio.sleep(self._random.uniform(*REDIS_AWAY_SECONDS))
            finally:
                self._redis.__enter__()
        elif self._redis is not None and kind == "empty redis":
            self._history.fault(kind)
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._redis.flush)
        elif not victims:
            return  # It is on its way back from the last time.
        elif kind == "stop worker":
            long = self._random.random() < 0.05
            seconds = LONG_STOP_SECONDS if long else self._random.uniform(*STOP_SECONDS)
            self._history.fault(kind, f"{seconds:.1f} s")
            self._stopped.append(victims[0])
            _signal(victims[0], signal.SIGSTOP)
            self._later(seconds, lambda: self._resume(victims[0]))
        elif kind == "clock of an api":
            off = self._random.choice([-CLOCK_OFF_SECONDS, CLOCK_OFF_SECONDS])
            self._history.fault(kind, f"{off:+} s")
            self._clock.write_text(str(off))
            _signal(self._random.choice(victims), signal.SIGKILL)
            # The one that takes its place starts within a second or some, and reads the file.
            self._later(4.0, lambda: self._clock.write_text("0"))
        else:
            self._history.fault(kind)
            _signal(self._random.choice(victims), signal.SIGKILL)

    def _victims(self, kind: str) -> list[psutil.Process]:
        try:
            match kind:
                case "kill api" | "clock of an api":
                    return self.up.apis()
                case "kill worker" | "stop worker":
                    return self.up.children("holdfast", "worker")
                case "kill postgres":
                    return [self.up.postmaster()]
                case "kill backend":
                    return [
                        each
                        for each in self.up.postmaster().children()
                        if "holdfast" in " ".join(each.cmdline())
                    ]
        except (psutil.Error, ValueError):
            pass  # It has just died.
        return []

    def _later(self, seconds: float, do: Callable[[], object]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            do()

        task = asyncio.create_task(wait())
        self._resuming.add(task)
        task.add_done_callback(self._resuming.discard)

    def _resume(self, process: psutil.Process) -> None:
        _signal(process, signal.SIGCONT)
        self._stopped.remove(process)


def _signal(process: psutil.Process, what: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(what)
