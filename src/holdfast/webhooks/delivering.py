"""Deliveries: a job for each endpoint and fact, tried again over three days, with a lane for each receiver.

Jobs of this kind have workers of their own, so that no letter and no refund waits behind a receiver that is slow. Within
those, an endpoint and an organizer have so many sendings under way and no more: what comes on top is put back, each
to a moment of its own, as far ahead as the lane will need.
"""

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from random import uniform
from typing import Any
from uuid import UUID

import httpx

from holdfast import accounts
from holdfast.platform import clock, jobs, mail, outbound, telemetry
from holdfast.platform.clock import monotonic
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.ids import OrganizerId
from holdfast.platform.jobs import Job, Later
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import Settings
from holdfast.webhooks.feed import FACT_DAYS, FORGOTTEN_AT_ONCE
from holdfast.webhooks.sending import GONE, RETRY_SECONDS, TRIES_MAX, Try, event_of, send
from holdfast.webhooks.signing import secrets_of

DELIVER = "webhooks.deliver"
# Sendings under way in one process: in all (what outbound.CONNECTIONS_MAX has room for), of one organizer, to one endpoint.
AT_ONCE = 48
OF_ORGANIZER_AT_ONCE = 16
TO_WEBHOOK_AT_ONCE = 4
LANES_MAX = 10_000
PAUSE_SECONDS_MAX = 300.0
# How much of the log of a delivery is kept.
TRIES_KEPT = 12
JITTER = 1.1
# An endpoint where nothing has arrived for so long is closed; a delivery is dead after some three days.
FAILING_SECONDS_MAX = 5 * 86_400.0

sql = load_queries(__file__)
log = telemetry.log("webhooks")


class Lane:
    """What is under way to one receiver. It lets `width` in at a time, and gives the others a time to come back at."""

    def __init__(self, width: int) -> None:
        self.under_way = 0
        self._width = width
        # How long one takes, as far as has been seen; and until when the lane is full with those who were sent away.
        self._seconds = 0.2
        self._until = 0.0

    def enter(self, now: float) -> float | None:
        """None for who may go, and must `leave`; else in how many seconds to ask again."""
        if self.under_way < self._width:
            self.under_way += 1
            return None
        until = max(self._until, now) + self._seconds / self._width
        if until - now > PAUSE_SECONDS_MAX:
            # One by one, too: thousands that came back at once would stand before everybody else's.
            return PAUSE_SECONDS_MAX * uniform(0.5, 1.0)  # noqa: S311 -- spreads load
        self._until = until
        return until - now

    def leave(self, seconds: float | None = None) -> None:
        """One less is under way; `seconds` is how long it took, when it was sent at all."""
        self.under_way -= 1
        if seconds is not None:
            self._seconds = 0.7 * self._seconds + 0.3 * seconds


async def enqueue(tx: Transaction, organizer_id: OrganizerId, deliveries: Iterable[Record]) -> None:
    """Adds the jobs of deliveries that were made in this transaction."""
    await jobs.enqueue_many(
        tx,
        [
            (
                row["job_id"],
                DELIVER,
                {
                    "webhook_id": str(row["webhook_id"]),
                    "fact_id": str(row["fact_id"]),
                    "organizer_id": str(organizer_id),
                },
                None,
            )
            for row in deliveries
        ],
    )


class Deliverer:
    """Sends deliveries; close it when done. Its client is made at the first sending, which takes a moment."""

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        *,
        resolve: outbound.Resolve = outbound.resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._secrets = secrets
        self._resolve = resolve
        self._tls = tls
        self._stack = AsyncExitStack()
        self._http: httpx.AsyncClient | None = None
        self._opening = asyncio.Lock()
        self._lanes: dict[UUID, Lane] = {}

    async def close(self) -> None:
        """Closes the client."""
        await self._stack.aclose()

    async def deliver(self, job: Job, db: Database) -> None:
        """The handler of DELIVER: one try. Raises Later while others are under way, and when another try is to come."""
        webhook_id, organizer_id = UUID(job.payload["webhook_id"]), UUID(job.payload["organizer_id"])
        lanes = (
            self._lane(webhook_id, TO_WEBHOOK_AT_ONCE),
            self._lane(organizer_id, OF_ORGANIZER_AT_ONCE),
        )
        entered: list[Lane] = []
        made: Try | None = None
        try:
            for lane in lanes:
                if (pause := lane.enter(monotonic())) is not None:
                    raise Later(pause)
                entered.append(lane)
            made, after = await self._try(job, db, webhook_id)
            if after is not None:
                raise Later(after)
        finally:
            for lane in entered:
                lane.leave(made.ms / 1000 if made else None)

    async def _try(self, job: Job, db: Database, webhook_id: UUID) -> tuple[Try | None, float | None]:
        """What came of a try, if there was one, and in how many seconds another is to come, if any."""
        key = (webhook_id, UUID(job.payload["fact_id"]), job.id)
        found = await db.row(sql.delivery_to_send, *key)
        if found is None:
            return None, None
        if not found["open"]:
            await db.execute(sql.delivery_ended, *key)
            return None, None
        if found["next_at"] is not None and (early := (found["next_at"] - clock.now()).total_seconds()) > 1:
            # The run before wrote down what came of its try, and died before it put the job back.
            return None, early
        secrets = await secrets_of(db, self._secrets, webhook_id)
        event = event_of(
            key[1], found["kind"], found["show_id"], found["at"], found["payload"], self._settings.address
        )
        made = await send(await self._client(), found["url"], key[1], event, secrets)
        if made.succeeded:
            await self._arrived(db, job, key, found, made)
            return made, None
        return made, await self._failed(db, job, key, found, made)

    async def _arrived(
        self, db: Database, job: Job, key: tuple[UUID, UUID, UUID], found: Record, made: Try
    ) -> None:
        async with db.transaction() as tx:
            await tx.execute(sql.delivery_tried, *key, "delivered", _tries(found, made), None)
            if found["failing_since"] is not None:
                await tx.execute(sql.webhook_works, key[0])
            await jobs.finish(tx, job)

    async def _failed(
        self, db: Database, job: Job, key: tuple[UUID, UUID, UUID], found: Record, made: Try
    ) -> float | None:
        pause = None if made.status == GONE else _pause(found["attempts"] + 1, made)
        why = "gone" if made.status == GONE else "failing"
        async with db.transaction() as tx:
            if found["failing_since"] is None:
                await tx.execute(sql.webhook_fails, key[0])
            closed = await tx.row(sql.webhook_closed, key[0], why, FAILING_SECONDS_MAX)
            if closed is not None:
                pause = None
                await self._tell(tx, closed, key[0], why)
            state = "dead" if pause is None else "waiting"
            await tx.execute(sql.delivery_tried, *key, state, _tries(found, made), pause)
            if pause is None:
                await jobs.finish(tx, job)
        if closed is not None:
            log.warning("webhook closed", webhook_id=str(key[0]), because=why)
        return pause

    async def _tell(self, tx: Transaction, closed: Record, webhook_id: UUID, why: str) -> None:
        """Writes to the owners that nothing more is sent to an endpoint."""
        because = (
            "it answered 410 Gone"
            if why == "gone"
            else f"nothing has arrived there for {FAILING_SECONDS_MAX / 86_400:.0f} days"
        )
        text = (
            f"Holdfast sends nothing more to the webhook {webhook_id}, because {because}.\n\n"
            "Once the receiver works again, enable the webhook and have what it missed sent again:\n\n"
            f"PATCH {self._settings.address}/v1/webhooks/{webhook_id}\n"
            f"POST {self._settings.address}/v1/webhooks/{webhook_id}/replay\n"
        )
        for email in await accounts.owner_addresses(tx, closed["organizer_id"]):
            await mail.post(tx, self._secrets, to=email, subject="A webhook was disabled", text=text)

    async def _client(self) -> httpx.AsyncClient:
        async with self._opening:
            if self._http is None:
                made = outbound.client(self._settings, resolve=self._resolve, tls=self._tls)
                self._http = await self._stack.enter_async_context(made)
        return self._http

    def _lane(self, of: UUID, width: int) -> Lane:
        lane = self._lanes.get(of)
        if lane is None:
            if len(self._lanes) >= LANES_MAX:
                self._lanes = {key: lane for key, lane in self._lanes.items() if lane.under_way}
            lane = self._lanes[of] = Lane(width)
        return lane


async def forget_log(db: Database) -> int:
    """Forgets deliveries after FACT_DAYS, and secrets that have ended, in short pieces; how many deliveries. Raises Busy.

    The log is kept as long as facts are, because it says which of them have arrived.
    """
    forgotten = 0
    while gone := await db.execute(sql.deliveries_forgotten, FACT_DAYS, FORGOTTEN_AT_ONCE):
        forgotten += gone
    await db.execute(sql.secrets_forgotten, FORGOTTEN_AT_ONCE)
    return forgotten


def _pause(tries: int, made: Try) -> float | None:
    """Seconds until the next try after so many, and not before the endpoint wants one; None when that was the last."""
    if tries >= TRIES_MAX:
        return None
    seconds = RETRY_SECONDS[tries - 1] * uniform(1.0, JITTER)  # noqa: S311 -- spreads load
    return max(seconds, made.retry_after or 0.0)


def _tries(found: Record, made: Try) -> Sequence[Any]:
    return [*found["tries"], made.kept()][-TRIES_KEPT:]
