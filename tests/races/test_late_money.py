"""Money against the deadline and a rival: whoever paid has a ticket or their money back, to the cent."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest

from holdfast import booking
from holdfast.booking import Booking
from holdfast.engine import Engine
from holdfast.payments import Notice, Payment, RefundTooMuch, Seen, attempts
from holdfast.platform.db import DataError, Query
from holdfast.platform.errors import Refusal
from holdfast.platform.ids import BookingId, ShowId
from tests.bank import Bank, Shopper
from tests.races import checker
from tests.races.crowd import open_show, together

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

RACES = 1000
SPARE = 40
PRICE = 1337
AT_ONCE = 16
# So near are the deadline, the money and the rival to one another, in seconds: each may be first.
NEAR = 0.03
FUNCTIONS = Path(booking.__file__).with_name("payment_functions.sql")
# What looks whether the seats are free, and what stands there once it is gone.
LOOK = (
    "if not exists (select from claims c where c.show_id = p_show_id and c.seat = any (v_seats)) then",
    "if true then",
)
SUMS = """
select b.booking_id, b.status, b.total,
       (select coalesce(sum(p.amount), 0) from payments p
         where p.show_id = b.show_id and p.booking_id = b.booking_id and p.state = 'SUCCEEDED') as taken,
       (select coalesce(sum(r.amount), 0) from refunds r
         where r.show_id = b.show_id and r.booking_id = b.booking_id) as returned
  from bookings b where b.show_id = $1"""


@dataclass
class Race:
    """A show where every seat but a few is held, by buyers who are at the bank's page already."""

    shoppers: list[Shopper]
    show: ShowId
    held: list[tuple[Booking, Payment]]
    outcomes: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Lets the deadlines pass while money comes, and somebody else wants the seat."""
        waiting, sweeping = list(self.held), True

        async def sweep(engine: Engine) -> None:
            while sweeping:
                with suppress(*DataError):
                    await booking.sweep(engine.office)
                await asyncio.sleep(0.001)

        async def one(number: int) -> None:
            dice = Random(number)
            while waiting:
                await self._once(dice, *waiting.pop())

        sweepers = [asyncio.create_task(sweep(each.engine)) for each in self.shoppers]
        try:
            await together(one(number) for number in range(AT_ONCE))
        finally:
            sweeping = False
            await asyncio.gather(*sweepers)

    async def _once(self, dice: Random, held: Booking, payment: Payment) -> None:
        assert payment.ref is not None
        seen = self.shoppers[0].bank.becomes_paid(payment.ref)
        await self.shoppers[0].deadline_in(held, dice.uniform(0, 4 * NEAR))
        first, second = dice.sample(self.shoppers, 2)
        # The same news twice, as one event or as two, and a rival who is as quick.
        events = [f"a-{payment.payment_id}", f"{dice.choice('ab')}-{payment.payment_id}"]
        _, _, rival = await together([
            self._told(first, events[0], seen, dice.uniform(0, 2 * NEAR)),
            self._told(second, events[1], seen, dice.uniform(0, 2 * NEAR)),
            self._wanted(second, held, dice.uniform(0, 3 * NEAR)),
        ])  # fmt: skip
        now = await first.booking(held)
        where = "elsewhere" if now.seats != held.seats else "there"
        late = "late" if now.confirmed_at == now.expires_at else "in time"
        self.outcomes[f"{now.status} {where} {late}" if now.status == "CONFIRMED" else now.status] += 1
        self.outcomes["rival"] += rival

    async def _told(self, shopper: Shopper, event_id: str, seen: Seen, delay: float) -> None:
        await asyncio.sleep(delay)
        notice = Notice(
            event_id=event_id, kind="payment", show_id=seen.show_id, payment_id=seen.payment_id, seen=seen
        )
        # What the database would not take is sent again by the bank, and would come to the same.
        with suppress(RefundTooMuch, *DataError):
            await shopper.cashier.hear(shopper.bank, notice)

    async def _wanted(self, shopper: Shopper, held: Booking, delay: float) -> bool:
        await asyncio.sleep(delay)
        view = await shopper.engine.office.views.get(self.show)
        try:
            rival = await shopper.claim(self.show, seats=[view.plan.name(held.seats[0])], tier="Adult")
            await shopper.paid(await shopper.pay(rival))
        except (Refusal, *DataError):
            return False
        return True


async def _race(engines: list[Engine], races: int) -> Race:
    rows = [{"label": f"R{number}", "seats": 20} for number in range((races + SPARE) // 20)]
    show = await open_show(
        engines[0],
        areas=[{"name": "Stalls", "kind": "seated", "rows": rows}],
        tiers=[{"area": "Stalls", "name": "Adult", "amount": PRICE}],
        hold_seconds=3600,
        hold_seconds_max=3600,
    )
    bank = Bank()
    shoppers = [Shopper(engine, bank) for engine in engines]
    plan = (await engines[0].office.views.get(show)).plan

    async def hold(number: int) -> tuple[Booking, Payment]:
        shopper = shoppers[number % 2]
        held = await shopper.claim(show, seats=[plan.name(number)], tier="Adult")
        return held, await shopper.pay(held, equal_places=number % 3 == 0)

    held: list[tuple[Booking, Payment]] = []
    for start in range(0, races, 50):
        held += await together(hold(number) for number in range(start, start + 50))
    return Race(shoppers, show, held)


async def _unequal(race: Race) -> dict[BookingId, tuple[Any, ...]]:
    """Bookings whose money does not come out: taken is not what the tickets cost and what goes back."""
    rows = await race.shoppers[0].engine.db.rows(SUMS, race.show)
    wrong = {}
    for row in rows:
        sold = row["total"] if row["status"] == "CONFIRMED" else 0
        if row["taken"] != sold + row["returned"]:
            wrong[row["booking_id"]] = tuple(row)
    return wrong


async def test_a_thousand_times_money_against_expiry_and_a_rival(
    engines: list[Engine], database_url: str
) -> None:
    race = await _race(engines, RACES)
    await race.run()
    print(race.outcomes)
    ended = await race.shoppers[0].engine.db.rows(SUMS, race.show)
    by_id = {row["booking_id"]: row for row in ended}
    # Each ends as a ticket, and nothing goes back; or without one, and all of it goes back.
    for held, _ in race.held:
        row = by_id[held.booking_id]
        assert row["taken"] == PRICE
        assert (row["status"], row["returned"]) in {("CONFIRMED", 0), ("FAILED", PRICE)}, dict(row)
    assert await _unequal(race) == {}
    taken = sum(row["taken"] for row in ended)
    sold = sum(row["total"] for row in ended if row["status"] == "CONFIRMED")
    returned = sum(row["returned"] for row in ended)
    print(f"{taken} taken, {sold} sold, {returned} going back")
    assert taken == sold + returned
    # It was a race: money was in time, came late and found its seat or another, and came too late.
    for outcome in (
        "CONFIRMED there in time",
        "CONFIRMED there late",
        "CONFIRMED elsewhere late",
        "FAILED",
        "rival",
    ):
        assert race.outcomes[outcome] > 0, race.outcomes
    assert await checker.violations(database_url) == []


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("constraint", [True, False], ids=["the key has the last word", "without the key"])
async def test_control_late_money_that_does_not_look(
    engines: list[Engine], database_url: str, constraint: bool
) -> None:
    race = await _race(engines, 200)
    text = FUNCTIONS.read_text("utf-8")
    assert text.count(LOOK[0]) == 1, "the guard is not where this test looks for it"
    await _execute(database_url, text.replace(*LOOK))
    if not constraint:
        await _execute(database_url, "alter table claims drop constraint claims_pkey")
    await race.run()
    wrong = await checker.oversold(database_url)
    assert (wrong == []) is constraint, wrong[:3]


async def test_control_money_that_counts_twice(
    engines: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the conditional step the second notice takes the first one's money for another payment."""
    guarded = attempts.sql.payment_stepped
    assert guarded.text.count(" and state = any ($4::text[])") == 1
    unguarded = guarded.text.replace(" and state = any ($4::text[])", " and $4::text[] is not null")
    monkeypatch.setattr(attempts.sql, "payment_stepped", Query("test.stepped", unguarded))
    race = await _race(engines, 200)
    await race.run()
    assert await _unequal(race) != {}
