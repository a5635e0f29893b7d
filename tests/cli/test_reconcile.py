"""`holdfast reconcile`: every way in which two books can differ is told, and books that agree are quiet."""

import json
from datetime import timedelta
from typing import Any

import pytest

from holdfast import booking, payments
from holdfast.booking import Booking, RefundSpec
from holdfast.engine import Engine
from holdfast.payments import Difference, Listed, attempts
from holdfast.platform import clock
from holdfast.platform.db import Database
from holdfast.platform.ids import new_id
from tests.cli.running import SECRET, environment, holdfast
from tests.till import Till, a_show, pay, sold

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bought(engine: Engine) -> Booking:
    return await sold(engine, await a_show(engine), seats=["A-1", "A-2"])


@pytest.fixture
async def till(engine: Engine, bought: Booking) -> Till:
    """Its books have the payment of that booking."""
    made = Till()
    [paid] = await payments.payments_of(engine.db, bought.show_id, bought.booking_id)
    made.books.append(entry_of(paid))
    return made


def entry_of(paid: payments.Payment, **changes: Any) -> Listed:
    fields: dict[str, Any] = {
        "kind": "payment", "ref": paid.ref, "amount": paid.amount, "currency": paid.currency, "state": "succeeded",
        "created_at": paid.created_at, "id": paid.payment_id, "show_id": paid.show_id,
    }  # fmt: skip
    return Listed(**{**fields, **changes})


async def found(engine: Engine, till: Any, **more: Any) -> list[Difference]:
    now = clock.now()
    return [
        each
        async for each in payments.reconcile(
            engine.db, till, now - timedelta(days=1), now + timedelta(minutes=1), **more
        )
    ]


async def wanted(engine: Engine, bought: Booking, **spec: Any) -> payments.Refund:
    async with engine.db.transaction() as tx:
        return await booking.refund(tx, bought.show_id, bought.booking_id, RefundSpec(**spec), None)


async def carried_out(engine: Engine, till: Any, refund: payments.Refund) -> None:
    """What the job does, without the job."""
    begun = await payments.begin_refund(engine.db, refund.show_id, refund.refund_id)
    assert begun is not None
    seen = await till.refund(begun.wish)
    async with engine.db.transaction() as tx:
        await booking.refund_seen(tx, engine.office, refund.show_id, refund.refund_id, seen)


async def test_books_that_agree_are_quiet(engine: Engine, till: Till, bought: Booking) -> None:
    await carried_out(engine, till, await wanted(engine, bought, numbers=[1]))
    assert await found(engine, till) == []


async def test_money_that_is_not_known_here(engine: Engine, till: Till) -> None:
    at = clock.now()
    till.books += [
        Listed(kind="payment", ref="pi_9", amount=500, currency="EUR", state="succeeded", created_at=at, id=new_id(), show_id=new_id()),
        Listed(kind="payment", ref="pi_8", amount=500, currency="EUR", state="open", created_at=at),
        Listed(kind="refund", ref="re_9", amount=7, currency="EUR", state="settled", created_at=at),
        Listed(kind="refund", ref="re_old", amount=7, currency="EUR", state="settled", created_at=at - timedelta(days=1, minutes=5)),
    ]  # fmt: skip
    told = [(each.fault, each.kind, each.ref, each.here, each.there) for each in await found(engine, till)]
    assert told == [
        ("missing here", "payment", "pi_9", None, "succeeded 500 EUR"),
        ("missing here", "refund", "re_9", None, "settled 7 EUR"),
    ], "an attempt without money is nobody's loss"
    assert [each.ref for each in await found(engine, till, ours_alone=True)] == ["pi_9"]


async def test_money_that_is_not_known_there(engine: Engine, till: Till, bought: Booking) -> None:
    refund = await wanted(engine, bought, numbers=[1])
    await carried_out(engine, till, refund)
    till.books.clear()
    till.refunds.clear()
    told = [(each.fault, each.kind, each.id, each.here, each.there) for each in await found(engine, till)]
    [paid] = await payments.payments_of(engine.db, bought.show_id, bought.booking_id)
    assert told == [
        ("missing there", "payment", paid.payment_id, "SUCCEEDED 2000 EUR", None),
        ("missing there", "refund", refund.refund_id, "SETTLED 1000 EUR", None),
    ]


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"amount": 1999}, ("amount", "2000 EUR", "1999 EUR")),
        ({"currency": "USD"}, ("amount", "2000 EUR", "2000 USD")),
        ({"state": "closed"}, ("state", "SUCCEEDED", "closed")),
    ],
)
async def test_a_payment_that_differs(
    engine: Engine, till: Till, changes: dict[str, Any], told: tuple[str, str, str]
) -> None:
    till.books = [
        Listed(**{name: getattr(till.books[0], name) for name in Listed.__struct_fields__} | changes)
    ]
    assert [(each.fault, each.here, each.there) for each in await found(engine, till)] == [told]


async def test_money_for_an_attempt_that_is_thought_closed(
    engine: Engine, till: Till, bought: Booking
) -> None:
    """The one that matters most: money is there, and nobody here knows."""
    begun = await pay(engine.db, bought)
    await engine.db.execute("update payments set state = 'CLOSED' where payment_id = $1", begun.payment_id)
    till.books.append(entry_of(begun))
    [difference] = await found(engine, till)
    assert (difference.fault, difference.id, difference.here, difference.there) == (
        "state", begun.payment_id, "CLOSED", "succeeded",
    )  # fmt: skip


async def test_a_payment_whose_ref_was_never_heard_is_found_by_its_id(
    engine: Engine, till: Till, bought: Booking
) -> None:
    new = attempts.NewPayment(
        show_id=bought.show_id, booking_id=bought.booking_id, organizer_id=bought.organizer_id, provider="till",
        amount=5, currency="EUR", equal_places=False, description="Hamlet", return_url="https://holdfast.test/",
        expires_at=clock.now(),
    )  # fmt: skip
    async with engine.db.transaction() as tx:
        begun = await attempts.begin(tx, new)
    till.books.append(entry_of(begun, ref="pi_unheard"))
    [difference] = await found(engine, till)
    assert (difference.fault, difference.here, difference.there) == ("state", "CREATED", "succeeded")


@pytest.mark.parametrize("say, state", [("failed", "SETTLED"), ("pending", "SETTLED"), ("settled", "FAILED")])
async def test_a_refund_that_differs(
    engine: Engine, till: Till, bought: Booking, say: str, state: str
) -> None:
    refund = await wanted(engine, bought, numbers=[1])
    await carried_out(engine, till, refund)
    till.becomes(refund.refund_id, say)
    await engine.db.execute("update refunds set state = $1", state)
    assert [(each.fault, each.here, each.there) for each in await found(engine, till)] == [
        ("state", state, say)
    ]


async def test_what_is_only_wanted_or_was_refused_is_missed_by_nobody(
    engine: Engine, till: Till, bought: Booking
) -> None:
    await wanted(engine, bought, amount=5)
    refused = await wanted(engine, bought, amount=6)
    async with engine.db.transaction() as tx:
        await payments.fail_refund(tx, refused.show_id, refused.refund_id, "No.")
    assert await found(engine, till) == []


async def test_more_than_a_page(
    engine: Engine, till: Till, bought: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.payments.reconciling.PAGE", 2)
    paid = [await pay(engine.db, bought) for _ in range(5)]
    till.books += [entry_of(each) for each in paid[1:]]
    assert [(each.fault, each.id) for each in await found(engine, till)] == [
        ("missing there", paid[0].payment_id)
    ]
    till.books.append(entry_of(paid[0]))
    assert await found(engine, till) == []


# The command


@pytest.fixture
async def at_the_sandbox(engine: Engine, db: Database) -> payments.Payment:
    """A payment that the sandbox has taken, as it is in both books."""
    show = await a_show(engine)
    claimed = await booking.claim(
        engine.office, show, booking.ClaimRequest(seats=["A-1"]), booking.Asker(show.bytes)
    )
    paid = await pay(engine.db, claimed.booking)
    await db.execute("update payments set provider = 'sandbox'")
    await db.execute(
        """insert into sandbox_payments (ref, payment_id, show_id, booking_id, reference, amount, currency, description,
                                         return_url, state)
           values ($1, $2, $3, $4, 'R', $5, 'EUR', 'Hamlet', 'https://holdfast.test/', 'succeeded')""",
        paid.ref, paid.payment_id, paid.show_id, paid.booking_id, paid.amount,
    )  # fmt: skip
    return paid


def reconciled(database_url: str, *arguments: str) -> Any:
    environ = environment(
        HOLDFAST_DATABASE_URL=database_url, HOLDFAST_SECRET_KEY=SECRET, HOLDFAST_PAYMENTS="sandbox", COLUMNS="300"
    )  # fmt: skip
    return holdfast("reconcile", *arguments, environ=environ)


async def test_the_command_says_that_the_books_agree(at_the_sandbox: Any, database_url: str) -> None:
    done = reconciled(database_url)
    assert (done.returncode, done.stdout.strip()) == (0, "The books agree."), done.stderr


async def test_the_command_prints_what_differs_and_fails(
    at_the_sandbox: payments.Payment, db: Database, database_url: str
) -> None:
    await db.execute("update sandbox_payments set amount = 999")
    done = reconciled(database_url, "--provider", "sandbox")
    assert done.returncode == 1, done.stderr
    line = next(line for line in done.stdout.splitlines() if str(at_the_sandbox.payment_id) in line)
    assert line.split()[:7] == ["sandbox", "payment", "amount", "1000", "EUR", "999", "EUR"]
    as_json = reconciled(database_url, "--json")
    assert as_json.returncode == 1
    [told] = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert (told["provider"], told["fault"], told["id"]) == (
        "sandbox",
        "amount",
        str(at_the_sandbox.payment_id),
    )
    assert await db.value("select amount from payments") == 1000, "it changes nothing"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--provider", "stripe"], "stripe is not among the providers of HOLDFAST_PAYMENTS: sandbox."),
        (["--since", "2026-01-02", "--until", "2026-01-01"], "--since lies not before --until."),
        (["--since", "2020-01-01"], "are at most 92 days"),
        (["--since", "soon"], "Invalid value for '--since'"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_status_2(
    db: Database, database_url: str, arguments: list[str], said: str
) -> None:
    done = reconciled(database_url, *arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
