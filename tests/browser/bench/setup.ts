/** What the benchmarks share: a relay, browsers with disks, and results. */
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type BrowserContext, type Page } from "@playwright/test";
import { LAUNCH } from "../support/chromium.js";
import { BENCH_RESULTS, PAGE_DIST, TESTING_CORE } from "../support/paths.js";
import { Relay } from "../support/relay.js";
import type {} from "../support/bare.js";

/** A relay and the browsers that use it; all gone after `close`. */
export class Stage {
  readonly relay: Relay;
  readonly #folder: string;
  readonly #contexts: BrowserContext[] = [];

  private constructor(relay: Relay, folder: string) {
    this.relay = relay;
    this.#folder = folder;
  }

  /** `files` are served beside the page. */
  static async set(files: Record<string, Uint8Array> = {}): Promise<Stage> {
    const folder = await mkdtemp(join(tmpdir(), "zerok-bench-"));
    const web = join(folder, "web");
    await cp(PAGE_DIST, web, { recursive: true });
    await cp(TESTING_CORE, join(web, "testing"), { recursive: true });
    for (const [name, bytes] of Object.entries(files)) await writeFile(join(web, name), bytes);
    return new Stage(await Relay.start({ folder, web, log: "error" }), folder);
  }

  /** A page in a browser of its own, with a profile on the disk. */
  async page(): Promise<Page> {
    const context = await chromium.launchPersistentContext(await mkdtemp(join(this.#folder, "profile-")), LAUNCH);
    this.#contexts.push(context);
    const page = context.pages()[0] ?? (await context.newPage());
    await page.goto(this.relay.url);
    await page.waitForFunction("'zerok' in window");
    return page;
  }

  async close(): Promise<void> {
    for (const context of this.#contexts) await context.close();
    await this.relay.kill();
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** The value below which a share of the values lies. */
export function percentile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export const median = (values: number[]): number => percentile(values, 0.5);

/** With three digits after the point: more would be noise. */
export const short = (value: number): number => Math.round(value * 1000) / 1000;

/** A ratio and the most that it may be. */
export interface Result {
  name: string;
  goal: number;
  measured: number;
  unit: string;
  details: unknown;
}

/** Prints a result and leaves it for `cargo xtask bench`. */
export async function report(file: string, result: Result): Promise<boolean> {
  const met = result.measured <= result.goal;
  await mkdir(BENCH_RESULTS, { recursive: true });
  const { details, ...rest } = { ...result, measured: short(result.measured) };
  await writeFile(join(BENCH_RESULTS, `${file}.json`), `${JSON.stringify({ ...rest, met, details }, undefined, 2)}\n`);
  console.log(`${met ? "✓" : "✗"} ${rest.name}: ${rest.measured} ${rest.unit} (goal ${rest.goal})\n${JSON.stringify(details, undefined, 2)}`);
  return met;
}

/** Runs `work` and leaves a CPU profile of the page's main thread beside the results. */
export async function profiled<T>(page: Page, file: string, work: () => Promise<T>): Promise<T> {
  const session = await page.context().newCDPSession(page);
  await session.send("Profiler.enable");
  await session.send("Profiler.setSamplingInterval", { interval: 200 });
  await session.send("Profiler.start");
  const result = await work();
  const { profile } = await session.send("Profiler.stop");
  await mkdir(BENCH_RESULTS, { recursive: true });
  await writeFile(join(BENCH_RESULTS, `${file}.cpuprofile`), JSON.stringify(profile));
  const time = new Map<string, number>();
  const names = new Map(profile.nodes.map((node) => [node.id, node.callFrame.functionName || "(anonymous)"]));
  for (const [index, id] of (profile.samples ?? []).entries()) {
    const name = names.get(id) ?? "?";
    time.set(name, (time.get(name) ?? 0) + (profile.timeDeltas?.[index] ?? 0) / 1000);
  }
  console.log(`where the time went (${file}.cpuprofile), milliseconds of one thread:`);
  for (const [name, ms] of [...time].sort((a, b) => b[1] - a[1]).slice(0, 25)) console.log(`  ${ms.toFixed(1).padStart(9)}  ${name}`);
  return result;
}
