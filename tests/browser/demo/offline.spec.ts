/** Nothing typed without a network is lost. */
import { expect, test } from "../support/fixtures.js";
import { Demo, pair } from "../support/demo.js";
import { DEMO_DIST } from "../support/paths.js";

test("items typed offline survive a reload without a network, and arrive when it is back", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const [first, second] = [await device({ durable: true }), await device()];
  const [a, b] = await pair(relay.url, first, second);
  await a.add("before");
  await b.hasItems(["before"]);
  await a.worksOffline();
  await a.isState("synced");

  await first.offline(true);
  await a.add("typed offline 1");
  await a.add("typed offline 2");
  await expect(a.page.getByTestId("offline-banner")).toBeVisible();
  await a.isState(/^(offline|pending)$/);
  await a.page.reload();
  await a.hasItems(["before", "typed offline 1", "typed offline 2"]);
  await a.isState(/^(offline|pending)$/);
  await expect(a.badge).toContainText("2");
  await a.add("typed after the reload");
  // Not before: the other device is online all the time.
  expect(await b.items()).toEqual(["before"]);
  await b.add("from the other side");

  await first.offline(false);
  const all = ["before", "typed offline 1", "typed offline 2", "typed after the reload", "from the other side"];
  await b.hasItems(all);
  await a.hasItems(all);
  await a.isState("synced");
  await expect(a.page.getByTestId("offline-banner")).toBeHidden();
});

test("items that were pending when the browser was closed are sent when it is opened again", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const [first, second] = [await device({ durable: true }), await device()];
  const [a, b] = await pair(relay.url, first, second);
  await a.isState("synced");
  await first.offline(true);
  await a.add("one");
  await a.add("two");
  await expect(a.badge).toContainText("2");
  await first.switchOff();
  expect(await b.items()).toEqual([]);

  await first.switchOn();
  const again = await Demo.open(first, relay.url);
  await again.hasItems(["one", "two"]);
  await b.hasItems(["one", "two"]);
  await again.isState("synced");
});

test("a list can be started without a network", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const [first, second] = [await device(), await device()];
  const a = await Demo.open(first, relay.url);
  await a.worksOffline();
  await first.offline(true);
  await a.page.reload();
  await a.startList();
  await a.add("made offline");
  await first.offline(false);
  await a.isState("synced");
  const b = await Demo.open(second, await a.invite());
  await b.hasItems(["made offline"]);
});
