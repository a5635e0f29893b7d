/**
 * How the plan looks: areas as shapes in the colour of their price, seats each state in a shape of its own, so that none is
 * told by its colour alone. Sizes are metres; the context is scaled before.
 */

import { outline } from "./outline.js";
import { BLOCKED, CHOSEN, FREE, TAKEN } from "./seats.js";

/** @typedef {import("./seats.js").Seats} Seats */
/** @typedef {import("./seats.js").Area} Area */
/** @typedef {import("./seats.js").Row} Row */
/** @typedef {[number, number, number, number]} Box  left, top, right, bottom */
/** @typedef {"free" | "pale" | "gone"} Look  of an area: to be had, not wanted, sold out */

/** The half width of a seat in metres; neighbours stand half a metre apart. */
export const RADIUS = 0.21;
/** From these radii in CSS pixels on seats are seen at all, are shapes, and carry their numbers. */
export const SEATS_FROM = 1.25;
export const SHAPES_FROM = 3;
export const NUMBERS_FROM = 8;
/** Within so many times SEATS_FROM seats take the place of the coloured shapes. */
const FADE = 1.5;
const COLOURS = 8;
/** More than there are colours, plain and pale. */
const LOOKS = 32;
/** How much is left of what is free but not wanted. */
const PALE = 0.25;
/** An area reaches so far beyond the middles of its outermost seats, in metres. */
const RIM = 0.55;
/** The name of a row stands so far from the middle of its last seat, in metres. */
const ROW_NAME = 0.44;
const NAMES = ["map-ground", "map-area", "map-line", "map-text", "seat-taken", "seat-chosen", "seat-on-chosen", "seat-on"];

/** Which of the colours `--seat-1` to `--seat-8` a price has, as the legend shows it. @param {Seats} seats @param {number} amount */
export function colourOf(seats, amount) {
  return (Math.max(0, seats.prices.indexOf(amount)) % COLOURS) + 1;
}

/** How far seats have taken the place of the coloured shapes: 0 to 1. @param {number} radius of a seat in CSS pixels */
export function nearness(radius) {
  return Math.min(1, Math.max(0, (radius / SEATS_FROM - 1) / (FADE - 1)));
}

export class Painter {
  /** What the stylesheet says. @type {Record<string, string>} */
  colours = {};
  /** Which seats are shown as to be had; the others stay, paler. @type {(seat: number) => boolean} */
  wanted = () => true;
  /** Around each area. @type {Path2D[]} */
  shapes;
  /** How many seats were painted so far. */
  painted = 0;

  /** @type {Record<string, number[]>} */
  #rgb = {};
  #probe = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d", { willReadFrequently: true }));
  /** Colour of each area's price. @type {number[]} */
  #priced;
  /** Whether anything of an area is wanted. @type {boolean[]} */
  #wantedAreas;

  /** @param {Seats} seats */
  constructor(seats) {
    this.seats = seats;
    this.shapes = seats.areas.map((area) => outline(seats, area));
    this.#priced = seats.areas.map((area) => colourOf(seats, area.price));
    this.#wantedAreas = seats.areas.map(() => true);
  }

  /** @param {(seat: number) => boolean} wanted */
  filter(wanted) {
    this.wanted = wanted;
    this.#wantedAreas = this.seats.areas.map(({ rows }) =>
      !rows.length || rows.some(({ first, count }) => {
        for (let seat = first; seat < first + count; seat += 1) if (wanted(seat)) return true;
        return false;
      }));
  }

  /** Takes the colours that hold for an element now. @param {Element} element */
  readColours(element) {
    const style = getComputedStyle(element);
    const names = [...NAMES, ...Array.from({ length: COLOURS }, (_, i) => `seat-${i + 1}`)];
    this.#probe.canvas.width = names.length;
    names.forEach((name, at) => {
      this.colours[name] = style.getPropertyValue(`--${name}`).trim() || "#888";
      this.#probe.fillStyle = this.colours[name];
      this.#probe.fillRect(at, 0, 1, 1);
    });
    const { data } = this.#probe.getImageData(0, 0, names.length, 1);
    names.forEach((name, at) => (this.#rgb[name] = [...data.subarray(at * 4, at * 4 + 3)]));
  }

  /** How an area looks as a whole. @param {number} index @returns {Look} */
  look(index) {
    return !this.seats.areas[index].left ? "gone" : this.#wantedAreas[index] ? "free" : "pale";
  }

  /** The colour that the text on an area has from afar. @param {number} index */
  textOn(index) {
    return this.#readableOn(this.#floor(index));
  }

  /** What an area is filled with from afar. @param {number} index */
  #floor(index) {
    const look = this.look(index);
    return look === "gone" ? this.#rgb["map-line"] : this.#mixed("map-area", `seat-${this.#priced[index]}`, look === "pale" ? PALE : 1);
  }

  /** Of the colours for text the one that is told best from what is behind it. @param {number[]} behind */
  #readableOn(behind) {
    const away = (/** @type {string} */ name) => Math.abs(brightness(this.#rgb[name]) - brightness(behind));
    return this.colours[["map-text", "map-ground", "seat-on"].reduce((best, name) => (away(name) > away(best) ? name : best))];
  }

  /**
   * The stage, and the areas as coloured shapes, which become the floor under the seats when one comes near.
   * @param {CanvasRenderingContext2D} context
   * @param {number} near 0 to 1, of `nearness`
   * @param {Box} box what is seen
   */
  areas(context, near, [left, top, right, bottom]) {
    context.lineWidth = RIM * 2;
    context.lineJoin = context.lineCap = "round";
    this.seats.areas.forEach((area, index) => {
      const [areaLeft, areaTop, areaRight, areaBottom] = area.box;
      if (areaLeft > right + RIM || areaRight < left - RIM || areaTop > bottom + RIM || areaBottom < top - RIM) return;
      const colour = mixed(this.#floor(index), this.#rgb["map-area"], area.seated ? near : 0);
      context.fillStyle = context.strokeStyle = colour;
      context.fill(this.shapes[index]);
      context.stroke(this.shapes[index]);
    });
  }

  /** The area that a point lies on, by its index; null when it lies on none. @param {number} x @param {number} y metres */
  areaAt(x, y) {
    this.#probe.lineWidth = RIM * 2;
    this.#probe.lineJoin = "round";
    const found = this.shapes.findIndex((shape, index) => {
      const [left, top, right, bottom] = this.seats.areas[index].box;
      if (x < left - RIM || x > right + RIM || y < top - RIM || y > bottom + RIM) return false;
      return this.#probe.isPointInPath(shape, x, y) || this.#probe.isPointInStroke(shape, x, y);
    });
    return found < 0 ? null : found;
  }

  /** @param {CanvasRenderingContext2D} context @param {Box} stage @param {string} name @param {number} scale CSS pixels per metre */
  stage(context, [left, top, right, bottom], name, scale) {
    context.fillStyle = this.colours["map-line"];
    context.beginPath();
    context.roundRect(left, top, right - left, bottom - top, [(bottom - top) * 0.2, (bottom - top) * 0.2, (bottom - top) * 0.5, (bottom - top) * 0.5]);
    context.fill();
    const size = Math.min((bottom - top) * 0.55, Math.max(0.6, 13 / scale));
    if (size * scale < 7) return;
    context.fillStyle = this.#readableOn(this.#rgb["map-line"]);
    context.font = `650 ${size}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(name, (left + right) / 2, (top + bottom) / 2, (right - left) * 0.9);
  }

  /** The rows of which something may be seen in the box. @param {Box} box */
  rowsIn([left, top, right, bottom]) {
    const around = ROW_NAME + RADIUS;
    return this.seats.rows.filter((row) =>
      row.right >= left - around && row.left <= right + around && row.bottom >= top - around && row.top <= bottom + around);
  }

  /**
   * Seats of these rows, as far as they lie in the box. Those that are chosen are painted as free: they change at once,
   * and `chosen` paints them on top.
   * @param {CanvasRenderingContext2D} context
   * @param {number} scale pixels of the screen per metre
   * @param {number} ratio pixels of the screen per CSS pixel
   * @param {Row[]} rows
   * @param {Box} box
   */
  paintSeats(context, scale, ratio, rows, [left, top, right, bottom]) {
    const { xs, ys, state } = this.seats;
    const pixels = (scale * RADIUS) / ratio;
    const shapes = pixels >= SHAPES_FROM;
    /** By look, for a change of colour costs more than a seat: state, price and paleness as one number. @type {number[][]} */
    const looks = [];
    for (const row of rows) {
      const free = 2 * this.#priced[row.area];
      const whole = row.left >= left && row.right <= right && row.top >= top && row.bottom <= bottom;
      for (let seat = row.first; seat < row.first + row.count; seat += 1) {
        const x = xs[seat];
        const y = ys[seat];
        if (!whole && (x + RADIUS * 1.3 < left || x - RADIUS * 1.3 > right || y + RADIUS * 1.3 < top || y - RADIUS * 1.3 > bottom)) continue;
        const kind = state[seat] === CHOSEN ? FREE : state[seat];
        const look = kind * LOOKS + (kind === FREE ? free + (this.wanted(seat) ? 0 : 1) : 0);
        (looks[look] ??= []).push(seat);
        this.painted += 1;
      }
    }
    looks.forEach((seats, look) => {
      const kind = Math.floor(look / LOOKS);
      context.globalAlpha = kind === FREE && look % 2 ? PALE : 1;
      if (kind === TAKEN) this.#taken(context, seats, shapes, scale);
      else if (kind === BLOCKED) this.#blocked(context, seats, shapes);
      else this.#free(context, seats, shapes, this.colours[`seat-${Math.floor((look % LOOKS) / 2)}`], pixels);
    });
    context.globalAlpha = 1;
    if (pixels >= NUMBERS_FROM) this.#rowNames(context, rows);
  }

  /** At both ends of each row. @param {CanvasRenderingContext2D} context @param {Row[]} rows */
  #rowNames(context, rows) {
    const { xs, ys } = this.seats;
    context.fillStyle = this.colours["map-text"];
    context.font = `450 ${RADIUS * 1.15}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const { label, first, count } of rows) {
      if (!label || count < 2) continue;
      for (const [end, next] of [[first, first + 1], [first + count - 1, first + count - 2]]) {
        const [across, down] = [xs[end] - xs[next], ys[end] - ys[next]];
        const by = ROW_NAME / Math.hypot(across, down);
        context.fillText(label, xs[end] + across * by, ys[end] + down * by, RADIUS * 2);
      }
    }
  }

  /** What this buyer has chosen, to be found from afar as well. @param {CanvasRenderingContext2D} context @param {number} scale CSS pixels per metre */
  chosen(context, scale) {
    const { xs, ys, chosen } = this.seats;
    const half = Math.max(RADIUS * 1.15, 4.5 / scale);
    context.fillStyle = this.colours["seat-chosen"];
    context.strokeStyle = this.colours["seat-on-chosen"];
    context.lineJoin = context.lineCap = "round";
    context.lineWidth = half * 0.3;
    context.beginPath();
    for (const seat of chosen) context.roundRect(xs[seat] - half, ys[seat] - half, half * 2, half * 2, half * 0.4);
    context.fill();
    context.beginPath();
    for (const seat of chosen) {
      context.moveTo(xs[seat] - half * 0.45, ys[seat] + half * 0.02);
      context.lineTo(xs[seat] - half * 0.1, ys[seat] + half * 0.38);
      context.lineTo(xs[seat] + half * 0.5, ys[seat] - half * 0.38);
    }
    context.stroke();
  }

  /** @param {string} from @param {string} to @param {number} share */
  #mixed(from, to, share) {
    return this.#rgb[from].map((value, at) => value + (this.#rgb[to][at] - value) * share);
  }

  /** @param {CanvasRenderingContext2D} context @param {number[]} seats @param {boolean} shapes @param {string} colour @param {number} pixels radius in CSS pixels */
  #free(context, seats, shapes, colour, pixels) {
    const { xs, ys, access } = this.seats;
    context.fillStyle = colour;
    if (!shapes) {
      for (const seat of seats) context.fillRect(xs[seat] - RADIUS, ys[seat] - RADIUS, RADIUS * 2, RADIUS * 2);
      return;
    }
    context.beginPath();
    for (const seat of seats) {
      context.moveTo(xs[seat] + RADIUS, ys[seat]);
      context.arc(xs[seat], ys[seat], RADIUS, 0, Math.PI * 2);
    }
    context.fill();
    const marked = access.size ? seats.filter((seat) => access.has(seat)) : [];
    if (marked.length) this.#access(context, marked, colour, pixels);
    if (pixels >= NUMBERS_FROM) this.#numbers(context, marked.length ? seats.filter((seat) => access.get(seat) !== "access_wheelchair") : seats);
  }

  /** Seats for who needs them: with corners instead of round, and a sign as soon as one can read it. @param {CanvasRenderingContext2D} context @param {number[]} seats @param {string} colour @param {number} pixels */
  #access(context, seats, colour, pixels) {
    const { xs, ys, access } = this.seats;
    const half = RADIUS * 1.12;
    context.fillStyle = colour;
    context.beginPath();
    for (const seat of seats) context.roundRect(xs[seat] - half, ys[seat] - half, half * 2, half * 2, RADIUS * 0.25);
    context.fill();
    if (pixels < SHAPES_FROM * 1.5) return;
    context.fillStyle = context.strokeStyle = this.colours["seat-on"];
    context.lineWidth = RADIUS * 0.2;
    context.lineJoin = context.lineCap = "round";
    context.beginPath();
    for (const seat of seats) if (access.get(seat) === "access_wheelchair") wheelchair(context, xs[seat], ys[seat]);
    context.stroke();
    // Who comes along: a corner of the sign, beside the number.
    context.beginPath();
    for (const seat of seats) {
      if (access.get(seat) === "access_wheelchair") continue;
      context.moveTo(xs[seat] - half * 0.85, ys[seat] - half * 0.85);
      context.lineTo(xs[seat] - half * 0.2, ys[seat] - half * 0.85);
      context.lineTo(xs[seat] - half * 0.85, ys[seat] - half * 0.2);
    }
    context.fill();
  }

  /** @param {CanvasRenderingContext2D} context @param {number[]} seats @param {boolean} shapes @param {number} scale */
  #taken(context, seats, shapes, scale) {
    const { xs, ys } = this.seats;
    const half = RADIUS * 0.5;
    if (!shapes) {
      context.fillStyle = this.colours["seat-taken"];
      for (const seat of seats) context.fillRect(xs[seat] - half, ys[seat] - half, half * 2, half * 2);
      return;
    }
    context.strokeStyle = this.colours["seat-taken"];
    context.lineCap = "round";
    context.lineWidth = Math.max(1 / scale, RADIUS * 0.24);
    context.beginPath();
    for (const seat of seats) {
      context.moveTo(xs[seat] - half, ys[seat] - half);
      context.lineTo(xs[seat] + half, ys[seat] + half);
      context.moveTo(xs[seat] + half, ys[seat] - half);
      context.lineTo(xs[seat] - half, ys[seat] + half);
    }
    context.stroke();
  }

  /** A bar, as on a closed road. @param {CanvasRenderingContext2D} context @param {number[]} seats @param {boolean} shapes */
  #blocked(context, seats, shapes) {
    const { xs, ys } = this.seats;
    const [half, thick] = shapes ? [RADIUS * 0.75, RADIUS * 0.2] : [RADIUS * 0.8, RADIUS * 0.4];
    context.fillStyle = this.colours["seat-taken"];
    for (const seat of seats) context.fillRect(xs[seat] - half, ys[seat] - thick, half * 2, thick * 2);
  }

  /** @param {CanvasRenderingContext2D} context @param {number[]} seats */
  #numbers(context, seats) {
    const { xs, ys } = this.seats;
    context.fillStyle = this.colours["seat-on"];
    context.font = `650 ${RADIUS}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const seat of seats) context.fillText(this.seats.number(seat), xs[seat], ys[seat] + 0.01, RADIUS * 1.7);
  }
}

/** The sign of a wheelchair, in lines. @param {CanvasRenderingContext2D} context @param {number} x @param {number} y */
function wheelchair(context, x, y) {
  const r = RADIUS;
  context.moveTo(x - r * 0.1, y - r * 0.72);
  context.lineTo(x - r * 0.1, y - r * 0.7);
  context.moveTo(x - r * 0.1, y - r * 0.35);
  context.lineTo(x - r * 0.1, y + r * 0.12);
  context.lineTo(x + r * 0.38, y + r * 0.12);
  context.lineTo(x + r * 0.55, y + r * 0.62);
  context.moveTo(x + r * 0.28, y + r * 0.42);
  context.arc(x - r * 0.1, y + r * 0.32, r * 0.42, 0.25, Math.PI * 1.32);
}

/** How bright a colour looks, 0 to 1: its luminance, spread as the eye does it. @param {number[]} rgb */
function brightness([red, green, blue]) {
  const linear = (/** @type {number} */ value) => (value / 255) ** 2.2;
  return (0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)) ** (1 / 2.4);
}

/** @param {number[]} from @param {number[]} to @param {number} share */
function mixed(from, to, share) {
  return `rgb(${from.map((value, at) => Math.round(value + (to[at] - value) * share)).join(" ")})`;
}
