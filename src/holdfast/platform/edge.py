"""The edge of a process: who the client is, which names and which other sites are answered, and the server's own TLS.

`Edge` stands in front of the app and costs a request nothing that its settings do not ask for. What a client says of
itself is believed from trusted proxies alone.
"""

import ssl
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from uuid_utils import uuid7

from holdfast.platform import telemetry
from holdfast.platform.calls import Header, Message, Receive, Scope, Send, denying, problem
from holdfast.platform.errors import Refusal
from holdfast.platform.http import SECURITY
from holdfast.platform.settings import BadSetting, Settings

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
# Browsers ask again after this whether a site may call; ten minutes is what Chrome and Firefox both keep it for.
PREFLIGHT_SECONDS = 600
# Hops of X-Forwarded-For that are looked at, from the nearest one.
HOPS_MAX = 16
REMEMBERED_MAX = 4096
FORWARDED_BYTES_MAX = 1024

_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS = (
    b"Accept, Accept-Language, Authorization, Challenge-Answer, Content-Type, Idempotency-Key, If-Match, "
    b"If-None-Match, Last-Event-ID, Prefer, X-Request-Id"
)
_EXPOSED = b"ETag, Idempotency-Replayed, Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
_ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})

log = telemetry.log("edge")

Address = IPv4Address | IPv6Address
ASGI = Callable[[Scope, Receive, Send], Any]


class WrongHost(Refusal):
    """A page of another site may have been given this address as its own (DNS rebinding); browsers tell by the Host."""

    code = "wrong_host"
    status = 421
    title = "This server does not answer for the host that was asked for."


class WrongOrigin(Refusal):
    """Browsers let every site open a WebSocket, and CORS says nothing of it: the Origin has to be looked at."""

    code = "wrong_origin"
    status = 403
    title = "Pages of that site may not open a WebSocket here."


class HeadTooLarge(Refusal):
    code = "head_too_large"
    status = 431
    title = "The address and the headers of the request are too long or too many."


class Malformed(Refusal):
    code = "malformed"
    status = 400
    title = "This is no HTTP/1.1 request."


class Edge:
    """An ASGI app in front of another: sets the true client and scheme, looks at Host, speaks CORS, adds HSTS.

    WebSockets are opened to programs, to its own pages and to those of the CORS origins.

    Raises BadSetting for a setting that cannot be understood.
    """

    def __init__(self, app: ASGI, settings: Settings) -> None:
        self._app = app
        self._trusts = Proxies(settings.trusted_proxies)
        self._origins = _origins(settings.cors_origins)
        self._own = settings.address.lower().encode()
        self._hosts = _hosts(settings)
        self._known_hosts: set[bytes] = set()
        # A browser that is told so of `localhost` would refuse plain HTTP on every port of the machine.
        told = settings.hsts_seconds and (
            self._trusts or (settings.tls_cert and settings.host not in LOOPBACK)
        )
        self._hsts = (b"strict-transport-security", b"max-age=%d" % settings.hsts_seconds) if told else None
        self._adds = bool(self._origins or self._hsts is not None)

    @property
    def is_needed(self) -> bool:
        """Whether the settings ask for anything that the app alone does not do."""
        return bool(self._trusts or self._hosts is not None or self._adds)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        is_socket = scope["type"] == "websocket"
        if scope["type"] != "http" and not is_socket:
            return self._app(scope, receive, send)
        if self._trusts:
            self._trusts.see_through(scope)
        if self._hosts is not None:
            for name, value in scope["headers"]:
                if name == b"host" and value not in self._known_hosts and not self._answers_for(value):
                    refusal = WrongHost("HOLDFAST_ALLOWED_HOSTS lists the names it answers for.")
                    return _refuse(refusal, denying(send) if is_socket else send)
        if is_socket:
            if self._may_open(scope):
                return self._app(scope, receive, send)
            return _refuse(WrongOrigin("HOLDFAST_CORS_ORIGINS lists those that may."), denying(send))
        if not self._adds:
            return self._app(scope, receive, send)
        added: list[Header] = []
        if self._hsts is not None and scope["scheme"] == "https":
            added.append(self._hsts)
        if self._origins:
            # Whatever the Origin is, caches must know that the answer depends on it.
            added.append((b"vary", b"Origin"))
            headers = dict(scope["headers"])
            origin = headers.get(b"origin", b"")
            if origin in self._origins:
                added += (
                    (b"access-control-allow-origin", origin),
                    (b"access-control-allow-credentials", b"true"),
                )
                if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
                    return _allow(added, send)
                added.append((b"access-control-expose-headers", _EXPOSED))
        return self._app(scope, receive, _adding(added, send) if added else send)

    def _may_open(self, scope: Scope) -> bool:
        # Programs have no origin. The Host is the one that the browser asked: no page can make it send another.
        headers = scope["headers"]
        for name, origin in headers:
            if name == b"origin" and origin.lower() != self._own and origin not in self._origins:
                asked = [host for other, host in headers if other == b"host"]
                if asked != [origin.partition(b"://")[2]]:
                    return False
        return True

    def _answers_for(self, host: bytes) -> bool:
        assert self._hosts is not None
        name = _name_of(host.decode("latin-1").lower())
        parent = name.partition(".")[2]
        if name not in self._hosts and not (parent and f"*.{parent}" in self._hosts):
            return False
        if len(self._known_hosts) >= REMEMBERED_MAX:
            self._known_hosts.clear()
        self._known_hosts.add(host)
        return True


class Proxies:
    """The peers whose word on the client is taken; false when there are none.

    RFC 7239's `Forwarded` is not read: whoever sends it sends X-Forwarded-For too, and two sources could disagree.
    """

    def __init__(self, text: str) -> None:
        self._networks = []
        self._unix = False
        for part in _listed(text):
            if part == "unix":
                self._unix = True
                continue
            try:
                self._networks.append(ip_network(part))
            except ValueError:
                raise BadSetting(
                    f"HOLDFAST_TRUSTED_PROXIES: {part!r} is no address, no network such as 10.0.0.0/8, and not `unix`."
                ) from None
        self._client_of = lru_cache(REMEMBERED_MAX)(self._walk)
        self.trusts = lru_cache(REMEMBERED_MAX)(self._trusts)

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def see_through(self, scope: Scope) -> None:
        """Puts the client and the scheme that a trusted peer tells of into the scope; leaves any other's alone."""
        peer = scope["client"][0] if scope["client"] else ""
        if not self.trusts(peer):
            return
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        if forwarded:
            scope["client"] = (self._client_of(peer, b",".join(forwarded)[-FORWARDED_BYTES_MAX:]), 0)
        schemes = [value for name, value in scope["headers"] if name == b"x-forwarded-proto"]
        if schemes:
            # The last one is the nearest proxy's own; those before it may be the client's.
            scheme = schemes[-1].rpartition(b",")[2].strip().lower()
            if scheme in (b"http", b"https"):
                told = scheme.decode()
                scope["scheme"] = told.replace("http", "ws") if scope["type"] == "websocket" else told

    def _trusts(self, peer: str) -> bool:
        # A peer on a unix socket has no address.
        if not peer:
            return self._unix
        address = parsed(peer)
        return address is not None and self._lists(address)

    def _lists(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _walk(self, peer: str, forwarded: bytes) -> str:
        # From the right: each trusted hop wrote the entry before it. The first that is not trusted is the client,
        # whatever it wrote itself; where an entry is no address, the hop that passed it on has to stand for its client.
        client = peer
        for entry in forwarded.decode("latin-1").rsplit(",", HOPS_MAX)[: -HOPS_MAX - 1 : -1]:
            address = parsed(entry)
            if address is None:
                break
            client = str(address)
            if not self._lists(address):
                break
        return client


def parsed(text: str) -> Address | None:
    """The address that a proxy wrote, with or without a port; None when it is none. IPv4 in IPv6 is unwrapped."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


class Certificate:
    """The server's certificate and key, and the TLS context that shows them: TLS 1.2 and newer.

    Raises BadSetting when a file is missing, cannot be read or does not belong to the other.
    """

    def __init__(self, certificate: str, key: str) -> None:
        self._files = (Path(certificate), Path(key))
        self.context = self._loaded()
        self._stamp = self._stamped()

    def renew(self) -> bool:
        """Shows what the files hold now to those who connect from now on; False when they are as they were.

        Open connections go on. Files that will not do are told of in the log, and the old ones stay.
        """
        stamp = self._stamped()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._loaded()
            self._load(self.context)
        except BadSetting as error:
            log.warning("the certificate was not renewed", error=str(error))
            return False
        log.info("certificate renewed", file=str(self._files[0]))
        return True

    def _stamped(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._files)

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A client could else have the server do the costly half of a handshake again and again on one connection.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        certificate, key = self._files
        for variable, path in (("HOLDFAST_TLS_CERT", certificate), ("HOLDFAST_TLS_KEY", key)):
            try:
                path.read_bytes()
            except OSError as error:
                raise BadSetting(f"{variable}: {path} cannot be read: {error.strerror}.") from None
        asked: list[bool] = []

        def password() -> bytes:
            # Without this OpenSSL would ask the terminal.
            asked.append(True)
            return b""

        try:
            context.load_cert_chain(certificate, key, password)
        except (ssl.SSLError, OSError) as error:
            why = "not both are PEM files of what they should be"
            if asked:
                why = "the key is encrypted, and nobody is there to be asked for its password"
            elif "MISMATCH" in str(error):
                why = "they do not belong to each other"
            raise BadSetting(
                f"HOLDFAST_TLS_CERT ({certificate}) and HOLDFAST_TLS_KEY ({key}): {why}."
            ) from None


def certificate(settings: Settings) -> Certificate | None:
    """The certificate that the settings name; None for plain HTTP. Raises BadSetting."""
    if settings.tls_cert is None and settings.tls_key is None:
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        raise BadSetting("HOLDFAST_TLS_CERT and HOLDFAST_TLS_KEY (--tls-cert, --tls-key) go together.")
    return Certificate(settings.tls_cert, settings.tls_key)


def guarded(app: ASGI, settings: Settings) -> ASGI:
    """The app behind its edge; for HTTP alone, the app itself where the settings ask for nothing."""
    edge = Edge(app, settings)
    return edge if edge.is_needed else app


def unprotected(settings: Settings) -> list[str]:
    """What of these settings lets the network read along, in a sentence each; for the log and for `config`."""
    found = []
    for variable, url in (
        ("HOLDFAST_DATABASE_URL", settings.database_url),
        ("HOLDFAST_REDIS_URL", settings.redis_url),
    ):
        if url is not None and _is_in_the_clear(url):
            way = "sslmode=verify-full" if "DATABASE" in variable else "rediss://"
            found.append(f"{variable} leads to another machine and does not ask for TLS ({way}).")
    if settings.host not in LOOPBACK and settings.tls_cert is None and not settings.trusted_proxies:
        found.append(
            f"The API is open to the network at {settings.host} without TLS: set HOLDFAST_TLS_CERT and "
            "HOLDFAST_TLS_KEY, or put a proxy in front and name it in HOLDFAST_TRUSTED_PROXIES."
        )
    return found


def _is_in_the_clear(url: str) -> bool:
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        named = parts.netloc.rpartition("@")[2] or options.get("host", [""])[0]
    except ValueError:
        return False
    if parts.scheme == "rediss" or options.get("sslmode", [""])[0] in _ENCRYPTED:
        return False
    names = (_name_of(host.lower()) for host in named.split(",") if host)
    return any(not name.startswith(("/", "%2f")) and not _is_loopback(name) for name in names)


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = parsed(name)
    return address is not None and address.is_loopback


def _name_of(host: str) -> str:
    # A Host as browsers write it, without its port; a literal IPv6 address without its brackets.
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _hosts(settings: Settings) -> frozenset[str] | None:
    # Without a list only a server on loopback looks: there any web page of the world could be the caller. A proxy in
    # front has looked already, and passes on the name that it was asked for.
    listed = _listed(settings.allowed_hosts.lower())
    for name in listed:
        if "/" in name or name == "*":
            raise BadSetting(f"HOLDFAST_ALLOWED_HOSTS: {name!r} is no name such as tickets.example.org.")
    if not listed and (settings.host not in LOOPBACK or settings.trusted_proxies):
        return None
    own = [_name_of(urlsplit(settings.public_url).netloc.lower())] if settings.public_url else []
    return frozenset({*map(_name_of, listed), *own, *LOOPBACK, "*.localhost"})


def _origins(text: str) -> frozenset[bytes]:
    found = set()
    for origin in _listed(text):
        parts = urlsplit(origin)
        plain = f"{parts.scheme}://{parts.netloc}".lower()
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or "*" in origin
            or origin.lower() != plain
        ):
            raise BadSetting(
                f"HOLDFAST_CORS_ORIGINS: {origin!r} is no origin such as https://www.example.org. Each is named in "
                "full, because the scripts of these sites may act for whoever is signed in."
            )
        found.add(plain.encode())
    return frozenset(found)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _adding(added: Sequence[Header], send: Send) -> Send:
    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *added]
        await send(message)

    return send_more


async def _allow(added: Sequence[Header], send: Send) -> None:
    lines = [
        *added,
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _REQUEST_HEADERS),
        (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": lines})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(refusal: Refusal, send: Send) -> None:
    status, body, headers = refused(refusal)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def refused(refusal: Refusal) -> tuple[int, bytes, list[Header]]:
    """Status, body and headers of a refusal that is sent before there is a request for the app to answer."""
    request_id = uuid7().hex
    answer = problem(refusal, request_id)
    headers = [
        *SECURITY,
        *answer.headers,
        (b"content-type", answer.media),
        (b"content-length", b"%d" % len(answer.body)),
        (b"x-request-id", request_id.encode()),
    ]
    return answer.status, answer.body, headers
