/**
 * The seats as a list beside the map, on the same state: sections, their rows, their seats. By keyboard: one stop per
 * section, arrows between rows and seats, Enter chooses. Rows and seats are made when they are opened, so that a stadium
 * is not a hundred thousand elements.
 */

import { CHOSEN, FREE } from "./seats.js";
import { make } from "./words.js";

/** @typedef {import("./seats.js").Seats} Seats */
/** @typedef {import("./seats.js").Area} Area */
/** @typedef {import("./seats.js").Row} Row */
/** @typedef {import("./words.js").Words} Words */
/** @typedef {{head: HTMLButtonElement, seats: HTMLElement, made: boolean}} RowElements */

/** Sections of at most so many seats show all of them at once; of larger ones each row is opened. */
const OPEN_WHOLE_MAX = 700;
/** Counts of rows and sections follow the changes so often, in milliseconds. */
const COUNT_EVERY = 500;
/** So long the list waits at most for the first picture of the map, in milliseconds. */
const LATEST = 400;

/** The list. Tells `pick` with a seat that somebody wants to choose or let go, `area` with the index of one for standing. */
export class SeatList extends EventTarget {
  /** @type {Map<number, HTMLButtonElement>} */
  #buttons = new Map();
  /** @type {Map<Row, RowElements>} */
  #rows = new Map();
  /** @type {(() => void)[]} */
  #counters = [];
  #counting = 0;
  /** @type {(seat: number) => boolean} */
  #wanted = () => true;

  /**
   * @param {HTMLElement} box
   * @param {Seats} seats
   * @param {Words} words
   */
  constructor(box, seats, words) {
    super();
    this.box = box;
    this.seats = seats;
    this.words = words;
    seats.addEventListener("change", (event) => this.#changed(/** @type {CustomEvent} */ (event).detail));
    box.addEventListener("click", (event) => this.#clicked(event));
    box.addEventListener("keydown", (event) => this.#pressed(event));
    // The map is seen first; a page that nobody looks at has no frames.
    requestAnimationFrame(() => setTimeout(() => this.#begin()));
    setTimeout(() => this.#begin(), LATEST);
  }

  /** Makes the sections. */
  #begin() {
    if (this.box.children.length) return;
    this.box.append(...this.seats.areas.map((area, index) => (area.seated ? this.#section(area) : this.#standing(area, index))));
    this.#count();
  }

  /** Marks seats that are not wanted. @param {(seat: number) => boolean} wanted */
  filter(wanted) {
    this.#wanted = wanted;
    for (const seat of this.#buttons.keys()) this.#show(seat);
  }

  /** Opens the section and the row of a seat and goes there. @param {number} seat */
  focus(seat) {
    this.#begin();
    const row = this.seats.row(seat);
    const section = /** @type {HTMLDetailsElement} */ (this.box.children[row.area]);
    section.open = true;
    this.#fill(section, this.seats.areas[row.area]);
    this.#open(row);
    this.#goTo(this.#buttons.get(seat));
  }

  /** @param {Area} area */
  #section(area) {
    const left = make("span", { class: "soft" });
    const summary = make("summary", {}, make("span", {}, `${area.name} · ${this.words.price(area)}`), left);
    const section = make("details", { class: "section" }, summary);
    // At once, for `toggle` comes a moment later, when a quick Tab has gone by; and by `toggle`, for who opens it otherwise.
    summary.addEventListener("click", () => this.#fill(section, area));
    section.addEventListener("toggle", () => section.open && this.#fill(section, area));
    this.#counters.push(() => (left.textContent = this.words.text("left", { n: area.left })));
    return section;
  }

  /** @param {Area} area @param {number} index */
  #standing(area, index) {
    const left = make("span", { class: "soft" });
    this.#counters.push(() => (left.textContent = this.words.text("left", { n: area.left })));
    const choose = () => this.dispatchEvent(new CustomEvent("area", { detail: index }));
    return make("p", { class: "section standing" }, make("span", {}, `${area.name} · ${this.words.price(area)} · `, left),
      make("button", { type: "button", class: "button quiet", onclick: choose }, this.words.text("take_standing")));
  }

  /** @param {HTMLDetailsElement} section @param {Area} area */
  #fill(section, area) {
    if (section.children.length > 1) return;
    const whole = area.capacity <= OPEN_WHOLE_MAX;
    const rows = make("div", { class: "rows-of", role: "group", "aria-label": area.name });
    area.rows.forEach((row, at) => {
      const label = row.label ? this.words.text("row", { row: row.label }) : area.name;
      const head = make("button", { type: "button", class: "row-name", tabindex: at ? -1 : 0, "aria-expanded": false });
      const left = make("span", { class: "soft" });
      head.append(label, " ", left);
      head.dataset.row = String(row.first);
      head.setAttribute("aria-expanded", "false");
      const seats = make("div", { class: "seats", role: "group", "aria-label": label, hidden: true });
      this.#rows.set(row, { head, seats, made: false });
      this.#counters.push(() => (left.textContent = this.words.text("left", { n: this.#free(row) })));
      rows.append(make("div", {}, head, seats));
      if (whole) this.#open(row);
    });
    section.append(rows);
    this.#count();
  }

  /** @param {Row} row */
  #free(row) {
    let free = 0;
    for (let seat = row.first; seat < row.first + row.count; seat += 1) if (this.seats.isFree(seat)) free += 1;
    return free;
  }

  /** @param {Row} row @param {boolean} [open] */
  #open(row, open = true) {
    const elements = this.#rows.get(row);
    if (!elements) return;
    elements.seats.hidden = !open;
    elements.head.setAttribute("aria-expanded", String(open));
    if (!open || elements.made) return;
    elements.made = true;
    for (let seat = row.first; seat < row.first + row.count; seat += 1) {
      const button = make("button", { type: "button", class: this.seats.access.get(seat), tabindex: -1, "data-seat": seat }, this.seats.number(seat));
      this.#buttons.set(seat, button);
      this.#show(seat);
      elements.seats.append(button);
    }
  }

  /** @param {number} seat */
  #show(seat) {
    const button = this.#buttons.get(seat);
    if (!button) return;
    const state = this.seats.state[seat];
    const name = [this.words.place(this.seats, seat), this.words.price(this.seats.area(seat)), this.words.state(this.seats, seat)].join(", ");
    button.setAttribute("aria-label", name);
    button.setAttribute("aria-pressed", String(state === CHOSEN));
    button.setAttribute("aria-disabled", String(!this.seats.isFree(seat)));
    button.classList.toggle("unwanted", state === FREE && !this.#wanted(seat));
  }

  /** @param {number[]} changed */
  #changed(changed) {
    for (const seat of changed) this.#show(seat);
    this.#counting ||= window.setTimeout(() => {
      this.#counting = 0;
      this.#count();
    }, COUNT_EVERY);
  }

  #count() {
    for (const count of this.#counters) count();
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const button = /** @type {HTMLElement} */ (event.target).closest("button");
    if (!button) return;
    if (button.dataset.seat) {
      this.#roveTo(button);
      this.dispatchEvent(new CustomEvent("pick", { detail: Number(button.dataset.seat) }));
    } else if (button.dataset.row) {
      const row = this.seats.row(Number(button.dataset.row));
      this.#roveTo(button);
      this.#open(row, button.getAttribute("aria-expanded") !== "true");
    }
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const button = /** @type {HTMLElement} */ (event.target).closest("button");
    if (!button || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = Number(button.dataset.seat ?? button.dataset.row ?? NaN);
    if (Number.isNaN(at)) return;
    const row = this.seats.row(at);
    const onHead = button.dataset.row !== undefined;
    const forward = getComputedStyle(button).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const back = forward === "ArrowRight" ? "ArrowLeft" : "ArrowRight";
    const last = row.first + row.count - 1;
    if (event.key === forward) {
      this.#open(row);
      this.#goTo(this.#buttons.get(onHead ? row.first : Math.min(last, at + 1)));
    } else if (event.key === back) {
      if (onHead) this.#open(row, false);
      else if (at === row.first) this.#goTo(this.#rows.get(row)?.head);
      else this.#goTo(this.#buttons.get(at - 1));
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.#otherRow(row, onHead ? null : at, event.key === "ArrowDown" ? 1 : -1);
    else if (event.key === "Home" && !onHead) this.#goTo(this.#buttons.get(row.first));
    else if (event.key === "End" && !onHead) this.#goTo(this.#buttons.get(last));
    else return;
    event.preventDefault();
  }

  /** From a seat to the one that stands nearest in the next row; from a row to the next. @param {Row} row @param {number | null} seat @param {number} step */
  #otherRow(row, seat, step) {
    const { rows } = this.seats.areas[row.area];
    const next = rows[rows.indexOf(row) + step];
    if (!next) return;
    if (seat === null) {
      this.#goTo(this.#rows.get(next)?.head);
      return;
    }
    this.#open(next);
    let nearest = next.first;
    for (let other = next.first; other < next.first + next.count; other += 1) {
      if (Math.abs(this.seats.xs[other] - this.seats.xs[seat]) < Math.abs(this.seats.xs[nearest] - this.seats.xs[seat])) nearest = other;
    }
    this.#goTo(this.#buttons.get(nearest));
  }

  /** @param {HTMLButtonElement | undefined} button */
  #goTo(button) {
    if (!button) return;
    this.#roveTo(button);
    button.focus();
    this.dispatchEvent(new CustomEvent("stand", { detail: button.dataset.seat ? Number(button.dataset.seat) : null }));
  }

  /** The one stop of the section is where somebody was last. @param {HTMLElement} button */
  #roveTo(button) {
    const section = button.closest(".rows-of");
    section?.querySelectorAll('[tabindex="0"]').forEach((other) => other.setAttribute("tabindex", "-1"));
    button.setAttribute("tabindex", "0");
  }
}
