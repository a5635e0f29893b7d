/**
 * Pages that wait for something, such as money: `[data-look]` is the address where they would look again, and
 * `data-seconds` when. The page is asked for there, and shown only when it says something else, so that nobody loses their
 * place and a screen reader has nothing to read again. Without a script the page loads itself.
 */

/** After so many times as long without an answer. */
const PATIENCE = 2;
const ASK_MS = 10_000;

/** What a page says. @param {ParentNode} page */
function said(page) {
  return page.querySelector("main")?.textContent?.replace(/\s+/g, " ").trim();
}

/** @param {Element | null} box @param {number} times */
function wait(box, times = 1) {
  if (!(box instanceof HTMLElement) || !box.dataset.look) return;
  const { look, seconds = "5" } = box.dataset;
  setTimeout(() => void again(box, look), Number(seconds) * 1000 * times);
}

/** @param {HTMLElement} box @param {string} address */
async function again(box, address) {
  try {
    const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(ASK_MS) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok) wait(box, PATIENCE);
    else if (said(page) === said(document)) wait(page.querySelector("[data-look]"));
    else location.replace(address);
  } catch {
    wait(box, PATIENCE);
  }
}

wait(document.querySelector("[data-look]"));
