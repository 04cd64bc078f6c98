/** One owner per local database: an exclusive Web Lock, held by the window. */
import { storageError } from "./at-rest/databases.js";
import { SyncError } from "./errors.js";

/** How long a lock may take: a reloading page releases its own a moment after the new one asks. */
const LOCK_PATIENCE_MS = 3_000;

/** Takes the lock of a database. Rejects with ALREADY_OPEN while another tab, or this page, has it open. */
export async function lockDatabase(name: string): Promise<() => void> {
  const locks = (globalThis as { navigator?: { locks?: LockManager } }).navigator?.locks;
  if (locks === undefined) return () => undefined;

  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), LOCK_PATIENCE_MS);
  try {
    return await new Promise<() => void>((resolve, reject) => {
      locks
        .request(`0k-sync:${name}`, { signal: patience.signal }, () => new Promise<void>((release) => resolve(release)))
        // Settles when the lock was released or could not be had; only the latter still finds a listener.
        .catch(reject);
    });
  } catch (error) {
    if (!patience.signal.aborted) throw storageError(error);
    throw new SyncError(
      "ALREADY_OPEN",
      "This app is already open in another tab. Close the other one, or go on there.",
      { retryable: true, reason: `the lock 0k-sync:${name} is held` },
    );
  } finally {
    clearTimeout(timer);
  }
}
