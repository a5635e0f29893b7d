"""Tickets on paper: a PDF with a page for each."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from holdfast.platform.press import Press
from holdfast.tickets import pictures

PAGES_MAX = 100
TEMPLATE = Path(__file__).with_name("page.typ")


class Page(msgspec.Struct, frozen=True):
    """What one ticket says. `starts` is a date with its zone in words; `seat` is None in a standing area."""

    show: str
    starts: str
    venue: str
    organizer: str
    area: str
    seat: str | None
    tier: str
    holder: str
    reference: str
    number: int
    quantity: int
    code: str


class Printer:
    """Makes PDFs, one at a time. `fonts` is a folder with fonts for scripts that the built-in ones do not know."""

    def __init__(self, fonts: str | None = None) -> None:
        self._press = Press(TEMPLATE, fonts)

    async def pdf(self, pages: Sequence[Page]) -> bytes:
        """The PDF of 1 to PAGES_MAX tickets. Raises Busy when too many wait for theirs."""
        assert 1 <= len(pages) <= PAGES_MAX, "a document has its bounds"
        return await self._press.pdf(partial(inputs, pages))

    def close(self) -> None:
        """Lets go of the thread; what waits is not printed."""
        self._press.close()


def inputs(pages: Sequence[Page]) -> dict[str, str]:
    """What the template is given: data, in which nothing can be markup."""
    printed = [{**msgspec.structs.asdict(page), "square": pictures.svg(page.code).decode()} for page in pages]
    return {"tickets": msgspec.json.encode(printed).decode(), "title": pages[0].show}
