"""A sending, step by step: facts that happen, jobs that are due, and time that goes by without anybody waiting for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec

from holdfast import facts
from holdfast.engine import Engine
from holdfast.platform import clock, jobs
from holdfast.platform.db import Database
from holdfast.platform.ids import OrganizerId, new_id
from holdfast.platform.jobs import Job, Later, Worker
from holdfast.platform.outbox import Fact, Followers, Relay, announce
from holdfast.platform.periodic import Periodic
from holdfast.webhooks import Sending, endpoints
from holdfast.webhooks.delivering import DELIVER, Deliverer
from holdfast.webhooks.endpoints import Endpoint
from holdfast.webhooks.taking import Taker

BOOKED = {"booking_id": "01900000-0000-7000-8000-000000000001", "version": 2, "total": 4200}


async def another_house(db: Database) -> OrganizerId:
    organizer_id = OrganizerId(new_id())
    await db.execute("insert into organizers (organizer_id, name) values ($1, 'Rivals')", organizer_id)
    return organizer_id


async def endpoint(engine: Engine, house: OrganizerId, url: str, **changes: Any) -> tuple[Endpoint, str]:
    async with engine.db.transaction() as tx:
        return await endpoints.create(tx, engine.secrets, house, created_by="person:x", url=url, **changes)


async def happened(
    engine: Engine,
    house: OrganizerId | None,
    kind: str = facts.BOOKING_CONFIRMED,
    *,
    show_id: UUID | None = None,
    **data: Any,
) -> Fact:
    """A fact of this organizer, taken as the follower does."""
    said = {**BOOKED, **data} if house is None else {**BOOKED, "organizer_id": str(house), **data}
    fact = Fact(new_id(), kind, show_id or new_id(), clock.rfc3339(clock.now()), said)
    await taken(engine, fact, Taker(engine.db))
    return fact


async def taken(engine: Engine, fact: Fact, taker: Taker) -> None:
    async with engine.db.transaction() as tx:
        await jobs.enqueue(tx, "follow:webhooks", {"facts": [msgspec.to_builtins(fact)]}, job_id=fact.id)
    job = await leased(engine, "follow:webhooks")
    assert job is not None
    await taker.take(job, engine.db)
    assert job.finished


async def leased(engine: Engine, kind: str) -> Job | None:
    """A job of this kind that is due, as a worker has it."""
    rows = await engine.db.rows(
        """update jobs set lease = $2, leased_until = now() + interval '1 minute', attempts = attempts + 1
            where job_id = (select job_id from jobs where kind = $1 and run_at <= now() and lease is null
                             order by run_at limit 1)
            returning job_id, kind, payload, attempts, created_at, lease""",
        kind,
        new_id(),
    )
    return Job(*rows[0]) if rows else None


async def tried(engine: Engine, deliverer: Deliverer) -> float | None:
    """Has the delivery that is due tried once, as a worker would; in how many seconds it comes again, if it does."""
    job = await leased(engine, DELIVER)
    assert job is not None, "nothing is due"
    return await ran(engine, deliverer, job)


async def ran(engine: Engine, deliverer: Deliverer, job: Job) -> float | None:
    try:
        await deliverer.deliver(job, engine.db)
    except Later as later:
        await engine.db.execute(
            "update jobs set lease = null, run_at = now() + make_interval(secs => $2) where job_id = $1",
            job.id,
            later.seconds,
        )
        return later.seconds
    if not job.finished:
        await engine.db.execute("delete from jobs where job_id = $1", job.id)
    return None


async def later(engine: Engine, seconds: float) -> None:
    """So much time goes by, for jobs, deliveries and endpoints."""
    for statement in (
        "update jobs set run_at = run_at - make_interval(secs => $1)",
        "update webhook_deliveries set next_at = next_at - make_interval(secs => $1)",
        "update webhooks set failing_since = failing_since - make_interval(secs => $1)",
        "update webhook_secrets set until = until - make_interval(secs => $1)",
    ):
        await engine.db.execute(statement, seconds)


async def log(engine: Engine, webhook_id: UUID) -> list[Any]:
    return await engine.db.rows(
        "select * from webhook_deliveries where webhook_id = $1 order by fact_id", webhook_id
    )


@asynccontextmanager
async def at_work(engine: Engine) -> AsyncIterator[None]:
    """The relay, the follower and the sending, as the engine runs them."""
    followers = Followers()
    sending = Sending(engine.db, engine.settings, engine.secrets, engine.broadcast)
    sending.follow(followers)
    worker = Worker(engine.db, engine.settings, followers.handlers(), broadcast=engine.broadcast)
    relay = Periodic("relay", 0.05, Relay(engine.db, followers).hand_on)
    running = asyncio.create_task(worker.run())
    sending.start(elsewhere=followers.handlers())
    relay.start()
    try:
        yield
    finally:
        await asyncio.gather(relay.stop(), worker.stop(), sending.stop())
        await running


async def announced(engine: Engine, house: OrganizerId, count: int = 1) -> list[UUID]:
    async with engine.db.transaction() as tx:
        data = {**BOOKED, "organizer_id": str(house)}
        return [await announce(tx, new_id(), facts.BOOKING_CONFIRMED, data) for _ in range(count)]
