/** A relay that dies, or loses everything, costs no item. */
import { expect, test } from "../support/fixtures.js";
import { Demo, pair } from "../support/demo.js";
import { hexColumn, sql } from "../support/database.js";
import { DEMO_DIST } from "../support/paths.js";

test("a relay that is killed in the middle of many adds loses nothing and doubles nothing", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const [a, b] = await pair(relay.url, await device(), await device());
  const texts = Array.from({ length: 120 }, (_, i) => `item ${i}`);
  const adding = (async () => {
    for (const text of texts) await a.add(text);
  })();
  await expect.poll(async () => (await b.items()).length).toBeGreaterThan(10);
  await relay.kill();
  await relay.start();
  await expect.poll(async () => (await b.items()).length).toBeGreaterThan(60);
  await relay.kill();
  await adding;
  await b.add("meanwhile, on the other side");
  await relay.start();

  const all = [...texts, "meanwhile, on the other side"];
  await a.hasItems(all);
  await b.hasItems(all);
  await a.isState("synced");
  await b.isState("synced");
  // What the relay holds: one blob for each add, and what each device says of itself, numbered without holes.
  expect(sql(relay.database, "SELECT count(*), count(DISTINCT blob_id), max(cursor) FROM blobs")).toEqual([[123, 123, 123]]);
});

test("a relay that lost its database gets everything back from the devices", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const [first, second] = [await device(), await device()];
  const [a, b] = await pair(relay.url, first, second);
  for (const text of ["a1", "a2", "a3"]) await a.add(text);
  for (const text of ["b1", "b2"]) await b.add(text);
  const all = ["a1", "a2", "a3", "b1", "b2"];
  await a.hasItems(all);
  await b.hasItems(all);
  await a.isState("synced");
  await b.isState("synced");
  const blobs = hexColumn(relay.database, "SELECT blob_id FROM blobs").sort();
  // With what each device says of itself.
  expect(blobs).toHaveLength(7);
  for (const demo of [a, b]) await demo.page.close();
  await relay.stop();
  await relay.deleteDatabase();
  await relay.start();
  expect(hexColumn(relay.database, "SELECT blob_id FROM blobs")).toEqual([]);

  const [a2, b2] = [await Demo.open(first, relay.url), await Demo.open(second, relay.url)];
  await expect.poll(() => hexColumn(relay.database, "SELECT blob_id FROM blobs").sort()).toEqual(blobs);
  await a2.isState("synced");
  await b2.isState("synced");
  await a2.hasItems(all);
  const c = await Demo.open(await device(), await a2.invite());
  await c.hasItems(all);
  await c.add("c1");
  await b2.hasItems([...all, "c1"]);
});
