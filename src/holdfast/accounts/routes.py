"""Signing in over HTTP. `call.state` has `db` (Database) and `access` (Access)."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast.accounts.access import PERMISSIONS, Permission, Staff
from holdfast.accounts.passwords import PASSWORD_LENGTH_MAX
from holdfast.accounts.people import EMAIL_LENGTH_MAX, BadCredentials, member, sign_in
from holdfast.accounts.tokens import Principal, Role
from holdfast.platform.http import ANYONE, Answer, Call, Routes

# Verifiers fetch the keys again when they meet an unknown `kid`, so this only saves traffic.
_KEYS_CACHED = b"public, max-age=300"

routes = Routes("auth")


class Credentials(msgspec.Struct, forbid_unknown_fields=True):
    """Who wants to sign in."""

    email: Annotated[str, Meta(min_length=3, max_length=EMAIL_LENGTH_MAX)]
    password: Annotated[str, Meta(min_length=1, max_length=PASSWORD_LENGTH_MAX)]


class Token(msgspec.Struct):
    """An access token, to be sent as `Authorization: Bearer <access_token>`; `expires_in` is in seconds."""

    access_token: str
    expires_in: int
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 -- a word of RFC 6750


class OrganizerJson(msgspec.Struct):
    """An organizer by name."""

    id: UUID
    name: str


class Me(msgspec.Struct):
    """The person who asks, the organizer they act for, and what they may do there."""

    id: UUID
    email: str
    organizer: OrganizerJson
    role: Role
    permissions: list[Permission]


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


@routes.post(
    "/v1/auth/token",
    who=ANYONE,
    body=Credentials,
    answers={200: Token},
    refusals=(BadCredentials,),
    example={"email": "owner@example.org", "password": "correct horse battery"},
)
async def create_token(call: Call[Credentials]) -> Token:
    """Sign in.

    The answer is a JWT signed with Ed25519. A wrong password and an unknown address have the same answer.
    """
    token = await sign_in(call.db, call.state.access, email=call.body.email, password=call.body.password)
    return Token(token.text, token.expires_in)


@routes.get("/v1/auth/me", who=Staff(), answers={200: Me})
async def read_me(call: Call[None]) -> Me:
    """Who am I."""
    principal: Principal = call.caller
    me = await member(call.db, principal)
    return Me(
        me.person_id,
        me.email,
        OrganizerJson(me.organizer_id, me.organizer_name),
        me.role,
        [permission for permission, roles in PERMISSIONS.items() if me.role in roles],
    )


@routes.get("/.well-known/jwks.json", who=ANYONE, answers={200: PublicKeys})
async def read_public_keys(call: Call[None]) -> Answer:
    """The keys that verify access tokens."""
    keys = msgspec.convert(call.state.access.tokens.public_keys(), PublicKeys)
    return Answer(200, keys, ((b"cache-control", _KEYS_CACHED),))
