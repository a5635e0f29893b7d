"""The files of the embedded server: the cluster, made once, and its configuration, written at every start."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

from holdfast.platform.embedded_programs import (
    Account,
    Binaries,
    EmbeddedFailed,
    bind_to_parent,
    child_options,
)

ROLE = DATABASE = "holdfast"

_OWN_SETTINGS = """
# The file is rewritten at every start. Settings below this line win over it.
include_if_exists 'holdfast.conf'
"""


def make_cluster(cluster: Path, binaries: Binaries, account: Account | None, *, durable: bool) -> None:
    """A cluster with the role and the database, whole or not at all: it gets its name when it is complete.

    `durable` also puts it on the disk. Raises EmbeddedFailed with what the programs said.
    """
    if cluster.exists() and any(cluster.iterdir()):
        raise EmbeddedFailed(f"{cluster} is not empty, and is not a PostgreSQL cluster. Move it away.")
    fresh = cluster.with_name("postgres.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    give(fresh, account)
    locale = ["--locale=C"]
    if binaries.major >= 17:
        # Letters beyond ASCII have upper and lower case, on every system alike; sorting stays that of bytes.
        locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = ["initdb", "-D", str(fresh), "-U", ROLE, "--auth-local=peer", "--auth-host=reject"]
    command += ["--encoding=UTF8", *locale, "--data-checksums", "--no-sync"]
    _run(binaries, command, account)
    replace(
        fresh / "postgresql.conf",
        (fresh / "postgresql.conf").read_bytes() + _OWN_SETTINGS.encode(),
        account,
    )
    command = ["postgres", "--single", "-F", "-D", str(fresh), "-c", "exit_on_error=on", "template1"]
    _run(binaries, command, account, f"CREATE DATABASE {DATABASE};\n")
    if durable:
        _run(binaries, ["initdb", "--sync-only", "-D", str(fresh)], account)
    fresh.rename(cluster)
    if durable:
        handle = os.open(cluster.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(handle)
        os.close(handle)


def configure(cluster: Path, account: Account | None) -> None:
    """The cluster has our settings, and lets in nobody but the operating-system user who runs this process.

    Raises EmbeddedFailed when that user has no name.
    """
    try:
        owner = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise EmbeddedFailed(
            f"The user id {os.geteuid()} has no name in the user database, which peer authentication needs. "
            "Give it one, or set HOLDFAST_DATABASE_URL to a PostgreSQL of yours."
        ) from None
    note = "# Rewritten by Holdfast at every start.\n"
    rule = f"{note}local all {ROLE} peer map={ROLE}\nlocal replication {ROLE} peer map={ROLE}\n"
    replace(cluster / "pg_hba.conf", rule.encode(), account)
    replace(cluster / "pg_ident.conf", f'{note}{ROLE} "{owner}" {ROLE}\n'.encode(), account)
    lines = [f"{name} = {value}\n" for name, value in _server_settings().items()]
    replace(cluster / "holdfast.conf", "".join([note, *lines]).encode(), account)


def give(path: Path | int, account: Account | None) -> None:
    """The account, when there is one, owns the file."""
    if account is not None:
        os.chown(path, account.uid, account.gid)


def replace(path: Path, content: bytes, account: Account | None) -> None:
    """The file has this content, whole or not at all. A link that stood in its place is not followed."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            give(handle, account)
        fresh.rename(path)
    except BaseException:
        # On a full disk this is tried again every second.
        fresh.unlink(missing_ok=True)
        raise


def _run(binaries: Binaries, command: list[str], account: Account | None, text: str = "") -> None:
    result = subprocess.run(
        [str(binaries.folder / command[0]), *command[1:]],
        check=False,
        input=text.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=bind_to_parent(signal.SIGKILL),
        **child_options(account),
    )
    if result.returncode != 0:
        output = result.stdout.decode(errors="replace")[-4000:]
        raise EmbeddedFailed(f"{command[0]} failed with status {result.returncode}:\n{output}")


def _server_settings() -> dict[str, str]:
    """Durable, and sized for a booking engine that shares a small machine with its API processes."""
    megabytes = _memory_bytes() // 2**20
    return {
        "max_connections": "200",
        "shared_buffers": f"{min(256, max(32, megabytes // 8))}MB",
        "effective_cache_size": f"{max(64, megabytes // 2)}MB",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        # Compressing WAL costs more CPU than small rows save in bytes.
        "wal_compression": "off",
        # Counters of hot shows change all the time; their dead versions must not pile up for a minute.
        "autovacuum_naptime": "10s",
        "log_lock_waits": "on",
        "deadlock_timeout": "1s",
        # Without DETAIL, which quotes rows with the people in them.
        "log_error_verbosity": "terse",
        "log_line_prefix": "'%m [%p] %q%a '",
        "logging_collector": "off",
        "log_timezone": "'UTC'",
        "timezone": "'UTC'",
        # Queries here are short; compiling them costs more than it brings.
        "jit": "off",
    }


def _memory_bytes() -> int:
    """What this machine or, on Linux, this container may use."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return memory
