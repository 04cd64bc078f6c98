/** The public calls of the package, in a browser, through a real relay. */
import { expect, test } from "../support/fixtures.js";
import { Bare, pairBare } from "../support/bare.js";
import { sql } from "../support/database.js";
import { PAGE_DIST } from "../support/paths.js";

/** How many blobs of a device are in the log, with what it has said of itself. */
const sequence = (of: Bare, id: string): Promise<number> =>
  of.page.evaluate((given) => window.zerok.harness.group.versionVector()[given] ?? 0, id);

test("a device keeps its identity, groups and log, and opens them without any relay", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const phone = await device({ durable: true });
  const a = await Bare.open(phone, relay.url);
  const [id, group] = [await a.deviceId(), await a.create()];
  expect(id).toMatch(/^[0-9a-f]{64}$/);
  expect(group).toMatch(/^[0-9a-f]{64}$/);
  await a.push("one", "two");
  await a.flush();
  await a.close();
  await phone.switchOff();

  await phone.switchOn();
  const again = await Bare.visit(phone, relay.url);
  await again.open({ relays: ["http://localhost:1"] });
  expect(await again.deviceId()).toBe(id);
  expect(await again.page.evaluate(() => window.zerok.harness.sync.groups().map((each) => each.id))).toEqual([group]);
  expect(await again.texts()).toEqual(["one", "two"]);
  // And what it has said of itself.
  expect(await again.page.evaluate(() => window.zerok.harness.group.versionVector())).toEqual({ [id]: 3 });
});

test("two databases on one page are two devices", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const a = await Bare.visit(await device(), relay.url);
  const ids = await a.page.evaluate(async (url) => {
    const { open } = window.zerok;
    const clients = [await open({ relays: [url], name: "x" }), await open({ relays: [url], name: "y" })];
    const found = clients.map((client) => client.deviceId);
    for (const client of clients) await client.close();
    return found;
  }, relay.url);
  expect(new Set(ids).size).toBe(2);
});

test("push until the relay has it gives the relay's cursor, and the pushed event tells the same", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const a = await Bare.open(await device(), relay.url);
  await a.create();
  const pushed = await a.page.evaluate(async () => {
    const { group } = window.zerok.harness;
    return [await group.push("text", { until: "relay" }), await group.push(new Uint8Array([1, 2, 3]), { until: "relay", ttl: 60 })];
  });
  // The first of all is what the device says of itself.
  expect(pushed.map(({ cursor, position }) => [cursor, position])).toEqual([[2, 1], [3, 2]]);
  expect(await a.told("group", "pushed")).toEqual(pushed);
  const rows = sql(relay.database, "SELECT lower(hex(blob_id)), expires_at - timestamp < 1000 * 3600 FROM blobs WHERE cursor > 1 ORDER BY cursor");
  expect(rows).toEqual([[pushed[0]?.id, 0], [pushed[1]?.id, 1]]);
  expect(await a.page.evaluate(() => window.zerok.harness.group.pending)).toBe(0);
});

test("blobs() replays, then goes live, and can be stopped", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b] = await pairBare(relay.url, await device(), await device());
  const idB = await b.deviceId();
  // What it says of itself has a place in its log, too.
  await expect.poll(() => sequence(b, idB)).toBe(1);
  await a.push("1", "2", "3");
  await b.hasTexts(["1", "2", "3"]);
  const [first = 0, second, third] = await b.page.evaluate(async () => (await window.zerok.harness.log()).map(({ position }) => position));
  await b.page.evaluate((after) => {
    const seen: string[] = [];
    const stop = new AbortController();
    const read = async (): Promise<unknown> => {
      try {
        for await (const blob of window.zerok.harness.group.blobs({ after, signal: stop.signal })) {
          seen.push(`${blob.position} ${blob.text()} ${blob.own ? "own" : "other"}`);
        }
        return "ended";
      } catch (error) {
        return error;
      }
    };
    Object.assign(window, { seen, stop, reading: read() });
  }, first);
  const seen = (): Promise<string[]> => b.page.evaluate(() => (window as unknown as { seen: string[] }).seen);
  const replayed = [`${second} 2 other`, `${third} 3 other`];
  await expect.poll(seen).toEqual(replayed);
  await a.push("4");
  await expect.poll(seen).toHaveLength(3);
  await b.push("mine");
  const live = (third ?? 0) + 1;
  await expect.poll(seen).toEqual([...replayed, `${live} 4 other`, `${live + 1} mine own`]);
  const reason = await b.page.evaluate(async () => {
    const scope = window as unknown as { stop: AbortController; reading: Promise<unknown> };
    scope.stop.abort("enough");
    return scope.reading;
  });
  expect(reason).toBe("enough");
  await a.push("5");
  await b.hasTexts(["1", "2", "3", "4", "mine", "5"]);
  expect(await seen()).toHaveLength(4);
});

test("includeOwn: false leaves out what this device pushed", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b] = await pairBare(relay.url, await device(), await device());
  await a.push("a1");
  await b.hasTexts(["a1"]);
  await b.push("b1");
  await a.hasTexts(["a1", "b1"]);
  const others = await a.page.evaluate(async () => {
    const { group } = window.zerok.harness;
    const page = await group.pull({ includeOwn: false });
    for await (const blob of group.blobs({ includeOwn: false })) return [page.blobs.map((each) => each.text()), blob.text()];
    return undefined;
  });
  expect(others).toEqual([["b1"], "b1"]);
});

test("pull() gives pages that continue where the last one ended", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const a = await Bare.open(await device(), relay.url);
  await a.create();
  await a.push(...Array.from({ length: 25 }, (_, i) => `n${i}`));
  const pages = await a.page.evaluate(async () => {
    const found: { texts: string[]; positions: number[]; hasMore: boolean }[] = [];
    for (let after = 0, more = true; more; ) {
      const { blobs, hasMore, next } = await window.zerok.harness.group.pull({ after, limit: 10 });
      found.push({ texts: blobs.map((blob) => blob.text()), positions: blobs.map((blob) => blob.position), hasMore });
      after = next;
      more = hasMore;
    }
    return found;
  });
  expect(pages.map(({ texts, hasMore }) => [texts.length, hasMore])).toEqual([[10, true], [10, true], [5, false]]);
  expect(pages.flatMap(({ positions }) => positions)).toEqual(Array.from({ length: 25 }, (_, i) => i + 1));
  expect(pages.flatMap(({ texts }) => texts)).toEqual(Array.from({ length: 25 }, (_, i) => `n${i}`));
});

test("the events of client and group tell what happened, once", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b] = await pairBare(relay.url, await device(), await device());
  const [idA, idB] = [await a.deviceId(), await b.deviceId()];
  await expect.poll(() => a.told("group", "device-joined")).toHaveLength(1);
  const before = { [idA]: await sequence(a, idA), [idB]: await sequence(a, idB) };
  await b.push("hello", "again");
  await a.hasTexts(["hello", "again"]);
  await a.push("hi");
  await b.hasTexts(["hello", "again", "hi"]);
  await expect.poll(() => a.told("group", "blob")).toEqual(["hello", "again", "hi"]);
  expect(await a.told("group", "device-joined")).toContainEqual({ device: idB, name: "Chrome on Linux" });
  expect((await a.told("group", "device-joined")).filter((each) => (each as { device: string }).device === idB)).toHaveLength(1);
  await expect.poll(() => b.told("group", "pushed")).toHaveLength(2);
  expect(await b.told("client", "group-joined")).toEqual([await b.page.evaluate(() => window.zerok.harness.group.id)]);
  expect(await b.told("group", "status")).toContain("synced");
  for (const each of [a, b]) {
    expect(await each.told("client", "error")).toEqual([]);
    expect(await each.told("group", "error")).toEqual([]);
    expect(await each.page.evaluate(() => window.zerok.harness.group.versionVector())).toEqual({ [idA]: (before[idA] ?? 0) + 1, [idB]: (before[idB] ?? 0) + 2 });
  }
  expect(await b.told("group", "device-joined")).toContainEqual({ device: idA, name: "Chrome on Linux" });
});

test("a group that was left is gone, and its calls reject", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b] = await pairBare(relay.url, await device(), await device());
  await a.push("one");
  await b.hasTexts(["one"]);
  const id = await b.page.evaluate(() => window.zerok.harness.group.id);
  const refused = await b.page.evaluate(async () => {
    const { group } = window.zerok.harness;
    await group.leave();
    return window.zerok.harness.refusal(() => group.push("late"));
  });
  expect(refused?.code).toBe("CLOSED");
  expect(await b.told("client", "group-left")).toEqual([id]);
  await b.close();
  await b.open({ relays: [relay.url] });
  expect(await b.page.evaluate(() => window.zerok.harness.sync.groups().length)).toBe(0);
  // It may come back.
  await b.join(await a.invite());
  await b.hasTexts(["one"]);
});

test("an invite that was taken back can't be used", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const a = await Bare.open(await device(), relay.url);
  await a.create();
  const link = await a.page.evaluate(async () => {
    const invite = await window.zerok.harness.group.createInvite({ appUrl: "https://app.example/list?x=1" });
    if (!invite.qr.startsWith("<svg") || invite.expiresAt < Date.now()) throw new Error("not what an invite is");
    await invite.cancel();
    return invite.link;
  });
  expect(link).toMatch(/^https:\/\/app\.example\/list\?x=1#0k=/);
  const b = await Bare.open(await device(), relay.url);
  expect((await b.refusedJoin(link))?.code).toBe("INVITE_INVALID");
});
