"""What a tenant may have called: public addresses, whatever the notation, the name, its DNS or the receiver say."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpcore
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from holdfast.platform import outbound
from holdfast.platform.outbound import AddressRefused, Unreachable
from holdfast.platform.settings import Settings

pytestmark = pytest.mark.anyio

PUBLIC = Settings()
ANY = Settings(egress="any")
NAME = "hooks.example.org"
# Reading the authorities of the web takes longer than a whole test.
TLS = ssl.create_default_context()
BODY = b'{"type": "booking.confirmed"}'

# 127.0.0.1 and friends in every notation that some resolver knows, and what is no public address in IPv6.
INNER_V4 = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.0.0.1.",
    "127.000.000.001", "0", "0.0.0.0", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "169.254.169.254", "169.254.170.2", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "100.64.0.1", "100.100.100.200",
    "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "168.63.129.16", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255", "１２７.０.０.１", "①②⑦.⓪.⓪.①", "127。0。0。1", "127%2e0%2e0%2e1", "1.2.3",
    "1.2.3.4.5", "256.256.256.256", "1.2.3.0x4",
]  # fmt: skip
INNER_V6 = [
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:169.254.169.254]", "[::127.0.0.1]",
    "[::ffff:8.8.8.8]", "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::8.8.8.8]", "[64:ff9b:1::1]", "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]", "[fc00::1]",
    "[fd00:ec2::254]", "[fd12:3456::1]", "[fe80::1]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[2606:4700::1%25lo]", "[fec0::1]",
    "[ff02::1]", "[100::1]", "[::1", "::1",
]  # fmt: skip


def is_literal(host: str) -> bool:
    try:
        return bool(ip_address(host.partition("%")[0]))
    except ValueError:
        return False


# Those that a resolver may give as an answer. A zone at a public address means nothing.
RESOLVED = sorted(
    {host.strip("[]") for host in (*INNER_V4, *INNER_V6) if is_literal(host.strip("[]"))}
    - {"2606:4700::1%25lo"}
)
INNER_NAMES = [
    "localhost", "LOCALHOST", "localhost.", "sub.localhost", "db", "metadata.google.internal", "METADATA.google.INTERNAL",
    "printer.local", "router.home.arpa", "host.docker.internal", "1.0.0.127.in-addr.arpa", "x.localdomain", "exa mple.org",
    "-a.example.org", "example..org", ".example.org", "example.org.", "a" * 64 + ".org", "a." * 130 + "org", "[example.org]",
    "example.org%00.evil.org", "ex*mple.org",
]  # fmt: skip
BAD_FORMS = [
    "", "hooks.example.org", "//hooks.example.org/", "http://hooks.example.org/", "ftp://hooks.example.org/",
    "file:///etc/passwd", "gopher://127.0.0.1:6379/_x", "https:hooks.example.org", "https:///x", "https://",
    "https://user@hooks.example.org/", "https://user:pass@hooks.example.org/",
    "https://hooks.example.org@127.0.0.1/", "https://hooks.example.org\\@127.0.0.1/", "https://127.0.0.1\\@hooks.example.org/",
    "https://hooks.example.org:22/", "https://hooks.example.org:80/", "https://hooks.example.org:0/",
    "https://hooks.example.org:6379/", "https://hooks.example.org:99999/", "https://hooks.example.org:x/",
    "https://hooks.example.org/#@127.0.0.1", "https://hooks.example.org/\r\nHost: 127.0.0.1", "https://hooks.example.org/\t",
    " https://hooks.example.org/", "javascript:alert(1)", "https://hooks.example.org/" + "a" * 2000, "https://\udcff.org/",
]  # fmt: skip


class Dns:
    """Answers each question with the next of its answers, and the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, name: str) -> list[str]:
        self.asked.append(name)
        return list(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(for a server of this name, for a client that trusts it)"""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    both = folder / "both.pem"
    pem = serialization.Encoding.PEM
    both.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(pem)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(both)
    return server, ssl.create_default_context(cadata=made.public_bytes(pem).decode())


class Receiver:
    """A server on loopback that keeps what it is sent, and answers `answer` to everything."""

    def __init__(self, answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n") -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.names: list[str | None] = []
        self.port = 0

    @asynccontextmanager
    async def open(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Receiver"]:
        if tls is not None:
            tls.sni_callback = lambda _socket, name, _context: self.names.append(name)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = await reader.readexactly(len(BODY)) if b"POST" in head else b""
                self.requests.append(head + body)
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


async def post(http: httpx.AsyncClient, url: str) -> outbound.Reply:
    return await outbound.post(http, url, content=BODY, headers={"content-type": "application/json"})


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [*INNER_V4, *INNER_V6, *INNER_NAMES])
async def test_hosts_that_are_not_public(host: str) -> None:
    """By their notation alone: the DNS would say that each of them is public."""
    dns = Dns(["93.184.216.34"])
    url = f"https://{host}/hook"
    with pytest.raises(AddressRefused):
        await outbound.check(PUBLIC, url, dns)
    async with outbound.client(PUBLIC, resolve=dns, tls=TLS) as http:
        with pytest.raises((AddressRefused, Unreachable)):
            await post(http, url)
    assert dns.asked == []


@pytest.mark.parametrize("url", BAD_FORMS)
async def test_addresses_of_another_form(url: str) -> None:
    dns = Dns(["93.184.216.34"])
    with pytest.raises(AddressRefused) as refused:
        await outbound.check(PUBLIC, url, dns)
    assert refused.value.code == "address_refused"
    assert dns.asked == []


@pytest.mark.parametrize("host", RESOLVED)
async def test_names_that_lead_to_what_is_not_public(host: str) -> None:
    """One such address among public ones is enough, in whichever place."""
    for answer in ([host], ["93.184.216.34", host], [host, "2606:2800:220:1::1"]):
        dns = Dns(answer)
        with pytest.raises(AddressRefused, match="public network"):
            await outbound.check(PUBLIC, f"https://{NAME}/", dns)
        async with outbound.client(PUBLIC, resolve=dns, tls=TLS) as http:
            with pytest.raises(AddressRefused):
                await post(http, f"https://{NAME}/")


@pytest.mark.parametrize(
    "url, stored",
    [
        ("https://hooks.example.org", "https://hooks.example.org"),
        ("https://HOOKS.Example.org:443/a?b=c", "https://hooks.example.org/a?b=c"),
        ("https://hooks.example.org:8443/", "https://hooks.example.org:8443/"),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("https://@hooks.example.org/", "https://hooks.example.org/"),
        ("https://93.184.216.34/", "https://93.184.216.34/"),
        ("https://[2606:2800:220:1::1]/", "https://[2606:2800:220:1::1]/"),
        ("https://under_score.example.org/", "https://under_score.example.org/"),
    ],
)
async def test_control_public_addresses_may_be_stored(url: str, stored: str) -> None:
    assert await outbound.check(PUBLIC, url, Dns(["93.184.216.34", "2606:2800:220:1::1"])) == stored


async def test_names_that_nobody_knows() -> None:
    async def nobody(name: str) -> list[str]:
        raise OSError(name)

    for dns in (nobody, Dns([])):
        with pytest.raises(AddressRefused, match="not known"):
            await outbound.check(PUBLIC, f"https://{NAME}/", dns)
        async with outbound.client(PUBLIC, resolve=dns, tls=TLS) as http:
            with pytest.raises(Unreachable):
                await post(http, f"https://{NAME}/")


async def test_for_development_our_own_addresses_may_be_called_but_no_keys_of_clouds() -> None:
    for url in (
        "http://127.0.0.1:9000/",
        "http://10.0.0.1/",
        "http://[::1]:9000/",
        "http://[fd12::1]/",
        "https://8.8.8.8/",
    ):
        assert await outbound.check(ANY, url, Dns([])) == url
    assert (
        await outbound.check(ANY, "http://localhost:9000/x", Dns(["127.0.0.1"])) == "http://localhost:9000/x"
    )
    for url in (
        "http://169.254.169.254/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:10.0.0.1]/",
        "ftp://10.0.0.1/",
    ):
        with pytest.raises(AddressRefused):
            await outbound.check(ANY, url, Dns([]))


async def test_the_system_resolver_is_asked_for_the_whole_name() -> None:
    assert "127.0.0.1" in await outbound.resolve("localhost")
    with pytest.raises(OSError):
        await outbound.resolve("nowhere.invalid")


# --- the DNS that changes its mind ----------------------------------------------------------------------------------


async def test_a_name_that_is_public_when_stored_and_ours_when_called() -> None:
    dns = Dns(["93.184.216.34"], ["127.0.0.1"])
    assert await outbound.check(PUBLIC, f"https://{NAME}/", dns)
    async with Receiver().open() as receiver, outbound.client(PUBLIC, resolve=dns, tls=TLS) as http:
        with pytest.raises(AddressRefused):
            await post(http, f"https://{NAME}/")
        assert receiver.connections == 0


async def test_the_connection_goes_to_the_address_that_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked once: what the DNS says after the look (here: loopback) reaches nobody."""
    dns = Dns(["93.184.216.34", "2606:2800:220:1::1"], ["127.0.0.1"])
    dialled: list[tuple[str, int]] = []

    async def dial(self: object, host: str, port: int, *rest: object) -> httpcore.AsyncNetworkStream:
        dialled.append((host, port))
        raise httpcore.ConnectError("nobody there")

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", dial)
    async with outbound.client(PUBLIC, resolve=dns, tls=TLS) as http:
        with pytest.raises(Unreachable):
            await post(http, f"https://{NAME}/")
    assert dns.asked == [NAME]
    assert dialled == [("93.184.216.34", 443), ("2606:2800:220:1::1", 443)]


# --- a call that is made --------------------------------------------------------------------------------------------


async def test_tls_and_host_go_by_the_name(tmp_path: Path) -> None:
    for_server, for_client = certificate(tmp_path, NAME)
    dns = Dns(["127.0.0.1"])
    async with (
        Receiver().open(for_server) as receiver,
        outbound.client(ANY, resolve=dns, tls=for_client) as http,
    ):
        url = f"https://{NAME}:{receiver.port}/hook?a=b"
        for _ in range(2):
            reply = await post(http, url)
            assert (reply.status, reply.body) == (204, b"")
    assert receiver.names == [NAME]
    head = receiver.requests[0]
    assert head.startswith(b"POST /hook?a=b HTTP/1.1\r\n")
    assert head.endswith(BODY)
    assert f"host: {NAME}:{receiver.port}\r\n".encode() in head.lower()
    # One connection, one look: it stays with the address while it is open.
    assert (receiver.connections, dns.asked) == (1, [NAME])


async def test_a_certificate_of_another_name_is_not_trusted(tmp_path: Path) -> None:
    for_server, for_client = certificate(tmp_path, "other.example.org")
    async with Receiver().open(for_server) as receiver:
        async with outbound.client(ANY, resolve=Dns(["127.0.0.1"]), tls=for_client) as http:
            with pytest.raises(Unreachable, match="certificate"):
                await post(http, f"https://{NAME}:{receiver.port}/")
        assert receiver.requests == []


async def test_redirects_are_answers_and_are_not_followed() -> None:
    async with Receiver().open() as inner:
        answer = f"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:{inner.port}/\r\nContent-Length: 0\r\n\r\n"
        async with Receiver(answer.encode()).open() as receiver, outbound.client(ANY, tls=TLS) as http:
            assert (await post(http, f"http://127.0.0.1:{receiver.port}/")).status == 307
        assert inner.connections == 0


async def test_a_redirect_would_be_looked_at_like_any_other_call() -> None:
    """The second net: were redirects followed one day, the guard would stand in front of each."""
    answer = b"HTTP/1.1 307 x\r\nLocation: http://169.254.169.254/latest/\r\nContent-Length: 0\r\n\r\n"
    async with Receiver(answer).open() as receiver, outbound.client(ANY, tls=TLS) as http:
        http.follow_redirects = True
        with pytest.raises(AddressRefused):
            await post(http, f"http://127.0.0.1:{receiver.port}/")


async def test_answers_without_end_are_cut() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 2_000_000
    async with Receiver(answer).open() as receiver, outbound.client(ANY, tls=TLS) as http:
        reply = await post(http, f"http://127.0.0.1:{receiver.port}/")
    assert (reply.status, len(reply.body)) == (200, outbound.REPLY_BYTES_MAX)


async def test_a_bomb_is_not_unpacked() -> None:
    packed = b"\x1f\x8b" + b"\0" * 100
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 102\r\n\r\n" + packed
    async with Receiver(answer).open() as receiver, outbound.client(ANY, tls=TLS) as http:
        assert (await post(http, f"http://127.0.0.1:{receiver.port}/")).body == packed
    assert b"accept-encoding: identity\r\n" in receiver.requests[0].lower()


async def test_a_receiver_that_dawdles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "CALL_SECONDS", 0.05)
    for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx"):
        async with Receiver(answer).open() as receiver, outbound.client(ANY, tls=TLS) as http:
            with pytest.raises(Unreachable):
                await post(http, f"http://127.0.0.1:{receiver.port}/")


async def test_cookies_are_not_kept() -> None:
    answer = b"HTTP/1.1 204 x\r\nSet-Cookie: a=b\r\n\r\n"
    async with Receiver(answer).open() as receiver, outbound.client(ANY, tls=TLS) as http:
        for _ in range(2):
            await post(http, f"http://127.0.0.1:{receiver.port}/")
    assert len(receiver.requests) == 2
    assert not any(b"cookie" in request.lower() for request in receiver.requests)


async def test_proxies_and_passwords_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with Receiver().open() as proxy, Receiver().open() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with outbound.client(ANY, tls=TLS) as http:
            await post(http, f"http://127.0.0.1:{receiver.port}/")
    assert (proxy.connections, receiver.connections) == (0, 1)
    assert b"authorization" not in receiver.requests[0].lower()


async def test_an_egress_proxy_is_given_the_name_and_nothing_inner() -> None:
    async with Receiver(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").open() as proxy:
        settings = Settings(egress_proxy=f"http://127.0.0.1:{proxy.port}")
        dns = Dns(["127.0.0.1"])
        assert await outbound.check(settings, f"https://{NAME}/", dns) == f"https://{NAME}/"
        async with outbound.client(settings, resolve=dns) as http:
            with pytest.raises(Unreachable, match="403"):
                await post(http, f"https://{NAME}/")
            for host in ("127.0.0.1", "[::1]", "localhost", "169.254.169.254"):
                with pytest.raises(AddressRefused):
                    await post(http, f"https://{host}/")
    assert dns.asked == []
    assert [request.split(b"\r\n")[0] for request in proxy.requests] == [
        f"CONNECT {NAME}:443 HTTP/1.1".encode()
    ]
