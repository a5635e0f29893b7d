"""Organizers, people and tokens, through the front door and on a real database."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, OKPKey
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from holdfast import accounts
from holdfast.accounts import Access, Device, Principal, Reception, passwords, tokens
from holdfast.accounts.passwords import Passwords
from holdfast.accounts.tokens import Tokens
from holdfast.platform.db import Database
from holdfast.platform.errors import Busy, Forbidden, Invalid, Unauthenticated
from holdfast.platform.ids import OrganizerId, PersonId, new_id
from holdfast.platform.limits import Limits
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import Settings

pytestmark = pytest.mark.anyio

OLD = "old-old-old-old-old-old-old-old-old-"
NEW = "new-new-new-new-new-new-new-new-new-"
EMAIL, PASSWORD = "Owner@Example.org", "correct horse"
PRINCIPAL = Principal(PersonId(new_id()), OrganizerId(new_id()), "manager")
START = 1_800_000_000.5
DESK = Device("192.0.2.7", "A browser")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def access() -> Iterator[Access]:
    access = Access(Secrets(NEW), token_seconds=900)
    yield access
    access.close()


@pytest.fixture
def reception(db: Database, settings: Settings, access: Access) -> Reception:
    secrets = Secrets(NEW)
    return Reception(db, settings, secrets, access, Limits(settings, secrets))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def reader(clock: Clock, secret: str = NEW, token_seconds: int = 900) -> Tokens:
    return Tokens(Secrets(secret), token_seconds=token_seconds, now=clock)


def signing_key(secret: str = NEW) -> OKPKey:
    [key] = KeySet(
        [
            OKPKey.import_key(key, {"alg": "Ed25519"})
            for key in Secrets(secret).ed25519("access token").values()
        ]
    ).keys
    assert isinstance(key, OKPKey)
    return key


def public_bytes(secret: str = NEW) -> bytes:
    [key] = Secrets(secret).ed25519("access token").values()
    return key.public_key().public_bytes_raw()


def claims(**changed: Any) -> dict[str, Any]:
    now = int(START)
    whole: dict[str, Any] = {
        "iss": "holdfast",
        "sub": str(PRINCIPAL.person_id),
        "org": str(PRINCIPAL.organizer_id),
        "role": "manager",
        "iat": now,
        "exp": now + 900,
    } | changed
    return {name: value for name, value in whole.items() if value is not None}


def signed(payload: dict[str, Any], *, key: Any = None, algorithm: str = "Ed25519", **header: Any) -> str:
    key = key or signing_key()
    return jwt.encode({"alg": algorithm, "kid": key.kid, **header}, payload, key, algorithms=[algorithm])


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def make_owner(db: Database, **changed: str) -> accounts.Member | None:
    given_: dict[str, str] = {"organizer_name": "Opera", "email": EMAIL, "password": PASSWORD} | changed
    async with db.transaction() as tx:
        return await accounts.create_owner(tx, **given_)


# The first owner


async def test_an_empty_database_has_no_owner(db: Database) -> None:
    assert await accounts.first_owner(db) is None


async def test_the_first_owner_is_found_again(db: Database) -> None:
    owner = await make_owner(db, organizer_name="  Opera ")
    assert owner is not None
    assert (owner.email, owner.organizer_name, owner.role) == ("owner@example.org", "Opera", "owner")
    assert await accounts.first_owner(db) == owner


async def test_a_second_owner_is_not_made(db: Database) -> None:
    owner = await make_owner(db)
    assert await make_owner(db, email="second@example.org") is None
    assert await accounts.first_owner(db) == owner


async def test_of_several_first_starts_at_once_one_makes_the_owner(db: Database) -> None:
    made = await asyncio.gather(*(make_owner(db, email=f"owner{i}@example.org") for i in range(5)))
    assert len([owner for owner in made if owner]) == 1
    assert await db.value("select count(*) from organizers") == 1
    assert await db.value("select count(*) from people") == 1


async def test_the_password_is_kept_as_argon2id_alone(db: Database) -> None:
    await make_owner(db)
    stored = await db.value("select password_hash from people")
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert PASSWORD not in await db.value("select string_agg(p::text, '') from people p")


async def test_an_owner_who_cannot_be_is_refused(db: Database) -> None:
    cases = [
        ({"organizer_name": " "}, "/organizer_name"),
        ({"organizer_name": "x" * 256}, "/organizer_name"),
        ({"organizer_name": "a\0b"}, "/organizer_name"),
        ({"email": "nobody"}, "/email"),
        ({"password": "1234567"}, "/password"),
        ({"password": "x" * 1001}, "/password"),
    ]
    for changed, pointer in cases:
        with pytest.raises(Invalid) as refused:
            await make_owner(db, **changed)
        assert refused.value.members["errors"][0]["pointer"] == pointer
    assert await accounts.first_owner(db) is None


async def test_names_and_passwords_at_their_limits_will_do(db: Database, reception: Reception) -> None:
    email = "o@" + "x" * 252
    assert await make_owner(db, organizer_name="x" * 255, email=email, password="ä" * 1000)
    opened = await reception.sign_in(email=email, password="ä" * 1000, device=DESK)
    assert opened.principal.role == "owner"


# Signing in


async def test_signing_in_gives_a_token_that_says_who(db: Database, reception: Reception) -> None:
    owner = await make_owner(db)
    assert owner is not None and owner.admin
    opened = await reception.sign_in(email="OWNER@example.ORG", password=PASSWORD, device=DESK)
    token = reception.access_token(opened)
    assert token.expires_in == 900
    principal = reception.access.tokens.read(token.text)
    assert principal == opened.principal
    assert principal.session_id is not None
    assert msgspec.structs.replace(principal, session_id=None) == owner.principal
    assert await accounts.member(db, owner.principal) == owner


async def test_a_password_typed_decomposed_is_the_same_password(db: Database, reception: Reception) -> None:
    await make_owner(db, password="caf\u00e9 caf\u00e9")
    opened = await reception.sign_in(email=EMAIL, password="cafe\u0301 cafe\u0301", device=DESK)
    assert opened.principal.role == "owner"


async def test_an_unknown_address_and_a_wrong_password_have_one_answer(
    db: Database, reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_owner(db)
    verified: list[str | bytes] = []
    verify = Argon2Hasher.verify

    def counting(self: Argon2Hasher, password: str | bytes, hash: str | bytes) -> bool:  # noqa: A002
        verified.append(hash)
        return verify(self, password, hash)

    monkeypatch.setattr(Argon2Hasher, "verify", counting)
    answers = []
    for email, password in ((EMAIL, "wrong horse"), ("else@example.org", PASSWORD), (EMAIL, "")):
        with pytest.raises(accounts.BadCredentials) as refused:
            await reception.sign_in(email=email, password=password, device=DESK)
        answers.append((refused.value.code, refused.value.detail, refused.value.members))
    assert answers == [("bad_credentials", None, {})] * 3
    # The same work, and therefore the same time: one verification each, with the same costs.
    costs = [str(hash_).split("$")[:4] for hash_ in verified]
    assert len(costs) == 3
    assert costs[0] == costs[1] == ["", "argon2id", "v=19", "m=65536,t=3,p=4"]


async def test_what_cannot_be_an_address_is_refused(reception: Reception) -> None:
    no_form = ["", "@", "a@", "@b", "a@b@c", "ab"]
    no_letters = ["a b@c", " a@b", "a@b\n", "a@\0b", "a@b\u2028", "a\u00a0@b", "a@\ud800"]
    for email in [*no_form, *no_letters, "a@" + "x" * 253]:
        with pytest.raises(Invalid) as refused:
            await reception.sign_in(email=email, password=PASSWORD, device=DESK)
        assert refused.value.members["errors"][0]["pointer"] == "/email"


async def test_a_person_without_a_membership_cannot_sign_in_nor_be_looked_up(
    db: Database, reception: Reception
) -> None:
    owner = await make_owner(db)
    assert owner is not None
    await db.execute("delete from members")
    with pytest.raises(Forbidden) as refused:
        await reception.sign_in(email=EMAIL, password=PASSWORD, device=DESK)
    assert refused.value.code == "not_a_member"
    with pytest.raises(Unauthenticated):
        await accounts.member(db, owner.principal)


async def test_a_person_without_a_password_has_none_that_works(db: Database, reception: Reception) -> None:
    await make_owner(db)
    await db.execute("update people set password_hash = null")
    with pytest.raises(accounts.BadCredentials):
        await reception.sign_in(email=EMAIL, password=PASSWORD, device=DESK)


async def test_a_password_hashed_at_lower_costs_is_hashed_anew_at_the_next_sign_in(
    db: Database, reception: Reception
) -> None:
    await make_owner(db)
    cheap = PasswordHash((Argon2Hasher(1, 8192, 1),)).hash(PASSWORD.encode())
    await db.execute("update people set password_hash = $1", cheap)
    with pytest.raises(accounts.BadCredentials):
        await reception.sign_in(email=EMAIL, password="wrong horse", device=DESK)
    assert await db.value("select password_hash from people") == cheap
    await reception.sign_in(email=EMAIL, password=PASSWORD, device=DESK)
    dear = await db.value("select password_hash from people")
    assert dear.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    await reception.sign_in(email=EMAIL, password=PASSWORD, device=DESK)
    assert await db.value("select password_hash from people") == dear


async def test_ones_own_address_is_no_password(db: Database) -> None:
    with pytest.raises(Invalid, match="first password"):
        await make_owner(db, password=EMAIL.upper())


async def test_two_passwords_are_checked_at_once_and_thirty_two_in_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go, running, most = threading.Semaphore(0), [0], [0]
    lock = threading.Lock()

    def slow(password: str, password_hash: str) -> bool:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        go.acquire()
        with lock:
            running[0] -= 1
        return True

    monkeypatch.setattr(passwords, "_matches", slow)
    pool = Passwords()
    checks = [asyncio.create_task(pool.match("x", "hash")) for _ in range(passwords.CHECKS_MAX)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(10):
            with pytest.raises(Busy) as refused:
                await pool.match("x", "hash")
            assert refused.value.retry_after
            go.release(passwords.CHECKS_MAX)
            assert await asyncio.gather(*checks) == [True] * passwords.CHECKS_MAX
            assert most[0] <= passwords.HASHES_AT_ONCE_MAX
            go.release(2)
            assert await pool.match("x", "hash"), "room again"
            assert not await pool.match("x", None), "nobody's hash matches nothing, whatever argon2 says"
    finally:
        go.release(2 * passwords.CHECKS_MAX)
        pool.close()


# Tokens


def test_a_token_says_who_and_until_when(clock: Clock) -> None:
    issued = reader(clock, token_seconds=60).issue(PRINCIPAL)
    assert issued.expires_in == 60
    assert reader(clock).read(issued.text) == PRINCIPAL
    token = jwt.decode(issued.text, signing_key(), algorithms=["Ed25519"])
    assert token.header == {"typ": "JWT", "alg": "Ed25519", "kid": signing_key().kid}
    assert token.claims == claims(exp=int(START) + 60)


def test_a_token_tells_the_session_and_who_looks_after_the_installation(clock: Clock) -> None:
    session = new_id()
    principal = msgspec.structs.replace(PRINCIPAL, session_id=session, admin=True)
    issued = reader(clock).issue(principal)
    assert reader(clock).read(issued.text) == principal


def test_a_token_of_a_session_that_ended_is_refused_though_it_was_verified_before(clock: Clock) -> None:
    session_id = new_id()
    principal = msgspec.structs.replace(PRINCIPAL, session_id=session_id)
    tokens_ = reader(clock)
    text, other = tokens_.issue(principal).text, tokens_.issue(PRINCIPAL).text
    assert tokens_.read(text) == principal
    tokens_.ended = frozenset({session_id})
    with pytest.raises(Unauthenticated, match="ended"):
        tokens_.read(text)
    assert tokens_.read(other) == PRINCIPAL, "a token without a session has none that ended"


def test_a_token_is_valid_until_it_expires_and_not_a_moment_longer(clock: Clock) -> None:
    issued = reader(clock, token_seconds=60).issue(PRINCIPAL)
    expires = int(START) + 60
    clock.now = expires - 0.001
    assert reader(clock).read(issued.text) == PRINCIPAL
    clock.now = expires
    with pytest.raises(Unauthenticated, match="expired"):
        reader(clock).read(issued.text)


def test_a_verified_token_is_not_believed_past_its_expiry(clock: Clock) -> None:
    tokens_ = reader(clock, token_seconds=60)
    text = tokens_.issue(PRINCIPAL).text
    expires = int(START) + 60
    clock.now = expires - 1
    assert tokens_.read(text) == PRINCIPAL
    clock.now = expires - 0.001
    assert tokens_.read(text) == PRINCIPAL
    clock.now = expires
    with pytest.raises(Unauthenticated, match="expired"):
        tokens_.read(text)


def test_a_verified_token_is_verified_again_after_ten_seconds(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[float] = []
    decode = jwt.decode

    def counting(*args: Any, **kwargs: Any) -> jwt.Token:
        decoded.append(clock.now)
        return decode(*args, **kwargs)

    monkeypatch.setattr(jwt, "decode", counting)
    tokens_ = reader(clock)
    text = tokens_.issue(PRINCIPAL).text
    for later in (0, 1, 9.9, 10, 19.9, 20):
        clock.now = START + later
        assert tokens_.read(text) == PRINCIPAL
    assert decoded == [START, START + 10, START + 20]


def test_verified_tokens_are_kept_up_to_a_number(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "VERIFIED_MAX", 3)
    tokens_ = reader(clock)
    texts = [
        tokens_.issue(Principal(PersonId(new_id()), PRINCIPAL.organizer_id, "viewer")).text for _ in range(5)
    ]
    for text in texts:
        tokens_.read(text)
    assert list(tokens_._verified) == texts[2:]
    assert tokens_.read(texts[0]).role == "viewer"


def test_what_is_not_our_token_is_not_kept(clock: Clock) -> None:
    tokens_ = reader(clock)
    with pytest.raises(Unauthenticated):
        tokens_.read("a.b.c")
    assert tokens_._verified == {}


def _swapped(text: str, **changed: Any) -> str:
    head, body, signature = text.split(".")
    payload = json.loads(base64.urlsafe_b64decode(body + "=="))
    return f"{head}.{part(payload | changed)}.{signature}"


FORGERIES: dict[str, Callable[[], str]] = {
    "alg none": lambda: f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims())}.",
    "alg none with our kid": lambda: (
        f"{part({'alg': 'none', 'kid': signing_key().kid})}.{part(claims())}."
        + signed(claims()).rpartition(".")[2]
    ),
    "alg None": lambda: f"{part({'alg': 'None'})}.{part(claims())}.",
    "no alg": lambda: f"{part({'kid': signing_key().kid})}.{part(claims())}.AAAA",
    "alg is a list": lambda: f"{part({'alg': ['Ed25519']})}.{part(claims())}.AAAA",
    "header is a list": lambda: f"{part(['alg'])}.{part(claims())}.AAAA",
    "header is a text": lambda: f"{part('alg')}.{part(claims())}.AAAA",
    "header is deep": lambda: f"{'W1tb' * 150}.{part(claims())}.AAAA",
    "retired alg name": lambda: "{}.{}.{}".format(
        part({"alg": "EdDSA", "kid": signing_key().kid}), *signed(claims()).split(".")[1:]
    ),
    "HMAC under our public key": lambda: signed(
        claims(),
        key=OctKey.import_key(public_bytes(), {"kid": signing_key().kid or ""}),
        algorithm="HS256",
    ),
    "other key": lambda: signed(claims(), key=signing_key(OLD)),
    "other key under our kid": lambda: signed(claims(), key=signing_key(OLD), kid=signing_key().kid),
    "other purpose": lambda: signed(
        claims(),
        key=OKPKey.import_key(next(iter(Secrets(NEW).ed25519("ticket").values()))),
        kid=signing_key().kid,
    ),
    "key in the header": lambda: signed(
        claims(), key=signing_key(OLD), jwk=signing_key(OLD).as_dict(private=False)
    ),
    "changed role": lambda: _swapped(signed(claims()), role="owner"),
    "changed organizer": lambda: _swapped(signed(claims()), org=str(new_id())),
    "changed expiry": lambda: _swapped(signed(claims(exp=1)), exp=int(START) + 900),
    "signature cut": lambda: signed(claims())[:-1],
    "signature gone": lambda: signed(claims()).rpartition(".")[0] + ".",
    "letters behind": lambda: signed(claims()) + "A",
    "wrong issuer": lambda: signed(claims(iss="elsewhere")),
    "no issuer": lambda: signed(claims(iss=None)),
    "no subject": lambda: signed(claims(sub=None)),
    "subject is no id": lambda: signed(claims(sub="1")),
    "no organizer": lambda: signed(claims(org=None)),
    "unknown role": lambda: signed(claims(role="admin")),
    "no role": lambda: signed(claims(role=None)),
    "no expiry": lambda: signed(claims(exp=None)),
    "expiry is a text": lambda: signed(claims(exp="4000000000")),
    "expiry is not finite": lambda: signed(claims(exp=float("inf"))),
    "too long": lambda: signed(claims(more="x" * 2048)),
    "empty": lambda: "..",
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_token_is_refused(forge: Callable[[], str], clock: Clock) -> None:
    tokens_ = reader(clock)
    with pytest.raises(Unauthenticated) as refused:
        tokens_.read(forge())
    assert refused.value.detail == "The access token is not valid."
    assert tokens_.read(signed(claims())) == PRINCIPAL, (
        "the control: the same claims under our key are believed"
    )


@given(st.text(alphabet='eyJhbGciOiJub25lIn0.-_=[]{}"\0é', max_size=80))
def test_garbage_is_refused_and_nothing_else(text: str) -> None:
    with pytest.raises(Unauthenticated):
        GARBAGE_READER.read(text)


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_any_json_as_header_is_refused_and_nothing_else(header: Any) -> None:
    with pytest.raises(Unauthenticated):
        GARBAGE_READER.read(f"{part(header)}.{part(claims())}.AAAA")


GARBAGE_READER = Tokens(Secrets(NEW), token_seconds=900)


def test_while_rotating_old_tokens_hold_and_new_ones_are_signed_by_the_new_key(clock: Clock) -> None:
    old, rotating, new = reader(clock, OLD), reader(clock, f"{NEW},{OLD}"), reader(clock, NEW)
    assert rotating.read(old.issue(PRINCIPAL).text) == PRINCIPAL
    assert new.read(rotating.issue(PRINCIPAL).text) == PRINCIPAL
    with pytest.raises(Unauthenticated):
        old.read(rotating.issue(PRINCIPAL).text)
    with pytest.raises(Unauthenticated):
        new.read(old.issue(PRINCIPAL).text)


def test_the_published_keys_verify_and_hold_nothing_private(clock: Clock) -> None:
    rotating = reader(clock, f"{NEW},{OLD}")
    published = rotating.public_keys()
    assert [set(key) for key in published["keys"]] == [{"kty", "crv", "x", "kid", "alg", "use"}] * 2
    keys = KeySet.import_key_set(published)  # type: ignore[arg-type]
    for secret in (NEW, OLD):
        token = jwt.decode(reader(clock, secret).issue(PRINCIPAL).text, keys, algorithms=["Ed25519"])
        assert token.claims["sub"] == str(PRINCIPAL.person_id)
