"""What leaves the database layer when PostgreSQL says no."""

import pytest

from holdfast.platform.db import CheckViolation, Database, UniqueViolation

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
