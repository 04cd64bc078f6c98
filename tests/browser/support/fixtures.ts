/** What every browser test gets: a temporary folder, relays, and devices that are all gone at its end. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, test as base, type BrowserContext, type BrowserContextOptions, type Page } from "@playwright/test";
import { LAUNCH } from "./chromium.js";
import { Relay, type RelayOptions } from "./relay.js";

/** A browser profile of its own: what a person would call another device. */
export class Device {
  #context: BrowserContext | undefined;
  readonly #open: () => Promise<BrowserContext>;
  /** Warnings, errors and uncaught exceptions of all its pages. */
  readonly complaints: string[] = [];

  /** Where its browser keeps everything, if it is durable. */
  readonly profile: string | undefined;

  constructor(open: () => Promise<BrowserContext>, profile?: string) {
    this.#open = open;
    this.profile = profile;
  }

  /** Its browser, which must be running. */
  get context(): BrowserContext {
    if (this.#context === undefined) throw new Error("this device is switched off");
    return this.#context;
  }

  /** Starts its browser; a second time with the data of the first, if the device is durable. */
  async switchOn(): Promise<this> {
    const context = await this.#open();
    this.#context = context;
    context.on("console", (message) => {
      if (["warning", "error"].includes(message.type())) this.complaints.push(`${message.type()}: ${message.text()}`);
    });
    context.on("weberror", (error) => this.complaints.push(`uncaught: ${error.error().message}`));
    return this;
  }

  /** Ends its browser, without asking the pages. */
  async switchOff(): Promise<void> {
    const context = this.#context;
    this.#context = undefined;
    await context?.close();
  }

  /** Opens a page in a new tab. */
  async visit(url: string): Promise<Page> {
    const page = await this.context.newPage();
    await page.goto(url);
    return page;
  }

  /** Takes its network away, or gives it back. */
  offline(offline: boolean): Promise<void> {
    return this.context.setOffline(offline);
  }
}

/** How a device is made. */
export interface DeviceOptions extends Pick<BrowserContextOptions, "viewport" | "colorScheme" | "deviceScaleFactor"> {
  /** Keeps its data on disk, so that it survives `switchOff`. */
  durable?: boolean;
  /** More arguments for its browser, which it does not share then. */
  args?: string[];
}

interface Fixtures {
  /** A temporary folder. */
  folder: string;
  /** Starts a relay; each has a folder of its own. */
  startRelay: (options?: Omit<RelayOptions, "folder">) => Promise<Relay>;
  /** Makes a device and switches it on. */
  device: (options?: DeviceOptions) => Promise<Device>;
}

export const test = base.extend<Fixtures>({
  folder: async ({}, use) => {
    const folder = await mkdtemp(join(tmpdir(), "zerok-browser-"));
    await use(folder);
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  },

  startRelay: async ({ folder }, use, testInfo) => {
    const relays: Relay[] = [];
    await use(async (options = {}) => {
      const relay = await Relay.start({ ...options, folder: await mkdtemp(join(folder, "relay-")) });
      relays.push(relay);
      return relay;
    });
    for (const relay of relays) {
      await relay.kill();
      if (testInfo.status === testInfo.expectedStatus) continue;
      const log = await readFile(relay.log, "utf8").catch(() => "");
      await testInfo.attach("relay.log", { body: log.split("\n").slice(-200).join("\n"), contentType: "text/plain" });
    }
  },

  device: async ({ folder, browser }, use, testInfo) => {
    const devices: Device[] = [];
    await use(async ({ durable = false, args = [], ...options } = {}) => {
      const profile = durable || args.length > 0 ? await mkdtemp(join(folder, "profile-")) : undefined;
      const launch = { ...LAUNCH, args: [...LAUNCH.args, ...args] };
      const device = new Device(
        () => (profile === undefined ? browser.newContext(options) : chromium.launchPersistentContext(profile, { ...launch, ...options })),
        profile,
      );
      devices.push(device);
      return device.switchOn();
    });
    for (const [index, device] of devices.entries()) {
      await device.switchOff();
      if (testInfo.status === testInfo.expectedStatus || device.complaints.length === 0) continue;
      await testInfo.attach(`console of device ${index + 1}`, { body: device.complaints.join("\n"), contentType: "text/plain" });
    }
  },
});

export { expect } from "@playwright/test";
