"""Stripe: a Checkout Session per attempt, on Stripe's own page, by Stripe's SDK.

`ref` is the session, `charge` its PaymentIntent. Both carry show, booking and payment in their metadata, which only our key
can write. Shapes are those of https://docs.stripe.com/api, in the version that the SDK pins.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from uuid import UUID

import httpx
import stripe
from stripe import HTTPClient, StripeClient

from holdfast.payments.provider import (
    Attempt,
    BadSignature,
    Listed,
    Notice,
    Opened,
    ProviderDown,
    ProviderRefused,
    RefundState,
    Seen,
    SeenRefund,
    State,
    Wish,
)
from holdfast.platform.money import MINOR_DIGITS_NOT_TWO

CONNECT_SECONDS = 5.0
PAGE = 100
# A webhook may be so old (https://docs.stripe.com/webhooks#verify-official-libraries).
TOLERANCE_SECONDS = 300
# A session can be paid from 30 minutes to 24 hours after it was made; the attempt is closed long before that by `close`.
SESSION_SECONDS = 3600
SESSION_SECONDS_MAX = 86_400 - 300
# Where Stripe counts in another unit than ISO 4217: these two with two digits that are always 00, the ariary with none
# (https://docs.stripe.com/currencies#special-cases).
DIGITS_THERE = {"ISK": 2, "UGX": 2, "MGA": 0}
# The last of three digits must be 0 (the same page, three-decimal currencies).
THREE_DIGITS_STEP = 10

_SESSION = frozenset(
    {
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
        "checkout.session.expired",
    }
)
_REFUND = frozenset({"refund.created", "refund.updated", "refund.failed", "charge.refund.updated"})
_REFUND_STATES: dict[str, RefundState] = {"succeeded": "settled", "failed": "failed", "canceled": "failed"}
_EXPAND = ["payment_intent.latest_charge"]
T = TypeVar("T")

# At INFO the SDK writes a line for each call, with addresses that name sessions.
logging.getLogger("stripe").setLevel(logging.WARNING)


class _Http(HTTPClient):
    """How the SDK reaches Stripe. Its own class for httpx sends bodies in a way that httpx is about to drop."""

    name = "httpx"

    def __init__(self, seconds: float) -> None:
        super().__init__()
        timeout = httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
        self._opened = httpx.AsyncClient(timeout=timeout)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Status and body, whatever they are. Raises APIConnectionError."""
        try:
            answer = await self._opened.request(method, url, headers=headers, content=post_data)
        except httpx.HTTPError as error:
            raise stripe.APIConnectionError(type(error).__name__) from None  # type: ignore[no-untyped-call]
        return answer.content, answer.status_code, answer.headers

    async def close_async(self) -> None:
        """Lets go of its connections."""
        await self._opened.aclose()


class Stripe:
    """The adapter. Several webhook secrets are accepted, so that one can be rotated."""

    def __init__(
        self, key: str, webhook_secrets: Sequence[str], *, url: str | None = None, seconds: float = 15.0
    ) -> None:
        self._http = _Http(seconds)
        self._client = StripeClient(
            key,
            base_addresses={"api": url} if url else {},
            http_client=self._http,
            # Whoever calls retries, by jobs that are kept; the idempotency keys make that safe.
            max_network_retries=0,
        )
        self._webhook_secrets = webhook_secrets

    @property
    def name(self) -> str:
        """`stripe`."""
        return "stripe"

    async def open(self, attempt: Attempt) -> Opened:
        """A session for this attempt, and Stripe's page of it."""
        params: dict[str, Any] = {
            "mode": "payment",
            "client_reference_id": str(attempt.payment_id),
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": attempt.currency.lower(),
                        "unit_amount": amount_there(attempt.amount, attempt.currency),
                        "product_data": {"name": attempt.description[:250] or attempt.reference},
                    },
                }
            ],
            "metadata": _metadata(attempt),
            "payment_intent_data": {"metadata": _metadata(attempt), "description": attempt.reference},
            "success_url": attempt.return_url,
            "cancel_url": attempt.return_url,
            "submit_type": "book",
        }
        if (until := _open_until(attempt)) is not None:
            params["expires_at"] = until
        if attempt.email is not None:
            params["customer_email"] = attempt.email
        options = {"idempotency_key": f"holdfast-open-{attempt.payment_id}"}
        session = await _answer(
            self._client.v1.checkout.sessions.create_async(cast(Any, params), cast(Any, options))
        )
        return Opened(session.id, str(session.url))

    async def look(self, ref: str) -> Seen:
        """The session, its PaymentIntent and the charge, in one call."""
        found = await _answer(self._client.v1.checkout.sessions.retrieve_async(ref, {"expand": _EXPAND}))
        return _seen(found)

    async def close(self, ref: str) -> Seen:
        """Expires the session. Where it is complete already but its money still on the way, `open` is said: a bank transfer
        cannot always be stopped.
        """
        try:
            expired = await _answer(self._client.v1.checkout.sessions.expire_async(ref, {"expand": _EXPAND}))
        except ProviderRefused:
            # It is not open any more: paid, expired, or on the way.
            seen = await self.look(ref)
            if seen.state != "open" or seen.charge is None:
                return seen
            try:
                await _answer(self._client.v1.payment_intents.cancel_async(seen.charge))
            except ProviderRefused:
                return seen
            return await self.look(ref)
        return _seen(expired)

    async def refund(self, wish: Wish) -> SeenRefund:
        """Sends money back, once for this id, even if it failed.

        It is looked for first, because Stripe forgets idempotency keys after a day and an outage may last longer.
        """
        listing = await _answer(
            self._client.v1.refunds.list_async({"payment_intent": wish.charge, "limit": PAGE})
        )
        async for made in _paged(listing):
            if _id_in(made, "refund_id") == wish.refund_id:
                return _seen_refund(made)
        params = {
            "payment_intent": wish.charge,
            "amount": amount_there(wish.amount, wish.currency),
            "metadata": {
                "refund_id": str(wish.refund_id),
                "payment_id": str(wish.payment_id),
                "show_id": str(wish.show_id),
            },
        }
        options = {"idempotency_key": f"holdfast-refund-{wish.refund_id}"}
        return _seen_refund(
            await _answer(self._client.v1.refunds.create_async(cast(Any, params), cast(Any, options)))
        )

    async def look_refund(self, refund_id: UUID, ref: str) -> SeenRefund:
        """How the refund stands."""
        return _seen_refund(await _answer(self._client.v1.refunds.retrieve_async(ref)))

    async def listed(self, since: datetime, until: datetime) -> AsyncIterator[Listed]:
        """Sessions, and then refunds, those of other systems on the same account among them: they have no ids of ours."""
        span = {"created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())}, "limit": PAGE}
        sessions = await _answer(
            self._client.v1.checkout.sessions.list_async(
                cast(Any, {**span, "expand": ["data.payment_intent.latest_charge"]})
            )
        )
        async for session in _paged(sessions):
            seen = _seen(session)
            yield Listed(
                kind="payment", ref=seen.ref, amount=seen.amount, currency=seen.currency, state=seen.state,
                created_at=_moment(session.created), id=seen.payment_id, show_id=seen.show_id,
            )  # fmt: skip
        refunds = await _answer(self._client.v1.refunds.list_async(cast(Any, span)))
        async for made in _paged(refunds):
            seen_refund = _seen_refund(made)
            yield Listed(
                kind="refund", ref=seen_refund.ref, amount=seen_refund.amount, currency=seen_refund.currency,
                state=seen_refund.state, created_at=_moment(made.created), id=seen_refund.refund_id,
                show_id=_id_in(made, "show_id"),
            )  # fmt: skip

    def read(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """Raises BadSignature for what Stripe did not sign with one of our secrets in the last five minutes."""
        for secret in self._webhook_secrets:
            try:
                event = self._client.construct_event(
                    body, headers.get("stripe-signature"), secret, TOLERANCE_SECONDS
                )
                return _notice(event)
            except stripe.SignatureVerificationError:
                # Not `from`: the error carries the body.
                continue
            except (ValueError, KeyError, AttributeError, TypeError):
                raise BadSignature("The body says nothing that can be read.") from None
        raise BadSignature

    async def aclose(self) -> None:
        """Lets go of its connections."""
        await self._http.close_async()


def amount_there(amount: int, currency: str) -> int:
    """Our minor units in those of Stripe. Raises ProviderRefused for an amount that cannot be said there."""
    ours = MINOR_DIGITS_NOT_TWO.get(currency, 2)
    there, rest = divmod(amount * _power(DIGITS_THERE.get(currency, ours)), _power(ours))
    if rest or (ours == 3 and there % THREE_DIGITS_STEP):
        raise ProviderRefused(
            f"stripe: {amount} minor units of {currency} are no amount that Stripe can take"
        )
    return there


def amount_here(amount: int, currency: str) -> int:
    """Stripe's minor units in ours; what we have no unit for is rounded down."""
    ours = MINOR_DIGITS_NOT_TWO.get(currency, 2)
    return amount * _power(ours) // _power(DIGITS_THERE.get(currency, ours))


def _power(digits: int) -> int:
    power: int = 10**digits
    return power


def _metadata(attempt: Attempt) -> dict[str, str]:
    return {
        "payment_id": str(attempt.payment_id),
        "show_id": str(attempt.show_id),
        "booking_id": str(attempt.booking_id),
        "reference": attempt.reference,
    }


def _open_until(attempt: Attempt) -> int | None:
    # The same request must be the same to the letter under one idempotency key, so the time is that of the id (UUIDv7) and
    # not the clock's.
    if attempt.payment_id.version != 7:
        return None
    made = (attempt.payment_id.int >> 80) // 1000
    is_long = attempt.expires_at.timestamp() > made + SESSION_SECONDS
    return made + (SESSION_SECONDS_MAX if is_long else SESSION_SECONDS)


async def _answer(call: Awaitable[T]) -> T:
    """What Stripe answers. Raises ProviderDown for what may be asked again, ProviderRefused for all else.

    An error is told by code and request id, by which the account's log at Stripe has the rest: messages may repeat what
    was sent, keys and addresses among it.
    """
    try:
        return await call
    except stripe.APIConnectionError as error:
        raise ProviderDown(f"stripe: no answer ({error.user_message})") from None
    except stripe.StripeError as error:
        status = error.http_status or 0
        told = (
            f"stripe: {status} {error.code or type(error).__name__} ({error.request_id or 'no request id'})"
        )
        # A key that is wrong, or lacks a right, is for the operator to mend: no payment is at fault.
        again = isinstance(error, stripe.AuthenticationError | stripe.PermissionError | stripe.RateLimitError)
        if again or status >= 500 or status in (0, 409, 429):
            raise ProviderDown(told) from None
        raise ProviderRefused(told) from None


async def _paged(listing: Any) -> AsyncIterator[Any]:
    """The entries of this page and of those behind it."""
    while True:
        for entry in listing.data:
            yield entry
        if not listing.has_more:
            return
        listing = await _answer(listing.next_page_async())


def _seen(session: Any) -> Seen:
    currency = str(session.currency).upper()
    intent = session.payment_intent
    is_whole = intent is not None and not isinstance(intent, str)
    failed = getattr(intent, "last_payment_error", None) if is_whole else None
    state: State = "open"
    if session.payment_status == "paid":
        state = "succeeded"
    elif session.status == "expired":
        state = "closed"
    elif session.status == "complete":
        # Money is on its way, or came to nothing; then the session cannot be paid again.
        is_over = is_whole and intent.status in ("requires_payment_method", "canceled")
        state = "closed" if is_over else "open"
    elif failed is not None:
        state = "declined"
    charge = getattr(intent, "latest_charge", None) if is_whole else None
    return Seen(
        ref=session.id,
        state=state,
        amount=amount_here(session.amount_total, currency),
        currency=currency,
        payment_id=_id_in(session, "payment_id"),
        show_id=_id_in(session, "show_id"),
        reason=_reason(failed) if state in ("declined", "closed") else None,
        charge=intent.id if is_whole else intent,
        disputed=bool(getattr(charge, "disputed", False)),
    )


def _seen_refund(made: Any) -> SeenRefund:
    currency = str(made.currency).upper()
    return SeenRefund(
        ref=made.id,
        state=_REFUND_STATES.get(made.status, "pending"),
        amount=amount_here(made.amount, currency),
        currency=currency,
        refund_id=_id_in(made, "refund_id"),
        reason=getattr(made, "failure_reason", None),
    )


def _notice(event: Any) -> Notice:
    about = event.data.object
    if event.type in _SESSION:
        seen = _seen(about)
        if event.type.endswith("async_payment_failed"):
            seen = Seen(
                ref=seen.ref, state="closed", amount=seen.amount, currency=seen.currency, payment_id=seen.payment_id,
                show_id=seen.show_id, reason="async_payment_failed", charge=seen.charge,
            )  # fmt: skip
        return Notice(
            event_id=event.id, kind="payment", show_id=seen.show_id, payment_id=seen.payment_id, seen=seen
        )
    if event.type == "payment_intent.payment_failed":
        # It does not name its session, so that only our own ids say which attempt it was.
        return Notice(
            event_id=event.id,
            kind="payment",
            show_id=_id_in(about, "show_id"),
            payment_id=_id_in(about, "payment_id"),
            seen=_of_intent(about, about.id, "declined", _reason(getattr(about, "last_payment_error", None))),
        )
    if event.type in _REFUND:
        return Notice(
            event_id=event.id,
            kind="refund",
            show_id=_id_in(about, "show_id"),
            payment_id=_id_in(about, "payment_id"),
            refund_id=_id_in(about, "refund_id"),
            seen=_seen_refund(about),
        )
    if event.type == "charge.dispute.created":
        # A dispute carries no metadata of ours: which payment it is, its PaymentIntent says, which is our `charge`. Its
        # amount is that of the dispute, so that nothing is said of whether the payment succeeded.
        return Notice(
            event_id=event.id,
            kind="dispute",
            seen=_of_intent(about, about.payment_intent, "open", about.reason, disputed=True),
        )
    return Notice(event_id=event.id, kind="other")


def _of_intent(about: Any, intent: str, state: State, reason: str | None, *, disputed: bool = False) -> Seen:
    currency = str(about.currency).upper()
    return Seen(
        ref=intent,
        state=state,
        amount=amount_here(about.amount, currency),
        currency=currency,
        payment_id=_id_in(about, "payment_id"),
        show_id=_id_in(about, "show_id"),
        reason=reason,
        charge=intent,
        disputed=disputed,
    )


def _reason(error: Any) -> str | None:
    return (getattr(error, "decline_code", None) or getattr(error, "code", None)) if error else None


def _id_in(about: Any, name: str) -> UUID | None:
    """An id of ours in the metadata; None for what somebody else made on the same account."""
    metadata: Any = getattr(about, "metadata", None)
    try:
        return UUID(metadata[name])
    except (KeyError, TypeError, ValueError):
        return None


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
