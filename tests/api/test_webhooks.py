"""Webhooks and the feed over HTTP, with receivers that are really called by what the engine runs in the background."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
from standardwebhooks import Webhook

from holdfast.engine import Engine, work
from holdfast.platform.db import Database
from holdfast.platform.settings import Settings
from holdfast.webhooks import feed
from holdfast.webhooks.endpoints import WEBHOOKS_MAX
from tests.api.people import another_house, signed_in
from tests.conftest import client_of
from tests.platform.eventually import until
from tests.webhooks.receiver import OK, Receiver, answer

pytestmark = pytest.mark.anyio

Client = httpx.AsyncClient
GUEST = {"email": "guest@example.org", "name": "Guest"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Receivers of tests are on loopback."""
    return msgspec.structs.replace(settings, egress="any")


@asynccontextmanager
async def at_work(engine: Engine) -> AsyncIterator[None]:
    """The engine's background work."""
    stopping = asyncio.Event()
    running = asyncio.create_task(work(engine, stopping))
    try:
        yield
    finally:
        stopping.set()
        await running


async def made(owner: Client, **body: Any) -> dict[str, Any]:
    answered = await owner.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/", **body})
    assert answered.status_code == 201, answered.text
    shown: dict[str, Any] = answered.json()
    return shown


async def booked(owner: Client, show: dict[str, Any], seat: str) -> dict[str, Any]:
    answered = await owner.post(
        f"/v1/shows/{show['id']}/bookings", json={"seats": [seat], "confirm": True, "customer": GUEST}
    )
    assert answered.status_code == 201, answered.text
    shown: dict[str, Any] = answered.json()
    return shown


async def read(client: Client, **query: Any) -> dict[str, Any]:
    answered = await client.get("/v1/facts", params=query)
    assert answered.status_code == 200, answered.text
    page: dict[str, Any] = answered.json()
    return page


async def key_with(owner: Client, *scopes: str) -> dict[str, str]:
    answered = await owner.post("/v1/keys", json={"name": "Till", "scopes": list(scopes)})
    return {"Authorization": f"Bearer {answered.json()['key']}"}


async def test_from_a_booking_to_a_receiver_and_into_the_feed(
    engine: Engine, owner: Client, a_show: Any
) -> None:
    async with Receiver(answer(500, b"not now"), OK).open() as receiver, at_work(engine):
        webhook = await made(owner, url=receiver.url, kinds=["booking.confirmed"], description="Loyalty")
        booking = await booked(owner, await a_show(), "1")
        await until(lambda: receiver.sent)
        deliveries = f"/v1/webhooks/{webhook['id']}/deliveries"

        async def failed() -> bool:
            return bool((await owner.get(deliveries)).json()["deliveries"][0]["attempts"])

        await until(failed)
        (waiting,) = (await owner.get(deliveries, params={"state": "waiting"})).json()["deliveries"]
        assert waiting["next_at"] is not None
        assert [(each["status"], each["said"]) for each in waiting["tries"]] == [(500, "not now")]
        # A person who does not want to wait for the next try.
        again = await owner.post(f"{deliveries}/{waiting['fact_id']}/replay")
        assert (again.status_code, again.json()["state"]) == (202, "waiting")

        async def delivered() -> bool:
            shown = (await owner.get(f"{deliveries}/{waiting['fact_id']}")).json()
            return bool(shown["state"] == "delivered")

        await until(delivered)
        page = await read(owner, kinds=["booking.confirmed"])
    event = Webhook(webhook["secret"]).verify(receiver.sent[-1].body, receiver.sent[-1].headers)
    assert event["data"]["booking_id"] == booking["id"]
    assert page["facts"] == [event]
    assert receiver.ids == [event["id"]] * 2
    # Ids and amounts alone.
    assert "guest" not in receiver.sent[-1].body.decode().lower()
    got = await owner.get(f"/v1/{event['subject']}")
    assert (got.status_code, got.json()["id"]) == (200, booking["id"])


async def test_the_secret_is_shown_once(owner: Client) -> None:
    webhook = await made(owner)
    assert webhook["secret"].startswith("whsec_")
    for path in ("/v1/webhooks", f"/v1/webhooks/{webhook['id']}"):
        assert "secret" not in {
            name
            for each in _all((await owner.get(path)).json())
            for name in each
            if name != "old_secret_until"
        }
    rotated = await owner.post(f"/v1/webhooks/{webhook['id']}/rotate", json={"overlap_seconds": 60})
    assert rotated.status_code == 201
    assert rotated.json()["secret"] not in ("", webhook["secret"])
    assert rotated.json()["old_secret_until"] is not None
    edited = await owner.patch(f"/v1/webhooks/{webhook['id']}", json={"description": "Till"})
    assert "secret" not in edited.json()


def _all(shown: dict[str, Any]) -> list[dict[str, Any]]:
    return shown.get("webhooks", [shown])  # type: ignore[no-any-return]


async def test_editing_sets_what_is_given_alone(owner: Client) -> None:
    webhook = await made(owner, kinds=["booking.confirmed"], description="One")
    path = f"/v1/webhooks/{webhook['id']}"
    off = (await owner.patch(path, json={"enabled": False})).json()
    assert (off["enabled"], off["disabled_because"], off["kinds"], off["description"]) == (
        False, "by_staff", ["booking.confirmed"], "One",
    )  # fmt: skip
    everything = (await owner.patch(path, json={"kinds": None})).json()
    assert (everything["kinds"], everything["enabled"]) == (None, False)
    on = (await owner.patch(path, json={"enabled": True, "url": "http://127.0.0.1:9/other"})).json()
    assert (on["enabled"], on["disabled_because"], on["url"]) == (True, None, "http://127.0.0.1:9/other")
    assert (await owner.delete(path)).status_code == 204
    assert (await owner.get(path)).json()["code"] == "webhook_not_found"
    assert (await owner.delete(path)).status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"kinds": ["booking.confirmed", "no.such"]}, "/kinds/1"),
        ({"kinds": []}, "/kinds"),
        ({"description": "a\nb"}, "/description"),
        ({"description": "x" * 201}, "/description"),
        ({"url": ""}, "/url"),
    ],
)
async def test_what_no_webhook_can_be_is_refused(owner: Client, body: dict[str, Any], pointer: str) -> None:
    answered = await owner.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/", **body})
    assert answered.status_code == 400
    assert answered.json()["errors"][0]["pointer"] == pointer
    webhook = await made(owner)
    answered = await owner.patch(f"/v1/webhooks/{webhook['id']}", json=body)
    assert (answered.status_code, answered.json()["errors"][0]["pointer"]) == (400, pointer)


async def test_no_address_of_an_inner_network_is_taken(
    open_another: Any, engine: Engine, owner: Client
) -> None:
    webhook = await made(owner)
    async with open_another(egress="public") as public, client_of(public, **dict(owner.headers)) as client:
        for url in (
            "https://127.0.0.1/",
            "http://8.8.8.8/",
            "https://169.254.169.254/",
            "https://[::1]/",
            "https://db/",
        ):
            for answered in (
                await client.post("/v1/webhooks", json={"url": url}),
                await client.patch(f"/v1/webhooks/{webhook['id']}", json={"url": url}),
            ):
                assert (answered.status_code, answered.json()["code"]) == (400, "address_refused"), url
    assert len((await owner.get("/v1/webhooks")).json()["webhooks"]) == 1


async def test_only_so_many(owner: Client) -> None:
    for _ in range(WEBHOOKS_MAX):
        await made(owner)
    refused = await owner.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/"})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_webhooks")


async def test_a_ping_with_the_same_key_is_one_ping(owner: Client, engine: Engine) -> None:
    webhook = await made(owner)
    path = f"/v1/webhooks/{webhook['id']}/ping"
    first, second = [await owner.post(path, headers={"Idempotency-Key": "k" * 20}) for _ in range(2)]
    assert (first.status_code, first.json()["kind"]) == (202, "webhook.ping")
    assert first.json() == second.json()
    assert await engine.db.value("select count(*) from webhook_deliveries") == 1
    await owner.patch(f"/v1/webhooks/{webhook['id']}", json={"enabled": False})
    assert (await owner.post(path)).json()["code"] == "webhook_disabled"


async def test_deliveries_are_listed_page_by_page(owner: Client, engine: Engine) -> None:
    webhook = await made(owner)
    path = f"/v1/webhooks/{webhook['id']}"
    sent = [(await owner.post(f"{path}/ping")).json()["fact_id"] for _ in range(3)]
    first = (await owner.get(f"{path}/deliveries", params={"limit": 2})).json()
    second = (await owner.get(f"{path}/deliveries", params={"limit": 2, "cursor": first["next"]})).json()
    assert [each["fact_id"] for each in first["deliveries"] + second["deliveries"]] == sent[::-1]
    assert second["next"] is None
    await engine.db.execute(
        "update webhook_deliveries set state = 'dead', ended_at = now() where fact_id = $1", UUID(sent[1])
    )
    dead = (await owner.get(f"{path}/deliveries", params={"state": "dead"})).json()["deliveries"]
    assert [each["fact_id"] for each in dead] == [sent[1]]
    assert (await owner.get(f"{path}/deliveries/{uuid4()}")).json()["code"] == "delivery_not_found"
    assert (await owner.post(f"{path}/deliveries/{uuid4()}/replay")).json()["code"] == "delivery_not_found"
    assert (await owner.get(f"/v1/webhooks/{uuid4()}/deliveries")).json()["code"] == "webhook_not_found"


async def test_a_span_that_was_missed_is_sent_again(engine: Engine, owner: Client, a_show: Any) -> None:
    async with Receiver().open() as receiver:
        webhook = await made(owner, url=receiver.url, kinds=["booking.confirmed"], enabled=False)
        path = f"/v1/webhooks/{webhook['id']}"
        async with at_work(engine):
            show = await a_show()
            missed = {(await booked(owner, show, seat))["id"] for seat in ("1", "2", "3")}

            async def all_read() -> bool:
                return len((await read(owner, kinds=["booking.confirmed"]))["facts"]) == len(missed)

            await until(all_read)
            body = {"since": "2020-01-01T00:00:00Z"}
            assert (await owner.post(f"{path}/replay", json=body)).json()["code"] == "webhook_disabled"
            await owner.patch(path, json={"enabled": True})
            backward = {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
            assert (await owner.post(f"{path}/replay", json=backward)).status_code == 400
            assert (await owner.post(f"{path}/replay", json=body)).status_code == 202
            await until(lambda: len(receiver.sent) == len(missed))
    assert {each.event["data"]["booking_id"] for each in receiver.sent} == missed


async def test_the_feed_is_read_on_by_a_key_with_the_scope(
    engine: Engine, owner: Client, client: Client, a_show: Any
) -> None:
    key = await key_with(owner, "facts.read")
    async with client_of(engine, **key) as reader, at_work(engine):
        show = await a_show()
        await booked(owner, show, "1")
        kinds = ["booking.confirmed", "show.created"]

        async def two() -> bool:
            return len((await read(reader, kinds=kinds))["facts"]) == 2

        await until(two)
        whole = await read(reader, kinds=kinds)
        first = await read(reader, kinds=kinds, limit=1)
        second = await read(reader, kinds=kinds, limit=1, cursor=first["next"])
        assert first["facts"] + second["facts"] == whole["facts"]
        assert first["more"] is True
        end = await read(reader, cursor=whole["next"])
        assert (end["more"], end["next"]) == (False, (await read(reader, cursor=end["next"]))["next"])
        assert {each["type"] for each in whole["facts"]} == set(kinds)
    for cursor in ("x", "-1", "0x1", "01", "F", "9" * 30, "1 "):
        answered = await owner.get("/v1/facts", params={"cursor": cursor})
        assert (answered.status_code, answered.json()["errors"][0]["pointer"]) == (400, "/cursor"), cursor
    answered = await owner.get("/v1/facts", params={"kinds": "no.such"})
    assert (answered.status_code, answered.json()["errors"][0]["pointer"]) == (400, "/kinds")
    lost = await owner.get("/v1/facts", params={"cursor": "fffff"})
    assert (lost.status_code, lost.json()["code"]) == (410, "facts_forgotten")
    assert (await client.get("/v1/facts")).status_code == 401
    async with client_of(engine, **await key_with(owner, "bookings.read")) as other:
        assert (await other.get("/v1/facts")).status_code == 403
        assert (await other.get("/v1/webhooks")).status_code == 403


async def test_nobody_reads_or_touches_what_is_another_organizers(
    engine: Engine, owner: Client, db: Database, a_show: Any
) -> None:
    webhook = await made(owner)
    ping = (await owner.post(f"/v1/webhooks/{webhook['id']}/ping")).json()
    async with at_work(engine):
        await booked(owner, await a_show(), "1")

        async def told() -> bool:
            return bool((await read(owner))["facts"])

        await until(told)
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        assert await read(stranger) == {"facts": [], "next": "0", "more": False}
        assert (await stranger.get("/v1/webhooks")).json() == {"webhooks": []}
        mine = (await stranger.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/"})).json()
        # Neither to their endpoint, nor a fact of theirs to one's own.
        fact = (await read(owner))["facts"][0]["id"]
        for path, code in (
            (f"/v1/webhooks/{webhook['id']}/deliveries/{ping['fact_id']}/replay", "webhook_not_found"),
            (f"/v1/webhooks/{mine['id']}/deliveries/{fact}/replay", "delivery_not_found"),
        ):
            assert (await stranger.post(path)).json()["code"] == code
    assert await db.value("select count(*) from webhook_deliveries where fact_id = $1", UUID(fact)) <= 1


async def test_a_cursor_that_is_too_old_says_so(engine: Engine, owner: Client, a_show: Any) -> None:
    async with at_work(engine):
        await a_show()

        async def told() -> bool:
            return bool((await read(owner))["facts"])

        await until(told)
    await engine.db.execute("update facts set stored_at = now() - interval '31 days'")
    assert await feed.forget_old(engine.db) >= 1
    answered = await owner.get("/v1/facts", params={"cursor": "0"})
    assert (answered.status_code, answered.json()["code"]) == (410, "facts_forgotten")
    assert (await read(owner))["facts"] == []
