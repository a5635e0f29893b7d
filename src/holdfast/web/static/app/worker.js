/**
 * The worker of the shop: answers when the network does not. Its route puts `RELEASE` before it.
 *
 * It keeps two things: the few files that pages without a network are made of, with the page that says so, anew with each
 * release; and copies of tickets, which pages put there (kept.js) and it only reads. Everything else passes it by. A page is
 * always asked of the network first, so that no ticket is shown from a copy where the truth can be had.
 */

(() => {
  const worker = /** @type {any} */ (self);
  const release = /** @type {{version: string, files: string[]}} */ (worker.RELEASE);
  const SHELL = `shell-${release.version}`;
  /** Another number when copies are kept in another way: those of before are then gone. */
  const TICKETS = "tickets-1";
  const OFFLINE = "/offline";
  /** Who waits longer than this at the door would rather see the copy. */
  const NETWORK_MS = 4000;
  const PAGES = /^\/(?:$|tickets$|offline$|shows\/)/;
  const TICKET = /^(\/shows\/[^/]+\/bookings\/[^/]+)(?:\/door|\/tickets\/(\d+)(?:\/door)?)?$/;
  /** What is kept of a page does not depend on the headers of who asks: they are the same browser's. */
  const ANY = { ignoreVary: true };

  worker.addEventListener("install", (/** @type {any} */ event) => event.waitUntil(install()));
  worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(activate()));
  worker.addEventListener("fetch", (/** @type {any} */ event) => {
    const { request } = event;
    const url = new URL(request.url);
    if (request.method !== "GET" || url.origin !== location.origin) return;
    if (request.mode === "navigate" && PAGES.test(url.pathname)) event.respondWith(page(event, url));
    else if (url.pathname.startsWith("/static/")) event.respondWith(file(request, url));
  });

  async function install() {
    const shell = await caches.open(SHELL);
    await shell.addAll([...release.files, new Request(OFFLINE, { cache: "reload" })]);
    // At once, although pages of the release before may be open: it gives them nothing but files that have their digest in
    // the address, and finds the old addresses in copies as well (`file`). Nobody gets here unless all of it has come.
    await worker.skipWaiting();
  }

  async function activate() {
    for (const name of await caches.keys()) {
      if (/^(shell|tickets)-/.test(name) && name !== SHELL && name !== TICKETS) await caches.delete(name);
    }
    // The page is asked for while the worker wakes up.
    await worker.registration.navigationPreload?.enable();
  }

  /** @param {any} event @param {URL} url @returns {Promise<Response>} */
  async function page(event, url) {
    const network = fromNetwork(event);
    // Whoever waits for it below hears of a failure; this one keeps it from being nobody's.
    network.catch(() => {});
    const copy = await copyOf(url.pathname).catch(() => undefined);
    try {
      const answer = await (copy ? within(network, NETWORK_MS) : network);
      // A server that fails, or has no time, is no better than none; a page that was moved or is not there is the truth.
      if (!copy || (answer.status < 500 && answer.status !== 429)) {
        event.waitUntil(speak(answer).catch(() => {}));
        return answer;
      }
    } catch (error) {
      if (!copy) return (await (await caches.open(SHELL)).match(OFFLINE, ANY)) ?? Response.error();
    }
    return /** @type {Response} */ (copy);
  }

  /** @param {any} event @returns {Promise<Response>} */
  async function fromNetwork(event) {
    return (await event.preloadResponse) ?? fetch(event.request);
  }

  /** The tickets that belong to a page of a booking. @param {string} path */
  async function copyOf(path) {
    const [, booking, number] = TICKET.exec(path) ?? [];
    if (!booking) return undefined;
    const kept = await caches.open(TICKETS);
    return (await kept.match(`${booking}/door`, ANY)) ?? (number ? kept.match(`${booking}/tickets/${number}/door`, ANY) : undefined);
  }

  /** A file of this release from what is kept; of another one from the network, and else the same file of this one. */
  async function file(/** @type {Request} */ request, /** @type {URL} */ url) {
    const shell = await caches.open(SHELL).catch(() => null);
    const ours = await shell?.match(url.pathname.replace(/^\/static\/[^/]+/, `/static/${release.version}`), ANY);
    if (!ours) return fetch(request);
    if (url.pathname.startsWith(`/static/${release.version}/`)) return ours;
    try {
      const answer = await within(fetch(request), NETWORK_MS);
      return answer.ok ? answer : ours;
    } catch {
      return ours;
    }
  }

  /** The page without a network speaks as the pages with one do. @param {Response} answer */
  async function speak(answer) {
    const language = answer.ok && answer.headers.get("content-language");
    if (!language) return;
    const shell = await caches.open(SHELL);
    const kept = await shell.match(OFFLINE, ANY);
    if (kept?.headers.get("content-language") !== language) await shell.add(new Request(OFFLINE, { cache: "reload" }));
  }

  /** @template T @param {Promise<T>} promise @param {number} ms @returns {Promise<T>} */
  function within(promise, ms) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("late")), ms);
      promise.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }
})();
