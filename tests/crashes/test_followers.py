"""Followers that are slow, silent, down or wrong while a show sells: no sale hears of it, and nothing is lost by it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest

from holdfast import facts
from holdfast.engine import Engine, work
from holdfast.platform import broker, jobs
from holdfast.platform.db import Database
from holdfast.platform.ids import OrganizerId, new_id
from holdfast.platform.jobs import Handler, Job, Worker
from holdfast.platform.outbox import Followers, Relay, announce
from holdfast.platform.settings import Settings
from tests.platform.eventually import until
from tests.platform.test_broker import Readers
from tests.platform.test_mail import Server, reaching, serving
from tests.rabbit import Rabbit
from tests.webhooks.receiver import Receiver
from tests.webhooks.sending import endpoint, later

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

FAULTS = ("slow", "silent", "down", "wrong")
BUYERS = 10
SLOW_SECONDS = 0.2
# More than any back-off.
LATER_SECONDS = 3600.0


class Gate:
    """A port that leads to another one as well as `fault` lets it."""

    def __init__(self, leads_to: int) -> None:
        self.fault = ""
        self.port = 0
        self._leads_to = leads_to
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Gate"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.fail("down")

    def fail(self, fault: str) -> None:
        """From now on it has this fault, or none; connections that were open end."""
        self.fault = fault
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with suppress(OSError):
                if self.fault == "wrong":
                    writer.write(b"Mesdames et messieurs!\r\n" * 5)
                    await writer.drain()
                elif self.fault == "silent":
                    await reader.read()
                elif self.fault != "down":
                    await self._lead(reader, writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._leads_to)
        pumps = [
            asyncio.create_task(self._pump(reader, forth)),
            asyncio.create_task(self._pump(back, writer)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.wait(pumps)
        forth.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                if self.fault == "slow":
                    await asyncio.sleep(SLOW_SECONDS)
                writer.write(piece)
                await writer.drain()


@dataclass
class Outside:
    """Where the followers deliver to, each behind its gate."""

    rabbit: Rabbit
    receiver: Receiver
    mail: Server
    gates: dict[str, Gate]

    def has(self, name: str, engine: Engine, sold: dict[str, str]) -> Callable[[], Awaitable[bool]]:
        """Whether a follower has delivered every sale: its booking's id by the buyer's address."""

        async def delivered() -> bool:
            if name == "broker":
                # What the queue really has is read at the end.
                waits = "select exists (select from outbox) or exists (select from broker_facts)"
                return not await engine.db.value(waits)
            if name == "webhooks":
                events = [sent.event for sent in self.receiver.sent]
                return set(sold.values()) <= {e["data"].get("booking_id") for e in events}
            return sold.keys() <= {str(letter["To"]) for letter in self.mail.taken}

        return delivered


@pytest.fixture
async def outside(rabbit: Rabbit) -> AsyncIterator[Outside]:
    receiver = Receiver()
    async with (
        serving(Server()) as mail,
        receiver.open(),
        Gate(rabbit.port).open() as first,
        Gate(receiver.port).open() as second,
        Gate(mail.port).open() as third,
    ):
        yield Outside(rabbit, receiver, mail, {"broker": first, "webhooks": second, "mail": third})


@pytest.fixture
def settings(settings: Settings, outside: Outside) -> Settings:
    server = Server()
    server.port = outside.gates["mail"].port
    return reaching(
        settings,
        server,
        mail_seconds=1.0,
        egress="any",
        broker_url=f"amqp://guest:guest@127.0.0.1:{outside.gates['broker'].port}/",
        broker_seconds=2.0,
        stop_seconds=1.0,
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


async def buy(client: httpx.AsyncClient, show_id: str, number: int) -> tuple[str, str]:
    """One buyer's claim and confirmation, both of which must succeed; address and booking."""
    address = f"buyer{number}@example.org"
    claimed = await client.post(
        f"/v1/shows/{show_id}/bookings",
        json={"seats": [str(number)], "customer": {"email": address}},
        headers={"Idempotency-Key": new_id().hex},
    )
    assert claimed.status_code == 201, claimed.text
    booked = claimed.json()
    confirmed = await client.post(
        f"/v1/shows/{show_id}/bookings/{booked['id']}/confirm",
        headers={"Authorization": f"Bearer {booked['secret']}", "Idempotency-Key": new_id().hex},
    )
    assert (confirmed.status_code, confirmed.json()["status"]) == (200, "CONFIRMED")
    return address, booked["id"]


@pytest.mark.parametrize("ailing", ["broker", "webhooks", "mail"])
async def test_a_follower_that_ails_costs_no_sale_and_loses_nothing(
    engine: Engine,
    client: httpx.AsyncClient,
    a_show: Any,
    outside: Outside,
    ailing: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broker, "REST_SECONDS_MAX", 1.0)
    house = OrganizerId(await engine.db.value("select organizer_id from organizers"))
    url = f"http://127.0.0.1:{outside.gates['webhooks'].port}/hooks"
    await endpoint(engine, house, url, kinds=[facts.BOOKING_CONFIRMED])
    show = await a_show(total_seats=BUYERS * len(FAULTS))
    sold: dict[str, str] = {}
    reader = Readers(outside.rabbit.url)
    async with working(engine):
        for fault in FAULTS:
            outside.gates[ailing].fail(fault)
            wishes = (buy(client, show["id"], len(sold) + number) for number in range(1, BUYERS + 1))
            sold |= dict(await asyncio.gather(*wishes))
            # The others have all of it while this one ails.
            for name in outside.gates.keys() - {ailing}:
                await until(outside.has(name, engine, sold))
        assert len(sold) == BUYERS * len(FAULTS), "every claim and every confirmation was answered"
        caught_up = outside.has(ailing, engine, sold)
        assert not await caught_up(), "it was as ill as it should be"
        outside.gates[ailing].fail("")

        async def in_time() -> bool:
            await later(engine, LATER_SECONDS)
            return await caught_up()

        await until(in_time)
        await reader.read(lambda: {e["data"].get("booking_id") for e in reader.events} >= set(sold.values()))
    assert await engine.db.value("select count(*) from dead_letters") == 0
    status = "select status, count(*)::int as bookings from bookings group by status"
    rows = await engine.db.rows(status)
    assert [(row["status"], row["bookings"]) for row in rows] == [("CONFIRMED", len(sold))]


async def test_handlers_that_raise_or_hang_leave_the_others_be_and_can_be_made_good(
    db: Database, settings: Settings
) -> None:
    got: Counter[str] = Counter()
    mended = False

    def handler(name: str) -> Handler:
        async def handle(job: Job, db: Database) -> None:
            if name == "raising" and not mended:
                raise ZeroDivisionError
            if name == "hanging" and not mended:
                await asyncio.sleep(3600)
            got[name] += 1

        return handle

    followers = Followers()
    for name in ("raising", "hanging", "sound"):
        followers.follow(facts.SHOW_CHANGED, name, handler(name))
    async with db.transaction() as tx:
        for _ in range(12):
            await announce(tx, new_id(), facts.SHOW_CHANGED, {})
    await Relay(db, followers).hand_on()
    impatient = msgspec.structs.replace(settings, job_attempts_max=2, job_seconds_max=1.0)
    worker = Worker(db, impatient, followers.handlers(), retry_seconds=0.01)
    running = asyncio.create_task(worker.run())
    await until(lambda: got["sound"] == 12)
    assert got["hanging"] == 0, "it still hangs"
    await until(lambda: db.value("select count(*) = 24 from dead_letters"))
    mended = True
    for letter in await jobs.dead(db):
        async with db.transaction() as tx:
            assert await jobs.replay(tx, letter.id)
    await until(lambda: db.value("select not exists (select from jobs)"))
    await worker.stop()
    await running
    assert got == {"raising": 12, "hanging": 12, "sound": 12}
