"""Shows as something to sell: opened with their stock, edited together with it, and counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from holdfast import catalog, facts
from holdfast.accounts import Note
from holdfast.booking.office import Office
from holdfast.booking.view import Change
from holdfast.platform import jobs, outbox
from holdfast.platform.db import Transaction, load_queries
from holdfast.platform.errors import Conflict
from holdfast.platform.ids import OrganizerId, ShowId, new_id

sql = load_queries(__file__)

END_BOOKINGS = "booking.end_all"
OVERDUE_MAX = 1000


class CapacityBelowSold(Conflict):
    code = "capacity_below_sold"
    title = "More places than that are sold, held or blocked already."


@dataclass(frozen=True, slots=True)
class Counts:
    """Places of a show: all, those taken by bookings (held or sold), those only held, those blocked."""

    total: int
    reserved: int
    held: int
    blocked: int
    revision: int


async def open_show(
    tx: Transaction, office: Office, organizer_id: OrganizerId, spec: catalog.ShowSpec
) -> tuple[catalog.Show, catalog.Plan]:
    """Writes a new show with its seats and its stock, in the caller's transaction. Raises what `create_show` raises."""
    show, plan = await catalog.create_show(tx, organizer_id, spec, office.settings)
    await tx.execute(
        sql.insert_head, show.show_id, show.version, show.selling, show.sale_opens_at, show.sale_closes_at
    )
    await tx.execute(
        sql.insert_stock, show.show_id, [area.number for area in plan.areas],
        [area.kind == "seated" for area in plan.areas], [area.first for area in plan.areas],
        [area.capacity for area in plan.areas],
    )  # fmt: skip
    await outbox.announce(
        tx, show.show_id, "show.created", {"show_id": show.show_id, "organizer_id": organizer_id}
    )
    tx.after_commit(partial(office.cache.forget, "shows"))
    return show, plan


def amounts_of(show: catalog.Show, plan: catalog.Plan) -> dict[str, Any]:
    """What an entry of the audit says of a new show."""
    tiers = {str(tier.tier): tier.figures for tier in show.tiers}
    return {"status": show.status, "places": plan.capacity, "tiers": tiers, "currency": show.currency}


async def edit_show(
    tx: Transaction, office: Office, organizer_id: OrganizerId, show_id: ShowId, edit: catalog.ShowEdit,
    version: int | None, *, note: Note | None = None,
) -> catalog.Show:  # fmt: skip
    """Edits the terms of a show and has its stock follow; claims made under the old terms are asked to look again.

    `note` hears what was changed. Raises ShowNotFound, PreconditionFailed, StatusStep, CapacityFixed, CapacityBelowSold
    and Invalid.
    """
    # Nobody may hold up the sales of somebody else's show, not even for the moment that a refusal takes.
    found = await catalog.show_by_id(tx, show_id)
    if found is None or found.organizer_id != organizer_id:
        raise catalog.ShowNotFound
    # The head comes first in the order of locks, before the row of the show.
    await tx.row(sql.lock_head, show_id)
    show = await catalog.lock_show(tx, show_id)
    assert show is not None
    areas = (await catalog.areas_of_many(tx, [show_id]))[show_id] if edit.areas and note else []
    changed, resized = await catalog.edit_show(tx, show, edit, version)
    if changed.status == "draft" != show.status:
        await _refuse_to_hide(tx, show)
    await tx.execute(
        sql.set_head, show_id, changed.version, changed.selling, changed.sale_opens_at, changed.sale_closes_at
    )
    if resized:
        await _resize(tx, office, show_id, resized)
    if changed.max_places_per_buyer is not None and show.max_places_per_buyer is None:
        # Claims count for each buyer only while there is a limit.
        await tx.execute(sql.recount_buyers, show_id)
    await outbox.announce(tx, show_id, "show.changed", {"show_id": show_id, "version": changed.version})
    await _announce_news(tx, show, changed)
    if changed.status == "cancelled" != show.status:
        await jobs.enqueue(tx, END_BOOKINGS, {"show_id": str(show_id)})
    if note is not None:
        before, after = _differences(show, changed, areas, resized)
        await note(before=before, after=after)
    tx.after_commit(partial(office.views.retired, show_id))
    tx.after_commit(partial(office.cache.forget, "shows"))
    return changed


def _told(name: str) -> bool:
    """Whether the audit says what a field was and is: not where it is a text."""
    return name != "name" and name not in catalog.TEXTS


async def _announce_news(tx: Transaction, show: catalog.Show, changed: catalog.Show) -> None:
    """Announces what whoever booked has to know: another time, or none yet, or that nothing comes of it."""
    about = (changed.show_id, changed.organizer_id, changed.version)
    if changed.status == "cancelled" != show.status:
        await facts.announce(tx, changed.show_id, facts.ShowCancelled(*about))
        return
    was_open, is_open = show.status == "postponed", changed.status == "postponed"
    moved = (show.start_time, show.timezone) != (changed.start_time, changed.timezone)
    # Nobody has heard of a draft, and while the time is open it says nothing.
    if (was_open != is_open or (moved and not is_open)) and show.status != "draft":
        fact = facts.ShowMoved(*about, changed.status, show.start_time, changed.start_time, changed.timezone)
        await facts.announce(tx, changed.show_id, fact)


def _differences(
    show: catalog.Show,
    changed: catalog.Show,
    areas: Sequence[catalog.AreaRecord],
    resized: Sequence[catalog.AreaRecord],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an edit changed, for the audit: values before and after, by field, and of texts only that they changed."""
    plain = [name for name in catalog.ShowEdit.__struct_fields__ if name not in ("areas", "tiers")]
    fields = [name for name in plain if getattr(show, name) != getattr(changed, name)]
    before, after = (
        {name: getattr(each, name) for name in fields if _told(name)} for each in (show, changed)
    )
    if show.tiers != changed.tiers:
        fields.append("tiers")
        before["tiers"], after["tiers"] = (
            {str(tier.tier): tier.figures for tier in each.tiers} for each in (show, changed)
        )
    if areas:
        fields.append("areas")
        new = {number: capacity for number, _, _, capacity in resized}
        before["areas"] = {str(number): capacity for number, _, _, capacity in areas if number in new}
        after["areas"] = {str(number): capacity for number, capacity in new.items()}
    return {**before, "version": show.version}, {**after, "version": changed.version, "fields": fields}


async def _resize(
    tx: Transaction, office: Office, show_id: ShowId, areas: Sequence[catalog.AreaRecord]
) -> None:
    """Gives areas their new capacities, all or none; what is held past its deadline does not stand in the way."""
    overdue = await tx.row(sql.fail_overdue, show_id, OVERDUE_MAX, await tx.value(sql.database_clock))
    assert overdue is not None
    freed = overdue["freed_seats"]
    done = await tx.rows(
        sql.set_capacities, show_id, [number for number, *_ in areas], [capacity for *_, capacity in areas]
    )
    able = {row["area"] for row in done}
    for number, name, _, capacity in areas:
        if number not in able:
            raise CapacityBelowSold(f"{name} cannot go down to {capacity}.", area=number)
    row = await tx.row(sql.availability_changed, show_id, new_id(), [], freed)
    assert row is not None
    change = Change(row["at_revision"], (), freed, row["left_over"])
    tx.after_commit(partial(office.views.changed, show_id, change))


async def _refuse_to_hide(tx: Transaction, show: catalog.Show) -> None:
    """Who has booked must not find that there is no such show."""
    row = await tx.row(sql.places_taken, [show.show_id])
    if row is not None and row["reserved"] > 0:
        raise catalog.StatusStep("A show with bookings cannot be a draft again.", status_now=show.status)


async def counts_of(office: Office, shows: Sequence[ShowId]) -> dict[ShowId, Counts]:
    """The counts of these shows, at most `availability_seconds` old; of one show alone, blocks are exact."""

    async def load() -> dict[ShowId, Counts]:
        rows = await office.db.rows(sql.places_taken, list(shows))
        return {
            row["show_id"]: Counts(
                row["total"], row["reserved"], row["pending"], row["blocked"], row["revision"]
            )
            for row in rows
        }

    return await office.cache.get(("counts", *shows), office.settings.availability_seconds, load)


async def places_left(office: Office, shows: Sequence[ShowId]) -> dict[ShowId, tuple[int, int]]:
    """(all places, places neither sold nor held nor blocked) of these shows, as the database has them now."""
    rows = await office.db.rows(sql.places_left, list(shows))
    return {row["show_id"]: (row["total"], row["left_over"]) for row in rows}


async def area_names(office: Office, shows: Sequence[ShowId]) -> dict[ShowId, list[str]]:
    """The names of each show's areas in order, from the cache for up to `show_seconds` unless a show was edited."""

    async def load() -> dict[ShowId, list[str]]:
        areas = await catalog.areas_of_many(office.db, shows)
        return {show_id: [name for _, name, _, _ in found] for show_id, found in areas.items()}

    return await office.cache.get(("shows", "areas", *shows), office.settings.show_seconds, load)


async def list_shows(office: Office, wanted: catalog.ShowFilter, limit: int) -> list[catalog.Show]:
    """A page of shows, from the cache for up to `show_list_seconds` unless a show was created or edited since."""

    async def load() -> list[catalog.Show]:
        return await catalog.list_shows(office.db, wanted, limit)

    return await office.cache.get(
        ("shows", "list", repr(wanted), limit), office.settings.show_list_seconds, load
    )


async def surroundings_of(office: Office, shows: Sequence[ShowId]) -> dict[ShowId, catalog.Surroundings]:
    """Where these shows are, whose they are and their pictures, from the cache for up to `show_seconds` unless changed."""
    return await catalog.surroundings_of(office.db, office.cache, shows, office.settings.show_seconds)


async def cities(office: Office, after: datetime) -> list[str]:
    """Where shows begin after this, from the cache for up to `show_list_seconds` unless a show was edited."""

    async def load() -> list[str]:
        return await catalog.cities(office.db, after)

    return await office.cache.get(
        ("shows", "cities", after.isoformat()), office.settings.show_list_seconds, load
    )
