"""The shop as an app and in frames, over HTTP: what is installed, what a device keeps, how it forgets, and who may frame."""

import base64
import json
from datetime import timedelta
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from PIL import Image

from holdfast.accounts import Role
from holdfast.accounts.embedding import origin
from holdfast.engine import Engine
from holdfast.platform import clock
from holdfast.platform.db import Database
from holdfast.platform.errors import Invalid
from holdfast.platform.settings import Settings
from holdfast.web.shop.counter import COOKIE_SECONDS
from holdfast.web.shop.door_pages import COOKIE_SECONDS_MAX
from tests.api.browsing import Browser, Page
from tests.api.people import another_house, signed_in
from tests.conftest import client_of

pytestmark = pytest.mark.anyio

GRACE = {"email": "grace@example.org", "name": "Grace"}
ORGANIZERS_PAGE = "https://www.example.org"
BINARY_BYTES_MAX = 1_048_576
NO_ORIGINS = (
    "http://www.example.org",
    "https://*.example.org",
    "https://",
    "https://www.example.org/path",
    "https://www.example.org?x",
    "https://user@www.example.org",
    "https://www.example.org:99999",
    "https://www.example.org; script-src *",
    "https://www.example.org 'self'",
    "https://bücher.example",
    "https://-a.example",
    "https://a..example",
    "https://example.org.",
    "javascript:alert(1)",
    "'self'",
    "*",
    "null",
)


@pytest.fixture
def browser(client: httpx.AsyncClient) -> Browser:
    return Browser(client)


async def booked(browser: Browser, show: dict[str, Any], quantity: str = "2") -> Page:
    """The page of a booking of free places that was confirmed."""
    form = (await browser.go(f"/shows/{show['id']}")).form("/claim").fill(quantity=quantity)
    details = await browser.send(form)
    page = await browser.send((await browser.send(details.form("/details").fill(**GRACE))).form("/confirm"))
    assert page.headings == ["Your tickets"]
    return page


def ancestors(answer: httpx.Response) -> str:
    policy = answer.headers["content-security-policy"]
    return next(each for each in policy.split("; ") if each.startswith("frame-ancestors")).partition(" ")[2]


# What is installed


async def test_the_manifest_names_pictures_that_are_there(client: httpx.AsyncClient) -> None:
    answer = await client.get("/manifest.webmanifest", headers={"Accept-Language": "de"})
    assert answer.headers["content-type"] == "application/manifest+json"
    found = answer.json()
    assert (found["lang"], found["shortcuts"][0]["name"]) == ("de", "Meine Tickets")
    assert (found["id"], found["start_url"], found["scope"], found["display"]) == (
        "/",
        "/",
        "/",
        "standalone",
    )
    sizes = set()
    for icon in found["icons"]:
        picture = await client.get(icon["src"])
        assert (picture.status_code, picture.headers["content-type"]) == (200, icon["type"])
        assert len(picture.content) < BINARY_BYTES_MAX
        if icon["type"] == "image/png":
            with Image.open(BytesIO(picture.content)) as drawn:
                assert f"{drawn.width}x{drawn.height}" == icon["sizes"]
            sizes.add((icon["sizes"], icon["purpose"]))
    assert sizes == {("192x192", "any"), ("512x512", "any"), ("512x512", "maskable")}


async def test_the_worker_is_asked_for_anew_and_keeps_files_that_are_there(client: httpx.AsyncClient) -> None:
    answer = await client.get("/service-worker.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    # Its own policy is the one that it came with: without this it could ask for nothing.
    assert "connect-src 'self'" in answer.headers["content-security-policy"]
    first, _, rest = answer.text.partition(";\n")
    release = json.loads(first.removeprefix("self.RELEASE = "))
    assert "addEventListener" in rest
    assert release["files"]
    for each in release["files"]:
        assert each.startswith(f"/static/{release['version']}/")
        assert (await client.get(each)).status_code == 200
    page = await client.get("/")
    assert "worker-src 'self'" in page.headers["content-security-policy"]
    assert f"/static/{release['version']}/app/app.js" in page.text
    assert 'rel="manifest"' in page.text
    assert "viewport-fit=cover" in page.text


class TestWithoutKeeping:
    """`HOLDFAST_OFFLINE_TICKETS=off`: a worker that went wrong, or that nobody wants, can be taken away."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return msgspec.structs.replace(settings, offline_tickets="off")

    async def test_the_worker_takes_itself_away_and_no_page_brings_it_back(
        self, client: httpx.AsyncClient, browser: Browser, a_show: Any
    ) -> None:
        answer = await client.get("/service-worker.js")
        assert "unregister()" in answer.text
        assert "RELEASE" not in answer.text
        page = await booked(browser, await a_show())
        door = await browser.go(f"{page.address}/door")
        for each in (page, door, await browser.go("/tickets"), await browser.go(f"{page.address}/tickets/1")):
            assert [src for src in each.loads if "/app/" in src and src.endswith(".js")] == []
        assert len([src for src in door.loads if src.startswith("data:image/svg+xml")]) == 2
        # Without a copy there is nothing that the right would have to last for.
        assert _age(await client.get(f"{page.address}/door")) == COOKIE_SECONDS


# What a device keeps


async def test_the_page_for_the_door_is_whole_and_has_nothing_but_tickets(
    browser: Browser, client: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show()
    page = await booked(browser, show)
    door = await browser.go(f"{page.address}/door")
    assert door.status == 200
    assert door.faults == []
    squares = [each for each in door.loads if each.startswith("data:")]
    drawn = [base64.b64decode(each.partition("base64,")[2]) for each in squares]
    assert drawn == [
        (await client.get(f"{page.address}/tickets/{number}/qr.svg")).content for number in (1, 2)
    ]
    # What is kept on a device has no form, no address and no right to anything but the way in.
    assert door.forms == []
    assert "state" not in door.data
    assert GRACE["email"] not in door.source
    assert "data-copy" not in door.source
    copy = await browser.go(f"{page.address}/door?copy=1")
    assert "No network: this was saved on" in copy.text
    assert copy.loads == door.loads
    secret = client.cookies["bookings"].partition(".")[2]
    for each in (door, copy):
        assert secret not in each.source
    assert (await browser.go("/offline")).headings == ["No network"]
    # Who may see the whole booking finds the ticket in it, too.
    one = await client.get(f"{page.address}/tickets/2/door")
    assert (one.status_code, one.headers["location"]) == (303, f"{page.address}/door#ticket-2")


async def test_the_door_does_not_show_as_good_what_is_not(browser: Browser, a_show: Any) -> None:
    page = await booked(browser, await a_show())
    one = await browser.go(f"{page.address}/tickets/1")
    await browser.send(one.form("/transfer").fill(name="Bob", email="bob@example.org"))
    for path in ("/door", "/door?copy=1"):
        door = await browser.go(page.address + path)
        assert "Given to somebody else" in door.text
        assert len([each for each in door.loads if each.startswith("data:")]) == 1
    await browser.send((await browser.go(page.address)).form("/cancel"))
    door = await browser.go(f"{page.address}/door")
    assert [each for each in door.loads if each.startswith("data:")] == []


async def test_the_right_lasts_as_long_as_the_copy(
    browser: Browser, client: httpx.AsyncClient, a_show: Any, owner: httpx.AsyncClient
) -> None:
    soon = clock.now() + timedelta(days=100)
    show = await a_show(start_time=soon.isoformat())
    page = await booked(browser, show)
    answer = await client.get(f"{page.address}/door")
    assert _age(answer) == pytest.approx(102 * 86400, abs=600)
    far = await booked(browser, await a_show())
    assert _age(await client.get(f"{far.address}/door")) == COOKIE_SECONDS_MAX


async def test_a_browser_forgets_one_booking_and_keeps_the_others(
    browser: Browser, client: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show()
    first, second = await booked(browser, show), await booked(browser, show)
    gone = await browser.send(first.form("/forget"))
    assert gone.address == "/tickets?gone=1"
    assert "They are not on this device any more." in gone.text
    assert (await browser.go(first.address)).headings == ["Your link, please"]
    assert (await browser.go(f"{first.address}/door")).status == 404
    assert (await browser.go(second.address)).headings == ["Your tickets"]
    last = await client.post(
        f"{second.address}/forget", headers={"Origin": "http://holdfast.test"}, follow_redirects=False
    )
    assert _age(last) == 0
    assert "bookings" not in client.cookies


async def test_nobody_else_makes_a_browser_forget(
    browser: Browser, client: httpx.AsyncClient, a_show: Any
) -> None:
    page = await booked(browser, await a_show())
    answer = await client.post(f"{page.address}/forget", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    hostile = await client.post(
        "/shows/x;Domain=org/bookings/1/forget", headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert hostile.status_code == 404
    assert "set-cookie" not in hostile.headers
    assert (await browser.go(page.address)).headings == ["Your tickets"]


async def test_a_ticket_names_the_gates_that_admit_it(
    browser: Browser, client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: Any
) -> None:
    areas = [
        {"name": "Stalls", "kind": "standing", "capacity": 5},
        {"name": "Circle", "kind": "standing", "capacity": 5},
    ]
    show = await a_show(areas=areas)
    at = f"/v1/shows/{show['id']}"
    made = await owner.post(f"{at}/door/lists", json={"name": "Upstairs", "areas": ["Circle"]})
    assert made.status_code == 201, made.text
    for body in ({"name": "Gate A"}, {"name": "Gate B", "list_id": made.json()["id"]}):
        assert (await owner.post(f"{at}/door/gates", json=body)).status_code == 201
    for area, gates in (("Stalls", ["Gate A"]), ("Circle", ["Gate A", "Gate B"])):
        claim = {"quantity": 1, "area": area, "customer": GRACE}
        held = (await client.post(f"{at}/bookings", json=claim)).json()
        right = {"Authorization": f"Bearer {held['secret']}"}
        assert (await client.post(f"{at}/bookings/{held['id']}/confirm", headers=right)).status_code == 200
        found = (await client.get(f"{at}/bookings/{held['id']}/tickets", headers=right)).json()["tickets"]
        assert [each["gates"] for each in found] == [gates]
        opened = await client.post(
            f"/shows/{show['id']}/bookings/{held['id']}/open",
            content=f"secret={held['secret']}",
            headers={
                "Origin": "http://holdfast.test",
                "Content-Type": "application/x-www-form-urlencoded",
            },
            follow_redirects=False,
        )
        assert opened.status_code == 303
        door = await browser.go(f"/shows/{show['id']}/bookings/{held['id']}/door")
        assert f"Entrance: {', '.join(gates)}" in door.text


def _age(answer: httpx.Response) -> int:
    return int(answer.headers["set-cookie"].partition("Max-Age=")[2].partition(";")[0])


# Frames


async def test_only_the_organizers_own_sites_may_frame_a_show(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    embed = f"/embed/shows/{show['id']}"
    assert ancestors(await client.get(embed)) == "'none'"
    texts = [" HTTPS://WWW.Example.org:443/ ", ORGANIZERS_PAGE, "http://localhost:8080"]
    answer = await owner.put("/v1/organizer/embed-origins", json={"origins": texts})
    assert answer.json() == {"origins": [ORGANIZERS_PAGE, "http://localhost:8080"]}
    assert (await owner.get("/v1/organizer/embed-origins")).json() == answer.json()
    assert (await client.get(f"/v1/shows/{show['id']}/embedding")).json() == answer.json()
    assert ancestors(await client.get(embed)) == f"{ORGANIZERS_PAGE} http://localhost:8080"
    # No other page, and nobody else's.
    for path in ("/", "/tickets", "/offline", f"/shows/{show['id']}", f"/shows/{show['id']}/seats"):
        assert ancestors(await client.get(path)) == "'none'"
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        assert (await stranger.get("/v1/organizer/embed-origins")).json() == {"origins": []}
        theirs = await stranger.put("/v1/organizer/embed-origins", json={"origins": ["https://evil.example"]})
        assert theirs.status_code == 200
    assert "evil" not in ancestors(await client.get(embed))
    await owner.put("/v1/organizer/embed-origins", json={"origins": []})
    assert ancestors(await client.get(embed)) == "'none'"


async def test_who_says_which_sites_is_written_down(owner: httpx.AsyncClient, db: Database) -> None:
    await owner.put("/v1/organizer/embed-origins", json={"origins": [ORGANIZERS_PAGE]})
    row = await db.row("select action, before, after from audit order by entry_id desc limit 1")
    assert row is not None
    assert (row["action"], row["before"], row["after"]) == (
        "organizer.framed",
        {"origins": []},
        {"origins": [ORGANIZERS_PAGE]},
    )


async def test_only_an_owner_says_which_sites(engine: Engine) -> None:
    roles: tuple[Role, ...] = ("manager", "box_office", "door", "viewer")
    for role in roles:
        async with signed_in(engine, role) as staff:
            answer = await staff.put("/v1/organizer/embed-origins", json={"origins": [ORGANIZERS_PAGE]})
        assert answer.status_code == 403


async def test_what_is_no_origin_is_refused(owner: httpx.AsyncClient) -> None:
    for text in NO_ORIGINS:
        with pytest.raises(Invalid):
            origin(text, "/origins/0")
    answer = await owner.put(
        "/v1/organizer/embed-origins", json={"origins": [ORGANIZERS_PAGE, NO_ORIGINS[0]]}
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "/origins/1"
    assert (await owner.get("/v1/organizer/embed-origins")).json() == {"origins": []}


async def test_there_are_not_too_many_of_them(owner: httpx.AsyncClient) -> None:
    texts = [f"https://{number}.example.org" for number in range(21)]
    assert (await owner.put("/v1/organizer/embed-origins", json={"origins": texts})).status_code == 400
    assert (await owner.put("/v1/organizer/embed-origins", json={"origins": texts[:20]})).status_code == 200


async def test_a_frame_leads_into_a_tab_of_its_own(
    client: httpx.AsyncClient, browser: Browser, owner: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show()
    page = await browser.go(f"/embed/shows/{show['id']}?lang=de")
    assert page.faults == []
    assert [each for each in page.loads if not each.startswith(("/static/", "data:"))] == []
    assert page.answer.headers["content-language"] == "de"
    # Everything that can be followed leaves the frame: in it there would be no cookie.
    assert page.source.count('target="_blank"') == page.source.count("<a ") + page.source.count("<form ")
    details = await browser.send(page.form("/claim").fill(quantity="3"))
    assert urlsplit(details.address).path.startswith(f"/shows/{show['id']}/bookings/")
    assert details.headings == ["Who books?"]
    await owner.patch(f"/v1/shows/{show['id']}", json={"status": "cancelled"}, headers={"If-Match": '"1"'})
    over = await browser.go(f"/embed/shows/{show['id']}")
    assert over.forms == []
    assert "This show was cancelled." in over.text
    assert (await browser.go("/embed/shows/nonsense")).status == 404


async def test_a_draft_is_in_no_frame(client: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show(status="draft")
    assert (await client.get(f"/embed/shows/{show['id']}")).status_code == 404
    assert (await client.get(f"/v1/shows/{show['id']}/embedding")).status_code == 404


async def test_the_script_for_other_sites_may_be_loaded_by_them(engine: Engine) -> None:
    async with client_of(engine) as stranger:
        answer = await stranger.get("/embed.js")
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert "import" not in answer.text
