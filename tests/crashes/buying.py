"""Many buyers at once over HTTP, who write down everything that they were told, and what the database must then hold.

Every buyer goes on until each wish has a final answer: a lost connection or a 503 is followed by the same request with
the same key, as the documentation tells clients to do.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import asyncpg

from tests.platform.eventually import until as eventually

BUYERS = 50
ROWS = "ABCDEFGHIJ"
SEATS = [f"{row}-{number}" for row in ROWS for number in range(1, 25)]
# A free show that holds for an hour.
CROWDED: dict[str, Any] = {
    "hold_seconds": 3600,
    "hold_seconds_max": 3600,
    "areas": [
        {"name": "Stalls", "kind": "seated", "rows": [{"label": row, "seats": 24} for row in ROWS]},
        {"name": "Floor", "kind": "standing", "capacity": 400},
    ],
}
ATTEMPTS_MAX = 600
PAUSE_SECONDS = 0.1
# Far beyond every deadline of the server.
DEADLINE_SECONDS = 30
# What may follow a state that was acknowledged, as long as no hold expires.
LATER = {
    "PENDING": {"PENDING", "CONFIRMED", "FAILED", "CANCELLED"},
    "CONFIRMED": {"CONFIRMED", "CANCELLED"},
    "FAILED": {"FAILED"},
    "CANCELLED": {"CANCELLED"},
}


class Lost(Exception):
    """The connection was refused, or ended before the answer was whole."""


@dataclass(frozen=True)
class Answer:
    """A status, the headers by their names in lower case, and what the JSON of the body says."""

    status: int
    headers: dict[str, str]
    body: Any


class Client:
    """One connection at a time, kept alive. Says what happened to it, which larger clients do not always do."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, headers: dict[str, str], body: Any = None) -> Answer:
        """The answer. Raises Lost; fails when there is none within DEADLINE_SECONDS."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await self._post(path, headers, b"" if body is None else json.dumps(body).encode())
        except TimeoutError:
            raise AssertionError(f"no answer: {path}") from None
        except (OSError, EOFError) as error:
            self.close()
            raise Lost from error

    async def _post(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = [
            f"POST {path} HTTP/1.1",
            f"Host: 127.0.0.1:{self._port}",
            "Content-Type: application/json",
            *lines,
        ]
        self._writer.write("\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body)
        await self._writer.drain()
        first, *rest = (await self._reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        content = await self._reader.readexactly(int(found["content-length"]))
        if found.get("connection") == "close":
            self.close()
        return Answer(int(first.split()[1]), found, json.loads(content))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


@dataclass
class Told:
    """The last acknowledged word about one booking; `asked` is what its buyer wanted to be done with it."""

    key: str
    body: dict[str, Any]
    id: str
    secret: str
    status: str
    places: list[str | None]
    asked: str = ""


@dataclass
class Ledger:
    """What all buyers were told."""

    bookings: dict[str, Told] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: int = 0

    @property
    def acknowledged(self) -> int:
        return sum(count for status, count in self.answers.items() if status < 300)


class Buyers:
    """The crowd at one show as `CROWDED` has it. `rounds` is how many wishes each buyer has."""

    def __init__(self, port: int, show: dict[str, Any], rounds: int) -> None:
        self.ledger = Ledger()
        self.show_id: str = show["id"]
        self._port = port
        self._show_url = f"/v1/shows/{show['id']}"
        self._rounds = rounds

    async def all(self) -> None:
        """Lets all of them buy until each has finished."""
        async with asyncio.TaskGroup() as group:
            for number in range(BUYERS):
                group.create_task(self._buy(random.Random(number)))

    async def reach(self, acknowledged: int) -> None:
        """Waits until so many answers were good ones."""
        await eventually(lambda: self.ledger.acknowledged >= acknowledged)

    async def _buy(self, dice: random.Random) -> None:
        client = Client(self._port)
        for _ in range(self._rounds):
            told = await self._claim(client, dice)
            if told is None:
                continue
            told.asked = dice.choice(["", "confirm", "cancel", "confirm, cancel"])
            for step in filter(None, told.asked.split(", ")):
                answer = await self._ask(
                    client,
                    f"{self._show_url}/bookings/{told.id}/{step}",
                    {"Idempotency-Key": f"{step}-{told.key}", "Authorization": f"Bearer {told.secret}"},
                )
                if answer.status == 200:
                    told.status = answer.body["status"]
                else:
                    self.ledger.wrong.append(f"{step}: {answer.status} {answer.body}")
        client.close()

    async def _claim(self, client: Client, dice: random.Random) -> Told | None:
        wishes: list[dict[str, Any]] = [
            {"seats": dice.sample(SEATS, 2)},
            {"quantity": dice.randint(1, 4), "area": "Floor"},
        ]
        body = dice.choice(wishes)
        if dice.random() < 0.25:
            body["confirm"] = True
        key = str(uuid4())
        answer = await self._ask(client, f"{self._show_url}/bookings", {"Idempotency-Key": key}, body)
        if answer.status == 409:
            if answer.body["code"] not in {"seats_taken", "sold_out"}:
                self.ledger.wrong.append(answer.body)
            return None
        if answer.status != 201:
            self.ledger.wrong.append(f"{answer.status} {answer.body}")
            return None
        booking = answer.body
        places = sorted(place["seat"] or place["area"] for place in booking["places"])
        told = Told(key, body, booking["id"], booking["secret"], booking["status"], places)
        if told.id in self.ledger.bookings:
            self.ledger.wrong.append(f"two keys have the booking {told.id}")
        self.ledger.bookings[told.id] = told
        return told

    async def _ask(
        self,
        client: Client,
        path: str,
        headers: dict[str, str],
        body: dict[str, Any] | None = None,
    ) -> Answer:
        for _ in range(ATTEMPTS_MAX):
            try:
                answer = await client.post(path, headers, body)
            except Lost:
                self.ledger.lost += 1
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            self.ledger.answers[answer.status] += 1
            if answer.status != 503:
                return answer
            problem = answer.body
            if (
                problem.get("code") != "busy"
                or answer.headers["content-type"] != "application/problem+json"
                or not answer.headers.get("retry-after", "").isdigit()
            ):
                self.ledger.wrong.append(f"503 {answer.headers} {answer.body}")
            await asyncio.sleep(PAUSE_SECONDS)
        raise AssertionError(f"no final answer for {path}")

    async def ask_again(self) -> list[str]:
        """Sends every claim that succeeded once more, and says which has another answer now."""
        different, client = [], Client(self._port)
        for told in self.ledger.bookings.values():
            again = await self._ask(
                client, f"{self._show_url}/bookings", {"Idempotency-Key": told.key}, told.body
            )
            if again.status != 201 or again.body["id"] != told.id:
                different.append(f"{told.id}: {again.status} {again.body}")
        client.close()
        return different


async def check(dsn: str, buyers: Buyers) -> None:
    """What was acknowledged is there, and the counters equal the rows. Looks with its own eyes, by SQL of its own."""
    show_id, ledger = buyers.show_id, buyers.ledger
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "select booking_id::text as id, status, seats, quantity from bookings where show_id::text = $1",
            show_id,
        )
        wrong_counters = await connection.fetch(_COUNTERS, show_id)
        wrong_claims = await connection.fetch(_CLAIMS, show_id)
    finally:
        await connection.close()
    assert ledger.wrong == []
    by_id = {row["id"]: row for row in rows}
    missing = [told for told in ledger.bookings.values() if told.id not in by_id]
    assert missing == [], "acknowledged, and gone"
    for told in ledger.bookings.values():
        row = by_id[told.id]
        assert row["status"] in LATER[told.status], (told, row["status"])
        if row["status"] != told.status:
            assert told.asked, f"{told.id} went from {told.status} to {row['status']} by itself"
        assert row["quantity"] == len(told.places)
    # Whoever heard nothing asked again with the same key, so nobody made a booking without hearing of it.
    assert by_id.keys() == ledger.bookings.keys(), "bookings that nobody was told of"
    assert wrong_counters == []
    assert wrong_claims == []


_COUNTERS = """
with live as (
  select area, count(*) as places
  from bookings, unnest(areas) as area
  where show_id::text = $1 and status in ('PENDING', 'CONFIRMED')
  group by area)
select area, reserved, places from stock left join live using (area)
where show_id::text = $1 and reserved <> coalesce(places, 0)
"""
_CLAIMS = """
with live as (
  select seat, booking_id
  from bookings, unnest(seats) as seat
  where show_id::text = $1 and status in ('PENDING', 'CONFIRMED')),
taken as (select seat, held_by from claims where show_id::text = $1)
select * from live full join taken using (seat) where booking_id is distinct from held_by
"""


async def gather_while(buyers: Buyers, happens: Callable[[], Any]) -> None:
    """Lets the crowd buy, and has `happens` done in a thread once a tenth of all wishes was granted."""
    crowd = asyncio.create_task(buyers.all())
    try:
        reached = asyncio.create_task(buyers.reach(BUYERS))
        await asyncio.wait([crowd, reached], return_when=asyncio.FIRST_COMPLETED)
        answers, wrong = buyers.ledger.answers, buyers.ledger.wrong[:3]
        assert not crowd.done(), (
            f"the crowd was too quick for what was to happen in its midst: {answers} {wrong}"
        )
        await asyncio.to_thread(happens)
    finally:
        async with asyncio.timeout(100):
            await crowd
