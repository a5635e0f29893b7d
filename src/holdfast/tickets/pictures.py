"""The square picture of a code, as SVG and as PNG."""

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import segno

# ISO/IEC 18004, 9.1: a white border of four squares, without which readers do not find the code.
BORDER = 4
# Pixels per square: 530 in all, sharp on every screen.
PNG_SCALE = 10
# Making one takes milliseconds of pure Python, and a ticket that is looked at is soon looked at again.
KEPT = 256


def svg(code: str) -> bytes:
    """The code as an SVG that takes the size of the place where it is put."""
    return _saved(_square(code), kind="svg", omitsize=True, xmldecl=False, svgclass=None, lineclass=None)


def png(code: str) -> bytes:
    """The code as a black and white PNG of 530 by 530 pixels."""
    return _saved(_square(code), kind="png", scale=PNG_SCALE)


@lru_cache(KEPT)
def _square(code: str) -> "segno.QRCode":
    # Imported when there is something to draw: it takes 12 MB, and most processes never have.
    import segno

    # Level M and no better where there is room: 15 % may be unreadable, and the squares stay large.
    return segno.make_qr(code, error="m", boost_error=False)


def _saved(square: "segno.QRCode", **options: Any) -> bytes:
    out = BytesIO()
    # The white is drawn, for a page may be dark.
    square.save(out, border=BORDER, light="white", **options)
    return out.getvalue()
