"""Tickets over HTTP: for the buyer, for whoever was given one, and for staff."""

import asyncio
import re
from base64 import urlsafe_b64decode
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import httpx
import icalendar
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from PIL import Image

from holdfast import booking, facts, tickets
from holdfast.engine import Engine, work
from holdfast.platform.ids import BookingId, ShowId, new_id
from holdfast.tickets import codes
from tests.api.people import another_house, signed_in
from tests.conftest import eventually

pytestmark = pytest.mark.anyio

AREAS = [
    {"name": "Stalls", "kind": "seated", "rows": [{"label": "A", "seats": 9}, {"label": "B", "seats": 9}]},
    {"name": "Floor", "kind": "standing", "capacity": 20_000},
]
TIERS = [{"name": "Guests", "area": "Stalls", "amount": 0}]


class Bought:
    """A confirmed booking, as its buyer has it."""

    def __init__(self, client: httpx.AsyncClient, booking: dict[str, Any]) -> None:
        self.client = client
        self.booking = booking
        self.url = f"/v1/shows/{booking['show_id']}/bookings/{booking['id']}"
        self.secret = booking["secret"]

    async def call(
        self, method: str, path: str, secret: str | None = None, json: Any = None
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret or self.secret}"}
        return await self.client.request(method, self.url + path, headers=headers, json=json)

    async def tickets(self) -> list[dict[str, Any]]:
        answer = await self.call("GET", "/tickets")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["tickets"]
        return found

    async def give(self, number: int, secret: str | None = None, **to: Any) -> httpx.Response:
        return await self.call("POST", f"/tickets/{number}/transfer", secret, {"name": "Ada", **to})


@pytest.fixture
def buy(client: httpx.AsyncClient, a_show: Any) -> Any:
    """Books and confirms at once; by default two seats of a show of their own."""

    async def bought(show: dict[str, Any] | None = None, **claim: Any) -> Bought:
        show = show or await a_show(areas=AREAS, tiers=TIERS, timezone="Europe/Vienna")
        wish = claim or {"seats": ["A-3", "A-4"], "tier": "Guests"}
        body = {"confirm": True, "customer": {"name": "Guest", "email": "guest@example.org"}, **wish}
        answer = await client.post(f"/v1/shows/{show['id']}/bookings", json=body)
        assert answer.status_code == 201, answer.text
        return Bought(client, answer.json())

    return bought


async def test_each_place_of_a_confirmed_booking_has_a_ticket(buy: Any) -> None:
    mine = await buy()
    first, second = await mine.tickets()
    code = first.pop("code")
    assert first == {
        "number": 1,
        "label": f"{mine.booking['reference']}-1",
        "area": "Stalls",
        "seat": "A-3",
        "tier": "Guests",
        "holder": "Guest",
        "state": "valid",
        "serial": 0,
        "gates": [],
    }
    assert (second["number"], second["seat"]) == (2, "A-4")
    assert code != second["code"]
    answer = await mine.call("GET", "/tickets/2")
    assert answer.json() == second
    assert answer.headers["cache-control"] == "private, no-store"


async def test_a_hold_has_no_tickets_and_gets_them_with_its_confirmation(
    client: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show()
    held = (await client.post(f"/v1/shows/{show['id']}/bookings", json={"seats": ["3"]})).json()
    mine = Bought(client, held)
    for path in ("/tickets", "/tickets.pdf", "/calendar.ics", "/tickets/1", "/tickets/1/qr.svg"):
        refused = await mine.call("GET", path)
        assert (refused.status_code, refused.json()["code"]) == (409, "not_sold_yet")
    assert (await mine.call("POST", "/confirm")).status_code == 200
    assert [each["state"] for each in await mine.tickets()] == ["valid"]


async def test_a_queued_claim_has_tickets_once_it_had_its_turn(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    queued = await client.post(
        f"/v1/shows/{show['id']}/bookings",
        json={"seats": ["3", "4"], "confirm": True},
        headers={"Prefer": "respond-async"},
    )
    assert queued.status_code == 202, queued.text
    mine = Bought(client, queued.json())
    refused = await mine.call("GET", "/tickets")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_sold_yet")
    assert await booking.decide_queued(engine.office) == 1
    assert [(each["seat"], each["state"]) for each in await mine.tickets()] == [
        ("3", "valid"),
        ("4", "valid"),
    ]


@pytest.mark.parametrize("strategy", ["row_lock", "optimistic"])
async def test_tickets_are_there_whatever_the_strategy(strategy: str, a_show: Any, open_another: Any) -> None:
    show = ShowId(UUID((await a_show())["id"]))
    async with open_another(strategy=strategy) as other:
        claimed = await booking.claim(
            other.office, show, booking.ClaimRequest(seats=["1", "2"], confirm=True), booking.Asker()
        )
        found = await tickets.tickets_of(other.db, booking.sale_of(claimed.booking))
    assert [(each.number, each.state) for each in found] == [(1, "valid"), (2, "valid")]


async def test_a_door_reads_the_code_with_the_public_keys(buy: Any, client: httpx.AsyncClient) -> None:
    mine = await buy()
    answer = await client.get(f"/v1/shows/{mine.booking['show_id']}/ticket-keys")
    keys = {
        key["kid"]: Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(key["x"] + "=="))
        for key in answer.json()["keys"]
    }
    said = codes.read((await mine.tickets())[1]["code"], keys)
    assert (str(said.show_id), str(said.booking_id), said.number, said.serial) == (
        mine.booking["show_id"],
        mine.booking["id"],
        2,
        0,
    )
    unknown = await client.get(f"/v1/shows/{new_id()}/ticket-keys")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "show_not_found")


async def test_a_cancelled_booking_has_void_tickets(buy: Any) -> None:
    mine = await buy()
    before = (await mine.tickets())[0]["code"]
    assert (await mine.call("POST", "/cancel")).status_code == 200
    assert [(each["state"], each["code"]) for each in await mine.tickets()] == [("void", None)] * 2
    for path in ("/tickets.pdf", "/tickets/1/ticket.pdf", "/tickets/1/qr.svg", "/tickets/1/qr.png"):
        refused = await mine.call("GET", path)
        assert (refused.status_code, refused.json()["code"]) == (409, "ticket_void")
    refused = await mine.give(1)
    assert (refused.status_code, refused.json()["reason"]) == (409, "void")
    refused = await mine.call("PATCH", "/tickets/1", json={"holder": "Ada"})
    assert (refused.status_code, refused.json()["code"]) == (409, "ticket_void")
    assert before is not None


async def test_pictures_of_the_code(buy: Any) -> None:
    mine = await buy()
    svg = await mine.call("GET", "/tickets/1/qr.svg")
    assert svg.headers["content-type"] == "image/svg+xml"
    assert b"<svg" in svg.content
    assert b"<script" not in svg.content
    png = await mine.call("GET", "/tickets/1/qr.png")
    assert png.headers["content-type"] == "image/png"
    assert Image.open(BytesIO(png.content)).size == (530, 530)


async def test_a_pdf_has_a_page_for_each_ticket(buy: Any) -> None:
    mine = await buy()
    both = await mine.call("GET", "/tickets.pdf")
    one = await mine.call("GET", "/tickets/2/ticket.pdf")
    for answer, pages in ((both, 2), (one, 1)):
        assert answer.headers["content-type"] == "application/pdf"
        assert answer.content.startswith(b"%PDF")
        assert _pages(answer.content) == pages
    reference = mine.booking["reference"]
    assert both.headers["content-disposition"] == f'inline; filename="{reference}.pdf"'
    assert one.headers["content-disposition"] == f'inline; filename="{reference}-2.pdf"'


async def test_no_name_is_markup(client: httpx.AsyncClient, a_show: Any, buy: Any) -> None:
    """Names that would stop, empty or enlarge the document if they were read as Typst or as JSON."""
    name = '#panic("x") ] } #{ $x$ `y` <l> @m /* // \\ #pagebreak() " #read("/etc/passwd")'
    areas = [{"name": '#pagebreak() ] "', "kind": "standing", "capacity": 9}]
    show = await a_show(name=name, areas=areas)
    mine = await buy(
        show, quantity=1, customer={"name": "#pagebreak() W" + "W" * 240, "email": "g@example.org"}
    )
    answer = await mine.call("GET", "/tickets.pdf")
    assert answer.status_code == 200, answer.text
    assert _pages(answer.content) == 1
    calendar = await mine.call("GET", "/calendar.ics")
    [event] = icalendar.Calendar.from_ical(calendar.text).walk("VEVENT")
    assert event["summary"] == name


async def test_many_tickets_come_by_pages(buy: Any, a_show: Any) -> None:
    show = await a_show(areas=AREAS, max_places_per_booking=10_000)
    mine = await buy(show, quantity=10_000, area="Floor")
    page = (await mine.call("GET", "/tickets?limit=2&after=9997")).json()
    assert ([each["number"] for each in page["tickets"]], page["next"]) == ([9998, 9999], 9999)
    page = (await mine.call("GET", f"/tickets?limit=2&after={page['next']}")).json()
    assert ([each["number"] for each in page["tickets"]], page["next"]) == ([10_000], None)
    assert _pages((await mine.call("GET", "/tickets.pdf?limit=3&after=9998")).content) == 2
    assert (await mine.call("GET", "/tickets?limit=101")).status_code == 400


async def test_the_calendar_follows_what_changes(buy: Any, owner: httpx.AsyncClient) -> None:
    mine = await buy()

    async def read() -> tuple[str, int, str, str]:
        answer = await mine.call("GET", "/calendar.ics")
        assert answer.headers["content-type"].startswith("text/calendar")
        [event] = icalendar.Calendar.from_ical(answer.text).walk("VEVENT")
        start = re.search(r"DTSTART;TZID=(\S+)", answer.text)
        assert start
        return str(event["uid"]), int(str(event["sequence"])), str(event["status"]), start[1]

    uid, sequence, status, start = await read()
    assert (status, start) == ("CONFIRMED", "Europe/Vienna:20301224T200000")
    show = f"/v1/shows/{mine.booking['show_id']}"
    moved = await owner.patch(show, json={"start_time": "2030-07-01T20:00:00+02:00", "status": "postponed"})
    assert moved.status_code == 200, moved.text
    assert (later := await read())[::3] == (uid, "Europe/Vienna:20300701T200000")
    assert later[1] > sequence
    assert later[2] == "TENTATIVE"
    assert (await mine.call("POST", "/cancel")).status_code == 200
    ended = await read()
    assert (ended[0], ended[2]) == (uid, "CANCELLED")
    assert ended[1] > later[1]


async def test_a_ticket_is_given_to_somebody_else(buy: Any, engine: Engine) -> None:
    mine = await buy()
    old = (await mine.tickets())[0]["code"]
    given = await mine.give(1)
    assert given.status_code == 200, given.text
    answer = given.json()
    secret = answer.pop("secret")
    assert answer == (await mine.tickets())[0]
    assert (answer["state"], answer["code"], answer["holder"]) == ("transferred", None, None)
    assert [each["state"] for each in await mine.tickets()] == ["transferred", "valid"]

    theirs = (await mine.call("GET", "/tickets/1", secret)).json()
    assert (theirs["state"], theirs["holder"], theirs["serial"], theirs["seat"]) == ("valid", "Ada", 1, "A-3")
    sale = booking.sale_of(
        await booking.booking_by_id(engine.db, ShowId(_id(mine, "show_id")), BookingId(_id(mine, "id")))
    )
    ticket = await tickets.ticket(engine.db, sale, 1)
    assert ticket.refuses(engine.codes.read(old)) == "superseded"
    assert ticket.refuses(engine.codes.read(theirs["code"])) is None
    for path in ("/tickets/1/qr.svg", "/tickets/1/qr.png", "/tickets/1/ticket.pdf"):
        assert (await mine.call("GET", path, secret)).status_code == 200
        refused = await mine.call("GET", path)
        assert (refused.status_code, refused.json()["code"]) == (404, "ticket_not_found")
    assert _pages((await mine.call("GET", "/tickets.pdf")).content) == 1


async def test_whoever_was_given_a_ticket_has_nothing_else(buy: Any) -> None:
    mine = await buy()
    secret = (await mine.give(1)).json()["secret"]
    for method, path in [
        ("GET", ""),
        ("GET", "/tickets"),
        ("GET", "/tickets.pdf"),
        ("GET", "/calendar.ics"),
        ("POST", "/cancel"),
        ("GET", "/tickets/2"),
        ("GET", "/tickets/3"),
        ("GET", "/tickets/2/qr.svg"),
        ("POST", "/tickets/2/transfer"),
        ("PATCH", "/tickets/2"),
    ]:
        body = {"name": "Bob"} if method == "POST" and "transfer" in path else None
        body = {"holder": "Bob"} if method == "PATCH" else body
        refused = await mine.call(method, path, secret, body)
        assert (refused.status_code, refused.json()["code"]) == (404, "booking_not_found"), path


async def test_a_ticket_is_given_on_and_the_right_goes_with_it(buy: Any) -> None:
    mine = await buy()
    first = (await mine.give(1)).json()["secret"]
    second = (await mine.give(1, first, name="Bob")).json()["secret"]
    assert first != second
    refused = await mine.call("GET", "/tickets/1", first)
    assert (refused.status_code, refused.json()["code"]) == (404, "booking_not_found")
    theirs = (await mine.call("GET", "/tickets/1", second)).json()
    assert (theirs["holder"], theirs["serial"]) == ("Bob", 2)
    refused = await mine.give(1, first, name="Cleo")
    assert (refused.status_code, refused.json()["reason"]) == (409, "transferred")
    refused = await mine.give(1, name="Cleo")
    assert (refused.status_code, refused.json()["reason"]) == (409, "transferred")


async def test_a_transfer_asked_for_again_is_answered_again(buy: Any, engine: Engine) -> None:
    mine = await buy()
    answers = [(await mine.give(1)).json() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    second = [(await mine.give(1, answers[0]["secret"], name="Bob")).json() for _ in range(2)]
    assert second[0] == second[1]
    assert second[0]["serial"] == 2
    told = await engine.db.value("select count(*) from outbox where kind = $1", facts.TICKET_TRANSFERRED)
    assert told == 2


async def letters_to(engine: Engine, address: str) -> list[str]:
    """The letters that wait for an address, as they are sealed."""
    rows = await engine.db.rows("select letter_id, sealed from letters")
    letters = [
        engine.secrets.unseal("letter", row["sealed"], row["letter_id"].bytes).decode() for row in rows
    ]
    return [letter for letter in letters if f'"to":"{address}"' in letter]


async def test_with_an_address_the_right_goes_by_letter_alone(buy: Any, engine: Engine, worked: Any) -> None:
    mine = await buy()
    given = await mine.give(2, email="ada@example.org")
    assert "secret" not in given.json()
    await worked("follow:letters")
    [letter] = await letters_to(engine, "ada@example.org")
    found = re.search(rf"{re.escape(mine.url.removeprefix('/v1'))}/tickets/2#secret=(\S+?)\\n", letter)
    assert found
    assert (await mine.call("GET", "/tickets/2", found[1])).json()["holder"] == "Ada"
    assert (await mine.give(2, email="ada@example.org")).json() == given.json()
    await worked("follow:letters")
    assert len(await letters_to(engine, "ada@example.org")) == 1
    for wrong in ("nobody", "a@b@c", "a b@example.org"):
        refused = await mine.give(1, email=wrong)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid")


async def test_no_ticket_is_given_away_once_the_show_has_begun_or_was_cancelled(
    buy: Any, a_show: Any, owner: httpx.AsyncClient
) -> None:
    mine = await buy()
    show = f"/v1/shows/{mine.booking['show_id']}"
    await owner.patch(show, json={"start_time": "2020-01-01T20:00:00Z"})
    refused = await mine.give(1)
    assert (refused.status_code, refused.json()["reason"]) == (409, "show_began")
    await owner.patch(show, json={"start_time": "2030-01-01T20:00:00Z", "status": "cancelled"})
    refused = await mine.give(1)
    assert (refused.status_code, refused.json()["reason"]) == (409, "show_cancelled")


async def test_an_organizer_may_keep_tickets_with_their_buyers(
    buy: Any, a_show: Any, owner: httpx.AsyncClient
) -> None:
    mine = await buy(await a_show(transfers="refuse"), seats=["1", "2"])
    refused = await mine.give(1)
    assert (refused.status_code, refused.json()["reason"]) == (409, "refused_by_organizer")
    assert (await owner.post(f"{mine.url}/tickets/1/transfer", json={"name": "Ada"})).status_code == 200
    edited = await owner.patch(f"/v1/shows/{mine.booking['show_id']}", json={"transfers": "allow"})
    assert edited.json()["transfers"] == "allow"
    assert (await mine.give(2)).status_code == 200


async def test_another_name_is_put_on_a_ticket(buy: Any) -> None:
    mine = await buy()
    code = (await mine.tickets())[0]["code"]
    renamed = await mine.call("PATCH", "/tickets/1", json={"holder": "Zoë"})
    assert (renamed.json()["holder"], renamed.json()["code"]) == ("Zoë", code)
    secret = (await mine.give(1)).json()["secret"]
    refused = await mine.call("PATCH", "/tickets/1", json={"holder": "Mallory"})
    assert (refused.status_code, refused.json()["code"]) == (404, "ticket_not_found")
    renamed = await mine.call("PATCH", "/tickets/1", secret, {"holder": "Ada L."})
    assert renamed.json()["holder"] == "Ada L."
    for bad in ("", " x", "a\nb", "x" * 256):
        refused = await mine.call("PATCH", "/tickets/1", secret, {"holder": bad})
        assert refused.status_code == 400


async def test_what_is_under_way_to_be_refunded_admits_nobody(buy: Any, engine: Engine) -> None:
    mine = await buy()
    found = await booking.booking_by_id(engine.db, ShowId(_id(mine, "show_id")), BookingId(_id(mine, "id")))
    async with engine.db.transaction() as tx:
        await tickets.suspend(tx, booking.sale_of(found), [1])
    assert [(each["state"], each["code"] is None) for each in await mine.tickets()] == [
        ("suspended", True),
        ("valid", False),
    ]
    assert _pages((await mine.call("GET", "/tickets.pdf")).content) == 1
    refused = await mine.give(1)
    assert (refused.status_code, refused.json()["reason"]) == (409, "suspended")


async def test_staff_see_and_do_what_the_buyer_does(
    buy: Any, engine: Engine, owner: httpx.AsyncClient
) -> None:
    mine = await buy()
    await mine.give(1)
    found = (await owner.get(f"{mine.url}/tickets")).json()["tickets"]
    assert [(each["state"], each["holder"]) for each in found] == [("valid", "Ada"), ("valid", "Guest")]
    assert _pages((await owner.get(f"{mine.url}/tickets.pdf")).content) == 2
    assert (await owner.get(f"{mine.url}/calendar.ics")).status_code == 200
    renamed = await owner.patch(f"{mine.url}/tickets/1", json={"holder": "Ada L."})
    assert renamed.status_code == 200, renamed.text
    given = await owner.post(f"{mine.url}/tickets/1/transfer", json={"name": "Bob", "email": "b@example.org"})
    assert given.status_code == 200, given.text
    assert given.json()["serial"] == 2
    async with signed_in(engine, "viewer") as viewer:
        assert (await viewer.get(f"{mine.url}/tickets")).status_code == 200
        assert (await viewer.patch(f"{mine.url}/tickets/1", json={"holder": "X"})).status_code == 403
        assert (await viewer.post(f"{mine.url}/tickets/1/transfer", json={"name": "X"})).status_code == 403
    async with signed_in(engine, "door") as door:
        assert (await door.get(f"{mine.url}/tickets")).status_code == 403
    audited = await engine.db.rows("select action, actor_kind, before, after from audit order by at")
    assert [(row["action"], row["actor_kind"]) for row in audited if row["action"].startswith("ticket.")] == [
        ("ticket.transferred", "buyer"),
        ("ticket.renamed", "person"),
        ("ticket.transferred", "person"),
    ]


async def test_strangers_hear_that_there_is_no_such_booking(buy: Any, engine: Engine) -> None:
    mine, other = await buy(), await buy()
    paths = ["/tickets", "/tickets.pdf", "/calendar.ics", "/tickets/1", "/tickets/9", "/tickets/1/qr.svg"]
    for path in paths:
        for secret in (other.secret, "x" * 29, str(uuid4())):
            refused = await mine.call("GET", path, secret)
            assert (refused.status_code, refused.json()["code"]) == (404, "booking_not_found")
        assert (await mine.client.get(mine.url + path)).status_code == 404
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        for path in paths:
            refused = await stranger.get(mine.url + path)
            assert (refused.status_code, refused.json()["code"]) == (404, "booking_not_found")


async def test_lost_tickets_are_found_by_letter(
    buy: Any, a_show: Any, client: httpx.AsyncClient, engine: Engine, owner: httpx.AsyncClient, worked: Any
) -> None:
    mine = await buy()
    theirs = await buy()
    given = await theirs.give(2, email="GUEST2@example.org")
    past = await buy(await a_show(), seats=["1"])
    await owner.patch(f"/v1/shows/{past.booking['show_id']}", json={"start_time": "2020-01-01T20:00:00Z"})
    cancelled = await buy(await a_show(), seats=["1"])
    await cancelled.call("POST", "/cancel")
    await engine.db.execute("delete from letters")
    assert given.status_code == 200

    answers = {}
    for email in ("Guest@Example.org", "guest2@example.org", "nobody@example.org"):
        answer = await client.post("/v1/bookings/find", json={"email": email})
        answers[email] = answer.status_code, answer.content, sorted(answer.headers)
    assert len({str(each) for each in answers.values()}) == 1
    assert answers["nobody@example.org"][0] == 202
    jobs = await engine.db.rows("select payload from jobs where kind = $1", booking.FIND)
    assert "guest" not in str([row["payload"] for row in jobs]).lower()

    await worked(booking.FIND)
    every = sorted(
        engine.secrets.unseal("letter", row["sealed"], row["letter_id"].bytes).decode()
        for row in await engine.db.rows("select letter_id, sealed from letters")
    )
    # Beside those about the bookings themselves.
    letters = [each for each in every if '"subject":"Your tickets"' in each]
    assert len(letters) == 2
    links = [re.findall(r"(/shows/\S+?)#secret=(\S+?)\\n", letter) for letter in letters]
    found = dict(links[0] + links[1])
    assert found.keys() == {
        mine.url.removeprefix("/v1"),
        theirs.url.removeprefix("/v1"),
        theirs.url.removeprefix("/v1") + "/tickets/2",
    }
    assert found[mine.url.removeprefix("/v1")] == mine.secret
    secret = found[theirs.url.removeprefix("/v1") + "/tickets/2"]
    assert (await theirs.call("GET", "/tickets/2", secret)).json()["state"] == "valid"


async def test_whoever_was_given_a_ticket_is_told_and_erased(
    buy: Any, engine: Engine, owner: httpx.AsyncClient, worked: Any
) -> None:
    mine, ended = await buy(), await buy()
    await mine.give(1, name="Ada Lovelace", email="ada@example.org")
    await ended.give(2, name="Bob", email="bob@example.org")
    told = (await owner.post("/v1/privacy/export", json={"email": "ADA@example.org"})).json()["tickets"]
    assert told == [
        {
            "show_id": mine.booking["show_id"],
            "booking_id": mine.booking["id"],
            "number": 1,
            "holder": "Ada Lovelace",
            "state": "valid",
        }
    ]
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        other = await stranger.post("/v1/privacy/export", json={"email": "ada@example.org"})
        assert other.json()["tickets"] == []
        assert (
            await stranger.post("/v1/privacy/erase", json={"email": "ada@example.org"})
        ).status_code == 202
    await worked(booking.ERASE)
    assert await _names(engine) == {("Ada Lovelace", "ada@example.org"), ("Bob", "bob@example.org")}
    assert (await owner.post("/v1/privacy/erase", json={"email": "ada@example.org"})).status_code == 202
    # With the buyer go the names that the buyer put on tickets.
    await ended.call("POST", "/cancel")
    await mine.call("POST", "/cancel")
    assert (await owner.post("/v1/privacy/erase", json={"email": "guest@example.org"})).status_code == 202
    await worked(booking.ERASE)
    assert await _names(engine) == {(None, None)}


async def test_names_on_tickets_are_forgotten_with_the_buyers_of_their_show(
    buy: Any, engine: Engine, owner: httpx.AsyncClient
) -> None:
    mine = await buy()
    await mine.give(1, name="Ada Lovelace", email="ada@example.org")
    await mine.call("PATCH", "/tickets/2", json={"holder": "Bob"})
    await owner.put("/v1/privacy/retention", json={"retention_days": 7})
    await owner.patch(
        f"/v1/shows/{mine.booking['show_id']}", json={"start_time": "2020-01-01T20:00:00+01:00"}
    )
    assert await booking.forget_due(engine.office) == 1
    assert await _names(engine) == {(None, None)}


async def _names(engine: Engine) -> set[tuple[str | None, str | None]]:
    rows = await engine.db.rows("select holder, email from tickets")
    return {(row["holder"], row["email"]) for row in rows}


@pytest.fixture
def worked(engine: Engine) -> Any:
    """Runs the worker until no job of a kind is left."""

    async def until_done(kind: str) -> None:
        stopping = asyncio.Event()
        running = asyncio.create_task(work(engine, stopping))

        async def done() -> bool:
            facts_left = await engine.db.value("select count(*) from outbox")
            jobs_left = await engine.db.value("select count(*) from jobs where kind = $1", kind)
            return bool(facts_left + jobs_left == 0)

        try:
            await eventually(done)
        finally:
            stopping.set()
            await running

    return until_done


def _pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def _id(mine: Bought, name: str) -> Any:
    return UUID(mine.booking[name])
