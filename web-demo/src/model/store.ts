/** A list bound to its group: replays the log, follows it, and pushes changes. */
import type { Group, ReceivedBlob } from "@0k-sync/client";
import { List, type Item } from "./list.js";
import { parseOp, type Op } from "./ops.js";

export class ListStore {
  readonly group: Group;
  readonly #deviceId: string;
  readonly #changed: () => void;
  readonly #failed: (error: unknown) => void;
  readonly #stop = new AbortController();
  #list = new List();
  #position = 0;

  /** `changed` is called after every change that may show; `failed` when the log can't be read or written. */
  constructor(group: Group, deviceId: string, changed: () => void, failed: (error: unknown) => void) {
    this.group = group;
    this.#deviceId = deviceId;
    this.#changed = changed;
    this.#failed = failed;
  }

  get title(): string {
    return this.#list.title;
  }

  /** Position of the newest blob that was read. */
  get position(): number {
    return this.#position;
  }

  items(): Item[] {
    return this.#list.items();
  }

  /** Reads what is on this device; resolves when all of it is in the list. Then follows the log. */
  async load(): Promise<void> {
    await this.#replay();
    void this.#follow();
  }

  stop(): void {
    this.#stop.abort();
  }

  add(text: string): void {
    this.#set(crypto.randomUUID(), { text, done: false, deleted: false });
  }

  update(id: string, change: { text?: string; done?: boolean; deleted?: boolean }): void {
    const latest = this.#list.latest(id);
    if (latest === undefined) return;
    const { text, done, deleted } = { ...latest, ...change };
    this.#set(id, { text, done, deleted });
  }

  rename(text: string): void {
    this.#push({ t: "title", text, at: this.#list.stamp(Date.now()), by: this.#deviceId });
  }

  #set(id: string, value: { text: string; done: boolean; deleted: boolean }): void {
    this.#push({ t: "set", id, ...value, at: this.#list.stamp(Date.now()), by: this.#deviceId });
  }

  /** Shows the change at once; takes it back if this device can't keep it. */
  #push(op: Op): void {
    this.#list.apply(op);
    this.#changed();
    this.group.push(JSON.stringify(op)).catch(async (error: unknown) => {
      this.#failed(error);
      await this.#replay().catch(() => undefined);
      this.#changed();
    });
  }

  /** Makes the list anew from the log of this device. */
  async #replay(): Promise<void> {
    const list = new List();
    let position = 0;
    for (let more = true; more; ) {
      const page = await this.group.pull({ after: position, limit: 500 });
      for (const blob of page.blobs) applyBlob(list, blob);
      position = page.next;
      more = page.hasMore;
    }
    this.#list = list;
    this.#position = Math.max(this.#position, position);
  }

  async #follow(): Promise<void> {
    try {
      for await (const blob of this.group.blobs({ after: this.#position, signal: this.#stop.signal })) {
        this.#position = Math.max(this.#position, blob.position);
        applyBlob(this.#list, blob);
        this.#changed();
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#failed(error);
    }
  }
}

function applyBlob(list: List, blob: ReceivedBlob): void {
  const op = parseOp(blob.text());
  if (op !== undefined) list.apply(op);
}
