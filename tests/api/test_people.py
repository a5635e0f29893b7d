"""Members and invitations of an organizer over HTTP: who may let whom in, and what becomes of those who leave."""

import asyncio
import re
import time
from typing import Any

import httpx
import pyotp
import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from holdfast import accounts
from holdfast.accounts import Principal, Role, invitations, passwords
from holdfast.engine import Engine
from holdfast.platform import mail
from holdfast.platform.db import NotPermitted, Transaction
from holdfast.platform.ids import OrganizerId, PersonId, new_id
from holdfast.platform.secret import Secrets
from tests.api.people import another_house, signed_in
from tests.conftest import OWNER, client_of, eventually

pytestmark = pytest.mark.anyio

PASSWORD = "a new person's password"
STAFF: list[Role] = ["owner", "manager", "box_office", "door", "viewer"]


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of a millisecond: what they cost is tested elsewhere."""
    monkeypatch.setattr(passwords, "_argon2", PasswordHash((Argon2Hasher(1, 8, 1),)))


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was written to whom, as it was before it was sealed."""
    written: list[dict[str, Any]] = []
    post = mail.post

    async def listening(tx: Transaction, secrets: Secrets, **letter: Any) -> Any:
        written.append(letter)
        return await post(tx, secrets, **letter)

    monkeypatch.setattr(mail, "post", listening)
    return written


def link_token(letter: dict[str, Any]) -> str:
    found = re.search(r"http://127.0.0.1:8000/console/accept#token=(\S+)", letter["text"])
    assert found is not None, letter["text"]
    return found[1]


async def invite(by: httpx.AsyncClient, email: str, role: Role = "door") -> httpx.Response:
    return await by.post("/v1/invitations", json={"email": email, "role": role})


async def accept(
    client: httpx.AsyncClient, token: str, password: str = PASSWORD, **more: Any
) -> httpx.Response:
    body = {"token": token, "password": password, **more}
    return await client.post("/v1/invitations/accept", json=body)


async def add_member(engine: Engine, role: Role, organizer_id: OrganizerId | None = None) -> Principal:
    """A new person in this role, by default of the test house; without a password."""
    if organizer_id is None:
        owner = await accounts.first_owner(engine.db)
        assert owner is not None
        organizer_id = owner.organizer_id
    person_id = PersonId(new_id())
    await engine.db.execute(
        "insert into people (person_id, email) values ($1, $2)", person_id, f"{person_id}@example.org"
    )
    await engine.db.execute("insert into members values ($1, $2, $3)", organizer_id, person_id, role)
    return Principal(person_id, organizer_id, role)


def acting(engine: Engine, principal: Principal) -> httpx.AsyncClient:
    return client_of(engine, Authorization=f"Bearer {engine.access.tokens.issue(principal).text}")


# Invitations


async def test_somebody_is_invited_and_works_for_the_organizer(
    engine: Engine, owner: httpx.AsyncClient, client: httpx.AsyncClient, letters: list[dict[str, Any]]
) -> None:
    answer = await invite(owner, "New@Example.org", "box_office")
    assert answer.status_code == 201
    [letter] = letters
    assert (letter["to"], letter["subject"]) == ("new@example.org", "Test House invites you")
    token = link_token(letter)
    assert token not in answer.text
    assert token not in await engine.db.value("select string_agg(i::text, '') from invitations i")
    [shown] = (await owner.get("/v1/invitations")).json()["invitations"]
    assert (shown["id"], shown["email"], shown["role"]) == (
        answer.json()["id"],
        "new@example.org",
        "box_office",
    )
    looked = await client.post("/v1/invitations/look", json={"token": token})
    assert looked.json() == {
        "organizer_name": "Test House", "email": "new@example.org", "role": "box_office", "has_account": False,
    }  # fmt: skip

    accepted = await accept(client, token)
    assert accepted.status_code == 201, accepted.text
    assert accepted.json()["role"] == "box_office"
    me = (await client.get("/v1/auth/me")).json()
    assert (me["email"], me["role"], me["admin"]) == ("new@example.org", "box_office", False)
    by_password = await client.post("/v1/auth/token", json={"email": "new@example.org", "password": PASSWORD})
    assert by_password.status_code == 200
    assert (await owner.get("/v1/invitations")).json() == {"invitations": []}
    again = await accept(client, token)
    assert (again.status_code, again.json()["code"]) == (404, "invitation_not_found")
    actions = [row["action"] for row in await engine.db.rows("select action from audit order by entry_id")]
    assert actions == ["member.invited", "member.joined"]


async def test_who_has_an_account_accepts_with_its_password(
    engine: Engine, client: httpx.AsyncClient, letters: list[dict[str, Any]]
) -> None:
    house = await another_house(engine)
    director = await add_member(engine, "owner", house)
    async with acting(engine, director) as inviting:
        assert (await invite(inviting, OWNER[0], "viewer")).status_code == 201
    token = link_token(letters[0])
    assert (await client.post("/v1/invitations/look", json={"token": token})).json()["has_account"] is True
    wrong = await accept(client, token, "wrong horse")
    assert (wrong.status_code, wrong.json()["code"]) == (401, "bad_credentials")
    accepted = await accept(client, token, OWNER[1])
    assert accepted.status_code == 201
    assert (accepted.json()["organizer_id"], accepted.json()["role"]) == (str(house), "viewer")
    me = (await client.get("/v1/auth/me")).json()
    assert [each["name"] for each in me["organizers"]] == ["Test House", "Another House"]


async def test_a_link_is_good_for_a_week_and_until_the_next_one(
    engine: Engine, owner: httpx.AsyncClient, client: httpx.AsyncClient, letters: list[dict[str, Any]]
) -> None:
    assert (await invite(owner, "new@example.org")).status_code == 201
    assert (await invite(owner, "new@example.org", "viewer")).status_code == 201
    assert (await accept(client, link_token(letters[0]))).status_code == 404
    assert len((await owner.get("/v1/invitations")).json()["invitations"]) == 1
    await engine.db.execute("update invitations set expires_at = expires_at - interval '7 days'")
    assert (await accept(client, link_token(letters[1]))).status_code == 404
    assert (await owner.get("/v1/invitations")).json() == {"invitations": []}
    assert await invitations.prune_invitations(engine.db) == 1


async def test_a_link_taken_back_opens_nothing(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, letters: list[dict[str, Any]]
) -> None:
    invitation_id = (await invite(owner, "new@example.org")).json()["id"]
    assert (await owner.delete(f"/v1/invitations/{invitation_id}")).status_code == 204
    assert (await owner.delete(f"/v1/invitations/{invitation_id}")).status_code == 404
    assert (await accept(client, link_token(letters[0]))).status_code == 404


async def test_of_several_who_accept_one_invitation_one_joins(
    engine: Engine, owner: httpx.AsyncClient, client: httpx.AsyncClient, letters: list[dict[str, Any]]
) -> None:
    await invite(owner, "new@example.org")
    token = link_token(letters[0])
    answers = await asyncio.gather(*(accept(client, token) for _ in range(5)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes[0] == 201 and set(codes[1:]) <= {401, 404, 409}, "late ones may find the account, or nothing"
    assert await engine.db.value("select count(*) from people where email = 'new@example.org'") == 1


@pytest.mark.parametrize("password, status", [("short", 400), ("new@example.org", 400), ("x" * 1001, 400)])
async def test_a_password_that_will_not_do_leaves_the_invitation_open(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, letters: list[Any], password: str, status: int
) -> None:
    await invite(owner, "new@example.org")
    assert (await accept(client, link_token(letters[0]), password)).status_code == status
    assert (await accept(client, link_token(letters[0]))).status_code == 201


async def test_a_retried_invitation_is_sent_once(owner: httpx.AsyncClient, letters: list[Any]) -> None:
    body = {"email": "new@example.org", "role": "door"}
    answers = [
        await owner.post("/v1/invitations", json=body, headers={"Idempotency-Key": "one"}) for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert len(letters) == 1


async def test_who_works_there_already_is_not_invited(owner: httpx.AsyncClient) -> None:
    answer = await invite(owner, OWNER[0].upper())
    assert (answer.status_code, answer.json()["code"]) == (409, "already_member")


@pytest.mark.parametrize("email", ["nobody", "a@b@c", "a b@c", "x@" + "y" * 253])
async def test_what_cannot_be_an_address_is_not_invited(owner: httpx.AsyncClient, email: str) -> None:
    answer = await invite(owner, email)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/email")


REACH: dict[Role, set[Role]] = {
    "owner": {"owner", "manager", "box_office", "door", "viewer"},
    "manager": {"box_office", "door", "viewer"},
    "box_office": set(),
    "door": set(),
    "viewer": set(),
}


@pytest.mark.parametrize("role", STAFF)
async def test_who_may_invite_send_away_and_promote_whom(engine: Engine, role: Role) -> None:
    async with acting(engine, await add_member(engine, role)) as client:
        for other in STAFF:
            reached = other in REACH[role]
            invited = await invite(client, f"new-{other}@example.org", other)
            assert invited.status_code == (201 if reached else 403), other
            colleague = await add_member(engine, other)
            changed = await client.patch(f"/v1/members/{colleague.person_id}", json={"role": "viewer"})
            assert changed.status_code == (204 if reached else 403), other
            await engine.db.execute(
                "update members set role = $2 where person_id = $1", colleague.person_id, other
            )
            removed = await client.delete(f"/v1/members/{colleague.person_id}")
            assert removed.status_code == (204 if reached else 403), other
        viewer = await add_member(engine, "viewer")
        for other in STAFF:
            made = await client.patch(f"/v1/members/{viewer.person_id}", json={"role": other})
            assert made.status_code == (204 if other in REACH[role] else 403), other
            await engine.db.execute(
                "update members set role = 'viewer' where person_id = $1", viewer.person_id
            )
        listed = await client.get("/v1/members")
        assert listed.status_code == (200 if role in ("owner", "manager") else 403)


async def test_a_manager_does_not_take_an_owners_invitation_back(
    engine: Engine, owner: httpx.AsyncClient
) -> None:
    invitation_id = (await invite(owner, "new@example.org", "owner")).json()["id"]
    async with acting(engine, await add_member(engine, "manager")) as manager:
        answer = await manager.delete(f"/v1/invitations/{invitation_id}")
        assert (answer.status_code, answer.json()["code"]) == (403, "role_out_of_reach")
    assert len((await owner.get("/v1/invitations")).json()["invitations"]) == 1


async def test_a_manager_does_not_overwrite_an_owners_invitation(
    engine: Engine, owner: httpx.AsyncClient, client: httpx.AsyncClient, letters: list[dict[str, Any]]
) -> None:
    await invite(owner, "new@example.org", "owner")
    async with acting(engine, await add_member(engine, "manager")) as manager:
        answer = await invite(manager, "new@example.org", "door")
        assert (answer.status_code, answer.json()["code"]) == (403, "role_out_of_reach")
        assert (await accept(client, link_token(letters[0]))).json()["role"] == "owner"
        await invite(owner, "late@example.org", "owner")
        await engine.db.execute("update invitations set expires_at = clock_timestamp()")
        assert (await invite(manager, "late@example.org", "door")).status_code == 201, "one that has passed"


@pytest.mark.parametrize("how", ["sent away", "made less"])
async def test_who_goes_does_not_come_back_by_an_invitation_of_their_own(
    engine: Engine, owner: httpx.AsyncClient, client: httpx.AsyncClient, letters: list[Any], how: str
) -> None:
    second = await add_member(engine, "owner")
    async with acting(engine, second) as leaving:
        await invite(leaving, "friend@example.org", "owner")
    await invite(owner, "new@example.org", "door")
    path = f"/v1/members/{second.person_id}"
    gone = await (owner.delete(path) if how == "sent away" else owner.patch(path, json={"role": "manager"}))
    assert gone.status_code == 204
    assert (await accept(client, link_token(letters[0]))).status_code == 404
    assert (await accept(client, link_token(letters[1]))).status_code == 201, "others' are as they were"


async def test_who_joins_where_a_second_factor_is_asked_for_makes_one_and_signs_in(
    engine: Engine, owner: httpx.AsyncClient, client: httpx.AsyncClient, letters: list[dict[str, Any]]
) -> None:
    await invite(owner, "new@example.org")
    await engine.db.execute("update organizers set second_factor_required = true")
    answer = await accept(client, link_token(letters[0]))
    assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_required")
    assert "set-cookie" not in answer.headers
    credentials = {"email": "new@example.org", "password": PASSWORD}
    made = (await client.post("/v1/auth/second-factor", json=credentials)).json()
    app = pyotp.TOTP(made["secret"])
    code = {"code": app.at(int(time.time()) - 30)}
    confirmed = await client.post("/v1/auth/second-factor/confirm", json=credentials | code)
    code = {"code": confirmed.json()["recovery_codes"][0]}
    assert (await client.post("/v1/auth/token", json=credentials | code)).status_code == 200


# Members


async def test_members_are_listed_by_address(engine: Engine, owner: httpx.AsyncClient) -> None:
    door = await add_member(engine, "door")
    house = await another_house(engine)
    await add_member(engine, "owner", house)
    await engine.db.execute(
        "insert into second_factors (person_id, sealed, confirmed_at) values ($1, 'x', clock_timestamp())",
        door.person_id,
    )
    found = (await owner.get("/v1/members")).json()["members"]
    assert {(each["role"], each["second_factor"]) for each in found} == {("owner", False), ("door", True)}
    assert [each["email"] for each in found] == sorted(each["email"] for each in found)


async def test_the_last_owner_stays(engine: Engine, owner: httpx.AsyncClient) -> None:
    [first] = (await owner.get("/v1/members")).json()["members"]
    path = f"/v1/members/{first['person_id']}"
    for answer in (await owner.delete(path), await owner.patch(path, json={"role": "manager"})):
        assert (answer.status_code, answer.json()["code"]) == (409, "last_owner")
    assert (await owner.patch(path, json={"role": "owner"})).status_code == 204
    second = await add_member(engine, "owner")
    assert (await owner.delete(path)).status_code == 204
    async with acting(engine, second) as left:
        answer = await left.delete(f"/v1/members/{second.person_id}")
        assert answer.json()["code"] == "last_owner"


async def test_two_owners_who_leave_at_once_do_not_both_get_away(engine: Engine) -> None:
    house = await another_house(engine)
    both = [await add_member(engine, "owner", house) for _ in range(2)]

    async def leave(principal: Principal) -> int:
        async with acting(engine, principal) as client:
            return (await client.delete(f"/v1/members/{principal.person_id}")).status_code

    assert sorted(await asyncio.gather(*map(leave, both))) == [204, 409]


async def test_an_owner_who_is_none_any_more_changes_no_member(
    engine: Engine, owner: httpx.AsyncClient
) -> None:
    """Their token may still be believed for seconds, in a process that has not heard of it."""
    former, friend = await add_member(engine, "owner"), await add_member(engine, "manager")
    async with acting(engine, former) as client:
        for change in ("update members set role = 'door'", "delete from members"):
            await engine.db.execute(f"{change} where person_id = $1", former.person_id)
            path = f"/v1/members/{friend.person_id}"
            for answer in (await client.patch(path, json={"role": "owner"}), await client.delete(path)):
                assert (answer.status_code, answer.json()["code"]) == (403, "role_out_of_reach")


@pytest.mark.parametrize(
    "before, after, ends",
    [
        ("manager", "door", True),
        ("manager", "owner", False),
        ("door", "viewer", True),
        ("viewer", "manager", False),
        ("viewer", "door", True),
    ],
)
async def test_sessions_end_where_a_permission_is_taken_away(
    engine: Engine, owner: httpx.AsyncClient, client: httpx.AsyncClient, letters: list[Any], before: Role, after: Role, ends: bool
) -> None:  # fmt: skip
    await invite(owner, "new@example.org", before)
    person_id = (await accept(client, link_token(letters[0]))).json()["person_id"]
    tokens = await client.post("/v1/auth/token", json={"email": "new@example.org", "password": PASSWORD})
    assert (await owner.patch(f"/v1/members/{person_id}", json={"role": after})).status_code == 204
    ended = await engine.db.value("select count(*) from sessions where ended_at is not null")
    assert ended == (2 if ends else 0)
    refreshed = await client.post(
        "/v1/auth/token/refresh", json={"refresh_token": tokens.json()["refresh_token"]}
    )
    assert refreshed.status_code == (401 if ends else 200)


async def test_who_is_sent_away_is_out_by_cookie_and_by_token(
    engine: Engine, owner: httpx.AsyncClient, client: httpx.AsyncClient, letters: list[Any]
) -> None:
    await invite(owner, "new@example.org", "manager")
    person_id = (await accept(client, link_token(letters[0]))).json()["person_id"]
    tokens = (
        await client.post("/v1/auth/token", json={"email": "new@example.org", "password": PASSWORD})
    ).json()
    by_token = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await client.get("/v1/members")).status_code == 200
    assert (await client.get("/v1/members", headers=by_token)).status_code == 200
    assert (await owner.delete(f"/v1/members/{person_id}")).status_code == 204

    async def is_out() -> bool:
        answers = [await client.get("/v1/members"), await client.get("/v1/members", headers=by_token)]
        return [answer.status_code for answer in answers] == [401, 401]

    await eventually(is_out)
    answer = await client.post("/v1/auth/token", json={"email": "new@example.org", "password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (403, "not_a_member")
    before = await engine.db.value("select before from audit where action = 'member.removed'")
    assert before == {"role": "manager"}


# Other organizers


async def test_another_organizers_people_are_not_there(engine: Engine, owner: httpx.AsyncClient) -> None:
    house = await another_house(engine)
    theirs = await add_member(engine, "door", house)
    async with signed_in(engine, "owner", house) as stranger:
        # A principal of the other house, who is nobody's member, may invite in its name.
        await engine.db.execute(
            "insert into invitations values ($1, $2, 'x@example.org', 'door', $3, null, default,"
            " clock_timestamp() + interval '1 day')",
            (invitation := new_id()), house, b"h" * 32,
        )  # fmt: skip
        assert len((await stranger.get("/v1/invitations")).json()["invitations"]) == 1
    for answer in (
        await owner.patch(f"/v1/members/{theirs.person_id}", json={"role": "viewer"}),
        await owner.delete(f"/v1/members/{theirs.person_id}"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "member_not_found")
    answer = await owner.delete(f"/v1/invitations/{invitation}")
    assert (answer.status_code, answer.json()["code"]) == (404, "invitation_not_found")
    assert (await owner.get("/v1/invitations")).json() == {"invitations": []}
    assert len((await owner.get("/v1/members")).json()["members"]) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "select password_hash from people",
        "update people set password_hash = null",
        "update people set admin = true",
        "insert into people (person_id, email) values (gen_random_uuid(), 'x@example.org')",
        "select secret_hashes from sessions",
        "delete from sessions",
        "insert into sessions select * from sessions",
        "select sealed from second_factors",
        "delete from second_factors",
        "select * from recovery_codes",
        "select * from password_resets",
        "select * from identities",
    ],
)
async def test_an_organizers_share_of_the_database_lets_nobody_in(engine: Engine, statement: str) -> None:
    owner = await accounts.first_owner(engine.db)
    assert owner is not None
    with pytest.raises(NotPermitted):
        await engine.db.of(owner.organizer_id).rows(statement)


async def test_an_organizers_share_holds_its_own_sessions_alone(engine: Engine) -> None:
    house = await another_house(engine)
    for principal in (await add_member(engine, "door"), await add_member(engine, "door", house)):
        await engine.db.execute(
            "insert into sessions (session_id, person_id, organizer_id, kind, secret_hashes, device, address,"
            " expires_at, strong) values ($1, $2, $3, 'console', array[$4::bytea], '', '',"
            " clock_timestamp() + interval '1 day', false)",
            new_id(), principal.person_id, principal.organizer_id, principal.name.encode(),
        )  # fmt: skip
    own = engine.db.of(house)
    assert await own.value("select count(session_id) from sessions") == 1
    assert await own.execute("update sessions set ended_at = clock_timestamp()") == 1
    assert await engine.db.value("select count(*) from sessions where ended_at is null") == 1
