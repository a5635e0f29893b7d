"""Customers: buyers who have shown that an address is theirs, by a link that was sent to it.

Nobody needs an account to buy. A link of 256 random bits, of which the database has the SHA-256 alone, is good once and
for half an hour; the first one that is used makes the account. The address stands sealed in the account's row, and is
looked up by a keyed digest. Asking for a link is the same work and the same answer whoever the address belongs to.
"""

import secrets as random
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from holdfast.platform import mail
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.errors import NotFound, Unauthenticated
from holdfast.platform.ids import CustomerId, OrganizerId, new_id
from holdfast.platform.secret import Resealed, Secrets, Unsealable

LINK_SECONDS = 1800
LINK_BYTES = 32
LINK_LENGTH_MAX = 100
# Live links of one address; who asks for more gets no further letter until one of them has passed.
LINKS_MAX = 5
PRUNED_AT_ONCE = 1000
DIGEST = "customer address"

LETTER = """Hello,

open this link to see your bookings. It works once, for the next thirty minutes:

{link}

If you did not ask for it, you need do nothing: without the link nothing happens.
"""

sql = load_queries(__file__, "customers.sql")


class BadLink(Unauthenticated):
    """Never sent, used already, or older than half an hour: one answer to all of these."""

    code = "bad_link"
    title = "This link is not good any more. Ask for another."


class CustomerNotFound(NotFound):
    """The account was erased."""

    code = "customer_not_found"
    title = "There is no such customer."


@dataclass(frozen=True, slots=True)
class Account:
    """A customer's account."""

    customer_id: CustomerId
    email: str
    created_at: datetime


async def send_link(tx: Transaction, secrets: Secrets, *, email: str, address: str) -> None:
    """Sends a link that signs in whoever reads it. `address` is where the installation is found.

    Nothing when LINKS_MAX of them are live. Raises Invalid (pointer `/email`) for what no mail can go to.
    """
    token = random.token_urlsafe(LINK_BYTES)
    token_hash = _hash(token)
    digests = _digests(secrets, email)
    sealed = secrets.seal("magic link", email.encode(), token_hash)
    if await tx.execute(sql.add_link, token_hash, digests[0], sealed, LINK_SECONDS, digests, LINKS_MAX):
        # Behind #, so that no server on the way writes it into its log.
        link = f"{address}/account#link={token}"
        await mail.post(tx, secrets, to=email, subject="Your link", text=LETTER.format(link=link))


async def sign_in_by_link(tx: Transaction, secrets: Secrets, token: str) -> Account:
    """The account of the address that the link was sent to, made now if there was none; the link is used up.

    Raises BadLink.
    """
    token_hash = _hash(token)
    sealed = await tx.value(sql.use_link, token_hash)
    if sealed is None:
        raise BadLink
    try:
        email = secrets.unseal("magic link", sealed, token_hash).decode()
    except Unsealable:
        raise BadLink from None  # Sent under a secret that was dropped within the half hour.
    digests = _digests(secrets, email)
    if (found := await tx.row(sql.customer_by_address, digests)) is None:
        customer_id = new_id()
        # Two links of one address, used at once: the second waits for the first, and finds what it made.
        await tx.execute(sql.add_customer, customer_id, digests[0], _sealed(secrets, customer_id, email))
        found = await tx.row(sql.customer_by_address, digests)
        assert found is not None
    return Account(CustomerId(found["customer_id"]), email, found["created_at"])


async def account_of(db: Database | Transaction, secrets: Secrets, customer_id: CustomerId) -> Account:
    """The account. Raises CustomerNotFound."""
    row = await db.row(sql.customer_by_id, customer_id)
    if row is None:
        raise CustomerNotFound
    email = secrets.unseal("customer", row["sealed"], customer_id.bytes).decode()
    return Account(customer_id, email, row["created_at"])


async def erase_account(tx: Transaction, secrets: Secrets, account: Account) -> None:
    """Forgets the account, the links and the letters to its address. Its tokens are good for nothing from now on."""
    await tx.execute(sql.erase_customer, account.customer_id)
    await tx.execute(sql.erase_links, _digests(secrets, account.email))
    await mail.forget_letters_to(tx, secrets, account.email)


async def prune_links(db: Database) -> int:
    """Forgets links that have passed, in short pieces; how many. Raises Busy."""
    pruned = 0
    while gone := await db.execute(sql.prune_links, PRUNED_AT_ONCE):
        pruned += gone
    return pruned


async def retention(db: Database | Transaction, organizer_id: OrganizerId) -> int | None:
    """How many days after a show the organizer still keeps who bought; None: for ever."""
    days: int | None = await db.value(sql.retention, organizer_id)
    return days


async def set_retention(tx: Transaction, organizer_id: OrganizerId, days: int | None) -> None:
    """From now on whoever bought is forgotten so many days after a show, at least RETENTION_DAYS_MIN; None: never."""
    await tx.execute(sql.retention_set, organizer_id, days)


async def reseal_customers(tx: Transaction, secrets: Secrets, after: UUID, limit: int) -> Resealed:
    """Seals up to `limit` accounts behind `after` under the first secret."""
    rows = await tx.rows(sql.customers_after, after, limit)
    unreadable = 0
    for row in rows:
        customer_id = row["customer_id"]
        try:
            email = secrets.unseal("customer", row["sealed"], customer_id.bytes).decode()
        except Unsealable:
            unreadable += 1
            continue
        await tx.execute(
            sql.customer_resealed,
            customer_id,
            _digests(secrets, email)[0],
            _sealed(secrets, customer_id, email),
        )
    return Resealed(rows[-1]["customer_id"] if rows else None, unreadable)


def _digests(secrets: Secrets, email: str) -> list[bytes]:
    return secrets.digests(DIGEST, email.strip().lower())


def _sealed(secrets: Secrets, customer_id: UUID, email: str) -> bytes:
    return secrets.seal("customer", email.encode(), customer_id.bytes)


def _hash(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
