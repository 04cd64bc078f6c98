/**
 * Messages between the page and the worker that runs the core.
 *
 * The page sends `open` once, then any number of `call` and `notify`. The worker answers `started` when its
 * script runs, and each `open` and `call` with `reply`. Events travel on the same port in the order in which
 * the core emitted them, so an event that precedes a reply is applied before the reply resolves.
 */
import type { CoreClient, CoreConfig, CoreError, CoreEvent } from "../core-types.js";

/** How the worker gets the wasm: an absolute URL, the bytes, or a compiled module. */
export type WasmSource = string | Uint8Array | ArrayBuffer | WebAssembly.Module;

/** The asynchronous methods of the core. */
export type CoreMethods = Omit<CoreClient, "deviceId" | "networkChanged">;
export type CoreMethod = keyof CoreMethods;
export type CoreArgs<M extends CoreMethod> = Parameters<CoreMethods[M]>;
export type CoreResult<M extends CoreMethod> = Awaited<ReturnType<CoreMethods[M]>>;

export type ToWorker =
  | { type: "open"; id: number; config: CoreConfig; wasm: WasmSource }
  | { type: "call"; id: number; method: CoreMethod; args: unknown[] }
  | { type: "notify"; event: "network-changed" };

export type FromWorker =
  | { type: "started" }
  | { type: "reply"; id: number; ok: true; value: unknown }
  | { type: "reply"; id: number; ok: false; error: CoreError }
  | { type: "event"; event: CoreEvent }
  /** The core is broken and answers nothing any more. */
  | { type: "fatal"; error: CoreError };

/** The part of Worker, MessagePort and the worker's global scope that the bridge uses. */
export interface Port {
  postMessage(message: unknown, transfer: Transferable[]): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
}

/** Smaller arrays are cheaper to copy than to transfer. */
const TRANSFER_THRESHOLD = 16 * 1024;

/**
 * The buffers in `arrays` that can move instead of being copied: large, and owned as a whole by their view.
 * Only for arrays that the sender will not look at again.
 */
export function transferables(arrays: Iterable<Uint8Array | undefined>): Transferable[] {
  const buffers = new Set<ArrayBuffer>();
  for (const array of arrays) {
    if (array === undefined || array.byteLength < TRANSFER_THRESHOLD) continue;
    if (array.buffer instanceof ArrayBuffer && array.byteLength === array.buffer.byteLength) buffers.add(array.buffer);
  }
  return [...buffers];
}
