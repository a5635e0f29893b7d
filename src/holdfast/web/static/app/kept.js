/**
 * The tickets that are kept on this device: one page for each booking, as the door wants to see it, with the codes in it.
 * A copy says by itself what it is of and until when it is of use, in the attributes of its `.door`.
 *
 * @typedef {{door: string, show: string, line: string, until: number, saved: number}} Kept
 */

/** As in worker.js. */
const TICKETS = "tickets-1";
/** What one device keeps: so many bookings, none larger than this. */
const BOOKINGS_MAX = 20;
const BYTES_MAX = 1_000_000;
const PATIENCE_MS = 10_000;
/** Rights that are to go from this browser as soon as there is a network. */
const FORGOTTEN = "forgotten";
const FORGOTTEN_MAX = 100;

/**
 * Keeps the tickets of the page at `door` as they are now; answers with the page, or with null when it could not be had.
 * Where the server says that there are none for this browser, the copy goes as well.
 * @param {string} door @returns {Promise<Document | null>}
 */
export async function keep(door) {
  const tickets = await opened();
  if (!tickets) return null;
  const answer = await fetch(`${door}?copy=1`, { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (answer.status === 404 || answer.status === 410) await tickets.delete(door);
  if (!answer.ok) return null;
  const bytes = await answer.arrayBuffer();
  const page = parsed(new TextDecoder().decode(bytes));
  const found = described(door, page);
  if (found && found.until > Date.now() && bytes.byteLength <= BYTES_MAX && !forgotten().includes(door)) {
    await tickets.put(door, new Response(bytes, { headers: answer.headers }));
    await all();
  } else {
    await tickets.delete(door);
  }
  return page;
}

/** Whether this browser keeps the tickets. @param {string} door */
export async function has(door) {
  return Boolean(await (await opened())?.match(door, { ignoreVary: true }));
}

/** What is kept, the next show first. What is of no use any more, or too much, goes. @returns {Promise<Kept[]>} */
export async function all() {
  const tickets = await opened();
  if (!tickets) return [];
  /** @type {Kept[]} */
  const found = [];
  for (const request of await tickets.keys()) {
    const answer = await tickets.match(request);
    const each = answer && described(new URL(request.url).pathname, parsed(await answer.text()));
    if (each && each.until > Date.now()) found.push(each);
    else await tickets.delete(request);
  }
  for (const each of found.sort((a, b) => b.saved - a.saved).splice(BOOKINGS_MAX)) await tickets.delete(each.door);
  return found.sort((a, b) => a.until - b.until);
}

/** Takes tickets off this device: the copy at once, the right to them too, or as soon as there is a network. @param {string} door */
export async function remove(door) {
  store([...new Set([...forgotten(), door])].slice(-FORGOTTEN_MAX));
  await (await opened())?.delete(door);
  await forget(door);
}

/** The right is here again, by a link: it is not to go any more. @param {string} door */
export function recall(door) {
  store(forgotten().filter((each) => each !== door));
}

/** Has the server take away what could not be reached when it was removed. */
export async function sendForgotten() {
  for (const door of forgotten()) await forget(door);
}

/** @param {string} door */
async function forget(door) {
  try {
    const answer = await fetch(door.replace(/\/door$/, "/forget"), {
      method: "POST", body: new URLSearchParams(), redirect: "manual", signal: AbortSignal.timeout(PATIENCE_MS),
    });
    // It leads on to a page that nobody looks at; what is no booking at all is as good as forgotten.
    if (answer.type !== "opaqueredirect" && !(answer.status >= 400 && answer.status < 500 && answer.status !== 429)) return;
    recall(door);
  } catch {
    // Another time.
  }
}

/** @returns {string[]} */
function forgotten() {
  try {
    const found = JSON.parse(localStorage.getItem(FORGOTTEN) ?? "[]");
    return Array.isArray(found) ? found.filter((each) => typeof each === "string" && /^\/shows\/.*\/door$/.test(each)) : [];
  } catch {
    return [];
  }
}

/** @param {string[]} doors */
function store(doors) {
  try {
    if (doors.length) localStorage.setItem(FORGOTTEN, JSON.stringify(doors));
    else localStorage.removeItem(FORGOTTEN);
  } catch {
    // Without a place to remember them, they are asked for now or not at all.
  }
}

/** The copies; null where the browser keeps none: in private windows, or over plain http. */
async function opened() {
  try {
    return await caches.open(TICKETS);
  } catch {
    return null;
  }
}

/** @param {string} text */
function parsed(text) {
  return new DOMParser().parseFromString(text, "text/html");
}

/** @param {string} door @param {Document} page @returns {Kept | null} */
function described(door, page) {
  const data = /** @type {HTMLElement | null} */ (page.querySelector(".door"))?.dataset;
  if (!data) return null;
  return { door, show: data.show ?? "", line: data.line ?? "", until: Date.parse(data.until ?? ""), saved: Date.parse(data.saved ?? "") || 0 };
}
