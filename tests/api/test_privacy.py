"""What is told, erased and forgotten of a person; and that nothing of them is left anywhere in the database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from holdfast import accounts, booking, tickets
from holdfast import engine as engine_
from holdfast.booking import privacy
from holdfast.booking.mailbox import buyer_digest
from holdfast.cli.resealing import reseal
from holdfast.engine import Engine
from holdfast.platform.db import Database
from holdfast.platform.ids import ShowId, new_id
from holdfast.platform.jobs import Job
from holdfast.platform.secret import Secrets
from tests.api.people import another_house, signed_in
from tests.api.test_customers import MakeShow, booked, customer_of, own
from tests.conftest import SECRET, client_of, eventually

pytestmark = pytest.mark.anyio

GRACE, ALAN = "grace.hopper@example.org", "alan@example.org"
NAME = "Some Body"
# Whoever adds one adds it to cli/resealing.py, unless what it holds is gone within the hour, as links are.
SEALED_COLUMNS = """select table_name from information_schema.columns
 where table_schema = 'public' and column_name = 'sealed'"""
TEXTUAL = """select table_name, column_name, data_type, udt_name from information_schema.columns
 where table_schema = 'public' and data_type in ('text', 'bytea', 'jsonb', 'json', 'ARRAY', 'character varying')"""


async def traces(db: Database, *words: str) -> list[str]:
    """Every column of the database, bytes included, in which one of these words stands."""
    found = []
    for column in await db.rows(TEXTUAL):
        table, name = column["table_name"], column["column_name"]
        text = f"encode({name}, 'escape')" if column["data_type"] == "bytea" else f"{name}::text"
        count = await db.value(
            f"select count(*) from {table} where exists (select from unnest($1::text[]) w"
            f" where position(lower(w) in lower({text})) > 0)",
            list(words),
        )
        if count:
            found.append(f"{table}.{name}")
    return found


@asynccontextmanager
async def working(engine: Engine) -> AsyncIterator[None]:
    """The background work of a process."""
    stopping = asyncio.Event()
    running = asyncio.create_task(engine_.work(engine, stopping))
    try:
        yield
    finally:
        stopping.set()
        await running


async def done(engine: Engine) -> None:
    async def nothing_left() -> bool:
        return not await engine.db.value("select count(*) from jobs where kind = $1", booking.ERASE)

    await eventually(nothing_left)


async def past(engine: Engine, *shows: dict[str, Any]) -> None:
    """Lets the shows have begun."""
    await engine.db.execute(
        "update shows set start_time = now() - interval '1 day' where show_id = any ($1)",
        [UUID(show["id"]) for show in shows],
    )


async def erased(owner: httpx.AsyncClient, email: str) -> httpx.Response:
    return await owner.post("/v1/privacy/erase", json={"email": email})


async def test_a_person_is_told_everything_that_one_organizer_has(
    engine: Engine, client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    hamlet, tempest = await a_show(), await a_show(name="The Tempest")
    made = [
        await booked(client, hamlet, GRACE),
        await booked(client, tempest, GRACE.upper(), confirm=False),
    ]
    queued = await client.post(
        f"/v1/shows/{hamlet['id']}/bookings",
        json={"best_available": 1, "customer": {"email": GRACE}},
        headers={"Prefer": "respond-async"},
    )
    await booked(client, hamlet, ALAN)
    answer = await owner.post("/v1/privacy/export", json={"email": GRACE})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert {each["id"] for each in answer.json()["bookings"]} == {
        *(each["id"] for each in made),
        queued.json()["id"],
    }
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        other = await stranger.post("/v1/privacy/export", json={"email": GRACE})
        assert (other.status_code, other.json()["bookings"]) == (200, [])
    [entry] = await engine.db.rows(
        "select action, after from audit where action like 'person.%' and after->>'bookings' = '3'"
    )
    assert entry["action"] == "person.exported"


@pytest.mark.parametrize("role", ["manager", "box_office", "door", "viewer"])
async def test_who_may_not(engine: Engine, role: accounts.Role) -> None:
    async with signed_in(engine, role) as person:
        for path in ("export", "erase"):
            answer = await person.post(f"/v1/privacy/{path}", json={"email": GRACE})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        for method in ("GET", "PUT"):
            answer = await person.request(method, "/v1/privacy/retention", json={"retention_days": 30})
            assert answer.status_code == 403


async def test_nothing_of_an_erased_person_is_left_anywhere(
    engine: Engine,
    client: httpx.AsyncClient,
    owner: httpx.AsyncClient,
    a_show: MakeShow,
    capsys: pytest.CaptureFixture[str],
) -> None:
    show = await a_show(
        max_places_per_buyer=5,
        areas=[{"name": "Floor", "kind": "standing", "capacity": 10}],
        tiers=[{"name": "Adult", "area": "Floor", "amount": 1500}],
    )
    made = await booked(client, show, GRACE, confirm=False, best_available=None, quantity=1)
    path, secret = f"/v1/shows/{show['id']}/bookings/{made['id']}", f"Bearer {made['secret']}"
    kept = {"Authorization": secret, "Idempotency-Key": "a-key-of-more-than-22-letters"}
    extended = await client.post(path + "/extend", headers=kept)
    assert extended.json()["customer"]["email"] == GRACE
    assert (await owner.post(path + "/confirm")).json()["status"] == "CONFIRMED"
    await booked(client, show, GRACE, confirm=False, best_available=None, quantity=1)
    await client.post(
        f"/v1/shows/{show['id']}/bookings",
        json={"quantity": 1, "customer": {"email": GRACE, "name": NAME}},
        headers={"Prefer": "respond-async"},
    )
    alans = await booked(client, show, ALAN, confirm=False, best_available=None, quantity=1)
    assert {"bookings.email", "bookings.name", "answers.body", "queued_claims.request"} <= set(
        await traces(engine.db, GRACE, NAME)
    )
    before = await engine.db.row("select * from bookings where booking_id = $1", UUID(made["id"]))
    buyers = await engine.db.value("select count(*) from buyers")
    await past(engine, show)
    assert (await erased(owner, GRACE.upper())).status_code == 202
    # Neither the job nor anything else that was just written names them.
    assert set(await traces(engine.db, GRACE)) == {"bookings.email", "answers.body", "queued_claims.request"}
    [job] = await engine.db.rows("select * from jobs where kind = $1", booking.ERASE)
    await booking.erase(
        engine.secrets,
        Job(job["job_id"], job["kind"], job["payload"], 1, job["created_at"], new_id()),
        engine.db,
    )
    assert await traces(engine.db, GRACE) == []
    after = await engine.db.row("select * from bookings where booking_id = $1", UUID(made["id"]))
    assert before is not None and after is not None
    changed = {name for name in before.keys() if before[name] != after[name]}  # noqa: SIM118 -- of a row
    assert changed == {"email", "name", "buyer"}
    assert await engine.db.value("select count(*) from buyers") == buyers - 1
    # Somebody else's are as they were, and a retry is done afresh.
    assert (await owner.get(f"/v1/shows/{show['id']}/bookings/{alans['id']}")).json()["customer"][
        "email"
    ] == ALAN
    again = await client.post(path + "/extend", headers=kept)
    assert "idempotency-replayed" not in again.headers
    assert GRACE not in capsys.readouterr().out


async def test_an_erasure_survives_a_kill(
    engine: Engine,
    client: httpx.AsyncClient,
    owner: httpx.AsyncClient,
    a_show: MakeShow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shows = [await a_show(name=f"Show {number}") for number in range(4)]
    for show in shows:
        for _ in range(3):
            await booked(client, show, GRACE)
    await past(engine, *shows)
    monkeypatch.setattr(privacy, "ERASED_AT_ONCE", 2)
    assert (await erased(owner, GRACE)).status_code == 202
    whole, pieces = privacy._erase_in_show, 0

    async def dies_on_the_way(db: Database, *args: Any) -> int:
        nonlocal pieces
        pieces += 1
        if pieces == 3:
            raise asyncio.CancelledError
        return await whole(db, *args)

    monkeypatch.setattr(privacy, "_erase_in_show", dies_on_the_way)
    row = await engine.db.row("select * from jobs where kind = $1", booking.ERASE)
    assert row is not None
    with pytest.raises(asyncio.CancelledError):
        await booking.erase(
            engine.secrets,
            Job(row["job_id"], row["kind"], row["payload"], 1, row["created_at"], new_id()),
            engine.db,
        )
    assert await engine.db.value("select count(*) from bookings where email is not null") == 6
    async with working(engine):
        await done(engine)
    assert await traces(engine.db, GRACE, NAME) == []


async def test_an_erasure_that_died_between_bookings_and_counts_is_finished(
    engine: Engine,
    client: httpx.AsyncClient,
    owner: httpx.AsyncClient,
    a_show: MakeShow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show = await a_show(max_places_per_buyer=5)
    await booked(client, show, GRACE)
    await past(engine, show)
    assert (await erased(owner, GRACE)).status_code == 202
    row = await engine.db.row("select * from jobs where kind = $1", booking.ERASE)
    assert row is not None
    job = Job(row["job_id"], row["kind"], row["payload"], 1, row["created_at"], new_id())

    async def dies(*_: Any, **given: Any) -> int:
        if "email" in given:
            raise asyncio.CancelledError
        return 0

    with monkeypatch.context() as patched:
        patched.setattr(tickets, "forget", dies)
        with pytest.raises(asyncio.CancelledError):
            await booking.erase(engine.secrets, job, engine.db)
    assert await engine.db.value("select count(*) from bookings where buyer is not null") == 0
    assert await engine.db.value("select count(*) from buyers") == 1
    await booking.erase(engine.secrets, job, engine.db)
    assert await engine.db.value("select count(*) from buyers") == 0


async def test_a_hold_made_before_the_job_is_erased_when_it_is_over(
    engine: Engine, client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show, over = await a_show(max_places_per_buyer=2), await a_show()
    await booked(client, over, GRACE)
    ended = await booked(client, show, GRACE)
    await owner.post(f"/v1/shows/{show['id']}/bookings/{ended['id']}/cancel")
    await past(engine, over)
    assert (await erased(owner, GRACE)).status_code == 202
    held = await booked(client, show, GRACE, confirm=False)
    async with working(engine):

        async def once_tried() -> bool:
            rows = await engine.db.rows(
                "select run_at > now() as later from jobs where kind = $1", booking.ERASE
            )
            return [row["later"] for row in rows] == [True]

        await eventually(once_tried)
        rows = await engine.db.rows("select booking_id from bookings where email is not null")
        assert [str(row["booking_id"]) for row in rows] == [held["id"]]
        # What a live hold counts is not forgotten before the hold is.
        full = await client.post(
            f"/v1/shows/{show['id']}/bookings", json={"best_available": 2, "customer": {"email": GRACE}}
        )
        assert full.json()["code"] == "limit_reached"
        await engine.db.execute(
            "update bookings set created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'"
            " where booking_id = $1",
            UUID(held["id"]),
        )
        await engine.db.execute("update jobs set run_at = now() where kind = $1", booking.ERASE)
        await done(engine)
    assert await traces(engine.db, GRACE, NAME) == []
    assert await engine.db.value("select count(*) from bookings where buyer is not null") == 0


async def test_buyers_of_a_postponed_show_are_still_needed(
    engine: Engine, client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show()
    await booked(client, show, GRACE)
    assert (await owner.put("/v1/privacy/retention", json={"retention_days": 7})).status_code == 200
    assert (await owner.patch(f"/v1/shows/{show['id']}", json={"status": "postponed"})).status_code == 200
    await engine.db.execute("update shows set start_time = now() - interval '31 days'")
    assert await booking.forget_due(engine.office) == 0
    assert await engine.db.value("select count(*) from bookings where email = $1", GRACE) == 1
    refused = await erased(owner, GRACE)
    assert (refused.status_code, refused.json()["code"]) == (409, "still_booked")


async def test_a_fingerprint_cannot_be_guessed(
    engine: Engine, client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    """Whoever reads the database must not find out by trying addresses who made a claim."""
    url, body = (
        f"/v1/shows/{(await a_show())['id']}/bookings",
        b'{"quantity":1,"customer":{"email":"a@b.example"}}',
    )
    keys = [f"a-key-of-more-than-22-letters-{number}" for number in range(2)]
    for key in keys:
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        first, again = [await client.post(url, content=body, headers=headers) for _ in range(2)]
        assert (first.status_code, first.json()["id"]) == (201, again.json()["id"]), first.text
    rows = await engine.db.rows("select distinct fingerprint from idempotency_keys")
    assert len(rows) == 2, "equal requests under two keys look alike"


async def test_who_is_still_needed_is_not_erased(
    engine: Engine, client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show, over = await a_show(), await a_show()
    live, held = await booked(client, show, GRACE), await booked(client, show, GRACE, confirm=False)
    await booked(client, over, GRACE)
    await past(engine, over)
    answer = await erased(owner, GRACE)
    assert (answer.status_code, answer.json()["code"]) == (409, "still_booked")
    assert {each["booking_id"] for each in answer.json()["bookings"]} == {live["id"], held["id"]}
    assert await engine.db.value("select count(*) from jobs where kind = $1", booking.ERASE) == 0
    for each in (live, held):
        path = f"/v1/shows/{show['id']}/bookings/{each['id']}/cancel"
        assert (await owner.post(path)).status_code == 200
    assert (await erased(owner, GRACE)).status_code == 202
    # A booking made meanwhile is a new promise, and keeps its person.
    fresh = await booked(client, show, GRACE)
    async with working(engine):
        await done(engine)
    rows = await engine.db.rows("select booking_id from bookings where email is not null")
    assert [str(row["booking_id"]) for row in rows] == [fresh["id"]]


async def test_another_organizers_bookings_are_left_alone(
    engine: Engine, client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show()
    await booked(client, show, GRACE)
    await past(engine, show)
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        assert (await erased(stranger, GRACE)).status_code == 202
    async with working(engine):
        await done(engine)
    assert await engine.db.value("select count(*) from bookings where email = $1", GRACE) == 1


async def test_a_customer_exports_and_erases_themselves(
    engine: Engine, client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show, to_come = await a_show(), await a_show()
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        body = {"name": "Elsewhere", "start_time": "2030-12-24T20:00:00Z", "total_seats": 10}
        elsewhere = (await stranger.post("/v1/shows", json=body)).json()
    async with customer_of(engine, client, GRACE) as grace:
        made = [await booked(client, show, GRACE), await booked(grace, elsewhere, ALAN)]
        live = await booked(grace, to_come)
        await past(engine, show, elsewhere)
        export = (await grace.get("/v1/customers/me/export")).json()
        assert export["account"]["email"] == GRACE
        assert {each["id"] for each in export["bookings"]} == {live["id"], *(each["id"] for each in made)}
        refused = await grace.post("/v1/customers/me/erase")
        assert (refused.status_code, refused.json()["code"]) == (409, "still_booked")
        assert len(await own(grace)) == 3
        await grace.post(f"/v1/shows/{to_come['id']}/bookings/{live['id']}/cancel")
        assert (await grace.post("/v1/customers/me/erase")).status_code == 202
        # At once: the token opens nothing more.
        assert (await grace.get("/v1/customers/me/bookings")).status_code == 404
        assert (await grace.get(f"/v1/shows/{show['id']}/bookings/{made[0]['id']}")).status_code == 404
    async with working(engine):
        await done(engine)
    assert await traces(engine.db, GRACE, ALAN, NAME) == []
    for table in ("customers", "magic_links", "letters"):
        assert await engine.db.value(f"select count(*) from {table}") == 0
    assert await engine.db.value("select count(*) from bookings where customer_id is not null") == 0


async def test_buyers_are_forgotten_when_their_time_is_over(
    engine: Engine,
    client: httpx.AsyncClient,
    owner: httpx.AsyncClient,
    a_show: MakeShow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(privacy, "PIECE", 2)
    monkeypatch.setattr(privacy, "FORGOTTEN_SHOWS_AT_ONCE", 1)
    old = [await a_show(max_places_per_buyer=9), await a_show()]
    young, to_come = await a_show(), await a_show()
    for show in (*old, young, to_come):
        for email in (GRACE, ALAN, GRACE):
            await booked(client, show, email)
    await engine.db.execute(
        "update shows set start_time = now() - interval '31 days' where show_id = any ($1)",
        [UUID(show["id"]) for show in old],
    )
    await past(engine, young)
    assert (await owner.get("/v1/privacy/retention")).json() == {"retention_days": None}
    assert await booking.forget_due(engine.office) == 0
    answer = await owner.put("/v1/privacy/retention", json={"retention_days": 30})
    assert (answer.status_code, answer.json()) == (200, {"retention_days": 30})
    assert await booking.forget_due(engine.office) == 2
    assert await booking.forget_due(engine.office) == 0
    rows = await engine.db.rows(
        "select show_id, count(email) as emails, count(name) as names, count(buyer) as buyers, sum(quantity) as places"
        " from bookings group by show_id"
    )
    found = {str(row["show_id"]): tuple(row)[1:] for row in rows}
    assert [found[show["id"]] for show in old] == [(0, 0, 0, 3)] * 2
    assert [found[show["id"]] for show in (young, to_come)] == [(3, 3, 3, 3)] * 2
    held = "select count(*) from buyers where show_id = $1"
    assert await engine.db.value(held, ShowId(UUID(old[0]["id"]))) == 0
    [entry] = await engine.db.rows("select before, after from audit where action = 'organizer.retention'")
    assert (entry["before"], entry["after"]) == ({"retention_days": None}, {"retention_days": 30})


@pytest.mark.parametrize("days", [0, 6, 40_000, "30", 7.5])
async def test_a_retention_has_bounds(owner: httpx.AsyncClient, days: Any) -> None:
    answer = await owner.put("/v1/privacy/retention", json={"retention_days": days})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/retention_days")
    assert msgspec.json.decode((await owner.get("/v1/privacy/retention")).content) == {"retention_days": None}


async def test_what_no_secret_can_read_stops_no_resealing(engine: Engine, client: httpx.AsyncClient) -> None:
    for email in (GRACE, ALAN):
        await client.post("/v1/customers/link", json={"email": email})
        async with customer_of(engine, client, email):
            pass
    # Rows that were written under a secret which nobody holds any more.
    lost = """update %s set sealed = decode('7878', 'hex') || substr(sealed, 3)
               where %s = (select min(%s::text)::uuid from %s)"""
    for table, key in (("customers", "customer_id"), ("letters", "letter_id")):
        await engine.db.execute(lost % (table, key, key, table))
    new = Secrets(f"a new secret of more than thirty letters,{SECRET}")
    said = [line async for line in reseal(engine.db, new)]
    assert [line for line in said if "but for 1 that no secret held can read" in line] == said[:2]
    resealed = [new.is_current(row["sealed"]) for row in await engine.db.rows("select sealed from letters")]
    assert len(resealed) > 1
    assert resealed.count(False) == 1


async def test_a_secret_can_be_replaced(
    engine: Engine, client: httpx.AsyncClient, a_show: MakeShow, open_another: Callable[..., Any]
) -> None:
    show = await a_show(max_places_per_buyer=2)
    made = await booked(client, show, GRACE)
    limited = await booked(client, show, ALAN)
    # As it was written before there were digests with a key.
    await engine.db.execute(
        "update bookings set buyer = null where booking_id = $1",
        UUID((await booked(client, show, "old@example.org"))["id"]),
    )
    async with customer_of(engine, client, GRACE):
        pass
    await client.post("/v1/customers/link", json={"email": ALAN})
    new = "a new secret of more than thirty letters"
    async with open_another(secret_key=f"{new},{SECRET}") as both, client_of(both) as there:
        # Found under the old secret, and made under the new one.
        async with customer_of(both, there, GRACE) as grace:
            second = await booked(there, show, GRACE)
            assert {each["id"] for each in await own(grace)} == {made["id"], second["id"]}
        said = [line async for line in reseal(both.db, both.secrets)]
        assert said[-1].startswith("bookings: 3 ")
        assert [line async for line in reseal(both.db, both.secrets)][-1].startswith("bookings: 0 ")
    async with open_another(secret_key=new) as alone, client_of(alone) as there:
        async with customer_of(alone, there, GRACE) as grace:
            assert {each["id"] for each in await own(grace)} == {made["id"], second["id"]}
        assert await alone.db.value("select count(*) from customers") == 1
        places = {
            row["buyer"]: row["places"] for row in await alone.db.rows("select buyer, places from buyers")
        }
        assert places[buyer_digest(alone.secrets, GRACE)] == 2
        assert places[buyer_digest(alone.secrets, ALAN)] == 1
        refused = await there.post(
            f"/v1/shows/{show['id']}/bookings", json={"best_available": 2, "customer": {"email": ALAN}}
        )
        assert refused.json()["code"] == "limit_reached"
        # Nothing is left that only the old secret opens.
        sealed = await alone.db.rows(SEALED_COLUMNS)
        assert {row["table_name"] for row in sealed} == {
            "letters",
            "customers",
            "second_factors",
            "magic_links",
            "webhook_secrets",
        }
        for table in ("letters", "customers"):
            rows = await alone.db.rows(f"select sealed from {table}")
            assert rows and all(alone.secrets.is_current(row["sealed"]) for row in rows)
    assert limited["status"] == "CONFIRMED"
