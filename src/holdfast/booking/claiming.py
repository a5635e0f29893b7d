"""The batching claimer: what arrives while a batch is in flight is the next batch, and a batch is one call.

Nothing waits for a timer: when idle, a batch is one claim. Claims run in a few lanes by hash of the show, so that a
slow show delays few others. A batch that the database cannot take is tried claim by claim, so that nobody pays for a
neighbour; after a lost connection the outcome is looked up by the ids that were made here.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec

from holdfast.booking.view import Change, Views
from holdfast.platform import telemetry
from holdfast.platform.db import Contention, Database, Record, load_queries
from holdfast.platform.errors import Busy
from holdfast.platform.ids import BookingId, CodeId, CustomerId, OrganizerId, ShowId, new_id
from holdfast.platform.settings import Settings

sql = load_queries(__file__)
log = telemetry.log("claiming")

_expired = telemetry.BOOKINGS_ENDED.labels("expired")

BATCH_TRIES_MAX = 3
LOOK_UPS_MAX = 5
LOOK_UP_SECONDS = 0.2

_NO_ANSWER = "No answer in time. Ask again with the same Idempotency-Key."
_CROWDED = "Too many want this show at once."


class Wish(
    msgspec.Struct,
    eq=False,
):
    """One claim, priced and resolved to ordinals. Exactly what the SQL function `claim` takes for it."""

    show_id: ShowId
    terms: int
    organizer_id: OrganizerId
    currency: str
    hold_seconds: int
    hold_seconds_max: int
    buyer_max: int | None
    booking_id: BookingId
    reference: str
    key: bytes | None
    fingerprint: bytes
    buyer: bytes | None
    email: str | None
    name: str | None
    confirm: bool
    places: int
    area: int | None
    split: bool
    options: int
    seats: Sequence[int]
    tiers: Sequence[int]
    amounts: Sequence[int]
    # The account of a buyer who has signed in.
    customer_id: CustomerId | None = None
    # The code that it was priced with.
    code_id: CodeId | None = None
    # Whether any seated area would do.
    anywhere: bool = False
    # Those who want to know, each of whom may go away.
    callers: list[asyncio.Future["Decision"]] = []
    behind: list[asyncio.Future[None]] = []
    is_queued: bool = False

    def __post_init__(self) -> None:
        # The arrays of a batch follow one another: a wish of the wrong length would move its neighbours'.
        assert self.places >= 1 and len(self.tiers) == len(self.amounts) == self.places
        assert len(self.seats) == self.options * self.places


class Decision(NamedTuple):
    """What the database said. `seats` were given, or were the ones taken (`seats_taken`)."""

    outcome: str
    booking_id: BookingId
    seats: Sequence[int]
    deadline: datetime | None
    decided_at: datetime


class Strategy(Protocol):
    """How concurrent claims are ordered. All pass the same suite, `tests/conformance`; the database has the last word."""

    async def decide(self, wish: Wish) -> Decision:
        """The decision on one wish. Raises Busy when there is none in time; the same key then asks for it."""
        ...

    async def stop(self) -> None:
        """Ends in order."""
        ...


class Claimer:
    """The strategy `batched`: gathers wishes and has them decided together."""

    def __init__(self, db: Database, views: Views, settings: Settings) -> None:
        self._db = db
        self._views = views
        self._settings = settings
        self._lanes = [_Lane(self) for _ in range(settings.claim_lanes)]
        self._waiting = 0
        self._by_key: dict[tuple[ShowId, bytes], Wish] = {}
        # All wait equally long, so one timer for the first of them does for all.
        self._deadlines: deque[tuple[float, asyncio.Future[Decision]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def decide(self, wish: Wish) -> Decision:
        """The database's decision on one wish.

        Raises Busy when too many wait, when the database is away, or when no answer came within `claim_seconds`: the
        outcome is then unknown, and the same key asks for it. Equal wishes at once (one key, one fingerprint) share
        one decision.
        """
        if wish.key is not None:
            key = wish.show_id, wish.key
            while (other := self._by_key.get(key)) is not None:
                if other.fingerprint == wish.fingerprint:
                    return await self._answer_to(other)
                await self._until_free(other)
            self._queue(wish)
            self._by_key[key] = wish
        else:
            self._queue(wish)
        return await self._answer_to(wish)

    async def _until_free(self, wish: Wish) -> None:
        """Waits until a wish with the same key, of which we want nothing but its end, is decided or given up."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wish.behind.append(turn)
        try:
            async with asyncio.timeout(self._settings.claim_seconds):
                await turn
        except TimeoutError:
            raise Busy(_NO_ANSWER) from None

    def _queue(self, wish: Wish) -> None:
        if self._waiting >= self._settings.claim_queue_max:
            raise Busy("Too many claims at once.")
        self._waiting += 1
        self._lane(wish).add(wish)

    async def _answer_to(self, wish: Wish) -> Decision:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Decision] = loop.create_future()
        wish.callers.append(answer)
        deadlines = self._deadlines
        while deadlines and deadlines[0][1].done():
            deadlines.popleft()
        deadlines.append((loop.time() + self._settings.claim_seconds, answer))
        if self._timer is None:
            self._timer = loop.call_at(deadlines[0][0], self._end_of_patience)
        try:
            return await answer
        except BaseException:
            # Every client is gone: what was not sent yet is dropped, what was sent is decided and forgotten.
            if wish.is_queued and all(each.done() for each in wish.callers):
                self._lane(wish).drop(wish)
                self.left_queue(1)
                self._forget_key(wish)
            raise

    def _end_of_patience(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._deadlines and (self._deadlines[0][1].done() or self._deadlines[0][0] <= now):
            _, answer = self._deadlines.popleft()
            _set(answer, Busy(_NO_ANSWER))
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(self._deadlines[0][0], self._end_of_patience) if self._deadlines else None

    def _lane(self, wish: Wish) -> "_Lane":
        return self._lanes[hash(wish.show_id) % len(self._lanes)]

    def _forget_key(self, wish: Wish) -> None:
        if wish.key is not None and self._by_key.get((wish.show_id, wish.key)) is wish:
            del self._by_key[wish.show_id, wish.key]
            for turn in wish.behind:
                if not turn.done():
                    turn.set_result(None)

    async def stop(self) -> None:
        """Waits for the batches in flight."""
        await asyncio.gather(*(lane.task for lane in self._lanes if lane.task), return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()

    def left_queue(self, count: int) -> None:
        """Keeps the count of those who wait."""
        self._waiting -= count
        telemetry.CLAIM_QUEUE.set(self._waiting)

    async def settle(self, batch: list[Wish]) -> None:
        """Has a batch decided and every wish of it answered, whatever happens."""
        telemetry.CLAIM_BATCH.observe(len(batch))
        try:
            await self._send(batch)
        except Busy as error:
            await self._look_up(batch, error)
        except Exception as error:
            if len(batch) == 1:
                log.exception("claim failed", show_id=str(batch[0].show_id))
                self._answer(batch[0], Busy(_CROWDED) if isinstance(error, Contention) else error)
                return
            log.warning("batch failed, trying one by one", claims=len(batch), error=repr(error))
            for wish in batch:
                await self.settle([wish])

    async def _send(self, batch: list[Wish]) -> None:
        # One group per show and terms, sorted: the order in which the heads are locked.
        groups: dict[tuple[ShowId, int], list[Wish]] = {}
        for wish in batch:
            groups.setdefault((wish.show_id, wish.terms), []).append(wish)
        ordered = sorted(groups.items())
        arguments = claim_arguments([group for _, group in ordered])
        for attempt in range(1, BATCH_TRIES_MAX + 1):
            try:
                rows = await self._db.rows(sql.claim_many, *arguments)
                break
            except Contention as error:
                log.warning("batch met another transaction", attempt=attempt, error=repr(error))
                if attempt == BATCH_TRIES_MAX:
                    raise
        for ((show_id, _), wishes), row in zip(ordered, rows, strict=True):
            self._settle_group(show_id, wishes, row)

    def _settle_group(self, show_id: ShowId, wishes: list[Wish], row: Record) -> None:
        telemetry.CLAIM_LOCK_WAIT_SECONDS.observe(row["lock_seconds"])
        seats, taken = row["seats_out"], []
        won = False
        for wish, outcome, booking_id, deadline, first, count in zip(
            wishes, row["outcomes"], row["booking_ids"], row["deadlines"], row["seats_from"], row["seats_count"], strict=True
        ):  # fmt: skip
            own = seats[first : first + count]
            if outcome in ("pending", "confirmed"):
                won = True
                taken += own
            self._answer(wish, Decision(outcome, booking_id, own, deadline, row["decided_at"]))
        if row["expired"]:
            _expired.inc(row["expired"])
        if won or row["expired"]:
            self._views.changed(show_id, Change(row["at_revision"], taken, row["freed"], row["left_over"]))

    def _answer(self, wish: Wish, said: Decision | Exception) -> None:
        self._forget_key(wish)
        for caller in wish.callers:
            _set(caller, said)

    async def _look_up(self, batch: list[Wish], error: Busy) -> None:
        """After a lost connection: what exists was made. What does not exist may yet be, so its caller must ask again."""
        found: dict[UUID, Record] = {}
        for _ in range(LOOK_UPS_MAX):
            try:
                rows = await self._db.rows(
                    sql.bookings_made, [w.show_id for w in batch], [w.booking_id for w in batch]
                )
            except Busy:
                await asyncio.sleep(LOOK_UP_SECONDS)
                continue
            found = {row["booking_id"]: row for row in rows}
            break
        for wish in batch:
            row = found.get(wish.booking_id)
            outcome = row["status"].lower() if row else None
            if row is None or outcome not in ("pending", "confirmed"):
                self._answer(wish, error)
            else:
                self._answer(
                    wish,
                    Decision(outcome, wish.booking_id, row["seats"], row["expires_at"], row["created_at"]),
                )


class _Lane:
    """One batch in flight at a time; the others gather behind it."""

    def __init__(self, claimer: Claimer) -> None:
        self._claimer = claimer
        self._queue: deque[Wish] = deque()
        self.task: asyncio.Task[None] | None = None

    def add(self, wish: Wish) -> None:
        self._queue.append(wish)
        wish.is_queued = True
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._run(), name="claims")

    def drop(self, wish: Wish) -> None:
        """Takes a wish that was not sent out of the queue."""
        self._queue.remove(wish)
        wish.is_queued = False

    async def _run(self) -> None:
        limit = self._claimer._settings.batch_claims_max
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]
            for wish in batch:
                wish.is_queued = False
            self._claimer.left_queue(len(batch))
            await self._claimer.settle(batch)


def claim_arguments(groups: list[list[Wish]]) -> list[Any]:
    """What `claim_many` takes for these wishes, one group per show and terms."""
    wishes = [wish for group in groups for wish in group]
    firsts = [group[0] for group in groups]
    codes = [w.code_id for w in wishes]
    return [
        [w.show_id for w in firsts],
        [w.terms for w in firsts],
        [new_id() for _ in firsts],
        [w.organizer_id for w in firsts],
        [w.currency for w in firsts],
        [w.hold_seconds for w in firsts],
        [w.hold_seconds_max for w in firsts],
        [w.buyer_max for w in firsts],
        [len(group) for group in groups],
        [sum(w.places for w in group) for group in groups],
        [sum(len(w.seats) for w in group) for group in groups],
        [w.booking_id for w in wishes],
        [w.reference for w in wishes],
        [w.key for w in wishes],
        [w.fingerprint for w in wishes],
        [w.buyer for w in wishes],
        [w.email for w in wishes],
        [w.name for w in wishes],
        [w.customer_id for w in wishes],
        [w.confirm for w in wishes],
        [w.places for w in wishes],
        [w.area for w in wishes],
        [w.split for w in wishes],
        [w.options for w in wishes],
        [start for group in groups for start in _starts(len(w.seats) for w in group)],
        [seat for w in wishes for seat in w.seats],
        [tier for w in wishes for tier in w.tiers],
        [amount for w in wishes for amount in w.amounts],
        # Most batches have no code, and then nothing is sent for it.
        codes if any(codes) else [],
    ]


def _starts(lengths: Iterable[int]) -> list[int]:
    """Where each run begins when runs of these lengths follow one another."""
    return list(accumulate(lengths, initial=0))[:-1]


def _set(answer: "asyncio.Future[Decision]", said: Decision | Exception) -> None:
    if answer.done():
        return
    if isinstance(said, Exception):
        answer.set_exception(said)
        answer.exception()  # So that a failure of which the caller never hears, because it is leaving, is no fault.
    else:
        answer.set_result(said)
