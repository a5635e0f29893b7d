"""Bookings and blocks over HTTP. `call.state` is the Engine."""

from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, booking
from holdfast.accounts import Buyer, Staff
from holdfast.booking import (
    Asker,
    BlockNotFound,
    BlockSpec,
    Booking,
    BookingEnded,
    BookingFilter,
    BookingNotFound,
    ClaimRequest,
    CodeRefused,
    CodeRequired,
    CodeUnknown,
    HoldExpired,
    HoldLimit,
    LimitReached,
    NotCancellable,
    NotOnSale,
    NotTogether,
    OrphanSeat,
    PaymentRequired,
    SeatsTaken,
    SoldOut,
    StillQueued,
    TooManyPlaces,
    UnknownAttempt,
    UnknownSeat,
)
from holdfast.booking.challenge_routes import CHALLENGE_ANSWER, CHALLENGE_REFUSALS, prove
from holdfast.booking.rights import own_booking
from holdfast.catalog import ShowNotFound
from holdfast.platform import clock
from holdfast.platform.db import Transaction
from holdfast.platform.errors import IdempotencyMismatch, Invalid
from holdfast.platform.http import (
    IDEMPOTENCY_KEY,
    Answer,
    Call,
    HeaderParameter,
    Routes,
    Timestamp,
    created,
)
from holdfast.platform.ids import BlockId, BookingId, ShowId
from holdfast.platform.limits import by_address
from holdfast.platform.money import Money
from holdfast.platform.pages import Limit, PageQuery, id_in, page_of

# A key of an anonymous caller is all that keeps a stranger from its booking: 128 random bits are 22 letters of base64.
ANONYMOUS_KEY_LENGTH_MIN = 22

PREFER = HeaderParameter(
    "Prefer",
    "RFC 7240: with `respond-async` the claim is queued and answered 202; the booking then tells what became of it.",
)

ATTEMPT_KEY = HeaderParameter(
    "Idempotency-Key", "The key that the claim was sent with.", IDEMPOTENCY_KEY.pattern, required=True
)

routes = Routes(
    "bookings",
    missing={"show_id": ShowNotFound, "booking_id": BookingNotFound, "block_id": BlockNotFound},
)


class PlaceJson(msgspec.Struct):
    """One place: its area, its seat where it has one, and what it costs in the booking's currency. `refunded`: it went back
    with its part of the money.
    """

    area: str
    seat: str | None
    tier: str | None
    amount: int
    refunded: bool | msgspec.UnsetType = msgspec.UNSET


class CustomerJson(msgspec.Struct):
    email: str | None
    name: str | None


class BookingJson(msgspec.Struct):
    """A booking. `secret` is the buyer's right to it, and comes with the answer to the claim alone."""

    id: UUID
    reference: str
    show_id: UUID
    status: str
    reason: str | None
    places: list[PlaceJson]
    total: Money
    customer: CustomerJson
    expires_at: Timestamp | None
    expires_in_seconds: int | None
    created_at: Timestamp
    confirmed_at: Timestamp | None
    version: int
    secret: str | msgspec.UnsetType = msgspec.UNSET
    relaxed: str | None | msgspec.UnsetType = msgspec.UNSET


class BookingsJson(msgspec.Struct):
    bookings: list[BookingJson]
    next: str | None


class BookingQuery(msgspec.Struct, forbid_unknown_fields=True):
    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=100)] | None = None
    status: Annotated[str, Meta(pattern="^(PENDING|CONFIRMED|FAILED|CANCELLED)$", max_length=9)] | None = None
    reference: Annotated[str, Meta(max_length=20)] | None = None
    email: Annotated[str, Meta(max_length=254)] | None = None


class BlockJson(msgspec.Struct):
    """Places kept off sale: seats by name, or a quantity of a standing area."""

    id: UUID
    show_id: UUID
    reason: str
    seats: list[str]
    area: str | None
    quantity: int
    release_at: Timestamp | None
    created_at: Timestamp


class BlocksJson(msgspec.Struct):
    blocks: list[BlockJson]
    next: str | None


@routes.post(
    "/v1/shows/{show_id}/bookings",
    who=accounts.CLAIMANT,
    body=ClaimRequest,
    headers=(IDEMPOTENCY_KEY, PREFER, CHALLENGE_ANSWER),
    limit="claims",
    answers={201: BookingJson, 202: BookingJson},
    refusals=(
        ShowNotFound, SoldOut, NotTogether, SeatsTaken, NotOnSale, OrphanSeat, LimitReached, HoldLimit, UnknownSeat,
        TooManyPlaces, CodeUnknown, CodeRefused, CodeRequired, IdempotencyMismatch, *CHALLENGE_REFUSALS,
    ),
    example={"seats": ["A-1", "A-2"], "tier": "Adult", "customer": {"email": "guest@example.org", "name": "Guest"}},
)  # fmt: skip
async def claim(call: Call[ClaimRequest]) -> Answer:
    """Claim places.

    Holds seats by name, a quantity, or the best available; all of them or none. The answer is a PENDING booking with
    the time that is left to confirm or pay it, or a CONFIRMED one when it is free and `confirm` is set. With the same
    Idempotency-Key the same booking is answered again, also after the show has sold out.

    With `Prefer: respond-async` the claim is queued, and decided in the order of arrival: 202 with a QUEUED booking that
    will be PENDING or CONFIRMED, or FAILED with the code of the refusal as its reason.
    """
    engine, show_id = call.state, ShowId(call.path["show_id"])
    if engine.challenger is not None:
        await prove(call, show_id)
    if call.body.code is None:
        return await _claimed(call, show_id)
    async with engine.limits.trying("promotion", by_address(call.client_ip), CodeUnknown):
        return await _claimed(call, show_id)


async def _claimed(call: Call[ClaimRequest], show_id: ShowId) -> Answer:
    engine = call.state
    if b"prefer" in call.headers and _prefers_async(call):
        return await _queued(call)
    claimed = await booking.claim(engine.office, show_id, call.body, _asker(call))
    view = await engine.office.views.get(show_id)
    answer = booking_json(
        claimed.booking, view, secret=engine.booking_secret(show_id, claimed.booking.booking_id)
    )
    if call.body.seats is None and not claimed.replayed:
        answer.relaxed = claimed.relaxed
    return created(answer, f"/v1/shows/{show_id}/bookings/{claimed.booking.booking_id}")


@routes.get(
    "/v1/shows/{show_id}/attempt",
    who=accounts.CLAIMANT,
    headers=(ATTEMPT_KEY,),
    limit="reads",
    answers={200: BookingJson},
    refusals=(UnknownAttempt,),
)
async def read_attempt(call: Call[None]) -> BookingJson:
    """Ask what became of a claim whose answer was lost.

    Send the `Idempotency-Key` that the claim was sent with; it stands in a header, because it is a right to the booking.
    The answer is the booking as it stands now, with its secret, or the claim that is still queued. It claims nothing and
    needs no challenge.

    404 `unknown_attempt` means that nothing has been made under the key so far. That is no promise: the claim may still be
    on its way, and be decided a moment later. So never claim the same again under a new key because of it. To end the
    doubt, send the same claim with the same key: it gives the booking, if there is one, or makes it, or is refused.
    """
    engine, show_id = call.state, ShowId(call.path["show_id"])
    key = _asker(call).key
    assert key is not None
    found = await booking.booking_attempted(engine.office, show_id, key)
    secret = engine.booking_secret(show_id, found.booking_id)
    return booking_json(found, await engine.office.views.get(show_id), secret=secret)


@routes.get(
    "/v1/shows/{show_id}/bookings",
    who=Staff("bookings.read"),
    query=BookingQuery,
    answers={200: BookingsJson},
    refusals=(ShowNotFound,),
)
async def list_bookings(call: Call[None]) -> BookingsJson:
    """Search the bookings of a show, newest first."""
    engine, show_id, query = call.state, ShowId(call.path["show_id"]), call.query
    view = await engine.office.views.get(show_id)
    accounts.require(call.caller, "bookings.read", view.show.organizer_id, missing=ShowNotFound)
    before = BookingId(id_in(query.cursor) or UUID(int=2**128 - 1))
    wanted = BookingFilter(show_id, before, query.status, query.reference, query.email)
    found = await booking.search_bookings(call.db, wanted, query.limit + 1)
    page, following = page_of(found, query.limit, lambda b: b.booking_id.hex)
    return BookingsJson([booking_json(each, view) for each in page], following)


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}", who=Buyer("bookings.read"), answers={200: BookingJson}
)
async def read_booking(call: Call[None]) -> BookingJson:
    """Read a booking, or what became of one that was queued."""
    found = await own_booking(call, "bookings.read", call.db)
    return booking_json(found, await call.state.office.views.get(found.show_id))


@routes.post(
    "/v1/shows/{show_id}/bookings/{booking_id}/extend",
    who=Buyer("bookings.write"),
    answers={200: BookingJson},
    refusals=(HoldLimit, HoldExpired, BookingEnded, StillQueued),
    once=True,
)
async def extend(call: Call[None], tx: Transaction) -> BookingJson:
    """Extend the hold, once, by 60 seconds."""
    found = await own_booking(call, "bookings.write", tx)
    booking.refuse_unmade(found)
    view = await call.state.office.views.get(found.show_id)
    extended = await booking.extend(tx, view.show, found.booking_id)
    before, after = ({"expires_at": each.expires_at} for each in (found, extended))
    await _note(call, tx, "booking.extended", found)(before=before, after=after)
    return booking_json(extended, view)


@routes.post(
    "/v1/shows/{show_id}/bookings/{booking_id}/confirm",
    who=Buyer("bookings.write"),
    answers={200: BookingJson},
    refusals=(HoldExpired, BookingEnded, PaymentRequired, StillQueued),
    once=True,
)
async def confirm(call: Call[None], tx: Transaction) -> BookingJson:
    """Confirm a free booking; staff confirm one whose price was taken elsewhere."""
    found = await own_booking(call, "bookings.write", tx)
    booking.refuse_unmade(found)
    # Before the booking is locked: those who wait for it may have all the connections that a look at the view needs.
    view = await call.state.office.views.get(found.show_id)
    settled, note = call.caller.principal is not None, _note(call, tx, "booking.confirmed", found)
    confirmed = await booking.confirm(tx, found.show_id, found.booking_id, settled=settled, note=note)
    return booking_json(confirmed, view)


@routes.post(
    "/v1/shows/{show_id}/bookings/{booking_id}/cancel",
    who=Buyer("bookings.write"),
    answers={200: BookingJson},
    refusals=(NotCancellable,),
    once=True,
)
async def cancel(call: Call[None], tx: Transaction) -> BookingJson:
    """Let a hold or a queued claim go at once, or cancel a booking.

    Buyers cancel free bookings until the show begins; for others they ask the organizer. A booking that was paid for is
    refunded: it stays CONFIRMED, with suspended tickets, until the money has gone back.
    """
    found = await own_booking(call, "bookings.write", tx)
    office = call.state.office
    # Before anything is locked, as in `confirm`.
    view = await office.views.get(found.show_id)
    note = _note(call, tx, "booking.cancelled", found)
    if found.status == "QUEUED":
        found = await booking.let_queued_go(tx, found, note=note)
    if found.status == "FAILED":
        return booking_json(found, view)
    if call.caller.principal is not None:
        may_refund = accounts.permits(call.caller.principal, "bookings.refund", found.organizer_id)
        ended = await booking.call_off(
            tx,
            office,
            found,
            "by_organizer",
            by=call.caller.principal.person_id,
            may_refund=may_refund,
            note=note,
        )
    else:
        free = found.total == 0 and found.read_at < view.show.start_time
        ended = await booking.cancel(
            tx, office, found.show_id, found.booking_id, "by_buyer", sold_too=free, note=note
        )
    return booking_json(ended, view)


@routes.post(
    "/v1/shows/{show_id}/blocks",
    who=Staff("blocks.write"),
    body=BlockSpec,
    answers={201: BlockJson},
    refusals=(ShowNotFound, SeatsTaken, SoldOut, UnknownSeat),
    once=True,
    example={"seats": ["A-1", "A-2"], "reason": "House seats"},
)
async def create_block(call: Call[BlockSpec], tx: Transaction) -> Answer:
    """Keep free places off sale."""
    view = await _own_show(call)
    made = await booking.block(tx, call.state.office, view, call.body, call.caller.person_id)
    await accounts.audit(
        tx, call, "block.created", organizer_id=view.show.organizer_id, subject=made.block_id, show_id=made.show_id,
        after=_block_amounts(made),
    )  # fmt: skip
    return created(_block_json(made, view), f"/v1/shows/{view.show.show_id}/blocks/{made.block_id}")


@routes.get(
    "/v1/shows/{show_id}/blocks",
    who=Staff("blocks.write"),
    query=PageQuery,
    answers={200: BlocksJson},
    refusals=(ShowNotFound,),
)
async def list_blocks(call: Call[None]) -> BlocksJson:
    """List the blocks of a show, oldest first."""
    view = await _own_show(call)
    after = id_in(call.query.cursor) or UUID(int=0)
    found = await booking.blocks_of(call.db, view.show.show_id, after, call.query.limit + 1)
    page, following = page_of(found, call.query.limit, lambda b: b.block_id.hex)
    return BlocksJson([_block_json(each, view) for each in page], following)


@routes.get(
    "/v1/shows/{show_id}/blocks/{block_id}",
    who=Staff("blocks.write"),
    answers={200: BlockJson},
    refusals=(ShowNotFound,),
)
async def read_block(call: Call[None]) -> BlockJson:
    """Read a block."""
    view = await _own_show(call)
    found = await booking.block_by_id(call.db, view.show.show_id, BlockId(call.path["block_id"]))
    return _block_json(found, view)


@routes.delete(
    "/v1/shows/{show_id}/blocks/{block_id}",
    who=Staff("blocks.write"),
    answers={204: None},
    refusals=(ShowNotFound,),
)
async def delete_block(call: Call[None]) -> None:
    """Put blocked places back on sale."""
    view = await _own_show(call)
    show_id, block_id = view.show.show_id, BlockId(call.path["block_id"])
    async with call.db.transaction() as tx:
        found = await booking.block_by_id(tx, show_id, block_id)
        await booking.release_block(tx, call.state.office, show_id, block_id)
        await accounts.audit(
            tx, call, "block.released", organizer_id=view.show.organizer_id, subject=block_id, show_id=show_id,
            before=_block_amounts(found),
        )  # fmt: skip


def _asker(call: Call[Any]) -> Asker:
    caller, key = call.caller, call.idempotency_key()
    if key is None:
        return Asker(customer_id=caller.customer_id)
    is_known = caller.principal is not None or caller.customer_id is not None
    if not is_known and len(key) < ANONYMOUS_KEY_LENGTH_MIN:
        raise Invalid(
            f"Without a token a key needs at least {ANONYMOUS_KEY_LENGTH_MIN} characters, and they should be random.",
            errors=[{"pointer": "/Idempotency-Key", "detail": "Too short.", "in": "header"}],
        )
    scope = "anyone"
    if is_known:
        scope = caller.principal.name if caller.principal else f"customer:{caller.customer_id}"
    return Asker(booking.key_digest(scope, key), call.fingerprint(), caller.customer_id)


def _prefers_async(call: Call[Any]) -> bool:
    preferences = (call.header("prefer") or "").split(",")
    return any(each.partition(";")[0].strip().lower() == "respond-async" for each in preferences)


async def _queued(call: Call[ClaimRequest]) -> Answer:
    engine, show_id = call.state, ShowId(call.path["show_id"])
    claimed = await booking.enqueue(engine.office, show_id, call.body, _asker(call))
    booking_id = claimed.booking.booking_id
    view = await engine.office.views.get(show_id)
    shown = booking_json(claimed.booking, view, secret=engine.booking_secret(show_id, booking_id))
    answer = created(shown, f"/v1/shows/{show_id}/bookings/{booking_id}")
    if claimed.booking.status == "QUEUED":
        answer.status = 202
        answer.headers = (*answer.headers, (b"preference-applied", b"respond-async"))
    return answer


def _note(call: Call[Any], tx: Transaction, action: str, found: Booking) -> accounts.Note:
    return partial(
        accounts.audit, tx, call, action, organizer_id=found.organizer_id, subject=found.booking_id, show_id=found.show_id
    )  # fmt: skip


def _block_amounts(block: booking.Block) -> dict[str, Any]:
    return {
        "area": block.area,
        "quantity": block.quantity,
        "seats": block.seats,
        "release_at": block.release_at,
    }


async def _own_show(call: Call[Any]) -> booking.View:
    view: booking.View = await call.state.office.views.get(ShowId(call.path["show_id"]))
    accounts.require(call.caller, "blocks.write", view.show.organizer_id, missing=ShowNotFound)
    return view


def booking_json(
    found: Booking, view: booking.View, secret: str | msgspec.UnsetType = msgspec.UNSET
) -> BookingJson:
    plan = view.plan
    tiers = {tier.tier: tier.name for tier in view.show.tiers}
    seats: list[str | None] = [plan.name(seat) for seat in found.seats] or [None] * len(found.areas)
    places = [
        PlaceJson(plan.areas[area - 1].name, seat, tiers.get(tier), amount)
        for area, seat, tier, amount in zip(found.areas, seats, found.tiers, found.amounts, strict=True)
    ]
    for number in found.given_back or ():
        places[number - 1].refunded = True
    status, reason = ("FAILED", "expired") if found.is_overdue else (found.status, found.reason)
    pending = status == "PENDING" and found.expires_at is not None
    return BookingJson(
        id=found.booking_id,
        reference=found.reference,
        show_id=found.show_id,
        status=status,
        reason=reason,
        places=places,
        total=Money(found.total, found.currency),
        customer=CustomerJson(found.email, found.name),
        expires_at=clock.rfc3339(found.expires_at) if pending and found.expires_at else None,
        expires_in_seconds=int(found.seconds_left) if pending else None,
        created_at=clock.rfc3339(found.created_at),
        confirmed_at=clock.rfc3339(found.confirmed_at) if found.confirmed_at else None,
        version=found.version,
        secret=secret,
    )


def _block_json(block: booking.Block, view: booking.View) -> BlockJson:
    return BlockJson(
        id=block.block_id,
        show_id=block.show_id,
        reason=block.reason,
        seats=[view.plan.name(seat) for seat in block.seats],
        area=None if block.seats else view.plan.areas[block.area - 1].name,
        quantity=block.quantity,
        release_at=clock.rfc3339(block.release_at) if block.release_at else None,
        created_at=clock.rfc3339(block.created_at),
    )
