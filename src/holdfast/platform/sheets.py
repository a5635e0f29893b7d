"""Lines of CSV that a spreadsheet only ever shows: no cell can become a formula, whoever wrote the text in it."""

import csv
import io
import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from urllib.parse import quote

from holdfast.platform import clock

MEDIA = b"text/csv; charset=utf-8"
# Excel takes a file without it for one in the code page of its country.
BOM = b"\xef\xbb\xbf"
FILENAME_MAX = 100

# The signs with which Excel, LibreOffice and Google Sheets begin a formula (OWASP, "CSV Injection"), with every character
# that NFKC turns into one of them, and the minus sign, which it leaves alone.
SIGNS = "=+-@＝＋－＠﹦﹢﹣﹫⁼⁺⁻₌₊₋﬩−"
# What programs strip before they look at the first sign: control characters, spaces, and marks that nobody sees.
_SKIPPED = (
    "\x00-\x08\x0b\x0c\x0e-\x20\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e"
    "\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001-\U000e007f"
)
# A file may be cut up with another separator than ours by who opens it, so each beginning inside a cell counts.
_BEGINNING = re.compile(rf"^(?=[\t\r\n])|(^|[,;|\"\t\r\n])([{_SKIPPED}]*[{re.escape(SIGNS)}])")
_UNSAFE_IN_FILENAME = re.compile(r"[^A-Za-z0-9._-]+")


def csv_line(cells: Sequence[object]) -> bytes:
    """One line as RFC 4180 has it, in UTF-8 with CRLF.

    None is an empty cell, a moment is RFC 3339, int and Decimal stay numbers. In everything else an apostrophe stands
    before what could be read as a formula, so that text is shown with it instead of being run.
    """
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n").writerow([_cell(cell) for cell in cells])
    return line.getvalue().encode("utf-8", "replace")


def attached(filename: str) -> tuple[bytes, bytes]:
    """The header that has an answer saved under this name (RFC 6266); anything but `A-Z a-z 0-9 . _ -` is encoded.

    Longer names lose their middle, the ending stays.
    """
    stem, dot, ending = filename.rpartition(".")
    name = (
        filename if len(filename) <= FILENAME_MAX else stem[: FILENAME_MAX - len(ending) - 1] + dot + ending
    )
    plain = _UNSAFE_IN_FILENAME.sub("_", name)
    encoded = quote(name.encode("utf-8", "replace"), safe="")
    return b"content-disposition", f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}".encode(
        "ascii"
    )


def _cell(cell: object) -> str:
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case int():
            return str(cell)
        case Decimal():
            return format(cell, "f")
        case datetime():
            return clock.rfc3339(cell)
    return _BEGINNING.sub(_marked, str(cell))


def _marked(found: re.Match[str]) -> str:
    return f"{found[1] or ''}'{found[2] or ''}"
