"""Razorpay: an order per attempt, paid on Razorpay's hosted page, by plain HTTP (docs/decisions/0015).

`ref` is the order, `charge` the payment that was captured. Notes of orders and refunds are written by our key alone. Those of
a payment come from a form in the buyer's browser, so what they say of ids is signed for this very order. Shapes are those of
https://razorpay.com/docs/api.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx
import msgspec

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
from holdfast.platform.secret import Secrets

URL = "https://api.razorpay.com/v1"
RETURN_PATH = "/v1/payments/razorpay/return"
CONNECT_SECONDS = 5.0
PAGE = 100
PAGES_MAX = 1000
# The last of three digits must be 0 (https://razorpay.com/docs/payments/international-payments/#supported-currencies).
THREE_DIGITS_STEP = 10
RETURN_PURPOSE = "razorpay return"

_NOTE_PURPOSE = "razorpay note"
# A note of ours on an order that nobody wants to be paid any more: Razorpay has no way to close one.
_CLOSED = "closed"
_WORD = re.compile(r"[A-Za-z_]{1,60}")
_EVENT_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_REFUND_STATES: dict[str, RefundState] = {"processed": "settled", "failed": "failed"}
_TAKEN = ("captured", "refunded")

Json = dict[str, Any]


class Razorpay:
    """The adapter. `address` is ours: Razorpay's page sends the buyer there by POST, and we on to where they came from."""

    def __init__(
        self,
        key_id: str,
        key_secret: str,
        webhook_secrets: Sequence[str],
        secrets: Secrets,
        *,
        url: str | None = None,
        address: str,
        seconds: float = 15.0,
    ) -> None:
        self._key_id = key_id
        self._key_secret = key_secret.encode()
        self._webhook_secrets = [secret.encode() for secret in webhook_secrets]
        self._secrets = secrets
        self._address = address
        self._url = (url or URL).rstrip("/")
        self._http = httpx.AsyncClient(
            auth=(key_id, key_secret),
            timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
            headers={"user-agent": "Holdfast"},
        )

    @property
    def name(self) -> str:
        """`razorpay`."""
        return "razorpay"

    async def open(self, attempt: Attempt) -> Opened:
        """An order for this attempt, and the form that leads to Razorpay's page of it.

        Razorpay knows no idempotency key for orders, but finds them by the receipt, which is unique: the attempt's id.
        """
        order = await self._order_of(attempt)
        if order is None:
            try:
                order = await self._call("POST", "/orders", _order(attempt))
            except ProviderRefused:
                # Another call for the same attempt may have been quicker.
                order = await self._order_of(attempt)
                if order is None:
                    raise
        return Opened(
            order["id"], f"{self._url}/checkout/embedded", "POST", self._fields(attempt, order["id"])
        )

    async def _order_of(self, attempt: Attempt) -> Json | None:
        receipt = attempt.payment_id.hex
        found = (await self._get("/orders", receipt=receipt, count=PAGE))["items"]
        orders = [order for order in found if order.get("receipt") == receipt]
        return min(orders, key=lambda order: (order["created_at"], order["id"]), default=None)

    def _fields(self, attempt: Attempt, order_id: str) -> dict[str, str]:
        url = attempt.return_url
        back = urlencode({"to": url, "by": self._secrets.sign(RETURN_PURPOSE, url.encode())})
        # No address of the buyer: this form is kept with the payment.
        return {
            "key_id": self._key_id,
            "order_id": order_id,
            "amount": str(attempt.amount),
            "currency": attempt.currency,
            "name": attempt.description[:100] or attempt.reference,
            "description": attempt.reference,
            "callback_url": f"{self._address}{RETURN_PATH}?{back}",
            "cancel_url": url,
            "notes[holdfast]": self._note(order_id, attempt.show_id, attempt.payment_id),
        }

    async def look(self, ref: str) -> Seen:
        """The order and its payments. One that was authorised and not yet captured is captured, unless it was closed."""
        order = await self._get(f"/orders/{_safe(ref)}")
        payments = (await self._get(f"/orders/{_safe(ref)}/payments"))["items"]
        notes = _notes(order)
        is_closed = _CLOSED in notes
        taken = next((payment for payment in payments if payment["status"] in _TAKEN), None)
        if taken is None and not is_closed:
            for payment in payments:
                if payment["status"] == "authorized":
                    taken = await self._capture(payment)
                    break
        failed = next((payment for payment in payments if payment["status"] == "failed"), None)
        state: State = "closed" if is_closed else "declined" if failed else "open"
        return Seen(
            ref=order["id"],
            state="succeeded" if taken else state,
            amount=(taken or order)["amount"],
            currency=(taken or order)["currency"],
            payment_id=_id_in(notes, "payment_id"),
            show_id=_id_in(notes, "show_id"),
            reason=_reason(failed) if failed and not taken else None,
            charge=taken["id"] if taken else None,
        )

    async def close(self, ref: str) -> Seen:
        """Notes on the order that nobody wants it to be paid any more.

        Razorpay has no way to close an order. What is only authorised from now on is not captured, and goes back to the
        buyer by itself; what Razorpay captures all the same is `succeeded` to the next look and by webhook.
        """
        seen = await self.look(ref)
        if seen.state in ("succeeded", "closed"):
            return seen
        order = await self._get(f"/orders/{_safe(ref)}")
        await self._call("PATCH", f"/orders/{_safe(ref)}", {"notes": {**_notes(order), _CLOSED: "1"}})
        return await self.look(ref)

    async def refund(self, wish: Wish) -> SeenRefund:
        """Sends money back, once for this id, even if it failed.

        It is looked for first: how long Razorpay remembers an idempotency key is not documented.
        """
        async for made in self._paged(f"/payments/{_safe(wish.charge)}/refunds"):
            if _id_in(_notes(made), "refund_id") == wish.refund_id:
                return _seen_refund(made)
        body = {
            "amount": _expressible(wish.amount, wish.currency),
            "speed": "normal",
            "receipt": wish.refund_id.hex,
            "notes": {
                "refund_id": str(wish.refund_id),
                "payment_id": str(wish.payment_id),
                "show_id": str(wish.show_id),
            },
        }
        made = await self._call(
            "POST",
            f"/payments/{_safe(wish.charge)}/refund",
            body,
            {"x-refund-idempotency": str(wish.refund_id)},
        )
        return _seen_refund(made)

    async def look_refund(self, refund_id: UUID, ref: str) -> SeenRefund:
        """How the refund stands."""
        return _seen_refund(await self._get(f"/refunds/{_safe(ref)}"))

    async def listed(self, since: datetime, until: datetime) -> AsyncIterator[Listed]:
        """Orders, and then refunds, those of other systems on the same account among them: they have no ids of ours."""
        # Both ends of Razorpay's span belong to it.
        span = {"from": int(since.timestamp()), "to": int(until.timestamp()) - 1}
        async for order in self._paged("/orders", **span):
            notes = _notes(order)
            state: State = (
                "succeeded" if order["status"] == "paid" else "closed" if _CLOSED in notes else "open"
            )
            yield Listed(
                kind="payment", ref=order["id"], amount=order["amount"], currency=order["currency"], state=state,
                created_at=_moment(order["created_at"]), id=_id_in(notes, "payment_id"),
                show_id=_id_in(notes, "show_id"),
            )  # fmt: skip
        async for made in self._paged("/refunds", **span):
            seen = _seen_refund(made)
            yield Listed(
                kind="refund", ref=seen.ref, amount=seen.amount, currency=seen.currency, state=seen.state,
                created_at=_moment(made["created_at"]), id=seen.refund_id, show_id=_id_in(_notes(made), "show_id"),
            )  # fmt: skip

    def read(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """Raises BadSignature for what Razorpay did not sign with one of our secrets. It signs no time."""
        signature = headers.get("x-razorpay-signature", "").encode("latin-1", "replace")
        if not any(
            compare_digest(hmac_digest(secret, body, "sha256").hex().encode(), signature)
            for secret in self._webhook_secrets
        ):
            raise BadSignature
        try:
            event = msgspec.json.decode(body, type=dict[str, Any])
            # The header is signed by nobody, so it only names what has the body's signature.
            given = headers.get("x-razorpay-event-id", "")
            event_id = given if _EVENT_ID.fullmatch(given) else sha256(body).hexdigest()
            return self._notice(event_id, str(event["event"]), event.get("payload", {}))
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
            raise BadSignature("The body says nothing that can be read.") from error

    def is_return(self, order_id: str, payment_id: str, signature: str) -> bool:
        """Whether Razorpay's page signed that this order was paid by this payment. Only `look` says that it was captured."""
        expected = hmac_digest(self._key_secret, f"{order_id}|{payment_id}".encode(), "sha256").hex()
        return compare_digest(expected.encode(), signature.encode("latin-1", "replace"))

    async def aclose(self) -> None:
        """Lets go of its connections."""
        await self._http.aclose()

    def _notice(self, event_id: str, event: str, payload: Json) -> Notice:
        payment: Json | None = payload.get("payment", {}).get("entity")
        if event == "order.paid" and payment is not None:
            order = payload["order"]["entity"]
            notes = _notes(order)
            return self._of_payment(
                event_id, payment, "succeeded", _id_in(notes, "show_id"), _id_in(notes, "payment_id")
            )
        if event.startswith("refund.") and "refund" in payload:
            made = payload["refund"]["entity"]
            notes = _notes(made)
            return Notice(
                event_id=event_id, kind="refund", show_id=_id_in(notes, "show_id"),
                payment_id=_id_in(notes, "payment_id"), refund_id=_id_in(notes, "refund_id"), seen=_seen_refund(made),
            )  # fmt: skip
        states: dict[str, State] = {
            "payment.captured": "succeeded",
            "payment.authorized": "open",
            "payment.failed": "declined",
            "payment.dispute.created": "succeeded",
        }
        if event in states and payment is not None:
            show_id, payment_id = self._ids_noted(payment)
            return self._of_payment(event_id, payment, states[event], show_id, payment_id, event)
        return Notice(event_id=event_id, kind="other")

    def _of_payment(
        self,
        event_id: str,
        payment: Json,
        state: State,
        show_id: UUID | None,
        payment_id: UUID | None,
        event: str = "",
    ) -> Notice:
        is_dispute = event == "payment.dispute.created"
        seen = Seen(
            ref=payment["order_id"],
            state=state,
            amount=payment["amount"],
            currency=payment["currency"],
            payment_id=payment_id,
            show_id=show_id,
            reason=_reason(payment) if state == "declined" else None,
            charge=payment["id"] if state == "succeeded" else None,
            disputed=is_dispute,
        )
        kind: Any = "dispute" if is_dispute else "payment"
        return Notice(event_id=event_id, kind=kind, show_id=show_id, payment_id=payment_id, seen=seen)

    def _note(self, order_id: str, show_id: UUID, payment_id: UUID) -> str:
        signed = self._secrets.sign(_NOTE_PURPOSE, order_id.encode(), show_id.bytes, payment_id.bytes)
        return f"{show_id.hex}.{payment_id.hex}.{signed}"

    def _ids_noted(self, payment: Json) -> tuple[UUID | None, UUID | None]:
        show, _, rest = str(_notes(payment).get("holdfast", "")).partition(".")
        own, _, signed = rest.partition(".")
        try:
            show_id, payment_id = UUID(hex=show), UUID(hex=own)
        except ValueError:
            return None, None
        order_id = str(payment["order_id"]).encode()
        if not self._secrets.verify(_NOTE_PURPOSE, signed, order_id, show_id.bytes, payment_id.bytes):
            return None, None
        return show_id, payment_id

    async def _capture(self, payment: Json) -> Json | None:
        body = {"amount": payment["amount"], "currency": payment["currency"]}
        try:
            return await self._call("POST", f"/payments/{_safe(payment['id'])}/capture", body)
        except ProviderRefused:
            # Somebody else was quicker, or the authorisation has lapsed: what it is now is what counts.
            now = await self._get(f"/payments/{_safe(payment['id'])}")
            return now if now["status"] in _TAKEN else None

    async def _paged(self, path: str, **query: int) -> AsyncIterator[Json]:
        for page in range(PAGES_MAX):
            found = (await self._get(path, **query, count=PAGE, skip=page * PAGE))["items"]
            for entry in found:
                yield entry
            if len(found) < PAGE:
                return

    async def _get(self, path: str, **query: Any) -> Json:
        return await self._call("GET", f"{path}?{urlencode(query)}" if query else path)

    async def _call(
        self, method: str, path: str, body: Json | None = None, headers: Mapping[str, str] | None = None
    ) -> Json:
        """What Razorpay answers. Raises ProviderDown for what may be asked again, ProviderRefused for all else.

        An error is told by Razorpay's words for it alone: its sentences may repeat what was sent.
        """
        try:
            answer = await self._http.request(method, self._url + path, json=body, headers=headers)
            status = answer.status_code
            content = msgspec.json.decode(answer.content, type=Json) if answer.content else {}
        except httpx.HTTPError as error:
            raise ProviderDown(f"razorpay: no answer ({type(error).__name__})") from None
        except msgspec.DecodeError:
            content = {}
            if answer.is_success:
                raise ProviderDown(f"razorpay: {status} and no JSON") from None
        if answer.is_success:
            return content
        told = f"razorpay: {status} {_error(content)}"
        # A key that is wrong, or lacks a right, is for the operator to mend: no payment is at fault.
        if status >= 500 or status in (401, 403, 408, 409, 429):
            raise ProviderDown(told)
        raise ProviderRefused(told)


def _order(attempt: Attempt) -> Json:
    return {
        "amount": _expressible(attempt.amount, attempt.currency),
        "currency": attempt.currency,
        "receipt": attempt.payment_id.hex,
        "payment_capture": True,
        "notes": {
            "payment_id": str(attempt.payment_id),
            "show_id": str(attempt.show_id),
            "booking_id": str(attempt.booking_id),
            "reference": attempt.reference,
        },
    }


def _expressible(amount: int, currency: str) -> int:
    """The amount, which counts in the units that we do. Raises ProviderRefused where Razorpay has no such unit."""
    if MINOR_DIGITS_NOT_TWO.get(currency) == 3 and amount % THREE_DIGITS_STEP:
        raise ProviderRefused(
            f"razorpay: {amount} minor units of {currency} are no amount that Razorpay takes"
        )
    return amount


def _seen_refund(made: Json) -> SeenRefund:
    return SeenRefund(
        ref=made["id"],
        state=_REFUND_STATES.get(made["status"], "pending"),
        amount=made["amount"],
        currency=made["currency"],
        refund_id=_id_in(_notes(made), "refund_id"),
        reason="refund_failed" if made["status"] == "failed" else None,
    )


def _notes(entity: Json) -> dict[str, Any]:
    # Without notes it is an empty list.
    notes = entity.get("notes")
    return notes if isinstance(notes, dict) else {}


def _id_in(notes: Mapping[str, Any], name: str) -> UUID | None:
    try:
        return UUID(notes[name])
    except (KeyError, AttributeError, TypeError, ValueError):
        return None


def _reason(payment: Json) -> str:
    return _word(payment.get("error_reason")) or _word(payment.get("error_code")) or "declined"


def _error(content: Json) -> str:
    error = content.get("error")
    if not isinstance(error, dict):
        return "without a reason"
    words = [_word(error.get(name)) for name in ("code", "reason", "field")]
    return " ".join(word for word in words if word) or "without a reason"


def _word(text: Any) -> str:
    return text if isinstance(text, str) and _WORD.fullmatch(text) else ""


def _safe(ref: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]{1,60}", ref):
        raise ProviderRefused("razorpay: no id of Razorpay")
    return ref


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
