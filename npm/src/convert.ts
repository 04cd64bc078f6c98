/** Between what the core and the platform throw and the public {@link SyncError}. */
import type { CoreError } from "./core-types.js";
import { SyncError } from "./errors.js";

/** A plain, clonable description of anything that was thrown. */
export function describeError(thrown: unknown): CoreError {
  if (isCoreError(thrown)) {
    const described: CoreError = { code: thrown.code, message: thrown.message, retryable: thrown.retryable };
    if (typeof thrown.reason === "string") described.reason = thrown.reason;
    if (typeof thrown.retryAfterMs === "number") described.retryAfterMs = thrown.retryAfterMs;
    return described;
  }
  const message = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return { code: "INTERNAL", message: "The sync core failed unexpectedly.", retryable: false, reason: message };
}

/** The public error for something the core, the bridge or the platform threw. */
export function toSyncError(thrown: unknown, about: { group?: string | undefined; cursor?: number | undefined } = {}): SyncError {
  if (thrown instanceof SyncError) return thrown;
  const { code, message, retryable, reason, retryAfterMs } = describeError(thrown);
  return new SyncError(code, message, {
    retryable,
    reason,
    retryAfterMs,
    group: about.group,
    cursor: about.cursor,
    ...(thrown instanceof Error ? { cause: thrown } : {}),
  });
}

export const closedError = (): SyncError =>
  new SyncError("CLOSED", "This sync client is closed. Call open() again to go on.");

export const invalidArgument = (message: string): SyncError => new SyncError("INVALID_ARGUMENT", message);

function isCoreError(value: unknown): value is CoreError {
  return (
    typeof value === "object" &&
    value !== null &&
    "code" in value &&
    typeof value.code === "string" &&
    "message" in value &&
    typeof value.message === "string" &&
    "retryable" in value &&
    typeof value.retryable === "boolean"
  );
}

/** A trap leaves the wasm instance in an undefined state: it must not be called again. */
export const isTrap = (error: unknown): error is WebAssembly.RuntimeError =>
  error instanceof WebAssembly.RuntimeError;

/** The description of a trap, wherever the core ran. */
export const describeTrap = (error: WebAssembly.RuntimeError): CoreError => ({
  code: "WORKER_FAILED",
  message: "The sync core stopped unexpectedly. Close this client and open it again; nothing stored is lost.",
  retryable: true,
  reason: error.message,
});
