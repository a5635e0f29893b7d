"""Jobs and workers on real PostgreSQL, with workers in other processes that are killed."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
import structlog

from holdfast.platform import jobs, telemetry
from holdfast.platform.broadcast import Broadcast
from holdfast.platform.db import Database, open_database
from holdfast.platform.errors import Busy
from holdfast.platform.ids import new_id
from holdfast.platform.jobs import ERROR_TEXT_MAX, RETRY_SECONDS_MAX, Handler, Job, Worker
from holdfast.platform.periodic import Periodic
from holdfast.platform.settings import Settings, environment
from tests.platform.eventually import until

pytestmark = pytest.mark.anyio

SOURCE = Path(__file__).parents[2] / "src"
LEFT = "select count(*) from jobs"
DEAD = "select count(*) from dead_letters"
EFFECTS = "create table effects (job_id uuid not null, run int not null)"
EFFECT = "insert into effects values ($1, $2)"

# A worker process whose handler stops for ever at a chosen point, to be killed there.
WORKER_PROCESS = """
import asyncio, sys
from holdfast.platform import jobs, settings
from holdfast.platform.db import open_database

async def stand_still():
    print("here", flush=True)
    await asyncio.sleep(3600)

async def effect_apart(job, db):
    await db.execute("insert into effects values ($1, $2)", job.id, job.attempts)
    await stand_still()

async def effect_before_commit(job, db):
    async with db.transaction() as tx:
        await tx.execute("insert into effects values ($1, $2)", job.id, job.attempts)
        await jobs.finish(tx, job)
        await stand_still()

async def effect_after_commit(job, db):
    async with db.transaction() as tx:
        await tx.execute("insert into effects values ($1, $2)", job.id, job.attempts)
        await jobs.finish(tx, job)
    await stand_still()

async def main():
    values = settings.read()
    await jobs.Worker(await open_database(values), values, {"work": globals()[sys.argv[1]]}).run()

asyncio.run(main())
"""


async def added(db: Database, kind: str = "work", payload: Any = 0, **more: Any) -> UUID:
    async with db.transaction() as tx:
        return await jobs.enqueue(tx, kind, payload, **more)


@asynccontextmanager
async def working(
    db: Database, settings: Settings, handlers: Mapping[str, Handler], **more: Any
) -> AsyncIterator[Worker]:
    worker = Worker(db, settings, handlers, **more)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.stop()
        await running


def none_in(db: Database, count: str = LEFT) -> Any:
    async def none() -> bool:
        return bool(await db.value(count) == 0)

    return none


def one_in(db: Database, count: str = DEAD) -> Any:
    async def one() -> bool:
        return bool(await db.value(count) == 1)

    return one


async def test_a_job_is_run_and_gone(db: Database, settings: Settings) -> None:
    got: list[Job] = []

    async def work(job: Job, of: Database) -> None:
        assert of is db
        got.append(job)

    job_id = await added(db, payload={"number": 7, "text": "é", "list": [None]})
    async with working(db, settings, {"work": work}):
        await until(none_in(db))
    (job,) = got
    assert (job.id, job.kind, job.attempts) == (job_id, "work", 1)
    assert job.payload == {"number": 7, "text": "é", "list": [None]}
    assert await db.value(DEAD) == 0


async def test_a_job_of_a_change_that_did_not_happen_is_none(db: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as tx:
            await jobs.enqueue(tx, "work", {})
            raise ZeroDivisionError
    assert await db.value(LEFT) == 0


async def test_the_same_id_twice_is_one_job(db: Database) -> None:
    job_id = new_id()
    assert [await added(db, payload=n, job_id=job_id) for n in range(2)] == [job_id, job_id]
    assert [row["payload"] for row in await db.rows("select payload from jobs")] == [0]


async def test_a_job_for_later_waits_for_its_time(db: Database, settings: Settings) -> None:
    ran: list[str] = []

    async def work(job: Job, db: Database) -> None:
        ran.append(job.payload)

    await added(db, payload="tomorrow", run_at=datetime.now(UTC) + timedelta(days=1))
    await added(db, payload="yesterday", run_at=datetime.now(UTC) - timedelta(days=1))
    async with working(db, settings, {"work": work}):
        await until(lambda: ran)
        await db.execute("update jobs set run_at = now() where payload = '\"tomorrow\"'")
        await until(lambda: len(ran) == 2)
    assert ran == ["yesterday", "tomorrow"]


async def test_several_workers_run_each_job_once(settings: Settings) -> None:
    dbs = [await open_database(settings) for _ in range(3)]
    running: set[UUID] = set()
    runs: Counter[UUID] = Counter()
    together: set[UUID] = set()

    async def work(job: Job, db: Database) -> None:
        if job.id in running:
            together.add(job.id)
        running.add(job.id)
        runs[job.id] += 1
        await db.value("select pg_sleep(0.002)")
        running.remove(job.id)

    async with dbs[0].transaction() as tx:
        ids = [await jobs.enqueue(tx, "work", {}) for _ in range(200)]
    async with working(dbs[0], settings, {"work": work}):  # noqa: SIM117 -- three of them at once
        async with working(dbs[1], settings, {"work": work}), working(dbs[2], settings, {"work": work}):
            await until(none_in(dbs[0]))
    assert runs == Counter(ids)
    assert together == set()
    for db in dbs:
        await db.close()


async def test_as_many_at_once_as_allowed_and_of_a_kind_half_as_many(
    db: Database, settings: Settings
) -> None:
    present: Counter[str] = Counter()
    most, release = 0, asyncio.Event()

    async def work(job: Job, db: Database) -> None:
        nonlocal most
        present[job.kind] += 1
        most = max(most, present.total())
        await release.wait()
        present[job.kind] -= 1

    for kind in ("first", "second", "third"):
        for _ in range(4):
            await added(db, kind)
    handlers = {"first": work, "second": work, "third": work}
    async with working(db, msgspec.structs.replace(settings, jobs_at_once=5), handlers):
        await until(lambda: present.total() == 5)
        assert sorted(present.values()) == [1, 2, 2]
        assert await db.value("select count(*) from jobs where leased_until > now()") == 5
        release.set()
        await until(none_in(db))
    assert most == 5


async def test_a_kind_whose_jobs_hang_keeps_no_other_waiting(db: Database, settings: Settings) -> None:
    hanging, done = 0, 0

    async def hang(job: Job, db: Database) -> None:
        nonlocal hanging
        hanging += 1
        await asyncio.sleep(3600)

    async def work(job: Job, db: Database) -> None:
        nonlocal done
        done += 1

    for _ in range(3 * settings.jobs_at_once):
        await added(db, "hang")
    impatient = msgspec.structs.replace(settings, stop_seconds=0.1)
    async with working(db, impatient, {"hang": hang, "work": work}):
        await until(lambda: hanging)
        for _ in range(20):
            await added(db, "work")
        await until(lambda: done == 20)
    assert hanging == settings.jobs_at_once // 2


async def test_a_job_does_not_wait_behind_the_long_queues_of_other_kinds(
    db: Database, settings: Settings
) -> None:
    order: list[str] = []

    async def work(job: Job, db: Database) -> None:
        order.append(job.kind)

    for kind in ("letters", "figures"):
        for _ in range(30):
            await added(db, kind, run_at=datetime.now(UTC) - timedelta(minutes=10))
    await added(db, "refund")
    handlers = {"letters": work, "figures": work, "refund": work}
    async with working(db, msgspec.structs.replace(settings, jobs_at_once=2), handlers):
        await until(none_in(db))
    assert order.index("refund") < 30


async def test_a_run_that_takes_too_long_fails_and_comes_back(db: Database, settings: Settings) -> None:
    runs = 0

    async def hang_once(job: Job, db: Database) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            await asyncio.sleep(3600)
        assert await db.value("select last_error from jobs") == "TookTooLong: no end within 1 s"

    await added(db)
    async with working(db, msgspec.structs.replace(settings, job_seconds_max=1.0), {"work": hang_once}):
        await until(none_in(db))
    assert (runs, await db.value(DEAD)) == (2, 0)


async def test_a_timeout_of_the_handlers_own_is_told_as_such(db: Database, settings: Settings) -> None:
    async def ask(job: Job, db: Database) -> None:
        raise TimeoutError("the server said nothing")

    await added(db)
    async with working(db, msgspec.structs.replace(settings, job_attempts_max=1), {"work": ask}):
        await until(one_in(db))
    assert await db.value("select last_error from dead_letters") == "TimeoutError: the server said nothing"


async def test_a_lease_is_renewed_for_as_long_as_the_handler_runs(db: Database, settings: Settings) -> None:
    short = msgspec.structs.replace(settings, job_lease_seconds=1.0)
    runs = 0
    leases: set[datetime] = set()
    lease = "select leased_until from jobs"

    async def work(job: Job, db: Database) -> None:
        nonlocal runs
        runs += 1
        while len(leases) < 5:
            leases.add(await db.value(lease))
            await asyncio.sleep(0.02)

    await added(db)
    async with working(db, short, {"work": work}), working(db, short, {"work": work}):
        await until(none_in(db))
    assert runs == 1


async def test_a_run_that_lost_its_lease_is_cancelled_and_cannot_finish(
    db: Database, settings: Settings
) -> None:
    await db.execute(EFFECTS)
    cancelled, lost, stolen = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hang(job: Job, db: Database) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    async def finish_late(job: Job, db: Database) -> None:
        await stolen.wait()
        try:
            async with db.transaction() as tx:
                await tx.execute(EFFECT, job.id, job.attempts)
                await jobs.finish(tx, job)
        except jobs.LeaseLost:
            lost.set()
            raise

    await added(db, "hang")
    await added(db, "late")
    short = msgspec.structs.replace(settings, job_lease_seconds=1.0)
    async with working(db, short, {"hang": hang, "late": finish_late}) as worker:
        await until(lambda: len(worker._runs) == 2)
        await db.execute("update jobs set lease = $1, leased_until = now() + interval '1 hour'", new_id())
        stolen.set()
        await lost.wait()
        await cancelled.wait()
    assert await db.value("select count(*) from effects") == 0
    assert await db.value("select count(*) from jobs where attempts = 1 and last_error is null") == 2


async def killed(settings: Settings, handler: str) -> None:
    """Runs a worker process until its handler stands still, then kills it there."""
    path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER_PROCESS, handler),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environment(settings), "PYTHONPATH": path},
    )
    assert child.stdout is not None
    async with asyncio.timeout(30):
        assert await child.stdout.readline() == b"here\n"
    child.kill()
    await child.wait()


async def redo(job: Job, db: Database) -> None:
    """What the worker after the dead one does."""
    async with db.transaction() as tx:
        await tx.execute(EFFECT, job.id, job.attempts)
        await jobs.finish(tx, job)


async def effects(db: Database) -> list[tuple[UUID, int]]:
    return [
        (row["job_id"], row["run"]) for row in await db.rows("select job_id, run from effects order by run")
    ]


async def test_a_worker_killed_before_the_acknowledgement_loses_nothing(
    db: Database, settings: Settings
) -> None:
    await db.execute(EFFECTS)
    short = msgspec.structs.replace(settings, job_lease_seconds=1.0)
    job_id = await added(db)
    await killed(short, "effect_apart")
    assert await effects(db) == [(job_id, 1)]
    assert await db.value(LEFT) == 1
    async with working(db, short, {"work": redo}):
        await until(none_in(db))
    assert await effects(db) == [(job_id, 1), (job_id, 2)]


@pytest.mark.parametrize("point", ["effect_before_commit", "effect_after_commit"])
async def test_finishing_in_the_transaction_of_the_effect_is_exactly_once(
    db: Database, settings: Settings, point: str
) -> None:
    await db.execute(EFFECTS)
    short = msgspec.structs.replace(settings, job_lease_seconds=1.0)
    job_id = await added(db)
    await killed(short, point)
    assert await db.value(LEFT) == (1 if point == "effect_before_commit" else 0)
    async with working(db, short, {"work": redo}):
        await until(none_in(db))
    assert await effects(db) == [(job_id, 2 if point == "effect_before_commit" else 1)]


async def test_finished_and_then_failed_is_finished(db: Database, settings: Settings) -> None:
    failed = asyncio.Event()

    async def work(job: Job, db: Database) -> None:
        async with db.transaction() as tx:
            await jobs.finish(tx, job)
        assert job.finished
        failed.set()
        raise ValueError("too late to matter")

    await added(db)
    async with working(db, settings, {"work": work}):
        await failed.wait()
        await until(none_in(db))
    assert (await db.value(LEFT), await db.value(DEAD)) == (0, 0)


async def test_finishing_in_a_transaction_that_is_rolled_back_finishes_nothing(
    db: Database, settings: Settings
) -> None:
    runs: list[Job] = []

    async def work(job: Job, db: Database) -> None:
        runs.append(job)
        async with db.transaction() as tx:
            await jobs.finish(tx, job)
            if len(runs) == 1:
                raise ValueError("on purpose")

    await added(db)
    async with working(db, settings, {"work": work}, retry_seconds=0.01):
        await until(none_in(db))
    assert [(job.attempts, job.finished) for job in runs] == [(1, False), (2, True)]


async def test_a_failing_job_is_tried_as_often_as_allowed_then_dead_then_replayed(
    db: Database, settings: Settings
) -> None:
    three = msgspec.structs.replace(settings, job_attempts_max=3)
    tries: list[int] = []
    works = False

    async def work(job: Job, db: Database) -> None:
        tries.append(job.attempts)
        if not works:
            raise ValueError(f"attempt {job.attempts} \0 " + "x" * 2 * ERROR_TEXT_MAX)

    job_id = await added(db, payload={"a": 1})
    async with working(db, three, {"work": work}, retry_seconds=0.01):
        await until(one_in(db))
        assert tries == [1, 2, 3]
        assert await db.value(LEFT) == 0
        (letter,) = await jobs.dead(db)
        assert (letter.id, letter.kind, letter.payload, letter.attempts) == (job_id, "work", {"a": 1}, 3)
        assert letter.last_error.startswith("ValueError: attempt 3")
        assert len(letter.last_error) == ERROR_TEXT_MAX

        works = True
        async with db.transaction() as tx:
            assert await jobs.replay(tx, job_id)
        await until(none_in(db))
        await until(none_in(db, DEAD))
    assert tries == [1, 2, 3, 1]
    async with db.transaction() as tx:
        assert not await jobs.replay(tx, job_id)


async def test_success_at_the_last_attempt_is_success(db: Database, settings: Settings) -> None:
    tries = 0

    async def work(job: Job, db: Database) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ValueError("on purpose")

    await added(db)
    three = msgspec.structs.replace(settings, job_attempts_max=3)
    async with working(db, three, {"work": work}, retry_seconds=0.01):
        await until(none_in(db))
    assert (tries, await db.value(DEAD)) == (3, 0)


async def test_an_error_is_kept_with_the_job_while_it_waits(db: Database, settings: Settings) -> None:
    async def work(job: Job, db: Database) -> None:
        raise Busy

    await added(db)

    async def failed() -> Any:
        return await db.value("select last_error from jobs where lease is null and run_at > now()")

    async with working(db, settings, {"work": work}, retry_seconds=600.0):
        await until(failed)
    assert (await failed()).startswith("Busy: Too busy")


async def test_a_job_that_kills_its_workers_is_given_up(db: Database, settings: Settings) -> None:
    ran: list[int] = []

    async def work(job: Job, db: Database) -> None:
        ran.append(job.attempts)

    await added(db, payload="last try")
    await added(db, payload="one too many")
    expired = (
        "update jobs set lease = $1, leased_until = now() - interval '1 s', attempts = $2 where payload = $3"
    )
    await db.execute(expired, new_id(), settings.job_attempts_max - 1, "last try")
    await db.execute(expired, new_id(), settings.job_attempts_max, "one too many")
    async with working(db, settings, {"work": work}):
        await until(none_in(db))
    assert ran == [settings.job_attempts_max]
    (letter,) = await jobs.dead(db)
    assert letter.payload == "one too many"
    assert "the worker died" in letter.last_error


async def test_discard_is_dead_at_once_and_later_does_not_count(db: Database, settings: Settings) -> None:
    seen: list[int] = []

    async def wait_thrice(job: Job, db: Database) -> None:
        seen.append(job.attempts)
        if len(seen) <= 3:
            raise jobs.Later(0.01)

    async def hopeless(job: Job, db: Database) -> None:
        raise jobs.Discard("the address does not exist")

    await added(db, "wait")
    await added(db, "hopeless")
    handlers = {"wait": wait_thrice, "hopeless": hopeless}
    async with working(db, msgspec.structs.replace(settings, job_attempts_max=2), handlers):
        await until(none_in(db))
    assert seen == [1, 1, 1, 1]
    (letter,) = await jobs.dead(db)
    assert (letter.attempts, letter.last_error) == (1, "Discard: the address does not exist")


async def test_dead_letters_are_listed_by_pages_and_discarded(db: Database, settings: Settings) -> None:
    async def hopeless(job: Job, db: Database) -> None:
        raise jobs.Discard("no")

    ids = {await added(db, payload=n) for n in range(5)}
    async with working(db, settings, {"work": hopeless}):
        await until(none_in(db))
    pages, after = [], None
    while page := await jobs.dead(db, 2, after):
        pages.append(page)
        after = (page[-1].died_at, page[-1].id)
    letters = [letter for page in pages for letter in page]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {letter.id for letter in letters} == ids
    assert [letter.died_at for letter in letters] == sorted((x.died_at for x in letters), reverse=True)
    async with db.transaction() as tx:
        assert await jobs.discard(tx, letters[0].id)
        assert not await jobs.discard(tx, letters[0].id)
    assert [letter.id for letter in await jobs.dead(db)] == [letter.id for letter in letters[1:]]


async def test_a_replay_beside_a_new_job_of_the_same_id_is_that_job(db: Database, settings: Settings) -> None:
    async def hopeless(job: Job, db: Database) -> None:
        raise jobs.Discard(f"run of {job.payload}")

    job_id = await added(db, payload="old")
    async with working(db, settings, {"work": hopeless}):
        await until(one_in(db))
    await added(db, payload="new", job_id=job_id)
    async with working(db, settings, {"work": hopeless}):
        await until(none_in(db))
    (letter,) = await jobs.dead(db)
    assert (letter.payload, letter.last_error) == ("new", "Discard: run of new")
    await added(db, payload="newer", job_id=job_id)
    async with db.transaction() as tx:
        assert await jobs.replay(tx, job_id)
    assert [row["payload"] for row in await db.rows("select payload from jobs")] == ["newer"]
    assert await jobs.dead(db) == []


async def test_unknown_kinds_are_left_alone_and_named_once(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "UNKNOWN_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.01)
    ran: list[Job] = []

    async def work(job: Job, db: Database) -> None:
        ran.append(job)

    for _ in range(3):
        await added(db, "of.tomorrow")
    await added(db, "of.another.worker")
    with structlog.testing.capture_logs() as lines:
        async with working(db, settings, {"work": work}, elsewhere=["of.another.worker"]) as worker:
            await until(lambda: worker._unknown)
            await added(db)
            await until(lambda: ran)
            looked = worker._unknown_at
            await until(lambda: worker._unknown_at > looked)
    named = [line["kinds"] for line in lines if "kinds" in line]
    assert named == [["of.tomorrow"]]
    assert await db.value("select count(*) from jobs where kind = 'of.tomorrow' and attempts = 0") == 3


async def test_a_fresh_job_wakes_workers_of_other_processes(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody polls here, so only the hint can wake them."""
    monkeypatch.setattr(jobs, "POLL_SECONDS", 3600.0)
    other = await open_database(settings)
    wires = [Broadcast(db), Broadcast(other)]
    heard: list[object] = []
    ran = asyncio.Event()

    async def work(job: Job, db: Database) -> None:
        ran.set()

    async with working(other, settings, {"work": work}, broadcast=wires[1]) as worker:
        wires[0].start()
        wires[1].subscribe("first", heard.append)
        wires[1].start()
        await until(lambda: heard)
        # The listener's own start woke it once; from now on it sleeps until somebody says something.
        await until(lambda: not worker._wake.is_set())
        monkeypatch.setattr("holdfast.platform.broadcast._running", {wires[0]})
        await added(db)
        await until(ran.is_set)
    for wire in wires:
        await wire.stop()
    await other.close()


async def test_a_full_worker_takes_the_next_as_soon_as_one_ends(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "POLL_SECONDS", 3600.0)
    ran: list[Job] = []

    async def work(job: Job, db: Database) -> None:
        ran.append(job)

    async with db.transaction() as tx:
        for _ in range(10):
            await jobs.enqueue(tx, "work", {})
    async with working(db, msgspec.structs.replace(settings, jobs_at_once=2), {"work": work}):
        await until(none_in(db))
    assert len(ran) == 10


async def test_a_stop_waits_for_what_runs(db: Database, settings: Settings) -> None:
    begun, release, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(job: Job, db: Database) -> None:
        begun.set()
        await release.wait()
        ended.set()

    await added(db)
    worker = Worker(db, settings, {"work": work})
    running = asyncio.create_task(worker.run())
    await begun.wait()
    stopping = asyncio.create_task(worker.stop())
    await added(db)
    release.set()
    await stopping
    await running
    assert ended.is_set()
    assert await db.value("select array_agg(attempts) from jobs") == [0], "it takes nothing more"


async def test_a_stop_leaves_what_does_not_end_to_its_lease(db: Database, settings: Settings) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def work(job: Job, db: Database) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    await added(db)
    async with working(db, msgspec.structs.replace(settings, stop_seconds=0.05), {"work": work}):
        await begun.wait()
    assert cancelled.is_set()
    assert await db.value("select count(*) from jobs where leased_until > now()") == 1
    idle = Worker(db, settings, {"work": work})
    await idle.stop()
    await idle.run()


async def test_the_database_away_stops_no_worker(db: Database, settings: Settings) -> None:
    small = await open_database(msgspec.structs.replace(settings, pool_max=2))
    release, ran = asyncio.Event(), asyncio.Event()

    async def work(job: Job, db: Database) -> None:
        ran.set()

    async def hold_a_connection() -> None:
        async with small._pool.connection():
            await release.wait()

    async with asyncio.TaskGroup() as holders:
        for _ in range(2):
            holders.create_task(hold_a_connection())
        pool = small._pool._pool
        await until(lambda: pool.get_idle_size() == 0 and pool.get_size() == 2)
        with structlog.testing.capture_logs() as lines:
            async with working(small, settings, {"work": work}):
                await added(db)
                await until(lambda: any(line["event"] == "no jobs taken" for line in lines))
                release.set()
                await until(ran.is_set)
    await small.close()


def test_back_off_doubles_up_to_its_end() -> None:
    for attempts in range(1, 101):
        whole = min(RETRY_SECONDS_MAX, 2.0 ** (attempts - 1))
        for _ in range(20):
            assert whole / 2 <= jobs.retry_after(attempts) <= whole


async def test_the_gauges_tell_what_waits(db: Database) -> None:
    def gauge(name: str) -> float:
        lines = telemetry.metrics_text().decode().splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(name + " ")))

    await added(db, "gauged", run_at=datetime.now(UTC) - timedelta(hours=1))
    await added(db, "gauged", run_at=datetime.now(UTC) + timedelta(hours=1))
    await db.execute("select announce($1, $1, 'show.changed', '{}')", new_id())
    await jobs.measure(db)
    assert gauge('holdfast_jobs_waiting{kind="gauged"}') == 2
    assert 3600 <= gauge("holdfast_jobs_oldest_due_seconds") < 3700
    assert gauge("holdfast_outbox_waiting") == 1
    assert gauge("holdfast_jobs_dead") == 0
    assert gauge("holdfast_db_lock_waiters") == 0

    locked, release = asyncio.Event(), asyncio.Event()

    async def lock(held: asyncio.Event | None) -> None:
        async with db.transaction() as tx:
            await tx.execute("lock table answers")
            if held:
                held.set()
                await release.wait()

    async def one_waits() -> bool:
        await jobs.measure(db)
        return gauge("holdfast_db_lock_waiters") == 1 and gauge("holdfast_db_lock_wait_max_seconds") > 0

    async with asyncio.TaskGroup() as lockers:
        lockers.create_task(lock(locked))
        await locked.wait()
        lockers.create_task(lock(None))
        await until(one_waits)
        release.set()
    await db.execute("delete from jobs")
    await jobs.measure(db)
    assert gauge('holdfast_jobs_waiting{kind="gauged"}') == 0


async def test_a_duty_comes_again_whatever_happens_and_when_it_is_called() -> None:
    rounds = 0

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise Busy
        if rounds == 2:
            raise ValueError("on purpose")

    duty = Periodic("counting", 0.001, work)
    duty.start()
    await until(lambda: rounds >= 3)
    await duty.stop()
    after = rounds
    await asyncio.sleep(0.1)
    assert rounds == after

    seldom = Periodic("seldom", 3600.0, work)
    seldom.start()
    await until(lambda: rounds == after + 1)
    seldom.wake()
    await until(lambda: rounds == after + 2)
    await seldom.stop()
