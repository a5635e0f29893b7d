"""What is looked at on every screen: axe-core's opinion, whether everything fits, and whether its picture is still true.

Pictures stand in docs/pictures, and beside them, in texts.json, what the pages say on them. `./holdfast pictures` takes
them anew; every other run compares the texts, so that a page that says something else needs a new picture.
"""

import json
import os
import re
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
TEXTS = PICTURES / "texts.json"
AXE = ROOT / ".holdfast" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
# Whether this run takes pictures.
TAKES = os.environ.get("PICTURES") == "take"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
DESKTOP, PHONE, NARROW = (1280, 800), (390, 844), (320, 640)
HIGHEST = 1700
COLOURS = 64
WIDEST = 1000
# What differs from day to day and from booking to booking.
CHANGING = (
    (re.compile(r"\b[0-9A-HJKMNP-TV-Z]{8}\b"), "0"),
    (re.compile(r"\d+:\d\d\b(?! [AP]M)"), "0:00"),
    (re.compile(r"\d[\d.,]*(?= (?:free|left|days?|hours?|minutes?|seconds?)\b)"), "0"),
    (re.compile(r"\b[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}\b"), "0"),
)

OPINION = """async (tags) => {
  const found = await axe.run({ runOnly: { type: "tag", values: tags }, resultTypes: ["violations"] });
  return found.violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 160)} (${node.failureSummary})`));
}"""
# What sticks out of the window, or is cut off within the page.
TOO_WIDE = """() => {
  const found = [];
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > wide) {
    for (const each of document.querySelectorAll("body *")) {
      const box = each.getBoundingClientRect();
      if (box.width && (box.right > wide + 1 || box.left < -1)) found.push(`sticks out: ${each.outerHTML.slice(0, 120)}`);
    }
    if (!found.length) found.push("something sticks out");
  }
  for (const each of document.querySelectorAll("main *")) {
    const style = getComputedStyle(each);
    if (!["hidden", "clip"].includes(style.overflowX) || each.matches(".unseen, .map, .map *, .progress, .card") || !each.textContent.trim()) continue;
    if (each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 0) found.push(`cut off: ${each.outerHTML.slice(0, 120)}`);
  }
  return found.slice(0, 5);
}"""

# What moves although nothing should: two animations of the stylesheet only wait.
MOVING = """() => document.getAnimations().map((each) => each.animationName ?? each.transitionProperty)
  .filter((name) => !["stand-back", "keep-room"].includes(name)).map((name) => `moves: ${name}`)"""

# Pictures further down, which load when somebody comes near.
LOADED = """() => Promise.all([...document.images].map((image) => { image.loading = "eager"; return image.decode().catch(() => {}); }))"""


def picture(page: Page, name: str, *, whole: bool = True, dark: bool = False) -> None:
    """Looks at the page at every size, and takes its picture or compares it. Scripts have to run: axe-core is one.

    `whole`: on a phone, too, with what has to be scrolled to; `dark`: a picture of that, too.
    """
    size = page.viewport_size
    page.evaluate(LOADED)
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    faults = [*page.evaluate(MOVING), *_in_size(page, DESKTOP, opinion=True)]
    _keep(page, name, whole=whole, dark=dark)
    page.evaluate("() => { document.documentElement.style.fontSize = '200%'; }")
    faults += [f"twice the text, {fault}" for fault in page.evaluate(TOO_WIDE)]
    page.evaluate(
        "() => { document.documentElement.style.fontSize = ''; document.documentElement.dir = 'rtl'; }"
    )
    faults += [f"right to left, {fault}" for fault in page.evaluate(TOO_WIDE)]
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    faults += [f"right to left on a phone, {fault}" for fault in page.evaluate(TOO_WIDE)]
    page.evaluate("() => { document.documentElement.dir = 'ltr'; }")
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    faults += [f"dark, {fault}" for fault in _in_size(page, PHONE, opinion=True)]
    faults += _in_size(page, NARROW, opinion=False)
    page.emulate_media()
    if size is not None:
        page.set_viewport_size(size)
    assert faults == [], f"{name}: {faults}"


def _in_size(page: Page, size: tuple[int, int], *, opinion: bool) -> list[str]:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    found = [f"{size[0]} wide, {fault}" for fault in page.evaluate(TOO_WIDE)]
    if opinion and (axe := _axe()):
        # The protocol of the browser, unlike a script element, is not bound by the policy of the page.
        if not page.evaluate("() => 'axe' in window"):
            page.evaluate(axe)
        found += [f"{size[0]} wide, {fault}" for fault in page.evaluate(OPINION, WCAG)]
    return found


@cache
def _axe() -> str:
    """The text of axe-core; empty where npm could not be reached, which a test of its own tells."""
    return AXE.read_text("utf-8") if AXE.exists() else ""


def _keep(page: Page, name: str, *, whole: bool, dark: bool) -> None:
    text = page.evaluate("() => document.querySelector('main').innerText")
    for pattern, instead in CHANGING:
        text = pattern.sub(instead, text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    known = texts()
    if TAKES:
        for scheme in ("light", "dark") if dark else ("light",):
            for size, ending in ((DESKTOP, ""), (PHONE, "-phone")):
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                page.set_viewport_size({"width": size[0], "height": size[1]})
                shade = "-dark" if scheme == "dark" else ""
                _take(page, PICTURES / f"{name}{shade}{ending}.png", size, whole=whole or size == DESKTOP)
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
        known[name] = lines
        TEXTS.write_text(json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")
        return
    assert known.get(name) == lines, (
        f"{name} says something else than its picture, ./holdfast pictures: {lines}"
    )


def texts() -> dict[str, Any]:
    """What stands on the pages of the pictures, by name, line by line."""
    return dict(json.loads(TEXTS.read_text("utf-8"))) if TEXTS.exists() else {}


def _take(page: Page, path: Path, size: tuple[int, int], *, whole: bool) -> None:
    path.parent.mkdir(exist_ok=True)
    taken = Image.open(BytesIO(page.screenshot(full_page=whole))).convert("RGB")
    # Taken twice as sharp, so that it stays legible when it is made smaller.
    height = min(taken.height * size[0] // taken.width, HIGHEST)
    taken = taken.crop((0, 0, taken.width, height * taken.width // size[0]))
    wide = min(size[0], WIDEST)
    taken = taken.resize((wide, height * wide // size[0]), Image.Resampling.LANCZOS)
    taken.quantize(COLOURS, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)
