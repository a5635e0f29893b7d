"""The outside checker: looks at tables alone, knows nothing of the product's code, and says what is wrong there.

It asks in SQL of its own what every reader of the schema may expect of a database at rest: that no seat has two holders,
that the counts are those of the rows, that every change was announced, and that what was promised is there. An empty
list is a clean bill. It expects that nobody has taken facts out of the outbox.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

# What has places: (show_id, holder, areas, seats). Placed in front of the checks that need it. A place that went back with
# a part of the money is the booking's no more.
_LIVE = """with live as (
  select show_id, booking_id as holder,
         array(select a from unnest(areas) with ordinality u(a, n) where given_back is null or n <> all (given_back)) as areas,
         array(select s from unnest(seats) with ordinality u(s, n) where given_back is null or n <> all (given_back)) as seats,
         true as is_booking
    from bookings where status in ('PENDING', 'CONFIRMED')
  union all select show_id, block_id, areas, seats, false from blocks)
"""
# What must not be -> a query that names every case of it in one text each.
_OVERSOLD = {
    "seat claimed twice": """
      select format('seat %s of %s: %s claims', seat, show_id, count(*)) from claims
       group by show_id, seat having count(*) > 1""",
    "seat given twice": _LIVE + """
      select format('seat %s of %s: %s', s, show_id, array_agg(holder)) from live cross join unnest(seats) s
       group by show_id, s having count(*) > 1""",
    "above capacity": """
      select format('area %s of %s: %s reserved and %s blocked of %s', area, show_id, reserved, blocked, capacity) from stock
       where reserved + blocked > capacity or least(reserved, blocked) < 0""",
    "more live places than there are": _LIVE + """
      select format('area %s of %s: %s of %s', a, l.show_id, count(*), c.capacity)
        from live l cross join unnest(l.areas) a join areas c on c.show_id = l.show_id and c.area = a
       group by l.show_id, a, c.capacity having count(*) > c.capacity""",
}  # fmt: skip
_UNSOUND = {
    "live place without its claim": _LIVE + """
      select format('seat %s of %s for %s', s, l.show_id, l.holder) from live l cross join unnest(l.seats) s
       where not exists (select from claims c where c.show_id = l.show_id and c.seat = s and c.held_by = l.holder)""",
    "claim that belongs to nobody": _LIVE + """
      select format('seat %s of %s for %s', c.seat, c.show_id, c.held_by) from claims c
       where not exists (
         select from live l where l.show_id = c.show_id and l.holder = c.held_by and c.seat = any (l.seats))""",
    "seat that does not exist, or in another area": _LIVE + """
      select format('seat %s of %s for %s in area %s', p.seat, l.show_id, l.holder, p.area)
        from live l cross join unnest(l.areas, l.seats) p(area, seat)
        left join seat_rows r on r.show_id = l.show_id
         and p.seat between r.first_seat and r.first_seat + cardinality(r.numbers) - 1
       where cardinality(l.seats) > 0 and r.area is distinct from p.area""",
    "place without a seat that is not standing": _LIVE + """
      select format('%s of %s in area %s', l.holder, l.show_id, p.area) from live l cross join unnest(l.areas) p(area)
        left join areas a on a.show_id = l.show_id and a.area = p.area
       where cardinality(l.seats) = 0 and a.kind is distinct from 'standing'""",
    "counts that are not those of the rows": _LIVE + """,
      held as (
        select show_id, a as area, count(*) filter (where is_booking) as reserved,
               count(*) filter (where not is_booking) as blocked
          from live cross join unnest(areas) a group by show_id, a)
      select format('area %s of %s: reserved %s for %s live places, blocked %s for %s', area, show_id, s.reserved,
                    coalesce(h.reserved, 0), s.blocked, coalesce(h.blocked, 0))
        from stock s full join held h using (show_id, area)
       where s.reserved is distinct from coalesce(h.reserved, 0) or s.blocked is distinct from coalesce(h.blocked, 0)""",
    "stock that is not the catalog's": """
      select format('area %s of %s', area, show_id) from stock s full join areas a using (show_id, area)
        left join (select show_id, area, sum(cardinality(numbers)) as seats, min(first_seat) as first_seat
                     from seat_rows group by show_id, area) r using (show_id, area)
       where (s.capacity, s.seated) is distinct from (a.capacity, a.kind = 'seated')
          or (s.seated and (r.seats, r.first_seat) is distinct from (s.capacity, s.first_seat))""",
    "booking that contradicts itself": """
      select format('%s of %s', booking_id, show_id) from bookings
       where cardinality(areas) <> case when reason = 'sold_out' then 0 else quantity end
          or cardinality(seats) not in (0, cardinality(areas))
          or cardinality(tiers) <> cardinality(areas) or cardinality(amounts) <> cardinality(areas)
          or total <> coalesce((select sum(a) from unnest(amounts) a), 0)
          or (status in ('PENDING', 'CONFIRMED')) <> (ended_at is null)
          or (status in ('CONFIRMED', 'CANCELLED')) <> (confirmed_at is not null)
          or (reason = 'expired' and ended_at < expires_at)
          or confirmed_at > expires_at""",
    "key that points nowhere": """
      select format('%s of %s', k.booking_id, k.show_id) from idempotency_keys k
       where not exists (select from bookings b where b.show_id = k.show_id and b.booking_id = k.booking_id)""",
    "buyer whose places are miscounted": """
      with has as (
        select b.show_id, b.buyer, sum(b.quantity - coalesce(cardinality(b.given_back), 0)) as places from bookings b
         where b.buyer is not null and b.status in ('PENDING', 'CONFIRMED') group by b.show_id, b.buyer)
      select format('%s of %s: %s, not %s', encode(buyer, 'hex'), show_id, coalesce(y.places, 0), coalesce(h.places, 0))
        from buyers y full join has h using (show_id, buyer) join shows s using (show_id)
       where s.max_places_per_buyer is not null and coalesce(y.places, 0) <> coalesce(h.places, 0)""",
    "buyer whose held seconds are miscounted": """
      with spent as (
        select b.show_id, b.buyer,
               sum(greatest(0, ceil(extract(epoch from least(b.ended_at, b.expires_at) - b.created_at)))) as seconds
          from bookings b where b.buyer is not null and b.status = 'FAILED' and b.expires_at is not null
         group by b.show_id, b.buyer)
      select format('%s of %s: %s s, not %s', encode(buyer, 'hex'), show_id, coalesce(y.held_seconds, 0),
                    coalesce(s.seconds, 0))
        from buyers y full join spent s using (show_id, buyer)
       where coalesce(y.held_seconds, 0) <> coalesce(s.seconds, 0)""",
    "place that went back and is none of the booking's": """
      select format('%s of %s: %s of %s', booking_id, show_id, given_back, quantity) from bookings
       where exists (select from unnest(given_back) g group by g having count(*) > 1 or g not between 1 and quantity)
          or (status = 'CONFIRMED' and cardinality(given_back) >= quantity)""",
    "payment whose refunds do not add up": """
      select format('%s of %s: %s of %s, refunds of %s', p.payment_id, p.show_id, p.refunded, p.amount, r.amount)
        from payments p cross join lateral (
          select coalesce(sum(x.amount), 0) as amount from refunds x
           where x.show_id = p.show_id and x.payment_id = p.payment_id and x.state <> 'FAILED') r
       where r.amount <> p.refunded or r.amount > p.amount""",
    "code whose uses are miscounted": """
      select format('%s of %s: %s, not %s', c.code_id, c.show_id, c.used, b.live)
        from codes c cross join lateral (
          select count(*) as live from bookings b
           where b.show_id = c.show_id and b.code_id = c.code_id and b.status in ('PENDING', 'CONFIRMED')) b
       where c.used <> b.live or c.used > c.uses_max""",
    "sale or cancellation that was not announced once": """
      select format('%s of %s: %s, %s and %s facts', b.booking_id, b.show_id, b.status, f.confirmed, f.cancelled)
        from bookings b cross join lateral (
          select count(*) filter (where o.kind = 'booking.confirmed') as confirmed,
                 count(*) filter (where o.kind = 'booking.cancelled') as cancelled
            from outbox o
           where o.show_id = b.show_id and o.payload ->> 'booking_id' = b.booking_id::text) f
       where f.confirmed <> (b.confirmed_at is not null)::int or f.cancelled <> (b.status = 'CANCELLED')::int""",
}  # fmt: skip
_HEADS = "select show_id, revision from show_heads"
_CHANGES = """select show_id, payload::text as payload from outbox where kind = 'availability.changed'
 order by show_id, (payload ->> 'revision')::bigint"""
_LEFT = """select show_id, array_agg(capacity - reserved - blocked order by area) as left_over from stock group by show_id"""
_CLAIMED = "select show_id, array_agg(seat) as seats from claims group by show_id"
_PROMISED = "select show_id, booking_id, status, quantity, seats from bookings"

_LATER = {
    "PENDING": {"PENDING", "CONFIRMED", "FAILED", "CANCELLED"},
    "CONFIRMED": {"CONFIRMED", "CANCELLED"},
    "FAILED": {"FAILED"},
    "CANCELLED": {"CANCELLED"},
}


class Promise(NamedTuple):
    """What a caller was told of a booking: it must be so for ever, or have gone on from there by a legal step."""

    show_id: UUID
    booking_id: UUID
    status: str
    quantity: int
    seats: Sequence[int] | None = None


async def oversold(database_url: str) -> list[str]:
    """Only what must never be, whatever else is broken: two holders of one seat, more places than there are."""
    connection = await asyncpg.connect(database_url)
    try:
        return await _found(connection, _OVERSOLD)
    finally:
        await connection.close()


async def violations(
    database_url: str, promises: Iterable[Promise] = (), *, all_promised: bool = False
) -> list[str]:
    """Everything that is wrong. `all_promised`: a booking that nobody was told of is wrong as well."""
    connection = await asyncpg.connect(database_url)
    try:
        # One snapshot, so that a check need not wait for everybody to be at rest.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = await _found(connection, _OVERSOLD | _UNSOUND)
            found += await _unannounced(connection)
            found += await _broken_promises(connection, promises, all_promised)
    finally:
        await connection.close()
    return found


async def _found(connection: Any, checks: dict[str, str]) -> list[str]:
    return [f"{name}: {row[0]}" for name, query in checks.items() for row in await connection.fetch(query)]


async def _unannounced(connection: Any) -> list[str]:
    """Whether who only follows the announcements, in the order of revisions, knows what the tables say."""
    found: list[str] = []
    revisions: dict[UUID, int] = {}
    taken: dict[UUID, set[int]] = {}
    left: dict[UUID, list[int]] = {}
    for row in await connection.fetch(_CHANGES):
        show, change = row["show_id"], msgspec.json.decode(row["payload"])
        revisions[show] = revisions.get(show, 0) + 1
        if change["revision"] != revisions[show]:
            found.append(f"announcement {revisions[show]} of {show} says revision {change['revision']}")
        seats = taken.setdefault(show, set())
        if not seats.issuperset(change["freed"]):
            found.append(f"revision {change['revision']} of {show} freed seats that were not taken")
        seats.difference_update(change["freed"])
        if not seats.isdisjoint(change["taken"]) or len(set(change["taken"])) != len(change["taken"]):
            found.append(f"revision {change['revision']} of {show} took seats that were not free")
        seats.update(change["taken"])
        left[show] = change["left"]
    for row in await connection.fetch(_HEADS):
        if row["revision"] != revisions.get(row["show_id"], 0):
            found.append(
                f"{row['show_id']} is at {row['revision']}, announced {revisions.get(row['show_id'], 0)}"
            )
    claimed = {row["show_id"]: set(row["seats"]) for row in await connection.fetch(_CLAIMED)}
    found += [
        f"the announcements of {show} tell of other seats than are claimed"
        for show in claimed.keys() | taken.keys()
        if claimed.get(show, set()) != taken.get(show, set())
    ]
    found += [
        f"the announcements of {row['show_id']} end with {left[row['show_id']]} left, not {row['left_over']}"
        for row in await connection.fetch(_LEFT)
        if row["show_id"] in left and left[row["show_id"]] != row["left_over"]
    ]
    return found


async def _broken_promises(connection: Any, promises: Iterable[Promise], all_promised: bool) -> list[str]:
    there = {(row["show_id"], row["booking_id"]): row for row in await connection.fetch(_PROMISED)}
    found: list[str] = []
    kept = set()
    for promise in promises:
        row = there.get((promise.show_id, promise.booking_id))
        kept.add((promise.show_id, promise.booking_id))
        if row is None:
            found.append(f"{promise} is not there")
        elif row["status"] not in _LATER[promise.status] or row["quantity"] != promise.quantity:
            found.append(f"{promise} is {row['status']} with {row['quantity']} places")
        elif promise.seats is not None and list(promise.seats) != row["seats"]:
            found.append(f"{promise} has the seats {row['seats']}")
    if all_promised:
        found += [f"nobody was told of {key}" for key in there.keys() - kept]
    return found
