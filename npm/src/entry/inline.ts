/**
 * For classic service workers and bundlers that don't emit wasm files: everything is in JavaScript and
 * imported statically, but for the judge and the words of passphrases. Larger to download; uses a worker only if given `workerUrl` or `worker`.
 */
import * as glue from "zerok:core";
import type { open as Open } from "../index.js";
import wasm from "../inline-wasm.js";
import { drawQr } from "../invite-qr.js";
import { opener } from "../open.js";

export { SyncError } from "../errors.js";
export { generatePassphrase } from "../passphrase/generate.js";
export { passphraseStrength } from "../passphrase/strength.js";

export const open: typeof Open = opener({
  glue: () => Promise.resolve(glue),
  wasm: () => Promise.resolve(wasm),
  drawQr: (text) => Promise.resolve(drawQr(text)),
});
