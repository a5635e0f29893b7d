"""Letters and text messages over HTTP: asked for once more, arranged by organizers, and looked at in development."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from holdfast import notifications
from holdfast.engine import Engine, open_engine, work
from holdfast.notifications import HttpGateway
from holdfast.platform import mail
from holdfast.platform.ids import new_id
from holdfast.platform.jobs import Discard
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import Settings
from tests.api.people import another_house, signed_in
from tests.conftest import SECRET, client_of, eventually

pytestmark = pytest.mark.anyio

GUEST = {"name": "Grace", "email": "guest@example.org"}
PHONE = "+436601234567"


class Gateway:
    """A gateway for text messages. `says` are the statuses that it answers first; then 202."""

    def __init__(self, *says: int) -> None:
        self.says = list(says)
        self.asked: list[tuple[str, Any]] = []
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.partition(":")[2])
            for line in head.split("\r\n")
            if line.lower().startswith("content-length")
        )
        body = json.loads(await reader.readexactly(length))
        status = self.says.pop(0) if self.says else 202
        self.asked.append((head, body))
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def texting(*says: int) -> AsyncIterator[Gateway]:
    gateway = Gateway(*says)
    server = await asyncio.start_server(gateway, "127.0.0.1", 0)
    gateway.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/messages"
    async with server:
        yield gateway


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with texting() as running:
        yield running


@pytest.fixture
def settings(settings: Settings, tmp_path: Path, gateway: Gateway) -> Settings:
    return msgspec.structs.replace(
        settings, mail_folder=str(tmp_path / "mail"), mail_page="on", sms_url=gateway.url, sms_token="t0ken"
    )


@asynccontextmanager
async def working(engine: Engine) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    running = asyncio.create_task(work(engine, stopping))
    try:
        yield
    finally:
        stopping.set()
        await running


@pytest.fixture
async def sold(client: httpx.AsyncClient, a_show: Any) -> dict[str, Any]:
    show = await a_show()
    body = {"quantity": 1, "confirm": True, "customer": GUEST}
    answer = await client.post(f"/v1/shows/{show['id']}/bookings", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def url_of(sold: dict[str, Any], path: str) -> str:
    return f"/v1/shows/{sold['show_id']}/bookings/{sold['id']}{path}"


def as_buyer(sold: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {sold['secret']}"}


def in_folder(settings: Settings) -> list[Path]:
    return sorted(Path(str(settings.mail_folder)).glob("*.eml"))


async def test_a_buyer_and_staff_have_the_tickets_sent_once_more(
    client: httpx.AsyncClient,
    owner: httpx.AsyncClient,
    engine: Engine,
    sold: dict[str, Any],
    settings: Settings,
) -> None:
    async with working(engine):
        await eventually(lambda: _count(settings, 1))
        first = await client.post(url_of(sold, "/resend"), headers=as_buyer(sold))
        assert first.status_code == 202, first.text
        assert first.content == b""
        await eventually(lambda: _count(settings, 2))
        again = {"Idempotency-Key": "0123456789abcdef-one-letter-of-mine"}
        for _ in range(2):
            assert (await owner.post(url_of(sold, "/resend"), headers=again)).status_code == 202
        await eventually(lambda: _count(settings, 3))
    letters = [path.read_bytes() for path in in_folder(settings)]
    assert len(letters) == 3
    assert all(b"Subject: Your tickets for Hamlet" in each for each in letters)
    assert all(b"application/pdf" in each for each in letters)


async def _count(settings: Settings, wanted: int) -> bool:
    return len(in_folder(settings)) >= wanted


async def test_what_a_buyer_has_sent_is_written_down(
    client: httpx.AsyncClient, engine: Engine, sold: dict[str, Any]
) -> None:
    assert (await client.post(url_of(sold, "/resend"), headers=as_buyer(sold))).status_code == 202
    async with working(engine):
        await eventually(lambda: _done(engine))
    rows = await engine.db.rows("select 1 from audit where action = 'letter.resent'")
    assert len(rows) == 1


async def _done(engine: Engine) -> bool:
    return bool(await engine.db.value("select count(*) = 0 from jobs where kind = 'booking.resend'"))


@pytest.mark.parametrize("path", ["/resend", "/text"])
async def test_nobody_else_has_anything_sent(
    path: str, client: httpx.AsyncClient, engine: Engine, sold: dict[str, Any]
) -> None:
    body = {"phone": PHONE} if path == "/text" else None
    wrong = [{}, {"Authorization": f"Bearer {SECRET}"}]
    for headers in wrong:
        answer = await client.post(url_of(sold, path), json=body, headers=headers)
        assert answer.status_code in (401, 404), answer.text
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        assert (await stranger.post(url_of(sold, path), json=body)).status_code == 404
    async with signed_in(engine, "viewer") as viewer:
        assert (await viewer.post(url_of(sold, path), json=body)).status_code == 403


async def test_what_cannot_be_sent_again_is_refused(
    client: httpx.AsyncClient, a_show: Any, sold: dict[str, Any]
) -> None:
    show = await a_show()
    held = (await client.post(f"/v1/shows/{show['id']}/bookings", json={"quantity": 1})).json()
    refused = await client.post(url_of(held, "/resend"), headers=as_buyer(held))
    assert (refused.status_code, refused.json()["code"]) == (409, "not_sold_yet")
    assert (await client.post(url_of(held, "/confirm"), headers=as_buyer(held))).status_code == 200
    refused = await client.post(url_of(held, "/resend"), headers=as_buyer(held))
    assert (refused.status_code, refused.json()["code"]) == (409, "no_address")
    assert (await client.post(url_of(sold, "/cancel"), headers=as_buyer(sold))).status_code == 200
    for path, body in (("/resend", None), ("/text", {"phone": PHONE})):
        refused = await client.post(url_of(sold, path), json=body, headers=as_buyer(sold))
        assert (refused.status_code, refused.json()["code"]) == (409, "booking_ended")


async def test_a_buyer_has_not_everything_sent_all_day(settings: Settings, sold: dict[str, Any]) -> None:
    limited = msgspec.structs.replace(settings, rate_limits="on", limit_resends="2/3600s")
    async with open_engine(limited) as engine, client_of(engine) as client:
        answers = [await client.post(url_of(sold, "/resend"), headers=as_buyer(sold)) for _ in range(3)]
    assert [each.status_code for each in answers] == [202, 202, 429]


async def test_the_way_to_the_tickets_comes_by_text_message(
    client: httpx.AsyncClient, engine: Engine, sold: dict[str, Any], gateway: Gateway
) -> None:
    gateway.says = [503]
    answer = await client.post(url_of(sold, "/text"), json={"phone": PHONE}, headers=as_buyer(sold))
    assert answer.status_code == 202, answer.text
    # Until it is sent nobody reads the number anywhere.
    kept = await engine.db.rows("select t::text from jobs t union all select t::text from audit t")
    assert "6601234567" not in repr(kept)

    async def sent() -> bool:
        return len(gateway.asked) == 2

    async with working(engine):
        await eventually(sent)
        await eventually(lambda: _texted(engine))
    (head, body), (_, second) = gateway.asked
    assert "authorization: bearer t0ken" in head.lower()
    assert body == second, "the same message under the same id"
    assert body["to"] == PHONE
    assert body["text"].startswith("Hamlet, Tuesday, 24 December 2030")
    assert body["text"].endswith(f"/shows/{sold['show_id']}/bookings/{sold['id']}#secret={sold['secret']}")


async def _texted(engine: Engine) -> bool:
    return bool(await engine.db.value("select count(*) = 0 from jobs where kind = 'booking.text'"))


@pytest.mark.parametrize("phone", ["06601234567", "+0660123456", "+43 660 123", "+4366012345678901", "+43x"])
async def test_a_number_that_is_none_is_refused(
    phone: str, client: httpx.AsyncClient, sold: dict[str, Any]
) -> None:
    answer = await client.post(url_of(sold, "/text"), json={"phone": phone}, headers=as_buyer(sold))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "/phone"


async def test_without_a_gateway_there_are_no_text_messages(settings: Settings, sold: dict[str, Any]) -> None:
    without = msgspec.structs.replace(settings, sms_url=None)
    async with open_engine(without) as engine, client_of(engine) as client:
        refused = await client.post(url_of(sold, "/text"), json={"phone": PHONE}, headers=as_buyer(sold))
    assert (refused.status_code, refused.json()["code"]) == (409, "texts_off")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, None),
        (400, Discard),
        (404, Discard),
        (429, notifications.GatewayDown),
        (500, notifications.GatewayDown),
    ],
)
async def test_a_gateway_is_heard_by_its_status(status: int, error: type[Exception] | None) -> None:
    async with texting(status) as running:
        sending = HttpGateway(running.url, None).send(new_id(), PHONE, "Hello")
        if error is None:
            await sending
        else:
            with pytest.raises(error):
                await sending
    with pytest.raises(notifications.GatewayDown):
        await HttpGateway(running.url, None).send(new_id(), PHONE, "Hello")


async def test_an_organizer_says_how_its_letters_are(owner: httpx.AsyncClient, engine: Engine) -> None:
    nothing = {"language": None, "reminder_hours": None, "texts": {"confirmation": "", "reminder": ""}}
    assert (await owner.get("/v1/organizer/letters")).json() == nothing
    wish = {"language": "de", "reminder_hours": 48, "texts": {"confirmation": "{{ show }}!", "reminder": ""}}
    assert (await owner.put("/v1/organizer/letters", json=wish)).json() == wish
    assert (await owner.get("/v1/organizer/letters")).json() == wish
    for wrong in ({"language": "fr"}, {"reminder_hours": 721}, {"texts": {"confirmation": "x" * 4001}}):
        assert (await owner.put("/v1/organizer/letters", json=wrong)).status_code == 400
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        assert (await stranger.get("/v1/organizer/letters")).json() == nothing
    async with signed_in(engine, "manager") as manager:
        assert (await manager.get("/v1/organizer/letters")).status_code == 200
        assert (await manager.put("/v1/organizer/letters", json=wish)).status_code == 403


HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def caught(settings: Settings) -> str:
    """A letter in the folder that is as bad as letters can be."""
    folder = Path(str(settings.mail_folder))
    folder.mkdir(parents=True, exist_ok=True)
    name = str(new_id())
    letter = mail.Letter("guest@example.org", HOSTILE, HOSTILE, f"<html><head></head>{HOSTILE}</html>")
    message = mail.Mailer(settings, Secrets(SECRET))._message(
        UUID(name), letter, "Sat, 01 Jan 2028 00:00:00 +0000"
    )
    message.add_attachment(b"<svg/>", maintype="image", subtype="svg+xml", filename='a".svg\u00fc/../x')
    (folder / f"{name}.eml").write_bytes(message.as_bytes())
    return name


async def test_caught_letters_are_shown_and_can_do_nothing(client: httpx.AsyncClient, caught: str) -> None:
    for path in ("/dev/letters", f"/dev/letters/{caught}"):
        page = await client.get(path)
        assert page.status_code == 200, page.text
        assert HOSTILE not in page.text
        assert "&lt;script&gt;" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "unsafe-inline" not in page.headers["content-security-policy"]
    assert '<iframe sandbox="allow-popups allow-popups-to-escape-sandbox"' in page.text
    frame = await client.get(f"/dev/letters/{caught}/html")
    policy = frame.headers["content-security-policy"]
    assert policy.startswith("sandbox ")
    assert "allow-scripts" not in policy
    assert "default-src 'none'" in policy
    file = await client.get(f"/dev/letters/{caught}/attachments/1")
    assert (file.status_code, file.content) == (200, b"<svg/>")
    assert file.headers["content-disposition"] == 'attachment; filename="a.svg..x"'
    assert file.headers["content-security-policy"].startswith("sandbox;")
    for path in (
        f"/{new_id()}",
        f"/{caught}/attachments/2",
        f"/{caught}/attachments/0",
        "/..%2f..%2fetc%2fpasswd",
    ):
        assert (await client.get(f"/dev/letters{path}")).status_code == 404


async def test_an_empty_folder_says_what_to_do(client: httpx.AsyncClient) -> None:
    page = await client.get("/dev/letters")
    assert page.status_code == 200
    assert "There is none yet." in page.text


@pytest.mark.parametrize(
    "changes",
    [{"mail_page": "off"}, {"host": "0.0.0.0"}, {"mail_folder": None},
     {"smtp_url": "smtp://127.0.0.1:1", "mail_from": "a@example.org"}],
)  # fmt: skip
async def test_letters_are_shown_on_one_machine_alone(
    changes: dict[str, Any], settings: Settings, caught: str
) -> None:
    async with (
        open_engine(msgspec.structs.replace(settings, **changes)) as engine,
        client_of(engine) as client,
    ):
        for path in ("/dev/letters", f"/dev/letters/{caught}", f"/dev/letters/{caught}/html"):
            assert (await client.get(path)).status_code == 404
