/**
 * What stands on the areas of the map: name, price and how many are left, as much of it as there is room for. From afar on
 * the coloured shapes themselves; nearer, over small seats, on plates; nearer still seats speak for themselves.
 */

import { nearness, NUMBERS_FROM, RADIUS, SHAPES_FROM } from "./paint.js";

/** @typedef {import("./seats.js").Seats} Seats */
/** @typedef {import("./paint.js").Painter} Painter */
/** @typedef {import("./words.js").Words} Words */
/** @typedef {{x: number, y: number, scale: number, width: number, height: number}} Seen  the view, in CSS pixels */
/** @typedef {[number, number, number, number]} Box */

/** How much wider than high the room on an area is measured; how finely, in halvings, and up to how many metres. */
const ASPECT = 1.7;
const HALVINGS = 7;
const ROOM_MAX = 24;
/** Corners of a text are mostly empty, and an area is a little larger than the outline of its seats. */
const SPILL = 1.25;
/** Size of a name and of what stands below it, and the step to the next line, in CSS pixels. */
const NAME = 15;
const DETAIL = 13;
const LINE = 18;
/** A name that has no room is tried so much smaller. */
const SMALL_NAME = 11;
/** So far before the first row the name of an area stands when one is near, in metres. */
const BEFORE = 1;
const FONT = "system-ui, sans-serif";

export class Labels {
  /** @type {Map<string, number>} */
  #widths = new Map();
  /** What is written next, by its typeface. @type {Map<string, {line: string, x: number, y: number, colour: string}[]>} */
  #waiting = new Map();
  /** Half the height of the room on each area in metres, about its spot. @type {number[]} */
  #room;
  #painter;
  #seats;
  #words;

  /** @param {Painter} painter @param {Seats} seats @param {Words} words */
  constructor(painter, seats, words) {
    this.#painter = painter;
    this.#seats = seats;
    this.#words = words;
    const probe = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
    this.#room = seats.areas.map(({ spots: [[x, y]] }, index) => room(probe, painter.shapes[index], x, y));
  }

  /**
   * @param {CanvasRenderingContext2D} context in CSS pixels
   * @param {Seen} seen
   * @param {number} text how much larger than usual the visitor reads
   */
  paint(context, seen, text) {
    const radius = seen.scale * RADIUS;
    context.textAlign = "center";
    context.textBaseline = "middle";
    if (radius >= NUMBERS_FROM) this.#rows(context, seen, text);
    /** @type {Box[]} */
    const placed = [];
    const afar = nearness(radius) < 0.5;
    this.#seats.areas.forEach((area, index) => {
      if (area.seated && radius >= SHAPES_FROM) {
        this.#inFront(context, seen, area, text);
        return;
      }
      const left = area.left ? this.#words.text("left", { n: area.left }) : this.#words.text("sold_out");
      const price = this.#words.price(area);
      if (afar || !area.seated) this.#onShape(context, seen, index, text, [[area.name, price, left], [area.name, area.left ? this.#words.shortMoney(area.least) : left], [area.name]]);
      else this.#onPlate(context, seen, area, text, [area.name, seen.width < 560 ? left : `${price} · ${left}`], placed);
    });
    this.#write(context);
  }

  /** @param {CanvasRenderingContext2D} context @param {Seen} seen @param {number} index @param {number} text @param {string[][]} choices most first */
  #onShape(context, seen, index, text, choices) {
    const [[x, y]] = this.#seats.areas[index].spots;
    const [across, down] = [(x - seen.x) * seen.scale, (y - seen.y) * seen.scale];
    const half = this.#room[index] * seen.scale;
    if (across < -half * ASPECT || down < -half || across > seen.width + half * ASPECT || down > seen.height + half) return;
    const fits = (/** @type {number} */ wide, /** @type {number} */ high) => wide / 2 <= half * ASPECT * SPILL && high / 2 <= half * SPILL;
    const colour = this.#painter.textOn(index);
    for (const lines of choices) {
      const wide = Math.max(...lines.map((line, at) => this.#width(context, line, (at ? DETAIL : NAME) * text, !at)));
      if (!fits(wide, LINE * (lines.length - 0.3) * text)) continue;
      lines.forEach((line, at) => this.#later(font((at ? DETAIL : NAME) * text, !at), line, across, down + (at - (lines.length - 1) / 2) * LINE * text, colour));
      return;
    }
    const [[name]] = choices;
    if (fits(this.#width(context, name, SMALL_NAME, true), SMALL_NAME)) this.#later(font(SMALL_NAME, true), name, across, down, colour);
  }

  /** To change the typeface costs more than a word: what has the same one is written together. @param {string} typeface @param {string} line @param {number} x @param {number} y @param {string} colour */
  #later(typeface, line, x, y, colour) {
    const lines = this.#waiting.get(typeface) ?? [];
    lines.push({ line, x, y, colour });
    this.#waiting.set(typeface, lines);
  }

  /** @param {CanvasRenderingContext2D} context */
  #write(context) {
    for (const [typeface, lines] of this.#waiting) {
      context.font = typeface;
      for (const { line, x, y, colour } of lines) {
        context.fillStyle = colour;
        context.fillText(line, x, y);
      }
    }
    this.#waiting.clear();
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {Seen} seen @param {import("./seats.js").Area} area @param {number} text
   * @param {[string, string]} lines @param {Box[]} placed where others stand
   */
  #onPlate(context, seen, area, text, [name, detail], placed) {
    const wide = 16 + Math.max(this.#width(context, name, NAME * text, true), this.#width(context, detail, DETAIL * text, false));
    const high = LINE * 2 * text + 8;
    const spot = this.#spot(seen, area, wide, high, placed);
    if (!spot) return;
    placed.push(spot);
    const [left, top] = spot;
    const { colours } = this.#painter;
    context.globalAlpha = 0.93;
    context.fillStyle = colours["map-ground"];
    context.beginPath();
    context.roundRect(left, top, wide, high, 8);
    context.fill();
    context.globalAlpha = 1;
    context.fillStyle = colours["map-text"];
    context.font = font(NAME * text, true);
    context.fillText(name, left + wide / 2, top + high / 2 - (LINE * text) / 2, wide - 8);
    context.font = font(DETAIL * text, false);
    context.fillText(detail, left + wide / 2, top + high / 2 + (LINE * text) / 2, wide - 8);
  }

  /** Near, the name stands on the ground before the first row, where no seat is. @param {CanvasRenderingContext2D} context @param {Seen} seen @param {import("./seats.js").Area} area @param {number} text */
  #inFront(context, seen, area, text) {
    const { name, rows } = area;
    const { xs, ys } = this.#seats;
    // Between two seats where a row has an even number.
    const middle = (/** @type {import("./seats.js").Row} */ { first, count }) => {
      const [a, b] = [first + ((count - 1) >> 1), first + (count >> 1)];
      return { x: (xs[a] + xs[b]) / 2, y: (ys[a] + ys[b]) / 2 };
    };
    const [front, back] = [middle(rows[0]), middle(rows[rows.length - 1])];
    const [across, down] = [front.x - back.x, front.y - back.y];
    const long = Math.hypot(across, down);
    const x = (front.x + (long ? across / long : 0) * BEFORE - seen.x) * seen.scale;
    const y = (front.y + (long ? down / long : -1) * BEFORE - seen.y) * seen.scale;
    if (x < 0 || y < 0 || x > seen.width || y > seen.height) return;
    const [first, last] = [rows[0].first, rows[0].first + rows[0].count - 1];
    const room = Math.hypot(xs[last] - xs[first], ys[last] - ys[first]) * seen.scale;
    const size = DETAIL * text;
    const full = `${name} · ${this.#words.price(area)}`;
    const said = [full, name].find((line) => this.#width(context, line, size, true) < room);
    if (!said) return;
    context.fillStyle = this.#painter.colours["map-text"];
    context.font = font(size, true);
    context.fillText(said, x, y);
  }

  /** Of rows whose ends are out of sight, at the edge of the map. @param {CanvasRenderingContext2D} context @param {Seen} seen @param {number} text */
  #rows(context, seen, text) {
    const { xs, ys } = this.#seats;
    const { colours } = this.#painter;
    const size = DETAIL * text;
    let before = -Infinity;
    for (const { label, first, count } of this.#painter.rowsIn([seen.x, seen.y, seen.x + seen.width / seen.scale, seen.y + seen.height / seen.scale])) {
      const last = first + count - 1;
      // Rows that run up and down have their names where they begin.
      if (!label || Math.abs(xs[last] - xs[first]) < Math.abs(ys[last] - ys[first])) continue;
      const step = xs[last] > xs[first] ? 1 : -1;
      let seat = step > 0 ? first : last;
      if (xs[seat] > seen.x) continue;
      while (seat >= first && seat <= last && xs[seat] < seen.x) seat += step;
      if (seat < first || seat > last) continue;
      const down = (ys[seat] - seen.y) * seen.scale;
      if (down < size || down > seen.height - size || Math.abs(down - before) < size * 1.4) continue;
      before = down;
      const wide = this.#width(context, label, size, true) + 10;
      context.fillStyle = colours["map-text"];
      context.beginPath();
      context.roundRect(2, down - size * 0.75, wide, size * 1.5, 4);
      context.fill();
      context.fillStyle = colours["map-ground"];
      context.font = font(size, true);
      context.fillText(label, 2 + wide / 2, down);
    }
  }

  /** Where a plate stands: on its area, not on another plate; null where there is no room. @param {Seen} seen @param {import("./seats.js").Area} area @param {number} wide @param {number} high @param {Box[]} placed @returns {Box | null} */
  #spot(seen, area, wide, high, placed) {
    for (const [across, down] of area.spots) {
      const wished = (across - seen.x) * seen.scale;
      const middle = Math.min(seen.width - wide / 2 - 2, Math.max(wide / 2 + 2, wished));
      const centre = (down - seen.y) * seen.scale;
      if (Math.abs(middle - wished) > wide / 2 || centre < 0 || centre > seen.height) continue;
      /** @type {Box} */
      const spot = [middle - wide / 2, centre - high / 2, middle + wide / 2, centre + high / 2];
      if (placed.every(([left, top, right, bottom]) => spot[2] < left || spot[0] > right || spot[3] < top || spot[1] > bottom)) return spot;
    }
    return null;
  }

  /** @param {CanvasRenderingContext2D} context @param {string} line @param {number} size @param {boolean} bold */
  #width(context, line, size, bold) {
    const key = `${bold}${size} ${line}`;
    let width = this.#widths.get(key);
    if (width === undefined) {
      // Counts change for hours: what was measured long ago is measured again.
      if (this.#widths.size > 4000) this.#widths.clear();
      context.font = font(size, bold);
      width = context.measureText(line).width;
      this.#widths.set(key, width);
    }
    return width;
  }
}

/** The typeface of the map. @param {number} size in CSS pixels @param {boolean} bold */
export function font(size, bold) {
  return `${bold ? 650 : 450} ${size}px ${FONT}`;
}

/** The largest half height, in metres, of a box about the point that lies within the shape. @param {CanvasRenderingContext2D} probe @param {Path2D} shape @param {number} x @param {number} y */
function room(probe, shape, x, y) {
  let [low, high] = [0, ROOM_MAX];
  for (let i = 0; i < HALVINGS; i += 1) {
    const half = (low + high) / 2;
    const within = [-1, 1].every((side) => [-1, 1].every((end) => probe.isPointInPath(shape, x + side * half * ASPECT, y + end * half)));
    if (within) low = half;
    else high = half;
  }
  return low;
}
