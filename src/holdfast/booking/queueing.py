"""The queue in front: claims that are stored now and decided soon, show by show in the order in which they came.

A claim is stored with its place in the queue, and its booking's id is made there and then. Whoever decides takes the
first claims of a show, has the function `claim` decide them, and takes them out of the queue, all in one transaction: so
a claim is decided once, wherever the process dies, and a decision and its mark cannot part. The rows that it takes are
locked in their order, which makes deciders of one show take turns; different shows are decided side by side.

The strategies order claims that come at the same moment. Here the order is given, so none of them has a part in it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from holdfast.accounts import Note
from holdfast.booking.anywhere import find_booking
from holdfast.booking.claiming import Decision, Wish, claim_arguments
from holdfast.booking.holds import (
    TRIES_MAX,
    Asker,
    Claimed,
    ClaimRequest,
    could_be_elsewhere,
    is_asked,
    on_offer,
    refusal_of,
    wished,
)
from holdfast.booking.lifecycle import Booking, BookingEnded, BookingNotFound, booking_by_id
from holdfast.booking.office import Office
from holdfast.booking.promotions import Code, code_key, code_named, codes_named
from holdfast.booking.view import Change, View
from holdfast.platform import broadcast, outbox, telemetry
from holdfast.platform.db import Contention, Database, DataError, Record, Transaction, load_queries
from holdfast.platform.errors import Busy, Conflict, IdempotencyMismatch, NotFound, Refusal
from holdfast.platform.ids import BookingId, ShowId, new_id, new_reference
from holdfast.platform.secret import Secrets

# Hinted on when a claim was queued.
QUEUE_TOPIC = "queue"
SHOWS_AT_ONCE = 4
# A decider that is frozen while it holds a show lets go of it after this, by the server's hand.
SILENCE_MAX = "5s"
FULL_SECONDS = 5
COUNTED_MAX = 100_000

sql = load_queries(__file__)
log = telemetry.log("queue")


class StillQueued(Conflict):
    """The claim has not been decided yet. Ask for the booking until it is PENDING, CONFIRMED or FAILED."""

    code = "still_queued"
    title = "This booking still waits for its turn."


class UnknownAttempt(NotFound):
    """Nothing has been booked or queued under this key, as yet: it was refused, or has not come, or is being decided just
    now. The same claim with the same key is always safe, and says which.
    """

    code = "unknown_attempt"
    title = "No booking has been made under this Idempotency-Key."


async def enqueue(office: Office, show_id: ShowId, request: ClaimRequest, asker: Asker) -> Claimed:
    """A booking in the status QUEUED; under a key that was used before, the booking that it made or queued (`replayed`).

    Raises ShowNotFound; Invalid, UnknownSeat and TooManyPlaces for what can never be; IdempotencyMismatch; Busy when
    `queue_max` claims of the show wait. Every other refusal comes with the decision, as the reason of a FAILED booking.
    """
    view = await on_offer(office, show_id)
    code = await code_named(office.db, show_id, request.code) if request.code is not None else None
    _, refusal = wished(office.secrets, view, request, code, asker)
    if refusal is not None and not isinstance(refusal, Conflict):
        known = await _known(office.db, show_id, asker)
        if known is None:
            raise refusal
        return await _replayed(office.db, show_id, known, asker)
    show = view.show
    booking_id, reference = BookingId(new_id()), new_reference()
    asked = {name: value for name, value in msgspec.to_builtins(request).items() if value is not None}
    for _ in range(2):
        # The second time it finds an equal claim that came in between, or the queue still full.
        row = await office.db.row(
            sql.queue_claim, show_id, booking_id, show.organizer_id, reference, asker.key, asker.fingerprint, asked,
            _quantity(request), show.currency, office.settings.queue_max, asker.customer_id,
        )  # fmt: skip
        if row is not None:
            break
    else:
        raise Busy("The queue of this show is full.", retry_after=FULL_SECONDS)
    if row["created_at"] is None:
        return await _replayed(office.db, show_id, row, asker)
    broadcast.hint(QUEUE_TOPIC)
    queued = {
        "show_id": show_id, "booking_id": booking_id, "organizer_id": show.organizer_id, "reference": reference,
        "request": asked, "quantity": _quantity(request), "currency": show.currency, "reason": None,
        "created_at": row["created_at"], "ended_at": None, "read_at": row["created_at"], "customer_id": asker.customer_id,
    }  # fmt: skip
    return Claimed(queued_from(queued), False, None)


async def booking_or_queued(db: Database | Transaction, show_id: ShowId, booking_id: BookingId) -> Booking:
    """The booking, or the claim that waits to be it. Raises BookingNotFound. Who may see it is the caller's to know."""
    with suppress(BookingNotFound):
        return await booking_by_id(db, show_id, booking_id)
    row = await db.row(sql.queued_claim, show_id, booking_id)
    # Between the two looks it may have left the queue.
    return await _found(db, row) if row is not None else await booking_by_id(db, show_id, booking_id)


async def booking_attempted(office: Office, show_id: ShowId, key: bytes) -> Booking:
    """What a claim under this key (see `key_digest`) has become, be it decided or queued, as it stands now.

    Raises UnknownAttempt, which is no promise that nothing will come of the claim, and Busy.
    """
    known = await _known(office.db, show_id, Asker(key))
    if known is None:
        raise UnknownAttempt
    return await booking_or_queued(office.db, show_id, known["booking_id"])


async def find_anyhow(db: Database | Transaction, booking_id: BookingId) -> tuple[Booking, Sequence[str]]:
    """The booking or queued claim of whichever show, and the seats that it asked for by name when it has no places.

    Raises BookingNotFound. It costs as much as `find_booking`, and twice that for what was never queued nor made.
    """
    with suppress(BookingNotFound):
        return await find_booking(db, booking_id), ()
    row = await db.row(sql.queued_claim_of_any_show, booking_id)
    if row is None:
        # Between the two looks it may have left the queue.
        return await find_booking(db, booking_id), ()
    return await _found(db, row), row["request"].get("seats", ())


async def let_queued_go(tx: Transaction, queued: Booking, *, note: Note | None = None) -> Booking:
    """Ends a claim that still waits, so that it is never made; else what it has become, which is left as it is.

    `note` hears of it if it ended just now.
    """
    row = await tx.row(sql.let_queued_go, queued.show_id, queued.booking_id)
    if row is None:
        return await booking_or_queued(tx, queued.show_id, queued.booking_id)
    tx.after_commit(telemetry.BOOKINGS_ENDED.labels("released").inc)
    if note is not None:
        await note(before={"status": "QUEUED"}, after={"status": "FAILED", "quantity": row["quantity"]})
    return queued_from(row)


def refuse_unmade(found: Booking) -> None:
    """Raises StillQueued or BookingEnded for what has no places, and never had any."""
    if found.status == "QUEUED":
        raise StillQueued
    if found.status == "FAILED" and found.expires_at is None:
        raise BookingEnded


async def decide_queued(office: Office) -> int:
    """Decides every claim that waits, several shows side by side; how many it decided.

    A show that cannot be decided is logged and holds up no other.
    """
    turns = asyncio.Semaphore(SHOWS_AT_ONCE)

    async def turn(show_id: ShowId) -> int:
        async with turns:
            try:
                return await _turn(office, show_id)
            except Busy as refusal:
                log.warning("queue left for later", show_id=str(show_id), error=str(refusal))
            except Exception:
                log.exception("queue not decided", show_id=str(show_id))
            return 0

    decided = 0
    # One batch of each show at a time, so that a long queue keeps no other show waiting.
    while rows := await office.db.rows(sql.shows_queued):
        done = sum(await asyncio.gather(*(turn(row["show_id"]) for row in rows)))
        if not done:
            break
        decided += done
    return decided


async def measure_queue(db: Database) -> None:
    """Sets the gauges of the queue; the count stops at COUNTED_MAX. Raises Busy."""
    row = await db.row(sql.queue_gauges, COUNTED_MAX)
    assert row is not None
    telemetry.QUEUED_CLAIMS.set(row["claims"])
    telemetry.QUEUED_CLAIMS_AGE_SECONDS.set(row["oldest_seconds"])


class _LookAgain(Exception):
    """This batch cannot be decided by the view as it was: with a newer one, up to `limit` claims can."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = max(1, limit)


class _Unfit(Exception):
    """The database cannot take what the claims at `positions` ask for."""

    def __init__(self, positions: Sequence[int]) -> None:
        super().__init__(positions)
        self.positions = positions


@dataclass(slots=True)
class _Waiting:
    """A claim whose turn it is. `reason` is the end it comes to, None once it is granted."""

    position: int
    wish: Wish
    refusal: Refusal | None
    reason: str | None = None
    made_as: BookingId | None = None


async def _turn(office: Office, show_id: ShowId) -> int:
    """Decides the first claims of a show; how many."""
    view = await office.views.get(show_id)
    limit = office.settings.batch_claims_max
    for attempt in range(TRIES_MAX):
        try:
            return await _decide(office, view, limit, attempt)
        except Contention as error:
            log.warning("queue met another transaction", show_id=str(show_id), error=repr(error))
        except _LookAgain as again:
            view, limit = await office.views.renewed(view), again.limit
        except _Unfit as unfit:
            if len(unfit.positions) == 1:
                # It would fail for ever, and all others would wait behind it.
                log.exception("queued claim failed", show_id=str(show_id))
                await office.db.rows(sql.claims_refused, show_id, unfit.positions, ["internal_error"], [None])
                return 1
            limit = 1
    return 0


async def _decide(office: Office, view: View, limit: int, attempt: int) -> int:
    show_id = view.show.show_id
    async with office.db.transaction() as tx:
        await tx.value(sql.silence_bounded, SILENCE_MAX)
        rows = await tx.rows(sql.claims_next, show_id, limit)
        if not rows:
            return 0
        codes = await codes_named(tx, show_id, [text for row in rows if (text := row["request"].get("code"))])
        waiting = _resolved(office.secrets, view, rows, codes, attempt)
        asked = [each for each in waiting if each.refusal is None or is_asked(each.wish, each.refusal)]
        if asked:
            try:
                (row,) = await tx.rows(sql.claim_many, *claim_arguments([[each.wish for each in asked]]))
            except DataError as error:
                raise _Unfit([each.position for each in asked]) from error
            last = attempt + 1 == TRIES_MAX
            _settle(view, waiting, asked, row, last=last)
            _tell_change(tx, office, show_id, asked, row)
        granted = [each.position for each in waiting if each.reason is None]
        ended = [each for each in waiting if each.reason is not None]
        if granted:
            await tx.execute(sql.claims_granted, show_id, granted)
        if ended:
            await tx.rows(
                sql.claims_refused, show_id, [each.position for each in ended], [each.reason for each in ended],
                [each.made_as for each in ended],
            )  # fmt: skip
        tx.after_commit(partial(_tell, show_id, waiting))
    return len(rows)


def _resolved(
    secrets: Secrets, view: View, rows: Sequence[Record], codes: Mapping[str, Code], attempt: int
) -> list[_Waiting]:
    waiting = []
    with ExitStack() as offered:
        for row in rows:
            request = msgspec.convert(row["request"], ClaimRequest)
            asker = Asker(row["key"], row["fingerprint"], row["customer_id"])
            # It was there when the claim was queued, and no code is ever removed.
            code = codes[code_key(request.code)] if request.code is not None else None
            wish, refusal = wished(secrets, view, request, code, asker, attempt)
            wish.booking_id, wish.reference = row["booking_id"], row["reference"]
            # Those behind it are offered other seats.
            offered.enter_context(view.offering(wish.seats[: wish.places] if wish.area is not None else ()))
            reason = refusal.code if refusal is not None else None
            waiting.append(_Waiting(row["position"], wish, refusal, reason))
    return waiting


def _settle(
    view: View, waiting: Sequence[_Waiting], asked: Sequence[_Waiting], row: Record, *, last: bool
) -> None:
    """Notes what each became. Raises _LookAgain when the view was behind; on the `last` try a refusal is one."""
    for each, outcome, booking_id in zip(asked, row["outcomes"], row["booking_ids"], strict=True):
        wish = each.wish
        match outcome:
            case "pending" | "confirmed":
                each.reason = None
            case "replayed":
                # An equal claim was decided without the queue while this one waited.
                each.reason, each.made_as = "replayed", BookingId(booking_id)
            case "mismatch":
                each.reason = IdempotencyMismatch.code
            case "stale":
                raise _LookAgain(len(waiting))
            case "again":
                raise _LookAgain(waiting.index(each))
            case "sold_out" if not last and could_be_elsewhere(view, wish):
                raise _LookAgain(waiting.index(each))
            case _:
                decision = Decision(outcome, wish.booking_id, (), None, row["decided_at"])
                each.reason = refusal_of(view, decision, each.refusal).code


def _tell_change(
    tx: Transaction, office: Office, show_id: ShowId, asked: Sequence[_Waiting], row: Record
) -> None:
    taken: list[int] = []
    for each, first, count in zip(asked, row["seats_from"], row["seats_count"], strict=True):
        if each.reason is None:
            taken += row["seats_out"][first : first + count]
    if row["expired"]:
        tx.after_commit(partial(telemetry.BOOKINGS_ENDED.labels("expired").inc, row["expired"]))
    if row["expired"] or any(each.reason is None for each in asked):
        change = Change(row["at_revision"], taken, row["freed"], row["left_over"])
        tx.after_commit(partial(office.views.changed, show_id, change))


def _tell(show_id: ShowId, decided: Sequence[_Waiting]) -> None:
    for each in decided:
        outcome = each.reason or ("confirmed" if each.wish.confirm else "pending")
        telemetry.CLAIMS.labels(outcome).inc()
        log.info(
            "queued booking decided", show_id=str(show_id), booking_id=str(each.wish.booking_id), outcome=outcome
        )  # fmt: skip
    broadcast.hint(outbox.TOPIC)


async def _known(db: Database, show_id: ShowId, asker: Asker) -> Record | None:
    """What the key has made or queued."""
    if asker.key is None:
        return None
    made = await db.row(sql.kept_key, show_id, asker.key)
    return made or await db.row(sql.key_queued, show_id, asker.key)


async def _replayed(db: Database, show_id: ShowId, known: Record, asker: Asker) -> Claimed:
    if known["fingerprint"] != asker.fingerprint:
        raise IdempotencyMismatch
    return Claimed(await booking_or_queued(db, show_id, known["booking_id"]), True, None)


async def _found(db: Database | Transaction, row: Record) -> Booking:
    if row["made_as"] is not None:
        return await booking_by_id(db, row["show_id"], row["made_as"])
    return queued_from(row)


def queued_from(row: Record | dict[str, Any]) -> Booking:
    """A claim in the queue as a booking that has no places and no price yet."""
    customer: dict[str, Any] = row["request"].get("customer") or {}
    waits = row["reason"] is None
    return Booking(
        show_id=row["show_id"], booking_id=row["booking_id"], organizer_id=row["organizer_id"], reference=row["reference"],
        status="QUEUED" if waits else "FAILED", reason=row["reason"], version=0 if waits else 1, quantity=row["quantity"],
        areas=[], seats=[], tiers=[], amounts=[], total=0, currency=row["currency"], email=customer.get("email"),
        name=customer.get("name"), created_at=row["created_at"], expires_at=None, extended=False, confirmed_at=None,
        ended_at=row["ended_at"], read_at=row["read_at"], customer_id=row["customer_id"],
    )  # fmt: skip


def _quantity(request: ClaimRequest) -> int:
    if request.seats is not None:
        return len(request.seats)
    return request.quantity or request.best_available or 0
