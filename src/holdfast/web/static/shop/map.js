/**
 * The seat map: one canvas, no dependency. What was drawn once is kept in tiles, so that moving the map is copying
 * pictures; a seat that changes draws its own tile anew. Far away sections are named and lead closer when they are
 * clicked; near, each seat says its number. Free, chosen and taken differ in shape, not in colour alone.
 */

import { follow } from "./gestures.js";
import { NUMBERS_FROM, Painter, RADIUS, SHAPES_FROM } from "./paint.js";

/** @typedef {import("./seats.js").Seats} Seats */
/** @typedef {{x: number, y: number, scale: number}} View  The world's point in the upper left corner, and pixels per metre. */
/** @typedef {{canvas: HTMLCanvasElement, stale: boolean, used: number}} Tile */

/** Edge of a tile in CSS pixels, and how many are kept: at two device pixels each, some 100 MB. */
const TILE = 256;
const TILES_MAX = 96;
/** While seats are smaller than a finger could want to hit, a click leads closer instead. */
const CHOOSE_FROM = 3.5;
const SCALE_MAX = 120;
/** New tiles may take so long in one frame, in milliseconds; what is missing follows in the next. */
const BUDGET = 6;
/** The height of an area's name and of what is left in it, in CSS pixels. */
const LABEL = 44;
/** On narrower maps the names of areas leave out the price, which the legend and the list have. */
const NARROW = 560;
/** The longer edge of the picture in small, and of the one in the corner, in pixels. */
const OVERVIEW = 1024;
const SMALL = 120;
/** In a rush seats change all the time; the picture in small follows so often, in milliseconds. */
const OVERVIEW_EVERY = 1000;

/** @typedef {import("./words.js").Words} Words */

export class SeatMap extends EventTarget {
  /** @type {Map<string, Tile>} */
  #tiles = new Map();
  #frame = 0;
  #later = 0;
  #clock = 0;
  /** @type {View} */
  #view = { x: 0, y: 0, scale: 1 };
  /** The scale that the newest tiles were drawn for: while it changes, older ones are stretched. */
  #drawnScale = 0;
  #settled = 0;
  #least = 1;
  #width = 1;
  #height = 1;
  #ratio = 1;
  /** @type {HTMLCanvasElement} */
  #overview = document.createElement("canvas");
  #corner = document.createElement("canvas");
  #overviewStale = true;
  #overviewAt = -Infinity;
  /** @type {number | null} */
  #marked = null;
  #painter;
  /** How long the script of the last frame took, in milliseconds, and whether it drew tiles. */
  lastFrame = { ms: 0, tiles: 0 };

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
    this.#painter = new Painter(seats, words);
    this.#painter.readColours(canvas);
    seats.addEventListener("change", (event) => this.#changed(/** @type {CustomEvent} */ (event).detail));
    new ResizeObserver(() => this.#resized()).observe(canvas);
    for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)", "(forced-colors: active)"]) {
      matchMedia(query).addEventListener("change", () => this.repaint());
    }
    this.#listen();
    this.#resized();
    this.whole();
  }

  /** Shows the whole plan. */
  whole() {
    const [left, top, right, bottom] = this.#stageAnd(this.seats.box);
    this.#fit(left, top, right, bottom);
  }

  /** Shows one area as large as it fits. @param {number} index */
  showArea(index) {
    const [left, top, right, bottom] = this.seats.areas[index].box;
    this.#fit(left, top, right, bottom, Math.max(this.#least, (CHOOSE_FROM + 1) / RADIUS));
  }

  /** Brings a seat into the middle, near enough to be read. @param {number} seat */
  showSeat(seat) {
    const scale = Math.max(this.#view.scale, NUMBERS_FROM / RADIUS);
    this.#moveTo(
      this.seats.xs[seat] - this.#width / scale / 2,
      this.seats.ys[seat] - this.#height / scale / 2,
      scale,
    );
  }

  /** Puts a ring around the seat that somebody stands at in the list, and brings it into sight. @param {number | null} seat */
  mark(seat) {
    this.#marked = seat;
    if (seat !== null) {
      const { x, y } = this.placeOf(seat);
      if (x < 0 || y < 0 || x > this.#width || y > this.#height || this.#radius < CHOOSE_FROM) this.showSeat(seat);
    }
    this.#draw();
  }

  /** Zooms about the middle. @param {number} factor */
  zoom(factor) {
    this.#zoomAt(this.#width / 2, this.#height / 2, factor);
  }

  /** Shows seats that are not wanted paler. @param {(seat: number) => boolean} wanted */
  filter(wanted) {
    this.#painter.wanted = wanted;
    this.repaint();
  }

  /** Draws everything anew: other colours, another filter. */
  repaint() {
    this.#painter.readColours(this.canvas);
    this.#anew();
    this.#draw();
  }

  #anew() {
    this.#tiles.clear();
    this.#overviewStale = true;
    this.#overviewAt = -Infinity;
  }

  /** The seat under a point of the canvas in CSS pixels; null when there is none. @param {number} px @param {number} py */
  seatAt(px, py) {
    const x = this.#view.x + px / this.#view.scale;
    const y = this.#view.y + py / this.#view.scale;
    const reach = Math.max(RADIUS * 1.25, 12 / this.#view.scale);
    let best = null;
    let nearest = reach * reach;
    for (const row of this.seats.rows) {
      if (x < row.left - reach || x > row.right + reach || y < row.top - reach || y > row.bottom + reach) continue;
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

  /** The area under a point of the canvas, by its index; null when there is none. @param {number} px @param {number} py */
  areaAt(px, py) {
    const x = this.#view.x + px / this.#view.scale;
    const y = this.#view.y + py / this.#view.scale;
    let found = -1;
    let least = Infinity;
    // Boxes around a floor lie around its own box: the smaller one is meant.
    this.seats.areas.forEach(({ box: [left, top, right, bottom] }, index) => {
      const size = (right - left) * (bottom - top);
      if (x < left || x > right || y < top || y > bottom || size >= least) return;
      least = size;
      found = index;
    });
    return found < 0 ? null : found;
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

  /** @param {[number, number, number, number]} box @returns {[number, number, number, number]} */
  #stageAnd([left, top, right, bottom]) {
    const [x, y] = this.seats.focal;
    return [Math.min(left, x - 3) - 1, Math.min(top, y - 1) - 1, Math.max(right, x + 3) + 1, Math.max(bottom, y) + 1];
  }

  /** @param {number} left @param {number} top @param {number} right @param {number} bottom @param {number} [atLeast] */
  #fit(left, top, right, bottom, atLeast = 0) {
    const fitting = Math.min(this.#width / (right - left), this.#height / (bottom - top));
    const scale = Math.min(SCALE_MAX, Math.max(fitting, atLeast));
    this.#moveTo((left + right - this.#width / scale) / 2, (top + bottom - this.#height / scale) / 2, scale);
  }

  /** @param {number} x @param {number} y @param {number} scale */
  #moveTo(x, y, scale) {
    const [left, top, right, bottom] = this.#stageAnd(this.seats.box);
    this.#least = Math.min(this.#width / (right - left), this.#height / (bottom - top));
    scale = Math.min(SCALE_MAX, Math.max(this.#least * 0.8, scale));
    // The plan cannot be pushed out of sight: its middle stays within reach of the canvas.
    const [wide, high] = [this.#width / scale, this.#height / scale];
    x = Math.min(right - wide * 0.25, Math.max(left - wide * 0.75, x));
    y = Math.min(bottom - high * 0.25, Math.max(top - high * 0.75, y));
    if (scale !== this.#view.scale) this.#settled = performance.now() + 90;
    this.#view = { x, y, scale };
    // While all of the plan is in sight there is nothing to drag up or down: a finger turns the page.
    const touch = scale <= this.#least * 1.05 ? "pan-y" : "none";
    if (this.canvas.style.touchAction !== touch) this.canvas.style.touchAction = touch;
    this.dispatchEvent(new Event("move"));
    this.#draw();
  }

  /** Says whether the scale is another now. @param {number} px @param {number} py @param {number} factor */
  #zoomAt(px, py, factor) {
    const { x, y, scale } = this.#view;
    const next = Math.min(SCALE_MAX, Math.max(this.#least * 0.8, scale * factor));
    if (next === scale) return false;
    this.#moveTo(x + px / scale - px / next, y + py / scale - py / next, next);
    return true;
  }

  #resized() {
    const box = this.canvas.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const first = this.#width === 1;
    this.#ratio = Math.min(3, devicePixelRatio || 1);
    this.#width = box.width;
    this.#height = box.height;
    this.canvas.width = Math.round(box.width * this.#ratio);
    this.canvas.height = Math.round(box.height * this.#ratio);
    this.#anew();
    if (first) this.whole();
    this.#draw();
  }

  /** @param {number[]} changed */
  #changed(changed) {
    if (changed.length) this.#overviewStale = true;
    if (changed.length > 2000) {
      for (const tile of this.#tiles.values()) tile.stale = true;
    } else {
      for (const [key, tile] of this.#tiles) {
        const [scale, i, j] = key.split(":").map(Number);
        const edge = TILE / scale;
        const around = RADIUS * 2;
        tile.stale ||= changed.some((seat) => {
          const x = this.seats.xs[seat];
          const y = this.seats.ys[seat];
          return x > i * edge - around && x < (i + 1) * edge + around && y > j * edge - around && y < (j + 1) * edge + around;
        });
      }
    }
    this.#draw();
  }

  #draw() {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    this.#frame = 0;
    const began = performance.now();
    this.#clock += 1;
    const { x, y, scale } = this.#view;
    const { context } = this;
    context.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    context.fillStyle = this.#painter.colours["map-ground"];
    context.fillRect(0, 0, this.#width, this.#height);
    // While somebody zooms, what there is is stretched; sharp tiles follow when the hand rests.
    const resting = began >= this.#settled;
    const tiles = resting || !this.#drawnScale ? scale : this.#drawnScale;
    if (tiles === scale) this.#drawnScale = scale;
    const edge = TILE / tiles;
    /** @type {[Tile, number, number][]} */
    const shown = [];
    // A frame that made the picture in small shows that; sharp tiles are the next one's.
    const renewed = this.#renewOverview();
    let drawn = renewed ? 1 : 0;
    let missing = !resting;
    let gaps = false;
    for (let j = Math.floor(y / edge); j * edge < y + this.#height / scale; j += 1) {
      for (let i = Math.floor(x / edge); i * edge < x + this.#width / scale; i += 1) {
        const key = `${tiles}:${i}:${j}`;
        let tile = this.#tiles.get(key);
        if ((!tile || tile.stale) && tiles === scale) {
          if (drawn && (renewed || performance.now() - began > BUDGET)) missing = true;
          else {
            tile = this.#tile(key, i, j, edge, tile);
            drawn += 1;
          }
        }
        if (!tile) gaps = true;
        else shown.push([tile, (i * edge - x) * scale, (j * edge - y) * scale]);
      }
    }
    if (gaps) this.#paintOverview();
    for (const [tile, left, top] of shown) {
      tile.used = this.#clock;
      context.drawImage(tile.canvas, left, top, edge * scale, edge * scale);
    }
    this.#paintAreas();
    this.#paintMark();
    this.#paintSmall();
    if (drawn) this.#forget();
    this.lastFrame = { ms: performance.now() - began, tiles: drawn };
    if (missing) this.#draw();
    else if (this.#overviewStale && !this.#later) {
      this.#later = window.setTimeout(() => {
        this.#later = 0;
        this.#draw();
      }, OVERVIEW_EVERY);
    }
  }

  /** Throws away the tiles that were not shown for longest. */
  #forget() {
    if (this.#tiles.size <= TILES_MAX) return;
    const oldest = [...this.#tiles].sort(([, a], [, b]) => a.used - b.used);
    for (const [key] of oldest.slice(0, this.#tiles.size - TILES_MAX)) this.#tiles.delete(key);
  }

  /** @param {string} key @param {number} i @param {number} j @param {number} edge @param {Tile | undefined} tile */
  #tile(key, i, j, edge, tile) {
    const size = Math.round(TILE * this.#ratio);
    const canvas = tile?.canvas ?? document.createElement("canvas");
    canvas.width = canvas.height = size;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const scale = (TILE / edge) * this.#ratio;
    context.setTransform(scale, 0, 0, scale, -i * edge * scale, -j * edge * scale);
    this.#painter.paint(context, scale, this.#ratio, [i * edge, j * edge, (i + 1) * edge, (j + 1) * edge]);
    const made = { canvas, stale: false, used: this.#clock };
    this.#tiles.set(key, made);
    return made;
  }

  /** The names of the areas, and what is left in them, while their seats are too small to be told apart. */
  #paintAreas() {
    const { context } = this;
    context.textAlign = "center";
    context.textBaseline = "middle";
    /** @type {[number, number, number, number][]} */
    const placed = [];
    for (const area of this.seats.areas) {
      if (area.seated && this.#radius >= SHAPES_FROM) continue;
      const left_ = this.words.text("left", { n: area.left });
      const lines = [area.name, this.#width < NARROW ? left_ : `${this.words.price(area)} · ${left_}`];
      const wide = 12 + Math.max(lines[0].length * 9, lines[1].length * 6.6);
      const spot = this.#spot(area, wide, placed);
      if (!spot) continue;
      placed.push(spot);
      const [left, top] = spot;
      context.globalAlpha = 0.92;
      context.fillStyle = this.#painter.colours["map-ground"];
      context.beginPath();
      context.roundRect(left, top, wide, LABEL, 6);
      context.fill();
      context.globalAlpha = 1;
      context.fillStyle = this.#painter.colours["map-text"];
      context.font = "600 15px system-ui, sans-serif";
      context.fillText(lines[0], left + wide / 2, top + 13, wide - 8);
      context.font = "13px system-ui, sans-serif";
      context.fillText(lines[1], left + wide / 2, top + 32, wide - 8);
    }
  }

  /**
   * Where the name of an area stands: on it, not on another's; null where there is no room.
   * @param {import("./seats.js").Area} area @param {number} wide @param {[number, number, number, number][]} placed
   * @returns {[number, number, number, number] | null}
   */
  #spot(area, wide, placed) {
    const { x, y, scale } = this.#view;
    for (const [across, down] of area.spots) {
      const middle = Math.min(this.#width - wide / 2 - 2, Math.max(wide / 2 + 2, (across - x) * scale));
      const centre = (down - y) * scale;
      if (Math.abs(middle - (across - x) * scale) > wide / 2 || centre < 0 || centre > this.#height) continue;
      /** @type {[number, number, number, number]} */
      const spot = [middle - wide / 2, centre - LABEL / 2, middle + wide / 2, centre + LABEL / 2];
      if (placed.every(([left, top, right, bottom]) => spot[2] < left || spot[0] > right || spot[3] < top || spot[1] > bottom)) return spot;
    }
    return null;
  }

  #paintMark() {
    if (this.#marked === null) return;
    const { x, y } = this.placeOf(this.#marked);
    this.context.strokeStyle = this.#painter.colours["seat-chosen"];
    this.context.lineWidth = 3;
    this.context.beginPath();
    this.context.arc(x, y, this.#radius * 1.5 + 2, 0, Math.PI * 2);
    this.context.stroke();
  }

  /** A small picture of everything: what is shown where no sharp tile is yet, and in the corner. */
  #renewOverview() {
    if (!this.#overviewStale || performance.now() - this.#overviewAt < OVERVIEW_EVERY) return false;
    const [left, top, right, bottom] = this.#stageAnd(this.seats.box);
    this.#overviewStale = false;
    this.#overviewAt = performance.now();
    const scale = Math.min(OVERVIEW / (right - left), OVERVIEW / (bottom - top));
    const canvas = this.#overview;
    canvas.width = Math.max(1, Math.round((right - left) * scale));
    canvas.height = Math.max(1, Math.round((bottom - top) * scale));
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
    context.setTransform(scale, 0, 0, scale, -left * scale, -top * scale);
    this.#painter.paintSmall(context, scale, [left, top, right, bottom]);
    // The corner has its own, so that a frame copies as many points as it shows.
    this.#corner.width = SMALL * 2;
    this.#corner.height = Math.round(Math.min(SMALL * 2, (SMALL * 2 * (bottom - top)) / (right - left)));
    /** @type {CanvasRenderingContext2D} */ (this.#corner.getContext("2d")).drawImage(canvas, 0, 0, this.#corner.width, this.#corner.height);
    return true;
  }

  #paintOverview() {
    const [left, top, right, bottom] = this.#stageAnd(this.seats.box);
    const { x, y, scale } = this.#view;
    this.context.drawImage(this.#overview, (left - x) * scale, (top - y) * scale, (right - left) * scale, (bottom - top) * scale);
  }

  #paintSmall() {
    const { small } = this;
    if (!small) return;
    const [left, top, right, bottom] = this.#stageAnd(this.seats.box);
    const shown = this.#view.scale > this.#least * 1.3;
    if (small.hidden === shown) small.hidden = !shown;
    if (!shown) return;
    if (small.width !== this.#corner.width || small.height !== this.#corner.height) {
      small.width = this.#corner.width;
      small.height = this.#corner.height;
    }
    const context = /** @type {CanvasRenderingContext2D} */ (small.getContext("2d"));
    context.clearRect(0, 0, small.width, small.height);
    context.drawImage(this.#corner, 0, 0);
    const across = small.width / (right - left);
    const down = small.height / (bottom - top);
    context.strokeStyle = this.#painter.colours["seat-chosen"];
    context.lineWidth = 4;
    context.strokeRect(
      (this.#view.x - left) * across, (this.#view.y - top) * down,
      (this.#width / this.#view.scale) * across, (this.#height / this.#view.scale) * down,
    );
  }

  #listen() {
    follow(this.canvas, {
      pan: (dx, dy) => {
        const { x, y, scale } = this.#view;
        this.#moveTo(x - dx / scale, y - dy / scale, scale);
      },
      zoom: (px, py, factor) => this.#zoomAt(px, py, factor),
      whole: () => this.whole(),
      click: (px, py) => this.#clicked(px, py),
      hover: (at) => {
        const seat = at && this.#radius >= CHOOSE_FROM ? this.seatAt(at.x, at.y) : null;
        this.dispatchEvent(new CustomEvent("hover", { detail: seat }));
      },
    });
  }

  /** @param {number} px @param {number} py */
  #clicked(px, py) {
    if (this.#radius < CHOOSE_FROM) {
      const index = this.areaAt(px, py);
      const area = index === null ? null : this.seats.areas[index];
      if (area && !area.seated) this.dispatchEvent(new CustomEvent("area", { detail: index }));
      else this.#zoomAt(px, py, Math.max(2, (CHOOSE_FROM + 1.5) / this.#radius));
      return;
    }
    const seat = this.seatAt(px, py);
    if (seat !== null) this.dispatchEvent(new CustomEvent("pick", { detail: seat }));
    else {
      const index = this.areaAt(px, py);
      if (index !== null && !this.seats.areas[index].seated) this.dispatchEvent(new CustomEvent("area", { detail: index }));
    }
  }
}
