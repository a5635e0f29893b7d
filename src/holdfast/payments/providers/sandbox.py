"""The sandbox: a payment provider that is built in and whose money is none, for development, tests and demonstrations.

It is a provider like the others: it keeps books of its own, has a page where people pay (`payments/sandbox_routes.py`), and
tells of what happened by webhooks over HTTP, signed as Standard Webhooks has it. Its webhooks may be told twice, late or
never, its money may come after a payment was closed, and its refunds may take their time or fail, as whoever pays chooses.
"""

from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Mapping
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import httpx
import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

from holdfast.payments.provider import (
    Attempt,
    BadSignature,
    Listed,
    Notice,
    NoticeKind,
    Opened,
    ProviderRefused,
    Seen,
    SeenRefund,
    Wish,
)
from holdfast.payments.providers import sandbox_books as books
from holdfast.payments.providers.sandbox_books import Event, PaymentTold, Refund, RefundTold
from holdfast.platform import jobs
from holdfast.platform.db import Database, no_transaction_is_open
from holdfast.platform.jobs import Job
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import Settings

WEBHOOK_PATH = "/v1/payments/sandbox/webhook"
SEND_SECONDS = 10.0

_PURPOSE = "sandbox webhooks"
_START = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS: dict[str, NoticeKind] = {
    "payment.succeeded": "payment",
    "payment.declined": "payment",
    "payment.closed": "payment",
    "payment.disputed": "dispute",
    "refund.settled": "refund",
    "refund.failed": "refund",
}
T = TypeVar("T")


class NotTold(Exception):
    """A webhook of the sandbox was not taken; its job tries again."""


class Sandbox:
    """The adapter and, behind it, the provider itself. `settings.address` is where its page and its webhooks are."""

    def __init__(self, db: Database, settings: Settings, secrets: Secrets) -> None:
        self._db = db
        self._address = settings.address
        # Standard Webhooks wants 24 to 64 bytes. Each secret that is held verifies, the first one signs.
        self._signers = [Webhook(b64encode(key).decode()) for key in secrets.digests(_PURPOSE, "key")]
        self._tls_cert = settings.tls_cert
        self._http: httpx.AsyncClient | None = None

    @property
    def name(self) -> str:
        """`sandbox`."""
        return "sandbox"

    async def open(self, attempt: Attempt) -> Opened:
        """A page of our own. Raises ProviderRefused for a way back that is no web address."""
        if not attempt.return_url.startswith(("https://", "http://")):
            raise ProviderRefused("sandbox: return_url_invalid")
        payment = await books.opened(self._db, attempt)
        return Opened(payment.ref, f"{self._address}/sandbox/pay/{payment.ref}")

    async def look(self, ref: str) -> Seen:
        """How the payment stands. Raises ProviderRefused for one that is not known."""
        return _seen(books.told(await self._known(books.seen(self._db, ref))))

    async def close(self, ref: str) -> Seen:
        """Lets nobody pay any more. Money that was sent so that nobody can stop it comes all the same."""
        return _seen(books.told(await self._known(books.close(self._db, ref))))

    async def refund(self, wish: Wish) -> SeenRefund:
        """Sends money back, once for this id, even if it failed."""
        return _seen_refund(await self._known(books.refund(self._db, wish)))

    async def look_refund(self, refund_id: UUID, ref: str) -> SeenRefund:
        """How the refund stands."""
        return _seen_refund(await self._known(books.seen_refund(self._db, ref)))

    async def listed(self, since: datetime, until: datetime) -> AsyncIterator[Listed]:
        """Payments, and then refunds."""
        after = (_START, "")
        while page := await books.payments(self._db, since, until, after):
            for payment in page:
                yield Listed(
                    kind="payment", ref=payment.ref, amount=payment.amount, currency=payment.currency,
                    state=payment.state, created_at=payment.created_at, id=payment.payment_id, show_id=payment.show_id,
                )  # fmt: skip
            after = (page[-1].created_at, page[-1].ref)
        after = (_START, "")
        while refunds := await books.refunds(self._db, since, until, after):
            for made in refunds:
                yield Listed(
                    kind="refund", ref=made.ref, amount=made.amount, currency=made.currency,
                    state=made.state, created_at=made.created_at, id=made.refund_id, show_id=made.show_id,
                )  # fmt: skip
            after = (refunds[-1].created_at, refunds[-1].ref)

    def read(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """Raises BadSignature for what the sandbox did not sign in the last five minutes."""
        for signer in self._signers:
            try:
                signer.verify(body, dict(headers), json_parse=False)
                break
            except (WebhookVerificationError, ValueError):
                # A signature that is no base64, or a body that is no text, is a ValueError.
                continue
        else:
            raise BadSignature
        try:
            event = msgspec.json.decode(body, type=Event)
        except msgspec.DecodeError as error:
            raise BadSignature("The body says nothing that can be read.") from error
        return _notice(event)

    async def aclose(self) -> None:
        """Lets go of its connections."""
        if self._http is not None:
            await self._http.aclose()

    def handlers(self) -> Mapping[str, jobs.Handler]:
        """The jobs by which money arrives and webhooks are sent."""
        return {books.SEND: self._send, books.DUE: self._due}

    def signed(self, event: Event) -> tuple[dict[str, str], bytes]:
        """Headers and body of the webhook that tells this event, signed now."""
        body, now = msgspec.json.encode(event), datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signers[0].sign(event.id, now, body.decode()),
        }
        return headers, body

    async def _send(self, job: Job, db: Database) -> None:
        headers, body = self.signed(msgspec.convert(job.payload, Event))
        assert no_transaction_is_open(), "a transaction would wait for a webhook"
        try:
            answer = await self._client().post(self._address + WEBHOOK_PATH, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise NotTold(f"{self._address} did not answer: {type(error).__name__}") from None
        if not answer.is_success:
            raise NotTold(f"{self._address} answered {answer.status_code}")

    async def _due(self, job: Job, db: Database) -> None:
        async with db.transaction() as tx:
            if "payment" in job.payload:
                await books.arrive(tx, job.payload["payment"])
            else:
                await books.end_refund(tx, job.payload["refund"])

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            # It speaks to ourselves: through no proxy, and the certificate may be one that we signed.
            trusted = httpx.create_ssl_context(trust_env=False)
            if self._tls_cert is not None:
                trusted.load_verify_locations(self._tls_cert)
            self._http = httpx.AsyncClient(trust_env=False, timeout=SEND_SECONDS, verify=trusted)
        return self._http

    async def _known(self, found: Awaitable[T]) -> T:
        try:
            return await found
        except books.SandboxPaymentNotFound:
            raise ProviderRefused("sandbox: not_found") from None


def _seen(payment: PaymentTold) -> Seen:
    return Seen(
        ref=payment.ref,
        state=payment.state,
        amount=payment.amount,
        currency=payment.currency,
        payment_id=payment.payment_id,
        show_id=payment.show_id,
        reason=payment.reason,
        charge=payment.ref if payment.state == "succeeded" else None,
        disputed=payment.disputed,
    )


def _seen_refund(made: Refund | RefundTold) -> SeenRefund:
    return SeenRefund(
        ref=made.ref,
        state=made.state,
        amount=made.amount,
        currency=made.currency,
        refund_id=made.refund_id,
        reason="refund_failed" if made.state == "failed" else None,
    )


def _notice(event: Event) -> Notice:
    kind = _KINDS.get(event.type, "other")
    if kind in ("payment", "dispute") and event.payment is not None:
        paid = event.payment
        return Notice(
            event_id=event.id, kind=kind, show_id=paid.show_id, payment_id=paid.payment_id, seen=_seen(paid)
        )
    if kind == "refund" and event.refund is not None:
        made = event.refund
        return Notice(
            event_id=event.id, kind=kind, show_id=made.show_id, payment_id=made.payment_id, refund_id=made.refund_id,
            seen=_seen_refund(made),
        )  # fmt: skip
    return Notice(event_id=event.id, kind="other")
