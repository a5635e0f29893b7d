"""What goes over the wire to an endpoint, and what its answer means: Standard Webhooks 1.0 around a CloudEvent.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

import httpx
import msgspec

from holdfast.platform import clock, outbound, outbox
from holdfast.platform.outbox import Fact
from holdfast.webhooks.signing import signed

PING = "webhook.ping"
# So much of what an endpoint says to an attempt is kept for people to read.
SAID_BYTES = 500
ERROR_LENGTH_MAX = 200
# The spec's advice, in seconds after each failure: some three days, with the jitter that is added.
RETRY_SECONDS: tuple[float, ...] = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
TRIES_MAX = len(RETRY_SECONDS) + 1
RETRY_AFTER_SECONDS_MAX = 86_400.0
GONE = 410


@dataclass(frozen=True, slots=True)
class Try:
    """One try: the status that was answered, or the error that kept an answer away."""

    at: str
    ms: int
    status: int | None = None
    said: str | None = None
    error: str | None = None
    # What the endpoint asked for by Retry-After; not kept.
    retry_after: float | None = None

    @property
    def succeeded(self) -> bool:
        """Any 2xx, as the spec has it. A redirect is not followed, and a failure."""
        return self.status is not None and 200 <= self.status < 300

    def kept(self) -> dict[str, Any]:
        """As the log holds it."""
        return {"at": self.at, "ms": self.ms, "status": self.status, "said": self.said, "error": self.error}


def event_of(
    fact_id: UUID, kind: str, show_id: UUID | None, at: str, payload: Any, source: str
) -> dict[str, Any]:
    """What is sent of a fact. Of a ping, which is about no show, there is no `showid`."""
    if show_id is not None:
        return outbox.cloudevent(Fact(fact_id, kind, show_id, at, payload), source)
    event = outbox.cloudevent(Fact(fact_id, kind, fact_id, at, payload), source)
    del event["showid"]
    return {**event, "subject": f"webhooks/{payload['webhook_id']}"}


async def send(
    http: httpx.AsyncClient, url: str, fact_id: UUID, event: Mapping[str, Any], secrets: Sequence[bytes]
) -> Try:
    """Sends an event once, and says what came of it. Raises nothing for what the endpoint does.

    The id of the message is the fact's, so that it stays the same however often the fact is sent.
    """
    at, began = clock.now(), clock.monotonic()
    body = msgspec.json.encode(event)
    headers = signed(fact_id, body, secrets, at)
    status = said = error = wait = None
    try:
        reply = await outbound.post(http, url, content=body, headers=headers)
        status, said = reply.status, _readable(reply.body[:SAID_BYTES])
        wait = retry_after(reply.headers.get("retry-after"))
    except outbound.Unreachable as unreachable:
        error = str(unreachable)[:ERROR_LENGTH_MAX]
    except outbound.AddressRefused as refused:
        error = (refused.detail or refused.title)[:ERROR_LENGTH_MAX]
    return Try(clock.rfc3339(at), round((clock.monotonic() - began) * 1000), status, said, error, wait)


def retry_after(text: str | None) -> float | None:
    """The seconds that a Retry-After header asks for, at most RETRY_AFTER_SECONDS_MAX; None when it says nothing."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), RETRY_AFTER_SECONDS_MAX)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - clock.now()).total_seconds(), 0.0), RETRY_AFTER_SECONDS_MAX)


def _readable(beginning: bytes) -> str:
    # PostgreSQL stores no NUL.
    return beginning.decode("utf-8", "replace").replace("\0", "")
