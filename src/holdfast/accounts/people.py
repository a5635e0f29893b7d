"""Organizers and their people: the first owner, signing in, and who somebody is."""

import asyncio
from dataclasses import dataclass

from holdfast.accounts.access import Access
from holdfast.accounts.passwords import PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN, hashed
from holdfast.accounts.tokens import AccessToken, Principal, Role
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Invalid, Refusal, Unauthenticated
from holdfast.platform.ids import OrganizerId, PersonId, new_id

EMAIL_LENGTH_MAX = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets
NAME_LENGTH_MAX = 255

sql = load_queries(__file__)


class BadCredentials(Refusal):
    """The one answer to a wrong password and to an unknown address, so that nobody learns who has an account."""

    code = "bad_credentials"
    status = 401
    title = "The e-mail address or the password is wrong."


@dataclass(frozen=True, slots=True)
class Member:
    """A person in a role of one organizer."""

    person_id: PersonId
    email: str
    organizer_id: OrganizerId
    organizer_name: str
    role: Role

    @property
    def principal(self) -> Principal:
        """The same without names: what an access token carries."""
        return Principal(self.person_id, self.organizer_id, self.role)


def normal_email(text: str) -> str:
    """The address in lower case. Raises Invalid (pointer `/email`) for what cannot be one; only mail can prove more."""
    local, _, domain = text.partition("@")
    if len(text) > EMAIL_LENGTH_MAX:
        raise Invalid(f"An e-mail address has at most {EMAIL_LENGTH_MAX} characters.", pointer="/email")
    if not local or not domain or "@" in domain or " " in text or not text.isprintable():
        raise Invalid(
            "An e-mail address has one @ with something on both sides, and no spaces.", pointer="/email"
        )
    return text.lower()


async def create_owner(tx: Transaction, *, organizer_name: str, email: str, password: str) -> Member | None:
    """Makes the first organizer and its owner; None, and nothing done, where any organizer exists.

    Several may try at once: one succeeds. Raises Invalid for a name of 0 or over 255 characters, an address that cannot
    be one, or a password of under 8 or over 1,000 characters.
    """
    if await tx.value(sql.organizer_exists):
        return None
    name = organizer_name.strip()
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise Invalid(
            f"An organizer's name has 1 to {NAME_LENGTH_MAX} printable characters.", pointer="/organizer_name"
        )
    email = normal_email(email)
    if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX:
        raise Invalid(
            f"A password has {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters.", pointer="/password"
        )
    password_hash = await asyncio.to_thread(hashed, password)
    await tx.execute(sql.lock_organizers)
    if await tx.value(sql.organizer_exists):
        return None
    owner = Member(PersonId(new_id()), email, OrganizerId(new_id()), name, "owner")
    await tx.execute(sql.add_organizer, owner.organizer_id, name)
    await tx.execute(sql.add_person, owner.person_id, email, password_hash)
    await tx.execute(sql.add_member, owner.organizer_id, owner.person_id, owner.role)
    return owner


async def first_owner(db: Database | Transaction) -> Member | None:
    """The oldest owner of the oldest organizer; None on an empty database."""
    row = await db.row(sql.first_owner)
    return None if row is None else _member(row)


async def sign_in(db: Database, access: Access, *, email: str, password: str) -> AccessToken:
    """An access token for the person with this address and password, in the organizer that they joined first.

    Raises BadCredentials, in the same time whether the address or the password is wrong; Invalid for an address that
    cannot be one; Busy when too many sign in at once.
    """
    email = normal_email(email)
    row = await db.row(sql.credentials, email)
    if not await access.passwords.match(password, None if row is None else row["password_hash"]):
        raise BadCredentials
    assert row is not None
    principal = Principal(PersonId(row["person_id"]), OrganizerId(row["organizer_id"]), row["role"])
    return access.tokens.issue(principal)


async def member(db: Database, principal: Principal) -> Member:
    """The person behind a principal, in their present role. Raises Unauthenticated when they are no longer a member."""
    row = await db.row(sql.member, principal.organizer_id, principal.person_id)
    if row is None:
        raise Unauthenticated("You are no longer a member of this organizer.")
    return _member(row)


def _member(row: Record) -> Member:
    return Member(
        PersonId(row["person_id"]),
        row["email"],
        OrganizerId(row["organizer_id"]),
        row["organizer_name"],
        row["role"],
    )
