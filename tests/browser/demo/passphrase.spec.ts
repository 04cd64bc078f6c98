/** Two browsers share a list by a name and a passphrase. */
import { expect, test } from "../support/fixtures.js";
import { Demo } from "../support/demo.js";
import { DEMO_DIST } from "../support/paths.js";

test("a list with a passphrase is started on one device and joined on another", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const [first, second] = [await device(), await device()];
  const a = await Demo.open(first, relay.url);
  await a.page.getByTestId("named-name").fill("Family");
  await a.page.getByTestId("named-start").click();
  const verdict = a.page.getByTestId("start-verdict");
  const passphrase = a.page.getByTestId("start-passphrase");

  // A weak one is judged while it is typed, and refused if it is tried.
  await passphrase.fill("password123password123");
  await expect(verdict).toContainText("Too easy to guess");
  await a.page.getByTestId("start-button").click();
  await expect(a.page.getByTestId("start-error")).toContainText("of 60 bits");
  await passphrase.fill("xK9#mQ2$vL7p");
  await expect(verdict).toContainText("Not enough yet");

  await a.page.getByTestId("start-suggest").click();
  await expect(verdict).toContainText("Strong enough");
  const words = await passphrase.inputValue();
  expect(words.split(" ")).toHaveLength(6);
  await a.page.getByTestId("start-button").click();
  await a.add("milk");
  await expect(a.page.locator("dialog")).toHaveCount(0);

  const b = await Demo.open(second, relay.url);
  await b.page.getByTestId("named-name").fill("Family");
  await b.page.getByTestId("named-passphrase").fill(`${words}s`);
  await b.page.getByTestId("named-join").click();
  await expect(b.page.getByTestId("named-error")).toContainText("typing errors");
  await b.page.getByTestId("named-passphrase").fill(` ${words.replaceAll(" ", "  ")} `);
  await b.page.getByTestId("named-join").click();
  await b.hasItems(["milk"]);
  await b.add("bread");
  await a.hasItems(["milk", "bread"]);
  expect(first.complaints.concat(second.complaints)).toEqual([]);
});
