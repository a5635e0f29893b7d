"""Child processes of `up`: started together, started again when they die, stopped together. Nothing is left behind."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.platform import telemetry
from holdfast.platform.embedded_programs import bind_to_parent

# A child that dies at once is not started more often than this.
AGAIN_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
STEADY_SECONDS = 30.0

log = telemetry.log("up")


@dataclass
class _Child:
    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    deaths: int = 0
    start_at: float = field(default=0.0)


class Family:
    """Some children of this process. They end with it, even when it is killed. `ended` hears of each end, by pid."""

    def __init__(
        self,
        environment: Mapping[str, str],
        keep_open: Sequence[int] = (),
        ended: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        self._environment = dict(environment)
        self._keep_open = tuple(keep_open)
        self._ended = ended
        self._children: list[_Child] = []

    def add(self, name: str, command: Sequence[str]) -> None:
        """Starts a child now, and again whenever it dies."""
        child = _Child(name, command)
        self._children.append(child)
        self._start(child)

    def look_after(self) -> None:
        """Starts again whoever has died; to be called a few times a second."""
        now = time.monotonic()
        for child in self._children:
            if child.process is None:
                if now >= child.start_at:
                    self._start(child)
            elif child.process.poll() is not None:
                self._bury(child, now)

    def restart(self) -> None:
        """Stops all and starts them anew: for changed code."""
        self._stop_all(10.0)
        for child in self._children:
            child.deaths = 0
            self._start(child)

    def stop(self, seconds_max: float) -> None:
        """Asks all to end, waits so long, then kills."""
        self._stop_all(seconds_max)
        self._children.clear()

    def _start(self, child: _Child) -> None:
        child.process = subprocess.Popen(
            child.command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            pass_fds=self._keep_open,
            # A group of its own, so that Ctrl-C in the terminal reaches the parent alone, which then stops in order.
            process_group=0,
            preexec_fn=bind_to_parent(signal.SIGTERM),  # noqa: PLW1509 -- it takes no lock
        )
        child.started_at = time.monotonic()

    def _bury(self, child: _Child, now: float) -> None:
        assert child.process is not None
        self._ended(child.process.pid)
        if now - child.started_at > STEADY_SECONDS:
            child.deaths = 0
        pause = AGAIN_SECONDS[min(child.deaths, len(AGAIN_SECONDS) - 1)]
        log.warning(
            "process died", process=child.name, status=child.process.returncode, again_in_seconds=pause
        )
        child.process, child.deaths, child.start_at = None, child.deaths + 1, now + pause

    def _stop_all(self, seconds_max: float) -> None:
        alive = [child.process for child in self._children if child.process and child.process.poll() is None]
        for process in alive:
            process.terminate()
        until = time.monotonic() + seconds_max
        for process in alive:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("process killed", pid=process.pid)
                process.kill()
                process.wait()
        for child in self._children:
            if child.process is not None:
                self._ended(child.process.pid)
                child.process = None
