/** For apps that bring the wasm themselves: pass `wasm` or `wasmUrl`, and `workerUrl` or `worker` for a worker. */
import { invalidArgument } from "../convert.js";
import type { open as Open } from "../index.js";
import { opener } from "../open.js";

export { SyncError } from "../errors.js";
export { generatePassphrase } from "../passphrase/generate.js";
export { passphraseStrength } from "../passphrase/strength.js";

export const open: typeof Open = opener({
  glue: () => import("zerok:core"),
  wasm: () => Promise.reject(invalidArgument("@0k-sync/client/slim carries no wasm: pass wasm or wasmUrl to open().")),
  drawQr: async (text) => (await import("../invite-qr.js")).drawQr(text),
});
