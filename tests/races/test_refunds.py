"""Refunds side by side: never more back than was taken, each ticket and each place once, and no money kept for nothing."""

import asyncio
from collections import Counter
from random import Random
from typing import Any

import pytest

from holdfast import booking, payments
from holdfast.booking import Booking, PlacesNotRefundable, Refunder, RefundSpec, privacy
from holdfast.engine import Engine
from holdfast.payments import Refund, RefundTooMuch, refunds
from holdfast.platform import jobs
from holdfast.platform.db import Query
from holdfast.platform.errors import Busy, Refusal
from holdfast.platform.ids import new_id
from tests.bank import Bank, Shopper
from tests.races.checker import violations
from tests.races.crowd import claims, held_head, together
from tests.till import Till, a_show, leased, pay, sold

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

WISHES = 16
# As somebody would write it who trusts what was read a moment ago.
UNGUARDED = """
with known as (
  select p.* from payments p where p.show_id = $1 and p.payment_id = $3
     and p.amount - coalesce((select sum(r.amount) from refunds r where r.payment_id = $3 and r.state <> 'FAILED'), 0) >= $4)
insert into refunds (show_id, refund_id, payment_id, booking_id, organizer_id, provider, amount, currency, reason, note,
                     numbers, release, created_by)
select $1, $2, $3, c.booking_id, c.organizer_id, c.provider, $4, c.currency, $5, $6, $7, $8, $9 from known c
returning *"""


async def wants_of_one_payment(engines: list[Engine], rivals: asyncio.Barrier | None) -> int:
    """Two payments of 20.00: WISHES people want 9.00 of the second back at once. How much was granted.

    With `rivals` each waits for the others before the commit: what only a lock would forbid.
    """
    bought = await sold(engines[0], await a_show(engines[0]), seats=["A-1", "A-2"])
    paid = await pay(engines[0].db, bought)

    async def want(number: int) -> int:
        try:
            async with engines[number % len(engines)].db.transaction() as tx:
                wanted = await payments.want_refund(tx, paid, 900, "second_payment")
                if rivals is not None:
                    await rivals.wait()
            return wanted.amount
        except RefundTooMuch:
            return 0

    return sum(await together(want(number) for number in range(rivals.parties if rivals else WISHES)))


async def test_no_more_is_wanted_than_was_taken(engines: list[Engine], database_url: str) -> None:
    assert await wants_of_one_payment(engines, None) == 1800
    assert await violations(database_url) == []


async def test_control_without_the_guard_more_goes_back_than_was_taken(
    engines: list[Engine], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refunds.sql, "want_refund", Query("test.unguarded", UNGUARDED))
    assert await wants_of_one_payment(engines, asyncio.Barrier(4)) == 3600
    assert [each for each in await violations(database_url) if "refunds do not add up" in each]


async def test_a_ticket_goes_back_once_however_many_ask(engines: list[Engine], database_url: str) -> None:
    bought = await sold(engines[0], await a_show(engines[0]), quantity=4, area="Floor")

    async def want(number: int) -> Refund | str:
        specs: list[dict[str, Any]] = [
            {"numbers": [1]}, {"numbers": [1, 2]}, {"numbers": [2, 3]}, {"all": True}, {"amount": 400}, {"numbers": [4]}
        ]  # fmt: skip
        try:
            async with engines[number % 2].db.transaction() as tx:
                return await booking.refund(
                    tx, bought.show_id, bought.booking_id, RefundSpec(**specs[number % len(specs)]), None
                )
        except Refusal as refusal:
            return refusal.code

    for _ in range(3):
        said = await together(want(number) for number in range(WISHES))
        assert {each for each in said if isinstance(each, str)} <= {
            PlacesNotRefundable.code, RefundTooMuch.code, "nothing_to_refund", "invalid"
        }  # fmt: skip
    rows = await engines[0].db.rows("select numbers, amount from refunds")
    given = Counter(number for row in rows for number in row["numbers"] or ())
    assert max(given.values()) == 1
    assert sum(row["amount"] for row in rows) <= 2000
    assert await violations(database_url) == []


async def test_places_come_back_once_whoever_says_so_and_how_often(
    engines: list[Engine], database_url: str
) -> None:
    """Jobs that run twice, webhooks beside them, and people who cancel: the ledger balances at the end (F39)."""
    random, till = Random(39), Till()
    providers: dict[str, Any] = {"till": till}
    refunders = [Refunder(engine.office, providers) for engine in engines]
    show = await a_show(engines[0])
    bought = [await sold(engines[0], show, quantity=3, area="Floor") for _ in range(8)]

    async def want(each: Booking, spec: RefundSpec) -> Refund | None:
        try:
            async with engines[0].db.transaction() as tx:
                return await booking.refund(tx, show, each.booking_id, spec, None)
        except Refusal:
            return None

    wanted = [
        await want(each, RefundSpec(numbers=numbers, release=random.random() < 0.5))
        for each in bought
        for numbers in random.sample([[1], [2], [3], [1, 2], [2, 3], [1, 2, 3]], 3)
    ]
    granted = [each for each in wanted if each is not None]

    async def run(number: int, refund: Refund) -> None:
        engine = engines[number % 2]
        try:
            await refunders[number % 2].carry_out(await leased(engine.db, refund), engine.db)
        except jobs.LeaseLost:
            return

    async def hear(number: int, refund: Refund) -> None:
        engine = engines[number % 2]
        if refund.refund_id in till.refunds:
            async with engine.db.transaction() as tx:
                await booking.refund_seen(
                    tx, engine.office, show, refund.refund_id, till.refunds[refund.refund_id]
                )

    async def call_off(number: int, each: Booking) -> None:
        engine = engines[number % 2]
        async with engine.db.transaction() as tx:
            await booking.call_off(tx, engine.office, each, "by_organizer")

    work = [
        do(number, each)
        for do in (run, run, hear, hear)
        for number, each in enumerate(granted)
    ] + [call_off(number, each) for number, each in enumerate(bought[:4])]  # fmt: skip
    random.shuffle(work)
    await together(work)
    for row in await engines[0].db.rows("select * from refunds where state in ('WANTED', 'SENT')"):
        await run(0, refunds.refund_from(row))
    assert await violations(database_url) == []
    taken_off = sum(len(each.numbers or ()) for each in await all_refunds(engines[0]))
    counts = await engines[0].db.row(
        "select reserved, blocked from stock where show_id = $1 and area = 2", show
    )
    kept = await engines[0].db.value("select coalesce(sum(cardinality(areas)), 0) from blocks")
    assert counts is not None
    assert (counts["reserved"], counts["blocked"]) == (24 - taken_off, kept)
    ended = [await booking.booking_by_id(engines[0].db, show, each.booking_id) for each in bought[:4]]
    assert {each.status for each in ended} == {"CANCELLED"}
    assert till.sent == await engines[0].db.value(
        "select sum(refunded) from payments where show_id = $1", show
    )


async def all_refunds(engine: Engine) -> list[Refund]:
    return [refunds.refund_from(row) for row in await engine.db.rows("select * from refunds")]


async def test_money_that_comes_while_a_show_is_cancelled_goes_back(
    engines: list[Engine], database_url: str
) -> None:
    """Whichever is first: nobody keeps the money and takes the ticket away."""
    show = await a_show(engines[0])
    shoppers = [Shopper(engine, Bank()) for engine in engines]
    ends: Counter[str] = Counter()
    for number in range(20):
        shopper = shoppers[number % 2]
        held = await shopper.claim(show, quantity=1, area="Floor")
        attempt = await shopper.pay(held)

        async def call_off(held: Booking = held, number: int = number) -> None:
            await asyncio.sleep(Random(number).random() / 50)
            for _ in range(3):
                try:
                    async with engines[1].db.transaction() as tx:
                        await booking.call_off(tx, engines[1].office, held, "show_cancelled")
                    return
                except Busy:
                    continue

        await together([shopper.paid(attempt), call_off()])
        ends[(await shopper.booking(held)).status] += 1
        assert [amount for _, amount, _ in await shopper.refunds(held)] == [500]
    assert ends.keys() <= {"CONFIRMED", "FAILED"}
    assert await violations(database_url) == []


async def test_two_people_retry_what_failed_and_one_does(engines: list[Engine]) -> None:
    bought = await sold(engines[0], await a_show(engines[0]), seats=["A-1", "A-2"])
    async with engines[0].db.transaction() as tx:
        wanted = await booking.refund(tx, bought.show_id, bought.booking_id, RefundSpec(amount=100), None)
        await payments.fail_refund(tx, wanted.show_id, wanted.refund_id, "No.")

    async def retry(number: int) -> str:
        try:
            async with engines[number % 2].db.transaction() as tx:
                await booking.retry_refund(tx, bought.show_id, bought.booking_id, wanted.refund_id, None)
            return "retried"
        except Refusal as refusal:
            return refusal.code

    said = Counter(await together(retry(number) for number in range(8)))
    assert said == {"retried": 1, "refund_not_failed": 7}
    assert await engines[0].db.value("select refunded from payments") == 100


async def test_an_event_of_another_refund_changes_nothing(engines: list[Engine]) -> None:
    bought = await sold(engines[0], await a_show(engines[0]), seats=["A-1", "A-2"])
    async with engines[0].db.transaction() as tx:
        wanted = await booking.refund(tx, bought.show_id, bought.booking_id, RefundSpec(all=True), None)
        seen = payments.SeenRefund(ref="re_1", state="settled", amount=2000, currency="EUR")
        await booking.refund_seen(tx, engines[0].office, bought.show_id, new_id(), seen)
    read = await payments.refund_by_id(engines[0].db, wanted.show_id, wanted.refund_id)
    assert read.state == "WANTED"


async def test_two_who_end_a_booking_wait_in_no_circle(engines: list[Engine], database_url: str) -> None:
    """The head comes before the booking, also for whoever looks at the money first."""
    show = await a_show(engines[0])
    [held] = await claims(engines[0], show, [booking.ClaimRequest(quantity=1, area="Floor")])

    async def cancel() -> None:
        async with engines[0].db.transaction() as tx:
            await booking.cancel(tx, engines[0].office, show, held.booking_id, "by_buyer", sold_too=False)

    async def call_off() -> None:
        async with engines[1].db.transaction() as tx:
            await booking.call_off(tx, engines[1].office, held, "by_organizer")

    async with held_head(database_url, show) as head, asyncio.TaskGroup() as group:
        group.create_task(cancel())
        await head.waited_for_by(1)
        group.create_task(call_off())
        await head.waited_for_by(2)
        await head.let_go()
    assert await violations(database_url) == []


async def test_who_forgets_and_who_settles_wait_in_no_circle(
    engines: list[Engine], database_url: str
) -> None:
    """Refunds come before the head, also for whoever takes the notes off them."""
    bought = await sold(engines[0], await a_show(engines[0]), seats=["A-1", "A-2"])
    async with engines[0].db.transaction() as tx:
        spec = RefundSpec(numbers=[1], note="For Ada Example")
        wanted = await booking.refund(tx, bought.show_id, bought.booking_id, spec, None)

    async def settle() -> None:
        seen = payments.SeenRefund(ref="re_1", state="settled", amount=1000, currency="EUR")
        async with engines[0].db.transaction() as tx:
            await booking.refund_seen(tx, engines[0].office, bought.show_id, wanted.refund_id, seen)

    async with held_head(database_url, bought.show_id) as head, asyncio.TaskGroup() as group:
        group.create_task(privacy.forget_show(engines[1].db, bought.show_id))
        await head.waited_for_by(1)
        group.create_task(settle())
        await head.waited_for_by(2)
        await head.let_go()
    read = await payments.refund_by_id(engines[0].db, wanted.show_id, wanted.refund_id)
    assert (read.state, read.note) == ("SETTLED", None)
    assert await violations(database_url) == []
