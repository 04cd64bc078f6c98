import assert from "node:assert/strict";
import { test } from "node:test";
import type { SyncError } from "../src/errors.js";
import type { ReceivedBlob, SyncClient } from "../src/types.js";
import { failure } from "./fake-core.js";
import { code, opened, turn } from "./opened.js";

async function take(iterator: AsyncIterator<ReceivedBlob>, count: number): Promise<string[]> {
  const texts: string[] = [];
  while (texts.length < count) {
    const result = await iterator.next();
    if (result.done === true) break;
    texts.push(result.value.text());
  }
  return texts;
}

test("state is mirrored before a push resolves", async () => {
  const { group } = await opened();
  await group.push("a");
  assert.deepEqual(group.versionVector(), { d1: 1 });
});

test("push until relay gives the cursor; its time-out loses nothing", async () => {
  const { core, group } = await opened();
  assert.deepEqual(await group.push("a", { until: "relay" }), { id: "b1", position: 1, cursor: 101 });
  core.next = () => new Promise(() => undefined);
  await assert.rejects(group.push("b", { until: "relay", timeout: 5 }), code("TIMEOUT"));
  assert.equal(core.log.length, 2);
});

test("a blob over the limit is refused before anything reaches the core", async () => {
  const { core, group } = await opened();
  await assert.rejects(group.push(new Uint8Array(1024 * 1024 + 1)), code("BLOB_TOO_LARGE"));
  await assert.rejects(group.push("ä".repeat(600_000)), code("BLOB_TOO_LARGE"));
  assert.equal(core.log.length, 0);
  await group.push(new Uint8Array(1024 * 1024));
});

test("a deletion goes to the core, and is told", async () => {
  const { core, group } = await opened();
  const told: unknown[] = [];
  group.on("deleted", (event) => told.push(event));
  await group.delete("b1");
  await group.delete("b1", { force: true });
  assert.deepEqual(core.calls.slice(-2), ["delete b1 false", "delete b1 true"]);
  const deleted = { id: "b1", by: "d2", position: 1, forced: false };
  core.emit({ type: "deleted", group: group.id, ...deleted });
  await turn();
  assert.deepEqual(told, [deleted]);
  await assert.rejects(group.delete(1 as unknown as string), code("INVALID_ARGUMENT"));
  await assert.rejects(group.delete("b1", { force: "yes" as unknown as boolean }), code("INVALID_ARGUMENT"));
});

test("a deleted blob is not handed out from a page that is here already", async () => {
  const { core, group } = await opened();
  for (const text of ["1", "2", "3", "4"]) core.receive(text);
  const iterator = group.blobs();
  assert.deepEqual(await take(iterator, 1), ["1"]);
  core.erase("b2");
  assert.deepEqual(await take(iterator, 1), ["3"]);
  // Of this device's own deletions the call tells first.
  await group.delete("b4");
  const next = take(iterator, 1);
  await turn();
  core.append(new TextEncoder().encode("5"), true);
  assert.deepEqual(await next, ["5"]);
});

test("a blob that is deleted while a page is read is not in it", async () => {
  const { core, group } = await opened();
  for (const text of ["1", "2"]) core.receive(text);
  const pull = core.pull.bind(core);
  core.pull = async (...args) => {
    const page = await pull(...args);
    core.erase("b1");
    return page;
  };
  assert.deepEqual((await group.pull()).blobs.map((blob) => blob.text()), ["2"]);
  core.receive("3");
  core.pull = async (...args) => {
    const page = await pull(...args);
    core.erase("b2");
    return page;
  };
  assert.deepEqual(await take(group.blobs(), 1), ["3"]);
});

test("whenever a blob is deleted: it is not handed out, or before that is told", async () => {
  const seen = new Set<string>();
  for (let moment = 0; moment < 40; moment++) {
    const { core, group } = await opened();
    core.receive("1");
    const told: string[] = [];
    group.on("deleted", () => void told.push("deleted"));
    const iterator = group.blobs();
    const reading = iterator.next().then(({ value }) => void told.push(value === undefined ? "end" : "blob"));
    for (let passed = 0; passed < moment; passed++) await Promise.resolve();
    core.erase("b1");
    await turn();
    await iterator.return?.();
    await reading;
    seen.add(told.join(" "));
  }
  assert.deepEqual([...seen], ["deleted end", "blob deleted"]);
});

test("wrong arguments reject with INVALID_ARGUMENT", async () => {
  const { client, group } = await opened();
  await assert.rejects(group.push(5 as unknown as string), code("INVALID_ARGUMENT"));
  await assert.rejects(group.push("a", { ttl: -1 }), code("INVALID_ARGUMENT"));
  await assert.rejects(group.pull({ limit: 0 }), code("INVALID_ARGUMENT"));
  await assert.rejects(group.createInvite({ appUrl: "javascript:alert(1)" }), code("INVALID_ARGUMENT"));
  await assert.rejects(client.join(undefined as unknown as string), code("INVALID_ARGUMENT"));
  await assert.rejects(group.createInvite({ kind: "qr" as "link" }), code("INVALID_ARGUMENT"));
  for (const wrong of ["hello", "", "https://app.test/#0k=", "https://app.test/1234", "7KQ2-9F3M-XW41-ZPD", "7KQ2-9F3M-XW41-ZPD80"]) {
    await assert.rejects(client.join(wrong), code("INVITE_INVALID"), wrong);
  }
  assert.throws(() => group.blobs({ after: -1 }), code("INVALID_ARGUMENT"));
  assert.throws(() => client.on("nothing" as "status", () => undefined), code("INVALID_ARGUMENT"));
});

test("what is refused as wrong has had no effect", async () => {
  const { core, group } = await opened();
  const before = core.calls.length;
  for (const timeout of [-1, Number.NaN, "5" as unknown as number]) {
    await assert.rejects(group.push("a", { until: "relay", timeout }), code("INVALID_ARGUMENT"));
    await assert.rejects(group.push("a", { timeout }), code("INVALID_ARGUMENT"));
    core.next = () => Promise.reject(failure("STORAGE_FULL"));
    await assert.rejects(group.flush({ timeout }), code("INVALID_ARGUMENT"));
    await assert.rejects(group.ready({ timeout }), code("INVALID_ARGUMENT"));
    await assert.rejects(group.revokeDevice("d2", { until: "relay", timeout }), code("INVALID_ARGUMENT"));
  }
  const gone = new Uint8Array(4);
  structuredClone(gone, { transfer: [gone.buffer] });
  await assert.rejects(group.push(gone), code("INVALID_ARGUMENT"));
  await assert.rejects(group.push(gone.buffer), code("INVALID_ARGUMENT"));
  assert.equal(core.log.length, 0);
  assert.equal(core.calls.length, before);
  await group.push(new Uint8Array(0));
  assert.equal(core.log.length, 1);
});

test("an invite that can't be drawn is taken back", async () => {
  const { core, group } = await opened(() => Promise.reject(new TypeError("Failed to fetch dynamically imported module")));
  await assert.rejects(group.createInvite(), (error) => code("INTERNAL")(error) && (error as SyncError).retryable);
  assert(core.calls.includes("cancelInvite l1"));
});

test("pushing a part of a buffer pushes that part", async () => {
  const { core, group } = await opened();
  await group.push(new Uint8Array([1, 2, 3, 4]).subarray(1, 3));
  assert.deepEqual([...(core.log[0]?.data ?? [])], [2, 3]);
});

test("blobs() replays page by page and then goes on live, each blob once", async () => {
  const { core, group } = await opened();
  core.pageSize = 2;
  for (const text of ["1", "2", "3", "4", "5"]) core.receive(text);
  const iterator = group.blobs();
  assert.deepEqual(await take(iterator, 5), ["1", "2", "3", "4", "5"]);
  const next = take(iterator, 2);
  await turn();
  core.receive("6");
  await turn();
  core.receive("7");
  assert.deepEqual(await next, ["6", "7"]);
  await iterator.return?.();
});

test("a page is only read when the one before is used up", async () => {
  const { core, group } = await opened();
  core.pageSize = 2;
  for (const text of ["1", "2", "3", "4", "5"]) core.receive(text);
  const iterator = group.blobs();
  await take(iterator, 1);
  await turn();
  assert.equal(core.pages.length, 1);
});

test("growth while a page is being read is not missed", async () => {
  const { core, group } = await opened();
  const pull = core.pull.bind(core);
  core.pull = async (...args) => {
    const page = await pull(...args);
    core.pull = pull;
    core.receive("late");
    return page;
  };
  assert.deepEqual(await take(group.blobs(), 1), ["late"]);
});

test("without own blobs the iterator skips them and does not spin", async () => {
  const { core, group } = await opened();
  const iterator = group.blobs({ includeOwn: false });
  const first = take(iterator, 1);
  await group.push("mine");
  for (let i = 0; i < 20; i++) await turn();
  assert(core.pages.length < 5, `read ${core.pages.length} pages`);
  core.receive("theirs");
  assert.deepEqual(await first, ["theirs"]);
});

test("iterators are independent and start where they are told", async () => {
  const { core, group } = await opened();
  core.receive("1");
  core.receive("2");
  const [all, second] = await Promise.all([take(group.blobs(), 2), take(group.blobs({ after: 1 }), 1)]);
  assert.deepEqual([all, second], [["1", "2"], ["2"]]);
});

test("return() ends an iterator that waits", async () => {
  const { group } = await opened();
  const iterator = group.blobs();
  const waiting = iterator.next();
  await turn();
  await iterator.return?.();
  assert.equal((await waiting).done, true);
});

test("abort rejects a waiting iterator with the signal's reason", async () => {
  const { group } = await opened();
  const abort = new AbortController();
  const waiting = group.blobs({ signal: abort.signal }).next();
  await turn();
  abort.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  await assert.rejects(group.blobs({ signal: abort.signal }).next(), /enough/);
});

test("closing ends waiting iterators quietly and rejects later calls", async () => {
  const { client, group, released } = await opened();
  const waiting = group.blobs().next();
  await turn();
  await client.close();
  assert.equal((await waiting).done, true);
  await assert.rejects(group.push("a"), code("CLOSED"));
  await assert.rejects(client.createGroup(), code("CLOSED"));
  await assert.rejects(group.blobs().next(), code("CLOSED"));
  assert(released() >= 1);
  await client.close();
});

test('on("blob") starts with what arrives after the call and stops when told', async () => {
  const { core, group } = await opened();
  core.receive("before");
  const seen: string[] = [];
  const stop = group.on("blob", (blob) => seen.push(blob.text()));
  core.receive("1");
  core.receive("2");
  await turn();
  stop();
  core.receive("3");
  await turn();
  assert.deepEqual(seen, ["1", "2"]);
});

test("status events come only when something changed", async () => {
  const { core, group } = await opened();
  await turn();
  const seen: string[] = [];
  group.on("status", ({ state }) => seen.push(state));
  core.announce();
  core.announce({ state: "offline" });
  core.announce({ state: "offline" });
  assert.equal(group.status.state, "offline");
  await turn();
  assert.deepEqual(seen, ["offline"]);
});

test("an error of a group reaches the group and the client", async () => {
  const { core, client, group } = await opened();
  const seen: string[] = [];
  client.on("error", (error) => seen.push(`client ${error.code} ${String(error.group)}`));
  group.on("error", (error) => seen.push(`group ${error.code} ${String(error.cursor)}`));
  core.emit({ type: "error", group: "g", error: { code: "RATE_LIMITED", message: "", retryable: true }, cursor: 9 });
  await turn();
  assert.deepEqual(seen.sort(), ["client RATE_LIMITED g", "group RATE_LIMITED 9"]);
});

test("leaving removes the group and ends its iterators", async () => {
  const { client, group } = await opened();
  const waiting = group.blobs().next();
  await turn();
  await group.leave();
  assert.equal((await waiting).done, true);
  assert.deepEqual(client.groups(), []);
  await assert.rejects(group.push("a"), code("CLOSED"));
});

test("a trap puts everything into an error state, rejects, and releases the database", async () => {
  const { core, client, group, released } = await opened();
  const errors: string[] = [];
  (client as SyncClient).on("error", (error) => errors.push(error.code));
  const waiting = group.blobs().next();
  const rejected = assert.rejects(waiting, code("WORKER_FAILED"));
  core.next = () => Promise.reject(new WebAssembly.RuntimeError("unreachable"));
  await assert.rejects(group.flush(), code("WORKER_FAILED"));
  await rejected;
  await turn();
  assert.equal(client.status.state, "error");
  assert.equal(group.status.error?.code, "WORKER_FAILED");
  assert.deepEqual(errors, ["WORKER_FAILED"]);
  assert.equal(released(), 1);
});

test("join accepts a link with spaces around it; invites carry a QR code and cancel by lookup", async () => {
  const { core, client, group } = await opened();
  await client.join("  https://app.test/#0k=abc\n");
  assert(core.calls.includes("join https://app.test/#0k=abc"));
  const invite = await group.createInvite({ appUrl: "https://app.test/list#old" });
  assert.equal(invite.link, "https://app.test/list#0k=abc");
  assert.equal(invite.code, null);
  assert.match(invite.qr, /^<svg/);
  await invite.cancel();
  assert(core.calls.includes("cancelInvite l1"));
});

test("a code is asked for by its kind, and passed on as it was typed", async () => {
  const { core, client, group } = await opened();
  assert.equal((await group.createInvite({ kind: "code" })).code, "7KQ2-9F3M-XW41-ZPD8");
  await client.join(" 7kq2 9f3m–xw4i zpdo ");
  assert(core.calls.includes("join 7kq2 9f3m–xw4i zpdo"));
});

test("flush rejects with the core's error", async () => {
  const { core, group } = await opened();
  core.next = () => Promise.reject(failure("STORAGE_FULL"));
  await assert.rejects(group.flush(), code("STORAGE_FULL"));
  core.next = () => new Promise(() => undefined);
  await assert.rejects(group.flush({ timeout: 5 }), code("TIMEOUT"));
});

test("a broadcast is checked at once, answered by nobody, and heard as bytes", async () => {
  const { core, group } = await opened();
  group.broadcast("here");
  assert.ok(core.calls.includes("broadcast here"));
  group.broadcast("x".repeat(4096));
  assert.throws(() => group.broadcast("x".repeat(4097)), code("BLOB_TOO_LARGE"));
  assert.throws(() => group.broadcast(7 as unknown as string), code("INVALID_ARGUMENT"));
  const told: unknown[] = [];
  group.on("broadcast", ({ sender, data }) => void told.push(sender, [...data]));
  group.on("devices", () => void told.push("devices"));
  group.on("error", (error) => void told.push(error.code));
  core.emit({ type: "broadcast", group: "g", sender: "d2", data: new Uint8Array([1, 2]) });
  core.emit({ type: "devices", group: "g" });
  core.next = () => Promise.reject(failure("DEVICE_REVOKED"));
  group.broadcast("x");
  await turn();
  assert.deepEqual(told, ["d2", [1, 2], "devices", "DEVICE_REVOKED"]);
});
