"""Crowds that want more than there is, over two engines; and the same crowds when a guard of the database is missing."""

import asyncio
from random import Random
from typing import Any

import asyncpg
import msgspec
import pytest

from holdfast import booking
from holdfast.booking import ClaimRequest
from holdfast.engine import Engine
from tests.conftest import client_of
from tests.races import checker
from tests.races.checker import Promise
from tests.races.crowd import (
    Door,
    Refused,
    Told,
    a_crowd,
    domain_door,
    held_head,
    http_door,
    open_show,
    promise_of,
)
from tests.races.guards import take_away

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CLIENTS = 200
SEATS = 500


def _two_random_seats(random: Random) -> ClaimRequest:
    return ClaimRequest(seats=[str(seat) for seat in random.sample(range(1, SEATS + 1), 2)])


@pytest.mark.parametrize("by", ["http", "domain"])
async def test_two_hundred_clients_want_random_pairs(
    by: str, engines: list[Engine], database_url: str
) -> None:
    show = await open_show(engines[0], total_seats=SEATS)
    if by == "http":
        async with client_of(engines[0]) as one, client_of(engines[1]) as two:
            doors = [http_door(client, show) for client in (one, two)]
            told = await a_crowd(doors, _two_random_seats, clients=CLIENTS, tries=5)
    else:
        doors = [domain_door(each, show) for each in engines]
        told = await a_crowd(doors, _two_random_seats, clients=CLIENTS, tries=10)

    assert await checker.violations(database_url, told.promises, all_promised=True) == []
    assert set(told.refusals) == {"seats_taken"}
    taken = await engines[0].db.rows("select seat from claims where show_id = $1", show)
    # Nothing was given back, so a seat that somebody was refused for must be somebody's.
    assert told.seats_refused <= {str(row["seat"] + 1) for row in taken}
    assert len(taken) == told.places
    # 250 pairs would fill it, and nobody found two free ones in many tries.
    assert 0.8 * SEATS <= told.places <= SEATS


async def test_a_standing_area_fills_to_the_last_place(engines: list[Engine], database_url: str) -> None:
    show = await open_show(engines[0], areas=[{"name": "Floor", "kind": "standing", "capacity": 500}])

    async def left() -> int:
        return int(
            await engines[0].db.value("select capacity - reserved from stock where show_id = $1", show)
        )

    def truthful(door: Door) -> Door:
        async def ask(request: ClaimRequest) -> Promise | Refused:
            answer = await door(request)
            # Nothing comes back, so what is left now is at most what was left when it was refused.
            if isinstance(answer, Refused) and answer.code == "sold_out":
                assert await left() < (request.quantity or 0)
            return answer

        return ask

    doors = [truthful(domain_door(each, show)) for each in engines]
    told = await a_crowd(
        doors, lambda random: ClaimRequest(quantity=random.randint(1, 6)), clients=CLIENTS, tries=10
    )
    assert await checker.violations(database_url, told.promises, all_promised=True) == []
    assert set(told.refusals) == {"sold_out"}
    assert told.places == 500
    assert await left() == 0


async def test_a_batch_is_decided_in_the_order_of_arrival(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, areas=[{"name": "Floor", "kind": "standing", "capacity": 10}])
    door = domain_door(engine, show)
    await engine.office.views.get(show)
    # A claim too large is no reason to refuse a smaller one behind it.
    answers = await asyncio.gather(*(door(ClaimRequest(quantity=q)) for q in (6, 5, 1, 4, 3, 1)))
    assert [isinstance(answer, Promise) for answer in answers] == [True, False, True, False, True, False]
    assert await engine.db.value("select revision from show_heads where show_id = $1", show) == 1
    assert await checker.violations(database_url, [a for a in answers if isinstance(a, Promise)]) == []


async def test_pairs_of_the_best_seats_sell_out(engines: list[Engine], database_url: str) -> None:
    rows = [{"label": chr(ord("A") + i), "seats": 20, "gap_after": [10]} for i in range(25)]
    show = await open_show(engines[0], areas=[{"name": "Stalls", "kind": "seated", "rows": rows}])
    doors = [domain_door(each, show) for each in engines]
    told = await a_crowd(
        doors, lambda _: ClaimRequest(best_available=2, split=True), clients=CLIENTS, tries=3
    )
    assert await checker.violations(database_url, told.promises, all_promised=True) == []
    assert set(told.refusals) == {"sold_out"}
    assert told.places == SEATS


# The guards of `claim`, each with its text in functions.sql and what stands there once it is gone.
LOCK = (
    "select h.* into v_head from show_heads h where h.show_id = p_show_id for no key update;",
    "select h.* into v_head from show_heads h where h.show_id = p_show_id;",
)
LOOK = ("t.seat is null as free", "true as free")
COUNT = ("if v_left[p_area[i]] < k then", "if false then")
# And those of the tables.
CONSTRAINTS = """
alter table claims drop constraint claims_pkey;
alter table stock drop constraint never_oversold;
"""


@pytest.mark.parametrize(
    ("guards", "constraints", "is_safe"),
    [
        pytest.param([], False, True, id="every guard in place"),
        pytest.param([LOCK], False, True, id="without the lock the constraints have the last word"),
        pytest.param([LOOK], False, True, id="without the look the constraints have the last word"),
        pytest.param([], True, True, id="without the constraints the lock and the look suffice"),
        pytest.param([LOCK], True, False, id="without lock and constraints"),
        pytest.param([LOOK], True, False, id="without look and constraints"),
    ],
)
async def test_control_what_the_crowd_does_to_a_seated_show_without_its_guards(
    engines: list[Engine], database_url: str, guards: list[tuple[str, str]], constraints: bool, is_safe: bool
) -> None:
    await take_away(database_url, *guards, statement=CONSTRAINTS if constraints else None)
    show = await open_show(engines[0], total_seats=SEATS)
    doors = [domain_door(each, show) for each in engines]
    for each in engines:
        await each.office.views.get(show)  # so that nobody is late for the first batch
    # Both engines send what they have while somebody holds the head, and go on together when it is let go.
    async with held_head(database_url, show) as head, asyncio.TaskGroup() as crowds:
        crowd = crowds.create_task(a_crowd(doors, _two_random_seats, clients=60, tries=3, asks_max=10))
        await head.waited_for_by(2)
        await head.let_go()
    told = crowd.result()
    wrong = await checker.oversold(database_url)
    if is_safe:
        assert wrong == []
    else:
        assert [line for line in wrong if line.startswith("seat claimed twice")]
        assert [line for line in wrong if line.startswith("seat given twice")]
        assert await checker.violations(database_url, told.promises) != []


@pytest.mark.parametrize(
    ("guards", "constraints", "is_safe"),
    [
        pytest.param([COUNT], False, True, id="without the count the constraint has the last word"),
        pytest.param([], True, True, id="without the constraint the lock and the count suffice"),
        pytest.param([LOCK], True, False, id="without lock and constraint"),
        pytest.param([COUNT], True, False, id="without count and constraint"),
    ],
)
async def test_control_what_the_crowd_does_to_a_standing_area_without_its_guards(
    engines: list[Engine], database_url: str, guards: list[tuple[str, str]], constraints: bool, is_safe: bool
) -> None:
    await take_away(database_url, *guards, statement=CONSTRAINTS if constraints else None)
    show = await open_show(engines[0], areas=[{"name": "Floor", "kind": "standing", "capacity": 100}])

    doors = [domain_door(each, show) for each in engines]
    told = Told()

    async def one(number: int) -> None:
        answer = await doors[number % 2](ClaimRequest(quantity=1 + number % 6))
        if isinstance(answer, Promise):
            told.promises.append(answer)

    # Both engines send what they have while somebody holds the head, and go on together when it is let go.
    async with held_head(database_url, show) as head, asyncio.TaskGroup() as crowd:
        for number in range(100):
            crowd.create_task(one(number))
        await head.waited_for_by(2)
        await head.let_go()
    wrong = await checker.oversold(database_url)
    if is_safe:
        assert wrong == []
        assert told.places <= 100
    else:
        assert [line for line in wrong if line.startswith("above capacity")]
        assert [line for line in wrong if line.startswith("more live places than there are")]


async def test_control_the_checker_finds_what_is_put_wrong_by_hand(engine: Engine, database_url: str) -> None:
    """Every kind of violation, made on purpose: a checker that finds nothing proves nothing."""
    show = await open_show(
        engine,
        areas=[
            {
                "name": "Stalls",
                "kind": "seated",
                "rows": [{"label": "A", "seats": 9}, {"label": "B", "seats": 9}],
            },
            {"name": "Floor", "kind": "standing", "capacity": 9},
        ],
        max_places_per_buyer=9,
    )
    request = msgspec.convert(
        {"seats": ["A-1"], "confirm": True, "customer": {"email": "guest@example.org"}}, ClaimRequest
    )
    made = (await booking.claim(engine.office, show, request, booking.Asker(b"k" * 16))).booking
    promise = promise_of(made)
    assert await checker.violations(database_url, [promise], all_promised=True) == []
    for wrong, statement in {
        "live place without its claim": "delete from claims",
        "claim that belongs to nobody": "insert into claims values ((select show_id from shows), 5, gen_random_uuid())",
        "seat that does not exist": "update bookings set seats = '{77}'; update claims set seat = 77",
        "place without a seat that is not standing": "update bookings set seats = '{}'; delete from claims",
        "counts that are not": "update stock set reserved = reserved + 1 where area = 2",
        "stock that is not": "update stock set capacity = 8 where area = 2",
        "booking that contradicts itself": "update bookings set total = 5",
        "key that points nowhere": "update idempotency_keys set booking_id = gen_random_uuid()",
        "buyer whose places": "update buyers set places = places + 1",
        "buyer whose held seconds": "update buyers set held_seconds = 1",
        "code whose uses": (
            "insert into codes (show_id, code_id, organizer_id, code, code_key, discount_amount, used)"
            " select show_id, gen_random_uuid(), organizer_id, 'Early', 'early', 1, 1 from shows"
        ),
        "sale or cancellation": "delete from outbox where kind = 'booking.confirmed'",
        "announcement 1": "update outbox set payload = jsonb_set(payload, '{revision}', '2') where payload ? 'revision'",
        f"{show} is at": "update show_heads set revision = revision + 1",
        "the announcements": "update outbox set payload = jsonb_set(payload, '{taken}', '[3]') where payload ? 'taken'",
        f"{promise} is not there": "update bookings set booking_id = gen_random_uuid()",
        f"{promise} is PENDING": "update bookings set status = 'PENDING', confirmed_at = null",
        f"{promise} has the seats": "update bookings set seats = '{4}'",
    }.items():
        connection = await asyncpg.connect(database_url)
        try:
            backup = await _contents(connection)
            await connection.execute(statement)
            found = await checker.violations(database_url, [promise], all_promised=True)
            assert [line for line in found if line.startswith(wrong)], (wrong, found)
            await _restore(connection, backup)
        finally:
            await connection.close()
    assert await checker.violations(database_url, [promise], all_promised=True) == []


TABLES = ("bookings", "claims", "stock", "buyers", "codes", "idempotency_keys", "outbox", "show_heads")


async def _contents(connection: Any) -> dict[str, list[Any]]:
    return {table: await connection.fetch(f"select t::text as line from {table} t") for table in TABLES}


async def _restore(connection: Any, backup: dict[str, list[Any]]) -> None:
    for table, rows in backup.items():
        await connection.execute(f"delete from {table}")
        for row in rows:
            await connection.execute(f"insert into {table} select ($1::text::{table}).*", row["line"])
