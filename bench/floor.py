"""What there is to reach: the server of the product with everything but the booking, and with nothing at all.

    python -m bench.floor floor --fd N    the claim's own route: found, authorized, decoded, validated, answered, logged
    python -m bench.floor echo --fd N     a bare ASGI app that sends the body back

Both run in `holdfast.cli.serving.serve` itself, so settings of the server, of the event loop and of the garbage collector
are the product's by construction. The floor answers a canned booking, encoded anew each time, and writes one line to the
log, as the claim does.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import UUID

from holdfast import app as product
from holdfast.accounts import Access
from holdfast.booking import routes as booking_routes
from holdfast.booking.routes import BookingJson, CustomerJson, PlaceJson
from holdfast.cli import serving
from holdfast.platform import settings as settings_
from holdfast.platform import telemetry
from holdfast.platform.http import Answer, App, Call, Routes, build_app, created
from holdfast.platform.money import Money
from holdfast.platform.secret import Secrets, generate
from holdfast.platform.settings import Settings

CLAIM_PATH = "/v1/shows/{show_id}/bookings"
BOOKING_ID = UUID("0192f5a0-8c9e-7d3f-9a41-c6be50217d84")

log = telemetry.log("http")


def floor_app(settings: Settings) -> App:
    """The claim's route as the product declares it, behind the product's own duties, without the booking."""
    (declared,) = (
        route for route in booking_routes.routes.all if route.method == "POST" and route.path == CLAIM_PATH
    )
    routes = Routes("bookings")
    routes.post(
        CLAIM_PATH, who=declared.who, body=declared.body, headers=declared.headers, answers=declared.answers
    )(_canned)
    return build_app(
        [routes],
        authorize=Access(Secrets(generate()), token_seconds=settings.token_seconds).authorize,
        observe=product._Observer(),
        access_log=_log_access,
        body_bytes_max=settings.body_bytes_max,
    )


async def _canned(call: Call[Any]) -> Answer:
    """A booking that nobody made."""
    show_id = call.path["show_id"]
    booking = BookingJson(
        id=BOOKING_ID,
        reference="KMQTVWX4",
        show_id=show_id,
        status="PENDING",
        reason=None,
        places=[PlaceJson("Main", "1", None, 0), PlaceJson("Main", "2", None, 0)],
        total=Money(0, "EUR"),
        customer=CustomerJson("guest@example.org", "Guest"),
        expires_at="2030-12-24T19:02:00Z",
        expires_in_seconds=120,
        created_at="2030-12-24T19:00:00Z",
        confirmed_at=None,
        version=1,
        secret="not-a-secret-but-as-long-as-one-of-them-is",  # noqa: S106
    )
    return created(booking, f"/v1/shows/{show_id}/bookings/{BOOKING_ID}")


def _log_access(call: Call[Any], status: int, seconds: float) -> None:
    log.info(
        "request", method=call.method, route=call.route.template, status=status, ms=round(seconds * 1000, 1)
    )


class Echo:
    """Sends the body back. Not more than ASGI asks for."""

    in_flight = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def _no_engine(settings: Settings) -> AsyncIterator[SimpleNamespace]:
    yield SimpleNamespace(settings=settings, hub=SimpleNamespace(close=lambda: None))


def main(what: str, fd: int) -> None:
    """Serves one of the two on a listening socket until SIGTERM."""
    settings = settings_.read()
    app: Any = floor_app(settings) if what == "floor" else Echo()
    with (
        patch.object(serving, "open_engine", _no_engine),
        patch.object(serving, "make_app", lambda _: app),
    ):
        serving.run(serving.serve(settings, fd))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[3]))
