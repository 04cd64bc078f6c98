/**
 * End-to-end encrypted sync for local-first web apps. This file is the public contract; the entries in
 * `entry/` implement it for browsers, Node, and unusual bundlers.
 */
import type { OpenOptions, SyncClient } from "./types.js";

export { SyncError } from "./errors.js";
export type { SyncErrorCode, SyncErrorDetails } from "./errors.js";
export type * from "./types.js";

/** Opens this device: its keys, its local log, and (behind the scenes) its connections. Needs no network. */
export declare function open(options: OpenOptions): Promise<SyncClient>;
