"""`holdfast up`: what it says, what it serves, what it survives, and that nothing is left when it ends."""

import asyncio
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest

from holdfast.platform.settings import Settings
from tests.cli.conftest import FirstStart
from tests.cli.running import SECRET, SOURCE, Up, command, environment, holdfast, until
from tests.ports import free_port

pytestmark = pytest.mark.slow

MENDED = "\ncreate or replace function mended() returns int language sql as 'select 7';\n"


def test_a_first_start_says_where_to_click_and_how_to_sign_in(first_start: FirstStart) -> None:
    lines = first_start.said.splitlines()
    assert re.fullmatch(r"Holdfast is at http://127\.0\.0\.1:\d+ +Ctrl-C stops it", lines[0])
    assert re.fullmatch(r" +shop +http://127\.0\.0\.1:\d+/", lines[1])
    assert re.fullmatch(r" +API reference +http://127\.0\.0\.1:\d+/docs", lines[2])
    assert f"password {first_start.password}" in lines[3]
    assert "\x1b" not in first_start.said, "colours are for a terminal"
    kept = first_start.folder / "data" / "owner.txt"
    assert kept.stat().st_mode & 0o077 == 0
    assert str(kept) in lines[3]


def test_a_first_start_has_six_shows_in_different_states(first_start: FirstStart) -> None:
    assert Counter(show["status"] for show in first_start.own_shows) == {
        "on_sale": 3,
        "paused": 1,
        "scheduled": 1,
        "draft": 1,
    }
    assert len(first_start.shows) == 5, "the draft is for its owner alone"
    by_name = {show["name"]: show for show in first_start.shows}
    assert 1200 <= by_name["Hamlet"]["total_seats"] <= 2000
    assert len({tier["name"] for tier in by_name["Hamlet"]["tiers"]}) >= 3
    assert by_name["Hamlet"]["booked_seats"] > 100
    assert by_name["The Tempest"]["sale_opens_at"] is not None, "it opens in two minutes"
    left = [show["available_seats"] / show["total_seats"] for show in first_start.shows]
    assert 0 < min(left) < 0.25, "one is nearly sold out"


def test_ctrl_c_ends_in_order_and_leaves_no_process(first_start: FirstStart) -> None:
    assert first_start.status == 0
    assert first_start.leftovers == []
    assert "Traceback" not in first_start.log
    left = {path.name for path in (first_start.folder / "data").iterdir()}
    assert left == {"holdfast.lock", "owner.txt", "postgres", "postgres.log", "secret", "socket"}


def test_a_warm_start_serves_the_same_and_a_second_up_is_refused(
    first_start: FirstStart, with_demo: Path
) -> None:
    # The first owner is whoever was made then, whatever the setting says now.
    with Up(with_demo, environ=environment(HOLDFAST_ADMIN_EMAIL="other@example.org")) as up:
        up.wait_until_ready()
        assert up.password() == first_start.password
        up.sign_in()
        shows = up.get("/v1/shows").json()["shows"]
        assert [show["id"] for show in shows] == [show["id"] for show in first_start.shows]

        second = holdfast("up", "--port", str(free_port()), "--data", str(up.data))
        assert (second.returncode, second.stdout) == (1, "")
        assert f"(process {up.process.pid}) is using the data folder {up.data}" in second.stderr
        assert "Traceback" not in second.stderr

        elsewhere = holdfast("up", "--port", str(up.port), "--data", str(with_demo / "other"))
        assert elsewhere.returncode == 1
        assert (
            elsewhere.stderr.strip()
            == f"holdfast: Cannot listen on 127.0.0.1, port {up.port}: Address already in use. Try another --port."
        )
        assert not (with_demo / "other").exists()

        assert up.answers("/v1/shows"), "the first goes on"
        assert up.stop(signal.SIGTERM) == 0
        assert up.leftovers() == []


def test_two_workers_share_the_work_and_count_together(with_demo: Path) -> None:
    with Up(with_demo, "--workers", "2") as up:
        up.wait_until_ready()
        first, second = until(lambda: apis if len(apis := up.apis()) == 2 else None, "two processes")
        until(lambda: all(is_listening(api, up.port) for api in (first, second)), "both listen")
        # Each new connection goes to whichever process is the first to take it.
        clients: list[httpx.Client] = []
        asked = 0
        while not (serves(first, up.port) and serves(second, up.port)):
            assert len(clients) < 500, "one process takes every connection"
            clients.append(httpx.Client(base_url=up.url))
            assert clients[-1].get("/v1/auth/me").status_code == 401
            asked += 1
        for client in clients:
            text = client.get("/metrics").text
            counted = re.search(r'holdfast_http_request_seconds_count\{.*route="/v1/auth/me".*\} (\S+)', text)
            assert counted and float(counted[1]) == asked, "any process answers for all"
            client.close()


def test_processes_that_are_killed_come_back(with_demo: Path) -> None:
    with Up(with_demo) as up:
        up.wait_until_ready()
        (api,) = up.apis()
        (worker,) = up.children("holdfast", "worker")
        assert open_pools(up) == 2
        api.kill()
        worker.kill()
        until(lambda: up.apis() and up.apis()[0] != api, "a new API process")
        until(lambda: up.children("holdfast", "worker") not in ([], [worker]), "a new worker")
        up.wait_until_ready()
        until(lambda: open_pools(up) == 2, "the end of counting the dead")

        postmaster = up.postmaster()
        postmaster.kill()
        until(lambda: up.root.children() and not postmaster.is_running(), "its death")
        until(lambda: up.answers() and up.postmaster() != postmaster, "a new server")
        assert up.answers("/v1/shows")
        assert "PostgreSQL died" in up.log
        assert up.stop() == 0
        assert up.leftovers() == []


def test_when_it_is_killed_its_children_end_and_the_next_one_works(with_demo: Path) -> None:
    with Up(with_demo, "--workers", "2") as up:
        up.wait_until_ready()
        assert len(up.leftovers()) > 6, "the search finds what there is"
        counters = (up.data / "metrics").readlink()
        up.stop(signal.SIGKILL)
        until(lambda: up.leftovers() == [], "the end of all processes")
        assert counters.is_dir()
        with Up(with_demo) as following:
            following.wait_until_ready()
            assert not counters.exists()
            counters = (up.data / "metrics").readlink()
            following.sign_in()
            assert following.stop() == 0
        assert not counters.exists()
        assert following.leftovers() == []


def test_no_demo_is_an_empty_house_with_an_owner(folder: Path) -> None:
    with Up(folder, "--no-demo") as up:
        up.wait_until_ready()
        assert up.get("/v1/shows").json()["shows"] == []
        me = up.get("/v1/auth/me", headers=up.sign_in()).json()
        assert (me["role"], me["organizer"]["name"]) == ("owner", "My organizer")
        assert up.make_show(total_seats=3)["status"] == "on_sale"


@pytest.mark.anyio
async def test_on_a_database_of_yours_it_makes_the_folder_that_it_keeps_the_password_in(
    empty_database_url: str, folder: Path
) -> None:
    environ = environment(HOLDFAST_DATABASE_URL=empty_database_url, HOLDFAST_SECRET_KEY=SECRET)
    with Up(folder, "--no-demo", environ=environ) as up:
        await asyncio.to_thread(up.wait_until_ready)
        assert (await asyncio.to_thread(up.sign_in))["Authorization"]
        assert {path.name for path in up.data.iterdir()} == {"owner.txt"}
        assert await asyncio.to_thread(up.stop) == 0


def test_reload_starts_again_when_the_code_changes(with_demo: Path) -> None:
    source = with_demo / "src"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    with Up(with_demo, "--reload", environ=environment(PYTHONPATH=str(source))) as up:
        up.wait_until_ready()
        before = {child.pid for child in up.children("holdfast")}
        version = source / "holdfast" / "__init__.py"
        version.write_text(re.sub('__version__ = ".*"', '__version__ = "7.7.7"', version.read_text()))
        until(
            lambda: up.answers("/healthz") and up.get("/healthz").json()["version"] == "7.7.7", "the new code"
        )
        assert before.isdisjoint(child.pid for child in up.children("holdfast"))

        # So do functions of the database: those that changed are applied before anybody calls them.
        functions = source / "holdfast" / "booking" / "functions.sql"
        functions.write_text(functions.read_text() + MENDED)
        until(lambda: asyncio.run(has_function(up.dsn, "mended")), "the new function")
        functions.write_text(functions.read_text() + "\nthis is not SQL;\n")
        until(lambda: 'syntax error at or near "this"' in up.log, "the mistake")

        # A mistake is not the end: the children die of it until it is mended.
        right = version.read_text()
        version.write_text(right + "\nthis is not Python\n")
        until(lambda: not up.apis() or "SyntaxError" in up.log, "the mistake")
        version.write_text(right.replace("7.7.7", "8.8.88"))
        until(
            lambda: up.answers("/healthz") and up.get("/healthz").json()["version"] == "8.8.88",
            "the mended code",
        )
        assert up.stop(signal.SIGINT) == 0
        assert up.leftovers() == []


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become another user"
)
def test_an_ordinary_user_can_run_it(folder: Path) -> None:
    as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    if not can_run_holdfast(as_nobody):
        # This Python stands in root's home: let the user read there, and nothing more.
        as_nobody += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        if not can_run_holdfast(as_nobody):
            pytest.skip("an ordinary user cannot reach the interpreter")
    os.chown(folder, *nobody())
    with Up(folder, "--no-demo", prefix=as_nobody, environ=environment(HOME="/nonexistent")) as up:
        up.wait_until_ready()
        assert {process.uids().real for process in up.family()} == {nobody()[0]}
        up.sign_in()
        assert up.stop(signal.SIGINT) == 0
        assert up.leftovers() == []


async def has_function(dsn: str, name: str) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        return bool(await connection.fetchval("select to_regproc($1) is not null", name))
    finally:
        await connection.close()


def open_pools(up: Up) -> float:
    """How many processes the gauges of the pools are summed over."""
    found = re.search(r"^holdfast_db_pool_max (\S+)", up.get("/metrics").text, re.MULTILINE)
    assert found
    return float(found[1]) / Settings().pool_max


def is_listening(process: psutil.Process, port: int) -> bool:
    """Whether it has taken the listening socket over and answers on it."""
    return any(
        c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections("tcp")
    )


def serves(process: psutil.Process, port: int) -> bool:
    """Whether it has an open connection with a client."""
    return any(
        c.status == psutil.CONN_ESTABLISHED and c.laddr.port == port for c in process.net_connections("tcp")
    )


def nobody() -> tuple[int, int]:
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def can_run_holdfast(prefix: list[str]) -> bool:
    """Whether an account can run it and have it run itself, as `up` does."""
    starts_itself = f"import subprocess; raise SystemExit(subprocess.call({command('version')!r}))"
    line = [*prefix, sys.executable, "-c", starts_itself]
    return subprocess.run(line, env=environment(), capture_output=True, check=False).returncode == 0
