"""The second factor: six digits from an authenticator app (RFC 6238), and recovery codes for whoever lost it.

A code works once, and none older than it works after it. The secret that the app shares with us is sealed for its
person; recovery codes are kept as hashes. It asks whoever signs in by password; another provider asks by itself.
"""

import secrets as random
import time
from base64 import b32encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

import pyotp

from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.errors import Conflict, Refusal
from holdfast.platform.ids import PersonId
from holdfast.platform.secret import Resealed, Secrets, Unsealable

PURPOSE = "second factor"
ISSUER = "Holdfast"
STEP_SECONDS = 30
# A clock may be one step off, as RFC 6238, section 5.2, recommends at most.
STEPS_OFF = 1
DIGITS = 6
RECOVERY_CODES = 10
# 80 bits: a fast hash is enough, for nobody tries so many.
RECOVERY_BYTES = 10
CODE_LENGTH_MAX = 40

sql = load_queries(__file__)


class SecondFactorNeeded(Refusal):
    """The password is right, and this person has a second factor: send `code`, too."""

    code = "second_factor_needed"
    status = 401
    title = "Send the six digits of your authenticator app, or a recovery code, as `code`."


class BadCode(Refusal):
    """Wrong, too old, or used before."""

    code = "bad_code"
    status = 401
    title = "This code is wrong or was used before. Wait for the next one."


class SecondFactorExists(Conflict):
    code = "second_factor_exists"
    title = "There is a second factor already. Remove it before you make another."


class NoSecondFactor(Conflict):
    code = "no_second_factor"
    title = "There is no second factor that waits for this."


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What goes into the authenticator app; told once. `uri` is what the QR code shows."""

    secret: str
    uri: str


async def enrol(tx: Transaction, secrets: Secrets, person_id: PersonId, email: str) -> Enrolment:
    """A new secret that waits for its first code, in place of one that waited. Raises SecondFactorExists."""
    secret = pyotp.random_base32()
    sealed = secrets.seal(PURPOSE, secret.encode(), person_id.bytes)
    if not await tx.execute(sql.enrol_second_factor, person_id, sealed):
        raise SecondFactorExists
    return Enrolment(secret, pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER))


async def confirm(
    tx: Transaction, secrets: Secrets, person_id: PersonId, code: str, *, now: Callable[[], float] = time.time
) -> list[str]:
    """From now on the person signs in with a code, too. Answers ten recovery codes, told once.

    Raises NoSecondFactor where none waits, and BadCode.
    """
    row = await tx.row(sql.second_factor, person_id)
    if row is None or row["confirmed"]:
        raise NoSecondFactor
    step = _step_of(secrets, person_id, row["sealed"], code, now())
    if step is None or not await tx.execute(sql.second_factor_confirmed, person_id, step, row["sealed"]):
        raise BadCode
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    await tx.execute(sql.add_recovery_codes, person_id, [_recovery_hash(code) for code in codes])
    return codes


async def is_on(db: Database | Transaction, person_id: PersonId) -> bool:
    """Whether this person signs in with a code."""
    row = await db.row(sql.second_factor, person_id)
    return row is not None and row["confirmed"]


async def prove(
    db: Database | Transaction,
    secrets: Secrets,
    person_id: PersonId,
    code: str | None,
    *,
    now: Callable[[], float] = time.time,
) -> bool:
    """Uses the code up; False without a second factor, where every code will do, and none.

    Raises SecondFactorNeeded without a code, and BadCode for one that is wrong or was used before.
    """
    row = await db.row(sql.second_factor, person_id)
    if row is None or not row["confirmed"]:
        return False
    if code is None:
        raise SecondFactorNeeded
    step = _step_of(secrets, person_id, row["sealed"], code, now())
    if step is not None:
        # One statement decides between two who show the same code at once.
        if not await db.execute(sql.second_factor_used, person_id, step):
            raise BadCode
        if not secrets.is_current(row["sealed"]):
            plain = secrets.unseal(PURPOSE, row["sealed"], person_id.bytes)
            anew = secrets.seal(PURPOSE, plain, person_id.bytes)
            await db.execute(sql.second_factor_resealed, person_id, row["sealed"], anew)
    elif not await db.execute(sql.recovery_code_used, person_id, _recovery_hash(code)):
        raise BadCode
    return True


async def remove(tx: Transaction, person_id: PersonId) -> None:
    """The password alone will do again, and the recovery codes are gone. Raises NoSecondFactor."""
    if not await tx.execute(sql.remove_second_factor, person_id):
        raise NoSecondFactor


async def reseal_some(tx: Transaction, secrets: Secrets, after: PersonId, limit: int) -> Resealed:
    """Seals up to `limit` secrets behind `after` under the first key."""
    rows = await tx.rows(sql.second_factors_after, after, limit)
    unreadable = 0
    for row in rows:
        person_id = PersonId(row["person_id"])
        try:
            plain = secrets.unseal(PURPOSE, row["sealed"], person_id.bytes)
        except Unsealable:
            unreadable += 1
            continue
        anew = secrets.seal(PURPOSE, plain, person_id.bytes)
        await tx.execute(sql.second_factor_resealed, person_id, row["sealed"], anew)
    return Resealed(rows[-1]["person_id"] if rows else None, unreadable)


def _step_of(secrets: Secrets, person_id: PersonId, sealed: bytes, code: str, now: float) -> int | None:
    # The step whose code this is; which of them are used up is for the database to say.
    digits = code.replace(" ", "")
    if len(digits) != DIGITS or not digits.isascii() or not digits.isdigit():
        return None
    totp = pyotp.TOTP(secrets.unseal(PURPOSE, sealed, person_id.bytes).decode())
    present = int(now // STEP_SECONDS)
    for step in range(present - STEPS_OFF, present + STEPS_OFF + 1):
        if compare_digest(totp.at(step * STEP_SECONDS), digits):
            return step
    return None


def _recovery_code() -> str:
    text = b32encode(random.token_bytes(RECOVERY_BYTES)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _recovery_hash(code: str) -> bytes:
    plain = "".join(letter for letter in code.upper() if letter.isalnum())
    return sha256(plain.encode("utf-8", "surrogatepass")).digest()
