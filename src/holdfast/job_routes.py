"""Dead letters over HTTP, for whoever looks after the installation. `call.state` is the Engine."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from holdfast import accounts
from holdfast.accounts import Staff
from holdfast.platform import clock, jobs
from holdfast.platform.db import Transaction
from holdfast.platform.errors import NotFound
from holdfast.platform.http import Call, Routes, Timestamp
from holdfast.platform.pages import PageQuery, foreign_cursor, page_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class DeadLetterNotFound(NotFound):
    code = "dead_letter_not_found"
    title = "There is no such dead letter."


class DeadLetterJson(msgspec.Struct):
    """A job that failed for good: what it was to do, how often it was tried, and what it ended with."""

    id: UUID
    kind: str
    payload: Any
    attempts: int
    last_error: str
    created_at: Timestamp
    died_at: Timestamp


class DeadLettersJson(msgspec.Struct):
    jobs: list[DeadLetterJson]
    next: str | None


routes = Routes("operators", missing={"job_id": DeadLetterNotFound})


@routes.get("/v1/jobs/dead", who=Staff("jobs.read"), query=PageQuery, answers={200: DeadLettersJson})
async def list_dead_letters(call: Call[None]) -> DeadLettersJson:
    """List the jobs that failed too often, the latest first."""
    # One more than the page holds tells whether another follows.
    limit = min(call.query.limit, jobs.DEAD_PAGE_MAX - 1)
    found = await jobs.dead(call.db, limit + 1, _after(call.query.cursor))
    page, following = page_of(found, limit, _cursor)
    return DeadLettersJson([_json(letter) for letter in page], following)


@routes.post("/v1/jobs/dead/{job_id}/replay", who=Staff("jobs.write"), answers={204: None}, once=True)
async def replay_dead_letter(call: Call[None], tx: Transaction) -> None:
    """Run a job once more, with all its tries."""
    job_id = call.path["job_id"]
    if not await jobs.replay(tx, job_id):
        raise DeadLetterNotFound
    await accounts.audit(tx, call, "job.replayed", organizer_id=call.caller.organizer_id, subject=job_id)


@routes.delete("/v1/jobs/dead/{job_id}", who=Staff("jobs.write"), answers={204: None})
async def discard_dead_letter(call: Call[None]) -> None:
    """Throw a job away."""
    job_id = call.path["job_id"]
    async with call.db.transaction() as tx:
        if not await jobs.discard(tx, job_id):
            raise DeadLetterNotFound
        await accounts.audit(tx, call, "job.discarded", organizer_id=call.caller.organizer_id, subject=job_id)


def _cursor(letter: jobs.DeadLetter) -> str:
    return f"{(letter.died_at - _EPOCH) // _MICROSECOND:x}.{letter.id.hex}"


def _after(cursor: str | None) -> tuple[datetime, UUID] | None:
    if cursor is None:
        return None
    moment, _, job_id = cursor.partition(".")
    try:
        return _EPOCH + int(moment, 16) * _MICROSECOND, UUID(hex=job_id)
    except (ValueError, OverflowError):
        raise foreign_cursor() from None


def _json(letter: jobs.DeadLetter) -> DeadLetterJson:
    return DeadLetterJson(
        id=letter.id,
        kind=letter.kind,
        payload=letter.payload,
        attempts=letter.attempts,
        last_error=letter.last_error,
        created_at=clock.rfc3339(letter.created_at),
        died_at=clock.rfc3339(letter.died_at),
    )
