"""Customers' access tokens: JWTs of their own kind, signed by keys of their own, so that none is ever taken for staff's."""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from joserfc import jwt
from joserfc.jwk import KeySet, OKPKey

from holdfast.accounts.tokens import ALGORITHM, ISSUER, TOKEN_LENGTH_MAX, AccessToken
from holdfast.platform.errors import Unauthenticated
from holdfast.platform.ids import CustomerId
from holdfast.platform.secret import Secrets

AUDIENCE = "customer"
# RFC 8725, section 3.11: what a token is for stands in its header.
TYPE = "customer+jwt"
# A customer comes back within the day; whoever comes later asks for another link.
SECONDS = 86_400


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    aud: str
    sub: UUID
    iat: int
    exp: int


class CustomerTokens:
    """Issues and reads tokens that live SECONDS. Whether the account is still there is for the reader to see."""

    def __init__(self, secrets: Secrets, *, now: Callable[[], float] = time.time) -> None:
        keys = secrets.ed25519("customer token").values()
        self._keys = KeySet([OKPKey.import_key(key, {"alg": ALGORITHM, "use": "sig"}) for key in keys])
        self._now = now
        # One key has one header, so whose token a text is can be seen before anything of it is decoded.
        self._heads = frozenset(self._signed({}, key).partition(".")[0] for key in self._keys.keys)

    def issue(self, customer_id: CustomerId) -> AccessToken:
        """A token for this customer, signed with the first key."""
        now = int(self._now())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": str(customer_id), "iat": now, "exp": now + SECONDS}
        return AccessToken(self._signed(claims, self._keys.keys[0]), SECONDS)

    def made(self, text: str) -> bool:
        """Whether the text begins as our tokens for customers do. It says nothing of whether it is good."""
        return text.partition(".")[0] in self._heads

    def read(self, text: str) -> CustomerId:
        """Who the token speaks of. Raises Unauthenticated unless one of our keys signed it and it is still valid."""
        try:
            if len(text) > TOKEN_LENGTH_MAX:
                raise ValueError("too long")
            claims = msgspec.convert(jwt.decode(text, self._keys, algorithms=[ALGORITHM]).claims, _Claims)
        except Exception:
            # A stranger's bytes have been through several parsers: whatever one stumbles over, it is not our token.
            raise Unauthenticated("The access token is not valid.") from None
        if (claims.iss, claims.aud) != (ISSUER, AUDIENCE):
            raise Unauthenticated("The access token is not valid.")
        if claims.exp <= self._now():
            raise Unauthenticated("The access token has expired. Ask for another link.")
        return CustomerId(claims.sub)

    @staticmethod
    def _signed(claims: dict[str, Any], key: Any) -> str:
        header = {"alg": ALGORITHM, "kid": key.kid, "typ": TYPE}
        return jwt.encode(header, claims, key, algorithms=[ALGORITHM])
