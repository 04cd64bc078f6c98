/** Every screen on a phone and on a desk, light and dark, for people to look at: tests/browser/screenshots/. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "../support/fixtures.js";
import { Demo } from "../support/demo.js";
import { DEMO_DIST, SCREENSHOTS } from "../support/paths.js";

const SIZES = { phone: { width: 390, height: 844 }, desk: { width: 1280, height: 800 } };

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const colorScheme of ["light", "dark"] as const) {
    test(`no screen is wider than a ${size} (${colorScheme})`, async ({ startRelay, device }) => {
      const relay = await startRelay({ web: DEMO_DIST });
      await mkdir(SCREENSHOTS, { recursive: true });
      const phone = await device({ viewport, colorScheme });
      const app = await Demo.open(phone, relay.url);
      const { page } = app;
      let number = 0;
      const shoot = async (name: string): Promise<void> => {
        number++;
        await page.evaluate(() => Promise.all(document.getAnimations().filter(({ effect }) => effect?.getTiming().iterations !== Infinity).map(({ finished }) => finished.catch(() => undefined))));
        await page.screenshot({ path: join(SCREENSHOTS, `${size}-${colorScheme}-${String(number).padStart(2, "0")}-${name}.png`) });
        expect(await page.evaluate(() => document.documentElement.scrollWidth), name).toBeLessThanOrEqual(viewport.width);
      };

      await expect(page.getByTestId("new-list")).toBeVisible();
      await shoot("welcome");
      await app.join("https://app.example/#0k=nonsense");
      await expect(app.joinError).not.toBeEmpty();
      await shoot("join-error");
      await page.getByTestId("named-start").click();
      await page.getByTestId("start-passphrase").fill("password123password123");
      await expect(page.getByTestId("start-verdict")).toContainText("Too easy");
      await shoot("weak-passphrase");
      await page.getByTestId("start-suggest").click();
      await expect(page.getByTestId("start-verdict")).toContainText("Strong");
      await shoot("strong-passphrase");
      await app.closeDialog();
      await app.startList();
      await app.isState("synced");
      await shoot("empty-list");
      const link = await app.invite({ letIn: false });
      await expect(page.getByTestId("invite-qr")).toBeVisible();
      await shoot("invite");
      const guest = await Demo.open(await device({ viewport, colorScheme }), link);
      await expect(guest.page.getByTestId("comparison-code")).toBeVisible();
      await guest.page.screenshot({ path: join(SCREENSHOTS, `${size}-${colorScheme}-guest-compares.png`) });
      await expect(page.getByTestId("invite-accept")).toBeVisible();
      await shoot("invite-request");
      await page.getByTestId("invite-reject").click();
      await expect(guest.page.getByTestId("new-list")).toBeVisible();
      await guest.page.getByTestId("scan-button").click();
      await expect(guest.page.getByTestId("scan-problem")).toBeVisible();
      await guest.page.screenshot({ path: join(SCREENSHOTS, `${size}-${colorScheme}-guest-no-camera.png`) });
      await page.getByTestId("invite-new").click();
      await expect(page.getByTestId("invite-qr")).toBeVisible();
      await page.getByTestId("invite-cancel").click();
      await expect(page.getByTestId("invite-ended")).toBeVisible();
      await shoot("invite-ended");
      await app.closeDialog();
      const long = "A reminder that is much longer than any line on a phone, with aVeryLongWordThatCanNotBeBrokenAnywhereAtAllEvenIfItHadTo";
      for (const text of ["milk", "bread", long, "apples", "coffee", "soap"]) await app.add(text);
      await page.getByTestId("item-toggle").nth(1).check();
      await page.getByTestId("title").fill("Groceries");
      await page.getByTestId("title").press("Enter");
      await app.isState("synced");
      await shoot("list");
      await page.getByTestId("item-delete").first().click();
      await expect(app.toasts).toBeVisible();
      await shoot("deleted");
      await page.getByTestId("relay-open").click();
      await expect(page.getByTestId("relay-row").first()).toBeVisible();
      await shoot("relay-drawer");
      await app.closeDialog();
      await page.getByTestId("settings-button").click();
      await shoot("settings");
      await page.getByTestId("devices-button").click();
      await expect(page.getByTestId("device-rename")).not.toHaveValue("");
      await shoot("devices-alone");
      await page.getByTestId("devices-invite").click();
      const [phoneLink, member] = [await page.getByTestId("invite-link").inputValue(), await device({ viewport, colorScheme })];
      const joined = Demo.open(member, phoneLink);
      await page.getByTestId("invite-accept").click();
      const out = await joined;
      await out.hasItems(await app.items());
      await page.getByTestId("settings-button").click();
      await page.getByTestId("devices-button").click();
      await expect(page.getByTestId("device-remove")).toBeVisible();
      await expect(page.getByTestId("device-presence")).toHaveText("Here now");
      await shoot("devices");
      await page.getByTestId("device-remove").click();
      await expect(page.getByTestId("remove-device")).toBeVisible();
      await shoot("remove-device");
      await page.getByTestId("remove-yes").click();
      await expect(page.getByTestId("device-state")).toHaveText("Removed");
      await shoot("device-removed");
      await expect(out.page.getByTestId("removed-notice")).toBeVisible();
      await out.page.screenshot({ path: join(SCREENSHOTS, `${size}-${colorScheme}-out-of-the-list.png`) });
      expect(await out.page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(viewport.width);
      await app.closeDialog();
      await page.getByTestId("settings-button").click();
      await page.getByTestId("leave").click();
      await expect(page.getByTestId("confirm")).toBeVisible();
      await shoot("leave");
      await page.getByTestId("confirm-no").click();
      await phone.offline(true);
      await app.add("typed on a train");
      await expect(page.getByTestId("offline-banner")).toBeVisible();
      await app.isState("offline");
      await shoot("offline");
      await phone.offline(false);

      const other = await Demo.open(phone, relay.url);
      await expect(other.page.getByTestId("fatal")).toBeVisible();
      await other.page.screenshot({ path: join(SCREENSHOTS, `${size}-${colorScheme}-${number + 1}-second-tab.png`) });
    });
  }
}
