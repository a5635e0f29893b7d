/**
 * How seats look: each state a shape of its own, so that none is told by its colour alone. All sizes are metres; the context
 * is scaled before.
 */

import { BLOCKED, CHOSEN, FREE, TAKEN } from "./seats.js";

/** @typedef {import("./seats.js").Seats} Seats */
/** @typedef {import("./words.js").Words} Words */
/** @typedef {[number, number, number, number]} Box  left, top, right, bottom */

/** The half width of a seat in metres; neighbours stand half a metre apart. */
export const RADIUS = 0.21;
/** From this radius in CSS pixels on seats are shapes, and from the second on they carry their numbers. */
export const SHAPES_FROM = 3;
export const NUMBERS_FROM = 8;
const COLOURS = 8;
/** More than there are colours, plain and pale. */
const LOOKS = 32;
/** How much of a seat is left that is free but not wanted. */
const PALE = 0.22;
/** The floor that a row stands on is so deep, in metres: somewhat more than the rows are apart. */
const ROW_DEPTH = 1.05;
/** The floor follows a curved row at every so many seats. */
const ROW_STEP = 5;
const NAMES = ["map-ground", "map-area", "map-line", "map-text", "seat-taken", "seat-chosen", "seat-on-chosen", "seat-on"];

/** Which of the colours `--seat-1` to `--seat-8` a price has, as the legend shows it. @param {Seats} seats @param {number} amount */
export function colourOf(seats, amount) {
  return (Math.max(0, seats.prices.indexOf(amount)) % COLOURS) + 1;
}

export class Painter {
  /** What the stylesheet says. @type {Record<string, string>} */
  colours = {};
  /** Which seats are shown as to be had; the others stay, paler. @type {(seat: number) => boolean} */
  wanted = () => true;

  /** @type {Record<string, number>} */
  #pixels = {};
  #probe = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d", { willReadFrequently: true }));

  /** @param {Seats} seats @param {Words} words */
  constructor(seats, words) {
    this.seats = seats;
    this.words = words;
  }

  /** Takes the colours that hold for an element now. @param {Element} element */
  readColours(element) {
    const style = getComputedStyle(element);
    this.#pixels = {};
    const names = [...NAMES, ...Array.from({ length: COLOURS }, (_, i) => `seat-${i + 1}`)];
    for (const name of names) this.colours[name] = style.getPropertyValue(`--${name}`).trim() || "#888";
  }

  /**
   * Paints what of the plan lies in the box.
   * @param {CanvasRenderingContext2D} context
   * @param {number} scale device pixels per metre
   * @param {number} ratio device pixels per CSS pixel
   * @param {Box} box
   */
  paint(context, scale, ratio, box) {
    this.#ground(context, scale, box);
    this.#seats(context, scale, ratio, box);
  }

  /**
   * Paints all of the plan small, seats as plain pixels: a stadium in a few milliseconds, where fifty thousand calls for a
   * rectangle take a fifth of a second.
   * @param {CanvasRenderingContext2D} context
   * @param {number} scale pixels per metre
   * @param {Box} box
   */
  paintSmall(context, scale, box) {
    this.#ground(context, scale, box);
    const { width, height } = context.canvas;
    const image = context.getImageData(0, 0, width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const { xs, ys, state, rows } = this.seats;
    const taken = this.#pixel("seat-taken");
    const chosen = this.#pixel("seat-chosen");
    const whole = Math.max(1, Math.round(RADIUS * 2 * scale));
    const part = Math.max(1, Math.round(whole * 0.45));
    for (const row of rows) {
      const name = `seat-${colourOf(this.seats, this.seats.areas[row.area].price)}`;
      const [free, pale] = [this.#pixel(name), this.#pixel(name, PALE)];
      for (let seat = row.first; seat < row.first + row.count; seat += 1) {
        const kind = state[seat];
        const size = kind === FREE || kind === CHOSEN ? whole : part;
        const colour = kind === FREE ? (this.wanted(seat) ? free : pale) : kind === CHOSEN ? chosen : taken;
        const x = Math.round((xs[seat] - box[0]) * scale - size / 2);
        const y = Math.round((ys[seat] - box[1]) * scale - size / 2);
        if (x < 0 || y < 0 || x + size > width || y + size > height) continue;
        for (let line = y; line < y + size; line += 1) pixels.fill(colour, line * width + x, line * width + x + size);
      }
    }
    context.putImageData(image, 0, 0);
  }

  /** A colour as one pixel, as it looks on the floor of a row. @param {string} name @param {number} [alpha] */
  #pixel(name, alpha = 1) {
    const key = `${name} ${alpha}`;
    if (this.#pixels[key] === undefined) {
      this.#probe.globalAlpha = 1;
      this.#probe.fillStyle = this.colours["map-area"];
      this.#probe.fillRect(0, 0, 1, 1);
      this.#probe.globalAlpha = alpha;
      this.#probe.fillStyle = this.colours[name];
      this.#probe.fillRect(0, 0, 1, 1);
      [this.#pixels[key]] = new Uint32Array(this.#probe.getImageData(0, 0, 1, 1).data.buffer);
    }
    return this.#pixels[key];
  }

  /** The floors of the rows. @param {CanvasRenderingContext2D} context @param {Box} box */
  #rows(context, [left, top, right, bottom]) {
    const { xs, ys, rows } = this.seats;
    context.strokeStyle = this.colours["map-area"];
    context.lineWidth = ROW_DEPTH;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    for (const row of rows) {
      if (row.right < left - 1 || row.left > right + 1 || row.bottom < top - 1 || row.top > bottom + 1) continue;
      const last = row.first + row.count - 1;
      context.moveTo(xs[row.first], ys[row.first]);
      for (let seat = row.first + ROW_STEP; seat < last; seat += ROW_STEP) context.lineTo(xs[seat], ys[seat]);
      context.lineTo(xs[last] + 0.001, ys[last]);
    }
    context.stroke();
  }

  /** The stage and what people stand and sit on. @param {CanvasRenderingContext2D} context @param {number} scale @param {Box} box */
  #ground(context, scale, [left, top, right, bottom]) {
    context.lineWidth = 1 / scale;
    context.strokeStyle = this.colours["map-line"];
    context.fillStyle = this.colours["map-area"];
    for (const { seated, box: [areaLeft, areaTop, areaRight, areaBottom] } of this.seats.areas) {
      if (seated) continue;
      context.beginPath();
      context.roundRect(areaLeft, areaTop, areaRight - areaLeft, areaBottom - areaTop, 0.4);
      context.fill();
      context.stroke();
    }
    this.#rows(context, [left, top, right, bottom]);
    context.lineWidth = 1 / scale;
    context.strokeStyle = this.colours["map-line"];
    const [x, y] = this.seats.focal;
    context.beginPath();
    context.roundRect(x - 3, y - 1, 6, 0.8, 0.2);
    context.fill();
    context.stroke();
    context.fillStyle = this.colours["map-text"];
    context.font = "0.5px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(this.words.text("stage"), x, y - 0.6);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} scale device pixels per metre
   * @param {number} ratio device pixels per CSS pixel
   * @param {Box} box
   */
  #seats(context, scale, ratio, [left, top, right, bottom]) {
    const { xs, ys, state, rows } = this.seats;
    const pixels = (scale * RADIUS) / ratio;
    const shapes = pixels >= SHAPES_FROM;
    const numbers = pixels >= NUMBERS_FROM;
    /** By look, for a change of colour costs more than a seat: state, price and paleness as one number. @type {number[][]} */
    const looks = [];
    for (const row of rows) {
      if (row.right < left || row.left > right || row.bottom < top || row.top > bottom) continue;
      const free = 2 * colourOf(this.seats, this.seats.areas[row.area].price);
      const whole = row.left >= left && row.right <= right && row.top >= top && row.bottom <= bottom;
      for (let seat = row.first; seat < row.first + row.count; seat += 1) {
        const x = xs[seat];
        const y = ys[seat];
        if (!whole && (x + RADIUS < left || x - RADIUS > right || y + RADIUS < top || y - RADIUS > bottom)) continue;
        const kind = state[seat];
        const look = kind * LOOKS + (kind === FREE ? free + (this.wanted(seat) ? 0 : 1) : 0);
        (looks[look] ??= []).push(seat);
      }
    }
    looks.forEach((seats, look) => {
      const kind = Math.floor(look / LOOKS);
      context.globalAlpha = kind === FREE && look % 2 ? PALE : 1;
      if (kind === TAKEN) this.#taken(context, seats, shapes, scale);
      else if (kind === BLOCKED) this.#blocked(context, seats);
      else if (kind === CHOSEN) this.#chosen(context, seats, shapes);
      else this.#free(context, seats, shapes, this.colours[`seat-${Math.floor((look % LOOKS) / 2)}`]);
      if (numbers && kind === FREE) this.#numbers(context, seats);
    });
    context.globalAlpha = 1;
  }

  /** @param {CanvasRenderingContext2D} context @param {number[]} seats @param {boolean} shapes @param {string} colour */
  #free(context, seats, shapes, colour) {
    const { xs, ys } = this.seats;
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
  }

  /** @param {CanvasRenderingContext2D} context @param {number[]} seats @param {boolean} shapes @param {number} scale */
  #taken(context, seats, shapes, scale) {
    const { xs, ys } = this.seats;
    if (!shapes) {
      context.fillStyle = this.colours["seat-taken"];
      const half = RADIUS * 0.45;
      for (const seat of seats) context.fillRect(xs[seat] - half, ys[seat] - half, half * 2, half * 2);
      return;
    }
    const half = RADIUS * 0.5;
    context.strokeStyle = this.colours["seat-taken"];
    context.lineWidth = Math.max(1 / scale, RADIUS * 0.22);
    context.beginPath();
    for (const seat of seats) {
      context.moveTo(xs[seat] - half, ys[seat] - half);
      context.lineTo(xs[seat] + half, ys[seat] + half);
      context.moveTo(xs[seat] + half, ys[seat] - half);
      context.lineTo(xs[seat] - half, ys[seat] + half);
    }
    context.stroke();
  }

  /** A bar, as on a closed road. @param {CanvasRenderingContext2D} context @param {number[]} seats */
  #blocked(context, seats) {
    context.fillStyle = this.colours["seat-taken"];
    for (const seat of seats) {
      context.fillRect(this.seats.xs[seat] - RADIUS * 0.7, this.seats.ys[seat] - RADIUS * 0.16, RADIUS * 1.4, RADIUS * 0.32);
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {number[]} seats @param {boolean} shapes */
  #chosen(context, seats, shapes) {
    const { xs, ys } = this.seats;
    const half = RADIUS * 1.12;
    context.fillStyle = this.colours["seat-chosen"];
    context.beginPath();
    for (const seat of seats) context.roundRect(xs[seat] - half, ys[seat] - half, half * 2, half * 2, RADIUS * 0.4);
    context.fill();
    if (!shapes) return;
    context.strokeStyle = this.colours["seat-on-chosen"];
    context.lineWidth = RADIUS * 0.3;
    context.beginPath();
    for (const seat of seats) {
      context.moveTo(xs[seat] - RADIUS * 0.5, ys[seat]);
      context.lineTo(xs[seat] - RADIUS * 0.1, ys[seat] + RADIUS * 0.4);
      context.lineTo(xs[seat] + RADIUS * 0.55, ys[seat] - RADIUS * 0.45);
    }
    context.stroke();
  }

  /** @param {CanvasRenderingContext2D} context @param {number[]} seats */
  #numbers(context, seats) {
    const { xs, ys } = this.seats;
    context.fillStyle = this.colours["seat-on"];
    context.font = `600 ${RADIUS}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const seat of seats) context.fillText(this.seats.number(seat), xs[seat], ys[seat] + 0.01, RADIUS * 1.7);
  }
}
