"""The ASGI app: every domain's routes, the operators' routes, the API document and its page."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from holdfast import __version__, accounts, job_routes, web
from holdfast.accounts import (
    Principal,
    audit_routes,
    embedding_routes,
    key_routes,
    organizer_routes,
    people_routes,
    session_routes,
)
from holdfast.accounts import customers_routes as account_customers_routes
from holdfast.accounts import routes as account_routes
from holdfast.analytics import routes as analytics_routes
from holdfast.booking import (
    challenge_routes,
    customer_later_routes,
    customers_routes,
    door_list_routes,
    door_package_routes,
    door_routes,
    embed_routes,
    export_routes,
    letter_routes,
    payment_routes,
    privacy_routes,
    promotions_routes,
    refund_routes,
    seeds_routes,
    series_routes,
    show_routes,
    ticket_routes,
)
from holdfast.booking import routes as booking_routes
from holdfast.catalog import picture_routes
from holdfast.catalog import routes as catalog_routes
from holdfast.engine import Engine
from holdfast.invoices import routes as invoice_routes
from holdfast.live import routes as live_routes
from holdfast.notifications import catcher_routes
from holdfast.notifications import routes as notification_routes
from holdfast.payments import return_routes, sandbox_routes
from holdfast.platform import migrate, telemetry
from holdfast.platform.edge import LOOPBACK
from holdfast.platform.errors import Busy, Refusal
from holdfast.platform.http import ANYONE, Answer, App, Call, Count, Routes, build_app
from holdfast.platform.limits import Limits, Profile, by_address
from holdfast.platform.once import Once
from holdfast.platform.openapi import document_routes, openapi
from holdfast.platform.settings import Settings
from holdfast.webhooks import feed_routes
from holdfast.webhooks import routes as webhook_routes

operator_routes = Routes("operators")
ROUTES = [
    show_routes.routes,
    embed_routes.routes,
    series_routes.routes,
    catalog_routes.routes,
    picture_routes.routes,
    booking_routes.routes,
    customer_later_routes.routes,
    promotions_routes.routes,
    account_customers_routes.routes,
    customers_routes.routes,
    privacy_routes.routes,
    refund_routes.routes,
    ticket_routes.routes,
    letter_routes.routes,
    notification_routes.routes,
    payment_routes.routes,
    door_routes.routes,
    door_list_routes.routes,
    door_package_routes.routes,
    challenge_routes.routes,
    export_routes.routes,
    return_routes.routes,
    sandbox_routes.routes,
    live_routes.routes,
    account_routes.routes,
    audit_routes.routes,
    session_routes.routes,
    people_routes.routes,
    key_routes.routes,
    organizer_routes.routes,
    embedding_routes.routes,
    analytics_routes.routes,
    invoice_routes.routes,
    webhook_routes.routes,
    feed_routes.routes,
    operator_routes,
    job_routes.routes,
    seeds_routes.routes,
]

DESCRIPTION = """Holdfast sells every place exactly once. Amounts are integers in the currency's minor unit; times are
RFC 3339 in UTC; refusals are RFC 9457 problems with a stable `code`."""

# Routes that are asked all the time by machines, and the claim, which logs a line of its own.
_UNLOGGED = frozenset({"/healthz", "/readyz", "/metrics", "/v1/shows/{show_id}/bookings"})
METRICS_SECONDS = 0.5
_METRICS = b"text/plain; version=0.0.4; charset=utf-8"

log = telemetry.log("http")


class NotReady(Refusal):
    code = "not_ready"
    status = 503
    title = "This process cannot serve yet."


class HealthJson(msgspec.Struct):
    status: str
    version: str


@operator_routes.get("/healthz", who=ANYONE, limit=None, answers={200: HealthJson})
async def healthz(call: Call[None]) -> HealthJson:
    """Is the process alive."""
    return HealthJson("ok", __version__)


@operator_routes.get("/readyz", who=ANYONE, limit=None, answers={200: HealthJson}, refusals=(NotReady,))
async def readyz(call: Call[None]) -> HealthJson:
    """Can the process serve: the database answers and has the schema of this code."""
    try:
        await migrate.check(call.db)
    except (Busy, migrate.MigrationError) as error:
        raise NotReady(str(error), retry_after=1) from error
    return HealthJson("ready", __version__)


@operator_routes.get("/metrics", who=ANYONE, limit=None, answers={200: "text/plain"})
async def metrics(call: Call[None]) -> Answer:
    """What this installation measures, for Prometheus."""
    # In a thread and kept for a moment, because it takes some tenths of a second of CPU and anybody may ask.
    text = await call.state.cache.get(
        ("metrics",), METRICS_SECONDS, lambda: asyncio.to_thread(telemetry.metrics_text)
    )
    return Answer(200, text, media=_METRICS)


def api_document(served: Sequence[Routes] = ROUTES) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes; of every route by default."""
    return openapi(
        served, version=__version__, description=DESCRIPTION, security_schemes=accounts.SECURITY_SCHEMES
    )


def make_app(engine: Engine) -> App:
    """The app on an open engine."""
    setting = engine.settings.seed_routes
    served = [routes for routes in ROUTES if routes is not seeds_routes.routes or setting != "off"]
    document, page = _documents(setting != "off")

    async def authorize(call: Call[Any], who: Any) -> Any:
        under = who.under(setting) if isinstance(who, seeds_routes.SeedUser) else who
        caller = await engine.access.authorize(call, under)
        principal = _principal(caller)
        if principal is not None and not accounts.is_of_installation(under):
            # A second net: where a check of the organizer was forgotten, other organizers' rows are still not there.
            call.db = engine.db.of(principal.organizer_id)
        return caller

    asked = web.Api()
    address = engine.settings.address
    pages = web.shop_routes(
        asked,
        address=address,
        secure=address.startswith("https:"),
        offline=engine.settings.offline_tickets == "on",
    )
    app = build_app(
        [*served, *_caught(engine.settings), document, page, *pages],
        state=engine,
        db=engine.db,
        authorize=authorize,
        count=_counting(engine.limits),
        once=Once(_caller_name),
        observe=_Observer(),
        access_log=_log_access,
        body_bytes_max=engine.settings.body_bytes_max,
    )
    asked.serve(app)
    return app


def _caught(settings: Settings) -> list[Routes]:
    """The pages of letters that were caught in a folder: for one machine alone, and not where letters are sent."""
    if settings.mail_page == "off" or settings.host not in LOOPBACK or settings.smtp_url is not None:
        return []
    folder = settings.mail_folder
    return [] if folder is None else [catcher_routes.catcher_routes(Path(folder))]


@cache
def _documents(with_seeds: bool) -> tuple[Routes, Routes]:
    """The routes of the API document and of its page, which take longer to make than all the rest of the app."""
    served = [routes for routes in ROUTES if with_seeds or routes is not seeds_routes.routes]
    document = api_document(served)
    return document_routes(document), web.docs_routes(document)


def _principal(caller: Any) -> Principal | None:
    """The member of staff in whatever `Access.authorize` gives."""
    principal: Principal | None = getattr(caller, "principal", caller)
    return principal


def _counting(limits: Limits) -> Count | None:
    """Counts a request against the key or the person that makes it, and against the address of all others."""
    if not limits.is_on:
        return None

    async def count(call: Call[Any], profile: Profile) -> None:
        principal = _principal(call.caller)
        if not isinstance(principal, Principal):
            await limits.count(call, profile, by_address(call.client_ip))
        elif principal.key_id is not None:
            await limits.count(call, "keys", principal.key_id.hex)
        else:
            await limits.count(call, "staff", str(principal.person_id))

    return count


def _caller_name(call: Call[Any]) -> str:
    """Whose idempotency keys these are: a person's in their organizer, or a buyer's, by the secret of the booking.

    The policies of `answers` (migration 0006) read the organizer in it. The secret itself is kept nowhere, and what
    stands in its place may be of any length: hence the hash.
    """
    principal = _principal(call.caller)
    if principal is not None:
        return f"{principal.organizer_id}/{principal.name}"
    if getattr(call.caller, "customer_id", None) is not None:
        return f"customer:{call.caller.customer_id}"
    secret: str | None = getattr(call.caller, "secret", None)
    return "anyone" if secret is None else f"secret:{sha256(secret.encode()).hexdigest()}"


@dataclass
class _Observer:
    """Counts each answer; children of the metric are kept, because looking them up costs more than counting."""

    def __post_init__(self) -> None:
        self._children: dict[tuple[str, str, int], Any] = {}

    def __call__(self, method: str, route: str, status: int, seconds: float) -> None:
        child = self._children.get((method, route, status))
        if child is None:
            child = telemetry.HTTP_SECONDS.labels(method, route, f"{status // 100}xx")
            self._children[method, route, status] = child
        child.observe(seconds)


def _log_access(call: Call[Any], status: int, seconds: float) -> None:
    if call.route.template not in _UNLOGGED or status >= 500:
        log.info(
            "request",
            method=call.method,
            route=call.route.template,
            status=status,
            ms=round(seconds * 1000, 1),
        )
