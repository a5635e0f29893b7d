/**
 * On every page: has the worker registered, which answers when the network does not, and sends what could not be sent when
 * tickets were taken off the device without a network. All of it may fail, and the shop works as before.
 */

import { sendForgotten } from "./kept.js";

addEventListener("load", () => {
  navigator.serviceWorker?.register("/service-worker.js", { updateViaCache: "none" }).catch(() => {});
  void sendForgotten();
});
