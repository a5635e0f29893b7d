"""The clock of this process, for logs, measuring and tokens. Deadlines of bookings come from the database's clock."""

import time
from datetime import UTC, datetime

monotonic = time.monotonic


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """`2026-12-24T19:00:00.000Z`: UTC with milliseconds, the one form in which times leave the API."""
    if moment.tzinfo is not UTC:  # what the database's driver gives is in UTC already
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"
