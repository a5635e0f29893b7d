"""Receivers that are down, slow, or gone: when a delivery is tried again, when it is given up, and who waits meanwhile."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook

from holdfast.engine import Engine
from holdfast.platform import mail
from holdfast.platform.ids import OrganizerId
from holdfast.platform.jobs import Later
from holdfast.webhooks import delivering, endpoints
from holdfast.webhooks.delivering import DELIVER, FAILING_SECONDS_MAX, TO_WEBHOOK_AT_ONCE, Deliverer, Lane
from holdfast.webhooks.sending import RETRY_SECONDS, TRIES_MAX, retry_after
from tests.platform.eventually import until
from tests.webhooks.receiver import OK, Receiver, answer, open_all
from tests.webhooks.sending import (
    announced,
    another_house,
    at_work,
    endpoint,
    happened,
    later,
    leased,
    log,
    ran,
    tried,
)

pytestmark = pytest.mark.anyio

DAY = 86_400.0


async def test_500_and_then_200_under_the_same_id(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    async with Receiver(answer(500), OK).open() as receiver:
        made, secret = await endpoint(engine, house, receiver.url)
        await happened(engine, house)
        pause = await tried(engine, deliverer)
        assert pause is not None
        (failing,) = await endpoints.endpoints_of(engine.db, house)
        assert failing.failing_since is not None
        assert await leased(engine, DELIVER) is None, "it is not due yet"
        await later(engine, pause)
        assert await tried(engine, deliverer) is None
    assert len(set(receiver.ids)) == 1
    for sent in receiver.sent:
        Webhook(secret).verify(sent.body, sent.headers)
    (row,) = await log(engine, made.webhook_id)
    assert (row["state"], row["attempts"]) == ("delivered", 2)
    assert [each["status"] for each in row["tries"]] == [500, 204]
    (works,) = await endpoints.endpoints_of(engine.db, house)
    assert works.failing_since is None


async def test_f36_a_receiver_that_is_down_for_two_days_misses_nothing(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    async with Receiver().open() as receiver:
        port = receiver.port
    made, _ = await endpoint(engine, house, f"http://127.0.0.1:{port}/hooks")
    fact = await happened(engine, house)
    gone_by = 0.0
    while gone_by < 2 * DAY:
        pause = await tried(engine, deliverer)
        assert pause is not None
        await later(engine, pause)
        gone_by += pause
    receiver = Receiver()
    async with receiver.open(port):
        assert await tried(engine, deliverer) is None
    assert receiver.ids == [str(fact.id)]
    (row,) = await log(engine, made.webhook_id)
    assert row["state"] == "delivered"


async def test_after_three_days_a_delivery_is_dead_and_can_be_replayed(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    async with Receiver(*[answer(503)] * TRIES_MAX, OK).open() as receiver:
        made, _ = await endpoint(engine, house, receiver.url)
        fact = await happened(engine, house)
        pauses = []
        while (pause := await tried(engine, deliverer)) is not None:
            pauses.append(pause)
            await later(engine, pause)
        assert [round(pause) for pause in pauses] != list(RETRY_SECONDS), "they are spread"
        assert all(
            wanted <= pause <= 1.1 * wanted for pause, wanted in zip(pauses, RETRY_SECONDS, strict=True)
        )
        assert 3 * DAY < sum(pauses) < 4 * DAY
        (row,) = await log(engine, made.webhook_id)
        assert (row["state"], row["attempts"], len(row["tries"])) == ("dead", TRIES_MAX, TRIES_MAX)
        async with engine.db.transaction() as tx:
            again = await endpoints.again(tx, house, made.webhook_id, fact.id)
        assert (again.state, again.attempts) == ("waiting", 0)
        assert await tried(engine, deliverer) is None
    assert set(receiver.ids) == {str(fact.id)}
    (row,) = await log(engine, made.webhook_id)
    assert (row["state"], row["attempts"]) == ("delivered", 1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, None), ("120", 120), ("0", 0), ("999999999999", DAY), ("soon", None), ("-5", None), ("١٢", None),
     ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", DAY)],
)  # fmt: skip
def test_retry_after_is_read_within_bounds(text: str | None, seconds: float | None) -> None:
    assert retry_after(text) == seconds


async def test_retry_after_puts_a_try_off_and_never_forward(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    answers = [answer(429, Retry_After="120"), answer(503, Retry_After="1")]
    async with Receiver(*answers).open() as receiver:
        await endpoint(engine, house, receiver.url)
        await happened(engine, house)
        assert await tried(engine, deliverer) == 120
        await later(engine, 120)
        pause = await tried(engine, deliverer)
    assert pause is not None
    assert pause >= RETRY_SECONDS[1]


async def test_410_closes_the_endpoint_and_its_owner_hears_of_it(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    async with Receiver(answer(410)).open() as receiver:
        made, _ = await endpoint(engine, house, receiver.url)
        await happened(engine, house)
        await happened(engine, house)
        assert await tried(engine, deliverer) is None
        # What waits for it is sent no more.
        assert await tried(engine, deliverer) is None
    assert len(receiver.sent) == 1
    (closed,) = await endpoints.endpoints_of(engine.db, house)
    assert (closed.enabled, closed.disabled_because) == (False, "gone")
    assert closed.disabled_at is not None
    assert [row["state"] for row in await log(engine, made.webhook_id)] == ["dead", "dead"]
    (letter,) = await engine.db.rows("select letter_id, sealed from letters")
    told = msgspec.json.decode(
        engine.secrets.unseal("letter", letter["sealed"], letter["letter_id"].bytes), type=mail.Letter
    )
    assert told.subject == "A webhook was disabled"
    assert str(made.webhook_id) in told.text
    await happened(engine, house)
    assert len(await log(engine, made.webhook_id)) == 2


async def test_an_endpoint_where_nothing_arrives_for_days_is_closed(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    async with Receiver(answer(500)).open() as receiver:
        made, _ = await endpoint(engine, house, receiver.url)
        await happened(engine, house)
        await tried(engine, deliverer)
        await later(engine, FAILING_SECONDS_MAX - 60)
        assert await tried(engine, deliverer) is not None
        assert (await endpoints.endpoint_by_id(engine.db, house, made.webhook_id)).enabled
        await later(engine, 3600)
        assert await tried(engine, deliverer) is None
    closed = await endpoints.endpoint_by_id(engine.db, house, made.webhook_id)
    assert (closed.enabled, closed.disabled_because) == (False, "failing")
    assert await engine.db.value("select count(*) from letters") == 1
    async with engine.db.transaction() as tx:
        again = await endpoints.edit(
            tx, house, made.webhook_id, url=closed.url, description="", kinds=None, enabled=True
        )
    assert (again.enabled, again.disabled_because, again.failing_since) == (True, None, None)


async def test_a_run_that_died_after_it_wrote_down_a_failure_is_no_second_try(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    async with Receiver(answer(500)).open() as receiver:
        await endpoint(engine, house, receiver.url)
        await happened(engine, house)
        job = await leased(engine, DELIVER)
        assert job is not None
        for _ in range(2):
            # The job was never put back: its lease ends, and another worker has it.
            with pytest.raises(Later) as put_back:
                await deliverer.deliver(job, engine.db)
            assert 3 < put_back.value.seconds <= 5.5
    assert len(receiver.sent) == 1


async def test_what_an_older_job_says_after_a_replay_is_not_written_down(
    engine: Engine, house: OrganizerId, deliverer: Deliverer
) -> None:
    async with Receiver(answer(500)).open() as receiver:
        made, _ = await endpoint(engine, house, receiver.url)
        fact = await happened(engine, house)
        older = await leased(engine, DELIVER)
        assert older is not None
        receiver.held.clear()
        running = asyncio.create_task(deliverer.deliver(older, engine.db))
        await until(lambda: len(receiver.sent) == 1)
        async with engine.db.transaction() as tx:
            await endpoints.again(tx, house, made.webhook_id, fact.id)
        receiver.held.set()
        with pytest.raises(Later):
            await running
        (row,) = await log(engine, made.webhook_id)
        assert (row["attempts"], row["tries"], row["next_at"]) == (0, [], None)
        # And it finds nothing to do when it comes back.
        assert await ran(engine, deliverer, older) is None
    assert len(receiver.sent) == 1


def test_a_lane_gives_each_that_must_wait_a_time_of_its_own() -> None:
    lane = Lane(2)
    assert lane.enter(0) is None
    assert lane.enter(0) is None
    lane.leave(2.0)
    assert lane.enter(0) is None
    pauses = [lane.enter(0) for _ in range(3)]
    assert all(pause is not None for pause in pauses)
    first, second, third = (pause or 0.0 for pause in pauses)
    assert 0 < first < second < third
    assert second - first == pytest.approx(third - second)
    late = [pause or 0.0 for pause in (lane.enter(0) for _ in range(10_000))][-5000:]
    assert max(late) <= delivering.PAUSE_SECONDS_MAX
    # Who does not fit in does not come back with all the others.
    assert min(late) < 0.6 * delivering.PAUSE_SECONDS_MAX < 0.9 * delivering.PAUSE_SECONDS_MAX < max(late)
    assert len(set(late)) > 4900
    lane.leave()
    assert lane.enter(0) is None


async def test_a_receiver_that_hangs_holds_up_nobody_else(
    engine: Engine, house: OrganizerId, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What waits for a slow receiver would come back some minutes later.
    monkeypatch.setattr(delivering, "PAUSE_SECONDS_MAX", 1.0)
    rival = await another_house(engine.db)
    hanging, quick, theirs = Receiver(), Receiver(), Receiver()
    async with open_all(hanging, quick, theirs):
        hanging.held.clear()
        await endpoint(engine, house, hanging.url)
        await endpoint(engine, house, quick.url)
        await endpoint(engine, rival, theirs.url)
        async with at_work(engine):
            ours = await announced(engine, house, 60)
            their = await announced(engine, rival, 60)
            await until(lambda: len(quick.sent) == 60 and len(theirs.sent) == 60)
            assert set(quick.ids) == {str(each) for each in ours}
            assert set(theirs.ids) == {str(each) for each in their}
            assert hanging.under_way == TO_WEBHOOK_AT_ONCE
            # It comes back, and has missed nothing.
            hanging.held.set()
            await until(lambda: len(hanging.sent) == 60)
    assert hanging.under_way_max == TO_WEBHOOK_AT_ONCE
    assert sorted(hanging.ids) == sorted(str(each) for each in ours)


async def test_every_fact_arrives_once_at_each_endpoint_with_two_processes_at_work(
    engine: Engine, house: OrganizerId, open_another: Callable[..., Any]
) -> None:
    one, two = Receiver(), Receiver()
    async with open_all(one, two), open_another() as second:
        for receiver in (one, two):
            await endpoint(engine, house, receiver.url)
        async with at_work(engine), at_work(second):
            known = await announced(engine, house, 100)
            await until(lambda: _all_delivered(engine, 200))
    for receiver in (one, two):
        assert sorted(receiver.ids) == sorted(str(each) for each in known)


async def _all_delivered(engine: Engine, count: int) -> bool:
    found: int = await engine.db.value("select count(*) from webhook_deliveries where state = 'delivered'")
    return found == count
