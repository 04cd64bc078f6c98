/** Entry of `dist/worker.js`: self-contained apart from the wasm, whose URL the page sends. */
import init, { CoreClient } from "zerok:core";
import { loadCore } from "../loader.js";
import { serve } from "./host.js";
import type { Port } from "./protocol.js";

const scope = self as unknown as Port;

const report = serve(scope, (wasm) =>
  loadCore(
    () => Promise.resolve({ default: init, CoreClient }),
    () => Promise.resolve(wasm),
  ),
);

// Tasks of the core have no caller: what they throw arrives here.
self.addEventListener("error", (event: ErrorEvent) => {
  event.preventDefault();
  report(event.error);
});
self.addEventListener("unhandledrejection", (event: PromiseRejectionEvent) => {
  event.preventDefault();
  report(event.reason);
});
