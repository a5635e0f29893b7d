/**
 * The seat map: one canvas, no dependency. From afar areas are coloured shapes that say their name, price and what is left,
 * and lead closer when they are clicked; near, each seat says its number. Seats are kept in tiles, so that moving the map is
 * copying pictures; what somebody chooses is painted on top, at once.
 */

import { follow } from "./gestures.js";
import { font, Labels } from "./labels.js";
import { nearness, NUMBERS_FROM, Painter, RADIUS } from "./paint.js";
import { CHOSEN, FREE } from "./seats.js";
import { Tiles } from "./tiles.js";

/** @typedef {import("./seats.js").Seats} Seats */
/** @typedef {import("./words.js").Words} Words */
/** @typedef {import("./paint.js").Box} Box */
/** @typedef {{x: number, y: number, scale: number}} View  The world's point in the upper left corner, and CSS pixels per metre. */

/** While seats are smaller than a mouse or a finger could want to hit, a click leads closer instead: radii in CSS pixels. */
const CHOOSE_FROM = 3.5;
const TOUCH_FROM = 8.5;
const SCALE_MAX = 120;
/** New tiles may take so long in one frame, in milliseconds; what is missing follows in the next. */
const BUDGET = 5;
/** After the scale changed by hand, sharp tiles are painted when the hand has rested so long, in milliseconds. */
const SETTLE = 90;
/** How long the map takes to come closer, in milliseconds. */
const GLIDE = 240;
/** The longer edge of the picture in the corner, in CSS pixels. */
const SMALL = 120;
/** Who points at the stair between two areas means one of them: where it is looked for, in CSS pixels. */
const NEARBY = [[0, 0], [0, 9], [0, -9], [9, 0], [-9, 0]];
/** So many changes at once are a new picture. */
const MANY = 2000;

/** Has the typefaces of the map at hand before there is anything to write. @param {Words} words */
export function warm(words) {
  const probe = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
  for (const size of [15, 13]) {
    probe.font = font(size, size === 15);
    probe.fillText(`${words.money(100)} ${words.text("stage")}`, 0, 0);
  }
}

export class SeatMap extends EventTarget {
  #frame = 0;
  /** @type {View} */
  #view = { x: 0, y: 0, scale: 1 };
  /** Where the map is gliding to. @type {{from: View, to: View, began: number} | null} */
  #glide = null;
  #settled = 0;
  #least = 1;
  #width = 1;
  #height = 1;
  #ratio = 1;
  /** How much larger than usual the visitor reads. */
  #text = 1;
  #corner = document.createElement("canvas");
  #cornerStale = true;
  /** @type {number | null} */
  #marked = null;
  #painter;
  #tiles;
  #labels;
  /** The state that tiles show of each seat. */
  #shown;
  #still = matchMedia("(prefers-reduced-motion: reduce)");
  #coarse = matchMedia("(pointer: coarse)");
  /** How long the script of the last frame took, in milliseconds, and how many tiles it painted. */
  lastFrame = { ms: 0, tiles: 0 };
  /** What was painted since the beginning. */
  done = { frames: 0, tiles: 0, cached: 0 };

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Seats} seats
   * @param {Words} words
   * @param {HTMLCanvasElement | null} [small] the map in small, with a frame around what is shown
   */
  constructor(canvas, seats, words, small = null) {
    super();
    this.canvas = canvas;
    this.seats = seats;
    this.words = words;
    this.small = small;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    this.#shown = seats.state.slice();
    this.#painter = new Painter(seats);
    this.#labels = new Labels(this.#painter, seats, words);
    this.#tiles = new Tiles(this.#painter, seats);
    seats.addEventListener("change", (event) => this.#changed(/** @type {CustomEvent} */ (event).detail));
    new ResizeObserver(() => this.#resized()).observe(canvas);
    for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)", "(forced-colors: active)"]) {
      matchMedia(query).addEventListener("change", () => this.repaint());
    }
    this.#painter.readColours(canvas);
    this.#listen();
    this.#resized();
  }

  /** How many seats and tiles were painted so far, and how many tiles are kept. */
  get painted() {
    return { ...this.done, seats: this.#painter.painted, kept: this.#tiles.kept };
  }

  /** Shows the whole plan. */
  whole() {
    this.#go(this.#fitting(this.#plan));
  }

  /** Shows one area as large as it fits. @param {number} index */
  showArea(index) {
    this.#go(this.#fitting(this.seats.areas[index].box, (this.#chooseFrom + 0.5) / RADIUS));
  }

  /** Brings a seat into the middle, near enough to be read. @param {number} seat */
  showSeat(seat) {
    const scale = Math.max(this.#aim.scale, (NUMBERS_FROM + 1) / RADIUS);
    this.#go(this.#about(this.seats.xs[seat], this.seats.ys[seat], scale));
  }

  /** Puts a ring around the seat that somebody stands at in the list, and brings it into sight. @param {number | null} seat */
  mark(seat) {
    this.#marked = seat;
    if (seat !== null) {
      const { x, y, scale } = this.#aim;
      const [across, down] = [(this.seats.xs[seat] - x) * scale, (this.seats.ys[seat] - y) * scale];
      if (across < 0 || down < 0 || across > this.#width || down > this.#height || scale * RADIUS < CHOOSE_FROM) this.showSeat(seat);
    }
    this.#draw();
  }

  /** Zooms about the middle. @param {number} factor */
  zoom(factor) {
    this.#go(this.#zoomed(this.#width / 2, this.#height / 2, factor));
  }

  /** Shows seats that are not wanted paler. @param {(seat: number) => boolean} wanted */
  filter(wanted) {
    this.#painter.filter(wanted);
    this.repaint();
  }

  /** Draws everything anew: other colours, another filter. */
  repaint() {
    this.#painter.readColours(this.canvas);
    this.#tiles.clear();
    this.#cornerStale = true;
    this.#draw();
  }

  /** The seat under a point of the canvas in CSS pixels; null when there is none. @param {number} px @param {number} py */
  seatAt(px, py) {
    const x = this.#view.x + px / this.#view.scale;
    const y = this.#view.y + py / this.#view.scale;
    const reach = Math.max(RADIUS * 1.25, 12 / this.#view.scale);
    let best = null;
    let nearest = reach * reach;
    for (const row of this.#painter.rowsIn([x - reach, y - reach, x + reach, y + reach])) {
      for (let seat = row.first; seat < row.first + row.count; seat += 1) {
        const dx = this.seats.xs[seat] - x;
        const dy = this.seats.ys[seat] - y;
        const distance = dx * dx + dy * dy;
        if (distance < nearest) {
          nearest = distance;
          best = seat;
        }
      }
    }
    return best;
  }

  /** The area under a point of the canvas or right beside it, by its index; null when there is none. @param {number} px @param {number} py */
  areaAt(px, py) {
    for (const [dx, dy] of NEARBY) {
      const found = this.#painter.areaAt(this.#view.x + (px + dx) / this.#view.scale, this.#view.y + (py + dy) / this.#view.scale);
      if (found !== null) return found;
    }
    return null;
  }

  /** Where a seat stands on the canvas, in CSS pixels. @param {number} seat */
  placeOf(seat) {
    return {
      x: (this.seats.xs[seat] - this.#view.x) * this.#view.scale,
      y: (this.seats.ys[seat] - this.#view.y) * this.#view.scale,
    };
  }

  get #radius() {
    return this.#view.scale * RADIUS;
  }

  get #chooseFrom() {
    return this.#coarse.matches ? TOUCH_FROM : CHOOSE_FROM;
  }

  /** Where the map is, or is going to be. */
  get #aim() {
    return this.#glide?.to ?? this.#view;
  }

  /** The stage, beyond the point that all look at: small in a small house, large in a stadium. @returns {Box} */
  get #stage() {
    const [x, y] = this.seats.focal;
    const half = Math.min(12, Math.max(3, (this.seats.box[2] - this.seats.box[0]) * 0.07));
    return [x - half, y - 0.2 - half * 0.4, x + half, y - 0.2];
  }

  /** All there is to see. @returns {Box} */
  get #plan() {
    const [left, top, right, bottom] = this.seats.box;
    const stage = this.#stage;
    const rim = Math.max(1, (right - left) * 0.02);
    return [Math.min(left, stage[0]) - rim, Math.min(top, stage[1]) - rim, Math.max(right, stage[2]) + rim, Math.max(bottom, stage[3]) + rim];
  }

  /** @param {Box} box @param {number} [atLeast] the least scale */
  #fitting([left, top, right, bottom], atLeast = 0) {
    const fitting = Math.min(this.#width / (right - left), this.#height / (bottom - top));
    return this.#about((left + right) / 2, (top + bottom) / 2, Math.max(fitting, atLeast));
  }

  /** @param {number} x @param {number} y @param {number} scale */
  #about(x, y, scale) {
    const within = this.#bounded(scale);
    return this.#kept({ x: x - this.#width / within / 2, y: y - this.#height / within / 2, scale: within });
  }

  /** @param {number} scale */
  #bounded(scale) {
    return Math.min(SCALE_MAX, Math.max(this.#least * 0.8, scale));
  }

  /** The plan cannot be pushed out of sight: its middle stays within reach of the canvas. @param {View} view @returns {View} */
  #kept({ x, y, scale }) {
    const [left, top, right, bottom] = this.#plan;
    const [wide, high] = [this.#width / scale, this.#height / scale];
    return {
      x: Math.min(right - wide * 0.25, Math.max(left - wide * 0.75, x)),
      y: Math.min(bottom - high * 0.25, Math.max(top - high * 0.75, y)),
      scale,
    };
  }

  /** @param {number} px @param {number} py @param {number} factor */
  #zoomed(px, py, factor) {
    const { x, y, scale } = this.#aim;
    const next = this.#bounded(scale * factor);
    return this.#kept({ x: x + px / scale - px / next, y: y + py / scale - py / next, scale: next });
  }

  /** Glides there; at once for who wants no motion. @param {View} to */
  #go(to) {
    if (this.#still.matches || !this.done.frames) {
      this.#move(to);
      return;
    }
    this.#glide = { from: this.#view, to, began: performance.now() };
    this.#draw();
  }

  /** @param {View} view */
  #move(view) {
    this.#glide = null;
    this.#place(view);
  }

  /** @param {View} view */
  #place(view) {
    if (view.scale !== this.#view.scale && !this.#glide) this.#settled = performance.now() + SETTLE;
    this.#view = view;
    // While all of the plan is in sight there is nothing to drag up or down: a finger turns the page.
    const touch = this.#aim.scale <= this.#least * 1.05 ? "pan-y" : "none";
    if (this.canvas.style.touchAction !== touch) this.canvas.style.touchAction = touch;
    this.dispatchEvent(new Event("move"));
    this.#draw();
  }

  #resized() {
    const box = this.canvas.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const middle = { x: this.#view.x + this.#width / this.#view.scale / 2, y: this.#view.y + this.#height / this.#view.scale / 2 };
    const whole = !this.done.frames || this.#view.scale <= this.#least * 1.05;
    this.#ratio = Math.min(3, devicePixelRatio || 1);
    this.#width = box.width;
    this.#height = box.height;
    this.#text = Math.max(1, parseFloat(getComputedStyle(document.documentElement).fontSize) / 16);
    this.canvas.width = Math.round(box.width * this.#ratio);
    this.canvas.height = Math.round(box.height * this.#ratio);
    const [left, top, right, bottom] = this.#plan;
    this.#least = Math.min(this.#width / (right - left), this.#height / (bottom - top));
    this.#tiles.clear(this.#ratio);
    this.#move(whole ? this.#fitting(this.#plan) : this.#about(middle.x, middle.y, this.#view.scale));
    this.#settled = 0;
    // What was there is gone with the old size: paint within the same frame.
    if (this.done.frames) this.#paint();
  }

  /** @param {number[]} changed */
  #changed(changed) {
    /** @type {number[]} */
    const others = [];
    for (const seat of changed) {
      const state = this.seats.state[seat] === CHOSEN ? FREE : this.seats.state[seat];
      if (state === this.#shown[seat]) continue;
      this.#shown[seat] = state;
      others.push(seat);
    }
    this.#cornerStale = true;
    if (others.length > MANY) this.#tiles.clear();
    else this.#tiles.change(others);
    this.#draw();
  }

  #draw() {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const began = performance.now();
    this.#advance(began);
    const { scale } = this.#view;
    const { context } = this;
    const ratio = this.#ratio;
    const near = nearness(this.#radius);
    // In whole pixels of the screen, so that tiles are copied as they are.
    const left = Math.round(this.#view.x * scale * ratio);
    const top = Math.round(this.#view.y * scale * ratio);
    const { width, height } = this.canvas;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = this.#painter.colours["map-ground"];
    context.fillRect(0, 0, width, height);
    context.setTransform(scale * ratio, 0, 0, scale * ratio, -left, -top);
    this.#painter.stage(context, this.#stage, this.words.text("stage"), scale);
    const { x, y } = this.#view;
    this.#painter.areas(context, near, [x, y, x + this.#width / scale, y + this.#height / scale]);
    let drawn = { painted: 0, missing: false };
    // The first frame has the areas alone: it comes before any seat is painted.
    if (near > 0 && this.done.frames) {
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.globalAlpha = near;
      const until = this.#glide || began < this.#settled ? null : began + BUDGET;
      drawn = this.#tiles.draw(context, { left, top, wide: width, high: height, scale: scale * ratio }, until);
      context.globalAlpha = 1;
    } else if (near > 0) drawn.missing = true;
    if (this.seats.chosen.size) {
      context.setTransform(scale * ratio, 0, 0, scale * ratio, -left, -top);
      this.#painter.chosen(context, scale);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#labels.paint(context, { x, y, scale, width: this.#width, height: this.#height }, this.#text);
    this.#paintMark();
    this.#paintSmall();
    this.#note(began, drawn.painted, drawn.missing);
    if (drawn.missing || this.#glide) this.#draw();
  }

  /** @param {number} began @param {number} tiles @param {boolean} missing */
  #note(began, tiles, missing) {
    if (!this.done.frames) performance.mark("map-areas");
    if (tiles && !this.done.tiles) performance.mark("map-seats");
    this.done.frames += 1;
    this.done.tiles += tiles;
    if (!tiles && !missing) this.done.cached += 1;
    this.lastFrame = { ms: performance.now() - began, tiles };
  }

  /** Comes closer to where the map is gliding. @param {number} now */
  #advance(now) {
    if (!this.#glide) return;
    const { from, to, began } = this.#glide;
    const share = Math.min(1, Math.max(0, (now - began) / GLIDE));
    if (share === 1) {
      this.#move(to);
      this.#settled = 0;
      return;
    }
    const eased = 1 - (1 - share) ** 3;
    const scale = from.scale * (to.scale / from.scale) ** eased;
    // As much of the way as of the change of scale, so that the point that both have in common stays where it is.
    const part = to.scale === from.scale ? eased : (1 / from.scale - 1 / scale) / (1 / from.scale - 1 / to.scale);
    this.#place({ x: from.x + (to.x - from.x) * part, y: from.y + (to.y - from.y) * part, scale });
  }

  #paintMark() {
    if (this.#marked === null) return;
    const { x, y } = this.placeOf(this.#marked);
    const { colours } = this.#painter;
    for (const [colour, width] of /** @type {[string, number][]} */ ([[colours["map-ground"], 6], [colours["map-text"], 3]])) {
      this.context.strokeStyle = colour;
      this.context.lineWidth = width;
      this.context.beginPath();
      this.context.arc(x, y, this.#radius * 1.5 + 3, 0, Math.PI * 2);
      this.context.stroke();
    }
  }

  #renewCorner() {
    const [left, top, right, bottom] = this.#plan;
    const scale = (SMALL * 2) / Math.max(right - left, bottom - top);
    this.#cornerStale = false;
    this.#corner.width = Math.round((right - left) * scale);
    this.#corner.height = Math.round((bottom - top) * scale);
    const context = /** @type {CanvasRenderingContext2D} */ (this.#corner.getContext("2d"));
    context.setTransform(scale, 0, 0, scale, -left * scale, -top * scale);
    this.#painter.stage(context, this.#stage, "", 0);
    this.#painter.areas(context, 0, this.#plan);
  }

  #paintSmall() {
    const { small } = this;
    if (!small) return;
    const [left, top, right, bottom] = this.#plan;
    const shown = this.#view.scale > this.#least * 1.3;
    if (small.hidden === shown) small.hidden = !shown;
    if (!shown) return;
    if (this.#cornerStale) this.#renewCorner();
    if (small.width !== this.#corner.width || small.height !== this.#corner.height) {
      small.width = this.#corner.width;
      small.height = this.#corner.height;
      small.style.width = `${small.width / 2}px`;
    }
    const context = /** @type {CanvasRenderingContext2D} */ (small.getContext("2d"));
    context.clearRect(0, 0, small.width, small.height);
    context.drawImage(this.#corner, 0, 0);
    const scale = small.width / (right - left);
    const { x, y } = this.#view;
    const { colours } = this.#painter;
    for (const [colour, width] of /** @type {[string, number][]} */ ([[colours["map-ground"], 8], [colours["map-text"], 4]])) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect((x - left) * scale, (y - top) * scale, (this.#width / this.#view.scale) * scale, (this.#height / this.#view.scale) * scale);
    }
  }

  #listen() {
    follow(this.canvas, {
      pan: (dx, dy) => {
        const { x, y, scale } = this.#glide ? this.#aim : this.#view;
        this.#move(this.#kept({ x: x - dx / scale, y: y - dy / scale, scale }));
      },
      zoom: (px, py, factor) => {
        const next = this.#zoomed(px, py, factor);
        const changes = next.scale !== this.#view.scale;
        if (changes) this.#move(next);
        return changes;
      },
      step: (px, py, factor) => this.#go(this.#zoomed(px, py, factor)),
      whole: () => this.whole(),
      click: (px, py) => this.#clicked(px, py),
      hover: (at) => {
        const near = this.#radius >= CHOOSE_FROM;
        const seat = at && !this.#glide && near ? this.seatAt(at.x, at.y) : null;
        const area = at && !this.#glide && !near ? this.areaAt(at.x, at.y) : null;
        const cursor = seat !== null || area !== null ? "pointer" : "";
        if (this.canvas.style.cursor !== cursor) this.canvas.style.cursor = cursor;
        this.dispatchEvent(new CustomEvent("hover", { detail: seat }));
        if (area !== null && at) this.dispatchEvent(new CustomEvent("over", { detail: { area, at } }));
      },
      calm: () => this.#still.matches,
    });
    this.small?.addEventListener("click", (event) => {
      const [left, top, right] = this.#plan;
      const scale = /** @type {HTMLCanvasElement} */ (this.small).clientWidth / (right - left);
      this.#go(this.#about(left + event.offsetX / scale, top + event.offsetY / scale, this.#view.scale));
    });
  }

  /** @param {number} px @param {number} py */
  #clicked(px, py) {
    if (this.#glide) return;
    const index = this.areaAt(px, py);
    const area = index === null ? null : this.seats.areas[index];
    if (area && !area.seated) {
      this.dispatchEvent(new CustomEvent("area", { detail: index }));
      return;
    }
    const from = this.#chooseFrom;
    if (this.#radius >= from) {
      const seat = this.seatAt(px, py);
      if (seat !== null) this.dispatchEvent(new CustomEvent("pick", { detail: seat }));
    } else if (area) this.#approach(px, py, area, (from + 1) / RADIUS);
    else this.#go(this.#zoomed(px, py, 2));
  }

  /** Comes as close to an area as it fits, or closer, so that its seats can be hit; then what was clicked on stays in sight. @param {number} px @param {number} py @param {import("./seats.js").Area} area @param {number} atLeast */
  #approach(px, py, { box: [left, top, right, bottom] }, atLeast) {
    const { x, y, scale } = this.#view;
    const next = this.#bounded(Math.max(atLeast, Math.min(this.#width / (right - left + 2), this.#height / (bottom - top + 2))));
    /** @param {number} at @param {number} least @param {number} most @param {number} seen */
    const middle = (at, least, most, seen) =>
      seen >= most - least ? (least + most) / 2 : Math.min(most - seen / 2, Math.max(least + seen / 2, at));
    this.#go(this.#about(
      middle(x + px / scale, left - 1, right + 1, this.#width / next),
      middle(y + py / scale, top - 1, bottom + 1, this.#height / next),
      next,
    ));
  }
}
