/**
 * What was chosen, what it costs, and what there is to say about it. The choice is kept in the tab, so that a reload does
 * not lose it.
 */

import { make } from "./words.js";

/** @typedef {import("./seats.js").Seats} Seats */
/** @typedef {import("./words.js").Words} Words */
/** @typedef {{label: string, act: () => void, first?: boolean}} Step */

/** Messages that come within this time are said in one go, in milliseconds. */
const SAY_AFTER = 350;

/** The basket. Tells `claim` when somebody wants to have what is in it, `show` with a seat to look at. */
export class Basket extends EventTarget {
  /** Which tier each chosen seat is for, by its place among the area's. @type {Map<number, number>} */
  #tiers = new Map();
  #list = make("ul", { class: "rows" });
  #empty;
  #total = make("span", { class: "price" });
  #button;
  #title;
  #note = make("div", { class: "note", tabindex: -1, hidden: true });
  #spoken = make("div", { class: "unseen", role: "status" });
  /** @type {string[]} */
  #unsaid = [];
  #saying = 0;
  #kept;

  /**
   * @param {HTMLElement} box
   * @param {Seats} seats
   * @param {Words} words
   * @param {string} api the address of the show, which the choice is kept under
   */
  constructor(box, seats, words, api) {
    super();
    this.seats = seats;
    this.words = words;
    this.#kept = `chosen:${api}`;
    this.box = box;
    this.#title = make("h2", { tabindex: -1 }, words.text("your_seats"));
    this.#empty = make("p", { class: "soft" }, words.text("nothing_chosen"));
    this.#button = make("button", { type: "button", class: "button wide", onclick: () => this.dispatchEvent(new Event("claim")) }, words.text("claim"));
    box.append(
      this.#spoken,
      this.#title,
      this.#note,
      this.#empty,
      this.#list,
      make("p", { class: "total" }, make("span", {}, words.text("total")), this.#total),
      this.#button,
    );
    seats.addEventListener("change", () => this.#renew());
    this.#restore();
    this.#renew();
  }

  /** The claim for what is chosen; null when nothing is. */
  body() {
    const party = [...this.seats.chosen];
    if (!party.length) return null;
    // The server gives out the tiers in the order of the seats: those of one tier stand together, the first tier first.
    party.sort((a, b) => this.#tierOf(a) - this.#tierOf(b));
    /** @type {Record<string, unknown>} */
    const body = { seats: party.map((seat) => this.seats.name(seat)) };
    if (party.some((seat) => this.seats.area(seat).tiers.length > 1)) {
      /** @type {Record<string, number>} */
      const tiers = {};
      for (const seat of party) {
        const name = this.#tier(seat)?.name;
        if (name !== undefined) tiers[name] = (tiers[name] ?? 0) + 1;
      }
      const names = Object.keys(tiers);
      if (names.length === 1) body.tier = names[0];
      else body.tiers = tiers;
    }
    return body;
  }

  /** Has seats in place of others, for the same prices in the same order. @param {number[]} party @param {number[]} instead */
  exchange(party, instead) {
    const tiers = party.map((seat) => this.#tierOf(seat));
    this.seats.clear();
    instead.forEach((seat, at) => {
      if (!this.seats.isFree(seat)) return;
      this.#tiers.set(seat, tiers[at] ?? 0);
      this.seats.toggle(seat);
    });
  }

  /** Says something to who listens rather than looks; what is said at about the same time is one sentence after the other. @param {string} text */
  say(text) {
    if (this.#unsaid.at(-1) !== text) this.#unsaid.push(text);
    this.#saying ||= window.setTimeout(() => {
      this.#spoken.textContent = this.#unsaid.join(" ");
      this.#unsaid = [];
      this.#saying = 0;
    }, SAY_AFTER);
  }

  /**
   * Tells what happened, and what can be done now.
   * @param {"warn" | "bad" | "good" | ""} kind
   * @param {string} text
   * @param {Step[]} [steps]
   * @param {boolean} [go] whether to go there: after a refusal, not while somebody is choosing
   */
  tell(kind, text, steps = [], go = false) {
    this.#note.className = `note ${kind}`;
    const buttons = steps.map(({ label, act, first }) =>
      make("button", { type: "button", class: first ? "button" : "button quiet", onclick: () => (this.hush(), act()) }, label));
    this.#note.replaceChildren(make("p", {}, text), ...(buttons.length ? [make("div", { class: "buttons" }, ...buttons)] : []));
    this.#note.hidden = false;
    if (go) this.#note.focus();
    else this.say(text);
  }

  /** Takes back what was told. */
  hush() {
    this.#note.hidden = true;
  }

  /** Locks the button while a claim is on its way. @param {boolean} busy */
  busy(busy) {
    this.#button.setAttribute("aria-disabled", String(busy || !this.seats.chosen.size));
    this.#button.textContent = this.words.text(busy ? "claiming" : "claim");
    this.isBusy = busy;
  }

  isBusy = false;

  /** Forgets the choice that was kept for a reload. */
  forget() {
    sessionStorage.removeItem(this.#kept);
  }

  /** @param {number} seat */
  #tierOf(seat) {
    return Math.min(this.#tiers.get(seat) ?? 0, Math.max(0, this.seats.area(seat).tiers.length - 1));
  }

  /** @param {number} seat */
  #tier(seat) {
    return this.seats.area(seat).tiers[this.#tierOf(seat)];
  }

  #renew() {
    const chosen = [...this.seats.chosen];
    const shown = [...this.#list.children].map((row) => Number(/** @type {HTMLElement} */ (row).dataset.seat));
    // Rows that stay are left alone: somebody may just be at one of them.
    for (const row of [...this.#list.children]) {
      if (!this.seats.chosen.has(Number(/** @type {HTMLElement} */ (row).dataset.seat))) this.#drop(/** @type {HTMLElement} */ (row));
    }
    for (const seat of chosen) if (!shown.includes(seat)) this.#list.append(this.#row(seat));
    const total = chosen.reduce((sum, seat) => sum + (this.#tier(seat)?.amount ?? 0), 0);
    this.#empty.hidden = chosen.length > 0;
    this.box.classList.toggle("empty", !chosen.length);
    this.#total.textContent = chosen.length ? this.words.money(total) : "";
    if (!this.isBusy) this.busy(false);
    this.#keep();
  }

  /** @param {HTMLElement} row */
  #drop(row) {
    const had = row.contains(document.activeElement);
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    // Whoever let a seat go by its button stands at the next one, not at the top of the page.
    if (had) (/** @type {HTMLElement | null} */ (next?.querySelector("button.away")) ?? this.#title).focus();
  }

  /** @param {number} seat */
  #row(seat) {
    const { tiers } = this.seats.area(seat);
    const place = this.words.fullPlace(this.seats, seat);
    const price = make("span", { class: "price" }, this.words.money(this.#tier(seat)?.amount ?? 0));
    const kind = make("span", {});
    if (tiers.length > 1) {
      const select = make("select", { "aria-label": this.words.text("price_of", { place }) });
      tiers.forEach((tier, at) => select.append(make("option", { value: at }, tier.name)));
      select.value = String(this.#tierOf(seat));
      select.addEventListener("change", () => {
        this.#tiers.set(seat, Number(select.value));
        price.textContent = this.words.money(this.#tier(seat)?.amount ?? 0);
        this.#renew();
      });
      kind.append(select);
    } else if (tiers.length) kind.append(make("span", { class: "soft" }, tiers[0].name));
    const access = this.seats.access.get(seat);
    const show = make("button", { type: "button", class: "plain", onclick: () => this.dispatchEvent(new CustomEvent("show", { detail: seat })) }, place);
    const away = make("button", { type: "button", class: "button quiet away", "aria-label": this.words.text("let_go_of", { place }), onclick: () => this.seats.toggle(seat) }, "×");
    return make("li", { "data-seat": seat }, make("div", { class: "what" }, show, ...(access ? [make("span", { class: "soft" }, this.words.text(access))] : []), kind), price, away);
  }

  #keep() {
    const chosen = [...this.seats.chosen].map((seat) => [this.seats.name(seat), this.#tierOf(seat)]);
    try {
      if (chosen.length) sessionStorage.setItem(this.#kept, JSON.stringify(chosen));
      else sessionStorage.removeItem(this.#kept);
    } catch {
      // A browser that keeps nothing loses the choice by a reload, and nothing else.
    }
  }

  #restore() {
    /** @type {[string, number][]} */
    let kept = [];
    try {
      kept = JSON.parse(sessionStorage.getItem(this.#kept) ?? "[]");
    } catch {
      return;
    }
    for (const [name, tier] of kept) {
      const seat = this.seats.find(name);
      if (seat === null || !this.seats.isFree(seat) || this.seats.chosen.has(seat)) continue;
      this.#tiers.set(seat, tier);
      this.seats.toggle(seat);
    }
  }
}
