"""What a thing may be called: one rule for shows, venues, areas, rows, seats, tiers and the people who book; and texts."""

import re

from holdfast.platform.errors import Invalid

# Control characters, line separators, surrogates and what turns the direction of writing around. Not all that
# `str.isprintable` denies: joiners stand in Persian words and in emoji, and Unicode is younger than this Python.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PARAGRAPHS = re.compile(r"\n[ \t]*\n\s*")
# Zero-width spaces, joiners and marks of direction: a name of them alone would be seen by nobody.
_UNSEEN = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"


def printable(name: str, pointer: str = "/name") -> str:
    """The name, when people can read it. Raises Invalid for control characters and spaces at its ends."""
    if name != name.strip() or not name.strip(_UNSEEN) or _UNPRINTABLE.search(name):
        raise Invalid("A name has no control characters, and no space at its ends.", pointer=pointer)
    return name


def prose(text: str, pointer: str) -> str:
    """The text as it is kept: paragraphs apart by one empty line, no space at its ends. Raises Invalid for control
    characters other than line breaks.
    """
    text = _PARAGRAPHS.sub("\n\n", text.replace("\r\n", "\n").replace("\r", "\n").strip())
    if _UNPRINTABLE.search(text.replace("\n", "")):
        raise Invalid("A text has no control characters but line breaks.", pointer=pointer)
    return text
