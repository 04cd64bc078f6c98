/** The suite of every store, on real IndexedDB. */
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "../support/fixtures.js";
import { PAGE_DIST, TESTING_CORE } from "../support/paths.js";

interface TestingCore {
  default(source: { module_or_path: ArrayBuffer }): Promise<unknown>;
  runStoreSuite(prefix: string, key: CryptoKey): Promise<string[]>;
  fillStore(name: string, most: number, key: CryptoKey): Promise<string | undefined>;
}

/** A worker that runs what it is sent, in the core with the exports for tests. */
const WORKER = `
const start = async () => {
  const core = await import("/testing/core.js");
  await core.default({ module_or_path: await (await fetch("/testing/core_bg.wasm")).arrayBuffer() });
  return core;
};
const core = start();
onmessage = async ({ data: [call, ...args] }) => {
  try {
    const key = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
    postMessage({ value: await (await core)[call](...args, key) });
  } catch (error) {
    postMessage({ error: String(error) });
  }
};`;

const withCore = test.extend<{ url: string }>({
  /** Where a page finds the core. */
  url: async ({ folder, startRelay }, use) => {
    const web = join(folder, "web");
    await cp(PAGE_DIST, web, { recursive: true });
    await cp(TESTING_CORE, join(web, "testing"), { recursive: true });
    await use((await startRelay({ web })).url);
  },
});

withCore("IndexedDB passes the suite of all stores, in a window", async ({ url, device }) => {
  const page = await (await device()).visit(url);
  const lines: string[] = [];
  page.on("console", (message) => lines.push(message.text()));
  const passed = await page
    .evaluate(async () => {
      const path = "/testing/core.js";
      const core = (await import(path)) as TestingCore;
      await core.default({ module_or_path: await (await fetch("/testing/core_bg.wasm")).arrayBuffer() });
      const key = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
      return core.runStoreSuite("window-", key);
    })
    .catch((error: unknown) => {
      throw new Error(`after ${lines.join(", ")}`, { cause: error });
    });
  expect(passed.length).toBeGreaterThan(8);
  // Nothing is left behind.
  expect(await page.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name))).toEqual([]);
});

withCore("IndexedDB passes the suite of all stores, in a worker and on a disk", async ({ url, device }) => {
  const page = await (await device({ durable: true })).visit(url);
  const answer = await page.evaluate((source) => {
    const worker = new Worker(URL.createObjectURL(new Blob([source.replaceAll("/testing/", `${location.origin}/testing/`)], { type: "text/javascript" })), { type: "module" });
    return new Promise<{ value?: string[]; error?: string }>((resolve) => {
      worker.onmessage = (event: MessageEvent<{ value?: string[] }>) => resolve(event.data);
      worker.onerror = (event) => resolve({ error: `the worker failed: ${event.message}` });
      worker.postMessage(["runStoreSuite", "worker-"]);
    });
  }, WORKER);
  expect(answer.error).toBeUndefined();
  expect(answer.value?.length).toBeGreaterThan(8);
});

withCore("a full IndexedDB refuses with STORAGE_FULL, keeps nothing of what it refused, and takes more when there is room", async ({ url, device }) => {
  const phone = await device({ durable: true });
  const page = await phone.visit(url);
  const cdp = await phone.context.newCDPSession(page);
  await cdp.send("Storage.overrideQuotaForOrigin", { origin: url, quotaSize: 8 * 1024 * 1024 });
  const code = await page.evaluate(async () => {
    const path = "/testing/core.js";
    const core = (await import(path)) as TestingCore;
    await core.default({ module_or_path: await (await fetch("/testing/core_bg.wasm")).arrayBuffer() });
    const key = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
    return core.fillStore("full", 100, key);
  });
  expect(code).toBe("STORAGE_FULL");
});
