/**
 * On the page of a booking and of a ticket: keeps the tickets on this device for when there is no network, says so, and takes
 * them away again. The page has `[data-door]`, where the tickets to be kept are, and perhaps `[data-kept]` and
 * `form[data-forget]`.
 */

import { has, keep, remove } from "./kept.js";

const door = /** @type {HTMLElement | null} */ (document.querySelector("[data-door]"))?.dataset.door;
if (door) {
  keep(door)
    .catch(() => null)
    .then(() => has(door))
    .then((kept) => {
      for (const told of document.querySelectorAll("[data-kept]")) /** @type {HTMLElement} */ (told).hidden = !kept;
    });
  for (const form of /** @type {NodeListOf<HTMLFormElement>} */ (document.querySelectorAll("form[data-forget]"))) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      // Then by the form itself, which leads on.
      void remove(door).finally(() => form.submit());
    });
  }
}
