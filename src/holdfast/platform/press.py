"""Documents on paper: a template of ours, and data in which nothing can be markup, become a PDF.

One compiler is kept for each template, because the first page of a new one takes ten times as long, and a thread of its own
runs it, so that the event loop does not wait for it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.platform.errors import Busy

if TYPE_CHECKING:
    import typst

# Documents that wait for the thread; a page takes some 15 ms, so nobody waits for more than seconds.
WAITING_MAX = 50


class Press:
    """Makes PDFs of one template, one at a time. `fonts` is a folder with fonts for scripts that the built-in ones do not
    know.

    Latin, Greek, Cyrillic and Hebrew are always there; whatever else the system has fonts for is printed, too.
    """

    def __init__(self, template: Path, fonts: str | None = None) -> None:
        self._template = template
        self._fonts = [fonts] if fonts else []
        self._thread = ThreadPoolExecutor(1, template.stem)
        self._waiting = 0

    async def pdf(self, inputs: Callable[[], dict[str, str]]) -> bytes:
        """The PDF of what `inputs`, which is called in the thread, gives the template. Raises Busy when too many wait."""
        if self._waiting >= WAITING_MAX:
            raise Busy("Too many documents are being printed.", retry_after=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._made, inputs)
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
        return typst.Compiler(str(self._template), root=self._template.parent, font_paths=self._fonts)

    def _made(self, inputs: Callable[[], dict[str, str]]) -> bytes:
        made = self._compiler.compile(format="pdf", sys_inputs=inputs())
        assert isinstance(made, bytes)
        return made
