"""Broadcast between two Database instances of one PostgreSQL, as two processes have them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from holdfast.platform import broadcast
from holdfast.platform.broadcast import CHANNEL, ENTRY_BYTES_MAX, MISSED_TOPICS_MAX, WAITING_MAX, Broadcast
from holdfast.platform.db import Database, open_database
from holdfast.platform.settings import Settings
from tests.platform.eventually import until

pytestmark = pytest.mark.anyio

LISTENERS = "select pid from pg_stat_activity where datname = current_database() and query ilike 'listen%'"


class Ear:
    """What one subscriber heard. A Broadcast that has just begun to listen says None once, which is left out."""

    def __init__(self, wires: Broadcast, topic: str) -> None:
        self.heard: list[Any] = []
        self.end = wires.subscribe(topic, self.heard.append)


async def listening(wires: Broadcast, db: Database) -> Broadcast:
    """Waits until it hears from the database: the first thing it hears is that it may have missed something."""
    ear = Ear(wires, "first")
    wires.start()
    await until(lambda: ear.heard)
    ear.end()
    return wires


@pytest.fixture
async def other_db(settings: Settings) -> AsyncIterator[Database]:
    db = await open_database(settings)
    yield db
    await db.close()


@pytest.fixture
async def here(db: Database) -> AsyncIterator[Broadcast]:
    wires = await listening(Broadcast(db), db)
    yield wires
    await wires.stop()


@pytest.fixture
async def there(other_db: Database) -> AsyncIterator[Broadcast]:
    wires = await listening(Broadcast(other_db), other_db)
    yield wires
    await wires.stop()


async def test_here_it_is_heard_at_once_and_there_soon_and_never_twice(
    here: Broadcast, there: Broadcast
) -> None:
    near, far, elsewhere = Ear(here, "shows"), Ear(there, "shows"), Ear(there, "venues")
    here.publish("shows", {"id": 1})
    assert near.heard == [{"id": 1}]
    await until(lambda: far.heard)
    # An answer has gone all the way round, so the first message, too, had its time to come back.
    there.publish("shows", "back")
    await until(lambda: len(near.heard) > 1)
    assert near.heard == [{"id": 1}, "back"]
    assert far.heard == [{"id": 1}, "back"]
    assert elsewhere.heard == []


async def test_many_messages_arrive_in_order_equal_ones_included(here: Broadcast, there: Broadcast) -> None:
    far = Ear(there, "numbers")
    sent = [n // 2 for n in range(WAITING_MAX)]
    for number in sent:
        here.publish("numbers", number)
    await until(lambda: len(far.heard) >= len(sent))
    assert far.heard == sent


async def test_equal_messages_that_fill_a_payload_each_are_not_taken_for_one(
    here: Broadcast, there: Broadcast
) -> None:
    far = Ear(there, "big")
    message = of_size("big", ENTRY_BYTES_MAX)
    for _ in range(3):
        here.publish("big", message)
    await until(lambda: len(far.heard) >= 3)
    assert far.heard == [message] * 3


async def test_one_message_more_than_may_wait_is_missed(here: Broadcast, there: Broadcast) -> None:
    far, other = Ear(there, "numbers"), Ear(there, "other")
    for number in range(WAITING_MAX + 1):
        here.publish("numbers", number)
    here.publish("numbers", "dropped, for the mark that follows covers it")
    await until(lambda: None in far.heard)
    assert far.heard == [*range(WAITING_MAX), None]
    assert other.heard == []


def of_size(topic: str, size: int) -> str:
    """A message that takes `size` bytes together with its topic."""
    return "x" * (size - len(msgspec.json.encode((topic, ""))))


async def test_the_largest_message_arrives_and_a_larger_one_is_missed(
    here: Broadcast, there: Broadcast
) -> None:
    far, other = Ear(there, "big"), Ear(there, "small")
    largest = of_size("big", ENTRY_BYTES_MAX)
    here.publish("big", largest)
    here.publish("small", 1)
    await until(lambda: far.heard)
    assert far.heard == [largest]
    here.publish("big", largest + "x")
    here.publish("small", 2)
    await until(lambda: len(far.heard) > 1)
    assert far.heard == [largest, None]
    await until(lambda: len(other.heard) > 1)
    assert other.heard == [1, 2]


async def test_letters_outside_ascii_count_by_their_bytes(here: Broadcast, there: Broadcast) -> None:
    far = Ear(there, "big")
    fits, too_large = "ü" * (ENTRY_BYTES_MAX // 2 - 10), "ü" * (ENTRY_BYTES_MAX - 100)
    here.publish("big", fits)
    here.publish("big", too_large)
    here.publish("other", "\0 and \N{PERFORMING ARTS}")
    await until(lambda: None in far.heard)
    assert far.heard == [fits, None]


async def test_hints_are_gathered(here: Broadcast, there: Broadcast) -> None:
    near, far = Ear(here, "jobs"), Ear(there, "jobs")
    for _ in range(1000):
        broadcast.hint("jobs")
    # `there` runs in this process, too, and was told directly each time.
    assert near.heard == [None] * 1000
    far.heard.clear()
    here.publish("end", True)
    end = Ear(there, "end")
    await until(lambda: end.heard)
    await until(lambda: far.heard)
    assert len(far.heard) <= 2


async def test_too_many_topics_missed_means_everything(here: Broadcast, there: Broadcast) -> None:
    bystander = Ear(there, "bystander")
    for number in range(MISSED_TOPICS_MAX):
        here.hint(f"topic-{number}")
    end = Ear(there, f"topic-{MISSED_TOPICS_MAX - 1}")
    await until(lambda: end.heard)
    assert bystander.heard == []
    for number in range(MISSED_TOPICS_MAX + 1):
        here.hint(f"topic-{number}")
    await until(lambda: bystander.heard)
    assert bystander.heard == [None]


async def test_a_lost_listener_comes_back_and_says_so(
    here: Broadcast, there: Broadcast, db: Database
) -> None:
    far = Ear(there, "shows")
    listeners = await db.rows(LISTENERS)
    assert len(listeners) == 2
    for row in listeners:
        assert await db.value("select pg_terminate_backend($1)", row["pid"])
    await until(lambda: far.heard)
    assert far.heard == [None]
    here.publish("shows", "after")
    await until(lambda: "after" in far.heard)


async def test_the_database_away_neither_blocks_nor_raises(
    here: Broadcast, there: Broadcast, settings: Settings
) -> None:
    near, far = Ear(here, "shows"), Ear(there, "shows")
    url = urlsplit(str(settings.database_url))
    name = url.path.strip("/")
    outside = await open_database(
        msgspec.structs.replace(settings, database_url=url._replace(path="/postgres").geturl())
    )
    try:
        await outside.execute(f'alter database "{name}" allow_connections false')
        await outside.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name
        )
        for number in range(2 * WAITING_MAX):
            here.publish("shows", number)
        assert near.heard == list(range(2 * WAITING_MAX))
        await asyncio.sleep(0.1)
        here.publish("shows", "still away")
    finally:
        await outside.execute(f'alter database "{name}" allow_connections true')
        await outside.close()
    await until(lambda: None in far.heard)
    here.publish("shows", "back")
    # A mark that still waits covers this message, so either of the two may be what is heard.
    count = len(far.heard)
    await until(lambda: len(far.heard) > count or "back" in far.heard)


async def test_what_could_not_be_sent_is_marked_as_missed(settings: Settings, there: Broadcast) -> None:
    far, bystander = Ear(there, "shows"), Ear(there, "bystander")
    small = await open_database(msgspec.structs.replace(settings, pool_max=2))
    wires = await listening(Broadcast(small), small)
    release = asyncio.Event()

    async def hold_a_connection() -> None:
        async with small._pool.connection():
            await release.wait()

    async with asyncio.TaskGroup() as holders:
        for _ in range(2):
            holders.create_task(hold_a_connection())
        pool = small._pool._pool
        await until(lambda: pool.get_idle_size() == 0 and pool.get_size() == 2)
        wires.publish("shows", "lost")
        await until(lambda: not wires._waiting)
        await until(lambda: wires._missed == {"shows"})
        release.set()
    await until(lambda: far.heard)
    assert far.heard == [None]
    assert bystander.heard == []
    await wires.stop()
    await small.close()


async def test_what_is_not_understood_is_a_reason_to_look(there: Broadcast, db: Database) -> None:
    far = Ear(there, "shows")
    strange = ['["other", 1]', '["other", 1, ["venues", {}]]', '["other", 1, ["venues", {}, "more"]]']
    wrong = ["", "not json", "{}", "[]", '["other"]', '["other", 1, 5]', '["other", 1, []]']
    for payload in strange:
        await db.execute("select pg_notify($1, $2)", CHANNEL, payload)
    for payload in wrong:
        await db.execute("select pg_notify($1, $2)", CHANNEL, payload)
    await until(lambda: len(far.heard) >= len(wrong))
    assert far.heard == [None] * len(wrong)


async def test_a_subscriber_that_fails_harms_nobody_and_one_that_left_hears_nothing(here: Broadcast) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("on purpose")

    here.subscribe("shows", fail)
    gone, near = Ear(here, "shows"), Ear(here, "shows")
    gone.end()
    gone.end()
    here.publish("shows", 1)
    assert (gone.heard, near.heard) == ([], [1])


async def test_what_json_cannot_say_is_refused_before_anybody_hears_it(here: Broadcast) -> None:
    near = Ear(here, "shows")
    with pytest.raises(TypeError):
        here.publish("shows", object())
    assert near.heard == []


async def test_what_waits_is_sent_at_the_stop(db: Database, there: Broadcast) -> None:
    far = Ear(there, "shows")
    wires = await listening(Broadcast(db), db)
    wires.publish("shows", 1)
    wires.publish("shows", 2)
    await wires.stop()
    await until(lambda: len(far.heard) >= 2)
    assert far.heard == [1, 2]
    near = Ear(wires, "shows")
    wires.publish("shows", 3)
    assert near.heard == [3]
