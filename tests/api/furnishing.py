"""A house with one of everything, a neighbour with secrets, and a token of everybody who may ask for any of it.

For tests that walk all routes: what they send should find something.
"""

import io
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import httpx
from PIL import Image

from holdfast import accounts
from holdfast.accounts import Principal
from holdfast.engine import Engine
from holdfast.platform.ids import OrganizerId, PersonId, new_id
from tests.api.test_customers import token_of as customer_token
from tests.conftest import OWNER, client_of

# How a house comes by a thing that the API does not simply make: $1 is its id, $2 the organizer, $3 its owner.
MADE = {
    "session_id": """insert into sessions (session_id, person_id, organizer_id, kind, strong, secret_hashes, device,
                       address, expires_at)
                     values ($1, $3, $2, 'console', true, array[sha256($1::uuid::text::bytea)], 'd', 'a',
                       now() + interval '1 day')""",
    "invitation_id": """insert into invitations (invitation_id, organizer_id, email, role, token_hash, invited_by,
                          expires_at)
                        values ($1, $2, 'door@example.org', 'door', sha256($1::uuid::text::bytea), $3,
                          now() + interval '1 day')""",
    "key_id": """insert into api_keys (key_id, organizer_id, name, prefix, key_hash, scopes, created_by)
                 values ($1, $2, 'Till', 'hf_12345678', sha256($1::uuid::text::bytea), '{blocks.write}', $3::uuid::text)""",
    "payment_id": """insert into payments (show_id, payment_id, booking_id, organizer_id, provider, amount, currency,
                       expected_amount, expected_currency, description, return_url, expires_at)
                     select show_id, $1, booking_id, $2, 'sandbox', 5, 'EUR', 5, 'EUR', '', '', now()
                       from bookings where organizer_id = $2 and $3::uuid is not null limit 1""",
    "refund_id": """insert into refunds (show_id, refund_id, payment_id, booking_id, organizer_id, provider, amount, currency,
                      state, reason, release, created_by)
                    select show_id, $1, $1, booking_id, $2, 'sandbox', 5, 'EUR', 'FAILED', 'by_organizer', true, $3
                      from bookings where organizer_id = $2 limit 1""",
    # The same in each of its shows, for a path names both.
    "code_id": """insert into codes (show_id, code_id, organizer_id, code, code_key, discount_amount)
                  select show_id, $1, $2, 'EARLY', 'early', 100 from shows where organizer_id = $2 and $3::uuid is not null""",
    # Whichever of the two is made first: each webhook has each fact sent to it.
    "webhook_id": """with made as (
                       insert into webhooks (webhook_id, organizer_id, url, created_by)
                       values ($1, $2, 'https://hooks.example.org/', $3::uuid::text))
                     insert into webhook_deliveries (webhook_id, fact_id, organizer_id, kind, job_id)
                     select $1, fact_id, $2, kind, $1 from facts where organizer_id = $2""",
    "fact_id": """with made as (
                    insert into facts (organizer_id, fact_id, show_id, kind, at, payload, in_feed)
                    values ($2, $1, $3, 'show.created', '', '{}', true))
                  insert into webhook_deliveries (webhook_id, fact_id, organizer_id, kind, job_id)
                  select webhook_id, $1, $2, 'show.created', $1 from webhooks where organizer_id = $2""",
    "job_id": """insert into dead_letters (job_id, kind, payload, attempts, last_error, created_at)
                 values ($1, 'follow:x', jsonb_build_array($2::uuid, $3::uuid), 1, 'x', now())""",
}  # fmt: skip
# The invoice number 1 of the booking $1.
INVOICE = """insert into invoices (organizer_id, number, label, kind, show_id, booking_id, source_id, reference, show_name,
               starts_at, timezone, currency, total, lines, legal_name, address, tax_id, note, language)
             select organizer_id, 1, '1', 'invoice', show_id, booking_id, booking_id, reference, 'Hamlet', now(), 'UTC', 'EUR',
               5, '[{"quantity": 1, "face": 5, "fee": 0, "tax": 0, "tax_basis_points": 0}]', 'House', '', '', '', 'en'
               from bookings where booking_id = $1"""
# Of the key: no bookings.
SCOPES = ["shows.read_all", "venues.read", "blocks.write"]
YARD = {"name": "Yard", "kind": "standing", "capacity": 700}


@dataclass(frozen=True)
class Neighbour:
    """Another organizer, which has shown nothing to the public yet."""

    organizer_id: str
    name: str
    show_id: str
    show_name: str
    venue_name: str


@dataclass(frozen=True)
class Furnished:
    """`ids` by the names that paths give them; `tokens` by whose they are: owner (of the installation, too), viewer,
    key (of few scopes), buyer (the secret of the booking), customer (whose the booking is), leaving (another customer).
    """

    ids: dict[str, str]
    tokens: dict[str, str]
    customer_email: str
    neighbour: Neighbour


async def made(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    """What a POST made."""
    answer = await client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def furnish(engine: Engine) -> Furnished:
    """Furnishes an empty database. The show has the seats 1 to 50, of which 1 is booked and confirmed, and 2 blocked."""
    async with engine.db.transaction() as tx:
        member = await accounts.create_owner(tx, organizer_name="House", email=OWNER[0], password=OWNER[1])
    assert member is not None
    house, email = member.organizer_id, f"grace.{uuid4().hex}@example.org"
    tokens = {
        "owner": token_of(engine, member.principal),
        "viewer": token_of(engine, Principal(PersonId(new_id()), house, "viewer")),
    }
    async with client_of(engine) as visitor:
        tokens["customer"] = await customer_token(engine, visitor, email)
        tokens["leaving"] = await customer_token(engine, visitor, "leaving@example.org")
    async with client_of(engine, Authorization=f"Bearer {tokens['owner']}") as owner:
        show = await made(
            owner, "/v1/shows", name="Hamlet", start_time="2030-12-24T20:00:00Z", total_seats=50
        )
        venue = await made(owner, "/v1/venues", name="Globe", timezone="Europe/London")
        in_show, in_venue = f"/v1/shows/{show['id']}", f"/v1/venues/{venue['id']}"
        customer = {"email": email, "name": "Grace"}
        booking = await made(owner, f"{in_show}/bookings", seats=["1"], confirm=True, customer=customer)
        block = await made(owner, f"{in_show}/blocks", seats=["2"], reason="House seats")
        layout = await made(owner, f"{in_venue}/layouts", name="Stage", areas=[YARD])
        key = await made(owner, "/v1/keys", name="Till", scopes=SCOPES)
        gates = await made(owner, f"{in_show}/door/gates", name="North")
        lists = await made(owner, f"{in_show}/door/lists", name="VIP")
        scan = {"id": str(new_id()), "code": "x", "at": "2026-11-20T19:00:00Z"}
        assert (await owner.post(f"{in_show}/door/scans/upload", json={"scans": [scan]})).is_success
        tokens |= {"buyer": booking["secret"], "key": key["key"]}
        ids = {
            "show_id": show["id"],
            "venue_id": venue["id"],
            "layout_id": layout["id"],
            "booking_id": booking["id"],
            # Of the ticket of that booking, and of its invoice.
            "number": "1",
            "gate_id": gates["id"],
            "list_id": lists["id"],
            # In conflict, for nobody has such a code.
            "scan_id": scan["id"],
            "block_id": block["id"],
            "picture_id": await _picture(owner, in_show),
            "person_id": await _colleague(engine, house),
        }
    for name, statement in MADE.items():
        ids[name] = str(new_id())
        await engine.db.execute(statement, UUID(ids[name]), house, member.person_id)
    await engine.db.execute(INVOICE, UUID(ids["booking_id"]))
    neighbour = await _neighbour(engine)
    return Furnished({**ids, "organizer_id": neighbour.organizer_id}, tokens, email, neighbour)


def token_of(engine: Engine, principal: Principal) -> str:
    """An access token of no session, so that nothing that is sent can end it."""
    return engine.access.tokens.issue(principal).text


async def _colleague(engine: Engine, organizer_id: OrganizerId) -> str:
    """Somebody at the door, whom the owner may make something else, or send away."""
    person_id = new_id()
    await engine.db.execute(
        "insert into people (person_id, email, password_hash) values ($1, 'keeper@example.org', 'none')",
        person_id,
    )
    await engine.db.execute(
        "insert into members (organizer_id, person_id, role) values ($1, $2, 'door')", organizer_id, person_id
    )
    return str(person_id)


async def _picture(owner: httpx.AsyncClient, in_show: str) -> str:
    """The picture of the show."""
    contents = io.BytesIO()
    Image.new("RGB", (40, 20), "red").save(contents, "PNG")
    answer = await owner.put(f"{in_show}/picture", content=contents.getvalue())
    assert answer.status_code == 200, answer.text
    picture_id: str = answer.json()["id"]
    return picture_id


async def _neighbour(engine: Engine) -> Neighbour:
    secret = uuid4().hex
    organizer_id = OrganizerId(new_id())
    found = Neighbour(str(organizer_id), f"Rivals {secret}", "", f"Premiere {secret}", f"Cellar {secret}")
    await engine.db.execute(
        "insert into organizers (organizer_id, name) values ($1, $2)", organizer_id, found.name
    )
    token = token_of(engine, Principal(PersonId(new_id()), organizer_id, "owner"))
    async with client_of(engine, Authorization=f"Bearer {token}") as owner:
        await made(owner, "/v1/venues", name=found.venue_name, timezone="Europe/London")
        show = await made(
            owner,
            "/v1/shows",
            name=found.show_name,
            start_time="2030-12-24T20:00:00Z",
            total_seats=9,
            status="draft",
        )
    return replace(found, show_id=show["id"])
