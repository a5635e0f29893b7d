/**
 * The page on which seats are chosen: map, list, legend and basket over one state, kept true by the live stream. Choosing
 * is instant and of this page alone; the claim decides. Where anything of it does not work, the plain form stays.
 */

import { Basket } from "./basket.js";
import { BestForm } from "./best.js";
import { Claims } from "./claim.js";
import { Legend } from "./legend.js";
import { SeatList } from "./list.js";
import { availability, Live } from "./live.js";
import { SeatMap, warm } from "./map.js";
import { nearest } from "./offers.js";
import { Seats } from "./seats.js";
import { make, pageState, Words } from "./words.js";

/** @typedef {import("./claim.js").Answer} Answer */
/** @typedef {import("./claim.js").Booking} Booking */
/** @typedef {import("./claim.js").Problem} Problem */
/** @typedef {import("./basket.js").Step} Step */
/** @typedef {{show: {id: string, name: string, version: number, max_places_per_booking: number}, tiers: import("./seats.js").TierJson[], api: string, bookings: string, code: string | null, currency: string, language: string, digits: number, texts: Record<string, string>}} State */

/** Seats that come free are told of so often at most, in milliseconds: a rush would never stop talking. */
const FREED_EVERY = 15_000;

class Choosing {
  /** @type {number[]} */
  #lost = [];
  #freed = 0;
  #freedTimer = 0;

  /**
   * @param {HTMLElement} box
   * @param {State} state
   * @param {Seats} seats
   * @param {Live} live
   * @param {Words} words
   */
  constructor(box, state, seats, live, words) {
    this.api = state.api;
    this.bookings = state.bookings;
    this.code = state.code;
    this.max = state.show.max_places_per_booking;
    this.seats = seats;
    this.live = live;
    this.words = words;
    const t = (/** @type {string} */ key) => this.words.text(key);

    const canvas = make("canvas", { class: "seats", tabindex: 0, role: "application", "aria-label": t("map_label"), "aria-describedby": "map-help" });
    const small = make("canvas", { class: "small", "aria-hidden": "true" });
    this.hint = make("div", { class: "hint", hidden: true, "aria-hidden": "true" });
    const zoom = make("div", { class: "zoom" });
    const map = make("div", { class: "map" }, canvas, small, this.hint, zoom);
    const list = make("div", { class: "seat-list" });
    const legend = make("div");
    const form = make("form", { class: "best" });
    const basket = make("section", { class: "basket", "aria-label": t("your_seats") });
    const best = make("details", { class: "panel best-box" }, make("summary", {}, t("best_title")), form);
    box.replaceChildren(
      make("div", { class: "choose-where" },
        make("p", { class: "skips" }, make("a", { href: "#seat-list" }, t("to_list"))),
        best, legend, map, make("p", { id: "map-help", class: "soft" }, t("map_help")),
        make("h2", { id: "seat-list", tabindex: -1 }, t("list_title")), make("p", { class: "soft" }, t("list_help")), list),
      basket,
    );
    box.hidden = false;

    this.map = new SeatMap(canvas, seats, this.words, small);
    this.list = new SeatList(list, seats, this.words);
    this.basket = new Basket(basket, seats, this.words, this.api);
    this.best = new BestForm(form, seats, this.words, this.max);
    this.legend = new Legend(legend, seats, this.words);
    this.claims = new Claims(this.api, () => this.basket.tell("warn", t("trouble")));
    for (const [key, sign, act] of /** @type {[string, string, () => void][]} */ ([
      ["zoom_in", "+", () => this.map.zoom(1.6)], ["zoom_out", "−", () => this.map.zoom(1 / 1.6)], ["whole_plan", "⤢", () => this.map.whole()],
    ])) zoom.append(make("button", { type: "button", class: "button quiet", "aria-label": t(key), title: t(key), onclick: act }, sign));
    this.#listen();
    if (this.claims.unanswered) void this.#recall();
  }

  #listen() {
    const picked = (/** @type {Event} */ event) => this.#pick(/** @type {CustomEvent} */ (event).detail);
    const standing = (/** @type {Event} */ event) => {
      const details = this.best.form.closest("details");
      if (details) details.open = true;
      this.best.choose(/** @type {CustomEvent} */ (event).detail);
    };
    this.map.addEventListener("pick", picked);
    this.list.addEventListener("pick", picked);
    this.map.addEventListener("area", standing);
    this.list.addEventListener("area", standing);
    this.map.addEventListener("hover", (event) => this.#hover(/** @type {CustomEvent} */ (event).detail));
    this.map.addEventListener("over", (event) => this.#over(/** @type {CustomEvent} */ (event).detail));
    this.map.addEventListener("move", () => this.#hover(null));
    this.list.addEventListener("stand", (event) => this.map.mark(/** @type {CustomEvent} */ (event).detail));
    this.basket.addEventListener("show", (event) => {
      this.map.showSeat(/** @type {CustomEvent} */ (event).detail);
      // Who was at the list sees nothing of it else.
      this.map.canvas.scrollIntoView({ block: "start", behavior: "instant" });
    });
    this.basket.addEventListener("claim", () => void this.#claim());
    this.best.addEventListener("wanted", (event) => void this.#ask(/** @type {CustomEvent} */ (event).detail, []));
    this.legend.addEventListener("filter", () => {
      this.map.filter(this.legend.wanted);
      this.list.filter(this.legend.wanted);
      this.best.filter(this.legend.prices);
    });
    this.live.addEventListener("state", (event) => this.legend.live(/** @type {CustomEvent} */ (event).detail));
    this.seats.addEventListener("lost", (event) => {
      if (!this.#lost.length) setTimeout(() => this.#tellLost(), 0);
      this.#lost.push(/** @type {CustomEvent} */ (event).detail);
    });
    this.seats.addEventListener("freed", (event) => this.#tellFreed(/** @type {CustomEvent} */ (event).detail));
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.basket.busy(false);
    });
  }

  /** @param {number} seat */
  #pick(seat) {
    const place = this.words.fullPlace(this.seats, seat);
    if (this.basket.isBusy) return;
    if (!this.seats.isFree(seat)) {
      this.basket.say(this.words.text("is_taken", { place }));
      return;
    }
    if (!this.seats.chosen.has(seat) && this.seats.chosen.size >= this.max) {
      this.basket.tell("warn", this.words.text("too_many", { n: this.max }));
      return;
    }
    this.basket.hush();
    const chosen = this.seats.toggle(seat);
    this.basket.say(this.words.text(chosen ? "was_chosen" : "was_let_go", { place, n: this.seats.chosen.size }));
  }

  /** @param {number | null} seat */
  #hover(seat) {
    this.hint.hidden = seat === null;
    if (seat === null) return;
    const price = this.seats.isFree(seat) ? ` · ${this.words.price(this.seats.area(seat))}` : "";
    this.#hint(`${this.words.fullPlace(this.seats, seat)}${price} · ${this.words.state(this.seats, seat)}`, this.map.placeOf(seat));
  }

  /** @param {{area: number, at: {x: number, y: number}}} over */
  #over({ area, at }) {
    const { name, left } = this.seats.areas[area];
    this.#hint(`${name} · ${this.words.price(this.seats.areas[area])} · ${left ? this.words.text("left", { n: left }) : this.words.text("sold_out")}`, at);
  }

  /** @param {string} text @param {{x: number, y: number}} at */
  #hint(text, { x, y }) {
    this.hint.hidden = false;
    this.hint.textContent = text;
    // Near an edge it stays within the map.
    const half = this.hint.offsetWidth / 2 + 4;
    const wide = this.map.canvas.clientWidth;
    this.hint.style.left = `${Math.max(half, Math.min(wide - half, x))}px`;
    this.hint.style.top = `${Math.max(this.hint.offsetHeight + 20, y)}px`;
  }

  async #claim() {
    const body = this.basket.body();
    if (!body) return;
    await this.#ask(body, [...this.seats.chosen]);
  }

  /** Somebody comes back who never heard what became of their claim. */
  async #recall() {
    if (this.claims.isWaiting) return this.#resume();
    const booking = await this.claims.found();
    if (booking) this.#go(booking);
  }

  async #resume() {
    this.basket.tell("", this.words.text("resuming"));
    const body = this.claims.unanswered?.body ?? {};
    const names = /** @type {string[]} */ (body.seats ?? []);
    const party = names.map((name) => this.seats.find(name)).filter((seat) => seat !== null);
    this.basket.busy(true);
    this.#answered(await this.claims.resume(), /** @type {number[]} */ (party), body);
  }

  /** @param {Record<string, unknown>} body @param {number[]} party the seats that are asked for by name */
  async #ask(body, party) {
    // A second click is the same claim: the button says that it is on its way.
    if (this.basket.isBusy) return;
    this.basket.busy(true);
    this.basket.hush();
    this.basket.say(this.words.text("claiming"));
    const whole = this.code ? { ...body, code: this.code } : body;
    this.#answered(await this.claims.claim(whole), party, body);
  }

  /** @param {Answer | null} answer @param {number[]} party @param {Record<string, unknown>} body */
  #answered(answer, party, body) {
    if (answer?.booking) {
      this.#go(answer.booking);
      return;
    }
    this.basket.busy(false);
    if (!answer) {
      this.basket.tell("bad", this.words.text("no_answer"), [{ label: this.words.text("ask_again"), act: () => void this.#resume(), first: true }], true);
      return;
    }
    void this.#refused(answer.problem, party, body);
  }

  /** On to the booking's page, which says also what had to be given up; the right to it goes by a form, and stands in no address. @param {Booking} booking */
  #go(booking) {
    this.basket.forget();
    const form = make("form", { method: "post", action: `${this.bookings}${booking.id}/open`, hidden: true },
      make("input", { type: "hidden", name: "secret", value: booking.secret }),
      make("input", { type: "hidden", name: "relaxed", value: booking.relaxed ?? "" }));
    document.body.append(form);
    form.submit();
  }

  /** @param {Problem} problem @param {number[]} party @param {Record<string, unknown>} body */
  async #refused(problem, party, body) {
    const seats = this.#named(problem.seats);
    const places = seats.map((seat) => this.words.fullPlace(this.seats, seat)).join("; ");
    if (problem.code === "seats_taken") {
      await this.live.read();
      this.#lost = [];
      this.seats.lose(seats);
      this.#lost = [];
      this.basket.tell("warn", this.words.text("refused_seats_taken", { places }), this.#instead(problem, party), true);
      return;
    }
    if (problem.code === "orphan_seat") {
      // Kindly: which seat would stay alone, and two ways out.
      const steps = this.#instead(problem, party);
      if (party.length + seats.length <= this.max) {
        steps.unshift({ label: this.words.text("take_too", { places }), act: () => this.#take(party, [...party, ...seats]), first: true });
      }
      this.basket.tell("warn", this.words.text("refused_orphan_seat", { places }), steps, true);
      return;
    }
    if (problem.code === "not_together") {
      const apart = () => void this.#ask({ ...body, split: true }, []);
      this.basket.tell("warn", this.words.text("refused_not_together"), [{ label: this.words.text("take_apart"), act: apart, first: true }], true);
      return;
    }
    const known = ["sold_out", "not_on_sale", "limit_reached", "hold_limit", "too_many_places", "code_required", "rate_limited", "busy"];
    const key = known.includes(problem.code) ? problem.code : "else";
    this.basket.tell("bad", this.words.text(`refused_${key}`, { title: problem.title ?? "" }), [], true);
    void this.live.read();
  }

  /** @param {string[]} [names] */
  #named(names = []) {
    const seats = names.map((name) => this.seats.find(name)).filter((seat) => seat !== null);
    return /** @type {number[]} */ (seats);
  }

  /** The way on to the seats that the server offers in place of those it refused, if it does. @param {Problem} problem @param {number[]} party @returns {Step[]} */
  #instead(problem, party) {
    const offer = this.#named(problem.offered);
    if (!offer.length || !offer.every((seat) => this.seats.isFree(seat))) return [];
    this.map.showSeat(offer[0]);
    return [{ label: this.words.text("take_instead", { places: this.#places(offer) }), act: () => this.#take(party, offer), first: true }];
  }

  /** Who was refused and takes what is offered need not say twice that they want it. @param {number[]} party @param {number[]} instead */
  #take(party, instead) {
    this.#replace(party, instead);
    void this.#claim();
  }

  /** @param {number[]} seats */
  #places(seats) {
    const [first] = seats;
    const oneRow = seats.every((seat) => this.seats.row(seat) === this.seats.row(first));
    if (!oneRow || seats.length === 1) return seats.map((seat) => this.words.fullPlace(this.seats, seat)).join("; ");
    const numbers = seats.map((seat) => this.seats.number(seat)).join(", ");
    const { label } = this.seats.row(first);
    return `${this.seats.area(first).name}, ${this.words.text(label ? "row_seats" : "some_seats", { row: label, seats: numbers })}`;
  }

  /** @param {number[]} party @param {number[]} instead */
  #replace(party, instead) {
    this.basket.exchange(party, instead);
    this.basket.say(this.words.text("were_chosen", { places: this.#places(instead) }));
  }

  #tellLost() {
    const lost = this.#lost;
    this.#lost = [];
    // While a claim is on its way these may be ours: its answer says so.
    if (this.basket.isBusy || !lost.length) return;
    const places = lost.map((seat) => this.words.fullPlace(this.seats, seat)).join("; ");
    const party = [...this.seats.chosen, ...lost];
    const offer = nearest(this.seats, party);
    if (offer.length) this.map.showSeat(offer[0]);
    const step = { label: this.words.text("choose_instead", { places: this.#places(offer) }), act: () => this.#replace(party, offer), first: true };
    this.basket.tell("warn", this.words.text("was_lost", { places }), offer.length ? [step] : []);
  }

  /** @param {number} n */
  #tellFreed(n) {
    this.#freed += n;
    this.#freedTimer ||= window.setTimeout(() => {
      this.#freedTimer = 0;
      this.basket.say(this.words.text("came_free", { n: this.#freed }));
      this.#freed = 0;
    }, FREED_EVERY);
  }
}

/** @param {Response} answer */
function json(answer) {
  if (!answer.ok) throw new Error(`${answer.url} was answered with ${answer.status}.`);
  return answer.json();
}

async function begin() {
  const box = document.getElementById("choose");
  /** @type {State | null} */
  const state = pageState();
  if (!box || !state) return;
  try {
    // At once, for a phone waits longer for each answer than for its bytes.
    const asked = Promise.all([
      fetch(`${state.api}/layout?version=${state.show.version}`, { credentials: "omit" }).then(json),
      availability(state.api).then(json),
    ]);
    // What needs no data is ready before it comes: formats of money and typefaces take a phone a tenth of a second.
    const words = new Words(state.texts, state.language, state.currency, state.digits);
    warm(words);
    const [layout, taken] = await asked;
    const seats = new Seats(layout, state.tiers);
    seats.reset(taken);
    const live = new Live(seats, state.api);
    live.start();
    new Choosing(box, state, seats, live, words);
    for (const plain of document.querySelectorAll("[data-plain]")) plain.remove();
  } catch (error) {
    document.documentElement.classList.add("plain");
    console.error(error);
  }
}

void begin();
