"""The shop as an app: what a browser installs, the worker that answers without a network, and the page for then."""

from typing import Any

import msgspec

from holdfast.platform.http import Answer, Call, Routes
from holdfast.web.pages import Files, spoken_by
from holdfast.web.shop.counter import PAGE, Counter

# What pages without a network are made of. Everything else is left to the browser's own cache.
WITHOUT_NETWORK = (
    "app/app.js",
    "app/door.css",
    "app/door.js",
    "app/icon.svg",
    "app/kept.js",
    "app/list.js",
    "shop/shop.css",
)
OFFLINE = "/offline"
_SCRIPT = b"text/javascript; charset=utf-8"
_MANIFEST = b"application/manifest+json"
# A worker asks for what its own policy allows, which is the one that it came with.
_WORKER_HEADERS = (
    (b"cache-control", b"no-cache"),
    (b"content-security-policy", b"default-src 'none'; script-src 'self'; connect-src 'self'"),
)
_ASK_AGAIN = (b"cache-control", b"no-cache")


def routes(counter: Counter, static: Files, *, offline: bool) -> Routes:
    """`/service-worker.js`, `/manifest.webmanifest` and `/offline`. Unless `offline`, the worker takes itself away."""
    made = Routes("shop")
    worker = _worker(static) if offline else static.content("app/gone.js")

    async def send_worker(call: Call[None]) -> Answer:
        return Answer(200, worker, _WORKER_HEADERS, _SCRIPT)

    async def manifest(call: Call[None]) -> Answer:
        spoken = spoken_by(call)
        told = {
            "id": "/",
            "name": spoken.text("Tickets"),
            "short_name": spoken.text("Tickets"),
            "description": spoken.text("What is on, and your tickets, without a network, too."),
            "lang": spoken.code,
            "dir": "ltr",
            "start_url": "/",
            "scope": "/",
            "display": "standalone",
            "background_color": "#ffffff",
            "theme_color": "#ffffff",
            "categories": ["entertainment"],
            "icons": [
                {"src": static.url("app/icon.svg"), "type": "image/svg+xml", "sizes": "any"},
                _icon(static, 192, "any"),
                _icon(static, 512, "any"),
                _icon(static, 512, "maskable"),
            ],
            "shortcuts": [{"name": spoken.text("My tickets"), "url": "/tickets"}],
        }
        headers = (_ASK_AGAIN, (b"vary", b"accept-language, cookie"))
        return Answer(200, msgspec.json.encode(told), headers, _MANIFEST)

    async def without_network(call: Call[None]) -> Answer:
        return counter.page(call, "offline.html", {})

    options: dict[str, Any] = {**PAGE, "answers": {200: "text/plain"}}
    made.get("/service-worker.js", **options)(send_worker)
    made.get("/manifest.webmanifest", **options)(manifest)
    counter.serve(made, OFFLINE, without_network)
    return made


def _worker(static: Files) -> bytes:
    """The worker with what it keeps, so that it is another one with each release that changes any of it."""
    release = {"version": static.version, "files": [static.url(name) for name in WITHOUT_NETWORK]}
    return b"self.RELEASE = " + msgspec.json.encode(release) + b";\n" + static.content("app/worker.js")


def _icon(static: Files, size: int, purpose: str) -> dict[str, str]:
    name = f"app/icon-{'maskable-' if purpose == 'maskable' else ''}{size}.png"
    return {"src": static.url(name), "type": "image/png", "sizes": f"{size}x{size}", "purpose": purpose}
