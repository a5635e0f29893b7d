"""Keys and unguessable links, all derived from one secret, so that there is one thing to keep and to rotate.

Each purpose has keys of its own (HKDF, RFC 5869), so what was signed for one never passes for another. While a secret
is being rotated the setting is `new,old`: the first signs, every one verifies.
"""

import hmac
import secrets
from binascii import b2a_base64
from collections.abc import Sequence
from hashlib import blake2b
from string import ascii_letters, digits
from typing import NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from holdfast.platform.settings import BadSetting

SECRET_LENGTH_MIN = 32
SECRETS_MAX = 8
# 160 bits: as many as nobody will ever guess, and short enough for a link.
SIGNATURE_BYTES = 20
VERSION_LENGTH = 2
TOKEN_LENGTH = VERSION_LENGTH + 27

_VERSION_ALPHABET = ascii_letters + digits
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_KEY_BYTES = 32
_NONCE_BYTES = 12  # NIST SP 800-38D, section 8.2.2


def generate() -> str:
    """A fresh secret of 256 random bits, fit for `HOLDFAST_SECRET_KEY`."""
    return secrets.token_urlsafe(_KEY_BYTES)


class Unsealable(Exception):
    """What was sealed under a secret that is no longer held, for something else, or was changed since."""


class Resealed(NamedTuple):
    """What came of sealing a piece of a table again: the last row looked at, None behind the end, and how many rows
    could not be read by any secret held, which were left as they are.
    """

    last: UUID | None
    unreadable: int


class Secrets:
    """What one `HOLDFAST_SECRET_KEY` can sign and verify.

    Raises BadSetting for a secret under 32 characters, more than 8 of them, or two whose keys have the same version.
    """

    def __init__(self, secret_key: str) -> None:
        texts = [text.strip() for text in secret_key.split(",")]
        if len(texts) > SECRETS_MAX:
            raise BadSetting(f"HOLDFAST_SECRET_KEY has {len(texts)} secrets; the most is {SECRETS_MAX}.")
        if any(len(text) < SECRET_LENGTH_MIN for text in texts):
            raise BadSetting(
                f"HOLDFAST_SECRET_KEY: each secret has at least {SECRET_LENGTH_MIN} characters, "
                "and a comma stands between two."
            )
        roots = [text.encode("utf-8", "surrogateescape") for text in texts]
        self._roots = {_version(root): root for root in roots}
        if len(self._roots) < len(roots):
            raise BadSetting(
                "HOLDFAST_SECRET_KEY: two of the secrets are equal, or cannot be told apart by the two letters "
                "that name them in a token. Make another."
            )
        self._signers: dict[str, dict[str, _Signer]] = {}
        self._first: dict[str, _Signer] = {}
        self._sealers: dict[str, dict[str, AESGCM]] = {}
        self._digest_keys: dict[str, list[bytes]] = {}

    def sign(self, purpose: str, *parts: bytes) -> str:
        """29 letters of base64url that only a holder of the secret can make for these very parts, always the same."""
        signer = self._first.get(purpose)
        if signer is None:
            signer = self._first[purpose] = next(iter(self._for(purpose).values()))
        return signer.token(parts)

    def verify(self, purpose: str, token: str, *parts: bytes) -> bool:
        """Whether `token` was signed for this purpose and these parts under any secret held; in constant time."""
        if len(token) != TOKEN_LENGTH or not token.isascii():
            return False
        signer = self._for(purpose).get(token[:VERSION_LENGTH])
        return signer is not None and hmac.compare_digest(signer.token(parts), token)

    def digest(self, purpose: str, text: str, *, size: int = 32) -> bytes:
        """`size` bytes that stand for the text where it is looked up but must not stand itself, under the first secret.

        Who does not hold the secret can neither make it nor try words against it. Write this one and look for any of
        `digests`, so that a new secret may come before the old: what was written under that is made anew
        (`holdfast reseal`) before it is dropped.
        """
        keys = self._digest_keys.get(purpose)
        if keys is None:
            keys = self._digest_keys[purpose] = [
                _derived(root, "digest " + purpose, _KEY_BYTES) for root in self._roots.values()
            ]
        return blake2b(text.encode(), key=keys[0], digest_size=size).digest()

    def digests(self, purpose: str, text: str, *, size: int = 32) -> list[bytes]:
        """The digest under every secret held, that of the first one first."""
        now = self.digest(purpose, text, size=size)
        others = self._digest_keys[purpose][1:]
        return [now, *(blake2b(text.encode(), key=key, digest_size=size).digest() for key in others)]

    def seal(self, purpose: str, plain: bytes, *bound: bytes) -> bytes:
        """The bytes encrypted under the first secret (AES-256-GCM), readable only together with the same `bound` parts.

        Bind what the value belongs to, such as the id of its row, so that it cannot be moved to another.
        """
        version, sealer = next(iter(self._sealing(purpose).items()))
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return version.encode() + nonce + sealer.encrypt(nonce, plain, _joined(bound))

    def unseal(self, purpose: str, sealed: bytes, *bound: bytes) -> bytes:
        """What was sealed under any secret held. Raises Unsealable."""
        version, nonce = sealed[:VERSION_LENGTH].decode("latin-1"), sealed[VERSION_LENGTH:][:_NONCE_BYTES]
        sealer = self._sealing(purpose).get(version)
        if sealer is None or len(nonce) < _NONCE_BYTES:
            raise Unsealable("sealed under a secret that is not held")
        try:
            return sealer.decrypt(nonce, sealed[VERSION_LENGTH + _NONCE_BYTES :], _joined(bound))
        except InvalidTag:
            raise Unsealable("sealed for something else, or changed") from None

    def is_current(self, sealed: bytes) -> bool:
        """Whether it was sealed under the first secret; if not, seal it again before the old secret is dropped."""
        return sealed[:VERSION_LENGTH].decode("latin-1") == next(iter(self._roots))

    def ed25519(self, purpose: str) -> dict[str, Ed25519PrivateKey]:
        """The signing key of each secret by its version; the first signs, the others are there to verify."""
        return {
            version: Ed25519PrivateKey.from_private_bytes(_derived(root, "ed25519 " + purpose, _KEY_BYTES))
            for version, root in self._roots.items()
        }

    def _sealing(self, purpose: str) -> dict[str, AESGCM]:
        sealers = self._sealers.get(purpose)
        if sealers is None:
            sealers = self._sealers[purpose] = {
                version: AESGCM(_derived(root, "seal " + purpose, _KEY_BYTES))
                for version, root in self._roots.items()
            }
        return sealers

    def _for(self, purpose: str) -> "dict[str, _Signer]":
        signers = self._signers.get(purpose)
        if signers is None:
            signers = self._signers[purpose] = {
                version: _Signer(version, _derived(root, "mac " + purpose, _KEY_BYTES))
                for version, root in self._roots.items()
            }
        return signers


class _Signer:
    """Keyed BLAKE2b (RFC 7693, section 2.9), a MAC in one call: every claim signs, and HMAC takes three times as long."""

    __slots__ = ("_key", "_version")

    def __init__(self, version: str, key: bytes) -> None:
        self._version = version
        self._key = key

    def token(self, parts: Sequence[bytes]) -> str:
        signature = b2a_base64(blake2b(_joined(parts), key=self._key, digest_size=SIGNATURE_BYTES).digest())
        return self._version + signature.translate(_URL_SAFE, b"=\n").decode("ascii")


def _joined(parts: Sequence[bytes]) -> bytes:
    # Each part behind its length, so that ("ab", "c") and ("a", "bc") differ.
    return b"".join([b"%d:%b" % (len(part), part) for part in parts])


def _derived(root: bytes, info: str, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=b"holdfast " + info.encode()).derive(root)


def _version(root: bytes) -> str:
    number = int.from_bytes(_derived(root, "version", 8), "big")
    letters = ""
    for _ in range(VERSION_LENGTH):
        number, index = divmod(number, len(_VERSION_ALPHABET))
        letters += _VERSION_ALPHABET[index]
    return letters
