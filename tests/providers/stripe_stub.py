"""Stripe as far as the adapter speaks with it: Checkout Sessions, PaymentIntents, refunds, disputes, idempotency keys.

Shapes are those of https://docs.stripe.com/api for the version that the SDK asks for. Bodies are forms with nested keys.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from stripe import WebhookSignature

from tests.providers.stubs import Event, Handler, Json, Refused, Stub

KEY = "sk_test_a_key_that_must_be_told_to_nobody"
WEBHOOK_SECRET = "whsec_a_secret_that_must_be_told_to_nobody"


@dataclass
class StripeStub(Stub):
    sessions: dict[str, Json] = field(default_factory=dict)
    intents: dict[str, Json] = field(default_factory=dict)
    charges: dict[str, Json] = field(default_factory=dict)
    refunds: dict[str, Json] = field(default_factory=dict)
    keys: dict[str, tuple[bytes, Json]] = field(default_factory=dict)
    # What becomes of the next refunds: succeeded, pending, or refused.
    refunds_become: str = "succeeded"

    def routes(self) -> dict[tuple[str, str], Handler]:
        return {
            ("POST", "/v1/checkout/sessions"): self._once(self._make_session),
            ("GET", "/v1/checkout/sessions"): self._list_sessions,
            ("GET", "/v1/checkout/sessions/{id}"): self._get_session,
            ("POST", "/v1/checkout/sessions/{id}/expire"): self._expire,
            ("POST", "/v1/payment_intents/{id}/cancel"): self._cancel,
            ("POST", "/v1/refunds"): self._once(self._make_refund),
            ("GET", "/v1/refunds"): self._list_refunds,
            ("GET", "/v1/refunds/{id}"): self._get_refund,
        }

    # What people and banks do

    def pay(self, session_id: str, amount: int | None = None) -> None:
        session, intent = self._charged(session_id, "succeeded", amount)
        session["status"], session["payment_status"] = "complete", "paid"
        self._tell("checkout.session.completed", session)
        self._tell("payment_intent.succeeded", intent)

    def decline(self, session_id: str, code: str = "insufficient_funds") -> None:
        session = self.sessions[session_id]
        intent = self._intent(session)
        intent["last_payment_error"] = {"code": "card_declined", "decline_code": code, "type": "card_error"}
        self._tell("payment_intent.payment_failed", intent)

    def pay_by_transfer(self, session_id: str) -> None:
        session, _ = self._charged(session_id, "processing", None)
        session["status"], session["payment_status"] = "complete", "unpaid"
        self._tell("checkout.session.completed", session)

    def arrive(self, session_id: str) -> None:
        session = self.sessions[session_id]
        session["payment_status"] = "paid"
        self.intents[session["payment_intent"]]["status"] = "succeeded"
        self._tell("checkout.session.async_payment_succeeded", session)

    def bounce(self, session_id: str) -> None:
        session = self.sessions[session_id]
        self.intents[session["payment_intent"]]["status"] = "requires_payment_method"
        self._tell("checkout.session.async_payment_failed", session)

    def dispute(self, session_id: str) -> None:
        intent = self.intents[self.sessions[session_id]["payment_intent"]]
        self.charges[intent["latest_charge"]]["disputed"] = True
        content = {
            "id": self.id("du_"),
            "object": "dispute",
            "charge": intent["latest_charge"],
            "payment_intent": intent["id"],
            "amount": intent["amount"],
            "currency": intent["currency"],
            "reason": "fraudulent",
            "status": "needs_response",
            "metadata": {},
        }
        self._tell("charge.dispute.created", content)

    def end_refund(self, refund_id: str, status: str) -> None:
        made = self.refunds[refund_id]
        made["status"] = status
        made["failure_reason"] = "expired_or_canceled_card" if status == "failed" else None
        self._tell("refund.failed" if status == "failed" else "refund.updated", made)
        if status == "failed":
            self._tell("charge.refund.updated", made)

    def signed(
        self, event: Event, *, secret: str = WEBHOOK_SECRET, at: int | None = None
    ) -> tuple[dict[str, str], bytes]:
        body = json.dumps({
            "id": event.id, "object": "event", "api_version": "2026-10-28.endive", "created": self.now(),
            "type": event.kind, "livemode": False, "pending_webhooks": 1, "data": {"object": event.content},
        })  # fmt: skip
        return {
            "stripe-signature": WebhookSignature.generate_signature_header(body, secret, at)
        }, body.encode()

    # What the API answers

    async def _make_session(self, request: Request, form: Json) -> Json:
        [line] = form["line_items"].values()
        amount, until = int(line["price_data"]["unit_amount"]), form.get("expires_at")
        if amount < 50:
            raise _error(400, "amount_too_small", f"Must be at least 50; your key is {KEY}")
        if until is not None and not self.now() + 1800 <= int(until) <= self.now() + 86_400:
            raise _error(400, "parameter_invalid", "expires_at must be between 30 minutes and 24 hours")
        session_id = self.id("cs_test_")
        session = {
            "id": session_id, "object": "checkout.session", "mode": form["mode"], "status": "open",
            "payment_status": "unpaid", "amount_total": amount, "amount_subtotal": amount,
            "currency": line["price_data"]["currency"], "payment_intent": None, "metadata": form.get("metadata", {}),
            "client_reference_id": form.get("client_reference_id"), "created": self.now(),
            "url": f"https://checkout.stripe.com/c/pay/{session_id}", "expires_at": int(until or self.now() + 86_400),
            "customer_email": form.get("customer_email"), "success_url": form["success_url"],
            "intent_metadata": form["payment_intent_data"]["metadata"],
        }  # fmt: skip
        self.sessions[session_id] = session
        return session

    async def _get_session(self, request: Request) -> Response:
        session = self._found(self.sessions, request)
        return JSONResponse(self._shown(session, request.query_params.multi_items()))

    async def _expire(self, request: Request) -> Response:
        form = _form(await request.body())
        session = self._found(self.sessions, request)
        if session["status"] != "open":
            raise _error(400, None, "Only Checkout Sessions with a status in open can be expired.")
        session["status"] = "expired"
        self._tell("checkout.session.expired", session)
        return JSONResponse(
            self._shown(session, [("expand", text) for text in form.get("expand", {}).values()])
        )

    async def _cancel(self, request: Request) -> Response:
        intent = self._found(self.intents, request)
        if intent["status"] == "processing":
            raise _error(
                400, "payment_intent_unexpected_state", "It cannot be canceled while it is processing."
            )
        intent["status"] = "canceled"
        return JSONResponse(intent)

    async def _make_refund(self, request: Request, form: Json) -> Json:
        intent = self.intents[form["payment_intent"]]
        amount = int(form["amount"])
        live = sum(
            made["amount"]
            for made in self.refunds.values()
            if made["payment_intent"] == intent["id"] and made["status"] not in ("failed", "canceled")
        )
        if self.refunds_become == "refused" or amount + live > intent["amount"]:
            raise _error(400, "charge_already_refunded", f"Charge has already been refunded. {KEY}")
        made = {
            "id": self.id("re_"), "object": "refund", "amount": amount, "currency": intent["currency"],
            "payment_intent": intent["id"], "charge": intent["latest_charge"], "status": self.refunds_become,
            "metadata": form.get("metadata", {}), "created": self.now(), "failure_reason": None,
        }  # fmt: skip
        self.refunds[made["id"]] = made
        self._tell("refund.created", made)
        self._tell("charge.refunded", self.charges[intent["latest_charge"]])
        return made

    async def _get_refund(self, request: Request) -> Response:
        return JSONResponse(self._found(self.refunds, request))

    async def _list_sessions(self, request: Request) -> Response:
        expand = [
            (key, text.removeprefix("data."))
            for key, text in request.query_params.multi_items()
            if key.startswith("expand")
        ]
        entries = [self._shown(session, expand) for session in self.sessions.values()]
        return self._listed(request, "/v1/checkout/sessions", entries)

    async def _list_refunds(self, request: Request) -> Response:
        intent = request.query_params.get("payment_intent")
        entries = [
            made for made in self.refunds.values() if intent is None or made["payment_intent"] == intent
        ]
        return self._listed(request, "/v1/refunds", entries)

    def _listed(self, request: Request, url: str, entries: list[Json]) -> Response:
        _authorized(request)
        asked = request.query_params
        since, until = int(asked.get("created[gte]", 0)), int(asked.get("created[lt]", 1 << 40))
        # The latest first, as Stripe lists.
        found = [entry for entry in reversed(entries) if since <= entry["created"] < until]
        if after := asked.get("starting_after"):
            found = found[[entry["id"] for entry in found].index(after) + 1 :]
        limit = min(int(asked.get("limit", 10)), 100)
        return JSONResponse(
            {"object": "list", "url": url, "data": found[:limit], "has_more": len(found) > limit}
        )

    def _once(self, handler: Any) -> Handler:
        async def answer(request: Request) -> Response:
            _authorized(request)
            raw, key = await request.body(), request.headers.get("idempotency-key")
            if key is not None and key in self.keys:
                before, kept = self.keys[key]
                if before != raw:
                    raise _error(400, None, "Keys for idempotent requests can only be used with the same parameters", "idempotency_error")  # fmt: skip
                return JSONResponse(kept, headers={"idempotent-replayed": "true"})
            made = await handler(request, _form(raw))
            if key is not None:
                self.keys[key] = (raw, json.loads(json.dumps(made)))
            return JSONResponse(made)

        return answer

    def _found(self, things: dict[str, Json], request: Request) -> Json:
        _authorized(request)
        if request.path_params["id"] not in things:
            raise _error(404, "resource_missing", f"No such thing. {KEY}")
        return things[request.path_params["id"]]

    def _shown(self, session: Json, expand: list[tuple[str, str]]) -> Json:
        wanted = {text for key, text in expand if key.startswith("expand")}
        shown = {key: value for key, value in session.items() if key != "intent_metadata"}
        if any(text.startswith("payment_intent") for text in wanted) and session["payment_intent"]:
            intent = dict(self.intents[session["payment_intent"]])
            if "payment_intent.latest_charge" in wanted and intent["latest_charge"]:
                intent["latest_charge"] = self.charges[intent["latest_charge"]]
            shown["payment_intent"] = intent
        return shown

    def _intent(self, session: Json) -> Json:
        if session["payment_intent"] is None:
            intent = {
                "id": self.id("pi_"), "object": "payment_intent", "amount": session["amount_total"],
                "currency": session["currency"], "status": "requires_payment_method", "latest_charge": None,
                "last_payment_error": None, "metadata": session["intent_metadata"], "created": self.now(),
            }  # fmt: skip
            self.intents[intent["id"]] = intent
            session["payment_intent"] = intent["id"]
        return self.intents[session["payment_intent"]]

    def _charged(self, session_id: str, status: str, amount: int | None) -> tuple[Json, Json]:
        session = self.sessions[session_id]
        assert session["status"] == "open", "Stripe's page says that it has expired"
        intent = self._intent(session)
        session["amount_total"] = intent["amount"] = amount or intent["amount"]
        intent["status"], intent["last_payment_error"] = status, None
        charge = {"id": self.id("ch_"), "object": "charge", "disputed": False, "amount": intent["amount"]}
        self.charges[charge["id"]] = charge
        intent["latest_charge"] = charge["id"]
        return session, intent

    def _tell(self, kind: str, about: Json) -> None:
        content = {
            key: value for key, value in json.loads(json.dumps(about)).items() if key != "intent_metadata"
        }
        self.events.append(Event(self.id("evt_"), kind, content))


def _authorized(request: Request) -> None:
    if request.headers.get("authorization") != f"Bearer {KEY}":
        raise _error(401, None, f"Invalid API Key provided: {request.headers.get('authorization')}")


def _error(status: int, code: str | None, message: str, kind: str = "invalid_request_error") -> Refused:
    return Refused(status, {"error": {"type": kind, "code": code, "message": message}})


def _form(raw: bytes) -> Json:
    """`metadata[show_id]=...&line_items[0][quantity]=1` as nested dictionaries."""
    found: Json = {}
    for name, value in parse_qsl(raw.decode(), keep_blank_values=True):
        first, *rest = re.findall(r"[^\[\]]+", name)
        at = found
        for part, following in zip([first, *rest], rest, strict=False):
            del following
            at = at.setdefault(part, {})
        at[[first, *rest][-1]] = value
    return found
