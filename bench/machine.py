"""What this machine is, and what it spends: CPU of process trees, time that the hypervisor stole, memory. Linux only."""

import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Above these the figures say more about the neighbours than about the code.
STEAL_PERCENT_MAX = 3.0
ELSEWHERE_PERCENT_MAX = 10.0
IN_MEMORY = frozenset({"tmpfs", "ramfs"})

_PACKAGES = ("asyncpg", "httptools", "msgspec", "starlette", "uvicorn", "uvloop")


@dataclass(frozen=True)
class MachineTime:
    """Seconds of all cores together since the machine was started."""

    total: float
    busy: float
    stolen: float

    def since(self, before: "MachineTime") -> "MachineTime":
        """What was spent between two moments."""
        return MachineTime(self.total - before.total, self.busy - before.busy, self.stolen - before.stolen)


def machine_time(text: str | None = None) -> MachineTime:
    """The present `cpu` line of /proc/stat. Time of guests is counted in `user` already."""
    first = (Path("/proc/stat").read_text("ascii") if text is None else text).splitlines()[0]
    user, nice, system, idle, iowait, irq, softirq, stolen = (
        int(field) / TICKS_PER_SECOND for field in first.split()[1:9]
    )
    busy = user + nice + system + irq + softirq
    return MachineTime(busy + idle + iowait + stolen, busy, stolen)


@dataclass(frozen=True)
class _Process:
    parent: int
    seconds: float
    rss_bytes: int


def tree_seconds(roots: Iterable[int]) -> float:
    """CPU seconds of these processes and of all their descendants, living and reaped.

    The time of a child that has ended is in its parent's record, so the difference of two readings misses nothing.
    """
    return sum(process.seconds for process in _tree(roots))


def tree_rss_bytes(roots: Iterable[int]) -> int:
    """Resident memory of these processes and their living descendants, shared pages counted each time."""
    return sum(process.rss_bytes for process in _tree(roots))


def _tree(roots: Iterable[int]) -> Iterator[_Process]:
    alive = dict(_processes())
    children: dict[int, list[int]] = {}
    for pid, process in alive.items():
        children.setdefault(process.parent, []).append(pid)
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid in alive:
            yield alive[pid]
        waiting += children.get(pid, ())


def _processes() -> Iterator[tuple[int, _Process]]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path("/proc", name, "stat").read_text("utf-8", "replace")
            except OSError:
                continue  # It ended while we looked.
            yield int(name), _read_stat(text)


def _read_stat(text: str) -> _Process:
    # proc_pid_stat(5). The name of the program may hold spaces and brackets, so fields are counted from its end.
    fields = text[text.rindex(")") + 2 :].split()
    ticks = sum(int(field) for field in fields[11:15])
    return _Process(int(fields[1]), ticks / TICKS_PER_SECOND, int(fields[21]) * PAGE_BYTES)


def filesystem_of(path: Path) -> str:
    """The type of the file system that holds the path, such as `ext4`."""
    resolved, best, kind = path.resolve(), Path(), "unknown"
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        left, _, right = line.partition(" - ")
        mounted = Path(left.split()[4].replace("\\040", " "))
        if resolved.is_relative_to(mounted) and len(mounted.parts) >= len(best.parts):
            best, kind = mounted, right.split()[0]
    return kind


def description() -> dict[str, Any]:
    """The machine, without anything that names it."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if line.startswith("model name")
    ]
    memory = Path("/proc/meminfo").read_text("utf-8").split()[1]
    return {
        "cpu": model[0] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(memory) / 1024**2, 1),
        "kernel": platform.release(),
        "system": platform.system(),
    }


def versions(root: Path) -> dict[str, str]:
    """Of the code and of what it runs on."""
    found = {"python": platform.python_version(), "commit": _commit(root)}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _commit(root: Path) -> str:
    command = ["git", "-c", "safe.directory=*", "-C", str(root)]
    try:
        head = subprocess.run(
            [*command, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*command, "status", "--porcelain", "--", "src"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + (" and uncommitted changes" if changed.stdout else "")
