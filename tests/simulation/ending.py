"""Judges the tables when all is over: against the model, and against one another."""

from collections import Counter, defaultdict
from math import inf
from typing import Any

from tests.simulation.history import History
from tests.simulation.model import Booking, Holder, Model, row_places
from tests.simulation.violation import Violation


class Ending:
    """The tables when all was over must be what the model says, and agree with one another."""

    def __init__(self, history: History, model: Model) -> None:
        assert history.end is not None
        self.tables = defaultdict(list, history.tables)
        self.model = model
        until = history.end.swept_until
        self.swept_until = -inf if until is None else until
        self.now = self.tables["clock"][0]["now"]
        self.rows = {row["id"]: row for row in self.tables["bookings"]}
        self.found: list[Violation] = []

    def violations(self) -> list[Violation]:
        for booking in self.model.bookings.values():
            self._booking(booking)
        for block in self.model.blocks.values():
            if block.row is None and block.born.hi < inf and block.dead.never:
                self.wrong("lost", "a block is gone that nobody released", block)
            elif block.row is not None and block.dead.hi < inf:
                self.wrong("lost", "a block is still there after its release", block)
        keys = Counter(row["key"] for row in self.tables["bookings"])
        for row in self.tables["bookings"]:
            booking = self.model.bookings[row["id"]]
            if keys[row["key"]] > 1 or not any(c.do == "claim" for c in booking.calls):
                self.wrong("key", f"booking {row['id']} is one too many for key {row['key']}", booking)
        self._never_at_once()
        self._stock()
        self._editions()
        self._facts()
        if deadlocks := self.tables["clock"][0]["deadlocks"]:
            self.wrong("deadlock", f"{deadlocks} deadlocks: locks are taken in two orders")
        return self.found

    def wrong(self, rule: str, says: str, *holders: Holder) -> None:
        self.found.append(Violation(f"end: {rule}", says, [c for h in holders for c in h.calls]))

    def _booking(self, booking: Booking) -> None:
        row, told = booking.row, booking.told
        if row is None:
            self.wrong("lost", f"booking {booking.id} was acknowledged and is not there", booking)
            return
        status, reason = row["status"], row["reason"]
        overdue = status == "PENDING" and row["expires_at"] <= self.now
        if overdue and row["expires_at"] <= self.swept_until:
            self.wrong("expiry", f"the hold {booking.id} is over and was never freed", booking)
        if not overdue and not booking.can_be(status, reason, self.now, self.now):
            self.wrong("step", f"booking {booking.id} ended as {status} {reason or ''}", booking)
        show = self.model.shows.get(booking.show)
        if show is not None and told and row_places(show, row) != booking.places:
            self.wrong("places", f"booking {booking.id} has other places than it was told", booking)
        if told and (told["total"] != row["total"] or abs(told["created_at"] - row["created_at"]) > 0.002):
            self.wrong("places", f"booking {booking.id} has another price or time than it was told", booking)
        steps = row["extended"] + (row["ended_at"] is not None)
        steps += row["confirmed_at"] is not None and row["confirmed_at"] != row["created_at"]
        if row["version"] != 1 + steps:
            self.wrong(
                "step",
                f"booking {booking.id} took {row['version'] - 1} steps where {steps} are known",
                booking,
            )
        if row["confirmed_at"] is not None and row["confirmed_at"] > row["expires_at"]:
            self.wrong("expiry", f"booking {booking.id} was confirmed after its deadline", booking)
        if row["reason"] == "expired" and row["ended_at"] < row["expires_at"]:
            self.wrong("expiry", f"booking {booking.id} was failed before its deadline", booking)

    def _never_at_once(self) -> None:
        """By the database's own times no seat has two bookings at once, to the microsecond."""
        by_seat = defaultdict(list)
        for row in self.tables["bookings"]:
            for seat in row["seats"]:
                by_seat[row["show"], seat].append((row["created_at"], row["ended_at"] or inf, row["id"]))
        for (_, seat), spans in by_seat.items():
            for (_, end, one), (begin, _, two) in zip(sorted(spans), sorted(spans)[1:], strict=False):
                if begin < end:
                    holders = self.model.bookings[one], self.model.bookings[two]
                    self.wrong(
                        "seat", f"seat number {seat} belongs to {one[-6:]} and {two[-6:]} at once", *holders
                    )

    def _stock(self) -> None:
        live = [row for row in self.rows.values() if row["status"] in ("PENDING", "CONFIRMED")]
        held = Counter((r["show"], s, r["id"]) for r in [*live, *self.tables["blocks"]] for s in r["seats"])
        claims = Counter((r["show"], r["seat"], r["holder"]) for r in self.tables["claims"])
        for show, seat, holder in (held - claims) + (claims - held):
            owner = self.model.bookings.get(holder) or self.model.blocks.get(holder)
            self.wrong(
                "seat",
                f"seat number {seat} of {show}: {holder} and its claim disagree",
                *filter(None, [owner]),
            )
        reserved = Counter((r["show"], area) for r in live for area in r["areas"])
        blocked = Counter((r["show"], area) for r in self.tables["blocks"] for area in r["areas"])
        for row in self.tables["stock"]:
            place = row["show"], row["area"]
            if (row["reserved"], row["blocked"]) != (reserved[place], blocked[place]):
                counted = f"{reserved[place]} reserved and {blocked[place]} blocked"
                self.wrong(
                    "counter", f"area {place}: {row['reserved']}, {row['blocked']} counted for {counted}"
                )
            if row["reserved"] + row["blocked"] > row["capacity"]:
                self.wrong("counter", f"area {place} has more places gone than there are: {row}")

    def _editions(self) -> None:
        heads = {row["show"]: row for row in self.tables["heads"]}
        for show in self.model.shows.values():
            last = show.editions[-1]
            stock = sorted((r for r in self.tables["stock"] if r["show"] == show.id), key=lambda r: r["area"])
            sizes = dict(zip(show.kinds, (row["capacity"] for row in stock), strict=True))
            version = next((row["version"] for row in self.tables["shows"] if row["show"] == show.id), None)
            there = version, sizes, heads[show.id]["selling"], heads[show.id]["terms"]
            if there != (last.version, last.capacities, last.selling, last.version):
                self.wrong("edit", f"show {show.id} is {there}, and was last made {last}")

    def _facts(self) -> None:
        """Who only follows what was announced knows what the tables say."""
        changes: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        told: set[tuple[str, str]] = set()
        shows: Counter[tuple[str, str]] = Counter()
        for fact in self.tables["facts"]:
            payload = fact["payload"]
            if fact["kind"] == "availability.changed":
                changes[fact["show"]][payload["revision"]] = payload
            elif "booking_id" in payload:
                told.add((fact["kind"], payload["booking_id"]))
            else:
                shows[fact["kind"], fact["show"]] += 1
        for row in self.rows.values():
            for kind, due in (
                ("confirmed", row["confirmed_at"]),
                ("cancelled", row["status"] == "CANCELLED" or None),
            ):
                if (due is not None) != ((f"booking.{kind}", row["id"]) in told):
                    self.wrong("fact", f"booking.{kind} of {row['id']}", self.model.bookings[row["id"]])
        for row in self.tables["shows"]:
            if (
                not shows["show.created", row["show"]]
                or shows["show.changed", row["show"]] < row["version"] - 1
            ):
                self.wrong(
                    "fact", f"show {row['show']} at version {row['version']} was not announced as often"
                )
        if waiting := [row for row in self.tables["waiting"] if row["created_at"] <= self.swept_until]:
            self.wrong("fact", f"{len(waiting)} facts were never handed on: {waiting[:3]}")
        for head in self.tables["heads"]:
            self._follow(head["show"], head["revision"], changes[head["show"]])

    def _follow(self, show: str, revision: int, changes: dict[int, dict[str, Any]]) -> None:
        """Every change of availability was announced, in steps that follow: each seat freed once for each time taken."""
        if sorted(changes) != list(range(1, revision + 1)):
            missing = set(range(1, revision + 1)) ^ set(changes)
            self.wrong(
                "fact",
                f"show {show} is at revision {revision}; unannounced or too many: {sorted(missing)[:9]}",
            )
            return
        taken: set[int] = set()
        for number in sorted(changes):
            change = changes[number]
            freed, given = Counter(change["freed"]), Counter(change["taken"])
            if not taken.issuperset(freed) or max(freed.values(), default=1) > 1:
                self.wrong("freed", f"revision {number} of {show} frees seats that nobody has: {change}")
            taken -= set(freed)
            if not taken.isdisjoint(given) or max(given.values(), default=1) > 1:
                self.wrong(
                    "seat", f"revision {number} of {show} gives away seats that somebody has: {change}"
                )
            taken |= set(given)
        claimed = {row["seat"] for row in self.tables["claims"] if row["show"] == show}
        stock = sorted(
            (row for row in self.tables["stock"] if row["show"] == show), key=lambda row: row["area"]
        )
        left = [row["capacity"] - row["reserved"] - row["blocked"] for row in stock]
        if taken != claimed or (changes and changes[revision]["left"] != left):
            self.wrong("fact", f"the announcements of {show} end with other seats or counts than the tables")
