"""Tickets without a network, and the shop in a frame of somebody else's page."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Visit
from tests.cli.running import Up, until

PATIENCE_MS = 30_000
NO_NETWORK = "No network: this was saved on"


def booked(page: Page, show: str) -> str:
    """The path of a booking of two free places, whose page the visitor has before them, with the copy kept."""
    page.goto(f"/shows/{show}")
    page.get_by_role("button", name="Take the best available").click()
    page.get_by_label("E-mail").fill("grace@example.org")
    page.get_by_label("Name").fill("Grace Hopper")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("heading", name="Your tickets")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("They are kept on this device")).to_be_visible(timeout=PATIENCE_MS)
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    found: str = page.evaluate("location.pathname")
    return found


def squares(page: Page) -> int:
    """How many codes are there, each of them a picture that can be seen."""
    seen: int = page.evaluate(
        "[...document.querySelectorAll('.slide img')].filter((each) => each.complete && each.naturalWidth > 0).length"
    )
    return seen


def kept(page: Page) -> list[str]:
    found: list[str] = page.evaluate(
        "caches.open('tickets-1').then((all) => all.keys()).then((keys) => keys.map((each) => new URL(each.url).pathname))"
    )
    return found


def test_tickets_open_without_a_network_and_go_when_they_are_told_to(visit: Visit, shop: Up) -> None:
    show = shop.make_show(name="Hamlet", status="on_sale", total_seats=10)["id"]
    page = visit("/", width=390, height=844)
    at = booked(page, show)
    assert kept(page) == [f"{at}/door"]

    page.context.set_offline(True)
    page.goto(f"{at}/tickets/2")
    expect(page.get_by_text(NO_NETWORK)).to_be_visible()
    assert squares(page) == 2
    second, first = page.locator("#ticket-2"), page.locator("#ticket-1")
    expect(second).to_be_in_viewport(ratio=0.9)
    expect(second.get_by_text("2 / 2")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(first).to_be_in_viewport(ratio=0.9)
    first.get_by_role("link", name="Next ticket").click()
    expect(second).to_be_in_viewport(ratio=0.9)

    # Whatever else is asked for leads to the tickets that there are.
    for path in ("/", "/tickets"):
        page.goto(path)
        expect(page.get_by_role("heading", name="No network")).to_be_visible()
    page.get_by_role("link", name="Hamlet").click()
    expect(page.get_by_text(NO_NETWORK)).to_be_visible()

    # With a network the truth takes the place of the copy, without anything being done.
    page.context.set_offline(False)
    expect(page.get_by_text(NO_NETWORK)).to_be_hidden(timeout=PATIENCE_MS)
    assert squares(page) == 2

    # What was cancelled elsewhere is shown as such, and so it is in the copy from then on.
    other = page.context.new_page()
    other.goto(at)
    other.get_by_text("Cancel this booking").click()
    other.get_by_role("button", name="Cancel it for good").click()
    expect(other.get_by_role("heading", name="This booking is cancelled")).to_be_visible()
    page.goto(f"{at}/door")
    expect(page.get_by_text("Not valid any more").first).to_be_visible()
    assert squares(page) == 0
    until(lambda: "Not valid any more" in page.evaluate(f"caches.match('{at}/door').then((it) => it.text())"))
    page.context.set_offline(True)
    page.reload()
    expect(page.get_by_text(NO_NETWORK)).to_be_visible()
    assert squares(page) == 0


def test_tickets_are_removed_from_the_device_without_a_network_too(visit: Visit, shop: Up) -> None:
    show = shop.make_show(name="Hamlet", status="on_sale", total_seats=10)["id"]
    page = visit("/", width=390, height=844)
    first = booked(page, show)
    second = booked(page, show)
    page.goto("/tickets")
    page.get_by_role("button", name=re.compile("^Remove: Hamlet")).first.click()
    expect(page.get_by_text("They are not on this device any more.")).to_be_visible()
    [left] = kept(page)
    gone, still = (first, second) if left == f"{second}/door" else (second, first)
    page.goto(gone)
    expect(page.get_by_role("heading", name="Your link, please")).to_be_visible()

    page.context.set_offline(True)
    page.goto("/tickets")
    page.get_by_role("button", name=re.compile("^Remove: Hamlet")).click()
    expect(page.get_by_text("There are no tickets on this device.")).to_be_visible()
    assert kept(page) == []
    page.goto(f"{still}/tickets/1")
    expect(page.get_by_role("heading", name="No network")).to_be_visible()
    # The right in the cookie goes with the next page that there is a network for.
    page.context.set_offline(False)
    page.goto("/tickets")
    until(lambda: page.evaluate("localStorage.getItem('forgotten')") is None)
    page.goto(still)
    expect(page.get_by_role("heading", name="Your link, please")).to_be_visible()


@contextmanager
def a_site(shop: Up, show: str) -> Iterator[str]:
    """The origin of an organizer's site, which has the show in a frame as the guide says."""
    text = f"""<!doctype html><title>Our theatre</title><h1>Our theatre</h1>
    <iframe src="{shop.url}/embed/shows/{show}" title="Tickets" width="100%" height="120"></iframe>
    <script src="{shop.url}/embed.js" async></script>"""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        # Another site than 127.0.0.1, to whose frames no cookie goes.
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_show_is_framed_by_its_organizers_site_alone(chromium: Browser, shop: Up) -> None:
    show = shop.make_show(name="Hamlet", status="on_sale", total_seats=10)["id"]
    with a_site(shop, show) as ours, a_site(shop, show) as foreign:
        answer = httpx.put(
            f"{shop.url}/v1/organizer/embed-origins",
            json={"origins": [ours]},
            headers=shop.sign_in(),
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        with chromium.new_context() as context:
            page = context.new_page()
            page.goto(foreign)
            page.wait_for_load_state("networkidle")
            assert page.frames[1].url == "chrome-error://chromewebdata/"
            page.goto(ours)
            frame = page.frame_locator("iframe")
            expect(frame.get_by_role("heading", name="Hamlet")).to_be_visible(timeout=PATIENCE_MS)
            # As high as what is in it.
            until(lambda: page.locator("iframe").evaluate("(frame) => frame.clientHeight") > 250)
            inside = page.frames[1]
            assert inside.evaluate("document.documentElement.scrollHeight <= innerHeight")
            with context.expect_page() as opened:
                frame.get_by_role("button", name="Take the best available").click()
            # A tab of our own, where the browser knows the booking again.
            shown = opened.value
            expect(shown.get_by_role("heading", name="Who books?")).to_be_visible(timeout=PATIENCE_MS)
            shown.reload()
            expect(shown.get_by_role("heading", name="Who books?")).to_be_visible()
