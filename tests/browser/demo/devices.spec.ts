/** The page that shows who is in a list, and removes a device. */
import type { Locator } from "@playwright/test";
import { expect, test } from "../support/fixtures.js";
import { Demo, pair } from "../support/demo.js";
import { DEMO_DIST } from "../support/paths.js";

async function openDevices({ page }: Demo): Promise<void> {
  await page.getByTestId("settings-button").click();
  await page.getByTestId("devices-button").click();
  await expect(page.getByTestId("devices")).toBeVisible();
}

async function rename(app: Demo, name: string): Promise<void> {
  await openDevices(app);
  // Only when it is known can it be seen that it was replaced.
  await expect(app.page.getByTestId("device-rename")).not.toHaveValue("");
  await app.page.getByTestId("device-rename").fill(name);
  await app.page.getByTestId("device-rename-save").click();
  await expect(app.toasts.filter({ hasText: `called “${name}” now` })).toBeVisible();
  await app.closeDialog();
}

const deviceRow = ({ page }: Demo, name: string): Locator => page.getByTestId("device").filter({ hasText: name });

test("a device is named, and removed by another one", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const [a, b] = await pair(relay.url, await device(), await device({ durable: true }));
  const c = await Demo.open(await device(), await a.invite());
  await expect(c.page.getByTestId("add-input")).toBeVisible();
  await expect(a.page.locator("dialog")).toHaveCount(0);
  await a.add("milk");
  for (const each of [b, c]) await each.hasItems(["milk"]);
  await rename(a, "Laptop");
  await rename(c, "Tablet");
  await openDevices(a);
  await expect(a.page.getByTestId("own-device")).toContainText(/^This device · Linux · [0-9a-f]{8}$/);
  // The names change while one looks.
  await expect(deviceRow(a, "Tablet")).toBeVisible();
  await expect(a.page.getByTestId("device")).toHaveCount(2);
  await rename(b, "Old phone");
  await expect(deviceRow(a, "Old phone")).toBeVisible();
  await expect(deviceRow(a, "Tablet").getByTestId("device-presence")).toHaveText("Here now");
  // The one that is told later knows both by then.
  await openDevices(c);
  for (const name of ["Laptop", "Old phone"]) await expect(deviceRow(c, name)).toBeVisible();

  await deviceRow(a, "Old phone").getByTestId("device-remove").click();
  const question = a.page.getByTestId("remove-device");
  await expect(question).toContainText("What it already has, it keeps");
  await a.page.getByTestId("remove-no").click();
  await expect(deviceRow(a, "Old phone").getByTestId("device-remove")).toBeFocused();
  await a.page.keyboard.press("Enter");
  await a.page.getByTestId("reason-decommissioned").check();
  await a.page.getByTestId("remove-yes").click();
  await expect(deviceRow(a, "Old phone").getByTestId("device-state")).toHaveText("Removed");
  await expect(a.toasts.filter({ hasText: "Old phone was removed from the list by you." })).toBeVisible();
  await expect(c.toasts.filter({ hasText: "Old phone was removed from the list by Laptop." })).toBeVisible();
  await expect(deviceRow(c, "Old phone").getByTestId("device-state")).toHaveText("Removed");
  for (const each of [a, c]) await each.closeDialog();

  await expect(b.page.getByTestId("removed-notice")).toContainText("This device was removed from the list");
  await a.add("bread");
  await c.hasItems(["milk", "bread"]);
  await b.page.reload();
  await expect(b.page.getByTestId("removed-notice")).toBeVisible();
  await b.isState("error");
  await expect(b.badge).toHaveText("Removed");
  expect(await b.items()).toEqual(["milk"]);
  await expect(b.page.getByTestId("item-toggle")).toBeDisabled();
  await expect(b.page.getByTestId("add-input")).toBeHidden();
  await expect(b.page.getByTestId("invite-button")).toBeHidden();
  await expect(b.page.getByTestId("offline-banner")).toBeHidden();
  expect(await b.toasts.count()).toBe(0);

  // The way back: as another device.
  await b.page.getByTestId("start-afresh").click();
  await b.page.getByTestId("confirm-yes").click();
  await b.join(await a.invite());
  await b.hasItems(["milk", "bread"]);
  await b.add("salt");
  await c.hasItems(["milk", "bread", "salt"]);
  await expect(c.toasts.filter({ hasText: /joined the list/ })).toBeVisible();
});

test("a device that is removed without a network is removed when there is one", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const phone = await device();
  const [a, b] = await pair(relay.url, phone, await device());
  await a.isState("synced");
  await phone.offline(true);
  await expect(a.page.getByTestId("offline-banner")).toBeVisible();
  await openDevices(a);
  // Who is there nobody knows without a relay.
  await expect(a.page.getByTestId("device-presence")).toContainText("Last here today at");
  await a.page.getByTestId("device-remove").click();
  await expect(a.page.getByTestId("remove-offline")).toBeVisible();
  await a.page.getByTestId("remove-yes").click();
  await expect(a.page.getByTestId("device-state")).toContainText("Being removed when");
  await expect(a.page.getByTestId("device-remove")).toHaveCount(0);
  await expect(b.page.getByTestId("removed-notice")).toHaveCount(0);
  await phone.offline(false);
  await expect(a.page.getByTestId("device-state")).toHaveText("Removed");
  await expect(b.page.getByTestId("removed-notice")).toBeVisible();
});
