/**
 * The seats of a show as typed arrays: where they are, what they cost, who has them. Map and list are two pictures of
 * this one state, and hear of changes by `change` events.
 *
 * @typedef {{label: string, first: number, numbers: string[], xs: number[], ys: number[], access?: (string | null)[]}} RowJson
 * @typedef {{id: number, name: string, kind: "seated" | "standing", capacity: number, first?: number, rows?: RowJson[], box?: number[]}} AreaJson
 * @typedef {{total_seats: number, capacity: number, focal: [number, number], areas: AreaJson[]}} LayoutJson
 * @typedef {{id: number, name: string, area: string, amount: number}} TierJson
 * @typedef {{revision: number, areas: {id: number, available: number}[], taken: string, blocked?: string}} AvailabilityJson
 * @typedef {{revision: number, taken: number[], freed: number[], blocked?: number[], areas: {id: number, available: number}[]}} DeltaJson
 * @typedef {{label: string, first: number, count: number, area: number, left: number, top: number, right: number, bottom: number, numbers: string[]}} Row
 * @typedef {{id: number, name: string, seated: boolean, capacity: number, left: number, box: [number, number, number, number], rows: Row[], tiers: TierJson[], price: number, least: number, spots: [number, number][]}} Area
 */

export const FREE = 0;
export const TAKEN = 1;
export const CHOSEN = 2;
/** Kept off sale by the house: nobody has it, and nobody gets it. */
export const BLOCKED = 3;

/** Half of what a seat takes up beside its middle, in metres: boxes reach so far beyond the outermost seats. */
const MARGIN = 0.45;
/** Seats of a row that stand further apart than this have an aisle between them, in metres; as the rules of the sale say. */
const NEIGHBOURS_WITHIN = 1.005;
/** So many places are tried for the name of an area. */
const SPOTS_MAX = 16;

/** The seating of one show and its present state. */
export class Seats extends EventTarget {
  /**
   * @param {LayoutJson} layout
   * @param {TierJson[]} tiers
   */
  constructor(layout, tiers) {
    super();
    const n = layout.total_seats;
    this.count = n;
    this.focal = layout.focal;
    this.xs = new Float32Array(n);
    this.ys = new Float32Array(n);
    this.state = new Uint8Array(n);
    this.rowOf = new Uint32Array(n);
    this.revision = -1;
    /** @type {Row[]} */
    this.rows = [];
    /** @type {Area[]} */
    this.areas = [];
    /** What seats for who needs them are for: `access_wheelchair` and the like. @type {Map<number, string>} */
    this.access = new Map();
    /** The seats that this buyer has chosen, in the order of choosing. @type {Set<number>} */
    this.chosen = new Set();
    for (const area of layout.areas) this.#add(area, tiers.filter((tier) => tier.area === area.name));
    this.box = around(this.areas.map((area) => area.box));
    /** The distinct prices of areas, low to high: a price has the same colour everywhere. */
    this.prices = [...new Set(this.areas.map((area) => area.price))].sort((a, b) => a - b);
  }

  /**
   * @param {AreaJson} json
   * @param {TierJson[]} tiers
   */
  #add(json, tiers) {
    /** @type {Area} */
    const area = {
      id: json.id,
      name: json.name,
      seated: json.kind === "seated",
      capacity: json.capacity,
      left: json.capacity,
      box: [0, 0, 0, 0],
      rows: [],
      spots: [],
      tiers,
      // What most people pay: the first tier, in the order that the organizer gave them.
      price: tiers.length ? tiers[0].amount : 0,
      least: tiers.length ? Math.min(...tiers.map((tier) => tier.amount)) : 0,
    };
    for (const row of json.rows ?? []) {
      this.xs.set(row.xs, row.first);
      this.ys.set(row.ys, row.first);
      this.rowOf.fill(this.rows.length, row.first, row.first + row.xs.length);
      (row.access ?? []).forEach((kind, i) => kind && this.access.set(row.first + i, `access_${kind}`));
      const [left, right] = ends(row.xs);
      const [top, bottom] = ends(row.ys);
      /** @type {Row} */
      const kept = {
        label: row.label,
        first: row.first,
        count: row.xs.length,
        area: this.areas.length,
        left: left - MARGIN,
        top: top - MARGIN,
        right: right + MARGIN,
        bottom: bottom + MARGIN,
        numbers: row.numbers,
      };
      area.rows.push(kept);
      this.rows.push(kept);
    }
    area.box = area.seated
      ? around(area.rows.map((row) => [row.left, row.top, row.right, row.bottom]))
      : /** @type {[number, number, number, number]} */ (json.box);
    area.spots = this.#spots(area);
    this.areas.push(area);
  }

  /** Where the name of an area may stand, best first: at the seats in the middle of its rows, beginning with its own middle. @param {Area} area @returns {[number, number][]} */
  #spots({ box: [left, top, right, bottom], rows }) {
    if (!rows.length) return [[(left + right) / 2, (top + bottom) / 2]];
    const step = Math.ceil(rows.length / SPOTS_MAX);
    const found = rows
      .filter((_, at) => at % step === Math.floor(step / 2))
      .map(({ first, count }) => {
        // An even row has its middle between two seats.
        const [a, b] = [first + ((count - 1) >> 1), first + (count >> 1)];
        return /** @type {[number, number]} */ ([(this.xs[a] + this.xs[b]) / 2, (this.ys[a] + this.ys[b]) / 2]);
      });
    const middle = found.reduce(([x, y], spot) => [x + spot[0] / found.length, y + spot[1] / found.length], [0, 0]);
    return found.sort((a, b) => Math.hypot(a[0] - middle[0], a[1] - middle[1]) - Math.hypot(b[0] - middle[0], b[1] - middle[1]));
  }

  /** @param {number} seat */
  row(seat) {
    return this.rows[this.rowOf[seat]];
  }

  /** @param {number} seat */
  area(seat) {
    return this.areas[this.row(seat).area];
  }

  /** The number that is painted on the seat. @param {number} seat */
  number(seat) {
    const row = this.row(seat);
    return row.numbers[seat - row.first];
  }

  /** What the API calls the seat: `Stalls:A-7`, or `Boxes:7` where the area has one row. @param {number} seat */
  name(seat) {
    return `${this.area(seat).name}:${this.#local(seat)}`;
  }

  /** The seat that the API calls so, with its area or without; null when there is none. @param {string} name */
  find(name) {
    for (const row of this.rows) {
      const area = this.areas[row.area];
      const short = name.startsWith(`${area.name}:`) ? name.slice(area.name.length + 1) : name;
      const prefix = row.label && area.rows.length > 1 ? `${row.label}-` : "";
      const at = short.startsWith(prefix) ? row.numbers.indexOf(short.slice(prefix.length)) : -1;
      if (at >= 0) return row.first + at;
    }
    return null;
  }

  /** The seats to the left and to the right with no aisle between. @param {number} seat */
  beside(seat) {
    const { first, count } = this.row(seat);
    return [seat - 1, seat + 1].filter(
      (other) =>
        other >= first && other < first + count &&
        Math.hypot(this.xs[other] - this.xs[seat], this.ys[other] - this.ys[seat]) <= NEIGHBOURS_WITHIN,
    );
  }

  /** What the area asks of most people for the seat, in minor units. @param {number} seat */
  price(seat) {
    return this.area(seat).price;
  }

  /** @param {number} seat */
  #local(seat) {
    const row = this.row(seat);
    return row.label && this.areas[row.area].rows.length > 1 ? `${row.label}-${this.number(seat)}` : this.number(seat);
  }

  /**
   * Takes a whole availability. Older ones than what is known are left alone.
   * @param {AvailabilityJson} availability
   */
  reset(availability) {
    if (availability.revision < this.revision) return;
    const taken = bitmap(availability.taken);
    const blocked = bitmap(availability.blocked ?? "");
    /** @type {number[]} */
    const changed = [];
    for (let seat = 0; seat < this.count; seat += 1) {
      const bit = 1 << (seat & 7);
      const state = blocked[seat >> 3] & bit ? BLOCKED : taken[seat >> 3] & bit ? TAKEN : FREE;
      if (this.#set(seat, state)) changed.push(seat);
    }
    this.#count(availability.areas);
    this.revision = availability.revision;
    this.#tell(changed);
  }

  /** Takes the last states of all seats that changed since what is known. @param {DeltaJson} delta */
  apply(delta) {
    if (delta.revision <= this.revision) return;
    /** @type {number[]} */
    const changed = [];
    const blocked = new Set(delta.blocked);
    for (const seat of delta.taken) if (this.#set(seat, blocked.has(seat) ? BLOCKED : TAKEN)) changed.push(seat);
    const before = changed.length;
    for (const seat of delta.freed) if (this.#set(seat, FREE)) changed.push(seat);
    const freed = changed.length - before;
    this.#count(delta.areas);
    this.revision = delta.revision;
    this.#tell(changed);
    if (freed) this.dispatchEvent(new CustomEvent("freed", { detail: freed }));
  }

  /** Whether this buyer has the seat or can have it. @param {number} seat */
  isFree(seat) {
    return this.state[seat] === FREE || this.state[seat] === CHOSEN;
  }

  /** Chooses a free seat or lets it go; says whether it is chosen now. @param {number} seat */
  toggle(seat) {
    if (this.chosen.delete(seat)) this.state[seat] = FREE;
    else if (this.state[seat] === FREE) {
      this.chosen.add(seat);
      this.state[seat] = CHOSEN;
    }
    this.#tell([seat]);
    return this.chosen.has(seat);
  }

  /** Takes it from the server that these are somebody else's, before the stream says so. @param {number[]} seats */
  lose(seats) {
    this.#tell(seats.filter((seat) => this.#set(seat, TAKEN)));
  }

  /** Lets go of all that were chosen. */
  clear() {
    const seats = [...this.chosen];
    for (const seat of seats) this.state[seat] = FREE;
    this.chosen.clear();
    this.#tell(seats);
  }

  /** @param {number} seat @param {number} state FREE, TAKEN or BLOCKED, as the API says; a free one may be chosen */
  #set(seat, state) {
    const before = this.state[seat];
    if (state === before || (state === FREE && before === CHOSEN)) return false;
    // Who was told that a seat is blocked learns by the next whole availability that it is merely taken.
    if (state === TAKEN && before === BLOCKED) return false;
    if (this.chosen.delete(seat)) this.dispatchEvent(new CustomEvent("lost", { detail: seat }));
    this.state[seat] = state;
    return true;
  }

  /** @param {{id: number, available: number}[]} areas */
  #count(areas) {
    for (const { id, available } of areas) {
      const area = this.areas[id - 1];
      if (area) area.left = available;
    }
  }

  /** @param {number[]} seats */
  #tell(seats) {
    this.dispatchEvent(new CustomEvent("change", { detail: seats }));
  }
}

/** @param {string} base64 */
function bitmap(base64) {
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  return bytes;
}

/** The least and the greatest. @param {number[]} values @returns {[number, number]} */
function ends(values) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return [least, most];
}

/**
 * The smallest box around boxes; one metre around nothing.
 * @param {number[][]} boxes
 * @returns {[number, number, number, number]}
 */
function around(boxes) {
  if (!boxes.length) return [0, 0, 1, 1];
  return [
    ends(boxes.map((box) => box[0]))[0],
    ends(boxes.map((box) => box[1]))[0],
    ends(boxes.map((box) => box[2]))[1],
    ends(boxes.map((box) => box[3]))[1],
  ];
}
