"""From facts to documents: an invoice when a booking is sold, a credit note when money of it has gone back.

Number, document and the end of the job are one transaction, so that each document is made once, and a job that dies takes
its number back with it. Everything is worked out before, because whoever numbers has the organizer's counter locked.
"""

from collections.abc import Iterable
from uuid import UUID

from holdfast import booking, facts, payments
from holdfast.booking import Booking, Office
from holdfast.invoices.documents import Document, Draft, documents_of, is_written, write_numbered
from holdfast.invoices.figures import Line, divided, fits, left_of, lines_of
from holdfast.platform import jobs, outbox, telemetry
from holdfast.platform.db import Database
from holdfast.platform.ids import BookingId, ShowId
from holdfast.platform.jobs import Job
from holdfast.platform.languages import Code
from holdfast.platform.outbox import Followers

log = telemetry.log("invoices")

# Money that bought nothing goes back without a credit note: it never had an invoice.
NEVER_INVOICED = frozenset({"late", "second_payment"})
# When two credit notes of one invoice meet, the second is worked out again.
AGAIN_SECONDS = 0.2


def follow(followers: Followers, office: Office) -> None:
    """Has documents made of sales and of refunds."""
    clerk = Clerk(office)
    for kind, handler in (
        (facts.BOOKING_CONFIRMED, clerk.confirmed),
        (facts.BOOKING_CANCELLED, clerk.cancelled),
        (facts.REFUND_SETTLED, clerk.refunded),
    ):
        followers.follow(kind, "invoices", handler)


class Clerk:
    """Makes the documents. Facts may come in any order: a credit note that comes first has its invoice made before it."""

    def __init__(self, office: Office) -> None:
        self._office = office

    @property
    def _language(self) -> Code:
        return self._office.settings.language

    async def confirmed(self, job: Job, db: Database) -> None:
        """An invoice for a sale with a price."""
        show_id = ShowId(outbox.fact_of(job).show_id)
        sold = await booking.booking_by_id(db, show_id, facts.of(outbox.fact_of(job)).booking_id)
        if sold.total == 0:
            return
        draft = await self._invoice(db, sold)
        await self._write(db, draft, job)

    async def refunded(self, job: Job, db: Database) -> None:
        """A credit note for money that went back of what was invoiced."""
        refund = facts.of(outbox.fact_of(job))
        if refund.reason in NEVER_INVOICED:
            return
        show_id = ShowId(outbox.fact_of(job).show_id)
        bought = await booking.booking_by_id(db, show_id, refund.booking_id)
        if refund.currency != bought.currency:
            log.warning("money of another currency has no credit note", refund_id=str(refund.refund_id))
            return
        await self._credit(db, job, bought, refund.refund_id, refund.amount, refund.numbers)

    async def cancelled(self, job: Job, db: Database) -> None:
        """A credit note for a sale whose money was taken elsewhere, and so goes back elsewhere."""
        fact = outbox.fact_of(job)
        ended = facts.of(fact)
        show_id, booking_id = ShowId(fact.show_id), BookingId(ended.booking_id)
        if ended.total == 0 or await payments.has_money(db, show_id, booking_id):
            return
        bought = await booking.booking_by_id(db, show_id, booking_id)
        await self._credit(db, job, bought, fact.id, bought.total, None)

    async def _credit(
        self, db: Database, job: Job, bought: Booking, source_id: UUID, amount: int, numbers: list[int] | None
    ) -> None:
        invoice, notes = await self._documents(db, bought)
        if invoice is None:
            return
        left = left_of(invoice.lines, (line for note in notes for line in note.lines))
        able = min(amount, sum(each.amount for each in left.values()))
        if able < amount:
            # What was paid twice can go back twice; what was invoiced once is credited once.
            log.warning("more went back than is left of the invoice", source_id=str(source_id), amount=amount)
        if able == 0:
            return
        whole = numbers is None and amount == invoice.total
        lines = await self._lines(db, bought, numbers) if numbers or whole else []
        if sum(line.amount for line in lines) != able or not fits(lines, left):
            lines = divided(able, left)
        await self._write(db, _note(invoice, source_id, lines, len(notes)), job)

    async def _documents(self, db: Database, bought: Booking) -> tuple[Document | None, list[Document]]:
        """The invoice of a booking, made now if it was sold and the fact has yet to come, and its credit notes."""
        if bought.confirmed_at is None or bought.total == 0:
            return None, []
        if not await is_written(db, bought.organizer_id, bought.booking_id):
            await self._write(db, await self._invoice(db, bought), None)
        invoice, *notes = await documents_of(db, bought.show_id, bought.booking_id)
        return invoice, notes

    async def _invoice(self, db: Database, sold: Booking) -> Draft:
        show = (await self._office.views.get(sold.show_id)).show
        return Draft(
            sold.organizer_id, sold.booking_id, "invoice", sold.show_id, sold.booking_id, sold.reference, show.name,
            show.start_time, show.timezone, sold.currency, await self._lines(db, sold, None),
        )  # fmt: skip

    async def _lines(self, db: Database, sold: Booking, numbers: Iterable[int] | None) -> list[Line]:
        view = await self._office.views.get(sold.show_id)
        tiers = {tier.tier: tier.name for tier in view.show.tiers}
        priced = await booking.breakdown_of(db, sold)
        places = [
            (view.plan.areas[area - 1].name, tiers.get(line.tier), line)
            for area, line in zip(sold.areas, priced, strict=True)
        ]
        return [line for line in lines_of(places, numbers) if line.amount or line.discount]

    async def _write(self, db: Database, draft: Draft, job: Job | None) -> None:
        async with db.transaction() as tx:
            if job is not None:
                await jobs.finish(tx, job)
            if await write_numbered(tx, draft, self._language) is not None:
                return
            if not await is_written(tx, draft.organizer_id, draft.source_id):
                raise jobs.Later(AGAIN_SECONDS)


def _note(invoice: Document, source_id: UUID, lines: list[Line], credited: int) -> Draft:
    return Draft(
        invoice.organizer_id, source_id, "credit_note", invoice.show_id, invoice.booking_id, invoice.reference,
        invoice.show_name, invoice.starts_at, invoice.timezone, invoice.currency, lines, invoice.number, credited,
    )  # fmt: skip
