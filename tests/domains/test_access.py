"""The one table of permissions, and what `Access` makes of the headers of a request. No database is needed for it."""

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, get_args
from uuid import UUID

import pytest

from holdfast import accounts
from holdfast.accounts import (
    ANYONE,
    INSTALLATION,
    PERMISSIONS,
    VISITOR,
    Access,
    Buyer,
    Caller,
    Principal,
    Staff,
)
from holdfast.accounts.access import GRANTABLE, KEY_LENGTH, OrganizerSuspended
from holdfast.platform.errors import Forbidden, NotFound, Refusal, Unauthenticated
from holdfast.platform.ids import OrganizerId, PersonId, new_id
from holdfast.platform.routing import Who
from holdfast.platform.secret import Secrets

pytestmark = pytest.mark.anyio

HOUSE = OrganizerId(UUID(int=1))
PERSON = Principal(PersonId(new_id()), HOUSE, "manager")
KEY = "hf_AbCd1234_" + "x" * 43


class Readers:
    """Stands for what reads keys and cookies: it knows one of each, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_cross_site = False

    async def principal(self, text: str, address: str = "") -> Principal:
        self.asked += 1
        if text == KEY:
            return machine("shows.write")
        if text == "session":
            return PERSON
        raise Unauthenticated

    def cookie(self, headers: Mapping[bytes, bytes]) -> str | None:
        value = headers[b"cookie"]
        return value.removeprefix(b"holdfast=").decode() if value.startswith(b"holdfast=") else None

    def refuse_cross_site(self, headers: Mapping[bytes, bytes]) -> None:
        if self.is_cross_site:
            raise Forbidden("cross site")


def machine(*scopes: str) -> Principal:
    return Principal(None, HOUSE, None, key_id=new_id(), scopes=frozenset(scopes))


@pytest.fixture
def readers() -> Readers:
    return Readers()


@pytest.fixture
def access(readers: Readers) -> Iterator[Access]:
    access = Access(Secrets("a secret of thirty-two characters"), token_seconds=900)
    access.keys = readers
    access.sessions = readers
    yield access
    access.close()


async def asked(access: Access, who: Any, method: str = "GET", **headers: bytes) -> Any:
    call: Any = SimpleNamespace(
        method=method,
        client_ip="192.0.2.1",
        headers={name.replace("_", "-").encode(): value for name, value in headers.items()},
    )
    return await access.authorize(call, who)


def bearing(access: Access, principal: Principal = PERSON) -> bytes:
    return b"Bearer " + access.tokens.issue(principal).text.encode()


# The table


def test_the_table_names_every_permission_and_no_unknown_holder() -> None:
    assert set(PERMISSIONS) == set(get_args(accounts.Permission))
    known = {*get_args(accounts.Role), "admin"}
    assert all(holders and holders <= known for holders in PERMISSIONS.values())


def test_what_is_of_the_installation_no_role_has_and_the_rest_an_owner_has() -> None:
    assert {"jobs.read", "jobs.write", "organizers.read", "organizers.write"} == INSTALLATION
    for permission, holders in PERMISSIONS.items():
        assert (
            holders == {"admin"}
            if permission in INSTALLATION
            else "owner" in holders and "admin" not in holders
        )


LOOKS = {"shows.read_all", "venues.read"}
SELLS = LOOKS | {"blocks.write", "bookings.read", "bookings.write", "door.scan"}
RUNS = SELLS | {
    "shows.write", "venues.write", "members.read", "members.write", "keys.read", "codes.write", "bookings.refund",
    "door.write", "webhooks.read", "webhooks.write", "facts.read", "analytics.read", "invoices.read",
}  # fmt: skip
OF_A_ROLE: dict[accounts.Role, set[str]] = {
    "owner": RUNS | {"keys.write", "audit.read", "organizer.write", "privacy.write"},
    "manager": RUNS,
    "box_office": SELLS,
    "door": LOOKS | {"door.scan"},
    "viewer": LOOKS | {"bookings.read", "facts.read", "analytics.read", "invoices.read"},
}


@pytest.mark.parametrize("admin", [False, True])
@pytest.mark.parametrize("role", get_args(accounts.Role))
def test_a_role_has_its_permissions_and_no_others(role: accounts.Role, admin: bool) -> None:
    principal = Principal(PersonId(new_id()), HOUSE, role, admin=admin)
    expected = OF_A_ROLE[role] | (set(INSTALLATION) if admin else set())
    assert set(accounts.permissions_of(principal)) == expected
    for permission in PERMISSIONS:
        allowed = permission in expected
        assert accounts.permits(principal, permission, HOUSE) is allowed
        if allowed:
            assert accounts.require(principal, permission, HOUSE) is principal
        else:
            with pytest.raises(Forbidden, match=f"The role {role}"):
                accounts.require(principal, permission, HOUSE)


def test_a_key_has_its_scopes_and_no_others() -> None:
    key = machine("bookings.read", "blocks.write")
    assert accounts.permissions_of(key) == ["blocks.write", "bookings.read"]
    assert accounts.permissions_of(machine()) == []
    with pytest.raises(Forbidden, match="This API key"):
        accounts.require(key, "bookings.write", HOUSE)


def test_no_key_can_be_given_what_would_outlive_it() -> None:
    assert set(PERMISSIONS) - GRANTABLE == {*INSTALLATION, "keys.write", "members.write", "organizer.write"}


def test_another_organizers_things_are_not_there() -> None:
    class ShowNotFoundHere(Refusal):
        code = "show_not_found"

    stranger = OrganizerId(new_id())
    principals = [Principal(PersonId(new_id()), HOUSE, role, admin=True) for role in get_args(accounts.Role)]
    for principal in [*principals, machine(*PERMISSIONS)]:
        for permission in PERMISSIONS:
            assert not accounts.permits(principal, permission, stranger)
            with pytest.raises(NotFound):
                accounts.require(principal, permission, stranger)
            with pytest.raises(ShowNotFoundHere):
                accounts.require(principal, permission, stranger, missing=ShowNotFoundHere)


def test_nobody_may_do_nothing() -> None:
    for permission in PERMISSIONS:
        assert not accounts.permits(None, permission, HOUSE)
        with pytest.raises(Unauthenticated):
            accounts.require(None, permission, HOUSE)


# What comes in a header


async def test_a_scheme_may_be_written_in_any_case(access: Access) -> None:
    token = access.tokens.issue(PERSON).text.encode()
    for scheme in (b"Bearer ", b"bearer ", b"BEARER  "):
        assert await asked(access, VISITOR, authorization=scheme + token) == PERSON


async def test_nobody_is_nobody(access: Access, readers: Readers) -> None:
    assert accounts.bearer({}) is None
    assert await asked(access, VISITOR) is None
    assert await asked(access, Buyer("bookings.read")) == Caller(None, None)
    with pytest.raises(Unauthenticated):
        await asked(access, Staff())
    assert readers.asked == 0


async def test_a_bookings_secret_is_no_person_and_no_fault(access: Access, readers: Readers) -> None:
    assert accounts.bearer({b"authorization": b"Bearer AAxyz-_123"}) == "AAxyz-_123"
    for text in ("AAxyz-_123", "hf_" + "x" * 26, "hf_AbCd1234_" + "x" * 42):
        given = b"Bearer " + text.encode()
        assert await asked(access, VISITOR, authorization=given) is None
        assert await asked(access, Buyer("bookings.read"), authorization=given) == Caller(None, text)
    assert readers.asked == 0, "a booking's secret may begin as a key does, and is told from it by its length"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic b3duZXI6eA==",
        b"a.b.c",
        b"Bearer a b",
        b"Bearer a, Bearer b",
        b"Bearer \xff",
        b"Bearer a\0",
        b"Bearer a.b.c",
    ],
)
async def test_another_form_of_the_header_is_refused(access: Access, value: bytes) -> None:
    for who in (VISITOR, Buyer("bookings.read"), Staff(), Staff("shows.write")):
        with pytest.raises(Unauthenticated):
            await asked(access, who, authorization=value)
    assert await asked(access, ANYONE, authorization=value) is None


async def test_a_key_gets_where_its_scopes_let_it(access: Access) -> None:
    assert len(KEY) == KEY_LENGTH
    given = b"Bearer " + KEY.encode()
    assert (await asked(access, Staff("shows.write"), authorization=given)).scopes == {"shows.write"}
    assert (await asked(access, VISITOR, authorization=given)).scopes == {"shows.write"}
    for who in (Staff("venues.write"), Buyer("bookings.read"), Staff("jobs.read")):
        with pytest.raises(Forbidden, match="This API key"):
            await asked(access, who, authorization=given)
    with pytest.raises(Forbidden, match="for people"):
        await asked(access, Staff(), authorization=given)
    with pytest.raises(Unauthenticated):
        await asked(access, VISITOR, authorization=given[:-1] + b"y")


async def test_a_cookie_is_believed_where_the_request_comes_from_our_own_pages(
    access: Access, readers: Readers
) -> None:
    who = Staff("shows.write")
    assert await asked(access, who, cookie=b"holdfast=session") == PERSON
    assert await asked(access, who, "POST", cookie=b"holdfast=session") == PERSON
    assert await asked(access, VISITOR, "POST", cookie=b"other=session") is None
    readers.is_cross_site = True
    assert await asked(access, who, cookie=b"holdfast=session") == PERSON
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for whoever in (who, VISITOR, Buyer("bookings.write")):
            with pytest.raises(Forbidden, match="cross site"):
                await asked(access, whoever, method, cookie=b"holdfast=session")


async def test_of_a_token_and_a_cookie_the_token_counts(access: Access, readers: Readers) -> None:
    other = Principal(PersonId(new_id()), HOUSE, "owner")
    readers.is_cross_site = True
    given = bearing(access, other)
    assert await asked(access, Staff(), "POST", authorization=given, cookie=b"holdfast=session") == other
    found = await asked(
        access, Buyer("bookings.read"), authorization=b"Bearer AAx", cookie=b"holdfast=session"
    )
    assert found == Caller(None, "AAx")


async def test_nobody_of_a_suspended_organizer_gets_in(access: Access) -> None:
    access.suspended = frozenset({HOUSE})
    ways: list[dict[str, Any]] = [
        {"authorization": bearing(access)},
        {"authorization": b"Bearer " + KEY.encode()},
        {"cookie": b"holdfast=session"},
    ]
    for given in ways:
        for who in (VISITOR, Buyer("bookings.read"), Staff(), Staff("shows.write")):
            with pytest.raises(OrganizerSuspended):
                await asked(access, who, **given)
    other = Principal(PersonId(new_id()), OrganizerId(new_id()), "owner")
    assert await asked(access, Staff(), authorization=bearing(access, other)) == other


async def test_a_kind_of_route_that_nobody_knows_is_a_fault_and_no_way_in(access: Access) -> None:
    with pytest.raises(AssertionError, match="nobody has said"):
        await asked(access, Who("everybody"), authorization=bearing(access))
