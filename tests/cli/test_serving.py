"""The server on real sockets: clients that are slow, silent, endless or many, and TLS of its own."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import Meta, Struct
from msgspec.structs import replace

from holdfast.cli import connections, serving
from holdfast.cli.connections import Connections
from holdfast.cli.serving import Server, listen
from holdfast.platform.edge import Certificate, certificate
from holdfast.platform.errors import Busy
from holdfast.platform.http import ANYONE, Answer, App, Call, Routes, build_app, event_stream
from holdfast.platform.settings import BadSetting, Settings
from tests.cli.running import SECRET, Running, Up, environment, holdfast, until
from tests.conftest import eventually
from tests.ports import free_port

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 30.0
# Nothing but what a test is about ends a connection.
PATIENT = Settings(head_seconds=600, body_seconds=600, keep_alive_seconds=3600, unread_seconds=3600)
GET = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LARGE = 16_000_000


@pytest.fixture(autouse=True)
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LOOK_SECONDS", 0.05)


class Hello(Struct):
    client: str
    scheme: str


class Text(Struct, forbid_unknown_fields=True):
    text: Annotated[str, Meta(max_length=1_000_000)]


class Endless:
    """A stream that has always more to say, and tells how much it said and whether it was closed."""

    def __init__(self) -> None:
        self.said = 0
        self.closed = asyncio.Event()

    def __aiter__(self) -> "Endless":
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(0)
        self.said += 1
        return b"data: " + b"x" * 10_000 + b"\n\n"

    async def aclose(self) -> None:
        self.closed.set()


def make(endless: Endless | None = None) -> App:
    routes = Routes("serving")

    @routes.get("/hello", who=ANYONE, answers={200: Hello}, listed=False)
    async def hello(call: Call[None]) -> Hello:
        return Hello(call.client_ip, call.scope["scheme"])

    @routes.post("/echo", who=ANYONE, body=Text, answers={200: Text}, listed=False)
    async def echo(call: Call[Text]) -> Text:
        return call.body

    @routes.get("/large", who=ANYONE, answers={200: "text/plain"}, listed=False)
    async def large(call: Call[None]) -> Answer:
        return Answer(200, b"x" * LARGE, media=b"text/plain")

    @routes.get("/endless", who=ANYONE, answers={200: "text/event-stream"}, listed=False)
    async def events(call: Call[None]) -> Answer:
        assert endless is not None
        return event_stream(endless)

    return build_app([routes])


@asynccontextmanager
async def served(settings: Settings = PATIENT, app: App | None = None) -> AsyncIterator[tuple[Server, int]]:
    listener = listen("127.0.0.1", 0)
    server = Server(app or make(), settings, lambda: None)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield server, listener.getsockname()[1]
    finally:
        server.should_exit = True
        for connection in tuple(server.server_state.connections):
            connection.transport.abort()
        await task


class Wire:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        if not self.writer.transport.is_closing():
            self.writer.write(data)

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return int(head.split(b" ")[1]), await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """What comes until the server hangs up."""
        found = b""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                while part := await self.reader.read(65_536):
                    found += part
            except ConnectionError:
                pass
        return found


@asynccontextmanager
async def wire(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=1 << 20)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


async def test_requests_follow_one_another_on_a_connection() -> None:
    async with served() as (_, port), wire(port) as line:
        for _ in range(3):
            line.send(GET)
            status, body = await line.answer()
            assert status == 200
            assert b'"scheme":"http"' in body
        line.send(GET * 3)
        assert [(await line.answer())[0] for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize("begun", [b"", b"\r\n", GET])
async def test_an_idle_connection_is_closed(begun: bytes) -> None:
    async with served(replaced(keep_alive_seconds=0.2)) as (_, port), wire(port) as line:
        line.send(begun)
        if begun == GET:
            assert (await line.answer())[0] == 200
        assert await line.rest() == b""


async def test_a_crowd_leaves_no_room_for_the_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CROWDED_IDLE_SECONDS", 0.1)
    async with served(replaced(connections_max=10)) as (_, port):
        lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(9)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await lines[0][0].read() == b""
        for _, writer in lines:
            writer.transport.abort()


@pytest.mark.parametrize(
    "begun", [b"G", b"GET /hello HTTP/1.1\r\n", b"GET /hello HTTP/1.1\r\nHost: localhost\r\nX-A: b"]
)
async def test_a_head_that_does_not_end_is_answered_408(begun: bytes) -> None:
    async with served(replaced(head_seconds=0.2)) as (_, port), wire(port) as line:
        line.send(begun)
        said = await line.rest()
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in said
    assert b"x-content-type-options: nosniff\r\n" in said
    assert b"connection: close\r\n" in said


async def test_a_head_that_drips_is_answered_408() -> None:
    async with served(replaced(head_seconds=0.2)) as (_, port), wire(port) as line:
        line.send(GET[:-2] + b"X-A: ")
        dripping = asyncio.create_task(drip(line, b"b"))
        assert (await line.rest()).startswith(b"HTTP/1.1 408 ")
        dripping.cancel()


@pytest.mark.parametrize(
    "head, body",
    [
        (b"Content-Length: 20\r\n\r\n", b""),
        (b"Content-Length: 20\r\n\r\n", b'{"text"'),
        (b"Content-Length: 20\r\nExpect: 100-continue\r\n\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\n{}\r\n"),
    ],
)
async def test_a_body_that_does_not_end_is_answered_408(head: bytes, body: bytes) -> None:
    async with served(replaced(body_seconds=0.2)) as (_, port), wire(port) as line:
        line.send(POST + head + body)
        said = (await line.rest()).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 408 ")
    assert said.count(b"HTTP/1.1") == 1


async def test_a_body_that_drips_is_answered_408() -> None:
    async with served(replaced(body_seconds=0.2)) as (_, port), wire(port) as line:
        line.send(POST + b"Content-Length: 100000\r\n\r\n")
        dripping = asyncio.create_task(drip(line, b" "))
        assert (await line.rest()).startswith(b"HTTP/1.1 408 ")
        dripping.cancel()


async def test_a_body_in_pieces_is_taken() -> None:
    async with served() as (_, port), wire(port) as line:
        line.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for piece in (b'{"te', b'xt": "', b"x" * 50_000, b'"}'):
            line.send(b"%x\r\n" % len(piece))
            await asyncio.sleep(0)
            line.send(piece + b"\r\n")
        line.send(b"0\r\nX-Trailer: unread\r\n\r\n" + GET)
        assert [(await line.answer())[0] for _ in range(2)] == [200, 200]


async def test_the_rest_of_a_body_that_was_refused_is_not_read_for_ever() -> None:
    async with served(replaced(head_seconds=0.2)) as (_, port), wire(port) as line:
        line.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % (1 << 40))
        sending = asyncio.create_task(drip(line, b" " * 100_000))
        said = await line.rest()
        sending.cancel()
    assert said.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nX-A: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET /hello HTTP/1.1\r\n" + b"X-A: b\r\n" * 101 + b"\r\n",
        b"GET /hello HTTP/1.1\r\n" + b"X-A: b\r\n" * 5000,
        b"GET /hello HTTP/1.1\r\nX-A: " + b"x" * 100_000,
        b"GET /" + b"x" * 100_000,
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: " + b"x" * 100_000,
    ],
    ids=[
        "long address",
        "long line",
        "many lines",
        "endless lines",
        "endless line",
        "endless address",
        "trailers",
    ],
)
@pytest.mark.parametrize("piece", [1000, 1_000_000])
async def test_a_head_has_a_size(head: bytes, piece: int) -> None:
    async with served() as (_, port), wire(port) as line:
        for start in range(0, len(head), piece):
            line.send(head[start : start + piece])
            await asyncio.sleep(0.001)
        said = await line.rest()
    # A system drops what it has not sent yet when a socket is closed with something unread.
    assert said == b"" or said.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))


async def test_a_head_of_many_lines_is_refused_with_a_reason() -> None:
    async with served() as (_, port), wire(port) as line:
        line.send(b"GET /hello HTTP/1.1\r\n" + b"X-A: b\r\n" * 101 + b"\r\n")
        status, body = await line.answer()
        assert status == 431
        assert b'"code":"head_too_large"' in body
    async with served() as (_, port), wire(port) as line:
        line.send(b"GET /hello HTTP/1.1\r\n" + b"X-A: b\r\n" * 100 + b"\r\n")
        assert (await line.answer())[0] == 200


@pytest.mark.parametrize("said", [b"\x16\x03\x01\x00\x00", b"HELLO\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n"])
async def test_what_is_no_request_is_refused(said: bytes) -> None:
    async with served() as (_, port), wire(port) as line:
        line.send(said)
        status, body = await line.answer()
    assert status == 400
    assert b'"code":"malformed"' in body


@pytest.mark.parametrize("behind", [b"HELLO\r\n\r\n", GET[:-2] + b"X-A: " + b"a" * 40_000 + b"\r\n\r\n"])
async def test_nothing_is_written_into_an_answer_that_has_begun(behind: bytes) -> None:
    endless = Endless()
    async with served(app=make(endless)) as (_, port), wire(port) as line:
        line.send(GET.replace(b"hello", b"endless"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            begun = await line.reader.readuntil(b"data: ")
        line.send(behind)
        whole = begun + await line.rest()
        assert whole.startswith(b"HTTP/1.1 200 ")
        assert whole.count(b"HTTP/1.1 ") == 1
        assert not whole.endswith(b"0\r\n\r\n"), "the client must see that it was broken off"
        async with asyncio.timeout(PATIENCE_SECONDS):
            await endless.closed.wait()


async def test_a_reader_that_does_not_read_is_cut_off_and_costs_no_memory() -> None:
    endless = Endless()
    async with served(replaced(unread_seconds=0.2), make(endless)) as (server, port):
        stopped = narrow(port)
        stopped.sendall(GET.replace(b"hello", b"endless"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await endless.closed.wait()
        # The high-water mark of the transport and the buffers of both sockets, and no more.
        assert endless.said < 1000
        await gone(server)
        stopped.close()


async def test_a_large_answer_that_nobody_takes_is_thrown_away() -> None:
    async with served(replaced(unread_seconds=0.2)) as (server, port):
        stopped = narrow(port)
        stopped.sendall(GET.replace(b"hello", b"large"))
        await until_true(lambda: bool(server.server_state.connections))
        await gone(server)
        stopped.close()


async def test_a_large_answer_that_is_taken_slowly_arrives_whole() -> None:
    async with served(replaced(unread_seconds=3600)) as (_, port), wire(port) as line:
        line.send(GET.replace(b"hello", b"large"))
        status, body = await line.answer()
        assert (status, len(body)) == (200, LARGE)


async def test_a_closed_connection_that_is_not_drained_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CLOSE_SECONDS", 0.2)
    async with served() as (server, port):
        stopped = narrow(port)
        stopped.sendall(GET.replace(b"hello", b"large")[:-2] + b"Connection: close\r\n\r\n")
        await until_true(lambda: bool(server.server_state.connections))
        await gone(server)
        stopped.close()


async def test_there_are_only_so_many_connections() -> None:
    async with served(replaced(connections_max=10)) as (server, port):
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(10)]
        await until_true(lambda: len(server.server_state.connections) == 10)
        async with wire(port) as line:
            said = await line.rest()
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: " in said
        for connection in held:
            connection.close()
        await until_true(lambda: not server.server_state.connections)
        async with wire(port) as line:
            line.send(GET)
            assert (await line.answer())[0] == 200


async def test_one_address_has_only_so_many_unless_it_is_ours_or_trusted() -> None:
    for trusted, admitted in (("", 3), ("203.0.113.0/24", 5)):
        connections = Connections(replaced(connections_per_address_max=3, trusted_proxies=trusted), set())
        assert count_admitted(connections, "203.0.113.7", 5) == admitted
        assert count_admitted(connections, "127.0.0.1", 5) == 5
        assert count_admitted(connections, "", 5) == 5
        assert count_admitted(connections, "203.0.113.7", 5) == admitted, "those that left are forgotten"


def count_admitted(connections: Connections, address: str, tries: int) -> int:
    admitted = 0
    for _ in range(tries):
        try:
            connections.admit(address)
        except Busy:
            continue
        admitted += 1
    for _ in range(tries):
        connections.left(address)
    return admitted


def replaced(**changes: Any) -> Settings:
    return replace(PATIENT, **changes)


def narrow(port: int) -> socket.socket:
    """A connection that takes next to nothing until it is read."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", port))
    return made


async def drip(line: Wire, data: bytes) -> None:
    while True:
        line.send(data)
        await asyncio.sleep(0.02)


async def gone(server: Server) -> None:
    await until_true(lambda: not server.server_state.connections)


async def until_true(holds: Callable[[], bool]) -> None:
    async def look() -> bool:
        return holds()

    await eventually(look)


class Authority:
    """A certificate authority that lasts for a test."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Authority")])
        self.certificate = self._signed(self.name, self._key.public_key(), is_authority=True)

    def issue(self, folder: Path, name: str = "localhost") -> tuple[str, str]:
        """Paths of a new certificate for `name` and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = self._signed(subject, key.public_key(), names=[name])
        (folder / "cert.pem").write_bytes(pem(signed))
        (folder / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return str(folder / "cert.pem"), str(folder / "key.pem")

    def trust(self) -> ssl.SSLContext:
        """What a client needs to believe this authority and nobody else."""
        return ssl.create_default_context(cadata=pem(self.certificate).decode())

    def _signed(
        self, subject: x509.Name, key: Any, *, names: Any = (), is_authority: bool = False
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())


def pem(made: x509.Certificate) -> bytes:
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def serial(port: int, trust: ssl.SSLContext) -> int:
    """The serial number of the certificate that is shown to a new client."""
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as line,
    ):
        shown = line.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number


async def test_behind_tls_everything_is_as_it_was(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue(tmp_path)
    settings = replaced(tls_cert=cert, tls_key=key)
    async with served(settings) as (_, port):
        async with httpx.AsyncClient(verify=authority.trust(), trust_env=False) as client:
            for _ in range(2):
                answer = await client.get(f"https://localhost:{port}/hello")
                assert answer.json() == {"client": "127.0.0.1", "scheme": "https"}
            answer = await client.post(f"https://localhost:{port}/echo", json={"text": "x" * 500_000})
            assert len(answer.json()["text"]) == 500_000
            assert len((await client.get(f"https://localhost:{port}/large")).content) == LARGE
        async with wire(port) as line:
            line.send(GET)
            assert b"200" not in await line.rest()


async def test_a_slow_client_is_cut_off_behind_tls_too(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue(tmp_path)
    trust = authority.trust()
    trust.check_hostname = False
    settings = replaced(tls_cert=cert, tls_key=key, head_seconds=0.5, unread_seconds=0.2)
    endless = Endless()
    async with served(settings, make(endless)) as (server, port):
        async with wire(port, trust) as line:
            line.send(GET[:-2])
            assert (await line.rest()).startswith(b"HTTP/1.1 408 ")
        async with wire(port) as line:  # it never says hello
            assert await line.rest() == b""
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.settimeout(PATIENCE_SECONDS)
            stopped = await asyncio.to_thread(trust.wrap_socket, plain)
            stopped.sendall(GET.replace(b"hello", b"endless"))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await endless.closed.wait()
            assert endless.said < 2000
            await gone(server)
            stopped.close()


async def test_old_versions_of_tls_are_not_spoken(authority: Authority, tmp_path: Path) -> None:
    context = Certificate(*authority.issue(tmp_path)).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_renewed_certificate_is_shown_and_a_bad_one_is_not(authority: Authority, tmp_path: Path) -> None:
    shown = Certificate(*authority.issue(tmp_path))
    assert not shown.renew()
    authority.issue(tmp_path)
    assert shown.renew()
    assert not shown.renew()
    (tmp_path / "cert.pem").write_text("nonsense")
    assert not shown.renew()
    (tmp_path / "key.pem").unlink()
    assert not shown.renew()
    authority.issue(tmp_path)
    assert shown.renew()


def mismatch(folder: Path) -> None:
    kept = (folder / "cert.pem").read_bytes()
    Authority().issue(folder)
    (folder / "cert.pem").write_bytes(kept)


def lock(folder: Path) -> None:
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"a password")
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
    )


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda folder: (folder / "cert.pem").unlink(), "HOLDFAST_TLS_CERT: .*cannot be read: No such file"),
        (lambda folder: (folder / "key.pem").unlink(), "HOLDFAST_TLS_KEY: .*cannot be read: No such file"),
        (lambda folder: (folder / "cert.pem").write_text("x"), "PEM files"),
        (lambda folder: (folder / "key.pem").write_text("x"), "PEM files"),
        (mismatch, "do not belong to each other"),
        (lock, "encrypted"),
    ],
    ids=[
        "no certificate",
        "no key",
        "nonsense for a certificate",
        "nonsense for a key",
        "mismatch",
        "encrypted",
    ],
)
def test_files_that_will_not_do_are_named(
    spoil: Callable[[Path], None], said: str, authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.issue(tmp_path)
    spoil(tmp_path)
    with pytest.raises(BadSetting, match=said):
        certificate(Settings(tls_cert=cert, tls_key=key))


def test_one_file_is_not_enough() -> None:
    for settings in (Settings(tls_cert="a"), Settings(tls_key="b")):
        with pytest.raises(BadSetting, match="go together"):
            certificate(settings)


@pytest.mark.slow
def test_up_serves_tls_and_says_so(authority: Authority, folder: Path) -> None:
    cert, key = authority.issue(folder)
    trust = authority.trust()
    with Up(folder, "--tls-cert", cert, "--tls-key", key, "--no-demo") as up:
        until(lambda: f"https://127.0.0.1:{up.port}" in up.said, "where it is")
        until(lambda: over_tls(up.port, trust), "an answer")
        before = serial(up.port, trust)
        authority.issue(folder)
        until(lambda: serial(up.port, trust) != before, "the new certificate")
        assert over_tls(up.port, trust), "it still answers"
        assert up.complaints() == []


@pytest.mark.slow
async def test_api_serves_tls_by_its_environment(
    authority: Authority, folder: Path, database_url: str
) -> None:
    cert, key = authority.issue(folder)
    environ = environment(
        HOLDFAST_DATABASE_URL=database_url,
        HOLDFAST_SECRET_KEY=SECRET,
        HOLDFAST_TLS_CERT=cert,
        HOLDFAST_TLS_KEY=key,
    )
    port = str(free_port())
    with Running("api", "--port", port, folder=folder, port=int(port), environ=environ) as api:
        until(lambda: over_tls(api.port, authority.trust()), "an answer")
        assert api.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["up", "api"])
def test_a_missing_certificate_is_said_before_anything_is_started(name: str, folder: Path) -> None:
    environ = environment(HOLDFAST_DATABASE_URL="postgresql:///x", HOLDFAST_SECRET_KEY=SECRET)
    gone = str(folder / "missing.pem")
    done = holdfast(name, "--port", "0", "--tls-cert", gone, "--tls-key", gone, environ=environ)
    assert done.returncode == 2
    assert "HOLDFAST_TLS_CERT" in done.stderr
    assert "missing.pem" in done.stderr


def over_tls(port: int, trust: ssl.SSLContext) -> bool:
    try:
        answer = httpx.get(f"https://localhost:{port}/readyz", verify=trust, timeout=10, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == 200
