"""Scans at the door: who is let in, once, why others are not, and what becomes of what devices did while they were away."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest

from holdfast import booking, tickets
from holdfast.booking import Asker, ClaimRequest, Showing, Told
from holdfast.engine import Engine
from holdfast.platform.errors import PreconditionFailed
from holdfast.platform.ids import BookingId, ShowId, new_id
from holdfast.tickets import (
    Admits,
    DoorNameTaken,
    GateId,
    GateInUse,
    GateNotFound,
    ListId,
    ListInUse,
    ListNotFound,
    NoConflict,
    NothingToUndo,
    TooManyAtDoor,
)
from tests.races.crowd import ORGANIZER, open_show

pytestmark = pytest.mark.anyio

HALL = [
    {"name": "Floor", "kind": "standing", "capacity": 100},
    {"name": "Balcony", "kind": "seated", "rows": [{"label": "A", "seats": 20}]},
]
SEVEN = datetime(2026, 11, 20, 19, 0, tzinfo=UTC)


@dataclass
class Door:
    """A show with a sold booking, and the ways to scan its tickets."""

    engine: Engine
    show_id: ShowId
    sold: booking.Booking

    async def scan(self, number: int | None = 1, **changes: Any) -> Told:
        """One scan now, of a ticket of the booking."""
        [told] = await self.upload(self.showing(number, **changes))
        return told

    def showing(self, number: int | None = 1, **changes: Any) -> Showing:
        """The ticket as it was issued first."""
        return replace(
            Showing(new_id(), self.sold.booking_id, number, serial=0), **{"direction": "in", **changes}
        )

    async def upload(self, *showings: Showing) -> list[Told]:
        """Several in one call."""
        return await booking.scan(self.engine.db, self.show_id, ORGANIZER, showings, None)

    async def undo(self, scan_id: UUID) -> bool:
        """Takes a scan back."""
        async with self.engine.db.transaction() as tx:
            scan = (await booking.told_by_id(tx, self.show_id, scan_id)).scan
            return await tickets.undo(tx, scan)

    async def gate(self, name: str, **admits: Any) -> GateId:
        """A gate with a list of its own."""
        async with self.engine.db.transaction() as tx:
            made = await tickets.create_list(tx, self.show_id, ORGANIZER, Admits(f"List of {name}", **admits))
            return (await tickets.create_gate(tx, self.show_id, ORGANIZER, name, made.list_id)).gate_id

    async def inside(self, number: int = 1) -> bool:
        """Whether the ticket is in."""
        found = await tickets.admissions_of(self.engine.db, self.show_id, [self.sold.booking_id])
        admission = found.get((self.sold.booking_id, number))
        return admission is not None and admission.inside

    async def conflicts(self) -> list[tuple[str | None, UUID]]:
        """What is to be looked at."""
        found = await booking.conflicts(
            self.engine.db, self.show_id, (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0)), 100
        )
        return [(each.scan.conflict, each.scan.scan_id) for each in found]

    async def sale(self) -> tickets.Sale:
        """What tickets are told of the booking."""
        return booking.sale_of(
            await booking.booking_by_id(self.engine.db, self.show_id, self.sold.booking_id)
        )

    async def transfer(self, number: int) -> None:
        """Issues a ticket anew."""
        sale = await self.sale()
        async with self.engine.db.transaction() as tx:
            given = await tickets.ticket(tx, sale, number)
            await tickets.transfer(tx, sale, given, "Ada", None)


async def sell(engine: Engine, show_id: ShowId, **wishes: Any) -> booking.Booking:
    request = ClaimRequest(
        **{"quantity": 3, "area": "Floor", "confirm": True, **wishes},
        customer=booking.Customer(email="guest@example.org", name="Guest"),
    )
    return (await booking.claim(engine.office, show_id, request, Asker(new_id().bytes))).booking


@pytest.fixture
async def door(engine: Engine) -> Door:
    show_id = await open_show(engine, areas=HALL)
    return Door(engine, show_id, await sell(engine, show_id))


def what(told: Told) -> tuple[bool, str]:
    return told.scan.accepted, told.scan.reason


async def test_first_in_second_refused_with_time_and_gate(door: Door) -> None:
    gate_id = await door.gate("Gate B")
    first = await door.scan(gate_id=gate_id)
    assert what(first) == (True, "valid")
    assert (first.reference, first.holder, first.area, first.gate_name) == (
        door.sold.reference,
        "Guest",
        1,
        "Gate B",
    )
    second = await door.scan()
    assert what(second) == (False, "already_in")
    assert (second.scan.first_scan, second.scan.first_at, second.first_gate_name) == (
        first.scan.scan_id,
        first.scan.scanned_at,
        "Gate B",
    )
    # The other tickets of the booking are others.
    assert what(await door.scan(2)) == (True, "valid")


async def test_the_same_scan_again_is_told_again(door: Door) -> None:
    showing = door.showing()
    told = [(await door.upload(showing))[0] for _ in range(3)]
    assert told[0] == told[1] == told[2]
    assert what(told[0]) == (True, "valid")
    refused = door.showing()
    assert [what((await door.upload(refused))[0]) for _ in range(2)] == [(False, "already_in")] * 2
    await door.undo(showing.scan_id)
    # What was told once stays told, also when it would be decided otherwise now.
    assert what((await door.upload(refused))[0]) == (False, "already_in")
    assert await door.engine.db.value("select count(*) from scans") == 2


async def test_why_a_ticket_is_not_let_in(door: Door) -> None:
    sale = await door.sale()
    await door.transfer(1)
    async with door.engine.db.transaction() as tx:
        await tickets.suspend(tx, sale, [2])
        await tickets.void(tx, sale, [3])
    assert [what(await door.scan(number)) for number in (1, 2, 3, 4)] == [
        (False, "superseded"),
        (False, "suspended"),
        (False, "void"),
        (False, "unknown"),
    ]
    assert what(await door.scan(1, serial=1)) == (True, "valid")
    assert what(await door.scan(1, booking_id=BookingId(new_id()))) == (False, "unknown")
    held = await sell(door.engine, door.show_id, confirm=False)
    assert what(await door.scan(1, booking_id=held.booking_id)) == (False, "not_confirmed")
    for refused in ("bad_code", "wrong_show"):
        told = await door.scan(None, booking_id=None, serial=None, refused=refused)
        assert what(told) == (False, refused)


async def test_a_booking_that_was_cancelled_meanwhile_is_void_and_who_is_in_may_leave(door: Door) -> None:
    assert what(await door.scan(1)) == (True, "valid")
    async with door.engine.db.transaction() as tx:
        await booking.cancel(
            tx, door.engine.office, door.show_id, door.sold.booking_id, "by_organizer", sold_too=True
        )
    assert what(await door.scan(2)) == (False, "void")
    assert what(await door.scan(1, direction="out")) == (True, "valid")
    assert what(await door.scan(1)) == (False, "void")


async def test_a_list_admits_its_areas_and_tiers_at_its_times(engine: Engine) -> None:
    priced = [
        {"name": "Adult", "area": "Floor", "amount": 0},
        {"name": "Guest", "area": "Floor", "amount": 0},
    ]
    show_id = await open_show(engine, areas=HALL, tiers=priced)
    adult = Door(engine, show_id, await sell(engine, show_id, tier="Adult"))
    balcony = Door(engine, show_id, await sell(engine, show_id, quantity=None, area=None, seats=["1"]))
    assert balcony.sold.tiers == [0]
    upstairs = await adult.gate("Upstairs", areas=[2])
    guests = await adult.gate("Guests", tiers=[2])
    adults = await adult.gate("Adults", areas=[1], tiers=[1])
    later = await adult.gate("Later", opens_at=datetime(2030, 1, 1, tzinfo=UTC))
    earlier = await adult.gate("Earlier", closes_at=datetime(2020, 1, 1, tzinfo=UTC))
    told = [what(await adult.scan(1, gate_id=gate)) for gate in (upstairs, guests, later, earlier, adults)]
    assert told == [
        (False, "wrong_list"), (False, "wrong_list"), (False, "not_open"), (False, "not_open"), (True, "valid"),
    ]  # fmt: skip
    told = [what(await balcony.scan(1, gate_id=gate)) for gate in (guests, adults, upstairs)]
    assert told == [(False, "wrong_list"), (False, "wrong_list"), (True, "valid")]


async def test_who_has_gone_out_comes_in_again_where_the_list_allows(door: Door) -> None:
    garden = await door.gate("Garden", reentry=True)
    assert what(await door.scan(direction="out")) == (False, "not_in")
    await door.scan()
    out = await door.scan(direction="out")
    assert what(out) == (True, "valid")
    assert not await door.inside()
    assert what(await door.scan()) == (False, "no_reentry")
    assert what(await door.scan(gate_id=garden)) == (True, "valid")
    again = await door.scan()
    assert (what(again), again.first_gate_name) == ((False, "already_in"), "Garden")


async def test_undo(door: Door) -> None:
    first = await door.scan()
    assert await door.undo(first.scan.scan_id)
    assert not await door.undo(first.scan.scan_id)
    assert not await door.inside()
    second = await door.scan()
    assert what(second) == (True, "valid")
    out = await door.scan(direction="out")
    # An exit that was none: the one who came in is in again, by the very entry.
    await door.undo(out.scan.scan_id)
    third = await door.scan()
    assert (what(third), third.scan.first_scan) == ((False, "already_in"), second.scan.scan_id)
    with pytest.raises(NothingToUndo):
        await door.undo(third.scan.scan_id)


async def test_a_group_is_let_in_but_for_who_is_in(door: Door) -> None:
    await door.scan(2)

    async def admit(numbers: list[int] | None, group_id: UUID) -> list[tuple[int | None, str]]:
        told = await booking.admit(
            door.engine.db, door.show_id, ORGANIZER, door.sold.booking_id, numbers, group_id, None, None
        )
        return [(each.scan.number, each.scan.reason) for each in told]

    group_id = new_id()
    assert await admit(None, group_id) == [(1, "valid"), (3, "valid")]
    assert await admit(None, group_id) == [(1, "valid"), (3, "valid")]
    assert await admit(None, new_id()) == []
    assert await admit([3, 3, 4], new_id()) == [(3, "already_in"), (4, "unknown")]
    with pytest.raises(booking.BookingNotFound):
        await booking.admit(
            door.engine.db, door.show_id, ORGANIZER, BookingId(new_id()), None, new_id(), None, None
        )


async def test_what_two_phones_did_offline_is_one_conflict_in_whatever_order_it_is_told(door: Door) -> None:
    showings = [
        door.showing(scanned_at=SEVEN),
        door.showing(scanned_at=SEVEN + timedelta(minutes=5)),
        door.showing(scanned_at=SEVEN + timedelta(minutes=9), direction="out"),
    ]
    ends = set()
    for order in permutations(showings):
        await door.engine.db.execute("delete from scans")
        await door.engine.db.execute("delete from admissions")
        for each in (*order, *order[::-1]):
            [told] = await door.upload(each)
            assert told.scan.accepted
            assert told.scan.uploaded
        [(conflict, scan_id)] = await door.conflicts()
        kept = (await booking.told_by_id(door.engine.db, door.show_id, scan_id)).scan
        assert (conflict, scan_id, kept.first_scan) == (
            "already_in", showings[1].scan_id, showings[0].scan_id,
        )  # fmt: skip
        ends.add(await door.inside())
    assert ends == {False}


async def test_one_batch_is_as_good_as_many(door: Door) -> None:
    showings = [door.showing(number, scanned_at=SEVEN + timedelta(seconds=number)) for number in (3, 1, 2, 1)]
    told = await door.upload(*showings)
    assert [each.scan.scan_id for each in told] == [each.scan_id for each in showings]
    assert [each.scan.conflict for each in told] == [None, None, None, "already_in"]
    assert await door.upload(*showings) == told


async def test_an_entry_online_and_an_earlier_one_that_is_told_later(door: Door) -> None:
    online = await door.scan()
    [offline] = await door.upload(door.showing(scanned_at=SEVEN))
    assert (offline.scan.accepted, offline.scan.conflict) == (True, None)
    assert await door.conflicts() == [("already_in", online.scan.scan_id)]
    # The first of them was none: the conflict is none, either.
    await door.undo(offline.scan.scan_id)
    assert await door.conflicts() == []
    assert await door.inside()


async def test_what_was_revoked_while_the_device_was_away_is_a_conflict(door: Door) -> None:
    await door.transfer(1)
    sale = await door.sale()
    async with door.engine.db.transaction() as tx:
        await tickets.void(tx, sale, [2])
    first, second, stray = await door.upload(
        door.showing(1, scanned_at=SEVEN),
        door.showing(2, scanned_at=SEVEN),
        door.showing(None, booking_id=None, refused="bad_code", scanned_at=SEVEN),
    )
    assert [each.scan.conflict for each in (first, second, stray)] == ["superseded", "void", "bad_code"]
    assert len(await door.conflicts()) == 3
    # Whoever has the ticket now is let in; a void one is in, and nobody else will come by it.
    assert what(await door.scan(1, serial=1)) == (True, "valid")
    assert await door.inside(2)


async def test_a_clock_that_is_ahead_moves_nothing_into_the_future(door: Door) -> None:
    [told] = await door.upload(door.showing(scanned_at=datetime(2035, 1, 1, tzinfo=UTC)))
    assert told.scan.scanned_at == told.scan.received_at
    assert what(await door.scan()) == (False, "already_in")


async def test_a_conflict_is_listed_until_somebody_has_looked(door: Door) -> None:
    both = await door.upload(
        door.showing(scanned_at=SEVEN), door.showing(scanned_at=SEVEN + timedelta(minutes=1))
    )
    second = both[1].scan
    async with door.engine.db.transaction() as tx:
        assert await tickets.acknowledge(tx, second)
        assert not await tickets.acknowledge(tx, second)
        with pytest.raises(NoConflict):
            await tickets.acknowledge(tx, both[0].scan)
    assert await door.conflicts() == []
    # It is looked at again whenever something is told of the ticket, and stays acknowledged.
    await door.upload(door.showing(scanned_at=SEVEN + timedelta(minutes=2)))
    assert [scan_id for _, scan_id in await door.conflicts()] != [second.scan_id]
    kept = (await booking.told_by_id(door.engine.db, door.show_id, second.scan_id)).scan
    assert (kept.conflict, kept.acknowledged_at is not None) == ("already_in", True)


async def test_lists_and_gates(door: Door) -> None:
    db, show_id = door.engine.db, door.show_id
    [default] = await tickets.lists_of(db, show_id)
    assert (default.list_id, default.admits, default.version) == (ListId(show_id), Admits("Everybody"), 1)
    async with db.transaction() as tx:
        made = await tickets.create_list(tx, show_id, ORGANIZER, Admits("VIP", areas=[2]))
        gate = await tickets.create_gate(tx, show_id, ORGANIZER, "North", made.list_id)
        south = await tickets.create_gate(tx, show_id, ORGANIZER, "South", None)
        assert south.list_id == show_id
        for name in ("VIP", "Everybody"):
            with pytest.raises(DoorNameTaken):
                await tickets.create_list(tx, show_id, ORGANIZER, Admits(name))
        with pytest.raises(DoorNameTaken):
            await tickets.create_gate(tx, show_id, ORGANIZER, "North", None)
        with pytest.raises(ListNotFound):
            await tickets.create_gate(tx, show_id, ORGANIZER, "West", ListId(new_id()))
        with pytest.raises(ListInUse):
            await tickets.delete_list(tx, show_id, made.list_id)
        with pytest.raises(ListInUse):
            await tickets.delete_list(tx, show_id, ListId(show_id))
        with pytest.raises(ListNotFound):
            await tickets.edit_list(tx, show_id, ORGANIZER, ListId(new_id()), Admits("X"), None)
        with pytest.raises(PreconditionFailed):
            await tickets.edit_list(tx, show_id, ORGANIZER, made.list_id, Admits("X"), 7)
        edited = await tickets.edit_list(tx, show_id, ORGANIZER, made.list_id, Admits("X"), 1)
        assert edited.version == 2
        # The list that admits everybody is edited as any other.
        await tickets.edit_list(tx, show_id, ORGANIZER, ListId(show_id), Admits("All", reentry=True), 1)
        assert [each.admits.name for each in await tickets.lists_of(tx, show_id)] == ["All", "X"]
        assert (await tickets.edit_gate(tx, show_id, gate.gate_id, "Nord", None, 1)).version == 2
        with pytest.raises(PreconditionFailed):
            await tickets.edit_gate(tx, show_id, gate.gate_id, "Nord", None, 1)
        with pytest.raises(GateNotFound):
            await tickets.edit_gate(tx, show_id, GateId(new_id()), "Nord", None, None)
        await tickets.delete_list(tx, show_id, made.list_id)
        await tickets.delete_gate(tx, show_id, south.gate_id)
        with pytest.raises(GateNotFound):
            await tickets.delete_gate(tx, show_id, south.gate_id)
    await door.scan(gate_id=gate.gate_id)
    async with db.transaction() as tx:
        with pytest.raises(GateInUse):
            await tickets.delete_gate(tx, show_id, gate.gate_id)
    assert [each.name for each in await tickets.gates_of(db, show_id)] == ["Nord"]
    with pytest.raises(GateNotFound):
        await door.scan(2, gate_id=south.gate_id)
    assert await db.value("select count(*) from scans") == 1


async def test_there_are_not_lists_without_end(door: Door) -> None:
    async with door.engine.db.transaction() as tx:
        for number in range(tickets.LISTS_MAX):
            await tickets.create_list(tx, door.show_id, ORGANIZER, Admits(str(number)))
        with pytest.raises(TooManyAtDoor):
            await tickets.create_list(tx, door.show_id, ORGANIZER, Admits("one more"))
        for number in range(tickets.GATES_MAX):
            await tickets.create_gate(tx, door.show_id, ORGANIZER, str(number), None)
        with pytest.raises(TooManyAtDoor):
            await tickets.create_gate(tx, door.show_id, ORGANIZER, "one more", None)


Package = Callable[..., Awaitable[list[booking.AtDoor]]]


async def _taken_along(door: Door, cursor: str | None, limit: int = 2) -> tuple[list[booking.AtDoor], str]:
    found: list[booking.AtDoor] = []
    for _ in range(100):
        at = booking.cursor_in(cursor) if cursor else None
        page = await booking.packed(door.engine.db, door.show_id, at, limit)
        found += page.bookings
        cursor = str(page.cursor)
        if not page.more:
            return found, cursor
    raise AssertionError("it never ends")


async def test_the_package_has_what_was_sold_and_then_what_changed(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    sold = [door.sold, *[await sell(door.engine, door.show_id, quantity=1) for _ in range(4)]]
    await sell(door.engine, door.show_id, confirm=False)
    first, cursor = await _taken_along(door, None)
    assert [each.booking_id for each in first] == [each.booking_id for each in sold]
    # What was just told is told again, for a while.
    again, _ = await _taken_along(door, cursor)
    assert {each.booking_id for each in again} == {each.booking_id for each in sold}
    monkeypatch.setattr("holdfast.booking.door_package.OVERLAP", timedelta())
    _, cursor = await _taken_along(door, cursor)
    assert (await _taken_along(door, cursor))[0] == []

    await door.transfer(1)
    others = [Door(door.engine, door.show_id, each) for each in sold]
    await others[1].scan()
    async with door.engine.db.transaction() as tx:
        await booking.cancel(
            tx, door.engine.office, door.show_id, sold[2].booking_id, "by_organizer", sold_too=True
        )
    fresh = await sell(door.engine, door.show_id)
    changed, cursor = await _taken_along(door, cursor)
    by_id = {each.booking_id: each for each in changed}
    assert set(by_id) == {
        door.sold.booking_id, sold[1].booking_id, sold[2].booking_id, fresh.booking_id,
    }  # fmt: skip
    assert by_id[door.sold.booking_id].changed[1].serial == 1
    assert by_id[sold[1].booking_id].admissions[1].inside
    assert by_id[sold[2].booking_id].status == "CANCELLED"
    assert (await _taken_along(door, cursor))[0] == []


async def test_a_page_ends_with_the_booking_by_which_it_has_so_many_places(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        await sell(door.engine, door.show_id)
    monkeypatch.setattr("holdfast.booking.door_package.PAGE_PLACES", 4)
    page = await booking.packed(door.engine.db, door.show_id, None, 100)
    assert (len(page.bookings), page.more) == (2, True)
    every, cursor = await _taken_along(door, None, 100)
    assert len(every) == 5
    changed, _ = await _taken_along(door, cursor, 100)
    assert len(changed) == 5


async def test_who_is_looked_for_is_found_by_reference_and_by_name(door: Door) -> None:
    await door.transfer(2)
    await door.scan(3)
    for text in (door.sold.reference, door.sold.reference[:4].lower(), " gues", "ADA"):
        [found] = await booking.sought(door.engine.db, door.show_id, text, 10)
        assert found.booking_id == door.sold.booking_id
    assert (found.changed[2].holder, found.admissions[3].inside) == ("Ada", True)
    assert await booking.sought(door.engine.db, door.show_id, "%", 10) == []
    assert (
        await booking.referred(door.engine.db, door.show_id, door.sold.reference.lower()) == found.booking_id
    )
    with pytest.raises(booking.BookingNotFound):
        await booking.referred(door.engine.db, door.show_id, "ABCDEFGH")
    twin = await sell(door.engine, door.show_id)
    await door.engine.db.execute(
        "update bookings set reference = $1 where booking_id = $2", door.sold.reference, twin.booking_id
    )
    with pytest.raises(booking.ReferenceTwice):
        await booking.referred(door.engine.db, door.show_id, door.sold.reference)


async def test_counts(door: Door) -> None:
    gate = await door.gate("North", reentry=True)
    first = await door.scan(1, gate_id=gate)
    await door.scan(1, gate_id=gate)
    await door.scan(2)
    await door.scan(2, direction="out", gate_id=gate)
    await door.scan(3)
    await door.undo((await door.scan(2, gate_id=gate)).scan.scan_id)
    found = await booking.door_counts(door.engine.office, door.show_id)
    passed = {each.gate_id: (each.entries, each.exits, each.refused, each.inside) for each in found.passed}
    assert passed == {gate: (1, 1, 1, 1), None: (2, 0, 0, 1)}
    assert found.to_come == {(1, 0): 3}
    assert found.conflicts == 0
    assert first.scan.accepted
