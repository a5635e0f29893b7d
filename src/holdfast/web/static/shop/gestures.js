/**
 * What hands do to a map: drag, pinch, wheel, click, keys. All points are CSS pixels from the element's upper left corner.
 *
 * @typedef {{x: number, y: number}} Point
 * @typedef {object} Moves
 * @property {(dx: number, dy: number) => void} pan
 * @property {(px: number, py: number, factor: number) => boolean} zoom  says whether it is nearer or further now
 * @property {() => void} whole
 * @property {(px: number, py: number) => void} click
 * @property {(at: Point | null) => void} hover
 */

/** A finger that moved less was meant to click. */
const CLICK_WITHIN = 8;
/** How far an arrow key moves, and how much + and - change. */
const KEY_STEP = 60;
const KEY_FACTOR = 1.5;

/**
 * Tells `moves` what hands do to the element.
 * @param {HTMLElement} element
 * @param {Moves} moves
 */
export function follow(element, moves) {
  /** @type {Map<number, Point>} */
  const fingers = new Map();
  let moved = 0;

  element.addEventListener("wheel", (event) => {
    // Lines and pages of old mice are worth as much as so many pixels; a pinch on a pad comes as a wheel with Ctrl.
    const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1);
    const zoomed = moves.zoom(event.offsetX, event.offsetY, Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0018)));
    // At the end of the map the wheel turns the page again.
    if (zoomed || event.ctrlKey) event.preventDefault();
  }, { passive: false });

  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    moved = fingers.size > 1 ? Infinity : 0;
  });

  element.addEventListener("pointermove", (event) => {
    const after = { x: event.offsetX, y: event.offsetY };
    const before = fingers.get(event.pointerId);
    if (!before) {
      moves.hover(after);
      return;
    }
    fingers.set(event.pointerId, after);
    const [dx, dy] = [after.x - before.x, after.y - before.y];
    if (fingers.size === 1) {
      moved += Math.hypot(dx, dy);
      if (moved >= CLICK_WITHIN) moves.pan(dx, dy);
      return;
    }
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) return;
    moves.zoom((after.x + other.x) / 2, (after.y + other.y) / 2, apart(after, other) / Math.max(1, apart(before, other)));
    moves.pan(dx / 2, dy / 2);
  });

  element.addEventListener("pointerup", (event) => {
    if (fingers.delete(event.pointerId) && !fingers.size && moved < CLICK_WITHIN) moves.click(event.offsetX, event.offsetY);
  });
  element.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  element.addEventListener("pointerleave", () => moves.hover(null));

  element.addEventListener("keydown", (event) => {
    const box = element.getBoundingClientRect();
    const [x, y] = [box.width / 2, box.height / 2];
    if (event.key === "ArrowLeft") moves.pan(KEY_STEP, 0);
    else if (event.key === "ArrowRight") moves.pan(-KEY_STEP, 0);
    else if (event.key === "ArrowUp") moves.pan(0, KEY_STEP);
    else if (event.key === "ArrowDown") moves.pan(0, -KEY_STEP);
    else if (event.key === "+" || event.key === "=") moves.zoom(x, y, KEY_FACTOR);
    else if (event.key === "-") moves.zoom(x, y, 1 / KEY_FACTOR);
    else if (event.key === "0") moves.whole();
    else return;
    event.preventDefault();
  });
}

/** @param {Point} a @param {Point} b */
function apart(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
