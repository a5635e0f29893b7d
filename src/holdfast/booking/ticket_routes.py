"""Tickets over HTTP: what the buyer of a booking, whoever was given one of its tickets, and staff get. `call.state` is the
Engine.

A buyer shows the booking's secret, somebody who was given a ticket that ticket's own, which ends when it is given on.
"""

from asyncio import to_thread
from base64 import urlsafe_b64encode
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from holdfast import accounts, booking, catalog, tickets
from holdfast.accounts import Buyer
from holdfast.booking import Booking, BookingNotFound, NotSoldYet, View
from holdfast.booking.show_routes import visible
from holdfast.catalog import ShowNotFound
from holdfast.platform import mail
from holdfast.platform.db import Database, Transaction
from holdfast.platform.http import Answer, Call, Routes
from holdfast.platform.ids import BookingId, ShowId
from holdfast.platform.limits import RateLimited, by_address
from holdfast.platform.pages import Limit
from holdfast.tickets import Admits, Codes, NotTransferable, Sale, Ticket, TicketNotFound, TicketVoid

# How old it may be which gates admit a ticket.
GATES_SECONDS = 5.0
# Codes of an hour ago are as good as new ones, but a shared computer should not keep them.
PRIVATE = ((b"cache-control", b"private, no-store"),)
PDF, PNG, SVG, ICS = "application/pdf", "image/png", "image/svg+xml", "text/calendar"

routes = Routes(
    "tickets",
    missing={"show_id": ShowNotFound, "booking_id": BookingNotFound, "number": TicketNotFound},
)


class TicketJson(msgspec.Struct):
    """What admits one person. `code` is what the square says, while it admits; `label` is what people call it.

    Whoever gave the ticket away sees it as `transferred`, without code and holder. `gates` are the names of those that the
    ticket is admitted at, in the order in which they were made; none where the show has no gates.
    """

    number: int
    label: str
    area: str
    seat: str | None
    tier: str | None
    holder: str | None
    state: Literal["valid", "suspended", "void", "transferred"]
    serial: int
    gates: list[str]
    code: str | None
    secret: str | UnsetType = UNSET


class TicketsJson(msgspec.Struct):
    tickets: list[TicketJson]
    next: int | None


class TicketKeyJson(msgspec.Struct):
    """A public key as a JSON Web Key (RFC 8037)."""

    kid: str
    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    use: Literal["sig"]
    x: str


class TicketKeysJson(msgspec.Struct):
    keys: list[TicketKeyJson]


class TicketQuery(msgspec.Struct, forbid_unknown_fields=True):
    """`after` is a ticket's number: the page begins behind it."""

    limit: Limit = 50
    after: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


Holder = Annotated[str, Meta(min_length=1, max_length=255)]


class TransferSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Who is to have the ticket. With an address the right to it goes there, and to nobody else."""

    name: Holder
    email: Annotated[str, Meta(min_length=3, max_length=254)] | None = None


class FindSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where the letter is to go."""

    email: Annotated[str, Meta(min_length=3, max_length=254)]


class TicketEdit(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Another name on the ticket."""

    holder: Holder


@dataclass(frozen=True, slots=True)
class _Seen:
    """A ticket and what the caller has of it: it is theirs while the serial that they know is the ticket's."""

    booking: Booking
    view: View
    sale: Sale
    ticket: Ticket
    serial: int

    @property
    def is_theirs(self) -> bool:
        return self.serial == self.ticket.serial


@routes.get(
    "/v1/shows/{show_id}/ticket-keys",
    who=accounts.VISITOR,
    answers={200: TicketKeysJson},
    refusals=(ShowNotFound,),
)
async def read_ticket_keys(call: Call[None]) -> TicketKeysJson:
    """Read the public keys that codes of tickets are verified by.

    The first one signs now; codes that the others signed are good, too. Any device may check a code without asking.
    """
    await visible(call)
    return TicketKeysJson(ticket_keys(call.state.codes))


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/tickets",
    who=Buyer("bookings.read"),
    query=TicketQuery,
    answers={200: TicketsJson},
    refusals=(NotSoldYet,),
)
async def list_tickets(call: Call[None]) -> Answer:
    """List the tickets of a booking, one for each place."""
    seen = await _page(call)
    ways = await _ways_in(call)
    following = seen[-1].ticket.number if seen and seen[-1].ticket.number < seen[-1].sale.quantity else None
    return Answer(200, TicketsJson([_json(call, each, ways) for each in seen], following), PRIVATE)


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/tickets.pdf",
    who=Buyer("bookings.read"),
    query=TicketQuery,
    answers={200: PDF},
    refusals=(NotSoldYet, TicketVoid),
)
async def print_tickets(call: Call[None]) -> Answer:
    """Print the tickets of a booking: a PDF with a page for each that is valid and was not given away."""
    return await _pdf(call, [each for each in await _page(call) if each.is_theirs])


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/calendar.ics",
    who=Buyer("bookings.read"),
    answers={200: ICS},
    refusals=(NotSoldYet,),
)
async def read_calendar(call: Call[None]) -> Answer:
    """Read the show as an entry for a calendar.

    Its UID stays the same and its SEQUENCE grows, so that an entry that was taken before follows what changes.
    """
    found = await booking.own_booking(call, "bookings.read", call.db)
    view = await call.state.office.views.get(found.show_id)
    made = await booking.calendar_of(call.state.office, found, view)
    return Answer(200, made, (*PRIVATE, _named("show.ics")), b"text/calendar; charset=utf-8")


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/tickets/{number:int}",
    who=Buyer("bookings.read"),
    answers={200: TicketJson},
    refusals=(NotSoldYet,),
)
async def read_ticket(call: Call[None]) -> Answer:
    """Read one ticket, by the booking's secret or by the ticket's own."""
    seen = await _seen(call, "bookings.read", call.db)
    return Answer(200, _json(call, seen, await _ways_in(call)), PRIVATE)


@routes.patch(
    "/v1/shows/{show_id}/bookings/{booking_id}/tickets/{number:int}",
    who=Buyer("bookings.write"),
    body=TicketEdit,
    answers={200: TicketJson},
    refusals=(NotSoldYet, TicketVoid),
    example={"holder": "Ada Example"},
)
async def edit_ticket(call: Call[TicketEdit]) -> Answer:
    """Put another name on a ticket. Its code stays good."""
    name = catalog.printable(call.body.holder, "/holder")
    seen = await _seen(call, "bookings.write", call.db)
    if not seen.is_theirs:
        raise TicketNotFound
    async with call.db.transaction() as tx:
        renamed = await tickets.rename(tx, seen.sale, seen.ticket, name)
        await _note(call, tx, "ticket.renamed", seen.ticket, renamed, seen.sale)
    return Answer(200, _json(call, replace(seen, ticket=renamed), await _ways_in(call)), PRIVATE)


@routes.post(
    "/v1/shows/{show_id}/bookings/{booking_id}/tickets/{number:int}/transfer",
    who=Buyer("bookings.write"),
    body=TransferSpec,
    answers={200: TicketJson},
    refusals=(NotSoldYet, NotTransferable, RateLimited),
    example={"name": "Ada Example", "email": "ada@example.org"},
)
async def transfer_ticket(call: Call[TransferSpec]) -> Answer:
    """Give a ticket to somebody else, until the show begins.

    It is issued anew: the code that there was is refused from now on, and whoever gave the ticket away has no right to the
    new one. With an address, the new holder's right to it is sent there; without one, the answer has it as `secret`. The
    same request again has the same answer, so no Idempotency-Key is taken.
    """
    to = call.body
    name = catalog.printable(to.name)
    email = str(mail.recipient(to.email).addr_spec) if to.email is not None else None
    seen = await _seen(call, "bookings.write", call.db)
    given = seen.ticket
    if (given.serial, given.holder, given.email) != (seen.serial + 1, name, email):
        if not seen.is_theirs:
            raise NotTransferable(reason="transferred")
        staff = call.caller.principal is not None
        _refuse_by_show(seen, staff=staff)
        if email is not None and not staff:
            # Free places must buy nobody letters to strangers, with a name of their choice in them.
            await call.state.limits.take("transfers", by_address(call.client_ip))
            await call.state.limits.take("transfers", email.lower())
        async with call.db.transaction() as tx:
            given = await tickets.transfer(tx, seen.sale, seen.ticket, name, email)
            await _note(call, tx, "ticket.transferred", seen.ticket, given, seen.sale)
    answer = _json(call, replace(seen, ticket=given), await _ways_in(call))
    if email is None:
        answer.secret = call.state.ticket_secret(given.coded)
    return Answer(200, answer, PRIVATE)


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/tickets/{number:int}/qr.svg",
    who=Buyer("bookings.read"),
    answers={200: SVG},
    refusals=(NotSoldYet, TicketVoid),
)
async def read_square_svg(call: Call[None]) -> Answer:
    """Read the code of a ticket as a square picture that stays sharp at any size."""
    # Ten milliseconds of work that the event loop need not wait for.
    return Answer(200, await to_thread(tickets.svg, await _code(call)), PRIVATE, SVG.encode())


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/tickets/{number:int}/qr.png",
    who=Buyer("bookings.read"),
    answers={200: PNG},
    refusals=(NotSoldYet, TicketVoid),
)
async def read_square_png(call: Call[None]) -> Answer:
    """Read the code of a ticket as a picture of 530 by 530 pixels."""
    return Answer(200, await to_thread(tickets.png, await _code(call)), PRIVATE, PNG.encode())


@routes.get(
    "/v1/shows/{show_id}/bookings/{booking_id}/tickets/{number:int}/ticket.pdf",
    who=Buyer("bookings.read"),
    answers={200: PDF},
    refusals=(NotSoldYet, TicketVoid),
)
async def print_ticket(call: Call[None]) -> Answer:
    """Print one ticket."""
    return await _pdf(call, [await _own(call)])


@routes.post(
    "/v1/bookings/find",
    who=accounts.ANYONE,
    body=FindSpec,
    answers={202: None},
    refusals=(RateLimited,),
    example={"email": "guest@example.org"},
)
async def find_bookings(call: Call[FindSpec]) -> Answer:
    """Send me my tickets.

    A letter with a link to each booking, and to each ticket that was given to the address, for shows to come. Nobody is
    written to who has none; the answer is the same, after the same work, whoever the address belongs to.
    """
    engine, email = call.state, call.body.email
    await engine.limits.take("magic_link", by_address(call.client_ip))
    await engine.limits.take("magic_link", email.strip().lower())
    async with call.db.transaction() as tx:
        await booking.ask_for_links(tx, engine.secrets, email)
    return Answer(202)


async def _page(call: Call[Any]) -> list[_Seen]:
    """The tickets of a booking that the query asks for, as its buyer or staff have them."""
    found = await booking.own_booking(call, "bookings.read", call.db)
    sale = booking.sale_of(found)
    view = await call.state.office.views.get(found.show_id)
    listed = await tickets.tickets_of(call.db, sale, after=call.query.after, limit=call.query.limit)
    staff = call.caller.principal is not None
    return [_Seen(found, view, sale, each, each.serial if staff else 0) for each in listed]


async def _seen(call: Call[Any], permission: accounts.Permission, db: Database) -> _Seen:
    """The ticket that the path names. Raises BookingNotFound for who has no right to it, TicketNotFound, NotSoldYet."""
    engine, caller, number = call.state, call.caller, call.path["number"]
    show_id, booking_id = ShowId(call.path["show_id"]), BookingId(call.path["booking_id"])
    by_ticket = caller.secret is not None and not engine.is_booking_secret(caller.secret, show_id, booking_id)
    if not by_ticket:
        found = await booking.own_booking(call, permission, db)
        sale = booking.sale_of(found)
        ticket = await tickets.ticket(db, sale, number)
        serial = ticket.serial if caller.principal is not None else 0
    else:
        try:
            found = await booking.booking_by_id(db, show_id, booking_id)
            sale = booking.sale_of(found)
            ticket = await tickets.ticket(db, sale, number)
        except (NotSoldYet, TicketNotFound):
            raise BookingNotFound from None
        known = [each for each in (ticket.serial, ticket.serial - 1) if each > 0]
        coded = ticket.coded
        serial = next(
            (each for each in known if engine.is_ticket_secret(caller.secret, coded._replace(serial=each))), 0
        )
        # Who had the ticket before is told only that a transfer was done, by asking for the very same one again.
        if serial == 0 or (serial != ticket.serial and call.route.handler is not transfer_ticket):
            raise BookingNotFound
    return _Seen(found, await engine.office.views.get(show_id), sale, ticket, serial)


async def _own(call: Call[Any]) -> _Seen:
    seen = await _seen(call, "bookings.read", call.db)
    if not seen.is_theirs:
        raise TicketNotFound
    return seen


async def _code(call: Call[Any]) -> str:
    """The code of a ticket that admits. Raises TicketVoid for one that does not, and what `_own` raises."""
    ticket = (await _own(call)).ticket
    if ticket.state != "valid":
        raise TicketVoid
    code: str = call.state.codes.code(ticket.coded)
    return code


async def _pdf(call: Call[Any], seen: list[_Seen]) -> Answer:
    valid = [each for each in seen if each.ticket.state == "valid"]
    if not valid:
        raise TicketVoid
    engine, first = call.state, valid[0]
    made = await booking.printed(
        engine.office,
        engine.printer,
        engine.codes,
        first.booking,
        first.view,
        [each.ticket for each in valid],
    )
    name = first.booking.reference if len(valid) > 1 else booking.label_of(first.booking, first.ticket.number)
    return Answer(200, made, (*PRIVATE, _named(f"{name}.pdf")), PDF.encode())


def _refuse_by_show(seen: _Seen, *, staff: bool) -> None:
    if seen.view.show.transfers == "refuse" and not staff:
        raise NotTransferable(reason="refused_by_organizer")
    if seen.view.show.status == "cancelled":
        raise NotTransferable(reason="show_cancelled")
    if seen.booking.read_at >= seen.view.show.start_time:
        raise NotTransferable(reason="show_began")


async def _note(
    call: Call[Any], tx: Transaction, action: str, before: Ticket, after: Ticket, sale: Sale
) -> None:
    await accounts.audit(
        tx, call, action, organizer_id=sale.organizer_id, subject=sale.booking_id, show_id=sale.show_id,
        before={"number": before.number, "serial": before.serial}, after={"number": after.number, "serial": after.serial},
    )  # fmt: skip


async def _ways_in(call: Call[Any]) -> list[tuple[str, Admits]]:
    """The gates of the path's show, and what each admits. As the engine, because it is kept for whoever asks next."""
    engine, show_id = call.state, ShowId(call.path["show_id"])

    async def load() -> list[tuple[str, Admits]]:
        gates = await tickets.gates_of(engine.db, show_id)
        lists = (
            {each.list_id: each.admits for each in await tickets.lists_of(engine.db, show_id)}
            if gates
            else {}
        )
        return [(gate.name, lists[gate.list_id]) for gate in gates if gate.list_id in lists]

    found: list[tuple[str, Admits]] = await engine.cache.get(("gates", show_id), GATES_SECONDS, load)
    return found


def _json(call: Call[Any], seen: _Seen, ways: list[tuple[str, Admits]]) -> TicketJson:
    ticket, place = seen.ticket, booking.place_of(seen.booking, seen.view, seen.ticket.number)
    area, tier = seen.booking.areas[ticket.number - 1], seen.booking.tiers[ticket.number - 1]
    theirs = seen.is_theirs
    is_good = theirs and ticket.state == "valid"
    return TicketJson(
        number=ticket.number,
        label=booking.label_of(seen.booking, ticket.number),
        area=place.area,
        seat=place.seat,
        tier=place.tier,
        holder=ticket.holder if theirs else None,
        state=ticket.state if theirs or ticket.state == "void" else "transferred",
        serial=ticket.serial,
        gates=[name for name, admits in ways if admits.includes(area, tier)] if theirs else [],
        code=call.state.codes.code(ticket.coded) if is_good else None,
    )


def ticket_keys(codes: Codes) -> list[TicketKeyJson]:
    """What codes verify by; the first one signs now."""
    return [TicketKeyJson(kid, "OKP", "Ed25519", "sig", _x(raw)) for kid, raw in codes.public_keys().items()]


def _x(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _named(name: str) -> tuple[bytes, bytes]:
    return (b"content-disposition", f'inline; filename="{name}"'.encode())
