/** From `push` in one browser to `blobs()` in the other, beside a bare iroh echo through the same relay in the same browsers. */
import type { Page } from "@playwright/test";
import { median, percentile, profiled, report, short, Stage } from "./setup.js";

const ROUNDS = 12;
const PUSHES = 50;
const WARM_UP = 50;

/** Two paired devices, ready to push. */
async function pair(stage: Stage, storage: "indexeddb" | "memory"): Promise<[Page, Page]> {
  const { url } = stage.relay;
  const [a, b] = [await stage.page(), await stage.page()];
  for (const page of [a, b]) await page.evaluate((options) => window.zerok.harness.open(options), { relays: [url], storage });
  await a.evaluate(() => window.zerok.harness.create());
  const link = await a.evaluate(async () => (await window.zerok.harness.group.createInvite()).link);
  await b.evaluate((given) => window.zerok.harness.join(given), link);
  for (const page of [a, b]) await page.evaluate(() => window.zerok.bench.watch(window.zerok.harness.group));
  return [a, b];
}

/** Pushes to and fro, and notes how long each took. */
class Pushes {
  readonly there: number[] = [];
  readonly back: number[] = [];
  /** Until `push` had resolved. */
  readonly local: number[] = [];
  #next = 0;

  async round([a, b]: [Page, Page], count: number): Promise<void> {
    for (let n = 0; n < count; n++) {
      this.there.push(await this.#push(a, b));
      // Both ways in turn: should the clocks of the two browsers differ, that cancels out.
      this.back.push(await this.#push(b, a));
    }
  }

  /** Forgets what was noted while everything was cold. */
  clear(): void {
    for (const list of [this.there, this.back, this.local]) list.length = 0;
  }

  get all(): number[] {
    return [...this.there, ...this.back];
  }

  async #push(from: Page, to: Page): Promise<number> {
    const n = this.#next++;
    const { at, resolved } = await from.evaluate((given) => window.zerok.bench.push(window.zerok.harness.group, given), n);
    const delivered = await to.evaluate((given) => window.zerok.bench.deliveredAt(given), n);
    this.local.push(resolved - at);
    return delivered - at;
  }
}

const spread = (values: number[]): object => ({ p50: short(median(values)), p90: short(percentile(values, 0.9)), p99: short(percentile(values, 0.99)) });

export async function latency(): Promise<boolean> {
  const stage = await Stage.set();
  try {
    const { url } = stage.relay;
    const pages = await pair(stage, "indexeddb");
    const [a, b] = pages;
    const server = await b.evaluate((relay) => window.zerok.bench.serveEcho(relay), url);
    await a.evaluate(([relay, id]) => window.zerok.bench.connectEcho(relay, id), [url, server] as const);
    const echo = (count: number): Promise<number[]> => a.evaluate((given) => window.zerok.bench.echo(given), count);
    const pushes = new Pushes();
    await pushes.round(pages, WARM_UP);
    pushes.clear();
    await echo(WARM_UP);
    const echoes: number[] = [];
    for (let n = 0; n < ROUNDS; n++) {
      await pushes.round(pages, PUSHES);
      echoes.push(...(await echo(PUSHES)));
    }

    const measured = median(pushes.all) / median(echoes);
    return await report("browser-latency", {
      name: "push to delivery, to an iroh echo",
      goal: 2,
      measured,
      unit: "×",
      details: {
        explanation:
          "p50 of push in one browser to blobs() in the other, divided by p50 of the round trip of a bare iroh echo; 1 KiB each. " +
          "A push passes browser, relay, browser, with a durable commit at each; an echo browser, relay, browser and back, with none.",
        pushes: pushes.all.length,
        push_ms: spread(pushes.all),
        one_way_p50_ms: { there: short(median(pushes.there)), back: short(median(pushes.back)) },
        echoes: echoes.length,
        echo_round_trip_ms: spread(echoes),
        ...(measured <= 2 ? {} : { where: await where(stage, pages, pushes) }),
      },
    });
  } finally {
    await stage.close();
  }
}

/** Takes the way of a push apart. */
async function where(stage: Stage, pages: [Page, Page], pushes: Pushes): Promise<object> {
  const toRelay = await pages[0].evaluate((count) => window.zerok.bench.pushToRelay(window.zerok.harness.group, count), PUSHES);
  const strict = await pages[0].evaluate((count) => window.zerok.bench.strictWrites(count), PUSHES);
  const inMemory = await pair(stage, "memory");
  const unstored = new Pushes();
  await unstored.round(inMemory, WARM_UP);
  unstored.clear();
  await unstored.round(inMemory, 2 * PUSHES);
  await profiled(pages[1], "browser-latency", () => pushes.round(pages, PUSHES));
  return {
    push_resolved_ms: spread(pushes.local),
    push_until_relay_ms: spread(toRelay),
    push_to_delivery_without_indexeddb_ms: spread(unstored.all),
    one_bare_strict_indexeddb_write_ms: spread(strict),
  };
}
