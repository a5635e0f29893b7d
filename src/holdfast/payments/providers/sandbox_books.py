"""The books of the sandbox, and what happens in them: somebody pays, declines, is slow, disputes; money comes and goes back.

Every change writes its events in its own transaction, as jobs that will tell Holdfast by webhook (`sandbox.py`).
"""

import secrets
from datetime import datetime, timedelta
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec

from holdfast.payments.provider import Attempt, ProviderRefused, RefundState, State, Wish
from holdfast.platform import clock, jobs
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.errors import NotFound
from holdfast.platform.ids import new_id

Webhooks = Literal["once", "twice", "late", "never"]
Refunds = Literal["settle", "later", "fail", "refuse"]
WEBHOOKS: tuple[Webhooks, ...] = get_args(Webhooks)
REFUNDS: tuple[Refunds, ...] = get_args(Refunds)
SECONDS_MAX = 3600
# What somebody "reads on their telephone".
CODE = "123456"
GUESSES_MAX = 3
# A webhook that is told late, and a refund that takes its time.
WEBHOOK_LATE_SECONDS = 30
REFUND_SECONDS = 5
# The last two digits of a refund's amount that decide what becomes of it, whatever was chosen.
TEST_REFUNDS: dict[int, Refunds] = {71: "later", 72: "fail", 73: "refuse"}
PAGE = 500
SEND, DUE = "sandbox.send", "sandbox.due"

sql = load_queries(__file__)


class SandboxPaymentNotFound(NotFound):
    code = "sandbox_payment_not_found"
    title = "The sandbox knows no such payment."


class Payment(msgspec.Struct, frozen=True):
    """A row of the books. `money_at`: money is on its way and will be there then."""

    ref: str
    payment_id: UUID
    show_id: UUID
    reference: str
    amount: int
    currency: str
    description: str
    return_url: str
    state: State
    reason: str | None
    money_at: datetime | None
    disputed: bool
    refunds: Refunds
    webhooks: Webhooks
    created_at: datetime


class Refund(msgspec.Struct, frozen=True):
    """A row of the books of refunds."""

    ref: str
    refund_id: UUID
    payment_ref: str
    show_id: UUID
    amount: int
    currency: str
    state: RefundState
    created_at: datetime


class PaymentTold(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says of a payment."""

    ref: str
    payment_id: UUID
    show_id: UUID
    amount: int
    currency: str
    state: State
    reason: str | None
    disputed: bool


class RefundTold(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says of a refund."""

    ref: str
    refund_id: UUID
    payment_id: UUID
    show_id: UUID
    amount: int
    currency: str
    state: RefundState


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of a webhook: `payment.succeeded`, `payment.declined`, `payment.closed`, `payment.disputed`,
    `refund.settled`, `refund.failed`.
    """

    id: str
    type: str
    created_at: str
    payment: PaymentTold | None = None
    refund: RefundTold | None = None


async def opened(db: Database, attempt: Attempt) -> Payment:
    """The payment of this attempt, made where there is none yet."""
    ref = f"sbx_{secrets.token_hex(12)}"
    await db.execute(
        sql.payment_opened, ref, attempt.payment_id, attempt.show_id, attempt.booking_id, attempt.reference,
        attempt.amount, attempt.currency, attempt.description[:500], attempt.return_url,
    )  # fmt: skip
    row = await db.row(sql.payment_of_id, attempt.payment_id)
    assert row is not None
    return Payment(*row)


async def seen(db: Database, ref: str) -> Payment:
    """The payment as it stands now, with money that was due on it. Raises SandboxPaymentNotFound."""
    row = await db.row(sql.payment_of_ref, ref)
    if row is not None and row["money_at"] is not None and row["money_at"] <= clock.now():
        async with db.transaction() as tx:
            return await arrive(tx, ref)
    return _payment(row)


async def arrive(tx: Transaction, ref: str) -> Payment:
    """Puts money that is due where it belongs, and says how the payment stands. Raises SandboxPaymentNotFound."""
    arrived = await tx.execute(sql.money_arrived, ref)
    payment = _payment(await tx.row(sql.payment_of_ref, ref))
    if arrived:
        await _tell(tx, "payment.succeeded", payment)
    return payment


async def close(db: Database, ref: str) -> Payment:
    """Lets nobody pay any more; says how the payment stands then. Raises SandboxPaymentNotFound."""
    async with db.transaction() as tx:
        await arrive(tx, ref)
        closed = await tx.execute(sql.payment_closed, ref)
        payment = _payment(await tx.row(sql.payment_of_ref, ref))
        if closed:
            await _tell(tx, "payment.closed", payment)
        return payment


async def choose(tx: Transaction, ref: str, webhooks: Webhooks, refunds: Refunds) -> None:
    """How the events of this payment are told from now on, and what becomes of its refunds."""
    await tx.execute(sql.choices_kept, ref, webhooks, refunds)


async def pay(tx: Transaction, ref: str) -> None:
    """The money is there. What has ended, or is on its way, stays as it is; so it is with the next two."""
    await _went_on(tx, ref, "succeeded", "payment.succeeded")


async def decline(tx: Transaction, ref: str, reason: str) -> None:
    """This try failed; another may be made."""
    await _went_on(tx, ref, "declined", "payment.declined", reason=reason)


async def pay_slowly(tx: Transaction, ref: str, seconds: int, *, stoppable: bool) -> None:
    """The money will be there in so many seconds, unless it can be stopped and the payment is closed before."""
    await _went_on(tx, ref, "open", None, seconds=seconds, stoppable=stoppable)


async def begin_check(tx: Transaction, ref: str) -> None:
    """A code will be asked for; there are three tries."""
    await _went_on(tx, ref, "open", None)


async def guess(tx: Transaction, ref: str, code: str) -> bool:
    """Pays if this is the code; a third wrong one declines. Says whether it was the code."""
    if code == CODE:
        await pay(tx, ref)
        return True
    if await tx.value(sql.guess_counted, ref) == GUESSES_MAX:
        await _tell(tx, "payment.declined", _payment(await tx.row(sql.payment_of_ref, ref)))
    return False


async def dispute(tx: Transaction, ref: str) -> None:
    """Whoever paid asks their bank for the money."""
    if await tx.execute(sql.payment_disputed, ref):
        await _tell(tx, "payment.disputed", _payment(await tx.row(sql.payment_of_ref, ref)))


async def refund(db: Database, wish: Wish) -> Refund:
    """The refund of this id, made where there is none yet.

    Raises ProviderRefused when there is not so much to give back, or when refunds of this payment are refused.
    """
    async with db.transaction() as tx:
        await tx.row(sql.payment_locked, wish.ref)
        payment = await arrive(tx, wish.ref)
        row = await tx.row(sql.refund_of_id, wish.ref, wish.refund_id)
        if row is not None:
            if row["amount"] != wish.amount:
                raise ProviderRefused("sandbox: a refund of this id has another amount")
            return Refund(*row)
        what = TEST_REFUNDS.get(wish.amount % 100, payment.refunds)
        left = payment.amount - await tx.value(sql.refunded_sum, wish.ref)
        if what == "refuse" or payment.state != "succeeded" or wish.amount > left:
            raise ProviderRefused("sandbox: refund_refused")
        ref = f"sbr_{secrets.token_hex(12)}"
        seconds = None if what == "settle" else REFUND_SECONDS
        ends_as = {"settle": None, "later": "settled", "fail": "failed"}[what]
        await tx.execute(
            sql.refund_made, ref, wish.refund_id, wish.ref, wish.show_id, wish.amount, wish.currency, seconds, ends_as
        )  # fmt: skip
        made = Refund(*(await tx.row(sql.refund_of_ref, ref) or ()))
        if seconds is None:
            await _tell(tx, "refund.settled", payment, made)
        else:
            await _come_back(tx, {"refund": ref}, seconds)
        return made


async def seen_refund(db: Database, ref: str) -> Refund:
    """The refund as it stands now. Raises SandboxPaymentNotFound."""
    async with db.transaction() as tx:
        return await end_refund(tx, ref)


async def end_refund(tx: Transaction, ref: str) -> Refund:
    """Ends a refund that is due, and says how it stands. Raises SandboxPaymentNotFound."""
    ended = await tx.execute(sql.refund_ended, ref)
    row = await tx.row(sql.refund_of_ref, ref)
    if row is None:
        raise SandboxPaymentNotFound
    made = Refund(*row)
    if ended:
        payment = _payment(await tx.row(sql.payment_of_ref, made.payment_ref))
        await _tell(tx, f"refund.{made.state}", payment, made)
    return made


async def payments(
    db: Database, since: datetime, until: datetime, after: tuple[datetime, str]
) -> list[Payment]:
    """Up to PAGE payments that were opened in this time, behind `(created_at, ref)`."""
    return [Payment(*row) for row in await db.rows(sql.payments_listed, since, until, *after, PAGE)]


async def refunds(
    db: Database, since: datetime, until: datetime, after: tuple[datetime, str]
) -> list[Refund]:
    """Up to PAGE refunds that were made in this time, behind `(created_at, ref)`."""
    return [Refund(*row) for row in await db.rows(sql.refunds_listed, since, until, *after, PAGE)]


def _payment(row: Any) -> Payment:
    if row is None:
        raise SandboxPaymentNotFound
    return Payment(*row)


async def _went_on(
    tx: Transaction,
    ref: str,
    state: State,
    told: str | None,
    *,
    reason: str | None = None,
    seconds: int | None = None,
    stoppable: bool = True,
) -> None:
    if not await tx.execute(sql.payment_went_on, ref, state, reason, seconds, stoppable):
        return
    if told is not None:
        await _tell(tx, told, _payment(await tx.row(sql.payment_of_ref, ref)))
    if seconds is not None:
        await _come_back(tx, {"payment": ref}, seconds)


async def _come_back(tx: Transaction, payload: dict[str, str], seconds: int) -> None:
    await jobs.enqueue(tx, DUE, payload, run_at=clock.now() + timedelta(seconds=seconds))


async def _tell(tx: Transaction, kind: str, payment: Payment, made: Refund | None = None) -> None:
    """Writes the event, as often and as late as was chosen for this payment."""
    event = Event(
        id=f"sbe_{new_id().hex}",
        type=kind,
        created_at=clock.rfc3339(clock.now()),
        payment=told(payment) if made is None else None,
        refund=None
        if made is None
        else RefundTold(payment_id=payment.payment_id, **_shared(made, RefundTold)),
    )
    late = clock.now() + timedelta(seconds=WEBHOOK_LATE_SECONDS) if payment.webhooks == "late" else None
    times = {"once": 1, "twice": 2, "late": 1, "never": 0}[payment.webhooks]
    await jobs.enqueue_many(tx, [(new_id(), SEND, msgspec.to_builtins(event), late) for _ in range(times)])


def told(payment: Payment) -> PaymentTold:
    """The payment as events tell it."""
    return PaymentTold(**_shared(payment, PaymentTold))


def _shared(row: msgspec.Struct, kind: type[msgspec.Struct]) -> dict[str, Any]:
    names = set(kind.__struct_fields__)
    return {name: value for name, value in msgspec.structs.asdict(row).items() if name in names}
