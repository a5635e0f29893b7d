"""Bookings for callers that name neither seats nor an area nor, later, the show: what the seeds' contract needs."""

from holdfast.booking.holds import TRIES_MAX, Asker, Claimed, ClaimRequest, SoldOut, TooManyPlaces, claim
from holdfast.booking.lifecycle import (
    Booking,
    BookingNotFound,
    PaymentRequired,
    booking_by_id,
    booking_from,
    cancel,
)
from holdfast.booking.office import Office
from holdfast.booking.promotions import CodeRequired
from holdfast.booking.view import View
from holdfast.catalog import Show
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.errors import IdempotencyMismatch
from holdfast.platform.ids import BookingId, ShowId, new_id, new_reference

sql = load_queries(__file__)


async def book_anywhere(office: Office, show_id: ShowId, quantity: int, asker: Asker) -> Booking:
    """Sells any `quantity` free places of one area at once, together where that can be had.

    Where no area has so many left, or one booking may not have so many, a FAILED booking is stored and returned: the
    seeds' /book promises one. A key answers with its first booking, be it CONFIRMED or FAILED. Raises ShowNotFound,
    NotOnSale, PaymentRequired for a show with a price, IdempotencyMismatch and Busy.
    """
    view = await office.views.get(show_id)
    if not view.show.is_free:
        # The retry of a sale that was made while the show was free is still told of its sale.
        made = await _made_before(office.db, show_id, asker)
        if made is None:
            raise PaymentRequired
        return made
    try:
        claimed = await _claim_where_it_fits(office, view, quantity, asker)
    except (SoldOut, TooManyPlaces, CodeRequired):
        async with office.db.transaction() as tx:
            return await _record_refused(tx, view.show, quantity, asker)
    if claimed.booking.status == "PENDING" and not claimed.replayed:
        # The show got its price between the look at the view and the claim.
        async with office.db.transaction() as tx:
            await cancel(tx, office, show_id, claimed.booking.booking_id, "by_buyer", sold_too=False)
        raise PaymentRequired
    return claimed.booking


async def find_booking(db: Database | Transaction, booking_id: BookingId) -> Booking:
    """The booking of whichever show. Raises BookingNotFound. It is the caller's task to know who may see it.

    It costs one look into the primary key per show, some milliseconds for 1,000 shows: no index leads with the booking,
    because every claim would pay for it. Whoever can name the show asks `booking_by_id`.
    """
    row = await db.row(sql.booking_of_any_show, booking_id)
    if row is None:
        raise BookingNotFound
    return booking_from(row)


async def _claim_where_it_fits(office: Office, view: View, quantity: int, asker: Asker) -> Claimed:
    show_id = view.show.show_id
    for _ in range(TRIES_MAX):
        area = next(
            (a for a, left in zip(view.plan.areas, view.left, strict=True) if left >= quantity),
            # Perhaps in vain, but before it refuses the database fails the holds that are overdue, in all areas.
            max(view.plan.areas, key=lambda a: view.left[a.number - 1]),
        )
        tiers = [tier for tier in view.show.tiers_of(area.number) if not tier.hidden]
        request = ClaimRequest(
            quantity=quantity, area=area.name, tier=tiers[0].name if tiers else None, split=True, confirm=True
        )
        try:
            return await claim(office, show_id, request, asker)
        except SoldOut:
            view = await office.views.get(show_id)
            if max(view.left) >= quantity:
                view = await office.views.renewed(view)
            if max(view.left) < quantity:
                raise
    raise SoldOut


async def _record_refused(tx: Transaction, show: Show, quantity: int, asker: Asker) -> Booking:
    """Stores a FAILED booking; with a key, equal claims store one."""
    booking_id = BookingId(new_id())
    if asker.key is not None:
        # Keys are looked at and written under the head alone, so a claim with this key waits, and then finds it.
        await tx.row(sql.lock_head, show.show_id)
        made = await _made_before(tx, show.show_id, asker)
        if made is not None:
            return made
        await tx.execute(sql.keep_key, show.show_id, asker.key, asker.fingerprint, booking_id)
    row = await tx.row(
        sql.insert_refused, show.show_id, booking_id, show.organizer_id, new_reference(), quantity, show.currency
    )  # fmt: skip
    assert row is not None
    return booking_from(row)


async def _made_before(db: Database | Transaction, show_id: ShowId, asker: Asker) -> Booking | None:
    """The booking that this key made; None for a new key and without one. Raises IdempotencyMismatch."""
    row = await db.row(sql.kept_key, show_id, asker.key) if asker.key is not None else None
    if row is None:
        return None
    if row["fingerprint"] != asker.fingerprint:
        raise IdempotencyMismatch
    return await booking_by_id(db, show_id, row["booking_id"])
