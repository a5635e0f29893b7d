"""Text messages: the way to one's tickets, on one's telephone. What sends them is exchangeable.

A gateway is anything with `send`. `HttpGateway` posts JSON to an address of the operator's; what a provider wants
otherwise, some twenty lines at that address translate.
"""

from base64 import b64decode
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from holdfast.notifications.telling import Teller
from holdfast.platform.db import Database, no_transaction_is_open
from holdfast.platform.ids import BookingId, ShowId
from holdfast.platform.jobs import Discard, Job
from holdfast.platform.settings import Settings

GATEWAY_SECONDS = 10.0
# As many as concatenated messages carry everywhere; the name of a show is cut to fit.
NAME_LENGTH_MAX = 60


class GatewayDown(Exception):
    """The gateway did not take the message; it may later."""


class Gateway(Protocol):
    """Sends text messages."""

    async def send(self, message_id: UUID, to: str, text: str) -> None:
        """Hands a message over; the same `message_id` is the same message. `to` is E.164.

        Raises GatewayDown for another try, Discard for what it will never send.
        """


@dataclass(frozen=True, slots=True)
class HttpGateway:
    """`POST {"id", "to", "text"}` with `Authorization: Bearer <token>`; any 2xx took it, 4xx but 408 and 429 never will."""

    url: str
    token: str | None

    async def send(self, message_id: UUID, to: str, text: str) -> None:
        # Imported when there is something to send.
        import httpx

        assert no_transaction_is_open()
        headers = {"Idempotency-Key": str(message_id)}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        body = {"id": str(message_id), "to": to, "text": text}
        try:
            async with httpx.AsyncClient(timeout=GATEWAY_SECONDS) as client:
                answer = await client.post(self.url, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise GatewayDown(f"The gateway could not be spoken to: {type(error).__name__}.") from None
        told = f"The gateway answered {answer.status_code}."
        if answer.is_client_error and answer.status_code not in (408, 429):
            raise Discard(told)
        if not answer.is_success:
            raise GatewayDown(told)


def gateway_of(settings: Settings) -> Gateway | None:
    """The gateway that the settings name."""
    return HttpGateway(settings.sms_url, settings.sms_token) if settings.sms_url else None


@dataclass(frozen=True, slots=True)
class Texter:
    """Handles jobs `booking.TEXT`. A process that dies after the gateway took the message sends it again, by the same id."""

    teller: Teller
    gateway: Gateway | None

    async def send(self, job: Job, db: Database) -> None:
        """Sends the way to the tickets of a booking, unless it has ended meanwhile."""
        if self.gateway is None:
            raise Discard("HOLDFAST_SMS_URL is not set.")
        ids = ShowId(UUID(job.payload["show_id"])), BookingId(UUID(job.payload["booking_id"]))
        told = await self.teller.told(db, *ids, somebody=True)
        if told is None or told.booking.status != "CONFIRMED":
            return
        secrets = self.teller.office.secrets
        phone = secrets.unseal(job.kind, b64decode(job.payload["sealed"]), job.id.bytes).decode()
        text = told.language.text(
            "{show}, {starts}. Your tickets: {link}",
            show=told.show.name[:NAME_LENGTH_MAX], starts=told.starts, link=told.link,
        )  # fmt: skip
        await self.gateway.send(job.id, phone, text)
