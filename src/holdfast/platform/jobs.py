"""Work that must be done, whatever dies: rows of `jobs`, done at least once by any number of workers.

A job is added in the transaction of the change that asks for it. A worker takes it under a lease that it renews while
the handler runs; when the worker dies the lease ends and another takes over. A handler that writes to the database can
finish its job in its own transaction, and its effect is there exactly once. What fails is tried again, later each time;
what fails too often becomes a dead letter, which a person lists, replays or discards.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from random import uniform
from typing import Any
from uuid import UUID

import msgspec
from structlog.contextvars import bound_contextvars

from holdfast.platform import telemetry
from holdfast.platform.broadcast import Broadcast, hint
from holdfast.platform.clock import monotonic
from holdfast.platform.db import Database, Query, Transaction, load_queries
from holdfast.platform.errors import Busy
from holdfast.platform.ids import new_id
from holdfast.platform.periodic import woken
from holdfast.platform.settings import Settings

# Hinted on when a job may be waiting.
TOPIC = "jobs"
POLL_SECONDS = 1.0
# A worker that found nothing looks again no sooner, however many hints there are.
LOOK_GAP_SECONDS = 0.01
# A failed job comes back after 1, 2, 4, ... seconds, at most ten minutes: twelve attempts take half an hour.
RETRY_SECONDS = 1.0
RETRY_SECONDS_MAX = 600.0
# How long an end is tried to be written while the database is away, before the job is left to its lease.
END_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
CANCEL_SECONDS = 1.0
UNKNOWN_SECONDS = 60.0
UNKNOWN_LOOKED_AT_MAX = 1000
ERROR_TEXT_MAX = 1000
COUNTED_MAX = 100_000
DEAD_PAGE_MAX = 100

sql = load_queries(__file__)
log = telemetry.log("jobs")
_kinds_measured: set[str] = set()


class Job(msgspec.Struct):
    """One run of a job, as its handler gets it. `attempts` counts the runs that were begun, this one included.

    `lease` marks this run; `finished` is set once the transaction that finished the job has committed.
    """

    id: UUID
    kind: str
    payload: Any
    attempts: int
    created_at: datetime
    lease: UUID
    finished: bool = False


class DeadLetter(msgspec.Struct, frozen=True):
    """A job that failed for good. `(died_at, id)` is the cursor of `dead`."""

    id: UUID
    kind: str
    payload: Any
    attempts: int
    last_error: str
    created_at: datetime
    died_at: datetime


Handler = Callable[[Job, Database], Awaitable[None]]


class Discard(Exception):
    """Raised by a handler: trying again is of no use, so the job becomes a dead letter at once."""


class Later(Exception):
    """Raised by a handler: not yet. The job comes back in `seconds`, and this run is not counted."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"in {seconds} s")
        self.seconds = seconds


class TookTooLong(Exception):
    """What a run fails with that `settings.job_seconds_max` ended."""


class LeaseLost(Exception):
    """Raised by `finish`: the lease ended and the job was taken by another run. Let it roll the transaction back."""


async def enqueue(
    tx: Transaction, kind: str, payload: Any, *, run_at: datetime | None = None, job_id: UUID | None = None
) -> UUID:
    """Adds a job in the transaction of the change that asks for it, and says its id.

    `payload` is what JSON can say, and not None. It runs soon after the commit, or at `run_at`. The same
    `job_id` again, while the job is still there, changes nothing.
    """
    job_id = job_id or new_id()
    await enqueue_many(tx, [(job_id, kind, payload, run_at)])
    return job_id


async def enqueue_many(tx: Transaction, jobs: Sequence[tuple[UUID, str, Any, datetime | None]]) -> None:
    """Adds jobs (id, kind, payload, run_at), each as `enqueue` does, in one statement."""
    if jobs:
        await tx.execute(sql.jobs_added, *(list(column) for column in zip(*jobs, strict=True)))
        tx.after_commit(partial(hint, TOPIC))


def ring() -> None:
    """Lets workers look for jobs now: for whoever has added some otherwise than by `enqueue`, after the commit."""
    hint(TOPIC)


async def finish(tx: Transaction, job: Job) -> None:
    """Ends the job in the handler's own transaction: both commit, or neither.

    Raises LeaseLost when the job was taken over, so that the effect of this run is rolled back.
    """
    if not await tx.execute(sql.job_finished, job.id, job.lease):
        raise LeaseLost(f"{job.kind} {job.id}")

    def committed() -> None:
        job.finished = True

    tx.after_commit(committed)


async def dead(
    db: Database, limit: int = DEAD_PAGE_MAX, after: tuple[datetime, UUID] | None = None
) -> list[DeadLetter]:
    """Up to `limit` (at most DEAD_PAGE_MAX) dead letters, the latest first, beginning after `(died_at, id)`."""
    died_at, job_id = after or (None, None)
    rows = await db.rows(sql.dead_letters_page, min(limit, DEAD_PAGE_MAX), died_at, job_id)
    return [DeadLetter(*row) for row in rows]


async def replay(tx: Transaction, job_id: UUID) -> bool:
    """Puts a dead letter back among the jobs, with no attempts counted. False when there is none of that id."""
    found: bool = await tx.value(sql.dead_letter_replayed, job_id)
    tx.after_commit(partial(hint, TOPIC))
    return found


async def discard(tx: Transaction, job_id: UUID) -> bool:
    """Forgets a dead letter. False when there is none of that id."""
    return await tx.execute(sql.dead_letter_discarded, job_id) > 0


async def measure(db: Database) -> None:
    """Sets the gauges of jobs, facts and lock waits; each count stops at COUNTED_MAX. Raises Busy."""
    by_kind = {row["kind"]: row["jobs"] for row in await db.rows(sql.jobs_by_kind, COUNTED_MAX)}
    # A kind of which nothing is left must be told as 0, for its gauge would stay where it was.
    _kinds_measured.update(by_kind)
    for kind in _kinds_measured:
        telemetry.JOBS_WAITING.labels(kind).set(by_kind.get(kind, 0))
    row = await db.row(sql.gauges, COUNTED_MAX)
    assert row is not None
    telemetry.JOBS_DEAD.set(row["dead"])
    telemetry.JOBS_AGE_SECONDS.set(row["oldest_due_seconds"])
    telemetry.OUTBOX_WAITING.set(row["facts"])
    telemetry.DB_LOCK_WAITERS.set(row["lock_waiters"])
    telemetry.DB_LOCK_WAIT_MAX_SECONDS.set(row["lock_wait_seconds"])


class _Run:
    """A job under way; `limit` ends it when its lease has not been renewed in time."""

    def __init__(self, job: Job, task: asyncio.Task[None], until: float) -> None:
        self.job = job
        self.task = task
        self.hold(until)

    def hold(self, until: float) -> None:
        self.limit = asyncio.get_running_loop().call_at(until, self.task.cancel)

    def renew(self, until: float) -> None:
        self.limit.cancel()
        self.hold(until)


class Worker:
    """Runs jobs of the kinds in `handlers`, `settings.jobs_at_once` side by side, until it is stopped.

    Jobs of one kind take half of the places at most, so that those of a follower that hangs leave room for the others, and
    a free place goes to the kind that has fewest, so that none waits behind the long queue of another; a run that takes longer than `settings.job_seconds_max` fails. Kinds that it does not know are left to others, and
    named once in the log, but for those `elsewhere`, which another worker of the process has. With a Broadcast it looks as soon as a job is added anywhere, without one every POLL_SECONDS.
    """

    def __init__(
        self,
        db: Database,
        settings: Settings,
        handlers: Mapping[str, Handler],
        *,
        broadcast: Broadcast | None = None,
        retry_seconds: float = RETRY_SECONDS,
        elsewhere: Iterable[str] = (),
    ) -> None:
        self._db = db
        self._settings = settings
        self._handlers = dict(handlers)
        self._kinds = list(self._handlers)
        self._elsewhere = list(elsewhere)
        self._of_a_kind_max = max(1, settings.jobs_at_once // 2)
        self._broadcast = broadcast
        self._retry_seconds = retry_seconds
        self._runs: dict[tuple[UUID, UUID], _Run] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._stopped = asyncio.Event()
        self._stopped.set()
        self._unknown: set[str] = set()
        self._unknown_at = 0.0

    async def run(self) -> None:
        """Takes and runs jobs until `stop`; survives whatever the database or a handler does."""
        self._stopped.clear()
        leases = asyncio.create_task(self._keep_leases(), name="leases")
        unsubscribe = (
            self._broadcast.subscribe(TOPIC, lambda _: self._wake.set()) if self._broadcast else None
        )
        try:
            while not self._stopping:
                await self._round()
            if self._runs:
                await asyncio.wait(self._tasks(), timeout=self._settings.stop_seconds)
        finally:
            if unsubscribe:
                unsubscribe()
            leases.cancel()
            for task in (late := self._tasks()):
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=CANCEL_SECONDS)
            self._stopped.set()

    async def stop(self) -> None:
        """Takes no more, waits up to `settings.stop_seconds` for what runs, and leaves the rest to its leases."""
        self._stopping = True
        self._wake.set()
        await self._stopped.wait()

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [run.task for run in self._runs.values()]

    async def _round(self) -> None:
        free = self._settings.jobs_at_once - len(self._runs)
        taken = 0
        try:
            taken = await self._take(free) if free else 0
            if not taken and monotonic() >= self._unknown_at:
                await self._name_unknown_kinds()
        except Busy as refusal:
            log.warning("no jobs taken", error=str(refusal))
        except Exception:
            log.exception("no jobs taken")
        if not taken:
            await asyncio.sleep(LOOK_GAP_SECONDS)
        await woken(self._wake, POLL_SECONDS)

    async def _take(self, most: int) -> int:
        # Counted from before the question, so that this end of the lease is never later than the database's.
        until = asyncio.get_running_loop().time() + self._settings.job_lease_seconds
        running = Counter(run.job.kind for run in self._runs.values())
        room = [self._of_a_kind_max - running[kind] for kind in self._kinds]
        rows = await self._db.rows(
            sql.jobs_taken, self._kinds, room, most, self._settings.job_lease_seconds, new_id()
        )
        for row in rows:
            job = Job(*row)
            task = asyncio.create_task(self._do(job), name=f"job {job.kind}")
            self._runs[job.id, job.lease] = _Run(job, task, until)
            task.add_done_callback(partial(self._ended, job))
        return len(rows)

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        self._runs.pop((job.id, job.lease)).limit.cancel()
        if not task.cancelled() and (error := task.exception()):
            log.error("job left to its lease", job_id=str(job.id), kind=job.kind, exc_info=error)
        # Where there was no room, in all or for this kind, more may be due.
        of_a_kind = sum(run.job.kind == job.kind for run in self._runs.values())
        if len(self._runs) + 1 >= self._settings.jobs_at_once or of_a_kind + 1 >= self._of_a_kind_max:
            self._wake.set()

    async def _do(self, job: Job) -> None:
        began = monotonic()
        with bound_contextvars(job_id=str(job.id), job_kind=job.kind):
            try:
                outcome = await self._outcome(job)
            except asyncio.CancelledError:
                log.warning("job left to its lease", attempts=job.attempts)
                raise
        telemetry.JOB_SECONDS.labels(job.kind).observe(monotonic() - began)
        telemetry.JOB_OUTCOMES.labels(job.kind, outcome).inc()

    async def _outcome(self, job: Job) -> str:
        if job.attempts > self._settings.job_attempts_max:
            return await self._bury(job, "No run came to an end: the worker died each time.")
        try:
            await self._bounded(job)
        except Later as later:
            await self._put_back(job, later.seconds, 1, None)
            return "later"
        except Discard as reason:
            return await self._bury(job, _told(reason))
        except LeaseLost:
            log.warning("lease lost", attempts=job.attempts)
            return "lost"
        except Exception as error:
            return await self._failed(job, error)
        if not job.finished:
            await self._end(sql.job_finished, job)
        return "done"

    async def _bounded(self, job: Job) -> None:
        seconds = self._settings.job_seconds_max
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                await self._handlers[job.kind](job, self._db)
        except TimeoutError as error:
            # Not one of the handler's own, which say more.
            if not limit.expired():
                raise
            raise TookTooLong(f"no end within {seconds:g} s") from error

    async def _failed(self, job: Job, error: Exception) -> str:
        if job.finished:
            log.error("job failed after it was finished", exc_info=error)
            return "done"
        # That the database is away is nobody's bug, so no traceback is told of it.
        told = {"error": str(error)} if isinstance(error, Busy) else {"exc_info": error}
        log.warning("job failed", attempts=job.attempts, **told)
        if job.attempts >= self._settings.job_attempts_max:
            return await self._bury(job, _told(error))
        await self._put_back(job, retry_after(job.attempts, self._retry_seconds), 0, _told(error))
        return "retry"

    async def _put_back(self, job: Job, seconds: float, uncounted: int, why: str | None) -> None:
        await self._end(sql.job_put_back, job, seconds, uncounted, why)
        if seconds < POLL_SECONDS:
            asyncio.get_running_loop().call_later(seconds, self._wake.set)

    async def _bury(self, job: Job, why: str) -> str:
        log.error("job is a dead letter", attempts=job.attempts, error=why)
        await self._end(sql.job_buried, job, why)
        return "dead"

    async def _end(self, query: Query, job: Job, *args: Any) -> None:
        for pause in END_PAUSES:
            try:
                if not await self._db.execute(query, job.id, job.lease, *args):
                    log.warning("lease had ended before the job did", attempts=job.attempts)
                return
            except Busy:
                await asyncio.sleep(pause)
        log.warning("job left to its lease", attempts=job.attempts)

    async def _keep_leases(self) -> None:
        loop, seconds = asyncio.get_running_loop(), self._settings.job_lease_seconds
        while True:
            await asyncio.sleep(seconds / 3)
            runs = list(self._runs.values())
            until = loop.time() + seconds
            try:
                kept = await self._kept([run.job for run in runs]) if runs else set()
            except Exception as error:
                # The runs go on until their leases end: the next round may be luckier.
                log.warning("leases not renewed", runs=len(runs), error=repr(error))
                continue
            for run in runs:
                if run.job.id in kept and not run.task.done():
                    run.renew(until)

    async def _kept(self, jobs: list[Job]) -> set[UUID]:
        ids, leases = [job.id for job in jobs], [job.lease for job in jobs]
        rows = await self._db.rows(sql.leases_kept, ids, leases, self._settings.job_lease_seconds)
        return {row["job_id"] for row in rows}

    async def _name_unknown_kinds(self) -> None:
        self._unknown_at = monotonic() + UNKNOWN_SECONDS
        rows = await self._db.rows(sql.unknown_kinds, self._kinds + self._elsewhere, UNKNOWN_LOOKED_AT_MAX)
        unknown = {row["kind"] for row in rows} - self._unknown
        if unknown:
            self._unknown |= unknown
            log.warning("jobs of unknown kinds are left alone", kinds=sorted(unknown))


def retry_after(attempts: int, base: float = RETRY_SECONDS) -> float:
    """Seconds until the next try after so many: doubling from `base` to RETRY_SECONDS_MAX, less up to a half."""
    return min(RETRY_SECONDS_MAX, base * 2.0 ** (attempts - 1)) * uniform(0.5, 1.0)  # noqa: S311 -- spreads load


def _told(error: Exception) -> str:
    # PostgreSQL stores neither NUL nor lone surrogates.
    text = f"{type(error).__name__}: {error}".replace("\0", "")
    return text.encode("utf-8", "replace").decode()[:ERROR_TEXT_MAX]
