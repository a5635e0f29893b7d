"""The provider's books beside ours: what stands in one and not in the other, and what differs. Nothing is changed."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from holdfast.payments.provider import Listed, Provider
from holdfast.platform import clock
from holdfast.platform.db import Database, Query, Record, load_queries

sql = load_queries(__file__, "reconciling.sql")

PAGE = 500
# What was begun here shortly before the hour may stand there shortly behind it, and clocks differ.
MARGIN = timedelta(hours=1)
# Every entry of the span is kept in mind by its id while it is gone through: some 100 bytes each.
DAYS_MAX = 92

Kind = Literal["payment", "refund"]
Fault = Literal["missing here", "missing there", "amount", "state"]

# Ours -> theirs, which says the same. An attempt that took no money may be anything over there but paid.
_NO_MONEY = frozenset({"open", "declined", "closed"})
_SAYS: Mapping[Kind, Mapping[str, frozenset[str]]] = {
    "payment": {
        "CREATED": _NO_MONEY,
        "OPEN": _NO_MONEY,
        "DECLINED": _NO_MONEY,
        "CLOSED": _NO_MONEY,
        "SUCCEEDED": frozenset({"succeeded"}),
        "MISMATCHED": frozenset({"succeeded"}),
    },
    "refund": {
        "WANTED": frozenset(),
        "SENT": frozenset({"pending"}),
        "SETTLED": frozenset({"settled"}),
        "FAILED": frozenset({"failed"}),
    },
}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the two books do not agree on. `id` and `show_id` are ours, `ref` is the provider's id.

    `here` and `there` say what stands in either: nothing where it is missing, the amount in minor units with its currency
    where the money differs, else the state. `at`: when it was made there, or here where it is missing there.
    """

    fault: Fault
    kind: Kind
    id: UUID | None
    show_id: UUID | None
    ref: str | None
    here: str | None
    there: str | None
    at: datetime


async def reconcile(
    db: Database, provider: Provider, since: datetime, until: datetime, *, ours_alone: bool = False
) -> AsyncIterator[Difference]:
    """Every difference between the provider's books and ours, of what was begun in this span of time.

    `ours_alone` leaves out entries that carry no id of ours: those of other systems on the same account, but also what
    people did on the provider's own pages. Raises ProviderDown and ProviderRefused.
    """
    seen: set[UUID] = set()
    page: list[Listed] = []
    async for entry in provider.listed(since - MARGIN, max(until, clock.now()) + MARGIN):
        page.append(entry)
        if len(page) == PAGE:
            for difference in await _compared(db, provider.name, page, seen):
                if since <= difference.at < until and not (ours_alone and difference.id is None):
                    yield difference
            page = []
    for difference in await _compared(db, provider.name, page, seen):
        if since <= difference.at < until and not (ours_alone and difference.id is None):
            yield difference
    kinds: tuple[tuple[Kind, Query], ...] = (("payment", sql.payments_kept), ("refund", sql.refunds_kept))
    for kind, query in kinds:
        after = (since, UUID(int=0))
        while rows := await db.rows(query, provider.name, since, until, *after, PAGE):
            for row in rows:
                if row["id"] not in seen:
                    yield Difference(
                        fault="missing there", kind=kind, id=row["id"], show_id=row["show_id"], ref=row["ref"],
                        here=f"{row['state']} {row['amount']} {row['currency']}", there=None, at=row["at"],
                    )  # fmt: skip
            after = (rows[-1]["at"], rows[-1]["id"])


async def _compared(db: Database, provider: str, page: Sequence[Listed], seen: set[UUID]) -> list[Difference]:
    """What is wrong with these entries; those that are known here are `seen`."""
    found: list[Difference] = []
    kinds: tuple[tuple[Kind, Query], ...] = (
        ("payment", sql.payments_listed),
        ("refund", sql.refunds_listed),
    )
    for kind, query in kinds:
        entries = [entry for entry in page if entry.kind == kind]
        if not entries:
            continue
        named = [(entry.show_id, entry.id) for entry in entries if entry.show_id and entry.id]
        rows = await db.rows(
            query, provider, [entry.ref for entry in entries], [show for show, _ in named], [each for _, each in named]
        )  # fmt: skip
        by_ref = {row["ref"]: row for row in rows if row["ref"] is not None}
        by_id = {row["id"]: row for row in rows}
        for entry in entries:
            row = by_ref.get(entry.ref) or (by_id.get(entry.id) if entry.id else None)
            if row is not None:
                seen.add(row["id"])
            difference = _difference(kind, entry, row)
            if difference is not None:
                found.append(difference)
    return found


def _difference(kind: Kind, entry: Listed, row: Record | None) -> Difference | None:
    fault: Fault
    here: str | None
    if row is None:
        # An attempt without money that is not known here, or of another system, is nobody's loss.
        if entry.state in _NO_MONEY:
            return None
        fault, here, there = "missing here", None, f"{entry.state} {entry.amount} {entry.currency}"
    elif entry.state not in _SAYS[kind][row["state"]]:
        fault, here, there = "state", row["state"], entry.state
    elif entry.state not in _NO_MONEY and (row["amount"], row["currency"]) != (entry.amount, entry.currency):
        fault = "amount"
        here, there = f"{row['amount']} {row['currency']}", f"{entry.amount} {entry.currency}"
    else:
        return None
    return Difference(
        fault=fault, kind=kind, id=row["id"] if row else entry.id, show_id=row["show_id"] if row else entry.show_id,
        ref=entry.ref, here=here, there=there, at=entry.created_at,
    )  # fmt: skip
