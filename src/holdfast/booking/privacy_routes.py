"""What an organizer tells and erases of a person. `call.state` is the Engine."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, booking
from holdfast.accounts import Staff
from holdfast.booking import StillBooked
from holdfast.booking.routes import BookingJson, booking_json
from holdfast.platform import clock
from holdfast.platform.db import Transaction
from holdfast.platform.http import Answer, Call, Routes, Timestamp
from holdfast.platform.ids import new_id
from holdfast.tickets import Changed

routes = Routes("privacy")

_NO_STORE = ((b"cache-control", b"no-store"),)


class PersonRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Whom it is about."""

    email: Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]


class GivenTicketJson(msgspec.Struct):
    """A ticket of somebody else's booking that the address was given."""

    show_id: UUID
    booking_id: UUID
    number: int
    holder: str | None
    state: str


class PersonExportJson(msgspec.Struct):
    """Everything that the organizer holds of an address."""

    exported_at: Timestamp
    bookings: list[BookingJson]
    tickets: list[GivenTicketJson]


class PersonErasureJson(msgspec.Struct):
    """An erasure that has begun; the audit knows it by this id."""

    id: UUID


class RetentionJson(msgspec.Struct, forbid_unknown_fields=True):
    """How many days after a show began whoever bought is forgotten; null: never."""

    retention_days: Annotated[int, Meta(ge=7, le=36_500)] | None


def given_json(given: Changed) -> GivenTicketJson:
    """What the export says of one of them."""
    return GivenTicketJson(given.show_id, given.booking_id, given.number, given.holder, given.state)


@routes.get("/v1/privacy/retention", who=Staff("privacy.write"), answers={200: RetentionJson})
async def read_retention(call: Call[None]) -> RetentionJson:
    """Read how long buyers are kept."""
    return RetentionJson(await accounts.retention(call.db, call.caller.organizer_id))


@routes.put(
    "/v1/privacy/retention",
    who=Staff("organizer.write"),
    body=RetentionJson,
    answers={200: RetentionJson},
    example={"retention_days": 365},
)
async def set_retention(call: Call[RetentionJson]) -> RetentionJson:
    """Say how long buyers are kept.

    Address and name are taken off the bookings of a show so many days after it began, within an hour or so; amounts,
    dates and references stay.
    """
    own = call.caller.organizer_id
    async with call.db.transaction() as tx:
        before = RetentionJson(await accounts.retention(tx, own))
        await accounts.set_retention(tx, own, call.body.retention_days)
        await accounts.audit(
            tx, call, "organizer.retention", organizer_id=own, subject=own,
            before=msgspec.to_builtins(before), after=msgspec.to_builtins(call.body),
        )  # fmt: skip
    return call.body


@routes.post(
    "/v1/privacy/export",
    who=Staff("privacy.write"),
    body=PersonRequest,
    answers={200: PersonExportJson},
    example={"email": "guest@example.org"},
)
async def export_person(call: Call[PersonRequest]) -> Answer:
    """Export a person.

    Every booking and every waiting claim of this address with your organizer, and every ticket that it was given. It reads all of your bookings, which
    takes seconds per million.
    """
    engine, organizer_id = call.state, call.caller.organizer_id
    found = await booking.told_of_person(call.db, engine.secrets, organizer_id, call.body.email)
    views = engine.office.views
    export = PersonExportJson(
        clock.rfc3339(clock.now()),
        [booking_json(each, await views.get(each.show_id)) for each in found],
        [given_json(each) for each in await booking.tickets_given(call.db, call.body.email)],
    )
    async with call.db.transaction() as tx:
        await accounts.audit(
            tx, call, "person.exported", organizer_id=organizer_id, subject=new_id(), after={"bookings": len(found)}
        )  # fmt: skip
    return Answer(200, export, _NO_STORE)


@routes.post(
    "/v1/privacy/erase",
    who=Staff("privacy.write"),
    body=PersonRequest,
    answers={202: PersonErasureJson},
    refusals=(StillBooked,),
    once=True,
    example={"email": "guest@example.org"},
)
async def erase_person(call: Call[PersonRequest], tx: Transaction) -> PersonErasureJson:
    """Erase a person.

    Takes address and name off all bookings with your organizer, soon after the answer. Amounts, dates and references
    stay. Live bookings of shows to come must be cancelled first.
    """
    engine, organizer_id = call.state, call.caller.organizer_id
    erasure = await booking.erase_person(tx, engine.secrets, call.body.email, organizer_id=organizer_id)
    await accounts.audit(tx, call, "person.erased", organizer_id=organizer_id, subject=erasure)
    return PersonErasureJson(erasure)
