/** The tickets that are kept on this device, as a list from which they can be removed: `#kept` with its `template`. */

import { all, remove } from "./kept.js";

const box = document.getElementById("kept");
if (box) void show(box);

/** @param {HTMLElement} box */
async function show(box) {
  const kept = await all().catch(() => []);
  const list = /** @type {HTMLElement} */ (box.querySelector("ul"));
  const template = /** @type {HTMLTemplateElement} */ (box.querySelector("template"));
  list.replaceChildren(
    ...kept.map((each) => {
      const row = /** @type {HTMLElement} */ (template.content.cloneNode(true));
      const link = /** @type {HTMLAnchorElement} */ (row.querySelector("a"));
      link.href = each.door;
      link.textContent = each.show;
      /** @type {HTMLElement} */ (row.querySelector("[data-line]")).textContent = each.line;
      const button = /** @type {HTMLButtonElement} */ (row.querySelector("button"));
      button.setAttribute("aria-label", `${button.textContent}: ${each.show}, ${each.line}`);
      button.addEventListener("click", () => void gone([each.door]));
      return row;
    }),
  );
  const every = /** @type {HTMLButtonElement} */ (box.querySelector("[data-all]"));
  every.hidden = kept.length < 2;
  every.onclick = () => void gone(kept.map((each) => each.door));
  list.hidden = !kept.length;
  box.toggleAttribute("data-some", kept.length > 0);
  if (kept.length) box.hidden = false;
  const none = document.querySelector("[data-none]");
  if (none) /** @type {HTMLElement} */ (none).hidden = kept.length > 0;

  /** @param {string[]} doors */
  async function gone(doors) {
    for (const button of box.querySelectorAll("button")) button.disabled = true;
    await Promise.all(doors.map((each) => remove(each)));
    await show(box);
    every.disabled = false;
    const told = /** @type {HTMLElement} */ (box.querySelector("[role=status]"));
    told.textContent = told.dataset.gone ?? "";
    told.tabIndex = -1;
    told.focus();
  }
}
