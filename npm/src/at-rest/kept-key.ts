/** The wrapping key of a device that is not locked: WebCrypto keeps it from scripts, and the browser stores it. */
import { SyncError } from "../errors.js";
import { addKey, notPersistent, readKey } from "./databases.js";

/** That of this device; a new one where nothing is wrapped yet. */
export async function keptKey(name: string, used: boolean): Promise<CryptoKey> {
  if (!used) return newKeptKey(name);
  const kept = await readKey(name);
  if (kept instanceof CryptoKey) return kept;
  throw new SyncError(
    "STORAGE_FAILED",
    "the key that this device's secrets are wrapped with is not in the database; nothing was changed. Restore the browser's data, or clear " +
      "this site's data and join the groups again",
    { retryable: true },
  );
}

/** One that has not wrapped anything yet, and was tried out. */
export async function newKeptKey(name: string): Promise<CryptoKey> {
  const fresh = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  await addKey(name, fresh);
  // Some browsers take a key and give back nothing, or nothing that works.
  const kept = await readKey(name);
  if (kept instanceof CryptoKey && (await works(kept))) return kept;
  throw notPersistent();
}

async function works(key: CryptoKey): Promise<boolean> {
  const algorithm = { name: "AES-GCM", iv: crypto.getRandomValues(new Uint8Array(12)) };
  try {
    const probe = await crypto.subtle.encrypt(algorithm, key, algorithm.iv);
    const back = new Uint8Array(await crypto.subtle.decrypt(algorithm, key, probe));
    return back.every((byte, at) => byte === algorithm.iv[at]);
  } catch {
    return false;
  }
}
