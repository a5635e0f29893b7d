"""Organizers, made and looked after by an admin; each organizer's own rules; and dead letters, which are nobody's."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any, get_args
from uuid import UUID

import httpx
import pytest

from holdfast import accounts
from holdfast.accounts import Principal, Role, organizers
from holdfast.engine import Engine
from holdfast.platform import jobs
from holdfast.platform.ids import OrganizerId, PersonId, new_id
from tests.api.people import another_house, signed_in
from tests.conftest import OWNER, client_of, eventually

pytestmark = pytest.mark.anyio

ADMIN = """with admin as (
  insert into people (person_id, email, admin) values ($1, 'admin@example.org', true) returning person_id)
insert into members (organizer_id, person_id, role)
select organizer_id, person_id, 'viewer' from organizers, admin"""


@pytest.fixture
async def admin(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    """A viewer of the test house who looks after the installation: what they may do here, no role gives."""
    person_id = PersonId(new_id())
    await engine.db.execute(ADMIN, person_id)
    house = OrganizerId(
        await engine.db.value("select organizer_id from members where person_id = $1", person_id)
    )
    token = engine.access.tokens.issue(Principal(person_id, house, "viewer", admin=True))
    async with client_of(engine, Authorization=f"Bearer {token.text}") as opened:
        yield opened


async def own(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/v1/organizer")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def look(engine: Engine) -> None:
    """What an engine does each SUSPENDED_SECONDS, and when it hears a hint."""
    await accounts.look_for_suspended(engine.db, engine.access)


# An admin's


async def test_an_admin_makes_an_organizer_and_its_owner_is_invited(
    admin: httpx.AsyncClient, engine: Engine
) -> None:
    body = {"name": "Opera in the Park", "owner_email": "Director@Example.org"}
    answer = await admin.post("/v1/organizers", json=body, headers={"Idempotency-Key": "once"})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/v1/organizers/{made['id']}"
    assert (made["name"], made["second_factor_required"], made["suspended_at"]) == (
        "Opera in the Park",
        False,
        None,
    )
    again = await admin.post("/v1/organizers", json=body, headers={"Idempotency-Key": "once"})
    assert again.json() == made
    row = await engine.db.row("select organizer_id, email, role from invitations")
    assert row is not None
    assert (str(row["organizer_id"]), row["email"], row["role"]) == (
        made["id"],
        "director@example.org",
        "owner",
    )
    assert await engine.db.value("select count(*) from jobs where kind = 'mail.send'") == 1
    assert (await admin.get(f"/v1/organizers/{made['id']}")).json() == made


async def test_an_invited_owner_gets_in_and_owns_this_organizer_alone(
    admin: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters: list[str] = []

    async def post(*_: Any, text: str, **__: Any) -> None:
        letters.append(text)

    monkeypatch.setattr("holdfast.platform.mail.post", post)
    made = (
        await admin.post("/v1/organizers", json={"name": "Opera", "owner_email": "new@example.org"})
    ).json()
    found = re.search(r"#token=(\S+)", letters[0])
    assert found is not None
    async with client_of(engine) as guest:
        accepted = await guest.post(
            "/v1/invitations/accept", json={"token": found[1], "password": "correct horse battery staple"}
        )
        assert accepted.status_code in (200, 201), accepted.text
        token = await guest.post(
            "/v1/auth/token", json={"email": "new@example.org", "password": "correct horse battery staple"}
        )
        assert token.status_code == 200, token.text
    async with client_of(engine, Authorization=f"Bearer {token.json()['access_token']}") as owner:
        assert (await own(owner))["id"] == made["id"]
        assert (await owner.get("/v1/organizers")).status_code == 403
        assert (await owner.get("/v1/auth/me")).json()["role"] == "owner"


async def test_a_bad_address_makes_no_organizer(admin: httpx.AsyncClient, engine: Engine) -> None:
    before = await engine.db.value("select count(*) from organizers")
    for body, pointer in (
        ({"name": "Opera", "owner_email": "nobody"}, "/email"),
        ({"name": " ", "owner_email": "a@example.org"}, "/name"),
        ({"name": "a\u0007b", "owner_email": "a@example.org"}, "/name"),
        ({"name": "Opera"}, "/owner_email"),
    ):
        answer = await admin.post("/v1/organizers", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer)
    assert await engine.db.value("select count(*) from organizers") == before


async def test_organizers_are_listed_in_pages(admin: httpx.AsyncClient, engine: Engine) -> None:
    ids = {(await own(admin))["id"], str(await another_house(engine)), str(await another_house(engine))}
    first = (await admin.get("/v1/organizers?limit=2")).json()
    rest = (await admin.get(f"/v1/organizers?limit=2&cursor={first['next']}")).json()
    assert len(first["organizers"]) == 2
    assert {each["id"] for each in first["organizers"] + rest["organizers"]} == ids
    assert rest["next"] is None


async def test_an_admin_renames_an_organizer(admin: httpx.AsyncClient, engine: Engine) -> None:
    other = await another_house(engine)
    answer = await admin.patch(f"/v1/organizers/{other}", json={"name": "Opera"})
    assert (answer.status_code, answer.json()["name"], answer.json()["suspended_at"]) == (200, "Opera", None)
    for organizer_id in (new_id(), "x"):
        missing = await admin.patch(f"/v1/organizers/{organizer_id}", json={"name": "Opera"})
        assert (missing.status_code, missing.json()["code"]) == (404, "organizer_not_found")


async def test_nobody_of_a_suspended_organizer_gets_in_until_it_is_let_in_again(
    admin: httpx.AsyncClient, engine: Engine
) -> None:
    other = await another_house(engine)
    async with signed_in(engine, organizer_id=other) as owner:
        made = await owner.post("/v1/keys", json={"name": "Till", "scopes": ["venues.read"]})
        async with client_of(engine, Authorization=f"Bearer {made.json()['key']}") as machine:
            assert (await machine.get("/v1/venues")).status_code == 200
            suspended = await admin.patch(f"/v1/organizers/{other}", json={"suspended": True})
            assert suspended.json()["suspended_at"] is not None
            again = await admin.patch(f"/v1/organizers/{other}", json={"suspended": True})
            assert again.json() == suspended.json(), "the first time counts"
            await look(engine)
            for client in (owner, machine):
                refused = await client.get("/v1/venues")
                assert (refused.status_code, refused.json()["code"]) == (403, "organizer_suspended")
            assert (await owner.get("/v1/shows")).status_code == 403
            assert (await admin.get("/v1/venues")).status_code == 200, "the others go on"
            resumed = await admin.patch(f"/v1/organizers/{other}", json={"suspended": False})
            assert resumed.json()["suspended_at"] is None
            await look(engine)
            assert (await owner.get("/v1/venues")).status_code == 200
            assert (await machine.get("/v1/venues")).status_code == 200


async def test_a_suspended_organizer_gives_nobody_a_token(engine: Engine, client: httpx.AsyncClient) -> None:
    """Whoever verifies tokens by the published keys does not know who is suspended."""
    credentials: dict[str, Any] = {"email": OWNER[0], "password": OWNER[1]}
    before = (await client.post("/v1/auth/token", json=credentials)).json()["refresh_token"]
    await engine.db.execute("update organizers set suspended_at = now()")
    for path in ("/v1/auth/token", "/v1/auth/session"):
        refused = await client.post(path, json=credentials)
        assert (refused.status_code, refused.json()["code"]) == (403, "organizer_suspended")
    refused = await client.post("/v1/auth/token/refresh", json={"refresh_token": before})
    assert refused.status_code == 401

    other = await another_house(engine)
    await engine.db.execute("insert into members select $1, person_id, 'door' from people", other)
    elsewhere = await client.post("/v1/auth/token", json=credentials)
    assert engine.access.tokens.read(elsewhere.json()["access_token"]).organizer_id == other
    await engine.db.execute("update organizers set suspended_at = null")
    again = await client.post("/v1/auth/token/refresh", json={"refresh_token": before})
    assert again.status_code == 200, "it goes on where it stopped"


async def test_every_process_hears_who_is_suspended(
    admin: httpx.AsyncClient, engine: Engine, open_another: Callable[..., Any]
) -> None:
    other = await another_house(engine)
    async with open_another() as second:

        async def shut_out_everywhere() -> bool:
            return all(access.suspended == {other} for access in (engine.access, second.access))

        await admin.patch(f"/v1/organizers/{other}", json={"suspended": True})
        await eventually(shut_out_everywhere, tries=100)


async def test_the_shows_of_a_suspended_organizer_stay_on_sale(
    admin: httpx.AsyncClient, owner: httpx.AsyncClient, client: httpx.AsyncClient, engine: Engine
) -> None:
    other = await another_house(engine)
    async with signed_in(engine, organizer_id=other) as theirs:
        show = (
            await theirs.post(
                "/v1/shows",
                json={"name": "Hamlet", "start_time": "2030-12-24T20:00:00+01:00", "total_seats": 10},
            )
        ).json()
    await admin.patch(f"/v1/organizers/{other}", json={"suspended": True})
    await look(engine)
    assert (await client.get(f"/v1/shows/{show['id']}")).status_code == 200
    assert (await client.post(f"/v1/shows/{show['id']}/bookings", json={"seats": ["1"]})).status_code == 201


async def test_an_admin_cannot_shut_themselves_out(admin: httpx.AsyncClient) -> None:
    mine = (await own(admin))["id"]
    refused = await admin.patch(f"/v1/organizers/{mine}", json={"suspended": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "own_organizer")
    renamed = await admin.patch(f"/v1/organizers/{mine}", json={"suspended": False, "name": "House"})
    assert renamed.status_code == 200


async def test_an_admin_sees_no_things_of_other_organizers(admin: httpx.AsyncClient, engine: Engine) -> None:
    async with signed_in(engine, organizer_id=await another_house(engine)) as theirs:
        venue = (await theirs.post("/v1/venues", json={"name": "Globe", "timezone": "Europe/London"})).json()
    assert (await admin.get(f"/v1/venues/{venue['id']}")).status_code == 404
    assert (await admin.get("/v1/venues")).json()["venues"] == []


async def test_what_an_admin_did_is_written_down_at_the_admins(
    admin: httpx.AsyncClient, engine: Engine
) -> None:
    mine, other = (await own(admin))["id"], await another_house(engine)
    await admin.patch(f"/v1/organizers/{other}", json={"name": "Opera", "suspended": True})
    await admin.patch(f"/v1/organizers/{other}", json={"suspended": False})
    rows = await engine.db.rows("select organizer_id, subject_id, action from audit order by entry_id")
    assert [row["action"] for row in rows] == [
        "organizer.renamed",
        "organizer.suspended",
        "organizer.resumed",
    ]
    assert {(str(row["organizer_id"]), row["subject_id"]) for row in rows} == {(mine, other)}


# An owner's


async def test_an_owner_edits_the_rules_of_their_own_organizer(
    owner: httpx.AsyncClient, engine: Engine
) -> None:
    other = await another_house(engine)
    edited = await owner.patch("/v1/organizer", json={"second_factor_required": True})
    assert (edited.status_code, edited.json()["second_factor_required"]) == (200, True)
    assert edited.json()["name"] == "Test House"
    renamed = await owner.patch("/v1/organizer", json={"name": " New House "})
    assert (renamed.json()["name"], renamed.json()["second_factor_required"]) == ("New House", True)
    untouched = await organizers.organizer_by_id(engine.db, other)
    assert (untouched.name, untouched.second_factor_required) == ("Another House", False)
    entry = await engine.db.row(
        "select before, after from audit where action = 'organizer.edited' order by entry_id"
    )
    assert entry is not None
    assert (entry["before"], entry["after"]) == (
        {"second_factor_required": False},
        {"second_factor_required": True},
    )
    assert (await owner.patch("/v1/organizer", json={"suspended": True})).status_code == 400
    assert (await owner.patch("/v1/organizer", json={"colour": "#8B1E3F"})).json()["colour"] == "#8b1e3f"
    newest = await engine.db.value("select after from audit order by entry_id desc limit 1")
    assert newest == {"second_factor_required": True, "fields": ["colour"]}


async def test_everybody_who_works_here_may_read_the_rules(engine: Engine) -> None:
    for role in get_args(Role):
        if role == "owner":
            continue
        async with signed_in(engine, role) as client:
            assert (await own(client))["name"] == "Test House"
            assert (await client.patch("/v1/organizer", json={"name": "Mine"})).status_code == 403


async def test_no_statement_of_the_tenant_reaches_another_organizer(engine: Engine) -> None:
    other, mine = (
        await another_house(engine),
        OrganizerId(await engine.db.value("select organizer_id from organizers")),
    )
    async with engine.db.of(mine).transaction() as tx:
        with pytest.raises(organizers.OrganizerNotFound):
            await organizers.edit_own(tx, other, name="Mine now", second_factor_required=None)


# Dead letters


async def bury(engine: Engine, count: int) -> list[str]:
    made = [str(new_id()) for _ in range(count)]
    await engine.db.execute(
        """insert into dead_letters (job_id, kind, payload, attempts, last_error, created_at, died_at)
           select id, 'test.fails', '{"to": "nobody"}', 12, 'Boom', now(), now() + n * interval '1 ms'
             from unnest($1::uuid[]) with ordinality as u(id, n)""",
        [UUID(each) for each in made],
    )
    return made[::-1]


async def test_dead_letters_are_listed_in_pages_the_latest_first(
    admin: httpx.AsyncClient, engine: Engine
) -> None:
    made = await bury(engine, 5)
    first = (await admin.get("/v1/jobs/dead?limit=3")).json()
    rest = (await admin.get(f"/v1/jobs/dead?limit=3&cursor={first['next']}")).json()
    assert [letter["id"] for letter in first["jobs"] + rest["jobs"]] == made
    assert rest["next"] is None
    letter = first["jobs"][0]
    assert (letter["kind"], letter["payload"], letter["attempts"]) == ("test.fails", {"to": "nobody"}, 12)
    assert letter["last_error"] == "Boom"
    for cursor in ("x", "1.2", "zz." + new_id().hex, "f" * 60 + "." + new_id().hex):
        assert (await admin.get(f"/v1/jobs/dead?cursor={cursor}")).status_code == 400, cursor


async def test_the_longest_page_of_dead_letters_says_that_there_are_more(
    admin: httpx.AsyncClient, engine: Engine
) -> None:
    made = await bury(engine, jobs.DEAD_PAGE_MAX + 5)
    first = (await admin.get("/v1/jobs/dead?limit=100")).json()
    rest = (await admin.get(f"/v1/jobs/dead?limit=100&cursor={first['next']}")).json()
    assert [letter["id"] for letter in first["jobs"] + rest["jobs"]] == made


async def test_a_dead_letter_is_replayed_or_discarded(admin: httpx.AsyncClient, engine: Engine) -> None:
    kept, replayed, discarded = await bury(engine, 3)
    assert (await admin.post(f"/v1/jobs/dead/{replayed}/replay")).status_code == 204
    assert (await admin.delete(f"/v1/jobs/dead/{discarded}")).status_code == 204
    assert [letter["id"] for letter in (await admin.get("/v1/jobs/dead")).json()["jobs"]] == [kept]
    jobs_left = await engine.db.rows("select job_id, attempts from jobs where kind = 'test.fails'")
    assert [(str(job["job_id"]), job["attempts"]) for job in jobs_left] == [(replayed, 0)]
    for answer in (
        await admin.post(f"/v1/jobs/dead/{replayed}/replay"),
        await admin.delete(f"/v1/jobs/dead/{discarded}"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "dead_letter_not_found")
    rows = await engine.db.rows("select action, subject_id from audit order by entry_id")
    assert [(row["action"], str(row["subject_id"])) for row in rows] == [
        ("job.replayed", replayed),
        ("job.discarded", discarded),
    ]


async def test_no_owner_sees_what_every_organizers_followers_do(
    owner: httpx.AsyncClient, engine: Engine
) -> None:
    [letter] = await bury(engine, 1)
    for answer in (
        await owner.get("/v1/jobs/dead"),
        await owner.post(f"/v1/jobs/dead/{letter}/replay"),
        await owner.delete(f"/v1/jobs/dead/{letter}"),
    ):
        assert answer.status_code == 403
