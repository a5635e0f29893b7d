/**
 * For the pages of organizers, as /embed.js: gives each frame of the shop the height that it asks for. It is a plain script,
 * reads nothing of the page, and listens to nobody but frames that come from where it comes from itself.
 */

(() => {
  const script = /** @type {HTMLScriptElement} */ (document.currentScript);
  const shop = new URL(script.src).origin;
  const LEAST = 120;
  const MOST = 4000;

  addEventListener("message", (event) => {
    if (event.origin !== shop || event.data?.holdfast !== "height") return;
    const height = Number(event.data.height);
    if (!Number.isFinite(height)) return;
    for (const frame of document.querySelectorAll("iframe")) {
      if (frame.contentWindow === event.source) frame.style.height = `${Math.min(MOST, Math.max(LEAST, height))}px`;
    }
  });
})();
