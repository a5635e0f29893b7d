"""Passwords that are changed, and passwords that were forgotten: a link by mail, for one use, good for an hour.

Whoever asks for a link hears the same, after the same work, whether the address has an account or not: the request
writes a job, and the job looks. The address in it is sealed. Of the link the database has the SHA-256 alone.
"""

import secrets as random
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from holdfast.accounts import sessions
from holdfast.accounts.passwords import Passwords, fit
from holdfast.accounts.people import normal_email
from holdfast.platform import jobs, mail
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.errors import NotFound
from holdfast.platform.ids import PersonId
from holdfast.platform.jobs import Job
from holdfast.platform.secret import Secrets

FORGOTTEN = "accounts.password_forgotten"
PURPOSE = "forgotten password"
RESET_SECONDS = 3600
# Of one person within the hour, so that nobody can fill another's mailbox.
RESETS_MAX = 3
TOKEN_BYTES = 32
TOKEN_LENGTH_MAX = 100

sql = load_queries(__file__)

LETTER = """Hello,

somebody, hopefully you, asked for a new password for {email} in Holdfast.

Open this link to choose one. It works once, and for one hour:

{link}

If it was not you, you need do nothing: your password stays as it is.
"""
CHANGED = """Hello,

the password of {email} in Holdfast was changed just now, and you were signed out everywhere else.

If it was not you, choose a new one at once: {link}
"""


class ResetNotFound(NotFound):
    """Never made, used already, or older than an hour: one answer to all of these."""

    code = "reset_not_found"
    title = "This link is not good any more. Ask for another."


async def forgot(tx: Transaction, secrets: Secrets, email: str) -> None:
    """Sends a link to the address if it has an account, and takes as long if not. Raises Invalid."""
    sealed = secrets.seal(PURPOSE, normal_email(email).encode())
    await jobs.enqueue(tx, FORGOTTEN, {"sealed": b64encode(sealed).decode()})


def answer_forgotten(secrets: Secrets, address: str) -> jobs.Handler:
    """What handles FORGOTTEN; `address` is where people find this installation."""

    async def handle(job: Job, db: Database) -> None:
        email = secrets.unseal(PURPOSE, b64decode(job.payload["sealed"])).decode()
        person = await db.row(sql.person_by_email, email)
        if person is None:
            return
        token = random.token_urlsafe(TOKEN_BYTES)
        async with db.transaction() as tx:
            if not await tx.execute(
                sql.add_password_reset, person["person_id"], _hash(token), RESET_SECONDS, RESETS_MAX
            ):
                return
            # Behind the #, so that the token stands in no log of a server or a proxy, and in no Referer.
            link = f"{address}/console/password#token={token}"
            await mail.post(
                tx,
                secrets,
                to=person["email"],
                subject="Choose a new password",
                text=LETTER.format(email=person["email"], link=link),
            )

    return handle


@dataclass(frozen=True, slots=True)
class Reset:
    """A link that was shown, and the password that it is to set, hashed."""

    token_hash: bytes
    person_id: PersonId
    email: str
    password_hash: str


async def proved(db: Database, passwords: Passwords, *, token: str, password: str) -> Reset:
    """What `reset` takes. Raises ResetNotFound, Invalid for a password that will not do, Busy."""
    row = await db.row(sql.password_reset, _hash(token))
    if row is None:
        raise ResetNotFound
    fit(password, email=row["email"])
    return Reset(_hash(token), PersonId(row["person_id"]), row["email"], await passwords.hash(password))


async def reset(tx: Transaction, secrets: Secrets, wanted: Reset, *, address: str) -> None:
    """Sets the password of whom the link was sent to, and ends all their sessions; a second factor stays.

    Raises ResetNotFound when the link was used in the meantime.
    """
    if not await tx.execute(sql.take_password_reset, wanted.token_hash):
        raise ResetNotFound
    await change(
        tx,
        secrets,
        wanted.person_id,
        email=wanted.email,
        password_hash=wanted.password_hash,
        instead_of=None,
        keep=None,
        address=address,
    )


async def change(
    tx: Transaction,
    secrets: Secrets,
    person_id: PersonId,
    *,
    email: str,
    password_hash: str,
    instead_of: str | None,
    keep: UUID | None,
    address: str,
) -> bool:
    """Sets the password of a person, and ends their sessions but the one to `keep`.

    False, and nothing done, where the password is no longer the one with the hash `instead_of`; None: whatever it was.
    """
    if not await tx.execute(sql.set_password, person_id, password_hash, instead_of):
        return False
    await tx.execute(sql.forget_password_resets, person_id)
    await sessions.end_all(tx, person_id, but=keep)
    await mail.post(
        tx,
        secrets,
        to=email,
        subject="Your password was changed",
        text=CHANGED.format(email=email, link=f"{address}/console/password"),
    )
    return True


async def prune_resets(db: Database) -> int:
    """Forgets links that nobody used in time; says how many. Raises Busy."""
    return await db.execute(sql.password_resets_pruned)


def _hash(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
