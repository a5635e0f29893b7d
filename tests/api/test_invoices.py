"""Invoices over HTTP: what buyers and staff get, on screen, on paper and in a file, and nobody else."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
import typst
from PIL import Image

from holdfast import booking, invoices
from holdfast.engine import Engine, work
from holdfast.invoices import Document, printing
from holdfast.platform.ids import BookingId, ShowId
from tests.api.people import another_house, signed_in
from tests.api.test_privacy import traces
from tests.conftest import client_of, eventually
from tests.till import Till, pay

pytestmark = pytest.mark.anyio

PRICED: dict[str, Any] = {
    "areas": [{"name": "Yard", "kind": "standing", "capacity": 50}],
    "tiers": [{"area": "Yard", "name": "Adult", "amount": 1000, "fee": 70, "tax_basis_points": 700}],
}
GUEST = {"email": "grace@example.org", "name": "Grace Guest"}
DETAILS = {
    "legal_name": "Opera GmbH", "address": "Ring 1\n1010 Wien", "tax_id": "ATU1", "prefix": "2026-", "note": "Danke.",
    "language": "de",
}  # fmt: skip
HOSTILE = (
    '#set page(fill: red); *b* $x$ `r` <l> @k \\ [c] #image("/etc/passwd") "q" {{ x }} =1+1 ' + "W" * 120
)


@pytest.fixture
def till(engine: Engine) -> Till:
    """The only provider of the engine."""
    made = Till()
    engine.providers.clear()  # type: ignore[attr-defined]
    engine.providers["till"] = made  # type: ignore[index]
    return made


@pytest.fixture
async def worker(engine: Engine) -> AsyncIterator[None]:
    """Somebody who does the jobs."""
    stopping = asyncio.Event()
    running = asyncio.create_task(work(engine, stopping))
    yield
    stopping.set()
    await running


@pytest.fixture
async def sold(
    owner: httpx.AsyncClient, engine: Engine, till: Till, worker: None, a_show: Any
) -> dict[str, Any]:
    """Three places for 32.10, paid, and with their invoice."""
    return await sell(owner, engine, await a_show(**PRICED))


async def sell(owner: httpx.AsyncClient, engine: Engine, show: dict[str, Any], **wish: Any) -> dict[str, Any]:
    wish = {"quantity": 3, "customer": GUEST, **wish}
    answer = await owner.post(f"/v1/shows/{show['id']}/bookings", json=wish)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    await pay(engine.db, await found(engine, made))
    assert (await owner.post(path_of(made, "/confirm"))).status_code == 200
    await eventually(lambda: has_documents(engine, made, 1))
    return made


async def found(engine: Engine, made: dict[str, Any]) -> booking.Booking:
    return await booking.booking_by_id(engine.db, ShowId(UUID(made["show_id"])), BookingId(UUID(made["id"])))


async def documents(engine: Engine, made: dict[str, Any]) -> list[Document]:
    return await invoices.documents_of(engine.db, ShowId(UUID(made["show_id"])), BookingId(UUID(made["id"])))


async def has_documents(engine: Engine, made: dict[str, Any], count: int) -> bool:
    return len(await documents(engine, made)) == count


def path_of(made: dict[str, Any], rest: str = "") -> str:
    return f"/v1/shows/{made['show_id']}/bookings/{made['id']}{rest}"


async def test_a_buyer_gets_the_invoice_and_the_credit_note(
    owner: httpx.AsyncClient, engine: Engine, sold: dict[str, Any]
) -> None:
    wanted = await owner.post(path_of(sold, "/refunds"), json={"numbers": [2], "release": True})
    assert wanted.status_code == 201, wanted.text
    await eventually(lambda: has_documents(engine, sold, 2))
    async with client_of(engine, Authorization=f"Bearer {sold['secret']}") as buyer:
        listed = await buyer.get(path_of(sold, "/invoices"))
        assert listed.headers["cache-control"] == "private, no-store"
        invoice, note = listed.json()["invoices"]
        assert invoice["total"] == sold["total"] == {"amount": 3210, "currency": "EUR"}
        assert invoice["taxes"] == [{"basis_points": 700, "net": 3000, "tax": 210, "amount": 3210}]
        assert [(each["area"], each["tier"], each["quantity"]) for each in invoice["lines"]] == [
            ("Yard", "Adult", 3)
        ]
        assert (note["kind"], note["number"], note["refers_to"], note["total"]["amount"]) == (
            "credit_note",
            2,
            1,
            1070,
        )
        for number, kind in ((1, "invoice"), (2, "credit_note")):
            printed = await buyer.get(path_of(sold, f"/invoices/{number}/invoice.pdf"))
            assert printed.status_code == 200, printed.text
            assert printed.headers["content-type"] == "application/pdf"
            assert printed.headers["content-disposition"] == f'inline; filename="{kind}-{number}.pdf"'
            assert printed.content.startswith(b"%PDF")
        missing = await buyer.get(path_of(sold, "/invoices/3/invoice.pdf"))
        assert (missing.status_code, missing.json()["code"]) == (404, "invoice_not_found")


async def test_an_invoice_is_its_own_bookings_alone(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, engine: Engine, sold: dict[str, Any], a_show: Any
) -> None:
    other = await sell(owner, engine, await a_show(**PRICED))
    async with client_of(engine, Authorization=f"Bearer {other['secret']}") as stranger:
        assert (await stranger.get(path_of(sold, "/invoices"))).status_code == 404
        assert (await stranger.get(path_of(sold, "/invoices/1/invoice.pdf"))).status_code == 404
        assert (await stranger.get(path_of(other, "/invoices/1/invoice.pdf"))).status_code == 404
        # Control: its own has the next number.
        assert (await stranger.get(path_of(other, "/invoices/2/invoice.pdf"))).status_code == 200
    assert (await client.get(path_of(sold, "/invoices"))).status_code == 404


async def test_staff_read_them_by_pages_and_by_date(
    owner: httpx.AsyncClient, engine: Engine, sold: dict[str, Any], a_show: Any
) -> None:
    show = await a_show(**PRICED)
    for _ in range(2):
        await sell(owner, engine, show, quantity=1)
    numbers: list[list[int]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await owner.get("/v1/invoices", params={"limit": 2, **cursor})).json()
        numbers.append([each["number"] for each in page["invoices"]])
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert numbers == [[3, 2], [1]]
    second = (await owner.get("/v1/invoices")).json()["invoices"][1]["issued_at"]
    for span, expected in (({"since": second}, [3, 2]), ({"until": second}, [1])):
        listed = (await owner.get("/v1/invoices", params=span)).json()["invoices"]
        assert [each["number"] for each in listed] == expected
    for wrong in ({"cursor": "x"}, {"cursor": "9" * 30}, {"since": second, "until": second}):
        assert (await owner.get("/v1/invoices", params=wrong)).status_code == 400


async def test_other_houses_see_none_of_it(
    owner: httpx.AsyncClient, engine: Engine, sold: dict[str, Any]
) -> None:
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        assert (await stranger.get("/v1/invoices")).json() == {"invoices": [], "next": None}
        assert len((await stranger.get("/v1/invoices.csv")).text.splitlines()) == 1
        assert (await stranger.get(path_of(sold, "/invoices"))).status_code == 404
        assert (await stranger.get("/v1/organizer/invoicing")).json()["legal_name"] == "Another House"
    async with signed_in(engine, "box_office") as clerk:
        assert (await clerk.get("/v1/invoices")).status_code == 403
        assert (await clerk.get(path_of(sold, "/invoices"))).status_code == 200
        assert (await clerk.put("/v1/organizer/invoicing", json=DETAILS)).status_code == 403


async def test_a_file_has_a_line_for_each_rate_and_credit_notes_below_zero(
    owner: httpx.AsyncClient, engine: Engine, till: Till, worker: None, a_show: Any
) -> None:
    made = await sell(owner, engine, await a_show(name="=Hamlet()", **PRICED))
    await owner.post(path_of(made, "/refunds"), json={"amount": 107, "release": False})
    await eventually(lambda: has_documents(engine, made, 2))
    answer = await owner.get("/v1/invoices.csv")
    note, invoice = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))
    assert invoice["show"] == "'=Hamlet()"
    columns = ("number", "kind", "refers_to", "tax_rate", "net", "tax", "amount", "currency", "booking")
    assert [invoice[each] for each in columns] == [
        "1", "invoice", "", "7.00", "30.00", "2.10", "32.10", "EUR", made["reference"],
    ]  # fmt: skip
    assert [note[each] for each in columns] == [
        "2", "credit_note", "1", "7.00", "-1.00", "-0.07", "-1.07", "EUR", made["reference"],
    ]  # fmt: skip
    entry = await engine.db.row("select after from audit where action = 'invoices.exported'")
    assert entry is not None
    assert entry["after"] == {"invoices": 2}


async def test_an_organizer_says_what_stands_on_the_next_one(
    owner: httpx.AsyncClient, engine: Engine, sold: dict[str, Any], a_show: Any
) -> None:
    before = (await owner.get("/v1/organizer/invoicing")).json()
    assert (before["legal_name"], before["prefix"], before["language"]) == ("Test House", "", None)
    assert (await owner.put("/v1/organizer/invoicing", json=DETAILS)).json() == DETAILS
    assert (await owner.get("/v1/organizer/invoicing")).json() == DETAILS
    made = await sell(owner, engine, await a_show(**PRICED))
    old, new = (await documents(engine, sold))[0], (await documents(engine, made))[0]
    assert (old.label, old.legal_name, old.tax_id) == ("1", "Test House", "")
    said = printing.page_of(new, await found(engine, made))
    assert said.title == "Rechnung 2026-2"
    assert said.seller == ["Opera GmbH", "Ring 1", "1010 Wien"]
    assert said.lines == [["Yard, Adult", "3", "30,00\xa0€", "2,10\xa0€", "32,10\xa0€"]]
    assert said.taxes == [["7\xa0%", "30,00\xa0€", "2,10\xa0€", "32,10\xa0€"]]
    entry = await engine.db.row("select after from audit where action = 'organizer.invoicing'")
    assert entry is not None
    assert "legal_name" in entry["after"]["changed"]
    assert "Opera" not in str(entry["after"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"legal_name": ""}, {"legal_name": " Opera"}, {"legal_name": "a\x00b"}, {"address": "a\x07"}, {"tax_id": "1\n2"},
        {"prefix": "2026 "}, {"prefix": "x" * 21}, {"note": "\u202eevil"}, {"language": "fr"}, {"colour": "red"},
    ],
)  # fmt: skip
async def test_what_cannot_be_printed_is_refused(wrong: dict[str, str], owner: httpx.AsyncClient) -> None:
    answer = await owner.put("/v1/organizer/invoicing", json={**DETAILS, **wrong})
    assert answer.status_code == 400, answer.text


async def test_who_is_erased_stands_on_no_invoice(
    owner: httpx.AsyncClient, engine: Engine, sold: dict[str, Any]
) -> None:
    (document,) = before = await documents(engine, sold)
    assert printing.page_of(document, await found(engine, sold)).buyer == [GUEST["name"], GUEST["email"]]
    await engine.db.execute("update shows set start_time = now() - interval '1 day'")
    assert (await owner.post("/v1/privacy/erase", json={"email": GUEST["email"]})).status_code == 202

    async def is_gone() -> bool:
        return (await found(engine, sold)).email is None

    await eventually(is_gone)
    after = await documents(engine, sold)
    assert after == before
    assert printing.page_of(document, await found(engine, sold)).buyer == []
    assert [each for each in await traces(engine.db, GUEST["name"]) if each.startswith("invoice")] == []
    printed = await owner.get(path_of(sold, "/invoices/1/invoice.pdf"))
    assert printed.content.startswith(b"%PDF")


async def test_no_name_is_markup(
    owner: httpx.AsyncClient, engine: Engine, till: Till, worker: None, a_show: Any
) -> None:
    details = {
        **DETAILS,
        "legal_name": HOSTILE,
        "address": f"{HOSTILE}\n" * 2,
        "note": f"{HOSTILE}\n" * 3,
        "tax_id": "#x",
    }
    assert (await owner.put("/v1/organizer/invoicing", json=details)).status_code == 200
    areas = [{"name": HOSTILE[:100], "kind": "standing", "capacity": 5}]
    tiers = [{"area": HOSTILE[:100], "name": HOSTILE[:100], "amount": 500}]
    show = await a_show(name=HOSTILE, areas=areas, tiers=tiers)
    made = await sell(owner, engine, show, quantity=1, customer={**GUEST, "name": HOSTILE})
    printed = await owner.get(path_of(made, "/invoices/1/invoice.pdf"))
    assert printed.content.startswith(b"%PDF")
    page = printing.page_of((await documents(engine, made))[0], await found(engine, made))
    assert HOSTILE in page.buyer
    compiler = typst.Compiler(str(printing.TEMPLATE), root=printing.TEMPLATE.parent)
    made_png = compiler.compile(format="png", sys_inputs=printing.inputs(page), ppi=36)
    for each in made_png if isinstance(made_png, list) else [made_png]:
        assert each is not None
        picture = Image.open(io.BytesIO(each)).convert("RGB")
        # Black on white: nothing was painted, and nothing runs over the edges.
        colours = {colour for _, colour in picture.getcolors(2**24) or () if isinstance(colour, tuple)}
        assert colours
        assert all(max(colour) - min(colour) < 8 for colour in colours)
        width, height = picture.size
        edges = [
            picture.crop((0, 0, width // 20, height)),
            picture.crop((width - width // 20, 0, width, height)),
        ]
        assert {colour for edge in edges for _, colour in edge.getcolors(2**24) or ()} == {(255, 255, 255)}
