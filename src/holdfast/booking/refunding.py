"""What refunds mean for places and tickets: who asks for one, the job that sees it through, and how it ends.

Tickets that go with the money admit nobody while the refund is under way. They end when the provider says that the money
has gone back, and only then do their places leave the booking; when it says that it will not, they are valid again. The
money of a booking is locked before the booking itself: refund, payment, head, booking, tickets.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import payments, tickets
from holdfast.accounts import Note
from holdfast.booking.blocks import keep
from holdfast.booking.delivery import sale_of
from holdfast.booking.lifecycle import (
    Booking,
    BookingNotFound,
    EndReason,
    booking_by_id,
    booking_from,
    cancel,
)
from holdfast.booking.office import Office
from holdfast.booking.shows import END_BOOKINGS
from holdfast.booking.view import Change
from holdfast.payments import (
    Begun,
    Provider,
    ProviderDown,
    ProviderRefused,
    Refund,
    Refundable,
    RefundTooMuch,
    SeenRefund,
)
from holdfast.platform import broadcast, jobs, outbox, telemetry
from holdfast.platform.db import Database, Transaction, load_queries, no_transaction_is_open
from holdfast.platform.errors import Busy, Conflict, Forbidden, Invalid
from holdfast.platform.ids import BookingId, PersonId, ShowId, new_id

sql = load_queries(__file__, "refunds.sql")
heads = load_queries(__file__)
log = telemetry.log("booking")

# A job ends so many bookings of a cancelled show; one that could not be ended has a job of its own.
END_PAGE = 500
END_BOOKING = "booking.end_one"

# A provider that is down is asked again after a quarter of the time since the refund was wanted, within these bounds.
DOWN_SECONDS = (1.0, 900.0)
# A bank may take ten days over what a provider calls pending.
PENDING_SECONDS = (2.0, 6 * 3600.0)
# Then a person must look: the job becomes a dead letter, and the refund stays SENT.
REFUND_DAYS_MAX = 30


class NothingToRefund(Conflict):
    """No money was taken for it, or all of it went back or is on its way, or the buyer's bank decides about it."""

    code = "nothing_to_refund"
    title = "There is no money of this booking that could go back."


class PlacesNotRefundable(Conflict):
    """`numbers` names the tickets that ended before, or that a refund is under way for."""

    code = "places_not_refundable"
    title = "Some of these tickets have ended, or a refund is under way for them."


Number = Annotated[int, Meta(ge=1, le=10_000)]


class RefundSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What goes back: `all` of the booking, the tickets with these `numbers`, or an `amount` alone.

    Of `all` and `numbers`, `amount` says how much of the money goes back where it is not what was paid. `payment_id`: of which
    payment; by default that which most is left of and nobody disputes. With `release` the places are for sale again, without
    it they become a block. `note` is for staff, and buyers see it.
    """

    all: bool = False
    numbers: Annotated[list[Number], Meta(min_length=1, max_length=10_000)] | None = None
    amount: Annotated[int, Meta(ge=1, le=1_000_000_000_000)] | None = None
    payment_id: UUID | None = None
    release: bool = True
    note: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


async def refund(
    tx: Transaction, show_id: ShowId, booking_id: BookingId, spec: RefundSpec, by: PersonId | None
) -> Refund:
    """Wants a refund of one payment of a booking: of that which most is left of, where none is named.

    Raises BookingNotFound, Invalid, NothingToRefund, RefundTooMuch, and PlacesNotRefundable for tickets that ended or
    that another refund is under way for.
    """
    if spec.all and spec.numbers is not None:
        raise Invalid("Give all or numbers.", pointer="/numbers")
    if not spec.all and spec.numbers is None and spec.amount is None:
        raise Invalid("Give all, numbers or an amount.", pointer="/all")
    found = await payments.refundable(tx, show_id, booking_id)
    booking = await _locked(tx, show_id, booking_id)
    paid = _chosen(found, spec.payment_id)
    if paid is None:
        raise NothingToRefund
    numbers = await _suspended(tx, booking, spec)
    amount = spec.amount
    if amount is None:
        price = paid.left if spec.all else sum(booking.amounts[number - 1] for number in numbers or ())
        amount = min(price, paid.left)
    elif amount > paid.left:
        raise RefundTooMuch(left=paid.left, currency=paid.currency)
    elif booking.status == "CONFIRMED" and numbers is None and amount == sum(each.left for each in found):
        raise Invalid("That is everything that was paid: ask for all.", pointer="/amount")
    if amount == 0:
        raise NothingToRefund
    return await payments.want_refund(
        tx, paid, amount, "by_organizer", numbers=numbers, release=spec.release, by=by, note=spec.note
    )  # fmt: skip


async def retry_refund(
    tx: Transaction, show_id: ShowId, booking_id: BookingId, refund_id: UUID, by: PersonId | None
) -> Refund:
    """Tries once more what failed, as a new refund. Raises RefundNotFound, RefundNotFailed, RefundTooMuch, and
    PlacesNotRefundable when a ticket ended since.
    """
    failed = await payments.refund_by_id(tx, show_id, refund_id)
    if failed.booking_id != booking_id:
        raise payments.RefundNotFound
    again = await payments.retry_refund(tx, failed, by)
    if again.numbers:
        booking = await _locked(tx, show_id, booking_id)
        if booking.status == "CONFIRMED":
            await _suspend_exactly(tx, booking, again.numbers)
    return again


async def call_off(
    tx: Transaction,
    office: Office,
    found: Booking,
    reason: EndReason,
    *,
    by: PersonId | None = None,
    may_refund: bool = True,
    note: Note | None = None,
) -> Booking:
    """Ends a booking: at once where nobody paid for it by a provider, else by refunding all that is left of the money.

    A paid one stays CONFIRMED, with suspended tickets, until the money has gone back. Raises BookingNotFound, Busy, and
    Forbidden for a paid one without `may_refund`.
    """
    show_id, booking_id = found.show_id, found.booking_id
    paid = await payments.refundable(tx, show_id, booking_id)
    await tx.row(heads.lock_head, show_id)
    booking = await _locked(tx, show_id, booking_id)
    if not paid and await payments.has_money(tx, show_id, booking_id):
        # By an attempt that was begun and paid between the two locks.
        raise Busy("The booking is being paid for at this moment.", retry_after=1)
    if not paid or booking.status != "CONFIRMED":
        return await cancel(tx, office, show_id, booking_id, reason, sold_too=True, note=note)
    if not may_refund:
        raise Forbidden("It was paid for: cancelling it is a refund, which you may not make.")
    numbers: list[int] | None = await tickets.suspend(tx, sale_of(booking), _numbers_left(booking)) or None
    refunds = []
    for each in sorted(paid, key=lambda one: one.left, reverse=True):
        if each.left and not each.disputed:
            refunds.append(
                await payments.want_refund(tx, each, each.left, reason, numbers=numbers, release=True, by=by)
            )
            numbers = None
    if note is not None:
        for wanted in refunds:
            await note(before={"status": booking.status}, after=refund_amounts(wanted))
    if numbers and not refunds:
        # The money went back before, or is in dispute: nothing to wait for.
        await _take_off(tx, office, show_id, booking_id, numbers, reason, keep_for=None)
        if note is not None:
            await note(before={"status": booking.status}, after={"numbers": numbers, "reason": reason})
    return await booking_by_id(tx, show_id, booking_id)


async def end_all(office: Office, job: jobs.Job, db: Database) -> None:
    """The job of a cancelled show: ends END_PAGE of its live bookings, and leaves those behind them to a job like this one.

    A booking that cannot be ended holds up no other: a job of its own tries again. Done again, when it dies on the way, it
    refunds nothing twice: what is on its way back is not left any more.
    """
    show_id = ShowId(UUID(job.payload["show_id"]))
    after = UUID(job.payload.get("after") or "0" * 32)
    rows = await db.rows(sql.live_bookings, show_id, after, END_PAGE)
    stuck: list[BookingId] = []
    for row in rows:
        try:
            await _end(office, db, show_id, row["booking_id"])
        except Busy:
            raise
        except Exception:
            log.exception("booking not ended", show_id=show_id, booking_id=row["booking_id"])
            stuck.append(row["booking_id"])
    about = {"show_id": str(show_id)}
    async with db.transaction() as tx:
        for booking_id in stuck:
            await jobs.enqueue(tx, END_BOOKING, {**about, "booking_id": str(booking_id)})
        if len(rows) == END_PAGE:
            await jobs.enqueue(tx, END_BOOKINGS, {**about, "after": str(rows[-1]["booking_id"])})
        await jobs.finish(tx, job)


async def end_one(office: Office, job: jobs.Job, db: Database) -> None:
    """The job of one booking of a cancelled show, which could not be ended with the others."""
    await _end(office, db, ShowId(UUID(job.payload["show_id"])), BookingId(UUID(job.payload["booking_id"])))


async def _end(office: Office, db: Database, show_id: ShowId, booking_id: BookingId) -> None:
    async with db.transaction() as tx:
        await call_off(tx, office, await booking_by_id(tx, show_id, booking_id), "show_cancelled")


async def refund_seen(
    tx: Transaction, office: Office, show_id: ShowId, refund_id: UUID, seen: SeenRefund
) -> None:
    """Has what a provider says of a refund come true: by a webhook or an answer, in any order and any number of times."""
    match seen.state:
        case "pending":
            await payments.note_refund(tx, show_id, refund_id, ref=seen.ref, problem=None)
        case "settled":
            settled = await payments.settle_refund(tx, show_id, refund_id, seen)
            if settled is not None and settled.numbers:
                await _take_off(
                    tx, office, show_id, settled.booking_id, settled.numbers, _end_of(settled),
                    keep_for=None if settled.release else settled,
                )  # fmt: skip
        case "failed":
            failed = await payments.fail_refund(
                tx, show_id, refund_id, seen.reason, ref=seen.ref, settled_too=True
            )
            if failed is not None:
                await _restore(tx, failed)


class Refunder:
    """Sees refunds through at the providers."""

    def __init__(self, office: Office, providers: Mapping[str, Provider]) -> None:
        self._office = office
        self._providers = providers

    async def carry_out(self, job: jobs.Job, db: Database) -> None:
        """The job of one refund: asks the provider, and comes back until there is an end.

        However often it dies on the way, the provider is asked with the same id, and sends the money once.
        """
        show_id, refund_id = ShowId(UUID(job.payload["show_id"])), UUID(job.payload["refund_id"])
        begun = await payments.begin_refund(db, show_id, refund_id)
        if begun is None:
            return
        try:
            seen = await self._asked(begun)
        except ProviderDown as down:
            await payments.note_refund(
                db, show_id, refund_id, ref=None, problem=str(down) or "The provider did not answer."
            )
            raise self._later(begun, DOWN_SECONDS) from down
        except ProviderRefused as refused:
            async with db.transaction() as tx:
                failed = await payments.fail_refund(tx, show_id, refund_id, str(refused))
                if failed is not None:
                    await _restore(tx, failed)
                await jobs.finish(tx, job)
            return
        async with db.transaction() as tx:
            await refund_seen(tx, self._office, show_id, refund_id, seen)
            over = (await payments.refund_by_id(tx, show_id, refund_id)).is_over
            if over:
                await jobs.finish(tx, job)
        if not over:
            raise self._later(begun, PENDING_SECONDS)

    async def _asked(self, begun: Begun) -> SeenRefund:
        refund = begun.refund
        provider = self._providers.get(refund.provider)
        if provider is None:
            raise ProviderDown(f"{refund.provider} is not among the providers of HOLDFAST_PAYMENTS.")
        assert no_transaction_is_open()
        if refund.ref is not None:
            try:
                return await provider.look_refund(refund.refund_id, refund.ref)
            except ProviderRefused as refused:
                # It knew the refund once, so this is no word on the money.
                raise ProviderDown(f"The refund cannot be looked at: {refused}") from refused
        return await provider.refund(begun.wish)

    def _later(self, begun: Begun, bounds: tuple[float, float]) -> Exception:
        if begun.age_seconds > timedelta(days=REFUND_DAYS_MAX).total_seconds():
            return jobs.Discard(f"The refund has no end after {REFUND_DAYS_MAX} days. Ask the provider.")
        shortest, longest = bounds
        return jobs.Later(min(max(begun.age_seconds / 4, shortest), longest))


def refund_amounts(refund: Refund) -> dict[str, object]:
    """What an entry of the audit says of a refund."""
    return {
        "refund_id": refund.refund_id,
        "payment_id": refund.payment_id,
        "amount": refund.amount,
        "currency": refund.currency,
        "numbers": refund.numbers,
        "release": refund.release,
        "state": refund.state,
    }


async def _locked(tx: Transaction, show_id: ShowId, booking_id: BookingId) -> Booking:
    row = await tx.row(sql.lock_booking, show_id, booking_id)
    if row is None:
        raise BookingNotFound
    return booking_from(row)


def _chosen(found: Sequence[Refundable], payment_id: UUID | None) -> Refundable | None:
    # Disputed money goes back only when it is named: by who knows that the dispute was won.
    able = [
        each
        for each in found
        if each.left and (each.payment_id == payment_id or (payment_id is None and not each.disputed))
    ]
    return max(able, key=lambda each: each.left, default=None)


def _numbers_left(booking: Booking) -> list[int]:
    return [number for number in range(1, len(booking.areas) + 1) if number not in (booking.given_back or ())]


async def _suspended(tx: Transaction, booking: Booking, spec: RefundSpec) -> list[int] | None:
    """The tickets that go with the money, which admit nobody from now on; None where it goes alone."""
    if spec.numbers is not None:
        if booking.status != "CONFIRMED":
            raise PlacesNotRefundable(numbers=sorted(set(spec.numbers)))
        beyond = [i for i, number in enumerate(spec.numbers) if number > len(booking.areas)]
        if beyond:
            raise Invalid("The booking has no such ticket.", pointer=f"/numbers/{beyond[0]}")
        return await _suspend_exactly(tx, booking, sorted(set(spec.numbers)))
    if spec.all and booking.status == "CONFIRMED":
        return await tickets.suspend(tx, sale_of(booking), _numbers_left(booking)) or None
    return None


async def _suspend_exactly(tx: Transaction, booking: Booking, numbers: Sequence[int]) -> list[int]:
    wanted = set(numbers) - set(booking.given_back or ())
    changed = await tickets.suspend(tx, sale_of(booking), sorted(wanted)) if wanted else []
    if len(changed) < len(numbers):
        raise PlacesNotRefundable(numbers=sorted(set(numbers) - set(changed)))
    return changed


async def _restore(tx: Transaction, failed: Refund) -> None:
    """Tickets are valid again after a refund that came to nothing; not those that had ended before the money came back."""
    if failed.numbers and failed.settled_at is None:
        booking = await booking_by_id(tx, failed.show_id, failed.booking_id)
        await tickets.restore(tx, sale_of(booking), failed.numbers)


async def _take_off(
    tx: Transaction, office: Office, show_id: ShowId, booking_id: BookingId, numbers: Sequence[int], reason: EndReason,
    *, keep_for: Refund | None,
) -> None:  # fmt: skip
    """Ends tickets for good and frees their places, or makes a block of them; each of them once."""
    row = await tx.row(sql.take_places_off, show_id, booking_id, list(numbers), reason, new_id())
    assert row is not None
    if not row["numbers"]:
        return
    change = Change(row["at_revision"], (), row["freed"], row["left_over"])
    tx.after_commit(partial(office.views.changed, show_id, change))
    booking = await booking_by_id(tx, show_id, booking_id)
    if keep_for is not None:
        why = f"Kept from booking {booking.reference}"
        await keep(tx, office, show_id, row["areas"], row["freed"], why, keep_for.created_by)
    if booking.status == "CONFIRMED":
        await tickets.void(tx, sale_of(booking), row["numbers"])
    else:
        tx.after_commit(telemetry.BOOKINGS_ENDED.labels(booking.reason).inc)
        tx.after_commit(partial(broadcast.hint, outbox.TOPIC))


def _end_of(refund: Refund) -> EndReason:
    match refund.reason:
        case "by_buyer" | "show_cancelled" as reason:
            return reason
        case _:
            return "by_organizer"
