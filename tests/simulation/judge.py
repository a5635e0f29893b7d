"""Judges a history: each answer must be one that some order of the overlapping calls allows.

Exact for each seat: two holders of one seat must be able to have had it one after the other, who was refused must have
met somebody who can have had it, and who was not told of a seat must not have met somebody who certainly had it. By
bounds for counters. What it finds is a `Violation` with the calls that show it, and no others.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from math import ceil, inf
from typing import Any

from tests.simulation.ending import Ending
from tests.simulation.history import Call, History
from tests.simulation.model import (
    EXTENSION_SECONDS,
    LINGER_SECONDS,
    TOLERANCE,
    Booking,
    Holder,
    Model,
    Show,
)
from tests.simulation.violation import Violation

# How old a reading of the availability may be before it is wrong. The product promises one second; a machine that does
# much else at the same time needs longer to notice, and this is about truth, not about speed.
STALE_SECONDS = 5.0
# Who asks for the best seats of the house and names no area is answered by the view of one process alone when that finds
# nothing, or finds what others are just taking. Such refusals are judged when nothing has changed for so long.
VIEW_SECONDS = 1.5
# A lock in Redis that nobody gave back ends after this time, and the call whose caller has gone may take it late.
LOCK_SECONDS = 30.0 + LINGER_SECONDS
# Answers that say that nothing was done.
_NO_EFFECT = frozenset({"unauthenticated", "busy"})


def judge(history: History, *, view_seconds: float = VIEW_SECONDS) -> list[Violation]:
    """Everything that is wrong with a history; nothing when some honest run could have been like this.

    `view_seconds`: how old the view may be by which a process answers for the whole house. 0 where there is only one.
    """
    return _Judge(history, view_seconds).violations()


class _Judge:
    def __init__(self, history: History, view_seconds: float) -> None:
        self.history = history
        self.view_seconds = view_seconds
        self.model = Model(history)
        self.found: list[Violation] = []
        self.rules: dict[str, Callable[[Call], None]] = {
            "claim": self._claim,
            "read": self._read,
            "extend": self._extend,
            "confirm": self._confirm,
            "cancel": self._cancel,
            "block": self._block,
            "unblock": self._unblock,
            "edit": self._edit,
            "availability": self._availability,
        }

    def violations(self) -> list[Violation]:
        for call in self.history.calls:
            if call.status == 500:
                self.wrong("error", f"{call.do} was answered by a fault of the server", [call])
            elif not call.unknown and call.do in self.rules and call.code not in _NO_EFFECT:
                self.rules[call.do](call)
        for calls in self.model.keys.values():
            self._key([c for c in calls if c.do == "claim"])
            self._once([c for c in calls if c.do != "claim"])
        for booking in self.model.bookings.values():
            self._birth(booking)
        for (show, seat), holders in self.model.by_seat.items():
            self._seat(show, seat, holders)
        for (show, area), holders in self.model.by_area.items():
            if area in self.model.shows[show].kinds:
                self._area(self.model.shows[show], area, holders)
        for (show, buyer), bookings in self.model.by_buyer.items():
            self._buyer(self.model.shows[show], buyer, bookings)
        if self.history.end is not None and self.history.tables:
            self.found += Ending(self.history, self.model).violations()
        return self.found

    def wrong(self, rule: str, says: str, calls: Iterable[Call], *holders: Holder) -> None:
        calls = list(calls)
        # What came later cannot be the reason of an answer.
        until = max((c.end for c in calls), default=inf)
        calls += [c for h in holders for c in h.calls if c.start <= until]
        shown = {id(c): c for c in calls}
        self.found.append(Violation(rule, says, list(shown.values())))

    def window(self, call: Call) -> tuple[float, float]:
        """When the answer can have been decided: equal calls that overlap, or went unanswered, may share a decision."""
        equals = [
            c.start
            for c in self.model.keys.get(call.key, ())
            if c.do == call.do
            and c.start <= call.end
            and (c.unknown or c.end >= call.start or c.status == call.status)
        ]
        return min(equals, default=call.start), call.end

    # Claims

    def _claim(self, call: Call) -> None:
        lo, hi = self.window(call)
        show = self.model.shows[call.show]
        match call.status, call.code:
            case 201, _:
                self._shown(call, lo, hi)
                self._given(call, show)
            case 409, "seats_taken":
                self._seats_taken(call, lo, hi)
            case 409, ("sold_out" | "not_together"):
                self._too_few(call, show, lo, hi)
            case 409, "not_on_sale":
                if all(edition.selling for edition in show.during(lo, hi)):
                    self.wrong("sale", "refused as not on sale while it was", [call, *self._edits(show)])
            case 409, "limit_reached":
                self._limit_reached(call, show, lo, hi)
            case 409, "hold_limit":
                self._hold_limit(call, show, hi)
            case 422, "idempotency_mismatch":
                others = [c for c in self.model.keys[call.key] if c.body != call.body and c.start <= hi]
                if not others:
                    self.wrong("key", "a key that nobody used for anything else was refused", [call])
            case _:
                self.wrong("answer", f"a claim cannot be answered {call.status} {call.code}", [call])

    def _given(self, call: Call, show: Show) -> None:
        body, places = call.body, call.answer["places"]
        seats = [seat for _, seat, _ in places]
        if "seats" in body:
            good = seats == body["seats"]
        elif "quantity" in body:
            good = len(seats) == body["quantity"] and {(area, seat) for area, seat, _ in places} == {
                (body["area"], None)
            }
        else:
            wanted = {body["area"]} if "area" in body else set(show.kinds)
            together = any(set(seats) <= set(run) and _adjacent(run, seats) for run in show.runs)
            good = (
                len(set(seats)) == body["best_available"]
                and {show.seats.get(s or "") for s in seats} <= wanted
            )
            good = good and (together or bool(body.get("split")))
            # A replay does not say what was given up.
            good = good and (together or call.answer.get("relaxed", "split") == "split")
        prices = [show.prices.get(area, 0) for area, _, _ in places]
        if not good or prices != [amount for _, _, amount in places] or sum(prices) != call.answer["total"]:
            self.wrong("places", "these are not the places, or not the prices, that were asked for", [call])

    def _seats_taken(self, call: Call, lo: float, hi: float) -> None:
        named, asked = call.answer["seats"], call.body.get("seats", [])
        if not named or not set(named) <= set(asked):
            self.wrong("seat", "refused for seats that were not asked for", [call])
        locked = self.history.beginning.strategy == "redis_lock" and call.do == "claim"
        for seat in asked:
            holders = [
                h for h in self.model.by_seat.get((call.show, seat), []) if h.key != call.key or not call.key
            ]
            if seat in named:
                met = any(self._in_the_way(h, lo, hi) for h in holders)
                if not met and not (locked and self._may_be_locked(call, seat, lo, hi)):
                    near = sorted(holders, key=lambda h: abs(h.born.lo - lo))[:4]
                    says = f"{seat} was refused as taken while nobody can have had it"
                    self.wrong("seat", says, [call], *near)
            elif not locked and (sure := [h for h in holders if h.must_hold(lo, hi)]):
                # Who met a lock was not told of the seats that he would have met besides.
                self.wrong("seat", f"{seat} was looked at as free while somebody had it", [call], *sure)

    def _may_be_locked(self, call: Call, seat: str, lo: float, hi: float) -> bool:
        """Whether another claim can have had the lock of the seat, which may outlive it."""
        return any(
            c.do == "claim" and c.key != call.key and seat in c.body.get("seats", ())
            and c.start <= hi and lo <= c.end + LOCK_SECONDS
            for c in self.model.shows[call.show].calls
        )  # fmt: skip

    def _in_the_way(self, holder: Holder, lo: float, hi: float) -> bool:
        return holder.may_hold(lo, hi) or (holder.born.lo <= hi and holder.worked_on(lo, hi))

    def _counted(self, holder: Holder, lo: float, hi: float) -> bool:
        return self._in_the_way(holder, lo, hi) or (holder.born.lo <= hi and _counted_until(holder) >= lo)

    def _too_few(self, call: Call, show: Show, lo: float, hi: float) -> None:
        body = call.body
        if "quantity" in body:
            area, wanted = body["area"], body["quantity"]
            taken = self._taken_at_most(show.id, area, lo, hi)
            least, _ = show.capacity(area, lo, hi)
            if least - sum(taken.values()) >= wanted:
                holders = [self.model.bookings.get(i) or self.model.blocks[i] for i in taken]
                says = f"{wanted} of {area} refused while at most {sum(taken.values())} of {least} can have been taken"
                self.wrong("counter", says, [call], *holders)
            return
        wanted = body.get("best_available", 0)
        if "area" not in body and self.view_seconds and self._in_motion(show, lo - self.view_seconds, hi):
            return
        # A view counts overdue holds, and it alone answers for the whole house.
        gone = self._in_the_way if "area" in body else self._counted
        free = {
            seat
            for seat, area in show.seats.items()
            if body.get("area", area) == area
            and not any(gone(h, lo, hi) for h in self.model.by_seat.get((show.id, seat), []))
        }
        enough = max(Counter(show.seats[seat] for seat in free).values(), default=0)
        together = any(
            set(run[at : at + wanted]) <= free for run in show.runs for at in range(len(run) - wanted + 1)
        )
        if not wanted or together or (enough >= wanted and (call.code == "sold_out" or body.get("split"))):
            self.wrong("best", f"{call.code} while {sorted(free)} were free all the time", [call])

    def _in_motion(self, show: Show, lo: float, hi: float) -> bool:
        """Whether a seat can have become taken or free in this window, also in the eyes of who waits for the sweep."""
        for seat in show.seats:
            for holder in self.model.by_seat.get((show.id, seat), []):
                spans = (holder.born, holder.dead, (holder.dead.lo, _counted_until(holder)))
                if any(begin <= hi and end >= lo for begin, end in spans):
                    return True
        return False

    def _taken_at_most(self, show: str, area: str, lo: float, hi: float) -> Counter[str]:
        return Counter(h.id for h in self.model.by_area.get((show, area), []) if self._in_the_way(h, lo, hi))

    def _limit_reached(self, call: Call, show: Show, lo: float, hi: float) -> None:
        email = call.body.get("customer", {}).get("email", "")
        mine = self.model.by_buyer.get((show.id, email), [])
        had = sum(len(b.places) for b in mine if self._in_the_way(b, lo, hi))
        if show.per_buyer is None or had + _count(call.body) <= show.per_buyer:
            says = f"a buyer with at most {had} places was refused {_count(call.body)} more"
            self.wrong("buyer", says, [call], *mine)

    def _hold_limit(self, call: Call, show: Show, hi: float) -> None:
        mine = self.model.by_buyer.get((show.id, call.body.get("customer", {}).get("email", "")), [])
        held = sum(
            ceil(min(b.dead.hi, b.deadline + TOLERANCE, hi) - b.born.lo) + 1 for b in mine if b.born.lo < hi
        )
        if show.hold_max - held >= min(10, show.hold):
            self.wrong("buyer", f"refused for holding too long after {held} s at most", [call], *mine)

    def _key(self, calls: Sequence[Call]) -> None:
        """The same key is the same booking; with another body it is refused."""
        made = [c for c in calls if c.status == 201]
        if not made:
            return
        first = min(made, key=lambda c: c.end)
        for call in calls:
            if call.status == 201 and (call.body != first.body or _same(call) != _same(first)):
                self.wrong("key", "one key made two bookings, or told of one in two ways", [first, call])
            elif call.start <= first.end or call.unknown or call.status in (201, 401):
                continue
            elif call.body == first.body or call.status != 422:
                self.wrong("key", "a retry of a success heard something else", [first, call])

    def _once(self, calls: Sequence[Call]) -> None:
        """What was done under a key is not done again, and answered as before."""
        done = [c for c in calls if c.status in (200, 201)]
        if not done:
            return
        first = min(done, key=lambda c: c.end)
        for call in calls:
            late = call.start > first.end and not call.unknown and call.status != 401
            if late and (call.status, call.answer) != (first.status, first.answer):
                self.wrong("key", "a retry of a success heard something else", [first, call])

    def _birth(self, booking: Booking) -> None:
        show = self.model.shows.get(booking.show)
        claims = [c for c in booking.calls if c.do == "claim"]
        if show is None or not claims:
            return
        born = (min(c.start for c in claims), min((c.end for c in claims if c.status == 201), default=inf))
        if not born[0] - TOLERANCE <= booking.created <= born[1] + TOLERANCE:
            self.wrong("time", f"made at {booking.created:.3f}, when nobody was asking for it", claims)
        length = booking.first_deadline - booking.created
        late = length > show.hold + 0.002
        early = length < show.hold - 0.002 and booking.email is None
        if late or early or length <= 0:
            self.wrong("time", f"held for {length:.3f} s where the show says {show.hold} s", claims)
        if not any(edition.selling for edition in show.during(*booking.born)):
            self.wrong("sale", "sold while it was not on sale", [*claims, *self._edits(show)])

    # Seats and counters

    def _seat(self, show: str, seat: str, holders: Sequence[Holder]) -> None:
        if show in self.model.shows and seat not in self.model.shows[show].seats:
            self.wrong("seat", f"there is no seat {seat}", [], *holders)
        for one, two in combinations(sorted(holders, key=lambda h: h.born.lo), 2):
            if one.dead.lo > two.born.hi and two.dead.lo > one.born.hi:
                self.wrong(
                    "seat",
                    f"{seat} was given to {one.id[-6:]} and to {two.id[-6:]} at the same time",
                    [],
                    one,
                    two,
                )

    def _area(self, show: Show, area: str, holders: Sequence[Holder]) -> None:
        sure = Counter(h.id for h in holders)
        by_id = {h.id: h for h in holders}
        steps = [(h.born.hi, sure[h.id], h.id) for h in by_id.values() if h.born.hi < h.dead.lo]
        steps += [(h.dead.lo, -sure[h.id], h.id) for h in by_id.values() if h.born.hi < h.dead.lo]
        # A moment after each edit, when the size that it took away is gone.
        steps += [(edition.made.hi + 1e-6, 0, "") for edition in show.editions]
        taken, here = 0, set[str]()
        for at, places, id_ in sorted(steps):
            if at == inf:
                break
            taken += places
            if places:
                (here.add if places > 0 else here.discard)(id_)
            most = show.capacity(area, at, at)[1] if show.kinds[area] == "standing" else _seats(show, area)
            if taken > most and places >= 0:
                says = f"{taken} places of {area} given away at {at:.3f}, where there are {most}"
                self.wrong("counter", says, self._edits(show), *(by_id[i] for i in here))
                return

    def _buyer(self, show: Show, buyer: str, bookings: Sequence[Booking]) -> None:
        for booking in bookings:
            ended = [b for b in bookings if b.confirmed.never and b.cancelled.hi <= booking.born.lo]
            held = sum(max(0.0, b.dead.lo - b.born.hi) for b in ended)
            if booking.first_deadline - booking.created > max(show.hold_max - held, 0.0) + TOLERANCE:
                self.wrong(
                    "buyer",
                    f"{buyer} may hold again after {held:.1f} s of {show.hold_max} s",
                    [],
                    *ended,
                    booking,
                )
                break
        if show.per_buyer is None:
            return
        for booking in bookings:
            at = booking.born.hi
            if at == inf:
                continue
            sure = [b for b in bookings if b.must_hold(at, at)]
            if sum(len(b.places) for b in {b.id: b for b in [*sure, booking]}.values()) > show.per_buyer:
                self.wrong(
                    "buyer", f"{buyer} has more than {show.per_buyer} places at {at:.3f}", [], *sure, booking
                )
                return

    # The steps of a booking

    def _shown(self, call: Call, lo: float, hi: float) -> bool:
        """Judges what an answer says of a booking."""
        told, booking = call.answer, self.model.bookings.get(call.answer.get("id", ""))
        if booking is None or booking.show != call.show or (call.target and call.target != booking.id):
            self.wrong("answer", "told of a booking that there is not, or of another one", [call])
            return False
        if not booking.can_be(told["status"], told["reason"], lo, hi):
            says = f"told as {told['status']} {told['reason'] or ''}, which it cannot have been then"
            self.wrong("step", says, [call], booking)
            return False
        expires = told.get("expires_at")
        if told["status"] == "PENDING" and expires is not None:
            first, last = (
                abs(expires - booking.first_deadline) < 0.002,
                abs(expires - booking.deadline) < 0.002,
            )
            if (
                not (first and lo <= booking.extended.hi)
                and not (last and hi >= booking.extended.lo)
                and not (first and last)
            ):
                self.wrong("time", "told a deadline that it had not then", [call], booking)
        return True

    def _own(self, call: Call) -> Booking | None:
        booking = self.model.bookings.get(call.target)
        if booking is None or call.status == 404:
            self.wrong("lost", f"{call.do} met no booking", [call], *([booking] if booking else []))
            return None
        return booking

    def _read(self, call: Call) -> None:
        if self._own(call) is None:
            return
        if call.status == 200:
            self._shown(call, call.start, call.end)
        else:
            self.wrong("answer", f"a booking cannot be read as {call.status} {call.code}", [call])

    def _ended(self, call: Call, booking: Booking, lo: float, hi: float) -> None:
        """Judges the refusals that every step knows."""
        match call.status, call.code:
            case 410, "hold_expired":
                if not booking.can_be("FAILED", "expired", lo, hi):
                    self.wrong("expiry", f"called expired, {self._deadline(booking)}", [call], booking)
            case 409, "booking_ended":
                sold = call.do == "extend" and booking.can_be("CONFIRMED", None, lo, hi)
                if not sold and booking.cancelled.lo > hi:
                    self.wrong(
                        "step", f"{call.do} refused as ended, and nothing had ended it", [call], booking
                    )
            case _:
                self.wrong(
                    "answer", f"{call.do} cannot be answered {call.status} {call.code}", [call], booking
                )

    def _confirm(self, call: Call) -> None:
        booking = self._own(call)
        if booking is None:
            return
        lo, hi = self.window(call)
        if call.status == 200:
            if not self._shown(call, lo, hi):
                return
            told = call.answer
            earlier = booking.confirmed.lo < lo - TOLERANCE
            if told["status"] != "CONFIRMED" or (told["confirmed_at"] or inf) > booking.deadline + TOLERANCE:
                self.wrong("expiry", f"confirmed too late, {self._deadline(booking)}", [call], booking)
            elif not earlier and lo > booking.deadline + TOLERANCE:
                self.wrong("expiry", f"confirmed after its time, {self._deadline(booking)}", [call], booking)
            elif (
                booking.total
                and not call.staff
                and not any(c.staff for c in booking.calls if c.do == "confirm")
            ):
                self.wrong("step", "a price was never paid", [call], booking)
        elif call.code == "payment_required":
            if not booking.total or call.staff or not booking.can_be("PENDING", None, lo, hi):
                self.wrong("step", "payment asked for where none is due", [call], booking)
        else:
            self._ended(call, booking, lo, hi)

    def _deadline(self, booking: Booking) -> str:
        return f"where its deadline was {booking.deadline:.3f}"

    def _extend(self, call: Call) -> None:
        booking = self._own(call)
        if booking is None:
            return
        lo, hi = self.window(call)
        show = self.model.shows[booking.show]
        longest = booking.created + show.hold_max
        if call.status == 200:
            if not self._shown(call, lo, hi):
                return
            others = [c for c in booking.calls if c.do == "extend" and c.status == 200 and c is not call]
            others = [c for c in others if not c.key or c.key != call.key]
            due = min(booking.first_deadline + EXTENSION_SECONDS, longest)
            if lo > booking.first_deadline + TOLERANCE:
                says = f"extended after its time, where its deadline was {booking.first_deadline:.3f}"
                self.wrong("expiry", says, [call], booking)
            elif others:
                self.wrong("step", "extended twice", [call, *others], booking)
            elif booking.deadline > due + 0.002 or (booking.email is None and booking.deadline < due - 0.002):
                self.wrong(
                    "time", f"extended to {booking.deadline:.3f} instead of {due:.3f}", [call], booking
                )
        elif call.code == "hold_limit":
            others = [
                c
                for c in booking.calls
                if c.do == "extend" and c.start <= hi and (c.status == 200 or c.unknown)
            ]
            if not others and longest > booking.first_deadline + 0.002 and booking.email is None:
                self.wrong("step", "not extended, though it might be held longer", [call], booking)
        else:
            self._ended(call, booking, lo, hi)

    def _cancel(self, call: Call) -> None:
        booking = self._own(call)
        if booking is None:
            return
        lo, hi = self.window(call)
        if call.status == 200:
            if self._shown(call, lo, hi) and call.answer["status"] not in ("FAILED", "CANCELLED"):
                self.wrong("step", "let go, and still there", [call], booking)
            by_staff = any(c.staff for c in booking.calls if c.do == "cancel" and c.start <= hi)
            if call.answer["status"] == "CANCELLED" and booking.total and not by_staff:
                self.wrong("step", "a buyer cancelled what was paid", [call], booking)
        elif call.code == "not_cancellable":
            if not booking.total or call.staff or not booking.can_be("CONFIRMED", None, lo, hi):
                self.wrong("step", "could be cancelled and was not", [call], booking)
        else:
            self.wrong("answer", f"cancel cannot be answered {call.status} {call.code}", [call], booking)

    # The organizer

    def _edits(self, show: Show) -> list[Call]:
        return [c for c in show.calls if c.do == "edit"]

    def _block(self, call: Call) -> None:
        lo, hi = self.window(call)
        match call.status, call.code:
            case 201, _:
                pass
            case 409, "seats_taken":
                self._seats_taken(call, lo, hi)
            case 409, "sold_out":
                self._too_few(call, self.model.shows[call.show], lo, hi)
            case _:
                self.wrong("answer", f"a block cannot be answered {call.status} {call.code}", [call])

    def _unblock(self, call: Call) -> None:
        block = self.model.blocks.get(call.target)
        earlier = [c for c in block.calls if c.do == "unblock" and c.start <= call.end] if block else []
        if block is None or (call.status == 404 and not any(c.unknown or c.status == 204 for c in earlier)):
            self.wrong("lost", "a block that was made is not there", [call], *([block] if block else []))
        elif call.status not in (204, 404):
            self.wrong("answer", f"a release cannot be answered {call.status} {call.code}", [call])

    def _edit(self, call: Call) -> None:
        show = self.model.shows[call.show]
        match call.status, call.code:
            case 200, _:
                told = call.answer
                sizes = call.body.get("capacities", {})
                if told["version"] != call.version + 1 or told["status"] != call.body.get(
                    "status", told["status"]
                ):
                    self.wrong("edit", "the show is not what it was made", [call])
                elif any(told["capacities"][area] != size for area, size in sizes.items()):
                    self.wrong("edit", "an area has not the size that it was given", [call])
            case 412, _:
                same = [c for c in self._edits(show) if c.version == call.version and c is not call]
                if not any(c.unknown or c.status == 200 for c in same):
                    self.wrong("edit", "a version that nobody has changed is refused", [call])
            case 409, "capacity_below_sold":
                for area, size in call.body["capacities"].items():
                    taken = self._taken_at_most(show.id, area, call.start, call.end)
                    # An edit does not fail overdue holds; until the sweep comes by they count.
                    taken += Counter(h.id for h in self._overdue(show, area, call) if h.id not in taken)
                    if sum(taken.values()) <= size:
                        self.wrong(
                            "counter",
                            f"{size} places refused for {sum(taken.values())} taken at most",
                            [call],
                        )
            case _:
                self.wrong("answer", f"an edit cannot be answered {call.status} {call.code}", [call])

    def _overdue(self, show: Show, area: str, call: Call) -> Iterator[Holder]:
        for holder in self.model.by_area.get((show.id, area), []):
            if holder.born.lo <= call.end and call.start <= _counted_until(holder):
                yield holder

    def _availability(self, call: Call) -> None:
        """A reading may be a little old. Free: nobody had it for certain all that time. Taken: somebody can have had it."""
        if call.status != 200:
            self.wrong("answer", f"the availability cannot be read as {call.status} {call.code}", [call])
            return
        show, taken = self.model.shows[call.show], bytes.fromhex(call.answer["taken"])
        lo, hi = call.start - STALE_SECONDS, call.end
        for ordinal, seat in enumerate(show.seats):
            holders = self.model.by_seat.get((show.id, seat), [])
            if taken[ordinal >> 3] >> (ordinal & 7) & 1:
                if not any(self._counted(h, lo, hi) for h in holders):
                    self.wrong("read", f"{seat} is shown as taken, and nobody has it", [call], *holders[-4:])
            elif sure := [h for h in holders if h.must_hold(lo, hi)]:
                self.wrong("read", f"{seat} is shown as free, and somebody has it", [call], *sure)


def _counted_until(holder: Holder) -> float:
    """Overdue holds count as taken until somebody needs their places or the sweep comes by."""
    if not isinstance(holder, Booking):
        return holder.dead.hi
    ended = (holder.row or {}).get("ended_at")
    return inf if ended is None else float(ended) + TOLERANCE


def _count(body: dict[str, Any]) -> int:
    return len(body.get("seats", [])) or body.get("quantity", 0) or body.get("best_available", 0)


def _same(call: Call) -> tuple[Any, ...]:
    return call.answer["id"], call.answer["places"], call.answer["total"], call.answer["created_at"]


def _adjacent(run: list[str], seats: Sequence[Any]) -> bool:
    at = sorted(run.index(seat) for seat in seats)
    return at[-1] - at[0] == len(at) - 1


def _seats(show: Show, area: str) -> int:
    return sum(each == area for each in show.seats.values())
