/** Stable codes of {@link SyncError}. New ones may be added: treat an unknown code by `retryable`. */
export type SyncErrorCode =
  | "RATE_LIMITED"
  | "BLOB_TOO_LARGE"
  | "GROUP_QUOTA_EXCEEDED"
  | "UNAUTHORIZED"
  | "UNKNOWN_GROUP"
  | "DEVICE_REVOKED"
  | "NOT_FOUND"
  | "WEAK_PASSPHRASE"
  | "GROUP_NOT_FOUND"
  | "GROUP_CLOSED"
  | "INVITE_EXPIRED"
  | "INVITE_INVALID"
  | "INVITE_REJECTED"
  | "CANCELLED"
  | "LOCKED"
  | "UNLOCK_FAILED"
  | "PASSKEY_CANCELLED"
  | "PASSKEY_UNSUPPORTED"
  | "STORAGE_FULL"
  | "STORAGE_FAILED"
  | "STORAGE_NOT_PERSISTENT"
  | "RELAY_UNREACHABLE"
  | "RELAY_OVERLOADED"
  | "RELAY_FORKED"
  | "RELAY_IDENTITY_CHANGED"
  | "BLOB_REJECTED"
  | "BLOB_OUT_OF_ORDER"
  | "SNAPSHOT_NOT_GIVEN"
  | "UNSUPPORTED_VERSION"
  | "INSECURE_CONTEXT"
  | "OUT_OF_MEMORY"
  | "TIMEOUT"
  | "INVALID_ARGUMENT"
  | "CLOSED"
  | "ALREADY_OPEN"
  | "WORKER_FAILED"
  | "WASM_FAILED"
  | "INTERNAL"
  | (string & {});

/** What a {@link SyncError} carries besides its code and message. */
export interface SyncErrorDetails {
  /** Trying the same again later may work. */
  retryable?: boolean | undefined;
  /** What happened, for logs; the message says what to do. */
  reason?: string | undefined;
  /** The earliest moment, in milliseconds from now, at which a retry makes sense. */
  retryAfterMs?: number | undefined;
  /** The group concerned, if the error is about one. */
  group?: string | undefined;
  /** The relay's cursor of the blob concerned, if the error is about one blob. */
  cursor?: number | undefined;
  /** With LOCKED: what unlocks this device. */
  ways?: readonly ("passkey" | "recoveryCode")[] | undefined;
  /** The error underneath. */
  cause?: unknown;
}

/** Every failure of this package: `code` is stable, `message` is for people. */
export class SyncError extends Error {
  override readonly name = "SyncError";
  /** Stable, for programs. */
  readonly code: SyncErrorCode;
  /** Trying the same again later may work. */
  readonly retryable: boolean;
  /** What happened, for logs; the message says what to do. */
  declare readonly reason?: string;
  /** The earliest moment, in milliseconds from now, at which a retry makes sense. */
  declare readonly retryAfterMs?: number;
  /** The group concerned, if the error is about one. */
  declare readonly group?: string;
  /** The relay's cursor of the blob concerned, if the error is about one blob. */
  declare readonly cursor?: number;
  /** With LOCKED: what unlocks this device. */
  declare readonly ways?: readonly ("passkey" | "recoveryCode")[];

  constructor(code: SyncErrorCode, message: string, details: SyncErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.retryable = details.retryable ?? false;
    if (details.reason !== undefined) this.reason = details.reason;
    if (details.retryAfterMs !== undefined) this.retryAfterMs = details.retryAfterMs;
    if (details.group !== undefined) this.group = details.group;
    if (details.cursor !== undefined) this.cursor = details.cursor;
    if (details.ways !== undefined) this.ways = details.ways;
  }
}
