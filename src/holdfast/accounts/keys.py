"""API keys: how machines act for an organizer. `hf_<8 letters>_<43 letters>`, of which the last part is 256 random bits.

The text is shown once, to whoever makes the key, and is kept nowhere: the database and this process know its SHA-256
alone. Keys are found by that hash. What a look-up takes thus depends on a hash that nobody can steer, and nothing is
compared letter by letter with what a stranger sent.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from string import ascii_letters, digits
from typing import Self, cast
from uuid import UUID

import msgspec

from holdfast.accounts.access import GRANTABLE, KEY_LENGTH, KEY_START, Permission, permissions_of
from holdfast.accounts.tokens import VERIFIED_SECONDS, Principal
from holdfast.platform import clock
from holdfast.platform.cache import Cache
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Busy, Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from holdfast.platform.ids import OrganizerId, new_id
from holdfast.platform.limits import Limits, by_address
from holdfast.platform.periodic import Periodic

NAME_LENGTH_MAX = 100
# Of one organizer, those that ended not counted.
KEYS_MAX = 100
OVERLAP_SECONDS_MAX = 7 * 86_400
# A key that ended is shown so long before it is forgotten.
ENDED_SHOWN_DAYS = 90
FORGOTTEN_AT_ONCE = 1000
# What `last_used_at` lags behind, at most, with a round of the duty that is late.
USE_WRITTEN_SECONDS = 30.0
KEYS_KNOWN_MAX = 10_000
# Texts that are no keys, remembered apart, so that a stranger who makes them up pushes out no key that works.
REFUSED_MAX = 1000
# Made up keys can have no more of the database than this, whoever sends them.
LOOKS_AT_ONCE_MAX = 4
LOOKS_WAITING_MAX = 200

SHOWN_LENGTH = 8
RANDOM_BYTES = 32

_NOT_VALID = "The API key is not valid."
_ALPHABET = ascii_letters + digits

sql = load_queries(__file__, "keys.sql")


class KeyNotFound(NotFound):
    code = "key_not_found"
    title = "There is no such API key."


class KeyEnded(Conflict):
    """Only a key that still works can be rotated; make a new one."""

    code = "key_ended"
    title = "This API key has expired or was revoked."


class TooManyKeys(Conflict):
    code = "too_many_keys"
    title = f"An organizer has at most {KEYS_MAX} API keys that work."


class ScopeNotHeld(Forbidden):
    """Nobody hands on what they may not do themselves."""

    code = "scope_not_held"
    title = "A key can be given no permission that you do not have."


class _NotAKeyError(Exception):
    """No key has this hash."""


class Key(msgspec.Struct, frozen=True):
    """A key as people may see it. `created_by` is a principal's name; `replaces`: the key that was rotated into it."""

    key_id: UUID
    name: str
    prefix: str
    scopes: list[str]
    replaces: UUID | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class Keys:
    """Tells whose key a text is, without a query where it was told in the last VERIFIED_SECONDS.

    A revoked key is out at once in this process, as soon as the hint arrives in the others, and within
    VERIFIED_SECONDS where it does not. `async with` starts and stops what writes down when keys were used.
    """

    def __init__(
        self,
        db: Database,
        cache: Cache,
        limits: Limits | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._cache = cache
        self._limits = limits
        self._now = now
        self._refused: dict[bytes, float] = {}
        self._used: dict[UUID, float] = {}
        self._looks = asyncio.Semaphore(LOOKS_AT_ONCE_MAX)
        self._looking = 0
        self._writer = Periodic("write down use of keys", USE_WRITTEN_SECONDS, self.write_use)

    async def __aenter__(self) -> Self:
        self._writer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._writer.stop()
        with suppress(Busy):
            await self.write_use()

    async def principal(self, text: str, address: str) -> Principal:
        """The machine whose key this is, for a caller at this address.

        Raises Unauthenticated for any other text; RateLimited for who sent too many of those; Busy when too many keys
        are looked for.
        """
        digest = sha256(text.encode()).digest()
        now = self._now()
        if self._refused.get(digest, now) > now:
            raise Unauthenticated(_NOT_VALID)
        try:
            found: tuple[Principal, UUID, float] = await self._cache.get(
                _path(digest), VERIFIED_SECONDS, partial(self._look, digest, address)
            )
        except _NotAKeyError:
            self._refuse(digest, now)
            raise Unauthenticated(_NOT_VALID) from None
        principal, key_id, until = found
        if until <= now:
            raise Unauthenticated("The API key has expired.")
        self._used[key_id] = now
        return principal

    def forget(self, digest: bytes) -> None:
        """Looks again before the key of this hash is next believed, here and in the other processes."""
        self._cache.forget(_path(digest))

    async def write_use(self) -> None:
        """Writes down when keys were used since the last time. Raises Busy; then the next round does it."""
        used, self._used = self._used, {}
        if not used:
            return
        moments = [datetime.fromtimestamp(at, UTC) for at in used.values()]
        try:
            await self._db.execute(sql.keys_used, list(used), moments)
        except BaseException:
            self._used = used | self._used
            raise

    async def _look(self, digest: bytes, address: str) -> tuple[Principal, UUID, float]:
        guesser = f"key {by_address(address)}"
        if self._limits is not None:
            await self._limits.check("code", guesser)
        if self._looking >= LOOKS_WAITING_MAX:
            raise Busy("Too many API keys are being looked for.")
        self._looking += 1
        try:
            async with self._looks:
                row = await self._db.row(sql.key_by_hash, digest)
        finally:
            self._looking -= 1
        if row is None:
            if self._limits is not None:
                await self._limits.take("code", guesser)
            raise _NotAKeyError
        # Whatever the row says, a key may do no more than keys may.
        scopes = GRANTABLE.intersection(row["scopes"])
        key_id, organizer_id = row["key_id"], OrganizerId(row["organizer_id"])
        expires_at: datetime | None = row["expires_at"]
        until = expires_at.timestamp() if expires_at else float("inf")
        return Principal(None, organizer_id, None, key_id=key_id, scopes=scopes), key_id, until

    def _refuse(self, digest: bytes, now: float) -> None:
        if len(self._refused) >= REFUSED_MAX:
            del self._refused[next(iter(self._refused))]
        self._refused[digest] = now + VERIFIED_SECONDS


async def create_key(
    tx: Transaction,
    creator: Principal,
    *,
    name: str,
    scopes: Sequence[Permission],
    expires_at: datetime | None = None,
) -> tuple[Key, str]:
    """A new key of the creator's organizer, and its text, which cannot be had again.

    Raises Invalid (`/name`, `/scopes/0`, `/expires_at`), ScopeNotHeld for what the creator may not do, TooManyKeys.
    """
    now = clock.now()
    name = name.strip()
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise Invalid(f"A name has 1 to {NAME_LENGTH_MAX} printable characters.", pointer="/name")
    for i, scope in enumerate(scopes):
        if scope not in GRANTABLE:
            raise Invalid("People alone may do this, no key may.", pointer=f"/scopes/{i}")
    if expires_at is not None and expires_at <= now:
        raise Invalid("This time has passed.", pointer="/expires_at")
    return await _add(tx, creator, now, name, scopes, expires_at)


async def rotate_key(
    tx: Transaction, keys: Keys, rotator: Principal, key_id: UUID, overlap_seconds: int
) -> tuple[Key, str]:
    """A new key with the same name, scopes and length of life, and its text; the old one ends after the overlap.

    Raises KeyNotFound, KeyEnded, ScopeNotHeld when the old one may do what the rotator may not, TooManyKeys.
    """
    now = clock.now()
    old = await key_by_id(tx, rotator.organizer_id, key_id)
    digest = await tx.value(
        sql.key_ends, rotator.organizer_id, key_id, now, now + timedelta(seconds=overlap_seconds)
    )
    if digest is None:
        raise KeyEnded
    expires_at = now + (old.expires_at - old.created_at) if old.expires_at else None
    scopes = cast("list[Permission]", old.scopes)
    made = await _add(tx, rotator, now, old.name, scopes, expires_at, replaces=key_id)
    tx.after_commit(partial(keys.forget, digest))
    return made


async def revoke_key(tx: Transaction, keys: Keys, organizer_id: OrganizerId, key_id: UUID) -> None:
    """Ends a key for good: at once here, elsewhere within VERIFIED_SECONDS. Raises KeyNotFound."""
    digest = await tx.value(sql.key_revoked, organizer_id, key_id, clock.now())
    if digest is None:
        raise KeyNotFound
    tx.after_commit(partial(keys.forget, digest))


async def key_by_id(db: Database | Transaction, organizer_id: OrganizerId, key_id: UUID) -> Key:
    """A key of this organizer. Raises KeyNotFound."""
    row = await db.row(sql.key_by_id, organizer_id, key_id)
    if row is None:
        raise KeyNotFound
    return _key(row)


async def list_keys(db: Database, organizer_id: OrganizerId, after: UUID, limit: int) -> list[Key]:
    """Up to `limit` keys behind `after`, oldest first, with those that ended in the last ENDED_SHOWN_DAYS."""
    return [_key(row) for row in await db.rows(sql.keys_page, organizer_id, after, limit)]


async def prune_keys(db: Database) -> int:
    """Forgets the keys that ended more than ENDED_SHOWN_DAYS ago; says how many. Raises Busy."""
    ended_before = clock.now() - timedelta(days=ENDED_SHOWN_DAYS)
    pruned = 0
    while True:
        gone = await db.execute(sql.keys_forgotten, ended_before, FORGOTTEN_AT_ONCE)
        pruned += gone
        if gone < FORGOTTEN_AT_ONCE:
            return pruned


async def _add(
    tx: Transaction,
    creator: Principal,
    now: datetime,
    name: str,
    scopes: Sequence[Permission],
    expires_at: datetime | None,
    replaces: UUID | None = None,
) -> tuple[Key, str]:
    missing = sorted(set(scopes) - set(permissions_of(creator)))
    if missing:
        raise ScopeNotHeld(f"You do not have {', '.join(missing)}.")
    if await tx.value(sql.keys_counted, creator.organizer_id, now) >= KEYS_MAX:
        raise TooManyKeys
    prefix = KEY_START + "".join(secrets.choice(_ALPHABET) for _ in range(SHOWN_LENGTH))
    text = f"{prefix}_{secrets.token_urlsafe(RANDOM_BYTES)}"
    assert len(text) == KEY_LENGTH
    key_id = new_id()
    await tx.execute(
        sql.key_added, key_id, creator.organizer_id, name, prefix, sha256(text.encode()).digest(), sorted(set(scopes)),
        replaces, creator.name, now, expires_at,
    )  # fmt: skip
    return await key_by_id(tx, creator.organizer_id, key_id), text


def _key(row: Record) -> Key:
    return Key(**dict(row))


def _path(digest: bytes) -> tuple[str, str]:
    return ("api_key", digest.hex())
