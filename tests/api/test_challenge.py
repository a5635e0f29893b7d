"""The proof of work in front of claims, from the challenge to the booking, and every way around it."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any

import httpx
import msgspec
import pytest

from holdfast.app import make_app
from holdfast.engine import Engine, open_engine
from holdfast.platform import clock
from holdfast.platform.challenge import Challenge, ChallengeFailed, ChallengeNeeded, zero_bits
from holdfast.platform.ids import new_id
from holdfast.platform.settings import BadSetting, Settings, read
from tests.api.browsing import Browser
from tests.conftest import OWNED, OWNER, _owner_hash

pytestmark = pytest.mark.anyio

BITS = 8
HERE = "192.0.2.1"
KEY = "a-key-of-at-least-22-letters"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, challenge="work", challenge_bits=BITS)


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    async with open_engine(settings) as opened:
        await opened.db.execute(OWNED, new_id(), new_id(), OWNER[0], _owner_hash())
        yield opened


@pytest.fixture
def at(engine: Engine) -> Callable[[str], httpx.AsyncClient]:
    """A caller with this address."""
    app = make_app(engine)

    def caller(address: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, client=(address, 5000), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://holdfast.test")

    return caller


@pytest.fixture
def here(at: Callable[[str], httpx.AsyncClient]) -> httpx.AsyncClient:
    return at(HERE)


def solved(seed: str, enough: Callable[[int], bool] = lambda bits: bits >= BITS, start: int = 0) -> str:
    """An answer as a client finds it."""
    return next(
        text
        for number in count(start)
        if enough(zero_bits(sha256((text := f"{seed}.{number}").encode()).digest()))
    )


async def posed(client: httpx.AsyncClient, show: dict[str, Any]) -> str:
    answer = await client.get(f"/v1/shows/{show['id']}/challenge")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["kind"], found["bits"], found["expires_in_seconds"]) == ("work", BITS, 120)
    seed: str = found["seed"]
    return seed


async def claim(
    client: httpx.AsyncClient, show: dict[str, Any], answer: str | None = None, key: str | None = None
) -> httpx.Response:
    headers = {"Challenge-Answer": answer} if answer is not None else {}
    if key is not None:
        headers["Idempotency-Key"] = key
    return await client.post(f"/v1/shows/{show['id']}/bookings", json={"quantity": 1}, headers=headers)


async def test_who_solves_the_challenge_claims(here: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    made = await claim(here, show, solved(await posed(here, show)))
    assert made.status_code == 201, made.text


async def test_a_claim_without_an_answer_is_given_a_challenge_to_solve_and_try_again(
    here: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show()
    refused = await claim(here, show)
    assert (refused.status_code, refused.json()["code"]) == (403, "challenge_needed")
    assert (await claim(here, show, solved(refused.json()["challenge"]["seed"]))).status_code == 201
    shown = (await here.get(f"/v1/shows/{show['id']}")).json()
    assert shown["reserved_seats"] == 1, "the claim that was refused took nothing"


async def test_an_answer_is_good_for_one_claim(here: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    answer = solved(await posed(here, show))
    assert (await claim(here, show, answer)).status_code == 201
    again = await claim(here, show, answer)
    assert (again.status_code, again.json()["code"]) == (403, "challenge_failed")
    # Another nonce for the same seed would be new work, but on a seed that is spent.
    seed, _, nonce = answer.partition(".")
    other = solved(seed, start=int(nonce) + 1)
    assert (await claim(here, show, other)).status_code == 403
    assert (await claim(here, show, solved(again.json()["challenge"]["seed"]))).status_code == 201


async def test_the_same_claim_may_be_sent_again_with_its_answer(here: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    answer = solved(await posed(here, show))
    first = await claim(here, show, answer, KEY)
    second = await claim(here, show, answer, KEY)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    assert (await claim(here, show, answer, KEY + "-another")).status_code == 403
    assert (await claim(here, show, answer)).status_code == 403


async def test_an_answer_for_another_show_or_from_another_address_will_not_do(
    at: Callable[[str], httpx.AsyncClient], here: httpx.AsyncClient, a_show: Any
) -> None:
    show, another = await a_show(), await a_show()
    answer = solved(await posed(here, show))
    assert (await claim(here, another, answer)).json()["code"] == "challenge_failed"
    assert (await claim(at("192.0.2.2"), show, answer)).json()["code"] == "challenge_failed"
    assert (await claim(here, show, answer)).status_code == 201, "nothing of this spent it"


async def test_an_answer_that_comes_too_late_will_not_do(
    here: httpx.AsyncClient, a_show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = await a_show()
    early, late = solved(await posed(here, show)), solved(await posed(here, show))
    now = datetime.now(UTC)
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(seconds=118))
    assert (await claim(here, show, early)).status_code == 201
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(seconds=122))
    refused = await claim(here, show, late)
    assert (refused.status_code, refused.json()["code"]) == (403, "challenge_failed")
    assert "late" in refused.json()["detail"]


async def test_too_little_work_will_not_do(here: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    seed = await posed(here, show)
    refused = await claim(here, show, solved(seed, lambda bits: bits == BITS - 1))
    assert (refused.status_code, refused.json()["code"]) == (403, "challenge_failed")
    assert (await claim(here, show, solved(seed))).status_code == 201


async def test_a_seed_with_fewer_bits_or_more_time_is_not_ours(here: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    seed = await posed(here, show)
    easier = f"{seed[:24]}00{seed[26:]}"
    longer = f"{int(seed[:8], 16) + 3600:08x}{seed[8:]}"
    for forged in (easier, longer):
        refused = await claim(here, show, solved(forged))
        assert (refused.status_code, refused.json()["code"]) == (403, "challenge_failed")


@pytest.mark.parametrize(
    "text", ["", ".", "x", "a.b.c", "0" * 500, "é.1", "{seed}", "{seed}.", "{seed}. 1", "{seed}.1.2"]
)
async def test_an_answer_that_is_none_is_refused_and_not_a_fault(
    here: httpx.AsyncClient, a_show: Any, text: str
) -> None:
    show = await a_show()
    answer = text.replace("{seed}", await posed(here, show)).encode("latin-1")
    refused = await here.post(
        f"/v1/shows/{show['id']}/bookings", json={"quantity": 1}, headers={b"Challenge-Answer": answer}
    )
    assert (refused.status_code, refused.json()["code"]) == (403, "challenge_failed")


async def test_no_way_to_claim_leads_around_it(here: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    ways = [
        (f"/v1/shows/{show['id']}/bookings", {"quantity": 1}, {"Prefer": "respond-async"}),
        ("/book", {"show_id": show["id"], "seat_count": 1}, {}),
        ("/api/bookings", {"show_id": show["id"], "user_email": "a@example.org", "seat_numbers": [1]}, {}),
    ]
    for path, body, headers in ways:
        assert (await here.post(path, json=body, headers=headers)).status_code == 403, path
    for path, body, headers in ways:
        answer = solved(await posed(here, show))
        made = await here.post(path, json=body, headers={**headers, "Challenge-Answer": answer})
        assert made.status_code in (200, 201, 202), made.text


async def test_staff_need_no_answer(owner: httpx.AsyncClient, a_show: Any) -> None:
    assert (await claim(owner, await a_show())).status_code == 201


async def test_a_show_that_nobody_may_know_of_has_no_challenge(here: httpx.AsyncClient, a_show: Any) -> None:
    draft = await a_show(status="draft")
    assert (await here.get(f"/v1/shows/{draft['id']}/challenge")).status_code == 404


async def test_without_the_setting_nothing_is_asked(engine: Engine, settings: Settings, a_show: Any) -> None:
    show = await a_show()
    async with open_engine(msgspec.structs.replace(settings, challenge="off")) as open_:
        transport = httpx.ASGITransport(make_app(open_))
        async with httpx.AsyncClient(transport=transport, base_url="http://holdfast.test") as client:
            assert (await client.get(f"/v1/shows/{show['id']}/challenge")).json() == {"kind": "none"}
            assert (await claim(client, show)).status_code == 201


class Puzzle:
    """What somebody else might put in front of claims."""

    def __init__(self, settings: Settings) -> None:
        self.closed = False

    def pose(self, call: Any, subject: bytes) -> Challenge:
        return Challenge("puzzle", parameters={"site_key": "public"})

    async def verify(self, call: Any, subject: bytes) -> None:
        answer = call.header("Challenge-Answer")
        if answer is None:
            raise ChallengeNeeded(challenge=self.pose(call, subject))
        if answer != "mellon":
            raise ChallengeFailed(challenge=self.pose(call, subject))

    async def close(self) -> None:
        self.closed = True


async def test_a_hook_takes_its_place(engine: Engine, settings: Settings, a_show: Any) -> None:
    show = await a_show()
    hooked = msgspec.structs.replace(settings, challenge=f"{__name__}:Puzzle")
    async with open_engine(hooked) as opened:
        transport = httpx.ASGITransport(make_app(opened))
        async with httpx.AsyncClient(transport=transport, base_url="http://holdfast.test") as client:
            needed = await claim(client, show)
            assert needed.json()["challenge"] == {"kind": "puzzle", "parameters": {"site_key": "public"}}
            assert (await claim(client, show, "enemy")).json()["code"] == "challenge_failed"
            assert (await claim(client, show, "mellon")).status_code == 201
    assert isinstance(opened.challenger, Puzzle) and opened.challenger.closed


@pytest.mark.parametrize("hook", ["no.such.module:x", "holdfast.platform.clock:nothing"])
async def test_a_hook_that_is_not_there_is_named_at_the_start(settings: Settings, hook: str) -> None:
    with pytest.raises(BadSetting, match="HOLDFAST_CHALLENGE"):
        async with open_engine(msgspec.structs.replace(settings, challenge=hook)):
            pass


def test_a_challenge_that_cannot_be_is_named() -> None:
    with pytest.raises(BadSetting, match="HOLDFAST_CHALLENGE"):
        read({"HOLDFAST_CHALLENGE": "maybe"})


def test_zero_bits_are_counted_from_the_left() -> None:
    assert [zero_bits(bytes(each)) for each in ((128, 0), (1, 0), (0, 255), (0, 1), (0, 0))] == [
        0,
        7,
        8,
        15,
        16,
    ]


async def test_a_plain_form_says_that_it_cannot_do_the_work(here: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    browser = Browser(here)
    page = await browser.send((await browser.go(f"/shows/{show['id']}")).form("/claim"))
    assert page.status == 403
    assert "Without a script this page cannot do that for you." in page.text
    assert page.links["Go on by the map"] == f"/shows/{show['id']}/seats"
    ticked = (await browser.go(f"/shows/{show['id']}/seats")).form("/claim").tick("seats", "Main:1")
    page = await browser.send(ticked)
    assert page.status == 403
    assert ("seats", "Main:1") in page.form("/claim").fields


async def test_to_ask_what_became_of_an_attempt_needs_no_work(here: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    made = await claim(here, show, solved(await posed(here, show)), KEY)
    assert made.status_code == 201
    found = await here.get(f"/v1/shows/{show['id']}/attempt", headers={"Idempotency-Key": KEY})
    assert (found.status_code, found.json()["id"]) == (200, made.json()["id"])
