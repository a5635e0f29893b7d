"""Letters: written in the transaction of the change that they tell of, sent by a job.

Until it is handed over, a letter is a row whose recipient and contents are sealed; the job beside it carries an id
alone. It is sent at least once: a process that dies after the mail server took the letter and before that was written
down sends it again, under the same Message-ID, so that the double can be recognised. Addresses stand neither in jobs
nor in dead letters nor in logs: what a mail server says of one is told as its code and the address masked.

What is enclosed is made when the letter is sent: a letter names it, stays small, and brings what is true on that day.
"""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path
from random import uniform
from typing import Any, NoReturn
from urllib.parse import SplitResult, unquote, urlsplit
from uuid import UUID

import msgspec

from holdfast.platform import clock, jobs, telemetry
from holdfast.platform.clock import monotonic
from holdfast.platform.db import Database, Transaction, load_queries, no_transaction_is_open
from holdfast.platform.errors import Invalid
from holdfast.platform.ids import new_id
from holdfast.platform.jobs import Job
from holdfast.platform.secret import Resealed, Secrets, Unsealable
from holdfast.platform.settings import BadSetting, Settings

SEND = "mail.send"
# Letters that something is made for have a kind of their own, so that whoever signs in by a letter does not wait for the
# tickets of thousands.
SEND_ENCLOSED = "mail.send_enclosed"
# An address, as a name for looking up what belongs to it.
RECIPIENT = "mail recipient"
RECIPIENT_BYTES = 16
SUBJECT_LENGTH_MAX = 250
# A letter that could not be sent for so long is forgotten: it tells of what is long past, and names a person.
LETTER_DAYS = 7
FORGOTTEN_AT_ONCE = 1000
# While no way to send is set, a letter is looked at again after this.
NO_WAY_SECONDS = 300.0
# A letter that was tried so often, in some two minutes, goes on being tried more seldom, for days: mail servers are away for
# hours, and want some letters later.
QUICK_TRIES = 8
TRIED_SECONDS = 4 * 86_400.0
SLOW_SECONDS = 600.0
# A server that cannot be spoken to is left alone for 1, 2, 4, ... seconds, and the letters that wait come back one by one.
REST_SECONDS_MAX = 60.0
# All that one letter brings; mail servers commonly take 20 MB of it in base64.
ENCLOSED_BYTES_MAX = 10_000_000
FROM_NOBODY = "Holdfast <holdfast@localhost>"

_PORTS = {"smtp": 587, "smtps": 465}
# RFC 3463: class, subject and detail of what went wrong. Nothing else of the server's words is kept.
_ENHANCED_CODE = re.compile(r"\b[245]\.\d{1,3}\.\d{1,3}\b")

sql = load_queries(__file__)
log = telemetry.log("mail")


class Enclosure(msgspec.Struct, frozen=True):
    """What a letter is to bring along: its kind, and which one, in ids."""

    kind: str
    about: dict[str, str]


class Enclosed(msgspec.Struct, frozen=True):
    """An enclosure as it is sent: a file, its media type, and the parameters of that."""

    name: str
    media: str
    contents: bytes
    parameters: dict[str, str] = {}


# Makes an enclosure of one kind; None when there is nothing to bring any more. What it raises has the letter tried again.
Maker = Callable[[Mapping[str, str]], Awaitable[Enclosed | None]]


class Letter(msgspec.Struct, frozen=True):
    """What one letter says, and to whom."""

    to: str
    subject: str
    text: str
    html: str | None = None
    enclosures: tuple[Enclosure, ...] = ()


class NotSent(Exception):
    """The letter was not taken this time; the message names no address."""


class ServerAway(NotSent):
    """No letter would be taken now: the server cannot be spoken to."""


async def post(
    tx: Transaction,
    secrets: Secrets,
    *,
    to: str,
    subject: str,
    text: str,
    html: str | None = None,
    enclosures: Sequence[Enclosure] = (),
) -> UUID:
    """Writes a letter in the caller's transaction, to be sent soon after the commit; its id.

    `enclosures` are of kinds that the Mailer knows how to make.
    White space in the subject becomes single spaces, so that no text of ours or a tenant's makes a header of its own.
    Raises Invalid (pointer `/email`) for an address that no mail can go to.
    """
    recipient(to)
    letter = Letter(to, " ".join(subject.split())[:SUBJECT_LENGTH_MAX], text, html, tuple(enclosures))
    letter_id = new_id()
    await tx.execute(
        sql.add_letter, letter_id, recipient_digest(secrets, to), _sealed(secrets, letter_id, letter)
    )
    kind = SEND_ENCLOSED if enclosures else SEND
    await jobs.enqueue(tx, kind, {"letter_id": str(letter_id)}, job_id=letter_id)
    return letter_id


async def forget_letters_to(tx: Transaction, secrets: Secrets, email: str) -> int:
    """Forgets the letters to this address that have not been sent; how many. Their jobs find nothing and end."""
    digests = secrets.digests(RECIPIENT, _as_recipient(email), size=RECIPIENT_BYTES)
    return await tx.execute(sql.forget_letters_to, digests)


async def forget_old(db: Database) -> int:
    """Forgets letters that could not be sent for LETTER_DAYS, in short pieces; how many. Raises Busy."""
    forgotten = 0
    while gone := await db.execute(sql.forget_old_letters, LETTER_DAYS, FORGOTTEN_AT_ONCE):
        forgotten += gone
    return forgotten


async def reseal_some(tx: Transaction, secrets: Secrets, after: UUID, limit: int) -> Resealed:
    """Seals up to `limit` letters behind `after` under the first secret."""
    rows = await tx.rows(sql.letters_after, after, limit)
    unreadable = 0
    for row in rows:
        try:
            letter = _unsealed(secrets, row["letter_id"], row["sealed"])
        except Unsealable:
            unreadable += 1
            continue
        await tx.execute(
            sql.letter_resealed, row["letter_id"], recipient_digest(secrets, letter.to),
            _sealed(secrets, row["letter_id"], letter),
        )  # fmt: skip
    return Resealed(rows[-1]["letter_id"] if rows else None, unreadable)


def recipient(text: str) -> Address:
    """The address as a header takes it; a domain with other letters than ASCII in its IDNA form.

    Raises Invalid (pointer `/email`) for what is not exactly one address, and for letters beyond ASCII before the @.
    """
    try:
        local, _, domain = text.rpartition("@")
        address = Address(addr_spec=f"{local}@{domain.encode('idna').decode('ascii')}")
        if address.addr_spec.partition("@")[0] == local and address.domain:
            return address
    except (ValueError, MessageError, IndexError):
        pass
    raise Invalid("No mail can be sent to this address.", pointer="/email")


def recipient_digest(secrets: Secrets, email: str) -> bytes:
    """What letters to an address are found by."""
    return secrets.digest(RECIPIENT, _as_recipient(email), size=RECIPIENT_BYTES)


def _as_recipient(email: str) -> str:
    return email.strip().lower()


def masked(email: str | None) -> str | None:
    """`g***@example.org`: enough to recognise, too little to write to."""
    if email is None:
        return None
    local, _, domain = email.partition("@")
    return f"{local[:1]}***@{domain}"


def check(settings: Settings) -> None:
    """Raises BadSetting for a HOLDFAST_SMTP_URL or HOLDFAST_MAIL_FROM that cannot be one."""
    _sender(settings)
    if settings.smtp_url is not None:
        _smtp_parts(settings.smtp_url)


class Mailer:
    """Sends letters: by SMTP, into a folder, or, while neither is set, not yet. Raises BadSetting as `check` does.

    `makers` make what letters enclose, by kind.
    """

    def __init__(
        self, settings: Settings, secrets: Secrets, makers: Mapping[str, Maker] | None = None
    ) -> None:
        self._secrets = secrets
        self._makers = makers or {}
        self._from = _sender(settings)
        self._warned = False
        self._quick_tries = min(QUICK_TRIES, settings.job_attempts_max)
        self._failures = 0
        self._rest_until = 0.0
        self._hand_over: Callable[[UUID, Letter, EmailMessage], Awaitable[None]] | None = None
        if settings.smtp_url is not None:
            self._hand_over = _Smtp(settings.smtp_url, settings.mail_seconds, self._from).send
        elif settings.mail_folder is not None:
            self._hand_over = _Folder(Path(settings.mail_folder)).put

    async def send(self, job: Job, db: Database) -> None:
        """Handles the jobs SEND and SEND_ENCLOSED.

        Raises NotSent and Later for another try, Discard for a letter that nobody will take.
        """
        letter_id = UUID(job.payload["letter_id"])
        row = await db.row(sql.letter_by_id, letter_id)
        if row is None:
            return  # Sent by a run that was thought dead, or forgotten since.
        if self._hand_over is None:
            self._warn()
            raise jobs.Later(NO_WAY_SECONDS)
        if (rest := self._rest_until - monotonic()) > 0:
            raise jobs.Later(rest + uniform(0.0, 4 * self._rest()))  # noqa: S311 -- spreads load
        try:
            letter = _unsealed(self._secrets, letter_id, row["sealed"])
        except Unsealable as error:
            raise jobs.Discard(f"The letter cannot be read: {error}.") from None
        message = self._message(letter_id, letter, format_datetime(row["created_at"]))
        await self._enclose(letter, message)
        assert no_transaction_is_open()
        try:
            await self._hand_over(letter_id, letter, message)
        except NotSent as error:
            self._look_at(error)
            if (
                job.attempts < self._quick_tries
                or (clock.now() - row["created_at"]).total_seconds() > TRIED_SECONDS
            ):
                raise
            log.warning("a letter waits", letter_id=str(letter_id), error=str(error))
            raise jobs.Later(SLOW_SECONDS * uniform(0.5, 1.0)) from None  # noqa: S311 -- spreads load
        self._failures = 0
        async with db.transaction() as tx:
            await tx.execute(sql.letter_sent, letter_id)
            await jobs.finish(tx, job)

    def _look_at(self, error: NotSent) -> None:
        # Several letters that met the same failure are one.
        if isinstance(error, ServerAway) and self._rest_until < monotonic():
            self._failures += 1
            self._rest_until = monotonic() + self._rest()

    def _rest(self) -> float:
        return min(REST_SECONDS_MAX, 2.0 ** min(self._failures - 1, 10))

    def _message(self, letter_id: UUID, letter: Letter, date: str) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"] = self._from
        message["To"] = recipient(letter.to)
        message["Subject"] = letter.subject
        message["Date"] = date
        message["Message-ID"] = f"<{letter_id}@{self._from.domain}>"
        # RFC 3834, section 5: nobody's holiday reply comes back.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.text)
        if letter.html is not None:
            message.add_alternative(letter.html, subtype="html")
        return message

    async def _enclose(self, letter: Letter, message: EmailMessage) -> None:
        left = ENCLOSED_BYTES_MAX
        for enclosure in letter.enclosures:
            made = await self._makers[enclosure.kind](enclosure.about)
            if made is None:
                continue
            left -= len(made.contents)
            if left < 0:
                log.warning("a letter goes without what is too large for it", enclosure=enclosure.kind)
                return
            main, _, sub = made.media.partition("/")
            message.add_attachment(
                made.contents, maintype=main, subtype=sub, filename=made.name, params=made.parameters
            )

    def _warn(self) -> None:
        if not self._warned:
            log.warning("letters wait: neither HOLDFAST_SMTP_URL nor HOLDFAST_MAIL_FOLDER is set")
            self._warned = True


class _Folder:
    """Each letter as a file that mail programs open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, letter_id: UUID, _letter: Letter, message: EmailMessage) -> None:
        await asyncio.to_thread(self._write, letter_id, message.as_bytes())

    def _write(self, letter_id: UUID, text: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{letter_id}.eml"
        partial = path.with_suffix(".part")
        partial.touch(mode=0o600)
        partial.write_bytes(text)
        partial.replace(path)


class _Smtp:
    """A mail server, spoken to once per letter; each step takes at most `seconds`, and all of them four times that."""

    def __init__(self, url: str, seconds: float, sender: Address) -> None:
        parts = _smtp_parts(url)
        self._seconds = seconds
        self._sender = sender.addr_spec
        self._options: dict[str, Any] = {
            "hostname": parts.hostname,
            "port": parts.port or _PORTS[parts.scheme],
            "username": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
            "use_tls": parts.scheme == "smtps",
            "start_tls": parts.query == "starttls",
            # Looking our own name up in the DNS would block the process.
            "local_hostname": sender.domain,
            "timeout": seconds,
        }
        if parts.scheme == "smtps" or parts.query == "starttls":
            self._options["tls_context"] = ssl.create_default_context()

    async def send(self, _letter_id: UUID, letter: Letter, message: EmailMessage) -> None:
        # Imported when there is something to send: a process that serves the API never has.
        import aiosmtplib

        taken = False
        try:
            async with asyncio.timeout(4 * self._seconds):
                async with aiosmtplib.SMTP(**self._options) as server:
                    await server.send_message(
                        message, sender=self._sender, recipients=[recipient(letter.to).addr_spec]
                    )
                    taken = True
        except aiosmtplib.SMTPRecipientsRefused as error:
            _refused(letter, error.recipients[0].code, error.recipients[0].message)
        except (aiosmtplib.SMTPDataError, aiosmtplib.SMTPSenderRefused) as error:
            _refused(letter, error.code, error.message)
        except aiosmtplib.SMTPResponseException as error:
            raise NotSent(f"The mail server answered {_code(error.code, error.message)}.") from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            # What is lost after the letter was taken, in saying goodbye, is no failure.
            if not taken:
                raise ServerAway(f"The mail server could not be spoken to: {type(error).__name__}.") from None


def _refused(letter: Letter, code: int, said: str) -> NoReturn:
    told = f"The mail server answered {_code(code, said)} for {masked(letter.to)}."
    # RFC 5321, section 4.2.1: 5yz says not to try again.
    raise (jobs.Discard if code >= 500 else NotSent)(told) from None


def _code(code: int, said: str) -> str:
    enhanced = _ENHANCED_CODE.search(said)
    return f"{code} {enhanced[0]}" if enhanced else str(code)


def _sender(settings: Settings) -> Address:
    if settings.smtp_url is not None and settings.mail_from is None:
        raise BadSetting("HOLDFAST_MAIL_FROM is not set: it is the address that letters come from.")
    try:
        probe = EmailMessage(policy=SMTP)
        probe["From"] = settings.mail_from or FROM_NOBODY
        [address] = probe["From"].addresses
        return Address(address.display_name, addr_spec=recipient(address.addr_spec).addr_spec)
    except (ValueError, MessageError, Invalid):
        raise BadSetting(
            "HOLDFAST_MAIL_FROM: expected one address, such as `Opera <tickets@example.org>`."
        ) from None


def _smtp_parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = parts.scheme in _PORTS and parts.hostname and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        good = False
    if not good or parts.query not in ("", "starttls"):
        raise BadSetting(
            "HOLDFAST_SMTP_URL: expected smtp://user:password@host:587?starttls or smtps://user:password@host."
        )
    if parts.username and parts.scheme == "smtp" and not parts.query and not _is_here(parts.hostname or ""):
        raise BadSetting("HOLDFAST_SMTP_URL: a password goes over TLS alone: smtps://, or ?starttls.")
    return parts


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _sealed(secrets: Secrets, letter_id: UUID, letter: Letter) -> bytes:
    return secrets.seal("letter", msgspec.json.encode(letter), letter_id.bytes)


def _unsealed(secrets: Secrets, letter_id: UUID, sealed: bytes) -> Letter:
    return msgspec.json.decode(secrets.unseal("letter", sealed, letter_id.bytes), type=Letter)
