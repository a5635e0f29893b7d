"""API keys: made, used, rotated, revoked, and never to be seen again."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import httpx
import msgspec
import pytest
import structlog

from holdfast import accounts
from holdfast.accounts import INSTALLATION, Keys, Principal, prune_keys
from holdfast.accounts import keys as keys_
from holdfast.accounts.tokens import VERIFIED_SECONDS
from holdfast.engine import Engine
from holdfast.platform.cache import Cache
from holdfast.platform.errors import Busy, Unauthenticated
from holdfast.platform.ids import new_id
from holdfast.platform.limits import Limits, RateLimited
from holdfast.platform.settings import Settings
from tests.api.people import another_house, signed_in
from tests.conftest import client_of, eventually

pytestmark = pytest.mark.anyio

KEY = re.compile(r"hf_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}")


async def make(client: httpx.AsyncClient, *scopes: str, status: int = 201, **more: Any) -> dict[str, Any]:
    answer = await client.post("/v1/keys", json={"name": "Till", "scopes": scopes or ["venues.read"], **more})
    assert answer.status_code == status, answer.text
    made: dict[str, Any] = answer.json()
    return made


@asynccontextmanager
async def machine(engine: Engine, key: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(engine, Authorization=f"Bearer {key}") as opened:
        yield opened


async def works(engine: Engine, key: str) -> bool:
    async with machine(engine, key) as client:
        answer = await client.get("/v1/venues")
    if answer.status_code == 401:
        assert answer.json()["code"] == "unauthenticated"
        return False
    assert answer.status_code == 200, answer.text
    return True


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class CountedDatabase:
    """The engine's database, with a count of what is asked; `away` lets it refuse, `gate` lets it wait."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine.db
        self.rows = 0
        self.writes: list[Any] = []
        self.away = False
        self.gate: asyncio.Event | None = None

    async def row(self, *args: Any) -> Any:
        self.rows += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise Busy
        return await self._db.row(*args)

    async def execute(self, *args: Any) -> Any:
        if self.away:
            raise Busy
        self.writes.append(args[1:])
        return await self._db.execute(*args)


class Reader:
    """Keys that look through a counted database, with clocks to be moved: one for expiry, one for what is remembered."""

    def __init__(self, engine: Engine, limits: Limits | None = None) -> None:
        self.db = CountedDatabase(engine)
        self.wall = Clock(datetime.now(UTC).timestamp())
        self.steady = Clock(1000.0)
        self.keys = Keys(self.db, Cache(now=self.steady), limits, now=self.wall)  # type: ignore[arg-type]

    async def knows(self, key: str, address: str = "192.0.2.1") -> bool:
        try:
            await self.keys.principal(key, address)
        except Unauthenticated:
            return False
        return True


@pytest.fixture
def reader(engine: Engine) -> Reader:
    return Reader(engine)


# The life of a key


async def test_a_key_is_shown_once_and_kept_as_a_hash(owner: httpx.AsyncClient, engine: Engine) -> None:
    made = await make(owner, "bookings.read", "shows.write", "shows.write")
    assert KEY.fullmatch(made["key"])
    assert made["scopes"] == ["bookings.read", "shows.write"]
    assert made["prefix"] == made["key"][:11]
    assert (made["name"], made["expires_at"], made["last_used_at"], made["revoked_at"]) == (
        "Till",
        None,
        None,
        None,
    )
    creator = await accounts.first_owner(engine.db)
    assert creator is not None
    assert made["created_by"] == f"person:{creator.person_id}"

    shown = {name: value for name, value in made.items() if name != "key"}
    listed = await owner.get("/v1/keys")
    assert listed.json() == {"keys": [shown], "next": None}
    assert (await owner.get(f"/v1/keys/{made['id']}")).json() == shown
    row = await engine.db.row("select * from api_keys")
    assert row is not None
    assert row["key_hash"] == sha256(made["key"].encode()).digest()
    for table in ("api_keys", "answers", "audit"):
        stored = str([dict(each) for each in await engine.db.rows(f"select * from {table}")])
        assert made["key"][12:] not in stored, table


async def test_two_keys_have_nothing_in_common(owner: httpx.AsyncClient) -> None:
    one, other = await make(owner), await make(owner)
    assert one["key"][3:11] != other["key"][3:11]
    assert one["key"][12:] != other["key"][12:]


async def test_a_key_does_what_its_scopes_say(owner: httpx.AsyncClient, engine: Engine) -> None:
    made = await make(owner, "shows.write", "blocks.write")
    async with machine(engine, made["key"]) as client:
        show = await client.post(
            "/v1/shows", json={"name": "Hamlet", "start_time": "2030-12-24T20:00:00+01:00", "total_seats": 10}
        )
        assert show.status_code == 201, show.text
        path = f"/v1/shows/{show.json()['id']}"
        block = await client.post(f"{path}/blocks", json={"seats": ["1"], "reason": "House"})
        assert block.status_code == 201, block.text
        refused = await client.get(f"{path}/bookings")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert "bookings.read" in refused.json()["detail"]
        assert (await client.get("/v1/auth/me")).status_code == 403, "that is for people"
        assert (await client.get("/v1/keys")).status_code == 403
        claimed = await client.post(f"{path}/bookings", json={"seats": ["2"]})
        assert claimed.status_code == 201, "a claim needs no right, and a key is in nobody's way"


async def test_a_key_has_idempotency_keys_of_its_own(owner: httpx.AsyncClient, engine: Engine) -> None:
    body = {"name": "Hamlet", "start_time": "2030-12-24T20:00:00+01:00", "total_seats": 10}
    again = {"Idempotency-Key": "the-same"}
    made = await make(owner, "shows.write")
    first = await owner.post("/v1/shows", json=body, headers=again)
    async with machine(engine, made["key"]) as client:
        second = await client.post("/v1/shows", json=body, headers=again)
        third = await client.post("/v1/shows", json=body, headers=again)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]
    assert third.json() == second.json()


async def test_a_key_of_one_house_finds_nothing_of_another(owner: httpx.AsyncClient, engine: Engine) -> None:
    ours = await make(owner)
    async with signed_in(engine, organizer_id=await another_house(engine)) as stranger:
        theirs = await make(stranger, "shows.write", "blocks.write", "bookings.read", "bookings.write")
        assert [key["id"] for key in (await stranger.get("/v1/keys")).json()["keys"]] == [theirs["id"]]
        for answer in (
            await stranger.get(f"/v1/keys/{ours['id']}"),
            await stranger.post(f"/v1/keys/{ours['id']}/rotate", json={"overlap_seconds": 0}),
            await stranger.delete(f"/v1/keys/{ours['id']}"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "key_not_found")
    show = (
        await owner.post(
            "/v1/shows", json={"name": "Hamlet", "start_time": "2030-12-24T20:00:00+01:00", "total_seats": 10}
        )
    ).json()
    path = f"/v1/shows/{show['id']}"
    booking = (await owner.post(f"{path}/bookings", json={"seats": ["1"]})).json()
    async with machine(engine, theirs["key"]) as client:
        for answer in (
            await client.get(f"{path}/bookings"),
            await client.get(f"{path}/bookings/{booking['id']}"),
            await client.post(f"{path}/bookings/{booking['id']}/cancel"),
            await client.post(f"{path}/blocks", json={"seats": ["2"], "reason": "Ours"}),
        ):
            assert answer.status_code == 404, answer.text
    assert await works(engine, ours["key"]), "nothing was done to it"


# What it may be given


async def test_nobody_hands_on_what_they_do_not_have(engine: Engine, owner: httpx.AsyncClient) -> None:
    for scope in (*sorted(INSTALLATION), "keys.write", "members.write", "organizer.write"):
        refused = await make(owner, "shows.write", scope, status=400)
        assert refused["errors"][0]["pointer"] == "/scopes/1", scope
    # Only owners make keys, and owners have every permission: the check is for the day when that changes.
    house = await engine.db.value("select organizer_id from organizers")
    creator = Principal(None, house, None, key_id=new_id(), scopes=frozenset({"keys.write", "shows.write"}))
    async with engine.db.transaction() as tx:
        with pytest.raises(keys_.ScopeNotHeld, match=r"bookings\.read"):
            await keys_.create_key(tx, creator, name="Till", scopes=["shows.write", "bookings.read"])
        key, _ = await keys_.create_key(tx, creator, name="Till", scopes=["shows.write"])
        assert key.created_by == f"key:{creator.key_id}"
        narrow = Principal(None, house, None, key_id=new_id(), scopes=frozenset({"keys.write"}))
        with pytest.raises(keys_.ScopeNotHeld, match=r"shows\.write"):
            await keys_.rotate_key(tx, engine.keys, narrow, key.key_id, 0)


async def test_only_owners_make_keys_and_managers_see_them(engine: Engine) -> None:
    for role, reads in (("manager", 200), ("box_office", 403), ("door", 403), ("viewer", 403)):
        async with signed_in(engine, role) as client:  # type: ignore[arg-type]
            await make(client, status=403)
            assert (await client.get("/v1/keys")).status_code == reads, role
            assert (await client.delete(f"/v1/keys/{new_id()}")).status_code == 403
            assert (await client.post(f"/v1/keys/{new_id()}/rotate", json={})).status_code == 403


async def test_scopes_in_the_table_that_no_key_may_have_are_not_believed(
    engine: Engine, owner: httpx.AsyncClient
) -> None:
    made = await make(owner)
    await engine.db.execute("update api_keys set scopes = scopes || '{keys.write,jobs.read,everything}'")
    principal = await Reader(engine).keys.principal(made["key"], "192.0.2.1")
    assert principal.scopes == frozenset({"venues.read"})


@pytest.mark.parametrize(
    "body, pointer",
    [
        ({"scopes": ["shows.write"]}, "/name"),
        ({"name": "", "scopes": ["shows.write"]}, "/name"),
        ({"name": " ", "scopes": ["shows.write"]}, "/name"),
        ({"name": "a\u0000b", "scopes": ["shows.write"]}, "/name"),
        ({"name": "x" * 101, "scopes": ["shows.write"]}, "/name"),
        ({"name": "Till", "scopes": []}, "/scopes"),
        ({"name": "Till", "scopes": ["everything"]}, "/scopes/0"),
        ({"name": "Till", "scopes": ["shows.write"], "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"name": "Till", "scopes": ["shows.write"], "expires_at": "2099-01-01T00:00:00"}, "/expires_at"),
        ({"name": "Till", "scopes": ["shows.write"], "admin": True}, "/admin"),
    ],
)
async def test_bad_input_is_named(owner: httpx.AsyncClient, body: dict[str, Any], pointer: str) -> None:
    answer = await owner.post("/v1/keys", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_an_organizer_has_so_many_keys_that_work(
    owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_, "KEYS_MAX", 2)
    first = await make(owner)
    await make(owner)
    assert (await make(owner, status=409))["code"] == "too_many_keys"
    rotated = await owner.post(f"/v1/keys/{first['id']}/rotate", json={})
    assert (rotated.status_code, rotated.json()["code"]) == (409, "too_many_keys")
    assert (await owner.delete(f"/v1/keys/{first['id']}")).status_code == 204
    await make(owner)


async def test_keys_come_in_pages(owner: httpx.AsyncClient) -> None:
    made = [(await make(owner))["id"] for _ in range(3)]
    first = (await owner.get("/v1/keys?limit=2")).json()
    rest = (await owner.get(f"/v1/keys?limit=2&cursor={first['next']}")).json()
    assert [key["id"] for key in first["keys"] + rest["keys"]] == made
    assert rest["next"] is None


# The end of a key


async def test_a_revoked_key_is_out_at_once_and_stays_in_the_list(
    owner: httpx.AsyncClient, engine: Engine
) -> None:
    made = await make(owner)
    assert await works(engine, made["key"])
    assert (await owner.delete(f"/v1/keys/{made['id']}")).status_code == 204
    assert not await works(engine, made["key"])
    [listed] = (await owner.get("/v1/keys")).json()["keys"]
    assert listed["revoked_at"] is not None
    assert (await owner.delete(f"/v1/keys/{made['id']}")).status_code == 204, "once more changes nothing"
    assert (await owner.get(f"/v1/keys/{made['id']}")).json() == listed
    refused = await owner.post(f"/v1/keys/{made['id']}/rotate", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "key_ended")


async def test_a_revoked_key_is_out_in_other_processes_as_soon_as_they_hear_of_it(
    owner: httpx.AsyncClient, engine: Engine, open_another: Callable[..., Any]
) -> None:
    made = await make(owner)
    async with open_another() as other:
        assert await works(other, made["key"])
        await owner.delete(f"/v1/keys/{made['id']}")

        async def is_out() -> bool:
            return not await works(other, made["key"])

        await eventually(is_out, tries=100)


async def test_a_revoked_key_is_out_within_seconds_where_nobody_hears_of_it(
    owner: httpx.AsyncClient, reader: Reader
) -> None:
    made = await make(owner)
    assert await reader.knows(made["key"])
    await owner.delete(f"/v1/keys/{made['id']}")
    reader.steady.now += VERIFIED_SECONDS - 0.001
    assert await reader.knows(made["key"])
    reader.steady.now += 0.001
    assert not await reader.knows(made["key"])


async def test_a_key_is_never_believed_past_its_end(owner: httpx.AsyncClient, reader: Reader) -> None:
    ends = datetime.fromtimestamp(reader.wall.now + 5, UTC)
    made = await make(owner, expires_at=ends.isoformat())
    assert await reader.knows(made["key"])
    reader.wall.now = ends.timestamp() - 0.001
    assert await reader.knows(made["key"])
    reader.wall.now = ends.timestamp()
    with pytest.raises(Unauthenticated, match="expired"):
        await reader.keys.principal(made["key"], "192.0.2.1")
    assert reader.db.rows == 1, "what was remembered says when the key ends"


async def test_a_rotated_key_works_beside_the_new_one_for_the_overlap(
    owner: httpx.AsyncClient, engine: Engine, reader: Reader
) -> None:
    old = await make(owner, "venues.read", "bookings.read")
    assert await works(engine, old["key"])
    answer = await owner.post(f"/v1/keys/{old['id']}/rotate", json={"overlap_seconds": 3600})
    assert answer.status_code == 201, answer.text
    new = answer.json()
    assert new["key"] != old["key"]
    assert answer.headers["location"] == f"/v1/keys/{new['id']}"
    assert (new["replaces"], new["name"], new["scopes"]) == (old["id"], old["name"], old["scopes"])
    assert new["expires_at"] is None
    assert await works(engine, old["key"])
    assert await works(engine, new["key"])
    ends = datetime.fromisoformat((await owner.get(f"/v1/keys/{old['id']}")).json()["expires_at"])
    assert ends - datetime.fromisoformat(new["created_at"]) == timedelta(hours=1)
    reader.wall.now = ends.timestamp() - 1
    assert await reader.knows(old["key"])
    reader.wall.now += 1.001
    assert not await reader.knows(old["key"])
    assert await reader.knows(new["key"])


async def test_without_an_overlap_the_old_key_ends_at_once(owner: httpx.AsyncClient, engine: Engine) -> None:
    old = await make(owner)
    assert await works(engine, old["key"])
    new = (await owner.post(f"/v1/keys/{old['id']}/rotate", json={"overlap_seconds": 0})).json()
    assert not await works(engine, old["key"])
    assert await works(engine, new["key"])


async def test_rotation_neither_lengthens_the_old_life_nor_shortens_the_new(owner: httpx.AsyncClient) -> None:
    ends = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    old = await make(owner, expires_at=ends.isoformat())
    new = (await owner.post(f"/v1/keys/{old['id']}/rotate", json={"overlap_seconds": 7 * 86_400})).json()
    assert (await owner.get(f"/v1/keys/{old['id']}")).json()["expires_at"] == old["expires_at"]
    lives = [
        datetime.fromisoformat(key["expires_at"]) - datetime.fromisoformat(key["created_at"])
        for key in (old, new)
    ]
    assert abs(lives[0] - lives[1]) < timedelta(seconds=1)
    too_long = await owner.post(f"/v1/keys/{new['id']}/rotate", json={"overlap_seconds": 7 * 86_400 + 1})
    assert too_long.status_code == 400


async def test_keys_that_ended_long_ago_are_forgotten(owner: httpx.AsyncClient, engine: Engine) -> None:
    revoked, expired, recent, works_still = [await make(owner) for _ in range(4)]
    age = "update api_keys set {} = now() - interval '{} days' where key_id = $1"
    await engine.db.execute(age.format("revoked_at", 91), revoked["id"])
    await engine.db.execute(age.format("expires_at", 91), expired["id"])
    await engine.db.execute(age.format("revoked_at", 89), recent["id"])
    assert await prune_keys(engine.db) == 2
    left = {key["id"] for key in (await owner.get("/v1/keys")).json()["keys"]}
    assert left == {recent["id"], works_still["id"]}


# What it costs to look


async def test_a_key_is_looked_for_once_and_then_remembered(owner: httpx.AsyncClient, reader: Reader) -> None:
    made = await make(owner)
    found = await asyncio.gather(*(reader.knows(made["key"]) for _ in range(50)))
    assert all(found)
    assert reader.db.rows == 1
    reader.steady.now += VERIFIED_SECONDS
    assert await reader.knows(made["key"])
    assert reader.db.rows == 2


async def test_a_text_that_is_no_key_is_looked_for_once(reader: Reader) -> None:
    text = "hf_AbCd1234_" + "x" * 43
    found = await asyncio.gather(*(reader.knows(text) for _ in range(50)))
    assert not any(found)
    assert not await reader.knows(text)
    assert reader.db.rows == 1
    reader.wall.now += VERIFIED_SECONDS
    assert not await reader.knows(text)
    assert reader.db.rows == 2


async def test_made_up_keys_are_remembered_in_bounds_and_push_out_no_key_that_works(
    owner: httpx.AsyncClient, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_, "REFUSED_MAX", 10)
    made = await make(owner)
    assert await reader.knows(made["key"])
    for number in range(30):
        assert not await reader.knows(f"hf_AbCd1234_{number:043}")
    assert len(reader.keys._refused) == 10
    asked = reader.db.rows
    assert await reader.knows(made["key"])
    assert reader.db.rows == asked


async def test_a_flood_of_made_up_keys_gets_a_few_connections_and_no_more(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_, "LOOKS_WAITING_MAX", 20)
    reader = Reader(engine)
    reader.db.gate = asyncio.Event()
    flood = [asyncio.create_task(reader.knows(f"hf_AbCd1234_{number:043}")) for number in range(30)]

    async def refused() -> bool:
        return sum(task.done() for task in flood) == 10

    await eventually(refused)
    assert reader.db.rows == keys_.LOOKS_AT_ONCE_MAX
    reader.db.gate.set()
    found = await asyncio.gather(*flood, return_exceptions=True)
    assert sum(isinstance(each, Busy) for each in found) == 10
    assert sum(each is False for each in found) == 20


async def test_who_makes_keys_up_is_stopped_and_nobody_else(
    owner: httpx.AsyncClient, engine: Engine, settings: Settings
) -> None:
    made = await make(owner)
    narrow = msgspec.structs.replace(settings, rate_limits="on", limit_code="5/3600s")
    reader = Reader(engine, Limits(narrow, engine.secrets))
    for number in range(5):
        assert not await reader.knows(f"hf_AbCd1234_{number:043}", "2001:db8::1")
    for number in range(5, 30):
        with pytest.raises(RateLimited):
            await reader.knows(f"hf_AbCd1234_{number:043}", f"2001:db8::{number}")
    assert reader.db.rows == 5, "an address of the same network that is over its limit costs no query"
    assert await reader.knows(made["key"], "192.0.2.9")
    assert await reader.knows(made["key"], "2001:db8::1"), "what is remembered needs no look"


async def test_a_database_that_is_away_is_busy_and_no_judgement(
    owner: httpx.AsyncClient, reader: Reader
) -> None:
    made = await make(owner)
    reader.db.away = True
    with pytest.raises(Busy):
        await reader.keys.principal(made["key"], "192.0.2.1")
    reader.db.away = False
    assert await reader.knows(made["key"])


# When it was used


async def test_the_last_use_is_written_down_later_and_once(owner: httpx.AsyncClient, reader: Reader) -> None:
    made, unused = await make(owner), await make(owner)
    for _ in range(20):
        reader.wall.now += 0.1
        assert await reader.knows(made["key"])
    assert reader.db.writes == [], "no request writes"
    await reader.keys.write_use()
    await reader.keys.write_use()
    assert len(reader.db.writes) == 1
    shown = {key["id"]: key["last_used_at"] for key in (await owner.get("/v1/keys")).json()["keys"]}
    used = datetime.fromisoformat(shown[made["id"]]).timestamp()
    assert used == pytest.approx(reader.wall.now, abs=0.001)
    assert shown[unused["id"]] is None


async def test_a_use_that_could_not_be_written_is_written_the_next_time(
    owner: httpx.AsyncClient, reader: Reader
) -> None:
    made = await make(owner)
    assert await reader.knows(made["key"])
    reader.db.away = True
    with pytest.raises(Busy):
        await reader.keys.write_use()
    reader.db.away = False
    await reader.keys.write_use()
    assert (await owner.get(f"/v1/keys/{made['id']}")).json()["last_used_at"] is not None


async def test_a_process_that_ends_writes_down_what_was_used(
    owner: httpx.AsyncClient, open_another: Callable[..., Any]
) -> None:
    made = await make(owner)
    async with open_another() as other:
        assert await works(other, made["key"])
    assert (await owner.get(f"/v1/keys/{made['id']}")).json()["last_used_at"] is not None


# Where it must not be seen


async def test_a_key_stands_in_no_log_line(owner: httpx.AsyncClient, engine: Engine) -> None:
    with structlog.testing.capture_logs() as lines:
        made = await make(owner)
        assert await works(engine, made["key"])
        async with machine(engine, made["key"]) as client:
            await client.get("/v1/keys")
            await client.post("/v1/shows", json={"name": made["key"]})
        await owner.delete(f"/v1/keys/{made['id']}")
        assert not await works(engine, made["key"])
    assert len(lines) >= 6
    told = repr(lines)
    assert made["key"] not in told
    assert made["key"][12:] not in told


async def test_what_was_done_with_keys_is_written_down(owner: httpx.AsyncClient, engine: Engine) -> None:
    made = await make(owner, "shows.write")
    rotated = (await owner.post(f"/v1/keys/{made['id']}/rotate", json={"overlap_seconds": 60})).json()
    await owner.delete(f"/v1/keys/{made['id']}")
    entries = await engine.db.rows("select action, subject_id, after from audit order by entry_id")
    assert [(entry["action"], str(entry["subject_id"])) for entry in entries] == [
        ("key.created", made["id"]),
        ("key.rotated", rotated["id"]),
        ("key.revoked", made["id"]),
    ]
    assert entries[0]["after"] == {"scopes": ["shows.write"], "expires_at": None}
    assert entries[1]["after"]["replaces"] == made["id"]
