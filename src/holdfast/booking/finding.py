"""Bookings that somebody has lost the links to: sent to their address, and told to nobody else.

Whoever asks hears the same, after the same work, whether anything was bought with the address or not: the request writes a
job, and the job looks. An address that nothing was bought with gets no letter, so nobody can have strangers written to.
The address in the job is sealed.
"""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from holdfast import catalog, tickets
from holdfast.booking.delivery import link_to
from holdfast.booking.mailbox import buyer_digests
from holdfast.catalog import Show
from holdfast.platform import clock, jobs, mail
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.ids import BookingId, ShowId, new_id
from holdfast.platform.jobs import Job
from holdfast.platform.languages import Language
from holdfast.platform.secret import Secrets
from holdfast.tickets import Coded

FIND = "booking.find"
# So many bookings, and so many tickets that were given, are told in one letter.
TOLD_MAX = 50
# Who comes late to a show still looks for the tickets.
LATE = timedelta(days=1)

sql = load_queries(__file__)


class Rights(Protocol):
    """What signs the secrets that stand in links."""

    def booking_secret(self, show_id: ShowId, booking_id: BookingId) -> str: ...

    def ticket_secret(self, coded: Coded) -> str: ...


async def ask_for_links(tx: Transaction, secrets: Secrets, email: str) -> None:
    """Has a letter sent to the address with links to all that it has for shows to come, if it has anything.

    Raises Invalid (pointer `/email`) for what no mail can go to.
    """
    address, job_id = mail.recipient(email).addr_spec, new_id()
    sealed = secrets.seal(FIND, address.encode(), job_id.bytes)
    # A job may become a dead letter, which people read.
    await jobs.enqueue(tx, FIND, {"sealed": b64encode(sealed).decode("ascii")}, job_id=job_id)


@dataclass(frozen=True, slots=True)
class Finder:
    """Handles jobs `booking.find`. `address` is where the installation is found, and `said` the language that it speaks."""

    secrets: Secrets
    rights: Rights
    address: str
    said: Language

    async def send_links(self, job: Job, db: Database) -> None:
        """Posts the letter in the transaction that ends the job, so that there is one."""
        email = self.secrets.unseal(FIND, b64decode(job.payload["sealed"]), job.id.bytes).decode()
        since = clock.now() - LATE
        found = await self._booked(db, email, since) + await self._given(db, email, since)
        async with db.transaction() as tx:
            if found:
                text = "\n\n".join(
                    [
                        self.said.text("Hello,"),
                        self.said.text("This is what you have for shows to come."),
                        *found,
                        self.said.text(
                            "Whoever has such a link has the tickets. If you did not ask for this letter, you need do nothing."
                        ),
                    ]
                )
                subject = self.said.text("Your tickets")
                await mail.post(tx, self.secrets, to=email, subject=subject, text=f"{text}\n")
            await jobs.finish(tx, job)

    async def _booked(self, db: Database, email: str, since: datetime) -> list[str]:
        found = []
        for row in await db.rows(sql.coming_of_buyer, buyer_digests(self.secrets, email), since, TOLD_MAX):
            show = await catalog.show_by_id(db, row["show_id"])
            assert show is not None, "shows are not deleted"
            secret = self.rights.booking_secret(show.show_id, row["booking_id"])
            link = link_to(self.address, show.show_id, row["booking_id"], secret)
            which = self.said.text("Booking {reference}: {link}", reference=row["reference"], link=link)
            found.append(self._entry(show, which))
        return found

    async def _given(self, db: Database, email: str, since: datetime) -> list[str]:
        found = []
        for given in await tickets.given_to(db, email, TOLD_MAX):
            show = await catalog.show_by_id(db, given.show_id)
            if show is None or show.start_time < since or show.status == "cancelled":
                continue
            secret = self.rights.ticket_secret(
                Coded(given.show_id, given.booking_id, given.number, given.serial)
            )
            link = link_to(self.address, given.show_id, given.booking_id, secret, ticket=given.number)
            found.append(self._entry(show, self.said.text("A ticket that you were given: {link}", link=link)))
        return found

    def _entry(self, show: Show, which: str) -> str:
        return f"{show.name}\n{self.said.moment(show.start_time, show.timezone)}\n{which}"
