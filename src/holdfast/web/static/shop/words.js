/**
 * What a page tells its scripts, and how they speak: the texts stand in the page's `<script id="state">`, in the
 * visitor's language, so that the catalogues stay in one place.
 *
 * @typedef {import("./seats.js").Area} Area
 */

/** What the page says in its element `state`, null on a page without one. @param {string} [id] */
export function pageState(id = "state") {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent ?? "null") : null;
}

/** Texts, amounts and names of seats in the language of the page. */
export class Words {
  #texts;
  #money;
  #divisor;
  #language;
  #short;
  /** @type {Intl.NumberFormat | null} */
  #counts = null;
  /** A plan says the same few prices again and again. @type {Map<number, string>} */
  #amounts = new Map();

  /**
   * @param {Record<string, string>} texts
   * @param {string} language as in `lang`
   * @param {string} currency
   * @param {number} digits of the minor unit
   */
  constructor(texts, language, currency, digits) {
    this.#texts = texts;
    this.#divisor = 10 ** digits;
    this.#language = language === "en" ? "en-GB" : language;
    this.#money = this.#format(currency, digits);
    this.#short = this.#format(currency, 0);
  }

  /** The text with its values; its key where the page has none, so that it is found. @param {string} key @param {Record<string, string | number>} [values] */
  text(key, values = {}) {
    return (this.#texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => this.#said(values[name] ?? whole));
  }

  /** @param {number} amount in minor units */
  money(amount) {
    let said = this.#amounts.get(amount);
    if (said === undefined) {
      said = amount ? this.#money.format(amount / this.#divisor) : this.text("free_of_charge");
      this.#amounts.set(amount, said);
    }
    return said;
  }

  /** As short as it can be said, for where there is little room. @param {number} amount in minor units */
  shortMoney(amount) {
    return amount && amount % this.#divisor === 0 ? this.#short.format(amount / this.#divisor) : this.money(amount);
  }

  /** @param {string} currency @param {number} digits */
  #format(currency, digits) {
    return new Intl.NumberFormat(this.#language, { style: "currency", currency, minimumFractionDigits: digits, maximumFractionDigits: digits });
  }

  /** @param {string | number} value */
  #said(value) {
    if (typeof value === "string" || value < 1000) return String(value);
    this.#counts ??= new Intl.NumberFormat(this.#language);
    return this.#counts.format(value);
  }

  /** What a place of the area costs: one price, or where it begins. @param {Area} area */
  price(area) {
    const several = area.tiers.some((tier) => tier.amount !== area.least);
    return several ? this.text("from", { price: this.money(area.least) }) : this.money(area.least);
  }

  /** Row and seat, as people say it. @param {import("./seats.js").Seats} seats @param {number} seat */
  place(seats, seat) {
    const { label } = seats.row(seat);
    return this.text(label ? "row_seat" : "seat", { row: label, seat: seats.number(seat) });
  }

  /** What a seat is for and who has it, as people say it: "wheelchair place, free". @param {import("./seats.js").Seats} seats @param {number} seat */
  state(seats, seat) {
    const state = this.text(["state_free", "state_taken", "state_chosen", "state_blocked"][seats.state[seat]]);
    const access = seats.access.get(seat);
    return access ? `${this.text(access)}, ${state}` : state;
  }

  /** Area, row and seat. @param {import("./seats.js").Seats} seats @param {number} seat */
  fullPlace(seats, seat) {
    return `${seats.area(seat).name}, ${this.place(seats, seat)}`;
  }
}

/**
 * An element with attributes and children; `on...` are listeners, `true` and `false` set and leave out an attribute.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key.slice(2), /** @type {EventListener} */ (value));
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, String(value));
  }
  element.append(...children);
  return element;
}
