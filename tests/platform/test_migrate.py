"""Migrations and the processes around them: what takes its time, and what old code may live with."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from holdfast.engine import Engine
from holdfast.platform import migrate
from holdfast.platform.db import APP, Database, open_database
from holdfast.platform.embedded import Server
from holdfast.platform.errors import Busy
from holdfast.platform.settings import BadSetting, Settings
from tests.conftest import FAST, client_of

pytestmark = pytest.mark.anyio

NEWER = "insert into migrations (name, checksum) values ('9999_newer.pre', '')"


@pytest.fixture
def further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of migrations that has those of the code, and room for more."""
    for path in migrate.MIGRATIONS.glob("*.sql"):
        (tmp_path / path.name).write_text(path.read_text("utf-8"), "utf-8")
    monkeypatch.setattr(migrate, "MIGRATIONS", tmp_path)
    return tmp_path


async def test_a_step_may_take_longer_than_any_other_statement(settings: Settings, further: Path) -> None:
    (further / "9000_slow.pre.sql").write_text("select pg_sleep(1)")
    (further / "9001_next.post.sql").write_text("create table later (id int)")
    database = await open_database(msgspec.structs.replace(settings, query_seconds=0.5))
    try:
        with pytest.raises(Busy):
            await database.execute("select pg_sleep(1)")
        # The second waits for its turn as long as the first takes.
        both = await asyncio.gather(migrate.migrate(database), migrate.migrate(database))
        assert sorted(name for names in both for name in names) == ["9000_slow.pre", "9001_next.post"]
        assert await migrate.pending(database) == []
    finally:
        await database.close()


async def test_a_process_that_was_ready_stays_so_while_a_newer_release_migrates(
    engine: Engine, client: httpx.AsyncClient, db: Database
) -> None:
    assert (await client.get("/readyz")).status_code == 200
    await db.execute("update migrations set checksum = 'newer' where name = 'booking/functions'")
    assert (await client.get("/readyz")).status_code == 200
    await db.execute(NEWER)
    assert (await client.get("/readyz")).status_code == 200


@pytest.mark.parametrize(
    "change, said",
    [
        (NEWER, "newer than this Holdfast"),
        ("delete from migrations where name = 'booking/functions'", "waits for `holdfast migrate`"),
    ],
)
async def test_a_process_that_starts_on_another_schema_is_not_ready_until_it_fits(
    engine: Engine, db: Database, change: str, said: str
) -> None:
    before = await db.rows("select name, checksum from migrations")
    await db.execute(change)
    async with client_of(engine) as client:
        refused = await client.get("/readyz")
        assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
        assert said in refused.json()["detail"]
        await db.execute("delete from migrations")
        for row in before:
            await db.execute("insert into migrations (name, checksum) values ($1, $2)", *row)
        assert (await client.get("/readyz")).status_code == 200


async def test_a_database_that_takes_no_writes_just_now_is_busy(db: Database, settings: Settings) -> None:
    name = await db.value("select current_database()")
    await db.execute(f"alter database {name} set default_transaction_read_only = on")
    standby = await open_database(settings)
    try:
        assert await standby.value("select 1") == 1
        with pytest.raises(Busy):
            await standby.execute("create table never (id int)")
    finally:
        await standby.close()


async def test_functions_that_nothing_calls_any_more_go_when_the_old_code_has(
    db: Database, settings: Settings
) -> None:
    """A changed signature leaves the function that there was, which old code calls until it is gone."""
    await db.execute(
        "create function confirm_booking(p_show_id uuid) returns int language sql as $$ select 1 $$"
    )
    await db.execute("create function ours(a int) returns int language sql as $$ select 1 $$")
    await db.execute("create function ours(a text) returns int language sql as $$ select 1 $$")
    # As when a release brings the function with another signature: it is made anew, and so the younger.
    made = "select pg_get_functiondef(oid) from pg_proc where proname = 'confirm_booking' and pronargs = 3"
    text = await db.value(made)
    await db.execute("drop function confirm_booking(uuid, uuid, boolean)")
    await db.execute(text)
    there = "select pronargs from pg_proc where proname = 'confirm_booking' order by 1"
    await migrate.migrate(db, ("pre",))
    assert [row["pronargs"] for row in await db.rows(there)] == [1, 3]
    await migrate.migrate(db)
    assert [row["pronargs"] for row in await db.rows(there)] == [3]
    # Of functions that are not ours nobody knows which is called.
    assert await db.value("select count(*) from pg_proc where proname = 'ours'") == 2


def test_a_function_of_ours_has_one_signature() -> None:
    names = [name for step in migrate.steps() for name in migrate.functions_made(step)]
    assert len(names) == len(set(names)) > 10


# The roles of migration 0006, which belong to the whole server and not to one database


@pytest.fixture
async def bare_server() -> AsyncIterator[Server]:
    """A server of one's own, on which nothing was ever migrated."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-tests-"))
    folder.chmod(0o755)  # noqa: ASYNC240 -- nobody else is waiting
    try:
        with Server(folder / "data", settings=FAST) as running:
            # Whoever connects is taken at their word.
            (folder / "data" / "postgres" / "pg_hba.conf").write_text("local all all trust\n")
            database = await open_database(Settings(database_url=running.dsn))
            await database.value("select pg_reload_conf()")
            await database.close()
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _opened(dsn: str, database: str, user: str | None = None, role: str | None = None) -> Database:
    url = dsn.replace("postgresql:///holdfast?", f"postgresql:///{database}?")
    if user is not None:
        url += f"&user={user}"
    return await open_database(Settings(database_url=url), role)


async def test_the_roles_are_made_once_by_whoever_may(bare_server: Server) -> None:
    dsn = bare_server.dsn
    admin = await _opened(dsn, "holdfast")
    opened = [admin]

    async def using(database: str, user: str | None = None, role: str | None = None) -> Database:
        opened.append(await _opened(dsn, database, user, role))
        return opened[-1]

    try:
        # A process that starts before anything was migrated is busy until it was.
        await _made(admin, "first_house")
        early = await using("first_house", role=APP)
        with pytest.raises(Busy, match="holdfast migrate"):
            await early.value("select 1")

        # Who may make no roles is told what to have done.
        await admin.execute("create role keeper login; create role maker login createrole")
        await _made(admin, "second_house", owner="keeper")
        keeper = await using("second_house", "keeper")
        with pytest.raises(migrate.MigrationError, match="create role holdfast_app nologin") as told:
            await migrate.migrate(keeper)
        assert "grant holdfast_app, holdfast_tenant to keeper" in str(told.value)

        # Several databases at once, by a user who may make roles and is no superuser.
        houses = [f"house_{n}" for n in range(4)]
        for house in houses:
            await _made(admin, house, owner="maker")
        await asyncio.gather(*[migrate.migrate(await using(house, "maker")) for house in houses])
        for house in houses:
            assert await (await using(house, "maker", APP)).value("select count(*) from shows") == 0
        await migrate.migrate(await using("first_house"))
        assert await early.value("select current_user") == APP

        # Now the first has what it asked for, and may act as the roles.
        with pytest.raises(migrate.MigrationError):
            await migrate.migrate(keeper)
        await admin.execute("grant holdfast_app, holdfast_tenant to keeper")
        await migrate.migrate(keeper)
        acting = await using("second_house", "keeper", APP)
        assert await acting.value("select count(*) from shows") == 0

        # Who may not act as them hears so when a process starts.
        await admin.execute("create role stranger login")
        with pytest.raises(BadSetting, match="permission denied to set role"):
            await using("second_house", "stranger", APP)
    finally:
        for each in opened:
            await each.close()


async def _made(admin: Database, name: str, owner: str = "default") -> None:
    await admin.execute(f"create database {name} owner {owner}")
