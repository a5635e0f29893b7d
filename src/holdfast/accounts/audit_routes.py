"""What was done and by whom, for the owner of an organizer."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast.accounts.access import Staff
from holdfast.accounts.audit import ActorKind, Entry, EntryFilter, all_entries, entries
from holdfast.platform import clock
from holdfast.platform.bodies import invalid
from holdfast.platform.http import Answer, Call, Moment, Routes, Timestamp
from holdfast.platform.ids import ShowId
from holdfast.platform.pages import Limit, id_in, page_of
from holdfast.platform.sheets import BOM, MEDIA, csv_line

COLUMNS = (
    "at", "actor_kind", "actor_id", "action", "show_id", "subject_id", "before", "after", "address", "request_id", "id",
)  # fmt: skip
# A piece of the export is sent when it has so many bytes, which is some hundred lines.
PIECE_BYTES = 65_536

routes = Routes("audit")

Action = Annotated[str, Meta(pattern="^[a-z0-9_]+[.][a-z0-9_]+$", max_length=64)]


class _Filter(msgspec.Struct, forbid_unknown_fields=True):
    """`actor` is a person, an API key, or the booking that a buyer had the secret of; `to` is not included."""

    actor: UUID | None = None
    action: Action | None = None
    show_id: UUID | None = None
    subject_id: UUID | None = None
    since: Moment | None = msgspec.field(default=None, name="from")
    until: Moment | None = msgspec.field(default=None, name="to")

    def wanted(self) -> EntryFilter:
        """The same for the database. Raises Invalid for a moment that is too far away."""
        return EntryFilter(
            self.actor, self.action, ShowId(self.show_id) if self.show_id else None, self.subject_id,
            _utc(self.since, "/from"), _utc(self.until, "/to"),
        )  # fmt: skip


class AuditFilter(_Filter):
    """What an export is narrowed to."""


class AuditQuery(_Filter):
    """A page of what it is narrowed to."""

    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=100)] | None = None


class EntryJson(msgspec.Struct):
    """One thing that was done. `address` is the network it came from, too wide to be a person."""

    id: UUID
    at: Timestamp
    actor_kind: ActorKind
    actor_id: UUID | None
    action: str
    show_id: UUID | None
    subject_id: UUID | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    address: str | None
    request_id: str


class AuditJson(msgspec.Struct):
    entries: list[EntryJson]
    next: str | None


@routes.get("/v1/audit", who=Staff("audit.read"), query=AuditQuery, answers={200: AuditJson})
async def list_audit(call: Call[None]) -> AuditJson:
    """List what was done, the newest first."""
    query: AuditQuery = call.query
    found = await entries(
        call.db, call.caller.organizer_id, query.wanted(), id_in(query.cursor), query.limit + 1
    )
    page, following = page_of(found, query.limit, lambda entry: entry.entry_id.hex)
    return AuditJson([_json(entry) for entry in page], following)


@routes.get(
    "/v1/audit.csv", who=Staff("audit.read"), query=AuditFilter, answers={200: "text/csv"}
)  # fmt: skip
async def export_audit(call: Call[None]) -> Answer:
    """Export what was done as CSV in UTF-8, the newest first."""
    lines = _lines(call, call.query.wanted())
    named = (b"content-disposition", b'attachment; filename="audit.csv"')
    return Answer(200, lines, (named,), MEDIA)


async def _lines(call: Call[Any], wanted: EntryFilter) -> AsyncIterator[bytes]:
    piece = bytearray(BOM + csv_line(COLUMNS))
    async for entry in all_entries(call.db, call.caller.organizer_id, wanted):
        shown = _json(entry)
        changes = [msgspec.json.encode(each).decode() if each else "" for each in (shown.before, shown.after)]
        piece += csv_line((
            shown.at, shown.actor_kind, shown.actor_id, shown.action, shown.show_id, shown.subject_id, *changes,
            shown.address, shown.request_id, shown.id,
        ))  # fmt: skip
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _json(entry: Entry) -> EntryJson:
    return EntryJson(
        id=entry.entry_id,
        at=clock.rfc3339(entry.at),
        actor_kind=entry.actor_kind,
        actor_id=entry.actor_id,
        action=entry.action,
        show_id=entry.show_id,
        subject_id=entry.subject_id,
        before=entry.before,
        after=entry.after,
        address=None if entry.address is None else str(entry.address),
        request_id=entry.request_id,
    )


def _utc(moment: datetime | None, pointer: str) -> datetime | None:
    try:
        return moment.astimezone(UTC) if moment else None
    except (OverflowError, ValueError):
        raise invalid("This moment is too far away.", pointer, "query") from None
