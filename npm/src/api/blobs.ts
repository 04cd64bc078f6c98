/** Received blobs and the iterator over a group's log. */
import type { CoreBlob, CorePage } from "../core-types.js";
import type { ReceivedBlob } from "../types.js";

/** A page never has more blobs; the core also limits its bytes. */
export const MAX_PAGE = 500;

const decoder = new TextDecoder();

class Blob implements ReceivedBlob {
  readonly id: string;
  readonly position: number;
  readonly sender: string;
  readonly own: boolean;
  readonly cursor: number;
  readonly timestamp: number;
  readonly data: Uint8Array;
  declare readonly sealed?: Uint8Array;

  constructor(blob: CoreBlob) {
    this.id = blob.id;
    this.position = blob.position;
    this.sender = blob.sender;
    this.own = blob.own;
    this.cursor = blob.cursor;
    this.timestamp = blob.timestamp;
    this.data = blob.data;
    if (blob.sealed !== undefined) this.sealed = blob.sealed;
  }

  text(): string {
    return decoder.decode(this.data);
  }

  json(): unknown {
    return JSON.parse(this.text());
  }
}

/** The public form of a blob. */
export const toReceivedBlob = (blob: CoreBlob): ReceivedBlob => new Blob(blob);

/** Where a {@link BlobIterator} reads. */
export interface Log {
  /** Newest position of the log, as of the last event. */
  readonly position: number;
  /** One page after `after`. */
  page(after: number): Promise<CorePage>;
  /** Calls back when `position` changed; returns a function that ends that. */
  watch(changed: () => void): () => void;
  /** After a page could not be read so many times in a row: how long to wait, in milliseconds, before the next time. Undefined ends the iteration. */
  retryAfter(error: unknown, failures: number): number | undefined;
}

/**
 * The log from a position on: replay, then live, each blob exactly once.
 *
 * Reads one page at a time and the next only when it is used up, so a slow consumer holds one page in memory.
 * `return()` and `end()` take effect at once, even while `next()` waits for a blob.
 */
export class BlobIterator implements AsyncIterableIterator<ReceivedBlob> {
  readonly #log: Log;
  #after: number;
  #consumed: number;
  /** The page being handed out, newest first. */
  #page: CoreBlob[] = [];
  /** While a page is read: what was deleted since that began. */
  #deleted: Set<string> | undefined;
  /** How often in a row a page could not be read. */
  #failures = 0;
  /** Ends what `next()` waits for. */
  #wake: () => void = () => undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #ended: { error: unknown } | "done" | undefined;
  readonly #onEnd: () => void;

  /** `onEnd` is called once, whatever ended it. */
  constructor(log: Log, after: number, onEnd: () => void) {
    this.#log = log;
    this.#after = after;
    this.#consumed = after;
    this.#onEnd = onEnd;
  }

  /** Nothing more comes. */
  get ended(): boolean {
    return this.#ended !== undefined;
  }

  /** Everything up to this position was handed out, and whoever took it has come back for more. */
  get consumed(): number {
    return this.#consumed;
  }

  /** The next blob. Several calls at once are answered in order. */
  next(): Promise<IteratorResult<ReceivedBlob, undefined>> {
    // Answered in the moment in which a blob leaves the page: whoever waits has it before a deletion that comes later is told.
    return new Promise((resolve, reject) => {
      this.#turn = this.#turn.then(() => this.#advance(resolve)).catch(reject);
    });
  }

  /** A blob is deleted, and not handed out any more. */
  remove(id: string): void {
    this.#page = this.#page.filter((blob) => blob.id !== id);
    this.#deleted?.add(id);
  }

  /** Ends the iteration; `for await` calls it on `break`. */
  return(): Promise<IteratorResult<ReceivedBlob, undefined>> {
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the iteration from outside: quietly, or with an error for a waiting or later `next()`. */
  end(failure?: { error: unknown }): void {
    if (this.#ended !== undefined) return;
    this.#ended = failure ?? "done";
    this.#page = [];
    this.#wake();
    this.#onEnd();
  }

  async #advance(answer: (result: IteratorResult<ReceivedBlob, undefined>) => void): Promise<void> {
    for (;;) {
      if (this.#ended !== undefined) {
        answer(this.#finish(this.#ended));
        return;
      }
      const blob = this.#page.pop();
      if (blob !== undefined) {
        answer({ done: false, value: toReceivedBlob(blob) });
        return;
      }
      await this.#refill();
    }
  }

  /** Reads the next page; if there is none, waits until the log has grown. */
  async #refill(): Promise<void> {
    // Growth during the read is noticed by comparing with the position from before it.
    const before = this.#log.position;
    this.#consumed = this.#after;
    const deleted = (this.#deleted = new Set<string>());
    let page: CorePage | undefined;
    try {
      page = await this.#unlessEnded(this.#log.page(this.#after));
    } catch (error) {
      const wait = this.#log.retryAfter(error, (this.#failures += 1));
      if (wait === undefined) this.end({ error });
      else await this.#pause(wait);
    }
    this.#deleted = undefined;
    if (page === undefined) return;
    this.#failures = 0;
    this.#after = page.next;
    this.#page = page.blobs.filter((blob) => !deleted.has(blob.id)).reverse();
    if (this.#page.length === 0 && !page.hasMore) await this.#growth(before);
  }

  async #growth(before: number): Promise<void> {
    let unwatch: () => void = () => undefined;
    await new Promise<void>((resolve) => {
      if (this.#ended !== undefined || this.#log.position !== before) {
        resolve();
        return;
      }
      this.#wake = resolve;
      unwatch = this.#log.watch(() => {
        if (this.#log.position !== before) resolve();
      });
    });
    unwatch();
  }

  async #pause(ms: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    await this.#unlessEnded(new Promise((resolve) => (timer = setTimeout(resolve, ms))));
    clearTimeout(timer);
  }

  /** `work`, or undefined as soon as the iteration ends. */
  #unlessEnded<T>(work: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      this.#wake = () => resolve(undefined);
      work.then(resolve, reject);
    });
  }

  #finish(ended: { error: unknown } | "done"): IteratorResult<ReceivedBlob, undefined> {
    if (ended !== "done") {
      // Thrown once; then the iterator is simply over.
      this.#ended = "done";
      throw ended.error;
    }
    return { done: true, value: undefined };
  }
}
