"""Letters on real PostgreSQL, handed to a real mail server that takes, refuses, stumbles, hangs or dies."""

import asyncio
import datetime as dt
import io
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
import structlog
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from holdfast.platform import mail
from holdfast.platform.db import Database
from holdfast.platform.errors import Busy, Invalid
from holdfast.platform.ids import new_id
from holdfast.platform.jobs import Discard, Job, Later, Worker
from holdfast.platform.mail import Mailer, NotSent
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import BadSetting, Settings
from tests.platform.eventually import until

pytestmark = pytest.mark.anyio

TO = "grace.hopper@example.org"
OLD, NEW = "the old secret of more than thirty letters", "the new secret of more than thirty letters"


class Server:
    """A mail server. `says` is what it answers to the recipients that come, then `250 OK`."""

    def __init__(self, *says: str, silent: bool = False) -> None:
        self.says = list(says)
        self.silent = silent
        self.taken: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.sign_ins: list[Any] = []
        self.port = 0

    async def handle_RCPT(  # noqa: N802 -- the name that the library calls
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.silent:
            await asyncio.sleep(3600)
        answer = self.says.pop(0) if self.says else "250 OK"
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer.format(address)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.envelopes.append(envelope)
        self.taken.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"

    def signs_in(self, server: SMTP, session: Session, envelope: Envelope, how: str, data: Any) -> AuthResult:
        self.sign_ins.append((data.login, data.password))
        return AuthResult(success=True)


@asynccontextmanager
async def serving(server: Server, **options: Any) -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: SMTP(server, hostname="mail.test", loop=loop, enable_SMTPUTF8=True, **options), "127.0.0.1", 0
    )
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


@pytest.fixture
def secrets() -> Secrets:
    return Secrets(OLD)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, tracebacks included."""
    lines = io.StringIO()
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()],
        logger_factory=structlog.PrintLoggerFactory(lines),
    )
    yield lines
    structlog.configure(**before)


def reaching(settings: Settings, server: Server, **changes: Any) -> Settings:
    return msgspec.structs.replace(
        settings,
        **{
            "smtp_url": f"smtp://127.0.0.1:{server.port}",
            "mail_from": "Opera <tickets@opera.test>",
            **changes,
        },
    )


async def posted(
    db: Database, secrets: Secrets, to: str = TO, subject: str = "Your tickets", **more: Any
) -> UUID:
    async with db.transaction() as tx:
        return await mail.post(tx, secrets, to=to, subject=subject, text="Grüße\n", **more)


def job_of(letter_id: UUID) -> Job:
    payload = {"letter_id": str(letter_id)}
    return Job(letter_id, mail.SEND, payload, 1, dt.datetime.now(dt.UTC), new_id())


async def left(db: Database) -> tuple[int, int, int]:
    """How many letters, jobs and dead letters there are."""
    counts = [
        await db.value(f"select count(*) from {table}") for table in ("letters", "jobs", "dead_letters")
    ]
    return (counts[0], counts[1], counts[2])


async def kept(db: Database) -> str:
    """Everything that the tables of the platform hold, as text."""
    rows = [await db.rows(f"select t::text from {table} t") for table in ("letters", "jobs", "dead_letters")]
    return repr(rows)


@asynccontextmanager
async def working(db: Database, settings: Settings, secrets: Secrets) -> AsyncIterator[None]:
    worker = Worker(db, settings, {mail.SEND: Mailer(settings, secrets).send}, retry_seconds=0.01)
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        await worker.stop()
        await running


async def test_a_letter_is_sent_and_forgotten(db: Database, settings: Settings, secrets: Secrets) -> None:
    async with serving(Server()) as server, working(db, reaching(settings, server), secrets):
        letter_id = await posted(db, secrets, html="<p>Grüße</p>")
        await until(lambda: server.taken)

        async def all_gone() -> bool:
            return await left(db) == (0, 0, 0)

        await until(all_gone)
    [message] = server.taken
    assert server.envelopes[0].rcpt_tos == [TO]
    assert server.envelopes[0].mail_from == "tickets@opera.test"
    assert (message["To"], message["From"], message["Subject"]) == (
        TO,
        "Opera <tickets@opera.test>",
        "Your tickets",
    )
    assert message["Message-ID"] == f"<{letter_id}@opera.test>"
    assert message["Auto-Submitted"] == "auto-generated"
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None and plain.get_content().splitlines() == ["Grüße"]
    assert html is not None and "<p>Grüße</p>" in html.get_content()


async def test_what_is_rolled_back_is_not_sent(db: Database, secrets: Secrets) -> None:
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as tx:
            await mail.post(tx, secrets, to=TO, subject="Hello", text="Hello")
            raise ZeroDivisionError
    assert await left(db) == (0, 0, 0)


async def test_a_refused_address_is_a_dead_letter_without_the_address(
    db: Database, settings: Settings, secrets: Secrets, logged: io.StringIO
) -> None:
    async def is_dead() -> bool:
        return await left(db) == (1, 0, 1)

    says = "550 5.1.1 <{}>: no such user here"
    async with serving(Server(says)) as server, working(db, reaching(settings, server), secrets):
        await posted(db, secrets)
        await until(is_dead)
    error = await db.value("select last_error from dead_letters")
    assert error.endswith("The mail server answered 550 5.1.1 for g***@example.org.")
    assert "job is a dead letter" in logged.getvalue()
    assert "hopper" not in logged.getvalue() + await kept(db)


async def test_a_temporary_refusal_is_tried_again(
    db: Database, settings: Settings, secrets: Secrets, logged: io.StringIO
) -> None:
    says = ("451 4.3.0 <{}>: not now", "421 later")
    async with serving(Server(*says)) as server, working(db, reaching(settings, server), secrets):
        await posted(db, secrets)
        await until(lambda: server.taken)
    assert "451 4.3.0 for g***@example.org" in logged.getvalue()
    assert "hopper" not in logged.getvalue() + await kept(db)


async def test_a_server_that_hangs_or_is_away_costs_a_bounded_time(
    db: Database, settings: Settings, secrets: Secrets
) -> None:
    letter_id = await posted(db, secrets)
    async with serving(Server(silent=True)) as server:
        silent = reaching(settings, server, mail_seconds=0.2)
        with pytest.raises(NotSent, match="SMTPReadTimeoutError"):
            await Mailer(silent, secrets).send(job_of(letter_id), db)
    with pytest.raises(NotSent, match="SMTPConnectError"):
        await Mailer(silent, secrets).send(job_of(letter_id), db)
    assert (await left(db))[0] == 1


async def test_a_server_that_is_away_for_hours_makes_no_dead_letters(
    db: Database, settings: Settings, secrets: Secrets
) -> None:
    letter_id = await posted(db, secrets)
    job = job_of(letter_id)
    async with serving(Server("451 4.3.0 <{}>: not now", "451 4.3.0 <{}>: not now")) as server:
        mailer = Mailer(reaching(settings, server), secrets)
        with pytest.raises(NotSent):
            job.attempts = mail.QUICK_TRIES - 1
            await mailer.send(job, db)
        job.attempts = mail.QUICK_TRIES
        with pytest.raises(Later) as later:
            await mailer.send(job, db)
        assert mail.SLOW_SECONDS / 2 <= later.value.seconds <= mail.SLOW_SECONDS
    await db.execute("update letters set created_at = now() - interval '5 days'")
    # Nobody is waited for longer than that.
    with pytest.raises(NotSent):
        await mailer.send(job, db)


async def test_a_server_that_is_away_is_left_alone_for_a_while(
    db: Database, settings: Settings, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = job_of(await posted(db, secrets)), job_of(await posted(db, secrets))
    async with serving(Server()) as server:
        there = reaching(settings, server)
    now = 1000.0
    monkeypatch.setattr(mail, "monotonic", lambda: now)
    mailer = Mailer(there, secrets)
    for seconds in (1.0, 2.0, 4.0):
        with pytest.raises(NotSent):
            await mailer.send(first, db)
        # What it brings is not even made, and the other letter waits too.
        with pytest.raises(Later) as later:
            await mailer.send(second, db)
        assert seconds <= later.value.seconds <= 5 * seconds
        now += seconds + 0.1
    now += 100.0
    mailer._failures = 5000  # months later
    with pytest.raises(NotSent):
        await mailer.send(first, db)
    with pytest.raises(Later):
        await mailer.send(second, db)


async def test_a_run_that_dies_after_it_sent_sends_the_same_again(
    db: Database, settings: Settings, secrets: Secrets
) -> None:
    letter_id = await posted(db, secrets)

    class Dying(Database):
        def __init__(self) -> None:
            self.row = db.row  # type: ignore[method-assign]

        def transaction(self) -> Any:
            raise Busy

    async with serving(Server()) as server:
        mailer = Mailer(reaching(settings, server), secrets)
        with pytest.raises(Busy):
            await mailer.send(job_of(letter_id), Dying())
        async with working(db, reaching(settings, server), secrets):
            await until(lambda: len(server.taken) == 2)
    first, second = server.taken
    assert first["Message-ID"] == second["Message-ID"] == f"<{letter_id}@opera.test>"
    assert first.as_bytes().split(b"boundary")[0] == second.as_bytes().split(b"boundary")[0]
    # A third run finds that it is done.
    await mailer.send(job_of(letter_id), db)
    assert len(server.taken) == 2


async def test_letters_go_into_a_folder(
    db: Database, settings: Settings, secrets: Secrets, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "mail"
    async with working(db, msgspec.structs.replace(settings, mail_folder=str(folder)), secrets):
        letter_id = await posted(db, secrets)

        async def all_gone() -> bool:
            return await left(db) == (0, 0, 0)

        await until(all_gone)
    [path] = folder.iterdir()
    assert path.name == f"{letter_id}.eml"
    assert path.stat().st_mode & 0o077 == 0
    message = message_from_bytes(path.read_bytes(), policy=default)
    assert (message["To"], message["From"]) == (TO, "Holdfast <holdfast@localhost>")


async def test_letters_wait_while_there_is_no_way_to_send_them(
    db: Database, settings: Settings, secrets: Secrets, logged: io.StringIO
) -> None:
    mailer = Mailer(settings, secrets)
    letter_id = await posted(db, secrets)
    for _ in range(2):
        with pytest.raises(Later):
            await mailer.send(job_of(letter_id), db)
    assert (await left(db))[0] == 1
    assert logged.getvalue().count("letters wait") == 1


async def test_old_letters_are_forgotten(db: Database, secrets: Secrets) -> None:
    old, young = await posted(db, secrets), await posted(db, secrets)
    await db.execute("update letters set created_at = now() - interval '8 days' where letter_id = $1", old)
    assert await mail.forget_old(db) == 1
    assert await db.value("select letter_id from letters") == young


async def test_letters_to_an_address_can_be_forgotten(db: Database, secrets: Secrets) -> None:
    other = await posted(db, secrets, to="other@example.org")
    await posted(db, secrets)
    async with db.transaction() as tx:
        assert await mail.forget_letters_to(tx, secrets, TO.upper()) == 1
    assert await db.value("select letter_id from letters") == other


async def test_letters_written_under_the_old_secret_are_forgotten_too(db: Database, secrets: Secrets) -> None:
    await posted(db, secrets)
    async with db.transaction() as tx:
        assert await mail.forget_letters_to(tx, Secrets(f"{NEW},{OLD}"), TO) == 1


async def test_a_subject_makes_no_header(db: Database, settings: Settings, secrets: Secrets) -> None:
    letter_id = await posted(db, secrets, subject="Hello\r\nBcc: eve@example.org\n\nand more" + "x" * 500)
    async with serving(Server()) as server:
        with suppress(Exception):  # The job is not really leased, so that finishing it is refused.
            await Mailer(reaching(settings, server), secrets).send(job_of(letter_id), db)
    [message] = server.taken
    assert message["Subject"].startswith("Hello Bcc: eve@example.org and more")
    assert message["Bcc"] is None
    assert server.envelopes[0].rcpt_tos == [TO]


@pytest.mark.parametrize(
    "address",
    [
        "a@b.de\r\nBcc: eve@example.org",
        "a@b.de, eve@example.org",
        "a,b@example.org",
        "<a@b.de>",
        "a@b.de>",
        "a(b)@example.org",
        "a..b@example.org",
        "ü@example.org",
        "a@" + "b" * 70 + ".de",
        "a@..de",
        "@b.de",
        "a@",
        "nobody",
        "",
    ],
)
def test_what_is_not_one_address_is_refused(address: str) -> None:
    with pytest.raises(Invalid) as refused:
        mail.recipient(address)
    assert refused.value.members["errors"][0]["pointer"] == "/email"
    assert address not in str(refused.value) or not address


def test_a_domain_may_have_any_letters() -> None:
    assert mail.recipient("a@bücher.example").addr_spec == "a@xn--bcher-kva.example"


@pytest.mark.parametrize(
    "url", ["smtp://u%40b:p%3Aw@127.0.0.1:{}?starttls", "smtps://u%40b:p%3Aw@127.0.0.1:{}"]
)
async def test_a_password_goes_over_tls(
    db: Database,
    settings: Settings,
    secrets: Secrets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
) -> None:
    certificate = certified(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = Server()
    if url.startswith("smtps"):
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(
            lambda: SMTP(
                server, hostname="mail.test", loop=loop, auth_require_tls=False, authenticator=server.signs_in
            ),
            "127.0.0.1", 0, ssl=context,
        )  # fmt: skip
        server.port = listening.sockets[0].getsockname()[1]
        await sent_there(db, settings, secrets, server, url)
        listening.close()
    else:
        async with serving(server, tls_context=context, require_starttls=True, authenticator=server.signs_in):
            await sent_there(db, settings, secrets, server, url)
    assert server.sign_ins == [(b"u@b", b"p:w")]
    assert len(server.taken) == 1


async def test_a_server_without_a_good_certificate_gets_nothing(
    db: Database, settings: Settings, secrets: Secrets, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certified(tmp_path))
    async with serving(Server(), tls_context=context, require_starttls=True) as server:
        with pytest.raises(NotSent):
            await sent_there(db, settings, secrets, server, "smtp://127.0.0.1:{}?starttls")
    assert server.taken == []


async def sent_there(db: Database, settings: Settings, secrets: Secrets, server: Server, url: str) -> None:
    mailer = Mailer(reaching(settings, server, smtp_url=url.format(server.port)), secrets)
    async with db.transaction() as tx:
        letter_id = await mail.post(tx, secrets, to=TO, subject="Hello", text="Hello")
    job = job_of(letter_id)
    await db.execute("update jobs set lease = $2 where job_id = $1", letter_id, job.lease)
    await mailer.send(job, db)
    assert job.finished


def certified(folder: Path) -> Path:
    """A file with a key and its own certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    today = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(today - dt.timedelta(days=1)).not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )  # fmt: skip
    path = folder / "both.pem"
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(
        Encoding.PEM
    )
    path.write_bytes(text)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"smtp_url": "smtp://mail.test"},
        {"smtp_url": "http://mail.test", "mail_from": "a@b.de"},
        {"smtp_url": "smtp://", "mail_from": "a@b.de"},
        {"smtp_url": "smtp://mail.test:99999", "mail_from": "a@b.de"},
        {"smtp_url": "smtp://mail.test?tls", "mail_from": "a@b.de"},
        {"smtp_url": "smtp://user:password@mail.test", "mail_from": "a@b.de"},
        {"mail_from": "a@b.de, c@d.de"},
        {"mail_from": "nobody"},
        {"mail_from": "Opera <a@b.de>\r\nBcc: x@y.z"},
    ],
)
def test_a_bad_setting_is_told_without_the_password(changes: dict[str, Any]) -> None:
    with pytest.raises(BadSetting) as refused:
        mail.check(Settings(**changes))
    assert "HOLDFAST_" in str(refused.value)
    assert "user:password@mail.test" not in str(refused.value)


async def test_letters_are_sealed_again_under_a_new_secret(
    db: Database, settings: Settings, secrets: Secrets
) -> None:
    letters = {await posted(db, secrets) for _ in range(5)}
    both, after, pieces = Secrets(f"{NEW},{OLD}"), UUID(int=0), 0
    while True:
        async with db.transaction() as tx:
            last, unreadable = await mail.reseal_some(tx, both, after, 2)
        assert unreadable == 0
        if last is None:
            break
        after, pieces = last, pieces + 1
    assert pieces == 3
    rows = await db.rows("select letter_id, sealed from letters")
    assert {row["letter_id"] for row in rows} == letters
    new = Secrets(NEW)
    assert all(b"hopper" in new.unseal("letter", row["sealed"], row["letter_id"].bytes) for row in rows)


async def test_a_letter_that_nobody_takes_is_not_tried_again(
    db: Database, settings: Settings, secrets: Secrets
) -> None:
    letter_id = await posted(db, secrets)
    async with serving(Server("554 no")) as server:
        with pytest.raises(Discard, match=r"554 for g\*\*\*@example.org"):
            await Mailer(reaching(settings, server), secrets).send(job_of(letter_id), db)


async def test_what_staff_do_may_write_a_letter_and_read_none(db: Database, secrets: Secrets) -> None:
    tenant = db.of(new_id())
    await posted(tenant, secrets)
    assert await left(db) == (1, 1, 0)
    for statement in ("select from letters", "delete from letters", "update letters set sealed = ''"):
        with pytest.raises(Exception, match="permission denied"):
            await tenant.execute(statement)


async def test_a_letter_under_a_secret_that_was_dropped_is_a_dead_letter(
    db: Database, settings: Settings, secrets: Secrets, tmp_path: Path
) -> None:
    letter_id = await posted(db, secrets)
    mailer = Mailer(msgspec.structs.replace(settings, mail_folder=str(tmp_path)), Secrets(NEW))
    with pytest.raises(Discard, match="a secret that is not held"):
        await mailer.send(job_of(letter_id), db)


async def test_what_is_enclosed_is_made_when_it_is_sent(
    db: Database, settings: Settings, secrets: Secrets
) -> None:
    asked: list[str] = []

    async def made(about: Any) -> mail.Enclosed | None:
        asked.append(about["id"])
        if about["id"] == "gone":
            return None
        contents = b"x" * (mail.ENCLOSED_BYTES_MAX if about["id"] == "huge" else 10)
        return mail.Enclosed("Grüße.pdf", "application/pdf", contents)

    async def invited(_: Any) -> mail.Enclosed | None:
        return mail.Enclosed("a.ics", "text/calendar", b"BEGIN", {"method": "PUBLISH"})

    wanted = [
        mail.Enclosure(kind, {"id": which})
        for kind, which in (("paper", "gone"), ("paper", "one"), ("day", ""), ("paper", "huge"))
    ]
    letter_id = await posted(db, secrets, html="<p>Grüße</p>", enclosures=wanted)
    assert asked == []
    assert await db.value("select length(sealed) from letters") < 1000
    async with serving(Server()) as server:
        with pytest.raises(KeyError):
            await Mailer(reaching(settings, server), secrets).send(job_of(letter_id), db)
        assert server.taken == []
        worker = Worker(
            db,
            settings,
            {
                mail.SEND_ENCLOSED: Mailer(
                    reaching(settings, server), secrets, {"paper": made, "day": invited}
                ).send
            },
        )
        running = asyncio.create_task(worker.run())
        await until(lambda: server.taken)
        await worker.stop()
        await running
    [message] = server.taken
    assert asked == ["gone", "one", "huge"]
    assert message.get_content_type() == "multipart/mixed"
    found = [(part.get_filename(), part.get_content_type()) for part in message.iter_attachments()]
    assert found == [("Grüße.pdf", "application/pdf"), ("a.ics", "text/calendar")]
    day = list(message.iter_attachments())[1]
    assert day.get_param("method") == "PUBLISH"
    body = message.get_body(("plain",))
    assert body is not None and body.get_content().splitlines() == ["Grüße"]
