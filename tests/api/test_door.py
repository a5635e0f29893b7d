"""The door over HTTP: scans, groups, undo, counts, conflicts, and the package that a device checks by itself."""

import asyncio
from base64 import b32decode, b32encode, urlsafe_b64decode
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from holdfast.engine import Engine
from holdfast.platform.ids import new_id
from holdfast.tickets.codes import read
from tests.api.people import another_house, signed_in
from tests.api.test_tickets import AREAS, Bought, buy

__all__ = ["buy"]

pytestmark = pytest.mark.anyio

LONG_AGO = "2026-11-20T19:00:00Z"


class AtDoor:
    """The door of a show with two sold seats, as somebody who works there has it."""

    def __init__(self, client: httpx.AsyncClient, bought: Bought) -> None:
        self.client = client
        self.bought = bought
        self.url = f"/v1/shows/{bought.booking['show_id']}/door"

    async def codes(self) -> list[str]:
        return [each["code"] for each in await self.bought.tickets()]

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.client.post(self.url + path, json=body, headers=headers)

    async def scan(self, **body: Any) -> dict[str, Any]:
        answer = await self.post("/scans", {"id": str(new_id()), **body})
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def upload(self, *scans: dict[str, Any]) -> list[dict[str, Any]]:
        answer = await self.post(
            "/scans/upload", {"scans": [{"id": str(new_id()), "at": LONG_AGO, **each} for each in scans]}
        )
        assert answer.status_code == 200, answer.text
        told: list[dict[str, Any]] = answer.json()["scans"]
        return told

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = await self.client.get(self.url + path, params=query)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told


@pytest.fixture
async def door(engine: Engine, buy: Any) -> AsyncIterator[AtDoor]:
    bought = await buy()
    async with signed_in(engine, "door") as client:
        yield AtDoor(client, bought)


async def test_a_scan_by_code(door: AtDoor, owner: httpx.AsyncClient) -> None:
    gate = (await owner.post(f"{door.url}/gates", json={"name": "Gate B"})).json()
    code, other = await door.codes()
    told = await door.scan(code=code, gate_id=gate["id"])
    assert told == {
        "id": told["id"],
        "result": "admitted",
        "reason": "valid",
        "direction": "in",
        "booking_id": door.bought.booking["id"],
        "reference": door.bought.booking["reference"],
        "number": 1,
        "label": f"{door.bought.booking['reference']}-1",
        "area": "Stalls",
        "seat": "A-3",
        "tier": "Guests",
        "holder": "Guest",
        "gate_id": gate["id"],
        "gate": "Gate B",
        "list_id": door.bought.booking["show_id"],
        "scanned_at": told["scanned_at"],
        "received_at": told["received_at"],
        "uploaded": False,
        "first": None,
        "conflict": None,
        "acknowledged_at": None,
        "undone_at": None,
    }
    second = await door.scan(code=code)
    assert (second["result"], second["reason"]) == ("refused", "already_in")
    assert second["first"] == {"scan_id": told["id"], "at": told["scanned_at"], "gate": "Gate B"}
    assert (await door.scan(code=f" {other}\n"))["result"] == "admitted"


async def test_the_same_id_is_answered_the_same_and_for_another_ticket_refused(door: AtDoor) -> None:
    code, other = await door.codes()
    scan = {"id": str(new_id()), "code": code}
    answers = [await door.post("/scans", scan) for _ in range(3)]
    assert len({answer.content for answer in answers}) == 1
    for changed in ({"code": other}, {"direction": "out"}, {"code": "X"}):
        refused = await door.post("/scans", {**scan, **changed})
        assert (refused.status_code, refused.json()["code"]) == (422, "scan_mismatch")
    assert (await door.scan(code=other))["result"] == "admitted"


async def test_one_scan_that_comes_many_times_at_once_is_one(door: AtDoor, engine: Engine) -> None:
    [code, _] = await door.codes()
    scan = {"id": str(new_id()), "code": code}
    answers = await asyncio.gather(*(door.post("/scans", scan) for _ in range(12)))
    assert [answer.status_code for answer in answers] == [200] * 12
    assert {answer.json()["result"] for answer in answers} == {"admitted"}
    assert await engine.db.value("select count(*) from scans") == 1


async def test_a_code_with_any_bit_flipped_is_refused(door: AtDoor, engine: Engine) -> None:
    code = (await door.codes())[0]
    raw = b32decode(code + "=" * (-len(code) % 8))
    number, flipped = int.from_bytes(raw, "big"), []
    for bit in range(len(raw) * 8):
        changed = (number ^ 1 << bit).to_bytes(len(raw), "big")
        flipped.append(b32encode(changed).decode().rstrip("="))
    for at in range(0, len(flipped), 40):
        told = await asyncio.gather(*(door.scan(code=each) for each in flipped[at : at + 40]))
        assert {(each["result"], each["reason"], each["booking_id"]) for each in told} == {
            ("refused", "bad_code", None)
        }
    assert await engine.db.value("select count(*) from admissions") == 0
    # Control: it was the bit.
    assert (await door.scan(code=code))["result"] == "admitted"


async def test_codes_that_admit_nobody(door: AtDoor, buy: Any) -> None:
    code, other = await door.codes()
    await door.bought.give(1)
    assert (await door.scan(code=code))["reason"] == "superseded"
    elsewhere = (await (await buy()).tickets())[0]["code"]
    told = await door.scan(code=elsewhere)
    assert (told["reason"], told["booking_id"], told["holder"]) == ("wrong_show", None, None)
    await door.bought.call("POST", "/cancel")
    assert (await door.scan(code=other))["reason"] == "void"
    for code in ("x", "\u00e9" * 200, "' or 1=1 --"):
        assert (await door.scan(code=code))["reason"] == "bad_code"


async def test_without_a_code_people_are_found_and_let_in(door: AtDoor) -> None:
    await door.bought.give(2, name="Zoe Example")
    for q in ("zoe", "GUES", door.bought.booking["reference"][:5].lower()):
        [found] = (await door.get("/bookings", q=q))["bookings"]
        assert found["id"] == door.bought.booking["id"]
    assert (await door.get("/bookings", q="nobody"))["bookings"] == []
    assert (await door.get("/bookings", q="%_"))["bookings"] == []
    first, second = found["tickets"]
    assert first == {
        "number": 1,
        "label": f"{found['reference']}-1",
        "area": "Stalls",
        "seat": "A-3",
        "tier": "Guests",
        "holder": "Guest",
        "state": "valid",
        "inside": False,
        "entered_at": None,
    }
    assert second["holder"] == "Zoe Example"
    assert "guest@example.org" not in str(found)
    assert (await door.scan(booking_id=found["id"], number=1))["result"] == "admitted"
    told = await door.scan(reference=found["reference"].lower(), number=2)
    assert (told["result"], told["holder"]) == ("admitted", "Zoe Example")
    [found] = (await door.get("/bookings", q="zoe"))["bookings"]
    assert [each["inside"] for each in found["tickets"]] == [True, True]
    refused = await door.post("/scans", {"id": str(new_id()), "reference": "ABCDEFGH", "number": 1})
    assert (refused.status_code, refused.json()["code"]) == (404, "booking_not_found")


@pytest.mark.parametrize(
    "body",
    [{}, {"number": 1}, {"booking_id": str(uuid4())}, {"code": "A", "number": 1}, {"reference": "ABCDEFGH"},
     {"code": "A", "reference": "ABCDEFGH", "number": 1}, {"booking_id": str(uuid4()), "number": 0},
     {"booking_id": str(uuid4()), "number": 1_000_001}],
)  # fmt: skip
async def test_what_names_no_ticket_is_invalid(body: dict[str, Any], door: AtDoor) -> None:
    refused = await door.post("/scans", {"id": str(new_id()), **body})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")


async def test_a_number_that_no_ticket_has_is_unknown(door: AtDoor) -> None:
    for number in (3, 40_000, 1_000_000):
        told = await door.scan(booking_id=door.bought.booking["id"], number=number)
        assert (told["result"], told["reason"], told["seat"]) == ("refused", "unknown", None)


async def test_a_group_is_let_in(door: AtDoor) -> None:
    path = f"/bookings/{door.bought.booking['id']}/admit"
    group = {"id": str(new_id())}
    answers = [(await door.post(path, group)).json()["scans"] for _ in range(2)]
    assert answers[0] == answers[1]
    assert [(each["number"], each["result"]) for each in answers[0]] == [(1, "admitted"), (2, "admitted")]
    again = (await door.post(path, {"id": str(new_id()), "numbers": [2]})).json()["scans"]
    assert [each["reason"] for each in again] == ["already_in"]
    refused = await door.post(f"/bookings/{uuid4()}/admit", {"id": str(new_id())})
    assert (refused.status_code, refused.json()["code"]) == (404, "booking_not_found")
    refused = await door.post(path, {"id": str(new_id()), "gate_id": str(uuid4()), "numbers": [1]})
    assert (refused.status_code, refused.json()["code"]) == (404, "gate_not_found")


async def test_a_large_group_says_which_of_them(door: AtDoor, buy: Any, a_show: Any, owner: Any) -> None:
    show = await a_show(areas=AREAS, max_places_per_booking=150)
    many = AtDoor(door.client, await buy(show, quantity=150, area="Floor"))
    path = f"/bookings/{many.bought.booking['id']}/admit"
    refused = await many.post(path, {"id": str(new_id())})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
    told = (await many.post(path, {"id": str(new_id()), "numbers": list(range(51, 151))})).json()["scans"]
    assert [each["result"] for each in told] == ["admitted"] * 100
    [found] = (await many.get("/bookings", q="guest"))["bookings"]
    assert (found["quantity"], len(found["tickets"])) == (150, 100)


async def test_a_scan_is_taken_back_once(door: AtDoor, engine: Engine) -> None:
    code = (await door.codes())[0]
    told = await door.scan(code=code)
    answers = [(await door.post(f"/scans/{told['id']}/undo")).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["undone_at"]
    second = await door.scan(code=code)
    assert second["result"] == "admitted"
    third = await door.scan(code=code)
    refused = await door.post(f"/scans/{third['id']}/undo")
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_undo")
    refused = await door.post(f"/scans/{uuid4()}/undo")
    assert (refused.status_code, refused.json()["code"]) == (404, "scan_not_found")
    rows = await engine.db.rows("select action, before from audit where action = 'scan.undone'")
    assert len(rows) == 1
    assert rows[0]["before"]["number"] == 1


async def test_the_last_scans_come_by_pages_and_by_gate(door: AtDoor, owner: httpx.AsyncClient) -> None:
    gate = (await owner.post(f"{door.url}/gates", json={"name": "B"})).json()["id"]
    code, other = await door.codes()
    ids = [(await door.scan(code=each))["id"] for each in (code, other, code)]
    ids.append((await door.scan(code=code, gate_id=gate))["id"])
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = await door.get("/scans", limit=2, **cursor)
        seen += [each["id"] for each in page["scans"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == ids[::-1]
    assert [each["id"] for each in (await door.get("/scans", gate_id=gate))["scans"]] == ids[3:]
    for wrong in ("x", "AAAA", "MjAyNi0xMS0yMA", "*" * 50):
        refused = await door.client.get(f"{door.url}/scans", params={"cursor": wrong})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid")


async def test_counts(door: AtDoor, owner: httpx.AsyncClient) -> None:
    made = await owner.post(f"{door.url}/lists", json={"name": "Floor", "areas": ["Floor"]})
    floor = made.json()["id"]
    gate = (await owner.post(f"{door.url}/gates", json={"name": "B", "list_id": floor})).json()["id"]
    code, other = await door.codes()
    await door.scan(code=code)
    assert (await door.scan(code=other, gate_id=gate))["reason"] == "wrong_list"
    show_id = door.bought.booking["show_id"]
    counts = await door.get("/counts")
    assert sorted(counts.pop("gates"), key=str) == sorted(
        [
            {"gate_id": None, "list_id": show_id, "entries": 1, "exits": 0, "refused": 0, "inside": 1},
            {"gate_id": gate, "list_id": floor, "entries": 0, "exits": 0, "refused": 1, "inside": 0},
        ],
        key=str,
    )
    assert counts == {
        "inside": 1,
        "expected": 2,
        "conflicts": 0,
        "lists": [{"list_id": show_id, "expected": 2}, {"list_id": floor, "expected": 0}],
    }


async def test_lists_are_made_edited_and_deleted(door: AtDoor, owner: httpx.AsyncClient) -> None:
    spec = {
        "name": "Early",
        "tiers": ["Guests"],
        "areas": ["Stalls"],
        "opens_at": "2026-12-24T18:00:00+01:00",
    }
    made = await owner.post(f"{door.url}/lists", json=spec)
    assert made.status_code == 201
    early = made.json()
    assert early == {
        "id": early["id"], "name": "Early", "areas": ["Stalls"], "tiers": ["Guests"],
        "opens_at": "2026-12-24T17:00:00.000Z", "closes_at": None, "reentry": False, "version": 1,
    }  # fmt: skip
    everybody, listed = (await door.get("/lists"))["lists"]
    assert listed == early
    assert (everybody["id"], everybody["name"]) == (door.bought.booking["show_id"], "Everybody")
    path = f"{door.url}/lists/{early['id']}"
    edited = await owner.put(path, json={"name": "Late"}, headers={"If-Match": '"1"'})
    assert (edited.status_code, edited.json()["version"], edited.headers["etag"]) == (200, 2, '"2"')
    refused = await owner.put(path, json={"name": "Late"}, headers={"If-Match": '"1"'})
    assert (refused.status_code, refused.json()["code"]) == (412, "version_mismatch")
    opened = await owner.put(f"{door.url}/lists/{everybody['id']}", json={"name": "All", "reentry": True})
    assert opened.status_code == 200
    for wrong in (
        {"name": "x", "areas": ["Moon"]}, {"name": "x", "tiers": ["Moon"]}, {"name": " x"},
        {"name": "x", "opens_at": LONG_AGO, "closes_at": LONG_AGO},
        {"name": "x", "opens_at": "0001-01-01T00:00:00+14:00"},
    ):  # fmt: skip
        refused = await owner.post(f"{door.url}/lists", json=wrong)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid"), wrong
    refused = await owner.post(f"{door.url}/lists", json={"name": "Late"})
    assert (refused.status_code, refused.json()["code"]) == (409, "name_taken")
    gate = (await owner.post(f"{door.url}/gates", json={"name": "B", "list_id": early["id"]})).json()
    assert (await owner.delete(path)).json()["code"] == "list_in_use"
    assert (await owner.delete(f"{door.url}/gates/{gate['id']}")).status_code == 204
    assert (await owner.delete(path)).status_code == 204
    assert (await owner.delete(path)).json()["code"] == "list_not_found"


async def test_gates_are_made_edited_and_deleted(door: AtDoor, owner: httpx.AsyncClient) -> None:
    refused = await owner.post(f"{door.url}/gates", json={"name": "A", "list_id": str(uuid4())})
    assert (refused.status_code, refused.json()["code"]) == (404, "list_not_found")
    gate = (await owner.post(f"{door.url}/gates", json={"name": "A"})).json()
    path = f"{door.url}/gates/{gate['id']}"
    edited = await owner.put(path, json={"name": "North"}, headers={"If-Match": '"1"'})
    assert edited.json() == {**gate, "name": "North", "version": 2}
    assert (await door.get("/gates"))["gates"] == [edited.json()]
    await door.scan(code=(await door.codes())[0], gate_id=gate["id"])
    assert (await owner.delete(path)).json()["code"] == "gate_in_use"


async def test_who_works_at_the_door_may_scan_and_not_arrange(
    door: AtDoor, engine: Engine, owner: httpx.AsyncClient
) -> None:
    assert (await door.post("/lists", {"name": "x"})).status_code == 403
    assert (await door.post("/gates", {"name": "x"})).status_code == 403
    assert (await door.client.get(door.bought.url)).status_code == 403
    code = (await door.codes())[0]
    async with signed_in(engine, "viewer") as viewer:
        assert (await AtDoor(viewer, door.bought).post("/scans", {"id": str(new_id()), "code": code})).status_code == 403  # fmt: skip
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        refused = await AtDoor(stranger, door.bought).post("/scans", {"id": str(new_id()), "code": code})
        assert (refused.status_code, refused.json()["code"]) == (404, "show_not_found")
    key = (await owner.post("/v1/keys", json={"name": "Turnstile", "scopes": ["door.scan"]})).json()["key"]
    answer = await door.client.post(
        f"{door.url}/scans", json={"id": str(new_id()), "code": code}, headers={"Authorization": f"Bearer {key}"}
    )  # fmt: skip
    assert answer.json()["result"] == "admitted"
    assert await engine.db.value("select count(*) from scans where scanned_by is not null") == 1


class Phone:
    """A device that has taken the package along and is offline: it knows what is in it, and nothing else."""

    def __init__(self, door: AtDoor) -> None:
        self.door = door
        self.cursor: str | None = None
        self.bookings: dict[str, Any] = {}
        self.keys: dict[str, Ed25519PublicKey] = {}
        self.scans: list[dict[str, Any]] = []

    async def sync(self, limit: int = 1) -> None:
        """Takes along what is new, and checks whose it is."""
        for _ in range(100):
            query: dict[str, Any] = {"limit": limit, **({"cursor": self.cursor} if self.cursor else {})}
            answer = await self.door.client.get(f"{self.door.url}/package", params=query)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            self.keys = {
                key["kid"]: Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(key["x"] + "="))
                for key in page["keys"]
            }
            kid, _, signature = answer.headers["holdfast-signature"].partition(".")
            self.keys[kid].verify(urlsafe_b64decode(signature + "=="), answer.content)
            with pytest.raises(InvalidSignature):
                self.keys[kid].verify(urlsafe_b64decode(signature + "=="), answer.content + b" ")
            self.bookings |= {each["id"]: each for each in page["bookings"]}
            self.cursor = page["cursor"]
            if not page["more"]:
                return
        raise AssertionError("it never ends")

    def scan(self, code: str, at: str = LONG_AGO) -> bool:
        """Decides by the signature and by what was taken along, and keeps what it did."""
        coded = read(code, self.keys)
        found = self.bookings.get(str(coded.booking_id), {})
        changed = {each["number"]: each for each in found.get("tickets", [])}.get(coded.number)
        inside = any(
            each["number"] == coded.number and each["inside"] for each in found.get("admissions", [])
        )
        if found.get("cancelled") or inside or any(each["code"] == code for each in self.scans):
            return False
        if changed and (changed["serial"] != coded.serial or changed["state"] != "valid"):
            return False
        self.scans.append({"id": str(new_id()), "code": code, "at": at})
        return True


async def test_a_phone_decides_offline_and_two_phones_that_let_in_one_code_are_found(door: AtDoor) -> None:
    code, other = await door.codes()
    await door.scan(code=other)
    phones = [Phone(door), Phone(door)]
    for phone in phones:
        await phone.sync()
        assert not phone.scan(other), "it is in, and the phone was told"
    assert phones[0].scan(code, "2026-11-20T19:00:00Z")
    assert not phones[0].scan(code)
    assert phones[1].scan(code, "2026-11-20T19:05:00Z")
    for phone in (phones[1], phones[0], phones[1]):
        told = await door.upload(*phone.scans)
        assert [(each["result"], each["uploaded"]) for each in told] == [("admitted", True)]
    [conflict] = (await door.get("/conflicts"))["scans"]
    assert (conflict["id"], conflict["conflict"]) == (phones[1].scans[0]["id"], "already_in")
    assert conflict["first"]["scan_id"] == phones[0].scans[0]["id"]
    assert (conflict["scanned_at"], conflict["received_at"] > conflict["scanned_at"]) == (
        "2026-11-20T19:05:00.000Z",
        True,
    )
    assert (await door.get("/counts"))["conflicts"] == 1
    answers = [
        (await door.post(f"/conflicts/{conflict['id']}/acknowledge")).json()["acknowledged_at"]
        for _ in range(2)
    ]
    assert answers[0] == answers[1] is not None
    assert (await door.get("/conflicts"))["scans"] == []
    refused = await door.post(f"/conflicts/{phones[0].scans[0]['id']}/acknowledge")
    assert (refused.status_code, refused.json()["code"]) == (409, "no_conflict")


async def test_what_is_revoked_while_a_phone_is_away_is_found_and_known_after_the_next_look(
    door: AtDoor,
) -> None:
    code, other = await door.codes()
    phone = Phone(door)
    await phone.sync()
    given = (await door.bought.give(1)).json()
    fresh = (await door.bought.call("GET", "/tickets/1", given["secret"])).json()["code"]
    assert phone.scan(code), "it cannot know"
    [told] = await door.upload(*phone.scans)
    assert (told["result"], told["conflict"]) == ("admitted", "superseded")
    assert len((await door.get("/conflicts"))["scans"]) == 1
    late = Phone(door)
    late.cursor, late.bookings = phone.cursor, dict(phone.bookings)
    await late.sync()
    assert not late.scan(code)
    assert late.scan(fresh)
    await door.bought.call("POST", "/cancel")
    await late.sync()
    assert not late.scan(other)


async def test_the_package_says_what_is_needed_and_no_more(door: AtDoor, owner: httpx.AsyncClient) -> None:
    gate = (await owner.post(f"{door.url}/gates", json={"name": "B"})).json()
    page = await door.get("/package")
    assert page["show"]["id"] == door.bought.booking["show_id"]
    assert [each["name"] for each in page["lists"]] == ["Everybody"]
    assert page["gates"] == [gate]
    assert page["areas"] == [{"id": 1, "name": "Stalls"}, {"id": 2, "name": "Floor"}]
    assert page["tiers"] == [{"id": 1, "name": "Guests"}]
    [sold] = page["bookings"]
    assert sold == {
        "id": door.bought.booking["id"], "reference": door.bought.booking["reference"], "name": "Guest",
        "areas": [1, 1], "tiers": [1, 1], "seats": ["A-3", "A-4"],
    }  # fmt: skip
    assert page["more"] is False
    assert "@" not in str(page)
    for wrong in ("x", "d.1.2", f"f.{'9' * 17}.{'0' * 32}"):
        refused = await door.client.get(f"{door.url}/package", params={"cursor": wrong})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid")


async def test_the_audit_says_who_takes_a_package_along(door: AtDoor, engine: Engine) -> None:
    page = await door.get("/package")
    await door.client.get(f"{door.url}/package", params={"cursor": page["cursor"]})
    rows = await engine.db.rows("select actor_kind, show_id::text from audit where action = 'door.packed'")
    assert [tuple(row) for row in rows] == [("person", page["show"]["id"])]


async def test_an_upload_is_bounded_and_says_which_scan_is_wrong(door: AtDoor) -> None:
    one = {"id": str(new_id()), "at": LONG_AGO, "code": "x"}
    many = [{**one, "id": str(new_id())} for _ in range(201)]
    assert (await door.post("/scans/upload", {"scans": many})).status_code == 400
    assert len(await door.upload(*many[:200])) == 200
    for wrong, pointer in (
        ({"number": 1}, "/scans/1/code"), ({"at": "0001-01-01T00:00:00Z"}, "/scans/1/at"),
        ({"at": "2026-11-20T19:00:00"}, "/scans/1/at"),
    ):  # fmt: skip
        refused = await door.post("/scans/upload", {"scans": [one, {**one, "id": str(new_id()), **wrong}]})
        assert refused.status_code == 400
        assert refused.json()["errors"][0]["pointer"] == pointer
    # The same id twice in one upload is one scan, and a gate that has gone is no reason to lose it.
    told = await door.upload(one, {**one, "code": "y"}, {**one, "id": str(new_id()), "gate_id": str(uuid4())})
    assert [(each["conflict"], each["gate_id"]) for each in told] == [("bad_code", None)] * 2


def test_the_examples_are_what_the_structs_take() -> None:
    from holdfast.booking import door_list_routes, door_routes

    for routes in (door_routes.routes, door_list_routes.routes):
        for route in routes.all:
            if route.example is not None:
                msgspec.convert(route.example, route.body)
