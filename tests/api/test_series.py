"""Many shows in one call: trips, appointments, runs."""

from typing import Any

import httpx
import pytest

from holdfast.engine import Engine
from tests.api.people import another_house, signed_in

pytestmark = pytest.mark.anyio

TRIPS = {
    "template": "trips", "name": "Berlin to Hamburg", "timezone": "Europe/Berlin", "first": "2030-03-29",
    "last": "2030-04-02", "times": ["08:00", "17:30"], "weekdays": [4, 5, 6], "lines": 10, "amount": 1900,
}  # fmt: skip
APPOINTMENTS = {
    "template": "appointments", "name": "Consultation", "first": "2030-04-01", "last": "2030-04-07", "opens": "09:00",
    "closes": "12:00", "minutes": 30, "timezone": "Europe/Berlin", "breaks": [["10:00", "10:30"]],
}  # fmt: skip
NIGHTS = [f"2030-05-{day:02}T20:00:00+02:00" for day in range(1, 11)]
RUN: dict[str, Any] = {
    "template": "repeat",
    "show": {
        "name": "Hamlet", "start_time": "2030-05-01T20:00:00+02:00", "sale_opens_at": "2030-01-01T10:00:00Z",
        "sale_closes_at": "2030-05-01T17:00:00Z",
        "areas": [{"name": "Stalls", "kind": "seated", "rows": [{"label": "A", "seats": 10}]}],
        "tiers": [{"name": "Adult", "area": "Stalls", "amount": 3000}],
    },
    "start_times": NIGHTS,
}  # fmt: skip


def _pointers(answer: httpx.Response) -> list[str]:
    return [error["pointer"] for error in answer.json()["errors"]]


async def _made(owner: httpx.AsyncClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await owner.post("/v1/series", json=body)
    assert answer.status_code == 201, answer.text
    shows: list[dict[str, Any]] = answer.json()["shows"]
    return shows


async def _book(client: httpx.AsyncClient, show: dict[str, Any], **body: Any) -> httpx.Response:
    return await client.post(f"/v1/shows/{show['id']}/bookings", json=body)


async def test_a_timetable_makes_trips_that_can_be_booked(
    client: httpx.AsyncClient, owner: httpx.AsyncClient
) -> None:
    shows = await _made(owner, TRIPS)
    # Friday to Sunday; the clocks change on Sunday.
    assert [show["start_time"] for show in shows] == [
        "2030-03-29T07:00:00.000Z", "2030-03-29T16:30:00.000Z", "2030-03-30T07:00:00.000Z",
        "2030-03-30T16:30:00.000Z", "2030-03-31T06:00:00.000Z", "2030-03-31T15:30:00.000Z",
    ]  # fmt: skip
    assert {show["name"] for show in shows} == {"Berlin to Hamburg"}
    assert (await client.get("/v1/shows")).json()["shows"][0]["id"] == shows[0]["id"]
    trip = (await client.get(f"/v1/shows/{shows[0]['id']}")).json()
    assert (trip["total_seats"], trip["timezone"], trip["sale_closes_at"]) == (
        40,
        "Europe/Berlin",
        trip["start_time"],
    )
    held = await _book(client, shows[0], seats=["1A", "1B"])
    assert held.status_code == 201, held.text
    assert held.json()["total"] == {"amount": 3800, "currency": "EUR"}
    assert (await _book(client, shows[0], seats=["1A"])).json()["code"] == "seats_taken"
    assert (await _book(client, shows[1], seats=["1A"])).status_code == 201
    sold = await owner.post(f"/v1/shows/{shows[0]['id']}/bookings/{held.json()['id']}/confirm")
    assert sold.json()["status"] == "CONFIRMED"


async def test_departures_may_be_named_one_by_one(owner: httpx.AsyncClient) -> None:
    body = {
        "template": "trips", "name": "Ferry", "departures": ["2030-07-02T08:00:00+02:00", "2030-07-01T08:00:00+02:00"],
        "right": 0, "left": 4, "lines": 3, "currency": "DKK", "amount": 5000,
    }  # fmt: skip
    shows = await _made(owner, body)
    assert [show["start_time"][:10] for show in shows] == ["2030-07-02", "2030-07-01"]
    trip = (await owner.get(f"/v1/shows/{shows[0]['id']}")).json()
    assert (trip["total_seats"], trip["currency"], trip["timezone"]) == (12, "DKK", "UTC")


async def test_two_times_that_are_one_moment_are_one_trip(owner: httpx.AsyncClient) -> None:
    body = TRIPS | {
        "first": "2030-03-31", "last": "2030-03-31", "times": ["02:30", "03:30"], "weekdays": None,
    }  # fmt: skip
    assert [show["start_time"] for show in await _made(owner, body)] == ["2030-03-31T01:30:00.000Z"]


async def test_appointments_are_taken_once_each(client: httpx.AsyncClient, owner: httpx.AsyncClient) -> None:
    shows = await _made(owner, APPOINTMENTS)
    # Monday to Friday, five half hours each: the one from ten is a break.
    assert len(shows) == 25
    assert [show["start_time"][11:16] for show in shows[:5]] == ["07:00", "07:30", "08:30", "09:00", "09:30"]
    first, second = shows[:2]
    booked = await _book(client, first, quantity=1, confirm=True, customer={"email": "guest@example.org"})
    assert (booked.status_code, booked.json()["status"]) == (201, "CONFIRMED")
    assert (await _book(client, first, quantity=1)).json()["code"] == "sold_out"
    assert (await _book(client, second, quantity=2)).json()["code"] == "too_many_places"
    assert (await _book(client, second, quantity=1)).status_code == 201


async def test_a_clinic_may_be_open_past_midnight(owner: httpx.AsyncClient) -> None:
    body = APPOINTMENTS | {
        "first": "2030-04-01", "last": "2030-04-01", "opens": "22:00", "closes": "02:00", "minutes": 60,
        "breaks": [["23:30", "00:30"]],
    }  # fmt: skip
    assert [show["start_time"] for show in await _made(owner, body)] == [
        "2030-04-01T20:00:00.000Z",
        "2030-04-01T22:30:00.000Z",
    ]


async def test_a_run_repeats_a_show(client: httpx.AsyncClient, owner: httpx.AsyncClient) -> None:
    shows = await _made(owner, RUN)
    assert len(shows) == 10
    last = (await client.get(f"/v1/shows/{shows[9]['id']}")).json()
    times = (last["start_time"], last["sale_opens_at"], last["sale_closes_at"])
    assert times == ("2030-05-10T18:00:00.000Z", "2030-01-01T10:00:00.000Z", "2030-05-10T17:00:00.000Z")
    assert (last["tiers"][0]["amount"], last["total_seats"]) == (3000, 10)


async def test_a_run_may_use_a_layout(owner: httpx.AsyncClient) -> None:
    venue = (await owner.post("/v1/venues", json={"name": "Globe", "timezone": "Europe/London"})).json()
    layout = await owner.post(
        f"/v1/venues/{venue['id']}/layouts", json={"name": "Round", "areas": RUN["show"]["areas"]}
    )
    show = {"name": "Hamlet", "start_time": NIGHTS[0], "layout_id": layout.json()["id"]}
    shows = await _made(owner, RUN | {"show": show, "start_times": NIGHTS[:3]})
    read = (await owner.get(f"/v1/shows/{shows[2]['id']}")).json()
    assert (read["layout_version"], read["timezone"]) == (1, "Europe/London")
    missing = await owner.post("/v1/series", json=RUN | {"show": show | {"layout_version": 2}})
    assert (missing.status_code, missing.json()["code"]) == (404, "layout_not_found")


async def test_a_year_of_shows_is_the_most(owner: httpx.AsyncClient) -> None:
    starts = [f"2030-{1 + i // 28 % 12:02}-{1 + i % 28:02}T{i // 336:02}:00:00Z" for i in range(367)]
    show = {"name": "Daily", "start_time": starts[0], "total_seats": 3}
    too_many = await owner.post("/v1/series", json=RUN | {"show": show, "start_times": starts})
    assert (too_many.status_code, _pointers(too_many)) == (400, ["/start_times"])
    assert len(await _made(owner, RUN | {"show": show, "start_times": starts[:366]})) == 366
    # 23 working days of 16 half hours are 368.
    long = APPOINTMENTS | {"closes": "17:00", "breaks": [], "last": "2030-05-01"}
    refused = await owner.post("/v1/series", json=long)
    assert refused.status_code == 400
    assert "368" in refused.json()["detail"]
    huge = RUN | {"show": show | {"total_seats": 166_667}, "start_times": starts[:3]}
    refused = await owner.post("/v1/series", json=huge)
    assert (refused.status_code, "500001" in refused.json()["detail"]) == (400, True)


WRONG = [
    ({"template": "opera"}, "/template"),
    (TRIPS | {"name": ""}, "/name"),
    (TRIPS | {"name": "a\tb"}, "/name"),
    (TRIPS | {"lines": 0}, "/lines"),
    (TRIPS | {"lines": 41}, "/lines"),
    (TRIPS | {"left": 6}, "/left"),
    (TRIPS | {"right": -1}, "/right"),
    (TRIPS | {"amount": -1}, "/amount"),
    (TRIPS | {"currency": "EURO"}, "/currency"),
    (TRIPS | {"currency": "XQQ"}, "/currency"),
    (TRIPS | {"timezone": "Europe/Atlantis"}, "/timezone"),
    (TRIPS | {"timezone": None}, "/timezone"),
    (TRIPS | {"first": None}, "/first"),
    (TRIPS | {"first": "0001-01-01", "last": "0001-01-02"}, "/first"),
    (TRIPS | {"last": "9999-12-31"}, "/last"),
    (TRIPS | {"last": "2030-03-28"}, "/last"),
    (TRIPS | {"last": "2031-03-30"}, "/last"),
    (TRIPS | {"first": "2030-02-30"}, "/first"),
    (TRIPS | {"times": []}, "/times"),
    (TRIPS | {"times": ["8:00"]}, "/times/0"),
    (TRIPS | {"times": ["24:00"]}, "/times/0"),
    (TRIPS | {"times": ["08:00\n"]}, "/times/0"),
    (TRIPS | {"weekdays": [7]}, "/weekdays/0"),
    (TRIPS | {"weekdays": [4, 4]}, "/weekdays"),
    (TRIPS | {"weekdays": [2]}, "/weekdays"),
    (TRIPS | {"departures": [NIGHTS[0]]}, "/first"),
    (TRIPS | {"driver": "Ann"}, "/driver"),
    ({"template": "trips", "name": "x"}, "/first"),
    ({"template": "trips", "name": "x", "departures": [NIGHTS[0], NIGHTS[1], NIGHTS[0]]}, "/departures/2"),
    ({"template": "trips", "name": "x", "departures": ["3000-01-01T00:00:00Z"]}, "/departures/0"),
    ({"template": "trips", "name": "x", "departures": ["2030-01-01T00:00:00"]}, "/departures/0"),
    (APPOINTMENTS | {"minutes": 0}, "/minutes"),
    (APPOINTMENTS | {"minutes": 1441}, "/minutes"),
    (APPOINTMENTS | {"minutes": 181, "breaks": []}, "/minutes"),
    (APPOINTMENTS | {"weekdays": []}, "/weekdays"),
    (APPOINTMENTS | {"breaks": [["10:30", "10:00"]]}, "/breaks/0"),
    (APPOINTMENTS | {"breaks": [["10:30"]]}, "/breaks/0"),
    (APPOINTMENTS | {"breaks": [["10:00", "10:30"]] * 21}, "/breaks"),
    (APPOINTMENTS | {"last": "2031-04-03"}, "/last"),
    (RUN | {"start_times": []}, "/start_times"),
    (RUN | {"start_times": [NIGHTS[0], "2030-05-01T18:00:00Z"]}, "/start_times/1"),
    (RUN | {"start_times": [NIGHTS[0], "1969-05-01T18:00:00Z"]}, "/start_times/1"),
    (RUN | {"show": {"name": "x", "start_time": NIGHTS[0]}}, "/show"),
    (RUN | {"show": {"name": "x", "total_seats": 5}}, "/show/start_time"),
    (RUN | {"show": {"name": "x", "start_time": NIGHTS[0], "total_seats": 5, "currency": "XQQ"}}, "/show/currency"),
]  # fmt: skip


async def test_what_is_wrong_with_a_series_is_named_and_nothing_is_made(owner: httpx.AsyncClient) -> None:
    for body, pointer in WRONG:
        answer = await owner.post("/v1/series", json=body)
        assert (answer.status_code, _pointers(answer)) == (400, [pointer]), (body, answer.text)
    everything = await owner.get("/v1/shows?mine=true&starts_after=1970-01-01T00:00:00Z")
    assert everything.json()["shows"] == []


async def test_a_series_is_made_once_and_by_those_who_run_the_shows(
    client: httpx.AsyncClient, owner: httpx.AsyncClient, engine: Engine
) -> None:
    headers = {"Idempotency-Key": "one-and-the-same"}
    answers = [await owner.post("/v1/series", json=RUN, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len((await owner.get("/v1/shows")).json()["shows"]) == 10
    assert (await client.post("/v1/series", json=RUN)).status_code == 401
    for role in ("viewer", "door", "box_office"):
        async with signed_in(engine, role) as member:
            assert (await member.post("/v1/series", json=RUN)).status_code == 403
    async with signed_in(engine, organizer_id=await another_house(engine)) as stranger:
        made = await _made(stranger, RUN)
        assert (await owner.patch(f"/v1/shows/{made[0]['id']}", json={})).status_code == 404
