"""Every route by which staff change something leaves one entry in the audit. The routes are walked as the app has them."""

import io
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from PIL import Image

from holdfast import accounts
from holdfast.accounts import ANYONE
from holdfast.app import ROUTES
from holdfast.booking import booking_by_id
from holdfast.engine import Engine
from holdfast.platform.db import Database
from holdfast.platform.ids import BookingId, ShowId, new_id
from holdfast.platform.settings import Settings
from tests.conftest import client_of
from tests.till import pay

pytestmark = pytest.mark.anyio

VENUE = {"name": "Globe", "timezone": "Europe/London"}
LAYOUT = {"name": "Pit", "areas": [{"name": "Yard", "kind": "standing", "capacity": 10}]}
SHOW = {"name": "Hamlet", "start_time": "2030-12-24T20:00:00Z", "total_seats": 10}
SERIES = {"template": "repeat", "show": SHOW, "start_times": ["2030-12-25T20:00:00Z", "2030-12-26T20:00:00Z"]}
GUEST = {"email": "guest@example.org"}
# Not by staff, or of nobody's but their own: the tests of each say what is written of it.
ELSEWHERE = {
    "POST /v1/customers/me/erase",
    "DELETE /v1/auth/session",
    "DELETE /v1/auth/sessions",
    "DELETE /v1/auth/sessions/{session_id}",
    "POST /v1/auth/password",
}


@dataclass
class Walk:
    """Asks one route after the other, and looks each time at what was written."""

    client: httpx.AsyncClient
    db: Database
    asked: set[str]
    wrong: list[str]

    async def ask(self, route: str, expected: str | None, /, body: Any = None, **ids: str) -> dict[str, Any]:
        """What the route answered; `expected` is the action of the one entry that it leaves, if any."""
        self.asked.add(route)
        method, _, path = route.partition(" ")
        before = await self._actions()
        content = {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        answer = await self.client.request(method, path.format(**ids), **content)
        left = (await self._actions())[len(before) :]
        if not answer.is_success or left != ([] if expected is None else [expected]):
            self.wrong.append(f"{route}: {answer.status_code} {answer.text[:200]}, entries {left}")
        return answer.json() if answer.is_success and answer.content else {}

    async def _actions(self) -> list[str]:
        return [row["action"] for row in await self.db.rows("select action from audit order by entry_id")]


def _picture() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(made, "PNG")
    return made.getvalue()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With the seeds' routes for staff alone, and ways to be paid and to send text messages."""
    return msgspec.structs.replace(
        settings, seed_routes="staff", payments="sandbox", sms_url="http://127.0.0.1:9/"
    )


async def test_every_change_by_staff_leaves_one_entry(engine: Engine, db: Database) -> None:
    member = await accounts.first_owner(db)
    assert member is not None
    admin = msgspec.structs.replace(member.principal, admin=True)
    async with client_of(engine, Authorization=f"Bearer {engine.access.tokens.issue(admin).text}") as owner:
        walk = Walk(owner, db, set(), [])
        for part in (_catalog, _door, _bookings, _refunds, _people, _webhooks, _installation, _seeds):
            await part(walk)
    assert not walk.wrong, "\n".join(walk.wrong)
    changing = {
        f"{route.method} {route.template}"
        for routes in ROUTES
        for route in routes.all
        if route.method != "GET" and route.who is not ANYONE
    }
    assert changing - walk.asked - ELSEWHERE == set(), "ask these routes, too"


async def _catalog(walk: Walk) -> None:
    ask = walk.ask
    show = (await ask("POST /v1/shows", "show.created", SHOW))["id"]
    await ask("PATCH /v1/shows/{show_id}", "show.edited", {"status": "paused"}, show_id=show)
    await ask("POST /v1/series", "series.created", SERIES)
    venue = (await ask("POST /v1/venues", "venue.created", VENUE))["id"]
    await ask("PUT /v1/venues/{venue_id}", "venue.edited", VENUE, venue_id=venue)
    layout = (await ask("POST /v1/venues/{venue_id}/layouts", "layout.created", LAYOUT, venue_id=venue))["id"]
    await ask("PUT /v1/layouts/{layout_id}", "layout.revised", LAYOUT, layout_id=layout)
    await ask("PUT /v1/shows/{show_id}/picture", "picture.set", _picture(), show_id=show)
    await ask("DELETE /v1/shows/{show_id}/picture", "picture.deleted", show_id=show)
    await ask("PUT /v1/organizer/logo", "picture.set", _picture())
    await ask("DELETE /v1/organizer/logo", "picture.deleted")


async def _bookings(walk: Walk) -> None:
    ask = walk.ask
    show = (await ask("POST /v1/shows", "show.created", SHOW))["id"]
    # A claim is what the engine is for, and leaves none.
    claim = {"seats": ["1"], "customer": {**GUEST, "name": "Guest"}}
    made = (await ask("POST /v1/shows/{show_id}/bookings", None, claim, show_id=show))["id"]
    of = {"show_id": show, "booking_id": made}
    booking = "/v1/shows/{show_id}/bookings/{booking_id}"
    await ask(f"POST {booking}/extend", "booking.extended", **of)
    named = {"customer": {"email": "grace@example.org", "name": "Grace"}}
    await ask(f"PATCH {booking}", "booking.named", named, **of)
    # The same again is nothing new.
    await ask(f"PATCH {booking}", None, named, **of)
    await ask(f"POST {booking}/confirm", "booking.confirmed", **of)
    ticket = {**of, "number": "1"}
    await ask(f"PATCH {booking}/tickets/{{number}}", "ticket.renamed", {"holder": "Ada Example"}, **ticket)
    given = {"name": "Ada Example", "email": "ada@example.org"}
    await ask(f"POST {booking}/tickets/{{number}}/transfer", "ticket.transferred", given, **ticket)
    await ask(f"POST {booking}/resend", "letter.resent", **of)
    await ask(f"POST {booking}/text", "text.sent", {"phone": "+436601234567"}, **of)
    await ask(f"POST {booking}/cancel", "booking.cancelled", **of)
    # What is done already is done no second time.
    await ask(f"POST {booking}/cancel", None, **of)
    kept = {"seats": ["2"], "reason": "House"}
    block = (await ask("POST /v1/shows/{show_id}/blocks", "block.created", kept, show_id=show))["id"]
    await ask("DELETE /v1/shows/{show_id}/blocks/{block_id}", "block.released", show_id=show, block_id=block)
    code = {"code": "EARLY", "discount_amount": 100}
    made = (await ask("POST /v1/shows/{show_id}/codes", "code.created", code, show_id=show))["id"]
    many = {"count": 2, "discount_amount": 100}
    await ask("POST /v1/shows/{show_id}/codes/generate", "codes.generated", many, show_id=show)
    of_code = {"show_id": show, "code_id": made}
    await ask("PATCH /v1/shows/{show_id}/codes/{code_id}", "code.edited", {"uses_max": 5}, **of_code)
    await ask("DELETE /v1/shows/{show_id}/codes/{code_id}", "code.withdrawn", **of_code)
    await ask("PUT /v1/privacy/retention", "organizer.retention", {"retention_days": 365})
    await ask("POST /v1/privacy/export", "person.exported", GUEST)
    await ask("POST /v1/privacy/erase", "person.erased", GUEST)


async def _refunds(walk: Walk) -> None:
    ask, booking = walk.ask, "/v1/shows/{show_id}/bookings/{booking_id}"
    tier = {"name": "Adult", "area": "Main", "amount": 1000}
    show = (await ask("POST /v1/shows", "show.created", {**SHOW, "tiers": [tier]}))["id"]
    made = (await ask("POST /v1/shows/{show_id}/bookings", None, {"seats": ["1"]}, show_id=show))["id"]
    of = {"show_id": show, "booking_id": made}
    await ask(f"POST {booking}/pay", "payment.begun", {}, **of)
    await ask(f"POST {booking}/confirm", "booking.confirmed", **of)
    await pay(walk.db, await booking_by_id(walk.db, ShowId(UUID(show)), BookingId(UUID(made))))
    refund = (await ask(f"POST {booking}/refunds", "refund.wanted", {"amount": 5}, **of))["id"]
    await walk.db.execute("update refunds set state = 'FAILED'")
    await ask(f"POST {booking}/refunds/{{refund_id}}/retry", "refund.retried", refund_id=refund, **of)


async def _door(walk: Walk) -> None:
    """Lists, gates, and what is taken back. A scan is a record of its own, so it leaves no entry."""
    ask, door = walk.ask, "/v1/shows/{show_id}/door"
    show = (await ask("POST /v1/shows", "show.created", SHOW))["id"]
    claim = {"seats": ["1", "2"], "confirm": True, "customer": {"email": "door@example.org"}}
    sold = (await ask("POST /v1/shows/{show_id}/bookings", None, claim, show_id=show))["id"]
    of = {"show_id": show}
    made = (await ask(f"POST {door}/lists", "list.created", {"name": "VIP"}, **of))["id"]
    await ask(f"PUT {door}/lists/{{list_id}}", "list.edited", {"name": "V I P"}, **of, list_id=made)
    gate = (await ask(f"POST {door}/gates", "gate.created", {"name": "North"}, **of))["id"]
    await ask(f"PUT {door}/gates/{{gate_id}}", "gate.edited", {"name": "South"}, **of, gate_id=gate)
    await ask(f"DELETE {door}/gates/{{gate_id}}", "gate.deleted", **of, gate_id=gate)
    await ask(f"DELETE {door}/lists/{{list_id}}", "list.deleted", **of, list_id=made)
    scan, upload = str(new_id()), {"id": str(new_id()), "code": "x", "at": "2026-11-20T19:00:00Z"}
    await ask(f"POST {door}/scans", None, {"id": scan, "booking_id": sold, "number": 1}, **of)
    await ask(
        f"POST {door}/bookings/{{booking_id}}/admit", None, {"id": str(new_id())}, **of, booking_id=sold
    )
    await ask(f"POST {door}/scans/upload", None, {"scans": [upload]}, **of)
    undo = f"POST {door}/scans/{{scan_id}}/undo"
    await ask(undo, "scan.undone", **of, scan_id=scan)
    await ask(undo, None, **of, scan_id=scan)
    acknowledge = f"POST {door}/conflicts/{{scan_id}}/acknowledge"
    await ask(acknowledge, "conflict.acknowledged", **of, scan_id=upload["id"])
    await ask(acknowledge, None, **of, scan_id=upload["id"])


async def _people(walk: Walk) -> None:
    ask = walk.ask
    member, house = new_id(), await accounts.first_owner(walk.db)
    assert house is not None
    await walk.db.execute("insert into people (person_id, email, password_hash) values ($1, 'm@example.org', '')", member)  # fmt: skip
    await walk.db.execute("insert into members (organizer_id, person_id, role) values ($1, $2, 'viewer')", house.organizer_id, member)  # fmt: skip
    await ask("PATCH /v1/members/{person_id}", "member.role_changed", {"role": "door"}, person_id=str(member))
    await ask("DELETE /v1/members/{person_id}", "member.removed", person_id=str(member))
    invited = {"email": "door@example.org", "role": "door"}
    invitation = (await ask("POST /v1/invitations", "member.invited", invited))["id"]
    await ask("DELETE /v1/invitations/{invitation_id}", "member.uninvited", invitation_id=invitation)
    key = (await ask("POST /v1/keys", "key.created", {"name": "Till", "scopes": ["blocks.write"]}))["id"]
    await ask("POST /v1/keys/{key_id}/rotate", "key.rotated", {"overlap_seconds": 60}, key_id=key)
    await ask("DELETE /v1/keys/{key_id}", "key.revoked", key_id=key)
    await ask("PATCH /v1/organizer", "organizer.edited", {"second_factor_required": False})
    framed = {"origins": ["https://www.example.org"]}
    await ask("PUT /v1/organizer/embed-origins", "organizer.framed", framed)
    await ask("PUT /v1/organizer/letters", "letters.edited", {"language": "de"})
    invoicing = {"legal_name": "Opera GmbH"}
    await ask("PUT /v1/organizer/invoicing", "organizer.invoicing", invoicing)


async def _webhooks(walk: Walk) -> None:
    ask = walk.ask
    # An address that no DNS has to be asked for.
    made = (await ask("POST /v1/webhooks", "webhook.created", {"url": "https://8.8.8.8/hooks"}))["id"]
    of, webhook = {"webhook_id": made}, "/v1/webhooks/{webhook_id}"
    await ask(f"PATCH {webhook}", "webhook.edited", {"description": "Till in town"}, **of)
    await ask(f"POST {webhook}/rotate", "webhook.rotated", {"overlap_seconds": 60}, **of)
    fact = (await ask(f"POST {webhook}/ping", "webhook.pinged", **of))["fact_id"]
    await ask(f"POST {webhook}/deliveries/{{fact_id}}/replay", "webhook.replayed", **of, fact_id=fact)
    await ask(f"POST {webhook}/replay", "webhook.replayed", {"since": "2026-01-01T00:00:00Z"}, **of)
    await ask(f"DELETE {webhook}", "webhook.deleted", **of)


async def _installation(walk: Walk) -> None:
    ask = walk.ask
    made = await ask("POST /v1/organizers", "organizer.created", {"name": "Opera", "owner_email": "o@example.org"})  # fmt: skip
    organizer = {"organizer_id": made.get("id", "")}
    await ask("PATCH /v1/organizers/{organizer_id}", "organizer.suspended", {"suspended": True}, **organizer)
    for route, action in (
        ("POST /v1/jobs/dead/{job_id}/replay", "job.replayed"),
        ("DELETE /v1/jobs/dead/{job_id}", "job.discarded"),
    ):
        job = new_id()
        await walk.db.execute(
            "insert into dead_letters (job_id, kind, payload, attempts, last_error, created_at)"
            " values ($1, 'follow:x', '{}', 1, 'x', now())", job
        )  # fmt: skip
        await ask(route, action, job_id=str(job))


async def _seeds(walk: Walk) -> None:
    ask = walk.ask
    wanted = {"name": "Avengers", "start_time": "2030-03-25T18:00:00Z", "total_seats": 10}
    first, second = [
        (await ask(route, "show.created", wanted))["show"]["id"]
        for route in ("POST /admin/show", "POST /api/admin/shows")
    ]
    await ask("POST /book", None, {"show_id": first, "seat_count": 1})
    claim = {"show_id": second, "user_email": "guest@example.org", "seat_numbers": [5]}
    made = (await ask("POST /api/bookings", None, claim))["booking_id"]
    await ask("POST /api/bookings/{booking_id}/confirm", "booking.confirmed", booking_id=made)
