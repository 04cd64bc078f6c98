/** Threads, restarts, and a quiet console. */
import { expect, test } from "../support/fixtures.js";
import { pairBare } from "../support/bare.js";
import { PAGE_DIST } from "../support/paths.js";

test("it works without a worker", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b] = await pairBare(relay.url, await device(), await device(), { worker: false });
  expect(a.page.workers()).toEqual([]);
  await a.push("from a");
  await b.hasTexts(["from a"]);
  await b.push("from b");
  await a.hasTexts(["from a", "from b"]);
});

test("a restart of the relay is noticed, and survived", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [a, b] = await pairBare(relay.url, await device(), await device());
  expect(a.page.workers()).toHaveLength(1);
  await relay.stop();
  await a.isState("offline");
  await b.isState("offline");
  await a.push("meanwhile");
  expect(await a.page.evaluate(() => window.zerok.harness.group.pending)).toBe(1);
  await relay.start();
  await b.hasTexts(["meanwhile"]);
  await a.isState("synced");
  await b.isState("synced");
  const states = await b.told("group", "status");
  expect(states.slice(states.lastIndexOf("offline")).at(-1)).toBe("synced");
});

test("the console stays quiet when nothing is wrong", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const [first, second] = [await device(), await device()];
  const [a, b] = await pairBare(relay.url, first, second);
  await a.push("one");
  await b.hasTexts(["one"]);
  await a.close();
  await a.open({ relays: [relay.url] });
  await a.push("two");
  await b.hasTexts(["one", "two"]);
  await a.close();
  await b.close();
  expect([...first.complaints, ...second.complaints]).toEqual([]);
});
