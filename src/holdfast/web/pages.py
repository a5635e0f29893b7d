"""What every page is made with: templates, a policy that allows our own files alone, and the files under /static.

The address of a file carries the digest of all of them, so a browser may keep it for a year, and modules that import one
another by relative paths always come from one release.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from holdfast.platform.errors import NotFound
from holdfast.platform.http import ANYONE, HTML, Answer, Call, Routes, takes_gzip
from holdfast.platform.languages import CODES, Code, Language, language

LANGUAGE_COOKIE = "language"
_MEDIA = {
    "js": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "svg": b"image/svg+xml",
    "png": b"image/png",
    "webmanifest": b"application/manifest+json",
}
_FOR_A_YEAR = b"public, max-age=31536000, immutable"
# Below this a compressed file is hardly smaller, and costs the browser a step.
_COMPRESSED_FROM = 500


@dataclass(frozen=True, slots=True)
class File:
    """One file as it is served; `packed` is gzipped, None where that is of no use."""

    media: bytes
    content: bytes
    packed: bytes | None


class Files:
    """Everything under web/static, read once. `url` is what templates and modules are given."""

    def __init__(self) -> None:
        self._files = dict(_read(files(__package__).joinpath("static"), ""))
        digest = sha256()
        for name in sorted(self._files):
            digest.update(name.encode() + b"\0" + self._files[name].content)
        self.version = digest.hexdigest()[:12]

    def url(self, name: str) -> str:
        """The address of a file, such as `shop/shop.css`. Raises KeyError for one that is not there."""
        assert name in self._files, f"{name} is no file of web/static"
        return f"/static/{self.version}/{name}"

    def content(self, name: str) -> bytes:
        """What is in a file that is there."""
        return self._files[name].content

    def answer(self, call: Call[Any], name: str) -> Answer:
        """The file, gzipped for who takes that. Raises NotFound."""
        file = self._files.get(name)
        if file is None:
            raise NotFound
        headers = ((b"cache-control", _FOR_A_YEAR), (b"vary", b"accept-encoding"))
        if file.packed is not None and takes_gzip(call):
            return Answer(200, file.packed, (*headers, (b"content-encoding", b"gzip")), file.media)
        return Answer(200, file.content, headers, file.media)


class Pages:
    """Renders the templates of one folder of `web`, such as `shop`."""

    def __init__(self, folder: str, static: Files, *, offline: bool = False) -> None:
        """`offline`: whether pages have the browser keep tickets for when there is no network."""
        self.offline = offline
        self._static = static
        self._environment = Environment(
            loader=PackageLoader("holdfast.web", folder),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["static"] = static.url
        self._environment.globals["offline"] = offline

    def answer(
        self,
        call: Call[Any],
        template: str,
        values: Mapping[str, Any],
        *,
        status: int = 200,
        embedded_by: str = "'none'",
        pays_at: str = "",
        spoken: Language | None = None,
    ) -> Answer:
        """The page in the visitor's language, unless `spoken` is given. `embedded_by` are the sites that may show it in a frame, `pays_at` those
        that its forms may lead to besides us.
        """
        spoken = spoken or spoken_by(call)
        page = self._environment.get_template(template).render(
            t=spoken.text, n=spoken.plural, money=spoken.money, moment=spoken.moment, lang=spoken.code, languages=CODES,
            **{"here": _here(call), **values},
        )  # fmt: skip
        policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; "
            f"form-action 'self' {pays_at}; frame-ancestors {embedded_by}"
        )
        headers = (
            (b"content-security-policy", policy.encode("ascii")),
            (b"content-language", spoken.code.encode()),
            (b"vary", b"accept-language, cookie"),
        )
        return Answer(status, page.encode(), headers, HTML)


def file_routes(static: Files) -> Routes:
    """`GET /static/{version}/...`. Files of another version are not there: the page that asks is older, and reloads."""
    routes = Routes("pages")

    async def serve(call: Call[None]) -> Answer:
        if call.path["version"] != static.version:
            raise NotFound
        return static.answer(
            call, "/".join(call.path[part] for part in ("folder", "file") if part in call.path)
        )

    # Not counted: a page needs several of them at once, and they cost nothing.
    for path in ("/static/{version:str}/{file:str}", "/static/{version:str}/{folder:str}/{file:str}"):
        routes.get(path, who=ANYONE, query=None, limit=None, answers={200: "text/plain"}, listed=False)(serve)
    return routes


def spoken_by(call: Call[Any]) -> Language:
    """The language of a visitor: the one they chose, else the first of their browser's that there is, else English."""
    chosen = cookie(call, LANGUAGE_COOKIE)
    if chosen in CODES:
        return language(chosen)
    return language(_accepted(call.header("accept-language") or ""))


def cookie(call: Call[Any], name: str) -> str | None:
    """The value of a cookie of the request."""
    for part in (call.header("cookie") or "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return None


def _here(call: Call[Any]) -> str:
    """Where the visitor can come back to: the page, or the one above what a form was sent to."""
    if call.method == "POST":
        return quote(call.scope["path"].rpartition("/")[0]) or "/"
    query = call.scope["query_string"].decode("latin-1")
    return quote(call.scope["path"]) + (f"?{query}" if query else "")


def _accepted(header: str) -> Code:
    # RFC 9110, section 12.5.4, as far as it matters between two languages.
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate(header.split(",")[:20]):
        tag, _, weight = part.strip().partition(";q=")
        try:
            wanted.append((-float(weight or 1), place, tag.partition("-")[0].lower()))
        except ValueError:
            continue
    for rank, _, spoken in sorted(wanted):
        if rank < 0 and spoken in CODES:
            return spoken
    return "en"


def _read(folder: Traversable, prefix: str) -> list[tuple[str, File]]:
    found: list[tuple[str, File]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _read(entry, f"{prefix}{entry.name}/")
            continue
        ending = entry.name.rpartition(".")[2]
        if ending in _MEDIA:
            content = entry.read_bytes()
            packed = gzip.compress(content, 9, mtime=0) if len(content) >= _COMPRESSED_FROM else None
            found.append((prefix + entry.name, File(_MEDIA[ending], content, packed)))
    return found
