"""Migrations and the processes around them: what takes its time, and what old code may live with."""

import asyncio
from pathlib import Path

import httpx
import msgspec
import pytest

from holdfast.engine import Engine
from holdfast.platform import migrate
from holdfast.platform.db import Database, open_database
from holdfast.platform.errors import Busy
from holdfast.platform.settings import Settings
from tests.conftest import client_of

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
