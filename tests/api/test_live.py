"""Live availability, over a real server: in process nothing can be read before an answer ends, and these do not end."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from random import Random
from typing import Any
from uuid import UUID

import httpx
import pytest
from prometheus_client import REGISTRY

from holdfast import booking
from holdfast.booking.view import TOPIC
from holdfast.engine import Engine
from holdfast.live import Hub, Viewer, hub
from holdfast.platform.db import Query
from holdfast.platform.errors import Busy
from tests.api.watching import PATIENCE_SECONDS, Event, Stream, claim, id_of, serving, signed, watching
from tests.conftest import client_of, eventually

pytestmark = pytest.mark.anyio

OVERDUE = Query(
    "test.overdue",
    """update bookings set expires_at = clock_timestamp() - interval '1 second'
        where show_id = $1 and status = 'PENDING'""",
)

Opens = Callable[..., Any]


@pytest.fixture
async def web(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(engine) as (client, _server):
        yield client


async def test_the_first_event_says_where_the_show_is(
    web: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show()
    await claim(client, show, 1)
    async with watching(web, show) as stream:
        assert stream.answer.headers["content-type"] == "text/event-stream"
        assert "no-store" in stream.answer.headers["cache-control"]
        first = await stream.next()
    assert (first.id, first.kind) == ("1", "availability")
    assert int(first.retry or 0) in hub.RETRY_MILLISECONDS
    assert first.data == {"revision": 1, "taken": [], "freed": [], "areas": [{"id": 1, "available": 9}]}


async def test_a_claim_and_its_end_are_told(
    web: httpx.AsyncClient, client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    async with watching(web, show) as stream:
        await stream.next()
        await claim(client, show, 3, 4)
        told = await stream.next()
        assert (told.kind, told.retry) == ("availability", None)
        assert told.data == {
            "revision": 1,
            "taken": [2, 3],
            "freed": [],
            "areas": [{"id": 1, "available": 8}],
        }
        await engine.db.execute(OVERDUE, id_of(show))
        assert await booking.sweep(engine.office) == 1
        told = await stream.next()
        assert told.data == {
            "revision": 2,
            "taken": [],
            "freed": [2, 3],
            "areas": [{"id": 1, "available": 10}],
        }


async def test_a_block_and_its_release_are_told(
    web: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show()
    async with watching(web, show) as stream:
        await stream.next()
        url = f"/v1/shows/{show['id']}/blocks"
        block = (await owner.post(url, json={"seats": ["10"], "reason": "press"})).json()
        told = (await stream.next()).data
        # Taken, and by nobody: who shows both alike need not look at the second.
        assert (told["taken"], told["blocked"]) == ([9], [9])
        await owner.delete(f"{url}/{block['id']}")
        told = (await stream.next()).data
        assert (told["freed"], "blocked" in told) == ([9], False)


async def test_places_without_a_seat_are_told_by_number(
    web: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show(areas=[{"name": "Floor", "kind": "standing", "capacity": 5}])
    async with watching(web, show) as stream:
        await stream.next()
        await client.post(f"/v1/shows/{show['id']}/bookings", json={"quantity": 3})
        told = await stream.next()
    assert told.data == {"revision": 1, "taken": [], "freed": [], "areas": [{"id": 1, "available": 2}]}


async def test_a_claim_by_another_engine_is_told(
    web: httpx.AsyncClient, open_another: Opens, a_show: Any
) -> None:
    show = await a_show()
    async with open_another() as other, client_of(other) as elsewhere, watching(web, show) as stream:
        await stream.next()
        await claim(elsewhere, show, 5)
        told = await stream.next()
        assert (told.kind, told.data["taken"]) == ("availability", [4])


async def test_a_change_whose_message_was_lost_is_a_reset(
    web: httpx.AsyncClient, open_another: Opens, a_show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = await a_show()
    async with open_another() as other, client_of(other) as elsewhere, watching(web, show) as stream:
        await stream.next()
        with monkeypatch.context() as lost:
            lost.setattr(other.broadcast, "publish", lambda *_: None)
            await claim(elsewhere, show, 5)
        told = await stream.next()
        assert (told.kind, told.revision, told.data) == ("reset", 1, {"revision": 1})
        again = (await web.get(f"/v1/shows/{show['id']}/availability")).json()
        assert again["revision"] >= told.revision
        await claim(elsewhere, show, 6)
        told = await stream.next()
        assert (told.kind, told.revision, told.data["taken"]) == ("availability", 2, [5])


async def test_what_happens_at_once_is_one_event_with_the_last_states(
    web: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show(total_seats=100)
    async with watching(web, show) as stream:
        await stream.next()
        for revision in range(1, 100):
            engine.broadcast.publish(TOPIC, [show["id"], revision, [revision], [], [100 - revision]])
        engine.broadcast.publish(TOPIC, [show["id"], 100, [0], [7, 8], [3]])
        told = await stream.next()
    assert told.revision == 100
    assert told.data["taken"] == [seat for seat in range(100) if seat not in (7, 8)]
    # They are what they were before, but not for a viewer whose availability is from in between.
    assert told.data["freed"] == [7, 8]
    assert told.data["areas"] == [{"id": 1, "available": 3}]


async def test_many_claims_by_two_engines_end_in_the_availability(
    web: httpx.AsyncClient, client: httpx.AsyncClient, open_another: Opens, a_show: Any
) -> None:
    show = await a_show(total_seats=60)
    async with open_another() as other, client_of(other) as elsewhere, watching(web, show) as stream:
        await stream.next()
        for start in range(1, 61, 10):
            doors = (client, elsewhere)
            await asyncio.gather(*(claim(doors[seat % 2], show, seat) for seat in range(start, start + 10)))
        taken: set[int] = set()
        events = 0
        while len(taken) < 60:
            told = await stream.next()
            events += 1
            if told.kind == "reset":
                bitmap = b64decode((await web.get(f"/v1/shows/{show['id']}/availability")).json()["taken"])
                taken = {seat for seat in range(60) if bitmap[seat >> 3] >> (seat & 7) & 1}
            taken.update(told.data.get("taken", ()))
        assert events < 60
        assert told.data.get("areas") in (None, [{"id": 1, "available": 0}])


async def test_who_comes_back_hears_what_was_missed(
    web: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show()
    await claim(client, show, 1)
    async with watching(web, show) as stays:
        await stays.next()
        for seat in (2, 3, 4):
            await claim(client, show, seat)
            await stays.next()
        async with watching(web, show, last=2) as back:
            first = await back.next()
            assert (first.kind, first.revision) == ("availability", 4)
            assert (first.data["taken"], first.data["freed"]) == ([2, 3], [])
        async with watching(web, show, since=3) as back:
            assert (await back.next()).data["taken"] == [3]
        async with watching(web, show, since=0, last=4) as back:
            first = await back.next()
            assert (first.kind, first.revision, first.data["taken"]) == ("availability", 4, [])
            await claim(client, show, 5)
            assert (await back.next()).data["taken"] == [4]
        # The stream began at revision 1: what happened before it, nobody kept.
        async with watching(web, show, last=1) as back:
            assert (await back.next()).data["taken"] == [1, 2, 3, 4]
        async with watching(web, show, last=0) as back:
            first = await back.next()
            assert (first.kind, first.revision) == ("reset", 5)
            assert int(first.retry or 0) in hub.RETRY_MILLISECONDS
            await claim(client, show, 6)
            assert (await back.next()).data["taken"] == [5]


async def test_who_comes_back_when_nobody_watched_is_told_to_read_again(
    web: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show()
    async with watching(web, show) as stream:
        await stream.next()
    await claim(client, show, 1)
    async with watching(web, show, last=0) as back:
        assert (await back.next()).kind == "reset"
    async with watching(web, show, last=1) as back:
        assert (await back.next()).kind == "availability"


async def test_who_knows_more_than_this_process_is_waited_for_and_then_reset(
    web: httpx.AsyncClient, engine: Engine, a_show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = await a_show()
    async with watching(web, show, last=1) as ahead:
        engine.broadcast.publish(TOPIC, [show["id"], 1, [0], [], [9]])
        first = await ahead.next()
        assert (first.kind, first.revision, first.data["taken"]) == ("availability", 1, [])
    monkeypatch.setattr(hub, "CATCH_UP_SECONDS", 0.1)
    async with watching(web, show, last=99) as ahead:
        first = await ahead.next()
        assert (first.kind, first.revision) == ("reset", 1)


async def test_there_are_so_many_viewers_and_no_more(open_another: Opens, a_show: Any) -> None:
    show = await a_show()
    async with open_another(live_viewers_max=2) as small, serving(small) as (web, _server):
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await (await stack.enter_async_context(watching(web, show))).next()
            refused = await web.get(f"/v1/shows/{show['id']}/live")
            assert (refused.status_code, refused.json()["code"]) == (503, "busy")
            assert int(refused.headers["retry-after"]) >= 1
        await eventually(lambda: _is_empty(small.hub))
        async with watching(web, show) as stream:
            assert (await stream.next()).kind == "availability"


async def _is_empty(watched: Hub) -> bool:
    return watched.viewers == watched.shows == 0


async def test_who_leaves_leaves_nothing_behind(
    web: httpx.AsyncClient, client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show, other = await a_show(), await a_show()
    before = _gauge()
    async with watching(web, show) as one, watching(web, show) as two:
        async with watching(web, other) as three:
            for stream in (one, two, three):
                await stream.next()
            assert (engine.hub.viewers, engine.hub.shows, _gauge() - before) == (3, 2, 3)

        async def one_show() -> bool:
            return engine.hub.shows == 1

        await eventually(one_show)
        assert set(engine.office.views._watched) == {id_of(show)}
        await claim(client, show, 1)
        assert (await one.next()).data["taken"] == [0]
    await eventually(lambda: _is_empty(engine.hub))
    assert engine.office.views._watched == {}
    assert _gauge() == before


def _gauge() -> float:
    return REGISTRY.get_sample_value("holdfast_live_viewers") or 0.0


async def test_the_head_alone_opens_no_stream(web: httpx.AsyncClient, engine: Engine, a_show: Any) -> None:
    show = await a_show()
    answer = await web.head(f"/v1/shows/{show['id']}/live")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/event-stream"
    assert await _is_empty(engine.hub)


async def test_a_draft_is_for_its_organizer_alone(
    web: httpx.AsyncClient, owner: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    draft = await a_show(status="draft")
    url = f"/v1/shows/{draft['id']}/live"
    assert (await web.get(url)).json()["code"] == "show_not_found"
    async with web.stream("GET", url, headers=signed(owner)) as answer:
        assert (await Stream(answer).next()).kind == "availability"
    nowhere = await web.get(f"/v1/shows/{UUID(int=7)}/live")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "show_not_found")


async def test_who_watches_a_show_that_is_hidden_again_watches_no_more(
    web: httpx.AsyncClient, owner: httpx.AsyncClient, open_another: Opens, a_show: Any
) -> None:
    show = await a_show(status="scheduled")
    async with (
        open_another() as other,
        client_of(other, **signed(owner)) as elsewhere,
        watching(web, show) as stream,
    ):
        await stream.next()
        url = f"/v1/shows/{show['id']}"
        assert (await elsewhere.patch(url, json={"name": "Othello"})).status_code == 200
        block = {"seats": ["10"], "reason": "press"}
        assert (await elsewhere.post(f"{url}/blocks", json=block)).status_code == 201
        assert (await stream.next()).data["taken"] == [9]
        assert (await elsewhere.patch(url, json={"status": "draft"})).status_code == 200
        assert await stream.raw() is None
        async with web.stream("GET", f"{url}/live", headers=signed(owner)) as answer:
            own = Stream(answer)
            await own.next()
            assert (await elsewhere.patch(url, json={"name": "Lear"})).status_code == 200
            assert (await elsewhere.post(f"{url}/blocks", json=block | {"seats": ["9"]})).status_code == 201
            assert (await own.next()).data["taken"] == [8]


@pytest.mark.parametrize(
    ("last", "query"),
    [
        ("x", ""),
        ("-1", ""),
        ("1" * 16, ""),
        ("", ""),
        (None, "?since=x"),
        (None, "?since=-1"),
        (None, "?sins=1"),
    ],
)
async def test_what_no_revision_can_be_is_refused(
    last: str | None, query: str, web: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    headers = {} if last is None else {"Last-Event-ID": last}
    answer = await web.get(f"/v1/shows/{show['id']}/live{query}", headers=headers)
    assert answer.status_code == 400
    assert await _is_empty(engine.hub)


async def test_a_quiet_stream_says_that_it_lives(
    web: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "KEEP_ALIVE_SECONDS", 0.05)
    show = await a_show()
    await claim(client, show, 1)
    async with watching(web, show) as stream:
        await stream.next()
        for _ in range(2):
            alive = await stream.raw()
            assert alive is not None
            # It has no id: who comes back begins behind the last change.
            assert alive.splitlines() == ["event: alive", 'data: {"revision":1}']
        await claim(client, show, 2)
        told = await stream.next()
        while told.kind == "alive":
            told = await stream.next()
        assert told.data["taken"] == [1]


async def test_a_server_that_stops_ends_its_streams(engine: Engine, a_show: Any) -> None:
    show = await a_show()
    async with serving(engine) as (web, server), watching(web, show) as stream:
        await stream.next()
        server.should_exit = True
        assert await stream.raw() is None
    assert await _is_empty(engine.hub)
    with pytest.raises(Busy):
        engine.hub.join(await engine.office.views.get(id_of(show)), None)


# From here on the hub itself: what a slow reader is told cannot be seen through the buffers of a connection.


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are told as soon as the loop comes round."""
    monkeypatch.setattr(hub, "TICK_SECONDS", 0.0)


async def _events(viewer: Viewer) -> list[Event]:
    """The next event, and those that are in line behind it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        chunks = [await anext(viewer)]
    while viewer._unread:
        chunks.append(await anext(viewer))
    read = Event if viewer._is_sse else Event.of_message
    return [read(chunk.decode().strip()) for chunk in chunks]


async def _tick() -> None:
    # Timers of less than a millisecond are rounded up.
    await asyncio.sleep(0.003)


@pytest.mark.parametrize(("unread", "kinds"), [(0, ["availability"] * 16), (1, ["reset"])])
@pytest.mark.usefixtures("no_pause")
async def test_who_does_not_read_is_told_to_read_again(
    unread: int, kinds: list[str], engine: Engine, a_show: Any
) -> None:
    show = await a_show(total_seats=100)
    view = await engine.office.views.get(id_of(show))
    slow, quick = engine.hub.join(view, None), engine.hub.join(view, None)
    await _events(slow)
    await _events(quick)
    revision = 0

    async def change() -> None:
        nonlocal revision
        revision += 1
        engine.broadcast.publish(TOPIC, [show["id"], revision, [revision], [], [100 - revision]])
        assert [told.revision for told in await _events(quick)] == [revision]
        await _tick()

    for _ in range(hub.BACKLOG_EVENTS_MAX + unread):
        await change()
    events = await _events(slow)
    assert [told.kind for told in events] == kinds
    assert events[-1].revision == revision
    await change()
    assert [told.data["taken"] for told in await _events(slow)] == [[revision]]
    await slow.aclose()
    await slow.aclose()
    await quick.aclose()
    assert await _is_empty(engine.hub)


@pytest.mark.usefixtures("no_pause")
async def test_what_is_kept_for_those_who_come_back_is_bounded(
    engine: Engine, a_show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "RING_TICKS_MAX", 3)
    monkeypatch.setattr(hub, "RING_SEATS_MAX", 20)
    show = await a_show(total_seats=100)
    view = await engine.office.views.get(id_of(show))
    stays = engine.hub.join(view, None)
    await _events(stays)

    async def change(revision: int, seats: int) -> None:
        engine.broadcast.publish(TOPIC, [show["id"], revision, list(range(seats)), [], [1]])
        await _events(stays)
        await _tick()

    async def told_since(since: int) -> str | None:
        back = engine.hub.join(view, since)
        told = await _events(back)
        await back.aclose()
        return told[0].kind

    for revision in (1, 2, 3):
        await change(revision, 1)
    assert await told_since(0) == "availability"
    await change(4, 1)
    assert [await told_since(since) for since in (0, 1)] == ["reset", "availability"]
    await change(5, 18)
    assert [await told_since(since) for since in (1, 2)] == ["reset", "availability"]
    await change(6, 3)
    assert [await told_since(since) for since in (4, 5, 6)] == ["reset", "availability", "availability"]
    await change(7, 21)
    assert [await told_since(since) for since in (6, 7)] == ["reset", "availability"]
    await stays.aclose()


class Page:
    """What a page does: it has an availability of some revision and applies what it is told."""

    def __init__(self, viewer: Viewer, states: list[set[int]], revision: int) -> None:
        self.viewer, self.states, self.revision = viewer, states, revision
        self.taken = set(states[revision])

    async def read(self) -> None:
        for event in await _events(self.viewer):
            if event.kind == "reset":
                self.revision = len(self.states) - 1
                self.taken = set(self.states[self.revision])
            elif event.revision > self.revision:
                self.taken.difference_update(event.data["freed"])
                self.taken.update(event.data["taken"])
                self.revision = event.revision


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.usefixtures("no_pause")
async def test_whoever_comes_when_and_reads_how_slowly_ends_in_the_truth(
    seed: int, engine: Engine, a_show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More pages than are woken in one go, from any revision, at any moment, while changes go on."""
    monkeypatch.setattr(hub, "VIEWERS_AT_ONCE", 3)
    monkeypatch.setattr(hub, "BACKLOG_EVENTS_MAX", 4)
    monkeypatch.setattr(hub, "RING_TICKS_MAX", 10)
    random = Random(seed)
    show = await a_show(total_seats=30)
    view = await engine.office.views.get(id_of(show))
    states: list[set[int]] = [set()]
    pages: list[Page] = []
    for _ in range(150):
        for _ in range(random.randint(0, 3)):
            before = states[-1]
            seats = random.sample(range(30), random.randint(1, 4))
            taken, freed = [s for s in seats if s not in before], [s for s in seats if s in before]
            states.append(before.difference(freed).union(taken))
            change = [show["id"], len(states) - 1, taken, freed, [30 - len(states[-1])]]
            engine.broadcast.publish(TOPIC, change)
        if random.random() < 0.3:
            since = random.randint(max(0, len(states) - 15), len(states) - 1)
            form: hub.Form = random.choice(["sse", "message"])
            pages.append(Page(engine.hub.join(view, since, form), states, since))
        if random.random() < 0.3:
            await asyncio.sleep(random.choice([0, 0, 0.002]))
        for page in pages:
            if random.random() < 0.1 and page.revision < len(states) - 1:
                await page.read()
    assert len(pages) > 20
    for page in pages:
        while page.revision < len(states) - 1:
            await page.read()
        assert page.taken == states[-1], page.revision
        await page.viewer.aclose()
    assert await _is_empty(engine.hub)
