/** One open device: routes the core's events to its groups and mirrors its status. */
import { DeviceLockHandle, type KeptDevice } from "../at-rest/device-lock.js";
import { invitation } from "../check.js";
import { closedError, invalidArgument, toSyncError } from "../convert.js";
import type { Core, CoreHandlers } from "../core.js";
import type { CoreEvent } from "../core-types.js";
import type { SyncError } from "../errors.js";
import { toFound, toJoin } from "../passphrase/strength.js";
import type { NamedGroup } from "../passphrase/form.js";
import type { Group, JoinOptions, PassphraseGroup, SyncClient, SyncEvents, SyncStatus, Unsubscribe } from "../types.js";
import type { CoreArgs } from "../worker/protocol.js";
import { Emitter } from "./events.js";
import { GroupHandle, leftError, type GroupContext, type GroupCoreEvent } from "./group.js";
import { failedStatus, initialStatus, sameStatus, toStatus } from "./status.js";

/** What a client needs besides the core. */
export interface ClientSurroundings {
  /** Which app the names of groups belong to. */
  readonly appId: string;
  /** What this device keeps its data in; undefined in memory. */
  readonly kept?: KeptDevice | undefined;
  /** Draws a QR code; loaded on first use. */
  drawQr(text: string): Promise<string>;
  /** Undoes what `open` set up around the core: the lock, listeners. A second call does nothing. */
  release(): void;
}

/**
 * A {@link SyncClient}. Made before its core, whose first events arrive while it opens; `attach` completes it.
 */
export class ClientHandle implements SyncClient, CoreHandlers {
  readonly lock: DeviceLockHandle;
  readonly #surroundings: ClientSurroundings;
  readonly #events = new Emitter<SyncEvents>({
    status: new Set(),
    error: new Set(),
    "group-joined": new Set(),
    "group-left": new Set(),
  });
  readonly #groups = new Map<string, GroupHandle>();
  readonly #context: GroupContext;
  /** Who wants to know the comparison code of which call of `join`. */
  readonly #joining = new Map<number, (code: string) => void>();
  #joins = 0;
  #core: Core | undefined;
  #status = initialStatus;
  #ended: SyncError | undefined;
  #closing: Promise<void> | undefined;

  constructor(surroundings: ClientSurroundings) {
    this.#surroundings = surroundings;
    const core = (): Core => this.#open();
    this.lock = new DeviceLockHandle(surroundings.kept, core);
    this.#context = {
      get core() {
        return core();
      },
      drawQr: (text) => surroundings.drawQr(text),
    };
  }

  /** Completes the client with its opened core. */
  attach(core: Core): this {
    this.#core = core;
    return this;
  }

  get deviceId(): string {
    return this.#core?.deviceId ?? "";
  }

  get status(): SyncStatus {
    return this.#status;
  }

  groups(): Group[] {
    return [...this.#groups.values()];
  }

  async createGroup(group?: PassphraseGroup): Promise<Group> {
    if (group === undefined) return this.#group(await this.#open().call("createGroup", []));
    return this.#byPassphrase(await toFound(group, this.#surroundings.appId), true);
  }

  async join(way: string | PassphraseGroup, options: JoinOptions = {}): Promise<Group> {
    if (typeof way === "object") return this.#byPassphrase(toJoin(way), false);
    const checked = invitation(way);
    const { onComparisonCode, signal } = options;
    if (onComparisonCode !== undefined && typeof onComparisonCode !== "function") {
      throw invalidArgument("onComparisonCode must be a function.");
    }
    signal?.throwIfAborted();
    const core = this.#open();
    const joining = ++this.#joins;
    if (onComparisonCode !== undefined) this.#joining.set(joining, onComparisonCode);
    const giveUp = (): void => void core.call("cancelJoin", [joining]).catch(() => undefined);
    signal?.addEventListener("abort", giveUp);
    try {
      return this.#group(await core.call("join", [checked, joining]));
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", giveUp);
      this.#joining.delete(joining);
    }
  }

  on<K extends keyof SyncEvents>(event: K, handler: (value: SyncEvents[K]) => void): Unsubscribe {
    return this.#events.on(event, handler);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** The page became visible, or the network changed: connections may be dead without knowing it. */
  networkChanged(): void {
    if (this.#ended === undefined) this.#core?.networkChanged();
  }

  event(event: CoreEvent): void {
    if (this.#ended !== undefined) return;
    switch (event.type) {
      case "status":
        this.#setStatus(toStatus(event.status));
        break;
      case "group-joined":
        this.#events.emit("group-joined", this.#group(event.group));
        break;
      case "group-left":
        this.#groups.get(event.group)?.end(leftError(), false);
        this.#groups.delete(event.group);
        this.#events.emit("group-left", event.group);
        break;
      case "error":
        this.#events.emit("error", toSyncError(event.error, { group: event.group, cursor: event.cursor }));
        if (event.group !== undefined) this.#groups.get(event.group)?.apply(event as GroupCoreEvent);
        break;
      case "comparison-code": {
        const tell = this.#joining.get(event.joining);
        // What it throws is the app's: reported like any uncaught error.
        if (tell !== undefined) queueMicrotask(() => tell(event.code));
        break;
      }
      case "group":
      case "pushed":
      case "device-joined":
      case "device-revoked":
      case "deleted":
      case "devices":
      case "broadcast":
      case "snapshot-wanted":
      case "snapshot":
      case "gap":
        this.#group(event.group).apply(event);
        break;
    }
  }

  died(error: SyncError): void {
    if (this.#ended !== undefined) return;
    this.#setStatus(failedStatus(this.#status, error));
    this.#events.emit("error", error);
    this.#end(error, true);
  }

  async #byPassphrase({ name, passphrase }: NamedGroup, found: boolean): Promise<Group> {
    const args: CoreArgs<"passphraseGroup"> = [this.#surroundings.appId, name, passphrase, found, deviceMemory()];
    return this.#group(await this.#open().call("passphraseGroup", args));
  }

  async #close(): Promise<void> {
    const core = this.#core;
    // Calls made from now on reject; those under way are answered by the core, or rejected when it is gone.
    this.#end(closedError(), false, false);
    try {
      await core?.close();
      await this.lock.settled();
    } finally {
      this.#surroundings.release();
    }
  }

  #end(reason: SyncError, failure: boolean, release = true): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    for (const group of this.#groups.values()) group.end(reason, failure);
    if (release) this.#surroundings.release();
  }

  #open(): Core {
    if (this.#ended !== undefined) throw this.#ended;
    if (this.#core === undefined) throw closedError();
    return this.#core;
  }

  /** The one object for a group, made when the group is first heard of. */
  #group(id: string): GroupHandle {
    let group = this.#groups.get(id);
    if (group === undefined) {
      group = new GroupHandle(id, this.#context);
      this.#groups.set(id, group);
    }
    return group;
  }

  #setStatus(status: SyncStatus): void {
    if (sameStatus(status, this.#status)) return;
    this.#status = status;
    this.#events.emit("status", status);
  }
}

/** Memory of the device in GiB, where the browser tells it. */
function deviceMemory(): number | undefined {
  return (globalThis as { navigator?: { deviceMemory?: number } }).navigator?.deviceMemory;
}
