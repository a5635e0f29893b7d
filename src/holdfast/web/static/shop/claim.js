/**
 * One attempt to claim places, asked for until there is an answer. Its key and its body are kept in the tab until then,
 * so that a reload or a lost answer asks the same again and gets the same booking: one attempt is one booking.
 *
 * @typedef {{id: string, secret: string, reference: string, status: string, relaxed?: string | null, places: {area: string, seat: string | null, tier: string | null, amount: number}[]}} Booking
 * @typedef {{code: string, status: number, title?: string, seats?: string[], offered?: string[], detail?: string, retry_after?: number}} Problem
 * @typedef {{booking: Booking, problem?: undefined} | {problem: Problem, booking?: undefined}} Answer
 * @typedef {{key: string, body: Record<string, unknown>, at: number}} Attempt
 */

/** How long one request may take, how often a lost one is asked for again, and the longest wait between, in ms. */
const ANSWER_MS = 12_000;
const TRIES_MAX = 8;
const WAIT_MAX_MS = 8000;
/** What was asked for so long ago is over: no hold lasts longer. */
const ATTEMPT_MS = 30 * 60_000;
/** Who comes back within this time still waits for an answer; later they may have thought better of it. No server takes as long. */
const WAITING_MS = 60_000;
const CHALLENGES_MAX = 3;

/** The claims of one show, from one tab. */
export class Claims {
  #api;
  #kept;
  /** @type {Promise<Answer | null> | null} */
  #running = null;

  /**
   * @param {string} api the address of the show in the API
   * @param {() => void} onTrouble told when an answer was lost and the attempt is made again
   */
  constructor(api, onTrouble) {
    this.#api = api;
    this.#kept = keptAs(api);
    this.onTrouble = onTrouble;
  }

  /** The attempt that was never answered, if there is one. @returns {Attempt | null} */
  get unanswered() {
    try {
      const attempt = JSON.parse(sessionStorage.getItem(this.#kept) ?? "null");
      return attempt && Date.now() - attempt.at < ATTEMPT_MS ? attempt : null;
    } catch {
      return null;
    }
  }

  /**
   * Claims, unless a claim is on its way already, of which this is a double click. Null: there was no answer; the same
   * attempt can be taken up again by `resume`.
   * @param {Record<string, unknown>} body
   */
  claim(body) {
    return (this.#running ??= this.#ask({ key: randomKey(), body, at: Date.now() }));
  }

  /** Asks again what was not answered. */
  resume() {
    const attempt = this.unanswered;
    if (!attempt) return Promise.resolve(null);
    return (this.#running ??= this.#ask(attempt));
  }

  /** Whether the buyer still waits for the answer to the attempt that has none. */
  get isWaiting() {
    return Date.now() - (this.unanswered?.at ?? 0) < WAITING_MS;
  }

  /** The booking that an attempt of some time ago has become, if it has; this claims nothing. */
  async found() {
    const attempt = this.unanswered;
    const known = attempt && (await this.#lookUp(attempt));
    // It was so long ago that nothing can come of it any more.
    if (known === null) forgetAttempt(this.#api);
    return known ?? null;
  }

  /** @param {Attempt} attempt @returns {Promise<Answer | null>} */
  async #ask(attempt) {
    try {
      keep(this.#kept, attempt);
      const answer = await this.#insist(attempt);
      // A booking's attempt is remembered until its page is there and forgets it: a reload on the way finds it again.
      if (answer?.problem) forgetAttempt(this.#api);
      return answer;
    } finally {
      this.#running = null;
    }
  }

  /** @param {Attempt} attempt @returns {Promise<Answer | null>} */
  async #insist(attempt) {
    let proof = "";
    let challenges = 0;
    for (let tried = 1; tried <= TRIES_MAX; tried += 1) {
      const answer = await this.#once(attempt, proof);
      if (answer?.booking) return { booking: answer.booking };
      const problem = answer?.problem;
      if (problem?.challenge?.kind === "work" && challenges < CHALLENGES_MAX) {
        challenges += 1;
        tried -= 1;
        proof = await solved(problem.challenge);
        continue;
      }
      if (problem && !isPassing(problem)) return { problem };
      this.onTrouble();
      if (tried === TRIES_MAX) return problem ? { problem } : null;
      const wait = (problem?.retry_after ?? 0) * 1000 || Math.min(WAIT_MAX_MS, 400 * 2 ** tried);
      await online(wait * (0.75 + Math.random() * 0.5));
    }
    return null;
  }

  /** What has become of an attempt: null if nothing has so far, undefined if there was no answer. @param {Attempt} attempt */
  async #lookUp(attempt) {
    try {
      const headers = { "Idempotency-Key": attempt.key };
      const answer = await fetch(`${this.#api}/attempt`, { headers, credentials: "omit", signal: AbortSignal.timeout(ANSWER_MS) });
      if (answer.ok) return /** @type {Booking} */ (await answer.json());
      return answer.status === 404 ? null : undefined;
    } catch {
      return undefined;
    }
  }

  /** @param {Attempt} attempt @param {string} proof */
  async #once(attempt, proof) {
    /** @type {Record<string, string>} */
    const headers = { "Content-Type": "application/json", "Idempotency-Key": attempt.key };
    if (proof) headers["Challenge-Answer"] = proof;
    try {
      const answer = await fetch(`${this.#api}/bookings`, {
        method: "POST", headers, body: JSON.stringify(attempt.body), credentials: "omit", signal: AbortSignal.timeout(ANSWER_MS),
      });
      const body = await answer.json();
      if (answer.ok) return { booking: /** @type {Booking} */ (body) };
      const problem = /** @type {Problem & {challenge?: Challenge}} */ (body);
      problem.retry_after ??= Number(answer.headers.get("Retry-After")) || 0;
      problem.status = answer.status;
      return { problem };
    } catch {
      return null;
    }
  }
}

/** The name under which the tab keeps the attempt. @param {string} api the address of the show in the API */
function keptAs(api) {
  return `attempt:${api}`;
}

/** Forgets the attempt, whatever became of it. @param {string} api the address of the show in the API */
export function forgetAttempt(api) {
  sessionStorage.removeItem(keptAs(api));
}

/** Whether the same request may do better in a moment. @param {Problem} problem */
function isPassing(problem) {
  return problem.code !== "not_on_sale" && [429, 500, 502, 503, 504].includes(problem.status);
}

/** Waits so long, and then until the browser believes that there is a network; never for ever. @param {number} ms */
async function online(ms) {
  await new Promise((done) => setTimeout(done, ms));
  if (navigator.onLine) return;
  await new Promise((done) => {
    addEventListener("online", done, { once: true });
    setTimeout(done, WAIT_MAX_MS);
  });
}

/** @param {string} name @param {Attempt} attempt */
function keep(name, attempt) {
  try {
    sessionStorage.setItem(name, JSON.stringify(attempt));
  } catch {
    // A browser that keeps nothing still claims; only a reload in the very moment would not find the booking again.
  }
}

/** 128 random bits: an anonymous key is all that keeps strangers from the booking. */
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @typedef {{kind: string, seed: string, bits: number}} Challenge */

/** The proof of work: a nonce with which the SHA-256 begins with so many zero bits. @param {Challenge} challenge */
async function solved({ seed, bits }) {
  const encoder = new TextEncoder();
  for (let nonce = 0; ; nonce += 1) {
    const text = `${seed}.${nonce.toString(36)}`;
    const digest = new DataView(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
    if (Math.clz32(digest.getUint32(0)) >= bits) return text;
  }
}
