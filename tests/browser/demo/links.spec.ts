/** Links that can't be used say why. */
import { expect, test, type Device } from "../support/fixtures.js";
import { Demo } from "../support/demo.js";
import { sql } from "../support/database.js";
import { ofAnotherVersion, truncated, withRelay, withWrongKey, withWrongLookup } from "../support/invites.js";
import { DEMO_DIST } from "../support/paths.js";
import type { Relay } from "../support/relay.js";

const linkTest = test.extend<{ relay: Relay; host: Demo; guest: Device }>({
  relay: async ({ startRelay }, use) => use(await startRelay({ web: DEMO_DIST })),
  /** Has a list. */
  host: async ({ relay, device }, use) => {
    const host = await Demo.open(await device(), relay.url);
    await host.startList();
    await host.add("milk");
    await use(host);
  },
  /** Wants to join it. */
  guest: async ({ device }, use) => use(await device()),
});

linkTest("a link that is wrong or damaged is refused, pasted or opened", async ({ relay, host, guest }) => {
  const link = await host.invite();
  const page = await Demo.open(guest, relay.url);
  const cases: [link: string, message: RegExp][] = [
    ["hello", /not an invite link/i],
    [`${relay.url}/`, /not an invite link/i],
    [`${relay.url}/#0k=garbage`, /not an invite link/i],
    [truncated(link), /not an invite link or code, or a part of it is missing/i],
    [withWrongKey(link), /does not match what the relay holds/i],
    [withWrongLookup(link), /there is no such invite/i],
    [ofAnotherVersion(link), /another version of the app/i],
    [withRelay(link, "http://localhost:1"), /cannot be reached/i],
  ];
  for (const [bad, message] of cases) {
    await page.join(bad);
    await expect(page.joinError, bad).toHaveText(message);
  }
  const opened = await Demo.open(guest, "about:blank");
  await page.page.close();
  await opened.page.goto(withWrongKey(link));
  await expect(opened.toasts).toHaveText(/does not match what the relay holds/i);
  await expect(opened.page.getByTestId("new-list")).toBeVisible();

  // None of that used the good one up.
  await opened.join(link);
  await opened.hasItems(["milk"]);
});

linkTest("a link works once", async ({ device, host, guest }) => {
  const link = await host.invite();
  const first = await Demo.open(guest, link);
  await first.hasItems(["milk"]);
  const second = await Demo.open(await device(), link);
  await expect(second.toasts).toHaveText(/used/i);
  await expect(second.page.getByTestId("new-list")).toBeVisible();
});

linkTest("a code typed carelessly joins", async ({ relay, host, guest }) => {
  await host.invite();
  const code = await host.page.getByTestId("invite-code").innerText();
  expect(code).toMatch(/^([0-9A-Z]{4}-){3}[0-9A-Z]{4}$/);
  const page = await Demo.open(guest, relay.url);
  await page.join("0000 0000 0000 0000");
  await expect(page.joinError).toHaveText(/there is no such invite/i);
  await page.join(code.toLowerCase().replaceAll("-", " ").replaceAll("0", "O"));
  await page.hasItems(["milk"]);
});

linkTest("a cancelled link does not work", async ({ host, guest }) => {
  const link = await host.invite();
  await host.page.getByTestId("invite-cancel").click();
  await expect(host.page.getByTestId("invite-ended")).toBeVisible();
  const late = await Demo.open(guest, link);
  await expect(late.toasts).toHaveText(/withdrawn|cancelled/i);
});

linkTest("an expired link does not work, and a new one does", async ({ relay, host, guest }) => {
  const link = await host.invite();
  sql(relay.database, "UPDATE invites SET expires_at = 1");
  const late = await Demo.open(guest, link);
  await expect(late.toasts).toHaveText(/is over|expired/i);
  await host.page.getByTestId("invite-new").click();
  await expect(host.page.getByTestId("invite-link")).not.toHaveValue(link);
  await late.join(await host.page.getByTestId("invite-link").inputValue());
  await late.hasItems(["milk"]);
});
