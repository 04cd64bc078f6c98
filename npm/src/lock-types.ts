/** How to unlock a device. */
export type Unlock = { readonly passkey: true } | { readonly recoveryCode: string };

/** Options of `lock.enable()`. */
export interface LockOptions {
  /** Make a passkey for unlocking. `false`: the recovery code alone unlocks. Default `true`. */
  passkey?: boolean | undefined;
  /**
   * Gets the code that unlocks without the passkey: 28 letters and digits, shown this once. The lock is turned on when what it returns resolves,
   * so let it ask whether the code was written down; when it rejects, nothing changes.
   */
  onRecoveryCode: (code: string) => void | Promise<void>;
}

/**
 * Makes what this device keeps unreadable until it is unlocked: its key and the keys of its groups lie in the browser wrapped under a key that only the
 * passkey, or the recovery code, gives back. Once per start: while this client is open, it is unlocked; `close()` locks again.
 */
export interface DeviceLock {
  /** It is on. */
  readonly enabled: boolean;
  /** Whether this browser may have passkeys that can do it. Only making one shows whether it can. */
  supported(): Promise<boolean>;
  /**
   * Turns it on. Call it right in a click: the browser asks for the passkey. Rejects with PASSKEY_UNSUPPORTED where the passkey or the browser can't do it,
   * PASSKEY_CANCELLED, with what `onRecoveryCode` rejects with, or when the lock can't be written; the device is not locked then. Should the storage be
   * out of reach as well after a failure, so that nobody can tell, the next `open()` does: keep the code until then.
   */
  enable(options: LockOptions): Promise<void>;
  /** Turns it off. */
  disable(): Promise<void>;
}
