/**
 * The page's half of the bridge: a core that lives in a worker.
 *
 * Every call is answered or rejected: when the worker dies, fails to start, or is closed, all pending calls
 * reject. After that each call rejects at once with the same error.
 */
import { closedError, toSyncError } from "../convert.js";
import type { CoreConfig } from "../core-types.js";
import { SyncError } from "../errors.js";
import type { Core, CoreHandlers } from "../core.js";
import { transferables, type CoreArgs, type CoreMethod, type CoreResult, type FromWorker, type ToWorker, type WasmSource } from "./protocol.js";

/** The part of Worker that the bridge uses. */
export interface BridgeWorker {
  postMessage(message: unknown, transfer: Transferable[]): void;
  addEventListener(type: "message" | "messageerror", listener: (event: MessageEvent<unknown>) => void): void;
  addEventListener(type: "error", listener: (event: ErrorEvent) => void): void;
  terminate(): void;
}

/** A worker script that hasn't run by then never will. */
const START_TIMEOUT_MS = 60_000;
/** A core that hasn't closed its connections by then is cut off. */
const CLOSE_TIMEOUT_MS = 5_000;

interface PendingCall {
  resolve(value: unknown): void;
  reject(error: SyncError): void;
}

/** Opens a core in `worker`. Rejects, and ends the worker, if it does not start. */
export async function openInWorker(
  worker: BridgeWorker,
  config: CoreConfig,
  wasm: Promise<WasmSource>,
  handlers: CoreHandlers,
): Promise<Core> {
  const bridge = new Bridge(worker, handlers);
  try {
    return await bridge.open(config, await wasm);
  } catch (error) {
    bridge.end(toSyncError(error));
    throw error;
  }
}

class Bridge implements Core {
  deviceId = "";
  readonly #worker: BridgeWorker;
  readonly #handlers: CoreHandlers;
  readonly #pending = new Map<number, PendingCall>();
  #nextId = 1;
  #started = false;
  #opened = false;
  #ended: SyncError | undefined;
  #startTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(worker: BridgeWorker, handlers: CoreHandlers) {
    this.#worker = worker;
    this.#handlers = handlers;
    worker.addEventListener("message", (event) => this.#receive(event.data as FromWorker));
    worker.addEventListener("messageerror", () => this.#die("A message of the sync worker could not be read."));
    worker.addEventListener("error", (event) => {
      // Uncaught errors of a running worker are reported by itself, as `fatal` or an error event.
      if (this.#started) return;
      this.#die(event.message || "its script did not load");
    });
    this.#startTimer = setTimeout(() => this.#die("its script did not start in time"), START_TIMEOUT_MS);
  }

  async open(config: CoreConfig, wasm: WasmSource): Promise<Core> {
    const deviceId = await this.#request((id) => ({ type: "open", id, config, wasm }));
    this.deviceId = deviceId as string;
    this.#opened = true;
    return this;
  }

  async call<M extends CoreMethod>(method: M, args: CoreArgs<M>, owned: readonly Uint8Array[] = []): Promise<CoreResult<M>> {
    const value = await this.#request((id) => ({ type: "call", id, method, args }), transferables(owned));
    return value as CoreResult<M>;
  }

  networkChanged(): void {
    if (this.#ended === undefined) this.#worker.postMessage({ type: "notify", event: "network-changed" } satisfies ToWorker, []);
  }

  async close(): Promise<void> {
    if (this.#ended !== undefined) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
    });
    try {
      await Promise.race([this.call("close", []), patience]);
    } finally {
      clearTimeout(timer);
      this.end(closedError());
    }
  }

  /** Ends the worker and rejects everything that waits for it. */
  end(reason: SyncError): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    clearTimeout(this.#startTimer);
    this.#worker.terminate();
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    for (const call of waiting) call.reject(reason);
  }

  #request(message: (id: number) => ToWorker, transfer: Transferable[] = []): Promise<unknown> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      try {
        this.#worker.postMessage(message(id), transfer);
      } catch (error) {
        // An argument can't be cloned: nothing was sent, and nothing is left pending.
        reject(notCloned(error));
        return;
      }
      this.#pending.set(id, { resolve, reject });
    });
  }

  #receive(message: FromWorker): void {
    if (this.#ended !== undefined) return;
    switch (message.type) {
      case "started":
        this.#started = true;
        clearTimeout(this.#startTimer);
        break;
      case "event":
        this.#handlers.event(message.event);
        break;
      case "reply": {
        const call = this.#pending.get(message.id);
        this.#pending.delete(message.id);
        if (message.ok) call?.resolve(message.value);
        else call?.reject(toSyncError(message.error));
        break;
      }
      case "fatal":
        this.#fail(toSyncError(message.error));
        break;
    }
  }

  #die(reason: string): void {
    this.#fail(
      new SyncError(
        "WORKER_FAILED",
        this.#started
          ? "The sync worker stopped. Close this client and open it again; nothing stored is lost."
          : "The sync worker could not be started. Check that worker.js is served (pass workerUrl if your bundler " +
              "does not emit it) and that worker-src of the page's CSP allows it.",
        { reason, retryable: true },
      ),
    );
  }

  #fail(error: SyncError): void {
    if (this.#ended !== undefined) return;
    const wasOpen = this.#opened;
    this.end(error);
    // Before that, open() itself rejects.
    if (wasOpen) this.#handlers.died(error);
  }
}

function notCloned(error: unknown): SyncError {
  const reason = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const text = "An argument can't be passed to the sync worker: only plain data can, and no array whose buffer was transferred elsewhere.";
  return new SyncError("INVALID_ARGUMENT", text, { reason, cause: error });
}
