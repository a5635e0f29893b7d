"""A span of time once more: what an endpoint missed is made into deliveries, page by page of the feed."""

from datetime import datetime
from uuid import UUID

import msgspec

from holdfast.platform import clock, jobs
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.ids import OrganizerId
from holdfast.platform.jobs import Job, Later
from holdfast.webhooks import endpoints, feed
from holdfast.webhooks.delivering import enqueue

REPLAY = "webhooks.replay"
PAGE = 500
# So many deliveries to one endpoint wait at most for a replay to go on.
WAITING_MAX = 5000
WAITING_SECONDS = 5.0

sql = load_queries(__file__)


class Span(msgspec.Struct, frozen=True):
    """What is to be sent again: facts from `since` until before `until`, in the form in which facts say their time.

    `after` is the position in the feed behind which the replay goes on. `delivered`: also what has arrived.
    """

    webhook_id: UUID
    organizer_id: UUID
    since: str
    until: str
    delivered: bool
    after: int | None = None


async def replay(
    tx: Transaction,
    organizer_id: OrganizerId,
    webhook_id: UUID,
    since: datetime,
    until: datetime,
    *,
    delivered: bool,
) -> None:
    """Lets everything of that span that the endpoint takes, and that did not arrive there, be sent to it soon.

    Of the facts in the feed alone, as far back as that goes. Raises WebhookNotFound, WebhookDisabled.
    """
    await endpoints.held(tx, organizer_id, webhook_id, must_be_enabled=True)
    span = Span(webhook_id, organizer_id, clock.rfc3339(since), clock.rfc3339(until), delivered)
    await jobs.enqueue(tx, REPLAY, msgspec.to_builtins(span))


async def replay_span(job: Job, db: Database) -> None:
    """The handler of REPLAY: one page, and a job for the next one, in one transaction.

    Raises Later while too much waits for the endpoint.
    """
    span = msgspec.convert(job.payload, Span)
    organizer_id = OrganizerId(span.organizer_id)
    if await db.value(sql.deliveries_waiting, span.webhook_id, WAITING_MAX) >= WAITING_MAX:
        raise Later(WAITING_SECONDS)
    try:
        endpoint = await endpoints.endpoint_by_id(db, organizer_id, span.webhook_id)
        page = await feed.read(db, organizer_id, span.after, PAGE, endpoint.kinds)
    except feed.FactsForgotten:
        # It was forgotten while this job waited; the rest is there.
        page = await feed.read(db, organizer_id, None, PAGE, endpoint.kinds)
    except endpoints.WebhookNotFound:
        return
    if not endpoint.enabled:
        return
    wanted = [fact.id for fact in page.facts if span.since <= fact.time < span.until]
    async with db.transaction() as tx:
        made = await tx.rows(sql.deliveries_made_again, span.webhook_id, organizer_id, wanted, span.delivered)
        await enqueue(tx, organizer_id, made)
        # To the end of the feed, because positions follow the order of times only roughly.
        if page.more:
            following = msgspec.structs.replace(span, after=page.position)
            await jobs.enqueue(tx, REPLAY, msgspec.to_builtins(following))
        await jobs.finish(tx, job)
