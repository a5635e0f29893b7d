/**
 * The one countdown of a booking, from the seconds that the server said are left. The clock of the phone has no part in
 * it: time is counted from the moment of the answer, and asked for again when the page is looked at after a while.
 *
 * The page has `#countdown` with `.clock`, `[role=status]` and, where more time can be had, a form `[data-more]`.
 *
 * @typedef {{api: string, secret: string, booking: {id: string, status: string, version: number, expires_in_seconds: number | null}, texts: Record<string, string>}} State
 */

import { forgetAttempt, randomKey } from "./claim.js";
import { pageState } from "./words.js";

/** When it is said aloud how long it still is, in seconds, and from when on it looks urgent. */
const ANNOUNCED = [60, 20];
const SHORT = 60;
/** The server lets a hold go a moment after its end; asked sooner, it would still say "a second". */
const AFTER_END_MS = 800;
const ASK_MS = 8000;
/** Who has done something on the page within this time is still here, in milliseconds: for them the same places are tried again. */
const HERE_MS = 60_000;
/** What the clocks may drift apart unless the device slept, in milliseconds. */
const SLEPT_MS = 2000;

class Countdown {
  #endsAt = 0;
  #said = Infinity;
  #ended = false;
  #here = -Infinity;
  #sleepCheck = Date.now() - performance.now();

  /** @param {HTMLElement} box @param {State} state */
  constructor(box, state) {
    this.state = state;
    this.box = box;
    this.clock = box.querySelector(".clock");
    this.status = box.querySelector("[role=status]");
    this.more = /** @type {HTMLFormElement | null} */ (box.querySelector("form[data-more]"));
    const [page] = performance.getEntriesByType("navigation");
    const answeredAt = page instanceof PerformanceNavigationTiming ? page.responseStart : performance.now();
    this.#set(state.booking.expires_in_seconds ?? 0, answeredAt);
    document.addEventListener("visibilitychange", () => document.hidden || void this.#ask());
    addEventListener("pageshow", (event) => event.persisted && void this.#ask());
    for (const kind of ["pointerdown", "keydown", "input"]) document.addEventListener(kind, () => (this.#here = performance.now()), { passive: true });
    this.more?.addEventListener("submit", (event) => void this.#extend(event));
    this.#tick();
  }

  /** @param {number} seconds @param {number} at the moment of the answer */
  #set(seconds, at) {
    this.#endsAt = at + seconds * 1000;
    // What lies behind is not said again, unless there is more time now.
    this.#said = reached(seconds);
    this.#show();
  }

  #show() {
    const left = this.#left;
    if (this.clock) this.clock.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    this.box.classList.toggle("short", left <= SHORT);
  }

  get #left() {
    return Math.max(0, Math.ceil((this.#endsAt - performance.now()) / 1000));
  }

  #tick() {
    if (this.#ended) return;
    const offset = Date.now() - performance.now();
    // In some browsers the counter stands still while the device sleeps: then the two part, and the server is asked.
    if (Math.abs(offset - this.#sleepCheck) > SLEPT_MS) {
      this.#sleepCheck = offset;
      void this.#ask();
    }
    const left = this.#left;
    this.#show();
    const mark = reached(left);
    if (mark < this.#said && left > 0) {
      this.#said = mark;
      if (this.status) this.status.textContent = (this.state.texts[this.more ? "time_left_more" : "time_left"] ?? "").replace("{n}", String(left));
    }
    if (left > 0) {
      setTimeout(() => this.#tick(), ((this.#endsAt - performance.now()) % 1000) + 20);
      return;
    }
    setTimeout(() => void this.#end(), AFTER_END_MS);
  }

  /** At the end the page shows what the server says: perhaps there is more time, perhaps the money has come. */
  async #end() {
    const known = await this.#ask();
    if (this.#ended) return;
    if (known && this.#left > 0) this.#tick();
    else if (known) this.#reload();
    else setTimeout(() => void this.#end(), ASK_MS / 2);
  }

  /** Asks the server how long it is; says whether it answered. */
  async #ask() {
    try {
      const asked = performance.now();
      const answer = await fetch(this.state.api, {
        headers: { Authorization: `Bearer ${this.state.secret}` }, credentials: "omit", cache: "no-store", signal: AbortSignal.timeout(ASK_MS),
      });
      if (!answer.ok) return answer.status < 500 && answer.status !== 429;
      const booking = await answer.json();
      if (booking.status !== this.state.booking.status) {
        this.#reload();
        return true;
      }
      // The answer is as old as half of its way, at the most as all of it: the earlier moment is the safer one.
      this.#set(booking.expires_in_seconds ?? 0, asked);
      return true;
    } catch {
      return false;
    }
  }

  /** @param {SubmitEvent} event */
  async #extend(event) {
    const form = /** @type {HTMLFormElement} */ (event.currentTarget);
    event.preventDefault();
    try {
      const asked = performance.now();
      const answer = await fetch(`${this.state.api}/extend`, {
        method: "POST", credentials: "omit", signal: AbortSignal.timeout(ASK_MS),
        headers: { Authorization: `Bearer ${this.state.secret}`, "Idempotency-Key": randomKey() },
      });
      if (!answer.ok) throw new Error(String(answer.status));
      const booking = await answer.json();
      form.remove();
      this.more = null;
      this.#said = Infinity;
      this.#set(booking.expires_in_seconds ?? 0, asked);
      if (this.status) this.status.textContent = (this.state.texts.time_more ?? "").replace("{n}", String(this.#left));
      this.box.setAttribute("tabindex", "-1");
      this.box.focus();
    } catch {
      // By the form itself the page says what is the matter.
      form.submit();
    }
  }

  #reload() {
    this.#ended = true;
    if (performance.now() - this.#here < HERE_MS) sessionStorage.setItem(againOf(this.state), "1");
    const page = this.state.api.replace("/v1", "");
    // What a form was answered with has an address of its own, and to load that again would send the form again.
    if (location.pathname === page) location.reload();
    else location.replace(page);
  }
}

/** The last announcement that is due with so many seconds left; infinity before the first. @param {number} seconds */
function reached(seconds) {
  return Math.min(...ANNOUNCED.filter((mark) => seconds <= mark));
}

/**
 * What was typed comes back after a reload, and when the time was over and the same places are booked anew: it belongs to
 * the show. It is kept in the tab alone.
 */
function keepTyped(/** @type {State} */ state) {
  const name = `typed:${showOf(state)}`;
  const fields = () =>
    [...document.querySelectorAll("main input[name], main textarea[name], main select[name]")].filter(
      (field) => !["hidden", "password", "submit"].includes(/** @type {HTMLInputElement} */ (field).type),
    );
  /** @type {Record<string, string | boolean>} */
  let kept = {};
  try {
    kept = JSON.parse(sessionStorage.getItem(name) ?? "{}");
  } catch {
    kept = {};
  }
  for (const field of fields()) {
    const input = /** @type {HTMLInputElement} */ (field);
    const value = kept[input.name];
    if (typeof value === "boolean" && input.type === "checkbox") input.checked = value;
    else if (typeof value === "string" && !input.value && input.type !== "checkbox" && input.type !== "radio") input.value = value;
  }
  document.addEventListener("input", (event) => {
    const input = /** @type {HTMLInputElement} */ (event.target);
    if (!fields().includes(input)) return;
    kept[input.name] = input.type === "checkbox" ? input.checked : input.value;
    try {
      sessionStorage.setItem(name, JSON.stringify(kept));
    } catch {
      // Without room the page works all the same.
    }
  });
}

/** @param {State} state */
function showOf(state) {
  return state.api.split("/bookings/")[0];
}

/** Where the tab notes that somebody was here when the time of this booking was over. @param {State} state */
function againOf(state) {
  return `again:${state.booking.id}`;
}

/** The time was over while somebody was here: the same places are tried again, once. @param {State} state */
function tryAgain(state) {
  const form = /** @type {HTMLFormElement | null} */ (document.querySelector("form[data-again]"));
  if (!form || !sessionStorage.getItem(againOf(state))) return;
  sessionStorage.removeItem(againOf(state));
  form.requestSubmit();
}

/** @type {State | null} */
const state = pageState();
if (state?.booking) {
  forgetAttempt(showOf(state));
  keepTyped(state);
  tryAgain(state);
  const box = document.getElementById("countdown");
  if (box && state.booking.expires_in_seconds) new Countdown(box, state);
}
