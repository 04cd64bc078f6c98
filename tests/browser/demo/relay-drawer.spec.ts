/** The drawer "What the relay sees". */
import { expect, test } from "../support/fixtures.js";
import { pair } from "../support/demo.js";
import { hexColumn } from "../support/database.js";
import { DEMO_DIST } from "../support/paths.js";

test("the drawer shows what the relay really stores, beside the plain text", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: DEMO_DIST });
  const [a, b] = await pair(relay.url, await device(), await device());
  await a.add("a secret thing");
  await b.hasItems(["a secret thing"]);
  await b.add("another one");
  await a.hasItems(["a secret thing", "another one"]);
  await a.isState("synced");
  await b.isState("synced");
  const stored = hexColumn(relay.database, "SELECT payload FROM blobs ORDER BY cursor DESC");
  // Before them, what the two devices say of themselves.
  expect(stored).toHaveLength(4);

  for (const demo of [a, b]) {
    await demo.page.getByTestId("relay-open").click();
    const rows = demo.page.getByTestId("relay-row");
    await expect(rows).toHaveCount(2);
    await expect(rows.nth(0).getByTestId("plain")).toContainText("another one");
    await expect(rows.nth(1).getByTestId("plain")).toContainText("a secret thing");
    const shown = await rows.getByTestId("sealed").allTextContents();
    for (const [index, text] of shown.entries()) {
      // The first bytes of it.
      const hex = text.replace("…", "").replaceAll(" ", "");
      expect(hex.length).toBeGreaterThanOrEqual(64);
      expect(stored[index]?.startsWith(hex)).toBe(true);
    }
    await demo.closeDialog();
  }
});
