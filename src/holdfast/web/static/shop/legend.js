/**
 * What the marks on the map mean, how many places of each price are left, and which of them somebody wants to see.
 */

import { colourOf } from "./paint.js";
import { BLOCKED } from "./seats.js";
import { make } from "./words.js";

/** @typedef {import("./seats.js").Seats} Seats */
/** @typedef {import("./words.js").Words} Words */

/** Counts follow the changes so often, in milliseconds. */
const COUNT_EVERY = 500;

/** The legend. Tells `filter` when other seats are wanted. */
export class Legend extends EventTarget {
  /** The prices that are wanted: all, until somebody leaves one out. @type {Set<number>} */
  prices;
  #accessOnly = false;
  /** @type {Map<number, HTMLElement>} */
  #counts = new Map();
  #timer = 0;
  #live = make("span", { class: "tag" });

  /**
   * @param {HTMLElement} box
   * @param {Seats} seats
   * @param {Words} words
   */
  constructor(box, seats, words) {
    super();
    this.seats = seats;
    this.words = words;
    this.prices = new Set(seats.prices);
    const list = make("ul", { class: "legend prices-of", "aria-label": words.text("prices") });
    for (const price of seats.prices) list.append(this.#price(price));
    if (seats.access.size) list.append(this.#access());
    const kinds = new Set(seats.access.values());
    box.append(list, make("ul", { class: "legend", "aria-label": words.text("marks") },
      ...["free", "chosen", "taken", ...(seats.state.includes(BLOCKED) ? ["blocked"] : [])].map((kind) =>
        make("li", {}, make("span", { class: `dot ${kind}`, "aria-hidden": "true" }, kind === "chosen" ? "✓" : ""), ` ${words.text(`mark_${kind}`)}`)),
      ...["access_wheelchair", "access_companion"].filter((kind) => kinds.has(kind)).map((kind) =>
        make("li", {}, make("span", { class: `dot ${kind}`, "aria-hidden": "true" }), ` ${words.text(kind)}`)),
      make("li", {}, this.#live)));
    seats.addEventListener("change", () => {
      this.#timer ||= window.setTimeout(() => {
        this.#timer = 0;
        this.#count();
      }, COUNT_EVERY);
    });
    this.#count();
  }

  /** Whether a seat is among those that are wanted. @param {number} seat */
  wanted = (seat) => this.prices.has(this.seats.price(seat)) && (!this.#accessOnly || this.seats.access.has(seat));

  /** Says how the page hears of changes. @param {string} state */
  live(state) {
    this.#live.textContent = this.words.text(`live_${state}`);
    this.#live.className = `tag ${state === "live" ? "good" : state === "polling" ? "" : "warn"}`;
  }

  /** @param {number} price */
  #price(price) {
    const box = make("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      if (box.checked) this.prices.add(price);
      else this.prices.delete(price);
      this.dispatchEvent(new Event("filter"));
    });
    const dot = make("span", { class: "dot", "aria-hidden": "true" });
    dot.style.background = `var(--seat-${colourOf(this.seats, price)})`;
    const areas = this.seats.areas.filter((area) => area.price === price);
    const others = [...new Set(areas.flatMap((area) => area.tiers.filter((tier) => tier.amount !== price).map((tier) => tier.amount)))];
    const also = others.length ? ` (${others.map((amount) => this.words.money(amount)).join(", ")})` : "";
    const count = make("span", { class: "soft" });
    this.#counts.set(price, count);
    return make("li", {}, make("label", {}, box, dot, make("span", {}, `${this.words.money(price)}${also} `, count)));
  }

  #access() {
    const box = make("input", { type: "checkbox" });
    box.addEventListener("change", () => {
      this.#accessOnly = box.checked;
      this.dispatchEvent(new Event("filter"));
    });
    return make("li", {}, make("label", {}, box, this.words.text("access_only")));
  }

  #count() {
    for (const [price, element] of this.#counts) {
      const left = this.seats.areas.filter((area) => area.price === price).reduce((sum, area) => sum + area.left, 0);
      element.textContent = this.words.text("left", { n: left });
    }
  }
}
