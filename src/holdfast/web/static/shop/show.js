/**
 * What a script adds to the page of a show: the time until its sale begins, counted down, and the device's own way to share.
 * Without it the page says when, loads itself again at the moment, and has links to share by.
 */

/** How long after the moment a page asks again at the latest, so that not all of them do at once, in milliseconds. */
const SPREAD = 2000;
/** A page that was away for so long asks again, for the device's clock may have stood still meanwhile; in milliseconds. */
const AWAY = 60_000;
const DAY = 86_400;

const until = /** @type {HTMLElement | null} */ (document.querySelector("[data-opens-in]"));
if (until) {
  const began = performance.now();
  // The server's clock says how long; ours only counts, however wrong it goes.
  const opens = began + Number(until.dataset.opensIn) * 1000;
  const inDays = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "always" });
  const tick = () => {
    const left = Math.ceil((opens - performance.now()) / 1000);
    if (left <= 0) {
      setTimeout(() => location.reload(), Math.random() * SPREAD);
      return;
    }
    until.textContent = left >= 2 * DAY ? inDays.format(Math.floor(left / DAY), "day") : clock(left);
    setTimeout(tick, left >= 2 * DAY ? AWAY : (opens - performance.now()) % 1000 || 1000);
  };
  until.setAttribute("role", "timer");
  tick();
  let hidden = 0;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) hidden = Date.now();
    else if (hidden && Date.now() - hidden > AWAY) location.reload();
  });
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}

for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("button[data-share]"))) {
  if (!navigator.share) continue;
  button.hidden = false;
  button.addEventListener("click", () => {
    // Whoever changes their mind has not met a fault.
    navigator.share({ title: document.title, url: button.dataset.share }).catch(() => undefined);
  });
}

/** As clocks show it: 26:03:09, 3:09. @param {number} seconds */
function clock(seconds) {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  if (!parts[0]) parts.shift();
  return parts.map((part, at) => (at ? String(part).padStart(2, "0") : String(part))).join(":");
}
