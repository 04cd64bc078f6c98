/** What `push` resolved for is never lost, whatever happens to the page. */
import { expect, test, type Device } from "../support/fixtures.js";
import { Bare, pairBare } from "../support/bare.js";
import { sql } from "../support/database.js";
import { PAGE_DIST } from "../support/paths.js";

test("a page that is closed right after push resolved sends it when it is opened again", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const phone = await device({ durable: true });
  const [a, b] = await pairBare(relay.url, phone, await device());
  const texts: string[] = [];
  let page = a;
  for (let round = 0; round < 4; round++) {
    // Without a network it can't have been sent before the page was gone.
    await phone.offline(true);
    texts.push(`offline ${round}`);
    await page.push(`offline ${round}`);
    await page.page.close();
    expect(await b.texts()).not.toContain(`offline ${round}`);
    if (round % 2 === 1) {
      await phone.switchOff();
      await phone.switchOn();
    }
    await phone.offline(false);
    page = await Bare.open(phone, relay.url);
    texts.push(`online ${round}`);
    await page.push(`online ${round}`);
    await page.page.close();
    page = await Bare.open(phone, relay.url);
    await b.hasTexts(texts);
  }
  // One sender's blobs stay in order.
  expect(await b.texts()).toEqual(texts);
  expect(await page.texts()).toEqual(texts);
});

test("a storm of reloads while pushing loses nothing and doubles nothing", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b] = await pairBare(relay.url, await device({ durable: true }), await device());
  const resolved: string[] = [];
  await a.page.exposeFunction("resolved", (text: string) => resolved.push(text));
  for (let round = 0; round < 10; round++) {
    const before = resolved.length;
    // Ends with the page.
    await a.page.evaluate((prefix) => {
      const push = async (): Promise<void> => {
        for (let n = 0; ; n++) {
          await window.zerok.harness.group.push(`${prefix}-${n}`);
          (window as unknown as { resolved(text: string): void }).resolved(`${prefix}-${n}`);
        }
      };
      void push();
    }, String(round));
    await expect.poll(() => resolved.length, { intervals: [5] }).toBeGreaterThan(before + 3);
    await a.page.reload();
    await a.page.waitForFunction(() => "zerok" in window);
    await a.open({ relays: [relay.url] });
  }
  await a.flush();
  const own = await a.texts();
  expect(new Set(own).size).toBe(own.length);
  expect(own.filter((text) => resolved.includes(text)).sort()).toEqual([...resolved].sort());
  await expect.poll(async () => (await b.texts()).length).toBe(own.length);
  expect(await b.texts()).toEqual(own);
  // And what each device says of itself.
  await expect.poll(() => sql(relay.database, "SELECT count(*) FROM blobs")).toEqual([[own.length + 2]]);
});

/** A device with a small quota, and how to give it the usual one. */
async function small(device: Device, url: string, mebibytes: number): Promise<[Bare, restore: () => Promise<unknown>]> {
  const bare = await Bare.visit(device, url);
  const cdp = await device.context.newCDPSession(bare.page);
  // Before the database is opened: Chromium remembers for half a minute how much room there was.
  await cdp.send("Storage.overrideQuotaForOrigin", { origin: url, quotaSize: mebibytes * 1024 * 1024 });
  await bare.open({ relays: [url] });
  return [bare, () => cdp.send("Storage.overrideQuotaForOrigin", { origin: url })];
}

/** The first byte of every blob. */
const numbers = (bare: Bare): Promise<(number | undefined)[]> =>
  bare.page.evaluate(async () => (await window.zerok.harness.log()).map(({ data }) => data[0]));

test("with a full quota push rejects with STORAGE_FULL, and what had resolved is kept", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, restore] = await small(await device({ durable: true }), relay.url, 6);
  await a.create();
  const b = await Bare.open(await device(), relay.url);
  await b.join(await a.invite());
  const { resolved, refused } = await a.page.evaluate(async () => {
    const { harness } = window.zerok;
    const resolved: number[] = [];
    for (let n = 0; n < 100; n++) {
      const data = new Uint8Array(256 * 1024).fill(n);
      const refused = await harness.refusal(() => harness.group.push(data));
      if (refused !== undefined) return { resolved, refused };
      resolved.push(n);
    }
    return { resolved, refused: undefined };
  });
  expect(refused).toMatchObject({ code: "STORAGE_FULL", retryable: true });
  expect(resolved.length).toBeGreaterThan(2);

  await restore();
  await a.page.evaluate(() => window.zerok.harness.group.push(new Uint8Array(256 * 1024).fill(255)));
  const all = [...resolved, 255];
  expect(await numbers(a)).toEqual(all);
  await expect.poll(() => numbers(b)).toEqual(all);
});

test("a receiver whose quota is full says so, and gets the rest when there is room again", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const a = await Bare.open(await device(), relay.url);
  await a.create();
  const [b, restore] = await small(await device({ durable: true }), relay.url, 4);
  await b.join(await a.invite());
  await a.page.evaluate(async () => {
    for (let n = 0; n < 24; n++) await window.zerok.harness.group.push(new Uint8Array(512 * 1024).fill(n));
    await window.zerok.harness.group.flush();
  });
  await expect.poll(() => b.told("client", "error")).toContainEqual(expect.objectContaining({ code: "STORAGE_FULL" }));
  await restore();
  await expect.poll(() => numbers(b), { timeout: 90_000 }).toEqual(Array.from({ length: 24 }, (_, n) => n));
});
