"""The queue in front of claims over HTTP: 202, then what became of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from holdfast import booking
from holdfast.engine import Engine, work
from holdfast.platform import telemetry
from holdfast.platform.db import Database
from tests.api.people import another_house, signed_in
from tests.conftest import client_of, eventually

pytestmark = pytest.mark.anyio

GUEST = {"email": "guest@example.org", "name": "Guest"}


async def _ask(
    client: httpx.AsyncClient, show: dict[str, Any], key: str | None = None, prefer: str | None = "respond-async", **body: Any
) -> httpx.Response:  # fmt: skip
    headers = ({"Idempotency-Key": key} if key else {}) | ({"Prefer": prefer} if prefer else {})
    return await client.post(f"/v1/shows/{show['id']}/bookings", json=body, headers=headers)


async def _queued(
    client: httpx.AsyncClient, show: dict[str, Any], key: str | None = None, **body: Any
) -> dict[str, Any]:
    answer = await _ask(client, show, key, **body)
    assert answer.status_code == 202, answer.text
    told: dict[str, Any] = answer.json()
    assert told["status"] == "QUEUED"
    return told


def _url(told: dict[str, Any]) -> str:
    return f"/v1/shows/{told['show_id']}/bookings/{told['id']}"


def _as_buyer(told: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {told['secret']}"}


async def _read(client: httpx.AsyncClient, told: dict[str, Any]) -> dict[str, Any]:
    answer = await client.get(_url(told), headers=_as_buyer(told))
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = answer.json()
    return read


async def test_a_claim_is_queued_and_then_a_hold(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    answer = await _ask(client, show, seats=["3", "4"], customer=GUEST)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["location"] == _url(told)
    assert (told["status"], told["reason"], told["places"], told["expires_at"]) == ("QUEUED", None, [], None)
    assert told["customer"] == GUEST
    assert (await client.get(_url(told))).status_code == 404
    assert {**await _read(client, told), "secret": told["secret"]} == told

    assert await booking.decide_queued(engine.office) == 1
    made = await _read(client, told)
    assert (made["id"], made["reference"], made["status"]) == (told["id"], told["reference"], "PENDING")
    assert [place["seat"] for place in made["places"]] == ["3", "4"]
    assert made["customer"] == GUEST
    assert made["expires_in_seconds"] > 100
    # It has left the queue, and the person with it.
    assert await engine.db.value("select count(*) from queued_claims") == 0
    confirmed = await client.post(f"{_url(told)}/confirm", headers=_as_buyer(told))
    assert confirmed.json()["status"] == "CONFIRMED"


@pytest.mark.parametrize(
    ("prefer", "status"),
    [
        ("respond-async", 202), ("Respond-Async", 202), ("wait=10, respond-async", 202), ("respond-async; x=1", 202),
        ("return=minimal", 201), ("", 201), ("respond-async-not", 201), (None, 201),
    ],
)  # fmt: skip
async def test_who_prefers_it(
    client: httpx.AsyncClient, a_show: Any, prefer: str | None, status: int
) -> None:
    answer = await _ask(client, await a_show(), prefer=prefer, seats=["1"])
    assert answer.status_code == status
    assert ("preference-applied" in answer.headers) == (status == 202)


async def test_a_worker_decides_without_being_asked(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    stopping = asyncio.Event()
    working = asyncio.create_task(work(engine, stopping))
    try:
        told = await _queued(client, show, quantity=2, confirm=True)

        async def confirmed() -> bool:
            return bool((await _read(client, told))["status"] == "CONFIRMED")

        await eventually(confirmed)
    finally:
        stopping.set()
        await working


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("seats_taken", {}, {"seats": ["1"]}),
    ("sold_out", {"areas": [{"name": "Floor", "kind": "standing", "capacity": 2}]}, {"quantity": 3}),
    ("not_together", {"areas": [{"name": "Box", "kind": "seated", "rows": [{"label": "A", "seats": 3}, {"label": "B", "seats": 3}]}]}, {"best_available": 4}),
    ("orphan_seat", {"orphans": "refuse"}, {"seats": ["9"]}),
    ("not_on_sale", {"sale_opens_at": "2029-12-24T20:00:00Z"}, {"seats": ["2"]}),
    ("limit_reached", {"max_places_per_buyer": 1}, {"seats": ["2", "3"], "customer": GUEST}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "of_show", "wish"), REFUSED, ids=[code for code, _, _ in REFUSED])
@pytest.mark.parametrize("key", [None, "k" * 22], ids=["plain", "key"])
async def test_a_refusal_is_a_failed_booking(
    client: httpx.AsyncClient, engine: Engine, a_show: Any, code: str, of_show: dict[str, Any], wish: dict[str, Any], key: str | None
) -> None:  # fmt: skip
    show = await a_show(**of_show)
    if code == "seats_taken":
        assert (await _ask(client, show, prefer=None, seats=["1"])).status_code == 201
    told = await _queued(client, show, key, **{"customer": GUEST, **wish})
    assert await booking.decide_queued(engine.office) == 1
    failed = await _read(client, told)
    assert (failed["status"], failed["reason"], failed["places"]) == ("FAILED", code, [])
    assert failed["version"] > told["version"]
    assert failed["customer"] == {"email": None, "name": None}
    kept = await engine.db.value("select request::text from queued_claims")
    assert "guest" not in str(kept).lower()
    payload = await engine.db.value("select payload from outbox where kind = 'booking.failed'")
    assert payload == {
        "booking_id": told["id"], "version": 1, "organizer_id": show["organizer_id"], "reason": code,
    }  # fmt: skip
    for step in ("confirm", "extend"):
        answer = await client.post(f"{_url(told)}/{step}", headers=_as_buyer(told))
        assert (answer.status_code, answer.json()["code"]) == (409, "booking_ended")
    assert (await client.post(f"{_url(told)}/cancel", headers=_as_buyer(told))).json()["reason"] == code


async def test_what_can_never_be_is_refused_at_once(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show(max_places_per_booking=2)
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({}, 400, "invalid"),
        ({"seats": ["1"], "quantity": 1}, 400, "invalid"),
        ({"seats": ["1", "1"]}, 400, "invalid"),
        ({"seats": ["99"]}, 400, "unknown_seat"),
        ({"quantity": 3}, 400, "too_many_places"),
        ({"quantity": 1, "area": "Nowhere"}, 400, "invalid"),
        ({"seats": ["1"], "colour": "red"}, 400, "unknown_field"),
    ]
    for body, status, code in wrong:
        for key in (None, uuid4().hex):
            answer = await _ask(client, show, key, **body)
            assert (answer.status_code, answer.json()["code"]) == (status, code), body
    assert (await _ask(client, show, "short", seats=["1"])).json()["code"] == "invalid"
    draft = await a_show(status="draft")
    assert (await _ask(client, draft, seats=["1"])).json()["code"] == "show_not_found"
    assert (await _ask(client, {"id": str(uuid4())}, seats=["1"])).json()["code"] == "show_not_found"
    assert await engine.db.value("select count(*) from queued_claims") == 0


async def test_the_same_key_is_the_same_booking_throughout(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show, key = await a_show(), uuid4().hex
    answers = await asyncio.gather(*(_ask(client, show, key, seats=["1"]) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({(answer.json()["id"], answer.json()["secret"]) for answer in answers}) == 1
    told = answers[0].json()
    other = await _ask(client, show, key, seats=["2"])
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    impossible = await _ask(client, show, key, seats=["99"])
    assert (impossible.status_code, impossible.json()["code"]) == (422, "idempotency_mismatch")

    attempt = f"/v1/shows/{show['id']}/attempt"
    asked = (await client.get(attempt, headers={"Idempotency-Key": key})).json()
    assert (asked["id"], asked["secret"], asked["status"]) == (told["id"], told["secret"], "QUEUED")
    assert await booking.decide_queued(engine.office) == 1
    asked = (await client.get(attempt, headers={"Idempotency-Key": key})).json()
    assert (asked["id"], asked["status"]) == (told["id"], "PENDING")
    again = await _ask(client, show, key, seats=["1"])
    assert again.status_code == 201
    assert (again.json()["id"], again.json()["secret"], again.json()["status"]) == (told["id"], told["secret"], "PENDING")  # fmt: skip
    assert "preference-applied" not in again.headers
    at_once = await _ask(client, show, key, prefer=None, seats=["1"])
    assert (at_once.status_code, at_once.json()["id"]) == (201, told["id"])
    assert (await _ask(client, show, key, seats=["2"])).status_code == 422


async def test_a_key_that_was_refused_tells_so(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show, key = await a_show(), uuid4().hex
    assert (await _ask(client, show, prefer=None, seats=["1"])).status_code == 201
    told = await _queued(client, show, key, seats=["1"])
    await booking.decide_queued(engine.office)
    again = await _ask(client, show, key, seats=["1"])
    assert (again.status_code, again.json()["id"]) == (201, told["id"])
    assert (again.json()["status"], again.json()["reason"]) == ("FAILED", "seats_taken")


async def test_a_key_used_at_once_replays_that_booking(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show, key = await a_show(), uuid4().hex
    made = (await _ask(client, show, key, prefer=None, seats=["1"])).json()
    again = await _ask(client, show, key, seats=["1"])
    assert (again.status_code, again.json()["id"]) == (201, made["id"])
    assert await engine.db.value("select count(*) from queued_claims") == 0


async def test_a_key_used_at_once_while_it_is_queued(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    """The booking that was made at once is the one; the queued claim points to it, and makes none of its own."""
    show, key = await a_show(), uuid4().hex
    told = await _queued(client, show, key, seats=["1"], customer=GUEST)
    made = (await _ask(client, show, key, prefer=None, seats=["1"], customer=GUEST)).json()
    assert made["status"] == "PENDING"
    assert await booking.decide_queued(engine.office) == 1
    assert (await _read(client, told))["id"] == made["id"]
    assert (await _ask(client, show, key, seats=["1"], customer=GUEST)).json()["id"] == made["id"]
    assert await engine.db.value("select count(*) from bookings") == 1
    assert await engine.db.value("select count(*) from outbox where kind = 'booking.failed'") == 0


async def test_a_key_used_for_something_else_while_it_is_queued(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show, key = await a_show(), uuid4().hex
    told = await _queued(client, show, key, seats=["1"])
    assert (await _ask(client, show, key, prefer=None, seats=["2"])).status_code == 201
    await booking.decide_queued(engine.office)
    assert (await _read(client, told))["reason"] == "idempotency_mismatch"


@pytest.mark.parametrize("by", ["buyer", "staff"])
async def test_a_queued_claim_that_is_cancelled_is_never_made(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, engine: Engine, a_show: Any, by: str
) -> None:
    show = await a_show()
    told = await _queued(client, show, seats=["1"], customer=GUEST)
    for step in ("confirm", "extend"):
        answer = await client.post(f"{_url(told)}/{step}", headers=_as_buyer(told))
        assert (answer.status_code, answer.json()["code"]) == (409, "still_queued")
    assert (await client.post(f"{_url(told)}/cancel")).status_code == 404
    if by == "buyer":
        ended = await client.post(f"{_url(told)}/cancel", headers=_as_buyer(told))
    else:
        async with signed_in(engine, "owner", await another_house(engine)) as stranger:
            assert (await stranger.get(_url(told))).status_code == 404
            assert (await stranger.post(f"{_url(told)}/cancel")).status_code == 404
        ended = await owner.post(f"{_url(told)}/cancel")
    assert ended.status_code == 200, ended.text
    assert (ended.json()["status"], ended.json()["reason"]) == ("FAILED", "released")
    assert ended.json()["customer"] == {"email": None, "name": None}
    assert await booking.decide_queued(engine.office) == 0
    assert await _read(client, told) == ended.json()
    assert await engine.db.value("select count(*) from bookings") == 0


async def test_a_cancellation_that_comes_too_late_for_the_queue_lets_the_hold_go(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    told = await _queued(client, show, seats=["1"])
    found = await booking.booking_or_queued(engine.db, told["show_id"], told["id"])
    assert found.status == "QUEUED"
    await booking.decide_queued(engine.office)
    async with engine.db.transaction() as tx:
        assert (await booking.let_queued_go(tx, found)).status == "PENDING"
    ended = (await client.post(f"{_url(told)}/cancel", headers=_as_buyer(told))).json()
    assert (ended["status"], ended["reason"]) == ("FAILED", "released")


async def test_a_cancellation_that_comes_after_the_refusal_changes_nothing(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show(total_seats=1)
    assert (await _ask(client, show, prefer=None, seats=["1"])).status_code == 201
    told = await _queued(client, show, seats=["1"])
    found = await booking.booking_or_queued(engine.db, told["show_id"], told["id"])
    await booking.decide_queued(engine.office)
    async with engine.db.transaction() as tx:
        assert (await booking.let_queued_go(tx, found)).reason == "seats_taken"


async def test_a_full_queue_says_when_to_come_back(
    client: httpx.AsyncClient, engine: Engine, a_show: Any, open_another: Callable[..., Any]
) -> None:
    show, other = await a_show(), await a_show()
    async with open_another(queue_max=2) as small, client_of(small) as asking:
        key = uuid4().hex
        first = await _queued(asking, show, key, seats=["1"])
        await _queued(asking, show, seats=["2"])
        full = await _ask(asking, show, seats=["3"])
        assert (full.status_code, full.json()["code"]) == (503, "busy")
        assert int(full.headers["retry-after"]) > 0
        # Each show has a queue of its own, a retry needs no place, and who left made one.
        await _queued(asking, other, seats=["1"])
        assert (await _queued(asking, show, key, seats=["1"]))["id"] == first["id"]
        await client.post(f"{_url(first)}/cancel", headers=_as_buyer(first))
        await _queued(asking, show, seats=["3"])
        assert (await _ask(asking, show, seats=["4"])).status_code == 503
        await booking.decide_queued(engine.office)
        await _queued(asking, show, seats=["4"])


async def test_claims_are_decided_in_the_order_of_arrival(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show(areas=[{"name": "Floor", "kind": "standing", "capacity": 5}])
    told = [await _queued(client, show, quantity=count) for count in (2, 2, 2, 1, 1)]
    assert await booking.decide_queued(engine.office) == 5
    # The third finds one place; the fourth, which came later and is smaller, still fits.
    assert [(await _read(client, each))["status"] for each in told] == [
        "PENDING", "PENDING", "FAILED", "PENDING", "FAILED",
    ]  # fmt: skip


async def test_best_available_goes_where_there_is_room(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    """More parties than one call of the database fits by itself, and than one area has room for."""
    rows = [{"label": "A", "seats": 6}]
    show = await a_show(areas=[{"name": name, "kind": "seated", "rows": rows} for name in ("Left", "Right")])
    told = [await _queued(client, show, best_available=2) for _ in range(8)]
    assert await booking.decide_queued(engine.office) == 8
    read = [await _read(client, each) for each in told]
    assert [each["status"] for each in read] == ["PENDING"] * 6 + ["FAILED"] * 2
    assert {each["reason"] for each in read[6:]} == {"sold_out"}


async def test_prices_are_those_of_the_decision(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show(tiers=[{"name": "Adult", "area": "Main", "amount": 100}])
    told = await _queued(client, show, seats=["1"])
    assert (await owner.patch(f"/v1/shows/{show['id']}", json={"tiers": [{"id": 1, "amount": 250}]})).status_code == 200  # fmt: skip
    await booking.decide_queued(engine.office)
    assert (await _read(client, told))["total"] == {"amount": 250, "currency": "EUR"}


async def test_a_show_that_changed_elsewhere_is_looked_at_again(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    """The view of the decider has terms that are no longer in force; the database says so, and it looks again."""
    show = await a_show()
    told = [await _queued(client, show, seats=[seat]) for seat in ("1", "2")]
    for table, column in (("shows", "version"), ("show_heads", "terms")):
        await engine.db.execute(f"update {table} set {column} = {column} + 1 where show_id = $1", show["id"])
    assert await booking.decide_queued(engine.office) == 2
    assert [(await _read(client, each))["status"] for each in told] == ["PENDING"] * 2


async def test_a_claim_that_the_database_cannot_take_holds_up_no_other(
    client: httpx.AsyncClient, engine: Engine, a_show: Any, db: Database
) -> None:
    show = await a_show()
    told = [await _queued(client, show, seats=[seat], customer=GUEST) for seat in ("1", "2", "3")]
    await db.execute(
        "alter table bookings add constraint unlucky check (not (status = 'PENDING' and seats = '{1}'))"
    )
    assert await booking.decide_queued(engine.office) == 3
    read = [await _read(client, each) for each in told]
    assert [(each["status"], each["reason"]) for each in read] == [
        ("PENDING", None), ("FAILED", "internal_error"), ("PENDING", None),
    ]  # fmt: skip


async def test_what_came_to_nothing_is_forgotten(
    client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    told = await _queued(client, show, seats=["1"])
    waiting = await _queued(client, show, seats=["2"])
    await client.post(f"{_url(told)}/cancel", headers=_as_buyer(told))
    assert await booking.prune_queue(engine.office) == 0
    await engine.db.execute("update queued_claims set created_at = created_at - interval '25 h', ended_at = ended_at - interval '25 h'")  # fmt: skip
    assert await booking.prune_queue(engine.office) == 1
    assert (await client.get(_url(told), headers=_as_buyer(told))).status_code == 404
    assert (await _read(client, waiting))["status"] == "QUEUED"


async def test_the_queue_is_measured(client: httpx.AsyncClient, engine: Engine, a_show: Any) -> None:
    show = await a_show()
    for seat in ("1", "2"):
        await _queued(client, show, seats=[seat])
    await engine.db.execute("update queued_claims set created_at = created_at - interval '1 h'")
    await booking.measure_queue(engine.db)
    text = telemetry.metrics_text().decode()
    assert "holdfast_queued_claims 2.0" in text
    age = next(
        line for line in text.splitlines() if line.startswith("holdfast_queued_claims_oldest_seconds ")
    )
    assert float(age.split()[1]) >= 3600
    await booking.decide_queued(engine.office)
    await booking.measure_queue(engine.db)
    text = telemetry.metrics_text().decode()
    assert "holdfast_queued_claims 0.0" in text
    assert "holdfast_queued_claims_oldest_seconds 0.0" in text


# The seeds' queued mode


@pytest.fixture
async def queueing(open_another: Callable[..., Any], engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of a process with the setting `seed_queue`."""
    async with open_another(seed_queue=True) as other, client_of(other) as opened:
        yield opened


async def _hold(client: httpx.AsyncClient, show: dict[str, Any], seats: list[Any], key: str | None = None) -> httpx.Response:  # fmt: skip
    body = {"show_id": show["id"], "user_email": "guest@example.org", "seat_numbers": seats}
    return await client.post("/api/bookings", json=body, headers={"Idempotency-Key": key} if key else {})


async def test_the_seeds_queue_where_it_is_set(
    queueing: httpx.AsyncClient, client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    assert (await _hold(client, show, [1])).status_code == 201
    answer = await _hold(queueing, show, [5, 6], "key")
    assert answer.status_code == 202
    told = answer.json()
    assert list(told) == ["booking_id", "message"]
    assert told["message"] == "Booking queued for processing"
    assert (await _hold(queueing, show, [5, 6], "key")).json() == told
    url = f"/api/bookings/{told['booking_id']}"
    shown = {
        "booking_id": told["booking_id"], "show_id": show["id"], "user_email": "guest@example.org",
        "seat_numbers": [5, 6], "status": "QUEUED", "expires_at": None,
    }  # fmt: skip
    assert (await queueing.get(url)).json() == shown
    assert (await queueing.post(f"{url}/confirm")).status_code == 409

    taken = (await _hold(queueing, show, [1])).json()
    assert await booking.decide_queued(engine.office) == 2
    held = (await queueing.get(url)).json()
    assert (held["status"], held["seat_numbers"]) == ("PENDING", [5, 6])
    assert (await _hold(queueing, show, [5, 6], "key")).json() == held
    assert (await queueing.post(f"{url}/confirm")).json()["status"] == "CONFIRMED"
    failed = (await queueing.get(f"/api/bookings/{taken['booking_id']}")).json()
    assert failed == {**shown, "booking_id": taken["booking_id"], "user_email": None, "seat_numbers": [1], "status": "FAILED"}  # fmt: skip


async def test_the_seeds_say_at_once_what_can_never_be(queueing: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    assert (await _hold(queueing, show, [99])).status_code == 400
    assert (await _hold(queueing, show, [1, 1])).status_code == 400
    assert (await _hold(queueing, {"id": str(uuid4())}, [1])).status_code == 404
