"""Whole ways from what is on to a ticket in hand, and the ways that end elsewhere. Every screen on them is looked at.

The places of each journey are nobody else's here, so that what the pages say depends on no order of the tests.
"""

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Visit
from tests.browser.house import BUYER, House
from tests.browser.seeing import AXE, PICTURES, TAKES, TEXTS, picture, texts
from tests.cli.running import Up, new_folder, until

# What may be on its way for longer on a busy machine; a bound, not a measure.
PATIENCE_MS = 30_000
BOOKING = re.compile(r"/shows/[^/]+/bookings/[^/?#]+")
LOOKS = re.compile(r"\?back=\d")
SANDBOX = re.compile(r"/sandbox/pay/")
STOPS_MAX = 80
# An hour slow. What counts time by the phone would be wrong by it.
SLOW_CLOCK = "const now = Date.now; Date.now = () => now() - 3600e3;"
FIRST_VIEW_BYTES_MAX = 100_000
# What jumps on a page while it is made, without anybody having touched it.
SHIFTS = """window.shifts = [];
new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (!each.hadRecentInput) window.shifts.push(`${each.value}: ${each.sources.map((one) => one.node?.outerHTML?.slice(0, 90))}`);
}).observe({ type: "layout-shift", buffered: true });"""


@pytest.fixture(scope="module")
def shop() -> Iterator[Up]:
    folder = new_folder()
    try:
        with Up(folder, "--no-demo") as up:
            yield up.wait_until_ready()
            assert up.complaints() == []
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def house(shop: Up) -> Iterator[House]:
    with House(shop) as made:
        yield made


def headed(page: Page, text: str) -> None:
    """Waits for the page with this heading."""
    expect(page.locator("h1")).to_have_text(text, timeout=PATIENCE_MS)


def tab_to(page: Page, text: str) -> None:
    """Goes by the Tab key to what is called so."""
    for _ in range(STOPS_MAX):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "() => (document.activeElement.labels?.[0] ?? document.activeElement).innerText?.trim() ?? ''"
        )
        if re.search(text, name):
            return
    raise AssertionError(f"the Tab key never reached {text}")


def fill_details(page: Page) -> None:
    headed(page, "Who books?")
    page.get_by_label("E-mail address").fill(BUYER["email"])
    page.get_by_label("Name", exact=True).fill(BUYER["name"])
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("h1")).to_contain_text("Check and", timeout=PATIENCE_MS)


def take(page: Page, house: House, show: str, offer: str | None, quantity: int) -> None:
    """Has the house choose places, on the page of the show, and waits for the booking."""
    page.goto(f"/shows/{house.shows[show]}")
    if offer is not None:
        page.get_by_role("radio", name=offer).check()
    page.get_by_label("How many?").select_option(str(quantity))
    page.get_by_role("button", name=re.compile("^Take")).click()
    headed(page, "Who books?")


def to_the_sandbox(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^Pay")).click()
    page.wait_for_url(SANDBOX, timeout=PATIENCE_MS)


def kept(page: Page) -> None:
    """Waits until the tickets are kept on the device, which the page says."""
    expect(page.locator("[data-kept]")).to_be_visible(timeout=PATIENCE_MS)


def address(page: Page) -> str:
    found = BOOKING.search(page.url)
    assert found is not None, page.url
    return found[0]


def anew(page: Page) -> Page:
    """Another tab of the same browser."""
    return page.context.new_page()


def test_by_keyboard_alone(visit: Visit, house: House) -> None:
    page = visit("/")
    picture(page, "whats-on", dark=True)
    tab_to(page, "^Hamlet$")
    page.keyboard.press("Enter")
    headed(page, "Hamlet")
    picture(page, "show", dark=True)
    tab_to(page, "^Choose your seats$")
    page.keyboard.press("Enter")
    expect(page.locator("#choose canvas.seats")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#choose")).to_contain_text("Up to date", timeout=PATIENCE_MS)
    picture(page, "seats", whole=False, dark=True)
    tab_to(page, "^Stalls")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight", "End", "Enter", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(".basket li")).to_have_count(2)
    picture(page, "seats-chosen", whole=False, dark=True)
    tab_to(page, "^Take these seats$")
    page.keyboard.press("Enter")
    headed(page, "Who books?")
    picture(page, "details", dark=True)
    tab_to(page, "^E-mail address$")
    page.keyboard.type(BUYER["email"])
    tab_to(page, "^Name$")
    page.keyboard.type(BUYER["name"])
    page.keyboard.press("Enter")
    headed(page, "Check and pay")
    picture(page, "pay", dark=True)
    tab_to(page, r"^Pay €")
    page.keyboard.press("Enter")
    page.wait_for_url(SANDBOX, timeout=PATIENCE_MS)
    picture(page, "provider")
    tab_to(page, r"^Pay [\d.]+ EUR$")
    page.keyboard.press("Enter")
    headed(page, "Your tickets")
    kept(page)
    picture(page, "tickets", dark=True)
    tab_to(page, "^Show, rename or give away$")
    page.keyboard.press("Enter")
    headed(page, "Hamlet")
    kept(page)
    picture(page, "ticket", dark=True)


def test_on_a_phone_with_a_wrong_clock_a_refused_card_and_money_that_is_slow(
    visit: Visit, house: House
) -> None:
    page = visit("/tickets", width=390, height=844)
    page.context.add_init_script(SLOW_CLOCK)
    take(page, house, "Hamlet", "Circle · Adult", 2)
    clock = page.locator("#countdown .clock")
    expect(clock).to_have_text(re.compile(r"^1[45]:\d\d$"))
    fill_details(page)
    to_the_sandbox(page)
    page.get_by_role("button", name="Have the card declined").click()
    expect(page.locator("[role=alert]")).to_contain_text("declined", timeout=PATIENCE_MS)
    page.get_by_role("button", name="Cancel and go back").click()
    headed(page, "Check and pay")
    picture(page, "declined")
    to_the_sandbox(page)
    page.get_by_role("button", name="Cancel and go back").click()
    headed(page, "We wait for your payment")
    # It looks again by itself, and says something else after a while.
    page.route(LOOKS, lambda route: route.abort())
    picture(page, "waiting")
    page.unroute(LOOKS)
    page.get_by_role("link", name="Back to paying").click()
    headed(page, "Check and pay")
    picture(page, "begun")
    expect(clock).to_have_text(re.compile(r"^1[45]:\d\d$"))
    to_the_sandbox(page)
    page.get_by_text("For developers").click()
    page.get_by_label("Seconds until slow money is there").fill("3000")
    page.get_by_role("button", name="Pay slowly", exact=True).click()
    headed(page, "We wait for your payment")
    house.sql("update sandbox_payments set money_at = now() where money_at is not null")
    house.sql("update payments set looked_at = null")
    # By itself.
    headed(page, "Your tickets")
    # Whoever sits down here next finds nothing of what was typed.
    until(lambda: "typed:" not in page.evaluate("Object.keys(sessionStorage).join()"), "an empty tab")


def test_the_way_back_from_paying_is_lost(visit: Visit, house: House) -> None:
    page = visit("/tickets")
    take(page, house, "Hamlet", "Balcony · Adult", 2)
    # A second tab finds it, and so does the browser of the next day.
    other = anew(page)
    other.goto(f"/shows/{house.shows['Hamlet']}")
    other.get_by_role("link", name="Go on with your booking").click()
    headed(other, "Who books?")
    fill_details(page)
    to_the_sandbox(page)
    context: BrowserContext = page.context
    context.route(BOOKING, lambda route: route.abort("internetdisconnected"))
    page.get_by_role("button", name=re.compile(r"^Pay [\d.]+ EUR$")).click()
    page.wait_for_url(re.compile("chrome-error|back=1"), timeout=PATIENCE_MS)
    context.unroute_all()
    other.reload()
    headed(other, "Your tickets")
    page.goto(f"/shows/{house.shows['Hamlet']}")
    page.get_by_role("link", name="Go on with your booking").click()
    headed(page, "Your tickets")
    # Paid for is paid for: the page of the provider, by the Back button, says so and leads on.
    page.go_back()
    page.go_back()
    tomorrow = visit("/tickets", storage_state=context.storage_state())
    tomorrow.goto(address(other))
    headed(tomorrow, "Your tickets")


def test_without_a_script(visit: Visit, house: House) -> None:
    page = visit("/", java_script_enabled=False)
    page.get_by_role("link", name="Hamlet").click()
    page.get_by_role("link", name="Choose your seats").click()
    page.get_by_role("link", name=re.compile("^Boxes")).click()
    headed(page, "Choose seats")
    # The same page where scripts run and this one did not come, because axe needs them.
    like = visit("/", width=1280)
    like.route(re.compile(r"/choose\.js"), lambda route: route.abort())
    like.goto(page.url)
    expect(like.locator("[data-plain]")).to_have_css("visibility", "visible", timeout=PATIENCE_MS)
    picture(like, "seats-without-scripts")
    row = page.get_by_role("group", name="Row Box 9")
    row.get_by_label("1", exact=True).check()
    row.get_by_label("2", exact=True).check()
    page.get_by_role("button", name="Take these seats").click()
    fill_details(page)
    to_the_sandbox(page)
    page.get_by_role("button", name=re.compile(r"^Pay [\d.]+ EUR$")).click()
    headed(page, "Your tickets")
    page.get_by_role("link", name="Show, rename or give away").first.click()
    headed(page, "Hamlet")


def test_the_time_is_over(visit: Visit, house: House) -> None:
    page = visit("/tickets")
    take(page, house, "Open Rehearsal", None, 2)
    first = address(page)
    page.get_by_label("E-mail address").fill(BUYER["email"])
    house.sql(
        "update bookings set expires_at = now() where booking_id = $1::text::uuid", first.rpartition("/")[2]
    )
    page.reload()
    headed(page, "Your time was over")
    picture(page, "over", dark=True)
    page.get_by_role("button", name="Try the same places again").click()
    headed(page, "Who books?")
    assert address(page) != first
    # What was typed is kept.
    expect(page.get_by_label("E-mail address")).to_have_value(BUYER["email"])
    fill_details(page)
    picture(page, "confirm")
    page.get_by_role("button", name="Confirm the booking").click()
    headed(page, "Your tickets")
    # What was free is given back by whoever has it.
    page.get_by_text("Cancel this booking").click()
    page.get_by_role("button", name="Cancel it for good").click()
    headed(page, "This booking is cancelled")
    picture(page, "cancelled")
    take(page, house, "Open Rehearsal", None, 1)
    page.get_by_role("button", name="Let the places go").click()
    headed(page, "You let the places go")
    picture(page, "let-go")


def test_money_that_comes_too_late_or_is_another_sum(visit: Visit, house: House) -> None:
    page = visit("/tickets")
    take(page, house, "Hamlet", "Floor · Standing", 2)
    fill_details(page)
    to_the_sandbox(page)
    provider = page.url
    booking = house.claim("Endgame", seats=["Studio:A-1"])
    page.go_back()
    headed(page, "Check and pay")
    at = address(page)
    house.sql(
        "update payments set state = 'MISMATCHED', charge = 'c', settled_at = now() where booking_id = $1::text::uuid",
        at.rpartition("/")[2],
    )
    page.goto(at)
    headed(page, "We look into your payment")
    picture(page, "another-sum")
    house.sql(
        "update payments set state = 'OPEN', charge = null, settled_at = null where booking_id = $1::text::uuid",
        at.rpartition("/")[2],
    )
    # The way to a provider elsewhere goes by a page of its own.
    house.sql(
        "update payments set way = $2 where booking_id = $1::text::uuid", at.rpartition("/")[2],
        '{"url": "https://pay.example.org/v1", "method": "POST", "fields": {"key": "k"}}',
    )  # fmt: skip
    page.goto(at)
    page.get_by_role("button", name=re.compile("^Pay")).click()
    headed(page, "On to the payment service")
    picture(page, "hand-over")
    # Everybody else takes the floor as soon as it is free.
    house.sql(
        "update bookings set expires_at = now() where booking_id = $1::text::uuid", at.rpartition("/")[2]
    )
    page.goto(at)
    headed(page, "Your time was over")
    picture(page, "over-while-paying")
    for _ in range(30):
        house.claim("Hamlet", quantity=10, area="Floor", tier="Standing")
    page.goto(provider)
    page.get_by_role("button", name=re.compile(r"^Pay [\d.]+ EUR$")).click()
    headed(page, "Your money came too late")
    until(lambda: page.reload() and "has gone back" in page.inner_text("main"), "the way back of the money")
    picture(page, "too-late")
    assert booking["status"] == "PENDING"


def test_a_queue_and_places_apart(visit: Visit, house: House) -> None:
    with house.held_up("Endgame"):
        waiting = house.queued("Endgame", quantity=1)
        page = visit(house.link(waiting))
        headed(page, "It is almost your turn")
        picture(page, "queued")
    page.goto(house.link(waiting).partition("#")[0])
    headed(page, "Who books?")
    page.goto(f"/shows/{house.shows['Endgame']}")
    page.get_by_label("How many?").select_option("4")
    page.get_by_role("button", name="Take the best available").click()
    expect(page.locator("#problem")).to_contain_text("not side by side", timeout=PATIENCE_MS)
    picture(page, "not-together")


def test_what_is_not_to_be_had(visit: Visit, house: House) -> None:
    page = visit(f"/shows/{house.shows['The Tempest']}")
    picture(page, "soon")
    page.goto(f"/shows/{house.shows['Happy Days']}")
    picture(page, "sold-out")
    page.goto(f"/shows/{house.shows['Macbeth']}")
    picture(page, "show-cancelled")
    page.goto("/shows/nonsense")
    picture(page, "refused")
    page.goto("/?q=Godot")
    picture(page, "nothing-found")


def test_tickets_are_found_renamed_and_given_away(visit: Visit, house: House) -> None:
    booking = house.claim("Open Rehearsal", quantity=2, customer=BUYER)
    link = house.link(booking)
    page = visit(link)
    headed(page, "Check and confirm")
    assert "secret" not in page.url
    page.get_by_role("button", name="Confirm the booking").click()
    headed(page, "Your tickets")
    page.get_by_role("button", name="Send the letter again").click()
    expect(page.locator("main")).to_contain_text("once more", timeout=PATIENCE_MS)
    kept(page)
    picture(page, "letter-again")
    # Another browser has no right yet: by the pasted link, or by a new letter.
    elsewhere = visit(link.partition("#")[0])
    headed(elsewhere, "Your link, please")
    picture(elsewhere, "unknown")
    elsewhere.get_by_label("Link from your letter").fill(f"https://tickets.example.org{link}")
    elsewhere.get_by_role("button", name="Open").click()
    headed(elsewhere, "Your tickets")
    elsewhere.get_by_role("link", name="Show, rename or give away").first.click()
    elsewhere.get_by_text("Change the name").click()
    elsewhere.get_by_label("Name on the ticket").fill("Ada Lovelace")
    elsewhere.get_by_role("button", name="Save").click()
    expect(elsewhere.locator(".ticket")).to_contain_text("Ada Lovelace", timeout=PATIENCE_MS)
    elsewhere.get_by_text("Give it to somebody else").click()
    kept(elsewhere)
    picture(elsewhere, "give-away")
    elsewhere.get_by_label("Their name").fill("Alan Turing")
    elsewhere.get_by_label("Their e-mail address").fill("alan@example.org")
    elsewhere.get_by_role("button", name="Give it away").click()
    headed(elsewhere, "The ticket is on its way")
    picture(elsewhere, "given")
    elsewhere.get_by_role("link", name="All tickets of the booking").click()
    headed(elsewhere, "Your tickets")
    expect(elsewhere.locator("main")).to_contain_text("Given to somebody else")
    lost = visit("/tickets")
    picture(lost, "find")
    lost.get_by_label("E-mail address").fill(BUYER["email"])
    lost.get_by_role("button", name="Send me my tickets").click()
    expect(lost.locator(".note.good")).to_contain_text("look into your mailbox", timeout=PATIENCE_MS)
    picture(lost, "found")


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_the_first_views_are_small_and_still(visit: Visit, house: House, size: tuple[int, int]) -> None:
    hamlet = f"/shows/{house.shows['Hamlet']}"
    for path, ready in (("/", "h1"), (hamlet, "h1"), (f"{hamlet}/seats", "#choose canvas.seats")):
        page = visit("about:blank", width=size[0], height=size[1])
        page.add_init_script(SHIFTS)
        bytes_of: list[float] = []
        wire = page.context.new_cdp_session(page)
        wire.send("Network.enable")
        wire.on("Network.loadingFinished", lambda told: bytes_of.append(told["encodedDataLength"]))  # noqa: B023
        page.goto(path)
        expect(page.locator(ready)).to_be_visible(timeout=PATIENCE_MS)
        page.wait_for_load_state("load")
        # Two frames later everything stands where it stays.
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.evaluate("() => window.shifts") == [], path
        assert 1_000 < sum(bytes_of) < FIRST_VIEW_BYTES_MAX, path


def test_axe_is_there() -> None:
    """Without it the screens are looked at by this suite alone."""
    if not AXE.exists():
        pytest.skip("npm could not be reached when this environment was made: ./holdfast test says more")
    assert "axe.run" in AXE.read_text("utf-8")


@pytest.mark.skipif(TAKES, reason="the pictures are being taken")
def test_the_pictures_are_those_that_are_taken() -> None:
    with open(__file__, encoding="utf-8") as source:
        taken = re.findall(r'picture\(\w+, "([\w-]+)"(?:, whole=False)?(, dark=True)?', source.read())
    files = {
        f"{name}{shade}{size}.png"
        for name, dark in taken
        for shade in (("", "-dark") if dark else ("",))
        for size in ("", "-phone")
    }
    assert {path.name for path in PICTURES.iterdir()} == files | {TEXTS.name}
    assert set(texts()) == {name for name, _ in taken}
