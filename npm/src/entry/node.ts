/** For Node 20 and later, Deno and Bun: reads the wasm from disk and runs it on this thread. */
import type { open as Open } from "../index.js";
import { opener } from "../open.js";
import type { WasmSource } from "../worker/protocol.js";

export { SyncError } from "../errors.js";
export { generatePassphrase } from "../passphrase/generate.js";
export { passphraseStrength } from "../passphrase/strength.js";

export const open: typeof Open = opener({
  glue: () => import("zerok:core"),
  wasm: readWasm,
  drawQr: async (text) => (await import("../invite-qr.js")).drawQr(text),
  prepare: provideWebSocket,
});

async function readWasm(): Promise<WasmSource> {
  try {
    const { readFile } = await import("node:fs/promises");
    return await readFile(new URL("../core_bg.wasm", import.meta.url));
  } catch {
    // Server builds move this file away from the wasm; a copy travels as JavaScript.
    return (await import("../inline-wasm.js")).default;
  }
}

/** Node has a WebSocket of its own only since version 22. */
async function provideWebSocket(): Promise<void> {
  const scope = globalThis as { WebSocket?: unknown };
  scope.WebSocket ??= (await import("../node-websocket.js")).NodeWebSocket;
}
