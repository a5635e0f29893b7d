"""Seeded clients of every kind, who do what people do with a box office, and write down what they asked and heard.

Buyers ask by seat, by quantity and for the best available; others extend, confirm, cancel and read the bookings that
somebody made; organizers open shows, block and unblock, change the size of the floor, and pause and reopen the sale.
Whoever hears nothing asks again with the same Idempotency-Key, as the guide tells them to, or walks away.
"""

import asyncio
from base64 import b64decode
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.simulation.doors import HttpDoor, Unanswered
from tests.simulation.history import UNKNOWN, Call, History

TRIES_MAX = 8
LOOK_SECONDS = 0.02
BACKOFF_SECONDS_MAX = 1.0
# Late confirmers wait no longer than this for a deadline.
WAIT_SECONDS_MAX = 1.5
BOARD_MAX = 300
EMAILS = [f"buyer{number}@example.org" for number in range(4)]
PRICE = 1500
# One of these for every so many clients; there are two at least.
CLIENTS_PER_ORGANIZER = 10


@dataclass
class Offer:
    """A show that is open to everybody."""

    id: str
    seats: list[str]
    areas: list[str]
    priced: bool
    version: int
    floor: int
    selling: bool = True


@dataclass
class Held:
    """A booking that somebody made and everybody may meddle with."""

    show: Offer
    id: str
    secret: str
    deadline: float


class Workload:
    """Clients at work on the servers behind `door`.

    `sign_in` gives an organizer's token. `opened` is called with a show's id before it goes on sale. `think` is the
    longest time, in seconds, that a client does nothing between two turns.
    """

    def __init__(
        self,
        history: History,
        door: HttpDoor,
        sign_in: Callable[[], Awaitable[str]],
        *,
        think: float = 0.0,
        show_seconds: tuple[float, float] = (15.0, 40.0),
        opened: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._history = history
        self._door = door
        self._sign_in = sign_in
        self._think = think
        self._show_seconds = show_seconds
        self._opened = opened
        self._token: str | None = None
        self._signing_in = asyncio.Lock()
        self._shows: list[Offer] = []
        self._board: deque[Held] = deque(maxlen=BOARD_MAX)
        self._over = False

    async def run(self, over: Callable[[], bool]) -> None:
        """Lets all clients work until it is over, and waits until each has finished its turn."""
        beginning = self._history.beginning
        organizers = max(2, beginning.clients // CLIENTS_PER_ORGANIZER)
        async with asyncio.TaskGroup() as group:
            for number in range(beginning.clients):
                random = Random(f"{beginning.seed}:{number}")
                kind = self._organizer if number < organizers else self._client
                name = "organizer" if number < organizers else "client"
                group.create_task(kind(_Person(self, f"{name}-{number}", random)), name=f"{name} {number}")
            while not over():  # noqa: ASYNC110 -- a clock or a count ends it, and nobody who could say so
                await asyncio.sleep(LOOK_SECONDS)
            self._over = True

    async def _client(self, me: "_Person") -> None:
        turns: list[tuple[Callable[[_Person, Any], Coroutine[Any, Any, None]], int]] = [
            (self._buy, 50), (self._confirm, 12), (self._extend, 8), (self._cancel, 16), (self._read, 8), (self._look, 4),
        ]  # fmt: skip
        doings, weights = [turn for turn, _ in turns], [weight for _, weight in turns]
        while not self._over:
            await asyncio.sleep(me.random.uniform(0, self._think))
            [do] = me.random.choices(doings, weights)
            if do in (self._buy, self._look):
                if self._shows:
                    await do(me, me.random.choice(self._shows))
                else:
                    await asyncio.sleep(0.01)
            elif self._board:
                await do(me, me.random.choice(self._board))

    # What buyers and their friends do

    async def _buy(self, me: "_Person", show: Offer) -> None:
        body, random = _wish(me.random, show), me.random
        key = me.new_key()
        body.setdefault("customer", {})["name"] = key
        if random.random() < 0.05:
            # The impatient: two equal requests at once.
            _, claimed = await asyncio.gather(*(me.claim(show, body, key) for _ in range(2)))
        else:
            claimed = await me.claim(show, body, key)
        if claimed.status != 201:
            return
        held = Held(show, claimed.answer["id"], me.secrets[claimed.answer["id"]], _deadline(claimed))
        self._board.append(held)
        chance = random.random()
        if chance < 0.06:
            await me.claim(show, body, key)
        elif chance < 0.10:
            await me.claim(show, {**_wish(random, show), "customer": {"name": "another"}}, key)
        elif chance < 0.40:
            await self._cancel(me, held)
        elif chance < 0.52:
            await self._confirm(me, held)
        elif chance < 0.58:
            await self._extend(me, held)

    async def _confirm(self, me: "_Person", held: Held) -> None:
        await self._until_the_deadline(me, held)
        # A price is taken at the box office; some buyers try to get round it.
        await me.step("confirm", held, staff=held.show.priced and me.random.random() < 0.7)

    async def _until_the_deadline(self, me: "_Person", held: Held) -> None:
        """Every second time, when it is near: what comes just before it and just after it is judged hardest."""
        wait = held.deadline - self._history.now + me.random.uniform(-0.1, 0.3)
        if me.random.random() < 0.5 and 0 < wait < WAIT_SECONDS_MAX:
            await asyncio.sleep(wait)

    async def _extend(self, me: "_Person", held: Held) -> None:
        await self._until_the_deadline(me, held)
        extended = await me.step("extend", held)
        if extended.status == 200:
            held.deadline = _deadline(extended)

    async def _cancel(self, me: "_Person", held: Held) -> None:
        await me.step("cancel", held, staff=me.random.random() < (0.5 if held.show.priced else 0.1))

    async def _read(self, me: "_Person", held: Held) -> None:
        path = f"/v1/shows/{held.show.id}/bookings/{held.id}"
        await me.ask("read", "GET", path, show=held.show.id, target=held.id, secret=held.secret)

    async def _look(self, me: "_Person", show: Offer) -> None:
        await me.ask("availability", "GET", f"/v1/shows/{show.id}/availability", show=show.id)

    # What organizers do

    async def _organizer(self, me: "_Person") -> None:
        while not self._over:
            show = await self._open(me)
            if show is None:
                continue
            self._shows.append(show)
            until = self._history.now + me.random.uniform(*self._show_seconds)
            blocks: list[str] = []
            while self._goes_on() and self._history.now < until:
                await asyncio.sleep(me.random.uniform(0.02, 0.25))
                match me.random.choice(["block", "block", "unblock", "resize", "resize", "pause"]):
                    case "block":
                        await self._block(me, show, blocks)
                    case "unblock" if blocks:
                        await self._unblock(me, show, blocks.pop(me.random.randrange(len(blocks))))
                    case "resize":
                        sizes = {"Floor": max(1, show.floor + me.random.randint(-4, 4))}
                        await self._edit(me, show, {"capacities": sizes})
                    case "pause":
                        await self._edit(me, show, {"status": me.random.choice(["paused", "closed"])})
                        await asyncio.sleep(me.random.uniform(0.0, 0.2))
                        await self._edit(me, show, {"status": "on_sale"})
            self._shows.remove(show)

    def _goes_on(self) -> bool:
        return not self._over

    async def _open(self, me: "_Person") -> Offer | None:
        body = _plan(me.random)
        opened = await me.ask(
            "open", "POST", "/v1/shows", body=body, key=me.new_key(), staff=True, tries=TRIES_MAX
        )
        if opened.status != 201:
            return None
        if self._opened is not None:
            await self._opened(opened.answer["id"])
        rows = [row for area in body["areas"] for row in area.get("rows", [])]
        show = Offer(
            id=opened.answer["id"],
            seats=[f"{row['label']}-{number + 1}" for row in rows for number in range(row["seats"])],
            areas=[area["name"] for area in body["areas"]],
            priced=bool(body["tiers"]),
            version=opened.answer["version"],
            floor=opened.answer["capacities"]["Floor"],
            selling=False,
        )
        await self._edit(me, show, {"status": "on_sale"})
        return show if show.selling else None

    async def _edit(self, me: "_Person", show: Offer, body: dict[str, Any]) -> None:
        """Edits the version that was read last, until it is known whether that version has gone."""
        if "status" in body and (body["status"] == "on_sale") == show.selling:
            return
        path = f"/v1/shows/{show.id}"
        for _ in range(TRIES_MAX):
            answer = await me.ask(
                "edit", "PATCH", path, show=show.id, body=body, staff=True, version=show.version, tries=3
            )
            if answer.status not in (200, 409):
                answer = await me.ask("look", "GET", path, show=show.id, staff=True, tries=3)
            if answer.status == 200:
                show.version, show.floor = answer.answer["version"], answer.answer["capacities"]["Floor"]
                show.selling = answer.answer["status"] == "on_sale"
            if answer.status == 409 or body.get("status") == answer.answer.get("status"):
                return
            if "capacities" in body and answer.status == 200:
                return

    async def _block(self, me: "_Person", show: Offer, blocks: list[str]) -> None:
        key = me.new_key()
        body: dict[str, Any] = {"reason": key}
        if me.random.random() < 0.6:
            body["seats"] = me.random.sample(show.seats, me.random.randint(1, 2))
        else:
            body |= {"area": "Floor", "quantity": me.random.randint(1, 3)}
        path = f"/v1/shows/{show.id}/blocks"
        made = await me.ask(
            "block", "POST", path, show=show.id, body=body, key=key, staff=True, tries=TRIES_MAX
        )
        if made.status == 201:
            blocks.append(made.answer["id"])
            if len(blocks) > 3:
                await self._unblock(me, show, blocks.pop(0))

    async def _unblock(self, me: "_Person", show: Offer, block: str) -> None:
        path = f"/v1/shows/{show.id}/blocks/{block}"
        await me.ask("unblock", "DELETE", path, show=show.id, target=block, staff=True, tries=TRIES_MAX)

    async def token(self, *, anew: bool) -> str:
        """The organizer's token, a new one when the old one was refused."""
        seen = self._token
        async with self._signing_in:
            if self._token is None or (anew and self._token == seen):
                self._token = await self._sign_in()
            return self._token

    async def send(
        self, me: "_Person", call: Call, method: str, path: str, headers: dict[str, str], body: Any
    ) -> dict[str, Any]:
        """Sends one request, fills in what came of it, and returns the whole answer."""
        history = self._history
        call.number, call.start = history.number(), history.now
        told: Any = None
        try:
            call.status, told = await self._door.ask(method, path, headers, body)
        except Unanswered:
            call.status = UNKNOWN
        call.end = history.now
        whole: dict[str, Any] = told if isinstance(told, dict) else {}
        call.answer = _kept(history, call, whole)
        history.calls.append(call)
        return whole


class _Person:
    """One client: a name, a source of chance, and the secrets of the bookings that it made."""

    def __init__(self, workload: Workload, name: str, random: Random) -> None:
        self.name = name
        self.random = random
        self.secrets: dict[str, str] = {}
        self._workload = workload

    def new_key(self) -> str:
        return f"{self.name}-{self.random.getrandbits(96):024x}"

    async def claim(self, show: Offer, body: dict[str, Any], key: str) -> Call:
        tries = 1 if self.random.random() < 0.15 else TRIES_MAX
        return await self.ask(
            "claim", "POST", f"/v1/shows/{show.id}/bookings", show=show.id, body=body, key=key, tries=tries
        )

    async def step(self, do: str, held: Held, *, staff: bool = False) -> Call:
        path = f"/v1/shows/{held.show.id}/bookings/{held.id}/{do}"
        tries = 1 if self.random.random() < 0.15 else TRIES_MAX
        return await self.ask(
            do, "POST", path, show=held.show.id, target=held.id, key=self.new_key(), staff=staff, secret=held.secret, tries=tries
        )  # fmt: skip

    async def ask(
        self,
        do: str,
        method: str,
        path: str,
        *,
        show: str = "",
        target: str = "",
        key: str = "",
        body: dict[str, Any] | None = None,
        version: int = 0,
        staff: bool = False,
        secret: str | None = None,
        tries: int = 1,
    ) -> Call:
        """The last of up to `tries` equal calls, the first of which whose outcome is known."""
        headers = {"idempotency-key": key} if key else {}
        if version:
            headers["if-match"] = f'"{version}"'
        if secret is not None and not staff:
            headers["authorization"] = f"Bearer {secret}"
        refused = False
        for attempt in range(tries):
            if staff:
                headers["authorization"] = f"Bearer {await self._workload.token(anew=refused)}"
            call = Call(
                number=0, client=self.name, do=do, show=show, target=target, key=key, staff=staff, version=version,
                body=body or {}, start=0.0,
            )  # fmt: skip
            told = await self._workload.send(self, call, method, path, headers, _sent(do, body))
            refused = call.status == 401
            if not (call.unknown or refused):
                break
            await asyncio.sleep(min(BACKOFF_SECONDS_MAX, 0.05 * 2**attempt) * self.random.uniform(0.5, 1.0))
        if "secret" in told:
            self.secrets[told["id"]] = told["secret"]
        return call


def _wish(random: Random, show: Offer) -> dict[str, Any]:
    """What a buyer may ask for."""
    body: dict[str, Any]
    match random.choice(["seats", "seats", "quantity", "best"]):
        case "seats":
            # The first rows are wanted most.
            first = min(random.randrange(len(show.seats)), random.randrange(len(show.seats)))
            seats = show.seats[first : first + random.randint(1, 3)]
            body = {"seats": seats if random.random() < 0.8 else random.sample(show.seats, len(seats))}
        case "quantity":
            body = {"quantity": random.randint(1, 4), "area": "Floor"}
        case _:
            body = {"best_available": random.randint(1, 4)}
            if random.random() < 0.5:
                body["area"] = random.choice([area for area in show.areas if area != "Floor"])
            if random.random() < 0.4:
                body["split"] = True
    if random.random() < 0.15:
        body["customer"] = {"email": random.choice(EMAILS)}
    if random.random() < 0.10:
        body["confirm"] = True
    return body


def _plan(random: Random) -> dict[str, Any]:
    """A show as an organizer may order it: small, so that everybody wants the same."""
    long = random.randint(5, 9)
    areas: list[dict[str, Any]] = [
        {
            "name": "Stalls", "kind": "seated",
            "rows": [{"label": "A", "seats": long, "gap_after": [random.randint(2, 3)]}, {"label": "B", "seats": long}],
        },
        {"name": "Balcony", "kind": "seated", "rows": [{"label": "C", "seats": 4}, {"label": "D", "seats": 3}]},
        {"name": "Floor", "kind": "standing", "capacity": random.randint(6, 16)},
    ]  # fmt: skip
    priced = random.random() < 0.35
    tiers = [{"name": "Adult", "area": area["name"], "amount": PRICE} for area in areas] if priced else []
    return {
        "name": "Hamlet",
        "start_time": "2035-12-24T20:00:00+01:00",
        "areas": areas,
        "tiers": tiers,
        "status": "draft",
        "hold_seconds": 10,
        "hold_seconds_max": random.choice([10, 15, 25, 200]),
        "max_places_per_buyer": random.choice([None, None, 5]),
    }


def _sent(do: str, body: dict[str, Any] | None) -> dict[str, Any] | None:
    """The body as the API knows it: the floor is an area by number."""
    if do == "edit" and body is not None and "capacities" in body:
        return {"areas": [{"id": 3, "capacity": body["capacities"]["Floor"]}]}
    return body


def _deadline(call: Call) -> float:
    return float(call.answer.get("expires_at") or call.end)


def _kept(history: History, call: Call, told: dict[str, Any]) -> dict[str, Any]:
    """What the judge needs of an answer, with times on the history's scale."""
    if call.status >= 400:
        return {name: told[name] for name in ("code", "seats") if name in told}
    if "places" in told:
        kept: dict[str, Any] = {
            name: told[name] for name in ("id", "status", "reason", "version", "relaxed") if name in told
        }
        kept["places"] = [[place["area"], place["seat"], place["amount"]] for place in told["places"]]
        kept["total"] = told["total"]["amount"]
        for name in ("created_at", "expires_at", "confirmed_at"):
            kept[name] = history.moment(told[name])
        return kept
    if "total_seats" in told:
        kept = {name: told[name] for name in ("id", "status", "version", "hold_seconds", "hold_seconds_max")}
        return {**kept, "capacities": {area["name"]: area["capacity"] for area in told["areas"]}}
    if "taken" in told:
        return {"revision": told["revision"], "taken": b64decode(told["taken"]).hex()}
    return {"id": told["id"]} if "id" in told else {}
