/** Deleting blobs, through a real relay, in IndexedDB. */
import { expect, test } from "../support/fixtures.js";
import { pairBare, type Bare } from "../support/bare.js";
import { PAGE_DIST } from "../support/paths.js";

const log = (of: Bare): Promise<{ id: string; position: number; text: string }[]> =>
  of.page.evaluate(async () => {
    const { blobs } = await window.zerok.harness.group.pull({ limit: 500 });
    return blobs.map((blob) => ({ id: blob.id, position: blob.position, text: blob.text() }));
  });

const remove = (by: Bare, id: string, force = false): Promise<string | undefined> =>
  by.page.evaluate(
    async ([given, forced]) => (await window.zerok.harness.refusal(() => window.zerok.harness.group.delete(given, { force: forced })))?.code,
    [id, force] as const,
  );

test("a deleted blob is gone on both devices, offline first and after a restart, and the others keep their positions", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [first, second] = [await device(), await device()];
  const [a, b] = await pairBare(relay.url, first, second);
  await a.push("one", "two", "three", "four");
  await b.hasTexts(["one", "two", "three", "four"]);
  const [one, two, three] = await log(b);
  if (one === undefined || two === undefined || three === undefined) throw new Error("the log is empty");

  // Without a network it is gone from this device at once, and certain for the other one.
  await b.page.context().setOffline(true);
  expect(await remove(b, two.id)).toBeUndefined();
  expect(await b.texts()).toEqual(["one", "three", "four"]);
  expect(await a.texts()).toEqual(["one", "two", "three", "four"]);
  await b.page.context().setOffline(false);
  await a.hasTexts(["one", "three", "four"]);
  const by = await b.deviceId();
  for (const each of [a, b]) {
    await expect.poll(() => each.told("group", "deleted")).toEqual([{ id: two.id, by, position: 2, forced: false }]);
    expect((await log(each)).map(({ position }) => position)).toEqual([1, 3, 4]);
  }

  expect(await remove(b, one.id, true)).toBe("NOT_BLOB_OWNER");
  expect(await remove(a, "00".repeat(16))).toBe("NOT_FOUND");
  expect(await remove(a, "x")).toBe("INVALID_ARGUMENT");
  expect(await remove(a, two.id)).toBeUndefined();
  expect(await remove(a, three.id, true)).toBeUndefined();
  await b.hasTexts(["one", "four"]);
  for (const each of [a, b]) {
    await each.isState("synced");
    expect(await each.told("group", "error")).toEqual([]);
  }

  // What was erased is not in the database any more.
  await b.page.reload();
  await b.page.waitForFunction(() => "zerok" in window);
  await b.open({ relays: [relay.url] });
  expect((await log(b)).map(({ position, text }) => [position, text])).toEqual([[1, "one"], [4, "four"]]);
});

test("a blob that is deleted after it was read from the database is not handed out", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b] = await pairBare(relay.url, await device(), await device());
  await a.push("one", "two", "three");
  await b.hasTexts(["one", "two", "three"]);
  // A consumer that is slow: all of the page is here when the second one goes.
  const first = await b.page.evaluate(async () => {
    const blobs = window.zerok.harness.group.blobs();
    Object.assign(window, { blobs });
    const result = await blobs.next();
    return result.done === true ? undefined : result.value.text();
  });
  expect(first).toBe("one");
  const two = (await log(a))[1];
  expect(two && (await remove(a, two.id))).toBeUndefined();
  await expect.poll(() => b.told("group", "deleted")).toHaveLength(1);
  const next = await b.page.evaluate(async () => {
    const { blobs } = window as unknown as { blobs: AsyncIterator<{ text(): string }> };
    const result = await blobs.next();
    return result.done === true ? undefined : result.value.text();
  });
  expect(next).toBe("three");
});
