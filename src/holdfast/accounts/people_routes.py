"""Members and invitations of an organizer over HTTP."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast.accounts import invitations, people
from holdfast.accounts.access import Staff
from holdfast.accounts.audit import audit
from holdfast.accounts.invitations import TOKEN_LENGTH_MAX, AlreadyMember, InvitationNotFound
from holdfast.accounts.passwords import PASSWORD_LENGTH_MAX, fit
from holdfast.accounts.people import EMAIL_LENGTH_MAX, LastOwner, MemberNotFound, RoleOutOfReach
from holdfast.accounts.routes import SIGN_IN_REFUSALS, device_of, reception_of
from holdfast.accounts.second_factor import CODE_LENGTH_MAX
from holdfast.accounts.session_routes import SignedIn, sessions_of, signed_in
from holdfast.accounts.sessions import CrossSite
from holdfast.accounts.signing_in import Proof, SecondFactorRequired
from holdfast.accounts.tokens import Principal, Role
from holdfast.platform import clock
from holdfast.platform.db import Transaction
from holdfast.platform.errors import Conflict
from holdfast.platform.http import ANYONE, Call, Routes, Timestamp
from holdfast.platform.ids import PersonId

READ = Staff("members.read")
WRITE = Staff("members.write")

routes = Routes("members", missing={"person_id": MemberNotFound, "invitation_id": InvitationNotFound})


class MemberJson(msgspec.Struct):
    """Somebody who works for the organizer, since `joined_at`."""

    person_id: UUID
    email: str
    role: Role
    second_factor: bool
    joined_at: Timestamp


class MembersJson(msgspec.Struct):
    members: list[MemberJson]


class RoleChange(msgspec.Struct, forbid_unknown_fields=True):
    """What a member is from now on."""

    role: Role


class InvitationSpec(msgspec.Struct, forbid_unknown_fields=True):
    """Who is to work for the organizer, as what."""

    email: Annotated[str, Meta(min_length=3, max_length=EMAIL_LENGTH_MAX)]
    role: Role


class InvitationJson(msgspec.Struct):
    """An invitation that nobody has accepted yet."""

    id: UUID
    email: str
    role: Role
    created_at: Timestamp
    expires_at: Timestamp


class InvitationsJson(msgspec.Struct):
    invitations: list[InvitationJson]


class InvitationId(msgspec.Struct):
    """The id of what was sent."""

    id: UUID


class InvitationToken(msgspec.Struct, forbid_unknown_fields=True):
    """The token of the link in the letter."""

    token: Annotated[str, Meta(min_length=1, max_length=TOKEN_LENGTH_MAX)]


class InvitedJson(msgspec.Struct):
    """What a link leads to; with `has_account` it is accepted by the password that the person has."""

    organizer_name: str
    email: str
    role: Role
    has_account: bool


class Acceptance(msgspec.Struct, forbid_unknown_fields=True):
    """The token of the link, and a password: a new one, or that of the account which the address has."""

    token: Annotated[str, Meta(min_length=1, max_length=TOKEN_LENGTH_MAX)]
    password: Annotated[str, Meta(min_length=1, max_length=PASSWORD_LENGTH_MAX)]
    code: Annotated[str, Meta(min_length=1, max_length=CODE_LENGTH_MAX)] | None = None


@routes.get("/v1/members", who=READ, answers={200: MembersJson})
async def list_members(call: Call[None]) -> MembersJson:
    """Who works for the organizer."""
    found = await people.members(call.db, call.caller.organizer_id)
    return MembersJson(
        [
            MemberJson(
                each.person_id, each.email, each.role, each.second_factor, clock.rfc3339(each.created_at)
            )
            for each in found
        ]
    )


@routes.patch(
    "/v1/members/{person_id}",
    who=WRITE,
    body=RoleChange,
    answers={204: None},
    refusals=(LastOwner, RoleOutOfReach, CrossSite),
    example={"role": "box_office"},
)
async def change_role(call: Call[RoleChange]) -> None:
    """Give a member another role.

    Where it takes a permission away, the sessions of the member end.
    """
    principal: Principal = call.caller
    person_id = PersonId(call.path["person_id"])
    async with call.db.transaction() as tx:
        before = await people.change_role(tx, principal, person_id, call.body.role)
        await audit(
            tx,
            call,
            "member.role_changed",
            organizer_id=principal.organizer_id,
            subject=person_id,
            before={"role": before},
            after={"role": call.body.role},
        )


@routes.delete(
    "/v1/members/{person_id}",
    who=WRITE,
    answers={204: None},
    refusals=(LastOwner, RoleOutOfReach, CrossSite),
)
async def remove_member(call: Call[None]) -> None:
    """Send a member away.

    Their sessions with this organizer end. The last owner stays.
    """
    principal: Principal = call.caller
    person_id = PersonId(call.path["person_id"])
    async with call.db.transaction() as tx:
        before = await people.remove(tx, principal, person_id)
        await audit(
            tx,
            call,
            "member.removed",
            organizer_id=principal.organizer_id,
            subject=person_id,
            before={"role": before},
        )


@routes.post(
    "/v1/invitations",
    who=WRITE,
    body=InvitationSpec,
    answers={201: InvitationId},
    refusals=(AlreadyMember, RoleOutOfReach, CrossSite),
    once=True,
    example={"email": "door@example.org", "role": "door"},
)
async def create_invitation(call: Call[InvitationSpec], tx: Transaction) -> InvitationId:
    """Invite somebody to work for the organizer.

    They get a letter with a link, which is good for a week and for one use. Inviting the same address again makes the
    link before worthless. Managers invite the box office, the door and viewers; owners invite everybody.
    """
    principal: Principal = call.caller
    reception = reception_of(call)
    invitation_id = await invitations.invite(
        tx,
        reception.secrets,
        principal,
        email=call.body.email,
        role=call.body.role,
        address=reception.settings.address,
    )
    await audit(
        tx,
        call,
        "member.invited",
        organizer_id=principal.organizer_id,
        subject=invitation_id,
        after={"role": call.body.role},
    )
    return InvitationId(invitation_id)


@routes.get("/v1/invitations", who=READ, answers={200: InvitationsJson})
async def list_invitations(call: Call[None]) -> InvitationsJson:
    """Which invitations nobody has accepted yet."""
    found = await invitations.open_invitations(call.db, call.caller.organizer_id)
    return InvitationsJson(
        [
            InvitationJson(
                each.invitation_id,
                each.email,
                each.role,
                clock.rfc3339(each.created_at),
                clock.rfc3339(each.expires_at),
            )
            for each in found
        ]
    )


@routes.delete(
    "/v1/invitations/{invitation_id}", who=WRITE, answers={204: None}, refusals=(RoleOutOfReach, CrossSite)
)
async def withdraw_invitation(call: Call[None]) -> None:
    """Take an invitation back."""
    principal: Principal = call.caller
    invitation_id: UUID = call.path["invitation_id"]
    async with call.db.transaction() as tx:
        role = await invitations.withdraw(tx, principal, invitation_id)
        await audit(
            tx,
            call,
            "member.uninvited",
            organizer_id=principal.organizer_id,
            subject=invitation_id,
            before={"role": role},
        )


@routes.post(
    "/v1/invitations/look",
    who=ANYONE,
    body=InvitationToken,
    answers={200: InvitedJson},
    refusals=(InvitationNotFound,),
    example={"token": "as-the-link-carries-it"},
)
async def look_at_invitation(call: Call[InvitationToken]) -> InvitedJson:
    """See what an invitation leads to, before accepting it."""
    invited = await invitations.found(call.db, call.body.token)
    return InvitedJson(invited.organizer_name, invited.email, invited.role, invited.has_account)


@routes.post(
    "/v1/invitations/accept",
    who=ANYONE,
    body=Acceptance,
    answers={201: SignedIn},
    refusals=(InvitationNotFound, Conflict, CrossSite, *SIGN_IN_REFUSALS),
    example={"token": "as-the-link-carries-it", "password": "a paper boat in the rain"},
)
async def accept_invitation(call: Call[Acceptance]) -> SignedIn:
    """Accept an invitation, and sign in to the console.

    Whoever has an account under the invited address accepts by its password, with `code` where there is a second
    factor; everybody else chooses a password now. Where the organizer asks for a second factor and the person has none,
    they have joined all the same, and the answer is `second_factor_required`: they make one and sign in.
    """
    sessions_of(call).refuse_cross_site(call.headers, strict=False)
    reception, device, wanted = reception_of(call), device_of(call), call.body
    invited = await invitations.found(call.db, wanted.token)
    proof: Proof | None = None
    password_hash: str | None = None
    if invited.has_account:
        proof = await reception.prove(
            email=invited.email, password=wanted.password, code=wanted.code, device=device
        )
    else:
        fit(wanted.password, email=invited.email)
        password_hash = await reception.access.passwords.hash(wanted.password)
    async with reception.db.transaction() as tx:
        person_id = await invitations.accept(
            tx,
            invited,
            person_id=None if proof is None else proof.person_id,
            password_hash=password_hash,
        )
        await audit(
            tx,
            call,
            "member.joined",
            organizer_id=invited.organizer_id,
            subject=person_id,
            after={"role": invited.role},
        )
        try:
            opened = await reception.let_in(
                tx,
                proof or Proof(person_id, strong=False),
                "console",
                device,
                organizer_id=invited.organizer_id,
            )
        except SecondFactorRequired:
            opened = None
    if opened is None:
        # Raised after the commit: who has not joined has no password by which to make a second factor.
        raise SecondFactorRequired
    return signed_in(call, opened)
