"""Facts from the transaction that made them true to the jobs of those who follow."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from holdfast import facts
from holdfast.platform import jobs
from holdfast.platform.broadcast import Broadcast
from holdfast.platform.db import Database, open_database
from holdfast.platform.ids import new_id
from holdfast.platform.outbox import (
    FACTS_AT_ONCE,
    TOPIC,
    TRIES_TOGETHER,
    Fact,
    Followers,
    Relay,
    announce,
    cloudevent,
    fact_of,
    facts_of,
)
from holdfast.platform.settings import Settings, environment
from tests.platform.eventually import until

pytestmark = pytest.mark.anyio

SOURCE = Path(__file__).parents[2] / "src"
WAITING = "select count(*) from outbox"
JOBS = "select count(*) from jobs"

DIES_BETWEEN = """
import asyncio
from holdfast.platform import jobs, outbox, settings
from holdfast.platform.db import open_database

async def hang(*_):
    print("facts are taken", flush=True)
    await asyncio.sleep(3600)

async def main():
    jobs.enqueue_many = hang
    followers = outbox.Followers()
    followers.follow("show.changed", "mail", hang)
    await outbox.Relay(await open_database(settings.read()), followers).hand_on()

asyncio.run(main())
"""


async def never(job: jobs.Job, db: Database) -> None:
    raise AssertionError("nobody runs this job here")


def following(*pairs: tuple[str, str]) -> Followers:
    followers = Followers()
    for kind, name in pairs:
        followers.follow(kind, name, never)
    return followers


async def announced(db: Database, kind: str, *, show_id: UUID | None = None, count: int = 1) -> list[UUID]:
    async with db.transaction() as tx:
        return [await announce(tx, show_id or new_id(), kind, {"number": n}) for n in range(count)]


async def test_a_fact_becomes_one_job_for_each_follower(db: Database) -> None:
    show_id = new_id()
    (fact_id,) = await announced(db, "show.changed", show_id=show_id)
    followers = following(
        ("show.changed", "mail"), ("show.changed", "webhooks"), ("booking.confirmed", "mail")
    )
    assert await Relay(db, followers).hand_on() == 1
    assert await db.value(WAITING) == 0
    rows = await db.rows("select kind, payload, attempts from jobs order by kind")
    assert [(row["kind"], row["attempts"]) for row in rows] == [("follow:mail", 0), ("follow:webhooks", 0)]
    for row in rows:
        assert set(row["payload"]) == {"id", "kind", "show_id", "time", "data"}
        fact = msgspec.convert(row["payload"], Fact)
        assert (fact.id, fact.kind, fact.show_id, fact.data) == (
            fact_id,
            "show.changed",
            show_id,
            {"number": 0},
        )
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fact.time)


async def test_a_fact_that_nobody_follows_goes_its_way(db: Database) -> None:
    await announced(db, "show.changed", count=3)
    assert await Relay(db, following(("other", "mail"))).hand_on() == 3
    assert (await db.value(WAITING), await db.value(JOBS)) == (0, 0)
    assert await Relay(db, Followers()).hand_on() == 0


async def test_a_fact_of_a_change_that_did_not_happen_is_none(db: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as tx:
            await announce(tx, new_id(), "show.changed", {})
            raise ZeroDivisionError
    assert await db.value(WAITING) == 0


async def test_the_same_fact_twice_is_one_job(db: Database) -> None:
    show_id, fact_id = new_id(), new_id()
    relay = Relay(db, following(("show.changed", "mail")))
    for _ in range(2):
        for _ in range(2):
            async with db.transaction() as tx:
                assert await announce(tx, show_id, "show.changed", {}, fact_id=fact_id) == fact_id
        assert await db.value(WAITING) == 1
        assert await relay.hand_on() == 1
    assert await db.value(JOBS) == 1


async def test_one_show_with_more_facts_than_are_taken_at_once(db: Database) -> None:
    await announced(db, "show.changed", show_id=new_id(), count=FACTS_AT_ONCE + 1)
    assert await Relay(db, following(("show.changed", "mail"))).hand_on() == FACTS_AT_ONCE + 1
    assert await db.value(JOBS) == FACTS_AT_ONCE + 1


async def test_more_shows_than_a_page(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.platform.outbox.SHOWS_PER_PAGE", 3)
    await announced(db, "show.changed", count=7)
    assert await Relay(db, following(("show.changed", "mail"))).hand_on() == 7
    assert await db.value(JOBS) == 7


async def test_several_relays_at_once_hand_each_fact_on_once(db: Database, settings: Settings) -> None:
    """The job ids are the facts', so a fact taken twice would not show in `jobs`: what each relay counted does."""
    for _ in range(20):
        await announced(db, "show.changed", show_id=new_id(), count=10)
    dbs = [await open_database(settings) for _ in range(4)]
    relays = [Relay(each, following(("show.changed", "mail"))) for each in dbs]
    handed = 0
    while await db.value(WAITING):
        handed += sum(await asyncio.gather(*(relay.hand_on() for relay in relays)))
    assert (handed, await db.value(JOBS)) == (200, 200)
    for each in dbs:
        await each.close()


async def test_a_relay_killed_in_between_loses_nothing(db: Database, settings: Settings) -> None:
    await announced(db, "show.changed", show_id=new_id(), count=5)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DIES_BETWEEN, stdout=asyncio.subprocess.PIPE, env=environment_of(settings)
    )
    assert child.stdout is not None
    async with asyncio.timeout(30):
        assert await child.stdout.readline() == b"facts are taken\n"
    relay = Relay(db, following(("show.changed", "mail")))
    assert await relay.hand_on() == 0, "they are locked by the other"
    child.send_signal(signal.SIGKILL)
    await child.wait()
    await until(relay.hand_on)
    assert (await db.value(WAITING), await db.value(JOBS)) == (0, 5)


def environment_of(settings: Settings) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **environment(settings), "PYTHONPATH": path}


async def test_announcing_rings_after_the_commit(db: Database) -> None:
    wires = Broadcast(db)
    heard: list[object] = []
    wires.subscribe(TOPIC, heard.append)
    wires.start()
    await until(lambda: heard)
    heard.clear()
    async with db.transaction() as tx:
        await announce(tx, new_id(), "show.changed", {})
        assert heard == []
    assert heard == [None]
    await wires.stop()


async def test_a_worker_gives_each_fact_to_the_handler_of_its_kind(db: Database, settings: Settings) -> None:
    got: list[tuple[str, Any]] = []

    def noting(name: str) -> jobs.Handler:
        async def handle(job: jobs.Job, db: Database) -> None:
            got.append((name, fact_of(job).data))

        return handle

    followers = Followers()
    followers.follow("show.created", "mail", noting("created"))
    followers.follow("show.changed", "mail", noting("changed"))
    with pytest.raises(AssertionError):
        followers.follow("show.changed", "mail", noting("again"))
    for kind in ("show.created", "show.changed"):
        await announced(db, kind)
    assert await Relay(db, followers).hand_on() == 2
    async with db.transaction() as tx:
        newer = {"id": new_id(), "kind": "show.moved", "show_id": new_id(), "time": "", "data": {}}
        await jobs.enqueue(tx, "follow:mail", newer)
    worker = jobs.Worker(db, settings, followers.handlers())
    running = asyncio.create_task(worker.run())
    await until(lambda: len(got) == 2)
    assert sorted(got) == [("changed", {"number": 0}), ("created", {"number": 0})]

    async def failed() -> Any:
        return await db.value("select last_error from jobs")

    # A kind that only a newer release follows stays a job, for its workers.
    await until(failed)
    assert await failed() == "LookupError: mail does not follow show.moved in this release"
    await worker.stop()
    await running


async def test_who_gathers_has_one_job_for_all_facts_of_a_show_that_it_wants(
    db: Database, settings: Settings
) -> None:
    got: list[list[Fact]] = []

    async def count(job: jobs.Job, db: Database) -> None:
        got.append(facts_of(job))

    followers = following(("show.changed", "mail"))
    followers.gather(
        ["show.changed", "show.moved"], "figures", count, wanted=lambda kind: kind != "show.moved"
    )
    ids = set(await announced(db, "show.changed", show_id=new_id(), count=3))
    await announced(db, "show.moved")
    await announced(db, "show.created")
    assert await Relay(db, followers).hand_on() == 5
    assert await db.value("select count(*) from jobs where kind = 'follow:mail'") == 3
    worker = jobs.Worker(db, settings, {"follow:figures": followers.handlers()["follow:figures"]})
    running = asyncio.create_task(worker.run())
    await until(lambda: got)
    await worker.stop()
    await running
    assert [{fact.id for fact in taken} for taken in got] == [ids]
    assert await db.value("select count(*) from jobs where kind <> 'follow:mail'") == 0


async def test_a_fact_that_cannot_be_taken_keeps_no_other_from_it(db: Database, settings: Settings) -> None:
    got: set[int] = set()

    async def count(job: jobs.Job, db: Database) -> None:
        numbers = {fact.data["number"] for fact in facts_of(job)}
        if 5 in numbers:
            raise ValueError("five is none")
        assert not numbers & got
        got.update(numbers)

    followers = Followers()
    followers.gather(["show.changed"], "figures", count)
    await announced(db, "show.changed", show_id=new_id(), count=9)
    await Relay(db, followers).hand_on()
    impatient = msgspec.structs.replace(settings, job_attempts_max=TRIES_TOGETHER + 1)
    worker = jobs.Worker(db, impatient, followers.handlers(), retry_seconds=0.01)
    running = asyncio.create_task(worker.run())

    async def is_dead() -> bool:
        return bool(await db.value("select count(*) from dead_letters"))

    await until(is_dead)
    await until(lambda: got == {0, 1, 2, 3, 4, 6, 7, 8})
    await worker.stop()
    await running
    [letter] = await jobs.dead(db)
    assert [fact["data"] for fact in letter.payload["facts"]] == [{"number": 5}]


async def test_a_show_that_sells_out_does_not_hold_up_the_facts_of_another(db: Database) -> None:
    handed: list[UUID] = []

    async def keep(tx: Any, show_id: UUID, facts: Any) -> None:
        handed.append(show_id)

    followers = Followers()
    followers.keep(keep)
    sells_out, other = new_id(), new_id()
    await announced(db, "show.changed", show_id=sells_out, count=2 * FACTS_AT_ONCE + 1)
    await announced(db, "show.changed", show_id=other)
    assert await Relay(db, followers).hand_on() == 2 * FACTS_AT_ONCE + 2
    assert sorted(handed[:2]) == sorted([sells_out, other])
    assert handed[2:] == [sells_out, sells_out]


async def test_every_fact_that_is_announced_is_described(db: Database) -> None:
    """Kinds by the text of the functions and of the code, fields by what the database really says."""
    sql = [path.read_text("utf-8") for path in (SOURCE / "holdfast").rglob("*.sql")]
    code = [path.read_text("utf-8") for path in (SOURCE / "holdfast").rglob("*.py")]
    kinds = {kind for text in sql for kind in re.findall(r"announce\([^;]*?'([a-z_]+\.[a-z_]+)'", text)}
    kinds |= {kind for text in code for kind in re.findall(r'announce\([^")]*"([a-z_]+\.[a-z_]+)"', text)}
    named = {name for text in code for name in re.findall(r'announce\([^")]*?\b([A-Z_]{2,})\b', text)}
    kinds |= {kind for name in named if isinstance(kind := getattr(facts, name, None), str)}
    # By the payload that is made of them, outside of the room that describes them.
    made = "".join(text for text in code if "class BookingConfirmed" not in text)
    kinds |= {kind for kind, payload in facts.PAYLOADS.items() if re.search(rf"\b{payload.__name__}\(", made)}
    assert kinds == set(facts.PAYLOADS)
    said = await db.value("select array(select jsonb_object_keys(booking_facts(null::bookings)))")
    for payload in (facts.BookingConfirmed, facts.BookingCancelled):
        assert {field.name for field in msgspec.structs.fields(payload)} == set(said)


async def test_a_payload_is_read_by_its_kind() -> None:
    data = {"revision": 7, "taken": [1, 2], "freed": [], "left": [3], "added_later": True}
    fact = Fact(new_id(), facts.AVAILABILITY_CHANGED, new_id(), "2026-01-01T00:00:00.000Z", data)
    assert facts.of(fact) == facts.AvailabilityChanged(7, [1, 2], [], [3])
    with pytest.raises(KeyError):
        facts.of(msgspec.structs.replace(fact, kind="unheard.of"))


async def test_a_fact_as_a_cloudevent() -> None:
    show, booking, organizer, fact_id = (new_id() for _ in range(4))
    data = {"booking_id": str(booking), "organizer_id": str(organizer), "version": 2}
    fact = Fact(fact_id, "booking.confirmed", show, "2026-01-01T00:00:00.000Z", data)
    assert cloudevent(fact, "https://tickets.example.org") == {
        "specversion": "1.0",
        "id": str(fact_id),
        "source": "https://tickets.example.org",
        "type": "booking.confirmed",
        "subject": f"shows/{show}/bookings/{booking}",
        "time": "2026-01-01T00:00:00.000Z",
        "datacontenttype": "application/json",
        "showid": str(show),
        "organizerid": str(organizer),
        "data": data,
    }
    bare = cloudevent(msgspec.structs.replace(fact, data={"revision": 1}), "x")
    assert bare["subject"] == f"shows/{show}"
    assert "organizerid" not in bare
    # CloudEvents 1.0, section 3.1: attributes are named by small letters and digits alone.
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in cloudevent(fact, "x"))
