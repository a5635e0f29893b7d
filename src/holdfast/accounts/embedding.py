"""Which sites may show an organizer's shows in a frame: origins, which browsers hold the page to."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.errors import Invalid
from holdfast.platform.ids import OrganizerId

ORIGINS_MAX = 20
ORIGIN_LENGTH_MAX = 300
# As DNS has names (RFC 1123, section 2.1); those with other letters come as their A-labels (xn--...).
_HOST = re.compile(
    r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
_DEFAULT_PORTS = {"https": 443, "http": 80}
# Where somebody tries it out on their own machine. Anywhere else a page without TLS could be anybody's.
_OWN_MACHINE = ("localhost", "127.0.0.1")

sql = load_queries(__file__, "embedding.sql")


def origin(text: str, pointer: str) -> str:
    """The origin as browsers write it: lower case, without the port that is meant anyway.

    Raises Invalid at `pointer` for anything else than one host under https, or this machine under http: no path, no name or
    password, no `*`.
    """
    wrong = Invalid(
        "An origin is https:// and a host, perhaps with a port: https://www.example.org. "
        "Hosts with letters beyond a to z are written as xn--.",
        pointer=pointer,
    )
    try:
        parts = urlsplit(text.strip().lower())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _OWN_MACHINE):
        raise wrong
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise wrong
    if not _HOST.fullmatch(host):
        raise wrong
    return f"{parts.scheme}://{host}" + (f":{port}" if port and port != _DEFAULT_PORTS[parts.scheme] else "")


async def embed_origins(db: Database | Transaction, organizer_id: OrganizerId) -> list[str]:
    """The origins that may frame this organizer's shows; none for an organizer that is not there."""
    return await db.value(sql.embed_origins, organizer_id) or []


async def set_embed_origins(tx: Transaction, organizer_id: OrganizerId, texts: Sequence[str]) -> list[str]:
    """Sets all of them, each once, in the given order. Raises Invalid as `origin` does."""
    found = list(dict.fromkeys(origin(text, f"/origins/{i}") for i, text in enumerate(texts)))
    await tx.execute(sql.set_embed_origins, organizer_id, found)
    return found
