"""Seats chosen by hand, by keyboard and by the house, over a network that fails and beside somebody who is faster."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Visit
from tests.cli.running import Up, until

STREAM = re.compile(r"/v1/shows/[^/]+/live")
AVAILABILITY = re.compile(r"/v1/shows/[^/]+/availability")
CLAIMS = re.compile(r"/v1/shows/[^/]+/bookings$")
OPENED = re.compile(r"/bookings/[^/]+/open$")
# What may be on its way for longer on a busy machine; a bound, not a measure.
PATIENCE_MS = 30_000


@pytest.fixture
def show(shop: Up) -> str:
    """A show of its own for a test: two sections, four rows of ten, and a floor."""
    rows = [{"label": label, "seats": 10} for label in "ABCD"]
    shown = shop.make_show(
        name="Hamlet",
        currency="EUR",
        orphans="refuse",
        areas=[
            {"kind": "seated", "name": "Stalls", "rows": rows},
            {"kind": "seated", "name": "Circle", "rows": rows},
            {"kind": "standing", "name": "Floor", "capacity": 50},
        ],
        tiers=[
            {"name": "Adult", "area": "Stalls", "amount": 5000},
            {"name": "Child", "area": "Stalls", "amount": 2000},
            {"name": "Adult", "area": "Circle", "amount": 3000},
            {"name": "Standing", "area": "Floor", "amount": 1000},
        ],
        status="on_sale",
    )
    found: str = shown["id"]
    return found


def seats_of(page: Page) -> list[str]:
    """What the basket has."""
    return page.locator(".basket li .what button").all_inner_texts()


def seat(page: Page, name: str) -> Any:
    """A seat of the list, by the beginning of what a screen reader says."""
    return page.locator(f'.seat-list button[aria-label^="{name},"]')


def choose(visit: Visit, show: str, **options: Any) -> Page:
    """The page on which seats of the show are chosen, once its map is there."""
    page = visit(f"/shows/{show}/seats", **options)
    expect(page.locator("#choose canvas.seats")).to_be_visible(timeout=PATIENCE_MS)
    return page


def open_section(page: Page, name: str) -> None:
    page.locator(".seat-list summary", has_text=name).click()


def claim(page: Page) -> None:
    page.get_by_role("button", name="Take these seats").click()


def booked(page: Page) -> None:
    """Waits for the page of the booking."""
    page.wait_for_url(re.compile(r"/shows/[^/]+/bookings/"), timeout=PATIENCE_MS)
    expect(page.locator("#countdown")).to_be_visible(timeout=PATIENCE_MS)


def taken(shop: Up, show: str) -> int:
    """How many places of the show are not to be had."""
    shown = shop.get(f"/v1/shows/{show}").json()
    return int(shown["total_seats"] - shown["available_seats"])


def expire(shop: Up, show: str) -> None:
    """Turns the clock: all holds of the show have ended."""

    async def run() -> None:
        connection = await asyncpg.connect(shop.dsn)
        try:
            await connection.execute("update bookings set expires_at = now() where show_id = $1", UUID(show))
        finally:
            await connection.close()

    # The browser's loop runs in this thread.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, run()).result()


def pick_on_map(page: Page) -> None:
    """Comes closer where somebody clicks, then clicks on the first seat that the pointer finds free."""
    canvas = page.locator("canvas.seats")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    for step in range(400):
        x, y = (
            box["x"] + box["width"] * (0.3 + step % 20 / 50),
            box["y"] + box["height"] * (0.2 + step // 20 / 40),
        )
        page.mouse.move(x, y)
        hint = page.locator(".map .hint")
        if hint.is_visible() and "taken" not in hint.inner_text():
            page.mouse.click(x, y)
            return
        if step % 100 == 99:
            page.get_by_role("button", name="Closer").click()
    raise AssertionError("no seat was found on the map")


def test_buys_by_the_map(visit: Visit, shop: Up, show: str) -> None:
    page = choose(visit, show)
    pick_on_map(page)
    expect(page.locator(".basket li")).to_have_count(1)
    claim(page)
    booked(page)
    page.get_by_label("E-mail address").fill("buyer@example.org")
    page.get_by_label("Name", exact=True).fill("Ada")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name=re.compile("^Pay")).click()
    page.get_by_role("button", name=re.compile(r"^Pay [\d.]+ EUR$")).click()
    page.wait_for_url(re.compile(r"/shows/[^/]+/bookings/"), timeout=PATIENCE_MS)
    until(lambda: shop.get(f"/v1/shows/{show}").json()["booked_seats"] == 1, "a sold seat")


def have_chosen(page: Page, **counts: str) -> None:
    """Has the house choose so many of each price."""
    if not page.get_by_label("Where?").is_visible():
        page.locator("summary", has_text="Let us choose for you").click()
    for name, count in counts.items():
        if name == "where":
            page.get_by_label("Where?").select_option(count)
        else:
            page.get_by_label(re.compile(f"^{name}")).select_option(count)
    page.get_by_role("button", name="Take the best available").click()


def test_has_the_best_chosen_apart_if_need_be(visit: Visit, shop: Up, show: str) -> None:
    for _ in range(4):
        # A row has ten seats, so that two are left in each.
        body = {"best_available": 8, "area": "Stalls", "tier": "Adult"}
        assert httpx.post(f"{shop.url}/v1/shows/{show}/bookings", json=body, timeout=30).status_code == 201
    page = choose(visit, show)
    have_chosen(page, where="Stalls", Adult="2", Child="1")
    expect(page.locator(".basket .note")).to_contain_text("not side by side", timeout=PATIENCE_MS)
    page.get_by_role("button", name="Take them apart").click()
    booked(page)
    expect(page.locator("main")).to_contain_text("€120.00")
    expect(page.locator("main")).to_contain_text("apart")


def test_takes_places_on_the_floor(visit: Visit, shop: Up, show: str) -> None:
    page = choose(visit, show)
    page.get_by_role("button", name="Choose how many").click()
    have_chosen(page, Standing="3")
    booked(page)
    assert taken(shop, show) == 3


def test_the_loser_sees_the_seat_go_and_is_offered_the_nearest(visit: Visit, show: str) -> None:
    fast, slow = choose(visit, show), choose(visit, show)
    for page in (fast, slow):
        open_section(page, "Circle")
        seat(page, "Row B, seat 5").click()
        seat(page, "Row B, seat 6").click()
    claim(fast)
    expect(slow.locator(".basket .note")).to_contain_text("Somebody was a moment faster", timeout=PATIENCE_MS)
    expect(seat(slow, "Row B, seat 5")).to_have_attribute("aria-disabled", "true")
    booked(fast)
    slow.get_by_role("button", name=re.compile("^Choose .* instead$")).click()
    assert len(seats_of(slow)) == 2
    claim(slow)
    booked(slow)


def test_a_refusal_names_the_seats_and_offers_others(visit: Visit, show: str) -> None:
    """The stream is cut, so that only the claim can tell."""
    slow = choose(visit, show)
    slow.route(STREAM, lambda route: route.abort())
    slow.reload()
    open_section(slow, "Stalls")
    for number in (3, 4):
        seat(slow, f"Row D, seat {number}").click()
    # What each seat is for is kept with the choice.
    slow.get_by_label("Price of Stalls, Row D, seat 3").select_option("Child")
    slow.route(AVAILABILITY, lambda route: route.abort())
    fast = choose(visit, show)
    open_section(fast, "Stalls")
    for number in (4, 5):
        seat(fast, f"Row D, seat {number}").click()
    claim(fast)
    booked(fast)
    claim(slow)
    note = slow.locator(".basket .note")
    expect(note).to_contain_text("Stalls, Row D, seat 4", timeout=PATIENCE_MS)
    expect(note).to_be_focused()
    note.get_by_role("button", name="Take Stalls, Row C, seats 3, 4 instead").click()
    booked(slow)
    expect(slow.locator("main")).to_contain_text("€70.00")


@pytest.mark.parametrize("lost", [AVAILABILITY, re.compile(r"/static/.*/list\.js")])
def test_the_plain_form_stays_when_the_map_cannot_be(visit: Visit, show: str, lost: re.Pattern[str]) -> None:
    # A service worker would bring what the page itself cannot have.
    page = visit("/", service_workers="block")
    page.route(lost, lambda route: route.abort())
    page.goto(f"/shows/{show}/seats")
    form = page.locator("[data-plain]")
    expect(form).to_have_css("visibility", "visible", timeout=PATIENCE_MS)
    form.get_by_role("link", name=re.compile("Circle")).click()
    expect(form).to_have_css("visibility", "visible", timeout=PATIENCE_MS)
    form.get_by_label("5", exact=True).first.check()
    form.get_by_role("button", name="Take these seats").click()
    page.wait_for_url(re.compile(r"/shows/[^/]+/bookings/"), timeout=PATIENCE_MS)


def test_the_orphan_rule_names_the_seat_and_two_ways_out(visit: Visit, show: str) -> None:
    page = choose(visit, show)
    open_section(page, "Stalls")
    seat(page, "Row A, seat 2").click()
    claim(page)
    note = page.locator(".basket .note")
    expect(note).to_contain_text("Stalls, Row A, seat 1", timeout=PATIENCE_MS)
    expect(note.get_by_role("button", name=re.compile("^Take .* instead$"))).to_be_visible()
    note.get_by_role("button", name=re.compile("as well$")).click()
    booked(page)
    expect(page.locator("main")).to_contain_text("€100.00")


def test_an_answer_that_is_lost_is_asked_for_again_and_books_once(visit: Visit, shop: Up, show: str) -> None:
    page = choose(visit, show)
    keys: list[str] = []

    def cut(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.abort()
        elif len(keys) == 2:
            # It was done, and nobody heard of it.
            route.fetch()
            route.abort()
        else:
            route.continue_()

    page.route(CLAIMS, cut)
    open_section(page, "Circle")
    seat(page, "Row A, seat 1").click()
    seat(page, "Row A, seat 2").click()
    page.get_by_role("button", name="Take these seats").dblclick()
    expect(page.locator(".basket .note")).to_contain_text("We keep asking")
    booked(page)
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert taken(shop, show) == 2


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_who_comes_back_in_the_middle_of_a_claim_finds_the_booking(
    visit: Visit, shop: Up, show: str, *, later: bool
) -> None:
    page = choose(visit, show)

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route(CLAIMS, lose)
    open_section(page, "Circle")
    seat(page, "Row C, seat 1").click()
    seat(page, "Row C, seat 2").click()
    claim(page)
    until(lambda: taken(shop, show) == 2, "a claim")
    page.goto("/static/nowhere")
    page.unroute_all(behavior="ignoreErrors")
    if later:
        # Nobody claims for who may have thought better of it: the page asks what became of it.
        page.add_init_script("const now = Date.now; Date.now = () => now() + 120e3;")
        page.route(CLAIMS, lambda route: route.abort())
    page.goto(f"/shows/{show}/seats")
    booked(page)
    assert taken(shop, show) == 2


def test_a_reload_on_the_way_to_the_booking_finds_it(visit: Visit, shop: Up, show: str) -> None:
    page = choose(visit, show)
    page.route(OPENED, lambda route: route.abort("aborted"))
    open_section(page, "Circle")
    seat(page, "Row C, seat 1").click()
    with page.expect_event("requestfailed", lambda request: bool(OPENED.search(request.url))):
        claim(page)
    page.unroute_all()
    page.reload()
    booked(page)
    assert taken(shop, show) == 1
    # The attempt is over: who comes back chooses anew.
    page.goto(f"/shows/{show}/seats")
    open_section(page, "Circle")
    expect(seat(page, "Row C, seat 1")).to_have_attribute("aria-label", re.compile("taken"))
    expect(page.locator(".basket .note")).to_be_hidden()


def test_a_choice_outlives_a_reload(visit: Visit, show: str) -> None:
    page = choose(visit, show)
    open_section(page, "Stalls")
    seat(page, "Row B, seat 3").click()
    page.locator(".basket select").select_option("Child")
    expect(page.locator(".basket .total")).to_contain_text("€20.00")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/layout?*", hold)
    # Layout and availability are asked for at once: the one need not be there for the other.
    with page.expect_request(AVAILABILITY, timeout=PATIENCE_MS):
        page.reload(wait_until="commit")
    held[0].continue_()
    expect(page.locator(".basket .total")).to_contain_text("€20.00", timeout=PATIENCE_MS)
    assert seats_of(page) == ["Stalls, Row B, seat 3"]


def test_the_countdown_is_the_servers_whatever_the_clock_says(visit: Visit, shop: Up, show: str) -> None:
    page = choose(visit, show)
    # An hour fast: Date is what a wrong clock would spoil.
    page.add_init_script("const now = Date.now; Date.now = () => now() + 3600e3;")
    page.reload()
    open_section(page, "Circle")
    seat(page, "Row D, seat 1").click()
    claim(page)
    booked(page)
    minutes, seconds = page.locator("#countdown .clock").inner_text().split(":")
    assert 60 < int(minutes) * 60 + int(seconds) <= 120
    page.get_by_label("E-mail address").fill("buyer@example.org")
    page.reload()
    expect(page.get_by_label("E-mail address")).to_have_value("buyer@example.org")
    page.get_by_role("button", name="More time").click()
    expect(page.locator("#countdown [role=status]")).to_contain_text("more time", timeout=PATIENCE_MS)
    minutes, seconds = page.locator("#countdown .clock").inner_text().split(":")
    assert int(minutes) * 60 + int(seconds) > 120
    # At the end, for who is still there, the same seats are taken again, and what was typed is kept.
    first = page.url
    page.get_by_label("Name", exact=True).fill("Ada")
    expire(shop, show)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_url(lambda url: "relaxed=again" in url, timeout=PATIENCE_MS)
    assert page.url.partition("?")[0] != first.partition("?")[0]
    booked(page)
    expect(page.get_by_label("Name", exact=True)).to_have_value("Ada")
    expect(page.locator("main")).to_contain_text("D-1")
    assert taken(shop, show) == 1


def test_a_phone_pinches_and_taps(visit: Visit, show: str) -> None:
    page = choose(visit, show, width=390, height=844, has_touch=True, is_mobile=True, device_scale_factor=2)
    canvas = page.locator("canvas.seats")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *apart: float) -> None:
        points = [
            {"x": x + side * each, "y": y, "id": n}
            for n, (side, each) in enumerate(zip((-1, 1), apart, strict=False))
        ]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    # All of the plan is in sight: one finger turns the page.
    expect(canvas).to_have_css("touch-action", "pan-y")
    touch("touchStart", 20, 20)
    for apart in range(20, 120, 10):
        touch("touchMove", apart, apart)
    touch("touchEnd")
    expect(canvas).to_have_css("touch-action", "none")
    expect(page.locator("canvas.small")).to_be_visible()
    # What was a pinch chose nothing.
    assert seats_of(page) == []
    for step in range(60):
        page.touchscreen.tap(x - 60 + step % 8 * 15, y - 60 + step // 8 * 15)
        if seats_of(page):
            break
    assert len(seats_of(page)) == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_polls_where_no_stream_gets_through(visit: Visit, show: str) -> None:
    slow = visit("/")
    slow.route(STREAM, lambda route: route.abort())
    slow.goto(f"/shows/{show}/seats")
    expect(slow.locator("#choose")).to_contain_text("Up to date every few seconds", timeout=PATIENCE_MS)
    open_section(slow, "Circle")
    fast = choose(visit, show)
    open_section(fast, "Circle")
    seat(fast, "Row A, seat 1").click()
    claim(fast)
    expect(seat(slow, "Row A, seat 1")).to_have_attribute("aria-disabled", "true", timeout=PATIENCE_MS)
