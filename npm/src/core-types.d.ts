/**
 * What the wasm core offers, written by hand. The build checks that the generated declarations agree
 * (checks/core-contract.ts), so a change of the core that this package doesn't know about fails there.
 */

/** How a device is opened. */
export interface CoreConfig {
  relays: string[];
  name: string;
  deviceName: string;
  platform: string;
  accessToken?: string;
  storage: "indexeddb" | "memory";
  /** For IndexedDB: what secrets are wrapped with. */
  wrapKey?: CryptoKey;
}

/** A failure as the core reports it; rejections are `Error`s with these properties. */
export interface CoreError {
  code: string;
  message: string;
  retryable: boolean;
  reason?: string;
  retryAfterMs?: number;
}

export interface CoreStatus {
  state: "never-synced" | "restoring" | "synced" | "syncing" | "pending" | "offline" | "error";
  pending: number;
  progress: { done: number; total: number } | null;
  relay: string | null;
  relays: { url: string; connected: boolean }[];
  lastSyncedAt: number | null;
  error: CoreError | null;
}

export interface CoreBlob {
  id: string;
  position: number;
  sender: string;
  own: boolean;
  cursor: number;
  timestamp: number;
  data: Uint8Array;
  sealed?: Uint8Array;
}

/** One page of the local log; `next` is the position to continue after. */
export interface CorePage {
  blobs: CoreBlob[];
  hasMore: boolean;
  next: number;
}

export interface CoreInvite {
  link: string;
  code: string | undefined;
  lookup: string;
  expiresAt: number;
}

export interface CoreDevice {
  id: string;
  name: string;
  platform: string;
  self: boolean;
  revoked: boolean;
  revoking: boolean;
  online: boolean;
  lastSeen: number | null;
}

/** A device that uses an invite. */
export interface CoreJoiner {
  device: string;
  name: string;
  comparisonCode: string;
}

export interface CoreInviteState {
  state: "open" | "requested" | "claimed" | "over";
  joiner?: CoreJoiner;
}

export type CoreEvent =
  | { type: "status"; status: CoreStatus }
  | {
      type: "group";
      group: string;
      status: CoreStatus;
      versionVector: Record<string, number>;
      position: number;
    }
  | { type: "group-joined"; group: string }
  | { type: "group-left"; group: string }
  | { type: "pushed"; group: string; id: string; position: number; cursor: number }
  | { type: "device-joined"; group: string; device: string; name?: string }
  | {
      type: "device-revoked";
      group: string;
      device: string;
      by: string;
      reason: "lost" | "decommissioned" | "compromised" | "other";
    }
  | { type: "deleted"; group: string; id: string; by: string; position: number; forced: boolean }
  | { type: "devices"; group: string }
  | { type: "broadcast"; group: string; sender: string; data: Uint8Array }
  | { type: "snapshot-wanted"; group: string; request: number; position: number }
  | { type: "snapshot"; group: string }
  | { type: "gap"; group: string; sender: string; from: number; to: number }
  | { type: "comparison-code"; joining: number; code: string }
  | { type: "error"; group?: string; error: CoreError; cursor?: number };

/** One open device. */
export interface CoreClient {
  deviceId(): string;
  createGroup(): Promise<string>;
  /** `joining` is a number of the caller's choice: the event with the comparison code has it, and `cancelJoin` takes it. */
  join(link: string, joining: number): Promise<string>;
  cancelJoin(joining: number): Promise<void>;
  passphraseGroup(app: string, name: string, passphrase: string, found: boolean, memory?: number): Promise<string>;
  push(group: string, data: Uint8Array, ttlSeconds?: number): Promise<{ id: string; position: number }>;
  waitPushed(group: string, position: number): Promise<{ cursor: number }>;
  pull(group: string, after: number, limit: number, includeOwn: boolean, sealed: boolean): Promise<CorePage>;
  flush(group: string): Promise<void>;
  ready(group: string): Promise<void>;
  createInvite(group: string, appUrl: string | undefined, code: boolean, confirm: boolean): Promise<CoreInvite>;
  inviteState(lookup: string): Promise<CoreInviteState>;
  answerInvite(lookup: string, accept: boolean): Promise<void>;
  cancelInvite(lookup: string): Promise<void>;
  devices(group: string): Promise<CoreDevice[]>;
  broadcast(group: string, data: Uint8Array): Promise<void>;
  provideSnapshots(group: string, available: boolean): Promise<void>;
  giveSnapshot(group: string, request: number, state: Uint8Array | undefined): Promise<void>;
  snapshots(group: string): Promise<{ data: Uint8Array; position: number }[]>;
  revoke(group: string, device: string, reason: string, wait: boolean): Promise<void>;
  rename(group: string, name: string): Promise<void>;
  deleteBlob(group: string, id: string, force: boolean): Promise<void>;
  leave(group: string): Promise<void>;
  setLock(wrapKey: CryptoKey, lock: object | undefined): Promise<void>;
  networkChanged(): void;
  close(): Promise<void>;
}

/** The generated module `core.js`. */
export interface CoreModule {
  default(input: { module_or_path: WebAssembly.Module }): Promise<unknown>;
  CoreClient: {
    open(config: CoreConfig, onEvent: (event: CoreEvent) => void): Promise<CoreClient>;
  };
}
