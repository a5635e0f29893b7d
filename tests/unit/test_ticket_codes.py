"""The signed text on a ticket: whatever is changed of it, it is refused."""

from base64 import b32decode, b32encode
from collections.abc import Callable

import pytest
import segno
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from holdfast.platform.ids import BookingId, ShowId, new_id
from holdfast.platform.secret import Secrets
from holdfast.tickets import BadCode, Coded, Codes
from holdfast.tickets.codes import CODE_LENGTH, NUMBER_MAX, SERIAL_MAX, read

CODES = Codes(Secrets("a-secret-for-tests-and-nothing-else"))
CODED = Coded(ShowId(new_id()), BookingId(new_id()), 3, 1)
BYTES = 103


def _raw(text: str) -> bytes:
    return b32decode(text + "=" * (-len(text) % 8))


def _text(raw: bytes) -> str:
    return b32encode(raw).decode().rstrip("=")


@pytest.mark.parametrize("number", [1, NUMBER_MAX])
@pytest.mark.parametrize("serial", [0, SERIAL_MAX])
def test_a_code_says_what_was_put_in(number: int, serial: int) -> None:
    coded = CODED._replace(number=number, serial=serial)
    text = CODES.code(coded)
    assert len(text) == CODE_LENGTH
    assert CODES.read(text) == coded


def test_a_code_with_any_bit_flipped_is_refused() -> None:
    raw = _raw(CODES.code(CODED))
    assert len(raw) == BYTES
    for bit in range(len(raw) * 8):
        flipped = (int.from_bytes(raw, "big") ^ 1 << bit).to_bytes(len(raw), "big")
        with pytest.raises(BadCode):
            CODES.read(_text(flipped))


def test_a_code_with_any_letter_changed_is_refused() -> None:
    """Of the last letter two would say the same bytes, were the text not held against them."""
    text = CODES.code(CODED)
    for at in range(len(text)):
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567":
            changed = text[:at] + letter + text[at + 1 :]
            if changed != text:
                with pytest.raises(BadCode):
                    CODES.read(changed)


CHANGES: dict[str, Callable[[str], str]] = {
    "small letters": str.lower,
    "nothing": lambda text: text[:0],
    "a letter less": lambda text: text[:-1],
    "a letter more": lambda text: text + "A",
    "a line more": lambda text: text + "\n",
    "a space": lambda text: " " + text,
    "a letter of no alphabet": lambda text: "Å" + text[1:],
    "zeros": lambda text: "\0" * len(text),
    "one letter all along": lambda text: "A" * len(text),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_no_code_is_refused(change: Callable[[str], str]) -> None:
    with pytest.raises(BadCode):
        CODES.read(change(CODES.code(CODED)))


def test_a_code_is_read_with_the_public_keys_alone() -> None:
    published = {
        key_id: Ed25519PublicKey.from_public_bytes(raw) for key_id, raw in CODES.public_keys().items()
    }
    assert read(CODES.code(CODED), published) == CODED


def test_keys_are_rotated_and_codes_stay_good_as_long_as_the_old_secret_is_held() -> None:
    old, new = "an-old-secret-of-thirty-two-letters", "a-new-secret-of-thirty-two-letters!"
    printed = Codes(Secrets(old)).code(CODED)
    both = Codes(Secrets(f"{new},{old}"))
    assert both.read(printed) == CODED
    assert both.code(CODED) != printed
    with pytest.raises(BadCode):
        Codes(Secrets(new)).read(printed)


def test_a_key_does_not_pass_for_another() -> None:
    """The id of the key is signed with the rest."""
    first, second = "the-first-secret-of-thirty-two-lett", "the-second-secret-of-thirty-two-let"
    both = Codes(Secrets(f"{first},{second}"))
    raw = _raw(Codes(Secrets(first)).code(CODED))
    other = _raw(Codes(Secrets(second)).code(CODED))
    with pytest.raises(BadCode):
        both.read(_text(raw[:1] + other[1:3] + raw[3:]))


def test_the_square_is_small() -> None:
    square = segno.make_qr(CODES.code(CODED), error="m", boost_error=False)
    assert (square.version, square.mode) == (7, "alphanumeric")
    assert square.symbol_size(border=0) == (45, 45)
