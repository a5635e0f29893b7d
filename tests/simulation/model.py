"""The product as a judge sees it: shows, bookings, blocks and keys, and when each of them can have been what.

Shares no code with the product. Everything is an interval: what a call did, it did between its start and its end, or,
when no answer came, at any time after its start or never. `born` is when a holder can have taken its places, `dead`
when it can have given them back; between the latest birth and the earliest death it holds them for certain.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Any, NamedTuple

from tests.simulation.history import Call, History

# The clocks of client and database are one clock, but the product tells times in whole milliseconds.
TOLERANCE = 0.05
EXTENSION_SECONDS = 60
# The longest that a call whose caller is gone can still be at work: the product's own limits end it before.
LINGER_SECONDS = 15.0
ANSWERED_WITH_A_BOOKING = frozenset({"claim", "read", "extend", "confirm", "cancel"})


class Span(NamedTuple):
    """Something happened once, not before `lo` and not after `hi`; `lo` is infinite when it never did."""

    lo: float
    hi: float

    @property
    def never(self) -> bool:
        return self.lo == inf

    def narrowed(self, moment: float | None) -> "Span":
        """With the time that the product told, if that can be true: when it was decided, under the lock of the show.

        Who asks for places waits for that lock, so that for them it was so from then on.
        """
        if moment is None:
            return self
        lo, hi = max(self.lo, moment - TOLERANCE), min(self.hi, moment + TOLERANCE)
        return Span(lo, hi) if lo <= hi else self

    def since(self, moment: float | None) -> "Span":
        """Not before the time that the product told. Who only reads may see it later, when it is committed."""
        return self if moment is None else Span(max(self.lo, min(moment - TOLERANCE, self.hi)), self.hi)


NEVER = Span(inf, inf)


@dataclass
class Edition:
    """What a show was between two edits. `made` is when this edition came to be."""

    version: int
    made: Span
    selling: bool
    capacities: dict[str, int]


@dataclass
class Show:
    """One show: its areas in order, as {name: kind}; its seats in order, as {name: area}; seats side by side as `runs`."""

    id: str
    kinds: dict[str, str]
    seats: dict[str, str]
    runs: list[list[str]]
    prices: dict[str, int]
    per_buyer: int | None
    hold: float = 0.0
    hold_max: float = 0.0
    editions: list[Edition] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def during(self, lo: float, hi: float) -> list[Edition]:
        """The editions that can have been in force at some time of this window."""
        ends = [*(edition.made.hi for edition in self.editions[1:]), inf]
        return [e for e, end in zip(self.editions, ends, strict=True) if e.made.lo <= hi and end >= lo]

    def capacity(self, area: str, lo: float, hi: float) -> tuple[int, int]:
        """(least, most) places of the area in this window."""
        found = [edition.capacities[area] for edition in self.during(lo, hi)]
        return (min(found), max(found)) if found else (0, 0)


@dataclass
class Holder:
    """A booking or a block, with its places as (area, seat or None)."""

    id: str
    show: str
    key: str
    places: list[tuple[str, str | None]] = field(default_factory=list)
    born: Span = NEVER
    dead: Span = NEVER
    calls: list[Call] = field(default_factory=list)
    row: dict[str, Any] | None = None

    def may_hold(self, lo: float, hi: float) -> bool:
        """Whether it can have had its places at some time of this window."""
        return self.born.lo <= hi and self.dead.hi >= lo

    def must_hold(self, lo: float, hi: float) -> bool:
        """Whether it had its places for all of this window."""
        return self.born.hi <= lo and self.dead.lo >= hi

    def worked_on(self, lo: float, hi: float) -> bool:
        """Whether somebody had it in hand in this window: an overdue hold is then left alone for the moment."""
        return any(
            call.start <= hi and call.end + (LINGER_SECONDS if call.unknown else TOLERANCE) >= lo
            for call in self.calls
            if call.do in ("confirm", "extend", "cancel")
        )


@dataclass
class Booking(Holder):
    """`told` is the first answer to its claim; `deadline` the last one that it had."""

    email: str | None = None
    told: dict[str, Any] = field(default_factory=dict)
    total: int = 0
    created: float = 0.0
    first_deadline: float = 0.0
    deadline: float = 0.0
    confirmed: Span = NEVER
    cancelled: Span = NEVER
    extended: Span = NEVER

    def can_be(self, status: str, reason: str | None, lo: float, hi: float) -> bool:
        """Whether it can have been in this state at some time of this window."""
        match status, reason:
            case "PENDING", None:
                return lo <= min(self.confirmed.hi, self.cancelled.hi, self.deadline + TOLERANCE)
            case "CONFIRMED", None:
                return self.confirmed.lo <= hi and lo <= self.cancelled.hi
            case "CANCELLED", ("by_buyer" | "by_organizer"):
                by_staff = reason == "by_organizer"
                calls = [c for c in self.calls if c.do == "cancel" and c.staff == by_staff]
                return max(self.confirmed.lo, self.cancelled.lo) <= hi and bool(calls)
            case "FAILED", "released":
                return self.confirmed.never and self.cancelled.lo <= hi
            case "FAILED", "expired":
                return self.confirmed.never and hi >= self.deadline - TOLERANCE
        return False

    def settle(self, hold: float) -> None:
        """Works out from the calls about it, and from its row at the end, when it can have been what.

        `hold` is how long its show holds places, for a booking of which no answer ever told a deadline.
        """
        row, claims = self.row or {}, [c for c in self.calls if c.do == "claim"]
        shown = [c for c in self.calls if c.status in (200, 201) and c.do in ANSWERED_WITH_A_BOOKING]
        acknowledged = [c.end for c in claims if c.status == 201]
        first = self.told or row
        self.total, self.created = first["total"], first["created_at"]
        started = min((c.start for c in claims), default=inf)
        self.born = Span(started, min(acknowledged, default=inf)).narrowed(self.created)
        deadlines = [c.answer["expires_at"] for c in shown if c.answer.get("expires_at") is not None]
        if row.get("expires_at") is not None:
            deadlines.append(row["expires_at"])
        deadlines = deadlines or [self.created + hold]
        self.first_deadline, self.deadline = min(deadlines), max(deadlines)
        self._settle_steps(row, shown)
        pending_until = Span(self.deadline - TOLERANCE, self.deadline + TOLERANCE)
        if not self.cancelled.never:
            self.dead = self.cancelled.narrowed(row.get("ended_at"))
        if self.confirmed.never:
            self.dead = Span(*map(min, zip(pending_until, self.dead, strict=True)))

    def _settle_steps(self, row: dict[str, Any], shown: list[Call]) -> None:
        sold = [c for c in shown if c.answer["status"] in ("CONFIRMED", "CANCELLED")]
        if sold or row.get("confirmed_at") is not None:
            at = next((c.answer["confirmed_at"] for c in sold if c.answer.get("confirmed_at")), None)
            starts = self._starts("confirm")
            if any(c.do == "claim" and c.body.get("confirm") for c in self.calls):
                starts.append(self.born.lo)
            ends = [c.end for c in sold]
            span = Span(min(starts, default=inf), min(ends, default=inf))
            self.confirmed = span.since(at if at is not None else row.get("confirmed_at"))
        gone = [c for c in shown if c.answer["status"] == "CANCELLED" or c.answer["reason"] == "released"]
        if gone or row.get("status") == "CANCELLED" or row.get("reason") == "released":
            span = Span(min(self._starts("cancel"), default=inf), min((c.end for c in gone), default=inf))
            self.cancelled = span.since(row.get("ended_at"))
        longer = [c for c in self.calls if c.do == "extend" and c.status == 200]
        if longer or row.get("extended"):
            self.extended = Span(
                min(self._starts("extend"), default=inf), min((c.end for c in longer), default=inf)
            )

    def _starts(self, do: str) -> list[float]:
        return [c.start for c in self.calls if c.do == do and (c.status == 200 or c.unknown)]


@dataclass
class Block(Holder):
    """Places kept off sale."""

    def settle(self) -> None:
        made = [c for c in self.calls if c.do == "block"]
        self.born = Span(
            min(c.start for c in made), min((c.end for c in made if c.status == 201), default=inf)
        )
        # A 404 says that an earlier call, whose answer was lost, has released it.
        ended = [c for c in self.calls if c.do == "unblock"]
        starts = [c.start for c in ended if c.status in (204, 404) or c.unknown]
        ends = [c.end for c in ended if c.status in (204, 404)]
        if self.row is None or ends:
            self.dead = Span(min(starts, default=inf), min(ends, default=inf))


class Model:
    """Everything that a history tells, by show, by key and by seat."""

    def __init__(self, history: History) -> None:
        self.shows: dict[str, Show] = {}
        self.bookings: dict[str, Booking] = {}
        self.blocks: dict[str, Block] = {}
        self.keys: dict[str, list[Call]] = defaultdict(list)
        self.by_seat: dict[tuple[str, str], list[Holder]] = defaultdict(list)
        self.by_area: dict[tuple[str, str], list[Holder]] = defaultdict(list)
        self.by_buyer: dict[tuple[str, str], list[Booking]] = defaultdict(list)
        self.until = history.end.at if history.end else max((c.end for c in history.calls), default=0.0)
        calls = sorted(history.calls, key=lambda c: c.start)
        for call in calls:
            if call.do == "open" and call.status == 201:
                self.shows.setdefault(call.answer["id"], _show(call)).calls.append(call)
        for call in calls:
            if call.show in self.shows:
                self.shows[call.show].calls.append(call)
            if call.key:
                self.keys[call.key].append(call)
        for show in self.shows.values():
            _tell_editions(show, history)
        self._hold_bookings(calls, history.tables.get("bookings", []))
        self._hold_blocks(calls, history.tables.get("blocks", []))
        for holder in self.holders():
            for area, seat in holder.places:
                self.by_area[holder.show, area].append(holder)
                if seat is not None:
                    self.by_seat[holder.show, seat].append(holder)

    def holders(self) -> list[Holder]:
        """All bookings and blocks."""
        return [*self.bookings.values(), *self.blocks.values()]

    def _hold_bookings(self, calls: list[Call], rows: list[dict[str, Any]]) -> None:
        for call in calls:
            if call.do == "claim" and call.status == 201:
                made = self.bookings.setdefault(
                    call.answer["id"], Booking(call.answer["id"], call.show, call.key)
                )
                if not made.told:
                    made.told = call.answer
                    made.places = [(area, seat) for area, seat, _ in call.answer["places"]]
        for row in rows:
            booking = self.bookings.setdefault(row["id"], Booking(row["id"], row["show"], row["key"] or ""))
            booking.row = row
            show = self.shows.get(row["show"])
            if show is not None and not booking.told:
                booking.places = row_places(show, row)
        for call in calls:
            if call.target in self.bookings and call.do in ANSWERED_WITH_A_BOOKING:
                self.bookings[call.target].calls.append(call)
        for booking in self.bookings.values():
            claims = [c for c in self.keys.get(booking.key, []) if c.do == "claim"]
            # The same key with another body made nothing, whatever came of it.
            bodies = [c.body for c in claims if c.status == 201] or [c.body for c in claims[:1]]
            booking.calls += [c for c in claims if c.body in bodies]
            booking.settle(self.shows[booking.show].hold if booking.show in self.shows else 0.0)
            email = bodies[0].get("customer", {}).get("email") if bodies else None
            if email:
                booking.email = email
                self.by_buyer[booking.show, email].append(booking)

    def _hold_blocks(self, calls: list[Call], rows: list[dict[str, Any]]) -> None:
        there = {row["key"]: row for row in rows}
        for call in calls:
            if call.do != "block" or not (call.status == 201 or (call.unknown and call.key in there)):
                continue
            id_ = call.answer["id"] if call.status == 201 else there[call.key]["id"]
            if id_ not in self.blocks:
                block = self.blocks[id_] = Block(id_, call.show, call.key, row=there.get(call.key))
                block.calls = [c for c in self.keys[call.key] if c.do == "block"]
                show, body = self.shows[call.show], call.body
                block.places = [(show.seats[seat], seat) for seat in body.get("seats", [])]
                block.places += [(body.get("area", ""), None)] * body.get("quantity", 0)
        for call in calls:
            if call.do == "unblock" and call.target in self.blocks:
                self.blocks[call.target].calls.append(call)
        for block in self.blocks.values():
            block.settle()


def _show(call: Call) -> Show:
    """A show as it was ordered. The product's names of seats: `<row>-<number>`."""
    body = call.body
    seats: dict[str, str] = {}
    runs: list[list[str]] = []
    for area in body["areas"]:
        for row in area.get("rows", []):
            names = [f"{row['label']}-{number}" for number in range(1, row["seats"] + 1)]
            seats.update(dict.fromkeys(names, area["name"]))
            cuts = [0, *row.get("gap_after", []), len(names)]
            runs += [names[a:b] for a, b in pairwise(cuts)]
    return Show(
        id=call.answer["id"],
        kinds={area["name"]: area["kind"] for area in body["areas"]},
        seats=seats,
        runs=runs,
        prices={tier["area"]: tier["amount"] for tier in body.get("tiers", [])},
        per_buyer=body.get("max_places_per_buyer"),
    )


def _tell_editions(show: Show, history: History) -> None:
    """The editions of a show, from the answers that showed them; the last from the tables when no answer did."""
    shown: dict[int, Edition] = {}
    opened = [c for c in show.calls if c.do == "open"]
    answers = [c for c in show.calls if c.do in ("edit", "look") and c.status == 200] + opened
    for call in sorted(answers, key=lambda c: c.end):
        told, version = call.answer, call.answer["version"]
        show.hold, show.hold_max = told["hold_seconds"], told["hold_seconds_max"]
        if version not in shown:
            edits = [c for c in show.calls if c.do == "edit" and c.version == version - 1]
            causes = [c for c in edits if c.status == 200 or c.unknown] if version > 1 else opened
            since = min((c.start for c in causes), default=inf)
            shown[version] = Edition(
                version, Span(since, call.end), told["status"] == "on_sale", told["capacities"]
            )
    for row in history.tables.get("shows", []):
        if row["show"] == show.id and row["version"] not in shown:
            edits = [c for c in show.calls if c.do == "edit" and c.version == row["version"] - 1]
            since = min((c.start for c in edits if c.unknown), default=inf)
            stock = sorted(
                (r for r in history.tables["stock"] if r["show"] == show.id), key=lambda r: r["area"]
            )
            capacities = {name: r["capacity"] for name, r in zip(show.kinds, stock, strict=True)}
            selling = row["status"] == "on_sale"
            shown[row["version"]] = Edition(row["version"], Span(since, inf), selling, capacities)
    show.editions = [shown[version] for version in sorted(shown)]


def row_places(show: Show, row: dict[str, Any]) -> list[tuple[str, str | None]]:
    """The places of a row of `bookings`, as (area, seat or None)."""
    areas, seats = list(show.kinds), list(show.seats)
    named: list[str | None] = [seats[seat] for seat in row["seats"]] or [None] * len(row["areas"])
    return [(areas[area - 1], seat) for area, seat in zip(row["areas"], named, strict=True)]
