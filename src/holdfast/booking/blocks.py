"""Blocks: places that the organizer keeps off sale (house seats), with a reason and perhaps a time of release."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast import catalog
from holdfast.booking.holds import SeatsTaken, SoldOut, UnknownSeat
from holdfast.booking.office import Office
from holdfast.booking.view import Change, View
from holdfast.platform import telemetry
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Busy, Invalid, NotFound
from holdfast.platform.ids import BlockId, PersonId, ShowId, new_id

sql = load_queries(__file__)
log = telemetry.log("booking")


class BlockNotFound(NotFound):
    code = "block_not_found"
    title = "There is no such block."


Moment = Annotated[datetime, Meta(tz=True)]


class BlockSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which places to keep off sale: `seats` by name, or a `quantity` of a standing `area`.

    With `area`, all seats are seats of that area. At `release_at` the places go back on sale by themselves.
    """

    reason: Annotated[str, Meta(min_length=1, max_length=255)]
    seats: Annotated[list[Annotated[str, Meta(min_length=1, max_length=150)]], Meta(min_length=1, max_length=10_000)] | None = None  # fmt: skip
    area: catalog.AreaName | None = None
    quantity: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    release_at: Moment | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A block as the database has it; `seats` is empty for standing places, which are all in `area`."""

    show_id: ShowId
    block_id: BlockId
    area: int
    quantity: int
    seats: list[int]
    reason: str
    release_at: datetime | None
    created_at: datetime


async def block(tx: Transaction, office: Office, view: View, spec: BlockSpec, by: PersonId | None) -> Block:
    """Takes free places off sale. Raises SeatsTaken (with the seats), SoldOut, UnknownSeat and Invalid."""
    seats, area, quantity = _resolved(view, spec)
    release_at = spec.release_at.astimezone(UTC) if spec.release_at else None
    block_id = BlockId(new_id())
    row = await tx.row(
        sql.block_places, view.show.show_id, block_id, area, quantity, seats, catalog.printable(spec.reason, "/reason"),
        release_at, by, new_id(),
    )  # fmt: skip
    assert row is not None
    match row["outcome"]:
        case "show_not_found":
            raise catalog.ShowNotFound
        case "seats_taken":
            raise SeatsTaken(seats=[view.plan.name(seat) for seat in sorted(row["conflicts"])])
        case "sold_out":
            raise SoldOut
    change = Change(row["at_revision"], seats, row["freed"], row["left_over"], seats)
    tx.after_commit(partial(office.views.changed, view.show.show_id, change))
    tx.after_commit(partial(office.cache.forget, ("counts", view.show.show_id)))
    return await block_by_id(tx, view.show.show_id, block_id)


async def keep(
    tx: Transaction, office: Office, show_id: ShowId, areas: Sequence[int], seats: Sequence[int], reason: str, by: UUID | None
) -> None:  # fmt: skip
    """Takes places off sale in the transaction that freed them, so that nobody comes in between."""
    row = await tx.row(
        sql.block_places, show_id, new_id(), areas[0], len(areas), list(seats), reason, None, by, new_id()
    )
    assert row is not None and row["outcome"] == "blocked", "freed under the same lock, they are there"
    change = Change(row["at_revision"], seats, row["freed"], row["left_over"], seats)
    tx.after_commit(partial(office.views.changed, show_id, change))
    tx.after_commit(partial(office.cache.forget, ("counts", show_id)))


async def release_block(tx: Transaction, office: Office, show_id: ShowId, block_id: BlockId) -> None:
    """Puts the places of a block back on sale. Raises BlockNotFound when it is not there (any more)."""
    row = await tx.row(sql.release_block, show_id, block_id, new_id())
    assert row is not None
    if not row["found_it"]:
        raise BlockNotFound
    change = Change(row["at_revision"], (), row["freed"], row["left_over"])
    tx.after_commit(partial(office.views.changed, show_id, change))
    tx.after_commit(partial(office.cache.forget, ("counts", show_id)))


async def block_by_id(db: Database | Transaction, show_id: ShowId, block_id: BlockId) -> Block:
    """The block. Raises BlockNotFound."""
    row = await db.row(sql.block_by_id, show_id, block_id)
    if row is None:
        raise BlockNotFound
    return _block(row)


async def blocks_of(db: Database, show_id: ShowId, after: UUID, limit: int) -> list[Block]:
    """Up to `limit` blocks of a show behind `after`, oldest first."""
    return [_block(row) for row in await db.rows(sql.blocks_of, show_id, after, limit)]


async def release_due(office: Office) -> int:
    """Releases the blocks whose time has come, each in a transaction of its own; how many.

    A block that cannot be released is logged and holds up no other. Raises Busy when the database is away.
    """
    released = 0
    for row in await office.db.rows(sql.blocks_due):
        try:
            async with office.db.transaction() as tx:
                await release_block(tx, office, row["show_id"], row["block_id"])
            released += 1
        except BlockNotFound:
            continue  # Somebody else was quicker.
        except Busy:
            raise
        except Exception:
            log.exception("block not released", show_id=str(row["show_id"]), block_id=str(row["block_id"]))
    return released


def _resolved(view: View, spec: BlockSpec) -> tuple[list[int], int | None, int]:
    """(seats, None, their number), or ([], a standing area, the quantity)."""
    if (spec.seats is None) == (spec.quantity is None):
        raise Invalid("Give seats, or an area and a quantity.", pointer="/seats")
    area = view.plan.area(spec.area) if spec.area is not None else None
    if spec.area is not None and area is None:
        raise Invalid("The show has no area of this name.", pointer="/area")
    if spec.seats is not None:
        seats = _seats(view, spec.seats, area)
        return seats, None, len(seats)
    if area is None or area.kind != "standing":
        raise Invalid("A quantity is blocked in a standing area; say in which.", pointer="/area")
    assert spec.quantity is not None
    return [], area.number, spec.quantity


def _seats(view: View, names: Sequence[str], area: catalog.Area | None) -> list[int]:
    """The ordinals of these seats, each of them once and in the area, if one is given."""
    seats: list[int] = []
    unknown: list[str] = []
    for i, name in enumerate(names):
        seat = view.plan.ordinal(name)
        if seat is None and area is not None:
            seat = view.plan.ordinal(f"{area.name}:{name}")
        if seat is None:
            unknown.append(name)
        elif area is not None and view.plan.area_of(seat) is not area:
            raise Invalid(f"This seat is not in {area.name}.", pointer=f"/seats/{i}")
        else:
            seats.append(seat)
    if unknown:
        raise UnknownSeat(seats=unknown)
    seen: set[int] = set()
    for i, seat in enumerate(seats):
        if seat in seen:
            raise Invalid("This seat is named twice.", pointer=f"/seats/{i}")
        seen.add(seat)
    return seats


def _block(row: Record) -> Block:
    return Block(**{name: row[name] for name in Block.__slots__})
