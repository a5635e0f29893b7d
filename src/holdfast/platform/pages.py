"""Pages of a list: how long they may be, and the cursor that says what the next one begins behind."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast.platform.bodies import invalid
from holdfast.platform.errors import Invalid

T = TypeVar("T")

Limit = Annotated[int, Meta(ge=1, le=100)]


class PageQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a list takes when its cursor is an id."""

    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=100)] | None = None


def page_of(found: Sequence[T], limit: int, cursor: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """The first `limit` of what was found, and the cursor of the next page when there is more."""
    if len(found) <= limit:
        return found, None
    return found[:limit], cursor(found[limit - 1])


def id_in(cursor: str | None) -> UUID | None:
    """The id that such a cursor names. Raises Invalid for one that did not come from here."""
    if cursor is None:
        return None
    try:
        return UUID(hex=cursor)
    except ValueError:
        raise foreign_cursor() from None


def foreign_cursor() -> Invalid:
    """What to raise for a cursor that no list of ours can have given."""
    return invalid("This cursor did not come from here.", "/cursor", "query")
