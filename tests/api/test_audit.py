"""What was done and by whom: one entry per change, in its transaction, and none for what was refused."""

import csv
import io
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from holdfast import accounts, booking
from holdfast.accounts import audit_routes
from holdfast.accounts.audit import network_of
from holdfast.engine import Engine
from holdfast.platform.db import Database
from holdfast.platform.ids import OrganizerId, new_id
from holdfast.platform.sheets import BOM
from tests.api.people import another_house, signed_in
from tests.conftest import client_of

pytestmark = pytest.mark.anyio

MakeShow = Callable[..., Awaitable[dict[str, Any]]]
Client = httpx.AsyncClient

PRICED = {
    "areas": [{"name": "Floor", "kind": "standing", "capacity": 100}],
    "tiers": [{"name": "Adult", "area": "Floor", "amount": 4500}],
}
ALL = "select actor_kind, actor_id, action, show_id, subject_id, before, after from audit order by entry_id"


async def _entries(db: Database) -> list[dict[str, Any]]:
    return [dict(row) for row in await db.rows(ALL)]


async def _claim(client: Client, show: dict[str, Any], **changes: Any) -> dict[str, Any]:
    answer = await client.post(f"/v1/shows/{show['id']}/bookings", json={"quantity": 2, **changes})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def _url(booking: dict[str, Any], step: str) -> str:
    return f"/v1/shows/{booking['show_id']}/bookings/{booking['id']}/{step}"


def _as_buyer(booking: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {booking['secret']}"}


async def test_an_entry_says_who_did_what_to_what_and_which_amounts_it_changed(
    owner: Client, engine: Engine, a_show: MakeShow
) -> None:
    show = await a_show(**PRICED)
    edit = {"name": "Macbeth", "status": "paused", "tiers": [{"id": 1, "amount": 5000}], "areas": [{"id": 1, "capacity": 90}]}  # fmt: skip
    assert (await owner.patch(f"/v1/shows/{show['id']}", json=edit)).status_code == 200
    member = await accounts.first_owner(engine.db)
    assert member is not None
    newest, oldest = (await owner.get("/v1/audit")).json()["entries"]
    assert {
        key: newest[key] for key in ("actor_kind", "actor_id", "action", "show_id", "subject_id", "before", "after")
    } == {
        "actor_kind": "person",
        "actor_id": str(member.person_id),
        "action": "show.edited",
        "show_id": show["id"],
        "subject_id": show["id"],
        "before": {"version": 1, "status": "on_sale", "tiers": {"1": 4500}, "areas": {"1": 100}},
        "after": {
            "version": 2, "status": "paused", "tiers": {"1": 5000}, "areas": {"1": 90},
            "fields": ["name", "status", "tiers", "areas"],
        },
    }  # fmt: skip
    assert (oldest["action"], oldest["after"]) == (
        "show.created", {"status": "on_sale", "places": 100, "tiers": {"1": 4500}, "currency": "EUR"},
    )  # fmt: skip


async def test_an_entry_names_the_request_and_a_network_but_nobody(owner: Client, engine: Engine) -> None:
    created = await owner.post("/v1/venues", json={"name": "Globe", "timezone": "UTC", "address": "Bankside"})
    (entry,) = (await owner.get("/v1/audit")).json()["entries"]
    assert entry["request_id"] == created.headers["x-request-id"]
    assert entry["address"] == "127.0.0.0/24"
    whole = await engine.db.value("select string_agg(a::text, '') from audit a")
    assert not any(text in whole for text in ("Globe", "Bankside", "owner@example.org"))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("", "None"),
        ("unix:", "None"),
    ],
)
def test_an_address_is_cut_until_it_is_no_person(address: str, network: str) -> None:
    assert str(network_of(address)) == network


async def test_the_database_takes_no_address_that_is_a_person(db: Database) -> None:
    for address in ("203.0.113.77/32", "203.0.113.0/25", "2001:db8:1:2::/64"):
        with pytest.raises(Exception, match="audit_address_check"):
            await db.execute(
                "insert into audit (organizer_id, entry_id, actor_kind, action, request_id, address)"
                " values ($1, $1, 'nobody', 'show.created', 'r', $2::text::cidr)",
                new_id(),
                address,
            )


async def test_what_buyers_change_of_their_bookings_is_the_bookings_own_doing(
    client: Client, engine: Engine, a_show: MakeShow
) -> None:
    show = await a_show()
    made = await _claim(client, show)
    # A claim leaves no entry, for claims are what the engine is for.
    assert [entry["action"] for entry in await _entries(engine.db)] == ["show.created"]
    for step in ("extend", "confirm", "confirm", "cancel", "cancel"):
        answer = await client.post(_url(made, step), headers=_as_buyer(made))
        assert answer.status_code == 200, answer.text
    entries = (await _entries(engine.db))[1:]
    # What was done already is not done again.
    assert [entry["action"] for entry in entries] == ["booking.extended", "booking.confirmed", "booking.cancelled"]  # fmt: skip
    assert {(entry["actor_kind"], entry["actor_id"], entry["subject_id"]) for entry in entries} == {
        ("buyer", UUID(made["id"]), UUID(made["id"]))
    }
    amounts = {"quantity": 2, "total": 0, "currency": "EUR"}
    assert [(entry["before"], entry["after"]) for entry in entries[1:]] == [
        ({"status": "PENDING"}, {"status": "CONFIRMED", "reason": None, "version": 3, **amounts}),
        ({"status": "CONFIRMED"}, {"status": "CANCELLED", "reason": "by_buyer", "version": 4, **amounts}),
    ]


async def test_what_staff_change_of_a_booking_is_theirs(
    owner: Client, client: Client, engine: Engine, a_show: MakeShow
) -> None:
    made = await _claim(client, await a_show(**PRICED))
    for step in ("extend", "confirm", "cancel"):
        assert (await owner.post(_url(made, step))).status_code == 200
    entries = (await _entries(engine.db))[1:]
    assert [(entry["actor_kind"], entry["action"]) for entry in entries] == [
        ("person", "booking.extended"), ("person", "booking.confirmed"), ("person", "booking.cancelled"),
    ]  # fmt: skip
    assert entries[1]["after"]["total"] == 9000


async def test_what_the_engine_does_by_itself_leaves_no_entry(
    client: Client, engine: Engine, db: Database, a_show: MakeShow
) -> None:
    await _claim(client, await a_show())
    await db.execute("update bookings set expires_at = clock_timestamp()")
    assert await booking.sweep(engine.office) == 1
    assert [entry["action"] for entry in await _entries(engine.db)] == ["show.created"]


async def test_a_queued_claim_that_is_let_go_leaves_one_entry(
    client: Client, engine: Engine, a_show: MakeShow
) -> None:
    show = await a_show()
    answer = await client.post(
        f"/v1/shows/{show['id']}/bookings", json={"quantity": 2}, headers={"Prefer": "respond-async"}
    )
    made = answer.json()
    for _ in range(2):
        assert (await client.post(_url(made, "cancel"), headers=_as_buyer(made))).status_code == 200
    (entry,) = (await _entries(engine.db))[1:]
    assert (entry["actor_kind"], entry["action"], entry["before"]) == ("buyer", "booking.cancelled", {"status": "QUEUED"})  # fmt: skip


async def test_a_change_that_fails_after_its_entry_leaves_neither(
    owner: Client, engine: Engine, db: Database, a_show: MakeShow
) -> None:
    show = await a_show()
    # The commit itself fails: everything was done by then.
    await db.execute("""
        create function fail() returns trigger language plpgsql as $$ begin raise 'unlucky'; end $$;
        create constraint trigger unlucky after insert on audit deferrable initially deferred
          for each row execute function fail()""")
    for method, path, body in (
        ("POST", "/v1/venues", {"name": "Globe", "timezone": "UTC"}),
        ("PATCH", f"/v1/shows/{show['id']}", {"status": "paused"}),
        ("POST", f"/v1/shows/{show['id']}/blocks", {"seats": ["1"], "reason": "House"}),
    ):
        assert (await owner.request(method, path, json=body)).status_code == 500
    assert len(await _entries(engine.db)) == 1
    assert (await owner.get("/v1/venues")).json()["venues"] == []
    assert (await owner.get(f"/v1/shows/{show['id']}")).json()["status"] == "on_sale"
    assert await db.value("select count(*) from blocks") == 0


async def test_a_post_that_is_answered_again_leaves_no_second_entry(owner: Client, engine: Engine) -> None:
    for _ in range(2):
        answer = await owner.post(
            "/v1/venues", json={"name": "Globe", "timezone": "UTC"}, headers={"Idempotency-Key": "k-1"}
        )
        assert answer.status_code == 201
    assert len(await _entries(engine.db)) == 1


# Reading


async def test_the_list_comes_in_pages_newest_first(owner: Client) -> None:
    for n in range(5):
        await owner.post("/v1/venues", json={"name": f"Globe {n}", "timezone": "UTC"})
    seen, cursor = [], None
    while True:
        page = (
            await owner.get("/v1/audit", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        ).json()
        seen += page["entries"]
        cursor = page["next"]
        if cursor is None:
            break
    assert len({entry["id"] for entry in seen}) == 5
    assert [entry["id"] for entry in seen] == sorted((entry["id"] for entry in seen), reverse=True)


async def test_the_list_is_narrowed_by_every_filter(
    owner: Client, client: Client, engine: Engine, a_show: MakeShow
) -> None:
    show, other = await a_show(), await a_show()
    made = await _claim(client, show)
    await client.post(_url(made, "confirm"), headers=_as_buyer(made))
    member = await accounts.first_owner(engine.db)
    assert member is not None
    now = datetime.now(UTC)
    hour = timedelta(hours=1)

    async def found(**params: Any) -> list[str]:
        answer = await owner.get("/v1/audit", params=params)
        assert answer.status_code == 200, answer.text
        return [f"{entry['action']} {entry['show_id']}" for entry in answer.json()["entries"]]

    confirmed, first, second = (
        f"booking.confirmed {show['id']}", f"show.created {show['id']}", f"show.created {other['id']}",
    )  # fmt: skip
    assert await found() == [confirmed, second, first]
    assert await found(actor=str(member.person_id)) == [second, first]
    assert await found(actor=made["id"]) == [confirmed]
    assert await found(action="show.created") == [second, first]
    assert await found(show_id=show["id"]) == [confirmed, first]
    assert await found(subject_id=made["id"]) == [confirmed]
    assert await found(**{"from": (now - hour).isoformat()}) == [confirmed, second, first]
    assert await found(**{"from": (now + hour).isoformat()}) == []
    assert await found(to=(now - hour).isoformat()) == []
    assert await found(to=(now + hour).isoformat()) == [confirmed, second, first]
    at = (await owner.get("/v1/audit")).json()["entries"][1]["at"]
    assert await found(**{"from": at}) == [confirmed, second]
    assert await found(to=at) == [first]
    assert (await owner.get("/v1/audit", params={"action": "x"})).status_code == 400
    assert (await owner.get("/v1/audit", params={"from": "9999-12-31T23:59:59-23:59"})).status_code == 400


async def test_the_export_has_every_entry_that_the_filter_leaves(
    owner: Client, engine: Engine, db: Database, a_show: MakeShow, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several pages and several pieces, of few entries.
    # The front door's operation has the name of its file.
    monkeypatch.setattr(sys.modules["holdfast.accounts.audit"], "EXPORT_PAGE", 3)
    monkeypatch.setattr(audit_routes, "PIECE_BYTES", 300)
    for n in range(7):
        await owner.post("/v1/venues", json={"name": f"Globe {n}", "timezone": "UTC"})
    show = await a_show()
    answer = await owner.get("/v1/audit.csv")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.content.startswith(BOM)
    lines = list(csv.DictReader(io.StringIO(answer.content.removeprefix(BOM).decode())))
    assert [line["action"] for line in lines] == ["show.created", *["venue.created"] * 7]
    assert (lines[0]["show_id"], lines[0]["address"]) == (show["id"], "127.0.0.0/24")
    assert '"places":10' in lines[0]["after"]
    few = await owner.get("/v1/audit.csv", params={"action": "show.created"})
    assert len(few.content.splitlines()) == 2


async def test_the_audit_is_the_owners_and_of_their_organizer(
    owner: Client, client: Client, engine: Engine, a_show: MakeShow
) -> None:
    await a_show()
    for path in ("/v1/audit", "/v1/audit.csv"):
        assert (await client.get(path)).status_code == 401
        for role in ("manager", "box_office", "door", "viewer"):
            async with signed_in(engine, role) as caller:
                assert (await caller.get(path)).status_code == 403
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        assert (await stranger.get("/v1/audit")).json() == {"entries": [], "next": None}
        assert len((await stranger.get("/v1/audit.csv")).content.splitlines()) == 1
    async with client_of(engine) as nobody:
        assert (await nobody.get("/v1/audit")).status_code == 401


async def test_an_entry_takes_no_text(engine: Engine) -> None:
    for value in ("guest@example.org", "Hamlet, Prince of Denmark", {"name": ["a b"]}, 1.5, b"x"):
        with pytest.raises(AssertionError, match="holds no texts"):
            async with engine.db.transaction() as tx:
                call: Any = None
                house = OrganizerId(new_id())
                await accounts.audit(tx, call, "show.edited", organizer_id=house, after={"x": value})
