/** Late joiners, through a real relay that has deleted what they need, in IndexedDB. */
import { expect, test } from "../support/fixtures.js";
import { Bare } from "../support/bare.js";
import { PAGE_DIST } from "../support/paths.js";

/** Makes the page an app whose state is all texts, which it gives when it is asked. */
const provide = (of: Bare): Promise<void> =>
  of.page.evaluate(() => {
    const { group } = window.zerok.harness;
    const texts: string[] = [];
    group.on("blob", (blob) => void texts.push(blob.text()));
    group.onSnapshot(() => JSON.stringify(texts));
  });

/** What `group.snapshots()` gives: its texts and position. */
const restored = (of: Bare): Promise<[string[], number] | null> =>
  of.page.evaluate(async () => {
    const [snapshot] = await window.zerok.harness.group.snapshots();
    if (snapshot === undefined) return null;
    return [JSON.parse(new TextDecoder().decode(snapshot.data)) as string[], snapshot.position];
  });

async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1] ?? 0);
}

test("a device that joins late gets the state of the app and what follows it", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST, args: ["--cleanup-interval", "100ms"] });
  const a = await Bare.open(await device(), relay.url, { deviceName: "Laptop" });
  await a.create();
  await provide(a);
  const early = Array.from({ length: 12 }, (_, n) => `early ${n}`);
  await a.push(...early);
  const b = await Bare.open(await device(), relay.url, { deviceName: "Phone" });
  await b.join(await a.invite());
  await b.hasTexts(early);
  // Somebody has joined, so one is made; what it contains goes once both have it.
  await expect.poll(() => metric(relay.url, "zerok_relay_snapshots_total"), { timeout: 40_000 }).toBe(1);
  await expect.poll(() => metric(relay.url, "zerok_relay_acknowledged_blobs_deleted_total")).toBeGreaterThan(early.length);
  await relay.kill();
  await relay.start();
  await a.push("late");
  await a.isState("synced");

  const c = await Bare.open(await device(), relay.url, { deviceName: "Tablet" });
  await c.join(await a.invite());
  await c.ready();
  await c.hasTexts(["late"]);
  expect(await restored(c)).toEqual([early, 0]);
  expect(await c.told("group", "snapshot")).toHaveLength(1);
  expect(await c.told("group", "gap")).toEqual([]);
  expect(await c.told("group", "error")).toEqual([]);
  expect(await restored(b)).toBeNull();
  const vector = (of: Bare): Promise<Record<string, number>> => of.page.evaluate(() => window.zerok.harness.group.versionVector());
  await expect.poll(async () => JSON.stringify(await vector(c))).toBe(JSON.stringify(await vector(a)));

  // It is kept on the device.
  await c.page.reload();
  await c.page.waitForFunction(() => "zerok" in window);
  await c.open({ relays: [relay.url] });
  expect(await restored(c)).toEqual([early, 0]);
  await a.push("later");
  await c.hasTexts(["late", "later"]);
});

test("an app that nothing shows to have the log is not asked for its state", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [first, second] = [await device(), await device()];
  const a = await Bare.open(first, relay.url);
  await a.create();
  await a.push("one", "two");
  await a.isState("synced");
  await a.page.reload();
  await a.page.waitForFunction(() => "zerok" in window);
  await a.page.clock.install();
  await a.open({ relays: [relay.url] });
  // It has not read what is in the log, and hears only what comes from now on.
  await a.page.evaluate(() => void window.zerok.harness.group.onSnapshot(() => "empty"));
  const b = await Bare.open(second, relay.url);
  await b.join(await a.invite());
  await b.hasTexts(["one", "two"]);
  const codes = async (): Promise<string[]> => (await a.told("group", "error")).map((error) => (error as { code: string }).code);
  await expect
    .poll(async () => {
      await a.page.clock.fastForward("02:00");
      return codes();
    }, { timeout: 40_000 })
    .toEqual(["SNAPSHOT_NOT_GIVEN"]);
  expect(await metric(relay.url, "zerok_relay_snapshots_total")).toBe(0);
});

test("an app that reads in its own way is asked for its state when it says that it has everything", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const a = await Bare.open(await device(), relay.url);
  await a.create();
  await a.push("one", "two");
  await a.page.evaluate(() => {
    const { group } = window.zerok.harness;
    const app = { texts: [] as string[], position: 0, asked: 0 };
    Object.assign(window, {
      app,
      read: async () => {
        const { blobs, next } = await group.pull();
        app.texts = blobs.map((blob) => blob.text());
        app.position = next;
      },
    });
    group.onSnapshot(() => JSON.stringify(app.texts), {
      reached: () => {
        app.asked += 1;
        return app.position;
      },
    });
  });
  const b = await Bare.open(await device(), relay.url);
  await b.join(await a.invite());
  type App = Window & { app: { asked: number }; read: () => Promise<void> };
  await a.page.waitForFunction(() => (window as unknown as App).app.asked > 2, undefined, { timeout: 40_000 });
  expect(await metric(relay.url, "zerok_relay_snapshots_total")).toBe(0);
  await a.page.evaluate(() => (window as unknown as App).read());
  await expect.poll(() => metric(relay.url, "zerok_relay_snapshots_total"), { timeout: 40_000 }).toBe(1);
  expect(await a.told("group", "error")).toEqual([]);
});
