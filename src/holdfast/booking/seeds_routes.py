"""The routes of the design documents that the project started from, to the letter: thin, for those who build on them.

The bodies have the documents' names and shapes, ids are UUIDs, times are ISO 8601 in UTC with `Z` (in whole seconds
unless a show starts between two), and every refusal and fault is `{"error": ...}`. The setting `seed_routes` says who may
use them: anyone (`open`), people with a permission, within their organizer (`staff`), or nobody (`off`: the app then
leaves them out). New programs use `/v1`, which has prices, secrets of bookings and refusals with a code.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, booking, catalog
from holdfast.accounts import Permission, Principal, Staff
from holdfast.booking import (
    Asker,
    Booking,
    BookingNotFound,
    ClaimRequest,
    Customer,
    LimitReached,
    PaymentRequired,
    SeatsTaken,
    TooManyPlaces,
    View,
)
from holdfast.booking.challenge_routes import CHALLENGE_ANSWER, prove
from holdfast.catalog import ShowNotFound, ShowSpec
from holdfast.platform import clock
from holdfast.platform.db import Database, Transaction
from holdfast.platform.errors import Conflict, Invalid, Refusal
from holdfast.platform.http import (
    ANYONE,
    IDEMPOTENCY_KEY,
    Answer,
    BodyTooLarge,
    Call,
    Moment,
    Routes,
    Timestamp,
    Who,
    problem,
)
from holdfast.platform.ids import BookingId, OrganizerId, ShowId

# The documents' lists have no pages.
SHOWS_MAX = 1000
# Of a refusal that names seats, this many are written out.
SEATS_NAMED_MAX = 20

routes = Routes("seeds", missing={"show_id": ShowNotFound, "booking_id": BookingNotFound})


@dataclass(frozen=True)
class SeedUser(Who):
    """Anyone while the setting `seed_routes` is open, else people with this permission. The app asks `under`."""

    permission: Permission
    name: str = field(default="seed user", init=False)
    security: tuple[str, ...] = field(default=("", "staff"), init=False)

    def under(self, setting: str) -> Who:
        """Who that is under the setting; the handler gets None where it is anyone, else a Principal."""
        return ANYONE if setting == "open" else Staff(self.permission)


SeatNumber = Annotated[int, Meta(ge=0, le=2**31 - 1)] | Annotated[str, Meta(min_length=1, max_length=150)]
Status = Literal["PENDING", "CONFIRMED", "FAILED"]
# What waits in the queue has no status of the documents' three; seed 002 calls it QUEUED.
SeatsStatus = Literal["QUEUED", "PENDING", "CONFIRMED", "FAILED"]
# The documents number their shows. Such a number is an id like another here, only that no show has it.
AnyId = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[str, Meta(min_length=1, max_length=255)]


class SeedShowBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    start_time: Moment
    total_seats: Annotated[int, Meta(ge=1, le=200_000)]


class SeedShowJson(msgspec.Struct):
    id: UUID
    name: str
    start_time: Timestamp
    total_seats: int
    booked_seats: int
    created_at: Timestamp


class SeedShowMade(msgspec.Struct):
    message: str
    show: SeedShowJson


class SeedShowCard(msgspec.Struct):
    id: UUID
    name: str
    start_time: Timestamp
    total_seats: int
    available_seats: int


class SeedSeat(msgspec.Struct):
    """A seat; `booked` when it is held, sold or kept off sale."""

    seat_number: int | str
    booked: bool


class SeedBookBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`seat_count`: a booking counts a million places at most; more than a show has are a FAILED booking."""

    show_id: AnyId
    seat_count: Annotated[int, Meta(ge=1, le=1_000_000)]


class SeedBooked(msgspec.Struct):
    id: UUID
    show_id: UUID
    seat_count: int
    status: Status
    created_at: Timestamp


class SeedBookAnswer(msgspec.Struct):
    message: str
    booking: SeedBooked


class SeedClaimBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    show_id: AnyId
    user_email: Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]
    seat_numbers: Annotated[list[SeatNumber], Meta(min_length=1, max_length=10_000)]


class SeedBooking(msgspec.Struct):
    """A booking with seats. CANCELLED ones are FAILED here; `expires_at` is null unless it is PENDING."""

    booking_id: UUID
    show_id: UUID
    user_email: str | None
    seat_numbers: list[int | str]
    status: SeatsStatus
    expires_at: Timestamp | None


class SeedQueued(msgspec.Struct):
    booking_id: UUID
    message: str


class SeedError(msgspec.Struct):
    error: str


class SeedConflict(msgspec.Struct):
    """What is in the way; the last two are sent when it is the seats, in the form in which they were asked for."""

    error: str
    status: str | msgspec.UnsetType = msgspec.UNSET
    conflictSeats: list[int | str] | msgspec.UnsetType = msgspec.UNSET  # noqa: N815 -- the documents' name


_TEXTS: dict[type[Refusal], str] = {ShowNotFound: "Show not found", BookingNotFound: "Booking not found"}
_EXPECTED = {
    "show_id": "show_id must be the id of a show.",
    "user_email": "user_email must be an e-mail address.",
    "seat_numbers": "seat_numbers must be 1 to 10000 seats, by number or name.",
}


def _errors(bad_request: str | None = None) -> Callable[[Exception], Answer]:
    """Refusals and faults as `{"error": ...}`. Every 400 says `bad_request`, or, without it, what is wrong."""

    def rendered(error: Exception) -> Answer:
        if not isinstance(error, Refusal):
            return Answer(500, SeedError("Internal Server Error"))
        text = bad_request if bad_request is not None and error.status == 400 else _said(error)
        # The headers are the same in every form: how long to wait, how to sign in.
        return Answer(error.status, SeedError(text), problem(error, "").headers)

    return rendered


def _said(refusal: Refusal) -> str:
    if type(refusal) in _TEXTS:
        return _TEXTS[type(refusal)]
    text = refusal.detail or refusal.title
    if isinstance(refusal, Invalid):
        pointer: str = refusal.members["errors"][0]["pointer"]
        return _EXPECTED.get(pointer.removeprefix("/").partition("/")[0], text)
    if isinstance(refusal, TooManyPlaces | LimitReached | BodyTooLarge):
        return f"{refusal.title} {text}"
    if seats := refusal.members.get("seats"):
        more = f" and {len(seats) - SEATS_NAMED_MAX} more" if len(seats) > SEATS_NAMED_MAX else ""
        return f"{text.rstrip('.')}: {', '.join(seats[:SEATS_NAMED_MAX])}{more}."
    return text


@routes.post(
    "/admin/show",
    who=SeedUser("shows.write"),
    body=SeedShowBody,
    answers={201: SeedShowMade, 400: SeedError},
    problems=_errors("All fields are required and must be valid"),
    once=True,
    operation_id="seed_admin_show",
    example={"name": "Avengers: Endgame", "start_time": "2024-03-25T18:00:00Z", "total_seats": 100},
)
async def admin_show(call: Call[SeedShowBody], tx: Transaction) -> SeedShowMade:
    """Create a show of free seats `1` to `total_seats`, on sale at once.

    Where these routes are open to anyone, it belongs to the first organizer.
    """
    principal: Principal | None = call.caller
    if principal is not None:
        return await _made(call, tx, principal.organizer_id)
    owner = await accounts.first_owner(tx)
    if owner is None:
        raise Conflict("Nobody could own this show: no organizer has been set up yet.")
    return await _made(call, tx, owner.organizer_id)


@routes.post(
    "/api/admin/shows",
    who=Staff("shows.write"),
    body=SeedShowBody,
    answers={201: SeedShowMade, 400: SeedError, 401: SeedError, 403: SeedError},
    problems=_errors("All fields are required and must be valid"),
    once=True,
    operation_id="seed_api_admin_shows",
    example={"name": "Avengers: Endgame", "start_time": "2024-03-25T18:00:00Z", "total_seats": 100},
)
async def api_admin_shows(call: Call[SeedShowBody], tx: Transaction) -> SeedShowMade:
    """The same for owners and managers alone, however open the other routes are."""
    return await _made(call, tx, call.caller.organizer_id)


@routes.get(
    "/shows",
    who=SeedUser("bookings.write"),
    answers={200: list[SeedShowCard]},
    problems=_errors(),
    operation_id="seed_shows",
)
async def list_shows(call: Call[None]) -> list[SeedShowCard]:
    """List the shows that are sold, in the order of their start.

    There are no pages: it is bounded to the 1,000 that start last, past ones among them while they are on sale.
    `GET /v1/shows` has them all.
    """
    return await _cards(call)


@routes.get(
    "/api/shows",
    who=SeedUser("bookings.write"),
    answers={200: list[SeedShowCard]},
    problems=_errors(),
    operation_id="seed_api_shows",
)
async def list_api_shows(call: Call[None]) -> list[SeedShowCard]:
    """The same list."""
    return await _cards(call)


@routes.get(
    "/api/shows/{show_id}/seats",
    who=SeedUser("bookings.write"),
    answers={200: list[SeedSeat], 404: SeedError},
    problems=_errors(),
    operation_id="seed_api_seats",
)
async def list_seats(call: Call[None]) -> Answer:
    """List every seat of a show; standing areas have none."""
    view = await _show(call, call.path["show_id"])
    # In a thread, because 200,000 seats take some tenths of a second.
    return Answer(200, await asyncio.to_thread(_encoded_seats, view))


@routes.post(
    "/book",
    who=SeedUser("bookings.write"),
    limit="claims",
    body=SeedBookBody,
    headers=(IDEMPOTENCY_KEY, CHALLENGE_ANSWER),
    answers={200: SeedBookAnswer, 400: SeedError, 404: SeedError, 409: SeedError, 500: SeedError},
    problems=_errors("Invalid input"),
    operation_id="seed_book",
    example={"show_id": "0192f5a0-8c9e-7d3f-9a41-c6be50217d84", "seat_count": 2},
)
async def book(call: Call[SeedBookBody]) -> SeedBookAnswer:
    """Book any free places of a show at once; too few left is a FAILED booking, not an error.

    They stand in one area, together if possible. A show with a price answers 409, for nothing here takes money.
    """
    view = await _show(call, call.body.show_id)
    show_id, quantity = view.show.show_id, call.body.seat_count
    await prove(call, show_id)
    try:
        made = await booking.book_anywhere(call.state.office, show_id, quantity, _asker(call))
    except PaymentRequired:
        raise PaymentRequired(_pay_instead(f"/v1/shows/{show_id}/bookings", "Claim places")) from None
    status = _status(made)
    return SeedBookAnswer(
        f"Booking {status}",
        SeedBooked(made.booking_id, made.show_id, made.quantity, status, _time(made.created_at)),
    )


@routes.post(
    "/api/bookings",
    who=SeedUser("bookings.write"),
    limit="claims",
    body=SeedClaimBody,
    headers=(IDEMPOTENCY_KEY, CHALLENGE_ANSWER),
    answers={201: SeedBooking, 202: SeedQueued, 400: SeedError, 404: SeedError, 409: SeedConflict},
    problems=_errors(),
    operation_id="seed_api_book",
    example={
        "show_id": "0192f5a0-8c9e-7d3f-9a41-c6be50217d84", "user_email": "guest@example.org", "seat_numbers": [5, 6],
    },
)  # fmt: skip
async def claim_seats(call: Call[SeedClaimBody]) -> Answer:
    """Hold seats by number or name, all or none; they are free again when nobody confirms in time (120 s).

    With the setting `seed_queue` the answer is 202, and the booking tells what became of the claim.
    """
    wanted, names = call.body, [str(number) for number in call.body.seat_numbers]
    view = await _show(call, wanted.show_id)
    if len(set(names)) != len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise Invalid(f"Seat {twice} is asked for twice.")
    await prove(call, view.show.show_id)
    request = ClaimRequest(seats=names, customer=Customer(email=wanted.user_email))
    take = booking.enqueue if call.state.settings.seed_queue else booking.claim
    try:
        claimed = await take(call.state.office, view.show.show_id, request, _asker(call))
    except SeatsTaken as refusal:
        sent = {
            view.plan.ordinal(name): number for name, number in zip(names, wanted.seat_numbers, strict=True)
        }
        taken = [sent[view.plan.ordinal(name)] for name in refusal.members["seats"]]
        return Answer(409, SeedConflict("Seats already booked", "FAILED", taken))
    except Invalid as refusal:
        if refusal.members["errors"][0]["pointer"] != "/tier":
            raise
        where = f"/v1/shows/{view.show.show_id}/bookings"
        raise Conflict(f"These seats have several prices. Say which with POST {where}.") from None
    if claimed.booking.status == "QUEUED":
        return Answer(202, SeedQueued(claimed.booking.booking_id, "Booking queued for processing"))
    answer = _booking(claimed.booking, view)
    answer.seat_numbers = wanted.seat_numbers
    return Answer(201, answer)


@routes.get(
    "/api/bookings/{booking_id}",
    who=SeedUser("bookings.write"),
    answers={200: SeedBooking, 404: SeedError},
    problems=_errors(),
    operation_id="seed_api_booking",
)
async def read_booking(call: Call[None]) -> SeedBooking:
    """Read a booking. The path names no show, so each show is asked for it in turn, the newest first."""
    found, asked = await _found(call, call.db)
    return _booking(found, await call.state.office.views.get(found.show_id), asked)


@routes.post(
    "/api/bookings/{booking_id}/confirm",
    who=SeedUser("bookings.write"),
    answers={200: SeedBooking, 404: SeedError, 409: SeedError, 410: SeedError},
    problems=_errors(),
    once=True,
    operation_id="seed_api_confirm",
)
async def confirm(call: Call[None], tx: Transaction) -> SeedBooking:
    """Confirm a booking that costs nothing, before it expires."""
    found, _ = await _found(call, tx)
    booking.refuse_unmade(found)
    view = await call.state.office.views.get(found.show_id)
    note = partial(
        accounts.audit, tx, call, "booking.confirmed", organizer_id=found.organizer_id, subject=found.booking_id,
        show_id=found.show_id,
    )  # fmt: skip
    try:
        return _booking(await booking.confirm(tx, found.show_id, found.booking_id, note=note), view)
    except PaymentRequired:
        where = f"/v1/shows/{found.show_id}/bookings/{found.booking_id}/confirm"
        raise PaymentRequired(_pay_instead(where, "Staff who took the money confirm it")) from None


async def _made(call: Call[SeedShowBody], tx: Transaction, organizer_id: OrganizerId) -> SeedShowMade:
    wanted = call.body
    spec = ShowSpec(
        name=wanted.name,
        start_time=wanted.start_time,
        total_seats=wanted.total_seats,
        # /book knows no limit but the show's size; one booking has 10,000 places at most.
        max_places_per_booking=min(wanted.total_seats, 10_000),
    )
    show, plan = await booking.open_show(tx, call.state.office, organizer_id, spec)
    await accounts.audit(
        tx, call, "show.created", organizer_id=organizer_id, subject=show.show_id, show_id=show.show_id,
        after=booking.amounts_of(show, plan),
    )  # fmt: skip
    shown = SeedShowJson(
        show.show_id, show.name, _time(show.start_time, exact=True), plan.capacity, 0, _time(show.created_at)
    )
    return SeedShowMade("Show created successfully", shown)


async def _cards(call: Call[None]) -> list[SeedShowCard]:
    principal: Principal | None = call.caller
    organizer_id = principal.organizer_id if principal is not None else None
    shows = await catalog.last_to_start(call.db, organizer_id, SHOWS_MAX)
    left = await booking.places_left(call.state.office, [show.show_id for show in shows])
    return [
        SeedShowCard(show.show_id, show.name, _time(show.start_time, exact=True), *left[show.show_id])
        for show in reversed(shows)
    ]


async def _show(call: Call[Any], given: UUID | int | str) -> View:
    """The show's view, where the caller may know of the show. Raises ShowNotFound, also for what is no id."""
    try:
        show_id = ShowId(msgspec.convert(given, UUID))
    except msgspec.ValidationError:
        raise ShowNotFound from None
    view: View = await call.state.office.views.get(show_id)
    _refuse_strangers(call, view.show.organizer_id, ShowNotFound)
    if view.show.status == "draft" and call.caller is None:
        raise ShowNotFound
    return view


def _encoded_seats(view: View) -> bytes:
    seats = [SeedSeat(_number(name), view.is_taken(seat)) for seat, name in enumerate(view.plan.names())]
    return msgspec.json.encode(seats)


def _refuse_strangers(call: Call[Any], organizer_id: OrganizerId, missing: type[Refusal]) -> None:
    """Staff reach their own organizer's things; where the routes are open, everybody reaches everything."""
    if call.caller is not None:
        accounts.require(call.caller, call.route.who.permission, organizer_id, missing=missing)


def _asker(call: Call[Any]) -> Asker:
    """The keys of these routes are apart from those of /v1, whose answers carry the buyer's secret."""
    key = call.idempotency_key()
    if key is None:
        return Asker()
    scope = f"seeds:{call.caller.name}" if call.caller is not None else "seeds"
    return Asker(booking.key_digest(scope, key), call.fingerprint())


async def _found(call: Call[Any], db: Database | Transaction) -> tuple[Booking, Sequence[str]]:
    """The booking that the path names, and the seats that it asked for where it was queued and has none."""
    booking_id = BookingId(call.path["booking_id"])
    found, asked = await booking.find_anyhow(db, booking_id)
    _refuse_strangers(call, found.organizer_id, BookingNotFound)
    return found, asked


def _booking(found: Booking, view: View, asked: Sequence[str] = ()) -> SeedBooking:
    status: SeatsStatus = "QUEUED" if found.status == "QUEUED" else _status(found)
    return SeedBooking(
        booking_id=found.booking_id,
        show_id=found.show_id,
        user_email=found.email,
        seat_numbers=[_number(name) for name in map(view.plan.name, found.seats)]
        or [_number(name) for name in asked],
        status=status,
        expires_at=_time(found.expires_at) if status == "PENDING" and found.expires_at else None,
    )


def _status(found: Booking) -> Status:
    if found.status == "CONFIRMED":
        return "CONFIRMED"
    return "PENDING" if found.status == "PENDING" and not found.is_overdue else "FAILED"


def _number(name: str) -> int | str:
    """The seat's name as the documents write it: a number where it is one."""
    return int(name) if name.isascii() and name.isdigit() and (name == "0" or name[0] != "0") else name


def _time(moment: datetime, *, exact: bool = False) -> str:
    """`2024-03-25T18:00:00Z`; a start between two seconds is told exactly."""
    whole = moment if exact else moment.replace(microsecond=0)
    return clock.rfc3339(whole).replace(".000Z", "Z")


def _pay_instead(path: str, what: str) -> str:
    return f"This show has a price, and nothing here takes money. {what} with POST {path}."
