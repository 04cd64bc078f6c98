/** One device with one group, and everything that it tells, for tests that look at it from outside. */
import { open, SyncError, type Group, type OpenOptions, type ReceivedBlob, type SyncClient } from "@0k-sync/client";

/** An error as it gets through to the test. */
export interface Refusal {
  code: string;
  message: string;
  retryable: boolean;
  cursor?: number | undefined;
  group?: string | undefined;
  ways?: readonly string[] | undefined;
}

/** An event as it gets through to the test. */
export interface Told {
  from: "client" | "group";
  event: string;
  value: unknown;
}

const GROUP_EVENTS = ["pushed", "status", "device-joined", "device-revoked", "deleted", "snapshot", "gap"] as const;

export class Harness {
  /** Everything that was told, in order. Blobs as their text. */
  readonly told: Told[] = [];
  #sync: SyncClient | undefined;
  #group: Group | undefined;

  get sync(): SyncClient {
    if (this.#sync === undefined) throw new Error("not open");
    return this.#sync;
  }

  get group(): Group {
    if (this.#group === undefined) throw new Error("no group");
    return this.#group;
  }

  /** Opens the device, and its group if it has one. */
  async open(options: OpenOptions): Promise<void> {
    this.#group = undefined;
    const sync = await open(options);
    this.#sync = sync;
    sync.on("status", ({ state }) => this.#tell("client", "status", state));
    sync.on("error", (error) => this.#tell("client", "error", refusal(error)));
    sync.on("group-joined", ({ id }) => this.#tell("client", "group-joined", id));
    sync.on("group-left", (id) => this.#tell("client", "group-left", id));
    const group = sync.groups()[0];
    if (group !== undefined) this.use(group);
  }

  /** Listens to a group, which is the one that tests mean from now on. */
  use(group: Group): void {
    this.#group = group;
    group.on("blob", (blob) => this.#tell("group", "blob", blob.text()));
    group.on("error", (error) => this.#tell("group", "error", refusal(error)));
    for (const event of GROUP_EVENTS) {
      group.on(event, (value) => this.#tell("group", event, event === "status" ? (value as { state: string }).state : value));
    }
  }

  async create(): Promise<string> {
    this.use(await this.sync.createGroup());
    return this.group.id;
  }

  async join(link: string): Promise<string> {
    this.use(await this.sync.join(link));
    return this.group.id;
  }

  /** The whole local log. */
  async log(): Promise<ReceivedBlob[]> {
    const all: ReceivedBlob[] = [];
    for (let after = 0, more = true; more; ) {
      const page = await this.group.pull({ after, limit: 500 });
      all.push(...page.blobs);
      after = page.next;
      more = page.hasMore;
    }
    return all;
  }

  /** Turns the lock on, and gives the recovery code. */
  async lock(passkey: boolean): Promise<string> {
    let given = "";
    await this.sync.lock.enable({ passkey, onRecoveryCode: (code) => void (given = code) });
    return given;
  }

  /** The texts of the whole local log. */
  async texts(): Promise<string[]> {
    return (await this.log()).map((blob) => blob.text());
  }

  #tell(from: Told["from"], event: string, value: unknown): void {
    this.told.push({ from, event, value });
  }

  /** What a call was refused with, or undefined if it wasn't. */
  async refusal(call: () => Promise<unknown>): Promise<Refusal | undefined> {
    try {
      await call();
      return undefined;
    } catch (error) {
      return refusal(error);
    }
  }
}

function refusal(error: unknown): Refusal {
  if (!(error instanceof SyncError)) throw error;
  const { code, message, retryable, cursor, group, ways } = error;
  return { code, message, retryable, cursor, group, ways };
}
