"""The judge itself: each kind of violation is told in a history made by hand, and each oddity that is legal is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.history import Call, End, History, load
from tests.simulation.judge import judge

SHOW = "show"
PLAN: dict[str, Any] = {
    "areas": [
        {"name": "Stalls", "kind": "seated", "rows": [{"label": "A", "seats": 4, "gap_after": [2]}]},
        {"name": "Balcony", "kind": "seated", "rows": [{"label": "B", "seats": 2}]},
        {"name": "Floor", "kind": "standing", "capacity": 4},
    ],
    "max_places_per_buyer": 3,
}


class Story:
    """Tells a history call by call. The show is on sale from 0 on; a hold lasts 10 seconds, 20 with an extension."""

    def __init__(self, *, priced: bool = False) -> None:
        self.history = History()
        plan: dict[str, Any] = dict(PLAN)
        if priced:
            plan["tiers"] = [{"name": "Adult", "area": area["name"], "amount": 500} for area in PLAN["areas"]]
        self.priced = priced
        self.call("open", -2, -1, 201, body=plan, answer=self.show(1))

    def show(self, version: int, status: str = "on_sale", floor: int = 4) -> dict[str, Any]:
        sizes = {"Stalls": 4, "Balcony": 2, "Floor": floor}
        return {
            "id": SHOW,
            "version": version,
            "status": status,
            "hold_seconds": 10,
            "hold_seconds_max": 20,
            "capacities": sizes,
        }

    def call(self, do: str, start: float, end: float, status: int, answer: Any = None, **more: Any) -> None:
        more.setdefault("show", "" if do == "open" else SHOW)
        if isinstance(answer, str):
            answer = {"code": answer}
        number = self.history.number()
        self.history.calls.append(
            Call(
                number=number,
                client="somebody",
                do=do,
                start=start,
                end=end,
                status=status,
                answer=answer or {},
                **more,
            )
        )

    def booking(self, id_: str, places: list[str], created: float, **changes: Any) -> dict[str, Any]:
        """A booking as an answer shows it: seats by name, standing places as "Floor"."""
        areas = {"A": "Stalls", "B": "Balcony", "F": "Floor"}
        amount = 500 if self.priced else 0
        shown = [[areas[place[0]], None if place == "Floor" else place, amount] for place in places]
        return {
            "id": id_, "status": "PENDING", "reason": None, "version": 1, "places": shown, "total": amount * len(places),
            "created_at": created, "expires_at": created + 10, "confirmed_at": None, **changes,
        }  # fmt: skip

    def sell(
        self, id_: str, places: list[str], start: float, end: float | None = None, **more: Any
    ) -> dict[str, Any]:
        """An acknowledged claim on seats, or on so many standing places."""
        end = start + 0.2 if end is None else end
        body: dict[str, Any] = {"seats": places}
        if places[0] == "Floor":
            body = {"quantity": len(places), "area": "Floor"}
        made = self.booking(id_, places, more.pop("created", (start + end) / 2), **more.pop("changes", {}))
        self.call(
            "claim",
            start,
            end,
            201,
            made,
            key=more.pop("key", f"key {id_}"),
            body=body | more.pop("body", {}),
        )
        return made

    def refuse(self, places: list[str], start: float, end: float, code: str, **more: Any) -> None:
        """A refused claim on seats, or on so many standing places."""
        body: dict[str, Any] = (
            {"quantity": len(places), "area": "Floor"} if places[0] == "Floor" else {"seats": places}
        )
        answer = {"code": code, **({"seats": more.pop("named", places)} if code == "seats_taken" else {})}
        status = 422 if code == "idempotency_mismatch" else 409
        self.call(
            "claim",
            start,
            end,
            status,
            answer,
            key=more.pop("key", f"key {start}"),
            body=body | more.pop("body", {}),
        )

    def step(
        self, do: str, of: dict[str, Any], start: float, status: int = 200, *, answer: Any = None, **more: Any
    ) -> None:
        """One step of a booking, a tenth of a second long; the answer's changes, or a code."""
        if isinstance(answer, dict):
            answer = {**of, **answer}
        end = more.pop("end", start + 0.1)
        self.call(
            do, start, end, status, answer, target=of["id"], key=more.pop("key", f"{do} {start}"), **more
        )

    def found(self) -> set[str]:
        return {violation.rule for violation in judge(self.history, view_seconds=0.0)}


CONFIRMED = {"status": "CONFIRMED", "expires_at": None}
RELEASED = {"status": "FAILED", "reason": "released", "expires_at": None}
EXPIRED = {"status": "FAILED", "reason": "expired", "expires_at": None}
CANCELLED = {"status": "CANCELLED", "reason": "by_buyer", "expires_at": None}


def two_holders(story: Story) -> None:
    story.sell("one", ["A-1"], 1)
    story.sell("two", ["A-1", "A-2"], 5)


def two_sales_after_a_sale(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 2, answer=CONFIRMED | {"confirmed_at": 2.05})
    story.sell("two", ["A-1"], 100)


def sold_though_blocked(story: Story) -> None:
    story.call("block", 1, 1.1, 201, {"id": "block"}, key="block", staff=True, body={"seats": ["A-1"]})
    story.sell("one", ["A-1"], 2)


def refused_though_free(story: Story) -> None:
    story.refuse(["A-1"], 1, 1.2, "seats_taken")


def refused_though_expired(story: Story) -> None:
    story.sell("one", ["A-1"], 1)
    story.refuse(["A-1"], 12, 12.1, "seats_taken")


def refused_though_released(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("cancel", one, 2, answer=RELEASED)
    story.refuse(["A-1"], 3, 3.1, "seats_taken")


def a_taken_seat_not_named(story: Story) -> None:
    story.sell("one", ["A-1"], 1)
    story.sell("two", ["A-2"], 1)
    story.refuse(["A-1", "A-2"], 2, 2.1, "seats_taken", named=["A-1"])


def a_seat_named_that_nobody_wanted(story: Story) -> None:
    story.sell("one", ["A-1"], 1)
    story.refuse(["A-1"], 2, 2.1, "seats_taken", named=["A-2"])


def more_than_there_are(story: Story) -> None:
    story.sell("one", ["Floor"] * 3, 1)
    story.sell("two", ["Floor"] * 2, 2)


def more_than_after_an_edit(story: Story) -> None:
    story.sell("one", ["Floor"] * 3, 1)
    story.call(
        "edit", 2, 2.1, 200, story.show(2, floor=2), staff=True, version=1, body={"capacities": {"Floor": 2}}
    )


def sold_out_though_free(story: Story) -> None:
    story.sell("one", ["Floor"] * 2, 1)
    story.refuse(["Floor"] * 2, 2, 2.1, "sold_out")


def not_together_though_there_are(story: Story) -> None:
    story.sell("one", ["A-1"], 1)
    body = {"best_available": 2, "area": "Stalls"}
    story.call("claim", 2, 2.1, 409, "not_together", key="key", body=body)


def not_together_though_asked_together(story: Story) -> None:
    body = {"best_available": 2}
    made = story.booking("one", ["A-2", "A-3"], 1.1, relaxed=None)
    story.call("claim", 1, 1.2, 201, made, key="key", body=body)


def other_seats_than_asked(story: Story) -> None:
    story.call("claim", 1, 1.2, 201, story.booking("one", ["A-1"], 1.1), key="key", body={"seats": ["A-2"]})


def another_price(story: Story) -> None:
    made = story.booking("one", ["A-1"], 1.1)
    made["places"][0][2] = made["total"] = 1
    story.call("claim", 1, 1.2, 201, made, key="key", body={"seats": ["A-1"]})


def two_bookings_for_one_key(story: Story) -> None:
    story.sell("one", ["A-1"], 1, key="same")
    story.sell("two", ["A-1"], 20, key="same")


def a_retry_refused(story: Story) -> None:
    story.sell("one", ["A-1"], 1, key="same")
    story.refuse(["A-1"], 2, 2.1, "seats_taken", key="same")


def another_body_accepted(story: Story) -> None:
    story.sell("one", ["A-1"], 1, key="same")
    story.sell("one", ["A-1"], 2, key="same", body={"confirm": True}, created=1.1)


def a_key_refused_for_nothing(story: Story) -> None:
    story.refuse(["A-1"], 1, 1.1, "idempotency_mismatch")


def confirmed_too_late(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 12, answer=CONFIRMED | {"confirmed_at": 12.05})


def confirmed_too_late_with_a_false_time(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 12, answer=CONFIRMED | {"confirmed_at": 11.0})


def expired_too_early(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 9, 410, answer="hold_expired")


def expired_in_spite_of_an_extension(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("extend", one, 2, answer={"expires_at": 21.1})
    story.step("confirm", one, 15, 410, answer="hold_expired")


def ended_by_nobody(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 2, 409, answer="booking_ended")


def confirmed_and_lost(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 2, answer=CONFIRMED | {"confirmed_at": 2.05})
    story.step("read", one, 20, answer=EXPIRED)


def let_go_and_still_pending(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("cancel", one, 2, answer=RELEASED)
    story.step("read", one, 3, answer={})


def confirmed_after_it_was_let_go(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("cancel", one, 2, answer=RELEASED)
    story.step("confirm", one, 3, answer=CONFIRMED | {"confirmed_at": 3.05})


def extended_twice(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("extend", one, 2, answer={"expires_at": 21.1})
    story.step("extend", one, 3, answer={"expires_at": 21.1})


def extended_twice_without_a_key(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    for start in (2, 3):
        story.step("extend", one, start, answer={"expires_at": 21.1}, key="")


def extended_too_far(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("extend", one, 2, answer={"expires_at": 71.1})


def extended_after_its_time(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("extend", one, 12, answer={"expires_at": 21.1})


def not_extended_though_it_may_be(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("extend", one, 2, 409, answer="hold_limit")


def held_for_too_long(story: Story) -> None:
    story.sell("one", ["A-1"], 1, changes={"expires_at": 16.1})


def a_booking_that_is_not_there(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("read", one, 2, 404, answer="booking_not_found")


def too_many_for_one_buyer(story: Story) -> None:
    mail = {"customer": {"email": "buyer@example.org"}}
    story.sell("one", ["A-1", "A-2"], 1, body=mail)
    story.sell("two", ["A-3", "A-4"], 2, body=mail)


def limited_for_nothing(story: Story) -> None:
    story.refuse(["A-1"], 1, 1.1, "limit_reached", body={"customer": {"email": "buyer@example.org"}})


def held_too_often_for_nothing(story: Story) -> None:
    story.refuse(["A-1"], 1, 1.1, "hold_limit", body={"customer": {"email": "buyer@example.org"}})


def held_again_and_again(story: Story) -> None:
    mail = {"customer": {"email": "buyer@example.org"}}
    for number in range(3):
        made = story.sell(f"number {number}", ["A-1"], 1 + 10 * number, body=mail)
        story.step("cancel", made, 10.5 + 10 * number, answer=RELEASED)


def sold_while_paused(story: Story) -> None:
    story.call("edit", 1, 1.1, 200, story.show(2, "paused"), staff=True, version=1, body={"status": "paused"})
    story.sell("one", ["A-1"], 2)


def refused_while_on_sale(story: Story) -> None:
    story.refuse(["A-1"], 1, 1.1, "not_on_sale")


def a_size_refused_for_nothing(story: Story) -> None:
    body = {"capacities": {"Floor": 2}}
    story.call("edit", 1, 1.1, 409, "capacity_below_sold", staff=True, version=1, body=body)


def a_block_that_is_not_there(story: Story) -> None:
    story.call("block", 1, 1.1, 201, {"id": "block"}, key="block", staff=True, body={"seats": ["A-1"]})
    story.call("unblock", 2, 2.1, 404, "block_not_found", staff=True, target="block")


def shown_free_though_sold(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 2, answer=CONFIRMED | {"confirmed_at": 2.05})
    story.call("availability", 30, 30.1, 200, {"revision": 1, "taken": "00"})


def shown_taken_though_free(story: Story) -> None:
    story.call("availability", 30, 30.1, 200, {"revision": 1, "taken": "01"})


def a_fault_of_the_server(story: Story) -> None:
    story.call("claim", 1, 1.1, 500, key="key", body={"seats": ["A-1"]})


def priced_and_never_paid(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 2, answer=CONFIRMED | {"confirmed_at": 2.05})


def payment_asked_for_nothing(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 2, 409, answer="payment_required")


def priced_and_cancelled_by_its_buyer(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 2, answer=CONFIRMED | {"confirmed_at": 2.05}, staff=True)
    story.step("cancel", one, 3, answer=CANCELLED | {"confirmed_at": 2.05})


def not_cancelled_though_free(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 2, answer=CONFIRMED | {"confirmed_at": 2.05})
    story.step("cancel", one, 3, 409, answer="not_cancellable")


def refused_by_no_lock_any_more(story: Story) -> None:
    story.history.beginning.strategy = "redis_lock"
    story.call("claim", 1, 1.2, 0, key="lost", body={"seats": ["A-2", "A-3"]})
    story.refuse(["A-2"], 60, 60.1, "seats_taken")


def a_fault_of_the_client(story: Story) -> None:
    story.call("claim", 1, 1.1, 400, "invalid", key="key", body={"seats": ["A-1"]})


VIOLATIONS = {
    priced_and_never_paid: "step", payment_asked_for_nothing: "step", priced_and_cancelled_by_its_buyer: "step",
    not_cancelled_though_free: "step", a_fault_of_the_client: "answer",
    refused_by_no_lock_any_more: "seat",
    two_holders: "seat", two_sales_after_a_sale: "seat", sold_though_blocked: "seat", refused_though_free: "seat",
    refused_though_expired: "seat", refused_though_released: "seat", a_taken_seat_not_named: "seat",
    a_seat_named_that_nobody_wanted: "seat", more_than_there_are: "counter", more_than_after_an_edit: "counter",
    sold_out_though_free: "counter", not_together_though_there_are: "best", not_together_though_asked_together: "places",
    other_seats_than_asked: "places", another_price: "places", two_bookings_for_one_key: "key", a_retry_refused: "key",
    another_body_accepted: "key", a_key_refused_for_nothing: "key", confirmed_too_late: "expiry",
    confirmed_too_late_with_a_false_time: "expiry", expired_too_early: "expiry",
    expired_in_spite_of_an_extension: "expiry", ended_by_nobody: "step", confirmed_and_lost: "step",
    let_go_and_still_pending: "step", confirmed_after_it_was_let_go: "step", extended_twice: "step", extended_twice_without_a_key: "step",
    extended_too_far: "time", extended_after_its_time: "expiry", not_extended_though_it_may_be: "step",
    held_for_too_long: "time", a_booking_that_is_not_there: "lost", too_many_for_one_buyer: "buyer",
    limited_for_nothing: "buyer", held_too_often_for_nothing: "buyer", held_again_and_again: "buyer",
    sold_while_paused: "sale", refused_while_on_sale: "sale", a_size_refused_for_nothing: "counter",
    a_block_that_is_not_there: "lost", shown_free_though_sold: "read", shown_taken_though_free: "read",
    a_fault_of_the_server: "error",
}  # fmt: skip


def sold_again_after_its_time(story: Story) -> None:
    story.sell("one", ["A-1"], 1)
    story.sell("two", ["A-1"], 11.2)


def sold_again_while_it_is_let_go(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("cancel", one, 2, answer=RELEASED, end=3)
    story.sell("two", ["A-1"], 2.2, 2.4)


def sold_again_after_an_unanswered_release(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("cancel", one, 2, 0)
    story.step("cancel", one, 2.5, 0)
    story.sell("two", ["A-1"], 5)
    story.step("read", one, 6, answer=RELEASED)


def refused_by_a_claim_at_the_same_time(story: Story) -> None:
    story.sell("one", ["A-1"], 1, 3)
    story.refuse(["A-1"], 2, 2.5, "seats_taken")


def refused_by_a_hold_that_is_being_confirmed(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 11, 410, answer="hold_expired", end=14)
    story.refuse(["A-1"], 13, 13.1, "seats_taken")


def an_unanswered_claim_answered_later(story: Story) -> None:
    story.call("claim", 1, 2, 0, key="same", body={"seats": ["A-1"]})
    story.refuse(["A-1"], 1.5, 1.7, "seats_taken")
    story.sell("one", ["A-1"], 3, key="same", created=1.2)


def a_double_click(story: Story) -> None:
    story.sell("one", ["A-1"], 1, 1.5, key="same", created=1.2)
    story.sell("one", ["A-1"], 1, 1.6, key="same", created=1.2)


def a_replay_of_what_has_expired(story: Story) -> None:
    story.sell("one", ["A-1"], 1, key="same")
    story.sell("one", ["A-1"], 15, key="same", created=1.1, changes=EXPIRED)


def another_body_refused(story: Story) -> None:
    story.sell("one", ["A-1"], 1, key="same")
    story.refuse(["A-2"], 2, 2.1, "idempotency_mismatch", key="same")


def confirmed_at_the_last_moment(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 11.0, answer=CONFIRMED | {"confirmed_at": 11.09}, end=13)


def expired_at_the_first_moment(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 10, 410, answer="hold_expired", end=11.2)


def confirmed_and_cancelled(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 2, answer=CONFIRMED | {"confirmed_at": 2.05})
    story.step("cancel", one, 30, answer=CANCELLED | {"confirmed_at": 2.05})
    story.sell("two", ["A-1"], 31)


def a_step_repeated_after_everything_changed(story: Story) -> None:
    confirmed = CONFIRMED | {"confirmed_at": 2.05}
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 2, answer=confirmed, key="same")
    story.step("cancel", one, 3, answer=CANCELLED | {"confirmed_at": 2.05})
    story.step("confirm", one, 4, answer=confirmed, key="same")


def extended_and_then_not_again(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("extend", one, 2, answer={"expires_at": 21.1})
    story.step("extend", one, 3, 409, answer="hold_limit")
    story.step("confirm", one, 20, answer=CONFIRMED | {"confirmed_at": 20.05})


def read_before_the_commit_is_seen(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 2, answer=CONFIRMED | {"confirmed_at": 2.1}, end=3)
    story.step("read", one, 2.5, answer={})


def sold_out_by_a_claim_that_nobody_heard_of(story: Story) -> None:
    story.sell("one", ["Floor"] * 2, 1)
    story.call("claim", 1, 2, 0, key="lost", body={"quantity": 2, "area": "Floor"})
    story.refuse(["Floor"], 3, 3.1, "sold_out")
    story.sell("two", ["Floor"] * 2, 30, key="lost", created=2.5, changes=EXPIRED)


def refused_by_a_pause_at_the_same_time(story: Story) -> None:
    story.call("edit", 1, 3, 200, story.show(2, "paused"), staff=True, version=1, body={"status": "paused"})
    story.refuse(["A-1"], 2, 2.1, "not_on_sale")
    story.sell("one", ["A-1"], 1.5, 1.6)


def a_block_released_by_an_unanswered_call(story: Story) -> None:
    story.call("block", 1, 1.1, 201, {"id": "block"}, key="block", staff=True, body={"seats": ["A-1"]})
    story.call("unblock", 2, 2.1, 0, staff=True, target="block")
    story.sell("one", ["A-1"], 3)
    story.call("unblock", 4, 4.1, 404, "block_not_found", staff=True, target="block")


def an_overdue_hold_still_shown_as_taken(story: Story) -> None:
    story.sell("one", ["A-1"], 1)
    story.call("availability", 12, 12.1, 200, {"revision": 1, "taken": "01"})


def a_buyer_at_the_limit(story: Story) -> None:
    mail = {"customer": {"email": "buyer@example.org"}}
    story.sell("one", ["A-1", "A-2", "A-3"], 1, body=mail)
    story.refuse(["A-4"], 2, 2.1, "limit_reached", body=mail)


def priced_and_paid(story: Story) -> None:
    one = story.sell("one", ["A-1"], 1)
    story.step("confirm", one, 2, 409, answer="payment_required")
    story.step("confirm", one, 3, answer=CONFIRMED | {"confirmed_at": 3.05}, staff=True)
    story.step("cancel", one, 4, 409, answer="not_cancellable")
    story.step(
        "cancel", one, 5, answer=CANCELLED | {"confirmed_at": 3.05, "reason": "by_organizer"}, staff=True
    )


def best_refused_while_nobody_has_swept(story: Story) -> None:
    for seat in ("A-1", "A-3", "B-1"):
        story.sell(seat, [seat], 1)
    answer = {"code": "not_together"}
    story.call("claim", 12, 12.1, 409, answer, key="best", body={"best_available": 2})


def refused_by_a_lock_in_redis(story: Story) -> None:
    story.history.beginning.strategy = "redis_lock"
    story.sell("one", ["A-1"], 0.5)
    story.call("claim", 1, 1.2, 0, key="lost", body={"seats": ["A-2", "A-3"]})
    story.refuse(["A-1", "A-2"], 20, 20.1, "seats_taken", named=["A-2"])


def a_show_too_busy_to_answer(story: Story) -> None:
    story.call("claim", 1, 1.1, 503, "busy", key="key", body={"seats": ["A-1"]})


LEGAL = [
    priced_and_paid,
    sold_again_after_its_time, sold_again_while_it_is_let_go, sold_again_after_an_unanswered_release,
    refused_by_a_claim_at_the_same_time, refused_by_a_hold_that_is_being_confirmed,
    an_unanswered_claim_answered_later, a_double_click, a_replay_of_what_has_expired, another_body_refused,
    confirmed_at_the_last_moment, expired_at_the_first_moment, confirmed_and_cancelled,
    a_step_repeated_after_everything_changed, extended_and_then_not_again, read_before_the_commit_is_seen,
    sold_out_by_a_claim_that_nobody_heard_of, refused_by_a_pause_at_the_same_time,
    a_block_released_by_an_unanswered_call, an_overdue_hold_still_shown_as_taken, a_buyer_at_the_limit,
    a_show_too_busy_to_answer, best_refused_while_nobody_has_swept, refused_by_a_lock_in_redis,
]  # fmt: skip


@pytest.mark.parametrize(
    ("tell", "rule"), VIOLATIONS.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_a_violation_is_told(tell: Callable[[Story], None], rule: str) -> None:
    story = Story(priced=tell.__name__.startswith("priced_"))
    tell(story)
    assert rule in story.found()


@pytest.mark.parametrize("tell", LEGAL, ids=lambda tell: tell.__name__)
def test_a_legal_oddity_is_not(tell: Callable[[Story], None]) -> None:
    story = Story(priced=tell.__name__.startswith("priced_"))
    tell(story)
    assert story.found() == set()


def ended() -> History:
    """A sale, a hold that was let go, one that expired and was swept, and a block; with the tables that belong to it."""
    story = Story()
    sold = story.sell("sold", ["A-1"], 1, created=1.0)
    story.step("confirm", sold, 2, answer=CONFIRMED | {"confirmed_at": 2.0}, end=2.1)
    let_go = story.sell("let go", ["A-2"], 3, created=3.0)
    story.step("cancel", let_go, 4, answer=RELEASED)
    story.sell("expired", ["Floor"] * 2, 5, created=5.0)
    story.call("block", 6, 6.1, 201, {"id": "block"}, key="block", staff=True, body={"seats": ["B-1"]})

    def row(
        id_: str, at: float, seats: list[int], areas: list[int], status: str, **more: Any
    ) -> dict[str, Any]:
        return {
            "show": SHOW, "id": id_, "key": f"key {id_}", "email": None, "status": status, "reason": None, "version": 2,
            "quantity": len(areas), "areas": areas, "seats": seats, "total": 0, "extended": False, "created_at": at,
            "expires_at": at + 10, "confirmed_at": None, "ended_at": None, **more,
        }  # fmt: skip

    def change(revision: int, taken: list[int], freed: list[int], left: list[int]) -> dict[str, Any]:
        payload = {"revision": revision, "taken": taken, "freed": freed, "left": left}
        return {"show": SHOW, "id": f"fact {revision}", "kind": "availability.changed", "payload": payload}

    def stock(area: int, capacity: int, reserved: int, blocked: int) -> dict[str, Any]:
        return {"show": SHOW, "area": area, "capacity": capacity, "reserved": reserved, "blocked": blocked}

    story.history.tables = {
        "shows": [{"show": SHOW, "version": 1, "status": "on_sale"}],
        "bookings": [
            row("sold", 1.0, [0], [1], "CONFIRMED", confirmed_at=2.0),
            row("let go", 3.0, [1], [1], "FAILED", reason="released", ended_at=4.05),
            row("expired", 5.0, [], [3, 3], "FAILED", reason="expired", ended_at=15.5),
        ],
        "blocks": [{"show": SHOW, "id": "block", "key": "block", "areas": [2], "seats": [4]}],
        "claims": [{"show": SHOW, "seat": 0, "holder": "sold"}, {"show": SHOW, "seat": 4, "holder": "block"}],
        "stock": [stock(1, 4, 1, 0), stock(2, 2, 0, 1), stock(3, 4, 0, 0)],
        "heads": [{"show": SHOW, "revision": 6, "selling": True, "terms": 1}],
        "facts": [
            {"show": SHOW, "id": "made", "kind": "show.created", "payload": {}},
            {"show": SHOW, "id": "sale", "kind": "booking.confirmed", "payload": {"booking_id": "sold"}},
            change(1, [0], [], [3, 2, 4]),
            change(2, [1], [], [2, 2, 4]),
            change(3, [], [1], [3, 2, 4]),
            change(4, [], [], [3, 2, 2]),
            change(5, [4], [], [3, 1, 2]),
            change(6, [], [], [3, 1, 4]),
        ],
        "waiting": [],
        "clock": [{"now": 20.0, "deadlocks": 0}],
    }
    story.history.end = End(at=20.0, swept_until=19.0, drift=0.0)
    return story.history


def _row(table: str, at: int, **values: Any) -> Callable[[History], None]:
    return lambda history: history.tables[table][at].update(values)


def _without(table: str, at: int) -> Callable[[History], None]:
    return lambda history: history.tables[table].__delitem__(at)


def _sold_twice(history: History) -> None:
    first = history.tables["bookings"][0]
    history.tables["bookings"].append(first | {"id": "again", "key": "key again", "created_at": 1.5})


# What becomes of the tables, and the rule that tells it.
ENDS: list[tuple[str, Callable[[History], None], str]] = [
    ("an acknowledged booking is lost", _without("bookings", 0), "end: lost"),
    ("a block is lost", _without("blocks", 0), "end: lost"),
    ("a sale is a hold again", _row("bookings", 0, status="PENDING", confirmed_at=None), "end: step"),
    ("a hold is a sale", _row("bookings", 1, status="CONFIRMED", confirmed_at=3.5, ended_at=None), "end: step"),
    ("an overdue hold is never freed", _row("bookings", 2, status="PENDING", reason=None, ended_at=None), "end: expiry"),
    ("a hold is failed before its deadline", _row("bookings", 2, ended_at=14.0), "end: expiry"),
    ("a sale is later than its deadline", _row("bookings", 0, confirmed_at=11.5), "end: expiry"),
    ("an expired hold is failed twice", _row("bookings", 2, version=3), "end: step"),
    ("a booking has other seats", _row("bookings", 0, seats=[2]), "end: places"),
    ("a booking has another price", _row("bookings", 0, total=7), "end: places"),
    ("a booking that nobody asked for", _row("bookings", 2, id="other", key="other"), "end: key"),
    ("a seat is sold twice", _sold_twice, "end: seat"),
    ("a sale without its claim", _without("claims", 0), "end: seat"),
    ("a claim of somebody else", _row("claims", 0, holder="let go"), "end: seat"),
    ("a counter is not moved back", _row("stock", 2, reserved=2), "end: counter"),
    ("a blocked place is not counted", _row("stock", 1, blocked=0), "end: counter"),
    ("another size than the organizer's", _row("stock", 2, capacity=5), "end: edit"),
    ("not on sale any more", _row("heads", 0, selling=False), "end: edit"),
    ("a sale is not announced", _without("facts", 1), "end: fact"),
    ("a show is not announced", _without("facts", 0), "end: fact"),
    ("a change is not announced", _without("facts", 4), "end: fact"),
    ("a cancellation is announced that was none", _row("facts", 1, kind="booking.cancelled"), "end: fact"),
    ("a seat is freed twice", _row("facts", 7, payload={"revision": 6, "taken": [], "freed": [1], "left": [3, 1, 4]}), "end: freed"),
    ("a fact is never handed on", lambda h: h.tables["waiting"].append({"show": SHOW, "id": "x", "created_at": 15.0}), "end: fact"),
    ("locks are taken in two orders", _row("clock", 0, deadlocks=1), "end: deadlock"),
]  # fmt: skip


def test_tables_that_agree_are_right() -> None:
    assert judge(ended()) == []


@pytest.mark.parametrize(("what", "change", "rule"), ENDS, ids=[what for what, _, _ in ENDS])
def test_tables_that_disagree_are_told(what: str, change: Callable[[History], None], rule: str) -> None:
    history = ended()
    change(history)
    assert rule in {violation.rule for violation in judge(history)}


def test_a_saved_history_is_judged_like_the_first_time(tmp_path: Path) -> None:
    history = ended()
    history.fault("kill api", "for a test")
    history.tables["bookings"][2]["version"] = 3
    history.save(tmp_path / "history")
    again = load(tmp_path / "history")
    assert [str(each) for each in judge(again)] == [str(each) for each in judge(history)]
    assert again.faults == history.faults


def test_a_violation_shows_the_calls_about_it_and_no_others() -> None:
    story = Story()
    two_holders(story)
    story.sell("elsewhere", ["B-1"], 2)
    [violation] = judge(story.history)
    assert {call.answer["id"] for call in violation.calls} == {"one", "two"}
    assert "A-1 was given to" in str(violation)
