"""Organizers and their people: the first owner, who somebody is, and who works for an organizer in which role."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from holdfast.accounts import sessions
from holdfast.accounts.access import PERMISSIONS
from holdfast.accounts.passwords import fit, hashed
from holdfast.accounts.tokens import Principal, Role
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Conflict, Forbidden, Invalid, NotFound, Refusal, Unauthenticated
from holdfast.platform.ids import OrganizerId, PersonId, new_id

EMAIL_LENGTH_MAX = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets
NAME_LENGTH_MAX = 255
OWNERS_TOLD_MAX = 10

sql = load_queries(__file__)


class BadCredentials(Refusal):
    """The one answer to a wrong password and to an unknown address, so that nobody learns who has an account."""

    code = "bad_credentials"
    status = 401
    title = "The e-mail address or the password is wrong."


class MemberNotFound(NotFound):
    code = "member_not_found"
    title = "Nobody of that id works for this organizer."


class LastOwner(Conflict):
    """Without an owner nobody could ever let anybody in again."""

    code = "last_owner"
    title = "This is the only owner. Make somebody else an owner first."


class RoleOutOfReach(Forbidden):
    """An owner gives and takes every role; a manager those of the box office, the door and viewers."""

    code = "role_out_of_reach"
    title = "You may not give or take this role."


# Whom else somebody in a role may invite, promote and send away.
_REACH: dict[Role, frozenset[Role]] = {
    "owner": frozenset({"owner", "manager", "box_office", "door", "viewer"}),
    "manager": frozenset({"box_office", "door", "viewer"}),
}


@dataclass(frozen=True, slots=True)
class Colleague:
    """A member as the others see them."""

    person_id: PersonId
    email: str
    role: Role
    created_at: datetime
    second_factor: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A person in a role of one organizer."""

    person_id: PersonId
    email: str
    organizer_id: OrganizerId
    organizer_name: str
    role: Role
    admin: bool = False

    @property
    def principal(self) -> Principal:
        """The same without names: what an access token carries."""
        return Principal(self.person_id, self.organizer_id, self.role, admin=self.admin)


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
    """Makes the first organizer and its owner, an admin, too; None, and nothing done, where any organizer exists.

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
    fit(password, email=email)
    password_hash = await asyncio.to_thread(hashed, password)
    await tx.execute(sql.lock_organizers)
    if await tx.value(sql.organizer_exists):
        return None
    owner = Member(PersonId(new_id()), email, OrganizerId(new_id()), name, "owner", admin=True)
    await tx.execute(sql.add_organizer, owner.organizer_id, name)
    await tx.execute(sql.add_admin, owner.person_id, email, password_hash)
    await tx.execute(sql.add_member, owner.organizer_id, owner.person_id, owner.role)
    return owner


async def first_owner(db: Database | Transaction) -> Member | None:
    """The oldest owner of the oldest organizer; None on an empty database."""
    row = await db.row(sql.first_owner)
    return None if row is None else _member(row)


async def owner_addresses(db: Database | Transaction, organizer_id: OrganizerId) -> list[str]:
    """Where the owners of an organizer are written to: at most OWNERS_TOLD_MAX of them."""
    return [row["email"] for row in await db.rows(sql.owner_addresses, organizer_id, OWNERS_TOLD_MAX)]


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
        row["admin"],
    )


async def members(db: Database, organizer_id: OrganizerId) -> list[Colleague]:
    """Everybody who works for the organizer, by address."""
    return [Colleague(**row) for row in await db.rows(sql.members_of, organizer_id)]


def require_reach(principal: Principal, *roles: Role) -> None:
    """Raises RoleOutOfReach unless this person may give and take each of the roles; a machine never may."""
    if not reach_of(principal).issuperset(roles):
        raise RoleOutOfReach


def reach_of(principal: Principal) -> frozenset[Role]:
    """The roles that this person may give and take; none for a machine."""
    if principal.person_id is None or principal.role is None:
        return frozenset()
    return _REACH.get(principal.role, frozenset())


async def change_role(tx: Transaction, principal: Principal, person_id: PersonId, role: Role) -> Role:
    """Gives a member another role; the one they had.

    Where it takes a permission away, their sessions end, and the invitations that they sent are worthless.

    Raises MemberNotFound, RoleOutOfReach for either role, and LastOwner.
    """
    before = await _locked_role(tx, principal, person_id, stays_owner=role == "owner")
    require_reach(principal, before, role)
    if role != before:
        await tx.execute(sql.set_role, principal.organizer_id, person_id, role)
        if any(before in holders and role not in holders for holders in PERMISSIONS.values()):
            await _end(tx, principal.organizer_id, person_id)
    return before


async def remove(tx: Transaction, principal: Principal, person_id: PersonId) -> Role:
    """Ends a membership, its sessions and the invitations sent in it; the role that it had. Oneself, one may always.

    Raises MemberNotFound, RoleOutOfReach, and LastOwner.
    """
    before = await _locked_role(tx, principal, person_id, stays_owner=False)
    if person_id != principal.person_id:
        require_reach(principal, before)
    await tx.execute(sql.remove_member, principal.organizer_id, person_id)
    await _end(tx, principal.organizer_id, person_id)
    return before


async def _end(tx: Transaction, organizer_id: OrganizerId, person_id: PersonId) -> None:
    # Whoever is about to be sent away must not be able to invite themselves back.
    await tx.execute(sql.withdraw_invitations_by, organizer_id, person_id)
    await sessions.end_of_member(tx, organizer_id, person_id)


async def _locked_role(
    tx: Transaction, principal: Principal, person_id: PersonId, *, stays_owner: bool
) -> Role:
    rows = await tx.rows(sql.lock_members, principal.organizer_id)
    roles: dict[PersonId, Role] = {row["person_id"]: row["role"] for row in rows}
    # A token or a cookie may be some seconds behind: the role that counts is the one of now.
    if principal.person_id is None or roles.get(principal.person_id) != principal.role:
        raise RoleOutOfReach
    before = roles.get(person_id)
    if before is None:
        raise MemberNotFound
    if before == "owner" and not stays_owner and list(roles.values()).count("owner") == 1:
        raise LastOwner
    return before
