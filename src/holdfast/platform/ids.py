"""Identifiers: UUIDv7 for machines, short references for people.

UUIDv7 (RFC 9562) begins with the time, so new rows land at the right edge of an index. A reference is eight letters
that cannot be misread aloud or in print; it is a name, never a right.
"""

import secrets
from itertools import product
from typing import NewType
from uuid import UUID

from uuid_utils.compat import uuid7

OrganizerId = NewType("OrganizerId", UUID)
PersonId = NewType("PersonId", UUID)
CustomerId = NewType("CustomerId", UUID)
VenueId = NewType("VenueId", UUID)
LayoutId = NewType("LayoutId", UUID)
ShowId = NewType("ShowId", UUID)
BookingId = NewType("BookingId", UUID)
BlockId = NewType("BlockId", UUID)
CodeId = NewType("CodeId", UUID)
PictureId = NewType("PictureId", UUID)

# No vowels (no words by accident) and none of I, L, O, S, Z, 0, 1, 2, 5 (no misreading).
REFERENCE_ALPHABET = "BCDFGHJKMNPQRTVWXY346789"
REFERENCE_LENGTH = 8
_PAIR = ["".join(pair) for pair in product(REFERENCE_ALPHABET, repeat=2)]
_PAIRS = len(_PAIR)


def new_id() -> UUID:
    """A fresh UUIDv7."""
    return uuid7()


def new_reference() -> str:
    """Eight letters of 24: 1.1e11 references, so two bookings of a show of 100,000 share one in 4 % of shows.

    Who searches by reference therefore expects a list, and no right ever hangs on it.
    """
    number, first = divmod(secrets.randbits(64), _PAIRS)
    number, second = divmod(number, _PAIRS)
    number, third = divmod(number, _PAIRS)
    return _PAIR[first] + _PAIR[second] + _PAIR[third] + _PAIR[number % _PAIRS]
