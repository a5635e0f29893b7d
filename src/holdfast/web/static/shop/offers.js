/**
 * Which free seats come nearest to some that went: of the same price, side by side, and as close as can be. A proposal
 * of this page alone, from what it knows; the claim decides.
 *
 * @typedef {import("./seats.js").Seats} Seats
 */

/** So many metres further away are as bad as leaving a seat alone, or as crossing into another price. */
const ALONE_METRES = 3;
const OTHER_PRICE_METRES = 1000;

/**
 * The best equal seats for a party that wanted `wanted`, some of which are gone. Empty when there are too few.
 * @param {Seats} seats
 * @param {number[]} wanted
 * @param {{avoidAlone?: boolean}} [how] `avoidAlone`: offer nothing that leaves a single seat alone
 */
export function nearest(seats, wanted, { avoidAlone = false } = {}) {
  const x = mean(wanted.map((seat) => seats.xs[seat]));
  const y = mean(wanted.map((seat) => seats.ys[seat]));
  const price = seats.price(wanted[0]);
  const n = wanted.length;
  /** @type {number[]} */
  let best = [];
  let least = Infinity;
  for (const row of seats.rows) {
    const extra = seats.areas[row.area].price === price ? 0 : OTHER_PRICE_METRES;
    // No seat of the row is nearer than its box.
    const away = Math.hypot(Math.max(0, row.left - x, x - row.right), Math.max(0, row.top - y, y - row.bottom));
    if (away + extra >= least) continue;
    let run = 0;
    for (let seat = row.first; seat < row.first + row.count; seat += 1) {
      if (!seats.isFree(seat)) run = 0;
      else run = run && seats.beside(seat).includes(seat - 1) ? run + 1 : 1;
      if (run < n) continue;
      const party = Array.from({ length: n }, (_, i) => seat - n + 1 + i);
      const alone = leftAlone(seats, party).length > 0;
      if (alone && avoidAlone) continue;
      const distance = mean(party.map((each) => Math.hypot(seats.xs[each] - x, seats.ys[each] - y)));
      const cost = distance + extra + (alone ? ALONE_METRES : 0);
      if (cost < least) {
        least = cost;
        best = party;
      }
    }
  }
  return best.length || avoidAlone ? best : apart(seats, wanted, x, y, price);
}

/** What is still free of the party, and the nearest single seats for the rest. @param {Seats} seats @param {number[]} wanted @param {number} x @param {number} y @param {number} price */
function apart(seats, wanted, x, y, price) {
  const kept = wanted.filter((seat) => seats.isFree(seat));
  /** @type {[number, number][]} */
  const others = [];
  for (let seat = 0; seat < seats.count; seat += 1) {
    if (!seats.isFree(seat) || kept.includes(seat) || seats.price(seat) !== price) continue;
    others.push([Math.hypot(seats.xs[seat] - x, seats.ys[seat] - y), seat]);
  }
  others.sort((a, b) => a[0] - b[0]);
  const found = [...kept, ...others.slice(0, wanted.length - kept.length).map(([, seat]) => seat)];
  return found.length === wanted.length ? found : [];
}

/**
 * The free seats that this choice would newly leave without a free neighbour: the same rule as the server's.
 * @param {Seats} seats
 * @param {Iterable<number>} chosen
 */
export function leftAlone(seats, chosen) {
  const party = new Set(chosen);
  /** @param {number} seat */
  const free = (seat) => seats.isFree(seat);
  /** @type {Set<number>} */
  const alone = new Set();
  for (const seat of party) {
    for (const beside of seats.beside(seat)) {
      if (party.has(beside) || !free(beside)) continue;
      const around = seats.beside(beside).filter(free);
      if (around.length && around.every((each) => party.has(each))) alone.add(beside);
    }
  }
  return [...alone].sort((a, b) => a - b);
}

/** @param {number[]} values */
function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
