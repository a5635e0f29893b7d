"""One picture for each show, and one for each organizer: its logo."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from holdfast.catalog.surroundings import surroundings_changed
from holdfast.platform.cache import Cache
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.errors import NotFound
from holdfast.platform.ids import OrganizerId, PictureId, ShowId, new_id
from holdfast.platform.pictures import Rendition

sql = load_queries(__file__, "pictures.sql")


class PictureNotFound(NotFound):
    code = "picture_not_found"
    title = "There is no such picture."


@dataclass(frozen=True, slots=True)
class Picture:
    """The picture that a subject has now; `sizes` are (width, height), narrowest first."""

    picture_id: PictureId
    sizes: tuple[tuple[int, int], ...]


async def set_picture(
    tx: Transaction,
    cache: Cache,
    organizer_id: OrganizerId,
    subject: ShowId | OrganizerId,
    renditions: Sequence[Rendition],
) -> Picture:
    """Gives a show or an organizer this picture in the place of the one before. That the show is theirs is known."""
    fresh = PictureId(new_id())
    before = await tx.value(sql.hold_picture, organizer_id, subject, fresh)
    if before != fresh:
        await tx.execute(sql.forget_sizes, before)
        await tx.execute(sql.set_picture, organizer_id, subject, fresh)
    for each in renditions:
        await tx.execute(sql.add_size, organizer_id, fresh, each.width, each.height, each.contents)
    tx.after_commit(partial(cache.forget, ("picture", subject)))
    surroundings_changed(tx, cache)
    return Picture(fresh, tuple((each.width, each.height) for each in renditions))


async def delete_picture(
    tx: Transaction, cache: Cache, organizer_id: OrganizerId, subject: ShowId | OrganizerId
) -> PictureId:
    """Takes the picture away, and says which it was. Raises PictureNotFound."""
    gone: UUID | None = await tx.value(sql.delete_picture, organizer_id, subject)
    if gone is None:
        raise PictureNotFound
    tx.after_commit(partial(cache.forget, ("picture", subject)))
    surroundings_changed(tx, cache)
    return PictureId(gone)


async def picture_of(
    db: Database, cache: Cache, organizer_id: OrganizerId, subject: ShowId | OrganizerId, seconds: float
) -> Picture | None:
    """The present picture, at most `seconds` old."""

    async def load() -> Picture | None:
        row = await db.row(sql.picture_of, organizer_id, subject)
        if row is None:
            return None
        return Picture(row["picture_id"], tuple(zip(row["widths"], row["heights"], strict=True)))

    return await cache.get(("picture", subject), seconds, load)


async def picture_in_width(db: Database, picture_id: PictureId, width: int) -> tuple[int, bytes]:
    """(its width, WebP) of the narrowest that is wide enough, or of the widest. Raises PictureNotFound."""
    row = await db.row(sql.picture_in_width, picture_id, width)
    if row is None:
        raise PictureNotFound
    return row["width"], row["contents"]
