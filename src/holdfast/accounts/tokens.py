"""Access tokens: short-lived JWTs that say who somebody is, signed with Ed25519 under a key derived from the secret.

The header's `alg` is `Ed25519`: RFC 9864 retired the name `EdDSA`, because it left the curve open. No other algorithm
is read, and keys come from `/.well-known/jwks.json` by `kid` (RFC 7638 thumbprints).
"""

import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any, Literal, cast
from uuid import UUID

import msgspec
from joserfc import jwt
from joserfc.jwk import KeySet, OKPKey

from holdfast.platform.errors import Unauthenticated
from holdfast.platform.ids import OrganizerId, PersonId
from holdfast.platform.secret import Secrets

Role = Literal["owner", "manager", "box_office", "door", "viewer"]

ALGORITHM = "Ed25519"
ISSUER = "holdfast"
TOKEN_LENGTH_MAX = 2048
# Checking a signature takes 140 us, so a token once verified is believed for this long, or until it expires.
VERIFIED_SECONDS = 10.0
VERIFIED_MAX = 10_000


class Principal(msgspec.Struct, frozen=True):
    """Who acts for one organizer: a person in a role, or a machine by an API key with its scopes.

    Of `person_id` and `key_id` exactly one is set. `admin`: the person looks after the installation, too.
    """

    person_id: PersonId | None
    organizer_id: OrganizerId
    role: Role | None
    session_id: UUID | None = None
    admin: bool = False
    key_id: UUID | None = None
    scopes: frozenset[str] | None = None

    @property
    def name(self) -> str:
        """`person:<id>` or `key:<id>`: whose idempotency keys, limits and audit entries these are."""
        return f"key:{self.key_id}" if self.person_id is None else f"person:{self.person_id}"


class AccessToken(msgspec.Struct, frozen=True):
    """A fresh token and its life in seconds."""

    text: str
    expires_in: int


class _Claims(msgspec.Struct, frozen=True):
    iss: Literal["holdfast"]
    sub: UUID
    org: UUID
    role: Role
    iat: int
    exp: int
    sid: UUID | None = None
    admin: bool = False


class Tokens:
    """Issues access tokens that live `token_seconds`, and reads those issued under any secret still held.

    `ended`: the sessions whose tokens are believed no more. Whoever looks after it sets it; see sessions.py.
    """

    def __init__(self, secrets: Secrets, *, token_seconds: int, now: Callable[[], float] = time.time) -> None:
        keys = secrets.ed25519("access token").values()
        self._keys = KeySet([OKPKey.import_key(key, {"alg": ALGORITHM, "use": "sig"}) for key in keys])
        self._token_seconds = token_seconds
        self._now = now
        self.ended: AbstractSet[UUID] = frozenset()
        self._verified: dict[str, tuple[Principal, float]] = {}

    def issue(self, principal: Principal) -> AccessToken:
        """A token for this person in this role, signed with the first key."""
        key = self._keys.keys[0]
        now = int(self._now())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": str(principal.person_id),
            "org": str(principal.organizer_id),
            "role": principal.role,
            "iat": now,
            "exp": now + self._token_seconds,
        }
        if principal.session_id is not None:
            claims["sid"] = str(principal.session_id)
        if principal.admin:
            claims["admin"] = True
        text = jwt.encode({"alg": ALGORITHM, "kid": key.kid}, claims, key, algorithms=[ALGORITHM])
        return AccessToken(text, self._token_seconds)

    def read(self, text: str) -> Principal:
        """Who the token speaks of.

        Raises Unauthenticated unless one of our keys signed it, it is still valid, and its session has not ended.
        """
        principal = self._read(text)
        if principal.session_id in self.ended:
            raise Unauthenticated("This session has ended. Sign in again.")
        return principal

    def _read(self, text: str) -> Principal:
        now = self._now()
        known = self._verified.get(text)
        if known is not None:
            principal, until = known
            if now < until:
                return principal
            del self._verified[text]
        claims = self._claims(text)
        if claims.exp <= now:
            raise Unauthenticated("The access token has expired. Sign in again.")
        principal = Principal(
            PersonId(claims.sub), OrganizerId(claims.org), claims.role, claims.sid, claims.admin
        )
        if len(self._verified) >= VERIFIED_MAX:
            # The oldest goes. Only tokens that we signed get in, so a stranger cannot push others out.
            del self._verified[next(iter(self._verified))]
        self._verified[text] = (principal, min(claims.exp, now + VERIFIED_SECONDS))
        return principal

    def public_keys(self) -> dict[str, Any]:
        """The JWK set (RFC 7517) that verifies our tokens: public halves alone, the one that signs first."""
        return cast("dict[str, Any]", self._keys.as_dict(private=False))

    def _claims(self, text: str) -> _Claims:
        try:
            if len(text) > TOKEN_LENGTH_MAX:
                raise ValueError("too long")
            token = jwt.decode(text, self._keys, algorithms=[ALGORITHM])
            return msgspec.convert(token.claims, _Claims)
        except Exception:
            # A stranger's bytes have been through several parsers: whatever one stumbles over, it is not our token.
            raise Unauthenticated("The access token is not valid.") from None
