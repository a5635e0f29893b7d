/**
 * What is served in the place of the worker where tickets are not kept on devices: it takes the one of before away, with all
 * that it kept.
 */

(() => {
  const worker = /** @type {any} */ (self);
  worker.addEventListener("install", () => worker.skipWaiting());
  worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(end()));

  async function end() {
    for (const name of await caches.keys()) {
      if (/^(shell|tickets)-/.test(name)) await caches.delete(name);
    }
    await worker.registration.unregister();
  }
})();
