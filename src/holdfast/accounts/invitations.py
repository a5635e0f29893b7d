"""Invitations: how staff come to an organizer. A link by mail, for one address, one role and one use, good for a week.

Whoever holds the link has shown that the address is theirs. A person who has an account here signs in with it; a new one
chooses a password. Of the link's 256 random bits the database has the SHA-256 alone.
"""

import secrets as random
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from holdfast.accounts.people import RoleOutOfReach, normal_email, reach_of, require_reach
from holdfast.accounts.tokens import Principal, Role
from holdfast.platform import mail
from holdfast.platform.db import Database, Record, Transaction, UniqueViolation, load_queries
from holdfast.platform.errors import Conflict, NotFound
from holdfast.platform.ids import OrganizerId, PersonId, new_id
from holdfast.platform.secret import Secrets

INVITATION_SECONDS = 7 * 86_400
TOKEN_BYTES = 32
TOKEN_LENGTH_MAX = 100

sql = load_queries(__file__)

LETTER = """Hello,

{organizer} would like you to work with them in Holdfast, as {role}.

Open this link to accept. It works once, and until a week from now:

{link}

If you did not expect this, you need do nothing: without the link nothing happens.
"""
_ROLE_NAMES: dict[Role, str] = {
    "owner": "an owner, who may do everything",
    "manager": "a manager, who runs the shows",
    "box_office": "a member of the box office",
    "door": "a member of the door staff",
    "viewer": "a viewer, who may look and change nothing",
}


class InvitationNotFound(NotFound):
    """Never made, accepted already, withdrawn, or older than a week: one answer to all of these."""

    code = "invitation_not_found"
    title = "This invitation is not good any more. Ask for another."


class AlreadyMember(Conflict):
    code = "already_member"
    title = "This person works for the organizer already."


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation that nobody has accepted yet."""

    invitation_id: UUID
    email: str
    role: Role
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Invited:
    """What a link leads to; `has_account`: they accept with the password that they have."""

    invitation_id: UUID
    organizer_id: OrganizerId
    organizer_name: str
    email: str
    role: Role
    has_account: bool


async def invite(
    tx: Transaction, secrets: Secrets, principal: Principal, *, email: str, role: Role, address: str
) -> UUID:
    """Sends a link to `email`, in place of one sent there before; the invitation's id.

    It is to the principal's organizer; `address` is where people find this installation. Raises RoleOutOfReach for the
    role, and for that of the invitation which it would take the place of; AlreadyMember; and Invalid for an address that no mail can go to.
    """
    require_reach(principal, role)
    organizer_id = principal.organizer_id
    email = normal_email(email)
    if await tx.value(sql.is_member, organizer_id, email):
        raise AlreadyMember
    token = random.token_urlsafe(TOKEN_BYTES)
    invitation_id = new_id()
    if not await tx.execute(
        sql.add_invitation,
        invitation_id,
        organizer_id,
        email,
        role,
        _hash(token),
        principal.person_id,
        INVITATION_SECONDS,
        sorted(reach_of(principal)),
    ):
        raise RoleOutOfReach
    organizer = await tx.value(sql.organizer_name, organizer_id)
    await mail.post(
        tx,
        secrets,
        to=email,
        subject=f"{organizer} invites you",
        # Behind the #, so that the token stands in no log of a server or a proxy, and in no Referer.
        text=LETTER.format(
            organizer=organizer, role=_ROLE_NAMES[role], link=f"{address}/console/accept#token={token}"
        ),
    )
    return invitation_id


async def open_invitations(db: Database, organizer_id: OrganizerId) -> list[Invitation]:
    """Those that nobody has accepted yet, the oldest first."""
    return [Invitation(**row) for row in await db.rows(sql.invitations_of, organizer_id)]


async def withdraw(tx: Transaction, principal: Principal, invitation_id: UUID) -> Role:
    """The link opens nothing any more; the role that it would have given. Raises InvitationNotFound, RoleOutOfReach."""
    role: Role | None = await tx.value(sql.withdraw_invitation, principal.organizer_id, invitation_id)
    if role is None:
        raise InvitationNotFound
    require_reach(principal, role)
    return role


async def found(db: Database, token: str) -> Invited:
    """What the link with this token leads to. Raises InvitationNotFound."""
    row = await db.row(sql.invitation_by_token, _hash(token))
    if row is None:
        raise InvitationNotFound
    return _invited(row, await db.row(sql.person_by_email, row["email"]) is not None)


async def to_address(db: Database | Transaction, email: str) -> list[Invited]:
    """The open invitations to an address that somebody has shown to be theirs."""
    known = await db.row(sql.person_by_email, email) is not None
    return [_invited(row, known) for row in await db.rows(sql.invitations_to, email)]


async def accept(
    tx: Transaction, invited: Invited, *, person_id: PersonId | None, password_hash: str | None = None
) -> PersonId:
    """Uses the invitation up and makes the membership: for this person, or for a new one with the invited address.

    Raises InvitationNotFound when somebody was quicker.
    """
    if not await tx.execute(sql.take_invitation, invited.invitation_id):
        raise InvitationNotFound
    if person_id is None:
        person_id = PersonId(new_id())
        try:
            await tx.execute(sql.add_person, person_id, invited.email, password_hash)
        except UniqueViolation:
            # Another invitation of theirs was accepted in this moment.
            raise Conflict("You have an account now. Accept with its password.") from None
    await tx.execute(sql.join_member, invited.organizer_id, person_id, invited.role)
    return person_id


async def prune_invitations(db: Database) -> int:
    """Forgets invitations that nobody accepted in time; says how many. Raises Busy."""
    return await db.execute(sql.invitations_pruned)


def _invited(row: Record, has_account: bool) -> Invited:
    return Invited(
        row["invitation_id"],
        OrganizerId(row["organizer_id"]),
        row["organizer_name"],
        row["email"],
        row["role"],
        has_account,
    )


def _hash(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
