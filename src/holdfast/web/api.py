"""The public API as pages use it: asked within the process, by the same paths and with the same answers as from outside.

A page knows nothing that a stranger could not ask for, so whatever the shop does can be built by others, too. What a
visitor asks for through a page counts against their limits as if they had asked for it themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from holdfast.platform.http import JSON, PROBLEM, Call
from holdfast.platform.http import App as Served

# What of the visitor's own request goes along: who they are to limits, and what they read.
_PASSED_ON = (b"host", b"user-agent", b"accept-language", b"x-request-id")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API answered. `body` is the JSON, or the bytes of what is none; of a problem it has `code`, `title` and what
    belongs to it.
    """

    status: int
    headers: Mapping[bytes, bytes]
    body: Any

    @property
    def good(self) -> bool:
        """Whether it did what was asked."""
        return self.status < 400

    @property
    def code(self) -> str:
        """The code of the refusal, empty when there is none."""
        return "" if self.good else str(self.body["code"])


class Api:
    """Asks the app that it is told of by `serve`, which happens once all its routes are known."""

    def __init__(self) -> None:
        self._app: Served | None = None

    def serve(self, app: Served) -> None:
        """The app whose routes are asked from now on."""
        self._app = app

    async def get(
        self, call: Call[Any], path: str, query: Mapping[str, str] | None = None, *, secret: str | None = None
    ) -> Reply:
        """What a GET of the path answers; `secret` is the right to a booking."""
        return await self._ask(call, "GET", path, urlencode(query or {}).encode(), b"", secret, None)

    async def send(
        self,
        call: Call[Any],
        method: str,
        path: str,
        body: Any = None,
        *,
        secret: str | None = None,
        key: str | None = None,
    ) -> Reply:
        """What a POST or PATCH of the path with this JSON answers; `key` is its Idempotency-Key."""
        raw = b"" if body is None else msgspec.json.encode(body)
        return await self._ask(call, method, path, b"", raw, secret, key)

    async def _ask(
        self,
        call: Call[Any],
        method: str,
        path: str,
        query: bytes,
        body: bytes,
        secret: str | None,
        key: str | None,
    ) -> Reply:
        assert self._app is not None, "pages are asked for before the app is whole"
        headers = [(name, call.headers[name]) for name in _PASSED_ON if name in call.headers]
        headers += [(b"accept", JSON), (b"content-type", JSON), (b"content-length", b"%d" % len(body))]
        if secret is not None:
            headers.append((b"authorization", b"Bearer " + secret.encode("latin-1", "replace")))
        if key is not None:
            headers.append((b"idempotency-key", key.encode("latin-1", "replace")))
        scope = {
            **call.scope,
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": headers,
        }
        answer: dict[str, Any] = {"body": b""}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.update(status=message["status"], headers=dict(message["headers"]))
            else:
                answer["body"] += message.get("body", b"")

        await self._app(scope, receive, send)
        raw, given = answer["body"], answer["headers"]
        is_json = given.get(b"content-type") in (JSON, PROBLEM)
        return Reply(answer["status"], given, (msgspec.json.decode(raw) if raw else None) if is_json else raw)
