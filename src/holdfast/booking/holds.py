"""Claiming: from what a buyer asks for to a hold on places.

The request is resolved and priced against this process's view of the show, and decided by the database. When the view
was behind (the terms changed, or every seat that was offered has gone), it is read again and the claim tried again.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from hashlib import blake2b
from itertools import islice
from math import ceil
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec
from msgspec import Meta

from holdfast import catalog
from holdfast.booking.claiming import Decision, Wish
from holdfast.booking.instead import instead, moved
from holdfast.booking.lifecycle import Booking, HoldLimit, booking_by_id
from holdfast.booking.mailbox import buyer_digest
from holdfast.booking.office import Office
from holdfast.booking.promotions import REASONS, Code, CodeRequired, CodeText, code_named, code_refusal
from holdfast.booking.seating import Offer
from holdfast.booking.view import View
from holdfast.platform import clock, telemetry
from holdfast.platform.errors import Busy, Conflict, IdempotencyMismatch, Invalid, Refusal
from holdfast.platform.ids import BookingId, CustomerId, ShowId, new_id, new_reference
from holdfast.platform.mail import masked
from holdfast.platform.secret import Secrets

log = telemetry.log("booking")
_counted = cache(telemetry.CLAIMS.labels)

# A view that is behind is read again this often before the buyer is told to come back.
TRIES_MAX = 5
OFFERS = 8
SPLIT_OFFERED_MAX = 100


class SoldOut(Conflict):
    code = "sold_out"
    title = "There are not enough places left."


class NotTogether(Conflict):
    """There are enough places, but not side by side. Ask with `"split": true` to take them apart."""

    code = "not_together"
    title = "There are enough places left, but not together."


class SeatsTaken(Conflict):
    """Somebody else has them. `seats` names them; `offered`, on a claim, the nearest free ones that make up for them.

    Those are as many seats as were asked for, at the same prices, in one row if there is one that leaves nobody alone;
    none if there are too few, or if more than ten were asked for. They are held for nobody: the next claim decides.
    """

    code = "seats_taken"
    title = "Some of these seats are taken."
    example: ClassVar[Mapping[str, Any]] = {"seats": ["A-2"], "offered": ["A-3", "A-4"]}


class NotOnSale(Conflict):
    code = "not_on_sale"
    title = "The show is not on sale now."


class OrphanSeat(Conflict):
    """The choice would leave single seats alone, and this show forbids it. `seats` names those left alone; `offered` as
    many seats as were asked for, near by, that leave nobody alone.
    """

    code = "orphan_seat"
    title = "This choice would leave a single seat alone."
    example: ClassVar[Mapping[str, Any]] = {"seats": ["A-1"], "offered": ["A-1", "A-2"]}


class LimitReached(Conflict):
    code = "limit_reached"
    title = "One buyer may not have more places of this show."


class UnknownSeat(Refusal):
    """The show has no such seat, or several of this name. `seats` names them."""

    code = "unknown_seat"
    status = 400
    title = "The show has no such seats."


class TooManyPlaces(Refusal):
    code = "too_many_places"
    status = 400
    title = "One booking may not have so many places of this show."


class Customer(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Who books. Both are optional: a guest may give them later."""

    email: Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    name: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


Count = Annotated[int, Meta(ge=1, le=10_000)]
Name = Annotated[str, Meta(min_length=1, max_length=255)]


class ClaimRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a buyer asks for: one of `seats`, `quantity` and `best_available`.

    `quantity` in a seated area means best available. `tier` prices all places, `tiers` a mixed party. `code` is a promotion
    code, which gives the booking its discount and its hidden tiers.
    """

    seats: Annotated[list[Annotated[str, Meta(min_length=1, max_length=150)]], Meta(min_length=1, max_length=10_000)] | None = None  # fmt: skip
    quantity: Count | None = None
    best_available: Count | None = None
    area: catalog.AreaName | None = None
    tier: Name | None = None
    tiers: Annotated[dict[Name, Count], Meta(min_length=1, max_length=100)] | None = None
    split: bool = False
    customer: Customer | None = None
    confirm: bool = False
    code: CodeText | None = None


class Asker(NamedTuple):
    """Who claims: `key` is the digest of an idempotency key within the caller's scope (see `key_digest`).

    `customer_id`: the account of a buyer who has signed in.
    """

    key: bytes | None = None
    fingerprint: bytes = b""
    customer_id: CustomerId | None = None


class Claimed(NamedTuple):
    """A booking that was made by this claim, or by an equal one before (`replayed`)."""

    booking: Booking
    replayed: bool
    relaxed: str | None


def key_digest(scope: str, key: str) -> bytes:
    """16 bytes that stand for an Idempotency-Key of one caller."""
    return blake2b(f"{scope}\0{key}".encode(), digest_size=16).digest()


async def claim(office: Office, show_id: ShowId, request: ClaimRequest, asker: Asker) -> Claimed:
    """A hold on the places asked for, or a sale at once when they are free and `confirm` is set.

    Raises ShowNotFound; Invalid, UnknownSeat and TooManyPlaces for what cannot be asked for; SoldOut, NotTogether,
    SeatsTaken, NotOnSale, OrphanSeat, LimitReached and HoldLimit; CodeUnknown, CodeRefused and CodeRequired;
    IdempotencyMismatch; Busy.
    """
    started = time.perf_counter()
    try:
        claimed = await _claim(office, show_id, request, asker)
    except Refusal as refusal:
        _counted(refusal.code).inc()
        office.ends.add(show_id, refusal.code)
        log.info(
            "booking failed", show_id=show_id, reason=refusal.code, conflict_seats=refusal.members.get("seats"),
            latency_ms=round((time.perf_counter() - started) * 1000, 1),
        )  # fmt: skip
        raise
    booking = claimed.booking
    _counted("replayed" if claimed.replayed else booking.status.lower()).inc()
    telemetry.CLAIM_PLACES.observe(booking.quantity)
    log.info(
        "booking attempt", show_id=show_id, booking_id=booking.booking_id, seat_count=booking.quantity,
        user_email=masked(booking.email), status=booking.status, replayed=claimed.replayed,
        latency_ms=round((time.perf_counter() - started) * 1000, 1),
    )  # fmt: skip
    return claimed


async def on_offer(office: Office, show_id: ShowId) -> View:
    """The view of a show that buyers may know of. Raises ShowNotFound, also for a draft."""
    view = await office.views.get(show_id)
    if view.show.status == "draft":
        # It may have gone on sale a moment ago, elsewhere. If not, nobody is to learn that it is there.
        view = await office.views.renewed(view)
        if view.show.status == "draft":
            raise catalog.ShowNotFound
    return view


async def _claim(office: Office, show_id: ShowId, request: ClaimRequest, asker: Asker) -> Claimed:
    view = await on_offer(office, show_id)
    code = await code_named(office.db, show_id, request.code) if request.code is not None else None
    for attempt in range(TRIES_MAX):
        places, refusal = _resolved(view, request, code, attempt)
        wish, revision = _wish(office.secrets, view, request, code, asker, places), view.revision
        if refusal is not None and not is_asked(wish, refusal):
            raise refusal
        if places.offers:
            with view.offering(places.offers[0].seats):
                decision = await office.claimer.decide(wish)
        else:
            decision = await office.claimer.decide(wish)
        match decision.outcome:
            case "pending" | "confirmed":
                if decision.booking_id != wish.booking_id:
                    # An equal wish at the same moment was decided for both.
                    return Claimed(await booking_by_id(office.db, show_id, decision.booking_id), True, None)
                return Claimed(_booking(view, wish, decision), False, _relaxed(view, places, decision.seats))
            case "replayed":
                return Claimed(await booking_by_id(office.db, show_id, decision.booking_id), True, None)
            case "mismatch":
                raise IdempotencyMismatch
            case "again" if view.revision > revision:
                continue  # The changes that were missing have come in.
            case "stale" | "again":
                view = await office.views.renewed(view)
            case "sold_out" | "not_together" if (
                attempt + 1 < TRIES_MAX
                and could_be_elsewhere(view, wish)
                # All areas were looked through for those who sit together, unless there is news.
                and (decision.outcome == "sold_out" or view.revision > revision)
            ):
                view = await office.views.renewed(view)
            case "seats_taken":
                show = view.show if code is None else code.applied(view.show)
                offered = instead(view, show, places.seats, decision.seats)
                raise SeatsTaken(seats=_names(view, decision.seats), offered=_names(view, offered))
            case _:
                raise refusal_of(view, decision, refusal)
    raise Busy("The show is changing too fast to offer seats.")


def wished(
    secrets: Secrets, view: View, request: ClaimRequest, code: Code | None, asker: Asker, attempt: int = 0
) -> tuple[Wish, Refusal | None]:
    """The request as the database takes it, and the refusal that the view alone would give."""
    places, refusal = _resolved(view, request, code, attempt)
    return _wish(secrets, view, request, code, asker, places), refusal


def _resolved(
    view: View, request: ClaimRequest, code: Code | None, attempt: int
) -> "tuple[_Places, Refusal | None]":
    """The places asked for; or a place that no show has, and the refusal that the view alone would give."""
    try:
        if code is None:
            return _places(view, view.show, request, attempt), None
        places = _places(view, code.applied(view.show), request, attempt)
        if not any(map(code.serves, places.tiers)):
            # It would be used up for nothing.
            raise code_refusal("code_tiers")
        return places, None
    except Refusal as refusal:
        return _IMPOSSIBLE, refusal


def is_asked(wish: Wish, refusal: Refusal) -> bool:
    """Whether the database is asked although the view alone refuses.

    A claim with a key may be the retry of one that succeeded, and a retry of a success must never hear anything else.
    And what would leave a seat alone may not be on sale at all.
    """
    return wish.key is not None or isinstance(refusal, OrphanSeat)


class _Places(msgspec.Struct, frozen=True):
    """Where the places are to be: `count` in a standing `area`, named `seats`, or the best of `offers` in `area`."""

    count: int
    area: int | None
    tiers: Sequence[int]
    amounts: Sequence[int]
    seats: Sequence[int] = ()
    offers: Sequence[Offer] = ()
    anywhere: bool = False


# No show has an area 0: the database answers `sold_out` after it has looked at the key.
_IMPOSSIBLE = _Places(1, 0, (0,), (0,))


def _places(view: View, show: "catalog.Show", request: ClaimRequest, attempt: int) -> _Places:
    """Where and for how much; `show` is the view's, with the prices and the tiers of who asks."""
    asked = [name for name in ("seats", "quantity", "best_available") if getattr(request, name) is not None]
    if len(asked) != 1:
        pointer = f"/{asked[1]}" if asked else ""
        raise Invalid("Give one of seats, quantity and best_available.", pointer=pointer)
    if request.tier is not None and request.tiers is not None:
        raise Invalid("Give tier or tiers.", pointer="/tiers")
    if request.customer is not None and request.customer.name is not None:
        catalog.printable(request.customer.name, "/customer/name")
    count = (
        len(request.seats) if request.seats is not None else request.quantity or request.best_available or 0
    )
    if count > view.show.max_places_per_booking:
        raise TooManyPlaces(f"At most {view.show.max_places_per_booking}.")
    if request.tiers is not None and sum(request.tiers.values()) != count:
        raise Invalid(f"The tiers must count {count} places in all.", pointer="/tiers")
    if request.seats is not None:
        return _named_seats(view, show, request)
    area = _area(view, show, request)
    if area is not None and area.kind == "standing":
        if request.best_available is not None:
            raise Invalid("This area has no seats. Ask for a quantity.", pointer="/best_available")
        tiers, amounts = _prices(view, show, request, [area.number] * count)
        return _Places(count, area.number, tiers, amounts)
    return _best_available(view, show, request, area, count, attempt)


def _named_seats(view: View, show: "catalog.Show", request: ClaimRequest) -> _Places:
    assert request.seats is not None
    if request.area is not None and view.plan.area(request.area) is None:
        raise Invalid("The show has no area of this name.", pointer="/area")
    seats, unknown = [], []
    for name in request.seats:
        ordinal = view.plan.ordinal(name)
        if ordinal is None and request.area is not None:
            ordinal = view.plan.ordinal(f"{request.area}:{name}")
        if ordinal is None:
            unknown.append(name)
        else:
            seats.append(ordinal)
    if unknown:
        raise UnknownSeat(seats=unknown)
    if len(set(seats)) != len(seats):
        firsts = {seat: len(seats) - i for i, seat in enumerate(reversed(seats), 1)}
        twice = next(i for i, seat in enumerate(seats) if firsts[seat] < i)
        raise Invalid("This seat is asked for twice.", pointer=f"/seats/{twice}")
    areas = [view.plan.area_of(seat).number for seat in seats]
    if request.area is not None and any(view.plan.areas[area - 1].name != request.area for area in areas):
        raise Invalid("Not all of these seats are in this area.", pointer="/area")
    tiers, amounts = _prices(view, show, request, areas)
    if view.show.orphans == "refuse" and not any(map(view.is_taken, seats)):
        _refuse_orphans(view, seats, areas)
    return _Places(len(seats), None, tiers, amounts, seats=seats)


def _refuse_orphans(view: View, seats: Sequence[int], areas: Sequence[int]) -> None:
    """The rule is this process's to apply, on a view that may be a moment behind; it never costs the last sale."""
    # Whoever sits beside a place for a wheelchair sits beside nobody whom they could ask to move up.
    taken = _with_taken(view.taken, view.plan.access_bits)
    alone = view.seating.orphans(seats, taken)
    if alone and all(view.seating.orphan_avoidable(areas.count(a), taken, a) for a in set(areas)):
        raise OrphanSeat(seats=_names(view, alone), offered=_names(view, moved(view, seats)))


def _names(view: View, seats: Sequence[int]) -> list[str]:
    return [view.plan.name(seat) for seat in seats]


def _best_available(
    view: View,
    show: "catalog.Show",
    request: ClaimRequest,
    area: "catalog.Area | None",
    count: int,
    attempt: int,
) -> _Places:
    anywhere = area is None
    # The geometry of a large party that may be split takes seconds.
    split = request.split and count <= SPLIT_OFFERED_MAX
    # Alone, a claim is offered the very best seats; in a crowd each process begins at others among equals.
    spread = attempt + (_SPREAD if view.is_contended else 0)
    best = partial(
        view.seating.best,
        area.number if area else None,
        count,
        allow_split=split,
        limit=OFFERS,
        spread=spread,
    )
    selling = [area] if area else _selling(view, show, request)
    shut = [] if area else [each for each in _seated(view) if each not in selling]
    kept = view.plan.access_bits
    for each in shut:
        kept |= ((1 << each.seats) - 1) << each.first
    offers = best(_with_taken(view.taken_or_offered(), kept)) or best(_with_taken(view.taken, kept))
    if offers and area is None:
        # One area, because prices differ between areas: that of the best offer.
        area = view.plan.area_of(offers[0].seats[0])
        offers = [o for o in offers if all(view.plan.area_of(seat) is area for seat in o.seats)]
    if area is None:
        # Perhaps in vain, but before it refuses the database fails the holds that are overdue, in all areas.
        area = max(selling, key=lambda each: view.left[each.number - 1])
    if not offers and request.split and not split:
        offers = _first_free(view, area, count)
    tiers, amounts = _prices(view, show, request, [area.number] * count)
    # Without an offer the database looks for a first fit under its lock, and knows better why there is none.
    return _Places(count, area.number, tiers, amounts, offers=offers, anywhere=anywhere)


def _seated(view: View) -> list["catalog.Area"]:
    return [area for area in view.plan.areas if area.kind == "seated"]


def _selling(view: View, show: "catalog.Show", request: ClaimRequest) -> list["catalog.Area"]:
    """The seated areas where every tier asked for is sold; all of them where no area sells them, to be told so."""
    names = {request.tier} if request.tier is not None else set(request.tiers or ())
    seated = _seated(view)
    if not seated:
        raise Invalid("The show has no seats. Ask for a quantity.", pointer="/best_available")
    return [a for a in seated if _sells(show, a.number, names)] or seated


def _sells(show: "catalog.Show", area: int, names: set[str]) -> bool:
    """Whether places of the area are sold by all of these tiers; by any tier, where none is named."""
    tiers = show.tiers_of(area)
    open_to_all = {tier.name for tier in tiers if not tier.hidden}
    return names <= open_to_all and (bool(open_to_all) or not tiers)


def _with_taken(taken: bytes | bytearray, kept: int) -> bytes | bytearray:
    """The bitmap as if the seats of `kept`, bit i for seat i, were taken as well."""
    if not kept:
        return taken
    return (int.from_bytes(taken, "little") | kept).to_bytes(len(taken), "little")


def _first_free(view: View, area: "catalog.Area", count: int) -> list[Offer]:
    taken = _with_taken(view.taken_or_offered(), view.plan.access_bits)
    free = (
        seat
        for seat in range(area.first, area.first + area.capacity)
        if not taken[seat >> 3] >> (seat & 7) & 1
    )
    seats = tuple(islice(free, count))
    return [Offer(seats, "split")] if len(seats) == count else []


def _area(view: View, show: "catalog.Show", request: ClaimRequest) -> "catalog.Area | None":
    """The one area meant: by name, by its tier, or because there is no other. None: any seated area."""
    if request.area is not None:
        area = view.plan.area(request.area)
        if area is None:
            raise Invalid("The show has no area of this name.", pointer="/area")
        return area
    names = {request.tier} if request.tier is not None else set(request.tiers or ())
    if names:
        having = {t.area for t in show.tiers if t.name in names and not t.hidden}
        if len(having) == 1:
            return view.plan.areas[having.pop() - 1]
        if not having:
            raise Invalid("The show has no such tier.", pointer="/tier" if request.tier else "/tiers")
    if len(view.plan.areas) == 1:
        return view.plan.areas[0]
    if request.best_available is not None:
        return None
    areas = ", ".join(area.name for area in view.plan.areas)
    raise Invalid(f"Say in which area: {areas}.", pointer="/area")


def _prices(
    view: View, show: "catalog.Show", request: ClaimRequest, areas: Sequence[int]
) -> tuple[list[int], list[int]]:
    """The tier (0: none, free) and the all-in amount of each place."""
    left: dict[str, int] | None = dict(request.tiers) if request.tiers is not None else None
    by_area = {area: _open_tiers(show, area) for area in set(areas)}
    tiers, amounts = [], []
    for area in areas:
        tier = _tier(view, request, by_area[area], area, left)
        tiers.append(tier.tier if tier else 0)
        amounts.append(tier.due if tier else 0)
    return tiers, amounts


def _open_tiers(show: "catalog.Show", area: int) -> list["catalog.Tier"]:
    offered = [tier for tier in show.tiers if tier.area == area and not tier.hidden]
    if not offered and show.tiers_of(area):
        raise CodeRequired
    return offered


def _tier(
    view: View,
    request: ClaimRequest,
    offered: Sequence["catalog.Tier"],
    area: int,
    left: "dict[str, int] | None",
) -> "catalog.Tier | None":
    where = view.plan.areas[area - 1].name
    if left is not None:
        for tier in offered:
            if left.get(tier.name, 0) > 0:
                left[tier.name] -= 1
                return tier
        raise Invalid(f"The tiers do not fit the places in {where}.", pointer="/tiers")
    if request.tier is not None:
        for tier in offered:
            if tier.name == request.tier:
                return tier
        raise Invalid(f"{where} has no such tier.", pointer="/tier")
    if len(offered) > 1:
        names = ", ".join(tier.name for tier in offered)
        raise Invalid(f"Say for which tier of {where}: {names}.", pointer="/tier")
    return offered[0] if offered else None


def _wish(
    secrets: Secrets, view: View, request: ClaimRequest, code: Code | None, asker: Asker, places: _Places
) -> Wish:
    show = view.show
    customer = request.customer or _NOBODY
    return Wish(
        show_id=show.show_id, terms=show.version, organizer_id=show.organizer_id, currency=show.currency,
        hold_seconds=show.hold_seconds, hold_seconds_max=show.hold_seconds_max, buyer_max=show.max_places_per_buyer,
        booking_id=BookingId(new_id()), reference=new_reference(), key=asker.key, fingerprint=asker.fingerprint,
        buyer=buyer_digest(secrets, customer.email) if customer.email else None, email=customer.email, name=customer.name,
        customer_id=asker.customer_id, confirm=request.confirm and sum(places.amounts) == 0, places=places.count,
        area=places.area, split=request.split, options=len(places.offers) or (1 if places.seats else 0),
        seats=places.seats or [seat for offer in places.offers for seat in offer.seats], tiers=places.tiers, amounts=places.amounts,
        code_id=code.code_id if code is not None else None, anywhere=places.anywhere,
    )  # fmt: skip


def _booking(view: View, wish: Wish, decision: Decision) -> Booking:
    """The booking as it was just written, without asking for it."""
    assert decision.deadline is not None
    areas = [view.plan.area_of(seat).number for seat in decision.seats] or [wish.area or 0] * wish.places
    confirmed = decision.outcome == "confirmed"
    return Booking(
        show_id=wish.show_id, booking_id=wish.booking_id, organizer_id=wish.organizer_id, reference=wish.reference,
        status="CONFIRMED" if confirmed else "PENDING", reason=None, version=1, quantity=wish.places, areas=areas,
        seats=list(decision.seats), tiers=list(wish.tiers), amounts=list(wish.amounts), total=sum(wish.amounts),
        currency=wish.currency, email=wish.email, name=wish.name, created_at=decision.decided_at,
        expires_at=decision.deadline, extended=False, confirmed_at=decision.decided_at if confirmed else None,
        ended_at=None, read_at=decision.decided_at, buyer=wish.buyer, customer_id=wish.customer_id,
        terms=wish.terms, code_id=wish.code_id,
    )  # fmt: skip


def refusal_of(view: View, decision: Decision, alone: Refusal | None) -> Refusal:
    """What a decision against a claim is called; `alone` is the refusal that the view gave before."""
    if alone is not None and not (isinstance(alone, OrphanSeat) and decision.outcome == "not_on_sale"):
        return alone
    match decision.outcome:
        case "sold_out":
            return SoldOut()
        case "not_together":
            return NotTogether()
        case "seats_taken":
            return SeatsTaken(seats=_names(view, decision.seats))
        case "not_on_sale":
            return NotOnSale(**_sale_window(view.show, decision.decided_at))
        case "limit_reached":
            return LimitReached(f"At most {view.show.max_places_per_buyer} places.")
        case "hold_limit":
            return HoldLimit("Holds without buying have used up their time.")
        case "show_not_found":
            return catalog.ShowNotFound()
        case outcome if outcome in REASONS:
            return code_refusal(outcome)
    raise AssertionError(f"claim() answered {decision.outcome!r}")


def _sale_window(show: "catalog.Show", now: datetime) -> Mapping[str, Any]:
    """When it opens, and how long to wait, when it opens at all."""
    if show.selling and show.sale_opens_at is not None and now < show.sale_opens_at:
        return {
            "retry_after": max(1, ceil((show.sale_opens_at - now).total_seconds())),
            "opens_at": clock.rfc3339(show.sale_opens_at),
        }
    return {}


def could_be_elsewhere(view: View, wish: Wish) -> bool:
    """Whether another seated area could take the party that asked for any and found too little in one."""
    if not wish.anywhere:
        return False
    others = [
        left - view.kept_free(area) for area, left in zip(view.plan.areas, view.left, strict=True)
        if area.kind == "seated" and area.number != wish.area
    ]  # fmt: skip
    return max(others, default=0) >= wish.places


def _relaxed(view: View, places: _Places, seats: Sequence[int]) -> str | None:
    """What was given up for these seats, `orphan` or `split`; None for what was asked for."""
    if places.area is None or not seats:
        return None
    for offer in places.offers:
        if set(offer.seats) == set(seats):
            return offer.relaxed
    # A first fit: it stands in one piece, or it does not.
    runs = [range(first, first + length) for first, length in view.plan.row_of(min(seats)).runs()]
    together = any(min(seats) in run and max(seats) in run for run in runs) and max(seats) - min(seats) < len(
        seats
    )
    return "orphan" if together else "split"


_NOBODY = Customer()
# Each process begins its offers at another place among equals, so that they do not all want the same seats.
_SPREAD = new_id().int % 1009
