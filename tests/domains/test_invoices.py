"""Invoices: numbers without a gap whoever dies, each document once, and sums that agree to the unit."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any
from uuid import UUID

import pytest
from msgspec import structs

from holdfast import booking, facts, invoices
from holdfast.booking import Asker, Booking, ClaimRequest
from holdfast.engine import Engine
from holdfast.invoices import Document, InvoicingSpec, Line, figures, numbering, taxes_of
from holdfast.invoices.documents import Draft, write_numbered
from holdfast.platform.db import Database, NotPermitted, Transaction
from holdfast.platform.errors import Busy
from holdfast.platform.ids import ShowId, new_id
from holdfast.platform.jobs import Worker
from holdfast.platform.outbox import Followers, Relay
from tests.conftest import eventually
from tests.races.crowd import ORGANIZER, open_show
from tests.till import pay

pytestmark = pytest.mark.anyio

TAXED: dict[str, Any] = {
    "areas": [
        {"name": "Stalls", "kind": "standing", "capacity": 300},
        {"name": "Bar", "kind": "standing", "capacity": 300},
    ],
    "tiers": [
        {"area": "Stalls", "name": "Adult", "amount": 4579, "fee": 278, "tax_basis_points": 700},
        {"area": "Bar", "name": "Drink", "amount": 333, "tax_basis_points": 1900, "tax_included": False},
    ],
}
LAST_NUMBER = "select last from invoice_counters where organizer_id = $1"


@pytest.fixture
async def show(engine: Engine) -> ShowId:
    """A show with two rates of tax: within the price, and on top."""
    return await open_show(engine, **TAXED)


async def sell(engine: Engine, show_id: ShowId, *, paid: bool = True, **wish: Any) -> Booking:
    claimed = await booking.claim(engine.office, show_id, ClaimRequest(**wish), Asker(new_id().bytes))
    if paid:
        await pay(engine.db, claimed.booking)
    async with engine.db.transaction() as tx:
        return await booking.confirm(tx, show_id, claimed.booking.booking_id, settled=True)


async def follow(*engines: Engine) -> None:
    """Hands every fact on and has the jobs done by a worker of each engine."""
    followers = [Followers() for _ in engines]
    for each, engine in zip(followers, engines, strict=True):
        invoices.follow(each, engine.office)
    await Relay(engines[0].db, followers[0]).hand_on()
    workers = [
        Worker(engine.db, engine.settings, each.handlers(), retry_seconds=0.01)
        for each, engine in zip(followers, engines, strict=True)
    ]
    running = [asyncio.create_task(worker.run()) for worker in workers]

    async def none_left() -> bool:
        left: int = await engines[0].db.value("select count(*) from jobs where kind = 'follow:invoices'")
        return left == 0

    await eventually(none_left, tries=2000)
    for worker in workers:
        await worker.stop()
    await asyncio.gather(*running)
    assert await engines[0].db.value("select count(*) from dead_letters") == 0


async def refunded(
    engine: Engine,
    bought: Booking,
    amount: int,
    *,
    numbers: list[int] | None = None,
    reason: str = "by_organizer",
) -> UUID:
    """The provider has sent money back; the refund's id."""
    refund_id = new_id()
    async with engine.db.transaction() as tx:
        await facts.announce(tx, bought.show_id, facts.RefundSettled(
            refund_id, refund_id, bought.booking_id, bought.organizer_id, amount, bought.currency, reason, numbers,
        ))  # fmt: skip
    return refund_id


async def documents(engine: Engine, of: Booking) -> list[Document]:
    return await invoices.documents_of(engine.db, of.show_id, of.booking_id)


async def kill(tx: Transaction, killer: Database) -> None:
    """Ends the transaction's connection at the server, as when the process dies."""
    await killer.execute("select pg_terminate_backend($1, 10000)", await tx.value("select pg_backend_pid()"))


async def numbers_of(db: Database) -> list[int]:
    return [row["number"] for row in await db.rows("select number from invoices order by number")]


def parts(found: Document) -> list[tuple[int, int, int]]:
    return [tuple(each) for each in taxes_of(found.lines)]  # type: ignore[misc]


async def test_two_hundred_sales_side_by_side_have_the_numbers_1_to_200(
    engine: Engine, open_another: Any, show: ShowId
) -> None:
    for _ in range(200):
        await sell(engine, show, area="Bar", quantity=1, paid=False)
    async with open_another() as second, open_another() as third:
        await follow(engine, second, third)
    rows = await engine.db.rows("select number, booking_id, issued_at from invoices order by number")
    assert [row["number"] for row in rows] == list(range(1, 201))
    assert len({row["booking_id"] for row in rows}) == 200
    times = [row["issued_at"] for row in rows]
    assert times == sorted(times)
    assert await engine.db.value(LAST_NUMBER, ORGANIZER) == 200


async def test_jobs_that_die_after_they_have_a_number_leave_no_gap(
    engine: Engine, db: Database, show: ShowId, monkeypatch: pytest.MonkeyPatch
) -> None:
    died: set[UUID] = set()

    async def dying(tx: Transaction, draft: Draft, language: Any) -> int | None:
        number = await write_numbered(tx, draft, language)
        if draft.source_id not in died:
            died.add(draft.source_id)
            await kill(tx, db)
        return number

    monkeypatch.setattr(numbering, "write_numbered", dying)
    sold = [await sell(engine, show, area="Bar", quantity=1, paid=False) for _ in range(8)]
    await follow(engine)
    assert died == {each.booking_id for each in sold}
    assert await numbers_of(engine.db) == list(range(1, 9))


async def given(
    db: Database, killer: Database, give: Callable[[Transaction], Awaitable[int | None]]
) -> list[int | None]:
    """The numbers of three transactions, the second of which dies before its commit and is done again."""
    found = []
    for dies in (False, True, False, False):
        try:
            async with db.transaction() as tx:
                number = await give(tx)
                if dies:
                    await kill(tx, killer)
        except Busy:
            continue
        found.append(number)
    return found


async def test_control_a_sequence_leaves_a_gap(engine: Engine, db: Database, show: ShowId) -> None:
    sold = await sell(engine, show, area="Bar", quantity=1)
    clerk = numbering.Clerk(engine.office)
    draft = await clerk._invoice(engine.db, sold)

    async def by_counter(tx: Transaction) -> int | None:
        return await write_numbered(tx, structs.replace(draft, source_id=new_id()), "en")

    async def by_sequence(tx: Transaction) -> int | None:
        number: int = await tx.value("select nextval('numbers')")
        return number

    await db.execute("create sequence numbers")
    await db.execute("grant usage on sequence numbers to holdfast_app")
    assert await given(engine.db, db, by_counter) == [1, 2, 3]
    assert await given(engine.db, db, by_sequence) == [1, 3, 4]


async def test_an_invoice_says_what_was_paid_for_at_which_tax(engine: Engine, show: ShowId) -> None:
    sold = await sell(engine, show, area="Stalls", quantity=3)
    await follow(engine)
    (found,) = await documents(engine, sold)
    # Within 48.57 there are 7 %: 3.18, so 45.39 is left, of which the fee is 2.60.
    assert found.lines == [Line(3, 3 * 4279, 3 * 260, 3 * 318, 700, 0, "Stalls", "Adult")]
    assert (found.total, found.currency, found.number, found.label) == (sold.total, "EUR", 1, "1")
    assert (found.kind, found.refers_to, found.reference) == ("invoice", None, sold.reference)
    assert (found.legal_name, found.language) == ("Race House", "en")


async def test_a_discount_is_told_and_is_in_no_sum(engine: Engine, show: ShowId) -> None:
    shown = (await engine.office.views.get(show)).show
    async with engine.db.transaction() as tx:
        await booking.make_code(tx, shown, booking.CodeSpec(code="HALF", discount_basis_points=5000))
    sold = await sell(engine, show, area="Bar", quantity=2, code="HALF")
    await follow(engine)
    ((line,),) = [found.lines for found in await documents(engine, sold)]
    # Half of 3.33 is 1.67 off, and 19 % of 1.66 are 0.32; it would have been 3.96.
    assert (line.face, line.tax, line.amount, line.discount) == (332, 64, 396, 396)
    assert line.amount == sold.total


async def test_what_is_free_has_no_invoice(engine: Engine) -> None:
    free = await open_show(engine, total_seats=5)
    sold = await sell(engine, free, quantity=1, paid=False)
    await follow(engine)
    assert await documents(engine, sold) == []


async def test_tickets_that_go_back_have_their_own_lines(engine: Engine, show: ShowId) -> None:
    sold = await sell(engine, show, area="Stalls", quantity=3)
    await refunded(engine, sold, 2 * 4857, numbers=[1, 3])
    await refunded(engine, sold, 4857, numbers=[2])
    await follow(engine)
    invoice, *notes = await documents(engine, sold)
    assert sorted(parts(note) for note in notes) == [[(700, 4539, 318)], [(700, 9078, 636)]]
    assert {note.lines[0].tier for note in notes} == {"Adult"}
    assert {(note.kind, note.refers_to, note.refers_to_label) for note in notes} == {("credit_note", 1, "1")}
    assert [each.number for each in (invoice, *notes)] == [1, 2, 3]
    assert invoice.total == sum(note.total for note in notes) == sold.total


async def test_an_amount_that_goes_back_is_divided_and_the_last_leaves_nothing_over(
    engine: Engine, show: ShowId
) -> None:
    sold = await sell(engine, show, area="Stalls", quantity=3)
    for amount in (1001, 2003, 333, 4857, sold.total - 8194):
        await refunded(engine, sold, amount, numbers=[1] if amount == 4857 else None)
        await follow(engine)
    invoice, *notes = await documents(engine, sold)
    assert [note.total for note in notes] == [1001, 2003, 333, 4857, sold.total - 8194]
    assert sum(note.lines[0].tax for note in notes) == invoice.lines[0].tax
    assert figures.left_of(invoice.lines, (line for note in notes for line in note.lines)) == {}


async def test_all_that_goes_back_at_once_looks_like_the_invoice(engine: Engine, show: ShowId) -> None:
    sold = await sell(engine, show, area="Stalls", quantity=3)
    await refunded(engine, sold, sold.total)
    await follow(engine)
    invoice, note = await documents(engine, sold)
    assert note.lines == invoice.lines


async def test_a_refund_that_is_told_before_its_sale_finds_its_invoice(engine: Engine, show: ShowId) -> None:
    sold = await sell(engine, show, area="Stalls", quantity=1)
    sale = await engine.db.rows(
        "delete from outbox where kind = 'booking.confirmed' returning fact_id, payload"
    )
    await refunded(engine, sold, 100)
    await follow(engine)
    assert [each.kind for each in await documents(engine, sold)] == ["invoice", "credit_note"]
    async with engine.db.transaction() as tx:
        await facts.announce(tx, show, facts.BookingConfirmed(**sale[0]["payload"]))
    await follow(engine)
    assert await numbers_of(engine.db) == [1, 2]


async def test_many_credit_notes_at_once_never_credit_more_than_was_invoiced(
    engine: Engine, open_another: Any, show: ShowId
) -> None:
    sold = await sell(engine, show, area="Bar", quantity=4)
    # As when a second payment has failed to go back, and goes with the first: 12 times 2.00 of 15.84.
    refunds = [await refunded(engine, sold, 200) for _ in range(12)]
    async with open_another() as second:
        await follow(engine, second)
    invoice, *notes = await documents(engine, sold)
    assert sorted(note.total for note in notes) == [184, *[200] * 7]
    assert sum(note.lines[0].tax for note in notes) == invoice.lines[0].tax
    assert await numbers_of(engine.db) == list(range(1, len(notes) + 2))
    assert len(refunds) > len(notes)


@pytest.mark.parametrize("reason", sorted(numbering.NEVER_INVOICED))
async def test_money_that_bought_nothing_has_no_credit_note(
    reason: str, engine: Engine, show: ShowId
) -> None:
    sold = await sell(engine, show, area="Bar", quantity=1)
    await refunded(engine, sold, sold.total, reason=reason)
    await follow(engine)
    assert [each.kind for each in await documents(engine, sold)] == ["invoice"]


@pytest.mark.parametrize(("paid", "kinds"), [(False, ["invoice", "credit_note"]), (True, ["invoice"])])
async def test_a_cancelled_sale_is_credited_at_once_only_where_no_provider_has_the_money(
    paid: bool, kinds: list[str], engine: Engine, show: ShowId
) -> None:
    sold = await sell(engine, show, area="Bar", quantity=2, paid=paid)
    async with engine.db.transaction() as tx:
        await booking.cancel(tx, engine.office, show, sold.booking_id, "by_organizer", sold_too=True)
    await follow(engine)
    assert [each.kind for each in await documents(engine, sold)] == kinds
    assert {each.total for each in await documents(engine, sold)} == {sold.total}


async def test_a_document_keeps_what_stood_on_it(engine: Engine, show: ShowId) -> None:
    old = await sell(engine, show, area="Bar", quantity=1)
    await follow(engine)
    (before,) = await documents(engine, old)
    async with engine.db.transaction() as tx:
        await invoices.set_invoicing(
            tx, ORGANIZER, InvoicingSpec("Opera GmbH", "Ring 1\nWien", "ATU1", "2027-", "Thanks", "de")
        )  # fmt: skip
    new = await sell(engine, show, area="Bar", quantity=1)
    await follow(engine)
    assert await documents(engine, old) == [before]
    (after,) = await documents(engine, new)
    assert (after.number, after.label, after.legal_name, after.address) == (
        2,
        "2027-2",
        "Opera GmbH",
        "Ring 1\nWien",
    )
    assert (after.tax_id, after.note, after.language) == ("ATU1", "Thanks", "de")


@pytest.mark.parametrize(
    "change", ["update invoices set total = 1", "delete from invoices", "truncate invoices"]
)
async def test_nobody_changes_a_document(change: str, engine: Engine, db: Database, show: ShowId) -> None:
    await sell(engine, show, area="Bar", quantity=1)
    await follow(engine)
    for each in (engine.db, engine.db.of(ORGANIZER)):
        with pytest.raises(NotPermitted):
            await each.execute(change)
    # Control: there is something to change.
    assert await db.execute("update invoices set total = 1") == 1


@pytest.mark.parametrize("seed", range(200))
def test_parts_of_an_invoice_always_add_up_to_it(seed: int) -> None:
    random = Random(seed)
    invoiced = [
        Line(random.randint(1, 5), random.randint(0, 999), random.randint(0, 99), random.randint(0, 99), rate)
        for rate in random.sample([0, 500, 700, 1900, 2500], random.randint(1, 5))
    ]
    credited: list[Line] = []
    while left := figures.left_of(invoiced, credited):
        whole = sum(each.amount for each in left.values())
        amount = random.choice([whole, random.randint(1, whole), random.randint(1, whole)])
        lines = figures.divided(amount, left)
        assert sum(line.amount for line in lines) == amount
        assert all(line.amount > 0 and line.tax >= 0 for line in lines)
        credited += lines
    paid = [each for each in taxes_of(invoiced) if each.amount]
    assert taxes_of(credited) == paid
