/**
 * Seats that were painted once, kept as pictures: to move the map is to copy them. Tiles are pixels of the screen, copied to
 * whole pixels, so that they are as sharp as what is painted; a seat that changes has its own tile painted anew.
 */

import { RADIUS } from "./paint.js";

/** @typedef {import("./paint.js").Painter} Painter */
/** @typedef {import("./seats.js").Seats} Seats */
/** @typedef {{i: number, j: number, canvas: HTMLCanvasElement | null, stale: boolean, used: number}} Tile  no canvas where there are no seats */
/** @typedef {{scale: number, tiles: Map<number, Tile>}} Level  `scale` is pixels of the screen per metre */
/** @typedef {{left: number, top: number, wide: number, high: number, scale: number}} Shown  in pixels of the screen; `left` and `top` from the world's origin */

/** Edge of a tile in CSS pixels; how many bytes are kept besides what is shown. */
const EDGE = 256;
const BYTES_MAX = 64 * 2 ** 20;
/** Columns of a level, to make one number of column and row. */
const COLUMNS = 1 << 20;

export class Tiles {
  /** @type {Level} */
  #level = { scale: 0, tiles: new Map() };
  /** What was painted for another scale, stretched until the tiles of this one are there. @type {Level | null} */
  #before = null;
  #clock = 0;
  /** @type {HTMLCanvasElement[]} */
  #spare = [];
  #painter;
  #seats;
  #edge = EDGE;
  #ratio = 1;

  /** @param {Painter} painter @param {Seats} seats */
  constructor(painter, seats) {
    this.#painter = painter;
    this.#seats = seats;
  }

  /** How many pictures are kept. */
  get kept() {
    return this.#level.tiles.size + (this.#before?.tiles.size ?? 0);
  }

  /** Forgets all: other colours, another filter, another screen. @param {number} [ratio] pixels of the screen per CSS pixel */
  clear(ratio = this.#ratio) {
    this.#ratio = ratio;
    this.#edge = EDGE * Math.ceil(ratio);
    this.#level = { scale: 0, tiles: new Map() };
    this.#before = null;
    this.#spare = [];
  }

  /** Has what shows these seats painted anew. @param {number[]} changed */
  change(changed) {
    const { xs, ys } = this.#seats;
    for (const level of this.#before ? [this.#level, this.#before] : [this.#level]) {
      const edge = this.#edge / level.scale;
      for (const seat of changed) {
        const [left, right] = [Math.floor((xs[seat] - RADIUS * 2) / edge), Math.floor((xs[seat] + RADIUS * 2) / edge)];
        const [top, bottom] = [Math.floor((ys[seat] - RADIUS * 2) / edge), Math.floor((ys[seat] + RADIUS * 2) / edge)];
        for (let j = top; j <= bottom; j += 1) {
          for (let i = left; i <= right; i += 1) {
            const tile = level.tiles.get(j * COLUMNS + i);
            if (tile) tile.stale = true;
          }
        }
      }
    }
  }

  /**
   * Copies what is shown. Paints what is missing while there is time, one tile at least.
   * @param {CanvasRenderingContext2D} context in pixels of the screen
   * @param {Shown} shown
   * @param {number | null} until when there is no time left; null while the scale changes, when nothing is painted
   * @returns {{painted: number, missing: boolean}}
   */
  draw(context, shown, until) {
    this.#clock += 1;
    let painted = 0;
    let missing = until === null && shown.scale !== this.#level.scale;
    if (until !== null && shown.scale !== this.#level.scale) this.#turnTo(shown.scale);
    const level = this.#level;
    /** @type {Tile[]} */
    const ready = [];
    if (level.scale === shown.scale) {
      const edge = this.#edge;
      for (let j = Math.floor(shown.top / edge); j * edge < shown.top + shown.high; j += 1) {
        for (let i = Math.floor(shown.left / edge); i * edge < shown.left + shown.wide; i += 1) {
          let tile = level.tiles.get(j * COLUMNS + i);
          if (!tile || tile.stale) {
            if (painted && performance.now() > (until ?? 0)) missing = true;
            else {
              tile = this.#paint(i, j, tile);
              if (tile.canvas) painted += 1;
            }
          }
          if (tile) ready.push(tile);
        }
      }
      if (missing) this.#stretch(context, shown, this.#before);
      else this.#before = null;
      for (const tile of ready) {
        tile.used = this.#clock;
        if (tile.canvas) context.drawImage(tile.canvas, tile.i * edge - shown.left, tile.j * edge - shown.top);
      }
    } else this.#stretch(context, shown, level);
    this.#forget(ready.length);
    return { painted, missing };
  }

  /** @param {number} scale */
  #turnTo(scale) {
    // Of two that were not finished the one with more to show stays.
    if (!this.#before || this.#level.tiles.size >= this.#before.tiles.size) {
      this.#recycle(this.#before);
      this.#before = this.#level.tiles.size ? this.#level : null;
    } else this.#recycle(this.#level);
    this.#level = { scale, tiles: new Map() };
  }

  /** @param {CanvasRenderingContext2D} context @param {Shown} shown @param {Level | null} level */
  #stretch(context, shown, level) {
    if (!level) return;
    const by = shown.scale / level.scale;
    const edge = this.#edge * by;
    for (const { i, j, canvas } of level.tiles.values()) {
      const left = i * edge - shown.left;
      const top = j * edge - shown.top;
      if (canvas && left < shown.wide && top < shown.high && left + edge > 0 && top + edge > 0) context.drawImage(canvas, left, top, edge, edge);
    }
  }

  /** @param {number} i @param {number} j @param {Tile | undefined} tile @returns {Tile} */
  #paint(i, j, tile) {
    const { scale, tiles } = this.#level;
    const size = this.#edge;
    const edge = size / scale;
    const rows = this.#painter.rowsIn([i * edge, j * edge, (i + 1) * edge, (j + 1) * edge]);
    let canvas = tile?.canvas ?? null;
    if (rows.length) {
      canvas ??= this.#spare.pop() ?? document.createElement("canvas");
      if (canvas.width !== size || canvas.height !== size) canvas.width = canvas.height = size;
      const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, size, size);
      context.setTransform(scale, 0, 0, scale, -i * size, -j * size);
      this.#painter.paintSeats(context, scale, this.#ratio, rows, [i * edge, j * edge, (i + 1) * edge, (j + 1) * edge]);
    }
    const made = { i, j, canvas, stale: false, used: this.#clock };
    tiles.set(j * COLUMNS + i, made);
    return made;
  }

  /** Throws away the tiles that were not shown for longest. @param {number} shown how many are shown now */
  #forget(shown) {
    const most = Math.max(shown * 2, Math.floor(BYTES_MAX / (this.#edge * this.#edge * 4)));
    const { tiles } = this.#level;
    if (tiles.size <= most) return;
    const oldest = [...tiles].sort(([, a], [, b]) => a.used - b.used);
    for (const [key, { canvas }] of oldest.slice(0, tiles.size - most)) {
      tiles.delete(key);
      this.#keep(canvas);
    }
  }

  /** @param {Level | null} level */
  #recycle(level) {
    for (const { canvas } of level?.tiles.values() ?? []) this.#keep(canvas);
  }

  /** A canvas is dear to make: the next tile takes one that another had. @param {HTMLCanvasElement | null} canvas */
  #keep(canvas) {
    if (canvas && this.#spare.length < 12) this.#spare.push(canvas);
  }
}
