"""Signing in by password and second factor over HTTP, passwords changed and forgotten, and tries that are counted."""

import asyncio
import re
import time
from contextvars import Context
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pyotp
import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from holdfast import accounts
from holdfast.accounts import Device, passwords, recovery, second_factor
from holdfast.accounts.people import BadCredentials
from holdfast.accounts.routes import routes
from holdfast.engine import Engine
from holdfast.platform import mail
from holdfast.platform.db import Transaction
from holdfast.platform.ids import PersonId, new_id
from holdfast.platform.jobs import Job
from holdfast.platform.limits import RateLimited
from holdfast.platform.openapi import openapi
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import Settings
from tests.api.people import signed_in
from tests.conftest import OWNER, eventually

pytestmark = pytest.mark.anyio

EMAIL, PASSWORD = OWNER
CREDENTIALS = {"email": EMAIL, "password": PASSWORD}
BETTER = "a better horse battery"


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of a millisecond: what they cost is tested elsewhere."""
    monkeypatch.setattr(passwords, "_argon2", PasswordHash((Argon2Hasher(1, 8, 1),)))
    monkeypatch.setattr(passwords, "_NOBODYS", passwords.hashed("nobody's"))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With the limits that an installation has by default."""
    return msgspec.structs.replace(
        settings, rate_limits="on", limit_writes="1000000/1s", limit_reads="1000000/1s"
    )


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


async def token(client: httpx.AsyncClient, **more: Any) -> httpx.Response:
    return await client.post("/v1/auth/token", json=CREDENTIALS | more)


@pytest.fixture
async def mine(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """The owner, by a session of their own."""
    answer = await token(client)
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return client


async def test_sign_in_and_ask_who_i_am(client: httpx.AsyncClient) -> None:
    answer = await token(client, email=EMAIL.upper())
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    given = answer.json()
    assert set(given) == {"access_token", "expires_in", "token_type", "refresh_token"}
    assert (given["expires_in"], given["token_type"]) == (900, "Bearer")
    me = await client.get("/v1/auth/me", headers={"Authorization": f"Bearer {given['access_token']}"})
    assert me.status_code == 200
    said = me.json()
    assert (said["email"], said["role"], said["admin"], said["second_factor"]) == (
        EMAIL,
        "owner",
        False,
        False,
    )
    assert said["organizer"]["name"] == "Test House"
    assert said["organizers"] == [said["organizer"]]
    own = {name for name, holders in accounts.PERMISSIONS.items() if "owner" in holders}
    assert set(said["permissions"]) == own


async def test_a_password_is_asked_of_nobody_who_has_none(engine: Engine, client: httpx.AsyncClient) -> None:
    """Who came by another provider has no password here, until a letter lets them choose one."""
    await engine.db.execute("update people set password_hash = null")
    answer = await token(client)
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_credentials")


async def test_who_looks_after_the_installation_is_told_so(engine: Engine, client: httpx.AsyncClient) -> None:
    await engine.db.execute("update people set admin = true")
    given = (await token(client)).json()
    me = await client.get("/v1/auth/me", headers={"Authorization": f"Bearer {given['access_token']}"})
    assert me.json()["admin"] is True
    assert engine.access.tokens.read(given["access_token"]).admin is True


async def test_wrong_credentials_have_one_answer(client: httpx.AsyncClient) -> None:
    bodies = []
    for email, password in ((EMAIL, "wrong horse"), ("else@example.org", PASSWORD)):
        answer = await token(client, email=email, password=password)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        bodies.append({name: value for name, value in answer.json().items() if name != "request_id"})
    assert bodies[0] == bodies[1]
    assert bodies[0]["code"] == "bad_credentials"


@pytest.mark.parametrize(
    "changed, pointer",
    [
        ({"email": "nobody"}, "/email"),
        ({"email": "ab"}, "/email"),
        ({"email": "a@b\u0000"}, "/email"),
        ({"email": "x" * 250 + "@b.de"}, "/email"),
        ({"email": None}, "/email"),
        ({"password": ""}, "/password"),
        ({"password": "x" * 1001}, "/password"),
        ({"password": 12345678}, "/password"),
        ({"remember": True}, "/remember"),
        ({"code": 123456}, "/code"),
        ({"code": "1" * 41}, "/code"),
        ({"organizer_id": "1"}, "/organizer_id"),
    ],
)
async def test_bad_input_is_named(client: httpx.AsyncClient, changed: dict[str, Any], pointer: str) -> None:
    answer = await token(client, **changed)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_who_left_is_nobody(engine: Engine) -> None:
    async with signed_in(engine) as stranger:
        answer = await stranger.get("/v1/auth/me")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_the_keys_are_public(client: httpx.AsyncClient) -> None:
    answer = await client.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    [key] = answer.json()["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "Ed25519", "sig")
    assert "d" not in key


def test_the_routes_stand_in_the_openapi() -> None:
    document = openapi([routes], title="t", version="1", security_schemes=accounts.SECURITY_SCHEMES)
    assert {"staff": []} in document["paths"]["/v1/auth/me"]["get"]["security"]
    assert "401" in document["paths"]["/v1/auth/token"]["post"]["responses"]


# Tries are counted


async def tries(engine: Engine, addresses: list[str], password: str = "wrong") -> dict[str, int]:
    """How many tries with this password from each of the addresses in turn had which end."""
    ends = {"wrong": 0, "limited": 0, "in": 0}
    for address in addresses:
        try:
            await engine.reception.sign_in(email=EMAIL, password=password, device=Device(address))
            ends["in"] += 1
        except BadCredentials:
            ends["wrong"] += 1
        except RateLimited:
            ends["limited"] += 1
    return ends


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that were held against a hash, which is what costs."""
    seen: list[str] = []
    matches = passwords._matches

    def counting(password: str, password_hash: str) -> bool:
        seen.append(password)
        return matches(password, password_hash)

    monkeypatch.setattr(passwords, "_matches", counting)
    return seen


async def test_of_10000_tries_from_one_address_ten_are_looked_at(engine: Engine, checked: list[str]) -> None:
    ends = await tries(engine, ["198.51.100.1"] * 10_000)
    assert (ends["wrong"], ends["limited"]) == (10, 9_990)
    assert len(checked) == 10, "what is refused costs no hash"
    assert (await tries(engine, ["192.0.2.7"], PASSWORD))["in"] == 1, "its owner comes from elsewhere"


async def test_of_10000_tries_from_10000_addresses_thirty_are_looked_at_and_the_owner_gets_in(
    engine: Engine, checked: list[str]
) -> None:
    home = "192.0.2.7"
    assert (await tries(engine, [home], PASSWORD))["in"] == 1
    checked.clear()
    crowd = [f"10.{number // 250}.{number % 250}.1" for number in range(10_000)]
    ends = await tries(engine, crowd)
    assert (ends["wrong"], ends["limited"]) == (30, 9_970)
    assert len(checked) == 30
    # From where the owner has signed in before the account is open, and even with the right password from nowhere else.
    assert await tries(engine, [home], PASSWORD) == {"wrong": 0, "limited": 0, "in": 1}
    assert await tries(engine, ["192.0.2.200"], PASSWORD) == {"wrong": 0, "limited": 0, "in": 1}, (
        "same network"
    )
    assert await tries(engine, ["203.0.113.9"], PASSWORD) == {"wrong": 0, "limited": 1, "in": 0}


async def side_by_side(engine: Engine, addresses: list[str]) -> tuple[int, int]:
    """How many of the tries that come at once were wrong, and how many were not looked at."""
    ends = await asyncio.gather(*(tries(engine, [address]) for address in addresses))
    return sum(end["wrong"] for end in ends), sum(end["limited"] for end in ends)


async def test_side_by_side_no_more_tries_are_looked_at(engine: Engine, checked: list[str]) -> None:
    assert await side_by_side(engine, ["198.51.100.1"] * 10_000) == (10, 9_990)
    assert len(checked) == 10
    looked_at = 0
    # Whether the person has signed in from there is asked of the database, which serves so many at once and no more.
    for block in range(100):
        crowd = [f"10.{block}.{number}.1" for number in range(100)]
        looked_at += (await side_by_side(engine, crowd))[0]
    assert looked_at == 20, "thirty with those before"
    assert len(checked) == 30


async def test_codes_are_counted_side_by_side_too(client: httpx.AsyncClient) -> None:
    await enrolled(client)
    answers = await asyncio.gather(*(token(client, code=f"{number:06}") for number in range(40)))
    codes = [answer.json()["code"] for answer in answers]
    assert (codes.count("bad_code"), codes.count("rate_limited")) == (10, 30)


async def test_from_a_network_that_is_known_a_crowd_has_no_more_tries_than_from_all_others(
    engine: Engine, checked: list[str]
) -> None:
    home = "2001:db8:1::7"
    assert (await tries(engine, [home], PASSWORD))["in"] == 1
    checked.clear()
    neighbours = [f"2001:db8:1:{number:x}::1" for number in range(1, 1_001)]
    ends = await tries(engine, neighbours)
    assert (ends["wrong"], ends["limited"]) == (60, 940)
    assert len(checked) == 60


async def test_many_accounts_from_one_address_are_counted_together(
    engine: Engine, checked: list[str]
) -> None:
    limited = 0
    for number in range(100):
        try:
            await engine.reception.sign_in(
                email=f"person{number}@example.org", password="wrong", device=Device("198.51.100.1")
            )
        except BadCredentials:
            pass
        except RateLimited:
            limited += 1
    assert (len(checked), limited) == (60, 40)


async def test_whoever_signs_in_often_is_never_refused(engine: Engine) -> None:
    assert await tries(engine, ["192.0.2.7"] * 100, PASSWORD) == {"wrong": 0, "limited": 0, "in": 100}


async def test_who_tried_too_often_is_told_when_to_come_back(client: httpx.AsyncClient) -> None:
    for _ in range(10):
        assert (await token(client, password="wrong")).status_code == 401
    answer = await token(client)
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert 0 < int(answer.headers["retry-after"]) <= 90


# The second factor


class App:
    """An authenticator app; it tells the codes of times to come, so that no test waits for them."""

    def __init__(self, secret: str) -> None:
        self.totp = pyotp.TOTP(secret)

    def code(self, steps_ahead: int = 0) -> str:
        return self.totp.at(int(time.time()) + steps_ahead * 30)


async def enrolled(client: httpx.AsyncClient) -> tuple[App, list[str]]:
    """A second factor for the owner: the app, and the recovery codes. The first code is used up."""
    made = await client.post("/v1/auth/second-factor", json=CREDENTIALS)
    assert made.status_code == 201, made.text
    app = App(made.json()["secret"])
    confirmed = await client.post("/v1/auth/second-factor/confirm", json=CREDENTIALS | {"code": app.code(-1)})
    assert confirmed.status_code == 200, confirmed.text
    return app, confirmed.json()["recovery_codes"]


async def test_with_a_second_factor_the_password_alone_is_not_enough(client: httpx.AsyncClient) -> None:
    app, _ = await enrolled(client)
    answer = await token(client)
    assert (answer.status_code, answer.json()["code"]) == (401, "second_factor_needed")
    answer = await token(client, code="000000")
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_code")
    answer = await token(client, password="wrong", code=app.code())
    assert answer.json()["code"] == "bad_credentials", "a code says nothing to who has no password"
    answer = await token(client, code=app.code())
    assert answer.status_code == 200
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await client.get("/v1/auth/me", headers=headers)).json()["second_factor"] is True


async def test_a_second_factor_that_waits_for_its_first_code_locks_nobody_out(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    made = await client.post("/v1/auth/second-factor", json=CREDENTIALS)
    assert made.json()["uri"].startswith("otpauth://totp/Holdfast:owner%40example.org?secret=")
    assert (await token(client)).status_code == 200
    wrong = await client.post("/v1/auth/second-factor/confirm", json=CREDENTIALS | {"code": "abcdef"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "bad_code")
    again = await client.post("/v1/auth/second-factor", json=CREDENTIALS)
    assert again.json()["secret"] != made.json()["secret"]
    late = App(made.json()["secret"]).code()
    answer = await client.post("/v1/auth/second-factor/confirm", json=CREDENTIALS | {"code": late})
    assert answer.json()["code"] == "bad_code", "the secret before is worth nothing"
    sealed = await engine.db.value("select sealed from second_factors")
    assert again.json()["secret"].encode() not in sealed


async def test_a_code_confirms_the_secret_that_it_is_of(
    client: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever knows the password must not slip a secret of their own under somebody else's first code."""
    made = (await client.post("/v1/auth/second-factor", json=CREDENTIALS)).json()
    person_id = PersonId(await engine.db.value("select person_id from people"))
    row = Transaction.row

    async def enrol() -> None:
        async with engine.db.transaction() as tx:
            await second_factor.enrol(tx, engine.secrets, person_id, EMAIL)

    async def slow(self: Transaction, *query: Any) -> Any:
        found = await row(self, *query)
        monkeypatch.undo()
        # In a context of its own, as another request has it.
        await asyncio.create_task(enrol(), context=Context())
        return found

    async with engine.db.transaction() as tx:
        monkeypatch.setattr(Transaction, "row", slow)
        with pytest.raises(second_factor.BadCode):
            await second_factor.confirm(tx, engine.secrets, person_id, App(made["secret"]).code())


async def test_a_code_works_once_and_none_before_it_works_after_it(client: httpx.AsyncClient) -> None:
    app, _ = await enrolled(client)
    code, before = app.code(), app.code(-1)
    assert (await token(client, code=code)).status_code == 200
    for used in (code, before):
        answer = await token(client, code=used)
        assert (answer.status_code, answer.json()["code"]) == (401, "bad_code")
    assert (await token(client, code=app.code(1))).status_code == 200


async def test_of_several_who_show_one_code_at_once_one_gets_in(client: httpx.AsyncClient) -> None:
    app, _ = await enrolled(client)
    code = app.code()
    answers = await asyncio.gather(*(token(client, code=code) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]


async def test_a_code_that_is_two_steps_off_is_refused(client: httpx.AsyncClient) -> None:
    app, _ = await enrolled(client)
    for steps in (-3, 3):
        assert (await token(client, code=app.code(steps))).json()["code"] == "bad_code"


async def test_a_recovery_code_works_once(client: httpx.AsyncClient, engine: Engine) -> None:
    _, codes = await enrolled(client)
    assert len(set(codes)) == 10
    assert (await token(client, code=codes[0].upper().replace("-", " "))).status_code == 200
    assert (await token(client, code=codes[0])).json()["code"] == "bad_code"
    assert (await token(client, code=codes[1])).status_code == 200
    assert await engine.db.value("select count(*) from recovery_codes") == 8
    stored = await engine.db.value("select string_agg(c::text, '') from recovery_codes c")
    assert codes[2].replace("-", "") not in stored


async def test_codes_are_counted_as_tries(client: httpx.AsyncClient) -> None:
    app, _ = await enrolled(client)
    for number in range(10):
        assert (await token(client, code=f"{number:06}")).status_code == 401
    assert (await token(client, code=app.code())).status_code == 429


async def test_a_second_factor_goes_by_password_and_code_alone(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    app, _ = await enrolled(client)
    taken = await client.post("/v1/auth/second-factor", json=CREDENTIALS)
    assert (taken.status_code, taken.json()["code"]) == (409, "second_factor_exists")
    for body in (CREDENTIALS | {"code": "000000"}, CREDENTIALS | {"password": "wrong", "code": app.code()}):
        assert (await client.post("/v1/auth/second-factor/remove", json=body)).status_code == 401
    body = CREDENTIALS | {"code": app.code()}
    assert (await client.post("/v1/auth/second-factor/remove", json=body)).status_code == 204
    assert (await token(client)).status_code == 200
    assert await engine.db.value("select count(*) from recovery_codes") == 0
    body = CREDENTIALS | {"code": "123456"}
    none = await client.post("/v1/auth/second-factor/remove", json=body)
    assert (none.status_code, none.json()["code"]) == (409, "no_second_factor")


async def test_an_organizer_may_ask_its_members_for_a_second_factor(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    weak = (await token(client)).json()["refresh_token"]
    await engine.db.execute("update organizers set second_factor_required = true")
    answer = await token(client)
    assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_required")
    renewed = await client.post("/v1/auth/token/refresh", json={"refresh_token": weak})
    assert renewed.status_code == 401, "who came in by a password alone comes in again"
    app, _ = await enrolled(client)
    strong = await token(client, code=app.code())
    assert strong.status_code == 200
    renewed = await client.post(
        "/v1/auth/token/refresh", json={"refresh_token": strong.json()["refresh_token"]}
    )
    assert renewed.status_code == 200


async def test_a_secret_moved_to_another_person_is_none(client: httpx.AsyncClient, engine: Engine) -> None:
    """Whoever can write to the table cannot make the second factor of one person that of another."""
    app, _ = await enrolled(client)
    other = PersonId(new_id())
    await engine.db.execute("insert into people (person_id, email) values ($1, 'other@example.org')", other)
    await engine.db.execute("delete from recovery_codes")
    await engine.db.execute("update second_factors set person_id = $1", other)
    with pytest.raises(Exception, match="sealed for something else"):
        await second_factor.prove(engine.db, engine.secrets, other, app.code())


async def test_a_second_factor_is_sealed_anew_under_a_new_secret(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    app, _ = await enrolled(client)
    person_id = await engine.db.value("select person_id from second_factors")
    new = "a-new-secret-for-tests-and-nothing-else"
    rotating = Secrets(f"{new},{engine.settings.secret_key}")
    async with engine.db.transaction() as tx:
        done = await second_factor.reseal_some(tx, rotating, PersonId(UUID(int=0)), 10)
    assert done == (person_id, 0)
    assert await second_factor.prove(engine.db, Secrets(new), person_id, app.code())


# Passwords


async def test_a_changed_password_ends_the_other_sessions(
    mine: httpx.AsyncClient, engine: Engine, letters: list[dict[str, Any]]
) -> None:
    other = (await token(mine)).json()
    answer = await mine.post("/v1/auth/password", json={"old_password": PASSWORD, "password": BETTER})
    assert answer.status_code == 204, answer.text
    assert (await mine.get("/v1/auth/me")).status_code == 200, "this session goes on"
    refreshed = await mine.post("/v1/auth/token/refresh", json={"refresh_token": other["refresh_token"]})
    assert refreshed.status_code == 401
    assert (await token(mine)).status_code == 401
    assert (await token(mine, password=BETTER)).status_code == 200
    [letter] = letters
    assert (letter["to"], letter["subject"]) == (EMAIL, "Your password was changed")
    assert await engine.db.value("select action from audit") == "person.password_changed"

    async def is_out() -> bool:
        headers = {"Authorization": f"Bearer {other['access_token']}"}
        return (await mine.get("/v1/auth/me", headers=headers)).status_code == 401

    await eventually(is_out)


@pytest.fixture
def during_the_check(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is done, once, between looking for the hash of a password and the end of its check."""
    steps: list[Any] = []
    match = passwords.Passwords.match

    async def slow(self: passwords.Passwords, password: str, password_hash: str | None) -> bool:
        matches = await match(self, password, password_hash)
        if steps:
            await steps.pop()()
        return matches

    monkeypatch.setattr(passwords.Passwords, "match", slow)
    return steps


async def test_a_sign_in_under_way_does_not_outlive_the_password(
    engine: Engine, client: httpx.AsyncClient, during_the_check: list[Any]
) -> None:
    anew = passwords.hashed(BETTER)

    async def change() -> None:
        await engine.db.execute("update people set password_hash = $1", anew)

    during_the_check.append(change)
    answer = await token(client)
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_credentials")
    assert await engine.db.value("select count(*) from sessions") == 0


async def test_of_two_changes_under_way_the_later_one_sees_that_it_is_late(
    engine: Engine, mine: httpx.AsyncClient, during_the_check: list[Any]
) -> None:
    anew = passwords.hashed("what the owner chose by the link of a letter")

    async def change() -> None:
        await engine.db.execute("update people set password_hash = $1", anew)

    during_the_check.append(change)
    body = {"old_password": PASSWORD, "password": BETTER}
    answer = await mine.post("/v1/auth/password", json=body)
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_credentials")
    assert await engine.db.value("select password_hash from people") == anew


async def test_of_those_who_sign_in_at_once_with_an_outdated_hash_all_get_in(
    engine: Engine, client: httpx.AsyncClient
) -> None:
    outdated = PasswordHash((Argon2Hasher(2, 8, 1),)).hash(PASSWORD.encode())
    await engine.db.execute("update people set password_hash = $1", outdated)
    answers = await asyncio.gather(*(token(client) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    "old, new, status",
    [
        ("wrong horse", BETTER, 401),
        (PASSWORD, "short", 400),
        (PASSWORD, EMAIL.upper(), 400),
        (PASSWORD, "x" * 1001, 400),
    ],
)
async def test_a_password_that_will_not_do_changes_nothing(
    mine: httpx.AsyncClient, old: str, new: str, status: int
) -> None:
    answer = await mine.post("/v1/auth/password", json={"old_password": old, "password": new})
    assert answer.status_code == status
    assert (await token(mine)).status_code == 200


async def test_a_stolen_session_does_not_guess_the_password(mine: httpx.AsyncClient) -> None:
    for _ in range(10):
        answer = await mine.post("/v1/auth/password", json={"old_password": "guess", "password": BETTER})
        assert answer.status_code == 401
    answer = await mine.post("/v1/auth/password", json={"old_password": PASSWORD, "password": BETTER})
    assert answer.status_code == 429


async def work_through(engine: Engine) -> None:
    """Runs the jobs of forgotten passwords, as a worker would."""
    rows = await engine.db.rows(
        "delete from jobs where kind = $1 returning job_id, payload", recovery.FORGOTTEN
    )
    answering = recovery.answer_forgotten(engine.secrets, engine.settings.address)
    for row in rows:
        job = Job(row["job_id"], recovery.FORGOTTEN, row["payload"], 1, datetime.now(UTC), row["job_id"])
        await answering(job, engine.db)


async def forgot(client: httpx.AsyncClient, engine: Engine, email: str = EMAIL) -> None:
    answer = await client.post("/v1/auth/password/forgot", json={"email": email})
    assert (answer.status_code, answer.text) == (202, "")
    await work_through(engine)


def link_token(letter: dict[str, Any]) -> str:
    found = re.search(r"http://127.0.0.1:8000/console/password#token=(\S+)", letter["text"])
    assert found is not None, letter["text"]
    return found[1]


async def test_a_forgotten_password_is_set_anew_by_the_link_of_a_letter(
    client: httpx.AsyncClient, engine: Engine, letters: list[dict[str, Any]]
) -> None:
    session = (await token(client)).json()
    await forgot(client, engine, EMAIL.upper())
    assert letters[0]["to"] == EMAIL
    link = link_token(letters[0])
    assert link not in await engine.db.value("select string_agg(r::text, '') from password_resets r")
    body = {"token": link, "password": BETTER}
    weak = await client.post("/v1/auth/password/reset", json=body | {"password": EMAIL})
    assert weak.status_code == 400, "and the link is still good"
    assert (await client.post("/v1/auth/password/reset", json=body)).status_code == 204
    assert (await token(client, password=BETTER)).status_code == 200
    assert (await token(client)).status_code == 401
    renewed = await client.post("/v1/auth/token/refresh", json={"refresh_token": session["refresh_token"]})
    assert renewed.status_code == 401
    again = await client.post("/v1/auth/password/reset", json=body)
    assert (again.status_code, again.json()["code"]) == (404, "reset_not_found")
    assert letters[1]["subject"] == "Your password was changed"
    assert await engine.db.value("select action from audit") == "person.password_reset"


async def test_nobody_learns_who_has_an_account(
    client: httpx.AsyncClient, engine: Engine, letters: list[dict[str, Any]]
) -> None:
    """The two requests leave the same rows of the same size; only the job, later and elsewhere, knows better."""
    left = []
    for email in (EMAIL, "other@example.org"):
        answer = await client.post("/v1/auth/password/forgot", json={"email": email})
        assert answer.status_code == 202
        rows = await engine.db.rows("select kind, payload::text from jobs where kind <> $1", mail.SEND)
        left.append(
            [(row["kind"], len(row["payload"]) + len("other@example.org") - len(email)) for row in rows]
        )
        assert email not in str([tuple(row) for row in rows])
        await work_through(engine)
    assert [kinds[0][0] for kinds in left] == [recovery.FORGOTTEN] * 2
    assert [letter["to"] for letter in letters] == [EMAIL]


async def test_a_link_is_good_for_an_hour(
    client: httpx.AsyncClient, engine: Engine, letters: list[dict[str, Any]]
) -> None:
    await forgot(client, engine)
    await engine.db.execute("update password_resets set expires_at = expires_at - interval '1 hour'")
    body = {"token": link_token(letters[0]), "password": BETTER}
    assert (await client.post("/v1/auth/password/reset", json=body)).status_code == 404
    assert await recovery.prune_resets(engine.db) == 1


async def test_of_several_who_open_one_link_one_sets_the_password(
    client: httpx.AsyncClient, engine: Engine, letters: list[dict[str, Any]]
) -> None:
    await forgot(client, engine)
    link = link_token(letters[0])
    answers = await asyncio.gather(
        *(
            client.post("/v1/auth/password/reset", json={"token": link, "password": f"{BETTER} {number}"})
            for number in range(5)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [204, 404, 404, 404, 404]


async def test_nobody_fills_anothers_mailbox(
    client: httpx.AsyncClient, engine: Engine, letters: list[Any]
) -> None:
    for _ in range(5):
        await forgot(client, engine)
    assert len(letters) == recovery.RESETS_MAX
    answer = await client.post("/v1/auth/password/forgot", json={"email": EMAIL})
    assert answer.status_code == 429


async def test_a_second_factor_stays_when_a_password_is_set_anew(
    client: httpx.AsyncClient, engine: Engine, letters: list[dict[str, Any]]
) -> None:
    await enrolled(client)
    await forgot(client, engine)
    body = {"token": link_token(letters[0]), "password": BETTER}
    assert (await client.post("/v1/auth/password/reset", json=body)).status_code == 204
    assert (await token(client, password=BETTER)).json()["code"] == "second_factor_needed"


@pytest.mark.parametrize("text", ["x", "A" * 43, "\u00e9", "%00"])
async def test_a_token_that_was_never_sent_opens_nothing(client: httpx.AsyncClient, text: str) -> None:
    answer = await client.post("/v1/auth/password/reset", json={"token": text, "password": BETTER})
    assert (answer.status_code, answer.json()["code"]) == (404, "reset_not_found")


async def test_the_worker_answers_forgotten_passwords(engine: Engine, client: httpx.AsyncClient) -> None:
    from holdfast.engine import work

    stopping = asyncio.Event()
    working = asyncio.create_task(work(engine, stopping))
    try:
        answer = await client.post("/v1/auth/password/forgot", json={"email": EMAIL})
        assert answer.status_code == 202

        async def is_sent() -> bool:
            return bool(await engine.db.value("select count(*) from password_resets"))

        await eventually(is_sent)
    finally:
        stopping.set()
        await working
