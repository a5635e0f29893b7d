"""Facts at a real RabbitMQ, and at the mock cluster of librdkafka, which speaks Kafka's protocol."""

import asyncio
import gc
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import aio_pika
import confluent_kafka
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from holdfast.platform import broker, jobs, rabbitmq
from holdfast.platform.broker import FACTS_AT_ONCE, PUBLISH, PUBLISH_ONE, Broker, waves
from holdfast.platform.db import Database, open_database
from holdfast.platform.ids import new_id
from holdfast.platform.jobs import Later, Worker
from holdfast.platform.kafka import TOPIC, address_of
from holdfast.platform.outbox import Followers, Relay, announce
from holdfast.platform.periodic import Periodic
from holdfast.platform.settings import BadSetting, Settings, read
from tests.platform.eventually import until
from tests.rabbit import Rabbit

pytestmark = pytest.mark.anyio

WAITING = "select count(*) from broker_facts"
DEAD = "select count(*) from dead_letters"
JOBS = "select count(*) from jobs"


class Announcer:
    """Announces facts of bookings as the domains do, and remembers them."""

    def __init__(self, db: Database, show_id: UUID | None = None) -> None:
        self.db = db
        self.show_id = show_id or new_id()
        self.ids: list[UUID] = []
        self.versions: Counter[UUID] = Counter()

    async def booking(self, booking_id: UUID, **more: Any) -> UUID:
        """The next version of a booking."""
        self.versions[booking_id] += 1
        payload = {"booking_id": str(booking_id), "version": self.versions[booking_id], **more}
        return await self.fact("booking.confirmed", payload)

    async def fact(self, kind: str, payload: dict[str, Any]) -> UUID:
        async with self.db.transaction() as tx:
            # Ids in no order, as those of bookings' facts are.
            fact_id = await announce(
                tx, self.show_id, kind, payload, fact_id=UUID(int=new_id().int ^ _turned())
            )
        self.ids.append(fact_id)
        return fact_id


def _turned() -> int:
    return (new_id().int & 0xFFFFFFFF) << 96


class Readers:
    """What came out of a queue, as a reader without a memory sees it."""

    def __init__(self, url: str, queue: str = "holdfast.facts") -> None:
        self.events: list[dict[str, Any]] = []
        self.ids: set[UUID] = set()
        self._url, self._queue = url, queue

    async def read(self, known: Callable[[], object]) -> None:
        """Reads until `known()`."""
        connection = await aio_pika.connect(self._url)
        try:
            channel = await connection.channel()
            queue = await channel.get_queue(self._queue)

            async def note(message: aio_pika.abc.AbstractIncomingMessage) -> None:
                self.events.append(json.loads(message.body))
                self.ids.add(UUID(message.message_id))
                await message.ack()

            await queue.consume(note)
            await until(known)
        finally:
            await connection.close()

    def first_versions(self) -> dict[str, list[int]]:
        """The versions of each booking, in the order in which they were seen for the first time."""
        seen: dict[str, dict[int, None]] = defaultdict(dict)
        for event in self.events:
            if "booking_id" in event["data"]:
                seen[event["data"]["booking_id"]].setdefault(event["data"]["version"])
        return {booking: list(versions) for booking, versions in seen.items()}


@pytest.fixture
async def at_rabbit(rabbit: Rabbit, settings: Settings) -> AsyncIterator[Settings]:
    """Settings with this broker, which has no queue yet."""
    yield msgspec.structs.replace(settings, broker_url=rabbit.url, broker_seconds=5.0)
    connection = await aio_pika.connect(rabbit.url)
    channel = await connection.channel()
    for name in ("holdfast.facts", "bookings", "narrow"):
        await channel.queue_delete(name)
        await channel.queue_delete(f"{name}.dead")
    await connection.close()


@asynccontextmanager
async def publishing(db: Database, settings: Settings) -> AsyncIterator[Broker]:
    """A relay and a worker with nobody but the broker to follow."""
    publisher, followers = Broker(settings), Followers()
    worker = Worker(db, settings, publisher.follow(followers), retry_seconds=0.1)
    relay = Periodic("hand on", 0.05, Relay(db, followers).hand_on)
    relay.start()
    running = asyncio.create_task(worker.run())
    try:
        yield publisher
    finally:
        await relay.stop()
        await worker.stop()
        await running
        await publisher.close()


def nothing_waits(db: Database) -> Callable[[], Any]:
    async def none() -> bool:
        left = "select exists (select from outbox) or exists (select from broker_facts)"
        return not await db.value(left)

    return none


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


# What is sent when


ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.none() | st.integers(1, 9)).map(
        lambda drawn: {
            "fact_id": new_id(),
            "booking_id": UUID(int=drawn[0]) if drawn[0] else None,
            "version": drawn[1] if drawn[0] else None,
        }
    ),
    max_size=30,
)


@given(ROWS)
def test_a_bookings_facts_are_sent_one_after_the_other(rows: list[dict[str, Any]]) -> None:
    found = list(waves(rows))  # type: ignore[arg-type]
    assert sorted(row["fact_id"] for wave in found for row in wave) == sorted(row["fact_id"] for row in rows)
    for wave in found:
        bookings = [row["booking_id"] for row in wave if row["booking_id"]]
        assert wave
        assert len(bookings) == len(set(bookings))
    for booking in {row["booking_id"] for row in rows} - {None}:
        sent = [row for wave in found for row in wave if row["booking_id"] == booking]
        versions = [row["version"] for row in sent if row["version"] is not None]
        assert versions == sorted(versions)
        # Those without a version keep their places among the others.
        asked = [row for row in rows if row["booking_id"] == booking]
        assert [row["version"] is None for row in sent] == [row["version"] is None for row in asked]
        assert [row for row in sent if row["version"] is None] == [r for r in asked if r["version"] is None]


async def test_a_fact_waits_for_one_of_its_booking_that_is_still_in_the_outbox(db: Database) -> None:
    """Two relays take facts of one show: the later fact is kept first, for the other relay has not committed."""
    show_id, booking_id, other = new_id(), new_id(), new_id()
    now = datetime.now(UTC)

    async def kept(version: int, of: UUID) -> UUID:
        payload = {"booking_id": str(of), "version": version}
        fact = {"fact_id": new_id(), "kind": "booking.confirmed", "payload": payload, "created_at": now}
        async with db.transaction() as tx:
            await Broker(Settings(broker_url="amqp://nowhere")).keep(tx, show_id, [fact])  # type: ignore[list-item]
        return fact["fact_id"]  # type: ignore[return-value]

    async def page() -> list[UUID]:
        return [row["fact_id"] for row in await db.rows(broker.sql.broker_facts_page, show_id, 10)]

    async with db.transaction() as tx:
        first = await announce(
            tx, show_id, "booking.confirmed", {"booking_id": str(booking_id), "version": 1}
        )
    second, elsewhere = await kept(2, booking_id), await kept(1, other)
    assert await page() == [elsewhere]
    await db.execute("delete from outbox")
    assert await page() == [second, elsewhere]
    assert first not in await page()


async def test_a_page_has_all_facts_of_its_bookings_whatever_the_clocks_said(db: Database) -> None:
    """After a failover the clock may be minutes behind, so that a booking's later fact looks older."""
    show_id, booking_id, now = new_id(), new_id(), datetime.now(UTC)
    facts = [
        {"payload": {"booking_id": str(booking_id), "version": 2}, "created_at": now - timedelta(minutes=5)},
        *({"payload": {}, "created_at": now - timedelta(minutes=1)} for _ in range(5)),
        {"payload": {"booking_id": str(booking_id), "version": 1}, "created_at": now},
    ]
    rows = [{"fact_id": new_id(), "kind": "some.fact", **fact} for fact in facts]
    async with db.transaction() as tx:
        await Broker(Settings(broker_url="amqp://nowhere")).keep(tx, show_id, rows)  # type: ignore[arg-type]
    page = await db.rows(broker.sql.broker_facts_page, show_id, 2)
    versions = [row["version"] for wave in waves(page) for row in wave if row["version"]]
    assert versions == [1, 2]


async def test_facts_that_come_while_the_job_ends_are_not_forgotten(db: Database, settings: Settings) -> None:
    publisher = Broker(msgspec.structs.replace(settings, broker_url="amqp://nowhere"))
    show_id = new_id()

    def fact() -> Any:
        return {"fact_id": new_id(), "kind": "some.fact", "payload": {}, "created_at": datetime.now(UTC)}

    async with db.transaction() as tx:
        await publisher.keep(tx, show_id, [fact()])
    await db.execute("delete from broker_facts")
    lease = new_id()
    (row,) = await db.rows(jobs.sql.jobs_taken, [PUBLISH], [1], 1, 60.0, lease)
    job = jobs.Job(*row)
    async with db.transaction() as tx:
        await publisher.keep(tx, show_id, [fact()])
        # In a context of its own, as another process has: here a transaction is open.
        ending = asyncio.create_task(publisher.publish(job, db), context=Context())
        # It has found nothing to publish and waits for the job's row, which these facts hold.
        waiting = "select count(*) from pg_locks where not granted"
        await until(lambda: tx.value(waiting))
    with pytest.raises(Later):
        await ending
    assert (await db.value(WAITING), await db.value(JOBS), job.finished) == (1, 1, False)


# RabbitMQ


async def test_every_fact_reaches_the_queue_that_is_there_for_all(
    db: Database, at_rabbit: Settings, rabbit: Rabbit
) -> None:
    announcer, booking_id = Announcer(db), new_id()
    fact_id = await announcer.booking(booking_id, organizer_id=str(new_id()))
    await announcer.fact("kind.of.tomorrow", {"é": [None]})
    before = counted("holdfast_broker_published_total")
    async with publishing(db, at_rabbit):
        await until(nothing_waits(db))
    assert counted("holdfast_broker_published_total") - before == 2
    connection = await aio_pika.connect(rabbit.url)
    channel = await connection.channel()
    queue = await channel.get_queue("holdfast.facts")
    got = {}
    for _ in range(2):
        message = await queue.get()
        assert message is not None
        got[message.routing_key] = message
        await message.ack()
    await connection.close()
    message = got["booking.confirmed"]
    event = json.loads(message.body)
    assert message.content_type == "application/cloudevents+json"
    assert (message.message_id, message.type, message.delivery_mode) == (
        str(fact_id),
        "booking.confirmed",
        aio_pika.DeliveryMode.PERSISTENT,
    )
    assert (event["id"], event["type"], event["specversion"]) == (str(fact_id), "booking.confirmed", "1.0")
    assert event["subject"] == f"shows/{announcer.show_id}/bookings/{booking_id}"
    assert event["data"]["version"] == 1
    assert json.loads(got["kind.of.tomorrow"].body)["data"] == {"é": [None]}
    assert (await db.value(JOBS), await db.value(DEAD)) == (0, 0)


async def test_more_facts_than_a_page_of_many_shows_by_several_processes(
    db: Database, at_rabbit: Settings, rabbit: Rabbit
) -> None:
    others = [await open_database(at_rabbit) for _ in range(2)]
    announcers = [Announcer(db) for _ in range(4)]
    for announcer in announcers:
        bookings = [new_id() for _ in range(60)]
        for _ in range(3):
            for booking_id in bookings:
                await announcer.booking(booking_id)
    hot = announcers[0]
    async with db.transaction() as tx:
        for _ in range(FACTS_AT_ONCE):
            hot.ids.append(await announce(tx, hot.show_id, "availability.changed", {}))
    async with publishing(others[0], at_rabbit), publishing(others[1], at_rabbit):
        await until(nothing_waits(db))
    reader = Readers(rabbit.url)
    expected = {fact_id for announcer in announcers for fact_id in announcer.ids}
    await reader.read(lambda: reader.ids >= expected)
    assert reader.ids == expected
    assert len(reader.events) == len(expected), "one publisher per show sends nothing twice"
    assert set(map(tuple, reader.first_versions().values())) == {(1, 2, 3)}
    for other in others:
        await other.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_rabbitmq_dies_in_mid_sale_and_nothing_is_missing_or_out_of_order(
    db: Database, at_rabbit: Settings, rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "REST_SECONDS_MAX", 1.0)
    announcer, reader = Announcer(db), Readers(rabbit.url)
    bookings = [new_id() for _ in range(30)]
    others = [await open_database(at_rabbit) for _ in range(2)]

    over = asyncio.Event()

    async def sell() -> None:
        while not over.is_set():
            for booking_id in bookings:
                await announcer.booking(booking_id)
                await asyncio.sleep(0.005)

    async with publishing(others[0], at_rabbit), publishing(others[1], at_rabbit):
        selling = asyncio.create_task(sell())
        for end in (rabbit.kill, rabbit.stop):
            await until(lambda: db.value("select count(*) > 0 from broker_facts"))
            await asyncio.to_thread(end)
            # The sale goes on, and what it announces waits.
            await until(partial(_has_sold, announcer, len(announcer.ids) + 100))
            await until(lambda: db.value("select count(*) >= 30 from broker_facts"))
            await asyncio.to_thread(rabbit.start)
        over.set()
        await selling
        await until(nothing_waits(db))
    await reader.read(lambda: reader.ids >= set(announcer.ids))
    assert reader.ids == set(announcer.ids)
    last = announcer.versions[bookings[0]]
    assert last > 10
    assert set(map(tuple, reader.first_versions().values())) == {tuple(range(1, last + 1))}
    assert await db.value(DEAD) == 0
    for other in others:
        await other.close()


async def test_facts_that_no_queue_wants_are_counted_and_hold_up_nothing(
    db: Database, at_rabbit: Settings, rabbit: Rabbit
) -> None:
    announcer = Announcer(db)
    for _ in range(3):
        await announcer.fact("show.changed", {})
        await announcer.booking(new_id())
    before = counted("holdfast_broker_unrouted_total")
    async with publishing(
        db, msgspec.structs.replace(at_rabbit, broker_queues="bookings=booking.*,refund.*")
    ):
        await until(nothing_waits(db))
    assert counted("holdfast_broker_unrouted_total") - before == 3
    reader = Readers(rabbit.url, "bookings")
    await reader.read(lambda: len(reader.events) == 3)
    assert {event["type"] for event in reader.events} == {"booking.confirmed"}


async def test_a_queue_that_was_taken_away_is_made_again(
    db: Database, at_rabbit: Settings, rabbit: Rabbit
) -> None:
    announcer, reader = Announcer(db), Readers(rabbit.url)
    async with publishing(db, at_rabbit):
        await announcer.booking(new_id())
        await until(nothing_waits(db))
        connection = await aio_pika.connect(rabbit.url)
        await (await connection.channel()).queue_delete("holdfast.facts")
        await connection.close()
        kept = [await announcer.booking(new_id()) for _ in range(5)]
        await until(nothing_waits(db))
    await reader.read(lambda: reader.ids >= set(kept))


async def test_somebodys_queue_is_left_as_it_is_and_one_that_is_full_holds_facts_back_in_order(
    db: Database, at_rabbit: Settings, rabbit: Rabbit
) -> None:
    connection = await aio_pika.connect(rabbit.url)
    channel = await connection.channel()
    await channel.declare_queue(
        "narrow",
        durable=True,
        arguments={"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"},
    )
    announcer, reader = Announcer(db), Readers(rabbit.url, "narrow")
    bookings = [new_id() for _ in range(5)]
    for _ in range(4):
        for booking_id in bookings:
            await announcer.booking(booking_id)
    before = REGISTRY.get_sample_value("holdfast_broker_failures_total", {"error": "Nacked"}) or 0.0

    def refused() -> bool:
        found = REGISTRY.get_sample_value("holdfast_broker_failures_total", {"error": "Nacked"}) or 0.0
        return found > before

    async with publishing(db, msgspec.structs.replace(at_rabbit, broker_queues="narrow=#")) as publisher:
        await until(refused)
        publisher._rest_until = 0.0
        await reader.read(lambda: _hurry(publisher) and reader.ids >= set(announcer.ids))
        await until(nothing_waits(db))
    assert set(map(tuple, reader.first_versions().values())) == {(1, 2, 3, 4)}
    await connection.close()


def _has_sold(announcer: Announcer, count: int) -> bool:
    return len(announcer.ids) >= count


def _hurry(publisher: Broker) -> bool:
    # As often as facts are refused here, its pauses would take minutes.
    publisher._failures = 0
    return True


async def test_a_message_that_its_reader_lets_go_too_often_becomes_a_dead_letter(
    db: Database, at_rabbit: Settings, rabbit: Rabbit
) -> None:
    announcer, dead = Announcer(db), Readers(rabbit.url, "holdfast.facts.dead")
    await announcer.booking(new_id())
    async with publishing(db, at_rabbit):
        await until(nothing_waits(db))
    connection = await aio_pika.connect(rabbit.url)
    queue = await (await connection.channel()).get_queue("holdfast.facts")
    tries = 0

    async def fail(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        nonlocal tries
        tries += 1
        await message.nack(requeue=True)

    await queue.consume(fail)
    await dead.read(lambda: dead.events)
    await connection.close()
    assert (dead.ids, tries) == (set(announcer.ids), rabbitmq.DELIVERIES_MAX + 1)


@pytest.fixture
async def silent() -> AsyncIterator[int]:
    """The port of a server that takes connections and never says a word."""
    held: list[asyncio.StreamWriter] = []

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in held:
        writer.transport.abort()


@pytest.mark.parametrize("scheme", ["amqp", "kafka"])
@pytest.mark.parametrize("away", ["silent", "refusing"])
async def test_a_broker_that_is_away_is_asked_again_later_and_nothing_dies(
    db: Database, settings: Settings, silent: int, scheme: str, away: str
) -> None:
    port = silent if away == "silent" else 1
    here = msgspec.structs.replace(settings, broker_url=f"{scheme}://127.0.0.1:{port}", broker_seconds=0.2)
    here = msgspec.structs.replace(here, job_attempts_max=1)
    announcer = Announcer(db)
    await announcer.booking(new_id())
    async with publishing(db, here) as publisher:
        await until(lambda: publisher._failures == 2)
        publisher._failures, publisher._rest_until = 5000, 0.0  # half a day later
        await until(lambda: publisher._rest_until > 0.0)
        assert publisher._failures == 5001
    # One that is left to the collector closes itself there, in whatever loop that is.
    left = [each for each in gc.get_objects() if isinstance(each, aio_pika.Connection) and not each.is_closed]
    assert left == []
    assert (await db.value(WAITING), await db.value(JOBS), await db.value(DEAD)) == (1, 1, 0)
    await broker.measure(db)
    assert counted("holdfast_broker_waiting") == 1
    assert counted("holdfast_broker_oldest_seconds") > 0


# Kafka


class Cluster:
    """librdkafka's mock cluster: brokers that speak the protocol, in memory, without replication or a disk."""

    def __init__(self) -> None:
        self._keeper = confluent_kafka.Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
        (found,) = self._keeper.list_topics(timeout=10).brokers.values()
        self.address = f"{found.host}:{found.port}"

    def read(self, count: int) -> list[confluent_kafka.Message]:
        """The first `count` messages of the topic, partition by partition."""
        reader = confluent_kafka.Consumer(
            {"bootstrap.servers": self.address, "group.id": "test", "auto.offset.reset": "earliest"}
        )
        partitions = self._keeper.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
        reader.assign([confluent_kafka.TopicPartition(TOPIC, number, 0) for number in partitions])
        found: list[confluent_kafka.Message] = []
        while len(found) < count:
            message = reader.poll(20)
            assert message is not None, f"{len(found)} of {count}"
            assert message.error() is None
            found.append(message)
        reader.close()
        return found


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def at_kafka(settings: Settings, cluster: Cluster) -> Settings:
    return msgspec.structs.replace(settings, broker_url=f"kafka://{cluster.address}", broker_seconds=5.0)


@pytest.mark.slow
async def test_kafka_has_every_fact_keyed_by_its_show_and_each_bookings_in_order(
    db: Database, at_kafka: Settings, cluster: Cluster
) -> None:
    announcers = [Announcer(db) for _ in range(5)]
    for announcer in announcers:
        bookings = [new_id() for _ in range(10)]
        for _ in range(3):
            for booking_id in bookings:
                await announcer.booking(booking_id)
    async with publishing(db, at_kafka):
        await until(nothing_waits(db))
    messages = await asyncio.to_thread(cluster.read, 150)
    events = [json.loads(message.value() or b"") for message in messages]
    assert {UUID(event["id"]) for event in events} == {i for one in announcers for i in one.ids}
    places = defaultdict(set)
    for message, event in zip(messages, events, strict=True):
        assert message.key() == event["showid"].encode()
        assert dict(message.headers() or []) == {"content-type": b"application/cloudevents+json"}
        places[event["showid"]].add(message.partition())
    assert {len(partitions) for partitions in places.values()} == {1}, "a show has one partition"
    reader = Readers("")
    reader.events = events
    assert set(map(tuple, reader.first_versions().values())) == {(1, 2, 3)}


@pytest.mark.slow
async def test_what_kafka_will_never_take_becomes_a_dead_letter_and_the_rest_goes_on(
    db: Database, at_kafka: Settings
) -> None:
    announcer, booking_id = Announcer(db), new_id()
    await announcer.booking(booking_id)
    refused = await announcer.booking(booking_id, note="x" * 1_100_000)
    await announcer.booking(booking_id)
    async with publishing(db, at_kafka):
        await until(nothing_waits(db))
        await until(lambda: db.value(DEAD))
    (letter,) = await jobs.dead(db)
    assert (letter.kind, letter.payload["fact"]["id"]) == (PUBLISH_ONE, str(refused))
    assert letter.last_error.startswith("Discard: MessageSizeTooLargeError")
    assert await db.value(JOBS) == 0


def test_addresses_of_kafka() -> None:
    plain = address_of("kafka://one:9092,two:9093")
    assert plain == {"bootstrap_servers": ["one:9092", "two:9093"], "security_protocol": "PLAINTEXT"}
    safe = address_of("kafkas://me:p%40ss@one:9093,two:9093?sasl=SCRAM-SHA-512")
    assert safe.pop("ssl_context").check_hostname
    assert safe == {
        "bootstrap_servers": ["one:9093", "two:9093"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "me",
        "sasl_plain_password": "p@ss",
    }


# Settings, and what it costs those who have none


def test_an_address_that_is_none_is_refused_without_being_told() -> None:
    for url in ("redis://:secret@host", "amqp:/secret"):
        with pytest.raises(BadSetting) as refused:
            read({"HOLDFAST_BROKER_URL": url})
        assert "secret" not in str(refused.value)
    with pytest.raises(BadSetting):
        Broker(Settings(broker_url="amqp://"))
    for queues in ("", "all", "all=", "=#", "a=#;"):
        if queues:
            with pytest.raises(BadSetting):
                read({"HOLDFAST_BROKER_QUEUES": queues})
    assert rabbitmq.wanted("a=booking.*,refund.#;b=#") == {"a": ["booking.*", "refund.#"], "b": ["#"]}
    assert rabbitmq.wanted("off") == {}


def test_without_a_broker_its_libraries_are_not_loaded() -> None:
    code = "import holdfast.engine, sys; print(sorted({'aio_pika', 'aiokafka'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
