/** One group: its mirrored state and the calls on it. */
import { blobBytes, broadcastBytes, httpUrl, inviteKind, patience, wholeNumber, withTimeout } from "../check.js";
import { invalidArgument, toSyncError } from "../convert.js";
import type { Core } from "../core.js";
import type { CoreEvent, CoreInvite } from "../core-types.js";
import { SyncError } from "../errors.js";
import type {
  BlobsOptions,
  DeleteOptions,
  Group,
  GroupDevice,
  GroupEvents,
  Invite,
  InviteOptions,
  PulledPage,
  PullOptions,
  Pushed,
  PushedToRelay,
  PushOptions,
  ReceivedBlob,
  RevokeOptions,
  Snapshot,
  SnapshotOptions,
  SnapshotProvider,
  SyncStatus,
  Unsubscribe,
  WaitOptions,
} from "../types.js";
import { BlobIterator, MAX_PAGE, toReceivedBlob, type Log } from "./blobs.js";
import { Emitter, run } from "./events.js";
import { InviteHandle } from "./invite.js";
import { Snapshots } from "./snapshots.js";
import { failedStatus, initialStatus, sameStatus, toStatus } from "./status.js";

/** How long a handler of `blob` waits after the log could not be read: at first, and at most. */
const RETRY_MS = 250;
const MAX_RETRY_MS = 30_000;

/** What a group needs from its client. */
export interface GroupContext {
  readonly core: Core;
  /** Draws a QR code; loaded on first use. */
  drawQr(text: string): Promise<string>;
}

/** Events of the core that concern one group. */
export type GroupCoreEvent = Extract<CoreEvent, { group: string }> | (Extract<CoreEvent, { type: "error" }> & { group: string });

/** A {@link Group}. The client feeds it the core's events through `apply`. */
export class GroupHandle implements Group {
  readonly id: string;
  readonly #context: GroupContext;
  readonly #events = new Emitter<GroupEvents>({
    blob: new Set(),
    pushed: new Set(),
    status: new Set(),
    "device-joined": new Set(),
    "device-revoked": new Set(),
    deleted: new Set(),
    devices: new Set(),
    broadcast: new Set(),
    snapshot: new Set(),
    gap: new Set(),
    error: new Set(),
  });
  readonly #iterators = new Set<BlobIterator>();
  readonly #watchers = new Set<() => void>();
  /** Of each page that `pull()` waits for, what was deleted meanwhile. */
  readonly #pulls = new Set<Set<string>>();
  readonly #snapshots: Snapshots;
  #status = initialStatus;
  #versionVector: Readonly<Record<string, number>> = {};
  #position = 0;
  #ended: SyncError | undefined;

  constructor(id: string, context: GroupContext) {
    this.id = id;
    this.#context = context;
    const core = (): Core => this.#core;
    const ended = (): boolean => this.#ended !== undefined;
    this.#snapshots = new Snapshots({
      id,
      get core() {
        return core();
      },
      get ended() {
        return ended();
      },
      failed: (error) => this.#failed(error),
      deliver: (snapshot) => this.#events.deliver("snapshot", snapshot),
    });
  }

  get status(): SyncStatus {
    return this.#status;
  }

  get pending(): number {
    return this.#status.pending;
  }

  versionVector(): Record<string, number> {
    return { ...this.#versionVector };
  }

  push(data: Uint8Array | ArrayBuffer | string, options: PushOptions & { until: "relay" }): Promise<PushedToRelay>;
  push(data: Uint8Array | ArrayBuffer | string, options?: PushOptions): Promise<Pushed>;
  async push(data: Uint8Array | ArrayBuffer | string, options: PushOptions = {}): Promise<Pushed | PushedToRelay> {
    const { bytes, owned } = blobBytes(data);
    const ttl = options.ttl === undefined ? undefined : wholeNumber(options.ttl, "ttl", 1, 0);
    if (options.until !== undefined && !["local", "relay"].includes(options.until)) {
      throw invalidArgument('until must be "local" or "relay".');
    }
    const timeout = patience(options.timeout);
    const pushed = await this.#core.call("push", [this.id, bytes, ttl], owned ? [bytes] : []);
    if (options.until !== "relay") return pushed;
    const waiting = this.#core.call("waitPushed", [this.id, pushed.position]);
    const { cursor } = await withTimeout(waiting, timeout, "Sending to the relay");
    return { ...pushed, cursor };
  }

  blobs(options: BlobsOptions = {}): AsyncIterableIterator<ReceivedBlob> {
    const after = wholeNumber(options.after, "after", 0, 0);
    const iterator = this.#iterate(after, options.includeOwn ?? true, { signal: options.signal });
    if (!iterator.ended) this.#snapshots.add(iterator);
    return iterator;
  }

  async pull(options: PullOptions = {}): Promise<PulledPage> {
    const after = wholeNumber(options.after, "after", 0, 0);
    const limit = Math.min(wholeNumber(options.limit, "limit", 1, 100), MAX_PAGE);
    const { includeOwn = true, sealed = false } = options;
    const deleted = new Set<string>();
    this.#pulls.add(deleted);
    try {
      const page = await this.#core.call("pull", [this.id, after, limit, includeOwn, sealed]);
      const blobs = page.blobs.filter((blob) => !deleted.has(blob.id));
      return { blobs: blobs.map(toReceivedBlob), hasMore: page.hasMore, next: page.next };
    } finally {
      this.#pulls.delete(deleted);
    }
  }

  async delete(id: string, options: DeleteOptions = {}): Promise<void> {
    const { force = false } = options;
    if (typeof id !== "string") throw invalidArgument("delete() needs the id of a blob.");
    if (typeof force !== "boolean") throw invalidArgument("force must be true or false.");
    await this.#core.call("deleteBlob", [this.id, id, force]);
    this.#forget(id);
  }

  async flush(options: WaitOptions = {}): Promise<void> {
    const timeout = patience(options.timeout);
    await withTimeout(this.#core.call("flush", [this.id]), timeout, "Sending what is pending");
  }

  async ready(options: WaitOptions = {}): Promise<void> {
    const timeout = patience(options.timeout);
    await withTimeout(this.#core.call("ready", [this.id]), timeout, "The first synchronisation");
  }

  async createInvite(options: InviteOptions = {}): Promise<Invite> {
    const { confirm = false } = options;
    if (typeof confirm !== "boolean") throw invalidArgument("confirm must be true or false.");
    const code = inviteKind(options.kind) === "code";
    const made = await this.#core.call("createInvite", [this.id, appUrl(options.appUrl), code, confirm]);
    return new InviteHandle(made, await this.#drawQr(made), () => this.#core);
  }

  on<K extends keyof GroupEvents>(event: K, handler: (value: GroupEvents[K]) => void): Unsubscribe {
    // Blobs are read from the log, so that a burst of arrivals is not held in memory.
    if (event === "blob" && typeof handler === "function") return this.#onBlob(handler as (blob: ReceivedBlob) => void);
    return this.#events.on(event, handler);
  }

  async devices(): Promise<GroupDevice[]> {
    return this.#core.call("devices", [this.id]);
  }

  broadcast(data: Uint8Array | ArrayBuffer | string): void {
    this.#background(this.#core.call("broadcast", [this.id, broadcastBytes(data)]));
  }

  onSnapshot(provider: SnapshotProvider, options: SnapshotOptions = {}): Unsubscribe {
    return this.#snapshots.provide(provider, options);
  }

  async snapshots(): Promise<Snapshot[]> {
    return this.#snapshots.take();
  }

  async revokeDevice(id: string, options: RevokeOptions = {}): Promise<void> {
    const { reason = "lost", until = "local" } = options;
    if (typeof id !== "string") throw invalidArgument("revokeDevice() needs the id of a device.");
    if (!["local", "relay"].includes(until)) throw invalidArgument('until must be "local" or "relay".');
    const timeout = patience(options.timeout);
    const revoking = this.#core.call("revoke", [this.id, id, reason, until === "relay"]);
    await withTimeout(revoking, until === "relay" ? timeout : undefined, "Removing the device");
  }

  async renameDevice(name: string): Promise<void> {
    if (typeof name !== "string") throw invalidArgument("renameDevice() needs a name.");
    await this.#core.call("rename", [this.id, name]);
  }

  async leave(): Promise<void> {
    await this.#core.call("leave", [this.id]);
  }

  /** Brings the mirror up to date and tells handlers. Called by the client, in the core's order. */
  apply(event: GroupCoreEvent): void {
    switch (event.type) {
      case "group": {
        this.#versionVector = event.versionVector;
        this.#setStatus(toStatus(event.status, this.id));
        if (event.position !== this.#position) {
          this.#position = event.position;
          for (const changed of [...this.#watchers]) changed();
        }
        break;
      }
      case "pushed":
        this.#events.emit("pushed", { id: event.id, position: event.position, cursor: event.cursor });
        break;
      case "device-joined":
        this.#events.emit("device-joined", { device: event.device, name: event.name ?? null });
        break;
      case "device-revoked":
        this.#events.emit("device-revoked", { device: event.device, by: event.by, reason: event.reason });
        break;
      case "deleted":
        this.#forget(event.id);
        this.#snapshots.track(
          this.#events.deliver("deleted", { id: event.id, by: event.by, position: event.position, forced: event.forced }),
        );
        break;
      case "devices":
        this.#events.emit("devices", undefined);
        break;
      case "snapshot-wanted":
        void this.#snapshots.wanted(event.request, event.position);
        break;
      case "snapshot":
        void this.#snapshots.arrived();
        break;
      case "broadcast":
        this.#events.emit("broadcast", { sender: event.sender, data: event.data });
        break;
      case "gap":
        this.#events.emit("gap", { sender: event.sender, from: event.from, to: event.to });
        break;
      case "error":
        this.#events.emit("error", toSyncError(event.error, { group: this.id, cursor: event.cursor }));
        break;
      case "group-joined":
      case "group-left":
        break;
    }
  }

  /** Ends all iterators; later calls reject with `reason`. `failure` if the app must hear of it. */
  end(reason: SyncError, failure: boolean): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    if (failure) this.#setStatus(failedStatus(this.#status, reason));
    for (const iterator of [...this.#iterators]) iterator.end(failure ? { error: reason } : undefined);
  }

  get #core(): Core {
    if (this.#ended !== undefined) throw this.#ended;
    return this.#context.core;
  }

  /** Nobody waits for `work`, so what is wrong with it is told like everything else in the background. */
  #background(work: Promise<unknown>): void {
    work.catch((error: unknown) => this.#failed(error));
  }

  #failed(error: unknown): void {
    if (this.#ended === undefined) this.#events.emit("error", toSyncError(error, { group: this.id }));
  }

  /** A blob is deleted: nothing that was read before hands it out. */
  #forget(id: string): void {
    for (const iterator of this.#iterators) iterator.remove(id);
    for (const deleted of this.#pulls) deleted.add(id);
  }

  #setStatus(status: SyncStatus): void {
    if (sameStatus(status, this.#status)) return;
    this.#status = status;
    this.#events.emit("status", status);
  }

  /** Draws an invite's link. An invite that nobody can be shown is taken back: nobody else could. */
  async #drawQr({ link, lookup }: CoreInvite): Promise<string> {
    try {
      return await this.#context.drawQr(link);
    } catch (error) {
      this.#background(this.#core.call("cancelInvite", [lookup]));
      const text = "The part of this package that draws QR codes could not be loaded. Check that all files of the app are served, and make another invite.";
      throw new SyncError("INTERNAL", text, { retryable: true, cause: error, reason: String(error) });
    }
  }

  #iterate(after: number, includeOwn: boolean, { signal, patient = false }: { signal?: AbortSignal | undefined; patient?: boolean }): BlobIterator {
    const position = (): number => this.#position;
    const log: Log = {
      get position() {
        return position();
      },
      page: async (from) => this.#core.call("pull", [this.id, from, MAX_PAGE, includeOwn, false]),
      watch: (changed) => {
        this.#watchers.add(changed);
        return () => void this.#watchers.delete(changed);
      },
      retryAfter: (error, failures) => (patient ? this.#retryAfter(toSyncError(error), failures) : undefined),
    };
    const abort = (): void => iterator.end({ error: signal?.reason });
    const iterator = new BlobIterator(log, after, () => {
      this.#iterators.delete(iterator);
      this.#snapshots.remove(iterator);
      signal?.removeEventListener("abort", abort);
    });
    this.#iterators.add(iterator);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted === true) abort();
    else if (this.#ended !== undefined) iterator.end({ error: this.#ended });
    return iterator;
  }

  /** Who has a handler is told once, and would not notice an end: only what doesn't pass ends it. */
  #retryAfter(error: SyncError, failures: number): number | undefined {
    if (!error.retryable || this.#ended !== undefined) return undefined;
    if (failures === 1) this.#failed(error);
    return Math.min(RETRY_MS * 2 ** (failures - 1), MAX_RETRY_MS);
  }

  #onBlob(handler: (blob: ReceivedBlob) => void): Unsubscribe {
    const from = this.#position;
    const iterator = this.#iterate(from, true, { patient: true });
    if (!iterator.ended) this.#snapshots.addFrom(iterator, from);
    void this.#pump(iterator, handler);
    return () => iterator.end();
  }

  async #pump(iterator: BlobIterator, handler: (blob: ReceivedBlob) => void): Promise<void> {
    try {
      for await (const blob of iterator) {
        queueMicrotask(() => {
          if (!iterator.ended) this.#snapshots.track(run(() => handler(blob)));
        });
      }
    } catch (error) {
      // The end of the client is told by its own events; anything else only here.
      this.#failed(error);
    }
  }
}

/** The error of calls on a group that was left. */
export const leftError = (): SyncError => new SyncError("CLOSED", "This device has left the group.");

function appUrl(url: unknown): string | undefined {
  if (url === undefined) {
    const here = httpUrl((globalThis as { location?: Location }).location?.href);
    return here === undefined ? undefined : here.origin + here.pathname;
  }
  const checked = httpUrl(url);
  if (checked === undefined) throw invalidArgument("appUrl must be an absolute https:// or http:// URL.");
  checked.hash = "";
  return checked.href;
}
