"""Brings a database up to this code: plain numbered SQL files, forward only, each once, one process at a time.

`migrations/NNNN_words.pre.sql` runs before the new code starts, `.post.sql` after the old code is gone. The files named
`functions.sql` and `*_functions.sql` are applied again whenever their text changed. Each file is one transaction; a lock inside it makes
several starters take turns, so that all but the first find nothing to do. No statement waits longer than four seconds
for a lock, because a waiting ALTER TABLE would stop every claim behind it, or takes longer than a minute.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from weakref import WeakSet

from holdfast.platform import telemetry
from holdfast.platform.db import Database, NotPermitted, Transaction

ROOT = Path(__file__).parents[1]
MIGRATIONS = ROOT / "migrations"
Phase = Literal["pre", "post"]

# A step may have many statements, and whoever waits for its turn waits for all of them.
STEP_SECONDS_MAX = 600.0

_TAKE_TURNS = "select pg_advisory_xact_lock(7238464711)"
_LIMITS = "set local lock_timeout = '4s'; set local statement_timeout = '60s'"
_LEDGER = """create table if not exists migrations (
  name text primary key,
  checksum text not null,
  applied_at timestamptz not null default clock_timestamp()
)"""
_APPLIED = "select name, checksum from migrations"
_IS_THERE = "select to_regclass('migrations') is not null"
_RECORD = """insert into migrations (name, checksum) values ($1, $2)
on conflict (name) do update set checksum = excluded.checksum, applied_at = clock_timestamp()"""

# A function whose signature changed is another function. The one that there was is older, and goes after the old code.
_DROP_OLDER = """do $$
declare
  v_older regprocedure;
begin
  for v_older in
    select p.oid from pg_proc p
     where p.pronamespace = current_schema()::regnamespace and p.proname = any (string_to_array('{names}', ','))
       and p.proowner = current_user::regrole
       and exists (select from pg_proc y
                    where y.pronamespace = p.pronamespace and y.proname = p.proname and y.oid > p.oid)
  loop
    execute 'drop function ' || v_older;
  end loop;
end $$"""
_MAKES_FUNCTION = re.compile(r"^create or replace function (\w+)\(", re.MULTILINE)

log = telemetry.log("migrate")
_fitted: "WeakSet[Database]" = WeakSet()


class MigrationError(Exception):
    """The database does not fit this code; the message says what to do."""


@dataclass(frozen=True)
class Step:
    """One file to apply. `repeatable` files (functions) are applied again when they change."""

    name: str
    phase: Phase
    text: str
    repeatable: bool

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def steps() -> list[Step]:
    """Every file in the order of its turn: tables before the code, functions, tables after the old code has gone."""
    found = []
    for path in sorted(MIGRATIONS.glob("*.sql")):
        if path.name == "schema.sql":
            continue
        phase = path.name.split(".")[-2]
        assert phase in ("pre", "post"), f"{path.name} says neither pre nor post"
        found.append(
            Step(path.stem, "pre" if phase == "pre" else "post", path.read_text("utf-8"), repeatable=False)
        )
    functions = [
        # Every function may call those of the platform, so theirs come first.
        Step(f"{path.parent.name}/{path.stem}", "pre", path.read_text("utf-8"), repeatable=True)
        for path in sorted(ROOT.glob("*/*functions.sql"), key=lambda p: (p.parent.name != "platform", p))
    ]
    return [s for s in found if s.phase == "pre"] + functions + [s for s in found if s.phase == "post"]


async def pending(db: Database) -> list[Step]:
    """What `migrate` would apply now. Raises MigrationError when the database is newer than this code or drifted."""
    if not await db.value(_IS_THERE):
        return steps()
    return _pending({row["name"]: row["checksum"] for row in await db.rows(_APPLIED)})


async def migrate(db: Database, phases: Sequence[Phase] = ("pre", "post")) -> list[str]:
    """Applies what is missing, in order, and says what it applied; nothing when the database is up to date.

    With `post`, functions of ours that were replaced by one with another signature go.

    Raises MigrationError when the database is newer than this code, when an applied file was changed since, or when the
    user may not do what a file asks; the file then says what an administrator runs first.
    """
    applied = []
    for step in await pending(db):
        if step.phase in phases and await _apply(db, step):
            log.info("migrated", step=step.name)
            applied.append(step.name)
    if "post" in phases:
        names = [name for step in steps() for name in functions_made(step)]
        async with db.transaction() as tx:
            await tx.script(_TAKE_TURNS, STEP_SECONDS_MAX)
            await tx.execute(_LIMITS)
            await tx.execute(_DROP_OLDER.format(names=",".join(names)))
    return applied


def functions_made(step: Step) -> list[str]:
    """The names of the functions that a repeatable step makes."""
    return _MAKES_FUNCTION.findall(step.text) if step.repeatable else []


async def check(db: Database) -> None:
    """The database answers, and has had the schema of this code at least once.

    Once is enough: what is applied later belongs to a newer release, whose `pre` files old code must live with until it
    is gone. Raises MigrationError until then, and Busy.
    """
    if db in _fitted:
        await db.value(_IS_THERE)
        return
    try:
        waiting = any(step.phase == "pre" for step in await pending(db))
    except NotPermitted:
        # It is from before the roles that this code acts in.
        waiting = True
    if waiting:
        raise MigrationError("The database waits for `holdfast migrate`.")
    _fitted.add(db)


async def _apply(db: Database, step: Step) -> bool:
    async with db.transaction() as tx:
        await tx.script(_TAKE_TURNS, STEP_SECONDS_MAX)
        await tx.execute(_LIMITS)
        await tx.execute(_LEDGER)
        if step not in _pending(await _ledger(tx)):
            return False
        try:
            await tx.script(step.text, STEP_SECONDS_MAX)
        except NotPermitted as error:
            raise MigrationError(f"{step.name}: {error}") from error
        await tx.execute(_RECORD, step.name, step.checksum)
    return True


async def _ledger(tx: Transaction) -> dict[str, str]:
    return {row["name"]: row["checksum"] for row in await tx.rows(_APPLIED)}


def _pending(applied: dict[str, str]) -> list[Step]:
    known = steps()
    unknown = sorted(set(applied) - {step.name for step in known})
    if unknown:
        raise MigrationError(
            f"The database is newer than this Holdfast: it has {', '.join(unknown)}. Run the newer version."
        )
    drifted = [s.name for s in known if not s.repeatable and applied.get(s.name, s.checksum) != s.checksum]
    if drifted:
        raise MigrationError(
            f"{', '.join(drifted)} was changed after it was applied here. Undo the change and add a new migration."
        )
    return [step for step in known if applied.get(step.name) != step.checksum]
