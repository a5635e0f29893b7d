"""Refunds: money, tickets and places end together, when the provider says so, and each of them once."""

from itertools import permutations
from typing import Any

import pytest

from holdfast import booking, payments, tickets
from holdfast.booking import (
    Booking,
    NothingToRefund,
    PlacesNotRefundable,
    Refunder,
    RefundSpec,
    cancel,
    refund_seen,
    refunding,
)
from holdfast.booking.refunding import REFUND_DAYS_MAX
from holdfast.engine import Engine
from holdfast.payments import Refund, RefundNotFailed, RefundTooMuch, SeenRefund
from holdfast.platform import jobs
from holdfast.platform.db import CheckViolation
from holdfast.platform.errors import Invalid
from tests.races.checker import violations
from tests.till import Till, a_show, ended, leased, pay, sold

pytestmark = pytest.mark.anyio


class Desk:
    """Somebody who refunds, and the job that does it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.till = Till()
        providers: dict[str, Any] = {"till": self.till}
        self._refunder = Refunder(engine.office, providers)

    async def want(self, bought: Booking, **spec: Any) -> Refund:
        async with self.engine.db.transaction() as tx:
            return await booking.refund(tx, bought.show_id, bought.booking_id, RefundSpec(**spec), None)

    async def retry(self, failed: Refund) -> Refund:
        async with self.engine.db.transaction() as tx:
            return await booking.retry_refund(tx, failed.show_id, failed.booking_id, failed.refund_id, None)

    async def run(self, refund: Refund) -> Refund:
        """One run of the refund's job; Later and Discard go on to the test."""
        await self._refunder.carry_out(await leased(self.engine.db, refund), self.engine.db)
        return await self.read(refund)

    async def later(self, refund: Refund) -> float:
        """One run that comes to no end, and after how many seconds it comes back."""
        with pytest.raises(jobs.Later) as later:
            await self.run(refund)
        return later.value.seconds

    async def seen(self, refund: Refund, seen: SeenRefund) -> Refund:
        """What a webhook says."""
        async with self.engine.db.transaction() as tx:
            await refund_seen(tx, self.engine.office, refund.show_id, refund.refund_id, seen)
        return await self.read(refund)

    async def read(self, refund: Refund) -> Refund:
        return await payments.refund_by_id(self.engine.db, refund.show_id, refund.refund_id)

    async def booking(self, bought: Booking) -> Booking:
        return await booking.booking_by_id(self.engine.db, bought.show_id, bought.booking_id)

    async def states(self, bought: Booking) -> list[str]:
        sale = booking.sale_of(await self.booking(bought))
        return [each.state for each in await tickets.tickets_of(self.engine.db, sale)]

    async def left(self, bought: Booking) -> list[int]:
        row = await self.engine.db.row(
            "select array_agg(capacity - reserved - blocked order by area) from stock where show_id = $1", bought.show_id
        )  # fmt: skip
        assert row is not None
        return list(row[0])

    async def refunded(self, bought: Booking) -> int:
        return int(
            await self.engine.db.value("select sum(refunded) from payments where booking_id = $1", bought.booking_id)
        )  # fmt: skip

    async def kinds(self) -> list[str]:
        rows = await self.engine.db.rows(
            "select kind from outbox where kind not like 'show.%' order by created_at"
        )
        return [row["kind"] for row in rows if row["kind"] != "availability.changed"]


@pytest.fixture
async def desk(engine: Engine) -> Desk:
    return Desk(engine)


@pytest.fixture
async def pair(engine: Engine) -> Booking:
    """Two seats for 20.00."""
    return await sold(engine, await a_show(engine), seats=["A-1", "A-2"])


async def test_all_of_it_goes_back_and_then_the_booking_ends(
    desk: Desk, pair: Booking, database_url: str
) -> None:
    wanted = await desk.want(pair, all=True)
    assert (wanted.state, wanted.amount, wanted.numbers) == ("WANTED", 2000, [1, 2])
    assert await desk.states(pair) == ["suspended", "suspended"], "nobody enters meanwhile"
    assert (await desk.booking(pair)).status == "CONFIRMED", "the money has not moved yet"
    assert await desk.left(pair) == [8, 50]
    settled = await desk.run(wanted)
    assert (settled.state, settled.ref) == ("SETTLED", f"re_{wanted.refund_id.hex}")
    ended = await desk.booking(pair)
    assert (ended.status, ended.reason) == ("CANCELLED", "by_organizer")
    assert await desk.states(pair) == ["void", "void"]
    assert await desk.left(pair) == [10, 50]
    assert desk.till.sent == await desk.refunded(pair) == 2000
    assert await desk.kinds() == [
        "payment.succeeded", "booking.confirmed", "refund.wanted", "refund.settled", "booking.cancelled"
    ]  # fmt: skip
    assert await desk.engine.db.value("select count(*) from jobs where kind = $1", payments.REFUND) == 0
    assert await violations(database_url) == []


async def test_a_part_goes_back_with_its_ticket_and_its_place(
    desk: Desk, pair: Booking, database_url: str
) -> None:
    settled = await desk.run(await desk.want(pair, numbers=[2]))
    assert (settled.amount, settled.numbers) == (1000, [2])
    left = await desk.booking(pair)
    assert (left.status, left.given_back, left.seats) == ("CONFIRMED", [2], pair.seats), (
        "what was sold stays told"
    )
    assert await desk.states(pair) == ["valid", "void"]
    assert await desk.left(pair) == [9, 50]
    assert (await desk.kinds())[-2:] == ["refund.settled", "ticket.voided"]
    again = await sold(desk.engine, pair.show_id, seats=["A-2"])
    assert await violations(database_url) == []
    await desk.run(await desk.want(pair, numbers=[1]))
    ended = await desk.booking(pair)
    assert (ended.status, ended.given_back) == ("CANCELLED", [2]), "the last place takes the booking with it"
    assert await desk.left(pair) == [9, 50], "the other one is somebody else's"
    assert (await desk.booking(again)).status == "CONFIRMED"
    assert await violations(database_url) == []


async def test_standing_places_come_back_too(desk: Desk, engine: Engine, database_url: str) -> None:
    bought = await sold(engine, await a_show(engine, max_places_per_buyer=10), quantity=4, area="Floor")
    await desk.run(await desk.want(bought, numbers=[1, 3, 3]))
    assert (await desk.booking(bought)).given_back == [1, 3]
    assert await desk.left(bought) == [10, 48]
    assert await violations(database_url) == []
    await desk.run(await desk.want(bought, all=True))
    assert await desk.left(bought) == [10, 50]
    assert desk.till.sent == 2000
    assert await violations(database_url) == []


async def test_a_limit_per_buyer_counts_what_the_buyer_still_has(
    desk: Desk, engine: Engine, database_url: str
) -> None:
    show = await a_show(engine, max_places_per_buyer=3)
    customer = booking.Customer("guest@example.org", "Guest")
    bought = await sold(engine, show, quantity=3, area="Floor", customer=customer)
    await desk.run(await desk.want(bought, numbers=[2]))
    assert await violations(database_url) == []
    more = await sold(engine, show, quantity=1, area="Floor", customer=customer)
    with pytest.raises(booking.LimitReached):
        await sold(engine, show, quantity=1, area="Floor", customer=customer)
    async with engine.db.transaction() as tx:
        await cancel(tx, engine.office, show, bought.booking_id, "by_organizer", sold_too=True)
    assert await violations(database_url) == []
    assert (await desk.booking(more)).status == "CONFIRMED"


@pytest.mark.parametrize("numbers, kept", [(None, ["A-1", "A-2"]), ([2], ["A-2"])])
async def test_kept_places_become_a_block_of_the_organizers(
    desk: Desk, pair: Booking, database_url: str, numbers: list[int] | None, kept: list[str]
) -> None:
    await desk.run(await desk.want(pair, all=numbers is None, numbers=numbers, release=False))
    assert await desk.left(pair) == [8, 50], "nobody can buy them"
    [block] = await booking.blocks_of(desk.engine.db, pair.show_id, pair.show_id, 10)
    assert block.seats == [pair.seats[number - 1] for number in numbers or [1, 2]]
    assert block.reason == f"Kept from booking {pair.reference}"
    assert await violations(database_url) == []
    async with desk.engine.db.transaction() as tx:
        await booking.release_block(tx, desk.engine.office, pair.show_id, block.block_id)
    await sold(desk.engine, pair.show_id, seats=kept)
    assert await violations(database_url) == []


async def test_kept_standing_places_become_a_block(desk: Desk, engine: Engine, database_url: str) -> None:
    bought = await sold(engine, await a_show(engine), quantity=3, area="Floor")
    await desk.run(await desk.want(bought, numbers=[1, 2], release=False))
    [block] = await booking.blocks_of(engine.db, bought.show_id, bought.show_id, 10)
    assert (block.quantity, block.seats) == (2, [])
    assert await desk.left(bought) == [10, 47]
    assert await violations(database_url) == []


async def test_money_alone_leaves_the_tickets_alone(desk: Desk, pair: Booking) -> None:
    settled = await desk.run(await desk.want(pair, amount=300, note="Broken chair"))
    assert (settled.numbers, settled.note) == (None, "Broken chair")
    assert await desk.states(pair) == ["valid", "valid"]
    assert (await desk.booking(pair)).version == pair.version
    rest = await desk.want(pair, all=True)
    assert rest.amount == 1700
    await desk.run(rest)
    assert desk.till.sent == 2000
    assert (await desk.booking(pair)).status == "CANCELLED"


async def test_less_than_was_paid_may_go_back_with_the_tickets(desk: Desk, pair: Booking) -> None:
    await desk.run(await desk.want(pair, all=True, amount=1500))
    assert (await desk.booking(pair)).status == "CANCELLED"
    assert desk.till.sent == 1500


@pytest.mark.parametrize(
    "spec, refusal",
    [
        ({}, Invalid),
        ({"all": True, "numbers": [1]}, Invalid),
        ({"numbers": [3]}, Invalid),
        ({"amount": 2000}, Invalid),
        ({"amount": 2001}, RefundTooMuch),
        ({"all": True, "amount": 2001}, RefundTooMuch),
    ],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(
    desk: Desk, pair: Booking, spec: dict[str, Any], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        await desk.want(pair, **spec)
    assert await desk.states(pair) == ["valid", "valid"]
    assert await desk.refunded(pair) == 0


async def test_a_ticket_goes_back_once(desk: Desk, pair: Booking) -> None:
    wanted = await desk.want(pair, numbers=[1])
    for _ in range(2):
        with pytest.raises(PlacesNotRefundable) as refused:
            await desk.want(pair, numbers=[1, 2])
        assert refused.value.members["numbers"] == [1]
        assert await desk.states(pair) != ["suspended", "suspended"]
        await desk.run(wanted)
    rest = await desk.want(pair, all=True)
    assert (rest.numbers, rest.amount) == ([2], 1000)
    with pytest.raises(NothingToRefund):
        await desk.want(pair, all=True)


async def test_nobody_gets_back_what_nobody_paid(desk: Desk, engine: Engine) -> None:
    show = await a_show(engine)
    claimed = await booking.claim(
        engine.office, show, booking.ClaimRequest(seats=["A-1"]), booking.Asker(show.bytes)
    )
    with pytest.raises(NothingToRefund):
        await desk.want(claimed.booking, all=True)
    async with engine.db.transaction() as tx:
        await booking.confirm(tx, show, claimed.booking.booking_id, settled=True)
    with pytest.raises(NothingToRefund):
        await desk.want(claimed.booking, all=True)


async def test_no_other_way_leads_beyond_what_was_taken(desk: Desk, pair: Booking) -> None:
    """The last word, whatever the code may do."""
    with pytest.raises(CheckViolation):
        await desk.engine.db.execute("update payments set refunded = amount + 1")


async def test_a_provider_that_is_down_is_asked_again_with_the_state_in_sight(
    desk: Desk, pair: Booking
) -> None:
    wanted, desk.till.down = await desk.want(pair, all=True), True
    assert await desk.later(wanted) == 1.0
    shown = await desk.read(wanted)
    assert (shown.state, shown.problem) == ("SENT", "The till is closed.")
    assert await desk.states(pair) == ["suspended", "suspended"]
    await desk.engine.db.execute("update refunds set created_at = now() - interval '1 hour'")
    assert await desk.later(wanted) == pytest.approx(900, abs=1), (
        "the longer it takes, the less often it is asked"
    )
    desk.till.down = False
    settled = await desk.run(wanted)
    assert (settled.state, settled.problem) == ("SETTLED", None)
    assert desk.till.sent == 2000


async def test_what_a_provider_has_in_hand_is_looked_at_until_it_settles(desk: Desk, pair: Booking) -> None:
    wanted, desk.till.say = await desk.want(pair, numbers=[1]), "pending"
    assert await desk.later(wanted) == 2.0
    assert (await desk.read(wanted)).ref == f"re_{wanted.refund_id.hex}"
    assert await desk.later(wanted) == 2.0
    assert desk.till.asked == 1, "afterwards it was only looked at"
    desk.till.becomes(wanted.refund_id, "settled")
    assert (await desk.run(wanted)).state == "SETTLED"
    assert await desk.states(pair) == ["void", "valid"]


async def test_a_refund_without_an_end_is_given_to_a_person(desk: Desk, pair: Booking) -> None:
    wanted, desk.till.down = await desk.want(pair, all=True), True
    await desk.engine.db.execute("update refunds set created_at = now() - make_interval(days => $1)", REFUND_DAYS_MAX)  # fmt: skip
    with pytest.raises(jobs.Discard):
        await desk.run(wanted)
    assert (await desk.read(wanted)).state == "SENT", "nobody knows whether the money went"
    assert await desk.states(pair) == ["suspended", "suspended"]


@pytest.mark.parametrize("how", ["refused", "failed later"])
async def test_tickets_are_valid_again_when_the_money_will_not_go(
    desk: Desk, pair: Booking, how: str, database_url: str
) -> None:
    wanted = await desk.want(pair, all=True)
    if how == "refused":
        desk.till.refusal = "No such charge."
    else:
        desk.till.say = "pending"
        await desk.later(wanted)
        desk.till.becomes(wanted.refund_id, "failed", "No such charge.")
    failed = await desk.run(wanted)
    assert (failed.state, failed.problem) == ("FAILED", "No such charge.")
    assert await desk.states(pair) == ["valid", "valid"]
    assert (await desk.booking(pair)).status == "CONFIRMED"
    assert await desk.refunded(pair) == 0
    assert (await desk.kinds())[-1] == "refund.failed"
    assert await violations(database_url) == []


async def test_a_person_tries_again_what_failed(desk: Desk, pair: Booking) -> None:
    wanted, desk.till.refusal = await desk.want(pair, numbers=[2], release=False), "Not now."
    with pytest.raises(RefundNotFailed):
        await desk.retry(wanted)
    failed, desk.till.refusal = await desk.run(wanted), None
    again = await desk.retry(failed)
    assert (again.amount, again.numbers, again.release) == (1000, [2], False)
    assert again.refund_id != failed.refund_id, "a provider remembers what it said to an id"
    assert (await desk.read(failed)).retried_as == again.refund_id
    assert await desk.states(pair) == ["valid", "suspended"]
    with pytest.raises(RefundNotFailed) as refused:
        await desk.retry(failed)
    assert refused.value.members["retried_as"] == again.refund_id
    assert await desk.refunded(pair) == 1000
    assert (await desk.run(again)).state == "SETTLED"
    assert desk.till.sent == 1000


async def test_money_that_a_bank_sends_back_is_owed_again_and_the_ticket_stays_dead(
    desk: Desk, pair: Booking, database_url: str
) -> None:
    settled = await desk.run(await desk.want(pair, numbers=[1]))
    bounced = await desk.seen(settled, desk.till.becomes(settled.refund_id, "failed", "Account closed."))
    assert bounced.state == "FAILED"
    assert await desk.states(pair) == ["void", "valid"], "somebody else may sit there by now"
    assert await desk.refunded(pair) == 0
    again = await desk.retry(bounced)
    assert again.numbers is None
    assert (await desk.run(again)).state == "SETTLED"
    assert await desk.refunded(pair) == 1000
    assert await desk.left(pair) == [9, 50]
    assert await violations(database_url) == []


@pytest.mark.parametrize("end", ["settled", "failed"])
async def test_what_is_heard_in_any_order_and_number_is_the_same(
    desk: Desk, engine: Engine, end: str, database_url: str
) -> None:
    show = await a_show(engine)
    for number, order in enumerate(permutations(["pending", end, end, "job"]), 1):
        bought = await sold(engine, show, quantity=2, area="Floor")
        desk.till.say = "pending"
        wanted = await desk.want(bought, numbers=[2])
        await desk.later(wanted)
        was = desk.till.refunds[wanted.refund_id]
        now = desk.till.becomes(wanted.refund_id, end)
        for heard in order:
            if heard == "job":
                await desk.run(wanted)
            else:
                await desk.seen(wanted, was if heard == "pending" else now)
        assert (await desk.read(wanted)).state == end.upper()
        assert await desk.states(bought) == ["valid", "void" if end == "settled" else "valid"]
        assert (await desk.left(bought))[1] == 50 - number * (1 if end == "settled" else 2)
        assert await desk.refunded(bought) == (500 if end == "settled" else 0)
    assert await violations(database_url) == []


async def test_other_money_than_was_wanted_settles_nothing(desk: Desk, pair: Booking) -> None:
    wanted, desk.till.say = await desk.want(pair, all=True), "pending"
    await desk.later(wanted)
    seen = desk.till.becomes(wanted.refund_id, "settled")
    for other in ({"amount": 1999}, {"currency": "USD"}):
        fields = {name: getattr(seen, name) for name in SeenRefund.__struct_fields__}
        shown = await desk.seen(wanted, SeenRefund(**{**fields, **other}))
        assert shown.state == "SENT"
    assert await desk.states(pair) == ["suspended", "suspended"]


async def test_a_provider_that_was_taken_away_is_waited_for(
    desk: Desk, engine: Engine, pair: Booking
) -> None:
    wanted = await desk.want(pair, all=True)
    with pytest.raises(jobs.Later):
        await Refunder(engine.office, {}).carry_out(await leased(engine.db, wanted), engine.db)
    assert "till is not among the providers" in ((await desk.read(wanted)).problem or "")


async def test_a_cancelled_show_gives_everybody_their_money_back_once(
    desk: Desk, engine: Engine, database_url: str
) -> None:
    show = await a_show(engine)
    paid = [await sold(engine, show, quantity=2, area="Floor") for _ in range(3)]
    part = await desk.want(paid[0], numbers=[1])
    held = await booking.claim(
        engine.office, show, booking.ClaimRequest(seats=["A-1"]), booking.Asker(show.bytes)
    )
    for _ in range(2):
        assert await ended(engine, show) == 1, "it dies, and begins again"
        assert (await desk.booking(held.booking)).reason == "show_cancelled"
        assert [(await desk.booking(each)).status for each in paid] == ["CONFIRMED"] * 3
    rows = await engine.db.rows("select * from refunds order by refund_id")
    refunds = [payments.refunds.refund_from(row) for row in rows]
    assert [(each.amount, each.numbers) for each in refunds] == [(500, [1]), (500, [2]), (1000, [1, 2]), (1000, [1, 2])]  # fmt: skip
    for each in reversed(refunds):
        await desk.run(each)
    sales = [await desk.booking(each) for each in paid]
    assert [each.status for each in sales] == ["CANCELLED"] * 3
    assert {each.reason for each in sales[1:]} == {"show_cancelled"}
    assert (desk.till.sent, await desk.left(paid[0])) == (3000, [10, 50])
    assert (await desk.read(part)).state == "SETTLED"
    assert await violations(database_url) == []


async def test_a_cancelled_show_is_ended_piece_by_piece_and_no_booking_holds_up_the_others(
    desk: Desk, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refunding, "END_PAGE", 2)
    show = await a_show(engine)
    broken, *paid = [await sold(engine, show, quantity=1, area="Floor") for _ in range(4)]
    real = booking.call_off

    async def call_off(tx: Any, office: Any, found: Booking, reason: Any) -> Booking:
        if found.booking_id == broken.booking_id:
            raise ZeroDivisionError
        return await real(tx, office, found, reason)

    monkeypatch.setattr(refunding, "call_off", call_off)
    assert await ended(engine, show) == 3, "two full pages, and the end"
    assert [await desk.refunded(each) for each in (broken, *paid)] == [0, 500, 500, 500]
    row = await engine.db.row("select job_id, payload from jobs where kind = $1", booking.END_BOOKING)
    assert row is not None and row["payload"]["booking_id"] == str(broken.booking_id)
    job = jobs.Job(row["job_id"], booking.END_BOOKING, row["payload"], 1, broken.read_at, row["job_id"])
    with pytest.raises(ZeroDivisionError):
        await booking.end_one(engine.office, job, engine.db)
    monkeypatch.undo()
    await booking.end_one(engine.office, job, engine.db)
    assert await desk.refunded(broken) == 500


async def test_disputed_money_is_the_banks_to_decide_on(desk: Desk, engine: Engine, pair: Booking) -> None:
    await engine.db.execute("update payments set disputed_at = now()")
    with pytest.raises(NothingToRefund):
        await desk.want(pair, all=True)
    assert await desk.states(pair) == ["valid", "valid"], "flagged, and left as they are"
    async with engine.db.transaction() as tx:
        ended = await booking.call_off(tx, engine.office, pair, "show_cancelled")
    assert (ended.status, await desk.refunded(pair)) == ("CANCELLED", 0)


async def test_each_payment_that_goes_back_is_noted_when_a_booking_is_called_off(
    desk: Desk, engine: Engine, pair: Booking
) -> None:
    await pay(engine.db, pair)
    noted: list[Any] = []

    async def note(*, before: Any = None, after: Any = None) -> None:
        noted.append((before["status"], after["amount"], after["numbers"]))

    async with engine.db.transaction() as tx:
        await booking.call_off(tx, engine.office, pair, "by_organizer", note=note)
    assert noted == [("CONFIRMED", 2000, [1, 2]), ("CONFIRMED", 2000, None)]


async def test_money_of_a_dispute_that_was_won_goes_back_when_somebody_says_so(
    desk: Desk, engine: Engine, pair: Booking
) -> None:
    await engine.db.execute("update payments set disputed_at = now()")
    payment_id = await engine.db.value("select payment_id from payments")
    assert (await desk.run(await desk.want(pair, all=True, payment_id=payment_id))).state == "SETTLED"
    assert ((await desk.booking(pair)).status, desk.till.sent) == ("CANCELLED", 2000)


async def test_money_for_a_booking_that_was_let_go_goes_back_alone(desk: Desk, engine: Engine) -> None:
    show = await a_show(engine)
    claimed = (
        await booking.claim(engine.office, show, booking.ClaimRequest(seats=["A-1"]), booking.Asker(show.bytes))
    ).booking  # fmt: skip
    async with engine.db.transaction() as tx:
        await cancel(tx, engine.office, show, claimed.booking_id, "by_buyer", sold_too=False)
    paid = await pay(engine.db, claimed)
    async with engine.db.transaction() as tx:
        late = await payments.want_refund(tx, paid, paid.amount, "late")
    assert (await desk.run(late)).state == "SETTLED"
    assert (await desk.booking(claimed)).status == "FAILED"


async def test_other_money_than_was_asked_for_goes_back_as_it_came(desk: Desk, engine: Engine) -> None:
    show = await a_show(engine)
    held = (
        await booking.claim(engine.office, show, booking.ClaimRequest(seats=["A-1"]), booking.Asker(show.bytes))
    ).booking  # fmt: skip
    paid = await pay(engine.db, held, 1250)
    assert paid.state == "MISMATCHED"
    wanted = await desk.want(held, all=True)
    assert (wanted.amount, wanted.numbers) == (1250, None)
    assert (await desk.run(wanted)).state == "SETTLED"
    assert (await desk.booking(held)).status == "PENDING", "who holds it may pay what it costs"


async def test_notes_are_forgotten_with_the_people(desk: Desk, engine: Engine, pair: Booking) -> None:
    other = await sold(engine, pair.show_id, seats=["B-1"])
    for bought in (pair, other):
        await desk.want(bought, amount=5, note="For Ada Example")

    async def notes() -> list[str | None]:
        return [row["note"] for row in await engine.db.rows("select note from refunds order by refund_id")]

    async with engine.db.transaction() as tx:
        assert await payments.forget_notes(tx, pair.show_id, bookings=[pair.booking_id]) == 1
    assert await notes() == [None, "For Ada Example"]
    async with engine.db.transaction() as tx:
        assert await payments.forget_notes(tx, pair.show_id) == 1
    assert await notes() == [None, None]


async def test_the_second_payment_goes_back_and_the_tickets_stay(
    desk: Desk, engine: Engine, pair: Booking
) -> None:
    second = await pay(engine.db, pair)
    async with engine.db.transaction() as tx:
        double = await payments.want_refund(tx, second, second.amount, "second_payment")
    assert (await desk.run(double)).state == "SETTLED"
    assert await desk.states(pair) == ["valid", "valid"]
    rest = await desk.want(pair, all=True)
    assert (rest.payment_id != second.payment_id, rest.amount) == (True, 2000)


async def test_gauges_tell_what_somebody_may_have_to_do_with(desk: Desk, pair: Booking) -> None:
    from holdfast.platform import telemetry

    def told(state: str) -> float:
        return float(telemetry.REFUNDS_OPEN.labels(state)._value.get())

    wanted, desk.till.refusal = await desk.want(pair, amount=5), "No."
    await payments.measure_refunds(desk.engine.db)
    assert (told("WANTED"), told("FAILED")) == (1, 0)
    failed = await desk.run(wanted)
    await payments.measure_refunds(desk.engine.db)
    assert (told("WANTED"), told("FAILED")) == (0, 1)
    await desk.retry(failed)
    await payments.measure_refunds(desk.engine.db)
    assert (told("WANTED"), told("FAILED")) == (1, 0)
