"""One transaction per claim, statement by statement: what `row_lock` and `optimistic` share.

They decide exactly as the function `claim` does, and are here to be compared with it: each claim pays for its own round
trips and its own commit, and waits for those of everybody else on the show.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from holdfast.booking.claiming import Decision, Wish
from holdfast.booking.view import Change, Views
from holdfast.platform import telemetry
from holdfast.platform.db import Contention, Database, Query, Transaction, UniqueViolation, load_queries
from holdfast.platform.errors import Busy
from holdfast.platform.ids import BookingId, ShowId, new_id
from holdfast.platform.settings import Settings

sql = load_queries(__file__)

OVERDUE_MAX = 200
# Nobody can do anything with a hold that is shorter; the function `claim` says the same.
HOLD_SECONDS_MIN = 10
# A claim that is refused for one of these would be refused as well if there were more places and uses.
NOT_FOR_WANT = frozenset({"hold_limit", "code_withdrawn", "code_early", "code_expired", "code_places"})
PAUSE_SECONDS = 0.002
PAUSE_SECONDS_MAX = 0.1

_expired = telemetry.BOOKINGS_ENDED.labels("expired")


class Outpaced(Exception):
    """Somebody else changed the show between the look and the write."""


@dataclass(frozen=True, slots=True)
class Head:
    """The show as it was looked at: its head, its stock area by area, and what the buyer has had of it."""

    revision: int
    terms: int
    selling: bool
    opens_at: datetime | None
    closes_at: datetime | None
    left: tuple[int, ...]
    seated: tuple[bool, ...]
    firsts: tuple[int, ...]
    now: datetime
    bought: int
    held_seconds: int

    def hold_seconds(self, wish: Wish) -> int:
        """How long this hold may be; less than nothing when the buyer has held too long already."""
        return min(wish.hold_seconds, wish.hold_seconds_max - self.held_seconds)

    def sells(self) -> bool:
        """Whether the show is on sale now, by the database's clock."""
        opened = self.opens_at is None or self.now >= self.opens_at
        return self.selling and opened and (self.closes_at is None or self.now < self.closes_at)


class Stepwise(ABC):
    """A strategy of single statements. A subclass says how claims on one show take turns."""

    look_at_head: Query
    look_at_stock: Query
    # Tries of one claim before its buyer is told to come back.
    tries_max = 3

    def __init__(self, db: Database, views: Views, settings: Settings) -> None:
        self._db = db
        self._views = views
        self._settings = settings

    async def decide(self, wish: Wish) -> Decision:
        """The decision on one wish. Raises Busy when the database is away, or when it was outpaced too often."""
        try:
            async with asyncio.timeout(self._settings.claim_seconds):
                for attempt in range(self.tries_max):
                    try:
                        return await self._try(wish)
                    except (Outpaced, UniqueViolation, *Contention):
                        pause = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS * 2**attempt)
                        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 -- only to drift apart
        except TimeoutError:
            raise Busy("No answer in time. Ask again with the same Idempotency-Key.") from None
        raise Busy("Too many want this show at once.")

    async def stop(self) -> None:  # noqa: B027 -- nothing to stop is right for most
        """Nothing runs beside the requests."""

    @abstractmethod
    async def own(self, tx: Transaction, show_id: ShowId, head: Head) -> None:
        """From here to the commit nobody else changes the show. Raises Outpaced when somebody has since the look."""

    async def _try(self, wish: Wish) -> Decision:
        async with self._db.transaction() as tx:
            head = await self._look(tx, wish)
            if head is None:
                return _refused(wish, "show_not_found", datetime.now().astimezone())
            early = await self._settled_before(tx, wish, head)
            if early is not None:
                return early
            outcome, seats = await self._chosen(tx, wish, head)
            freed: Sequence[int] = ()
            expired = 0
            if outcome == "won":
                await self.own(tx, wish.show_id, head)
            elif outcome not in NOT_FOR_WANT:
                # Fail what is overdue, which takes the head, and look once more.
                await self.own(tx, wish.show_id, head)
                row = await tx.row(sql.fail_overdue, wish.show_id, OVERDUE_MAX, head.now)
                assert row is not None
                freed, expired = row["freed_seats"], len(row["failed"])
                if expired:
                    looked = await self._look(tx, wish)
                    assert looked is not None
                    head = replace(looked, now=head.now)
                    outcome, seats = await self._chosen(tx, wish, head)
            won = outcome == "won"
            if won or expired:
                left = await self._written(tx, wish, head, seats, freed, won=won)
                change = Change(head.revision + 1, seats if won else (), freed, left)
                tx.after_commit(lambda: self._views.changed(wish.show_id, change))
                tx.after_commit(lambda: _expired.inc(expired))
            if not won:
                return Decision(outcome, wish.booking_id, seats, None, head.now)
            deadline = head.now + timedelta(seconds=head.hold_seconds(wish))
            return Decision(
                "confirmed" if wish.confirm else "pending", wish.booking_id, seats, deadline, head.now
            )

    async def _look(self, tx: Transaction, wish: Wish) -> Head | None:
        row = await tx.row(self.look_at_head, wish.show_id)
        if row is None:
            return None
        stock = await tx.rows(self.look_at_stock, wish.show_id)
        buyer = None
        if wish.buyer is not None:
            buyer = await tx.row(sql.buyer_of, wish.show_id, wish.buyer)
        return Head(
            row["revision"],
            row["terms"],
            row["selling"],
            row["opens_at"],
            row["closes_at"],
            tuple(area["places"] for area in stock),
            tuple(area["seated"] for area in stock),
            tuple(area["first_seat"] for area in stock),
            stock[0]["now"],
            buyer["places"] if buyer else 0,
            buyer["held_seconds"] if buyer else 0,
        )

    async def _settled_before(self, tx: Transaction, wish: Wish, head: Head) -> Decision | None:
        """What is decided without a look at buyer and places, in the order that the function `claim` promises."""
        if wish.key is not None:
            known = await tx.row(sql.key_of, wish.show_id, wish.key)
            if known is not None:
                same = known["fingerprint"] == wish.fingerprint
                booking_id = BookingId(known["booking_id"])
                return Decision("replayed" if same else "mismatch", booking_id, (), None, head.now)
        if head.terms != wish.terms:
            return _refused(wish, "stale", head.now)
        if not head.sells():
            return _refused(wish, "not_on_sale", head.now)
        return None

    async def _chosen(self, tx: Transaction, wish: Wish, head: Head) -> tuple[str, Sequence[int]]:
        """`won` and the seats, or the refusal and the seats that stood in the way."""
        if wish.buyer is not None:
            if head.hold_seconds(wish) < min(HOLD_SECONDS_MIN, wish.hold_seconds):
                return "hold_limit", ()
            if wish.buyer_max is not None and head.bought + wish.places > wish.buyer_max:
                return "limit_reached", ()
        if wish.code_id is not None:
            says = await tx.value(sql.code_says, wish.show_id, wish.code_id, wish.places, head.now)
            if says is not None:
                return says, ()
        area = wish.area
        known = area is not None and 1 <= area <= len(head.left)
        if area is not None and (not known or head.left[area - 1] < wish.places):
            return "sold_out", ()
        if area is not None and not head.seated[area - 1]:
            return "won", ()
        taken = set(await tx.value(sql.taken_of, wish.show_id, list(wish.seats)))
        for start in range(0, wish.options * wish.places, wish.places):
            option = wish.seats[start : start + wish.places]
            if taken.isdisjoint(option):
                return "won", option
        if area is None:
            return "seats_taken", [seat for seat in wish.seats if seat in taken]
        fit = await tx.value(sql.first_fit, wish.show_id, area, wish.places, wish.split)
        if fit:
            return "won", fit
        return "sold_out" if wish.split or wish.places == 1 else "not_together", ()

    async def _written(
        self,
        tx: Transaction,
        wish: Wish,
        head: Head,
        seats: Sequence[int],
        freed: Sequence[int],
        *,
        won: bool,
    ) -> list[int]:
        left = list(head.left)
        if won:
            areas = [_area_of(head, seat) for seat in seats] or [wish.area or 0] * wish.places
            counts = Counter(areas)
            for area, count in counts.items():
                left[area - 1] -= count
            hold = timedelta(seconds=head.hold_seconds(wish))
            if seats:
                await tx.execute(sql.take_seats, wish.show_id, list(seats), wish.booking_id)
            await tx.execute(sql.take_places, wish.show_id, list(counts), list(counts.values()))
            await tx.execute(
                sql.insert_booking, wish.show_id, wish.booking_id, wish.organizer_id, wish.reference,
                "CONFIRMED" if wish.confirm else "PENDING", wish.places, areas, list(seats), list(wish.tiers),
                list(wish.amounts), sum(wish.amounts), wish.currency, wish.email, wish.name, wish.buyer, head.now,
                head.now + hold, head.now if wish.confirm else None, wish.customer_id, wish.terms, wish.code_id,
            )  # fmt: skip
            if wish.code_id is not None and not await tx.value(
                sql.use_code, wish.show_id, wish.code_id, wish.places, head.now
            ):
                raise Outpaced
            if wish.key is not None:
                await tx.execute(
                    sql.insert_key, wish.show_id, wish.key, wish.fingerprint, wish.booking_id, head.now
                )
            if wish.buyer is not None and wish.buyer_max is not None:
                await tx.execute(sql.count_buyer, wish.show_id, wish.buyer, wish.places)
            if wish.confirm:
                await tx.row(sql.announce_confirmed, wish.show_id, wish.booking_id)
        await tx.row(
            sql.availability_changed, wish.show_id, new_id(), list(seats) if won else [], list(freed)
        )
        return left


def _refused(wish: Wish, outcome: str, now: datetime) -> Decision:
    return Decision(outcome, wish.booking_id, (), None, now)


def _area_of(head: Head, seat: int) -> int:
    """The area of a seat: the last one that begins at or before it."""
    return sum(1 for first in head.firsts if first <= seat)
