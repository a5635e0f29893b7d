/**
 * "The best n, please": how many of which price, where, and whether apart will do. The server finds them.
 */

import { make } from "./words.js";

/** @typedef {import("./seats.js").Seats} Seats */
/** @typedef {import("./words.js").Words} Words */

/** More than this are for groups, who ask the organizer. */
const OFFERED_MAX = 20;
/** Most people come in twos. */
const USUAL = 2;

/** The form. Tells `wanted` with the body of the claim. */
export class BestForm extends EventTarget {
  /** @type {Map<string, HTMLSelectElement>} */
  #counts = new Map();
  #counters = make("div", { class: "line-up" });
  #area;
  #split;
  #prices = new Set();

  /**
   * @param {HTMLFormElement} form
   * @param {Seats} seats
   * @param {Words} words
   * @param {number} placesMax
   */
  constructor(form, seats, words, placesMax) {
    super();
    this.form = form;
    this.seats = seats;
    this.words = words;
    this.placesMax = Math.min(placesMax, OFFERED_MAX);
    this.#prices = new Set(seats.prices);
    this.#area = make("select", { id: "best-area", onchange: () => this.#renew() });
    this.#split = make("input", { type: "checkbox", id: "best-split" });
    const where = make("div", { class: "field" }, make("label", { for: "best-area" }, words.text("where")), this.#area);
    const apart = make("label", { class: "tick" }, this.#split, words.text("apart_will_do"));
    const button = make("button", { class: "button second wide" }, words.text("take_best"));
    form.append(where, this.#counters, apart, button);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#areas();
    this.#renew();
  }

  /** Offers the areas of these prices alone. @param {Set<number>} prices */
  filter(prices) {
    this.#prices = prices;
    this.#areas();
    this.#renew();
  }

  /** Asks for places of this area. @param {number} index */
  choose(index) {
    this.#area.value = this.seats.areas[index].name;
    this.#renew();
    [...this.#counts.values()][0]?.focus();
  }

  #areas() {
    const before = this.#area.value;
    const wanted = this.seats.areas.filter((area) => this.#prices.has(area.price));
    const seated = wanted.filter((area) => area.seated);
    const options = wanted.map((area) => make("option", { value: area.name }, `${area.name} · ${this.words.price(area)}`));
    // Anywhere means all areas with seats; of a part of them one is named.
    const anywhere = seated.length > 1 && seated.length === this.seats.areas.filter((area) => area.seated).length;
    if (anywhere) options.unshift(make("option", { value: "" }, this.words.text("anywhere")));
    this.#area.replaceChildren(...options);
    if (options.some((option) => option.value === before)) this.#area.value = before;
  }

  get #chosen() {
    return this.seats.areas.find((area) => area.name === this.#area.value);
  }

  /** The prices that can be asked for in the area: all names where any area will do. */
  #renew() {
    const area = this.#chosen;
    const areas = area ? [area] : this.seats.areas.filter((each) => each.seated);
    const names = [...new Set(areas.flatMap((each) => each.tiers.map((tier) => tier.name)))];
    const before = new Map([...this.#counts].map(([name, select]) => [name, select.value]));
    this.#counts.clear();
    this.#counters.replaceChildren();
    (names.length ? names : [""]).forEach((name, at) => {
      const select = make("select", { id: `best-${at}` });
      for (let n = 0; n <= this.placesMax; n += 1) if (n || at) select.append(make("option", { value: n }, String(n)));
      select.value = before.get(name) ?? String(at ? 0 : Math.min(USUAL, this.placesMax));
      this.#counts.set(name, select);
      const tier = area?.tiers.find((each) => each.name === name);
      const label = name ? (tier ? `${name} · ${this.words.money(tier.amount)}` : name) : this.words.text("how_many");
      this.#counters.append(make("div", { class: "field" }, make("label", { for: select.id }, label), select));
    });
    this.#split.closest("label")?.toggleAttribute("hidden", area !== undefined && !area.seated);
    // The first has no zero unless there is another to count on.
    const first = [...this.#counts.values()][0];
    if (this.#counts.size > 1) first.prepend(make("option", { value: 0 }, "0"));
  }

  /** The claim that the form asks for. */
  body() {
    const counts = [...this.#counts].map(([name, select]) => /** @type {[string, number]} */ ([name, Number(select.value)])).filter(([, n]) => n);
    const n = counts.reduce((sum, [, count]) => sum + count, 0);
    const area = this.#chosen;
    /** @type {Record<string, unknown>} */
    const body = area && !area.seated ? { quantity: n } : { best_available: n };
    if (area) body.area = area.name;
    if (this.#split.checked && (!area || area.seated)) body.split = true;
    const named = counts.filter(([name]) => name);
    if (named.length === 1) body.tier = named[0][0];
    else if (named.length > 1) body.tiers = Object.fromEntries(named);
    return n ? body : null;
  }

  #send() {
    const body = this.body();
    if (body) this.dispatchEvent(new CustomEvent("wanted", { detail: body }));
    else [...this.#counts.values()][0].focus();
  }
}
