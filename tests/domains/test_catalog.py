"""What is on offer, through the front doors of catalog and booking."""

import asyncio
import contextvars
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from holdfast import accounts, booking, catalog
from holdfast.catalog import (
    Layout,
    LayoutSpec,
    RowSpec,
    SeatedAreaSpec,
    ShowEdit,
    ShowNotFound,
    ShowSpec,
    StandingAreaSpec,
    StatusStep,
    TierSpec,
    VenueSpec,
)
from holdfast.catalog.shows import STEPS, AreaEdit
from holdfast.engine import Engine
from holdfast.platform.errors import Invalid, PreconditionFailed
from holdfast.platform.ids import OrganizerId, new_id

pytestmark = pytest.mark.anyio

START = datetime(2030, 1, 1, 19, 30, tzinfo=UTC)
# Where a show may go at all, and from where: what a person would expect, written down a second time.
EXPECTED = {
    "draft": "scheduled on_sale cancelled",
    "scheduled": "draft on_sale paused postponed cancelled",
    "on_sale": "paused closed postponed cancelled",
    "paused": "on_sale closed postponed cancelled",
    "closed": "on_sale postponed cancelled",
    "postponed": "scheduled on_sale paused closed cancelled",
    "cancelled": "",
}
SELLING = {"on_sale": True, "scheduled": True}


@pytest.fixture
async def house(engine: Engine) -> OrganizerId:
    member = await accounts.first_owner(engine.db)
    assert member is not None
    return member.organizer_id


async def _open(engine: Engine, house: OrganizerId, **changes: object) -> catalog.Show:
    terms: dict[str, object] = {"name": "Hamlet", "start_time": START, "total_seats": 5}
    async with engine.db.transaction() as tx:
        show, _ = await booking.open_show(
            tx, engine.office, house, ShowSpec(**(terms | changes))  # type: ignore[arg-type]
        )  # fmt: skip
    return show


async def _edit(
    engine: Engine, house: OrganizerId, show: catalog.Show, edit: ShowEdit, version: int | None = None
) -> catalog.Show:
    async with engine.db.transaction() as tx:
        return await booking.edit_show(tx, engine.office, house, show.show_id, edit, version)


def test_the_table_of_steps_is_the_one_that_was_meant() -> None:
    assert {step: set(to) for step, to in STEPS.items()} == {
        step: set(to.split()) for step, to in EXPECTED.items()
    }


@pytest.mark.parametrize("before", EXPECTED)
async def test_a_show_takes_the_steps_in_the_table_and_no_other(
    engine: Engine, house: OrganizerId, before: str
) -> None:
    show = await _open(engine, house, sale_opens_at=datetime(2020, 1, 1, tzinfo=UTC))
    for after in EXPECTED:
        await engine.db.execute("update shows set status = $2 where show_id = $1", show.show_id, before)
        edit = ShowEdit(status=after)  # type: ignore[arg-type]
        allowed = after == before or after in EXPECTED[before].split()
        if allowed:
            assert (await _edit(engine, house, show, edit)).status == after
        else:
            with pytest.raises(StatusStep) as refused:
                await _edit(engine, house, show, edit)
            assert refused.value.members["status_now"] == before
        now = after if allowed else before
        row = await engine.db.row(
            "select status, selling, terms = version as told from shows join show_heads using (show_id)"
        )
        assert row is not None
        # What the claims go by follows the status, and only an edit that was done changes it.
        assert row["status"] == now
        assert row["told"]
        if allowed:
            assert row["selling"] == SELLING.get(now, False), now


async def test_a_show_can_be_created_in_three_states(engine: Engine, house: OrganizerId) -> None:
    for status, selling in (("draft", False), ("scheduled", False), ("on_sale", True)):
        show = await _open(engine, house, status=status)
        head = await engine.db.row("select selling from show_heads where show_id = $1", show.show_id)
        assert head is not None
        assert (show.status, head["selling"]) == (status, selling)


async def test_what_was_stored_is_what_was_built(engine: Engine, house: OrganizerId) -> None:
    areas: list[catalog.AreaSpec] = [
        StandingAreaSpec("Floor", 300),
        SeatedAreaSpec("Stalls", [RowSpec("A", seats=12, gap_after=[4]), RowSpec("B", numbers=["1", "1a"])]),
    ]
    show = await _open(engine, house, areas=areas, total_seats=None, focal=(1.25, -2.5))
    assert await catalog.plan_of(engine.db, show) == catalog.build(areas, focal=(1.25, -2.5))
    simple = await _open(engine, house, total_seats=2500)
    assert await catalog.plan_of(engine.db, simple) == catalog.simple(2500)
    read = await catalog.show_by_id(engine.db, show.show_id)
    assert read == show
    stock = await engine.db.rows("select * from stock where show_id = $1 order by area", show.show_id)
    assert [(row["capacity"], row["first_seat"], row["seated"]) for row in stock] == [
        (300, 0, False),
        (14, 0, True),
    ]
    gaps = await engine.db.rows(
        "select label, gap_after from seat_rows where show_id = $1 order by row_number", show.show_id
    )
    assert [(row["label"], row["gap_after"]) for row in gaps] == [("A", [4]), ("B", [])]


async def test_the_moments_of_a_show_can_be_sent_back_as_they_were_shown(
    engine: Engine, house: OrganizerId
) -> None:
    east, west = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
    for start in (datetime(1970, 1, 1, 13, 59, tzinfo=east), datetime(2999, 12, 31, 12, 0, tzinfo=west)):
        with pytest.raises(Invalid):
            await _open(engine, house, start_time=start)
    for start in (datetime(1970, 1, 1, 14, 0, tzinfo=east), datetime(2999, 12, 31, 11, 59, tzinfo=west)):
        show = await _open(engine, house, start_time=start)
        assert (await _edit(engine, house, show, ShowEdit(start_time=show.start_time))).start_time == start


async def test_what_an_area_may_be_called_at_first_it_may_be_called_later(
    engine: Engine, house: OrganizerId
) -> None:
    name = "Rang\xa01 \u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    show = await _open(engine, house, total_seats=None, areas=[StandingAreaSpec(name, 5)])
    edit = ShowEdit(areas=[AreaEdit(1, name + "!")])
    await _edit(engine, house, show, edit)
    assert (await catalog.plan_of(engine.db, show)).area(name + "!") is not None


async def test_a_show_that_cannot_be_written_leaves_nothing(engine: Engine, house: OrganizerId) -> None:
    class GivenUpError(Exception):
        pass

    with pytest.raises(GivenUpError):
        async with engine.db.transaction() as tx:
            spec = ShowSpec(name="x", start_time=START, total_seats=5, tiers=[TierSpec("Adult", "Main", 1)])
            await booking.open_show(tx, engine.office, house, spec)
            raise GivenUpError
    for table in ("shows", "areas", "seat_rows", "tiers", "stock", "show_heads", "outbox"):
        assert await engine.db.value(f"select count(*) from {table}") == 0, table


async def test_a_strangers_edit_waits_for_nobody_and_locks_nothing(
    engine: Engine, house: OrganizerId
) -> None:
    show = await _open(engine, house)
    async with engine.db.transaction() as tx:
        await tx.execute("select from show_heads where show_id = $1 for no key update", show.show_id)

        async def stranger() -> None:
            # In a task of its own, as another request would be.
            with pytest.raises(ShowNotFound):
                await _edit(engine, OrganizerId(new_id()), show, ShowEdit(name="Mine"))

        async with asyncio.timeout(20):
            await asyncio.create_task(stranger(), context=contextvars.Context())


async def test_an_edit_names_the_version_that_it_means(engine: Engine, house: OrganizerId) -> None:
    show = await _open(engine, house)
    assert (await _edit(engine, house, show, ShowEdit(name="One"), 1)).version == 2
    with pytest.raises(PreconditionFailed):
        await _edit(engine, house, show, ShowEdit(name="Two"), 1)
    read = await catalog.show_by_id(engine.db, show.show_id)
    assert read is not None
    assert (read.name, read.version) == ("One", 2)


async def test_edits_and_creations_are_announced(engine: Engine, house: OrganizerId) -> None:
    show = await _open(engine, house)
    await _edit(engine, house, show, ShowEdit(name="Macbeth"))
    facts = await engine.db.rows("select kind, payload from outbox order by fact_id")
    assert [(row["kind"], row["payload"]["show_id"]) for row in facts] == [
        ("show.created", str(show.show_id)),
        ("show.changed", str(show.show_id)),
    ]
    assert facts[1]["payload"]["version"] == 2


async def test_the_list_is_read_in_order_whatever_the_page(engine: Engine, house: OrganizerId) -> None:
    async with engine.db.transaction() as tx:
        for _ in range(25):
            await booking.open_show(
                tx, engine.office, house, ShowSpec(name="x", start_time=START, total_seats=1)
            )
    after, found = (datetime(2000, 1, 1, tzinfo=UTC), UUID(int=0)), []
    while page := await catalog.list_shows(engine.db, catalog.ShowFilter(after), 4):
        found += [show.show_id for show in page]
        after = (page[-1].start_time, page[-1].show_id)
    assert len(found) == 25
    assert found == sorted(found)


async def test_two_revisions_at_once_are_two_versions(engine: Engine, house: OrganizerId) -> None:
    spec = LayoutSpec("Round", [StandingAreaSpec("Yard", 10)])
    async with engine.db.transaction() as tx:
        venue = await catalog.create_venue(tx, house, VenueSpec("Globe", "Europe/London"))
        layout = await catalog.create_layout(tx, house, venue.venue_id, spec)

    async def revise(version: int | None) -> Layout:
        async with engine.db.transaction() as tx:
            made = await catalog.revise_layout(tx, house, layout.layout_id, spec, version)
            await asyncio.sleep(0.05)  # Long enough for the other to stand at the lock.
            return made

    versions = await asyncio.gather(revise(None), revise(None), revise(None))
    assert sorted(made.version for made in versions) == [2, 3, 4]
    ends = await asyncio.gather(revise(4), revise(4), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["Layout", "PreconditionFailed"]
