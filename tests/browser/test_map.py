"""The seat map: what it paints and when, what it finds under a pointer, and fifty thousand seats on a slow processor."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from bench.seatmap import stadium
from tests.browser.conftest import Visit
from tests.cli.running import Up

# What may be on its way for longer on a busy machine; a bound, not a measure.
PATIENCE_MS = 60_000
TEXTS = {"stage": "Stage", "left": "{n} left", "sold_out": "Sold out", "free_of_charge": "Free"}
TIERS = [
    {"id": 1, "name": "Adult", "area": "Front", "amount": 5000},
    {"id": 2, "name": "Adult", "area": "Back", "amount": 3000},
]

# A map of its own on a page of ours, and what tests ask of it.
MAP = """
async ({ layout, tiers, texts }) => {
  const base = document.querySelector("link[rel=stylesheet]").href.replace("shop.css", "");
  const [{ Seats }, { SeatMap }, { Words }] = await Promise.all(["seats", "map", "words"].map((name) => import(`${base}${name}.js`)));
  document.body.innerHTML = '<div class="map"><canvas class="seats"></canvas><canvas class="small"></canvas></div>';
  const [canvas, small] = document.querySelectorAll("canvas");
  const seats = new Seats(layout, tiers);
  seats.reset({ revision: 1, areas: [], taken: "", blocked: "" });
  const map = new SeatMap(canvas, seats, new Words(texts, "en", "EUR", 2), small);
  const frame = () => new Promise((done) => requestAnimationFrame(() => done()));
  const rest = async () => {
    for (let before = -1, quiet = 0; quiet < 4; quiet = map.done.frames === before ? quiet + 1 : 0) {
      before = map.done.frames;
      await frame();
    }
  };
  const around = (seat, half) => {
    const { x, y } = map.placeOf(seat);
    const by = canvas.width / canvas.getBoundingClientRect().width;
    const size = Math.round(half * 2 * by);
    return [...map.context.getImageData(Math.round((x - half) * by), Math.round((y - half) * by), size, size).data];
  };
  const drag = (dx, dy) => {
    const box = canvas.getBoundingClientRect();
    const tell = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, {
      pointerId: 1, isPrimary: true, bubbles: true, button: 0, clientX: box.left + x, clientY: box.top + y,
    }));
    canvas.setPointerCapture = () => {};
    tell("pointerdown", 300, 200);
    tell("pointermove", 310, 200);
    tell("pointermove", 300 + dx, 200 + dy);
    tell("pointerup", 300 + dx, 200 + dy);
  };
  Object.assign(globalThis, { map, seats, canvas, rest, around, drag });
  await rest();
}
"""


def layout(*, blocks: int = 1, rows: int = 12, seats: int = 30) -> dict[str, Any]:
    """Two areas behind one another, each of so many blocks beside one another."""
    areas: list[dict[str, Any]] = []
    first = 0
    for number, name in enumerate(("Front", "Back"), 1):
        made = []
        for block in range(blocks):
            for row in range(rows):
                made.append(
                    {
                        "label": f"{block}.{row}",
                        "first": first,
                        "numbers": [str(seat + 1) for seat in range(seats)],
                        "xs": [block * (seats * 0.55 + 6) + seat * 0.55 for seat in range(seats)],
                        "ys": [3 + (number - 1) * (rows * 0.9 + 6) + row * 0.9] * seats,
                        "access": ["wheelchair", "companion", *([None] * (seats - 2))],
                    }
                )
                first += seats
        areas.append(
            {"id": number, "name": name, "kind": "seated", "capacity": blocks * rows * seats, "rows": made}
        )
    return {"total_seats": first, "capacity": first, "focal": [8.0, 0.0], "areas": areas}


@pytest.fixture
def plan(visit: Visit) -> Callable[..., Page]:
    """`plan(layout, **options)`: a page with nothing but the map of it."""

    def opened(of: dict[str, Any], **options: Any) -> Page:
        page = visit("/", **options)
        page.evaluate(MAP, {"layout": of, "tiers": TIERS, "texts": TEXTS})
        return page

    return opened


def test_areas_come_first_and_seats_when_one_is_near(plan: Callable[..., Page]) -> None:
    page = plan(layout(blocks=8, rows=60, seats=60))
    # From afar not one seat of 57,600 was painted, and no picture was made for them.
    afar = page.evaluate(
        "({ ...map.painted, marks: performance.getEntriesByType('mark').map(({ name }) => name) })"
    )
    assert (afar["seats"], afar["kept"]) == (0, 0)
    assert afar["marks"] == ["map-areas"]
    names = page.evaluate(
        "(async () => { map.showArea(0); await rest(); map.showSeat(0); await rest();"
        " return performance.getEntriesByType('mark').sort((a, b) => a.startTime - b.startTime).map(({ name }) => name); })()"
    )
    assert names == ["map-areas", "map-seats"]
    near = page.evaluate("map.painted")
    assert 0 < near["seats"] < 57_600


def test_a_map_that_moves_copies_what_it_has_and_keeps_so_much_of_it(plan: Callable[..., Page]) -> None:
    page = plan(layout(blocks=8, rows=60, seats=60), device_scale_factor=3)
    before, after, kept = page.evaluate(
        """async () => {
          map.showSeat(5000); await rest();
          drag(40, 0); await rest(); drag(-40, 0); await rest();
          const before = map.painted;
          for (const by of [30, -50, 20]) { drag(by, 0); await rest(); }
          const after = map.painted;
          let kept = 0;
          for (let i = 0; i < 25; i += 1) { drag(-800, i % 5 ? 0 : -500); await rest(); kept = Math.max(kept, map.painted.kept); }
          return [before, after, kept];
        }"""
    )
    assert after["frames"] > before["frames"]
    assert (after["tiles"], after["seats"]) == (before["tiles"], before["seats"])
    # 1280 by 630 pixels of CSS show 24 tiles at most, and twice as many are kept.
    assert kept <= 48


def test_finds_the_seat_under_the_pointer_at_every_zoom(plan: Callable[..., Page]) -> None:
    page = plan(layout())
    wrong = page.evaluate(
        """async () => {
          const wrong = [];
          for (const factor of [1, 1.37, 2.2, 4.1]) {
            map.whole(); await rest(); map.zoom(factor); await rest();
            for (let seat = 0; seat < seats.count; seat += 17) {
              const { x, y } = map.placeOf(seat);
              if (map.seatAt(x + 1, y - 1) !== seat) wrong.push([factor, seat]);
            }
          }
          map.whole(); await rest();
          const { x, y } = map.placeOf(seats.areas[1].rows[5].first);
          return [wrong, map.areaAt(x, y), map.areaAt(1, 1), map.seatAt(1, 1)];
        }"""
    )
    assert wrong == [[], 1, None, None]


def test_states_are_told_apart_without_their_colours(plan: Callable[..., Page]) -> None:
    page = plan(layout(), device_scale_factor=2)
    shapes, inks = page.evaluate(
        """async () => {
          seats.reset({ revision: 2, areas: [], taken: btoa(String.fromCharCode(0, 4)), blocked: btoa(String.fromCharCode(0, 16)) });
          seats.toggle(8);
          map.showSeat(6); await rest();
          // free, taken, chosen, blocked, wheelchair, companion: which pixels are not the floor, whatever their colour
          const shape = (seat) => {
            const data = around(seat, 10);
            return data.filter((_, at) => at % 4 === 0).map((red, at) => (red === data[0] && data[at * 4 + 1] === data[1] ? "." : "#")).join("");
          };
          const ink = (seat) => around(seat, 10).join();
          const asked = [6, 10, 8, 12];
          return [asked.map(shape), [6, 0, 1].map(ink)];
        }"""
    )
    assert len(set(shapes)) == 4
    assert len(set(inks)) == 3
    text = page.evaluate("new Set([6, 10, 8, 12].map((seat) => map.words.state(seats, seat))).size")
    assert text == 4


def test_is_as_sharp_as_what_was_painted(plan: Callable[..., Page]) -> None:
    page = plan(layout(), device_scale_factor=2)
    same = page.evaluate(
        """async () => {
          map.showSeat(40); await rest();
          // Dragged by parts of pixels, the very same pixels stand elsewhere.
          const look = () => {
            const { x, y } = map.placeOf(40);
            const found = [];
            for (let dx = -2; dx <= 2; dx += 1) for (let dy = -2; dy <= 2; dy += 1)
              found.push(map.context.getImageData(Math.round(x * 2) + dx - 16, Math.round(y * 2) + dy - 16, 32, 32).data.join());
            return found;
          };
          const before = look();
          const same = [];
          for (const by of [7.3, 20.45, -11.8]) { drag(by, by / 3); await rest(); same.push(look().includes(before[12])); }
          return same;
        }"""
    )
    assert same == [True, True, True]


def test_repaints_what_changed_and_no_more(plan: Callable[..., Page]) -> None:
    page = plan(layout())
    seen = page.evaluate(
        """async () => {
          map.showSeat(100); await rest();
          const look = () => [around(100, 7).join(), around(110, 7).join(), map.painted.tiles];
          const steps = [look()];
          seats.apply({ revision: 2, taken: [100], freed: [], areas: [] }); await rest();
          steps.push(look());
          seats.toggle(110); await rest();
          steps.push(look());
          map.filter((seat) => seats.access.has(seat)); await rest();
          steps.push(look());
          map.filter((seat) => seats.price(seat) === 5000); await rest();
          steps.push(look());
          return steps;
        }"""
    )
    fresh, sold, chosen, accessible, priced = seen
    # Somebody took it: it looks otherwise, its neighbour does not, and one tile was painted anew, or two beside an edge.
    assert sold[0] != fresh[0]
    assert sold[1] == fresh[1]
    assert 1 <= sold[2] - fresh[2] <= 4
    # To choose is instant: no tile is painted for it.
    assert chosen[1] != sold[1]
    assert chosen[2] == sold[2]
    wanted = page.evaluate(
        """async () => {
          seats.toggle(110); await rest();
          const plain = around(110, 7).join();
          map.filter((seat) => seats.access.has(seat)); await rest();
          const pale = around(110, 7).join();
          map.filter((seat) => seats.price(seat) === 3000); await rest();
          return [plain, pale, around(110, 7).join()];
        }"""
    )
    assert wanted[0] == fresh[1]
    assert wanted[1] == wanted[2] != wanted[0]
    assert accessible[0] == priced[0] == sold[0]


def test_minds_the_visitors_colours_motion_and_keys(plan: Callable[..., Page]) -> None:
    page = plan(layout(), reduced_motion="reduce")
    grounds = []
    for media in ({"color_scheme": "light"}, {"color_scheme": "dark"}, {"forced_colors": "active"}):
        page.emulate_media(**media)  # type: ignore[arg-type]
        page.evaluate("rest()")
        grounds.append(tuple(page.evaluate("[...map.context.getImageData(2, 2, 1, 1).data]")))
    assert grounds[0] != grounds[1]
    jumped = page.evaluate(
        "(() => { const before = map.placeOf(50).x; map.zoom(2); return map.placeOf(50).x !== before; })()"
    )
    assert jumped
    moves = page.evaluate(
        """() => ["ArrowLeft", "+", "0"].map((key) => [false, true].map((ctrlKey) => {
          const event = new KeyboardEvent("keydown", { key, ctrlKey, cancelable: true });
          canvas.dispatchEvent(event);
          return event.defaultPrevented;
        }))"""
    )
    # With Ctrl they are the browser's: who cannot read zooms the page.
    assert moves == [[True, False]] * 3
    page.evaluate("document.documentElement.dir = 'rtl'; document.documentElement.style.fontSize = '32px'")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_fifty_thousand_seats_are_chosen_and_claimed_on_a_slow_processor(visit: Visit, shop: Up) -> None:
    show = shop.make_show(name="Stadium", currency="EUR", status="on_sale", **stadium())
    assert show["total_seats"] == 50_000
    page = visit("/")
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 4})
    page.goto(f"/shows/{show['id']}/seats")
    canvas = page.locator("#choose canvas.seats")
    expect(canvas).to_be_visible(timeout=PATIENCE_MS)
    page.wait_for_function("() => performance.getEntriesByName('map-areas').length", timeout=PATIENCE_MS)
    assert page.evaluate("performance.getEntriesByName('map-seats').length") == 0
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.75
    hint = page.locator(".map .hint")
    # A click leads to the section, a second one chooses.
    page.mouse.move(x, y)
    expect(hint).to_contain_text("left", timeout=PATIENCE_MS)
    page.mouse.click(x, y)
    page.wait_for_function("() => performance.getEntriesByName('map-seats').length", timeout=PATIENCE_MS)
    for step in range(60):
        page.mouse.move(x + step % 8 * 5, y + step // 8 * 5)
        if hint.is_visible() and "free" in hint.inner_text():
            page.mouse.click(x + step % 8 * 5, y + step // 8 * 5)
            break
    expect(page.locator(".basket li")).to_have_count(1, timeout=PATIENCE_MS)
    page.get_by_role("button", name="Take these seats").click()
    page.wait_for_url(re.compile(r"/shows/[^/]+/bookings/"), timeout=PATIENCE_MS)
    shown = shop.get(f"/v1/shows/{show['id']}").json()
    assert shown["total_seats"] - shown["available_seats"] == 1
