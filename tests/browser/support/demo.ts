/** The demo app as a person uses it. */
import { expect, type Locator, type Page } from "@playwright/test";
import type { Device } from "./fixtures.js";

export class Demo {
  readonly page: Page;
  readonly badge: Locator;
  readonly toasts: Locator;
  readonly joinError: Locator;

  constructor(page: Page) {
    this.page = page;
    this.badge = page.getByTestId("badge");
    this.toasts = page.getByTestId("toast");
    this.joinError = page.getByTestId("join-error");
  }

  /** Opens the app, or an invite link. */
  static async open(device: Device, url: string): Promise<Demo> {
    return new Demo(await device.visit(url));
  }

  /** The texts of all items, oldest first. */
  async items(): Promise<string[]> {
    return (await this.page.getByTestId("item-text").allTextContents()).reverse();
  }

  /** Waits until exactly these items are shown, in whatever order. */
  async hasItems(texts: string[]): Promise<void> {
    await expect.poll(async () => (await this.items()).sort()).toEqual([...texts].sort());
  }

  async startList(): Promise<void> {
    await this.page.getByTestId("new-list").click();
    await expect(this.page.getByTestId("add-input")).toBeVisible();
  }

  async add(text: string): Promise<void> {
    await this.page.getByTestId("add-input").fill(text);
    await this.page.getByTestId("add-input").press("Enter");
    await expect(this.page.getByTestId("item-text").filter({ hasText: text })).not.toHaveCount(0);
  }

  /** Waits for a state of the badge. */
  async isState(state: string | RegExp): Promise<void> {
    await expect(this.badge).toHaveAttribute("data-state", state);
  }

  /** Opens the dialog and gives the link. Whoever comes with it is let in, unless the test says otherwise. */
  async invite({ letIn = true } = {}): Promise<string> {
    await this.page.getByTestId("invite-button").click();
    const link = await this.page.getByTestId("invite-link").inputValue();
    // As long as the page is open; a test that needs it fails by itself when it does not happen.
    if (letIn) void this.page.getByTestId("invite-accept").click({ timeout: 0 }).catch(() => undefined);
    return link;
  }

  /** The six digits that are shown to be compared. */
  async comparisonCode(): Promise<string> {
    return this.page.getByTestId("comparison-code").innerText();
  }

  async closeDialog(): Promise<void> {
    await this.page.getByTestId("dialog-close").click();
    await expect(this.page.locator("dialog")).toHaveCount(0);
  }

  /** Pastes a link on the first screen. */
  async join(link: string): Promise<void> {
    await this.page.getByTestId("join-input").fill(link);
    await this.page.getByTestId("join-button").click();
  }

  /** Waits until the app starts without a network. */
  async worksOffline(): Promise<void> {
    await expect(this.page.locator("html")).toHaveAttribute("data-offline-ready", "true");
    // The worker that was installed takes over with the next load.
    await this.page.reload();
    await this.page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  }
}

/** Two devices that share a list. */
export async function pair(url: string, first: Device, second: Device): Promise<[Demo, Demo]> {
  const a = await Demo.open(first, url);
  await a.startList();
  const link = await a.invite();
  const b = await Demo.open(second, link);
  await expect(b.page.getByTestId("add-input")).toBeVisible();
  await expect(b.page.getByTestId("restoring")).toHaveCount(0);
  await expect(a.page.locator("dialog")).toHaveCount(0);
  return [a, b];
}
