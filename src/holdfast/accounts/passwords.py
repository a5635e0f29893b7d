"""Passwords as argon2id hashes, made and checked in a few threads of their own.

One hash takes a third of a second and 64 MiB on purpose, so how many run at once is bounded, and so is who may wait.
"""

import asyncio
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from holdfast.platform.errors import Busy, Invalid

T = TypeVar("T")

PASSWORD_LENGTH_MIN = 8
PASSWORD_LENGTH_MAX = 1000
HASHES_AT_ONCE_MAX = 2
# Those being checked included; the last of them waits some five seconds.
CHECKS_MAX = 32

# The second recommended choice of RFC 9106, section 4.
_PASSES, _MEMORY_KIB, _LANES = 3, 65_536, 4
_SALT_BYTES, _HASH_BYTES = 16, 32

_argon2 = PasswordHash((Argon2Hasher(_PASSES, _MEMORY_KIB, _LANES, _HASH_BYTES, _SALT_BYTES),))


def _b64(raw: bytes) -> str:
    return b64encode(raw).decode().rstrip("=")


# Checked in place of the hash of somebody who does not exist. That no password makes it is not relied upon.
_NOBODYS = f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p={_LANES}${_b64(bytes(_SALT_BYTES))}${_b64(bytes(_HASH_BYTES))}"


def hashed(password: str) -> str:
    """The argon2id hash of `password`; blocks for a third of a second."""
    return _argon2.hash(_normal(password))


def fit(password: str, *, email: str, pointer: str = "/password") -> None:
    """Raises Invalid for a password of under 8 or over 1,000 characters, and for the person's own address."""
    if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX:
        raise Invalid(
            f"A password has {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters.", pointer=pointer
        )
    if password.strip().lower() == email.lower():
        raise Invalid("Your own address is the first password that others try.", pointer=pointer)


def is_outdated(password_hash: str) -> bool:
    """Whether the hash was made with other costs than the present ones, and should be made anew."""
    return _argon2.current_hasher.check_needs_rehash(password_hash)


def _matches(password: str, password_hash: str) -> bool:
    return _argon2.verify(_normal(password), password_hash)


def _normal(password: str) -> bytes:
    # RFC 8265: an umlaut typed on another keyboard may come decomposed. Lone surrogates can come from the environment.
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


class Passwords:
    """Hashes and checks passwords off the event loop, two at once; close it when done."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(HASHES_AT_ONCE_MAX, thread_name_prefix="argon2")
        self._checks = 0

    async def match(self, password: str, password_hash: str | None) -> bool:
        """Whether the password is the one of the hash. Without a hash it takes as long and is False.

        Raises Busy when 32 checks are under way.
        """
        matches = await self._apart(_matches, password, password_hash or _NOBODYS)
        return matches and password_hash is not None

    async def hash(self, password: str) -> str:
        """The argon2id hash of the password. Raises Busy when 32 checks are under way."""
        return await self._apart(hashed, password)

    async def _apart(self, work: Callable[..., T], *args: str) -> T:
        if self._checks >= CHECKS_MAX:
            raise Busy("Too many people sign in just now.", retry_after=5)
        self._checks += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        finally:
            self._checks -= 1

    def close(self) -> None:
        """Lets go of the threads; checks that have not begun are cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)
