/**
 * What hands do to a map: drag, pinch, wheel, click, keys. All points are CSS pixels from the element's upper left corner.
 *
 * @typedef {{x: number, y: number}} Point
 * @typedef {object} Moves
 * @property {(dx: number, dy: number) => void} pan
 * @property {(px: number, py: number, factor: number) => boolean} zoom  says whether it is nearer or further now
 * @property {(px: number, py: number, factor: number) => void} step  the same by one step of a key
 * @property {() => void} whole
 * @property {(px: number, py: number) => void} click
 * @property {(at: Point | null) => void} hover
 * @property {() => boolean} calm  whether nothing may move by itself
 */

/** A finger that moved less was meant to click. */
const CLICK_WITHIN = 8;
/** How far an arrow key moves, and how much + and - change. */
const KEY_STEP = 60;
const KEY_FACTOR = 1.5;
/** What was thrown slows down by this share in each millisecond, and stops below so many pixels in one. */
const FRICTION = 0.005;
const REST_BELOW = 0.04;
/** A finger that rested so long before it left threw nothing, in milliseconds. */
const THROWN_WITHIN = 60;
/** While the page is scrolled by a wheel, a map that comes under the pointer lets it pass, in milliseconds. */
const PASSING = 250;

/**
 * Tells `moves` what hands do to the element.
 * @param {HTMLElement} element
 * @param {Moves} moves
 */
export function follow(element, moves) {
  /** @type {Map<number, Point>} */
  const fingers = new Map();
  let moved = 0;
  let speed = { x: 0, y: 0, at: 0 };
  let rolling = 0;
  let scrolledAt = -Infinity;

  const stop = () => {
    cancelAnimationFrame(rolling);
    rolling = 0;
  };

  const roll = () => {
    let { x, y, at } = speed;
    const next = (/** @type {number} */ now) => {
      const passed = Math.min(50, Math.max(0, now - at));
      at = now;
      moves.pan(x * passed, y * passed);
      const rest = Math.exp(-FRICTION * passed);
      x *= rest;
      y *= rest;
      rolling = Math.hypot(x, y) > REST_BELOW ? requestAnimationFrame(next) : 0;
    };
    rolling = requestAnimationFrame(next);
  };

  addEventListener("scroll", () => (scrolledAt = performance.now()), { passive: true });

  element.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && performance.now() - scrolledAt < PASSING) return;
    stop();
    // Lines and pages of old mice are worth as much as so many pixels; a pinch on a pad comes as a wheel with Ctrl.
    const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1);
    const zoomed = moves.zoom(event.offsetX, event.offsetY, Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0018)));
    // At the end of the map the wheel turns the page again.
    if (zoomed || event.ctrlKey) event.preventDefault();
  }, { passive: false });

  element.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    element.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    // Who stops what was thrown did not mean to click on it.
    moved = fingers.size > 1 || rolling ? Infinity : 0;
    speed = { x: 0, y: 0, at: event.timeStamp };
    stop();
  });

  element.addEventListener("pointermove", (event) => {
    const after = { x: event.offsetX, y: event.offsetY };
    const before = fingers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") moves.hover(after);
      return;
    }
    fingers.set(event.pointerId, after);
    const [dx, dy] = [after.x - before.x, after.y - before.y];
    if (fingers.size === 1) {
      moved += Math.hypot(dx, dy);
      const passed = Math.max(1, event.timeStamp - speed.at);
      speed = { x: (speed.x + dx / passed) / 2, y: (speed.y + dy / passed) / 2, at: event.timeStamp };
      if (moved >= CLICK_WITHIN) moves.pan(dx, dy);
      return;
    }
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) return;
    moves.zoom((after.x + other.x) / 2, (after.y + other.y) / 2, apart(after, other) / Math.max(1, apart(before, other)));
    moves.pan(dx / 2, dy / 2);
  });

  element.addEventListener("pointerup", (event) => {
    if (!fingers.delete(event.pointerId) || fingers.size) return;
    if (moved < CLICK_WITHIN) moves.click(event.offsetX, event.offsetY);
    else if (event.pointerType === "touch" && moved < Infinity && event.timeStamp - speed.at < THROWN_WITHIN && !moves.calm()) roll();
  });
  element.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  element.addEventListener("pointerleave", () => moves.hover(null));

  element.addEventListener("keydown", (event) => {
    // With these the browser itself zooms or goes back.
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [x, y] = [element.clientWidth / 2, element.clientHeight / 2];
    if (event.key === "ArrowLeft") moves.pan(KEY_STEP, 0);
    else if (event.key === "ArrowRight") moves.pan(-KEY_STEP, 0);
    else if (event.key === "ArrowUp") moves.pan(0, KEY_STEP);
    else if (event.key === "ArrowDown") moves.pan(0, -KEY_STEP);
    else if (event.key === "+" || event.key === "=") moves.step(x, y, KEY_FACTOR);
    else if (event.key === "-") moves.step(x, y, 1 / KEY_FACTOR);
    else if (event.key === "0") moves.whole();
    else return;
    stop();
    event.preventDefault();
  });
}

/** @param {Point} a @param {Point} b */
function apart(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
