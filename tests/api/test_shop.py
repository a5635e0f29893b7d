"""The shop without a script: forms are followed as a browser would, from what is on to the tickets in hand."""

import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import msgspec
import pytest
from PIL import Image

from holdfast import booking, tickets
from holdfast.engine import Engine
from holdfast.platform.ids import BookingId, ShowId
from holdfast.platform.settings import Settings
from holdfast.web.shop import look
from holdfast.web.shop.told import TOLD
from tests.api.browsing import Browser, Page
from tests.architecture.tree import ROOT
from tests.conftest import client_of

pytestmark = pytest.mark.anyio

FIRST_VIEW_BYTES_MAX = 100_000
HOSTILE = """Hamlet</script><script>alert("1")</script>'"&{{7*7}}"""
HALL: dict[str, Any] = {
    "areas": [
        {
            "name": "Stalls",
            "kind": "seated",
            "rows": [{"label": "A", "seats": 6}, {"label": "B", "seats": 6}],
        },
        {"name": "Floor", "kind": "standing", "capacity": 50},
    ],
    "tiers": [
        {"area": "Stalls", "name": "Adult", "amount": 4550},
        {"area": "Stalls", "name": "Child", "amount": 2000},
        {"area": "Floor", "name": "Standing", "amount": 1500},
    ],
}
GRACE = {"email": "grace@example.org", "name": "Grace"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, payments="sandbox")


@pytest.fixture
def browser(client: httpx.AsyncClient) -> Browser:
    return Browser(client)


def sound(page: Page, status: int = 200) -> Page:
    """The page, once it is seen to ask nobody else for anything, and to have a policy that would not let it."""
    assert page.status == status, page.text[:500]
    assert page.faults == []
    assert [each for each in page.loads if not each.startswith(("/", "data:"))] == []
    policy = page.answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe" not in policy
    assert page.headings, "a page without a heading"
    return page


async def chosen(
    browser: Browser, show: dict[str, Any], quantity: str = "2", offer: str | None = "2-3"
) -> Page:
    """The page after places were taken by the plain form."""
    form = sound(await browser.go(f"/shows/{show['id']}")).form("/claim").fill(quantity=quantity)
    if offer is not None:
        form.fill(offer=offer)
    return await browser.send(form)


async def at_paying(browser: Browser, show: dict[str, Any]) -> Page:
    """The page before paying."""
    details = sound(await chosen(browser, show))
    return sound(await browser.send(details.form("/details").fill(**GRACE)))


async def test_from_what_is_on_to_the_tickets_in_hand(
    client: httpx.AsyncClient, browser: Browser, a_show: Any
) -> None:
    await a_show(name="Twelfth Night")
    show = await a_show(**HALL)
    on = sound(await browser.go("/"))
    assert "from €15.00" in on.text
    page = sound(await browser.go(on.links["Hamlet"]))
    assert "Tuesday, 24 December 2030, 20:00 (Central European Standard Time)" not in page.text
    assert "24 December 2030" in page.text
    details = sound(await chosen(browser, show))
    assert details.headings == ["Who books?"]
    assert "Total €30.00" in details.text
    paying = sound(await browser.send(details.form("/details").fill(**GRACE)))
    assert "grace@example.org" in paying.text
    sandbox = await browser.send(paying.form("/pay"))
    assert sandbox.address.startswith("/sandbox/pay/")
    booked = sound(await browser.send(sandbox.forms[0].fill(outcome="pay")))
    assert booked.headings == ["Your tickets"]
    assert "You are in. The tickets are sent to grace@example.org" in booked.text
    squares = [each for each in booked.loads if each.endswith("qr.svg")]
    assert len(squares) == 2
    for path, media in (
        (squares[0], "image/svg+xml"),
        (urlsplit(booked.links["Print (PDF)"]).path, "application/pdf"),
        (urlsplit(booked.links["Add to calendar"]).path, "text/calendar; charset=utf-8"),
    ):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, media)
        assert answer.headers["cache-control"] == "private, no-store"
    assert "We have sent the letter once more" in sound(await browser.send(booked.form("/resend"))).text


async def test_a_ticket_is_renamed_and_given_away(browser: Browser, a_show: Any, engine: Engine) -> None:
    show = await a_show()
    details = await chosen(browser, show, offer=None)
    booked = await browser.send((await browser.send(details.form("/details").fill(**GRACE))).form("/confirm"))
    one = sound(await browser.go(f"{booked.address}/tickets/1"))
    renamed = sound(await browser.send(one.form("/name").fill(name="Ada <i>")))
    assert "Ada <i>" in renamed.text
    wrong = sound(await browser.send(renamed.form("/transfer").fill(name="Bob", email="nobody")), 400)
    assert "Something in the form needs another look." in wrong.text
    given = sound(await browser.send(wrong.form("/transfer").fill(email="bob@example.org")))
    assert "bob@example.org" in given.text
    after = sound(await browser.go(booked.address))
    assert "Given to somebody else" in after.text
    assert len([each for each in after.loads if each.endswith("qr.svg")]) == 1
    # Whoever was given it has a link to it alone, which works without a script as well.
    coded = {"show_id": show["id"], "booking_id": booked.address.rpartition("/")[2]}
    secret = await _ticket_secret(engine, **coded)
    async with client_of(engine) as other:
        theirs = Browser(other)
        unknown = sound(await theirs.go(f"{booked.address}/tickets/1"), 404)
        link = f"http://holdfast.test{booked.address}/tickets/1#secret={secret}"
        opened = sound(await theirs.send(unknown.form("/open").fill(secret=link)))
        assert "Bob" in opened.text
        assert (await other.get(f"{booked.address}/tickets/1/qr.svg")).status_code == 200
        assert (await other.get(f"{booked.address}/tickets/2/qr.svg")).status_code == 404


async def _ticket_secret(engine: Engine, show_id: str, booking_id: str) -> str:
    found = await booking.booking_by_id(engine.db, ShowId(UUID(show_id)), BookingId(UUID(booking_id)))
    ticket = await tickets.ticket(engine.db, booking.sale_of(found), 1)
    return engine.ticket_secret(ticket.coded)


async def test_what_is_free_is_confirmed_and_cancelled(browser: Browser, a_show: Any) -> None:
    details = await chosen(browser, await a_show(), offer=None)
    check = sound(await browser.send(details.form("/details").fill(**GRACE)))
    assert check.headings == ["Check and confirm"]
    booked = sound(await browser.send(check.form("/confirm")))
    assert booked.headings == ["Your tickets"]
    over = sound(await browser.send(booked.form("/cancel")))
    assert over.headings == ["This booking is cancelled"]


async def test_seats_are_ticked_row_by_row(browser: Browser, a_show: Any, client: httpx.AsyncClient) -> None:
    show = await a_show(**HALL)
    taken = {"seats": ["A-1"], "tier": "Adult"}
    assert (await client.post(f"/v1/shows/{show['id']}/bookings", json=taken)).status_code == 201
    page = sound(await browser.go(f"/shows/{show['id']}/seats"))
    form = page.form("/claim")
    assert "Stalls:A-1" not in form.choices["seats"]
    none = sound(await browser.send(form), 400)
    assert "No seat is chosen." in none.text
    form = none.form("/claim").fill(offer="1-2").tick("seats", "Stalls:A-2", "Stalls:A-3")
    details = sound(await browser.send(form))
    assert "Seat A-2" in details.text
    assert "Total €40.00" in details.text
    # A moment later the same page, in another tab, is out of date: what was ticked stays ticked.
    late = sound(await browser.send(none.form("/claim").tick("seats", "Stalls:A-3", "Stalls:A-4")), 409)
    assert "Somebody was a moment faster" in late.text
    instead, form = (each for each in late.forms if each.action.endswith("/claim"))
    assert ("seats", "Stalls:A-4") in form.fields
    # Equal seats are one click away, and the second click of a double click makes nothing more.
    assert "Take B-3, B-4 instead" in late.text
    first, second = await browser.send(instead), await browser.send(instead)
    assert first.address == second.address
    assert "Seat B-3" in sound(first).text
    assert "Total €91.00" in first.text
    shown = (await client.get(f"/v1/shows/{show['id']}")).json()
    assert shown["total_seats"] - shown["available_seats"] == 5
    state = json.loads(page.data["state"])
    assert [tier["amount"] for tier in state["tiers"]] == [4550, 2000, 1500]
    assert (await client.get(state["layout"])).status_code == 200


async def test_a_great_area_is_shown_in_pages(browser: Browser, a_show: Any) -> None:
    rows = [{"label": f"R{i}", "seats": 100} for i in range(8)]
    show = await a_show(areas=[{"name": "Arena", "kind": "seated", "rows": rows}])
    first = sound(await browser.go(f"/shows/{show['id']}/seats"))
    assert len(first.form("/claim").choices["seats"]) == 300
    second = sound(await browser.go(first.links["Further rows"]))
    assert second.form("/claim").choices["seats"][0] == "Arena:R3-1"
    last = sound(await browser.go(second.links["Further rows"]))
    assert "Further rows" not in last.links


async def test_places_apart_are_offered_and_then_taken(browser: Browser, a_show: Any) -> None:
    rows = [{"label": "A", "seats": 2}, {"label": "B", "seats": 2}]
    show = await a_show(areas=[{"name": "Box", "kind": "seated", "rows": rows}])
    refused = sound(await chosen(browser, show, quantity="3", offer=None), 409)
    assert "There are enough places, but not side by side." in refused.text
    details = sound(await browser.send(refused.form("/claim").fill(split="on")))
    assert "these are apart" in details.text


async def test_a_code_shows_its_prices_and_hidden_ones(
    browser: Browser, a_show: Any, owner: httpx.AsyncClient
) -> None:
    show = await a_show(**HALL)
    made = await owner.post(f"/v1/shows/{show['id']}/codes", json={"code": "EARLY", "discount_amount": 500})
    assert made.status_code == 201, made.text
    page = await browser.go(f"/shows/{show['id']}")
    wrong = sound(await browser.send(next(f for f in page.forms if f.method == "get").fill(code="NEVER")))
    assert "We do not know this code." in wrong.text
    right = sound(await browser.send(next(f for f in wrong.forms if f.method == "get").fill(code="early")))
    assert "€10.00" in right.text
    details = sound(await browser.send(right.form("/claim").fill(offer="2-3", quantity="1")))
    assert "Total €10.00" in details.text


async def test_sending_a_form_twice_books_once(browser: Browser, a_show: Any, engine: Engine) -> None:
    show = await a_show()
    form = (await browser.go(f"/shows/{show['id']}")).form("/claim")
    first, second = await browser.send(form), await browser.send(form)
    assert first.address == second.address
    assert await engine.db.value("select count(*) from bookings") == 1


async def test_a_declined_payment_is_tried_again(browser: Browser, a_show: Any) -> None:
    paying = await at_paying(browser, await a_show(**HALL))
    sandbox = await browser.send(paying.form("/pay"))
    await browser.send(sandbox.forms[0].fill(outcome="decline"))
    back = sound(await browser.go(f"{paying.address}?back=1"))
    assert back.headings == ["Check and pay"]
    assert "The payment was declined." in back.text
    # The address may be another now, since nobody has been told it for what comes.
    change = sound(await browser.go(back.links["Change"])).form("/details")
    wrong = sound(await browser.send(change.fill(email="ada@")), 400)
    assert ("email", "ada@") in wrong.form("/details").fields
    back = sound(await browser.send(wrong.form("/details").fill(email="ada@example.org")))
    assert "ada@example.org" in back.text
    again = await browser.send(back.form("/pay"))
    assert sound(await browser.send(again.forms[0].fill(outcome="pay"))).headings == ["Your tickets"]


async def test_who_comes_back_without_having_paid_is_led_back(browser: Browser, a_show: Any) -> None:
    paying = await at_paying(browser, await a_show(**HALL))
    sandbox = await browser.send(paying.form("/pay"))
    waiting = sound(await browser.send(sandbox.forms[0].fill(outcome="cancel")))
    assert waiting.headings == ["We wait for your payment"]
    assert waiting.refresh == f"2; url={paying.address}?back=2"
    going_on = sound(await browser.go(waiting.links["Back to paying"]))
    assert "You have begun to pay." in going_on.text
    assert (await browser.send(going_on.form("/pay"))).address == sandbox.address
    # It does not look for ever.
    assert sound(await browser.go(f"{paying.address}?back=40")).refresh is None


async def test_slow_money_is_waited_for(browser: Browser, a_show: Any, engine: Engine) -> None:
    paying = await at_paying(browser, await a_show(**HALL))
    sandbox = await browser.send(paying.form("/pay"))
    waiting = sound(await browser.send(sandbox.forms[0].fill(outcome="slow", seconds="600")))
    assert waiting.headings == ["We wait for your payment"]
    assert waiting.refresh is not None
    await engine.db.execute("update sandbox_payments set money_at = now()")
    await engine.db.execute("update payments set looked_at = null")
    there = sound(await browser.go(waiting.refresh.partition("url=")[2]))
    assert there.headings == ["Your tickets"]


async def test_money_too_late_for_its_places_goes_back(
    browser: Browser, a_show: Any, engine: Engine, client: httpx.AsyncClient
) -> None:
    hall = {**HALL, "areas": [HALL["areas"][0], {**HALL["areas"][1], "capacity": 2}]}
    show = await a_show(**hall)
    paying = await at_paying(browser, show)
    sandbox = await browser.send(paying.form("/pay"))
    await engine.db.execute("update bookings set expires_at = now()")
    other = {"quantity": 2, "area": "Floor", "tier": "Standing"}
    assert (await client.post(f"/v1/shows/{show['id']}/bookings", json=other)).status_code == 201
    over = sound(await browser.go(paying.address))
    assert over.headings == ["Your time was over"]
    assert "If you have paid in the meantime" in over.text
    waits = sound(await browser.send(sandbox.forms[0].fill(outcome="pay")))
    assert waits.refresh is not None
    await engine.db.execute("update payments set looked_at = null")
    late = sound(await browser.go(waits.refresh.partition("url=")[2]))
    assert late.headings == ["Your money came too late"]
    assert "is on its way back €30.00" in late.text


async def test_after_the_end_the_same_places_are_taken_with_what_was_typed(
    browser: Browser, a_show: Any, engine: Engine
) -> None:
    details = await chosen(browser, await a_show(**HALL))
    await engine.db.execute("update bookings set expires_at = now()")
    again = sound(await browser.send(details.form("/details").fill(**GRACE)))
    assert again.address.partition("?")[0] != details.address
    assert again.headings == ["Check and pay"]
    assert "Your time was over, so we have taken the same places for you once more." in again.text
    assert "grace@example.org" in again.text
    # The same form once more finds the same booking, and not a third one.
    assert (await browser.send(details.form("/details").fill(**GRACE))).address == again.address
    # Who comes by another way is asked first.
    await engine.db.execute("update bookings set expires_at = now()")
    over = sound(await browser.go(details.address))
    assert over.headings == ["Your time was over"]
    # An address that is none does not cost the places.
    odd = over.form("/again")
    odd.fields.append(("email", "grace@"))
    assert sound(await browser.send(odd)).headings == ["Who books?"]


async def test_after_the_end_equal_seats_are_offered_for_those_that_are_gone(
    client: httpx.AsyncClient, browser: Browser, a_show: Any, engine: Engine
) -> None:
    show = await a_show(**HALL)
    page = await browser.go(f"/shows/{show['id']}/seats")
    form = page.form("/claim").fill(offer="1-2").tick("seats", "Stalls:A-3", "Stalls:A-4")
    details = await browser.send(form)
    await engine.db.execute("update bookings set expires_at = now()")
    taken = {"seats": ["A-4"], "tier": "Adult"}
    assert (await client.post(f"/v1/shows/{show['id']}/bookings", json=taken)).status_code == 201
    over = sound(await browser.send(details.form("/details").fill(**GRACE)), 409)
    assert over.headings == ["Your time was over"]
    assert "Take B-3, B-4 instead" in over.text
    instead = next(each for each in over.forms if each.action.endswith("/again"))
    paying = sound(await browser.send(instead))
    assert paying.headings == ["Check and pay"]
    assert "Seat B-3" in paying.text
    assert "Total €40.00" in paying.text
    assert "grace@example.org" in paying.text


async def test_who_has_begun_to_pay_is_not_booked_once_more(
    browser: Browser, a_show: Any, engine: Engine
) -> None:
    paying = await at_paying(browser, await a_show(**HALL))
    await browser.send(paying.form("/pay"))
    await engine.db.execute("update bookings set expires_at = now()")
    over = sound(await browser.send(paying.form("/extend")), 410)
    assert over.headings == ["Your time was over"]
    assert "If you have paid in the meantime" in over.text
    assert await engine.db.value("select count(*) from bookings") == 1


async def test_what_was_let_go_is_told_so(browser: Browser, a_show: Any) -> None:
    paying = await at_paying(browser, await a_show(**HALL))
    more = sound(await browser.send(paying.form("/extend")))
    assert sound(await browser.send(more.form("/extend")), 409).headings == ["Check and pay"]
    over = sound(await browser.send(more.form("/cancel")))
    assert over.headings == ["You let the places go"]


async def test_the_provider_is_reached_by_a_form_of_its_own_policy(
    browser: Browser, a_show: Any, engine: Engine
) -> None:
    paying = await at_paying(browser, await a_show(**HALL))
    await browser.send(paying.form("/pay"))
    way = {"url": "https://pay.example.org/v1?x=1", "method": "POST", "fields": {"key": "<k>"}}
    await engine.db.execute("update payments set way = $1", way)
    page = sound(await browser.send((await browser.go(paying.address)).form("/pay")))
    form = next(each for each in page.forms if each.action.startswith("https:"))
    assert (form.action, form.method, form.fields) == (way["url"], "post", [("key", "<k>")])
    assert "form-action 'self' https://pay.example.org;" in page.answer.headers["content-security-policy"]
    await engine.db.execute("update payments set way = $1", {**way, "method": "GET", "fields": {}})
    page = sound(await browser.send((await browser.go(paying.address)).form("/pay")))
    assert page.refresh == "0; url=https://pay.example.org/v1?x=1"


async def test_a_link_opens_a_booking_in_another_browser(
    browser: Browser, a_show: Any, engine: Engine
) -> None:
    show = await a_show()
    page = await chosen(browser, show, offer=None)
    secret = json.loads(page.data["state"])["secret"]
    async with client_of(engine) as other:
        theirs = Browser(other)
        unknown = sound(await theirs.go(page.address), 404)
        assert sound(await theirs.send(unknown.form("/open").fill(secret="guessed")), 404).headings == [
            "We do not find this booking here."
        ]
        opened = sound(await theirs.send(unknown.form("/open").fill(secret=secret)))
        assert opened.headings == ["Who books?"]
        assert "Go on with your booking" in (await theirs.go(f"/shows/{show['id']}")).text
    answer = await browser._client.post(
        f"{page.address}/open", content=f"secret={secret}", headers={"Origin": "http://holdfast.test"}
    )
    cookie = answer.headers["set-cookie"]
    assert f"; Path=/shows/{show['id']}; " in cookie
    assert "; HttpOnly; SameSite=Lax" in cookie


async def test_forms_of_other_sites_do_nothing(
    client: httpx.AsyncClient, a_show: Any, engine: Engine
) -> None:
    show = await a_show()
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = await client.post(f"/shows/{show['id']}/claim", content="quantity=1", headers=headers)
        assert answer.status_code == 403
        assert "This form came from another site." in answer.text
    assert await engine.db.value("select count(*) from bookings") == 0


@pytest.mark.parametrize(
    "content", [b"\xff", b"quantity=-1", b"quantity=%00", b"quantity=1&seats=", b"offer=9-9", b"&" * 999]
)
async def test_odd_forms_are_refused_in_words(client: httpx.AsyncClient, a_show: Any, content: bytes) -> None:
    show = await a_show(**HALL)
    answer = await client.post(f"/shows/{show['id']}/claim", content=content)
    assert answer.status_code in (400, 409)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_names_are_shown_and_do_nothing(browser: Browser, a_show: Any) -> None:
    hall = {**HALL, "name": HOSTILE, "areas": [HALL["areas"][0], {**HALL["areas"][1], "name": "<Floor>"}]}
    hall["tiers"] = [*HALL["tiers"][:2], {"area": "<Floor>", "name": "<b>Standing", "amount": 1500}]
    show = await a_show(**hall)
    paying = await at_paying(browser, show)
    sandbox = await browser.send(paying.form("/pay"))
    booked = await browser.send(sandbox.forms[0].fill(outcome="pay"))
    for address in (
        "/",
        f"/shows/{show['id']}",
        f"/shows/{show['id']}/seats",
        booked.address,
        f"{booked.address}/tickets/1",
    ):
        page = sound(await browser.go(address))
        assert HOSTILE in page.text
        assert "<script>alert" not in page.source
    event = json.loads((await browser.go(f"/shows/{show['id']}")).data["application/ld+json"])
    assert event["name"] == HOSTILE


async def test_what_search_engines_and_messengers_are_told(browser: Browser, a_show: Any) -> None:
    show = await a_show(**HALL)
    page = await browser.go(f"/shows/{show['id']}")
    event = json.loads(page.data["application/ld+json"])
    assert (event["@type"], event["eventStatus"]) == ("Event", "https://schema.org/EventScheduled")
    assert [offer["price"] for offer in event["offers"]] == ["45.50", "20.00", "15.00"]
    assert re.fullmatch(r"2030-12-24T\d\d:00:00[+-]\d\d:00", event["startDate"])
    assert page.metas["og:title"] == "Hamlet"
    yen = await a_show(**{**HALL, "currency": "JPY"})
    event = json.loads((await browser.go(f"/shows/{yen['id']}")).data["application/ld+json"])
    assert [offer["price"] for offer in event["offers"]] == ["4550", "2000", "1500"]


async def test_the_sale_that_has_not_begun(browser: Browser, a_show: Any) -> None:
    show = await a_show(status="scheduled", sale_opens_at="2029-12-24T20:00:00Z")
    page = sound(await browser.go(f"/shows/{show['id']}"))
    assert re.search(r"On sale from .*2029.* in \d+ days", page.text)
    assert not [each for each in page.forms if each.action.endswith("/claim")]


async def test_shows_are_found_by_word_city_and_days(
    browser: Browser, a_show: Any, owner: httpx.AsyncClient
) -> None:
    await a_show(name="Late Show", start_time="2030-12-24T23:30:00-08:00", timezone="America/Los_Angeles")
    await a_show(name="Matinee", start_time="2030-12-25T15:00:00-08:00", timezone="America/Los_Angeles")

    async def found(**asked: str) -> set[str]:
        form = next(f for f in (await browser.go("/")).forms if f.method == "get")
        page = sound(await browser.send(form.fill(**asked)))
        return {"Late Show", "Matinee"} & page.links.keys()

    assert await found(q="late") == {"Late Show"}
    # The day is the one on the wall of the place.
    assert await found(**{"from": "2030-12-24", "until": "2030-12-24"}) == {"Late Show"}
    assert await found(**{"from": "2030-12-25"}) == {"Matinee"}
    assert await found(until="2030-12-24") == {"Late Show"}
    # The other way round is meant as it would be said.
    assert await found(**{"from": "2030-12-25", "until": "2030-12-24"}) == {"Late Show", "Matinee"}
    assert await found(until="nonsense") == {"Late Show", "Matinee"}
    # Where there is but one city, nobody has to choose.
    await _housed(owner, a_show, "Berlin", name="Late Show")
    assert "All cities" not in (await browser.go("/")).text
    # All of it is one organizer's, and so is the page.
    assert (await owner.patch("/v1/organizer", json={"colour": "#8b1e3f"})).status_code == 200
    assert "/look/8b1e3f.css" in (await browser.go("/")).loads
    assert "/look/8b1e3f.css" not in (await browser.go("/?q=Macbeth")).loads
    await _housed(owner, a_show, "Hamburg", name="Matinee")
    assert await found(city="Berlin") == {"Late Show"}
    page = await browser.go("/?city=berlin")
    assert ("city", "Berlin") in next(f for f in page.forms if f.method == "get").fields
    assert "Playhouse, Berlin" in page.text
    nothing = sound(await browser.go("/?q=Macbeth&fbclid=%ff"))
    assert "Nothing was found." in nothing.text


async def _housed(owner: httpx.AsyncClient, a_show: Any, city: str, **show: Any) -> dict[str, Any]:
    """A show in a house of the city."""
    where = {
        "name": "Playhouse",
        "timezone": "Europe/Berlin",
        "address": "Am Platz 1\n10115",
        "city": city,
    }
    venue = (await owner.post("/v1/venues", json=where)).json()
    layout = {"name": "Hall", "areas": HALL["areas"]}
    made = (await owner.post(f"/v1/venues/{venue['id']}/layouts", json=layout)).json()
    housed: dict[str, Any] = await a_show(layout_id=made["id"], tiers=HALL["tiers"], **show)
    return housed


async def test_the_page_says_what_where_whose_and_for_whom(
    browser: Browser, a_show: Any, owner: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    logo = io.BytesIO()
    Image.new("RGB", (40, 20), "red").save(logo, "PNG")
    logo_id = (await owner.put("/v1/organizer/logo", content=logo.getvalue())).json()["id"]
    assert (await owner.patch("/v1/organizer", json={"colour": "#ffee00"})).status_code == 200
    show = await _housed(
        owner, a_show, "Berlin", start_time="2030-12-24T19:00:00Z", doors_at="2030-12-24T18:15:00Z",
        description="First <i>.\n\nSecond,\nbroken.", age_note="From 12 on.", access_note="No steps.",
    )  # fmt: skip
    page = sound(await browser.go(f"/shows/{show['id']}"))
    for said in ("First <i>. Second, broken.", "From 12 on.", "No steps.", "Doors 19:15", "Test House"):
        assert said in page.text
    assert "Playhouse Am Platz 1 10115 Berlin" in page.text
    assert page.links["Show on a map"] == (
        "https://www.openstreetmap.org/search?query=Am%20Platz%201%2C%2010115%2C%20Berlin"
    )
    assert f"/v1/pictures/{logo_id}?width=320" in page.loads
    # Yellow is the organizer's colour, and what stands on white is so much darker that it can be read.
    sheet = await client.get("/look/ffee00.css")
    assert "/look/ffee00.css" in page.loads
    assert sheet.headers["content-type"] == "text/css; charset=utf-8"
    assert "--look:#ffee00;--on-look:#000000" in sheet.text
    event = json.loads(page.data["application/ld+json"])
    assert event["location"] == {
        "@type": "Place",
        "name": "Playhouse",
        "address": {
            "@type": "PostalAddress",
            "streetAddress": "Am Platz 1, 10115",
            "addressLocality": "Berlin",
        },
    }
    assert (event["doorTime"], event["description"]) == (
        "2030-12-24T19:15:00+01:00",
        "First <i>.\n\nSecond,\nbroken.",
    )
    assert event["organizer"]["name"] == "Test House"
    assert event["organizer"]["logo"].endswith(f"/v1/pictures/{logo_id}")
    assert "Playhouse, Berlin" in page.metas["og:description"]
    entry = (await client.get(f"/shows/{show['id']}/calendar.ics")).text.replace("\r\n ", "")
    assert "LOCATION:Playhouse\\, Am Platz 1\\, 10115\\, Berlin" in entry


async def test_a_show_that_moved_says_from_when(
    browser: Browser, a_show: Any, owner: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    show = await a_show(**HALL, start_time="2030-12-24T19:00:00Z")
    at = f"/v1/shows/{show['id']}"
    assert (await owner.patch(at, json={"start_time": "2031-01-07T19:00:00Z"})).status_code == 200
    page = sound(await browser.go(f"/shows/{show['id']}"))
    assert "New date It was to be on Tuesday, 24 December 2030" in page.text
    event = json.loads(page.data["application/ld+json"])
    assert event["eventStatus"] == "https://schema.org/EventRescheduled"
    assert event["previousStartDate"] == "2030-12-24T19:00:00+00:00"
    assert (await owner.patch(at, json={"status": "cancelled"})).status_code == 200
    page = await browser.go(f"/shows/{show['id']}")
    event = json.loads(page.data["application/ld+json"])
    assert event["eventStatus"] == "https://schema.org/EventCancelled"
    assert {offer["availability"] for offer in event["offers"]} == {"https://schema.org/SoldOut"}
    assert "STATUS:CANCELLED" in (await client.get(f"/shows/{show['id']}/calendar.ics")).text


@pytest.mark.parametrize(
    "colour", ["#ffee00", "#000000", "#ffffff", "#8b1e3f", "#777777", "#00ff88", "#0000ff"]
)
def test_whatever_the_colour_people_can_read(colour: str) -> None:
    light, dark = look.sheet(colour).split("@media(prefers-color-scheme:dark)")
    for css, grounds in ((light, look.LIGHT), (dark, look.DARK)):
        named = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{6})", css))
        assert look.contrast(named["brand"], named["on-brand"]) >= look.CONTRAST_MIN
        assert all(look.contrast(named["brand"], ground) >= look.CONTRAST_MIN for ground in grounds)
        if "look" in named:
            assert named["look"] == colour
            assert look.contrast(colour, named["on-look"]) >= look.CONTRAST_MIN


def test_the_grounds_are_those_of_the_stylesheet() -> None:
    css = (Path(look.__file__).parents[1] / "static" / "shop" / "shop.css").read_text("utf-8")
    said = re.findall(r"--(?:ground|raised): (#[0-9a-f]{6});", css)
    assert tuple(said) == (*look.LIGHT, *look.DARK)


async def test_there_are_sheets_of_colours_and_of_nothing_else(client: httpx.AsyncClient) -> None:
    for name in ("FFEE00.css", "ffee0.css", "ffee00", "ffee00.css;}", "red.css"):
        assert (await client.get(f"/look/{name}")).status_code == 404


async def test_places_for_wheelchairs_are_named_among_the_seats(browser: Browser, a_show: Any) -> None:
    row = {"label": "A", "seats": 3, "access": ["wheelchair", "companion", None]}
    show = await a_show(areas=[{"name": "Stalls", "kind": "seated", "rows": [row]}])
    page = sound(await browser.go(f"/shows/{show['id']}/seats"))
    assert "1 · wheelchair place" in page.text
    assert "2 · seat for a companion" in page.text


async def test_tickets_are_found_by_address(browser: Browser) -> None:
    page = sound(await browser.go("/tickets"))
    sent = sound(await browser.send(page.form("/tickets").fill(email="grace@example.org")))
    assert "Please look into your mailbox." in sent.text
    assert sound(await browser.send(page.form("/tickets").fill(email="x@")), 400).headings == [
        "Find my tickets"
    ]


async def test_the_language_is_chosen_and_kept(
    client: httpx.AsyncClient, browser: Browser, a_show: Any
) -> None:
    show = await a_show(**HALL)
    page = await browser.go(f"/shows/{show['id']}?code=")
    assert '<html lang="en"' in page.source
    german = sound(await browser.send(page.form("/language").fill(language="de")))
    assert german.address == f"/shows/{show['id']}?code="
    assert '<html lang="de"' in german.source
    assert "ab 15,00 €" in german.text
    assert "Wie viele?" in (await browser.go(f"/shows/{show['id']}")).text
    for away in ("//evil.example", "https://evil.example", "/\\evil.example"):
        answer = await client.post("/language", content=f"language=de&back={away}")
        assert answer.headers["location"] == "/"
    async with client_of_language(client, "fr;q=0.9, de-AT;q=0.8, en;q=0.1") as spoken:
        assert "Programm" in (await spoken.get("/")).text


def client_of_language(client: httpx.AsyncClient, accepted: str) -> httpx.AsyncClient:
    headers = {"Accept-Language": accepted}
    return httpx.AsyncClient(transport=client._transport, base_url="http://holdfast.test", headers=headers)


async def test_the_first_view_is_small(client: httpx.AsyncClient, browser: Browser, a_show: Any) -> None:
    for i in range(24):
        await a_show(**HALL, name=f"Show {i}")
    show = await a_show(**HALL)
    for address in ("/", f"/shows/{show['id']}"):
        page = await browser.go(address)
        total = len(page.source.encode())
        for each in page.loads:
            if each.startswith("/static/"):
                answer = await client.get(each, headers={"Accept-Encoding": "gzip"})
                assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
                total += int(answer.headers["content-length"])
        assert total < FIRST_VIEW_BYTES_MAX


async def test_what_is_not_there_is_a_page(browser: Browser) -> None:
    for address in (
        "/shows/nonsense",
        "/shows/0192f5a0-8c9e-7d3f-9a41-c6be50217d84",
        "/shows/nonsense/seats",
    ):
        assert sound(await browser.go(address), 404).headings == ["There is no such show."]
    assert (await browser._client.get("/static/0/shop/shop.css")).status_code == 404


def test_every_refusal_that_is_told_can_happen() -> None:
    known = (ROOT / "docs" / "api" / "errors.md").read_text("utf-8")
    ours = {"nothing_chosen"}
    assert {code for code in TOLD if f"`{code}`" not in known} == ours
