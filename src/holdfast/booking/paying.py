"""Paying for a booking: the attempt at a provider, what is heard of it, and what the money buys.

Whoever hears of money (a notice of the provider, the return page, the job that watches an attempt) brings it to `settle`,
which decides in one transaction; nobody else confirms for money. Locks: the payment, then the head, then the booking. Money
that is in time locks no head, so that paying does not hold up the claims of a show.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Annotated
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import facts, payments
from holdfast.accounts import Note
from holdfast.booking.lifecycle import (
    Booking,
    BookingEnded,
    BookingNotFound,
    HoldExpired,
    NotCancellable,
    booking_by_id,
    cancel,
)
from holdfast.booking.office import Office
from holdfast.booking.refunding import refund_seen
from holdfast.booking.view import Change, View
from holdfast.catalog import ShowNotFound
from holdfast.payments import (
    NewPayment,
    Notice,
    Payment,
    PaymentNotFound,
    Provider,
    ProviderDown,
    ProviderRefused,
    RefundNotFound,
    Seen,
    SeenRefund,
)
from holdfast.platform import broadcast, clock, jobs, outbox, telemetry
from holdfast.platform.db import Database, Record, Transaction, load_queries, no_transaction_is_open
from holdfast.platform.errors import Conflict, Invalid, Refusal
from holdfast.platform.ids import ShowId, new_id

sql = load_queries(__file__)
log = telemetry.log("payments")

ATTEMPTS_MAX = 20
# So long before a deadline the provider is asked, in case its notice was lost.
AHEAD_SECONDS = 30.0
# A return page may ask as often as it likes; the provider is asked no oftener than this.
LOOK_SECONDS = 2.0
# A provider that is down is asked again after a quarter of the attempt's age, within these bounds.
DOWN_SECONDS = (2.0, 300.0)
# Then a person must look: the job becomes a dead letter.
WATCH_DAYS_MAX = 7
DOWN_RETRY_AFTER = 5


class PaymentsOff(Conflict):
    """The operator has set up no provider (HOLDFAST_PAYMENTS)."""

    code = "payments_off"
    title = "Nothing can be paid here: no payment provider is set up."


class NothingToPay(Conflict):
    code = "nothing_to_pay"
    title = "This booking is free: confirm it."


class AlreadyPaid(Conflict):
    code = "already_paid"
    title = "This booking is confirmed; there is nothing left to pay."


class PaymentInQuestion(Conflict):
    """Other money came than was asked for. Somebody decides about it; until then nobody should pay once more."""

    code = "payment_in_question"
    title = "A payment of this booking is being looked into."


class TooManyAttempts(Conflict):
    code = "too_many_attempts"
    title = "This booking was tried to be paid too often."


class ProviderUnavailable(Refusal):
    """The hold stays. Ask again with the same key."""

    code = "provider_unavailable"
    status = 503
    title = "The payment provider does not answer just now. Try again in a moment."


class ProviderRejected(Refusal):
    """The provider would not take this payment, and would not the next time either."""

    code = "provider_rejected"
    status = 502
    title = "The payment provider does not take this payment."


class PaySpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How a buyer wants to pay. `provider`: one of those that are set up, the first by default. `return_url`: where the
    provider's page leads afterwards, on this installation or an allowed origin. `equal_places`: should the money come too
    late for the places, others of the same area and tier will do; else it goes back.
    """

    provider: Annotated[str, Meta(min_length=1, max_length=40)] | None = None
    return_url: Annotated[str, Meta(pattern=r"^https?://[!-~]+$", max_length=1000)] | None = None
    equal_places: bool = False


NoteIn = Callable[[Transaction], Note]


class _Late(Exception):
    """The money did not find a live hold: the head must be locked first, so everything begins again."""


class Cashier:
    """Takes money for bookings, with the providers of this installation; the first of them is the default."""

    def __init__(self, office: Office, providers: Mapping[str, Provider]) -> None:
        self._office = office
        self._providers = providers

    def provider(self, name: str) -> Provider | None:
        """The provider of this name, if it is set up."""
        return self._providers.get(name)

    async def pay(
        self, db: Database, found: Booking, view: View, spec: PaySpec, note: NoteIn | None = None
    ) -> Payment:
        """An attempt that the buyer can pay now: a new one, or the one that is open already. Renews the hold.

        `note` hears of a new one. Raises PaymentsOff, Invalid, NothingToPay, AlreadyPaid, PaymentInQuestion,
        TooManyAttempts, HoldExpired, BookingEnded, BookingNotFound, ProviderUnavailable and ProviderRejected.
        """
        name = self._chosen(spec.provider)
        return_url = self._return_url(spec.return_url)
        await self._supersede(db, found, name)
        async with db.transaction() as tx:
            payment = await _begun(tx, found, view, name, return_url, spec.equal_places, note)
        if payment.ref is not None:
            return payment
        # Read anew: until the attempt was begun the buyer could say who they are, and from now on cannot.
        return await self._opened(db, payment, await booking_by_id(db, found.show_id, found.booking_id))

    async def settle(
        self, show_id: ShowId, payment_id: UUID, seen: Seen, notice: tuple[str, str, str] | None = None
    ) -> None:
        """Has what a provider says of a payment come true, once, in whatever order it is heard.

        `notice` is (provider, event id, kind) of the webhook that says so: it takes effect once. Raises PaymentNotFound.
        """
        # Before anything is locked: those who wait for it may have all the connections that a look at the view needs.
        view = await self._office.views.get(show_id) if seen.state == "succeeded" else None
        try:
            await self._settle(show_id, payment_id, seen, notice, None)
            return
        except _Late:
            pass
        await self._settle(show_id, payment_id, seen, notice, view)

    async def hear(self, provider: Provider, notice: Notice) -> None:
        """Takes a verified webhook. What is not ours, or says nothing that matters here, is left alone."""
        seen = notice.seen
        if isinstance(seen, SeenRefund):
            await self._hear_refund(provider, notice, seen)
        elif seen is not None:
            known = await self._ids_of(provider, notice, seen)
            if known is None:
                log.warning("notice of an unknown payment", provider=provider.name, event_id=notice.event_id)
                return
            try:
                await self.settle(*known, seen, (provider.name, notice.event_id, notice.kind))
            except (PaymentNotFound, ShowNotFound):
                log.warning("notice of an unknown payment", provider=provider.name, event_id=notice.event_id)

    async def look(self, payment: Payment) -> Payment:
        """The payment as it is now: while it is under way the provider is asked, at most every LOOK_SECONDS."""
        provider = self._providers.get(payment.provider)
        if provider is None or payment.ref is None or not payment.is_under_way:
            return payment
        if not await payments.may_look(self._office.db, payment, LOOK_SECONDS):
            return payment
        try:
            seen = await provider.look(payment.ref)
        except (ProviderDown, ProviderRefused) as error:
            log.warning("provider not looked at", provider=payment.provider, error=str(error))
            return payment
        await self.settle(payment.show_id, payment.payment_id, seen)
        return await payments.payment_by_id(self._office.db, payment.show_id, payment.payment_id)

    async def watch(self, job: jobs.Job, db: Database) -> None:
        """The job of one attempt: asks the provider before the hold ends, and lets no money come after it has.

        What the provider says once it has closed the attempt is the truth, and decides.
        """
        show_id, payment_id = ShowId(UUID(job.payload["show_id"])), UUID(job.payload["payment_id"])
        payment = await payments.payment_by_id(db, show_id, payment_id)
        found = await booking_by_id(db, show_id, payment.booking_id)
        try:
            if found.seconds_left > 0:
                raise jobs.Later(await self._looked_ahead(payment, found))
            if payment.is_under_way:
                await self._closed(db, payment, found)
        except ProviderDown as down:
            raise _again(payment) from down
        except ProviderRefused as refused:
            raise jobs.Discard(f"{payment.provider} knows nothing of {payment.ref}: {refused}") from refused
        async with db.transaction() as tx:
            await self._tell_expired(tx, payment)
            await jobs.finish(tx, job)

    def _chosen(self, wanted: str | None) -> str:
        if not self._providers:
            raise PaymentsOff
        name = wanted or next(iter(self._providers))
        if name not in self._providers:
            raise Invalid(f"Choose one of: {', '.join(self._providers)}.", pointer="/provider")
        return name

    def _return_url(self, wanted: str | None) -> str:
        settings = self._office.settings
        if wanted is None:
            return f"{settings.address}/v1/payments/return"
        parts = urlsplit(wanted)
        # A page of ours must lead nobody to a stranger's.
        origins = {settings.address, *(each.strip() for each in settings.cors_origins.split(","))}
        if f"{parts.scheme}://{parts.netloc}" not in origins or parts.fragment:
            raise Invalid("It must lead to this installation or an allowed origin.", pointer="/return_url")
        return wanted

    async def _supersede(self, db: Database, found: Booking, name: str) -> None:
        """Closes attempts in whose place a new one comes: declined, too old to be paid, or at another provider."""
        for payment in await payments.payments_of(db, found.show_id, found.booking_id):
            is_good = payment.provider == name and payment.state != "DECLINED"
            if not payment.is_under_way or (is_good and payment.expires_at > found.read_at):
                continue
            try:
                await self._closed(db, payment, found)
            except (ProviderDown, ProviderRefused) as error:
                if payment.provider == name:
                    raise _unavailable(error) from error
                # The buyer may well change the provider because this one is down. Should both be paid, the second
                # payment goes back.
                log.warning("attempt not closed", provider=payment.provider, error=str(error))

    async def _opened(self, db: Database, payment: Payment, found: Booking) -> Payment:
        assert no_transaction_is_open()
        provider = self._providers[payment.provider]
        try:
            opened = await provider.open(payment.attempt(found.reference, found.email))
        except ProviderDown as down:
            raise _unavailable(down) from down
        except ProviderRefused as refused:
            async with db.transaction() as tx:
                await payments.close(tx, payment, str(refused))
            raise ProviderRejected from refused
        async with db.transaction() as tx:
            return await payments.note_opened(tx, payment, opened)

    async def _closed(self, db: Database, payment: Payment, found: Booking) -> None:
        """Closes an attempt at its provider, and settles what is true then. Raises ProviderDown and ProviderRefused."""
        assert no_transaction_is_open()
        provider = self._providers.get(payment.provider)
        if provider is None:
            raise ProviderDown(f"{payment.provider} is not among the providers of HOLDFAST_PAYMENTS.")
        if payment.ref is None:
            # Its process died, or heard nothing, between asking and writing: ask again, it is the same attempt.
            try:
                payment = await self._opened(db, payment, found)
            except ProviderUnavailable as down:
                raise ProviderDown(str(down)) from down
            except ProviderRejected:
                return
        assert payment.ref is not None
        seen = await provider.close(payment.ref)
        if seen.state != "succeeded":
            seen = msgspec.structs.replace(seen, state="closed")
        await self.settle(payment.show_id, payment.payment_id, seen)

    async def _looked_ahead(self, payment: Payment, found: Booking) -> float:
        """Asks the provider when the hold is about to end; in how many seconds it is time again."""
        if payment.ref is None or not payment.is_under_way:
            return found.seconds_left
        if found.seconds_left > AHEAD_SECONDS:
            return found.seconds_left - AHEAD_SECONDS
        assert no_transaction_is_open()
        provider = self._providers.get(payment.provider)
        if provider is not None:
            await self.settle(payment.show_id, payment.payment_id, await provider.look(payment.ref))
        return found.seconds_left

    async def _settle(
        self, show_id: ShowId, payment_id: UUID, seen: Seen, notice: tuple[str, str, str] | None, late: View | None
    ) -> None:  # fmt: skip
        async with self._office.db.transaction() as tx:
            if notice is not None:
                provider, event_id, kind = notice
                if not await payments.note_event(tx, show_id, provider, event_id, payment_id, kind):
                    return
            payment = await payments.lock_payment(tx, show_id, payment_id)
            if notice is not None and payment.provider != notice[0]:
                # What one provider signs moves no money of another.
                raise PaymentNotFound
            if seen.disputed:
                await payments.dispute(tx, payment)
            match seen.state:
                case "declined":
                    await payments.decline(tx, payment, seen)
                case "closed":
                    await payments.close(tx, payment, seen.reason)
                case "succeeded":
                    paid = await payments.succeed(tx, payment, seen)
                    if paid is not None and paid.state == "SUCCEEDED":
                        await self._bought(tx, paid, late)

    async def _bought(self, tx: Transaction, paid: Payment, late: View | None) -> None:
        """Confirms the booking for the money, or decides that the money goes back."""
        show_id, booking_id = paid.show_id, paid.booking_id
        if late is None:
            row = await tx.row(sql.confirm_booking, show_id, booking_id, True)
        else:
            row = await tx.row(
                sql.take_again, show_id, booking_id, paid.equal_places, late.show.max_places_per_buyer, new_id()
            )  # fmt: skip
        assert row is not None
        if late is None and row["outcome"] != "confirmed":
            raise _Late
        if late is not None:
            self._tell_views(tx, show_id, row)
        if row["changed"]:
            tx.after_commit(telemetry.BOOKINGS_ENDED.labels("confirmed").inc)
            tx.after_commit(partial(broadcast.hint, outbox.TOPIC))
            # Whoever pays by two ways at once should find the second one closed.
            await payments.hurry(tx, show_id, booking_id)
            return
        reason = "second_payment" if row["outcome"] == "confirmed" else "late"
        await payments.want_refund(tx, paid, paid.amount, reason, numbers=None, release=False)
        log.info("money goes back", show_id=show_id, payment_id=paid.payment_id, outcome=row["outcome"])

    def _tell_views(self, tx: Transaction, show_id: ShowId, row: Record) -> None:
        outcome = row["outcome"]
        if row["changed"]:
            outcome = "moved" if row["moved"] else "retaken"
        tx.after_commit(telemetry.LATE_PAYMENTS.labels(outcome).inc)
        if row["left_over"]:
            change = Change(row["at_revision"], row["taken"], row["freed"], row["left_over"])
            tx.after_commit(partial(self._office.views.changed, show_id, change))
            tx.after_commit(partial(self._office.cache.forget, ("counts", show_id)))

    async def _hear_refund(self, provider: Provider, notice: Notice, seen: SeenRefund) -> None:
        refund_id = notice.refund_id or seen.refund_id
        if notice.show_id is None or refund_id is None:
            log.warning("notice of an unknown refund", provider=provider.name, event_id=notice.event_id)
            return
        show_id = ShowId(notice.show_id)
        try:
            known = await payments.refund_by_id(self._office.db, show_id, refund_id)
        except RefundNotFound:
            known = None
        if known is None or known.provider != provider.name:
            log.warning("notice of an unknown refund", provider=provider.name, event_id=notice.event_id)
            return
        async with self._office.db.transaction() as tx:
            if await payments.note_event(
                tx, show_id, provider.name, notice.event_id, notice.payment_id, notice.kind
            ):
                await refund_seen(tx, self._office, show_id, refund_id, seen)

    async def _ids_of(self, provider: Provider, notice: Notice, seen: Seen) -> tuple[ShowId, UUID] | None:
        show_id, payment_id = notice.show_id or seen.show_id, notice.payment_id or seen.payment_id
        if show_id is not None and payment_id is not None:
            return ShowId(show_id), payment_id
        return await payments.payment_of_ref(self._office.db, provider.name, seen.ref)

    async def _tell_expired(self, tx: Transaction, payment: Payment) -> None:
        """Announces booking.expired when a hold ended that somebody had begun to pay for; the last attempt's job does so."""
        # Whoever calls the booking off locks its payments first, too.
        await payments.lock_payment(tx, payment.show_id, payment.payment_id)
        attempts = await payments.payments_of(tx, payment.show_id, payment.booking_id)
        if attempts[-1].payment_id != payment.payment_id or any(each.charge for each in attempts):
            return
        found = await booking_by_id(tx, payment.show_id, payment.booking_id)
        if found.is_overdue:
            try:
                found = await cancel(
                    tx, self._office, found.show_id, found.booking_id, "by_buyer", sold_too=False
                )
            except NotCancellable:
                return
        if (found.status, found.reason) == ("FAILED", "expired"):
            expired = facts.BookingExpired(
                found.booking_id, found.version, found.organizer_id, payment.payment_id, found.total, found.currency
            )  # fmt: skip
            await facts.announce(tx, found.show_id, expired)


async def _begun(
    tx: Transaction, found: Booking, view: View, provider: str, return_url: str, equal_places: bool, note: NoteIn | None
) -> Payment:  # fmt: skip
    """The attempt that is under way at this provider, or a new one with the job that watches it. Locks the booking."""
    show_id, booking_id = found.show_id, found.booking_id
    row = await tx.row(
        sql.renew_hold, show_id, booking_id, view.show.hold_seconds, view.show.hold_seconds_max
    )
    assert row is not None
    _refuse(row["outcome"])
    # Read under the lock, so that two who pay at once have one attempt.
    attempts = await payments.payments_of(tx, show_id, booking_id)
    if any(each.state == "MISMATCHED" for each in attempts):
        raise PaymentInQuestion
    for each in attempts:
        if each.provider == provider and each.state in ("CREATED", "OPEN"):
            return each
    if len(attempts) >= ATTEMPTS_MAX:
        raise TooManyAttempts
    new = NewPayment(
        show_id=show_id, booking_id=booking_id, organizer_id=found.organizer_id, provider=provider, amount=found.total,
        currency=found.currency, equal_places=equal_places, description=f"{view.show.name} ({found.reference})",
        return_url=return_url, expires_at=row["deadline"],
    )  # fmt: skip
    payment = await payments.begin(tx, new)
    await payments.watch_from(tx, payment, payment.expires_at - timedelta(seconds=AHEAD_SECONDS))
    if note is not None:
        told = {"payment_id": payment.payment_id, "amount": payment.amount, "currency": payment.currency}
        await note(tx)(after=told)
    return payment


def _refuse(outcome: str) -> None:
    match outcome:
        case "booking_not_found":
            raise BookingNotFound
        case "hold_expired":
            raise HoldExpired
        case "ended":
            raise BookingEnded
        case "confirmed":
            raise AlreadyPaid
        case "nothing_to_pay":
            raise NothingToPay


def _unavailable(error: Exception) -> ProviderUnavailable:
    log.warning("provider unavailable", error=str(error))
    return ProviderUnavailable(retry_after=DOWN_RETRY_AFTER)


def _again(payment: Payment) -> Exception:
    age = clock.now() - payment.created_at
    if age > timedelta(days=WATCH_DAYS_MAX):
        return jobs.Discard(f"{payment.provider} has not answered for {WATCH_DAYS_MAX} days.")
    shortest, longest = DOWN_SECONDS
    return jobs.Later(min(max(age.total_seconds() / 4, shortest), longest))
