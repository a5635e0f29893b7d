"""Tickets on paper: a PDF with a page for each.

One compiler is kept per process, because the first page of a new one takes ten times as long, and a thread of its own
runs it, so that the event loop does not wait for it.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from holdfast.platform.errors import Busy
from holdfast.tickets import pictures

if TYPE_CHECKING:
    import typst

PAGES_MAX = 100
# Documents that wait for the thread; a page takes some 15 ms, so nobody waits for more than seconds.
WAITING_MAX = 50
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
    """Makes PDFs, one at a time. `fonts` is a folder with fonts for scripts that the built-in ones do not know.

    Latin, Greek, Cyrillic and Hebrew are always there; whatever else the system has fonts for is printed, too.
    """

    def __init__(self, fonts: str | None = None) -> None:
        self._fonts = [fonts] if fonts else []
        self._thread = ThreadPoolExecutor(1, "tickets")
        self._waiting = 0

    async def pdf(self, pages: Sequence[Page]) -> bytes:
        """The PDF of 1 to PAGES_MAX tickets. Raises Busy when too many wait for theirs."""
        assert 1 <= len(pages) <= PAGES_MAX, "a document has its bounds"
        if self._waiting >= WAITING_MAX:
            raise Busy("Too many tickets are being printed.", retry_after=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._made, pages)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Lets go of the thread; what waits is not printed."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    @cached_property
    def _compiler(self) -> "typst.Compiler":
        # Imported when there is something to print: most processes never have.
        import typst

        # Its root is a folder of ours, and the page reads no file: the data cannot ask for one, for it is no markup.
        return typst.Compiler(str(TEMPLATE), root=TEMPLATE.parent, font_paths=self._fonts)

    def _made(self, pages: Sequence[Page]) -> bytes:
        made = self._compiler.compile(format="pdf", sys_inputs=inputs(pages))
        assert isinstance(made, bytes)
        return made


def inputs(pages: Sequence[Page]) -> dict[str, str]:
    """What the template is given: data, in which nothing can be markup."""
    printed = [{**msgspec.structs.asdict(page), "square": pictures.svg(page.code).decode()} for page in pages]
    return {"tickets": msgspec.json.encode(printed).decode(), "title": pages[0].show}
