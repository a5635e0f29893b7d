"""What stands around a show wherever it is shown: its picture, its venue, and whose it is.

None of it is part of the terms, so it changes without the show's version, and is kept apart from the view.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from holdfast.platform.cache import Cache
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.ids import ShowId

sql = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class Place:
    """A venue as buyers are told of it."""

    venue_id: UUID
    name: str
    address: str
    city: str


@dataclass(frozen=True, slots=True)
class Seller:
    """An organizer as buyers are told of it; `logo_id` is a picture, `colour` is #rrggbb."""

    organizer_id: UUID
    name: str
    colour: str | None
    logo_id: UUID | None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around one show."""

    picture_id: UUID | None
    venue: Place | None
    organizer: Seller


async def surroundings_of(
    db: Database, cache: Cache, shows: Sequence[ShowId], seconds: float
) -> dict[ShowId, Surroundings]:
    """What stands around these shows, at most `seconds` old; who changes any of it calls `surroundings_changed`."""

    async def load() -> dict[ShowId, Surroundings]:
        return await read_surroundings(db, shows)

    return await cache.get(("shows", "surroundings", *shows), seconds, load)


async def read_surroundings(
    db: Database | Transaction, shows: Sequence[ShowId]
) -> dict[ShowId, Surroundings]:
    """The same as the database has it now, for who is in the middle of changing it."""
    return {row["show_id"]: _surroundings(row) for row in await db.rows(sql.surroundings, list(shows))}


def surroundings_changed(tx: Transaction, cache: Cache) -> None:
    """Has every process forget what it knows of shows' surroundings, once this has been committed."""
    tx.after_commit(partial(cache.forget, "shows"))


def _surroundings(row: Record) -> Surroundings:
    venue = Place(row["venue_id"], row["venue"], row["address"], row["city"]) if row["venue_id"] else None
    seller = Seller(row["organizer_id"], row["organizer"], row["colour"], row["logo_id"])
    return Surroundings(row["picture_id"], venue, seller)
