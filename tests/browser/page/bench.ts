/** The parts of the benchmarks that run in a page. Times are milliseconds since 1970, as fine as the browser gives them. */
import type { Group } from "@0k-sync/client";

/** A bare iroh echo, from the core with the exports for benchmarks. */
interface EchoCore {
  default(source: { module_or_path: ArrayBuffer }): Promise<unknown>;
  EchoServer: { start(relay: string): Promise<{ readonly id: string }> };
  EchoClient: { connect(relay: string, id: string): Promise<{ roundTrip(): Promise<void> }> };
}

/** How long each part of a catch-up took, in milliseconds. */
export interface CatchUp {
  /** From the call of `join()` to the last blob out of `blobs()`. */
  total: number;
  /** Until `join()` had resolved. */
  joined: number;
  /** Until `blobs()` gave the first. */
  first: number;
  /** Until `ready()` resolved. */
  ready: number;
}

/** How long the bare transfer of the same bytes took, in milliseconds. */
export interface Bulk {
  total: number;
  fetched: number;
}

const RECORD = 1024;

const now = (): number => performance.timeOrigin + performance.now();

/** A blob of 1 KiB that says which it is. */
function record(number: number): Uint8Array {
  const bytes = crypto.getRandomValues(new Uint8Array(RECORD));
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

const numberOf = (data: Uint8Array): number => new DataView(data.buffer, data.byteOffset).getUint32(0);

export class Bench {
  /** When each blob of the other device was delivered. */
  readonly #delivered: number[] = [];
  #arrived: () => void = () => undefined;
  #echo: { roundTrip(): Promise<void> } | undefined;
  #server: { readonly id: string } | undefined;

  /** Notes when blobs of other devices come out of `blobs()`. */
  watch(group: Group): void {
    const read = async (): Promise<void> => {
      for await (const { data } of group.blobs({ includeOwn: false })) {
        this.#delivered[numberOf(data)] = now();
        this.#arrived();
      }
    };
    void read();
  }

  /** When a blob was delivered; waits for it. */
  async deliveredAt(number: number): Promise<number> {
    for (;;) {
      const at = this.#delivered[number];
      if (at !== undefined) return at;
      await new Promise<void>((resolve) => {
        this.#arrived = resolve;
      });
    }
  }

  /** Pushes one blob of 1 KiB; gives when that began and when it was durable here. */
  async push(group: Group, number: number): Promise<{ at: number; resolved: number }> {
    const data = record(number);
    const at = now();
    await group.push(data);
    return { at, resolved: now() };
  }

  /** How long pushes take until the relay has them, one after the other. */
  async pushToRelay(group: Group, count: number): Promise<number[]> {
    const times: number[] = [];
    for (let n = 0; n < count; n++) {
      const start = performance.now();
      await group.push(new Uint8Array(RECORD), { until: "relay" });
      times.push(performance.now() - start);
    }
    return times;
  }

  /** How long it takes to write one record of 1 KiB durably, with nothing of ours. */
  async strictWrites(count: number): Promise<number[]> {
    const database = await openBulk();
    const times: number[] = [];
    for (let n = 0; n < count; n++) {
      const start = performance.now();
      await write(database, (store) => store.put(record(n), n));
      times.push(performance.now() - start);
    }
    database.close();
    return times;
  }

  /** Fills a log with blobs of 1 KiB, and waits until the relay has them. */
  async fill(group: Group, count: number): Promise<void> {
    for (let start = 0; start < count; start += 500) {
      const batch = Array.from({ length: Math.min(500, count - start) }, (_, i) => group.push(record(start + i)));
      await Promise.all(batch);
    }
    await group.flush();
  }

  /** Starts the echo's server; gives its id. */
  async serveEcho(relay: string): Promise<string> {
    this.#server = await (await loadEcho()).EchoServer.start(relay);
    return this.#server.id;
  }

  async connectEcho(relay: string, id: string): Promise<void> {
    this.#echo = await (await loadEcho()).EchoClient.connect(relay, id);
  }

  /** Round trips of 1 KiB, one after the other. */
  async echo(count: number): Promise<number[]> {
    const times: number[] = [];
    for (let n = 0; n < count; n++) {
      const start = performance.now();
      await this.#echo?.roundTrip();
      times.push(performance.now() - start);
    }
    return times;
  }

  /** Joins and reads `count` blobs. */
  async catchUp(join: () => Promise<Group>, count: number): Promise<CatchUp> {
    const start = performance.now();
    const since = (): number => performance.now() - start;
    const group = await join();
    const joined = since();
    let ready = 0;
    const waiting = group.ready().then(() => {
      ready = since();
    });
    let first = 0;
    let seen = 0;
    for await (const { data } of group.blobs()) {
      if (seen === 0) first = since();
      if (numberOf(data) !== seen) throw new Error(`blob ${numberOf(data)} where ${seen} should be`);
      seen++;
      if (seen === count) break;
    }
    const total = since();
    await waiting;
    return { total, joined, first, ready };
  }

  /** The same bytes by one fetch, and the same records into IndexedDB in one transaction. */
  async bulk(url: string, count: number): Promise<Bulk> {
    const database = await openBulk();
    const start = performance.now();
    const bytes = new Uint8Array(await (await fetch(url, { cache: "no-store" })).arrayBuffer());
    const fetched = performance.now() - start;
    if (bytes.length !== count * RECORD) throw new Error(`${bytes.length} bytes`);
    await write(database, (store) => {
      for (let n = 0; n < count; n++) store.put(bytes.slice(n * RECORD, (n + 1) * RECORD), n);
    });
    const total = performance.now() - start;
    database.close();
    return { total, fetched };
  }
}

function openBulk(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("bulk");
    request.onupgradeneeded = () => request.result.createObjectStore("records");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(new Error("no database"));
  });
}

/** One durable transaction. */
function write(database: IDBDatabase, puts: (store: IDBObjectStore) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction("records", "readwrite", { durability: "strict" });
    puts(transaction.objectStore("records"));
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(new Error("aborted"));
  });
}

async function loadEcho(): Promise<EchoCore> {
  const path = "/testing/core.js";
  const core = (await import(/* @vite-ignore */ path)) as EchoCore;
  await core.default({ module_or_path: await (await fetch("/testing/core_bg.wasm")).arrayBuffer() });
  return core;
}
