"""`holdfast` as a person runs it: in processes of its own, on a free port and a data folder of its own."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil

from tests.conftest import UNFIT_FOR_LOGS
from tests.ports import free_port

SOURCE = Path(__file__).parents[2] / "src"
PATIENCE_SECONDS = 60.0
SECRET = "a-secret-for-tests-and-nothing-else"
# Each process would compile the whole package anew, were there no place for what is compiled.
_compiled = tempfile.TemporaryDirectory(prefix="holdfast-compiled-")


def until(holds: Callable[[], Any], what: str = "it") -> Any:
    """What `holds()` says as soon as that is true; fails when it never is. A bound, not a measure."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while not (found := holds()):
        assert time.monotonic() < limit, f"{what} never came true"
        time.sleep(0.05)
    return found


def environment(**variables: str) -> dict[str, str]:
    """The environment without any setting of Holdfast's but these, and without limits."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HOLDFAST_", "COLUMNS", "PYTHONDONTWRITEBYTECODE"))
    }
    ours = {
        "PYTHONPATH": str(SOURCE),
        "PYTHONPYCACHEPREFIX": _compiled.name,
        # All callers of a test have one address.
        "HOLDFAST_RATE_LIMITS": "off",
    }
    return {**kept, **ours, **variables}


def command(*arguments: str) -> list[str]:
    """The command line of `holdfast` with this Python."""
    return [sys.executable, "-m", "holdfast", *arguments]


def holdfast(*arguments: str, environ: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end."""
    return subprocess.run(
        command(*arguments),
        env=dict(environ or environment()),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def new_folder() -> Path:
    """A folder that any account can reach, which pytest's own are too private for: root's server has its own account."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-cli-"))
    folder.chmod(0o755)
    return folder


class Running:
    """A `holdfast` command that serves until it is told to stop. Logs go to a file beside the data folder."""

    def __init__(
        self,
        *arguments: str,
        folder: Path,
        port: int | None = None,
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.port = port if port is not None else free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = folder / "log"
        self.said_path = folder / "said"
        with open(self.log_path, "ab") as log, open(self.said_path, "wb") as said:
            self.process = subprocess.Popen(
                [*prefix, *command(*arguments)],
                env=dict(environ or environment()),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=log,
                start_new_session=True,
            )
        self.root = psutil.Process(self.process.pid)

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def complaints(self) -> list[str]:
        """The lines of the log that tell of a bug: errors, and whatever is no log line."""
        return [
            line
            for line in self.log.splitlines()
            if '"level":"error"' in line or '"level":"critical"' in line or "Traceback" in line
        ]

    @property
    def said(self) -> str:
        return self.said_path.read_text("utf-8")

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Asks on a new connection."""
        return httpx.get(self.url + path, timeout=10, **options)

    def answers(self, path: str = "/readyz") -> bool:
        """Whether it answers 200 now. Fails when the process has ended."""
        assert self.process.poll() is None, f"it ended with status {self.process.returncode}: {self.log}"
        try:
            return self.get(path).status_code == 200
        except httpx.TransportError:
            return False

    def wait_until_ready(self) -> Self:
        until(self.answers, "an answer")
        return self

    def children(self, *words: str) -> list[psutil.Process]:
        """The children whose command line has all of these words."""
        found = []
        for child in self.root.children(recursive=True):
            try:
                if all(word in child.cmdline() for word in words):
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def apis(self) -> list[psutil.Process]:
        return self.children("holdfast", "api")

    def postmaster(self) -> psutil.Process:
        (found,) = [child for child in self.root.children() if "postgres" in child.name()]
        return found

    def family(self) -> list[psutil.Process]:
        """It and all its descendants."""
        return [self.root, *self.root.children(recursive=True)]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status after this signal."""
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        family = self.family() if self.process.poll() is None else []
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            # A test that fails must not leave a server behind.
            for process in family:
                if process.is_running():
                    process.kill()
            self.process.wait()
        if kind is None:
            unfit = [line for line in self.log.splitlines() if UNFIT_FOR_LOGS.search(line)]
            assert unfit == [], "an address or a token was logged"


class Up(Running):
    """`holdfast up`."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        port: int | None = None,
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        port = port if port is not None else free_port()
        self.data = folder / "data"
        super().__init__(
            "up", "--port", str(port), "--data", str(self.data), *arguments,
            folder=folder, port=port, environ=environ, prefix=prefix,
        )  # fmt: skip

    @property
    def dsn(self) -> str:
        found = re.search(r"psql '(\S+)'", self.said)
        assert found, self.said
        return found[1]

    def password(self) -> str:
        """The password that was printed, once it is printed."""
        found = until(
            lambda: re.search(r"sign in +owner@example\.org, password (\S+)", self.said), "a password"
        )
        password: str = found[1]
        return password

    def sign_in(self) -> dict[str, str]:
        """The header of the owner who was told how to sign in."""
        credentials = {"email": "owner@example.org", "password": self.password()}
        answer = httpx.post(f"{self.url}/v1/auth/token", json=credentials, timeout=10)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def make_show(self, **body: Any) -> dict[str, Any]:
        """A show made by the owner."""
        body = {"name": "Hamlet", "start_time": "2030-12-24T20:00:00+01:00", **body}
        answer = httpx.post(f"{self.url}/v1/shows", json=body, headers=self.sign_in(), timeout=30)
        assert answer.status_code == 201, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def leftovers(self) -> list[str]:
        """The living processes, of whatever parent, that have to do with this data folder."""
        return processes_about(self.data)


def processes_about(data: Path) -> list[str]:
    """The command lines of all living processes that name this folder, work in it, or were started for it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            line = process.cmdline()
            texts = [*line, process.cwd(), process.environ().get("HOLDFAST_DATA", "")]
        except psutil.Error:
            continue
        if any(str(data) in text for text in texts):
            found.append(f"{process.pid} {' '.join(line)}")
    return found
