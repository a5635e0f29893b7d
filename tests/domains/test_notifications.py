"""Letters about bookings, money and shows: on real PostgreSQL, handed to a real mail server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import httpx
import icalendar
import msgspec
import pytest

from holdfast import accounts, booking, facts, notifications, tickets
from holdfast.engine import Engine, work
from holdfast.notifications import rounds
from holdfast.platform import jobs, mail
from holdfast.platform.db import Database
from holdfast.platform.errors import Busy
from holdfast.platform.ids import BookingId, OrganizerId, ShowId, new_id
from holdfast.platform.jobs import Job
from holdfast.platform.outbox import Fact
from holdfast.platform.settings import Settings
from tests.conftest import eventually
from tests.platform.test_mail import Server, reaching, serving

pytestmark = pytest.mark.anyio

GUEST = "guest@example.org"
TAGS = "{{ 'zq' * 2 }}{% x %}"
HOSTILE = f"<script>alert(1)</script>\"'{TAGS}</td><img src=x onerror=y>"


@pytest.fixture
async def mail_server() -> AsyncIterator[Server]:
    async with serving(Server()) as server:
        yield server


@pytest.fixture
def settings(settings: Settings, mail_server: Server) -> Settings:
    return reaching(settings, mail_server, mail_seconds=2.0, public_url="https://tickets.example.org")


@asynccontextmanager
async def working(engine: Engine) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    running = asyncio.create_task(work(engine, stopping))
    try:
        yield
    finally:
        stopping.set()
        await running


def to(server: Server, address: str = GUEST) -> list[EmailMessage]:
    return [message for message in server.taken if message["To"] == address]


def subjects(server: Server, address: str = GUEST) -> list[str]:
    return [str(message["Subject"]) for message in to(server, address)]


def said(message: EmailMessage, kind: str = "plain") -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def enclosed(message: EmailMessage) -> dict[str, bytes]:
    return {
        str(part.get_filename()): part.get_payload(decode=True)  # type: ignore[misc]
        for part in message.iter_attachments()
    }


async def quiet(db: Database) -> bool:
    """Whether nothing is on its way any more."""
    return not await db.value(
        "select (select count(*) from outbox) + (select count(*) from letters)"
        " + (select count(*) from jobs where run_at <= now() + interval '1 minute')"
    )


@pytest.fixture
def buy(client: httpx.AsyncClient, a_show: Any) -> Any:
    """Books and confirms."""

    async def bought(show: dict[str, Any] | None = None, **claim: Any) -> dict[str, Any]:
        show = show or await a_show(timezone="Europe/Vienna")
        body = {"confirm": True, "customer": {"name": "Grace Hopper", "email": GUEST}, "quantity": 1, **claim}
        answer = await client.post(f"/v1/shows/{show['id']}/bookings", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    return bought


@pytest.fixture
def paid(engine: Engine, a_show: Any, buy: Any, owner: httpx.AsyncClient) -> Any:
    """A booking with a price, confirmed by staff."""

    async def made() -> dict[str, Any]:
        tiers = [{"name": "Adult", "area": "Floor", "amount": 4500}]
        areas = [{"name": "Floor", "kind": "standing", "capacity": 50}]
        show = await a_show(areas=areas, tiers=tiers, timezone="Europe/Vienna")
        held: dict[str, Any] = await buy(show, confirm=False, quantity=2, tier="Adult")
        confirmed = await owner.post(f"/v1/shows/{show['id']}/bookings/{held['id']}/confirm")
        assert confirmed.status_code == 200, confirmed.text
        return held

    return made


async def organizer(engine: Engine) -> OrganizerId:
    member = await accounts.first_owner(engine.db)
    assert member is not None
    return member.organizer_id


async def announce(engine: Engine, sold: dict[str, Any], payload: facts.Payload) -> None:
    async with engine.db.transaction() as tx:
        await facts.announce(tx, UUID(sold["show_id"]), payload)


async def test_a_confirmation_brings_tickets_and_calendar(
    engine: Engine, buy: Any, mail_server: Server
) -> None:
    sold = await buy(quantity=2)
    async with working(engine):
        await eventually(lambda: quiet(engine.db))
    [letter] = to(mail_server)
    assert letter["Subject"] == "Your tickets for Hamlet"
    assert letter.get_content_type() == "multipart/mixed"
    text, html = said(letter), said(letter, "html")
    link = (
        f"https://tickets.example.org/shows/{sold['show_id']}/bookings/{sold['id']}#secret={sold['secret']}"
    )
    for form in (text, html):
        assert link in form
        assert "Hello Grace Hopper," in form
        assert "Tuesday, 24 December 2030, 20:00 (Central European Standard Time)" in form
        assert "Your 2 tickets are enclosed" in form
    brought = enclosed(letter)
    assert set(brought) == {f"{sold['reference']}.pdf", "show.ics"}
    assert brought[f"{sold['reference']}.pdf"].startswith(b"%PDF")
    [event] = icalendar.Calendar.from_ical(brought["show.ics"]).events
    assert str(event["summary"]) == "Hamlet"


async def test_nobody_waits_for_mail_and_the_letter_comes_when_the_server_does(
    engine: Engine, buy: Any, mail_server: Server, db: Database
) -> None:
    mail_server.says = ["451 4.3.0 not now"] * 3
    async with working(engine):
        sold = await buy()
        assert sold["status"] == "CONFIRMED"
        await eventually(lambda: quiet(engine.db))
    assert len(to(mail_server)) == 1
    assert mail_server.says == []


async def test_a_fact_that_comes_again_makes_no_second_letter(
    engine: Engine, buy: Any, mail_server: Server
) -> None:
    sold = await buy()
    async with working(engine):
        await eventually(lambda: quiet(engine.db))
        for _ in range(3):
            await _come_again(engine, sold)
        await eventually(lambda: quiet(engine.db))
    assert subjects(mail_server) == ["Your tickets for Hamlet"]


async def _come_again(engine: Engine, sold: dict[str, Any]) -> None:
    """The fact of a confirmation under another id, as a relay would never do it."""
    payload = msgspec.structs.replace(
        facts.EXAMPLES[facts.BOOKING_CONFIRMED],
        booking_id=UUID(sold["id"]), organizer_id=await organizer(engine), version=1,
    )  # fmt: skip
    await announce(engine, sold, payload)


class Dying(Database):
    """A database whose process dies in the `at`-th transaction, before or after its commit."""

    def __init__(self, db: Database, at: int, *, after: bool) -> None:
        self._under, self._left, self._after = db, at, after
        for name in ("row", "rows", "value", "execute"):
            setattr(self, name, getattr(db, name))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        self._left -= 1
        async with self._under.transaction() as tx:
            yield tx
            if self._left == 0 and not self._after:
                raise Busy("killed before the commit")
        if self._left == 0:
            raise Busy("killed after the commit")


@pytest.mark.parametrize("after", [False, True])
async def test_killed_between_the_fact_and_the_letter_there_is_one(
    after: bool, engine: Engine, buy: Any, db: Database
) -> None:
    sold = await buy()
    teller = notifications.Teller(engine.office, engine)
    job = await _job(engine, sold)
    with pytest.raises(Busy):
        await teller.confirmed(job, Dying(engine.db, 1, after=after))
    assert await db.value("select count(*) from letters") == (1 if after else 0)
    again = await _job(engine, sold)
    await teller.confirmed(again, engine.db)
    assert await db.value("select count(*) from letters") == 1
    assert await db.value("select count(*) from notices") == 1


async def _job(engine: Engine, sold: dict[str, Any]) -> Job:
    """The follower's job for a confirmation, leased by this process."""
    payload = msgspec.structs.replace(
        facts.EXAMPLES[facts.BOOKING_CONFIRMED],
        booking_id=UUID(sold["id"]), organizer_id=await organizer(engine), version=1,
    )  # fmt: skip
    fact = Fact(
        new_id(),
        payload.kind,
        UUID(sold["show_id"]),
        "2026-01-01T00:00:00.000Z",
        msgspec.to_builtins(payload),
    )
    return await _leased(engine, "follow:letters", msgspec.to_builtins(fact))


async def _leased(engine: Engine, kind: str, payload: Any) -> Job:
    job_id, lease = new_id(), new_id()
    async with engine.db.transaction() as tx:
        await jobs.enqueue(tx, kind, payload, job_id=job_id)
    await engine.db.execute(
        "update jobs set lease = $2, leased_until = now() + interval '1 hour' where job_id = $1",
        job_id,
        lease,
    )
    return Job(job_id, kind, payload, 1, datetime.now(UTC), lease)


async def test_who_left_no_address_or_a_bad_one_gets_none(
    engine: Engine, buy: Any, a_show: Any, db: Database
) -> None:
    show = await a_show()
    await buy(show, customer={"name": "Nobody"})
    await buy(show, customer={"email": "grüße@example.org"})
    async with working(engine):
        await eventually(lambda: quiet(engine.db))
    assert await db.value("select count(*) from dead_letters") == 0


async def test_a_booking_that_ended_before_its_letter_gets_no_tickets(
    engine: Engine, buy: Any, client: httpx.AsyncClient, mail_server: Server
) -> None:
    sold = await buy()
    url = f"/v1/shows/{sold['show_id']}/bookings/{sold['id']}/cancel"
    cancelled = await client.post(url, headers={"Authorization": f"Bearer {sold['secret']}"})
    assert cancelled.status_code == 200, cancelled.text
    async with working(engine):
        await eventually(lambda: quiet(engine.db))
    [letter] = to(mail_server)
    assert letter["Subject"] == "Your booking for Hamlet is cancelled"
    assert "as you asked" in said(letter)
    [event] = icalendar.Calendar.from_ical(enclosed(letter)["show.ics"]).events
    assert str(event["status"]) == "CANCELLED"


@pytest.mark.parametrize("where", ["show", "buyer", "organizer", "venue", "words"])
async def test_no_word_of_anybody_is_markup(
    where: str, engine: Engine, owner: httpx.AsyncClient, a_show: Any, buy: Any, mail_server: Server
) -> None:
    if where == "organizer":
        assert (await owner.patch("/v1/organizer", json={"name": HOSTILE})).status_code == 200
    if where == "words":
        words = {"texts": {"confirmation": HOSTILE.replace(TAGS, "") + "{{ show }}"}}
        assert (await owner.put("/v1/organizer/letters", json=words)).status_code == 200
    more: dict[str, Any] = {}
    if where == "venue":
        venue = await owner.post("/v1/venues", json={"name": HOSTILE, "timezone": "UTC", "address": HOSTILE})
        layout = {"name": "x", "areas": [{"name": HOSTILE[:40], "kind": "standing", "capacity": 10}]}
        made = await owner.post(f"/v1/venues/{venue.json()['id']}/layouts", json=layout)
        more = {"layout_id": made.json()["id"]}
    show = await a_show(name=HOSTILE if where in ("show", "words") else "Hamlet", **more)
    customer = {"email": GUEST, "name": HOSTILE if where == "buyer" else "Grace"}
    await buy(show, customer=customer)
    async with working(engine):
        await eventually(lambda: quiet(engine.db))
    [letter] = to(mail_server)
    html = said(letter, "html")
    for forbidden in ("<script", "<img", "zqzq", '</td>"'):
        assert forbidden not in html.replace(letter["Message-ID"], "")
    assert ("&lt;script&gt;" in html) == (where != "buyer")
    # A name that is more than a name is left out, for whoever books for a stranger could write them anything.
    assert ("Hello," in said(letter)) == (where == "buyer")
    assert len(letter.get_all("Subject") or []) == 1


async def test_german_and_own_words(
    engine: Engine, owner: httpx.AsyncClient, paid: Any, mail_server: Server
) -> None:
    words = (
        "Einlass ab 19 Uhr.\n\n{% if venue %}Ort: {{ venue }}{% endif %}Buchung {{ reference }} bereithalten."
    )
    rules = {"language": "de", "texts": {"confirmation": words}}
    answer = await owner.put("/v1/organizer/letters", json=rules)
    assert answer.status_code == 200, answer.text
    sold = await paid()
    async with working(engine):
        await eventually(lambda: quiet(engine.db))
    [letter] = to(mail_server)
    text = said(letter).replace("\N{NO-BREAK SPACE}", " ")
    assert letter["Subject"] == "Ihre Tickets für Hamlet"
    assert "Guten Tag Grace Hopper," in text
    assert "Ihre 2 Tickets liegen als PDF bei." in text
    assert "Dienstag, 24. Dezember 2030, 20:00 (Mitteleuropäische Normalzeit)" in text
    assert "Summe: 90,00 €" in text
    assert f"Einlass ab 19 Uhr.\n\nBuchung {sold['reference']} bereithalten." in text
    assert '<html lang="de"' in said(letter, "html")


async def test_own_words_with_more_than_gaps_are_refused_where_they_stand(owner: httpx.AsyncClient) -> None:
    for words in ("{{ show.__class__ }}", "{% for a in show %}{% endfor %}", "{{ secret }}", "{{ 7*7 }}"):
        answer = await owner.put("/v1/organizer/letters", json={"texts": {"reminder": words}})
        assert answer.status_code == 400, words
        assert answer.json()["errors"][0]["pointer"] == "/texts/reminder"


async def test_money_that_goes_back_is_told_step_by_step(
    engine: Engine, paid: Any, mail_server: Server
) -> None:
    sold = await paid()
    ids = {"booking_id": UUID(sold["id"]), "organizer_id": await organizer(engine)}
    wanted = msgspec.structs.replace(facts.EXAMPLES[facts.REFUND_WANTED], **ids, reason="late")
    settled = msgspec.structs.replace(facts.EXAMPLES[facts.REFUND_SETTLED], **ids)
    failed = msgspec.structs.replace(facts.EXAMPLES[facts.REFUND_FAILED], **ids)
    async with working(engine):
        await eventually(lambda: quiet(engine.db))
        for fact in (wanted, settled, failed, wanted):
            await announce(engine, sold, fact)
            await eventually(lambda: quiet(engine.db))
    assert subjects(mail_server) == [
        "Your tickets for Hamlet",
        "Your money for Hamlet comes back",
        "Refunded: €45.00 for Hamlet",
        "Your refund for Hamlet is delayed",
    ]
    _, late, back, _ = to(mail_server)
    assert "Your payment arrived after your places had gone to others" in said(late)
    assert f"This ticket admits nobody any more: {sold['reference']}-2." in said(back)
    # Of what a person has to see to, the owners hear.
    assert subjects(mail_server, "owner@example.org") == [f"A refund failed: booking {sold['reference']}"]


@pytest.mark.parametrize("kind", [facts.PAYMENT_MISMATCHED, facts.PAYMENT_DISPUTED])
async def test_the_owners_hear_of_money_in_question(
    kind: str, engine: Engine, paid: Any, mail_server: Server
) -> None:
    sold = await paid()
    ids = {"booking_id": UUID(sold["id"]), "organizer_id": await organizer(engine)}
    async with working(engine):
        await announce(engine, sold, msgspec.structs.replace(facts.EXAMPLES[kind], **ids))
        await eventually(lambda: quiet(engine.db))
    assert len(to(mail_server, "owner@example.org")) == 1
    assert subjects(mail_server) == ["Your tickets for Hamlet"]


async def test_a_hold_that_was_being_paid_for_is_told_to_have_ended(
    engine: Engine, a_show: Any, buy: Any, client: httpx.AsyncClient, mail_server: Server
) -> None:
    held = await buy(await a_show(), confirm=False)
    url = f"/v1/shows/{held['show_id']}/bookings/{held['id']}/cancel"
    await client.post(url, headers={"Authorization": f"Bearer {held['secret']}"})
    sold = await buy(await a_show())
    async with working(engine):
        for each in (held, sold):
            payload = msgspec.structs.replace(
                facts.EXAMPLES[facts.BOOKING_EXPIRED],
                booking_id=UUID(each["id"]), organizer_id=await organizer(engine),
            )  # fmt: skip
            await announce(engine, each, payload)
        await eventually(lambda: quiet(engine.db))
    # Who got places after all, by late money, hears of no end.
    assert sorted(subjects(mail_server)) == ["Your places for Hamlet were let go", "Your tickets for Hamlet"]


async def test_a_ticket_that_is_given_away_is_told_to_both(
    engine: Engine, buy: Any, client: httpx.AsyncClient, mail_server: Server, db: Database
) -> None:
    sold = await buy(quantity=2)
    url = f"/v1/shows/{sold['show_id']}/bookings/{sold['id']}/tickets/2/transfer"
    to_ada = {"name": "Ada", "email": "ada@example.org"}
    given = await client.post(url, json=to_ada, headers={"Authorization": f"Bearer {sold['secret']}"})
    assert given.status_code == 200, given.text
    async with working(engine):
        await eventually(lambda: quiet(engine.db))
        found = await booking.booking_by_id(
            engine.db, ShowId(UUID(sold["show_id"])), BookingId(UUID(sold["id"]))
        )
        async with engine.db.transaction() as tx:
            await tickets.void(tx, booking.sale_of(found), [1, 2])
        await eventually(lambda: quiet(engine.db))
    assert sorted(subjects(mail_server)) == ["You gave away a ticket for Hamlet", "Your tickets for Hamlet"]
    assert len(subjects(mail_server, "ada@example.org")) == 2
    assert subjects(mail_server, "ada@example.org")[1] == "Your ticket for Hamlet is no longer good"
    assert "Grace" not in "".join(map(said, to(mail_server, "ada@example.org")))


async def a_crowd(engine: Engine, show: dict[str, Any], buyers: int) -> None:
    """Sold bookings of a show, each by somebody else, and some that came to nothing."""
    house = await organizer(engine)
    await engine.db.execute(
        """insert into bookings (show_id, booking_id, organizer_id, reference, status, reason, quantity, areas, seats,
             tiers, amounts, total, currency, email, name, created_at, confirmed_at, ended_at, version)
           select $1, gen_random_uuid(), $2, 'KXQWMPRT', case when n % 10 = 0 then 'FAILED' else 'CONFIRMED' end,
             case when n % 10 = 0 then 'expired' end, 1, '{1}', '{}', '{0}', '{0}', 0, 'EUR',
             'guest' || n || '@example.org', 'Guest', now(), case when n % 10 > 0 then now() end,
             case when n % 10 = 0 then now() end, 2
             from generate_series(1, $3::int) n""",
        UUID(show["id"]), house, buyers,
    )  # fmt: skip


STANDING = [{"name": "Floor", "kind": "standing", "capacity": 5000}]


async def written(db: Database) -> dict[str, int]:
    rows = await db.rows("select kind, count(*) as n from notices group by kind")
    return {row["kind"]: row["n"] for row in rows}


async def test_everybody_hears_that_a_show_moved_wherever_the_round_dies(
    engine: Engine, owner: httpx.AsyncClient, a_show: Any, db: Database
) -> None:
    show = await a_show(areas=STANDING)
    await a_crowd(engine, show, 250)
    moved = await owner.patch(f"/v1/shows/{show['id']}", json={"start_time": "2030-12-25T20:00:00+01:00"})
    assert moved.status_code == 200, moved.text
    payload = facts.of(await _the_fact(db, facts.SHOW_MOVED))
    at = rounds.Round(
        ShowId(UUID(show["id"])),
        "show_moved",
        str(payload.version),
        payload.start_time,
        payload.start_time_before,
    )
    teller = notifications.Teller(engine.office, engine)
    job = await _leased(engine, rounds.ROUND, msgspec.to_builtins(at))
    for after in (False, True):
        with pytest.raises(Busy):
            await notifications.go_round(teller, job, Dying(engine.db, 1, after=after))

    async def _nobody_left() -> bool:
        rounds_left = await db.value(
            "select count(*) from jobs where kind <> all ($1::text[])", [mail.SEND, mail.SEND_ENCLOSED]
        )
        facts_left = await db.value("select count(*) from outbox")
        return bool(rounds_left + facts_left == 0)

    # The one that died after its commit has left the next page behind, and ends here.
    assert (await written(db))["show_moved"] < 100
    async with working(engine):
        await eventually(_nobody_left)
    assert await written(db) == {"show_moved": 225}


async def _the_fact(db: Database, kind: str) -> Fact:
    row = await db.row("select * from outbox where kind = $1", kind)
    assert row is not None
    return Fact(row["fact_id"], row["kind"], row["show_id"], "", row["payload"])


async def test_a_show_that_is_moved_postponed_and_cancelled(
    engine: Engine,
    owner: httpx.AsyncClient,
    buy: Any,
    a_show: Any,
    client: httpx.AsyncClient,
    mail_server: Server,
) -> None:
    show = await a_show(areas=STANDING)
    sold = await buy(show, quantity=2)
    url = f"/v1/shows/{show['id']}"
    given = await client.post(
        f"{url}/bookings/{sold['id']}/tickets/2/transfer",
        json={"name": "Ada", "email": "ada@example.org"},
        headers={"Authorization": f"Bearer {sold['secret']}"},
    )
    assert given.status_code == 200, given.text
    steps: list[dict[str, Any]] = [
        {"start_time": "2031-01-06T20:00:00+01:00"},
        {"status": "postponed"},
        {"start_time": "2031-02-06T20:00:00+01:00", "status": "on_sale"},
        {"name": "Hamlet!"},
        {"status": "cancelled"},
    ]
    async with working(engine):
        await eventually(lambda: quiet(engine.db))
        mail_server.taken.clear()
        for step in steps:
            assert (await owner.patch(url, json=step)).status_code == 200
            await eventually(lambda: quiet(engine.db))
    expected = ["New time: Hamlet", "Postponed: Hamlet", "New time: Hamlet", "Cancelled: Hamlet!"]
    assert subjects(mail_server) == expected
    assert subjects(mail_server, "ada@example.org") == expected
    first, *_ = to(mail_server)
    assert "Monday, 6 January 2031" in said(first)
    [event] = icalendar.Calendar.from_ical(enclosed(first)["show.ics"]).events
    assert event.start == datetime(2031, 1, 6, 19, tzinfo=UTC)
    theirs = "".join(map(said, to(mail_server, "ada@example.org")))
    assert "Grace" not in theirs
    assert sold["secret"] not in theirs
    assert "/tickets/2#secret=" in theirs


async def test_nobody_is_told_that_a_show_moved_into_the_past(
    engine: Engine, owner: httpx.AsyncClient, buy: Any, a_show: Any, db: Database
) -> None:
    show = await a_show()
    await buy(show)
    past = {"start_time": "2020-01-01T20:00:00Z"}
    assert (await owner.patch(f"/v1/shows/{show['id']}", json=past)).status_code == 200
    async with working(engine):
        await eventually(lambda: quiet(engine.db))
    assert await written(db) == {"confirmation": 1}


async def test_a_draft_that_moves_is_no_news(
    engine: Engine, owner: httpx.AsyncClient, a_show: Any, db: Database
) -> None:
    draft = await a_show(status="draft")
    await owner.patch(f"/v1/shows/{draft['id']}", json={"start_time": "2031-01-01T00:00:00Z"})
    assert await db.value("select count(*) from outbox where kind = 'show.moved'") == 0


async def at_in(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


async def test_buyers_are_reminded_once_when_the_show_is_near(
    engine: Engine, owner: httpx.AsyncClient, buy: Any, a_show: Any, mail_server: Server
) -> None:
    near, far = await a_show(start_time=await at_in(20)), await a_show(start_time=await at_in(40))
    await buy(near)
    await buy(far, customer={"email": "far@example.org"})
    async with working(engine):
        await eventually(lambda: quiet(engine.db))
        for _ in range(2):
            await notifications.remind_due(engine.db, engine.settings)
            await eventually(lambda: quiet(engine.db))
        assert sorted(subjects(mail_server)) == ["Soon: Hamlet", "Your tickets for Hamlet"]
        reminder = next(each for each in to(mail_server) if each["Subject"] == "Soon: Hamlet")
        assert any(name.endswith(".pdf") for name in enclosed(reminder))
        # The organizer wants it earlier.
        assert (await owner.put("/v1/organizer/letters", json={"reminder_hours": 48})).status_code == 200
        await notifications.remind_due(engine.db, engine.settings)
        await eventually(lambda: quiet(engine.db))
    assert sorted(subjects(mail_server, "far@example.org")) == ["Soon: Hamlet", "Your tickets for Hamlet"]
    assert len(to(mail_server)) == 2


async def test_a_show_that_moves_is_reminded_of_by_its_new_time(
    engine: Engine, owner: httpx.AsyncClient, buy: Any, a_show: Any, db: Database
) -> None:
    show = await a_show(start_time=await at_in(40))
    await buy(show)
    url = f"/v1/shows/{show['id']}"
    async with working(engine):
        # To a time that is due for a reminder already: the news is one.
        assert (await owner.patch(url, json={"start_time": await at_in(10)})).status_code == 200
        await eventually(lambda: quiet(engine.db))
        await notifications.remind_due(engine.db, engine.settings)
        await eventually(lambda: quiet(engine.db))
        assert await written(db) == {"confirmation": 1, "show_moved": 1}
        # And away again: near that time it is due.
        assert (await owner.patch(url, json={"start_time": await at_in(60)})).status_code == 200
        await eventually(lambda: quiet(engine.db))
        later = msgspec.structs.replace(engine.settings, reminder_hours=72)
        await notifications.remind_due(engine.db, later)
        await eventually(lambda: quiet(engine.db))
    assert await written(db) == {"confirmation": 1, "show_moved": 2, "reminder": 1}


@pytest.mark.parametrize("why", ["never", "cancelled", "postponed", "draft", "past"])
async def test_nobody_is_reminded_of_what_does_not_come(
    why: str, engine: Engine, owner: httpx.AsyncClient, a_show: Any, db: Database
) -> None:
    changes: dict[str, Any] = {"status": "draft"} if why == "draft" else {}
    show = await a_show(start_time=await at_in(-1 if why == "past" else 5), **changes)
    if why in ("cancelled", "postponed"):
        assert (await owner.patch(f"/v1/shows/{show['id']}", json={"status": why})).status_code == 200
    if why == "never":
        assert (await owner.put("/v1/organizer/letters", json={"reminder_hours": 0})).status_code == 200
    assert await notifications.remind_due(engine.db, engine.settings) == 0
    assert await db.value("select count(*) from reminded") == 0


async def test_a_reminder_that_was_overtaken_by_a_move_is_not_sent(
    engine: Engine, buy: Any, a_show: Any, db: Database
) -> None:
    show = await a_show(start_time=await at_in(10))
    await buy(show)
    starts = datetime.now(UTC)
    at = rounds.Round(ShowId(UUID(show["id"])), "reminder", "x", starts, starts)
    job = await _leased(engine, rounds.ROUND, msgspec.to_builtins(at))
    await notifications.go_round(notifications.Teller(engine.office, engine), job, engine.db)
    assert await written(db) == {}


async def test_notices_are_forgotten_when_no_fact_can_come_again(engine: Engine, db: Database) -> None:
    for days in (1, rounds.NOTICES_DAYS + 1):
        await db.execute(
            """insert into notices (show_id, booking_id, kind, edition, organizer_id, noticed_at)
               values ($1, $1, 'confirmation', '1', $1, now() - make_interval(days => $2))""",
            new_id(), days,
        )  # fmt: skip
    assert await notifications.forget_notices(engine.db) == 1
    assert await db.value("select count(*) from notices") == 1


async def test_a_letter_of_a_large_booking_stays_a_letter(
    engine: Engine, buy: Any, a_show: Any, mail_server: Server, db: Database
) -> None:
    show = await a_show(areas=STANDING, max_places_per_booking=2000)
    sold = await buy(show, quantity=150)
    async with working(engine):
        await eventually(lambda: quiet(engine.db))
    [letter] = to(mail_server)
    assert "and 130 more places" in said(letter)
    brought = enclosed(letter)[f"{sold['reference']}.pdf"]
    assert brought.count(b"/Type /Page\n") or len(brought) < mail.ENCLOSED_BYTES_MAX


async def test_who_is_erased_while_a_letter_is_written_gets_none_and_leaves_none(
    engine: Engine, buy: Any, db: Database
) -> None:
    sold = await buy()
    job = await _job(engine, sold)

    class Erasing(Dying):
        """Has the person taken off the booking between its reading and the letter."""

        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[Any]:
            await db.execute("update bookings set email = null, name = null, buyer = null")
            async with self._under.transaction() as tx:
                yield tx

    await notifications.Teller(engine.office, engine).confirmed(job, Erasing(engine.db, 0, after=False))
    assert await db.value("select count(*) from letters") == 0
    assert await db.value("select count(*) from jobs where job_id = $1", job.id) == 0


async def test_letters_that_wait_are_forgotten_with_the_person(
    engine: Engine, buy: Any, a_show: Any, owner: httpx.AsyncClient, db: Database
) -> None:
    show = await a_show()
    sold = await buy(show)
    await notifications.Teller(engine.office, engine).confirmed(await _job(engine, sold), engine.db)
    assert await db.value("select count(*) from letters") == 1
    await db.execute("update shows set start_time = now() - interval '1 day'")
    assert (await owner.post("/v1/privacy/erase", json={"email": GUEST})).status_code == 202
    await db.execute("delete from jobs where kind <> $1", booking.ERASE)
    async with working(engine):
        await eventually(lambda: _erased(db))
    assert await db.value("select count(*) from letters") == 0


async def _erased(db: Database) -> bool:
    return bool(await db.value("select count(*) = 0 from jobs where kind = $1", booking.ERASE))
