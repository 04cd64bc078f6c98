/** The IndexedDB databases of a device, as far as this package looks into them itself. */
import { SyncError } from "../errors.js";

/** What every database of this package is called, before its own name. */
const DATA = "0k-sync:";
/** Databases that hold a wrapping key and nothing else: only what is deleted as a whole goes from a browser's files, too. */
const KEYS = "0k-sync-key:";
/** Empty ones, see `destroyKey`. Not among the keys: a device may be called whatever another one's are. */
const SWEEP = "0k-sync-sweep:";

/** The object stores of the core, and the keys in them, that matter here. */
const META = "meta";
const MEMBERSHIPS = "memberships";
const DEVICE_KEY = "device-key";
const LOCK = "lock";

/** The object store of a key's database, and the key of its only record. */
const KEY_STORE = "key";
const WRAP_KEY = "wrap-key";

/** How often a browser's files are to be put in order after a key was deleted; see `destroyKey`. */
const SWEEPS = 3;

/** What the core's database says about its secrets. */
export interface Secrets {
  /** What a lock has left there; undefined without one. */
  lock: unknown;
  /** Something is wrapped. */
  used: boolean;
}

/** Looks into the core's database, and makes none. */
export async function readSecrets(name: string): Promise<Secrets> {
  const database = await open(DATA + name, () => false);
  if (database === undefined) return { lock: undefined, used: false };
  try {
    if (![META, MEMBERSHIPS].every((store) => database.objectStoreNames.contains(store))) return { lock: undefined, used: false };
    const reading = database.transaction([META, MEMBERSHIPS]);
    const meta = reading.objectStore(META);
    const [lock, deviceKey, memberships] = await Promise.all([
      answer<unknown>(meta.get(LOCK)),
      answer<unknown>(meta.get(DEVICE_KEY)),
      answer(reading.objectStore(MEMBERSHIPS).count()),
    ]);
    return { lock, used: deviceKey !== undefined || memberships > 0 };
  } finally {
    database.close();
  }
}

/** The kept key of a device, whatever it is; undefined without one. */
export const readKey = (name: string): Promise<unknown> =>
  withKeys(name, (database) => answer<unknown>(database.transaction(KEY_STORE).objectStore(KEY_STORE).get(WRAP_KEY)));

/** Keeps a key, unless one is there already. Durable when it resolves. */
export const addKey = (name: string, key: CryptoKey): Promise<void> =>
  withKeys(name, async (database) => {
    const writing = database.transaction(KEY_STORE, "readwrite", { durability: "strict" });
    const store = writing.objectStore(KEY_STORE);
    // Transactions that write wait for each other: of two pages, one finds the key of the other.
    const kept = await answer<unknown>(store.get(WRAP_KEY));
    if (!(kept instanceof CryptoKey)) store.put(key, WRAP_KEY);
    await end(writing);
  });

/** Makes what `destroyKey` deletes after the key. Before the key is given up, so that its end survives a crash. */
export async function prepareToDestroyKey(name: string): Promise<void> {
  for (const sweep of sweeps(name)) {
    const database = await open(sweep, makeKeyStore);
    if (database === undefined) continue;
    try {
      const writing = database.transaction(KEY_STORE, "readwrite");
      writing.objectStore(KEY_STORE).put(0, 0);
      await end(writing);
    } finally {
      database.close();
    }
  }
}

/**
 * Deletes the kept key of a device, from the browser's files, too. Again after a crash; where there is nothing, it does nothing.
 *
 * Other browsers have a file for each database. Chromium has one LevelDB for all of an origin, which only ever appends: what was deleted stays in its
 * files until they are compacted. It compacts where a database was deleted, but not what it writes on that occasion. So a few
 * empty databases, which were made before, are deleted one by one: the first round writes the key's end beside the key, the next
 * merges both, and the last removes the files from before.
 */
export async function destroyKey(name: string): Promise<void> {
  for (const each of [KEYS + name, ...sweeps(name)]) await remove(each);
}

const sweeps = (name: string): string[] => Array.from({ length: SWEEPS }, (_, round) => `${SWEEP}${name}#${round}`);

async function withKeys<T>(name: string, work: (database: IDBDatabase) => Promise<T>): Promise<T> {
  const database = await open(KEYS + name, makeKeyStore);
  if (database === undefined) throw failed(undefined);
  try {
    return await work(database);
  } catch (error) {
    throw storageError(error);
  } finally {
    database.close();
  }
}

function makeKeyStore(database: IDBDatabase): boolean {
  database.createObjectStore(KEY_STORE);
  return true;
}

/** Opens a database. One that is not there is made if `make` has made its object stores and wants it; else undefined. */
async function open(name: string, make: (database: IDBDatabase) => boolean): Promise<IDBDatabase | undefined> {
  let unwanted = false as boolean;
  try {
    const request = indexedDB.open(name);
    request.onupgradeneeded = () => {
      unwanted = !make(request.result);
      if (unwanted) request.transaction?.abort();
    };
    return await answer(request);
  } catch (error) {
    if (unwanted) return undefined;
    throw storageError(error);
  }
}

function remove(name: string): Promise<unknown> {
  return answer(indexedDB.deleteDatabase(name));
}

function answer<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(failed(request.error));
  });
}

function end(writing: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    writing.oncomplete = () => resolve();
    writing.onabort = () => reject(failed(writing.error));
  });
}

/** The public error for what a browser's storage has thrown. */
export const storageError = (error: unknown): SyncError => (error instanceof SyncError ? error : failed(error));

/** What the core says in the same cases. */
function failed(error: unknown): SyncError {
  const { name = "", message = "" } = error instanceof Error ? error : {};
  if (name === "QuotaExceededError") {
    return new SyncError("STORAGE_FULL", "the device has no room left for this app's data; free some space", { retryable: true });
  }
  if (name === "DataCloneError") return notPersistent();
  const why = ["SecurityError", "InvalidStateError", "NotAllowedError"].includes(name)
    ? 'this browser doesn\'t let the page store data (a private window, or site data is blocked); allow it, or open with storage: "memory"'
    : name === ""
      ? "the browser gave no reason"
      : `${name}: ${message}`;
  return new SyncError("STORAGE_FAILED", `the device's storage failed: ${why}`, { retryable: true, cause: error });
}

/** Data can be kept here, but not the key that protects the secrets in it. */
export const notPersistent = (): SyncError =>
  new SyncError(
    "STORAGE_NOT_PERSISTENT",
    "this browser window can't keep this device's keys: use one that is not private, or open with storage: \"memory\", which forgets everything when it is closed",
  );
