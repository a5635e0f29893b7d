"""Signing in and out of the console, sessions, passwords, second factors, and other providers, over HTTP.

`call.state` has `reception` (Reception), `sessions` (Sessions), `oidc` (Oidc). What concerns a person, and not one of
their organizers, is done on the reception's database, which sees all of it.
"""

from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast.accounts import recovery, second_factor, sessions
from holdfast.accounts.access import OrganizerSuspended, Staff
from holdfast.accounts.audit import audit
from holdfast.accounts.oidc import AWAY_SECONDS, OidcOff, OidcRefused
from holdfast.accounts.passwords import PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN, fit
from holdfast.accounts.people import EMAIL_LENGTH_MAX, BadCredentials
from holdfast.accounts.recovery import TOKEN_LENGTH_MAX, ResetNotFound
from holdfast.accounts.routes import SIGN_IN_REFUSALS, Credentials, device_of, reception_of
from holdfast.accounts.second_factor import (
    CODE_LENGTH_MAX,
    BadCode,
    NoSecondFactor,
    SecondFactorExists,
    SecondFactorNeeded,
)
from holdfast.accounts.sessions import CrossSite, Kind, Opened, SessionNotFound, Sessions
from holdfast.accounts.signing_in import NotAMember
from holdfast.accounts.tokens import Principal, Role
from holdfast.platform import clock
from holdfast.platform.db import Transaction
from holdfast.platform.http import ANYONE, Answer, Call, Routes, Timestamp
from holdfast.platform.ids import OrganizerId, PersonId
from holdfast.platform.limits import RateLimited

CONSOLE = "/console"

routes = Routes("sessions", missing={"session_id": SessionNotFound})

NewPassword = Annotated[str, Meta(min_length=PASSWORD_LENGTH_MIN, max_length=PASSWORD_LENGTH_MAX)]
OldPassword = Annotated[str, Meta(min_length=1, max_length=PASSWORD_LENGTH_MAX)]
Code = Annotated[str, Meta(min_length=1, max_length=CODE_LENGTH_MAX)]
Email = Annotated[str, Meta(min_length=3, max_length=EMAIL_LENGTH_MAX)]


class SignedIn(msgspec.Struct):
    """Who signed in, and where; the cookie of the answer lasts `expires_in` seconds at most."""

    person_id: UUID
    organizer_id: UUID
    role: Role
    session_id: UUID
    expires_in: int


class SessionJson(msgspec.Struct):
    """A session: `kind` is `console` (a cookie) or `api` (tokens); `address` is the network that it was made from."""

    id: UUID
    kind: Kind
    organizer_id: UUID
    organizer_name: str
    device: str
    address: str
    created_at: Timestamp
    used_at: Timestamp
    current: bool


class SessionsJson(msgspec.Struct):
    sessions: list[SessionJson]


class PasswordChange(msgspec.Struct, forbid_unknown_fields=True):
    """The password that is, and the one that is to be."""

    old_password: OldPassword
    password: NewPassword


class PasswordForgotten(msgspec.Struct, forbid_unknown_fields=True):
    """Whose password was forgotten."""

    email: Email


class PasswordReset(msgspec.Struct, forbid_unknown_fields=True):
    """The token of the link in the letter, and the new password."""

    token: Annotated[str, Meta(min_length=1, max_length=TOKEN_LENGTH_MAX)]
    password: NewPassword


class Owner(msgspec.Struct, forbid_unknown_fields=True):
    """Who wants a second factor; the password is asked for even of those who have signed in."""

    email: Email
    password: OldPassword


class OwnerWithCode(msgspec.Struct, forbid_unknown_fields=True):
    """The same, with a code of the authenticator app or a recovery code."""

    email: Email
    password: OldPassword
    code: Code


class EnrolmentJson(msgspec.Struct):
    """What goes into the authenticator app: by the QR code of `uri`, or `secret` by hand. Told once."""

    secret: str
    uri: str


class RecoveryCodes(msgspec.Struct):
    """For whoever loses the device: each works once in place of a code. Told once."""

    recovery_codes: list[str]


def sessions_of(call: Call[Any]) -> Sessions:
    """What tells whose cookie it is."""
    found: Sessions = call.state.sessions
    return found


def signed_in(call: Call[Any], opened: Opened) -> SignedIn:
    """Gives the cookie of a session of the console, and says who signed in."""
    call.add_header("set-cookie", sessions_of(call).set_cookie(opened))
    principal = opened.principal
    assert principal.person_id is not None and principal.role is not None
    assert principal.session_id is not None
    return SignedIn(
        principal.person_id,
        principal.organizer_id,
        principal.role,
        principal.session_id,
        opened.seconds_max,
    )


async def audit_person(tx: Transaction, call: Call[Any], action: str, person_id: PersonId) -> None:
    """Tells every organizer that the person works for what they did with their own account."""
    for organizer_id, _ in await reception_of(call).organizers(person_id, tx):
        await audit(tx, call, action, organizer_id=organizer_id, subject=person_id)


@routes.post(
    "/v1/auth/session",
    who=ANYONE,
    body=Credentials,
    answers={201: SignedIn},
    refusals=(*SIGN_IN_REFUSALS, CrossSite),
    example={"email": "owner@example.org", "password": "correct horse battery"},
)
async def create_session(call: Call[Credentials]) -> SignedIn:
    """Sign in to the console.

    The answer sets the cookie of the session. With the cookie, requests that change something must come from a page of
    the same origin; others answer `cross_site`.
    """
    sessions_of(call).refuse_cross_site(call.headers, strict=False)
    wanted = call.body
    opened = await reception_of(call).sign_in(
        email=wanted.email,
        password=wanted.password,
        code=wanted.code,
        organizer_id=None if wanted.organizer_id is None else OrganizerId(wanted.organizer_id),
        device=device_of(call),
        kind="console",
    )
    return signed_in(call, opened)


@routes.delete("/v1/auth/session", who=Staff(), answers={204: None}, refusals=(CrossSite,))
async def end_session(call: Call[None]) -> None:
    """Sign out."""
    principal: Principal = call.caller
    reception = reception_of(call)
    async with reception.db.transaction() as tx:
        if principal.session_id is not None:
            with suppress(SessionNotFound):
                await reception.end(tx, principal, principal.session_id)
    call.add_header("set-cookie", sessions_of(call).clear_cookie())


@routes.get("/v1/auth/sessions", who=Staff(), answers={200: SessionsJson})
async def list_sessions(call: Call[None]) -> SessionsJson:
    """Where am I signed in."""
    principal: Principal = call.caller
    found = await reception_of(call).sessions(principal)
    return SessionsJson(
        [
            SessionJson(
                each.session_id,
                each.kind,
                each.organizer_id,
                each.organizer_name,
                each.device,
                each.address,
                clock.rfc3339(each.created_at),
                clock.rfc3339(each.used_at),
                each.session_id == principal.session_id,
            )
            for each in found
        ]
    )


@routes.delete("/v1/auth/sessions/{session_id}", who=Staff(), answers={204: None}, refusals=(CrossSite,))
async def end_one_session(call: Call[None]) -> None:
    """End one of my sessions.

    Its cookie and its tokens are refused everywhere within ten seconds, and mostly at once.
    """
    reception = reception_of(call)
    async with reception.db.transaction() as tx:
        await reception.end(tx, call.caller, call.path["session_id"])


@routes.delete("/v1/auth/sessions", who=Staff(), answers={204: None}, refusals=(CrossSite,))
async def end_other_sessions(call: Call[None]) -> None:
    """End all my sessions but this one."""
    principal: Principal = call.caller
    async with reception_of(call).db.transaction() as tx:
        assert principal.person_id is not None
        await sessions.end_all(tx, principal.person_id, but=principal.session_id)


@routes.post(
    "/v1/auth/password",
    who=Staff(),
    body=PasswordChange,
    answers={204: None},
    refusals=(BadCredentials, RateLimited, CrossSite),
    example={"old_password": "correct horse battery", "password": "a paper boat in the rain"},
)
async def change_password(call: Call[PasswordChange]) -> None:
    """Change my password.

    My other sessions end.
    """
    principal: Principal = call.caller
    reception = reception_of(call)
    email = await reception.email_of(principal)
    known = await reception.check_password(email, call.body.old_password, device_of(call))
    fit(call.body.password, email=email)
    password_hash = await reception.access.passwords.hash(call.body.password)
    async with reception.db.transaction() as tx:
        if not await recovery.change(
            tx,
            reception.secrets,
            known.person_id,
            email=email,
            password_hash=password_hash,
            instead_of=known.password_hash,
            keep=principal.session_id,
            address=reception.settings.address,
        ):
            raise BadCredentials
        await audit_person(tx, call, "person.password_changed", known.person_id)


@routes.post(
    "/v1/auth/password/forgot",
    who=ANYONE,
    body=PasswordForgotten,
    answers={202: None},
    refusals=(RateLimited,),
    example={"email": "owner@example.org"},
)
async def forget_password(call: Call[PasswordForgotten]) -> None:
    """Have a link sent that sets a new password.

    The answer is the same whether the address has an account or not.
    """
    reception = reception_of(call)
    await reception.count_letter(call.body.email, device_of(call))
    async with reception.db.transaction() as tx:
        await recovery.forgot(tx, reception.secrets, call.body.email)


@routes.post(
    "/v1/auth/password/reset",
    who=ANYONE,
    body=PasswordReset,
    answers={204: None},
    refusals=(ResetNotFound, RateLimited),
    example={"token": "as-the-link-carries-it", "password": "a paper boat in the rain"},
)
async def reset_password(call: Call[PasswordReset]) -> None:
    """Set a new password by the link of the letter.

    It works once. All sessions of the person end; a second factor stays.
    """
    reception = reception_of(call)
    await reception.count_guess(device_of(call))
    reset = await recovery.proved(
        reception.db, reception.access.passwords, token=call.body.token, password=call.body.password
    )
    async with reception.db.transaction() as tx:
        await recovery.reset(tx, reception.secrets, reset, address=reception.settings.address)
        await audit_person(tx, call, "person.password_reset", reset.person_id)


@routes.post(
    "/v1/auth/second-factor",
    who=ANYONE,
    body=Owner,
    answers={201: EnrolmentJson},
    refusals=(BadCredentials, SecondFactorExists, RateLimited),
    example={"email": "owner@example.org", "password": "correct horse battery"},
)
async def create_second_factor(call: Call[Owner]) -> EnrolmentJson:
    """Make a second factor.

    It waits for its first code, at `/v1/auth/second-factor/confirm`. No session is needed, since an organizer may ask
    for a second factor before it lets anybody in.
    """
    reception = reception_of(call)
    known = await reception.check_password(call.body.email, call.body.password, device_of(call))
    async with reception.db.transaction() as tx:
        made = await second_factor.enrol(tx, reception.secrets, known.person_id, known.email)
    return EnrolmentJson(made.secret, made.uri)


@routes.post(
    "/v1/auth/second-factor/confirm",
    who=ANYONE,
    body=OwnerWithCode,
    answers={200: RecoveryCodes},
    refusals=(BadCredentials, BadCode, NoSecondFactor, RateLimited),
    example={"email": "owner@example.org", "password": "correct horse battery", "code": "123456"},
)
async def confirm_second_factor(call: Call[OwnerWithCode]) -> RecoveryCodes:
    """Begin to use the second factor, by its first code."""
    reception = reception_of(call)
    known = await reception.check_password(call.body.email, call.body.password, device_of(call))
    async with reception.db.transaction() as tx:
        codes = await second_factor.confirm(tx, reception.secrets, known.person_id, call.body.code)
        await audit_person(tx, call, "person.second_factor_added", known.person_id)
    return RecoveryCodes(codes)


@routes.post(
    "/v1/auth/second-factor/remove",
    who=ANYONE,
    body=OwnerWithCode,
    answers={204: None},
    refusals=(BadCredentials, SecondFactorNeeded, BadCode, NoSecondFactor, RateLimited),
    example={"email": "owner@example.org", "password": "correct horse battery", "code": "123456"},
)
async def remove_second_factor(call: Call[OwnerWithCode]) -> None:
    """Sign in by password alone again."""
    reception = reception_of(call)
    wanted = call.body
    proof = await reception.prove(
        email=wanted.email, password=wanted.password, code=wanted.code, device=device_of(call)
    )
    async with reception.db.transaction() as tx:
        await second_factor.remove(tx, proof.person_id)
        await audit_person(tx, call, "person.second_factor_removed", proof.person_id)


@routes.get("/v1/auth/oidc/start", who=ANYONE, answers={303: None}, refusals=(OidcOff,))
async def start_oidc(call: Call[None]) -> Answer:
    """Go to the other provider to sign in."""
    departure = await call.state.oidc.depart()
    cookie = sessions_of(call).passing_cookie(departure.cookie, AWAY_SECONDS)
    return Answer(303, None, ((b"location", departure.location.encode("ascii")), (b"set-cookie", cookie)))


@routes.get(
    "/v1/auth/oidc/callback",
    who=ANYONE,
    query=None,
    answers={303: None},
    refusals=(OidcOff, OidcRefused, NotAMember, OrganizerSuspended),
)
async def finish_oidc(call: Call[None]) -> Answer:
    """Come back from the other provider.

    Signs in the member with the address that the provider has verified, or whoever is invited under it.
    """
    keeper = sessions_of(call)
    # The cookie is good for one way back, whatever comes of it.
    call.add_header("set-cookie", keeper.passing_cookie("", 0).decode())
    query = call.scope["query_string"].decode("latin-1")
    identity = await call.state.oidc.arrive(keeper.passed(call.headers), query)
    reception = reception_of(call)
    async with reception.db.transaction() as tx:
        arrival = await reception.welcome(tx, identity, device_of(call))
        for invited in arrival.joined:
            await audit(
                tx,
                call,
                "member.joined",
                organizer_id=invited.organizer_id,
                subject=arrival.opened.principal.person_id,
                after={"role": invited.role},
            )
        if arrival.is_first:
            # From now on the provider opens this account, which may have had a password until now.
            person_id = arrival.opened.principal.person_id
            assert person_id is not None
            await audit_person(tx, call, "person.identity_added", person_id)
    call.add_header("set-cookie", keeper.set_cookie(arrival.opened))
    return Answer(303, None, ((b"location", (reception.settings.address + CONSOLE).encode("ascii")),))
