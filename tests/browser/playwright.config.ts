import { defineConfig } from "@playwright/test";
import { LAUNCH } from "./support/chromium.js";

/** One at a time: every test has a relay process and browsers of its own, and the machine may have two cores. */
export default defineConfig({
  testDir: ".",
  testMatch: ["demo/**/*.spec.ts", "package/**/*.spec.ts"],
  outputDir: "test-results",
  workers: 1,
  forbidOnly: process.env.CI !== undefined,
  // Generous: they end a test that hangs; nothing is measured.
  timeout: 120_000,
  expect: { timeout: 45_000 },
  use: { launchOptions: LAUNCH },
  reporter: [["list"]],
});
