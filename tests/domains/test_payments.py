"""Payments: what providers say, in any order and number, and what the money buys when it comes in time, late, or twice."""

import random
from itertools import permutations
from typing import Any

import pytest

from holdfast import booking, payments
from holdfast.booking import (
    AlreadyPaid,
    Booking,
    HoldExpired,
    NothingToPay,
    PaymentInQuestion,
    PaymentsOff,
    ProviderRejected,
    ProviderUnavailable,
    TooManyAttempts,
)
from holdfast.booking.paying import ATTEMPTS_MAX
from holdfast.engine import Engine
from holdfast.payments import STEPS, Notice, Payment, RefundTooMuch, Seen, SeenRefund
from holdfast.platform import jobs
from holdfast.platform.db import CheckViolation
from holdfast.platform.errors import Invalid
from holdfast.platform.ids import ShowId, new_id
from tests.bank import Bank, Shopper
from tests.races import crowd
from tests.races.checker import violations
from tests.till import a_show

pytestmark = pytest.mark.anyio

STATES = {"CREATED", "OPEN", "DECLINED", "CLOSED", "SUCCEEDED", "MISMATCHED"}
SETTLED = ("payment.succeeded", "booking.confirmed", "payment.declined", "payment.disputed")


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.fixture
def shopper(engine: Engine, bank: Bank) -> Shopper:
    return Shopper(engine, bank)


@pytest.fixture
async def show(engine: Engine) -> ShowId:
    return await a_show(engine)


async def _held(shopper: Shopper, show: ShowId, *seats: str, **spec: Any) -> tuple[Booking, Payment]:
    held = await shopper.claim(show, seats=list(seats or ("A-1", "A-2")), tier="Adult")
    return held, await shopper.pay(held, **spec)


def _notice(payment: Payment, what: str, number: int = 0) -> Notice:
    """What the bank writes of a payment; `dispute` says of money that it was taken, and is disputed."""
    assert payment.ref is not None
    state = "succeeded" if what == "dispute" else what
    seen = Seen(
        ref=payment.ref, state=state, amount=payment.expected_amount, currency=payment.expected_currency,  # type: ignore[arg-type]
        payment_id=payment.payment_id, show_id=payment.show_id, charge="ch_1" if state == "succeeded" else None,
        reason="no_funds" if what == "declined" else None, disputed=what == "dispute",
    )  # fmt: skip
    return Notice(
        event_id=f"{what}-{number}-{payment.payment_id}", kind="dispute" if what == "dispute" else "payment",
        show_id=payment.show_id, payment_id=payment.payment_id, seen=seen,
    )  # fmt: skip


async def test_money_in_time_confirms(shopper: Shopper, show: ShowId, database_url: str) -> None:
    held, payment = await _held(shopper, show)
    assert (payment.state, payment.amount, payment.currency) == ("OPEN", 2000, "EUR")
    assert payment.way is not None and payment.way.url == f"https://bank.test/{payment.ref}"
    await shopper.paid(payment)
    assert (await shopper.booking(held)).status == "CONFIRMED"
    paid = await shopper.payment(payment)
    assert (paid.state, paid.charge, paid.settled_at is not None) == ("SUCCEEDED", f"ch_{paid.ref}", True)
    assert await shopper.facts(held) == ["payment.succeeded", "booking.confirmed"]
    assert await shopper.refunds(held) == []
    assert await violations(database_url) == []


async def _ended(shopper: Shopper, show: ShowId, sequence: list[str], *, number: int) -> tuple[Any, ...]:
    """Where a payment, its booking and its refund end that all this was written of."""
    held = await shopper.claim(show, quantity=1, area="Floor", tier="Standing")
    payment = await shopper.pay(held)
    copies: dict[str, int] = {}
    for what in sequence:
        # An event that comes twice is the same event, or another one that says the same.
        copies[what] = copies.get(what, -1) + 1
        same = _notice(payment, what, copies[what] if number % 2 else 0)
        await shopper.cashier.hear(shopper.bank, same)
    facts = sorted(await shopper.facts(held, *SETTLED))
    now = await shopper.payment(payment)
    return now.state, now.disputed_at is not None, (await shopper.booking(held)).status, facts


def _expected(heard: set[str]) -> tuple[Any, ...]:
    paid = bool(heard & {"succeeded", "dispute"})
    state = "SUCCEEDED" if paid else "CLOSED" if "closed" in heard else "DECLINED" if heard else "OPEN"
    facts = ["booking.confirmed", "payment.succeeded"] * paid + ["payment.disputed"] * ("dispute" in heard)
    return state, "dispute" in heard, "CONFIRMED" if paid else "PENDING", sorted(facts)


async def test_notices_in_any_order_and_number_end_in_the_same_state(
    shopper: Shopper, engine: Engine, database_url: str
) -> None:
    show = await _floor(engine)
    kinds = ("declined", "closed", "succeeded", "dispute")
    sequences = [list(order) for size in range(5) for order in permutations(kinds, size)]
    sequences += [[what for what in order for _ in range(2)] for order in permutations(kinds)]
    dice = random.Random(1)
    sequences += [[dice.choice(kinds) for _ in range(dice.randint(2, 8))] for _ in range(150)]
    for number, sequence in enumerate(sequences):
        *ended, facts = await _ended(shopper, show, sequence, number=number)
        *expected, of = _expected(set(sequence))
        # A decline that was overtaken is no news.
        declined = ["payment.declined"] if "payment.declined" in facts else []
        assert (ended, facts) == (expected, sorted(of + declined)), sequence
        assert "declined" in sequence or not declined
    assert await violations(database_url) == []


async def _floor(engine: Engine) -> ShowId:
    return await crowd.open_show(
        engine,
        areas=[{"name": "Floor", "kind": "standing", "capacity": 1000}],
        tiers=[{"area": "Floor", "name": "Standing", "amount": 500}],
    )


async def test_a_refund_is_settled_among_notices_in_any_order(shopper: Shopper, engine: Engine) -> None:
    show = await _floor(engine)
    for order in sorted(set(permutations(("succeeded", "declined", "closed", "refund", "refund")))):
        held = await shopper.claim(show, quantity=1, area="Floor", tier="Standing")
        payment = await shopper.pay(held)
        await shopper.paid(payment)
        async with shopper.engine.db.transaction() as tx:
            wanted = await payments.want_refund(tx, await shopper_payment(tx, payment), 100, "by_organizer")
        for number, what in enumerate(order):
            notice = _notice(payment, what if what != "refund" else "succeeded", number)
            if what == "refund":
                seen = SeenRefund(
                    ref="re_1", state="settled", amount=100, currency="EUR", refund_id=wanted.refund_id
                )
                notice = Notice(
                    event_id=f"r-{payment.payment_id}", kind="refund", show_id=show,
                    payment_id=payment.payment_id, refund_id=wanted.refund_id, seen=seen,
                )  # fmt: skip
            await shopper.cashier.hear(shopper.bank, notice)
        assert (await shopper.payment(payment)).state == "SUCCEEDED"
        assert (await shopper.booking(held)).status == "CONFIRMED"
        assert (await payments.refund_by_id(shopper.engine.db, show, wanted.refund_id)).state == "SETTLED"
        assert (await shopper.facts(held)).count("refund.settled") == 1


async def shopper_payment(tx: Any, payment: Payment) -> Payment:
    return await payments.payment_by_id(tx, payment.show_id, payment.payment_id)


async def test_a_notice_of_what_is_not_ours_is_left_alone(shopper: Shopper, show: ShowId) -> None:
    _, payment = await _held(shopper, show)
    notice = _notice(payment, "succeeded")
    assert isinstance(notice.seen, Seen)
    strangers = [
        Notice(event_id="1", kind="other"),
        Notice(event_id="2", kind="payment", show_id=show, payment_id=new_id(), seen=notice.seen),
        Notice(
            event_id="3", kind="payment", show_id=new_id(), payment_id=payment.payment_id, seen=notice.seen
        ),
        Notice(
            event_id="4",
            kind="refund",
            show_id=show,
            refund_id=new_id(),
            seen=SeenRefund(ref="re_1", state="settled", amount=100, currency="EUR"),
        ),
    ]
    for stranger in strangers:
        await shopper.cashier.hear(shopper.bank, stranger)
    assert (await shopper.payment(payment)).state == "OPEN"


async def test_a_provider_speaks_for_its_own_payments_alone(shopper: Shopper, show: ShowId) -> None:
    """What one provider signs moves no money of another: not even by ids that it should not know."""
    held, payment = await _held(shopper, show)
    other = Bank(name="other")
    await shopper.cashier.hear(other, _notice(payment, "succeeded"))
    assert ((await shopper.payment(payment)).state, (await shopper.booking(held)).status) == (
        "OPEN",
        "PENDING",
    )
    await shopper.paid(payment)
    async with shopper.engine.db.transaction() as tx:
        wanted = await payments.want_refund(tx, await shopper_payment(tx, payment), 100, "by_organizer")
    seen = SeenRefund(ref="re_1", state="settled", amount=100, currency="EUR", refund_id=wanted.refund_id)
    notice = Notice(event_id="r-1", kind="refund", show_id=show, refund_id=wanted.refund_id, seen=seen)
    await shopper.cashier.hear(other, notice)
    assert (await payments.refund_by_id(shopper.engine.db, show, wanted.refund_id)).state == "WANTED"
    await shopper.cashier.hear(shopper.bank, notice)
    assert (await payments.refund_by_id(shopper.engine.db, show, wanted.refund_id)).state == "SETTLED"


async def test_a_notice_without_our_ids_is_known_by_the_providers(shopper: Shopper, show: ShowId) -> None:
    held, payment = await _held(shopper, show)
    assert payment.ref is not None
    seen = Seen(ref=payment.ref, state="succeeded", amount=2000, currency="EUR", charge="ch_1")
    await shopper.cashier.hear(shopper.bank, Notice(event_id="1", kind="payment", seen=seen))
    assert (await shopper.booking(held)).status == "CONFIRMED"


@pytest.mark.parametrize("changes", [{"amount": 1999}, {"amount": 2001}, {"currency": "CHF"}], ids=str)
async def test_other_money_than_was_asked_for_confirms_nothing(
    shopper: Shopper, show: ShowId, changes: dict[str, Any]
) -> None:
    held, payment = await _held(shopper, show)
    await shopper.paid(payment, **changes)
    found = await shopper.payment(payment)
    assert found.state == "MISMATCHED"
    assert (found.amount, found.currency) == (changes.get("amount", 2000), changes.get("currency", "EUR"))
    assert (await shopper.booking(held)).status == "PENDING"
    assert await shopper.facts(held) == ["payment.mismatched"]
    with pytest.raises(PaymentInQuestion):
        await shopper.pay(held)
    # A person sends back what came, and not what was asked for.
    async with shopper.engine.db.transaction() as tx:
        with pytest.raises(RefundTooMuch):
            await payments.want_refund(tx, found, found.amount + 1, "by_organizer")
    async with shopper.engine.db.transaction() as tx:
        await payments.want_refund(tx, found, found.amount, "by_organizer")


async def test_the_price_is_that_of_the_hold_whatever_became_of_the_tier(
    shopper: Shopper, show: ShowId
) -> None:
    held = await shopper.claim(show, seats=["A-1"], tier="Adult")
    await shopper.engine.db.execute("update tiers set amount = 9999 where show_id = $1", show)
    payment = await shopper.pay(held)
    assert payment.expected_amount == 1000
    await shopper.paid(payment)
    assert (await shopper.booking(held)).status == "CONFIRMED"


async def test_the_provider_is_told_one_address_however_often_it_is_asked(
    shopper: Shopper, show: ShowId, bank: Bank
) -> None:
    held = await shopper.claim(show, seats=["A-1"])
    # Somebody says who they are between the look at the booking and the attempt; then the answer is lost.
    await shopper.engine.db.execute(
        "update bookings set email = 'grace@example.org' where booking_id = $1", held.booking_id
    )
    bank.lost = 1
    with pytest.raises(ProviderUnavailable):
        await shopper.pay(held)
    await shopper.pay(held)
    assert bank.emails == ["grace@example.org"] * 2


async def test_a_declined_card_leaves_the_hold_for_another_attempt(shopper: Shopper, show: ShowId) -> None:
    held, first = await _held(shopper, show)
    await shopper.paid(first, "declined", reason="card_declined")
    assert (await shopper.payment(first)).reason == "card_declined"
    assert (await shopper.booking(held)).status == "PENDING"
    second = await shopper.pay(held)
    assert second.payment_id != first.payment_id
    # Nobody can pay both.
    assert ((await shopper.payment(first)).state, ("close", first.ref) in shopper.bank.calls) == (
        "CLOSED",
        True,
    )
    await shopper.paid(second)
    assert (await shopper.booking(held)).status == "CONFIRMED"


async def test_an_open_attempt_is_answered_again(shopper: Shopper, show: ShowId) -> None:
    held, first = await _held(shopper, show)
    assert (await shopper.pay(held)).payment_id == first.payment_id
    assert len(shopper.bank.refs) == 1


async def test_the_second_payment_of_a_booking_goes_back(
    engine: Engine, show: ShowId, database_url: str
) -> None:
    other, bank = Bank(name="other"), Bank()
    shopper = Shopper(engine, bank)
    held, first = await _held(shopper, show)
    # The first cannot be closed, so that it is paid as well.
    bank.down = True
    elsewhere = Shopper(engine, other)
    elsewhere.cashier._providers = {"bank": bank, "other": other}
    second = await elsewhere.pay(held, provider="other")
    bank.down = False
    await elsewhere.paid(second)
    await shopper.paid(first)
    assert (await shopper.booking(held)).status == "CONFIRMED"
    assert await shopper.refunds(held) == [(first.payment_id, 2000, "second_payment")]
    assert (await shopper.facts(held)).count("booking.confirmed") == 1
    assert await violations(database_url) == []


async def test_late_money_finds_the_same_places(shopper: Shopper, show: ShowId, database_url: str) -> None:
    held, payment = await _held(shopper, show)
    await shopper.expire(held)
    view = await shopper.engine.office.views.get(show)
    assert not view.is_taken(held.seats[0])
    await shopper.paid(payment)
    sold = await shopper.booking(held)
    assert (sold.status, sold.reason, sold.seats, sold.version) == ("CONFIRMED", None, held.seats, 4)
    # Who looks sees them taken at once.
    view = await shopper.engine.office.views.get(show)
    assert all(view.is_taken(seat) for seat in held.seats)
    assert await shopper.refunds(held) == []
    assert await violations(database_url) == []


async def test_late_money_before_the_sweep_came_by(shopper: Shopper, show: ShowId, database_url: str) -> None:
    held, payment = await _held(shopper, show)
    await shopper.deadline_in(held, -0.001)
    await shopper.paid(payment)
    assert (await shopper.booking(held)).status == "CONFIRMED"
    assert await violations(database_url) == []


async def test_late_money_goes_back_when_somebody_else_has_the_places(
    shopper: Shopper, show: ShowId, database_url: str
) -> None:
    held, payment = await _held(shopper, show)
    await shopper.expire(held)
    await shopper.claim(show, seats=["A-2"], tier="Adult")
    await shopper.paid(payment)
    assert (await shopper.booking(held)).status == "FAILED"
    assert (await shopper.payment(payment)).state == "SUCCEEDED"
    assert await shopper.refunds(held) == [(payment.payment_id, 2000, "late")]
    assert await shopper.facts(held) == ["payment.succeeded", "refund.wanted"]
    assert await violations(database_url) == []


async def test_overdue_holds_of_others_do_not_stand_in_the_way(
    shopper: Shopper, show: ShowId, database_url: str
) -> None:
    held, payment = await _held(shopper, show)
    await shopper.expire(held)
    other = await shopper.claim(show, seats=["A-2", "A-3"], tier="Adult")
    await shopper.deadline_in(other, -0.001)
    await shopper.paid(payment)
    assert (await shopper.booking(held)).status == "CONFIRMED"
    assert (await shopper.booking(other)).reason == "expired"
    assert await violations(database_url) == []


async def test_equal_places_where_the_buyer_allowed_it(
    shopper: Shopper, show: ShowId, database_url: str
) -> None:
    held, payment = await _held(shopper, show, equal_places=True)
    await shopper.expire(held)
    rival = await shopper.claim(show, seats=["A-2", "A-4"], tier="Adult")
    await shopper.paid(payment)
    sold = await shopper.booking(held)
    # Side by side as they were, and no seat of anybody else.
    assert (sold.status, sold.tiers, sold.amounts, sold.areas) == (
        "CONFIRMED", held.tiers, held.amounts, held.areas,
    )  # fmt: skip
    assert sold.seats[1] == sold.seats[0] + 1
    assert not set(sold.seats) & {*rival.seats, *held.seats}
    assert await shopper.refunds(held) == []
    assert await violations(database_url) == []


async def test_no_equal_places_apart_for_those_who_sat_together(
    shopper: Shopper, show: ShowId, database_url: str
) -> None:
    held, payment = await _held(shopper, show, equal_places=True)
    await shopper.expire(held)
    # What is left is alone, B-1, B-3, B-5.
    await shopper.claim(show, seats=["A-2", "A-4", "B-2", "B-4"], tier="Adult")
    await shopper.paid(payment)
    assert (await shopper.booking(held)).status == "FAILED"
    assert await shopper.refunds(held) == [(payment.payment_id, 2000, "late")]
    assert await violations(database_url) == []


async def test_equal_places_apart_for_those_who_sat_apart(
    shopper: Shopper, show: ShowId, database_url: str
) -> None:
    held, payment = await _held(shopper, show, "A-1", "B-5", equal_places=True)
    await shopper.expire(held)
    await shopper.claim(show, seats=["A-1", "A-2", "A-4", "B-2", "B-4"], tier="Adult")
    await shopper.paid(payment)
    sold = await shopper.booking(held)
    assert (sold.status, len(set(sold.seats))) == ("CONFIRMED", 2)
    assert await violations(database_url) == []


async def test_late_money_for_standing_places(shopper: Shopper, engine: Engine, database_url: str) -> None:
    show = await crowd.open_show(
        engine, areas=[{"name": "Floor", "kind": "standing", "capacity": 4}],
        tiers=[{"area": "Floor", "name": "Standing", "amount": 500}],
    )  # fmt: skip
    lucky, unlucky = [await shopper.claim(show, quantity=2, tier="Standing") for _ in range(2)]
    first, second = await shopper.pay(lucky), await shopper.pay(unlucky, equal_places=True)
    await shopper.deadline_in(lucky, -0.001)
    await shopper.expire(unlucky)
    await shopper.claim(show, quantity=1, tier="Standing")
    await shopper.paid(first)
    await shopper.paid(second)
    assert (await shopper.booking(lucky)).status == "CONFIRMED"
    assert await shopper.refunds(unlucky) == [(second.payment_id, 1000, "late")]
    assert await violations(database_url) == []


async def test_money_for_what_was_let_go_goes_back(shopper: Shopper, show: ShowId, database_url: str) -> None:
    held, payment = await _held(shopper, show)
    async with shopper.engine.db.transaction() as tx:
        await booking.cancel(tx, shopper.engine.office, show, held.booking_id, "by_buyer", sold_too=False)
    await shopper.paid(payment)
    assert (await shopper.booking(held)).reason == "released"
    assert await shopper.refunds(held) == [(payment.payment_id, 2000, "late")]
    assert await violations(database_url) == []


@pytest.mark.parametrize(
    "statement",
    ["update shows set status = 'cancelled'", "update shows set start_time = now() - interval '1 s'"],
    ids=["cancelled", "begun"],
)
async def test_late_money_buys_nothing_of_a_show_that_is_over(
    shopper: Shopper, show: ShowId, statement: str
) -> None:
    held, payment = await _held(shopper, show)
    await shopper.expire(held)
    await shopper.engine.db.execute(statement)
    await shopper.paid(payment)
    assert (await shopper.booking(held)).status == "FAILED"
    assert await shopper.refunds(held) == [(payment.payment_id, 2000, "late")]


async def test_late_money_does_not_pass_the_limit_of_a_buyer(
    shopper: Shopper, engine: Engine, database_url: str
) -> None:
    show = await a_show(engine, max_places_per_buyer=2)
    customer = booking.Customer(email="guest@example.org")
    held = await shopper.claim(show, seats=["A-1", "A-2"], tier="Adult", customer=customer)
    payment = await shopper.pay(held)
    await shopper.expire(held)
    again = await shopper.claim(show, seats=["A-4"], tier="Adult", customer=customer)
    await shopper.paid(payment)
    assert (await shopper.booking(held)).status == "FAILED"
    assert await shopper.refunds(held) == [(payment.payment_id, 2000, "late")]
    assert await violations(database_url) == []
    async with engine.db.transaction() as tx:
        await booking.cancel(tx, engine.office, show, again.booking_id, "by_buyer", sold_too=False)


async def test_late_money_counts_for_the_buyer_as_bought(
    shopper: Shopper, engine: Engine, database_url: str
) -> None:
    show = await a_show(engine, max_places_per_buyer=2)
    customer = booking.Customer(email="guest@example.org")
    held = await shopper.claim(show, seats=["A-1", "A-2"], tier="Adult", customer=customer)
    payment = await shopper.pay(held)
    await shopper.expire(held)
    await shopper.paid(payment)
    assert (await shopper.booking(held)).status == "CONFIRMED"
    with pytest.raises(booking.LimitReached):
        await shopper.claim(show, seats=["A-4"], tier="Adult", customer=customer)
    # What was held is bought: it counts no more against the next hold. The checker counts places and seconds afresh.
    assert await violations(database_url) == []


async def test_paying_renews_the_hold_within_its_cap(shopper: Shopper, engine: Engine) -> None:
    show = await a_show(engine, hold_seconds=60, hold_seconds_max=150)
    held = await shopper.claim(show, seats=["A-1"], tier="Adult")
    await engine.db.execute(
        "update bookings set created_at = created_at - interval '50 s', expires_at = expires_at - interval '50 s'"
    )
    first = await shopper.pay(await shopper.booking(held))
    assert 58 < (await shopper.booking(held)).seconds_left <= 60
    await shopper.paid(first, "declined")
    await engine.db.execute(
        "update bookings set created_at = created_at - interval '50 s', expires_at = expires_at - interval '50 s'"
    )
    await shopper.pay(await shopper.booking(held))
    # 100 s are gone, so 50 are left of 150.
    assert 48 < (await shopper.booking(held)).seconds_left <= 50


async def test_paying_makes_no_hold_shorter(shopper: Shopper, engine: Engine) -> None:
    show = await a_show(engine, hold_seconds=600, hold_seconds_max=600)
    held = await shopper.claim(show, seats=["A-1"], tier="Adult")
    await engine.db.execute("update shows set hold_seconds = 10")
    engine.office.views.retired(show)
    await shopper.pay(held)
    assert (await shopper.booking(held)).expires_at == held.expires_at


async def test_what_cannot_be_paid(shopper: Shopper, engine: Engine, show: ShowId) -> None:
    held, payment = await _held(shopper, show)
    with pytest.raises(Invalid):
        await shopper.pay(held, provider="elsewhere")
    for stranger in ("https://evil.test/", "http://127.0.0.1:8000.evil.test/", "http://127.0.0.1:8000/#x"):
        with pytest.raises(Invalid):
            await shopper.pay(held, return_url=stranger)
    await shopper.paid(payment)
    with pytest.raises(AlreadyPaid):
        await shopper.pay(await shopper.booking(held))
    overdue = await shopper.claim(show, seats=["B-1"], tier="Adult")
    await shopper.deadline_in(overdue, -0.001)
    with pytest.raises(HoldExpired):
        await shopper.pay(overdue)
    free = await crowd.open_show(engine, total_seats=1)
    with pytest.raises(NothingToPay):
        await shopper.pay(await shopper.claim(free, quantity=1))
    nobody = Shopper(engine, Bank())
    nobody.cashier._providers = {}
    with pytest.raises(PaymentsOff):
        await nobody.pay(await shopper.claim(show, seats=["B-3"], tier="Adult"))


async def test_attempts_are_bounded(shopper: Shopper, show: ShowId) -> None:
    held = await shopper.claim(show, seats=["A-1"], tier="Adult")
    for _ in range(ATTEMPTS_MAX):
        await shopper.paid(await shopper.pay(held), "declined")
    with pytest.raises(TooManyAttempts):
        await shopper.pay(held)


async def test_a_provider_that_is_down_costs_no_hold(shopper: Shopper, show: ShowId) -> None:
    held = await shopper.claim(show, seats=["A-1"], tier="Adult")
    shopper.bank.down = True
    with pytest.raises(ProviderUnavailable) as refused:
        await shopper.pay(held)
    assert refused.value.retry_after
    assert (await shopper.booking(held)).status == "PENDING"
    shopper.bank.down, shopper.bank.lost = False, 1
    with pytest.raises(ProviderUnavailable):
        await shopper.pay(held)
    payment = await shopper.pay(held)
    # The bank had opened it the second time, and nobody heard so: it is the same attempt still.
    assert len(shopper.bank.refs) == 1
    await shopper.paid(payment)
    assert (await shopper.booking(held)).status == "CONFIRMED"


async def test_a_provider_that_refuses_ends_the_attempt(shopper: Shopper, show: ShowId) -> None:
    held = await shopper.claim(show, seats=["A-1"], tier="Adult")
    shopper.bank.refusal = "amount too small"
    with pytest.raises(ProviderRejected):
        await shopper.pay(held)
    shopper.bank.refusal = None
    attempts = await payments.payments_of(shopper.engine.db, show, held.booking_id)
    assert [(each.state, each.reason) for each in attempts] == [("CLOSED", "amount too small")]
    assert (await shopper.pay(held)).state == "OPEN"


async def test_a_notice_that_comes_before_the_answer(shopper: Shopper, show: ShowId) -> None:
    """The buyer is quicker than our own note of where to pay."""
    held = await shopper.claim(show, seats=["A-1"], tier="Adult")
    shopper.bank.lost = 1
    with pytest.raises(ProviderUnavailable):
        await shopper.pay(held)
    [ref] = shopper.bank.refs
    seen = shopper.bank.becomes_paid(ref)
    await shopper.cashier.hear(shopper.bank, Notice(event_id="1", kind="payment", seen=seen))
    assert (await shopper.booking(held)).status == "CONFIRMED"
    [payment] = await payments.payments_of(shopper.engine.db, show, held.booking_id)
    assert (payment.state, payment.ref) == ("SUCCEEDED", ref)


async def test_the_provider_is_asked_before_the_deadline(shopper: Shopper, show: ShowId) -> None:
    held, payment = await _held(shopper, show)
    assert payment.ref is not None
    again = await shopper.watch(payment)
    assert again is not None and 80 < again <= 90
    assert ("look", payment.ref) not in shopper.bank.calls
    # Paid, and every notice is lost.
    shopper.bank.becomes_paid(payment.ref)
    await shopper.deadline_in(held, 29)
    assert await shopper.watch(payment) is not None
    assert (await shopper.booking(held)).status == "CONFIRMED"
    assert await shopper.watch(payment) is None
    assert ("close", payment.ref) not in shopper.bank.calls


async def test_an_attempt_is_closed_at_its_deadline(
    shopper: Shopper, show: ShowId, database_url: str
) -> None:
    held, payment = await _held(shopper, show)
    await shopper.deadline_in(held, -0.001)
    assert await shopper.watch(payment) is None
    assert shopper.bank.calls[-1] == ("close", payment.ref)
    assert (await shopper.payment(payment)).state == "CLOSED"
    ended = await shopper.booking(held)
    assert (ended.status, ended.reason) == ("FAILED", "expired")
    assert await shopper.facts(held) == ["booking.expired"]
    assert await violations(database_url) == []


async def test_what_is_true_after_closing_decides(shopper: Shopper, show: ShowId) -> None:
    held, payment = await _held(shopper, show)
    assert payment.ref is not None
    await shopper.expire(held)
    shopper.bank.becomes_paid(payment.ref)
    assert await shopper.watch(payment) is None
    assert (await shopper.booking(held)).status == "CONFIRMED"
    assert await shopper.facts(held) == ["payment.succeeded", "booking.confirmed"]


async def test_the_watch_goes_on_while_the_provider_is_down(shopper: Shopper, show: ShowId) -> None:
    held, payment = await _held(shopper, show)
    assert payment.ref is not None
    await shopper.deadline_in(held, -0.001)
    shopper.bank.down = True
    assert await shopper.watch(payment) == 2.0
    await shopper.engine.db.execute("update payments set created_at = now() - interval '1 hour'")
    assert await shopper.watch(payment) == 300.0
    assert (await shopper.payment(payment)).state == "OPEN"
    await shopper.engine.db.execute("update payments set created_at = now() - interval '8 days'")
    with pytest.raises(jobs.Discard):
        await shopper.watch(payment)
    shopper.bank.down = False
    assert await shopper.watch(payment) is None
    assert (await shopper.payment(payment)).state == "CLOSED"


async def test_an_attempt_that_nobody_heard_of_again_is_opened_and_closed(
    shopper: Shopper, show: ShowId
) -> None:
    """The process died between asking the provider and writing its answer."""
    held = await shopper.claim(show, seats=["A-1"], tier="Adult")
    shopper.bank.lost = 1
    with pytest.raises(ProviderUnavailable):
        await shopper.pay(held)
    [payment] = await payments.payments_of(shopper.engine.db, show, held.booking_id)
    assert (payment.state, payment.ref) == ("CREATED", None)
    [ref] = shopper.bank.refs
    shopper.bank.becomes_paid(ref)
    await shopper.deadline_in(held, -0.001)
    assert await shopper.watch(payment) is None
    assert len(shopper.bank.refs) == 1
    assert (await shopper.booking(held)).status == "CONFIRMED"


async def test_whoever_lets_a_hold_go_can_pay_it_no_more(shopper: Shopper, show: ShowId) -> None:
    held, payment = await _held(shopper, show)
    async with shopper.engine.db.transaction() as tx:
        await booking.cancel(tx, shopper.engine.office, show, held.booking_id, "by_buyer", sold_too=False)
    due = "select count(*) from jobs where kind = 'payments.watch' and run_at <= now()"
    assert await shopper.engine.db.value(due) == 1
    assert await shopper.watch(payment) is None
    assert (await shopper.payment(payment)).state == "CLOSED"
    # It did not expire; nobody need be told of it.
    assert await shopper.facts(held) == []


async def test_the_last_attempt_alone_tells_of_the_end(shopper: Shopper, show: ShowId) -> None:
    held, first = await _held(shopper, show)
    await shopper.paid(first, "declined")
    second = await shopper.pay(held)
    await shopper.deadline_in(held, -0.001)
    assert await shopper.watch(first) is None
    assert await shopper.facts(held) == ["payment.declined"]
    assert await shopper.watch(second) is None
    assert await shopper.facts(held) == ["payment.declined", "booking.expired"]


async def test_the_return_page_asks_the_provider_and_not_too_often(shopper: Shopper, show: ShowId) -> None:
    held, payment = await _held(shopper, show)
    assert payment.ref is not None
    assert (await shopper.cashier.look(payment)).state == "OPEN"
    shopper.bank.becomes_paid(payment.ref)
    assert (await shopper.cashier.look(payment)).state == "OPEN"
    await shopper.engine.db.execute("update payments set looked_at = looked_at - interval '2 s'")
    assert (await shopper.cashier.look(payment)).state == "SUCCEEDED"
    assert (await shopper.booking(held)).status == "CONFIRMED"
    assert shopper.bank.calls.count(("look", payment.ref)) == 2


async def test_no_step_leads_out_of_an_end_but_for_money() -> None:
    assert set(STEPS) == STATES - {"CREATED"}
    assert all(not of & {"SUCCEEDED", "MISMATCHED"} for of in STEPS.values())
    assert {to for to, of in STEPS.items() if "CLOSED" in of} == {"SUCCEEDED", "MISMATCHED"}


@pytest.mark.parametrize(
    "broken",
    [
        "state = 'SUCCEEDED'",
        "state = 'SUCCEEDED', charge = 'c', settled_at = now(), amount = amount + 1",
        "state = 'OPEN', ref = null",
        "state = 'PAID'",
        "amount = amount + 1",
    ],
)
async def test_a_payment_stands_only_where_a_step_leads(shopper: Shopper, show: ShowId, broken: str) -> None:
    await _held(shopper, show)
    with pytest.raises(CheckViolation):
        await shopper.engine.db.execute(f"update payments set {broken}")


async def test_old_notices_are_forgotten(shopper: Shopper, show: ShowId) -> None:
    _, payment = await _held(shopper, show)
    for number in range(3):
        await shopper.cashier.hear(shopper.bank, _notice(payment, "succeeded", number))
    await shopper.engine.db.execute(
        "update payment_events set received_at = now() - interval '91 days' where event_id like '%-0-%'"
    )
    assert await payments.prune_events(shopper.engine.db) == 1
    assert await shopper.engine.db.value("select count(*) from payment_events") == 2
