/**
 * Keeps the seats true: changes by Server-Sent Events, and where they do not get through, by asking every few seconds.
 * While nobody looks at the page it rests, and it catches up when somebody does.
 *
 * @typedef {import("./seats.js").Seats} Seats
 * @typedef {{address: string, signal?: AbortSignal}} Source
 */

/** After so many failures in a row there is asking instead of listening; every so often listening is tried again. */
const FAILURES_MAX = 2;
const POLL_MS = 4000;
const LISTEN_AGAIN_MS = 60_000;
/** The server says something at least every 15 s; what is silent for longer is dead, whatever the browser believes. */
const SILENCE_MS = 40_000;
/** A page that is hidden only while somebody looks up a thing need not begin anew. */
const REST_AFTER_MS = 15_000;
/** While the process that was asked is behind the one that told of the loss, it is asked again. */
const CATCH_UP_MS = 250;
const CATCH_UPS_MAX = 8;

/** Follows the availability of one show. Tells `state` events, with "live", "polling" or "lost". */
export class Live extends EventTarget {
  /** @type {EventSource | null} */
  #source = null;
  #failures = 0;
  #timer = 0;
  #silence = 0;
  #rest = 0;
  #resting = false;
  #listenAt = 0;
  /** @type {Promise<boolean> | null} */
  #reading = null;
  state = "lost";

  /**
   * @param {Seats} seats
   * @param {string} api the address of the show in the API
   */
  constructor(seats, api) {
    super();
    this.seats = seats;
    this.api = api;
  }

  /** Reads the availability, then follows it. Rejects when it cannot be read. */
  async start() {
    if (!(await this.read())) throw new Error("The availability cannot be read.");
    document.addEventListener("visibilitychange", () => this.#looked());
    addEventListener("online", () => this.#again());
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
    // The ETag is the revision, also of what was put together from changes.
    const headers = { "If-None-Match": `"${this.seats.revision}"` };
    try {
      const answer = await fetch(`${this.api}/availability`, {
        headers, credentials: "omit", cache: "no-store", signal: AbortSignal.timeout(10_000),
      });
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
      this.seats.apply(JSON.parse(/** @type {MessageEvent} */ (event).data));
    });
    source.addEventListener("reset", (event) => {
      heard();
      void this.#catchUp(JSON.parse(/** @type {MessageEvent} */ (event).data).revision);
    });
    source.addEventListener("error", () => {
      this.#failures += 1;
      if (this.#failures >= FAILURES_MAX) this.#poll();
      // The browser connects again by itself, with Last-Event-ID, unless the server refused.
      else if (source.readyState === EventSource.CLOSED) this.#later(() => this.#listen(), jittered(2000));
    });
    this.#expectMore();
  }

  /** @param {number} revision that must be reached */
  async #catchUp(revision) {
    for (let i = 0; i < CATCH_UPS_MAX && this.seats.revision < revision; i += 1) {
      await this.read();
      if (this.seats.revision < revision) await new Promise((done) => setTimeout(done, jittered(CATCH_UP_MS)));
    }
    if (this.seats.revision < revision) this.#listen();
  }

  #poll() {
    this.#stop();
    this.#listenAt = performance.now() + LISTEN_AGAIN_MS;
    const ask = async () => {
      const known = await this.read();
      if (this.#resting) return;
      this.#say(known ? "polling" : "lost");
      if (known && performance.now() > this.#listenAt) {
        this.#failures = FAILURES_MAX - 1;
        this.#listen();
      } else this.#later(ask, jittered(known ? POLL_MS : POLL_MS * 2));
    };
    void ask();
  }

  #expectMore() {
    clearTimeout(this.#silence);
    // Comments of the server keep the connection but are not told to scripts: silence is checked, not believed.
    this.#silence = window.setTimeout(async () => {
      const before = this.seats.revision;
      const known = await this.read();
      if (this.#resting || !this.#source) return;
      if (known && this.seats.revision === before) this.#expectMore();
      else this.#again();
    }, jittered(SILENCE_MS));
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
    } else if (this.#resting) {
      void this.read();
      this.#again();
    }
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

/** So that thousands who were cut off at once do not come back at once. @param {number} ms */
function jittered(ms) {
  return ms * (0.75 + Math.random() * 0.5);
}
