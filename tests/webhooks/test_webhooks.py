"""Facts on their way to organizers' endpoints: exactly one delivery for each, tried for three days, nobody in the way."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from holdfast import facts
from holdfast.engine import Engine
from holdfast.platform import clock, jobs
from holdfast.platform.ids import OrganizerId, new_id
from holdfast.platform.jobs import Job, Later
from holdfast.platform.outbox import Fact, Followers, Relay, announce
from holdfast.webhooks import Sending, delivering, endpoints, feed, replaying, signing
from holdfast.webhooks.delivering import DELIVER, Deliverer
from holdfast.webhooks.sending import PING, SAID_BYTES
from holdfast.webhooks.taking import Taker
from tests.webhooks.receiver import Receiver, answer, open_all
from tests.webhooks.sending import (
    BOOKED,
    another_house,
    endpoint,
    happened,
    later,
    leased,
    log,
    taken,
    tried,
)

pytestmark = pytest.mark.anyio


async def test_a_fact_makes_one_delivery_for_each_endpoint_that_takes_it(
    engine: Engine, house: OrganizerId
) -> None:
    takes_all, _ = await endpoint(engine, house, "http://127.0.0.1:9/all")
    takes_it, _ = await endpoint(engine, house, "http://127.0.0.1:9/it", kinds=[facts.BOOKING_CONFIRMED])
    other, _ = await endpoint(engine, house, "http://127.0.0.1:9/other", kinds=[facts.BOOKING_CANCELLED])
    closed, _ = await endpoint(engine, house, "http://127.0.0.1:9/closed", enabled=False)
    rival = await another_house(engine.db)
    theirs, _ = await endpoint(engine, rival, "http://127.0.0.1:9/theirs")
    fact = await happened(engine, house)
    made = await engine.db.rows("select webhook_id, fact_id from webhook_deliveries")
    assert {(row["webhook_id"], row["fact_id"]) for row in made} == {
        (takes_all.webhook_id, fact.id),
        (takes_it.webhook_id, fact.id),
    }
    assert await engine.db.value("select count(*) from jobs where kind = $1", DELIVER) == 2
    for each in (other, closed, theirs):
        assert await log(engine, each.webhook_id) == []


async def test_a_fact_taken_again_makes_nothing_more(engine: Engine, house: OrganizerId) -> None:
    await endpoint(engine, house, "http://127.0.0.1:9/")
    fact, taker = (
        Fact(
            new_id(), facts.SHOW_CREATED, new_id(), "2026-01-01T00:00:00.000Z", {"organizer_id": str(house)}
        ),
        Taker(engine.db),
    )
    for _ in range(2):
        await taken(engine, fact, taker)
    # An endpoint that came between is not given what was taken before it.
    await endpoint(engine, house, "http://127.0.0.1:9/later")
    await taken(engine, fact, taker)
    assert await engine.db.value("select count(*) from webhook_deliveries") == 1
    assert await engine.db.value("select count(*) from facts") == 1


async def test_a_run_whose_lease_was_lost_leaves_neither_fact_nor_delivery(
    engine: Engine, house: OrganizerId
) -> None:
    await endpoint(engine, house, "http://127.0.0.1:9/")
    fact = Fact(
        new_id(), facts.SHOW_CREATED, new_id(), "2026-01-01T00:00:00.000Z", {"organizer_id": str(house)}
    )
    payload = {"facts": [msgspec.to_builtins(fact)]}
    job = Job(new_id(), "follow:webhooks", payload, 1, datetime.now(UTC), new_id())
    with pytest.raises(jobs.LeaseLost):
        await Taker(engine.db).take(job, engine.db)
    for table in ("facts", "webhook_deliveries", "jobs"):
        assert await engine.db.value(f"select count(*) from {table}") == 0


async def test_whose_a_fact_is_when_its_payload_does_not_say(
    engine: Engine, house: OrganizerId, a_show: Any
) -> None:
    show = UUID((await a_show())["id"])
    await happened(engine, None, facts.SHOW_CHANGED, show_id=show)
    assert await engine.db.value("select organizer_id from facts where show_id = $1", show) == house
    await happened(engine, None, facts.SHOW_CHANGED)
    assert await engine.db.value("select count(*) from facts where kind = 'show.changed'") == 1


async def test_availability_goes_to_those_alone_who_ask_for_it_by_name(
    engine: Engine, house: OrganizerId, a_show: Any
) -> None:
    show = UUID((await a_show())["id"])
    taker, followers = Taker(engine.db), Followers()
    sending = Sending(engine.db, engine.settings, engine.secrets, engine.broadcast)
    sending.follow(followers)
    await endpoint(engine, house, "http://127.0.0.1:9/all")
    await taker.look()
    assert not taker.wants(facts.AVAILABILITY_CHANGED)
    fact = Fact(new_id(), facts.AVAILABILITY_CHANGED, show, "2026-01-01T00:00:00.000Z", {"revision": 1})
    await taken(engine, fact, taker)
    assert await engine.db.value("select count(*) from facts") == 0
    asks, _ = await endpoint(engine, house, "http://127.0.0.1:9/asks", kinds=[facts.AVAILABILITY_CHANGED])
    await taker.look()
    assert taker.wants(facts.AVAILABILITY_CHANGED)
    await taken(engine, msgspec.structs.replace(fact, id=new_id()), taker)
    assert [
        row["webhook_id"] for row in await engine.db.rows("select webhook_id from webhook_deliveries")
    ] == [asks.webhook_id]
    await feed.number(engine.db)
    assert (await feed.read(engine.db, house, None, 10)).facts == []


async def test_a_show_that_sells_out_costs_a_job_for_many_facts(engine: Engine, house: OrganizerId) -> None:
    """One job and one transaction for each fact made 16 of them a second on a busy machine."""
    made, _ = await endpoint(engine, house, "http://127.0.0.1:9/")
    show, followers = new_id(), Followers()
    sending = Sending(engine.db, engine.settings, engine.secrets, engine.broadcast)
    sending.follow(followers)
    async with engine.db.transaction() as tx:
        ids = {
            await announce(tx, show, facts.BOOKING_CONFIRMED, {**BOOKED, "organizer_id": str(house)})
            for _ in range(30)
        }
        await announce(tx, show, facts.AVAILABILITY_CHANGED, {"revision": 1})
    assert await Relay(engine.db, followers).hand_on() == 31
    job = await leased(engine, "follow:webhooks")
    assert job is not None and await leased(engine, "follow:webhooks") is None
    await followers.handlers()[job.kind](job, engine.db)
    assert job.finished
    assert {row["fact_id"] for row in await log(engine, made.webhook_id)} == ids
    assert await engine.db.value("select count(*) from jobs where kind = $1", DELIVER) == 30
    await feed.number(engine.db)
    assert {fact.id for fact in (await feed.read(engine.db, house, None, 100)).facts} == ids


async def test_nothing_is_sent_to_an_organizer_that_is_suspended(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    async with Receiver().open() as receiver:
        made, _ = await endpoint(engine, house, receiver.url)
        await happened(engine, house)
        await engine.db.execute("update organizers set suspended_at = now()")
        await happened(engine, house)
        assert await tried(engine, deliverer) is None
    assert receiver.sent == []
    assert [row["state"] for row in await log(engine, made.webhook_id)] == ["dead"]


async def test_what_arrives_is_a_cloudevent_signed_as_standard_webhooks_has_it(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    async with Receiver().open() as receiver:
        made, secret = await endpoint(engine, house, receiver.url)
        fact = await happened(engine, house)
        assert await tried(engine, deliverer) is None
    (sent,) = receiver.sent
    assert Webhook(secret).verify(sent.body, sent.headers) == sent.event
    assert sent.headers["webhook-id"] == sent.event["id"] == str(fact.id)
    assert sent.headers["content-type"] == "application/cloudevents+json"
    assert sent.event["type"] == facts.BOOKING_CONFIRMED
    assert sent.event["data"] == fact.data
    assert sent.event["organizerid"] == str(house)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(sent.body.replace(b"4200", b"4201"), sent.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(b"x" * 32).decode()).verify(sent.body, sent.headers)
    (row,) = await log(engine, made.webhook_id)
    assert (row["state"], row["attempts"], row["tries"][0]["status"]) == ("delivered", 1, 204)
    assert await engine.db.value("select count(*) from jobs") == 0
    # At rest nothing of the secret can be read.
    (sealed,) = [row["sealed"] for row in await engine.db.rows("select sealed from webhook_secrets")]
    assert base64.b64decode(secret.removeprefix("whsec_")) not in sealed


async def test_while_a_secret_is_replaced_both_sign(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    async with Receiver().open() as receiver:
        made, first = await endpoint(engine, house, receiver.url)
        async with engine.db.transaction() as tx:
            shown, second = await endpoints.rotate(tx, engine.secrets, house, made.webhook_id, 3600)
        assert shown.old_secret_until is not None
        await happened(engine, house)
        await tried(engine, deliverer)
        for secret in (first, second):
            Webhook(secret).verify(receiver.sent[0].body, receiver.sent[0].headers)
        await later(engine, 3601)
        await happened(engine, house)
        await tried(engine, deliverer)
    Webhook(second).verify(receiver.sent[1].body, receiver.sent[1].headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(first).verify(receiver.sent[1].body, receiver.sent[1].headers)
    # A third takes the place of the first at once: there are never more than two.
    async with engine.db.transaction() as tx:
        await endpoints.rotate(tx, engine.secrets, house, made.webhook_id, 3600)
        await endpoints.rotate(tx, engine.secrets, house, made.webhook_id, 3600)
    assert await engine.db.value("select count(*) from webhook_secrets") == 2


async def test_secrets_are_sealed_anew_under_a_new_root(
    engine: Engine, house: OrganizerId, open_another: Any
) -> None:
    made, secret = await endpoint(engine, house, "http://127.0.0.1:9/")
    newer = "another-secret-for-tests-and-nothing-else," + str(engine.settings.secret_key)
    async with open_another(secret_key=newer) as both, engine.db.transaction() as tx:
        await signing.reseal_some(tx, both.secrets, UUID(int=0), 10)
    async with open_another(secret_key=newer.split(",")[0]) as alone:
        (plain,) = await signing.secrets_of(alone.db, alone.secrets, made.webhook_id)
    assert plain == base64.b64decode(secret.removeprefix("whsec_"))


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500, 503])
async def test_anything_but_2xx_is_a_failure_and_no_redirect_is_followed(
    engine: Engine, house: OrganizerId, deliverer: Deliverer, status: int
) -> None:
    async with open_all(Receiver(answer(status, b"no")), Receiver()) as (receiver, elsewhere):
        receiver.answers = [answer(status, b"no", location=elsewhere.url)]
        made, _ = await endpoint(engine, house, receiver.url)
        await happened(engine, house)
        pause = await tried(engine, deliverer)
    assert pause is not None
    assert 5.0 <= pause <= 5.5
    assert elsewhere.sent == []
    (row,) = await log(engine, made.webhook_id)
    assert (row["state"], row["tries"][0]["status"], row["tries"][0]["said"]) == ("waiting", status, "no")


async def test_of_a_huge_answer_the_beginning_is_kept(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    async with Receiver(answer(200, b"\0\xff" + b"a" * 5_000_000)).open() as receiver:
        made, _ = await endpoint(engine, house, receiver.url)
        await happened(engine, house)
        assert await tried(engine, deliverer) is None
    (row,) = await log(engine, made.webhook_id)
    assert row["tries"][0]["said"] == "\ufffd" + "a" * (SAID_BYTES - 2)


async def test_a_receiver_that_is_too_slow_has_failed(
    engine: Engine, house: OrganizerId, deliverer: Deliverer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.platform.outbound.CALL_SECONDS", 0.2)
    async with Receiver().open() as receiver:
        receiver.held.clear()
        made, _ = await endpoint(engine, house, receiver.url)
        await happened(engine, house)
        assert await tried(engine, deliverer) is not None
    (row,) = await log(engine, made.webhook_id)
    assert row["tries"][0]["status"] is None
    assert row["tries"][0]["error"]


async def test_an_address_that_moved_into_an_inner_network_is_not_called(
    engine: Engine, house: OrganizerId
) -> None:
    async def inner(name: str) -> list[str]:
        return ["169.254.169.254"]

    public = msgspec.structs.replace(engine.settings, egress="public")
    made, _ = await endpoint(engine, house, "https://hooks.example.org/")
    deliverer = Deliverer(public, engine.secrets, resolve=inner)
    await happened(engine, house)
    assert await tried(engine, deliverer) is not None
    await deliverer.close()
    (row,) = await log(engine, made.webhook_id)
    assert row["tries"][0]["error"] == "The host is in no public network."


async def replayed(engine: Engine, house: OrganizerId, webhook_id: UUID, **how: Any) -> int:
    """Has everything of the last days sent again; how many runs it took."""
    since = how.pop("since", clock.now() - timedelta(days=3))
    async with engine.db.transaction() as tx:
        await replaying.replay(
            tx,
            house,
            webhook_id,
            since,
            clock.now() + timedelta(days=1),
            delivered=how.pop("delivered", False),
        )
    runs = 0
    while job := await leased(engine, replaying.REPLAY):
        await replaying.replay_span(job, engine.db)
        if not job.finished:
            await engine.db.execute("delete from jobs where job_id = $1", job.id)
        runs += 1
    return runs


async def test_a_span_is_sent_again_as_far_as_it_did_not_arrive(
    engine: Engine, house: OrganizerId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "PAGE", 2)
    before = await happened(engine, house)
    made, _ = await endpoint(engine, house, "http://127.0.0.1:9/", kinds=[facts.BOOKING_CONFIRMED])
    arrived, dead, waits = [await happened(engine, house) for _ in range(3)]
    await happened(engine, house, facts.BOOKING_CANCELLED)
    for fact, state in ((arrived, "delivered"), (dead, "dead")):
        await engine.db.execute(
            "update webhook_deliveries set state = $2, attempts = 3, ended_at = now() where fact_id = $1",
            fact.id,
            state,
        )
    await engine.db.execute("update webhook_deliveries set attempts = 2 where fact_id = $1", waits.id)
    await engine.db.execute("delete from jobs")
    await feed.number(engine.db)
    assert await replayed(engine, house, made.webhook_id) > 1
    states = {row["fact_id"]: (row["state"], row["attempts"]) for row in await log(engine, made.webhook_id)}
    assert states == {
        before.id: ("waiting", 0),
        arrived.id: ("delivered", 3),
        dead.id: ("waiting", 0),
        waits.id: ("waiting", 2),
    }
    assert await engine.db.value("select count(*) from jobs where kind = $1", DELIVER) == 2
    await replayed(engine, house, made.webhook_id, delivered=True)
    assert {row["state"] for row in await log(engine, made.webhook_id)} == {"waiting"}
    # Nothing of another span.
    await engine.db.execute("delete from webhook_deliveries")
    await replayed(engine, house, made.webhook_id, since=clock.now() + timedelta(hours=1))
    assert await log(engine, made.webhook_id) == []


async def test_a_replay_waits_while_too_much_does(
    engine: Engine, house: OrganizerId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "WAITING_MAX", 1)
    made, _ = await endpoint(engine, house, "http://127.0.0.1:9/")
    await happened(engine, house)
    with pytest.raises(Later):
        await replayed(engine, house, made.webhook_id)


async def test_nothing_is_replayed_to_an_endpoint_that_is_closed(engine: Engine, house: OrganizerId) -> None:
    made, _ = await endpoint(engine, house, "http://127.0.0.1:9/", enabled=False)
    fact = await happened(engine, house)
    for operation in (
        lambda tx: endpoints.again(tx, house, made.webhook_id, fact.id),
        lambda tx: endpoints.ping(tx, house, made.webhook_id),
        lambda tx: replaying.replay(tx, house, made.webhook_id, clock.now(), clock.now(), delivered=True),
    ):
        with pytest.raises(endpoints.WebhookDisabled):
            await _in_a_transaction(engine, operation)


async def _in_a_transaction(engine: Engine, operation: Callable[..., Awaitable[object]]) -> None:
    async with engine.db.transaction() as tx:
        await operation(tx)


async def test_a_ping_is_a_delivery_and_no_fact_of_the_feed(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    async with Receiver().open() as receiver:
        made, secret = await endpoint(engine, house, receiver.url, kinds=[facts.BOOKING_CONFIRMED])
        async with engine.db.transaction() as tx:
            sent = await endpoints.ping(tx, house, made.webhook_id)
        assert (sent.kind, sent.state) == (PING, "waiting")
        assert await tried(engine, deliverer) is None
    event = Webhook(secret).verify(receiver.sent[0].body, receiver.sent[0].headers)
    assert (event["type"], event["subject"]) == (PING, f"webhooks/{made.webhook_id}")
    assert "showid" not in event
    await feed.number(engine.db)
    assert (await feed.read(engine.db, house, None, 10)).facts == []


async def test_at_most_so_many_endpoints_also_when_they_come_at_once(
    engine: Engine, house: OrganizerId
) -> None:
    async def one() -> bool:
        try:
            await endpoint(engine, house, "http://127.0.0.1:9/")
        except endpoints.TooManyWebhooks:
            return False
        return True

    done = await asyncio.gather(*(one() for _ in range(endpoints.WEBHOOKS_MAX + 5)))
    assert sum(done) == endpoints.WEBHOOKS_MAX


async def test_a_deleted_endpoint_gets_nothing_more(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    async with Receiver().open() as receiver:
        made, _ = await endpoint(engine, house, receiver.url)
        await happened(engine, house)
        async with engine.db.transaction() as tx:
            await endpoints.delete(tx, house, made.webhook_id)
        assert await tried(engine, deliverer) is None
    assert receiver.sent == []
    assert await engine.db.value("select count(*) from webhook_secrets") == 0
    with pytest.raises(endpoints.WebhookNotFound):
        await endpoints.endpoint_by_id(engine.db, house, made.webhook_id)


async def test_the_log_is_forgotten_in_its_time(engine: Engine, house: OrganizerId) -> None:
    made, _ = await endpoint(engine, house, "http://127.0.0.1:9/")
    old, young = [await happened(engine, house) for _ in range(2)]
    await engine.db.execute(
        "update webhook_deliveries set created_at = now() - interval '31 days' where fact_id = $1", old.id
    )
    async with engine.db.transaction() as tx:
        await endpoints.rotate(tx, engine.secrets, house, made.webhook_id, 10)
    await later(engine, 11)
    assert await delivering.forget_log(engine.db) == 1
    assert [row["fact_id"] for row in await log(engine, made.webhook_id)] == [young.id]
    assert await engine.db.value("select count(*) from webhook_secrets") == 1
