"""The feed of facts over HTTP. `call.state` is the Engine."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from holdfast.accounts import Staff
from holdfast.platform import outbox
from holdfast.platform.http import Call, Routes
from holdfast.platform.pages import foreign_cursor
from holdfast.webhooks import feed
from holdfast.webhooks.endpoints import KINDS_MAX, checked_kinds
from holdfast.webhooks.feed import FactsForgotten

READ = Staff("facts.read")
FACTS_MAX = 500
# Behind a position of 2^63 there is nothing.
_DIGITS_MAX = 15

routes = Routes("facts")


class FactsQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """From where to read on: the `next` of the page before; without it from the oldest fact that is kept.

    `kinds` may be repeated, and leaves out the others.
    """

    cursor: Annotated[str, Meta(max_length=100)] | None = None
    kinds: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=KINDS_MAX)] = []
    limit: Annotated[int, Meta(ge=1, le=FACTS_MAX)] = 100


class FactJson(msgspec.Struct, omit_defaults=True):
    """A fact as a CloudEvent 1.0. `data` has ids and amounts; docs/api/facts.md says which."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    showid: str
    data: dict[str, Any]
    organizerid: str | None = None


class FactsJson(msgspec.Struct):
    """Facts in the one order that they keep. `next` is always there: it is where to ask again, at once if there is `more`."""

    facts: list[FactJson]
    next: str
    more: bool


@routes.get("/v1/facts", who=READ, query=FactsQuery, answers={200: FactsJson}, refusals=(FactsForgotten,))
async def read_facts(call: Call[None]) -> FactsJson:
    """Read the facts of the last 30 days, the oldest first, on from a cursor.

    Whoever keeps `next` after each page misses nothing and is told nothing twice. All kinds are there but
    `availability.changed`, of which there is one for each few claims. A page may be empty and still say `more`.
    """
    query = call.query
    kinds = checked_kinds(query.kinds, "query") or None
    page = await feed.read(call.db, call.caller.organizer_id, _position(query.cursor), query.limit, kinds)
    source = call.state.settings.address
    events = [msgspec.convert(outbox.cloudevent(fact, source), FactJson) for fact in page.facts]
    return FactsJson(events, f"{page.position:x}", page.more)


def _position(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        position = int(cursor, 16)
    except ValueError:
        raise foreign_cursor() from None
    if len(cursor) > _DIGITS_MAX or position < 0 or f"{position:x}" != cursor:
        raise foreign_cursor()
    return position
