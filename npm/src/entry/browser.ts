/** For browsers and their bundlers: wasm and worker are files beside this one, found by `new URL(…, import.meta.url)`. */
import type { open as Open } from "../index.js";
import { opener } from "../open.js";

export { SyncError } from "../errors.js";
export { generatePassphrase } from "../passphrase/generate.js";
export { passphraseStrength } from "../passphrase/strength.js";

export const open: typeof Open = opener({
  glue: () => import("zerok:core"),
  // Bundlers look for these two expressions: they must stay as they are.
  wasm: () => Promise.resolve(new URL("../core_bg.wasm", import.meta.url).href),
  startWorker: () => new Worker(new URL("../worker.js", import.meta.url), { type: "module", name: "0k-sync" }),
  drawQr: async (text) => (await import("../invite-qr.js")).drawQr(text),
});
