/** The list as the ops make it: the same on every device, in whatever order the ops arrive. */
import { isNewer, type Op, type SetItem, type SetTitle } from "./ops.js";

/** An item as shown. */
export interface Item {
  readonly id: string;
  readonly text: string;
  readonly done: boolean;
}

interface Entry {
  op: SetItem;
  /** The oldest stamp seen: where the item stands in the list. */
  created: number;
}

export class List {
  readonly #entries = new Map<string, Entry>();
  #title: SetTitle | undefined;
  #clock = 0;

  /** Empty if nobody has named the list. */
  get title(): string {
    return this.#title?.text ?? "";
  }

  /** Items that are not deleted, newest first. */
  items(): Item[] {
    return [...this.#entries.values()]
      .filter(({ op }) => !op.deleted)
      .sort((a, b) => b.created - a.created || (a.op.id < b.op.id ? -1 : 1))
      .map(({ op: { id, text, done } }) => ({ id, text, done }));
  }

  /** The latest op of an item, deleted or not. */
  latest(id: string): SetItem | undefined {
    return this.#entries.get(id)?.op;
  }

  /** A stamp after everything seen, and close to the time of day where clocks agree. */
  stamp(now: number): number {
    return Math.max(now, this.#clock + 1);
  }

  apply(op: Op): void {
    this.#clock = Math.max(this.#clock, op.at);
    if (op.t === "title") {
      if (this.#title === undefined || isNewer(op, this.#title)) this.#title = op;
      return;
    }
    const entry = this.#entries.get(op.id);
    if (entry === undefined) {
      this.#entries.set(op.id, { op, created: op.at });
      return;
    }
    entry.created = Math.min(entry.created, op.at);
    if (isNewer(op, entry.op)) entry.op = op;
  }
}
