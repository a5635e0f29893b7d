"""Razorpay as far as the adapter speaks with it: orders, payments, captures, refunds, webhooks, the hosted page's form.

Shapes are those of https://razorpay.com/docs/api. Bodies are JSON; amounts are in the smallest unit.
"""

import hashlib
import hmac
import json
from base64 import b64encode
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.providers.stubs import Event, Handler, Json, Refused, Stub

KEY_ID, KEY_SECRET = "rzp_test_key", "a_key_secret_that_must_be_told_to_nobody"
WEBHOOK_SECRET = "a_webhook_secret_that_must_be_told_to_nobody"


@dataclass
class RazorpayStub(Stub):
    orders: dict[str, Json] = field(default_factory=dict)
    payments: dict[str, Json] = field(default_factory=dict)
    refunds: dict[str, Json] = field(default_factory=dict)
    keys: dict[str, tuple[bytes, Json]] = field(default_factory=dict)
    # What becomes of the next refunds: processed, pending, or refused.
    refunds_become: str = "processed"
    # Somebody else captures between the look and the capture.
    captured_meanwhile: bool = False

    def routes(self) -> dict[tuple[str, str], Handler]:
        return {
            ("POST", "/orders"): self._make_order,
            ("GET", "/orders"): self._list_orders,
            ("GET", "/orders/{id}"): self._get_order,
            ("PATCH", "/orders/{id}"): self._note_order,
            ("GET", "/orders/{id}/payments"): self._payments_of,
            ("GET", "/payments/{id}"): self._get_payment,
            ("POST", "/payments/{id}/capture"): self._capture,
            ("POST", "/payments/{id}/refund"): self._make_refund,
            ("GET", "/payments/{id}/refunds"): self._refunds_of,
            ("GET", "/refunds"): self._list_refunds,
            ("GET", "/refunds/{id}"): self._get_refund,
        }

    # What people and banks do

    def pay(
        self, order_id: str, notes: Json | None = None, *, status: str = "captured", amount: int | None = None
    ) -> Json:
        payment = self._payment(order_id, status, notes, amount)
        self._tell("payment.authorized", {"payment": {**payment, "status": "authorized"}})
        if status == "captured":
            self._paid(payment)
        return payment

    def decline(self, order_id: str, reason: str = "insufficient_funds", notes: Json | None = None) -> None:
        payment = self._payment(order_id, "failed", notes, None)
        payment |= {"error_code": "BAD_REQUEST_ERROR", "error_reason": reason}
        self._tell("payment.failed", {"payment": payment})

    def dispute(self, payment: Json) -> None:
        dispute = {
            "id": self.id("disp_"), "entity": "dispute", "payment_id": payment["id"], "amount": payment["amount"],
            "currency": payment["currency"], "reason_code": "chargeback", "status": "open", "phase": "chargeback",
        }  # fmt: skip
        self._tell("payment.dispute.created", {"payment": payment, "dispute": dispute})

    def end_refund(self, refund_id: str, status: str) -> None:
        made = self.refunds[refund_id]
        made["status"] = status
        self._tell(f"refund.{status}", {"refund": made, "payment": self.payments[made["payment_id"]]})

    def signed(self, event: Event, *, secret: str = WEBHOOK_SECRET) -> tuple[dict[str, str], bytes]:
        body = json.dumps({
            "entity": "event", "account_id": "acc_test", "event": event.kind, "contains": list(event.content),
            "payload": {name: {"entity": entity} for name, entity in event.content.items()}, "created_at": self.now(),
        }).encode()  # fmt: skip
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return {"x-razorpay-signature": signature, "x-razorpay-event-id": event.id}, body

    # What the API answers

    async def _make_order(self, request: Request) -> Response:
        body = await _body(request)
        if body["amount"] < 100:
            raise _error(400, "BAD_REQUEST_ERROR", "The amount must be atleast INR 1.00", "amount")
        if any(order["receipt"] == body["receipt"] for order in self.orders.values()):
            raise _error(400, "BAD_REQUEST_ERROR", "Receipt should be unique.", "receipt")
        assert len(body["receipt"]) <= 40
        assert body["payment_capture"] is True
        order = {
            "id": self.id("order_"), "entity": "order", "amount": body["amount"], "amount_paid": 0,
            "amount_due": body["amount"], "currency": body["currency"], "receipt": body["receipt"], "status": "created",
            "attempts": 0, "notes": body.get("notes") or [], "created_at": self.now(),
        }  # fmt: skip
        self.orders[order["id"]] = order
        return JSONResponse(order)

    async def _list_orders(self, request: Request) -> Response:
        receipt = request.query_params.get("receipt")
        orders = [order for order in self.orders.values() if receipt is None or order["receipt"] == receipt]
        return self._listed(request, orders)

    async def _get_order(self, request: Request) -> Response:
        return JSONResponse(_found(self.orders, request))

    async def _note_order(self, request: Request) -> Response:
        order, body = _found(self.orders, request), await _body(request)
        assert list(body) == ["notes"], "nothing else of an order can be changed"
        order["notes"] = body["notes"]
        return JSONResponse(order)

    async def _payments_of(self, request: Request) -> Response:
        order = _found(self.orders, request)
        items = [
            payment for payment in reversed(self.payments.values()) if payment["order_id"] == order["id"]
        ]
        return JSONResponse({"entity": "collection", "count": len(items), "items": items})

    async def _get_payment(self, request: Request) -> Response:
        return JSONResponse(_found(self.payments, request))

    async def _capture(self, request: Request) -> Response:
        payment, body = _found(self.payments, request), await _body(request)
        if self.captured_meanwhile:
            self._paid(payment)
        if payment["status"] != "authorized":
            raise _error(400, "BAD_REQUEST_ERROR", "This payment has already been captured")
        assert body == {"amount": payment["amount"], "currency": payment["currency"]}
        self._paid(payment)
        return JSONResponse(payment)

    async def _make_refund(self, request: Request) -> Response:
        payment, body = _found(self.payments, request), await _body(request)
        key, raw = request.headers["x-refund-idempotency"], await request.body()
        assert len(key) >= 10
        if key in self.keys:
            before, kept = self.keys[key]
            if before != raw:
                raise _error(400, "BAD_REQUEST_ERROR", "Different request body sent for the same key")
            return JSONResponse(kept)
        live = sum(
            made["amount"]
            for made in self.refunds.values()
            if made["payment_id"] == payment["id"] and made["status"] != "failed"
        )
        if self.refunds_become == "refused" or live + body["amount"] > payment["amount"]:
            raise _error(
                400, "BAD_REQUEST_ERROR", f"The refund amount provided is greater. {KEY_SECRET}", "amount"
            )
        assert len(body["receipt"]) <= 40
        made = {
            "id": self.id("rfnd_"), "entity": "refund", "amount": body["amount"], "currency": payment["currency"],
            "payment_id": payment["id"], "notes": body["notes"], "receipt": body["receipt"],
            "status": self.refunds_become, "created_at": self.now(), "speed_requested": body["speed"],
        }  # fmt: skip
        self.refunds[made["id"]] = made
        self.keys[key] = (raw, dict(made))
        self._tell("refund.created", {"refund": made, "payment": payment})
        if made["status"] == "processed":
            self._tell("refund.processed", {"refund": made, "payment": payment})
        return JSONResponse(made)

    async def _refunds_of(self, request: Request) -> Response:
        payment = _found(self.payments, request)
        return self._listed(
            request, [made for made in self.refunds.values() if made["payment_id"] == payment["id"]]
        )

    async def _list_refunds(self, request: Request) -> Response:
        return self._listed(request, list(self.refunds.values()))

    async def _get_refund(self, request: Request) -> Response:
        return JSONResponse(_found(self.refunds, request))

    def _listed(self, request: Request, entries: list[Json]) -> Response:
        _authorized(request)
        asked = request.query_params
        since, until = int(asked.get("from", 0)), int(asked.get("to", 1 << 40))
        found = [entry for entry in reversed(entries) if since <= entry["created_at"] <= until]
        skip, count = int(asked.get("skip", 0)), min(int(asked.get("count", 10)), 100)
        page = found[skip : skip + count]
        return JSONResponse({"entity": "collection", "count": len(page), "items": page})

    def _payment(self, order_id: str, status: str, notes: Json | None, amount: int | None) -> Json:
        order = self.orders[order_id]
        payment = {
            "id": self.id("pay_"), "entity": "payment", "amount": amount or order["amount"],
            "currency": order["currency"], "status": status, "order_id": order_id, "captured": status == "captured",
            "notes": notes or [], "created_at": self.now(), "error_code": None, "error_reason": None,
        }  # fmt: skip
        self.payments[payment["id"]] = payment
        order["attempts"] += 1
        if order["status"] == "created":
            order["status"] = "attempted"
        return payment

    def _paid(self, payment: Json) -> None:
        order = self.orders[payment["order_id"]]
        payment["status"], payment["captured"] = "captured", True
        order |= {"status": "paid", "amount_paid": payment["amount"], "amount_due": 0}
        self._tell("payment.captured", {"payment": payment})
        self._tell("order.paid", {"payment": payment, "order": order})

    def _tell(self, kind: str, content: Json) -> None:
        self.events.append(Event(self.id("evt_"), kind, json.loads(json.dumps(content))))


def _authorized(request: Request) -> None:
    expected = "Basic " + b64encode(f"{KEY_ID}:{KEY_SECRET}".encode()).decode()
    if request.headers.get("authorization") != expected:
        raise _error(
            401, "BAD_REQUEST_ERROR", f"Authentication failed {request.headers.get('authorization')}"
        )


def _found(things: dict[str, Json], request: Request) -> Json:
    _authorized(request)
    if request.path_params["id"] not in things:
        raise _error(400, "BAD_REQUEST_ERROR", f"The id provided does not exist {KEY_SECRET}")
    return things[request.path_params["id"]]


async def _body(request: Request) -> Json:
    _authorized(request)
    body: Json = await request.json()
    return body


def _error(status: int, code: str, description: str, name: str | None = None) -> Refused:
    error = {"code": code, "description": description, "source": "business", "step": None, "reason": "input_validation_failed"}  # fmt: skip
    return Refused(status, {"error": {**error, "field": name}})
