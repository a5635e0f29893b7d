"""Calls to addresses that a tenant has given: to public ones only, whatever the name, the address or the DNS says.

    async with outbound.client(settings) as http:
        reply = await outbound.post(http, url, content=body, headers=headers)

`check` is for the moment when an address is stored; each call checks again. A name is resolved once per connection, all
of its addresses are looked at, and the connection goes to one of these very addresses, so that a name which points
elsewhere a moment later (DNS rebinding) changes nothing. Redirects are not followed, cookies are not kept, proxies of the
environment are ignored.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore
import httpx

from holdfast.platform.db import no_transaction_is_open
from holdfast.platform.errors import Refusal
from holdfast.platform.settings import Settings

URL_LENGTH_MAX = 2000
HOST_LENGTH_MAX = 253
PORTS = frozenset({443, 8443})
RESOLVE_SECONDS = 5.0
CONNECT_SECONDS = 5.0
# For the whole call, so that a receiver that sends a byte now and then cannot hold it open.
CALL_SECONDS = 20.0
REPLY_BYTES_MAX = 65_536
CONNECTIONS_MAX = 50
ADDRESSES_TRIED_MAX = 4

Address = IPv4Address | IPv6Address
Resolve = Callable[[str], Awaitable[Sequence[str]]]

# IANA's registry of special addresses (RFC 6890), multicast, and the address under which Azure's hosts speak to guests.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(text)
    for text in """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
    192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15
    198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4""".split()
)
# All of IPv6 that is given out to the public; what embeds an IPv4 address (mapped, NAT64, ...) lies outside of it, but
# for Teredo and the special addresses beside it, documentation, 6to4 and documentation again.
_PUBLIC_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
# What else an installation for development may call. Link-local addresses, where clouds keep their keys, stay refused.
_OUR_OWN = tuple(
    IPv4Network(text) for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_OUR_OWN_V6 = (IPv6Network("::1/128"), IPv6Network("fc00::/7"))
# The same on Amazon's clouds, where it is no link-local address.
_KEYS_V6 = IPv6Address("fd00:ec2::254")

_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# What ends in a number is an IPv4 address to some resolvers, in one of many notations (URL Standard, "ends in a number").
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_INNER_NAMES = (".localhost", ".local", ".localdomain", ".internal", ".home.arpa", ".arpa")


class AddressRefused(Refusal):
    """The address is not one that may be called for a tenant; the detail says why."""

    code = "address_refused"
    status = 400
    title = "This address cannot be called."


class Unreachable(Exception):
    """The call came to no answer: no connection, a broken one, a certificate that is not trusted, or no time left."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `body` ends after REPLY_BYTES_MAX bytes, and is not decompressed."""

    status: int
    headers: httpx.Headers
    body: bytes


async def resolve(name: str) -> list[str]:
    """Every address of a name, by the system's resolver. Raises OSError when there is none."""
    loop = asyncio.get_running_loop()
    # With the dot at its end it is the whole name: no search domain is tried behind it. `localhost` is known without.
    whole = f"{name}." if "." in name else name
    found = await loop.getaddrinfo(whole, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def check(settings: Settings, url: str, resolve: Resolve = resolve) -> str:
    """The address in the form in which it is to be stored. Raises AddressRefused.

    A name that is not known now is refused, too. Behind an egress proxy names are left to the proxy.
    """
    parsed = _well_formed(settings, url)
    if settings.egress_proxy is None:
        try:
            await _addresses(settings, parsed.raw_host.decode("ascii"), resolve)
        except OSError:
            raise AddressRefused("The name of this address is not known.") from None
    return str(parsed)


@asynccontextmanager
async def client(
    settings: Settings, *, resolve: Resolve = resolve, tls: ssl.SSLContext | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client for `post`, to be kept open and shared; `tls` says whom to trust, by default the authorities of the web."""
    transport = _Guarded(settings, resolve, tls or httpx.create_ssl_context(trust_env=False))
    async with httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(CALL_SECONDS, connect=CONNECT_SECONDS),
        # One tenant's receiver must not set what another one's is sent.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        headers={"user-agent": "Holdfast", "accept-encoding": "identity"},
    ) as opened:
        yield opened


async def post(http: httpx.AsyncClient, url: str, *, content: bytes, headers: Mapping[str, str]) -> Reply:
    """POSTs to an address that a tenant has given; any status is a reply, redirects included.

    Raises AddressRefused, or Unreachable when no answer came within CALL_SECONDS.
    """
    assert no_transaction_is_open(), "a transaction would wait for somebody else's server"
    try:
        async with (
            asyncio.timeout(CALL_SECONDS),
            http.stream("POST", url, content=content, headers=headers) as answer,
        ):
            return Reply(answer.status_code, answer.headers, await _beginning(answer))
    except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
        raise Unreachable(str(error) or type(error).__name__) from error


async def _beginning(answer: httpx.Response) -> bytes:
    body = b""
    async for part in answer.aiter_raw():
        body += part
        if len(body) >= REPLY_BYTES_MAX:
            break
    return body[:REPLY_BYTES_MAX]


class _Guarded(httpx.AsyncHTTPTransport):
    """httpx's transport, which looks at each request's address and connects as `_Pinned` does."""

    def __init__(self, settings: Settings, resolve: Resolve, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls, trust_env=False, proxy=settings.egress_proxy)
        self._settings = settings
        if settings.egress_proxy is None:
            # httpx has no argument for the backend of the pool that it makes.
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=CONNECTIONS_MAX,
                network_backend=_Pinned(settings, resolve),
            )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        _well_formed(self._settings, str(request.url))
        return await super().handle_async_request(request)


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to an address that was looked at. TLS and `Host` still go by the name, because the pool knows no other."""

    def __init__(self, settings: Settings, resolve: Resolve) -> None:
        self._settings = settings
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- the interface of httpcore
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await _addresses(self._settings, host, self._resolve)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} is not known") from error
        failed: Exception | None = None
        for address in addresses[:ADDRESSES_TRIED_MAX]:
            try:
                return await self._inner.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore.ConnectError(f"{host} has no address")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _well_formed(settings: Settings, url: str) -> httpx.URL:
    """The parsed address, by the parser that the call goes by. Raises AddressRefused; does not ask the DNS."""
    if len(url) > URL_LENGTH_MAX:
        raise AddressRefused(f"An address has at most {URL_LENGTH_MAX} characters.")
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        raise AddressRefused("This is not an address such as https://example.org/hooks.") from None
    public = settings.egress == "public"
    if parsed.scheme != "https" and (public or parsed.scheme != "http"):
        raise AddressRefused("The address must begin with https://.")
    if parsed.userinfo:
        raise AddressRefused("An address carries no user name and no password.")
    if parsed.fragment:
        raise AddressRefused("An address has no part behind a #.")
    if public and (443 if parsed.port is None else parsed.port) not in PORTS:
        raise AddressRefused("The port must be 443 or 8443.")
    literal = _literal(host)
    if literal is not None:
        _refuse_inner(settings, [literal])
    elif public:
        _refuse_name(host)
    return parsed


def _refuse_name(host: str) -> None:
    if len(host) > HOST_LENGTH_MAX or not _NAME.fullmatch(host) or _ENDS_IN_NUMBER.fullmatch(host):
        raise AddressRefused("The host must be a whole name such as hooks.example.org.")
    if host.endswith(_INNER_NAMES):
        raise AddressRefused("The host is a name of an inner network.")


def _literal(host: str) -> Address | None:
    # Strict: of the many notations of IPv4 it reads four decimal numbers alone, and the others are names to it.
    try:
        return ip_address(host)
    except ValueError:
        return None


async def _addresses(settings: Settings, host: str, resolve: Resolve) -> list[Address]:
    """Every address of the host. Raises AddressRefused when one of them is not public, and OSError when there is none."""
    literal = _literal(host)
    if literal is not None:
        found = [literal]
    else:
        async with asyncio.timeout(RESOLVE_SECONDS):
            # A zone (`fe80::1%eth0`) belongs to addresses that are never public.
            found = [ip_address(text.partition("%")[0]) for text in await resolve(host)]
        if not found:
            raise OSError(f"{host} has no address")
    _refuse_inner(settings, found)
    return list(dict.fromkeys(found))


def _refuse_inner(settings: Settings, addresses: Iterable[Address]) -> None:
    public = settings.egress == "public"
    if not all(_is_public(address) or (not public and _is_ours(address)) for address in addresses):
        # Which address a name has is not said: it would tell what an inner DNS knows.
        raise AddressRefused("The host is in no public network.")


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    return (
        address.scope_id is None
        and address in _PUBLIC_V6
        and not any(address in network for network in _NOT_PUBLIC_V6)
    )


def _is_ours(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return any(address in network for network in _OUR_OWN)
    return address != _KEYS_V6 and any(address in network for network in _OUR_OWN_V6)
