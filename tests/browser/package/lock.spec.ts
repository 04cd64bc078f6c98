/** Devices that are locked by a passkey, or by a recovery code alone. */
import type { Page } from "@playwright/test";
import { expect, test } from "../support/fixtures.js";
import { Authenticator } from "../support/authenticator.js";
import { Bare, pairBare } from "../support/bare.js";
import { PAGE_DIST } from "../support/paths.js";
import { databases, records, secretsIn, unwrap } from "../support/records.js";
import { encodingsOf, filesWith, findIn } from "../support/search.js";

const PASSKEY = { passkey: true } as const;
const BOTH = ["0k-sync-key:0k-sync", "0k-sync:0k-sync"];

test("a locked device opens with its passkey or the recovery code, and with nothing else, and then goes on", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const relays = [relay.url];
  const [a, b] = await pairBare(relay.url, await device(), await device());
  const id = await a.deviceId();
  const authenticator = await Authenticator.add(a);
  expect(await a.page.evaluate(() => window.zerok.harness.sync.lock.supported())).toBe(true);

  const code = await a.lock();
  expect(code).toMatch(/^([0-9A-HJKMNP-TV-Z]{4}-){6}[0-9A-HJKMNP-TV-Z]{4}$/);
  expect(await a.isLocked()).toBe(true);
  expect(await authenticator.passkeys()).toHaveLength(1);
  expect(await a.refusedLock()).toMatchObject({ code: "INVALID_ARGUMENT" });
  // Nothing stops while it is open.
  await a.push("after locking");
  await a.create();
  await b.hasTexts(["after locking"]);

  await a.reload();
  expect(await a.refusedOpen({ relays })).toMatchObject({ code: "LOCKED", retryable: false, ways: ["passkey", "recoveryCode"] });
  await b.push("while locked");
  const wrong = code.startsWith("0") ? `1${code.slice(1)}` : `0${code.slice(1)}`;
  expect(await a.refusedOpen({ relays, unlock: { recoveryCode: wrong } })).toMatchObject({ code: "UNLOCK_FAILED", retryable: false });
  const half = await a.refusedOpen({ relays, unlock: { recoveryCode: code.slice(5) } });
  expect(half?.code).toBe("UNLOCK_FAILED");
  expect(half?.message).toContain("28");
  for (const unlock of [{}, null, { passkey: false }, { recoveryCode: 5 }, { passkey: true, recoveryCode: code }, "passkey"]) {
    expect(await a.refusedOpen({ relays, unlock }), JSON.stringify(unlock)).toMatchObject({ code: "INVALID_ARGUMENT" });
  }

  await a.open({ relays, unlock: PASSKEY });
  expect(await a.deviceId()).toBe(id);
  expect(await a.page.evaluate(() => window.zerok.harness.sync.groups().length)).toBe(2);
  const all = (): Promise<string[]> =>
    a.page.evaluate(async () => {
      const pages = await Promise.all(window.zerok.harness.sync.groups().map((group) => group.pull()));
      return pages.flatMap(({ blobs }) => blobs.map((blob) => blob.text())).sort();
    });
  await expect.poll(all).toEqual(["after locking", "while locked"]);

  // Whoever does not let themselves be verified, or has lost the passkey, has the code, as people type it.
  await a.reload();
  await authenticator.refuse();
  expect(await a.refusedOpen({ relays, unlock: PASSKEY })).toMatchObject({ code: "PASSKEY_CANCELLED", retryable: true });
  await authenticator.forget();
  expect(await a.refusedOpen({ relays, unlock: PASSKEY })).toMatchObject({ code: "PASSKEY_CANCELLED", retryable: true });
  await a.open({ relays, unlock: { recoveryCode: code.toLowerCase().replaceAll("-", " ").replaceAll("0", "o").replaceAll("1", "l") } });
  expect(await a.deviceId()).toBe(id);

  await a.page.evaluate(() => window.zerok.harness.sync.lock.disable());
  expect(await a.isLocked()).toBe(false);
  await a.reload();
  // What unlocks does no harm where nothing is locked.
  await a.open({ relays, unlock: PASSKEY });
  expect(await a.deviceId()).toBe(id);
  expect(await databases(a.page)).toEqual(BOTH);
});

test("nothing in IndexedDB opens a locked device, and no record of before is left", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const a = await Bare.open(await device(), relay.url);
  await Authenticator.add(a);
  const group = await a.create();
  await a.push("words of the app");
  await a.flush();
  const id = await a.deviceId();
  const before = (await records(a.page)).bytes.filter(({ store }) => store === "meta" || store === "memberships");
  const plain = await Promise.all(before.map((record) => unwrap(a.page, record)));
  const secrets = plain.flatMap((secret) => secretsIn(secret, id, [group])).map(({ secret }) => secret);
  expect(secrets).toHaveLength(2);

  const code = await a.lock();
  await a.close();
  expect(await databases(a.page)).toEqual(["0k-sync:0k-sync"]);
  const { bytes, others } = await records(a.page);
  expect(others).toEqual({ "meta fence": "[object Number]", "meta lock": "[object Object]" });
  const lock = await a.page.evaluate(
    () =>
      new Promise<string>((resolve) => {
        const request = indexedDB.open("0k-sync:0k-sync");
        request.onsuccess = () => {
          const found = request.result.transaction("meta").objectStore("meta").get("lock");
          found.onsuccess = () => {
            request.result.close();
            // Everything that is in it; a key of WebCrypto's would be {}.
            resolve(JSON.stringify(found.result, (_, value: unknown) => (value instanceof Uint8Array ? [...value] : value)));
          };
        };
      }),
  );
  const parts = JSON.parse(lock) as Record<string, Record<string, number[]>>;
  expect(Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, typeof part === "object" ? Object.keys(part).sort() : part]))).toEqual({
    version: 1,
    passkey: ["id", "key", "nonce", "salt"],
    recovery: ["key", "nonce", "salt"],
  });

  const places = new Map(bytes.map(({ store, key, value }) => [`${store} ${key.toString("hex")}`, Buffer.concat([key, value])]));
  for (const [name, part] of Object.entries(parts)) {
    for (const [field, list] of Object.entries(typeof part === "object" ? part : {})) places.set(`lock ${name} ${field}`, Buffer.from(list));
  }
  const texts = ["words of the app", code, code.replaceAll("-", "")].map((text) => Buffer.from(text));
  expect(findIn(places, [...secrets, ...texts].flatMap(encodingsOf))).toEqual([]);
  expect(findIn(places, before.map(({ value }) => value.subarray(13)))).toEqual([]);
  expect(findIn(places, encodingsOf(Buffer.from(group, "hex")))).not.toEqual([]);
});

for (const restarted of [false, true]) {
  test(`no file of the browser's holds a key that opens a locked device${restarted ? ", also where it was closed since" : ""}`, async ({ startRelay, device }) => {
    const relay = await startRelay({ web: PAGE_DIST });
    const phone = await device({ durable: true });
    const profile = phone.profile ?? "";
    const kept = Buffer.from(Array.from({ length: 32 }, (_, at) => (at * 73 + 19) & 255));
    const locking = Buffer.from(Array.from({ length: 32 }, (_, at) => (at * 91 + 7) & 255));
    // What WebCrypto would never tell: the keys that it makes.
    const known = (page: Page): Promise<void> =>
      page.evaluate(
        ([forKeeping, forLocking]) => {
          crypto.subtle.generateKey = ((algorithm: AlgorithmIdentifier, extractable: boolean, uses: KeyUsage[]) =>
            crypto.subtle.importKey("raw", new Uint8Array((extractable ? forLocking : forKeeping) ?? []), algorithm, extractable, uses)) as typeof crypto.subtle.generateKey;
        },
        [[...kept], [...locking]],
      );
    let a = await Bare.visit(phone, relay.url);
    await known(a.page);
    await a.open({ relays: [relay.url] });
    await a.create();
    // More than the 4 MiB that LevelDB collects before it writes a table.
    await a.page.evaluate(async () => {
      for (let n = 0; n < 5; n++) await window.zerok.harness.group.push(new Uint8Array(1_000_000));
    });
    if (restarted) {
      await a.close();
      await phone.switchOff();
      await phone.switchOn();
      a = await Bare.open(phone, relay.url);
      await known(a.page);
    }
    expect(await filesWith(profile, [kept])).not.toEqual([]);

    const code = await a.lock({ passkey: false });
    await expect.poll(() => filesWith(profile, [kept, locking, Buffer.from(code), Buffer.from(code.replaceAll("-", ""))])).toEqual([]);
    await a.push("after locking");
    await a.close();
    await phone.switchOff();
    expect(await filesWith(profile, [kept, locking, Buffer.from(code), Buffer.from(code.replaceAll("-", ""))])).toEqual([]);
    await phone.switchOn();
    a = await Bare.open(phone, relay.url, { unlock: { recoveryCode: code } });
    expect((await a.texts()).at(-1)).toBe("after locking");
  });
}

test("a passkey that can't do it is refused, nothing is locked by it, and a recovery code alone locks as well", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const relays = [relay.url];
  const a = await Bare.open(await device(), relay.url);
  await a.create();
  await Authenticator.add(a, { prf: false });
  const refusal = await a.refusedLock();
  expect(refusal).toMatchObject({ code: "PASSKEY_UNSUPPORTED", retryable: false });
  expect(refusal?.message).toContain("recovery code");
  expect(await a.isLocked()).toBe(false);
  await a.close();
  await a.open({ relays });

  const code = await a.lock({ passkey: false });
  await a.close();
  expect(await a.refusedOpen({ relays })).toMatchObject({ code: "LOCKED", ways: ["recoveryCode"] });
  expect(await a.refusedOpen({ relays, unlock: PASSKEY })).toMatchObject({ code: "PASSKEY_UNSUPPORTED" });
  await a.open({ relays, unlock: { recoveryCode: code } });
});

test("where nothing is kept, and with wrong options, nothing is locked; another tab is told that the first one is open", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const relays = [relay.url];
  const phone = await device();
  const a = await Bare.open(phone, relay.url, { storage: "memory" });
  expect(await a.refusedLock()).toMatchObject({ code: "INVALID_ARGUMENT" });
  await a.close();
  await a.open({ relays });
  const wrong = (options: string): Promise<unknown> =>
    a.page.evaluate(`window.zerok.harness.refusal(() => window.zerok.harness.sync.lock.enable(${options}))`);
  expect(await wrong("{}")).toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(await wrong("{ passkey: 1, onRecoveryCode: () => undefined }")).toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(await a.page.evaluate(() => window.zerok.harness.refusal(() => window.zerok.harness.sync.lock.disable()))).toMatchObject({ code: "INVALID_ARGUMENT" });

  const code = await a.lock({ passkey: false });
  const b = await Bare.visit(phone, relay.url);
  expect(await b.refusedOpen({ relays, unlock: { recoveryCode: code } })).toMatchObject({ code: "ALREADY_OPEN" });
  await a.close();
  expect(await b.refusedOpen({ relays })).toMatchObject({ code: "LOCKED" });
  await b.open({ relays, unlock: { recoveryCode: code } });
});

/** Where turning the lock on is interrupted, and whether it is on afterwards; undefined where it may be either. */
const INTERRUPTIONS: Record<string, { hook: string; locked: boolean | undefined }> = {
  "before the code was written down": { hook: "hooks.code = () => { location.reload(); return new Promise(() => {}); };", locked: false },
  "before anything is written": { hook: 'hooks.put = (key, go) => { if (key !== "lock") return go(); location.reload(); throw new Error("gone"); };', locked: false },
  "while it is written": { hook: 'hooks.put = (key, go) => { if (key === "lock") location.reload(); return go(); };', locked: undefined },
  "before the old key is deleted": { hook: "hooks.remove = () => { location.reload(); return {}; };", locked: true },
};

const HOOKS = `
  const hooks = (window.hooks = { code: () => undefined, put: (key, go) => go(), remove: (go) => go() });
  const put = IDBObjectStore.prototype.put;
  IDBObjectStore.prototype.put = function (value, key) { return hooks.put(key, () => put.call(this, value, key)); };
  const remove = indexedDB.deleteDatabase.bind(indexedDB);
  IDBFactory.prototype.deleteDatabase = (name) => hooks.remove(() => remove(name));`;

for (const [when, { hook, locked }] of Object.entries(INTERRUPTIONS)) {
  test(`a page that ends ${when} leaves a device that opens`, async ({ startRelay, device }) => {
    const relay = await startRelay({ web: PAGE_DIST });
    const relays = [relay.url];
    const a = await Bare.open(await device({ durable: true }), relay.url, { worker: false });
    await a.create();
    await a.push("kept");
    const id = await a.deviceId();
    // The code has to outlive the page.
    await a.page.exposeFunction("told", (code: string) => void (told = code));
    let told = "";
    const reloaded = a.page.waitForEvent("load");
    await a.page
      .evaluate(
        `(() => { ${HOOKS} ${hook}
          zerok.harness.sync.lock.enable({ passkey: false, onRecoveryCode: async (code) => { await told(code); await hooks.code(); } }).catch(() => undefined);
        })()`,
      )
      .catch(() => undefined);
    await reloaded;
    await a.page.waitForFunction(() => "zerok" in window);

    const refusal = await a.refusedOpen({ relays });
    if (locked !== undefined) expect(refusal?.code).toBe(locked ? "LOCKED" : undefined);
    if (refusal !== undefined) {
      expect(refusal.code).toBe("LOCKED");
      // The key that is not to be left needs nobody who unlocks.
      expect(await databases(a.page)).toEqual(["0k-sync:0k-sync"]);
      await a.open({ relays, unlock: { recoveryCode: told } });
      expect(await databases(a.page)).toEqual(["0k-sync:0k-sync"]);
    }
    expect(await a.isLocked()).toBe(refusal !== undefined);
    expect(await a.deviceId()).toBe(id);
    expect(await a.texts()).toEqual(["kept"]);
    await a.create();
    await a.close();
    await a.open({ relays, unlock: { recoveryCode: told } });
    expect(await a.page.evaluate(() => window.zerok.harness.sync.groups().length)).toBe(2);
  });
}

test("a device that is closed while it is being locked is not another tab's before the old key is deleted", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const relays = [relay.url];
  const phone = await device();
  const a = await Bare.open(phone, relay.url, { worker: false });
  await a.create();
  const code = await a.page.evaluate<string>(`new Promise((resolve) => { ${HOOKS}
    let code;
    hooks.remove = (go) => {
      const held = {};
      hooks.resume = () => { go().onsuccess = () => held.onsuccess(); };
      hooks.remove = (go) => go();
      hooks.closed = zerok.harness.sync.close();
      resolve(code);
      return held;
    };
    zerok.harness.sync.lock.enable({ passkey: false, onRecoveryCode: (given) => { code = given; } });
  })`);
  const b = await Bare.visit(phone, relay.url);
  expect(await b.refusedOpen({ relays })).toMatchObject({ code: "ALREADY_OPEN" });
  await a.page.evaluate("hooks.resume(), hooks.closed");
  await b.open({ relays, unlock: { recoveryCode: code } });
  await b.page.evaluate(() => window.zerok.harness.sync.lock.disable());
  await b.close();
  await b.open({ relays });
});

test("a device that was locked says so, also where the old key can't be deleted or the answer is lost", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const relays = [relay.url];
  let a = await Bare.open(await device(), relay.url, { worker: false });
  await a.create();
  await a.page.evaluate(`${HOOKS} hooks.remove = () => { throw new DOMException("not now", "UnknownError"); };`);
  let code = await a.lock({ passkey: false });
  expect(await a.isLocked()).toBe(true);
  expect(await databases(a.page)).toContain("0k-sync-key:0k-sync");
  await a.reload();
  expect(await a.refusedOpen({ relays })).toMatchObject({ code: "LOCKED" });
  expect(await databases(a.page)).toEqual(["0k-sync:0k-sync"]);
  await a.open({ relays, unlock: { recoveryCode: code } });

  // A worker that ends between the commit and its answer.
  a = await Bare.visit(await device(), relay.url);
  await a.page.evaluate(() => {
    let dying: unknown;
    const { postMessage: post, addEventListener: listen } = Worker.prototype as unknown as Record<string, (...args: unknown[]) => void>;
    Worker.prototype.postMessage = function (this: Worker, message: { method?: string; id?: number }, transfer: Transferable[]): void {
      if (message.method === "setLock") dying = message.id;
      post?.call(this, message, transfer);
    } as typeof Worker.prototype.postMessage;
    Worker.prototype.addEventListener = function (this: Worker, type: string, listener: (event: Event) => void): void {
      listen?.call(this, type, (event: Event) => {
        const { data } = event as MessageEvent<{ type?: string; id?: number } | undefined>;
        if (type === "message" && data?.type === "reply" && data.id === dying) this.dispatchEvent(new MessageEvent("messageerror"));
        else listener(event);
      });
    } as typeof Worker.prototype.addEventListener;
  });
  await a.open({ relays });
  await a.create();
  code = await a.lock({ passkey: false });
  expect(await a.isLocked()).toBe(true);
  expect(await a.told("client", "error")).toMatchObject([{ code: "WORKER_FAILED" }]);
  expect(await databases(a.page)).toEqual(["0k-sync:0k-sync"]);
  await a.reload();
  expect(await a.refusedOpen({ relays })).toMatchObject({ code: "LOCKED" });
  await a.open({ relays, unlock: { recoveryCode: code } });
});

test("locking a device leaves another one alone, whatever it is called", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const relays = [relay.url];
  const a = await Bare.open(await device(), relay.url, { name: "notes#1" });
  await a.create();
  const id = await a.deviceId();
  await a.close();
  await a.open({ relays, name: "notes" });
  await a.create();
  await a.lock({ passkey: false });
  await a.close();
  await a.open({ relays, name: "notes#1" });
  expect(await a.deviceId()).toBe(id);
  expect(await a.page.evaluate(() => window.zerok.harness.sync.groups().length)).toBe(1);
});

test("a lock that can't be written, and one that can't be taken away, changes nothing", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const relays = [relay.url];
  const a = await Bare.open(await device(), relay.url, { worker: false });
  await a.create();
  const no = (method: "put" | "delete"): Promise<void> =>
    a.page.evaluate((which) => {
      const prototype = IDBObjectStore.prototype as unknown as Record<string, (...args: unknown[]) => IDBRequest>;
      const original = prototype[which];
      prototype[which] = function (this: IDBObjectStore, ...args: unknown[]): IDBRequest {
        if (original === undefined) throw new Error(`there is no ${which}`);
        const request = original.apply(this, args);
        if (args.at(-1) === "lock") this.transaction.abort();
        return request;
      };
    }, method);
  await no("put");
  expect(await a.refusedLock({ passkey: false })).toMatchObject({ code: "STORAGE_FAILED" });
  expect(await a.isLocked()).toBe(false);
  await a.push("one");
  await a.reload();
  await a.open({ relays, worker: false });

  const code = await a.lock({ passkey: false });
  await no("delete");
  const refusal = await a.page.evaluate(() => window.zerok.harness.refusal(() => window.zerok.harness.sync.lock.disable()));
  expect(refusal).toMatchObject({ code: "STORAGE_FAILED" });
  expect(await a.isLocked()).toBe(true);
  await a.push("two");
  await a.create();
  await a.reload();
  expect(await a.refusedOpen({ relays })).toMatchObject({ code: "LOCKED" });
  await a.open({ relays, unlock: { recoveryCode: code } });
  expect(await databases(a.page)).toEqual(["0k-sync:0k-sync"]);
  expect(await a.page.evaluate(() => window.zerok.harness.sync.groups().length)).toBe(2);
});
