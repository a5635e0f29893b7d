"""From a fact to the letter about it: to one buyer, and to whoever was given one of the tickets.

A letter is written in the transaction that takes down that it was (`notices`) and ends the job, so a fact that comes
twice, or a worker that dies anywhere, makes no second letter. Nobody who sells waits for any of this.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from holdfast import accounts, booking, catalog, facts, tickets
from holdfast.booking import Booking, BookingNotFound, Office
from holdfast.notifications import letters
from holdfast.notifications.letters import Letter, Money, Scene, Told
from holdfast.notifications.rules import rules_of
from holdfast.platform import mail, outbox, telemetry
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.errors import Invalid
from holdfast.platform.ids import BookingId, OrganizerId, ShowId
from holdfast.platform.jobs import Job, finish
from holdfast.platform.mail import Enclosure
from holdfast.tickets import Coded, Ticket

# The kinds of what is enclosed; enclosing.py makes them.
PAPER, DAY = "tickets", "calendar"

sql = load_queries(__file__)
log = telemetry.log("notifications")


class Rights(Protocol):
    """What signs the secrets that stand in links."""

    def booking_secret(self, show_id: ShowId, booking_id: BookingId) -> str: ...

    def ticket_secret(self, coded: Coded) -> str: ...


@dataclass(frozen=True, slots=True)
class Post:
    """A letter that is ready, and what it brings along. `edition` says which of its kind it is, for its booking."""

    booking_id: BookingId
    edition: str
    to: str
    letter: Letter
    text: str
    html: str
    enclosures: Sequence[Enclosure]
    is_buyers: bool


Compose = Callable[[Told], Letter | None]


@dataclass(frozen=True, slots=True)
class Teller:
    """Follows facts. `rights` signs what stands in links."""

    office: Office
    rights: Rights

    async def confirmed(self, job: Job, db: Database) -> None:
        """The confirmation with its tickets, once for each time that a booking is confirmed."""
        fact, said = _fact(job)
        await self._tell(
            job, db, fact, said, "confirmation", _while_it_stands(letters.confirmation), (PAPER, DAY)
        )

    async def sent_again(self, job: Job, db: Database) -> None:
        """Handles a job `booking.RESEND`: the confirmation once more, once for the job."""
        ids = ShowId(UUID(job.payload["show_id"])), BookingId(UUID(job.payload["booking_id"]))
        told = await self.told(db, *ids)
        if told is None or told.booking.status != "CONFIRMED":
            return
        letter = letters.confirmation(told)
        ready = self.ready(told, letter, "", (PAPER, DAY))
        async with db.transaction() as tx:
            for each in await self._known(tx, ids[0], [ready]):
                await self._post(tx, each)
            await finish(tx, job)

    async def cancelled(self, job: Job, db: Database) -> None:
        """A booking was called off. Of a show that is, everybody hears at once, by `rounds.py`."""
        fact, said = _fact(job)
        if said.reason != "show_cancelled":
            await self._tell(job, db, fact, said, "cancelled", letters.cancelled, (DAY,))

    async def expired(self, job: Job, db: Database) -> None:
        """A hold that was being paid for ended; whoever got the places after all hears nothing of it."""

        def compose(told: Told) -> Letter | None:
            return letters.expired(told) if told.booking.status == "FAILED" else None

        fact, said = _fact(job)
        await self._tell(job, db, fact, said, "expired", compose)

    async def refund(self, job: Job, db: Database) -> None:
        """Money goes back, went back, or did not."""
        fact, said = _fact(job)
        money = Money(said.amount, said.currency, said.reason)
        composers: Mapping[str, Compose] = {
            facts.REFUND_WANTED: lambda told: letters.refund_wanted(told, money),
            facts.REFUND_SETTLED: lambda told: letters.refund_settled(told, money, said.numbers),
            facts.REFUND_FAILED: lambda told: letters.refund_failed(told, money),
        }
        kind = fact.kind.replace(".", "_")
        await self._tell(job, db, fact, said, kind, composers[fact.kind], edition=str(said.refund_id))

    async def given(self, job: Job, db: Database) -> None:
        """Whoever has the ticket now gets the right to it; the buyer hears of the first time that it changes hands."""
        fact, said = _fact(job)
        told = await self.told(db, ShowId(fact.show_id), said.booking_id, somebody=True)
        if told is None or told.booking.status != "CONFIRMED":
            return
        edition, ready = f"{said.number}:{said.serial}", []
        ticket = await tickets.ticket(db, booking.sale_of(told.booking), said.number)
        # Who had it in between has no right to it any more.
        if ticket.serial == said.serial and ticket.email is not None:
            theirs = letters.for_holder(told, ticket, self.link_of(ticket))
            letter = letters.ticket_yours(theirs)
            ready.append(self.ready(theirs, letter, edition, (PAPER,), to=ticket.email, ticket=ticket))
        if said.serial == 1 and told.booking.email is not None:
            ready.append(self.ready(told, letters.ticket_given(told, said.number), f"{edition}:buyer"))
        await self.post_once(job, db, said.organizer_id, "ticket_given", told.booking.show_id, ready)

    async def voided(self, job: Job, db: Database) -> None:
        """Whoever was given one of these tickets hears that it is over; the buyer does by the letter on the money."""
        fact, said = _fact(job)
        told = await self.told(db, ShowId(fact.show_id), said.booking_id, somebody=True)
        if told is None:
            return
        numbers = set(said.numbers)
        ready = [
            self.ready(
                told, letters.ticket_void(told, each.number), f"{each.number}:{each.serial}", to=each.email
            )
            for each in await tickets.tickets_of(db, booking.sale_of(told.booking))
            if each.number in numbers and each.email is not None
        ]
        await self.post_once(job, db, told.booking.organizer_id, "ticket_void", told.booking.show_id, ready)

    async def alarmed(self, job: Job, db: Database) -> None:
        """The owners of the organizer hear of money that a person has to see to."""
        fact, said = _fact(job)
        told = await self.told(db, ShowId(fact.show_id), said.booking_id, somebody=True)
        if told is None:
            return
        money = Money(said.amount, said.currency, "")
        letter = letters.for_staff(told, fact.kind, money)
        about = getattr(said, "refund_id", said.payment_id)
        owners = await accounts.owner_addresses(db, said.organizer_id)
        ready = [self.ready(told, letter, f"{about}:{n}", to=address) for n, address in enumerate(owners)]
        kind = f"staff_{fact.kind.replace('.', '_')}"
        await self.post_once(job, db, said.organizer_id, kind, told.booking.show_id, ready)

    async def _tell(
        self, job: Job, db: Database, fact: outbox.Fact, said: Any, kind: str, compose: Compose,
        enclosed: Sequence[str] = (), *, edition: str | None = None,
    ) -> None:  # fmt: skip
        told = await self.told(db, ShowId(fact.show_id), said.booking_id)
        letter = None if told is None else compose(told)
        if told is None or letter is None:
            return
        ready = self.ready(told, letter, edition or str(said.version), enclosed)
        await self.post_once(job, db, said.organizer_id, kind, told.booking.show_id, [ready])

    async def post_once(
        self, job: Job, db: Database, organizer_id: OrganizerId, kind: str, show_id: ShowId,
        ready: Sequence[Post], *, then: Callable[[Transaction], Awaitable[object]] | None = None,
    ) -> None:  # fmt: skip
        """Posts those of the letters that were not written before, does `then`, and ends the job: all or nothing.

        Who was erased since their booking was read gets none.
        """
        async with db.transaction() as tx:
            ready = await self._known(tx, show_id, ready)
            if ready:
                ids, editions = [each.booking_id for each in ready], [each.edition for each in ready]
                rows = await tx.rows(sql.noticed, show_id, ids, kind, editions, organizer_id)
                fresh = {(row["booking_id"], row["edition"]) for row in rows}
                for each in ready:
                    if (each.booking_id, each.edition) in fresh:
                        await self._post(tx, each)
            if then is not None:
                await then(tx)
            await finish(tx, job)

    async def _known(self, tx: Transaction, show_id: ShowId, ready: Sequence[Post]) -> list[Post]:
        rows = await tx.rows(sql.bookings_with_address, show_id, [each.booking_id for each in ready])
        known = {row["booking_id"] for row in rows}
        return [each for each in ready if each.booking_id in known or not each.is_buyers]

    async def told(
        self, db: Database, show_id: ShowId, booking_id: BookingId, *, somebody: bool = False
    ) -> Told | None:
        """What letters about a booking are made of; None where nobody is to be written to.

        `somebody`: whoever was given tickets is, where the buyer left no address.
        """
        try:
            found = await booking.booking_by_id(db, show_id, booking_id)
        except BookingNotFound:
            return None
        if found.email is None and not somebody:
            return None
        show = await catalog.show_by_id(db, show_id)
        assert show is not None, "shows are not deleted"
        return self.told_of(await self.scene(db, show), found)

    async def scene(self, db: Database, show: catalog.Show) -> Scene:
        """What the letters about a show have in common. Raises Busy."""
        rules, where = await rules_of(db, show.organizer_id), await booking.whereabouts(self.office, show)
        return Scene(show, await view_of(self.office, show), where, rules, rules.spoken(self.office.settings))

    def told_of(self, scene: Scene, found: Booking) -> Told:
        """What letters about a booking of that show are made of."""
        secret = self.rights.booking_secret(found.show_id, found.booking_id)
        link = booking.link_to(self.office.settings.address, found.show_id, found.booking_id, secret)
        return Told(scene, found, link)

    def link_of(self, ticket: Ticket) -> str:
        """Where whoever was given a ticket sees it."""
        secret = self.rights.ticket_secret(ticket.coded)
        address = self.office.settings.address
        return booking.link_to(address, ticket.show_id, ticket.booking_id, secret, ticket=ticket.number)

    def ready(
        self,
        told: Told,
        letter: Letter,
        edition: str,
        enclosed: Sequence[str] = (),
        *,
        to: str | None = None,
        ticket: Ticket | None = None,
    ) -> Post:
        """The letter in both its forms, to the buyer unless it is to somebody else; of the paper that of one `ticket`."""
        text, html = letters.both_forms(letter, told.language)
        about = {"show_id": str(told.booking.show_id), "booking_id": str(told.booking.booking_id)}
        if ticket is not None:
            about |= {"number": str(ticket.number), "serial": str(ticket.serial)}
        address = to or told.booking.email
        assert address is not None, "somebody is written to"
        enclosures = [Enclosure(kind, about) for kind in enclosed]
        return Post(
            told.booking.booking_id, edition, address, letter, text, html, enclosures, is_buyers=to is None
        )

    async def _post(self, tx: Transaction, ready: Post) -> None:
        try:
            await mail.post(
                tx, self.office.secrets, to=ready.to, subject=ready.letter.subject, text=ready.text,
                html=ready.html, enclosures=ready.enclosures,
            )  # fmt: skip
        except Invalid:
            # Whoever booked gave an address that no mail can go to; the tickets are on their screen.
            log.info("no letter", booking_id=str(ready.booking_id), reason="address")


async def view_of(office: Office, show: catalog.Show) -> booking.View:
    """The view of the show, as new at least as the show that was read. Raises Busy."""
    view = await office.views.get(show.show_id)
    return view if view.show.version >= show.version else await office.views.renewed(view)


def _fact(job: Job) -> tuple[outbox.Fact, Any]:
    fact = outbox.fact_of(job)
    return fact, facts.of(fact)


def _while_it_stands(compose: Callable[[Told], Letter]) -> Compose:
    def composed(told: Told) -> Letter | None:
        return compose(told) if told.booking.status == "CONFIRMED" else None

    return composed
