/**
 * Forms that must be sent once: `form[data-once]`. Their button locks and says what is going on (`data-busy`); a second
 * click sends nothing. Whoever comes back by Back finds it as it was.
 */

for (const form of /** @type {NodeListOf<HTMLFormElement>} */ (document.querySelectorAll("form[data-once]"))) {
  /** @type {[HTMLButtonElement, string][]} */
  let locked = [];
  form.addEventListener("submit", (event) => {
    if (event.defaultPrevented) return;
    if (locked.length) {
      event.preventDefault();
      return;
    }
    locked = [...form.querySelectorAll("button")].map((button) => [button, button.textContent ?? ""]);
    for (const [button] of locked) {
      // Not `disabled`: that would take the focus away, and the name of the button out of the form.
      button.setAttribute("aria-disabled", "true");
      if (button === event.submitter || locked.length === 1) button.textContent = form.dataset.busy ?? button.textContent;
    }
    form.setAttribute("aria-busy", "true");
  });
  addEventListener("pageshow", () => {
    for (const [button, text] of locked) {
      button.removeAttribute("aria-disabled");
      button.textContent = text;
    }
    locked = [];
    form.removeAttribute("aria-busy");
  });
}
