"""One claim in a batch that the database cannot take: its neighbours never notice.

What is wrong here is stopped far earlier for whoever comes by HTTP. It is pushed straight into the claimer, because the
promise must not hang on a check somewhere else.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.booking.claiming import Decision, Wish
from holdfast.engine import Engine
from holdfast.platform.ids import BookingId, ShowId, new_id, new_reference
from tests.races import checker
from tests.races.checker import Promise
from tests.races.crowd import ORGANIZER, held_head, open_show

pytestmark = pytest.mark.anyio

CLAIMS = 100
SEATS = 300
FLOOR = 300
SEATED, STANDING = 1, 2


def _wish(show: ShowId, **changes: Any) -> Wish:
    """Two standing places for nothing; keywords change that."""
    values: dict[str, Any] = {
        "show_id": show, "terms": 1, "organizer_id": ORGANIZER, "currency": "EUR", "hold_seconds": 120,
        "hold_seconds_max": 900, "buyer_max": None, "booking_id": BookingId(new_id()), "reference": new_reference(),
        "key": new_id().bytes, "fingerprint": b"f", "buyer": new_id().bytes, "email": "guest@example.org", "name": "Guest",
        "confirm": False, "places": 2, "area": STANDING, "split": False, "options": 0, "seats": (), "tiers": (0, 0),
        "amounts": (0, 0),
    }  # fmt: skip
    return Wish(**{**values, **changes})


def _seats(*seats: int) -> dict[str, Any]:
    return {"area": None, "options": 1, "seats": seats, "places": len(seats), "tiers": (0,) * len(seats), "amounts": (0,) * len(seats)}  # fmt: skip


# What is wrong with the one claim -> the outcome that says so, or None where the database raises.
BAD: dict[str, tuple[dict[str, Any], str | None]] = {
    "a NUL in the name": ({"name": "Gu\0est"}, None),
    "a NUL in the address": ({"email": "\0@example.org"}, None),
    "half a surrogate pair in the name": ({"name": "\ud800"}, None),
    "an amount beyond bigint": ({"amounts": (2**63, 0)}, None),
    "a total beyond bigint": ({"amounts": (2**62, 2**62)}, None),
    "a negative total": ({"amounts": (-1, 0)}, None),
    "a tier beyond smallint": ({"tiers": (40_000, 0)}, None),
    "a seat behind the last": (_seats(SEATS), None),
    "a seat before the first": (_seats(-1), None),
    "a seat beyond int": (_seats(2**31), None),
    "one seat twice": (_seats(5, 5), None),
    "an area that does not exist": ({"area": 77}, "sold_out"),
    "an area beyond smallint": ({"area": 40_000}, None),
    "no area and no seats": ({"area": None, "options": 0}, "seats_taken"),
    "more places than there are": ({"places": FLOOR + 1, "tiers": (0,) * (FLOOR + 1), "amounts": (0,) * (FLOOR + 1)}, "sold_out"),
    "a booking id that is taken": ({"booking_id": None}, None),
    "a key of the wrong length": ({"key": b"short"}, None),
    "no fingerprint": ({"fingerprint": None}, None),
    "a show that does not exist": ({"show_id": ShowId(new_id())}, "show_not_found"),
    "other terms": ({"terms": 2}, "stale"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
async def test_ninety_nine_succeed(what: str, engine: Engine, database_url: str) -> None:
    show = await open_show(engine, areas=[
        {"name": "Stalls", "kind": "seated", "rows": [{"label": f"R{i}", "seats": 30} for i in range(10)]},
        {"name": "Floor", "kind": "standing", "capacity": FLOOR},
    ])  # fmt: skip
    decide: Callable[[Wish], Any] = engine.office.claimer.decide
    taken = (await decide(_wish(show))).booking_id
    changes, outcome = BAD[what]
    if what == "a booking id that is taken":
        changes = {"booking_id": taken}
    bad = _wish(show, **changes)
    good = [_wish(show, **(_seats(100 + 2 * i, 101 + 2 * i) if i % 2 else {})) for i in range(CLAIMS - 1)]
    async with held_head(database_url, show) as head:
        # The first claim waits for the head, and the hundred behind it become one batch.
        first = asyncio.create_task(decide(_wish(show)))
        await head.waited_for_by(1)
        batch = [asyncio.create_task(decide(wish)) for wish in [*good[:50], bad, *good[50:]]]
        await asyncio.sleep(0)
        await head.let_go()
        answers: list[Decision | BaseException] = await asyncio.gather(*batch, return_exceptions=True)
        assert (await first).outcome == "pending"

    of_bad = answers.pop(50)
    assert [each.outcome if isinstance(each, Decision) else repr(each) for each in answers] == [
        "pending"
    ] * 99
    if outcome is None:
        assert isinstance(of_bad, Exception), f"it was taken: {of_bad}"
    else:
        assert isinstance(of_bad, Decision)
        assert of_bad.outcome == outcome
    promises = [
        Promise(show, each.booking_id, "PENDING", 2, each.seats)
        for each in answers
        if isinstance(each, Decision)
    ]
    promises += [Promise(show, taken, "PENDING", 2), Promise(show, first.result().booking_id, "PENDING", 2)]
    assert await checker.violations(database_url, promises, all_promised=True) == []
    # And the show goes on.
    assert (await decide(_wish(show))).outcome == "pending"


def test_a_wish_of_the_wrong_length_is_never_made() -> None:
    """Its neighbours in the arrays would get each other's prices."""
    show = ShowId(new_id())
    for changes in (
        {"tiers": (0,)},
        {"amounts": (0, 0, 0)},
        {"places": 0, "tiers": (), "amounts": ()},
        {"seats": (1,)},
    ):
        with pytest.raises(AssertionError):
            _wish(show, **changes)


async def test_a_batch_of_nothing_but_bad_claims(engine: Engine, database_url: str) -> None:
    show = await open_show(engine, areas=[{"name": "Floor", "kind": "standing", "capacity": 5}])
    wishes = [_wish(show, area=1, name="\0") for _ in range(20)]
    answers = await asyncio.gather(
        *(engine.office.claimer.decide(wish) for wish in wishes), return_exceptions=True
    )
    assert all(isinstance(answer, Exception) for answer in answers)
    assert await checker.violations(database_url, all_promised=True) == []


async def test_a_bad_claim_on_one_show_leaves_the_others_of_its_batch_alone(
    engine: Engine, database_url: str, open_another: Callable[..., Any]
) -> None:
    area = {"name": "Floor", "kind": "standing", "capacity": 5}
    shows = [await open_show(engine, areas=[area]) for _ in range(6)]
    async with open_another(claim_lanes=1) as single:
        wishes = [_wish(show, area=1, name="\0" if i == 2 else "Guest") for i, show in enumerate(shows)]
        answers = await asyncio.gather(
            *(single.office.claimer.decide(wish) for wish in wishes), return_exceptions=True
        )
    assert [getattr(answer, "outcome", "raised") for answer in answers] == [
        "raised" if i == 2 else "pending" for i in range(6)
    ]
    made = [Promise(w.show_id, w.booking_id, "PENDING", 2) for i, w in enumerate(wishes) if i != 2]
    assert await checker.violations(database_url, made, all_promised=True) == []
