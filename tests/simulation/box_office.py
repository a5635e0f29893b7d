"""A machine for hypothesis: it drives the front door of `booking`, without HTTP, and the judge compares it with the model.

One call after the other, so that the judge's intervals are points: every answer is foreseen exactly. Time passes by
moving the past away, in the database and in the history alike, so that nobody waits.
"""

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule

from holdfast import booking, catalog
from holdfast.booking import Asker, BlockSpec, ClaimRequest
from holdfast.engine import Engine
from holdfast.platform.errors import Refusal
from holdfast.platform.ids import BlockId, BookingId, OrganizerId, ShowId
from tests.simulation.history import Call, History, read_tables
from tests.simulation.judge import judge
from tests.simulation.violation import Violation

ORGANIZER = OrganizerId(UUID(int=7))
PLAN: dict[str, Any] = {
    "name": "Hamlet",
    "start_time": "2035-12-24T20:00:00+01:00",
    "areas": [
        {"name": "Stalls", "kind": "seated", "rows": [{"label": "A", "seats": 4, "gap_after": [2]}, {"label": "B", "seats": 3}]},
        {"name": "Balcony", "kind": "seated", "rows": [{"label": "C", "seats": 3}, {"label": "D", "seats": 1}]},
        {"name": "Floor", "kind": "standing", "capacity": 5},
    ],
    "hold_seconds": 10,
    "max_places_per_buyer": 6,
}  # fmt: skip
SEATS = ["A-1", "A-2", "A-3", "A-4", "B-1", "B-2", "B-3", "C-1", "C-2", "C-3", "D-1"]
_PASSED = """update bookings set created_at = created_at - d, expires_at = expires_at - d, confirmed_at = confirmed_at - d,
                                 ended_at = ended_at - d from make_interval(secs => $2) d where show_id = $1"""

EMAILS = ["one@example.org", "two@example.org"]
# Seconds before a step: within the hold of ten, beyond it, and within or beyond its extension.
WAITS = [0.0, 0.0, 6.0, 11.0]
_WALK = {
    "claim_seats": 6, "claim_places": 4, "claim_best": 4, "claim_again": 2, "claim_otherwise": 1, "confirm": 4,
    "extend": 10, "cancel": 6, "block_seats": 2, "block_places": 1, "unblock": 3, "resize": 2, "claim_while_paused": 1,
    "much_time_passes": 1, "sweep": 1,
}  # fmt: skip

emails = st.sampled_from([None, None, *EMAILS])
seats = st.lists(st.sampled_from(SEATS), min_size=1, max_size=3, unique=True)
counts = st.integers(1, 4)
waits = st.sampled_from(WAITS)


class BoxOffice(RuleBasedStateMachine):
    """One show, sold and let go in every order."""

    engine: Engine
    url: str
    do: Callable[[Coroutine[Any, Any, Any]], Any]
    claimed = Bundle("claimed")
    blocked = Bundle("blocked")

    def __init__(self) -> None:
        super().__init__()
        self.history = History()
        self.version = 1
        self.db, self.office = self.engine.db, self.engine.office

    @initialize(longest=st.sampled_from([25, 100]))
    def open(self, longest: int) -> None:
        """A hold of ten seconds can be extended by fifteen or by all of the sixty."""
        plan = PLAN | {"hold_seconds_max": longest}
        shown = self.ask("open", plan, self._open(plan), show="")
        self.show = ShowId(UUID(shown.answer["id"]))

    @rule(target=claimed, wanted=seats, email=emails, confirm=st.booleans())
    def claim_seats(self, wanted: list[str], email: str | None, confirm: bool) -> Any:
        return self.claim({"seats": wanted, "confirm": confirm}, email)

    @rule(target=claimed, wanted=counts, email=emails)
    def claim_places(self, wanted: int, email: str | None) -> Any:
        return self.claim({"quantity": wanted, "area": "Floor"}, email)

    @rule(
        target=claimed, wanted=counts, area=st.sampled_from([None, "Stalls", "Balcony"]), split=st.booleans()
    )
    def claim_best(self, wanted: int, area: str | None, split: bool) -> Any:
        return self.claim(
            {"best_available": wanted, "split": split, **({"area": area} if area else {})}, None
        )

    @rule(made=claimed)
    def claim_again(self, made: Call) -> None:
        self.ask("claim", made.body, self._claim(made.body, made.key), key=made.key)

    @rule(made=claimed, wanted=seats)
    def claim_otherwise(self, made: Call, wanted: list[str]) -> None:
        body = {"seats": wanted, "split": True}
        self.ask("claim", body, self._claim(body, made.key), key=made.key)

    @rule(made=claimed, after=waits)
    def confirm(self, made: Call, after: float) -> None:
        self.time_passes(after)
        id_ = BookingId(UUID(made.answer["id"]))
        self.step("confirm", made, lambda tx: booking.confirm(tx, self.show, id_))

    @rule(made=claimed, after=waits)
    def extend(self, made: Call, after: float) -> None:
        self.time_passes(after)

        async def extend(tx: Any) -> booking.Booking:
            view = await self.office.views.get(self.show)
            return await booking.extend(tx, view.show, BookingId(UUID(made.answer["id"])))

        self.step("extend", made, extend)

    @rule(made=claimed, after=waits)
    def cancel(self, made: Call, after: float) -> None:
        self.time_passes(after)
        id_ = BookingId(UUID(made.answer["id"]))
        self.step(
            "cancel",
            made,
            lambda tx: booking.cancel(tx, self.office, self.show, id_, "by_buyer", sold_too=True),
        )

    @rule(target=blocked, wanted=seats)
    def block_seats(self, wanted: list[str]) -> Any:
        return self.block({"seats": wanted})

    @rule(target=blocked, wanted=counts)
    def block_places(self, wanted: int) -> Any:
        return self.block({"area": "Floor", "quantity": wanted})

    @rule(made=blocked)
    def unblock(self, made: Call) -> None:
        id_ = BlockId(UUID(made.answer["id"]))
        work = self._in_transaction(lambda tx: booking.release_block(tx, self.office, self.show, id_))
        self.ask("unblock", {}, work, target=made.answer["id"])

    @rule(size=st.integers(1, 8))
    def resize(self, size: int) -> None:
        self.edit({"capacities": {"Floor": size}}, {"areas": [{"id": 3, "capacity": size}]})

    @rule(wanted=counts)
    def claim_while_paused(self, wanted: int) -> None:
        self.edit({"status": "paused"}, {"status": "paused"})
        self.claim({"quantity": wanted, "area": "Floor"}, None)
        self.edit({"status": "on_sale"}, {"status": "on_sale"})

    @rule(seconds=st.sampled_from([30.0, 75.0]))
    def much_time_passes(self, seconds: float) -> None:
        self.time_passes(seconds)

    def time_passes(self, seconds: float) -> None:
        if not seconds:
            return
        self.do(self.db.execute(_PASSED, self.show, seconds))
        self.history.shift(seconds)

    @rule()
    def sweep(self) -> None:
        self.do(booking.sweep(self.office))

    def teardown(self) -> None:
        found = self.judged()
        assert not found, "\n".join(map(str, found))

    def judged(self) -> list[Violation]:
        """What is wrong so far."""
        self.do(read_tables(self.history, self.url))
        self.history.close()
        return judge(self.history, view_seconds=0.0)

    def walk(self, random: Random, steps: int) -> None:
        """So many steps as chance has it, and hypothesis does not: often for the same seats, and soon after the claim."""
        claimed: list[Call] = []
        blocked: list[Call] = []
        doings = [do for do, weight in _WALK.items() for _ in range(weight)]
        for _ in range(steps):
            email, wait = random.choice([None, *EMAILS]), random.choice([0.0, *WAITS])
            count, seats = random.randint(1, 4), random.sample(SEATS, random.randint(1, 2))
            made = random.choice(claimed[-3:]) if claimed else None
            do = random.choice(doings)
            told = None
            match do:
                case "claim_seats":
                    told = self.claim_seats(wanted=seats, email=email, confirm=random.random() < 0.2)
                case "claim_places":
                    told = self.claim_places(wanted=count, email=email)
                case "claim_best":
                    area = random.choice([None, "Stalls", "Balcony"])
                    told = self.claim_best(wanted=count, area=area, split=random.random() < 0.5)
                case "claim_again" if made:
                    self.claim_again(made=made)
                case "claim_otherwise" if made:
                    self.claim_otherwise(made=made, wanted=seats)
                case "confirm" | "extend" | "cancel" if made:
                    getattr(self, do)(made=made, after=wait)
                case "block_seats":
                    told = self.block_seats(wanted=seats)
                case "block_places":
                    told = self.block_places(wanted=1)
                case "unblock" if blocked:
                    self.unblock(made=blocked.pop())
                case "resize":
                    self.resize(size=random.randint(3, 8))
                case "claim_while_paused":
                    self.claim_while_paused(wanted=1)
                case "much_time_passes":
                    self.much_time_passes(seconds=random.choice([30.0, 75.0]))
                case "sweep":
                    self.sweep()
            if isinstance(told, Call):
                (blocked if told.do == "block" else claimed).append(told)

    # How a call of the front door becomes a call of the history

    def claim(self, body: dict[str, Any], email: str | None) -> Any:
        key = uuid4().hex
        body = body | {"customer": {"name": key, **({"email": email} if email else {})}}
        made = self.ask("claim", body, self._claim(body, key), key=key)
        return made if made.status == 201 else multiple()

    def step(self, do: str, made: Call, work: Callable[[Any], Coroutine[Any, Any, booking.Booking]]) -> None:
        async def shown() -> tuple[int, dict[str, Any]]:
            return 200, self._shown(await self._in_transaction(work))

        self.ask(do, {}, shown(), target=made.answer["id"])

    def block(self, body: dict[str, Any]) -> Any:
        key = uuid4().hex
        spec = msgspec.convert(body | {"reason": key}, BlockSpec)

        async def made() -> tuple[int, dict[str, Any]]:
            view = await self.office.views.get(self.show)
            block = await self._in_transaction(lambda tx: booking.block(tx, self.office, view, spec, None))
            return 201, {"id": str(block.block_id)}

        called = self.ask("block", body | {"reason": key}, made(), key=key)
        return called if called.status == 201 else multiple()

    def edit(self, body: dict[str, Any], sent: dict[str, Any]) -> None:
        edit = msgspec.convert(sent, catalog.ShowEdit)

        async def edited() -> tuple[int, dict[str, Any]]:
            version = self.version
            show = await self._in_transaction(
                lambda tx: booking.edit_show(tx, self.office, ORGANIZER, self.show, edit, version)
            )
            view = await self.office.views.get(self.show)
            return 200, _show_shown(show, view.plan)

        if self.ask("edit", body, edited(), version=self.version).status == 200:
            self.version += 1

    def ask(self, do: str, body: dict[str, Any], work: Coroutine[Any, Any, Any], **more: Any) -> Call:
        """Does the work, and writes down what came of it as HTTP would have said it."""
        more.setdefault("show", "" if do == "open" else str(self.show))
        history = self.history
        call = Call(number=history.number(), client="hypothesis", do=do, body=body, start=history.now, **more)
        try:
            call.status, call.answer = self.do(work) or (204, {})
        except Refusal as refusal:
            call.status, call.answer = refusal.status, {"code": refusal.code, **refusal.members}
        except asyncpg.PostgresError as error:
            call.status, call.answer = 500, {"code": repr(error)}
        call.end = history.now
        history.calls.append(call)
        return call

    async def _open(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        spec = msgspec.convert(body, catalog.ShowSpec)
        show, plan = await self._in_transaction(
            lambda tx: booking.open_show(tx, self.office, ORGANIZER, spec)
        )
        return 201, _show_shown(show, plan)

    async def _claim(self, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        asker = Asker(booking.key_digest("anyone", key), msgspec.json.encode(body))
        claimed = await booking.claim(self.office, self.show, msgspec.convert(body, ClaimRequest), asker)
        view = await self.office.views.get(self.show)
        shown = self._shown(claimed.booking, view.plan)
        return 201, shown | ({} if claimed.replayed else {"relaxed": claimed.relaxed})

    async def _in_transaction(self, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        async with self.db.transaction() as tx:
            return await work(tx)

    def _shown(self, made: booking.Booking, plan: catalog.Plan | None = None) -> dict[str, Any]:
        view = self.office.views.known(self.show)
        plan = plan or (view.plan if view else None)
        assert plan is not None
        names: list[str | None] = [plan.name(seat) for seat in made.seats] or [None] * made.quantity
        areas = [plan.areas[area - 1].name for area in made.areas]
        pending = made.status == "PENDING"
        return {
            "id": str(made.booking_id), "total": made.total, "version": made.version,
            "status": "FAILED" if made.is_overdue else made.status,
            "reason": "expired" if made.is_overdue else made.reason,
            "places": [list(place) for place in zip(areas, names, made.amounts, strict=True)],
            "created_at": self.history.moment(made.created_at),
            "expires_at": self.history.moment(made.expires_at) if pending and not made.is_overdue else None,
            "confirmed_at": self.history.moment(made.confirmed_at),
        }  # fmt: skip


def _show_shown(show: catalog.Show, plan: catalog.Plan) -> dict[str, Any]:
    return {
        "id": str(show.show_id), "status": show.status, "version": show.version, "hold_seconds": show.hold_seconds,
        "hold_seconds_max": show.hold_seconds_max, "capacities": {area.name: area.capacity for area in plan.areas},
    }  # fmt: skip


# The same steps every time, as many as a run of the suite has time for. A failure is not made smaller, which can take
# minutes: the judge shows the calls that matter.
STEPS = settings(
    max_examples=60, stateful_step_count=25, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
