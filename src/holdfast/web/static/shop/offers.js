/**
 * Which free seats come nearest to some that went under the buyer's eyes, before anything was claimed: of the same price,
 * side by side, and as close as can be. A proposal of this page alone, for thousands may lose a seat in the same second; for
 * a claim that was refused the server proposes.
 *
 * @typedef {import("./seats.js").Seats} Seats
 */

/** So many metres further away are as bad as leaving a seat alone. */
const ALONE_METRES = 3;

/**
 * The best equal seats for a party that wanted `wanted`, some of which are gone. Empty when there are none together.
 * @param {Seats} seats
 * @param {number[]} wanted
 */
export function nearest(seats, wanted) {
  const x = mean(wanted.map((seat) => seats.xs[seat]));
  const y = mean(wanted.map((seat) => seats.ys[seat]));
  const price = seats.price(wanted[0]);
  const kept = seats.access.get(wanted[0]);
  const n = wanted.length;
  /** @type {number[]} */
  let best = [];
  let least = Infinity;
  for (const row of seats.rows) {
    // No seat of the row is nearer than its box.
    const away = Math.hypot(Math.max(0, row.left - x, x - row.right), Math.max(0, row.top - y, y - row.bottom));
    if (seats.areas[row.area].price !== price || away >= least) continue;
    let run = 0;
    for (let seat = row.first; seat < row.first + row.count; seat += 1) {
      if (!seats.isFree(seat) || seats.access.get(seat) !== kept) run = 0;
      else run = run && seats.beside(seat).includes(seat - 1) ? run + 1 : 1;
      if (run < n) continue;
      const party = Array.from({ length: n }, (_, i) => seat - n + 1 + i);
      const distance = mean(party.map((each) => Math.hypot(seats.xs[each] - x, seats.ys[each] - y)));
      const cost = distance + (leavesAlone(seats, party) ? ALONE_METRES : 0);
      if (cost < least) {
        least = cost;
        best = party;
      }
    }
  }
  return best;
}

/**
 * Whether this choice would newly leave a free seat without a free neighbour: the same rule as the server's.
 * @param {Seats} seats
 * @param {number[]} party
 */
function leavesAlone(seats, party) {
  /** @param {number} seat */
  const stays = (seat) => seats.isFree(seat) && !party.includes(seat);
  return party.some((seat) => seats.beside(seat).some((beside) => stays(beside) && !seats.beside(beside).some(stays)));
}

/** @param {number[]} values */
function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
