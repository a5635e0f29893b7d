"""A house with a programme that looks the same on every machine and on every day: what the pictures show."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Self

import asyncpg
import httpx
import msgspec
from PIL import Image, ImageDraw

from holdfast.catalog import demo_theatre
from tests.cli.running import Up, until

LONG_AGO_NOT = "2029-06-01T10:00:00+02:00"
ABOUT_HAMLET = """The ghost of a king asks his son for revenge. The son thinks first.

Directed by Ada Marlow. In English with German surtitles, three hours with one interval."""
# Where seats are taken already when somebody comes: so many bookings of so many seats.
SOLD = (("Stalls", 9, (2, 8, 3)), ("Circle", 4, (10, 5)), ("Boxes", 3, (2,)))
BUYER = {"email": "grace@example.org", "name": "Grace Hopper"}


class House:
    """Made once for a file. `shows` are the ids by name; what a test needs besides, it asks for as a stranger would."""

    def __init__(self, up: Up) -> None:
        self.up, self.shows = up, dict[str, str]()
        self._owner = httpx.Client(base_url=up.url, headers=up.sign_in(), timeout=30)
        self._anybody = httpx.Client(base_url=up.url, timeout=30)
        theatre = demo_theatre()
        venue = {
            "name": theatre.name, "timezone": "Europe/Berlin",
            "address": "Theaterplatz 1, 10115 Berlin", "city": "Berlin",
        }  # fmt: skip
        venue_id = self._made("/v1/venues", venue)["id"]
        plan = {"name": "Main house", "areas": theatre.areas, "focal": theatre.focal}
        layout = self._made(f"/v1/venues/{venue_id}/layouts", plan)["id"]
        hall = {"layout_id": layout, "tiers": theatre.tiers}
        self._open(
            "Hamlet", "2030-12-24T19:30:00+01:00", **hall, doors_at="2030-12-24T18:45:00+01:00",
            description=ABOUT_HAMLET, age_note="From 12 years on.", access_note="Four places for wheelchairs; ask at the door for help.",
            hold_seconds=900, hold_seconds_max=3600, poster=(20, 42, 92),
        )  # fmt: skip
        self._open("The Tempest", "2031-01-10T19:30:00+01:00", **hall, sale_opens_at=LONG_AGO_NOT, poster=(12, 92, 110))  # fmt: skip
        self._open("Open Rehearsal", "2031-01-18T18:00:00+01:00", total_seats=60, timezone="Europe/Berlin", hold_seconds=900, hold_seconds_max=3600)  # fmt: skip
        box = [
            {
                "name": "Studio",
                "kind": "seated",
                "rows": [{"label": "A", "seats": 3}, {"label": "B", "seats": 3}],
            }
        ]
        self._open("Endgame", "2031-02-02T20:00:00+01:00", areas=box, timezone="Europe/Berlin")
        self._open("Happy Days", "2031-02-03T20:00:00+01:00", total_seats=2, timezone="Europe/Berlin")
        self._open("Twelfth Night", "2031-02-20T19:30:00+01:00", **hall, poster=(122, 74, 20))
        self._open("Macbeth", "2031-03-01T19:30:00+01:00", **hall, poster=(92, 20, 24))
        self._owner.patch(f"/v1/shows/{self.shows['Twelfth Night']}", json={"status": "postponed"}, headers={"If-Match": "*"}).raise_for_status()  # fmt: skip
        self._owner.patch(f"/v1/shows/{self.shows['Macbeth']}", json={"status": "cancelled"}, headers={"If-Match": "*"}).raise_for_status()  # fmt: skip
        for area, times, sizes in SOLD:
            for i in range(times):
                self.claim("Hamlet", quantity=sizes[i % len(sizes)], area=area, tier="Adult")
        self.claim("Happy Days", quantity=2)
        # Nobody pays for these, and they stay.
        self.sql("update bookings set expires_at = now() + interval '1 day'")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._owner.close()
        self._anybody.close()

    def claim(self, show: str, **wish: Any) -> dict[str, Any]:
        """A booking by somebody whom no page knows."""
        answer = self._anybody.post(f"/v1/shows/{self.shows[show]}/bookings", json=wish)
        assert answer.is_success, answer.text
        claimed: dict[str, Any] = answer.json()
        return claimed

    def queued(self, show: str, **wish: Any) -> dict[str, Any]:
        """A booking that stands in the queue in front."""
        headers = {"Prefer": "respond-async"}
        answer = self._anybody.post(f"/v1/shows/{self.shows[show]}/bookings", json=wish, headers=headers)
        assert answer.status_code == 202, answer.text
        claimed: dict[str, Any] = answer.json()
        return claimed

    def link(self, booking: dict[str, Any]) -> str:
        """The link of a letter."""
        return f"/shows/{booking['show_id']}/bookings/{booking['id']}#secret={booking['secret']}"

    def becomes(self, show: str, sold: int) -> None:
        """Waits until so many places of a show are sold."""
        path = f"/v1/shows/{self.shows[show]}"
        until(lambda: self._anybody.get(path).json()["booked_seats"] >= sold, "a sale")

    def sql(self, statement: str, *arguments: Any) -> None:
        """Turns the clock, or whatever else nobody could wait for."""

        async def run() -> None:
            connection = await asyncpg.connect(self.up.dsn)
            try:
                await connection.execute(statement, *arguments)
            finally:
                await connection.close()

        # The browser's loop runs in this thread.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, run()).result()

    @contextmanager
    def held_up(self, show: str) -> Iterator[None]:
        """Nobody decides about places of the show meanwhile."""
        is_held, is_over = threading.Event(), threading.Event()

        async def hold() -> None:
            connection = await asyncpg.connect(self.up.dsn)
            try:
                async with connection.transaction():
                    await connection.execute(
                        "select 1 from show_heads where show_id = $1::text::uuid for update", self.shows[show]
                    )
                    is_held.set()
                    await asyncio.to_thread(is_over.wait)
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as thread:
            held = thread.submit(asyncio.run, hold())
            is_held.wait(30)
            try:
                yield
            finally:
                is_over.set()
                held.result()

    def _open(
        self, name: str, start: str, *, poster: tuple[int, int, int] | None = None, **more: Any
    ) -> None:
        shown = self._made("/v1/shows", {"name": name, "start_time": start, **more})
        self.shows[name] = shown["id"]
        if poster is not None:
            answer = self._owner.put(f"/v1/shows/{shown['id']}/picture", content=_poster(poster))
            assert answer.is_success, answer.text

    def _made(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._owner.post(
            path, content=msgspec.json.encode(body), headers={"Content-Type": "application/json"}
        )
        assert answer.is_success, answer.text
        made: dict[str, Any] = answer.json()
        return made


def _poster(colour: tuple[int, int, int]) -> bytes:
    """A curtain of this colour under a lamp."""
    wide, high = 1280, 720
    image = Image.new("RGB", (wide, high))
    draw = ImageDraw.Draw(image)
    for x in range(wide):
        fold = 0.75 + 0.25 * abs((x % 80) / 40 - 1)
        lit = 1.7 - 1.1 * abs(x / wide - 0.5) * 2
        shade = tuple(min(255, int(part * fold * lit) + 8) for part in colour)
        draw.line([(x, 0), (x, high)], fill=shade)
    draw.rectangle([(0, high - 90), (wide, high)], fill=tuple(part // 4 for part in colour))
    draw.ellipse([(wide // 2 - 330, high - 130), (wide // 2 + 330, high - 40)], fill=(238, 222, 184))
    written = BytesIO()
    image.save(written, "PNG")
    return written.getvalue()
