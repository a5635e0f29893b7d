/**
 * Keeps the seats true: changes by Server-Sent Events, and where they do not get through, by asking every few seconds.
 * While nobody looks at the page it rests, and it catches up when somebody does.
 *
 * @typedef {import("./seats.js").Seats} Seats
 * @typedef {{address: string, signal?: AbortSignal}} Source
 */

/** After so many failures in a row there is asking instead of listening; every so often listening is tried again. */
const FAILURES_MAX = 2;
const LISTEN_AGAIN_MS = 60_000;
/** How long to wait before the next try, doubled with each failure: thousands may have been cut off by the same restart. */
const RETRY_MS = 2000;
const RETRY_MAX_MS = 60_000;
/** Where nothing changes there is asking less and less often. */
const POLL_MS = 4000;
const POLL_MAX_MS = 15_000;
/** The server says at least every 15 s that it is there; what is silent for longer is dead, whatever the browser believes. */
const SILENCE_MS = 40_000;
/** A page that is hidden only while somebody looks up a thing need not begin anew. */
const REST_AFTER_MS = 15_000;
/** While the process that was asked is behind the one that told of the loss, it is asked again. */
const CATCH_UP_MS = 250;
const CATCH_UPS_MAX = 8;

/** Follows the availability of one show. Tells `state` events, with "live", "polling" or "lost"; before the first it is not known yet. */
export class Live extends EventTarget {
  /** @type {EventSource | null} */
  #source = null;
  #failures = 0;
  #timer = 0;
  #silence = 0;
  #rest = 0;
  #resting = false;
  /** @type {Promise<boolean> | null} */
  #reading = null;
  state = "";

  /**
   * @param {Seats} seats
   * @param {string} api the address of the show in the API
   */
  constructor(seats, api) {
    super();
    this.seats = seats;
    this.api = api;
  }

  /** Follows the availability from the revision that `seats` has. */
  start() {
    document.addEventListener("visibilitychange", () => this.#looked());
    addEventListener("online", () => this.#later(() => this.#again(), jittered(CATCH_UP_MS)));
    addEventListener("offline", () => this.#cut());
    addEventListener("pageshow", (event) => event.persisted && this.#again());
    // A connection that is still open keeps a page from being shown at once by Back.
    addEventListener("pagehide", () => this.#stop());
    this.#listen();
  }

  /** Reads the availability now; says whether it is known. */
  read() {
    this.#reading ??= this.#ask().finally(() => (this.#reading = null));
    return this.#reading;
  }

  async #ask() {
    try {
      const answer = await availability(this.api, this.seats.revision);
      if (answer.status === 304) return true;
      if (!answer.ok) return false;
      this.seats.reset(await answer.json());
      return true;
    } catch {
      return false;
    }
  }

  #listen() {
    this.#stop();
    const source = new EventSource(`${this.api}/live?since=${this.seats.revision}`);
    this.#source = source;
    const heard = () => {
      this.#failures = 0;
      this.#say("live");
      this.#expectMore();
    };
    source.addEventListener("open", heard);
    source.addEventListener("availability", (event) => {
      heard();
      this.seats.apply(told(event));
    });
    for (const kind of ["reset", "alive"]) {
      source.addEventListener(kind, (event) => {
        heard();
        void this.#catchUp(told(event).revision);
      });
    }
    source.addEventListener("error", () => this.#failed());
    this.#expectMore();
  }

  /** The line broke, was refused or fell silent. The browser would try again by itself, and all browsers at once. */
  #failed() {
    this.#stop();
    this.#failures += 1;
    if (this.#failures >= FAILURES_MAX) this.#poll();
    else this.#later(() => this.#listen(), spread(RETRY_MS));
  }

  /** @param {number} revision that must be reached */
  async #catchUp(revision) {
    for (let i = 0; i < CATCH_UPS_MAX && this.seats.revision < revision; i += 1) {
      await this.read();
      if (this.seats.revision < revision) await new Promise((done) => setTimeout(done, jittered(CATCH_UP_MS)));
    }
    if (this.seats.revision < revision && this.#source) this.#listen();
  }

  #poll() {
    this.#stop();
    const listenAt = performance.now() + jittered(LISTEN_AGAIN_MS);
    let wait = POLL_MS;
    const ask = async () => {
      const before = this.seats.revision;
      const wasLost = this.state === "lost";
      const known = await this.read();
      if (this.#resting) return;
      this.#say(known ? "polling" : "lost");
      if (known && (wasLost || performance.now() > listenAt)) {
        // What was away is back, or a while has passed: one more failure leads back here.
        this.#failures = FAILURES_MAX - 1;
        this.#later(() => this.#listen(), wasLost ? spread(RETRY_MS) : 0);
        return;
      }
      if (!known) wait = Math.min(wait * 2, RETRY_MAX_MS);
      else wait = this.seats.revision === before ? Math.min(wait * 1.5, POLL_MAX_MS) : POLL_MS;
      this.#later(ask, spread(wait));
    };
    void ask();
  }

  #expectMore() {
    clearTimeout(this.#silence);
    this.#silence = window.setTimeout(() => this.#failed(), jittered(SILENCE_MS));
  }

  #cut() {
    this.#stop();
    this.#say("lost");
  }

  #again() {
    if (document.hidden) return;
    this.#resting = false;
    this.#failures = 0;
    this.#listen();
  }

  #looked() {
    clearTimeout(this.#rest);
    if (document.hidden) {
      this.#rest = window.setTimeout(() => {
        this.#resting = true;
        this.#stop();
      }, REST_AFTER_MS);
    } else if (this.#resting) this.#again();
  }

  #stop() {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#timer);
    clearTimeout(this.#silence);
  }

  /** @param {() => void} then @param {number} ms */
  #later(then, ms) {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(then, ms);
  }

  /** @param {string} state */
  #say(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}

/** Asks for the availability, unless it is still of this revision. @param {string} api the address of the show in the API */
export function availability(api, revision = -1) {
  // The ETag is the revision, also of what was put together from changes.
  const headers = { "If-None-Match": `"${revision}"` };
  return fetch(`${api}/availability`, { headers, credentials: "omit", cache: "no-store", signal: AbortSignal.timeout(10_000) });
}

/** @param {Event} event */
function told(event) {
  return JSON.parse(/** @type {MessageEvent} */ (event).data);
}

/** A little more or less. @param {number} ms */
function jittered(ms) {
  return ms * (0.75 + Math.random() * 0.5);
}

/** So that thousands who were cut off at once do not come back at once. @param {number} ms */
function spread(ms) {
  return ms * (0.5 + Math.random());
}
