"""POSTs under an Idempotency-Key: one effect, one answer, whoever asks how often."""

import asyncio
import random
from collections.abc import AsyncIterator
from string import ascii_letters, digits
from typing import Any, cast

import httpx
import msgspec
import pytest

from holdfast.engine import Engine
from holdfast.platform import once
from holdfast.platform.calls import EVENTS, HTML, Answer, Call, created
from holdfast.platform.db import Database, Transaction, open_database
from holdfast.platform.errors import Busy, Conflict, IdempotencyMismatch, StillRunning
from holdfast.platform.http import ANYONE, Routes, build_app
from holdfast.platform.once import REPLAYED, Once
from holdfast.platform.settings import Settings
from tests.platform.eventually import until

pytestmark = pytest.mark.anyio

EFFECTS = "create table effects (what text not null)"
EFFECT = "insert into effects values ($1)"
COUNT = "select count(*) from effects"
KEPT = "select count(*) from answers"


class Done(msgspec.Struct):
    what: str


def request(key: str | None = "k-1", body: bytes = b"{}", path: str = "/things") -> Call[Any]:
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b""}
    headers = {} if key is None else {b"idempotency-key": key.encode()}

    async def receive() -> Any:
        raise AssertionError("the body was read before")

    call: Call[Any] = Call(cast("Any", None), scope, receive, headers, "request-1")
    call.raw_body = body
    return call


def whose(call: Call[Any]) -> str:
    return call.caller or "anyone"


class Process(Once):
    """Once as a process has it, where every call comes with the process's database."""

    def __init__(self, db: Database) -> None:
        super().__init__(whose)
        self.db = db

    async def run(self, call: Call[Any], handler: once.Operation) -> Answer:
        call.db = self.db
        return await super().run(call, handler)

    async def run_steps(self, call: Call[Any], handler: once.Steps) -> Answer:
        call.db = self.db
        return await super().run_steps(call, handler)


async def make(call: Call[Any], tx: Transaction) -> Answer:
    await tx.execute(EFFECT, "made")
    return created(Done("made"), "/things/1")


@pytest.fixture
async def ready(db: Database) -> Once:
    await db.execute(EFFECTS)
    return Process(db)


async def test_the_answer_is_given_again_and_says_so(ready: Once, db: Database) -> None:
    first = await ready.run(request(), make)
    again = await ready.run(request(), make)
    assert first == Answer(201, b'{"what":"made"}', ((b"location", b"/things/1"),))
    assert again == msgspec.structs.replace(first, headers=(*first.headers, REPLAYED))
    assert await db.value(COUNT) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(204, None),
        Answer(200, b"<p>", ((b"x-a", b"1"), (b"x-a", b"\xe9")), HTML),
        Answer(200, b"\x00\xff"),
        Answer(409, Done("no")),
    ],
)
async def test_every_kind_of_answer_comes_back_as_it_was(ready: Once, answer: Answer) -> None:
    async def give(call: Call[Any], tx: Transaction) -> Answer:
        return answer

    first = await ready.run(request(), give)
    again = await ready.run(request(), give)
    assert again == msgspec.structs.replace(first, headers=(*first.headers, REPLAYED))


async def test_a_stream_cannot_be_kept(ready: Once, db: Database) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b""

    async def stream(call: Call[Any], tx: Transaction) -> Answer:
        return cast("Answer", _Stream(chunks()))

    with pytest.raises(AssertionError):
        await ready.run(request(), stream)
    assert await db.value(KEPT) == 0


class _Stream:
    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self.chunks = chunks

    def encoded(self) -> Answer:
        return Answer(200, self.chunks, (), EVENTS)


async def test_fifty_equal_requests_at_once_in_two_processes_have_one_effect(
    ready: Once, db: Database, settings: Settings
) -> None:
    other_db = await open_database(settings)
    other = Process(other_db)
    answers = await asyncio.gather(*((ready, other)[n % 2].run(request(), make) for n in range(50)))
    assert await db.value(COUNT) == 1
    assert {(answer.status, answer.body) for answer in answers} == {(201, b'{"what":"made"}')}
    assert sum(REPLAYED in answer.headers for answer in answers) == 49
    assert ready._turns == other._turns == {}
    await other_db.close()


async def test_equal_requests_wait_without_keeping_connections(
    ready: Once, db: Database, settings: Settings
) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow(call: Call[Any], tx: Transaction) -> Answer:
        begun.set()
        await release.wait()
        return await make(call, tx)

    waiting = [asyncio.create_task(ready.run(request(), slow)) for _ in range(2 * settings.pool_max)]
    await begun.wait()
    await until(lambda: ready._turns["anyone", "k-1"][1] == len(waiting))
    assert (
        await asyncio.gather(*(db.value(COUNT) for _ in range(settings.pool_max))) == [0] * settings.pool_max
    )
    release.set()
    await asyncio.gather(*waiting)
    assert await db.value(COUNT) == 1


async def test_another_request_under_the_key_is_refused_also_while_the_first_runs(
    ready: Once, db: Database, settings: Settings
) -> None:
    other_db = await open_database(settings)
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow(call: Call[Any], tx: Transaction) -> Answer:
        begun.set()
        await release.wait()
        return await make(call, tx)

    first = asyncio.create_task(ready.run(request(), slow))
    await begun.wait()
    different = asyncio.create_task(Process(other_db).run(request(body=b'{"a":1}'), make))

    async def it_waits() -> bool:
        return bool(await db.value("select count(*) from pg_locks where not granted"))

    await until(it_waits)
    release.set()
    await first
    with pytest.raises(IdempotencyMismatch):
        await different
    with pytest.raises(IdempotencyMismatch):
        await ready.run(request(path="/other-things"), make)
    assert await db.value(COUNT) == 1
    await other_db.close()


async def test_equal_keys_of_two_callers_are_two_keys(ready: Once, db: Database) -> None:
    for caller in ("anna", "ben", "anna"):
        call = request()
        call.caller = caller
        await ready.run(call, make)
    assert await db.value(COUNT) == 2


async def test_a_refusal_is_not_remembered(ready: Once, db: Database) -> None:
    async def refuse(call: Call[Any], tx: Transaction) -> Answer:
        await tx.execute(EFFECT, "undone")
        raise Conflict

    for _ in range(2):
        with pytest.raises(Conflict):
            await ready.run(request(), refuse)
    assert (await db.value(COUNT), await db.value(KEPT)) == (0, 0)
    assert (await ready.run(request(), make)).status == 201
    assert await db.value(COUNT) == 1


async def test_who_waited_for_a_refused_request_gets_a_try_of_its_own(
    ready: Once, db: Database, settings: Settings
) -> None:
    other_db = await open_database(settings)
    begun, release = asyncio.Event(), asyncio.Event()

    async def refuse(call: Call[Any], tx: Transaction) -> Answer:
        begun.set()
        await release.wait()
        raise Conflict

    first = asyncio.create_task(ready.run(request(), refuse))
    await begun.wait()
    waiting = [asyncio.create_task(each.run(request(), make)) for each in (ready, Process(other_db), ready)]
    release.set()
    with pytest.raises(Conflict):
        await first
    answers = await asyncio.gather(*waiting)
    assert [answer.status for answer in answers] == [201] * 3
    assert sum(REPLAYED in answer.headers for answer in answers) == 2
    assert await db.value(COUNT) == 1
    await other_db.close()


async def test_without_a_key_each_time_is_a_time_of_its_own(ready: Once, db: Database) -> None:
    for _ in range(2):
        answer = await ready.run(request(key=None), make)
        assert (answer.status, answer.body) == (201, b'{"what":"made"}')
    assert (await db.value(COUNT), await db.value(KEPT)) == (2, 0)


async def test_a_client_that_goes_away_leaves_no_half(ready: Once, db: Database) -> None:
    begun = asyncio.Event()

    async def hang(call: Call[Any], tx: Transaction) -> Answer:
        await tx.execute(EFFECT, "undone")
        begun.set()
        await asyncio.sleep(3600)
        raise AssertionError

    gone = asyncio.create_task(ready.run(request(), hang))
    await begun.wait()
    gone.cancel()
    await asyncio.wait([gone])
    await ready.run(request(), make)
    assert await db.value(COUNT) == 1


async def test_an_answer_that_is_pruned_all_the_time_is_busy(
    ready: Once, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is taken, and yet there is no answer: only possible while answers are pruned under our hands."""
    await ready.run(request(), make)
    monkeypatch.setattr(once.sql, "answer_kept", "select where $1 || $2 is null")
    with pytest.raises(Busy):
        await ready.run(request(), make)


class Steps:
    """An operation that commits by itself, and stops in between until it may go on."""

    def __init__(self) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.refusal: Exception | None = None

    async def __call__(self, call: Call[Any]) -> Answer:
        await call.db.execute(EFFECT, "asked")
        self.begun.set()
        await self.go.wait()
        if self.refusal is not None:
            raise self.refusal
        return created(Done("asked"), "/things/1")


async def test_an_operation_in_steps_is_under_way_for_equal_requests(
    ready: Once, db: Database, settings: Settings
) -> None:
    other_db = await open_database(settings)
    steps = Steps()
    first = asyncio.create_task(ready.run_steps(request(), steps))
    await steps.begun.wait()
    for process in (ready, Process(other_db)):
        with pytest.raises(StillRunning) as told:
            await process.run_steps(request(), steps)
        assert told.value.retry_after == 1
        with pytest.raises(IdempotencyMismatch):
            await process.run_steps(request(body=b'{"a":1}'), steps)
    # Another key is another operation.
    steps.go.set()
    assert (await ready.run_steps(request("k-2"), steps)).status == 201
    done = await first
    again = await ready.run_steps(request(), steps)
    assert again == msgspec.structs.replace(done, headers=(*done.headers, REPLAYED))
    assert await db.value(COUNT) == 2
    await other_db.close()


@pytest.mark.parametrize("gone", [False, True], ids=["refused", "client gone"])
async def test_an_operation_in_steps_that_came_to_nothing_may_be_begun_again(
    ready: Once, db: Database, gone: bool
) -> None:
    steps = Steps()
    steps.refusal = Conflict()
    first = asyncio.create_task(ready.run_steps(request(), steps))
    await steps.begun.wait()
    if gone:
        first.cancel()
    steps.go.set()
    await asyncio.gather(first, return_exceptions=True)
    assert await db.value(KEPT) == 0
    steps.refusal = None
    assert (await ready.run_steps(request(), steps)).status == 201
    assert await db.value(COUNT) == 2


async def test_a_promise_of_a_dead_process_passes_on(ready: Once, db: Database) -> None:
    steps = Steps()
    steps.go.set()
    await ready.run_steps(request(), steps)
    # As it stands when the process dies between the key and the answer.
    await db.execute("update answers set status = 0")
    with pytest.raises(StillRunning):
        await ready.run_steps(request(), steps)
    await db.execute(
        "update answers set created_at = now() - make_interval(secs => $1)", once.PROMISE_SECONDS + 1
    )
    with pytest.raises(IdempotencyMismatch):
        await ready.run_steps(request(body=b'{"a":1}'), steps)
    assert (await ready.run_steps(request(), steps)).status == 201
    assert REPLAYED in (await ready.run_steps(request(), steps)).headers


async def test_without_a_key_steps_are_taken_each_time(ready: Once, db: Database) -> None:
    steps = Steps()
    steps.go.set()
    for _ in range(2):
        assert (await ready.run_steps(request(key=None), steps)).status == 201
    assert (await db.value(COUNT), await db.value(KEPT)) == (2, 0)


async def test_old_answers_are_pruned_in_pieces(
    ready: Once, db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "PRUNED_AT_ONCE", 2)
    for number in range(7):
        await ready.run(request(f"k-{number}"), make)
    assert await once.prune(db, settings) == 0
    age = (
        "update answers set created_at = now() - make_interval(hours => $1, mins => $2) where key = any ($3)"
    )
    await db.execute(age, settings.idempotency_hours, 1, [f"k-{n}" for n in range(5)])
    await db.execute(age, settings.idempotency_hours, -1, ["k-5"])
    assert await once.prune(db, settings) == 5
    assert [row["key"] for row in await db.rows("select key from answers order by key")] == ["k-5", "k-6"]


async def test_it_serves_the_http_layer(ready: Once, db: Database) -> None:
    routes = Routes("things")

    @routes.post("/things", who=ANYONE, once=True, answers={201: Done})
    async def make_thing(call: Call[Any], tx: Transaction) -> Done:
        await tx.execute(EFFECT, "made")
        return Done("made")

    transport = httpx.ASGITransport(build_app([routes], once=ready))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        key = {"Idempotency-Key": "k-1"}
        first, again = [await client.post("/things", headers=key) for _ in range(2)]
        other = await client.post("/things", headers=key, json={})
    assert (first.status_code, first.json()) == (again.status_code, again.json()) == (201, {"what": "made"})
    assert first.headers["content-type"] == again.headers["content-type"] == "application/json"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert await db.value(COUNT) == 1


async def test_handlers_that_read_beside_their_transaction_do_not_starve_one_another(
    settings: Settings,
) -> None:
    few = msgspec.structs.replace(settings, pool_max=4)
    small = await open_database(few)
    together = asyncio.Barrier(2)

    async def read_beside(call: Call[Any], tx: Transaction) -> Answer:
        # All who may be inside are inside, and only then does each want a second connection.
        await together.wait()
        return Answer(200, Done(str(await small.value("select 1"))))

    try:
        ready = Process(small)
        calls = [ready.run(request(f"k-{number}"), read_beside) for number in range(8)]
        answers = await asyncio.gather(*calls)
    finally:
        await small.close()
    assert [answer.body for answer in answers] == [b'{"what":"1"}'] * 8


async def test_a_buyers_keys_are_kept_without_the_secret_that_is_the_right_to_the_booking(
    engine: Engine, client: httpx.AsyncClient, owner: httpx.AsyncClient
) -> None:
    body = {"name": "Hamlet", "start_time": "2030-12-24T20:00:00+01:00", "total_seats": 4}
    show = (await owner.post("/v1/shows", json=body)).json()["id"]
    claimed = (await client.post(f"/v1/shows/{show}/bookings", json={"best_available": 2})).json()
    release = f"/v1/shows/{show}/bookings/{claimed['id']}/cancel"
    mine = {"Authorization": f"Bearer {claimed['secret']}", "Idempotency-Key": "k-1"}
    released = await client.post(release, headers=mine)
    assert released.status_code == 200
    kept = await engine.db.rows("select caller, convert_from(body, 'UTF8') as body from answers")
    assert len(kept) == 1
    assert not any(claimed["secret"] in text for row in kept for text in row)
    assert (await client.post(release, headers=mine)).content == released.content

    # Nobody else has the answer by the key, and what is no secret of ours is no burden either.
    for stranger in ("x" * 29, "".join(random.choices(ascii_letters + digits, k=6000))):
        theirs = await client.post(release, headers={**mine, "Authorization": f"Bearer {stranger}"})
        assert theirs.status_code == 404, theirs.text
