"""Figures: each fact counted once, ends of attempts from every process, and sums that agree with the bookings."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from holdfast import analytics
from holdfast.engine import Engine
from holdfast.platform import jobs
from holdfast.platform.db import Database
from holdfast.platform.errors import Busy
from holdfast.platform.ids import ShowId, new_id
from holdfast.platform.jobs import Worker
from holdfast.platform.outbox import Followers, Relay
from tests.api.test_customers import MakeShow
from tests.conftest import eventually

pytestmark = pytest.mark.anyio

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)


async def counted(engine: Engine, times: int = 1) -> None:
    """Hands every fact on and has it counted, by so many workers at once."""
    followers = Followers()
    analytics.follow(followers)
    await Relay(engine.db, followers).hand_on()
    workers = [Worker(engine.db, engine.settings, followers.handlers()) for _ in range(times)]
    running = [asyncio.create_task(worker.run()) for worker in workers]

    async def none_left() -> bool:
        left: int = await engine.db.value("select count(*) from jobs where kind = 'follow:analytics'")
        return left == 0

    await eventually(none_left)
    for worker in workers:
        await worker.stop()
    await asyncio.gather(*running)


async def booked(client: httpx.AsyncClient, show: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = await client.post(f"/v1/shows/{show['id']}/bookings", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def totals(engine: Engine, show: dict[str, Any]) -> analytics.Totals:
    return await analytics.totals_of(engine.db, ShowId(UUID(show["id"])), LONG_AGO, FAR)


async def outcomes(engine: Engine, show: dict[str, Any]) -> dict[str, int]:
    found = await analytics.outcomes_of(engine.db, ShowId(UUID(show["id"])), LONG_AGO, FAR)
    return {each.outcome: each.times for each in found}


async def test_sums_agree_with_the_bookings(
    engine: Engine, client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show(total_seats=50)
    made = [await booked(client, show, quantity=n, confirm=True) for n in (1, 2, 2, 3)]
    path = f"/v1/shows/{show['id']}/bookings/{made[3]['id']}/cancel"
    assert (await owner.post(path)).status_code == 200
    await counted(engine, times=3)
    sums = await totals(engine, show)
    assert (sums.bookings, sums.places, sums.cancelled_bookings, sums.cancelled_places) == (4, 8, 1, 3)
    sizes = await analytics.sizes_of(engine.db, ShowId(UUID(show["id"])))
    assert {each.places: each.bookings for each in sizes} == {1: 1, 2: 2, 3: 1}
    assert await outcomes(engine, show) == {"confirmed": 4, "by_organizer": 1}


async def test_a_job_that_runs_twice_counts_once(
    engine: Engine, client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show(total_seats=50)
    await booked(client, show, quantity=2, confirm=True)
    followers = Followers()
    analytics.follow(followers)
    await Relay(engine.db, followers).hand_on()
    [row] = await engine.db.rows("select * from jobs where kind = 'follow:analytics'")
    handler = followers.handlers()["follow:analytics"]
    lease = new_id()
    await engine.db.execute("update jobs set lease = $1 where job_id = $2", lease, row["job_id"])
    job = jobs.Job(row["job_id"], row["kind"], row["payload"], 1, row["created_at"], lease)
    await handler(job, engine.db)
    with pytest.raises(jobs.LeaseLost):
        await handler(job, engine.db)
    assert (await totals(engine, show)).bookings == 1


async def test_refusals_and_holds_that_end_are_counted_by_who_saw_them(
    engine: Engine, client: httpx.AsyncClient, a_show: MakeShow, open_another: Any
) -> None:
    show = await a_show(total_seats=2)
    made = await booked(client, show, quantity=2)
    for _ in range(3):
        answer = await client.post(f"/v1/shows/{show['id']}/bookings", json={"quantity": 1})
        assert answer.json()["code"] == "sold_out"
    answer = await client.post(f"/v1/shows/{new_id()}/bookings", json={"quantity": 1})
    assert answer.status_code == 404
    released = await client.post(
        f"/v1/shows/{show['id']}/bookings/{made['id']}/cancel",
        headers={"Authorization": f"Bearer {made['secret']}"},
    )
    assert released.json()["reason"] == "released"
    await analytics.Ends(engine.office).keep()
    # Another process adds to the same minute.
    async with open_another() as other:
        other.office.ends.add(UUID(show["id"]), "sold_out", 2)
        await analytics.Ends(other.office).keep()
    found = await outcomes(engine, show)
    assert found == {"sold_out": 5, "released": 1}


async def test_what_cannot_be_written_is_kept(
    engine: Engine, a_show: MakeShow, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = await a_show(total_seats=2)
    engine.office.ends.add(UUID(show["id"]), "sold_out")
    ends = analytics.Ends(engine.office)

    async def away(*_: Any) -> int:
        raise Busy

    with monkeypatch.context() as patched:
        patched.setattr(Database, "execute", away)
        with pytest.raises(Busy):
            await ends.keep()
    await ends.keep()
    await ends.keep()
    assert await outcomes(engine, show) == {"sold_out": 1}


async def test_a_series_has_steps_peaks_and_a_bound(engine: Engine, a_show: MakeShow) -> None:
    show = await a_show(total_seats=2)
    show_id = ShowId(UUID(show["id"]))
    [organizer_id] = [
        row["organizer_id"] for row in await engine.db.rows("select organizer_id from organizers")
    ]
    await engine.db.execute(
        """insert into analytics_sales (show_id, minute, organizer_id, currency, bookings, places, amount)
           select $1, '2026-03-29T00:30Z'::timestamptz + n * interval '1 minute', $2, 'EUR', 1, n + 1, 100
             from generate_series(0, 1499) n""",
        show_id, organizer_id,
    )  # fmt: skip
    with pytest.raises(analytics.TooManyPoints):
        await analytics.sales_of(engine.db, show_id, LONG_AGO, FAR, "minute", "UTC")
    days = await analytics.sales_of(engine.db, show_id, LONG_AGO, FAR, "day", "Europe/Vienna")
    # The clock in Vienna went forward that night: the 29th had 22 and a half hours from 01:30 on.
    assert [(each.at.isoformat(), each.bookings) for each in days] == [
        ("2026-03-28T23:00:00+00:00", 1290),
        ("2026-03-29T22:00:00+00:00", 210),
    ]
    peaks = await analytics.peaks_of(engine.db, show_id, LONG_AGO, FAR)
    assert [each.places for each in peaks] == list(range(1500, 1490, -1))
    hours = await analytics.hours_of(engine.db, organizer_id, LONG_AGO, FAR, "Europe/Vienna")
    assert (hours[0].weekday, hours[0].hour) == (1, 0)
    assert sum(each.places for each in hours) == sum(range(1, 1501))


async def test_organizers_read_their_figures_and_nobody_elses(
    engine: Engine, client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show(total_seats=50)
    await booked(client, show, quantity=2, confirm=True)
    await counted(engine)
    figures = (await owner.get(f"/v1/shows/{show['id']}/analytics", params={"step": "minute"})).json()
    assert figures["totals"]["places"] == 2
    assert [point["places"] for point in figures["sales"]] == [2]
    assert figures["outcomes"] == [{"outcome": "confirmed", "times": 1}]
    hours = (await owner.get("/v1/analytics/hours", params={"timezone": "Europe/Vienna"})).json()
    assert sum(hour["places"] for hour in hours["hours"]) == 2
    assert (await client.get(f"/v1/shows/{show['id']}/analytics")).status_code == 401
    for path, query in (
        (f"/v1/shows/{show['id']}/analytics", {"until": "2001-01-01T00:00:00Z"}),
        (f"/v1/shows/{show['id']}/analytics", {"since": "0001-01-01T00:00:00Z"}),
        ("/v1/analytics/hours", {"timezone": "Mars/Olympus"}),
    ):
        assert (await owner.get(path, params=query)).status_code == 400, query
