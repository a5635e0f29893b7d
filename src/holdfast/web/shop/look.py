"""The colour of an organizer's pages, as a stylesheet of its own: pages have no inline style, and it may be kept for long.

An organizer chooses a colour, not whether people can read. The band has the very colour, with black or white on it; links
and buttons have it as much darker, or on dark pages lighter, as it takes.
"""

import re
from typing import Any

from holdfast.platform.errors import NotFound
from holdfast.platform.http import Answer, Call, Routes
from holdfast.web.shop.counter import PAGE

# WCAG 2.2, 1.4.3: text of any size.
CONTRAST_MIN = 4.5
# What text stands on, as in shop.css: --ground and --raised.
LIGHT, DARK = ("#ffffff", "#f4f5f8"), ("#11141a", "#1a1f27")
_WHITE, _BLACK = "#ffffff", "#000000"
_STEPS = 20
_SHEET = re.compile(r"[0-9a-f]{6}\.css")
_MEDIA = b"text/css; charset=utf-8"
_HEADERS = ((b"cache-control", b"public, max-age=86400"),)


def routes() -> Routes:
    """`/look/{colour}.css`."""
    made = Routes("shop")
    options: dict[str, Any] = {**PAGE, "answers": {200: "text/plain"}}

    @made.get("/look/{sheet:str}", **options)
    async def look(call: Call[None]) -> Answer:
        name = call.path["sheet"]
        if not _SHEET.fullmatch(name):
            raise NotFound
        return Answer(200, sheet(f"#{name[:6]}").encode("ascii"), _HEADERS, _MEDIA)

    return made


def sheet(colour: str) -> str:
    """The properties of shop.css that follow from a colour, #rrggbb."""
    light, dark = legible(colour, LIGHT, _BLACK), legible(colour, DARK, _WHITE)
    return (
        f":root{{--look:{colour};--on-look:{text_on(colour)};--brand:{light};--on-brand:{text_on(light)}}}"
        f"@media(prefers-color-scheme:dark){{:root{{--brand:{dark};--on-brand:{text_on(dark)}}}}}\n"
        ".top{border-block-start:0.375rem solid var(--look)}\n"
    )


def legible(colour: str, grounds: tuple[str, ...], towards: str) -> str:
    """The colour, mixed with as little of `towards` as makes it legible on all of the grounds."""
    for step in range(_STEPS + 1):
        mixed = _mixed(colour, towards, step / _STEPS)
        if all(contrast(mixed, ground) >= CONTRAST_MIN for ground in grounds):
            return mixed
    return towards


def text_on(colour: str) -> str:
    """Black or white, whichever can be read better on it; one of them always has a contrast of 4.58 or more."""
    return max((_WHITE, _BLACK), key=lambda text: contrast(text, colour))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours by WCAG: 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [value / 255 for value in bytes.fromhex(colour[1:])]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _mixed(colour: str, other: str, share: float) -> str:
    pairs = zip(bytes.fromhex(colour[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + bytes(round(a + (b - a) * share) for a, b in pairs).hex()
