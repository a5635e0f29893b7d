"""Everybody at the doors at once: each ticket is let in once, whoever comes second hears when and where; and without the guard."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID

import asyncpg
import pytest

from holdfast import booking, tickets
from holdfast.booking import ClaimRequest, Showing, Told
from holdfast.engine import Engine
from holdfast.platform.ids import ShowId, new_id
from holdfast.tickets import Admits, Coded, GateId
from tests.races.crowd import ORGANIZER, claims, open_show, together

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

DOORS = 8
TICKETS = 5_000
PARTY = 10
FUNCTIONS = Path(tickets.__file__).with_name("scanning_functions.sql")


async def _sold(engine: Engine, count: int) -> tuple[ShowId, list[str]]:
    """A show and the codes of all of its tickets."""
    floor = {"name": "Floor", "kind": "standing", "capacity": count}
    show_id = await open_show(engine, areas=[floor], max_places_per_booking=PARTY)
    wishes = (ClaimRequest(quantity=PARTY, area="Floor", confirm=True) for _ in range(count // PARTY))
    made = await claims(engine, show_id, wishes)
    codes = [
        engine.codes.code(Coded(show_id, each.booking_id, number, 0))
        for each in made
        for number in range(1, PARTY + 1)
    ]
    return show_id, codes


async def _gates(engine: Engine, show_id: ShowId) -> list[GateId]:
    async with engine.db.transaction() as tx:
        made = await tickets.create_list(tx, show_id, ORGANIZER, Admits("Everybody else"))
        gates = [
            await tickets.create_gate(tx, show_id, ORGANIZER, f"Gate {number}", made.list_id)
            for number in range(DOORS)
        ]
    return [gate.gate_id for gate in gates]


async def _shown_twice(engines: list[Engine], show_id: ShowId, codes: list[str]) -> list[list[Told]]:
    """What the doors told of each ticket: two doors see the same tickets in the same order, side by side."""
    gates = await _gates(engines[0], show_id)
    told: list[list[Told]] = [[] for _ in codes]
    order = list(range(len(codes)))
    Random(1).shuffle(order)

    async def door(number: int) -> None:
        engine = engines[number % len(engines)]
        # As staff have it.
        db = engine.db.of(ORGANIZER)
        for index in order[number // 2 :: DOORS // 2]:
            shown = booking.shown_by_code(engine.codes, show_id, codes[index])
            showing = Showing(new_id(), **shown, gate_id=gates[number])
            told[index] += await booking.scan(db, show_id, ORGANIZER, [showing], None)

    await together(door(number) for number in range(DOORS))
    return told


def _let_in(told: list[list[Told]]) -> Counter[int]:
    """How many tickets were let in how often."""
    return Counter(sum(each.scan.accepted for each in both) for both in told)


async def test_ten_thousand_scans_of_five_thousand_tickets_from_eight_doors(engines: list[Engine]) -> None:
    show_id, codes = await _sold(engines[0], TICKETS)
    told = await _shown_twice(engines, show_id, codes)
    assert _let_in(told) == {1: TICKETS}
    for both in told:
        first, second = sorted(both, key=lambda each: not each.scan.accepted)
        assert second.scan.reason == "already_in"
        assert (second.scan.first_scan, second.scan.first_at, second.first_gate_name) == (
            first.scan.scan_id,
            first.scan.scanned_at,
            first.gate_name,
        )
    counts = await booking.door_counts(engines[1].office, show_id)
    assert sum(each.entries for each in counts.passed) == TICKETS
    assert sum(each.inside for each in counts.passed) == TICKETS
    assert sum(each.refused for each in counts.passed) == TICKETS
    assert len(counts.passed) == DOORS
    assert await engines[0].db.value("select count(*) from admissions where inside") == TICKETS


async def test_control_what_the_doors_do_without_the_guard(engines: list[Engine], database_url: str) -> None:
    """The same crowd, where a look at who is in stands in place of the key and the update that asks."""
    text = FUNCTIONS.read_text("utf-8")
    head, upsert = text.split("      values (p_show_id, p_booking_id, p_number, p_organizer_id, true", 1)
    values, _, tail = upsert.partition("      on conflict (show_id, booking_id, number) do update\n")
    tail = tail[tail.index("    elsif") :]
    values = values.rstrip().removesuffix(")")
    looked = """ where not exists (select from admissions a where a.show_id = p_show_id
                   and a.booking_id = p_booking_id and a.number = p_number and a.inside);\n"""
    unguarded = (
        f"{head}      select p_show_id, p_booking_id, p_number, p_organizer_id, true{values}{looked}{tail}"
    )
    show_id, codes = await _sold(engines[0], 1_000)
    owner = await asyncpg.connect(database_url)
    try:
        await owner.execute("alter table admissions drop constraint admissions_pkey")
        await owner.execute("create index on admissions (show_id, booking_id, number)")
        # What makes sense of uploads needs the key, and nothing is uploaded here.
        await owner.execute(unguarded.partition("-- Locks a ticket's row")[0])
    finally:
        await owner.close()
    told = await _shown_twice(engines, show_id, codes)
    assert _let_in(told)[2] > 0


async def test_phones_tell_the_same_things_at_the_same_time(engines: list[Engine]) -> None:
    """Four phones were offline together, and each scan is told twice, in parts that overlap, while an online door scans on."""
    show_id, codes = await _sold(engines[0], 200)
    evening = datetime(2026, 11, 20, 19, 0, tzinfo=UTC)
    random = Random(2)
    offline = [
        Showing(
            new_id(),
            **booking.shown_by_code(engines[0].codes, show_id, code),
            scanned_at=evening + timedelta(seconds=random.random() * 3600),
        )
        for code in codes[:150]
        for _ in range(2)
    ]

    async def phone(number: int) -> None:
        db = engines[number % 2].db.of(ORGANIZER)
        mine = [each for each in offline for _ in range(2)]
        Random(number).shuffle(mine)
        for at in range(0, len(mine), 50):
            part = list({each.scan_id: each for each in mine[at : at + 50]}.values())
            await booking.scan(db, show_id, ORGANIZER, part, None)

    async def online() -> None:
        db = engines[0].db.of(ORGANIZER)
        for code in codes:
            shown = booking.shown_by_code(engines[0].codes, show_id, code)
            await booking.scan(db, show_id, ORGANIZER, [Showing(new_id(), **shown)], None)

    await together([*(phone(number) for number in range(4)), online()])
    db = engines[0].db
    assert await db.value("select count(*) from scans where uploaded") == len(offline)
    assert await db.value("select count(*) from admissions where inside") == len(codes)
    # Of the two that were let in by each of these codes the later one, and whoever came in online, too.
    online_in = await db.value(
        "select count(*) from scans where accepted and not uploaded and booking_id = any ($1)",
        list({each.booking_id for each in offline}),
    )
    expected = 150 + online_in
    found = await booking.conflicts(db, show_id, (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0)), 1000)
    assert len(found) == expected
    assert {each.scan.conflict for each in found} == {"already_in"}
    # Told once more, everything is as it was.
    before = await db.rows("select * from scans order by scan_id")
    await asyncio.gather(*(phone(number) for number in range(2)))
    assert await db.rows("select * from scans order by scan_id") == before
