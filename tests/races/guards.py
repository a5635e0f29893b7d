"""Controls: a function of the database without some of its guards, to see what they are there for."""

from pathlib import Path

import asyncpg

from holdfast import booking

FUNCTIONS = Path(booking.__file__).with_name("functions.sql")


async def take_away(database_url: str, *guards: tuple[str, str], statement: str | None = None) -> None:
    """Replaces `claim` in this database by the same function with these pieces changed, and runs a statement besides.

    Asserts that each piece stands there exactly once.
    """
    text = FUNCTIONS.read_text("utf-8")
    start = text.index("create or replace function claim(")
    function = text[start : text.index("end $$;", start) + len("end $$;")]
    for guarded, unguarded in guards:
        assert function.count(guarded) == 1, f"the guard is not where this test looks for it: {guarded}"
        function = function.replace(guarded, unguarded)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(function)
        if statement is not None:
            await connection.execute(statement)
    finally:
        await connection.close()
