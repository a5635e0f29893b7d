"""What stands in the square on a ticket: a short signed text that a door can check without asking anybody.

A code is the base32 (RFC 4648, no padding) of 103 bytes: format 1, the two letters that name the signing key, the show's
id, the booking's id, the number of the place in its booking, the serial, and an Ed25519 signature (RFC 8032) of all that.
Its 165 letters are of the QR code's alphanumeric alphabet and fill version 7, level M: 45 by 45 squares, 15 % of which
may be unreadable. Half of each id would save four squares, and then no door could tell which show a code is for.

The serial counts how often the ticket was issued: a transfer counts it up, and codes with a smaller one are dead.
"""

import re
from base64 import b32decode, b32encode, urlsafe_b64encode
from collections.abc import Mapping
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast.platform.ids import BookingId, ShowId
from holdfast.platform.secret import Secrets

FORMAT = 1
CODE_LENGTH = 165
NUMBER_MAX = SERIAL_MAX = 2**16 - 1
PURPOSE = "ticket"

_CONTENTS = Struct(">B2s16s16sHH")
_TEXT = re.compile(rf"[A-Z2-7]{{{CODE_LENGTH}}}", re.ASCII)
_PADDING = "=" * (-CODE_LENGTH % 8)


class BadCode(Exception):
    """The text is no code of ours: misread, made up, changed, or signed by a key that is not held."""


class Coded(NamedTuple):
    """What a code says, once its signature holds."""

    show_id: ShowId
    booking_id: BookingId
    number: int
    serial: int


class Codes:
    """Makes and reads codes with the keys of the installation; a key that is being rotated out still verifies."""

    def __init__(self, secrets: Secrets) -> None:
        keys = secrets.ed25519(PURPOSE)
        self._key_id, self._key = next(iter(keys.items()))
        self._public = {key_id: key.public_key() for key_id, key in keys.items()}

    def code(self, coded: Coded) -> str:
        """The code of a ticket: 165 letters, always the same until the key is rotated."""
        contents = _CONTENTS.pack(
            FORMAT,
            self._key_id.encode(),
            coded.show_id.bytes,
            coded.booking_id.bytes,
            coded.number,
            coded.serial,
        )
        return b32encode(contents + self._key.sign(contents)).decode().rstrip("=")

    def read(self, text: str) -> Coded:
        """What the code says. Raises BadCode. Whether the ticket still admits is another question: ask `admits`."""
        return read(text, self._public)

    def signature(self, text: bytes) -> str:
        """`<key id>.<base64url>`: that a text which begins with `{` is ours; it verifies by the keys of codes.

        A code's first byte is its format, so that neither can pass for the other.
        """
        assert text.startswith(b"{"), "what is signed could be the contents of a code"
        signed = urlsafe_b64encode(self._key.sign(text)).decode().rstrip("=")
        return f"{self._key_id}.{signed}"

    def public_keys(self) -> dict[str, bytes]:
        """The 32 bytes that verify, by the id of the key; the first is what signs now."""
        return {
            key_id: key.public_bytes(Encoding.Raw, PublicFormat.Raw) for key_id, key in self._public.items()
        }


def read(text: str, keys: Mapping[str, Ed25519PublicKey]) -> Coded:
    """What the code says, by public keys alone, as a door does it that is offline. Raises BadCode."""
    if not _TEXT.fullmatch(text):
        raise BadCode("not the form of a code")
    raw = b32decode(text + _PADDING)
    # The last letter carries one bit more than there is to say: one ticket has one text.
    if b32encode(raw).decode().rstrip("=") != text:
        raise BadCode("not the form of a code")
    contents, signature = raw[: _CONTENTS.size], raw[_CONTENTS.size :]
    code_format, key_id, show_id, booking_id, number, serial = _CONTENTS.unpack(contents)
    key = keys.get(key_id.decode("latin-1"))
    if code_format != FORMAT or key is None:
        raise BadCode("signed by a key that is not held")
    try:
        key.verify(signature, contents)
    except InvalidSignature:
        raise BadCode("not signed by us, or changed since") from None
    return Coded(ShowId(UUID(bytes=show_id)), BookingId(UUID(bytes=booking_id)), number, serial)
