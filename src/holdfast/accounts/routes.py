"""Access tokens over HTTP, and who somebody is. `call.state` has `access` (Access) and `reception` (Reception)."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast.accounts.access import OrganizerSuspended, Permission, Staff, permissions_of
from holdfast.accounts.passwords import PASSWORD_LENGTH_MAX
from holdfast.accounts.people import EMAIL_LENGTH_MAX, BadCredentials, member
from holdfast.accounts.second_factor import CODE_LENGTH_MAX, BadCode, SecondFactorNeeded
from holdfast.accounts.sessions import Device, Opened, RefreshRefused
from holdfast.accounts.signing_in import NotAMember, Reception, SecondFactorRequired
from holdfast.accounts.tokens import Principal, Role
from holdfast.platform.http import ANYONE, Answer, Call, Routes
from holdfast.platform.ids import OrganizerId
from holdfast.platform.limits import RateLimited

REFRESH_TOKEN_LENGTH_MAX = 200
# What signing in by password may answer.
SIGN_IN_REFUSALS = (
    BadCredentials,
    SecondFactorNeeded,
    BadCode,
    NotAMember,
    OrganizerSuspended,
    SecondFactorRequired,
    RateLimited,
)
# Verifiers fetch the keys again when they meet an unknown `kid`, so this only saves traffic.
_KEYS_CACHED = b"public, max-age=300"

routes = Routes("auth")


class Credentials(msgspec.Struct, forbid_unknown_fields=True):
    """Who wants to sign in: with `code` where there is a second factor, and to the organizer joined first by default."""

    email: Annotated[str, Meta(min_length=3, max_length=EMAIL_LENGTH_MAX)]
    password: Annotated[str, Meta(min_length=1, max_length=PASSWORD_LENGTH_MAX)]
    code: Annotated[str, Meta(min_length=1, max_length=CODE_LENGTH_MAX)] | None = None
    organizer_id: UUID | None = None


class RefreshToken(msgspec.Struct, forbid_unknown_fields=True):
    """A refresh token, as the answer that gave it."""

    refresh_token: Annotated[str, Meta(min_length=1, max_length=REFRESH_TOKEN_LENGTH_MAX)]


class Token(msgspec.Struct):
    """An access token, to be sent as `Authorization: Bearer <access_token>`; `expires_in` is in seconds.

    `refresh_token` is good for one renewal.
    """

    access_token: str
    expires_in: int
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 -- a word of RFC 6750


class OrganizerJson(msgspec.Struct):
    """An organizer by name."""

    id: UUID
    name: str


class Me(msgspec.Struct):
    """The person who asks, the organizer they act for, what they may do there, and where else they are a member."""

    id: UUID
    email: str
    organizer: OrganizerJson
    role: Role
    permissions: list[Permission]
    organizers: list[OrganizerJson]
    second_factor: bool
    admin: bool
    session_id: UUID | None


class PublicKey(msgspec.Struct):
    """A public key as RFC 8037 writes it."""

    kid: str
    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    alg: Literal["Ed25519"]
    use: Literal["sig"]


class PublicKeys(msgspec.Struct):
    """A JWK set (RFC 7517); the first key signs, the others are still believed."""

    keys: list[PublicKey]


def device_of(call: Call[Any]) -> Device:
    """Where the request comes from."""
    return Device(call.client_ip, call.header("user-agent") or "")


def reception_of(call: Call[Any]) -> Reception:
    """Where people come in; it sees the whole database, whoever calls."""
    reception: Reception = call.state.reception
    return reception


def _token(call: Call[Any], opened: Opened) -> Token:
    token = reception_of(call).access_token(opened)
    return Token(token.text, token.expires_in, opened.secret)


@routes.post(
    "/v1/auth/token",
    who=ANYONE,
    body=Credentials,
    answers={200: Token},
    refusals=SIGN_IN_REFUSALS,
    example={"email": "owner@example.org", "password": "correct horse battery"},
)
async def create_token(call: Call[Credentials]) -> Token:
    """Sign in.

    The access token is a JWT signed with Ed25519. A wrong password and an unknown address have the same answer. Where
    the person has a second factor, the answer without `code` is `second_factor_needed`.
    """
    wanted = call.body
    opened = await reception_of(call).sign_in(
        email=wanted.email,
        password=wanted.password,
        code=wanted.code,
        organizer_id=None if wanted.organizer_id is None else OrganizerId(wanted.organizer_id),
        device=device_of(call),
    )
    return _token(call, opened)


@routes.post(
    "/v1/auth/token/refresh",
    who=ANYONE,
    body=RefreshToken,
    answers={200: Token},
    refusals=(RefreshRefused,),
    example={"refresh_token": "as-the-answer-gave-it"},
)
async def refresh_token(call: Call[RefreshToken]) -> Token:
    """Get new tokens for a refresh token.

    It is used up by that; if the answer is lost, the same one works for ten seconds more. One that was used up
    before that ends the session, because then two hold it, and one of them stole it.
    """
    return _token(call, await reception_of(call).renew(call.body.refresh_token))


@routes.post(
    "/v1/auth/token/revoke",
    who=ANYONE,
    body=RefreshToken,
    answers={204: None},
    example={"refresh_token": "as-the-answer-gave-it"},
)
async def revoke_token(call: Call[RefreshToken]) -> None:
    """End the session of a refresh token.

    Its access tokens are refused within two seconds. A token that is none is no fault.
    """
    await reception_of(call).end_by_token(call.body.refresh_token)


@routes.get("/v1/auth/me", who=Staff(), answers={200: Me})
async def read_me(call: Call[None]) -> Me:
    """Who am I."""
    principal: Principal = call.caller
    me = await member(call.db, principal)
    reception = reception_of(call)
    return Me(
        me.person_id,
        me.email,
        OrganizerJson(me.organizer_id, me.organizer_name),
        me.role,
        permissions_of(msgspec.structs.replace(principal, role=me.role)),
        [OrganizerJson(*organizer) for organizer in await reception.organizers(me.person_id)],
        await reception.has_second_factor(me.person_id),
        me.admin,
        principal.session_id,
    )


@routes.get("/.well-known/jwks.json", who=ANYONE, answers={200: PublicKeys})
async def read_public_keys(call: Call[None]) -> Answer:
    """The keys that verify access tokens."""
    keys = msgspec.convert(call.state.access.tokens.public_keys(), PublicKeys)
    return Answer(200, keys, ((b"cache-control", _KEYS_CACHED),))
