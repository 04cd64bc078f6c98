/** Two browsers share a list through the relay that serves the app. */
import { expect, test } from "../support/fixtures.js";
import { Demo, pair } from "../support/demo.js";
import { DEMO_DIST } from "../support/paths.js";

test("what is typed on one device is seen on the other, both ways", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const [first, second] = [await device(), await device()];
  const a = await Demo.open(first, relay.url);
  await a.startList();
  await a.add("milk");
  const link = await a.invite();
  expect(link).toMatch(new RegExp(`^${relay.url}/#0k=`));
  const qr = a.page.getByTestId("invite-qr").locator("svg");
  await expect(qr).toBeVisible();
  expect((await qr.innerHTML()).length).toBeGreaterThan(500);

  const b = await Demo.open(second, link);
  await b.hasItems(["milk"]);
  // The key must not stay in the address bar.
  expect(new URL(b.page.url()).hash).toBe("");
  await b.add("bread");
  await a.hasItems(["milk", "bread"]);
  // It is not needed any more.
  await expect(a.page.locator("dialog")).toHaveCount(0);
  await a.add("salt");
  await b.hasItems(["milk", "bread", "salt"]);
  await a.page.getByTestId("item-toggle").first().check();
  await expect(b.page.getByTestId("item-toggle").first()).toBeChecked();
  await a.isState("synced");
  await b.isState("synced");
  expect(first.complaints.concat(second.complaints)).toEqual([]);
});

test("a paired list survives a reload of both pages", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const [a, b] = await pair(relay.url, await device(), await device());
  await a.add("one");
  await b.hasItems(["one"]);
  await Promise.all([a.page.reload(), b.page.reload()]);
  await b.add("two");
  await a.hasItems(["one", "two"]);
  await b.hasItems(["one", "two"]);
});

test("both devices show the same code, and nobody joins before one has said yes", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const a = await Demo.open(await device(), relay.url);
  await a.startList();
  await a.add("milk");
  const link = await a.invite({ letIn: false });
  const b = await Demo.open(await device(), relay.url);
  await b.join(link);
  const code = await b.comparisonCode();
  expect(code).toMatch(/^\d{3} \d{3}$/);
  expect(await a.comparisonCode()).toBe(code);
  await expect(a.page.getByTestId("invite-request")).toHaveText(/wants to join/);
  await expect(b.page.getByTestId("add-input")).toHaveCount(0);
  await a.page.getByTestId("invite-accept").click();
  await b.hasItems(["milk"]);
  await expect(a.toasts).toContainText(code);
});

test("a device that is turned away is told, and so is one that nobody waits for any more", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const a = await Demo.open(await device(), relay.url);
  await a.startList();
  const b = await Demo.open(await device(), relay.url);
  await b.join(await a.invite({ letIn: false }));
  await a.page.getByTestId("invite-reject").click();
  await expect(b.joinError).toHaveText(/did not let this one in/);
  await expect(b.page.getByTestId("new-list")).toBeVisible();

  await a.page.getByTestId("invite-new").click();
  const { page } = a;
  await b.join(await page.getByTestId("invite-link").inputValue());
  await expect(page.getByTestId("invite-request")).toBeVisible();
  await b.page.getByTestId("join-give-up").click();
  await expect(b.joinError).toHaveText(/you stopped joining/i);
  await page.getByTestId("invite-accept").click();
  await expect(page.getByTestId("invite-dialog")).toContainText(/withdrawn|given up/i);
});
