"""The other commands: what they do on a database of one's own, and what they say when they cannot."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from holdfast import accounts
from holdfast.cli import app
from holdfast.platform.db import Database
from tests.cli.running import SECRET, Running, environment, holdfast, until
from tests.ports import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

COMMANDS = ["up", "api", "worker", "migrate", "seed", "reseal", "reconcile", "config", "version", "jobs", "jobs dead", "jobs replay", "jobs discard"]  # fmt: skip


@pytest.fixture
def environ(database_url: str) -> dict[str, str]:
    return environment(HOLDFAST_DATABASE_URL=database_url, HOLDFAST_SECRET_KEY=SECRET, COLUMNS="200")


@pytest.fixture
async def with_owner(db: Database) -> Database:
    """The database, with the organizer whose shows `seed` makes."""
    async with db.transaction() as tx:
        await accounts.create_owner(
            tx, organizer_name="Test House", email="owner@example.org", password="long enough"
        )
    return db


def in_process(*arguments: str) -> Any:
    """The result of a command that needs no process of its own."""
    return CliRunner().invoke(
        app, list(arguments), env={"COLUMNS": "100", "TERM": "dumb"}, prog_name="holdfast"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = in_process(*name.split(), "--help")
    assert result.exit_code == 0
    assert f"Usage: holdfast {name}" in result.output
    assert re.search(r"\n [A-Z`][^\n]+[.)]", result.output), "it says in a sentence what it does"
    assert "[default: None]" not in result.output


def test_no_command_is_without_help() -> None:
    group = typer.main.get_command(app)
    listed = {name for name, command in group.commands.items() if not command.hidden}  # type: ignore[attr-defined]
    assert listed == {name.split()[0] for name in COMMANDS}


@pytest.mark.parametrize(
    "line, said",
    [
        ("nonsense", "No such command 'nonsense'"),
        ("up --bogus", "No such option: --bogus"),
        ("up --port 65536", "less than or equal to 65535"),
        ("up --port -1", "greater than or equal to 0"),
        ("up --port eight", "--port"),
        ("up --workers 0", "greater than or equal to 1"),
        ("up --workers 65", "less than or equal to 64"),
        ("up surplus", "surplus"),
        ("seed --template circus", "hall, theatre, bus or appointments, not circus"),
        ("seed --seats 0", "greater than or equal to 1"),
        ("migrate --phase middle", "pre, post or all, not middle"),
        ("jobs", "Usage: holdfast jobs"),
        ("jobs replay", "Missing argument"),
        ("jobs replay seven", "valid UUID"),
        ("jobs dead --limit 101", "less than or equal to 100"),
    ],
)
def test_what_makes_no_sense_is_refused_with_status_2(line: str, said: str) -> None:
    result = in_process(*line.split())
    assert result.exit_code == 2
    assert said in re.sub(r"[\s│]+", " ", result.output)


@pytest.mark.parametrize(
    "variable, value, said",
    [
        ("HOLDFAST_POOL_MIN", "3", "HOLDFAST_POOL_MIN is not a setting"),
        ("HOLDFAST_POOL_MAX", "1", "HOLDFAST_POOL_MAX: '1' will not do"),
        ("HOLDFAST_POOL_MAX", "many", "HOLDFAST_POOL_MAX: 'many' will not do"),
        ("HOLDFAST_SECRET_KEY", "short", "HOLDFAST_SECRET_KEY: the value given will not do"),
    ],
)
@pytest.mark.parametrize("command", ["up", "config", "migrate"])
def test_a_setting_that_cannot_be_is_named(
    command: str, variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    result = in_process(command)
    assert (result.exit_code, "Traceback" in result.output) == (2, False)
    assert said in result.output
    assert "short" not in result.output, "a secret is not repeated"


def test_config_prints_what_is_in_force_and_no_secret() -> None:
    secrets = {
        "HOLDFAST_SECRET_KEY": "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
        "HOLDFAST_ADMIN_PASSWORD": "pppppppppppp",
        "HOLDFAST_DATABASE_URL": "postgresql://me:ddddddd@database.example/holdfast",
    }
    done = holdfast("config", environ=environment(**secrets, HOLDFAST_POOL_MAX="7", COLUMNS="200"))
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "sslmode=verify-full" in done.stderr
    assert not any(secret in done.stdout + done.stderr for secret in ("kkkk", "pppp", "dddd"))
    shown = dict(re.findall(r"^ (HOLDFAST_\w+) +(\S*)", done.stdout, re.MULTILINE))
    assert shown["HOLDFAST_POOL_MAX"] == "7"
    assert shown["HOLDFAST_PORT"] == "8000"
    for variable, value in secrets.items():
        assert shown[variable] == "(set)"
        assert value not in done.stdout
        assert "ddddddd" not in done.stdout


@pytest.mark.parametrize(
    "command, url, status, said",
    [
        ("migrate", "not a url", 2, "HOLDFAST_DATABASE_URL: "),
        ("api", "{nowhere}", 2, "does not exist"),
        ("worker", "postgresql://nobody@127.0.0.1:1/nothing", 1, "The database cannot be reached just now"),
        ("up", "postgresql://nobody@127.0.0.1:1/nothing", 1, "The database cannot be reached just now"),
    ],
)
async def test_a_database_that_cannot_be_used_is_said_in_a_sentence(
    database_url: str, command: str, url: str, status: int, said: str, folder: Path
) -> None:
    nowhere = re.sub(r"///\w+\?", "///no_such_database?", database_url)
    url = url.replace("{nowhere}", nowhere)
    variables = {"HOLDFAST_DATABASE_URL": url, "HOLDFAST_SECRET_KEY": SECRET, "HOLDFAST_DATA": str(folder), "HOLDFAST_PORT": "0"}  # fmt: skip
    done = await ran(command, environ=environment(**variables))
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("seed",), ("jobs", "dead")])
def test_no_database_is_made_by_the_way(folder: Path, arguments: tuple[str, ...]) -> None:
    done = holdfast(*arguments, "--data", str(folder / "data"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no database in" in done.stderr
    assert not (folder / "data").exists()


async def test_what_only_works_on_a_database_of_yours_needs_no_folder_and_no_secret(
    database_url: str, folder: Path
) -> None:
    data = folder / "data"
    environ = environment(HOLDFAST_DATABASE_URL=database_url, HOLDFAST_DATA=str(data))
    done = await ran("migrate", "--check", environ=environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Nothing is missing.\n", "")
    assert not data.exists()


@pytest.mark.parametrize("command", ["api", "worker"])
def test_separate_processes_ask_for_what_they_need(command: str) -> None:
    assert "HOLDFAST_DATABASE_URL is not set" in holdfast(command).stderr
    done = holdfast(command, environ=environment(HOLDFAST_DATABASE_URL="postgresql:///x"))
    assert done.returncode == 2
    assert "HOLDFAST_SECRET_KEY is not set" in done.stderr


async def test_migrate_says_what_is_missing_and_does_it(empty_database_url: str, folder: Path) -> None:
    environ = environment(HOLDFAST_DATABASE_URL=empty_database_url, HOLDFAST_SECRET_KEY=SECRET)
    missing = await ran("migrate", "--check", environ=environ)
    assert missing.returncode == 1
    names = missing.stdout.split()
    assert names[0] == "0001_platform.pre"

    refused = await ran("seed", environ=environ)
    assert refused.returncode == 1
    assert "`holdfast migrate` sees to it" in refused.stderr

    # Two at once take turns, and each step is done by one of them.
    first, second = await asyncio.gather(ran("migrate", environ=environ), ran("migrate", environ=environ))
    assert (first.returncode, second.returncode) == (0, 0)
    nothing = "Nothing was missing.\n"
    applied = first.stdout.replace(nothing, "") + second.stdout.replace(nothing, "")
    assert sorted(applied.split()) == sorted(names)
    again = await ran("migrate", "--check", environ=environ)
    assert (again.returncode, again.stdout) == (0, "Nothing is missing.\n")
    ownerless = await ran("seed", environ=environ)
    assert (ownerless.returncode, ownerless.stdout) == (1, "")
    assert "There is no organizer yet" in ownerless.stderr


async def test_the_parts_run_as_processes_of_their_own(
    with_owner: Database, environ: dict[str, str], folder: Path
) -> None:
    seeded = await ran("seed", "--template", "bus", environ=environ)
    assert seeded.returncode == 0, seeded.stderr
    port = free_port()
    (folder / "worker").mkdir()
    with (
        Running("api", "--port", str(port), folder=folder, port=port, environ=environ) as api,
        Running("worker", folder=folder / "worker", environ=environ) as worker,
    ):
        until(api.answers, "an answer")
        (show,) = api.get("/v1/shows").json()["shows"]
        assert "Berlin to Hamburg" in show["name"]
        # Only a worker measures the queues, and only a worker sweeps.
        await with_owner.execute(
            "insert into bookings (show_id, booking_id, organizer_id, reference, status, quantity, areas, seats, tiers,"
            " amounts, total, currency, created_at, expires_at) select show_id, gen_random_uuid(), organizer_id, 'X',"
            " 'PENDING', 1, '{}', '{}', '{}', '{}', 0, 'EUR', now(), now() - interval '1 s' from shows"
        )
        overdue = "select count(*) from bookings where status = 'PENDING'"
        while await with_owner.value(overdue):
            assert worker.process.poll() is None, worker.log
            await asyncio.sleep(0.05)
        taken = await ran("api", "--port", str(port), environ=environ)
        assert taken.returncode == 1
        assert f"Cannot listen on 127.0.0.1, port {port}: Address already in use" in taken.stderr
        assert (api.stop(), worker.stop()) == (0, 0)
    assert "Traceback" not in api.log + worker.log


async def test_seed_makes_as_much_as_is_asked_for(with_owner: Database, environ: dict[str, str]) -> None:
    big = await ran("seed", "--seats", "5000", "--bookings", "20000", environ=environ)
    assert big.returncode == 0, big.stderr
    assert "Hall of 5000" in big.stdout
    assert await with_owner.value("select sum(capacity) from stock where seated") == 5000
    assert await with_owner.value("select count(*) from bookings") == 20_000
    assert await with_owner.value("select sum(reserved) from stock") == await with_owner.value(
        "select sum(quantity) from bookings where status in ('PENDING', 'CONFIRMED')"
    )
    for template, shows, seats in (("bus", 3, 40), ("appointments", 30, 1), ("theatre", 2, 240)):
        before = await with_owner.value("select count(*) from shows")
        done = await ran("seed", "--template", template, "--shows", str(shows), "--seats", str(seats), environ=environ)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"{shows} made" in done.stdout
        assert await with_owner.value("select count(*) from shows") == before + shows
        assert (
            await with_owner.value(
                "select sum(capacity) from stock group by show_id order by show_id desc limit 1"
            )
            == seats
        )


async def test_dead_letters_are_listed_replayed_and_discarded(db: Database, environ: dict[str, str]) -> None:
    ids = [
        await db.value(
            "insert into dead_letters (job_id, kind, payload, attempts, last_error, created_at)"
            " values (gen_random_uuid(), $1, '{}', 12, 'it broke', now()) returning job_id::text",
            kind,
        )
        for kind in ("send the letter", "send the other")
    ]
    listed = await ran("jobs", "dead", environ=environ)
    assert listed.returncode == 0
    assert all(one in listed.stdout for one in (*ids, "send the letter", "send the other", "it broke"))
    replayed = await ran("jobs", "replay", ids[0], environ=environ)
    assert (replayed.returncode, replayed.stdout) == (0, "It runs again.\n")
    assert await db.value("select kind from jobs where job_id::text = $1", ids[0]) == "send the letter"
    discarded = await ran("jobs", "discard", ids[1], environ=environ)
    assert (discarded.returncode, discarded.stdout) == (0, "It is gone.\n")
    again = await ran("jobs", "discard", ids[1], environ=environ)
    assert (again.returncode, again.stdout) == (1, "")
    assert "There is no dead letter with this id" in again.stderr
    nothing = await ran("jobs", "dead", environ=environ)
    assert nothing.stdout == "There are no dead letters.\n"


async def ran(*arguments: str, environ: dict[str, str]) -> Any:
    """Runs a command while this process goes on."""
    return await asyncio.to_thread(holdfast, *arguments, environ=environ)
