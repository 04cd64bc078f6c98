import type { SyncError } from "./errors.js";
import type { Invite, InviteOptions, JoinOptions } from "./invite-types.js";
import type { DeviceLock, Unlock } from "./lock-types.js";

export type * from "./invite-types.js";
export type * from "./lock-types.js";

/** Options of `open()`. */
export interface OpenOptions {
  /** Relay URLs in order of preference, `https://…` (or `http://` on a local network). At least one. */
  relays: readonly string[];
  /** Name of the database on this device; two apps on one origin need two names. Default `"0k-sync"`. */
  name?: string | undefined;
  /**
   * Which app the names of passphrase groups belong to: all devices have to say the same. 1 to 64 visible ASCII characters, default
   * `"0k-sync"`.
   */
  appId?: string | undefined;
  /** How this device is shown on the others. Default: derived from the browser and platform. */
  deviceName?: string | undefined;
  /** For relays that ask for one. */
  accessToken?: string | undefined;
  /** Where keys and data live on this device. Default `"indexeddb"` where there is one, else `"memory"`. */
  storage?: "indexeddb" | "memory" | undefined;
  /**
   * For a device that is locked (`lock.enable()`): how to unlock it. Without it, or with what does not open it, `open()` rejects and nothing has happened: with
   * LOCKED (whose `ways` say what there is), UNLOCK_FAILED, PASSKEY_CANCELLED or PASSKEY_UNSUPPORTED. A passkey has to be asked for right in a click.
   */
  unlock?: Unlock | undefined;
  /**
   * `true`: run wasm in a Worker (default where there is one). `false`: run it on this thread.
   * A function returns a Worker made by the app, for bundlers that need to see it.
   */
  worker?: boolean | (() => Worker) | undefined;
  /** Where the worker script is served, if the bundler can't find it by itself. */
  workerUrl?: string | URL | undefined;
  /** Where `core_bg.wasm` is served, if the bundler can't find it by itself. */
  wasmUrl?: string | URL | undefined;
  /** The wasm itself, for `@0k-sync/client/slim`: bytes or a compiled module. */
  wasm?: Uint8Array | ArrayBuffer | WebAssembly.Module | undefined;
}

/** `state` of a {@link SyncStatus}. "Nothing there yet" and "not synced yet" are different states. */
export type SyncState =
  | "never-synced"
  | "restoring"
  | "synced"
  | "syncing"
  | "pending"
  | "offline"
  | "error";

/** How a device or a group stands towards its relays. Immutable: a change is a new object. */
export interface SyncStatus {
  /** What to show. */
  readonly state: SyncState;
  /** Blobs that no relay has confirmed yet. */
  readonly pending: number;
  /** Of a first or long synchronisation, in blobs. */
  readonly progress: { readonly done: number; readonly total: number } | null;
  /** URL of the relay in use. */
  readonly relay: string | null;
  /** All relays of this device. */
  readonly relays: readonly { readonly url: string; readonly connected: boolean }[];
  /** Milliseconds since 1970, or null if never. */
  readonly lastSyncedAt: number | null;
  /** Why `state` is `"error"`; may also be set while offline. */
  readonly error: SyncError | null;
}

/** A blob of the local log, decrypted. */
export interface ReceivedBlob {
  /** Unique within the group. */
  readonly id: string;
  /** Place in this device's log: rising, without gaps but for deleted blobs, the same for ever. Save the last one you processed. */
  readonly position: number;
  /** Device that pushed it, 64 hex digits. */
  readonly sender: string;
  /** Pushed by this device. */
  readonly own: boolean;
  /** The relay's number for it; 0 while no relay has it. */
  readonly cursor: number;
  /** When a relay stored it, by the relay's clock; while none has it, when this device pushed it, by its own. In milliseconds since 1970. */
  readonly timestamp: number;
  /** The plain bytes. */
  readonly data: Uint8Array;
  /** The exact bytes that the relay stores; only from `pull({ sealed: true })`. */
  readonly sealed?: Uint8Array;
  /** `data` as UTF-8. */
  text(): string;
  /** `data` as JSON. */
  json(): unknown;
}

/** Options of `group.push()`. */
export interface PushOptions {
  /** Seconds that relays keep the blob. Default: the relay's own limit. */
  ttl?: number | undefined;
  /** `"local"` (default): resolve when durable on this device. `"relay"`: when a relay has it durably. */
  until?: "local" | "relay" | undefined;
  /** With `until: "relay"`: reject with TIMEOUT after so many milliseconds. The blob stays queued. */
  timeout?: number | undefined;
}

/** Result of a push: durable on this device. */
export interface Pushed {
  readonly id: string;
  readonly position: number;
}

/** Result of a push `until: "relay"`. */
export interface PushedToRelay extends Pushed {
  readonly cursor: number;
}

/** Options of `group.blobs()`. */
export interface BlobsOptions {
  /** Start after this position. Default 0: replay the whole log, then go on live. */
  after?: number | undefined;
  /** Also yield what this device pushed. Default true: own blobs are part of the log. */
  includeOwn?: boolean | undefined;
  /** Ends the iteration by rejecting with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** Options of `group.pull()`. */
export interface PullOptions {
  /** Start after this position. Default 0. */
  after?: number | undefined;
  /** At most so many blobs, 1 to 500. Default 100. */
  limit?: number | undefined;
  /** Also return what this device pushed. Default true. */
  includeOwn?: boolean | undefined;
  /** Give each blob its `sealed` bytes, exactly as the relay stores them. Default false. */
  sealed?: boolean | undefined;
}

/** One page of the local log. */
export interface PulledPage {
  readonly blobs: readonly ReceivedBlob[];
  /** There is more after `next`. */
  readonly hasMore: boolean;
  /** The position to continue after. */
  readonly next: number;
}

/** Options of waiting calls. */
export interface WaitOptions {
  /** Reject with TIMEOUT after so many milliseconds; nothing is lost. Default: wait for ever. */
  timeout?: number | undefined;
}

/** A group that people name. */
export interface PassphraseGroup {
  /** Any text of at most 128 bytes, the same on every device. Not a secret, but no relay gets it. */
  name: string;
  /** A secret that people remember or write down; at least 60 bits strong. `generatePassphrase()` makes one. */
  passphrase: string;
}

/** What `passphraseStrength()` says. */
export interface PassphraseStrength {
  /** Estimated guesses, as a power of two. */
  readonly bits: number;
  /** `createGroup()` takes it. */
  readonly strong: boolean;
  /** What is wrong with it, for people; null if nothing stands out. */
  readonly warning: string | null;
  /** What would help, for people. */
  readonly suggestions: readonly string[];
}

/** Events of a {@link SyncClient} and what their handlers get. */
export interface SyncEvents {
  /** The whole device's status changed. */
  status: SyncStatus;
  /** Something failed in the background, in this device or (then with `error.group`) in one group. */
  error: SyncError;
  /** A group was created or joined on this device. */
  "group-joined": Group;
  /** A group was left; its id. */
  "group-left": string;
}

/** Events of a {@link Group} and what their handlers get. */
export interface GroupEvents {
  /** A blob entered the local log, from whichever device (see `own`). */
  blob: ReceivedBlob;
  /** A relay has one of this device's blobs. */
  pushed: PushedToRelay;
  /** The group's status changed. */
  status: SyncStatus;
  /** A device is in the group that was not there before: tell the user. To a device that has just joined, that is every other one. */
  "device-joined": { readonly device: string; readonly name: string | null };
  /** A device was removed, by this or another one; it may be this one. Everybody else has new keys. */
  "device-revoked": { readonly device: string; readonly by: string; readonly reason: RevocationReason | "other" };
  /**
   * A blob was deleted, by this or another device, and is gone from this one: nothing hands it out any more. Its position stays empty. Told once: an app that
   * is closed in that moment does not hear of it, and finds with `pull()` that the blob is not in the log any more.
   */
  deleted: { readonly id: string; readonly by: string; readonly position: number; readonly forced: boolean };
  /** `devices()` answers differently now: somebody came, went, joined, was renamed or removed. */
  devices: undefined;
  /** Another device that is there now says something. It is kept nowhere: who was not there never hears it. */
  broadcast: { readonly sender: string; readonly data: Uint8Array };
  /**
   * A state of the app that another device gave stands in for blobs that this device did not get, because it is new or was away for longer than relays
   * keep them. Take it in, then apply the blobs after `position`; some of them can be in it already.
   */
  snapshot: Snapshot;
  /** Blobs of a sender are missing on the relay, from and to inclusive. */
  gap: { readonly sender: string; readonly from: number; readonly to: number };
  /** Something failed in the background. */
  error: SyncError;
}

/** Options of `group.delete()`. */
export interface DeleteOptions {
  /**
   * Have relays erase it at once, though devices that have not read it yet never will. Only for what this device pushed. Default
   * false: relays drop it once every active device has read past it.
   */
  force?: boolean | undefined;
}

/** A state of the app in place of blobs. */
export interface Snapshot {
  /** What the provider of another device gave. */
  readonly data: Uint8Array;
  /** Everything in this device's log up to this position is in it. */
  readonly position: number;
}

/** Gives the app's state. It has to contain every blob of the log up to `position`; it may contain more. */
export type SnapshotProvider = (wanted: {
  readonly position: number;
}) => Uint8Array | ArrayBuffer | string | Promise<Uint8Array | ArrayBuffer | string>;

/** Options of `group.onSnapshot()`. */
export interface SnapshotOptions {
  /**
   * Up to which position of the log the app's state reaches, now. For apps that read in another way than by `blobs()`, by `pull()` say: the provider is called once
   * this has reached the position that is wanted. Without it, what iterators and handlers have handed out counts.
   */
  reached?: (() => number | Promise<number>) | undefined;
}

/** Why a device is removed from a group. */
export type RevocationReason = "lost" | "decommissioned" | "compromised";

/** A device of a group, as its members know it. A relay knows its id and when it is there, nothing else of this. */
export interface GroupDevice {
  /** 64 hex digits. */
  readonly id: string;
  /** What it calls itself; empty if it has not said yet. */
  readonly name: string;
  /** What it runs on; empty if it has not said yet, or was removed. */
  readonly platform: string;
  /** It is connected now, as the relay says. Of this device: whether it is connected itself, without which it does not know of the others. */
  readonly online: boolean;
  /** When it was connected last, by the relay's clock, in milliseconds since 1970; null if the relay does not know. */
  readonly lastSeen: number | null;
  /** This one. */
  readonly self: boolean;
  /** It was removed and gets nothing any more. */
  readonly revoked: boolean;
  /** It will be removed as soon as a relay is there. */
  readonly revoking: boolean;
}

/** Options of `group.revokeDevice()`. */
export interface RevokeOptions {
  /** For the other devices to show. Default `"lost"`. */
  reason?: RevocationReason | undefined;
  /** `"local"` (default): resolve when it is certain to happen. `"relay"`: when it has happened. */
  until?: "local" | "relay" | undefined;
  /** With `until: "relay"`: reject with TIMEOUT after so many milliseconds. It still happens. */
  timeout?: number | undefined;
}

/** Ends a subscription. Calling it twice is harmless. */
export type Unsubscribe = () => void;

/** One open device: keys, local log, and connections. */
export interface SyncClient {
  /** Public id of this device, 64 hex digits. */
  readonly deviceId: string;
  /** The whole device's status now. */
  readonly status: SyncStatus;
  /** The lock of what this device keeps. */
  readonly lock: DeviceLock;
  /**
   * Makes a new group with a random secret; works offline.
   *
   * With a name and a passphrase: makes a group that others join with these, or joins it if it is there. Both are compared after Unicode NFKC, with
   * single spaces between words and none around; capitals count. Rejects with WEAK_PASSPHRASE below 60 bits. Needs the relays, and a
   * second and 64 MiB for the key.
   */
  createGroup(group?: PassphraseGroup): Promise<Group>;
  /**
   * Joins by an invite link, or by a code as people type it: case, spaces and dashes don't matter, and O is 0, I and L are 1. A code
   * is looked for at the relays given to `open()`. Needs the relay. Where the other device confirms, it waits for that; rejects with
   * INVITE_REJECTED when it says no.
   *
   * Or joins by name and passphrase, which are looked for at the relays given to `open()`. Rejects with GROUP_NOT_FOUND if they have no such
   * group, and with GROUP_CLOSED if a device was revoked since: then only an invite lets others in.
   */
  join(way: string | PassphraseGroup, options?: JoinOptions): Promise<Group>;
  /** The groups of this device, reopened without any network. */
  groups(): Group[];
  /** Calls `handler` for every later event of this name. */
  on<K extends keyof SyncEvents>(event: K, handler: (value: SyncEvents[K]) => void): Unsubscribe;
  /** Ends connections and iterators, and releases the database. Nothing pushed is lost. */
  close(): Promise<void>;
}

/** A set of devices that share an encrypted log. */
export interface Group {
  /** 64 hex digits; says nothing about the group's keys. */
  readonly id: string;
  /** The group's status now. */
  readonly status: SyncStatus;
  /** Blobs that no relay has confirmed yet. */
  readonly pending: number;
  /** Appends to the log. Resolves when the relay has it durably. */
  push(data: Uint8Array | ArrayBuffer | string, options: PushOptions & { until: "relay" }): Promise<PushedToRelay>;
  /** Appends to the log. Resolves when it is durable on this device; sending happens behind it. */
  push(data: Uint8Array | ArrayBuffer | string, options?: PushOptions): Promise<Pushed>;
  /** The log from a position on: first what is there, then what arrives. Ends when the client closes. */
  blobs(options?: BlobsOptions): AsyncIterableIterator<ReceivedBlob>;
  /** One page of the local log; never touches the network. */
  pull(options?: PullOptions): Promise<PulledPage>;
  /**
   * Deletes a blob: its data is gone from this device when this resolves, and from the others as soon as they hear of it, also
   * from those that are away now. Works offline. Every device of the group may do it; other blobs keep their positions.
   * Deleting it again changes nothing.
   */
  delete(id: string, options?: DeleteOptions): Promise<void>;
  /** Resolves when nothing is pending. */
  flush(options?: WaitOptions): Promise<void>;
  /** Resolves after the first complete sync: only then "empty" means empty. */
  ready(options?: WaitOptions): Promise<void>;
  /** How many blobs of each device this log holds, by device id, with what it has said of itself. */
  versionVector(): Record<string, number>;
  /** Makes a link and a QR code for one more device. Needs the relay. */
  createInvite(options?: InviteOptions): Promise<Invite>;
  /** The devices of the group, this one and removed ones among them. The event `devices` tells when to ask again. */
  devices(): Promise<GroupDevice[]>;
  /**
   * Says something to the devices of the group that are connected now, at most 4 KiB: cursors, who is typing. Sealed like a blob and kept
   * nowhere. Nobody answers, and it may be lost: while this device is offline, or when too much is said, nobody hears it. Throws
   * `BLOB_TOO_LARGE`.
   */
  broadcast(data: Uint8Array | ArrayBuffer | string): void;
  /**
   * Removes another device: everybody else gets new keys, and it reads nothing that is pushed from then on. What it has, it keeps. It can't come
   * back with this identity. Works offline: it happens as soon as a relay is there, before anything else is sent. A device removes itself with `leave()`.
   */
  revokeDevice(id: string, options?: RevokeOptions): Promise<void>;
  /** Gives this device another name in this group. */
  renameDevice(name: string): Promise<void>;
  /**
   * Registers what gives the app's state, at most 16 MiB, when the log has grown long or a device has joined; one provider at a time. Relays keep it sealed, and need
   * the blobs that it contains no longer. The provider is called only once the app has shown that it has everything up to the position:
   *
   * - `blobs()` has handed it out, and every other iterator and handler of this group, too (what asynchronous handlers return is waited for);
   *   or `reached` says so;
   * - a snapshot that this device holds has been read since the app started, with `snapshots()` or by handlers of the event.
   *
   * If that takes longer than two minutes, nothing is given, `SNAPSHOT_NOT_GIVEN` is told as an `error` event, and it is asked again later. So is told what the
   * provider rejects with.
   */
  onSnapshot(provider: SnapshotProvider, options?: SnapshotOptions): Unsubscribe;
  /**
   * The snapshots of other devices that this one has taken, the newest last: mostly none or one, and several where none has all of another. With all of them
   * an app begins, each time that it starts: then come the blobs after the position of the last.
   */
  snapshots(): Promise<Snapshot[]>;
  /** Calls `handler` for every later event of this name. What asynchronous handlers return counts only for {@link onSnapshot}, which waits for it. */
  on<K extends keyof GroupEvents>(event: K, handler: (value: GroupEvents[K]) => unknown): Unsubscribe;
  /** Forgets keys and data of the group on this device. */
  leave(): Promise<void>;
}
