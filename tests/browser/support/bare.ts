/** A device whose page uses the package and nothing else. */
import { expect, type Page } from "@playwright/test";
import type { OpenOptions } from "@0k-sync/client";
import type { Refusal, Told } from "../page/harness.js";
import type { Zerok } from "../page/main.js";
import type { Device } from "./fixtures.js";

declare global {
  interface Window {
    zerok: Zerok;
  }
}

export class Bare {
  readonly page: Page;

  constructor(page: Page) {
    this.page = page;
  }

  /** Opens the page that a relay serves; the package is not opened yet. */
  static async visit(device: Device, url: string): Promise<Bare> {
    const bare = new Bare(await device.visit(url));
    await bare.page.waitForFunction(() => "zerok" in window);
    return bare;
  }

  /** Opens the page, and in it the device, with the relay that serves the page. */
  static async open(device: Device, url: string, options: Partial<OpenOptions> = {}): Promise<Bare> {
    const bare = await Bare.visit(device, url);
    await bare.open({ relays: [url], ...options });
    return bare;
  }

  open(options: Pick<OpenOptions, "relays"> & Partial<OpenOptions>): Promise<void> {
    return this.page.evaluate((given) => window.zerok.harness.open(given), options);
  }

  close(): Promise<void> {
    return this.page.evaluate(() => window.zerok.harness.sync.close());
  }

  deviceId(): Promise<string> {
    return this.page.evaluate(() => window.zerok.harness.sync.deviceId);
  }

  create(): Promise<string> {
    return this.page.evaluate(() => window.zerok.harness.create());
  }

  invite(): Promise<string> {
    return this.page.evaluate(async () => (await window.zerok.harness.group.createInvite()).link);
  }

  join(link: string): Promise<string> {
    return this.page.evaluate((given) => window.zerok.harness.join(given), link);
  }

  ready(): Promise<void> {
    return this.page.evaluate(() => window.zerok.harness.group.ready());
  }

  /** Pushes texts one after the other. */
  async push(...texts: string[]): Promise<void> {
    await this.page.evaluate(async (given) => {
      for (const text of given) await window.zerok.harness.group.push(text);
    }, texts);
  }

  flush(): Promise<void> {
    return this.page.evaluate(() => window.zerok.harness.group.flush());
  }

  /** The local log, in its order. */
  texts(): Promise<string[]> {
    return this.page.evaluate(() => window.zerok.harness.texts());
  }

  /** Waits until the log holds exactly these texts, in whatever order. */
  async hasTexts(texts: string[]): Promise<void> {
    await expect.poll(async () => (await this.texts()).sort()).toEqual([...texts].sort());
  }

  state(): Promise<string> {
    return this.page.evaluate(() => window.zerok.harness.group.status.state);
  }

  async isState(state: string): Promise<void> {
    await expect.poll(() => this.state()).toBe(state);
  }

  /** The values of one event so far. */
  async told(from: Told["from"], event: string): Promise<unknown[]> {
    const told = await this.page.evaluate(() => window.zerok.harness.told);
    return told.filter((each) => each.from === from && each.event === event).map(({ value }) => value);
  }

  /** What `open` is refused with. */
  refusedOpen(options: unknown): Promise<Refusal | undefined> {
    return this.page.evaluate(
      (given) => window.zerok.harness.refusal(() => window.zerok.harness.open(given as Parameters<Zerok["open"]>[0])),
      options,
    );
  }

  /** Turns the lock on, and gives the recovery code. */
  lock({ passkey = true } = {}): Promise<string> {
    return this.page.evaluate((given) => window.zerok.harness.lock(given), passkey);
  }

  /** What turning the lock on is refused with. */
  refusedLock({ passkey = true } = {}): Promise<Refusal | undefined> {
    return this.page.evaluate((given) => window.zerok.harness.refusal(() => window.zerok.harness.lock(given)), passkey);
  }

  isLocked(): Promise<boolean> {
    return this.page.evaluate(() => window.zerok.harness.sync.lock.enabled);
  }

  /** A page that knows nothing of what it had open. */
  async reload(): Promise<void> {
    await this.page.reload();
    await this.page.waitForFunction(() => "zerok" in window);
  }

  /** What `join` is refused with. */
  refusedJoin(link: string): Promise<Refusal | undefined> {
    return this.page.evaluate((given) => window.zerok.harness.refusal(() => window.zerok.harness.join(given)), link);
  }
}

/** Two devices in one group, both synced. */
export async function pairBare(url: string, first: Device, second: Device, options: Partial<OpenOptions> = {}): Promise<[Bare, Bare]> {
  const a = await Bare.open(first, url, options);
  await a.create();
  const link = await a.invite();
  const b = await Bare.open(second, url, options);
  await b.join(link);
  await b.ready();
  await a.isState("synced");
  return [a, b];
}
