"""What customers see and end by themselves: their bookings, everything held of them, and their account.

`call.state` is the Engine.
"""

from uuid import UUID

import msgspec

from holdfast import accounts, booking
from holdfast.accounts import CUSTOMER, Account, CustomerNotFound
from holdfast.booking import OwnBooking, StillBooked
from holdfast.booking.privacy_routes import GivenTicketJson, given_json
from holdfast.booking.routes import BookingJson, booking_json
from holdfast.platform import clock
from holdfast.platform.http import Answer, Call, Routes, Timestamp
from holdfast.platform.ids import BookingId
from holdfast.platform.money import Money
from holdfast.platform.pages import PageQuery, id_in, page_of

routes = Routes("customers")

_NO_STORE = ((b"cache-control", b"no-store"),)


class OwnShowJson(msgspec.Struct):
    id: UUID
    name: str
    start_time: Timestamp


class OwnBookingJson(msgspec.Struct):
    """A booking in short. With the same token, `/v1/shows/{show}/bookings/{id}` has its places."""

    id: UUID
    reference: str
    show: OwnShowJson
    status: str
    reason: str | None
    quantity: int
    total: Money
    created_at: Timestamp
    confirmed_at: Timestamp | None
    version: int


class OwnBookingsJson(msgspec.Struct):
    bookings: list[OwnBookingJson]
    next: str | None


class ExportedAccountJson(msgspec.Struct):
    id: UUID
    email: str
    created_at: Timestamp


class CustomerExportJson(msgspec.Struct):
    """Everything that is held of a customer."""

    exported_at: Timestamp
    account: ExportedAccountJson
    bookings: list[BookingJson]
    tickets: list[GivenTicketJson]


class ErasureJson(msgspec.Struct):
    """An erasure that has begun; `id` stands in the log and, for staff, in the audit."""

    id: UUID


@routes.get(
    "/v1/customers/me/bookings",
    who=CUSTOMER,
    query=PageQuery,
    answers={200: OwnBookingsJson},
    refusals=(CustomerNotFound,),
)
async def list_own_bookings(call: Call[None]) -> Answer:
    """My bookings, newest first.

    Of every show of every organizer: those made under the account, and those of its address.
    """
    before = BookingId(id_in(call.query.cursor) or UUID(int=2**128 - 1))
    found = await booking.bookings_of_customer(
        call.db, call.state.secrets, await _account(call), call.query.limit + 1, before
    )
    page, following = page_of(found, call.query.limit, lambda own: own.booking.booking_id.hex)
    return Answer(200, OwnBookingsJson([_own_json(each) for each in page], following), _NO_STORE)


@routes.get(
    "/v1/customers/me/export", who=CUSTOMER, answers={200: CustomerExportJson}, refusals=(CustomerNotFound,)
)
async def export_customer(call: Call[None]) -> Answer:
    """Everything held of me."""
    account = await _account(call)
    found = await booking.told_of_customer(call.db, call.state.secrets, account)
    views = call.state.office.views
    export = CustomerExportJson(
        exported_at=clock.rfc3339(clock.now()),
        account=ExportedAccountJson(account.customer_id, account.email, clock.rfc3339(account.created_at)),
        bookings=[booking_json(each, await views.get(each.show_id)) for each in found],
        tickets=[given_json(each) for each in await booking.tickets_given(call.db, account.email)],
    )
    return Answer(200, export, _NO_STORE)


@routes.post(
    "/v1/customers/me/erase",
    who=CUSTOMER,
    answers={202: ErasureJson},
    refusals=(CustomerNotFound, StillBooked),
)
async def erase_customer(call: Call[None]) -> ErasureJson:
    """Erase me.

    The account is gone at once, and the person is taken off every booking soon after. Live bookings of shows to come
    must be cancelled first. What was paid stays on record, without a name.
    """
    engine, account = call.state, await _account(call)
    async with call.db.transaction() as tx:
        erasure = await booking.erase_person(
            tx, engine.secrets, account.email, organizer_id=None, account=account
        )
        await accounts.erase_account(tx, engine.secrets, account)
    return ErasureJson(erasure)


async def _account(call: Call[None]) -> Account:
    return await accounts.account_of(call.db, call.state.secrets, call.caller.customer_id)


def _own_json(own: OwnBooking) -> OwnBookingJson:
    found = own.booking
    status, reason = ("FAILED", "expired") if found.is_overdue else (found.status, found.reason)
    return OwnBookingJson(
        id=found.booking_id,
        reference=found.reference,
        show=OwnShowJson(found.show_id, own.show_name, clock.rfc3339(own.show_start_time)),
        status=status,
        reason=reason,
        quantity=found.quantity,
        total=Money(found.total, found.currency),
        created_at=clock.rfc3339(found.created_at),
        confirmed_at=clock.rfc3339(found.confirmed_at) if found.confirmed_at else None,
        version=found.version,
    )
