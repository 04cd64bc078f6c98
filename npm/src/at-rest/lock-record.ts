/**
 * What lies in the database of a locked device: its wrapping key, wrapped under a key from the passkey, and under one from the
 * recovery code. Neither of those two, nor the wrapping key itself, is stored anywhere.
 */
import { SyncError } from "../errors.js";

type Bytes = Uint8Array<ArrayBuffer>;

/** The wrapping key, as one of the ways to unlock can open it. */
export interface Wrapped {
  /** Of this way alone. */
  readonly salt: Bytes;
  readonly nonce: Bytes;
  readonly key: Bytes;
}

export interface LockRecord {
  readonly version: 1;
  readonly recovery: Wrapped;
  readonly passkey?: Wrapped & { readonly id: Bytes };
}

/** A way to unlock. */
export type Way = "passkey" | "recovery";

const VERSION = 1;
const SALT_BYTES = 32;
const NONCE_BYTES = 12;
const AES = { name: "AES-GCM", length: 256 };
const USES = ["encrypt", "decrypt"] as const;

/** A new wrapping key, which is to be wrapped in every way; then it can be used, but not be taken out any more. */
export class NewLock {
  readonly #key: CryptoKey;

  private constructor(key: CryptoKey) {
    this.#key = key;
  }

  static async make(): Promise<NewLock> {
    return new NewLock(await crypto.subtle.generateKey(AES, true, USES));
  }

  async wrap(way: Way, salt: Bytes, secret: Bytes): Promise<Wrapped> {
    const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
    const key = await crypto.subtle.wrapKey("raw", this.#key, await keyOf(way, salt, secret), { name: "AES-GCM", iv: nonce });
    return { salt, nonce, key: new Uint8Array(key) };
  }
}

export const newSalt = (): Bytes => crypto.getRandomValues(new Uint8Array(SALT_BYTES));

/** The wrapping key, which no script can take out; undefined if it is another secret. */
export async function unwrap(way: Way, { salt, nonce, key }: Wrapped, secret: Bytes): Promise<CryptoKey | undefined> {
  const opening = await keyOf(way, salt, secret);
  try {
    return await crypto.subtle.unwrapKey("raw", key, opening, { name: "AES-GCM", iv: nonce }, AES, false, USES);
  } catch {
    return undefined;
  }
}

/** What was found where a lock lies. */
export function readLock(found: unknown): LockRecord {
  const { version } = (found ?? {}) as Partial<LockRecord>;
  if (version === VERSION) return found as LockRecord;
  throw new SyncError("STORAGE_FAILED", "this device was locked by a newer version of this app; reload the page to get it", { retryable: true });
}

/** The key that a way opens with. Overwrites the secret. */
async function keyOf(way: Way, salt: Bytes, secret: Bytes): Promise<CryptoKey> {
  const base = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveKey"]);
  secret.fill(0);
  const info = new TextEncoder().encode(`0k-sync/1 lock ${way}`);
  return crypto.subtle.deriveKey({ name: "HKDF", hash: "SHA-256", salt, info }, base, AES, false, ["wrapKey", "unwrapKey"]);
}
