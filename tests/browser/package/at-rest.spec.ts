/** Secrets that lie in IndexedDB. */
import type { Page } from "@playwright/test";
import { expect, test } from "../support/fixtures.js";
import { Bare, pairBare } from "../support/bare.js";
import { PAGE_DIST } from "../support/paths.js";
import { records, secretsIn, unwrap } from "../support/records.js";

/** Changes the database from the page, with `saved` for what has to be put back. */
const tamper = (page: Page, change: string): Promise<void> =>
  page.evaluate(async (body) => {
    const database = await new Promise<IDBDatabase>((resolve) => {
      const request = indexedDB.open("0k-sync:0k-sync");
      request.onsuccess = () => resolve(request.result);
    });
    const transaction = database.transaction(["meta", "memberships"], "readwrite");
    const [meta, memberships] = [transaction.objectStore("meta"), transaction.objectStore("memberships")];
    const get = (from: IDBObjectStore, key: IDBValidKey): Promise<unknown> =>
      new Promise((resolve) => {
        const request = from.get(key) as IDBRequest<unknown>;
        request.onsuccess = () => resolve(request.result);
      });
    const keys = await new Promise<IDBValidKey[]>((resolve) => {
      const request = memberships.getAllKeys();
      request.onsuccess = () => resolve(request.result);
    });
    const kept = ((window as unknown as { saved?: Record<string, unknown> }).saved ??= {
      device: await get(meta, "device-key"),
      wrap: await get(meta, "wrap-key"),
      memberships: await Promise.all(keys.map((key) => get(memberships, key))),
    });
    new Function("meta", "memberships", "keys", "saved", "other", body)(meta, memberships, keys, kept, (window as unknown as { other?: CryptoKey }).other);
    await new Promise<void>((resolve) => {
      transaction.oncomplete = () => resolve();
    });
    database.close();
  }, change);

const RESTORE = `
  meta.put(saved.device, "device-key");
  meta.put(saved.wrap, "wrap-key");
  keys.forEach((key, i) => memberships.put(saved.memberships[i], key));`;

test("no record holds the device's key or a group's secret, and the key that wraps them can't be exported", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b] = await pairBare(relay.url, await device(), await device());
  await a.push("hello");
  await b.hasTexts(["hello"]);
  await b.page.reload();
  await b.page.waitForFunction(() => "zerok" in window);
  await b.open({ relays: [relay.url] });
  await b.push("again");
  await a.hasTexts(["hello", "again"]);

  for (const each of [a, b]) {
    const id = await each.deviceId();
    const groups = await each.page.evaluate(() => window.zerok.harness.sync.groups().map((group) => group.id));
    const { bytes, others } = await records(each.page);
    expect(new Set(bytes.map(({ store }) => store))).toEqual(new Set(["groups", "log", "memberships", "meta", "sent"]));
    expect(bytes.flatMap(({ key, value }) => [...secretsIn(key, id, groups), ...secretsIn(value, id, groups)])).toEqual([]);
    expect(others).toEqual({ "meta fence": "[object Number]", "meta wrap-key": "[object CryptoKey]" });

    // Not because the search is blind.
    const wrapped = bytes.filter(({ store }) => store === "meta" || store === "memberships");
    const plain = await Promise.all(wrapped.map((record) => unwrap(each.page, record)));
    expect(plain.flatMap((secret) => secretsIn(secret, id, groups)).sort()).toEqual(["device key", `secret of ${groups[0] ?? ""}`]);
  }

  const refused = await a.page.evaluate(async () => {
    const database = await new Promise<IDBDatabase>((resolve) => {
      const request = indexedDB.open("0k-sync:0k-sync");
      request.onsuccess = () => resolve(request.result);
    });
    const key = await new Promise<CryptoKey>((resolve) => {
      const request = database.transaction("meta").objectStore("meta").get("wrap-key") as IDBRequest<CryptoKey>;
      request.onsuccess = () => resolve(request.result);
    });
    const refusals = await Promise.all(
      (["raw", "jwk"] as const).map((format) =>
        crypto.subtle.exportKey(format, key).then(
          () => "exported",
          (error: unknown) => (error as DOMException).name,
        ),
      ),
    );
    return { refusals, algorithm: key.algorithm, extractable: key.extractable };
  });
  expect(refused).toEqual({
    refusals: ["InvalidAccessError", "InvalidAccessError"],
    algorithm: { name: "AES-GCM", length: 256 },
    extractable: false,
  });
});

test("wrapped secrets that were altered or swapped, and another key or none, are refused; put back, everything is there", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const a = await Bare.open(await device(), relay.url);
  const id = await a.deviceId();
  for (const text of ["one", "two"]) {
    await a.create();
    await a.push(text);
  }
  await a.flush();
  await a.close();
  await a.page.evaluate(async () => {
    const other = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
    (window as unknown as { other: CryptoKey }).other = other;
  });

  const flip = (put: string): string => `
    const flip = (bytes, at) => bytes.map((byte, i) => (i === (at < 0 ? bytes.length + at : at) ? byte ^ 1 : byte));
    ${put}`;
  const spoiled = {
    "the version of the device key": flip('meta.put(flip(saved.device, 0), "device-key");'),
    "the nonce of the device key": flip('meta.put(flip(saved.device, 1), "device-key");'),
    "the tag of the device key": flip('meta.put(flip(saved.device, -1), "device-key");'),
    "the end of the device key": 'meta.put(saved.device.slice(0, 12), "device-key");',
    "a device key that is not wrapped": 'meta.put(new Uint8Array(32), "device-key");',
    "a bit of a membership": flip("memberships.put(flip(saved.memberships[1], 20), keys[1]);"),
    "memberships in each other's place": "memberships.put(saved.memberships[0], keys[1]); memberships.put(saved.memberships[1], keys[0]);",
    "a membership as device key": 'meta.put(saved.memberships[0], "device-key");',
    "another key": 'meta.put(other, "wrap-key");',
    "no key": 'meta.delete("wrap-key");',
    "something else as key": 'meta.put("key", "wrap-key");',
  };
  for (const [what, change] of Object.entries(spoiled)) {
    await tamper(a.page, change);
    const refusal = await a.refusedOpen({ relays: [relay.url] });
    expect(refusal?.code, what).toBe("STORAGE_FAILED");
    expect(refusal?.message, what).toMatch(/secret.* (was altered|not in the database).*clear this site's data/);
    await tamper(a.page, RESTORE);
  }

  await a.open({ relays: [relay.url] });
  expect(await a.deviceId()).toBe(id);
  const texts = await a.page.evaluate(async () => {
    const pages = await Promise.all(window.zerok.harness.sync.groups().map((group) => group.pull()));
    return pages.flatMap(({ blobs }) => blobs.map((blob) => blob.text()));
  });
  expect(texts.sort()).toEqual(["one", "two"]);
});

/** What browsers do that store data, but no keys: they throw, or store something else. */
const REFUSALS = {
  "throws, as in some private windows": 'throw new DOMException("not here", "DataCloneError");',
  "stores nothing": "return put.call(this, null, key);",
  "stores something useless": "return put.call(this, {}, key);",
};
for (const [what, instead] of Object.entries(REFUSALS)) {
  test(`where a browser can't keep a key, open says STORAGE_NOT_PERSISTENT: it ${what}`, async ({ startRelay, device }) => {
    const relay = await startRelay({ web: PAGE_DIST });
    const a = await Bare.visit(await device(), relay.url);
    await a.page.evaluate((body) => {
      const { prototype } = IDBObjectStore;
      // eslint-disable-next-line @typescript-eslint/unbound-method
      const put = prototype.put;
      const replaced = new Function("put", "key", body);
      prototype.put = function (value: unknown, key?: IDBValidKey): IDBRequest<IDBValidKey> {
        if (value instanceof CryptoKey) return replaced.call(this, put, key) as IDBRequest<IDBValidKey>;
        return put.call(this, value, key);
      };
      (window as unknown as { undo: () => void }).undo = () => {
        prototype.put = put;
      };
    }, instead);
    const refusal = await a.refusedOpen({ relays: [relay.url], worker: false });
    expect(refusal).toMatchObject({ code: "STORAGE_NOT_PERSISTENT", retryable: false });
    expect(refusal?.message).toContain('storage: "memory"');
    expect((await records(a.page)).bytes).toEqual([]);

    await a.open({ relays: [relay.url], worker: false, storage: "memory" });
    await a.create();
    await a.close();

    // What it has left does no harm where keys can be kept.
    await a.page.evaluate(() => (window as unknown as { undo: () => void }).undo());
    await a.open({ relays: [relay.url], worker: false });
    await a.create();
    await a.push("kept");
    const id = await a.deviceId();
    await a.close();
    await a.open({ relays: [relay.url] });
    expect(await a.deviceId()).toBe(id);
    expect(await a.texts()).toEqual(["kept"]);
  });
}
