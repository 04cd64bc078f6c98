/**
 * A page in Chromium as a device of the chaos suite: requests come as lines of JSON on the input, answers and what happens go out
 * the same way. The protocol is that of native devices (`tests/chaos/src/protocol.rs`).
 *
 * Arguments: the URL of the page, and the folder of the browser's profile, which outlives a killed browser.
 */
import { createInterface } from "node:readline";
import { chromium, type BrowserContext, type Page } from "@playwright/test";
import { LAUNCH } from "../support/chromium.js";
import type { Zerok } from "../page/main.js";

declare global {
  interface Window {
    zerok: Zerok;
    tell(line: Told): void;
    newestPosition?: number;
  }
}

/** A body as it travels: a text and how many dots follow it. */
interface Body {
  head: string;
  pad: number;
}

type Request = { id: number } & (
  | { op: "open"; url: string; name: string }
  | { op: "create" | "invite" | "flush" | "status" | "secrets" | "close" }
  | { op: "join"; link: string }
  | { op: "push"; bodies: Body[]; at_once: boolean }
  | { op: "log"; after: number }
  | { op: "network"; online: boolean }
);

type Told =
  | { told: "promised"; request: number; index: number; blob: string }
  | { told: "position"; position: number }
  | { told: "error"; code: string; message: string };

interface Refusal {
  code: string;
  message: string;
}

const [address = "", profile = ""] = process.argv.slice(2);

const say = (line: unknown): boolean => process.stdout.write(`${JSON.stringify(line)}\n`);

let context: BrowserContext | undefined;
let page: Page | undefined;

function opened(): Page {
  if (page === undefined) throw new Error("not open");
  return page;
}

/** Starts the browser, and in it the page, and in that the client. */
async function open(url: string, name: string): Promise<unknown> {
  context = await chromium.launchPersistentContext(profile, LAUNCH);
  await context.exposeFunction("tell", say);
  // Functions that go into the page are compiled with a helper that exists only here.
  await context.addInitScript("globalThis.__name ??= (it) => it");
  page = await context.newPage();
  await page.goto(address);
  await page.waitForFunction(() => "zerok" in window);
  return page.evaluate(
    async ({ url, name }) => {
      const { harness } = window.zerok;
      await harness.open({ relays: [url], deviceName: name });
      harness.sync.on("error", ({ code, message }) => window.tell({ told: "error", code, message }));
      return { device: harness.sync.deviceId, groups: harness.sync.groups().map(({ id }) => id) };
    },
    { url, name },
  );
}

/** Tells how long the log is, again and again as it grows. */
const watch = (): Promise<void> =>
  opened().evaluate(() => {
    const { group } = window.zerok.harness;
    let newest = 0;
    let told = 0;
    group.on("blob", ({ position }) => {
      newest = Math.max(newest, position);
      // One message for a burst of blobs.
      queueMicrotask(() => {
        if (newest > told) window.tell({ told: "position", position: (told = newest) });
      });
    });
  });

const push = (request: number, bodies: Body[], atOnce: boolean): Promise<unknown> =>
  opened().evaluate(
    async ({ request, bodies, atOnce }) => {
      const { harness, SyncError } = window.zerok;
      const refused: [number, Refusal][] = [];
      const one = async ({ head, pad }: Body, index: number): Promise<void> => {
        try {
          const { id } = await harness.group.push(head + ".".repeat(pad));
          window.tell({ told: "promised", request, index, blob: id });
        } catch (error) {
          if (!(error instanceof SyncError)) throw error;
          refused.push([index, { code: error.code, message: error.message }]);
        }
      };
      if (atOnce) await Promise.all(bodies.map(one));
      else for (const [index, body] of bodies.entries()) await one(body, index);
      return refused;
    },
    { request, bodies, atOnce },
  );

/** The log as native devices give it. */
const log = (): Promise<unknown> =>
  opened().evaluate(async () => {
    const blobs = await window.zerok.harness.log();
    return blobs.map((blob) => {
      const text = blob.text();
      const head = text.replace(/\.+$/, "");
      return { blob: blob.id, sender: blob.sender, head, pad: text.length - head.length };
    });
  });

const status = (): Promise<unknown> =>
  opened().evaluate(async () => {
    const { group } = window.zerok.harness;
    const { state, pending } = group.status;
    // The newest position is where the log ends; it only grows.
    let position = window.newestPosition ?? 0;
    for (let more = true; more; ) {
      const next = await group.pull({ after: position, limit: 500 });
      position = next.next;
      more = next.hasMore;
    }
    window.newestPosition = position;
    return { state, pending, position, vector: null };
  });

async function carryOut(request: Request): Promise<unknown> {
  switch (request.op) {
    case "open": {
      const found = (await open(request.url, request.name)) as { groups: string[] };
      if (found.groups.length > 0) await watch();
      return found;
    }
    case "create": {
      const group = await opened().evaluate(() => window.zerok.harness.create());
      await watch();
      return group;
    }
    case "join": {
      const group = await opened().evaluate((link) => window.zerok.harness.join(link), request.link);
      await watch();
      return group;
    }
    case "invite":
      return opened().evaluate(async () => (await window.zerok.harness.group.createInvite()).link);
    case "push":
      return push(request.id, request.bodies, request.at_once);
    case "flush":
      await opened().evaluate(() => window.zerok.harness.group.flush());
      return null;
    case "status":
      return status();
    case "log":
      return log();
    case "secrets":
      // Keys of a page cannot be exported; those of the group are known from native devices.
      return [];
    case "network":
      await context?.setOffline(!request.online);
      return null;
    case "close":
      await opened().evaluate(() => window.zerok.harness.sync.close());
      return null;
  }
}

async function answer(request: Request): Promise<void> {
  try {
    say({ id: request.id, ok: await carryOut(request) });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    // Errors of the package come out of the page as text that names their code.
    const code = /\b[A-Z]+(?:_[A-Z]+)+\b/.exec(message)?.[0] ?? "PAGE";
    say({ id: request.id, refused: { code, message } });
  }
}

for await (const line of createInterface({ input: process.stdin })) void answer(JSON.parse(line) as Request);
// The harness is gone, or done with us.
await context?.close();
process.exit();
