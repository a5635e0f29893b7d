"""Where an organizer has its facts sent, and what became of the sendings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID

from holdfast import facts
from holdfast.platform import broadcast, clock
from holdfast.platform.bodies import invalid
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Conflict, NotFound
from holdfast.platform.ids import OrganizerId, new_id
from holdfast.platform.outbox import Fact
from holdfast.platform.secret import Secrets
from holdfast.webhooks import feed
from holdfast.webhooks.delivering import enqueue
from holdfast.webhooks.sending import PING
from holdfast.webhooks.signing import add_secret, replace_secret
from holdfast.webhooks.taking import ASKED_TOPIC

WEBHOOKS_MAX = 10
DESCRIPTION_LENGTH_MAX = 200
KINDS_MAX = 100
OVERLAP_SECONDS_MAX = 7 * 86_400

DisabledBecause = Literal["by_staff", "gone", "failing"]
DeliveryState = Literal["waiting", "delivered", "dead"]

sql = load_queries(__file__)


class WebhookNotFound(NotFound):
    code = "webhook_not_found"
    title = "There is no such webhook."


class TooManyWebhooks(Conflict):
    code = "too_many_webhooks"
    title = f"An organizer has at most {WEBHOOKS_MAX} webhooks. Delete one first."


class WebhookDisabled(Conflict):
    code = "webhook_disabled"
    title = "Nothing is sent to a webhook that is disabled. Enable it first."


class DeliveryNotFound(NotFound):
    code = "delivery_not_found"
    title = "There is no such delivery, and no such fact that could be sent."


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where facts go. `kinds` None: all, but those that are sent by name only. `failing_since`: the first failure
    after the last success.
    """

    webhook_id: UUID
    url: str
    description: str
    kinds: list[str] | None
    enabled: bool
    disabled_because: DisabledBecause | None
    disabled_at: datetime | None
    failing_since: datetime | None
    created_by: str
    created_at: datetime
    old_secret_until: datetime | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One fact on its way to one endpoint. `tries` holds the last ones: at, ms, status, said, error."""

    fact_id: UUID
    kind: str
    state: DeliveryState
    attempts: int
    tries: list[dict[str, Any]]
    next_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


async def create(
    tx: Transaction,
    secrets: Secrets,
    organizer_id: OrganizerId,
    *,
    created_by: str,
    url: str,
    description: str = "",
    kinds: Sequence[str] | None = None,
    enabled: bool = True,
) -> tuple[Endpoint, str]:
    """A new endpoint and its secret, which cannot be had again. `url` has been through `outbound.check`.

    Raises Invalid (`/kinds/0`, `/description`), TooManyWebhooks.
    """
    named = _checked(kinds, description)
    await tx.execute(sql.organizer_held, organizer_id)
    if await tx.value(sql.webhooks_counted, organizer_id) >= WEBHOOKS_MAX:
        raise TooManyWebhooks
    webhook_id = new_id()
    await tx.execute(
        sql.webhook_added, webhook_id, organizer_id, url, description, named, enabled, created_by
    )
    text = await add_secret(tx, secrets, organizer_id, webhook_id)
    tx.after_commit(partial(broadcast.hint, ASKED_TOPIC))
    return await endpoint_by_id(tx, organizer_id, webhook_id), text


async def edit(
    tx: Transaction,
    organizer_id: OrganizerId,
    webhook_id: UUID,
    *,
    url: str,
    description: str,
    kinds: Sequence[str] | None,
    enabled: bool,
) -> Endpoint:
    """Sets all that staff decide of an endpoint; enabling it again forgets how it failed. Raises Invalid, WebhookNotFound."""
    named = _checked(kinds, description)
    if not await tx.execute(sql.webhook_edited, organizer_id, webhook_id, url, description, named, enabled):
        raise WebhookNotFound
    tx.after_commit(partial(broadcast.hint, ASKED_TOPIC))
    return await endpoint_by_id(tx, organizer_id, webhook_id)


async def delete(tx: Transaction, organizer_id: OrganizerId, webhook_id: UUID) -> None:
    """Sends nothing more there; what waits is dropped. Raises WebhookNotFound."""
    if not await tx.execute(sql.webhook_deleted, organizer_id, webhook_id):
        raise WebhookNotFound
    await tx.execute(sql.secrets_deleted, webhook_id)
    tx.after_commit(partial(broadcast.hint, ASKED_TOPIC))


async def rotate(
    tx: Transaction, secrets: Secrets, organizer_id: OrganizerId, webhook_id: UUID, overlap_seconds: int
) -> tuple[Endpoint, str]:
    """A new secret, and its text; the old one signs beside it for the overlap. Raises WebhookNotFound."""
    await held(tx, organizer_id, webhook_id)
    text = await replace_secret(tx, secrets, organizer_id, webhook_id, overlap_seconds)
    return await endpoint_by_id(tx, organizer_id, webhook_id), text


async def held(
    tx: Transaction, organizer_id: OrganizerId, webhook_id: UUID, *, must_be_enabled: bool = False
) -> None:
    """Locks an endpoint. Raises WebhookNotFound, and WebhookDisabled where it must not be."""
    enabled = await tx.value(sql.webhook_held, organizer_id, webhook_id)
    if enabled is None:
        raise WebhookNotFound
    if must_be_enabled and not enabled:
        raise WebhookDisabled


async def endpoint_by_id(db: Database | Transaction, organizer_id: OrganizerId, webhook_id: UUID) -> Endpoint:
    """An endpoint of this organizer. Raises WebhookNotFound."""
    row = await db.row(sql.webhooks_of, organizer_id, webhook_id)
    if row is None:
        raise WebhookNotFound
    return _endpoint(row)


async def endpoints_of(db: Database, organizer_id: OrganizerId) -> list[Endpoint]:
    """All endpoints of an organizer, at most WEBHOOKS_MAX, oldest first."""
    return [_endpoint(row) for row in await db.rows(sql.webhooks_of, organizer_id, None)]


async def ping(tx: Transaction, organizer_id: OrganizerId, webhook_id: UUID) -> Delivery:
    """Sends a test, which is a delivery like any other. Raises WebhookNotFound, WebhookDisabled."""
    fact = Fact(new_id(), PING, webhook_id, clock.rfc3339(clock.now()), {
        "webhook_id": str(webhook_id), "organizer_id": str(organizer_id),
    })  # fmt: skip
    await feed.store(tx, organizer_id, None, [fact], not_in_feed={PING})
    return await again(tx, organizer_id, webhook_id, fact.id)


async def again(tx: Transaction, organizer_id: OrganizerId, webhook_id: UUID, fact_id: UUID) -> Delivery:
    """Sends a fact to an endpoint now, whatever became of it before, with all its tries.

    Raises WebhookNotFound, WebhookDisabled, and DeliveryNotFound when the fact is no longer kept.
    """
    await held(tx, organizer_id, webhook_id, must_be_enabled=True)
    made = await tx.rows(sql.delivery_made_again, webhook_id, organizer_id, fact_id)
    if not made:
        raise DeliveryNotFound
    await enqueue(tx, organizer_id, made)
    return await delivery_by_id(tx, organizer_id, webhook_id, fact_id)


async def deliveries(
    db: Database,
    organizer_id: OrganizerId,
    webhook_id: UUID,
    state: DeliveryState | None,
    before: UUID | None,
    limit: int,
) -> list[Delivery]:
    """Up to `limit` deliveries to an endpoint behind the fact `before`, the newest facts first. Raises WebhookNotFound."""
    await endpoint_by_id(db, organizer_id, webhook_id)
    rows = await db.rows(sql.deliveries_page, organizer_id, webhook_id, state, before, limit)
    return [_delivery(row) for row in rows]


async def delivery_by_id(
    db: Database | Transaction, organizer_id: OrganizerId, webhook_id: UUID, fact_id: UUID
) -> Delivery:
    """What became of one fact at one endpoint. Raises DeliveryNotFound."""
    row = await db.row(sql.delivery_by_id, organizer_id, webhook_id, fact_id)
    if row is None:
        raise DeliveryNotFound
    return _delivery(row)


def checked_kinds(kinds: Sequence[str], where: str = "", pointer: str = "/kinds") -> list[str]:
    """The kinds, each once. Raises Invalid for one that is never announced."""
    for i, kind in enumerate(kinds):
        if kind not in facts.PAYLOADS:
            raise invalid("There is no such kind of fact.", pointer if where else f"{pointer}/{i}", where)
    return sorted(set(kinds))


def _checked(kinds: Sequence[str] | None, description: str) -> list[str] | None:
    if not description.isprintable():
        raise invalid("A description has printable characters.", "/description")
    return None if kinds is None else checked_kinds(kinds)


def _endpoint(row: Record) -> Endpoint:
    return Endpoint(**dict(row))


def _delivery(row: Record) -> Delivery:
    return Delivery(**dict(row))
