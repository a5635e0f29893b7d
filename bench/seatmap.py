"""How quick the seat map is in a browser, as JSON: `.venv/bin/python -m bench.seatmap`; `--help` tells more.

A stadium of 50,000 seats is sold by a `holdfast up` of its own, and Chromium opens the page on which seats are chosen, at
full speed and with its processor throttled to a quarter. All is seen from outside, by what the page draws and when, so that
two versions of the scripts can be compared within one run (`--against`).
"""

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import typer
from playwright.sync_api import Browser, Page, Route, sync_playwright

from bench.load import ROOT

SEATS = 50_000
READY_SECONDS_MAX = 120.0
PATIENCE_MS = 120_000
# Seats of a stadium that somebody has, as one in so many rows of eight.
TAKEN_BOOKINGS = 300
SEATS_PER_BOOKING = 10
PRICES = (18_000, 12_500, 9_500, 7_500, 5_500, 3_900)

# Looks over the page's shoulder: how long each callback of a frame works, and which of them drew on the map.
WATCH = """
(() => {
  const seen = (globalThis.seen = { frames: [], longest: 0, blocked: 0 });
  const ask = requestAnimationFrame.bind(globalThis);
  let drew = false;
  for (const name of ["fillRect", "drawImage", "fill", "putImageData"]) {
    const draw = CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (...values) {
      drew ||= this.canvas.isConnected && this.canvas.classList.contains("seats");
      return draw.apply(this, values);
    };
  }
  globalThis.requestAnimationFrame = (work) => ask((at) => {
    drew = false;
    const began = performance.now();
    work(at);
    if (drew) seen.frames.push([began, performance.now()]);
  });
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) {
      seen.longest = Math.max(seen.longest, duration);
      seen.blocked += Math.max(0, duration - 50);
    }
  }).observe({ type: "longtask", buffered: true });
})();
"""

OPENED = """
() => {
  const of = (kind) => performance.getEntriesByType("resource").find(({ name }) => name.includes(kind));
  const data = Math.max(of("/layout").responseEnd, of("/availability").responseEnd);
  const [first] = seen.frames;
  return {
    first_paint_ms: first[1] - data,
    painted_ms: seen.frames.at(-1)[1] - data,
    longest_task_ms: seen.longest,
    blocked_ms: seen.blocked,
  };
}
"""

# Moves of a hand, one for each frame; answers how long each frame's script took, the handlers' included.
DRAG = """
async ({ steps, by }) => {
  const canvas = document.querySelector("canvas.seats");
  const box = canvas.getBoundingClientRect();
  const at = { x: box.width / 2, y: box.height / 2 };
  const tell = (kind) => canvas.dispatchEvent(new PointerEvent(kind, {
    pointerId: 1, isPrimary: true, bubbles: true, cancelable: true, button: 0, buttons: kind === "pointerup" ? 0 : 1,
    clientX: box.left + at.x, clientY: box.top + at.y,
  }));
  canvas.setPointerCapture = () => {};
  tell("pointerdown");
  const spent = [];
  for (let i = 0; i < steps; i += 1) {
    const before = seen.frames.length;
    const began = performance.now();
    at.x += (i < steps / 2 ? 1 : -1) * by;
    tell("pointermove");
    const handled = performance.now() - began;
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    spent.push(handled + seen.frames.slice(before).reduce((sum, [a, b]) => sum + b - a, 0));
  }
  tell("pointerup");
  return spent;
}
"""

# A click on the seat in the middle that the pointer finds free; answers how long until list, basket and map show it.
CHOOSE = """
async () => {
  const canvas = document.querySelector("canvas.seats");
  const box = canvas.getBoundingClientRect();
  const hint = document.querySelector(".map .hint");
  const rows = () => document.querySelectorAll(".basket li").length;
  const tell = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, {
    pointerId: 1, isPrimary: true, bubbles: true, cancelable: true, button: 0, clientX: box.left + x, clientY: box.top + y,
  }));
  canvas.setPointerCapture = () => {};
  const found = [];
  for (let i = 0; i < 4000 && found.length < 5; i += 1) {
    const [x, y] = [box.width * (0.2 + (i % 61) / 100), box.height * (0.2 + Math.floor(i / 61) / 100)];
    tell("pointermove", x, y);
    if (hint.hidden) continue;
    const [before, frames, began] = [rows(), seen.frames.length, performance.now()];
    tell("pointerdown", x, y);
    tell("pointerup", x, y);
    if (rows() <= before) continue;
    while (seen.frames.length === frames) await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    found.push(seen.frames.at(-1)[1] - began);
  }
  return found;
}
"""

PARSE = """
async () => {
  const { name } = performance.getEntriesByType("resource").find(({ name }) => name.includes("/layout"));
  const text = await (await fetch(name)).text();
  const began = performance.now();
  JSON.parse(text);
  return { layout_bytes: new Blob([text]).size, layout_parse_ms: performance.now() - began };
}
"""


def stadium(seats: int = SEATS) -> dict[str, Any]:
    """The areas and tiers of a bowl with exactly so many seats: rings of blocks around a stage, dearer in front."""
    blocks: list[dict[str, Any]] = []
    left, ring, inner = seats, 0, 24.0
    while left:
        rows_deep = 24
        count = max(8, round(2 * math.pi * inner * 0.75 / 18))
        for block in range(count):
            rows = []
            for depth in range(rows_deep):
                if not left:
                    break
                made = _row(ring, block, count, inner + depth * 0.9, left)
                left -= len(made)
                rows.append({"label": str(depth + 1), "positions": made, "seats": len(made)})
            if rows:
                blocks.append({"kind": "seated", "name": f"{'ABCDEFGH'[ring]}{block + 1}", "rows": rows})
        inner += rows_deep * 0.9 + 3
        ring += 1
    price = {block["name"]: _price(block["name"]) for block in blocks}
    return {
        "areas": blocks,
        "tiers": [{"name": "Adult", "area": name, "amount": amount} for name, amount in price.items()],
    }


def _row(ring: int, block: int, count: int, radius: float, at_most: int) -> list[list[float]]:
    # Three quarters of a circle, open behind the stage; a stair between two blocks.
    wide = 2 * math.pi * 0.75 / count
    begin = -0.75 * math.pi + block * wide + 0.7 / radius
    seats = min(at_most, int((wide * radius - 1.4) / 0.55))
    angles = (begin + (i + 0.5) * (wide - 1.4 / radius) / seats for i in range(seats))
    return [[round(radius * math.sin(angle), 2), round(12 + radius * math.cos(angle), 2)] for angle in angles]


def _price(name: str) -> int:
    return PRICES[min(len(PRICES) - 1, "ABCDEFGH".index(name[0]) * 2 + (int(name[1:]) % 3 == 0))]


@contextmanager
def serving() -> Iterator[tuple[str, str]]:
    """A `holdfast up` with a folder of its own, removed at the end: its address, and the owner's password."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-seatmap-"))
    folder.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = folder / "said"
    with said.open("wb") as out, (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "holdfast", "up", "--port", str(port), "--data", str(folder / "data")],
            cwd=ROOT, stdout=out, stderr=log, env=_environment(),
        )  # fmt: skip
    try:
        limit = time.monotonic() + READY_SECONDS_MAX
        while True:
            found = re.search(r"password (\S+)", said.read_text("utf-8"))
            if found and _answers(f"http://127.0.0.1:{port}/readyz"):
                break
            if time.monotonic() > limit or child.poll() is not None:
                raise SystemExit(f"holdfast up is not ready: {(folder / 'log').read_text('utf-8')[-2000:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", found[1]
    finally:
        child.terminate()
        child.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return {**kept, "HOLDFAST_RATE_LIMITS": "off", "PYTHONPATH": str(ROOT / "src")}


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def make_show(url: str, password: str, seats: int, taken: int = TAKEN_BOOKINGS) -> str:
    """The id of a new stadium on sale, of which so many bookings have a piece each."""
    client = httpx.Client(base_url=f"{url}/v1", timeout=60)
    signed = client.post(
        "/auth/token", json={"email": "owner@example.org", "password": password}
    ).raise_for_status()
    client.headers["Authorization"] = f"Bearer {signed.json()['access_token']}"
    body = {
        "name": "Stadium", "start_time": "2030-12-24T20:00:00+01:00", "currency": "EUR", "status": "on_sale",
        "orphans": "allow", "hold_seconds": 3600, "hold_seconds_max": 3600, **stadium(seats),
    }  # fmt: skip
    show = str(client.post("/shows", json=body).raise_for_status().json()["id"])
    blocks = body["areas"]
    for number in range(taken):
        block = blocks[number * 7 % len(blocks)]
        row = block["rows"][number * 5 % len(block["rows"])]
        count = min(SEATS_PER_BOOKING, row["seats"])
        first = number * 3 % (row["seats"] - count + 1)
        names = [f"{block['name']}:{row['label']}-{first + i + 1}" for i in range(count)]
        answer = httpx.post(f"{url}/v1/shows/{show}/bookings", json={"seats": names}, timeout=60)
        # Some seats were taken by an earlier one.
        if answer.status_code != httpx.codes.CONFLICT:
            answer.raise_for_status()
    return show


class Eye:
    """Looks at one page with one browser."""

    def __init__(self, browser: Browser, address: str, throttle: float, static: Path | None) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, device_scale_factor=1)
        self.page: Page = self.context.new_page()
        self.page.add_init_script(WATCH)
        if static is not None:
            self.page.route(re.compile(r"/static/[^/]+/shop/"), lambda route: _instead(route, static))
        self.context.new_cdp_session(self.page).send("Emulation.setCPUThrottlingRate", {"rate": throttle})
        self.page.goto(address)
        self.page.wait_for_selector("#choose canvas.seats", timeout=PATIENCE_MS)
        self.rest()

    def rest(self) -> None:
        """Waits until the map draws nothing more."""
        self.page.wait_for_function(
            "() => seen.frames.length && performance.now() - seen.frames.at(-1)[1] > 2500",
            timeout=PATIENCE_MS,
        )

    def measured(self) -> dict[str, float]:
        """Opens, moves far and near, chooses."""
        found: dict[str, float] = dict(self.page.evaluate(OPENED))
        found |= self.page.evaluate(PARSE)
        found |= self._dragged("far")
        self._closer()
        found |= self._dragged("near")
        found["choose_ms"] = median(self.page.evaluate(CHOOSE))
        self.context.close()
        return {name: round(value, 1) for name, value in found.items()}

    def _closer(self) -> None:
        # About seats of the middle, that the empty ground before the stage is not what is measured.
        self.page.locator("canvas.seats").scroll_into_view_if_needed()
        box = self.page.locator("canvas.seats").bounding_box()
        assert box is not None
        self.page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.85)
        self.rest()
        self.page.get_by_role("button", name="Closer").click()
        self.rest()

    def _dragged(self, where: str) -> dict[str, float]:
        # Once for what is not drawn yet, then over the same ground.
        new = self.page.evaluate(DRAG, {"steps": 60, "by": 12})
        self.rest()
        again = sorted(self.page.evaluate(DRAG, {"steps": 60, "by": 12}))
        return {
            f"{where}_new_frame_worst_ms": max(new),
            f"{where}_frame_ms": median(again),
            f"{where}_frame_p95_ms": again[len(again) * 95 // 100],
        }


def _instead(route: Route, static: Path) -> None:
    file = static / "shop" / route.request.url.rpartition("/")[2]
    media = {"js": "text/javascript", "css": "text/css"}[file.suffix[1:]]
    route.fulfill(body=file.read_text("utf-8"), content_type=media)


def wire_bytes(browser: Browser, address: str) -> dict[str, float]:
    """What the page's first view takes on the wire, headers included; the data of its seats apart."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    names: dict[str, str] = {}
    sizes: dict[str, float] = {}
    session.on(
        "Network.requestWillBeSent", lambda seen: names.update({seen["requestId"]: seen["request"]["url"]})
    )
    session.on(
        "Network.loadingFinished", lambda seen: sizes.update({seen["requestId"]: seen["encodedDataLength"]})
    )
    page.goto(address)
    page.wait_for_selector("#choose canvas.seats", timeout=PATIENCE_MS)
    page.wait_for_timeout(1000)
    context.close()
    data = {
        name: sum(size for key, size in sizes.items() if name in names[key])
        for name in ("/layout", "/availability")
    }
    return {
        "first_view_bytes": sum(sizes.values()) - sum(data.values()),
        "layout_wire_bytes": data["/layout"],
        "availability_wire_bytes": data["/availability"],
    }


def summary(runs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Median, least and greatest of each figure."""
    return {
        name: {"median": median(values), "least": min(values), "greatest": max(values)}
        for name in runs[0]
        if (values := [run[name] for run in runs])
    }


def measure(address: str, throttles: Sequence[float], repeats: int, against: Path | None) -> dict[str, Any]:
    """All figures of a page: by version of the scripts and throttling, interleaved (A B A B ...)."""
    versions: dict[str, Path | None] = {"this": None} | ({"against": against} if against else {})
    runs: dict[tuple[str, float], list[dict[str, float]]] = {}
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        wire = wire_bytes(browser, address)
        for _ in range(repeats):
            for throttle in throttles:
                for version, static in versions.items():
                    eye = Eye(browser, address, throttle, static)
                    runs.setdefault((version, throttle), []).append(eye.measured())
        browser.close()
    return {
        "wire": wire,
        "repeats": repeats,
        **{f"{version} at {throttle:g}x": summary(found) for (version, throttle), found in runs.items()},
    }


def main(
    seats: Annotated[int, typer.Option(help="How many seats the stadium has.")] = SEATS,
    throttle: Annotated[
        list[float] | None, typer.Option(help="How many times slower the processor is made.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="How often all is measured, in turns.")] = 3,
    at: Annotated[
        str, typer.Option(help="The page of seats to measure, instead of a stadium of its own.")
    ] = "",
    against: Annotated[Path | None, typer.Option(help="Another copy of web/static, to compare with.")] = None,
) -> None:
    """Measures the seat map and prints JSON, times in milliseconds."""
    with nullcontext(("", "")) if at else serving() as (url, password):
        address = at or f"{url}/shows/{make_show(url, password, seats)}/seats"
        typer.echo(json.dumps(measure(address, throttle or [1, 4], repeats, against), indent=2))


if __name__ == "__main__":
    typer.run(main)
