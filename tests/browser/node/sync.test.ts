/** The package in Node, in memory, through a real relay process. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { open, SyncError, type Group, type SyncClient } from "@0k-sync/client";
import { sql } from "../support/database.js";
import { Relay } from "../support/relay.js";

let folder: string;
let relay: Relay;
const clients: SyncClient[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "zerok-node-"));
  relay = await Relay.start({ folder });
});

after(async () => {
  for (const client of clients) await client.close();
  await relay.kill();
  await rm(folder, { recursive: true, force: true });
});

async function device(): Promise<SyncClient> {
  const client = await open({ relays: [relay.url], storage: "memory" });
  clients.push(client);
  return client;
}

/** The next blobs of a group, as text. */
async function next(group: Group, count: number, after = 0): Promise<string[]> {
  const texts: string[] = [];
  for await (const blob of group.blobs({ after })) {
    texts.push(blob.text());
    if (texts.length === count) break;
  }
  return texts;
}

test("two devices in Node sync both ways", async () => {
  const [a, b] = [await device(), await device()];
  assert.notEqual(a.deviceId, b.deviceId);
  const group = await a.createGroup();
  const { cursor } = await group.push("from a", { until: "relay" });
  // The first of all is what the device says of itself.
  assert.equal(cursor, 2);
  const invite = await group.createInvite({ appUrl: "https://app.example/" });
  const joined = await b.join(invite.link);
  await joined.ready();
  assert.deepEqual(await next(joined, 1), ["from a"]);
  await joined.push(new TextEncoder().encode("from b"));
  assert.deepEqual(await next(group, 2), ["from a", "from b"]);
  assert.deepEqual(group.versionVector(), joined.versionVector());
  assert.deepEqual(sql(relay.database, "SELECT count(*) FROM blobs"), [[4]]);
});

test("a restart of the relay loses nothing", async () => {
  const [a, b] = [await device(), await device()];
  const group = await a.createGroup();
  const joined = await b.join((await group.createInvite({ appUrl: "https://app.example/" })).link);
  await joined.ready();
  await relay.kill();
  const texts = Array.from({ length: 50 }, (_, i) => `blob ${i}`);
  for (const text of texts) await group.push(text);
  await assert.rejects(group.flush({ timeout: 50 }), (error: unknown) => error instanceof SyncError && error.code === "TIMEOUT");
  await relay.start();
  assert.deepEqual(await next(joined, 50), texts);
  await group.flush();
  assert.equal(group.pending, 0);
});

test("errors have their codes in Node too", async () => {
  const client = await device();
  const code = (expected: string) => (error: unknown) => error instanceof SyncError && error.code === expected;
  await assert.rejects(client.join("https://app.example/"), code("INVITE_INVALID"));
  await assert.rejects(open({ relays: [relay.url], storage: "indexeddb" }), code("INVALID_ARGUMENT"));
  await client.close();
  await assert.rejects(client.createGroup(), code("CLOSED"));
});
