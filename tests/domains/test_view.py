"""What a process knows of a show, against what the database has: whoever changed it, and whatever was lost on the way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import permutations
from random import Random
from typing import Any
from uuid import UUID

import httpx
import pytest
from prometheus_client import REGISTRY

from holdfast import booking
from holdfast.booking import Change, View
from holdfast.booking.view import PENDING_CHANGES_MAX, TOPIC
from holdfast.catalog import ShowNotFound
from holdfast.engine import Engine
from holdfast.platform.db import Query
from holdfast.platform.ids import ShowId, new_id
from tests.conftest import client_of, eventually

pytestmark = pytest.mark.anyio

TRUTH = Query(
    "test.truth",
    """select h.revision, array(select seat from claims where show_id = $1 order by seat) as taken,
              array(select capacity - reserved - blocked from stock where show_id = $1 order by area) as left_over
         from show_heads h where h.show_id = $1""",
)
OVERDUE = Query(
    "test.overdue",
    """update bookings set expires_at = clock_timestamp() - interval '1 second'
        where show_id = $1 and status = 'PENDING'""",
)

Opens = Callable[..., Any]


class Muted:
    """An engine whose messages reach nobody: they wait in `messages` for whoever delivers them."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = engine
        self.messages: list[Any] = []
        monkeypatch.setattr(engine.broadcast, "publish", self._publish)

    def _publish(self, topic: str, message: Any) -> None:
        if topic == TOPIC:
            self.messages.append(message)


@pytest.fixture
async def muted(open_another: Opens, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Muted]:
    async with open_another() as other:
        yield Muted(other, monkeypatch)


@pytest.fixture
async def idle(open_another: Opens) -> AsyncIterator[Engine]:
    """An engine that believes its views for ten seconds, so that a test sees what messages alone do."""
    async with open_another(availability_seconds=10.0) as other:
        yield other


async def claim(engine: Engine, show: dict[str, Any], **body: Any) -> dict[str, Any]:
    async with client_of(engine) as client:
        answer = await client.post(f"/v1/shows/{show['id']}/bookings", json=body)
    assert answer.status_code == 201, answer.text
    claimed: dict[str, Any] = answer.json()
    return claimed


def id_of(show: dict[str, Any]) -> ShowId:
    return ShowId(UUID(show["id"]))


def taken_in(view: View) -> list[int]:
    return [seat for seat in range(view.plan.seats) if view.is_taken(seat)]


async def is_true(engine: Engine, view: View) -> bool:
    """Whether the view is what the database has; it must be when it has the same revision."""
    truth = await engine.db.row(TRUTH, view.show.show_id)
    assert truth is not None
    if view.revision != truth["revision"]:
        return False
    assert taken_in(view) == truth["taken"]
    assert view.left == truth["left_over"]
    return True


def queries(name: str) -> float:
    """How often this process has asked the database that."""
    return REGISTRY.get_sample_value("holdfast_db_query_seconds_count", {"query": f"booking.{name}"}) or 0.0


async def test_a_change_by_another_engine_appears(engine: Engine, idle: Engine, a_show: Any) -> None:
    show = await a_show()
    view = await idle.office.views.get(id_of(show))
    assert taken_in(view) == []
    await claim(engine, show, seats=["3", "4"])

    async def appeared() -> bool:
        return taken_in(view) == [2, 3]

    await eventually(appeared)
    assert (view.revision, view.left) == (1, [8])
    assert await is_true(engine, view)


async def test_ones_own_change_is_there_with_its_answer(engine: Engine, a_show: Any) -> None:
    show = await a_show()
    view = await engine.office.views.get(id_of(show))
    await claim(engine, show, seats=["1"])
    assert taken_in(view) == [0]


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_changes_out_of_order_end_in_the_truth(
    order: tuple[int, ...], idle: Engine, muted: Muted, a_show: Any
) -> None:
    show = await a_show()
    view = await idle.office.views.get(id_of(show))
    heard: list[Change | View] = []
    stop = idle.office.views.watch(view, heard.append)
    for seat in ("1", "2", "3"):
        await claim(muted.engine, show, seats=[seat])
    assert view.revision == 0
    for number in order:
        idle.broadcast.publish(TOPIC, muted.messages[number])
    stop()
    idle.broadcast.publish(TOPIC, [show["id"], 4, [9], [], [6]])
    assert [(type(news), news.revision) for news in heard] == [(Change, 1), (Change, 2), (Change, 3)]
    assert idle.office.views.known(id_of(show)) is view
    assert (view.revision, taken_in(view)) == (4, [0, 1, 2, 9])


async def test_a_change_told_twice_or_late_changes_nothing(engine: Engine, idle: Engine, a_show: Any) -> None:
    show = await a_show()
    view = await idle.office.views.get(id_of(show))
    heard: list[Change | View] = []
    idle.office.views.watch(view, heard.append)
    first: Any = [show["id"], 1, [5], [], [9]]
    idle.broadcast.publish(TOPIC, first)
    idle.broadcast.publish(TOPIC, [show["id"], 2, [], [5], [10]])
    idle.broadcast.publish(TOPIC, first)
    assert (view.revision, taken_in(view), view.left) == (2, [], [10])
    assert [news.revision for news in heard] == [1, 2]


async def test_a_missing_change_is_noticed_and_the_watchers_get_the_view(
    idle: Engine, muted: Muted, a_show: Any
) -> None:
    show, views = await a_show(), idle.office.views
    heard: list[Change | View] = []
    stop = views.watch(await views.get(id_of(show)), heard.append)
    for seat in ("1", "2", "3"):
        await claim(muted.engine, show, seats=[seat])
    for number in (0, 2):
        idle.broadcast.publish(TOPIC, muted.messages[number])
    assert [news.revision for news in heard] == [1]
    # The first look sees that something is missing, which may be on its way; the second knows that it was lost.
    await views.keep_fresh()
    await views.keep_fresh()
    assert [type(news) for news in heard] == [Change, View]
    view = await views.get(id_of(show))
    assert heard[1] is view
    assert await is_true(idle, view)
    await claim(muted.engine, show, seats=["4"])
    idle.broadcast.publish(TOPIC, muted.messages[3])
    assert [type(news) for news in heard] == [Change, View, Change]
    assert heard[2].revision == 4
    stop()


async def test_a_change_on_its_way_is_waited_for(idle: Engine, muted: Muted, a_show: Any) -> None:
    show, views = await a_show(), idle.office.views
    view = await views.get(id_of(show))
    heard: list[Change | View] = []
    views.watch(view, heard.append)
    await claim(muted.engine, show, seats=["1"])
    await views.keep_fresh()
    idle.broadcast.publish(TOPIC, muted.messages[0])
    await claim(muted.engine, show, seats=["2"])
    await views.keep_fresh()
    idle.broadcast.publish(TOPIC, muted.messages[1])
    assert [type(news) for news in heard] == [Change, Change]
    assert views.known(id_of(show)) is view


async def test_what_waits_for_a_missing_change_is_bounded(
    idle: Engine, a_show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Their number is the subject, not how long they waited.
    monkeypatch.setattr("holdfast.booking.view.GAP_SECONDS", 60.0)
    show, views = await a_show(), idle.office.views
    await views.get(id_of(show))
    for revision in range(2, PENDING_CHANGES_MAX + 1):
        idle.broadcast.publish(TOPIC, [show["id"], revision, [], [], [10]])
    assert views.known(id_of(show)) is not None
    idle.broadcast.publish(TOPIC, [show["id"], PENDING_CHANGES_MAX + 1, [], [], [10]])
    assert views.known(id_of(show)) is None
    assert (await views.get(id_of(show))).revision == 0


async def test_a_lost_broadcast_is_healed_for_readers_and_watchers(
    engine: Engine, muted: Muted, a_show: Any
) -> None:
    show, views = await a_show(), engine.office.views
    heard: list[Change | View] = []
    views.watch(await views.get(id_of(show)), heard.append)
    await claim(muted.engine, show, seats=["1"])

    async def healed() -> bool:
        return bool(heard)

    await eventually(healed)
    assert isinstance(heard[0], View)
    assert await is_true(engine, heard[0])
    assert await views.get(id_of(show)) is heard[0]


async def test_a_message_that_could_not_be_sent_makes_readers_look(
    idle: Engine, muted: Muted, a_show: Any
) -> None:
    show, views = await a_show(), idle.office.views
    view = await views.get(id_of(show))
    await claim(muted.engine, show, seats=["1"])
    assert await views.get(id_of(show)) is view
    idle.broadcast.hint(TOPIC)
    assert taken_in(await views.get(id_of(show))) == [0]


async def test_terms_edited_elsewhere_are_noticed(
    engine: Engine, idle: Engine, owner: httpx.AsyncClient, a_show: Any
) -> None:
    show, views = await a_show(), idle.office.views
    heard: list[Change | View] = []
    views.watch(await views.get(id_of(show)), heard.append)
    assert (await owner.patch(f"/v1/shows/{show['id']}", json={"hold_seconds": 30})).status_code == 200

    async def noticed() -> bool:
        return (await views.get(id_of(show))).show.hold_seconds == 30

    await eventually(noticed)
    # An edit of the terms is none of the availability: who watches goes on as if nothing had been.
    await claim(engine, show, seats=["2"])

    async def told() -> bool:
        return bool(heard)

    await eventually(told)
    assert isinstance(heard[0], Change)
    assert heard[0].taken == [1]


async def test_terms_edited_in_silence_are_noticed(
    engine: Engine, muted: Muted, owner: httpx.AsyncClient, a_show: Any
) -> None:
    show, views = await a_show(), engine.office.views
    await views.get(id_of(show))
    async with client_of(muted.engine, Authorization=owner.headers["Authorization"]) as silent:
        assert (await silent.patch(f"/v1/shows/{show['id']}", json={"hold_seconds": 30})).status_code == 200

    async def noticed() -> bool:
        return (await views.get(id_of(show))).show.hold_seconds == 30

    await eventually(noticed)


async def test_the_view_asked_for_least_is_let_go_and_its_watchers_are_not(
    engine: Engine, open_another: Opens, a_show: Any
) -> None:
    shows = [await a_show(name=f"Show {number}") for number in range(3)]
    async with open_another(views_max=2, availability_seconds=10.0) as small:
        views = small.office.views
        heard: list[Change | View] = []
        views.watch(await views.get(id_of(shows[0])), heard.append)
        await views.get(id_of(shows[1]))
        assert views.known(id_of(shows[0])) is not None
        await views.get(id_of(shows[2]))
        assert [views.known(id_of(show)) is not None for show in shows] == [False, True, True]
        await claim(engine, shows[0], seats=["7"])

        async def told() -> bool:
            return bool(heard)

        await eventually(told)
        assert isinstance(heard[0], Change)
        assert taken_in(await views.get(id_of(shows[0]))) == [6]
        assert [views.known(id_of(show)) is not None for show in shows] == [True, False, True]


async def test_those_who_ask_at_once_share_one_load_and_one_look(idle: Engine, a_show: Any) -> None:
    show, views = await a_show(), idle.office.views
    before = queries("snapshot")
    found = await asyncio.gather(*(views.get(id_of(show)) for _ in range(50)))
    assert queries("snapshot") - before == 1
    assert all(view is found[0] for view in found)
    idle.broadcast.hint(TOPIC)
    before = queries("heads")
    again = await asyncio.gather(*(views.get(id_of(show)) for _ in range(50)))
    # The regular look may fall into this moment.
    assert queries("heads") - before <= 2
    assert all(view is found[0] for view in again)


async def test_who_asks_first_may_go_away(idle: Engine, a_show: Any) -> None:
    show, views = await a_show(), idle.office.views
    first = asyncio.create_task(views.get(id_of(show)))
    await asyncio.sleep(0)
    second = asyncio.create_task(views.get(id_of(show)))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).revision == 0


async def test_a_change_during_a_load_is_in_what_it_gives(idle: Engine, a_show: Any) -> None:
    show, views = await a_show(), idle.office.views
    load = asyncio.create_task(views.get(id_of(show)))
    await asyncio.sleep(0)
    idle.broadcast.publish(TOPIC, [show["id"], 1, [5], [], [9]])
    view = await load
    assert (view.revision, taken_in(view)) == (1, [5])


async def test_a_load_that_an_edit_overtook_is_not_kept(idle: Engine, a_show: Any) -> None:
    show, views = await a_show(), idle.office.views
    load = asyncio.create_task(views.get(id_of(show)))
    await asyncio.sleep(0)
    idle.broadcast.publish(TOPIC, [show["id"]])
    overtaken = await load
    assert views.known(id_of(show)) is None
    assert await views.get(id_of(show)) is not overtaken


async def test_a_show_that_is_not_there_is_refused_every_time(idle: Engine) -> None:
    nowhere = ShowId(new_id())
    for _ in range(2):
        with pytest.raises(ShowNotFound):
            await idle.office.views.get(nowhere)


class Buyers:
    """Does something to a show, now by this engine and now by that one."""

    def __init__(
        self, random: Random, clients: list[httpx.AsyncClient], engine: Engine, show: dict[str, Any]
    ) -> None:
        self.random, self.clients, self.engine = random, clients, engine
        self.url = f"/v1/shows/{show['id']}"
        self.show_id = id_of(show)
        self.bookings: list[dict[str, Any]] = []
        self.blocks: list[str] = []

    @property
    def client(self) -> httpx.AsyncClient:
        return self.random.choice(self.clients)

    def some_seats(self) -> list[str]:
        return [str(number) for number in self.random.sample(range(1, 41), self.random.randint(1, 4))]

    async def step(self) -> None:
        does = self.random.choice(
            [
                self.claim,
                self.claim,
                self.claim,
                self.stand,
                self.cancel,
                self.block,
                self.unblock,
                self.expire,
            ]
        )
        await does()

    async def claim(self) -> None:
        await self._claim(seats=self.some_seats())

    async def stand(self) -> None:
        await self._claim(quantity=self.random.randint(1, 3), area="Floor")

    async def _claim(self, **body: Any) -> None:
        answer = await self.client.post(f"{self.url}/bookings", json=body)
        assert answer.status_code in (201, 409), answer.text
        if answer.status_code == 201:
            self.bookings.append(answer.json())

    async def cancel(self) -> None:
        if self.bookings:
            booked = self.bookings.pop(self.random.randrange(len(self.bookings)))
            url = f"{self.url}/bookings/{booked['id']}/cancel"
            await self.client.post(url, headers={"Authorization": f"Bearer {booked['secret']}"})

    async def block(self) -> None:
        body = {"seats": self.some_seats(), "reason": "press"}
        answer = await self.client.post(f"{self.url}/blocks", json=body)
        assert answer.status_code in (201, 409), answer.text
        if answer.status_code == 201:
            self.blocks.append(answer.json()["id"])

    async def unblock(self) -> None:
        if self.blocks:
            block = self.blocks.pop(self.random.randrange(len(self.blocks)))
            assert (await self.client.delete(f"{self.url}/blocks/{block}")).status_code == 204

    async def expire(self) -> None:
        if self.random.random() < 0.5:
            await self.engine.db.execute(OVERDUE, self.show_id)
            if self.random.random() < 0.5:
                await booking.sweep(self.engine.office)


class Copy:
    """What somebody who watches has: a bitmap and the numbers left, kept by the changes alone."""

    def __init__(self, engine: Engine, view: View) -> None:
        self.taken, self.left, self.revision = set(taken_in(view)), list(view.left), view.revision
        engine.office.views.watch(view, self._hear)

    def _hear(self, news: Change | View) -> None:
        if isinstance(news, View):
            self.taken = set(taken_in(news))
        else:
            assert news.revision == self.revision + 1
            self.taken.difference_update(news.freed)
            self.taken.update(news.taken)
        self.left, self.revision = list(news.left), news.revision


@pytest.mark.parametrize("seed", range(4))
async def test_after_anything_a_view_is_what_the_database_has(
    seed: int, engine: Engine, open_another: Opens, owner: httpx.AsyncClient, a_show: Any
) -> None:
    """Two engines change one show, a third looks on; the odd seeds lose a third of all messages."""
    random = Random(seed)
    rows = [{"label": "A", "seats": 40}]
    show = await a_show(
        areas=[
            {"name": "Stalls", "kind": "seated", "rows": rows},
            {"name": "Floor", "kind": "standing", "capacity": 9},
        ]
    )
    async with AsyncExitStack() as stack:
        other, third = [await stack.enter_async_context(open_another()) for _ in range(2)]
        rights = {"Authorization": owner.headers["Authorization"]}
        clients = [await stack.enter_async_context(client_of(one, **rights)) for one in (engine, other)]
        copies = [Copy(one, await one.office.views.get(id_of(show))) for one in (engine, other, third)]
        if seed % 2:
            for one in (engine, other):
                _lose_some(one, random)
        buyers = Buyers(random, clients, engine, show)
        for _ in range(15):
            await asyncio.gather(*(buyers.step() for _ in range(random.randint(1, 6))))
            for one in (engine, other, third):
                await is_true(one, await one.office.views.get(id_of(show)))
        for one, copy in zip((engine, other, third), copies, strict=True):
            await eventually(lambda one=one, copy=copy: _agree(one, id_of(show), copy))  # type: ignore[misc]


async def _agree(engine: Engine, show_id: ShowId, copy: Copy) -> bool:
    view = await engine.office.views.get(show_id)
    if not await is_true(engine, view) or copy.revision != view.revision:
        return False
    assert view.revision > 10
    assert sorted(copy.taken) == taken_in(view)
    assert copy.left == view.left
    return True


def _lose_some(engine: Engine, random: Random) -> None:
    publish = engine.broadcast.publish

    def publish_some(topic: str, message: Any) -> None:
        if random.random() < 0.66:
            publish(topic, message)

    engine.broadcast.publish = publish_some  # type: ignore[method-assign]
