/**
 * Tickets at the door: one at a time, by finger, button or arrow key, on a screen that stays awake. What is shown is made
 * anew whenever the network can be reached, and kept for when it cannot.
 */

import { keep } from "./kept.js";

/** How often a copy asks for the truth. */
const AGAIN_MS = 15_000;

let door = /** @type {HTMLElement} */ (document.querySelector(".door"));
const address = door.dataset.door ?? "";
/** @type {{release(): Promise<void>} | null} */
let awake = null;
let asking = false;

const slides = () => /** @type {HTMLElement[]} */ ([...door.querySelectorAll(".slide")]);
const isCopy = () => Boolean(door.querySelector("[data-copy]"));

/** The slide that most of the screen shows. */
function current() {
  const strip = /** @type {HTMLElement} */ (door.querySelector(".slides"));
  const middle = strip.getBoundingClientRect().left + strip.clientWidth / 2;
  const off = (/** @type {HTMLElement} */ slide) => {
    const { left, width } = slide.getBoundingClientRect();
    return Math.abs(left + width / 2 - middle);
  };
  return slides().reduce((best, each) => (off(each) < off(best) ? each : best));
}

/** @param {HTMLElement | null | undefined} slide @param {boolean} [gently] */
function show(slide, gently = false) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  slide?.scrollIntoView({ behavior: gently && !calm ? "smooth" : "instant", block: "nearest", inline: "center" });
}

/** @param {number} step */
function turn(step) {
  const all = slides();
  const next = all[all.indexOf(current()) + step];
  if (!next) return;
  show(next, true);
  next.focus({ preventScroll: true });
}

async function refresh() {
  if (asking) return;
  asking = true;
  try {
    const page = await keep(address);
    const fresh = /** @type {HTMLElement | null} */ (page?.querySelector(".door") ?? null);
    if (!fresh) return;
    fresh.querySelector("[data-copy]")?.remove();
    fresh.removeAttribute("data-saved");
    door.removeAttribute("data-saved");
    if (fresh.outerHTML === door.outerHTML) return;
    const at = current().id;
    const focused = door.contains(document.activeElement);
    door.replaceWith(document.adoptNode(fresh));
    door = fresh;
    const slide = slides().find((each) => each.id === at);
    show(slide);
    if (focused) slide?.focus({ preventScroll: true });
  } catch {
    // There is no network: what is shown says from when it is, or is from just now.
  } finally {
    asking = false;
  }
}

async function stayAwake() {
  try {
    awake ??= await /** @type {any} */ (navigator).wakeLock?.request("screen");
    awake && /** @type {any} */ (awake).addEventListener("release", () => (awake = null), { once: true });
  } catch {
    // An empty battery, perhaps. The ticket is there all the same.
  }
}

document.addEventListener("click", (event) => {
  const link = /** @type {HTMLElement} */ (event.target).closest?.("a[data-turn]");
  if (!link) return;
  event.preventDefault();
  turn(Number(/** @type {HTMLElement} */ (link).dataset.turn));
});
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const step = { ArrowRight: 1, ArrowLeft: -1, PageDown: 1, PageUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  turn(event.key.startsWith("Arrow") && document.dir === "rtl" ? -step : step);
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  void stayAwake();
  void refresh();
});
addEventListener("online", () => void refresh());
setInterval(() => isCopy() && !document.hidden && void refresh(), AGAIN_MS);

// The ticket that the address names: behind the #, or of a page whose place the copy has taken.
const named = location.hash.slice(1) || `ticket-${/\/tickets\/(\d+)/.exec(location.pathname)?.[1] ?? ""}`;
show(slides().find((each) => each.id === named));
void stayAwake();
void refresh();
