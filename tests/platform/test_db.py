"""What leaves the database layer when PostgreSQL says no."""

import pytest

from holdfast.platform.db import CheckViolation, Database, UniqueViolation
from holdfast.platform.errors import Busy
from tests.conftest import eventually

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("in_transaction", [True, False])
async def test_an_error_does_not_quote_the_row(db: Database, in_transaction: bool) -> None:
    await db.execute("create table guests (email text primary key check (email like '%@%'))")
    await db.execute("insert into guests values ('guest@example.org')")
    for refused, row in ((UniqueViolation, "guest@example.org"), (CheckViolation, "guest of honour")):
        with pytest.raises(refused) as caught:
            if in_transaction:
                async with db.transaction() as tx:
                    await tx.execute("insert into guests values ($1)", row)
            else:
                await db.execute("insert into guests values ($1)", row)
        assert "guests" in str(caught.value)
        assert row not in str(caught.value)


async def test_a_connection_that_dies_between_two_statements_is_busy(
    db: Database,
) -> None:
    with pytest.raises(Busy):
        async with db.transaction() as tx:
            pid = await tx.value("select pg_backend_pid()")
            await db.execute("select pg_terminate_backend($1)", pid)
            # What the server says last is read before the next statement is sent.
            await eventually(lambda: _gone(db, pid))
            await tx.value("select 1")
    assert await db.value("select 1") == 1


async def _gone(db: Database, pid: int) -> bool:
    return not await db.value("select 1 from pg_stat_activity where pid = $1", pid)
