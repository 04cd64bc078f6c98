/** Secrets that lie in IndexedDB. */
import type { Page } from "@playwright/test";
import { expect, test } from "../support/fixtures.js";
import { Bare, pairBare } from "../support/bare.js";
import { PAGE_DIST } from "../support/paths.js";
import { databases, records, secretsIn, unwrap } from "../support/records.js";
import { encodingsOf, findIn } from "../support/search.js";

/** Runs statements on the database in the page, with `saved` for what has to be put back. */
const tamper = (page: Page, change: string): Promise<void> =>
  page.evaluate(`(async () => {
    const wait = (request) => new Promise((resolve) => { request.onsuccess = () => resolve(request.result); });
    const database = await wait(indexedDB.open("0k-sync:0k-sync"));
    const keyDatabase = await wait(indexedDB.open("0k-sync-key:0k-sync"));
    const wrapKey = await wait(keyDatabase.transaction("key").objectStore("key").get("wrap-key"));
    const transaction = database.transaction(["meta", "memberships"], "readwrite");
    const [meta, memberships] = [transaction.objectStore("meta"), transaction.objectStore("memberships")];
    const keys = await wait(memberships.getAllKeys());
    const saved = (window.saved ??= {
      device: await wait(meta.get("device-key")),
      wrap: wrapKey,
      memberships: await wait(memberships.getAll()),
    });
    const flip = (bytes, at) => bytes.map((byte, i) => (i === (at < 0 ? bytes.length + at : at) ? byte ^ 1 : byte));
    const keyTransaction = keyDatabase.transaction("key", "readwrite");
    const wrap = keyTransaction.objectStore("key");
    const done = Promise.all([transaction, keyTransaction].map((each) => new Promise((resolve) => { each.oncomplete = resolve; })));
    ${change}
    await done;
    database.close();
    keyDatabase.close();
  })()`);

const RESTORE = `
  meta.put(saved.device, "device-key");
  wrap.put(saved.wrap, "wrap-key");
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
    expect(others).toEqual({ "meta fence": "[object Number]" });
    expect(await databases(each.page)).toEqual(["0k-sync-key:0k-sync", "0k-sync:0k-sync"]);

    // What to look for: the page can unwrap it.
    const wrapped = bytes.filter(({ store }) => store === "meta" || store === "memberships");
    const plain = await Promise.all(wrapped.map((record) => unwrap(each.page, record)));
    const secrets = plain.flatMap((secret) => secretsIn(secret, id, groups));
    expect(secrets.map(({ what }) => what).sort()).toEqual(["device key", `group ${groups[0] ?? ""}`]);

    const places = new Map(bytes.map(({ store, key, value }) => [`${store} ${key.toString("hex")}`, Buffer.concat([key, value])]));
    expect(findIn(places, secrets.flatMap(({ secret }) => encodingsOf(secret)))).toEqual([]);
    // Not because the search is blind: the keys of groups are public.
    expect(findIn(places, groups.flatMap((group) => encodingsOf(Buffer.from(group, "hex"))))).not.toEqual([]);
  }

  const refused = await a.page.evaluate(async () => {
    const database = await new Promise<IDBDatabase>((resolve) => {
      const request = indexedDB.open("0k-sync-key:0k-sync");
      request.onsuccess = () => resolve(request.result);
    });
    const key = await new Promise<CryptoKey>((resolve) => {
      const request = database.transaction("key").objectStore("key").get("wrap-key") as IDBRequest<CryptoKey>;
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
    (window as unknown as { other: CryptoKey }).other = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  });

  const spoiled = {
    "the version of the device key": 'meta.put(flip(saved.device, 0), "device-key");',
    "the nonce of the device key": 'meta.put(flip(saved.device, 1), "device-key");',
    "the tag of the device key": 'meta.put(flip(saved.device, -1), "device-key");',
    "the end of the device key": 'meta.put(saved.device.slice(0, 12), "device-key");',
    "a device key that is not wrapped": 'meta.put(new Uint8Array(32), "device-key");',
    "a bit of a membership": "memberships.put(flip(saved.memberships[1], 20), keys[1]);",
    "memberships in each other's place": "memberships.put(saved.memberships[0], keys[1]); memberships.put(saved.memberships[1], keys[0]);",
    "a membership as device key": 'meta.put(saved.memberships[0], "device-key");',
    "another key": 'wrap.put(other, "wrap-key");',
    "no key": 'wrap.delete("wrap-key");',
    "something else as key": 'wrap.put("key", "wrap-key");',
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

/** What browsers do that store data, but no keys. */
for (const what of ["throws", "stores null", "stores something useless"]) {
  test(`where a browser can't keep a key, open says STORAGE_NOT_PERSISTENT: it ${what}`, async ({ startRelay, device }) => {
    const relay = await startRelay({ web: PAGE_DIST });
    const a = await Bare.visit(await device(), relay.url);
    await a.page.evaluate((how) => {
      const { prototype } = IDBObjectStore;
      // eslint-disable-next-line @typescript-eslint/unbound-method
      const put = prototype.put;
      prototype.put = function (value: unknown, key?: IDBValidKey): IDBRequest<IDBValidKey> {
        if (!(value instanceof CryptoKey)) return put.call(this, value, key);
        if (how === "throws") throw new DOMException("not here", "DataCloneError");
        return put.call(this, how === "stores null" ? null : {}, key);
      };
      (window as unknown as { undo: () => void }).undo = () => {
        prototype.put = put;
      };
    }, what);
    const refusal = await a.refusedOpen({ relays: [relay.url], worker: false });
    expect(refusal).toMatchObject({ code: "STORAGE_NOT_PERSISTENT", retryable: false });
    expect(refusal?.message).toContain('storage: "memory"');
    expect(await databases(a.page)).toEqual(["0k-sync-key:0k-sync"]);

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
