/**
 * End-to-end encrypted sync for local-first web apps. This file is the public contract; the entries in
 * `entry/` implement it for browsers, Node, and unusual bundlers.
 */
import type { OpenOptions, PassphraseStrength, SyncClient } from "./types.js";

export { SyncError } from "./errors.js";
export type { SyncErrorCode, SyncErrorDetails } from "./errors.js";
export type * from "./types.js";

/** Opens this device: its keys, its local log, and (behind the scenes) its connections. Needs no network. */
export declare function open(options: OpenOptions): Promise<SyncClient>;

/** Six random words, 77 bits: for people to write down, and for `createGroup({ name, passphrase })`. */
export declare function generatePassphrase(): Promise<string>;

/**
 * How strong a passphrase is, for showing it while people type. `about` are words that would be guessed first, such as the name of
 * the group. The first call loads about 400 KB.
 */
export declare function passphraseStrength(passphrase: string, about?: readonly string[]): Promise<PassphraseStrength>;
