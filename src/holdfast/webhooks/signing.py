"""What a sending is signed with and how: Standard Webhooks 1.0, with both secrets while one replaces the other.

A secret is stored sealed and bound to its row, and shown to nobody after the answer that made it.
"""

import secrets as random
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from standardwebhooks import Webhook

from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.ids import OrganizerId, new_id
from holdfast.platform.outbox import CLOUDEVENT_MEDIA
from holdfast.platform.secret import Resealed, Secrets, Unsealable

PURPOSE = "webhook secret"
# The spec wants 24 to 64.
SECRET_BYTES = 32

sql = load_queries(__file__)


async def add_secret(tx: Transaction, secrets: Secrets, organizer_id: OrganizerId, webhook_id: UUID) -> str:
    """A new secret of an endpoint that has none without an end; its text, `whsec_...`, which cannot be had again."""
    plain, secret_id = random.token_bytes(SECRET_BYTES), new_id()
    sealed = secrets.seal(PURPOSE, plain, secret_id.bytes)
    await tx.execute(sql.secret_added, secret_id, webhook_id, organizer_id, sealed)
    return f"whsec_{b64encode(plain).decode()}"


async def replace_secret(
    tx: Transaction, secrets: Secrets, organizer_id: OrganizerId, webhook_id: UUID, overlap_seconds: int
) -> str:
    """A new secret in place of the present one, which signs beside it for the overlap; the caller has locked the endpoint."""
    await tx.execute(sql.older_secrets_deleted, webhook_id)
    await tx.execute(sql.secret_ends, webhook_id, overlap_seconds)
    return await add_secret(tx, secrets, organizer_id, webhook_id)


async def secrets_of(db: Database, secrets: Secrets, webhook_id: UUID) -> list[bytes]:
    """The secrets to sign with now, the newest first. Raises Unsealable when none of them can be read."""
    found, unreadable = [], None
    for row in await db.rows(sql.secrets_in_use, webhook_id):
        try:
            found.append(secrets.unseal(PURPOSE, row["sealed"], row["secret_id"].bytes))
        except Unsealable as error:
            unreadable = error
    if not found and unreadable is not None:
        raise unreadable
    return found


async def reseal_some(tx: Transaction, secrets: Secrets, after: UUID, limit: int) -> Resealed:
    """Seals up to `limit` secrets of endpoints behind `after` under the first secret of the installation."""
    rows = await tx.rows(sql.secrets_after, after, limit)
    unreadable = 0
    for row in rows:
        secret_id = row["secret_id"]
        try:
            plain = secrets.unseal(PURPOSE, row["sealed"], secret_id.bytes)
        except Unsealable:
            unreadable += 1
            continue
        await tx.execute(sql.secret_resealed, secret_id, secrets.seal(PURPOSE, plain, secret_id.bytes))
    return Resealed(rows[-1]["secret_id"] if rows else None, unreadable)


def signed(message_id: UUID, body: bytes, secrets: Sequence[bytes], at: datetime) -> dict[str, str]:
    """The headers of a sending, with one signature for each secret. `at` is in UTC."""
    text, name = body.decode(), str(message_id)
    return {
        "content-type": CLOUDEVENT_MEDIA,
        "webhook-id": name,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(name, at, text) for secret in secrets),
    }
