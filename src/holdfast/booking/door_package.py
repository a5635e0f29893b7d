"""What a device takes along to the door that may be offline: what was sold, what of it admits nobody any more, and who is in.

It comes in pages. A cursor says how far the device has got: through what was sold (`f`), in the order of the bookings, or
through what changed since (`d`), in the order of the changes. A change is stamped a moment before it is committed, so each
look at the changes begins a little before the last one ended, and a device may be told something twice.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from holdfast.booking.door import AtDoor, at_door
from holdfast.platform.db import Database, load_queries
from holdfast.platform.ids import ShowId
from holdfast.platform.pages import foreign_cursor

sql = load_queries(__file__, "door.sql")

PAGE_BOOKINGS_MAX = 500
# A page ends with the booking by which it has so many places.
PAGE_PLACES = 5000
# No transaction lives so long after it has stamped what it changes: a statement takes at most 10 s (`query_seconds`).
OVERLAP = timedelta(seconds=30)

_CURSOR = re.compile(r"([fd])\.(\d{1,16})\.([0-9a-f]{32})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a device has got: until when it knows changes, or when it began, and the booking behind which it goes on."""

    sold: bool
    at: datetime
    behind: UUID = _FIRST

    def __str__(self) -> str:
        return f"{'f' if self.sold else 'd'}.{(self.at - _EPOCH) // _MICROSECOND}.{self.behind.hex}"


@dataclass(frozen=True, slots=True)
class Packed:
    """A page, made at the database's `made_at`. `more`: ask again at once, else whenever changes are wanted."""

    made_at: datetime
    bookings: list[AtDoor]
    cursor: Cursor
    more: bool


def cursor_in(text: str) -> Cursor:
    """The cursor that the text is. Raises Invalid for one that did not come from here."""
    found = _CURSOR.fullmatch(text)
    if not found:
        raise foreign_cursor()
    return Cursor(found[1] == "f", _EPOCH + int(found[2]) * _MICROSECOND, UUID(hex=found[3]))


async def packed(db: Database, show_id: ShowId, cursor: Cursor | None, limit: int) -> Packed:
    """The page behind the cursor, of up to `limit` bookings; the first page without one."""
    async with db.transaction() as tx:
        now: datetime = await tx.value(sql.door_clock)
        at = cursor or Cursor(True, now)
        if at.sold:
            rows = await tx.rows(sql.sold_page, show_id, at.behind, limit, PAGE_PLACES)
        else:
            rows = await tx.rows(sql.changed_page, show_id, at.at, at.behind, limit, PAGE_PLACES)
        more = bool(rows) and (rows[0]["fetched"] == limit or len(rows) < rows[0]["fetched"])
        bookings = await at_door(tx, show_id, list({row["booking_id"]: None for row in rows}))
    if more:
        last = rows[-1]
        following = Cursor(at.sold, at.at if at.sold else last["at"], last["booking_id"])
    else:
        following = Cursor(False, (at.at if at.sold else now) - OVERLAP)
    return Packed(now, bookings, following, more)
