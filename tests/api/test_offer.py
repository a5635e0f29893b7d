"""What buyers are told of a show besides its name and time: texts, doors, venue, organizer; and the seats kept for some."""

import io
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from PIL import Image

from holdfast.booking import holds
from holdfast.engine import Engine
from tests.api.people import another_house, signed_in

pytestmark = pytest.mark.anyio

Show = dict[str, Any]
MakeShow = Callable[..., Awaitable[Show]]

YARD = {"name": "Yard", "kind": "standing", "capacity": 50}
TOLD = {
    "description": "  First.\r\n\r\n\r\n\r\nSecond,\nwith a break.\n",
    "doors_at": "2030-12-24T19:00:00+01:00",
    "age_note": "From 12 years on.",
    "access_note": "No steps. A loop for hearing aids.",
}
# Two seats for everybody, and a place for a wheelchair with a seat beside it.
KEPT_ROW = {"label": "A", "seats": 4, "access": ["wheelchair", "companion", None, None]}
KEPT = [{"name": "Stalls", "kind": "seated", "rows": [KEPT_ROW, {"label": "B", "seats": 2}]}]


def _png() -> bytes:
    contents = io.BytesIO()
    Image.new("RGB", (40, 20), "red").save(contents, "PNG")
    return contents.getvalue()


def _url(show: Show, rest: str = "") -> str:
    return f"/v1/shows/{show['id']}{rest}"


async def _edit(client: httpx.AsyncClient, show: Show, **body: Any) -> httpx.Response:
    return await client.patch(_url(show), json=body)


async def _in_city(
    owner: httpx.AsyncClient, a_show: MakeShow, venue: str, city: str, **show: Any
) -> tuple[Show, dict[str, Any]]:
    """A show in a house of its own, and the house."""
    where = {"name": venue, "timezone": "Europe/Berlin", "address": "Platz 1", "city": city}
    made = (await owner.post("/v1/venues", json=where)).json()
    layout = await owner.post(f"/v1/venues/{made['id']}/layouts", json={"name": "Hall", "areas": [YARD]})
    return await a_show(layout_id=layout.json()["id"], **show), made


async def _names(client: httpx.AsyncClient, **query: str) -> list[str]:
    answer = await client.get("/v1/shows", params=query)
    assert answer.status_code == 200, answer.text
    return [show["name"] for show in answer.json()["shows"]]


# Texts and doors


async def test_texts_and_doors_are_told_as_paragraphs_and_moments(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    plain = await a_show()
    assert {name: plain[name] for name in TOLD} == {
        "description": "",
        "doors_at": None,
        "age_note": "",
        "access_note": "",
    }
    show = await a_show(**TOLD)
    expected = TOLD | {
        "description": "First.\n\nSecond,\nwith a break.",
        "doors_at": "2030-12-24T18:00:00.000Z",
    }
    read = (await client.get(_url(show))).json()
    assert {name: read[name] for name in TOLD} == expected
    edited = (await _edit(owner, show, description="Other words.", age_note="", doors_at=None)).json()
    assert {name: edited[name] for name in TOLD} == expected | {
        "description": "Other words.", "age_note": "", "doors_at": None,
    }  # fmt: skip
    assert edited["version"] == 2


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"description": "a" * 10_001}, "/description"),
        ({"description": "bell \x07"}, "/description"),
        ({"age_note": "a" * 501}, "/age_note"),
        ({"access_note": "turned \u202e around"}, "/access_note"),
        ({"doors_at": "2030-12-24T20:00:01+01:00"}, "/doors_at"),
        ({"doors_at": "1969-12-24T20:00:01+01:00"}, "/doors_at"),
    ],
)
async def test_what_cannot_be_told_is_refused_when_made_and_when_edited(
    owner: httpx.AsyncClient, a_show: MakeShow, said: dict[str, str], pointer: str
) -> None:
    start = {"start_time": "2030-12-24T20:00:00+01:00"}
    show = await a_show(**start)
    made = {"name": "Hamlet", "total_seats": 10, **start, **said}
    for answer in (await owner.post("/v1/shows", json=made), await _edit(owner, show, **said)):
        assert answer.status_code == 400, answer.text
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_doors_move_with_the_start_and_the_old_start_is_remembered(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show(start_time="2030-12-24T19:00:00Z", doors_at="2030-12-24T18:00:00Z")
    assert show["previous_start_time"] is None
    moved = (await _edit(owner, show, start_time="2031-01-02T20:30:00Z")).json()
    assert moved["doors_at"] == "2031-01-02T19:30:00.000Z"
    assert moved["previous_start_time"] == "2030-12-24T19:00:00.000Z"
    # Said together, both are as they are said.
    both = {"start_time": "2031-01-03T20:00:00Z", "doors_at": "2031-01-03T19:00:00Z"}
    again = (await _edit(owner, show, **both)).json()
    assert (again["doors_at"], again["previous_start_time"]) == (
        "2031-01-03T19:00:00.000Z",
        "2031-01-02T20:30:00.000Z",
    )
    assert (await client.get(_url(show))).json()["previous_start_time"] == again["previous_start_time"]
    named = (await _edit(owner, show, name="Othello")).json()
    assert named["previous_start_time"] == again["previous_start_time"]


async def test_nobody_was_told_when_a_draft_was_to_be(owner: httpx.AsyncClient, a_show: MakeShow) -> None:
    draft = await a_show(status="draft", start_time="2030-12-24T19:00:00Z")
    moved = (await _edit(owner, draft, start_time="2030-12-25T19:00:00Z")).json()
    assert moved["previous_start_time"] is None


async def test_the_doors_of_a_series_open_as_long_before_each_start(
    owner: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    pattern = {"name": "Run", "start_time": "2030-12-24T19:00:00Z", "doors_at": "2030-12-24T18:15:00Z"}
    answer = await owner.post(
        "/v1/series",
        json={
            "template": "repeat",
            "show": {**pattern, "total_seats": 5},
            "start_times": ["2030-12-27T19:00:00Z"],
        },
    )
    (made,) = answer.json()["shows"]
    assert (await client.get(_url(made))).json()["doors_at"] == "2030-12-27T18:15:00.000Z"


async def test_the_audit_says_that_a_text_changed_and_not_how(
    owner: httpx.AsyncClient, a_show: MakeShow, engine: Engine
) -> None:
    show = await a_show()
    await _edit(owner, show, description="Something private.", doors_at=show["start_time"])
    entry = await engine.db.row("select after from audit where action = 'show.edited'")
    assert entry is not None
    assert entry["after"]["fields"] == ["description", "doors_at"]
    assert "description" not in entry["after"]
    assert "doors_at" in entry["after"]


# Where it is, and whose


async def test_venue_and_organizer_are_told_with_the_show_and_in_the_list(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show, venue = await _in_city(owner, a_show, "Volksbühne", "Berlin")
    told = {"id": venue["id"], "name": "Volksbühne", "address": "Platz 1", "city": "Berlin"}
    of = {"id": show["organizer_id"], "name": "Test House", "colour": None, "logo": None}
    assert (show["venue"], show["organizer"]) == (told, of)
    bare = await a_show()
    assert (bare["venue"], bare["organizer"]) == (None, of)

    async def seen() -> list[tuple[Any, Any, Any]]:
        one = (await client.get(_url(show))).json()
        (card,) = [
            each for each in (await client.get("/v1/shows")).json()["shows"] if each["id"] == show["id"]
        ]
        return [tuple(each[name] for name in ("venue", "organizer", "picture_id")) for each in (one, card)]

    assert await seen() == [(told, of, None)] * 2
    # Whatever changes is seen at once, though all of it is kept for a while.
    put = {"name": "Volksbühne am Platz", "timezone": "Europe/Berlin", "city": "Bärlin"}
    assert (await owner.put(f"/v1/venues/{venue['id']}", json=put)).status_code == 200
    told = {"id": venue["id"], "name": "Volksbühne am Platz", "address": "", "city": "Bärlin"}
    coloured = await owner.patch("/v1/organizer", json={"colour": "#8B1E3F", "name": "New House"})
    assert (coloured.status_code, coloured.json()["colour"]) == (200, "#8b1e3f")
    logo = (await owner.put("/v1/organizer/logo", content=_png())).json()["id"]
    picture = (await owner.put(_url(show, "/picture"), content=_png())).json()["id"]
    of |= {"name": "New House", "colour": "#8b1e3f", "logo": f"/v1/pictures/{logo}"}
    assert await seen() == [(told, of, picture)] * 2
    assert (await client.get(of["logo"])).headers["content-type"] == "image/webp"
    assert (await owner.patch("/v1/organizer", json={"colour": ""})).json()["colour"] is None
    assert (await owner.delete("/v1/organizer/logo")).status_code == 204
    of |= {"colour": None, "logo": None}
    assert await seen() == [(told, of, picture)] * 2


@pytest.mark.parametrize("colour", ["red", "#12345", "#1234567", "#12345g", "8b1e3f", "#8b1e3f;}"])
async def test_a_colour_is_six_digits_and_nothing_else(owner: httpx.AsyncClient, colour: str) -> None:
    answer = await owner.patch("/v1/organizer", json={"colour": colour})
    assert answer.status_code == 400
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/colour"]


async def test_shows_are_found_by_city_by_venue_and_by_what_they_are_called(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, a_show: MakeShow, engine: Engine
) -> None:
    await _in_city(owner, a_show, "Volksbühne", "Berlin", name="Late", start_time="2030-12-26T19:00:00Z")
    await _in_city(owner, a_show, "Ensemble", "berlin", name="Early", start_time="2030-12-20T19:00:00Z")
    await _in_city(owner, a_show, "Thalia", "Hamburg", name="Elsewhere")
    await _in_city(owner, a_show, "Keller", "Leipzig", name="Secret", status="draft")
    await a_show(name="Nowhere")
    assert await _names(client, city="BERLIN") == ["Early", "Late"]
    assert await _names(client, city="Berlin", starts_before="2030-12-24T00:00:00Z") == ["Early"]
    assert await _names(client, city="Berlin", q="volks") == ["Late"]
    assert await _names(client, city="Ber") == await _names(client, city="Leipzig") == []
    assert await _names(client, city="%") == []
    assert await _names(client, q="thalia") == await _names(client, q="hambu") == ["Elsewhere"]
    assert await _names(client, q="where") == ["Elsewhere", "Nowhere"]
    assert (await client.get("/v1/cities")).json() == {"cities": ["Berlin", "Hamburg"]}
    # Page by page, across the venues of the city.
    first = (await client.get("/v1/shows", params={"city": "berlin", "limit": 1})).json()
    assert [show["name"] for show in first["shows"]] == ["Early"]
    assert await _names(client, city="berlin", limit="1", cursor=first["next"]) == ["Late"]
    async with signed_in(engine, "manager", await another_house(engine)) as other:
        assert await _names(other, city="Berlin", mine="true") == []


# Seats kept for who needs them


async def test_kept_seats_are_shown_and_never_given_to_who_does_not_name_them(
    client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show(areas=KEPT)
    (area,) = (await client.get(_url(show, "/layout"))).json()["areas"]
    assert area["rows"][0]["access"] == KEPT_ROW["access"]
    assert "access" not in area["rows"][1]
    seats = (await client.get(_url(show, "/seats"))).json()["seats"]
    assert [seat.get("access") for seat in seats] == ["wheelchair", "companion", None, None, None, None]

    async def best(n: int, **more: Any) -> tuple[int, Any]:
        body = {"best_available": n, **more}
        answer = await client.post(_url(show, "/bookings"), json=body)
        told = answer.json()
        return answer.status_code, [p["seat"] for p in told["places"]] if answer.is_success else told["code"]

    # Row A is the nearest, and would be all that can take three.
    assert await best(3) == (409, "not_together")
    assert await best(3, split=True) == (201, ["A-3", "A-4", "B-2"])
    assert await best(1) == (201, ["B-1"])
    assert await best(1) == (409, "sold_out")
    assert await best(2, split=True) == (409, "sold_out")
    named = await client.post(_url(show, "/bookings"), json={"seats": ["A-1", "A-2"]})
    assert named.status_code == 201, named.text


async def test_the_database_gives_no_kept_seat_either(engine: Engine, a_show: MakeShow) -> None:
    """What it looks for itself, when every seat that was offered has gone meanwhile."""
    show = await a_show(areas=KEPT)

    async def fit(n: int, *, split: bool = False, gone: tuple[int, ...] = ()) -> list[int] | None:
        found: list[int] | None = await engine.db.value(
            "select first_fit($1, 1::smallint, $2, $3, $4)", show["id"], n, split, list(gone)
        )
        return found

    assert await fit(2) == [2, 3]
    assert await fit(3) is None
    assert await fit(3, split=True) == [2, 3, 4]
    assert await fit(1, gone=(2, 3, 4, 5)) is None
    assert await fit(1, split=True, gone=(2, 3, 4, 5)) is None


async def test_nothing_is_equal_to_a_kept_seat(
    engine: Engine, client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    """Whose money came too late for a place for a wheelchair gets the money back, and no chair."""
    show = await a_show(areas=KEPT)
    for seat, instead in (("A-1", None), ("A-3", [3])):
        first = (await client.post(_url(show, "/bookings"), json={"seats": [seat]})).json()
        await engine.db.execute(
            "update bookings set expires_at = now() where show_id = $1 and status = 'PENDING'", show["id"]
        )
        assert (await client.post(_url(show, "/bookings"), json={"seats": [seat]})).is_success
        given = await engine.db.value(
            "select places_for(show_id, b, true) from bookings b where show_id = $1 and booking_id = $2",
            show["id"], first["id"],
        )  # fmt: skip
        assert given == instead


async def test_a_show_with_nothing_but_kept_seats_left_is_sold_out_elsewhere_too(
    client: httpx.AsyncClient, a_show: MakeShow, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free seats that nobody is given do not send a claim round and round."""
    other = {"name": "Circle", "kind": "seated", "rows": [{"label": "C", "seats": 1}]}
    show = await a_show(areas=[{**KEPT[0], "rows": [KEPT_ROW]}, other])
    for seats in (["Stalls:3", "Stalls:4"], ["Circle:1"]):
        assert (await client.post(_url(show, "/bookings"), json={"seats": seats})).is_success
    renewed = 0
    of_office = engine.office.views.renewed

    async def counted(view: Any) -> Any:
        nonlocal renewed
        renewed += 1
        return await of_office(view)

    monkeypatch.setattr(engine.office.views, "renewed", counted)
    answer = await client.post(_url(show, "/bookings"), json={"best_available": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "sold_out")
    assert renewed < holds.TRIES_MAX - 1


async def test_a_seat_beside_a_kept_one_may_not_be_left_alone_but_a_kept_one_may(
    client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    row = {"label": "A", "seats": 6, "access": ["wheelchair", "companion", None, None, None, None]}
    show = await a_show(
        areas=[{"name": "Stalls", "kind": "seated", "rows": [row, {"label": "B", "seats": 6}]}],
        orphans="refuse",
    )

    async def claim(*seats: str) -> tuple[int, Any]:
        answer = await client.post(_url(show, "/bookings"), json={"seats": list(seats)})
        return answer.status_code, answer.json().get("seats")

    assert await claim("A-4", "A-5") == (409, ["A-3", "A-6"])
    assert (await claim("A-3", "A-4", "A-5", "A-6"))[0] == 201
    assert (await claim("A-1"))[0] == 201


async def test_access_is_said_of_each_seat_or_refused(owner: httpx.AsyncClient) -> None:
    show = {"name": "Hamlet", "start_time": "2030-12-24T20:00:00Z"}
    for access, pointer in (
        (["wheelchair"], "/areas/0/rows/0/access"),
        (["bed", None, None, None], "/areas/0/rows/0/access/0"),
    ):
        areas = [{"name": "Stalls", "kind": "seated", "rows": [{**KEPT_ROW, "access": access}]}]
        answer = await owner.post("/v1/shows", json={**show, "areas": areas})
        assert answer.status_code == 400
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_a_layout_keeps_what_its_seats_are_for(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    venue = (await owner.post("/v1/venues", json={"name": "Globe", "timezone": "Europe/London"})).json()
    made = await owner.post(f"/v1/venues/{venue['id']}/layouts", json={"name": "Hall", "areas": KEPT})
    assert made.json()["areas"][0]["rows"][0]["access"] == KEPT_ROW["access"]
    show = await a_show(layout_id=made.json()["id"])
    (area,) = (await client.get(_url(show, "/layout"))).json()["areas"]
    assert area["rows"][0]["access"] == KEPT_ROW["access"]


# Blocked, not taken


def _bits(encoded: str) -> list[int]:
    return [8 * i + bit for i, byte in enumerate(b64decode(encoded)) for bit in range(8) if byte >> bit & 1]


async def test_what_the_house_keeps_is_told_apart_from_what_somebody_has(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, a_show: MakeShow
) -> None:
    show = await a_show(total_seats=30)
    assert (await client.get(_url(show, "/availability"))).json()["blocked"] == ""
    block = await owner.post(_url(show, "/blocks"), json={"seats": ["3", "9"], "reason": "House"})
    assert block.status_code == 201, block.text
    assert (await client.post(_url(show, "/bookings"), json={"seats": ["5"]})).is_success
    # First as this process heard of it, and then, as an edit has it do, as it is read.
    for edited in (False, True):
        assert not edited or (await _edit(owner, show, name="Othello")).is_success
        told = (await client.get(_url(show, "/availability"))).json()
        assert (_bits(told["taken"]), _bits(told["blocked"])) == ([2, 4, 8], [2, 8])
        seats = (await client.get(_url(show, "/seats"))).json()["seats"]
        assert [seat["status"] for seat in seats[2:5]] == ["blocked", "free", "taken"]
    assert (await owner.delete(_url(show, f"/blocks/{block.json()['id']}"))).is_success
    told = (await client.get(_url(show, "/availability"))).json()
    assert (_bits(told["taken"]), told["blocked"]) == ([4], "")
    # Who gets a seat that was blocked before has it, and the house does not.
    assert (await client.post(_url(show, "/bookings"), json={"seats": ["3"]})).is_success
    told = (await client.get(_url(show, "/availability"))).json()
    assert (_bits(told["taken"]), told["blocked"]) == ([2, 4], "")
