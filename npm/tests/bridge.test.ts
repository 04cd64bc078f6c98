import assert from "node:assert/strict";
import { test } from "node:test";
import type { Core } from "../src/core.js";
import type { CoreConfig, CoreEvent } from "../src/core-types.js";
import { SyncError } from "../src/errors.js";
import { openInWorker, type BridgeWorker } from "../src/worker/bridge.js";
import { serve } from "../src/worker/host.js";
import { FakeCore, failure, status } from "./fake-core.js";

const config: CoreConfig = { relays: ["https://relay.test"], name: "test", deviceName: "test", platform: "test", storage: "memory" };
const wasm = Promise.resolve("https://app.test/core_bg.wasm");

/** A worker on this thread, over a real MessageChannel: cloning and transfer are the platform's own. */
class FakeWorker extends EventTarget {
  readonly core = new FakeCore();
  readonly #channel = new MessageChannel();
  reportUnhandled: (error: unknown) => void = () => undefined;
  terminated = false;
  sent: unknown[] = [];

  constructor({ starts = true } = {}) {
    super();
    this.#channel.port1.onmessage = ({ data }: MessageEvent<unknown>) => this.dispatchEvent(new MessageEvent("message", { data }));
    if (!starts) return;
    const port = this.#channel.port2;
    this.reportUnhandled = serve(
      {
        postMessage: (message, transfer) => port.postMessage(message, transfer),
        addEventListener: (_type, listener) => {
          port.onmessage = (event: MessageEvent<unknown>) => {
            this.sent.push(event.data);
            listener(event);
          };
        },
      },
      () =>
        Promise.resolve({
          open: (_config: CoreConfig, onEvent: (event: CoreEvent) => void) => {
            this.core.emit = onEvent;
            return Promise.resolve(this.core);
          },
        }),
    );
  }

  postMessage(message: unknown, transfer: Transferable[]): void {
    this.#channel.port1.postMessage(message, transfer);
  }

  terminate(): void {
    this.terminated = true;
    this.#channel.port1.close();
  }

  fail(message: string): void {
    this.dispatchEvent(Object.assign(new Event("error"), { message }));
  }
}

async function opened(): Promise<{ worker: FakeWorker; core: Core; events: CoreEvent[]; deaths: SyncError[] }> {
  const worker = new FakeWorker();
  const events: CoreEvent[] = [];
  const deaths: SyncError[] = [];
  const handlers = { event: (event: CoreEvent) => events.push(event), died: (error: SyncError) => deaths.push(error) };
  const core = await openInWorker(worker as unknown as BridgeWorker, config, wasm, handlers);
  return { worker, core, events, deaths };
}

const code = (expected: string) => (error: unknown) => error instanceof SyncError && error.code === expected;

test("calls reach the core and answers come back", async () => {
  const { core } = await opened();
  assert.equal(core.deviceId, "d1");
  const { id, position } = await core.call("push", ["g", new Uint8Array([1, 2]), undefined]);
  assert.deepEqual({ id, position }, { id: "b1", position: 1 });
  await core.close();
});

test("errors keep code, retryable, reason and retryAfterMs", async () => {
  const { worker, core } = await opened();
  worker.core.next = () =>
    Promise.reject(failure("RATE_LIMITED", { retryable: true, reason: "relay says so", retryAfterMs: 250 }));
  await assert.rejects(core.call("flush", ["g"]), (error: unknown) => {
    assert(error instanceof SyncError);
    assert.equal(error.code, "RATE_LIMITED");
    assert.equal(error.retryable, true);
    assert.equal(error.reason, "relay says so");
    assert.equal(error.retryAfterMs, 250);
    return true;
  });
  await core.close();
});

test("an error that is not the core's becomes INTERNAL and keeps its text as reason", async () => {
  const { worker, core } = await opened();
  worker.core.next = () => Promise.reject(new TypeError("oops"));
  await assert.rejects(core.call("flush", ["g"]), (error: unknown) => {
    return code("INTERNAL")(error) && (error as SyncError).reason === "TypeError: oops";
  });
  await core.close();
});

test("an event that precedes a reply is applied before the reply resolves", async () => {
  const { worker, core, events } = await opened();
  worker.core.next = () => {
    worker.core.emit({ type: "status", status: status({ pending: 1 }) });
    return Promise.resolve();
  };
  await core.call("flush", ["g"]);
  assert.equal(events.length, 1);
  await core.close();
});

test("large arrays move, small ones are copied", async () => {
  const { core } = await opened();
  const large = new Uint8Array(64 * 1024).fill(7);
  const small = new Uint8Array([1]);
  await core.call("push", ["g", large, undefined], [large]);
  await core.call("push", ["g", small, undefined], [small]);
  assert.equal(large.byteLength, 0, "the buffer went to the worker");
  assert.equal(small.byteLength, 1);
  const kept = new Uint8Array(64 * 1024);
  await core.call("push", ["g", kept, undefined]);
  assert.equal(kept.byteLength, 64 * 1024, "an array that the caller keeps is never taken away");
  const page = await core.call("pull", ["g", 0, 10, true, false]);
  assert.deepEqual(page.blobs.map((blob) => blob.data.byteLength), [64 * 1024, 1, 64 * 1024]);
  assert.equal(page.blobs[0]?.data[100], 7);
  await core.close();
});

test("a worker whose script does not load rejects open with WORKER_FAILED and is ended", async () => {
  const worker = new FakeWorker({ starts: false });
  const opening = openInWorker(worker as unknown as BridgeWorker, config, wasm, { event: () => undefined, died: () => assert.fail() });
  await wasm;
  worker.fail("404");
  await assert.rejects(opening, code("WORKER_FAILED"));
  assert(worker.terminated);
});

test("a wasm that can't be had rejects open and ends the worker", async () => {
  const worker = new FakeWorker();
  const missing = Promise.reject(new SyncError("WASM_FAILED", "no"));
  const opening = openInWorker(worker as unknown as BridgeWorker, config, missing, { event: () => undefined, died: () => assert.fail() });
  await assert.rejects(opening, code("WASM_FAILED"));
  assert(worker.terminated);
});

test("a trap rejects everything pending and everything after, and is told once", async () => {
  const { worker, core, deaths } = await opened();
  worker.core.next = () => new Promise(() => undefined);
  const pending = core.call("flush", ["g"]);
  const rejected = assert.rejects(pending, code("WORKER_FAILED"));
  worker.reportUnhandled(new WebAssembly.RuntimeError("unreachable"));
  await rejected;
  await assert.rejects(core.call("flush", ["g"]), code("WORKER_FAILED"));
  assert.deepEqual(deaths.map((error) => error.code), ["WORKER_FAILED"]);
  assert(worker.terminated);
  await core.close();
});

test("an uncaught error that is no trap is an event and kills nothing", async () => {
  const { worker, core, events } = await opened();
  worker.reportUnhandled(new Error("background"));
  await core.call("flush", ["g"]);
  assert.equal(events[0]?.type, "error");
  await core.close();
});

test("closing rejects what is still pending with CLOSED and ends the worker", async () => {
  const { worker, core } = await opened();
  worker.core.next = () => new Promise(() => undefined);
  const rejected = assert.rejects(core.call("ready", ["g"]), code("CLOSED"));
  await core.close();
  await rejected;
  assert(worker.terminated);
  await assert.rejects(core.call("flush", ["g"]), code("CLOSED"));
  await core.close();
});

test("arguments that can't be cloned reject that call and leave nothing pending", async () => {
  const { core } = await opened();
  const bad = (() => undefined) as unknown as string;
  await assert.rejects(core.call("flush", [bad]), code("INVALID_ARGUMENT"));
  const gone = new Uint8Array(4);
  structuredClone(gone, { transfer: [gone.buffer] });
  await assert.rejects(core.call("push", ["g", gone, undefined]), code("INVALID_ARGUMENT"));
  await core.call("flush", ["g"]);
  await core.close();
});
