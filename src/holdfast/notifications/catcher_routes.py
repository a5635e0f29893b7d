"""The letters in the mail folder as pages, so that whoever develops or tries the product sees what people would get.

Mounted by `app.py` on loopback alone, where `up` puts letters into a folder. A letter is shown in a frame that runs no
script and reaches nothing.
"""

from asyncio import to_thread
from base64 import b64encode
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from holdfast.platform.errors import NotFound
from holdfast.platform.http import ANYONE, HTML, Answer, Call, Routes

LISTED_MAX = 100
# In the frame: the inline styles of letters, and nothing else; links open beside it.
FRAME_POLICY = (
    b"sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; "
    b"base-uri 'self'; frame-ancestors 'self'"
)
FILE_POLICY = b"sandbox; default-src 'none'; frame-ancestors 'none'"


class LetterNotFound(NotFound):
    code = "letter_not_found"
    title = "There is no such letter in the mail folder."


@dataclass(frozen=True, slots=True)
class _Caught:
    """A letter as its file has it."""

    name: str
    message: EmailMessage

    @property
    def attachments(self) -> list[EmailMessage]:
        return list(self.message.iter_attachments())

    def body(self, kind: str) -> str | None:
        part = self.message.get_body((kind,))
        return None if part is None else str(part.get_content())


def catcher_routes(folder: Path) -> Routes:
    """`/dev/letters`: what is in the folder."""
    routes = Routes("development", missing={"letter_id": LetterNotFound, "number": LetterNotFound})

    @routes.get("/dev/letters", who=ANYONE, query=None, answers={200: "text/html"}, listed=False)
    async def list_caught(call: Call[None]) -> Answer:
        """The letters, the latest first."""
        return _page("caught_list.html", letters=await to_thread(_latest, folder), folder=str(folder))

    @routes.get("/dev/letters/{letter_id}", who=ANYONE, query=None, answers={200: "text/html"}, listed=False)
    async def read_caught(call: Call[None]) -> Answer:
        """One letter: its heads, its HTML in a frame, its plain text, its attachments."""
        letter = await to_thread(_read, folder, call)
        return _page("caught_letter.html", letter=letter, attachments=letter.attachments)

    @routes.get(
        "/dev/letters/{letter_id}/html", who=ANYONE, query=None, answers={200: "text/html"}, listed=False
    )
    async def read_caught_html(call: Call[None]) -> Answer:
        """The letter's HTML, for the frame."""
        html = (await to_thread(_read, folder, call)).body("html")
        if html is None:
            raise LetterNotFound
        shown = html.replace("<head>", '<head><base target="_blank">', 1)
        return Answer(200, shown.encode(), ((b"content-security-policy", FRAME_POLICY),), HTML)

    @routes.get(
        "/dev/letters/{letter_id}/attachments/{number:int}", who=ANYONE, query=None,
        answers={200: "application/octet-stream"}, listed=False,
    )  # fmt: skip
    async def read_caught_attachment(call: Call[None]) -> Answer:
        """One attachment, to be saved."""
        found = (await to_thread(_read, folder, call)).attachments
        if not 1 <= call.path["number"] <= len(found):
            raise LetterNotFound
        part = found[call.path["number"] - 1]
        contents = part.get_payload(decode=True)
        kept = "".join(each for each in part.get_filename() or "file" if each.isalnum() or each in "-_.")
        disposition = f'attachment; filename="{kept.encode("ascii", "ignore").decode()}"'.encode()
        headers = ((b"content-disposition", disposition), (b"content-security-policy", FILE_POLICY))
        body = contents if isinstance(contents, bytes) else b""
        return Answer(200, body, headers, part.get_content_type().encode("ascii", "ignore"))

    return routes


def _latest(folder: Path) -> list[_Caught]:
    # The names are UUIDs that begin with the time, so their order is that of the letters.
    paths = sorted(folder.glob("*.eml"), reverse=True)[:LISTED_MAX]
    return [_parsed(path) for path in paths]


def _read(folder: Path, call: Call[Any]) -> _Caught:
    # The path gave a UUID, so the name leads nowhere else.
    path = folder / f"{call.path['letter_id']}.eml"
    if not path.is_file():
        raise LetterNotFound
    return _parsed(path)


def _parsed(path: Path) -> _Caught:
    return _Caught(path.stem, message_from_bytes(path.read_bytes(), policy=default))


def _page(template: str, **values: Any) -> Answer:
    environment, policy = _templates()
    page = environment.get_template(template).render(**values)
    return Answer(200, page.encode(), ((b"content-security-policy", policy),), HTML)


@cache
def _templates() -> tuple[Environment, bytes]:
    environment = Environment(
        loader=PackageLoader(__package__, "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    assert environment.loader is not None
    style = environment.loader.get_source(environment, "caught.css")[0]
    environment.globals["style"] = style
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return environment, policy.encode()
