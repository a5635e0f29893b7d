"""Pictures over HTTP. `call.state` is the Engine."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import accounts, catalog
from holdfast.accounts import Principal, Staff
from holdfast.catalog import Picture, PictureNotFound, ShowNotFound
from holdfast.platform.http import ANYONE, IF_NONE_MATCH, Answer, Call, Routes, fresh
from holdfast.platform.ids import OrganizerId, PictureId, ShowId
from holdfast.platform.pictures import MEDIA, SENT_BYTES_MAX, NotAPicture, PictureTooLarge

# A picture never changes; another one has another id.
_FOR_A_YEAR = b"public, max-age=31536000, immutable"
# Shown in the pages of other sites, but never a page of its own that runs anything.
_INERT = (
    (b"content-disposition", b"inline"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"cross-origin-resource-policy", b"cross-origin"),
)

routes = Routes("pictures", missing={"show_id": ShowNotFound, "picture_id": PictureNotFound})

WRITE = Staff("shows.write")


class SizeJson(msgspec.Struct):
    width: int
    height: int


class PictureJson(msgspec.Struct):
    """A picture; `GET /v1/pictures/{id}?width=` has it in each of these sizes."""

    id: UUID
    sizes: list[SizeJson]


class PictureQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The narrowest picture of at least this width is sent; without it, the widest."""

    width: Annotated[int, Meta(ge=1, le=10_000)] = 10_000


@routes.put(
    "/v1/shows/{show_id}/picture", who=WRITE, body=bytes, body_bytes_max=SENT_BYTES_MAX,
    answers={200: PictureJson}, refusals=(NotAPicture, PictureTooLarge),
)  # fmt: skip
async def set_show_picture(call: Call[bytes]) -> PictureJson:
    """Give a show a picture: a PNG, JPEG or WebP of up to 5 MB and 40 million pixels as the body.

    It is made anew without what else is in the file (places, cameras, notes), upright, as WebP in up to three widths.
    """
    return await _set(call, await _own_show(call))


@routes.delete(
    "/v1/shows/{show_id}/picture", who=WRITE, answers={204: None}, refusals=(PictureNotFound,)
)  # fmt: skip
async def delete_show_picture(call: Call[None]) -> None:
    """Take a show's picture away. Caches may show it for a year to those who kept its address."""
    await _delete(call, await _own_show(call))


@routes.put(
    "/v1/organizer/logo", who=WRITE, body=bytes, body_bytes_max=SENT_BYTES_MAX, answers={200: PictureJson},
    refusals=(NotAPicture, PictureTooLarge),
)  # fmt: skip
async def set_logo(call: Call[bytes]) -> PictureJson:
    """Give the organizer a logo, as a show is given a picture."""
    return await _set(call, None)


@routes.get(
    "/v1/organizer/logo", who=Staff("shows.read_all"), answers={200: PictureJson}, refusals=(PictureNotFound,)
)
async def read_logo(call: Call[None]) -> PictureJson:
    """Which picture is the organizer's logo."""
    whose = _organizer(call)
    found = await catalog.picture_of(
        call.db, call.state.cache, whose, whose, call.state.settings.show_seconds
    )
    if found is None:
        raise PictureNotFound
    return _json(found)


@routes.delete(
    "/v1/organizer/logo", who=WRITE, answers={204: None}, refusals=(PictureNotFound,)
)  # fmt: skip
async def delete_logo(call: Call[None]) -> None:
    """Take the organizer's logo away."""
    await _delete(call, None)


@routes.get(
    "/v1/pictures/{picture_id}", who=ANYONE, query=PictureQuery, headers=(IF_NONE_MATCH,),
    answers={200: "image/webp"},
)  # fmt: skip
async def read_picture(call: Call[None]) -> Answer:
    """A picture as WebP. Caches may keep it for a year: a show that gets another one refers to another id."""
    picture_id = PictureId(call.path["picture_id"])
    width, contents = await catalog.picture_in_width(call.db, picture_id, call.query.width)
    answer = fresh(call, contents, b'"%d"' % width, cache=_FOR_A_YEAR, media=MEDIA)
    answer.headers = (*answer.headers, *_INERT)
    return answer


async def _own_show(call: Call[Any]) -> ShowId:
    show = await catalog.show_by_id(call.db, ShowId(call.path["show_id"]))
    if show is None:
        raise ShowNotFound
    accounts.require(call.caller, "shows.write", show.organizer_id, missing=ShowNotFound)
    return show.show_id


async def _set(call: Call[bytes], show_id: ShowId | None) -> PictureJson:
    made = await call.state.pictures.renditions(call.body)
    whose = _organizer(call)
    async with call.db.transaction() as tx:
        picture = await catalog.set_picture(tx, call.state.cache, whose, show_id or whose, made)
        await accounts.audit(
            tx, call, "picture.set", organizer_id=whose, subject=picture.picture_id, show_id=show_id
        )
    return _json(picture)


async def _delete(call: Call[Any], show_id: ShowId | None) -> None:
    whose = _organizer(call)
    async with call.db.transaction() as tx:
        gone = await catalog.delete_picture(tx, call.state.cache, whose, show_id or whose)
        await accounts.audit(tx, call, "picture.deleted", organizer_id=whose, subject=gone, show_id=show_id)


def _organizer(call: Call[Any]) -> OrganizerId:
    principal: Principal = call.caller
    return principal.organizer_id


def _json(picture: Picture) -> PictureJson:
    return PictureJson(picture.picture_id, [SizeJson(width, height) for width, height in picture.sizes])
