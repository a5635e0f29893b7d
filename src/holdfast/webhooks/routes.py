"""Webhooks over HTTP. `call.state` is the Engine."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from holdfast import accounts
from holdfast.accounts import Staff
from holdfast.platform import clock, outbound
from holdfast.platform.bodies import invalid
from holdfast.platform.db import Transaction
from holdfast.platform.http import Answer, Call, Moment, Routes, Timestamp, created
from holdfast.platform.outbound import URL_LENGTH_MAX, AddressRefused
from holdfast.platform.pages import Limit, id_in, page_of
from holdfast.webhooks import endpoints
from holdfast.webhooks.endpoints import (
    DESCRIPTION_LENGTH_MAX,
    KINDS_MAX,
    OVERLAP_SECONDS_MAX,
    Delivery,
    DeliveryNotFound,
    DeliveryState,
    DisabledBecause,
    Endpoint,
    TooManyWebhooks,
    WebhookDisabled,
    WebhookNotFound,
)
from holdfast.webhooks.replaying import replay

READ = Staff("webhooks.read")
WRITE = Staff("webhooks.write")

Url = Annotated[str, Meta(min_length=1, max_length=URL_LENGTH_MAX)]
Description = Annotated[str, Meta(max_length=DESCRIPTION_LENGTH_MAX)]
Kinds = Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=KINDS_MAX)]

routes = Routes("webhooks", missing={"webhook_id": WebhookNotFound, "fact_id": DeliveryNotFound})


class WebhookSpec(msgspec.Struct, forbid_unknown_fields=True):
    """Where facts are to be sent, and which. `kinds` null is all of them but `availability.changed`."""

    url: Url
    kinds: Kinds | None = None
    description: Description = ""
    enabled: bool = True


class WebhookEdit(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be different."""

    url: Url | UnsetType = UNSET
    kinds: Kinds | None | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class SecretRotation(msgspec.Struct, forbid_unknown_fields=True):
    """For how many seconds the old secret signs beside the new one."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=OVERLAP_SECONDS_MAX)] = 86_400


class WebhookJson(msgspec.Struct):
    """An endpoint. `secret` (`whsec_...`) stands in the answers that make one, never again.

    `disabled_because` says who closed it: `by_staff`, `gone` (it answered 410) or `failing` (nothing arrived for days).
    `failing_since` is the first failure after the last success. `old_secret_until`: so long there are two signatures.
    """

    id: UUID
    url: str
    kinds: list[str] | None
    description: str
    enabled: bool
    disabled_because: DisabledBecause | None
    disabled_at: Timestamp | None
    failing_since: Timestamp | None
    old_secret_until: Timestamp | None
    created_by: str
    created_at: Timestamp
    secret: str | UnsetType = UNSET


class WebhooksJson(msgspec.Struct):
    webhooks: list[WebhookJson]


class TryJson(msgspec.Struct):
    """One try: when, how long it took, the status and the beginning of the body, or why there was no answer."""

    at: Timestamp
    ms: int
    status: int | None
    said: str | None
    error: str | None


class DeliveryJson(msgspec.Struct):
    """One fact on its way to an endpoint. `attempts` counts since it was last begun; `tries` holds the last 12 of all."""

    fact_id: UUID
    kind: str
    state: DeliveryState
    attempts: int
    tries: list[TryJson]
    next_at: Timestamp | None
    created_at: Timestamp
    ended_at: Timestamp | None


class DeliveriesJson(msgspec.Struct):
    deliveries: list[DeliveryJson]
    next: str | None


class DeliveriesQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which deliveries: those that wait, that arrived, or that are dead; all without `state`."""

    state: DeliveryState | None = None
    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=100)] | None = None


class Replay(msgspec.Struct, forbid_unknown_fields=True):
    """Facts from `since` until before `until` (now, by default); with `delivered` also those that arrived before."""

    since: Moment
    until: Moment | None = None
    delivered: bool = False


@routes.post(
    "/v1/webhooks", who=WRITE, body=WebhookSpec, answers={201: WebhookJson}, refusals=(AddressRefused, TooManyWebhooks),
    example={"url": "https://hooks.example.org/holdfast", "kinds": ["booking.confirmed", "booking.cancelled"]},
)  # fmt: skip
async def create_webhook(call: Call[WebhookSpec]) -> Answer:
    """Have facts sent to an address.

    The secret is shown once. No Idempotency-Key is taken, for its answer would have to be kept: if the answer was lost,
    delete this webhook and make another.
    """
    spec, organizer_id = call.body, call.caller.organizer_id
    url = await outbound.check(call.state.settings, spec.url)
    async with call.db.transaction() as tx:
        made, secret = await endpoints.create(
            tx, call.state.secrets, organizer_id, created_by=call.caller.name,
            url=url, description=spec.description, kinds=spec.kinds, enabled=spec.enabled,
        )  # fmt: skip
        await _audit(tx, call, "webhook.created", made.webhook_id, after=_audited(made))
    return created(_json(made, secret), f"/v1/webhooks/{made.webhook_id}")


@routes.get("/v1/webhooks", who=READ, answers={200: WebhooksJson})
async def list_webhooks(call: Call[None]) -> WebhooksJson:
    """List the webhooks, oldest first; there are at most 10."""
    found = await endpoints.endpoints_of(call.db, call.caller.organizer_id)
    return WebhooksJson([_json(each) for each in found])


@routes.get("/v1/webhooks/{webhook_id}", who=READ, answers={200: WebhookJson})
async def read_webhook(call: Call[None]) -> WebhookJson:
    """Read a webhook, but for its secret."""
    return _json(await endpoints.endpoint_by_id(call.db, call.caller.organizer_id, call.path["webhook_id"]))


@routes.patch(
    "/v1/webhooks/{webhook_id}", who=WRITE, body=WebhookEdit, answers={200: WebhookJson}, refusals=(AddressRefused,),
    example={"enabled": True},
)  # fmt: skip
async def edit_webhook(call: Call[WebhookEdit]) -> WebhookJson:
    """Edit a webhook.

    One that was disabled and is enabled gets what happens from now on; `POST .../replay` sends what it missed.
    """
    wanted, organizer_id, webhook_id = call.body, call.caller.organizer_id, call.path["webhook_id"]
    url = None if wanted.url is UNSET else await outbound.check(call.state.settings, wanted.url)
    async with call.db.transaction() as tx:
        await endpoints.held(tx, organizer_id, webhook_id)
        was = await endpoints.endpoint_by_id(tx, organizer_id, webhook_id)
        made = await endpoints.edit(
            tx, organizer_id, webhook_id,
            url=url or was.url,
            description=was.description if wanted.description is UNSET else wanted.description,
            kinds=was.kinds if wanted.kinds is UNSET else wanted.kinds,
            enabled=was.enabled if wanted.enabled is UNSET else wanted.enabled,
        )  # fmt: skip
        after = {**_audited(made), "url_changed": made.url != was.url}
        await _audit(tx, call, "webhook.edited", webhook_id, before=_audited(was), after=after)
    return _json(made)


@routes.delete("/v1/webhooks/{webhook_id}", who=WRITE, answers={204: None})
async def delete_webhook(call: Call[None]) -> None:
    """Delete a webhook. What was on its way is not sent any more."""
    async with call.db.transaction() as tx:
        await endpoints.delete(tx, call.caller.organizer_id, call.path["webhook_id"])
        await _audit(tx, call, "webhook.deleted", call.path["webhook_id"])


@routes.post(
    "/v1/webhooks/{webhook_id}/rotate", who=WRITE, body=SecretRotation, answers={201: WebhookJson},
    example={"overlap_seconds": 3600},
)  # fmt: skip
async def rotate_webhook_secret(call: Call[SecretRotation]) -> Answer:
    """Make a new secret. Sendings carry a signature of each for the overlap, at most 7 days.

    It is shown once, so no Idempotency-Key is taken; whoever lost the answer rotates again.
    """
    organizer_id, webhook_id = call.caller.organizer_id, call.path["webhook_id"]
    overlap = call.body.overlap_seconds
    async with call.db.transaction() as tx:
        made, secret = await endpoints.rotate(tx, call.state.secrets, organizer_id, webhook_id, overlap)
        await _audit(tx, call, "webhook.rotated", webhook_id, after={"overlap_seconds": overlap})
    return created(_json(made, secret), f"/v1/webhooks/{webhook_id}")


@routes.post(
    "/v1/webhooks/{webhook_id}/ping", who=WRITE, answers={202: DeliveryJson}, refusals=(WebhookDisabled,), once=True
)  # fmt: skip
async def ping_webhook(call: Call[None], tx: Transaction) -> DeliveryJson:
    """Send a test, of the kind `webhook.ping`. Read the delivery to see what came of it."""
    organizer_id, webhook_id = call.caller.organizer_id, call.path["webhook_id"]
    made = await endpoints.ping(tx, organizer_id, webhook_id)
    await _audit(tx, call, "webhook.pinged", webhook_id, after={"fact_id": made.fact_id})
    return _delivery_json(made)


@routes.get(
    "/v1/webhooks/{webhook_id}/deliveries", who=READ, query=DeliveriesQuery, answers={200: DeliveriesJson}
)
async def list_deliveries(call: Call[None]) -> DeliveriesJson:
    """List what was sent to a webhook in the last 30 days, the newest facts first."""
    query = call.query
    found = await endpoints.deliveries(
        call.db, call.caller.organizer_id, call.path["webhook_id"], query.state, id_in(query.cursor), query.limit + 1
    )  # fmt: skip
    page, following = page_of(found, query.limit, lambda each: each.fact_id.hex)
    return DeliveriesJson([_delivery_json(each) for each in page], following)


@routes.get("/v1/webhooks/{webhook_id}/deliveries/{fact_id}", who=READ, answers={200: DeliveryJson})
async def read_delivery(call: Call[None]) -> DeliveryJson:
    """Read what became of one fact at a webhook."""
    path, organizer_id = call.path, call.caller.organizer_id
    return _delivery_json(
        await endpoints.delivery_by_id(call.db, organizer_id, path["webhook_id"], path["fact_id"])
    )


@routes.post(
    "/v1/webhooks/{webhook_id}/deliveries/{fact_id}/replay", who=WRITE, answers={202: DeliveryJson},
    refusals=(WebhookDisabled,), once=True,
)  # fmt: skip
async def replay_delivery(call: Call[None], tx: Transaction) -> DeliveryJson:
    """Send one fact now, whatever became of it before, with all its tries. It keeps its `webhook-id`."""
    path, organizer_id = call.path, call.caller.organizer_id
    made = await endpoints.again(tx, organizer_id, path["webhook_id"], path["fact_id"])
    await _audit(tx, call, "webhook.replayed", path["webhook_id"], after={"fact_id": path["fact_id"]})
    return _delivery_json(made)


@routes.post(
    "/v1/webhooks/{webhook_id}/replay", who=WRITE, body=Replay, answers={202: None}, refusals=(WebhookDisabled,),
    once=True, example={"since": "2026-12-24T00:00:00Z", "until": "2026-12-26T00:00:00Z"},
)  # fmt: skip
async def replay_webhook(call: Call[Replay], tx: Transaction) -> Answer:
    """Send everything of a span of time that the webhook takes and that did not arrive there.

    Also what happened while it was disabled, or before it was made, as far back as the feed goes. What still waits is
    left to its next try.
    """
    organizer_id, webhook_id = call.caller.organizer_id, call.path["webhook_id"]
    since, until = call.body.since.astimezone(UTC), (call.body.until or clock.now()).astimezone(UTC)
    if since >= until:
        raise invalid("The span must begin before it ends.", "/since")
    await replay(tx, organizer_id, webhook_id, since, until, delivered=call.body.delivered)
    span = {"since": clock.rfc3339(since), "until": clock.rfc3339(until), "delivered": call.body.delivered}
    await _audit(tx, call, "webhook.replayed", webhook_id, after=span)
    return Answer(202, None)


async def _audit(
    tx: Transaction,
    call: Call[Any],
    action: str,
    webhook_id: UUID,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    await accounts.audit(
        tx,
        call,
        action,
        organizer_id=call.caller.organizer_id,
        subject=webhook_id,
        before=before,
        after=after,
    )


def _audited(endpoint: Endpoint) -> dict[str, Any]:
    # Not the address: it is a text, and may carry a secret of the receiver.
    return {"kinds": endpoint.kinds, "enabled": endpoint.enabled}


def _moment(at: datetime | None) -> str | None:
    return None if at is None else clock.rfc3339(at)


def _json(endpoint: Endpoint, secret: str | UnsetType = UNSET) -> WebhookJson:
    return WebhookJson(
        id=endpoint.webhook_id,
        url=endpoint.url,
        kinds=endpoint.kinds,
        description=endpoint.description,
        enabled=endpoint.enabled,
        disabled_because=endpoint.disabled_because,
        disabled_at=_moment(endpoint.disabled_at),
        failing_since=_moment(endpoint.failing_since),
        old_secret_until=_moment(endpoint.old_secret_until),
        created_by=endpoint.created_by,
        created_at=clock.rfc3339(endpoint.created_at),
        secret=secret,
    )


def _delivery_json(delivery: Delivery) -> DeliveryJson:
    return DeliveryJson(
        fact_id=delivery.fact_id,
        kind=delivery.kind,
        state=delivery.state,
        attempts=delivery.attempts,
        tries=[TryJson(**each) for each in delivery.tries],
        next_at=_moment(delivery.next_at),
        created_at=clock.rfc3339(delivery.created_at),
        ended_at=_moment(delivery.ended_at),
    )
