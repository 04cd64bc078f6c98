/** A relay, or whoever gets at its disk, learns nothing and changes nothing unnoticed. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "../support/fixtures.js";
import { Bare, pairBare } from "../support/bare.js";
import { hexColumn, sql } from "../support/database.js";
import { PAGE_DIST } from "../support/paths.js";
import { encodingsOf, findIn } from "../support/search.js";

test("a blob that was changed in the relay's database is reported and not delivered; the rest arrives in order", async ({ startRelay, device }) => {
  const relay = await startRelay({ web: PAGE_DIST });
  const tablet = await device();
  const [a, b] = await pairBare(relay.url, await device(), tablet);
  await b.page.close();
  await a.push("1", "2", "3", "4", "5");
  await a.flush();
  // Restarted: what has just come in would be delivered from memory.
  await relay.stop();
  await relay.start();
  // The third of the newest five; what the devices say of themselves comes first.
  const cursor = Number(sql(relay.database, "SELECT max(cursor) - 2 FROM blobs")[0]?.[0]);
  const [payload = ""] = hexColumn(relay.database, `SELECT payload FROM blobs WHERE cursor = ${cursor}`);
  const bytes = Buffer.from(payload, "hex");
  bytes[40] = (bytes[40] ?? 0) ^ 1;
  sql(relay.database, "UPDATE blobs SET payload = ? WHERE cursor = ?", [{ hex: bytes.toString("hex") }, cursor]);

  const again = await Bare.open(tablet, relay.url);
  await again.hasTexts(["1", "2", "4", "5"]);
  expect(await again.texts()).toEqual(["1", "2", "4", "5"]);
  const group = await again.page.evaluate(() => window.zerok.harness.group.id);
  const rejected = expect.objectContaining({ code: "BLOB_REJECTED", cursor, group });
  await expect.poll(() => again.told("client", "error")).toContainEqual(rejected);
  await expect.poll(() => again.told("group", "error")).toContainEqual(rejected);
  // It goes on with what comes later.
  await a.push("6");
  await again.hasTexts(["1", "2", "4", "5", "6"]);
});

test("what the devices say and who they are is in no byte that the relay keeps, logs or answers", async ({ startRelay, device }) => {
  const relay = await startRelay({ log: "trace", web: PAGE_DIST });
  const secrets = { text: "Canary7Qx9ZtextZ", name: "Canary4Wm2Kname" };
  const [a, b] = await pairBare(relay.url, await device(), await device(), { deviceName: secrets.name });
  const [link, ids] = await a.page.evaluate(async (text) => {
    const { group } = window.zerok.harness;
    const pushed = [await group.push(text, { until: "relay" }), await group.push(`${text} `.repeat(5000), { until: "relay" })];
    const invite = await group.createInvite();
    return [invite.link, pushed.map(({ id }) => id)];
  }, secrets.text);
  await expect.poll(async () => (await b.texts()).length).toBe(2);
  // The invite's key opens the group's secrets.
  const inviteKey = Buffer.from(link.split("#0k=1.")[1] ?? "", "base64url").subarray(16, 48);
  expect(inviteKey).toHaveLength(32);

  const collect = async (): Promise<Map<string, Buffer>> => {
    const found = new Map<string, Buffer>();
    for (const path of ["/metrics", "/health", "/", "/.well-known/iroh"]) {
      const response = await fetch(relay.url + path);
      expect(response.ok, path).toBe(true);
      found.set(path, Buffer.from(await response.arrayBuffer()));
    }
    for (const entry of await readdir(relay.data, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (entry.isFile()) found.set(path, await readFile(path));
    }
    found.set(relay.log, await readFile(relay.log));
    return found;
  };
  const places = await collect();
  expect([...places.keys()].some((path) => path.endsWith("relay.db"))).toBe(true);
  await relay.stop();
  for (const [path, bytes] of [...places]) places.set(`${path} before the stop`, bytes);
  for (const path of [relay.database, relay.log]) places.set(path, await readFile(path));

  // The search finds what is there: ids of blobs are no secret, and trace is really on.
  for (const id of ids) expect(findIn(places, encodingsOf(Buffer.from(id, "hex")))).toContainEqual(expect.stringContaining("relay.db"));
  expect(findIn(places, encodingsOf(Buffer.from("TRACE")))).toContainEqual(expect.stringContaining("relay.log"));
  expect(findIn(places, [Buffer.from(Buffer.from(`x${secrets.text}`).toString("base64").slice(2, 12))])).toEqual([]);

  for (const [what, secret] of Object.entries({ ...secrets, inviteKey })) {
    expect(findIn(places, encodingsOf(Buffer.from(secret))), what).toEqual([]);
  }
});
