/** Locking the device, as a person does it; with screenshots. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "@playwright/test";
import { expect, test } from "../support/fixtures.js";
import { Authenticator } from "../support/authenticator.js";
import { Demo } from "../support/demo.js";
import { DEMO_DIST, SCREENSHOTS } from "../support/paths.js";
import { encodingsOf, filesWith } from "../support/search.js";

const SIZES = { phone: { width: 390, height: 844 }, desk: { width: 1280, height: 800 } };

const openLock = async (page: Page): Promise<void> => {
  await page.getByTestId("settings-button").click();
  await page.getByTestId("lock-button").click();
};

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const colorScheme of ["light", "dark"] as const) {
    test(`a person locks the device, and unlocks it by the passkey and by the code (${size}, ${colorScheme})`, async ({ startRelay, device }) => {
      const relay = await startRelay({ web: DEMO_DIST });
      await mkdir(SCREENSHOTS, { recursive: true });
      const app = await Demo.open(await device({ viewport, colorScheme }), relay.url);
      const { page } = app;
      const shoot = async (name: string): Promise<void> => {
        await page.evaluate(() => Promise.all(document.getAnimations().filter(({ effect }) => effect?.getTiming().iterations !== Infinity).map(({ finished }) => finished.catch(() => undefined))));
        await page.screenshot({ path: join(SCREENSHOTS, `${size}-${colorScheme}-lock-${name}.png`) });
        expect(await page.evaluate(() => document.documentElement.scrollWidth), name).toBeLessThanOrEqual(viewport.width);
      };
      await app.startList();
      await app.add("milk");

      // Without an authenticator that can do it, the dialog says so.
      const old = await Authenticator.add(app, { prf: false });
      await openLock(page);
      await shoot("off");
      await page.getByTestId("lock-on").click();
      await expect(page.getByTestId("lock-error")).toContainText("recovery code works everywhere");
      await shoot("unsupported");
      await old.remove();
      await Authenticator.add(app);

      // Whoever closes the dialog without the code has no lock.
      await page.getByTestId("lock-on").click();
      await expect(page.getByTestId("recovery-code")).toBeVisible();
      await app.closeDialog();
      await page.getByTestId("settings-button").click();
      await expect(page.getByTestId("lock-state")).toHaveText("Off");
      await page.getByTestId("lock-button").click();
      await page.getByTestId("lock-on").click();
      const code = await page.getByTestId("recovery-code").innerText();
      await shoot("code");
      await page.getByTestId("lock-written").click();
      await expect(app.toasts).toContainText("Locked from now on");

      await page.reload();
      await expect(page.getByTestId("locked")).toBeVisible();
      await shoot("locked");
      await page.getByTestId("unlock-code").fill(code.replace(/.$/, (last) => (last === "0" ? "1" : "0")));
      await page.getByTestId("unlock-button").click();
      await expect(page.getByTestId("unlock-error")).toContainText("not the recovery code");
      await shoot("wrong-code");
      await page.getByTestId("unlock-passkey").click();
      await app.hasItems(["milk"]);

      await openLock(page);
      await shoot("on");
      await page.getByTestId("lock-now").click();
      await page.getByTestId("unlock-code").fill(code);
      await page.getByTestId("unlock-button").click();
      await app.hasItems(["milk"]);
      await openLock(page);
      await page.getByTestId("lock-off").click();
      await expect(app.toasts).toContainText("The lock is off");
      await page.reload();
      await app.hasItems(["milk"]);
    });
  }
}

test("who has neither passkey nor code starts afresh", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const app = await Demo.open(await device(), relay.url);
  await app.startList();
  await openLock(app.page);
  await app.page.getByTestId("lock-by-code").click();
  await app.page.getByTestId("lock-written").click();
  await expect(app.toasts).toContainText("Locked from now on");
  await app.page.reload();
  await expect(app.page.getByTestId("unlock-passkey")).toHaveCount(0);
  await app.page.getByTestId("unlock-afresh").click();
  await app.page.getByTestId("confirm-yes").click();
  await expect(app.page.getByTestId("new-list")).toBeVisible();
  await app.startList();
  await app.add("bread");
});

test("what is in a locked list is in no file of the browser's", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const phone = await device({ durable: true });
  const app = await Demo.open(phone, relay.url);
  const { page } = app;
  await app.startList();
  await openLock(page);
  await page.getByTestId("lock-by-code").click();
  const code = await page.getByTestId("recovery-code").innerText();
  await page.getByTestId("lock-written").click();
  await expect(app.toasts).toContainText("Locked from now on");
  await app.add("quince-7731");
  await page.getByTestId("title").fill("pantry-8842");
  await page.getByTestId("title").press("Enter");
  await app.isState("synced");
  await page.getByTestId("add-input").fill("medlar-9953");
  await page.reload();
  await page.getByTestId("unlock-code").fill(code);
  await page.getByTestId("unlock-button").click();
  await app.hasItems(["quince-7731"]);
  await expect(page.getByTestId("title")).toHaveValue("pantry-8842");
  await phone.switchOff();

  const words = ["quince-7731", "pantry-8842", "medlar-9953", code, code.replaceAll("-", "")];
  expect(await filesWith(phone.profile ?? "", words.flatMap((word) => encodingsOf(Buffer.from(word))))).toEqual([]);
});
