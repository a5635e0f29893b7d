"""API keys over HTTP. `call.state.keys` is the Keys of this process."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast.accounts import keys
from holdfast.accounts.access import PERMISSIONS, Permission, Staff
from holdfast.accounts.audit import audit
from holdfast.accounts.keys import Key, KeyEnded, KeyNotFound, ScopeNotHeld, TooManyKeys
from holdfast.platform import clock
from holdfast.platform.db import Transaction
from holdfast.platform.http import Answer, Call, Moment, Routes, Timestamp, created
from holdfast.platform.pages import PageQuery, id_in, page_of

READ = Staff("keys.read")
WRITE = Staff("keys.write")

routes = Routes("keys", missing={"key_id": KeyNotFound})


class KeySpec(msgspec.Struct, forbid_unknown_fields=True):
    """A key to be made: what it may do, and when it ends, if ever."""

    name: Annotated[str, Meta(min_length=1, max_length=keys.NAME_LENGTH_MAX)]
    scopes: Annotated[list[Permission], Meta(min_length=1, max_length=len(PERMISSIONS))]
    expires_at: Moment | None = None


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    """For how many seconds the old key works beside the new one."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=keys.OVERLAP_SECONDS_MAX)] = 86_400


class KeyJson(msgspec.Struct):
    """A key. `key` is the text to send as `Authorization: Bearer <key>`: it stands in the answer that makes it, never again.

    `created_by` is `person:<id>`; `replaces` the key that was rotated into this one. `last_used_at` lags by a minute.
    """

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    replaces: UUID | None
    created_by: str
    created_at: Timestamp
    expires_at: Timestamp | None
    last_used_at: Timestamp | None
    revoked_at: Timestamp | None
    key: str | msgspec.UnsetType = msgspec.UNSET


class KeysJson(msgspec.Struct):
    keys: list[KeyJson]
    next: str | None


@routes.post(
    "/v1/keys", who=WRITE, body=KeySpec, answers={201: KeyJson}, refusals=(ScopeNotHeld, TooManyKeys),
    example={"name": "Box office in town", "scopes": ["bookings.read", "blocks.write"], "expires_at": None},
)  # fmt: skip
async def create_key(call: Call[KeySpec]) -> Answer:
    """Make an API key.

    The key is shown once. No Idempotency-Key is taken, for its answer would have to be kept: if the answer was lost,
    make another key and revoke this one.
    """
    spec = call.body
    async with call.db.transaction() as tx:
        made, text = await keys.create_key(
            tx, call.caller, name=spec.name, scopes=spec.scopes, expires_at=spec.expires_at
        )
        await _audit(tx, call, "key.created", made.key_id, _audited(made))
    return created(_json(made, text), f"/v1/keys/{made.key_id}")


@routes.get("/v1/keys", who=READ, query=PageQuery, answers={200: KeysJson})
async def list_keys(call: Call[None]) -> KeysJson:
    """List the API keys, oldest first, with those that ended in the last 90 days."""
    query = call.query
    after = id_in(query.cursor) or UUID(int=0)
    found = await keys.list_keys(call.db, call.caller.organizer_id, after, query.limit + 1)
    page, following = page_of(found, query.limit, lambda key: key.key_id.hex)
    return KeysJson([_json(key) for key in page], following)


@routes.get("/v1/keys/{key_id}", who=READ, answers={200: KeyJson})
async def read_key(call: Call[None]) -> KeyJson:
    """Read an API key, but for its text."""
    return _json(await keys.key_by_id(call.db, call.caller.organizer_id, call.path["key_id"]))


@routes.post(
    "/v1/keys/{key_id}/rotate", who=WRITE, body=Rotation, answers={201: KeyJson},
    refusals=(KeyEnded, ScopeNotHeld, TooManyKeys), example={"overlap_seconds": 3600},
)  # fmt: skip
async def rotate_key(call: Call[Rotation]) -> Answer:
    """Make a new key in place of this one, which goes on working for the overlap, at most 7 days."""
    key_id, overlap = call.path["key_id"], call.body.overlap_seconds
    async with call.db.transaction() as tx:
        made, text = await keys.rotate_key(tx, call.state.keys, call.caller, key_id, overlap)
        after = {**_audited(made), "replaces": str(key_id), "overlap_seconds": overlap}
        await _audit(tx, call, "key.rotated", made.key_id, after)
    return created(_json(made, text), f"/v1/keys/{made.key_id}")


@routes.delete("/v1/keys/{key_id}", who=WRITE, answers={204: None})
async def revoke_key(call: Call[None]) -> None:
    """Revoke an API key. It stays in the list for 90 days."""
    key_id = call.path["key_id"]
    async with call.db.transaction() as tx:
        await keys.revoke_key(tx, call.state.keys, call.caller.organizer_id, key_id)
        await _audit(tx, call, "key.revoked", key_id)


async def _audit(
    tx: Transaction, call: Call[Any], action: str, key_id: UUID, after: dict[str, Any] | None = None
) -> None:
    await audit(tx, call, action, organizer_id=call.caller.organizer_id, subject=key_id, after=after)


def _audited(key: Key) -> dict[str, Any]:
    return {
        "scopes": list(key.scopes),
        "expires_at": clock.rfc3339(key.expires_at) if key.expires_at else None,
    }


def _json(key: Key, text: str | msgspec.UnsetType = msgspec.UNSET) -> KeyJson:
    return KeyJson(
        id=key.key_id,
        name=key.name,
        prefix=key.prefix,
        scopes=key.scopes,
        replaces=key.replaces,
        created_by=key.created_by,
        created_at=clock.rfc3339(key.created_at),
        expires_at=clock.rfc3339(key.expires_at) if key.expires_at else None,
        last_used_at=clock.rfc3339(key.last_used_at) if key.last_used_at else None,
        revoked_at=clock.rfc3339(key.revoked_at) if key.revoked_at else None,
        key=text,
    )
