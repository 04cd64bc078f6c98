/** A device's IndexedDB, seen by another script of the same origin, and what is secret in it. */
import { createHash, createPrivateKey, createPublicKey, hkdfSync } from "node:crypto";
import type { Page } from "@playwright/test";

const DATABASE = "0k-sync:0k-sync";
const KEY_DATABASE = "0k-sync-key:0k-sync";

/** A record whose value is bytes. */
export interface Bytes {
  store: string;
  key: Buffer;
  value: Buffer;
}

/** Names of all databases of the page's origin. */
export const databases = (page: Page): Promise<string[]> => page.evaluate(async () => (await indexedDB.databases()).map(({ name = "" }) => name).sort());

/** Every key and value that is made of bytes, and the kinds of the other values. */
export async function records(page: Page): Promise<{ bytes: Bytes[]; others: Record<string, string> }> {
  const found = await page.evaluate(async (name) => {
    const wait = <T>(request: IDBRequest<T>): Promise<T> =>
      new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(new Error(String(request.error)));
      });
    const list = (value: unknown): number[] | undefined => {
      if (value instanceof ArrayBuffer) return [...new Uint8Array(value)];
      return ArrayBuffer.isView(value) ? [...new Uint8Array(value.buffer, value.byteOffset, value.byteLength)] : undefined;
    };
    const database = await wait(indexedDB.open(name));
    const bytes: { store: string; key: number[]; value: number[] }[] = [];
    const others: Record<string, string> = {};
    for (const store of database.objectStoreNames) {
      const all = database.transaction(store).objectStore(store);
      const [keys, values] = await Promise.all([wait(all.getAllKeys()), wait(all.getAll() as IDBRequest<unknown[]>)]);
      for (const [index, key] of keys.entries()) {
        const value = values[index];
        const given = list(value);
        const text = typeof key === "string" ? key : "";
        if (given === undefined) others[`${store} ${text}`] = Object.prototype.toString.call(value);
        else bytes.push({ store, key: list(key) ?? [...new TextEncoder().encode(text)], value: given });
      }
    }
    database.close();
    return { bytes, others };
  }, DATABASE);
  const bytes = found.bytes.map(({ store, key, value }) => ({ store, key: Buffer.from(key), value: Buffer.from(value) }));
  return { bytes, others: found.others };
}

/** What a script in the page can do: unwrap a record with the key that lies beside it. */
export async function unwrap(page: Page, { key, store, value }: Bytes): Promise<Buffer> {
  const place = store === "meta" ? Buffer.from(" device-key") : Buffer.concat([Buffer.from(" membership"), key]);
  const plain = await page.evaluate(
    async ({ name, data, wrapped }) => {
      const database = await new Promise<IDBDatabase>((resolve) => {
        const request = indexedDB.open(name);
        request.onsuccess = () => resolve(request.result);
      });
      const key = await new Promise<CryptoKey>((resolve) => {
        const request = database.transaction("key").objectStore("key").get("wrap-key") as IDBRequest<CryptoKey>;
        request.onsuccess = () => resolve(request.result);
      });
      database.close();
      const algorithm = { name: "AES-GCM", iv: new Uint8Array(wrapped.slice(1, 13)), additionalData: new Uint8Array(data) };
      return [...new Uint8Array(await crypto.subtle.decrypt(algorithm, key, new Uint8Array(wrapped.slice(13))))];
    },
    { name: KEY_DATABASE, data: [...Buffer.concat([Buffer.from("0k-sync/1 at rest"), place])], wrapped: [...value] },
  );
  return Buffer.from(plain);
}

/** The public half of an Ed25519 key. */
function publicHalf(seed: Buffer): Buffer {
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  const key = createPublicKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" }));
  return key.export({ format: "der", type: "spki" }).subarray(-32);
}

/** The secrets in these bytes: the device's key, and what its groups were founded with. */
export function secretsIn(bytes: Buffer, deviceId: string, groups: string[]): { what: string; secret: Buffer }[] {
  const found: { what: string; secret: Buffer }[] = [];
  for (let at = 0; at + 32 <= bytes.length; at++) {
    const secret = bytes.subarray(at, at + 32);
    if (publicHalf(secret).toString("hex") === deviceId) found.push({ what: "device key", secret });
    const access = Buffer.from(hkdfSync("sha256", secret, Buffer.alloc(0), "0k-sync/1 access", 32));
    const group = createHash("sha256").update(publicHalf(access)).digest("hex");
    if (groups.includes(group)) found.push({ what: `group ${group}`, secret });
  }
  return found;
}
