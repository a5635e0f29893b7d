"""Pictures that strangers send, made anew: what is kept are pixels that this process has written itself.

Only PNG, JPEG and WebP are read, told by their content; so neither scripts (SVG), nor what hides behind, before or within
a picture, nor where and by whom it was taken is ever served.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from holdfast.platform.errors import Busy, Refusal

if TYPE_CHECKING:
    from PIL.Image import Image

MEDIA = b"image/webp"
SENT_BYTES_MAX = 5 * 1_048_576
# As a phone takes them (8,000 x 5,000), and 160 MB while it is being read.
PIXELS_MAX = 40_000_000
WIDTHS = (320, 800, 1600)
# Higher pictures are made narrower, so that each of them is at most so many times as high as the width it stands for.
HEIGHT_TIMES = 2
KEPT_BYTES_MAX = 1_000_000
# One after the other, because of the memory; those who wait hold what they have sent.
WAITING_MAX = 8

_FORMATS = ("PNG", "JPEG", "WEBP")
# The first is what looks like the original; noise needs the last one to stay below KEPT_BYTES_MAX.
_QUALITIES = (82, 60, 30, 1)


class NotAPicture(Refusal):
    """What was sent is no PNG, JPEG or WebP, or a broken one."""

    code = "not_a_picture"
    status = 400
    title = "Send a PNG, JPEG or WebP that is whole."


class PictureTooLarge(Refusal):
    code = "picture_too_large"
    status = 413
    title = f"A picture has at most {PIXELS_MAX // 1_000_000} million pixels."


@dataclass(frozen=True, slots=True)
class Rendition:
    """A picture in one width, as WebP."""

    width: int
    height: int
    contents: bytes


class Pictures:
    """Makes pictures anew, one at a time in a thread of its own; close it when done."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._waiting = 0

    async def renditions(self, raw: bytes) -> list[Rendition]:
        """What `renditions` makes. Raises what it raises, and Busy when WAITING_MAX pictures are under way."""
        if self._waiting >= WAITING_MAX:
            raise Busy("Too many pictures are being sent just now.", retry_after=5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, renditions, raw)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Lets go of the thread; pictures that have not begun are given up."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def renditions(raw: bytes) -> list[Rendition]:
    """The picture in up to three widths (WIDTHS), none wider than it was sent, narrowest first; blocks for up to seconds.

    Upright as its orientation says, the first frame where it moves. Raises NotAPicture and PictureTooLarge.
    """
    # Imported when a picture comes, because it takes as long as all the rest of a start.
    from PIL import Image, ImageOps

    try:
        # It reads the head alone: what it says of the size is looked at before anything of that size is made.
        picture: Image.Image = Image.open(BytesIO(raw), formats=_FORMATS)
        if picture.width * picture.height <= PIXELS_MAX:
            picture = ImageOps.exif_transpose(_reduced(picture))
            return [_rendition(picture, box) for box in _boxes(picture.size)]
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        pass
    except PictureTooLarge:
        raise
    except Exception as error:
        # A library of many parsers: what it raises on purpose and by mistake cannot be told apart, nor need be.
        raise NotAPicture from error
    raise PictureTooLarge


def _boxes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """The sizes that a picture of this size is kept in, narrowest first."""
    width, height = size
    found = []
    for wanted in WIDTHS:
        scale = min(1.0, wanted / width, wanted * HEIGHT_TIMES / height)
        found.append((max(1, round(width * scale)), max(1, round(height * scale))))
    return list(dict.fromkeys(found))


def _reduced(picture: "Image") -> "Image":
    """The picture in plain colours, no larger in either direction than the largest that is kept."""
    side = WIDTHS[-1] * HEIGHT_TIMES
    # JPEG is read in an eighth, a quarter or a half of its size where that is enough.
    picture.draft(None, (side, side))
    plain = "RGBA" if picture.has_transparency_data else "RGB"
    if picture.mode.startswith("I;16"):
        # Sixteen bits of grey, of which the upper ones are seen.
        picture = picture.point(lambda value: value / 256, "L")
    if picture.mode != plain:
        picture = _with_orientation(picture.convert(plain), picture)
    picture.thumbnail((side, side))
    return picture


def _with_orientation(made: "Image", source: "Image") -> "Image":
    made.getexif().update(source.getexif())
    return made


def _rendition(picture: "Image", box: tuple[int, int]) -> Rendition:
    from PIL import Image

    pixels = picture.resize(box, Image.Resampling.LANCZOS)
    # What is left in it besides the pixels (profiles, notes, places) would be written along.
    pixels.info = {}
    for quality in _QUALITIES:
        made = BytesIO()
        pixels.save(made, "WEBP", quality=quality, method=4, exif=b"", icc_profile=b"", xmp=b"")
        if made.tell() <= KEPT_BYTES_MAX:
            return Rendition(*box, made.getvalue())
    raise PictureTooLarge("This picture cannot be made small enough.")
