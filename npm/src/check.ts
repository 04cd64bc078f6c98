/** Arguments as apps pass them, checked once at the border. */
import { invalidArgument } from "./convert.js";
import { SyncError } from "./errors.js";



/** Largest state of an app. */
export const MAX_SNAPSHOT_BYTES = 16 * 1024 * 1024;

/** Largest plain blob; larger data belongs into several blobs. */
export const MAX_BLOB_BYTES = 1024 * 1024;
/** Largest broadcast. */
export const MAX_BROADCAST_BYTES = 4 * 1024;

/** A whole number ≥ `min`, or `fallback` if absent. */
export function wholeNumber(value: unknown, what: string, min: number, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min) {
    throw invalidArgument(`${what} must be a whole number of at least ${min}.`);
  }
  return value;
}

/** Relay URLs in canonical form, without duplicates. */
export function relayUrls(relays: unknown): string[] {
  if (!Array.isArray(relays) || relays.length === 0) {
    throw invalidArgument('relays must list at least one relay URL, for example ["https://sync.example.com"].');
  }
  return [...new Set(relays.map(relayUrl))];
}

function relayUrl(relay: unknown): string {
  const url = httpUrl(relay);
  if (url === undefined) throw invalidArgument(`"${String(relay)}" is not a relay URL: it must start with https:// or http://.`);
  if (url.username !== "" || url.password !== "") {
    throw invalidArgument("A relay URL must not carry a password; use accessToken.");
  }
  url.hash = "";
  return url.href.replace(/\/$/, "");
}

/** An absolute http(s) URL, or undefined. */
export function httpUrl(value: unknown): URL | undefined {
  if (!(typeof value === "string" || value instanceof URL)) return undefined;
  let url: URL;
  try {
    url = new URL(String(value).trim());
  } catch {
    return undefined;
  }
  return url.protocol === "https:" || url.protocol === "http:" ? url : undefined;
}

/** An invite link or a code, without the white space around it. */
export function invitation(text: unknown): string {
  if (typeof text !== "string") throw invalidArgument("join() needs an invite link or a code.");
  const trimmed = text.trim();
  const isLink = /#0k=[^\s#]+$/.test(trimmed);
  // The core reads codes; this only tells one from a link that was cut off.
  const isCode = trimmed.replaceAll(/[^\p{Letter}\p{Number}]/gu, "").length === 16 && !trimmed.includes("/");
  if (!isLink && !isCode) {
    throw new SyncError(
      "INVITE_INVALID",
      "This is not an invite link (it contains #0k=… and must be copied completely), and not a code of 16 letters and digits.",
    );
  }
  return trimmed;
}

/** What kind of invite to make. */
export function inviteKind(kind: unknown): "link" | "code" {
  if (kind === undefined || kind === "link" || kind === "code") return kind ?? "link";
  throw invalidArgument('createInvite({ kind }) takes "link" or "code".');
}

/** The bytes to push, at most {@link MAX_BLOB_BYTES}; `owned` if nobody else holds the buffer. */
export function blobBytes(data: unknown): { bytes: Uint8Array; owned: boolean } {
  const payload = toBytes(data, "push");
  if (payload.bytes.byteLength > MAX_BLOB_BYTES) {
    throw new SyncError(
      "BLOB_TOO_LARGE",
      `A blob holds at most ${MAX_BLOB_BYTES} bytes and this has ${payload.bytes.byteLength}. ` +
        "Split it into several blobs, or store a file elsewhere and push a reference to it.",
    );
  }
  return payload;
}

/** The bytes to broadcast, at most {@link MAX_BROADCAST_BYTES}. */
export function broadcastBytes(data: unknown): Uint8Array {
  const { bytes } = toBytes(data, "broadcast");
  if (bytes.byteLength > MAX_BROADCAST_BYTES) {
    throw new SyncError(
      "BLOB_TOO_LARGE",
      `A broadcast holds at most ${MAX_BROADCAST_BYTES} bytes and this has ${bytes.byteLength}. Use push() for what is larger.`,
    );
  }
  return bytes;
}

/** The app's state, at most {@link MAX_SNAPSHOT_BYTES}. */
export function snapshotBytes(data: unknown): Uint8Array {
  const { bytes } = toBytes(data, "onSnapshot");
  if (bytes.byteLength > MAX_SNAPSHOT_BYTES) {
    throw new SyncError(
      "BLOB_TOO_LARGE",
      `A snapshot holds at most ${MAX_SNAPSHOT_BYTES} bytes and this has ${bytes.byteLength}. The relay keeps the blobs instead.`,
    );
  }
  return bytes;
}

/** The position that an app says to have reached. */
export function reachedPosition(reached: unknown): number {
  if (reached === undefined) throw invalidArgument("reached() must give a position.");
  return wholeNumber(reached, "What reached() gives", 0, 0);
}

function toBytes(data: unknown, what: string): { bytes: Uint8Array; owned: boolean } {
  if (typeof data === "string") return { bytes: new TextEncoder().encode(data), owned: true };
  if (isDetached(data instanceof Uint8Array ? data.buffer : data)) {
    throw invalidArgument(`${what}() was given a buffer that was transferred elsewhere: there is nothing in it any more.`);
  }
  if (data instanceof ArrayBuffer) return { bytes: new Uint8Array(data), owned: false };
  if (data instanceof Uint8Array) {
    // Cloning a view clones all of its buffer: take only the part that counts.
    const whole = data.byteLength === data.buffer.byteLength;
    return whole || data.byteLength > MAX_BLOB_BYTES ? { bytes: data, owned: false } : { bytes: data.slice(), owned: true };
  }
  throw invalidArgument(`${what}() needs a string, a Uint8Array or an ArrayBuffer.`);
}

/** Such a buffer looks empty. */
function isDetached(buffer: unknown): boolean {
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength > 0) return false;
  try {
    return new Uint8Array(buffer).length > 0;
  } catch {
    return true;
  }
}

/** Milliseconds to wait, or undefined for ever. */
export function patience(timeout: unknown): number | undefined {
  if (timeout === undefined || (typeof timeout === "number" && timeout >= 0)) return timeout;
  throw invalidArgument("timeout must be a number of milliseconds.");
}

/** `work`, or TIMEOUT after `timeout` milliseconds; the work itself goes on. */
export function withTimeout<T>(work: Promise<T>, timeout: number | undefined, what: string): Promise<T> {
  if (timeout === undefined) return work;
  return new Promise((resolve, reject) => {
    // Timers overflow beyond 31 bits: that long is for ever.
    const timer =
      timeout > 0x7fffffff
        ? undefined
        : setTimeout(() => {
            reject(new SyncError("TIMEOUT", `${what} took longer than ${timeout} ms. It goes on; nothing is lost.`, { retryable: true }));
          }, timeout);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
