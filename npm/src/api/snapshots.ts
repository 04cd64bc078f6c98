/**
 * The app's state, given and taken.
 *
 * A state that is given stands in for the log: other devices never get what is missing in it. So an app is asked for it only when it has been
 * shown that it has everything up to the place of the request, and otherwise nothing is given this time.
 */
import { reachedPosition, snapshotBytes } from "../check.js";
import { invalidArgument } from "../convert.js";
import type { Core } from "../core.js";
import { SyncError } from "../errors.js";
import type { Snapshot, SnapshotOptions, SnapshotProvider, Unsubscribe } from "../types.js";

/** How long a request waits for the app, a little less than the core does, and how often it looks. */
const PATIENCE_MS = 110_000;
const POLL_MS = 50;

/** What an app reads the log with. */
export interface Reader {
  /** Everything up to here was handed out, and whoever took it has come back for more. */
  readonly consumed: number;
}

/** What snapshots need from their group. */
export interface SnapshotContext {
  readonly id: string;
  readonly ended: boolean;
  readonly core: Core;
  /** Tells what went wrong in the background. */
  failed(error: unknown): void;
  /** Calls the handlers of `snapshot`; whether there are some, and all have finished well. */
  deliver(snapshot: Snapshot): Promise<boolean>;
}

/** Snapshots of one group. */
export class Snapshots {
  readonly #context: SnapshotContext;
  #provider: SnapshotProvider | undefined;
  #reached: SnapshotOptions["reached"];
  /** The newest request; those before it are over. */
  #request = 0;
  /** How many have come while this page runs, and up to which of them the app has them. The first counts what was there before. */
  #arrived = 0;
  #read = -1;
  /** Readers that have not ended, with the position after which they began if they don't say that the app has what is before it. */
  readonly #readers = new Map<Reader, number | undefined>();
  /** The app has everything up to here, whichever readers there are. */
  #covered = 0;
  /** Handlers that have not finished. */
  #unfinished = 0;

  constructor(context: SnapshotContext) {
    this.#context = context;
  }

  provide(provider: SnapshotProvider, { reached }: SnapshotOptions): Unsubscribe {
    if (typeof provider !== "function") throw invalidArgument("onSnapshot() needs a function that gives the app's state.");
    if (reached !== undefined && typeof reached !== "function") throw invalidArgument("reached must be a function that gives a position.");
    this.#provider = provider;
    this.#reached = reached;
    this.#announce(true);
    return () => {
      if (this.#provider !== provider) return;
      this.#provider = undefined;
      this.#announce(false);
    };
  }

  /** The app reads the log: from the start or, as it says itself, from where it was. */
  add(reader: Reader): void {
    this.#readers.set(reader, undefined);
  }

  /** The app hears what comes after `position`, whether it has what is before it or not. */
  addFrom(reader: Reader, position: number): void {
    this.#readers.set(reader, position);
  }

  remove(reader: Reader): void {
    const from = this.#readers.get(reader);
    if (from !== undefined && from <= this.#covered) this.#covered = Math.max(this.#covered, reader.consumed);
    this.#readers.delete(reader);
  }

  /** The app is at work with what it was given. */
  track(work: Promise<unknown>): void {
    this.#unfinished += 1;
    void work.finally(() => (this.#unfinished -= 1));
  }

  /** All that this device holds, which the app has from now on. */
  async take(): Promise<Snapshot[]> {
    const arrived = this.#arrived;
    const held = await this.#held();
    this.#taken(arrived, held);
    return held;
  }

  /** The core has one more. */
  async arrived(): Promise<void> {
    const arrived = (this.#arrived += 1);
    await Promise.resolve();
    try {
      const held = await this.#held();
      const newest = held.at(-1);
      if (newest === undefined || !(await this.#context.deliver(newest))) return;
      // Those before it were delivered when they came, or are for take().
      if (held.length === 1 || this.#read >= arrived - 1) this.#taken(arrived, [newest]);
    } catch (error) {
      this.#context.failed(error);
    }
  }

  /** The core asks for the app's state, with everything up to `position`. */
  async wanted(request: number, position: number): Promise<void> {
    this.#request = request;
    let state: Uint8Array | undefined;
    try {
      if (await this.#isReady(request, position, this.#arrived)) state = await this.#state(position);
    } catch (error) {
      this.#context.failed(error);
    }
    if (this.#context.ended || this.#request !== request) return;
    await this.#context.core.call("giveSnapshot", [this.#context.id, request, state]).catch((error: unknown) => this.#context.failed(error));
  }

  #announce(available: boolean): void {
    if (this.#context.ended) return;
    const { core, id } = this.#context;
    core.call("provideSnapshots", [id, available]).catch((error: unknown) => this.#context.failed(error));
  }

  #held(): Promise<Snapshot[]> {
    return this.#context.core.call("snapshots", [this.#context.id]);
  }

  #taken(arrived: number, snapshots: Snapshot[]): void {
    this.#read = Math.max(this.#read, arrived);
    this.#covered = Math.max(this.#covered, ...snapshots.map(({ position }) => position));
  }

  async #state(position: number): Promise<Uint8Array | undefined> {
    return this.#provider === undefined ? undefined : snapshotBytes(await this.#provider({ position }));
  }

  /** Waits until the app has had everything; false if nobody wants to know any more. */
  async #isReady(request: number, position: number, arrived: number): Promise<boolean> {
    await Promise.resolve();
    if (this.#read < 0 && arrived === 0) {
      // The app has not asked whether there is one from before.
      const held = await this.#held();
      if (held.length === 0) this.#taken(0, held);
    }
    for (const deadline = Date.now() + PATIENCE_MS; ; ) {
      if (this.#context.ended || this.#request !== request || this.#provider === undefined) return false;
      const lack = await this.#lack(position, arrived);
      if (lack === undefined) return true;
      if (Date.now() >= deadline) {
        throw new SyncError("SNAPSHOT_NOT_GIVEN", lack, { retryable: true, group: this.#context.id });
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** What the app has not had or not shown to have, as it is told. */
  async #lack(position: number, arrived: number): Promise<string | undefined> {
    if (this.#read < arrived) {
      return "This device holds the state that another one gave, and the app has not taken it in: call snapshots() whenever the app starts, and handle the event.";
    }
    const busy = `An iterator or a handler of this group has not finished with what is in the log up to position ${position}.`;
    if (this.#unfinished > 0) return busy;
    if (this.#reached !== undefined) {
      const reached = reachedPosition(await this.#reached());
      return reached < position ? `The app's state reaches position ${reached}, and ${position} was wanted.` : undefined;
    }
    const readers = [...this.#readers];
    if (!readers.some(([, from]) => from === undefined || from <= this.#covered)) {
      return "Nothing shows that the app's state has the whole log: read it with blobs(), or give onSnapshot() the option reached.";
    }
    return readers.every(([reader]) => reader.consumed >= position) ? undefined : busy;
  }
}
