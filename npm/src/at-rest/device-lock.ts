/** Locking a device and unlocking it. */
import { invalidArgument } from "../convert.js";
import type { Core } from "../core.js";
import { SyncError } from "../errors.js";
import type { DeviceLock, LockOptions, Unlock } from "../lock-types.js";
import { destroyKey, prepareToDestroyKey, readSecrets } from "./databases.js";
import { keptKey, newKeptKey } from "./kept-key.js";
import { newSalt, NewLock, readLock, unwrap, type LockRecord } from "./lock-record.js";
import { makePasskey, passkeysSupported, usePasskey } from "./passkey.js";
import { newRecoveryCode, parseRecoveryCode } from "./recovery-code.js";

/** The key that a device's secrets are wrapped with. */
export interface AtRest {
  key: CryptoKey;
  locked: boolean;
}

/** A device whose data is in a database. */
export interface KeptDevice {
  readonly name: string;
  readonly deviceName: string;
  /** It was unlocked when it was opened. */
  readonly locked: boolean;
}

/** Gets the wrapping key of a device. Rejects with LOCKED if it is locked and nobody says how to unlock it. */
export async function openAtRest(name: string, how: Unlock | undefined): Promise<AtRest> {
  const { lock, used } = await readSecrets(name);
  if (lock === undefined) return { key: await keptKey(name, used), locked: false };
  const record = readLock(lock);
  // The page may have ended while the lock was being turned on, or off: that needs nobody who unlocks.
  await destroyWhatIsLeft(name);
  return { key: await unlock(record, how), locked: true };
}

/** Deletes the kept key of a device that is locked. What can't be deleted now is deleted the next time it is opened. */
const destroyWhatIsLeft = (name: string): Promise<void> => destroyKey(name).catch(() => undefined);

/** Whether the lock that lies in the database is this one; not if nobody can tell. */
async function isLockedBy(name: string, { recovery }: LockRecord): Promise<boolean> {
  try {
    const { lock } = await readSecrets(name);
    const { nonce, key } = readLock(lock).recovery;
    return same(nonce, recovery.nonce) && same(key, recovery.key);
  } catch {
    return false;
  }
}

/** Refuses what is no way to unlock. */
export function checkUnlock(how: unknown): Unlock | undefined {
  if (how === undefined) return undefined;
  const { passkey, recoveryCode } = (how ?? {}) as { passkey?: unknown; recoveryCode?: unknown };
  if ((passkey === true) !== (typeof recoveryCode === "string")) return how as Unlock;
  throw invalidArgument("unlock is { passkey: true } or { recoveryCode }.");
}

async function unlock(lock: LockRecord, how: Unlock | undefined): Promise<CryptoKey> {
  if (how === undefined) {
    throw new SyncError("LOCKED", "This device is locked. Unlock it: open({ …, unlock: { passkey: true } }) or { recoveryCode }.", {
      ways: lock.passkey === undefined ? ["recoveryCode"] : ["passkey", "recoveryCode"],
    });
  }
  if ("recoveryCode" in how) {
    const secret = utf8(parseRecoveryCode(how.recoveryCode));
    return (await unwrap("recovery", lock.recovery, secret)) ?? refuse("This is not the recovery code of this device.");
  }
  const { passkey } = lock;
  if (passkey === undefined) throw new SyncError("PASSKEY_UNSUPPORTED", "This device was locked without a passkey. Use the recovery code.");
  const secret = await usePasskey(passkey.id, passkey.salt);
  return (await unwrap("passkey", passkey, secret)) ?? refuse("This passkey does not open this device any more. Use the recovery code.");
}

/** The lock of an open device. */
export class DeviceLockHandle implements DeviceLock {
  readonly #kept: KeptDevice | undefined;
  readonly #core: () => Core;
  #enabled: boolean;
  #busy = false;
  #turnedOn: Promise<void> = Promise.resolve();

  /** Of a device that keeps its data in memory there is none. */
  constructor(kept: KeptDevice | undefined, core: () => Core) {
    this.#kept = kept;
    this.#core = core;
    this.#enabled = kept?.locked ?? false;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  /** Nothing here touches the databases any more: only then another page may have them, which might keep a key anew. */
  async settled(): Promise<void> {
    await this.#turnedOn;
  }

  supported(): Promise<boolean> {
    return passkeysSupported();
  }

  enable(options: LockOptions): Promise<void> {
    return this.#alone(false, (kept) => this.#enable(kept, options));
  }

  disable(): Promise<void> {
    return this.#alone(true, async ({ name }) => {
      await this.#core().call("setLock", [await newKeptKey(name), undefined]);
      this.#enabled = false;
    });
  }

  async #enable({ name, deviceName }: KeptDevice, { passkey = true, onRecoveryCode }: LockOptions): Promise<void> {
    if (typeof passkey !== "boolean") throw invalidArgument("passkey is true or false.");
    if (typeof onRecoveryCode !== "function") throw invalidArgument("enable() needs onRecoveryCode: without the code, a lost passkey is lost data.");
    const core = this.#core();
    const salt = newSalt();
    // First of all: browsers show their dialog only right after a click.
    const made = passkey ? await makePasskey(fromHex(core.deviceId), deviceName, salt) : undefined;

    const lock = await NewLock.make();
    const code = newRecoveryCode();
    const recovery = await lock.wrap("recovery", newSalt(), utf8(parseRecoveryCode(code)));
    const record: LockRecord = {
      version: 1,
      recovery,
      ...(made !== undefined && { passkey: { id: made.id, ...(await lock.wrap("passkey", salt, made.secret)) } }),
    };
    const key = await unwrap("recovery", recovery, utf8(parseRecoveryCode(code)));
    if (key === undefined) throw new SyncError("INTERNAL", "A lock that was just made does not open.");

    // Nothing has changed so far: whoever is interrupted here, or says no, has a device without a lock.
    await onRecoveryCode(code);
    const turnOn = async (): Promise<void> => {
      await prepareToDestroyKey(name);
      try {
        await core.call("setLock", [key, record]);
      } catch (error) {
        // An answer that got lost: whoever is told that nothing has changed throws the code away.
        if (!(await isLockedBy(name, record))) throw error;
      }
      this.#enabled = true;
      await destroyWhatIsLeft(name);
    };
    const on = turnOn();
    this.#turnedOn = on.catch(() => undefined);
    await on;
  }

  /** One change at a time, and none that was made already. */
  async #alone(enabled: boolean, change: (kept: KeptDevice) => Promise<void>): Promise<void> {
    if (this.#kept === undefined) throw invalidArgument('With storage: "memory" nothing is kept that could be locked.');
    if (this.#busy) throw invalidArgument("The lock is being changed already.");
    if (this.#enabled !== enabled) throw invalidArgument(enabled ? "This device is not locked." : "This device is locked already.");
    this.#busy = true;
    try {
      await change(this.#kept);
    } finally {
      this.#busy = false;
    }
  }
}

function refuse(message: string): never {
  throw new SyncError("UNLOCK_FAILED", message);
}

const utf8 = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

const same = (one: Uint8Array, other: Uint8Array): boolean => one.length === other.length && one.every((byte, at) => byte === other[at]);

const fromHex = (hex: string): Uint8Array<ArrayBuffer> => Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
