"""Tickets of a sale: what is stored of them, who has them, and whether they admit."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from uuid import UUID

import icalendar
import pytest
import typst
from PIL import Image, ImageChops

from holdfast import facts, tickets
from holdfast.platform.db import Database
from holdfast.platform.ids import BookingId, OrganizerId, ShowId, new_id
from holdfast.tickets import Entry, NotTransferable, Sale, TicketNotFound, TicketVoid, pages

pytestmark = pytest.mark.anyio


def a_sale(quantity: int = 3) -> Sale:
    ids = ShowId(new_id()), BookingId(new_id()), OrganizerId(new_id())
    return Sale(*ids, quantity, "Guest", stands=True)


async def stored(db: Database) -> int:
    count: int = await db.value("select count(*) from tickets")
    return count


async def announced(db: Database) -> list[tuple[str, Any]]:
    rows = await db.rows("select kind, payload from outbox order by created_at, fact_id")
    return [(row["kind"], row["payload"]) for row in rows]


async def test_each_place_has_a_ticket_and_nothing_is_stored(db: Database) -> None:
    found = await tickets.tickets_of(db, a_sale())
    assert [(each.number, each.serial, each.state, each.holder) for each in found] == [
        (1, 0, "valid", "Guest"),
        (2, 0, "valid", "Guest"),
        (3, 0, "valid", "Guest"),
    ]
    assert all(each.refuses(each.coded) is None for each in found)
    assert await stored(db) == 0


async def test_tickets_come_by_pages(db: Database) -> None:
    sale = a_sale(10)
    pages = [await tickets.tickets_of(db, sale, after=after, limit=4) for after in (0, 4, 8, 12, 1_000_000)]
    assert [[each.number for each in page] for page in pages] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], [], []]


@pytest.mark.parametrize("number", [-1, 0, 4, 70_000])
async def test_there_are_no_other_tickets(number: int, db: Database) -> None:
    with pytest.raises(TicketNotFound):
        await tickets.ticket(db, a_sale(), number)


async def test_a_transfer_issues_anew_and_kills_the_code_before(db: Database) -> None:
    sale = a_sale()
    before = await tickets.ticket(db, sale, 2)
    async with db.transaction() as tx:
        after = await tickets.transfer(tx, sale, before, "Ada", "ada@example.org")
    assert (after.serial, after.state, after.holder, after.email) == (1, "valid", "Ada", "ada@example.org")
    assert after.refuses(before.coded) == "superseded"
    assert after.refuses(after.coded) is None
    assert await tickets.ticket(db, sale, 2) == after
    assert [each.holder for each in await tickets.tickets_of(db, sale)] == ["Guest", "Ada", "Guest"]
    [(kind, payload)] = await announced(db)
    assert kind == facts.TICKET_TRANSFERRED
    assert payload == {
        "booking_id": str(sale.booking_id),
        "organizer_id": str(sale.organizer_id),
        "number": 2,
        "serial": 1,
    }


@pytest.mark.parametrize("earlier", [0, 1])
async def test_of_transfers_at_once_one_is_done(earlier: int, db: Database) -> None:
    sale = a_sale()
    for _ in range(earlier):
        async with db.transaction() as tx:
            await tickets.transfer(tx, sale, await tickets.ticket(tx, sale, 1), "Earlier", None)
    given = await tickets.ticket(db, sale, 1)

    async def give(name: str) -> str | None:
        async with db.transaction() as tx:
            return (await tickets.transfer(tx, sale, given, name, None)).holder

    outcomes = await asyncio.gather(*(give(name) for name in "ABCD"), return_exceptions=True)
    [holder] = [each for each in outcomes if isinstance(each, str)]
    refused = [each for each in outcomes if isinstance(each, NotTransferable)]
    assert [each.members for each in refused] == [{"reason": "transferred"}] * 3
    now = await tickets.ticket(db, sale, 1)
    assert (now.serial, now.holder) == (given.serial + 1, holder)


async def test_a_ticket_is_not_given_on_for_ever(db: Database) -> None:
    sale = a_sale()
    for _ in range(tickets.TRANSFERS_MAX):
        async with db.transaction() as tx:
            await tickets.transfer(tx, sale, await tickets.ticket(tx, sale, 1), "Ada", None)
    with pytest.raises(NotTransferable) as refused:
        async with db.transaction() as tx:
            await tickets.transfer(tx, sale, await tickets.ticket(tx, sale, 1), "Ada", None)
    assert refused.value.members == {"reason": "too_often"}


async def test_another_name_leaves_the_code_good(db: Database) -> None:
    sale = a_sale()
    before = await tickets.ticket(db, sale, 1)
    async with db.transaction() as tx:
        after = await tickets.rename(tx, sale, before, "Ada")
    assert (after.holder, after.refuses(before.coded)) == ("Ada", None)
    async with db.transaction() as tx:
        given = await tickets.transfer(tx, sale, after, "Bob", None)
    with pytest.raises(TicketNotFound):
        async with db.transaction() as tx:
            await tickets.rename(tx, sale, after, "Cleo")
    assert await tickets.ticket(db, sale, 1) == given


async def test_a_refund_suspends_and_voids_or_restores(db: Database) -> None:
    sale = a_sale()
    async with db.transaction() as tx:
        assert await tickets.restore(tx, sale) == []
        assert await tickets.suspend(tx, sale, [1, 2]) == [1, 2]
        assert await tickets.suspend(tx, sale) == [3]
        assert await tickets.suspend(tx, sale) == []
        assert await tickets.restore(tx, sale, [1]) == [1]
        assert await tickets.void(tx, sale, [2, 3]) == [2, 3]
        assert await tickets.void(tx, sale, [2, 3]) == []
        assert await tickets.restore(tx, sale) == []
        assert await tickets.suspend(tx, sale) == [1]
    found = await tickets.tickets_of(db, sale)
    assert [each.state for each in found] == ["suspended", "void", "void"]
    assert [each.refuses(each.coded) for each in found] == ["suspended", "void", "void"]
    assert [(kind, payload["numbers"]) for kind, payload in await announced(db)] == [
        (facts.TICKET_VOIDED, [2, 3])
    ]


async def test_what_is_not_valid_is_not_given_on(db: Database) -> None:
    sale = a_sale()
    valid = await tickets.tickets_of(db, sale)
    async with db.transaction() as tx:
        await tickets.suspend(tx, sale, [1])
        await tickets.void(tx, sale, [2])
    stale = replace(valid[0])
    for given, reason in ((stale, "suspended"), (valid[1], "void")):
        with pytest.raises(NotTransferable) as refused:
            async with db.transaction() as tx:
                await tickets.transfer(tx, sale, given, "Ada", None)
        assert refused.value.members == {"reason": reason}
        now = await tickets.ticket(db, sale, given.number)
        with pytest.raises(NotTransferable) as refused:
            async with db.transaction() as tx:
                await tickets.transfer(tx, sale, now, "Ada", None)
        assert refused.value.members == {"reason": reason}
    with pytest.raises(TicketVoid):
        async with db.transaction() as tx:
            await tickets.rename(tx, sale, valid[1], "Ada")


async def test_states_are_for_tickets_that_there_are(db: Database) -> None:
    with pytest.raises(TicketNotFound):
        async with db.transaction() as tx:
            await tickets.void(tx, a_sale(), [4])
    assert await stored(db) == 0


async def test_tickets_of_a_booking_that_was_cancelled_are_void_whatever_is_stored(db: Database) -> None:
    sale = a_sale()
    async with db.transaction() as tx:
        await tickets.transfer(tx, sale, await tickets.ticket(tx, sale, 1), "Ada", None)
        await tickets.suspend(tx, sale, [2])
    cancelled = replace(sale, stands=False)
    assert [each.state for each in await tickets.tickets_of(db, cancelled)] == ["void"] * 3


async def test_a_door_hears_of_every_exception_of_its_show(db: Database) -> None:
    sale, other = a_sale(), a_sale()
    second = replace(sale, booking_id=BookingId(new_id()))
    async with db.transaction() as tx:
        await tickets.suspend(tx, sale, [1, 3])
        await tickets.transfer(tx, second, await tickets.ticket(tx, second, 2), "Ada", None)
        await tickets.void(tx, other)
    found, after = [], (UUID(int=0), 0)
    while page := await tickets.changed_of_show(db, sale.show_id, after, 2):
        found += page
        after = page[-1].booking_id, page[-1].number
    assert [(each.booking_id, each.number, each.serial, each.state) for each in found] == [
        (sale.booking_id, 1, 0, "suspended"),
        (sale.booking_id, 3, 0, "suspended"),
        (second.booking_id, 2, 1, "valid"),
    ]


async def test_the_people_are_taken_off_and_the_tickets_stay(db: Database) -> None:
    sale = a_sale()
    async with db.transaction() as tx:
        await tickets.transfer(tx, sale, await tickets.ticket(tx, sale, 1), "Ada", "ada@example.org")
        await tickets.rename(tx, sale, await tickets.ticket(tx, sale, 2), "Bob")
        assert await tickets.forget(tx, sale.show_id, bookings=[BookingId(new_id())]) == 0
        assert await tickets.forget(tx, sale.show_id, bookings=[sale.booking_id]) == 2
        assert await tickets.forget(tx, sale.show_id, bookings=[sale.booking_id]) == 0
    found = await tickets.tickets_of(db, replace(sale, buyer=None))
    assert [(each.serial, each.state, each.holder, each.email) for each in found] == [
        (1, "valid", None, None),
        (0, "valid", None, None),
        (0, "valid", None, None),
    ]


async def test_what_an_address_was_given_is_found_and_forgotten(db: Database) -> None:
    sale, other = a_sale(), a_sale()
    async with db.transaction() as tx:
        for of, number, email in [
            (sale, 1, "Ada@example.org"),
            (other, 2, "ada@example.org"),
            (sale, 3, "b@example.org"),
        ]:
            await tickets.transfer(tx, of, await tickets.ticket(tx, of, number), "Ada", email)
        await tickets.transfer(tx, sale, await tickets.ticket(tx, sale, 2), "Cleo", "ada@example.org")
        await tickets.void(tx, sale, [2])
    found = await tickets.given_to(db, "ADA@example.org", 10)
    assert [(each.show_id, each.number) for each in found] == [(other.show_id, 2), (sale.show_id, 1)]
    assert len(await tickets.given_to(db, "ada@example.org", 1)) == 1
    async with db.transaction() as tx:
        assert await tickets.forget(tx, sale.show_id, email="ada@EXAMPLE.org") == 2
        assert await tickets.forget(tx, sale.show_id) == 1
        assert await tickets.forget(tx, sale.show_id) == 0
    assert [each.show_id for each in await tickets.given_to(db, "ada@example.org", 10)] == [other.show_id]


# Both days of 2026 on which the clocks of Vienna change, a zone without such days, and one behind UTC.
@pytest.mark.parametrize(
    ("starts", "zone", "wall"),
    [
        ("2026-03-29T00:59:00+00:00", "Europe/Vienna", "20260329T015900"),
        ("2026-03-29T01:00:00+00:00", "Europe/Vienna", "20260329T030000"),
        ("2026-10-25T00:30:00+00:00", "Europe/Vienna", "20261025T023000"),
        ("2026-10-25T18:00:00+00:00", "Europe/Vienna", "20261025T190000"),
        ("2047-06-01T18:00:00+00:00", "Europe/Vienna", "20470601T200000"),
        ("2026-06-01T18:00:00+00:00", "Asia/Kathmandu", "20260601T234500"),
        ("2026-06-01T18:00:00+00:00", "America/New_York", "20260601T140000"),
        ("2026-06-01T18:00:00+00:00", "UTC", "20260601T180000Z"),
    ],
)
def test_a_calendar_shows_the_clock_on_the_wall(starts: str, zone: str, wall: str) -> None:
    made = tickets.ics(an_entry(starts=datetime.fromisoformat(starts), timezone=zone)).decode()
    event_lines = made.partition("BEGIN:VEVENT")[2].split("\r\n")
    start = next(line for line in event_lines if line.startswith("DTSTART"))
    assert start == (f"DTSTART:{wall}" if zone == "UTC" else f"DTSTART;TZID={zone}:{wall}")
    assert (f"TZID:{zone}" in made) == (zone != "UTC")
    read = icalendar.Calendar.from_ical(made)
    [event] = read.events
    assert isinstance(event.start, datetime)
    assert event.start.astimezone(UTC) == datetime.fromisoformat(starts)
    for rules in read.timezones:
        # By the rules in the file alone, as a calendar does it that does not know the zone's name.
        local = event.start.replace(tzinfo=rules.to_tz(lookup_tzid=False))
        assert local.astimezone(UTC) == datetime.fromisoformat(starts)


def test_a_calendar_is_told_of_the_end() -> None:
    live = tickets.ics(an_entry()).decode()
    gone = tickets.ics(an_entry(sequence=5, status="CANCELLED")).decode()
    for line in ("METHOD:PUBLISH", "STATUS:CONFIRMED", "SEQUENCE:4", "UID:1@holdfast"):
        assert line in live.split("\r\n")
    for line in ("METHOD:CANCEL", "STATUS:CANCELLED", "SEQUENCE:5", "UID:1@holdfast"):
        assert line in gone.split("\r\n")


def test_no_name_adds_a_line_to_a_calendar() -> None:
    made = tickets.ics(
        an_entry(summary="Hamlet\r\nATTACH:http://example.org, a; b\\", location="x\nSTATUS:CANCELLED")
    )
    lines = made.decode().replace("\r\n ", "").split("\r\n")
    assert [line for line in lines if line.startswith(("ATTACH", "STATUS"))] == ["STATUS:CONFIRMED"]


@pytest.mark.parametrize(("plain", "accented"), [("Zon", "Žon"), ("Angstrom", "Ångstrom")])
def test_no_accent_is_cut_off(plain: str, accented: str) -> None:
    """On the page, every text has edges at which it is cut; what is left of a cut accent is at most grey."""
    compiler = typst.Compiler(str(pages.TEMPLATE), root=pages.TEMPLATE.parent)

    def printed(word: str) -> Image.Image:
        page = tickets.Page(word, "Today", word, word, word, word, word, word, "R-1", 1, 1, "A" * 165)
        png = compiler.compile(format="png", sys_inputs={**pages.inputs([page]), "title": ""}, ppi=72)
        assert isinstance(png, bytes)
        return Image.open(BytesIO(png)).convert("L")

    difference = ImageChops.difference(printed(plain), printed(accented))
    assert sum(difference.histogram()[150:]) > 0


def an_entry(**changes: Any) -> Entry:
    entry = Entry(
        uid="1@holdfast",
        sequence=4,
        changed_at=datetime(2026, 1, 1, tzinfo=UTC),
        summary="Hamlet",
        starts=datetime(2026, 12, 24, 19, tzinfo=UTC),
        timezone="Europe/Vienna",
        location="Globe",
        description="",
        status="CONFIRMED",
    )
    return replace(entry, **changes)
