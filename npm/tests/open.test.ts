import assert from "node:assert/strict";
import { test } from "node:test";
import { relayUrls } from "../src/check.js";
import { defaultDeviceName } from "../src/device-name.js";
import { SyncError } from "../src/errors.js";
import { drawQr } from "../src/invite-qr.js";
import { loadCore } from "../src/loader.js";
import { opener } from "../src/open.js";
import { FakeCore } from "./fake-core.js";

const code = (expected: string) => (error: unknown) => error instanceof SyncError && error.code === expected;
const emptyWasm = (): Promise<Uint8Array> => Promise.resolve(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]));
const glue = {
  default: () => Promise.resolve(),
  CoreClient: { open: () => Promise.resolve(new FakeCore()) },
};
const open = opener({
  glue: () => Promise.resolve(glue),
  wasm: emptyWasm,
  drawQr: (text) => Promise.resolve(text),
});

test("a failed load is not remembered", async () => {
  let tries = 0;
  const wasm = (): Promise<Uint8Array> => (tries++ === 0 ? Promise.resolve(new Uint8Array([1])) : emptyWasm());
  const load = (): Promise<unknown> => loadCore(() => Promise.resolve(glue), wasm);
  await assert.rejects(load(), code("WASM_FAILED"));
  assert.equal(await load(), glue.CoreClient);
  await load();
  assert.equal(tries, 2);
});

test("open checks its options", async () => {
  const relays = ["https://relay.test"];
  await assert.rejects(open(undefined as never), code("INVALID_ARGUMENT"));
  await assert.rejects(open({ relays: [] }), code("INVALID_ARGUMENT"));
  await assert.rejects(open({ relays: ["relay.test"] }), code("INVALID_ARGUMENT"));
  await assert.rejects(open({ relays: ["wss://relay.test"] }), code("INVALID_ARGUMENT"));
  await assert.rejects(open({ relays: ["https://user:secret@relay.test"] }), code("INVALID_ARGUMENT"));
  await assert.rejects(open({ relays, name: "" }), code("INVALID_ARGUMENT"));
  await assert.rejects(open({ relays, storage: "disk" as "memory" }), code("INVALID_ARGUMENT"));
  await assert.rejects(open({ relays, storage: "indexeddb" }), code("INVALID_ARGUMENT"));
});

test("open works with the least an app can say", async () => {
  const client = await open({ relays: ["http://localhost:8080"] });
  assert.equal(client.deviceId, "d1");
  await client.close();
});

test("a worker that can't be made rejects with WORKER_FAILED", async () => {
  const worker = (): Worker => {
    throw new DOMException("no", "SecurityError");
  };
  await assert.rejects(open({ relays: ["https://relay.test"], worker }), code("WORKER_FAILED"));
});

test("an insecure page is told so", async () => {
  Object.defineProperty(globalThis, "isSecureContext", { value: false, configurable: true });
  try {
    await assert.rejects(open({ relays: ["https://relay.test"] }), code("INSECURE_CONTEXT"));
  } finally {
    Reflect.deleteProperty(globalThis, "isSecureContext");
  }
});

test("a page that may not use locks is told so like one that may store nothing", async () => {
  const request = (): Promise<never> => Promise.reject(new DOMException("the frame is sandboxed", "SecurityError"));
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { locks: { request } }, configurable: true });
  Object.defineProperty(globalThis, "indexedDB", { value: {}, configurable: true });
  try {
    await assert.rejects(open({ relays: ["https://relay.test"] }), code("STORAGE_FAILED"));
  } finally {
    Reflect.deleteProperty(globalThis, "indexedDB");
    Reflect.deleteProperty(globalThis, "navigator");
    if (before !== undefined) Object.defineProperty(globalThis, "navigator", before);
  }
});

test("relay URLs are canonical and unique", () => {
  assert.deepEqual(relayUrls(["https://Relay.test/", "https://relay.test", "http://localhost:8080/sync/"]), [
    "https://relay.test",
    "http://localhost:8080/sync",
  ]);
});

test("the default device name says what this is", () => {
  assert.match(defaultDeviceName(), /^Node\.js on /);
});

test("a QR code is a complete SVG document", () => {
  const svg = drawQr(`https://app.example/#0k=${"A".repeat(64)}`);
  assert.match(svg, /^<svg[^>]+xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
  assert.match(svg, /<\/svg>$/);
});
