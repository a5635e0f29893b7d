/**
 * The shape of an area on the map: around its rows, as somebody would draw it by hand. Metres, as the seats' own places.
 */

/** @typedef {import("./seats.js").Seats} Seats */
/** @typedef {import("./seats.js").Area} Area */
/** @typedef {{from: number, to: number, box: [number, number, number, number]}} Line  seats one after the other; `to` is the last */

/** Seats that follow one another this far apart are not of one block, in metres, nor are lines. */
const LEAP = 4;
/** The outline follows a curved row at every so many seats. */
const STEP = 5;

/**
 * Around each block of the area: along its first line, down the ends of all, back along the last, up their beginnings.
 * @param {Seats} seats
 * @param {Area} area
 */
export function outline(seats, area) {
  const path = new Path2D();
  if (!area.seated) {
    const [left, top, right, bottom] = area.box;
    path.rect(left, top, right - left, bottom - top);
    return path;
  }
  const { xs, ys } = seats;
  for (const lines of blocks(seats, area)) {
    const [first] = lines;
    const last = lines[lines.length - 1];
    path.moveTo(xs[first.from], ys[first.from]);
    along(path, seats, first.from, first.to);
    for (const { to } of lines) path.lineTo(xs[to], ys[to]);
    along(path, seats, last.to, last.from);
    for (let at = lines.length - 1; at >= 0; at -= 1) path.lineTo(xs[lines[at].from], ys[lines[at].from]);
    path.closePath();
  }
  return path;
}

/** @param {Path2D} path @param {Seats} seats @param {number} from @param {number} to */
function along(path, { xs, ys }, from, to) {
  const step = from < to ? STEP : -STEP;
  for (let seat = from + step; (to - seat) * step > 0; seat += step) path.lineTo(xs[seat], ys[seat]);
  path.lineTo(xs[to], ys[to]);
}

/** Lines that lie beside one another, all running the same way. @param {Seats} seats @param {Area} area @returns {Line[][]} */
function blocks(seats, area) {
  /** @type {Line[][]} */
  const found = [];
  for (const row of area.rows) {
    for (const line of lines(seats, row.first, row.first + row.count)) {
      const block = found.find((other) => beside(other[other.length - 1].box, line.box));
      if (!block) {
        found.push([line]);
        continue;
      }
      const before = block[block.length - 1];
      if (against(seats, before, line)) [line.from, line.to] = [line.to, line.from];
      block.push(line);
    }
  }
  return found;
}

/** A row may be several lines: cut where it leaps or turns back. @param {Seats} seats @param {number} first @param {number} end */
function lines({ xs, ys }, first, end) {
  /** @type {Line[]} */
  const found = [];
  let line = { from: first, to: first, box: boxOf(xs[first], ys[first]) };
  let [acrossBefore, downBefore] = [0, 0];
  for (let seat = first + 1; seat < end; seat += 1) {
    const across = xs[seat] - xs[seat - 1];
    const down = ys[seat] - ys[seat - 1];
    if (across * acrossBefore + down * downBefore < 0 || across * across + down * down > LEAP * LEAP) {
      found.push(line);
      line = { from: seat, to: seat, box: boxOf(xs[seat], ys[seat]) };
      acrossBefore = downBefore = 0;
      continue;
    }
    acrossBefore = across;
    downBefore = down;
    line.to = seat;
    const { box } = line;
    if (xs[seat] < box[0]) box[0] = xs[seat];
    else if (xs[seat] > box[2]) box[2] = xs[seat];
    if (ys[seat] < box[1]) box[1] = ys[seat];
    else if (ys[seat] > box[3]) box[3] = ys[seat];
  }
  found.push(line);
  return found;
}

/** @param {number} x @param {number} y @returns {[number, number, number, number]} */
function boxOf(x, y) {
  return [x, y, x, y];
}

/** @param {number[]} a @param {number[]} b */
function beside(a, b) {
  return a[0] - b[2] < LEAP && b[0] - a[2] < LEAP && a[1] - b[3] < LEAP && b[1] - a[3] < LEAP;
}

/** @param {Seats} seats @param {Line} a @param {Line} b */
function against({ xs, ys }, a, b) {
  return (xs[a.to] - xs[a.from]) * (xs[b.to] - xs[b.from]) + (ys[a.to] - ys[a.from]) * (ys[b.to] - ys[b.from]) < 0;
}
